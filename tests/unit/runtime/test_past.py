"""A playbook tried on past data: the real engine, the data's clock, and what the data lack assumed aloud."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from wayline.errors import AuthorError
from wayline.runtime.folders import example_folder, read_playbook
from wayline.runtime.importing import Import
from wayline.runtime.past import Assumed, Tried, assumed, in_words, try_on_past
from wayline.sources.mapping import read_mapping

MAPPING = """
mapping: shop
source: shop
currency: EUR
columns: {event: text, who: id, at: time, order: id?, sku: id, price: money}
messages:
  - when: event = 'order'
    event: Order Completed
    user_id: who
    time: at
    event_id: [order]
    properties: {order_id: order, revenue: price, products: {value: []}}
  - when: event = 'view'
    event: Product Viewed
    user_id: who
    time: at
    properties: {sku: sku, product_id: sku, price: price}
"""
ROWS = [
    "order,ada,2024-05-06T10:00:00,A1,jacket,129.90",
    "order,bob,2024-05-07T10:00:00,A2,hat,20.00",
    "view,ada,2024-05-20T09:00:00,,socks,7.05",
    "view,eve,2024-05-21T09:00:00,,socks,7.05",
    "order,ada,2024-06-01T10:00:00,A3,socks,7.05",
    "view,eve,2024-06-10T09:00:00,,hat,20.00",
]


def tried(folder: Path, assumptions: Assumed, rows: list[str] = ROWS) -> Tried:
    path = folder / "past.csv"
    path.write_text("\n".join(["event,who,at,order,sku,price", *rows, ""]))
    said = Import(path=path, mapping=read_mapping(MAPPING), received_at=datetime(2026, 1, 1, tzinfo=UTC))
    return try_on_past(said, read_playbook(example_folder()), assumptions)


def test_the_owed_message_of_every_order_would_be_sent(tmp_path: Path) -> None:
    found = tried(tmp_path, Assumed(("email",), "in_stock"))
    confirmation = found.journeys["order-confirmation"]
    assert (confirmation.entered, confirmation.wishes, confirmation.sent, confirmation.withheld) == (3, 3, 3, 0)
    assert (found.people, found.set_aside, found.rows_refused) == (3, 0, 0)
    assert (found.starts_at, found.ends_at) == (
        datetime(2024, 5, 6, 10, tzinfo=UTC),
        datetime(2024, 6, 10, 9, tzinfo=UTC),
    )


def test_consent_that_is_not_assumed_keeps_marketing_from_everybody(tmp_path: Path) -> None:
    with_it, without = tried(tmp_path, Assumed(("email",), "in_stock")), tried(tmp_path, Assumed())
    weekly = with_it.journeys["newsletter"]
    assert weekly.entered > 0 and weekly.sent + weekly.withheld + weekly.refused.total() + weekly.waiting > 0
    marketing = [name for name, one in without.journeys.items() if name != "order-confirmation" and one.sent]
    assert marketing == [], "nobody consented"
    assert without.journeys["order-confirmation"].refused, "nobody has an address"


def test_assumed_consent_greets_nobody(tmp_path: Path) -> None:
    assert "welcome" not in tried(tmp_path, Assumed(("email",), "in_stock")).journeys


def test_trying_twice_gives_the_same(tmp_path: Path) -> None:
    one, two = (tried(tmp_path, Assumed(("email",))) for _ in range(2))
    assert one.journeys == two.journeys


def test_what_was_assumed_stands_in_the_result(tmp_path: Path) -> None:
    text = "\n".join(in_words(tried(tmp_path, Assumed(("email", "push"), "in_stock"))))
    assert "everybody consents to marketing by email and push" in text and "every product is in stock" in text
    assert "nothing was sent" in text and "order-confirmation" in text
    text = "\n".join(in_words(tried(tmp_path, Assumed())))
    assert "nobody has consented to marketing" in text and "stock is unknown" in text


def test_made_up_products_fill_the_gaps_of_texts(tmp_path: Path) -> None:
    gaps, filled = (tried(tmp_path, Assumed(("email",), "in_stock", products)) for products in ("as_told", "described"))
    missing = "a text is not sent with a gap in it, when it was about to leave"
    assert sum(one.refused[missing] for one in gaps.journeys.values()) > 0
    assert sum(one.refused[missing] for one in filled.journeys.values()) == 0


def test_a_file_without_rows_is_an_empty_past(tmp_path: Path) -> None:
    found = tried(tmp_path, Assumed(), [])
    assert (found.events, found.journeys, found.starts_at) == (0, {}, None) and in_words(found)


def test_assumptions_are_read_and_misspelt_ones_told() -> None:
    assert assumed("consent=email+push,stock=in_stock") == Assumed(("email", "push"), "in_stock")
    assert assumed("") == Assumed()
    assert assumed("products=described").products == "described"
    for wrong, told in (
        ("consents=email", "'consent'"),
        ("consent=mail", "'email'"),
        ("stock=full", "in_stock or"),
        ("products=no", "as_told or"),
    ):
        with pytest.raises(AuthorError, match=told):
            assumed(wrong)
