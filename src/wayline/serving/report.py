"""The report: what the messages earned, what was sent and held, which journeys work, and what needs a person.

Built in one pass from the records, so every number can be counted again. The first sentence is about money, and the
simulator's truth, where there is one, comes last and is labelled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Event, Identifier, Playbook
from wayline.governance.audit import zone_for
from wayline.measurement.earnings import ORDER_EVENTS, Basis, Earnings, Terms, earnings
from wayline.measurement.effects import NotEnough
from wayline.measurement.outcomes import CLAIM_WINDOW, WINDOW
from wayline.measurement.verdicts import money, signed_money
from wayline.observation.feedback import FOREIGN, is_soft_bounce
from wayline.observation.money import EXPONENTS, minor
from wayline.orchestration.contacts import foreign_contact
from wayline.serving.alarms import WATCHED, Alarm, Spike, alarms, spikes
from wayline.serving.findings import JourneyLine, Outcome, journey_lines, outcome
from wayline.serving.records import Counts, HeldRule, count_records
from wayline.serving.timeline import Story, StoryLine, owner_of, timeline
from wayline.store import Log, State

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Money", "Report", "ToldTruth", "Truth", "build", "print_report", "to_json", "uneven_elsewhere"]

_BATCH = 5000
_STORY_LINES_MAX = 16  # lines of one shopper's story
_DECISIVE_MAX = 10  # of them what was decided; the rest tells what happened around it
_ORDERED = 7
_PROLOGUE, _EPILOGUE = timedelta(days=2), timedelta(days=3)


class Truth(Struct, frozen=True):
    """What a simulated journey's messages truly changed: only a simulator can know. Money in minor units."""

    journey: str
    people: int
    margin_caused: float
    """By the messages that were sent."""
    margin_per_person: float
    """What the control group estimates."""


class ToldTruth(Struct, frozen=True):
    """One journey's truth beside what was measured."""

    journey: str
    true_effect: float
    measured: float | None
    is_covered: bool | None
    """Whether the likely range holds the truth; None where there is no range."""
    sentence: str


class Money(Struct, frozen=True):
    """The sentence of money and the numbers in it, in minor units."""

    sentence: str
    basis: Basis
    claimed: float
    claimed_orders: int
    caused: float | None
    low: float | None
    high: float | None
    standing: str
    """What the standing control group of all marketing says, where there is one."""


class Report(Struct, frozen=True, kw_only=True):
    """Everything the first ten minutes show, as one value."""

    shop: str
    currency: str
    starts_at: datetime | None
    ends_at: datetime | None
    period: str
    money: Money
    counts: Mapping[str, int]
    channels: Mapping[str, int]
    held: Sequence[HeldRule]
    journeys: Sequence[JourneyLine]
    story: Story | None
    needs: Sequence[Alarm]
    """The three gravest."""
    more_needs: Sequence[Alarm]
    assumptions: Sequence[str]
    truth: Sequence[ToldTruth]
    truth_sentence: str


def build(
    state: State,
    log: Log,
    playbook: Playbook,
    *,
    now: datetime | None = None,
    truth: Iterable[Truth] = (),
    story: str | None = None,
    shop: str = "",
) -> Report:
    """The report on everything recorded. `now` is where the data ends; `story` names whose story to tell."""
    counts = count_records(state, playbook)
    read = _read(state, log, playbook, counts.first_at)
    ends_at = now or max((at for at in (counts.last_at, read.last_at) if at is not None), default=None)
    starts_at = min((at for at in (counts.first_at, read.first_at) if at is not None), default=None)
    measured = outcome(counts, read.earned.orders, playbook, ends_at, read.foreign)
    needs = alarms(
        counts,
        measured.findings,
        read.earned,
        read.spikes,
        (state, log),
        elsewhere=measured.elsewhere.values(),
        reports=read.reports,
    )
    lines = journey_lines(measured, counts, playbook)
    truths = tuple(truth)
    return Report(
        shop=shop or str((playbook.settings.get("shop") or {}).get("name") or "The shop"),
        currency=playbook.currency,
        starts_at=starts_at,
        ends_at=ends_at,
        period=_period(starts_at, ends_at, playbook),
        money=_money(measured, read.earned, playbook.currency),
        counts=_numbers(state, log, counts, read.earned),
        channels=dict(counts.channels.most_common()),
        held=tuple(sorted(counts.rules.values(), key=lambda rule: (-rule.count, rule.rule))),
        journeys=lines,
        story=_story(state, log, playbook, counts, story or _teller(counts, read.earned)),
        needs=tuple(needs[:3]),
        more_needs=tuple(needs[3:]),
        assumptions=_assumptions(measured, read.earned),
        truth=tuple(_told(one, lines, playbook.currency) for one in truths if one.journey in measured.arms),
        truth_sentence=_truth_sentence(truths, measured, playbook.currency),
    )


