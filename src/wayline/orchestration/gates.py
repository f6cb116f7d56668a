"""The sending rules a playbook chooses and orders: each gate answers "why not, and until when?".

A gate reads facts from the moment and nothing else, so what it read is in the decision's record and it answers the
same when the decision is replayed. `until` is the first instant at which time alone would lift the refusal; `topic`
names what in the world would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import time, timedelta
from typing import Any

from wayline.domain import Action, Cap, Claim, Contact, QuietHours, Refusal, Suppression
from wayline.governance.consent import Gate, local_time, next_local, zone_of
from wayline.interpretation.moment import Moment
from wayline.orchestration.wording import lasting

__all__ = ["GATES", "cart_skus", "claimed", "in_stock", "in_stock_at", "spread"]

_CONTRADICTION_WINDOW = timedelta(hours=48)

_ORDERS_CLOSED = frozenset({"Order Cancelled", "Order Delivered", "Pickup Completed"})


def _slot(action: Action, moment: Moment) -> Refusal | None:
    """One marketing message at a time has the customer's attention."""
    if action.lane != "marketing":
        return None
    width = moment.playbook.policy.slot
    latest = max((c.at for c in _contacts(moment) if c.lane == "marketing"), default=None)
    if latest is None or latest + width <= moment.now:
        return None
    return Refusal("another marketing message has the slot", f"one was decided at {latest:%d %b %H:%M}", latest + width)


def _suppression(action: Action, moment: Moment) -> Refusal | None:
    """A named rule says not now: after a purchase, while a ticket is open."""
    for rule in moment.playbook.policy.suppressions:
        if action.purpose not in rule.purposes or action.journey in rule.except_journeys:
            continue
        if rule.name not in moment.ruled:
            moment.ruled[rule.name] = _suppressed(rule, moment)
        refusal: Refusal | None = moment.ruled[rule.name]
        if refusal is not None:
            return refusal
    return None


def _suppressed(rule: Suppression, moment: Moment) -> Refusal | None:
    if rule.when.evaluate(moment.fact, moment.now) is not True:
        return None
    found = "; ".join(rule.when.explain(moment.fact, moment.now)) or rule.when.text
    return Refusal(f"{rule.name}: {rule.reason}", found, rule.when.flips_at(moment.fact, moment.now))


def _claims(action: Action, moment: Moment) -> Refusal | None:
    """What the message says must be true now, and must not contradict what was said or is about to be."""
    for claim in claimed(action, moment):
        refused = _CLAIMS[claim.name](claim.subject, moment) or _contradicted(claim, moment)
        if refused:
            return refused
    return None


def _confidence(action: Action, moment: Moment) -> Refusal | None:
    """A personalised action stands only on answers sure enough; below, the next, plainer action is tried."""
    if not action.needs:
        return None
    floor = moment.playbook.policy.confidence_floor
    match = moment.fact("match_confidence")
    if match < floor:
        return Refusal(
            f"too unsure who this is for a personalised message (needs {floor:.2f})",
            f"match {match:.2f} < {floor:.2f}: rule used",
        )
    for question, least in action.needs.items():
        answer = moment.estimate(question)
        if answer.confidence < least:
            return Refusal(
                f"too unsure about {question} (needs {least:.2f})", f"{question} {answer.confidence:.2f} < {least:.2f}"
            )
    return None


def _repeat(action: Action, moment: Moment) -> Refusal | None:
    """The same content is not sent twice within the window."""
    if action.purpose != "marketing" or not action.content:
        return None
    window = moment.playbook.policy.repeat_window
    same = max((c.at for c in _contacts(moment) if c.content == action.content), default=None)
    if same is None or same + window <= moment.now:
        return None
    return Refusal(
        f"the same message within {lasting(window)}", f"{action.content} on {same:%d %b %H:%M}", same + window
    )


def _caps(action: Action, moment: Moment) -> Refusal | None:
    """No window holds more contacts than its cap, those reserved and not yet sent included.

    What a page shows and what a customer is owed neither takes a message's place nor is refused one.
    """
    worst: Refusal | None = None
    if action.lane != "marketing":
        return None
    for cap in moment.playbook.policy.caps:
        refused = _capped(cap, action, moment)
        # All caps must be free at once, so the one that frees last says until when.
        if refused and (worst is None or (refused.until or moment.now) > (worst.until or moment.now)):
            worst = refused
    return worst


