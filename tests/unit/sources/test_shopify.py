"""Shopify's resources as events: money, people, versions; what is not read is kept or passed over by name."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import msgspec
import pytest
from tests.shops import bodies
from tests.shops.bodies import DAY, at

from wayline.errors import Rejected
from wayline.observation.catalog import Shelf
from wayline.observation.events import Parsed, parse, parse_batch
from wayline.sources import Call, Unsigned
from wayline.sources.facts import Rules
from wayline.sources.shopify import IGNORED, TOPICS, Shopify

SECRET = "a-client-secret"
SHOP = Shopify([SECRET], Rules(shop_url="https://larkfell.example"))


def keyed(kind: str, value: str) -> str:
    return f"<{kind} {value.encode().hex()}>"


def read(topic: str, body: Any, shop: Shopify = SHOP) -> list[Parsed]:
    """A body's messages, each as the event it becomes; whatever is refused fails the test."""
    raw = msgspec.json.decode(msgspec.json.encode(body))
    verdicts = parse_batch(
        shop.read(topic, raw), source="shop", received_at=DAY + timedelta(days=1), keyed=keyed, currency="EUR"
    )
    for verdict in verdicts:
        if isinstance(verdict, Rejected):
            raise verdict
    return [verdict for verdict in verdicts if isinstance(verdict, Parsed)]


def events(topic: str, body: Any, shop: Shopify = SHOP) -> dict[str, Any]:
    return {parsed.event.name: parsed.event for parsed in read(topic, body, shop)}


def test_an_order_is_placed_once_and_stands_as_it_is_now() -> None:
    first, later = events("orders/create", bodies.order()), events("orders/paid", bodies.order(minutes=5))
    assert list(first) == ["Order Completed", "Order Updated"]
    assert first["Order Completed"].event_id == later["Order Completed"].event_id == "order:5001:completed"
    assert first["Order Updated"].event_id != later["Order Updated"].event_id
    assert later["Order Updated"].occurred_at == DAY + timedelta(minutes=5)
    assert first["Order Updated"].properties["status"] == "paid"


def test_revenue_is_without_shipping_and_tax_where_prices_include_them() -> None:
    said = events("orders/create", bodies.order())["Order Completed"].properties
    # 123.90 in all: 119.00 of goods with 19.00 tax inside, 4.90 shipping with 0.78 inside.
    assert (said["total"], said["tax"], said["shipping"], said["revenue"]) == (12390, 1978, 412, 10000)
    assert said["products"][0] == {
        "product_id": "7001", "sku": "FJ-GREEN", "name": "Fjord jacket", "variant": "green / M",
        "brand": "Larkfell", "quantity": 1, "price": 11900,
    }  # fmt: skip


def test_revenue_is_without_shipping_and_tax_where_tax_is_added() -> None:
    order = bodies.order(taxes_included=False, total_price="143.68", subtotal_price="119.00", total_tip_received="0.00")
    said = events("orders/create", order)["Order Completed"].properties
    assert said["revenue"] + said["tax"] + said["shipping"] == said["total"] == 14368
    assert said["revenue"] == 14368 - 1978 - 490


def test_money_is_the_shops_and_what_the_customer_saw_stands_beside_it() -> None:
    seen = {"presentment_money": {"amount": "115.20", "currency_code": "CHF"}}
    said = events("orders/create", bodies.order(total_price_set=seen))["Order Completed"].properties
    assert (said["currency"], said["total"]) == ("EUR", 12390)
    assert (said["presentment_currency"], said["presentment_total"]) == ("CHF", "115.20")


def test_whose_an_order_is_says_every_handle_and_no_personal_value_stays() -> None:
    parsed = read("orders/create", bodies.order())[0]
    kinds = {identifier.kind for identifier in parsed.event.identifiers}
    assert kinds == {"user_id", "email", "order_id", "cart_id"}
    text = msgspec.json.encode(parsed.event).decode()
    assert "anna" not in text.lower() and "Berg" not in text and "900000001" not in text
    assert parsed.personal["email"] == "anna.berg@example.com" and parsed.personal["first_name"] == "Anna"
    assert parsed.event.properties["order_id"] == "5001"


