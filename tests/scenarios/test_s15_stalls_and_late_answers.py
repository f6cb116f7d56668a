"""S15: an established connection stalls, an answer is lost after the request arrived, comes too late, or drips in.

Between the two sides stands a line that carries bytes and breaks as it is told. Every call ends in time, nobody else
waits for it, and once the line heals everything is there once. A mail whose answer was lost is unclear, is not sent
again, and is settled once by what the provider tells later.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.rude_smtp import RudeServer
from tests.shop import MARKETING, Shop, happened, written
from tests.shops import bodies
from tests.shops.platform import KEY, SECRET, TOKEN, Platform, ShopifyPlatform, WooPlatform, served

import wayline
from wayline.channels.email import Email, EmailSettings
from wayline.errors import OperatorError
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.reconciling import Pausing, Poll, Polling, backfill, caught_up
from wayline.runtime.reconciling import Shop as Asked
from wayline.runtime.service import Keeper, Running
from wayline.sources import Call, asking, calling
from wayline.sources.asking import ShopifyApi, WooCommerceApi
from wayline.sources.calling import Caller, Unanswered
from wayline.sources.facts import Rules
from wayline.sources.mailgun import Mailgun
from wayline.sources.shopify import Shopify
from wayline.sources.woocommerce import WooCommerce
from wayline.store.opening import Store, open_store

MOODS = ("stalls", "loses", "late", "drips")
# The time-outs of the product, and the line's slowness with them, made short.
SECONDS, WHOLE_SECONDS, TRIES = 0.25, 0.75, 2
LATE, DRIP = 0.4, 0.05
HELLO = """\
enters_on: Product Viewed
steps:
  hello: {propose: [{action: say, channel: email, content: hello}], patience: 1 day, then: end, otherwise: end}
