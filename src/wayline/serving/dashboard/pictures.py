"""The numbers behind the drawings: where bars end and ranges lie, in the units of their frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

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
    """Each journey's likely range on a scale they share, so that the eye can compare them."""
    known = [
        (line.name, line.low, line.high, line.effect)
        for line in lines
        if line.effect is not None and line.low is not None and line.high is not None
    ]
    place = _scale([0.0, *(x for _, low, high, _ in known for x in (low, high))])
    return {name: Range(place(low), place(high), place(effect), place(0.0)) for name, low, high, effect in known}


class _scale:
    def __init__(self, values: Sequence[float]) -> None:
        self._low, self._high = min(values), max(values)

    def __call__(self, value: float) -> float:
        width = self._high - self._low or 1.0
        return round((value - self._low) / width * WIDTH, 1)
