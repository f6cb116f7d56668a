"""The dry run of a playbook over a year: 100,000 customers, 5,000,000 events.

    python benchmarks/dry_run.py [--customers 100000] [--events 5000000] [--grain 60] [--schedules] [--texts]

The playbook is the example's. The year is made up as it is read: half of the people known, visits of several views,
some carts, checkouts and orders. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from wayline.domain import Event, Identifier, Product
from wayline.runtime.assuming import Assumptions
from wayline.runtime.dryrun import Options, Progress, dry_run
from wayline.runtime.folders import example_folder, read_playbook

START = datetime(2024, 10, 1, tzinfo=UTC)
CATEGORIES = ("winter-jackets", "fleece", "boots", "socks", "care")
SKUS = [(f"sku-{number:04d}", CATEGORIES[number % 5], 2900 + 100 * (number % 90)) for number in range(2000)]


def year(customers: int, events: int, luck: random.Random) -> Iterator[Event]:
    """Events of a year in order: one visit a moment, its steps a second apart."""
    told = 0
    while told < events:
        at = START + timedelta(seconds=round(365 * 86_400 * told / events))
        who = luck.randrange(customers)
        kind = "user_id" if who % 2 else "anonymous_id"
        identifiers = (Identifier(kind, f"{who:032x}"),)
        for name, properties in visit(luck, told):
            yield Event(
                event_id=f"y{told}",
                source="web",
                name=name,
                occurred_at=at,
                received_at=at,
                identifiers=identifiers,
                properties=properties,
            )
            told += 1


def visit(luck: random.Random, number: int) -> Iterator[tuple[str, dict[str, object]]]:
    """What one visit does: the funnel of the example shop."""
    yield "Page Viewed", {"path": "/"}
    if luck.random() < 0.5:
        return
    sku, category, price = SKUS[int(len(SKUS) * luck.random() ** 2)]
    item = {"sku": sku, "product_id": sku, "category": category, "price": price, "quantity": 1}
    for _ in range(luck.randrange(1, 5)):
        yield "Product Viewed", item
    if luck.random() < 0.82:
        return
    yield "Product Added", item
    if luck.random() < 0.45:
        return
    yield "Checkout Step Viewed", {"step": 2, "checkout_id": f"c{number}"}
    if luck.random() < 0.45:
        yield "Order Completed", {"order_id": f"o{number}", "revenue": price, "products": [item]}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--customers", type=int, default=100_000)
    arguments.add_argument("--events", type=int, default=5_000_000)
    arguments.add_argument("--grain", type=float, default=60.0)
    arguments.add_argument("--schedules", action="store_true")
    arguments.add_argument("--texts", action="store_true")
    asked = arguments.parse_args()

    def show(progress: Progress) -> None:
        if progress.events % 200_000 < 2_000:
            print(f"{progress.at:%-d %B %Y}: {progress.events:,} events", flush=True)

    run = dry_run(
        year(asked.customers, asked.events, random.Random(7)),
        read_playbook(example_folder()),
        assume=Assumptions.read("consent=email,addresses=yes,stock=in_stock,products=described"),
        options=Options(
            schedules=asked.schedules, texts=asked.texts, pages=False, grain=timedelta(seconds=asked.grain)
        ),
        products=[Product(sku, sku, sku, category, price) for sku, category, price in SKUS],
        on_progress=show,
    )
    print(
        json.dumps(
            {
                "benchmark": "dry_run",
                "customers": run.people,
                "events": run.events,
                "grain_seconds": asked.grain,
                "schedules": asked.schedules,
                "texts": asked.texts,
                "seconds": run.seconds,
                "cpu_seconds": run.cpu_seconds,
                "events_per_cpu_second": round(run.events / run.cpu_seconds),
                "scheduled": run.scheduled,
                "wakes": run.wakes,
                "messages": sum(one.treated + one.control for one in run.journeys),
                "entered": sum(one.entered for one in run.journeys),
                "memory_peak_mb": run.memory_peak_mb,
                "set_aside": run.set_aside,
                "target": "100,000 customers, 5,000,000 events in < 300 s",
            }
        )
    )


if __name__ == "__main__":
    main()
