"""Messages become events, or a verdict that says which field and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from wayline.errors import Rejected
from wayline.observation.events import (
    UNVERIFIED,
    Parsed,
    is_blocked,
    normalised,
    order_meaning,
    parse,
    parse_batch,
)

NOW = datetime(2024, 11, 29, 8, tzinfo=UTC)


def keyed(kind: str, value: str) -> str:
    return blake2b(f"{kind}\0{value}".encode(), key=b"a test's key", digest_size=16).hexdigest()


def message(**fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Product Viewed", "messageId": "m-1", "userId": "u-1", **fields}


def read(**options: Any) -> Parsed:
    fields = {key: options.pop(key) for key in list(options) if key not in {"sent_at", "trusted", "currency", "fires"}}
    return parse(message(**fields), source="web", received_at=NOW, keyed=keyed, **options)


def refused(**fields: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        read(**fields)
    return caught.value


def test_a_message_becomes_an_event() -> None:
    parsed = read(
        timestamp="2024-11-29T07:59:58.500Z",
        properties={"sku": "J-1-M", "price": 129.95, "currency": "eur", "quantity": 1, "colour": "blue"},
        context={"locale": "de-DE", "page": {"path": "/j", "url": "https://shop.example/j?q=1#top", "search": "?q=1"}},
    )
    event = parsed.event
    assert event.name == "Product Viewed" and event.kind == "track" and event.event_id == "m-1"
    assert event.occurred_at == datetime(2024, 11, 29, 7, 59, 58, 500000, tzinfo=UTC)
    assert event.properties == {"sku": "J-1-M", "price": 12995, "currency": "EUR", "quantity": 1, "colour": "blue"}
    assert event.context == {"locale": "de-DE", "page": {"path": "/j", "url": "https://shop.example/j"}}
    assert parsed.subject == f"user_id:{keyed('user_id', 'u-1')}"
    assert parsed.personal == {"page.url": "https://shop.example/j?q=1#top", "page.search": "?q=1"}
    assert event.notes == ()


def test_every_documented_commerce_message_is_accepted(real_data: Callable[[str], Path]) -> None:
    examples = json.loads(real_data("webhooks/segment-spec/ecommerce_v2_events.json").read_text())
    for example in examples:
        parsed = read(type=example["type"], event=example["event"], properties=example["properties"])
        assert parsed.event.name == example["event"]
        price, line = example["properties"].get("price"), example["properties"].get("products", [{}])[0].get("price")
        if price is not None:
            assert parsed.event.properties["price"] == int(Decimal(str(price)) * 100)
        if line is not None:
            assert parsed.event.properties["products"][0]["price"] == int(Decimal(str(line)) * 100)
    assert len(examples) == 25


# ------------------------------------------------------------------ who


def test_ids_become_strings_and_the_strongest_is_the_subject() -> None:
    parsed = read(userId=12345, anonymousId="a-1", context={"traits": {"email": " Jane@Example.com "}})
    kinds = [identifier.kind for identifier in parsed.event.identifiers]
    assert kinds == ["user_id", "email", "anonymous_id"]
    assert parsed.event.identifiers[0].value == keyed("user_id", "12345")
    assert parsed.event.identifiers[1].value == keyed("email", "jane@example.com")


@pytest.mark.parametrize("value", ["", "0", "000", "-", "0-0", "-1", "null", "NULL", "anonymous", "undefined", " nan "])
def test_values_that_name_nobody_are_left_out(value: str) -> None:
    assert is_blocked(value)
    parsed = read(userId=value, anonymousId="a-1")
    assert [identifier.kind for identifier in parsed.event.identifiers] == ["anonymous_id"]
    assert any(note.startswith("userId blocked") for note in parsed.event.notes)
    assert refused(userId=value, anonymousId=None).code == "no_identifier"


@pytest.mark.parametrize("value", ["10", "0a", "nobody-1", "-12", "nullable"])
def test_other_values_name_somebody(value: str) -> None:
    assert not is_blocked(value)


def test_one_number_is_one_number_however_it_is_written() -> None:
    written = ["+49 170 1234567", "0049 (170) 123-4567", "+491701234567"]
    assert {normalised("phone", each) for each in written} == {"+491701234567"}
    assert normalised("phone", "0170/1234567") == "01701234567"


def test_devices_and_external_ids_are_identifiers() -> None:
    parsed = read(
        context={
            "device": {"id": "d-1", "token": "t-1", "type": "ios", "name": "Jane's phone"},
            "externalIds": [
                {"id": "ga-1", "type": "ga_client_id", "collection": "users", "encoding": "none"},
                {"id": "acme", "type": "account", "collection": "accounts"},
            ],
        }
    )
    kinds = {identifier.kind for identifier in parsed.event.identifiers}
    assert kinds == {"user_id", "device_id", "push_token", "ga_client_id"}
    assert parsed.event.context == {"device": {"type": "ios"}}


def test_the_shelf_needs_no_person_and_a_view_does() -> None:
    parsed = read(userId=None, event="Inventory Changed", properties={"sku": "J-1-M", "available": 3})
    assert parsed.subject == "" and parsed.event.identifiers == ()
    assert refused(userId=None).code == "no_identifier"


def test_an_alias_names_the_other_side() -> None:
    event = read(type="alias", previousId="a-7").event
    assert {each.value for each in event.identifiers} == {keyed("user_id", "u-1"), keyed("anonymous_id", "a-7")}
    assert event.name == "Alias" and event.properties == {"previous_id": keyed("user_id", "a-7")}


# ------------------------------------------------------------------ time


def test_a_wrong_clock_is_corrected_by_when_the_message_was_sent() -> None:
    fast = timedelta(days=3)
    event = read(timestamp=(NOW + fast - timedelta(minutes=10)).isoformat(), sentAt=(NOW + fast).isoformat()).event
    assert event.occurred_at == NOW - timedelta(minutes=10) and event.notes == ()


def test_the_message_s_own_sent_at_wins_over_the_batch_s() -> None:
    told = (NOW - timedelta(minutes=10)).isoformat()
    assert read(timestamp=told, sent_at=NOW + timedelta(hours=1)).event.occurred_at == NOW - timedelta(minutes=70)
    own = read(timestamp=told, sentAt=NOW.isoformat(), sent_at=NOW + timedelta(hours=1)).event
    assert own.occurred_at == NOW - timedelta(minutes=10)


def test_what_the_shop_says_of_the_time_wins_over_when_its_client_was_told() -> None:
    event = read(timestamp="2024-11-29T05:00:00Z", originalTimestamp="2024-11-29T06:00:00Z").event
    assert event.occurred_at.hour == 5
    assert read(originalTimestamp="2024-11-29T06:00:00Z").event.occurred_at.hour == 6


def test_an_import_keeps_its_age() -> None:
    event = read(timestamp="2019-03-01T12:00:00+02:00", sentAt=NOW.isoformat(), fires=False).event
    assert event.occurred_at == datetime(2019, 3, 1, 10, tzinfo=UTC) and not event.fires


def test_the_future_is_clamped_and_noted() -> None:
    near = read(timestamp=(NOW + timedelta(minutes=5)).isoformat()).event
    assert near.occurred_at == NOW + timedelta(minutes=5) and near.notes == ()
    far = read(timestamp=(NOW + timedelta(minutes=5, seconds=1)).isoformat()).event
    assert far.occurred_at == NOW and "clamped" in far.notes[0]


@pytest.mark.parametrize("told", ["1970-01-01T00:00:00Z", "1989-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"])
def test_ancient_times_are_refused(told: str) -> None:
    assert refused(timestamp=told).code in ("ancient", "bad_time")


@pytest.mark.parametrize("told", ["yesterday", 1732867200000, "2024-13-01", "9999-12-31T23:59:59-12:00", ["x"], True])
def test_unreadable_times_are_refused(told: object) -> None:
    verdict = refused(timestamp=told)
    assert verdict.code == "bad_time" and verdict.field == "timestamp"


def test_a_sent_at_beyond_the_calendar_cannot_move_time() -> None:
    verdict = refused(timestamp="2024-01-01", sentAt="9999-12-31T23:59:59Z")
    assert (verdict.code, verdict.field) == ("bad_time", "sentAt")


def test_no_time_means_now_and_says_so() -> None:
    event = read().event
    assert event.occurred_at == NOW
    assert read(timestamp=None).event.notes == ("occurred_at is received_at",)


# ------------------------------------------------------------------ duplicates


def test_a_message_without_id_gets_the_same_one_on_retry() -> None:
    first = read(messageId=None, timestamp="2024-11-29T07:00:00Z", sentAt="2024-11-29T07:00:01Z")
    again = read(messageId="", timestamp="2024-11-29T07:00:00Z", sentAt="2024-11-29T07:00:09Z")
    assert first.event.event_id != read(messageId=None, timestamp="2024-11-29T07:00:01Z").event.event_id
    assert first.event.event_id == parse(
        {**message(timestamp="2024-11-29T07:00:00Z"), "messageId": None}, source="web",
        received_at=NOW + timedelta(minutes=1), keyed=keyed,
    ).event.event_id  # fmt: skip
    assert first.event.notes == again.event.notes == ("event_id assigned",)


def test_two_undated_messages_of_one_request_stay_two() -> None:
    items = [{"type": "page", "userId": "u"}, {"type": "page", "userId": "u"}]
    first, second = parse_batch(items, source="web", received_at=NOW, keyed=keyed)
    assert isinstance(first, Parsed) and isinstance(second, Parsed)
    assert first.event.event_id != second.event.event_id


def test_three_tellings_of_one_order_mean_one_thing() -> None:
    web = read(event="Order Completed", properties={"order_id": 1001}).event
    server = read(event="Order Created", properties={"order_id": "1001"}).event
    assert order_meaning(web) == order_meaning(server) == ("1001", "completed")
    assert server.name == "Order Completed" and "alias: Order Created" in server.notes
    assert order_meaning(read(event="Order Cancelled", properties={"order_id": "1001"}).event) == ("1001", "cancelled")
    assert order_meaning(read(event="Order Updated", properties={"order_id": "1001"}).event) is None
    assert order_meaning(read(properties={"sku": "A"}).event) is None
    parcels = [
        order_meaning(read(event="Order Shipped", properties={"order_id": "1", "shipment_id": each}).event)
        for each in "ab"
    ]
    assert parcels == [("1", "shipped:a"), ("1", "shipped:b")]


# ------------------------------------------------------------------ money


@pytest.mark.parametrize(
    "amount, currency, expected",
    [
        (19.99, "EUR", 1999), ("19.99", "USD", 1999), (20, "EUR", 2000), (Decimal("0.1"), "EUR", 10), (0, "EUR", 0),
        (500, "JPY", 500), ("1500", "JPY", 1500), (1.234, "KWD", 1234), (59.970000000000006, "EUR", 5997),
        (1.005, "EUR", 101), (0.285, "EUR", 29), (-3.5, "EUR", -350), (12345678901.25, "EUR", 1234567890125),
    ],
)  # fmt: skip
def test_money_is_exact(amount: object, currency: str, expected: int) -> None:
    assert read(properties={"value": amount, "currency": currency}).event.properties["value"] == expected


@pytest.mark.parametrize(
    "amount",
    ["19,99", "€5", "NaN", "Infinity", "1e400", "", "１９", "1_000", True, [1], {"amount": 1}, 1e16,
     float("nan"), float("inf"), 10**16, "9" * 5000],
)  # fmt: skip
def test_bad_amounts_are_refused_by_name(amount: object) -> None:
    verdict = refused(properties={"products": [{"sku": "A"}, {"sku": "B", "price": amount}]})
    assert verdict.code == "bad_amount" and verdict.field == "properties.products.1.price"


def test_a_negative_price_is_refused_and_a_negative_total_is_not() -> None:
    assert refused(properties={"price": -1}).code == "bad_amount"
    assert read(event="Order Refunded", properties={"total": -20.5}).event.properties["total"] == -2050


def test_currencies_are_known_and_not_mixed() -> None:
    verdict = refused(properties={"price": 1, "currency": "EURO"})
    assert verdict.code == "unknown_currency" and "Did you mean" in verdict.reason
    assert refused(properties={"currency": 978}).code == "unknown_currency"
    mixed = refused(properties={"currency": "EUR", "products": [{"price": 1, "currency": "JPY"}]})
    assert mixed.code == "mixed_currencies"
    assert read(properties={"price": 500}, currency="JPY").event.properties["price"] == 500


@pytest.mark.parametrize(
    "properties, revenue, basis",
    [
        ({"revenue": 25, "total": 30, "tax": 2}, 2500, "revenue"),
        ({"total": 30, "shipping": 3, "tax": 2}, 2500, "total"),
        ({"total": "30.00"}, 3000, "total"),
        ({"products": [{"price": 19, "quantity": 1}, {"price": 3, "quantity": 2}]}, 2500, "lines"),
    ],
)  # fmt: skip
def test_revenue_is_told_or_worked_out_and_says_from_what(properties: Any, revenue: int, basis: str) -> None:
    event = read(event="Order Completed", properties=properties).event
    assert event.properties["revenue"] == revenue and f"revenue from {basis}" in event.notes


def test_no_revenue_is_invented() -> None:
    for properties in ({"products": [{"sku": "A"}]}, {"products": []}, {"order_id": "1"}):
        event = read(event="Order Completed", properties=properties).event
        assert "revenue" not in event.properties and not any("revenue" in note for note in event.notes)


# ------------------------------------------------------------------ shapes


@pytest.mark.parametrize(
    "properties, field",
    [
        ({"sku": ["A"]}, "properties.sku"),
        ({"products": {"sku": "A"}}, "properties.products"),
        ({"products": ["A"]}, "properties.products.0"),
        ({"products": [{"quantity": "two"}]}, "properties.products.0.quantity"),
        ({"quantity": True}, "properties.quantity"),
        ({"double_opt_in": "yes"}, "properties.double_opt_in"),
        ({"filters": ["red"]}, "properties.filters"),
        ({"name": {"en": "Jacket"}}, "properties.name"),
        ({"url": 5}, "properties.url"),
        ({"image_url": 5}, "properties.image_url"),
        ({"query": 5}, "properties.query"),
        ({"colour": object()}, "properties.colour"),
    ],
)
def test_wrong_types_are_refused_by_field(properties: Any, field: str) -> None:
    verdict = refused(properties=properties)
    assert (verdict.code, verdict.field) == ("wrong_type", field)
    assert "expected" in verdict.reason and "got" in verdict.reason


def test_values_are_stored_in_one_shape() -> None:
    properties = read(
        properties={
            "order_id": 1001, "sku": 7.0, "quantity": "2", "rating": 4.5, "name": 5, "coupon": None, "step": "address",
            "expires_at": "2024-11-29T10:00:00+02:00", "as_of": datetime(2024, 1, 1, tzinfo=UTC),
            "promised_on": "2024-12-24T23:00:00-11:00", "expires_on": date(2025, 1, 1), "cart_id": "",
        }
    ).event.properties  # fmt: skip
    assert properties == {
        "order_id": "1001", "sku": "7", "quantity": 2, "rating": 4.5, "name": "5", "step": "address",
        "expires_at": "2024-11-29T08:00:00Z", "as_of": "2024-01-01T00:00:00Z", "promised_on": "2024-12-24",
        "expires_on": "2025-01-01",
    }  # fmt: skip


def test_unknown_names_are_kept() -> None:
    event = read(event="Gift Wrapped", properties={"paper": {"colour": "red", "sheets": [1, 2.5, None, True]}}).event
    assert event.properties == {"paper": {"colour": "red", "sheets": [1, 2.5, True]}}


NESTED: Any = "x"
for _ in range(40):
    NESTED = {"a": NESTED}


@pytest.mark.parametrize(
    "fields, code, field",
    [
        ({"type": "trak"}, "unknown_type", "type"),
        ({"type": ["track"]}, "unknown_type", "type"),
        ({"event": ""}, "no_name", "event"),
        ({"event": 5}, "no_name", "event"),
        ({"event": "x" * 201}, "too_long", "event"),
        ({"event": "Mail to jane@example.com"}, "personal_name", "event"),
        ({"messageId": "x" * 101}, "too_long", "messageId"),
        ({"messageId": {}}, "wrong_type", "messageId"),
        ({"userId": True}, "wrong_type", "userId"),
        ({"userId": {"id": 1}}, "wrong_type", "userId"),
        ({"userId": "x" * 513}, "too_long", "userId"),
        ({"userId": "a\u0000b"}, "bad_identifier", "userId"),
        ({"userId": "a\ud800b"}, "bad_identifier", "userId"),
        ({"properties": [1]}, "wrong_type", "properties"),
        ({"context": "x"}, "wrong_type", "context"),
        ({"context": {"traits": []}}, "wrong_type", "traits"),
        ({"context": {"device": []}}, "wrong_type", "device"),
        ({"context": {"locale": {}}}, "wrong_type", "context.locale"),
        ({"context": {"externalIds": [{"id": "x"}]}}, "wrong_type", "context.externalIds.0"),
        ({"properties": {"a": "b\u0000c"}}, "nul_character", "properties.a"),
        ({"properties": {"a": {"b": ["\ud800"]}}}, "lone_surrogate", "properties.a.b.0"),
        ({"properties": {"gift_note": "x\u0000"}}, "nul_character", "gift_note"),
        ({"properties": {"gift_note": "x\udfff"}}, "lone_surrogate", "gift_note"),
        ({"properties": {"a": float("nan")}}, "not_finite", "properties.a"),
        ({"properties": {"a": [float("-inf")]}}, "not_finite", "properties.a.0"),
        ({"properties": {"a": 10**30}}, "not_json", "properties.a"),
        ({"properties": {"a": NESTED}}, "too_deep", "properties" + 9 * ".a"),
        ({"properties": {"note": NESTED}}, "too_deep", "properties.note"),
        ({"properties": {"a": list(range(1001))}}, "too_many", "properties.a"),
        ({"properties": {"products": [{}] * 501}}, "too_many", "properties.products"),
        ({"properties": {5: "x"}}, "wrong_type", "properties.5"),
        ({"properties": {str(i): "x" * 190 for i in range(3000)}}, "oversize", ""),
    ],
)  # fmt: skip
def test_poison_is_refused_by_field(fields: dict[str, Any], code: str, field: str) -> None:
    verdict = refused(**fields)
    assert (verdict.code, verdict.field) == (code, field)
    assert verdict.reason


def test_text_that_only_mentions_a_nul_is_fine() -> None:
    assert read(properties={"a": "write \\u0000 here"}).event.properties == {"a": "write \\u0000 here"}


def test_a_bad_message_does_not_touch_its_neighbours() -> None:
    items: list[Any] = [message(messageId=f"m-{place}") for place in range(100)]
    items[13] = {**items[13], "properties": {"price": "NaN"}}
    items[50], items[77] = None, ["x"]
    verdicts = parse_batch(items, source="web", received_at=NOW, keyed=keyed)
    bad = {place: each.code for place, each in enumerate(verdicts) if isinstance(each, Rejected)}
    assert bad == {13: "bad_amount", 50: "not_an_object", 77: "not_an_object"}
    assert [each.event.event_id for each in verdicts if isinstance(each, Parsed)][:2] == ["m-0", "m-1"]


def test_the_batch_s_context_is_each_message_s() -> None:
    items = [message(context={"locale": "fr-FR"}), message()]
    shared = {"locale": "de-DE", "timezone": "Europe/Berlin"}
    first, second = parse_batch(items, source="web", received_at=NOW, keyed=keyed, context=shared)
    assert isinstance(first, Parsed) and isinstance(second, Parsed)
    assert first.event.context == {"locale": "fr-FR", "timezone": "Europe/Berlin"}
    assert second.event.context == shared


# ------------------------------------------------------------------ what is personal


def test_traits_come_from_both_places_and_the_message_s_own_win() -> None:
    parsed = read(
        type="identify",
        traits={"firstName": "Jane", "plan": "gold", "address": {"country": "DE", "postalCode": "10115"}},
        context={"traits": {"firstName": "J", "email": "jane@example.com", "phone": "+49 170 1234567", "size": "M"}},
    )  # fmt: skip
    assert parsed.event.name == "Identify" and parsed.event.kind == "identify"
    assert parsed.event.properties == {"plan": "gold", "size": "M", "country": "DE"}
    assert parsed.personal == {
        "first_name": "Jane", "email": "jane@example.com", "phone": "+491701234567", "address.postal_code": "10115",
    }  # fmt: skip
    assert parsed.event.context == {}


def test_a_trait_is_taken_back_by_null() -> None:
    assert read(type="identify", traits={"plan": None}).event.properties == {"plan": None}


def test_each_address_is_sealed_under_its_own_hash() -> None:
    parsed = read(type="identify", traits={"email": "Jane@Example.com", "first_name": "Jane"})
    mailbox = f"email:{keyed('email', 'jane@example.com')}"
    assert parsed.sealed == {mailbox: {"email": "jane@example.com"}, parsed.subject: {"first_name": "Jane"}}


@pytest.mark.parametrize(
    "text",
    ["jane@example.com", "mail me: jane@example.com!", "+49 170 1234567", "call 0170 / 123 45 67 now", "(555) 123-4567",
     "4155551234", "x" * 200, "two\nlines"],
)  # fmt: skip
def test_texts_that_look_personal_are_sealed(text: str) -> None:
    parsed = read(properties={"wish": text, "nested": {"wish": [text, "red"]}})
    assert parsed.event.properties == {"nested": {"wish": ["red"]}}
    assert parsed.personal == {"wish": text, "nested.wish.0": text}


@pytest.mark.parametrize(
    "text",
    ["red", "2024-11-29", "29.11.2024", "2024-11-29T08:00:00Z", "v10.15.7", "XL-1234567", "1234567", "@home",
     "5 @ 3 EUR", "6f1de2a4-52d1-4b33-8f1e-2a4452d14b33", "12 x 500 ml"],
)  # fmt: skip
def test_texts_that_do_not_are_kept(text: str) -> None:
    assert read(properties={"wish": text}).event.properties == {"wish": text}


def test_personal_names_are_sealed_whatever_they_hold() -> None:
    parsed = read(
        properties={
            "Gift-Message": "hi", "customer_id": 5, "email": "x", "shipping_address": {"name": "Jane", "country": "DE"},
            "recipient": "Bob", "password": ["a", {"b": 1}], "jane@example.com": True, "subject": "my hip",
            "customer_note": "ring twice",
            "products": [{"product_id": "ring", "engraving": "J+B"}, {"product_id": "cup", "engraving": "B"}],
        }
    )  # fmt: skip
    assert parsed.event.properties == {
        "shipping_address": {"country": "DE"}, "products": [{"product_id": "ring"}, {"product_id": "cup"}],
    }  # fmt: skip
    assert set(parsed.personal) == {
        "Gift-Message", "customer_id", "email", "shipping_address.name", "recipient", "password", "jane@example.com",
        "subject", "customer_note", "products.0.engraving", "products.1.engraving",
    }  # fmt: skip


def test_an_order_that_holds_the_person_s_id_still_names_one_order() -> None:
    ids = {
        read(userId="customer-77812", event=name, properties={"order_id": "customer-77812/5"}).event.properties[
            "order_id"
        ]
        for name in ("Order Completed", "Order Shipped")
    }
    assert len(ids) == 1 and "77812" not in ids.pop()


def test_a_public_key_s_word_is_marked_and_its_grant_is_only_a_claim() -> None:
    granted = read(event="Consent Granted", properties={"channel": "email"}, trusted=False).event
    assert granted.name == "Consent Claimed" and UNVERIFIED in granted.notes
    withdrawn = read(event="Consent Withdrawn", properties={"channel": "email"}, trusted=False).event
    assert withdrawn.name == "Consent Withdrawn" and UNVERIFIED in withdrawn.notes
    assert read(event="Consent Granted").event.name == "Consent Granted"


def test_pages_screens_and_groups_have_names_of_their_own() -> None:
    page = read(
        type="page", name="Home", category="Shop", properties={"path": "/", "referrer": "https://x.example/?q=me"}
    )
    assert page.event.name == "Page Viewed"
    assert page.event.properties == {"path": "/", "referrer": "https://x.example/", "name": "Home", "category": "Shop"}
    assert read(type="screen", name="Cart").event.name == "Screen Viewed"
    group = read(type="group", groupId=9, traits={"industry": "retail", "name": "Acme"})
    assert group.event.properties == {"industry": "retail", "group_id": "9"} and group.personal == {"name": "Acme"}
