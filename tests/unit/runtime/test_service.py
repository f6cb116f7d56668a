"""The loop of a running engine, by a clock of the test's own: what each look does, and what trouble does to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.shop import ANN, NOON, apparel, happened

from wayline.channels.dryrun import DryRun
from wayline.domain import Event, Message, Receipt
from wayline.errors import StoreUnavailable
from wayline.runtime.embedded import Embedded
from wayline.runtime.schedules import INTERNAL
from wayline.runtime.service import Keeper, Pace, Running
from wayline.runtime.shipping import LAKE, Shipper
from wayline.store import Batch
from wayline.store.memory import MemoryLog, MemoryState
from wayline.store.opening import Store, open_store

PACE = Pace(look_max=5.0, checkpoint_every=timedelta(seconds=30))
THURSDAY = datetime(2025, 10, 9, 8, 0, tzinfo=UTC)  # ten in Berlin: the newsletter is due


class FullDisk(MemoryState):
    """A state whose disk is full whenever `full` answers yes."""

    def __init__(self) -> None:
        super().__init__()
        self.full: Callable[[Batch], bool] = lambda batch: False

    def commit(self, batch: Batch) -> None:
        if self.full(batch):
            raise StoreUnavailable("no room on the disk. Free some space and try again.")
        super().commit(batch)


def with_full_disk() -> tuple[Store, FullDisk]:
    memory = open_store()
    state = FullDisk()
    return Store(memory.log, state, memory.vault), state


def keeper_of(store: Store, *, mail: DryRun | None = None, pace: Pace = PACE) -> Keeper:
    return Keeper(store, apparel(), {"email": mail or DryRun("email", clock=lambda: NOON)}, pace=pace)


def greeted(store: Store) -> None:
    """Ann has a mailbox and said yes: the welcome journey writes to her."""
    store.vault.put({f"{one.kind}:{one.value}": {"email": "ann@example.com"} for one in ANN})
    store.log.append([happened("Consent Granted", ANN, at=NOON, channel="email", purpose="marketing")])


def looked_out(keeper: Keeper, now: datetime) -> float:
    """Look until there is nothing left to do; how long it would sleep then."""
    for _ in range(20):
        if pause := keeper.look(now):
            return pause
    raise AssertionError("it never came to rest")


# ------------------------------------------------------------------ at each look


def test_what_was_acknowledged_is_folded_and_what_was_decided_leaves() -> None:
    store, mail = open_store(), DryRun("email", clock=lambda: NOON)
    keeper = keeper_of(store, mail=mail)
    greeted(store)
    looked_out(keeper, NOON)
    (row,) = store.state.deliveries()
    assert row.state == ("sent" if row.delivers else "withheld")
    assert [message.to for message in mail.messages] == ["ann@example.com"] * row.delivers
    assert (keeper.health.state, keeper.health.events, keeper.health.position) == ("running", 1, 1)


def test_it_sleeps_until_somebody_is_due_and_never_longer_than_it_may() -> None:
    store = open_store()
    keeper = keeper_of(store)
    assert looked_out(keeper, NOON) == PACE.look_max
    greeted(store)
    looked_out(keeper, NOON)
    due = store.state.next_due()
    assert due is not None and due > NOON + timedelta(days=2)
    assert looked_out(keeper, due - timedelta(seconds=2)) == 2.0
    assert looked_out(keeper, due - timedelta(milliseconds=1)) == PACE.look_min
    assert keeper.look(due) == 0.0, "whoever was due has been woken, and there may be more to do"


def test_a_schedule_is_an_event_for_everybody_in_its_audience_once_even_over_a_restart() -> None:
    store = open_store()
    keeper = keeper_of(store)
    greeted(store)
    looked_out(keeper, NOON)
    store.log.append([happened("Page Viewed", ANN, at=THURSDAY - timedelta(hours=1))])
    looked_out(keeper, THURSDAY - timedelta(seconds=1))
    assert told_by_ourselves(store) == []
    looked_out(keeper, THURSDAY)
    looked_out(keeper, THURSDAY + timedelta(minutes=1))
    assert told_by_ourselves(store) == [("Newsletter Due", THURSDAY)]
    looked_out(keeper_of(store), THURSDAY + timedelta(minutes=2))
    assert told_by_ourselves(store) == [("Newsletter Due", THURSDAY)]


def test_what_fell_due_while_nothing_ran_is_made_up_for() -> None:
    store = open_store()
    keeper = keeper_of(store)
    greeted(store)
    store.log.append([happened("Page Viewed", ANN, at=NOON)])
    looked_out(keeper, NOON)
    keeper.close(NOON)
    looked_out(keeper_of(store), THURSDAY + timedelta(hours=5))
    assert told_by_ourselves(store) == [("Newsletter Due", THURSDAY)]


def told_by_ourselves(store: Store) -> list[tuple[str, datetime]]:
    return [(event.name, event.occurred_at) for event in store.log.read(0, 100) if event.source == INTERNAL]


def test_memories_are_written_back_when_idle_for_a_while_and_on_stop() -> None:
    store = open_store()
    keeper = keeper_of(store)
    looked_out(keeper, NOON)
    store.log.append([happened("Page Viewed", ANN, at=NOON)])
    looked_out(keeper, NOON)
    assert remembered(store) == 0, "not at every event"
    looked_out(keeper, NOON + PACE.checkpoint_every)
    assert remembered(store) == 1
    store.log.append([happened("Page Viewed", ANN, at=NOON)])
    looked_out(keeper, NOON + PACE.checkpoint_every)
    assert remembered(store) == 1
    keeper.close(NOON + PACE.checkpoint_every)
    assert remembered(store) == 2 and keeper.health.state == "stopped"


def remembered(store: Store) -> int:
    """Log position of Ann's memory as it is written back."""
    customer_id = store.state.resolve(ANN)[ANN[0]]
    return store.state.load([customer_id])[customer_id].memory.position


