"""How fast the store takes and gives: python benchmarks/store.py [--customers 1000000] [--events 2000000].

Prints what it does, and one JSON line last. It needs about 3 GB in the temporary folder (TMPDIR).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

from wayline.domain import (
    Action,
    Contact,
    Decision,
    Enrollment,
    Event,
    Identifier,
    Memory,
    Refusal,
    Register,
    Standing,
    Verdict,
)
from wayline.runtime.embedded import calm_collector
from wayline.store import Batch, Delivery
from wayline.store.opening import Store, open_store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FIGURES: dict[str, float] = {}


def hashed(text: str) -> str:
    return blake2b(text.encode(), digest_size=12).hexdigest()


@contextmanager
def timed(name: str, count: int, per: str = "/s") -> Iterator[None]:
    """Measure `count` things: as a rate, or in milliseconds."""
    started = time.perf_counter()
    yield
    took = time.perf_counter() - started
    FIGURES[name] = round(count / took) if per == "/s" else round(took * 1000 / count, 2)
    print(f"{name:40} {FIGURES[name]:>12,} {per}", file=sys.stderr, flush=True)


def standing(number: int, at: datetime) -> Standing:
    wake_at = at + (number % 7200) * SECOND if number % 2 else None
    enrollment = Enrollment("cart-recovery", "", "3f2a9c1d", "pause", at, at, wake_at, trigger={"order_id": "o1"})
    contact = Contact(hashed(f"d{number}"), at, "email", "marketing", "marketing", "welcome", "welcome-mail")
    return Standing((enrollment,), (contact,), {}, wake_at)


def memory(number: int, position: int) -> Memory:
    stamp = (NOON, "web", f"e{number}")
    views = [[stamp, {"sku": f"S{n}", "category": "jackets", "price": 12900}] for n in range(10)]
    facets = {f"facet_{n}": [NOON, n, 1.5] for n in range(30)} | {"viewed": views, "cart": {"S1": [2, 12900]}}
    identifiers = (Identifier("user_id", hashed(f"u{number}")), Identifier("anonymous_id", hashed(f"a{number}")))
    return Memory(identifiers, {"country": Register(stamp, "NL")}, {}, facets, position)


def event(number: int) -> Event:
    return Event(
        event_id=hashed(f"m{number}"),
        source="web",
        name=("Product Viewed", "Product Added", "Page Viewed", "Order Completed")[number % 4],
        occurred_at=NOON + number * SECOND,
        received_at=NOON + number * SECOND,
        identifiers=(Identifier("anonymous_id", hashed(f"a{number % 100_000}")),),
        properties={"sku": f"S{number % 5000}", "price": 12900, "quantity": 1, "category": "jackets"},
        context={"page": {"path": "/p/1"}, "locale": "en"},
    )


def decided(number: int, customer_id: str, at: datetime) -> tuple[Decision, Delivery]:
    decision_id = hashed(f"decision{number}")
    action = Action("reminder", content="cart-reminder", journey="cart-recovery")
    refused = Verdict(action, "caps", Refusal("weekly", "2 of 2 contacts in 7 days", at))
    made = Decision(
        decision_id, customer_id, at, "marketing", f"event:{number}", action,
        considered=(Verdict(action, score=1.5), refused), facts={"cart_value": 4200, "stage": "purchase"},
        versions={"playbook": "3f2a9c1d", "policy": "9c1d3f2a"}, position=number,
    )  # fmt: skip
    row = Delivery(
        decision_id=decision_id, customer_id=customer_id, channel="email", delivers=True, purpose="marketing",
        lane="marketing", journey="cart-recovery", content="cart-reminder", state="pending", created_at=at, due_at=at,
    )  # fmt: skip
    return made, row


def measure_state(store: Store, customers: int, batch_size: int) -> None:
    random_of = random.Random(1)
    ids = [hashed(f"c{number}") for number in range(customers)]
    state = store.state
    with timed("fill: standings and checkpoints", customers):
        ranked = sorted(ids)
        for start in range(0, customers, 20_000):
            some = ranked[start : start + 20_000]
            state.commit(
                Batch(
                    standings={one: standing(start + n, NOON) for n, one in enumerate(some)},
                    checkpoints={one: memory(start + n, 1) for n, one in enumerate(some)},
                )
            )
    rounds = 40
    later = NOON + timedelta(days=1)
    touched = [random_of.sample(ids, batch_size) for _ in range(rounds)]
    batches = [Batch(standings={one: standing(n, later) for n, one in enumerate(some)}) for some in touched]
    with timed("standings", rounds * batch_size):
        for batch in batches:
            state.commit(batch)
    pairs = [
        [decided(r * batch_size + n, one, later + r * SECOND) for n, one in enumerate(some)]
        for r, some in enumerate(touched)
    ]
    batches = [Batch(decisions=[one for one, _ in some], deliveries=[row for _, row in some]) for some in pairs]
    with timed("decisions with their deliveries, rows", 2 * rounds * batch_size):
        for batch in batches:
            state.commit(batch)
    batches = [Batch(checkpoints={one: memory(n, 2) for n, one in enumerate(some)}) for some in touched[:10]]
    with timed("checkpoints", 10 * batch_size):
        for batch in batches:
            state.commit(batch)
    calm_collector()  # as whoever runs the loop does; otherwise half the time goes to looking for garbage
    wanted = [random_of.sample(ids, 1000) for _ in range(20)]
    with timed("load 1,000 random customers", 20, "ms"):
        for some in wanted:
            assert len(state.load(some)) == 1000
    with timed("due: the first 1,000", 20, "ms"):
        for _ in range(20):
            assert len(state.due(later + timedelta(days=1), 1000)) == 1000


def measure_log(store: Store, events: int) -> None:
    log = store.log
    took: list[float] = []
    with timed("append in batches of 1,000, made and stored", events):
        for start in range(0, events, 1000):
            some = [event(number) for number in range(start, start + 1000)]
            began = time.perf_counter()
            log.append(some)
            took.append(time.perf_counter() - began)
    FIGURES["append in batches of 1,000"] = round(events / sum(took))
    FIGURES["append, slowest batch, ms"] = round(max(took) * 1000, 1)
    batches = [[event(events + number) for number in range(start, start + 100)] for start in range(0, 50_000, 100)]
    with timed("append in batches of 100", 50_000):
        for some in batches:
            log.append(some)
    singles = [[event(2 * events + number)] for number in range(3000)]
    with timed("append one by one", 3000):
        for some in singles:
            log.append(some)
    again = [[event(number) for number in random.Random(2).sample(range(events), 1000)] for _ in range(5)]
    with timed("duplicates", 5000):
        assert sum(log.append(some).duplicates for some in again) == 5000
    with timed("read and decode", 200_000):
        for after in range(0, 200_000, 2000):
            assert len(log.read(after, 2000)) == 2000


def main() -> None:
    """Measure in a folder that is removed afterwards."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--customers", type=int, default=1_000_000)
    options.add_argument("--events", type=int, default=2_000_000)
    options.add_argument("--batch", type=int, default=2000)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with open_store(Path(folder)) as store:
            measure_state(store, asked.customers, asked.batch)
            measure_log(store, asked.events)
        with timed("open again", 1, "ms"), open_store(Path(folder)) as store:
            assert store.log.head() > asked.events
    print(json.dumps({"benchmark": "store", "customers": asked.customers, "events": asked.events, **FIGURES}))


if __name__ == "__main__":
    main()
