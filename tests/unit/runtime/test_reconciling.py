"""What a shop answers and nobody can read is kept, whatever happens on the way, and once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wayline.domain import Signal
from wayline.errors import Rejected, StoreUnavailable
from wayline.runtime.collecting import Collected, Collector, Delivered
from wayline.runtime.reconciling import Poll, Shop, backfill
from wayline.sources.asking import Page, Window
from wayline.store.opening import Store, open_store

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Answering:
    """A shop's API that always answers the same bodies."""

    resources = ("orders",)

    def __init__(self, *bodies: Any) -> None:
        self.bodies = bodies

    def pages(self, resource: str, window: Window) -> Iterator[Page]:
        yield Page("orders/updated", self.bodies, window.until)

    def revive(self, address: str) -> list[Any]:
        return []

    def close(self) -> None:
        pass


class Reading:
    """Reads a body as the message it is, or not at all."""

    def read(self, topic: str, body: Any) -> list[dict[str, Any]]:
        if "event" not in body:
            raise Rejected("bad_cell", "total", "expected money")
        return [body]


class Filling(Collector):
    """A collector whose disk is full while it is told so."""

    is_full = False

    def collect(self, *requests: Delivered) -> Collected:
        if self.is_full:
            raise StoreUnavailable("the disk is full")
        return super().collect(*requests)


def asked(store: Store, folder: Path, *bodies: Any, **more: Any) -> tuple[Shop, Filling]:
    collector = Filling(store.log, store.vault, **more)
    api = Answering(*bodies)
    return Shop(source="shop", api=api, reader=Reading(), collector=collector, folder=folder), collector


def test_a_body_that_cannot_be_read_is_kept_though_the_disk_was_full_when_it_first_came(tmp_path: Path) -> None:
    store = open_store()
    shop, collector = asked(store, tmp_path, {"id": 1}, {"id": 1}, {"id": 2})
    poll = Poll(shop)
    collector.is_full = True
    with pytest.raises(StoreUnavailable) as full:
        poll.cycle(NOW)
    poll.failed(full.value)
    assert store.log.rejections() == []
    collector.is_full = False
    poll.cycle(NOW + timedelta(minutes=20))
    assert sorted(each.body for each in store.log.rejections()) == [b'{"id":1}', b'{"id":2}']
    # Once kept, it is not kept again: not by the next cycle, nor by the next process.
    poll.cycle(NOW + timedelta(minutes=40))
    Poll(shop).cycle(NOW + timedelta(minutes=60))
    assert len(store.log.rejections()) == 2


def test_a_backfill_keeps_what_it_could_not_read_when_the_disk_has_room_again(tmp_path: Path) -> None:
    store = open_store()
    shop, collector = asked(store, tmp_path, {"id": 1})
    collector.is_full = True
    with pytest.raises(StoreUnavailable):
        backfill(shop, 1, NOW)
    collector.is_full = False
    backfill(shop, 1, NOW)
    backfill(shop, 1, NOW + timedelta(days=3))
    assert [each.body for each in store.log.rejections()] == [b'{"id":1}']


def test_what_a_poll_and_a_backfill_bring_keeps_to_what_signals_yaml_agreed(tmp_path: Path) -> None:
    signals = {"Order Completed": Signal(name="Order Completed", requires=("order_id",), refuses=True)}
    order = {"type": "track", "event": "Order Completed", "userId": "ann", "timestamp": "2026-04-29T10:00:00Z"}
    store = open_store()
    fine = {**order, "messageId": "m2", "properties": {"order_id": "o2"}}
    shop, _ = asked(store, tmp_path, {**order, "messageId": "m1"}, fine, signals=signals)
    assert backfill(shop, 1, NOW).rejected == 1
    assert Poll(shop).cycle(NOW).rejected == 1
    assert [event.event_id for event in store.log.read(0, 10)] == ["m2"]
    assert {each.code for each in store.log.rejections()} == {"contract"}
