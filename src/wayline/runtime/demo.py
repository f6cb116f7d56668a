"""The simulated shop played through the real engine, as two parties that only exchange events and messages.

The *street* is the shop with its collector: it acts an hour, and its events are in the log. The *engine* folds that
hour, decides, hands over, and tells the street what was sent or withheld. While the engine works on one hour the
street already acts the next, so people react to a message in the second hour after it left at the earliest; on disk
the two are two processes, which is what a second collector would be. In memory they take turns in one process, with
the same lag, and so the same seed gives the same report.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from wayline.channels import Channel
from wayline.channels.dryrun import DryRun
from wayline.domain import Ask, Customer, Decision, Enrollment, Event, Playbook, Product, Propose, Receipt
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.embedded import Embedded, Limits, Progress, calm_collector
from wayline.runtime.schedules import Schedules
from wayline.runtime.shop_rates import START
from wayline.runtime.shop_twins import Handed, Truth
from wayline.runtime.simulator import Shop
from wayline.store import Delivery, Log, Vault
from wayline.store.opening import Store, open_collecting

__all__ = ["Acted", "Day", "Demo", "Played", "Sent", "play"]

_HOUR = timedelta(hours=1)
_AHEAD = 2  # hours the street may act before it must have heard what was sent
_FEED_HOUR = 3  # UTC; the shop tells its whole catalogue then, as shops do
_LIMITS = Limits(claims_max=500, events_max=2000)
_PAGES = frozenset({"Page Viewed", "Product Viewed", "Cart Viewed", "Checkout Started", "Checkout Step Viewed"})


class Demo(Struct, frozen=True, kw_only=True):
    """How large a season to play, and where to keep it; no folder means in memory."""

    customers: int = 25_000
    days: int = 90
    seed: int = 7
    folder: Path | None = None

    @property
    def known_key(self) -> bytes:
        """The key of the store: these people are simulated, and the same seed is to give them the same pseudonyms."""
        return hashlib.blake2b(f"simulated shop {self.seed}".encode(), digest_size=32).digest()


class Day(Struct, kw_only=True):
    """One day as it ticks by."""

    date: datetime
    occasion: str
    events: int
    counts: Mapping[str, int]
    """`decided`, `sent`, `withheld`, `held`, ... of that day."""


class Played(Struct, kw_only=True):
    """A season that was played: how much there was, and what the shop alone knows."""

    events: int
    messages: int
    rejected: int
    truth: Mapping[str, Truth]
    until: datetime
    orders: int
    margin: int


class Sent(Struct, frozen=True, kw_only=True):
    """A message sent or withheld, as the engine knows it: pseudonyms only."""

    decision_id: str
    identifiers: tuple[tuple[str, str], ...]
    channel: str
    content: str
    journey: str
    kind: str
    shows: tuple[str, ...]
    delivers: bool
    at: datetime
    discount: float


class Acted(Struct, frozen=True):
    """What the street says of an hour it has acted."""

    head: int
    occasion: str
    rejected: int
    shelf: tuple[Product, ...] = ()
    """The nightly catalogue feed, in the hour it comes."""


class _Street(Protocol):
    """The shop and its collector, wherever they run."""

    def opened(self) -> tuple[int, list[Product]]:
        """The head of the log with the imported history in it, and the shelf."""
        ...

    def tell(self, sent: Sequence[Sent], internal: Sequence[Event]) -> None:
        """What was sent or withheld in an hour, and the engine's own events for the log."""
        ...

    def acted(self) -> Acted:
        """The next hour, acted."""
        ...

    def closed(self) -> tuple[Mapping[str, Truth], int, int]:
        """The truth, all orders, and all margin."""
        ...


