"""Which records of one or two tables are one person: cleaned, found by keys, compared, weighed, all in memory.

DuckDB cleans and compares, since both are SQL; NumPy sorts keys, counts outcomes and adds weights. The database is in
memory and may not spill, so no personal value reaches a disk: what does not fit is refused, with what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from wayline.errors import AuthorError, OperatorError
from wayline.observation import clusters, matching, weights
from wayline.observation.matching import Column, Comparison, Key, Seen

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "PRECISION",
    "Limits", "Pairs", "Records", "Resolved", "Scored",
    "compare", "connect", "find", "grouped", "hash_sql", "hashed", "hashed_parts", "learn", "open_records",
    "packing_sql", "random_pairs", "rarity_of", "resolve", "score", "unpacked",
]  # fmt: skip

PRECISION = 0.95
"""How often a pair must be expected to be right, of all pairs told."""


_LOOKED_AT = 20_000  # records whose values say what a column holds
_DATE_FORMATS = (
    "%Y-%m-%d", "%Y%m%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d", "%d %b %Y", "%d %B %Y",
    "%d%m%Y", "%m-%d-%Y", "%d/%m/%y", "%d.%m.%y", "%Y-%m-%d %H:%M:%S",
)  # fmt: skip
_CHUNK = 2_000_000
_ROW = "number of the record among all"  # what no column is called
_MIXING = np.uint64(0x9E3779B97F4A7C15)


class Limits(Struct, frozen=True):
    """What matching may cost."""

    pairs_max: int = 60_000_000
    """Comparisons in all; more is refused, since it would not end."""
    each: float = 0.5
    """Comparisons by one key, in times of the records."""
    least: int = 3_000_000
    """Comparisons that are cheap whatever the number of records."""
    random: int = 1_000_000
    """Random pairs, to learn how often different people agree."""
    memory: str = "3GB"
    threads: int = 2


class Records(Struct):
    """Records in memory: one table, or two whose rows follow each other."""

    connection: Any
    count: int
    first_count: int
    """Rows of the first table where only pairs across two count; else all."""
    columns: tuple[Column, ...]
    comparisons: tuple[Comparison, ...]
    rarity: NDArray[np.float32]
    """By record and comparison: bits that agreeing on this value is worth more (or less) than on an average one."""

    @property
    def is_linking(self) -> bool:
        """Whether two tables are linked, rather than one searched for repeats."""
        return self.first_count < self.count

    @property
    def possible(self) -> float:
        """How many pairs there could be."""
        if self.is_linking:
            return float(self.first_count) * (self.count - self.first_count)
        return self.count * (self.count - 1) / 2


class Pairs(Struct):
    """Pairs of rows, the smaller first, and the outcome of each comparison in one number."""

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    packed: NDArray[np.int64]


class Scored(Struct):
    """Pairs worth keeping, with their weight in bits."""

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    weight: NDArray[np.float64]


class Resolved(Struct, kw_only=True):
    """Who is who, and how that was come by."""

    person: NDArray[np.int64]
    """The number of each record's person."""
    scored: Scored
    model: weights.Model
    threshold: float
    compared: int
    keys: list[tuple[str, int]]
    expected_pairs: float
    """Pairs of one person there should be, by what was learnt."""
    expected_precision: float | None


# ------------------------------------------------------------------ the whole way


def resolve(
    records: Records, *, limits: Limits | None = None, seed: int = 0, tell: Callable[[str], None] | None = None
) -> Resolved:
    """Find, compare, learn, weigh and group: people out of records, with nothing told beforehand."""
    tell = tell or _silent
    tell("looking for pairs worth comparing")
    pairs, keys = find(records, limits)
    tell(f"comparing {len(pairs):,} pairs")
    found = compare(records, pairs)
    tell("learning what each agreement is worth")
    model = learn(records, found, limits, seed)
    tell("grouping")
    scored = score(records, found, model)
    return grouped(records, scored, model, keys, len(pairs))


