"""Point-in-time SQL: the same facet, computed from the log for any number of instants at once.

An instant is (customer_id, position, as_of): what a decision at that place of the log, taken at that time, could know.
Events count up to the position; windows look back from `as_of` by `occurred_at`. So a training set or an audit holds
exactly what the engine read, and a law compares the two at every position.

The query is plain DuckDB over two tables: `events(event_id, source, name, customer_id, occurred_at, position,
properties)`, the last a JSON object and `occurred_at` a TIMESTAMPTZ, and `instants(customer_id, position, as_of)`. It
answers `customer_id, position, as_of, value`. Our own columns begin with `__`, so that no property can be mistaken for
one. Remembered values stay JSON, for only the sender decides whether a `step` is a number or a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import assert_never

from wayline.conditions import Condition
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
    Or,
    Value,
    kind_of,
    names_in,
)  # fmt: skip
from wayline.domain import Facet
from wayline.errors import AuthorError
from wayline.interpretation.paths import ELEMENTS_MAX, TEXT_MAX, WHOLE_MAX, column, list_of, parts_of
from wayline.interpretation.readings import ROW_KINDS, VISIT_GAP, rank_of, ranks_of, size_of, tiles_of
from wayline.observation.feedback import MADE_BY_MACHINES

# ruff: noqa: S608 - what is put together here are names and paths of a compiled playbook, each quoted; no value is.

__all__ = ["sql"]

_PLACE = "__at DESC, __source DESC, __id DESC, __index DESC"
_INSTANT = "__instant"


def sql(facet: Facet, facets: Mapping[str, Facet], *, events: str = "events", instants: str = "instants") -> str:
    """The query that answers this facet for every row of `instants`, from `events`."""
    of = facets[facet.of] if facet.kind == "derived" else facet
    steps = [
        f"__instants AS (SELECT *, row_number() OVER () AS {_INSTANT} FROM {instants})",
        *_touched(of, events),
        f"__known AS (SELECT i.{_INSTANT}, i.as_of AS __now, t.* FROM __instants i JOIN __touched t "
        "ON t.__customer = i.customer_id AND t.__position <= i.position)",
    ]
    if of.kind in ROW_KINDS:
        steps += _ROWS[of.kind](of)
        steps += _narrowed(of, facet)
        steps += _reading(of, facet)
    elif of.kind in ("last", "first"):
        steps += _register(of, facet)
    else:
        steps += _counted(of, facet)
    empty = _EMPTY.get(_empty_of(facet, of), "NULL")
    return (
        "WITH " + ",\n".join(steps) + "\nSELECT i.customer_id, i.position, i.as_of, "
        f"CASE WHEN a.{_INSTANT} IS NULL THEN {empty} ELSE a.value END AS value "
        f"FROM __instants i LEFT JOIN __answer a ON a.{_INSTANT} = i.{_INSTANT} ORDER BY 1, 2, 3"
    )


_EMPTY = {"count": "0", "rows": "'[]'::JSON"}


def _empty_of(facet: Facet, of: Facet) -> str:
    """What no rows at all come to: nothing counted is 0, nothing listed an empty list, all else is unknown."""
    read = facet.read if facet.kind == "derived" else "value"
    if read in ("count", "sum", "amount", "distinct", "visits") or (read == "value" and of.kind in ("count", "sum")):
        return "count"
    return "rows" if read == "keys" or (read == "value" and of.kind in ROW_KINDS) else ""


# ------------------------------------------------------------------ events to values


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _named(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _listed(names: Iterable[str]) -> str:
    return ", ".join(_quoted(name) for name in names) or "NULL"


def _json_path(names: str) -> str:
    return _quoted("$" + "".join(f'."{name}"' for name in names.split(".") if name))


def _clean(raw: str) -> str:
    """A JSON value as it is remembered: `paths.clean`, in SQL."""
    return (
        f"CASE json_type({raw}) WHEN 'VARCHAR' THEN to_json(left({raw} ->> '$', {TEXT_MAX})) "
        f"WHEN 'BOOLEAN' THEN {raw} "
        f"WHEN 'UBIGINT' THEN {_whole(raw, 'HUGEINT')} WHEN 'BIGINT' THEN {_whole(raw, 'HUGEINT')} "
        f"WHEN 'DOUBLE' THEN CASE WHEN abs(CAST({raw} AS DOUBLE)) <= {WHOLE_MAX} THEN "
        f"CASE WHEN CAST({raw} AS DOUBLE) = floor(CAST({raw} AS DOUBLE)) "
        f"THEN to_json(CAST(CAST({raw} AS DOUBLE) AS BIGINT)) "
        f"ELSE to_json(CAST({raw} AS DOUBLE)) END END END"
    )


def _whole(raw: str, wide: str) -> str:
    return f"CASE WHEN abs(CAST({raw} AS {wide})) <= {WHOLE_MAX} THEN to_json(CAST({raw} AS BIGINT)) END"


def _value(path: str) -> str:
    """The remembered value at a path, as JSON."""
    if path == "$name":
        return "to_json(__name)"
    if "[]" in path:
        return _clean(f"json_extract(__element, {_json_path(path.split('[]', 1)[1])})")
    return _clean(f"json_extract(__properties, {_json_path(path)})")


def _is_whole(value: str) -> str:
    return f"json_type({value}) IN ('UBIGINT', 'BIGINT')"


def _as_whole(value: str) -> str:
    return f"CASE WHEN {_is_whole(value)} THEN CAST({value} AS BIGINT) END"


def _as_number(value: str) -> str:
    return f"CASE WHEN json_type({value}) IN ('UBIGINT', 'BIGINT', 'DOUBLE') THEN CAST({value} AS DOUBLE) END"


_TYPED: Mapping[str, Callable[[str], str]] = {
    "number": _as_number,
    "text": lambda value: f"CASE WHEN json_type({value}) = 'VARCHAR' THEN {value} ->> '$' END",
    "truth": lambda value: f"CASE WHEN json_type({value}) = 'BOOLEAN' THEN CAST({value} AS BOOLEAN) END",
    "instant": lambda value: "CAST(NULL AS TIMESTAMPTZ)",  # JSON has texts only; the engine takes none for an instant
    "duration": lambda value: "CAST(NULL AS INTERVAL)",
    "": lambda value: f"CASE WHEN json_type({value}) <> 'NULL' THEN {value} ->> '$' END",
}


def _kind_of(where: Condition, name: str) -> str:
    """The one kind of value a condition takes a name for: a value of another kind is unknown to it."""
    kinds = {kind for found, kind in _kinds_in(where._tree) if found == name}
    if len(kinds - {""}) > 1 or "any" in kinds:
        raise AuthorError(
            f"condition {where.text!r} leaves open what kind of value {name!r} is, and SQL must know. "
            "Compare it with written-out values of one kind: numbers, texts, or TRUE and FALSE."
        )
    return max(kinds, default="")


def _kinds_in(node: Node) -> Iterator[tuple[str, str]]:
    """Each name with the kind of value it is compared with; `any` where only the facts can tell, empty if in none."""
    match node:
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from _kinds_in(part)
        case Not(part=part):
            yield from _kinds_in(part)
        case Compare() | Between() | In() | Like():
            yield from _compared(*_sides(node))
        case IsNull(name=name):
            yield name.name, ""
        case Name(name=alone):
            yield alone, "truth"
        case Literal():
            return
        case _:
            assert_never(node)


def _sides(node: Compare | Between | In | Like) -> tuple[Value, ...]:
    match node:
        case Compare(left=left, right=right):
            return (left, right)
        case Between(value=value, low=low, high=high):
            return (value, low, high)
        case In(value=value, options=options):
            return (value, *options)
        case Like(value=value):
            return (value, Literal(""))


def _compared(*values: Value) -> Iterator[tuple[str, str]]:
    kinds = {kind for value in values if (kind := kind_of(value)) is not None}
    for value in values:
        if isinstance(value, Name):
            yield value.name, min(kinds) if len(kinds) == 1 else "any"
        else:
            for name in names_in(value):
                yield name, "instant"  # what stands in a sum is an instant: of an event's own properties, none is


def _key(facet: Facet) -> str:
    """The key as text: only text and whole numbers name a thing."""
    parts = []
    for path in parts_of(facet.key):
        value = _value(path)
        parts.append(
            f"CASE WHEN {_is_whole(value)} OR (json_type({value}) = 'VARCHAR' AND ({value} ->> '$') <> '') "
            f"THEN {value} ->> '$' END"
        )
    return "(" + " || '+' || ".join(parts) + ")"


def _paths(facet: Facet) -> tuple[str, ...]:
    return facet.fields or ((facet.value,) if facet.value else ())


def _touched(facet: Facet, events: str) -> list[str]:
    """One row for each element of each event that touches the facet."""
    names = _listed((*facet.events, *facet.removes, *facet.resets))
    typed, passes = "", ""
    if facet.where is not None:
        facts = {name: _fact(facet.where, name) for name in sorted(facet.where.names - {"now"})}
        typed = "".join(f", {expression} AS {_named(name)}" for name, expression in facts.items())
        passes = f" WHERE ({facet.where.sql('duckdb').replace('$now', '__at')})"
    over = list_of((*parts_of(facet.key), *_paths(facet)))
    listed = f"json_extract(__properties, {_json_path(over)})"
    elements = "[__properties]"
    if over:
        elements = (
            f"CASE WHEN json_type({listed}) = 'ARRAY' THEN "
            f"list_slice(CAST({listed} AS JSON[]), 1, {ELEMENTS_MAX}) ELSE [__properties] END"
        )
    fields = "".join(f", {_value(path)} AS {_named('__f_' + column(path))}" for path in _paths(facet))
    return [
        "__named AS (SELECT event_id AS __id, source AS __source, name AS __name, customer_id AS __customer, "
        "occurred_at AS __at, position AS __position, CAST(properties AS JSON) AS __properties "
        f"FROM {events} WHERE name IN ({names})"
        # What a machine made is kept in the log and never learnt from, as in `facets.fold`.
        f" AND NOT (name IN ({_listed(MADE_BY_MACHINES)})"
        " AND coalesce(json_extract_string(CAST(properties AS JSON), '$.automated') = 'true', false)"
        " AND json_type(CAST(properties AS JSON), '$.automated') = 'BOOLEAN'))",
        f"__counted AS (SELECT *{typed} FROM __named)",
        f"__listed AS (SELECT * EXCLUDE (__properties), __properties, {elements} AS __elements FROM __counted{passes})",
        "__unnested AS (SELECT *, unnest(__elements) AS __element, "
        "generate_subscripts(__elements, 1) AS __index FROM __listed)",
        f"__touched AS (SELECT __id, __source, __name, __customer, __at, __position, __index, "
        f"{_ranked(facet)} AS __rank, "
        f"{_key(facet) if facet.key else 'NULL'} AS __key{fields} FROM __unnested)",
    ]


def _ranked(facet: Facet) -> str:
    """How much a telling counts: by the event's name, then by its source where some are trusted more."""
    cases = [
        f"WHEN __name = {_quoted(name)} AND __source = {_quoted(source)} THEN {rank}"
        for name in facet.events
        for source, rank in ranks_of(facet, name).items()
    ]
    cases += [f"WHEN __name = {_quoted(name)} THEN {rank_of(facet, name)}" for name in facet.events]
    return f"CASE {' '.join(cases)} END" if facet.priority or facet.trust else "0"


