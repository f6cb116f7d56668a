"""What Shopify says of orders, parcels, refunds, returns, checkouts and carts.

An order comes whole with each change, refunds and parcels within. The facts that can happen once (it was placed, it was
cancelled) have the order for their id; what can change again has its version. Parcels and refunds also come by
themselves, without the person they are for: they carry the order's id as a handle on the person instead.

Money is the shop's (`shop_money`); what the customer saw in another currency stands beside it. `revenue` is without
shipping, tax, duties and tips, whether prices include the tax or not.
"""

from __future__ import annotations

from datetime import datetime
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

__all__ = ["carts", "checkouts", "fulfillment_events", "fulfillments", "orders", "refunds", "returns"]

_LINES_MAX: Final = 500  # products of one message; further lines stay in the sums


_PROGRESS: Final = (
    "open", "pending", "authorized", "partially_paid", "paid", "partially_fulfilled", "fulfilled", "partially_refunded",
    "refunded", "cancelled",
)  # fmt: skip
"""Statuses in the order in which an order has them."""


class _Tax(Struct):
    price: Amount = None


class _Money(Struct):
    amount: Amount = None
    currency_code: str | None = None


class _MoneySet(Struct):
    shop_money: _Money | None = None
    presentment_money: _Money | None = None


class _Line(Struct):
    id: Id = None
    product_id: Id = None
    variant_id: Id = None
    sku: str | None = None
    title: str | None = None
    variant_title: str | None = None
    vendor: str | None = None
    quantity: int | None = None
    price: Amount = None
    total_discount: Amount = None
    gift_card: bool | None = None


class _Shipping(Struct):
    price: Amount = None
    discounted_price: Amount = None
    title: str | None = None
    tax_lines: list[_Tax] | None = None


class _Code(Struct):
    code: str | None = None


class _Address(Struct):
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None


class _Person(Struct):
    id: Id = None
    email: str | None = None
    phone: str | None = None
    first_name: str | None = None
    last_name: str | None = None


class _Fulfillment(Struct):
    id: Id = None
    order_id: Id = None
    status: str | None = None
    shipment_status: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    tracking_company: str | None = None
    tracking_number: str | None = None
    tracking_url: str | None = None
    line_items: list[_Line] | None = None


class _RefundLine(Struct):
    quantity: int | None = None
    restock_type: str | None = None
    subtotal: Amount = None
    line_item: _Line | None = None


class _Transaction(Struct):
    kind: str | None = None
    status: str | None = None
    amount: Amount = None
    currency: str | None = None


class _Refund(Struct):
    id: Id = None
    order_id: Id = None
    created_at: str | None = None
    refund_line_items: list[_RefundLine] | None = None
    transactions: list[_Transaction] | None = None


class _Order(Struct):
    id: Id
    name: str | None = None
    order_number: Id = None
    created_at: str | None = None
    processed_at: str | None = None
    updated_at: str | None = None
    cancelled_at: str | None = None
    cancel_reason: str | None = None
    currency: str | None = None
    total_price: Amount = None
    subtotal_price: Amount = None
    total_tax: Amount = None
    total_discounts: Amount = None
    total_tip_received: Amount = None
    taxes_included: bool | None = None
    total_price_set: _MoneySet | None = None
    original_total_duties_set: _MoneySet | None = None
    financial_status: str | None = None
    fulfillment_status: str | None = None
    source_name: str | None = None
    location_id: Id = None
    email: str | None = None
    contact_email: str | None = None
    phone: str | None = None
    cart_token: str | None = None
    checkout_token: str | None = None
    checkout_id: Id = None
    discount_codes: list[_Code] | None = None
    line_items: list[_Line] | None = None
    shipping_lines: list[_Shipping] | None = None
    billing_address: _Address | None = None
    shipping_address: _Address | None = None
    customer: _Person | None = None
    fulfillments: list[_Fulfillment] | None = None
    refunds: list[_Refund] | None = None


