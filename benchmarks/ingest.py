"""Ingest: what `wayline serve` takes over HTTP, acknowledged after fsync, with keys, checks, vault and duplicates.

    python benchmarks/ingest.py [--seconds 10] [--preload MILLIONS] [--lag-seconds 20] [--minutes 0]

Bodies are built beforehand in the mix a shop sends: pages, products, carts, orders, and identifies with personal
values. Batches of 100 are as the Node client sends them, by a secret key; single events as a browser's client, by a
public one. The load generator is a process of its own on the same cores. Two servers are measured: the collector alone
(the same routes, server and store, no engine), and `wayline serve` with its engine folding what comes. CPU figures are
the system's own counts, for they hold while other work shares the cores. The last line is one JSON object.

`--preload N` first puts N million events into the log through `Log.append`, so that duplicates are looked for among as
many; with `--folder` they are kept for another run. `--lag-seconds` offers `wayline serve` 2,000 single events a second
and measures from the send of each to the commit of its turn. `--minutes` keeps such a load up and watches the memory.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import bisect
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PUBLIC, SECRET = "web-key-0001", "server-secret-0001"
RUN = b"RUN00000"  # replaced in every body before it is sent, so that no two rounds send the same event
BATCH = 100
TARGETS = {"batch_target": 60_000, "single_target": 10_000, "single_p99_target_ms": 25.0, "lag_p95_target_ms": 100.0}

# ------------------------------------------------------------------ what is sent

AGENTS = [
    f"Mozilla/5.0 ({system}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{version} Safari/604.1"
    for system in ("iPhone; CPU iPhone OS 18_1 like Mac OS X", "Macintosh; Intel Mac OS X 10_15_7", "Windows NT 10.0")
    for version in ("17.6", "18.0", "18.1")
]
MIX = [
    ("page", 35), ("Product Viewed", 30), ("Product List Viewed", 8), ("Product Added", 10), ("Cart Viewed", 4),
    ("Checkout Started", 3), ("Checkout Step Viewed", 3), ("Order Completed", 3), ("identify", 4),
]  # fmt: skip
PERSON_EVENTS = 10  # of one visitor in one round


def line(luck: random.Random) -> dict[str, Any]:
    number = luck.randrange(2000)
    return {
        "product_id": f"P-{number:04d}", "sku": f"P-{number:04d}-M", "name": f"Ridge Jacket {number}",
        "category": f"category-{number % 40}", "brand": "Larkfell", "variant": "M", "price": 29.95 + number % 200,
        "quantity": 1, "url": f"https://shop.example/p/{number:04d}",
    }  # fmt: skip


def context(person: int, luck: random.Random, *, by_server: bool) -> dict[str, Any]:
    """The page and the browser, which stays one person's. A server passes on what the browser told it, and whence."""
    number = luck.randrange(3000)
    page = {"path": f"/p/{number}", "referrer": "https://shop.example/", "search": "", "title": f"Page {number}",
            "url": f"https://shop.example/p/{number}"}  # fmt: skip
    told = {"userAgent": AGENTS[person % len(AGENTS)], "locale": "de-DE", "timezone": "Europe/Berlin", "page": page}
    if by_server:
        told["ip"] = f"203.0.113.{person % 256}"
        return told | {"library": {"name": "@segment/analytics-node", "version": "2.1.3"}}
    return told | {"library": {"name": "analytics.js", "version": "npm:next-1.84.1"}}


