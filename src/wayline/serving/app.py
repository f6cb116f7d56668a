"""The composition root of `wayline serve`: one process that takes events, decides, delivers, and shows its pages.

Everything is made here and handed to whoever needs it: the stores, the playbook, the channels, the loop of the engine
in its thread, the collector with its writer, the pages. It ends in the order it began, reversed.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio.to_thread
import structlog
import uvloop
from msgspec import Struct
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wayline.channels.opening import OpenedChannels, open_channels
from wayline.domain import Playbook
from wayline.errors import OperatorError, StoreUnavailable
from wayline.playbook.settings import read_sources
from wayline.runtime.collecting import Collector
from wayline.runtime.dropping import KINDS, Drop, Dropping, drops_of
from wayline.runtime.embedded import calm_collector
from wayline.runtime.folders import KEPT, keep_versions, read_files
from wayline.runtime.readers import Readers
from wayline.runtime.reconciling import Pausing, Poll, Polling, shops_of
from wayline.runtime.service import Keeper, Running
from wayline.runtime.shipping import Shipper
from wayline.serving.clicks import Clicks
from wayline.serving.collector import BATCHES, SINGLES, tracking
from wayline.serving.dashboard import dashboard
from wayline.serving.figures import figures
from wayline.serving.intake import Intake
from wayline.serving.judgements import judgement_routes
from wayline.serving.latest import Latest
from wayline.serving.report import Report, build
from wayline.serving.season import MARK, kept_report
from wayline.serving.senders import REQUESTS_PER_SECOND, Keys, Watched
from wayline.serving.signals import signal_routes
from wayline.serving.unsubscribe import unsubscribing
from wayline.serving.webhooks import webhooks
from wayline.sources import Receiver
from wayline.sources.opening import Shop, open_apis, open_receivers
from wayline.store.opening import Store, open_store

__all__ = ["LOOPBACK", "Serving", "compose", "compose_simulated", "run"]

_log = structlog.get_logger()

_READERS_MAX = 4  # threads that read the stores for pages: each holds connections and their caches
_GRACE_SECONDS = 10  # for answers under way when the process is asked to end
_CONNECTIONS_MAX = 2000  # connections at a time; further ones are answered 503
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""What a browser on the same machine calls it."""


class Serving(Struct, frozen=True):
    """A shop being served: its application, and what runs behind it. A simulated shop has neither loop nor intake."""

    app: Starlette
    running: Running | None
    intake: Intake | None
    latest: Latest


def run(folder: Path, *, host: str = "127.0.0.1", port: int = 8400) -> None:
    """Serve a shop's folder until SIGINT or SIGTERM; raises OperatorError where something is in the way."""
    _log_to_stderr()
    files = read_files(folder)
    with closing(_listen(host, port, folder)) as listening, open_store(folder / KEPT) as store:
        playbook = keep_versions(files, store.state)
        is_simulated = (folder / MARK).exists()
        settings = {} if is_simulated else playbook.settings.get("channels", {})
        with closing(open_channels(settings, os.environ)) as channels:
            hosts = _names_of(host)
            if is_simulated:
                serving = compose_simulated(store, playbook, kept_report(folder), hosts=hosts)
            else:
                receivers = open_receivers(
                    playbook.settings.get("sources", {}), os.environ, _shop(store, playbook, folder)
                )
                keys = _keys(playbook, os.environ, folder / "wayline.toml")
                drops = drops_of(folder, playbook.settings, playbook.signals)
                polling = _polling(store, playbook, receivers)
                serving = compose(
                    store,
                    playbook,
                    channels,
                    keys=keys,
                    receivers=receivers,
                    drops=drops,
                    polling=polling,
                    hosts=hosts,
                )
            address = listening.getsockname()
            _greet(folder, playbook, channels, is_simulated=is_simulated, address=address)
            calm_collector()
            _serve(serving.app, listening)