def grouped(
    records: Records, scored: Scored, model: weights.Model, keys: list[tuple[str, int]], compared: int
) -> Resolved:
    """People out of weighed pairs: at most one partner each across two tables, else groups that hold together."""
    left, right = scored.left.astype(np.int64), scored.right.astype(np.int64)
    if records.is_linking:
        weight = clusters.rivals_considered(
            left, right, scored.weight, records.first_count, records.count - records.first_count
        )
        scored = Scored(scored.left, scored.right, weight)
        threshold = clusters.threshold_of(weight, PRECISION)
        kept = clusters.one_to_one(left, right, weight) & (weight >= threshold)
        person = clusters.components(left[kept], right[kept], records.count)
    else:
        threshold = clusters.threshold_of(scored.weight, PRECISION)
        person = clusters.grouped(left, right, scored.weight, records.count, threshold)
        kept = scored.weight >= threshold
    inside = kept & (person[left] == person[right])
    return Resolved(
        person=person,
        scored=scored,
        model=model,
        threshold=threshold,
        compared=compared,
        keys=keys,
        expected_pairs=model.prior * records.possible,
        expected_precision=float(weights.posterior(scored.weight[inside]).mean()) if inside.any() else None,
    )


def _silent(said: str) -> None:
    pass


# ------------------------------------------------------------------ records


def open_records(
    left: Any, right: Any = None, *, across: bool = False, roles: Mapping[str, str] | None = None,
    hidden: Sequence[str] = (), limits: Limits | None = None,
) -> Records:  # fmt: skip
    """Take one or two Arrow tables in: see what their columns are, and clean them.

    Only pairs `across` two tables are looked at where each of them is known to hold nobody twice.
    """
    limits = limits or Limits()
    connection = connect(limits)
    tables = [each for each in (left, right) if each is not None]
    names = _names_of_all(tables, hidden)
    count = sum(table.num_rows for table in tables)
    _register(connection, [table.select(names) for table in tables])
    columns = matching.columns_of([_look(connection, name) for name in names], count, roles)
    used = [column for column in columns if column.role != "ignored"]
    if not used:
        raise AuthorError("no column says anything of a person. Declare one: --role COLUMN=surname")
    made = ", ".join(f"{matching.cleaned(column, _quoted(column.name))} AS {column.sql}" for column in used)
    connection.execute(f"CREATE TEMP TABLE people AS SELECT row, {made} FROM given ORDER BY row")
    comparisons = matching.comparisons_of(columns)
    return Records(
        connection=connection,
        count=count,
        first_count=tables[0].num_rows if across else count,
        columns=columns,
        comparisons=comparisons,
        rarity=_rarity(connection, comparisons, count),
    )


def _names_of_all(tables: Sequence[Any], hidden: Sequence[str]) -> list[str]:
    """The columns that every table has."""
    names = [name for name in tables[0].column_names if all(name in table.column_names for table in tables)]
    if not set(names) - set(hidden):
        raise AuthorError("the two tables have no column of the same name. Rename columns so that equal ones match.")
    return [name for name in names if name not in hidden]


def _register(connection: Any, tables: Sequence[Any]) -> None:
    """The tables one after the other as `given`, rows numbered through."""
    import pyarrow as pa

    first = 0
    for number, table in enumerate(tables):
        rows = pa.array(range(first, first + table.num_rows), pa.int32())
        connection.register(f"given_{number}", table.append_column(_ROW, rows))
        first += table.num_rows
    union = " UNION ALL BY NAME ".join(f"SELECT * FROM given_{number}" for number in range(len(tables)))
    connection.execute(
        f"CREATE TEMP VIEW given AS SELECT {_quoted(_ROW)} AS row, * EXCLUDE ({_quoted(_ROW)}) FROM ({union})"
    )