def properties(name: str, place: int, luck: random.Random) -> dict[str, Any]:
    lines = [line(luck) for _ in range(luck.randrange(1, 4))]
    money = {"total": 396.85, "shipping": 4.95, "tax": 63.36, "currency": "EUR"}
    return {
        "Product Viewed": lambda: {**line(luck), "currency": "EUR", "position": luck.randrange(20)},
        "Product List Viewed": lambda: {"list_id": "winter", "category": "Jackets", "products": lines},
        "Product Added": lambda: {**line(luck), "cart_id": f"c-{RUN.decode()}-{place}"},
        "Cart Viewed": lambda: {"cart_id": f"c-{RUN.decode()}-{place}", "products": lines},
        "Checkout Started": lambda: {"order_id": f"o-{RUN.decode()}-{place}", **money, "products": lines},
        "Checkout Step Viewed": lambda: {"checkout_id": f"k-{RUN.decode()}-{place}", "step": 2},
        "Order Completed": lambda: {"order_id": f"o-{RUN.decode()}-{place}", **money, "products": lines},
    }[name]()


def message(place: int, luck: random.Random, *, by_server: bool, newcomers: bool = True) -> dict[str, Any]:
    """One message. Of three visitors one was never seen before: its name changes with the round."""
    person = place // PERSON_EVENTS
    who = f"{person:06d}-{RUN.decode()}" if newcomers and person % 3 == 0 else f"{person:06d}-returned"
    kind = luck.choices([name for name, _ in MIX], [weight for _, weight in MIX])[0]
    told: dict[str, Any] = {
        "type": kind if kind in ("page", "identify") else "track",
        "messageId": f"{'node' if by_server else 'ajs'}-next-1732528800000-{RUN.decode()}-{place:08d}-4b33",
        "timestamp": "2026-11-27T11:59:58.358Z", "integrations": {},
        "context": context(person, luck, by_server=by_server),
        "anonymousId": f"6f1de2a4-52d1-4b33-{who}",
    }  # fmt: skip
    if person % 2 == 0 or kind == "identify" or (by_server and kind == "Order Completed"):
        told["userId"] = f"customer-{who}"
    if kind == "page":
        told |= {"name": "Product", "properties": told["context"]["page"]}
    elif kind == "identify":
        address = {"country": "DE", "city": "Kiel", "street": "Am Hafen 7"}
        named = {"email": f"ann-{who}@example.com", "firstName": "Ann", "lastName": "Example", "language": "de"}
        told["traits"] = named | {"address": address}
    else:
        told |= {"event": kind, "properties": properties(kind, place, luck)}
    if by_server:
        told["_metadata"] = {"nodeVersion": "22.11.0", "jsRuntime": "node"}
    return told


def asked(path: str, told: dict[str, Any], key: str) -> bytes:
    """A whole request, of fixed length whatever the round is called."""
    body = json.dumps(told, separators=(",", ":")).encode()
    basic = base64.b64encode(f"{key}:".encode()).decode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {basic}\r\nContent-Type: application/json\r\n"
        f"User-Agent: benchmark\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def batches(count: int) -> list[bytes]:
    luck = random.Random(7)
    return [
        asked("/v1/batch", {
            "batch": [message(first + place, luck, by_server=True) for place in range(BATCH)],
            "sentAt": "2026-11-27T11:59:59.000Z",
        }, SECRET)
        for first in range(0, count * BATCH, BATCH)
    ]  # fmt: skip


def singles(count: int, *, newcomers: bool = True) -> list[bytes]:
    luck = random.Random(8)
    found = []
    for place in range(count):
        told = message(place, luck, by_server=False, newcomers=newcomers) | {"sentAt": "2026-11-27T11:59:59.000Z"}
        found.append(asked(f"/v1/{told['type'][0]}", told, PUBLIC))
    return found


# ------------------------------------------------------------------ the load generator, in a process of its own


