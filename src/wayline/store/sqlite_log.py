"""The log in one SQLite file: events in the order they were acknowledged, each key once.

Positions are given out here, one after another within one transaction, so what is committed has no gaps and a reader
that asks for more than its last position skips nothing.
"""

from __future__ import annotations

import threading
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import apsw
from msgspec import Struct, field, json, msgpack
from msgspec.structs import replace

from wayline.domain import Event, Identifier
from wayline.store import REJECTED_BODY_MAX, REJECTED_BYTES_MAX, Appended, Rejection, Volume
from wayline.store.duplicates import CONFLICTS_MAX, is_same_content, key_hash
from wayline.store.durable import Durable, all_rows, first_value
from wayline.store.encoding import Encoded, decoded, encoded, placed
from wayline.store.seal import Seal
from wayline.store.seen import CHAPTER_KEYS, SEEN_SCHEMA, Seen
from wayline.store.volumes import VOLUMES_SCHEMA, Counting, kept_volumes, own_names

__all__ = ["REJECTIONS_MAX", "SqliteLog"]

REJECTIONS_MAX = 1_000_000  # kept; older ones go, and stay counted
_PAGE_BYTES = 8192
_STRETCH = 20_000  # positions looked through at a time, so that nobody holds an old snapshot open for long
_ABOUT = "rejected event"
_TOGETHER = 64  # rows in one statement
_INSERT_TOGETHER = f"INSERT INTO events VALUES {', '.join(['(?, ?, ?)'] * _TOGETHER)}"

_SCHEMA_1 = f"""
CREATE TABLE events (position INTEGER PRIMARY KEY, name TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE conflicts (number INTEGER PRIMARY KEY, position INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX conflicts_by_position ON conflicts (position);
CREATE TABLE rejections (number INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE totals (
    stored INTEGER NOT NULL, duplicate INTEGER NOT NULL, conflict INTEGER NOT NULL, rejected INTEGER NOT NULL
) STRICT;
INSERT INTO totals VALUES (0, 0, 0, 0);
{SEEN_SCHEMA}
"""
# What was said stands apart from why it was rejected, which is read far more often; rows from before hold both in one.
_SCHEMA_3 = """
ALTER TABLE rejections ADD COLUMN told BLOB;
CREATE TABLE rejections_kept (count INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
INSERT INTO rejections_kept SELECT count(*), coalesce(sum(length(body)), 0) FROM rejections;
CREATE TRIGGER rejection_kept AFTER INSERT ON rejections BEGIN
    UPDATE rejections_kept SET count = count + 1, bytes = bytes + length(new.body) + coalesce(length(new.told), 0);
END;
CREATE TRIGGER rejection_gone AFTER DELETE ON rejections BEGIN
    UPDATE rejections_kept SET count = count - 1, bytes = bytes - length(old.body) - coalesce(length(old.told), 0);
END;
"""
_MIGRATIONS = (_SCHEMA_1, VOLUMES_SCHEMA, _SCHEMA_3)  # only ever appended to

_encode = msgpack.Encoder().encode
_rejection = msgpack.Decoder(Rejection).decode


class _Known(Struct):
    """Of an event, only what its place in a chronicle depends on."""

    occurred_at: datetime
    received_at: datetime
    fires: bool = True


class _Carried(Struct):
    """Of an event, only who it may be about."""

    identifiers: tuple[Identifier, ...] = ()


_known = msgpack.Decoder(_Known).decode
_carried = msgpack.Decoder(_Carried).decode


class _Written(Struct):
    """What one append wrote, to be remembered once it is committed."""

    counting: Counting
    rows: list[tuple[int, str, bytes]] = []
    fresh: list[Encoded] = []
    hashes: list[int] = []
    filters: list[tuple[int, bytes]] = []
    duplicates: int = 0
    conflicts: int = 0
    beside: Counter[tuple[str, str]] = field(default_factory=Counter)


