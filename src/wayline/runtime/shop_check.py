"""Does the simulated shop keep to its rates? Read off its events alone, as an analyst would."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from msgspec import Struct

from wayline.runtime.shop_rates import DAYS_FULL, START, Rates, is_black_week

__all__ = ["Checked", "check"]

_Messages: TypeAlias = Sequence[Mapping[str, Any]]

_PAUSE = timedelta(minutes=30)  # a longer silence of one browser ends the visit
_EVENTS_FULL, _CUSTOMERS_FULL = 540_000, 25_000
_ORDERS = ("Order Completed",)
_BOUGHT = ("Order Completed", "Store Purchase")


class Checked(Struct, frozen=True):
    """One rate: what it should be, what the events say, and how far apart they may lie."""

    name: str
    target: float
    achieved: float
    slack: float
    """Modelling slack and three standard errors, together."""

    @property
    def holds(self) -> bool:
        """Whether the events keep to it."""
        return abs(self.achieved - self.target) <= self.slack


def check(messages: Iterable[Mapping[str, Any]], rates: Rates, *, customers: int, days: int) -> tuple[Checked, ...]:
    """Compare the messages of a season in which nobody was written to with the rates they were drawn from."""
    told = list(messages)
    once = list({(message["source"], message["messageId"]): message for message in told}.values())
    share = customers / _CUSTOMERS_FULL * days / DAYS_FULL
    visits = _visits(once)
    rows = [
        _amount("events", _EVENTS_FULL * share, len(told), 0.06),
        _amount("visits", rates.visits * customers * days / DAYS_FULL, len(visits), 0.05),
        *_funnel(visits, rates),
        *_wire(told, once, rates),
        *_orders(once, rates, START + timedelta(days=days)),
        *_people(once, visits, rates, customers),
    ]
    if days >= DAYS_FULL:
        rows += _season(once, visits, rates)
    # Where nothing of the kind happened there is nothing to hold to its rate.
    return tuple(row for row in rows if not math.isnan(row.achieved))


def _amount(name: str, target: float, achieved: float, slack: float) -> Checked:
    return Checked(name, target, achieved, target * slack + 3 * math.sqrt(target))


def _rate(name: str, target: float, hits: int, of: int, slack: float = 0.08) -> Checked:
    """A share of a count; without any cases there is nothing to hold it to."""
    error = math.sqrt(target * (1 - target) / of) if of else math.inf
    return Checked(name, target, hits / of if of else math.nan, target * slack + 3 * error)


def _at(message: Mapping[str, Any]) -> datetime:
    # The collector's own correction: a client's clock may be wrong, its sense of how long ago is not.
    told, sent, received = (datetime.fromisoformat(message[name]) for name in ("timestamp", "sentAt", "receivedAt"))
    return received - (sent - told)


def _visits(once: _Messages) -> list[list[Mapping[str, Any]]]:
    browsers: dict[str, list[tuple[datetime, int, Mapping[str, Any]]]] = {}
    for place, message in enumerate(once):
        if message["source"] in ("web", "app"):
            browsers.setdefault(message["anonymousId"], []).append((_at(message), place, message))
    return [visit for browser in browsers.values() for visit in _split(sorted(browser, key=lambda row: row[:2]))]


def _split(rows: Sequence[tuple[datetime, int, Mapping[str, Any]]]) -> Iterator[list[Mapping[str, Any]]]:
    visit: list[Mapping[str, Any]] = []
    last = rows[0][0]
    for at, _, message in rows:
        if visit and at - last > _PAUSE:
            yield visit
            visit = []
        visit.append(message)
        last = at
    yield visit


def _names(visit: _Messages) -> set[str]:
    return {message.get("event", "") for message in visit}


def _funnel(visits: Sequence[_Messages], rates: Rates) -> Iterator[Checked]:
    reached = [_names(visit) for visit in visits]
    mobile = [visit[0]["context"]["device"]["type"] == "mobile" for visit in visits]
    stages = {
        "Product Viewed": rates.product_view,
        "Product Added": rates.cart,
        "Checkout Started": rates.checkout,
        "Order Completed": rates.order,
    }
    for event, rate in stages.items():
        # Those who come back to a cart check out again: the share of checkouts lies a little above its rate.
        yield _rate(event, rate, sum(event in names for names in reached), len(visits), 0.12)
    yield _rate("visits on mobile", rates.mobile, sum(mobile), len(visits), 0.02)
    known = sum("userId" in visit[0] for visit in visits)
    yield _rate("visits of known customers", rates.known_visits, known, len(visits), 0.06)
    for device, rate in ((True, rates.order_mobile), (False, rates.order_desktop)):
        ordered = [
            bool(names & set(_ORDERS)) for names, is_mobile in zip(reached, mobile, strict=True) if is_mobile == device
        ]
        yield _rate(f"orders on {'mobile' if device else 'desktop'}", rate, sum(ordered), len(ordered), 0.15)


def _wire(told: _Messages, once: _Messages, rates: Rates) -> Iterator[Checked]:
    clients = [message for message in once if message["source"] in ("web", "app")]
    late = sum(
        datetime.fromisoformat(message["sentAt"]) - datetime.fromisoformat(message["timestamp"]) > _PAUSE
        for message in clients
    )
    # Whole visits are late, so the standard error is that of visits, not of messages.
    visits = len({message["messageId"].rsplit("-", 1)[0] for message in clients})
    yield Checked("late", rates.late, late / len(clients), rates.late * 0.1 + 4 * math.sqrt(rates.late / visits))
    yield _rate("duplicate", rates.duplicate, len(told) - len(once), len(clients), 0.1)


def _orders(once: _Messages, rates: Rates, end: datetime) -> Iterator[Checked]:
    orders: dict[str, Mapping[str, Any]] = {}
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for message in once:
        name = message.get("event", "")
        by_name.setdefault(name, []).append(message)
        if name in _ORDERS and message["context"].get("app", {}).get("version") != "5.3.0":
            orders.setdefault(message["properties"]["order_id"], message)
    revenues = [order["properties"]["revenue"] * 100 for order in orders.values()]
    mean = sum(revenues) / len(revenues)
    error = math.sqrt(sum((revenue - mean) ** 2 for revenue in revenues)) / len(revenues)
    yield Checked("average order", rates.average_order, mean, rates.average_order * 0.05 + 3 * error)
    failed = len(by_name.get("Payment Failed", ()))
    yield _rate("payment failure", rates.payment_failure, failed, failed + len(orders), 0.25)
    settled = {key: order for key, order in orders.items() if _at(order) < end - timedelta(days=26)}
    yield from _returns(settled, by_name.get("Return Requested", ()), rates)
    tickets = [message["properties"] for message in by_name.get("Ticket Opened", ())]
    asked = [ticket for ticket in tickets if ticket["order_id"] in settled]
    yield _rate("tickets", rates.tickets, len(asked), len(settled), 0.3)
    where = sum(ticket["topic"] == "where_is_it" for ticket in asked)
    yield _rate("tickets that ask where it is", rates.tickets_where, where, len(asked), 0.25)


def _returns(settled: Mapping[str, Mapping[str, Any]], asked: _Messages, rates: Rates) -> Iterator[Checked]:
    sold = sum(len(order["properties"]["products"]) for order in settled.values())
    back = sum(
        len(message["properties"]["products"]) for message in asked if message["properties"]["order_id"] in settled
    )
    # The season's mean holds over Black week, whose orders settle last.
    yield _rate("returned", rates.returns, back, sold, 0.2)


def _people(once: _Messages, visits: Sequence[_Messages], rates: Rates, customers: int) -> Iterator[Checked]:
    # Customers known before the season gave their consent before it; the check is of newcomers.
    newcomers = {f"an-{customers + number:06d}" for number in range(len(visits))}
    signed = {
        message["anonymousId"][:-1]: "userId" in message
        for message in once
        if message["type"] == "identify" and message["source"] == "shop" and message["anonymousId"][:-1] in newcomers
    }
    granted = {
        message["anonymousId"][:-1]
        for message in once
        if message.get("event") == "Consent Granted" and message["properties"]["channel"] == "email"
    }
    yield _rate("consent to e-mail", rates.consent_email, len(granted & set(signed)), len(signed), 0.06)
    unknown = sum("userId" not in visit[0] and visit[0]["anonymousId"][:-1] in newcomers for visit in visits)
    yield _rate("sign-up", rates.sign_up, sum(signed.values()), unknown, 0.1)


def _season(once: _Messages, visits: Sequence[_Messages], rates: Rates) -> Iterator[Checked]:
    days = [_at(visit[0]).date() for visit in visits]
    week = sum(is_black_week(day) for day in days) / 8
    october = sum(day.month == 10 for day in days) / 31
    traffic = rates.black_week_traffic
    yield Checked("Black week against October", traffic, week / october, 0.15 * traffic)
    counts = Counter(message.get("event", "") for message in once)
    yield _rate("delays", rates.delays, counts["Order Delayed"], counts["Order Shipped"], 0.3)
    orders = {
        (_person(message), message["properties"]["order_id"]) for message in once if message.get("event") in _BOUGHT
    }
    buyers = Counter(person for person, _ in orders)
    # A buyer is seen for half the season on average, so about half of those who buy again within 90 days are.
    yield _rate("bought again", rates.repeat / 2, sum(count > 1 for count in buyers.values()), len(buyers), 0.3)


def _person(message: Mapping[str, Any]) -> str:
    return str(message.get("userId") or message["anonymousId"][:-1])
