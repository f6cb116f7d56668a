"""Lanes: one order starts three journeys. What is owed goes at once, each of it; marketing waits for its turn."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.shop import NOON, OPEN, Shop, happened, person, written

from wayline.domain import Control, Playbook
from wayline.orchestration import policy as deciding
from wayline.orchestration.gates import GATES

_STEP = (
    "steps:\n  say: {propose: [{action: a, channel: email, content: %s}], patience: %s, then: end, otherwise: end}\n"
)
_OWED = """\
stage: fulfillment
purpose: %s
owner: {business: b, technical: t, qa: q}
goal: Order Delivered
enters_on: Order Completed
reentry: per order_id
"""
_MARKETING = """\
stage: loyalty
purpose: marketing
owner: {business: b, technical: t, qa: q}
goal: Product Reviewed
enters_on: %s
reentry: after 1 day
control: 0.5
"""


def playbook(
    rules: str = "caps: {one-a-day: {at_most: 1, per: 24 hours}}\nslot: 1 hour\n", holdout: float = 0.0
) -> Playbook:
    """Confirmation and care instructions are owed; a club invitation is marketing, and so is the news sent before."""
    made = written(
        {
            "confirmation": _OWED % "transactional" + _STEP % ("confirmed", "2 days"),
            "care": _OWED % "service" + _STEP % ("cared", "2 days"),
            "club": _MARKETING % "Order Completed" + _STEP % ("invited", "3 days"),
            "news": _MARKETING % "Newsletter Due" + _STEP % ("told", "3 days"),
        },
        policy=OPEN + rules,
        confirmed="email",
        cared="email",
        invited="email",
        told="email",
    )
    versions = {v: replace(j, control=Control("share", holdout)) for v, j in made.journeys.items()}
    return replace(
        made,
        journeys=versions,
        current={name: versions[j.version] for name, j in made.current.items()},
        entering={event: tuple(versions[j.version] for j in entered) for event, entered in made.entering.items()},
        policy=replace(made.policy, holdout=holdout),
    )


def ordered(holdout: float = 0.0) -> Shop:
    """Somebody who had the news an hour ago, so that the day's marketing is used up, orders."""
    shop = Shop(playbook(holdout=holdout))
    shop.consent(days_ago=2)
    shop.tell(happened("Newsletter Due"))
    shop.after(hours=2)
    shop.tell(happened("Order Completed", order_id="o1", revenue=1, products=[]))
    return shop


def owed_at_once(holdout: float) -> None:
    shop = ordered(holdout)
    rows = {row.content: row for row in shop.deliveries()}
    for content in ("confirmed", "cared"):
        assert rows[content].state == "sent" and rows[content].settled_at == shop.now
        assert rows[content].lane == "owed"
    decisions = [d for d in shop.decisions() if d.lane == "owed"]
    assert [(d.arm, d.probability, d.assignments) for d in decisions] == [("treatment", 1.0, {})] * 2


@pytest.mark.parametrize("holdout", (0.0, 1.0), ids=("nobody held out", "everybody held out of marketing"))
def test_both_owed_messages_go_at_once_never_capped_and_never_held_out(holdout: float) -> None:
    owed_at_once(holdout)


def test_a_thousand_owed_messages_take_no_marketing_place() -> None:
    shop = Shop(playbook())
    shop.consent(days_ago=2)
    for number in range(5):
        shop.tell(happened("Order Completed", order_id=f"o{number}", revenue=1, products=[]))
    contents = [content for _, content in shop.sent()]
    assert contents.count("confirmed") == contents.count("cared") == 5
    assert contents.count("invited") == 1, "the invitation was not held up by any of them"


def waits_and_is_proposed_again() -> None:
    """The invitation is refused by the cap until tomorrow, and goes by itself when the place is free."""
    shop = ordered()
    (held,) = [d for d in shop.decisions("club") if d.action is None]
    (verdict,) = [v for v in held.considered if v.action.content == "invited"]
    assert verdict.gate == "caps" and verdict.refusal is not None
    assert verdict.refusal.until == NOON + timedelta(hours=24)
    assert shop.customer().wake_at == NOON + timedelta(hours=24)
    shop.after(hours=21, minutes=59)
    assert ("email", "invited") not in shop.sent()
    shop.after(minutes=1)
    assert shop.sent()[-1] == ("email", "invited")
    assert shop.deliveries()[-1].settled_at == NOON + timedelta(hours=24)


def test_marketing_waits_and_is_proposed_again_when_its_place_is_free() -> None:
    waits_and_is_proposed_again()


def outranked_goes_second() -> None:
    """Two marketing wishes at one instant: one wins, the other is told until when, and goes then."""
    shop = Shop(playbook("ranking: {club: 9.00, news: 1.00}\nslot: 1 hour\n"))
    shop.consent(days_ago=2)
    # Both in one turn: a wake that finds two wishes. Consent comes last, so that both are held until it does.
    ben = person("ben")
    shop.store.vault.put({f"{one.kind}:{one.value}": {"email": "ben@example.com"} for one in ben})
    shop.tell(happened("Newsletter Due", ben), happened("Order Completed", ben, order_id="o9", revenue=1, products=[]))
    assert {row.content for row in shop.deliveries()} == {"confirmed", "cared"}
    shop.tell(happened("Consent Granted", ben, channel="email", purpose="marketing"))
    (won,) = [d for d in shop.decisions() if d.action is not None and d.lane == "marketing"]
    assert won.action is not None and won.action.journey == "club"
    lost = next((v for v in won.considered if v.action.journey == "news"), None)
    assert lost is not None and lost.gate == "outranked"
    assert lost.refusal is not None
    assert "club ranks higher" in lost.refusal.fact
    assert lost.refusal.until == shop.now + timedelta(hours=1)
    shop.after(minutes=59)
    assert ("email", "told") not in shop.sent()
    shop.after(minutes=1)
    assert shop.sent()[-1] == ("email", "told")


def test_whoever_is_outranked_is_proposed_again_when_the_slot_is_over() -> None:
    outranked_goes_second()


def test_everybody_held_out_takes_the_same_way_and_gets_no_marketing() -> None:
    treated, control = ordered(0.0), ordered(1.0)
    for shop in (treated, control):
        shop.after(days=2)
    assert [(row.content, row.settled_at) for row in treated.deliveries()] == [
        (row.content, row.settled_at) for row in control.deliveries()
    ]
    assert {row.content for row in control.deliveries() if row.state == "withheld"} == {"told", "invited"}
    assert {content for _, content in control.sent()} == {"confirmed", "cared"}


# ------------------------------------------------------------------ mutants


def test_owed_messages_under_the_caps_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    slot = GATES["slot"]
    monkeypatch.setitem(GATES, "slot", lambda action, moment: slot(replace(action, lane="marketing"), moment))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        test_a_thousand_owed_messages_take_no_marketing_place()


def test_owed_messages_held_out_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    arm_of = deciding.arm_of
    monkeypatch.setattr(deciding, "arm_of", lambda journey, moment: arm_of(replace(journey, lane="marketing"), moment))
    with pytest.raises(AssertionError):
        owed_at_once(1.0)


def test_a_ruling_that_forgets_losers_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "_outrank", lambda loser, winner, slot_frees: None)
    with pytest.raises(AssertionError):
        outranked_goes_second()


def test_caps_that_do_not_say_until_when_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    caps = GATES["caps"]

    def forever(action, moment):  # type: ignore[no-untyped-def]
        refusal = caps(action, moment)
        return refusal and replace(refusal, until=None)

    monkeypatch.setitem(GATES, "caps", forever)  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        waits_and_is_proposed_again()