def test_tracking_that_knows_people_by_e_mail_finds_them_by_it() -> None:
    shop = Shopify([SECRET], Rules(known_by="email"))
    identifiers = read("orders/create", bodies.order(), shop)[0].event.identifiers
    assert identifiers[0].value == keyed("user_id", "anna.berg@example.com")
    assert "shop_customer_id" in {identifier.kind for identifier in identifiers}


def test_parcels_and_refunds_are_the_same_facts_by_themselves_and_within_the_order() -> None:
    parcel, refund = bodies.fulfillment(), bodies.refund()
    within = read("orders/updated", bodies.order(minutes=600, fulfillments=[parcel], refunds=[refund]))
    alone = [*read("fulfillments/create", parcel), *read("refunds/create", refund)]
    assert [each.event for each in within[2:]] == [each.event for each in alone]
    assert [each.event.name for each in alone] == ["Order Shipped", "Order Refunded", "Return Received"]
    assert all(each.event.identifiers[0].kind == "order_id" for each in alone)


def test_a_parcel_is_told_again_only_when_its_tracking_changed() -> None:
    ids = {
        read("fulfillments/update", bodies.fulfillment(**changed))[0].event.event_id
        for changed in ({}, {"updated_at": at(90)}, {"tracking_number": "JD0002"})
    }
    assert len(ids) == 2
    assert SHOP.read("fulfillments/update", bodies.fulfillment(status="cancelled")) == []


@pytest.mark.parametrize(
    ("status", "name"),
    [("out_for_delivery", "Order Shipped"), ("delivered", "Order Delivered"), ("delayed", "Order Delayed"),
     ("ready_for_pickup", "Pickup Ready"), ("label_printed", None)],
)  # fmt: skip
def test_what_carriers_say(status: str, name: str | None) -> None:
    said = {
        "id": 1, "fulfillment_id": 6001, "order_id": 5001, "status": status, "happened_at": at(90),
        "estimated_delivery_at": at(3000),
    }  # fmt: skip
    assert list(events("fulfillment_events/create", said)) == ([name] if name else [])


def test_a_cancelled_order_says_so_whatever_its_topic() -> None:
    order = bodies.order(minutes=30, cancelled_at=at(30), cancel_reason="customer", financial_status="refunded")
    for topic in ("orders/cancelled", "orders/updated", "orders/create"):
        told = events(topic, order)
        assert told["Order Cancelled"].occurred_at == DAY + timedelta(minutes=30)
        assert told["Order Updated"].properties["status"] == "cancelled"


def test_a_customer_and_their_consents() -> None:
    no = {"state": "unsubscribed", "opt_in_level": "single_opt_in", "consent_updated_at": at(-10)}
    told = read("customers/update", bodies.customer(sms_marketing_consent=no))
    identify, yes, withdrawn = (parsed.event for parsed in told)
    assert identify.kind == "identify"
    assert identify.properties["account"] == "enabled" and identify.properties["country"] == "DE"
    assert (yes.name, yes.properties["channel"], yes.properties["double_opt_in"]) == ("Consent Granted", "email", True)
    assert yes.properties["opt_in_level"] == "confirmed_opt_in" and yes.properties["proof_id"]
    assert yes.occurred_at == DAY - timedelta(minutes=900)
    assert (withdrawn.name, withdrawn.properties["channel"]) == ("Consent Withdrawn", "sms")
    again = read("customers/update", bodies.customer(minutes=50, first_name="Anne"))
    assert [each.event.event_id for each in again][1] == yes.event_id


