"""Counting in one pass: six sums say everything that the measurement of a mean needs.

Sums add, so a tally can be counted by day, by shard or by machine and put together afterwards, and ten million people
weigh no more than ten.
"""

from __future__ import annotations

from collections.abc import Iterable

from wayline.domain import Tally

__all__ = [
    "add_all",
    "covariance",
    "is_binary",
    "mean",
    "of_pairs",
    "of_values",
    "pre_mean",
    "pre_variance",
    "variance",
]


def of_values(values: Iterable[float]) -> Tally:
    """The tally of one number for each person."""
    count, total, squares = 0, 0.0, 0.0
    for value in values:
        count += 1
        total += value
        squares += value * value
    return Tally(count, total, squares)


def of_pairs(pairs: Iterable[tuple[float, float]]) -> Tally:
    """The tally of (after, before) for each person: what a covariate from before exposure needs."""
    tally = Tally()
    for after, before in pairs:
        tally += Tally(1, after, after * after, before, before * before, after * before)
    return tally


def add_all(tallies: Iterable[Tally]) -> Tally:
    """All of them as one."""
    total = Tally()
    for tally in tallies:
        total += tally
    return total


def mean(tally: Tally) -> float:
    """The mean of the metric; asking it of nobody is a mistake of the caller."""
    return tally.total / tally.n


def variance(tally: Tally) -> float:
    """The sample variance; of a yes-or-no metric the variance of its rate, as every power table has it."""
    centred = tally.squares - tally.total * tally.total / tally.n
    # Rounding may leave a hair below zero where all values are equal.
    return max(centred, 0.0) / (tally.n if is_binary(tally) else tally.n - 1)


def is_binary(tally: Tally) -> bool:
    """Whether every value was 0 or 1: among whole numbers only then squares and values add to the same."""
    return tally.squares == tally.total and 0 <= tally.total <= tally.n and float(tally.total).is_integer()


def pre_mean(tally: Tally) -> float:
    """The mean of the covariate from before exposure."""
    return tally.pre_total / tally.n


def pre_variance(tally: Tally) -> float:
    """The sample variance of the covariate."""
    return max(tally.pre_squares - tally.pre_total * tally.pre_total / tally.n, 0.0) / (tally.n - 1)


def covariance(tally: Tally) -> float:
    """How metric and covariate move together."""
    return (tally.cross - tally.total * tally.pre_total / tally.n) / (tally.n - 1)
