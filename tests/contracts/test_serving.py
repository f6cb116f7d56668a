"""A shop served as it is in production: real HTTP in, the engine in its thread, real SMTP out, real signals."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.applications import Starlette
from tests.shop import APPAREL, NOON

from wayline.channels.opening import open_channels
from wayline.playbook import compile_playbook
from wayline.runtime.folders import KEPT, read_files
from wayline.runtime.replaying import examine
from wayline.serving.app import Serving, compose
from wayline.serving.season import MARK
from wayline.store.opening import Store, open_store

ROOT = Path(__file__).parent.parent.parent
PUBLIC, SECRET = "web-key-0001", "server-secret-0001"
SOURCES = f"""
[sources.web]
write_key = "{PUBLIC}"

[sources.server]
secret_key_sha256 = "{hashlib.sha256(SECRET.encode()).hexdigest()}"
"""


class Inbox:
    """The mailboxes of the real mail server."""

    def __init__(self) -> None:
        self.mails: list[Message] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content))
        return "250 taken"


@contextmanager
def mail_server() -> Iterator[tuple[int, Inbox]]:
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield controller.port, inbox
    finally:
        controller.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def shop_folder(folder: Path, *, smtp: int | None = None) -> Path:
    """The example's playbook with keys, nobody held out, and a mail server."""
    shutil.copytree(APPAREL, folder)
    settings = (folder / "wayline.toml").read_text() + SOURCES
    if smtp is not None:
        sender = 'from = "Larkfell <hello@larkfell.example>"'
        assert sender in settings
        settings = settings.replace(sender, f'{sender}\nhost = "127.0.0.1"\nport = {smtp}\nsecurity = "none"')
    (folder / "wayline.toml").write_text(settings)
    replaced(folder / "policy.yaml", "holdout: 0.05", "holdout: 0")
    replaced(folder / "journeys" / "welcome.yaml", "control: 0.1", 'control: {none: "a greeting"}')
    return folder


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


class Clock:
    """Real time from noon on, which a test may move forward."""

    def __init__(self) -> None:
        self._ahead = NOON - datetime.now(NOON.tzinfo)

    def __call__(self) -> datetime:
        return datetime.now(NOON.tzinfo) + self._ahead

    def pass_by(self, **duration: float) -> None:
        self._ahead += timedelta(**duration)


@contextmanager
def served(app: Starlette) -> Iterator[httpx.Client]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http="httptools", log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=20) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive(), "it does not end"


@contextmanager
def opened(folder: Path, clock: Callable[[], datetime]) -> Iterator[tuple[Store, Serving]]:
    playbook = compile_playbook(read_files(folder))
    with open_store(folder / KEPT) as store:
        channels = open_channels(playbook.settings["channels"], {}, clock=clock)
        try:
            yield store, compose(store, playbook, channels, clock=clock)
        finally:
            channels.close()


