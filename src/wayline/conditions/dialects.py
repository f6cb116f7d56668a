"""The SQL reading: a tree becomes one boolean expression that answers as the Python closures do.

Engines convert and refuse where we say unknown, so no column is compared as it is. Each is first read as the kind the
comparison wants, which is NULL where the column is of another kind; instants and durations become microseconds. Where
only the facts could tell the kind (name against name), every kind is tried and at most one of them is not NULL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import assert_never

from msgspec import Struct

from wayline.conditions.tree import (
    DURATION_MAX,
    KINDS,
    SUMS,
    And,
    Between,
    Compare,
    In,
    IsNull,
    Kind,
    Like,
    Literal,
    Name,
    Node,
    Not,
    Now,
    Or,
    Plain,
    Sum,
    Value,
)  # fmt: skip

__all__ = ["DIALECTS", "Dialect", "compiled"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Dialect(Struct, frozen=True):
    """What one engine needs: how it reads a column as each kind, and how it is told what now is."""

    reads: Mapping[Kind, str]
    """Kind to the expression that reads a column as it, NULL if the column is of another; {} is the column."""
    now: str
    null: str


_DUCKDB_NUMBERS = (
    "'TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'HUGEINT', 'UTINYINT', 'USMALLINT', 'UINTEGER', 'UBIGINT', 'UHUGEINT'"
)
_DUCKDB = Dialect(
    reads={
        "number": f"CASE WHEN typeof({{}}) IN ({_DUCKDB_NUMBERS}) OR starts_with(typeof({{}}), 'DECIMAL') "
        "THEN TRY_CAST({} AS DOUBLE) WHEN typeof({}) IN ('DOUBLE', 'FLOAT') THEN "
        "CASE WHEN isfinite(TRY_CAST({} AS DOUBLE)) THEN TRY_CAST({} AS DOUBLE) END END",
        "text": "CASE WHEN typeof({}) = 'VARCHAR' OR starts_with(typeof({}), 'ENUM') THEN CAST({} AS VARCHAR) END",
        "truth": "CASE WHEN typeof({}) = 'BOOLEAN' THEN TRY_CAST({} AS BOOLEAN) END",
        "instant": "epoch_us(CASE WHEN typeof({}) = 'TIMESTAMP WITH TIME ZONE' THEN TRY_CAST({} AS TIMESTAMPTZ) END)",
        "duration": "TRY(epoch_us(CASE WHEN typeof({}) = 'INTERVAL' THEN TRY_CAST({} AS INTERVAL) END))",
    },
    now="epoch_us(CAST($now AS TIMESTAMPTZ))",
    null="CAST(NULL AS BOOLEAN)",
)
DIALECTS: Mapping[str, Dialect] = {"duckdb": _DUCKDB}


def compiled(node: Node, dialect: Dialect) -> str:
    """The boolean expression of this node in that dialect, in brackets of its own."""
    match node:
        case And(parts=parts):
            return f"({' AND '.join(compiled(part, dialect) for part in parts)})"
        case Or(parts=parts):
            return f"({' OR '.join(compiled(part, dialect) for part in parts)})"
        case Not(part=part):
            return f"(NOT {compiled(part, dialect)})"
        case _:
            return _leaf(node, dialect)


def _leaf(node: Compare | Between | In | Like | IsNull | Name | Literal, dialect: Dialect) -> str:
    match node:
        case Compare(left=left, sign=sign, right=right):
            return _compare(left, sign, right, dialect)
        case Between(value=value, low=low, high=high):
            return f"({_compare(value, '>=', low, dialect)} AND {_compare(value, '<=', high, dialect)})"
        case In(value=value, options=options):
            return f"({' OR '.join(_compare(value, '=', option, dialect) for option in options)})"
        case Like(value=value, pattern=pattern):
            read = _as(value, "text", dialect)
            return dialect.null if read is None else f"({read} LIKE {_quoted(pattern)})"
        case IsNull(name=name):
            return f"({_column(name)} IS NULL)"
        case Name() | Literal():
            return _as(node, "truth", dialect) or dialect.null
        case _:
            assert_never(node)


def _compare(left: Value, sign: str, right: Value, dialect: Dialect) -> str:
    read = [(_as(left, kind, dialect), _as(right, kind, dialect)) for kind in KINDS]
    tried = [f"({one} {sign} {other})" for one, other in read if one is not None and other is not None]
    return _first(tried) or dialect.null


def _first(tried: list[str]) -> str | None:
    if len(tried) > 1:
        return f"COALESCE({', '.join(tried)})"
    return tried[0] if tried else None


def _as(value: Value, kind: Kind, dialect: Dialect) -> str | None:
    """The value read as this kind; None where it can never be one."""
    match value:
        case Name():
            read = f"({dialect.reads[kind].replace('{}', _column(value))})"
            return _bounded(read, kind) if kind == "duration" else read
        case Now():
            return dialect.now if kind == "instant" else None
        case Literal(value=found):
            return _literal(found, kind)
        case Sum():
            return _first([_bounded(one, kind) for one in _sums(value, kind, dialect)])
        case _:
            assert_never(value)


def _sums(value: Sum, kind: Kind, dialect: Dialect) -> Iterator[str]:
    for left, sign, right, gives in SUMS:
        if sign == value.sign and gives == kind:
            one, other = _as(value.left, left, dialect), _as(value.right, right, dialect)
            if one is not None and other is not None:
                yield f"({one} {sign} {other})"


def _bounded(read: str, kind: Kind) -> str:
    """NULL outside what Python can hold, so that both engines end at the same place."""
    if kind == "duration":
        low, high = -DURATION_MAX // _MICROSECOND, DURATION_MAX // _MICROSECOND
    else:
        low, high = _microseconds(datetime.min.replace(tzinfo=UTC)), _microseconds(datetime.max.replace(tzinfo=UTC))
    return f"(CASE WHEN {read} BETWEEN {low} AND {high} THEN {read} END)"


def _literal(found: Plain, kind: Kind) -> str | None:
    match found, kind:
        case bool(), "truth":
            return "TRUE" if found else "FALSE"
        case float(), "number":
            written = repr(found)  # an exponent makes it a double; without one it would be a decimal
            return f"({written})" if "e" in written else f"({written}e0)"
        case str(), "text":
            return _quoted(found)
        case timedelta(), "duration":
            return str(found // _MICROSECOND)
        case datetime(), "instant":
            return str(_microseconds(found))
        case _:
            return None


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _column(name: Name) -> str:
    return '"' + name.name.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
