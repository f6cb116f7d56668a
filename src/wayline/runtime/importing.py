"""Bring a table into the log: batch by batch, with what was refused beside it, to be run again without harm.

The messages of a file have ids that follow from its contents, so an import that was stopped, or is run twice, stores
nothing twice. A token file only spares the work: it names the place up to which everything is on disk.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Event, Signal
from wayline.errors import OperatorError, Rejected
from wayline.observation.events import Parsed, parse_batch
from wayline.observation.quality import agreed
from wayline.runtime.arrivals import arrivals, fitting, mappings_called, money_and_zone
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.folders import KEPT, read_playbook
from wayline.sources import RefusedRow, Told
from wayline.sources.feeds import Feed
from wayline.sources.mapping import Cell, MessageRule, TableMapping, for_shop
from wayline.sources.messages import translate
from wayline.sources.tables import header_of
from wayline.store import Log, Rejection, Vault
from wayline.store.seal import pseudonym

__all__ = [
    "BATCH_MAX",
    "Import",
    "Previewed",
    "Progress",
    "Report",
    "forget_refused",
    "import_table",
    "in_words",
    "prepared",
    "preview_table",
    "previewed_in_words",
    "read_in",
    "rehearse_table",
]

BATCH_MAX: Final = 2_000
"""Messages in one commit."""

_REFUSED_KEPT: Final = timedelta(days=30)  # as long as what is done of a drop folder


class Import(Struct, frozen=True, kw_only=True):
    """What to bring in, and where to keep what could not be."""

    path: Path
    mapping: TableMapping
    received_at: datetime
    refused_path: Path | None = None
    """A CSV of the refused rows with place, code and reason: correct it and import it with the same mapping."""
    token_path: Path | None = None
    """Where to note how far everything is on disk; an import that finds it goes on from there."""
    feed: Feed | None = None
    """The catalogue it is, where it is no table read by the mapping."""
    name: str = ""
    """What it is called where people read of it; the file's name if nothing is said."""
    fires: bool = False
    """Whether the events may start journeys, as in a replay; history by itself starts nothing."""
    signals: Mapping[str, Signal] = {}
    """What is agreed of events by name: a file keeps to it as every other source does."""


class Progress(Struct, frozen=True):
    """How far it is: rows read, messages durable, and the place to go on from."""

    rows: int
    messages: int
    refused: int
    place: int


class Report(Struct, frozen=True, kw_only=True):
    """What became of every row and message. `messages` = accepted + refused ones; nothing is lost in between."""

    file: str
    mapping: str
    rows: int
    messages: int
    accepted: int
    """Messages that are proper events; of a rehearsal, those that would be stored."""
    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    already: int = 0
    """Messages an earlier run of this import had stored, by its token."""
    skipped: Mapping[str, int] = {}
    """Rows passed over on purpose, by the reason the mapping gives."""
    refused: Mapping[str, int] = {}
    """Rows that became no event, by code; each is in the file of refused rows."""
    left_out: Mapping[str, int] = {}
    """Details that did not fit a message, by what they are."""
    refused_path: str = ""
    """The file of refused rows; empty if there are none."""


class Previewed(Struct, frozen=True):
    """One message as it would be sent, and the event it would be; or why not."""

    message: Mapping[str, Any]
    event: Event | None
    refusal: str = ""


def import_table(
    told: Import, log: Log, vault: Vault, progress: Callable[[Progress], None] = lambda progress: None
) -> Report:
    """Store every message of the file; raises SenderError or AuthorError where the file as a whole cannot be read."""
    collector = Collector(log, vault, currency=told.mapping.currency, signals=told.signals)

    def store(items: Sequence[Mapping[str, Any]]) -> _Stored:
        delivered = Delivered(items, told.mapping.source, told.received_at, fires=told.fires)
        collected = collector.collect(delivered)
        appended = collected.appended
        why = {each.event_id: (each.code, _why(each, told.mapping)) for each in collected.rejected}
        return _Stored(appended.stored, appended.duplicates, appended.conflicts, why)

    return _run(told, store, progress)


