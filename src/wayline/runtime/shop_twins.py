"""What messages do to shoppers, evaluated in both worlds, so that their true effect is known exactly.

Every message that was handed over, or would have been and was withheld, is put to the shopper twice: once as if it came
and once as if it did not. One luck serves both worlds. Three things may differ between them, and each is booked to the
journey at the instant it happens, whichever world is the real one:

* an order that only one world has: added by the message, or lost because the message put the shopper off;
* the margin of an order both worlds have, where a coupon makes it cheaper in one;
* a later order that an added one takes the place of.

What people do unaided is drawn beforehand and the stock path follows from that alone: an order that a message added is
served from the reserve. Else one shopper's message would empty another's shelf, and no twin would be a twin. Each
message is judged against the world as it had become by then, so the effects of several add up exactly: the orders of a
run in which all were handed over, less those of a run in which all were withheld, are the sum of what was booked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from wayline.runtime.shop_rates import DAY, Effect, Rates, draws

__all__ = [
    "Abandoned", "Answer", "Cause", "Coupon", "Handed", "Line", "Sale", "Shopper", "Stop", "Truth", "Twins", "Worry",
    "effect_named",
]  # fmt: skip

_FRESH_DAYS = 14  # an abandoned cart older than this moves nobody
_RESPONSE_SECONDS_MAX = 3 * DAY
_PULL_SECONDS = 28 * DAY

# First word found in the journey's name decides what the shopper takes the message for.
_WORDS: tuple[tuple[str, str], ...] = (
    ("payment", "payment"), ("checkout", "checkout"), ("cart", "cart"), ("hesitat", "checkout"), ("welcome", "welcome"),
    ("browse", "browse"), ("win-back", "win_back"), ("win_back", "win_back"), ("winback", "win_back"),
    ("replenish", "replenishment"), ("reorder", "replenishment"), ("back-in-stock", "back_in_stock"),
    ("back_in_stock", "back_in_stock"), ("thank", "after_sale"), ("review", "after_sale"), ("reward", "after_sale"),
    ("order", "owed"), ("ship", "owed"), ("delay", "owed"), ("pickup", "owed"), ("deliver", "owed"), ("ticket", "owed"),
)  # fmt: skip


class Handed(Struct, frozen=True, kw_only=True):
    """A message the engine handed over since, or withheld where `delivers` is false."""

    decision_id: str
    identifiers: Mapping[str, str]
    """How the shop knows the person: user_id, email or anonymous_id."""
    channel: str
    content: str = ""
    journey: str
    kind: str = "message"
    shows: tuple[str, ...] = ()
    delivers: bool = True
    at: datetime
    discount: float = 0.0
    """0.1 is a coupon of ten per cent; an `offer` that does not say is the shop's usual one."""


class Truth(Struct, frozen=True, kw_only=True):
    """What a journey's messages truly changed; money in minor units, net of returns and discounts."""

    journey: str
    exposed: int
    """Messages handed over or withheld."""
    handed: int
    people: int
    orders_caused: int
    """By the messages handed over. May be negative."""
    margin_caused: int
    orders_effect: int
    """Of all exposed, had all of them been handed over: what a control group estimates."""
    margin_effect: int
    unsubscribes_caused: int
    tickets_caused: int
    """Negative where messages saved the service desk work."""

    @property
    def orders_per_person(self) -> float:
        """Orders added for each person exposed."""
        return self.orders_effect / self.people

    @property
    def margin_per_person(self) -> float:
        """Margin added for each person exposed, minor units."""
        return self.margin_effect / self.people


class Line(Struct, frozen=True):
    """One size-colour in a cart or order."""

    sku: int
    price: int
    quantity: int = 1


class Cause(Struct, frozen=True):
    """The message that made an order: of which journey, and whether it came or was withheld."""

    journey: str
    real: bool
    at: int
    pulls: bool = False
    """Whether the order takes the place of the shopper's next."""