class Load:
    """Requests over some connections, each waiting for its answer; at a given rate, or as fast as answers come."""

    def __init__(self, requests: list[bytes], first_round: int, seconds: float, rate: float) -> None:
        self.requests = requests
        self.round = first_round
        self.next = 0
        self.rate = rate
        self.latencies: list[float] = []
        self.sent_at: dict[str, float] = {}
        self.failed: list[bytes] = []
        self.idle: deque[Client] = deque()  # taken in turns: the server closes one that rests for five seconds
        self.begun = time.perf_counter()
        self.until = self.begun + seconds
        self.offered = 0

    def request(self) -> bytes:
        if self.next == len(self.requests):
            self.next, self.round = 0, self.round + 1
        self.next += 1
        return self.requests[self.next - 1].replace(RUN, b"%08d" % self.round)

    def pump(self) -> None:
        """Offer what is due by now; what finds no free connection is late, and counts from when it was due."""
        now = time.perf_counter()
        while self.idle and now < self.until:
            due = self.begun + self.offered / self.rate if self.rate else now
            if due > now:
                return
            self.offered += 1
            client = self.idle.popleft()
            client.sent_at = due
            request = self.request()
            if self.rate:
                at = request.index(b'"messageId":"') + 13
                self.sent_at[request[at : request.index(b'"', at)].decode()] = due
            client.transport.write(request)


class Client(asyncio.Protocol):
    """One connection, kept alive."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.sent_at = 0.0
        self.came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.load.idle.append(self)

    def data_received(self, data: bytes) -> None:
        self.came += data
        if not self.came.endswith(b"}"):
            return
        if self.came[9:12] == b"200":
            self.load.latencies.append(time.perf_counter() - self.sent_at)
        else:
            self.load.failed.append(self.came[-300:])
        self.came = b""
        self.load.idle.append(self)
        self.load.pump()


async def loaded(port: int, load: Load, connections: int) -> None:
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(lambda: Client(load), "127.0.0.1", port))[0] for _ in range(connections)]
    load.until += time.perf_counter() - load.begun
    load.begun = time.perf_counter()
    while time.perf_counter() < load.until:
        load.pump()
        await asyncio.sleep(0.001 if load.rate else 0.05)
    while len(load.idle) < connections:
        await asyncio.sleep(0.001)
    for client in clients:
        client.close()


def generate(pipe: Any, kind: str, port: int, asking: dict[str, Any]) -> None:
    """The body of the process."""
    import uvloop

    made = batches(asking["count"]) if kind == "batch" else singles(**asking)
    pipe.send("ready")
    while (wanted := pipe.recv()) is not None:
        load = Load(made, wanted["round"], wanted["seconds"], wanted["rate"])
        cpu = time.process_time()
        uvloop.run(loaded(port, load, wanted["connections"]))
        pipe.send(
            {
                "latencies": sorted(load.latencies),
                "seconds": time.perf_counter() - load.begun,
                "cpu": time.process_time() - cpu,
                "rounds": load.round - wanted["round"] + 1,
                "failed": [each.decode("latin-1") for each in load.failed[:3]],
                "failures": len(load.failed),
                "sent_at": load.sent_at,
            }
        )


class Generator:
    """The load generator's process, and the rounds it has used up."""

    rounds = int(time.time()) % 50_000_000  # another run over the same log sends other events

    def __init__(self, kind: str, port: int, count: int, **asking: bool) -> None:
        spawning = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawning.Pipe()
        self.child = spawning.Process(
            target=generate, args=(theirs, kind, port, {"count": count, **asking}), daemon=True
        )
        self.child.start()
        assert self.pipe.recv() == "ready"

    def run(self, seconds: float, connections: int, rate: float = 0.0) -> dict[str, Any]:
        self.pipe.send({"round": Generator.rounds, "seconds": seconds, "connections": connections, "rate": rate})
        found: dict[str, Any] = self.pipe.recv()
        Generator.rounds += found["rounds"]
        if found["failures"]:
            raise SystemExit(f"{found['failures']} requests failed: {found['failed']}")
        return found

    def close(self) -> None:
        self.pipe.send(None)
        self.child.join()


# ------------------------------------------------------------------ the servers


def shop(folder: Path) -> None:
    shutil.copytree(ROOT / "examples" / "apparel", folder)
    secret = hashlib.sha256(SECRET.encode()).hexdigest()
    with (folder / "wayline.toml").open("a") as file:
        file.write(f'\n[sources.web]\nwrite_key = "{PUBLIC}"\n[sources.server]\nsecret_key_sha256 = "{secret}"\n')


