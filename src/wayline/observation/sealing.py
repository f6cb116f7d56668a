"""What of a message the vault is given, and under whose name; and how two tellings are compared without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from wayline.domain import Event, Identifier
from wayline.observation.claims import CLAIMED_TOKEN, CLAIMS, UNVERIFIED, is_mere_withdrawal
from wayline.observation.vocabulary import DEVICES

__all__ = ["ADDRESSES", "claimed_tokens", "device_of", "personal_hash", "sealed"]

ADDRESSES: Final = frozenset(CLAIMS.values())
"""Kinds of identifiers that messages are sent to: the vault keeps each in plain, under its own hash."""


def claimed_tokens(found: tuple[Identifier, ...], notes: Sequence[str]) -> tuple[Identifier, ...]:
    """The identifiers with what an unverified event says of where a push goes as a claim, after all else.

    Whoever names another's user id must not thereby have that person's messages pushed to a device of their own.
    """
    if UNVERIFIED not in notes:
        return found
    tokens = [Identifier(CLAIMED_TOKEN, each.value) for each in found if each.kind == "push_token"]
    return (*(each for each in found if each.kind != "push_token"), *tokens) if tokens else found


def device_of(identifiers: Sequence[Identifier]) -> str:
    """The first device among these, as the vault calls it; empty if there is none."""
    return next((f"{each.kind}:{each.value}" for each in identifiers if each.kind in DEVICES), "")


def sealed(
    event: Event, subject: str, personal: Mapping[str, Any], addresses: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """What the vault is given, by subject: an address lives under its own hash, the rest under the strongest.

    So whoever claims another's `userId` writes beside that person's address and never over it: the address of a
    customer is read under the identifier that resolution has linked to them. An address is kept as it was hashed, so
    that under one hash there is one text, whoever typed it. What a public key says of a person lives under the device
    that said it; of whoever takes a consent back by one, nothing.
    """
    parts: dict[str, dict[str, Any]] = {}
    if is_mere_withdrawal(event):
        return parts
    for identifier in event.identifiers:
        kind = CLAIMS.get(identifier.kind, identifier.kind)
        home = f"{kind}:{identifier.value}"
        if home in addresses:
            parts[home] = {kind: addresses[home]}
    rest = dict(personal)
    for kind in ADDRESSES & rest.keys():
        text = rest.pop(kind)
        if text not in addresses.values():
            rest[f"told.{kind}"] = text  # it is no identifier of the event, and must not pass for one
    home = subject if UNVERIFIED not in event.notes else device_of(event.identifiers)
    if rest and home:
        parts[home] = {**parts.get(home, {}), **rest}
    return parts


def personal_hash(encoded: bytes, event_id: str, keyed: Callable[[str, str], str]) -> str:
    """What tells whether an event sent again says the same of a person; nothing without the key, nor of two events."""
    key = keyed("personal values", "of one event").encode()  # the same each time, so that it stays at hand
    length = len(event_id).to_bytes(4, "big")
    return blake2b(length + event_id.encode("utf-8", "surrogatepass") + encoded, key=key, digest_size=8).hexdigest()