"""


class Line:
    """Carries bytes between a client and a port of this machine.

    It `stalls` (nothing gets through), `loses` answers, brings them `late`, or `drips` them byte by byte.
    """

    def __init__(self, port: int, ends: bytes) -> None:
        """`ends` is how something asked ends, to count what is asked."""
        self.port, self.ends, self.mood, self.left, self.at = port, ends, "fine", 0, b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.over = threading.Event()
        self.carried: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._listen, daemon=True)]

    def breaks(self, mood: str, *, after: int = 0, at: bytes = b"") -> None:
        """It is as told from the next on that is asked, or after some more, or from one that begins like `at`."""
        self.mood, self.left, self.at = mood, 1_000 if at else after, at

    def heals(self) -> None:
        self.mood = "fine"

    @property
    def is_broken(self) -> bool:
        return self.mood != "fine" and self.left < 0

    def _listen(self) -> None:
        while not self.over.is_set():
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            self.carried += [client, server]
            for work in (self._up, self._down):
                self.threads.append(threading.Thread(target=self._safely, args=(work, client, server), daemon=True))
                self.threads[-1].start()

    def _safely(self, work: Any, client: socket.socket, server: socket.socket) -> None:
        try:
            work(client, server)
        except OSError:
            pass
        finally:
            for each in (client, server):
                _shut(each)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        tail = b""
        while said := client.recv(1 << 16):
            tail = (tail + said)[-len(self.ends) :]
            self.left = -1 if self.at and said.startswith(self.at) else self.left - (tail == self.ends)
            if not (self.is_broken and self.mood == "stalls"):
                server.sendall(said)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        while said := server.recv(1 << 16):
            if self.is_broken and self.mood == "late":
                self.over.wait(LATE)
            if self.is_broken and self.mood == "drips":
                for place in range(len(said)):
                    client.sendall(said[place : place + 1])
                    self.over.wait(DRIP)
            elif not (self.is_broken and self.mood == "loses"):
                client.sendall(said)

    def close(self) -> None:
        self.over.set()
        for each in (self.listener, *self.carried):
            _shut(each)
        for thread in self.threads:
            thread.join(5)
        for each in (self.listener, *self.carried):
            each.close()


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def line_to(port: int, ends: bytes) -> Iterator[Line]:
    one = Line(port, ends)
    one.threads[0].start()
    try:
        yield one
    finally:
        one.close()


@contextmanager
def asked(kind: str, store: Store, folder: Path, *, name: str = "shop") -> Iterator[tuple[Platform, Line, Asked]]:
    """A shop with twelve orders, at the far end of a line."""
    platform: Platform = ShopifyPlatform(limit_every=0) if kind == "shopify" else WooPlatform(limit_every=0)
    for number in range(12):
        platform.now += timedelta(minutes=1)
        at = platform.written(platform.now)
        if kind == "shopify":
            order = bodies.order(5000 + number, created_at=at, processed_at=at)
            platform.put("orders", "orders/create", order)
        else:
            platform.put("orders", "order.created", bodies.woo_order(700 + number, date_created_gmt=at))
    platform.now += timedelta(hours=1)
    with served(platform.app()) as url, line_to(int(url.rpartition(":")[2]), b"\r\n\r\n") as line:
        base = f"http://127.0.0.1:{line.listener.getsockname()[1]}"
        api: Any
        reader: Any
        if kind == "shopify":
            api = ShopifyApi(f"{base}/admin/api/2025-01", TOKEN, allow_private=True, pause=lambda seconds: None)
            reader = Shopify(["x"], Rules())
        else:
            api = WooCommerceApi(f"{base}/wp-json/wc/v3", KEY, SECRET, allow_private=True, pause=lambda seconds: None)
            reader = WooCommerce(["x"], Rules())
        collector = Collector(store.log, store.vault)
        try:
            yield platform, line, Asked(source=name, api=api, reader=reader, collector=collector, folder=folder)
        finally:
            api.close()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "_SECONDS_MAX", SECONDS)
    monkeypatch.setattr(calling, "_WHOLE_SECONDS_MAX", WHOLE_SECONDS)
    monkeypatch.setattr(asking, "_TRIES_MAX", TRIES)


def ids(store: Store) -> list[str]:
    return [event.event_id for event in store.log.read(0, 10_000)]


# ------------------------------------------------------------------ asking a shop


@pytest.mark.parametrize("kind", ["shopify", "woocommerce"])
@pytest.mark.parametrize("mood", MOODS)
def test_s15_a_poll_ends_in_time_and_once_the_line_heals_all_is_there_once(
    mood: str, kind: str, tmp_path: Path, short: None
) -> None:
    store, undisturbed = open_store(), open_store()
    with asked(kind, undisturbed, tmp_path / "undisturbed") as (platform, _, shop):
        Poll(shop).cycle(platform.now)
    with asked(kind, store, tmp_path / "kept") as (platform, line, shop):
        poll = Poll(shop)
        line.breaks(mood, after=5 if kind == "shopify" else 3)  # amid the orders: a page of them is stored
        began = time.monotonic()
        with pytest.raises(OperatorError, match="gave no answer") as trouble:
            poll.cycle(platform.now)
        assert time.monotonic() - began < TRIES * WHOLE_SECONDS + 2
        poll.failed(trouble.value)
        cut = ids(store)
        assert 0 < len(cut) < len(ids(undisturbed))
        caught = caught_up(tmp_path / "kept")["shop"]
        assert caught.failures == 1 and caught.marks["orders"] < platform.now - timedelta(hours=1)
        line.heals()
        poll.cycle(platform.now + timedelta(minutes=1))
        assert ids(store)[: len(cut)] == cut
        assert sorted(ids(store)) == sorted(ids(undisturbed)) and len(set(ids(store))) == len(ids(store))
        assert poll.cycle(platform.now + timedelta(minutes=20)).stored == 0


@pytest.mark.parametrize("mood", MOODS)
def test_s15_a_backfill_goes_on_where_the_line_broke(mood: str, tmp_path: Path, short: None) -> None:
    store = open_store()
    with asked("shopify", store, tmp_path) as (platform, line, shop):
        later = platform.now + timedelta(days=3)
        line.breaks(mood, after=5)
        with pytest.raises(OperatorError, match="gave no answer"):
            backfill(shop, 1, later)
        cut = len(ids(store))
        line.heals()
        assert backfill(shop, 1, later).stored > 0 < cut
        assert len(set(ids(store))) == len(ids(store)) and backfill(shop, 1, later).stored == 0
        assert {e.properties["order_id"] for e in store.log.read(0, 999)} == {str(5000 + n) for n in range(12)}


def test_s15_a_webhook_that_was_switched_on_though_the_answer_was_lost_is_no_harm(tmp_path: Path, short: None) -> None:
    store = open_store()
    with asked("woocommerce", store, tmp_path) as (platform, line, shop):
        poll = Poll(shop, address="/webhooks/shop")
        webhooks: list[Any] = platform.webhooks  # type: ignore[attr-defined]
        webhooks[0]["status"] = "disabled"
        line.breaks("loses", at=b"PUT ")  # what switches it on arrives, the answer does not
        poll.cycle(platform.now)
        assert webhooks[0]["status"] == "active" and line.is_broken
        assert "not known to be on again" in poll.caught.silent[-1]
        line.heals()
        poll.cycle(platform.now + timedelta(minutes=20))
        assert poll.caught.failures == 0 and len(set(ids(store))) == len(ids(store))


def test_s15_nobody_waits_for_a_shop_that_stalls(tmp_path: Path) -> None:
    """With the product's own time-outs: the other shop, the engine and the end of the process are not held up."""
    store = open_store()
    playbook = written({"hello": MARKETING + HELLO}, hello="email")
    with (
        asked("shopify", store, tmp_path, name="slow") as (platform, line, slow),
        asked("woocommerce", store, tmp_path, name="well") as (_, _, well),
    ):
        line.breaks("stalls")
        now = platform.now + timedelta(minutes=5)
        running = Running(Keeper(store, playbook, {}), clock=lambda: now)
        polling = Polling({"slow": Poll(slow), "well": Poll(well)}, Pausing(), clock=lambda: now)
        polling.on_stored = running.told
        running.start()
        began = time.monotonic()
        polling.start()
        try:
            while polling.told()["well"]["asked_at"] is None or running.health.position < store.log.head():
                assert time.monotonic() - began < 8, "somebody waits"
                time.sleep(0.02)
            assert store.log.head() > 0 and {event.source for event in store.log.read(0, 999)} == {"well"}
            assert line.is_broken and polling.told()["slow"]["asked_at"] is None
            assert polling.polls["slow"].caught.failures == 0, "it is still waiting for its answer"
        finally:
            assert running.stop()
            line.close()
            assert polling.close()


