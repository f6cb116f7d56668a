"""One shopper's story: what happened and what was decided, merged in time, in plain words.

Events are read from the log by the identifiers that belong to this person now; decisions and deliveries from the
state. Both carry pseudonyms only, so a story can be printed; who it is stays in the vault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Action, Customer, Decision, Event, Identifier, Playbook, Verdict
from wayline.governance.audit import (
    described,
    explain,
    how_sure,
    label_of,
    moment_in_words,
    refusal_in_words,
    rule_of,
    zone_for,
)
from wayline.measurement.verdicts import money
from wayline.observation.feedback import is_automated
from wayline.runtime.kinship import kinship_of, told_in_words
from wayline.store import Delivery, Log, State

__all__ = [
    "EVENTS_MAX",
    "Mark",
    "Story",
    "StoryLine",
    "owner_of",
    "product_names",
    "strongest_first",
    "timeline",
    "with_names",
]

EVENTS_MAX = 500
"""Events of one person that a timeline reads; the newest are kept."""

_DECISIONS_MAX = 500
"""Decisions of one person that a timeline reads; the newest are kept."""

_VISIT_GAP = timedelta(minutes=30)

Mark: TypeAlias = Literal["event", "order", "sent", "shown", "control", "held", "idle", "unclear", "pending"]

_KINDS = ("user_id", "email", "phone", "push_token", "device_id", "anonymous_id")
_STRENGTH = {kind: place for place, kind in enumerate(_KINDS)}
_BROWSING = frozenset(
    {"Page Viewed", "Screen Viewed", "Product List Viewed", "Products Searched", "Product List Filtered"}
)


class StoryLine(Struct, frozen=True, omit_defaults=True):
    """One thing that happened or was decided, with what lies behind it."""

    at: datetime
    when: str
    mark: Mark
    text: str
    details: tuple[str, ...] = ()
    decision_id: str = ""
    note: str = ""
    """A label: arrived late, imported."""


class Story(Struct, frozen=True, omit_defaults=True):
    """A person's timeline, with what is remembered of them."""

    customer_id: str
    lines: tuple[StoryLine, ...]
    same_person: str
    identifiers: Mapping[str, int]
    """Kind of identifier to how many are known."""
    consents: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    """Person in journey: where they stand."""
    more: bool = False
    """Whether older events exist that are not shown."""
    evidence: tuple[str, ...] = ()
    """How they came to be one person: what was merged, split and is asked, a sentence each."""


def timeline(state: State, log: Log, playbook: Playbook, customer_id: str) -> Story | None:
    """The story of one person, oldest first; None if nobody of that id is known."""
    customer_id = state.survivor(customer_id)
    customer = state.load([customer_id]).get(customer_id)
    if customer is None:
        return None
    zone = zone_for(playbook)
    identifiers = _theirs(state, customer)
    events = _events_of(state, log, identifiers, customer_id)
    deliveries = {row.decision_id: row for row in state.deliveries(customer_id)}
    decisions = list(state.decisions(customer_id))[-_DECISIONS_MAX:]
    lines = [_event_line(event, playbook, zone) for event in _visits(events)]
    names = product_names(state)
    for decision in decisions:
        lines.append(_decision_line(_in_names(decision, names), deliveries.get(decision.decision_id), playbook, zone))
    kinds = [one.kind for one in identifiers]
    return Story(
        customer_id=customer_id,
        lines=tuple(sorted(lines, key=lambda line: (line.at, line.decision_id))),
        same_person=f"{how_sure(customer.match_confidence)} ({customer.match_confidence:.2f})",
        evidence=tuple(told_in_words(kinship)) if (kinship := kinship_of(state, customer_id)) else (),
        identifiers={kind: kinds.count(kind) for kind in sorted(set(kinds))},
        consents=_consents(customer),
        inside=_inside(customer, zone),
        more=len(events) >= EVENTS_MAX,
    )


def strongest_first(identifiers: Iterable[Identifier]) -> list[Identifier]:
    """Identifiers with the one that says most about who it is in front: a log-in before a shared device."""
    return sorted(
        identifiers, key=lambda one: (_KINDS.index(one.kind) if one.kind in _KINDS else len(_KINDS), one.value)
    )


def owner_of(event: Event, resolved: Mapping[Identifier, str]) -> str:
    """Whose event it is: that of the strongest identifier anybody is known by; empty if nobody is."""
    return next((resolved[one] for one in strongest_first(event.identifiers) if one in resolved), "")


def _theirs(state: State, customer: Customer) -> list[Identifier]:
    linked = {link.identifier for link in state.links(customer.customer_id)} | set(customer.memory.identifiers)
    owners = state.resolve(sorted(linked))
    return strongest_first(one for one in linked if owners.get(one, customer.customer_id) == customer.customer_id)


def _events_of(state: State, log: Log, identifiers: Sequence[Identifier], customer_id: str) -> list[Event]:
    """This person's events by occurrence; those that a shared device brings in from others are left out."""
    found = log.about(identifiers, EVENTS_MAX) if identifiers else []
    owners = state.resolve(sorted({one for event in found for one in event.identifiers}))
    mine = [event for event in found if owner_of(event, owners) in ("", customer_id)]
    return sorted(mine, key=lambda event: event.stamp)


