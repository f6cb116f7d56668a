"""An event as the log keeps it, all but its place: made ready by whoever has the time for it, in any process.

Reading a message and encoding its event is most of the work of taking it in, and needs nothing but the message. What is
left for the one writer is to look its key up, to give it a place and to write the bytes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from msgspec import Struct, msgpack
from msgspec.structs import replace

from wayline.domain import Event
from wayline.observation.events import UNVERIFIED
from wayline.store import Rejection
from wayline.store.duplicates import key_hash

__all__ = [
    "BROKEN",
    "IMPORTED",
    "LATE",
    "NOT_VERIFIED",
    "Encoded",
    "decoded",
    "encoded",
    "hour_of",
    "marks_of",
    "placed",
]

IMPORTED: Final = 1
"""Marks of an event, as the volumes count them: it is history, ..."""
LATE: Final = 2
"""... it came more than an hour after it happened, ..."""
NOT_VERIFIED: Final = 4
"""... it came by a public key without a signed identity, ..."""
BROKEN: Final = 8
"""... it breaks the contract of its source."""

_LATE: Final = timedelta(hours=1)  # between happening and arriving; more is late

_encode = msgpack.Encoder().encode
decoded = msgpack.Decoder(Event).decode
"""The event in these bytes."""


class Encoded(Struct, frozen=True, gc=False, array_like=True):
    """One event, ready to be stored: the hash of its key, its bytes, and what is counted of it."""

    key: int
    source: str
    name: str
    hour: int
    """Of its receipt, since 1970."""
    marks: int
    body: bytes

    @property
    def event(self) -> Event:
        """The event itself, for the few cases in which somebody looks at it."""
        return decoded(self.body)


def encoded(event: Event) -> Encoded | Rejection:
    """An event ready to be stored; rejected if no file could hold it (an integer beyond 64 bits, half a character)."""
    try:
        body = _encode(replace(event, position=0) if event.position else event)
    except (OverflowError, TypeError, ValueError) as error:
        return _unstorable(event, error)
    key = key_hash(event.source, event.event_id)
    return Encoded(key, event.source, event.name, hour_of(event.received_at), marks_of(event), body)


@lru_cache(maxsize=1024)
def hour_of(at: datetime) -> int:
    """The hour of an instant, since 1970: all messages of a request have the same."""
    return int(at.timestamp()) // 3600


def marks_of(event: Event) -> int:
    """What is counted of an event besides that it came."""
    marks = 0 if event.fires else IMPORTED
    if event.fires and event.received_at - event.occurred_at > _LATE:
        marks = LATE
    if event.notes:
        marks += NOT_VERIFIED * (UNVERIFIED in event.notes)
        marks += BROKEN * any(note.startswith("contract: ") for note in event.notes)
    return marks


_POSITION: Final = _encode("position")
_HEADS: Final = [bytes([0x80 | members]) for members in range(16)]  # msgpack's maps of up to 15 members


def placed(body: bytes, position: int) -> bytes:
    """The bytes of the same event with its position: one more member of the map."""
    return b"".join((_HEADS[(body[0] & 15) + 1], body[1:], _POSITION, _encode(position)))


def _unstorable(event: Event, error: Exception) -> Rejection:
    return Rejection(
        source=_plain(event.source),
        event_id=_plain(event.event_id),
        name=_plain(event.name),
        code="unstorable",
        field="",
        reason=f"it holds a value that cannot be written: {error}. Send integers of at most 64 bits and valid text.",
        received_at=event.received_at,
        body=repr(event).encode("utf-8", "backslashreplace"),
    )


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
