"""How fast memory follows what happens: python benchmarks/fold.py [--customers 2000] [--events 200000].

A season of shopping is folded into the memories of many customers under the example shop's own facets. Prints the cost
of one event by its name, of reading facets and of asking questions, and one JSON line last.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from wayline.domain import Customer, Event, Identifier, Memory, Playbook, Standing, World
from wayline.interpretation import customers, facets
from wayline.interpretation.moment import Moment
from wayline.playbook import compile_playbook

ROOT = Path(__file__).resolve().parent.parent
START = datetime(2026, 10, 1, tzinfo=UTC)
SHARES = {
    "Page Viewed": 30, "Product List Viewed": 10, "Product Viewed": 30, "Products Searched": 4, "Product Added": 6,
    "Product Removed": 1, "Cart Viewed": 4, "Checkout Started": 3, "Checkout Step Viewed": 5, "Order Completed": 2,
    "Order Shipped": 2, "Order Delivered": 2, "Email Delivered": 4, "Email Link Clicked": 1,
}  # fmt: skip


class Bare:
    """A shelf with nothing on it, and addresses nobody knows of."""

    def product(self, sku: str) -> None:
        return None

    def popular(self, category: str, count_max: int) -> list[str]:
        return []

    def related(self, skus: Any, count_max: int) -> list[str]:
        return []

    def get(self, channel: str, key: str) -> None:
        return None


def example() -> Playbook:
    folder = ROOT / "examples" / "apparel"
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".yaml", ".toml")]
    return compile_playbook({path.relative_to(folder).as_posix(): path.read_text() for path in files})


def happened(luck: random.Random, number: int, customer: int) -> Event:
    name = luck.choices(list(SHARES), weights=list(SHARES.values()))[0]
    sku = f"J{luck.randrange(400)}"
    line = {"sku": sku, "category": luck.choice(["jackets", "shoes", "care"]), "price": 9900, "quantity": 1}
    properties: dict[str, Any] = {**line, "step": luck.randrange(1, 4), "order_id": f"o{customer}-{luck.randrange(20)}"}
    if name == "Order Completed":
        properties |= {"products": [line, {**line, "sku": "wax"}], "revenue": 19800, "discount": 0}
    at = START + timedelta(seconds=40 * number + luck.randrange(-3600, 3600))
    return Event(
        event_id=f"e{number}",
        source="web",
        name=name,
        occurred_at=at,
        received_at=at,
        identifiers=(Identifier("anonymous_id", f"a{customer:024x}"), Identifier("user_id", f"u{customer:024x}")),
        properties=properties,
        context={"timezone": "Europe/Berlin"},
        position=number + 1,
    )


def micros(action: Callable[[], object], count: int) -> float:
    started = time.process_time()
    action()
    return (time.process_time() - started) / count * 1e6


def by_name(streams: Mapping[int, list[Event]], memories: Mapping[int, Memory], playbook: Playbook) -> dict[str, float]:
    """Microseconds to fold one event's facets, and how many facets that touches, by the event's name."""
    found: dict[str, list[float]] = {}
    for customer, stream in streams.items():
        states = memories[customer].facets
        for event in stream[-5:]:
            touched = playbook.folding[event.name]
            taken = micros(lambda: [facets.fold(states, event, touched) for _ in range(20)], 20)  # noqa: B023
            found.setdefault(event.name, []).append(taken)
    return {name: statistics.median(taken) for name, taken in sorted(found.items())}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--customers", type=int, default=2_000)
    options.add_argument("--events", type=int, default=200_000)
    given = options.parse_args()
    luck = random.Random(7)
    playbook = example()
    streams: dict[int, list[Event]] = {}
    for number in range(given.events):
        customer = luck.randrange(given.customers)
        streams.setdefault(customer, []).append(happened(luck, number, customer))
    memories: dict[int, Memory] = {}

    def fold_all() -> None:
        for customer, stream in streams.items():
            memory = Memory()
            for event in stream:
                memory = customers.fold(memory, event, playbook)
            memories[customer] = memory

    gc.freeze()
    whole = micros(fold_all, given.events)
    names = by_name(streams, memories, playbook)
    for name, taken in names.items():
        print(f"{name:24} {len(playbook.folding[name]):3} facets {taken:8.1f} us", file=sys.stderr)
    facets_only = sum(names[name] * share for name, share in SHARES.items()) / sum(SHARES.values())
    now = START + timedelta(seconds=40 * given.events)
    world = World(now, Bare(), Bare())
    people = [Customer(str(number), memory, Standing()) for number, memory in memories.items()]
    declared = [name for name in playbook.facets if playbook.facets[name].kind == "derived"]
    count = len(people) * len(declared)
    reads = micros(
        lambda: [Moment(person, playbook, world).fact(name) for person in people for name in declared], count
    )
    asked = micros(lambda: [Moment(each, playbook, world).estimate("stage") for each in people], len(people))
    bytes_each = statistics.mean(len(msgspec.msgpack.encode(memory)) for memory in memories.values())
    figures = {
        "benchmark": "fold",
        "facets": len(playbook.facets),
        "facets_us": round(facets_only, 2),
        "target_us": 12,
        "memory_us": round(whole, 2),
        "events_per_second": round(1e6 / whole),
        "read_us": round(reads, 2),
        "stage_us": round(asked, 1),
        "memory_bytes": round(bytes_each),
        "events_per_customer": round(given.events / given.customers),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
