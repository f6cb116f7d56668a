"""One new record against all that are known, in milliseconds: whose it is likely to be.

The keys of all records are kept sorted; those of the new one are looked up, and the records that share the most of them
are compared by the very expressions a batch uses, and weighed by the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from wayline.observation import matching, weights
from wayline.runtime.matching import (
    Limits,
    Records,
    connect,
    hash_sql,
    hashed,
    hashed_parts,
    packing_sql,
    rarity_of,
    unpacked,
)  # fmt: skip

__all__ = ["Candidate", "Index"]

_BLOCK_MAX = 100  # records that share one key: more, and the key leads to nobody by itself
_COMPARED_MAX = 200  # records compared with a new one, those that share the most keys


class Candidate(Struct, frozen=True):
    """Who a new record may be, by one of the records of theirs that are known."""

    owner: str
    row: int
    weight: float
    """The odds in bits that the two records are one person."""
    confidence: float
    """How sure it is, other owners of records like it considered."""


class Index:
    """All known records, ready to be asked; `owners` says whose each is, the record's own number where left out."""

    def __init__(self, records: Records, model: weights.Model, owners: Sequence[str] | None = None) -> None:
        self._records = records
        self._model = model
        self._owners = owners
        self._keys = matching.keys_of(records.columns)
        parts = hashed_parts(records.connection, self._keys)
        self._sorted = [_sorted(hashed(key, parts)) for key in self._keys]
        people = records.connection.sql("SELECT * EXCLUDE (row) FROM people ORDER BY row").to_arrow_table()
        self._people = people.combine_chunks()
        # A connection of its own, with the questions prepared: planning them would take longer than answering.
        self._asked = connect(Limits(threads=1, memory="512MB"))
        self._used = [column for column in records.columns if column.role != "ignored"]
        self._parts = list(dict.fromkeys(part for key in self._keys for part in key.parts))
        for name, sql in _questions(self._used, self._parts, records.comparisons).items():
            self._asked.execute(f"PREPARE {name} AS {sql}")

    def match_one(self, record: Mapping[str, Any], count: int = 5) -> list[Candidate]:
        """The likeliest owners of a record, the likeliest first; none where nobody has anything in common with it."""
        given = [_literal(None if record.get(c.name) is None else str(record[c.name])) for c in self._used]
        cleaned = [_literal(value) for value in self._answers("cleaned", given).fetchone()]
        rows = self._sharing(self._answers("hashed", cleaned).fetchone())
        if not len(rows):
            return []
        known = self._people.take(rows)
        listed = [f"[{', '.join(map(_literal, known[c.sql].to_pylist()))}]" for c in self._used]
        packed = self._answers("compared", [*cleaned, *listed]).fetchnumpy()["packed"]
        outcomes = unpacked(self._records.comparisons, np.asarray(packed, np.int64))
        rarity = rarity_of(self._records, self._model, rows, outcomes)
        return self._ranked(rows, weights.weigh(self._model, outcomes, rarity))[:count]

    def _answers(self, question: str, given: Sequence[str]) -> Any:
        return self._asked.execute(f"EXECUTE {question}({', '.join(given)})")

    def _sharing(self, hashes: Sequence[int]) -> NDArray[np.int32]:
        """Rows that share keys with a record; where they are many, those that share the most."""
        parts = {part: np.array([number], np.uint64) for part, number in zip(self._parts, hashes, strict=True)}
        wanted = _short(np.concatenate([hashed(key, parts) for key in self._keys]))
        found = []
        for (keyed, rows), short in zip(self._sorted, wanted, strict=True):
            start, end = keyed.searchsorted(short, "left"), keyed.searchsorted(short, "right")
            if short and end - start <= _BLOCK_MAX:
                found.append(rows[start:end])
        rows, shared = np.unique(np.concatenate(found) if found else np.empty(0, np.int32), return_counts=True)
        if len(rows) > _COMPARED_MAX:
            rows = rows[np.argsort(-shared, kind="stable")[:_COMPARED_MAX]]
        return np.asarray(rows, np.int32)

    def _ranked(self, rows: NDArray[np.int32], weight: NDArray[np.float64]) -> list[Candidate]:
        best: dict[str, tuple[float, int]] = {}
        for row, bits in zip(rows.tolist(), weight.tolist(), strict=True):
            owner = str(row) if self._owners is None else self._owners[row]
            best[owner] = max(best.get(owner, (-np.inf, row)), (bits, row))
        odds = {owner: 2.0 ** min(bits, 200.0) for owner, (bits, _) in best.items()}
        every = 1 + sum(odds.values())
        found = [Candidate(owner, row, bits, odds[owner] / every) for owner, (bits, row) in best.items()]
        return sorted(found, key=lambda each: (-each.weight, each.owner))


def _sorted(keyed: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    short = _short(keyed)
    there = np.flatnonzero(short).astype(np.int32)
    order = np.argsort(short[there], kind="stable")
    return short[there][order], there[order]


def _short(keyed: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Half of a key is enough to look it up: whoever shares it by chance is compared, and no more."""
    return np.asarray(keyed >> np.uint64(32), np.uint32)


def _questions(
    columns: Sequence[matching.Column], parts: Sequence[str], comparisons: Sequence[matching.Comparison]
) -> dict[str, str]:
    """What is asked of the database for each record: its cleaned values, its keys, how it compares with others."""
    given = ", ".join(f"${number}::VARCHAR AS {c.sql}" for number, c in enumerate(columns, 1))
    several = ", ".join(
        f"unnest(${number}::VARCHAR[]) AS {c.sql}" for number, c in enumerate(columns, len(columns) + 1)
    )
    return {
        "cleaned": f"SELECT {', '.join(matching.cleaned(c, c.sql) for c in columns)} FROM (SELECT {given})",
        "hashed": f"SELECT {', '.join(map(hash_sql, parts))} FROM (SELECT {given})",
        "compared": f"SELECT {packing_sql(comparisons)} AS packed FROM (SELECT {several}) r, (SELECT {given}) l",
    }


def _literal(value: str | None) -> str:
    return "NULL" if value is None else "'" + value.replace("\0", "").replace("'", "''") + "'"
