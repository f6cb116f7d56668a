"""The published clients, each run in a process of its own, against a real Wayline behind a real proxy."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from tests.contracts.test_serving import opened, served, shop_folder

from wayline.domain import Event
from wayline.serving.app import Serving
from wayline.store.opening import Store

__all__ = ["CLIENTS", "Shop", "failed_of", "missing", "running", "shop", "started"]

HERE = Path(__file__).parent
CLIENTS = ("segment-python", "rudder-python", "segment-node", "rudder-node")
_PACKAGES = {
    "segment-python": "segment", "rudder-python": "rudderstack",
    "segment-node": "@segment/analytics-node", "rudder-node": "@rudderstack/rudder-sdk-node",
    "browser": "@segment/analytics-next",
}  # fmt: skip


def missing(client: str) -> str:
    """Why this client cannot be run here, and the way to have it; empty if it can."""
    package = _PACKAGES[client]
    if client.endswith("python"):
        return "" if find_spec(package) else f"no {client}: install the test extra of this project"
    if client.endswith("node") and shutil.which("node") is None:
        return "no node: install the system's `nodejs` and `npm`, then `make clients`"
    return "" if (HERE / "node_modules" / package).exists() else f"no {package}: run `make clients` (it needs npm)"


def started(client: str, senders: Sequence[dict[str, Any]], *, clock: Sequence[str] = ()) -> subprocess.Popen[str]:
    """The client at work: for each sender {host, key, calls} one of it, all at once; `clock` goes before it."""
    if why := missing(client):
        pytest.skip(why)
    command = [sys.executable, HERE / "send.py"] if client.endswith("python") else ["node", HERE / "send.cjs"]
    process = subprocess.Popen(
        [*clock, *command, client], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(list(senders)))
    process.stdin.close()
    process.stdin = None
    return process


def failed_of(process: subprocess.Popen[str]) -> list[str]:
    """Wait for its end; what it gave up on, in its own words."""
    with process:
        said, complained = process.communicate(timeout=60)
    assert process.returncode == 0, complained
    return list(json.loads(said)["failed"])


def running(client: str, *senders: dict[str, Any], clock: Sequence[str] = ()) -> list[str]:
    """Run it to its end; what it gave up on."""
    return failed_of(started(client, senders, clock=clock))


class Shop(Struct, frozen=True):
    """A served shop, looked into from behind."""

    url: str
    store: Store
    serving: Serving

    def events(self, source: str) -> list[Event]:
        """What the log has of this source, in order."""
        return [event for event in self.store.log.read(0, 100_000) if event.source == source]

    def counts(self) -> dict[str, int]:
        assert self.serving.intake is not None
        return dict(self.serving.intake.counts)

    def handle(self, kind: str, value: str) -> tuple[str, str]:
        """An identifier as the log has it."""
        return (kind, self.store.vault.keyed(kind, value))


@contextmanager
def shop(
    folder: Path,
    sources: Sequence[str],
    *,
    public: Sequence[str] = (),
    origins: Mapping[str, str] | None = None,
    requests_per_second: float = 1e6,
) -> Iterator[Shop]:
    """The example shop at the real time.

    Each source's key is `key-` and its name: a secret one, as a server has, or a write key for the `public` ones.
    `origins` are of further public ones, by name: the pages they may send from. The secret ones are limited.
    """
    made = shop_folder(folder)
    lines = [f'[sources."{name}"]\nwrite_key = "key-{name}"\n' for name in public]
    for name, origin in (origins or {}).items():
        lines.append(f'[sources."{name}"]\nwrite_key = "key-{name}"\norigins = ["{origin}"]\n')
    for name in sources:
        digest = hashlib.sha256(f"key-{name}".encode()).hexdigest()
        limit = f"requests_per_second = {requests_per_second}"
        lines.append(f'[sources."{name}"]\nsecret_key_sha256 = "{digest}"\n{limit}\n')
    settings = made / "wayline.toml"
    settings.write_text("\n".join([settings.read_text(), *lines]))
    with opened(made, lambda: datetime.now(UTC)) as (store, serving), served(serving.app) as client:
        yield Shop(str(client.base_url).rstrip("/"), store, serving)
