"""A proxy that stands between a client and Wayline, writes down every request, and does to the answer as it is told.

What is done to a request depends on the write key in it, so that one proxy serves many cases at once. `PASS` hands it
on; `LOSE` hands it on and cuts the line instead of answering, as when a phone drives into a tunnel; a `Say` answers
itself, and Wayline never hears of it.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

__all__ = ["LOSE", "PASS", "Act", "Proxy", "Say", "Seen", "proxied"]


class Say(Struct, frozen=True):
    """An answer of the proxy's own."""

    status: int
    body: bytes = b'{"code":"injected","message":"by the proxy"}'
    headers: tuple[tuple[str, str], ...] = ()


Act: TypeAlias = Say | Literal["pass", "lose"]
PASS: Literal["pass"] = "pass"
LOSE: Literal["lose"] = "lose"


class Seen(Struct, frozen=True):
    """One request as it came, and the status it was answered with (0: not at all)."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int

    @property
    def key(self) -> str:
        return _key(self.headers)

    @property
    def told(self) -> Any:
        return json.loads(gzip.decompress(self.body) if self.body[:2] == b"\x1f\x8b" else self.body)


def _key(headers: Mapping[str, str]) -> str:
    _, _, basic = headers.get("authorization", "").partition(" ")
    return base64.b64decode(basic).decode().partition(":")[0]


class Proxy:
    """`acts` are done in order to the requests of a key, the last of them for ever; a key without any passes."""

    def __init__(self, behind: str, acts: Mapping[str, Sequence[Act]]) -> None:
        self._behind = urlsplit(behind)
        self._acts = {key: list(each) for key, each in acts.items()}
        self.seen: list[Seen] = []
        self.url = ""

    def of(self, key: str) -> list[Seen]:
        """The messages that came with this key (no preflights)."""
        return [one for one in self.seen if one.key == key and one.method == "POST"]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            method, path, headers, body = await _request(reader)
            answer, status = await self._answered(method, path, headers, body)
            self.seen.append(Seen(method, path, headers, body, status))
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answered(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[bytes, int]:
        acts = self._acts.get(_key(headers), []) if method == "POST" else []
        act: Act = (acts.pop(0) if len(acts) > 1 else acts[0]) if acts else PASS
        if isinstance(act, Say):
            return _written(act), act.status
        passed = await self._passed(method, path, headers, body)
        if act == LOSE:
            return b"", 0
        return passed, int(passed.split(b" ", 2)[1])

    async def _passed(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._behind.hostname, self._behind.port)
        kept = {**headers, "connection": "close", "content-length": str(len(body))}
        kept.pop("transfer-encoding", None)
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in kept.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        try:
            return await reader.read(-1)
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, path, _ = first.split(" ")
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return method, path, headers, body
    return method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))


def _written(say: Say) -> bytes:
    headers = {
        "content-type": "application/json", "content-length": str(len(say.body)), "connection": "close",
        "access-control-allow-origin": "*", "access-control-expose-headers": "Retry-After", **dict(say.headers),
    }  # fmt: skip
    lines = [f"HTTP/1.1 {say.status} Said", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + say.body


@contextmanager
def proxied(behind: str, acts: Mapping[str, Sequence[Act]] | None = None) -> Iterator[Proxy]:
    """A proxy in front of that address, in a thread of its own."""
    proxy = Proxy(behind, acts or defaultdict(list))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxy", daemon=True)
    thread.start()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(proxy.answer, "127.0.0.1", 0, limit=1 << 20)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(_closed(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _closed(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