@pytest.mark.parametrize("state", ["not_subscribed", "pending", "invalid"])
def test_a_consent_that_is_neither_yes_nor_no_is_not_told(state: str) -> None:
    consent = {"state": state, "opt_in_level": None, "consent_updated_at": at(-10)}
    assert list(events("customers/update", bodies.customer(email_marketing_consent=consent))) == ["Identify"]


def test_a_consent_by_itself_is_the_same_fact() -> None:
    consent = bodies.customer()["email_marketing_consent"]
    alone = {"customer_id": 900000001, "email_address": "anna.berg@example.com", "email_marketing_consent": consent}
    whole = events("customers/update", bodies.customer())
    told = events("customers_email_marketing_consent/update", alone)
    assert told["Consent Granted"].event_id == whole["Consent Granted"].event_id


def test_each_variant_is_a_product_with_its_price_and_stock() -> None:
    green, blue = (parsed.event.properties for parsed in read("products/update", bodies.product()))
    assert (green["sku"], green["price"], green["was"], green["available"]) == ("FJ-GREEN", 11900, 14900, 5)
    assert green["url"] == "https://larkfell.example/products/fjord-jacket"
    assert green["category"] == "jackets" and green["attributes"] == {
        "tags": "rain, autumn",
        "inventory_item_id": "7201",
    }
    assert blue["available"] == 0


def test_what_is_not_sold_has_none_and_what_is_not_counted_has_no_number() -> None:
    (draft, _) = read("products/update", bodies.product(status="draft"))
    assert draft.event.properties["available"] == 0
    for changed, word in (
        ({"inventory_management": None}, "in_stock"),
        ({"inventory_policy": "continue", "inventory_quantity": -2}, "backorder"),
    ):
        uncounted = read("products/update", bodies.product(variants=[bodies.variant(**changed)]))[0].event.properties
        assert "available" not in uncounted and uncounted["availability"] == word


def test_stock_by_place_finds_the_sku_its_product_told() -> None:
    level = {"inventory_item_id": 7201, "location_id": 31, "available": 3, "updated_at": at(5)}
    fresh = Shopify([SECRET], Rules())
    with pytest.raises(Rejected, match="no product has told us"):
        fresh.read("inventory_levels/update", level)
    shelf = Shelf(currency="EUR")
    for parsed in read("products/update", bodies.product(), fresh):
        shelf.take(parsed.event)
    again = Shopify([SECRET], Rules(), recall=shelf.products)
    for shop in (fresh, again):
        (told,) = read("inventory_levels/update", level, shop)
        assert told.event.properties["sku"] == "FJ-GREEN" and told.event.properties["store_id"] == "31"
    gone = read("products/delete", {"id": 7001}, again)
    assert {each.event.properties["sku"]: each.event.properties["available"] for each in gone} == {
        "FJ-GREEN": 0, "FJ-BLUE": 0,
    }  # fmt: skip


def test_carts_and_checkouts_are_held_together_by_their_tokens() -> None:
    cart = {"token": "c1", "updated_at": at(), "line_items": [bodies.line()], "note": None}
    (viewed,) = read("carts/update", cart)
    assert viewed.event.name == "Cart Viewed" and viewed.event.identifiers[0].kind == "cart_id"
    assert list(events("carts/update", {**cart, "line_items": []})) == ["Cart Emptied"]
    checkout = {
        "token": "k1", "cart_token": "c1", "created_at": at(), "updated_at": at(2), "completed_at": None,
        "currency": "EUR", "total_price": "119.00", "email": "anna.berg@example.com", "line_items": [bodies.line()],
    }  # fmt: skip
    began, step = read("checkouts/update", checkout)
    assert viewed.event.identifiers[0] in step.event.identifiers
    assert began.event.event_id == "checkout:k1:started" and step.event.properties["value"] == 11900


