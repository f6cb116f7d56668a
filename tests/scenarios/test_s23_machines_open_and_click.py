"""S23: scanners open, click and unsubscribe. What a machine made is kept, and nothing hears of it."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from msgspec.structs import replace
from tests.shop import ANN, MARKETING, Shop, happened, person, written

from wayline.domain import Event
from wayline.interpretation import facets
from wayline.observation.feedback import MADE_BY_MACHINES

LISTEN = """\
goal: Email Link Clicked
enters_on: Product Viewed
steps:
  hello: {propose: [{action: say, channel: email, content: hello}], patience: 1 day, then: listen, otherwise: end}
  listen: {wait: 2 days, then: end, until: {Email Link Clicked: end}}
"""
ON_CLICK = "enters_on: Email Link Clicked\nsteps:\n  wait: {wait: 1 day, then: end}\n"
BY_CLICKS = """\
enters_on: Product Viewed
steps:
  look: {wait: 1 hour, then: sort}
  sort: {when: email_clicks_90d >= 1, then: long, otherwise: short}
  long: {wait: 5 days, then: end}
  short: {wait: 9 days, then: end}
"""


def shop() -> Shop:
    journeys = {
        "until": MARKETING + LISTEN.replace("goal: Email Link Clicked\n", ""),
        "goal": MARKETING.replace("goal: Order Completed\n", "") + LISTEN.replace("{Email Link Clicked: end}", "{}")
        .replace("hello:", "wait: {wait: 1 hour, then: hello}\n  hello:").replace("content: hello", "content: other"),
        "exits": MARKETING + "exits_on: [Email Link Clicked]\n" + BY_CLICKS,
        "enters": MARKETING + ON_CLICK,
        "branches": MARKETING + BY_CLICKS,
    }  # fmt: skip
    made = Shop(written(journeys, hello="email", other="email"))
    made.consent()
    made.tell(happened("Product Viewed", event_id="view", sku="jacket"))
    return made


def gateway(made: Shop, **more: Any) -> None:
    """What a mail gateway does with every link and picture of a message, a second after it came."""
    made.after(seconds=1)
    for name in MADE_BY_MACHINES:
        made.tell(*(happened(name, ANN, url=f"https://shop.example/{link}", automated=True, **more) for link in "abc"))


def test_s23_a_gateway_that_clicks_everything_moves_nobody() -> None:
    made, plain = shop(), shop()
    gateway(made)
    plain.after(seconds=1)
    assert made.customer().standing == plain.customer().standing
    assert made.customer().memory.facets == plain.customer().memory.facets
    assert made.customer().memory.identifiers == plain.customer().memory.identifiers
    for each in (made, plain):
        each.after(hours=2)
    assert made.steps() == plain.steps()
    assert made.steps()["branches"] == "short" and "enters" not in made.steps()


def test_s23_every_one_of_them_is_kept() -> None:
    made = shop()
    gateway(made)
    kept = [event for event in made.store.log.read(0, 100) if event.properties.get("automated")]
    assert len(kept) == 6


@pytest.mark.parametrize("automated", [None, False])
def test_s23_a_person_s_click_is_heard(automated: bool | None) -> None:
    made = shop()
    more = {} if automated is None else {"automated": automated}
    made.tell(happened("Email Link Clicked", ANN, **more))
    steps = made.steps()
    assert (steps["until"], steps["goal"], steps["exits"], steps["enters"]) == ("ended", "converted", "exited", "wait")
    made.after(hours=2)
    assert made.steps()["branches"] == "long"


def test_s23_what_is_learnt_from_past_days_holds_no_click_of_a_machine() -> None:
    """The training set is read by SQL from the log; it must agree with what the engine folded."""
    made = shop()
    gateway(made)
    made.tell(happened("Email Link Clicked", ANN))
    declared = made.playbook.facets
    for name in ("email_clicks_90d", "last_email_click", "last_seen"):
        folded = facets.read(made.customer().memory.facets, declared[name], declared, made.now)
        assert by_sql(made, name) == folded, name


def test_s23_the_facets_themselves_pass_a_machine_over() -> None:
    made = shop()
    declared = made.playbook.folding["Email Link Clicked"]
    clicked = made._dated(happened("Email Link Clicked", ANN, automated=True))
    assert facets.fold({}, clicked, declared) == {}
    assert facets.fold({}, replace(clicked, properties={}), declared) != {}


def by_sql(made: Shop, name: str) -> Any:
    import json

    declared = made.playbook.facets
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute(
            "CREATE TABLE events(event_id TEXT, source TEXT, name TEXT, customer_id TEXT, occurred_at TIMESTAMPTZ,"
            " position BIGINT, properties JSON)"
        )
        db.execute("CREATE TABLE instants(customer_id TEXT, position BIGINT, as_of TIMESTAMPTZ)")
        rows = made.store.log.read(0, 1000)
        db.executemany(
            "INSERT INTO events VALUES (?, ?, ?, 'ann', ?, ?, ?)", [row_of(event, json.dumps) for event in rows]
        )
        db.execute("INSERT INTO instants VALUES ('ann', ?, ?)", [rows[-1].position, made.now])
        (answer,) = db.execute(facets.sql(declared[name], declared)).fetchall()
    return answer[3]


def row_of(event: Event, dumps: Any) -> list[Any]:
    return [event.event_id, event.source, event.name, event.occurred_at, event.position, dumps(dict(event.properties))]


def test_s23_a_forged_tag_on_another_event_hides_nothing() -> None:
    """Only what machines make by themselves can be tagged away: an order stays an order."""
    made = shop()
    made.tell(happened("Order Completed", ANN, order_id="o1", revenue=100, products=[], automated=True))
    assert made.steps()["until"] == "converted"


def test_s23_a_browser_of_somebody_else_cannot_speak_for_a_message() -> None:
    made = shop()
    (row, *_) = made.deliveries()
    made.tell(
        replace(happened("Email Link Clicked", person("ben"), decision_id=row.decision_id), notes=("unverified",))
    )
    assert made.steps()["until"] == "listen"
