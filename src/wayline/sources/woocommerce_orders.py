"""What WooCommerce says of orders and customers.

An order begins when the customer leaves the checkout, paid or not. It counts as placed once it is paid, or waits for a
transfer (`on-hold`); `pending` and `failed` are payments still to be made, and those who owe them may be helped. When
an order was cancelled the platform does not say, so that is as of the version that says it; when something was paid
back it does not say at all, so that is as of when we hear of it, unless the catch-up poll found out.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from wayline.errors import Rejected
from wayline.sources.facts import (
    Amount,
    Id,
    Rules,
    Who,
    amount,
    as_it_stands,
    digest,
    fact,
    instant,
    shaped,
    stated,
    texts,
    version,
)
from wayline.sources.topics import Items

__all__ = ["PLACED", "customers", "orders"]

PLACED: Final = frozenset({"processing", "completed", "on-hold", "refunded"})
"""Statuses of an order that the customer has placed; one that was paid has been, whatever it is called now."""

_PROGRESS: Final = ("pending", "failed", "on-hold", "processing", "completed", "cancelled", "refunded")
"""Statuses in the order in which an order has them."""

_NO_ORDERS: Final = frozenset({"checkout-draft", "auto-draft", "draft", "trash"})
_LINES_MAX: Final = 500  # products of one message; further lines stay in the sums
_FOUR_DIGITS: Final = Decimal("0.0001")


class _Address(Struct):
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    phone: str | None = None
    city: str | None = None
    state: str | None = None
    country: str | None = None


class _Line(Struct, rename={"variant_id": "variation_id"}):
    product_id: Id = None
    variant_id: Id = None
    sku: str | None = None
    name: str | None = None
    quantity: int | None = None
    subtotal: Amount = None
    subtotal_tax: Amount = None
    total: Amount = None
    total_tax: Amount = None


class _Coupon(Struct):
    code: str | None = None


class _Refund(Struct):
    id: Id = None
    total: Amount = None
    date_created_gmt: str | None = None


class _Shipping(Struct):
    method_title: str | None = None


class _Order(Struct):
    id: Id
    number: Id = None
    status: str | None = None
    currency: str | None = None
    created_via: str | None = None
    date_created_gmt: str | None = None
    date_modified_gmt: str | None = None
    date_paid_gmt: str | None = None
    date_completed_gmt: str | None = None
    discount_total: Amount = None
    shipping_total: Amount = None
    total: Amount = None
    total_tax: Amount = None
    prices_include_tax: bool | None = None
    customer_id: Id = None
    payment_method: str | None = None
    billing: _Address | None = None
    shipping: _Address | None = None
    line_items: list[_Line] | None = None
    shipping_lines: list[_Shipping] | None = None
    coupon_lines: list[_Coupon] | None = None
    refunds: list[_Refund] | None = None


def orders(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """An order as it is now: whether it was placed, how it stands, and whatever was sent or given back."""
    order = shaped(raw, _Order, "order")
    status = (order.status or "").removeprefix("wc-")
    created_at = instant(order.date_created_gmt, "order.date_created_gmt", is_utc=True)
    modified_at = instant(order.date_modified_gmt, "order.date_modified_gmt", is_utc=True) or created_at
    if order.id is None or created_at is None or modified_at is None:
        raise Rejected("wrong_type", "order", "expected an order with id, date_created_gmt and date_modified_gmt")
    if status in _NO_ORDERS:
        return []
    who, by_order = (
        _buyer(order).handles(rules),
        {"context": {"externalIds": [{"type": "order_id", "id": str(order.id)}]}},
    )
    said = _said(order)
    told = []
    if status in PLACED or order.date_paid_gmt:
        told.append(fact("Order Completed", ("order", order.id, "completed"), created_at, said, who))
    key = ("order", order.id, version(modified_at))
    stands = said | {"status": status}
    progress = _PROGRESS.index(status) if status in _PROGRESS else _PROGRESS.index("processing")
    told.append(fact("Order Updated", as_it_stands(order.id, modified_at, stands, progress), modified_at, stands, who))
    order_id = str(order.id)
    if status == "cancelled":
        told.append(fact("Order Cancelled", (*key, "cancelled"), modified_at, {"order_id": order_id}, by_order))
    if status == "failed":
        failed = {"order_id": order_id, "reason": order.payment_method, "retryable": True}
        told.append(fact("Payment Failed", (*key, "failed"), modified_at, failed, by_order))
    sent_at = instant(order.date_completed_gmt, "order.date_completed_gmt", is_utc=True)
    if status == "completed" and sent_at is not None and order.shipping_lines:
        shipped = {"order_id": order_id, "products": said["products"]}
        told.append(fact("Order Shipped", ("order", order.id, "shipped", version(sent_at)), sent_at, shipped, by_order))
    return told + _refunds(order, order_id, by_order)


def _buyer(order: _Order) -> Who:
    billing, shipping = order.billing or _Address(), order.shipping or _Address()
    return Who(
        customer_id=order.customer_id or None,  # 0 is a guest
        email=billing.email or "",
        phone=texts(billing.phone, shipping.phone),
        first_name=texts(billing.first_name, shipping.first_name),
        last_name=texts(billing.last_name, shipping.last_name),
        documents=(("order_id", str(order.id)),),
    )


def _said(order: _Order) -> dict[str, Any]:
    total, tax = amount(order.total, "order.total"), amount(order.total_tax, "order.total_tax")
    shipping = amount(order.shipping_total, "order.shipping_total")
    codes = [coupon.code for coupon in order.coupon_lines or () if coupon.code]
    return {
        "order_id": order.id,
        "order_number": str(order.number or order.id),
        "affiliation": order.created_via,
        "payment_method": order.payment_method,
        "currency": order.currency,
        "total": total,
        "tax": tax,
        "shipping": shipping,
        "discount": amount(order.discount_total, "order.discount_total"),
        "revenue": total - tax - shipping,
        "coupon": codes[0] if codes else None,
        "products": [_product(line, order) for line in (order.line_items or ())[:_LINES_MAX]],
    }


def _product(line: _Line, order: _Order) -> dict[str, Any]:
    """A line at the price that was shown; lines are told without tax, which shops that show it add again."""
    shown, paid = amount(line.subtotal, "line_items.subtotal"), amount(line.total, "line_items.total")
    if order.prices_include_tax:
        shown, paid = shown + amount(line.subtotal_tax), paid + amount(line.total_tax)
    quantity = line.quantity or 1
    return stated(
        {
            "product_id": line.product_id,
            "sku": line.sku or f"variant-{line.variant_id or line.product_id}",
            "name": line.name,
            "quantity": quantity,
            "price": (shown / quantity).quantize(_FOUR_DIGITS) if quantity > 0 else None,
            "discount": (shown - paid) or None,
        }
    )


def _refunds(order: _Order, order_id: str, by_order: dict[str, Any]) -> list[dict[str, Any]]:
    told = []
    for refund in order.refunds or ():
        at = instant(refund.date_created_gmt, "order.refunds.date_created_gmt", is_utc=True)
        said = {
            "order_id": order_id,
            "refund_id": refund.id,
            "currency": order.currency,
            "total": abs(amount(refund.total, "order.refunds.total")),
        }
        told.append(fact("Order Refunded", ("refund", refund.id), at, said, by_order))
    return told


class _Customer(Struct):
    id: Id = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    role: str | None = None
    date_created_gmt: str | None = None
    date_modified_gmt: str | None = None
    billing: _Address | None = None


def customers(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A customer with an account, as they are now. The platform keeps no consents."""
    customer = shaped(raw, _Customer, "customer")
    if not customer.id:
        raise Rejected("wrong_type", "customer.id", "expected a customer with an id")
    at = instant(customer.date_modified_gmt or customer.date_created_gmt, "customer.date_modified_gmt", is_utc=True)
    billing = customer.billing or _Address()
    email = texts(customer.email, billing.email)
    address = stated({"city": billing.city, "state": billing.state, "country": billing.country})
    traits = {
        "email": email,
        "phone": billing.phone,
        "firstName": texts(customer.first_name, billing.first_name),
        "lastName": texts(customer.last_name, billing.last_name),
        "account": customer.role,
        "address": address or None,
    }
    # Not every change of a customer moves its version: the digest is what else makes it another.
    key = ("customer", customer.id, version(at), digest([customer.role, address]))
    who = Who(customer_id=customer.id, email=email).handles(rules)
    who.get("context", {}).pop("traits", None)
    return [fact("Identify", key, at, traits, who)]
