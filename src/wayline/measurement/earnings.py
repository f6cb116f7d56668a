"""What each order earned, net of discounts, returns and cancellations: the money that effects are measured in.

    margin = revenue - cost of what was kept - handling of what came back

Revenue is after discounts and without shipping and tax. Cost comes from the catalogue; where that knows no costs, from
the share of the undiscounted price the shop says it keeps; where neither is known, nothing is invented: every amount is
revenue, and says so. An order whose prices are out of all proportion (an app that sends cents) is left out and counted,
because one such order outweighs a month of honest ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from wayline.domain import Event
from wayline.measurement.outcomes import Order

__all__ = ["ABSURD", "ORDER_EVENTS", "Basis", "Earnings", "Terms", "earnings"]

ABSURD = 20
"""A price this many times the lowest known for the same thing is a mistake of the sender, not a price."""

_PLACED = frozenset({"Order Completed", "Store Purchase"})
ORDER_EVENTS: tuple[str, ...] = (
    "Order Completed", "Store Purchase", "Order Cancelled", "Order Refunded", "Return Received",
)  # fmt: skip
"""What has to be read to know what was earned."""

Basis: TypeAlias = Literal["margin", "revenue"]


class Terms(Struct, frozen=True):
    """What the shop knows of its costs."""

    costs: Mapping[str, int] = {}
    """Cost of one piece by SKU, in minor units."""
    prices: Mapping[str, int] = {}
    """Catalogue price by SKU: only to tell absurd prices from real ones."""
    margin_share: float | None = None
    """Share of the undiscounted price that is margin, where costs by SKU are not known."""
    return_cost: int = 0
    """Handling of one returned piece."""


class Earnings(Struct, frozen=True):
    """Orders with what they earned, what the amounts mean, and what was left out."""

    orders: tuple[Order, ...]
    basis: Basis
    cancelled: int = 0
    with_returns: int = 0
    absurd: tuple[str, ...] = ()
    """Ids of orders left out because their prices cannot be true."""
    absurd_sources: tuple[str, ...] = ()


class _Line(Struct, gc=False):
    sku: str
    quantity: float
    price: float


class _Sale(Struct):
    """One order as told so far."""

    customer_id: str = ""
    at: datetime | None = None
    source: str = ""
    revenue: float = 0.0
    discount: float = 0.0
    lines: tuple[_Line, ...] = ()
    returns: dict[str, tuple[float, tuple[_Line, ...]]] = {}
    refunded: float = 0.0
    """As told of the order as a whole."""
    refunds: dict[str, float] = {}
    """Each one that has a number of its own: they add up."""
    is_void: bool = False


def earnings(rows: Iterable[tuple[str, Event]], terms: Terms) -> Earnings:
    """Fold (customer_id, event) rows of `ORDER_EVENTS`, in the order of the log, to what each order earned."""
    placed = {order_id: sale for order_id, sale in _told(rows).items() if sale.at is not None}
    lowest = _lowest(placed.values(), terms.prices)
    absurd = sorted(order_id for order_id, sale in placed.items() if _is_absurd(sale, lowest))
    sources = {placed[order_id].source for order_id in absurd}
    counted = {key: sale for key, sale in placed.items() if sale.customer_id and not _is_absurd(sale, lowest)}
    basis = _basis(counted.values(), terms)
    return Earnings(
        orders=tuple(_order(order_id, sale, terms, basis) for order_id, sale in counted.items()),
        basis=basis,
        cancelled=sum(sale.is_void for sale in counted.values()),
        with_returns=sum(bool(sale.returns or sale.refunded or sale.refunds) for sale in counted.values()),
        absurd=tuple(absurd),
        absurd_sources=tuple(sorted(sources)),
    )


def _told(rows: Iterable[tuple[str, Event]]) -> dict[str, _Sale]:
    """Everything told of each order; a purchase without an order id is one by its own event."""
    sales: dict[str, _Sale] = {}
    for customer_id, event in rows:
        order_id = str(event.properties.get("order_id") or "")
        if not order_id and event.name in _PLACED:
            order_id = f"{event.source}/{event.event_id}"
        if order_id:
            _tell(sales.setdefault(order_id, _Sale()), customer_id, event)
    return sales


def _tell(sale: _Sale, customer_id: str, event: Event) -> None:
    told = event.properties
    match event.name:
        case "Order Completed" | "Store Purchase":
            sale.customer_id = customer_id or sale.customer_id
            # A web tag and a webhook may both tell of one order: the earlier moment, the newer amounts.
            sale.at = event.occurred_at if sale.at is None else min(sale.at, event.occurred_at)
            sale.source = event.source
            sale.discount = _number(told.get("discount"))
            sale.lines = _lines(told)
            sale.revenue = _revenue(told, sale.lines, sale.discount)
        case "Order Cancelled":
            sale.is_void = True
        case "Order Refunded":
            amount = next((told[name] for name in ("total", "refund", "revenue", "value") if name in told), None)
            if amount is None and not told.get("products"):
                sale.is_void = True
            else:
                value = _worth(_lines(told)) if amount is None else _number(amount)
                if told.get("refund_id"):
                    sale.refunds[str(told["refund_id"])] = value
                else:
                    sale.refunded = max(sale.refunded, value)
        case "Return Received":
            lines = _priced(_lines(told), sale.lines)
            key = str(told.get("return_id") or event.event_id)
            sale.returns[key] = (_number(told["refund"]) if "refund" in told else _worth(lines), lines)


def _revenue(told: Mapping[str, Any], lines: tuple[_Line, ...], discount: float) -> float:
    if "revenue" in told:
        return _number(told["revenue"])
    if "total" in told:
        return _number(told["total"]) - _number(told.get("shipping")) - _number(told.get("tax"))
    return _worth(lines) - discount


def _lines(told: Mapping[str, Any]) -> tuple[_Line, ...]:
    products = told.get("products")
    rows = products if isinstance(products, list | tuple) else ()
    return tuple(
        _Line(
            str(row.get("sku") or row.get("product_id") or ""),
            _number(row.get("quantity", 1)),
            _number(row.get("price")),
        )
        for row in rows
        if isinstance(row, Mapping)
    )


def _priced(returned: tuple[_Line, ...], sold: tuple[_Line, ...]) -> tuple[_Line, ...]:
    """Returned lines at the price they were sold for, where the return does not say."""
    prices = {line.sku: line.price for line in sold}
    return tuple(_Line(line.sku, line.quantity, line.price or prices.get(line.sku, 0.0)) for line in returned)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _worth(lines: tuple[_Line, ...]) -> float:
    return sum(line.price * line.quantity for line in lines)


def _lowest(sales: Iterable[_Sale], prices: Mapping[str, int]) -> dict[str, float]:
    """The lowest price known of each SKU: a sender who is wrong is wrong upwards, by a hundred."""
    lowest: dict[str, float] = {sku: float(price) for sku, price in prices.items() if price > 0}
    for sale in sales:
        for line in sale.lines:
            if line.sku and line.price > 0:
                lowest[line.sku] = min(line.price, lowest.get(line.sku, line.price))
    return lowest


def _is_absurd(sale: _Sale, lowest: Mapping[str, float]) -> bool:
    return any(line.price >= ABSURD * lowest[line.sku] for line in sale.lines if line.sku and line.price > 0)


def _basis(sales: Iterable[_Sale], terms: Terms) -> Basis:
    if terms.margin_share is not None:
        return "margin"
    sold = {line.sku for sale in sales for line in sale.lines}
    has_lines = all(sale.lines for sale in sales)
    return "margin" if sold and has_lines and sold <= terms.costs.keys() else "revenue"


def _order(order_id: str, sale: _Sale, terms: Terms, basis: Basis) -> Order:
    assert sale.at is not None
    if sale.is_void:
        return Order(sale.customer_id, sale.at, order_id, 0.0)
    # The refund and the return of one piece are the same money, told twice.
    refunded = max(sale.refunded, sum(sale.refunds.values()), sum(refund for refund, _ in sale.returns.values()))
    earned = sale.revenue - min(refunded, sale.revenue)
    if basis == "margin":
        returned = tuple(line for _, lines in sale.returns.values() for line in lines)
        earned -= _cost(sale, terms) - _cost_of(returned, terms)
        earned -= terms.return_cost * sum(line.quantity for line in returned)
    return Order(sale.customer_id, sale.at, order_id, earned)


def _cost(sale: _Sale, terms: Terms) -> float:
    if not sale.lines:
        return (1 - (terms.margin_share or 0.0)) * (sale.revenue + sale.discount)
    return _cost_of(sale.lines, terms)


def _cost_of(lines: tuple[_Line, ...], terms: Terms) -> float:
    share = 1 - (terms.margin_share or 0.0)
    return sum(line.quantity * terms.costs.get(line.sku, share * line.price) for line in lines)