def test_a_wall_clock_set_back_does_not_set_the_engine_back() -> None:
    store = open_store()
    keeper = keeper_of(store)
    looked_out(keeper, NOON)
    greeted(store)
    looked_out(keeper, NOON - timedelta(hours=3))
    assert [decision.decided_at for decision in store.state.decisions()] == [NOON]


def test_a_customer_is_as_last_seen_else_as_last_written_back() -> None:
    store = open_store()
    keeper = keeper_of(store)
    assert keeper.customer("nobody") is None
    store.log.append([happened("Page Viewed", ANN, at=NOON)])
    looked_out(keeper, NOON)
    customer_id = store.state.resolve(ANN)[ANN[0]]
    assert remembered(store) == 0 and (seen := keeper.customer(customer_id)) is not None and seen.memory.position == 1
    keeper.close(NOON)
    assert (kept := keeper.customer(customer_id)) is not None and kept.memory == seen.memory


# ------------------------------------------------------------------ trouble


def test_a_full_disk_is_waited_out_longer_and_longer_and_nothing_is_lost() -> None:
    store, state = with_full_disk()
    keeper = keeper_of(store)
    looked_out(keeper, NOON)
    greeted(store)
    state.full = lambda batch: True
    pauses = [keeper.look(NOON) for _ in range(10)]
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0] and pauses[-1] == 60.0
    assert keeper.health.state == "in trouble" and "Free some space" in keeper.health.trouble
    assert keeper.health.failures == 10 and list(state.deliveries()) == []
    state.full = lambda batch: False
    looked_out(keeper, NOON)
    assert keeper.health.state == "running" and keeper.health.trouble == ""
    assert len(list(state.deliveries())) == 1


def test_a_disk_that_fills_up_after_the_call_leaves_the_message_unclear_and_never_sends_it_twice() -> None:
    store, state = with_full_disk()
    calls: list[str] = []

    def answer(message: Message, now: datetime) -> Receipt | None:
        calls.append(message.decision_id)
        state.full = lambda batch: True
        return None

    mail = DryRun("email", clock=lambda: NOON, answer=answer)
    mail.promise = "unrepeatable"
    keeper = Keeper(store, apparel(), {"email": mail}, pace=PACE)
    looked_out(keeper, NOON)
    for number in range(30):  # some are in the control group, and nobody is called for those
        store.vault.put({f"user_id:u{number}": {"email": f"u{number}@example.com"}})
    greeted(store)
    for _ in range(3):
        keeper.look(NOON)
    (row,) = state.deliveries()
    if not row.delivers:
        pytest.fail("Ann is in the control group of this playbook: choose another name")
    assert row.state == "attempting" and keeper.health.state == "in trouble"
    state.full = lambda batch: False
    looked_out(keeper, NOON)
    (row,) = state.deliveries()
    assert row.state == "unknown" and calls == [row.decision_id]


