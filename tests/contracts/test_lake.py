"""What the lake promises: everything once, nothing twice, however often and wherever shipping is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from msgspec import json

from wayline.domain import Action, Decision, Event, Hold, Identifier, Link, Merge, Refusal, Verdict
from wayline.store import Batch, Delivery
from wayline.store.lake import Shipped, attach, compact, ship
from wayline.store.opening import Store, open_store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "shop" if request.param == "sqlite" else None) as opened:
        yield opened


def event(number: int, **changes: Any) -> Event:
    at = NOON + number * HOUR
    identifiers = (Identifier("anonymous_id", f"a{number % 3}"),)
    told: dict[str, Any] = {"identifiers": identifiers, "properties": {"sku": f"S{number}", "price": 1299}} | changes
    return Event(event_id=f"e{number}", source="web", name="Product Viewed", occurred_at=at, received_at=at, **told)


def decision(number: int, customer_id: str = "c0") -> Decision:
    at = NOON + number * HOUR
    action = Action("reminder", content="cart-reminder", journey="cart-recovery")
    refused = Verdict(action, "caps", Refusal("weekly", "2 of 2 contacts in 7 days", at + HOUR))
    return Decision(
        f"d{number}", customer_id, at, "marketing", f"event:{number}", action, considered=(refused,), facts={"x": [1]}
    )


def delivery(number: int, state: Any = "pending", attempts: int = 0) -> Delivery:
    at = NOON + number * HOUR
    return Delivery(
        decision_id=f"d{number}", customer_id="c0", channel="email", delivers=True, purpose="marketing",
        lane="marketing", journey="cart-recovery", content="cart-reminder", state=state, created_at=at, due_at=at,
        attempts=attempts,
    )  # fmt: skip


def ask(folder: Path, question: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        attach(connection, folder)
        return connection.execute(question).fetchall()


def test_an_empty_lake_answers_nothing(store: Store, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    assert ship(store.state, store.log, lake) == Shipped()
    assert ask(lake, "SELECT count(*), max(customer_id) FROM events") == [(0, None)]
    assert ask(lake, "SELECT * FROM decisions JOIN deliveries USING (decision_id)") == []


def test_events_are_shipped_once_as_far_as_turns_were_taken(store: Store, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    links = [Link(Identifier("anonymous_id", f"a{n}"), f"c{n}", "web", 0.9, NOON) for n in range(2)]
    store.log.append([event(n) for n in range(40)])
    store.state.commit(Batch(position=30, links=links))
    assert ship(store.state, store.log, lake, rows_max=7).events == 30
    assert ship(store.state, store.log, lake).events == 0
    store.state.commit(Batch(position=40))
    assert ship(store.state, store.log, lake).events == 10
    assert ask(lake, "SELECT position FROM events ORDER BY position") == [(n + 1,) for n in range(40)]
    rows = ask(
        lake, "SELECT event_id, customer_id, occurred_at, identifiers, properties, day FROM events WHERE position = 2"
    )
    at = NOON + HOUR
    assert rows == [("e1", "c1", at, ["anonymous_id:a1"], '{"sku":"S1","price":1299}', "2026-03-01")]
    assert ask(lake, "SELECT count(*) FROM events WHERE customer_id IS NULL") == [(13,)]
    assert ask(lake, "SELECT day, count(*) FROM events GROUP BY day ORDER BY day") == [
        ("2026-03-01", 12),
        ("2026-03-02", 24),
        ("2026-03-03", 4),
    ]


def test_decisions_and_deliveries_appear_as_they_were_last(store: Store, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    state = store.state
    state.commit(Batch(decisions=[decision(1), decision(2)], deliveries=[delivery(1), delivery(2)]))
    assert ship(state, store.log, lake) == Shipped(decisions=2, deliveries=2)
    state.commit(Batch(deliveries=[delivery(1, "attempting", 1)], holds=[Hold("d2", NOON)]))
    state.commit(Batch(deliveries=[delivery(1, "sent", 1)]))
    assert ship(state, store.log, lake, rows_max=1) == Shipped(decisions=1, deliveries=2 if _repeats(state) else 1)
    assert ship(state, store.log, lake) == Shipped()
    joined = "FROM decisions JOIN deliveries USING (decision_id)"
    found = ask(lake, f"SELECT decision_id, deliveries.state, count {joined} ORDER BY 1")
    assert found == [("d1", "sent", 1), ("d2", "pending", 2)]
    verdicts = "FROM decisions, unnest(considered) AS t(v) WHERE decision_id = 'd1'"
    ((gate, fact, until, facts),) = ask(lake, f"SELECT v.gate, v.fact, v.until, facts {verdicts}")
    assert (gate, fact, until) == ("caps", "2 of 2 contacts in 7 days", NOON + 2 * HOUR)
    assert json.decode(facts) == {"x": [1]}


def _repeats(state: Any) -> bool:
    return type(state).__name__ == "SqliteState"


def test_a_shipment_cut_off_goes_on_where_it_stopped(store: Store, tmp_path: Path) -> None:
    """The tables were written and the state was not told: the same changes come again, and are passed over."""
    lake = tmp_path / "lake"

    class CutOff:
        def __getattr__(self, name: str) -> Any:
            return getattr(store.state, name)

        def commit(self, batch: Batch) -> None:
            raise KeyboardInterrupt

    store.state.commit(Batch(decisions=[decision(n) for n in range(5)], deliveries=[delivery(n) for n in range(5)]))
    with pytest.raises(KeyboardInterrupt):
        ship(CutOff(), store.log, lake, rows_max=4)  # type: ignore[arg-type]  # a State but for its commit
    assert ask(lake, "SELECT count(*) FROM decisions") == [(4,)]
    assert ship(store.state, store.log, lake, rows_max=4) == Shipped(decisions=1, deliveries=5)
    assert ask(lake, "SELECT count(*), count(DISTINCT decision_id) FROM decisions") == [(5, 5)]
    assert ask(lake, "SELECT count(*) FROM deliveries") == [(5,)]


def test_merged_customers_are_read_under_the_survivor(store: Store, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    links = [Link(Identifier("anonymous_id", f"a{n}"), f"c{n}", "web", 0.9, NOON) for n in range(3)]
    store.log.append([event(n) for n in range(3)])
    store.state.commit(Batch(position=3, links=links, decisions=[decision(1, "c1")]))
    ship(store.state, store.log, lake)
    merges = [Merge("c0", "c1", 1.0, "user_id", NOON), Merge("c1", "c2", 1.0, "user_id", NOON)]
    store.state.commit(Batch(merges=merges))
    ship(store.state, store.log, lake)
    assert ask(lake, "SELECT DISTINCT customer_id FROM events") == [("c2",)]
    assert ask(lake, "SELECT customer_id FROM decisions") == [("c2",)]


def test_compacting_changes_files_and_no_answer(store: Store, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    for start in range(0, 40, 4):
        store.log.append([event(number) for number in range(start, start + 4)])
        store.state.commit(Batch(position=start + 4, decisions=[decision(start)], deliveries=[delivery(start)]))
        ship(store.state, store.log, lake)
    question = "SELECT * FROM events ORDER BY position"
    before, files = ask(lake, question), len(list((lake / "events").rglob("*.parquet")))
    compact(lake, kept=timedelta(0))
    assert ask(lake, question) == before and len(before) == 40
    assert len(list((lake / "events").rglob("*.parquet"))) == 3 < files
    store.log.append([event(99)])
    store.state.commit(Batch(position=41))
    assert ship(store.state, store.log, lake).events == 1, "the place is remembered through compaction"
