"""A disk that fills up under the whole engine: it refuses aloud, acknowledges nothing it cannot keep, and goes on by
itself when there is room again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contracts.test_durability import FaultyDisk
from tests.laws.test_turns import is_the_fold_of_the_log, with_control
from tests.shop import ANN, Shop, apparel, happened, person

from wayline.domain import Event
from wayline.errors import StoreUnavailable
from wayline.runtime.embedded import Limits
from wayline.runtime.replaying import examine, replay_all
from wayline.store.opening import open_store

JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}
PEOPLE = [ANN, *(person(f"p{number}") for number in range(3))]


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    faulty = FaultyDisk()
    yield faulty
    faulty.leave()


def day(number: int) -> list[Event]:
    who = PEOPLE[number % len(PEOPLE)]
    order = {"order_id": f"o{number}", "revenue": 16900, "products": [JACKET]}
    return [
        happened("Product Added", who, event_id=f"a{number}", **JACKET),
        happened("Order Completed", who, event_id=f"o{number}", **order),
        happened("Order Shipped", who, event_id=f"s{number}", order_id=f"o{number}"),
    ]


def test_s28_the_engine_survives_a_disk_that_fills_up_at_any_of_its_writes(disk: FaultyDisk, tmp_path: Path) -> None:
    """The disk is full from the n-th write of each day on, and has room again an hour later."""
    refusals: list[str] = []
    with open_store(tmp_path) as store:
        shop = Shop(with_control(apparel(), 0.0), store=store, limits=Limits(events_max=2, checkpoint_every=5))
        for who in PEOPLE:
            shop.consent(who, days_ago=2)
        acknowledged = set()
        for number in range(12):
            events = [shop._dated(event) for event in day(number)]
            disk.is_full = number % 3 == 2  # the log itself cannot be written
            try:
                store.log.append(events)
                acknowledged |= {event.event_id for event in events}
            except StoreUnavailable as error:
                refusals.append(str(error))
            disk.is_full = number % 3 == 1  # the log could, the state cannot
            try:
                shop.engine.drain(shop.now)
            except StoreUnavailable as error:
                refusals.append(str(error))
            sent = len(shop.sent())
            for _ in range(2 if disk.is_full else 0):
                with pytest.raises(StoreUnavailable):
                    shop.engine.drain(shop.now)
            assert len(shop.sent()) == sent, "nothing is handed over that cannot be recorded first"
            disk.is_full = False
            assert store.log.append(events).head == 3 * (number + 1) + len(PEOPLE), "the client sends it again"
            acknowledged |= {event.event_id for event in events}
            shop.engine.drain(shop.now)
            is_the_fold_of_the_log(shop)
            shop.after(days=1)
        assert len(refusals) == 8 and all("no room on the disk" in refusal for refusal in refusals)
        stored = {event.event_id for event in store.log.read(0, 1000)} - {
            event.event_id for event in store.log.named(("Consent Granted",))
        }
        assert stored == acknowledged
        confirmed = sorted(row.content for row in shop.deliveries() if row.lane == "owed")
        assert confirmed == ["order-confirmation"] * 12 + ["order-shipped"] * 12
        assert {row.state for row in shop.deliveries()} <= {"sent", "refused"}
        assert all(row.state == "sent" for row in shop.deliveries() if row.lane == "owed")
        assert store.state.set_asides() == []
        assert examine(store.log, store.state, shop.now).problems == ()
        assert replay_all(store.state, shop.playbook).different == ()
        shop.restart()
        is_the_fold_of_the_log(shop)


def test_s28_a_disk_full_between_claim_and_record_leaves_it_unclear_and_not_twice(
    disk: FaultyDisk, tmp_path: Path
) -> None:
    with open_store(tmp_path) as store:
        shop = Shop(with_control(apparel(), 0.0), store=store)
        for channel in shop.channels.values():
            channel.promise = "unrepeatable"  # type: ignore[assignment]
        for who in PEOPLE[:2]:
            shop.consent(who, days_ago=2)
        real = shop.channels["email"].deliver

        def deliver(message, key):  # type: ignore[no-untyped-def]
            disk.is_full = True
            return real(message, key)

        shop.channels["email"].deliver = deliver  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            shop.tell(happened("Newsletter Due"), happened("Order Completed", PEOPLE[1], order_id="o1", products=[]))
        taken = shop.channels["email"].sent_count
        disk.is_full = False
        shop.channels["email"].deliver = real  # type: ignore[method-assign]
        shop.engine.drain(shop.now)
        shop.after(days=1)
        states = {row.content: row.state for row in shop.deliveries()}
        assert states["order-confirmation"] == "sent"
        assert {row.state for row in shop.deliveries() if row.lane == "marketing"} == {"unknown"}
        assert taken == 2, "both were taken before the record failed"
        assert shop.channels["email"].sent_count == 2, "the key of what is owed was met again, the news never offered"
        is_the_fold_of_the_log(shop)
