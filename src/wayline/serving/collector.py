"""The tracking API: what Segment's and RudderStack's clients speak, answered so that none of them sends twice.

The body is read whatever its content type says, since browsers call JSON `text/plain` and one client calls it a form.
The answer is exactly 200 `{"success":true}` once everything is on disk, also where single messages were rejected: they
are kept with their reason, and clients that meet any other success send again. Errors carry `code` and `message`,
without which some clients take them for a failing network and retry.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from wayline.errors import Rejected, StoreUnavailable
from wayline.observation.properties import read_instant
from wayline.runtime.collecting import Delivered
from wayline.serving.intake import Intake, QueueFull, Room

__all__ = ["BODY_MAX", "MEMBERS_MAX", "Keys", "Sender", "inflate", "tracking"]

BODY_MAX = 8 << 20  # bytes of a body, before and after decompression
MEMBERS_MAX = 4  # of a gzip body
_SMALL = 256 << 10  # bytes of a body that is read at once; a larger one must not hold up whoever else asks

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_Header: TypeAlias = tuple[bytes, bytes]

_KINDS = {
    "track": "track", "identify": "identify", "page": "page", "screen": "screen", "group": "group", "alias": "alias",
    "t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias",
}  # fmt: skip
_BATCHES = ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch")
_METRICS = ("/v1/m", "/m")

_SUCCESS = b'{"success":true}'
_JSON: _Header = (b"content-type", b"application/json")
_CORS: tuple[_Header, ...] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Retry-After"),
)
_PREFLIGHT: tuple[_Header, ...] = (
    *_CORS,
    (b"access-control-allow-methods", b"POST, GET, OPTIONS"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, Content-Encoding, X-Retry-Count"),
    (b"access-control-max-age", b"86400"),
)


class _Refused(Exception):
    """An answer that is no success: what the client is told."""

    def __init__(self, status: int, code: str, message: str, headers: Sequence[_Header] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
        self.errors: Sequence[Mapping[str, str]] = ()


# ------------------------------------------------------------------ who sends


class Sender(Struct, frozen=True):
    """A source that may send, as its key says."""

    source: str
    trusted: bool
    """Whether the key was secret: a browser's is not, and what it says of a person is a claim."""