def rehearse_table(told: Import, progress: Callable[[Progress], None] = lambda progress: None) -> Report:
    """The same without the last line: everything is read and judged, nothing is stored."""

    def judge(items: Sequence[Mapping[str, Any]]) -> _Stored:
        why = {}
        for item, verdict in zip(items, _verdicts(items, told), strict=True):
            if isinstance(verdict, Rejected):
                why[item["messageId"]] = (verdict.code, _why(verdict, told.mapping))
        return _Stored(0, 0, 0, why)

    return _run(replace(told, token_path=None), judge, progress)


def preview_table(told: Import, count_max: int = 5) -> tuple[Previewed, ...]:
    """The first messages of the file and what they would become, to look at before importing."""
    found: list[Told] = []
    for each in translate(told.path, told.mapping, Counter()):
        if isinstance(each, Told):
            found.append(each)
        if len(found) == count_max:
            break
    verdicts = _verdicts([each.message for each in found], told)
    return tuple(
        Previewed(each.message, None, _why(verdict, told.mapping))
        if isinstance(verdict, Rejected)
        else Previewed(each.message, verdict.event)
        for each, verdict in zip(found, verdicts, strict=True)
    )


def _why(verdict: Rejected | Rejection, mapping: TableMapping) -> str:
    """Why a message was refused, in the words of whoever has the file: its columns."""
    if verdict.code == "no_identifier":
        told = [name for rule in mapping.messages for name in (rule.user_id, rule.anonymous_id, *_handles(rule))]
        columns = " or ".join(repr(mapping.columns[name].headers[0]) for name in dict.fromkeys(filter(None, told)))
        if not columns:
            return "it is about nobody: the mapping names no column that says who a row is about"
        return f"it is about nobody: expected something in {columns}, or what stands there names no person"
    return f"{verdict.field}: {verdict.reason}" if verdict.field else verdict.reason


def _handles(rule: MessageRule) -> Iterator[str]:
    for name in ("email", "phone"):
        value = rule.traits.get(name)
        if isinstance(value, Cell):
            yield value.column


@contextmanager
def prepared(
    file: Path,
    folder: Path,
    mapping: str,
    *,
    fires: bool,
    refused_path: Path | None = None,
    is_rehearsal: bool = False,
) -> Iterator[list[Import]]:
    """The imports of a file into a shop's folder: its mapping by name or path, and where each keeps what it refuses.

    One, or of an archive one for each member that a mapping reads. Refused rows hold names and addresses in clear, so a
    rehearsal keeps them only where it is told to.
    """
    beside = folder / KEPT / "imports"
    currency, zone = money_and_zone(folder)
    signals = read_playbook(folder).signals
    candidates = [for_shop(each, currency, zone) for each in mappings_called(mapping)]
    with arrivals(file, candidates) as (found, _):
        now = datetime.now(UTC)
        yield [
            Import(
                path=each.path,
                name=each.name,
                mapping=each.mapping,
                received_at=now,
                refused_path=refused_path or (None if is_rehearsal else beside / f"{each.path.stem}.refused.csv"),
                token_path=beside / f"{each.path.stem}.token",
                fires=fires,
                signals=signals,
            )
            for each in found
        ]


def forget_refused(folder: Path, now: datetime) -> None:
    """Delete refused rows of imports long ago: they hold people's names and addresses in the open."""
    for path in (folder / KEPT / "imports").glob("*.refused.csv"):
        if now - datetime.fromtimestamp(path.stat().st_mtime, UTC) > _REFUSED_KEPT:
            path.unlink(missing_ok=True)


def read_in(
    file: Path,
    mapping: str,
    *,
    currency: str = "EUR",
    zone: str = "UTC",
    signals: Mapping[str, Signal] | None = None,
) -> Import:
    """A file and its mapping by name or path, checked as a whole before anything is made or opened."""
    candidates = [for_shop(each, currency, zone) for each in mappings_called(mapping)]
    fits = fitting(file, candidates)
    return Import(path=file, mapping=fits, received_at=datetime.now(UTC), signals=signals or {})


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def in_words(report: Report, *, is_rehearsal: bool) -> list[str]:
    """The report as a person reads it: every row accounted for."""
    lines = [f"{report.file} by {report.mapping}: {_many(report.rows, 'row')}, {_many(report.messages, 'message')}"]
    if is_rehearsal:
        lines.append(f"  {report.accepted:>12,}  would be stored (nothing was: this is a rehearsal)")
    else:
        lines += [
            f"  {count:>12,}  {what}"
            for count, what in (
                (report.stored, "stored"),
                (report.duplicates, "stored before: duplicates"),
                (report.conflicts, "stored before with other contents: kept beside, flagged"),
                (report.already, "done by the import that was stopped"),
            )
            if count or what == "stored"
        ]
    lines += [f"  {count:>12,}  rows passed over: {reason}" for reason, count in report.skipped.items()]
    lines += [f"  {count:>12,}  rows refused: {code}" for code, count in report.refused.items()]
    lines += [f"  {count:>12,}  left out: {what}" for what, count in report.left_out.items()]
    if report.refused_path:
        lines.append(f"Refused rows, with reasons: {report.refused_path}. Put them right there and import that file.")
    return lines


