"""How much came of what, from whom and how late: one row an hour, written in the transaction that stores the events.

So the figures are exact at every commit, and asking for a month of them reads a few thousand rows and no event. Names a
sender makes up are counted by themselves while they are few, and together from then on: whoever holds a public key may
invent as many as they like.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import apsw

from wayline.domain import Event
from wayline.observation.vocabulary import VOCABULARY
from wayline.store import Rejection, Volume
from wayline.store.durable import all_rows
from wayline.store.encoding import BROKEN, IMPORTED, LATE, NOT_VERIFIED, hour_of

__all__ = ["OTHERS", "VOLUMES_SCHEMA", "Counting", "kept_volumes", "own_names"]

OTHERS: Final = "(others)"
"""What names of a sender's own are counted under once there are too many of them."""

_OWN_NAMES_MAX = 200  # names no vocabulary knows that are counted by themselves
_KEPT = timedelta(days=400)  # rows older than this go

VOLUMES_SCHEMA = """
CREATE TABLE volumes (
    hour INTEGER NOT NULL, source TEXT NOT NULL, name TEXT NOT NULL,
    stored INTEGER NOT NULL, duplicates INTEGER NOT NULL, conflicts INTEGER NOT NULL, rejected INTEGER NOT NULL,
    late INTEGER NOT NULL, imported INTEGER NOT NULL, unverified INTEGER NOT NULL, broken INTEGER NOT NULL,
    PRIMARY KEY (hour, source, name)
) STRICT, WITHOUT ROWID;
"""

_ADD = """INSERT INTO volumes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hour, source, name) DO UPDATE SET stored = stored + excluded.stored,
    duplicates = duplicates + excluded.duplicates, conflicts = conflicts + excluded.conflicts,
    rejected = rejected + excluded.rejected, late = late + excluded.late, imported = imported + excluded.imported,
    unverified = unverified + excluded.unverified, broken = broken + excluded.broken"""

_STORED, _DUPLICATES, _CONFLICTS, _REJECTED, _LATE_AT, _IMPORTED, _UNVERIFIED, _BROKEN = range(8)
_MARKED = ((_LATE_AT, LATE), (_IMPORTED, IMPORTED), (_UNVERIFIED, NOT_VERIFIED), (_BROKEN, BROKEN))


class Counting:
    """What one append counts, and the names it has met."""

    def __init__(self, own: Iterable[str] = ()) -> None:
        self.own = set(own)
        """Names of senders' own that are counted by themselves."""
        self._rows: dict[tuple[int, str, str], list[int]] = {}
        self._names: dict[str, str] = {}

    def stored(self, hour: int, source: str, name: str, marks: int, count: int = 1) -> None:
        """Count events that were new, of one hour, source, name and set of marks."""
        row = self._row(hour, source, name)
        row[_STORED] += count
        for place, mark in _MARKED:
            if marks & mark:
                row[place] += count

    def again(self, event: Event, *, is_conflict: bool) -> None:
        """Count an event whose key was there: the same contents, or others."""
        row = self._row(hour_of(event.received_at), event.source, event.name)
        row[_CONFLICTS if is_conflict else _DUPLICATES] += 1

    def rejected(self, rejection: Rejection) -> None:
        """Count a message that became no event."""
        self._row(hour_of(rejection.received_at), rejection.source, rejection.name)[_REJECTED] += 1

    def volumes(self, since: datetime) -> list[Volume]:
        """What was counted in the hours from this one on, oldest first."""
        hour = hour_of(since)
        return [_volume((*key, *self._rows[key])) for key in sorted(self._rows) if key[0] >= hour]

    def _row(self, hour: int, source: str, name: str) -> list[int]:
        key = (hour, source, self._names.get(name) or self._counted_as(name))
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = [0] * 8
        return row

    def _counted_as(self, name: str) -> str:
        if name not in VOCABULARY and name not in self.own:
            if len(self.own) >= _OWN_NAMES_MAX:
                return OTHERS
            self.own.add(name)
        self._names[name] = name
        return name

    def write(self, connection: apsw.Connection) -> None:
        """Add what was counted to what is kept, and let go what is too old."""
        rows = [(*key, *counts) for key, counts in self._rows.items()]
        if rows:
            connection.executemany(_ADD, rows)
            newest = max(hour for hour, _, _ in self._rows)
            connection.execute("DELETE FROM volumes WHERE hour < ?", (newest - int(_KEPT.total_seconds()) // 3600,))


def own_names(connection: apsw.Connection) -> set[str]:
    """The names no vocabulary knows that are counted by themselves."""
    return {name for (name,) in all_rows(connection, "SELECT DISTINCT name FROM volumes")} - {*VOCABULARY, OTHERS}


def kept_volumes(connection: apsw.Connection, since: datetime) -> list[Volume]:
    """What is kept of the hours from this one on, oldest first."""
    hour = hour_of(since)
    rows = all_rows(connection, "SELECT * FROM volumes WHERE hour >= ? ORDER BY hour, source, name", (hour,))
    return [_volume(row) for row in rows]


def _volume(row: Sequence[Any]) -> Volume:
    hour, source, name, *counts = row
    return Volume(datetime.fromtimestamp(hour * 3600, UTC), source, name, *counts)
