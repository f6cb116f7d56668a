"""What became of the people exposed: caused, by comparing the arms; claimed, as platforms count.

*Caused.* A person counts once in each experiment, from the first moment a message was sent or, in the control group,
would have been. What they buy in the window after it is theirs, message or not. The arms then differ only by the
message, and so does nothing else. What they bought before it is kept beside, and takes out of the comparison what is
only habit.

*Claimed.* Every order within a few days after a message is that message's, the last one taking all. That is what a
sending platform shows; it stands beside the caused so that the difference can be seen.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TypeAlias

from msgspec import Struct

from wayline.domain import Tally
from wayline.measurement.effects import Effect, NotEnough, difference

__all__ = [
    "CLAIM_WINDOW",
    "PRE_WINDOW",
    "WINDOW",
    "Caused",
    "Claimed",
    "Exposure",
    "Measured",
    "Order",
    "caused",
    "claimed",
    "measure",
]

WINDOW = timedelta(days=7)
"""After exposure, what a person buys counts for the comparison."""

PRE_WINDOW = timedelta(days=90)
"""Before exposure, what a person bought is the covariate: no message can have touched it."""

CLAIM_WINDOW = timedelta(days=5)
"""After a message, platforms claim what a person buys."""


_Purchases: TypeAlias = dict[str, tuple[list[datetime], list[float]]]


class Exposure(Struct, frozen=True, array_like=True, gc=False):
    """The moment a message was sent, or would have been, to one person in one experiment."""

    decision_id: str
    customer_id: str
    journey: str
    arm: str
    at: datetime


class Order(Struct, frozen=True, array_like=True, gc=False):
    """One order with what it earned, net of discounts and returns, in minor units."""

    customer_id: str
    occurred_at: datetime
    order_id: str
    margin: float


class Measured(Struct, frozen=True, kw_only=True):
    """One journey's arms: margin and orders a person, and who had to be left out."""

    journey: str
    margin: Mapping[str, Tally]
    """Arm to the tally of margin in the window."""
    orders: Mapping[str, Tally]
    """Arm to the tally of whether a person ordered in the window."""
    exposures: Mapping[str, int]
    """Arm to messages sent or withheld, repeats included."""
    contaminated: int = 0
    """People seen in both arms after a merge: counted, and in neither."""
    immature: int = 0
    """People whose window was still open at the end of the data: counted, not yet compared."""
    first_at: datetime | None = None
    last_at: datetime | None = None

    def people(self, arm: str) -> int:
        """How many are compared in this arm."""
        return self.margin[arm].n


class Claimed(Struct, frozen=True):
    """What last-touch counting gives one journey."""

    journey: str
    orders: int
    margin: float


class Caused(Struct, frozen=True, kw_only=True):
    """What all journeys together brought about, over everybody who got them."""

    total: float
    low: float
    high: float
    journeys: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    """Journeys with nothing to compare."""


def measure(
    exposures: Iterable[Exposure],
    orders: Iterable[Order],
    *,
    window: timedelta = WINDOW,
    until: datetime | None = None,
    recurring: Collection[str] = (),
) -> dict[str, Measured]:
    """Each journey's arms. `until` is where the data ends: windows that are open then are left out, and counted.

    `recurring` journeys (a weekly newsletter) reach the same people again and again; one window after the first
    message would miss most of what they do, so theirs stays open to the end of the data, in both arms.
    Exposures and orders may come in any order; an order counts once by its id.
    """
    if window <= timedelta(0):
        raise ValueError(f"window after exposure: expected a positive duration, got {window}")
    firsts, sizes = _firsts(exposures)
    bought = _by_customer(orders)
    return {
        journey: _measured(journey, people, sizes[journey], _Follow(bought, window, until, journey in recurring))
        for journey, people in sorted(firsts.items())
    }


class _Follow(Struct, frozen=True):
    """What was bought, and how long after an exposure it counts."""

    bought: _Purchases
    window: timedelta
    until: datetime | None
    is_open_ended: bool

    def is_immature(self, at: datetime) -> bool:
        """Whether the window of this exposure was still open at the end of the data."""
        return self.until is not None and at + self.window > self.until

    def around(self, customer_id: str, at: datetime) -> tuple[list[float], float]:
        """Margins of what this person bought after `at` and within the window; and the sum of those shortly before."""
        if customer_id not in self.bought:
            return [], 0.0
        times, margins = self.bought[customer_id]
        ends = self.until if self.is_open_ended else at + self.window
        here = bisect_right(times, at)
        after = margins[here : len(times) if ends is None else bisect_right(times, ends)]
        return after, sum(margins[bisect_right(times, at - PRE_WINDOW) : here])


class _First(Struct, gc=False):
    """The first exposure of one person in one experiment."""

    arm: str
    at: datetime
    mixed: bool = False