def _fact(where: Condition, name: str) -> str:
    if name == "event":
        return "__name"
    return _TYPED[_kind_of(where, name)](_clean(f"json_extract(__properties, {_json_path(name)})"))


# ------------------------------------------------------------------ registers and counts


def _register(of: Facet, facet: Facet) -> list[str]:
    """`last` and `first`, and what may be read of them."""
    order = _PLACE if of.kind == "last" else _PLACE.replace("DESC", "ASC")
    held = _named("__f_" + column(of.value)) if of.value else "__at"
    read = facet.read if facet.kind == "derived" else "value"
    value = {"value": held, "at": "__at", "age": "__now - __at"}[read]
    return [
        f"__answer AS (SELECT {_INSTANT}, {value} AS value FROM __known WHERE {held} IS NOT NULL "
        f"QUALIFY row_number() OVER (PARTITION BY {_INSTANT} ORDER BY {order}) = 1)"
    ]


def _micros(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _tile(instant: str, width: int) -> str:
    """The tile of an instant, rounded down before 1970 too."""
    micros = f"epoch_us({instant})"
    return f"(({micros} - (({micros} % {width}) + {width}) % {width}) // {width})"


def _counted(of: Facet, facet: Facet) -> list[str]:
    """`count` and `sum`, whole or in tiles."""
    amount = "1"
    if of.value:
        value = _named("__f_" + column(of.value))
        amount = f"CASE WHEN {value} IS NOT NULL THEN 1 END" if of.kind == "count" else _as_whole(value)
    if of.window is None:
        total = f"CAST(coalesce(sum({amount}), 0) AS BIGINT)"
        return [f"__answer AS (SELECT {_INSTANT}, {total} AS value FROM __known GROUP BY {_INSTANT})"]
    tile, _ = tiles_of(of)
    width = _micros(tile)
    window = min(of.window, facet.window) if facet.window is not None else of.window
    steps = [
        f"__amounts AS (SELECT {_INSTANT}, __now, {_tile('__at', width)} AS __tile, {amount} AS __amount FROM __known)",
        "__live AS (SELECT * FROM __amounts WHERE __amount IS NOT NULL "
        f"QUALIFY __tile > greatest({_tile('__now', width)}, max(__tile) OVER (PARTITION BY {_INSTANT})) "
        f"- {window // tile})",
    ]
    if facet.kind == "derived" and facet.read == "visits":
        return [
            *steps,
            f"__tiles AS (SELECT DISTINCT {_INSTANT}, __tile FROM __live)",
            f"__runs AS (SELECT *, lag(__tile) OVER (PARTITION BY {_INSTANT} ORDER BY __tile) AS __before "
            "FROM __tiles)",
            f"__answer AS (SELECT {_INSTANT}, count(*) FILTER (__before IS NULL OR __before < __tile - 1) AS value "
            f"FROM __runs GROUP BY {_INSTANT})",
        ]
    return [
        *steps,
        f"__answer AS (SELECT {_INSTANT}, CAST(sum(__amount) AS BIGINT) AS value FROM __live GROUP BY {_INSTANT})",
    ]


# ------------------------------------------------------------------ rows


def _columns(facet: Facet) -> list[str]:
    return [column(path) for path in _paths(facet)]


def _fields(facet: Facet) -> list[str]:
    return [_named("__f_" + name) for name in _columns(facet)]


def _recent(facet: Facet) -> list[str]:
    """The newest rows: as `__rows`, with `__n` 1 for the newest."""
    fields = _fields(facet)
    having = f"WHERE {' OR '.join(f'{field} IS NOT NULL' for field in fields)} " if fields else ""
    return [
        f"__rows AS (SELECT {_INSTANT}, __now, __at, {', '.join(['__index', *fields])}, "
        f"row_number() OVER (PARTITION BY {_INSTANT} ORDER BY {_PLACE}) AS __n FROM __known {having}"
        f"QUALIFY __n <= {size_of(facet)})"
    ]


def _latest_per_key(facet: Facet) -> list[str]:
    """The newest registers, then one row of each key: every field from the most trusted event that has it."""
    fields = [
        f"arg_min({field}, __rank) FILTER ({field} IS NOT NULL) AS {field}" for field in _fields(facet)
    ]  # fmt: skip
    return [
        f"__registers AS (SELECT * FROM __known WHERE __key IS NOT NULL QUALIFY row_number() OVER "
        f"(PARTITION BY {_INSTANT}, __rank, __key ORDER BY {_PLACE}) = 1)",
        f"__newest AS (SELECT *, row_number() OVER (PARTITION BY {_INSTANT} ORDER BY {_PLACE}) AS __place "
        f"FROM __registers QUALIFY __place <= {size_of(facet)})",
        f"__rows AS (SELECT {_INSTANT}, any_value(__now) AS __now, __key, {', '.join([*fields, 'min(__at) AS __at'])}, "
        f"max(__at) AS __updated_at, row_number() OVER (PARTITION BY {_INSTANT} ORDER BY min(__place)) AS __n "
        f"FROM __newest GROUP BY {_INSTANT}, __key)",
    ]


def _ledger(facet: Facet) -> list[str]:
    """The rows since the newest reset, replayed.

    A quantity that never falls below 0 is its running sum less the lowest point that sum ever reached below 0; a row
    that takes out all begins the sum anew.
    """
    holds = (*facet.events, *facet.removes)
    quantity = _as_whole(_named("__f_quantity")) if "quantity" in _columns(facet) else "NULL"
    fields = [
        f"arg_max({field}, __step) FILTER (__adds AND {field} IS NOT NULL) AS {field}"
        for name, field in zip(_columns(facet), _fields(facet), strict=True)
        if name != "quantity"
    ]
    return [
        # From the events, not their elements: a cart told to hold nothing resets it too.
        f"__resets AS (SELECT i.{_INSTANT}, __at, __source, __id FROM __instants i JOIN __listed l ON "
        f"l.__customer = i.customer_id AND l.__position <= i.position WHERE __name IN ({_listed(facet.resets)}) "
        f"QUALIFY row_number() OVER (PARTITION BY i.{_INSTANT} ORDER BY __at DESC, __source DESC, __id DESC) = 1)",
        f"__since AS (SELECT k.*, {quantity} AS __said FROM __known k LEFT JOIN __resets r USING ({_INSTANT}) "
        f"WHERE k.__key IS NOT NULL AND k.__name IN ({_listed(holds)}) AND (r.__at IS NULL OR k.__at > r.__at OR "
        "(k.__at = r.__at AND (k.__source > r.__source OR (k.__source = r.__source AND k.__id >= r.__id)))) "
        f"QUALIFY row_number() OVER (PARTITION BY k.{_INSTANT} ORDER BY {_PLACE.replace('__', 'k.__')}) "
        f"<= {size_of(facet)})",
        f"__steps AS (SELECT *, NOT coalesce(__name IN ({_listed(facet.removes)}), false) AS __adds, "
        f"row_number() OVER (PARTITION BY {_INSTANT} ORDER BY {_PLACE.replace('DESC', 'ASC')}) AS __step, "
        "CASE WHEN __said > 0 THEN __said END AS __whole FROM __since)",
        "__spans AS (SELECT *, sum(CASE WHEN NOT __adds AND __whole IS NULL THEN 1 ELSE 0 END) OVER "
        f"(PARTITION BY {_INSTANT}, __key ORDER BY __step) AS __span FROM __steps)",
        "__sums AS (SELECT *, sum(CASE WHEN __adds THEN coalesce(__whole, 1) ELSE -coalesce(__whole, 0) END) "
        f"OVER (PARTITION BY {_INSTANT}, __key, __span ORDER BY __step) AS __sum FROM __spans)",
        f"__ends AS (SELECT {_INSTANT}, __key, __span, arg_max(__sum, __step) - least(0, min(__sum)) AS __left "
        f"FROM __sums GROUP BY {_INSTANT}, __key, __span "
        f"QUALIFY __span = max(__span) OVER (PARTITION BY {_INSTANT}, __key))",
        f"__held AS (SELECT {_INSTANT}, __key, {', '.join(['any_value(__now) AS __now', *fields])}, "
        f"max(__step) FILTER (__adds) AS __put, arg_max(__at, __step) FILTER (__adds) AS __at "
        f"FROM __sums GROUP BY {_INSTANT}, __key)",
        f"__rows AS (SELECT h.*, to_json(CAST(e.__left AS BIGINT)) AS __f_quantity, "
        f"row_number() OVER (PARTITION BY h.{_INSTANT} ORDER BY __put DESC) AS __n "
        f"FROM __held h JOIN __ends e USING ({_INSTANT}, __key) WHERE e.__left > 0)",
    ]


_ROWS = {"recent": _recent, "latest_per_key": _latest_per_key, "ledger": _ledger}


def _row_values(of: Facet) -> dict[str, str]:
    """What a row holds by name, as JSON; instants and keys as they are."""
    values = {name: _named("__f_" + name) for name in _columns(of)}
    if of.kind == "ledger":
        values["quantity"] = "__f_quantity"
    if of.kind != "recent":
        values["key"] = "to_json(__key)"
    return values


def _narrowed(of: Facet, facet: Facet) -> list[str]:
    """The rows in both windows that the derived facet's own condition lets pass, as `__kept`."""
    windows = [window for window in (of.window, facet.window) if window is not None]
    passes = [f"__at > __now - to_microseconds({_micros(min(windows))})"] if windows else []
    typed = ""
    if facet.kind == "derived" and facet.where is not None:
        plain = {"at": "__at", "key": "__key"} if of.kind != "recent" else {"at": "__at"}
        if of.kind == "latest_per_key":
            plain["updated_at"] = "__updated_at"
        values = _row_values(of)
        for name in sorted(facet.where.names - {"now"}):
            typed += f", {plain.get(name) or _row_fact(facet.where, name, values)} AS {_named(name)}"
        passes.append("(" + facet.where.sql("duckdb").replace("$now", "__now") + ")")
    passing = f" WHERE {' AND '.join(passes)}" if passes else ""
    return [f"__facts AS (SELECT *{typed} FROM __rows)", f"__kept AS (SELECT * FROM __facts{passing})"]


def _row_fact(where: Condition, name: str, values: Mapping[str, str]) -> str:
    return _TYPED[_kind_of(where, name)](values[name]) if name in values else "NULL"


def _row(of: Facet) -> str:
    """A whole row as JSON; its instants as microseconds since the epoch."""
    values = {**_row_values(of), "at": "epoch_us(__at)"}
    if of.kind == "latest_per_key":
        values["updated_at"] = "epoch_us(__updated_at)"
    return "json_object(" + ", ".join(f"{_quoted(name)}, {value}" for name, value in values.items()) + ")"


_SIMPLE = {
    "value": "to_json(list({row} ORDER BY __n))",
    "at": "max(__at)",
    "first_at": "min(__at)",
    "age": "to_microseconds(epoch_us(any_value(__now)) - epoch_us(max(__at)))",
    "count": "count(*)",
    "sum": "CAST(coalesce(sum({whole}), 0) AS BIGINT)",
    "amount": "CASE WHEN count(*) = count({price}) THEN CAST(sum({price} * coalesce({quantity}, 1)) AS BIGINT) END",
    "min": "min({number})",
    "max": "max({number})",
    "spread": "max({number}) - min({number})",
    "mean": "avg({number})",
    "distinct": "count(DISTINCT {field})",
    "newest": "arg_min({field}, __n) FILTER ({field} IS NOT NULL)",
    "gap": "CASE WHEN count(*) > 1 "
    "THEN to_microseconds((epoch_us(max(__at)) - epoch_us(min(__at))) // (count(*) - 1)) END",
}


def _reading(of: Facet, facet: Facet) -> list[str]:
    read = facet.read if facet.kind == "derived" else "value"
    values = _row_values(of)
    field = values.get((facet.value if facet.kind == "derived" else "") or "key", "CAST(NULL AS JSON)")
    if read in ("top", "keys"):
        chosen = "arg_max(__value, (__often, -__n))" if read == "top" else "to_json(list(__value ORDER BY __n))"
        return [
            f"__values AS (SELECT {_INSTANT}, {field} AS __value, count(*) AS __often, min(__n) AS __n FROM __kept "
            f"WHERE {field} IS NOT NULL GROUP BY {_INSTANT}, __value)",
            f"__answer AS (SELECT {_INSTANT}, {chosen} AS value FROM __values GROUP BY {_INSTANT})",
        ]
    if read == "visits":
        return [
            f"__spaced AS (SELECT {_INSTANT}, epoch_us(__at) - lag(epoch_us(__at)) OVER "
            f"(PARTITION BY {_INSTANT} ORDER BY __at) AS __silence FROM __kept)",
            f"__answer AS (SELECT {_INSTANT}, count(*) FILTER (__silence IS NULL OR __silence > {_micros(VISIT_GAP)}) "
            f"AS value FROM __spaced GROUP BY {_INSTANT})",
        ]
    value = _SIMPLE[read].format(
        row=_row(of),
        field=field,
        whole=_as_whole(field),
        number=_as_number(field),
        price=_as_whole(values.get("price", "CAST(NULL AS JSON)")),
        quantity=_as_whole(values.get("quantity", "CAST(NULL AS JSON)")),
    )
    return [f"__answer AS (SELECT {_INSTANT}, {value} AS value FROM __kept GROUP BY {_INSTANT})"]