def test_s15_a_call_waits_for_a_connection_no_longer_than_it_may(short: None) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:  # the queue of those who wait is full: another is not even refused
                each.setblocking(False)
                each.connect_ex(full.getsockname())
            caller = Caller(f"http://127.0.0.1:{full.getsockname()[1]}/a", {}, allow_private=True)
            began = time.monotonic()
            with pytest.raises(Unanswered, match="Timeout"):
                caller.ask("GET", "/x")
            assert time.monotonic() - began < WHOLE_SECONDS + 1
        finally:
            for each in waiting:
                each.close()


def test_s15_a_header_that_never_ends_ends_the_call(short: None) -> None:
    def drip(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            try:
                peer.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
                while True:
                    peer.sendall(b"x")
                    time.sleep(0.05)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        caller = Caller(f"http://127.0.0.1:{listener.getsockname()[1]}/a", {}, allow_private=True)
        began = time.monotonic()
        with pytest.raises(Unanswered, match="ReadTimeout"):
            caller.ask("GET", "/x")
        assert WHOLE_SECONDS - 0.1 < time.monotonic() - began < WHOLE_SECONDS + 1
        thread.join(5)


def test_s15_only_these_modules_open_connections_or_listen() -> None:
    """Each has its time-outs; another one that calls somebody must have them too, and be added here."""
    opening = {"socket", "ssl", "httpx", "httpcore", "smtplib", "urllib.request", "http.client", "requests", "aiohttp"}
    root = Path(wayline.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {path.relative_to(root).as_posix() for name in names if name in opening}
    assert found == {"channels/email.py", "cli/incoming.py", "serving/app.py", "sources/calling.py"}


# ------------------------------------------------------------------ handing a message over


def told_by_mailgun(shop: Shop, receiver: Mailgun, name: str, decision_id: str, at: datetime) -> Any:
    """What the provider tells, signed, checked, read, stored and folded as it is when it is served."""
    seconds, token = str(int(at.timestamp())), f"{name}-{at.timestamp()}"
    signature = hmac.new(b"signing key", (seconds + token).encode(), hashlib.sha256).hexdigest()
    event = {
        "event": name, "id": f"id-{name}", "timestamp": float(seconds), "recipient": "ann@example.com",
        "user-variables": {"wayline_decision": decision_id}, "severity": "permanent", "reason": "bounce",
    }  # fmt: skip
    signed = {"timestamp": seconds, "token": token, "signature": signature}
    body = json.dumps({"signature": signed, "event-data": event}).encode()
    call = Call(headers={}, body=body, received_at=shop.now)
    receiver.check(call)
    told = Delivered(receiver.messages(call), "mailgun", shop.now)
    found = Collector(shop.store.log, shop.store.vault).collect(told)
    assert found.rejected == ()
    shop.engine.drain(shop.now)
    return found.appended


@pytest.mark.parametrize("mood", ["loses", "late"])
@pytest.mark.parametrize("name, state", [("delivered", "sent"), ("failed", "dead")])
def test_s15_a_mail_whose_answer_was_lost_is_unclear_and_settled_once_by_a_late_report(
    mood: str, name: str, state: str
) -> None:
    shop = Shop(written({"hello": MARKETING + HELLO}, hello="email"))
    shop.consent()
    receiver = Mailgun(["signing key"])
    with RudeServer() as server, line_to(server.port, b"\r\n.\r\n") as line:
        settings = EmailSettings(
            sender="Larkfell <hello@larkfell.example>", host="127.0.0.1", port=line.listener.getsockname()[1],
            security="none", timeout_seconds=SECONDS, deadline_seconds=WHOLE_SECONDS,
        )  # fmt: skip
        shop.channels["email"] = mails = Email(settings, clock=lambda: shop.now)  # type: ignore[assignment]
        line.breaks(mood)
        began = time.monotonic()
        shop.tell(happened("Product Viewed", sku="jacket"))
        assert time.monotonic() - began < WHOLE_SECONDS + 2
        (row,) = shop.deliveries()
        assert (row.state, len(server.taken)) == ("unknown", 1), "it arrived, and we cannot know"
        time.sleep(LATE)  # the late answer comes to nobody
        line.heals()
        shop.after(hours=20)
        assert (shop.deliveries()[0].state, len(server.taken)) == ("unknown", 1), "it is not sent again"
        first = told_by_mailgun(shop, receiver, name, row.decision_id, shop.now)
        settled = shop.store.state.delivery(row.decision_id)
        assert first.stored == 1 and settled is not None
        assert (settled.state, settled.settled_at) == (state, shop.now)
        # Told again (our answer was lost to them), and then against itself: it stays as it was settled.
        at = shop.now
        shop.after(hours=1)
        again = told_by_mailgun(shop, receiver, name, row.decision_id, at)
        other = "failed" if name == "delivered" else "delivered"
        told_by_mailgun(shop, receiver, other, row.decision_id, shop.now)
        assert (again.stored, again.duplicates) == (0, 1)
        assert shop.store.state.delivery(row.decision_id) == settled
        shop.after(days=2)
        assert len(server.taken) == 1 and len(shop.deliveries()) == 1
        mails.close()
