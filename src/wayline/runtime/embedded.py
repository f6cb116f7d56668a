"""The engine in one process: a loop of micro-batches around the turn.

One cycle folds everything acknowledged so far, wakes who is due, and hands over what waits to leave, each in
transactions of their own. Whoever stops it anywhere loses nothing: events are in the log, standings, decisions and
outbox rows were committed together with the log position they include, and memories are folded again from the last
checkpoint. There is one writer: this loop.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from wayline import engine
from wayline.channels import Channel
from wayline.domain import (
    Address,
    Ask,
    Customer,
    Decision,
    Event,
    Playbook,
    Product,
    Stimulus,
    Turn,
    Wake,
    World,
)
from wayline.engine import Model
from wayline.errors import Broken
from wayline.governance.consent import zone_of
from wayline.interpretation import customers
from wayline.observation import catalog
from wayline.observation.hands import is_judgement
from wayline.observation.quality import counts_for_shelf
from wayline.orchestration import policy
from wayline.orchestration.gates import spread
from wayline.runtime.answering import guarded
from wayline.runtime.handover import Outbox, Rendering
from wayline.runtime.parting import part
from wayline.runtime.people import People, Whose
from wayline.runtime.refolding import FLOOR, is_outdated, refold
from wayline.runtime.remembering import Noted, as_theirs, decode, encode, remade
from wayline.runtime.troubles import say
from wayline.store import Batch, Delivery, Log, SetAside, State, Vault

__all__ = ["Embedded", "Limits", "Progress", "calm_collector", "shelf_of"]


_TELLING = frozenset(
    {
        "Cart Viewed",
        "Inventory Changed",
        "Order Completed",
        "Price Changed",
        "Product Changed",
        "Product Added",
        "Product Clicked",
        "Product List Viewed",
        "Product Viewed",
        "Store Purchase",
    }
)

_SALES_LOOKED_BACK = 1_000_000  # events a start reads through for sales: seconds, whatever the age of the log


class Limits(Struct, frozen=True):
    """How much is done at a time, and how much is kept at hand."""

    events_max: int = 1000
    """Events folded in one transaction."""
    wakes_max: int = 1000
    """Customers woken in one transaction."""
    claims_max: int = 40
    """Messages claimed for hand-over at a time: what a crash can leave unclear."""
    customers_max: int = 200_000
    """Customers kept in memory."""
    checkpoint_every: int = 100_000
    """Events after which changed memories are written back: what a restart folds again at most."""


class Progress(Struct):
    """What one cycle did."""

    events: int = 0
    wakes: int = 0
    handed_over: int = 0
    set_aside: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.events or self.wakes or self.handed_over)


def calm_collector() -> None:
    """Tell the garbage collector that this process holds many values for long, none of which can hold itself.

    Looking through all of them again and again cost half the time of a turn; for whoever runs the loop to call once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


