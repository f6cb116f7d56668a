"""What the records say, counted in one pass over deliveries and one over decisions.

What is kept grows with the messages and the people, never with the holds: each rule keeps a count and a few examples.
Every number here can be counted again from the same records; nothing is a counter of its own.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from wayline.domain import Action, Decision, Playbook, Refusal, Verdict
from wayline.governance.audit import described, label_of, moment_in_words, rule_of, zone_for
from wayline.governance.consent import GUARDS
from wayline.measurement.experiments import HOLDOUT, journey_experiment
from wayline.measurement.outcomes import Exposure
from wayline.serving.timeline import product_names, with_names
from wayline.store import Delivery, State

__all__ = ["EXAMPLES_MAX", "Counts", "HeldExample", "HeldRule", "JourneyCount", "Telling", "count_records"]

EXAMPLES_MAX = 25
"""Examples kept for each rule, the newest."""


class HeldExample(Struct, frozen=True, omit_defaults=True, gc=False):
    """One message that was not sent: to whom, when, what the rule was and what was found."""

    customer_id: str
    decision_id: str
    at: datetime
    when: str
    message: str
    journey: str
    reason: str
    fact: str
    until: str = ""
    count: int = 1


class HeldRule(Struct):
    """A rule that kept messages from going, how often, and the newest examples."""

    rule: str
    label: str
    is_legal: bool
    count: int = 0
    """Messages held, each wish once however often it was looked at."""
    looks: int = 0
    """How often it was looked at and held again."""
    at_the_door: int = 0
    """Of these, decided and then held as they were about to leave."""
    examples: list[HeldExample] = []


class _Held(Struct, frozen=True):
    """An example before it is put in words."""

    decision: Decision
    action: Action
    refusal: Refusal


class JourneyCount(Struct):
    """What became of one journey's messages."""

    sent: int = 0
    withheld: int = 0
    held: int = 0
    unclear: int = 0
    pending: int = 0


class Telling(Struct):
    """What one person's decisions show: the busy days now being counted, and the busiest so far."""

    shown: set[str] = field(default_factory=set)
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    worth: int = 0
    """How much there is to tell of the busiest days."""
    best: tuple[datetime, datetime] | None = None
    """When those began and ended."""


class Counts(Struct):
    """All counts of one report, with the exposures that effects are measured from."""

    decisions: int = 0
    looks: int = 0
    """Decisions with every repeat of a hold counted."""
    holds: int = 0
    states: Counter[str] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)
    owed_sent: int = 0
    shown: int = 0
    oldest_unclear: datetime | None = None
    put_off: Counter[str] = field(default_factory=Counter)
    """Channel to messages that wait because their provider did not take them."""
    put_off_because: str = ""
    rules: dict[str, HeldRule] = field(default_factory=dict)
    newest: dict[str, deque[_Held]] = field(default_factory=dict)
    """Rule to the newest messages it held."""
    journeys: dict[str, JourneyCount] = field(default_factory=dict)
    exposures: list[Exposure] = field(default_factory=list)
    standing: list[Exposure] = field(default_factory=list)
    """Exposures of the standing control group of all marketing."""
    messages: list[Exposure] = field(default_factory=list)
    """Marketing messages that were really sent: what a platform would claim by."""
    sold_out: Counter[str] = field(default_factory=Counter)
    """SKU to messages that wait for it to be in stock."""
    stories: dict[str, Telling] = field(default_factory=dict)
    """Customer to what there is to tell of them."""
    names: Mapping[str, str] = {}
    """SKU to what the product is called."""
    first_at: datetime | None = None
    last_at: datetime | None = None


class _Sent(Struct, frozen=True, array_like=True, gc=False):
    """Of a delivery only what a count needs."""

    state: str
    at: datetime
    detail: str


