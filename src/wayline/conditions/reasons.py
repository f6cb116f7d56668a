"""The reading in words: which comparisons decided the answer, and what they found."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TypeAlias, assert_never

from wayline.conditions.answers import Facts, answer, read_value
from wayline.conditions.tree import (
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
    spoken,
    words,
)  # fmt: skip

__all__ = ["reasons"]

_MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_Leaf: TypeAlias = Compare | Between | In | Like | IsNull | Name | Literal


def reasons(node: Node, facts: Facts, now: datetime) -> Iterator[str]:
    """The leaves that made the answer what it is, each in a few words."""
    match node:
        case And(parts=parts) | Or(parts=parts):
            # Of a false AND the false parts decided, of a true OR the true ones: always those that answer alike.
            whole = answer(node)(facts, now)
            for part in parts:
                if answer(part)(facts, now) is whole:
                    yield from reasons(part, facts, now)
        case Not(part=part):
            yield from reasons(part, facts, now)
        case Compare() | Between() | In() | Like() | IsNull() | Name() | Literal():
            yield _leaf(node, facts, now)
        case _:
            assert_never(node)


def _leaf(node: _Leaf, facts: Facts, now: datetime) -> str:
    found = answer(node)(facts, now)
    match node:
        case IsNull(name=name):
            return f"{name.name} is {'not known' if found else 'known'}"
        case Literal():
            return f"the condition says {words(node)}"
        case Name():
            if found is None:
                return _unknown((node,), facts, now)
            return f"{node.name} is {spoken(found)}"
    subject, predicate, sides = _said(node, facts, now)
    if found is None:
        return _unknown(sides, facts, now)
    shown = words(subject) if isinstance(subject, Literal) else f"{words(subject)} is {_found(subject, facts, now)}"
    return f"{shown}, {'' if found else 'not '}{predicate}"


def _said(node: Compare | Between | In | Like, facts: Facts, now: datetime) -> tuple[Value, str, tuple[Value, ...]]:
    """What the leaf is about, what it says of it, and every value it looks at."""
    match node:
        case Compare(left=left, sign=sign, right=right):
            # Nobody asks what 20 is: the fact comes first, wherever the author put it.
            if isinstance(left, Literal) or (isinstance(left, Now) and not isinstance(right, Literal)):
                left, sign, right = right, _MIRRORED[sign], left
            return left, f"{sign} {_with_value(right, facts, now)}", (left, right)
        case Between(value=value, low=low, high=high):
            bounds = f"between {_with_value(low, facts, now)} and {_with_value(high, facts, now)}"
            return value, bounds, (value, low, high)
        case In(value=value, options=options):
            return value, f"in ({', '.join(words(option) for option in options)})", (value, *options)
        case Like(value=value, pattern=pattern):
            return value, f"like {spoken(pattern)}", (value, Literal(pattern))
        case _:
            assert_never(node)


def _with_value(value: Value, facts: Facts, now: datetime) -> str:
    if isinstance(value, Literal):
        return words(value)
    return f"{words(value)} ({_found(value, facts, now)})"


def _found(value: Value, facts: Facts, now: datetime) -> str:
    if isinstance(value, Name):
        return spoken(facts(value.name), value.digits)
    return spoken(read_value(value)(facts, now))


def _unknown(sides: tuple[Value, ...], facts: Facts, now: datetime) -> str:
    missing = [name for value in sides for name in _names(value) if facts(name) is None]
    if missing:
        return f"{' and '.join(dict.fromkeys(missing))} not known"
    if any(isinstance(value, Literal) and value.value is None for value in sides):
        return f"{words(sides[0])} is compared with NULL, which is never known: write IS NULL"
    asked = [value for value in sides if not isinstance(value, Literal)]
    found = " and ".join(f"{words(value)} is {_found(value, facts, now)}" for value in asked)
    return f"{found}, of another kind than it is compared with"


def _names(value: Value) -> Iterator[str]:
    match value:
        case Name(name=name):
            yield name
        case Sum(left=left, right=right):
            yield from _names(left)
            yield from _names(right)
        case Now() | Literal():
            return
        case _:
            assert_never(value)
