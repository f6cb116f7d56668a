"""Shops as they are met in production: `wayline serve` in a process of its own, webhooks by HTTP, the API beside."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.shop import APPAREL
from tests.shops import bodies
from tests.shops.platform import TOKEN, ShopifyPlatform, served

from wayline.runtime.folders import KEPT
from wayline.store.opening import open_store

ROOT = Path(__file__).parent.parent.parent
SECRET = "a-client-secret"
CALLS = 200


def settings(url: str) -> str:
    return f"""
[sources.shop]
kind = "shopify"
secret_env = "SHOP_SECRET"

[sources.shop.poll]
api_url = "{url}/admin/api/2025-01"
token_env = "SHOP_TOKEN"
allow_private = true
every = "1 second"
settle = "1 second"
"""


ENVIRONMENT = os.environ | {"SHOP_SECRET": SECRET, "SHOP_TOKEN": TOKEN, "PYTHONPATH": str(ROOT / "src")}


def folder_of(tmp_path: Path, url: str) -> Path:
    folder = tmp_path / "shop"
    shutil.copytree(APPAREL, folder)
    with (folder / "wayline.toml").open("a") as file:
        file.write(settings(url))
    return folder


def wayline(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wayline.cli", *words]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)


def wait_for(is_true: Callable[[], bool], seconds: float = 40) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            if is_true():
                return
        time.sleep(0.05)
    raise AssertionError("it did not come to be in time")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "wayline.cli", "serve", str(folder), "--port", "0"]
    running = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert running.stdout is not None
        line = next(each for each in running.stdout if "pages at" in each)
        at = line.rpartition("pages at ")[2].strip().rstrip("/")
        wait_for(lambda: httpx.get(f"{at}/health").status_code == 200)
        yield at
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
        assert running.stdout is not None
        running.stdout.close()


def platform_now() -> ShopifyPlatform:
    platform = ShopifyPlatform(limit_every=0)
    platform.now = datetime.now(UTC) - timedelta(minutes=30)
    return platform


def order_of(platform: ShopifyPlatform, order_id: int) -> dict[str, Any]:
    at = platform.written(platform.now)
    return platform.put("orders", "orders/create", bodies.order(order_id, created_at=at, processed_at=at))


@pytest.mark.slow
def test_r22_a_served_shop_is_asked_and_says_what_was_missed(tmp_path: Path) -> None:
    platform = platform_now()
    order_of(platform, 5001)
    with served(platform.app()) as url, serving(folder_of(tmp_path, url)) as at, httpx.Client() as client:

        def health() -> Any:
            return client.get(f"{at}/health").json()["shops"]["shop"]

        wait_for(lambda: health()["asked_at"] is not None)
        assert health()["trouble"] == "" and health()["missed"] == {}  # the first look is no gap
        order_of(platform, 5002)
        wait_for(lambda: bool(health()["missed"].get("orders")))
        assert health()["missed"]["orders"] == 2
    with open_store(tmp_path / "shop" / KEPT) as store:
        assert {each.properties["order_id"] for each in store.log.named(("Order Completed",))} == {"5001", "5002"}


@pytest.mark.slow
def test_x08_two_hundred_calls_at_once_are_all_on_disk_in_time(tmp_path: Path) -> None:
    """The platform waits five seconds for an answer, and gives a subscription up after eight failures."""
    platform = platform_now()
    with served(platform.app()) as url, serving(folder_of(tmp_path, url)) as at:
        host, port = at.removeprefix("http://").split(":")

        async def call(number: int) -> tuple[bytes, float]:
            person = {"id": 9000 + number, "email": f"person{number}@example.com"}
            body = msgspec.json.encode(bodies.order(5000 + number, email=person["email"], customer=person))
            head = (
                f"POST /webhooks/shop HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
                f"X-Shopify-Topic: orders/create\r\nX-Shopify-Hmac-Sha256: {bodies.signature(body, SECRET)}\r\n\r\n"
            )
            began = time.monotonic()
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(head.encode() + body)
            answer = await reader.read()
            writer.close()
            return answer[:12], time.monotonic() - began

        async def all_at_once() -> list[tuple[bytes, float]]:
            return await asyncio.gather(*map(call, range(CALLS)))

        answers = asyncio.run(all_at_once())
        slowest = max(seconds for _, seconds in answers)
        print(f"slowest of {CALLS} at once: {slowest:.3f} s")
        assert {status for status, _ in answers} == {b"HTTP/1.1 200"}
        assert slowest < 5
    with open_store(tmp_path / "shop" / KEPT) as store:
        assert len(list(store.log.named(("Order Completed",)))) == CALLS


@pytest.mark.slow
def test_by_hand_a_shop_is_asked_and_its_past_brought_in(tmp_path: Path) -> None:
    platform = platform_now()
    now = platform.now
    for days, order_id in ((400, 5001), (40, 5002), (0, 5003)):
        platform.now = now - timedelta(days=days)
        order_of(platform, order_id)
    with served(platform.app()) as url:
        folder = folder_of(tmp_path, url)
        filled = wayline("sources", "backfill", str(folder), "--source", "shop", "--months", "6", "--json")
        assert json.loads(filled.stdout)["bodies"] == 1
        again = wayline("sources", "backfill", str(folder), "--source", "shop", "--months", "6")
        assert "0 read, 0 facts stored" in again.stdout
        asked = wayline("sources", "poll", str(folder))
        assert asked.returncode == 0 and "shop: 1 read, 2 facts stored (2 of orders)" in asked.stdout
        wrong = wayline("sources", "poll", str(folder), "--source", "shpo")
        assert wrong.returncode == 1 and "Did you mean 'shop'?" in wrong.stderr
    down = wayline("sources", "poll", str(folder))
    assert down.returncode == 3 and "gave no answer" in down.stderr
    with open_store(folder / KEPT) as store:
        fires = {each.properties["order_id"]: each.fires for each in store.log.named(("Order Completed",))}
    assert fires == {"5002": False, "5003": True}