class Keys:
    """The keys of `[sources.NAME]`, kept as hashes."""

    def __init__(self, sources: Mapping[str, Mapping[str, str]]) -> None:
        self._senders: dict[str, Sender] = {}
        for source, said in sources.items():
            if said.get("write_key"):
                self._senders[_hashed(said["write_key"])] = Sender(source, trusted=False)
            if said.get("secret_key_sha256"):
                self._senders[said["secret_key_sha256"]] = Sender(source, trusted=True)

    def sender(self, key: str) -> Sender | None:
        """Whose key that is; None if nobody's."""
        # Looked up by its hash, how long it takes tells nothing of the keys there are.
        return self._senders.get(_hashed(key))

    def __len__(self) -> int:
        return len(self._senders)


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _key_of_header(header: str) -> str:
    """The key in an Authorization header: the name of Basic, or what Bearer brings."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


# ------------------------------------------------------------------ the routes


def tracking(
    keys: Keys, intake: Intake, *, public_url: str = "", clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> list[Route]:
    """The routes of the tracking API. `public_url` is how browsers outside write our address."""
    singles = (_Endpoint(f"/v1/{name}", kind, keys, intake, clock) for name, kind in _KINDS.items())
    batches = (_Endpoint(path, "", keys, intake, clock) for path in _BATCHES)
    return [
        *(Route(each.path, each) for each in (*batches, *singles)),
        *(Route(path, _Metrics()) for path in _METRICS),
        Route("/v1/projects/{write_key}/settings", _Settings(keys, public_url)),
    ]


class _Endpoint:
    """One path. A plain ASGI application: it is asked more often than everything else together."""

    def __init__(self, path: str, kind: str, keys: Keys, intake: Intake, clock: Callable[[], datetime]) -> None:
        self.path = path
        self._kind = kind
        self._keys = keys
        self._intake = intake
        self._clock = clock

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one request."""
        if scope["method"] == "OPTIONS":
            await _send(send, 204, b"", _PREFLIGHT)
            return
        try:
            with Room(self._intake) as room:
                await self._take(scope, receive, room)
        except _Refused as refused:
            await self._refuse(refused, send)
        except QueueFull:
            # What is still on its way is not read, so the connection cannot be used again.
            headers = (*_after(1), (b"connection", b"close"))
            await self._refuse(
                _Refused(429, "busy", "too much waits to be written; send it again later", headers), send
            )
        except _Gone:
            return
        else:
            await _send(send, 200, _SUCCESS, (_JSON, *_CORS))

    async def _refuse(self, refused: _Refused, send: _Send) -> None:
        self._intake.counts[f"refused: {refused.code}"] += 1
        await _send_refusal(send, refused)

    async def _take(self, scope: _Scope, receive: _Receive, room: Room) -> None:
        if scope["method"] != "POST":
            raise _Refused(405, "method", f"expected POST, got {scope['method']}", ((b"allow", b"POST, OPTIONS"),))
        headers = dict(scope["headers"])
        told = await _told(await _read(headers, receive, room), headers, room)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        delivered = self._delivered(told, self._sender(headers, told, query))
        try:
            verdicts = await self._intake.store(delivered, room.bytes)
        except StoreUnavailable as error:
            raise _Refused(503, "store_unavailable", f"nothing was kept: {error}", _after(5)) from error
        except Exception as error:
            raise _Refused(500, "defect", f"nothing was kept, by a defect of Wayline's: {error}") from error
        if verdicts and query.get("strict") == ["1"]:
            raise _strict(verdicts, is_batch=not self._kind)

    def _sender(
        self, headers: Mapping[bytes, bytes], told: Mapping[str, Any], query: Mapping[str, list[str]]
    ) -> Sender:
        if not len(self._keys):
            raise _Refused(
                401,
                "no_sources",
                "this shop takes no events yet, since its wayline.toml names no source. "
                'Add [sources.web] with write_key = "..." to it, and start wayline serve again',
            )
        in_header = _key_of_header(headers.get(b"authorization", b"").decode("latin-1"))
        in_body = told.get("writeKey")
        in_query = query.get("writeKey", [""])[0]
        key = in_header or (in_body if isinstance(in_body, str) else "") or in_query
        if not key:
            raise _Refused(
                401, "no_write_key", "no write key: send it as Basic user name, as 'writeKey' in the body or the query"
            )
        sender = self._keys.sender(key)
        if sender is None:
            raise _Refused(401, "unknown_write_key", "no source has this write key; compare [sources] of wayline.toml")
        if sender.trusted and not (in_header or in_body):
            raise _Refused(401, "secret_in_url", "a secret key never stands in a URL: replace it, and send it as Basic")
        return sender

    def _delivered(self, told: Mapping[str, Any], sender: Sender) -> Delivered:
        received_at = self._clock()
        if self._kind:
            items: Sequence[Any] = ({**told, "type": self._kind},)
            return Delivered(items, sender.source, received_at, trusted=sender.trusted)
        items = told.get("batch")  # type: ignore[assignment]  # looked at in the next line
        if not isinstance(items, list):
            raise _Refused(400, "no_batch", f"expected 'batch' to be a list of messages, got {type(items).__name__}")
        sent_at = None
        try:
            sent_at = read_instant(told["sentAt"], "sentAt") if told.get("sentAt") else None
        except Rejected:
            # Each message then says so itself, and is kept with that reason.
            items = [{"sentAt": told["sentAt"], **each} if isinstance(each, dict) else each for each in items]
        context = told.get("context")
        return Delivered(
            items, sender.source, received_at, sent_at, trusted=sender.trusted,
            context=context if isinstance(context, dict) else None,
        )  # fmt: skip


class _Settings:
    """What the browser's client asks for before it starts: where to send, and nothing else."""

    def __init__(self, keys: Keys, public_url: str) -> None:
        self._keys = keys
        self._public = urlsplit(public_url)

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one request."""
        if scope["method"] == "OPTIONS":
            await _send(send, 204, b"", _PREFLIGHT)
            return
        key = scope["path_params"]["write_key"]
        sender = self._keys.sender(key)
        if sender is None or sender.trusted:
            await _send_refusal(send, _Refused(404, "unknown_write_key", "no source has this write key"))
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        # Behind a proxy that speaks TLS we are asked without it, and a page over TLS may send nowhere else.
        is_public = host.lower() == self._public.netloc.lower() != ""
        protocol = self._public.scheme if is_public else scope.get("scheme", "http")
        told_here = {"apiKey": key, "apiHost": f"{host}/v1", "protocol": protocol}
        told = {"integrations": {"Segment.io": told_here}, "plan": {"track": {}}}
        await _send(send, 200, msgspec.json.encode(told), (_JSON, *_CORS))


class _Metrics:
    """How clients fare is told to their makers; here it is taken and thrown away."""

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one request."""
        if scope["method"] == "OPTIONS":
            await _send(send, 204, b"", _PREFLIGHT)
        else:
            await _send(send, 200, _SUCCESS, (_JSON, *_CORS))


