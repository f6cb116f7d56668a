"""Turns: events in the log to committed decisions, over a store of known customers.

    python benchmarks/turns.py [--customers 1000000] [--events 100000] [--lag-seconds 20]

The playbook is the example's, its journeys repeated under other names up to 25, its 40-odd facets as they are. About a
fifth of the events touch a standing (a checkout step, an order, a click); the rest is browsing. Everything is on disk
as in production: log, state and vault in SQLite with fsync. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from wayline.channels.dryrun import DryRun
from wayline.domain import Event, Identifier, Link, Memory, Playbook, Product, Standing
from wayline.interpretation import customers
from wayline.observation.identity import customer_id_of
from wayline.playbook import compile_playbook
from wayline.runtime.embedded import Embedded, Limits, calm_collector
from wayline.store import Batch
from wayline.store.opening import Store, open_store

APPAREL = Path(__file__).parent.parent / "examples" / "apparel"
NOW = datetime(2025, 10, 7, 10, 0, tzinfo=UTC)
JOURNEYS = 25
SKUS = [f"sku-{number:04d}" for number in range(2000)]
CATEGORIES = ["winter-jackets", "fleece", "boots", "socks", "care"]


def playbook_of(journeys: int) -> Playbook:
    """The example's playbook with its journeys repeated under other names until there are that many."""
    files = {
        str(path.relative_to(APPAREL)): path.read_text()
        for path in sorted(APPAREL.rglob("*"))
        if path.suffix in (".yaml", ".toml") and "tests" not in path.parts
    }
    originals = [name for name in files if name.startswith("journeys/")]
    for copy in range(journeys - len(originals)):
        name = originals[copy % len(originals)]
        stem = Path(name).stem
        files[f"journeys/{stem}-{copy}.yaml"] = files[name].replace(f"journey: {stem}\n", f"journey: {stem}-{copy}\n")
    return compile_playbook(files)


def identifiers(number: int) -> tuple[Identifier, ...]:
    return (Identifier("user_id", f"{number:032x}"), Identifier("email", f"{number:031x}e"))


def event(luck: random.Random, number: int, who: int, at: datetime) -> Event:
    sku = luck.choice(SKUS)
    category = CATEGORIES[hash_of(sku) % len(CATEGORIES)]
    item = {"sku": sku, "product_id": sku, "category": category, "price": 4900, "quantity": 1}
    roll = luck.random()
    if roll < 0.55:
        name, properties = "Product Viewed", item
    elif roll < 0.70:
        name, properties = "Page Viewed", {"path": "/"}
    elif roll < 0.80:
        name, properties = "Product Added", item
    elif roll < 0.93:
        name, properties = "Checkout Step Viewed", {"step": 2, "checkout_id": f"c{number}"}
    elif roll < 0.97:
        name, properties = "Order Completed", {"order_id": f"o{number}", "revenue": 4900, "products": [item]}
    else:
        name, properties = "Email Link Clicked", {"email_id": f"m{number}"}
    return Event(
        event_id=f"b{number}", source="web", name=name, occurred_at=at, received_at=at,
        identifiers=identifiers(who)[:1], properties=properties,
    )  # fmt: skip


def hash_of(text: str) -> int:
    return sum(map(ord, text))


def histories(playbook: Playbook, luck: random.Random) -> list[Memory]:
    """What thirty different people are remembered for, after forty events each."""
    found = []
    for person in range(30):
        memory = Memory()
        consent = Event(
            event_id=f"g{person}", source="shop", name="Consent Granted", occurred_at=NOW - timedelta(days=200),
            received_at=NOW - timedelta(days=200), properties={"channel": "email", "purpose": "marketing"},
        )  # fmt: skip
        memory = customers.fold(memory, consent, playbook)
        for step in range(40):
            at = NOW - timedelta(days=90) + timedelta(days=2 * step, minutes=luck.randrange(600))
            past = replace(event(luck, person * 1000 + step, 0, at), identifiers=())
            memory = customers.fold(memory, past, playbook)
        found.append(memory)
    return found


