"""Weighed pairs to people: who belongs together once all pairs have spoken, and how right that turned out to be.

A chain of good pairs can join strangers: A is like B, B is like C, and A and C have nothing in common. So connected
components are only where people are looked for. Inside each, groups join while *all* pairs between them, the doubtful
and the contradicting ones included, speak for one person on average; what a component of nothing but agreeing pairs
gives is that component itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from wayline.observation.weights import Floats, posterior

__all__ = [
    "UNSEEN",
    "Curve", "Figures", "Rows",
    "components", "curve", "figures", "grouped", "one_to_one", "pairs_within", "rivals_considered", "threshold_of",
]  # fmt: skip

Rows = NDArray[np.int64]

UNSEEN: Final = -10.0
"""Bits for a pair that no key brought together, and the most that one pair may speak against (or for) a group."""
_ROUNDS: Final = 15
_PARTNERED_MAX: Final = 0.99  # the most we believe of how many records of a table have a partner in the other
_TOGETHER_MAX: Final = 400  # records looked at at once; a larger component is cut at a higher threshold first


class Figures(Struct, frozen=True, kw_only=True):
    """How right a grouping is, counted in pairs."""

    true_pairs: int
    told_pairs: int
    right_pairs: int

    @property
    def precision(self) -> float | None:
        """The share of the pairs told that are true; None where none was told."""
        return self.right_pairs / self.told_pairs if self.told_pairs else None

    @property
    def recall(self) -> float | None:
        """The share of the true pairs that was told; None where there is none."""
        return self.right_pairs / self.true_pairs if self.true_pairs else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of the two."""
        return (
            2 * self.right_pairs / (self.true_pairs + self.told_pairs) if self.true_pairs or self.told_pairs else None
        )


class Curve(Struct, frozen=True):
    """Precision and recall of the pairs at or above each weight, falling."""

    weight: Floats
    precision: Floats
    recall: Floats

    def best(self) -> tuple[float, float]:
        """The highest F1 any one threshold reaches, and that threshold."""
        if not len(self.weight):
            return 0.0, 0.0
        f1 = 2 * self.precision * self.recall / np.maximum(self.precision + self.recall, 1e-12)
        at = int(f1.argmax())
        return float(f1[at]), float(self.weight[at])


# ------------------------------------------------------------------ grouping


def threshold_of(weights: Floats, precision: float) -> float:
    """The lowest weight, from even odds up, at which the pairs above are expected to be right this often."""
    ordered = np.sort(weights[weights >= 0])[::-1]
    if not len(ordered):
        return 0.0
    expected = np.cumsum(posterior(ordered)) / np.arange(1, len(ordered) + 1)
    enough = np.flatnonzero(expected >= precision)
    if not len(enough):
        return float(ordered[0])
    return 0.0 if enough[-1] == len(ordered) - 1 else float(ordered[enough[-1]])


def components(left: Rows, right: Rows, count: int) -> Rows:
    """The number of the connected component of each of `count` records."""
    from scipy.sparse import coo_matrix  # type: ignore[import-untyped]  # scipy ships no types
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]  # scipy ships no types

    links = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


