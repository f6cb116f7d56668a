"""What the shop's systems put on the wire: messages as a web shop, app, till, mail provider and service desk send them.

A session is one client at work; the post carries what it said to the collector, sometimes late, sometimes twice. Prices
travel as decimal numbers in major units, as real shops send them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, TypeAlias

from wayline.errors import Broken
from wayline.runtime.shop_rates import DAY, HOUR, START, Incident, Rates, is_black_week
from wayline.runtime.shop_twins import Line, Sale, Worry
from wayline.runtime.shop_world import Range, iso

__all__ = [
    "Post", "Session", "Shelf", "Talks", "follow_order", "order_properties", "return_share", "send_ticket",
]  # fmt: skip

Talks: TypeAlias = tuple[dict[str, str], Mapping[str, Any]]  # the identifiers and context a person is told under

_RESTOCK_DAYS = 6
_SALE_STYLES = 5  # one style in five is reduced in Black week; never the first, which a story is told of
_ORDINARY = 0.55  # of all delays, those outside the carrier's bad days
_MONEY = ("price", "value", "revenue", "subtotal", "total", "shipping", "discount", "tax")
_CLOCKS = [f"{second // 60:02d}:{second % 60:02d}.000Z" for second in range(HOUR)]


class Session:
    """One client at work: what it says, second by second, under its identifiers and in its context."""

    __slots__ = ("context", "ids", "in_cents", "messages", "ref", "second", "source")

    def __init__(self, source: str, ref: str, second: int, ids: dict[str, str], context: Mapping[str, Any]) -> None:
        self.source = source
        self.ref = ref
        self.second = second
        self.ids = ids
        self.context = context
        self.in_cents = False
        self.messages: list[tuple[int, dict[str, Any]]] = []

    def track(self, event: str, properties: dict[str, Any], after: int = 9) -> None:
        """Say that something happened, some seconds after the last thing."""
        self._say({"type": "track", "event": event}, after, properties)

    def page(self, name: str, path: str, properties: Mapping[str, Any] | None = None) -> None:
        """Say that a page, or in the app a screen, was opened."""
        kind = "screen" if self.source == "app" else "page"
        self._say({"type": kind, "name": name}, 6, {"path": path, **(properties or {})})

    def identify(self, traits: Mapping[str, Any]) -> None:
        """Say who it is."""
        self._say({"type": "identify", "traits": dict(traits)}, 1, None)

    def _say(self, message: dict[str, Any], after: int, properties: dict[str, Any] | None) -> None:
        self.second += after
        message["messageId"] = f"{self.ref}-{len(self.messages)}"
        message.update(self.ids)
        if properties is not None:
            message["properties"] = properties
        message["context"] = dict(self.context)
        self.messages.append((self.second, message))


class Post:
    """Carries what sessions say to the collector, in the hour in which it arrives."""

    def __init__(self, rates: Rates, hours: int) -> None:
        self._rates = rates
        self._boxes: list[list[tuple[int, int, dict[str, Any]]]] = [[] for _ in range(hours)]
        self._prefixes: dict[int, str] = {}
        self._count = 0
        self._open = 0

    def send(self, session: Session, luck: float = 0.5) -> None:
        """Send a session's messages; `luck` decides whether they are late, repeated or wrong about the time."""
        rates, said = self._rates, session.messages
        delay = skew = 0
        if luck < rates.late:
            delay = HOUR + int(luck / rates.late * 20 * HOUR)
        elif luck > 0.99:
            skew = int((luck - 0.995) * 200 * 3 * HOUR)
        repeated = (luck - rates.late) / rates.duplicate if rates.duplicate else -1.0
        for place, (second, message) in enumerate(said):
            if session.in_cents:
                message["properties"] = _in_cents(message.get("properties"))
            self._put(session, message, second, delay, skew)
            if place == int(repeated) and repeated >= 0:
                gap = 2 + int((repeated % 1.0) * 600)
                self._put(session, dict(message), second, gap, skew)

    def _put(self, session: Session, message: dict[str, Any], second: int, delay: int, skew: int) -> None:
        arrival = second + delay
        self._stamp(session, message, (second + skew, arrival + skew, arrival))
        hour = arrival // HOUR
        if hour < self._open:
            raise Broken(f"{message['messageId']} arrives in hour {hour}; hours before {self._open} are collected")
        if hour < len(self._boxes):
            self._count += 1
            self._boxes[hour].append((arrival, self._count, message))

    def _stamp(self, session: Session, message: dict[str, Any], seconds: tuple[int, int, int]) -> None:
        told, sent, received = seconds
        message["timestamp"] = at = self.iso(told)
        message["sentAt"] = at if sent == told else self.iso(sent)
        message["receivedAt"] = at if received == told else self.iso(received)
        message["source"] = session.source

    def past(self, session: Session, received: int) -> list[dict[str, Any]]:
        """A session's messages as they are when history is brought in: told long after they happened."""
        for second, message in session.messages:
            self._stamp(session, message, (second, received, received))
        return [message for _, message in session.messages]

    def collect(self, hour: int) -> list[dict[str, Any]]:
        """What arrived in that hour, in order of arrival."""
        box, self._boxes[hour] = self._boxes[hour], []
        self._open = hour + 1
        box.sort()
        return [message for _, _, message in box]

    def iso(self, second: int) -> str:
        """The instant as the wire writes it, from seconds since the start."""
        hour, rest = divmod(second, HOUR)
        prefix = self._prefixes.get(hour)
        if prefix is None:
            prefix = self._prefixes[hour] = (START + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:")
        return prefix + _CLOCKS[rest]


def _in_cents(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: round(item * 100) if name in _MONEY and isinstance(item, int | float) else _in_cents(item)
            for name, item in value.items()
        }
    return [_in_cents(item) for item in value] if isinstance(value, list) else value


class Shelf:
    """Stock and prices over time: they follow from the calendar and the unaided, never from a message."""

    def __init__(self, goods: Range, stock: Sequence[int], planted: Mapping[str, Incident], post: Post) -> None:
        self.goods = goods
        self.stock = list(stock)
        self.prices = list(goods.prices)
        self._full = list(stock)
        self._post = post
        self._restocks: dict[int, list[int]] = {}
        sold_out = planted["jacket-sold-out"]
        self._jacket = goods.skus_of(0)
        self._gone = (_hours(sold_out.starts_at), _hours(sold_out.ends_at))
        week = planted["black-week"]
        self._sale = {_hours(week.starts_at): True, _hours(week.ends_at): False}
        self.is_sale = False
        for sku in self._jacket:
            self.stock[sku] = self._full[sku] = 40

    def open_hour(self, hour: int) -> None:
        """Restock, sell out and reprice what is due at the start of this hour."""
        for sku in self._restocks.pop(hour, ()):
            self._set(sku, self._full[sku], hour * HOUR)
        if hour == self._gone[0]:
            for sku in self._jacket:
                self._set(sku, 0, hour * HOUR)
        if hour == self._gone[1]:
            for sku in self._jacket:
                self._set(sku, 40, hour * HOUR)
        if hour in self._sale:
            self._reprice(self._sale[hour], hour * HOUR)

    def take(self, lines: Sequence[Line], second: int) -> None:
        """Take what an unaided order holds from the shelf; what runs out comes back in a week."""
        for line in lines:
            left = max(0, self.stock[line.sku] - line.quantity)
            self._set(line.sku, left, second + 2)
            if left == 0:
                self._restocks.setdefault(second // HOUR + _RESTOCK_DAYS * 24 + line.sku % 96, []).append(line.sku)

    def _set(self, sku: int, quantity: int, second: int) -> None:
        gone = self._gone[0] <= second // HOUR < self._gone[1] and sku in self._jacket
        self.stock[sku] = 0 if gone else quantity
        self.tell(sku, second)

    def tell(self, sku: int, second: int) -> None:
        """Tell the collector how many of a size-colour are left."""
        session = Session("shop", f"stock-{sku}-{second}", second, {"anonymousId": "stock-feed"}, {})
        left = self.stock[sku]
        identity = {"product_id": self._product_id(sku), "sku": self.goods.skus[sku]}
        told = {"available": left, "quantity": left, "as_of": self._post.iso(second)}
        session.track("Inventory Changed", {**identity, **told}, after=0)
        self._post.send(session)

    def _product_id(self, sku: int) -> str:
        return f"st-{self.goods.style_of[sku]:04d}"

    def _reprice(self, is_sale: bool, second: int) -> None:
        self.is_sale = is_sale
        for sku, full in enumerate(self.goods.prices):
            if self.goods.style_of[sku] % _SALE_STYLES != 1:
                continue
            was, self.prices[sku] = self.prices[sku], round(full * 0.8) if is_sale else full
            session = Session("shop", f"price-{sku}-{second}", second, {"anonymousId": "stock-feed"}, {})
            identity = {"product_id": self._product_id(sku), "sku": self.goods.skus[sku], "currency": "EUR"}
            told = {"price": self.prices[sku] / 100, "was": was / 100, "as_of": self._post.iso(second)}
            session.track("Price Changed", {**identity, **told}, after=0)
            self._post.send(session)

    def shown(self, sku: int, price: int | None = None, quantity: int | None = None) -> dict[str, Any]:
        """A size-colour as product properties."""
        goods = self.goods
        told: dict[str, Any] = {
            "product_id": self._product_id(sku), "sku": goods.skus[sku], "category": goods.categories[sku],
            "name": goods.names[sku], "brand": "Fjellvik", "variant": goods.variants[sku],
            "price": (self.prices[sku] if price is None else price) / 100, "currency": "EUR",
        }  # fmt: skip
        if quantity is not None:
            told["quantity"] = quantity
        return told

    def products(self, lines: Sequence[Line]) -> list[dict[str, Any]]:
        """The lines of a cart or order as product properties."""
        return [self.shown(line.sku, line.price, line.quantity) for line in lines]


def _hours(at: datetime) -> int:
    return int((at - START).total_seconds()) // HOUR


def order_properties(
    shelf: Shelf, order_id: str, checkout_id: str, lines: Sequence[Line], discount: float
) -> dict[str, Any]:
    """What a shop reports of an order; prices include tax, so `tax` is told as zero."""
    subtotal = sum(line.price * line.quantity for line in lines)
    off = round(subtotal * discount)
    shipping = 490 if subtotal < 7500 else 0
    told: dict[str, Any] = {
        "order_id": order_id, "checkout_id": checkout_id, "affiliation": "web", "subtotal": subtotal / 100,
        "discount": off / 100, "revenue": (subtotal - off) / 100, "shipping": shipping / 100, "tax": 0.0,
        "total": (subtotal - off + shipping) / 100, "currency": "EUR", "products": shelf.products(lines),
    }  # fmt: skip
    if discount:
        told["coupon"] = f"SAVE{round(discount * 100)}"
    return told


def follow_order(
    post: Post, shelf: Shelf, sale: Sale, talks: Talks, *, rates: Rates, carrier: Incident, discount: float
) -> Worry:
    """Send all that follows an order (shipment, delay, pickup, returns, tickets); answer what may worry its owner."""
    ids, context = talks
    office = Session("shop", f"{sale.order_id}-f", sale.at, ids, context)
    luck = sale.luck
    if luck[3] < rates.pickup:
        arrives, delayed_at = _pick_up(office, shelf, sale), 0
    else:
        arrives, delayed_at = _ship(office, shelf, sale, carrier, rates)
    _return(office, shelf, sale, sale.returned(rates, discount))
    if luck[15] < 0.06:
        office.second = arrives + 7 * DAY
        reviewed = shelf.shown(sale.lines[0].sku)
        office.track("Product Reviewed", {"product_id": reviewed["product_id"], "rating": 3 + int(luck[14] * 3)})
    post.send(office)
    _other_ticket(post, sale, (ids, context), rates, arrives)
    # Delayed orders worry five times as often; the average stays at the rate.
    base = rates.tickets * rates.tickets_where / (1.0 + 4.0 * rates.delays)
    at = delayed_at + 12 * HOUR if delayed_at else arrives - 6 * HOUR
    return Worry(sale.order_id, at + int(luck[7] * DAY), luck[5], base * (5.0 if delayed_at else 1.0))


def _ship(office: Session, shelf: Shelf, sale: Sale, carrier: Incident, rates: Rates) -> tuple[int, int]:
    luck = sale.luck
    shipped = sale.at + 16 * HOUR + int(luck[1] * DAY)
    arrives = shipped + int((1.5 + 2 * luck[2]) * DAY)
    promised = _date(sale.at + 5 * DAY)
    parcel = {"order_id": sale.order_id, "shipment_id": f"s-{sale.order_id}"}
    office.second = shipped
    office.track("Order Shipped", {
        **parcel, "carrier": "Nordpost", "tracking_number": f"NP{sale.order_id}", "promised_on": promised,
        "products": shelf.products(sale.lines),
    })  # fmt: skip
    strikes, ends = (int((at - START).total_seconds()) for at in (carrier.starts_at, carrier.ends_at))
    is_struck = shipped < ends and arrives > strikes and luck[0] < 0.6
    delayed_at = 0
    if is_struck or luck[0] < rates.delays * _ORDINARY:
        delayed_at = max(shipped + 6 * HOUR, strikes + int(luck[8] * 60 * HOUR)) if is_struck else shipped + DAY
        arrives = max(arrives, delayed_at) + int((2 + 2 * luck[2]) * DAY)
        office.second = delayed_at
        reason = "carrier" if is_struck else "warehouse"
        dates = {"promised_on": promised, "new_promised_on": _date(arrives + DAY)}
        office.track("Order Delayed", {**parcel, "reason": reason, **dates})
    office.second = arrives
    office.track("Order Delivered", parcel)
    return arrives, delayed_at


def _pick_up(office: Session, shelf: Shelf, sale: Sale) -> int:
    office.second = sale.at + 20 * HOUR + int(sale.luck[1] * DAY)
    place = {"order_id": sale.order_id, "store_id": f"store-{1 + int(sale.luck[2] * 2)}"}
    expires = _date(office.second + 7 * DAY)
    office.track("Pickup Ready", {**place, "expires_at": expires, "products": shelf.products(sale.lines)})
    office.track("Pickup Completed", dict(place), after=6 * HOUR + int(sale.luck[0] * 3 * DAY))
    return office.second


def _return(office: Session, shelf: Shelf, sale: Sale, returned: Sequence[int]) -> None:
    if not returned:
        return
    lines = [sale.lines[index] for index in returned]
    second = sale.at + int((10 + 11 * sale.luck[4]) * DAY)
    # Nobody goes to the post office over the holidays: a wave follows on the 27th.
    if date(2025, 12, 19) <= (START + timedelta(seconds=second)).date() <= date(2025, 12, 26):
        second = (date(2025, 12, 27) - START.date()).days * DAY + int((0.3 + sale.luck[4] * 2.5) * DAY)
    refund = sum(line.price * line.quantity for line in lines) / 100
    told = {"return_id": f"r-{sale.order_id}", "order_id": sale.order_id, "refund": refund, "currency": "EUR"}
    office.second = second
    reason = "too_small" if sale.luck[8] < 0.5 else "not_as_expected"
    office.track("Return Requested", {**told, "reason": reason, "products": shelf.products(lines)})
    office.track("Return Received", {**told, "products": shelf.products(lines)}, after=4 * DAY)
    office.track("Order Refunded", {"order_id": sale.order_id, "total": refund, "currency": "EUR"}, after=HOUR)


def _other_ticket(post: Post, sale: Sale, talks: Talks, rates: Rates, arrives: int) -> None:
    if sale.luck[6] >= rates.tickets * (1.0 - rates.tickets_where):
        return
    topics = ("size", "defect", "invoice")
    send_ticket(post, sale.order_id, talks, topics[int(sale.luck[7] * 3)], arrives + int(sale.luck[8] * 3 * DAY))


def send_ticket(post: Post, order_id: str, talks: Talks, topic: str, at: int) -> None:
    """Send a ticket from the service desk, and its closing a day or so later."""
    ids, context = talks
    desk = Session("desk", f"t-{order_id}-{topic}", at, ids, context)
    told = {"ticket_id": f"t-{order_id}-{topic}", "order_id": order_id, "topic": topic}
    desk.track("Ticket Opened", {**told, "priority": "normal", "channel": "email", "sentiment": "negative"})
    desk.track("Ticket Closed", {**told, "resolution": "answered"}, after=6 * HOUR + at % (30 * HOUR))
    post.send(desk)


def return_share(rates: Rates, day: date) -> float:
    """Chance that a line of an order of that day is sent back."""
    share = rates.returns * (rates.returns_black_week if is_black_week(day) else 1.0)
    # The week returns more; the season's mean stays the rate.
    return share / (1.0 + 0.30 * (rates.returns_black_week - 1.0))


def _date(second: int) -> str:
    return iso(START + timedelta(seconds=second))[:10]
