"""Catching up with a shop: asking its API what its webhooks should have told, and what happened before there were any.

Webhooks get lost: one platform never sends again and gives up after five failures, another deletes the subscription
after eight. So every few minutes each shop is asked what changed since the *mark*, less an overlap, and once a night
for the whole last day. What it answers is read by the same functions, to the same ids, into the same log: what webhooks
told falls away as duplicates, and what is stored is the gap, which is said.

The mark of each resource is the newest change up to which everything is in the log. It moves only after a page is on
disk, so a cut anywhere costs asking again and nothing else. A moment is left to the webhooks before they count as lost.

A backfill is the same walk from months ago, with marks of its own, of events that start nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import msgspec
import structlog
from msgspec import Struct, field

from wayline.errors import OperatorError, Rejected
from wayline.playbook.grammar import duration
from wayline.runtime.collecting import Collector, Delivered
from wayline.sources.asking import Api, Page, Window
from wayline.store.seal import sync_folder

__all__ = [
    "BACKFILL_MONTHS_MAX", "KEPT_IN",
    "Asked", "Caught", "Pace", "Pausing", "Poll", "Polling", "Reader", "Shop",
    "backfill", "caught_up", "pace_of", "shops_of", "worries",
]  # fmt: skip

_log = structlog.get_logger()

BACKFILL_MONTHS_MAX: Final = 24
"""Months a backfill goes back at most."""

KEPT_IN: Final = "sources"
"""Folder of what is known of each source, among the stores."""

_NIGHT: Final = timedelta(hours=3)  # after midnight, where the shop is: when the whole last day is asked for
_WHOLE_DAY: Final = timedelta(hours=25)  # a day, and the hour by which clocks are changed
_REFUSED_MAX: Final = 1_000  # bodies that could not be read, remembered so that each is kept once
_WAIT_MIN: Final = timedelta(minutes=1)  # after a cycle that failed; each further one doubles it
_WAIT_MAX: Final = timedelta(hours=1)  # between two cycles, after however many failures
_LATE: Final = timedelta(hours=2)  # without a cycle that succeeded: somebody should look


class Reader(Protocol):
    """Reads a body of a topic, as it reads the webhook of it."""

    def read(self, topic: str, body: Any) -> list[dict[str, Any]]:
        """What it says, as messages. Raises Rejected where it cannot be used."""
        ...


class Pace(Struct, frozen=True, kw_only=True):
    """How often a shop is asked, and what about."""

    every: timedelta = timedelta(minutes=15)
    overlap: timedelta = timedelta(hours=1)
    """Asked for again each time: a change may become visible later than one that came after it."""
    settle: timedelta = timedelta(minutes=2)
    """Left to the webhooks: what changed later than that is asked for next time."""
    zone: str = "UTC"


class Shop(Struct, frozen=True, kw_only=True):
    """One source that can be asked: its API, what reads it, and where its marks are kept."""

    source: str
    api: Api
    reader: Reader
    collector: Collector
    folder: Path | None = None
    """Where the marks are kept; None keeps them in memory."""
    pace: Pace = Pace()


class Caught(Struct, kw_only=True):
    """How far a source is caught up: kept on disk, and shown."""

    marks: dict[str, datetime] = {}
    """By resource, the newest change up to which everything is stored."""
    asked_at: datetime | None = None
    """When it was last asked with success."""
    full_on: str = ""
    """The night of which the whole last day was asked for."""
    missed: dict[str, int] = {}
    """Facts by resource that no webhook had told, in all cycles but the first."""
    missed_last: int = 0
    failures: int = 0
    trouble: str = ""
    silent: list[str] = []
    """Webhooks that the shop had switched off, newest last."""
    refused: list[str] = []


class Asked(Struct, kw_only=True):
    """What came of asking once."""

    bodies: int = 0
    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    by_resource: dict[str, int] = field(default_factory=dict)
    """Facts stored, by resource."""

    def add(self, resource: str, other: Asked) -> None:
        """Count a page."""
        self.bodies += other.bodies
        self.stored += other.stored
        self.duplicates += other.duplicates
        self.conflicts += other.conflicts
        self.rejected += other.rejected
        self.by_resource[resource] = self.by_resource.get(resource, 0) + other.stored


def pace_of(said: Mapping[str, Any], zone: str) -> Pace:
    """What `[sources.NAME.poll]` says of when to ask."""
    spans = {name: duration(str(said[name])) for name in ("every", "overlap", "settle") if said.get(name)}
    return Pace(zone=zone, **{name: span for name, span in spans.items() if span is not None})


def shops_of(
    settings: Mapping[str, Mapping[str, Any]],
    readers: Mapping[str, Any],
    apis: Mapping[str, Api],
    collector: Collector,
    *,
    folder: Path | None,
    zone: str = "UTC",
) -> dict[str, Shop]:
    """The sources that can be asked, by name."""
    return {
        name: Shop(
            source=name,
            api=api,
            reader=readers[name],
            collector=collector,
            folder=None if folder is None else folder / KEPT_IN,
            pace=pace_of(settings[name]["poll"], zone),
        )
        for name, api in apis.items()
    }


# ------------------------------------------------------------------ one cycle


class Poll:
    """Asks one shop, again and again. The clock is the caller's."""

    def __init__(self, shop: Shop, *, address: str = "") -> None:
        self.shop = shop
        self.address = address
        """The end of the address at which its webhooks reach us."""
        self.path = None if shop.folder is None else shop.folder / f"{shop.source}.json"
        self.caught = _kept(self.path)

    def cycle(self, now: datetime, *, since: datetime | None = None) -> Asked:
        """Ask once for all that changed. Raises OperatorError where the shop does not answer."""
        pace, caught = self.shop.pace, self.caught
        is_first = not caught.marks and since is None
        night = f"{now.astimezone(ZoneInfo(pace.zone)) - _NIGHT:%Y-%m-%d}"
        until = now - pace.settle
        asked = Asked()
        for resource in self.shop.api.resources:
            start = since or caught.marks.get(resource, until - _WHOLE_DAY) - pace.overlap
            if night != caught.full_on:
                start = min(start, until - _WHOLE_DAY)
            if start < until:
                self._resource(resource, Window(start, until), now, asked)
        if self.address:
            self._revive()
        caught.asked_at, caught.full_on, caught.failures, caught.trouble = now, night, 0, ""
        caught.missed_last = 0 if is_first else asked.stored
        if not is_first:
            for resource, count in asked.by_resource.items():
                caught.missed[resource] = caught.missed.get(resource, 0) + count
        _keep(self.path, caught)
        self._say(asked, is_first)
        return asked

    def failed(self, error: Exception) -> timedelta:
        """Note that a cycle failed; how long to wait before the next one."""
        caught = self.caught
        caught.failures += 1
        caught.trouble = str(error) or type(error).__name__
        _log.warning(
            "a shop was not caught up with", source=self.shop.source, reason=caught.trouble, failures=caught.failures
        )
        try:
            _keep(self.path, caught)
        except OSError as trouble:
            _log.warning("what was caught up with is not noted", source=self.shop.source, reason=str(trouble))
        doubled: int = 2 ** min(caught.failures - 1, 10)
        return min(_WAIT_MIN * doubled, _WAIT_MAX)

    def _resource(self, resource: str, window: Window, now: datetime, asked: Asked) -> None:
        caught = self.caught
        for page in self.shop.api.pages(resource, window):
            asked.add(resource, _store(self.shop, page, now, caught, fires=True))
            if page.newest is not None and page.newest > caught.marks.get(resource, window.since):
                caught.marks[resource] = min(page.newest, window.until)
                _keep(self.path, caught)
        # Only here is it known that there is nothing else before the end of the window.
        caught.marks[resource] = max(window.until, caught.marks.get(resource, window.until))
        _keep(self.path, caught)

    def _revive(self) -> None:
        for one in self.shop.api.revive(self.address):
            # Whether we may not, or no answer came: whether it is on is not known, and asked again next time.
            on_again = "on again since" if one.revived else "not known to be on again: look there, or let the key write"
            said = f"webhook {one.webhook_id} ({one.topic}), {on_again}"
            if said not in self.caught.silent[-1:] or one.revived:
                self.caught.silent = [*self.caught.silent[-99:], said]
            _log.warning("a webhook had been switched off", source=self.shop.source, webhook=said)

    def _say(self, asked: Asked, is_first: bool) -> None:
        if asked.stored and not is_first:
            _log.warning("webhooks had missed", source=self.shop.source, facts=asked.stored, **asked.by_resource)
        elif asked.stored:
            _log.info("caught up with a shop", source=self.shop.source, facts=asked.stored)


