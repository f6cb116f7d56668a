"""The dry run: a playbook played over history, by the real engine, at the speed of the machine.

Nothing here is a model of the engine. The events of the history go through the same loop (`Embedded`) over a state in
memory, with a clock that stands at the instant of each event, and between two events at every instant at which anything
falls due: waits end, patience runs out, quiet hours pass, messages are handed over, schedules come round. So without
assumptions the decisions are those the live engine would have taken, which a test holds. The channels keep nothing and
send nothing, and the stores the history comes from are only read.

Histories rarely say all that a policy asks. What they lack is assumed aloud: see `assuming`.
"""

from __future__ import annotations

import heapq
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from wayline.channels.dryrun import DryRun as SilentChannel
from wayline.domain import (
    Ask,
    Customer,
    Decision,
    Event,
    Message,
    Playbook,
    Product,
    Propose,
    Refusal,
    Schedule,
    Stimulus,
    Turn,
)
from wayline.errors import AuthorError, Broken, did_you_mean
from wayline.playbook.names import CHANNELS
from wayline.runtime.assuming import LONG_AGO, AssumedVault, Assumptions, priced, signed_up, skus_of
from wayline.runtime.embedded import Embedded, Limits, calm_collector
from wayline.runtime.handover import Rendering
from wayline.runtime.reckoning import JourneyCount, Reckoning
from wayline.runtime.schedules import Schedules, due_between
from wayline.store import Batch, Vault
from wayline.store.memory import MemoryState, MemoryVault

__all__ = ["DryRun", "Options", "Progress", "dry_run", "treated", "without_stock"]

_SPACE: Final = 2_000  # events between two words of progress
_LIMITS: Final = Limits(  # nothing can crash into a doubt here, and memories are nowhere else
    events_max=5_000, wakes_max=5_000, claims_max=2_000, customers_max=1 << 40, checkpoint_every=1 << 40
)
_PAGES: Final = frozenset({"Page Viewed", "Product Viewed", "Cart Viewed", "Checkout Started", "Checkout Step Viewed"})
_CYCLES_MAX: Final = 100_000  # cycles of a dry run at one instant, before it says that something falls due for ever


class Options(Struct, frozen=True, kw_only=True):
    """How a dry run is played, apart from what is assumed."""

    since: datetime | None = None
    """What happened before is remembered and starts nothing."""
    until: datetime | None = None
    """Where to stop; the last event of the history if left out."""
    schedules: bool = True
    """Whether the playbook's schedules come round, as if they had always run."""
    pages: bool = True
    """Whether the website asks what to show whenever the history says that somebody looks at a page."""
    texts: bool = True
    """Whether messages are written: without, what a text refuses is not found, and the run is faster."""
    treat: Mapping[str, str] = {}
    """Event name to the name of a second event it is also told as, where the history lacks what a journey waits for."""
    grain: timedelta = timedelta(0)
    """Events of so short a time are decided together, as a busy engine does; 0: each at its own instant."""

    def in_words(self, playbook: Playbook) -> tuple[str, ...]:
        """What the options make of the run, as sentences."""
        told = [f"each {name!r} is told as {other!r} too" for name, other in self.treat.items()]
        if not self.schedules:
            told.append("no schedule comes round")
        elif playbook.schedules:
            told.append("schedules come round as if they had always run")
        told.append(
            "the website asks what to show with each page somebody looks at"
            if self.pages
            else "no page asks what to show"
        )
        if not self.texts:
            told.append("texts are not written, so nothing is held back for a gap in one")
        if self.since is not None:
            told.append(f"what happened before {self.since:%-d %B %Y} is remembered and starts nothing")
        if self.grain:
            told.append(f"the clock moves in steps of {self.grain.total_seconds():g} s")
        return tuple(told)


class Progress(Struct, frozen=True):
    """How far a dry run has come."""

    events: int
    at: datetime


