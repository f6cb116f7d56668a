"""How much each agreement is worth, learnt without labels: Fellegi and Sunter's model, with families in it.

For each outcome of each comparison, `m` is how often it comes among pairs of records of one person, and `u` among those
of strangers; log2(m/u) is its weight, and weights add up. That is right as long as fields agree by themselves. A few
things in life break it, and a model without them calls whole streets one person:

* people of one household share surname, address and telephone, and neighbours share a postcode *and* a town;
* a person who moves changes street, postcode and town at once;
* an e-mail address is made of a name, so those of namesakes are alike.

So a pair is one of five `KINDS`: one person (at the same address, or moved), strangers, a household, or neighbours.
What tells a person from their family is what a family does not share: given name, birthday, a national number. There
a household is as different as strangers are, by definition, and hence cannot be mistaken for what is learnt of persons.
What e-mail addresses of strangers look like is learnt apart for those of no, one and two equal names (the *context*).

Learning takes two tables of outcomes. *Random* pairs are nearly all strangers and teach `u`; *found* pairs share a key
and hold nearly all pairs of one person, so they teach the rest and how many there are. Both are reweighted by what is
believed of each pair so far (expectation, maximisation): a national number agrees in no random pair but the rare true
one, and without that its `u` would be taken a thousand times too large.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from wayline.observation.matching import Comparison

__all__ = [
    "KINDS",
    "Counted",
    "Floats",
    "Model",
    "Rarity",
    "Shape",
    "fit",
    "plain_model",
    "posterior",
    "shape_of",
    "weigh",
]

Floats = NDArray[np.float64]
_Outcomes = NDArray[np.uint8]
_Tables = tuple[tuple[float, ...], ...]

KINDS: Final = ("one person", "one person who moved", "strangers", "a household", "neighbours")
_PERSON: Final = 2  # the first so many kinds are one person
_PLACE: Final = frozenset({"street", "street_number", "postcode", "city", "region"})
# How many of a household's pairs agree in a field, at the outset; a field that is not named here is a person's own.
_HOUSEHOLD: Final = {
    "surname": 0.8, "street": 0.85, "street_number": 0.85, "postcode": 0.9, "city": 0.9, "region": 0.95,
    "phone": 0.4, "email": 0.05,
}  # fmt: skip
_NEIGHBOURS: Final = {"street": 0.05, "postcode": 0.9, "city": 0.9, "region": 0.95}
_KEPT_FOR_LIFE: Final = frozenset({"given_name", "birth", "national_id", "full_name"})
_DIFFERENT_MAX: Final = 0.35
"""The most of one person's pairs that may differ in what is kept for life: more, and it is no longer one person."""

_NAMES: Final = frozenset({"given_name", "surname", "full_name"})
_NAMED_AFTER: Final = frozenset({"email"})
_CONTEXTS: Final = 3

_ROUNDS_MAX: Final = 150  # rounds of learning; it settles long before
_SETTLED: Final = 1e-4
_IMAGINED: Final = 20.0
"""Pairs we imagine having seen at the outset, so that ten real ones do not make us certain."""
_RAREST: Final = 1e-7


class Counted(Struct, frozen=True):
    """Outcomes of comparisons, one column each, and how many pairs had just those."""

    outcomes: _Outcomes
    counts: Floats


class Shape(Struct, frozen=True):
    """What learning must know of a comparison."""

    role: str
    outcomes: int
    chain: tuple[bool, ...]
    """Which levels, different included, stand in order."""

    @property
    def sharing(self) -> str:
        """Who shares the field: nobody (own), a household, or a place."""
        return "place" if self.role in _PLACE else "household" if self.role in _HOUSEHOLD else "own"


class Rarity(Struct, frozen=True):
    """Bits that equal values add beyond the average, by who shares the field: one's own, a household, a place."""

    own: Floats
    household: Floats
    place: Floats


