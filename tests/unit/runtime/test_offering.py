"""Rejected messages offered again: as they first came, and never as more than they were."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from tests.shop import NOON

from wayline.domain import Signal
from wayline.errors import Rejected
from wayline.observation.proofs import Proofs
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.offering import listed, merge_patch, offer_again
from wayline.store import REJECTED_BODY_MAX
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


SECRET = b"a-secret-of-the-shop-and-of-wayline"


def token(**claims: Any) -> str:
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "HS256"}, {"exp": int(NOON.timestamp()) + 60, **claims})
    )
    signed = hmac.digest(SECRET, f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{base64.urlsafe_b64encode(signed).rstrip(b'=').decode()}"


GRANT = {"type": "track", "event": "Consent Granted", "userId": "anna", "messageId": "c-1"}


@pytest.mark.parametrize("in_header", [True, False])
def test_s34_what_a_token_proved_it_proves_again_though_it_is_not_kept(store: Store, *, in_header: bool) -> None:
    shown = token(sub="anna")
    context = {} if in_header else {"identityToken": shown}
    item = {**GRANT, "type": "trick", "context": {"locale": "de-DE", **context}}
    collector = offered(store, item, trusted=False, proofs=Proofs(NOON, SECRET, shown if in_header else ""))
    (kept,) = store.log.rejections()
    assert b"identityToken" not in kept.body and shown.encode() not in kept.body and b"de-DE" in kept.body
    assert offer_again(store.log, collector, None, {"type": "track"}).stored == 1
    (event,) = store.log.read(0, 10)
    assert (event.name, "unverified" in event.notes) == ("Consent Granted", False)


@pytest.mark.parametrize(
    ("said", "patch"),
    [
        ({"identityToken": token(sub="anna")}, {"userId": "ben"}),  # a patch makes nobody else believed
        ({"identityToken": token(sub="ben")}, {}),
        ({"identityToken": token(sub="anna")[:-2]}, {}),
        ({}, {}),
        ({}, {"context": {"identityToken": token(sub="anna")}}),
    ],
)
def test_s34_nobody_is_believed_the_second_time_who_was_not_the_first(
    store: Store, said: dict[str, Any], patch: dict[str, Any]
) -> None:
    item = {**GRANT, "type": "trick", "context": said}
    collector = offered(store, item, trusted=False, proofs=Proofs(NOON, SECRET))
    assert offer_again(store.log, collector, None, {"type": "track", **patch}).stored == 1
    (event,) = store.log.read(0, 10)
    assert (event.name, "unverified" in event.notes) == ("Consent Claimed", True)


def test_a_token_is_not_kept_in_what_is_no_json_either(store: Store) -> None:
    shown = token(sub="anna")
    broken = b'{"type": "track", "context": {"identityToken": "%s", "locale": "de"}, oh' % shown.encode()
    offered(store, broken, trusted=False)
    Collector(store.log, store.vault).collect(
        Delivered((), "web", NOON, unreadable=((broken, Rejected("bad_json", "", "it is none")),))
    )
    for kept in store.log.rejections():
        assert shown.encode() not in kept.body and b'"locale": "de"}, oh' in kept.body


def test_x14_a_message_too_large_to_be_kept_is_cut_and_not_offered_again(store: Store) -> None:
    collector = offered(store, {**ORDER, "type": "trick", "properties": {"text": "x" * 4_000_000}})
    (one,) = listed(store.log)
    assert one.is_cut and len(store.log.rejections()[0].body) == REJECTED_BODY_MAX
    done = offer_again(store.log, collector, None, {"type": "track"})
    assert (done.offered, done.unreadable, len(listed(store.log))) == (0, 1, 1)


def test_all_are_reached_however_many_there_are(store: Store) -> None:
    items = [{**ORDER, "messageId": f"o-{n}", "type": "trick", "properties": {}} for n in range(10)]
    collector = offered(store, *items)
    oldest = listed(store.log)[-1].number
    assert offer_again(store.log, collector, [oldest], {"type": "page"}, count_max=1).stored == 1, "by its number"
    first = offer_again(store.log, collector, None, {"type": "still wrong"}, count_max=4)
    assert (first.offered, first.left, len(first.rejected)) == (4, 5, 4)
    second = offer_again(store.log, collector, None, {"type": "page"}, before=first.next, count_max=4)
    third = offer_again(store.log, collector, None, {"type": "page"}, before=second.next, count_max=4)
    assert [(each.stored, each.left) for each in (second, third)] == [(4, 1), (1, 0)]
    assert {one.event_id for one in listed(store.log)} == {f"o-{n}" for n in (6, 7, 8, 9)}


def test_x14_what_is_shown_at_a_time_is_bounded(store: Store) -> None:
    large = [{**ORDER, "messageId": f"o-{n}", "type": "trick", "properties": {"t": "x" * 500_000}} for n in range(40)]
    offered(store, *large)
    shown = listed(store.log, is_revealed=True)
    assert 30 <= len(shown) < 40 and shown[0].body["messageId"] == "o-39"
    rest = listed(store.log, before=shown[-1].number, is_revealed=True)
    assert len(shown) + len(rest) == 40


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