class DryRun(Struct, frozen=True, kw_only=True):
    """What a playbook would have done over a history."""

    assumed: tuple[str, ...]
    """Every assumption and option that shaped the result, as sentences."""
    events: int
    named: Mapping[str, int]
    """Events of the history by name, the most frequent first."""
    told_also: int
    """Events told a second time under another name, as asked for."""
    scheduled: int
    """Events that schedules made."""
    people: int
    starts_at: datetime | None
    ends_at: datetime | None
    wakes: int
    journeys: tuple[JourneyCount, ...]
    set_aside: int
    set_aside_because: str
    seconds: float
    cpu_seconds: float
    memory_peak_mb: int


def dry_run(
    history: Iterable[Event],
    playbook: Playbook,
    *,
    assume: Assumptions | None = None,
    options: Options | None = None,
    products: Iterable[Product] = (),
    vault: Vault | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_decided: Callable[[Decision], None] | None = None,
) -> DryRun:
    """Play a history, in the order of `known_at`, through a playbook; nothing leaves and nothing is kept.

    `products` is what the shelf holds at first; `vault` is read for names and addresses where texts are written.
    """
    began, cpu = time.monotonic(), time.process_time()
    run = _Run(playbook, assume or Assumptions(), options or Options(), products, vault)
    run.engine.on_decided = on_decided
    calm_collector()
    run.play(iter(history), on_progress)
    return run.told(time.monotonic() - began, time.process_time() - cpu)


def treated(said: Iterable[str]) -> dict[str, str]:
    """Read `Product Added=Checkout Step Viewed`, each a pair of event names; raises AuthorError for what is none."""
    pairs = {}
    for one in said:
        name, equals, other = (part.strip() for part in one.partition("="))
        if not (name and equals and other):
            raise AuthorError(
                f"--treat: expected 'EVENT=EVENT' such as 'Product Added=Checkout Step Viewed', got {one!r}"
            )
        pairs[name] = other
    return pairs


def without_stock(product: Product) -> Product:
    """A product as it may stand on the shelf of the past: what is in stock now was not then, and prices may differ."""
    return replace(product, available=None, stock_as_of=None, price_as_of=None, locations={})


# ------------------------------------------------------------------ what stands in for the stores


