"""Rows become messages; what does not is passed over or refused by name, and takes no neighbour along."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wayline.errors import SenderError
from wayline.sources import RefusedRow, Told
from wayline.sources.mapping import TableMapping, read_mapping, ready_mapping
from wayline.sources.messages import translate
from wayline.sources.tables import RECORD_LINES_MAX

ORDERS = """
mapping: orders
source: shop
currency: EUR
zone: Europe/Berlin
columns: {order: id, sku: id, count: whole, price: money, at: time, who: id?, gift: yes_no?}
skip: {"no customer": who IS NULL, "free": price = 0}
messages:
  - when: count < 0
    event: Return Received
    group_by: order
    user_id: who
    time: at
    properties:
      return_id: order
      refund: {absolute_sum: [count, price]}
      products: {each: {sku: sku, quantity: {absolute: count}}}
  - when: count > 0
    event: Order Completed
    group_by: order
    user_id: who
    time: at
    properties:
      order_id: order
      revenue: {sum: [count, price]}
      products: {each: {sku: sku, quantity: count, price: price}}
    traits: {gift: gift}
"""
HEADER = "order,sku,count,price,at,who,gift"
EVENTS = """
mapping: views
source: web
currency: EUR
columns: {who: id, sku: id, at: time, note: text?}
messages:
  - {event: Product Viewed, anonymous_id: who, time: at, properties: {sku: sku}}