def uneven_elsewhere(state: State, log: Log, playbook: Playbook, now: datetime) -> list[str]:
    """Journeys whose arms got more of other tools' messages the one than the other, in words; none if none told any."""
    if next(log.named((FOREIGN,)), None) is None:
        return []
    counts = count_records(state, playbook)
    read = _read(state, log, playbook, counts.first_at)
    found = outcome(counts, (), playbook, now, read.foreign)
    return [one.sentence for one in found.elsewhere.values() if one.is_uneven]


def to_json(report: Report) -> bytes:
    """The report for machines."""
    return msgspec.json.format(msgspec.json.encode(report, order="deterministic"))


def print_report(report: Report, console: Console) -> None:
    """The report for people, in the terminal."""
    from wayline.serving.printing import print_sections  # rich is loaded only by whoever prints

    print_sections(report, console)


# ------------------------------------------------------------------ reading the log


class _Read(Struct):
    """What the log says of orders and of alarming days."""

    earned: Earnings
    spikes: list[Spike]
    foreign: list[tuple[str, datetime, str]]
    """Marketing messages of other tools: to whom, when, and its id."""
    reports: Counter[str]
    """What is watched, by its name; bounces that may pass are left out."""
    first_at: datetime | None
    last_at: datetime | None


def _read(state: State, log: Log, playbook: Playbook, since: datetime | None) -> _Read:
    """Only the named events are read: orders and what is watched, a few in a hundred of the log."""
    watched: list[Event] = []
    foreign: list[tuple[str, datetime, str]] = []
    live: list[datetime] = []

    def rows() -> Iterator[tuple[str, Event]]:
        events = log.named(tuple(dict.fromkeys((*ORDER_EVENTS, *WATCHED, FOREIGN))))
        while batch := list(islice(events, _BATCH)):
            watched.extend(event for event in batch if event.name in WATCHED and event.fires)
            # Imported history is what people did before; the report's own time begins with what fires.
            times = [event.occurred_at for event in batch if event.fires]
            live.extend((min(times), max(times)) if times else ())
            told = [event for event in batch if event.name in ORDER_EVENTS or event.name == FOREIGN]
            owners = state.resolve(sorted({one for event in told for one in event.identifiers}))
            foreign.extend(_sent_elsewhere(told, owners))
            yield from ((owner_of(event, owners), event) for event in told if event.name != FOREIGN)

    earned = earnings(rows(), _terms(state, playbook))
    first, last = min(live, default=None), max(live, default=None)
    zone = zone_for(playbook)
    reports = Counter(event.name for event in watched if not is_soft_bounce(event))
    starts = [at.astimezone(zone).date() for at in (since, first) if at is not None]
    return _Read(earned, spikes(watched, zone, min(starts, default=None)), foreign, reports, first, last)


def _sent_elsewhere(events: Iterable[Event], owners: Mapping[Identifier, str]) -> Iterator[tuple[str, datetime, str]]:
    for event in events:
        if event.name == FOREIGN and foreign_contact(event).lane == "marketing":
            yield owner_of(event, owners), event.occurred_at, f"{event.source}/{event.event_id}"


