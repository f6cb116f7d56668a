"""A whole engine in a process that will be killed: takes events in, says what it acknowledged, decides, delivers.

    python -m tests.simulation.victim FOLDER EVENTS

Each line it prints is a promise: `ack N` when events up to N are on disk. Every call of the channel is a line in
FOLDER/calls, written before the channel answers, as a provider would count it.
"""

from __future__ import annotations

import os
import random
import sys
from datetime import datetime, timedelta
from pathlib import Path

from msgspec.structs import replace
from tests.shop import ANN, NOON, apparel, happened, person, product

from wayline.channels import Promise
from wayline.domain import Event, Message, Product, Receipt
from wayline.runtime.embedded import Embedded, Limits
from wayline.store.opening import Store, open_store

__all__ = ["PEOPLE", "Ledger", "event_number", "in_stock", "moment_of", "opened", "stocked"]

PEOPLE = [ANN, *(person(f"p{number}") for number in range(29))]
STEP = timedelta(minutes=7)


def moment_of(number: int) -> datetime:
    """When event `number` happens: the clock of the whole run."""
    return NOON + number * STEP


def event_number(number: int) -> Event:
    """The same event for the same number, in every process."""
    luck = random.Random(number)
    who = PEOPLE[number % 30]
    at = moment_of(number)
    jacket = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}
    order = {"order_id": f"o{number}", "revenue": 16900, "products": [jacket]}
    if number < 30:
        name, properties = "Consent Granted", {"channel": "email", "purpose": "marketing"}
    else:
        name, properties = luck.choice(
            [
                ("Product Viewed", jacket), ("Product Added", jacket), ("Checkout Step Viewed", {"step": 2}),
                ("Checkout Step Viewed", {"step": 2}), ("Order Completed", order), ("Newsletter Due", {}),
                ("Email Link Clicked", {"email_id": "m"}), ("Ticket Opened", {"ticket_id": f"t{number}"}),
                ("Cart Emptied", {}),
            ]
        )  # fmt: skip
    return happened(name, who, at=at, received_at=at, event_id=f"n{number}", **properties)


class Ledger:
    """A provider that forgets nothing and cannot take a call back."""

    promise: Promise = "unrepeatable"

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path

    def deliver(self, message: Message, key: str) -> Receipt:
        with self.path.open("a") as calls:
            calls.write(f"{key} {message.purpose}\n")
        return Receipt("sent", NOON)

    def close(self) -> None:
        return None


def in_stock(now: datetime) -> Product:
    """The jacket, there and counted just now."""
    return replace(product("jacket", 16900), stock_as_of=now, price_as_of=now)


def stocked(store: Store) -> None:
    """Somebody to write to, and something to show."""
    for who in PEOPLE:
        for one in who:
            store.vault.put({f"{one.kind}:{one.value}": {"email": f"{one.value}@example.com", "first_name": "Kim"}})


def opened(folder: Path, store: Store, now: datetime) -> Embedded:
    """The engine on this folder, as after any start."""
    channels = {name: Ledger(name, folder / "calls") for name in ("email", "sms", "push")}
    limits = Limits(events_max=20, checkpoint_every=60)
    engine = Embedded(store.log, store.state, store.vault, apparel(), channels, limits=limits)
    engine.outbox.recover(now)
    return engine


def main(folder: Path, count: int) -> None:
    with open_store(folder / "kept") as store:
        if store.log.head() == 0:
            stocked(store)
        # Whoever was cut off in the middle sends again what may not have been acknowledged.
        number = max(0, store.log.head() - 3)
        engine = opened(folder, store, moment_of(number))
        while number < count:
            last = min(number + 10, count)
            now = moment_of(last)
            head = store.log.append([event_number(one) for one in range(number, last)]).head
            print(f"ack {head}", flush=True)
            engine.stock([in_stock(now)], now)
            engine.drain(now)
            number = last
        for day in range(1, 5):
            engine.drain(moment_of(count) + timedelta(days=day))
        engine.checkpoint()
    print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)
