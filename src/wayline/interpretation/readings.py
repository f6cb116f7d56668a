"""Readings: what a facet's state says now.

A state holds what was kept; a reading says what it comes to at an instant. Windows are applied here as well as in the
fold, since time passes without events. Unknown is None: no reading invents a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any, TypeAlias

from wayline.domain import Facet
from wayline.errors import Broken
from wayline.interpretation.paths import column

__all__ = [
    "EPOCH",
    "READINGS",
    "ROW_KINDS",
    "SIZE_DEFAULT",
    "VISIT_GAP",
    "rank_of",
    "ranks_of",
    "read",
    "size_of",
    "state_key",
    "tiles_of",
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VISIT_GAP = timedelta(minutes=30)  # a longer silence begins another visit
SIZE_DEFAULT = 50  # rows kept where a declaration does not say
ROW_KINDS = ("recent", "latest_per_key", "ledger")

_Row: TypeAlias = dict[str, Any]
_States: TypeAlias = Mapping[str, Any]


@lru_cache(maxsize=4096)
def state_key(facet: Facet) -> str:
    """Under which name a facet's state is kept: its own, and what gives the state its shape.

    So a declaration that changes shape begins anew, and never reads what was written by another meaning of it.
    """
    shape = (facet.kind, facet.value, facet.key, facet.fields, facet.priority, facet.window and facet.tile)
    return f"{facet.name}:{blake2b(repr(shape).encode(), digest_size=3).hexdigest()}"


def rank_of(facet: Facet, name: str) -> int:
    """How much an event of this name counts, told by a source nobody trusts more than another; 0 counts most."""
    place = facet.priority.index(name) if name in facet.priority else len(facet.priority)
    return place * _ranks_per_name(facet) + len(dict(facet.trust).get(name, ()))


def ranks_of(facet: Facet, name: str) -> dict[str, int]:
    """How much it counts by each source that is trusted more than others."""
    sources = dict(facet.trust).get(name, ())
    first = rank_of(facet, name) - len(sources)
    return {source: first + place for place, source in enumerate(sources)}


def _ranks_per_name(facet: Facet) -> int:
    return 1 + max((len(sources) for _, sources in facet.trust), default=0)


def size_of(facet: Facet) -> int:
    """How many rows or registers the facet keeps."""
    return facet.size_max or SIZE_DEFAULT


def tiles_of(facet: Facet) -> tuple[timedelta, int]:
    """The width of a windowed facet's tiles, and how many of them its window holds."""
    if facet.window is None:
        raise Broken(f"facet {facet.name!r} has no window, so no tiles")
    tile = facet.tile or _default_tile(facet.window)
    return tile, facet.window // tile


def _default_tile(window: timedelta) -> timedelta:
    """The tile of a window that does not say: a day, an hour or a minute, the widest that fits at least 24 times."""
    for tile in (timedelta(days=1), timedelta(hours=1)):
        if window % tile == timedelta() and window // tile >= 24:
            return tile
    return timedelta(hours=1) if window >= timedelta(days=1) else timedelta(minutes=1)


def read(states: _States, facet: Facet, facets: Mapping[str, Facet], now: datetime) -> Any:
    """What the facet says now; None if it says nothing."""
    if facet.kind != "derived":
        return _own(states.get(state_key(facet)), facet, now, facet.window)
    of = facets[facet.of]
    state = states.get(state_key(of))
    if of.kind in ROW_KINDS:
        if of.kind == "recent" and facet.read == "count" and facet.where is None:
            return _count_recent(state, _shorter(facet.window, of.window), now)
        rows = _narrowed(_rows(state, of, now, _shorter(facet.window, of.window)), facet, now)
        return READINGS[facet.read](rows, facet, now)
    return _of_plain(state, of, facet, now)


def _own(state: Any, facet: Facet, now: datetime, window: timedelta | None) -> Any:
    match facet.kind:
        case "last" | "first":
            return None if state is None else state[3] if facet.value else state[0]
        case "count" | "sum":
            return _total(state, facet, now, window)
        case _:
            return _rows(state, facet, now, window)


def _of_plain(state: Any, of: Facet, facet: Facet, now: datetime) -> Any:
    """Readings of registers and counts, which have no rows."""
    if facet.read in ("value", "count", "sum"):
        return _own(state, of, now, _shorter(facet.window, of.window))
    if facet.read == "visits":
        return _runs(state, of, now, _shorter(facet.window, of.window))
    if state is None:
        return None
    return state[0] if facet.read == "at" else now - state[0]