def collector_alone(folder: Path, port: int) -> None:
    """The tracking routes over the store, by the same server, without the engine's thread."""
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from wayline.runtime.collecting import Collector
    from wayline.runtime.embedded import calm_collector
    from wayline.runtime.folders import KEPT, keep_versions, read_files
    from wayline.runtime.readers import Readers
    from wayline.serving import app
    from wayline.serving.collector import tracking
    from wayline.serving.intake import Intake
    from wayline.serving.senders import Keys
    from wayline.store.opening import open_store

    with open_store(folder / KEPT) as store:
        playbook = keep_versions(read_files(folder), store.state)
        readers = Readers(store.vault.keyed, playbook.currency, key=store.pseudonym_key)
        collector = Collector(store.log, store.vault, currency=playbook.currency, reading=readers.read)
        intake = Intake(collector, readers=readers)
        routes = [
            *tracking(Keys(playbook.settings["sources"]), intake),
            Route("/health", lambda request: JSONResponse({"status": "ok", "collector": dict(intake.counts)})),
        ]
        calm_collector()
        app._serve(app._Asked(routes), app._listen("127.0.0.1", port, folder))


class Server:
    """One of the two, in a process of its own."""

    def __init__(self, folder: Path, *, with_engine: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        if with_engine:
            command = ["-m", "wayline.cli", "serve", str(folder), "--port", str(self.port)]
        else:
            command = [__file__, "--collector-alone", str(folder), "--port", str(self.port)]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        self.child = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, env=environment)
        while self._health() is None:
            if self.child.poll() is not None:
                raise SystemExit(f"the server ended with {self.child.returncode}")
            time.sleep(0.05)

    def stored(self) -> int:
        """Events it says it has stored; one refused or taken for a duplicate is a mistake of this benchmark."""
        counts: dict[str, int] = (self._health() or {})["collector"]
        assert counts.get("stored", 0) == counts.get("accepted", 0), counts
        return counts.get("stored", 0)

    def _health(self) -> dict[str, Any] | None:
        try:
            told: dict[str, Any] = json.load(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health"))
        except OSError:
            return None
        return told if told["status"] == "ok" else None

    @property
    def pids(self) -> list[int]:
        """Its process and those it started."""
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        return [self.child.pid, *map(int, children)]

    def cpu(self) -> float:
        return sum(map(processor_seconds, self.pids))

    def rss(self) -> float:
        return sum(map(resident_mb, self.pids))

    def close(self) -> None:
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()


def processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # a child that has ended meanwhile
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(each.split()[1]) for each in lines if each.startswith("VmRSS:")) / 1024


@contextmanager
def running(folder: Path, *, with_engine: bool) -> Iterator[Server]:
    server = Server(folder, with_engine=with_engine)
    try:
        yield server
    finally:
        server.close()


# ------------------------------------------------------------------ what is measured


def throughput(server: Server, kind: str, options: argparse.Namespace) -> dict[str, float]:
    each = BATCH if kind == "batch" else 1
    connections = options.batch_connections if kind == "batch" else options.connections
    generator = Generator(kind, server.port, 200 if kind == "batch" else 20_000)
    generator.run(1.5, connections)  # connections, caches and files warm
    before, stored = server.cpu(), server.stored()
    found = generator.run(options.seconds, connections)
    used = server.cpu() - before
    generator.close()
    events = len(found["latencies"]) * each
    assert server.stored() - stored == events
    return {
        f"{kind}_per_second": round(events / found["seconds"]),
        f"{kind}_p50_ms": milliseconds(found["latencies"], 0.5),
        f"{kind}_p99_ms": milliseconds(found["latencies"], 0.99),
        f"{kind}_server_us_per_event": round(used / events * 1e6, 1),
        f"{kind}_generator_us_per_event": round(found["cpu"] / events * 1e6, 1),
        f"{kind}_server_cores": round(used / found["seconds"], 2),
        f"{kind}_generator_cores": round(found["cpu"] / found["seconds"], 2),
        f"{kind}_rss_mb": round(server.rss()),
    }