def _capped(cap: Cap, action: Action, moment: Moment) -> Refusal | None:
    if not _matches(cap, action.channel, action.purpose, action.journey):
        return None
    since = moment.now - cap.window
    times = sorted(
        c.at
        for c in _contacts(moment)
        if c.at > since and c.lane == "marketing" and _matches(cap, c.channel, c.purpose, c.journey)
    )
    if len(times) < cap.contacts_max:
        return None
    frees = times[-cap.contacts_max] + cap.window if cap.contacts_max else None
    return Refusal(
        f"cap {cap.name}: at most {cap.contacts_max} in {lasting(cap.window)}", f"{len(times)} already", frees
    )


def _matches(cap: Cap, channel: str, purpose: str, journey: str) -> bool:
    return (
        (not cap.channel or cap.channel == channel)
        and (not cap.purpose or cap.purpose == purpose)
        and (not cap.journey or cap.journey == journey)
    )


def _quiet_hours(action: Action, moment: Moment) -> Refusal | None:
    """Not at this local time; the end of the quiet is spread over customers so that it is not one burst."""
    for quiet in moment.playbook.policy.quiet_hours:
        if (
            action.purpose not in quiet.purposes
            or action.lane == "onsite"
            or (quiet.channels and action.channel not in quiet.channels)
        ):
            continue
        zone = zone_of(moment.fact("zone"))
        local = local_time(moment.now, zone)
        if _within(local, quiet):
            ends = next_local(moment.now, zone, quiet.ends)
            return Refusal(
                f"quiet hours {quiet.starts:%H:%M} to {quiet.ends:%H:%M}",
                f"it is {local:%H:%M} in {zone.key}",
                ends + spread(moment.customer.customer_id, moment.playbook.policy.spread),
            )
    return None


def _within(local: time, quiet: QuietHours) -> bool:
    if quiet.starts <= quiet.ends:
        return quiet.starts <= local < quiet.ends
    return local >= quiet.starts or local < quiet.ends


def _budget(action: Action, moment: Moment) -> Refusal | None:
    """A shared budget must have enough left."""
    for name, amount in action.spends.items():
        left = moment.fact(f"budget.{name}")
        if left is None or left < amount:
            return Refusal(
                f"daily budget {name} is used up", f"{left or 0} left, {amount} needed", topic=f"budget:{name}"
            )
    return None


GATES: Mapping[str, Gate] = {
    "slot": _slot,
    "suppression": _suppression,
    "claims": _claims,
    "confidence": _confidence,
    "repeat": _repeat,
    "caps": _caps,
    "quiet_hours": _quiet_hours,
    "budget": _budget,
}


def claimed(action: Action, moment: Moment) -> tuple[Claim, ...]:
    """The claims of an action with their subjects in place: `in_stock: shown` becomes one claim per product shown."""
    resolved: list[Claim] = []
    for claim in action.claims:
        if claim.subject == "shown":
            resolved.extend(Claim(claim.name, sku) for sku in action.shows)
        elif claim.name == "in_stock_at":
            # Where nothing is shown the claim stays about nothing, which is refused.
            resolved.extend(Claim(claim.name, f"{sku}@{claim.subject}") for sku in action.shows or ("",))
        elif claim.subject == "cart":
            resolved.extend(Claim(claim.name, sku) for sku in cart_skus(moment))
        else:
            resolved.append(claim)
    return tuple(resolved)


def cart_skus(moment: Moment) -> tuple[str, ...]:
    """What lies in the cart now, in the order it was put in."""
    return tuple(str(row["sku"]) for row in moment.fact("cart") or () if row.get("sku"))


def _cart_open(subject: str, moment: Moment) -> Refusal | None:
    if moment.fact("cart"):
        return None
    return Refusal("the cart must still be open", "the cart is empty or was bought")


def in_stock(sku: str, moment: Moment) -> Refusal | None:
    """Why a product may not be promised now; unknown and outdated stock refuse, unless the policy says otherwise."""
    return _counted(f"{sku} must be in stock", moment.fact(f"stock.{sku}"), f"stock:{sku}", moment)


