"""Try a playbook on past data: the real engine in memory, a clock that follows the data, channels that send nothing.

Past data seldom say all that a policy asks. What they lack is assumed aloud (`Assumed`), printed with the result, and
fed in as events of a source of its own, so that the engine itself knows of no special case.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from wayline.channels.dryrun import DryRun
from wayline.domain import Decision, Playbook, Product, Schedule
from wayline.errors import AuthorError, did_you_mean
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.embedded import Embedded, Limits, calm_collector
from wayline.runtime.importing import Import
from wayline.runtime.schedules import Schedules
from wayline.sources import RefusedRow, Told
from wayline.sources.messages import translate
from wayline.store import Batch, State
from wayline.store.opening import open_store

__all__ = ["Assumed", "JourneyTried", "Tried", "assumed", "in_words", "try_on_past"]

_SOURCE: Final = "assumed"
_HOUR: Final = timedelta(hours=1)
_CHANNELS: Final = ("email", "sms", "push")
_REASONS_MAX: Final = 5  # reasons named of those that held messages back, the most frequent
_PRICE: Final = 1000  # minor units of a made-up price
_LIMITS: Final = Limits(events_max=5_000, wakes_max=5_000, claims_max=2_000)  # nothing here can crash into a doubt


class Assumed(Struct, frozen=True):
    """What past data do not say and the policy asks for."""

    consents: tuple[str, ...] = ()
    """Channels everybody has consented to for marketing, and has an address on."""
    stock: str = "unknown"
    """`in_stock`: every product is, whenever it matters; `unknown`: the policy's own way with stock nobody told of."""
    products: str = "as_told"
    """`described`: what texts say of a product and the data do not (name, price, page) is made up."""

    def in_words(self) -> tuple[str, ...]:
        """Each assumption as a sentence."""
        channels = " and ".join(self.consents)
        consent = f"everybody consents to marketing by {channels}, and has an address there" if channels else ""
        stock = "every product is in stock" if self.stock == "in_stock" else ""
        made_up = f"a product without a name, price or page has a made-up one (price {_PRICE / 100:.2f})"
        return (
            consent or "nobody has consented to marketing, and no address is known",
            stock or "stock is unknown, as in the data",
            made_up if self.products == "described" else "of products only what the data say is known",
            "schedules begin with the data; the website asks for nothing",
        )


class JourneyTried(Struct):
    """What one journey would have done."""

    entered: int = 0
    not_let_in: Counter[str] = Counter()
    """By reason."""
    wishes: int = 0
    """Messages it proposed, each once however often it was looked at."""
    sent: int = 0
    """That would have been sent."""
    withheld: int = 0
    """Kept back for the control group."""
    refused: Counter[str] = Counter()
    """By rule and reason: the first refusal of the best action, for each wish that was not granted."""
    waiting: int = 0
    """Decided, and still to leave when the data end."""


class Tried(Struct, frozen=True, kw_only=True):
    """What a playbook would have done on past data."""

    file: str
    assumed: Assumed
    events: int
    people: int
    starts_at: datetime | None
    ends_at: datetime | None
    rows_refused: int
    rows_skipped: int
    set_aside: int
    journeys: Mapping[str, JourneyTried]
    seconds_reading: float
    seconds_playing: float
    memory_peak_mb: int


_CHOICES: Final = {"stock": ("in_stock", "unknown"), "products": ("as_told", "described")}


def assumed(text: str) -> Assumed:
    """Read `consent=email+push,stock=in_stock,products=described`; raises AuthorError with what may stand there."""
    said: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.strip().partition("=")
        if name != "consent" and name not in _CHOICES:
            raise AuthorError(f"--assume: nothing is called {name!r}. {did_you_mean(name, ('consent', *_CHOICES))}")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise AuthorError(f"--assume: {name} is {' or '.join(_CHOICES[name])}, not {value!r}.")
        said[name] = value
    channels = tuple(filter(None, said.get("consent", "").split("+")))
    for channel in channels:
        if channel not in _CHANNELS:
            raise AuthorError(f"--assume: no channel is called {channel!r}. {did_you_mean(channel, _CHANNELS)}")
    return Assumed(channels, said.get("stock", "unknown"), said.get("products", "as_told"))