def _store(shop: Shop, page: Page, now: datetime, caught: Caught, *, fires: bool) -> Asked:
    """One page, durable when this returns; a body that cannot be read is kept once, with the reason."""
    items: list[dict[str, Any]] = []
    unreadable: dict[str, tuple[bytes, Rejected]] = {}
    for body in page.bodies:
        try:
            items += shop.reader.read(page.topic, body)
        except Rejected as error:
            whole = msgspec.json.encode(body)
            digest = blake2b(whole, digest_size=8).hexdigest()
            if digest not in caught.refused:
                unreadable[digest] = (whole, error)
    told = Delivered(items, shop.source, now, fires=fires, unreadable=list(unreadable.values()))
    collected = shop.collector.collect(told)
    # Only what is on disk counts as kept: where there was no room for it, it is to be kept the next time.
    caught.refused = [*caught.refused, *unreadable][-_REFUSED_MAX:]
    appended = collected.appended
    return Asked(
        bodies=len(page.bodies),
        stored=appended.stored,
        duplicates=appended.duplicates,
        conflicts=appended.conflicts,
        rejected=len(collected.rejected) + appended.unstorable,
    )


# ------------------------------------------------------------------ what happened before


def backfill(
    shop: Shop,
    months: int,
    now: datetime,
    progress: Callable[[str, Asked, datetime | None], None] = lambda resource, asked, at: None,
) -> Asked:
    """Bring in what changed in the last months, as history that starts nothing. Goes on where an earlier run stopped.

    The last day is left to the poll: it is no history yet.
    """
    path = None if shop.folder is None else shop.folder / f"{shop.source}.backfill.json"
    caught = _kept(path)
    since, until = now - timedelta(days=round(months * 30.44)), now - _WHOLE_DAY
    asked = Asked()
    for resource in shop.api.resources:
        start = max(since, caught.marks.get(resource, since))
        for page in shop.api.pages(resource, Window(start, until)) if start < until else ():
            asked.add(resource, _store(shop, page, now, caught, fires=False))
            if page.newest is not None:
                caught.marks[resource] = min(max(page.newest, start), until)
                _keep(path, caught)
            progress(resource, asked, page.newest)
        caught.marks[resource] = max(until, caught.marks.get(resource, until))
        _keep(path, caught)
    caught.asked_at = now
    _keep(path, caught)
    return asked


