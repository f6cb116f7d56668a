"""R17: whoever begins to send and never ends holds up nobody who does, with a key or without one."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Awaitable, Callable, Iterable
from hashlib import sha256
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from tests.shop import NOON

from wayline.runtime.collecting import Collector
from wayline.serving import bodies
from wayline.serving.bodies import BODY_MAX, STRANGERS_BODY_MAX
from wayline.serving.collector import tracking
from wayline.serving.intake import Intake
from wayline.serving.senders import Keys
from wayline.serving.webhooks import CALL_BYTES_MAX, webhooks
from wayline.sources.opening import open_receivers
from wayline.store.opening import open_store

PUBLIC, SECRET = "web-key-0001", "secret-key-0001"
ONE = b'{"batch":[{"type":"track","event":"Help Viewed","anonymousId":"a-browser-000000001"}]}'
CALL = b'{"type":"track","event":"Ticket Opened","userId":"anna","messageId":"t-1","properties":{"ticket_id":"7"}}'


class Shop:
    """A shop with browsers, a server and a desk, in a memory of its own."""

    def __init__(self, **said: Any) -> None:
        self.store = open_store()
        self.intake = Intake(Collector(self.store.log, self.store.vault), **said)
        keys = Keys({"web": {"write_key": PUBLIC}, "till": {"secret_key_sha256": sha256(SECRET.encode()).hexdigest()}})
        receivers = open_receivers({"shop": {"kind": "shopify", "secret_env": "SHOP"}}, {"SHOP": "abc"})
        routes = [*webhooks(receivers, self.intake), *tracking(keys, self.intake, clock=lambda: NOON)]
        self.app = Starlette(routes=routes)

    async def post(self, path: str, body: bytes, **said: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.post(path, content=body, **said)

    def begun(self, path: str, size: int, *, headers: Iterable[tuple[bytes, bytes]] = ()) -> Slow:
        return Slow(self.app, path, size, list(headers))


class Slow:
    """A request of which so many bytes come, and then nothing for as long as the server waits."""

    def __init__(self, app: Starlette, path: str, size: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = 0
        self._parts = [b"x" * (1 << 16)] * (size >> 16)
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": headers, "scheme": "http", "server": ("x", 80), "client": ("1.2.3.4", 1),
            "http_version": "1.1", "root_path": "",
        }  # fmt: skip
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._parts:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": self._parts.pop(), "more_body": True}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)


def run(asked: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(asked(), 30))  # type: ignore[arg-type]  # every one of them is a coroutine


async def ended(slow: Iterable[Slow]) -> None:
    for one in slow:
        one.task.cancel()
    await asyncio.gather(*(one.task for one in slow), return_exceptions=True)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/webhooks/shop", ()),
        ("/v1/batch", ()),
        ("/v1/batch", [(b"authorization", b"Basic d2ViLWtleS0wMDAxOg==")]),
    ],
)
def test_r17_slow_senders_shut_nobody_out(path: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
    async def asked() -> None:
        shop = Shop()
        size = 1 << 20 if not headers and path.startswith("/v1") else 4 << 20
        slow = [shop.begun(path, size - (1 << 16), headers=headers) for _ in range(160)]
        await asyncio.sleep(0.2)
        assert shop.intake.arriving.bytes <= shop.intake.arriving.bytes_max
        assert shop.intake.bytes == 0, "what never comes whole takes nothing of what is to be written"
        assert (await shop.post("/v1/batch", ONE, auth=(PUBLIC, ""))).status_code == 200
        assert (await shop.post("/v1/batch", ONE + b" " * 4_000_000, auth=(SECRET, ""))).status_code == 200
        assert (await shop.post("/webhooks/shop", CALL + b" " * 500_000)).status_code == 401, "it was read, and judged"
        assert {one.status for one in slow} == {0, 429}, "who stalled longest gave way, and was told"
        await ended(slow)
        assert (shop.intake.arriving.bytes, shop.intake.bytes) == (0, 0)

    run(asked)


def test_r17_slow_senders_give_way_to_one_whose_body_comes_in_parts() -> None:
    async def asked() -> None:
        shop = Shop()
        slow = [shop.begun("/webhooks/shop", 4 << 20) for _ in range(8)]
        await asyncio.sleep(0.05)

        async def parts() -> Any:
            for at in range(0, len(ONE), 10):
                yield ONE[at : at + 10]
                await asyncio.sleep(0)
            for _ in range(10):
                yield b" " * 100_000

        transport = httpx.ASGITransport(app=shop.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop", auth=(PUBLIC, "")) as client:
            assert (await client.post("/v1/batch", content=parts())).status_code == 200
        await ended(slow)

    run(asked)


def test_r17_slow_senders_of_calls_are_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayline.serving.webhooks.CALL_SECONDS_MAX", 0.1)

    async def asked() -> None:
        shop = Shop()
        slow = [shop.begun("/webhooks/shop", size) for size in (0, 1 << 20)]
        await asyncio.wait([one.task for one in slow], timeout=2)
        assert [one.status for one in slow] == [408, 408], "also who sends nothing at all"
        assert shop.intake.counts["refused: slow"] == 2
        await ended(slow)

    run(asked)


def test_r17_slow_senders_are_the_only_ones_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """What inflates to much more than it was is inflated by another thread than the one that answers."""
    where: list[tuple[int, bool]] = []
    inflate = bodies.inflate

    def seen(body: bytes, most: int = BODY_MAX) -> bytes:
        where.append((most, threading.current_thread() is threading.main_thread()))
        return inflate(body, most)

    monkeypatch.setattr(bodies, "inflate", seen)

    async def asked() -> None:
        shop = Shop()
        bomb = gzip.compress(b" " * (BODY_MAX - 1))
        assert (await shop.post("/v1/batch", bomb)).status_code == 413
        assert (await shop.post("/v1/batch", gzip.compress(ONE), auth=(PUBLIC, ""))).status_code == 200
        whole = gzip.compress(ONE + b" " * 4_000_000)
        assert (await shop.post("/v1/batch", whole, auth=(PUBLIC, ""))).status_code == 200
        assert all(most <= 256 << 10 for most, is_answering in where if is_answering), where
        assert (STRANGERS_BODY_MAX, False) in where and (BODY_MAX, False) in where

    run(asked)


def test_r17_who_is_not_known_by_the_header_sends_less() -> None:
    async def asked() -> None:
        shop = Shop()
        with_key = ONE[:-1] + b', "writeKey": "' + PUBLIC.encode() + b'"}'
        assert (await shop.post("/v1/batch", with_key + b" " * 600_000)).status_code == 200, "more than clients send"
        refused = await shop.post("/v1/batch", with_key + b" " * STRANGERS_BODY_MAX)
        assert refused.status_code == 413 and "header" in refused.json()["message"]
        large = with_key + b" " * (4 * STRANGERS_BODY_MAX)
        assert (await shop.post(f"/v1/batch?writeKey={PUBLIC}", large)).status_code == 200
        assert (await shop.post("/v1/batch", large, auth=(PUBLIC, ""))).status_code == 200
        refused = await shop.post("/webhooks/shop", b" " * (CALL_BYTES_MAX + 1))
        assert refused.status_code == 413 and "header" not in refused.json()["message"]

    run(asked)
