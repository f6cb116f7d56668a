"""One policy disposes: guards, gates, ranking and the control arm, over the proposals of all journeys at once.

`decide` is a function of its arguments and of the facts it asks the moment for. It notes each fact it read in the
decision it returns, so `decide_again` can run it on the record alone, long after, and must get the same record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import (
    Action,
    Contact,
    Customer,
    Decision,
    Estimate,
    Journey,
    Lane,
    Playbook,
    Proposal,
    Propose,
    Refusal,
    Verdict,
    World,
)
from wayline.errors import Broken
from wayline.governance.consent import GUARDS
from wayline.interpretation.moment import Moment, Recollection, recordable
from wayline.measurement.experiments import assign
from wayline.orchestration.gates import GATES, cart_skus, claimed, in_stock, in_stock_at
from wayline.orchestration.journeys import with_trigger

__all__ = [
    "Asked", "Ruling", "Wait",
    "arm_of", "asked_by", "decide", "decide_again", "recheck", "reserve", "shown_to",
]  # fmt: skip

_NO_PAGE = Refusal("shown when the website asks", "no page is asking now")
_A_MOMENT = timedelta(seconds=1)
_LOOKED_AT_MAX = 50  # products a choice of what to show looks through


class Asked(Struct, frozen=True):
    """Who asks, for the record: the stimulus, and the website slot if a page asks."""

    stimulus: str
    position: int = 0
    placement: str | None = None
    held: frozenset[str] = frozenset()
    """Holds on record: met again they are counted, not written again."""


class Wait(Struct, frozen=True):
    """A proposal that was held: judged again at `until`, or when a topic changes."""

    proposal: Proposal
    until: datetime
    topics: tuple[str, ...]
    decision_id: str


class Ruling(Struct, frozen=True):
    """What became of all proposals: a decision for each that stands, and until when the others wait."""

    decisions: tuple[tuple[Proposal | None, Decision], ...]
    waits: tuple[Wait, ...]
    holds: tuple[tuple[str, datetime], ...] = ()
    """Holds met again, and until when."""


class _Judged(Struct):
    proposal: Proposal
    verdicts: list[Verdict]
    standing: Verdict | None


def decide(proposals: Sequence[Proposal], moment: Moment, asked: Asked) -> Ruling:
    """Choose, by lane: each owed message goes; of all marketing at most one; what a page may show, best first."""
    if asked.placement is not None:
        fitting = [p for p in proposals if any(_is_for(action, asked.placement) for action in p.actions)]
        return _contest(fitting, "onsite", moment, asked)
    by_lane: dict[Lane, list[Proposal]] = {"owed": [], "onsite": [], "marketing": []}
    for proposal in proposals:
        by_lane[_lane(proposal, moment)].append(proposal)
    rulings = [_contest([proposal], "owed", moment, asked) for proposal in by_lane["owed"]]
    rulings.append(_contest(by_lane["marketing"], "marketing", moment, asked))
    for_pages = tuple(Wait(p, *_lifts(_Judged(p, [], None), moment), "") for p in by_lane["onsite"])
    return Ruling(
        tuple(chain(*(ruling.decisions for ruling in rulings))),
        (*chain(*(ruling.waits for ruling in rulings)), *for_pages),
        tuple(chain(*(ruling.holds for ruling in rulings))),
    )


def _lane(proposal: Proposal, moment: Moment) -> Lane:
    if moment.playbook.journeys[proposal.version].lane == "owed":
        return "owed"
    return "onsite" if all(action.lane == "onsite" for action in proposal.actions) else "marketing"


def _contest(rivals: Sequence[Proposal], lane: Lane, moment: Moment, asked: Asked) -> Ruling:
    """One winner among these, or none; each loser learns until when."""
    if not rivals:
        return Ruling((), ())
    moment.reads = {} if asked.placement is None else {"placement": asked.placement}
    moment.ruled = {}
    judged = [_judge(proposal, lane, moment, asked.placement) for proposal in rivals]
    winner = max((j for j in judged if j.standing is not None), key=_order, default=None)
    slot_frees = moment.now + moment.playbook.policy.slot
    for loser in judged:
        if winner is not None and loser is not winner and loser.standing is not None:
            assert winner.standing is not None
            _outrank(loser, winner.standing, slot_frees)
    chosen = _held(judged, lane, moment) if winner is None else _won(winner, lane, moment, asked)
    held_by = chosen.decision_id if winner is None else ""
    waits = tuple(Wait(j.proposal, *_lifts(j, moment), held_by) for j in judged if j is not winner)
    if chosen.until is not None and chosen.decision_id in asked.held:
        moment.reads = None
        return Ruling((), waits, ((chosen.decision_id, chosen.until),))
    decision = _record(judged, chosen, lane, moment, asked)
    moment.reads = None
    return Ruling(((None if winner is None else winner.proposal, decision),), waits)


def _order(judged: _Judged) -> tuple[float, str, str]:
    assert judged.standing is not None and judged.standing.score is not None
    # Names break ties the same way everywhere; the earlier name wins.
    return (judged.standing.score, _inverted(judged.proposal.journey), _inverted(judged.proposal.key))


def _inverted(name: str) -> str:
    return "".join(chr(0x10FFFF - ord(letter)) for letter in name)


def _judge(proposal: Proposal, lane: Lane, moment: Moment, placement: str | None) -> _Judged:
    """The first action that nothing refuses stands; those before it are refused, those after it not looked at."""
    if moment.reads is not None:
        enrolled_by = f"trigger:{proposal.journey}:{proposal.key}"
        moment.reads[enrolled_by] = moment.fact(enrolled_by)
    verdicts: list[Verdict] = []
    for action in proposal.actions:
        if lane == "onsite" and not _is_for(action, placement):
            continue
        if lane != "onsite" and action.lane == "onsite":
            verdicts.append(Verdict(action, "placement", _NO_PAGE))
            continue
        filled, verdict = _tried(action, moment, proposal)
        if verdict is None:
            standing = Verdict(filled, score=_score(filled, moment), basis=_basis(filled, moment))
            return _Judged(proposal, [*verdicts, standing], standing)
        verdicts.append(verdict)
    return _Judged(proposal, verdicts, None)


def _is_for(action: Action, placement: str | None) -> bool:
    return action.lane == "onsite" and action.placement in ("", placement)


def _tried(action: Action, moment: Moment, proposal: Proposal) -> tuple[Action, Verdict | None]:
    """The action with the products it would show, and its first refusal; they are chosen only when first asked for."""
    verdict = _forbidden(action, moment)
    if verdict is not None:
        return action, verdict
    is_filled = False
    for name in moment.playbook.policy.gates:
        if name == "claims":
            is_filled = True
            action, verdict = _filled(action, moment, proposal)
            if verdict is not None:
                return action, verdict
        if refusal := GATES[name](action, moment):
            return action, Verdict(action, name, refusal)
    return (action, None) if is_filled else _filled(action, moment, proposal)


def _forbidden(action: Action, moment: Moment) -> Verdict | None:
    """What no playbook can change: the guards, and one marketing message at a time."""
    for name, guard in GUARDS.items():
        if refusal := guard(action, moment):
            return Verdict(action, name, refusal)
    refusal = GATES["slot"](action, moment)
    return Verdict(action, "slot", refusal) if refusal else None


def _first_refusal(action: Action, moment: Moment) -> Verdict | None:
    if verdict := _forbidden(action, moment):
        return verdict
    for name in moment.playbook.policy.gates:
        if refusal := GATES[name](action, moment):
            return Verdict(action, name, refusal)
    return None


def _filled(action: Action, moment: Moment, proposal: Proposal) -> tuple[Action, Verdict | None]:
    """The action with the products it would show, or its refusal if there are none that may be shown."""
    content = moment.playbook.content.get(action.content)
    if content is None or not content.shows or action.shows:
        return action, None
    candidates: Iterable[str] = _candidates(content.shows, moment, proposal)
    first: Refusal | None = None
    stores = tuple("" if claim.name == "in_stock" else f"@{claim.subject}" for claim in action.claims
                   if claim.name == "in_stock_at" or (claim.name, claim.subject) == ("in_stock", "shown"))  # fmt: skip
    if stores:
        candidates, first = _stocked(candidates, content.shows_count, stores, moment)
    shows = tuple(islice(candidates, content.shows_count))
    if not shows and first is not None:
        return action, Verdict(action, "claims", first)
    if not shows:
        none = Refusal(f"{content.name} shows products ({content.shows})", "there is none to show to this customer")
        return action, Verdict(action, "products", none)
    return replace(action, shows=shows), None


def _stocked(skus: Iterable[str], most: int, stores: Sequence[str], moment: Moment) -> tuple[list[str], Refusal | None]:
    """The first so many that are in stock, looking no further than needed, and why the first that is not is not.

    Of `stores`, an empty one is the web shop, `@STORE` a store.
    """
    fine: list[str] = []
    first: Refusal | None = None
    for sku in skus:
        refusal = next(filter(None, (_missing(sku, store, moment) for store in stores)), None)
        if refusal is None:
            fine.append(sku)
            if len(fine) == most:
                break
        first = first or refusal
    return fine, first


def _missing(sku: str, store: str, moment: Moment) -> Refusal | None:
    return in_stock_at(f"{sku}{store}", moment) if store else in_stock(sku, moment)


def _candidates(shows: str, moment: Moment, proposal: Proposal) -> list[str]:
    if shows == "cart":
        return list(cart_skus(moment))
    if shows == "recent":
        return list(dict.fromkeys(str(row["sku"]) for row in moment.fact("viewed") or () if row.get("sku")))[
            :_LOOKED_AT_MAX
        ]
    if shows == "popular":
        return list(moment.fact("popular"))
    if shows == "trigger":
        trigger = moment.fact(f"trigger:{proposal.journey}:{proposal.key}") or {}
        return [str(trigger["sku"])] if trigger.get("sku") else []
    answer = moment.estimate(shows).value
    return [ranked.sku for ranked in answer[:_LOOKED_AT_MAX]] if isinstance(answer, tuple) else []


def _score(action: Action, moment: Moment) -> float:
    return action.value or moment.playbook.policy.ranking.get(action.journey, 0.0)


def _basis(action: Action, moment: Moment) -> Literal["rule", "model"]:
    return "model" if any(moment.estimate(question).basis == "model" for question in action.needs) else "rule"


def _outrank(loser: _Judged, winner: Verdict, slot_frees: datetime) -> None:
    assert loser.standing is not None
    won = winner.action
    refusal = Refusal(
        "another message wins",
        f"{won.journey or won.name} ranks higher ({winner.score:g} over {loser.standing.score:g})",
        slot_frees,
    )
    loser.verdicts[-1] = replace(loser.standing, gate="outranked", refusal=refusal)
    loser.standing = None


def _lifts(judged: _Judged, moment: Moment) -> tuple[datetime, tuple[str, ...]]:
    """The earliest instant any of its refusals lifts, and what in the world would lift one sooner."""
    policy = moment.playbook.policy
    journey = moment.playbook.journeys[judged.proposal.version]
    step = journey.steps[judged.proposal.step]
    assert isinstance(step, Propose)
    gives_up = judged.proposal.since + step.patience
    again = moment.now + policy.ask_again
    instants = [v.refusal.until or again for v in judged.verdicts if v.refusal and v.gate != "placement"]
    until = min([gives_up, *instants])
    topics = tuple(sorted({v.refusal.topic for v in judged.verdicts if v.refusal and v.refusal.topic}))
    return max(until, moment.now + _A_MOMENT), topics


def arm_of(journey: Journey, moment: Moment) -> tuple[str, dict[str, str], float]:
    """(arm, assignments in all experiments, probability of that arm). Owed messages are never held out."""
    if journey.lane == "owed":
        return "treatment", {}, 1.0
    assignments: dict[str, str] = {}
    treated = 1.0
    experiments = [("holdout", moment.playbook.policy.holdout)]
    if journey.control.mode != "none":
        experiments.append((f"journey:{journey.name}", journey.control.share))
    for experiment, share in experiments:
        if share <= 0.0:
            continue
        fixed = moment.fact(f"assignment:{experiment}")
        assignments[experiment] = fixed or assign(experiment, moment.customer.customer_id, share)
        treated *= 1.0 - share
    arm = "control" if "control" in assignments.values() else "treatment"
    return arm, assignments, treated if arm == "treatment" else 1.0 - treated


class _Chosen(Struct):
    """The half of a record that depends on whether anything won."""

    decision_id: str
    action: Action | None = None
    key: str = ""
    arm: str = "treatment"
    assignments: dict[str, str] = {}
    probability: float = 1.0
    versions: dict[str, str] = {}
    until: datetime | None = None


def _record(judged: Sequence[_Judged], chosen: _Chosen, lane: Lane, moment: Moment, asked: Asked) -> Decision:
    reads = moment.reads or {}
    return Decision(
        decision_id=chosen.decision_id,
        customer_id=moment.customer.customer_id,
        decided_at=moment.now,
        lane=lane,
        stimulus=asked.stimulus,
        action=chosen.action,
        key=chosen.key,
        probability=chosen.probability,
        arm=chosen.arm,
        assignments=chosen.assignments,
        considered=tuple(verdict for j in judged for verdict in j.verdicts),
        proposals=tuple(replace(j.proposal, actions=()) for j in judged),
        facts={name: recordable(value) for name, value in reads.items() if not isinstance(value, Estimate)},
        estimates={name[9:]: value for name, value in reads.items() if isinstance(value, Estimate)},
        versions={"playbook": moment.playbook.version, "policy": moment.playbook.policy.version} | chosen.versions,
        position=asked.position,
        until=chosen.until,
    )


def _won(winner: _Judged, lane: Lane, moment: Moment, asked: Asked) -> _Chosen:
    assert winner.standing is not None
    action = winner.standing.action
    journey = moment.playbook.journeys[winner.proposal.version]
    arm, assignments, probability = arm_of(journey, moment)
    content = moment.playbook.content.get(action.content)
    versions = {"journey": journey.version} | ({"content": content.version} if content else {})
    key = winner.proposal.key
    # A page that asks again must find its answer without knowing which journey gave it.
    parts = () if lane == "onsite" else (journey.name, key)
    decision_id = _digest(moment.customer.customer_id, asked.stimulus, lane, *parts)
    return _Chosen(decision_id, action, key, arm, assignments, probability, versions)


def _held(judged: Sequence[_Judged], lane: Lane, moment: Moment) -> _Chosen:
    signature = [part for j in judged for part in _signature(j)]
    decision_id = _digest(moment.customer.customer_id, "hold", lane, *signature)
    return _Chosen(decision_id, until=min(_lifts(j, moment)[0] for j in judged))


def _signature(judged: _Judged) -> list[str]:
    """What makes a hold the same hold: the same wish, refused by the same rules."""
    wish = judged.proposal
    return [
        wish.journey,
        wish.key,
        wish.step,
        str(wish.attempt),
        wish.since.isoformat(),
        *(v.gate or "" for v in judged.verdicts),
    ]


def recheck(decision: Decision, moment: Moment) -> Verdict | None:
    """Guards, gates and claims once more as the message leaves; its own reservation does not stand in its way."""
    assert decision.action is not None
    contacts: Sequence[Contact] = moment.customer.standing.contacts
    spent = {f"budget.{name}": amount for name, amount in decision.action.spends.items()}
    known = {"contacts": contacts, **{name: moment.fact(name) for name in spent}}
    moment.known["contacts"] = tuple(c for c in contacts if c.decision_id != decision.decision_id)
    moment.known.update({name: known[name] + spent[name] for name in spent if known[name] is not None})
    moment.ruled = {}
    try:
        return _first_refusal(decision.action, moment) or _same_mailbox(decision, moment)
    finally:
        moment.known.update(known)


def _same_mailbox(decision: Decision, moment: Moment) -> Verdict | None:
    """Two people on one mailbox are not sent the same content twice."""
    action = decision.action
    assert action is not None
    if action.purpose != "marketing":
        return None
    window = moment.playbook.policy.repeat_window
    for contact in moment.fact(f"mailbox.{action.channel}") or ():
        if (
            contact.content == action.content
            and contact.at + window > moment.now
            and contact.decision_id != decision.decision_id
        ):
            found = f"{contact.content} on {contact.at:%d %b %H:%M}"
            refusal = Refusal(
                "this mailbox had the same message, for somebody who shares it", found, contact.at + window
            )
            return Verdict(action, "mailbox", refusal)
    return None


def asked_by(request_id: str) -> str:
    """The stimulus of a page that asks, as records name it."""
    return f"ask:{request_id}"


def shown_to(customer_id: str, request_id: str) -> str:
    """The id of what this request was shown, if it was shown anything: one request, one answer."""
    return _digest(customer_id, asked_by(request_id), "onsite")


def reserve(decision: Decision, moment: Moment) -> Contact:
    """The cap slots this decision holds from now on, in both arms."""
    action = decision.action
    assert action is not None
    return Contact(
        decision_id=decision.decision_id,
        at=moment.now,
        channel=action.channel,
        purpose=action.purpose,
        lane=action.lane,
        journey=action.journey,
        content=action.content,
        claims=tuple(f"{c.name}:{c.subject}" for c in claimed(action, moment)),
        delivers=decision.delivers,
    )


def decide_again(decision: Decision, playbook: Playbook, world: World) -> Decision:
    """Decide from the record alone. Equal to the record, or the record is not what was decided.

    Raises Broken if a journey version is gone from the playbook, or deciding asks for a fact the record lacks.
    """
    moment = Recollection(
        decision.facts,
        decision.estimates,
        now=decision.decided_at,
        customer=Customer(decision.customer_id),
        playbook=playbook,
        world=world,
    )
    proposals = [_recalled(p, decision.facts, playbook) for p in decision.proposals]
    placement = decision.facts.get("placement") if decision.lane == "onsite" else None
    asked = Asked(decision.stimulus, decision.position, placement)
    ((_, again),) = _contest(proposals, decision.lane, moment, asked).decisions
    # How often a hold was repeated, and until when, is bookkeeping that goes on after it was decided.
    return replace(again, count=decision.count, until=decision.until) if again.action is None else again


def _recalled(wish: Proposal, facts: Mapping[str, Any], playbook: Playbook) -> Proposal:
    journey = playbook.journeys.get(wish.version)
    step = journey.steps.get(wish.step) if journey else None
    if not isinstance(step, Propose):
        raise Broken(
            f"journey {wish.journey!r} version {wish.version} has no proposing step {wish.step!r} in this playbook"
        )
    trigger = facts.get(f"trigger:{wish.journey}:{wish.key}") or {}
    return replace(wish, actions=with_trigger(step.actions[wish.attempt :], trigger))


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()