"""


def mapping(text: str = ORDERS, **file: str) -> TableMapping:
    said = ", ".join(f"{key}: {value!r}" for key, value in file.items())
    return read_mapping(text + (f"file: {{{said}}}\n" if file else ""))


def table(folder: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    path = folder / "orders.csv"
    path.write_bytes("\n".join([header, *rows, ""]).encode(encoding))
    return path


def translated(path: Path, mapping: TableMapping) -> tuple[list[Told], list[RefusedRow], Counter[str]]:
    counts: Counter[str] = Counter()
    both = list(translate(path, mapping, counts))
    return [each for each in both if isinstance(each, Told)], [e for e in both if isinstance(e, RefusedRow)], counts


A1 = "A1,jacket,1,129.90,2026-11-27 09:00:00,ada,yes"
A2 = "A1,socks,2,7.05,2026-11-27 09:00:00,ada,"
B1 = "B1,hat,1,20,2026-11-27T09:30:00,bob,no"


def test_the_rows_of_an_order_become_one_message(tmp_path: Path) -> None:
    told, refused, counts = translated(table(tmp_path, A1, B1, A2), mapping())
    assert [each.message["properties"]["order_id"] for each in told] == ["B1", "A1"], "each when its last row is read"
    message = told[1].message
    assert message["event"] == "Order Completed" and message["userId"] == "ada"
    assert message["timestamp"] == datetime(2026, 11, 27, 8, tzinfo=UTC)
    assert message["properties"]["revenue"] == "144.00" and message["context"] == {"traits": {"gift": True}}
    assert message["properties"]["products"] == [
        {"sku": "jacket", "quantity": 1, "price": 129.9},
        {"sku": "socks", "quantity": 2, "price": 7.05},
    ]
    assert message["messageId"] == "order-completed:A1" and [row.place for row in told[1].rows] == [2, 4]
    assert (refused, counts) == ([], {"row": 3})


def test_rows_are_passed_over_by_the_first_reason_that_holds(tmp_path: Path) -> None:
    told, _, counts = translated(
        table(tmp_path, "C1,hat,1,0,2026-11-27,,", "C2,hat,1,0,2026-11-27,ada,", A1), mapping()
    )
    assert len(told) == 1 and counts == {"row": 3, "skipped: no customer": 1, "skipped: free": 1}


def test_money_taken_back_is_an_amount_without_a_sign(tmp_path: Path) -> None:
    told, _, _ = translated(table(tmp_path, "R1,hat,-2,20.05,2026-11-27,ada,"), mapping())
    assert told[0].message["properties"] == {
        "return_id": "R1",
        "refund": "40.10",
        "products": [{"sku": "hat", "quantity": 2}],
    }


WRONG = {
    "not a number": (A1.replace("129.90", "cheap"), "bad_cell", "column 'price': expected a number"),
    "a decimal comma": (A1.replace("129.90", '"129,90"'), "bad_cell", "column 'price': expected a number"),
    "infinite": (A1.replace("129.90", "inf"), "bad_cell", "column 'price'"),
    "half a jacket": (A1.replace(",1,", ",0.5,"), "bad_cell", "column 'count': expected a whole number"),
    "no date": (A1.replace("2026-11-27 09", "27.11.2026 09"), "bad_cell", "file.time_format says how"),
    "no such day": (A1.replace("11-27", "02-30"), "bad_cell", "column 'at'"),
    "nothing where something must be": (A1.replace("jacket", ""), "bad_cell", "column 'sku': is empty"),
    "neither yes nor no": (A1.replace("yes", "perhaps"), "bad_cell", "column 'gift'"),
    "nothing to say of it": (A1.replace(",1,", ",0,"), "no_message", "no message's `when` holds"),
    "a cell too few": ("A1,jacket,1", "wrong_width", "expected 7 cells as in the header, got 3"),
    "a cell too many": (A1 + ",more", "wrong_width", "got 8"),
    "a quote inside a cell": (A1.replace("jacket", '"jack"et"s"'), "bad_quotes", "double quotes"),
    "an open quote": (A1.replace("jacket", '"jacket'), "bad_quotes", "a quote is open"),
    "NUL": (A1.replace("jacket", "jack\0et"), "nul_character", "U+0000"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_bad_row_is_refused_with_its_place_and_its_neighbours_pass(tmp_path: Path, case: str) -> None:
    row, code, reason = WRONG[case]
    told, refused, counts = translated(table(tmp_path, B1, row.replace("A1", "X1"), A1, A2), mapping())
    assert [each.message["properties"]["order_id"] for each in told] == ["B1", "A1"]
    assert [(each.place, each.code) for each in refused] == [(3, code)] and reason in refused[0].reason
    assert counts[f"refused: {code}"] == 1


def test_an_order_is_whole_or_not_told(tmp_path: Path) -> None:
    told, refused, _ = translated(table(tmp_path, A1, A2.replace("7.05", "?"), B1), mapping())
    assert [each.message["userId"] for each in told] == ["bob"]
    assert [(each.place, each.code) for each in refused] == [(3, "bad_cell"), (2, "broken_message")]
    assert "row 3 of the same message was refused" in refused[1].reason and refused[1].cells[1] == "jacket"


def test_a_foreign_byte_costs_its_own_row_only(tmp_path: Path) -> None:
    path = table(tmp_path, A1.replace("jacket", "Mütze"), B1, encoding="latin-1")
    told, refused, _ = translated(path, mapping())
    assert [each.message["userId"] for each in told] == ["bob"]
    assert refused[0].code == "wrong_encoding" and "byte 0xfc is not utf-8" in refused[0].reason
    assert "\\xfc" in refused[0].text
    told, refused, _ = translated(path, mapping(encoding="latin-1"))
    assert told[0].message["properties"]["products"][0]["sku"] == "Mütze" and not refused


def test_an_open_quote_does_not_swallow_the_file(tmp_path: Path) -> None:
    many = [B1.replace("B1", f"B{n}") for n in range(3 * RECORD_LINES_MAX)]
    told, refused, _ = translated(table(tmp_path, A1.replace("jacket", '"jacket'), *many), mapping())
    assert len(told) == len(many) and [each.place for each in refused] == [2]


def test_a_cell_may_hold_lines_quotes_and_delimiters(tmp_path: Path) -> None:
    path = table(tmp_path, 'ada,"a ""big"", red\nhat",2026-11-27,x', "bob,hat,2026-11-27,", header="who,sku,at,note")
    told, refused, _ = translated(path, mapping(EVENTS))
    assert [each.message["properties"]["sku"] for each in told] == ['a "big", red\nhat', "hat"] and not refused
    assert [each.rows[0].place for each in told] == [2, 4], "the line an editor shows"


def test_a_byte_order_mark_a_blank_line_and_windows_line_ends_are_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbf\r\n" + HEADER.encode() + b"\r\n\r\n" + A1.encode() + b"\r\n   \r\n" + A2.encode())
    told, refused, _ = translated(path, mapping())
    assert len(told[0].rows) == 2 and not refused


def test_the_file_may_be_written_another_way(tmp_path: Path) -> None:
    said = mapping(delimiter=";", decimal=",", time_format="%d.%m.%Y %H:%M")
    path = table(tmp_path, "A1;hat;1;12,50;27.11.2026 09:00;ada;", header=HEADER.replace(",", ";"))
    told, refused, _ = translated(path, said)
    assert told[0].message["properties"]["products"][0]["price"] == 12.5 and not refused


def test_local_times_have_one_reading_when_clocks_change(tmp_path: Path) -> None:
    twice, never = "2026-10-25 02:30:00", "2026-03-29 02:30:00"
    told, _, _ = translated(table(tmp_path, f"A,h,1,1,{twice},a,", f"B,h,1,1,{never},a,"), mapping())
    assert told[0].message["timestamp"] == datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "the first of the two"
    assert told[1].message["timestamp"] == datetime(2026, 3, 29, 1, 30, tzinfo=UTC), "as if clocks had not changed yet"


def test_a_parquet_file_reads_as_its_csv_does(tmp_path: Path) -> None:
    columns = {
        "gift": pa.array([True, None, False]),
        "order": ["A1", "A1", "B1"],
        "sku": ["jacket", "socks", "hat"],
        "count": pa.array([1, 2, 1], pa.int32()),
        "price": [129.90, 7.05, 20.0],
        "at": [datetime(2026, 11, 27, 9), datetime(2026, 11, 27, 9), datetime(2026, 11, 27, 9, 30)],
        "who": ["ada", "ada", "bob"],
    }
    pq.write_table(pa.table(columns), tmp_path / "orders.parquet")
    from_parquet = [each.message for each in translated(tmp_path / "orders.parquet", mapping())[0]]
    from_csv = [each.message for each in translated(table(tmp_path, A1, A2, B1), mapping())[0]]
    assert from_parquet == from_csv


def test_more_products_than_an_event_holds_are_counted_and_still_in_the_sum(tmp_path: Path) -> None:
    rows = [f"A1,s{n},1,0.10,2026-11-27,ada," for n in range(510)]
    told, _, counts = translated(table(tmp_path, *rows), mapping())
    assert len(told[0].message["properties"]["products"]) == 500
    assert told[0].message["properties"]["revenue"] == "51.0"
    assert counts["left out: rows beyond 500 of one message, still in its sums"] == 10


def test_ids_follow_from_what_is_said(tmp_path: Path) -> None:
    rows = ["ada,hat,2026-11-27T10:00:00,", "ada,hat,2026-11-27T10:00:01,", "ada,hat,2026-11-27T10:00:00,again"]
    path = table(tmp_path, *rows, header="who,sku,at,note")
    first, second, third = (each.message["messageId"] for each in translated(path, mapping(EVENTS))[0])
    assert first == third != second
    assert [each.message["messageId"] for each in translated(path, mapping(EVENTS))[0]] == [first, second, third]


WHOLE = {
    "empty": ("", "is empty; expected a line with the names of the columns"),
    "blank": ("\n\n", "is empty"),
    "another column": (
        "order,sku,count,price,when,who,gift\n",
        "no column 'at', which mapping 'orders' reads. The file",
    ),
    "another delimiter": (HEADER.replace(",", ";") + "\n", "Is the delimiter right?"),
    "two of a name": (HEADER + ",sku\n", "two columns are called 'sku'"),
    "no Parquet": ("PAR1 but not really", "is no whole Parquet file"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_a_file_that_is_not_what_the_mapping_says_is_told_as_a_whole(tmp_path: Path, case: str) -> None:
    text, told = WHOLE[case]
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(SenderError, match=r"x\.csv") as caught:
        translated(tmp_path / "x.csv", mapping())
    assert told in str(caught.value)


def test_a_file_in_utf_16_and_one_that_is_not_there_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(HEADER, encoding="utf-16")
    with pytest.raises(SenderError, match="is UTF-16, expected utf-8"):
        translated(tmp_path / "x.csv", mapping())
    with pytest.raises(SenderError, match="cannot be read: No such file"):
        translated(tmp_path / "y.csv", mapping())


def test_a_header_alone_is_no_error_and_nothing(tmp_path: Path) -> None:
    assert translated(table(tmp_path), mapping()) == ([], [], {})


CELLS = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["1", "-1", "2.5", "2026-11-27", '"', "A1"])
ROWS = st.lists(st.one_of(st.just(A1), st.just(B1), st.lists(CELLS, max_size=9).map(",".join)), max_size=12)


@settings(max_examples=100, deadline=timedelta(seconds=5), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_whatever_stands_in_a_file_every_row_is_accounted_for(tmp_path: Path, rows: list[str]) -> None:
    told, refused, counts = translated(table(tmp_path, *rows), mapping())
    skipped = sum(count for name, count in counts.items() if name.startswith("skipped: "))
    assert counts["row"] == sum(len(each.rows) for each in told) + len(refused) + skipped
    assert len({each.message["messageId"] for each in told}) == len(told)


def test_a_real_day_of_the_retailer_reads_the_same_from_csv_and_parquet(real_data: Any, tmp_path: Path) -> None:
    retailer = ready_mapping("online-retail")
    from_csv, refused, _ = translated(real_data("online-retail/2011-11-17.csv"), retailer)
    from_day, until = datetime(2011, 11, 17), datetime(2011, 11, 18)
    day = pq.read_table(
        real_data("online-retail/transactions.parquet"),
        filters=[("InvoiceDate", ">=", from_day), ("InvoiceDate", "<", until)],
    )
    pq.write_table(day, tmp_path / "day.parquet")
    from_parquet, _, _ = translated(tmp_path / "day.parquet", retailer)
    assert not refused and len(from_csv) == 150
    assert [each.message for each in from_csv] == [each.message for each in from_parquet]