class Abandoned(Struct):
    """A cart, checkout or payment that was left, and the luck that decides whether its owner comes back."""

    kind: str
    cart_id: str
    checkout_id: str
    lines: tuple[Line, ...]
    at: int
    luck: float
    share: float
    """Chance that the order is made, in the world as it has become: it is made if `luck` is below."""
    is_open: bool = True
    reminders: int = 0


class Coupon(Struct, frozen=True):
    """A discount in the shopper's hands, or that would be in the world where the message came."""

    cause: Cause
    discount: float
    until: int


class Stop(Struct, frozen=True):
    """An unaided order that will not happen where the message came: any next one, or that of one abandoned cart."""

    cause: Cause
    until: int
    of: str = ""


class Sale(Struct, frozen=True):
    """An order as it would be made: what is in it, what will come back, and the tickets it may lead to."""

    order_id: str
    lines: tuple[Line, ...]
    at: int
    return_share: float
    """Chance of each line to be sent back."""
    luck: tuple[float, ...]

    def returned(self, rates: Rates, discount: float) -> tuple[int, ...]:
        """Indexes of the lines that will be sent back: at a discount more is ordered to be tried on."""
        share = self.return_share * (rates.returns_coupon if discount else 1.0)
        return tuple(index for index in range(len(self.lines)) if self.luck[9 + index % 5] < share)

    def margin(self, rates: Rates, discount: float) -> int:
        """What it earns at that discount: kept lines less their cost, and the handling of those sent back."""
        earned, returned = 0.0, self.returned(rates, discount)
        for index, line in enumerate(self.lines):
            if index in returned:
                earned -= rates.return_cost * line.quantity
            else:
                earned += line.quantity * line.price * (1.0 - discount - rates.cost)
        return round(earned)


class Worry(Struct):
    """A "where is it" ticket an order may lead to, unless its owner is told in time."""

    order_id: str
    at: int
    luck: float
    share: float


class Shopper(Struct):
    """What the shop has come to know of one person, and what messages have made of them."""

    who: int
    user_id: str = ""
    known_at: int = -_FRESH_DAYS * DAY - 1
    email_known: bool = False
    is_unsubscribed: bool = False
    fatigue: float = 0.0
    fatigue_at: int = 0
    abandoned: Abandoned | None = None
    coupons: list[Coupon] = []
    stops: list[Stop] = []
    worries: list[Worry] = []
    waiting_for: list[int] = []
    exposures: dict[str, int] = {}
    viewed_at: int = -365 * DAY
    ordered_at: int = -365 * DAY
    care_at: int = -365 * DAY
    is_black_week_buyer: bool = False
    points: int = 0


class Answer(Struct, frozen=True):
    """How a shopper reacts to one message in the world that happens, and what else it would have done."""

    effect: str
    cause: Cause
    luck: tuple[float, ...]
    opens: bool = False
    clicks: bool = False
    orders_at: int | None = None
    """When the order the message adds is made, in the world where the message came."""
    unsubscribes: bool = False
    complains: bool = False


class _Account:
    __slots__ = ("exposed", "handed", "margin", "orders", "people", "tickets", "unsubscribes")

    def __init__(self) -> None:
        self.exposed = self.handed = 0
        self.people: set[int] = set()
        # Each a pair: what the messages handed over changed, and what those withheld would have.
        self.orders, self.margin, self.unsubscribes, self.tickets = [0, 0], [0, 0], [0, 0], [0, 0]


def effect_named(journey: str) -> str:
    """What shoppers take a journey's messages for: an effect of `Rates.effects`."""
    return next((effect for word, effect in _WORDS if word in journey), "campaign")


