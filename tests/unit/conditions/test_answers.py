"""What a condition answers, when time turns it, how it is explained, and that it is a value."""

from __future__ import annotations

import copy
import enum
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy
import pytest

from wayline.conditions import parse

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def answer(text: str, **facts: Any) -> bool | None:
    return parse(text).evaluate(facts.get, NOW)


TRUTHS = {"true": True, "false": False, "unknown": None}


@pytest.mark.parametrize("one", TRUTHS)
@pytest.mark.parametrize("other", TRUTHS)
def test_logic_has_three_values_as_sql_has_it(one: str, other: str) -> None:
    facts = {"a": TRUTHS[one], "b": TRUTHS[other]}
    for text in ("a AND b", "b AND a", "a OR b", "NOT a", "NOT (a AND NOT b)", "a AND b AND a", "a OR b OR a"):
        with duckdb.connect() as oracle:
            [(told,)] = oracle.execute(
                f"SELECT {text} FROM (SELECT ?::BOOL AS a, ?::BOOL AS b)", [*facts.values()]
            ).fetchall()
        assert answer(text, **facts) is told, text


class Stage(enum.StrEnum):
    PURCHASE = "purchase"


@pytest.mark.parametrize(
    "text, found, expected",
    [
        ("a = 1", True, None),
        ("a = TRUE", 1, None),
        ("a = '1'", 1, None),
        ("a = 1", "1", None),
        ("a = 1", Decimal("1.0"), True),
        ("a = 0.5", numpy.float64(0.5), True),
        ("a = 'purchase'", Stage.PURCHASE, True),
        ("a IN ('purchase', 'loyalty')", Stage.PURCHASE, True),
        ("a > 1e300", 10**400, None),
        ("a < 0", float("-inf"), None),
        ("a = a", float("nan"), None),
        ("a = 9007199254740992", 2**53 + 1, True),
        ("a = 0", -0.0, True),
        ("a < now", date(2026, 1, 1), None),
        ("a < now", datetime(2026, 1, 1), None),
        ("a < now", "2026-01-01", None),
        ("a = ''", "", True),
        ("a = a", [1], None),
        ("a IS NULL", [], False),
        ("a IS NULL", float("nan"), False),
        ("a > 3 days", timedelta(days=4), True),
        ("a > 3 days", timedelta(days=10_000_001), None),
        ("a > 3 days", 4, None),
    ],
)
def test_a_fact_has_one_kind_or_none(text: str, found: Any, expected: bool | None) -> None:
    assert answer(text, a=found) is expected


def test_wall_clocks_that_repeat_an_hour_do_not_confuse() -> None:
    # Two instants of one zone compare by wall clock in Python: 2:30 before and after the clocks go back look equal.
    before = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    after = before.replace(fold=1)
    assert before == after
    assert answer("a < b", a=before, b=after) is True
    assert answer("b - a = 1 hour", a=before, b=after) is True
    assert parse("a < now").evaluate({"a": before}.get, after) is True


def test_an_instant_outside_the_calendar_is_unknown() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    assert answer("a + 1 second > now", a=last) is None
    assert answer("a > now", a=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) is None


@pytest.mark.parametrize(
    "text, expected",
    [
        ("x LIKE 'abc'", True), ("x LIKE '%'", True), ("x LIKE ''", False), ("x LIKE 'a%'", True),
        ("x LIKE '%c'", True), ("x LIKE '%b%'", True), ("x LIKE '_b_'", True), ("x LIKE '__'", False),
        ("x LIKE 'ab%bc'", False), ("x LIKE 'a%b%c%'", True), ("x LIKE '%_%_%_%'", True), ("x LIKE '%____%'", False),
        ("x LIKE 'A%'", False), ("x NOT LIKE 'a%'", False), ("y LIKE '%'", None),
    ],
)  # fmt: skip
def test_like(text: str, expected: bool | None) -> None:
    assert answer(text, x="abc") is expected


def test_a_pattern_made_to_backtrack_costs_little() -> None:
    pattern = "%a" * 1_000 + "%b"
    assert answer(f"x LIKE '{pattern}'", x="a" * 20_000) is False


def test_facts_are_read_no_further_than_needed() -> None:
    asked: list[str] = []

    def facts(name: str) -> Any:
        asked.append(name)
        return {"a": False, "b": True}[name]

    assert parse("a AND b").evaluate(facts, NOW) is False
    assert parse("b OR a").evaluate(facts, NOW) is True
    assert asked == ["a", "b"]


# ------------------------------------------------------------------ time

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    "text, turns",
    [
        ("a < now - 30 days", 20 * DAY + TICK),
        ("a <= now - 30 days", 20 * DAY),
        ("now - a >= 30 days", 20 * DAY),
        ("now >= a + 30 days", 20 * DAY),
        ("a - now < a - a - 30 days", 20 * DAY + TICK),
        ("now - a = 30 days", 20 * DAY),
        ("now - a <> 10 days", TICK),
        ("now - a IN (11 days, 12 days)", DAY),
        ("now - a BETWEEN 11 days AND 12 days", DAY),
        ("now - a NOT BETWEEN 9 days AND 12 days", 2 * DAY + TICK),
        ("a < now - 5 days", None),
        ("now > now - 5 days", None),
        ("now - 3 days > now - gap", None),
        ("a > b", None),
        ("a < now - 30 days AND b = 1", None),
        ("a < now - 30 days OR b = 0", None),
        ("a < now - 30 days AND c = 1", 20 * DAY + TICK),
        ("(a < now - 15 days AND b = 1) OR a < now - 30 days", 20 * DAY + TICK),
        ("a < now - 15 days AND NOT (a < now - 30 days)", 5 * DAY + TICK),
        ("now + (now - a) > TIMESTAMP '2026-12-15T12:00:00Z'", 5 * DAY + TICK),
        ("a < now - 36500 days", 36_490 * DAY + TICK),
    ],
)
def test_flips_at_is_the_first_instant_the_answer_is_another(text: str, turns: timedelta | None) -> None:
    facts = {"a": NOW - 10 * DAY, "gap": 4 * DAY, "b": 0}.get
    assert parse(text).flips_at(facts, NOW) == (None if turns is None else NOW + turns)