class Model(Struct, frozen=True, kw_only=True):
    """What was learnt; nothing in it is anybody's. Tables are by comparison, then by outcome from 1 on."""

    comparisons: tuple[Shape, ...]
    shares: tuple[float, ...]
    """How many of all pairs are of each of the KINDS."""
    m: _Tables
    u: _Tables
    household: _Tables
    neighbours: _Tables

    @property
    def prior(self) -> float:
        """The chance that two records taken at random are one person."""
        return sum(self.shares[:_PERSON])

    def weights(self) -> list[Floats]:
        """log2(m/u) by comparison and outcome, other names given; 0 for a missing value."""
        return [
            np.concatenate([[0.0], np.log2(np.asarray(m) / np.asarray(u[: len(m)]))])
            for m, u in zip(self.m, self.u, strict=True)
        ]

    def tables(self, kind: int) -> list[Sequence[float]]:
        """How often each outcome comes among pairs of a kind."""
        moved = [
            u if each.sharing == "place" else m for m, u, each in zip(self.m, self.u, self.comparisons, strict=True)
        ]
        return list((self.m, moved, self.u, self.household, self.neighbours)[kind])


def shape_of(comparison: Comparison) -> Shape:
    """What learning must know of a comparison."""
    chain = (*(not level.is_apart for level in comparison.levels), True)
    return Shape(comparison.role, comparison.size - 1, chain)


def posterior(weights: Floats) -> Floats:
    """Bits to the chance of being one person."""
    return np.asarray(1 / (1 + np.exp2(-np.clip(weights, -500, 500))))


def weigh(model: Model, outcomes: _Outcomes, rarity: Rarity | None = None) -> Floats:
    """The odds, in bits, that each row of outcomes is of one person rather than of strangers, family or neighbours."""
    logs = _likelihoods(model, outcomes)
    if rarity is not None:
        # Where a kind agrees by chance alone, agreeing on a rare value is a rarer chance.
        logs[:, 1] -= rarity.place
        logs[:, 2] -= rarity.own + rarity.household + rarity.place
        logs[:, 3] -= rarity.own
        logs[:, 4] -= rarity.own + rarity.household
    return np.asarray(_together(logs[:, :_PERSON]) - _together(logs[:, _PERSON:]))


def _likelihoods(model: Model, outcomes: _Outcomes) -> Floats:
    """log2 of how often a pair is of each kind and has these outcomes."""
    logs = np.empty((len(outcomes), len(KINDS)))
    context = _context(model.comparisons, outcomes)
    for kind, share in enumerate(model.shares):
        logs[:, kind] = np.log2(share) if share else -np.inf
        for each, table, outcome in zip(
            model.comparisons, model.tables(kind) if share else (), outcomes.T, strict=False
        ):
            by_context = np.log2(table).reshape(-1, each.outcomes)
            by_context = np.hstack([np.zeros((len(by_context), 1)), by_context])  # what is missing says nothing
            logs[:, kind] += by_context[context, outcome] if len(by_context) > 1 else by_context[0][outcome]
    return logs


def _context(shapes: Sequence[Shape], outcomes: _Outcomes) -> NDArray[np.intp]:
    """How many names agree, at least roughly, in each row of outcomes: none, one, or two."""
    agreeing = np.zeros(len(outcomes), np.intp)
    for number, each in enumerate(shapes):
        if each.role in _NAMES:
            agreeing += (outcomes[:, number] > 0) & (outcomes[:, number] < each.outcomes)
    return np.minimum(agreeing, _CONTEXTS - 1)


def _together(logs: Floats) -> Floats:
    return np.asarray(np.logaddexp2.reduce(logs, axis=1))


# ------------------------------------------------------------------ learning


