"""Signed calls of other systems: `POST /webhooks/SOURCE`.

The signature is checked over the raw bytes before anything is read; one that is missing or wrong is 401. What the call
tells is on disk before it is answered 200, and the work is done later. A body that cannot be used is kept with the
reason and answered 200 all the same: sending it again would not help, and most senders give up a subscription after a
few failures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wayline.errors import Rejected, StoreUnavailable
from wayline.runtime.collecting import Delivered
from wayline.serving import bodies
from wayline.serving.answers import Refused
from wayline.serving.intake import Intake, QueueFull, Room
from wayline.sources import Call, NotNow, Receiver, Unsigned

__all__ = ["CALL_BYTES_MAX", "CALL_SECONDS_MAX", "webhooks"]

CALL_BYTES_MAX: Final = 4 << 20
"""Bytes of one call: an order with hundreds of lines has a few hundred thousand."""
CALL_SECONDS_MAX: Final = 10
"""Seconds the body of a call may take: until all of it is there, nobody knows whose it is."""


def webhooks(
    receivers: Mapping[str, Receiver],
    intake: Intake,
    *,
    public_url: str = "",
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Route]:
    """The route of signed calls. `public_url` is how callers write our address, for signatures that cover it."""

    async def receive(request: Request) -> Response:
        source = request.path_params["source"]
        receiver = receivers.get(source)
        if receiver is None:
            return _answer(404, "unknown_source", "no source of this name takes signed calls; compare [sources]")
        with Room(intake) as room:
            try:
                body = await bodies.read(
                    dict(request.scope["headers"]), request.receive, room, most=CALL_BYTES_MAX, seconds=CALL_SECONDS_MAX
                )
            except QueueFull:
                intake.counts.refuse("busy", source)
                return _answer(429, "busy", "too much waits to be written; send it again later", retry_after=1)
            except bodies.Gone:
                return Response(status_code=400)
            except Refused as error:
                intake.counts.refuse(error.code, source)
                return _answer(error.status, error.code, error.message)
            call = _call(request, body, public_url, clock())
            try:
                # One that asks elsewhere before it believes must not hold up everybody else meanwhile.
                delivered = await (run_in_threadpool if getattr(receiver, "asks", False) else _here)(
                    _delivered, source, receiver, call
                )
            except Unsigned as error:
                intake.counts["refused: unsigned"] += 1
                return _answer(401, "unsigned", str(error))
            except NotNow as error:
                return _answer(503, "not_now", str(error), retry_after=10)
            answer = await _store(intake, delivered, room.bytes)
            return answer if answer.status_code != 200 else _thanks(receiver) or answer

    return [Route("/webhooks/{source}", receive, methods=["POST"])]


def _call(request: Request, body: bytes, public_url: str, now: datetime) -> Call:
    headers = {name.lower(): value for name, value in request.headers.items()}
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    url = public_url.rstrip("/") + path if public_url else str(request.url)
    peer = request.client.host if request.client is not None else ""
    return Call(headers=headers, body=body, url=url, peer=peer, received_at=now)


async def _here(read: Callable[..., Delivered], *given: Any) -> Delivered:
    return read(*given)


def _delivered(source: str, receiver: Receiver, call: Call) -> Delivered:
    """What a call tells, once it is known whose it is."""
    receiver.check(call)
    try:
        messages: Sequence[Any] = receiver.messages(call)
    except Rejected as error:
        return Delivered((), source, call.received_at, unreadable=((call.body, error),))
    return Delivered(messages, source, call.received_at)


async def _store(intake: Intake, delivered: Delivered, size: int) -> Response:
    if not (delivered.items or delivered.unreadable):
        return _answer(200)
    try:
        await intake.store(delivered, size)
    except StoreUnavailable as error:
        return _answer(503, "store_unavailable", f"nothing was kept: {error}", retry_after=5)
    except Exception as error:  # noqa: BLE001 - the intake has logged it with its trace; the caller is to come again
        return _answer(500, "defect", f"nothing was kept, by a defect of Wayline's: {type(error).__name__}")
    return _answer(200)


def _thanks(receiver: Receiver) -> Response | None:
    """What this sender wants to hear instead of our own word, if its receiver says so."""
    thanks = getattr(receiver, "thanks", None)
    return None if thanks is None else Response(thanks, media_type=getattr(receiver, "media_type", None))


def _answer(status: int, code: str = "", message: str = "", *, retry_after: int = 0) -> Response:
    told: dict[str, Any] = {"code": code, "message": message} if code else {"success": True}
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    return Response(msgspec.json.encode(told), status, headers, media_type="application/json")