def in_stock_at(subject: str, moment: Moment) -> Refusal | None:
    """Why a product (`SKU@STORE`) may not be promised in that store now; what other places have does not help."""
    sku, _, store = subject.rpartition("@")
    if not sku or not store:
        return Refusal("a product must be in stock in a store", "the message names " + ("no store" if sku else "none"))
    known = moment.fact(f"stock_at.{subject}")
    return _counted(f"{sku} must be in stock in store {store}", known, f"stock:{subject}", moment)


def _counted(rule: str, known: Any, topic: str, moment: Moment) -> Refusal | None:
    policy = moment.playbook.policy
    available, as_of = known if known is not None else (None, None)
    if available is None:
        if policy.stock_unknown_is == "in_stock":
            return None
        return Refusal(rule, "its stock was never told", topic=topic)
    if available <= 0:
        return Refusal(rule, "sold out", topic=topic)
    if as_of is not None and as_of + policy.stock_fresh < moment.now:
        if policy.stock_unknown_is == "in_stock":
            return None
        return Refusal(rule, f"its stock was last told {as_of:%d %b %H:%M}, too long ago", topic=topic)
    return None


def _order_open(order_id: str, moment: Moment) -> Refusal | None:
    for row in moment.fact("orders") or ():
        if str(row.get("order_id")) == order_id:
            last = row.get("event")
            return (
                Refusal(f"order {order_id} must be open", f"the last word on it is {last}")
                if last in _ORDERS_CLOSED
                else None
            )
    return Refusal(f"order {order_id or '?'} must be open", "no such order is known")


def _price_is(subject: str, moment: Moment) -> Refusal | None:
    sku, _, wanted = subject.partition("@")
    known = moment.fact(f"price.{sku}")
    price, as_of = known if known is not None else (None, None)
    if price is None or (as_of is not None and as_of + moment.playbook.policy.price_fresh < moment.now):
        return Refusal(f"the price of {sku} must be known", "it was never told, or too long ago", topic=f"price:{sku}")
    if str(price) != wanted:
        return Refusal(f"the price of {sku} must be {wanted}", f"it is {price}", topic=f"price:{sku}")
    return None


def _pickup_ready(order_id: str, moment: Moment) -> Refusal | None:
    for row in moment.fact("pickups") or ():
        if str(row.get("order_id")) == order_id and row.get("event") == "Pickup Ready":
            return None
    return Refusal(f"order {order_id or '?'} must be ready for pickup", "it is not, or was picked up")


_CLAIMS = {
    "cart_open": _cart_open,
    "in_stock": in_stock,
    "in_stock_at": in_stock_at,
    "order_open": _order_open,
    "price_is": _price_is,
    "pickup_ready": _pickup_ready,
}


def _contradicted(claim: Claim, moment: Moment) -> Refusal | None:
    """Two messages whose claims cannot both be true never both go out; the one said first stands."""
    since = moment.now - _CONTRADICTION_WINDOW
    for contact in _contacts(moment):
        if contact.at > since and any(_contradict(claim, said) for said in contact.claims):
            said_at = f"{contact.content or contact.journey} said so on {contact.at:%d %b %H:%M}"
            return Refusal("it would contradict an earlier message", said_at, contact.at + _CONTRADICTION_WINDOW)
    return None


def _contradict(claim: Claim, said: str) -> bool:
    name, _, subject = said.partition(":")
    sku, _, price = claim.subject.partition("@")
    other_sku, _, other_price = subject.partition("@")
    return claim.name == name == "price_is" and sku == other_sku and price != other_price


def _contacts(moment: Moment) -> Sequence[Contact]:
    contacts: Sequence[Contact] = moment.fact("contacts")
    return contacts


def spread(customer_id: str, width: timedelta) -> timedelta:
    """A customer's share of a spread: the same for ever, even over all customers."""
    seconds = int(width.total_seconds())
    if seconds <= 0:
        return timedelta(0)
    digest = hashlib.blake2b(customer_id.encode(), digest_size=8).digest()
    return timedelta(seconds=int.from_bytes(digest, "big") % seconds)