def fit(comparisons: Sequence[Comparison], found: Counted, random: Counted, pairs: float) -> Model:
    """Learn from found and random pairs, of `pairs` there could be.

    Agreeing more never weighs less: where the figures say otherwise, neighbouring levels share a weight.
    """
    model = first = _at_the_outset(tuple(map(shape_of, comparisons)), random, pairs)
    for _ in range(_ROUNDS_MAX):
        learnt = _round(model, first, (found, random, pairs))
        moved = max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(learnt.m, model.m, strict=True))
        settled = moved < _SETTLED and abs(np.log(learnt.prior / model.prior)) < _SETTLED
        model = learnt
        if settled:
            break
    return model


def plain_model(comparisons: Sequence[Comparison], prior: float, m: _Tables, u: _Tables) -> Model:
    """The two-sided model of the textbook: one person, or strangers."""
    shapes = tuple(map(shape_of, comparisons))
    return Model(
        comparisons=shapes, shares=(prior, 0.0, 1 - prior, 0.0, 0.0), m=m, u=u, household=u, neighbours=u
    )  # fmt: skip


def _at_the_outset(shapes: tuple[Shape, ...], random: Counted, pairs: float) -> Model:
    """People mostly write the same thing twice; how mostly is what is to be learnt."""
    context = _context(shapes, random.outcomes)
    u = [_by_context(each, random.outcomes[:, i], random.counts, context) for i, each in enumerate(shapes)]
    m = [_written_twice(each.outcomes) for each in shapes]
    # As if one record in five had a partner: far from it or not, the rounds find the number.
    prior = float(np.clip(0.2 / np.sqrt(pairs), 1e-12, 0.2))
    roles = {each.role for each in shapes}
    # A family is told from a person by what is a person's own, and is a family by what it shares.
    told_apart = bool(roles & _KEPT_FOR_LIFE) and bool(roles & set(_HOUSEHOLD))
    family = prior / 2 if told_apart else 0.0
    moving = prior / 10 if roles & _PLACE and told_apart else 0.0
    household, neighbours = (
        [_mixed(agree.get(c.role, 0.0), a, b[: c.outcomes]) for c, a, b in zip(shapes, m, u, strict=True)]
        for agree in (_HOUSEHOLD, _NEIGHBOURS)
    )
    return Model(
        comparisons=shapes, shares=(prior - moving, moving, 1 - prior - 2 * family, family, family),
        m=_tuples(m), u=_tuples(u), household=_tuples(household), neighbours=_tuples(neighbours),
    )  # fmt: skip


def _round(model: Model, first: Model, seen: tuple[Counted, Counted, float]) -> Model:
    found, random, pairs = seen
    shapes = model.comparisons
    believed = _responsibilities(model, found)
    share = np.clip(believed.sum(axis=0) / pairs, 1e-13, 0.4) * (np.asarray(first.shares) > 0)
    share[2] = 1 - share[:2].sum() - share[3:].sum()
    believed[_is_somebody_else(shapes, found.outcomes), :_PERSON] = 0.0
    strangers = _responsibilities(model, random)[:, 2]
    outcomes = np.vstack([random.outcomes, found.outcomes])
    context = _context(shapes, outcomes)
    # Pairs of strangers with equal names are few among random ones; those found are looked at beside them.
    doubted = np.concatenate([strangers, believed[:, 2] * (context[len(strangers) :] > 0)])
    tables: list[tuple[Floats, Floats, Floats, Floats]] = []
    for i, each in enumerate(shapes):
        outcome = found.outcomes[:, i]
        person = believed[:, 0] if each.sharing == "place" else believed[:, 0] + believed[:, 1]
        m = _shares(outcome, person, each.outcomes, first.m[i])
        if each.role in _KEPT_FOR_LIFE and m[-1] > _DIFFERENT_MAX:
            m[:-1] *= (1 - _DIFFERENT_MAX) / m[:-1].sum()
            m[-1] = _DIFFERENT_MAX
        if each.role in _NAMED_AFTER:
            u = _by_context(each, outcomes[:, i], doubted, context)
        else:
            u = _shares(random.outcomes[:, i], strangers, each.outcomes)
        m, u[: each.outcomes] = _in_order(m, u[: each.outcomes], each.chain)
        household = (
            _shares(outcome, believed[:, 3], each.outcomes, first.household[i]) if each.role in _HOUSEHOLD else u
        )
        neighbours = (
            _shares(outcome, believed[:, 4], each.outcomes, first.neighbours[i]) if each.role in _NEIGHBOURS else u
        )
        tables.append((m, u, household, neighbours))
    m_, u_, household_, neighbours_ = (_tuples(column) for column in zip(*tables, strict=True))
    return Model(
        comparisons=shapes, shares=tuple(map(float, share)), m=m_, u=u_, household=household_, neighbours=neighbours_
    )  # fmt: skip


