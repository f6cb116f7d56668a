"""The Python reading: a tree becomes closures once, and the closures answer for one customer at a time.

A fact is brought to one of the five kinds when it is read (float, str, bool, an instant in UTC, a duration); anything
else becomes None, which is unknown. After that two values can be compared exactly when their types are the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any, TypeAlias, assert_never

from wayline.conditions.tree import (
    DURATION_MAX,
    And,
    Between,
    Compare,
    In,
    IsNull,
    Like,
    Literal,
    Name,
    Node,
    Not,
    Now,
    Or,
    Sum,
    Value,
)  # fmt: skip

__all__ = ["Answer", "Facts", "Moving", "Read", "answer", "crossings", "moving", "read_value"]

Facts: TypeAlias = Callable[[str], Any]
Answer: TypeAlias = Callable[[Facts, datetime], bool | None]
Read: TypeAlias = Callable[[Facts, datetime], Any]
Moving: TypeAlias = tuple[Read, Read, int]
"""Two values compared, and by how many seconds a second the left one gains on the right one."""

_MICROSECOND = timedelta(microseconds=1)


def answer(node: Node) -> Answer:
    """The closure that answers this node: True, False, or None for unknown."""
    match node:
        case And(parts=parts):
            return _all(tuple(map(answer, parts)))
        case Or(parts=parts):
            return _any(tuple(map(answer, parts)))
        case Not(part=part):
            return _not(answer(part))
        case _:
            return _leaf(node)


def _leaf(node: Compare | Between | In | Like | IsNull | Name | Literal) -> Answer:
    match node:
        case Compare(left=left, sign=sign, right=right):
            return _compare(left, _OPERATORS[sign], right)
        case Between(value=value, low=low, high=high):
            return _all((_compare(value, operator.ge, low), _compare(value, operator.le, high)))
        case In(value=value, options=options):
            return _in(read_value(value), options)
        case Like(value=value, pattern=pattern):
            return _like(read_value(value), pattern)
        case IsNull(name=name):
            return _is_null(name.name)
        case Name() | Literal():
            return _stands(read_value(node))
        case _:
            assert_never(node)


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _all(parts: tuple[Answer, ...]) -> Answer:
    def every(facts: Facts, now: datetime) -> bool | None:
        found: bool | None = True
        for part in parts:
            one = part(facts, now)
            if one is False:
                return False
            if one is None:
                found = None
        return found

    return every


def _any(parts: tuple[Answer, ...]) -> Answer:
    def some(facts: Facts, now: datetime) -> bool | None:
        found: bool | None = False
        for part in parts:
            one = part(facts, now)
            if one is True:
                return True
            if one is None:
                found = None
        return found

    return some


def _not(part: Answer) -> Answer:
    def opposite(facts: Facts, now: datetime) -> bool | None:
        one = part(facts, now)
        return None if one is None else not one

    return opposite


def _compare(left: Value, compare: Callable[[Any, Any], bool], right: Value) -> Answer:
    if isinstance(left, Name) and isinstance(right, Literal) and right.value is not None:
        return _compare_with_literal(left.name, compare, right.value)
    read_left, read_right = read_value(left), read_value(right)

    def compared(facts: Facts, now: datetime) -> bool | None:
        one, other = read_left(facts, now), read_right(facts, now)
        if one is None or type(one) is not type(other):
            return None
        return compare(one, other)

    return compared


def _compare_with_literal(name: str, compare: Callable[[Any, Any], bool], literal: Any) -> Answer:
    kind, kinds, other = type(literal), _KINDS, _other_kind

    def compared(facts: Facts, now: datetime) -> bool | None:
        found = facts(name)
        found = kinds.get(type(found), other)(found)
        return compare(found, literal) if type(found) is kind else None

    return compared


def _in(read: Read, options: tuple[Literal, ...]) -> Answer:
    values = frozenset(option.value for option in options if option.value is not None)
    kind = next((type(value) for value in values), None)
    absent = None if any(option.value is None for option in options) else False

    def among(facts: Facts, now: datetime) -> bool | None:
        found = read(facts, now)
        if found is None or type(found) is not kind:
            return None
        return True if found in values else absent

    return among


def _like(read: Read, pattern: str) -> Answer:
    pieces = tuple(pattern.split("%"))

    def fits(facts: Facts, now: datetime) -> bool | None:
        found = read(facts, now)
        return _fits(found, pieces) if type(found) is str else None

    return fits


def _fits(text: str, pieces: tuple[str, ...]) -> bool:
    """Whether the pieces between the % follow each other in the text; linear but for _, never a regular expression."""
    if len(pieces) == 1:
        return len(text) == len(pieces[0]) and _at(text, pieces[0], 0)
    first, *middle, last = pieces
    end = len(text) - len(last)
    if end < len(first) or not _at(text, first, 0) or not _at(text, last, end):
        return False
    start = len(first)
    for piece in middle:
        # The leftmost place is always as good as any later one, so there is nothing to go back to.
        start = _find(text, piece, start, end)
        if start < 0:
            return False
        start += len(piece)
    return True


def _at(text: str, piece: str, start: int) -> bool:
    if "_" not in piece:
        return text.startswith(piece, start)
    return all(sign in ("_", text[start + index]) for index, sign in enumerate(piece))


def _find(text: str, piece: str, start: int, end: int) -> int:
    if "_" not in piece:
        return text.find(piece, start, end)
    return next((at for at in range(start, end - len(piece) + 1) if _at(text, piece, at)), -1)


def _is_null(name: str) -> Answer:
    def absent(facts: Facts, now: datetime) -> bool | None:
        return facts(name) is None

    return absent


def _stands(read: Read) -> Answer:
    def stands(facts: Facts, now: datetime) -> bool | None:
        found = read(facts, now)
        return found if found is True or found is False else None

    return stands


# ------------------------------------------------------------------ values


def read_value(value: Value) -> Read:
    """The closure that reads this value, brought to its kind; None if it is unknown."""
    match value:
        case Name(name=name):
            return _read_name(name)
        case Now():
            return lambda facts, now: _instant(now)
        case Literal(value=found):
            return lambda facts, now: found
        case Sum(left=left, sign=sign, right=right):
            return _sum(read_value(left), sign, read_value(right))
        case _:
            assert_never(value)


def _read_name(name: str) -> Read:
    kinds, other = _KINDS, _other_kind

    def read(facts: Facts, now: datetime) -> Any:
        found = facts(name)
        return kinds.get(type(found), other)(found)

    return read


def _sum(read_left: Read, sign: str, read_right: Read) -> Read:
    add = operator.add if sign == "+" else operator.sub

    def added(facts: Facts, now: datetime) -> Any:
        one, other = read_left(facts, now), read_right(facts, now)
        if (type(one), sign, type(other)) not in _SUMS:
            return None
        try:
            found = add(one, other)
        except OverflowError:  # before year 1 or after year 9999 there is no instant, in SQL as here
            return None
        return _duration(found) if type(found) is timedelta else found

    return added


_SUMS = frozenset({
    (datetime, "+", timedelta), (timedelta, "+", datetime), (datetime, "-", timedelta), (datetime, "-", datetime),
    (timedelta, "+", timedelta), (timedelta, "-", timedelta),
})  # fmt: skip


def _itself(found: Any) -> Any:
    return found


def _number(found: Any) -> float | None:
    try:
        number = float(found)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def _instant(found: datetime) -> datetime | None:
    if found.tzinfo is UTC:
        return found
    try:
        # Two instants of one zone compare by its wall clock, which repeats an hour each autumn: only UTC is safe.
        return None if found.utcoffset() is None else found.astimezone(UTC)
    except OverflowError:
        return None


def _duration(found: timedelta) -> timedelta | None:
    return found if -DURATION_MAX <= found <= DURATION_MAX else None


_KINDS: Mapping[type, Callable[[Any], Any]] = {
    type(None): _itself,
    bool: _itself,
    str: _itself,
    float: _number,
    int: _number,
    Decimal: _number,
    datetime: _instant,
    timedelta: _duration,
}


def _other_kind(found: Any) -> Any:
    """What a subclass (numpy's float, a text enumeration) is at heart; None for all that is of no kind."""
    match found:
        case float() | int():
            return _number(found)
        case str():
            return str.__str__(found)
        case _:
            return None


# ------------------------------------------------------------------ time


def moving(node: Node) -> Iterator[Moving]:
    """The comparisons of the tree whose sides drift apart as time goes by."""
    match node:
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from moving(part)
        case Not(part=part):
            yield from moving(part)
        case Compare(left=left, right=right):
            yield from _drift(left, right)
        case Between(value=value, low=low, high=high):
            yield from _drift(value, low)
            yield from _drift(value, high)
        case In(value=value, options=options):
            for option in options:
                yield from _drift(value, option)
        case Like() | IsNull() | Name() | Literal():
            return
        case _:
            assert_never(node)


def _drift(left: Value, right: Value) -> Iterator[Moving]:
    gain = _pace(left) - _pace(right)
    if gain:
        yield read_value(left), read_value(right), gain


def _pace(value: Value) -> int:
    match value:
        case Now():
            return 1
        case Name() | Literal():
            return 0
        case Sum(left=left, sign=sign, right=right):
            return _pace(left) + (_pace(right) if sign == "+" else -_pace(right))
        case _:
            assert_never(value)


def crossings(pair: Moving, facts: Facts, now: datetime) -> Iterator[datetime]:
    """The instants later than now at which this comparison may change: where both sides meet, and just after."""
    read_left, read_right, gain = pair
    left, right = read_left(facts, now), read_right(facts, now)
    if left is None or type(left) is not type(right):
        return
    for later in (0, 1):
        try:
            at = now + (right - left) // gain + later * _MICROSECOND
        except OverflowError:  # they meet after the year 9999
            return
        if at > now:
            yield at
