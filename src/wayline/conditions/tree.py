"""The closed tree of a condition: twelve kinds of node, the kinds of value, and how a value reads in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal as OneOf
from typing import TypeAlias, assert_never

from msgspec import Struct

__all__ = [
    "DURATION_MAX", "KINDS", "SUMS", "And", "Between", "Compare", "In", "IsNull", "Kind", "Like", "Literal", "Name",
    "Node", "Not", "Now", "Or", "Plain", "Sum", "Value", "kind_of", "kinds_of", "names_in", "spoken", "words",
]  # fmt: skip

DURATION_MAX = timedelta(days=10_000_000)  # SQL counts microseconds in 64 bits; a longer duration is unknown everywhere

Kind: TypeAlias = OneOf["number", "text", "truth", "instant", "duration"]
Plain: TypeAlias = bool | float | str | timedelta | datetime | None


class Literal(Struct, frozen=True):
    """A value written out: number, text, truth, duration, instant, or NULL."""

    value: Plain
    digits: int = 0
    """Of an amount in minor units: how many of its digits stand behind the point."""


class Name(Struct, frozen=True):
    """A fact, by its dotted name."""

    name: str
    digits: int = 0
    """Of an amount: how many of its digits stand behind the point."""


class Now(Struct, frozen=True):
    """The instant at which the condition is asked."""


class Sum(Struct, frozen=True):
    """An instant moved by a duration, or the duration between two instants."""

    left: Value
    sign: str
    right: Value


class Compare(Struct, frozen=True):
    """Two values and one of = <> < <= > >=."""

    left: Value
    sign: str
    right: Value


class Between(Struct, frozen=True):
    """A value from low to high, both included."""

    value: Value
    low: Value
    high: Value


class In(Struct, frozen=True):
    """A value that equals one of a list of literals."""

    value: Value
    options: tuple[Literal, ...]


class Like(Struct, frozen=True):
    """A text that fits a pattern: % is any run of characters, _ is exactly one."""

    value: Value
    pattern: str


class IsNull(Struct, frozen=True):
    """Nothing is known of this fact."""

    name: Name


class Not(Struct, frozen=True):
    """The opposite; of unknown, unknown."""

    part: Node


class And(Struct, frozen=True):
    """All of its parts."""

    parts: tuple[Node, ...]


class Or(Struct, frozen=True):
    """At least one of its parts."""

    parts: tuple[Node, ...]


Value: TypeAlias = Literal | Name | Now | Sum
Node: TypeAlias = And | Or | Not | Compare | Between | In | Like | IsNull | Name | Literal


KINDS: tuple[Kind, ...] = ("number", "text", "truth", "instant", "duration")
SUMS: tuple[tuple[Kind, str, Kind, Kind], ...] = (
    ("instant", "+", "duration", "instant"),
    ("instant", "-", "duration", "instant"),
    ("duration", "+", "instant", "instant"),
    ("instant", "-", "instant", "duration"),
    ("duration", "+", "duration", "duration"),
    ("duration", "-", "duration", "duration"),
)
"""All the arithmetic there is: kind, sign, kind, and the kind it gives."""


def kinds_of(value: Value) -> frozenset[Kind]:
    """The kinds this value can have, whatever the facts are; none if it can never be known."""
    match value:
        case Now():
            return frozenset({"instant"})
        case Name():
            return frozenset(KINDS)
        case Literal(value=found):
            return frozenset(KINDS) if found is None else frozenset({_KIND_OF[type(found)]})
        case Sum(left=left, sign=sign, right=right):
            lefts, rights = kinds_of(left), kinds_of(right)
            return frozenset(gives for one, by, other, gives in SUMS if one in lefts and by == sign and other in rights)
        case _:
            assert_never(value)


def kind_of(value: Value) -> Kind | None:
    """The one kind this value has, whatever the facts are; None if only the facts can tell."""
    kinds = kinds_of(value)
    return next(iter(kinds)) if len(kinds) == 1 else None


_KIND_OF: Mapping[type, Kind] = {
    bool: "truth",
    float: "number",
    str: "text",
    timedelta: "duration",
    datetime: "instant",
}


def names_in(node: Node | Value) -> Iterator[str]:
    """Every name the tree reads; `now` is one."""
    match node:
        case Name(name=name):
            yield name
        case Now():
            yield "now"
        case Literal():
            return
        case _:
            for part in _parts_of(node):
                yield from names_in(part)


def _parts_of(node: And | Or | Not | Compare | Between | In | Like | IsNull | Sum) -> tuple[Node | Value, ...]:
    match node:
        case And(parts=parts) | Or(parts=parts):
            return parts
        case Not(part=part):
            return (part,)
        case Sum(left=left, right=right) | Compare(left=left, right=right):
            return left, right
        case Between(value=value, low=low, high=high):
            return value, low, high
        case In(value=value) | Like(value=value) | IsNull(name=value):
            return (value,)
        case _:
            assert_never(node)


def words(value: Value) -> str:
    """How this value is written, by one who writes it plainly."""
    match value:
        case Name(name=name):
            return name
        case Now():
            return "now"
        case Sum(left=left, sign=sign, right=right):
            return f"{words(left)} {sign} {words(right)}"
        case Literal(value=found, digits=digits):
            return spoken(found, digits)
        case _:
            assert_never(value)


def spoken(found: object, digits: int = 0) -> str:
    """How a value found among the facts is said: one line, and no longer than it helps."""
    if digits and isinstance(found, int | float) and not isinstance(found, bool):
        return f"{found / 10**digits:.{digits}f}"
    match found:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if found else "FALSE"
        case int() | float():
            return repr(float(found)).removesuffix(".0")
        case datetime() if found.tzinfo is not None:
            return found.astimezone(UTC).isoformat(sep=" ").replace("+00:00", "Z")
        case timedelta():
            return _spoken_duration(found)
        case str():
            # Facts are other people's text: whatever they hold, an explanation stays one line.
            shown = found.encode("unicode_escape").decode() if not found.isprintable() else found
            return f"'{shown[:60]}...'" if len(shown) > 60 else f"'{shown}'"
        case _:
            return f"a {type(found).__name__}"


def _spoken_duration(found: timedelta) -> str:
    seconds, sign = abs(found).total_seconds(), "-" if found < timedelta(0) else ""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if (seconds >= length and seconds % length == 0) or unit == "second":
            amount = repr(seconds / length).removesuffix(".0")
            return f"{sign}{amount} {unit}" + ("" if amount == "1" else "s")
    raise AssertionError("a second divides everything")