def test_privacy_requests_are_told_by_what_their_body_says() -> None:
    person = {"id": 900000001, "email": "anna.berg@example.com", "phone": None}
    by_topic = {
        "customers/data_request": {"shop_domain": "l.example", "customer": person, "orders_requested": [1]},
        "customers/redact": {"shop_domain": "l.example", "customer": {"email": "anna.berg@example.com"}},
        "shop/redact": {"shop_id": 1, "shop_domain": "l.example"},
    }
    for topic, body in by_topic.items():
        (told,) = read(topic, body)
        assert told.event.name == "Privacy Requested" and told.event.properties == {"topic": topic}
        assert bool(told.event.identifiers) == (topic != "shop/redact")
        # Under another topic it is still what its body says.
        assert read("shop/redact", body)[0].event.event_id == told.event.event_id


def test_a_body_under_a_forged_topic_is_refused() -> None:
    for topic, body in [
        ("orders/create", bodies.customer()),
        ("customers/redact", bodies.order()),
        ("products/update", bodies.order()),
    ]:
        with pytest.raises(Rejected) as refused:
            SHOP.read(topic, body)
        assert refused.value.code == "wrong_topic"


def test_what_nobody_reads_is_refused_with_a_code_and_drafts_are_passed_over() -> None:
    with pytest.raises(Rejected, match="Did you mean") as refused:
        SHOP.read("orders/creat", {})
    assert refused.value.code == "unknown_topic"
    call = Call(headers={"x-shopify-topic": "draft_orders/create"}, body=b"{}", received_at=DAY)
    assert SHOP.messages(call) == []
    assert not TOPICS.keys() & IGNORED.keys()


@pytest.mark.parametrize(
    ("changed", "field"),
    [({"line_items": "none"}, "order.line_items"), ({"updated_at": "soon"}, "order.updated_at"),
     ({"total_price": "1,00"}, "order.total_price"), ({"created_at": None, "processed_at": None}, "order")],
)  # fmt: skip
def test_a_shape_nobody_documents_is_refused_by_its_member(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(Rejected) as refused:
        SHOP.read("orders/create", bodies.order(**changed))
    assert refused.value.field == field


def test_x08_only_who_has_the_secret_is_heard() -> None:
    body = msgspec.json.encode(bodies.order())
    rotating = Shopify(["new", SECRET], Rules())
    for header in ("x-shopify-hmac-sha256", "shopify-hmac-sha256"):
        rotating.check(Call(headers={header: bodies.signature(body, SECRET)}, body=body, received_at=DAY))
    good = bodies.signature(body, SECRET)
    for given in (
        "",
        "\xfc\xdf",
        good[:-1],
        good + "=",
        bodies.signature(body + b" ", SECRET),
        bodies.signature(body, "x"),
    ):
        with pytest.raises(Unsigned):
            SHOP.check(Call(headers={"x-shopify-hmac-sha256": given}, body=body, received_at=DAY))


def test_versions_are_the_same_however_the_zone_is_written() -> None:
    moved = (DAY + timedelta(hours=1)).replace(tzinfo=None).isoformat() + "+01:00"
    one, two = bodies.order(), bodies.order(created_at=moved, processed_at=moved, updated_at=moved)
    ids = [[each.event.event_id for each in read("orders/updated", order)] for order in (one, two)]
    assert ids[0] == ids[1]
    assert (
        parse(SHOP.read("orders/updated", two)[0], source="s", received_at=DAY, keyed=keyed).event.occurred_at.tzinfo
        is UTC
    )


def test_an_order_made_and_paid_in_one_second_is_paid_whichever_call_comes_first() -> None:
    made, paid = (
        read("orders/updated", bodies.order(financial_status=status))[1].event for status in ("pending", "paid")
    )
    assert made.occurred_at == paid.occurred_at and made.event_id < paid.event_id
    gone = read("orders/updated", bodies.order(financial_status="paid", cancelled_at=at()))[1].event
    assert paid.event_id < gone.event_id