class Embedded:
    """The loop and what it keeps at hand: customers, the shelf, who is behind which identifier."""

    def __init__(
        self,
        log: Log,
        state: State,
        vault: Vault,
        playbook: Playbook,
        channels: Mapping[str, Channel],
        *,
        limits: Limits | None = None,
        models: Mapping[str, Model] | None = None,
        newcomer: Callable[[str], Customer] = Customer,
    ) -> None:
        self.log = log
        self.state = state
        self.vault = vault
        self.playbook = playbook
        self.limits = limits or Limits()
        self.models = {question: guarded(question, model) for question, model in (models or {}).items()}
        self.newcomer = newcomer
        """Somebody never seen before; a dry run says here what it assumes of everybody."""
        self.shelf = self._stocked()
        self.customers: dict[str, Customer] = {}
        self.dirty: set[str] = set()
        self.people = People(state)
        self.decided: dict[str, Decision] = {}
        self.allotments: dict[str, int] = {}
        self.on_decided: Callable[[Decision], None] | None = None
        """Told of every decision as it is taken; what shows progress listens here."""
        self.on_turn: Callable[[Customer, Stimulus, Turn], None] | None = None
        """Told of every turn: who it was before, what asked for it, what came of it; what counts listens here."""
        self._spent: dict[str, int] = {}
        self._today = ""
        self._addresses: dict[tuple[str, str], Address | None] = {}
        self._since_checkpoint = 0
        self._notes_count = 0
        self.position = state.position()
        self.outbox = Outbox(self, channels, Rendering(playbook, vault, self.shelf))
        if is_outdated(state, playbook):
            refold(log, state, playbook, customers_max=self.limits.customers_max)
        self._recover()

    # ------------------------------------------------------------------ one cycle

    def cycle(self, now: datetime) -> Progress:
        """Fold all that was acknowledged, wake who is due, hand over what may leave. Once each, bounded."""
        progress = Progress()
        with self._whole(now):
            self._fold_acknowledged(now, progress)
            self._wake_due(now, progress)
            progress.handed_over += self.outbox.hand_over(now)
        return progress

    def drain(self, now: datetime, *, cycles_max: int = 100_000) -> Progress:
        """Cycle until nothing is left to do at this instant."""
        total = Progress()
        for _ in range(cycles_max):
            done = self.cycle(now)
            total.events += done.events
            total.wakes += done.wakes
            total.handed_over += done.handed_over
            total.set_aside += done.set_aside
            if done.is_idle:
                break
        return total

    def catch_up(self, now: datetime) -> None:
        """The log barrier: fold everything acknowledged up to here, so that what leaves next was decided knowing it."""
        self._fold_acknowledged(now, Progress())

    def ask(self, customer_id: str, ask: Ask, now: datetime) -> Turn:
        """Answer a page at once; asked again with the same request id, the decision is the same."""
        with self._whole(now):
            self.catch_up(now)
            shown = self._shown(customer_id, ask.request_id)
            if shown is not None:
                return Turn(self.customer(customer_id), (shown,))
            batch = Batch()
            turn = self.turn(self.customer(customer_id), ask, self.world(now), batch)
            if batch != Batch():
                self.commit(batch)
            return turn

    def _shown(self, customer_id: str, request_id: str) -> Decision | None:
        """What this request was answered before, also to whom this customer was before a merge.

        A request that was shown nothing is judged again: there is nothing that a second answer could contradict.
        """
        shown = self.state.decision(policy.shown_to(customer_id, request_id))
        if shown is not None:
            return shown
        losers = (merge.loser for merge in self.state.merges(customer_id))
        return next(filter(None, (self.state.decision(policy.shown_to(one, request_id)) for one in losers)), None)

    @contextmanager
    def _whole(self, now: datetime) -> Iterator[None]:
        """Whatever is begun here ends as it should, or all that is at hand is forgotten: the store has it."""
        try:
            if self.position < 0:
                self.shelf = self.outbox.rendering.shelf = self._stocked()
                self._recover()
                self.outbox.recover(now)
            yield
        except BaseException:
            self.customers.clear()
            self.dirty.clear()
            self.people.clear()
            self.decided.clear()
            self._addresses.clear()
            self.position = -1
            raise

    def _fold_acknowledged(self, now: datetime, progress: Progress) -> None:
        head = self.log.head()
        while self.position < head:
            events = self.log.read(self.position, self.limits.events_max)
            if not events:
                break
            # What a person has judged of who is who stands alone: what is before and after it is other people's.
            at = next((place for place, event in enumerate(events) if is_judgement(event)), len(events))
            events = events[: max(at, 1)]
            progress.set_aside += part(self, events[0], now) if at == 0 else self._fold_batch(events, now)
            progress.events += len(events)
            self._since_checkpoint += len(events)
            if self._since_checkpoint >= self.limits.checkpoint_every:
                self.checkpoint()

    def _wake_due(self, now: datetime, progress: Progress) -> None:
        due = self.state.due(now, self.limits.wakes_max)
        if not due:
            return
        self._load(customer_id for _, customer_id in due)
        batch = Batch()
        world = self.world(now)
        wave = [(self.customers[customer_id], Wake(due_at)) for due_at, customer_id in due]
        progress.set_aside += self._take_wave(wave, world, batch)
        self.commit(batch)
        progress.wakes += len(due)

    # ------------------------------------------------------------------ turns

    def world(self, now: datetime, position: int | None = None) -> World:
        """What is true outside the customers, as of this batch."""
        self._allot(now)
        return World(
            now=now,
            catalog=self.shelf,
            addresses=self,
            allotments=self.allotments,
            position=self.position if position is None else position,
        )

    def _allot(self, now: datetime) -> None:
        """A budget is for a day, by the shop's clock: what is left of each today."""
        today = now.astimezone(zone_of(self.playbook.policy.zone)).date().isoformat()
        if today == self._today:
            return
        self._today = today
        budgets: Mapping[str, int] = self.playbook.settings.get("budgets", {})
        self.allotments = {name: most - self._spent.get(f"{name}@{today}", 0) for name, most in budgets.items()}

    def get(self, channel: str, key: str) -> Address | None:
        """What is known of an address (the `Addresses` of the world)."""
        at = (channel, key)
        if at not in self._addresses:
            self._addresses[at] = self.state.address(channel, key)
        return self._addresses[at]

    def customer(self, customer_id: str) -> Customer:
        """A customer as they stand now; somebody new if never seen."""
        if customer_id not in self.customers:
            self._load((customer_id,))
        return self.customers[customer_id]

    def try_turn(self, customer: Customer, stimulus: Stimulus, world: World, batch: Batch) -> Turn | None:
        """Take one turn; one that cannot be taken is set aside with the reason, and None."""
        try:
            return self.turn(customer, stimulus, world, batch)
        except Exception as error:  # noqa: BLE001 - the one net of the loop: kept with its reason, counted, logged
            self._set_aside(customer.customer_id, stimulus, error, world, batch)
            self._note(customer, engine.put_off(customer, stimulus, world.now), world, batch)
            return None

    def turn(self, customer: Customer, stimulus: Stimulus, world: World, batch: Batch) -> Turn:
        """Take one turn and note all it changed in the batch."""
        begun = engine.begin(customer, stimulus, self.playbook)
        world = engine.answer((begun,), self.models, world) if self.models else world
        turn = engine.finish(begun, self.playbook, world)
        self._note(customer, turn, world, batch)
        if self.on_turn is not None:
            self.on_turn(customer, stimulus, turn)
        return turn

    def _take_wave(self, wave: Sequence[tuple[Customer, Stimulus]], world: World, batch: Batch) -> int:
        """Turns of different customers: begun together, answered together, finished one by one."""
        begun = []
        aside = 0
        for customer, stimulus in wave:
            try:
                begun.append(engine.begin(customer, stimulus, self.playbook))
            except Exception as error:  # noqa: BLE001 - the one net of the loop: kept with its reason, counted, logged
                aside += self._set_aside(customer.customer_id, stimulus, error, world, batch)
                self._note(customer, engine.put_off(customer, stimulus, world.now), world, batch)
        if self.models:
            world = engine.answer(begun, self.models, world)
        for one in begun:
            try:
                turn = engine.finish(one, self.playbook, world)
            except Exception as error:  # noqa: BLE001 - as above; what was folded stays folded
                aside += self._set_aside(one.customer.customer_id, one.stimulus, error, world, batch)
                turn = engine.put_off(one.customer, one.stimulus, world.now)
            self._note(one.before, turn, world, batch)
            if self.on_turn is not None:
                self.on_turn(one.before, one.stimulus, turn)
        return aside

    def _set_aside(self, customer_id: str, stimulus: Stimulus, error: Exception, world: World, batch: Batch) -> int:
        position = stimulus.position if isinstance(stimulus, Event) else self.position
        reason = f"{type(error).__name__}: {error}"
        batch.set_aside.append(SetAside(position, customer_id, reason, world.now))
        say(
            "turn set aside",
            position=position,
            customer_id=customer_id,
            stimulus=type(stimulus).__name__,
            reason=reason,
        )
        return 1

    def _note(self, before: Customer, turn: Turn, world: World, batch: Batch) -> None:
        customer = turn.customer
        customer_id = customer.customer_id
        if customer.memory is not before.memory:
            self.dirty.add(customer_id)
        if customer.standing is not before.standing:
            self._stand(customer, before, batch)
        self.customers[customer_id] = customer
        for decision in turn.decisions:
            batch.decisions.append(decision)
            if self.on_decided is not None:
                self.on_decided(decision)
            if decision.action is not None and decision.lane != "onsite":
                self.decided[decision.decision_id] = decision
                batch.deliveries.append(self._row(decision, world.now))
        batch.holds.extend(turn.holds)
        batch.refused_entries.extend((customer_id, refusal) for refusal in turn.refused_entries)
        for name, amount in turn.spends.items():
            today = f"{name}@{self._today}"
            batch.spends[today] = batch.spends.get(today, 0) + amount
            self._spent[today] = self._spent.get(today, 0) + amount
            self.allotments[name] = self.allotments.get(name, 0) - amount
        for address in turn.addresses:
            self._addresses[address.channel, address.key] = address
            batch.addresses.append(address)

    def _stand(self, customer: Customer, before: Customer, batch: Batch) -> None:
        batch.standings[customer.customer_id] = customer.standing
        topics = {topic for e in customer.standing.enrollments if e.is_open for topic in e.topics}
        if topics or any(e.topics for e in before.standing.enrollments):
            batch.topics[customer.customer_id] = tuple(sorted(topics))

    def _row(self, decision: Decision, now: datetime) -> Delivery:
        action = decision.action
        assert action is not None
        return Delivery(
            decision_id=decision.decision_id,
            customer_id=decision.customer_id,
            channel=action.channel,
            delivers=decision.delivers,
            purpose=action.purpose,
            lane=decision.lane,
            journey=action.journey,
            content=action.content,
            state="pending",
            created_at=now,
            due_at=now,
        )

    # ------------------------------------------------------------------ events

    def _fold_batch(self, events: Sequence[Event], now: datetime) -> int:
        """One transaction of events: who they are about, what they tell of the shelf, and their turns."""
        batch = Batch(position=events[-1].position)
        self._load(self.people.prefetch(events))
        world = self.world(now, events[-1].position)
        wave: dict[str, tuple[Customer, Stimulus]] = {}
        aside = 0
        whose: list[Noted] = []
        for event in events:
            tells = event.name in _TELLING
            settles = self.outbox.unsettled(event, batch)
            found = self.people.whose(event) if event.identifiers else None
            event, note = as_theirs(event, found)
            whose.append(note)
            # Whoever is in the wave already, or sees the shelf or themselves changed, waits for the wave to be taken.
            if wave and (
                tells or settles is not None or (found is not None and (found.merges or found.customer_id in wave))
            ):
                aside += self._take_wave(tuple(wave.values()), world, batch)
                wave.clear()
            if tells:
                self._tell_shelf(event, world, batch)
            customer = None if found is None else self.recognised(found, batch)
            if settles is not None:
                self.outbox.settle_by(event, settles, world, batch)
            if found is not None and customer is not None:
                if found.through < customer.match_confidence:
                    event = replace(event, match_confidence=found.through)
                # As they stand now: a message of their own may just have been settled.
                wave[found.customer_id] = (self.customer(found.customer_id), event)
        aside += self._take_wave(tuple(wave.values()), world, batch)
        batch.notes.update(self.whose_note(whose))
        self.commit(batch)
        self.people.committed()
        self.position = events[-1].position
        return aside

    def recognised(self, found: Whose, batch: Batch) -> Customer:
        """The customer of an event, with what it taught us of who they are."""
        customer = self.customer(found.customer_id)
        batch.links.extend(found.links)
        batch.reviews.extend(found.reviews)
        for merge in found.merges:
            loser = self.customer(merge.loser)
            customer = engine.merge(customer, loser, self.playbook, merge)
            batch.merges.append(merge)
            batch.standings.pop(merge.loser, None)
            batch.topics[merge.loser] = ()
            # Written at once: a checkpoint of the loser alone could not be told from one of the two together.
            batch.checkpoints[customer.customer_id] = customer.memory
            self.customers.pop(merge.loser, None)
            self.dirty.discard(merge.loser)
        if found.confidence > customer.match_confidence:
            customer = replace(customer, standing=replace(customer.standing, match_confidence=found.confidence))
        before = self.customers[customer.customer_id]
        if customer is not before:
            self.customers[customer.customer_id] = customer
            self._stand(customer, before, batch)
        return customer

    def whose_note(self, whose: Sequence[Noted]) -> dict[str, bytes]:
        """The note of whose each event of a batch was, under its next name."""
        self._notes_count += 1
        return {f"whose:{self._notes_count}": encode(whose)}

    def commit(self, batch: Batch) -> None:
        """Write the batch, and then let go of what need not be kept at hand: never of what is not written yet."""
        batch.products = list({product.sku: product for product in batch.products}.values())
        self.state.commit(batch)
        self.make_room()

    def stock(self, products: Iterable[Product], now: datetime) -> int:
        """Take in a catalogue feed: what it says anew is on the shelf, and whoever waited for it is woken."""
        batch = Batch()
        with self._whole(now):
            changes = [self.shelf.put(product) for product in products]
            self._changed(changes, self.world(now), batch)
            self.commit(batch)
        return len(batch.products)

    def _tell_shelf(self, event: Event, world: World, batch: Batch) -> None:
        if counts_for_shelf(event, self.playbook.signals):
            self._changed(self.shelf.take(event), world, batch)

    def _changed(self, changes: Iterable[catalog.Change], world: World, batch: Batch) -> None:
        changes = tuple(changes)
        batch.products.extend(change.product for change in changes)
        topics = tuple(topic for change in changes for topic in change.topics)
        if not topics:
            return
        changed = frozenset(topics)
        # Who began to wait in this very batch is not in the store yet.
        waiting = {one for one, on in batch.topics.items() if not changed.isdisjoint(on)}
        for customer_id in sorted({self.people.survivor(one) for one in waiting.union(self.state.waiting_on(topics))}):
            customer = self.customer(customer_id)
            at = world.now + spread(customer_id, self.playbook.policy.spread)
            standing = engine.nudge(customer.standing, changed, at)
            if standing is not customer.standing:
                self.customers[customer.customer_id] = replace(customer, standing=standing)
                batch.standings[customer.customer_id] = standing

    # ------------------------------------------------------------------ keeping and finding again

    def checkpoint(self) -> None:
        """Write every changed memory back, so that a restart folds from here."""
        batch = Batch(notes={FLOOR: str(self.position).encode()})
        batch.checkpoints = {customer_id: self.customers[customer_id].memory for customer_id in self.dirty}
        self.state.commit(batch)
        self.dirty.clear()
        self._since_checkpoint = self._notes_count = 0
        if len(self.people) > 4 * self.limits.customers_max:
            self.people.clear()

    def close(self) -> None:
        """Write back what a restart would otherwise fold again; the stores stay open, they are the caller's."""
        self.checkpoint()

    def _load(self, customer_ids: Iterable[str]) -> None:
        missing = [one for one in customer_ids if one not in self.customers]
        if missing:
            found = self.state.load(missing)
            for one in missing:
                self.customers[one] = found.get(one) or self.newcomer(one)

    def make_room(self) -> None:
        """Let go of the customers met longest ago whose memories are written back; only between two transactions."""
        if len(self._addresses) > self.limits.customers_max:
            self._addresses.clear()
        if len(self.customers) <= self.limits.customers_max:
            return
        surplus = len(self.customers) - self.limits.customers_max * 3 // 4
        for customer_id in [one for one in self.customers if one not in self.dirty][:surplus]:
            del self.customers[customer_id]

    def _recover(self) -> None:
        """Fold again what happened between the last checkpoint and the last committed turn."""
        self.position = self.state.position()
        floor = int(self.state.note(FLOOR) or b"0")
        self._notes_count = 0
        while floor < self.position:
            self._notes_count += 1
            note = self.state.note(f"whose:{self._notes_count}")
            if note is None:
                raise Broken(f"events {floor + 1} to {self.position} were folded and nothing says whose they were")
            whose = decode(note)
            if whose[-1].position > floor:
                self._refold(floor, {noted.position: noted for noted in whose})
                floor = whose[-1].position
        self._spent = dict(self.state.spent())
        self._today = ""

    def _refold(self, floor: int, whose: Mapping[int, Noted]) -> None:
        events = self.log.read(floor, max(whose) - floor)
        owners = {noted.customer_id for noted in whose.values() if noted.customer_id}
        survivors = {one: self.state.survivor(one) for one in owners}
        self._load(survivors.values())
        for event in events:
            noted = whose.get(event.position, Noted(event.position))
            customer_id = survivors.get(noted.customer_id)
            if customer_id is None:
                continue
            event = remade(event, noted)
            customer = self.customer(customer_id)
            if event.position > customer.memory.position:
                self._fold_again(customer, event)

    def _fold_again(self, customer: Customer, event: Event) -> None:
        try:
            memory = customers.fold(customer.memory, event, self.playbook)
        except Exception as error:  # noqa: BLE001 - it was set aside when it was first folded, and must stop no start
            say("still cannot be folded", position=event.position, reason=f"{type(error).__name__}: {error}")
            return
        self.customers[customer.customer_id] = replace(customer, memory=memory)
        self.dirty.add(customer.customer_id)

    def _stocked(self) -> catalog.Shelf:
        """The shelf as it is stored, with the sales of late that say what is popular."""
        shelf = shelf_of(self.state, self.playbook.settings)
        position = self.state.position()
        for event in self.log.named(catalog.SALES, after=max(0, position - _SALES_LOOKED_BACK)):
            if event.position > position:
                break
            shelf.count(event)
        return shelf


def shelf_of(state: State, settings: Mapping[str, Any]) -> catalog.Shelf:
    """The products as they are stored, in the shop's currency and with the places its web shop ships from."""
    shop = settings.get("shop", {})
    places = tuple(shop.get("web_locations", ()))
    return catalog.Shelf(state.products(), currency=str(shop.get("currency", "")), web_locations=places)
