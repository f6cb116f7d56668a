"""Taking in what a person has judged of who is who: a merge by hand, two who stay apart, a split.

A split is undone in the log's terms: the events of everybody involved are resolved once more, in order, with the two
kept apart from the beginning, and folded by whose they turn out to be. So what each remembers is what they would if
they had never been one. It is one transaction of the engine, like any turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from wayline.domain import (
    Contact,
    Customer,
    Decision,
    Enrollment,
    Event,
    Identifier,
    Link,
    Memory,
    Merge,
    Split,
    Standing,
)
from wayline.interpretation import customers
from wayline.interpretation.moment import ADDRESS_KINDS
from wayline.observation import identity
from wayline.observation.claims import CLAIMED_IN, SHARED
from wayline.observation.directory import Directory
from wayline.observation.hands import MERGED, SPLIT, is_judgement, merged_by, split_by
from wayline.orchestration.parting import Exposure, divide
from wayline.runtime.people import APART, CUSTOMER
from wayline.runtime.remembering import Noted
from wayline.runtime.troubles import say
from wayline.store import Batch, Delivery, Log, State

if TYPE_CHECKING:
    from wayline.runtime.embedded import Embedded

__all__ = ["Anew", "part", "resolved_anew"]

_EVENTS_MAX = 10_000_000  # of all who are involved in one split
_READINGS_MAX = 4  # of the whole log in one split, each for those drawn in by the one before


def part(owner: Embedded, event: Event, now: datetime) -> int:
    """One event of a person's judgement, in a transaction of its own; how many events were set aside: none."""
    batch = Batch(position=event.position)
    if event.name == SPLIT:
        _split(owner, event, batch)
    else:
        owner.recognised(owner.people.whose(event), batch)
    batch.notes.update(owner.whose_note([Noted(event.position)]))
    owner.commit(batch)
    owner.people.clear()
    owner.position = event.position
    return 0


def _split(owner: Embedded, event: Event, batch: Batch) -> None:
    split, review = split_by(event)
    batch.reviews.append(review)
    family = _Family(owner.state, split)
    if not family.is_split:
        say("nothing to split", loser=split.loser, survivor=split.survivor, position=event.position)
        return
    anew = _lived_again(owner.log, family, event.position)
    sides = _Sides(owner, family, anew)
    batch.splits, batch.merges = _edges(anew.directory, family, split)
    batch.links = list(_moved(anew.directory, family, event))
    standings = sides.standings()
    for side, standing in standings.items():
        batch.checkpoints[side] = memory = replace(sides.memory(side), position=event.position)
        batch.standings[side] = standing
        topics = {topic for e in standing.enrollments if e.is_open for topic in e.topics}
        batch.topics[side] = tuple(sorted(topics))
        owner.customers[side] = Customer(side, memory, standing)
        owner.dirty.discard(side)
    batch.deliveries = list(sides.rekeyed())


def _lived_again(log: Log, family: _Family, until: int) -> Anew:
    """The family's events, with whoever would have joined one of them if they had not been taken for one."""
    found: dict[int, Event] = {}
    read: set[Identifier] = set()
    newcomers: set[str] = set()
    for _ in range(_READINGS_MAX):
        family.take(newcomers)
        # One reading of the whole log for all at once, and in the next for those alone who were drawn in by it.
        about = log.about(sorted(family.handles - read), _EVENTS_MAX)
        found.update((event.position, event) for event in about if event.position < until)
        read |= family.handles
        anew = _anew(found, family)
        merges = anew.directory.merges.values()
        newcomers = {each for merge in merges for each in (merge.loser, merge.survivor)} - family.ids
        if not newcomers:
            return anew
    # Of those not read nothing could be folded again: drawn in, they would lose what is remembered of them.
    say("whoever else would have joined them stays who they are", readings=_READINGS_MAX, people=len(family.ids))
    family.is_closed = True
    return _anew(found, family)


def _anew(found: Mapping[int, Event], family: _Family) -> Anew:
    return resolved_anew([found[position] for position in sorted(found)], Directory(family, family.apart))


class Anew(Struct):
    """Events resolved once more: whose each is, as its customer remembers it."""

    directory: Directory
    owned: list[tuple[str, Event]] = field(default_factory=list)
    confidences: list[tuple[str, float]] = field(default_factory=list)


