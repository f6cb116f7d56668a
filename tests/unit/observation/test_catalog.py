"""The shelf: the newest word wins, whoever speaks last; a public key changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wayline.domain import Catalog, Event, Product
from wayline.errors import Rejected
from wayline.observation.catalog import Shelf, from_rows, merged, told
from wayline.observation.events import UNVERIFIED

NOON = datetime(2024, 11, 29, 12, tzinfo=UTC)


def event(name: str, /, *, at: datetime = NOON, public: bool = False, **properties: Any) -> Event:
    return Event(
        event_id=f"{name} {at} {properties}", source="shop", name=name, occurred_at=at,
        received_at=at + timedelta(hours=1), properties=properties, notes=(UNVERIFIED,) if public else (),
    )  # fmt: skip


def sold(order_id: str, *skus: str, **more: Any) -> Event:
    lines = [{"sku": sku, "quantity": 1, "category": sku[0]} for sku in skus]
    return event("Order Completed", order_id=order_id, products=lines, **more)


def test_an_inventory_event_tells_the_stock_and_wakes_who_waits() -> None:
    shelf = Shelf([Product(sku="J", name="Jacket", available=5, stock_as_of=NOON - timedelta(days=1))])
    (change,) = shelf.take(event("Inventory Changed", sku="J", available=0, as_of="2024-11-29T11:00:00Z"))
    assert change.topics == ("stock:J",)
    product = shelf.product("J")
    assert product is not None and product.available == 0 and product.name == "Jacket"
    assert product.stock_as_of == datetime(2024, 11, 29, 11, tzinfo=UTC)


def test_an_older_word_never_overwrites_a_newer() -> None:
    shelf = Shelf()
    shelf.take(event("Price Changed", sku="J", price=9900, as_of="2024-11-29T12:00:00Z"))
    assert shelf.take(event("Price Changed", sku="J", price=12900, as_of="2024-11-28T12:00:00Z")) == ()
    product = shelf.product("J")
    assert product is not None and product.price == 9900


def test_a_fresh_word_of_the_same_stock_renews_it_and_wakes_nobody() -> None:
    shelf = Shelf()
    shelf.take(event("Inventory Changed", sku="J", available=3))
    (change,) = shelf.take(event("Inventory Changed", at=NOON + timedelta(hours=2), sku="J", available=3))
    assert change.topics == () and change.product.stock_as_of == NOON + timedelta(hours=2)


def test_a_count_from_the_future_does_not_shadow_later_ones() -> None:
    shelf = Shelf()
    shelf.take(event("Inventory Changed", sku="J", available=3, as_of="2099-01-01T00:00:00Z"))
    later = event("Inventory Changed", at=NOON + timedelta(hours=2), sku="J", available=1)
    assert shelf.take(later)[0].product.available == 1


def test_one_store_s_count_is_not_the_shop_s() -> None:
    shelf = Shelf()
    (change,) = shelf.take(event("Inventory Changed", sku="J", available=3, store_id="Berlin"))
    assert change.topics == ("stock:J@Berlin",)
    assert change.product == Product(sku="J", locations={"Berlin": (3, NOON)})
    later = event("Inventory Changed", at=NOON + timedelta(hours=1), sku="J", available=0, store_id="Kiel")
    shelf.take(event("Inventory Changed", at=NOON - timedelta(days=1), sku="J", available=9, store_id="Berlin"))
    (change,) = shelf.take(later)
    assert change.topics == ("stock:J@Kiel",) and change.product.available is None
    assert change.product.locations == {"Berlin": (3, NOON), "Kiel": (0, NOON + timedelta(hours=1))}


def test_the_web_shop_has_what_the_places_have_that_it_ships_from() -> None:
    shelf = Shelf(web_locations=("north", "south"))
    shelf.take(event("Inventory Changed", sku="J", available=3, store_id="Berlin"))
    assert shelf.product("J").available is None  # type: ignore[union-attr]  # it is there
    shelf.take(event("Inventory Changed", at=NOON - timedelta(days=9), sku="J", available=0, store_id="south"))
    (change,) = shelf.take(event("Inventory Changed", sku="J", available=4, store_id="north"))
    assert change.topics == ("stock:J", "stock:J@north")
    assert (change.product.available, change.product.stock_as_of) == (4, NOON), "an empty place makes nothing stale"


def test_a_catalogue_says_what_a_product_is_and_no_page_renames_it() -> None:
    shelf = Shelf(currency="EUR")
    shelf.take(event("Product Viewed", sku="J", name="Jkt", price=12900, currency="EUR"))
    (change,) = shelf.take(
        event("Product Changed", sku="J", name="Jacket", price=9900, was=12900, category="Clothing > Jackets",
              unit_cost=4000, currency="EUR", brand="W", availability="in_stock", attributes={"size": "M"},
              at=NOON + timedelta(hours=1))
    )  # fmt: skip
    assert change.topics == ("stock:J", "price:J")
    product = change.product
    assert (product.name, product.price, product.was, product.cost) == ("Jacket", 9900, 12900, 4000)
    assert product.available == 1 and product.described_as_of == NOON + timedelta(hours=1)
    assert product.attributes == {"size": "M", "brand": "W", "availability": "in_stock"}
    (change,) = shelf.take(event("Product Viewed", at=NOON + timedelta(hours=2), sku="J", name="Jacke", price=9900))
    assert change.product.name == "Jacket" and change.product.was == 12900
    assert shelf.take(event("Product Changed", sku="J", name="Old name", price=1, at=NOON)) == ()
    assert told(event("Product Changed", sku="J", name="Free", price=1, public=True)) == ()
    (yen,) = told(event("Product Changed", sku="J", price=5, was=6, unit_cost=2, currency="JPY", available=4), "EUR")
    assert (yen.price, yen.was, yen.cost, yen.available) == (None, None, None, 4)


@pytest.mark.parametrize("word, least", [("in_stock", 1), ("preorder", 0), ("backorder", 0), ("out_of_stock", 0)])
def test_a_word_of_availability_is_the_least_that_makes_it_true(word: str, least: int) -> None:
    assert told(event("Product Changed", sku="J", availability=word))[0].available == least
    assert told(event("Product Changed", sku="J", availability="soon"))[0].available is None


def test_a_path_of_categories_ranks_at_each_of_its_levels() -> None:
    paths = {"A": "Clothing > Jackets", "B": "Clothing > Shirts", "C": "Tents", "D": "Clothing > Jackets > Down"}
    shelf = Shelf(Product(sku=sku, category=category) for sku, category in paths.items())
    shelf.take(event("Order Completed", order_id="1", products=[{"sku": "D"}, {"sku": "B"}, {"sku": "D"}]))
    assert list(shelf.popular("Clothing", 9)) == ["D", "B", "A"]
    assert list(shelf.popular("Clothing > Jackets", 9)) == ["D", "A"]
    assert list(shelf.related(["A"], 1)) == ["D"] and list(shelf.related(["A"], 9)) == ["D", "B"]
    shelf.put(Product(sku="D", category="Tents"))
    assert list(shelf.popular("Clothing", 9)) == ["B", "A"] and list(shelf.popular("Tents", 9)) == ["D", "C"]


@pytest.mark.parametrize("name, properties", [("Inventory Changed", {}), ("Price Changed", {"price": 5})])
def test_a_word_without_its_subject_tells_nothing(name: str, properties: dict[str, Any]) -> None:
    assert told(event(name, **properties)) == ()
    assert told(event(name, sku="J")) == ()
    assert told(event("Order Cancelled", order_id="1")) == ()


def test_a_view_describes_the_product_as_of_when_it_was_shown() -> None:
    (product,) = told(event("Product Viewed", sku="J-M", product_id="J", name="Jacket", price=12900, brand="W"), "EUR")
    assert product == Product(
        sku="J-M", product_id="J", name="Jacket", price=12900, price_as_of=NOON, attributes={"brand": "W"}
    )


def test_a_price_in_another_currency_is_not_the_shelf_s() -> None:
    (product,) = told(event("Product Viewed", sku="J", price=12900, currency="JPY"), "EUR")
    assert product.price is None
    assert told(event("Price Changed", sku="J", price=12900, currency="JPY"), "EUR") == ()
    assert told(event("Price Changed", sku="J", price=12900, currency="EUR"), "EUR")[0].price == 12900


def test_what_was_paid_is_not_what_is_asked() -> None:
    (product,) = told(
        event("Order Completed", order_id="1", products=[{"sku": "J", "price": 100, "category": "Jackets"}])
    )
    assert product.price is None and product.category == "Jackets"


def test_a_public_key_makes_a_product_known_and_changes_none() -> None:
    shelf = Shelf()
    shelf.take(event("Product Viewed", sku="J", name="Jacket", price=12900, public=True))
    product = shelf.product("J")
    assert product is not None and product.name == "Jacket" and product.price_as_of is None
    for forged in (
        event("Product Viewed", at=NOON + timedelta(days=1), sku="J", name="Free!", price=1, public=True),
        event("Price Changed", at=NOON + timedelta(days=1), sku="J", price=1, public=True),
        event("Inventory Changed", at=NOON + timedelta(days=1), sku="J", available=0, public=True),
        sold("1", "J", public=True),
    ):
        assert shelf.take(forged) == ()
    assert shelf.product("J") == product


def test_popular_counts_units_and_each_order_once() -> None:
    shelf = Shelf(Product(sku=sku, category=sku[0]) for sku in ("A1", "A2", "B1", "B2"))
    shelf.take(sold("1", "B1", "A2"))
    shelf.take(sold("1", "B1", "A2", coupon="the webhook tells it too"))
    shelf.take(sold("2", "B1"))
    assert list(shelf.popular("", 10)) == ["B1", "A2", "A1", "B2"]
    assert list(shelf.popular("A", 1)) == ["A2"] and list(shelf.popular("C", 5)) == []
    shelf.take(sold("3", "A1", "A1", "A1"))
    assert list(shelf.popular("", 2)) == ["A1", "B1"] and list(shelf.popular("A", 2)) == ["A1", "A2"]


def test_related_are_of_the_same_categories_most_popular_first() -> None:
    shelf = Shelf(Product(sku=sku, category=sku[0]) for sku in ("A1", "A2", "A3", "B1", "B2", "C1"))
    shelf.take(sold("1", "B2", "A3", "A3"))
    assert list(shelf.related(["A1", "B1", "unheard of"], 10)) == ["A3", "B2", "A2"]
    assert list(shelf.related(["A1"], 1)) == ["A3"] and list(shelf.related([], 3)) == []


def test_a_product_that_changes_category_moves_with_its_sales() -> None:
    shelf = Shelf([Product(sku="J", category="Jackets"), Product(sku="K", category="Coats")])
    shelf.take(sold("1", "J"))
    shelf.put(Product(sku="J", category="Coats"))
    assert list(shelf.popular("Jackets", 5)) == [] and list(shelf.popular("Coats", 5)) == ["J", "K"]
    shelf.take(event("Order Completed", order_id="2", products=[{"sku": "J"}, {"sku": "K"}, {"sku": "new"}]))
    assert list(shelf.popular("", 5)) == ["J", "K", "new"] and len(shelf) == 3


def test_a_shelf_is_a_catalog() -> None:
    catalog: Catalog = Shelf([Product(sku="J")])
    assert catalog.product("J") == Product(sku="J") and catalog.product("K") is None


def test_what_is_not_said_is_left_as_it_was() -> None:
    full = Product(
        sku="J", name="Jacket", category="Jackets", price=1, cost=1, available=0, url="u", attributes={"a": "b"}
    )
    assert merged(full, Product(sku="J")) == full
    assert merged(Product(sku="J"), full) == full


def test_rows_become_products() -> None:
    rows = [
        {
            "sku": "J-M",
            "product_id": "J",
            "name": "Jacket",
            "price": "129.95",
            "cost": 40,
            "quantity": "3.0",
            "size": "M",
        },
        {"product_id": 17, "name": "", "price": None, "as_of": "2024-01-01"},
    ]
    jacket, other = from_rows(rows, as_of=NOON)
    assert jacket == Product(
        sku="J-M", product_id="J", name="Jacket", price=12995, price_as_of=NOON, cost=4000, available=3,
        stock_as_of=NOON, attributes={"size": "M"},
    )  # fmt: skip
    assert other == Product(sku="17", product_id="17")
    assert from_rows([{"sku": "J", "price": 500}], currency="JPY", as_of=NOON)[0].price == 500


@pytest.mark.parametrize(
    "row, code, field",
    [
        ({"name": "Jacket"}, "no_sku", "rows.2.sku"),
        ({"sku": "J", "price": "12,95"}, "bad_amount", "rows.2.price"),
        ({"sku": "J", "available": "many"}, "wrong_type", "rows.2.available"),
        ({"sku": "J", "as_of": "today"}, "bad_time", "rows.2.as_of"),
    ],
)
def test_a_bad_row_is_named(row: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(Rejected) as caught:
        from_rows([{"sku": "A"}, row], as_of=NOON)
    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_late_view_fills_in_and_renames_nothing() -> None:
    shelf = Shelf()
    shelf.take(event("Product Viewed", sku="J", name="Ridge Jacket", price=12900))
    shelf.take(
        event("Product Viewed", at=NOON - timedelta(days=9), sku="J", name="Old name", category="Jackets", price=1)
    )
    product = shelf.product("J")
    assert product is not None and (product.name, product.category, product.price) == ("Ridge Jacket", "Jackets", 12900)
