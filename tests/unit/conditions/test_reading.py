"""What is read as a condition, and what is refused, how, and how fast."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wayline.conditions import Condition, ConditionError, parse
from wayline.conditions.tree import Between, Compare, Literal, Name, Not, Now, Sum
from wayline.errors import AuthorError

SOURCE = Path(__file__).parents[3] / "src"


def refused(text: object) -> ConditionError:
    with pytest.raises(ConditionError) as found:
        parse(text)  # type: ignore[arg-type]  # because an author's YAML may hold anything
    return found.value


@pytest.mark.parametrize(
    "text, names",
    [
        ("cart_value >= 20 AND match_confidence >= 0.8", {"cart_value", "match_confidence"}),
        ("last_order.at < now - INTERVAL '30' DAY", {"last_order.at", "now"}),
        ("NOW() > estimate.stage.at", {"estimate.stage.at", "now"}),
        ('stock."JK-101.5" > 0 OR "odd name" = 1', {"stock.JK-101.5", "odd name"}),
        ("stock.123 > 0", {"stock.123"}),
        ("date = 1 AND order.select = 2 AND interval IS NULL", {"date", "order.select", "interval"}),
        ("größe = 1 AND trait.名前 LIKE '%'", {"größe", "trait.名前"}),
        ("TRUE", set()),
    ],
)
def test_names_are_those_it_reads(text: str, names: set[str]) -> None:
    assert parse(text).names == names


@pytest.mark.parametrize(
    "one, other",
    [
        ("a >= 3 days", "a >= INTERVAL '3 days'"),
        ("a >= 3 days", "a >= INTERVAL '3' DAY"),
        ("a >= 3 days", "a >= interval 3 days"),
        ("a >= 3 days", "a >= 72 hours"),
        ("a >= 3days", "a >= 4320 minutes"),
        ("a >= 2 weeks", "a >= 14 days"),
        ("a >= 1.5 seconds", "a >= INTERVAL '1.5 second'"),
        ("now() > a", "NOW > a"),
        ("a != 1", "a <> 1"),
        ("a = - -1", "a = +1"),
        ("a = .5", "a = 0.5"),
        ("((a)) = (1)", "a = 1"),
        ("a = 1\n  AND b = 2", "(a = 1) AND (b = 2)"),
        ("NOT a = 1", "NOT (a = 1)"),
        ("a NOT IN (1)", "NOT a IN (1)"),
        ("a IS NOT NULL", "NOT (a IS NULL)"),
        ("a = TIMESTAMP '2026-11-27T00:00:00+01:00'", "a = TIMESTAMP '2026-11-26 23:00:00Z'"),
    ],
)
def test_two_spellings_are_one_tree(one: str, other: str) -> None:
    assert parse(one)._tree == parse(other)._tree


def test_the_tree_is_what_was_written() -> None:
    assert parse("a + 3 days < now")._tree.left.sign == "+"  # type: ignore[union-attr]  # because it is a Compare
    assert parse("NOT a = 'x'")._tree == Not(Compare(Name("a"), "=", Literal("x")))
    assert parse("a BETWEEN now AND now")._tree == Between(Name("a"), Now(), Now())
    assert parse("now - a = b")._tree == Compare(Sum(Now(), "-", Name("a")), "=", Name("b"))


@pytest.mark.parametrize(
    "text, column, reason",
    [
        ("", 1, "the condition is empty"),
        ("   \n ", 1, "the condition is empty"),
        ("a = 1 b", 7, "expected a unit after 1, came 'b'"),
        ("a b", 3, "'b' does not fit what stands before it"),
        ("a = = 1", 5, "'=' does not fit what stands before it"),
        ("a = 1)", 6, "this bracket closes nothing"),
        ("a BETWEEN 1", 11, "the condition ends in the middle, after '1'"),
        ("a IS", 3, "IS takes NULL or NOT NULL"),
        ("a IS TRUE", 1, "IS takes NULL or NOT NULL"),
        ("now IS NULL", 1, "IS NULL asks about a fact, came now"),
        ("a IN 1", 1, "IN takes a list"),
        ("a IN ()", 1, "IN takes a list"),
        ("a IN (1, b)", 10, "IN takes literals, came b"),
        ("a IN (1, 'x')", 10, "1 (number) compared with 'x' (text) is never known"),
        ("a LIKE b", 8, "LIKE takes a pattern in single quotation marks, came b"),
        ("a LIKE 'x' ESCAPE '!'", 12, "LIKE has no escape character"),
        ("a ILIKE 'x'", 3, "Comparison is binary"),
        ("a = 'x' 'y'", 9, "two texts follow each other"),
        ("a = $1", 5, "'$' is not part of a condition"),
        ("a = ?", 5, "'?' is not part of a condition"),
        ("a = :x", 5, "':' is not part of a condition"),
        ("a = b'1'", 6, "does not fit"),
        ("a = E'x'", 5, "is not part of a condition"),
        ("a = $$x$$", 5, "is not part of a condition"),
        ("a::INT = 1", 2, "Values are not cast"),
        ("a[1] = 2", 2, "'[' is not part of a condition"),
        ("(a, b) = (1, 2)", 2, "tuple is not part of a condition"),
        ("`a` = 1", 1, "'`' is not part of a condition"),
        ("{{ a }}", 1, "is not part of a condition"),
        ("CASE WHEN a THEN b END", 1, "Write it with AND and OR"),
        ("a + 1 > 2", 1, "a + 1 means nothing"),
        ("3 days - now > a", 1, "3 days - now means nothing"),
        ("now + now = a", 1, "now + now means nothing"),
        ("a = -b", 6, "a minus sign belongs before a number"),
        ("5", 1, "5 alone says nothing"),
        ("now", 1, "now alone says nothing"),
        ("a AND 3 days", 7, "3 days alone says nothing"),
        ("a > 3 days ago", 12, "'ago' does not fit"),
        ("a > 3 foo", 7, "Units: second, minute, hour, day, week"),
        ("a > INTERVAL '3'", 14, "expected a duration such as 3 days"),
        ("a > INTERVAL '1 day 2 hours'", 14, "expected a duration such as 3 days"),
        ("a > 2 years", 5, "a year has no fixed length"),
        ("a > 36501 days", 5, "durations end at 36500 days"),
        ("a = TIMESTAMP '2026-01-01'", 15, "expected an instant with its zone"),
        ("a = TIMESTAMP 'noon'", 15, "expected an instant with its zone"),
        ("a = TIMESTAMP '0001-01-01T00:00:00+02:00'", 15, "expected an instant with its zone"),
        ("a = 9007199254740993", 5, "larger than numbers are exact to"),
        ("a = 1e400", 5, "larger than numbers are exact to"),
        ("a = 1.2.3", 5, "a name begins with a letter"),
        ("a.b.c.d.e = 1", 1, "a name has 1 to 4 parts"),
        ('a."" = 1', 1, "none empty"),
        ("a.* = 1", 3, "'*' is not part of a condition"),
        ("a\x00 = 1", 2, "came the invisible character '\\x00'"),
        ("a = '\u202e'", 6, "came the invisible character '\\u202e'"),
        ("a = '\ud800'", 6, "came the invisible character '\\ud800'"),
        ("NOT " * 17 + "a", 65, "nested deeper than 16"),
        ("a = " + "- " * 17 + "1", 37, "nested deeper than 16"),
        ("(" * 17 + "a" + ")" * 17, 17, "nested deeper than 16"),
        ("a < now - 1 day - 1 day - 1 day - 1 day", 5, "more than 3 additions in a row"),
        ("a = 1 OR\n  b = \n 'x' c", 6, "'c' does not fit"),
    ],
)
def test_a_refusal_says_where_and_what(text: str, column: int, reason: str) -> None:
    error = refused(text)
    assert reason in error.reason
    assert error.column == column


def test_a_refusal_in_a_later_line_says_the_line() -> None:
    error = refused("a = 1\n  AND b == 2")
    assert (error.line, error.column) == (2, 9)
    assert str(error) == "line 2, column 9: '==' is not part of a condition. Write =."
    assert isinstance(error, AuthorError)


@pytest.mark.parametrize("text", [True, 20, None, ["a"], {"a": 1}, b"a = 1"])
def test_what_is_no_text_is_refused(text: object) -> None:
    assert "expected a condition as text" in refused(text).reason


HOSTILE = {
    "100 kB": "a = 1 OR " * 11_000,
    "brackets": "(" * 1_900 + "a" + ")" * 1_900,
    "open brackets": "(" * 3_999,
    "NOTs": "NOT " * 900 + "a",
    "few NOTs": "NOT " * 300 + "a",
    "NOT brackets": "NOT (" * 200 + "a" + ")" * 200,
    "signs": "a = " + "- " * 500 + "1",
    "sums": "a < now" + " - 3 days" * 120,
    "comparisons": "a = " * 250 + "1",
    "betweens": "a BETWEEN " * 150 + "1",
    "INs": "a IN (" * 200 + "1" + ")" * 200,
    "dots": "a." * 290 + "a = 1",
    "intervals": "a > " + "INTERVAL " * 250 + "'3 days'",
    "quotation marks": "'" * 3_999,
    "digits": "a = " + "9" * 3_900,
    "exponent": "a = 1e" + "9" * 3_900,
    "subquery": "a IN (SELECT b FROM read_csv('/etc/passwd'))",
    "function": "read_text('/etc/passwd') = 'x'",
    "union": "a = 1 UNION SELECT 1",
    "injection": "a = 'x'; DROP TABLE customers; --'",
    "comment": "a = 1 /* " + "x" * 3_000 + " */",
    "nested comment": "/*" * 1_500,
    "cases": "CASE WHEN " * 200,
    "arrays": "[" * 3_000,
    "structs": "{a:" * 1_000,
    "lambdas": "x -> " * 500,
    "long name": '"' + "x" * 3_900 + "",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_refused_at_once(text: str) -> None:
    refused("a = 'warm")
    spent = []
    for _ in range(3):
        started = time.process_time()
        error = refused(text)
        spent.append(time.process_time() - started)
    assert len(str(error)) < 500
    assert min(spent) < 0.05, spent


@pytest.mark.parametrize(
    "text",
    [
        " OR ".join(f"a = {number}" for number in range(149)),
        "a IN (" + ", ".join(str(number) for number in range(290)) + ")",
        "(" * 16 + "a = 1" + ")" * 16,
        "NOT " * 16 + "a",
        "a < now - 1 day - 1 day - 1 day",
        "a = '" + "x" * 3_900 + "'",
    ],
)
def test_what_keeps_the_limits_is_read_and_answered(text: str) -> None:
    assert parse(text).evaluate({"a": None}.get, datetime(2026, 11, 25, tzinfo=UTC)) is None
    assert parse(text).sql()


SCRAPS = """
a b.c now now() ( ) = <> < <= AND OR NOT IN IS NULL BETWEEN LIKE 1 -1 2.5 'x' '%' 3 days INTERVAL '3' DAY TRUE FALSE
, . - + "q" TIMESTAMP '2026-01-01T00:00:00Z' ; * :: SELECT CASE -- /* */ $1 [ ] { } ESCAPE -> :=
"""
WORDS = st.sampled_from(SCRAPS.split())


@settings(max_examples=100, deadline=None)
@given(text=st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=40))
@example(text="a IN (b IN (1))")
@example(text="INTERVAL INTERVAL")
@example(text="a.now() = 1")
@example(text="NOT")
@example(text="a = 'x' ''")
def test_any_text_is_a_condition_or_a_clear_refusal(text: str) -> None:
    try:
        condition = parse(text)
    except ConditionError as error:
        refusal = error
    else:
        assert isinstance(condition, Condition)
        assert parse(condition.text) == condition
        return
    assert refusal.reason.endswith(".")
    assert 1 <= refusal.line <= text.count("\n") + 1
    assert 1 <= refusal.column <= len(text) + 1


def test_importing_the_nouns_does_not_import_sqlglot() -> None:
    asked = "import sys, wayline.domain; print('sqlglot' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", asked], check=True, capture_output=True, text=True, env={"PYTHONPATH": str(SOURCE)}
    )
    assert told.stdout.strip() == "False"