def fill(store: Store, playbook: Playbook, count: int, luck: random.Random) -> None:
    templates = histories(playbook, luck)
    for first in range(0, count, 20_000):
        batch = Batch()
        for number in range(first, min(first + 20_000, count)):
            named = identifiers(number)
            customer_id = customer_id_of(named[0])
            batch.links += [Link(one, customer_id, "shop", 1.0, NOW) for one in named]
            batch.standings[customer_id] = Standing(match_confidence=1.0)
            batch.checkpoints[customer_id] = customers.fold(templates[number % len(templates)], _named(named), playbook)
        store.state.commit(batch)
        print(f"\r{first + 20_000:,} customers", end="", file=sys.stderr)
    print(file=sys.stderr)


def _named(named: tuple[Identifier, ...]) -> Event:
    at = NOW - timedelta(days=100)
    return Event(event_id="n", source="shop", name="Known", occurred_at=at, received_at=at, identifiers=named)


def shelf() -> Iterator[Product]:
    for sku in SKUS:
        yield Product(
            sku=sku, name=sku, category=CATEGORIES[hash_of(sku) % len(CATEGORIES)], price=4900, cost=2000, available=50,
            stock_as_of=NOW, price_as_of=NOW, url=f"https://shop.example/{sku}",
        )  # fmt: skip


def throughput(store: Store, engine: Embedded, count: int, people: int, luck: random.Random) -> dict[str, float]:
    events = [event(luck, number, luck.randrange(people), NOW) for number in range(count)]
    for first in range(0, count, 5_000):
        store.log.append(events[first : first + 5_000])
    touched = sum(1 for one in events if one.name not in ("Product Viewed", "Page Viewed", "Product Added"))
    begun = time.perf_counter()
    cpu = time.process_time()
    engine.drain(NOW)
    seconds = time.perf_counter() - begun
    return {
        "events_per_second": round(count / seconds),
        "cpu_share": round((time.process_time() - cpu) / seconds, 2),
        "touching_share": round(touched / count, 3),
    }


def lag(store: Store, engine: Embedded, seconds: float, people: int, luck: random.Random) -> dict[str, float]:
    """2,000 events a second, appended 20 at a time; from acknowledged to committed."""
    lags: list[float] = []
    number = 10_000_000
    begun = time.perf_counter()
    due = begun
    waiting: list[tuple[int, float]] = []
    while time.perf_counter() - begun < seconds:
        now = time.perf_counter()
        while due <= now:
            batch = [event(luck, number + at, luck.randrange(people), NOW) for at in range(20)]
            number += 20
            head = store.log.append(batch).head
            waiting.append((head, due))
            due += 0.01
        engine.cycle(NOW)
        done = time.perf_counter()
        while waiting and waiting[0][0] <= engine.position:
            lags.append(done - waiting.pop(0)[1])
    lags.sort()
    return {
        "lag_p50_ms": round(1000 * lags[len(lags) // 2], 1),
        "lag_p95_ms": round(1000 * lags[int(len(lags) * 0.95)], 1),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--customers", type=int, default=1_000_000)
    arguments.add_argument("--events", type=int, default=100_000)
    arguments.add_argument("--lag-seconds", type=float, default=20.0)
    chosen = arguments.parse_args()
    luck = random.Random(7)
    playbook = playbook_of(JOURNEYS)
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder)) as store:
        fill(store, playbook, chosen.customers, luck)
        channels = {name: DryRun(name, kept_max=100) for name in ("email", "sms", "push")}
        engine = Embedded(store.log, store.state, store.vault, playbook, channels, limits=Limits(events_max=1000))
        engine.stock(shelf(), NOW)
        calm_collector()
        found = throughput(store, engine, chosen.events, chosen.customers, luck)
        found |= lag(store, engine, chosen.lag_seconds, chosen.customers, luck)
        counts = store.state.counts()
    print(
        json.dumps(
            {
                "benchmark": "turns",
                "customers": chosen.customers,
                "events": chosen.events,
                "journeys": len(playbook.current),
                "facets": len(playbook.facets),
                **found,
                "decisions": counts["decisions"],
                "deliveries": counts["deliveries"],
                "set_aside": counts["set_aside"],
                "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
        )
    )


if __name__ == "__main__":
    main()