def test_rows_a_predecessor_died_over_are_settled_at_the_start() -> None:
    store = open_store()
    greeted(store)

    def dies(message: Message, now: datetime) -> Receipt | None:
        raise KeyboardInterrupt

    mail = DryRun("email", clock=lambda: NOON, answer=dies)
    mail.promise = "unrepeatable"
    with pytest.raises(KeyboardInterrupt):
        Embedded(store.log, store.state, store.vault, apparel(), {"email": mail}).drain(NOON)
    assert [row.state for row in store.state.deliveries()] == ["attempting"]
    keeper = keeper_of(store)
    keeper.channels["email"].promise = "unrepeatable"  # type: ignore[index, misc]  # a dry run in the place of SMTP
    looked_out(keeper, NOON + timedelta(seconds=1))
    assert [row.state for row in store.state.deliveries()] == ["unknown"]


class Unreadable(MemoryLog):
    """A log with a defect, for as long as a test says."""

    is_broken = True

    def read(self, after: int, count_max: int) -> list[Event]:
        if self.is_broken:
            raise ZeroDivisionError("a defect")
        return super().read(after, count_max)


def test_a_defect_ends_no_loop_and_what_it_held_up_is_done_after_it() -> None:
    memory, log = open_store(), Unreadable()
    store = Store(log, memory.state, memory.vault)
    keeper = keeper_of(store)
    looked_out(keeper, NOON)
    greeted(store)
    assert keeper.look(NOON) > 0
    assert keeper.health.state == "in trouble" and "ZeroDivisionError: a defect" in keeper.health.trouble
    log.is_broken = False
    looked_out(keeper, NOON)
    assert keeper.health.state == "running" and [row.state for row in store.state.deliveries()] == ["sent"]


# ------------------------------------------------------------------ the thread


def waited(until: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if until():
            return True
        time.sleep(0.005)
    return False


def test_the_thread_is_woken_by_being_told_and_ends_when_asked() -> None:
    store = open_store()
    running = Running(keeper_of(store, pace=Pace(look_max=600.0)), clock=lambda: NOON)
    assert running.health.state == "starting"
    running.start()
    assert waited(lambda: running.health.state == "running")
    greeted(store)
    running.told()
    assert waited(lambda: running.health.handed_over == 1), "it slept on, for ten minutes"
    assert running.stop(seconds_max=5.0) and running.health.state == "stopped"
    assert remembered(store) == 1


def test_one_that_was_never_started_stops() -> None:
    assert Running(keeper_of(open_store())).stop()


def test_stop_waits_no_longer_than_it_may_for_a_message_on_its_way() -> None:
    store, is_called, may_answer = open_store(), threading.Event(), threading.Event()

    def answer(message: Message, now: datetime) -> Receipt | None:
        is_called.set()
        may_answer.wait(10)
        return None

    running = Running(keeper_of(store, mail=DryRun("email", answer=answer)), clock=lambda: NOON)
    greeted(store)
    running.start()
    assert is_called.wait(5)
    assert not running.stop(seconds_max=0.05)
    may_answer.set()
    assert running.stop(seconds_max=5.0)


# ------------------------------------------------------------------ the lake


def test_what_is_new_goes_to_the_lake_beside_the_engine(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        shipper = Shipper(store, every=timedelta(minutes=5))
        keeper = Keeper(store, apparel(), {"email": DryRun("email")}, pace=PACE, beside=shipper.look)
        greeted(store)
        looked_out(keeper, NOON)
        assert not (tmp_path / LAKE).exists(), "the start is quick"
        keeper.look(NOON + timedelta(minutes=5))
        assert shipper.is_under_way, "it waited for the shipment"
        try:
            assert waited(lambda: shipped(store, shipper), 30)
        finally:
            shipper.close()
    assert {path.name for path in (tmp_path / LAKE).iterdir()} >= {"events", "decisions", "deliveries"}


def shipped(store: Store, shipper: Shipper) -> bool:
    shipper.look(NOON + timedelta(minutes=6))
    return not store.state.changes(0, 1) and (store.folder or Path()).joinpath(LAKE, "compacted-on").exists()


def test_nothing_new_begins_no_shipment_and_a_failed_one_is_tried_again(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        shipper = Shipper(store, every=timedelta(minutes=5))
        for minutes in (0, 5, 10):
            shipper.look(NOON + timedelta(minutes=minutes))
        assert not shipper.is_under_way
        keeper = keeper_of(store)
        greeted(store)
        looked_out(keeper, NOON)
        (tmp_path / LAKE).write_text("no folder, so nothing can be shipped into it")
        for minutes in (15, 20):
            shipper.look(NOON + timedelta(minutes=minutes))
            assert shipper.is_under_way
            assert waited(lambda at=NOON + timedelta(minutes=minutes): ended(shipper, at), 30)  # type: ignore[misc]  # bound now


def ended(shipper: Shipper, at: datetime) -> bool:
    shipper.look(at)
    return not shipper.is_under_way
