"""Folding every memory again from the log, after the playbook declared facets it had not, or others.

A memory is a cache of the log, so it is never migrated: it is folded anew. Whose each event was is worked out again
too, with those a person has since split kept apart from the beginning; where people were merged since, the event is
its survivor's. Customers
are folded in as many passes over the log as their number needs, each within the bound of what is kept at hand. A
process that dies on the way begins again: only the last commit says that it is done.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from wayline.domain import Event, Memory, Playbook
from wayline.interpretation import customers, facets
from wayline.observation.directory import Directory
from wayline.observation.hands import BY_HAND, apart_at_last
from wayline.runtime.parting import resolved_anew
from wayline.runtime.troubles import say
from wayline.store import Batch, Log, State

__all__ = ["FLOOR", "is_outdated", "refold"]

FLOOR = "checkpoint_floor"
"""Note: log position up to which every memory is checkpointed."""

_FACETS = "facets_folded"
_EVENTS_MAX = 2000  # events read from the log at a time
_CHECKPOINTS_MAX = 5000  # memories written in one transaction


def is_outdated(state: State, playbook: Playbook) -> bool:
    """Whether the stored memories were folded by other facets than this playbook declares."""
    return state.note(_FACETS) != _wanted(playbook)


def _wanted(playbook: Playbook) -> bytes:
    return facets.fingerprint(tuple(playbook.facets.values())).encode()


def refold(log: Log, state: State, playbook: Playbook, *, customers_max: int) -> int:
    """Fold every memory again up to where the state is, and note by which facets; how many there are."""
    until = state.position()
    passes = 1 + sum(1 for _ in state.customer_ids()) // max(customers_max, 1) if until else 0
    if until:
        say("facets changed: memories are folded again from the log", events=until, passes=passes)
    count = 0
    for number in range(passes):
        memories = _folded(log, state, playbook, until, (number, passes))
        count += len(memories)
        waiting = list(memories.items())
        for start in range(0, len(waiting), _CHECKPOINTS_MAX):
            state.commit(Batch(checkpoints=dict(waiting[start : start + _CHECKPOINTS_MAX])))
    state.commit(Batch(notes={_FACETS: _wanted(playbook), FLOOR: str(until).encode()}))
    return count


def _folded(log: Log, state: State, playbook: Playbook, until: int, part: tuple[int, int]) -> dict[str, Memory]:
    number, passes = part
    memories: dict[str, Memory] = {}
    survivors: dict[str, str] = {}
    for owner, event in _owned(log, until):
        if owner not in survivors:
            survivors[owner] = state.survivor(owner)
        customer_id = survivors[owner]
        if zlib.crc32(customer_id.encode()) % passes != number:
            continue
        try:
            memories[customer_id] = customers.fold(memories.get(customer_id, Memory()), event, playbook)
        except Exception as error:  # noqa: BLE001 - it was set aside when it was first folded, and must stop no start
            say("cannot be folded", position=event.position, reason=f"{type(error).__name__}: {error}")
    return memories


def _owned(log: Log, until: int) -> Iterator[tuple[str, Event]]:
    """Every event about a person with the customer it was folded into, carrying what is theirs of its identifiers."""
    judged = (event for event in log.named(sorted(BY_HAND)) if event.position <= until)
    directory = Directory(apart=apart_at_last(judged))
    after = 0
    while after < until:
        events = log.read(after, min(_EVENTS_MAX, until - after))
        yield from resolved_anew(events, directory).owned
        after = events[-1].position