def try_on_past(
    told: Import,
    playbook: Playbook,
    assumptions: Assumed,
    on_day: Callable[[date, int], None] = lambda day, events: None,
) -> Tried:
    """Play the whole file through the engine as if it happened now. Nothing is kept and nothing leaves."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    read = list(translate(told.path, told.mapping, counts))
    messages = sorted((each for each in read if isinstance(each, Told)), key=_happened)
    reading = time.monotonic() - began
    starts_at, ends_at = (_happened(messages[0]), _happened(messages[-1])) if messages else (None, None)
    calm_collector()
    with open_store(None) as store:
        entries = _Entries(store.state)
        played = _Played(told, _as_of(playbook, assumptions, starts_at), assumptions, store, entries)
        for hour, hourly in groupby(messages, key=lambda each: _hour(_happened(each))):
            played.until(hour, on_day)
            played.hour(hour, tuple(hourly), on_day)
        journeys = _counted(store.state, entries)
        return Tried(
            file=told.path.name,
            assumed=assumptions,
            events=store.log.counts()["stored"],
            people=len(played.known),
            starts_at=starts_at,
            ends_at=ends_at,
            rows_refused=sum(isinstance(each, RefusedRow) for each in read) + store.log.counts()["rejected"],
            rows_skipped=sum(count for name, count in counts.items() if name.startswith("skipped: ")),
            set_aside=len(store.state.set_asides()),
            journeys=journeys,
            seconds_reading=round(reading, 1),
            seconds_playing=round(time.monotonic() - began - reading, 1),
            memory_peak_mb=_memory_peak_mb(),
        )


def in_words(tried: Tried) -> list[str]:
    """The result as a person reads it."""
    lines = [
        f"{tried.file}: {tried.events:,} events of {tried.people:,} people"
        + (f", {tried.starts_at:%-d %B %Y} to {tried.ends_at:%-d %B %Y}" if tried.starts_at and tried.ends_at else "")
        + f"; {tried.rows_skipped:,} rows passed over, {tried.rows_refused:,} refused",
        "Tried on past data: nothing was sent. Assumed, since the data do not say:",
        *(f"  * {sentence}" for sentence in tried.assumed.in_words()),
        "",
        f"{'journey':<22}{'would enter':>12}{'not let in':>12}{'proposed':>10}"
        f"{'to be sent':>12}{'control':>9}{'waiting':>9}",
    ]
    for name, one in tried.journeys.items():
        cells = f"{one.entered:>12,}{one.not_let_in.total():>12,}{one.wishes:>10,}{one.sent:>12,}"
        lines.append(f"{name:<22}{cells}{one.withheld:>9,}{one.waiting:>9,}")
        lines += _reasons("not let in", one.not_let_in) + _reasons("held back", one.refused)
    if tried.set_aside:
        lines.append(f"{tried.set_aside:,} turns could not be taken and were set aside.")
    lines.append("")
    lines.append(
        f"{tried.seconds_reading:.0f} s to read, {tried.seconds_playing:.0f} s to play, "
        f"{tried.memory_peak_mb:,} MB at most"
    )
    return lines


def _reasons(what: str, counted: Counter[str]) -> list[str]:
    most = counted.most_common(_REASONS_MAX)
    more = len(counted) - len(most)
    lines = [f"    {count:>10,}  {what}: {reason}" for reason, count in most]
    return lines + ([f"                and {more} more reasons"] if more > 0 else [])


# ------------------------------------------------------------------ playing


class _Entries:
    """The state, with an eye on who enters what: each enrollment is counted when it is first committed."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._seen: set[tuple[str, str, str, datetime]] = set()
        self.counted: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def commit(self, batch: Batch) -> None:
        self._state.commit(batch)
        for customer_id, standing in batch.standings.items():
            for one in standing.enrollments:
                entry = (customer_id, one.journey, one.key, one.entered_at)
                if one.status != "merged" and entry not in self._seen:
                    self._seen.add(entry)
                    self.counted[one.journey] += 1


