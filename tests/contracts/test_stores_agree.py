"""Law 8 for the stores: the same batches, in any order, leave the same answers in memory and in SQLite."""

from __future__ import annotations

import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from wayline.domain import (
    Address,
    Decision,
    Enrollment,
    EntryRefusal,
    Event,
    Hold,
    Identifier,
    Link,
    Memory,
    Merge,
    Product,
    Standing,
)
from wayline.errors import Broken
from wayline.store import Batch, Delivery, Log, State
from wayline.store.memory import MemoryLog, MemoryState
from wayline.store.outbox import TRANSITIONS
from wayline.store.seal import Seal
from wayline.store.sqlite_log import SqliteLog
from wayline.store.sqlite_state import SqliteState

SEAL = Seal(bytes(32))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
INSTANTS = st.integers(0, 5).map(lambda n: NOON + n * timedelta(minutes=1))
WAKES = st.none() | INSTANTS
CUSTOMERS = st.sampled_from(["c0", "c1", "c2", "c3"])
DECISIONS = st.sampled_from(["d0", "d1", "d2"])
TOPICS = st.sampled_from(["stock:S1", "price:S1", "stock:S2"])
IDENTIFIERS = st.builds(Identifier, st.sampled_from(["email", "phone"]), st.sampled_from(["1", "2"]))


def standing(wake_at: datetime | None) -> Standing:
    return Standing((Enrollment("cart", "", "v1", "pause", NOON, NOON, wake_at),), wake_at=wake_at)


def delivery(decision_id: str, customer_id: str, state: Any, attempts: int, at: datetime) -> Delivery:
    lease_until = at if state == "attempting" and attempts == 1 else None
    return Delivery(
        decision_id=decision_id, customer_id=customer_id, channel="email", delivers=attempts < 2, purpose="service",
        lane="owed", journey="order", content="order-mail", state=state, created_at=at, due_at=at,
        attempts=attempts, lease_until=lease_until,
    )  # fmt: skip


def decision(decision_id: str, customer_id: str, at: datetime) -> Decision:
    return Decision(decision_id, customer_id, at, "owed", "event:1", None, facts={"orders": [1, "x", None]})


BATCHES = st.builds(
    Batch,
    position=st.none() | st.integers(0, 20),
    standings=st.dictionaries(CUSTOMERS, WAKES.map(standing), max_size=3),
    checkpoints=st.dictionaries(CUSTOMERS, st.builds(Memory, position=st.integers(0, 9)), max_size=2),
    links=st.lists(st.builds(Link, IDENTIFIERS, CUSTOMERS, st.just("web"), st.just(0.5), INSTANTS), max_size=2),
    merges=st.lists(st.builds(Merge, CUSTOMERS, CUSTOMERS, st.just(1.0), st.just("email"), INSTANTS), max_size=1),
    decisions=st.lists(st.builds(decision, DECISIONS, CUSTOMERS, INSTANTS), max_size=2),
    holds=st.lists(st.builds(Hold, DECISIONS, INSTANTS, WAKES), max_size=1),
    deliveries=st.lists(
        st.builds(delivery, DECISIONS, CUSTOMERS, st.sampled_from(list(TRANSITIONS)), st.integers(0, 2), INSTANTS),
        max_size=2,
    ),
    addresses=st.lists(st.builds(Address, st.just("email"), st.sampled_from("ab"), WAKES), max_size=1),
    products=st.lists(st.builds(Product, st.sampled_from(["S1", "S2"]), price=st.integers(0, 9)), max_size=2),
    spends=st.dictionaries(st.sampled_from(["coupons", "gifts"]), st.integers(0, 5), max_size=2),
    refused_entries=st.lists(
        st.tuples(CUSTOMERS, st.builds(EntryRefusal, st.just("welcome"), st.just(""), st.just("once"), INSTANTS)),
        max_size=2,
    ),
    topics=st.dictionaries(CUSTOMERS, st.lists(TOPICS, unique=True).map(tuple), max_size=2),
    notes=st.dictionaries(st.just("lake"), st.binary(max_size=3), max_size=1),
)


