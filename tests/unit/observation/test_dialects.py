"""Calls of other clients, told as the messages they mean."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.shop import NOON

from wayline.observation.dialects import alias_of, pixel_of
from wayline.observation.events import parse


def test_a_merge_is_an_alias_of_what_it_names() -> None:
    merge = {
        "type": "merge", "messageId": "m1", "mergeProperties": [
            {"type": "user_id", "value": "ann-of-the-shop"}, {"type": "email", "value": "ann@example.com"},
            {"type": "mobile", "value": "+49 30 123456"}, {"type": "loyalty_card", "value": "card-0001-0001"}, 7,
        ],
    }  # fmt: skip
    told = alias_of(merge)
    assert told["type"] == "alias" and "mergeProperties" not in told
    event = parse(merge, source="web", received_at=NOON, keyed=lambda kind, value: f"{kind}/{value}").event
    assert event.kind == "alias"
    assert [each.value for each in event.identifiers] == [
        "user_id/ann-of-the-shop", "email/ann@example.com", "phone/+4930123456", "loyalty_card/card-0001-0001",
    ]  # fmt: skip


def test_a_pixel_is_a_message_in_a_query() -> None:
    query = [
        ("writeKey", "k"), ("anonymousId", "visitor-of-ours"), ("event", "Product Viewed"),
        ("properties.sku", "jacket"),
        ("context", '{"locale": "de-DE"}'), ("context.page.path", "/a"), ("properties.sku.deeper", "lost"),
    ]  # fmt: skip
    assert pixel_of("track", query) == {
        "type": "track", "anonymousId": "visitor-of-ours", "event": "Product Viewed", "properties": {"sku": "jacket"},
        "context": {"locale": "de-DE", "page": {"path": "/a"}},
    }  # fmt: skip
    assert pixel_of("page", [])["name"] == "Unknown Page"
    whole: dict[str, Any] = {"userId": "ann", "properties": {"a": 1}}
    coded = base64.urlsafe_b64encode(json.dumps(whole).encode()).decode().rstrip("=")
    assert pixel_of("track", [("data", coded)]) == {**whole, "type": "track"}
    assert pixel_of("track", [("data", "%%%"), ("context", "{")]) == {"type": "track", "context": "{"}
    assert len(pixel_of("track", [(f"f{n}", "x") for n in range(1000)])) <= 201