def compose(
    store: Store,
    playbook: Playbook,
    channels: OpenedChannels,
    *,
    keys: Keys | None = None,
    receivers: Mapping[str, Receiver] | None = None,
    drops: Sequence[Drop] = (),
    polling: Polling | None = None,
    hosts: frozenset[str] = LOOPBACK,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Serving:
    """The application over a store. `hosts` are the names of this machine under which the pages answer."""
    latest = Latest(lambda: build(store.state, store.log, playbook, now=clock()))
    shipper = Shipper(store) if store.folder is not None else None
    readers = Readers(store.vault.keyed, playbook.currency, key=store.pseudonym_key, signals=playbook.signals)
    dropping = Dropping(store, drops, on_stored=lambda: running.told(), clock=clock)

    def beside(now: datetime) -> None:
        dropping.look(now)
        if shipper is not None:
            shipper.look(now)
        readers.look()

    keeper = Keeper(store, playbook, channels.by_name, beside=beside)
    running = Running(keeper, clock=clock)
    if polling is not None:
        polling.on_stored = running.told
    public_url = _public_url(playbook)
    keys = keys if keys is not None else _keys(playbook, {})
    limits = {name: most for name, most in playbook.settings.get("collector", {}).items() if name == "event_bytes_max"}
    collector = Collector(store.log, store.vault, currency=playbook.currency, reading=readers.read)
    intake = Intake(collector, on_stored=running.told, readers=readers)
    clicks = Clicks(store, on_stored=running.told, clock=clock)
    routes: list[BaseRoute] = [
        *tracking(keys, intake, public_url=public_url, **limits, clock=clock),
        *webhooks(receivers or {}, intake, public_url=public_url, clock=clock),
        *signal_routes(store.log, playbook, collector, keys, on_stored=running.told, clock=clock),
        *judgement_routes(store, keys, on_stored=running.told, clock=clock),
        *unsubscribing(store, playbook, keeper.customer, on_stored=running.told, clock=clock),
        *clicks.routes,
        Route("/health", _health(store, running, intake, keys, polling)),
        Route("/v1/{path:path}", _Unknown(intake)),  # behind all that is known under /v1
        _pages(store, playbook, latest, hosts, [Route("/metrics", _figures(store, running, intake, clock))]),
    ]
    app = _Asked(routes=routes, lifespan=_lifespan(latest, running, (clicks, intake), shipper, (dropping, polling)))
    return Serving(app, running, intake, latest)


def compose_simulated(
    store: Store, playbook: Playbook, report: Report | None, *, hosts: frozenset[str] = LOOPBACK
) -> Serving:
    """The pages of a season that was played: its clock stands still, so nothing runs and nothing is built twice."""
    latest = Latest(lambda: report or build(store.state, store.log, playbook), every=math.inf)
    routes = [Route("/v1/{path:path}", _Simulated()), _pages(store, playbook, latest, hosts)]
    return Serving(Starlette(routes=routes, lifespan=_lifespan(latest)), None, None, latest)


def _keys(playbook: Playbook, environ: Mapping[str, str], file: Path | None = None) -> Keys:
    """Who may send, by the playbook as it was read, and by the file it came from whenever that changes."""
    rate = playbook.settings.get("collector", {}).get("requests_per_second", REQUESTS_PER_SECOND)
    watched = None if file is None else Watched(file, read_sources)
    keys = Keys(playbook.settings.get("sources", {}), environ, usual_rate=rate, watched=watched)
    for doubt in keys.doubts:
        _log.warning(doubt)
    return keys


def _pages(
    store: Store, playbook: Playbook, latest: Latest, hosts: frozenset[str], more: Sequence[BaseRoute] = ()
) -> Mount:
    routes = [*more, *dashboard(store.state, store.log, store.vault, playbook, latest)]
    return Mount("", routes=routes, middleware=[Middleware(_OnlyHere, hosts=hosts, latest=latest)])


def _figures(store: Store, running: Running, intake: Intake, clock: Callable[[], datetime]) -> Callable[[Request], Any]:
    def behind() -> tuple[int, datetime | None]:
        return store.log.head() - running.health.position, running.health.looked_at

    return figures(intake.counts, lambda: intake.bytes, behind, clock=clock)


def _lifespan(
    latest: Latest,
    running: Running | None = None,
    taking: Sequence[Intake | Clicks] = (),
    shipper: Shipper | None = None,
    beside: Sequence[Dropping | Polling | None] = (),
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """What begins before the first answer and ends after the last one, while the stores are open."""

    @asynccontextmanager
    async def living(app: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _READERS_MAX
        if running is not None:
            running.start()
        for one in beside:
            if isinstance(one, Polling):
                one.start()
        try:
            yield
        finally:
            for each in taking:
                await each.close()
            for one in beside:
                if one is not None and not await asyncio.to_thread(one.close):
                    _log.warning("something is still being read; it is read again from its start at the next one")
            if running is not None and not await asyncio.to_thread(running.stop):
                _log.warning("a message is still being handed over; what becomes of it is looked up at the next start")
            if shipper is not None:
                shipper.close()
            await asyncio.to_thread(latest.wait)

    return living


# ------------------------------------------------------------------ answers of this module's own


class _Asked(Starlette):
    """The application, with the tracking paths found by their names: they are asked more often than all others
    together, and to look through every route took a quarter of a request."""

    def __init__(self, routes: list[BaseRoute], lifespan: Callable[[Starlette], Any] | None = None) -> None:
        super().__init__(routes=routes, lifespan=lifespan)
        tracked = (*BATCHES, *SINGLES)
        self._tracked = {each.path: each.app for each in routes if isinstance(each, Route) and each.path in tracked}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        tracked = self._tracked.get(scope["path"]) if scope["type"] == "http" else None
        await (super().__call__ if tracked is None else tracked)(scope, receive, send)


class _OnlyHere:
    """The pages have no log-in, so they answer only whoever asks for this machine by one of its own names.

    A page elsewhere that makes a browser ask (DNS rebinding), or a proxy that passes the outside on, names another.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], latest: Latest) -> None:
        self._app = app
        self._hosts = hosts
        self._latest = latest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = Headers(scope=scope)
        name = headers.get("host", "").rpartition(":")[0] if ":" in headers.get("host", "") else headers.get("host", "")
        is_passed_on = "x-forwarded-for" in headers or "forwarded" in headers
        if name.lower() not in self._hosts or is_passed_on:
            text = f"The pages answer only on this machine itself, as http://127.0.0.1:PORT/, not as {name[:200]}.\n"
            await PlainTextResponse(text, 421)(scope, receive, send)
            return

        async def send_with_age(sent: Message) -> None:
            if sent["type"] == "http.response.start":
                MutableHeaders(scope=sent)["X-Report-Age"] = f"{self._latest.age:.0f}"
            await send(sent)

        await self._app(scope, receive, send_with_age)


class _Simulated:
    """Nothing is taken in by a shop that never was."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        told = {
            "code": "simulated_shop",
            "message": "this folder holds a simulated shop: its pages are served and it takes no events. "
            "For a shop of your own: wayline init DIR, then wayline serve DIR",
        }
        await JSONResponse(told, 403)(scope, receive, send)


class _Unknown:
    """A path nobody answers: told as clients need it, for they would try again for ever."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self._intake.counts.refuse("unknown_path")
        message = "nothing is taken here; the paths are in docs/reference/collector.md"
        await JSONResponse({"code": "unknown_path", "message": message}, 404)(scope, receive, send)


def _health(
    store: Store, running: Running, intake: Intake, keys: Keys, polling: Polling | None
) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        health = running.health
        try:
            head = store.log.head()
        except StoreUnavailable as error:
            return JSONResponse({"status": "in trouble", "trouble": str(error)}, 503)
        unstorable = intake.trouble()
        state = "in trouble" if unstorable else health.state
        told = {
            "status": "ok" if state == "running" else state,
            "trouble": unstorable or health.trouble,
            "engine": {
                "looked_at": health.looked_at and health.looked_at.isoformat(),
                "behind": head - health.position,
                "events": health.events,
                "handed_over": health.handed_over,
                "set_aside": health.set_aside,
            },
            "collector": intake.counts.summary(),
            "keys": keys.trouble or "ok",
            "shops": {} if polling is None else polling.told(),
        }
        return JSONResponse(told, 200 if state in ("running", "starting") else 503)

    return answer


# ------------------------------------------------------------------ the process


def _listen(host: str, port: int, folder: Path) -> socket.socket:
    """The socket, bound before anything is opened: a port that is taken is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise OperatorError(
                f"port {port} of {host} is taken by another process. Stop that one, or take another port: "
                f"wayline serve {folder} --port {port + 1}"
            ) from error
        raise OperatorError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}. Name an address of this machine and a "
            f"port above 1023: wayline serve {folder} --host 127.0.0.1 --port 8400"
        ) from error
    return listening