def connect(limits: Limits) -> duckdb.DuckDBPyConnection:
    """A database in memory that writes nothing to a disk."""
    import duckdb

    connection = duckdb.connect(":memory:")
    connection.execute("SET temp_directory = ''")
    connection.execute(f"SET memory_limit = '{limits.memory}'")
    connection.execute(f"SET threads = {limits.threads}")
    connection.execute("SET preserve_insertion_order = true")
    return connection


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _look(connection: Any, name: str) -> Seen:
    quoted = _quoted(name)
    filled, distinct = connection.execute(
        f"SELECT count({quoted}), count(DISTINCT {quoted}) FROM given WHERE trim(CAST({quoted} AS VARCHAR)) <> ''"
    ).fetchone()
    dates = ", ".join(f"avg(CAST(try_strptime(v, '{each}') IS NOT NULL AS INT))" for each in _DATE_FORMATS)
    emails, phones, numbers, *by_format = connection.execute(
        f"""SELECT avg(CAST(v LIKE '%_@_%._%' AS INT)),
            avg(CAST(regexp_full_match(v, '[+(]?[0-9][0-9 ()/.-]{{5,18}}[0-9]') AS INT)),
            avg(CAST(TRY_CAST(v AS DOUBLE) IS NOT NULL AS INT)), {dates}
        FROM (SELECT trim(CAST({quoted} AS VARCHAR)) AS v FROM given
              WHERE trim(CAST({quoted} AS VARCHAR)) <> '' LIMIT {_LOOKED_AT})"""
    ).fetchone()
    shares = [share or 0.0 for share in by_format]
    best = max(range(len(shares)), key=lambda number: (round(shares[number], 2), -number))
    return Seen(
        name=name, filled=filled, distinct=distinct, emails=emails or 0.0, phones=phones or 0.0, numbers=numbers or 0.0,
        dates=shares[best], date_format=_DATE_FORMATS[best] if shares[best] > 0.3 else "",
    )  # fmt: skip


def _rarity(connection: Any, comparisons: Sequence[Comparison], count: int) -> NDArray[np.float32]:
    """What a value's frequency adds: bits between the average agreement and agreement on this value."""
    rarity = np.zeros((count, len(comparisons)), np.float32)
    for number, each in enumerate(comparisons):
        held = connection.execute(
            f"""SELECT p.row, f.n FROM people p JOIN (SELECT {each.column} AS v, count(*) AS n FROM people
            WHERE {each.column} IS NOT NULL GROUP BY 1) f ON p.{each.column} = f.v"""
        ).fetchnumpy()
        n = held["n"].astype(np.float64)
        filled = len(n)
        average = (n - 1).sum() / max(filled * (filled - 1.0), 1.0)
        others = np.maximum(n - 1, 0.5) / max(filled - 1.0, 1.0)
        rarity[held["row"], number] = np.log2(average / others) if average else 0.0
    return rarity


# ------------------------------------------------------------------ found and random pairs


def find(records: Records, limits: Limits | None = None) -> tuple[NDArray[np.int64], list[tuple[str, int]]]:
    """Pairs that share a key, each once, as (left << 32 | right); and how many each key gave.

    A key takes its rarest values first, up to its share of what matching may cost: a name that thousands bear leads to
    nobody by itself, and does so together with something else.
    """
    limits = limits or Limits()
    if records.possible <= limits.least:
        return random_pairs(records, limits.least), [("all with all", int(records.possible))]
    keys = matching.keys_of(records.columns)
    parts = hashed_parts(records.connection, keys)
    each_max = int(max(limits.each * records.count, limits.least / max(len(keys), 1) * 4))
    found: list[NDArray[np.int64]] = []
    told: list[tuple[str, int]] = []
    with ThreadPoolExecutor(limits.threads) as pool:
        for key, pairs in zip(
            keys, pool.map(lambda key: _sharing(records, hashed(key, parts), each_max), keys), strict=True
        ):
            told.append((key.name, len(pairs)))
            found.append(pairs)
            if sum(map(len, found)) > _CHUNK * 4:
                found = [_each_once(found)]
    together = _each_once(found)
    if len(together) > limits.pairs_max:
        raise OperatorError(
            f"{len(together):,} comparisons, and at most {limits.pairs_max:,} are made. Leave out columns that say "
            f"little (--role COLUMN=ignored), or add one that says more."
        )
    return together, told