class SqliteLog:
    """What happened, in one file; rejected events are sealed in it."""

    def __init__(
        self,
        path: Path,
        seal: Seal,
        *,
        chapter_keys: int = CHAPTER_KEYS,
        rejected_bytes_max: int = REJECTED_BYTES_MAX,
        is_durable: bool = True,
    ) -> None:
        self._seal = seal
        self._rejected_bytes_max = rejected_bytes_max
        self._chapter_keys = chapter_keys
        self._lock = threading.Lock()
        self._file = Durable(path, _MIGRATIONS, page_bytes=_PAGE_BYTES, is_durable=is_durable)
        with self._file.reading() as connection:
            self._head = _head(connection)
            self._seen = Seen(connection, chapter_keys)
            self._own_names = own_names(connection)

    # ------------------------------------------------------------------ writing

    def append(self, events: Sequence[Event | Encoded], rejections: Sequence[Rejection] = ()) -> Appended:
        ready: list[Encoded] = []
        unstorable: list[Rejection] = []
        for event in events:
            one = event if type(event) is Encoded else encoded(event)  # type: ignore[arg-type]  # it is no subclass
            if type(one) is Encoded:
                ready.append(one)
            else:
                unstorable.append(one)  # type: ignore[arg-type]  # the other of the two
        with self._lock:
            written = self._file.write(lambda connection: self._append(connection, ready, (*rejections, *unstorable)))
            # Only now, when it is on disk, is it known: had the write failed, none of it would have happened.
            self._seen.add(self._head + 1, written.hashes)
            self._head += len(written.rows)
            self._seen.sealed(written.filters)
            self._own_names = written.counting.own
            return Appended(
                stored=len(written.rows),
                duplicates=written.duplicates,
                conflicts=written.conflicts,
                unstorable=len(unstorable),
                head=self._head,
                beside=written.beside + Counter((one.source, "unstorable") for one in unstorable),
            )

    def _append(
        self,
        connection: apsw.Connection,
        ready: Sequence[Encoded],
        rejected: Sequence[Rejection],
    ) -> _Written:
        self._catch_up(connection)
        written = _Written(Counting(self._own_names))
        self._sort(connection, ready, self._seen.find(connection, [one.key for one in ready]), written)
        if written.rows:
            _insert(connection, written.rows)
            self._seen.write(connection, self._head + 1, written.hashes)
            written.filters = self._seen.seal_full_chapters(connection, self._head + len(written.rows))
        if rejected:
            bodies = [self._sealed(one.within(REJECTED_BODY_MAX)) for one in rejected]
            connection.executemany("INSERT INTO rejections (body, told) VALUES (?, ?)", bodies)
            self._drop_oldest_rejections(connection)
            for one in rejected:
                written.counting.rejected(one)
        for kind, count in Counter((one.hour, one.source, one.name, one.marks) for one in written.fresh).items():
            written.counting.stored(*kind, count)
        written.counting.write(connection)
        connection.execute(
            "UPDATE totals SET stored = stored + ?, duplicate = duplicate + ?, conflict = conflict + ?,"
            " rejected = rejected + ?",
            (len(written.rows), written.duplicates, written.conflicts, len(rejected)),
        )
        return written

    def _sealed(self, one: Rejection) -> tuple[bytes, bytes]:
        why = _encode(replace(one, body=b""))
        return self._seal.close(why, _ABOUT), self._seal.close(one.body, _ABOUT)

    def _opened(self, why: bytes, told: bytes | None) -> Rejection:
        one = _rejection(self._seal.open(why, _ABOUT))
        return one if told is None else replace(one, body=self._seal.open(told, _ABOUT))

    def _drop_oldest_rejections(self, connection: apsw.Connection) -> None:
        connection.execute(
            "DELETE FROM rejections WHERE number <= (SELECT max(number) FROM rejections) - ?", (REJECTIONS_MAX,)
        )
        over = (first_value(connection, "SELECT bytes FROM rejections_kept") or 0) - self._rejected_bytes_max
        if over <= 0:
            return
        last = 0
        sql = "SELECT number, length(body) + coalesce(length(told), 0) FROM rejections ORDER BY number"
        for number, size in connection.execute(sql):
            last, over = number, over - size
            if over <= 0:
                break
        connection.execute("DELETE FROM rejections WHERE number <= ?", (last,))

    def _catch_up(self, connection: apsw.Connection) -> None:
        head = _head(connection)
        if head != self._head:  # a collector in another process has written since
            self._head, self._seen = head, Seen(connection, self._chapter_keys)

    def _sort(
        self,
        connection: apsw.Connection,
        ready: Iterable[Encoded],
        found: dict[int, list[int]],
        written: _Written,
    ) -> None:
        """Tell what is new from what is known, and give what is new its place."""
        position = self._head
        for one in ready:
            key = one.key
            if key in found:
                event = one.event
                holder = self._holder(connection, found[key], event, written)
                if holder is not None:
                    self._put_beside(connection, holder, event, written)
                    continue
            position += 1
            written.rows.append((position, one.name, placed(one.body, position)))
            written.fresh.append(one)
            written.hashes.append(key)
            found.setdefault(key, []).append(position)

    def _holder(
        self, connection: apsw.Connection, positions: Iterable[int], event: Event, written: _Written
    ) -> Event | None:
        """The stored event of this very key; equal hashes are not yet equal keys."""
        for position in positions:
            if position > self._head:
                body = written.rows[position - self._head - 1][2]
            else:
                body = first_value(connection, "SELECT body FROM events WHERE position = ?", (position,))
            stored = decoded(body)
            if (stored.source, stored.event_id) == (event.source, event.event_id):
                return stored
        return None

    def _put_beside(self, connection: apsw.Connection, holder: Event, event: Event, written: _Written) -> None:
        rows = all_rows(connection, "SELECT body FROM conflicts WHERE position = ?", (holder.position,))
        if any(is_same_content(one, event) for one in (holder, *(decoded(body) for (body,) in rows))):
            written.duplicates += 1
            written.beside[event.source, "duplicate"] += 1
            written.counting.again(event, is_conflict=False)
            return
        written.conflicts += 1
        written.beside[event.source, "conflict"] += 1
        written.counting.again(event, is_conflict=True)
        if len(rows) < CONFLICTS_MAX:
            body = _encode(replace(event, position=holder.position))
            connection.execute("INSERT INTO conflicts (position, body) VALUES (?, ?)", (holder.position, body))

    # ------------------------------------------------------------------ reading

    def holds(self, keys: Sequence[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        with self._lock, self._file.reading() as connection:
            self._catch_up(connection)
            found = self._seen.find(connection, [key_hash(*key) for key in keys])
        positions = sorted({position for places in found.values() for position in places})
        sql = "SELECT body FROM events WHERE position IN (SELECT value FROM json_each(?))"
        stored = self._events(sql, json.encode(positions).decode()) if positions else ()
        return frozenset(keys).intersection((event.source, event.event_id) for event in stored)

    def read(self, after: int, count_max: int) -> list[Event]:
        return self._events("SELECT body FROM events WHERE position > ? ORDER BY position LIMIT ?", after, count_max)

    def named(self, names: Sequence[str], after: int = 0) -> Iterator[Event]:
        sql = """SELECT body FROM events WHERE position > ? AND position <= ?
            AND name IN (SELECT value FROM json_each(?)) ORDER BY position"""
        wanted = json.encode(names).decode()
        for start in range(max(after, 0), self.head(), _STRETCH):
            yield from self._events(sql, start, start + _STRETCH, wanted)

    def about(self, identifiers: Sequence[Identifier], count_max: int) -> list[Event]:
        wanted = frozenset(identifiers)
        sql = "SELECT body FROM events WHERE position > ? AND position <= ? ORDER BY position DESC"
        found: list[Event] = []
        for end in range(self.head() if wanted else 0, 0, -_STRETCH):
            # Of nearly every row only the identifiers are read: to look for each in its bytes takes longer, already
            # for a few, and longer with each.
            for (body,) in self._rows(sql, end - _STRETCH, end):
                if not wanted.isdisjoint(_carried(body).identifiers):
                    found.append(decoded(body))
            if len(found) >= count_max:
                break
        return found[:count_max][::-1]

    def chronicle(self) -> Iterator[Event]:
        # Two readings: the instants of all, a few bytes each, then the events in their order, a stretch at a time.
        instants = array("d")
        positions = array("q")
        for start in range(0, self.head(), _STRETCH):
            for position, body in self._rows(
                "SELECT position, body FROM events WHERE position > ? AND position <= ? ORDER BY position",
                start,
                start + _STRETCH,
            ):
                known = _known(body)
                instants.append((known.received_at if known.fires else known.occurred_at).timestamp())
                positions.append(position)
        order: Sequence[int] = range(len(positions))
        if any(later < earlier for earlier, later in pairwise(instants)):
            order = sorted(order, key=instants.__getitem__)
        for start in range(0, len(order), _STRETCH):
            wanted = [positions[at] for at in order[start : start + _STRETCH]]
            sql = "SELECT body FROM events WHERE position IN (SELECT value FROM json_each(?)) ORDER BY position"
            found = {event.position: event for event in self._events(sql, json.encode(wanted).decode())}
            yield from (found[position] for position in wanted)

    def head(self) -> int:
        with self._file.reading() as connection:
            return _head(connection)

    def rejections(self, count_max: int = 1000) -> list[Rejection]:
        return [one for _, one in self.rejected(0, count_max)]

    def rejected(self, before: int, count_max: int, *, is_whole: bool = True) -> list[tuple[int, Rejection]]:
        told = "told" if is_whole else "NULL"
        sql = f"SELECT number, body, {told} FROM rejections WHERE ? = 0 OR number < ? ORDER BY number DESC LIMIT ?"
        rows = self._rows(sql, before, before, max(count_max, 0))
        found = [(number, self._opened(why, told)) for number, why, told in rows]
        return found if is_whole else [(number, replace(one, body=b"")) for number, one in found]

    def rejected_numbers(self, before: int, count_max: int) -> list[int]:
        sql = "SELECT number FROM rejections WHERE ? = 0 OR number < ? ORDER BY number DESC LIMIT ?"
        return [number for (number,) in self._rows(sql, before, before, max(count_max, 0))]

    def rejected_kept(self) -> int:
        with self._file.reading() as connection:
            return first_value(connection, "SELECT count FROM rejections_kept") or 0

    def let_go(self, numbers: Sequence[int]) -> int:
        wanted = json.encode(numbers).decode()

        def let_go(connection: apsw.Connection) -> int:
            connection.execute("DELETE FROM rejections WHERE number IN (SELECT value FROM json_each(?))", (wanted,))
            return connection.changes()

        with self._lock:
            return self._file.write(let_go)

    def volumes(self, since: datetime) -> list[Volume]:
        with self._file.reading() as connection:
            return kept_volumes(connection, since)

    def conflicts(self, count_max: int = 1000) -> list[Event]:
        return self._events("SELECT body FROM conflicts ORDER BY position, number LIMIT ?", count_max)

    def counts(self) -> Mapping[str, int]:
        with self._file.reading() as connection:
            ((stored, duplicate, conflict, rejected),) = all_rows(connection, "SELECT * FROM totals")
        return {"stored": stored, "duplicate": duplicate, "conflict": conflict, "rejected": rejected}

    def _events(self, sql: str, *bindings: int | str | bytes) -> list[Event]:
        return [decoded(body) for (body,) in self._rows(sql, *bindings)]

    def _rows(self, sql: str, *bindings: int | str | bytes) -> list[Any]:
        with self._file.reading() as connection:
            return all_rows(connection, sql, bindings)

    def close(self) -> None:
        self._file.close()


def _head(connection: apsw.Connection) -> int:
    return first_value(connection, "SELECT max(position) FROM events") or 0


def _insert(connection: apsw.Connection, rows: Sequence[tuple[int, str, bytes]]) -> None:
    # Many rows in one statement: between two statements another thread may run, and keep this one waiting for long.
    whole = len(rows) // _TOGETHER * _TOGETHER
    for first in range(0, whole, _TOGETHER):
        connection.execute(_INSERT_TOGETHER, list(chain.from_iterable(rows[first : first + _TOGETHER])))
    connection.executemany("INSERT INTO events VALUES (?, ?, ?)", rows[whole:])
