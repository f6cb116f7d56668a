"""The state in one SQLite file: every customer's standing, what was decided, what waits to leave.

Standings are rewritten at random all day and a changed row costs its page in the write-ahead log; larger memories are
written lazily, in a table of their own. Instants are integer microseconds since 1970 in UTC. Values that are only ever
read whole are msgpack; what is searched by has a column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import apsw
from msgspec import msgpack
from msgspec.structs import replace

from wayline.domain import (
    Address,
    Customer,
    Decision,
    EntryRefusal,
    Hold,
    Identifier,
    Link,
    Memory,
    Merge,
    Product,
    Review,
    Split,
    Standing,
    Tie,
)
from wayline.errors import Broken
from wayline.store import Batch, Change, Delivery, DeliveryState, SetAside
from wayline.store.durable import Durable, all_rows, first_value
from wayline.store.lineage import asked_once, check_merges, check_splits, root_of, tie_of
from wayline.store.outbox import TRANSITIONS, check_move, is_born
from wayline.store.sqlite_tables import STATE

__all__ = ["SqliteState"]


_PAGE_BYTES = 4096
_ROWS = 500  # read at a time, so that nobody holds an old snapshot open while looking at a long list

_PUT_STANDING = """
INSERT INTO customers VALUES (?, ?, ?)
ON CONFLICT (customer_id) DO UPDATE SET standing = excluded.standing, wake_at = excluded.wake_at"""
_PUT_CHECKPOINT = """
INSERT INTO checkpoints VALUES (?, ?, ?)
ON CONFLICT (customer_id) DO UPDATE SET position = excluded.position, memory = excluded.memory"""
_KNOW_CUSTOMER = "INSERT INTO customers VALUES (?, NULL, NULL) ON CONFLICT DO NOTHING"
_PUT_LINK = """
INSERT INTO links (kind, value, customer_id, source, confidence, at, evidence) VALUES (?, ?, ?, ?, ?, ?, ?)"""
_PUT_MERGE = """
INSERT INTO merges (loser, survivor, confidence, evidence, at, who) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (loser) WHERE split IS NULL DO NOTHING"""
_PUT_SPLIT = "INSERT INTO splits (loser, survivor, evidence, at, who) VALUES (?, ?, ?, ?, ?)"
_END_MERGE = "UPDATE merges SET split = ? WHERE loser = ? AND split IS NULL"
_PUT_REVIEW = """
INSERT INTO reviews VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (review_id) DO UPDATE SET
state = excluded.state, confidence = excluded.confidence, body = excluded.body"""
_PUT_DECISION = """
INSERT INTO decisions (decision_id, customer_id, decided_at, journey, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (decision_id) DO NOTHING"""
_PUT_HOLD = "UPDATE decisions SET holds = holds + 1, held_at = ?, held_until = ? WHERE decision_id = ?"
_NOTE_CHANGE = "INSERT INTO changes (decision_id, is_delivery) VALUES (?, ?)"
_PUT_ADDRESS = """
INSERT INTO addresses VALUES (?, ?, ?) ON CONFLICT (channel, key) DO UPDATE SET body = excluded.body"""
_PUT_PRODUCT = "INSERT INTO products VALUES (?, ?) ON CONFLICT (sku) DO UPDATE SET body = excluded.body"
_PUT_SPEND = "INSERT INTO spends VALUES (?, ?) ON CONFLICT (budget) DO UPDATE SET taken = taken + excluded.taken"
_PUT_REFUSED_ENTRY = """
INSERT INTO refused_entries VALUES (?, ?, ?, ?, ?, 1)
ON CONFLICT (customer_id, journey, key, reason) DO UPDATE SET at = excluded.at, count = count + 1"""
_PUT_NOTE = "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

_DELIVERY_COLUMNS = (
    "decision_id, customer_id, channel, delivers, purpose, lane, journey, content, state, created_at, due_at, address,"
    " attempts, lease_until, settled_at, detail, provider_id"
)
_DELIVERY_CHANGES = ", ".join(f"{name} = excluded.{name}" for name in f"{_DELIVERY_COLUMNS}, attention_at".split(", "))
_PUT_DELIVERY = f"""
INSERT INTO deliveries ({_DELIVERY_COLUMNS}, attention_at) VALUES (?{", ?" * 17})
ON CONFLICT (decision_id) DO UPDATE SET {_DELIVERY_CHANGES}"""
_PUT_BORN_DELIVERY = f"{_PUT_DELIVERY} WHERE deliveries.state = 'pending' AND deliveries.attempts = 0"

_FAMILY = """
WITH RECURSIVE family (customer_id) AS (
    VALUES (?1) UNION SELECT merges.loser FROM merges JOIN family ON merges.survivor = family.customer_id
    WHERE merges.split IS NULL
) """

_encode = msgpack.Encoder().encode
_standing = msgpack.Decoder(Standing).decode
_memory = msgpack.Decoder(Memory).decode
_decision = msgpack.Decoder(Decision).decode
_address = msgpack.Decoder(Address).decode
_product = msgpack.Decoder(Product).decode
_review = msgpack.Decoder(Review).decode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _micros_or_none(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // _MICROSECOND


def _instant(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _instant_or_none(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)


class SqliteState:
    """Where everybody stands, in one file."""

    def __init__(self, path: Path, *, is_durable: bool = True) -> None:
        self._file = Durable(path, STATE, page_bytes=_PAGE_BYTES, is_durable=is_durable)

    def commit(self, batch: Batch) -> None:
        self._file.write(lambda connection: _write_batch(connection, batch))

    # ------------------------------------------------------------------ customers

    def position(self) -> int:
        with self._file.reading() as connection:
            return cast(int, first_value(connection, "SELECT position FROM progress"))

    def load(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        found: dict[str, Customer] = {}
        sql = """
            SELECT customers.customer_id, standing, memory FROM customers LEFT JOIN checkpoints USING (customer_id)
            WHERE customer_id = ?"""
        with self._file.reading() as connection:
            rows: Iterable[tuple[Any, ...]] = connection.executemany(sql, ((one,) for one in customer_ids))
            for customer_id, standing, memory in rows:
                found[customer_id] = Customer(
                    customer_id,
                    Memory() if memory is None else _memory(memory),
                    Standing() if standing is None else _standing(standing),
                )
        return found

    def resolve(self, identifiers: Sequence[Identifier]) -> dict[Identifier, str]:
        found: dict[Identifier, str] = {}
        sql = "SELECT customer_id FROM links WHERE kind = ? AND value = ? ORDER BY number DESC LIMIT 1"
        with self._file.reading() as connection:
            survivor_of = _survivors(connection)
            for one in identifiers:
                customer_id = first_value(connection, sql, (one.kind, one.value))
                if customer_id is not None:
                    found[one] = root_of(customer_id, survivor_of)
        return found

    def ties(self, identifiers: Sequence[Identifier]) -> dict[Identifier, Tie]:
        found: dict[Identifier, Tie] = {}
        sql = f"SELECT {_LINK_COLUMNS} FROM links WHERE kind = ? AND value = ? ORDER BY number DESC LIMIT 1"
        with self._file.reading() as connection:
            merge_of = _merges(connection)
            for one in identifiers:
                for row in all_rows(connection, sql, (one.kind, one.value)):
                    found[one] = tie_of(_link(row), merge_of)
        return found

    def links(self, customer_id: str) -> list[Link]:
        sql = f"{_FAMILY} SELECT {_LINK_COLUMNS} FROM links JOIN family USING (customer_id) ORDER BY number"
        with self._file.reading() as connection:
            root = root_of(customer_id, _survivors(connection))
            return [_link(row) for row in all_rows(connection, sql, (root,))]

    def holders(self, identifier: Identifier) -> list[Link]:
        sql = f"SELECT {_LINK_COLUMNS} FROM links WHERE kind = ? AND value = ? ORDER BY number"
        with self._file.reading() as connection:
            return [_link(row) for row in all_rows(connection, sql, (identifier.kind, identifier.value))]

    def merges(self, customer_id: str | None = None) -> list[Merge]:
        sql = f"""{_FAMILY} SELECT {_MERGE_COLUMNS} FROM merges
            WHERE split IS NULL AND (?1 IS NULL OR loser IN (SELECT customer_id FROM family)) ORDER BY number"""
        with self._file.reading() as connection:
            root = None if customer_id is None else root_of(customer_id, _survivors(connection))
            return [_merge(row) for row in all_rows(connection, sql, (root,))]

    def merges_count(self, customer_id: str) -> int:
        sql = f"{_FAMILY} SELECT count(*) - 1 FROM family"
        with self._file.reading() as connection:
            root = root_of(customer_id, _survivors(connection))
            return cast(int, first_value(connection, sql, (root,)))

    def splits(self, customer_id: str | None = None) -> list[Split]:
        sql = """SELECT loser, survivor, evidence, at, who FROM splits
            WHERE ?1 IS NULL OR ?1 IN (loser, survivor) ORDER BY number"""
        return [Split(a, b, c, _instant(at), who) for a, b, c, at, who in self._rows(sql, (customer_id,))]

    def reviews(self, states: Sequence[str] = (), customer_id: str | None = None) -> list[Review]:
        asked = ", ".join("?" for _ in states)
        sql = f"""SELECT body FROM reviews WHERE {f"state IN ({asked})" if asked else "true"}
            {"" if customer_id is None else "AND (one = ? OR other = ?)"} ORDER BY confidence DESC, review_id"""
        of = () if customer_id is None else (customer_id, customer_id)
        return [_review(body) for (body,) in self._rows(sql, (*states, *of))]

    def review(self, review_id: str) -> Review | None:
        rows = self._rows("SELECT body FROM reviews WHERE review_id = ?", (review_id,))
        return _review(rows[0][0]) if rows else None

    def survivor(self, customer_id: str) -> str:
        with self._file.reading() as connection:
            return root_of(customer_id, _survivors(connection))

    def customer_ids(self) -> Iterator[str]:
        sql = """
            SELECT customer_id FROM customers WHERE customer_id > ?
            AND customer_id NOT IN (SELECT loser FROM merges WHERE split IS NULL) ORDER BY customer_id LIMIT ?"""
        last, rows = "", self._rows(sql, ("", _ROWS))
        while rows:
            for (last,) in rows:
                yield last
            rows = self._rows(sql, (last, _ROWS))

    # ------------------------------------------------------------------ what wants attention

    def due(self, now: datetime, count_max: int) -> list[tuple[datetime, str]]:
        sql = "SELECT wake_at, customer_id FROM customers WHERE wake_at <= ? ORDER BY wake_at, customer_id LIMIT ?"
        return [(_instant(at), customer_id) for at, customer_id in self._rows(sql, (_micros(now), count_max))]

    def next_due(self) -> datetime | None:
        sql = """
            SELECT min(at) FROM (
                SELECT min(wake_at) AS at FROM customers WHERE wake_at IS NOT NULL
                UNION ALL SELECT min(attention_at) FROM deliveries WHERE state = 'pending')"""
        return _instant_or_none(self._rows(sql)[0][0])

    def waiting_on(self, topics: Sequence[str]) -> list[str]:
        sql = "SELECT customer_id FROM topics WHERE topic = ?"
        with self._file.reading() as connection:
            return sorted({row[0] for topic in topics for row in all_rows(connection, sql, (topic,))})

    def outbox(self, state: DeliveryState, now: datetime, count_max: int) -> list[Delivery]:
        waits = state in ("pending", "attempting")
        where = "state = ?1 AND attention_at <= ?2 ORDER BY attention_at" if waits else "state = ?1 ORDER BY created_at"
        sql = f"SELECT {_DELIVERY_COLUMNS} FROM deliveries WHERE {where}, decision_id LIMIT ?3"
        return [_delivery(row) for row in self._rows(sql, (state, _micros(now), count_max))]

    # ------------------------------------------------------------------ records

    def delivery(self, decision_id: str) -> Delivery | None:
        rows = self._rows(f"SELECT {_DELIVERY_COLUMNS} FROM deliveries WHERE decision_id = ?", (decision_id,))
        return _delivery(rows[0]) if rows else None

    def decision(self, decision_id: str) -> Decision | None:
        rows = self._rows(f"SELECT {_DECISION_COLUMNS} FROM decisions WHERE decision_id = ?", (decision_id,))
        return _decided(rows[0]) if rows else None

    def decisions(self, customer_id: str | None = None) -> Iterator[Decision]:
        return map(_decided, self._timeline("decisions", _DECISION_COLUMNS, "decided_at", customer_id))

    def deliveries(self, customer_id: str | None = None) -> Iterator[Delivery]:
        return map(_delivery, self._timeline("deliveries", _DELIVERY_COLUMNS, "created_at", customer_id))

    def _timeline(self, table: str, columns: str, at: str, customer_id: str | None) -> Iterator[tuple[Any, ...]]:
        """Rows in order of time and decision id: one customer's in one go, everybody's a few at a time."""
        if customer_id is not None:
            sql = f"""{_FAMILY} SELECT {columns} FROM {table} JOIN family USING (customer_id)
                ORDER BY {at}, decision_id"""
            with self._file.reading() as connection:
                rows = all_rows(connection, sql, (root_of(customer_id, _survivors(connection)),))
            yield from rows
            return
        sql = f"""SELECT {at}, decision_id, {columns} FROM {table}
            WHERE {at} >= ?1 AND ({at}, decision_id) > (?1, ?2) ORDER BY {at}, decision_id LIMIT ?3"""
        rows = self._rows(sql, (-(1 << 62), "", _ROWS))
        while rows:
            yield from (row[2:] for row in rows)
            rows = self._rows(sql, (*rows[-1][:2], _ROWS))

    def changes(self, after: int, count_max: int) -> list[Change]:
        sql = "SELECT number, is_delivery, decision_id FROM changes WHERE number > ? ORDER BY number LIMIT ?"
        changes: list[Change] = []
        for number, is_delivery, decision_id in self._rows(sql, (after, count_max)):
            row = self.delivery(decision_id) if is_delivery else self.decision(decision_id)
            if row is None:
                raise Broken(f"change {number} is of {decision_id!r}, which is not there")
            changes.append(Change(number, row))
        return changes

    def refused_entries(self) -> Iterator[tuple[str, EntryRefusal, int]]:
        sql = "SELECT * FROM refused_entries ORDER BY customer_id, journey, key, reason"
        for customer_id, journey, key, reason, at, count in self._rows(sql):
            yield customer_id, EntryRefusal(journey, key, reason, _instant(at)), count

    def set_asides(self) -> list[SetAside]:
        sql = "SELECT position, customer_id, reason, at FROM set_aside ORDER BY position, customer_id"
        return [SetAside(at, who, why, _instant(when)) for at, who, why, when in self._rows(sql)]

    def address(self, channel: str, key: str) -> Address | None:
        rows = self._rows("SELECT body FROM addresses WHERE channel = ? AND key = ?", (channel, key))
        return _address(rows[0][0]) if rows else None

    def products(self) -> Iterator[Product]:
        return (_product(body) for (body,) in self._rows("SELECT body FROM products ORDER BY sku"))

    def spent(self) -> Mapping[str, int]:
        return dict(cast("list[tuple[str, int]]", self._rows("SELECT budget, taken FROM spends")))

    def note(self, name: str) -> bytes | None:
        rows = self._rows("SELECT value FROM notes WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def counts(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        with self._file.reading() as connection:
            for table in _COUNTED:
                counts[table] = first_value(connection, f"SELECT count(*) FROM {table}")
            counts["wakes"] = first_value(connection, "SELECT count(*) FROM customers WHERE wake_at IS NOT NULL")
            in_state = all_rows(connection, "SELECT state, count(*) FROM deliveries GROUP BY state")
        return (
            counts | {f"deliveries.{state}": 0 for state in TRANSITIONS} | {f"deliveries.{s}": n for s, n in in_state}
        )

    def close(self) -> None:
        self._file.close()

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._file.reading() as connection:
            return all_rows(connection, sql, bindings)


_LINK_COLUMNS = "kind, value, links.customer_id, source, confidence, at, evidence"
_MERGE_COLUMNS = "loser, survivor, confidence, evidence, at, who"
_DECISION_COLUMNS = "body, holds, held_until"
_COUNTED = (
    "customers", "checkpoints", "links", "merges", "splits", "reviews", "decisions", "deliveries", "addresses",
    "products", "topics", "refused_entries", "set_aside",
)  # fmt: skip


def _survivors(connection: apsw.Connection) -> Any:
    def survivor_of(customer_id: str) -> str | None:
        return cast(
            "str | None",
            first_value(connection, "SELECT survivor FROM merges WHERE loser = ? AND split IS NULL", (customer_id,)),
        )

    return survivor_of


def _merges(connection: apsw.Connection) -> Any:
    sql = f"SELECT {_MERGE_COLUMNS} FROM merges WHERE loser = ? AND split IS NULL"

    def merge_of(customer_id: str) -> Merge | None:
        rows = all_rows(connection, sql, (customer_id,))
        return _merge(rows[0]) if rows else None

    return merge_of


def _merge(row: tuple[Any, ...]) -> Merge:
    loser, survivor, confidence, evidence, at, who = row
    return Merge(loser, survivor, confidence, evidence, _instant(at), who)


def _link(row: tuple[Any, ...]) -> Link:
    kind, value, customer_id, source, confidence, at, evidence = row
    return Link(Identifier(kind, value), customer_id, source, confidence, _instant(at), evidence)


def _decided(row: tuple[Any, ...]) -> Decision:
    body, holds, held_until = row
    decision = _decision(body)
    if not holds:
        return decision
    return replace(decision, count=decision.count + holds, until=_instant_or_none(held_until))


def _decision_row(one: Decision) -> tuple[Any, ...]:
    journey = one.action.journey if one.action else ""
    return (one.decision_id, one.customer_id, _micros(one.decided_at), journey, _encode(one))


def _delivery(row: tuple[Any, ...]) -> Delivery:
    return Delivery(
        decision_id=row[0],
        customer_id=row[1],
        channel=row[2],
        delivers=bool(row[3]),
        purpose=row[4],
        lane=row[5],
        journey=row[6],
        content=row[7],
        state=row[8],
        created_at=_instant(row[9]),
        due_at=_instant(row[10]),
        address=row[11],
        attempts=row[12],
        lease_until=_instant_or_none(row[13]),
        settled_at=_instant_or_none(row[14]),
        detail=row[15],
        provider_id=row[16],
    )


def _delivery_row(one: Delivery) -> tuple[Any, ...]:
    attention_at = {"pending": one.due_at, "attempting": one.lease_until or one.due_at}.get(one.state)
    return (
        one.decision_id,
        one.customer_id,
        one.channel,
        int(one.delivers),
        one.purpose,
        one.lane,
        one.journey,
        one.content,
        one.state,
        _micros(one.created_at),
        _micros(one.due_at),
        one.address,
        one.attempts,
        _micros_or_none(one.lease_until),
        _micros_or_none(one.settled_at),
        one.detail,
        one.provider_id,
        _micros_or_none(attention_at),
    )


# ------------------------------------------------------------------ writing a batch


def _write_batch(connection: apsw.Connection, batch: Batch) -> None:
    if batch.position is not None:
        at = first_value(connection, "SELECT position FROM progress")
        if batch.position < at:
            raise Broken(f"commit at position {batch.position}: the state is at {at} already")
        connection.execute("UPDATE progress SET position = ?", (batch.position,))
    _write_customers(connection, batch)
    _write_world(connection, batch)
    _end_merges(connection, batch.splits)
    _write_links(connection, batch.links, batch.merges)
    _write_reviews(connection, batch.reviews)
    _write_decisions(connection, batch.decisions, batch.holds)
    _write_deliveries(connection, batch.deliveries)


def _write_customers(connection: apsw.Connection, batch: Batch) -> None:
    # In order of the key: neighbours in one batch then share the pages they change.
    connection.executemany(
        _PUT_STANDING,
        [(key, _encode(one), _micros_or_none(one.wake_at)) for key, one in sorted(batch.standings.items())],
    )
    remembered = sorted(batch.checkpoints.items())
    connection.executemany(_KNOW_CUSTOMER, [(key,) for key, _ in remembered if key not in batch.standings])
    connection.executemany(_PUT_CHECKPOINT, [(key, one.position, _encode(one)) for key, one in remembered])


def _write_links(connection: apsw.Connection, links: Sequence[Link], merges: Sequence[Merge]) -> None:
    connection.executemany(
        _PUT_LINK,
        [
            (
                one.identifier.kind,
                one.identifier.value,
                one.customer_id,
                one.source,
                one.confidence,
                _micros(one.at),
                one.evidence,
            )
            for one in links
        ],
    )
    connection.executemany(_KNOW_CUSTOMER, [(one.customer_id,) for one in links])
    check_merges(merges, _survivors(connection))
    connection.executemany(
        _PUT_MERGE,
        [(one.loser, one.survivor, one.confidence, one.evidence, _micros(one.at), one.by) for one in merges],
    )
    # Whoever was merged away wants nothing any more: the survivor wakes and waits for both.
    losers = [(one.loser,) for one in merges]
    connection.executemany("UPDATE customers SET wake_at = NULL WHERE customer_id = ?", losers)
    connection.executemany("DELETE FROM topics WHERE customer_id = ?", losers)


def _end_merges(connection: apsw.Connection, splits: Sequence[Split]) -> None:
    check_splits(splits, _survivors(connection))
    for one in splits:
        connection.execute(_PUT_SPLIT, (one.loser, one.survivor, one.evidence, _micros(one.at), one.by))
        connection.execute(_END_MERGE, (connection.last_insert_rowid(), one.loser))


def _write_reviews(connection: apsw.Connection, reviews: Sequence[Review]) -> None:
    for one in reviews:
        stored = first_value(connection, "SELECT body FROM reviews WHERE review_id = ?", (one.review_id,))
        kept = asked_once(None if stored is None else _review(stored), one)
        if kept is not None:
            row = (kept.review_id, kept.one, kept.other, kept.state, kept.confidence, _encode(kept))
            connection.execute(_PUT_REVIEW, row)


def _write_decisions(connection: apsw.Connection, decisions: Sequence[Decision], holds: Sequence[Hold]) -> None:
    connection.executemany(_PUT_DECISION, map(_decision_row, decisions))
    changed = [one.decision_id for one in decisions] + [one.decision_id for one in holds]
    connection.executemany(_NOTE_CHANGE, [(decision_id, 0) for decision_id in changed])
    for hold in holds:
        connection.execute(_PUT_HOLD, (_micros(hold.at), _micros_or_none(hold.until), hold.decision_id))
        if connection.changes() != 1:
            raise Broken(f"hold of decision {hold.decision_id!r}, which was never recorded")


def _write_deliveries(connection: apsw.Connection, deliveries: Sequence[Delivery]) -> None:
    connection.executemany(_NOTE_CHANGE, [(one.decision_id, 1) for one in deliveries])
    born = [one for one in deliveries if is_born(one)]
    connection.executemany(_PUT_BORN_DELIVERY, map(_delivery_row, born))
    sql = "SELECT state, attempts FROM deliveries WHERE decision_id = ?"
    for one in deliveries:
        if is_born(one):
            continue
        for state, attempts in all_rows(connection, sql, (one.decision_id,)):
            check_move(state, attempts, one)
        connection.execute(_PUT_DELIVERY, _delivery_row(one))


def _write_world(connection: apsw.Connection, batch: Batch) -> None:
    connection.executemany(_PUT_ADDRESS, [(one.channel, one.key, _encode(one)) for one in batch.addresses])
    connection.executemany(_PUT_PRODUCT, [(one.sku, _encode(one)) for one in batch.products])
    connection.executemany(_PUT_SPEND, list(batch.spends.items()))
    connection.executemany(
        _PUT_REFUSED_ENTRY,
        [(key, one.journey, one.key, one.reason, _micros(one.at)) for key, one in batch.refused_entries],
    )
    connection.executemany(
        "INSERT INTO set_aside VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(one.position, one.customer_id, one.reason, _micros(one.at)) for one in batch.set_aside],
    )
    connection.executemany("DELETE FROM topics WHERE customer_id = ?", [(key,) for key in batch.topics])
    connection.executemany(
        "INSERT INTO topics VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(topic, key) for key, topics in batch.topics.items() for topic in topics],
    )
    connection.executemany(_PUT_NOTE, list(batch.notes.items()))
    if batch.shipped is not None:
        connection.execute("DELETE FROM changes WHERE number <= ?", (batch.shipped,))
