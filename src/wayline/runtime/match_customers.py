"""A shop's customers matched with each other: whom to merge, whom to ask a person about, and why.

What is compared comes out of the vault and the traits and stays in memory. What goes out is customer ids, how sure it
is, and in which fields two agree, never the values. Two known people are never merged here, however alike: that is a
question for a person, and what a person has judged stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Struct

from wayline.domain import Customer, Event
from wayline.observation import matching as reading
from wayline.observation import weights
from wayline.observation.claims import CLAIMS, SHARED
from wayline.observation.hands import MERGED, judgement
from wayline.observation.identity import is_known, review_of, weakest_first
from wayline.runtime import match_index, matching
from wayline.runtime.reviewing import propose_review
from wayline.store import Batch, State, Vault

__all__ = ["COLUMNS", "Plan", "Wish", "customers_index", "events_of", "in_words", "kept_model", "plan", "put_questions"]

COLUMNS: Final[Mapping[str, str]] = {
    "first_name": "given_name", "last_name": "surname", "birthday": "birth", "email": "email", "phone": "phone",
    "street": "street", "postal_code": "postcode", "city": "city", "state": "region",
}  # fmt: skip
"""What is compared of customers, and the role it has."""

_PLACES: Final = ("address.", "billing_address.")  # a parcel may go to somebody else
_FILLED_MIN: Final = 2  # fields that must be known of somebody to be compared at all
_SURE: Final = 0.95
"""How sure a merge must be that nobody looks at."""
_CONTRADICTIONS: Final = ("first_name: different", "birthday: different")
_ASKED_MIN: Final = 0.2
"""How likely two must be one for a person to be asked."""
_QUESTIONS_MAX: Final = 1_000  # put to people at a time, the likeliest first
_PAGE: Final = 1_000
_MODEL: Final = "matching model"
_ORDER: Final = ("k-", "e-", "p-", "a-", "s-")


class Wish(Struct, frozen=True, kw_only=True):
    """Two customers who are, or may be, one."""

    kind: Literal["merge", "review"]
    survivor: str
    loser: str
    confidence: float
    weight: float
    evidence: tuple[str, ...]


class Plan(Struct, frozen=True, kw_only=True):
    """What matching would do."""

    customers: int
    compared_pairs: int
    threshold_bits: float
    expected_pairs: float
    is_trained: bool
    merges: tuple[Wish, ...]
    reviews: tuple[Wish, ...]
    model: weights.Model | None = None


# ------------------------------------------------------------------ what is compared


def _told_of(state: State, vault: Vault) -> Iterator[tuple[str, dict[str, str]]]:
    """Each customer of whom enough is known, with their values by column."""
    ids = iter(state.customer_ids())
    while page := list(islice(ids, _PAGE)):
        customers = state.load(page)
        subjects = {one: _subjects(state, one) for one in page}
        kept = vault.get(sorted({subject for each in subjects.values() for subject in each}))
        for one in page:
            values = _values([kept.get(subject, {}) for subject in subjects[one]], customers.get(one))
            if len(values) >= _FILLED_MIN:
                yield one, values


def _subjects(state: State, customer_id: str) -> list[str]:
    """Where the vault keeps what is known of a customer, the weakest first; what was only claimed is nobody's."""
    held = {link.identifier for link in state.links(customer_id)}
    own = [one for one in held if one.kind not in CLAIMS and one.kind not in SHARED.values()]
    return [f"{one.kind}:{one.value}" for one in weakest_first(own)]


def _values(kept: Iterable[Mapping[str, Any]], customer: Customer | None) -> dict[str, str]:
    told: dict[str, Any] = {}
    if customer is not None:
        told |= {name: register.value for name, register in customer.memory.traits.items()}
    for personal in kept:
        told |= personal
    for place in reversed(_PLACES):
        told |= {name.removeprefix(place): value for name, value in told.items() if name.startswith(place)}
    whole = str(told.get("name") or "").split()
    if len(whole) > 1:
        told = {"first_name": " ".join(whole[:-1]), "last_name": whole[-1]} | told
    return {name: str(told[name]) for name in COLUMNS if told.get(name) not in (None, "")}