class _Passing:
    """A log whose events are let go once they are folded."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._before = 0

    def offer(self, events: Iterable[Event]) -> int:
        """The next events, numbered; those offered before were folded."""
        self._before += len(self._events)
        self._events = [replace(event, position=place) for place, event in enumerate(events, self._before + 1)]
        return len(self._events)

    def head(self) -> int:
        return self._before + len(self._events)

    def read(self, after: int, count_max: int) -> list[Event]:
        start = after - self._before
        return self._events[start : start + count_max]

    def named(self, names: Sequence[str], after: int = 0) -> Iterator[Event]:
        return iter(())


class _Unwritten(Rendering):
    """Messages without their texts, where only the counts matter."""

    def message(self, decision: Decision, customer: Customer) -> Message | Refusal:
        action = decision.action
        assert action is not None
        return Message(
            decision_id=decision.decision_id, channel=action.channel, to="nobody", parts={}, purpose=action.purpose
        )


# ------------------------------------------------------------------ playing


class _Run:
    """One dry run on its way through the history."""

    def __init__(
        self,
        playbook: Playbook,
        assume: Assumptions,
        options: Options,
        products: Iterable[Product],
        vault: Vault | None,
    ) -> None:
        self.assume, self.options, self.playbook = assume, options, _as_assumed(playbook, assume, options)
        self.now = LONG_AGO
        self.starts_at: datetime | None = None
        self.told_also = self.scheduled = self.events = 0
        self.named: Counter[str] = Counter()
        self.log = _Passing()
        self.state = MemoryState(keeps_records=False)
        self.state.commit(Batch(products=list(products)))
        channels = {name: SilentChannel(name, kept_max=1, clock=lambda: self.now) for name in CHANNELS}
        self.engine = Embedded(
            self.log,  # type: ignore[arg-type]  # as much of a log as the engine asks for
            self.state,
            AssumedVault(vault or MemoryVault()),  # type: ignore[arg-type]  # read only
            self.playbook,
            channels,
            limits=_LIMITS,
            newcomer=self._newcomer,
        )
        if not options.texts:
            rendering = self.engine.outbox.rendering
            self.engine.outbox.rendering = _Unwritten(rendering.playbook, rendering.vault, rendering.shelf)
        self.reckoning = Reckoning(self.playbook, lambda: self.engine.world(self.now))
        self.engine.on_turn = self._on_turn
        self.schedules = Schedules(self.engine)
        self._rounds: Iterator[datetime] = iter(())
        self._round: datetime | None = None
        self._onsite = _onsite_steps(self.playbook) if options.pages else frozenset()
        self._newcomers: list[str] = []
        self._looking: list[tuple[str, Event]] = []
        """Who looks at a page with a wish for it, and the event that says so."""
        self._described: set[str] = set()

    def play(self, history: Iterator[Event], on_progress: Callable[[Progress], None]) -> None:
        """All of the history, group by group of events that are decided together."""
        pending = next(history, None)
        if pending is not None:
            self._begin(pending.known_at)
        told_at = 0
        while pending is not None and not self._is_over(pending.known_at):
            # Whatever falls due before the next event comes first.
            self._pass(max(self.now, pending.known_at))
            group, pending = self._group(pending, history)
            self._live(group)
            if self.events - told_at >= _SPACE:
                told_at = self.events
                on_progress(Progress(self.events, self.now))
        if self.options.until is not None and self.starts_at is not None:
            self._pass(self.options.until)

    def _begin(self, at: datetime) -> None:
        self.starts_at = self.now = at
        self.schedules.events(at)
        if self.options.schedules:
            zone = self.playbook.policy.zone
            far = at + timedelta(days=36_500)
            self.engine.playbook = self.playbook = replace(
                self.playbook, schedules=tuple(_always(one, at) for one in self.playbook.schedules)
            )
            self._rounds = heapq.merge(*(due_between(one, at, far, zone) for one in self.playbook.schedules))
            self._round = next(self._rounds, None)

    def _is_over(self, at: datetime) -> bool:
        return self.options.until is not None and at > self.options.until

    def _group(self, first: Event, history: Iterator[Event]) -> tuple[list[Event], Event | None]:
        """Events that are decided together: of one instant, or of one grain in which nothing falls due."""
        last = first.known_at + self.options.grain
        due = self._next_due()
        if due is not None:
            last = max(first.known_at, min(last, due))
        group = [first]
        for event in history:
            if event.known_at > last or len(group) >= _LIMITS.events_max:
                return group, event
            group.append(event)
        return group, None

    def _live(self, events: Sequence[Event]) -> None:
        """One group happens: those it is about, what they are told as besides, and all it sets off at this instant."""
        self.now = max(self.now, events[-1].known_at)
        self.events += len(events)
        self.named.update(event.name for event in events)
        told = [as_lived for event in events for as_lived in self._as_lived(event)]
        self.told_also += len(told) - len(events)
        if self.assume.products == "described":
            self._describe(told)
        self._happen(told)
        newcomers, self._newcomers = self._newcomers, []
        if self.assume.signup == "yes" and newcomers:
            self._happen([signed_up(customer_id, self.now) for customer_id in newcomers])

    def _as_lived(self, event: Event) -> Iterator[Event]:
        since = self.options.since
        fires = since is None or event.known_at >= since
        if event.fires is not fires or not event.fires:
            event = replace(event, received_at=event.known_at, fires=fires)
        if self.assume.price is not None:
            event = priced(event, self.assume.price)
        yield event
        other = self.options.treat.get(event.name)
        if other is not None:
            yield replace(event, name=other, event_id=f"{event.event_id}:as:{other}")

    def _happen(self, events: Sequence[Event]) -> None:
        self.log.offer(events)
        self._drain()
        looking, self._looking = self._looking, []
        for customer_id, event in looking:
            placement = "checkout" if event.name.startswith("Checkout") else "page"
            request = Ask(f"{event.source}:{event.event_id}", placement)
            self.engine.ask(self.engine.people.survivor(customer_id), request, self.now)

    def _pass(self, until: datetime) -> None:
        """Let time pass: whatever falls due on the way is done when it is due."""
        while True:
            soonest = min((at for at in (self._next_due(), self._round) if at is not None), default=None)
            if soonest is None or soonest > until:
                return
            self.now = max(self.now, soonest)
            if self._round is not None and self._round <= self.now:
                self._come_round()
            self._drain()

    def _come_round(self) -> None:
        """Schedules that are due tell their events; the memories they choose by must be where they look."""
        self.engine.checkpoint()
        while self._round is not None and self._round <= self.now:
            self._round = next(self._rounds, None)
        self.scheduled += self.log.offer(self.schedules.events(self.now))

    def _drain(self) -> None:
        for _ in range(_CYCLES_MAX):
            self.reckoning.wakes += self.engine.cycle(self.now).wakes
            due = self._next_due()
            if due is None or due > self.now:
                return
        raise Broken(f"the engine finds no rest at {self.now}: something falls due again and again")

    def _next_due(self) -> datetime | None:
        return self.state.next_due()

    # ------------------------------------------------------------------ what the engine tells

    def _newcomer(self, customer_id: str) -> Customer:
        self._newcomers.append(customer_id)
        return self.assume.newcomer(customer_id, self.now, self.playbook)

    def _on_turn(self, before: Customer, stimulus: Stimulus, turn: Turn) -> None:
        self.reckoning.on_turn(before, stimulus, turn)
        if self._onsite and isinstance(stimulus, Event) and stimulus.name in _PAGES and stimulus.fires:
            inside = turn.customer.standing.enrollments
            if any(one.is_open and (one.version, one.step) in self._onsite for one in inside):
                self._looking.append((turn.customer.customer_id, stimulus))

    def _describe(self, events: Iterable[Event]) -> None:
        """What texts say of a product and nobody has told is made up, when it is first met."""
        met = dict.fromkeys(sku for event in events for sku in skus_of(event) if sku not in self._described)
        if met:
            self._described.update(met)
            known = (self.engine.shelf.product(sku) or Product(sku) for sku in met)
            self.engine.stock(map(self.assume.described, known), self.now)

    def told(self, seconds: float, cpu_seconds: float) -> DryRun:
        """The result."""
        aside = self.state.set_asides()
        return DryRun(
            assumed=(*self.assume.in_words(), *self.options.in_words(self.playbook)),
            events=self.events,
            named=dict(self.named.most_common()),
            told_also=self.told_also,
            scheduled=self.scheduled,
            people=len(self.engine.customers),
            starts_at=self.starts_at,
            ends_at=self.now if self.starts_at is not None else None,
            wakes=self.reckoning.wakes,
            journeys=self.reckoning.closed(self.engine.customers.values()),
            set_aside=len(aside),
            set_aside_because=aside[0].reason if aside else "",
            seconds=round(seconds, 2),
            cpu_seconds=round(cpu_seconds, 2),
            memory_peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        )


def _as_assumed(playbook: Playbook, assume: Assumptions, options: Options) -> Playbook:
    known = {*playbook.entering, *playbook.folding}
    for other in options.treat.values():
        if other not in known:
            raise AuthorError(
                f"--treat: no journey or fact of this playbook reads {other!r}. {did_you_mean(other, known)}"
            )
    policy = playbook.policy
    if assume.stock == "in_stock":
        policy = replace(policy, stock_unknown_is="in_stock")
    return replace(playbook, policy=policy, schedules=playbook.schedules if options.schedules else ())


def _always(schedule: Schedule, at: datetime) -> Schedule:
    """A schedule as if it had always run: on its weekday, from before the history."""
    every = max(schedule.every, timedelta(days=1))
    rounds_late = max(0, (schedule.starts_on - at.date()) // every + 2)
    return replace(schedule, starts_on=schedule.starts_on - every * rounds_late)


def _onsite_steps(playbook: Playbook) -> frozenset[tuple[str, str]]:
    """Version and step of every wish for the website."""
    return frozenset(
        (journey.version, name)
        for journey in playbook.journeys.values()
        for name, step in journey.steps.items()
        if isinstance(step, Propose) and any(action.lane == "onsite" for action in step.actions)
    )
