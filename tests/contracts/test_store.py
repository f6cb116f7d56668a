"""What every store promises: one suite, over all of them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wayline.domain import (
    Address,
    Contact,
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
    Register,
    Standing,
)
from wayline.errors import Broken
from wayline.store import (
    REJECTED_BODY_MAX,
    Appended,
    Batch,
    Delivery,
    Log,
    Rejection,
    SetAside,
    State,
    Vault,
    sqlite_log,
)
from wayline.store.duplicates import CONFLICTS_MAX
from wayline.store.durable import Durable
from wayline.store.encoding import Encoded, encoded
from wayline.store.memory import MemoryLog
from wayline.store.opening import Store, open_store
from wayline.store.outbox import SETTLED, TRANSITIONS
from wayline.store.seal import Seal
from wayline.store.sqlite_log import SqliteLog
from wayline.store.told import Told, Weight

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
STORES = ("memory", "sqlite")


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path if kind == "sqlite" else None) as opened:
        yield opened


@pytest.fixture
def log(store: Store) -> Log:
    return store.log


@pytest.fixture
def state(store: Store) -> State:
    return store.state


@pytest.fixture
def vault(store: Store) -> Vault:
    return store.vault


def event(number: int, **changes: Any) -> Event:
    return Event(
        **{
            "event_id": f"e{number}",
            "source": "web",
            "name": "Product Viewed",
            "occurred_at": NOON + number * MINUTE,
            "received_at": NOON + number * MINUTE,
            "identifiers": (Identifier("anonymous_id", f"a{number}"),),
            "properties": {"sku": f"S{number}", "price": 1299, "at": NOON, "tags": ["x", "y"]},
            **changes,
        }
    )


def delivery(decision_id: str, **changes: Any) -> Delivery:
    return Delivery(
        **{
            "decision_id": decision_id,
            "customer_id": "c1",
            "channel": "email",
            "delivers": True,
            "purpose": "marketing",
            "lane": "marketing",
            "journey": "cart-recovery",
            "content": "cart-reminder",
            "state": "pending",
            "created_at": NOON,
            "due_at": NOON,
            **changes,
        }
    )


def decision(decision_id: str, **changes: Any) -> Decision:
    return Decision(
        **{
            "decision_id": decision_id,
            "customer_id": "c1",
            "decided_at": NOON,
            "lane": "marketing",
            "stimulus": "event:1",
            "action": None,
            "facts": {"cart_value": 4200},
            **changes,
        }
    )


def standing(wake_at: datetime | None = None) -> Standing:
    enrollment = Enrollment("cart-recovery", "", "v1", "pause", NOON, NOON, wake_at, topics=("stock:S1",))
    contact = Contact("d0", NOON, "email", "marketing", "marketing", "welcome", "welcome-mail", claims=("in_stock:S1",))
    return Standing((enrollment,), (contact,), {}, wake_at)


def link(kind: str, value: str, customer_id: str, *, minutes: int = 0) -> Link:
    return Link(Identifier(kind, value), customer_id, "web", 0.9, NOON + minutes * MINUTE)


def merge(loser: str, survivor: str) -> Merge:
    return Merge(loser, survivor, 1.0, "user_id", NOON)


# ------------------------------------------------------------------ the log


def ready(one: Event) -> Encoded:
    made = encoded(one)
    assert isinstance(made, Encoded)
    return made


def test_what_was_made_ready_elsewhere_is_stored_as_if_it_had_been_here(log: Log) -> None:
    full = event(
        2, kind="page", properties={"n": -1.5, "deep": {"list": [1, None, True]}}, context={"locale": "de"},
        notes=("unverified", "contract: it lacks sku"), fires=False,
    )  # fmt: skip
    told = [event(1), full, *(event(n) for n in range(3, 400))]  # places of every width, and many in one statement
    assert log.append([ready(one) for one in told]).stored == 399
    assert log.read(0, 1000) == [msgspec.structs.replace(one, position=at) for at, one in enumerate(told, 1)]
    assert log.append(told[:5]).duplicates == 5 and log.append([ready(one) for one in told[:5]]).duplicates == 5
    assert log.append([ready(event(1, name="Product Clicked")), ready(event(400))]).conflicts == 1
    assert log.head() == 400 and log.conflicts()[0].position == 1
    volumes = log.volumes(NOON - MINUTE)
    assert sum(each.stored for each in volumes) == 400
    assert sum(each.imported for each in volumes) == sum(each.broken for each in volumes) == 1


def test_a_chronicle_is_in_the_order_in_which_the_shop_knew(log: Log) -> None:
    imported = [event(n, occurred_at=NOON - (9 - n) * 999 * MINUTE, received_at=NOON, fires=False) for n in (3, 1, 2)]
    late = [event(4, occurred_at=NOON - 9999 * MINUTE, received_at=NOON), event(5, received_at=NOON + MINUTE)]
    earlier = [event(6, occurred_at=NOON - 99_999 * MINUTE, received_at=NOON + 2 * MINUTE, fires=False)]
    for batch in (imported, late, earlier):
        log.append(batch)
    assert [one.event_id for one in log.chronicle()] == ["e6", "e1", "e2", "e3", "e4", "e5"]
    assert [one.position for one in log.chronicle()] == [6, 2, 3, 1, 4, 5]


def test_events_come_back_in_order_with_their_places(log: Log) -> None:
    told = [event(1), event(2, fires=False, notes=("late",), kind="page"), event(3, context={"page": {"path": "/"}})]
    assert log.head() == 0
    assert log.append(told) == Appended(stored=3, duplicates=0, conflicts=0, head=3)
    assert [msgspec.structs.replace(one, position=0) for one in log.read(0, 10)] == told
    assert [one.position for one in log.read(1, 1)] == [2]
    assert log.read(3, 10) == [] and log.head() == 3


def test_what_was_not_stored_is_counted_by_source(log: Log) -> None:
    log.append([event(1), event(1, source="till")])
    appended = log.append([event(1), event(1), event(1, source="till", name="Help Viewed"), event(2)])
    assert dict(appended.beside) == {("web", "duplicate"): 2, ("till", "conflict"): 1}
    assert (appended.stored, appended.duplicates, appended.conflicts) == (1, 2, 1)


def test_an_event_is_stored_once(log: Log) -> None:
    log.append([event(1), event(2)])
    retried = event(1, received_at=NOON + 90 * MINUTE, occurred_at=NOON + 61 * timedelta(seconds=1))
    appended = log.append([retried, event(3), event(3), event(2)])
    assert (appended.stored, appended.duplicates, appended.conflicts, appended.head) == (1, 3, 0, 3)
    assert [one.event_id for one in log.read(0, 10)] == ["e1", "e2", "e3"]
    assert log.counts() == {"stored": 3, "duplicate": 3, "conflict": 0, "rejected": 0}


def test_s18_equal_ids_from_two_sources_are_two_events(log: Log) -> None:
    assert log.append([event(1), event(1, source="till"), event(1, source="webe", event_id="1")]).stored == 3


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Product Added"},
        {"properties": {"sku": "S9"}},
        {"identifiers": ()},
        {"context": {"a": 1}},
        {"kind": "page"},
        {"occurred_at": NOON + timedelta(days=9)},
    ],
)
def test_the_same_key_with_other_content_is_kept_beside(log: Log, change: dict[str, Any]) -> None:
    log.append([event(0), event(1)])
    appended = log.append([event(1, **change), event(2)])
    assert (appended.stored, appended.duplicates, appended.conflicts) == (1, 0, 1)
    assert log.append([event(1, **change)]).duplicates == 1, "the same conflict again is nothing new"
    assert log.read(1, 1)[0] == event(1, position=2), "the first is kept"
    assert log.conflicts() == [event(1, **change, position=2)]


def test_conflicts_are_bounded_and_still_counted(log: Log) -> None:
    log.append([event(1)])
    log.append([event(1, name=f"Name {n}") for n in range(CONFLICTS_MAX + 5)])
    assert len(log.conflicts()) == CONFLICTS_MAX
    assert log.counts()["conflict"] == CONFLICTS_MAX + 5


def test_rejections_are_kept_newest_first(log: Log) -> None:
    made = [
        Rejection(
            source="web",
            event_id=f"r{n}",
            name="Order Completed",
            code="type",
            field="total",
            reason="expected a number",
            received_at=NOON,
            body=b'{"total": "\xff\x00"}',
        )
        for n in range(3)
    ]
    assert log.append([event(1)], made[:2]).stored == 1
    log.append([], made[2:])
    assert log.rejections() == made[::-1]
    assert log.rejections(2) == made[:0:-1]
    assert log.rejections(0) == []
    assert log.counts()["rejected"] == 3


def rejection(number: int, **said: Any) -> Rejection:
    told: dict[str, Any] = {
        "source": "web", "event_id": f"r{number}", "name": "Order Completed", "code": "type", "field": "total",
        "reason": "expected a number", "received_at": NOON, "body": b"{}",
    }  # fmt: skip
    return Rejection(**{**told, **said})


def test_rejections_have_numbers_to_be_offered_again_by(log: Log) -> None:
    made = [rejection(n, trusted=n == 1, sent_at=NOON) for n in range(4)]
    log.append([], made)
    newest = log.rejected(0, 2)
    assert [one for _, one in newest] == made[:1:-1]
    older = log.rejected(newest[-1][0], 10)
    assert [one for _, one in older] == made[1::-1]
    gone = [older[0][0], 10_000]
    assert log.let_go(gone) == 1
    assert log.let_go(gone) == 0
    assert [one for _, one in log.rejected(0, 10)] == [made[3], made[2], made[0]]
    assert log.counts()["rejected"] == 4


def test_rejections_are_counted_and_numbered_without_their_bodies(log: Log) -> None:
    log.append([], [rejection(n, body=b"%d" % n) for n in range(5)])
    numbers = log.rejected_numbers(0, 10)
    assert numbers == [number for number, _ in log.rejected(0, 10)] and log.rejected_kept() == 5
    assert log.rejected_numbers(numbers[1], 2) == numbers[2:4]
    assert [one for _, one in log.rejected(0, 2, is_whole=False)] == [rejection(4, body=b""), rejection(3, body=b"")]
    assert log.let_go(numbers[:2]) == 2
    assert (log.rejected_kept(), log.rejected_numbers(0, 10), log.counts()["rejected"]) == (3, numbers[2:], 5)


def test_of_a_huge_rejection_only_the_beginning_is_kept(log: Log) -> None:
    fits, huge = rejection(1, body=b"a" * REJECTED_BODY_MAX), rejection(2, body=b"b" * (REJECTED_BODY_MAX + 1))
    log.append([], [fits, huge])
    ((_, second), (_, first)) = log.rejected(0, 2)
    assert first == fits and not first.is_cut
    assert (second.is_cut, second.body) == (True, b"b" * REJECTED_BODY_MAX)


def test_what_a_token_proved_is_kept_with_a_rejection(log: Log) -> None:
    proved = rejection(1, named={"user_id": "anna"}, customer_id="c-1", doubts=("identity token: it has expired",))
    log.append([], [proved])
    assert log.rejections() == [proved]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_x14_all_rejections_together_take_no_more_than_they_may(kind: str, tmp_path: Path) -> None:
    seal = Seal(bytes(32))
    log: Log = (
        MemoryLog(rejected_bytes_max=100_000)
        if kind == "memory"
        else SqliteLog(tmp_path / "log.sqlite", seal, rejected_bytes_max=100_000)
    )
    for first in range(0, 100, 4):
        log.append([], [rejection(n, body=b"x" * 10_000) for n in range(first, first + 4)])
    kept = log.rejected(0, 100)
    assert 7 <= len(kept) <= 10 and log.rejected_kept() == len(kept)
    assert [one.event_id for _, one in kept] == [f"r{n}" for n in range(99, 99 - len(kept), -1)], "the newest of them"
    assert log.counts()["rejected"] == 100
    log.let_go([number for number, _ in kept])
    log.append([], [rejection(n, body=b"x" * 10_000) for n in range(7)])
    assert log.rejected_kept() == 7, "what is let go makes room again"
    log.close()


def test_rejections_of_a_file_from_before_are_taken_along(tmp_path: Path) -> None:
    seal, path = Seal(bytes(32)), tmp_path / "log.sqlite"
    file = Durable(path, sqlite_log._MIGRATIONS[:2], page_bytes=8192)
    whole = msgspec.msgpack.encode(rejection(1, body=b"as it was"))
    file.write(
        lambda each: each.execute("INSERT INTO rejections VALUES (7, ?)", (seal.close(whole, "rejected event"),))
    )
    file.close()
    log = SqliteLog(path, seal)
    assert log.rejected(0, 2) == [(7, rejection(1, body=b"as it was"))] and log.rejected_kept() == 1
    assert log.rejected(0, 2, is_whole=False)[0][1].body == b""
    assert (log.let_go([7]), log.rejected_kept()) == (1, 0)
    log.close()


def test_how_much_came_is_counted_by_hour_source_and_name(log: Log) -> None:
    hour = NOON.replace(microsecond=0)
    late = event(2, received_at=NOON + timedelta(hours=2))
    noted = event(3, source="till", notes=("unverified", "contract: it lacks order_id"))
    log.append([event(1), late, noted, event(1), event(1, properties={"sku": "other"})], [rejection(1)])
    log.append([event(4, fires=False), event(1)])
    volumes = log.volumes(NOON - timedelta(hours=1))
    assert [(each.hour, each.source, each.name, each.stored) for each in volumes] == [
        (hour, "till", "Product Viewed", 1),
        (hour, "web", "Order Completed", 0),
        (hour, "web", "Product Viewed", 2),
        (hour + timedelta(hours=2), "web", "Product Viewed", 1),
    ]
    till, refused, web, after = volumes
    assert (till.unverified, till.broken) == (1, 1)
    assert refused.rejected == 1
    assert (web.duplicates, web.conflicts, web.imported, web.late) == (2, 1, 1, 0)
    assert after.late == 1
    assert sum(v.stored + v.duplicates + v.conflicts + v.rejected for v in volumes) == sum(log.counts().values()) == 8
    assert log.volumes(NOON + timedelta(hours=1)) == [after]


def test_names_a_sender_makes_up_are_counted_together_once_they_are_many(log: Log) -> None:
    log.append([event(n, name=f"Made Up {n}", received_at=NOON) for n in range(150)])
    log.append([event(1000 + n, name=f"Made Up {n + 100}", received_at=NOON) for n in range(150)])
    names = {each.name: each.stored for each in log.volumes(NOON)}
    assert len(names) == 201
    assert sum(names.values()) == 300


def test_events_by_name_and_about_a_person(log: Log) -> None:
    cat = Identifier("email", "a" * 32)
    log.append([event(n, name="Order Completed" if n % 3 == 0 else "Product Viewed") for n in range(1, 10)])
    log.append([event(n, identifiers=(cat, Identifier("anonymous_id", "b"))) for n in range(10, 14)])
    log.append([event(20, identifiers=(), properties={"text": cat.value})])
    assert [one.position for one in log.named(["Order Completed", "Never"])] == [3, 6, 9]
    assert [one.position for one in log.named(["Order Completed"], after=3)] == [6, 9]
    assert list(log.named([])) == []
    assert [one.position for one in log.about([cat], 3)] == [11, 12, 13]
    assert log.about([Identifier("phone", cat.value)], 3) == []
    assert log.about([], 3) == []


def test_the_log_knows_under_which_keys_it_holds_events(log: Log) -> None:
    stored = [event(n) for n in range(1, 40)]
    log.append(stored)
    keys = [(one.source, one.event_id) for one in stored]
    assert log.holds([*keys[3:30], ("never", keys[0][1]), (keys[0][0], "never")]) == frozenset(keys[3:30])
    assert log.holds([]) == frozenset()


def test_any_text_survives_the_log(log: Log) -> None:
    naughty = ["\x00", "\ufeff", "'; DROP TABLE events; --", "\u202e", "😀" * 50, "", "\r\n\x0b\x85\u2028", "%s{{7*7}}"]
    told = [event(n, event_id=f"n{n}{text}", properties={text: text}) for n, text in enumerate(naughty)]
    assert log.append(told).stored == len(naughty)
    assert [one.properties for one in log.read(0, 100)] == [one.properties for one in told]
    assert log.append(told).duplicates == len(naughty)


# ------------------------------------------------------------------ customers


def test_a_customer_is_memory_and_standing(state: State) -> None:
    memory = Memory(
        identifiers=(Identifier("user_id", "u"),),
        traits={"country": Register((NOON, "web", "e1"), "NL")},
        facets={"cart": [["S1", 2]]},
        position=7,
    )
    state.commit(Batch(position=7, standings={"c1": standing(NOON)}, checkpoints={"c1": memory}))
    state.commit(Batch(standings={"c2": standing()}))
    loaded = state.load(["c1", "c2", "c3"])
    assert set(loaded) == {"c1", "c2"}
    assert loaded["c1"].memory == memory and loaded["c1"].standing == standing(NOON)
    assert loaded["c2"].memory == Memory() and loaded["c2"].standing == standing()
    assert state.position() == 7
    state.commit(Batch(position=9, checkpoints={"c2": memory}))
    assert state.load(["c2"])["c2"].standing == standing()
    assert state.position() == 9 and state.load([]) == {}
    assert list(state.customer_ids()) == ["c1", "c2"]


def test_wakes_come_in_order(state: State) -> None:
    state.commit(Batch(standings={f"c{n}": standing(NOON + n * MINUTE) for n in (5, 1, 9, 3)} | {"c0": standing()}))
    assert state.due(NOON, 10) == []
    assert state.due(NOON + 5 * MINUTE, 10) == [(NOON + n * MINUTE, f"c{n}") for n in (1, 3, 5)]
    assert state.due(NOON + 5 * MINUTE, 2) == [(NOON + n * MINUTE, f"c{n}") for n in (1, 3)]
    assert state.next_due() == NOON + MINUTE
    state.commit(Batch(standings={"c1": standing(), "c9": standing(NOON), "c3": standing(NOON + 4 * MINUTE)}))
    state.commit(Batch(standings={"c3": standing(NOON + 3 * MINUTE)}))
    assert state.due(NOON + 5 * MINUTE, 10) == [(NOON, "c9"), (NOON + 3 * MINUTE, "c3"), (NOON + 5 * MINUTE, "c5")]
    assert state.next_due() == NOON


def test_next_due_minds_pending_deliveries_only(state: State) -> None:
    assert state.next_due() is None
    state.commit(
        Batch(deliveries=[delivery("d1", due_at=NOON + MINUTE)], standings={"c1": standing(NOON + 2 * MINUTE)})
    )
    assert state.next_due() == NOON + MINUTE
    state.commit(Batch(deliveries=[delivery("d1", due_at=NOON + MINUTE, state="attempting", attempts=1)]))
    assert state.next_due() == NOON + 2 * MINUTE


def test_identifiers_resolve_to_the_newest_link(state: State) -> None:
    made = [link("anonymous_id", "a", "c1", minutes=5), link("email", "x", "c1"), link("anonymous_id", "a", "c2")]
    state.commit(Batch(links=made[:2]))
    state.commit(Batch(links=made[2:]))
    asked = [one.identifier for one in made] + [Identifier("email", "never")]
    assert state.resolve(asked) == {asked[0]: "c2", asked[1]: "c1"}
    assert state.links("c1") == made[:2] and state.links("c2") == made[2:] and state.links("c3") == []
    assert state.holders(asked[0]) == [made[0], made[2]] and state.holders(asked[3]) == []
    assert list(state.customer_ids()) == ["c1", "c2"], "whoever is linked is a customer"
    assert set(state.load(["c1"])) == {"c1"}


def test_merges_are_followed_for_ever(state: State) -> None:
    state.commit(
        Batch(
            links=[link("anonymous_id", "a", "c1"), link("anonymous_id", "b", "c2"), link("user_id", "u", "c3")],
            standings={one: standing(NOON) for one in ("c1", "c2", "c3")},
            topics={"c1": ("stock:S1",), "c3": ("stock:S1",)},
            decisions=[decision("d1"), decision("d3", customer_id="c3", decided_at=NOON - MINUTE)],
            deliveries=[delivery("d1"), delivery("d3", customer_id="c3", created_at=NOON - MINUTE)],
        )
    )
    state.commit(Batch(merges=[merge("c1", "c2")]))
    state.commit(Batch(merges=[merge("c2", "c3"), merge("c1", "c2")]))
    assert [state.survivor(one) for one in ("c1", "c2", "c3", "c4")] == ["c3", "c3", "c3", "c4"]
    assert set(state.resolve([Identifier("anonymous_id", "a")]).values()) == {"c3"}
    assert list(state.customer_ids()) == ["c3"]
    assert state.due(NOON, 9) == [(NOON, "c3")] and state.waiting_on(["stock:S1"]) == ["c3"]
    assert [one.identifier.value for one in state.links("c3")] == ["a", "b", "u"]
    assert state.links("c1") == state.links("c3")
    assert state.merges("c3") == state.merges() == [merge("c1", "c2"), merge("c2", "c3")] and state.merges("c9") == []
    assert [one.decision_id for one in state.decisions("c3")] == ["d3", "d1"]
    assert [one.decision_id for one in state.deliveries("c1")] == ["d3", "d1"]
    assert set(state.load(["c1"])) == {"c1"}, "the loser is still there to be merged from"


@pytest.mark.parametrize("wrong", [("c1", "c3"), ("c2", "c1"), ("c4", "c4")])
def test_a_merge_never_changes_and_closes_no_circle(state: State, wrong: tuple[str, str]) -> None:
    state.commit(Batch(merges=[merge("c1", "c2")]))
    with pytest.raises(Broken, match="merg"):
        state.commit(Batch(merges=[merge(*wrong)], standings={"c9": standing()}))
    with pytest.raises(Broken, match="circle"):
        state.commit(Batch(merges=[merge("c2", "c5"), merge("c5", "c1")]))
    assert state.load(["c9"]) == {} and state.survivor("c2") == "c2"


# ------------------------------------------------------------------ topics, spends, the world


def test_topics_are_replaced_whole(state: State) -> None:
    state.commit(Batch(topics={"c1": ("stock:S1", "price:S1"), "c2": ("stock:S1",)}))
    assert state.waiting_on(["stock:S1"]) == ["c1", "c2"]
    assert state.waiting_on(["price:S1", "stock:S1", "stock:S9"]) == ["c1", "c2"]
    state.commit(Batch(topics={"c1": ("stock:S2",), "c2": ()}))
    assert state.waiting_on(["stock:S1", "price:S1"]) == []
    assert state.waiting_on(["stock:S2"]) == ["c1"] and state.waiting_on([]) == []


def test_spends_add_up(state: State) -> None:
    state.commit(Batch(spends={"coupons": 3, "gifts": 1}))
    state.commit(Batch(spends={"coupons": 4}))
    assert state.spent() == {"coupons": 7, "gifts": 1}


def test_refused_entries_are_counted(state: State) -> None:
    first, later = (EntryRefusal("welcome", "", "once only", NOON + n * MINUTE) for n in (0, 1))
    other = EntryRefusal("welcome", "o1", "once only", NOON)
    state.commit(Batch(refused_entries=[("c1", first), ("c2", other)]))
    state.commit(Batch(refused_entries=[("c1", later)]))
    assert list(state.refused_entries()) == [("c1", later, 2), ("c2", other, 1)]


def test_the_world_is_upserted(state: State) -> None:
    mailbox = Address("email", "k1", suppressed_at=NOON, reason="bounced", contacts=standing().contacts)
    state.commit(
        Batch(addresses=[Address("email", "k1"), Address("sms", "k1")], products=[Product("S2"), Product("S1")])
    )
    state.commit(Batch(addresses=[mailbox], products=[Product("S2", price=1299, stock_as_of=NOON)]))
    assert state.address("email", "k1") == mailbox
    assert state.address("sms", "k1") == Address("sms", "k1") and state.address("sms", "k2") is None
    assert list(state.products()) == [Product("S1"), Product("S2", price=1299, stock_as_of=NOON)]


def test_notes_and_events_set_aside(state: State) -> None:
    aside = [SetAside(n, "c1", "the turn raised: division by zero", NOON) for n in (4, 2)]
    state.commit(Batch(set_aside=aside, notes={"lake": b"\x00\x01"}))
    state.commit(Batch(set_aside=[SetAside(4, "c1", "again", NOON)], notes={"lake": b"\x02", "other": b""}))
    assert state.set_asides() == aside[::-1], "the first reason is kept"
    assert state.note("lake") == b"\x02" and state.note("other") == b"" and state.note("none") is None


# ------------------------------------------------------------------ decisions and the outbox


def test_a_recorded_decision_never_changes(state: State) -> None:
    state.commit(Batch(decisions=[decision("d2", decided_at=NOON + MINUTE), decision("d1")]))
    state.commit(Batch(decisions=[decision("d1", stimulus="other"), decision("d0", customer_id="c2")]))
    assert state.decision("d1") == decision("d1") and state.decision("d9") is None
    assert [one.decision_id for one in state.decisions()] == ["d0", "d1", "d2"]
    assert [one.decision_id for one in state.decisions("c1")] == ["d1", "d2"]
    assert list(state.decisions("c9")) == []


def test_a_repeated_hold_is_one_row_with_a_count(state: State) -> None:
    state.commit(Batch(decisions=[decision("d1", until=NOON)], holds=[Hold("d1", NOON, NOON + MINUTE)]))
    state.commit(Batch(holds=[Hold("d1", NOON + MINUTE, NOON + 9 * MINUTE)]))
    held = decision("d1", count=3, until=NOON + 9 * MINUTE)
    assert state.decision("d1") == held and list(state.decisions()) == [held]
    state.commit(Batch(holds=[Hold("d1", NOON + 9 * MINUTE)]))
    assert state.decision("d1") == decision("d1", count=4, until=None)
    with pytest.raises(Broken, match="d7"):
        state.commit(Batch(position=5, holds=[Hold("d7", NOON)]))
    assert state.position() == 0


def test_the_outbox_gives_what_is_due(state: State) -> None:
    rows = [delivery(f"d{n}", due_at=NOON + n * MINUTE, delivers=n != 2) for n in (3, 1, 2)]
    state.commit(Batch(deliveries=rows))
    assert [one.decision_id for one in state.outbox("pending", NOON + 2 * MINUTE, 10)] == ["d1", "d2"]
    assert [one.decision_id for one in state.outbox("pending", NOON + 9 * MINUTE, 1)] == ["d1"]
    taken = delivery("d1", due_at=NOON + MINUTE, state="attempting", attempts=1, lease_until=NOON + 5 * MINUTE)
    state.commit(Batch(deliveries=[taken]))
    assert [one.decision_id for one in state.outbox("pending", NOON + 9 * MINUTE, 10)] == ["d2", "d3"]
    assert state.outbox("attempting", NOON + 4 * MINUTE, 10) == []
    assert state.outbox("attempting", NOON + 5 * MINUTE, 10) == [taken] == [state.delivery("d1")]
    sent = delivery("d1", state="sent", attempts=1, settled_at=NOON, detail="250 ok", provider_id="p1", address="k")
    state.commit(Batch(deliveries=[sent]))
    assert state.outbox("attempting", NOON + 9 * MINUTE, 10) == [] and state.outbox("sent", NOON, 10) == [sent]
    assert state.delivery("d9") is None and state.delivery("d2") == rows[2]
    assert state.counts()["deliveries.sent"] == 1 and state.counts()["deliveries.pending"] == 2


@pytest.mark.parametrize("before", TRANSITIONS)
@pytest.mark.parametrize("after", TRANSITIONS)
def test_the_outbox_only_moves_along_its_table(state: State, before: Any, after: Any) -> None:
    state.commit(Batch(deliveries=[delivery("d1", state=before, attempts=1)]))
    offered = delivery("d1", state=after, attempts=2)
    if after in TRANSITIONS[before]:
        state.commit(Batch(deliveries=[offered]))
        assert state.delivery("d1") == offered
    else:
        with pytest.raises(Broken, match=before):
            state.commit(Batch(deliveries=[delivery("d2"), offered], standings={"c1": standing()}))
        assert state.delivery("d1") == delivery("d1", state=before, attempts=1)
        assert state.delivery("d2") is None and state.load(["c1"]) == {}


@pytest.mark.parametrize("settled", sorted(SETTLED))
def test_a_repeated_commit_cannot_send_twice(state: State, settled: Any) -> None:
    first = Batch(decisions=[decision("d1")], deliveries=[delivery("d1")])
    state.commit(first)
    state.commit(Batch(deliveries=[delivery("d1", state=settled, attempts=1)]))
    state.commit(first)
    assert state.outbox("pending", NOON + MINUTE, 10) == []
    assert state.delivery("d1") == delivery("d1", state=settled, attempts=1)


def test_changes_are_told_until_they_are_shipped(state: State) -> None:
    state.commit(Batch(decisions=[decision("d1"), decision("d2")], deliveries=[delivery("d1")]))
    told = state.changes(0, 10)
    assert [one.row for one in told] == [decision("d1"), decision("d2"), delivery("d1")]
    assert state.changes(told[0].number, 1) == told[1:2]
    taken = delivery("d1", state="attempting", attempts=1)
    state.commit(Batch(deliveries=[taken], holds=[Hold("d2", NOON)], shipped=told[-1].number))
    assert [one.row for one in state.changes(0, 10)] == [decision("d2", count=2), taken]
    newest = max(one.number for one in state.changes(0, 10))
    assert newest > told[-1].number
    state.commit(Batch(shipped=newest))
    assert state.changes(0, 10) == []
    state.commit(Batch(deliveries=[taken]))
    assert [one.row for one in state.changes(newest, 10)] == [taken], "numbers are never used twice"


def test_the_position_never_goes_back(state: State) -> None:
    state.commit(Batch(position=5))
    with pytest.raises(Broken, match="position 4"):
        state.commit(Batch(position=4, standings={"c1": standing()}))
    assert state.position() == 5 and state.load(["c1"]) == {}


def test_counts_say_what_is_there(state: State) -> None:
    assert set(state.counts().values()) == {0}
    state.commit(
        Batch(
            standings={"c1": standing(NOON), "c2": standing()},
            checkpoints={"c1": Memory()},
            links=[link("email", "x", "c3")],
            topics={"c1": ("stock:S1", "stock:S2")},
            decisions=[decision("d1")],
        )
    )
    counts = state.counts()
    assert (counts["customers"], counts["checkpoints"], counts["wakes"], counts["links"]) == (3, 1, 1, 1)
    assert (counts["topics"], counts["decisions"], counts["deliveries"]) == (2, 1, 0)


# ------------------------------------------------------------------ the vault


def test_a_pseudonym_is_the_same_for_ever_and_says_nothing(vault: Vault) -> None:
    one = vault.keyed("email", "ann@example.org")
    assert one == vault.keyed("email", "ann@example.org") and "ann" not in one
    others = [("phone", "ann@example.org"), ("email", "ann@example.or"), ("emaila", "nn@example.org")]
    assert len({one} | {vault.keyed(*pair) for pair in others}) == 4
    assert vault.keyed("email", "\udcff\x00")


def test_personal_values_are_merged_and_forgotten(vault: Vault) -> None:
    vault.put({"email:1": {"name": "Ann", "address": {"city": "Utrecht"}}, "email:2": {"name": "Bob"}})
    vault.put({"email:1": {"name": "Anna", "phone": "+31"}})
    assert vault.get(["email:1", "email:3"]) == {
        "email:1": {"name": "Anna", "address": {"city": "Utrecht"}, "phone": "+31"}
    }
    assert vault.forget(["email:1", "email:3"]) == 1
    assert vault.get(["email:1", "email:2"]) == {"email:2": {"name": "Bob"}}
    assert vault.forget(["email:1"]) == 0


def says(value: Any, minute: int, *, trusted: bool = True, name: str = "name", event_id: str = "") -> Told:
    weight = Weight(trusted, NOON + minute * MINUTE, "web", event_id or f"e{minute}")
    return Told({"email:1": {name: value}}, weight)


def test_s03_of_two_values_the_one_that_was_said_later_stays_in_whatever_order_they_come(vault: Vault) -> None:
    told = [says("Ann", 0), says("Old", 30), says("Ann", 50), says("Kiel", 10, name="city")]
    told.append(says("Eve", 70, trusted=False))
    for order in itertools.permutations(told):
        vault.forget(["email:1"])
        for each in order:
            vault.keep([each])
        vault.keep([*order, *order])
        assert vault.get(["email:1"]) == {"email:1": {"name": "Ann", "city": "Kiel"}}, order
        vault.forget(["email:1"])
        vault.keep(told[:1])
        vault.keep(order)
        assert vault.get(["email:1"]) == {"email:1": {"name": "Ann", "city": "Kiel"}}, order


def test_s03_history_never_overwrites_what_is_newer(vault: Vault) -> None:
    vault.keep([says("New", 0)])
    vault.keep([says("From 2019", -3_000_000)])
    assert vault.get(["email:1"])["email:1"] == {"name": "New"}
    vault.keep([says("Newer", 1)])
    assert vault.get(["email:1"])["email:1"] == {"name": "Newer"}


def test_s34_what_anybody_can_say_only_fills_what_is_empty(vault: Vault) -> None:
    vault.keep([says("Ann", 0)])
    vault.keep([says("Eve", 5, trusted=False), says("12345", 5, trusted=False, name="phone")])
    assert vault.get(["email:1"])["email:1"] == {"name": "Ann", "phone": "12345"}
    vault.keep([says("67890", -5, name="phone")])
    assert vault.get(["email:1"])["email:1"] == {"name": "Ann", "phone": "67890"}, "the shop's own counts more"
    vault.put({"email:2": {"name": "of before there were weights"}})
    vault.keep([Told({"email:2": {"name": "Eve"}}, Weight(False, NOON, "web", "e"))])
    assert vault.get(["email:2"])["email:2"] == {"name": "of before there were weights"}
    vault.keep([Told({"email:2": {"name": "Bob"}}, Weight(True, NOON, "web", "e"))])
    assert vault.get(["email:2"])["email:2"] == {"name": "Bob"}


def test_s04_another_value_under_one_event_never_takes_the_place_of_the_first(vault: Vault) -> None:
    vault.keep([says("Ann", 0, event_id="same")])
    vault.keep([says("Eve", 0, event_id="same")])
    assert vault.get(["email:1"])["email:1"] == {"name": "Ann"}


def test_what_is_forgotten_is_forgotten_with_who_said_it(vault: Vault) -> None:
    vault.keep([says("Ann", 10)])
    assert vault.forget(["email:1"]) == 1
    vault.keep([says("Anna", 5)])
    assert vault.get(["email:1"])["email:1"] == {"name": "Anna"}


def test_two_who_write_at_once_leave_what_was_said_last(vault: Vault) -> None:
    failures: list[str] = []

    def tell(ours: int) -> None:
        for minute in range(ours, 60, 2):
            vault.keep([says(f"n{minute % 7}", minute)])

    tellers = [threading.Thread(target=_guarded(lambda ours=ours: tell(ours), failures)) for ours in (0, 1)]
    for one in tellers:
        one.start()
    for one in tellers:
        one.join()
    assert failures == [] and vault.get(["email:1"])["email:1"] == {"name": "n3"}


def test_s04_other_personal_values_under_one_key_are_a_conflict(log: Log) -> None:
    log.append([event(1, personal="hash of Ann")])
    assert log.append([event(1, personal="hash of Ann")]).duplicates == 1
    assert log.append([event(1, personal="hash of Eve")]).conflicts == 1


# ------------------------------------------------------------------ readers


def test_other_threads_read_while_one_writes(store: Store) -> None:
    """A reader sees whole commits only: a batch's standing and decision come together or not at all."""
    failures: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen = [int(one.decision_id) for one in store.state.decisions("c1")]
            if seen != list(range(len(seen))):
                failures.append(f"gap in {seen}")
            position = store.state.position()
            if len(list(store.state.decisions("c1"))) < position:
                failures.append(f"position {position} before its decisions")
            store.log.read(max(store.log.head() - 3, 0), 5)

    readers = [threading.Thread(target=_guarded(watch, failures)) for _ in range(3)]
    for reader in readers:
        reader.start()
    for n in range(60):
        store.log.append([event(n)])
        made = decision(f"{n:04}", decided_at=NOON + n * MINUTE)
        store.state.commit(Batch(position=n + 1, decisions=[made], standings={"c1": standing(made.decided_at)}))
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []


def _guarded(watch: Callable[[], None], failures: list[str]) -> Callable[[], None]:
    def run() -> None:
        try:
            watch()
        except Exception as wrong:  # noqa: BLE001 - it is asserted on by the thread that waits
            failures.append(repr(wrong))

    return run
