"""What reached a customer, by us or by another tool: which contacts are remembered, and for how long.

A message that another tool sent is a contact like ours, so that caps, the slot, repeats and contradictions see it
without knowing. It belongs to nobody's arm: both arms get it alike, or the comparison says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from wayline.domain import CONTACTS_MAX, Contact, Event, Policy

__all__ = ["TOOL", "foreign_contact", "looked_back", "remembered", "with_contact"]

TOOL: Final = "tool:"
"""How the journey of a foreign contact begins; no journey can be called so."""

_CLAIMS_MAX: Final = 20  # claims remembered of a message that another tool sent


def foreign_contact(event: Event) -> Contact:
    """A message that another tool sent, as a contact; what it does not say of itself is counted against us."""
    said = event.properties
    is_owed = said.get("purpose") in ("transactional", "service")
    claims = said.get("claims")
    return Contact(
        decision_id=f"{event.source}/{event.event_id}",
        at=event.occurred_at,
        channel=str(said.get("channel") or "email"),
        purpose=said["purpose"] if is_owed else "marketing",
        lane="owed" if is_owed else "marketing",
        journey=f"{TOOL}{said.get('tool') or event.source}",
        content=str(said.get("content") or ""),
        state="settled",
        claims=tuple(str(claim) for claim in claims[:_CLAIMS_MAX]) if isinstance(claims, list | tuple) else (),
    )


def with_contact(contacts: Sequence[Contact], contact: Contact, rules: Policy, now: datetime) -> tuple[Contact, ...]:
    """These and that one, in order of time; what no rule looks back to is forgotten, unless it is still on its way."""
    since = now - looked_back(rules)
    recent = [
        c
        for c in contacts
        if c.decision_id != contact.decision_id and (c.at > since or c.state in ("reserved", "handed_over"))
    ]
    if contact.at <= since:
        return tuple(recent)
    return tuple(sorted((*remembered(recent, CONTACTS_MAX - 1), contact), key=lambda c: c.at))


def looked_back(rules: Policy) -> timedelta:
    """How far back any rule looks."""
    return max([rules.repeat_window, rules.slot, timedelta(hours=48), *(cap.window for cap in rules.caps)])


def remembered(contacts: Sequence[Contact], most: int = CONTACTS_MAX) -> tuple[Contact, ...]:
    """Those of these that fit: caps count marketing, so many orders or pages must not push that out of sight.

    Nor must what other tools send push out what we sent.
    """
    surplus = len(contacts) - most
    if surplus <= 0:
        return tuple(contacts)

    def need(at: int) -> tuple[bool, bool, int]:
        return contacts[at].lane == "marketing", not contacts[at].journey.startswith(TOOL), at

    gone = frozenset(sorted(range(len(contacts)), key=need)[:surplus])
    return tuple(contact for at, contact in enumerate(contacts) if at not in gone)