def resolved_anew(events: Sequence[Event], directory: Directory) -> Anew:
    """Resolve these events in order, with what the directory keeps apart kept apart from the beginning."""
    anew = Anew(directory)
    for event in events:
        if event.name == MERGED and is_judgement(event):
            _merge_again(event, directory)
        elif event.identifiers and event.identifiers[0].kind == CUSTOMER:
            if not is_judgement(event):
                anew.owned.append((directory.survivor(event.identifiers[0].value), event))
        elif event.identifiers:
            found = identity.resolve(event, directory.resolve(identity.handles(event)), directory)
            directory.learn(found)
            anew.owned.append((found.customer_id, replace(event, identifiers=found.identifiers)))
            anew.confidences.append((found.customer_id, found.match_confidence))
    return anew


def _merge_again(event: Event, directory: Directory) -> None:
    merge, _ = merged_by(event, directory.survivor)
    if merge is not None and not directory.are_apart(merge.loser, merge.survivor):
        directory.join(merge)


# ------------------------------------------------------------------ who was taken for one


class _Family:
    """Everybody merged into one customer, and the evidence as it would be without any of them."""

    def __init__(self, state: State, split: Split) -> None:
        self.state = state
        self.root = state.survivor(split.loser)
        self.merges: dict[str, Merge] = {}
        self.ids: set[str] = set()
        self.identifiers: set[Identifier] = set()
        self.handles: set[Identifier] = set()
        self.others: set[str] = set()
        self.is_closed = False
        """Whether nobody more may join them: all others who were met stay who they are."""
        self.take((self.root,))
        edge = self.merges.get(split.loser)
        self.is_split = edge is not None
        judged = [(review.one, review.other) for review in state.reviews(APART)]
        cut = {edge.survivor, self.root} if edge is not None else set()
        self.apart = [*judged, *((split.loser, each) for each in sorted(cut))]

    def take(self, customer_ids: Iterable[str]) -> None:
        """Somebody else, with all who were merged into them, is of this family."""
        for root in {self.state.survivor(each) for each in customer_ids}:
            links = self.state.links(root)
            self.merges |= {merge.loser: merge for merge in self.state.merges(root)}
            self.ids |= {root, *self.merges, *customer_ids}
            self.identifiers |= {link.identifier for link in links if link.identifier.kind not in _NOT_TOLD}
        self.handles = self.identifiers | {Identifier(CUSTOMER, each) for each in self.ids}

    # -- the evidence of all others, for resolution

    def resolve(self, identifiers: Sequence[Identifier]) -> dict[Identifier, str]:
        """The customer of each identifier that was never of this family."""
        others = self.state.resolve([each for each in identifiers if each not in self.identifiers])
        met = {each: customer_id for each, customer_id in others.items() if customer_id not in self.ids}
        self.others.update(met.values())
        return met

    def links(self, customer_id: str) -> Sequence[Link]:
        """The evidence for somebody else."""
        return [] if customer_id in self.ids else self.state.links(customer_id)

    def holders(self, identifier: Identifier) -> Sequence[Link]:
        """Every link of an identifier that was never of this family."""
        return [] if identifier in self.identifiers else self.state.holders(identifier)

    def survivor(self, customer_id: str) -> str:
        """Of somebody else; those of this family begin as themselves."""
        return customer_id if customer_id in self.ids else self.state.survivor(customer_id)

    def merges_count(self, customer_id: str) -> int:
        """Of somebody else."""
        return 0 if customer_id in self.ids else self.state.merges_count(customer_id)

    def sure(self, identifier: Identifier) -> float:
        """Of an identifier of somebody else."""
        ties = {} if identifier in self.identifiers else self.state.ties((identifier,))
        return ties[identifier].confidence if identifier in ties else 1.0

    def are_apart(self, one: str, other: str) -> bool:
        """The directory over this one knows the pairs that were judged; here, who may join no more."""
        return self.is_closed and not self.others.isdisjoint((one, other))


_NOT_TOLD = frozenset({CLAIMED_IN, *SHARED.values()})  # kinds that stand in no event of the log


def _edges(directory: Directory, family: _Family, split: Split) -> tuple[list[Split], list[Merge]]:
    """The merges that would never have been, and those that would have been otherwise."""
    anew = {loser: merge for loser, merge in directory.merges.items() if loser in family.ids}
    ended = [
        Split(loser, merge.survivor, split.evidence, split.at, split.by)
        for loser, merge in family.merges.items()
        if loser not in anew or anew[loser].survivor != merge.survivor
    ]
    gone = {each.loser for each in ended}
    added = [merge for loser, merge in directory.merges.items() if loser not in family.merges or loser in gone]
    return ended, added


def _moved(directory: Directory, family: _Family, event: Event) -> Iterator[Link]:
    """A new link for each identifier that leads elsewhere than its newest link does."""
    for identifier in sorted(family.identifiers):
        made = directory.holders(identifier)
        stored = family.state.holders(identifier)[-1]
        if not made or stored.customer_id not in family.ids:
            continue
        if directory.survivor(stored.customer_id) != directory.survivor(made[-1].customer_id):
            said = f"split: {event.source}/{event.event_id}"
            yield replace(made[-1], source=event.source, at=event.occurred_at, evidence=said)


