"""What a report on a message means: who made it, what it proves of the message, and what it says of the address.

Providers tell of each message that it arrived, bounced, was opened. Here alone it is said which of these a machine may
have made, which prove that one of ours arrived or never did, and which close an address; whoever remembers, walks or
settles asks here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from msgspec.structs import replace

from wayline.domain import Address, Event
from wayline.observation.claims import UNVERIFIED

__all__ = [
    "FOREIGN", "MADE_BY_MACHINES", "READS_AFTER", "REPORTS", "SOFT_BOUNCES_MAX", "SOFT_WINDOW",
    "Proof",
    "channel_of", "ends_address", "is_automated", "is_made_by_machine", "is_soft_bounce", "proof_of", "with_bounce",
]  # fmt: skip

Proof: TypeAlias = Literal["sent", "refused", "dead"]

FOREIGN: Final = "Message Sent"
"""A message that another tool sent: it counts in the caps as ours do."""

MADE_BY_MACHINES: Final = ("Email Opened", "Email Link Clicked")
"""Events that scanners and mail programs make by themselves; tagged `automated`, they are kept and count nowhere."""

READS_AFTER: Final = timedelta(seconds=1.5)
"""Sooner after sending nobody opens or clicks but a gateway that looks for harm."""

REPORTS: Final = frozenset(
    {"Email Delivered", "Email Bounced", "Email Marked as Spam", "SMS Delivered", "SMS Failed", FOREIGN}
)
"""What a provider tells of an address by itself: no use its owner makes of it."""

SOFT_BOUNCES_MAX: Final = 5  # soft bounces of one address within 30 days, none delivered between, that close it
SOFT_WINDOW: Final = timedelta(days=30)

# By name: what searches, guards a mailbox, draws a preview, fetches by itself, or is a program's own client.
# "bot" ends a word but not a brand of phones; other words stand so that no browser's name holds them.
_MACHINES: Final = re.compile(
    r"(?<!cu)bot\b|crawl|spider|slurp|scan|preview|prefetch|monitor|headless|phantom|selenium|barracuda|proofpoint|mimecast"
    r"|fireeye|trellix|symantec|messagelabs|forcepoint|fortinet|trendmicro|sophos|ironport|safelinks|urldefense|virustotal"
    r"|zscaler|python|curl/|wget|libwww|\bperl\b|okhttp|java/|go-http|node-fetch|axios|aiohttp|httpx|php/|\bruby|apache-http"
    r"|winhttp|microsoft office existence|facebookexternalhit|whatsapp/|skypeuri",
    re.IGNORECASE,
)

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


def is_made_by_machine(
    agent: Any, *, sent_at: datetime | None = None, at: datetime | None = None
) -> Literal[True] | None:
    """True for an open or a click no person made, None where nothing says so: for the property `automated`."""
    if sent_at is not None and at is not None and at - sent_at <= READS_AFTER:
        return True
    name = agent.strip() if isinstance(agent, str) else ""
    # A bare "Mozilla/5.0" is the mail program that fetches everything for its owner's privacy, read or not.
    return True if name == "Mozilla/5.0" or _MACHINES.search(name) else None


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