# ------------------------------------------------------------------ reading a body


class _Gone(Exception):
    """The client went away before it had said everything."""


async def _read(headers: Mapping[bytes, bytes], receive: _Receive, room: Room) -> bytes:
    """The body as it came, bounded."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > BODY_MAX:
        raise _too_large()
    body = bytearray()
    while True:
        part = await receive()
        if part["type"] == "http.disconnect":
            raise _Gone
        arrived = part.get("body", b"")
        if len(body) + len(arrived) > BODY_MAX:
            raise _too_large()
        room.take(len(arrived))
        body += arrived
        if not part.get("more_body"):
            return bytes(body)


async def _told(body: bytes, headers: Mapping[bytes, bytes], room: Room) -> Mapping[str, Any]:
    inflated = inflate(body)
    room.take(len(inflated) - len(body) if inflated is not body else 0)
    if len(inflated) > _SMALL:
        return await run_in_threadpool(_parsed, inflated, headers)
    return _parsed(inflated, headers)


def inflate(body: bytes) -> bytes:
    """A body decompressed if it is gzip, as its first bytes say: a proxy may have undone what a header still claims."""
    if body[:2] != b"\x1f\x8b":
        return body
    inflated = bytearray()
    for _ in range(MEMBERS_MAX):
        stream = zlib.decompressobj(31)
        try:
            # Never more than the limit is inflated, however little was sent.
            inflated += stream.decompress(body, BODY_MAX + 1 - len(inflated))
        except zlib.error as error:
            raise _Refused(400, "bad_gzip", f"the body is no proper gzip: {error}") from error
        if len(inflated) > BODY_MAX:
            raise _too_large()
        if not stream.eof:
            raise _Refused(400, "bad_gzip", "the gzip body ends too early; send it whole")
        body = stream.unused_data
        if not body:
            return bytes(inflated)
    raise _Refused(400, "bad_gzip", f"the gzip body has more than {MEMBERS_MAX} members; send one")


def _too_large() -> _Refused:
    # What is still on its way would be taken for the next request.
    return _Refused(413, "too_large", f"more than {BODY_MAX} bytes; send smaller batches", ((b"connection", b"close"),))


def _parsed(body: bytes, headers: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    try:
        told = _decoded(body)
    except (ValueError, RecursionError) as error:
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
        if encoding not in ("identity", "gzip", ""):
            raise _Refused(415, "encoding", f"expected gzip or no encoding, got {encoding[:40]!r}") from error
        raise _Refused(400, "bad_json", f"the body is no JSON: {error}") from error
    if not isinstance(told, dict):
        raise _Refused(400, "bad_json", f"expected a JSON object, got {type(told).__name__}")
    return told


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        # Half a surrogate pair, or a NaN, makes one message unusable and not its neighbours: read it all the same.
        return json.loads(body)


def _strict(verdicts: Sequence[tuple[int, Rejected]], *, is_batch: bool) -> _Refused:
    refused = _Refused(400, "rejected", f"{len(verdicts)} messages were rejected; the others are stored")
    refused.errors = [
        {"pointer": f"/batch/{place}" if is_batch else "", "field": each.field, "code": each.code, "message": str(each)}
        for place, each in verdicts
    ]
    return refused


# ------------------------------------------------------------------ answering


def _after(seconds: int) -> tuple[_Header]:
    return ((b"retry-after", str(seconds).encode()),)


async def _send_refusal(send: _Send, refused: _Refused) -> None:
    told: dict[str, Any] = {"code": refused.code, "message": refused.message}
    body = msgspec.json.encode(told | ({"errors": refused.errors} if refused.errors else {}))
    await _send(send, refused.status, body, (_JSON, *_CORS, *refused.headers))


async def _send(send: _Send, status: int, body: bytes, headers: Sequence[_Header]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