def _each_once(found: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    together = np.concatenate(found) if found else np.empty(0, np.int64)
    together.sort()
    return np.asarray(together[np.r_[True, together[1:] != together[:-1]]]) if len(together) else together


def hashed_parts(connection: Any, keys: Sequence[Key], table: str = "people") -> dict[str, NDArray[np.uint64]]:
    """Each part of the keys as a number for each record, 0 where it is missing."""
    parts = list(dict.fromkeys(part for key in keys for part in key.parts))
    said = ", ".join(f"{hash_sql(part)} AS p{number}" for number, part in enumerate(parts))
    table_of = connection.execute(f"SELECT {said} FROM {table} ORDER BY row").fetchnumpy()
    return {part: np.asarray(table_of[f"p{number}"], np.uint64) for number, part in enumerate(parts)}


def hash_sql(part: str) -> str:
    """A part of a key as a number, 0 where it is missing."""
    return f"CASE WHEN ({part}) IS NULL THEN 0::UBIGINT ELSE hash({part}) END"


def packing_sql(comparisons: Sequence[Comparison]) -> str:
    """The outcomes of all comparisons in one number."""
    scale = np.cumprod([1, *(each.size for each in comparisons)])
    return " + ".join(
        f"{factor} * CAST({each.sql()} AS BIGINT)" for factor, each in zip(scale, comparisons, strict=False)
    )


def hashed(key: Key, parts: Mapping[str, NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """A key as one number for each record, 0 where a part is missing."""
    together = parts[key.parts[0]]
    for part in key.parts[1:]:
        mixed = (together * _MIXING) ^ (parts[part] + (together >> np.uint64(29)))
        together = np.where((together == 0) | (parts[part] == 0), np.uint64(0), mixed)
    return together


def _sharing(records: Records, keyed: NDArray[np.uint64], most: int) -> NDArray[np.int64]:
    there = np.flatnonzero(keyed).astype(np.int32)
    order = np.argsort(keyed[there])
    rows, keyed = there[order], keyed[there[order]]
    starts = np.flatnonzero(np.r_[True, keyed[1:] != keyed[:-1]]) if len(keyed) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(keyed)])
    starts, sizes = starts[sizes > 1], sizes[sizes > 1]
    order = np.argsort(sizes, kind="stable")
    starts, sizes = starts[order], sizes[order]
    kept = np.cumsum(sizes * (sizes - 1) // 2) <= most
    return _pairs_within(rows, starts[kept], sizes[kept], records.first_count if records.is_linking else None)


def _pairs_within(
    rows: NDArray[np.int32], starts: NDArray[np.int64], sizes: NDArray[np.int64], first_count: int | None
) -> NDArray[np.int64]:
    """All pairs inside each block of rows, block sizes taken together since they make the same figure."""
    found = []
    for size in np.unique(sizes):
        a, b = np.triu_indices(int(size), 1)
        blocks = rows[starts[sizes == size][:, None] + np.arange(size)]
        left, right = blocks[:, a].ravel().astype(np.int64), blocks[:, b].ravel().astype(np.int64)
        left, right = np.minimum(left, right), np.maximum(left, right)
        if first_count is not None:
            across = (left < first_count) & (right >= first_count)
            left, right = left[across], right[across]
        found.append(left << 32 | right)
    return np.concatenate(found) if found else np.empty(0, np.int64)


def random_pairs(records: Records, most: int, seed: int = 0) -> NDArray[np.int64]:
    """Pairs taken at random; all there are, where they are few."""
    luck = np.random.default_rng(seed)
    n, first = records.count, records.first_count
    if records.possible <= most:
        if records.is_linking:
            left, right = np.divmod(np.arange(first * (n - first), dtype=np.int64), n - first)
            return np.asarray(left << 32 | (right + first))
        a, b = np.triu_indices(n, 1)
        return a.astype(np.int64) << 32 | b.astype(np.int64)
    if records.is_linking:
        left, right = luck.integers(0, first, most), luck.integers(first, n, most)
    else:
        left, right = luck.integers(0, n, most), luck.integers(0, n, most)
    left, right = np.minimum(left, right), np.maximum(left, right)
    return np.asarray((left << 32 | right)[left != right])


# ------------------------------------------------------------------ comparing and weighing


def compare(records: Records, pairs: NDArray[np.int64], tell: Callable[[int], None] | None = None) -> Pairs:
    """The outcome of every comparison for each pair."""
    import pyarrow as pa

    packed = np.empty(len(pairs), np.int64)
    left, right = (pairs >> 32).astype(np.int32), (pairs & 0xFFFFFFFF).astype(np.int32)
    said = packing_sql(records.comparisons)
    for start in range(0, len(pairs), _CHUNK):
        part = slice(start, start + _CHUNK)
        given = pa.table({"l": left[part], "r": right[part], "n": np.arange(len(left[part]), dtype=np.int32)})
        records.connection.register("pairs", given)
        outcome = records.connection.execute(
            f"SELECT p.n, {said} AS packed FROM pairs p JOIN people l ON p.l = l.row JOIN people r ON p.r = r.row"
        ).fetchnumpy()
        packed[start + outcome["n"]] = outcome["packed"]
        if tell:
            tell(min(start + _CHUNK, len(pairs)))
    return Pairs(left, right, packed)


def unpacked(comparisons: Sequence[Comparison], packed: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Packed outcomes as one column for each comparison."""
    outcomes = np.empty((len(packed), len(comparisons)), np.uint8)
    rest = packed
    for number, each in enumerate(comparisons):
        rest, outcomes[:, number] = np.divmod(rest, each.size)
    return outcomes


def _counted(comparisons: Sequence[Comparison], packed: NDArray[np.int64]) -> weights.Counted:
    """How many pairs had each combination of outcomes."""
    kinds, counts = np.unique(packed, return_counts=True)
    return weights.Counted(unpacked(comparisons, kinds), counts.astype(np.float64))


def learn(records: Records, found: Pairs, limits: Limits | None = None, seed: int = 0) -> weights.Model:
    """What each agreement is worth, from these records alone."""
    limits = limits or Limits()
    random = compare(records, random_pairs(records, limits.random, seed))
    return weights.fit(
        records.comparisons,
        _counted(records.comparisons, found.packed),
        _counted(records.comparisons, random.packed),
        records.possible,
    )


def score(records: Records, found: Pairs, model: weights.Model, least: float = -10.0) -> Scored:
    """The weight of each pair, with what the rarity of its values adds; pairs far below `least` bits are let go."""
    kinds, which = np.unique(found.packed, return_inverse=True)
    outcomes = unpacked(records.comparisons, kinds)
    # No value adds more than the rarest of its column: what is hopeless even so needs no look at its values.
    highest = records.rarity.max(axis=0, initial=0.0)
    hopeful = weights.weigh(model, outcomes) + ((outcomes == 1) * highest).sum(axis=1) >= least
    kept = hopeful[which]
    left, right, which = found.left[kept], found.right[kept], which[kept]
    outcomes = outcomes[which]
    total = weights.weigh(model, outcomes, rarity_of(records, model, left, outcomes))
    kept = total >= least
    return Scored(left[kept], right[kept], total[kept])


def rarity_of(
    records: Records, model: weights.Model, rows: NDArray[np.int32], outcomes: NDArray[np.uint8]
) -> weights.Rarity:
    """What the frequency of the values adds where they are equal; equal is never worth less than nearly equal."""
    bits = {who: np.zeros(len(rows)) for who in ("own", "household", "place")}
    for number, (who, worth) in enumerate(
        zip([each.sharing for each in model.comparisons], model.weights(), strict=True)
    ):
        floor = max((w for w in worth[2:] if w < worth[1]), default=0.0) - worth[1]
        equal = outcomes[:, number] == 1
        bits[who][equal] += np.maximum(records.rarity[rows[equal], number], floor)
    return weights.Rarity(**bits)
