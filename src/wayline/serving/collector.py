"""The tracking API: what Segment's and RudderStack's clients speak, answered so that none of them sends twice.

The body is read whatever its content type says, since browsers call JSON `text/plain` and one client calls it a form.
The answer is exactly 200 `{"success":true}` once everything is on disk, also where single messages were rejected: they
are kept with their reason, and clients that meet any other success send again. Errors carry `code` and `message`,
without which some clients take them for a failing network and retry.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct
from starlette.routing import Route

from wayline.errors import Rejected, StoreUnavailable, kind_of
from wayline.observation.dialects import pixel_of
from wayline.observation.proofs import Proofs
from wayline.observation.properties import read_instant
from wayline.observation.vocabulary import LIMITS
from wayline.runtime.collecting import Delivered, decoded
from wayline.serving import bodies
from wayline.serving.answers import GIF, JSON, SUCCESS, Refused, Send, after, send, send_preflight, send_refusal
from wayline.serving.intake import Intake, QueueFull, Room
from wayline.serving.senders import Keys, Sender, key_of_header

__all__ = ["BATCHES", "PIXELS", "SINGLES", "tracking"]

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Headers: TypeAlias = Mapping[bytes, bytes]

_KINDS: Final = {
    "track": "track", "identify": "identify", "page": "page", "screen": "screen", "group": "group", "alias": "alias",
    "merge": "merge",
    "t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias",
}  # fmt: skip
SINGLES: Final[Mapping[str, str]] = {f"/v1/{name}": kind for name, kind in _KINDS.items()}
"""Paths that take one message, and its type."""
BATCHES: Final = ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch")
"""Paths that take `{"batch": [message, ...]}`."""
PIXELS: Final[Mapping[str, str]] = {
    path: kind for kind in ("track", "page") for path in (f"/pixel/v1/{kind}", f"/v1/pixel/{kind}")
}
"""Paths of pictures whose address holds one message, and its type."""
_METRICS: Final = ("/v1/m", "/m")


def tracking(
    keys: Keys,
    intake: Intake,
    *,
    public_url: str = "",
    event_bytes_max: int = LIMITS["bytes_max"],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Route]:
    """The routes of the tracking API.

    `public_url` is where browsers reach it, `event_bytes_max` what one event may weigh.
    """
    shop = _Shop(keys, intake, public_url.rstrip("/"), event_bytes_max, clock)
    return [
        *(Route(path, _Endpoint(shop)) for path in BATCHES),
        *(Route(path, _Endpoint(shop, kind)) for path, kind in SINGLES.items()),
        *(Route(path, _Pixel(shop, kind)) for path, kind in PIXELS.items()),
        *(Route(path, _Metrics()) for path in _METRICS),
        Route("/v1/projects/{write_key}/settings", _Settings(shop)),
    ]


class _Shop(Struct, frozen=True):
    """What every path needs: whose keys there are, and where messages go."""

    keys: Keys
    intake: Intake
    public_url: str
    event_bytes_max: int
    clock: Callable[[], datetime]


class _Endpoint:
    """One path. A plain ASGI application: it is asked more often than everything else together."""

    method = "POST"
    success = SUCCESS
    headers: Sequence[tuple[bytes, bytes]] = (JSON,)

    def __init__(self, shop: _Shop, kind: str = "") -> None:
        self.shop = shop
        self.kind = kind

    async def __call__(self, scope: _Scope, receive: _Receive, to: Send) -> None:
        """Answer one request."""
        if scope["method"] == "OPTIONS":
            await send_preflight(to)
            return
        headers = dict(scope["headers"])
        try:
            with Room(self.shop.intake) as room:
                sender = await self._take(scope, headers, receive, room)
        except Refused as refused:
            await self._refuse(refused, to)
        except QueueFull:
            # What is still on its way is not read, so the connection cannot be used again.
            busy = (*after(1), (b"x-ratelimit-reset", b"1"), (b"connection", b"close"))
            await self._refuse(Refused(429, "busy", "too much waits to be written; send it again later", busy), to)
        except bodies.Gone:
            return
        else:
            page = headers.get(b"origin", b"") if sender.pages else b""
            await send(to, 200, self.success, self.headers, page=page)

    async def _refuse(self, refused: Refused, to: Send) -> None:
        self.shop.intake.counts.refuse(refused.code, refused.source)
        await send_refusal(to, refused)

    async def _take(self, scope: _Scope, headers: _Headers, receive: _Receive, room: Room) -> Sender:
        if scope["method"] != self.method:
            allowed = f"{self.method}, OPTIONS".encode()
            raise Refused(405, "method", f"expected {self.method}, got {scope['method']}", ((b"allow", allowed),))
        asked = _asked(scope["query_string"])
        query = dict(reversed(asked))  # the first of a name counts
        in_header = key_of_header(headers.get(b"authorization", b"").decode("latin-1"))
        # A key that is known from the header is judged before anything of the body is read.
        sender = self._admitted(in_header, headers) if in_header else None
        # Nothing of the body is needed here then: its messages are read by whoever has the time for it.
        told = await self._told(asked, headers, receive, room, sender=sender)
        if sender is None:
            in_body = told.get("writeKey")
            key = (in_body if isinstance(in_body, str) else "") or query.get("writeKey", "")
            sender = self._admitted(key, headers)
            if sender.trusted and not in_body:
                message = "a secret key never stands in a URL: replace it, and send it as Basic"
                raise Refused(401, "secret_in_url", message, source=sender.source)
        delivered = self._delivered(told, sender, headers)
        verdicts = await self._stored(delivered, room, sender)
        if verdicts and query.get("strict") == "1":
            raise _strict(verdicts, sender, is_batch=not self.kind)
        return sender

    async def _told(
        self,
        asked: Sequence[tuple[str, str]],
        headers: _Headers,
        receive: _Receive,
        room: Room,
        *,
        sender: Sender | None,
    ) -> Mapping[str, Any]:
        # A key in the address is judged after one in the body; here it is enough that there is such a key.
        in_query = next((value for name, value in asked if name == "writeKey"), "")
        is_known = sender is not None or self.shop.keys.sender(in_query) is not None
        most = bodies.BODY_MAX if is_known else bodies.STRANGERS_BODY_MAX
        is_trusted = sender is not None and sender.trusted
        body = await bodies.read(headers, receive, room, most=most, is_trusted=is_trusted)
        unread: Literal["", "batch", "single"] = ("single" if self.kind else "batch") if sender is not None else ""
        return await bodies.parse(body, headers, room, unread=unread, most=most)

    async def _stored(self, delivered: Delivered, room: Room, sender: Sender) -> Sequence[tuple[int, Rejected]]:
        try:
            return await self.shop.intake.store(delivered, room.bytes)
        except StoreUnavailable as error:
            message = f"nothing was kept: {error}"
            raise Refused(503, "store_unavailable", message, after(5), source=sender.source) from error
        except Exception as error:
            message = f"nothing was kept, by a defect of Wayline's: {type(error).__name__}"
            raise Refused(500, "defect", message, source=sender.source) from error

    def _admitted(self, key: str, headers: _Headers) -> Sender:
        """Whose key that is, if they may send now and from there."""
        keys = self.shop.keys
        sender = keys.sender(key)
        if sender is None:
            raise _nobodys(key, keys)
        if sender.expires_at is not None and self.shop.clock() >= sender.expires_at:
            message = f"this key worked until {sender.expires_at:%Y-%m-%d}; take the newer one of its source"
            raise Refused(401, "expired_key", message, source=sender.source)
        if "events" not in sender.scopes:
            message = "this key is not good for events; give it that scope, or take another"
            raise Refused(403, "no_scope", message, source=sender.source)
        if sender.pages and _page(headers) not in {"", *sender.pages}:
            message = f"this key is for other pages than {_page(headers)[:200]!r}; compare 'origins' in wayline.toml"
            raise Refused(403, "wrong_origin", message, source=sender.source)
        wait = keys.wait(sender)
        if wait:
            seconds = str(math.ceil(wait)).encode()
            told = ((b"retry-after", seconds), (b"x-ratelimit-reset", seconds))
            message = f"more than {sender.requests_per_second:g} requests a second by this key; send it again later"
            raise Refused(429, "rate_limited", message, told, source=sender.source)
        return sender

    def _delivered(self, told: Mapping[str, Any], sender: Sender, headers: _Headers) -> Delivered:
        received_at = self.shop.clock()
        proofs = Proofs(received_at, sender.identity_secret, headers.get(b"x-wayline-identity", b"").decode("latin-1"))
        most = self.shop.event_bytes_max
        if self.kind:
            items: Sequence[Any] = (told.get(bodies.UNREAD, told),)
            return Delivered(
                items, sender.source, received_at,
                kind=self.kind, trusted=sender.trusted, proofs=proofs, event_bytes_max=most,
            )  # fmt: skip
        items = told.get("batch")  # type: ignore[assignment]  # looked at in the next line
        if not isinstance(items, list):
            message = f"expected 'batch' to be a list of messages, got {kind_of(items)}"
            raise Refused(400, "no_batch", message, source=sender.source)
        if len(items) > bodies.MESSAGES_MAX:
            raise bodies.too_many()
        sent_at = None
        try:
            sent_at = read_instant(told["sentAt"], "sentAt") if told.get("sentAt") else None
        except Rejected:
            # Each message then says so itself, and is kept with that reason.
            items = [_with_sent_at(each, told["sentAt"]) for each in items]
        context = told.get("context")
        return Delivered(
            items, sender.source, received_at, sent_at, trusted=sender.trusted,
            context=context if isinstance(context, dict) else None,
            unreadable=told.get(bodies.SPOILED, ()), proofs=proofs, event_bytes_max=most,
        )  # fmt: skip


def _with_sent_at(item: Any, sent_at: Any) -> Any:
    if type(item) is bytes:
        item = decoded(item)
    return {"sentAt": sent_at, **item} if isinstance(item, dict) else item


_FIELDS_MAX: Final = 200  # parameters of an address


def _asked(query: bytes) -> list[tuple[str, str]]:
    if not query:
        return []
    try:
        return parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError as error:
        raise Refused(400, "bad_query", f"the query cannot be read: at most {_FIELDS_MAX} parameters") from error


def _nobodys(key: str, keys: Keys) -> Refused:
    if not len(keys):
        message = (
            "this shop takes no events yet, since its wayline.toml names no source with a key. "
            "Make one: wayline keys new FOLDER --source web --write"
        )
        return Refused(401, "no_sources", message)
    if not key:
        message = "no write key: send it as Basic user name, as 'writeKey' in the body or the query"
        return Refused(401, "no_write_key", message)
    return Refused(401, "unknown_write_key", "no source has this write key; compare [sources] of wayline.toml")


def _page(headers: _Headers) -> str:
    """The page that has a browser ask: pictures say it in the referrer; programs say nothing."""
    said = headers.get(b"origin", b"").decode("latin-1").strip().lower()
    if said:
        return said
    try:
        parts = urlsplit(headers.get(b"referer", b"").decode("latin-1").strip().lower())
    except ValueError:
        return "unreadable"
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def _strict(verdicts: Sequence[tuple[int, Rejected]], sender: Sender, *, is_batch: bool) -> Refused:
    message = f"{len(verdicts)} message{' was' if len(verdicts) == 1 else 's were'} rejected; the others are stored"
    refused = Refused(400, "rejected", message, source=sender.source)
    refused.errors = [
        {"pointer": f"/batch/{place}" if is_batch else "", "field": each.field, "code": each.code, "message": str(each)}
        for place, each in verdicts
    ]
    return refused


# ------------------------------------------------------------------ the other paths


class _Pixel(_Endpoint):
    """A picture of one point, whose address holds a message: for pages and mails that can do nothing else."""

    method = "GET"
    success = GIF
    headers = ((b"content-type", b"image/gif"), (b"cache-control", b"no-store"))

    async def _told(
        self,
        asked: Sequence[tuple[str, str]],
        headers: _Headers,
        receive: _Receive,
        room: Room,
        *,
        sender: Sender | None,
    ) -> Mapping[str, Any]:
        room.take(sum(len(name) + len(value) for name, value in asked))
        return pixel_of(self.kind, asked)


class _Settings:
    """What the browser's client asks for before it starts: where to send, and nothing else."""

    def __init__(self, shop: _Shop) -> None:
        self._shop = shop

    async def __call__(self, scope: _Scope, receive: _Receive, to: Send) -> None:
        """Answer one request."""
        if scope["method"] == "OPTIONS":
            await send_preflight(to)
            return
        key = scope["path_params"]["write_key"]
        sender = self._shop.keys.sender(key)
        if sender is None or sender.trusted:
            self._shop.intake.counts.refuse("unknown_write_key")
            await send_refusal(to, Refused(404, "unknown_write_key", "no source has this write key"))
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        protocol, _, where = self._shop.public_url.partition("://")
        if not where or _is_here(host, headers):
            protocol, where = scope.get("scheme", "http"), host
        told_here = {"apiKey": key, "apiHost": f"{where}/v1", "protocol": protocol}
        told = {"integrations": {"Segment.io": told_here}, "plan": {"track": {}}}
        await send(to, 200, msgspec.json.encode(told), (JSON,))


def _is_here(host: str, headers: _Headers) -> bool:
    """Whether a browser on this machine asks. Any other comes by a proxy, which may hide both host and protocol."""
    name = host.rpartition(":")[0] or host
    is_passed_on = b"x-forwarded-for" in headers or b"forwarded" in headers
    return not is_passed_on and name.lower() in ("127.0.0.1", "localhost", "[::1]")


class _Metrics:
    """How clients fare is told to their makers; here it is taken and thrown away."""

    async def __call__(self, scope: _Scope, receive: _Receive, to: Send) -> None:
        """Answer one request."""
        if scope["method"] == "OPTIONS":
            await send_preflight(to)
        else:
            await send(to, 200, SUCCESS, (JSON,))