# ------------------------------------------------------------------ what each is left with


class _Sides:
    """The people that are left, and what of the one standing is whose."""

    def __init__(self, owner: Embedded, family: _Family, anew: Anew) -> None:
        self.owner = owner
        self.family = family
        survivor = anew.directory.survivor
        self.survivor = survivor
        self.owned = [(survivor(customer_id), event) for customer_id, event in anew.owned]
        sure: dict[str, float] = {}
        for customer_id, confidence in anew.confidences:
            side = survivor(customer_id)
            sure[side] = max(confidence, sure.get(side, 0.0))
        ours = {survivor(each) for each in family.ids}
        ours |= {side for side, _ in self.owned if side in family.ids or not owner.state.load([side])}
        first = survivor(family.root)
        self.confidences = {side: sure.get(side, 0.5) for side in (first, *sorted(ours - {first}))}
        self.first = first
        self.mailboxes = {
            (each.kind, each.value): survivor(made[-1].customer_id)
            for each in family.identifiers
            if (made := anew.directory.holders(each))
        }
        self.entering: dict[datetime, list[tuple[Event, str]]] = {}
        for side, event in self.owned:
            if side in self.confidences:
                self.entering.setdefault(event.occurred_at, []).append((event, side))
        self.before = owner.customer(family.root).standing
        self.decisions = {each.decision_id: each for each in owner.state.decisions(family.root)}
        self.rows = list(owner.state.deliveries(family.root))

    def memory(self, side: str) -> Memory:
        """What is remembered of one side: the fold of its own events."""
        memory = Memory()
        for whose, event in self.owned:
            if whose != side:
                continue
            try:
                memory = customers.fold(memory, event, self.owner.playbook)
            except Exception as error:  # noqa: BLE001 - it was set aside when it was first folded, and must stop no split
                say("cannot be folded", position=event.position, reason=f"{type(error).__name__}: {error}")
        return memory

    def standings(self) -> dict[str, Standing]:
        """Where each side stands."""
        return divide(
            self.before,
            self.confidences,
            entered_by=self._entered,
            reached=self._of_contact,
            exposures=list(self._exposures()),
        )

    def rekeyed(self) -> Iterator[Delivery]:
        """What has not left goes with the enrollment that waits for it."""
        waiting = {each.pending: self._entered(each) for each in self.before.enrollments if each.is_open}
        for row in self.rows:
            side = waiting.get(row.decision_id)
            if row.state == "pending" and side is not None and self.survivor(row.customer_id) != side:
                yield replace(row, customer_id=side)

    def _entered(self, enrollment: Enrollment) -> str:
        """The side whose event entered it."""
        journey = self.owner.playbook.journeys.get(enrollment.version)
        names = journey.enters_on if journey is not None else ()
        property_name = journey.reentry.key if journey is not None and journey.reentry.mode == "per" else ""
        for event, side in self.entering.get(enrollment.entered_at, ()):
            is_key = not property_name or str(event.properties.get(property_name)) == enrollment.key
            if is_key and (not names or event.name in names):
                return side
        return self.first

    def _of_contact(self, contact: Contact) -> str:
        decision = self.decisions.get(contact.decision_id)
        if decision is not None:
            return self._reached(decision)
        return self._of_journey(contact.journey, "")

    def _reached(self, decision: Decision) -> str:
        """Whom a decision reached: whoever it was decided for, and since they were one, whose address it went to."""
        if decision.customer_id in self.family.ids and self.survivor(decision.customer_id) != self.first:
            return self.survivor(decision.customer_id)
        action = decision.action
        if action is None:
            return self.first
        kind = ADDRESS_KINDS.get(action.channel, "")
        key = decision.facts.get(f"address.{action.channel}")
        side = self.mailboxes.get((kind, str(key)))
        return side if side in self.confidences else self._of_journey(action.journey, decision.key)

    def _of_journey(self, journey: str, key: str) -> str:
        inside = [each for each in self.before.enrollments if each.journey == journey and key in ("", each.key)]
        return self._entered(inside[-1]) if inside else self.first

    def _exposures(self) -> Iterator[Exposure]:
        settled = {row.decision_id: row for row in self.rows if row.state in ("sent", "withheld", "unknown")}
        for decision in self.decisions.values():
            row = settled.get(decision.decision_id)
            if decision.assignments and (row is not None or decision.lane == "onsite"):
                at = row.settled_at if row is not None else None
                yield Exposure(self._reached(decision), at or decision.decided_at, decision.assignments)
