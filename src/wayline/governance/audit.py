"""Why this, why not that, and what would have changed it: a decision in plain words, from its record alone.

The words are those people see on screen; the names inside the code never show. Nothing is looked up that the decision
did not record: the playbook only lends the shop's time zone and says who owns a journey, and a decision outlives both.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wayline.domain import Action, Decision, Estimate, Playbook, Ranked, Refusal, Verdict
from wayline.governance.consent import GUARDS
from wayline.measurement.verdicts import money

__all__ = [
    "FACTS_MAX",
    "RULE_LABELS",
    "described",
    "explain",
    "how_sure",
    "label_of",
    "moment_in_words",
    "refusal_in_words",
    "rule_of",
    "zone_for",
]

FACTS_MAX = 12
"""Remembered facts named in an explanation; the record holds all."""

RULE_LABELS: Mapping[str, str] = {
    "objection": "Objected to marketing",
    "address": "No address",
    "claimed_address": "Address not confirmed",
    "suppressed_address": "Address bounced or complained",
    "consent": "No consent",
    "text_hours": "Outside lawful hours for texts",
    "slot": "Another message had the moment",
    "suppression": "Not now",
    "claims": "No longer true",
    "confidence": "Not sure enough",
    "repeat": "Same message lately",
    "caps": "Message limit reached",
    "quiet_hours": "Quiet hours",
    "budget": "Daily budget used up",
    "outranked": "Another message won",
    "placement": "Website was not asking",
    "products": "Nothing to show",
    "mailbox": "Shared mailbox had it already",
    "journey": "Person had left the journey",
    "content": "Text could not be written",
    "undeliverable": "Could not be delivered",
    "channel": "Provider refused it",
}

_WOULD_CHANGE: Mapping[str, str] = {
    "objection": "the customer taking the objection back",
    "address": "an address for this channel",
    "claimed_address": "an order, a click in a mail or a double opt-in that confirms the address",
    "suppressed_address": "a working address",
    "consent": "a consent for marketing in this channel",
    "text_hours": "a lawful hour",
    "slot": "no other message so shortly before",
    "claims": "the fact being true when the message lands",
    "confidence": "a surer answer",
    "repeat": "a different text, or more time",
    "caps": "fewer messages lately",
    "quiet_hours": "another hour of the day",
    "budget": "something left of today's budget",
    "outranked": "a higher rank, or the other message not wanting to go",
    "placement": "the website asking for this slot",
    "products": "a product worth showing",
    "mailbox": "nobody sharing the mailbox having had it",
    "journey": "the person still waiting for it",
}

_AMOUNTS = frozenset({"price", "revenue", "total", "subtotal", "discount", "value", "refund"})

_SHOWN_MAX = 2  # products named of those a message shows

_CHANNELS = {"email": "e-mail", "sms": "text message", "push": "push message", "onsite": "website"}


def explain(decision: Decision, playbook: Playbook) -> tuple[str, ...]:
    """The decision in plain words, most important first: a sentence a line."""
    zone = zone_for(playbook)
    lines = [_headline(decision, zone), _asked_by(decision, zone)]
    lines += [_considered(verdict, zone) for verdict in decision.considered if verdict.refusal is not None]
    lines += _chosen_over(decision)
    lines += _would_change(decision, zone)
    lines.append(_chance(decision))
    lines += [_prediction(estimate) for _, estimate in sorted(decision.estimates.items())]
    lines += _facts(decision.facts, playbook)
    lines += _owner(decision, playbook)
    return tuple(lines)


def _headline(decision: Decision, zone: ZoneInfo) -> str:
    at = moment_in_words(decision.decided_at, zone)
    action = decision.action
    if action is None:
        often = f" Looked at {decision.count} times, always for the same reasons." if decision.count > 1 else ""
        return f"Waiting: on {at} nothing was sent, since every option was held back.{often}"
    journey = f" for the journey '{action.journey}'" if action.journey else ""
    if not decision.delivers:
        chosen = f"on {at} {described(action)}{journey} was chosen and not sent"
        return f"Control group: {chosen}, to have something to compare with."
    verb = "shown" if action.lane == "onsite" else "chosen"
    return f"On {at} {described(action)}{journey} was {verb}."


def _asked_by(decision: Decision, zone: ZoneInfo) -> str:
    kind, _, rest = decision.stimulus.partition(":")
    match kind:
        case "event":
            return f"Asked because something happened (number {rest} in the log)."
        case "wake":
            return f"Asked because a waiting time was over ({_instant(rest, zone)})."
        case "ask":
            return f"Asked by a website request ({rest})."
        case "hand_over":
            return f"Asked because an earlier message ({rest}) was about to leave."
    return f"Asked by {decision.stimulus}."


def _considered(verdict: Verdict, zone: ZoneInfo) -> str:
    assert verdict.refusal is not None
    return f"Held back: {described(verdict.action)}. {refusal_in_words(verdict.gate, verdict.refusal, zone)}"


def refusal_in_words(gate: str | None, refusal: Refusal, zone: ZoneInfo) -> str:
    """A refusal as `which rule, what was found, until when`."""
    kind = "Legal rule (always on)" if gate in GUARDS else "Sending rule"
    named = f" '{label_of(gate).lower()}'" if gate else ""
    until = ""
    if refusal.until is not None:
        until = f" Until {moment_in_words(refusal.until, zone)}."
    elif refusal.topic:
        until = f" Until {_topic(refusal.topic)}."
    return f"{kind}{named}: {refusal.reason}; found: {refusal.fact}.{until}"


def _chosen_over(decision: Decision) -> list[str]:
    """The options nothing spoke against, with what ranked them and whether a model had a say."""
    lines = []
    for verdict in decision.considered:
        if verdict.refusal is None:
            by = "a model had a say" if verdict.basis == "model" else "by rule, no model had a say"
            rank = "" if verdict.score is None else f" Rank {verdict.score:g}."
            lines.append(f"Nothing spoke against {described(verdict.action)}.{rank} Rule or model: {by}.")
    return lines


def _would_change(decision: Decision, zone: ZoneInfo) -> list[str]:
    """For each option held back, what would have let it through."""
    lines = []
    for verdict in decision.considered:
        if verdict.refusal is None:
            continue
        change = _WOULD_CHANGE.get(verdict.gate or "", "")
        if verdict.gate == "suppression" or not change:
            change = f"'{verdict.refusal.reason}' no longer being so"
        if verdict.gate == "confidence":
            change = f"a surer answer: {verdict.refusal.fact}"
        lines.append(f"What would have let {described(verdict.action)} through this rule: {change}.")
    if decision.action is None and decision.until is not None:
        lines.append(f"Looked at again on {moment_in_words(decision.until, zone)}, or earlier if the facts change.")
    return list(dict.fromkeys(lines))


def _chance(decision: Decision) -> str:
    chance = f"Chance this option was picked: {decision.probability:.0%}"
    if not decision.assignments:
        return f"{chance}; no experiment was involved."
    arms = ", ".join(
        f"{name} {'control group' if arm == 'control' else 'gets it'}"
        for name, arm in sorted(decision.assignments.items())
    )
    return f"{chance}; experiments: {arms}."


def _prediction(estimate: Estimate) -> str:
    if estimate.confidence <= 0 or estimate.value is None:
        why = f" ({'; '.join(estimate.reasons)})" if estimate.reasons else ""
        return f"Prediction {estimate.question}: no answer, so nothing was built on it{why}."
    why = f", because {'; '.join(estimate.reasons)}" if estimate.reasons else ""
    by = f"a model ({estimate.version})" if estimate.basis == "model" else "a rule"
    sure = f"{how_sure(estimate.confidence)} ({estimate.confidence:.2f})"
    return f"Prediction {estimate.question}: {_value(estimate.value)}; how sure: {sure}; by {by}{why}."


def _facts(facts: Mapping[str, Any], playbook: Playbook) -> list[str]:
    """What it looked at; the message history and the trigger are told by the refusals themselves."""
    lines = []
    match = facts.get("match_confidence")
    if match is not None:
        lines.append(f"Same person? How sure: {how_sure(match)} ({match:.2f}).")
    shown = {
        name: value
        for name, value in sorted(facts.items())
        if ":" not in name and name not in ("contacts", "match_confidence", "now") and not name.startswith("mailbox.")
    }
    told = [f"{name} is {_fact(name, value, playbook)}" for name, value in list(shown.items())[:FACTS_MAX]]
    more = f"; and {len(shown) - FACTS_MAX} more" if len(shown) > FACTS_MAX else ""
    return [*lines, f"Remembered facts it looked at: {'; '.join(told)}{more}."] if told else lines


def _owner(decision: Decision, playbook: Playbook) -> list[str]:
    journey = playbook.journeys.get(decision.versions.get("journey", ""))
    if journey is None or not journey.owner.business:
        return []
    return [f"Questions about '{journey.name}' go to {journey.owner.business}."]


def described(action: Action) -> str:
    """An option in words: its text, its channel, what it shows."""
    name = f"'{action.content or action.name}'"
    channel = _CHANNELS.get(action.channel, action.channel)
    where = f" in website slot '{action.placement}'" if action.placement else f" by {channel}"
    rest = len(action.shows) - _SHOWN_MAX
    more = f" and {rest} more" if rest > 0 else ""
    shows = f" showing {', '.join(action.shows[:_SHOWN_MAX])}{more}" if action.shows else ""
    return f"{name}{where}{shows}"


def how_sure(confidence: float) -> str:
    """A confidence in the word people see."""
    return "high" if confidence >= 0.8 else "medium" if confidence >= 0.5 else "low"


def label_of(gate: str | None) -> str:
    """The few words a rule is called by on screen; a rule of the playbook's own keeps its name."""
    return RULE_LABELS.get(gate or "", (gate or "Held back").replace("_", " ").capitalize())