def milliseconds(ranked: list[float], share: float) -> float:
    return round(ranked[min(int(len(ranked) * share), len(ranked) - 1)] * 1000, 1)


def paced(folder: Path, seconds: float, rate: float) -> dict[str, float]:
    """Single events at a steady rate against `wayline serve`: from the send of each to the commit of its turn."""
    from wayline.runtime.folders import KEPT
    from wayline.store.opening import open_shipping

    with running(folder, with_engine=True) as server, open_shipping(folder / KEPT) as (log, state):
        began_after = log.head()
        generator = Generator("single", server.port, 20_000)
        generator.pipe.send({"round": Generator.rounds, "seconds": seconds, "connections": 64, "rate": rate})
        seen: list[tuple[int, float]] = []
        before = server.cpu()
        begun = time.perf_counter()
        while not generator.pipe.poll(0.002):
            seen.append((state.position(), time.perf_counter()))
        found = generator.pipe.recv()
        used, took = server.cpu() - before, time.perf_counter() - begun
        Generator.rounds += found["rounds"]
        while state.position() < log.head():
            time.sleep(0.002)
            seen.append((state.position(), time.perf_counter()))
        generator.close()
        lags = sorted(_lags(log, began_after, found["sent_at"], seen))
    return {
        "lag_events_per_second": round(len(found["latencies"]) / found["seconds"]),
        "lag_answer_p99_ms": milliseconds(found["latencies"], 0.99),
        "lag_p50_ms": milliseconds(lags, 0.5),
        "lag_p95_ms": milliseconds(lags, 0.95),
        "lag_server_cores": round(used / took, 2),
    }


def _lags(log: Any, after: int, sent_at: dict[str, float], seen: list[tuple[int, float]]) -> Iterator[float]:
    positions = [position for position, _ in seen]
    while events := log.read(after, 5000):
        after = events[-1].position
        for event in events:
            place = bisect.bisect_left(positions, event.position)
            if event.event_id in sent_at and place < len(seen):
                yield seen[place][1] - sent_at[event.event_id]


