"""What comes in, for programs: rejected messages, the newest events, and which signals may be trusted.

All behind a secret key. The tail shows events as the log has them, by pseudonyms; the body of a rejected message may
hold personal values, and only a key that administers sees it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from wayline.domain import Event, Playbook
from wayline.errors import WaylineError
from wayline.runtime.collecting import Collector
from wayline.runtime.offering import listed, offer_again
from wayline.runtime.signals import examine_signals
from wayline.serving.senders import Keys, key_of_header
from wayline.store import Log

__all__ = ["LISTED_MAX", "TAIL_SECONDS_MAX", "Guarded", "shown", "signal_routes"]

LISTED_MAX: Final = 1000
"""Rows of one answer."""
TAIL_SECONDS_MAX: Final = 30
"""How long a question for new events may wait for them."""

_LOOK_EVERY = 0.2  # seconds between two looks at the log for whoever waits for new events
_BODY_MAX = 1 << 20  # bytes of what is asked for again


def signal_routes(
    log: Log,
    playbook: Playbook,
    collector: Collector,
    keys: Keys,
    *,
    on_stored: Callable[[], None] = lambda: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Route]:
    """The routes about what comes in."""
    incoming = _Incoming(log, playbook, collector, on_stored, clock)
    reading, administering = partial(Guarded, keys, "read", clock), partial(Guarded, keys, "admin", clock)
    return [
        Route("/v1/rejects", reading(incoming.rejects), methods=["GET"]),
        Route("/v1/rejects/bodies", administering(incoming.bodies), methods=["GET"]),
        Route("/v1/rejects/replay", administering(incoming.replay), methods=["POST"]),
        Route("/v1/tail", reading(incoming.tail), methods=["GET"]),
        Route("/v1/signals", reading(incoming.signals), methods=["GET"]),
    ]


class Guarded:
    """An answer only for whoever holds a key of that scope."""

    def __init__(
        self, keys: Keys, scope: str, clock: Callable[[], datetime], answer: Callable[[Request], Awaitable[Response]]
    ) -> None:
        self._keys = keys
        self._scope = scope
        self._clock = clock
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        response = self._refusal(request) or await self._answer(request)
        await response(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        exposed = self._keys.sender(request.query_params.get("writeKey", ""))
        if exposed is not None and exposed.trusted:
            message = "a secret key never stands in a URL: replace it, and send it as Basic"
            return _refused(401, "secret_in_url", message)
        sender = self._keys.sender(key_of_header(request.headers.get("authorization", "")))
        is_over = sender is not None and sender.expires_at is not None and self._clock() >= sender.expires_at
        if sender is None or is_over or not sender.trusted:
            return _refused(401, "unknown_key", f"expected a secret key with the scope {self._scope!r}, sent as Basic")
        if self._scope not in sender.scopes:
            return _refused(403, "no_scope", f"this key is not good for this; give it the scope {self._scope!r}")
        wait = self._keys.wait(sender)
        if wait:
            return _refused(
                429, "rate_limited", "too many questions by this key", {"Retry-After": str(math.ceil(wait))}
            )
        return None


class _Incoming:
    """The answers, over one store."""

    def __init__(
        self,
        log: Log,
        playbook: Playbook,
        collector: Collector,
        on_stored: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._playbook = playbook
        self._collector = collector
        self._on_stored = on_stored
        self._clock = clock

    async def rejects(self, request: Request) -> Response:
        """Rejected messages and why, newest first, without what they say."""
        return await self._listed(request, is_revealed=False)

    async def bodies(self, request: Request) -> Response:
        """The same with what they say, personal values included."""
        return await self._listed(request, is_revealed=True)

    async def _listed(self, request: Request, *, is_revealed: bool) -> Response:
        before, most = _whole(request, "before", 0), min(_whole(request, "limit", 100), LISTED_MAX)
        asked = partial(listed, self._log, before=before, count_max=most, is_revealed=is_revealed)
        found = await run_in_threadpool(asked)
        return _answer({"rejects": found, "next": found[-1].number if found else None})

    async def replay(self, request: Request) -> Response:
        """Rejected messages offered again."""
        try:
            asked = _asked(await request.body())
        except msgspec.MsgspecError as error:
            return _refused(400, "bad_json", f'expected {{"numbers": [..] or "all", "patch": {{..}}}}: {error}')
        numbers = asked.numbers if isinstance(asked.numbers, list) else None
        offering = partial(offer_again, self._log, self._collector, numbers, asked.patch, before=asked.before)
        try:
            offered = await run_in_threadpool(offering)
        except WaylineError as error:
            return _refused(503, "store_unavailable", str(error))
        self._on_stored()
        return _answer(offered)

    async def tail(self, request: Request) -> Response:
        """The events after a position; waits for them a while if asked to."""
        log, now = self._log, asyncio.get_running_loop().time
        after, most = _whole(request, "after", max(0, log.head() - 20)), min(_whole(request, "limit", 100), LISTED_MAX)
        deadline = now() + min(_whole(request, "wait", 0), TAIL_SECONDS_MAX)
        events = await run_in_threadpool(log.read, after, most)
        while not events and now() < deadline:
            await asyncio.sleep(_LOOK_EVERY)
            events = await run_in_threadpool(log.read, after, most)
        return _answer({"events": list(map(shown, events)), "next": events[-1].position if events else after})

    async def signals(self, request: Request) -> Response:
        """What may be relied on."""
        return _answer(await run_in_threadpool(examine_signals, self._log, self._playbook, self._clock()))


def shown(event: Event) -> dict[str, Any]:
    """One event as the tail shows it."""
    return {
        "position": event.position,
        "name": event.name,
        "source": event.source,
        "event_id": event.event_id,
        "occurred_at": event.occurred_at,
        "received_at": event.received_at,
        "identifiers": [f"{each.kind}:{each.value[:12]}" for each in event.identifiers],
        "properties": event.properties,
        "notes": event.notes,
    }


class _Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    numbers: list[int] | Literal["all"]
    patch: dict[str, Any] | None = None
    before: int = 0


def _asked(body: bytes) -> _Replay:
    return msgspec.json.decode(body[:_BODY_MAX], type=_Replay)


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 16 else default


def _answer(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _refused(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    told = msgspec.json.encode({"code": code, "message": message})
    return Response(told, status, headers, media_type="application/json")
