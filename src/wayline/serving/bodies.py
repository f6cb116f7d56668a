"""The body of a request: read within bounds, inflated within bounds, and cut into messages even where it is broken.

Everything that could cost more than it is worth is bounded before the work begins: bytes as they come, bytes as they
are inflated, members of a gzip stream, and the time a client may take. A body that is no JSON is cut again message by
message, so that one that is broken is kept as it came and its neighbours are read.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct
from starlette.concurrency import run_in_threadpool

from wayline.errors import Rejected, kind_of, why_no_json
from wayline.serving.answers import Header, Refused
from wayline.serving.intake import QueueFull, Room

__all__ = [
    "BODY_MAX", "MEMBERS_MAX", "MESSAGES_MAX", "READING_SECONDS_MAX", "SPOILED", "STRANGERS_BODY_MAX", "UNREAD",
    "Gone",
    "inflate", "parse", "read", "too_many",
]  # fmt: skip

BODY_MAX: Final = 8 << 20
"""Bytes of a body, before and after decompression."""
STRANGERS_BODY_MAX: Final = 1 << 20
"""Bytes of a body whose key stands in it, before and after decompression: until it is read, its sender is anybody."""
MEMBERS_MAX: Final = 4
"""Members of a gzip body."""
MESSAGES_MAX: Final = 20_000
"""Messages in one batch."""
READING_SECONDS_MAX: Final = 30
"""Seconds a client may take to send a body."""
SPOILED: Final = "\0spoiled"
"""Under this name stand the pieces of a batch that could not be read."""
UNREAD: Final = "\0unread"
"""Under this name stands the message of a body that holds one and was not read yet."""

_SMALL: Final = 256 << 10  # bytes of a body that is read at once; a larger one must not hold up whoever else asks
_DIGITS_MAX: Final = 4000  # of a whole number; beyond it is as good as infinite
_COMMAS_MAX: Final = 1 << 20  # in a body: no batch of events has as many, and each may cost a value of its own
_SALVAGED_MAX: Final = 512 << 10  # bytes of a broken body that are looked through; a longer one is refused whole
_SPOILED_MAX: Final = 100  # pieces of one body that are passed over; what comes after is one piece
_WORK_MAX: Final = 256 << 10  # characters read in vain while looking for the next message; then the rest is one piece

_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Gone(Exception):
    """The client went away before it had said everything."""


async def read(
    headers: Mapping[bytes, bytes],
    receive: _Receive,
    room: Room,
    *,
    most: int = BODY_MAX,
    seconds: float = READING_SECONDS_MAX,
    is_trusted: bool = False,
) -> bytes:
    """The body as it came, bounded in size and time; only one that is known to be trusted need not give way."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length[:20]) > most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(seconds) as limit:
            body = await _come(receive, room, most, None if is_trusted else limit)
    except TimeoutError as error:
        if room.gave_way:
            raise QueueFull from error
        message = f"the body did not come within {seconds:g} seconds; send it again"
        raise Refused(408, "slow", message, _CLOSE) from error
    room.arrived()
    return body


async def _come(receive: _Receive, room: Room, most: int, limit: asyncio.Timeout | None) -> bytes:
    """The parts of a body as they come; under a limit, where it may have to give way before all of it is there."""
    body, is_more = bytearray(), True
    while is_more:
        arrived, is_more = _part(await receive(), most - len(body), most)
        if limit is None or not (is_more or body):
            room.take(len(arrived))
        else:
            room.take_arriving(len(arrived), limit)
        body += arrived
    return bytes(body)


def _part(part: MutableMapping[str, Any], left: int, most: int) -> tuple[bytes, bool]:
    """What arrived, and whether more is to come."""
    if part["type"] == "http.disconnect":
        raise Gone
    arrived = part.get("body", b"")
    if len(arrived) > left:
        raise _too_large(most)
    return arrived, bool(part.get("more_body"))


