"""Timers: due customers woken, with many more waiting.

    python benchmarks/timers.py [--customers 1000000] [--due 100000]

Everybody waits in the example's cart recovery, on disk. First, how long one idle look at the clock takes while all of
them wait. Then `--due` of them fall due at once where nothing is to be sent (the wait is over, a website slot is next),
and a tenth of that where a message is decided, rendered and handed over. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace
from turns import JOURNEYS, NOW, fill, playbook_of, shelf

from wayline.channels.dryrun import DryRun
from wayline.domain import Enrollment, Event, Identifier, Standing
from wayline.interpretation import customers
from wayline.observation.identity import customer_id_of
from wayline.runtime.embedded import Embedded, Limits, calm_collector
from wayline.store import Batch
from wayline.store.opening import Store, open_store

HOUR = timedelta(hours=1)


def wait(store: Store, engine: Embedded, numbers: range, step: str, hours: float) -> None:
    """Put these customers into a step of cart recovery, due that many hours from now."""
    journey = engine.playbook.current["cart-recovery"]
    entered_at = NOW - timedelta(days=2)
    for first in range(numbers.start, numbers.stop, 20_000):
        batch = Batch()
        for number in range(first, min(first + 20_000, numbers.stop)):
            customer_id = customer_id_of(Identifier("user_id", f"{number:032x}"))
            due_at = NOW + hours * HOUR
            inside = Enrollment(
                journey=journey.name, key="", version=journey.version, step=step, entered_at=entered_at,
                step_entered_at=due_at - (HOUR if step == "pause" else 24 * HOUR), wake_at=due_at,
            )  # fmt: skip
            batch.standings[customer_id] = Standing(enrollments=(inside,), wake_at=due_at, match_confidence=1.0)
        store.state.commit(batch)
        print(f"\r{step}: {first + 20_000:,} waiting", end="", file=sys.stderr)
    print(file=sys.stderr)


def fill_carts(store: Store, engine: Embedded, numbers: range) -> None:
    """Those who are about to be reminded have a cart, and a mailbox in the vault."""
    for first in range(numbers.start, numbers.stop, 5_000):
        ids = {
            customer_id_of(Identifier("user_id", f"{n:032x}")): n
            for n in range(first, min(first + 5_000, numbers.stop))
        }
        batch = Batch()
        for customer_id, customer in store.state.load(list(ids)).items():
            added = Event(
                event_id=f"cart-{customer_id}", source="web", name="Product Added", occurred_at=NOW - HOUR,
                received_at=NOW - HOUR,
                properties={"sku": "sku-0001", "price": 4900, "quantity": 1, "category": "boots"},
            )  # fmt: skip
            batch.checkpoints[customer_id] = customers.fold(customer.memory, added, engine.playbook)
        store.state.commit(batch)
        store.vault.put(
            {f"user_id:{n:032x}": {"email": f"c{n}@example.com", "first_name": "Kim"} for n in ids.values()}
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--customers", type=int, default=1_000_000)
    arguments.add_argument("--due", type=int, default=100_000)
    chosen = arguments.parse_args()
    playbook = playbook_of(JOURNEYS)
    playbook = replace(playbook, policy=replace(playbook.policy, suppressions=()))
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder)) as store:
        fill(store, playbook, chosen.customers, random.Random(7))
        channels = {name: DryRun(name, kept_max=100) for name in ("email", "sms", "push")}
        engine = Embedded(store.log, store.state, store.vault, playbook, channels, limits=Limits(claims_max=500))
        engine.stock(shelf(), NOW)
        deciding = range(chosen.due // 10)
        going_on = range(deciding.stop, deciding.stop + chosen.due)
        wait(store, engine, deciding, "pause", 2)
        wait(store, engine, going_on, "listen", 1)
        wait(store, engine, range(going_on.stop, chosen.customers), "listen", 24 * 30)
        fill_carts(store, engine, deciding)
        calm_collector()

        begun = time.perf_counter()
        for _ in range(1000):
            assert engine.cycle(NOW).is_idle
        idle = (time.perf_counter() - begun) / 1000

        begun = time.perf_counter()
        woken = engine.drain(NOW + HOUR).wakes
        going = time.perf_counter() - begun

        begun = time.perf_counter()
        done = engine.drain(NOW + 2 * HOUR)
        deciding_took = time.perf_counter() - begun
        counts = store.state.counts()
    print(
        json.dumps(
            {
                "benchmark": "timers",
                "waiting": chosen.customers,
                "idle_look_us": round(idle * 1e6, 1),
                "woken": woken,
                "wakes_per_second": round(woken / going),
                "deciding": done.wakes,
                "deciding_wakes_per_second": round(done.wakes / deciding_took),
                "handed_over": counts["deliveries.sent"] + counts["deliveries.withheld"],
                "set_aside": counts["set_aside"],
                "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
        )
    )


if __name__ == "__main__":
    main()
