"""WooCommerce: its signed calls, and which of its topics say what.

Signed with the webhook's own secret: base64 of HMAC-SHA256 over the raw bytes. The platform lets a webhook have no
secret; we do not. When a webhook is made, it pings us with `webhook_id=7`, without topic and signature, and wants 200.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from wayline.domain import Product
from wayline.sources import Call, Unsigned
from wayline.sources import woocommerce_orders as orders
from wayline.sources import woocommerce_shelf as shelf
from wayline.sources.facts import Rules
from wayline.sources.signed import json_of, signed_by
from wayline.sources.topics import Items, Topic, read_topic

__all__ = ["IGNORED", "TOPICS", "WooCommerce"]

_PING: Final = re.compile(rb"webhook_id=\d{1,12}")

_ORDER: Final = Topic(
    orders.orders,
    ("line_items", "billing"),
    "Order Completed, Order Updated, Order Shipped, Order Cancelled, Order Refunded, Payment Failed",
)
_PRODUCT: Final = Topic(shelf.products, ("sku", "stock_status"), "Product Changed")
_CUSTOMER: Final = Topic(orders.customers, ("email", "billing"), "Identify", ("line_items",))

TOPICS: Final[Mapping[str, Topic]] = {
    **dict.fromkeys(("order.created", "order.updated", "order.restored"), _ORDER),
    **dict.fromkeys(("product.created", "product.updated", "product.restored"), _PRODUCT),
    "product.deleted": Topic(shelf.deleted_products, ("id",), "Inventory Changed to 0", ("name", "date_modified_gmt")),
    **dict.fromkeys(("customer.created", "customer.updated"), _CUSTOMER),
}
"""Every topic that is read, and what it becomes."""

IGNORED: Final[Mapping[str, str]] = {
    "order.deleted": "an order that is thrown away was one all the same; a cancelled one says so before",
    "customer.deleted": "deleting an account is no request to be forgotten",
    **dict.fromkeys(
        ("coupon.created", "coupon.updated", "coupon.deleted", "coupon.restored"),
        "a coupon is told of by the order that uses it",
    ),
}
"""Topics passed over on purpose, and why."""


class WooCommerce:
    """The receiver of one shop's calls."""

    def __init__(
        self,
        secrets: Sequence[str],
        rules: Rules,
        recall: Callable[[], Iterable[Product]] | None = None,
    ) -> None:
        self._keys = tuple(secret.encode() for secret in secrets)
        self._rules = rules
        self._items = Items(recall)

    def check(self, call: Call) -> None:
        if _is_ping(call):
            return  # it tells nothing, so there is nothing to sign
        if not signed_by(self._keys, call.headers.get("x-wc-webhook-signature", ""), call.body):
            raise Unsigned("X-WC-Webhook-Signature is not one by this webhook's secret over the body")

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        topic = call.headers.get("x-wc-webhook-topic", "")
        return [] if _is_ping(call) or topic in IGNORED else self.read(topic, json_of(call.body))

    def read(self, topic: str, body: Any) -> list[dict[str, Any]]:
        """What a body of this topic says; the catch-up poll asks here too. Raises Rejected where it is none."""
        return read_topic(topic, body, TOPICS, self._rules, self._items)


def _is_ping(call: Call) -> bool:
    return _PING.fullmatch(call.body) is not None