def _visits(events: Sequence[Event]) -> list[Event]:
    """Runs of plain browsing become one line: nobody reads forty page views."""
    kept: list[Event] = []
    for event in events:
        last = kept[-1] if kept else None
        if last is None or not _is_same_visit(last, event):
            kept.append(event)
            continue
        pages = last.properties.get("pages", 1) + 1
        kept[-1] = replace(last, properties={**last.properties, "pages": pages, "ended_at": event.occurred_at})
    return kept


def _is_same_visit(last: Event, event: Event) -> bool:
    ended_at = last.properties.get("ended_at", last.occurred_at)
    return last.name in _BROWSING and event.name in _BROWSING and event.occurred_at - ended_at <= _VISIT_GAP


# ------------------------------------------------------------------ what happened, in words

_WORDS: Mapping[str, str] = {
    "Product Viewed": "Looked at {product}",
    "Product Clicked": "Clicked on {product}",
    "Product Added": "Put {product} in the cart",
    "Product Removed": "Took {product} out of the cart",
    "Cart Viewed": "Looked at the cart",
    "Cart Emptied": "Emptied the cart",
    "Checkout Started": "Started the checkout",
    "Checkout Step Viewed": "Reached checkout step {step}",
    "Checkout Step Completed": "Finished checkout step {step}",
    "Checkout Lingered": "Hesitated at checkout step {step}",
    "Checkout Exited": "Left the checkout at step {step}",
    "Payment Info Entered": "Entered how to pay",
    "Payment Failed": "The payment failed",
    "Order Completed": "Ordered for {amount}",
    "Store Purchase": "Bought in the store for {amount}",
    "Order Cancelled": "The order was cancelled",
    "Order Refunded": "Money was paid back",
    "Order Shipped": "The order was shipped",
    "Order Delivered": "The order arrived",
    "Order Delayed": "The delivery is late, now expected {new_promised_on}",
    "Pickup Ready": "The order is ready to be picked up",
    "Pickup Completed": "Picked the order up",
    "Return Requested": "Wants to send something back",
    "Return Received": "A return arrived",
    "Ticket Opened": "Asked for help ({topic})",
    "Ticket Updated": "The question went on",
    "Ticket Closed": "The question was settled",
    "Help Viewed": "Read the help on {topic}",
    "Email Delivered": "The e-mail arrived",
    "Email Opened": "The e-mail was opened (machines open too)",
    "Email Link Clicked": "Clicked a link in the e-mail",
    "Email Bounced": "The e-mail came back",
    "SMS Delivered": "The text message arrived",
    "SMS Failed": "The text message did not arrive",
    "SMS Received": "Answered by text message",
    "Message Sent": "{tool} sent something by {channel}",
    "Email Marked as Spam": "Marked the e-mail as spam",
    "Unsubscribed": "Unsubscribed",
    "Consent Granted": "Allowed {purpose} by {channel}",
    "Consent Withdrawn": "Took back the consent to {purpose} by {channel}",
    "Product Added to Wishlist": "Put {product} on the wish list",
    "Product Reviewed": "Wrote a review of {product}",
    "Back In Stock Requested": "Wants to hear when {product} is back",
    "Reward Earned": "Earned {points} points",
    "Identify": "Told who they are",
}
_ORDERS = frozenset({"Order Completed", "Store Purchase"})


def _event_line(event: Event, playbook: Playbook, zone: ZoneInfo) -> StoryLine:
    late = event.received_at - event.occurred_at > playbook.policy.lateness
    note = "imported" if not event.fires else "arrived late" if late else ""
    note = "by a machine" if is_automated(event) else note
    return StoryLine(
        at=event.occurred_at,
        when=moment_in_words(event.occurred_at, zone),
        mark="order" if event.name in _ORDERS else "idle" if event.kind == "internal" else "event",
        text=_in_words(event, playbook.currency) + _device(event),
        note=note,
    )


def _in_words(event: Event, currency: str) -> str:
    if event.name in _BROWSING:
        pages = event.properties.get("pages", 1)
        return f"Looked around: {pages} page{'s' if pages != 1 else ''}"
    template = _WORDS.get(event.name)
    return event.name if template is None else template.format_map(_Told(event.properties, currency))


class _Told(dict[str, str]):
    """Properties as words for a template; what was not told reads as such."""

    def __init__(self, properties: Mapping[str, Any], currency: str) -> None:
        super().__init__()
        self._properties = properties
        self._currency = str(properties.get("currency") or currency)

    def __missing__(self, name: str) -> str:
        if name == "product":
            return _product(self._properties, self._currency)
        if name == "amount":
            amount = next(
                (self._properties[key] for key in ("revenue", "total", "value") if key in self._properties), None
            )
            return (
                money(amount, self._currency, cents=True) if isinstance(amount, int | float) else "an amount not told"
            )
        value = self._properties.get(name)
        return str(value) if value not in (None, "") else "(not told)"


