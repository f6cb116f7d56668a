"""Guards: the law, asked before any gate. No playbook removes, reorders or loosens them.

A guard answers "why not?" like a gate does. Sources of the rules: GDPR 7(3) and 21(2)-(3), ePrivacy 13, 47 CFR
64.1200(c)(1) for the hours of texts; read as an engineer reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wayline.domain import Action, Refusal
from wayline.interpretation.moment import ADDRESS_KINDS, Moment
from wayline.observation.identity import is_anonymous

__all__ = ["GUARDS", "TEXT_HOURS", "Gate", "local_time", "next_local", "zone_of"]

Gate: TypeAlias = Callable[[Action, Moment], Refusal | None]

TEXT_HOURS = (time(8), time(21))


def _objection(action: Action, moment: Moment) -> Refusal | None:
    """Whoever objected to direct marketing gets none, in any channel, and is not chosen for."""
    if action.purpose == "marketing" and moment.fact("objection"):
        return Refusal("the customer objected to direct marketing", "an objection is on record")
    return None


def _consent(action: Action, moment: Moment) -> Refusal | None:
    """Marketing needs a grant for this channel and purpose; what a customer is owed does not."""
    if action.purpose != "marketing" or action.channel not in ADDRESS_KINDS:
        return None
    if moment.fact(f"consent.{action.channel}"):
        return None
    return Refusal(f"no consent for marketing by {action.channel}", "no grant is on record, or it was withdrawn")


def _address(action: Action, moment: Moment) -> Refusal | None:
    """There must be somewhere to send to."""
    if action.channel not in ADDRESS_KINDS or moment.fact(f"address.{action.channel}"):
        return None
    kind = ADDRESS_KINDS[action.channel]
    if moment.fact(f"claimed.{action.channel}"):
        return Refusal(
            f"no confirmed address for {action.channel}",
            f"a browser has claimed a {kind}, and nothing has confirmed that it is this customer's",
        )
    return Refusal(f"no address for {action.channel}", f"no {kind} is known of this customer")


def _claimed_address(action: Action, moment: Moment) -> Refusal | None:
    """An address that was only typed in a browser serves that browser's own cart, and nothing else."""
    if action.channel not in ADDRESS_KINDS or not is_anonymous(moment.customer.customer_id):
        return None  # somebody known is written to at a confirmed address, or not at all
    if not moment.fact(f"claimed.{action.channel}"):
        return None
    if any(claim.name == "cart_open" for claim in action.claims):
        return None
    return Refusal(
        "an address typed in a browser serves that browser's own cart only",
        f"the {ADDRESS_KINDS[action.channel]} is a claim: no order, click or double opt-in has confirmed it",
    )


def _suppressed_address(action: Action, moment: Moment) -> Refusal | None:
    """A mailbox that bounced or complained is left alone by every journey, owed messages included."""
    if action.channel not in ADDRESS_KINDS:
        return None
    reason = moment.fact(f"suppressed.{action.channel}")
    return Refusal(f"the {action.channel} address is suppressed", reason) if reason else None


def _text_hours(action: Action, moment: Moment) -> Refusal | None:
    """Marketing texts only between 8:00 and 21:00 where the person is."""
    if action.channel != "sms" or action.purpose != "marketing":
        return None
    zone = zone_of(moment.fact("zone"))
    local = local_time(moment.now, zone)
    starts, ends = TEXT_HOURS
    if starts <= local < ends:
        return None
    return Refusal(
        "texts are lawful between 8:00 and 21:00 local time only",
        f"it is {local:%H:%M} in {zone.key}",
        until=next_local(moment.now, zone, starts),
    )


GUARDS: Mapping[str, Gate] = {
    "objection": _objection,
    "address": _address,
    "claimed_address": _claimed_address,
    "suppressed_address": _suppressed_address,
    "consent": _consent,
    "text_hours": _text_hours,
}


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """The zone of that IANA name; one we do not know reads as UTC, so that a bad trait stops nobody's turn."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def local_time(now: datetime, zone: ZoneInfo) -> time:
    """The wall-clock time there."""
    return now.astimezone(zone).time()


def next_local(now: datetime, zone: ZoneInfo, at: time) -> datetime:
    """The next instant, later than now, at which the clock there shows `at`.

    RFC 5545 3.3.5: an ambiguous local time is its first occurrence; one that does not exist is read with the offset
    before the gap. `zoneinfo` with fold=0, normalised through UTC, gives both. Once the first of two occurrences is
    over, the second is the next.
    """
    day = now.astimezone(zone).date()
    for ahead in range(4):
        wall = datetime.combine(day + timedelta(days=ahead), at, tzinfo=zone)
        first, second = wall.astimezone(UTC), wall.replace(fold=1).astimezone(UTC)
        if first > now:
            return first
        if second > now and second > first:
            return second
    raise AssertionError("unreachable: some wall-clock time lies within three days")
