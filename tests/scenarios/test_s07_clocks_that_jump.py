"""S7: clocks that are wrong, and clocks that jump under a running engine: nobody hears twice, and nobody is flooded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.test_serving import waited
from tests.laws.test_turns import is_the_fold_of_the_log, with_control
from tests.shop import NOON, Shop, apparel, happened, person

from wayline.domain import Event
from wayline.observation import events as reading
from wayline.runtime import service
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.service import Keeper, Pace, Running
from wayline.store.opening import open_store

JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}
PEOPLE = [person(f"p{number}") for number in range(20)]
LATE = person("late")


class Wall:
    """A wall clock somebody sets."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def __call__(self) -> datetime:
        return self._shop.now

    def jumps(self, **by: float) -> None:
        self._shop.now += timedelta(**by)


class Loop:
    """The engine's own thread on a real folder, at a clock that is set by hand."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.wall = Wall(shop)
        pace = Pace(look_max=0.01, look_min=0.005, gather=0.0)
        self.keeper = Keeper(shop.store, shop.playbook, shop.channels, pace=pace)
        self.running = Running(self.keeper, clock=self.wall)

    def settles(self) -> None:
        """Return once all that can be done at this instant is done."""
        done: list[Any] = []

        def is_quiet() -> bool:
            health = self.keeper.health
            assert health.state in ("starting", "running"), health
            seen = (self.shop.store.log.head(), health.position, len(list(self.shop.store.state.deliveries())))
            done.append((*seen, self.shop.sent()) if seen[0] == seen[1] else None)
            return len(done) > 4 and done[-1] is not None and done[-1] == done[-2] == done[-3] == done[-4]

        waited(is_quiet, 60)

    def passes(self, **duration: float) -> None:
        """Time passes as it should, a quarter of an hour at a time."""
        until = self.shop.now + timedelta(**duration)
        while self.shop.now < until:
            self.shop.now = min(self.shop.now + timedelta(minutes=15), until)
            self.settles()

    def tell(self, *events: Event) -> None:
        self.shop.store.log.append([self.shop._dated(event) for event in events])
        self.running.told()
        self.settles()

    def marketing(self) -> Counter[str]:
        """How often each shopper was written to unasked."""
        return Counter(
            row.customer_id for row in self.shop.deliveries() if row.state == "sent" and row.lane == "marketing"
        )


@contextmanager
def looping(folder: Path) -> Iterator[Loop]:
    with open_store(folder) as store:
        shop = Shop(with_control(apparel(), 0.0), store=store)
        for who in (*PEOPLE, LATE):
            shop.consent(who, days_ago=2)
        loop = Loop(shop)
        loop.running.start()
        try:
            loop.settles()
            yield loop
        finally:
            assert loop.running.stop()
        assert store.state.set_asides() == []
        shop.restart()
        is_the_fold_of_the_log(shop)


def carts(*people: Any) -> list[Event]:
    return [
        happened(name, who, **said)
        for who in people
        for name, said in (("Product Added", JACKET), ("Checkout Step Viewed", {"step": 2}))
    ]


def counted(at: datetime) -> Event:
    """The jacket is still there then: it is not for want of it that nothing is sent."""
    shelf = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "available": 5, "quantity": 5}
    return happened("Inventory Changed", (), at=at, received_at=at, source="server", **shelf)


def test_s07_left_alone_everybody_is_reminded_once(tmp_path: Path) -> None:
    """What the jumps below are compared with: without one, the same carts are twenty reminders."""
    with looping(tmp_path) as loop:
        loop.tell(*carts(*PEOPLE))
        loop.passes(hours=3)
        assert loop.marketing().total() == len(PEOPLE) == len(loop.marketing())


def test_s07_a_jump_of_forty_days_floods_nobody(tmp_path: Path) -> None:
    with looping(tmp_path) as loop:
        loop.tell(*carts(*PEOPLE))
        assert loop.marketing().total() == 0
        loop.tell(counted(loop.shop.now + timedelta(days=40)))
        loop.wall.jumps(days=40)
        loop.settles()
        loop.passes(hours=6)
        # Forty days of reminders, newsletters and second thoughts have come due at once.
        assert max(loop.marketing().values(), default=0) <= 1
        assert loop.marketing().total() <= 2, "what nobody waited for any more was sent all the same"
        loop.tell(*carts(LATE))
        loop.passes(hours=3)
        assert [row for row in loop.shop.sent() if row[1].startswith("cart")], "whoever comes now is served as ever"


def test_s07_a_clock_set_back_by_two_hours_repeats_nothing(tmp_path: Path) -> None:
    with looping(tmp_path) as loop:
        loop.tell(*carts(*PEOPLE))
        loop.passes(hours=2)
        reminded = loop.marketing()
        assert reminded.total() == len(PEOPLE)
        loop.wall.jumps(hours=-2)
        loop.settles()
        loop.tell(*carts(LATE))
        loop.passes(hours=3, minutes=30)  # time stands still for the first two of them
        assert loop.marketing() - reminded == Counter({loop.shop.customer(LATE).customer_id: 1})
        assert max(loop.marketing().values()) == 1, "somebody heard twice"


def forty_days_ahead_for_a_while(folder: Path) -> None:
    with looping(folder) as loop:
        loop.tell(*carts(*PEOPLE))
        loop.passes(hours=2)
        reminded = loop.marketing()
        assert reminded.total() == len(PEOPLE)
        loop.wall.jumps(days=40)
        loop.settles()
        ahead = loop.marketing()
        loop.wall.jumps(days=-40)
        loop.settles()
        loop.tell(*carts(LATE))
        loop.passes(hours=3)
        assert loop.marketing() - ahead == Counter({loop.shop.customer(LATE).customer_id: 1}), "and nobody else"


def test_s07_a_clock_that_was_forty_days_ahead_for_a_while_stops_nothing(tmp_path: Path) -> None:
    forty_days_ahead_for_a_while(tmp_path)


def test_s07_an_engine_whose_time_stands_still_for_weeks_fails_the_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_BACK_MAX", timedelta(days=365))
    with pytest.raises(AssertionError):
        forty_days_ahead_for_a_while(tmp_path)


# ------------------------------------------------------------------ what others' clocks say


def collected(*items: dict[str, Any], fires: bool = True, sent_at: datetime | None = None) -> Shop:
    shop = Shop(with_control(apparel(), 0.0))
    shop.consent(PEOPLE[0], days_ago=2)
    collector = Collector(shop.store.log, shop.store.vault)
    collector.collect(Delivered(items, "server", shop.now, sent_at, fires=fires))
    shop.engine.drain(shop.now)
    return shop


def viewed(event_id: str, at: datetime, **more: Any) -> dict[str, Any]:
    return {
        "type": "track", "event": "Product Viewed", "messageId": event_id, "userId": "customer-of-the-shop",
        "timestamp": at.isoformat(), **more,
    }  # fmt: skip


def skewed() -> None:
    days = timedelta(days=3)
    told = [
        viewed(f"{name}-{minutes}", NOON + skew - timedelta(minutes=minutes))
        for name, skew in (("ahead", days), ("behind", -days))
        for minutes in (0, 40)
    ]
    for name, skew in (("ahead", days), ("behind", -days)):
        shop = collected(*(item for item in told if item["messageId"].startswith(name)), sent_at=NOON + skew)
        seen = {event.event_id: event for event in shop.store.log.named(("Product Viewed",))}
        assert seen[f"{name}-0"].occurred_at == NOON
        assert seen[f"{name}-40"].occurred_at == NOON - timedelta(minutes=40)
        assert not any(event.notes for event in seen.values())


def test_s07_a_client_three_days_off_is_dated_by_our_clock() -> None:
    skewed()


def test_s07_without_correction_the_scenario_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def believed(raw: Any, received_at: datetime, sent_at: datetime | None, noted: Any) -> datetime:
        return datetime.fromisoformat(raw["timestamp"])

    monkeypatch.setattr(reading, "_occurred_at", believed)
    with pytest.raises(AssertionError):
        skewed()


@pytest.mark.parametrize("ahead", [timedelta(minutes=5, seconds=1), timedelta(days=3), timedelta(days=4000)])
def test_s07_a_future_that_no_clock_explains_is_clamped_and_marked(ahead: timedelta) -> None:
    shop = collected(viewed("soon", NOON + timedelta(minutes=4)), viewed("future", NOON + ahead), sent_at=NOON)
    soon, future = shop.store.log.named(("Product Viewed",))
    assert soon.occurred_at == NOON + timedelta(minutes=4) and not soon.notes
    assert future.occurred_at == NOON and "clamped" in future.notes[0]


def an_import_starts_nothing(imported: Callable[..., Shop]) -> None:
    """Two orders of long ago and a checkout of half an hour ago, told by an import."""
    who = {"userId": "customer-of-the-shop"}
    traits = {"email": "kim@shop.example", "language": "en"}
    told = [
        {"type": "identify", "messageId": "i", "timestamp": "2019-03-01T12:00:00Z", "traits": traits, **who},
        *(
            {"type": "track", "event": "Order Completed", "messageId": f"o{year}",
             "timestamp": f"{year}-03-01T12:00:00Z",
             "properties": {"order_id": f"o{year}", "revenue": 169.0, "products": []}, **who} for year in (2019, 2021)
        ),
        {"type": "track", "event": "Order Completed", "messageId": "today",
         "timestamp": (NOON - timedelta(minutes=30)).isoformat(),
         "properties": {"order_id": "today", "revenue": 169.0, "products": []}, **who},
    ]  # fmt: skip
    shop = imported(*told, fires=False)
    years = [event.occurred_at.year for event in shop.store.log.named(("Order Completed",))]
    assert sorted(years) == [2019, 2021, 2025]
    shop.after(days=3)
    assert not [row for row in shop.sent() if row[1].startswith("order")], "an import wrote to somebody"

    asked = imported(*told, fires=True)
    asked.after(days=3)
    confirmed = [row for row in asked.deliveries() if row.content == "order-confirmation" and row.state == "sent"]
    assert len(confirmed) == 1, "asked to, it starts what is recent, and not what is years old"


def test_s07_imports_keep_their_times_and_start_nothing_unless_asked() -> None:
    an_import_starts_nothing(collected)


def test_s07_an_import_that_fires_fails_the_scenario() -> None:
    def firing(*items: dict[str, Any], fires: bool) -> Shop:
        return collected(*items, fires=True)

    with pytest.raises(AssertionError, match="wrote to somebody"):
        an_import_starts_nothing(firing)
