"""The lake: events, decisions and deliveries as Delta tables by day, for whoever asks about many customers at once.

    folder/events        what happened, each event once; `customer_id` as it resolved when it was shipped
    folder/decisions     what was decided, a row again whenever its hold was repeated
    folder/deliveries    the outbox, a row again whenever it moved
    folder/survivors     who was merged into whom, written whole each time

Shipping reads what is new, in order, and writes it with a transaction id taken from its place: the log position for
events, the number of the change for the others. A table says how far it is, so a shipment that was cut off is gone on
with where it stopped and nothing is in it twice. Nothing personal comes here: neither log nor state has any.

DuckDB reads the files each table lists (`attach`); other tools read the tables as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from msgspec import Struct, json

from wayline.domain import Decision, Event, Verdict
from wayline.store import Batch, Change, Delivery, Log, State

if TYPE_CHECKING:
    import duckdb

__all__ = ["ROWS_MAX", "Shipped", "attach", "compact", "ship"]

ROWS_MAX = 50_000  # shipped in one transaction of one table
_APPLICATION = "wayline"
_KEPT = timedelta(days=7)  # how long a file stays after compaction has replaced it, for readers that began before
_INSTANT = pa.timestamp("us", "UTC")

_SCHEMAS: Mapping[str, pa.Schema] = {
    "events": pa.schema(
        [
            ("position", pa.int64()),
            ("source", pa.string()),
            ("event_id", pa.string()),
            ("name", pa.string()),
            ("kind", pa.string()),
            ("customer_id", pa.string()),
            ("occurred_at", _INSTANT),
            ("received_at", _INSTANT),
            ("identifiers", pa.list_(pa.string())),
            ("properties", pa.string()),
            ("context", pa.string()),
            ("notes", pa.list_(pa.string())),
            ("fires", pa.bool_()),
            ("day", pa.string()),
        ]
    ),
    "decisions": pa.schema(
        [
            ("change", pa.int64()),
            ("decision_id", pa.string()),
            ("customer_id", pa.string()),
            ("decided_at", _INSTANT),
            ("lane", pa.string()),
            ("stimulus", pa.string()),
            ("journey", pa.string()),
            ("action", pa.string()),
            ("channel", pa.string()),
            ("purpose", pa.string()),
            ("content", pa.string()),
            ("arm", pa.string()),
            ("assignments", pa.string()),
            ("probability", pa.float64()),
            ("delivers", pa.bool_()),
            (
                "considered",
                pa.list_(
                    pa.struct(
                        [
                            ("journey", pa.string()),
                            ("action", pa.string()),
                            ("channel", pa.string()),
                            ("gate", pa.string()),
                            ("reason", pa.string()),
                            ("fact", pa.string()),
                            ("until", _INSTANT),
                            ("score", pa.float64()),
                        ]
                    )
                ),
            ),
            ("facts", pa.string()),
            ("estimates", pa.string()),
            ("versions", pa.string()),
            ("position", pa.int64()),
            ("until", _INSTANT),
            ("count", pa.int64()),
            ("day", pa.string()),
        ]
    ),
    "deliveries": pa.schema(
        [
            ("change", pa.int64()),
            ("decision_id", pa.string()),
            ("customer_id", pa.string()),
            ("channel", pa.string()),
            ("delivers", pa.bool_()),
            ("purpose", pa.string()),
            ("lane", pa.string()),
            ("journey", pa.string()),
            ("content", pa.string()),
            ("state", pa.string()),
            ("created_at", _INSTANT),
            ("due_at", _INSTANT),
            ("address", pa.string()),
            ("attempts", pa.int64()),
            ("settled_at", _INSTANT),
            ("detail", pa.string()),
            ("provider_id", pa.string()),
            ("day", pa.string()),
        ]
    ),
    "survivors": pa.schema([("loser", pa.string()), ("survivor", pa.string())]),
}


class Shipped(Struct, frozen=True):
    """How many rows one shipment brought to each table."""

    events: int = 0
    decisions: int = 0
    deliveries: int = 0


# ------------------------------------------------------------------ shipping


def ship(state: State, log: Log, folder: Path, *, rows_max: int = ROWS_MAX) -> Shipped:
    """Bring everything new to the lake, as far as the state has taken it in; cut off anywhere, it can be run again."""
    folder.mkdir(parents=True, exist_ok=True)
    events = _ship_events(state, log, folder, rows_max)
    decisions, deliveries = _ship_changes(state, folder, rows_max)
    losers = [merge.loser for merge in state.merges()]
    if losers:
        rows = [{"loser": loser, "survivor": state.survivor(loser)} for loser in losers]
        write_deltalake(folder / "survivors", _table("survivors", rows), mode="overwrite")
    return Shipped(events, decisions, deliveries)


def _ship_events(state: State, log: Log, folder: Path, rows_max: int) -> int:
    # No further than the state: who an event belongs to is known only once its turn was taken.
    shipped, place, until = 0, _place(folder / "events"), state.position()
    while place < until:
        events = [event for event in log.read(place, rows_max) if event.position <= until]
        customers = state.resolve(list({one for event in events for one in event.identifiers}))
        place = events[-1].position
        _write(folder, "events", [_event_row(event, customers) for event in events], place)
        shipped += len(events)
    return shipped


def _ship_changes(state: State, folder: Path, rows_max: int) -> tuple[int, int]:
    counts = {"decisions": 0, "deliveries": 0}
    while changes := state.changes(0, rows_max):
        last = changes[-1].number
        for name, rows in _rows_by_table(changes).items():
            place = _place(folder / name)
            new = [row for row in rows if row["change"] > place]
            if new:
                _write(folder, name, new, last)
                counts[name] += len(new)
        state.commit(Batch(shipped=last))
    return counts["decisions"], counts["deliveries"]


def _rows_by_table(changes: Iterable[Change]) -> dict[str, list[dict[str, Any]]]:
    """The newest of each row's changes: the earlier ones would say the same."""
    newest = {(isinstance(change.row, Delivery), change.row.decision_id): change for change in changes}
    tables: dict[str, list[dict[str, Any]]] = {"decisions": [], "deliveries": []}
    for change in newest.values():
        if isinstance(change.row, Delivery):
            tables["deliveries"].append(_delivery_row(change.number, change.row))
        else:
            tables["decisions"].append(_decision_row(change.number, change.row))
    return tables


