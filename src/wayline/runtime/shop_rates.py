"""Every number the simulated shop runs on, in one table, and what the calendar makes of it.

The defaults are vendor averages and rough experience: they make the shop believable and are never evidence. Change a
field of `Rates` and the shop changes; nothing else in the simulator holds a number that matters to an outcome.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

__all__ = [
    "DAY",
    "DAYS_FULL",
    "HOUR",
    "SHOP_ZONE",
    "START",
    "Effect",
    "Incident",
    "Rates",
    "conversion",
    "draws",
    "incidents",
    "is_black_week",
    "is_cold",
    "occasion",
    "traffic",
]

START = datetime(2025, 10, 1, tzinfo=UTC)
SHOP_ZONE = ZoneInfo("Europe/Berlin")
DAY, HOUR = 86400, 3600
DAYS_FULL = 90  # 1 October to 29 December: the season the rates and the incidents' dates were written for

_BLACK_WEEK = (date(2025, 11, 24), date(2025, 12, 1))
_COLD_SNAP = (date(2025, 11, 17), date(2025, 11, 22))
_RETURNS_WAVE = (date(2025, 12, 27), date(2025, 12, 29))
_HOUR = timedelta(hours=1)
_CUT_OFF = date(2025, 12, 18)
_OCCASIONS = {
    date(2025, 11, 28): "Black Friday",
    date(2025, 12, 1): "Cyber Monday",
    date(2025, 12, 6): "St Nicholas",
    date(2025, 12, 18): "Shipping cut-off",
    date(2025, 12, 24): "Christmas Eve",
}
# Share of a day's visits by local hour: a lunch peak at 12-13, the long evening peak at 20-22.
_HOURS = (
    0.5, 0.3, 0.2, 0.15, 0.15, 0.3, 0.7, 1.1, 1.3, 1.4, 1.5, 1.6,
    2.1, 2.0, 1.5, 1.4, 1.4, 1.6, 1.8, 2.1, 2.7, 2.8, 2.3, 1.2,
)  # fmt: skip


class Effect(Struct, frozen=True):
    """What one kind of message does to the people it reaches, per message."""

    buys: float
    """Orders it adds for the average shopper, as a share of those reached. This is the truth to be measured."""
    discount_buys: float = 0.0
    """Orders added on top by each 10 % off."""
    opens: float = 0.38
    """Opened by a person; machines open besides."""
    clicks: float = 0.02
    """Clicked by those whom the message does not move to buy."""
    unsubscribes: float = 0.006


_EFFECTS: Mapping[str, Effect] = {
    "checkout": Effect(buys=0.028, discount_buys=0.017, opens=0.40, clicks=0.03),
    "cart": Effect(buys=0.022, discount_buys=0.014, opens=0.40, clicks=0.03),
    "payment": Effect(buys=0.08, discount_buys=0.01, opens=0.5, clicks=0.06, unsubscribes=0.001),
    "welcome": Effect(buys=0.012, discount_buys=0.004, clicks=0.045),
    "browse": Effect(buys=0.005, discount_buys=0.003, clicks=0.04),
    "win_back": Effect(buys=0.008, discount_buys=0.004, clicks=0.025),
    "replenishment": Effect(buys=0.025, discount_buys=0.004, clicks=0.05),
    "back_in_stock": Effect(buys=0.04, discount_buys=0.005, opens=0.5, clicks=0.1, unsubscribes=0.001),
    "after_sale": Effect(buys=0.002, discount_buys=0.002, clicks=0.04),
    "campaign": Effect(buys=0.0006, discount_buys=0.0008, opens=0.25, clicks=0.0125, unsubscribes=0.002),
    "owed": Effect(buys=0.0, opens=0.6, clicks=0.12, unsubscribes=0.0),
}

_CHANNELS: Mapping[str, float] = {"email": 1.0, "sms": 1.3, "push": 0.5, "onsite": 0.6}


class Rates(Struct, frozen=True, kw_only=True):
    """How the shop, its shoppers and their reactions behave on average."""

    # Size, per known customer over the full season.
    visits: float = 4.8
    anonymous: float = 2.4
    styles: int = 600

    # Funnel, share of visits.
    product_view: float = 0.50
    cart: float = 0.09
    checkout: float = 0.05
    order: float = 0.024
    order_direct: float = 0.85
    """Of all orders, those made in the visit that filled the cart; the rest come back unaided."""
    mobile: float = 0.72
    order_mobile: float = 0.020
    order_desktop: float = 0.035
    known_visits: float = 0.28
    known_factor: float = 2.2
    """How much likelier a known shopper's visit is to end in an order."""
    app: float = 0.25
    """Of mobile visits, those in the app."""
    average_order: int = 7800
    sign_up: float = 0.03
    repeat: float = 0.13
    """Buyers who buy again within 90 days."""
    payment_failure: float = 0.04
    store_orders: float = 0.04
    """Till purchases per known customer over the season."""

    # Season.
    black_week_traffic: float = 2.7
    black_week_conversion: float = 1.5
    cold_snap_jackets: float = 1.6

    # People.
    consent_email: float = 0.65
    consent_sms: float = 0.13
    consent_push: float = 0.06
    put_off: float = 0.08
    """Of people, those whom messages put off buying."""
    machine_openers: float = 0.17
    bounces: float = 0.01
    complaints: float = 0.0003

    # Those who leave a cart, a checkout or a failed payment and buy unaided within days.
    unaided_cart: float = 0.03
    unaided_checkout: float = 0.10
    unaided_payment: float = 0.50
    unaided_in_store: float = 0.12
    emptied: float = 0.05
    """Of carts that see no checkout, those emptied by their owner."""

    # Reactions.
    effects: Mapping[str, Effect] = msgspec.field(default_factory=lambda: dict(_EFFECTS))
    channels: Mapping[str, float] = msgspec.field(default_factory=lambda: dict(_CHANNELS))
    slot_fits: float = 1.3
    slot_misses: float = 0.85
    taste_fits: float = 1.15
    taste_misses: float = 0.85
    fatigue_days: float = 10.0
    fatigue_response: float = 0.15
    fatigue_unsubscribes: float = 0.5
    pull_forward: float = 0.20
    """Of orders a message added, those that take the place of the shopper's next order within four weeks."""
    coupon_days: int = 14
    offer: float = 0.10
    """What an action of kind `offer` takes off where it does not say."""

    # After the order.
    cost: float = 0.50
    return_cost: int = 300
    returns: float = 0.25
    returns_black_week: float = 1.5
    returns_coupon: float = 1.5
    """A coupon fills carts that come back: what looks a gain before returns is a loss after them."""
    repeat_black_week: float = 0.6
    tickets: float = 0.05
    tickets_where: float = 0.40
    tickets_told: float = 0.45
    """What is left of "where is it" tickets once the shopper was told."""
    delays: float = 0.07
    pickup: float = 0.08

    # The wire.
    late: float = 0.03
    duplicate: float = 0.015
    reported_twice: float = 0.03

    def without_effects(self) -> Rates:
        """The same shop where no message changes anything: what every measurement must find to be zero."""
        silent = {
            name: msgspec.structs.replace(effect, buys=0.0, discount_buys=0.0, unsubscribes=0.0)
            for name, effect in self.effects.items()
        }
        return msgspec.structs.replace(self, effects=silent, tickets_told=1.0, complaints=0.0)


