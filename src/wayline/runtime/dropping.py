"""Drop folders: tills and exports put files into an inbox, and the shop takes them in.

A file is taken once it is whole: it has not changed for a while, or, where its source says so, a marker stands beside
it (`sales.csv.done`). Names that are written under until they are whole (`.sales.csv`, `sales.csv.part`) are left
alone. What is taken moves to `working/` and from there to `done/`; a file of which rows were refused to `refused/`,
with those rows and the reasons beside it. What is found in `working/` is a file during which the process died: it is
read again from the start, and what was stored of it already is found to be stored. A file gets a name that is free in
all three when it is begun, so that what lies beside it has that name too, and no day writes over another.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
import threading
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Signal
from wayline.errors import SenderError, StoreUnavailable
from wayline.playbook.grammar import duration
from wayline.runtime.arrivals import arrivals, mappings_called
from wayline.runtime.cataloguing import FeedSettings, bring_catalog
from wayline.runtime.importing import Import, Progress, Report, import_table
from wayline.runtime.importing import in_words as report_in_words
from wayline.sources.mapping import TableMapping, for_shop
from wayline.store.opening import Store

__all__ = [
    "KINDS",
    "Drop",
    "Dropped",
    "Dropping",
    "begun",
    "drops_of",
    "forget",
    "in_words",
    "once",
    "settled",
    "take_in",
]

_log = structlog.get_logger()

KINDS: Final = ("drop", "catalog")
"""Kinds of sources whose files are taken out of a folder."""

_WORKING, _DONE, _REFUSED = "working", "done", "refused"
_MARKER: Final = ".done"
_UNFINISHED: Final = (".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".uploading", _MARKER)
_COMPANION: Final = re.compile(r"(\.\d+)?\.refused\.csv$|\.reason\.txt$")  # what lies beside a file in refused/
_FILES_MAX: Final = 1_000  # files taken out of one inbox at one look


class Drop(Struct, frozen=True, kw_only=True):
    """One folder files are dropped in, and how they are read."""

    source: str
    inbox: Path
    mappings: tuple[TableMapping, ...]
    fires: bool = True
    every: timedelta = timedelta(seconds=10)
    """Between two looks into it."""
    settle: timedelta = timedelta(seconds=10)
    """How long a file must not have changed."""
    has_markers: bool = False
    """Whether a file is whole when its marker is there, and not before."""
    feed: FeedSettings | None = None
    """How catalogues are read, where that is what is dropped."""
    shop: Mapping[str, Any] = {}
    """What wayline.toml says."""
    signals: Mapping[str, Signal] = {}
    """What is agreed of events by name."""
    keep: timedelta = timedelta(days=30)
    """How long what is done or refused is kept: it holds what people bought, in the open."""


class Dropped(Struct, frozen=True):
    """What became of one file."""

    source: str
    file: str
    moved_to: Path
    reports: tuple[Report, ...] = ()
    problem: str = ""
    """Why the file as a whole could not be read."""
    passed_over: tuple[str, ...] = ()
    """Members of an archive that no mapping reads."""
    vanished: int = 0
    """Products that a whole catalogue no longer lists."""

    @property
    def refused(self) -> int:
        """Rows that became no event."""
        return sum(sum(report.refused.values()) for report in self.reports)


class _Stopped(Exception):
    """The process is asked to end; what is in `working/` goes on at the next start."""


def drops_of(folder: Path, settings: Mapping[str, Any], signals: Mapping[str, Signal]) -> list[Drop]:
    """The drop folders a shop's settings name; raises AuthorError for a mapping that cannot be read.

    `signals` is what is agreed of events by name: files keep to it as every other source does.
    """
    shop = settings.get("shop", {})
    currency, zone = str(shop.get("currency", "EUR")), str(shop.get("zone", "UTC"))
    drops = []
    for source, said in settings.get("sources", {}).items():
        if said.get("kind") in KINDS:
            given = said.get("mapping", [])
            names = given if isinstance(given, list) else [given]
            mappings = [each for name in names for each in mappings_called(name, folder)]
            drops.append(
                Drop(
                    source=source,
                    inbox=_inbox(folder, source, said),
                    mappings=tuple(replace(for_shop(each, currency, zone), source=source) for each in mappings),
                    feed=_feed(source, said) if said["kind"] == "catalog" else None,
                    shop=settings,
                    signals=signals,
                    **_options(said),
                )
            )
    return drops


def _inbox(folder: Path, source: str, said: Mapping[str, Any]) -> Path:
    return folder / said["inbox"] if said.get("inbox") else folder / "inbox" / source


def _feed(source: str, said: Mapping[str, Any]) -> FeedSettings:
    return FeedSettings(
        source=source,
        format=said.get("format", "auto"),
        is_whole=said.get("full", False),
        fires=said.get("fires", True),
    )


def _options(said: Mapping[str, Any]) -> dict[str, Any]:
    spans = {name: duration(said[name]) for name in ("every", "settle", "keep") if name in said}
    return {**spans, "fires": said.get("fires", True), "has_markers": said.get("complete") == "marker"}


# ------------------------------------------------------------------ one look


def begun(drop: Drop, whole: Sequence[Path]) -> list[Path]:
    """These whole files in `working/`, with what is left there of a look that was cut off; the oldest first."""
    for name in (_WORKING, _DONE, _REFUSED):
        (drop.inbox / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    taken = _names_in(drop) if whole else set()
    for path in whole:
        target = drop.inbox / _WORKING / _free(path.name, taken)
        taken.add(target.name)
        path.rename(target)
        _marker(path).unlink(missing_ok=True)
    return sorted((path for path in (drop.inbox / _WORKING).iterdir() if path.is_file()), key=_age)


def take_in(drop: Drop, store: Store, path: Path, now: datetime, progress: Callable[[Progress], None]) -> Dropped:
    """Take in one file of `working/`, and move it to where it belongs."""
    beside = drop.inbox / _REFUSED / path.name
    reports: list[Report] = []
    problem, vanished = "", 0
    passed_over: tuple[str, ...] = ()
    try:
        if drop.feed is not None:
            refused_path = beside.with_name(f"{path.name}.refused.csv")
            done = bring_catalog(
                path,
                store,
                drop.shop,
                drop.feed,
                now,
                progress=progress,
                refused_path=refused_path,
                signals=drop.signals,
            )
            reports, vanished = [done.report], done.vanished
        else:
            reports, passed_over = _imported(drop, store, path, now, progress)
    except SenderError as error:
        problem = str(error)
        beside.with_name(f"{path.name}.reason.txt").write_text(f"{problem}\n", "utf-8")
    is_clean = not problem and not any(report.refused for report in reports)
    folder = drop.inbox / (_DONE if is_clean else _REFUSED)
    # Free since it was begun, but for what somebody put there by hand.
    target = folder / _free(path.name, {each.name for each in folder.iterdir()})
    path.rename(target)
    return Dropped(drop.source, path.name, target, tuple(reports), problem, passed_over, vanished)


def _imported(
    drop: Drop, store: Store, path: Path, now: datetime, progress: Callable[[Progress], None]
) -> tuple[list[Report], tuple[str, ...]]:
    reports = []
    with arrivals(path, drop.mappings, store.folder) as (found, others):
        for number, each in enumerate(found, 1):
            suffix = f".{number}" if len(found) > 1 else ""
            told = Import(
                path=each.path,
                name=each.name,
                mapping=each.mapping,
                received_at=now,
                refused_path=drop.inbox / _REFUSED / f"{path.name}{suffix}.refused.csv",
                fires=drop.fires,
                signals=drop.signals,
            )
            reports.append(import_table(told, store.log, store.vault, progress))
    return reports, tuple(others)


def _names_in(drop: Drop) -> set[str]:
    """Names of files that are or were here, also of those of which only what lay beside them is left."""
    found = {path.name for name in (_WORKING, _DONE, _REFUSED) for path in (drop.inbox / name).iterdir()}
    return found | {_COMPANION.sub("", name) for name in found}


def _free(name: str, taken: Container[str]) -> str:
    """The name, numbered if something has it: the same name may be dropped every day."""
    path = Path(name)
    numbered = (f"{path.stem}-{number}{path.suffix}" for number in itertools.count(2))
    return next(each for each in itertools.chain((name,), numbered) if each not in taken)


def _age(path: Path) -> tuple[float, str]:
    return (path.stat().st_mtime, path.name)


def _marker(path: Path) -> Path:
    return path.with_name(path.name + _MARKER)


def forget(drop: Drop, now: datetime) -> None:
    """Delete what was done or refused long ago, and was put here by us: files alone.

    They hold people's names and addresses in the open, so they are not kept for ever.
    """
    for path in [*(drop.inbox / _DONE).iterdir(), *(drop.inbox / _REFUSED).iterdir()]:
        try:
            told = path.lstat()
            if stat.S_ISREG(told.st_mode) and now - datetime.fromtimestamp(told.st_ctime, UTC) > drop.keep:
                path.unlink()
        except OSError as error:
            _log.warning("a dropped file cannot be deleted", source=drop.source, path=str(path), reason=str(error))


# ------------------------------------------------------------------ what is whole


def _candidates(drop: Drop) -> list[tuple[Path, os.stat_result]]:
    """Files in the inbox that are not being written under another name, those that have waited longest first."""
    drop.inbox.mkdir(parents=True, exist_ok=True)
    found = []
    with os.scandir(drop.inbox) as entries:
        for entry in entries:
            name = entry.name
            if name[0] in ".~" or name.lower().endswith(_UNFINISHED) or not entry.is_file(follow_symlinks=False):
                continue
            path = Path(entry.path)
            if not drop.has_markers or _marker(path).exists():
                found.append((path, entry.stat(follow_symlinks=False)))
    return sorted(found, key=lambda each: (each[1].st_mtime, each[0].name))[:_FILES_MAX]


def settled(drop: Drop, now: datetime, *, at_once: bool = False) -> tuple[list[Path], list[Path]]:
    """Files that are whole, and those that may still be written, for whoever looks but once."""
    whole: list[Path] = []
    changing: list[Path] = []
    for path, told in _candidates(drop):
        age = now - datetime.fromtimestamp(told.st_mtime, UTC)
        (whole if at_once or drop.has_markers or age >= drop.settle else changing).append(path)
    return whole, changing


def once(
    drop: Drop, store: Store, now: datetime, progress: Callable[[Progress], None], *, at_once: bool = False
) -> tuple[list[Dropped], list[Path]]:
    """Look into a folder by hand: what became of each whole file, and the files that may still be written."""
    whole, changing = settled(drop, now, at_once=at_once)
    taken = [take_in(drop, store, path, now, progress) for path in begun(drop, whole)]
    forget(drop, now)
    return taken, changing


class _Watch:
    """Which files have stood unchanged since when, by our own clock: that of whoever writes them may be off."""

    def __init__(self, drop: Drop) -> None:
        self.drop = drop
        self.next_at: datetime | None = None
        self._seen: dict[Path, tuple[int, int, datetime]] = {}

    def whole(self, now: datetime) -> list[Path]:
        """Files that have not changed for as long as they must."""
        before, self._seen = self._seen, {}
        whole = []
        for path, told in _candidates(self.drop):
            size, changed, since = before.get(path, (-1, -1, now))
            if (size, changed) != (told.st_size, told.st_mtime_ns):
                since = now
            self._seen[path] = (told.st_size, told.st_mtime_ns, since)
            if self.drop.has_markers or now - since >= self.drop.settle:
                whole.append(path)
        return whole


class Dropping:
    """Looks into the drop folders of a shop that is served, in a thread of its own while there is something to do."""

    def __init__(
        self,
        store: Store,
        drops: Sequence[Drop],
        *,
        on_stored: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._watches = [_Watch(drop) for drop in drops]
        self._on_stored = on_stored
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def look(self, now: datetime) -> None:
        """Begin to take in what is whole, where it is time to look. Never waits."""
        if self._stopping.is_set() or (self._thread is not None and self._thread.is_alive()):
            return
        due = [each for each in self._watches if each.next_at is None or now >= each.next_at]
        if due:
            self._thread = threading.Thread(target=self._run, args=(due,), name="wayline-dropping", daemon=True)
            self._thread.start()

    def close(self, seconds_max: float = 30.0) -> bool:
        """End after the batch that is under way; whether it ended within that time."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(seconds_max)
        return self._thread is None or not self._thread.is_alive()

    def _run(self, due: Sequence[_Watch]) -> None:
        for watch in due:
            now = self._clock()
            watch.next_at = now + watch.drop.every
            try:
                paths = begun(watch.drop, watch.whole(now))
                forget(watch.drop, now)
            except OSError as error:
                _log.error("a drop folder cannot be read", source=watch.drop.source, reason=str(error))
                continue
            for path in paths:
                if self._stopping.is_set():
                    return
                self._take(watch.drop, path, now)

    def _take(self, drop: Drop, path: Path, now: datetime) -> None:
        try:
            _say(take_in(drop, self._store, path, now, self._progress))
            self._on_stored()
        except _Stopped:
            return
        except (StoreUnavailable, OSError) as error:
            _log.error("a dropped file waits", source=drop.source, file=path.name, reason=str(error))
        except Exception as error:  # noqa: BLE001 - the top of a worker: said, the file is tried again, others go on
            _log.error("a dropped file failed", source=drop.source, file=path.name, reason=str(error), exc_info=error)

    def _progress(self, progress: Progress) -> None:
        self._on_stored()
        if self._stopping.is_set():
            raise _Stopped


def in_words(dropped: Dropped) -> list[str]:
    """What became of a file, as a person reads it."""
    lines = [f"{dropped.source}: {dropped.file} -> {dropped.moved_to}"]
    lines += [f"  {dropped.problem}"] if dropped.problem else []
    lines += [f"  {line}" for report in dropped.reports for line in report_in_words(report, is_rehearsal=False)]
    lines += [f"  {dropped.vanished:,} products it no longer lists count as gone"] if dropped.vanished else []
    return lines + [f"  no mapping reads {name}" for name in dropped.passed_over]


def _say(dropped: Dropped) -> None:
    told = {"source": dropped.source, "file": dropped.file, "moved_to": str(dropped.moved_to)}
    if dropped.problem:
        _log.warning("a dropped file was refused", **told, reason=dropped.problem)
        return
    counts = {
        name: sum(getattr(report, name) for report in dropped.reports) for name in ("rows", "stored", "duplicates")
    }
    if dropped.refused:
        _log.warning("a dropped file has refused rows", **told, **counts, refused=dropped.refused)
    else:
        _log.info("a dropped file was taken in", **told, **counts)
