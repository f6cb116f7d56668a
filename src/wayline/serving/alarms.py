"""What needs a person: each with what was seen and what to do, the gravest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from statistics import median
from zoneinfo import ZoneInfo

from msgspec import Struct

from wayline.domain import Event
from wayline.measurement.earnings import ABSURD, Earnings
from wayline.measurement.elsewhere import Elsewhere
from wayline.measurement.verdicts import Finding
from wayline.observation.masking import safe_field, safe_name, safe_reason
from wayline.serving.records import Counts
from wayline.store import Log, Rejection, State

__all__ = ["SPIKE", "WATCHED", "Alarm", "Spike", "alarms", "spikes"]

SPIKE = 4
"""A day with this many times the usual number is a spike."""

_SPIKE_MIN = 10
_LOOKED_AT_MAX = 1000  # newest rejections looked through, for what is wrong most often and subscriptions that wait
_BASELINE_DAYS = 7

WATCHED: Mapping[str, tuple[str, str]] = {
    "Consent Withdrawn": ("opt-outs", "See what was sent the day before, and to whom."),
    "Unsubscribed": ("unsubscribes", "See what was sent the day before, and to whom."),
    "Order Delayed": ("delayed orders", "Ask the carrier; customers were told, the service desk should know too."),
    "Payment Failed": ("failed payments", "Ask the payment provider."),
    "Email Bounced": ("bounced e-mails", "Check the sender's reputation and the newest addresses."),
    "Email Marked as Spam": ("complaints of spam", "Stop the newest message until it is understood."),
    "SMS Failed": ("texts that did not arrive", "Ask the provider; check the newest numbers."),
}
"""Events whose sudden rise needs somebody to look."""


_MAILED_MIN = 1000
_REPUTATION: Mapping[str, tuple[float, str, str]] = {
    "Email Marked as Spam": (0.001, "complaints of spam", "Mailbox providers refuse senders from 0.3 in 100 on"),
    "Email Bounced": (0.05, "bounces for good", "Mail providers look into senders from 5 in 100 on"),
}
"""Event to the share of all mails from which on it needs a person, what it is, and why there."""


class Alarm(Struct, frozen=True):
    """One thing for a person to do, and where to look."""

    title: str
    text: str
    where: str
    gravity: int


class Spike(Struct, frozen=True):
    """A day with far more of something than usual."""

    name: str
    channel: str
    day: date
    count: int
    usual: float


def spikes(events: Iterable[Event], zone: ZoneInfo, since: date | None = None) -> list[Spike]:
    """Days with far more of a watched event than the days before them; the worst of each kind is told.

    `since` is the first day there is anything to compare with: a first mailing bounces more than none did.
    """
    days: dict[tuple[str, str], Counter[date]] = {}
    for event in events:
        if event.name in WATCHED:
            channel = str(event.properties.get("channel") or "") if event.name == "Consent Withdrawn" else ""
            days.setdefault((event.name, channel), Counter())[event.occurred_at.astimezone(zone).date()] += 1
    return [spike for (name, channel), counts in days.items() for spike in _spike(name, channel, counts, since)]


def _spike(name: str, channel: str, counts: Counter[date], since: date | None) -> Iterator[Spike]:
    day, count = max(counts.items(), key=lambda row: (row[1], row[0]))
    first = since or min(counts)
    before = (day - first).days
    if count < _SPIKE_MIN or before < _BASELINE_DAYS:
        return
    # Quiet days count too: a rare event is not usual because it happened on the days it happened.
    usual = median(counts.get(first + timedelta(days=number), 0) for number in range(before))
    if count >= SPIKE * max(usual, 1):
        yield Spike(name, channel, day, count, usual)


def alarms(
    counts: Counts,
    findings: Mapping[str, Finding],
    earned: Earnings,
    found: Iterable[Spike],
    stores: tuple[State, Log],
    *,
    elsewhere: Iterable[Elsewhere] = (),
    reports: Mapping[str, int] = {},
) -> list[Alarm]:
    """Everything that needs a person, the gravest first; `reports` counts complaints and bounces for good."""
    state, log = stores
    every = [
        *_of_journeys(findings),
        *_of_money(earned),
        *_of_deliveries(counts),
        *_of_spikes(found),
        *_of_reputation(counts.channels["email"], reports),
        *_of_events(state, log),
        *_of_subscriptions(log),
        *_of_stock(counts),
        *_of_elsewhere(elsewhere),
    ]
    return sorted(every, key=lambda alarm: (-alarm.gravity, alarm.title))


def _of_journeys(findings: Mapping[str, Finding]) -> Iterator[Alarm]:
    for journey, finding in sorted(findings.items()):
        where = f"journeys/{journey}"
        if finding.sentence.startswith("Groups are uneven"):
            yield Alarm(f"'{journey}': groups are uneven", finding.sentence, where, 95)
        elif finding.word == "costs money":
            yield Alarm(f"Stop or change '{journey}'", finding.sentence, where, 90)
        elif finding.word == "use the simpler one":
            instead = f"Use '{finding.instead}' instead" if finding.instead else "Leave it out"
            yield Alarm(f"{instead}: '{journey}'", finding.sentence, where, 60)


def _of_money(earned: Earnings) -> Iterator[Alarm]:
    if earned.absurd:
        sources = ", ".join(repr(source) for source in earned.absurd_sources)
        orders = _many(len(earned.absurd), "order")
        text = (
            f"{orders} with prices {ABSURD} times and more what the same thing costs elsewhere, "
            f"such as order {earned.absurd[0]}; sent by {sources}. They are left out of all money here. Ask who sends "
            "them whether amounts come in cents."
        )
        yield Alarm("Prices from one sender cannot be true", text, "rejected", 85)


def _of_deliveries(counts: Counts) -> Iterator[Alarm]:
    unclear = counts.states["unknown"]
    if unclear:
        since = f" since {counts.oldest_unclear:%-d %b %H:%M} UTC" if counts.oldest_unclear else ""
        text = (
            f"{_many(unclear, 'message')} may or may not have arrived{since}. Nothing is sent "
            "twice to find out: ask the provider by the decision's id."
        )
        yield Alarm("Delivery unclear", text, "not-sent", 80)
    for channel, waiting in sorted(counts.put_off.items()):
        because = f" The last word: {counts.put_off_because}" if counts.put_off_because else ""
        text = f"{_many(waiting, 'message')} could not leave and will be offered again.{because}"
        yield Alarm(f"The provider for {channel} does not answer", text, "not-sent", 92)
    dead = counts.states["dead"]
    if dead >= _SPIKE_MIN:
        yield Alarm(
            "Addresses that do not work", f"{dead} messages met a dead address. Clean the list.", "not-sent", 40
        )


def _of_spikes(found: Iterable[Spike]) -> Iterator[Alarm]:
    for spike in found:
        what, todo = WATCHED[spike.name]
        channel = f" by {spike.channel}" if spike.channel else ""
        text = f"{spike.count} on {spike.day:%-d %B}, {spike.usual:g} on a usual day. {todo}"
        yield Alarm(f"A spike of {what}{channel}", text, "not-sent", 75)


def _of_reputation(mailed: int, reports: Mapping[str, int]) -> Iterator[Alarm]:
    for name, (most, what, why) in _REPUTATION.items():
        count = reports.get(name, 0)
        if mailed >= _MAILED_MIN and count >= most * mailed:
            text = f"{count:,} {what} of {mailed:,} mails, {100 * count / mailed:.2f} in 100. {why}. Clean the list."
            yield Alarm(f"Too many {what}", text, "not-sent", 87)


def _of_events(state: State, log: Log) -> Iterator[Alarm]:
    rejected = log.counts().get("rejected", 0)
    if rejected:
        newest = _newest(log)
        codes = Counter((row.source, row.code, row.field) for row in newest)
        (source, _, place), count = codes.most_common(1)[0]
        example = next(row for row in newest if (row.source, row.field) == (source, place))
        often = f"most often ({count} of the newest {len(newest)}) from '{source}'"
        text = f"{_many(rejected, 'event')} rejected, {often}: {_said(example)}."
        yield Alarm("Rejected data", text, "rejected", 70)
    aside = state.set_asides()
    if aside:
        newest_aside = f"the newest at number {aside[-1].position}: {aside[-1].reason}"
        text = f"{_many(len(aside), 'event')} could not be worked on, {newest_aside}"
        yield Alarm("Events set aside", text, "rejected", 88)
    conflicts = log.counts().get("conflict", 0)
    if conflicts:
        text = f"{_many(conflicts, 'event')} came again under the same id with other content. The first telling stands."
        yield Alarm("Senders that change their story", text, "rejected", 30)


def _said(rejection: Rejection) -> str:
    """Why one was rejected, with its name and field where there are any."""
    named, field = safe_name(rejection.name, rejection.code), safe_field(rejection.field)
    name = f"'{named}'" if named else "a message without a name"
    return ": ".join((f"{name}, {field}" if field else name, safe_reason(rejection.reason).rstrip(".")))


def _newest(log: Log) -> list[Rejection]:
    return [row for _, row in log.rejected(0, _LOOKED_AT_MAX, is_whole=False)]


def _of_subscriptions(log: Log) -> Iterator[Alarm]:
    waiting = {row.source: row for row in _newest(log) if row.code == "unconfirmed"}
    for source, row in sorted(waiting.items()):
        yield Alarm(f"'{source}' waits to be allowed to tell us things", row.reason, "rejected", 65)
    ended = {row.source: row for row in _newest(log) if row.code == "unsubscribed"}
    for source, row in sorted(ended.items()):
        yield Alarm(f"'{source}' was told to tell us nothing any more", row.reason, "rejected", 65)


def _of_elsewhere(found: Iterable[Elsewhere]) -> Iterator[Alarm]:
    for one in found:
        if one.is_uneven:
            text = f"{one.sentence} Have the other tool leave both groups alike, or leave both out."
            yield Alarm(f"'{one.journey}': other tools treat the groups unlike", text, f"journeys/{one.journey}", 93)


def _of_stock(counts: Counts) -> Iterator[Alarm]:
    waiting = [row for row in counts.sold_out.most_common(1) if row[1] >= _SPIKE_MIN]
    for sku, count in waiting:
        text = f"{_many(count, 'message')} held because {sku} is not in stock, more than for any other. Reorder it."
        yield Alarm(f"{counts.names.get(sku, sku)} is sold out and wanted", text, "not-sent", 50)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count != 1 else ''}"
