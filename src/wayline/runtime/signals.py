"""Which signals can be trusted, and whether what each journey needs is there: what `doctor` says of what comes in.

A verdict rests on the last thirty days of volumes (counted as events are stored) and on a look through the log for what
contradicts. It says `trusted`, `doubtful` with what was seen, or `missing`, and guesses nothing: a signal nobody agreed
anything about is judged by whether it comes at all, from whom and how late.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from wayline.conditions import Condition
from wayline.domain import Branch, Claim, Journey, Playbook, Propose, Signal, Wait
from wayline.observation.quality import WATCHED, Contradiction, Watch
from wayline.playbook.grammar import spoken
from wayline.store import Log, Volume

__all__ = [
    "LOOKED_BACK",
    "Flow",
    "Need",
    "SignalReport",
    "SourceSeen",
    "UseCase",
    "Verdict",
    "examine_signals",
    "in_words",
    "needs_of",
]

LOOKED_BACK: Final = timedelta(days=30)

_LOOKED_THROUGH = 1_000_000  # newest events looked through for what contradicts: seconds
_SILENT_DAYS = 7  # a signal that came daily and has not for so many days
_SHARES: Final = {"late": 0.2, "broken": 0.05, "rejected": 0.05, "duplicates": 0.3, "conflicts": 0.01}
"""Share of what came above which a signal is doubtful."""

_WORDS: Final = {
    "late": "arrive more than an hour late",
    "broken": "break what signals.yaml says",
    "rejected": "are rejected",
    "duplicates": "come again",
    "conflicts": "come again with other contents",
}
_NEEDS_TRUST: Final = frozenset({"Order Completed", "Order Cancelled", "Order Refunded", "Store Purchase"})
"""Told by browsers alone these are doubtful: blockers lose them, and anybody can make them up."""

Verdict: TypeAlias = Literal["trusted", "doubtful", "missing"]
_RANK: Final[Mapping[Verdict, int]] = {"trusted": 0, "doubtful": 1, "missing": 2}


class Flow(Struct, frozen=True):
    """The events of one name in the last thirty days, from all sources."""

    name: str
    sources: tuple[str, ...]
    stored: int
    newest: datetime | None
    verdict: Verdict
    reasons: tuple[str, ...] = ()


class Need(Struct, frozen=True):
    """Something a journey reads, and whether any of the events that tell it can be trusted."""

    what: str
    names: tuple[str, ...]
    is_required: bool
    verdict: Verdict
    reasons: tuple[str, ...] = ()


class UseCase(Struct, frozen=True):
    """One journey, and whether what it needs to be told is there and trustworthy."""

    journey: str
    stage: str
    verdict: Verdict
    needs: tuple[Need, ...]


class SourceSeen(Struct, frozen=True):
    """What came from one source in the last thirty days."""

    source: str
    newest: datetime
    stored: int
    duplicates: int
    conflicts: int
    rejected: int


class SignalReport(Struct, frozen=True):
    """What comes in, and what may be relied on."""

    now: datetime
    sources: tuple[SourceSeen, ...]
    flows: tuple[Flow, ...]
    use_cases: tuple[UseCase, ...]
    contradictions: tuple[Contradiction, ...]
    contradiction_counts: Mapping[str, int]
    offered: int
    """Since the log began: stored + duplicates + conflicts + rejected."""
    rejected_kept: int


def examine_signals(log: Log, playbook: Playbook, now: datetime) -> SignalReport:
    """Look at what came in the last thirty days."""
    by_name: dict[str, list[Volume]] = defaultdict(list)
    by_source: dict[str, list[Volume]] = defaultdict(list)
    for volume in log.volumes(now - LOOKED_BACK):
        by_name[volume.name].append(volume)
        by_source[volume.source].append(volume)
    flows = {name: _flow(name, volumes, playbook.signals, now) for name, volumes in by_name.items()}
    flows |= {name: _flow(name, (), playbook.signals, now) for name in _agreed(playbook) - flows.keys()}
    watch = _watched(log, playbook, now)
    return SignalReport(
        now=now,
        sources=tuple(_source(source, volumes) for source, volumes in sorted(by_source.items())),
        flows=tuple(flow for _, flow in sorted(flows.items())),
        use_cases=tuple(_use_case(journey, playbook, flows) for _, journey in sorted(playbook.current.items())),
        contradictions=tuple(watch.told),
        contradiction_counts={kind: count for kind, count in watch.counts.items() if count},
        offered=sum(log.counts().values()),
        rejected_kept=log.rejected_kept(),
    )


def _agreed(playbook: Playbook) -> set[str]:
    """Names somebody outside was to tell: what a schedule makes is nobody's to send."""
    return playbook.signals.keys() - {schedule.event for schedule in playbook.schedules}


