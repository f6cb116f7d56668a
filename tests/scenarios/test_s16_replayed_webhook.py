"""A replayed webhook with changed headers: no second fact, and nothing old over anything newer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
from starlette.applications import Starlette
from tests.shops import bodies
from tests.shops.bodies import DAY, at

from wayline.observation.catalog import Shelf
from wayline.runtime.collecting import Collector
from wayline.serving.intake import Intake
from wayline.serving.webhooks import webhooks
from wayline.sources.opening import open_receivers
from wayline.store.opening import open_store

SECRET = "a-client-secret"
SETTINGS = {kind: {"kind": kind, "secret_env": "SHOP_SECRET"} for kind in ("shopify", "woocommerce")}


class Calls:
    """A shop that calls us, each time with ids and times of its own choosing."""

    def __init__(self) -> None:
        self.store = open_store()
        self.intake = Intake(Collector(self.store.log, self.store.vault))
        self.now = DAY + timedelta(days=1)
        receivers = open_receivers(SETTINGS, {"SHOP_SECRET": SECRET})
        self.app = Starlette(routes=webhooks(receivers, self.intake, clock=lambda: self.now))
        self.sent = 0

    def post(self, topic: str, body: bytes) -> int:
        self.sent += 1
        self.now += timedelta(hours=2)
        signature = bodies.signature(body, SECRET)
        source = "shopify" if "/" in topic else "woocommerce"
        headers = {
            "X-WC-Webhook-Topic": topic,
            "X-WC-Webhook-Signature": signature,
            "X-WC-Webhook-Delivery-ID": f"delivery-{self.sent}",
            "X-Shopify-Topic": topic,
            "X-Shopify-Hmac-Sha256": signature,
            "X-Shopify-Webhook-Id": f"delivery-{self.sent}",
            "X-Shopify-Event-Id": f"event-{self.sent}",
            "X-Shopify-Triggered-At": self.now.isoformat(),
        }

        async def asking() -> int:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                return (await client.post(f"/webhooks/{source}", content=body, headers=headers)).status_code

        return anyio.run(asking)

    @property
    def counts(self) -> Mapping[str, int]:
        return self.store.log.counts()


OURS: list[tuple[str, dict[str, Any]]] = [
    ("products/create", bodies.product()),
    ("orders/create", bodies.order()),
    ("orders/updated", bodies.order(minutes=700, fulfillments=[bodies.fulfillment()], refunds=[bodies.refund()])),
    ("orders/cancelled", bodies.order(5002, cancelled_at=at(30), cancel_reason="customer")),
    ("customers/update", bodies.customer()),
    ("carts/create", {"token": "c1", "updated_at": at(), "line_items": [bodies.line()]}),
    ("checkouts/create", bodies.checkout()),
    ("inventory_levels/update", {"inventory_item_id": 7201, "location_id": 31, "available": 3, "updated_at": at(5)}),
    ("customers/redact", {"shop_domain": "l.example", "customer": {"id": 1, "email": "anna.berg@example.com"}}),
    ("returns/request", {"id": 1, "status": "requested", "order": {"id": 5001}, "return_line_items": []}),
    ("products/delete", {"id": 7001}),
    ("product.created", bodies.woo_product()),
    ("order.created", bodies.woo_order()),
    ("order.updated", bodies.woo_order(status="refunded", minutes=90, refunds=[{"id": 9, "total": "-28.70"}])),
    ("order.updated", bodies.woo_order(728, status="cancelled", minutes=50)),
    ("customer.updated", bodies.woo_customer()),
    ("product.deleted", {"id": 93}),
]


def published(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Resources as the platform's own client libraries test them; bodies only, which is all that is signed."""
    topics = {
        "order": "orders/updated", "customer": "customers/update", "product": "products/update",
        "checkouts": "checkouts/update", "carts": "carts/update", "refund": "refunds/create",
        "fulfillment": "fulfillments/create", "fulfillment_event": "fulfillment_events/create",
        "inventory_level": "inventory_levels/update", "draft_order": "draft_orders/create",
    }  # fmt: skip
    for publisher in ("shopify-python-api", "go-shopify"):
        for name, topic in topics.items():
            path = folder / publisher / f"{name}.json"
            for told in json.loads(path.read_text()).values() if path.is_file() else ():
                yield from ((topic, body) for body in (told if isinstance(told, list) else [told]))


def published_woo(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, topic in (
        ("orders", "order.updated"),
        ("products", "product.updated"),
        ("customers", "customer.updated"),
    ):
        for told in json.loads((folder / "woocommerce-v3" / f"{name}.json").read_text()):
            given = told["json"]
            bodies = given.get("update", [given]) if isinstance(given, dict) else given
            yield from ((topic, body) for body in bodies if "id" in body and "date_created_gmt" in body)


def test_s16_every_body_replayed_under_fresh_ids_and_times_is_one_fact() -> None:
    calls = Calls()
    for topic, body in OURS:
        assert calls.post(topic, msgspec.json.encode(body)) == 200
    first = calls.counts
    assert first["stored"] >= len(OURS) and first["rejected"] == first["conflict"] == 0
    for topic, body in OURS:
        assert calls.post(topic, msgspec.json.encode(body)) == 200
    after = calls.counts
    assert (after["stored"], after["conflict"], after["rejected"]) == (first["stored"], 0, 0)


def test_s16_published_fixtures_are_one_fact_each(real_data: Callable[[str], Path]) -> None:
    known = [*published(real_data("webhooks")), *published_woo(real_data("webhooks"))]
    assert len(known) > 10
    calls = Calls()
    for topic, body in known:
        assert calls.post(topic, msgspec.json.encode(body)) == 200
    first = calls.counts
    assert first["stored"] > 25 and first["conflict"] == 0
    assert {each.code for each in calls.store.log.rejections()} == {"unknown_item"}  # of a product that was not sent
    for topic, body in known:
        calls.post(topic, msgspec.json.encode(body))
    assert calls.counts["stored"] == first["stored"] and calls.counts["conflict"] == first["conflict"]


def test_s16_no_body_means_anything_else_under_another_topic() -> None:
    """The topic is not signed either: a change of a product replayed as its deletion would empty the shelf."""
    calls = Calls()
    for topic, body in OURS:
        calls.post(topic, msgspec.json.encode(body))
    before = calls.counts["stored"]
    for _, body in OURS:
        for topic in dict.fromkeys(topic for topic, _ in OURS):
            calls.post(topic, msgspec.json.encode(body))
    assert calls.counts["stored"] == before and calls.counts["conflict"] == 0


def test_s16_an_older_version_that_comes_late_moves_nothing() -> None:
    calls = Calls()
    for minutes, price, quantity in ((60, "99.00", 2), (0, "119.00", 9)):
        product = bodies.product(minutes=minutes, variants=[bodies.variant(price=price, quantity=quantity)])
        calls.post("products/update", msgspec.json.encode(product))
    shelf = Shelf(currency="EUR")
    for event in calls.store.log.read(0, 10):
        shelf.take(event)
    product = shelf.product("FJ-GREEN")
    assert product is not None and (product.price, product.available) == (9900, 2)
