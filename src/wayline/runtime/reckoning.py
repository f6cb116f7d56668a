"""What is counted of a dry run, journey by journey, as it happens: who enters, what they wish for, what comes of it.

A *wish* is one person reaching one proposing step. Every wish ends in one of four ways, so the figures of a journey
add up: it was met (sent, or withheld for the control group), it was given up (never allowed while patience lasted),
its person left the journey meanwhile, or it still waits where the history ends. A rule that held a wish back is counted
once for it, however often it was asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime

from msgspec import Struct, field

from wayline.domain import (
    Ask,
    Customer,
    Decision,
    Enrollment,
    Event,
    HandOver,
    Journey,
    Playbook,
    Propose,
    Stimulus,
    Turn,
    Verdict,
    World,
)
from wayline.governance.audit import refusal_in_words, zone_for
from wayline.interpretation.moment import Moment
from wayline.measurement.outcomes import WINDOW

__all__ = ["Held", "JourneyCount", "Met", "Reckoning"]

_ASKED_WHY_MAX = 500  # people not let in by a journey's condition whose reason is looked at


class Met(Struct):
    """Messages of one channel and text, by what would have become of them."""

    treated: int = 0
    control: int = 0


class Held(Struct):
    """Wishes one rule held back at least once, how many of them were never met, and one in words."""

    wishes: int = 0
    never: int = 0
    example: str = ""


class JourneyCount(Struct, kw_only=True):
    """What one journey would have done."""

    journey: str
    purpose: str
    goal: str
    enters_on: tuple[str, ...]
    asked: int = 0
    """Events that may start it."""
    entered: int = 0
    people: int = 0
    not_let_in: dict[str, int] = field(default_factory=dict)
    """Fit to enter and refused, by reason."""
    not_for_them: int = 0
    """Of the events that may start it, those whose person did not meet its condition."""
    not_for_them_because: str = ""
    """What was most often missing, of the first few hundred looked at."""
    wishes: int = 0
    met: dict[str, Met] = field(default_factory=dict)
    """`channel/content` to what would have left, and what was withheld for the control group."""
    held: dict[str, Held] = field(default_factory=dict)
    """Rules that left a wish with nothing it might do, for a while or for good."""
    passed_over: dict[str, Held] = field(default_factory=dict)
    """Rules that refused the better versions of a message when a plainer one stood."""
    taken_back: dict[str, Held] = field(default_factory=dict)
    """Decided, and refused as it was about to leave."""
    given_up: int = 0
    left: int = 0
    """Wishes whose person left the journey meanwhile: bought, or what it exits on."""
    goal_is_told: bool = False
    """Whether the history tells of the goal at all."""
    reached_goal: int = 0
    """Entries whose person did what the journey is for, within the window after entering, message or not."""
    waiting: dict[str, int] = field(default_factory=dict)
    """Step to people inside where the history ends."""
    wishing: int = 0
    """Of those inside, the ones whose wish is still open."""

    @property
    def treated(self) -> int:
        """Messages that would have left."""
        return sum(met.treated for met in self.met.values())

    @property
    def control(self) -> int:
        """Messages withheld for the control group."""
        return sum(met.control for met in self.met.values())


class Reckoning:
    """Listens to every turn of an engine and counts; keeps nothing that grows with the length of the history."""

    def __init__(self, playbook: Playbook, world: Callable[[], World]) -> None:
        self.playbook = playbook
        self.counts = {
            name: JourneyCount(
                journey=name, purpose=journey.purpose, goal=journey.goal, enters_on=tuple(journey.enters_on)
            )
            for name, journey in playbook.current.items()
        }
        self.wakes = 0
        self._world = world
        self._zone = zone_for(playbook)
        self._people: dict[str, set[str]] = {name: set() for name in self.counts}
        self._goals: dict[str, list[Journey]] = {}
        for journey in playbook.current.values():
            self._goals.setdefault(journey.goal, []).append(journey)
        self._reached: set[int] = set()
        self._holding: dict[tuple[str, str, str], dict[str, None]] = {}
        """The wishes that were held back and are still open, to the rules that did."""
        self._missing: dict[str, Counter[str]] = {name: Counter() for name in self.counts}

    def on_turn(self, before: Customer, stimulus: Stimulus, turn: Turn) -> None:
        """Count one turn."""
        if isinstance(stimulus, Event):
            if not stimulus.fires:
                return
            if stimulus.name in self._goals:
                self._count_goals(before, stimulus)
            if stimulus.name in self.playbook.entering:
                self._count_entries(before, stimulus, turn)
        elif isinstance(stimulus, HandOver):
            self._count_hand_over(stimulus, turn)
        for decision in turn.decisions:
            self._count_decision(decision, stimulus)
        if turn.customer.standing is not before.standing:
            self._count_moves(before, stimulus, turn.customer)

    def closed(self, customers: Iterable[Customer]) -> tuple[JourneyCount, ...]:
        """The counts where the history ends, with who is inside of what."""
        for customer in customers:
            for enrollment in customer.standing.enrollments:
                if enrollment.is_open:
                    count = self.counts[enrollment.journey]
                    count.waiting[enrollment.step] = count.waiting.get(enrollment.step, 0) + 1
                    count.wishing += self._wishes(enrollment)
        for name, count in self.counts.items():
            count.people = len(self._people[name])
            count.not_for_them = count.asked - count.entered - sum(count.not_let_in.values())
            missing = self._missing[name].most_common(1)
            count.not_for_them_because = missing[0][0] if missing else ""
        return tuple(self.counts.values())

    # ------------------------------------------------------------------ entering

    def _count_entries(self, before: Customer, event: Event, turn: Turn) -> None:
        refused = {refusal.journey for refusal in turn.refused_entries}
        for refusal in turn.refused_entries:
            reasons = self.counts[refusal.journey].not_let_in
            reasons[refusal.reason] = reasons.get(refusal.reason, 0) + 1
        known = {(e.journey, e.key, e.entered_at) for e in before.standing.enrollments}
        entered = {
            e.journey for e in turn.customer.standing.enrollments if (e.journey, e.key, e.entered_at) not in known
        }
        for journey in self.playbook.entering[event.name]:
            self.counts[journey.name].asked += 1
            if journey.name not in refused and journey.name not in entered:
                self._ask_why(journey, event, turn.customer)

    def _ask_why(self, journey: Journey, event: Event, customer: Customer) -> None:
        """What was missing of somebody who did not meet the condition, for the first few hundred."""
        missing = self._missing[journey.name]
        if journey.where is None or missing.total() >= _ASKED_WHY_MAX:
            return
        moment = Moment(customer, self.playbook, self._world())
        trigger = {name: event.properties[name] for name in journey.carries if name in event.properties}
        missing["; ".join(journey.where.explain(moment.within(trigger), moment.now)) or journey.where.text] += 1

    def _count_goals(self, before: Customer, event: Event) -> None:
        """Those who did what a journey they entered lately is for; each entry counts once."""
        for journey in self._goals[event.name]:
            self.counts[journey.name].goal_is_told = True
            for one in before.standing.enrollments:
                if one.journey != journey.name or not one.entered_at <= event.occurred_at < one.entered_at + WINDOW:
                    continue
                match = journey.exits_match
                entry = hash((before.customer_id, one.journey, one.key, one.entered_at))
                is_same = not match or event.properties.get(match) == one.trigger.get(match)
                if is_same and entry not in self._reached:
                    self._reached.add(entry)
                    self.counts[journey.name].reached_goal += 1

    # ------------------------------------------------------------------ wishing

    def _count_moves(self, before: Customer, stimulus: Stimulus, after: Customer) -> None:
        earlier = {(e.journey, e.key): e for e in before.standing.enrollments}
        for one in after.standing.enrollments:
            at = (one.journey, one.key)
            other = earlier.get(at)
            if other is one:
                continue
            is_new = other is None or other.entered_at != one.entered_at
            if is_new:
                self.counts[one.journey].entered += 1
                self._people[one.journey].add(after.customer_id)
            elif other is not None and self._wishes(other) and not self._is_same_wish(other, one):
                self._count_end_of_wish(after.customer_id, other, one, stimulus)
            if self._is_wish(one) and (is_new or other is None or not self._is_same_step(other, one)):
                self.counts[one.journey].wishes += 1

    def _count_end_of_wish(self, customer_id: str, before: Enrollment, after: Enrollment, stimulus: Stimulus) -> None:
        count = self.counts[before.journey]
        holding = self._holding.pop((customer_id, before.journey, before.key), {})
        is_met = isinstance(stimulus, Ask) or (
            isinstance(stimulus, HandOver)
            and stimulus.receipt is not None
            and stimulus.receipt.outcome not in ("refused", "dead")
        )
        if is_met:
            return
        if not after.is_open and self._is_same_step(before, after):
            count.left += 1
        else:
            count.given_up += 1
        for rule in holding:
            count.held[rule].never += 1

    def _is_wish(self, enrollment: Enrollment) -> bool:
        """Whether this enrollment is at a proposing step, open or left there when it closed."""
        journey = self.playbook.journeys[enrollment.version]
        return isinstance(journey.steps[enrollment.step], Propose)

    def _wishes(self, enrollment: Enrollment) -> bool:
        return enrollment.is_open and self._is_wish(enrollment)

    def _is_same_step(self, before: Enrollment, after: Enrollment) -> bool:
        return (before.step, before.steps_taken) == (after.step, after.steps_taken)

    def _is_same_wish(self, before: Enrollment, after: Enrollment) -> bool:
        return after.is_open and self._is_same_step(before, after)

    # ------------------------------------------------------------------ deciding and leaving

    def _count_decision(self, decision: Decision, stimulus: Stimulus) -> None:
        keys = {wish.journey: wish.key for wish in decision.proposals}
        winner = None if decision.action is None else decision.action.journey
        for verdict in decision.considered:
            if verdict.gate is None or verdict.refusal is None:
                continue
            journey = verdict.action.journey
            count, rule = self.counts[journey], _rule(verdict)
            if journey == winner:
                self._hold(count.passed_over, rule, verdict, decision.decided_at)
                continue
            holding = self._holding.setdefault((decision.customer_id, journey, keys.get(journey, "")), {})
            if rule not in holding:
                holding[rule] = None
                self._hold(count.held, rule, verdict, decision.decided_at)
        if decision.lane == "onsite" and decision.action is not None and isinstance(stimulus, Ask):
            self._meet(decision)

    def _hold(self, held: dict[str, Held], rule: str, verdict: Verdict, at: datetime) -> None:
        assert verdict.refusal is not None
        found = held.get(rule)
        if found is None:
            words = refusal_in_words(verdict.gate, verdict.refusal, self._zone)
            local = at.astimezone(self._zone)
            found = held[rule] = Held(example=f"{verdict.action.content}, {local:%-d %B %Y %H:%M}: {words}")
        found.wishes += 1

    def _count_hand_over(self, stimulus: HandOver, turn: Turn) -> None:
        decision = stimulus.decision
        assert decision.action is not None
        if turn.refusal is not None:
            rule, _, said = turn.refusal.reason.partition(": ")
            taken_back = self.counts[decision.action.journey].taken_back
            found = taken_back.setdefault(rule, Held(example=f"{decision.action.content}: {said}, {turn.refusal.fact}"))
            found.wishes += 1
        elif stimulus.receipt is not None:
            self._meet(decision)

    def _meet(self, decision: Decision) -> None:
        action = decision.action
        assert action is not None
        met = self.counts[action.journey].met.setdefault(f"{action.channel}/{action.content}", Met())
        if decision.delivers:
            met.treated += 1
        else:
            met.control += 1


def _rule(verdict: Verdict) -> str:
    """The rule by its name: of a suppression or cap which one, of an address which channel, of the others the gate."""
    assert verdict.refusal is not None and verdict.gate is not None
    named, colon, _ = verdict.refusal.reason.partition(": ")
    if colon and verdict.gate in ("suppression", "caps"):
        return f"{verdict.gate} ({named.removeprefix('cap ')})"
    if verdict.gate in ("address", "claimed_address", "consent", "suppressed_address"):
        return f"{verdict.gate} ({verdict.action.channel})"
    return verdict.gate
