"""Facets one by one, as a shop would put it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from wayline.conditions import parse
from wayline.domain import Event, Facet
from wayline.errors import AuthorError
from wayline.interpretation.estimates import READS, RULES
from wayline.interpretation.facets import fingerprint, fold, merge, read, sql, touches
from wayline.interpretation.paths import ELEMENTS_MAX, TEXT_MAX
from wayline.interpretation.readings import READINGS, state_key

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

CART = Facet(
    name="cart", kind="ledger", events=("Product Added",), removes=("Product Removed",),
    resets=("Order Completed", "Store Purchase", "Cart Emptied"), key="sku", fields=("sku", "quantity", "price"),
)  # fmt: skip
ORDERS = Facet(
    name="orders", kind="latest_per_key", events=("Order Completed", "Order Shipped", "Order Cancelled"),
    priority=("Order Cancelled", "Order Shipped", "Order Completed"), key="order_id", fields=("$name", "revenue"),
)  # fmt: skip


def happened(name: str, at: datetime = NOON, event_id: str = "", source: str = "web", **properties: Any) -> Event:
    event_id = event_id or f"{name}-{at.isoformat()}-{sorted(properties.items(), key=str)}"
    return Event(
        event_id=event_id, source=source, name=name, occurred_at=at, received_at=at, properties=properties
    )  # fmt: skip


def remembered(*events: Event, facets: tuple[Facet, ...]) -> Mapping[str, Any]:
    states: Mapping[str, Any] = {}
    for event in events:
        states = fold(states, event, facets)
    return states


def derived(of: Facet, reading: str, **more: Any) -> Facet:
    return Facet(name="derived", kind="derived", of=of.name, read=reading, **more)


def says(facet: Facet, *events: Event, of: Facet | None = None, now: datetime = NOON) -> Any:
    kept = of or facet
    return read(remembered(*events, facets=(kept,)), facet, {kept.name: kept, facet.name: facet}, now)


# ------------------------------------------------------------------ the cart


def test_a_cart_is_what_was_put_in_less_what_was_taken_out() -> None:
    events = [
        happened("Product Added", NOON - 5 * HOUR, sku="jacket", quantity=2, price=10000),
        happened("Product Added", NOON - 4 * HOUR, sku="wax", price=900),
        happened("Product Removed", NOON - 3 * HOUR, sku="jacket", quantity=1),
    ]
    assert says(derived(CART, "amount"), *events, of=CART) == 10900
    assert says(derived(CART, "sum", value="quantity"), *events, of=CART) == 2
    assert [row["sku"] for row in says(CART, *events)] == ["wax", "jacket"]


def test_a_removal_without_a_quantity_takes_all_out() -> None:
    added = happened("Product Added", NOON - HOUR, sku="jacket", quantity=3, price=10000)
    assert says(CART, added, happened("Product Removed", sku="jacket")) == []


def test_a_till_purchase_empties_the_open_web_cart() -> None:
    added = happened("Product Added", NOON - HOUR, sku="jacket", price=10000)
    assert says(CART, added, happened("Store Purchase")) == []


def test_what_was_put_in_before_the_purchase_stays_out_even_if_we_hear_of_it_late() -> None:
    late = happened("Product Added", NOON - HOUR, sku="jacket", price=10000)
    assert says(CART, happened("Order Completed"), late) == []


def test_a_removal_heard_before_its_addition_still_removes() -> None:
    removed = happened("Product Removed", NOON, sku="jacket")
    assert says(CART, removed, happened("Product Added", NOON - HOUR, sku="jacket", price=1)) == []


def test_a_price_that_is_missing_makes_the_value_unknown_and_not_smaller() -> None:
    assert (
        says(
            derived(CART, "amount"),
            happened("Product Added", sku="a", price=5),
            happened("Product Added", sku="b"),
            of=CART,
        )
        is None
    )
    assert says(derived(CART, "amount"), of=CART) == 0


# ------------------------------------------------------------------ orders


def test_a_tag_and_a_webhook_that_report_one_order_count_once() -> None:
    tag = happened("Order Completed", order_id=1001, revenue=5000)
    webhook = happened("Order Completed", NOON + HOUR, source="shopify", order_id="1001", revenue=5200)
    assert says(derived(ORDERS, "sum", value="revenue"), tag, webhook, of=ORDERS) == 5200
    assert says(derived(ORDERS, "count"), webhook, tag, of=ORDERS) == 1


def test_an_order_is_as_far_as_its_most_trusted_event_and_keeps_what_the_others_told() -> None:
    completed = happened("Order Completed", NOON - 3 * DAY, order_id="1", revenue=5000)
    shipped = happened("Order Shipped", NOON - DAY, order_id="1")
    (row,) = says(ORDERS, shipped, completed)
    told = {"event": "Order Shipped", "revenue": 5000, "key": "1"}
    assert row == {**told, "at": completed.occurred_at, "updated_at": shipped.occurred_at}


def test_a_cancelled_order_is_not_spent() -> None:
    spent = derived(ORDERS, "sum", value="revenue", where=parse("event <> 'Order Cancelled'"))
    first, second = (happened("Order Completed", NOON - n * DAY, order_id=str(n), revenue=100 * n) for n in (1, 2))
    assert says(spent, first, second, happened("Order Cancelled", order_id="2"), of=ORDERS) == 100


def test_the_gap_is_between_orders_and_not_between_what_happened_to_them() -> None:
    orders = [happened("Order Completed", NOON - n * DAY, order_id=str(n)) for n in (0, 10, 40)]
    shipped = happened("Order Shipped", NOON - 5 * DAY, order_id="10")
    assert says(derived(ORDERS, "gap"), *orders, shipped, of=ORDERS) == 20 * DAY
    assert says(derived(ORDERS, "gap"), orders[0], of=ORDERS) is None


def test_a_key_that_names_nothing_is_passed_over() -> None:
    for odd in (None, "", True, 1.5, ["a"]):
        assert says(ORDERS, happened("Order Completed", order_id=odd)) == []


# ------------------------------------------------------------------ counts, windows, visits


def test_a_window_forgets_by_itself() -> None:
    clicks = Facet(name="clicks", kind="count", events=("Email Link Clicked",), window=7 * DAY, tile=DAY)
    seen = [happened("Email Link Clicked", NOON - n * DAY) for n in range(10)]
    assert says(clicks, *seen) == 7
    assert says(clicks, *seen, now=NOON + 3 * DAY) == 4
    assert says(clicks, *seen, now=NOON + 30 * DAY) == 0


def test_activity_with_a_pause_of_more_than_half_an_hour_is_two_visits() -> None:
    seen = Facet(name="seen", kind="recent", events=("Page Viewed",))
    minutes = [0, 10, 39, 70, 71]
    events = [happened("Page Viewed", NOON - timedelta(minutes=minute)) for minute in minutes]
    assert says(derived(seen, "visits"), *events, of=seen) == 2


def test_a_sum_adds_whole_numbers_and_nothing_else() -> None:
    spent = Facet(name="spent", kind="sum", events=("Order Completed",), value="products[].price")
    products = [{"price": 100}, {"price": 2.5}, {"price": "7"}, {"price": True}, {"price": 50.0}, {}]
    assert says(spent, happened("Order Completed", products=products)) == 150


def test_one_event_without_a_list_is_its_own_list() -> None:
    skus = Facet(name="skus", kind="count", events=("Viewed",), value="products[].sku")
    assert says(skus, happened("Viewed", sku="a"), happened("Viewed", products=[{"sku": "b"}, {"sku": "c"}])) == 3


def test_a_condition_lets_only_what_is_certainly_true_count() -> None:
    big = Facet(name="big", kind="count", events=("Order Completed",), where=parse("revenue > 100"))
    assert says(big, *(happened("Order Completed", revenue=r) for r in (50, 150, None, "200"))) == 1


# ------------------------------------------------------------------ bounds and shapes


def test_whatever_a_sender_sends_little_of_it_is_kept() -> None:
    viewed = Facet(name="viewed", kind="recent", events=("Viewed",), fields=("products[].sku",), size_max=200)
    states = remembered(
        happened("Viewed", products=[{"sku": f"{n}" + "x" * 1000} for n in range(1000)]), facets=(viewed,)
    )
    assert len(states[state_key(viewed)]) == ELEMENTS_MAX
    assert {len(row[4]) for row in states[state_key(viewed)]} == {TEXT_MAX}


def test_folding_what_touches_nothing_gives_the_same_mapping() -> None:
    states = remembered(happened("Product Added", sku="a"), facets=(CART,))
    assert fold(states, happened("Page Viewed"), (CART,)) is states
    assert not touches(CART, "Page Viewed")
    assert touches(CART, "Store Purchase")


def test_a_merge_drops_what_is_no_longer_declared() -> None:
    states = remembered(happened("Product Added", sku="a"), facets=(CART,))
    assert merge(states, {}, (ORDERS,)) == {}


def test_a_declaration_that_changes_shape_never_reads_the_old_state() -> None:
    before = Facet(name="viewed", kind="recent", events=("Viewed",), fields=("sku",))
    after = Facet(name="viewed", kind="recent", events=("Viewed",), fields=("price", "sku"))
    states = remembered(happened("Viewed", sku="a", price=1), facets=(before,))
    assert read(states, after, {"viewed": after}, NOON) == []
    folded = fold(states, happened("Viewed", sku="b", price=2), (after,))
    assert [row["price"] for row in read(folded, after, {"viewed": after}, NOON)] == [2]
    wider = Facet(name="viewed", kind="recent", events=("Viewed", "Clicked"), fields=("sku",), size_max=9, window=DAY)
    assert [row["sku"] for row in read(states, wider, {"viewed": wider}, NOON)] == ["a"]


def test_the_fingerprint_changes_with_what_is_kept_and_not_with_what_is_read() -> None:
    assert fingerprint((CART, ORDERS)) == fingerprint((ORDERS, CART, derived(CART, "count")))
    assert fingerprint((CART,)) != fingerprint(
        (Facet(name="cart", kind="ledger", events=("Product Added",), key="sku"),)
    )


def test_every_reading_is_described() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "facets.md").read_text()
    table = page.split("## Readings")[1].split("## The standard")[0]
    first_cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(first_cells))) == set(READINGS)


def test_every_rule_is_described_with_what_it_reads() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "questions.md").read_text()
    rows = [row.split("|") for row in page.splitlines() if row.startswith("| `")]
    assert {row[1].strip(" `"): tuple(row[3].strip(" `").split()) for row in rows} == READS
    assert set(READS) == set(RULES)


def test_the_standard_facets_hold_all_that_rules_read() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "facets.md").read_text()
    standard = yaml.safe_load(page.split("```yaml")[1].split("```")[0])
    assert {name for names in READS.values() for name in names} <= set(standard)


def test_sql_must_know_what_kind_a_value_is() -> None:
    odd = Facet(name="odd", kind="count", events=("A",), where=parse("a = 1 OR a = 'x'"))
    with pytest.raises(AuthorError, match="Compare it with written-out values of one kind"):
        sql(odd, {})
