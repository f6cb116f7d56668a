"""A mapping compiles, or tells everything that is wrong with it at once."""

from __future__ import annotations

import pytest

from wayline.errors import AuthorError
from wayline.sources.mapping import READY, Each, Sum, read_mapping, ready_mapping

GOOD = """
mapping: till
source: till
currency: EUR
zone: Europe/Berlin
file: {delimiter: ";", decimal: ",", time_format: "%d.%m.%Y %H:%M", empty: [NULL]}
columns:
  receipt: id
  sku: {holds: id, header: "Article No."}
  count: whole
  price: money
  at: time
  card: id?
skip:
  "nobody's card": card IS NULL
messages:
  - event: Store Purchase
    group_by: receipt
    user_id: card
    time: at
    properties:
      receipt_id: receipt
      currency: {value: EUR}
      revenue: {sum: [count, price]}
      products: {each: {sku: sku, price: price, quantity: {absolute: count}}}
"""


def test_a_mapping_says_what_it_reads() -> None:
    mapping = read_mapping(GOOD)
    (rule,) = mapping.messages
    assert (mapping.columns["sku"].headers, mapping.columns["card"].may_be_empty) == (("Article No.",), True)
    assert (mapping.delimiter, mapping.decimal, mapping.empty) == (";", ",", {"NULL"})
    assert rule.properties["revenue"] == Sum(("count", "price"))
    assert isinstance(rule.properties["products"], Each) and set(rule.properties["products"].fields) == {
        "sku",
        "price",
        "quantity",
    }


@pytest.mark.parametrize("name", READY)
def test_the_mappings_that_come_with_it_compile(name: str) -> None:
    assert ready_mapping(name).name == name


def test_a_mapping_nobody_made_is_told_with_those_there_are() -> None:
    with pytest.raises(AuthorError, match="Did you mean 'online-retail'"):
        ready_mapping("online-retial")


WRONG = {
    "unknown field": ("zone: Europe/Berlin", "time_zone: Europe/Berlin", ":5: a mapping has no field 'time_zone'"),
    "unknown column": ("receipt_id: receipt", "receipt_id: reciept", ":22: no column 'reciept' is declared"),
    "unknown kind": ("count: whole", "count: int", "expected what a column holds"),
    "unknown zone": ("Europe/Berlin", "Europe/Berln", "no zone is called 'Europe/Berln'"),
    "unknown currency": ("currency: EUR\nzone", "currency: EUX\nzone", "no currency is called 'EUX'"),
    "unknown encoding": ("file: {", "file: {encoding: utf-9, ", "no encoding is called 'utf-9'"),
    "condition": ("card IS NULL", "card IS NUL", "does not parse"),
    "condition's column": ("card IS NULL", "crad IS NULL", "reads 'crad', which is no declared column"),
    "time that is none": ("time: at", "time: card", "column 'card' holds id, expected 'time'"),
    "nobody": (
        "event: Store Purchase\n    group_by: receipt\n    user_id: card\n",
        "event: Order Completed\n    group_by: receipt\n",
        "whom it is about",
    ),
    "a group of what may be lacking": ("receipt: id", "receipt: id??", "may be lacking"),
    "a time of nothing": ("time: at", "time: [at, sku]", "holds id, expected 'time' or 'unix'"),
    "a time after the last": ("time: at", "time: ['@file', at]", "Put it last"),
    "a consent of no time": (
        "event: Store Purchase\n    group_by: receipt\n    user_id: card\n    time: at",
        "event: Consent Granted\n    group_by: receipt\n    user_id: card\n    time: [at, '@file']",
        "may revive none",
    ),
    "no group": ("    group_by: receipt\n", "", "say 'group_by'"),
    "no event": ("event: Store Purchase", "type: track", "expected the name of an event"),
    "two values": ("{value: EUR}", "{value: EUR, column: sku}", "expected exactly one of"),
    "list in a list": ("price: price, quantity", "price: {sum: [price]}, quantity", "stands in a row of its own"),
    "twice": ("source: till", "source: till\nsource: web", "key 'source' came before"),
    "no YAML": ("mapping: till", "mapping: [till", "expected YAML"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_with_its_line(case: str) -> None:
    there, instead, told = WRONG[case]
    assert there in GOOD
    with pytest.raises(AuthorError) as caught:
        read_mapping(GOOD.replace(there, instead), file="till.yaml")
    assert told in str(caught.value) and "till.yaml:" in str(caught.value)


def test_all_problems_are_told_at_once_in_the_order_of_their_lines() -> None:
    wrong = GOOD.replace("Europe/Berlin", "Nowhere").replace("count: whole", "count: int").replace("card IS", "crad IS")
    with pytest.raises(AuthorError) as caught:
        read_mapping(wrong)
    lines = [problem.line for problem in caught.value.problems]
    assert len(lines) == 3 and lines == sorted(lines)
