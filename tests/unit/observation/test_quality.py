"""What an event breaks of what was agreed, and what two systems say against each other."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.shop import NOON

from wayline.domain import Event, Identifier, Signal
from wayline.observation.quality import CONTRACT, Watch, agreed, broken, counts_for_shelf

ANNA = (Identifier("user_id", "anna"),)
DAY = timedelta(days=1)


def happens(name: str, after: timedelta = timedelta(0), **properties: Any) -> Event:
    source = properties.pop("source", "web")
    notes = properties.pop("notes", ())
    at = NOON + after
    return Event(
        event_id=f"{name}{after}{source}", source=source, name=name, occurred_at=at, received_at=at,
        identifiers=properties.pop("identifiers", ANNA), properties=properties, notes=notes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"order_id": "1", "products": [{"sku": "a"}], "currency": "EUR"}, []),
        ({"order_id": "", "products": [{"sku": "a"}], "currency": "EUR"}, ["it lacks order_id"]),
        ({"order_id": "1", "products": [{"sku": "a"}, {}], "currency": "EUR"}, ["it lacks products[].sku"]),
        ({"order_id": "1", "products": [], "currency": "EUR"}, ["it lacks products[].sku"]),
        ({"order_id": "1", "products": "a", "currency": "EUR"}, ["it lacks products[].sku"]),
        ({"order_id": "1", "products": [{"sku": "a"}], "currency": "USD"}, ["currency is 'USD', not 'EUR' or 'CHF'"]),
        ({}, ["it lacks order_id", "it lacks products[].sku"]),
    ],
)
def test_what_is_agreed_is_looked_at_path_by_path(properties: dict[str, Any], expected: list[str]) -> None:
    signal = Signal(
        name="Order Completed", requires=("order_id", "products[].sku"), values={"currency": ("EUR", "CHF")}
    )
    event = happens("Order Completed", **properties)
    assert broken(event, signal) == expected
    assert agreed(event, {"Order Completed": signal}).notes == tuple(CONTRACT + each for each in expected)
    assert agreed(event, {}) is event


def test_only_named_sources_move_the_shelf() -> None:
    signals = {"Inventory Changed": Signal(name="Inventory Changed", truth=("till", "shop"))}
    assert counts_for_shelf(happens("Inventory Changed", source="shop"), signals)
    assert not counts_for_shelf(happens("Inventory Changed", source="web"), signals)
    assert counts_for_shelf(happens("Price Changed", source="web"), signals)


def watched(*events: Event, now: timedelta = 3 * DAY, **signals: Signal) -> dict[str, int]:
    watch = Watch({name.replace("_", " "): signal for name, signal in signals.items()})
    watch.look(events)
    watch.finish(NOON + now)
    assert {each.kind for each in watch.told} == {kind for kind, count in watch.counts.items() if count}
    return {kind: count for kind, count in watch.counts.items() if count}


def order(source: str, revenue: int, *, order_id: str = "7", after: timedelta = timedelta(0), **more: Any) -> Event:
    return happens("Order Completed", after, source=source, order_id=order_id, revenue=revenue, **more)


def test_one_order_with_two_amounts() -> None:
    assert watched(order("web", 4_999), order("shop", 5_999)) == {"amounts": 1}
    assert watched(order("web", 4_999), order("shop", 5_000)) == {}  # rounding
    assert watched(order("web", 4_999), order("web", 5_999)) == {}  # one system that corrects itself


def test_an_order_only_the_browser_knows() -> None:
    said = order("web", 4_999, notes=("unverified",))
    known = order("shop", 4_999, order_id="8")
    assert watched(said, known) == {"only the browser": 1}
    assert watched(said, known, now=timedelta(hours=2)) == {}, "the shop may still tell of it"
    assert watched(said) == {}, "nobody else tells of orders at all: that is the signal's doubt, not the order's"
    assert watched(said, known, order("shop", 4_999)) == {}


def test_sold_though_none_was_left() -> None:
    gone = happens("Inventory Changed", sku="a", available=0)
    there = happens("Inventory Changed", timedelta(minutes=1), sku="a", available=3)
    bought = order("shop", 100, after=timedelta(hours=1), products=[{"sku": "a"}])
    assert watched(gone, bought) == {"sold out": 1}
    assert watched(gone, there, bought) == {}
    assert watched(happens("Inventory Changed", sku="a", available=0, store_id="s1"), bought) == {}


def test_ready_for_pickup_though_the_store_had_none() -> None:
    gone = happens("Inventory Changed", sku="a", available=0, store_id="s1")
    ready = happens("Pickup Ready", 2 * DAY, order_id="7", store_id="s1", products=[{"sku": "a"}])
    assert watched(gone, ready) == {"pickup": 1}
    assert watched(order("shop", 1, after=-DAY), gone, ready) == {}, "what was set aside for it is no longer for sale"


def test_bought_at_the_till_and_still_in_the_cart() -> None:
    till = happens("Store Purchase", source="till", order_id="r1", products=[{"sku": "a"}])
    cart = happens("Cart Viewed", timedelta(hours=1), products=[{"sku": "a"}])
    assert watched(till, cart) == {"cart": 1}
    assert watched(till, happens("Cart Viewed", timedelta(hours=1), products=[{"sku": "b"}])) == {}
    other = happens(
        "Cart Viewed", timedelta(hours=1), products=[{"sku": "a"}], identifiers=(Identifier("user_id", "b"),)
    )
    assert watched(till, other) == {}


def test_what_goes_on_without_ever_having_begun() -> None:
    first = order("shop", 1, order_id="1")
    assert watched(first, happens("Order Shipped", 31 * DAY, order_id="9")) == {"unknown order": 1}
    assert watched(first, happens("Order Shipped", DAY, order_id="9")) == {}, "it may have begun before the watch did"
    assert watched(first, happens("Order Shipped", 31 * DAY, order_id="1")) == {}
    assert watched(first, happens("Ticket Closed", 31 * DAY, ticket_id="9")) == {"unknown ticket": 1}


def test_many_of_one_kind_are_counted_and_few_are_told() -> None:
    watch = Watch()
    watch.look(
        each for n in range(20) for each in (order("web", 1, order_id=str(n)), order("shop", 99, order_id=str(n)))
    )
    assert watch.counts["amounts"] == 20
    assert len(watch.told) == 5
