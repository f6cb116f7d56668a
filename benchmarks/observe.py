"""How fast messages become events, events find their person, and the shelf answers: python benchmarks/observe.py.

Messages are shaped as a browser's client and a shop's server send them. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Any

from wayline.domain import Event, Identifier, Product
from wayline.observation.catalog import Shelf
from wayline.observation.directory import Directory
from wayline.observation.events import Parsed, parse_batch
from wayline.observation.identity import handles, resolve

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
PAGE = {"path": "/p/ridge-jacket", "referrer": "https://shop.example/", "search": "", "title": "Ridge Jacket",
        "url": "https://shop.example/p/ridge-jacket"}  # fmt: skip
CONTEXT = {"ip": "203.0.113.7", "userAgent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Version/18.1",
           "locale": "de-DE", "timezone": "Europe/Berlin", "library": {"name": "analytics.js", "version": "1.84.1"},
           "page": PAGE}  # fmt: skip
LINE = {"product_id": "P-1001", "sku": "P-1001-M", "name": "Ridge Jacket", "category": "Jackets", "brand": "Larkfell",
        "variant": "M", "price": 129.95, "quantity": 1, "url": "https://shop.example/p/ridge-jacket"}  # fmt: skip


def keyed(kind: str, value: str) -> str:
    return blake2b(f"{kind}\0{value}".encode(), key=b"a benchmark's key", digest_size=16).hexdigest()


def viewed(place: int) -> dict[str, Any]:
    """A product view, as a browser tells it."""
    return {
        "type": "track", "event": "Product Viewed", "messageId": f"ajs-next-1732528800000-{place:012d}",
        "anonymousId": f"6f1de2a4-52d1-4b33-8f1e-{place % 5000:012d}", "userId": f"customer-{place % 5000:06d}",
        "timestamp": "2026-11-27T11:59:58.358Z", "sentAt": "2026-11-27T11:59:59.000Z",
        "properties": {**LINE, "currency": "EUR", "position": 3}, "context": CONTEXT,
    }  # fmt: skip


def viewed_bare(place: int) -> dict[str, Any]:
    """The same from a server, without context."""
    return {key: value for key, value in viewed(place).items() if key != "context"}


def ordered(place: int) -> dict[str, Any]:
    """An order of three lines."""
    order = {"order_id": f"o-{place}", "total": 396.85, "shipping": 4.95, "tax": 63.36, "currency": "EUR"}
    return {**viewed_bare(place), "event": "Order Completed", "properties": {**order, "products": [LINE, LINE, LINE]}}


def identified(place: int) -> dict[str, Any]:
    """A log-in with traits."""
    traits = {"email": f"ann-{place}@example.com", "firstName": "Ann", "language": "de", "address": {"country": "DE"}}
    told = {key: value for key, value in viewed(place).items() if key not in ("event", "properties")}
    return {**told, "type": "identify", "traits": traits}


def rate(run: Callable[[], object], count: int, rounds: int) -> int:
    """Runs a second on one core, the best of some rounds: what else the machine does only slows."""
    best = float("inf")
    for _ in range(rounds):
        begun = time.process_time()
        run()
        best = min(best, time.process_time() - begun)
    return round(count / best)


def parsed(messages: Sequence[dict[str, Any]]) -> list[Event]:
    verdicts = parse_batch(messages, source="web", received_at=NOON, keyed=keyed)
    return [each.event for each in verdicts if isinstance(each, Parsed)]


def read_in_batches(messages: Sequence[dict[str, Any]]) -> None:
    """A hundred messages a request, as clients send them; nothing is kept."""
    for first in range(0, len(messages), 100):
        parse_batch(messages[first : first + 100], source="web", received_at=NOON, keyed=keyed)


def resolved(events: Sequence[Event], directory: Directory) -> None:
    for event in events:
        directory.learn(resolve(event, directory.resolve(handles(event)), directory))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--count", type=int, default=20_000)
    asked.add_argument("--rounds", type=int, default=5)
    arguments = asked.parse_args()
    count, rounds = arguments.count, arguments.rounds
    told: dict[str, object] = {"benchmark": "observe", "count": count, "parse_target": 60_000}
    for shape in (viewed, viewed_bare, ordered, identified):
        messages = [shape(place) for place in range(count)]
        told[f"parse_{shape.__name__}"] = rate(partial(read_in_batches, messages), count, rounds)
    events = parsed([viewed(place) for place in range(count)])
    directory = Directory()
    told["resolve_new"] = rate(lambda: resolved(events[:5000], Directory()), min(count, 5000), rounds)
    resolved(events, directory)
    told["resolve_known"] = rate(lambda: resolved(events, directory), count, rounds)
    told |= shelf_rates(count, rounds)
    print(json.dumps(told))


def shelf_rates(count: int, rounds: int) -> dict[str, int]:
    """A shelf of 4,000 size-colours under a season's orders, asked between them."""
    shelf = Shelf(Product(sku=f"P-{place}", category=f"C-{place % 40}", price=100) for place in range(4000))
    orders = [
        Event(event_id=str(place), source="s", name="Order Completed", occurred_at=NOON, received_at=NOON,
              properties={"order_id": str(place), "products": [{"sku": f"P-{place * 7919 % 4000}"}]})
        for place in range(count)
    ]  # fmt: skip
    stock = [
        Event(event_id=str(place), source="s", name="Inventory Changed", occurred_at=NOON + timedelta(seconds=place),
              received_at=NOON + timedelta(days=9), properties={"sku": f"P-{place % 4000}", "available": place % 7})
        for place in range(count)
    ]  # fmt: skip

    def sell() -> None:
        for order in orders:
            shelf.take(order)
            shelf.popular("", 10)

    def count_stock() -> None:
        for event in stock:
            shelf.take(event)

    return {
        "shelf_order_and_popular": rate(sell, count, 1),
        "shelf_stock": rate(count_stock, count, rounds),
        "shelf_popular": rate(lambda: [shelf.popular("C-7", 10) for _ in range(count)], count, rounds),
        "shelf_related": rate(lambda: [shelf.related(["P-1", "P-2", "P-3"], 10) for _ in range(count)], count, rounds),
        "shelf_product": rate(lambda: [shelf.product("P-77") for _ in range(count)], count, rounds),
    }


if __name__ == "__main__":
    assert Identifier("user_id", keyed("user_id", "customer-000001")) in parsed([viewed(1)])[0].identifiers
    main()