def _opened(state: State, vault: Vault) -> tuple[matching.Records | None, list[str]]:
    import pyarrow as pa

    told = list(_told_of(state, vault))
    held = [name for name in COLUMNS if sum(name in values for _, values in told) > 1]
    if len(told) < 2 or not held:
        return None, [one for one, _ in told]
    table = pa.table({name: pa.array([values.get(name) for _, values in told], pa.string()) for name in held})
    records = matching.open_records(table, roles={name: COLUMNS[name] for name in held})
    return records, [one for one, _ in told]


# ------------------------------------------------------------------ the plan


def kept_model(state: State) -> weights.Model | None:
    """What was learnt before; None if nothing was."""
    note = state.note(_MODEL)
    return None if note is None else msgspec.json.decode(note, type=weights.Model)


def plan(state: State, vault: Vault, *, model: weights.Model | None = None) -> Plan:
    """Whom to merge and whom to ask about; learns the weights where `model` is none that fits."""
    records, ids = _opened(state, vault)
    if records is None:
        return Plan(
            customers=len(ids), compared_pairs=0, threshold_bits=0.0, expected_pairs=0.0, is_trained=False,
            merges=(), reviews=(),
        )  # fmt: skip
    pairs, keys = matching.find(records)
    found = matching.compare(records, pairs)
    fits = model is not None and model.comparisons == tuple(map(weights.shape_of, records.comparisons))
    used = model if model is not None and fits else matching.learn(records, found)
    resolved = matching.grouped(records, matching.score(records, found, used), used, keys, len(pairs))
    wishes = list(_wishes(records, resolved, ids, found, lambda one, other: _was_judged(state, one, other)))
    reviews = sorted((each for each in wishes if each.kind == "review"), key=lambda each: -each.weight)
    return Plan(
        customers=len(ids),
        compared_pairs=len(pairs),
        threshold_bits=resolved.threshold,
        expected_pairs=resolved.expected_pairs,
        is_trained=not fits,
        merges=tuple(each for each in wishes if each.kind == "merge"),
        reviews=tuple(reviews[:_QUESTIONS_MAX]),
        model=used,
    )


def _wishes(
    records: matching.Records, resolved: matching.Resolved, ids: Sequence[str], found: matching.Pairs,
    was_judged: Callable[[str, str], bool],
) -> Iterator[Wish]:  # fmt: skip
    """Merges within groups that hold at most one known person and are sure; a question wherever not."""
    scored, person = resolved.scored, resolved.person
    likely = scored.weight >= float(np.log2(_ASKED_MIN / (1 - _ASKED_MIN)))
    people: dict[int, set[str]] = {}
    for row, group in enumerate(person.tolist()):
        if is_known(ids[row]):
            people.setdefault(group, set()).add(ids[row])
    said = _agreements(
        records, found, {(int(a), int(b)) for a, b in zip(scored.left[likely], scored.right[likely], strict=True)}
    )
    survivor_of: dict[str, str] = {}
    order = np.argsort(-scored.weight[likely], kind="stable")
    for at in np.flatnonzero(likely)[order].tolist():
        left, right, weight = int(scored.left[at]), int(scored.right[at]), float(scored.weight[at])
        confidence = float(weights.posterior(np.array([weight]))[0])
        is_one = person[left] == person[right] and len(people.get(int(person[left]), ())) <= 1
        evidence = said[left, right]
        # Twins share all but a given name: what contradicts is looked at, however much agrees.
        contradicts = any(each in evidence for each in _CONTRADICTIONS)
        is_sure = is_one and not contradicts and confidence >= _SURE and weight >= resolved.threshold
        survivor, loser = sorted(
            (_followed(survivor_of, ids[left]), _followed(survivor_of, ids[right])),
            key=lambda each: (_ORDER.index(each[:2]), each),
        )
        if survivor == loser or was_judged(ids[left], ids[right]) or was_judged(survivor, loser):
            continue
        if is_sure:
            survivor_of[loser] = survivor
        yield Wish(
            kind="merge" if is_sure else "review", survivor=survivor, loser=loser, confidence=round(confidence, 4),
            weight=round(weight, 2), evidence=evidence,
        )  # fmt: skip


