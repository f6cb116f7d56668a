"""Money in conditions: written in euros, held in cents, said in euros."""

from __future__ import annotations

import copy
from datetime import UTC, datetime

import duckdb
import pytest

from wayline.conditions import parse

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MONEY = {"cart_value": 2, "spent": 2, "fee": 0}


@pytest.mark.parametrize(
    ("text", "cents", "answer"),
    [
        ("cart_value >= 20", 2000, True),
        ("cart_value >= 20", 1999, False),
        ("19.99 = cart_value", 1999, True),
        ("cart_value = 19.99", 1999, True),
        ("cart_value BETWEEN 10 AND 19.99", 1999, True),
        ("cart_value BETWEEN 10 AND 19.98", 1999, False),
        ("cart_value IN (5, 19.99)", 1999, True),
        ("NOT (cart_value < 20 OR cart_value > 30)", 2500, True),
        ("cart_value <= spent", 1999, True),
        ("cart_value > 0", 1, True),
        ("cart_value >= 20", None, None),
    ],
)
def test_a_number_compared_with_an_amount_is_in_major_units(text, cents, answer):
    facts = {"cart_value": cents, "spent": 2000}.get
    assert parse(text, MONEY).evaluate(facts, NOW) is answer
    sql = parse(text, MONEY).sql("duckdb")
    row = duckdb.connect().execute(
        f"SELECT {sql} FROM (SELECT ?::BIGINT AS cart_value, 2000::BIGINT AS spent)", [cents]
    )
    assert row.fetchone()[0] is answer


def test_other_numbers_and_currencies_without_cents_stay():
    assert parse("order_count >= 20", MONEY).evaluate({"order_count": 20}.get, NOW) is True
    assert parse("fee >= 500", MONEY).evaluate({"fee": 500}.get, NOW) is True


def test_an_explanation_says_money_as_people_do():
    explained = parse("cart_value >= 20 AND order_count = 0", MONEY).explain(
        {"cart_value": 1200, "order_count": 0}.get, NOW
    )
    assert explained == ("cart_value is 12.00, not >= 20.00",)


def test_the_same_text_with_and_without_money_is_not_the_same_condition():
    assert parse("cart_value >= 20", MONEY) != parse("cart_value >= 20")
    assert parse("cart_value >= 20", MONEY) == parse("cart_value >= 20", {"cart_value": 2})
    copied = copy.deepcopy(parse("cart_value >= 20", MONEY))
    assert copied == parse("cart_value >= 20", MONEY)
    assert copied.evaluate({"cart_value": 1999}.get, NOW) is False