def _terms(state: State, playbook: Playbook) -> Terms:
    """What the shop knows of its costs: the catalogue's, else what the setup declares."""
    products = list(state.products())
    declared = playbook.settings.get("measurement") or {}
    share = declared.get("margin_share")
    return Terms(
        costs={one.sku: one.cost for one in products if one.cost is not None},
        prices={one.sku: one.price for one in products if one.price is not None},
        margin_share=float(share) if isinstance(share, int | float) else None,
        return_cost=minor(declared.get("return_cost") or 0, EXPONENTS.get(playbook.currency, 2)),
    )


# ------------------------------------------------------------------ saying it


def _period(starts_at: datetime | None, ends_at: datetime | None, playbook: Playbook) -> str:
    if starts_at is None or ends_at is None:
        return "nothing has happened yet"
    zone = zone_for(playbook)
    first, last = starts_at.astimezone(zone), ends_at.astimezone(zone)
    days = max(1, round((last - first) / timedelta(days=1)))
    return f"{first:%-d %B %Y} to {last:%-d %B %Y}, {days} day{'s' if days != 1 else ''}"


def _money(measured: Outcome, earned: Earnings, currency: str) -> Money:
    total = sum(one.margin for one in measured.claims.values())
    orders = sum(one.orders for one in measured.claims.values())
    what = f"{earned.basis} after discounts and returns"
    opening = f"Messages claimed {money(total, currency)}"
    sums = measured.caused
    if isinstance(sums, NotEnough):
        sentence = f"{opening}; what they caused cannot be told yet: {sums.reason} ({what})."
        return Money(sentence, earned.basis, total, orders, None, None, None, measured.standing)
    low, high = money(sums.low, currency), money(sums.high, currency)
    sentence = f"{opening}; they caused about {money(sums.total, currency)}, likely {low} to {high} ({what})."
    return Money(sentence, earned.basis, total, orders, sums.total, sums.low, sums.high, measured.standing)


def _numbers(state: State, log: Log, counts: Counts, earned: Earnings) -> dict[str, int]:
    rows, told = state.counts(), log.counts()
    return {
        "events": told.get("stored", 0),
        "duplicates": told.get("duplicate", 0),
        "rejected": told.get("rejected", 0),
        "customers": rows.get("customers", 0) - rows.get("merges", 0),
        "orders": len(earned.orders),
        "cancelled": earned.cancelled,
        "decisions": counts.decisions,
        "looks": counts.looks,
        "sent": counts.states["sent"],
        "owed": counts.owed_sent,
        "marketing": counts.states["sent"] - counts.owed_sent,
        "shown": counts.shown,
        "control": counts.states["withheld"],
        "unclear": counts.states["unknown"],
        "dead": counts.states["dead"],
        "waiting": counts.states["pending"] + counts.states["attempting"],
        "held": sum(rule.count for rule in counts.rules.values()),
        "held_at_the_door": sum(rule.at_the_door for rule in counts.rules.values()),
        "not_let_in": sum(count for _, _, count in state.refused_entries()),
    }


def _assumptions(measured: Outcome, earned: Earnings) -> tuple[str, ...]:
    """What the numbers rest on, for whoever asks."""
    lines = [
        f"Caused: what people did in the {WINDOW.days} days after a message was sent, or withheld from the control "
        "group; a journey that comes again and again is followed to the end.",
        f"Claimed: every order within {CLAIM_WINDOW.days} days after a message, given to the last one, as platforms "
        "count.",
    ]
    if earned.basis == "revenue":
        lines.append("Amounts are revenue: the catalogue has no costs, and the setup no `measurement.margin_share`.")
    mixed = sum(one.contaminated for one in measured.arms.values())
    if mixed:
        lines.append(f"{mixed} people were seen in both groups after a merge, and count in neither.")
    open_still = sum(one.immature for one in measured.arms.values())
    if open_still:
        lines.append(f"{open_still:,} people got a message so lately that their {WINDOW.days} days are not over.")
    lines += [one.sentence for one in measured.elsewhere.values()]
    if not isinstance(measured.caused, NotEnough) and measured.caused.left_out:
        lines.append(f"Too little to compare, so left out of the sum: {', '.join(measured.caused.left_out)}.")
    return tuple(lines)


