"""The one door: everything the engine ever does to a customer is a turn.

    take_turn(customer, stimulus, playbook, world) -> Turn

Pure: equal arguments give the equal turn, on any machine. Four stimuli come through: an `Event`, a `Wake` that has
come due, an `Ask` ("what now?") and a `HandOver` (a decided message is about to leave, or the channel has answered).
A runtime may `begin` a whole micro-batch, have the models answer all its questions in one call each, and `finish` each
turn: `take_turn` is exactly that for a batch of one, and a law holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias, assert_never

from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import (
    Action,
    Address,
    Ask,
    Assignment,
    Contact,
    Customer,
    Decision,
    Enrollment,
    EntryRefusal,
    Estimate,
    Event,
    HandOver,
    Hold,
    Journey,
    Merge,
    Playbook,
    Proposal,
    Propose,
    Receipt,
    Refusal,
    Standing,
    Stimulus,
    Turn,
    Wake,
    World,
)
from wayline.errors import Broken
from wayline.governance.consent import zone_of
from wayline.interpretation import customers
from wayline.interpretation.customers import OBJECTION
from wayline.interpretation.moment import ADDRESS_KINDS, Moment
from wayline.measurement.experiments import merge_assignments
from wayline.observation import feedback
from wayline.observation.claims import SHARED
from wayline.orchestration import journeys, policy
from wayline.orchestration.contacts import foreign_contact, remembered, with_contact

__all__ = ["Begun", "Model", "answer", "begin", "finish", "merge", "nudge", "put_off", "take_turn"]

_MAILBOX_CONTACTS_MAX = 20  # contacts remembered of one mailbox or number, whoever shares it

Model: TypeAlias = Callable[[Sequence[Customer], World], Sequence[Estimate | None]]
"""Answers one question for many customers at once; None where it cannot say."""


class Begun(Struct, frozen=True):
    """A turn half taken: the event is folded, and these questions may be asked before it is finished."""

    customer: Customer
    before: Customer
    stimulus: Stimulus
    questions: frozenset[str]


def take_turn(customer: Customer, stimulus: Stimulus, playbook: Playbook, world: World) -> Turn:
    """Everything the engine does for one customer at one instant. Same inputs, same turn."""
    return finish(begin(customer, stimulus, playbook), playbook, world)


def begin(customer: Customer, stimulus: Stimulus, playbook: Playbook) -> Begun:
    """Fold what happened, and name every question that finishing this turn may ask."""
    before = customer
    questions = _NONE
    for enrollment in customer.standing.enrollments:
        # A version that is gone is found when the turn is finished: what happened is remembered either way.
        journey = playbook.journeys.get(enrollment.version) if enrollment.is_open else None
        if journey is not None:
            questions |= journey.questions
    if isinstance(stimulus, Event):
        memory = customers.fold(customer.memory, stimulus, playbook)
        if memory is not customer.memory:
            customer = Customer(customer.customer_id, memory, customer.standing)
        for entered in playbook.entering.get(stimulus.name, ()):
            questions |= entered.questions
    return Begun(customer, before, stimulus, questions)


_NONE: frozenset[str] = frozenset()


def answer(batch: Iterable[Begun], models: Mapping[str, Model], world: World) -> World:
    """Ask each model once for all customers of the batch whose turns may need it; the rules answer the rest."""
    begun = list(batch)
    answers: dict[tuple[str, str], Estimate] = dict(world.answers)
    for question, model in models.items():
        asked = [b.customer for b in begun if question in b.questions]
        if not asked:
            continue
        for customer, estimate in zip(asked, model(asked, world), strict=True):
            if estimate is not None:
                answers[customer.customer_id, question] = estimate
    return replace(world, answers=answers)


def finish(begun: Begun, playbook: Playbook, world: World) -> Turn:
    """Walk the journeys, gather what they wish for, and let the policy decide."""
    stimulus = begun.stimulus
    work = _Work(begun, playbook, world)
    match stimulus:
        case Event():
            if feedback.is_automated(stimulus):
                return Turn(begun.customer)
            is_report = stimulus.name in feedback.REPORTS
            if is_report:
                work.on_report(stimulus)
            if stimulus.fires and (work.enrollments or stimulus.name in playbook.entering):
                work.on_event(stimulus)
            elif not is_report:
                return Turn(begun.customer)
        case Wake():
            work.on_wake(stimulus)
        case Ask():
            work.on_ask(stimulus)
        case HandOver():
            work.on_hand_over(stimulus)
        case _ as never:
            assert_never(never)
    return work.turn()


class _Work:
    """One turn while it is being made; nothing of it is seen from outside before `turn()`."""

    def __init__(self, begun: Begun, playbook: Playbook, world: World) -> None:
        standing = begun.customer.standing
        self.begun = begun
        self.customer = begun.customer
        self.playbook = playbook
        self.moment = Moment(begun.customer, playbook, world)
        if isinstance(begun.stimulus, Event | Ask) and begun.stimulus.match_confidence is not None:
            # Whoever looks through a browser we are less sure of is judged by that, and not by the person's best proof.
            sure = min(begun.stimulus.match_confidence, begun.customer.match_confidence)
            self.moment.known["match_confidence"] = sure
        self.now = world.now
        self.world = world
        self.enrollments: list[Enrollment] = list(standing.enrollments)
        self.contacts: tuple[Contact, ...] = standing.contacts
        self.assignments: Mapping[str, Assignment] = standing.assignments
        self.decisions: list[Decision] = []
        self.holds: list[Hold] = []
        self.spends: dict[str, int] = {}
        self.addresses: tuple[Address, ...] = ()
        self.refused: list[EntryRefusal] = []
        self.hand_over: Decision | None = None
        self.refusal: Refusal | None = None

    # -- the four stimuli

    def on_event(self, event: Event) -> None:
        for at, enrollment in enumerate(self.enrollments):
            if enrollment.is_open:
                self._walk(at, event)
        for journey in self.playbook.entering.get(event.name, ()):
            entered = journeys.enroll(journey, event, self.moment, self.enrollments)
            if isinstance(entered, EntryRefusal):
                self.refused.append(entered)
            elif entered is not None:
                self.enrollments.append(entered)
        self._decide(policy.Asked(f"event:{event.position}", event.position), again=self._is_changed())

    def on_report(self, event: Event) -> None:
        """What a provider tells of a message counts whenever it comes, imported history too; it starts nothing."""
        if event.name == feedback.FOREIGN:
            self._keep(foreign_contact(event))
            return
        channel = feedback.channel_of(event)
        told = [one.value for one in event.identifiers if one.kind == ADDRESS_KINDS[channel]]
        told = told or self._reached(channel, str(event.properties.get("decision_id", "")))
        if reason := feedback.ends_address(event):
            self._suppress(channel, event.occurred_at, reason, told)
        elif told:
            known = [self.world.addresses.get(channel, key) or Address(channel, key) for key in told]
            heard = [(address, feedback.with_bounce(address, event)) for address in known]
            self.addresses = tuple(after for before, after in heard if after is not before)

    def on_wake(self, wake: Wake) -> None:
        for at, enrollment in enumerate(self.enrollments):
            if enrollment.is_open and enrollment.wake_at is not None and enrollment.wake_at <= self.now:
                self._walk(at)
        self._decide(policy.Asked(f"wake:{wake.due_at.isoformat()}", self.world.position))

    def on_ask(self, ask: Ask) -> None:
        asked = policy.Asked(policy.asked_by(ask.request_id), self.world.position, ask.placement)
        self._decide(asked, again=True)
        if self.decisions:
            # Whoever was shown something has moved on, maybe to a wish for another channel.
            self._decide(replace(asked, placement=None))

    def on_hand_over(self, stimulus: HandOver) -> None:
        decision = stimulus.decision
        at = self._pending(decision.decision_id)
        if stimulus.receipt is None:
            self._leave(decision, at)
            outcome = "leave"
        else:
            self._settle(decision, at, stimulus.receipt)
            outcome = stimulus.receipt.outcome
        if self.hand_over is None:
            self._decide(policy.Asked(f"hand_over:{decision.decision_id}:{outcome}", self.world.position))

    # -- what they are made of

    def _walk(self, at: int, event: Event | None = None) -> None:
        enrollment = self.enrollments[at]
        walked = journeys.advance(enrollment, _journey(enrollment, self.playbook), self.moment, event)
        if walked is enrollment:
            return
        self.enrollments[at] = walked
        if enrollment.pending is not None and walked.pending is None:
            # One already with its channel may have arrived, and keeps its place until the channel has answered.
            self._unreserve(enrollment.pending, states=("reserved",))

    def _is_changed(self) -> bool:
        """Whether what a hold may have been waiting for without an instant has changed: consents or who this is."""
        before, memory = self.begun.before.memory, self.customer.memory
        return before.consents is not memory.consents or before.identifiers is not memory.identifiers

    def _decide(self, asked: policy.Asked, *, again: bool = False) -> None:
        """Gather what is wished for now, let the policy rule, and put everyone where the ruling leaves them."""
        proposals, wishes = self._wished(again=again)
        if not proposals:
            return
        self.moment.inside = self.enrollments
        self.moment.known["contacts"] = self.contacts
        held = frozenset(e.held for e in self.enrollments if e.held is not None)
        ruling = policy.decide(proposals, self.moment, replace(asked, held=held))
        self.holds.extend(Hold(decision_id, self.now, until) for decision_id, until in ruling.holds)
        for wait in ruling.waits:
            self._wait(wishes[wait.proposal.journey, wait.proposal.key], wait, asked)
        for wish, decision in ruling.decisions:
            if wish is None:
                self.decisions.append(decision)
            else:
                self._take(wishes[wish.journey, wish.key], decision)

    def _wished(self, *, again: bool) -> tuple[list[Proposal], dict[tuple[str, str], int]]:
        """What the open journeys wish for, and whose wish is whose. Before its hour none is asked, unless `again`."""
        wishes: dict[tuple[str, str], int] = {}
        proposals: list[Proposal] = []
        for at, enrollment in enumerate(self.enrollments):
            if not enrollment.is_open or enrollment.pending is not None:
                continue
            if not again and enrollment.wake_at is not None and enrollment.wake_at > self.now:
                continue
            wish = journeys.proposal(enrollment, _journey(enrollment, self.playbook))
            if wish is not None:
                proposals.append(wish)
                wishes[wish.journey, wish.key] = at
        return proposals, wishes

    def _wait(self, at: int, wait: policy.Wait, asked: policy.Asked) -> None:
        enrollment = self.enrollments[at]
        if asked.placement is not None and enrollment.wake_at is not None:
            return  # a page asked in vain: the wish for other channels stays as it was
        held = wait.decision_id or enrollment.held
        self.enrollments[at] = journeys.hold(enrollment, wait.until, topics=wait.topics, held=held)

    def _take(self, at: int, decision: Decision) -> None:
        action = decision.action
        assert action is not None
        self.decisions.append(decision)
        for name, amount in action.spends.items():
            self.spends[name] = self.spends.get(name, 0) + amount
        reserved = policy.reserve(decision, self.moment)
        enrollment = journeys.pend(self.enrollments[at], decision.decision_id)
        if decision.lane != "onsite":
            self.enrollments[at] = enrollment
            self._keep(reserved)
            return
        # The page that asked shows it now: there is no outbox between.
        self._keep(replace(reserved, state="settled"))
        self._expose(decision, self.now)
        receipt = Receipt("sent" if decision.delivers else "withheld", self.now)
        self.enrollments[at] = journeys.settle(enrollment, _journey(enrollment, self.playbook), receipt, self.moment)

    def _leave(self, decision: Decision, at: int | None) -> None:
        """Decide last: the message may go only if everything that let it through still does."""
        if at is None:
            self._unreserve(decision.decision_id)
            self._give_back(decision)
            self.refusal = self._why_gone(decision)
            return
        verdict = policy.recheck(decision, self.moment)
        if verdict is None and self._is_stale(decision, self.enrollments[at]):
            self._unreserve(decision.decision_id)
            self._give_back(decision)
            self._release(at, None)
            self.refusal = Refusal("patience: it must leave in time", "it waited to leave for longer than it is worth")
            return
        if verdict is not None:
            self._unreserve(decision.decision_id)
            self._give_back(decision)
            # Of a mailbox no gate knows: without passing the action over, it would be decided again at once, for ever.
            self._release(at, decision.action if verdict.gate == "mailbox" else None)
            assert verdict.refusal is not None
            self.refusal = replace(verdict.refusal, reason=f"{verdict.gate}: {verdict.refusal.reason}")
            return
        self.hand_over = decision
        self._update(decision.decision_id, state="handed_over", at=self.now)
        self._mark_mailbox(decision)

    def _is_stale(self, decision: Decision, enrollment: Enrollment) -> bool:
        """Whether its provider was down for longer than the journey has patience; what is owed goes all the same."""
        step = _journey(enrollment, self.playbook).steps[enrollment.step]
        is_over = isinstance(step, Propose) and journeys.is_given_up(enrollment, step, self.now)
        return is_over and decision.lane == "marketing"

    def _settle(self, decision: Decision, at: int | None, receipt: Receipt) -> None:
        if receipt.outcome in ("refused", "dead"):
            self._unreserve(decision.decision_id, states=("reserved", "handed_over", "unknown"))
            self._give_back(decision)
            self.refusal = Refusal(f"the channel answered {receipt.outcome}", receipt.detail or "without a reason")
            if receipt.outcome == "dead":
                assert decision.action is not None
                channel = decision.action.channel
                reached = self._reached(channel, decision.decision_id)
                self._suppress(channel, receipt.at, receipt.detail or "the address is dead", reached)
            else:
                self._unmark_mailbox(decision)
            if at is not None:
                self._release(at, decision.action)
            return
        state = "unknown" if receipt.outcome == "unknown" else "settled"
        # A call made again after a death reached the person then, and not when it was first claimed.
        self._update(decision.decision_id, state=state, at=receipt.at)
        self._expose(decision, receipt.at)
        if at is not None:
            enrollment = self.enrollments[at]
            self.enrollments[at] = journeys.settle(
                enrollment, _journey(enrollment, self.playbook), receipt, self.moment
            )

    def _release(self, at: int, failed: Action | None) -> None:
        """The message of this wish will not leave: it wishes on, past an action that failed, unless its time is up."""
        enrollment = self.enrollments[at]
        journey = _journey(enrollment, self.playbook)
        self.enrollments[at] = journeys.advance(journeys.release(enrollment, journey, failed), journey, self.moment)

    def _give_back(self, decision: Decision) -> None:
        """What a message that never left had taken of today's budgets; yesterday's are closed."""
        assert decision.action is not None
        zone = zone_of(self.playbook.policy.zone)
        if decision.decided_at.astimezone(zone).date() == self.now.astimezone(zone).date():
            for name, amount in decision.action.spends.items():
                self.spends[name] = self.spends.get(name, 0) - amount

    def _pending(self, decision_id: str) -> int | None:
        return next((at for at, e in enumerate(self.enrollments) if e.is_open and e.pending == decision_id), None)

    def _why_gone(self, decision: Decision) -> Refusal:
        assert decision.action is not None
        name = decision.action.journey
        left = next((e for e in reversed(self.enrollments) if e.journey == name and e.key == decision.key), None)
        status = "is no longer known" if left is None else f"is {left.status}" if not left.is_open else "has moved on"
        return Refusal("journey: the person must still be waiting for this message", f"{name} {status}")

    def _unreserve(self, decision_id: str, states: tuple[str, ...] = ("reserved", "handed_over")) -> None:
        self.contacts = tuple(c for c in self.contacts if c.decision_id != decision_id or c.state not in states)

    def _update(self, decision_id: str, **changes: object) -> None:
        self.contacts = tuple(replace(c, **changes) if c.decision_id == decision_id else c for c in self.contacts)

    def _keep(self, contact: Contact) -> None:
        self.contacts = with_contact(self.contacts, contact, self.playbook.policy, self.now)

    def _mark_mailbox(self, decision: Decision) -> None:
        action = decision.action
        assert action is not None
        key = self.moment.fact(f"address.{action.channel}") if action.lane != "onsite" else None
        if not isinstance(key, str):
            return
        address = self.world.addresses.get(action.channel, key) or Address(action.channel, key)
        contact = replace(policy.reserve(decision, self.moment), state="handed_over")
        others = tuple(c for c in address.contacts if c.decision_id != decision.decision_id)
        self.addresses = (replace(address, contacts=(*others, contact)[-_MAILBOX_CONTACTS_MAX:]),)

    def _unmark_mailbox(self, decision: Decision) -> None:
        """What provably never arrived is no reason to keep it from anybody who reads there."""
        assert decision.action is not None
        channel = decision.action.channel
        for key in self._reached(channel, decision.decision_id):
            address = self.world.addresses.get(channel, key)
            assert address is not None
            others = tuple(c for c in address.contacts if c.decision_id != decision.decision_id)
            self.addresses = (replace(address, contacts=others),)

    def _reached(self, channel: str, decision_id: str) -> list[str]:
        """The address this message went to, which need not be the one in use now; none if it was not noted."""
        kind = ADDRESS_KINDS.get(channel, "")
        kinds = (kind, SHARED.get(kind))
        theirs = [one.value for one in self.customer.memory.identifiers if one.kind in kinds] if decision_id else []
        known = {key: self.world.addresses.get(channel, key) for key in theirs}
        return [
            key
            for key, address in known.items()
            if address is not None and any(c.decision_id == decision_id for c in address.contacts)
        ]

    def _suppress(self, channel: str, at: datetime, reason: str, keys: Sequence[str] = ()) -> None:
        """A dead address is left alone from now on, by every journey and whoever shares it: theirs, if none is told."""
        theirs = self.moment.fact(f"address.{channel}")
        found = keys or ([theirs] if isinstance(theirs, str) else [])
        addresses = (self.world.addresses.get(channel, key) or Address(channel, key) for key in found)
        self.addresses = tuple(replace(address, suppressed_at=at, reason=reason) for address in addresses)

    def _expose(self, decision: Decision, at: datetime) -> None:
        """The moment it was, or would have been, sent fixes the arm: in both arms alike."""
        fresh = {
            experiment: Assignment(arm, at)
            for experiment, arm in decision.assignments.items()
            if experiment not in self.assignments or self.assignments[experiment].exposed_at is None
        }
        if fresh:
            self.assignments = {**self.assignments, **fresh}

    def turn(self) -> Turn:
        """The finished turn; the standing is the very same object if nothing of it changed."""
        before = self.begun.customer.standing
        enrollments = journeys.kept(self.enrollments)
        wake_at = _earliest(enrollments)
        after = Standing(
            enrollments, self.contacts, self.assignments, wake_at, before.match_confidence, before.restricted
        )
        standing = before if after == before else after
        if wake_at is not None and wake_at <= self.now and not isinstance(self.begun.stimulus, (Event, Ask, HandOver)):
            raise Broken(
                f"customer {self.customer.customer_id} would be woken at {wake_at} again, which is not later than now"
            )
        return Turn(
            customer=Customer(self.customer.customer_id, self.customer.memory, standing),
            decisions=tuple(self.decisions),
            holds=tuple(self.holds),
            spends=self.spends,
            addresses=self.addresses,
            refused_entries=tuple(self.refused),
            hand_over=self.hand_over,
            refusal=self.refusal,
        )


def _journey(enrollment: Enrollment, playbook: Playbook) -> Journey:
    journey = playbook.journeys.get(enrollment.version)
    if journey is None:
        raise Broken(
            f"journey {enrollment.journey!r} version {enrollment.version}, which a customer is inside of, is not in "
            "the playbook: publish with that version kept, or move its people first"
        )
    return journey


def nudge(standing: Standing, topics: frozenset[str], at: datetime) -> Standing:
    """Bring forward to `at` every wish that waits on one of these topics; the same object if none does."""

    def forward(enrollment: Enrollment) -> Enrollment:
        is_later = enrollment.is_open and enrollment.wake_at is not None and enrollment.wake_at > at
        return replace(enrollment, wake_at=at) if is_later and topics.intersection(enrollment.topics) else enrollment

    enrollments = tuple(forward(enrollment) for enrollment in standing.enrollments)
    if enrollments == standing.enrollments:
        return standing
    return replace(standing, enrollments=enrollments, wake_at=_earliest(enrollments))


_PUT_OFF = timedelta(hours=1)


def put_off(customer: Customer, stimulus: Stimulus, now: datetime) -> Turn:
    """What is left of a turn that cannot be taken: what was folded stays, nobody is stuck, nothing leaves twice.

    Who was to be woken is woken later. Who waited for a message wishes again later if it did not leave, and is let go
    if it did or may have.
    """
    standing = customer.standing
    contacts = standing.contacts
    later = now + _PUT_OFF
    enrollments = list(standing.enrollments)
    pending = stimulus.decision.decision_id if isinstance(stimulus, HandOver) else None
    has_left = isinstance(stimulus, HandOver) and stimulus.receipt is not None and stimulus.receipt.outcome in _LEFT
    if pending is not None and not has_left:
        contacts = tuple(c for c in contacts if c.decision_id != pending)
    for at, one in enumerate(enrollments):
        if not one.is_open:
            continue
        if pending is not None and one.pending == pending:
            after = (
                replace(one, status="exited", pending=None) if has_left else replace(one, pending=None, wake_at=later)
            )
            enrollments[at] = after
        elif isinstance(stimulus, Wake) and one.wake_at is not None and one.wake_at <= now:
            enrollments[at] = replace(one, wake_at=later)
    if tuple(enrollments) == standing.enrollments and contacts == standing.contacts:
        return Turn(customer)
    wake_at = _earliest(enrollments)
    after_all = replace(standing, enrollments=tuple(enrollments), contacts=contacts, wake_at=wake_at)
    return Turn(Customer(customer.customer_id, customer.memory, after_all))


_LEFT = frozenset({"sent", "withheld", "unknown"})


def _earliest(enrollments: Iterable[Enrollment]) -> datetime | None:
    return min((e.wake_at for e in enrollments if e.is_open and e.wake_at is not None), default=None)


def merge(survivor: Customer, loser: Customer, playbook: Playbook, how: Merge | None = None) -> Customer:
    """Two customers found to be one. Memories merge by value, standings by rule (furthest step, union of contacts).

    Of two open enrollments in one journey the one that walked furthest survives, else the older; what the other had
    reserved is given back, unless it is with its channel already. Of two closed ones the newer stays, since re-entry
    counts from it. Of a closed one and an open one the open one goes on, but where people enter once (or once per
    order) and the closed side had its message: the same person must not have it twice. Whoever was exposed keeps their
    arm; both exposed to different arms is marked contaminated. While `how` is not certain, a consent that either side
    had taken back stays so until a later yes.
    """
    ours, theirs = survivor.standing, loser.standing
    kept: dict[tuple[str, str], tuple[_Rank, Enrollment]] = {}
    dropped: set[str] = set()
    for side in (ours, theirs):
        for enrollment in side.enrollments:
            at = (enrollment.journey, enrollment.key)
            ranked = (_rank(enrollment, side, playbook), enrollment)
            first, *rest = sorted((kept[at], ranked) if at in kept else (ranked,), key=lambda pair: pair[0])
            kept[at] = first
            dropped.update(enrollment.pending for _, enrollment in rest if enrollment.pending)
    both = (*ours.contacts, *theirs.contacts)
    contacts = {c.decision_id: c for c in both if c.decision_id not in dropped or c.state != "reserved"}
    enrollments = journeys.kept(enrollment for _, enrollment in kept.values())
    standing = Standing(
        enrollments=enrollments,
        contacts=remembered(sorted(contacts.values(), key=lambda c: (c.at, c.decision_id))),
        assignments=merge_assignments(ours.assignments, theirs.assignments),
        wake_at=_earliest(enrollments),
        match_confidence=ours.match_confidence,
        restricted=_restricted(survivor, loser, how),
    )
    memory = customers.merge_memories(survivor.memory, loser.memory, playbook)
    return Customer(survivor.customer_id, memory, standing)


_CERTAIN = 0.9  # a merge as sure as an e-mail address told by the shop's own system


def _restricted(survivor: Customer, loser: Customer, how: Merge | None) -> Mapping[str, datetime]:
    """The consents for which only a yes later than this merge counts: taken back by one side, and not by the other."""
    kept = {**survivor.standing.restricted, **loser.standing.restricted}
    if how is None or how.confidence >= _CERTAIN:
        return kept
    for side in (survivor, loser):
        for key, consent in side.memory.consents.items():
            is_no = consent.is_granted if key == OBJECTION else consent.withdrawn_at is not None
            if is_no and (key == OBJECTION or not consent.is_granted):
                kept[key] = how.at
    return kept


_Rank: TypeAlias = tuple[int, int, float, datetime, str]


def _rank(enrollment: Enrollment, side: Standing, playbook: Playbook) -> _Rank:
    """The place of an enrollment among those of its journey; the first survives, whoever is merged into whom."""
    entered_at = enrollment.entered_at.timestamp()
    if enrollment.is_open:
        steps = -enrollment.steps_taken
        return (1, steps, entered_at, enrollment.step_entered_at, enrollment.pending or "")
    journey = playbook.journeys.get(enrollment.version) or playbook.current.get(enrollment.journey)
    is_once = journey is not None and journey.reentry.mode in ("once", "per")
    had_it = any(
        c.journey == enrollment.journey and c.state != "reserved" and c.at >= enrollment.entered_at
        for c in side.contacts
    )
    return (0 if is_once and had_it else 2, 0, -entered_at, enrollment.step_entered_at, "")
