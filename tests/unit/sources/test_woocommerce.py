"""WooCommerce's resources as events: statuses, money, stock; the ping; what is not read is kept or passed over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.shops import bodies
from tests.shops.bodies import DAY, gmt

from wayline.errors import Rejected
from wayline.observation.events import Parsed, parse_batch
from wayline.sources import Call, Unsigned
from wayline.sources.facts import Rules
from wayline.sources.woocommerce import IGNORED, TOPICS, WooCommerce

SECRET = "a-webhook-secret"
SHOP = WooCommerce([SECRET], Rules())


def keyed(kind: str, value: str) -> str:
    return f"<{kind} {value.encode().hex()}>"


def read(topic: str, body: Any, shop: WooCommerce = SHOP) -> list[Parsed]:
    raw = msgspec.json.decode(msgspec.json.encode(body))
    verdicts = parse_batch(
        shop.read(topic, raw), source="shop", received_at=DAY + timedelta(days=1), keyed=keyed, currency="EUR"
    )
    for verdict in verdicts:
        if isinstance(verdict, Rejected):
            raise verdict
    return [verdict for verdict in verdicts if isinstance(verdict, Parsed)]


def names(topic: str, body: Any) -> list[str]:
    return [parsed.event.name for parsed in read(topic, body)]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("pending", ["Order Updated"]),
        ("failed", ["Order Updated", "Payment Failed"]),
        ("on-hold", ["Order Completed", "Order Updated"]),
        ("processing", ["Order Completed", "Order Updated"]),
        ("completed", ["Order Completed", "Order Updated", "Order Shipped"]),
        ("cancelled", ["Order Updated", "Order Cancelled"]),
        ("refunded", ["Order Completed", "Order Updated", "Order Refunded"]),
        ("wc-processing", ["Order Completed", "Order Updated"]),
        ("checkout-draft", []),
    ],
)
def test_each_status_says_what_it_means(status: str, told: list[str]) -> None:
    refunds = [{"id": 9, "total": "-28.70"}] if status == "refunded" else []
    assert names("order.updated", bodies.woo_order(status=status, minutes=30, refunds=refunds)) == told


def test_an_order_that_was_paid_was_placed_whatever_it_is_called_now() -> None:
    for status in ("cancelled", "ready-to-bake"):
        assert "Order Completed" in names("order.updated", bodies.woo_order(status=status, date_paid_gmt=gmt()))


def test_money_and_lines() -> None:
    said = read("order.created", bodies.woo_order())[0].event.properties
    assert (said["total"], said["tax"], said["shipping"], said["revenue"]) == (2870, 458, 412, 2000)
    assert said["products"] == [{"product_id": "93", "sku": "MUG", "name": "Mug", "quantity": 2, "price": 1190}]
    assert said["coupon"] == "autumn" and said["order_id"] == "727"


def test_a_discount_is_what_was_taken_off() -> None:
    order = bodies.woo_order()
    order["line_items"][0] |= {"total": "10.00", "total_tax": "1.90"}
    line = read("order.created", order)[0].event.properties["products"][0]
    assert (line["price"], line["discount"]) == (1190, 1190)


def test_a_guest_is_known_by_address_and_nothing_personal_stays() -> None:
    guest = read("order.created", bodies.woo_order(customer_id=0))[0]
    assert [each.kind for each in guest.event.identifiers] == ["email", "phone", "order_id"]
    text = msgspec.json.encode(guest.event).decode().lower()
    assert "anna" not in text and "berg" not in text and "4915112345678" not in text


def test_instants_without_a_zone_are_in_utc() -> None:
    assert read("order.created", bodies.woo_order())[0].event.occurred_at == DAY


def test_a_refund_is_when_it_was_heard_of_unless_the_shop_was_asked() -> None:
    order = bodies.woo_order(refunds=[{"id": 9, "total": "-5.00"}])
    heard = read("order.updated", order)[-1].event
    assert heard.properties["total"] == 500 and heard.occurred_at == DAY + timedelta(days=1)
    order["refunds"][0]["date_created_gmt"] = gmt(90)
    asked = read("order.updated", order)[-1].event
    assert asked.occurred_at == DAY + timedelta(minutes=90) and asked.event_id == heard.event_id


@pytest.mark.parametrize(
    ("changed", "stock"),
    [
        ({}, ("available", 4)),
        ({"stock_quantity": -1}, ("available", 0)),
        ({"stock_quantity": 0, "backorders": "yes", "stock_status": "onbackorder"}, ("availability", "backorder")),
        ({"manage_stock": False, "stock_quantity": None}, ("availability", "in_stock")),
        (
            {"manage_stock": False, "stock_quantity": None, "stock_status": "outofstock"},
            ("availability", "out_of_stock"),
        ),
        ({"manage_stock": "parent", "stock_quantity": 3}, ("available", 3)),
        ({"status": "draft"}, ("available", 0)),
    ],
)
def test_stock_is_a_count_or_a_word(changed: dict[str, Any], stock: tuple[str, Any]) -> None:
    said = read("product.updated", bodies.woo_product(**changed))[0].event.properties
    assert said[stock[0]] == stock[1] and len({"available", "availability"} & said.keys()) == 1


def test_what_can_be_bought_is_the_variation() -> None:
    assert names("product.updated", bodies.woo_product(type="variable")) == []
    blue = bodies.woo_product(
        94, type="variation", parent_id=93, sku="MUG-BLUE", attributes=[{"name": "Colour", "option": "blue"}]
    )
    said = read("product.updated", blue)[0].event.properties
    assert (said["product_id"], said["sku"], said["variant"], said["price"]) == ("93", "MUG-BLUE", "blue", 1190)
    gone = read("product.deleted", {"id": 93})
    assert {each.event.properties["sku"] for each in gone} >= {"MUG-BLUE"}


def test_a_customer_with_an_account() -> None:
    (told,) = read("customer.updated", bodies.woo_customer())
    assert told.event.kind == "identify" and told.event.properties["country"] == "DE"
    assert told.personal["first_name"] == "Anna"


def test_the_ping_of_a_new_webhook_needs_no_signature_and_tells_nothing() -> None:
    ping = Call(headers={}, body=b"webhook_id=7", received_at=DAY)
    SHOP.check(ping)
    assert SHOP.messages(ping) == []
    with pytest.raises(Unsigned):
        SHOP.check(Call(headers={}, body=b"webhook_id=7&x=1", received_at=DAY))


def test_x08_only_who_has_the_secret_is_heard() -> None:
    body = msgspec.json.encode(bodies.woo_order())
    good = bodies.signature(body, SECRET)
    SHOP.check(Call(headers={"x-wc-webhook-signature": good}, body=body, received_at=DAY))
    for given in ("", "\xfc\xdf", good[:-1], bodies.signature(body + b" ", SECRET)):
        with pytest.raises(Unsigned):
            SHOP.check(Call(headers={"x-wc-webhook-signature": given}, body=body, received_at=DAY))


def test_what_nobody_reads_is_refused_and_coupons_are_passed_over() -> None:
    for topic, body, code in (
        ("order.made", bodies.woo_order(), "unknown_topic"),
        ("customer.updated", bodies.woo_order(), "wrong_topic"),
        ("product.deleted", bodies.woo_product(), "wrong_topic"),
    ):
        with pytest.raises(Rejected) as refused:
            SHOP.read(topic, body)
        assert refused.value.code == code
    assert "coupon.created" in IGNORED and not TOPICS.keys() & IGNORED.keys()