def _product(properties: Mapping[str, Any], currency: str) -> str:
    name = properties.get("name") or properties.get("sku") or properties.get("product_id") or "a product"
    price = properties.get("price")
    return f"{name} ({money(price, currency, cents=True)})" if isinstance(price, int | float) else str(name)


def _device(event: Event) -> str:
    device = event.context.get("device") if event.kind != "internal" else None
    kind = device.get("type") if isinstance(device, Mapping) else None
    return f", on {kind}" if isinstance(kind, str) and kind else ""


# ------------------------------------------------------------------ what was decided, in words


def product_names(state: State) -> dict[str, str]:
    """SKU to what the product is called, where that was told."""
    return {product.sku: product.name for product in state.products() if product.name}


def with_names(action: Action, names: Mapping[str, str]) -> Action:
    """The same action with its products by name: people know a parka, not a number."""
    if not action.shows:
        return action
    return replace(action, shows=tuple(dict.fromkeys(names.get(sku, sku) for sku in action.shows)))


def _in_names(decision: Decision, names: Mapping[str, str]) -> Decision:
    action = None if decision.action is None else with_names(decision.action, names)
    considered = tuple(replace(each, action=with_names(each.action, names)) for each in decision.considered)
    return replace(decision, action=action, considered=considered)


def _decision_line(decision: Decision, delivery: Delivery | None, playbook: Playbook, zone: ZoneInfo) -> StoryLine:
    mark, text, at = _outcome(decision, delivery, zone)
    return StoryLine(
        at=at,
        when=moment_in_words(at, zone),
        mark=mark,
        text=text,
        details=explain(decision, playbook),
        decision_id=decision.decision_id,
    )


def _outcome(decision: Decision, delivery: Delivery | None, zone: ZoneInfo) -> tuple[Mark, str, datetime]:
    action = decision.action
    if action is None:
        refused = [verdict for verdict in decision.considered if verdict.gate != "placement"]
        if not refused:
            return "idle", "Waiting for the website to ask", decision.decided_at
        return "held", _held(refused, zone), decision.decided_at
    if decision.lane == "onsite":
        shown = decision.delivers
        verb = "Showed" if shown else "Control group: would have shown"
        return "shown" if shown else "control", f"{verb} {described(action)}{_for(action)}", decision.decided_at
    if delivery is None:
        return "pending", f"Chose {described(action)}{_for(action)}", decision.decided_at
    return _delivered(action, decision, delivery)


def _delivered(action: Action, decision: Decision, delivery: Delivery) -> tuple[Mark, str, datetime]:
    at = delivery.settled_at or decision.decided_at
    named = f"{described(action)}{_for(action)}{_instead_of(decision, action)}"
    match delivery.state:
        case "sent":
            return "sent", f"Sent {named}", at
        case "withheld":
            return "control", f"Control group: would have sent {named}", at
        case "refused":
            rule = rule_of(delivery.detail)
            why = label_of(rule).lower() if rule else "it was refused"
            return "held", f"Held back {named} as it was about to leave: {why} ({delivery.detail})", at
        case "dead":
            return "unclear", f"Could not be delivered: {named} ({delivery.detail or 'no reason given'})", at
        case "unknown":
            return "unclear", f"Delivery unclear: {named}", at
        case "pending" | "attempting":
            return "pending", f"Waiting to leave: {named}", decision.decided_at


def _instead_of(decision: Decision, action: Action) -> str:
    """The better message of the same journey that could not go, where this is its fallback."""
    for verdict in decision.considered:
        if verdict.refusal is not None and verdict.gate != "placement" and verdict.action.journey == action.journey:
            return f", instead of '{verdict.action.content or verdict.action.name}': {verdict.refusal.reason}"
    return ""


def _held(considered: Sequence[Verdict], zone: ZoneInfo) -> str:
    refused = [verdict for verdict in considered if verdict.refusal is not None]
    first = refused[0]
    assert first.refusal is not None
    more = len(refused) - 1
    others = f" {more} other option{'s were' if more > 1 else ' was'} held back too." if more else ""
    why = refusal_in_words(first.gate, first.refusal, zone)
    return f"Held back {described(first.action)}{_for(first.action)}. {why}{others}"


def _for(action: Action) -> str:
    return f" for '{action.journey}'" if action.journey else ""


def _consents(customer: Customer) -> tuple[str, ...]:
    lines = []
    for name, consent in sorted(customer.memory.consents.items()):
        channel, _, purpose = name.partition(":")
        if purpose == "objection":
            if consent.is_granted:
                lines.append("objected to direct marketing")
            continue
        lines.append(f"{purpose} by {channel}: {'allowed' if consent.is_granted else 'taken back'}")
    return tuple(lines)


def _inside(customer: Customer, zone: ZoneInfo) -> tuple[str, ...]:
    lines = []
    for enrollment in customer.standing.enrollments:
        since = moment_in_words(enrollment.entered_at, zone)
        where = f"in step '{enrollment.step}'" if enrollment.is_open else enrollment.status
        again = f", looked at again {moment_in_words(enrollment.wake_at, zone)}" if enrollment.wake_at else ""
        lines.append(f"{enrollment.journey}: {where} (entered {since}{again if enrollment.is_open else ''})")
    return tuple(lines)