def _is_somebody_else(shapes: Sequence[Shape], outcomes: _Outcomes) -> NDArray[np.bool_]:
    """Whether two things that people keep for life differ, and none agrees: nothing to learn of a person from."""
    different, agreeing = np.zeros(len(outcomes), int), np.zeros(len(outcomes), int)
    for number, each in enumerate(shapes):
        if each.role in _KEPT_FOR_LIFE:
            different += outcomes[:, number] == each.outcomes
            agreeing += (outcomes[:, number] > 0) & (outcomes[:, number] <= 2)
    return np.asarray((different >= 2) & (agreeing == 0))


def _responsibilities(model: Model, seen: Counted) -> Floats:
    logs = _likelihoods(model, seen.outcomes)
    return np.asarray(np.exp2(logs - _together(logs)[:, None]) * seen.counts[:, None])


def _written_twice(size: int) -> Floats:
    shares = np.full(size, 0.1 / max(size - 2, 1))
    shares[0], shares[-1] = 0.85, 0.05
    return np.asarray(shares / shares.sum())


def _mixed(share: float, m: Floats, u: Floats) -> Floats:
    return np.asarray(share * m + (1 - share) * u)


def _tuples(tables: Iterable[Floats]) -> _Tables:
    return tuple(tuple(map(float, table)) for table in tables)


def _shares(outcome: _Outcomes, counts: Floats, size: int, imagined: Sequence[float] | Floats | None = None) -> Floats:
    seen = np.asarray(np.bincount(outcome, weights=counts, minlength=size + 1)[1 : size + 1], np.float64)
    seen += np.full(size, 0.5) if imagined is None else _IMAGINED * np.asarray(imagined)
    return np.asarray(np.maximum(seen / seen.sum(), _RAREST))


def _by_context(shape: Shape, outcome: _Outcomes, counts: Floats, context: NDArray[np.intp]) -> Floats:
    """Shares of outcomes for each context, one after the other, where the context matters; else once."""
    if shape.role not in _NAMED_AFTER:
        return _shares(outcome, counts, shape.outcomes)
    plain = _shares(outcome, counts * (context == 0), shape.outcomes)
    more = [_shares(outcome, counts * (context == n), shape.outcomes, plain) for n in range(1, _CONTEXTS)]
    return np.concatenate([plain, *more])


def _in_order(m: Floats, u: Floats, chain: Sequence[bool]) -> tuple[Floats, Floats]:
    """Pool neighbouring levels until m/u falls from equal to different; levels outside the chain stay as they are."""
    pools: list[list[int]] = []
    for number in (i for i, stands in enumerate(chain) if stands):
        pools.append([number])
        while len(pools) > 1 and _ratio(m, u, pools[-2]) < _ratio(m, u, pools[-1]):
            last = pools.pop()
            pools[-1] = pools[-1] + last
    m, u = m.copy(), u.copy()
    for pool in pools:
        ratio = _ratio(m, u, pool)
        both = m[pool] + u[pool]
        u[pool] = both / (1 + ratio)
        m[pool] = u[pool] * ratio
    return m, u


def _ratio(m: Floats, u: Floats, pool: Sequence[int]) -> float:
    return float(m[pool].sum() / u[pool].sum())