def previewed_in_words(shown: Previewed) -> str:
    """One message and what it would become, as a person reads it."""
    said = msgspec.json.format(msgspec.json.encode(shown.message), indent=2).decode()
    if shown.event is None:
        return f"{said}\nwould be refused: {shown.refusal}"
    became = msgspec.json.format(msgspec.json.encode(shown.event), indent=2).decode()
    return f"{said}\nwould become\n{became}"


# ------------------------------------------------------------------ one run


class _Stored(Struct, frozen=True):
    stored: int
    duplicates: int
    conflicts: int
    rejected: Mapping[str, tuple[str, str]]
    """Event id to code and reason."""


def _run(
    told: Import, store: Callable[[Sequence[Mapping[str, Any]]], _Stored], progress: Callable[[Progress], None]
) -> Report:
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    token = _Token(told)
    with _Refusals(told, after=token.place) as refusals:
        for batch in _batches(_translated(told, counts), refusals):
            fresh = [each for each in batch if each.rows[-1].place > token.place]
            totals["already"] += len(batch) - len(fresh)
            stored = store([each.message for each in fresh])
            turned_away = [each for each in fresh if each.message["messageId"] in stored.rejected]
            for each in turned_away:
                code, reason = stored.rejected[each.message["messageId"]]
                counts[f"refused: {code}"] += len(each.rows)
                refusals.keep(RefusedRow(row.place, code, reason, row.cells) for row in each.rows)
            totals.update(
                messages=len(batch),
                rejected=len(turned_away),
                stored=stored.stored,
                duplicates=stored.duplicates,
                conflicts=stored.conflicts,
            )
            place = batch[-1].rows[-1].place
            refusals.flush()
            token.note(place)
            progress(Progress(counts["row"], totals["messages"], refusals.count, place))
        token.done()
    return Report(
        file=told.name or told.path.name,
        mapping=told.mapping.name,
        rows=counts["row"],
        messages=totals["messages"],
        accepted=totals["messages"] - totals["rejected"],
        stored=totals["stored"],
        duplicates=totals["duplicates"],
        conflicts=totals["conflicts"],
        already=totals["already"],
        skipped=_under("skipped: ", counts),
        refused=_under("refused: ", counts),
        left_out=_under("left out: ", counts),
        refused_path=str(told.refused_path) if refusals.count and told.refused_path is not None else "",
    )


def _translated(told: Import, counts: Counter[str]) -> Iterator[Told | RefusedRow]:
    return translate(told.path, told.mapping, counts) if told.feed is None else told.feed.told(counts)


def _batches(translated: Iterator[Told | RefusedRow], refusals: _Refusals) -> Iterator[list[Told]]:
    batch: list[Told] = []
    for each in translated:
        if isinstance(each, RefusedRow):
            refusals.keep((each,))
            continue
        # A row may be several messages: where to go on from is a row, so a batch ends with all of one.
        if len(batch) >= BATCH_MAX and each.rows[-1].place != batch[-1].rows[-1].place:
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


def _under(prefix: str, counts: Counter[str]) -> dict[str, int]:
    return {key.removeprefix(prefix): count for key, count in counts.most_common() if key.startswith(prefix)}


def _verdicts(items: Sequence[Mapping[str, Any]], told: Import) -> list[Parsed | Rejected]:
    verdicts = parse_batch(
        items,
        source=told.mapping.source,
        received_at=told.received_at,
        # Nothing of a rehearsal is kept, so its pseudonyms need no secret.
        keyed=lambda kind, value: pseudonym(b"rehearsal", kind, value),
        currency=told.mapping.currency,
        fires=told.fires,
    )
    return [_judged(verdict, told.signals) for verdict in verdicts]


