"""Facets: what is remembered of a customer, as values that merge.

A state is a function of the *set* of events folded into it, never of their order. So `fold(A)` merged with `fold(B)` is
`fold(A and B)`, a late event changes exactly what it would have changed in time, and two people found to be one are
merged by value. Everything follows from three ways of keeping less than all:

* **Registers and newest rows.** Rows have a total order that belongs to the event alone: (occurred_at, source,
  event_id, index in its list). The newest N of a set do not depend on how the set was gathered.
* **Tiles.** A window is counted in tiles aligned to the epoch. Tiles fall out of it relative to the newest tile ever
  seen, which only moves forward, so a tile that is gone could never have come back.
* **The newest reset.** A ledger forgets rows older than it; it too only moves forward. What the rows come to is
  replayed when it is read.

`latest_per_key` keeps one register for each key *and rank of priority*, and the newest N registers. Keeping the newest
N *keys* would be wrong: a key that had fallen out and came back would have lost the registers it once had.

States are lists, dicts, text, numbers and instants: what MessagePack gives back equals what was written. They are
shared freely and so never changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeAlias

from wayline.domain import Event, Facet
from wayline.interpretation.paths import elements_of, facts_of, getter, parts_of
from wayline.interpretation.point_in_time import sql
from wayline.interpretation.readings import EPOCH, rank_of, ranks_of, read, size_of, state_key, tiles_of
from wayline.observation.feedback import is_automated

__all__ = ["fingerprint", "fold", "merge", "read", "sql", "touches"]

_State: TypeAlias = Any
_Step: TypeAlias = Callable[[_State, Event], _State]


def fold(states: Mapping[str, _State], event: Event, facets: tuple[Facet, ...]) -> Mapping[str, _State]:
    """The states after this event; the very same mapping if nothing changed. What it does not touch is passed over.

    So is what a machine made: no count, no last visit and no model learns of it.
    """
    if is_automated(event):
        return states
    changed: dict[str, _State] | None = None
    for name, step in _plan(facets, event.name):
        before = states.get(name)
        after = step(before, event)
        if after is not before:
            if changed is None:
                changed = dict(states)
            changed[name] = after
    return states if changed is None else changed


def merge(a: Mapping[str, _State], b: Mapping[str, _State], facets: Sequence[Facet]) -> Mapping[str, _State]:
    """What folding the events of both would have given. States of facets no longer declared are dropped."""
    merged: dict[str, _State] = {}
    for facet in facets:
        if facet.kind == "derived":
            continue
        key = state_key(facet)
        left, right = a.get(key), b.get(key)
        if left is not None and right is not None:
            merged[key] = _MERGES[facet.kind](left, right, facet)
        elif left is not None or right is not None:
            merged[key] = right if left is None else left
    return merged


def touches(facet: Facet, name: str) -> bool:
    """Whether an event of that name touches the facet at all."""
    return name in facet.events or name in facet.removes or name in facet.resets


def fingerprint(facets: Sequence[Facet]) -> str:
    """Changes when the log, folded anew, could give other states: memories of another fingerprint are due for it."""
    kept = sorted(_shape(facet) for facet in facets if facet.kind != "derived")
    return blake2b(repr(kept).encode(), digest_size=16).hexdigest()


def _shape(facet: Facet) -> tuple[Any, ...]:
    where = facet.where.text if facet.where is not None else ""
    lists = (
        facet.events,
        facet.removes,
        facet.resets,
        facet.priority,
        facet.fields,
        *((facet.trust,) if facet.trust else ()),
    )
    return (facet.name, facet.kind, where, facet.value, facet.key, facet.size_max, facet.window, facet.tile, lists)


# ------------------------------------------------------------------ the plan of one event name


@lru_cache(maxsize=4096)
def _plan(facets: tuple[Facet, ...], name: str) -> tuple[tuple[str, _Step], ...]:
    """The steps of one event name, compiled once: a facet remembers its own hash, so finding them again is cheap."""
    return tuple((state_key(facet), _step(facet, name)) for facet in facets if touches(facet, name))


def _step(facet: Facet, name: str) -> _Step:
    step = _STEPS[facet.kind](facet, name)
    where = facet.where
    if where is None:
        return step

    def guarded(state: _State, event: Event) -> _State:
        return step(state, event) if where.evaluate(facts_of(event), event.occurred_at) is True else state

    return guarded


def _value_of(facet: Facet) -> Callable[[Event], Any]:
    # A register without a value remembers that it happened: it reads as its instant.
    return getter(facet.value) if facet.value else lambda event: True


def _place(event: Event) -> list[Any]:
    return [event.occurred_at, event.source, event.event_id]


def _last(facet: Facet, name: str) -> _Step:
    value_of = _value_of(facet)

    def last(state: _State, event: Event) -> _State:
        at = event.occurred_at
        if state is not None and (
            at < state[0] or (at == state[0] and [at, event.source, event.event_id] <= state[:3])
        ):
            return state
        value = value_of(event)
        return state if value is None else [at, event.source, event.event_id, value]

    return last


def _first(facet: Facet, name: str) -> _Step:
    value_of = _value_of(facet)

    def first(state: _State, event: Event) -> _State:
        at = event.occurred_at
        if state is not None and (
            at > state[0] or (at == state[0] and [at, event.source, event.event_id] >= state[:3])
        ):
            return state
        value = value_of(event)
        return state if value is None else [at, event.source, event.event_id, value]

    return first


def _amount_of(facet: Facet) -> Callable[[Event], int | None]:
    """What one event adds to a count or sum; None if it has nothing to add."""
    if not facet.value:
        return lambda event: 1
    elements = elements_of((facet.value,))
    if facet.kind == "count":
        return lambda event: sum(value is not None for (value,) in elements(event)) or None

    def total(event: Event) -> int | None:
        whole = [value for (value,) in elements(event) if type(value) is int]
        return sum(whole) if whole else None

    return total


def _count(facet: Facet, name: str) -> _Step:
    amount_of = _amount_of(facet)
    if facet.window is None:

        def count(state: _State, event: Event) -> _State:
            amount = amount_of(event)
            return state if amount is None else (state or 0) + amount

        return count

    tile, kept_max = tiles_of(facet)

    def count_in_tiles(state: _State, event: Event) -> _State:
        amount = amount_of(event)
        if amount is None:
            return state
        return _add_tile(state, (event.occurred_at - EPOCH) // tile, amount, kept_max)

    return count_in_tiles


def _add_tile(state: _State, index: int, amount: int, kept_max: int) -> _State:
    if state is None:
        return [index, {index: amount}]
    newest, tiles = state
    if index > newest:
        floor = index - kept_max
        kept = {at: counted for at, counted in tiles.items() if at > floor}
        kept[index] = amount
        return [index, kept]
    if index <= newest - kept_max:
        return state
    kept = dict(tiles)
    kept[index] = kept.get(index, 0) + amount
    return [newest, kept]


def _recent(facet: Facet, name: str) -> _Step:
    elements = elements_of(facet.fields or ((facet.value,) if facet.value else ()))
    needed = bool(facet.value or facet.fields)
    size = size_of(facet)

    def recent(state: _State, event: Event) -> _State:
        rows = state
        for index, fields in enumerate(elements(event)):
            if needed and all(field is None for field in fields):
                continue
            rows = _add_row(rows, [event.occurred_at, event.source, event.event_id, index, *fields], size)
        return rows

    return recent


def _add_row(rows: list[Any] | None, row: list[Any], size: int) -> list[Any]:
    """The newest `size` rows of these and that one, oldest first; the same list if it is too old or already there."""
    if rows is None:
        return [row]
    place = len(rows)
    if row[0] <= rows[-1][0]:
        head = row[:4]
        while place and head <= rows[place - 1][:4]:
            place -= 1
            if head == rows[place][:4]:
                return rows
    full = len(rows) >= size
    if full and place == 0:
        return rows
    return [*rows[1 if full else 0 : place], row, *rows[place:]]


def _latest_per_key(facet: Facet, name: str) -> _Step:
    keys = len(parts_of(facet.key))
    elements = elements_of((*parts_of(facet.key), *facet.fields))
    rank, ranks = rank_of(facet, name), ranks_of(facet, name)
    size = size_of(facet)

    def latest_per_key(state: _State, event: Event) -> _State:
        registers = state
        prefix = f"{ranks.get(event.source, rank)}|"
        for index, values in enumerate(elements(event)):
            key = _key_of(values[:keys])
            if key is not None:
                row = [event.occurred_at, event.source, event.event_id, index, *values[keys:]]
                registers = _add_register(registers, prefix + key, row, size)
        return registers

    return latest_per_key


def _key_of(values: Sequence[Any]) -> str | None:
    """The key as text, so that order 1001 and order "1001" are one; None if a part is missing or names nothing."""
    if len(values) == 1 and type(values[0]) is str:
        return values[0] or None
    if any(type(value) not in (str, int) or value == "" for value in values):
        return None
    return "+".join(str(value) for value in values)


def _add_register(registers: dict[str, Any] | None, key: str, row: list[Any], size: int) -> dict[str, Any]:
    if registers is None:
        return {key: row}
    old = registers.get(key)
    if old is not None:
        return {**registers, key: row} if row[:4] > old[:4] else registers
    kept = {**registers, key: row}
    if len(kept) > size:
        oldest = min(kept, key=lambda name: kept[name][:4])
        if oldest == key:
            return registers
        del kept[oldest]
    return kept


def _ledger(facet: Facet, name: str) -> _Step:
    keys = len(parts_of(facet.key))
    elements = elements_of((*parts_of(facet.key), *facet.fields))
    resets, removes, size = name in facet.resets, name in facet.removes, size_of(facet)
    holds = removes or name in facet.events

    def ledger(state: _State, event: Event) -> _State:
        reset, rows = state if state is not None else (None, [])
        at = _place(event)
        if reset is not None and at < reset:
            return state
        if resets and reset != at:
            reset, rows = at, [row for row in rows if row[:3] >= at]
        if holds:
            for index, values in enumerate(elements(event)):
                key = _key_of(values[:keys])
                if key is not None:
                    rows = _add_row(rows or None, [*at, index, not removes, key, *values[keys:]], size)
        if state is not None and reset is state[0] and rows is state[1]:
            return state
        return [reset, rows] if reset is not None or rows else state

    return ledger


_STEPS: Mapping[str, Callable[[Facet, str], _Step]] = {
    "last": _last,
    "first": _first,
    "count": _count,
    "sum": _count,
    "recent": _recent,
    "latest_per_key": _latest_per_key,
    "ledger": _ledger,
}


# ------------------------------------------------------------------ merging two states of one facet


def _merge_last(a: _State, b: _State, facet: Facet) -> _State:
    return a if a[:3] >= b[:3] else b


def _merge_first(a: _State, b: _State, facet: Facet) -> _State:
    return a if a[:3] <= b[:3] else b


def _merge_count(a: _State, b: _State, facet: Facet) -> _State:
    if facet.window is None:
        return a + b
    newest = max(a[0], b[0])
    floor = newest - tiles_of(facet)[1]
    tiles = {at: counted for at, counted in a[1].items() if at > floor}
    for at, counted in b[1].items():
        if at > floor:
            tiles[at] = tiles.get(at, 0) + counted
    return [newest, tiles]


def _merge_rows(a: list[Any], b: list[Any], size: int) -> list[Any]:
    by_place = {tuple(row[:4]): row for row in (*a, *b)}
    return [by_place[place] for place in sorted(by_place)[-size:]]


def _merge_recent(a: _State, b: _State, facet: Facet) -> _State:
    return _merge_rows(a, b, size_of(facet))


def _merge_registers(a: _State, b: _State, facet: Facet) -> _State:
    merged = dict(a)
    for key, row in b.items():
        old = merged.get(key)
        if old is None or row[:4] > old[:4]:
            merged[key] = row
    newest = sorted(merged, key=lambda key: merged[key][:4])[-size_of(facet) :]
    return {key: merged[key] for key in newest}


def _merge_ledger(a: _State, b: _State, facet: Facet) -> _State:
    resets = [reset for reset in (a[0], b[0]) if reset is not None]
    reset = max(resets, default=None)
    rows = [row for row in (*a[1], *b[1]) if reset is None or row[:3] >= reset]
    return [reset, _merge_rows(rows, [], size_of(facet))]


_MERGES: Mapping[str, Callable[[_State, _State, Facet], _State]] = {
    "last": _merge_last,
    "first": _merge_first,
    "count": _merge_count,
    "sum": _merge_count,
    "recent": _merge_recent,
    "latest_per_key": _merge_registers,
    "ledger": _merge_ledger,
}
