"""Whose each event was when it was folded, noted until the next checkpoint: devices change hands later."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Event, Identifier
from wayline.observation.feedback import REPORTS
from wayline.runtime.people import Whose

__all__ = ["Noted", "as_theirs", "decode", "encode", "remade"]


class Noted(Struct, frozen=True, gc=False, array_like=True):
    """One event: whose it was, which of its identifiers were not theirs, and which it confirmed as theirs."""

    position: int
    customer_id: str = ""
    left_out: tuple[int, ...] = ()
    added: tuple[Identifier, ...] = ()


_Notes = tuple[int, tuple[Noted, ...]]
_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[_Notes] = msgspec.msgpack.Decoder(_Notes)


def encode(notes: Sequence[Noted]) -> bytes:
    """The notes of one batch, as the store keeps them."""
    return _ENCODER.encode((notes[0].position, notes))


def decode(note: bytes) -> tuple[Noted, ...]:
    """The same read back, in order of position."""
    return _DECODER.decode(note)[1]


def as_theirs(event: Event, found: Whose | None) -> tuple[Event, Noted]:
    """The event as its customer remembers it, and the note that says so: identifiers refused to them are not theirs."""
    if found is None:
        return event, Noted(event.position)
    if found.identifiers == event.identifiers:
        return event, Noted(event.position, found.customer_id)
    left_out = tuple(place for place, one in enumerate(event.identifiers) if one not in found.identifiers)
    added = tuple(one for one in found.identifiers if one not in event.identifiers)
    noted = Noted(event.position, found.customer_id, left_out, added)
    # A report is about the address it names, whoever that belongs to; nobody is remembered by it.
    return event if event.name in REPORTS else remade(event, noted), noted


def remade(event: Event, noted: Noted) -> Event:
    """The event as its customer remembers it, by the note."""
    if not (noted.left_out or noted.added):
        return event
    theirs = tuple(one for place, one in enumerate(event.identifiers) if place not in noted.left_out)
    return replace(event, identifiers=(*theirs, *noted.added))
