"""The numbers behind the drawings: where bars end and ranges lie, in the units of their frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from wayline.measurement.verdicts import ARM_MIN
from wayline.serving.findings import JourneyLine
from wayline.serving.report import Money

__all__ = ["WIDTH", "Bar", "Range", "bars", "money_bars", "ranges"]

WIDTH = 1000
"""Width of every frame; the page scales it."""


class Bar(Struct, frozen=True):
    """One horizontal bar, with the likely range around its end where there is one."""

    start: float
    width: float
    low: float | None = None
    high: float | None = None
    zero: float = 0.0


class Range(Struct, frozen=True):
    """A likely range around a measured value, and where zero lies."""

    low: float
    high: float
    value: float
    zero: float


def bars(values: Sequence[float]) -> list[Bar]:
    """Bars from zero, the largest as wide as the frame; whatever is there at all can be seen."""
    largest = max(values, default=0) or 1
    return [Bar(0.0, max(value / largest * WIDTH, 4.0) if value > 0 else 0.0) for value in values]


def money_bars(money: Money) -> tuple[Bar, Bar] | None:
    """Claimed beside caused, on one scale; None while nothing caused can be told."""
    if money.caused is None or money.low is None or money.high is None:
        return None
    place = _scale([0.0, money.claimed, money.caused, money.low, money.high])
    zero = place(0.0)
    claimed = Bar(zero, max(place(money.claimed) - zero, 4.0), zero=zero)
    end = place(money.caused)
    caused = Bar(min(zero, end), max(abs(end - zero), 4.0), place(money.low), place(money.high), zero)
    return claimed, caused


def ranges(lines: Iterable[JourneyLine]) -> dict[str, Range]:
    """Each journey's likely range on a scale they share, so that the eye can compare them.

    The scale is that of the journeys with enough people: a handful whose range is as wide as the world would make
    all others dots. Theirs ends at the frame.
    """
    known = [(line, line.low, line.high, line.effect) for line in lines]
    told = [
        (line, low, high, x) for line, low, high, x in known if low is not None and high is not None and x is not None
    ]
    solid = [row for row in told if min(row[0].people_control, row[0].people_treatment) >= ARM_MIN] or told
    place = _scale([0.0, *(x for _, low, high, _ in solid for x in (low, high))])
    return {line.name: Range(place(low), place(high), place(x), place(0.0)) for line, low, high, x in told}


def _scale(values: Sequence[float]) -> Callable[[float], float]:
    """From a value to its place in the frame; what lies outside is at the edge."""
    low, high = min(values), max(values)
    width = high - low or 1.0
    return lambda value: round(min(max((value - low) / width, 0.0), 1.0) * WIDTH, 1)
