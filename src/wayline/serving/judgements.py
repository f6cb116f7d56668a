"""Who is who, as a person judges it, for programs: `/v1/identity/{merge,split,review}` behind a secret key.

What is judged is an event of the log, like all that happens; the engine takes it in with its next look.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wayline.domain import Event
from wayline.errors import SenderError, StoreUnavailable
from wayline.runtime import reviewing
from wayline.runtime.kinship import customer_named, kinship_of
from wayline.serving.senders import Keys
from wayline.serving.signals import Guarded
from wayline.store.opening import Store

__all__ = ["REVIEWS_MAX", "judgement_routes"]

REVIEWS_MAX: Final = 1000
"""Questions of one answer, the surest first."""

_BODY_MAX = 64 << 10  # bytes of a judgement


class _Merge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    one: str
    other: str
    by: str
    why: str = ""


class _Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    customer_id: str
    by: str
    why: str = ""


class _Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    review_id: str
    verdict: Literal["accept", "refuse"]
    by: str


def judgement_routes(
    store: Store,
    keys: Keys,
    *,
    on_stored: Callable[[], None] = lambda: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Route]:
    """The routes about who is who."""
    judging = _Judging(store, on_stored, clock)
    guarded = partial(Guarded, keys, "identity", clock)
    return [
        Route("/v1/identity/merge", guarded(judging.merge), methods=["POST"]),
        Route("/v1/identity/split", guarded(judging.split), methods=["POST"]),
        Route("/v1/identity/review", guarded(judging.reviewed), methods=["GET", "POST"]),
        Route("/v1/identity/customers/{customer}", guarded(judging.shown), methods=["GET"]),
    ]


class _Judging:
    """The answers, over one store."""

    def __init__(self, store: Store, on_stored: Callable[[], None], clock: Callable[[], datetime]) -> None:
        self._store = store
        self._on_stored = on_stored
        self._clock = clock

    async def merge(self, request: Request) -> Response:
        """Two customers are one."""
        return await self._judge(request, _Merge, self._merged)

    async def split(self, request: Request) -> Response:
        """A merge is taken back."""
        return await self._judge(request, _Split, self._parted)

    async def reviewed(self, request: Request) -> Response:
        """What is to be judged; or the answer to one of it."""
        if request.method == "POST":
            return await self._judge(request, _Answer, self._answered)
        states = tuple(filter(None, request.query_params.get("state", "open").split(",")))
        found = await run_in_threadpool(self._store.state.reviews, states)
        return _told({"reviews": found[:REVIEWS_MAX], "left_out": max(0, len(found) - REVIEWS_MAX)})

    async def shown(self, request: Request) -> Response:
        """How a customer came to be one person, by pseudonyms."""
        asked = request.path_params["customer"]
        customer_id = await run_in_threadpool(customer_named, self._store.state, self._store.vault, asked)
        found = await run_in_threadpool(kinship_of, self._store.state, customer_id) if customer_id else None
        return _refused(404, "unknown_customer", "nobody is known by that") if found is None else _told(found)

    async def _judge(self, request: Request, shape: type[Any], event_of: Callable[[Any], Event]) -> Response:
        try:
            asked = msgspec.json.decode((await request.body())[:_BODY_MAX], type=shape)
            event = await run_in_threadpool(event_of, asked)
            await run_in_threadpool(self._store.log.append, [event])
        except msgspec.MsgspecError as error:
            return _refused(400, "bad_json", f"expected {', '.join(shape.__struct_fields__)}: {error}")
        except SenderError as error:
            return _refused(409, "not_possible", str(error))
        except StoreUnavailable as error:
            return _refused(503, "store_unavailable", f"nothing was kept: {error}")
        self._on_stored()
        return _told({"event_id": event.event_id, "judged": event.name})

    def _merged(self, asked: _Merge) -> Event:
        state = self._store.state
        return reviewing.merged(state, asked.one, asked.other, by=asked.by, why=asked.why, at=self._clock())

    def _parted(self, asked: _Split) -> Event:
        return reviewing.split(self._store.state, asked.customer_id, by=asked.by, why=asked.why, at=self._clock())

    def _answered(self, asked: _Answer) -> Event:
        is_yes = asked.verdict == "accept"
        return reviewing.answered(self._store.state, asked.review_id, accept=is_yes, by=asked.by, at=self._clock())


def _told(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _refused(status: int, code: str, message: str) -> Response:
    told = msgspec.json.encode({"code": code, "message": message})
    return Response(told, status, media_type="application/json")
