"""The shelf: what was told with an instant leaves the same stock and prices in whatever order it arrived."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wayline.domain import Event, Product
from wayline.observation.catalog import Shelf

START = datetime(2024, 11, 1, tzinfo=UTC)
SKUS = ["A1", "A2", "B1", "B2", "B3"]


def event(place: int, name: str, hours: int, /, **properties: Any) -> Event:
    at = START + timedelta(hours=hours)
    return Event(
        event_id=str(place), source="s", name=name, properties=properties,
        occurred_at=at, received_at=START + timedelta(days=9),
    )  # fmt: skip


tellings = st.lists(
    st.tuples(st.sampled_from(["Inventory Changed", "Price Changed"]), st.sampled_from(SKUS[:2]), st.integers(0, 2),
              st.integers(0, 5)),
    max_size=20,
)  # fmt: skip
orders = st.lists(st.tuples(st.integers(0, 6), st.lists(st.sampled_from(SKUS), max_size=4)), max_size=20)


@settings(max_examples=100, deadline=None)
@given(tellings, st.randoms(use_true_random=False))
def test_any_order_leaves_the_same_shelf(told: list[tuple[str, str, int, int]], luck: Any) -> None:
    log = [
        event(place, name, hours, sku=sku, **{"price" if name == "Price Changed" else "available": amount})
        for place, (name, sku, hours, amount) in enumerate(told)
    ]
    shuffled = log + log[:3]
    luck.shuffle(shuffled)
    one, other = Shelf(), Shelf()
    for each in log:
        one.take(each)
    for each in shuffled:
        other.take(each)
    assert {product.sku: product for product in one.products()} == {
        product.sku: product for product in other.products()
    }


by_store = st.lists(
    st.tuples(st.sampled_from(["Inventory Changed", "Product Changed", "Price Changed"]), st.sampled_from(SKUS[:2]),
              st.sampled_from(["", "kiel", "north", "south"]), st.integers(0, 2), st.integers(0, 4)),
    max_size=20,
)  # fmt: skip


def said(name: str, store: str, amount: int) -> dict[str, Any]:
    """What such an event says: stock of a place, a price, or all that a catalogue does."""
    if name == "Price Changed":
        return {"price": amount}
    if name == "Inventory Changed":
        return {"available": amount, "store_id": store}
    return {"name": f"name {amount}", "price": amount, "available": amount, "attributes": {"fit": f"fit {amount}"}}


@settings(max_examples=200, deadline=None)
@given(by_store, st.randoms(use_true_random=False), st.sampled_from([(), ("north",), ("north", "south")]))
def test_any_order_leaves_the_same_stock_by_store_and_the_same_words(
    told: list[tuple[str, str, str, int, int]], luck: Any, web: tuple[str, ...]
) -> None:
    log = [
        event(place, name, hours, sku=sku, **said(name, store, amount))
        for place, (name, sku, store, hours, amount) in enumerate(told)
    ]
    shuffled = log + log[:3]
    luck.shuffle(shuffled)
    one, other = Shelf(web_locations=web), Shelf(web_locations=web)
    for each in log:
        one.take(each)
    for each in shuffled:
        other.take(each)
    assert {product.sku: product for product in one.products()} == {
        product.sku: product for product in other.products()
    }


@settings(max_examples=100, deadline=None)
@given(tellings)
def test_a_topic_is_told_exactly_when_its_fact_changed(told: list[tuple[str, str, int, int]]) -> None:
    shelf = Shelf()
    for place, (name, sku, hours, amount) in enumerate(told):
        before = shelf.product(sku) or Product(sku=sku)
        telling = event(place, name, hours, sku=sku, **{"price" if name == "Price Changed" else "available": amount})
        topics = {topic for change in shelf.take(telling) for topic in change.topics}
        after = shelf.product(sku) or Product(sku=sku)
        changed = {f"stock:{sku}"} if after.available != before.available else set()
        changed |= {f"price:{sku}"} if after.price != before.price else set()
        assert topics == changed


@settings(max_examples=100, deadline=None)
@given(orders, st.lists(st.sampled_from(SKUS), max_size=3))
def test_rankings_kept_up_are_rankings_counted_afresh(sold: list[tuple[int, list[str]]], asked: list[str]) -> None:
    shelf = Shelf(Product(sku=sku, category=sku[0]) for sku in SKUS)
    units = dict.fromkeys(SKUS, 0)
    seen: set[int] = set()
    for place, (order_id, skus) in enumerate(sold):
        shelf.popular("A", 1)
        lines = [{"sku": sku, "quantity": 2} for sku in skus]
        shelf.take(event(place, "Order Completed", place, order_id=str(order_id), products=lines))
        for sku in skus if order_id not in seen else ():
            units[sku] += 2
        seen.add(order_id)
    ranked = sorted(SKUS, key=lambda sku: (-units[sku], sku))
    assert list(shelf.popular("", 10)) == ranked
    assert list(shelf.popular("B", 2)) == [sku for sku in ranked if sku[0] == "B"][:2]
    categories = {sku[0] for sku in asked}
    assert list(shelf.related(asked, 3)) == [sku for sku in ranked if sku[0] in categories and sku not in asked][:3]
