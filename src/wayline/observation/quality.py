"""Can a signal be trusted? What an event breaks of what was agreed, and what two systems say against each other.

An event that breaks its signal's agreement is refused or kept with a note, as the agreement says. What contradicts
across systems is told and never mended here: which of the two is wrong, only a person can say. Where a source of truth
is declared, its word already stands wherever both are read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Event, Signal
from wayline.errors import Rejected
from wayline.observation.claims import UNVERIFIED

__all__ = ["CONTRACT", "WATCHED", "Contradiction", "Watch", "agreed", "broken", "counts_for_shelf"]

CONTRACT: Final = "contract: "
"""How the note of a broken agreement begins."""

_BROKEN_MAX = 5  # things noted of one event

WATCHED: Final = (
    "Cart Emptied", "Cart Viewed", "Inventory Changed", "Order Cancelled", "Order Completed", "Order Delivered",
    "Order Refunded", "Order Shipped", "Order Updated", "Pickup Ready", "Product Added", "Store Purchase",
    "Ticket Closed", "Ticket Opened",
)  # fmt: skip
"""Events a `Watch` looks at."""


def broken(event: Event, signal: Signal) -> list[str]:
    """What the event breaks of what was agreed of it, in words; nothing if it keeps to it."""
    found = [f"it lacks {path}" for path in signal.requires if not _has(event.properties, path.split("."))]
    for path, allowed in signal.values.items():
        for value in _values(event.properties, path.split(".")):
            if value not in allowed:
                found.append(f"{path} is {value!r:.40}, not {_either(allowed)}")
                break
    return found[:_BROKEN_MAX]


def agreed(event: Event, signals: Mapping[str, Signal]) -> Event:
    """The event, with a note of each thing it breaks; raises `Rejected` where its signal refuses that, or the key."""
    signal = signals.get(event.name)
    if signal is not None and signal.is_secret and UNVERIFIED in event.notes:
        raise Rejected("needs_secret_key", "event", f"a public key may not tell {event.name!r}; send it from a server")
    found = broken(event, signal) if signal is not None else []
    if signal is None or not found:
        return event
    if signal.refuses:
        raise Rejected("contract", event.name, f"it breaks what signals.yaml says of it: {'; '.join(found)}")
    return replace(event, notes=(*event.notes, *(CONTRACT + each for each in found)))


def counts_for_shelf(event: Event, signals: Mapping[str, Signal]) -> bool:
    """Whether its source may move stock and price: where sources are named for that, only they may."""
    signal = signals.get(event.name)
    return signal is None or not signal.truth or event.source in signal.truth


def _has(value: Any, names: list[str]) -> bool:
    """Whether something stands at the path: in every element of a list on the way, and there must be one."""
    if not names:
        return value is not None and value != ""
    name = names[0].removesuffix("[]")
    found = value.get(name) if isinstance(value, Mapping) else None
    if not names[0].endswith("[]"):
        return _has(found, names[1:])
    return isinstance(found, list | tuple) and bool(found) and all(_has(each, names[1:]) for each in found)


def _values(value: Any, names: list[str]) -> Iterator[Any]:
    if not names:
        if value is not None:
            yield value
        return
    found = value.get(names[0].removesuffix("[]")) if isinstance(value, Mapping) else None
    if names[0].endswith("[]"):
        for each in found if isinstance(found, list | tuple) else ():
            yield from _values(each, names[1:])
    else:
        yield from _values(found, names[1:])


def _either(allowed: tuple[Any, ...]) -> str:
    shown = [repr(each) for each in allowed[:5]]
    return " or ".join(shown) + (" or another that is allowed" if len(allowed) > 5 else "")


# ------------------------------------------------------------------ two systems, two stories


class Contradiction(Struct, frozen=True, order=True):
    """What two tellings cannot both mean."""

    kind: str
    text: str
    """What was told, by whom, in words."""
    position: int
    """Of the later telling."""


_KINDS: Final = {
    "amounts": "one order, two amounts",
    "only the browser": "an order only the browser knows of",
    "sold out": "sold though the shelf said none was left",
    "pickup": "ready for pickup though the store had none",
    "cart": "bought at the till and still in the cart",
    "unknown order": "shipped, delivered or refunded, and never ordered",
    "unknown ticket": "closed, and never opened",
}
_REMEMBERED_MAX = 50_000  # orders, tickets, carts and shelf places a watch remembers of each sort
_TOLD_MAX = 5  # contradictions of one kind told in words; further ones are counted
_TRUTH_WITHIN = timedelta(days=1)  # a webhook may be a day late
_OPEN_FOR = timedelta(days=30)  # an order or a ticket may be this old when the next is heard of it


class _Order(Struct):
    by: dict[str, int | None]
    at: datetime
    position: int
    is_verified: bool


class Watch:
    """Looks at events in the order of the log and finds what contradicts; bounded in what it remembers."""

    kinds: Mapping[str, str] = _KINDS

    def __init__(self, signals: Mapping[str, Signal] | None = None) -> None:
        self._signals = signals or {}
        self.counts: dict[str, int] = dict.fromkeys(_KINDS, 0)
        self.told: list[Contradiction] = []
        self._orders: OrderedDict[str, _Order] = OrderedDict()
        self._stock: OrderedDict[tuple[str, str], tuple[int, datetime]] = OrderedDict()
        self._bought: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        self._tickets: OrderedDict[str, bool] = OrderedDict()
        self._since: datetime | None = None

    def look(self, events: Iterable[Event]) -> None:
        """Take these in; later ones must come later."""
        for event in events:
            if self._since is None:
                self._since = event.received_at
            match event.name:
                case "Order Completed" | "Store Purchase":
                    self._ordered(event)
                case "Inventory Changed":
                    self._stocked(event)
                case "Pickup Ready":
                    self._ready(event)
                case "Cart Viewed":
                    self._still_in_cart(event)
                case "Order Shipped" | "Order Delivered" | "Order Refunded":
                    self._followed(event)
                case "Ticket Opened" | "Ticket Closed":
                    self._ticket(event)

    def finish(self, now: datetime) -> None:
        """What time alone shows: orders nobody but a browser ever told of."""
        truth = self._signals.get("Order Completed", Signal(name="")).truth
        for order_id, order in self._orders.items():
            is_due = now - order.at > _TRUTH_WITHIN
            is_doubtful = not truth[:1] or truth[0] not in order.by
            if is_due and not order.is_verified and is_doubtful and self._tells_orders_otherwise():
                sources = ", ".join(order.by)
                self._tell("only the browser", f"order {order_id} was told by {sources} alone", order.position)

    def _tells_orders_otherwise(self) -> bool:
        return any(order.is_verified for order in self._orders.values())

    def _ordered(self, event: Event) -> None:
        for sku in _skus(event):
            stock = self._stock.get((sku, ""))
            if (
                event.name == "Order Completed"
                and stock is not None
                and stock[0] <= 0
                and stock[1] <= event.occurred_at
            ):
                self._tell("sold out", f"{sku} was ordered while its stock was told to be {stock[0]}", event.position)
            for identifier in event.identifiers if event.name == "Store Purchase" else ():
                _remember(self._bought, (f"{identifier.kind}:{identifier.value}", sku), event.occurred_at)
        order_id = str(event.properties.get("order_id") or event.properties.get("receipt_id") or "")
        if not order_id:
            return
        amount = event.properties.get("revenue")
        known = self._orders.get(order_id)
        is_verified = UNVERIFIED not in event.notes
        if known is None:
            _remember(
                self._orders, order_id, _Order({event.source: amount}, event.occurred_at, event.position, is_verified)
            )
            return
        for source, other in known.by.items():
            if source != event.source and _differ(amount, other):
                currency = event.properties.get("currency", "")
                text = f"order {order_id}: {source} says {other}, {event.source} says {amount} (minor units {currency})"
                self._tell("amounts", text, event.position)
                break
        known.by[event.source] = amount
        known.is_verified = known.is_verified or is_verified

    def _stocked(self, event: Event) -> None:
        available = event.properties.get("available", event.properties.get("quantity"))
        place = (str(event.properties.get("sku") or ""), str(event.properties.get("store_id") or ""))
        if isinstance(available, int | float) and place[0]:
            known = self._stock.get(place)
            if known is None or known[1] <= event.occurred_at:
                _remember(self._stock, place, (int(available), event.occurred_at))

    def _ready(self, event: Event) -> None:
        store = str(event.properties.get("store_id") or "")
        order = self._orders.get(str(event.properties.get("order_id") or ""))
        # What is set aside for a customer is no longer for sale: what counts is what was there when it was ordered.
        at = event.occurred_at if order is None else order.at
        for sku in _skus(event):
            stock = self._stock.get((sku, store))
            if store and stock is not None and stock[0] <= 0 and stock[1] <= at:
                text = f"{sku} is ready in store {store}, which had told of {stock[0]} when it was ordered"
                self._tell("pickup", text, event.position)

    def _still_in_cart(self, event: Event) -> None:
        for sku in _skus(event):
            for identifier in event.identifiers:
                bought_at = self._bought.get((f"{identifier.kind}:{identifier.value}", sku))
                if bought_at is not None and bought_at < event.occurred_at:
                    self._tell("cart", f"{sku} was bought at the till and is still in the web cart", event.position)
                    return

    def _followed(self, event: Event) -> None:
        order_id = str(event.properties.get("order_id") or "")
        if order_id and order_id not in self._orders and self._would_know(self._orders, event):
            self._tell("unknown order", f"{event.name} of order {order_id}, which nobody told of", event.position)

    def _ticket(self, event: Event) -> None:
        ticket_id = str(event.properties.get("ticket_id") or "")
        if event.name == "Ticket Opened":
            _remember(self._tickets, ticket_id, True)
        elif ticket_id and ticket_id not in self._tickets and self._would_know(self._tickets, event):
            self._tell("unknown ticket", f"ticket {ticket_id}, which nobody opened", event.position)

    def _would_know(self, kept: Mapping[Any, Any], event: Event) -> bool:
        """Whether what began this would have been seen: not what began before the watch did, or was let go since."""
        has_watched = self._since is not None and event.received_at - self._since > _OPEN_FOR
        return has_watched and len(kept) < _REMEMBERED_MAX

    def _tell(self, kind: str, text: str, position: int) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= _TOLD_MAX:
            self.told.append(Contradiction(kind, text, position))


def _differ(one: Any, other: Any) -> bool:
    """Whether two amounts differ by more than rounding does."""
    return isinstance(one, int) and isinstance(other, int) and abs(one - other) > 1


def _skus(event: Event) -> list[str]:
    lines = event.properties.get("products")
    found = lines if isinstance(lines, list | tuple) else (event.properties,)
    return [str(line["sku"]) for line in found if isinstance(line, Mapping) and line.get("sku")]


def _remember(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    if len(kept) > _REMEMBERED_MAX:
        kept.popitem(last=False)