def attempt(state: State, batch: Batch) -> bool:
    try:
        state.commit(batch)
    except Broken:
        return False
    return True


def answers(state: State) -> Any:
    """Everything a state can be asked, as plain values."""
    everybody = [f"c{n}" for n in range(5)]
    identifiers = [Identifier(kind, value) for kind in ("email", "phone") for value in ("1", "2")]
    return msgspec.to_builtins(
        {
            "position": state.position(),
            "load": sorted(state.load(everybody).items()),
            "resolve": sorted((one, customer) for one, customer in state.resolve(identifiers).items()),
            "holders": [state.holders(one) for one in identifiers],
            "links": [state.links(one) for one in everybody],
            "merges": [state.merges(one) for one in everybody],
            "survivors": [state.survivor(one) for one in everybody],
            "due": [state.due(NOON + n * timedelta(minutes=2), n) for n in range(4)],
            "next_due": state.next_due(),
            "waiting_on": [state.waiting_on(["stock:S1", "price:S1"]), state.waiting_on(["stock:S2"])],
            "outbox": [state.outbox(one, NOON + timedelta(minutes=3), 2) for one in TRANSITIONS],
            "decisions": [list(state.decisions(one)) for one in (None, *everybody)],
            "deliveries": [list(state.deliveries(one)) for one in (None, *everybody)],
            "one": [(state.decision(f"d{n}"), state.delivery(f"d{n}")) for n in range(4)],
            "refused_entries": list(state.refused_entries()),
            "world": [state.address("email", "a"), list(state.products()), state.spent(), state.note("lake")],
            "customer_ids": list(state.customer_ids()),
            "counts": state.counts(),
        }
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(BATCHES, min_size=1, max_size=6))
def test_the_states_agree(batches: list[Batch]) -> None:
    memory = MemoryState()
    with tempfile.TemporaryDirectory() as folder:
        with closing(SqliteState(Path(folder) / "state.sqlite")) as sqlite:
            for batch in batches:
                assert attempt(memory, batch) == attempt(sqlite, batch)
                assert answers(memory) == answers(sqlite)
        with closing(SqliteState(Path(folder) / "state.sqlite")) as again:
            assert answers(memory) == answers(again)


EVENTS = st.builds(
    Event,
    event_id=st.sampled_from(["e1", "e2", "e3"]),
    source=st.sampled_from(["web", "till"]),
    name=st.sampled_from(["Product Viewed", "Order Completed"]),
    occurred_at=INSTANTS,
    received_at=INSTANTS,
    identifiers=st.lists(IDENTIFIERS, max_size=2).map(tuple),
    properties=st.dictionaries(st.text(max_size=2), st.integers(-9, 9) | st.text(max_size=2), max_size=1),
)


def told(log: Log) -> Any:
    return msgspec.to_builtins(
        {
            "head": log.head(),
            "read": log.read(0, 100),
            "some": log.read(2, 2),
            "named": list(log.named(["Order Completed"], after=1)),
            "about": log.about([Identifier("email", "1"), Identifier("phone", "2")], 3),
            "conflicts": log.conflicts(),
            "counts": log.counts(),
        }
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(EVENTS, max_size=5), max_size=6))
def test_the_logs_agree(appends: list[list[Event]]) -> None:
    memory = MemoryLog()
    with tempfile.TemporaryDirectory() as folder:
        with closing(SqliteLog(Path(folder) / "log.sqlite", SEAL)) as sqlite:
            for events in appends:
                assert memory.append(events) == sqlite.append(events)
                assert told(memory) == told(sqlite)
        with closing(SqliteLog(Path(folder) / "log.sqlite", SEAL)) as again:
            assert told(memory) == told(again)