def count_records(state: State, playbook: Playbook) -> Counts:
    """Count everything recorded; people merged since count under who they are now."""
    counts = Counts(names=product_names(state))
    zone = zone_for(playbook)
    sent: dict[str, _Sent] = {}
    for delivery in state.deliveries():
        _count_delivery(counts, delivery)
        sent[delivery.decision_id] = _Sent(delivery.state, delivery.settled_at or delivery.due_at, delivery.detail)
    survivor = _survivors(state)
    for decision in state.decisions():
        counts.decisions += 1
        counts.looks += decision.count
        _advance(counts, decision.decided_at)
        _count_held(counts, decision)
        if decision.action is not None:
            _count_chosen(counts, decision, decision.action, sent.get(decision.decision_id), survivor)
            _count_late(counts, decision, decision.action, sent.get(decision.decision_id))
        _note_story(counts, decision, survivor)
    for rule in counts.rules.values():
        # In words only now: nearly all that were kept for a while have made room for newer ones.
        rule.examples = [_example(held, counts.names, zone) for held in counts.newest[rule.rule]]
    return counts


def _survivors(state: State) -> Callable[[str], str]:
    """Who a person is now: themselves, if they still are anybody; else asked of the store, once."""
    known = {customer_id: customer_id for customer_id in state.customer_ids()}

    def survivor(customer_id: str) -> str:
        if customer_id not in known:
            known[customer_id] = state.survivor(customer_id)
        return known[customer_id]

    return survivor


def _advance(counts: Counts, at: datetime) -> None:
    if counts.first_at is None or at < counts.first_at:
        counts.first_at = at
    if counts.last_at is None or at > counts.last_at:
        counts.last_at = at


def _journey(counts: Counts, name: str) -> JourneyCount:
    return counts.journeys.setdefault(name, JourneyCount())


def _count_delivery(counts: Counts, delivery: Delivery) -> None:
    counts.states[delivery.state] += 1
    journey = _journey(counts, delivery.journey)
    match delivery.state:
        case "sent":
            counts.channels[delivery.channel] += 1
            counts.owed_sent += delivery.lane == "owed"
            journey.sent += 1
        case "withheld":
            journey.withheld += 1
        case "unknown":
            journey.unclear += 1
            if counts.oldest_unclear is None or delivery.created_at < counts.oldest_unclear:
                counts.oldest_unclear = delivery.created_at
        case "pending" | "attempting":
            journey.pending += 1
            if delivery.attempts:
                counts.put_off[delivery.channel] += 1
                counts.put_off_because = delivery.detail or counts.put_off_because
        case "refused" | "dead":
            pass  # told by the rule that refused it
    if delivery.settled_at is not None:
        _advance(counts, delivery.settled_at)


# ------------------------------------------------------------------ chosen


def _count_chosen(
    counts: Counts, decision: Decision, action: Action, sent: _Sent | None, survivor: Callable[[str], str]
) -> None:
    """Exposure is the moment it was sent or would have been, alike in both arms."""
    if decision.lane == "onsite":
        counts.shown += decision.delivers
        journey = _journey(counts, action.journey)
        journey.sent += decision.delivers
        journey.withheld += not decision.delivers
        at = decision.decided_at
    elif sent is not None and sent.state in ("sent", "withheld", "unknown"):
        at = sent.at
    else:
        return
    if decision.lane == "owed":
        return
    person = survivor(decision.customer_id)
    if decision.delivers and decision.lane == "marketing":
        counts.messages.append(Exposure(decision.decision_id, person, action.journey, "treatment", at))
    standing = decision.assignments.get(HOLDOUT)
    if standing is not None:
        counts.standing.append(Exposure(decision.decision_id, person, HOLDOUT, standing, at))
    arm = decision.assignments.get(journey_experiment(action.journey))
    # Whoever is held out of everything says nothing about one journey: they lack the others too.
    if arm is not None and standing != "control":
        counts.exposures.append(Exposure(decision.decision_id, person, action.journey, arm, at))


# ------------------------------------------------------------------ held


def _count_held(counts: Counts, decision: Decision) -> None:
    """Each journey's wish that was not granted counts once, under the rule that stood closest to letting it go."""
    counts.holds += decision.action is None
    for verdict in _refused_wishes(decision):
        assert verdict.refusal is not None
        rule = _rule(counts, verdict.gate or "")
        rule.count += 1
        rule.looks += decision.count
        _journey(counts, verdict.action.journey).held += 1
        if verdict.refusal.topic and verdict.refusal.topic.startswith("stock:"):
            counts.sold_out[verdict.refusal.topic.removeprefix("stock:")] += 1
        counts.newest[rule.rule].append(_Held(decision, verdict.action, verdict.refusal))