def test_flips_at_ends_with_the_calendar() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    assert parse("now > a").flips_at({"a": last}.get, NOW) is None
    assert parse("now >= a").flips_at({"a": last}.get, NOW) == last


# ------------------------------------------------------------------ words


@pytest.mark.parametrize(
    "text, facts, why",
    [
        ("a AND b", {"a": True, "b": True}, ("a is TRUE", "b is TRUE")),
        ("a AND b", {"a": False, "b": False}, ("a is FALSE", "b is FALSE")),
        ("a AND b", {"a": True}, ("b not known",)),
        ("a OR b", {"a": True}, ("a is TRUE",)),
        ("NOT (a OR b = 2)", {"a": False, "b": 3}, ("a is FALSE", "b is 3, not = 2")),
        ("20 <= a", {"a": 12.5}, ("a is 12.5, not >= 20",)),
        ("a BETWEEN 1 AND 3", {"a": 5}, ("a is 5, not between 1 and 3",)),
        ("a LIKE 'x%'", {"a": "xy"}, ("a is 'xy', like 'x%'",)),
        ("a IS NULL", {}, ("a is not known",)),
        ("a IS NOT NULL", {"a": 1}, ("a is known",)),
        ("a > b", {"a": 1, "b": 2}, ("a is 1, not > b (2)",)),
        ("a > b", {}, ("a and b not known",)),
        ("a = NULL", {"a": 1}, ("a is compared with NULL, which is never known: write IS NULL",)),
        ("a = 1", {"a": [1]}, ("a is a list, of another kind than it is compared with",)),
        ("a = 1 AND a = 1", {"a": 1}, ("a is 1, = 1",)),
        ("now - a > 3 days", {"a": NOW - timedelta(hours=36)}, ("now - a is 36 hours, not > 3 days",)),
        ("TRUE", {}, ("the condition says TRUE",)),
    ],
)
def test_explain_names_what_decided(text: str, facts: dict[str, Any], why: tuple[str, ...]) -> None:
    assert parse(text).explain(facts.get, NOW) == why


def test_explain_keeps_foreign_text_on_one_short_line() -> None:
    [line] = parse("a = 'x'").explain({"a": "evil\r\nINFO all is well " + "z" * 500}.get, NOW)
    assert line.isprintable()
    assert len(line) < 120


# ------------------------------------------------------------------ a value


def test_a_condition_is_a_value() -> None:
    one, same, other = parse("a = 1"), parse(" a = 1\n"), parse("a = 2")
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != "a = 1"
    assert repr(one) == "Condition('a = 1')"
    for copied in (copy.deepcopy(one), copy.copy(one)):
        assert copied == one
        assert copied.evaluate({"a": 1}.get, NOW) is True
    with pytest.raises(AttributeError, match="never changes"):
        one.text = "b = 1"
    with pytest.raises(AttributeError, match="never changes"):
        del one.names


def test_sql_quotes_whatever_names_and_texts_hold() -> None:
    condition = parse("""trait."x"" OR 1=1 --" = 'it''s; DROP TABLE customers' """)
    name, text = 'trait.x" OR 1=1 --', "it's; DROP TABLE customers"
    assert condition.names == {name}
    assert condition.evaluate({name: text}.get, NOW) is True
    with duckdb.connect() as oracle:
        column = name.replace('"', '""')
        oracle.execute(f'CREATE TABLE customers AS SELECT ? AS "{column}"', [text])
        assert oracle.execute(f"SELECT {condition.sql()} FROM customers").fetchall() == [(True,)]


@pytest.mark.parametrize(
    "kind, told",
    [
        ("TINYINT", True), ("UBIGINT", True), ("HUGEINT", True), ("DECIMAL(9, 2)", True), ("FLOAT", True),
        ("DOUBLE", True), ("VARCHAR", None), ("BOOLEAN", None), ("BIT", None), ("JSON", None), ("INTEGER[]", None),
    ],
)  # fmt: skip
def test_sql_reads_a_column_as_the_kind_it_is(kind: str, told: bool | None) -> None:
    with duckdb.connect() as oracle:
        value = "[1]" if kind.endswith("[]") else "'1'::BIT" if kind == "BIT" else "1"
        [(answered,)] = oracle.execute(
            f"SELECT {parse('a = 1').sql()} FROM (SELECT CAST({value} AS {kind}) AS a)"
        ).fetchall()
    assert answered is told


def test_sql_reads_an_enumeration_as_text() -> None:
    with duckdb.connect() as oracle:
        before = parse("a < 'b'").sql()
        asked = oracle.execute(f"SELECT {before} FROM (SELECT 'a'::ENUM ('z', 'a') AS a)")
        assert asked.fetchall() == [(True,)]


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(ValueError, match="do not compile to 'cobol'; they do to: duckdb"):
        parse("a = 1").sql("cobol")