def _place(table: Path) -> int:
    """How far a table is: the transaction id of its newest shipment."""
    if not DeltaTable.is_deltatable(str(table)):
        return 0
    return DeltaTable(table).transaction_version(_APPLICATION) or 0


def _write(folder: Path, name: str, rows: Sequence[Mapping[str, Any]], place: int) -> None:
    write_deltalake(
        folder / name,
        _table(name, rows),
        mode="append",
        partition_by=["day"],
        commit_properties=CommitProperties(app_transactions=[Transaction(_APPLICATION, place)]),
    )


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=_SCHEMAS[name])


def _text(value: Any) -> str:
    return json.encode(value).decode()


def _day(at: datetime) -> str:
    return at.date().isoformat()


def _event_row(event: Event, customers: Mapping[Any, str]) -> dict[str, Any]:
    belongs = (customers[one] for one in event.identifiers if one in customers)
    return {
        "position": event.position,
        "source": event.source,
        "event_id": event.event_id,
        "name": event.name,
        "kind": event.kind,
        "customer_id": next(belongs, None),
        "occurred_at": event.occurred_at,
        "received_at": event.received_at,
        "identifiers": [f"{one.kind}:{one.value}" for one in event.identifiers],
        "properties": _text(event.properties),
        "context": _text(event.context),
        "notes": list(event.notes),
        "fires": event.fires,
        "day": _day(event.occurred_at),
    }


def _decision_row(number: int, decision: Decision) -> dict[str, Any]:
    action = decision.action
    return {
        "change": number,
        "decision_id": decision.decision_id,
        "customer_id": decision.customer_id,
        "decided_at": decision.decided_at,
        "lane": decision.lane,
        "stimulus": decision.stimulus,
        "journey": action.journey if action else None,
        "action": action.name if action else None,
        "channel": action.channel if action else None,
        "purpose": action.purpose if action else None,
        "content": action.content if action else None,
        "arm": decision.arm,
        "assignments": _text(decision.assignments),
        "probability": decision.probability,
        "delivers": decision.delivers,
        "considered": [_verdict_row(one) for one in decision.considered],
        "facts": _text(decision.facts),
        "estimates": _text(decision.estimates),
        "versions": _text(decision.versions),
        "position": decision.position,
        "until": decision.until,
        "count": decision.count,
        "day": _day(decision.decided_at),
    }


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    refusal = verdict.refusal
    return {
        "journey": verdict.action.journey,
        "action": verdict.action.name,
        "channel": verdict.action.channel,
        "gate": verdict.gate,
        "reason": refusal.reason if refusal else None,
        "fact": refusal.fact if refusal else None,
        "until": refusal.until if refusal else None,
        "score": verdict.score,
    }


def _delivery_row(number: int, delivery: Delivery) -> dict[str, Any]:
    names = [name for name in _SCHEMAS["deliveries"].names if name not in ("change", "day")]
    row = {name: getattr(delivery, name) for name in names}
    return {"change": number, **row, "day": _day(delivery.created_at)}


# ------------------------------------------------------------------ reading and tidying


def attach(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Make views `events`, `decisions`, `deliveries`, `survivors` of what the lake holds now.

    A row that was shipped again appears once, as it was last; customers appear under the id that survived.
    """
    _view(connection, folder, "survivors", "SELECT * FROM {files}")
    newest = "SELECT * FROM {files} QUALIFY row_number() OVER (PARTITION BY decision_id ORDER BY change DESC) = 1"
    rows = {"events": "SELECT * FROM {files}", "decisions": newest, "deliveries": newest}
    for name, select in rows.items():
        survived = f"""SELECT * EXCLUDE (loser, survivor) REPLACE (coalesce(survivor, customer_id) AS customer_id)
            FROM ({select}) LEFT JOIN survivors ON loser = customer_id"""
        _view(connection, folder, name, survived)


def _view(connection: duckdb.DuckDBPyConnection, folder: Path, name: str, select: str) -> None:
    table = folder / name
    files = DeltaTable(table).file_uris() if DeltaTable.is_deltatable(str(table)) else []
    if files:
        listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
        source = f"read_parquet([{listed}], hive_partitioning = true, hive_types_autocast = false)"
    else:
        connection.register(f"no_{name}", _table(name, []))
        source = f"no_{name}"
    connection.execute(f"CREATE OR REPLACE VIEW {name} AS {select.format(files=source)}")


def compact(folder: Path, *, kept: timedelta = _KEPT) -> None:
    """Join each day's small files into one, and drop those replaced longer ago than `kept`: a job for the night."""
    for name in _SCHEMAS:
        if DeltaTable.is_deltatable(str(folder / name)):
            table = DeltaTable(folder / name)
            table.optimize.compact()
            hours = int(kept.total_seconds() // 3600)
            table.vacuum(retention_hours=hours, dry_run=False, enforce_retention_duration=False)