# ------------------------------------------------------------------ kept


def _kept(path: Path | None) -> Caught:
    try:
        return Caught() if path is None else msgspec.json.decode(path.read_bytes(), type=Caught)
    except FileNotFoundError:
        return Caught()
    except msgspec.MsgspecError as error:
        raise OperatorError(
            f"{path}: cannot be read ({error}). Delete it: the shop is then asked for the last day again."
        ) from error


def _keep(path: Path | None, caught: Caught) -> None:
    """Written beside and put in place at once, so that a cut leaves the old one or the new one."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    with beside.open("wb") as file:
        file.write(msgspec.json.encode(caught))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def caught_up(folder: Path) -> dict[str, Caught]:
    """How far each source of a folder is caught up, by source."""
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    return {path.stem: _kept(path) for path in paths if not path.stem.endswith(".backfill")}


def worries(folder: Path, now: datetime) -> Iterator[str]:
    """What of it somebody should look at."""
    for source, caught in caught_up(folder).items():
        if caught.trouble:
            yield f"source {source}: not caught up with, {caught.failures} times in a row: {caught.trouble}"
        elif caught.asked_at is not None and now - caught.asked_at > _LATE:
            yield (
                f"source {source}: last caught up with {caught.asked_at:%Y-%m-%d %H:%M} UTC; wayline serve does "
                f"that, or wayline sources poll"
            )
        if caught.missed_last:
            yield (
                f"source {source}: {caught.missed_last:,} facts had come by no webhook when it was last asked "
                f"({sum(caught.missed.values()):,} so far); they are stored. Look at the shop's list of webhooks"
            )
        if caught.silent:
            yield f"source {source}: the shop had switched off {'; '.join(caught.silent[-3:])}"


# ------------------------------------------------------------------ in threads of their own


class _Stopped(Exception):
    """The process is ending."""


class Pausing:
    """Waits as a shop asks us to, but not beyond the end of the process."""

    def __init__(self) -> None:
        self.stopping = threading.Event()

    def __call__(self, seconds: float) -> None:
        """Wait."""
        if self.stopping.wait(seconds):
            raise _Stopped


class Polling:
    """The polls of all sources, each in a thread of its own: a slow shop holds up no other."""

    def __init__(
        self,
        polls: Mapping[str, Poll],
        pausing: Pausing,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.polls = polls
        self.on_stored: Callable[[], None] = lambda: None
        """Called when something was stored, so that nobody waits for the engine's next look."""
        self._clock = clock
        self._stopping = pausing.stopping
        self._threads = [
            threading.Thread(target=self._loop, args=(poll,), name=f"wayline-poll-{source}", daemon=True)
            for source, poll in polls.items()
        ]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def close(self, seconds_max: float = 15.0) -> bool:
        """End after the call that is under way; whether all ended within that time."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(seconds_max)
        return not any(thread.is_alive() for thread in self._threads)

    def told(self) -> dict[str, dict[str, Any]]:
        """How each source is doing, for whoever looks at the health."""
        return {
            source: {
                "asked_at": poll.caught.asked_at and poll.caught.asked_at.isoformat(),
                "missed_last": poll.caught.missed_last,
                "missed": dict(poll.caught.missed),
                "trouble": poll.caught.trouble,
                "switched_off": poll.caught.silent[-3:],
            }
            for source, poll in self.polls.items()
        }

    def _loop(self, poll: Poll) -> None:
        wait = timedelta(0)
        while not self._stopping.wait(wait.total_seconds()):
            try:
                asked = poll.cycle(self._clock())
            except _Stopped:
                break
            except (OperatorError, OSError) as error:
                wait = poll.failed(error)
            except Exception as error:  # noqa: BLE001 - the top of a worker loop: said, counted, and tried again
                _log.error("a defect while asking a shop", source=poll.shop.source, exc_info=error)
                wait = poll.failed(error)
            else:
                wait = poll.shop.pace.every
                if asked.stored:
                    self.on_stored()
        poll.shop.api.close()