class _Played:
    """The engine on its way through the past, hour by hour."""

    def __init__(self, told: Import, playbook: Playbook, assumptions: Assumed, store: Any, entries: _Entries) -> None:
        self.known: set[str] = set()
        self.now = datetime.min.replace(tzinfo=UTC)
        self._described: set[str] = set()
        self._told = told
        self._assumed = assumptions
        self._store = store
        self._collector = Collector(store.log, store.vault, currency=told.mapping.currency)
        channels = {name: DryRun(name, kept_max=1, clock=lambda: self.now) for name in _CHANNELS}
        self._engine = Embedded(store.log, entries, store.vault, playbook, channels, limits=_LIMITS)
        self._schedules = Schedules(self._engine)

    def until(self, hour: datetime, on_day: Callable[[date, int], None]) -> None:
        """Let the hours pass in which nothing happened but what was due."""
        if not self.known:
            self._schedules.events(hour)
            self.now = hour
        while self.now + _HOUR < hour:
            self._pass(self.now + _HOUR, on_day)

    def hour(self, hour: datetime, messages: Sequence[Told], on_day: Callable[[date, int], None]) -> None:
        """One hour of the past arrives, all of it received at its end."""
        assumptions = tuple(self._unknown(messages))
        at = hour + _HOUR
        if self._assumed.products == "described" and (new := tuple(self._undescribed(messages))):
            self._engine.stock(new, at)
        self._collector.collect(
            Delivered(assumptions, _SOURCE, at, fires=False),
            Delivered([each.message for each in messages], self._told.mapping.source, at),
        )
        self._pass(at, on_day, is_busy=True)

    def _pass(self, now: datetime, on_day: Callable[[date, int], None], *, is_busy: bool = False) -> None:
        if now.date() != self.now.date():
            on_day(self.now.date(), self._store.log.head())
        self.now = now
        due = self._engine.state.next_due()
        if is_busy or (due is not None and due <= now):
            self._engine.drain(now)
        internal = self._schedules.events(now)
        if internal:
            self._store.log.append(internal)
            self._engine.drain(now)

    def _undescribed(self, messages: Sequence[Told]) -> Iterator[Product]:
        """Each product met for the first time, with all that texts say of one; what the data tell comes after."""
        for sku in (sku for each in messages for sku in _skus(each.message)):
            if sku not in self._described:
                self._described.add(sku)
                yield Product(sku, name=f"product {sku}", price=_PRICE, url=f"https://assumed.invalid/{sku}")

    def _unknown(self, messages: Sequence[Told]) -> Iterator[dict[str, Any]]:
        """For each person met for the first time, the consents and addresses that are assumed of them."""
        for each in messages:
            who = str(each.message.get("userId") or each.message.get("anonymousId") or "")
            if not who or who in self.known:
                continue
            self.known.add(who)
            for channel in self._assumed.consents:
                yield {
                    "type": "track",
                    "event": "Consent Granted",
                    "messageId": f"consent:{channel}:{len(self.known)}",
                    "timestamp": each.message["timestamp"],
                    "properties": {"channel": channel, "purpose": "marketing", "method": "assumed"},
                    "context": _reached(channel, len(self.known)),
                    **{key: each.message[key] for key in ("userId", "anonymousId") if key in each.message},
                }


def _skus(message: Mapping[str, Any]) -> Iterator[str]:
    properties = message.get("properties", {})
    for line in (properties, *properties.get("products", ())):
        if line.get("sku"):
            yield str(line["sku"])


def _reached(channel: str, number: int) -> dict[str, Any]:
    if channel == "email":
        return {"traits": {"email": f"person{number}@assumed.invalid"}}
    return {"traits": {"phone": f"+49000{number:08}"}} if channel == "sms" else {"device": {"token": f"token-{number}"}}


def _as_of(playbook: Playbook, assumptions: Assumed, starts_at: datetime | None) -> Playbook:
    """The playbook as it would have run then."""
    policy = playbook.policy
    if assumptions.stock == "in_stock":
        policy = replace(policy, stock_unknown_is="in_stock")
    schedules = playbook.schedules
    if starts_at is not None:
        schedules = tuple(replace(one, starts_on=_begun(one, starts_at.date())) for one in schedules)
    return replace(playbook, policy=policy, schedules=schedules)


def _begun(schedule: Schedule, day: date) -> date:
    """The first of its days that is not before this one, so that a weekly one keeps its weekday."""
    every = max(schedule.every.days, 1)
    return day + timedelta(days=(schedule.starts_on - day).days % every)


def _happened(told: Told) -> datetime:
    at: datetime = told.message["timestamp"]
    return at


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


# ------------------------------------------------------------------ counting


def _counted(state: State, entries: _Entries) -> dict[str, JourneyTried]:
    journeys: defaultdict[str, JourneyTried] = defaultdict(
        lambda: JourneyTried(not_let_in=Counter(), refused=Counter())
    )
    for journey, entered in entries.counted.items():
        journeys[journey].entered = entered
    for _, refusal, count in state.refused_entries():
        journeys[refusal.journey].not_let_in[refusal.reason] += count
    for delivery in state.deliveries():
        one = journeys[delivery.journey]
        one.sent += delivery.state == "sent"
        one.withheld += delivery.state == "withheld"
        one.waiting += delivery.state in ("pending", "attempting")
        if delivery.state in ("refused", "dead", "unknown"):
            one.refused[delivery.detail.partition(": ")[0] + ", when it was about to leave"] += 1
    for decision in state.decisions():
        _count_decision(decision, journeys)
    return dict(sorted(journeys.items()))


def _count_decision(decision: Decision, journeys: Mapping[str, JourneyTried]) -> None:
    by_journey: dict[str, list[str | None]] = {}
    for verdict in decision.considered:
        why = None if verdict.refusal is None else f"{verdict.gate}: {verdict.refusal.reason}"
        by_journey.setdefault(verdict.action.journey, []).append(why)
    for journey, reasons in by_journey.items():
        journeys[journey].wishes += 1
        if None not in reasons:
            journeys[journey].refused[str(reasons[0])] += 1


def _memory_peak_mb() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