def _watched(log: Log, playbook: Playbook, now: datetime) -> Watch:
    watch = Watch(playbook.signals)
    watch.look(log.named(WATCHED, after=max(0, log.head() - _LOOKED_THROUGH)))
    watch.finish(now)
    return watch


def _source(source: str, volumes: Iterable[Volume]) -> SourceSeen:
    told = list(volumes)
    newest = max(volume.hour for volume in told)
    sums = (sum(getattr(each, name) for each in told) for name in ("stored", "duplicates", "conflicts", "rejected"))
    return SourceSeen(source, newest, *sums)


# ------------------------------------------------------------------ one signal


def _flow(name: str, volumes: Iterable[Volume], signals: Mapping[str, Signal], now: datetime) -> Flow:
    told = [volume for volume in volumes if volume.stored or volume.rejected or volume.duplicates]
    stored = sum(volume.stored for volume in told)
    sources = tuple(sorted({volume.source for volume in told if volume.stored}))
    newest = max((volume.hour for volume in told if volume.stored), default=None)
    if not stored:
        rejected = sum(volume.rejected for volume in told)
        why = f"{rejected:,} came, and all were rejected" if rejected else "none came in thirty days"
        return Flow(name, sources, 0, None, "missing", (why,))
    reasons = (*_shares(told), *_silence(told, signals.get(name), now), *_distrust(name, told, signals.get(name)))
    return Flow(name, sources, stored, newest, "doubtful" if reasons else "trusted", reasons)


def _shares(told: list[Volume]) -> Iterator[str]:
    stored = sum(volume.stored for volume in told)
    came = sum(each.stored + each.duplicates + each.conflicts + each.rejected for each in told)
    fresh = stored - sum(volume.imported for volume in told)
    for what, most in _SHARES.items():
        count = sum(getattr(volume, what) for volume in told)
        of = fresh if what == "late" else stored if what == "broken" else came
        if of and count / of > most:
            yield f"{count / of:.0%} {_WORDS[what]}"


def _silence(told: list[Volume], signal: Signal | None, now: datetime) -> Iterator[str]:
    newest = max(volume.hour for volume in told if volume.stored) + timedelta(hours=1)
    silent = now - newest
    if signal is not None and signal.every is not None:
        if silent > signal.every:
            yield f"the newest came {_ago(silent)} ago; signals.yaml expects one every {spoken(signal.every)}"
        return
    days = {volume.hour.date() for volume in told if volume.stored and volume.stored > volume.imported}
    if len(days) >= _SILENT_DAYS and silent > timedelta(days=_SILENT_DAYS):
        yield f"it came on {len(days)} days, and not since {newest:%-d %B}"


def _distrust(name: str, told: list[Volume], signal: Signal | None) -> Iterator[str]:
    truth = signal.truth if signal is not None else ()
    sources = {volume.source for volume in told if volume.stored}
    if truth and not sources.intersection(truth):
        yield f"none came from {' or '.join(truth)}, whose word counts"
    if name in _NEEDS_TRUST and all(volume.unverified == volume.stored for volume in told if volume.stored):
        yield "only browsers tell of it: blockers lose some, and anybody can make one up; connect the shop's webhooks"


