"""Journeys walk: who enters, where they wait, what they wish for, when they are done.

A journey is data; this module is its only interpreter, and keeps no history. An enrollment is one customer's place in
one journey: a step, the instant it was reached, and the earliest instant it next wants attention. Three rules give the
rest of the engine its shape.

*Occurrence, not arrival.* Goals, exits and `until` compare the event's occurred_at with the occurred_at of the event
that entered the person. A late event can still end a journey it should have ended; it never starts one older than the
lateness window.

*A wish stays where it is until it is settled.* At a Propose step the enrollment asks; once one of its actions is
decided it is `pending` on that decision and asks no more. When the channel has answered (or would have, in the control
arm) the enrollment moves on, and the wait that follows counts from then. If nothing can be had it gives up when its
patience is over.

*An open enrollment always has an instant.* Waiting: the end of the wait. Wishing: the end of patience, or the earlier
instant at which a refusal lifts. Pending: the outbox row is what wakes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import assert_never

from msgspec.structs import replace

from wayline.domain import (
    ENROLLMENTS_MAX,
    STEPS_MAX,
    Action,
    Branch,
    Claim,
    End,
    Enrollment,
    EntryRefusal,
    Event,
    Journey,
    JourneyStep,
    Proposal,
    Propose,
    Receipt,
    Reentry,
    Wait,
)
from wayline.errors import Broken
from wayline.interpretation.moment import Moment
from wayline.orchestration.wording import lasting

__all__ = [
    "advance",
    "ended",
    "enroll",
    "gives_up_at",
    "hold",
    "is_given_up",
    "kept",
    "pend",
    "proposal",
    "release",
    "settle",
    "with_trigger",
]  # fmt: skip


def enroll(
    journey: Journey, event: Event, moment: Moment, present: Iterable[Enrollment]
) -> Enrollment | EntryRefusal | None:
    """Let the customer of this event in, or say why not; None if the journey is not for them at all."""
    trigger = {name: event.properties[name] for name in journey.carries if name in event.properties}
    if journey.where is not None and journey.where.evaluate(moment.within(trigger), moment.now) is not True:
        return None
    key = str(event.properties.get(journey.reentry.key, "")) if journey.reentry.mode == "per" else ""
    refused = _entry_refusal(journey, key, event, moment, present)
    if refused:
        return EntryRefusal(journey.name, key, refused, moment.now)
    entered = Enrollment(
        journey=journey.name,
        key=key,
        version=journey.version,
        step=journey.start,
        entered_at=event.occurred_at,
        step_entered_at=moment.now,
        trigger=trigger,
    )
    return advance(entered, journey, moment)


def _entry_refusal(
    journey: Journey, key: str, event: Event, moment: Moment, present: Iterable[Enrollment]
) -> str | None:
    lateness = moment.playbook.policy.lateness
    if event.received_at - event.occurred_at > lateness:
        return f"the event arrived more than {lasting(lateness)} after it happened"
    over = _was_over(journey, event, moment)
    if over:
        return over
    if journey.reentry.mode == "per" and not key:
        return f"the event carries no {journey.reentry.key!r}, by which people may enter again"
    before = (e for e in present if e.journey == journey.name and e.key == key and e.status != "merged")
    return next(filter(None, (_reentry_refusal(journey.reentry, other, event) for other in before)), None)


def ended(name: str) -> str:
    """The fact that says when a goal or exit of that name last happened; every playbook remembers it."""
    return f"@ended {name}"


def _was_over(journey: Journey, event: Event, moment: Moment) -> str | None:
    """A trigger that comes late may find that what would have ended the journey happened after it, and is known."""
    if journey.exits_match or event.occurred_at >= moment.now:
        return None
    for name in dict.fromkeys((journey.goal, *journey.exits_on)):
        fact = ended(name)
        at = moment.fact(fact) if name != event.name and fact in moment.playbook.facets else None
        if at is not None and at > event.occurred_at:
            return f"{name} happened after it, at {at:%d %b %H:%M}, and was heard of before it"
    return None


def _reentry_refusal(reentry: Reentry, other: Enrollment, event: Event) -> str | None:
    match reentry.mode:
        case "once":
            return "already entered, and this journey is entered once"
        case "per":
            return f"already entered, and this journey is entered once per {reentry.key}"
        case "after_exit":
            return "still inside" if other.is_open else None
        case "after":
            assert reentry.duration is not None
            if event.occurred_at - other.entered_at < reentry.duration:
                return f"entered less than {lasting(reentry.duration)} before"
            return "still inside" if other.is_open else None
        case _ as never:
            assert_never(never)


def advance(enrollment: Enrollment, journey: Journey, moment: Moment, event: Event | None = None) -> Enrollment:
    """Walk as far as it goes now: to a wait that is not over, a wish, or an end."""
    if not enrollment.is_open:
        return enrollment
    if event is not None and _counts(event, enrollment, journey.exits_match):
        if event.name == journey.goal:
            return _close(enrollment, "converted")
        if event.name in journey.exits_on:
            return _close(enrollment, "exited")
    for _ in range(STEPS_MAX):
        walked = _step(enrollment, journey.steps[enrollment.step], moment, event)
        if walked.steps_taken == enrollment.steps_taken:
            return walked
        enrollment, event = walked, None  # one event ends one wait
    where = f"journey {journey.name!r}, at step {enrollment.step!r}"
    raise Broken(f"{where}: {STEPS_MAX} steps walked in one turn, a loop without a wait")


def _step(enrollment: Enrollment, step: JourneyStep, moment: Moment, event: Event | None) -> Enrollment:
    """One step onward, or the enrollment where it stays."""
    now = moment.now
    match step:
        case End():
            return _close(enrollment, step.status)
        case Branch():
            is_so = step.when.evaluate(moment.within(enrollment.trigger), now) is True
            return _move(enrollment, step.then if is_so else step.otherwise, now)
        case Wait():
            return _await(enrollment, step, now, event)
        case Propose():
            if enrollment.pending is None and (
                is_given_up(enrollment, step, now) or enrollment.attempt >= len(step.actions)
            ):
                return _move(enrollment, step.otherwise, now)
            return enrollment
        case _ as never:
            assert_never(never)


def _await(enrollment: Enrollment, step: Wait, now: datetime, event: Event | None) -> Enrollment:
    due_at = enrollment.step_entered_at + step.duration
    if event is not None and event.name in step.until and _counts(event, enrollment):
        return _move(enrollment, step.until[event.name], now)
    if due_at <= now:
        return _move(enrollment, step.then, now)
    return enrollment if enrollment.wake_at == due_at else replace(enrollment, wake_at=due_at)


def _counts(event: Event, enrollment: Enrollment, match: str = "") -> bool:
    """Whether it happened after this person entered, and is about the same order (or whatever must match)."""
    if event.occurred_at < enrollment.entered_at:
        return False
    return not match or bool(event.properties.get(match) == enrollment.trigger.get(match))


def gives_up_at(enrollment: Enrollment, step: Propose) -> datetime:
    """When patience with this wish is over."""
    return enrollment.step_entered_at + step.patience


def is_given_up(enrollment: Enrollment, step: Propose, now: datetime) -> bool:
    """Whether patience with this wish is over; a wish has its first instant however short its patience."""
    return gives_up_at(enrollment, step) <= now and enrollment.step_entered_at < now


def proposal(enrollment: Enrollment, journey: Journey) -> Proposal | None:
    """What this enrollment wishes for now, best first; None while it waits, is pending or done."""
    if not enrollment.is_open or enrollment.pending is not None:
        return None
    step = journey.steps[enrollment.step]
    if not isinstance(step, Propose):
        return None
    actions = with_trigger(step.actions[enrollment.attempt :], enrollment.trigger)
    return Proposal(
        journey=journey.name,
        key=enrollment.key,
        version=enrollment.version,
        step=enrollment.step,
        since=enrollment.step_entered_at,
        attempt=enrollment.attempt,
        actions=actions,
    )


def with_trigger(actions: tuple[Action, ...], trigger: Mapping[str, object]) -> tuple[Action, ...]:
    """These actions with `trigger.<name>` in their claims replaced by what entered the person."""
    return tuple(_resolved(action, trigger) for action in actions)


def _resolved(action: Action, trigger: Mapping[str, object]) -> Action:
    """Claims about what entered the person (`order_open: trigger.order_id`), with its value in place."""
    if not any(claim.subject.startswith("trigger.") for claim in action.claims):
        return action
    claims = tuple(
        Claim(claim.name, str(trigger.get(claim.subject[8:], ""))) if claim.subject.startswith("trigger.") else claim
        for claim in action.claims
    )
    return replace(action, claims=claims)


def pend(enrollment: Enrollment, decision_id: str) -> Enrollment:
    """One of its actions is decided: it waits for the channel, and the outbox row is what wakes it."""
    return replace(enrollment, pending=decision_id, wake_at=None, held=None, topics=())


def hold(
    enrollment: Enrollment, until: datetime, *, topics: tuple[str, ...] = (), held: str | None = None
) -> Enrollment:
    """Nothing was allowed: ask again at `until`, or when one of the topics changes."""
    return replace(enrollment, wake_at=until, topics=topics, held=held)


def release(enrollment: Enrollment, journey: Journey, failed: Action | None = None) -> Enrollment:
    """Its decided message will not leave: it wishes again, past the action that failed if one is proven to have."""
    attempt = enrollment.attempt
    step = journey.steps[enrollment.step]
    if failed is not None and isinstance(step, Propose):
        tried = (failed.name, failed.channel, failed.content)
        names = [(action.name, action.channel, action.content) for action in step.actions]
        attempt = names.index(tried) + 1 if tried in names else attempt + 1
    return replace(enrollment, pending=None, attempt=attempt, wake_at=None)


def settle(enrollment: Enrollment, journey: Journey, receipt: Receipt, moment: Moment) -> Enrollment:
    """Move on from a wish that was met; the wait that follows counts from the receipt.

    The control arm moves on exactly as the treated do, or there is nothing to compare. An unknown delivery moves on
    too: it may have arrived.
    """
    step = journey.steps[enrollment.step]
    if not isinstance(step, Propose):
        raise Broken(f"{journey.name!r} was pending in step {enrollment.step!r}, which proposes nothing")
    return advance(_move(enrollment, step.then, receipt.at), journey, moment)


def kept(enrollments: Iterable[Enrollment]) -> tuple[Enrollment, ...]:
    """The bounded list a standing keeps: all that are open, and of the closed the newest per journey and key."""
    newest: dict[tuple[str, str], Enrollment] = {}
    for enrollment in enrollments:
        at = (enrollment.journey, enrollment.key)
        other = newest.get(at)
        if other is None or (enrollment.is_open, enrollment.entered_at) >= (other.is_open, other.entered_at):
            newest[at] = enrollment
    if len(newest) <= ENROLLMENTS_MAX:
        return tuple(newest.values())
    # Those entered per key go first: `once` must be remembered for ever.
    droppable = sorted((e for e in newest.values() if not e.is_open), key=lambda e: (e.key == "", e.entered_at))
    gone = {(e.journey, e.key) for e in droppable[: len(newest) - ENROLLMENTS_MAX]}
    return tuple(e for at, e in newest.items() if at not in gone)


def _move(enrollment: Enrollment, step: str, at: datetime) -> Enrollment:
    return replace(
        enrollment,
        step=step,
        step_entered_at=at,
        wake_at=None,
        pending=None,
        attempt=0,
        topics=(),
        held=None,
        steps_taken=enrollment.steps_taken + 1,
    )


def _close(enrollment: Enrollment, status: str) -> Enrollment:
    return replace(enrollment, status=status, wake_at=None, pending=None, topics=(), held=None, attempt=0)
