"""Each journey's verdict, from the arms as they really were: their pace, their shares, and a plainer rival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from wayline.domain import Journey, Playbook
from wayline.measurement.effects import Effect, NotEnough, always_valid, difference
from wayline.measurement.elsewhere import Elsewhere, elsewhere
from wayline.measurement.experiments import HOLDOUT, SampleRatio, sample_ratio
from wayline.measurement.outcomes import Caused, Claimed, Exposure, Measured, Order, caused, claimed, measure
from wayline.measurement.verdicts import Finding, signed_money, verdict
from wayline.serving.records import Counts, JourneyCount

__all__ = ["JourneyLine", "Outcome", "journey_lines", "outcome"]


class JourneyLine(Struct, frozen=True, kw_only=True):
    """One journey: the verdict in words, and what it rests on. Money in minor units."""

    name: str
    stage: str
    lane: str
    word: str
    """One of the four; `owed` or `not measured` where nobody is held out."""
    sentence: str
    weeks: int | None
    sent: int
    withheld: int
    held: int
    people_control: int
    people_treatment: int
    effect: float | None
    """Margin added for each person."""
    low: float | None
    high: float | None
    orders_control: float | None
    """Share of the control group that ordered in the window."""
    orders_treatment: float | None
    claimed: float
    claimed_orders: int
    caused: float | None
    contaminated: int
    """People seen in both arms after a merge, left out."""


class Outcome(Struct, frozen=True):
    """Everything measured: arms, claims, what was caused in all, a finding for each journey."""

    arms: Mapping[str, Measured]
    claims: Mapping[str, Claimed]
    caused: Caused | NotEnough
    findings: Mapping[str, Finding]
    standing: str
    """What the standing control group of all marketing says; empty where there is none."""
    elsewhere: Mapping[str, Elsewhere] = {}
    """Journey to what other tools sent to its arms; nothing where nobody told of any."""


def outcome(
    counts: Counts,
    orders: Sequence[Order],
    playbook: Playbook,
    until: datetime | None,
    foreign: Sequence[tuple[str, datetime, str]] = (),
) -> Outcome:
    """Compare the arms of every journey, and count what platforms would claim."""
    arms = measure(counts.exposures, orders, until=until, recurring=_recurring(playbook))
    return Outcome(
        arms=arms,
        claims=claimed(counts.messages, orders),
        caused=caused(arms),
        findings=_findings(arms, playbook),
        standing=_standing(counts.standing, orders, until, playbook.currency),
        elsewhere=elsewhere(
            [*counts.exposures, *counts.standing], foreign, until=until, recurring={*_recurring(playbook), HOLDOUT}
        ),
    )


def _recurring(playbook: Playbook) -> frozenset[str]:
    """Journeys that a schedule enters again and again."""
    scheduled = {schedule.event for schedule in playbook.schedules}
    return frozenset(name for name, journey in playbook.current.items() if scheduled.intersection(journey.enters_on))


def _findings(arms: Mapping[str, Measured], playbook: Playbook) -> dict[str, Finding]:
    effects = {
        name: difference(one.margin["control"], one.margin["treatment"], adjusted=True) for name, one in arms.items()
    }
    found = {}
    for name, one in arms.items():
        daily, share = _pace(one)
        found[name] = verdict(
            effects[name],
            daily=daily,
            share_control=share,
            currency=playbook.currency,
            simpler=_simpler(playbook.current.get(name), effects, playbook),
            ratio=_ratio(one, playbook.current.get(name)),
        )
    return found


def _effect(arms: Measured) -> Effect | NotEnough:
    """Margin a person, treatment less control, with what they used to buy taken out."""
    return difference(arms.margin["control"], arms.margin["treatment"], adjusted=True)


def _pace(arms: Measured) -> tuple[float, float]:
    """(people a day, share in the control group) as they really were."""
    people = arms.people("control") + arms.people("treatment")
    if not people or arms.first_at is None or arms.last_at is None:
        return 0.0, 0.5
    days = max((arms.last_at - arms.first_at) / timedelta(days=1), 1.0)
    return (people + arms.immature) / days, arms.people("control") / people


def _ratio(arms: Measured, journey: Journey | None) -> SampleRatio | None:
    if journey is None or not 0 < journey.control.share < 1:
        return None
    sizes = {"control": arms.people("control"), "treatment": arms.people("treatment")}
    return sample_ratio(sizes, {"control": journey.control.share, "treatment": 1 - journey.control.share})


def _simpler(
    journey: Journey | None, effects: Mapping[str, Effect | NotEnough], playbook: Playbook
) -> tuple[str, Effect] | None:
    """The plainer journey of the same stage and goal that gives nothing away, if this one does."""
    if journey is None or not _gives(journey):
        return None
    plainer = [
        (other, effect)
        for other, effect in effects.items()
        if isinstance(effect, Effect) and _is_plainer(playbook.current.get(other), journey)
    ]
    return max(plainer, key=lambda row: row[1].value, default=None)


def _is_plainer(other: Journey | None, journey: Journey) -> bool:
    if other is None or other.name == journey.name or _gives(other):
        return False
    return (other.stage, other.goal) == (journey.stage, journey.goal)


def _gives(journey: Journey) -> bool:
    """Whether any of its messages gives something away: an offer, or a part of a budget."""
    actions = [action for step in journey.steps.values() for action in getattr(step, "actions", ())]
    return any(action.kind == "offer" or action.spends for action in actions)


def _standing(exposures: Sequence[Exposure], orders: Sequence[Order], until: datetime | None, currency: str) -> str:
    if not exposures:
        return ""
    arms = measure(exposures, orders, until=until, recurring=[HOLDOUT])[HOLDOUT]
    effect = _effect(arms)
    if isinstance(effect, NotEnough):
        return f"The standing control group of all marketing cannot tell yet: {effect.reason}."
    seen = always_valid(effect)
    each, low, high = (signed_money(x, currency, cents=True) for x in (seen.value, seen.low, seen.high))
    size = f"{seen.control_count:,} people without any marketing against {seen.treatment_count:,}"
    return f"The standing control group of all marketing says {each} a person, likely {low} to {high} ({size})."


# ------------------------------------------------------------------ a line for each journey


def journey_lines(measured: Outcome, counts: Counts, playbook: Playbook) -> tuple[JourneyLine, ...]:
    """Journeys with a verdict first, then those nobody is held out of; those that sent most first."""
    names = {name for name in (*playbook.current, *counts.journeys) if name}
    lines = [
        _line(name, measured, counts.journeys.get(name, JourneyCount()), playbook.current.get(name)) for name in names
    ]
    return tuple(sorted(lines, key=lambda line: (line.people_control == 0, -(line.sent + line.withheld), line.name)))


def _line(name: str, measured: Outcome, count: JourneyCount, journey: Journey | None) -> JourneyLine:
    arms, claims = measured.arms.get(name), measured.claims.get(name)
    word, sentence, weeks = _words(name, measured, count, journey)
    effect = None if arms is None else _effect(arms)
    seen = always_valid(effect) if isinstance(effect, Effect) else None
    people = {arm: 0 if arms is None else arms.people(arm) for arm in ("control", "treatment")}
    return JourneyLine(
        name=name,
        stage="" if journey is None else journey.stage,
        lane="" if journey is None else journey.lane,
        word=word,
        sentence=sentence,
        weeks=weeks,
        sent=count.sent,
        withheld=count.withheld,
        held=count.held,
        people_control=people["control"],
        people_treatment=people["treatment"],
        effect=None if seen is None else seen.value,
        low=None if seen is None else seen.low,
        high=None if seen is None else seen.high,
        orders_control=_rate(arms, "control"),
        orders_treatment=_rate(arms, "treatment"),
        claimed=0.0 if claims is None else claims.margin,
        claimed_orders=0 if claims is None else claims.orders,
        caused=None if seen is None else seen.value * people["treatment"],
        contaminated=0 if arms is None else arms.contaminated,
    )


def _rate(arms: Measured | None, arm: str) -> float | None:
    return None if arms is None or not arms.people(arm) else arms.orders[arm].total / arms.people(arm)


def _words(name: str, measured: Outcome, count: JourneyCount, journey: Journey | None) -> tuple[str, str, int | None]:
    finding = measured.findings.get(name)
    if journey is not None and journey.lane == "owed":
        return "owed", "Customers are owed these messages: nobody is held out, nothing is measured.", None
    if finding is not None:
        return finding.word, finding.sentence, finding.weeks
    if journey is not None and journey.control.mode == "none":
        return "not measured", f"Nobody is held out: {journey.control.reason or 'no reason is given'}.", None
    if not count.sent and not count.withheld:
        return "too early", "Too early to tell: nothing was sent or withheld yet.", None
    return "too early", "Too early to tell: no exposure was recorded yet.", None