def _ago(span: timedelta) -> str:
    hours = int(span.total_seconds() // 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours" if hours > 1 else "1 hour"


# ------------------------------------------------------------------ what a journey needs


_STOCK: Final = ("stock, which it promises", ("Inventory Changed", "Product Changed"), False)
_CONSENT: Final = ("consent to marketing", ("Consent Granted",), True)


def needs_of(journey: Journey, playbook: Playbook) -> list[tuple[str, tuple[str, ...], bool]]:
    """What a journey has to be told: in words, the events any of which tells it, and whether it is lost without."""
    internal = {schedule.event for schedule in playbook.schedules}
    needs = [("what starts it", journey.enters_on, True), ("its goal", (journey.goal,), True)]
    needs += [(f"what ends it: {name}", (name,), False) for name in journey.exits_on if name != journey.goal]
    needs += [(f"the step that waits for {name}", (name,), False) for name in _waited_for(journey)]
    needs += [(f"the facet {name}", names, is_required) for name, names, is_required in _facets_of(journey, playbook)]
    needs += [_STOCK] if any(claim.name == "in_stock" for claim in _claims(journey)) else []
    needs += [_CONSENT] if journey.purpose == "marketing" else []
    return [need for need in (_outside(each, internal) for each in needs) if need[1]]


def _outside(need: tuple[str, tuple[str, ...], bool], internal: set[str]) -> tuple[str, tuple[str, ...], bool]:
    """The need without the events the engine makes itself."""
    what, names, is_required = need
    return what, tuple(name for name in names if name and name not in internal), is_required


def _waited_for(journey: Journey) -> list[str]:
    return sorted({name for step in journey.steps.values() if isinstance(step, Wait) for name in step.until})


def _claims(journey: Journey) -> Iterator[Claim]:
    for step in journey.steps.values():
        for action in step.actions if isinstance(step, Propose) else ():
            yield from action.claims


def _facets_of(journey: Journey, playbook: Playbook) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    asked: dict[str, bool] = {}
    for condition, is_required in _conditions(journey):
        for name in sorted(condition.names):
            asked[name] = asked.get(name, False) or is_required
    for name, is_required in asked.items():
        facet = playbook.facets.get(name)
        if facet is not None:
            root = playbook.facets.get(facet.of, facet) if facet.of else facet
            yield name, root.events, is_required


def _conditions(journey: Journey) -> Iterator[tuple[Condition, bool]]:
    if journey.where is not None:
        yield journey.where, True
    for step in journey.steps.values():
        if isinstance(step, Branch):
            yield step.when, False


def _use_case(journey: Journey, playbook: Playbook, flows: Mapping[str, Flow]) -> UseCase:
    needs = tuple(_need(*need, flows) for need in needs_of(journey, playbook))
    grave = [need.verdict if need.is_required else _softened(need.verdict) for need in needs]
    verdict: Verdict = max(grave, key=lambda each: _RANK[each], default="trusted")
    return UseCase(journey.name, journey.stage, verdict, needs)


def _softened(verdict: Verdict) -> Verdict:
    """A step that can do without is no reason to hold the journey back."""
    return "doubtful" if verdict == "missing" else "trusted"


def _need(what: str, names: tuple[str, ...], is_required: bool, flows: Mapping[str, Flow]) -> Need:
    there = [flows[name] for name in names if name in flows]
    if not there:
        return Need(what, names, is_required, "missing", ("none came in thirty days",))
    best = min(there, key=lambda flow: (_RANK[flow.verdict], -flow.stored))
    reasons = tuple(f"{best.name}: {reason}" for reason in best.reasons)
    return Need(what, names, is_required, best.verdict, reasons)


# ------------------------------------------------------------------ in words

_MARKS: Final[Mapping[Verdict, str]] = {"trusted": "ok ", "doubtful": "?? ", "missing": "NOT"}


def in_words(report: SignalReport) -> list[str]:
    """The report as a person reads it: sources, what each journey needs, what contradicts, and what to do."""
    lines = [*_sources_in_words(report), "", "What each journey needs to be told:"]
    for case in report.use_cases:
        lines.append(f"  {_MARKS[case.verdict]} {case.journey} ({case.stage})")
        for need in case.needs:
            if need.verdict != "trusted":
                names = " or ".join(need.names[:4]) + (" or ..." if len(need.names) > 4 else "")
                softly = "" if need.is_required else " (it can do without)"
                lines.append(f"        {need.verdict}: {need.what}{softly}: {'; '.join(need.reasons)} [{names}]")
    doubtful = [flow for flow in report.flows if flow.verdict == "doubtful"]
    lines += ["", "Signals in doubt:"] if doubtful else []
    lines += [f"  {flow.name} ({', '.join(flow.sources)}): {'; '.join(flow.reasons)}" for flow in doubtful]
    lines += ["", "What contradicts:"] if report.contradiction_counts else []
    for kind, count in report.contradiction_counts.items():
        lines.append(f"  {count:,} x {Watch.kinds[kind]}")
        lines += [f"        {each.text} (event {each.position})" for each in report.contradictions if each.kind == kind]
    return lines


def _sources_in_words(report: SignalReport) -> Iterator[str]:
    if not report.sources:
        yield "Nothing came in the last thirty days. Name a source in wayline.toml and point a client at it."
        return
    yield "Sources, the last thirty days:"
    for one in report.sources:
        # What came is counted by the hour, so the newest may be as old as the hour it is counted in.
        silent = _ago(report.now - one.newest + timedelta(hours=1))
        yield (
            f"  {one.source:<20}{one.stored:>10,} stored  {one.duplicates:>7,} again  {one.conflicts:>5,} conflicting  "
            f"{one.rejected:>6,} rejected  newest within {silent}"
        )
    if report.rejected_kept:
        yield f"  {report.rejected_kept:,} rejected events are kept; wayline rejects DIR shows and offers them again"
