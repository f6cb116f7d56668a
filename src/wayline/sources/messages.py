"""Rows to messages: read each cell as what its column holds, pass rows over, bring together those that belong together.

A message of several rows is whole or is not told: where one of its rows is refused, the others are refused with it, so
that an order never arrives with a line missing. Put right, they can be imported again from the file of refused rows.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeAlias, assert_never
from zoneinfo import ZoneInfo

from msgspec import Struct

from wayline.observation.vocabulary import LIMITS
from wayline.sources import RefusedRow, Row, Told
from wayline.sources.mapping import (
    Cell,
    Column,
    Constant,
    Each,
    First,
    MessageRule,
    Sum,
    TableMapping,
    Value,
    Words,
)
from wayline.sources.tables import header_of, places_of, read_rows

__all__ = ["GROUP_ROWS_MAX", "translate"]

GROUP_ROWS_MAX: Final = 10_000
"""Rows of one message: more of them agree in a value by mistake, such as an empty one."""

_Values: TypeAlias = dict[str, Any]
_Key: TypeAlias = tuple[Any, ...]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def translate(path: Path, mapping: TableMapping, counts: Counter[str]) -> Iterator[Told | RefusedRow]:
    """Every message and every refused row, each as soon as its last row is read.

    `counts` is filled on the way: `row`, `skipped: reason`, `refused: code`, `left out: reason`.
    """
    header = header_of(path, mapping)
    places = places_of(header, mapping)
    readers = tuple((name, place, _reader(mapping.columns[name], mapping)) for name, place in places.items())
    written_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    translation = _Translation(mapping, readers, _last_places(path, mapping, places), written_at, counts)
    for each in read_rows(path, mapping):
        counts["row"] += 1
        verdicts = (each,) if isinstance(each, RefusedRow) else translation.take(each)
        for verdict in verdicts:
            if isinstance(verdict, RefusedRow):
                counts[f"refused: {verdict.code}"] += 1
            yield verdict


class _Group(Struct):
    """Rows that will be one message, and why they will not be one, if so."""

    rule: MessageRule
    rows: list[Row]
    values: list[_Values]
    broken: str = ""


class _Translation:
    """What is known between two rows: the groups that are open."""

    def __init__(
        self,
        mapping: TableMapping,
        readers: tuple[tuple[str, int, Callable[[Any], Any]], ...],
        lasts: Mapping[tuple[int, ...], Mapping[_Key, int]],
        written_at: datetime,
        counts: Counter[str],
    ) -> None:
        self._written_at = written_at
        self._lacking: _Values = dict.fromkeys(mapping.columns.keys() - {name for name, _, _ in readers})
        self._mapping = mapping
        self._readers = readers
        self._lasts = lasts
        self._counts = counts
        self._open: dict[tuple[int, _Key], _Group] = {}
        self._skips = tuple((f"skipped: {reason}", condition) for reason, condition in mapping.skips.items())
        positions = {name: position for name, position, _ in readers}
        self._rules = tuple(
            (number, rule, tuple(positions[name] for name in rule.group_by))
            for number, rule in enumerate(mapping.messages)
        )

    def take(self, row: Row) -> Iterator[Told | RefusedRow]:
        """Add a row; what is complete with it."""
        values, wrong = self._read(row)
        if wrong is not None:
            yield wrong
            self._break(row, wrong)
        elif (reason := self._skipped(values)) is not None:
            self._counts[reason] += 1
        else:
            yield from self._place(row, values)
        yield from self._closed(row)

    def _read(self, row: Row) -> tuple[_Values, RefusedRow | None]:
        values: _Values = dict(self._lacking)
        cells = row.cells
        name = ""
        try:
            for name, position, read in self._readers:
                values[name] = read(cells[position])
        except ValueError as wrong:
            return values, RefusedRow(row.place, "bad_cell", f"column {name!r}: {wrong}", cells)
        return values, None

    def _skipped(self, values: _Values) -> str | None:
        for reason, condition in self._skips:
            if condition.evaluate(values.__getitem__, _EPOCH):
                return reason
        return None

    def _place(self, row: Row, values: _Values) -> Iterator[Told | RefusedRow]:
        is_taken = False
        for number, rule, positions in self._rules:
            if rule.when is not None and not rule.when.evaluate(values.__getitem__, _EPOCH):
                continue
            is_taken = True
            if positions:
                self._gather(number, rule, positions, row, values)
            else:
                yield self._told(rule, [row], [values])
            if not rule.goes_on:
                return
        if not is_taken:
            expected = "no message's `when` holds for this row; add a message, or skip such rows with a reason"
            yield RefusedRow(row.place, "no_message", expected, row.cells)

    def _gather(self, number: int, rule: MessageRule, positions: tuple[int, ...], row: Row, values: _Values) -> None:
        group = self._open.setdefault((number, _key(row, positions)), _Group(rule, [], []))
        group.rows.append(row)
        group.values.append(values)
        if len(group.rows) > GROUP_ROWS_MAX:
            group.broken = f"more than {GROUP_ROWS_MAX} rows agree in {', '.join(rule.group_by)}"

    def _break(self, row: Row, wrong: RefusedRow) -> None:
        for number, rule, positions in self._rules:
            if positions:
                group = self._open.setdefault((number, _key(row, positions)), _Group(rule, [], []))
                group.broken = group.broken or f"row {wrong.place} of the same message was refused"

    def _closed(self, row: Row) -> Iterator[Told | RefusedRow]:
        """The groups of which this row was the last that could belong to them."""
        for positions, lasts in self._lasts.items():
            key = _key(row, positions)
            if lasts[key] != row.place:
                continue
            for number, _, its in self._rules:
                group = self._open.pop((number, key), None) if its == positions else None
                if group is not None and group.broken:
                    reason = f"{group.broken}; put that right and import these rows together"
                    yield from (RefusedRow(each.place, "broken_message", reason, each.cells) for each in group.rows)
                elif group is not None:
                    yield self._told(group.rule, group.rows, group.values)

    def _told(self, rule: MessageRule, rows: list[Row], values: list[_Values]) -> Told | RefusedRow:
        first = values[0]
        told_at = _first_of(first, rule.time)
        if told_at is None and rule.event == "Consent Granted":
            # Counted as of now, it would revive a consent that was withdrawn since.
            reason = f"a consent needs the time it was given; none of {', '.join(rule.time)} says it"
            return RefusedRow(rows[0].place, "no_time", reason, rows[0].cells)
        message: dict[str, Any] = {"type": rule.type, "timestamp": told_at or self._written_at}
        if rule.event:
            message["event"] = rule.event
        for field, column in (("userId", rule.user_id), ("anonymousId", rule.anonymous_id)):
            if column and first[column] is not None:
                message[field] = str(first[column])
        said = {name: self._value(value, values) for name, value in rule.properties.items()}
        # An empty cell says nothing: a null would take the trait back.
        traits = {
            name: found for name, value in rule.traits.items() if (found := self._value(value, values)) is not None
        }
        message["traits" if rule.type == "identify" else "properties"] = (
            {**said, **traits} if rule.type == "identify" else said
        )
        if traits and rule.type != "identify":
            message["context"] = {"traits": traits}
        # When the file was written tells no two messages apart: copied, it is still the same file.
        message["messageId"] = _event_id(rule, first, message if told_at else {**message, "timestamp": None})
        return Told(message, tuple(rows))

    def _value(self, value: Value, rows: list[_Values]) -> Any:
        match value:
            case Constant():
                return value.value
            case Cell():
                return _cell(value, rows[0])
            case Sum():
                total = sum((_product(row, value.columns) for row in rows), Decimal(0))
                return str(abs(total) if value.absolute else total)
            case Each():
                return self._each(value, rows)
            case First():
                return _first_of(rows[0], value.columns)
            case Words():
                return _words(value, rows[0])
            case _:
                assert_never(value)

    def _each(self, value: Each, rows: list[_Values]) -> list[dict[str, Any]]:
        count_max = LIMITS["products_max"]
        if len(rows) > count_max:
            surplus = len(rows) - count_max
            self._counts[f"left out: rows beyond {count_max} of one message, still in its sums"] += surplus
        return [{name: self._value(inner, [row]) for name, inner in value.fields.items()} for row in rows[:count_max]]


def _key(row: Row, positions: tuple[int, ...]) -> _Key:
    """What rows of one message agree in, as it stands in the file."""
    return tuple([row.cells[position] for position in positions])


def _last_places(
    path: Path, mapping: TableMapping, places: Mapping[str, int]
) -> dict[tuple[int, ...], dict[_Key, int]]:
    """For each way of grouping, each key to the last row that has it: read ahead, so that no group waits longer."""
    lasts: dict[tuple[int, ...], dict[_Key, int]] = {}
    header = header_of(path, mapping)
    for names in sorted({rule.group_by for rule in mapping.messages if rule.group_by}):
        positions = tuple(places[name] for name in names)
        rows = (row for row in read_rows(path, mapping, [header[each] for each in positions]) if isinstance(row, Row))
        lasts[positions] = {row.cells: row.place for row in rows}
    return lasts


def _words(value: Words, row: _Values) -> str | None:
    found = {name: row[name] for name in value.columns}
    return None if None in found.values() else value.text.format_map(found)


def _first_of(row: _Values, columns: Sequence[str]) -> Any:
    return next((row[name] for name in columns if row[name] is not None), None)


def _cell(value: Cell, row: _Values) -> Any:
    found = row[value.column]
    return abs(found) if value.absolute and found is not None else found


def _product(row: _Values, columns: tuple[str, ...]) -> Decimal:
    product = Decimal(1)
    for column in columns:
        found = row[column]
        product *= Decimal(0) if found is None else Decimal(str(found))
    return product


def _event_id(rule: MessageRule, first: _Values, message: Mapping[str, Any]) -> str:
    """The same for ever for the same rows, so that an import that is run again stores nothing twice."""
    stem = (rule.event or rule.type).lower().replace(" ", "-")
    names = rule.event_id or rule.group_by
    told = [first[name] for name in names] if names else sorted(message.items())
    text = ":".join(map(_stable, told))
    if not names or len(stem) + len(text) > 90:
        text = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{stem}:{text}"


def _stable(value: Any) -> str:
    return value.strftime("%Y%m%dT%H%M%S.%f").removesuffix(".000000") if isinstance(value, datetime) else str(value)


# ------------------------------------------------------------------ cells

_WHOLE: Final = re.compile(r"[-+]?\d{1,18}(\.0+)?")
_NUMBER: Final = re.compile(r"[-+]?(\d{1,15}(\.\d{0,12})?|\.\d{1,12})([eE][-+]?\d{1,2})?")
_YES_NO: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MILLISECONDS_MIN: Final = 1e11  # a number of seconds as large lies beyond the year 5000: it counts milliseconds


def _reader(column: Column, mapping: TableMapping) -> Callable[[Any], Any]:
    """What reads the cells of a column: the value, None where nothing stands, ValueError with the way out."""
    read: Callable[[Any], Any]
    if column.kind == "time":
        read = _times(mapping)
    elif column.kind in ("number", "money"):
        read = _numbers(mapping.decimal)
    else:
        readers: dict[str, Callable[[Any], Any]] = {
            "text": str, "id": _id, "whole": _whole, "yes_no": _yes_no, "unix": _unix, "json": _json,
        }  # fmt: skip
        read = readers[column.kind]
    nothing = mapping.empty | {""}
    is_text = column.kind in ("text", "id")
    may_be_empty = column.may_be_empty

    def cell(raw: Any) -> Any:
        if type(raw) is str:
            raw = raw.strip()
            if raw not in nothing:
                return raw if is_text else read(raw)
        elif raw is not None:
            return read(raw)
        if may_be_empty:
            return None
        raise ValueError("is empty; fill it, or declare that it may be by a '?' behind what it holds")

    return cell


def _id(raw: Any) -> str:
    return str(int(raw) if type(raw) is float and raw.is_integer() else raw)


def _whole(raw: Any) -> int:
    if type(raw) is int:
        return raw
    if type(raw) is float and raw.is_integer():
        return int(raw)
    if type(raw) is str and _WHOLE.fullmatch(raw):
        return int(raw.partition(".")[0])
    raise ValueError(f"expected a whole number, got {raw!r:.40}")


def _numbers(decimal: str) -> Callable[[Any], float]:
    def number(raw: Any) -> float:
        kind = type(raw)
        if kind is float or kind is int or kind is Decimal:
            read = float(raw)
        else:
            text = raw.replace(",", ".") if decimal == "," and "." not in raw else raw
            if kind is not str or not _NUMBER.fullmatch(text):
                raise ValueError(f"expected a number such as 1234{decimal}5 without separators, got {raw!r:.40}")
            read = float(text)
        if not math.isfinite(read):
            raise ValueError(f"expected a finite number, got {raw!r:.40}")
        return read

    return number


def _yes_no(raw: Any) -> bool:
    read = raw if type(raw) is bool else _YES_NO.get(str(raw).lower())
    if read is None:
        raise ValueError(f"expected one of {', '.join(_YES_NO)}, got {raw!r:.40}")
    return read


def _unix(raw: Any) -> datetime:
    try:
        since = float(raw)
        return datetime.fromtimestamp(since / 1000 if since >= _MILLISECONDS_MIN else since, UTC)
    except (ValueError, TypeError, OverflowError, OSError) as wrong:
        raise ValueError(f"expected seconds since 1970, got {raw!r:.40}") from wrong


def _json(raw: Any) -> Any:
    """An object or a list; from a CSV, what its text says."""
    try:
        return json.loads(raw) if isinstance(raw, str) else raw
    except ValueError as wrong:
        raise ValueError(f"expected JSON, got {raw!r:.40}") from wrong


def _times(mapping: TableMapping) -> Callable[[Any], datetime]:
    """Instants in UTC. A local time that occurs twice is the first; one left out is read as before the gap."""
    zone = ZoneInfo(mapping.zone)
    known: dict[Any, datetime] = {}  # files repeat times: an invoice's lines, a day's dates

    def time(raw: Any) -> datetime:
        read = known.get(raw)
        if read is None:
            if len(known) > 100_000:
                known.clear()
            read = known[raw] = _instant(raw, mapping.time_format, zone)
        return read

    return time


def _written_instant(text: str, written: str) -> datetime:
    try:
        return datetime.strptime(text, written) if written else datetime.fromisoformat(text)  # noqa: DTZ007 - see below
    except ValueError:
        if written:
            raise
        # As some exports write it: "2026-05-24 15:23:00 UTC", "... -0400".
        bare, _, zone = text.rpartition(" ")
        return datetime.fromisoformat(bare + ("+00:00" if zone in ("UTC", "GMT", "Z") else zone))


def _instant(raw: Any, written: str, zone: ZoneInfo) -> datetime:
    try:
        # The zone is the mapping's where the text has none.
        read = raw if isinstance(raw, datetime) else _written_instant(raw, written)
        return (read if read.tzinfo else read.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError) as wrong:
        expected = f"a time written {written!r}" if written else "a time such as 2011-11-17 08:20:00"
        raise ValueError(f"expected {expected}, got {raw!r:.40}; file.time_format says how it is written") from wrong