async def parse(
    body: bytes,
    headers: Mapping[bytes, bytes],
    room: Room,
    *,
    unread: Literal["", "batch", "single"] = "",
    most: int = BODY_MAX,
) -> Mapping[str, Any]:
    """The JSON object in a body; a large one is read in a thread of its own.

    `unread` names what the body is to hold where messages may stay as they came, bytes, to be read elsewhere.
    """
    inflated = await _inflated(body, most)
    room.take(len(inflated) - len(body) if inflated is not body else 0)
    if len(inflated) > _SMALL:
        return await run_in_threadpool(_parsed, inflated, headers, unread)
    return _parsed(inflated, headers, unread)


async def _inflated(body: bytes, most: int) -> bytes:
    try:
        return inflate(body, min(most, _SMALL)) if len(body) <= _SMALL else await run_in_threadpool(inflate, body, most)
    except _TooLarge:
        # A few thousand bytes may become millions: that is no work to hold up whoever else asks.
        return await run_in_threadpool(inflate, body, most)


def inflate(body: bytes, most: int = BODY_MAX) -> bytes:
    """A body decompressed if it is gzip, as its first bytes say: a proxy may have undone what a header still claims."""
    if body[:2] != b"\x1f\x8b":
        return body
    inflated = bytearray()
    for _ in range(MEMBERS_MAX):
        stream = zlib.decompressobj(31)
        try:
            # Never more than the limit is inflated, however little was sent.
            inflated += stream.decompress(body, most + 1 - len(inflated))
        except zlib.error as error:
            raise Refused(400, "bad_gzip", f"the body is no proper gzip: {error}") from error
        if len(inflated) > most:
            raise _too_large(most)
        if not stream.eof:
            raise Refused(400, "bad_gzip", "the gzip body ends too early; send it whole")
        body = stream.unused_data
        if not body:
            return bytes(inflated)
    raise Refused(400, "bad_gzip", f"the gzip body has more than {MEMBERS_MAX} members; send one")


# What is still on its way would be taken for the next request.
_CLOSE: Final[Sequence[Header]] = ((b"connection", b"close"),)


class _TooLarge(Refused):
    """More bytes than are taken."""


def _too_large(most: int) -> Refused:
    way_out = ", or the key in the header" if most == STRANGERS_BODY_MAX else ""
    return _TooLarge(413, "too_large", f"more than {most} bytes; send smaller batches{way_out}", _CLOSE)


class _Batch(Struct):
    batch: list[msgspec.Raw]
    sentAt: Any = None
    context: Any = None


class _Single(Struct):
    """An object; what is in it is passed over."""


_batch_of = msgspec.json.Decoder(_Batch).decode
_single_of = msgspec.json.Decoder(_Single).decode


