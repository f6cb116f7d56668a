"""What a report on a message means: who made it, what it proves of the message, and what it says of the address.

Providers tell of each message that it arrived, bounced, was opened. Here alone it is said which of these a machine may
have made, which prove that one of ours arrived or never did, and which close an address; whoever remembers, walks or
settles asks here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Literal, TypeAlias

from msgspec.structs import replace

from wayline.domain import Address, Event
from wayline.observation.claims import UNVERIFIED

__all__ = [
    "FOREIGN", "MADE_BY_MACHINES", "REPORTS", "SOFT_BOUNCES_MAX", "SOFT_WINDOW",
    "Proof",
    "channel_of", "ends_address", "is_automated", "is_soft_bounce", "proof_of", "with_bounce",
]  # fmt: skip

Proof: TypeAlias = Literal["sent", "refused", "dead"]

FOREIGN: Final = "Message Sent"
"""A message that another tool sent: it counts in the caps as ours do."""

MADE_BY_MACHINES: Final = ("Email Opened", "Email Link Clicked")
"""Events that scanners and mail programs make by themselves; tagged `automated`, they are kept and count nowhere."""

REPORTS: Final = frozenset(
    {"Email Delivered", "Email Bounced", "Email Marked as Spam", "SMS Delivered", "SMS Failed", FOREIGN}
)
"""What a provider tells of an address by itself: no use its owner makes of it."""

SOFT_BOUNCES_MAX: Final = 5  # soft bounces of one address within 30 days, none delivered between, that close it
SOFT_WINDOW: Final = timedelta(days=30)

_CHANNELS: Final[Mapping[str, str]] = {
    "Email Delivered": "email",
    "Email Bounced": "email",
    "Email Marked as Spam": "email",
    "SMS Delivered": "sms",
    "SMS Failed": "sms",
}
_ENDS: Final[Mapping[str, str]] = {
    "Email Bounced": "mail to it bounced",
    "Email Marked as Spam": "its owner called our mail spam",
    "SMS Failed": "texts to it fail",
}
_PROVES: Final[Mapping[str, Proof]] = {
    "Email Delivered": "sent",
    "Email Opened": "sent",
    "Email Link Clicked": "sent",
    "Email Marked as Spam": "sent",
    "Unsubscribed": "sent",
    "SMS Delivered": "sent",
    "Email Bounced": "dead",
    "SMS Failed": "dead",
}


def is_automated(event: Event) -> bool:
    """Whether a machine made it: kept and shown, and no journey, figure, facet or model ever hears of it."""
    return event.name in MADE_BY_MACHINES and event.properties.get("automated") is True


def channel_of(event: Event) -> str:
    """The channel whose address this event reports on; empty if it reports on none."""
    return _CHANNELS.get(event.name, "")


def is_soft_bounce(event: Event) -> bool:
    """Whether the message did not arrive for a reason that may pass: a full mailbox, a phone switched off."""
    return event.name in ("Email Bounced", "SMS Failed") and event.properties.get("bounce_type") == "soft"


def ends_address(event: Event) -> str:
    """Why the address it names is left alone from now on; empty if it is not."""
    return "" if is_soft_bounce(event) else _ENDS.get(event.name, "")


def proof_of(event: Event) -> tuple[str, Proof] | None:
    """(decision id, what it proves) of a message of ours; None where it names none, or is not to be believed.

    A machine that opens a mail has received it: for this, and only for this, it counts.
    """
    proves = _PROVES.get(event.name)
    # Our own links and pages name the message they were in as senders name a mail.
    named = "email_id" if event.kind == "internal" else "decision_id"
    decision_id = event.properties.get(named) if proves else None
    if proves is None or not isinstance(decision_id, str) or UNVERIFIED in event.notes:
        return None
    return decision_id, "refused" if is_soft_bounce(event) else proves


def with_bounce(address: Address, event: Event) -> Address:
    """The address after a soft bounce, so many of which close it, or after a delivery, which opens the count anew."""
    is_soft = is_soft_bounce(event)
    since = event.occurred_at - SOFT_WINDOW if is_soft else event.occurred_at
    kept = tuple(at for at in address.soft_bounces if at > since)
    bounces = (*kept, event.occurred_at)[-SOFT_BOUNCES_MAX:] if is_soft else kept
    if bounces == address.soft_bounces:
        return address
    address = replace(address, soft_bounces=bounces)
    if len(bounces) < SOFT_BOUNCES_MAX or address.suppressed_at is not None:
        return address
    reason = f"{len(bounces)} messages to it did not arrive within {SOFT_WINDOW.days} days"
    return replace(address, suppressed_at=event.occurred_at, reason=reason)
