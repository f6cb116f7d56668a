"""When two events are the same one: by key, and by content where the keys are equal.

The key is (source, event_id). A client that got no answer sends again, so the same key with the same content is a
duplicate and nothing else. The same key with other content is a conflict: one of the two is wrong, and only a person
can say which; the first is kept in the log and the second beside it.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import blake2b

from msgspec import msgpack

from wayline.domain import Event

__all__ = ["CONFLICTS_MAX", "RETRY_DRIFT", "is_same_content", "key_hash"]

CONFLICTS_MAX = 16  # different contents kept beside one event; further ones are counted only
RETRY_DRIFT = timedelta(hours=1)  # clock correction moves occurred_at a little at each retry of one event

_UNDATED = "occurred_at is received_at"  # the note of such an event

_SORTED = msgpack.Encoder(order="sorted")


def is_same_content(one: Event, other: Event) -> bool:
    """Whether two events of one key say the same; when they arrived does not matter."""
    # A message that does not say when it happened has the time of its receipt: it contradicts nobody about that.
    is_undated = _UNDATED in one.notes or _UNDATED in other.notes
    return (is_undated or abs(one.occurred_at - other.occurred_at) <= RETRY_DRIFT) and _content(one) == _content(other)


def _content(event: Event) -> bytes:
    # Encoded, so that a tuple as it came equals the list it is read back as.
    return _SORTED.encode((event.kind, event.name, event.identifiers, event.properties, event.context, event.personal))


def key_hash(source: str, event_id: str) -> int:
    """A signed 64-bit hash of the key, the same on every machine; equal hashes are still compared by key."""
    # The length goes first: ("a", "b:c") and ("a:b", "c") must not run together.
    key = f"{len(source)}:{source}{event_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little", signed=True)
