"""The whole store in memory, for the simulator, tests and dry runs: complete, and gone when the process ends.

It keeps the very values it was given (they are frozen), so nothing is encoded and nothing is copied.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice, takewhile
from threading import RLock
from typing import Any

from msgspec.structs import replace

from wayline.domain import (
    Address,
    Customer,
    Decision,
    EntryRefusal,
    Event,
    Hold,
    Identifier,
    Link,
    Memory,
    Merge,
    Product,
    Review,
    Split,
    Standing,
    Tie,
)
from wayline.errors import Broken
from wayline.store import (
    REJECTED_BODY_MAX,
    REJECTED_BYTES_MAX,
    Appended,
    Batch,
    Change,
    Delivery,
    DeliveryState,
    Rejection,
    SetAside,
    Volume,
)
from wayline.store.duplicates import CONFLICTS_MAX, is_same_content
from wayline.store.encoding import Encoded, hour_of, marks_of
from wayline.store.lineage import asked_once, check_merges, check_splits, root_of, tie_of
from wayline.store.outbox import SETTLED, TRANSITIONS, check_move, is_born
from wayline.store.seal import pseudonym
from wayline.store.told import Kept, Told, take_in
from wayline.store.volumes import Counting

__all__ = ["MemoryLog", "MemoryState", "MemoryVault"]


class MemoryLog:
    """What happened, in a list."""

    def __init__(self, *, rejected_bytes_max: int = REJECTED_BYTES_MAX) -> None:
        self._rejected_bytes_max = rejected_bytes_max
        self._rejected_bytes = 0
        self._events: list[Event] = []
        self._places: dict[tuple[str, str], int] = {}
        self._conflicts: dict[int, list[Event]] = {}
        self._rejections: dict[int, Rejection] = {}
        self._numbers = 0
        self._counting = Counting()
        self._counts = {"stored": 0, "duplicate": 0, "conflict": 0, "rejected": 0}
        self._lock = RLock()

    def append(self, events: Sequence[Event | Encoded], rejections: Sequence[Rejection] = ()) -> Appended:
        with self._lock:
            before = dict(self._counts)
            beside: Counter[tuple[str, str]] = Counter()
            for one in events:
                event = one.event if isinstance(one, Encoded) else one
                verdict = self._keep(event)
                self._counts[verdict] += 1
                if verdict == "stored":
                    self._counting.stored(hour_of(event.received_at), event.source, event.name, marks_of(event))
                else:
                    beside[event.source, verdict] += 1
                    self._counting.again(event, is_conflict=verdict == "conflict")
            for rejection in rejections:
                self._keep_rejected(rejection.within(REJECTED_BODY_MAX))
            self._counts["rejected"] += len(rejections)
            stored, duplicates, conflicts = (
                self._counts[name] - before[name] for name in ("stored", "duplicate", "conflict")
            )
            return Appended(stored, duplicates, conflicts, len(self._events), beside=beside)

    def _keep_rejected(self, rejection: Rejection) -> None:
        self._numbers += 1
        self._rejections[self._numbers] = rejection
        self._rejected_bytes += len(rejection.body)
        self._counting.rejected(rejection)
        while self._rejected_bytes > self._rejected_bytes_max:
            self._forget_rejected(next(iter(self._rejections)))

    def _forget_rejected(self, number: int) -> bool:
        gone = self._rejections.pop(number, None)
        self._rejected_bytes -= len(gone.body) if gone is not None else 0
        return gone is not None

    def _keep(self, event: Event) -> str:
        position = len(self._events) + 1
        known = self._places.setdefault((event.source, event.event_id), position)
        if known == position:
            self._events.append(replace(event, position=position))
            return "stored"
        beside = self._conflicts.get(known, [])
        if any(is_same_content(one, event) for one in (self._events[known - 1], *beside)):
            return "duplicate"
        if len(beside) < CONFLICTS_MAX:
            self._conflicts.setdefault(known, []).append(replace(event, position=known))
        return "conflict"

    def holds(self, keys: Sequence[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        return frozenset(keys) & self._places.keys()

    def read(self, after: int, count_max: int) -> list[Event]:
        return self._events[max(after, 0) : max(after, 0) + count_max]

    def named(self, names: Sequence[str], after: int = 0) -> Iterator[Event]:
        wanted = frozenset(names)
        return (event for event in self._events[max(after, 0) :] if event.name in wanted)

    def about(self, identifiers: Sequence[Identifier], count_max: int) -> list[Event]:
        wanted = frozenset(identifiers)
        found: list[Event] = []
        for event in reversed(self._events):
            if len(found) >= count_max:
                break
            if not wanted.isdisjoint(event.identifiers):
                found.append(event)
        return found[::-1]

    def chronicle(self) -> Iterator[Event]:
        return iter(sorted(self._events, key=lambda event: event.known_at))

    def head(self) -> int:
        return len(self._events)

    def rejections(self, count_max: int = 1000) -> list[Rejection]:
        return [rejection for _, rejection in self.rejected(0, count_max)]

    def rejected(self, before: int, count_max: int, *, is_whole: bool = True) -> list[tuple[int, Rejection]]:
        with self._lock:
            found = [(number, self._rejections[number]) for number in self.rejected_numbers(before, count_max)]
        return found if is_whole else [(number, replace(one, body=b"")) for number, one in found]

    def rejected_numbers(self, before: int, count_max: int) -> list[int]:
        with self._lock:
            newest = (number for number in reversed(self._rejections) if not before or number < before)
            return list(islice(newest, max(count_max, 0)))

    def rejected_kept(self) -> int:
        return len(self._rejections)

    def let_go(self, numbers: Sequence[int]) -> int:
        with self._lock:
            return sum(self._forget_rejected(number) for number in set(numbers))

    def volumes(self, since: datetime) -> list[Volume]:
        with self._lock:
            return self._counting.volumes(since)

    def conflicts(self, count_max: int = 1000) -> list[Event]:
        with self._lock:
            return [event for place in sorted(self._conflicts) for event in self._conflicts[place]][:count_max]

    def counts(self) -> Mapping[str, int]:
        return dict(self._counts)

    def close(self) -> None:
        pass  # nothing to give up


class _Agenda:
    """Keys by the instant they are due: a heap whose outdated entries are passed over when they surface."""

    def __init__(self) -> None:
        self._at: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []

    def put(self, key: str, at: datetime | None) -> None:
        if at is None:
            self._at.pop(key, None)
        elif self._at.get(key) != at:
            self._at[key] = at
            heapq.heappush(self._heap, (at, key))
            if len(self._heap) > 2 * len(self._at) + 64:
                self._heap = [(at, key) for key, at in self._at.items()]
                heapq.heapify(self._heap)

    def first(self) -> datetime | None:
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def until(self, now: datetime, count_max: int) -> list[tuple[datetime, str]]:
        found: list[tuple[datetime, str]] = []
        while len(found) < count_max:
            first = self.first()
            if first is None or first > now:
                break
            entry = heapq.heappop(self._heap)
            if not found or found[-1] != entry:  # an instant that was left and come back to is there twice
                found.append(entry)
        for entry in found:
            heapq.heappush(self._heap, entry)
        return found

    def __len__(self) -> int:
        return len(self._at)


class MemoryState:
    """Where everybody stands, in dicts.

    One that keeps no records is for dry runs, which count what is decided as it happens: decisions, settled deliveries,
    refused entries and notes are let go, so that what it holds grows with the people and not with the years.
    """

    def __init__(self, *, keeps_records: bool = True) -> None:
        self._keeps_records = keeps_records
        self._lock = RLock()
        self._position = 0
        self._customers: dict[str, tuple[Memory, Standing]] = {}
        self._checkpointed: set[str] = set()
        self._links: list[Link] = []
        self._links_of: dict[str, list[int]] = {}
        self._links_by: dict[Identifier, list[int]] = {}
        self._merges: dict[str, Merge] = {}
        self._losers_of: dict[str, list[str]] = {}
        self._splits: list[Split] = []
        self._reviews: dict[str, Review] = {}
        self._decisions: dict[str, Decision] = {}
        self._decisions_of: dict[str, list[str]] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._in_state: dict[str, dict[str, None]] = {state: {} for state in TRANSITIONS}
        self._addresses: dict[tuple[str, str], Address] = {}
        self._products: dict[str, Product] = {}
        self._spent: Counter[str] = Counter()
        self._refused: dict[tuple[str, str, str, str], tuple[EntryRefusal, int]] = {}
        self._set_aside: dict[tuple[int, str], SetAside] = {}
        self._topics: dict[str, tuple[str, ...]] = {}
        self._waiting: dict[str, dict[str, None]] = {}
        self._notes: dict[str, bytes] = {}
        self._changes: dict[tuple[bool, str], int] = {}  # in order of number, for each row the newest only
        self._change = 0
        self._wakes = _Agenda()
        self._pending = _Agenda()
        self._attempting = _Agenda()

    # ------------------------------------------------------------------ writing

    def commit(self, batch: Batch) -> None:
        if not self._keeps_records:
            batch = replace(batch, decisions=[], holds=[], refused_entries=[], notes={})
        with self._lock:
            deliveries = self._checked(batch)
            self._put_customers(batch)
            self._put_world(batch)
            self._end_merges(batch.splits)
            self._put_links(batch.links, batch.merges)
            self._put_reviews(batch.reviews)
            self._put_decisions(batch.decisions, batch.holds)
            for delivery in deliveries.values():
                self._put_delivery(delivery)
            if batch.position is not None:
                self._position = batch.position

    def _checked(self, batch: Batch) -> dict[str, Delivery]:
        if batch.position is not None and batch.position < self._position:
            raise Broken(f"commit at position {batch.position}: the state is at {self._position} already")
        offered = {decision.decision_id for decision in batch.decisions} if batch.holds else set()
        for hold in batch.holds:
            if hold.decision_id not in self._decisions and hold.decision_id not in offered:
                raise Broken(f"hold of decision {hold.decision_id!r}, which was never recorded")
        check_splits(batch.splits, self._survivor_of)
        ended = {split.loser for split in batch.splits}
        check_merges(batch.merges, lambda one: None if one in ended else self._survivor_of(one))
        kept: dict[str, Delivery] = {}
        for delivery in batch.deliveries:
            stored = kept.get(delivery.decision_id) or self._deliveries.get(delivery.decision_id)
            if stored is not None and is_born(delivery) and not is_born(stored):
                continue
            if stored is not None:
                check_move(stored.state, stored.attempts, delivery)
            kept[delivery.decision_id] = delivery
        return kept

    def _put_customers(self, batch: Batch) -> None:
        for customer_id, memory in batch.checkpoints.items():
            self._customers[customer_id] = (memory, self._customers.get(customer_id, _NOBODY)[1])
        self._checkpointed.update(batch.checkpoints)
        for customer_id, standing in batch.standings.items():
            self._customers[customer_id] = (self._customers.get(customer_id, _NOBODY)[0], standing)
            self._wakes.put(customer_id, standing.wake_at)

    def _put_links(self, links: Iterable[Link], merges: Iterable[Merge]) -> None:
        for link in links:
            self._links_of.setdefault(link.customer_id, []).append(len(self._links))
            self._links_by.setdefault(link.identifier, []).append(len(self._links))
            self._links.append(link)
            self._customers.setdefault(link.customer_id, _NOBODY)
        for merge in merges:
            if merge.loser not in self._merges:
                self._merges[merge.loser] = merge
                self._losers_of.setdefault(merge.survivor, []).append(merge.loser)
            # Whoever was merged away wants nothing any more: the survivor wakes and waits for both.
            self._wakes.put(merge.loser, None)
            self._wait_on(merge.loser, ())

    def _end_merges(self, splits: Iterable[Split]) -> None:
        for split in splits:
            del self._merges[split.loser]
            self._losers_of[split.survivor].remove(split.loser)
            self._splits.append(split)

    def _put_reviews(self, reviews: Iterable[Review]) -> None:
        for review in reviews:
            kept = asked_once(self._reviews.get(review.review_id), review)
            if kept is not None:
                self._reviews[kept.review_id] = kept

    def _put_decisions(self, decisions: Iterable[Decision], holds: Iterable[Hold]) -> None:
        for decision in decisions:
            if decision.decision_id not in self._decisions:
                self._decisions[decision.decision_id] = decision
                self._decisions_of.setdefault(decision.customer_id, []).append(decision.decision_id)
                self._note_change(is_delivery=False, key=decision.decision_id)
        for hold in holds:
            held = self._decisions[hold.decision_id]
            self._decisions[hold.decision_id] = replace(held, count=held.count + 1, until=hold.until)
            self._note_change(is_delivery=False, key=hold.decision_id)

    def _put_delivery(self, delivery: Delivery) -> None:
        key, state = delivery.decision_id, delivery.state
        stored = self._deliveries.get(key)
        if stored is not None:
            self._in_state[stored.state].pop(key, None)
        self._deliveries[key] = delivery
        self._in_state[state][key] = None
        self._note_change(is_delivery=True, key=key)
        self._pending.put(key, delivery.due_at if state == "pending" else None)
        self._attempting.put(key, (delivery.lease_until or delivery.due_at) if state == "attempting" else None)
        if not self._keeps_records and state in SETTLED:
            del self._deliveries[key], self._in_state[state][key]

    def _note_change(self, *, is_delivery: bool, key: str) -> None:
        if not self._keeps_records:
            return
        self._change += 1
        self._changes.pop((is_delivery, key), None)
        self._changes[is_delivery, key] = self._change

    def _put_world(self, batch: Batch) -> None:
        for address in batch.addresses:
            self._addresses[address.channel, address.key] = address
        for product in batch.products:
            self._products[product.sku] = product
        self._spent.update(batch.spends)
        for customer_id, refusal in batch.refused_entries:
            row = (customer_id, refusal.journey, refusal.key, refusal.reason)
            self._refused[row] = (refusal, self._refused[row][1] + 1 if row in self._refused else 1)
        for aside in batch.set_aside:
            self._set_aside.setdefault((aside.position, aside.customer_id), aside)
        for customer_id, topics in batch.topics.items():
            self._wait_on(customer_id, topics)
        self._notes.update(batch.notes)
        if batch.shipped is not None:
            self._changes = {row: number for row, number in self._changes.items() if number > batch.shipped}

    def _wait_on(self, customer_id: str, topics: tuple[str, ...]) -> None:
        for topic in self._topics.pop(customer_id, ()):
            waiting = self._waiting[topic]
            waiting.pop(customer_id, None)
            if not waiting:
                del self._waiting[topic]
        if topics:
            self._topics[customer_id] = topics
            for topic in topics:
                self._waiting.setdefault(topic, {})[customer_id] = None

    # ------------------------------------------------------------------ customers

    def position(self) -> int:
        return self._position

    def load(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        with self._lock:
            rows = self._customers
            return {one: Customer(one, *rows[one]) for one in customer_ids if one in rows}

    def resolve(self, identifiers: Sequence[Identifier]) -> dict[Identifier, str]:
        with self._lock:
            newest = ((one, self._links_by[one][-1]) for one in identifiers if one in self._links_by)
            return {one: self.survivor(self._links[place].customer_id) for one, place in newest}

    def ties(self, identifiers: Sequence[Identifier]) -> dict[Identifier, Tie]:
        with self._lock:
            newest = ((one, self._links[self._links_by[one][-1]]) for one in identifiers if one in self._links_by)
            return {one: tie_of(link, self._merges.get) for one, link in newest}

    def links(self, customer_id: str) -> list[Link]:
        with self._lock:
            places = sorted(place for one in self._family(customer_id) for place in self._links_of.get(one, ()))
            return [self._links[place] for place in places]

    def merges(self, customer_id: str | None = None) -> list[Merge]:
        with self._lock:
            family = self._merges if customer_id is None else self._family(customer_id)
            return [merge for loser, merge in self._merges.items() if loser in family]

    def merges_count(self, customer_id: str) -> int:
        with self._lock:
            return len(self._family(customer_id)) - 1

    def splits(self, customer_id: str | None = None) -> list[Split]:
        with self._lock:
            return [one for one in self._splits if customer_id in (None, one.loser, one.survivor)]

    def reviews(self, states: Sequence[str] = (), customer_id: str | None = None) -> list[Review]:
        with self._lock:
            found = (one for one in self._reviews.values() if not states or one.state in states)
            theirs = [one for one in found if customer_id in (None, one.one, one.other)]
            return sorted(theirs, key=lambda one: (-one.confidence, one.review_id))

    def review(self, review_id: str) -> Review | None:
        return self._reviews.get(review_id)

    def holders(self, identifier: Identifier) -> list[Link]:
        with self._lock:
            return [self._links[place] for place in self._links_by.get(identifier, ())]

    def survivor(self, customer_id: str) -> str:
        return root_of(customer_id, self._survivor_of)

    def _survivor_of(self, customer_id: str) -> str | None:
        merge = self._merges.get(customer_id)
        return merge.survivor if merge is not None else None

    def _family(self, customer_id: str) -> dict[str, None]:
        family = {self.survivor(customer_id): None}
        waiting = list(family)
        while waiting:
            losers = self._losers_of.get(waiting.pop(), [])
            family.update(dict.fromkeys(losers))
            waiting.extend(losers)
        return family

    def customer_ids(self) -> Iterator[str]:
        with self._lock:
            return iter(sorted(one for one in self._customers if one not in self._merges))

    # ------------------------------------------------------------------ what wants attention

    def due(self, now: datetime, count_max: int) -> list[tuple[datetime, str]]:
        with self._lock:
            return self._wakes.until(now, count_max)

    def next_due(self) -> datetime | None:
        with self._lock:
            return min((at for at in (self._wakes.first(), self._pending.first()) if at is not None), default=None)

    def waiting_on(self, topics: Sequence[str]) -> list[str]:
        with self._lock:
            return sorted({one for topic in topics for one in self._waiting.get(topic, ())})

    def outbox(self, state: DeliveryState, now: datetime, count_max: int) -> list[Delivery]:
        with self._lock:
            if state in ("pending", "attempting"):
                agenda = self._pending if state == "pending" else self._attempting
                return [self._deliveries[key] for _, key in agenda.until(now, count_max)]
            rows = [self._deliveries[key] for key in self._in_state[state]]
            return sorted(rows, key=lambda row: (row.created_at, row.decision_id))[:count_max]

    # ------------------------------------------------------------------ records

    def delivery(self, decision_id: str) -> Delivery | None:
        return self._deliveries.get(decision_id)

    def decision(self, decision_id: str) -> Decision | None:
        return self._decisions.get(decision_id)

    def decisions(self, customer_id: str | None = None) -> Iterator[Decision]:
        with self._lock:
            rows: Iterable[Decision] = self._decisions.values()
            if customer_id is not None:
                of = self._decisions_of
                rows = [self._decisions[key] for one in self._family(customer_id) for key in of.get(one, ())]
            return iter(sorted(rows, key=lambda row: (row.decided_at, row.decision_id)))

    def deliveries(self, customer_id: str | None = None) -> Iterator[Delivery]:
        with self._lock:
            rows: Iterable[Delivery] = self._deliveries.values()
            if customer_id is not None:
                family = self._family(customer_id)
                rows = [row for row in rows if row.customer_id in family]
            return iter(sorted(rows, key=lambda row: (row.created_at, row.decision_id)))

    def changes(self, after: int, count_max: int) -> list[Change]:
        with self._lock:
            newer = takewhile(lambda row: self._changes[row] > after, reversed(self._changes))
            oldest = list(newer)[::-1][:count_max]
            return [Change(self._changes[row], self._changed(*row)) for row in oldest]

    def _changed(self, is_delivery: bool, key: str) -> Decision | Delivery:
        return self._deliveries[key] if is_delivery else self._decisions[key]

    def refused_entries(self) -> Iterator[tuple[str, EntryRefusal, int]]:
        with self._lock:
            return iter([(row[0], *self._refused[row]) for row in sorted(self._refused)])

    def set_asides(self) -> list[SetAside]:
        with self._lock:
            return [self._set_aside[row] for row in sorted(self._set_aside)]

    def address(self, channel: str, key: str) -> Address | None:
        return self._addresses.get((channel, key))

    def products(self) -> Iterator[Product]:
        with self._lock:
            return iter([self._products[sku] for sku in sorted(self._products)])

    def spent(self) -> Mapping[str, int]:
        return dict(self._spent)

    def note(self, name: str) -> bytes | None:
        return self._notes.get(name)

    def counts(self) -> Mapping[str, int]:
        with self._lock:
            tables = {
                "customers": len(self._customers),
                "checkpoints": len(self._checkpointed),
                "wakes": len(self._wakes),
                "links": len(self._links),
                "merges": len(self._merges),
                "splits": len(self._splits),
                "reviews": len(self._reviews),
                "decisions": len(self._decisions),
                "deliveries": len(self._deliveries),
                "addresses": len(self._addresses),
                "products": len(self._products),
                "topics": sum(map(len, self._waiting.values())),
                "refused_entries": len(self._refused),
                "set_aside": len(self._set_aside),
            }
            return tables | {f"deliveries.{state}": len(rows) for state, rows in self._in_state.items()}

    def close(self) -> None:
        pass  # nothing to give up


_NOBODY = (Memory(), Standing())


class MemoryVault:
    """Personal values in a dict, readable by whoever holds the process; pseudonyms are keyed all the same."""

    def __init__(self, key: bytes = b"not a secret: memory only") -> None:
        self._key = key
        self._values: dict[str, Kept] = {}
        self._lock = RLock()

    def keyed(self, kind: str, value: str) -> str:
        return pseudonym(self._key, kind, value)

    def put(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        self.keep([Told(values)])

    def keep(self, told: Sequence[Told]) -> None:
        with self._lock:
            for each in told:
                for subject, personal in each.values.items():
                    take_in(self._values.setdefault(subject, {}), personal, each.weight)

    def get(self, subjects: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        with self._lock:
            kept = {one: self._values[one] for one in subjects if one in self._values}
            return {one: {name: value for name, (_, value) in values.items()} for one, values in kept.items()}

    def forget(self, subjects: Sequence[str]) -> int:
        with self._lock:
            return sum(self._values.pop(subject, None) is not None for subject in subjects)

    def close(self) -> None:
        pass  # nothing to give up