def soak(folder: Path, minutes: float, rate: float) -> dict[str, Any]:
    """The server's memory under a steady load, sampled; its slope over the second half.

    Nobody new comes: what somebody is remembered by stays at hand, for 200,000 people, and would hide what leaks.
    """
    with running(folder, with_engine=True) as server:
        generator = Generator("single", server.port, 20_000, newcomers=False)
        samples: list[tuple[float, float]] = []
        events = 0
        begun = time.perf_counter()
        while (passed := time.perf_counter() - begun) < minutes * 60:
            samples.append((passed / 60, server.rss()))
            print(f"{passed / 60:5.1f} min {samples[-1][1]:7.0f} MB {'#' * int(samples[-1][1] / 10)}", file=sys.stderr)
            events += len(generator.run(10.0, 64, rate)["latencies"])
        generator.close()
    half = samples[len(samples) // 2 :]
    mean_at = sum(at for at, _ in half) / len(half)
    mean = sum(mb for _, mb in half) / len(half)
    spread = sum((at - mean_at) ** 2 for at, _ in half) or 1.0
    slope = sum((at - mean_at) * (mb - mean) for at, mb in half) / spread
    return {
        "soak_minutes": minutes, "soak_events": events, "soak_rss_mb_first": round(samples[0][1]),
        "soak_rss_mb_half": round(half[0][1]), "soak_rss_mb_last": round(samples[-1][1]),
        "soak_slope_mb_per_minute": round(slope, 2),
    }  # fmt: skip


def preload(folder: Path, millions: float) -> dict[str, float]:
    """Fill the log by its own interface: parsed once, each under an id of its own."""
    from msgspec.structs import replace

    from wayline.observation.events import Parsed, parse_batch
    from wayline.runtime.embedded import calm_collector
    from wayline.runtime.folders import KEPT
    from wayline.store.opening import open_store

    luck = random.Random(9)
    count = int(millions * 1_000_000)
    with open_store(folder / KEPT) as store:
        start = store.log.head()
        told = [message(place, luck, by_server=True) for place in range(5000)]
        verdicts = parse_batch(told, source="server", received_at=datetime.now(UTC), keyed=store.vault.keyed)
        events = [each.event for each in verdicts if isinstance(each, Parsed)]
        calm_collector()
        begun, cpu = time.perf_counter(), time.process_time()
        for first in range(start, start + count, 5000):
            store.log.append([replace(one, event_id=f"preload-{first + at}") for at, one in enumerate(events)])
            if first % 1_000_000 == 0:
                rate = round((first - start) / (time.perf_counter() - begun))
                print(f"\r{first:,} events, {rate:,}/s", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        took, used = time.perf_counter() - begun, time.process_time() - cpu
        found = duplicates(
            store.log, [replace(one, event_id=f"preload-{start + luck.randrange(count)}") for one in events]
        )
    size = sum(path.stat().st_size for path in (folder / KEPT).glob("log.sqlite*"))
    return found | {
        "preloaded": count,
        "preload_per_second": round(count / took),
        "preload_us_per_event": round(used / count * 1e6, 1),
        "log_bytes_per_event": round(size / max(count, 1)),
    }


def duplicates(log: Any, events: list[Any]) -> dict[str, float]:
    """What it costs to be told again of events from anywhere in the log."""
    begun = time.perf_counter()
    for first in range(0, len(events), 100):
        log.append(events[first : first + 100])
    return {"old_keys_looked_up_per_second": round(len(events) / (time.perf_counter() - begun))}


def measured(options: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    wanted = [("collector", False), ("serve", True)]
    for name, with_engine in [each for each in wanted if options.seconds and options.only in ("", each[0])]:
        folder = temporary / name if with_engine or options.folder is None else options.folder
        if not folder.exists():
            shop(folder)
        if options.preload and not with_engine:
            found |= preload(folder, options.preload)
        with running(folder, with_engine=with_engine) as server:
            for kind in ("batch", "single") if not options.kind else (options.kind,):
                found |= {f"{name}_{key}": value for key, value in throughput(server, kind, options).items()}
        if folder != options.folder:
            shutil.rmtree(folder)
    runs: list[tuple[str, float, Callable[..., dict[str, Any]]]] = [
        ("lag", options.lag_seconds, paced), ("soak", options.minutes, soak),
    ]  # fmt: skip
    for name, length, run in runs:
        if length:
            shop(temporary / name)
            found |= run(temporary / name, length, options.rate)
            shutil.rmtree(temporary / name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--connections", type=int, default=64, help="for single events")
    parser.add_argument("--batch-connections", type=int, default=24)
    parser.add_argument("--preload", type=float, default=0.0, help="millions of events in the log beforehand")
    parser.add_argument("--folder", type=Path, help="keep the collector's shop there, or measure the one that is there")
    parser.add_argument("--lag-seconds", type=float, default=10.0)
    parser.add_argument("--minutes", type=float, default=0.0, help="of watching the memory")
    parser.add_argument("--rate", type=float, default=2000.0, help="events a second of the two runs above")
    parser.add_argument("--only", default="", choices=["", "collector", "serve"])
    parser.add_argument("--kind", default="", choices=["", "batch", "single"])
    parser.add_argument("--collector-alone", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "src"))
    if options.collector_alone:
        collector_alone(options.collector_alone, options.port)
        return
    with tempfile.TemporaryDirectory() as temporary:
        found = measured(options, Path(temporary))
    print(json.dumps({"benchmark": "ingest", "load_average": round(os.getloadavg()[0], 1), **found, **TARGETS}))


if __name__ == "__main__":
    main()