class Incident(Struct, frozen=True):
    """Something planted in the season that an engine must cope with: when, and how to find it in the events."""

    name: str
    starts_at: datetime
    ends_at: datetime
    seen_as: str


# Day and hour in the full season, so that a shorter run holds the same incidents, closer together.
_PLANTED = (
    ("store-purchase-with-open-cart", 24.60, 24.75, "Store Purchase of a customer with web cart 'cart-story-till'"),
    ("prices-in-cents", 34.25, 36.25, "app events of version 5.3.0 with prices a hundred times too high"),
    ("shared-tablet", 40.75, 43.95, "three customers log in on anonymous id 'an-tablet'"),
    ("sms-opt-outs", 44.55, 44.80, "a spike of Consent Withdrawn for sms"),
    ("jacket-shopper", 54.80, 58.75, "customer 'c-000000': jackets twice on mobile, then desktop from an e-mail"),
    ("jacket-sold-out", 59.35, 72.35, "Inventory Changed to 0 for every size of style 'st-0000'"),
    ("carrier-delay", 69.00, 72.00, "a wave of Order Delayed with reason 'carrier'"),
)


def incidents(days: int) -> tuple[Incident, ...]:
    """The planted incidents of a run of that many days, in order of their start, from full hour to full hour."""
    scale = 24 * min(1.0, days / DAYS_FULL)
    rows = [
        Incident(name, START + round(first * scale) * _HOUR, START + round(last * scale) * _HOUR, seen)
        for name, first, last, seen in _PLANTED
    ]
    # The season follows the calendar, whatever the length of the run: a short run may end before it.
    rows += [_on_calendar("black-week", _BLACK_WEEK, "visits x2.7; its orders are returned more and repeated less")]
    rows += [_on_calendar("returns-wave", _RETURNS_WAVE, "Return Requested piles up after the holidays")]
    return tuple(sorted(rows, key=lambda row: (row.starts_at, row.name)))


def _on_calendar(name: str, days: tuple[date, date], seen_as: str) -> Incident:
    first, last = (START + (day - START.date()) for day in days)
    return Incident(name, first, last + timedelta(days=1), seen_as)


def is_black_week(day: date) -> bool:
    """Whether the day lies in Black week, Cyber Monday included."""
    return _BLACK_WEEK[0] <= day <= _BLACK_WEEK[1]


def is_cold(day: date) -> bool:
    """Whether the cold snap that sells jackets holds."""
    return _COLD_SNAP[0] <= day <= _COLD_SNAP[1]


def occasion(day: date) -> str:
    """What the day is known for, or nothing."""
    return _OCCASIONS.get(day, "Black Week" if is_black_week(day) else "")


def traffic(rates: Rates, at: datetime) -> float:
    """How busy the shop is in that hour, relative to an average one."""
    local = at.astimezone(SHOP_ZONE)
    day = local.date()
    level = _HOURS[local.hour] / (sum(_HOURS) / 24)
    level *= 1.15 if local.weekday() in (0, 6) else 1.0
    level *= 1.08 if day.day in (1, 28, 29, 30, 31) else 1.0
    if is_black_week(day):
        return level * rates.black_week_traffic
    if date(2025, 11, 1) <= day <= date(2025, 11, 16):
        return level * 0.9
    return level * (0.6 if day > _CUT_OFF else 1.0)


def conversion(rates: Rates, day: date) -> float:
    """How ready visitors are to buy on that day, relative to an ordinary one."""
    return rates.black_week_conversion if is_black_week(day) else 1.0


def draws(*key: object) -> tuple[float, ...]:
    """Sixteen uniform numbers that belong to this key alone, so that nobody's luck depends on anybody else's."""
    digest = hashlib.blake2b("|".join(map(str, key)).encode(), digest_size=64).digest()
    return tuple(word * 2.0**-32 for word in struct.unpack("<16I", digest))
