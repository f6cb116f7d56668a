"""Clients that never give up, and the served process that is killed, cut off and starved under them.

A sender holds its batch until it is acknowledged, as every published client does; what was acknowledged is written down
the moment the answer was read. `wayline serve` is the real command in a process of its own.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from tests.contracts.test_serving import free_port, shop_folder, waited

from wayline.runtime.folders import KEPT
from wayline.store.opening import Store, open_store

__all__ = ["KEY", "Load", "Served", "kept", "made"]

ROOT = Path(__file__).parent.parent.parent
KEY = "tills-secret-0001"
_SOURCE = f'\n[sources.tills]\nsecret_key_sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"\n'
_PEOPLE = 40


def made(folder: Path) -> Path:
    """The example shop with a source for the senders."""
    shop_folder(folder)
    settings = folder / "wayline.toml"
    settings.write_text(settings.read_text() + _SOURCE)
    return folder


def kept(folder: Path) -> Store:
    """What a folder holds, opened as the next start would."""
    return open_store(folder / KEPT)


class Served:
    """`wayline serve FOLDER`, started again and again on one port."""

    def __init__(self, folder: Path, *, before: Sequence[str] = ()) -> None:
        self.folder = folder
        self.port = free_port()
        self._before = list(before)
        self._process: subprocess.Popen[bytes] | None = None
        self.said: IO[bytes] = (folder.parent / f"said-{self.port}").open("w+b")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        command = [
            *self._before,
            sys.executable,
            "-m",
            "wayline.cli",
            "serve",
            str(self.folder),
            "--port",
            str(self.port),
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        self._process = subprocess.Popen(
            command, stdout=self.said, stderr=self.said, env=environment, start_new_session=True
        )

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """As the kernel does when memory is short: at once, and it alone. What it started has to end by itself."""
        if self._process is not None:
            if self.is_running():
                # What runs under a tracer would go on without it.
                (os.killpg if self._before else os.kill)(self.pid, signal.SIGKILL)
            self._process.wait(20)
            waited(self._is_free)
            waited(self._is_alone)

    def _is_alone(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def _is_free(self) -> bool:
        path = self.folder / KEPT / "wayline.lock"
        if not path.exists():
            return True
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def ended(self) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self._process is not None
        return self._process.wait(30)

    def end(self) -> int:
        """Ask it to end, and wait."""
        if self.is_running():
            os.killpg(self.pid, signal.SIGTERM)
        return self.ended()

    def words(self) -> str:
        """What it has said so far."""
        self.said.flush()
        self.said.seek(0)
        return self.said.read().decode("utf-8", "replace")

    def health(self) -> tuple[int, dict[str, Any]]:
        """The status and what it says of itself."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *ended: object) -> None:
        self.kill()
        self.said.close()


class Load:
    """Some senders at once, each with one batch in its hands."""

    def __init__(self, port: int, *, batch: int = 3, pause: float = 0.004, padding: int = 0) -> None:
        """`batch` is of how many messages; the last sender's is ten times as long."""
        self._port = port
        self._batch = batch
        self._pause = pause
        self._padding = "x" * padding
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged: set[str] = set()
        self.answers: Counter[int] = Counter()
        """How often each status was answered; 0 for no answer at all."""
        self.told: dict[int, dict[str, Any]] = {}
        """The last body of each status that was no success."""

    def _item(self, event_id: str, number: int) -> dict[str, Any]:
        at = datetime.now(UTC).isoformat()
        who = {"userId": f"customer-{number % _PEOPLE}-of-the-shop", "messageId": event_id, "timestamp": at}
        if number % 10 == 0:
            return {"type": "identify", "traits": {"firstName": f"Kim {number}", "note": self._padding}, **who}
        properties = {"sku": f"sku-{number % 50}", "text": self._padding}
        return {"type": "track", "event": "Product Viewed", "properties": properties, **who}

    def _next(self, name: str, number: int, count: int) -> tuple[list[str], list[dict[str, Any]]]:
        ids = [f"{name}-{number + n}" for n in range(count)]
        return ids, [self._item(event_id, number + n) for n, event_id in enumerate(ids)]

    def _send(self, name: str, count: int) -> None:
        authorization = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        connection: http.client.HTTPConnection | None = None
        number = 0
        ids, items = self._next(name, number, count)
        while not self._ended.is_set():
            body = json.dumps({"batch": items, "sentAt": datetime.now(UTC).isoformat()})
            status = 0
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
                connection.request("POST", "/v1/batch", body, headers)
                answer = connection.getresponse()
                said = answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                if connection is not None:
                    connection.close()
                connection = None
            with self._lock:
                self.answers[status] += 1
                if status == 200:
                    self.acknowledged.update(ids)
                elif status:
                    self.told[status] = json.loads(said)
            if status == 200:
                number += count
                ids, items = self._next(name, number, count)
            self._ended.wait(self._pause if status == 200 else 0.02)
        if connection is not None:
            connection.close()

    def snapshot(self) -> set[str]:
        """What was acknowledged until now."""
        with self._lock:
            return set(self.acknowledged)

    def count(self) -> int:
        return len(self.acknowledged)

    @contextmanager
    def running(self, senders: int = 3) -> Iterator[Load]:
        """They send until the block ends."""
        counts = [self._batch] * (senders - 1) + [self._batch * 10]
        told = [(f"till{n}", count) for n, count in enumerate(counts)]
        threads = [threading.Thread(target=self._send, args=each, daemon=True) for each in told]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            for thread in threads:
                thread.join(30)

    def waits_for(self, more: int, seconds: float = 30) -> None:
        """Return once so many more events are acknowledged."""
        wanted, end = self.count() + more, time.monotonic() + seconds
        while self.count() < wanted:
            assert time.monotonic() < end, f"only {self.count()} of {wanted} acknowledged; {dict(self.answers)}"
            time.sleep(0.005)