class Twins:
    """The account of both worlds: put messages and orders to it, read the truth from it."""

    def __init__(self, seed: int, rates: Rates, end: int) -> None:
        self._seed = seed
        self._rates = rates
        self._end = end
        self._accounts: dict[str, _Account] = {}

    def truth(self) -> dict[str, Truth]:
        """What each journey's messages truly changed so far."""
        return {
            journey: Truth(
                journey=journey, exposed=account.exposed, handed=account.handed, people=len(account.people),
                orders_caused=account.orders[0], margin_caused=account.margin[0],
                orders_effect=sum(account.orders), margin_effect=sum(account.margin),
                unsubscribes_caused=account.unsubscribes[0], tickets_caused=account.tickets[0],
            )
            for journey, account in sorted(self._accounts.items())
        }  # fmt: skip

    def answer(self, shopper: Shopper, handed: Handed, at: int, strength: float | None) -> Answer:
        """Put one message to a shopper, in both worlds, from the same luck; without a strength it never arrives."""
        ordinal = shopper.exposures.get(handed.journey, 0)
        shopper.exposures[handed.journey] = ordinal + 1
        luck = draws(self._seed, "exposure", shopper.who, handed.journey, ordinal)
        account = self._accounts.setdefault(handed.journey, _Account())
        account.exposed += 1
        account.handed += handed.delivers
        account.people.add(shopper.who)
        cause = Cause(handed.journey, handed.delivers, at, luck[0] < self._rates.pull_forward)
        name = self._effect(shopper, handed, at)
        if strength is None:
            return Answer(name, cause, luck)
        if name == "owed":
            self._reassure(shopper, cause, at)
            effect = self._rates.effects[name]
            opens = handed.delivers and luck[1] < effect.opens
            return Answer(name, cause, luck, opens=opens, clicks=opens and luck[2] * effect.opens < effect.clicks)
        return self._tempt(shopper, handed, Answer(name, cause, luck), strength)

    def _effect(self, shopper: Shopper, handed: Handed, at: int) -> str:
        # A message that does not fit its reader works like any campaign.
        name = effect_named(handed.journey)
        left = shopper.abandoned
        if name in ("cart", "checkout", "payment"):
            return left.kind if left and left.is_open and at - left.at < _FRESH_DAYS * DAY else "campaign"
        fits = {
            "welcome": at - shopper.known_at < _FRESH_DAYS * DAY,
            "browse": at - shopper.viewed_at < 7 * DAY,
            "win_back": at - shopper.ordered_at > 90 * DAY,
            "replenishment": 20 * DAY < at - shopper.care_at < 300 * DAY,
            "back_in_stock": bool(shopper.waiting_for),
            "after_sale": at - shopper.ordered_at < 60 * DAY,
        }
        return name if fits.get(name, True) else "campaign"

    def _tempt(self, shopper: Shopper, handed: Handed, bare: Answer, strength: float) -> Answer:
        rates, luck, cause = self._rates, bare.luck, bare.cause
        effect = rates.effects[bare.effect]
        fatigue = self._fatigue(shopper, cause.at)
        listens = not shopper.is_unsubscribed
        discount = handed.discount or (rates.offer if handed.kind == "offer" else 0.0)
        added = (effect.buys + effect.discount_buys * min(discount, 0.3) / 0.1) * strength * listens
        added /= 1.0 + rates.fatigue_response * fatigue
        orders_at = self._orders_at(shopper, bare, added)
        if discount and listens:
            shopper.coupons.append(Coupon(cause, discount, cause.at + rates.coupon_days * DAY))
        left = listens and luck[5] < effect.unsubscribes * (1.0 + rates.fatigue_unsubscribes * fatigue)
        self._accounts[handed.journey].unsubscribes[not cause.real] += left
        if cause.real:
            shopper.fatigue, shopper.fatigue_at = fatigue + 1.0, cause.at
            shopper.is_unsubscribed |= left
        opens = orders_at is not None or left or luck[1] < effect.opens
        clicks = orders_at is not None or (opens and self._clicks(shopper, effect, luck[2]))
        return Answer(
            bare.effect, cause, luck,
            opens=opens and cause.real, clicks=clicks and cause.real, orders_at=orders_at,
            unsubscribes=left and cause.real,
            complains=opens and cause.real and luck[6] < rates.complaints * (1 if listens else 100),
        )  # fmt: skip

    def _clicks(self, shopper: Shopper, effect: Effect, luck: float) -> bool:
        # Those who would come back anyway click more: it is how attribution claims what it did not cause.
        left = shopper.abandoned
        returns = left is not None and left.is_open and left.luck < left.share
        return luck * effect.opens < effect.clicks * (6.0 if returns else 1.0)

    def _orders_at(self, shopper: Shopper, bare: Answer, added: float) -> int | None:
        luck, cause, left = bare.luck, bare.cause, shopper.abandoned
        delay = min(_RESPONSE_SECONDS_MAX, 600 + int(-math.log(1.0 - luck[4]) * 18000))
        if bare.effect not in ("cart", "checkout", "payment") or left is None:
            return cause.at + delay if luck[3] < added else None
        added *= 0.5**left.reminders
        left.reminders += 1
        share = min(1.0, max(0.0, left.share + added))
        before, low, high = left.share, min(left.share, share), max(left.share, share)
        if cause.real:
            left.share = share
        if not low <= left.luck < high:
            return None
        if share < before:
            shopper.stops.append(Stop(cause, left.at + _FRESH_DAYS * DAY, left.cart_id))
            return None
        return cause.at + delay

    def _fatigue(self, shopper: Shopper, at: int) -> float:
        return shopper.fatigue * math.exp((shopper.fatigue_at - at) / (self._rates.fatigue_days * DAY))

    def _reassure(self, shopper: Shopper, cause: Cause, at: int) -> None:
        for worry in shopper.worries:
            if worry.at <= at or worry.at >= self._end:
                continue
            share = worry.share * self._rates.tickets_told
            if share <= worry.luck < worry.share:
                self._accounts[cause.journey].tickets[not cause.real] -= 1
            if cause.real:
                worry.share = share

    def unaided(self, shopper: Shopper, sale: Sale, of: str = "") -> float | None:
        """The discount at which an unaided order is made in the world that happens; None if a message prevented it."""
        stops = [stop for stop in shopper.stops if sale.at < stop.until and stop.of in ("", of)]
        real = next((stop for stop in stops if stop.cause.real), None)
        if real:
            # Booked without discount: the coupons of a prevented order cost nobody anything.
            self._book(real.cause, -1, -sale.margin(self._rates, 0.0))
            shopper.stops.remove(real)
            return None
        discount = self._discount(shopper, sale, None)
        for stop in stops:
            self._book(stop.cause, -1, -sale.margin(self._rates, discount))
            shopper.stops.remove(stop)
        return discount

    def caused(self, shopper: Shopper, sale: Sale, cause: Cause) -> float | None:
        """The discount at which an added order is made in the world that happens; None if the message was withheld."""
        own = [coupon.discount for coupon in shopper.coupons if coupon.cause == cause]
        discount = self._discount(shopper, sale, cause) if cause.real else max(own, default=0.0)
        if not cause.real:
            self._book(cause, 1, sale.margin(self._rates, discount))
        if cause.pulls:
            shopper.stops.append(Stop(cause, sale.at + _PULL_SECONDS))
        return discount if cause.real else None

    def _discount(self, shopper: Shopper, sale: Sale, cause: Cause | None) -> float:
        # Coupons in the order they came: each is booked with what it took off on top of those before it.
        best, booked = 0.0, cause is None
        held = [coupon for coupon in shopper.coupons if sale.at < coupon.until]
        for coupon in held:
            if not coupon.cause.real:
                continue
            if cause and not booked and coupon.cause.at > cause.at:
                self._book(cause, 1, sale.margin(self._rates, best))
                booked = True
            better = max(best, coupon.discount)
            if booked and better > best:
                self._book(coupon.cause, 0, sale.margin(self._rates, better) - sale.margin(self._rates, best))
            best = better
        if cause and not booked:
            self._book(cause, 1, sale.margin(self._rates, best))
        for coupon in held:
            if not coupon.cause.real and coupon.discount > best:
                self._book(coupon.cause, 0, sale.margin(self._rates, coupon.discount) - sale.margin(self._rates, best))
        shopper.coupons[:] = held
        return best

    def _book(self, cause: Cause, orders: int, margin: int) -> None:
        account = self._accounts[cause.journey]
        account.orders[not cause.real] += orders
        account.margin[not cause.real] += margin