class _Here:
    """The street in this process."""

    def __init__(self, demo: Demo, log: Log, vault: Vault) -> None:
        self.shop = Shop(demo.seed, demo.customers, demo.days)
        self.log = log
        self.vault = vault
        self.collector = Collector(log, vault)
        self.now = START
        self.told: deque[tuple[Sequence[Sent], Sequence[Event]]] = deque()
        self.names: dict[tuple[str, str], str] = {}
        """Pseudonym to the name the shop itself uses: it knows its people, the engine does not."""
        self.seen: set[str] = set()

    def opened(self) -> tuple[int, list[Product]]:
        self._collect(self.shop.history().messages, fires=False)
        return self.log.head(), self.shop.catalogue()

    def tell(self, sent: Sequence[Sent], internal: Sequence[Event]) -> None:
        self.told.append((sent, internal))

    def acted(self) -> Acted:
        sent, internal = self.told.popleft()
        hour = self.shop.hour(self.now, [self._handed(one) for one in sent])
        if internal:
            self.log.append(internal)
        rejected = self._collect(hour.messages)
        self.now += _HOUR
        shelf = tuple(self.shop.catalogue()) if self.now.hour == _FEED_HOUR else ()
        return Acted(self.log.head(), hour.occasion, rejected, shelf)

    def closed(self) -> tuple[Mapping[str, Truth], int, int]:
        return self.shop.truth(), self.shop.orders, self.shop.margin

    def _collect(self, messages: Sequence[dict[str, Any]], *, fires: bool = True) -> int:
        """Each sender's messages as requests of their own, in order of arrival, in one commit."""
        for message in messages:
            for kind, name in (("user_id", message.get("userId")), ("anonymous_id", message.get("anonymousId"))):
                if name and name not in self.seen:
                    self.seen.add(name)
                    self.names[kind, self.vault.keyed(kind, name)] = name
        requests = [
            Delivered(tuple(items), source, datetime.fromisoformat(received_at), fires=fires)
            for (source, received_at), items in groupby(messages, key=itemgetter("source", "receivedAt"))
        ]
        return len(self.collector.collect(*requests).rejected) if requests else 0

    def _handed(self, sent: Sent) -> Handed:
        names = {kind: self.names[kind, value] for kind, value in sent.identifiers if (kind, value) in self.names}
        return Handed(
            decision_id=sent.decision_id,
            identifiers=names,
            channel=sent.channel,
            content=sent.content,
            journey=sent.journey,
            kind=sent.kind,
            shows=sent.shows,
            delivers=sent.delivers,
            at=sent.at,
            discount=sent.discount,
        )


class _There:
    """The street in a process of its own."""

    def __init__(self, demo: Demo) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_act, args=(theirs, demo), name="wayline-street", daemon=True)
        self.process.start()
        theirs.close()

    def opened(self) -> tuple[int, list[Product]]:
        head, shelf = self._heard()
        return head, shelf

    def tell(self, sent: Sequence[Sent], internal: Sequence[Event]) -> None:
        self.pipe.send((sent, internal))

    def acted(self) -> Acted:
        acted: Acted = self._heard()
        return acted

    def closed(self) -> tuple[Mapping[str, Truth], int, int]:
        self.pipe.send(None)
        truth: tuple[Mapping[str, Truth], int, int] = self._heard()
        self.process.join()
        return truth

    def _heard(self) -> Any:
        heard = self.pipe.recv()
        if isinstance(heard, Exception):
            raise heard
        return heard


def _act(pipe: Any, demo: Demo) -> None:
    """The other process: the street, hour by hour, as long as it is told things."""
    try:
        assert demo.folder is not None
        with open_collecting(demo.folder, is_durable=False) as (log, vault):
            street = _Here(demo, log, vault)
            calm_collector()
            pipe.send(street.opened())
            while (told := pipe.recv()) is not None:
                street.tell(*told)
                pipe.send(street.acted())
            pipe.send(street.closed())
    except (EOFError, ConnectionError, KeyboardInterrupt):
        pass  # the engine ended first
    except Exception as error:  # noqa: BLE001 - told to the engine, which raises it
        pipe.send(error)