def _refused_wishes(decision: Decision) -> Iterator[Verdict]:
    """For each journey with no action left standing, the refusal that lifts first; else that of its best action."""
    wishes: dict[str, list[Verdict]] = {}
    for verdict in decision.considered:
        wishes.setdefault(verdict.action.journey, []).append(verdict)
    for verdicts in wishes.values():
        if any(verdict.refusal is None for verdict in verdicts):
            continue
        # A website that is not asking holds nothing back.
        refused = [verdict for verdict in verdicts if verdict.gate != "placement"]
        if refused:
            yield min(refused, key=_lifts_at)


def _lifts_at(verdict: Verdict) -> tuple[bool, bool, bool, float]:
    """Time lifts some refusals, the world others; an unsure prediction only made a plainer message the one to send."""
    assert verdict.refusal is not None
    until, topic = verdict.refusal.until, verdict.refusal.topic
    return (until is None, topic is None, verdict.gate == "confidence", 0.0 if until is None else until.timestamp())


def _count_late(counts: Counts, decision: Decision, action: Action, sent: _Sent | None) -> None:
    """A message that was decided, and held as it was about to leave."""
    if sent is None or sent.state not in ("refused", "dead"):
        return
    name = rule_of(sent.detail) or ("undeliverable" if sent.state == "dead" else "channel")
    rule = _rule(counts, name)
    rule.count += 1
    rule.looks += 1
    rule.at_the_door += 1
    _journey(counts, action.journey).held += 1
    found = sent.detail.split(":", 1)[-1].strip() or "no reason given"
    reason, _, fact = found.partition(": ")
    refusal = Refusal(reason, fact or "found as it was about to leave")
    counts.newest[rule.rule].append(_Held(decision, action, refusal))


def _rule(counts: Counts, name: str) -> HeldRule:
    rule = counts.rules.get(name)
    if rule is None:
        rule = counts.rules[name] = HeldRule(name, label_of(name), name in GUARDS)
        counts.newest[name] = deque(maxlen=EXAMPLES_MAX)
    return rule


def _example(held: _Held, names: Mapping[str, str], zone: ZoneInfo) -> HeldExample:
    decision, action, refusal = held.decision, with_names(held.action, names), held.refusal
    until = moment_in_words(refusal.until, zone) if refusal.until is not None else ""
    if not until and refusal.topic:
        kind, _, subject = refusal.topic.partition(":")
        until = f"{subject} is in stock again" if kind == "stock" else f"{subject} changes"
    return HeldExample(
        customer_id=decision.customer_id,
        decision_id=decision.decision_id,
        at=decision.decided_at,
        when=moment_in_words(decision.decided_at, zone),
        message=described(action),
        journey=action.journey,
        reason=refusal.reason,
        fact=refusal.fact,
        until=until,
        count=decision.count,
    )


# ------------------------------------------------------------------ whose story to tell

_WEIGHTS = {
    "fallback": 8,  # a plainer message went because a better one could not: the heart of the matter
    "sent": 6,
    "claims": 5,
    "confidence": 4,
    "outranked": 3,
    "products": 3,
    "caps": 2,
    "suppression": 2,
    "quiet_hours": 1,
}
_PAUSE = timedelta(days=3)


def _note_story(counts: Counts, decision: Decision, survivor: Callable[[str], str]) -> None:
    """How much a person's busiest days show: fallbacks taken, claims that failed, messages that lost to others."""
    if decision.lane == "owed" or not decision.considered:
        return
    shown = {verdict.gate or "" for verdict in decision.considered if verdict.refusal is not None}
    if decision.delivers:
        shown |= {"sent", "fallback"} if shown - {"placement"} else {"sent"}
    told = counts.stories.setdefault(survivor(decision.customer_id), Telling())
    if told.starts_at is None or told.ends_at is None or decision.decided_at - told.ends_at > _PAUSE:
        told.shown, told.starts_at = set(), decision.decided_at
    told.shown |= shown
    told.ends_at = decision.decided_at
    worth = sum(_WEIGHTS.get(gate, 0) for gate in told.shown)
    if worth > told.worth:
        told.worth, told.best = worth, (told.starts_at, told.ends_at)
