"""The simulated shop played through the real engine, as two parties that only exchange events and messages.

The *street* is the shop with its collector: it acts an hour, and its events are in the log. The *engine* folds that
hour, decides, hands over, and tells the street what was sent or withheld. While the engine works on one hour the
street already acts the next, so people react to a message in the second hour after it left at the earliest; on disk
the two are two processes, which is what a second collector would be. In memory they take turns in one process, with
the same lag, and so the same seed gives the same report.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from multiprocessing.connection import Connection
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from wayline.channels import Channel
from wayline.channels.dryrun import DryRun
from wayline.domain import Ask, Decision, Event, Playbook, Product, Receipt
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.embedded import Embedded, Limits
from wayline.runtime.schedules import Schedules
from wayline.runtime.shop_rates import START
from wayline.runtime.shop_twins import Handed, Truth
from wayline.runtime.simulator import Shop
from wayline.store import Batch, Delivery
from wayline.store.opening import Store, open_store

__all__ = ["Day", "Demo", "Played", "play"]

HOUR = timedelta(hours=1)
AHEAD = 2  # hours the street may act before it must have heard what was sent
PAGES = frozenset({"Page Viewed", "Product Viewed", "Cart Viewed", "Checkout Started", "Checkout Step Viewed"})


class Demo(Struct, frozen=True, kw_only=True):
    """How large a season to play, and where to keep it; no folder means in memory."""

    customers: int = 25_000
    days: int = 90
    seed: int = 7
    folder: Path | None = None


class Day(Struct, kw_only=True):
    """One day as it ticks by."""

    date: datetime
    occasion: str
    events: int
    counts: Mapping[str, int]
    """`decided`, `sent`, `withheld`, `held`, ... of that day."""


class Played(Struct, kw_only=True):
    """A season that was played: how much there was, and what the shop alone knows."""

    events: int
    messages: int
    truth: Mapping[str, Truth]
    until: datetime
    orders: int
    margin: int


class _Acted(Struct, frozen=True):
    """What the street says of an hour it has acted."""

    head: int
    occasion: str
    rejected: int


class _Street(Protocol):
    """The shop and its collector, wherever they run."""

    def opened(self) -> tuple[int, list[Product]]:
        """The head of the log with the imported history in it, and the shelf."""
        ...

    def tell(self, handed: Sequence[Handed], internal: Sequence[Event]) -> None:
        """What was sent or withheld in an hour, and the engine's own events for the log."""
        ...

    def acted(self) -> _Acted:
        """The next hour, acted."""
        ...

    def closed(self) -> tuple[Mapping[str, Truth], int, int]:
        """The truth, all orders, and all margin."""
        ...


class _Here:
    """The street in this process."""

    def __init__(self, demo: Demo, store: Store) -> None:
        self.shop = Shop(demo.seed, demo.customers, demo.days)
        self.log = store.log
        self.collector = Collector(store.log, store.vault)
        self.now = START
        self.told: list[tuple[Sequence[Handed], Sequence[Event]]] = []

    def opened(self) -> tuple[int, list[Product]]:
        self._collect(self.shop.history().messages, fires=False)
        return self.log.head(), self.shop.catalogue()

    def tell(self, handed: Sequence[Handed], internal: Sequence[Event]) -> None:
        self.told.append((handed, internal))

    def acted(self) -> _Acted:
        handed, internal = self.told.pop(0)
        hour = self.shop.hour(self.now, handed)
        if internal:
            self.log.append(internal)
        rejected = self._collect(hour.messages)
        self.now += HOUR
        return _Acted(self.log.head(), hour.occasion, rejected)

    def _collect(self, messages: Sequence[dict[str, Any]], *, fires: bool = True) -> int:
        """Each sender's messages as requests of their own, in order of arrival, in one commit."""
        requests = [
            Delivered(tuple(items), source, datetime.fromisoformat(received_at), fires=fires)
            for (source, received_at), items in groupby(messages, key=itemgetter("source", "receivedAt"))
        ]
        return len(self.collector.collect(*requests).rejected) if requests else 0

    def closed(self) -> tuple[Mapping[str, Truth], int, int]:
        return self.shop.truth(), self.shop.orders, self.shop.margin


class _There:
    """The street in a process of its own."""

    def __init__(self, demo: Demo) -> None:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_act, args=(theirs, demo), name="wayline-street", daemon=True)
        self.process.start()
        theirs.close()
        self.pipe = ours

    def opened(self) -> tuple[int, list[Product]]:
        head, shelf = self.pipe.recv()
        return head, shelf

    def tell(self, handed: Sequence[Handed], internal: Sequence[Event]) -> None:
        self.pipe.send((handed, internal))

    def acted(self) -> _Acted:
        acted: _Acted = self.pipe.recv()
        return acted

    def closed(self) -> tuple[Mapping[str, Truth], int, int]:
        self.pipe.send(None)
        truth: tuple[Mapping[str, Truth], int, int] = self.pipe.recv()
        self.process.join()
        return truth
