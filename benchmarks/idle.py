"""Idle: what `wayline serve` costs while nothing happens, on a shop of known customers.

    python benchmarks/idle.py [--customers 10000] [--seconds 20]

A shop is filled through the collector and the engine as in production: everybody has an account, a mailbox, a consent
and a few visits, and thousands wait in a journey for a later day. Then the real command is started in a process of its
own, its home page is asked for once, and it is left alone; what it costs is read from the system's own count. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TARGETS = {"rss_mb_max": 200.0, "cpu_percent_max": 1.0}


def messages(number: int, now: datetime) -> Iterator[dict[str, Any]]:
    """What one customer did lately: signed up, said yes, looked around."""
    who = f"customer-number-{number:06d}"
    for place, (kind, more) in enumerate(
        [
            ("identify", {"traits": {"email": f"{who}@example.com", "firstName": "Ann"}}),
            ("track", {"event": "Consent Granted", "properties": {"channel": "email", "purpose": "marketing"}}),
            ("page", {"name": "Home"}),
            ("track", {"event": "Product Viewed", "properties": {"sku": f"sku-{number % 500}", "price": 49.0}}),
        ]
    ):
        at = now - timedelta(minutes=10 - place)
        yield {"type": kind, "userId": who, "messageId": f"{who}-{place}", "timestamp": at.isoformat(), **more}


def fill(folder: Path, customers: int) -> float:
    """The shop as it stands when the evening comes; how long it took."""
    from wayline.channels.dryrun import DryRun
    from wayline.runtime.collecting import Collector, Delivered
    from wayline.runtime.embedded import Embedded
    from wayline.runtime.folders import KEPT, keep_versions, read_files
    from wayline.store.opening import open_store

    began = time.perf_counter()
    now = datetime.now(UTC)
    with open_store(folder / KEPT) as store:
        playbook = keep_versions(read_files(folder), store.state)
        engine = Embedded(store.log, store.state, store.vault, playbook, {"email": DryRun("email")})
        collector = Collector(store.log, store.vault, currency=playbook.currency)
        for start in range(0, customers, 500):
            numbers = range(start, min(start + 500, customers))
            collector.collect(Delivered([one for n in numbers for one in messages(n, now)], "server", now))
            engine.drain(now)
        engine.drain(now + timedelta(hours=1))
        engine.close()
    return time.perf_counter() - began


def processor_seconds(pid: int) -> float:
    """What the process has used of a processor so far, its own and the system's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Memory it holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def measured(folder: Path, seconds: float) -> dict[str, float]:
    """The command started, looked at once, left alone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    began = time.perf_counter()
    command = [sys.executable, "-m", "wayline.cli", "serve", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        try:
            started = _answered(f"http://127.0.0.1:{port}/health", running, began)
            time.sleep(2.0)
            fresh = resident_mb(running.pid)
            asked = time.perf_counter()
            urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
            first_page = time.perf_counter() - asked
            time.sleep(2.0)
            before, at = processor_seconds(running.pid), time.perf_counter()
            time.sleep(seconds)
            used = (processor_seconds(running.pid) - before) / (time.perf_counter() - at)
            return {
                "start_seconds": round(started, 2),
                "rss_mb_before_any_page": round(fresh, 1),
                "first_page_seconds": round(first_page, 2),
                "rss_mb": round(resident_mb(running.pid), 1),
                "cpu_percent": round(used * 100, 2),
            }
        finally:
            running.send_signal(signal.SIGTERM)


def _answered(url: str, running: subprocess.Popen[bytes], began: float) -> float:
    while running.poll() is None:
        try:
            told = json.load(urllib.request.urlopen(url))
        except OSError:
            time.sleep(0.02)
            continue
        if told["status"] == "ok" and told["engine"]["behind"] == 0:
            return time.perf_counter() - began
        time.sleep(0.02)
    raise SystemExit(f"the command ended with {running.returncode}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "src"))
    os.environ["PYTHONPATH"] = str(ROOT / "src")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shop"
        shutil.copytree(ROOT / "examples" / "apparel", folder)
        filled = fill(folder, options.customers)
        print(f"{options.customers:,} customers filled in {filled:.1f} s", flush=True)
        found = measured(folder, options.seconds)
    is_met = found["rss_mb"] < TARGETS["rss_mb_max"] and found["cpu_percent"] < TARGETS["cpu_percent_max"]
    print(json.dumps({"benchmark": "idle", "customers": options.customers, **found, **TARGETS, "is_met": is_met}))


if __name__ == "__main__":
    main()