def waited(until: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := until():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def tell(client: httpx.Client, *items: dict[str, Any], key: str = SECRET) -> None:
    answer = client.post("/v1/batch", json={"batch": list(items)}, auth=(key, ""))
    assert (answer.status_code, answer.content) == (200, b'{"success":true}'), answer.text


def in_stock(sku: str) -> dict[str, Any]:
    shelf = {"sku": sku, "name": sku.title(), "category": "winter-jackets", "price": 169.0, "quantity": 5}
    return {"type": "track", "event": "Inventory Changed", "messageId": f"stock-{sku}", "properties": shelf}


def consent(who: str, number: int = 1) -> list[dict[str, Any]]:
    return [
        {"type": "identify", "userId": who, "messageId": f"i-{who}-{number}",
         "traits": {"email": f"{who}@example.com", "firstName": "Ann", "language": "de"}},
        {"type": "track", "event": "Consent Granted", "userId": who, "messageId": f"c-{who}-{number}",
         "properties": {"channel": "email", "purpose": "marketing"}},
    ]  # fmt: skip


# ------------------------------------------------------------------ the whole way


def test_from_the_event_to_the_mail_to_the_click_that_ends_it(tmp_path: Path) -> None:
    with mail_server() as (port, inbox):
        clock = Clock()
        with opened(shop_folder(tmp_path / "shop", smtp=port), clock) as (store, serving):
            with served(serving.app) as client:
                tell(client, in_stock("jacket"), in_stock("parka"), *consent("ann-of-the-shop"))
                (mail,) = waited(lambda: inbox.mails)
                assert mail["To"] == "ann-of-the-shop@example.com" and mail["Subject"] == "Willkommen bei Larkfell"
                assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
                link = re.fullmatch(
                    r"<https://hello\.larkfell\.example(/unsubscribe/[0-9a-f.]+)>", mail["List-Unsubscribe"]
                )
                assert link is not None, mail["List-Unsubscribe"]

                page = client.get(link[1])
                assert page.status_code == 200 and "Abmelden" in page.text
                one_click = {"Content-Type": "application/x-www-form-urlencoded"}
                answer = client.post(link[1], content=b"List-Unsubscribe=One-Click", headers=one_click)
                assert (answer.status_code, answer.content) == (200, b"")

                clock.pass_by(days=4)
                waited(lambda: refused_for_consent(store))
                # The loop says how far it is after each look, so the last word may be a moment old.
                waited(lambda: client.get("/health").json()["engine"]["behind"] == 0)
                health = client.get("/health").json()
                assert health["status"] == "ok"
                assert health["collector"]["accepted"] == 4 == health["collector"]["stored"]
                home = client.get("/")
                assert home.status_code == 200 and "Larkfell" in home.text and int(home.headers["x-report-age"]) >= 0
            assert serving.running is not None and serving.running.health.state == "stopped"
            assert len(inbox.mails) == 1
            assert [row.state for row in store.state.deliveries()] == ["sent"]
            assert examine(store.log, store.state, clock()).problems == ()


def refused_for_consent(store: Store) -> bool:
    verdicts = (one for decision in store.state.decisions() for one in decision.considered)
    return any(one.gate == "consent" and one.action.journey == "welcome" for one in verdicts)


def test_what_is_read_beside_the_writer_is_stored_judged_and_answered_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wayline.runtime.readers._WORTH", (0.0,))
    monkeypatch.setattr("wayline.runtime.readers._WINDOW_SECONDS", 0.0)
    monkeypatch.setattr("wayline.runtime.readers._GROUP_MIN", 0)
    with opened(shop_folder(tmp_path / "shop"), Clock()) as (store, serving), served(serving.app) as client:
        assert serving.intake is not None and serving.intake.readers is not None
        readers, sent = serving.intake.readers, iter(range(10_000))

        def is_beside() -> bool:
            tell(client, in_stock(f"jacket-{next(sent)}"))
            return readers.count == 1

        waited(is_beside)
        before = store.log.head()
        items = [in_stock("parka"), {"type": "nonsense", "userId": "somebody"}, *consent("ann-of-the-shop")]
        answer = client.post("/v1/batch?strict=1", json={"batch": items}, auth=(SECRET, ""))
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/batch/1"]
        assert [event.name for event in store.log.read(before, 10)] == [
            "Inventory Changed", "Identify", "Consent Granted",
        ]  # fmt: skip
        (reader,) = readers._begun
        os.kill(reader._child.pid, signal.SIGKILL)
        tell(client, in_stock("boots"))
        assert [event.event_id for event in store.log.read(before + 3, 10)] == ["stock-boots"]
        waited(is_beside)
        waited(lambda: client.get("/health").json()["engine"]["behind"] == 0)
    assert readers.count == 0, "they end with the shop"


def test_a_mail_server_that_is_down_is_tried_again_and_the_events_keep_coming(tmp_path: Path) -> None:
    with mail_server() as (port, _):
        pass  # nobody listens there any more
    clock = Clock()
    folder = shop_folder(tmp_path / "shop", smtp=port)
    with opened(folder, clock) as (store, serving), served(serving.app) as client:
        tell(client, *consent("ann-of-the-shop"))
        (row,) = waited(lambda: [row for row in store.state.deliveries() if row.attempts and row.state == "pending"])
        assert "127.0.0.1" in row.detail and row.due_at > NOON + timedelta(seconds=30)
        tell(client, *consent("bea-of-the-shop"))
        assert client.get("/health").json()["status"] == "ok"


# ------------------------------------------------------------------ who may see the pages


def test_the_pages_answer_only_on_this_machine_and_the_links_everywhere(tmp_path: Path) -> None:
    with opened(shop_folder(tmp_path / "shop"), Clock()) as (_, serving), served(serving.app) as client:
        for named in ("127.0.0.1", "localhost:8400", "LOCALHOST", "[::1]:8400"):
            assert client.get("/not-sent", headers={"Host": named}).status_code == 200, named
        for headers in (
            {"Host": "evil.example"}, {"Host": "hello.larkfell.example:443"}, {"Host": "[::2]"}, {"Host": ""},
            {"Host": "localhost", "X-Forwarded-For": "192.0.2.1"}, {"Host": "localhost", "Forwarded": "for=192.0.2.1"},
        ):  # fmt: skip
            for path in ("/", "/index.json", "/customers/nobody", "/wayline.css"):
                answer = client.get(path, headers=headers)
                assert answer.status_code == 421 and "Larkfell" not in answer.text, (headers, path)
            assert client.get("/unsubscribe/x.y", headers=headers).status_code == 404
            assert client.post("/v1/batch", json={"batch": []}, headers=headers, auth=(PUBLIC, "")).status_code == 200


# ------------------------------------------------------------------ the command


@contextmanager
def serve(folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`wayline serve` in a process of its own, and where its pages are."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "wayline.cli", "serve", str(folder), "--port", str(port), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    ) as running:  # fmt: skip
        try:
            waited(lambda: answers(f"http://127.0.0.1:{port}") or running.poll() is not None, 30)
            yield running, f"http://127.0.0.1:{port}"
        finally:
            if running.poll() is None:
                running.kill()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/wayline.css").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    folder = shop_folder(tmp_path / "shop")
    with serve(folder) as (running, url):
        with httpx.Client(base_url=url) as client:
            tell(client, {"type": "page", "anonymousId": "visitor-of-the-shop", "messageId": "p1"})
            running.send_signal(number)
            said, complained = running.communicate(timeout=20)
        assert running.returncode == 0, complained
    assert url in said and "from web, server" in said and "Ctrl-C" in said
    assert "no mail leaves" in said, "what does not work is said at the start"
    with open_store(folder / KEPT) as store:
        assert store.state.position() == 1 == store.log.head()
        (customer_id,) = store.state.customer_ids()
        assert store.state.load([customer_id])[customer_id].memory.position == 1, "memories were not written back"


def test_a_port_that_is_taken_is_said_before_anything_is_opened(tmp_path: Path) -> None:
    folder = shop_folder(tmp_path / "shop")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serve(folder, "--port", str(port)) as (running, _):
            _, complained = running.communicate(timeout=20)
    assert running.returncode == 3
    assert f"port {port}" in complained and f"--port {port + 1}" in complained and "Traceback" not in complained
    assert not (folder / KEPT).exists()


def test_a_folder_in_use_and_a_folder_that_is_none_are_told_apart(tmp_path: Path) -> None:
    folder = shop_folder(tmp_path / "shop")
    with open_store(folder / KEPT), serve(folder) as (running, _):
        _, complained = running.communicate(timeout=20)
    assert running.returncode == 3 and f"process {os.getpid()} has this folder open" in complained
    with serve(tmp_path / "nowhere") as (running, _):
        _, complained = running.communicate(timeout=20)
    assert running.returncode == 1 and "wayline init" in complained


def test_a_simulated_shop_shows_its_pages_and_takes_nothing(tmp_path: Path) -> None:
    folder = shop_folder(tmp_path / "shop")
    (folder / MARK).touch()
    with serve(folder) as (running, url):
        answer = httpx.post(f"{url}/v1/batch", json={"batch": [{"type": "page"}]}, auth=(PUBLIC, ""))
        assert answer.status_code == 403 and answer.json()["code"] == "simulated_shop"
        assert "wayline init" in answer.json()["message"]
        assert httpx.get(url).status_code == 200
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=20)
    assert running.returncode == 0 and "simulated shop" in said and "/v1/batch" not in said
    with open_store(folder / KEPT) as store:
        assert json.loads(json.dumps(dict(store.log.counts()))) == {
            "stored": 0, "duplicate": 0, "conflict": 0, "rejected": 0,
        }  # fmt: skip
        assert store.state.note("schedules_until") is None, "a loop has run against the wall clock"


def test_the_pages_of_a_season_show_its_report_as_it_was_printed_with_the_truth_last(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    command = [sys.executable, "-m", "wayline.cli", "demo", "--customers", "40", "--days", "8", "--no-serve"]
    subprocess.run(
        [*command, "--folder", str(folder), "--json", str(tmp_path / "report.json")],
        check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    printed = json.loads((tmp_path / "report.json").read_text())
    with serve(folder) as (running, url):
        shown = httpx.get(f"{url}/index.json").json()
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    assert shown == printed and shown["truth"]
