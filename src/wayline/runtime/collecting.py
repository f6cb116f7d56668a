"""The collector: raw messages in, durable events out, and an answer only when they are on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Struct

from wayline.domain import Signal
from wayline.errors import Rejected, why_no_json
from wayline.observation.events import UNVERIFIED, Parsed, parse
from wayline.observation.masking import safe_name
from wayline.observation.proofs import IDENTITY_FIELD, Proofs, Shown, without_identity
from wayline.observation.quality import agreed
from wayline.observation.vocabulary import LIMITS
from wayline.store import Appended, Log, Rejection, Vault
from wayline.store.encoding import Encoded, encoded
from wayline.store.told import Told, Weight

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
            self.vault.keep(self._news(found.personal))
        verdicts = tuple(
            tuple((place, Rejected(*why)) for place, *why in of_request) if of_request else ()
            for of_request in found.refused
        )
        return Collected(self.log.append(found.events, found.rejected), tuple(found.rejected), verdicts)

    def _news(self, told: Sequence[Told]) -> list[Told]:
        """What is told for the first time: of one event sent again, or with other values, the first counts."""
        first: dict[tuple[str, str], Told] = {}
        for each in told:
            first.setdefault((each.weight.source, each.weight.event_id), each)
        known = self.log.holds(list(first))
        return [each for key, each in first.items() if key not in known]


class Read(Struct):
    """Messages that were read, ready to be stored."""

    events: list[Encoded] = []
    personal: list[Told] = []
    """For the vault, by event."""
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
    requests = list(requests)
    found = Read(refused=[[] for _ in requests])
    told: list[_Told] = []
    for number, request in enumerate(requests):
        found.rejected += [_unreadable(body, why, request) for body, why in request.unreadable]
        prove = None if request.proofs is None else partial(request.proofs.of, keyed=keyed)
        told += [_Told(number, place, raw, request, prove) for place, raw in enumerate(request.items)]
    # Step by step over many messages: the processor remembers the code of a step, and forgets it by the next.
    for start in range(0, len(told), _TOGETHER):
        _read(told[start : start + _TOGETHER], found, keyed, currency, signals or {})
    return found


def _read(
    told: Sequence[_Told],
    found: Read,
    keyed: Callable[[str, str], str],
    currency: str,
    signals: Mapping[str, Signal],
) -> None:
    items = [_message(each) for each in told]
    verdicts = [_parsed(item, each, keyed, currency) for item, each in zip(items, told, strict=True)]
    ready = [_ready(verdict, signals) for verdict in verdicts]
    for each, item, verdict, result in zip(told, items, verdicts, ready, strict=True):
        if isinstance(result, Encoded):
            found.events.append(result)
            _take_personal(verdict, found.personal)
        else:
            _refuse(each, item, result, found)


_TOGETHER: Final = 100  # messages; many more, and what is made of them leaves the processor's cache


class _Told(Struct, gc=False):
    """One message to be read, and where it stands."""

    number: int
    place: int
    raw: Any
    request: Delivered
    prove: Callable[[Mapping[str, Any]], Shown | None] | None


def _message(told: _Told) -> Any:
    """A message as a value, with what its request says of it; the verdict on it if it cannot be read."""
    item = told.raw
    if type(item) is bytes:
        try:
            item = decoded(item)
        except (ValueError, RecursionError) as error:
            return Rejected("bad_json", "", f"the message is no JSON: {why_no_json(error)}")
    if told.request.kind and type(item) is dict:
        item["type"] = told.request.kind
    return _with_context(item, told.request.context) if told.request.context else item


def _parsed(item: Any, told: _Told, keyed: Callable[[str, str], str], currency: str) -> Parsed | Rejected:
    request = told.request
    try:
        return parse(
            item, source=request.source, received_at=request.received_at, keyed=keyed, sent_at=request.sent_at,
            currency=currency, trusted=request.trusted, fires=request.fires, place=told.place, prove=told.prove,
            bytes_max=request.event_bytes_max,
        )  # fmt: skip
    except Rejected as verdict:
        return item if isinstance(item, Rejected) else verdict


def _ready(verdict: Parsed | Rejected, signals: Mapping[str, Signal]) -> Encoded | Rejection | Rejected:
    if isinstance(verdict, Rejected):
        return verdict
    try:
        return encoded(agreed(verdict.event, signals))
    except Rejected as broken:
        return broken


def _take_personal(verdict: Parsed | Rejected, personal: list[Told]) -> None:
    if isinstance(verdict, Parsed) and (verdict.personal or verdict.addresses):
        event = verdict.event
        weight = Weight(UNVERIFIED not in event.notes, *event.stamp)
        if values := verdict.sealed:
            personal.append(Told(values, weight))


def _refuse(told: _Told, item: Any, why: Rejection | Rejected, found: Read) -> None:
    """Keep what was rejected, with the reason."""
    if isinstance(why, Rejection):
        found.rejected.append(why)
        return
    found.refused[told.number].append((told.place, why.code, why.field, why.reason))
    is_unread = isinstance(item, Rejected)
    found.rejected.append(_unreadable(told.raw, why, told.request) if is_unread else _rejection(item, why, told))


def decoded(item: bytes) -> Any:
    """The JSON value in these bytes, as far as it can be read: a byte that is no text is for a verdict to tell of."""
    try:
        return msgspec.json.decode(item)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(item.decode("utf-8", "surrogateescape"))


def _rejection(item: Any, why: Rejected, told: _Told) -> Rejection:
    request = told.request
    message: Mapping[str, Any] = item if isinstance(item, Mapping) else {}
    shown = told.prove(message) if told.prove is not None else None
    if message:
        # What tokens prove is kept; they themselves would let whoever reads this be somebody else.
        item = without_identity(message if shown is None else shown.message)
    return Rejection(
        source=request.source,
        event_id=_text(message.get("messageId")),
        name=safe_name(_text(message.get("event") or message.get("type")), why.code),
        code=why.code,
        field=why.field,
        reason=why.reason,
        received_at=request.received_at,
        body=_whole(item),
        trusted=request.trusted,
        fires=request.fires,
        sent_at=request.sent_at,
        named=shown.named if shown is not None else {},
        customer_id=shown.customer_id if shown is not None else "",
        doubts=shown.notes if shown is not None else (),
    )


def _with_context(item: Any, context: Mapping[str, Any]) -> Any:
    """The message by itself: what its batch says of it, and over that its own, key by key."""
    if not isinstance(item, Mapping):
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
        body=_TOKEN.sub(rb'\1""', body),
        trusted=request.trusted,
        fires=request.fires,
        sent_at=request.sent_at,
    )


_TOKEN: Final = re.compile(rb'("%b"\s{0,9}:\s{0,9})"[^"]{0,9999}"?' % IDENTITY_FIELD.encode())
"""An identity token in what cannot be read as JSON."""


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