def _firsts(exposures: Iterable[Exposure]) -> tuple[dict[str, dict[str, _First]], dict[str, dict[str, int]]]:
    firsts: dict[str, dict[str, _First]] = {}
    sizes: dict[str, dict[str, int]] = {}
    for exposure in exposures:
        people = firsts.setdefault(exposure.journey, {})
        size = sizes.setdefault(exposure.journey, {})
        size[exposure.arm] = size.get(exposure.arm, 0) + 1
        first = people.get(exposure.customer_id)
        if first is None:
            people[exposure.customer_id] = _First(exposure.arm, exposure.at)
            continue
        first.mixed = first.mixed or first.arm != exposure.arm
        if exposure.at < first.at:
            first.at = exposure.at
    return firsts, sizes


def _by_customer(orders: Iterable[Order]) -> _Purchases:
    """Each customer's purchases in order of time, every order once."""
    latest = {order.order_id: order for order in orders}
    bought: _Purchases = {}
    for order in sorted(latest.values(), key=attrgetter("occurred_at")):
        times, margins = bought.setdefault(order.customer_id, ([], []))
        times.append(order.occurred_at)
        margins.append(order.margin)
    return bought


def _measured(
    journey: str,
    people: Mapping[str, _First],
    sizes: Mapping[str, int],
    follow: _Follow,
) -> Measured:
    sums = {"control": _Sums(), "treatment": _Sums()}
    contaminated = immature = 0
    for customer_id, first in people.items():
        if first.mixed:
            contaminated += 1
        elif follow.is_immature(first.at):
            immature += 1
        else:
            sums[first.arm].count(*follow.around(customer_id, first.at))
    times = [first.at for first in people.values()]
    return Measured(
        journey=journey,
        margin={arm: counted.margin() for arm, counted in sums.items()},
        orders={arm: Tally(counted.n, counted.buyers, counted.buyers) for arm, counted in sums.items()},
        exposures={"control": sizes.get("control", 0), "treatment": sizes.get("treatment", 0)},
        contaminated=contaminated,
        immature=immature,
        first_at=min(times, default=None),
        last_at=max(times, default=None),
    )


class _Sums(Struct):
    """One arm while it is counted."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    pre_total: float = 0.0
    pre_squares: float = 0.0
    cross: float = 0.0
    buyers: int = 0

    def count(self, margins: list[float], before: float) -> None:
        value = sum(margins)
        self.n += 1
        self.total += value
        self.squares += value * value
        self.pre_total += before
        self.pre_squares += before * before
        self.cross += value * before
        self.buyers += bool(margins)

    def margin(self) -> Tally:
        return Tally(self.n, self.total, self.squares, self.pre_total, self.pre_squares, self.cross)


def claimed(
    messages: Iterable[Exposure], orders: Iterable[Order], *, window: timedelta = CLAIM_WINDOW
) -> dict[str, Claimed]:
    """Last-touch attribution: an order within `window` after a message is that message's, whoever would have bought.

    Give it the messages that were really sent; the control group claims nothing.
    """
    touches: dict[str, list[tuple[datetime, str]]] = {}
    for message in messages:
        touches.setdefault(message.customer_id, []).append((message.at, message.journey))
    for mine in touches.values():
        mine.sort()
    counts: dict[str, list[float]] = {}
    for order in {order.order_id: order for order in orders}.values():
        mine = touches.get(order.customer_id, [])
        last = bisect_left(mine, (order.occurred_at, "")) - 1
        if last >= 0 and order.occurred_at - mine[last][0] <= window:
            row = counts.setdefault(mine[last][1], [0, 0.0])
            row[0] += 1
            row[1] += order.margin
    return {journey: Claimed(journey, int(row[0]), row[1]) for journey, row in sorted(counts.items())}


def caused(measured: Mapping[str, Measured]) -> Caused | NotEnough:
    """The sum over journeys of the difference a person, times the people who got it, with its likely range.

    Journeys are taken as independent experiments: each arm is a coin of its own.
    """
    total = variance = 0.0
    counted: list[str] = []
    left_out: list[str] = []
    for journey, arms in measured.items():
        effect = difference(arms.margin["control"], arms.margin["treatment"], adjusted=True)
        if not isinstance(effect, Effect):
            left_out.append(journey)
            continue
        people = arms.people("treatment")
        total += effect.value * people
        variance += (effect.se * people) ** 2
        counted.append(journey)
    if not counted:
        have = sum(arms.people("control") for arms in measured.values())
        return NotEnough("no journey has people in both groups whose window has passed", have)
    half = 1.959963984540054 * variance**0.5
    return Caused(total=total, low=total - half, high=total + half, journeys=tuple(counted), left_out=tuple(left_out))