def _followed(survivor_of: Mapping[str, str], customer_id: str) -> str:
    while customer_id in survivor_of:
        customer_id = survivor_of[customer_id]
    return customer_id


def _agreements(
    records: matching.Records, found: matching.Pairs, wanted: set[tuple[int, int]]
) -> dict[tuple[int, int], tuple[str, ...]]:
    """In which fields each pair agrees, and how, in words without values."""
    names = {column.sql: column.name for column in records.columns}
    is_wanted = [
        at for at, pair in enumerate(zip(found.left.tolist(), found.right.tolist(), strict=True)) if pair in wanted
    ]
    outcomes = matching.unpacked(records.comparisons, found.packed[is_wanted])
    said: dict[tuple[int, int], tuple[str, ...]] = {}
    for at, row in zip(is_wanted, outcomes, strict=True):
        told = [
            f"{names[each.column]}: {_named(each, int(outcome))}"
            for each, outcome in zip(records.comparisons, row, strict=True)
            if outcome
        ]
        said[int(found.left[at]), int(found.right[at])] = tuple(told)
    return said


def _named(comparison: reading.Comparison, outcome: int) -> str:
    return comparison.levels[outcome - 1].name if outcome <= len(comparison.levels) else "different"


def _was_judged(state: State, one: str, other: str) -> bool:
    """Whether a person has judged these two before; then that stands."""
    review = state.review(review_of(one, other, 0.0, (), datetime.fromtimestamp(0, UTC)).review_id)
    return review is not None and review.state != "open"


# ------------------------------------------------------------------ doing it


def events_of(made: Plan, at: datetime) -> list[Event]:
    """The merges of a plan as events for the log."""
    return [
        judgement(
            MERGED, each.survivor, each.loser, by="matching", why="; ".join(each.evidence), at=at,
            confidence=each.confidence,
        )
        for each in made.merges
    ]  # fmt: skip


def put_questions(state: State, made: Plan, at: datetime) -> int:
    """Put the doubtful pairs of a plan to people, and keep what was learnt; how many questions stand."""
    if made.model is not None:
        state.commit(Batch(notes={_MODEL: msgspec.json.encode(made.model)}))
    asked = (
        propose_review(state, each.survivor, each.loser, confidence=each.confidence, evidence=each.evidence, at=at)
        for each in made.reviews
    )
    return sum(one is not None for one in asked)


def customers_index(state: State, vault: Vault, model: weights.Model) -> match_index.Index | None:
    """All customers ready to be asked whose a new record is; its fields are named as in COLUMNS."""
    records, ids = _opened(state, vault)
    if records is None or model.comparisons != tuple(map(weights.shape_of, records.comparisons)):
        return None
    return match_index.Index(records, model, ids)


def in_words(made: Plan, *, is_applied: bool) -> list[str]:
    """The plan as a person reads it."""
    learnt = "learnt from them" if made.is_trained else "as learnt before"
    lines = [
        f"{made.customers:,} customers of whom enough is known, {made.compared_pairs:,} pairs compared, weights "
        f"{learnt}; about {made.expected_pairs:,.0f} pairs are one person",
        f"{len(made.merges):,} {'merged' if is_applied else 'would be merged'}, "
        f"{len(made.reviews):,} {'put' if is_applied else 'would be put'} to a person",
    ]
    for each in (*made.merges, *made.reviews):
        said = "into" if each.kind == "merge" else "or"
        why = "; ".join(each.evidence)
        lines.append(f"  {each.kind}  {each.loser} {said} {each.survivor}  {each.confidence:.2f}  {why}")
    if not is_applied:
        lines.append("Nothing was changed. To do it: --apply")
    return lines