def orders(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """An order as it is now: that it was placed, how it stands, and whatever was sent or given back."""
    order = shaped(raw, _Order, "order")
    placed_at = instant(order.processed_at or order.created_at, "order.created_at")
    updated_at = instant(order.updated_at, "order.updated_at") or placed_at
    if placed_at is None or updated_at is None or order.id is None:
        raise Rejected("wrong_type", "order", "expected an order with id, created_at and updated_at")
    who = _buyer(order).handles(rules)
    said = _money(order) | _described(order)
    stands = said | _status(order)
    progress = _PROGRESS.index(stands["status"]) if stands["status"] in _PROGRESS else 0
    told = [
        fact("Order Completed", ("order", order.id, "completed"), placed_at, said, who),
        fact("Order Updated", as_it_stands(order.id, updated_at, stands, progress), updated_at, stands, who),
    ]
    order_id = str(order.id)
    cancelled_at = instant(order.cancelled_at, "order.cancelled_at")
    if cancelled_at is not None:
        reason = {"order_id": order_id, "reason": order.cancel_reason}
        told.append(
            fact("Order Cancelled", ("order", order.id, "cancelled"), cancelled_at, reason, _by_order(order.id))
        )
    for parcel in order.fulfillments or ():
        told += _parcel(parcel, order.id, order_id)
    for refund in order.refunds or ():
        told += _refund(refund, order.id, order_id)
    return told


def _buyer(order: _Order) -> Who:
    person = order.customer or _Person()
    address = order.billing_address or order.shipping_address or _Address()
    cart = ("cart_id", order.cart_token or "")
    return Who(
        customer_id=person.id,
        email=texts(order.email, order.contact_email, person.email),
        phone=texts(order.phone, person.phone),
        first_name=texts(person.first_name, address.first_name),
        last_name=texts(person.last_name, address.last_name),
        documents=(("order_id", str(order.id)), cart if cart[1] else ("checkout_id", order.checkout_token or "")),
    )


def _by_order(order_id: Id) -> dict[str, Any]:
    """The person, by their order alone: what a parcel or a refund knows when it comes by itself."""
    return {"context": {"externalIds": [{"type": "order_id", "id": str(order_id)}]}}


def _described(order: _Order) -> dict[str, Any]:
    codes = [code.code for code in order.discount_codes or () if code.code]
    return {
        "order_id": order.id,
        "order_number": order.name,
        "checkout_id": order.checkout_token,
        "cart_id": order.cart_token,
        "affiliation": order.source_name,
        "store_id": order.location_id,
        "coupon": codes[0] if codes else None,
        "products": _products(order.line_items),
    }


def _money(order: _Order) -> dict[str, Any]:
    total, tax = amount(order.total_price, "order.total_price"), amount(order.total_tax, "order.total_tax")
    shipping = sum(map(_shipping, order.shipping_lines or ()), Decimal(0))
    if order.taxes_included:
        shipping -= sum(
            (amount(tax.price) for line in order.shipping_lines or () for tax in line.tax_lines or ()), Decimal(0)
        )
    duties = order.original_total_duties_set
    beside = amount(order.total_tip_received) + amount(
        duties.shop_money.amount if duties and duties.shop_money else None
    )
    said: dict[str, Any] = {
        "currency": order.currency,
        "total": total,
        "subtotal": amount(order.subtotal_price, "order.subtotal_price"),
        "tax": tax,
        "shipping": shipping,
        "discount": amount(order.total_discounts, "order.total_discounts"),
        "revenue": total - tax - shipping - beside,
    }
    seen = order.total_price_set.presentment_money if order.total_price_set else None
    if seen is not None and seen.currency_code and seen.currency_code != order.currency:
        said |= {"presentment_currency": seen.currency_code, "presentment_total": str(seen.amount or "")}
    return said


def _shipping(line: _Shipping) -> Decimal:
    return amount(line.price if line.discounted_price is None else line.discounted_price, "order.shipping_lines.price")


def _status(order: _Order) -> dict[str, Any]:
    """One word for how the order stands, and the two of Shopify it comes from."""
    paid, sent = order.financial_status or "", order.fulfillment_status or ""
    word = {"fulfilled": "fulfilled", "partial": "partially_fulfilled", "restocked": "restocked"}.get(
        sent, paid or "open"
    )
    if paid in ("refunded", "partially_refunded", "voided"):
        word = paid
    if order.cancelled_at:
        word = "cancelled"
    return {"status": word, "payment_status": paid, "fulfillment_status": sent or "unfulfilled"}


def _products(lines: list[_Line] | None) -> list[dict[str, Any]]:
    return [_product(line) for line in (lines or ())[:_LINES_MAX]]


def _product(line: _Line) -> dict[str, Any]:
    return stated(
        {
            "product_id": line.product_id,
            "sku": line.sku or _variant_sku(line.variant_id),
            "name": line.title,
            "variant": line.variant_title,
            "brand": line.vendor,
            "quantity": line.quantity,
            "price": amount(line.price, "line_items.price"),
            "discount": amount(line.total_discount) or None,
        }
    )


def _variant_sku(variant_id: Id) -> str:
    """A variant without a sku is called by its own id, here and on the shelf."""
    return f"variant-{variant_id}" if variant_id else ""


# ------------------------------------------------------------------ parcels


def fulfillments(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A parcel by itself."""
    parcel = shaped(raw, _Fulfillment, "fulfillment")
    if parcel.order_id is None:
        raise Rejected("wrong_type", "fulfillment.order_id", "expected the order the parcel belongs to")
    return _parcel(parcel, parcel.order_id, str(parcel.order_id))


def _parcel(parcel: _Fulfillment, order: Id, order_id: str) -> list[dict[str, Any]]:
    created_at = instant(parcel.created_at, "fulfillment.created_at")
    if parcel.status not in ("success", None) or created_at is None:
        return []  # not sent yet, or taken back
    who = _by_order(order)
    said = stated(
        {
            "order_id": order_id,
            "shipment_id": parcel.id,
            "carrier": parcel.tracking_company,
            "tracking_number": parcel.tracking_number,
            "tracking_url": parcel.tracking_url,
            "products": [{k: v for k, v in p.items() if k != "discount"} for p in _products(parcel.line_items)],
        }
    )
    # Told again only when a number or carrier was added: the parcel is the same one.
    key = (
        "fulfillment",
        parcel.id,
        "shipped",
        digest([said.get(k) for k in ("carrier", "tracking_number", "tracking_url")]),
    )
    told = [fact("Order Shipped", key, created_at, said, who)]
    if parcel.shipment_status == "delivered":
        told.append(_delivered(parcel, created_at, {k: v for k, v in said.items() if k != "products"}, who))
    return told


def _delivered(parcel: _Fulfillment, created_at: datetime, said: dict[str, Any], who: dict[str, Any]) -> dict[str, Any]:
    at = instant(parcel.updated_at, "fulfillment.updated_at") or created_at
    return fact("Order Delivered", ("fulfillment", parcel.id, version(at), "delivered", digest(said)), at, said, who)


class _FulfillmentEvent(Struct):
    id: Id = None
    fulfillment_id: Id = None
    order_id: Id = None
    status: str | None = None
    happened_at: str | None = None
    created_at: str | None = None
    estimated_delivery_at: str | None = None


_PARCEL_EVENTS: Final = {
    "carrier_picked_up": "Order Shipped",
    "in_transit": "Order Shipped",
    "out_for_delivery": "Order Shipped",
    "attempted_delivery": "Order Delayed",
    "delayed": "Order Delayed",
    "failure": "Order Delayed",
    "delivered": "Order Delivered",
    "ready_for_pickup": "Pickup Ready",
    "picked_up": "Pickup Completed",
}
"""What a carrier says to what it means; labels that were bought or printed mean nothing to the customer yet."""


def fulfillment_events(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """What a carrier says of a parcel on its way."""
    event = shaped(raw, _FulfillmentEvent, "fulfillment_event")
    name = _PARCEL_EVENTS.get(event.status or "")
    at = instant(event.happened_at or event.created_at, "fulfillment_event.happened_at")
    if name is None or at is None or event.order_id is None:
        return []
    said: dict[str, Any] = {
        "order_id": str(event.order_id),
        "shipment_id": event.fulfillment_id,
        "shipment_status": event.status,
    }
    if name == "Order Delayed":
        said |= {"reason": event.status, "new_promised_on": event.estimated_delivery_at}
    elif name == "Order Shipped":
        said["promised_on"] = event.estimated_delivery_at
    return [fact(name, ("fulfillment-event", event.id, event.status), at, said, _by_order(event.order_id))]


# ------------------------------------------------------------------ given back


def refunds(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A refund by itself."""
    refund = shaped(raw, _Refund, "refund")
    if refund.order_id is None:
        raise Rejected("wrong_type", "refund.order_id", "expected the order the refund belongs to")
    return _refund(refund, refund.order_id, str(refund.order_id))


def _refund(refund: _Refund, order: Id, order_id: str) -> list[dict[str, Any]]:
    at = instant(refund.created_at, "refund.created_at")
    if at is None:
        return []
    lines = refund.refund_line_items or []
    paid = [each for each in refund.transactions or () if each.kind == "refund" and each.status == "success"]
    currency = next((each.currency for each in paid if each.currency), None)
    who = _by_order(order)
    told = []
    if paid:
        said = {
            "order_id": order_id,
            "refund_id": refund.id,
            "currency": currency,
            "total": sum((amount(each.amount, "refund.transactions.amount") for each in paid), Decimal(0)),
        }
        told.append(fact("Order Refunded", ("refund", refund.id, "refunded"), at, said, who))
    returned = [line for line in lines if line.restock_type == "return"]
    if returned:
        back: dict[str, Any] = {
            "order_id": order_id,
            "return_id": f"refund-{refund.id}",
            "currency": currency,
            "refund": sum((amount(line.subtotal) for line in returned), Decimal(0)),
            "products": [
                _product(line.line_item) | {"quantity": line.quantity or 1} for line in returned if line.line_item
            ],
        }
        told.append(fact("Return Received", ("refund", refund.id, "returned"), at, back, who))
    return told


class _OfOrder(Struct):
    id: Id = None


class _Return(Struct):
    id: Id = None
    order_id: Id = None
    order: _OfOrder | None = None
    status: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    name: str | None = None


def returns(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A return that a customer asked for."""
    asked = shaped(raw, _Return, "return")
    order = asked.order_id or (asked.order.id if asked.order else None)
    if order is None:
        raise Rejected("wrong_type", "return.order", "expected the order the return belongs to")
    at = instant(asked.created_at or asked.updated_at, "return.created_at")
    said = {"order_id": str(order), "return_id": asked.id}
    return [fact("Return Requested", ("return", asked.id, "requested"), at, said, _by_order(order))]


# ------------------------------------------------------------------ before there is an order


class _Checkout(Struct):
    token: str
    id: Id = None
    cart_token: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    completed_at: str | None = None
    currency: str | None = None
    total_price: Amount = None
    total_tax: Amount = None
    total_discounts: Amount = None
    email: str | None = None
    phone: str | None = None
    customer: _Person | None = None
    billing_address: _Address | None = None
    shipping_address: _Address | None = None
    shipping_lines: list[_Shipping] | None = None
    line_items: list[_Line] | None = None
    abandoned_checkout_url: str | None = None


def checkouts(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A checkout as far as it has come; one that became an order says nothing that the order does not say."""
    checkout = shaped(raw, _Checkout, "checkout")
    created_at = instant(checkout.created_at, "checkout.created_at")
    updated_at = instant(checkout.updated_at, "checkout.updated_at") or created_at
    if created_at is None or updated_at is None:
        raise Rejected("wrong_type", "checkout.created_at", "expected when the checkout began")
    ids = {"checkout_id": checkout.token, "cart_id": checkout.cart_token}
    documents = tuple((kind, value) for kind, value in ids.items() if value)
    began = fact(
        "Checkout Started",
        ("checkout", checkout.token, "started"),
        created_at,
        ids | {"currency": checkout.currency},
        Who(documents=documents).handles(rules),
    )
    if checkout.completed_at:
        return [began]
    person = checkout.customer or _Person()
    address = checkout.billing_address or checkout.shipping_address or _Address()
    who = Who(
        customer_id=person.id,
        email=texts(checkout.email, person.email),
        phone=texts(checkout.phone, person.phone),
        first_name=texts(person.first_name, address.first_name),
        last_name=texts(person.last_name, address.last_name),
        documents=documents,
    )
    said = ids | {
        "step": _step(checkout),
        "currency": checkout.currency,
        "value": amount(checkout.total_price, "checkout.total_price"),
        "discount": amount(checkout.total_discounts),
        "products": _products(checkout.line_items),
    }
    key = ("checkout", checkout.token, version(updated_at), "step")
    return [began, fact("Checkout Step Viewed", key, updated_at, said, who.handles(rules))]


def _step(checkout: _Checkout) -> str:
    if checkout.shipping_lines:
        return "payment"
    return "shipping" if checkout.shipping_address else "contact"


class _Cart(Struct):
    token: str | None = None
    id: Id = None
    created_at: str | None = None
    updated_at: str | None = None
    line_items: list[_Line] | None = None


def carts(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A cart as it is now, under its token: whoever checks out with it is whose it was."""
    cart = shaped(raw, _Cart, "cart")
    token = cart.token or str(cart.id or "")
    updated_at = instant(cart.updated_at or cart.created_at, "cart.updated_at")
    if not token or updated_at is None:
        raise Rejected("wrong_type", "cart", "expected a cart with token and updated_at")
    lines = _products(cart.line_items)
    name = "Cart Viewed" if lines else "Cart Emptied"
    said = {"cart_id": token} | ({"products": lines} if lines else {})
    who = Who(documents=(("cart_id", token),)).handles(rules)
    return [fact(name, ("cart", token, version(updated_at), digest(said)), updated_at, said, who)]