class _Barrier:
    """The log as far as the hour being played: what the street has acted meanwhile is not seen yet."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.limit = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def head(self) -> int:
        return self.limit

    def read(self, after: int, count_max: int) -> list[Event]:
        # Reading past the head would see as much of the street's next hours as it happens to have written by now.
        return self._log.read(after, max(0, min(count_max, self.limit - after)))


def play(
    demo: Demo,
    store: Store,
    playbook: Playbook,
    *,
    on_day: Callable[[Day], None] = lambda day: None,
) -> Played:
    """Play the whole season and leave its log and state in the store. The same demo gives the same season."""
    street: _Street = _Here(demo, store.log, store.vault) if demo.folder is None else _There(demo)
    barrier = _Barrier(store.log)
    barrier.limit, shelf = street.opened()
    now = START
    channels: dict[str, Channel] = {
        name: DryRun(name, kept_max=100, clock=lambda: now) for name in ("email", "sms", "push")
    }
    engine = Embedded(barrier, store.state, store.vault, playbook, channels, limits=_LIMITS)
    season = _Season(engine)
    engine.stock(shelf, now)
    engine.drain(now)
    schedules = Schedules(engine)
    schedules.events(now)
    calm_collector()
    for _ in range(_AHEAD):
        street.tell((), ())
    for hour in range(demo.days * 24):
        acted = street.acted()
        before, barrier.limit = barrier.limit, acted.head
        now = START + _HOUR * (hour + 1)
        if acted.shelf:
            engine.stock(acted.shelf, now)
        done = engine.drain(now)
        season.asked(before, now)
        internal = schedules.events(now)
        if hour < demo.days * 24 - _AHEAD:
            street.tell(season.taken(), internal)
        season.ticked(done, acted)
        if hour % 24 == 23:
            on_day(season.day(now - _HOUR))
    engine.checkpoint()
    truth, orders, margin = street.closed()
    return Played(
        events=barrier.limit,
        messages=season.messages,
        rejected=season.rejected,
        truth=truth,
        until=now,
        orders=orders,
        margin=margin,
    )


class _Season:
    """What is counted, and what the street must still be told."""

    def __init__(self, engine: Embedded) -> None:
        self.engine = engine
        self.sent: list[Sent] = []
        self.messages = self.rejected = self.events = 0
        self.occasion = ""
        self.counts: Counter[str] = Counter()
        self.placements = frozenset(
            action.placement
            for journey in engine.playbook.current.values()
            for step in journey.steps.values()
            if isinstance(step, Propose)
            for action in step.actions
            if action.lane == "onsite"
        )
        engine.on_decided = self._decided
        engine.outbox.on_settled = self._settled

    def asked(self, after: int, now: datetime) -> None:
        """Pages of this hour whose visitor has a wish for the website ask what to show."""
        for event in self.engine.log.read(after, self.engine.position - after):
            if event.name in _PAGES and event.identifiers:
                customer_id = self.engine.people.whose(event).customer_id
                customer = self.engine.customer(customer_id)
                if any(
                    e.is_open and e.pending is None and self._wishes_onsite(e) for e in customer.standing.enrollments
                ):
                    self._ask(event, customer_id, now)

    def _wishes_onsite(self, enrollment: Enrollment) -> bool:
        step = self.engine.playbook.journeys[enrollment.version].steps[enrollment.step]
        return isinstance(step, Propose) and any(action.lane == "onsite" for action in step.actions)

    def _ask(self, event: Event, customer_id: str, now: datetime) -> None:
        placement = "checkout" if event.name.startswith("Checkout") else "page"
        turn = self.engine.ask(customer_id, Ask(f"{event.source}:{event.event_id}", placement), now)
        for decision in turn.decisions:
            if decision.action is not None and decision.lane == "onsite":
                self._tell(decision, turn.customer, now)

    def taken(self) -> list[Sent]:
        """What was sent and withheld since last asked."""
        sent, self.sent = self.sent, []
        return sent

    def ticked(self, done: Progress, acted: Acted) -> None:
        """One hour more."""
        self.events += done.events
        self.rejected += acted.rejected
        self.occasion = self.occasion or acted.occasion

    def day(self, at: datetime) -> Day:
        """The day that ends, and a fresh one."""
        day = Day(date=at, occasion=self.occasion, events=self.events, counts=dict(self.counts))
        self.counts.clear()
        self.events, self.occasion = 0, ""
        return day

    def _decided(self, decision: Decision) -> None:
        if decision.action is not None:
            self.counts["decided"] += 1
        for verdict in decision.considered:
            if verdict.gate is not None:
                self.counts[f"held:{verdict.gate}"] += 1

    def _settled(self, row: Delivery, decision: Decision, receipt: Receipt) -> None:
        self._tell(decision, self.engine.customer(self.engine.state.survivor(row.customer_id)), receipt.at)

    def _tell(self, decision: Decision, customer: Customer, at: datetime) -> None:
        action = decision.action
        assert action is not None
        self.messages += 1
        self.counts["sent" if decision.delivers else "withheld"] += 1
        self.sent.append(
            Sent(
                decision_id=decision.decision_id,
                identifiers=tuple((one.kind, one.value) for one in customer.memory.identifiers),
                channel=action.channel,
                content=action.content,
                journey=action.journey,
                kind=action.kind,
                shows=action.shows,
                delivers=decision.delivers,
                at=at,
                discount=action.discount,
            )
        )
