"""Shopify: its signed calls, and which of its topics say what.

Signed with the app's client secret: base64 of HMAC-SHA256 over the raw bytes. After a rotation the old secret may sign
for an hour more, so there may be two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from wayline.domain import Product
from wayline.sources import Call, Unsigned
from wayline.sources import shopify_orders as orders
from wayline.sources import shopify_people as people
from wayline.sources import shopify_shelf as shelf
from wayline.sources.facts import Rules
from wayline.sources.signed import json_of, signed_by
from wayline.sources.topics import Items, Topic, read_topic

__all__ = ["IGNORED", "TOPICS", "Shopify"]

_ORDER: Final = Topic(
    orders.orders,
    ("line_items", "financial_status"),
    "Order Completed, Order Updated, Order Cancelled, Order Shipped, Order Delivered, Order Refunded, Return Received",
)
_CUSTOMER: Final = Topic(people.customers, ("email", "state"), "Identify, Consent Granted, Consent Withdrawn")
_CHECKOUT: Final = Topic(
    orders.checkouts, ("token", "line_items"), "Checkout Started, Checkout Step Viewed", ("financial_status",)
)
_CART: Final = Topic(orders.carts, ("token", "line_items"), "Cart Viewed, Cart Emptied", ("total_price", "order_id"))
_PRODUCT: Final = Topic(shelf.products, ("variants",), "Product Changed")
_FULFILLMENT: Final = Topic(orders.fulfillments, ("order_id", "line_items"), "Order Shipped, Order Delivered")
_PARCEL_EVENT: Final = Topic(
    orders.fulfillment_events,
    ("fulfillment_id", "status"),
    "Order Shipped, Order Delayed, Order Delivered, Pickup Ready",
)
_ITEM: Final = Topic(shelf.inventory_items, ("sku", "tracked"), "nothing by itself: which inventory item is which sku")
_CONSENT: Final = Topic(people.consents, ("customer_id",), "Consent Granted, Consent Withdrawn")
_PRIVACY: Final = Topic(people.privacy_request, ("shop_domain",), "Privacy Requested")

TOPICS: Final[Mapping[str, Topic]] = {
    **dict.fromkeys(
        (
            "orders/create", "orders/updated", "orders/paid", "orders/cancelled", "orders/fulfilled",
            "orders/partially_fulfilled",
        ),
        _ORDER,
    ),
    **dict.fromkeys(("checkouts/create", "checkouts/update"), _CHECKOUT),
    **dict.fromkeys(("carts/create", "carts/update"), _CART),
    **dict.fromkeys(("customers/create", "customers/update", "customers/enable", "customers/disable"), _CUSTOMER),
    **dict.fromkeys(("customers_marketing_consent/update", "customers_email_marketing_consent/update"), _CONSENT),
    **dict.fromkeys(("products/create", "products/update"), _PRODUCT),
    "products/delete": Topic(
        # A change replayed as a deletion would sell nothing any more: a real one has the id alone.
        shelf.deleted_products, ("id",), "Inventory Changed to 0", ("title", "updated_at")
    ),
    **dict.fromkeys(
        ("inventory_levels/update", "inventory_levels/connect"),
        Topic(shelf.inventory_levels, ("inventory_item_id", "location_id"), "Inventory Changed"),
    ),
    **dict.fromkeys(("inventory_items/create", "inventory_items/update"), _ITEM),
    **dict.fromkeys(("fulfillments/create", "fulfillments/update"), _FULFILLMENT),
    "fulfillment_events/create": _PARCEL_EVENT,
    "refunds/create": Topic(orders.refunds, ("order_id", "refund_line_items"), "Order Refunded, Return Received"),
    "returns/request": Topic(orders.returns, ("status", "return_line_items"), "Return Requested"),
    **dict.fromkeys(people.PRIVACY_TOPICS, _PRIVACY),
}  # fmt: skip
"""Every topic that is read, and what it becomes."""

IGNORED: Final[Mapping[str, str]] = {
    "draft_orders/create": "a draft is no order until the customer has it",
    "draft_orders/update": "a draft is no order until the customer has it",
    "draft_orders/delete": "a draft is no order until the customer has it",
    "orders/edited": "the order itself follows as orders/updated",
    "orders/delete": "only cancelled or archived orders can be deleted; what happened with them stays what happened",
    "customers/delete": "deleting a record is no request to be forgotten; that comes as customers/redact",
    "checkouts/delete": "a checkout that is thrown away says nothing of the person",
    "inventory_levels/disconnect": "says no number; the product's own total follows",
    "inventory_items/delete": "the product's own change follows",
    "app/uninstalled": "nothing follows from it here; shop/redact does",
}
"""Topics passed over on purpose, and why."""


class Shopify:
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
        given = call.headers.get("x-shopify-hmac-sha256") or call.headers.get("shopify-hmac-sha256") or ""
        if not signed_by(self._keys, given, call.body):
            raise Unsigned("X-Shopify-Hmac-Sha256 is not one by this app's client secret over the body")

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        topic = call.headers.get("x-shopify-topic") or call.headers.get("shopify-topic") or ""
        return [] if topic in IGNORED else self.read(topic, json_of(call.body))

    def read(self, topic: str, body: Any) -> list[dict[str, Any]]:
        """What a body of this topic says; the catch-up poll asks here too. Raises Rejected where it is none."""
        return read_topic(topic, body, TOPICS, self._rules, self._items)