def _judged(verdict: Parsed | Rejected, signals: Mapping[str, Signal]) -> Parsed | Rejected:
    """The verdict the collector would come to, who asks what is agreed of the event as well."""
    if isinstance(verdict, Rejected):
        return verdict
    try:
        return replace(verdict, event=agreed(verdict.event, signals))
    except Rejected as broken:
        return broken


# ------------------------------------------------------------------ beside the log


class _Refusals:
    """The file of refused rows, made when there is a first one; readable by its owner only."""

    def __init__(self, told: Import, *, after: int) -> None:
        self.count = 0
        self._told = told
        self._places = _places_in(told.refused_path) if after else set()
        """Rows that are in the file: of this run, or of the one that was stopped and is gone on with."""
        self._goes_on = bool(self._places)
        self._opened: IO[str] | None = None
        self._writer: Any = None

    def __enter__(self) -> _Refusals:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()

    def keep(self, rows: Iterator[RefusedRow] | tuple[RefusedRow, ...]) -> None:
        """Write these rows down with their reasons."""
        for row in rows:
            if row.place in self._places:
                continue  # refused already, by another message of the same row
            self._places.add(row.place)
            self.count += 1
            if self._told.refused_path is not None:
                self._write(row, self._told.refused_path)

    def flush(self) -> None:
        """Have on disk what was written down, before it is noted that everything up to here is."""
        if self._opened is not None:
            self._opened.flush()

    def _header(self) -> tuple[str, ...]:
        told = self._told
        return header_of(told.path, told.mapping) if told.feed is None else told.feed.header

    def _write(self, row: RefusedRow, path: Path) -> None:
        try:
            header = self._header() if self._writer is None else ()
            if self._writer is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                how = os.O_APPEND if self._goes_on else os.O_TRUNC
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
                self._opened = os.fdopen(handle, "w", encoding="utf-8", newline="")
                self._writer = csv.writer(self._opened)
                if not self._goes_on:
                    self._writer.writerow([*header, "wayline_place", "wayline_code", "wayline_reason", "wayline_text"])
                self._width = len(header)
            cells = row.cells or ("",) * self._width
            written = [_as_text(cell) for cell in (*cells, row.place, row.code, row.reason, row.text)]
            self._writer.writerow([cell.encode("utf-8", "backslashreplace").decode() for cell in written])
        except OSError as trouble:
            raise OperatorError(
                f"{path}: refused rows cannot be written: {trouble.strerror}. Make room or name another file; "
                "what is imported already is kept, and running it again stores nothing twice."
            ) from trouble


def _places_in(path: Path | None) -> set[int]:
    """The rows a file of refused rows holds already."""
    if path is None or not path.exists():
        return set()
    with path.open(encoding="utf-8", newline="") as opened:
        rows = csv.DictReader(opened)
        return {int(place) for row in rows if (place := row.get("wayline_place") or "").isdecimal()}


def _as_text(cell: Any) -> str:
    if isinstance(cell, dict | list):
        return msgspec.json.encode(cell).decode()
    return "" if cell is None else str(cell)


class _Token:
    """How far an import is on disk, for this very file and mapping."""

    def __init__(self, told: Import) -> None:
        self._path = told.token_path
        self._about = _fingerprint(told) if told.token_path is not None else ""
        self.place = self._found()

    def _found(self) -> int:
        if self._path is None or not self._path.exists():
            return 0
        try:
            said = msgspec.json.decode(self._path.read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            return 0  # it only spares work: without it everything is offered again, and found to be stored
        return int(said.get("place", 0)) if said.get("about") == self._about else 0

    def note(self, place: int) -> None:
        """Remember that all up to this place is on disk."""
        if self._path is not None and place > self.place:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            written = self._path.with_suffix(".new")
            written.write_bytes(msgspec.json.encode({"about": self._about, "place": place}))
            written.replace(self._path)

    def done(self) -> None:
        """Forget it: the next import of this file begins anew."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _fingerprint(told: Import) -> str:
    digest = blake2b(digest_size=16)
    digest.update(f"{told.mapping.source}:{told.path.stat().st_size}:{told.fires}".encode())
    with told.path.open("rb") as opened:
        digest.update(opened.read(1 << 20))
    return digest.hexdigest()
