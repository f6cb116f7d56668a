"""R4: one bad item never takes its batch along: every good one is stored, each bad one is kept with a reason.

Over the wire, through the collector, as the bytes a client would send: forms of JSON, forms that are none, and strings
that have broken somebody's pipeline, each in a batch between good messages.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from tests.hostile import hostile_texts, invalid_forms, valid_forms
from tests.shop import NOON

from wayline.runtime.collecting import Collector
from wayline.serving.collector import tracking
from wayline.serving.intake import Intake
from wayline.serving.senders import Keys
from wayline.store import Rejection
from wayline.store.opening import Store, open_store

KEY = "web-key-0001"


def good(number: int) -> bytes:
    return json.dumps({
        "type": "track", "messageId": f"good-{number}", "event": "Help Viewed", "userId": f"u{number % 7}",
        "properties": {"topic": "size"},
    }).encode()  # fmt: skip


def around(number: int, item: bytes) -> bytes:
    """A batch with this item in its midst."""
    items = (good(3 * number), item, good(3 * number + 1), good(3 * number + 2))
    return b'{"sentAt": "2025-10-07T10:00:00Z", "batch": [' + b", ".join(items) + b'], "context": {"locale": "de-DE"}}'


def with_odd(number: int, value: bytes) -> bytes:
    """A message that is fine but for one value."""
    who = b'"messageId": "odd-%d", "userId": "p%d"' % (number, number)
    return b'{"type": "track", "event": "Help Viewed", ' + who + b', "properties": {"odd": ' + value + b"}}"


class Taken:
    """What became of some batches."""

    def __init__(self, store: Store, bodies: Sequence[bytes]) -> None:
        self.store = store
        self.intake = Intake(Collector(store.log, store.vault))
        app = Starlette(routes=tracking(Keys({"web": {"write_key": KEY}}), self.intake, clock=lambda: NOON))

        async def send() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop", auth=(KEY, "")) as client:
                return [await client.post("/v1/batch", content=body) for body in bodies]

        self.answers = asyncio.run(send())
        self.count = len(bodies)
        self.check()

    def check(self) -> None:
        """What must hold whatever was sent."""
        answers = [(number, each.status_code, each.text) for number, each in enumerate(self.answers)]
        assert [each for each in answers if each[1] != 200] == []
        kept = {event.event_id for event in self.store.log.read(0, 1_000_000)}
        missing = [number for number in range(3 * self.count) if f"good-{number}" not in kept]
        assert missing == [], "a good one was not stored"
        counts = self.intake.counts
        assert counts["accepted"] == 4 * self.count, "each item was counted once"
        assert counts["accepted"] == sum(counts[name] for name in ("stored", "duplicate", "conflict", "rejected"))
        assert counts["rejected"] == len(self.rejected) == sum(counts.rejected.values())
        stored = {name: counts[name] for name in ("stored", "duplicate", "conflict", "rejected")}
        assert stored == dict(self.store.log.counts()), "the log counts the same"
        assert all(each.code and each.reason and each.body for each in self.rejected)

    @property
    def rejected(self) -> list[Rejection]:
        return self.store.log.rejections(1_000_000)


@pytest.fixture(params=["in memory", "on disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with open_store(tmp_path / "kept" if request.param == "on disk" else None) as opened:
        yield opened


def test_the_corpus_is_as_large_as_promised_and_each_form_is_what_it_says() -> None:
    assert len(valid_forms()) >= 95 and len(invalid_forms()) >= 188 and len(hostile_texts()) >= 500
    for form in valid_forms():
        json.loads(form)
    for form in invalid_forms():
        with pytest.raises((ValueError, RecursionError)):
            json.loads(form.decode("utf-8", "surrogateescape"))


def test_r04_json_in_all_its_forms_is_stored(store: Store) -> None:
    forms = valid_forms()
    taken = Taken(store, [around(number, with_odd(number, form)) for number, form in enumerate(forms)])
    assert {each.code for each in taken.rejected} <= {"nul_character", "not_finite"}


def test_r04_what_is_no_json_is_kept_as_it_came_and_takes_no_neighbour_along(store: Store) -> None:
    forms = invalid_forms()
    bodies = [around(number, with_odd(number, form)) for number, form in enumerate(forms)]
    taken = Taken(store, bodies)
    assert len(taken.rejected) == len(forms), "every broken one is in the list, once"
    assert {each.code for each in taken.rejected} <= {"bad_json", "lone_surrogate"}
    whole = [each for each in taken.rejected if each.code == "bad_json"]
    assert len(whole) >= 180 and all(each.field.startswith("batch.") for each in whole)
    assert all(b'"odd-' in each.body for each in whole), "as it came"


def test_r04_an_item_that_is_no_message_at_all_takes_no_neighbour_along(store: Store) -> None:
    forms = [form for form in invalid_forms() if form != b"1,5"]  # which is two items
    taken = Taken(store, [around(number, form) for number, form in enumerate(forms)])
    assert len(taken.rejected) == taken.count


@pytest.mark.parametrize("place", ["property", "name of a property", "event", "userId", "messageId", "trait", "page"])
def test_r04_no_string_takes_its_batch_along_wherever_it_stands(place: str) -> None:
    def message(number: int, text: str) -> dict[str, Any]:
        told: dict[str, Any] = {
            "type": "track",
            "messageId": f"odd-{number}",
            "event": "Help Viewed",
            "userId": f"p{number}",
        }
        match place:
            case "property":
                told["properties"] = {"topic": text, "odd": text}
            case "name of a property":
                told["properties"] = {text: 1}
            case "trait":
                told |= {"type": "identify", "traits": {"nickname": text, "email": text}}
            case "page":
                told["context"] = {"page": {"url": text, "referrer": text, "search": text}, "locale": text}
            case _:
                told[place] = text
        return told

    with open_store() as store:
        texts = hostile_texts()
        # Escaped, as clients write it: half a surrogate pair cannot be said otherwise.
        bodies = [around(number, json.dumps(message(number, text)).encode()) for number, text in enumerate(texts)]
        taken = Taken(store, bodies)
        assert len(taken.rejected) < len(texts), "not all of them are wrong"


def test_r04_the_same_over_raw_bytes_that_are_no_text() -> None:
    with open_store() as store:
        items = [with_odd(number, b'"a' + bytes([code]) + b'b"') for number, code in enumerate(range(0x80, 0x100))]
        taken = Taken(store, [around(number, item) for number, item in enumerate(items)])
        assert len(taken.rejected) == 128 and {each.code for each in taken.rejected} == {"lone_surrogate"}