def rule_of(detail: str) -> str:
    """The rule that refused a message as it left, from the delivery's note (`caps: ...`); empty if it names none."""
    name = detail.split(":", 1)[0].strip()
    return name if name in RULE_LABELS else ""


def zone_for(playbook: Playbook) -> ZoneInfo:
    """The shop's own clock: what every time on screen is read by."""
    try:
        return ZoneInfo(playbook.policy.zone)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def moment_in_words(at: datetime, zone: ZoneInfo) -> str:
    """An instant by the shop's clock: `27 Nov 14:05`."""
    return f"{at.astimezone(zone):%-d %b %H:%M}"


def _instant(text: str, zone: ZoneInfo) -> str:
    try:
        return moment_in_words(datetime.fromisoformat(text), zone)
    except ValueError:
        return text


def _topic(topic: str) -> str:
    kind, _, subject = topic.partition(":")
    match kind:
        case "stock":
            return f"{subject} is in stock again"
        case "price":
            return f"the price of {subject} changes"
        case "budget":
            return f"the budget {subject} is filled again"
    return f"{topic} changes"


def _fact(name: str, value: object, playbook: Playbook) -> str:
    # An address is kept as a keyed hash: that there is one is all that can be said, and all that was used.
    if name.startswith("address.") and value:
        return "known"
    if isinstance(value, int | float) and not isinstance(value, bool) and _is_money(name, playbook):
        return money(value, playbook.currency, cents=True)
    return _value(value)


def _is_money(name: str, playbook: Playbook) -> bool:
    """Whether a remembered fact is an amount: by how it is declared, since a number alone does not say."""
    facet = playbook.facets.get(name)
    if facet is None:
        return False
    return facet.read == "amount" or (facet.read != "count" and facet.value.rpartition(".")[2] in _AMOUNTS)


def _value(value: object) -> str:
    """A fact as a person would write it."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, datetime):
        return f"{value:%-d %b %Y %H:%M} UTC"
    if isinstance(value, Ranked):
        return value.sku
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(item)}" for key, item in list(value.items())[:4]) or "nothing"
    if isinstance(value, list | tuple):
        return _listed(value)
    return str(value)


def _listed(items: list[Any] | tuple[Any, ...]) -> str:
    if not items:
        return "nothing"
    shown = ", ".join(f"({_value(item)})" if isinstance(item, Mapping) else _value(item) for item in items[:3])
    return f"{shown} and {len(items) - 3} more" if len(items) > 3 else shown
