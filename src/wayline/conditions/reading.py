"""From sqlglot's tree to ours: what the language has is kept, all else refused with a way out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from wayline.conditions.grammar import SECONDS, grammar
from wayline.conditions.refusals import NO_ARITHMETIC, SAY, ConditionError, Refused
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
    kinds_of,
    words,
)

if TYPE_CHECKING:
    from sqlglot import exp

__all__ = ["ARITHMETIC_MAX", "DURATION_LITERAL_MAX", "NAME_PARTS_MAX", "read"]

ARITHMETIC_MAX = 3  # additions within additions: each doubles the SQL that guards its range
NAME_PARTS_MAX = 4  # parts of a name, between its dots
DURATION_LITERAL_MAX = timedelta(days=36_500)  # a duration as it is written


def read(text: str) -> Node:
    """The tree of one condition; `ConditionError` with the column and the way out if it is none."""
    if not isinstance(text, str):
        raise ConditionError(f"expected a condition as text, came {text!r:.60}. Put it in quotation marks.")
    try:
        return _lower(grammar(text))
    except Refused as refused:
        before = text[: refused.offset]
        column = refused.offset - (before.rfind("\n") + 1) + 1
        raise ConditionError(refused.reason, before.count("\n") + 1, column) from None


_EXACT_MAX = 2**53  # beyond it a double no longer tells a whole number from its neighbour
_LARGEST = 1e300  # leaves room to count money in its minor units
_SIGNS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_CONDITIONS = frozenset({*_SIGNS, "and", "or", "not", "in", "is", "between", "like"})


def _offset(node: exp.Expr) -> int:
    return min((one.meta["start"] for one in node.walk() if "start" in one.meta), default=0)


def _bare(node: exp.Expr) -> exp.Expr:
    while node.key == "paren":
        node = node.this
    return node


def _lower(tree: exp.Expr) -> Node:
    node = _bare(tree)
    key = node.key
    if key in ("and", "or"):
        parts = tuple(_lower(part) for part in _parts(node, key))
        return And(parts) if key == "and" else Or(parts)
    if key == "not":
        return Not(_lower(node.this))
    if key in _SIGNS:
        compared = Compare(_value(node.this), _SIGNS[key], _value(node.expression))
        _same_kind(node, compared.left, compared.right)
        return compared
    if key in _LEAVES:
        leaf = _LEAVES[key](node)
        return Not(leaf) if node.args.get("negate") else leaf
    value = _value(node)
    if isinstance(value, Name) or (isinstance(value, Literal) and "truth" in kinds_of(value)):
        return value
    raise Refused(_offset(node), f"{words(value)} alone says nothing. Compare it with something.")


def _parts(node: exp.Expr, key: str) -> list[exp.Expr]:
    """The parts of a chain of ANDs or ORs, which sqlglot nests to the left, without recursing into a long one."""
    parts: list[exp.Expr] = []
    while node.key == key:
        parts.append(node.expression)
        node = node.this
    return [node, *reversed(parts)]


def _between(node: exp.Expr) -> Node:
    value, low, high = _value(node.this), _value(node.args["low"]), _value(node.args["high"])
    _same_kind(node, value, low)
    _same_kind(node, value, high)
    return Between(value, low, high)


def _in(node: exp.Expr) -> Node:
    value = _value(node.this)
    options: list[Literal] = []
    for item in node.expressions:
        option = _value(item)
        if not isinstance(option, Literal):
            raise Refused(_offset(item), f"IN takes literals, came {words(option)}. Write = and OR for it.")
        _same_kind(item, value, option)
        _same_kind(item, options[0] if options else option, option)
        options.append(option)
    if not options:
        raise Refused(_offset(node), "IN takes a list, such as IN ('a', 'b'). Write one, with at least one literal.")
    return In(value, tuple(options))


def _like(node: exp.Expr) -> Node:
    value, pattern = _value(node.this), _value(node.expression)
    if not isinstance(pattern, Literal) or not isinstance(pattern.value, str):
        raise Refused(
            _offset(node.expression), f"LIKE takes a pattern in single quotation marks, came {words(pattern)}."
        )
    _same_kind(node, value, pattern)
    return Like(value, pattern.value)


def _is_null(node: exp.Expr) -> Node:
    name = _value(node.this)
    if node.expression.key != "null":
        raise Refused(_offset(node), "IS takes NULL or NOT NULL. For TRUE and FALSE write = instead.")
    if not isinstance(name, Name):
        raise Refused(_offset(node), f"IS NULL asks about a fact, came {words(name)}. Put a name before it.")
    return IsNull(name)


_LEAVES: Mapping[str, Callable[[Any], Node]] = {"between": _between, "in": _in, "like": _like, "is": _is_null}


def _value(tree: exp.Expr, depth: int = 0) -> Value:
    node = _bare(tree)
    if node.key in _CONDITIONS:
        raise Refused(_offset(node), "a comparison stands where a value belongs. Join comparisons with AND or OR.")
    if node.key in ("add", "sub"):
        if depth == ARITHMETIC_MAX:
            raise Refused(_offset(node), f"more than {ARITHMETIC_MAX} additions in a row. Add the durations up.")
        return _sum(node, _value(node.this, depth + 1), _value(node.expression, depth + 1))
    if node.key not in _VALUES:
        raise Refused(_offset(node), f"{node.key} is not part of a condition. {SAY}")
    return _VALUES[node.key](node)


def _name(node: exp.Column | exp.Dot) -> Value:
    parts = node.parts
    name = ".".join(part.name for part in parts)
    if not parts[0].args.get("quoted") and not parts[0].name[:1].isidentifier():
        raise Refused(
            _offset(node), f"a name begins with a letter, came {name!r:.60}. Write it in double quotation marks."
        )
    if len(parts) > NAME_PARTS_MAX or not all(part.name for part in parts):
        raise Refused(_offset(node), f"a name has 1 to {NAME_PARTS_MAX} parts, none empty, came {name!r:.60}.")
    quoted_end = node.parent is not None and node.arg_key != "this" and parts[0].args.get("quoted")
    if len(parts) == 1 and quoted_end:
        raise Refused(
            _offset(node), f'text stands in single quotation marks, came "{name:.60}". Write {words(Literal(name))}.'
        )
    return Now() if name.lower() == "now" else Name(name)


def _number(node: exp.Expr) -> Literal:
    if node.is_string:
        return Literal(node.this)
    number = float(node.this)
    if number > _LARGEST or (node.this.isdigit() and int(node.this) > _EXACT_MAX):
        raise Refused(
            _offset(node), f"{node.this:.40} is larger than numbers are exact to ({_EXACT_MAX}). Keep such ids as text."
        )
    return Literal(number)


def _negative(node: exp.Expr) -> Literal:
    number = _value(node.this)
    if not isinstance(number, Literal) or not isinstance(number.value, float):
        raise Refused(_offset(node), f"a minus sign belongs before a number, came {words(number)}.")
    return Literal(-number.value)


def _duration(node: exp.Expr) -> Literal:
    amount = node.this.this if node.this is not None and node.this.key == "literal" else ""
    written = f"{amount} {node.args.get('unit') or ''}".strip()
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]+)", written.lower())
    unit = found[2].removesuffix("s") if found else ""
    if unit in ("month", "year"):
        raise Refused(_offset(node), f"a {unit} has no fixed length. Write it in days, such as 30 days.")
    if found is None or unit not in SECONDS:
        raise Refused(
            _offset(node),
            f"expected a duration such as 3 days or INTERVAL '3 days', came {written!r:.60}. "
            f"Units: {', '.join(SECONDS)}.",
        )
    seconds = float(found[1]) * SECONDS[unit]
    if seconds > DURATION_LITERAL_MAX.total_seconds():
        raise Refused(_offset(node), f"durations end at {DURATION_LITERAL_MAX.days} days, came {written}.")
    return Literal(timedelta(seconds=seconds))


def _instant(node: exp.Expr) -> Literal:
    written = node.this.this if node.this.key == "literal" else ""
    try:
        at = datetime.fromisoformat(written)
        if at.tzinfo is not None:
            return Literal(at.astimezone(UTC))
    except (ValueError, OverflowError):
        pass  # told below, with what was written
    raise Refused(
        _offset(node),
        f"expected an instant with its zone, such as TIMESTAMP '2026-11-27 00:00:00+01:00', came {written!r:.60}.",
    )


_VALUES: Mapping[str, Callable[[Any], Value]] = {
    "column": _name,
    "dot": _name,
    "literal": _number,
    "neg": _negative,
    "boolean": lambda node: Literal(bool(node.this)),
    "null": lambda node: Literal(None),
    "interval": _duration,
    "cast": _instant,
}


def _sum(node: exp.Expr, left: Value, right: Value) -> Value:
    added = Sum(left, "+" if node.key == "add" else "-", right)
    if not kinds_of(added):
        raise Refused(_offset(node), f"{words(added)} means nothing. {NO_ARITHMETIC}")
    return added


def _same_kind(node: exp.Expr, left: Value, right: Value) -> None:
    lefts, rights = kinds_of(left), kinds_of(right)
    if lefts & rights:
        return
    hint = "Compare values of one kind."
    for value in (left, right):
        if isinstance(value, Sum) and isinstance(value.left, Name) and isinstance(value.right, Name):
            hint = f'If it is one name with a minus sign in it, write "{words(value).replace(" ", "")}".'
    one, other = (f"{words(value)} ({' or '.join(sorted(kinds))})" for value, kinds in ((left, lefts), (right, rights)))
    raise Refused(_offset(node), f"{one} compared with {other} is never known. {hint}")