def _cut_only(body: bytes, what: str) -> dict[str, Any] | None:
    """The body cut into its messages, none of them read; None if it is not as it should be."""
    try:
        if what == "single":
            _single_of(body)
            return {UNREAD: body}
        told = _batch_of(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(told.batch) > MESSAGES_MAX:
        raise too_many()
    return {"batch": [bytes(each) for each in told.batch], "sentAt": told.sentAt, "context": told.context}


def too_many() -> Refused:
    """Why a batch of more messages than anybody needs is not taken."""
    return Refused(413, "too_many", f"more than {MESSAGES_MAX} messages in a batch, or values; send smaller batches")


def _parsed(body: bytes, headers: Mapping[bytes, bytes], unread: str) -> Mapping[str, Any]:
    if len(body) > _COMMAS_MAX and body.count(b",") > _COMMAS_MAX:
        raise too_many()
    found = _cut_only(body, unread) if unread else None
    if found is not None:
        return found
    try:
        told = _decoded(body)
    except (ValueError, RecursionError) as error:
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
        if encoding not in ("identity", "gzip", ""):
            raise Refused(415, "encoding", f"expected gzip or no encoding, got {encoding[:40]!r}") from error
        told = _salvaged(body.decode("utf-8", "surrogateescape")) if len(body) <= _SALVAGED_MAX else None
        if told is None:
            raise Refused(400, "bad_json", f"the body is no JSON: {why_no_json(error)}") from error
    if not isinstance(told, dict):
        raise Refused(400, "bad_json", f"expected a JSON object, got {kind_of(told)}")
    return told


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        # Half a surrogate pair, a NaN or a byte that is no UTF-8 makes one message unusable and not its neighbours.
        return _LENIENT.decode(body.decode("utf-8", "surrogateescape").lstrip("\ufeff"))


def _whole(digits: str) -> int | float:
    # Python refuses to read more digits, which would lose the neighbours too.
    return int(digits) if len(digits) < _DIGITS_MAX else math.inf


_LENIENT: Final = json.JSONDecoder(parse_int=_whole)

# ------------------------------------------------------------------ a batch that is broken somewhere

_BATCH = re.compile(r'"batch"\s*:\s*\[')
_NEXT = re.compile(r",\s{0,99}(?=\{)")
_GAPS = re.compile(r"[\s,]*")
_SPACE = re.compile(r"\s*")


def _salvaged(text: str) -> dict[str, Any] | None:
    """What can be read of a broken batch, and the pieces that cannot; None if it is not to be seen where they end."""
    found = _BATCH.search(text)
    if found is None:
        return None
    items: list[Any] = []
    spoiled: list[tuple[bytes, Rejected]] = []
    end = found.end()
    for start, end, item, error in _cut(text, found.end()):
        if error is None:
            items.append(item)
        else:
            reason = f"the message is no JSON: {error}"
            piece = text[start:end].strip().encode("utf-8", "surrogateescape")
            spoiled.append((piece, Rejected("bad_json", f"batch.{len(items) + len(spoiled)}", reason)))
    if not items:
        return None  # all of it is one broken thing, and the sender is told so
    try:
        told = _LENIENT.decode(text[: found.end()] + "]" + text[end:].partition("]")[2])
    except (ValueError, RecursionError):
        return None
    return {**told, "batch": items, SPOILED: tuple(spoiled)} if isinstance(told, dict) else None


def _cut(text: str, at: int) -> Iterator[tuple[int, int, Any, str | None]]:
    """The pieces of a list: where each begins and ends, what it is, or why it cannot be read."""
    search = _Search(text)
    count = 0
    while True:
        at = _GAPS.match(text, at).end()  # type: ignore[union-attr]  # it matches anywhere, if only nothing
        if at >= len(text) or text[at] == "]":
            return
        try:
            item, end = search.message(at)
        except (ValueError, RecursionError) as error:
            count += 1
            end = search.resumed(at) if count < _SPOILED_MAX else len(text)
            reason = _said(error, at)
            yield at, end, None, reason
        else:
            yield at, end, item, None
        at = end


class _Search:
    """A broken text being looked through for messages, within a bound on what is read in vain."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.work = 0

    def message(self, at: int) -> tuple[dict[str, Any], int]:
        """The object that stands here, and where it ends. Anything else may have swallowed what comes after it."""
        if self.text[at] != "{":
            raise ValueError("expected a message, a JSON object")
        try:
            item, end = _LENIENT.raw_decode(self.text, at)
        except RecursionError:
            self.work += sys.getrecursionlimit()
            raise
        except json.JSONDecodeError as error:
            self.work += error.pos - at
            raise
        after = _SPACE.match(self.text, end).end()  # type: ignore[union-attr]  # it matches anywhere, if only nothing
        if self.text[after : after + 1] not in (",", "]"):
            self.work += after - at
            raise ValueError(f"expected ',' or ']' behind it, at character {end - at} of it")
        return item, end

    def resumed(self, at: int) -> int:
        """Where the next whole message begins behind a broken piece; the end of the list, or text, if none does."""
        for found in _NEXT.finditer(self.text, at):
            self.work += 8  # what it costs to look at all
            if self.work > _WORK_MAX:
                return len(self.text)
            try:
                item, _ = self.message(found.end())
            except (ValueError, RecursionError):
                continue
            if "type" in item and item.keys() & _NAMING:
                return found.end()
        last = self.text.rfind("]", at)
        return len(self.text) if last < 0 else last


def _said(error: Exception, at: int) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, at character {max(error.pos - at, 0)} of it"
    return why_no_json(error)


_NAMING: Final = {"messageId", "userId", "anonymousId"}