def _shorter(a: timedelta | None, b: timedelta | None) -> timedelta | None:
    if a is None or b is None:
        return b if a is None else a
    return min(a, b)


# ------------------------------------------------------------------ tiles


def _live_tiles(state: Any, facet: Facet, now: datetime, window: timedelta | None) -> dict[int, int]:
    tile, _ = tiles_of(facet)
    if state is None or window is None:
        return {}
    newest, tiles = state
    # The window ends with the newest event if that is later than now: what fell out of it may already be gone.
    floor = max((now - EPOCH) // tile, newest) - window // tile
    return {index: counted for index, counted in tiles.items() if index > floor}


def _total(state: Any, facet: Facet, now: datetime, window: timedelta | None) -> int:
    if facet.window is None:
        return int(state or 0)
    return sum(_live_tiles(state, facet, now, window).values())


def _runs(state: Any, facet: Facet, now: datetime, window: timedelta | None) -> int:
    live = _live_tiles(state, facet, now, window)
    return sum(index - 1 not in live for index in live)


# ------------------------------------------------------------------ rows


def _rows(state: Any, facet: Facet, now: datetime, window: timedelta | None) -> list[_Row]:
    """Newest first: by the newest event of a key, by the event that last put into a ledger."""
    if state is None:
        return []
    columns = [column(path) for path in facet.fields or ((facet.value,) if facet.value else ())]
    rows = _ROWS[facet.kind](state, columns)
    if window is None:
        return rows
    since = now - window
    return [row for row in rows if row["at"] > since]


def _recent_rows(state: Any, columns: Sequence[str]) -> list[_Row]:
    return [dict(zip(columns, row[4:], strict=True), at=row[0]) for row in reversed(state)]


def _count_recent(state: Any, window: timedelta | None, now: datetime) -> int:
    """How many rows, without making them: what most conditions about browsing ask."""
    if not state or window is None:
        return len(state or ())
    since = now - window
    return sum(row[0] > since for row in state)


def _register_rows(state: Any, columns: Sequence[str]) -> list[_Row]:
    # Of most facets every row was told by one event alone, and there are many rows: nothing need be brought together.
    alone = {name[name.index("|") + 1 :]: register for name, register in state.items()}
    if len(alone) == len(state):
        newest = sorted(alone.items(), key=_stamp_of, reverse=True)
        return [
            dict(zip(columns, register[4:], strict=True), key=key, at=register[0], updated_at=register[0])
            for key, register in newest
        ]
    by_key: dict[str, list[tuple[int, list[Any]]]] = {}
    for name, register in state.items():
        rank, key = name.split("|", 1)
        by_key.setdefault(key, []).append((int(rank), register))
    newest_first = sorted(by_key.items(), key=lambda entry: max(register[:4] for _, register in entry[1]), reverse=True)
    return [_resolved(key, sorted(registers, key=_rank), columns) for key, registers in newest_first]


def _rank(ranked: tuple[int, list[Any]]) -> int:
    return ranked[0]


def _stamp_of(entry: tuple[str, list[Any]]) -> list[Any]:
    return entry[1][:4]


def _resolved(key: str, registers: Sequence[tuple[int, list[Any]]], columns: Sequence[str]) -> _Row:
    """One row of a key: each field from the most trusted event that has it."""
    row: _Row = {}
    for place, name in enumerate(columns, start=4):
        row[name] = next((register[place] for _, register in registers if register[place] is not None), None)
    row["key"] = key
    row["at"] = min(register[0] for _, register in registers)
    row["updated_at"] = max(register[0] for _, register in registers)
    return row


def _ledger_rows(state: Any, columns: Sequence[str]) -> list[_Row]:
    """The rows replayed. What was taken out keeps its place and fields, should the same be put in again."""
    held: dict[str, _Row] = {}
    counted = columns.index("quantity") + 6 if "quantity" in columns else None
    for entry in state[1]:
        key, quantity = entry[5], None if counted is None else entry[counted]
        whole = quantity if type(quantity) is int and quantity > 0 else None
        row = held.get(key)
        if entry[4]:
            before = held.pop(key, {}) or {**dict.fromkeys(columns), "quantity": 0}
            said = {name: value for name, value in zip(columns, entry[6:], strict=True) if value is not None}
            held[key] = {**before, **said, "key": key, "at": entry[0], "quantity": before["quantity"] + (whole or 1)}
        elif row is not None:
            row["quantity"] = 0 if whole is None else max(0, row["quantity"] - whole)
    return [row for row in reversed(held.values()) if row["quantity"]]


_ROWS: Mapping[str, Callable[[Any, Sequence[str]], list[_Row]]] = {
    "recent": _recent_rows,
    "latest_per_key": _register_rows,
    "ledger": _ledger_rows,
}


def _narrowed(rows: list[_Row], facet: Facet, now: datetime) -> list[_Row]:
    where = facet.where
    if where is None:
        return rows
    return [row for row in rows if where.evaluate(row.get, now) is True]


# ------------------------------------------------------------------ readings of rows


def _values(rows: Sequence[_Row], facet: Facet) -> list[Any]:
    name = facet.value or "key"
    return [row[name] for row in rows if row.get(name) is not None]


def _numbers(rows: Sequence[_Row], facet: Facet) -> list[Any]:
    return [value for value in _values(rows, facet) if type(value) in (int, float)]


def _at(rows: Sequence[_Row], facet: Facet, now: datetime) -> datetime | None:
    return max((row["at"] for row in rows), default=None)


def _first_at(rows: Sequence[_Row], facet: Facet, now: datetime) -> datetime | None:
    return min((row["at"] for row in rows), default=None)


def _age(rows: Sequence[_Row], facet: Facet, now: datetime) -> timedelta | None:
    return now - max(row["at"] for row in rows) if rows else None


def _sum(rows: Sequence[_Row], facet: Facet, now: datetime) -> int:
    return sum(value for value in _values(rows, facet) if type(value) is int)


def _amount(rows: Sequence[_Row], facet: Facet, now: datetime) -> int | None:
    """Price times quantity. A price that is missing makes the whole unknown: half a cart's value is not its value."""
    total = 0
    for row in rows:
        price, quantity = row.get("price"), row.get("quantity")
        if type(price) is not int:
            return None
        total += price * (quantity if type(quantity) is int else 1)
    return total


def _spread(rows: Sequence[_Row], facet: Facet, now: datetime) -> float | None:
    numbers = _numbers(rows, facet)
    return max(numbers) - min(numbers) if numbers else None


def _mean(rows: Sequence[_Row], facet: Facet, now: datetime) -> float | None:
    numbers = _numbers(rows, facet)
    return sum(numbers) / len(numbers) if numbers else None


def _top(rows: Sequence[_Row], facet: Facet, now: datetime) -> Any:
    # Counter keeps the order of first sight among equals, and what comes first here is the newest.
    counted = Counter(map(_token, _values(rows, facet))).most_common(1)
    return counted[0][0][1] if counted else None


def _token(value: Any) -> tuple[bool, Any]:
    """The value apart from its like: True is not 1."""
    return (type(value) is bool, value)


def _newest(rows: Sequence[_Row], facet: Facet, now: datetime) -> Any:
    return next(iter(_values(rows, facet)), None)


def _visits(rows: Sequence[_Row], facet: Facet, now: datetime) -> int:
    instants = sorted(row["at"] for row in rows)
    later = sum(b - a > VISIT_GAP for a, b in pairwise(instants))
    return later + 1 if instants else 0


def _gap(rows: Sequence[_Row], facet: Facet, now: datetime) -> timedelta | None:
    if len(rows) < 2:
        return None
    instants: list[datetime] = [row["at"] for row in rows]
    return (max(instants) - min(instants)) // (len(rows) - 1)


_Reading: TypeAlias = Callable[[list[_Row], Facet, datetime], Any]

READINGS: Mapping[str, _Reading] = {
    "value": lambda rows, facet, now: rows,
    "at": _at,
    "first_at": _first_at,
    "age": _age,
    "count": lambda rows, facet, now: len(rows),
    "sum": _sum,
    "amount": _amount,
    "min": lambda rows, facet, now: min(_numbers(rows, facet), default=None),
    "max": lambda rows, facet, now: max(_numbers(rows, facet), default=None),
    "spread": _spread,
    "mean": _mean,
    "distinct": lambda rows, facet, now: len(set(map(_token, _values(rows, facet)))),
    "top": _top,
    "keys": lambda rows, facet, now: [value for _, value in dict.fromkeys(map(_token, _values(rows, facet)))],
    "newest": _newest,
    "visits": _visits,
    "gap": _gap,
}