def grouped(left: Rows, right: Rows, weight: Floats, count: int, threshold: float) -> Rows:
    """The person of each record: components at the threshold, cut where their pairs do not speak for one person.

    `left`, `right` and `weight` are all pairs worth mentioning, those below the threshold too: they are the evidence
    against.
    """
    linked = weight >= threshold
    component = components(left[linked], right[linked], count)
    size = np.bincount(component, minlength=component.max(initial=-1) + 1)
    inside = component[left] == component[right]
    agreeing = np.bincount(component[left[inside & linked]], minlength=len(size))
    unsettled = (size > 2) & (agreeing < size * (size - 1) // 2)
    person = component.copy()
    following = len(size)
    for rows, a, b, bits in _parts(left, right, weight, component, unsettled):
        for group in _cut(len(rows), a, b, bits, threshold):
            person[rows[group]] = following
            following += 1
    return np.unique(person, return_inverse=True)[1].astype(np.int64)


def _parts(
    left: Rows, right: Rows, weight: Floats, component: Rows, wanted: NDArray[np.bool_]
) -> Iterator[tuple[Rows, Rows, Rows, Floats]]:
    """Each wanted component: its rows, and its pairs as positions among them."""
    rows = np.flatnonzero(wanted[component])
    rows = rows[np.argsort(component[rows], kind="stable")]
    place = np.full(len(component), -1, np.int64)
    pairs = np.flatnonzero((component[left] == component[right]) & wanted[component[left]])
    pairs = pairs[np.argsort(component[left[pairs]], kind="stable")]
    row_ends = np.flatnonzero(np.diff(component[rows], append=-1)) + 1
    pair_of = component[left[pairs]]
    row_start = pair_start = 0
    for row_end in row_ends:
        mine = rows[row_start:row_end]
        pair_end = int(np.searchsorted(pair_of, component[mine[0]], side="right")) if len(pairs) else 0
        which = pairs[pair_start:pair_end]
        place[mine] = np.arange(len(mine))
        yield mine, place[left[which]], place[right[which]], weight[which]
        row_start, pair_start = int(row_end), pair_end


def _cut(count: int, left: Rows, right: Rows, weight: Floats, threshold: float) -> list[Rows]:
    """Groups of one component's records."""
    if count <= _TOGETHER_MAX:
        return _joined(count, left, right, weight)
    # Too large to look at whole, and surely not one person: look where stronger links hold it together.
    stronger = weight >= threshold + 1
    part = components(left[stronger], right[stronger], count)
    if len(np.unique(part)) == 1 and threshold > 40:
        return [np.array([row]) for row in range(count)]  # a thousand records that all agree: a default, nobody
    found: list[Rows] = []
    every = np.ones(int(part.max()) + 1, bool)
    for rows, a, b, bits in _parts(left, right, weight, part, every):
        found += [rows[group] for group in _cut(len(rows), a, b, bits, threshold + 1)]
    return found


def _joined(count: int, left: Rows, right: Rows, weight: Floats) -> list[Rows]:
    """Join the two groups whose pairs speak most for one person, on average, as long as they do."""
    evidence = np.full((count, count), UNSEEN)
    evidence[left, right] = evidence[right, left] = np.clip(weight, UNSEEN, -UNSEEN)
    np.fill_diagonal(evidence, -np.inf)
    size = np.ones(count)
    group = np.arange(count)
    while True:
        mean = evidence / np.outer(size, size)
        i, j = divmod(int(mean.argmax()), count)
        if not mean[i, j] >= 0:
            break
        evidence[i] += evidence[j]
        evidence[:, i] = evidence[i]
        evidence[i, i] = -np.inf
        evidence[j] = evidence[:, j] = -np.inf
        size[i] += size[j]
        group[group == j] = i
    return [np.flatnonzero(group == number) for number in np.unique(group)]


def rivals_considered(left: Rows, right: Rows, weight: Floats, firsts: int, seconds: int) -> Floats:
    """Weights where each record has at most one partner: a close rival takes from a pair, many partners found gives.

    Of a record whose table nearly always has a partner in the other, the best candidate is believed on less.
    """
    fewer = max(min(firsts, seconds), 1)
    odds = np.exp2(np.clip(weight, -60, 60))
    adjusted = weight
    for _ in range(_ROUNDS):
        # How many have a partner follows from how sure the pairs are, and how sure they are from how many have one.
        partnered = min(float(posterior(adjusted).sum()) / fewer, _PARTNERED_MAX)
        raised = odds / (1 - partnered)
        rivals = 1.0 + np.maximum(np.bincount(left, weights=raised)[left] - raised, 0)
        rivals += np.maximum(np.bincount(right, weights=raised)[right] - raised, 0)
        adjusted = np.log2(raised) - np.log2(rivals)
    return np.asarray(adjusted)


def one_to_one(left: Rows, right: Rows, weight: Floats) -> NDArray[np.bool_]:
    """Which pairs stand when each record has at most one partner: best first, each time both want nobody else more."""
    order = np.argsort(-weight, kind="stable")
    kept = np.zeros(len(weight), bool)
    while len(order):
        first_of_left = np.zeros(len(order), bool)
        first_of_left[np.unique(left[order], return_index=True)[1]] = True
        first_of_right = np.zeros(len(order), bool)
        first_of_right[np.unique(right[order], return_index=True)[1]] = True
        mutual = order[first_of_left & first_of_right]
        kept[mutual] = True
        free = ~np.isin(left[order], left[mutual]) & ~np.isin(right[order], right[mutual])
        order = order[free]
    return kept


# ------------------------------------------------------------------ how right it is


def pairs_within(group: Rows, first_count: int) -> int:
    """Pairs of records of the same group; across the two tables where there are two."""
    if first_count == len(group):
        size = np.unique(group, return_counts=True)[1].astype(np.int64)
        return int((size * (size - 1) // 2).sum())
    number = np.unique(group, return_inverse=True)[1]
    firsts = np.bincount(number[:first_count], minlength=int(number.max(initial=-1)) + 1).astype(np.int64)
    seconds = np.bincount(number[first_count:], minlength=len(firsts)).astype(np.int64)
    return int((firsts * seconds).sum())


def figures(person: Rows, truth: Rows, first_count: int) -> Figures:
    """The grouping against the truth; a truth below 0 is unknown and belongs to nobody else."""
    truth = np.where(truth < 0, -np.arange(1, len(truth) + 1), truth)
    truth = np.unique(truth, return_inverse=True)[1].astype(np.int64)
    both = person * (int(truth.max(initial=0)) + 1) + truth
    return Figures(
        true_pairs=pairs_within(truth, first_count),
        told_pairs=pairs_within(person, first_count),
        right_pairs=pairs_within(both, first_count),
    )


def curve(weight: Floats, is_right: NDArray[np.bool_], true_pairs: int) -> Curve:
    """Precision and recall at every weight; a true pair that was never compared counts as missed."""
    order = np.argsort(-weight, kind="stable")
    right = np.cumsum(is_right[order])
    falls = np.flatnonzero(np.diff(weight[order], append=-np.inf) < 0)  # pairs of one weight come together
    return Curve(
        weight[order][falls],
        right[falls] / (falls + 1),
        right[falls] / max(true_pairs, 1),
    )
