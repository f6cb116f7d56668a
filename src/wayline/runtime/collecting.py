"""The collector: raw messages in, durable events out, and an answer only when they are on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from wayline.domain import Signal
from wayline.errors import Rejected
from wayline.observation.events import parse_batch
from wayline.observation.proofs import Proofs
from wayline.observation.vocabulary import LIMITS
from wayline.store import Appended, Log, Rejection, Vault
from wayline.store.encoding import Encoded, encoded

__all__ = ["Collected", "Collector", "Delivered", "Read", "decoded", "read"]


class Delivered(Struct, frozen=True):
    """Messages as one request brought them."""

    items: Sequence[Any]
    """Each as a JSON value, or as the bytes of one that nobody has read yet."""
    source: str
    received_at: datetime
    sent_at: datetime | None = None
    kind: str = ""
    """The type of all of them, where the path of the request says it."""
    fires: bool = True
    trusted: bool = True
    context: Mapping[str, Any] | None = None
    """What the request says of all its messages; a message's own context wins, key by key."""
    unreadable: Sequence[tuple[bytes, Rejected]] = ()
    """What could not even be cut into messages, each with the reason: kept as it came."""
    proofs: Proofs | None = None
    """What lets a message show more than its key does."""
    event_bytes_max: int = LIMITS["bytes_max"]


class Collected(Struct, frozen=True):
    """What became of some requests: offered = stored + duplicates + conflicts + rejected."""

    appended: Appended
    rejected: tuple[Rejection, ...] = ()
    verdicts: tuple[tuple[tuple[int, Rejected], ...], ...] = ()
    """For each request, the place and the verdict of each message of it that was rejected."""


class Collector:
    """Parses, moves personal values to the vault, appends. The only writer of the log."""

    def __init__(
        self,
        log: Log,
        vault: Vault,
        *,
        currency: str = "EUR",
        signals: Mapping[str, Signal] | None = None,
        reading: Callable[[Sequence[Delivered]], Read] | None = None,
    ) -> None:
        """`signals` is what is agreed of events by name; `reading` reads messages, if not this very thread shall."""
        self.log = log
        self.vault = vault
        self.currency = currency
        self._reading = reading or (lambda requests: read(requests, vault.keyed, currency, signals))

    def collect(self, *requests: Delivered) -> Collected:
        """Store what can be used, keep what cannot with its reason; all requests in one durable commit.

        Raises StoreUnavailable, and then nothing of any of them is acknowledged.
        """
        return self.store(self._reading(requests))

    def store(self, found: Read) -> Collected:
        """Store what was read of some requests, in one durable commit."""
        # The vault first: a value without its event is harmless, an event whose person cannot be written to is not.
        if found.personal:
            self.vault.put(found.personal)
        verdicts = tuple(
            tuple((place, Rejected(*why)) for place, *why in of_request) if of_request else ()
            for of_request in found.refused
        )
        return Collected(self.log.append(found.events, found.rejected), tuple(found.rejected), verdicts)


class Read(Struct):
    """Messages that were read, ready to be stored."""

    events: list[Encoded] = []
    personal: dict[str, dict[str, Any]] = {}
    """Subject to values, for the vault."""
    rejected: list[Rejection] = []
    refused: list[list[tuple[int, str, str, str]]] = []
    """For each request, the place of each message of it that was rejected, with code, field and reason."""


def read(
    requests: Iterable[Delivered],
    keyed: Callable[[str, str], str],
    currency: str,
    signals: Mapping[str, Signal] | None = None,
) -> Read:
    """Read the messages of some requests. Needs no store: any process may do it."""
    found = Read()
    for request in requests:
        found.refused.append(_read(request, found, keyed, currency, signals or {}))
    return found


def _read(
    request: Delivered,
    found: Read,
    keyed: Callable[[str, str], str],
    currency: str,
    signals: Mapping[str, Signal],
) -> list[tuple[int, str, str, str]]:
    refused: list[tuple[int, str, str, str]] = []
    found.rejected += (_unreadable(body, why, request) for body, why in request.unreadable)
    items = [_message(item, request.kind) for item in request.items]
    verdicts = parse_batch(
        items,
        source=request.source,
        received_at=request.received_at,
        keyed=keyed,
        sent_at=request.sent_at,
        currency=currency,
        trusted=request.trusted,
        fires=request.fires,
        context=request.context,
        prove=None if request.proofs is None else partial(request.proofs.of, keyed=keyed),
        bytes_max=request.event_bytes_max,
    )
    for place, (item, verdict) in enumerate(zip(items, verdicts, strict=True)):
        if isinstance(verdict, Rejected):
            why = item if isinstance(item, Rejected) else verdict
            refused.append((place, why.code, why.field, why.reason))
            raw = request.items[place]
            found.rejected.append(_unreadable(raw, why, request) if why is item else _rejection(item, why, request))
            continue
        ready = encoded(verdict.event)
        if isinstance(ready, Rejection):
            found.rejected.append(ready)
            continue
        found.events.append(ready)
        for subject, values in verdict.sealed.items() if verdict.personal else ():
            found.personal.setdefault(subject, {}).update(values)
    return refused


def _message(item: Any, kind: str) -> Any:
    """A message as a value; the verdict on it if it cannot be read."""
    if type(item) is bytes:
        try:
            item = decoded(item)
        except (ValueError, RecursionError) as error:
            return Rejected("bad_json", "", f"the message is no JSON: {error}")
    return {**item, "type": kind} if kind and type(item) is dict else item


def decoded(item: bytes) -> Any:
    """The JSON value in these bytes, as far as it can be read: a byte that is no text is for a verdict to tell of."""
    try:
        return msgspec.json.decode(item)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(item.decode("utf-8", "surrogateescape"))


def _rejection(item: Any, why: Rejected, request: Delivered) -> Rejection:
    told: Mapping[str, Any] = item if isinstance(item, Mapping) else {}
    return Rejection(
        source=request.source,
        event_id=_text(told.get("messageId")),
        name=_text(told.get("event") or told.get("type")),
        code=why.code,
        field=why.field,
        reason=why.reason,
        received_at=request.received_at,
        body=_whole(_with_context(item, request.context)),
        trusted=request.trusted,
        fires=request.fires,
        sent_at=request.sent_at,
    )


def _with_context(item: Any, context: Mapping[str, Any] | None) -> Any:
    """The message by itself: what its batch said of it is needed to offer it again."""
    if not context or not isinstance(item, Mapping):
        return item
    own = item.get("context")
    return {**item, "context": {**context, **own} if isinstance(own, Mapping) else own or context}


def _unreadable(body: bytes, why: Rejected, request: Delivered) -> Rejection:
    return Rejection(
        source=request.source,
        event_id="",
        name="",
        code=why.code,
        field=why.field,
        reason=why.reason,
        received_at=request.received_at,
        body=body,
        trusted=request.trusted,
        fires=request.fires,
    )


def _whole(item: Any) -> bytes:
    try:
        return msgspec.json.encode(item)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
        pass
    try:
        return repr(item)[:100_000].encode("utf-8", "backslashreplace")
    except RecursionError:
        return b"nested too deeply to be kept"


def _text(value: Any) -> str:
    return str(value)[:100].encode("utf-8", "replace").decode() if isinstance(value, (str, int)) else ""
