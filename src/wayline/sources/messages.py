"""Rows to messages: read each cell as what its column holds, pass rows over, bring together those that belong together.

A message of several rows is whole or is not told: where one of its rows is refused, the others are refused with it, so
that an order never arrives with a line missing. Put right, they can be imported again from the file of refused rows.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeAlias, assert_never
from zoneinfo import ZoneInfo

from msgspec import Struct

from wayline.observation.vocabulary import LIMITS
from wayline.sources import RefusedRow, Row, Told
from wayline.sources.mapping import Cell, Column, Constant, Each, MessageRule, Sum, TableMapping, Value
from wayline.sources.tables import header_of, read_rows

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
    readers = tuple(
        (column.name, header.index(column.header), _reader(column, mapping)) for column in mapping.columns.values()
    )
    translation = _Translation(mapping, readers, _last_places(path, mapping, header), counts)
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
        counts: Counter[str],
    ) -> None:
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
        values: _Values = {}
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
        for number, rule, positions in self._rules:
            if rule.when is not None and not rule.when.evaluate(values.__getitem__, _EPOCH):
                continue
            if not positions:
                yield self._told(rule, [row], [values])
                return
            group = self._open.setdefault((number, _key(row, positions)), _Group(rule, [], []))
            group.rows.append(row)
            group.values.append(values)
            if len(group.rows) > GROUP_ROWS_MAX:
                group.broken = f"more than {GROUP_ROWS_MAX} rows agree in {', '.join(rule.group_by)}"
            return
        expected = "no message's `when` holds for this row; add a message, or skip such rows with a reason"
        yield RefusedRow(row.place, "no_message", expected, row.cells)

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

    def _told(self, rule: MessageRule, rows: list[Row], values: list[_Values]) -> Told:
        first = values[0]
        message: dict[str, Any] = {"type": rule.type, "timestamp": first[rule.time]}
        if rule.event:
            message["event"] = rule.event
        for field, column in (("userId", rule.user_id), ("anonymousId", rule.anonymous_id)):
            if column and first[column] is not None:
                message[field] = str(first[column])
        said = {name: self._value(value, values) for name, value in rule.properties.items()}
        traits = {name: self._value(value, values) for name, value in rule.traits.items()}
        message["traits" if rule.type == "identify" else "properties"] = (
            {**said, **traits} if rule.type == "identify" else said
        )
        if traits and rule.type != "identify":
            message["context"] = {"traits": traits}
        message["messageId"] = _event_id(rule, first, message)
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
                count_max = LIMITS["products_max"]
                if len(rows) > count_max:
                    self._counts[f"left out: rows beyond {count_max} of one message, still in its sums"] += (
                        len(rows) - count_max
                    )
                return [
                    {
                        name: inner.value if isinstance(inner, Constant) else _cell(inner, row)
                        for name, inner in value.fields.items()
                    }
                    for row in rows[:count_max]
                ]
            case _:
                assert_never(value)


def _key(row: Row, positions: tuple[int, ...]) -> _Key:
    """What rows of one message agree in, as it stands in the file."""
    return tuple([row.cells[position] for position in positions])


def _last_places(path: Path, mapping: TableMapping, header: tuple[str, ...]) -> dict[tuple[int, ...], dict[_Key, int]]:
    """For each way of grouping, each key to the last row that has it: read ahead, so that no group waits longer."""
    lasts: dict[tuple[int, ...], dict[_Key, int]] = {}
    for names in sorted({rule.group_by for rule in mapping.messages if rule.group_by}):
        headers = [mapping.columns[name].header for name in names]
        rows = (row for row in read_rows(path, mapping, headers) if isinstance(row, Row))
        lasts[tuple(map(header.index, headers))] = {row.cells: row.place for row in rows}
    return lasts


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


def _reader(column: Column, mapping: TableMapping) -> Callable[[Any], Any]:
    """What reads the cells of a column: the value, None where nothing stands, ValueError with the way out."""
    read: Callable[[Any], Any]
    if column.kind == "time":
        read = _times(mapping)
    elif column.kind in ("number", "money"):
        read = _numbers(mapping.decimal)
    else:
        readers: dict[str, Callable[[Any], Any]] = {"text": str, "id": _id, "whole": _whole, "yes_no": _yes_no}
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


def _instant(raw: Any, written: str, zone: ZoneInfo) -> datetime:
    try:
        if isinstance(raw, datetime):
            read = raw
        else:
            # The zone is the mapping's where the text has none.
            read = datetime.strptime(raw, written) if written else datetime.fromisoformat(raw)  # noqa: DTZ007 - see above
        return (read if read.tzinfo else read.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError) as wrong:
        expected = f"a time written {written!r}" if written else "a time such as 2011-11-17 08:20:00"
        raise ValueError(f"expected {expected}, got {raw!r:.40}; file.time_format says how it is written") from wrong
