"""S21: two collectors write at once while the engine reads: whatever order they commit in, no event is passed over."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.laws.test_turns import is_the_fold_of_the_log
from tests.shop import NOON, Shop, happened, person

from wayline.domain import Event
from wayline.runtime.embedded import Limits
from wayline.store import Appended, Rejection
from wayline.store.memory import MemoryLog
from wayline.store.opening import Store, open_store

EACH = 60


def bought(writer: str, number: int) -> Event:
    who = person(f"{writer}{number % 5}")
    return happened(
        "Order Completed", who, at=NOON, received_at=NOON, event_id=f"{writer}-{number}", order_id=f"{writer}-{number}"
    )


def followed(store: Store) -> None:
    """Two writers and a reader, all at once; in the end every order was folded and decided, once."""
    shop = Shop(store=store, limits=Limits(events_max=7))
    start = threading.Barrier(3)
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            start.wait(10)
            for number in range(0, EACH, 3):
                store.log.append([bought(name, number + more) for more in range(3)])
        except Exception as error:  # noqa: BLE001 - told to the test's own thread
            failures.append(error)

    writers = [threading.Thread(target=write, args=(name,)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    start.wait(10)
    while any(writer.is_alive() for writer in writers):
        shop.engine.cycle(shop.now)
    for writer in writers:
        writer.join(10)
    shop.engine.drain(shop.now)
    assert failures == []
    wanted = {f"{name}-{number}" for name in ("a", "b") for number in range(EACH)}
    decided = Counter(d.key for d in shop.decisions() if d.action is not None)
    held = Counter(p.key for d in shop.decisions() if d.action is None for p in d.proposals)
    assert set(decided) | set(held) == wanted, "no order was passed over"
    assert [event.position for event in store.log.read(0, 1000)] == list(range(1, 2 * EACH + 1))
    is_the_fold_of_the_log(shop)


@pytest.mark.parametrize("kept", ("in memory", "on disk"))
def test_s21_whatever_order_is_committed_in_nothing_is_passed_over(kept: str, tmp_path: Path) -> None:
    with open_store(tmp_path / "kept" if kept == "on disk" else None) as store:
        followed(store)


class Sequenced(MemoryLog):
    """A log whose place is taken before the commit, as a sequence does: a later place can be seen before an earlier."""

    def __init__(self) -> None:
        super().__init__()
        self._late: list[Event] = []
        self._appends = 0

    def append(self, events: Sequence[Event], rejections: Sequence[Rejection] = ()) -> Appended:
        appended = super().append(events, rejections)
        with self._lock:
            self._appends += 1
            # Every other transaction is still open when the next one has been committed.
            self._late = list(self._events[-len(events) :]) if self._appends % 2 else []
        return appended

    def read(self, after: int, count_max: int) -> list[Event]:
        with self._lock:
            return [event for event in super().read(after, count_max + len(self._late)) if event not in self._late][
                :count_max
            ]

    def head(self) -> int:
        with self._lock:
            return len(self._events) + 1


def test_s21_a_cursor_over_a_sequence_fails_the_scenario() -> None:
    log = Sequenced()
    store = open_store()
    shop = Shop(store=Store(log, store.state, store.vault))
    log.append([bought("a", 0)])  # open: not seen yet
    shop.engine.cycle(shop.now)
    MemoryLog.append(log, [bought("b", 0)])  # overtakes it
    shop.engine.cycle(shop.now)
    log._late = []
    shop.engine.cycle(shop.now)
    assert shop.engine.position == 2
    assert {key for d in shop.decisions() for key in (d.key or d.proposals[0].key,)} == {"b-0"}, "and 'a-0' is lost"
