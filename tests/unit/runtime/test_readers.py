"""Readers: what another process makes of messages is what this one would, and a reader that dies costs nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec
import pytest

from wayline.domain import Signal
from wayline.observation.proofs import Proofs
from wayline.runtime.collecting import Delivered, Read, decoded, read
from wayline.runtime.readers import Readers
from wayline.store.seal import pseudonym

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
KEY = bytes(range(32))


def keyed(kind: str, value: str) -> str:
    return pseudonym(KEY, kind, value)


def busy(seconds: float = 0.6) -> Readers:
    """Readers that find themselves busy: each look at the clock is that much later."""
    clock = count()
    return Readers(keyed, "EUR", key=KEY, count_max=1, seconds_now=lambda: next(clock) * seconds)


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of messages is given away too."""
    monkeypatch.setattr("wayline.runtime.readers._GROUP_MIN", 0)


@pytest.fixture
def readers() -> Iterator[Readers]:
    found = busy()
    try:
        until_begun(found)
        yield found
    finally:
        found.close()


def test_what_breaks_its_agreement_is_refused_or_noted_wherever_it_is_read() -> None:
    signals = {
        "Order Completed": Signal(name="Order Completed", requires=("customer_number",), refuses=True),
        "Product Viewed": Signal(name="Product Viewed", requires=("sku",)),
    }
    clock = count()
    readers = Readers(keyed, "EUR", key=KEY, count_max=1, seconds_now=lambda: next(clock) * 0.6, signals=signals)
    told = [Delivered([message(1), message(2, event="Product Viewed", properties={})], "web", NOON)]
    here = readers.read(told)
    until_begun(readers)
    there = readers.read(told)
    readers.close()
    assert whole(here) == whole(there)
    assert [(code, field) for _, code, field, _ in here.refused[0]] == [("contract", "Order Completed")]
    assert [event.event.notes for event in here.events] == [("contract: it lacks sku",)]


def until_begun(readers: Readers) -> None:
    end = time.monotonic() + 20
    while not readers.count:
        assert time.monotonic() < end, "no reader was begun"
        readers.read([])
        time.sleep(0.02)


def message(number: int, **changes: Any) -> bytes:
    told = {
        "type": "track", "event": "Order Completed", "messageId": f"m-{number}",
        "anonymousId": f"browser-{number:012d}", "timestamp": "2026-11-27T11:59:58.358Z",
        "properties": {"order_id": f"o-{number}", "total": 12.5, "currency": "EUR", "products": [{"sku": "P-1"}]},
        "context": {"ip": "203.0.113.7", "userAgent": "Mozilla/5.0", "page": {"path": "/", "url": "https://s/?q=1"}},
    }  # fmt: skip
    return msgspec.json.encode(told | changes)


def requests() -> list[Delivered]:
    """A batch with good and bad messages, a single event whose path says its type, and a broken request."""
    half = message(5).replace(b"P-1", b"\\ud800")
    spoiled = [message(3)[:-9], message(4, type="nonsense"), half, message(8).replace(b"P-1", b"\xff")]
    identify = message(6, type="identify", traits={"email": "ann@example.org", "firstName": "Ann"})
    return [
        Delivered([message(1), *spoiled, message(2)], "web", NOON, NOON - timedelta(seconds=1), trusted=False),
        Delivered([identify], "server", NOON, kind="identify", context={"locale": "de"}),
        Delivered([message(7)], "server", NOON, fires=False, proofs=Proofs(NOON, b"secret", "no.proper.token")),
    ]


def whole(found: Read) -> Any:
    return msgspec.json.encode(found)


def test_a_reader_reads_what_this_process_would(readers: Readers) -> None:
    found = readers.read(requests())
    assert whole(found) == whole(read(requests(), keyed, "EUR"))
    assert [event.event.event_id for event in found.events] == ["m-1", "m-2", "m-6", "m-7"]
    assert [[code for _, code, *_ in of_one] for of_one in found.refused] == [
        ["bad_json", "unknown_type", "lone_surrogate", "lone_surrogate"], [], [],
    ]  # fmt: skip


def test_what_was_read_already_stays_here_and_every_verdict_stands_at_its_request(readers: Readers) -> None:
    one, two, three = requests()
    known = msgspec.structs.replace(one, items=[decoded(item) for item in one.items[2:]])
    mixed: Sequence[Delivered] = [two, known, three, one]
    found = readers.read(mixed)
    expected = read(mixed, keyed, "EUR")
    assert found.refused == expected.refused
    personal = [sorted(each.personal, key=lambda told: told.weight) for each in (found, expected)]
    assert personal[0] == personal[1]
    assert sorted(found.events, key=lambda one: one.key) == sorted(expected.events, key=lambda one: one.key)
    assert {each.event_id for each in found.rejected} == {each.event_id for each in expected.rejected}


def test_r01_what_a_reader_had_when_it_died_is_read_again(readers: Readers) -> None:
    (reader,) = readers._begun
    os.kill(reader._child.pid, signal.SIGKILL)
    assert whole(readers.read(requests())) == whole(read(requests(), keyed, "EUR"))
    until_begun(readers)
    assert reader not in readers._begun
    assert whole(readers.read(requests())) == whole(read(requests(), keyed, "EUR"))


def test_a_reader_that_does_not_answer_is_given_up(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayline.runtime.readers._ANSWER_SECONDS_MAX", 0.2)
    (reader,) = readers._begun
    os.kill(reader._child.pid, signal.SIGSTOP)
    assert whole(readers.read(requests())) == whole(read(requests(), keyed, "EUR"))
    assert reader._child.poll() is not None, "it was ended, not left behind"


def test_a_reader_ends_with_whoever_began_it(readers: Readers) -> None:
    (reader,) = readers._begun
    reader._to.close()
    assert reader._child.wait(10) == 0


def test_no_reader_is_begun_while_there_is_little_to_read() -> None:
    readers = busy(seconds=0.0)
    for _ in range(50):
        readers.read(requests())
    assert readers.count == 0 and readers._beginning is None
    readers.close()


def test_few_messages_are_read_where_they_are(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayline.runtime.readers._GROUP_MIN", 100)
    (reader,) = readers._begun
    os.kill(reader._child.pid, signal.SIGKILL)
    assert whole(readers.read(requests())) == whole(read(requests(), keyed, "EUR"))
    assert readers.count == 1, "nobody has asked it, and so nobody knows that it is gone"


def test_none_is_begun_without_the_key_of_the_pseudonyms() -> None:
    clock = count()
    readers = Readers(keyed, "EUR", seconds_now=lambda: float(next(clock)))
    for _ in range(5):
        readers.read(requests())
    assert readers.count == 0 and readers._beginning is None


def test_readers_end_after_a_quiet_minute(readers: Readers) -> None:
    (reader,) = readers._begun
    for _ in range(120):
        readers.look()
    assert readers.count == 0 and reader._child.poll() is not None
    assert whole(readers.read(requests())) == whole(read(requests(), keyed, "EUR"))
