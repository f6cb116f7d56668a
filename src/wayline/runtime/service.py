"""A running engine: the loop of cycles at the wall clock, in a thread of its own.

`Keeper.look` is one look at the clock and knows no thread: schedules' events go into the log, everything acknowledged
is folded, whoever is due is woken, what may leave is handed over; when nothing is left to do, memories are written
back. It answers how long it may sleep. `Running` is the thread around it, woken early whenever it is told that events
are in the log.

Trouble ends no loop. Whatever it is, the engine is opened anew before the next look, from what is on disk, as after a
crash; looks come further and further apart until one succeeds, and `health` says what is the matter meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

import structlog
from msgspec import Struct

from wayline.channels import Channel
from wayline.domain import Customer, Playbook
from wayline.errors import StoreUnavailable
from wayline.runtime.embedded import Embedded, Limits
from wayline.runtime.schedules import Schedules
from wayline.store import Batch
from wayline.store.opening import Store

__all__ = ["Health", "Keeper", "Pace", "Running"]

_log = structlog.get_logger()
_APPENDED_MAX = 10_000  # internal events written to the log at a time
_BACK_MAX = timedelta(days=1)  # a clock set back by more is followed; by less, time stands still until it is there


_State: TypeAlias = Literal["starting", "running", "in trouble", "stopped"]


class Pace(Struct, frozen=True, kw_only=True):
    """How often the loop looks, and how long it waits in trouble. Durations in seconds."""

    look_max: float = 1.0
    """Between two looks when nothing is announced: another process may have written to the log."""
    look_min: float = 0.05
    """Between two looks when there was nothing to do at the first."""
    gather: float = 0.02
    """After being told of events, so that those of many requests are folded in one transaction."""
    again_min: float = 0.5
    """After the first failure; each further one doubles it."""
    again_max: float = 60.0
    """Between two attempts, after however many failures."""
    checkpoint_every: timedelta = timedelta(seconds=30)
    """Between two checkpoints, when idle."""


class Health(Struct, frozen=True):
    """How the loop is doing."""

    state: _State
    trouble: str = ""
    """What is the matter, for whoever can put it right."""
    failures: int = 0
    """Looks in a row that failed."""
    looked_at: datetime | None = None
    position: int = 0
    """Log position up to which everything is folded."""
    events: int = 0
    """Folded since the start, as are the others."""
    handed_over: int = 0
    set_aside: int = 0
    """Turns that could not be taken."""


class Keeper:
    """What is done at each look at the clock. The clock is the caller's."""

    def __init__(
        self,
        store: Store,
        playbook: Playbook,
        channels: Mapping[str, Channel],
        *,
        limits: Limits | None = None,
        pace: Pace | None = None,
        beside: Callable[[datetime], None] = lambda now: None,
    ) -> None:
        self.store = store
        self.playbook = playbook
        self.channels = channels
        self.limits = limits
        self.pace = pace or Pace()
        self.beside = beside
        """Called at each look that went well: what goes on beside the engine is begun and looked after here."""
        self.engine: Embedded | None = None
        self.health = Health("starting")
        self._schedules: Schedules | None = None
        self._now = datetime.min.replace(tzinfo=UTC)
        self._kept_at = self._now
        self._began_after: int | None = None
        self._handed_over = self._set_aside = 0

    def look(self, now: datetime) -> float:
        """Do what can be done now; how many seconds until the next look is needed."""
        if self._now - now > _BACK_MAX:
            self._set_back(now)
        # A wall clock may be set back; time in the engine stands still until it is there again.
        now = self._now = max(now, self._now)
        try:
            pause = self._look(now)
        except StoreUnavailable as error:
            return self._in_trouble(str(error), now)
        except Exception as error:  # noqa: BLE001 - the top of a worker loop: said, counted, and tried again from disk
            _log.error("the engine failed", reason=f"{type(error).__name__}: {error}", exc_info=error)
            return self._in_trouble(f"{type(error).__name__}: {error}", now)
        if self.health.failures:
            _log.info("the engine goes on", after_failures=self.health.failures)
        self.health = self._healthy("running", now)
        return pause

    def customer(self, customer_id: str) -> Customer | None:
        """A customer as last seen by the loop, else as last written back; None if nobody. From any thread."""
        engine = self.engine
        # One look into a dict, and what is in it is frozen: no lock is needed.
        at_hand = None if engine is None else engine.customers.get(customer_id)
        return at_hand or self.store.state.load([customer_id]).get(customer_id)

    def close(self, now: datetime) -> None:
        """Write back what a restart would otherwise fold again. The stores stay open; they are the caller's."""
        engine, self.engine = self.engine, None
        try:
            if engine is not None:
                self._keep(engine, max(now, self._now))
        except StoreUnavailable as error:
            # Nothing is lost by it: the log is folded again from the last checkpoint.
            _log.warning("no last checkpoint", reason=str(error))
        self.health = self._healthy("stopped", now, engine)

    def _look(self, now: datetime) -> float:
        engine = self.engine or self._open(now)
        done = engine.cycle(now)
        self._handed_over += done.handed_over
        self._set_aside += done.set_aside
        self.beside(now)
        if self._announced(engine, now) or not done.is_idle:
            return 0.0
        if engine.dirty and now - self._kept_at >= self.pace.checkpoint_every:
            self._keep(engine, now)
        due = self.store.state.next_due()
        until_due = self.pace.look_max if due is None else (due - now).total_seconds()
        return float(min(max(until_due, self.pace.look_min), self.pace.look_max))

    def _open(self, now: datetime) -> Embedded:
        """The engine as the disk has it, and what a predecessor died over settled as the channels' promises say."""
        if self._began_after is None:
            self._began_after = self.store.state.position()
        engine = Embedded(
            self.store.log, self.store.state, self.store.vault, self.playbook, self.channels, limits=self.limits
        )
        orphans = engine.outbox.recover(now)
        if orphans:
            _log.warning("messages were found half handed over", count=orphans)
        self._schedules = Schedules(engine)
        if self._schedules.until is None:
            # From here on the clock counts, also while nothing runs: what falls due meanwhile is made up for.
            self._schedules.events(now)
            self.store.state.commit(Batch(notes=self._schedules.note()))
        self._kept_at = now
        self.engine = engine
        return engine

    def _set_back(self, now: datetime) -> None:
        """The clock was far ahead, and is no more: standing still would leave everybody waiting for weeks.

        What was done stays done: it is on disk, and the engine begins from there, as after any start.
        """
        _log.warning("the clock was set back", by=str(self._now - now))
        self._now = self._kept_at = now
        self.engine = self._schedules = None

    def _announced(self, engine: Embedded, now: datetime) -> int:
        """Put the events that schedules have due into the log; how many there were."""
        assert self._schedules is not None
        events = self._schedules.events(now)
        for start in range(0, len(events), _APPENDED_MAX):
            self.store.log.append(events[start : start + _APPENDED_MAX])
        if events:
            self.store.state.commit(Batch(notes=self._schedules.note()))
        return len(events)

    def _keep(self, engine: Embedded, now: datetime) -> None:
        assert self._schedules is not None
        engine.checkpoint()
        self.store.state.commit(Batch(notes=self._schedules.note()))
        self._kept_at = now

    def _in_trouble(self, reason: str, now: datetime) -> float:
        failures = self.health.failures + 1
        pause: float = min(self.pace.again_min * 2 ** min(failures - 1, 16), self.pace.again_max)
        _log.error("the engine waits", reason=reason, failures=failures, seconds=pause)
        # What is in memory may be ahead of the disk: the next look begins with what is really there.
        self.engine = self._schedules = None
        self.health = self._told("in trouble", now, self.health.position, reason=reason, failures=failures)
        return pause

    def _healthy(self, state: Literal["running", "stopped"], now: datetime, engine: Embedded | None = None) -> Health:
        engine = engine or self.engine
        return self._told(state, now, self.health.position if engine is None else engine.position)

    def _told(self, state: _State, now: datetime, position: int, *, reason: str = "", failures: int = 0) -> Health:
        events = max(position - (self._began_after or 0), 0)
        return Health(state, reason, failures, now, position, events, self._handed_over, self._set_aside)


class Running:
    """A keeper in a thread of its own, from `start` to `stop`."""

    def __init__(self, keeper: Keeper, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.keeper = keeper
        self._clock = clock
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="wayline-engine", daemon=True)

    @property
    def health(self) -> Health:
        """How the loop is doing."""
        return self.keeper.health

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def told(self) -> None:
        """Say that events are in the log, so that nobody waits for the next look."""
        self._woken.set()

    def stop(self, seconds_max: float = 30.0) -> bool:
        """End after the look that is under way, memories written back; whether it ended within that time."""
        self._stopping.set()
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(seconds_max)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        pace = self.keeper.pace
        while not self._stopping.is_set():
            pause = self.keeper.look(self._clock())
            # In trouble, the next event is no reason to try again sooner.
            woken = self._stopping if self.keeper.health.failures else self._woken
            if pause and woken.wait(pause) and not self._stopping.is_set():
                self._stopping.wait(pace.gather)
            self._woken.clear()
        self.keeper.close(self._clock())
