"""What an order earned, after discounts, returns and cancellations; and what is left out rather than believed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from wayline.domain import Event
from wayline.measurement.earnings import Terms, earnings

T = datetime(2025, 11, 3, tzinfo=UTC)
COSTS = Terms(costs={"J1": 8000, "S1": 600}, prices={"J1": 16900, "S1": 1400})
JACKET = {"sku": "J1", "price": 16900, "quantity": 1}
SOCKS = {"sku": "S1", "price": 1400, "quantity": 2}


def told(
    name: str = "Order Completed", who: str = "c1", order_id: str | None = "o1", **properties: Any
) -> tuple[str, Event]:
    if order_id is not None:
        properties["order_id"] = order_id
    stamp = f"{name}-{order_id}-{properties.get('return_id', '')}"
    return who, Event(event_id=stamp, source="web", name=name, occurred_at=T, received_at=T, properties=properties)


def margin(*rows: tuple[str, Event], terms: Terms = COSTS) -> float:
    (order,) = earnings(rows, terms).orders
    return order.margin


def test_margin_is_revenue_less_cost_and_a_discount_is_the_shops_loss() -> None:
    assert margin(told(revenue=19700, products=[JACKET, SOCKS])) == 19700 - 8000 - 1200
    assert margin(told(revenue=17730, discount=1970, products=[JACKET, SOCKS])) == 17730 - 8000 - 1200


def test_a_returned_piece_gives_its_money_back_and_keeps_its_cost() -> None:
    placed = told(revenue=19700, products=[JACKET, SOCKS])
    back = told("Return Received", return_id="r1", refund=16900, products=[JACKET])
    assert margin(placed, back) == 2800 - 1200
    assert margin(placed, back, back) == 2800 - 1200
    handled = Terms(costs=COSTS.costs, return_cost=300)
    assert margin(placed, back, terms=handled) == 2800 - 1200 - 300
    unpriced = told("Return Received", return_id="r1", products=[{"sku": "J1", "quantity": 1}])
    assert margin(placed, unpriced) == 2800 - 1200


def test_a_refund_and_the_return_it_pays_for_count_once() -> None:
    placed = told(revenue=19700, products=[JACKET, SOCKS])
    back = told("Return Received", return_id="r1", refund=16900, products=[JACKET])
    assert margin(placed, back, told("Order Refunded", total=16900)) == 2800 - 1200


def test_refunds_with_numbers_of_their_own_add_up_each_once() -> None:
    placed = told(revenue=19700, products=[JACKET, SOCKS])
    parts = [told("Order Refunded", refund_id=number, total=1000) for number in ("f1", "f2", "f2")]
    assert margin(placed, *parts) == margin(placed, told("Order Refunded", total=2000)) == margin(placed) - 2000


def test_a_cancelled_or_wholly_refunded_order_earned_nothing() -> None:
    placed = told(revenue=19700, products=[JACKET, SOCKS])
    assert margin(placed, told("Order Cancelled")) == 0
    assert margin(placed, told("Order Refunded")) == 0
    assert earnings([placed, told("Order Cancelled")], COSTS).cancelled == 1


def test_an_order_told_by_tag_and_webhook_counts_once() -> None:
    assert margin(told(revenue=1, products=[JACKET]), told(revenue=16900, products=[JACKET])) == 8900


def test_without_costs_the_declared_share_of_the_undiscounted_price_is_margin() -> None:
    half = Terms(margin_share=0.5)
    assert margin(told(revenue=16900, products=[JACKET]), terms=half) == 8450
    assert margin(told(revenue=15210, discount=1690, products=[JACKET]), terms=half) == 15210 - 8450
    assert margin(told(revenue=15210, discount=1690), terms=half) == 15210 - 8450


def test_without_costs_and_share_the_amounts_are_revenue_and_say_so() -> None:
    found = earnings(
        [told(revenue=16900, products=[JACKET]), told(order_id="o2", total=900, shipping=100, tax=50)], Terms()
    )
    assert found.basis == "revenue"
    assert [order.margin for order in found.orders] == [16900, 750]
    assert earnings([told(revenue=16900, products=[JACKET])], COSTS).basis == "margin"
    assert earnings([told(revenue=5, products=[{"sku": "new", "price": 5}])], COSTS).basis == "revenue"


def test_an_order_in_cents_of_cents_is_left_out_and_named() -> None:
    absurd = told(order_id="o2", revenue=1690000, products=[{**JACKET, "price": 1690000}])
    found = earnings([told(revenue=16900, products=[JACKET]), absurd], COSTS)
    assert [order.order_id for order in found.orders] == ["o1"]
    assert (found.absurd, found.absurd_sources) == (("o2",), ("web",))


def test_a_purchase_without_an_order_id_is_one_by_its_own_event() -> None:
    assert len(earnings([told("Store Purchase", order_id=None, revenue=500)], Terms()).orders) == 1


def test_news_of_an_order_that_was_never_placed_earns_nothing() -> None:
    assert earnings([told("Order Refunded", total=100), told("Return Received", order_id=None)], COSTS).orders == ()


@pytest.mark.parametrize("products", [None, "J1", [None, 3], [{}]])
def test_odd_products_do_no_harm(products: Any) -> None:
    assert margin(told(revenue=100, products=products), terms=Terms(margin_share=0.5)) <= 100
