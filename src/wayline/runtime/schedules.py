"""Schedules: internal events for everybody in an audience, with deterministic ids, in the log like any other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from wayline.domain import Customer, Event, Identifier, Schedule, World
from wayline.governance.consent import zone_of
from wayline.interpretation.moment import Moment
from wayline.observation.identity import is_shared
from wayline.runtime.embedded import Embedded
from wayline.runtime.people import CUSTOMER

__all__ = ["INTERNAL", "Schedules", "due_between"]

INTERNAL = "wayline"
"""Source of the events the engine writes itself."""


def due_between(schedule: Schedule, after: datetime, until: datetime, zone: str) -> Iterator[datetime]:
    """The instants of a schedule in (after, until], by the clock of the shop's zone."""
    where = zone_of(zone)
    every = max(schedule.every, timedelta(days=1))
    day = schedule.starts_on
    start = after.astimezone(where).date() - timedelta(days=1)
    if start > day:
        day += every * ((start - day) // every)
    while True:
        instant = datetime.combine(day, schedule.at, tzinfo=where).astimezone(UTC)
        if instant > until:
            return
        if instant > after:
            yield instant
        day += every


class Schedules:
    """Turns the clock into events: remembers how far it has come, and repeats nothing after a crash."""

    NOTE = "schedules_until"

    def __init__(self, owner: Embedded) -> None:
        self.owner = owner
        stored = owner.state.note(self.NOTE)
        self.until = datetime.fromisoformat(stored.decode()) if stored else None

    def events(self, now: datetime) -> list[Event]:
        """The internal events due up to now; offered again after a crash, they are duplicates of themselves."""
        after, self.until = self.until, now
        if after is None:
            return []  # a schedule starts with the engine; it does not make up for the time before
        found: list[Event] = []
        for schedule in self.owner.playbook.schedules:
            for instant in due_between(schedule, after, now, self.owner.playbook.policy.zone):
                found.extend(self._for_audience(schedule, instant, now))
        return found

    def note(self) -> dict[str, bytes]:
        """How far the schedules have come, to be committed after their events are in the log."""
        return {self.NOTE: self.until.isoformat().encode()} if self.until else {}

    def _for_audience(self, schedule: Schedule, instant: datetime, now: datetime) -> Iterator[Event]:
        world = self.owner.world(now)
        for customer_id in self.owner.state.customer_ids():
            self.owner.make_room()
            if not is_shared(customer_id) and self._is_in(schedule, self.owner.customer(customer_id), world):
                yield Event(
                    event_id=f"{schedule.event}:{instant.isoformat()}:{customer_id}",
                    source=INTERNAL,
                    name=schedule.event,
                    kind="internal",
                    identifiers=(Identifier(CUSTOMER, customer_id),),
                    occurred_at=instant,
                    received_at=now,
                )

    def _is_in(self, schedule: Schedule, customer: Customer, world: World) -> bool:
        if schedule.audience is None:
            return True
        return schedule.audience.evaluate(Moment(customer, self.owner.playbook, world).fact, world.now) is True
