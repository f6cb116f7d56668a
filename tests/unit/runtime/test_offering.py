"""Rejected messages offered again: as they first came, and never as more than they were."""

from __future__ import annotations

from typing import Any

import pytest
from tests.shop import NOON

from wayline.domain import Signal
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.offering import listed, merge_patch, offer_again
from wayline.store.opening import Store, open_store

ORDER = {
    "type": "track", "event": "Order Completed", "userId": "anna", "messageId": "o-1",
    "timestamp": "2025-10-07T07:00:00Z", "properties": {"order_id": "7", "revenue": "49,99"},
}  # fmt: skip


@pytest.fixture
def store() -> Store:
    return open_store()


def offered(store: Store, *items: Any, **said: Any) -> Collector:
    collector = Collector(store.log, store.vault, signals=said.pop("signals", None))
    collector.collect(Delivered(items, "till", NOON, **said))
    return collector


def test_a_patched_message_is_stored_and_no_longer_rejected(store: Store) -> None:
    collector = offered(store, ORDER, {**ORDER, "messageId": "o-2", "type": "trick"})
    (bad_type, bad_amount) = listed(store.log)
    assert (bad_type.code, bad_amount.code) == ("unknown_type", "bad_amount")
    done = offer_again(store.log, collector, [bad_amount.number], {"properties": {"revenue": "49.99"}})
    assert (done.offered, done.stored, done.rejected) == (1, 1, ())
    (event,) = store.log.read(0, 10)
    assert (event.properties["revenue"], event.received_at, event.source) == (4999, NOON, "till")
    assert [one.number for one in listed(store.log)] == [bad_type.number]


def test_what_still_cannot_be_used_is_kept_under_its_new_reason(store: Store) -> None:
    collector = offered(store, ORDER)
    done = offer_again(store.log, collector, None, {"properties": {"revenue": 1, "currency": "EURO"}})
    assert (done.offered, done.stored, len(done.rejected)) == (1, 0, 1)
    (one,) = listed(store.log, is_revealed=True)
    assert one.code == "unknown_currency"
    assert one.body["properties"]["currency"] == "EURO"
    assert sum(store.log.counts().values()) == 2, "offered twice, rejected twice"


def test_a_public_key_says_no_more_the_second_time(store: Store) -> None:
    moved = {
        "type": "track",
        "event": "Inventory Changed",
        "messageId": "i",
        "properties": {"sku": "a", "available": 9},
    }
    collector = offered(store, moved, {**ORDER, "anonymousId": "browser"}, trusted=False)
    done = offer_again(store.log, collector, None, {"properties": {"revenue": 1}})
    assert (done.stored, len(done.rejected)) == (1, 1)
    (event,) = store.log.read(0, 10)
    assert "unverified" in event.notes


def test_a_batch_says_its_time_and_context_once_and_they_still_count(store: Store) -> None:
    late = NOON.replace(hour=8)  # the sender's clock is two hours slow
    collector = offered(store, ORDER, sent_at=late, context={"locale": "de-DE"})
    offer_again(store.log, collector, None, {"properties": {"revenue": 1}})
    (event,) = store.log.read(0, 10)
    assert event.context["locale"] == "de-DE"
    assert NOON - event.occurred_at == late - NOON.replace(hour=7)


def test_a_signal_that_refuses_can_be_loosened_and_its_events_offered_again(store: Store) -> None:
    fine = {**ORDER, "properties": {"order_id": "7", "revenue": 1}}
    strict = {"Order Completed": Signal(name="Order Completed", requires=("currency",), refuses=True)}
    offered(store, fine, signals=strict)
    (one,) = listed(store.log)
    assert (one.code, one.field) == ("contract", "Order Completed")
    assert "it lacks currency" in one.reason
    loose = {"Order Completed": Signal(name="Order Completed", requires=("currency",))}
    collector = Collector(store.log, store.vault, signals=loose)
    assert offer_again(store.log, collector).stored == 1
    (event,) = store.log.read(0, 10)
    assert "contract: it lacks currency" in event.notes
    assert listed(store.log) == []


def test_what_is_no_message_is_left_where_it_is(store: Store) -> None:
    collector = offered(store, "nothing", 7, None)
    done = offer_again(store.log, collector)
    assert (done.offered, done.unreadable) == (0, 3)
    assert len(listed(store.log)) == 3


def test_a_patch_is_the_one_of_rfc_7396() -> None:
    # The cases of its appendix A.
    cases: list[tuple[Any, Any, Any]] = [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ]
    for target, patch, expected in cases:
        assert merge_patch(target, patch) == expected
