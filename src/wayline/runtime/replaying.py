"""Looking back over what is kept: decisions decided again from their records, and what may be stuck."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from wayline.domain import Decision, Playbook, World
from wayline.errors import WaylineError
from wayline.observation.catalog import Shelf
from wayline.orchestration.policy import decide_again
from wayline.store import Log, State

__all__ = ["Health", "Replayed", "examine", "replay_all"]


class Replayed(Struct, frozen=True):
    """How many records came out the same, and which did not."""

    equal: int
    different: tuple[str, ...]


def replay_all(
    state: State,
    playbook: Playbook,
    on_progress: Callable[[int], None] = lambda done: None,
    *,
    kept: Mapping[str, Playbook] | None = None,
) -> Replayed:
    """Decide every recorded decision again from its record alone, under the playbook it was decided under.

    `kept` are those that ran, by version; a decision under none of them is tried under `playbook`.
    """
    under = kept or {}
    equal = 0
    different: list[str] = []
    for count, decision in enumerate(state.decisions(), start=1):
        said = _difference(decision, under.get(decision.versions.get("playbook", ""), playbook))
        if said is None:
            equal += 1
        else:
            different.append(f"{decision.decision_id}: {said}")
        if count % 1000 == 0:
            on_progress(count)
    return Replayed(equal, tuple(different))


def _difference(decision: Decision, playbook: Playbook) -> str | None:
    world = World(now=decision.decided_at, catalog=Shelf(), addresses=_Nobody())
    try:
        again = decide_again(decision, playbook, world)
    except WaylineError as error:
        return str(error)
    if again == decision:
        return None
    fields = (name for name in Decision.__struct_fields__ if getattr(again, name) != getattr(decision, name))
    return f"differs in {', '.join(fields)}"


class _Nobody:
    """No address is known: a replay reads the record and nothing else."""

    def get(self, channel: str, key: str) -> None:
        return None


class Health(Struct, frozen=True):
    """What was looked at, in lines, and what somebody should do something about."""

    lines: tuple[str, ...]
    problems: tuple[str, ...]
    counts: dict[str, int]


def examine(log: Log, state: State, now: datetime | None = None, *, also: Sequence[str] = ()) -> Health:
    """What is kept, what waits, what is stuck, what was set aside; `also` are problems somebody else found."""
    at = now or datetime.now(UTC)
    counts = {**{f"log.{name}": count for name, count in log.counts().items()}, **state.counts()}
    lines = [f"{name:<28}{count:>12,}" for name, count in counts.items()]
    problems = []
    behind = log.head() - state.position()
    if behind:
        lines.append(f"{behind:,} events wait to be folded; wayline serve does that")
    unclear = counts.get("deliveries.unknown", 0)
    if unclear:
        problems.append(
            f"{unclear:,} messages of unclear delivery: ask the provider, or leave them; they are not sent twice"
        )
    problems.extend(_tried_in_vain(state))
    problems.extend(_asked_of_us(log, at))
    aside = state.set_asides()
    for one in aside[:10]:
        problems.append(f"event {one.position} ({one.customer_id}) was set aside: {one.reason}")
    if len(aside) > 10:
        problems.append(f"... and {len(aside) - 10:,} more events were set aside")
    stuck = _without_wake(state)
    if stuck:
        problems.append(
            f"{len(stuck):,} people are inside a journey that will not go on by itself: {', '.join(stuck[:5])}"
        )
    late = [due_at for due_at, _ in state.due(at - timedelta(hours=1), 1)]
    if late:
        lines.append(f"the earliest due customer has waited since {late[0]:%Y-%m-%d %H:%M} UTC")
    problems.extend(also)
    counted = "One thing needs you:" if len(problems) == 1 else f"{len(problems)} things need you:"
    verdict = counted if problems else "Nothing needs you."
    return Health((*lines, verdict, *problems), tuple(problems), counts)


_PRIVACY_DUE = timedelta(days=30)  # within which a request about personal values must be met


def _asked_of_us(log: Log, now: datetime) -> Iterator[str]:
    """Requests about personal values, with the clock that runs."""
    for event in log.named(("Privacy Requested",)):
        due_on = (event.received_at + _PRIVACY_DUE).date()
        left = (due_on - now.date()).days
        clock = f"{left} days are left" if left >= 0 else f"overdue by {-left} days"
        yield (
            f"{event.source} asks {event.properties.get('topic', 'something')} (event {event.position}, received "
            f"{event.received_at:%Y-%m-%d}): due on {due_on}, {clock}"
        )


def _tried_in_vain(state: State) -> Iterator[str]:
    """What a channel would not take so far, channel by channel, with what it said last."""
    said: dict[str, list[str]] = {}
    for row in state.deliveries():
        if row.state == "pending" and row.attempts:
            said.setdefault(row.channel, []).append(row.detail)
    for channel, details in sorted(said.items()):
        yield (
            f"{len(details):,} messages could not be handed to the channel {channel} so far ({details[-1]}); they are "
            f"tried again by themselves. Look at [channels.{channel}] and at the server it names"
        )


def _without_wake(state: State) -> list[str]:
    """Customers with an open enrollment that neither wakes by itself nor waits on an outbox row."""
    found = []
    waiting = {row.decision_id for row in state.deliveries() if row.state in ("pending", "attempting")}
    for customer_id in state.customer_ids():
        for customer in state.load([customer_id]).values():
            found += [
                customer_id
                for enrollment in customer.standing.enrollments
                if enrollment.is_open and enrollment.wake_at is None and enrollment.pending not in waiting
            ]
    return found