def _teller(counts: Counts, earned: Earnings) -> str | None:
    """Whose story shows most: refusals and fallbacks of several kinds within a few days, and an order at the end."""
    bought: dict[str, list[datetime]] = {}
    for order in earned.orders:
        bought.setdefault(order.customer_id, []).append(order.occurred_at)

    def worth(customer_id: str) -> tuple[int, str]:
        told = counts.stories[customer_id]
        starts_at, ends_at = told.best or (None, None)
        ends_well = starts_at is not None and ends_at is not None and any(
            starts_at < at < ends_at + _EPILOGUE for at in bought.get(customer_id, ())
        )  # fmt: skip
        return told.worth + (_ORDERED if ends_well else 0), customer_id

    return max(counts.stories, key=worth, default=None)


def _story(state: State, log: Log, playbook: Playbook, counts: Counts, customer_id: str | None) -> Story | None:
    """That person's busiest days, in few lines: every decision and order first, then what led to them."""
    whole = timeline(state, log, playbook, customer_id) if customer_id else None
    if whole is None:
        return None
    told = counts.stories.get(whole.customer_id)
    lines = [line for line in whole.lines if line.mark != "idle"]
    if told is not None and told.best is not None:
        starts_at, ends_at = told.best
        lines = [line for line in lines if starts_at - _PROLOGUE <= line.at <= ends_at + _EPILOGUE]
    decisive = _once(line for line in lines if line.mark != "event")[:_DECISIVE_MAX]
    before = [line for line in lines if line.mark == "event" and (not decisive or line.at <= decisive[-1].at)]
    room = _STORY_LINES_MAX - len(decisive)
    chosen = sorted([*decisive, *before[:room]], key=lambda line: (line.at, line.decision_id))
    return replace(whole, lines=tuple(chosen), more=len(chosen) < len(whole.lines))


def _once(lines: Iterable[StoryLine]) -> list[StoryLine]:
    """A message held again and again is told once; everything else is told as it came."""
    kept: dict[str, StoryLine] = {}
    for line in lines:
        told = line.text.partition(". ")[0] if line.mark == "held" else f"{line.at.isoformat()} {line.text}"
        kept.setdefault(told, line)
    return list(kept.values())


# ------------------------------------------------------------------ the simulator's truth


def _told(truth: Truth, lines: Sequence[JourneyLine], currency: str) -> ToldTruth:
    line = next((one for one in lines if one.name == truth.journey), None)
    each = signed_money(truth.margin_per_person, currency, cents=True)
    if line is None or line.effect is None or line.low is None or line.high is None:
        return ToldTruth(truth.journey, truth.margin_per_person, None, None, f"truly {each} a person; not measured")
    covered = line.low <= truth.margin_per_person <= line.high
    measured = signed_money(line.effect, currency, cents=True)
    where = "inside" if covered else "outside"
    sentence = f"truly {each} a person; measured {measured}, the truth lies {where} the likely range"
    return ToldTruth(truth.journey, truth.margin_per_person, line.effect, covered, sentence)


def _truth_sentence(truths: Sequence[Truth], measured: Outcome, currency: str) -> str:
    if not truths:
        return ""
    total = sum(one.margin_caused for one in truths if one.journey in measured.arms)
    sentence = f"In truth the measured journeys caused {money(total, currency)}"
    if isinstance(measured.caused, NotEnough):
        return f"{sentence}."
    inside = "inside" if measured.caused.low <= total <= measured.caused.high else "outside"
    return f"{sentence}, {inside} the likely range above."
