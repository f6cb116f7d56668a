"""A dry run as a person reads it: what would have happened, what was assumed, who was held back and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wayline.measurement.outcomes import WINDOW
from wayline.runtime.dryrun import DryRun
from wayline.runtime.reckoning import Held, JourneyCount

__all__ = ["in_words"]

_NAMES_MAX: Final = 12  # names of events counted above a dry run's result, the most frequent
_RULES_MAX: Final = 8  # rules named for a journey, those that held most wishes back
_COLUMNS: Final = (
    ("could start", 12),
    ("would enter", 12),
    ("proposed", 10),
    ("to be sent", 11),
    ("control", 9),
    ("never sent", 11),
    ("left", 8),
    ("waiting", 9),
    ("goal", 14),
)


def in_words(run: DryRun) -> list[str]:
    """The result, line by line."""
    if run.starts_at is None or run.ends_at is None:
        return [
            "The history holds no events, so there is nothing to try the playbook on. Bring some in: wayline import."
        ]
    return [
        f"Tried on past data: {run.events:,} events of {run.people:,} people, "
        f"{run.starts_at:%-d %B %Y} to {run.ends_at:%-d %B %Y}. Nothing was sent and nothing was kept.",
        "  " + ", ".join(f"{count:,} {name}" for name, count in list(run.named.items())[:_NAMES_MAX]),
        "Assumed, so read the figures with it in mind:",
        *(f"  * {sentence}" for sentence in run.assumed),
        "",
        *_table(run),
        "",
        *(line for one in run.journeys if one.asked for line in _journey(one)),
        *_never_started(run),
        *_closing(run),
    ]


def _table(run: DryRun) -> Iterator[str]:
    yield f"{'journey':<22}" + "".join(f"{title:>{width}}" for title, width in _COLUMNS)
    for one in run.journeys:
        if one.asked:
            goal = f"{one.reached_goal:,} ({one.reached_goal / one.entered:.1%})" if one.entered else "-"
            goal = goal if one.goal_is_told else "not told"
            cells = (one.asked, one.entered, one.wishes, one.treated, one.control, one.given_up, one.left, one.wishing)
            yield f"{one.journey:<22}" + "".join(
                f"{cell:>{width}}"
                for cell, (_, width) in zip((*(f"{count:,}" for count in cells), goal), _COLUMNS, strict=True)
            )
    yield (
        "proposed = to be sent + control + never sent (not allowed while patience lasted) + left (the person moved on)"
        f" + waiting; goal: reached within {WINDOW.days} days of entering"
    )


def _journey(one: JourneyCount) -> Iterator[str]:
    people = f"{one.people:,} people" if one.people != 1 else "one person"
    yield (
        f"{one.journey}: {people} would enter, {one.entered:,} times"
        if one.entered
        else f"{one.journey}: nobody would enter"
    )
    if one.not_for_them:
        because = f"; most often {one.not_for_them_because}" if one.not_for_them_because else ""
        yield f"  {one.not_for_them:>10,}  times its condition was not met{because}"
    for reason, count in sorted(one.not_let_in.items(), key=lambda entry: -entry[1]):
        yield f"  {count:>10,}  times not let in: {reason}"
    for content, met in sorted(one.met.items(), key=lambda entry: -entry[1].treated):
        yield f"  {met.treated + met.control:>10,}  {content}: {met.treated:,} to be sent, {met.control:,} control"
    yield from _rules("held back", one.held)
    yield from _rules("plainer message instead of the best, held back", one.passed_over)
    yield from _rules("decided, and stopped as it was about to leave", one.taken_back)
    if one.waiting:
        inside = ", ".join(f"{count:,} at {step}" for step, count in sorted(one.waiting.items()))
        yield f"  {sum(one.waiting.values()):>10,}  inside where the history ends: {inside}"
    yield ""


def _rules(what: str, held: dict[str, Held]) -> Iterator[str]:
    most = sorted(held.items(), key=lambda entry: (-entry[1].wishes, entry[0]))
    for rule, found in most[:_RULES_MAX]:
        never = f", {found.never:,} of them to the end" if found.never else ""
        yield f"  {found.wishes:>10,}  {what} by {rule.replace('_', ' ')}{never}"
        yield f"              e.g. {found.example}"
    if len(most) > _RULES_MAX:
        yield f"              and {len(most) - _RULES_MAX} more rules"


def _never_started(run: DryRun) -> Iterator[str]:
    absent = [f"{one.journey} ({' or '.join(one.enters_on)})" for one in run.journeys if not one.asked]
    if absent:
        yield f"Nothing in this history starts: {', '.join(absent)}."


def _closing(run: DryRun) -> Iterator[str]:
    yield (
        "Goals are what people did in the past, without these messages: they tell how many would have come anyway, and "
        "nothing of what a message would have caused. That is what the control group is for."
    )
    if run.set_aside:
        yield f"{run.set_aside:,} turns could not be taken and were set aside; the first: {run.set_aside_because}"
    also = f", {run.told_also:,} told a second time" if run.told_also else ""
    yield (
        f"{run.events:,} events{also}, {run.scheduled:,} made by schedules, {run.wakes:,} waits that ended, in "
        f"{run.seconds:.0f} s ({run.cpu_seconds:.0f} s of one processor); {run.memory_peak_mb:,} MB at most"
    )