def _names_of(host: str) -> frozenset[str]:
    """What a browser on this machine calls it. Listening on every address is no leave to show pages to everybody."""
    named = f"[{host}]" if ":" in host else host
    return LOOPBACK if host in ("0.0.0.0", "::", "") else LOOPBACK | {named.lower()}  # noqa: S104 - compared, not bound


def _serve(app: Starlette, listening: socket.socket) -> None:
    """Answer until asked to end, then end in order: what is under way is answered, and memories are written back."""
    import uvicorn

    class Server(uvicorn.Server):
        """Signals are handled below: its own way would end the process before the stores are closed."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    async def serving() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _end, server)
        await server.serve(sockets=[listening])

    server = Server(
        uvicorn.Config(
            app,
            http="httptools",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS_MAX,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    uvloop.run(serving())
    if not server.started:
        raise OperatorError("the server did not start; the lines above say why")


def _end(server: Any) -> None:
    # Asked twice, it stops waiting for answers under way; memories are written back all the same.
    server.force_exit = server.should_exit
    server.should_exit = True


def _greet(folder: Path, playbook: Playbook, channels: OpenedChannels, *, is_simulated: bool, address: Any) -> None:
    """Say what is served where, and what does not work as it is."""
    host, port = address[0], address[1]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    lines = [f"{playbook.settings.get('shop', {}).get('name', folder)}: pages at {url}/"]
    if is_simulated:
        lines.append("This is a simulated shop: its pages are shown as the season left them, and nothing runs.")
    else:
        sources = playbook.settings.get("sources", {})
        dropped = [name for name, said in sources.items() if said.get("kind") in KINDS]
        told = [name for name in sources if name not in dropped]
        taking = (
            f"events at {url}/v1/batch from {', '.join(told)}"
            if told
            else ""
            if dropped
            else _NO_SOURCES.format(folder=folder)
        )
        files = f"files that are dropped for {', '.join(dropped)}" if dropped else ""
        lines += [*filter(None, (taking, files)), *_doubts(playbook, channels, host)]
    print("\n".join(lines), "\nCtrl-C ends it.", flush=True)


_NO_SOURCES = "No events are taken yet. Make a key, which holds at once: wayline keys new {folder} --source web --write"


def _polling(store: Store, playbook: Playbook, receivers: Mapping[str, Receiver]) -> Polling | None:
    """What asks the shops' APIs beside their webhooks; None if none is set up."""
    sources, pausing = playbook.settings.get("sources", {}), Pausing()
    apis = open_apis(sources, os.environ, pausing)
    collector = Collector(store.log, store.vault, currency=playbook.currency, signals=playbook.signals)
    zone = str(playbook.settings.get("shop", {}).get("zone", "UTC"))
    shops = shops_of(sources, receivers, apis, collector, folder=store.folder, zone=zone)
    polls = {name: Poll(shop, address=f"/webhooks/{name}") for name, shop in shops.items()}
    return Polling(polls, pausing) if polls else None


def _shop(store: Store, playbook: Playbook, folder: Path) -> Shop:
    url = str(playbook.settings.get("shop", {}).get("url", ""))
    return Shop(currency=playbook.currency, url=url, recall=store.state.products, folder=folder)


def _public_url(playbook: Playbook) -> str:
    return str(playbook.settings.get("server", {}).get("public_url", ""))


def _doubts(playbook: Playbook, channels: OpenedChannels, host: str) -> Iterator[str]:
    yield from channels.closed
    public_url = _public_url(playbook)
    if "email" in channels.by_name and not public_url.startswith("https://"):
        yield (
            "Marketing mail is refused: its link to unsubscribe must begin with https://. "
            'Add [server] public_url = "https://..." to wayline.toml.'
        )
    for name, said in playbook.settings.get("sources", {}).items():
        if said.get("networks"):
            yield (
                f"Calls to /webhooks/{name} are taken from its networks alone, by the address that connects to this "
                f"port. Behind a proxy that is the proxy's, and all are refused: leave networks out there."
            )
    if host not in ("127.0.0.1", "::1", "localhost"):
        yield (
            f"Listening on {host}: whoever reaches this port can send events with a key of theirs. The pages have no "
            f"log-in and answer only on this machine itself."
        )


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
