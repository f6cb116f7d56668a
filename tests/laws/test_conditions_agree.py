"""Law 8, agreement: a condition answers the same in Python and in DuckDB; and the law of `flips_at`.

DuckDB is the oracle. Conditions and rows are generated so that they meet: literals and facts come from the same small
pools, where the edges of each kind live, mixed with arbitrary values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from wayline.conditions import Condition, ConditionError, parse

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
COLUMNS: dict[str, pa.DataType] = {
    "cart_count": pa.int64(),
    "spent": pa.float64(),
    "estimate.churn_risk": pa.float32(),
    "huge": pa.decimal128(38, 0),
    "stage": pa.string(),
    "trait.country": pa.string(),
    "consent.email": pa.bool_(),
    "last_order.at": pa.timestamp("us", tz="UTC"),
    "last_seen": pa.timestamp("us", tz="UTC"),
    "gap": pa.duration("us"),
    "cart": pa.list_(pa.int64()),
    "trigger.naïve": pa.timestamp("us"),
}
SCHEMA = pa.schema(list(COLUMNS.items()))

# ------------------------------------------------------------------ rows

WHOLE = st.sampled_from([0, 1, -1, 2, 20, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)])
FRACTIONS = st.sampled_from([0.0, -0.0, 0.5, 0.1, 20.0, 5e-324, 1.7976931348623157e308, 2.0**53, float("inf")])
TEXTS = st.sampled_from(["", "a", "A", "ab", "a%", "_", "%", "é", "é", "ß", "🛒", "a\x00b", "it's", "10", "TRUE", "\n"])
INSTANTS = st.sampled_from([NOW, NOW - timedelta(days=30), NOW + timedelta(microseconds=1), FIRST, LAST])
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-9, minutes=-30))])
SPANS = st.sampled_from(
    [timedelta(0), timedelta(days=3), timedelta(days=-3), timedelta(microseconds=1), timedelta(days=10_000_001)]
)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | WHOLE
DOUBLES = FRACTIONS | st.floats()
LETTERS = st.text(st.characters(codec="utf-8"), max_size=6) | TEXTS
TIMES = INSTANTS | st.datetimes(datetime(1000, 1, 1), datetime(9000, 1, 1), timezones=ZONES)
DURATIONS = SPANS | st.timedeltas(timedelta(days=-11_000_000), timedelta(days=11_000_000))
FACTS: Mapping[str, st.SearchStrategy[Any]] = {
    "cart_count": NUMBERS,
    "spent": DOUBLES,
    "estimate.churn_risk": st.floats(width=32),
    "huge": st.integers(-(2**126), 2**126) | WHOLE,
    "stage": LETTERS,
    "trait.country": LETTERS,
    "consent.email": st.booleans(),
    "last_order.at": TIMES,
    "last_seen": TIMES,
    "gap": DURATIONS,
    "cart": st.lists(st.integers(0, 9), max_size=2),
    "trigger.naïve": st.datetimes(datetime(1000, 1, 1), datetime(9000, 1, 1)),
}
ROWS = st.fixed_dictionaries({name: st.none() | values for name, values in FACTS.items()})

# ------------------------------------------------------------------ conditions


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _readable(text: str) -> bool:
    return all(sign.isprintable() or sign == "\n" for sign in text)


def _duration(days: int) -> st.SearchStrategy[str]:
    return st.sampled_from([f"{days} days", f"INTERVAL '{days}' DAY", f"{days * 24} hours", f"INTERVAL '{days} days'"])


SIGNS = st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="])
MAYBE_NOT = st.sampled_from(["", "NOT "])
NAMES = st.sampled_from(list(COLUMNS))
SPAN_LITERALS = st.sampled_from([0, 1, 3, 30, 400]).flatmap(_duration) | st.sampled_from(["1.5 hours", "1 second"])
SPAN_VALUES = SPAN_LITERALS | st.just("gap")
NEAR_INSTANTS = st.integers(-400, 400).map(lambda hours: NOW + timedelta(hours=hours))
INSTANT_LITERALS = (TIMES | NEAR_INSTANTS).map(lambda at: f"TIMESTAMP '{at.astimezone(UTC).isoformat()}'")
INSTANT_NAMES = st.sampled_from(["now", "now", "last_order.at", "last_seen"])
MOVED = st.builds("{} {} {}".format, INSTANT_NAMES, st.sampled_from("+-"), SPAN_VALUES)
PASSED = st.builds("{} - {}".format, INSTANT_NAMES, INSTANT_NAMES | INSTANT_LITERALS)
LITERALS: tuple[st.SearchStrategy[str], ...] = (
    st.floats(-1e300, 1e300).map(repr)
    | st.integers(-(2**53), 2**53).map(str)
    | st.sampled_from(["0", "-0.0", "20", "9007199254740992", "1e300", "5e-324", "0.1"]),
    LETTERS.filter(_readable).map(_quoted),
    st.sampled_from(["TRUE", "FALSE"]),
    INSTANT_LITERALS,
    SPAN_LITERALS,
)
NUMBER, TEXT, TRUTH, INSTANT, SPAN = BY_KIND = (
    LITERALS[0] | st.sampled_from(["cart_count", "spent", "estimate.churn_risk", "huge"]),
    LITERALS[1] | st.sampled_from(["stage", "trait.country"]),
    LITERALS[2] | st.just("consent.email"),
    INSTANT_NAMES | MOVED | MOVED.map("({}) - 3 days".format) | INSTANT_LITERALS,
    SPAN_VALUES | PASSED | PASSED.map("({}) - 3 days".format) | st.just("gap + gap"),
)
"""Values of one kind each; most comparisons stay within a kind, or nearly every answer would be unknown."""


def _comparisons(left: st.SearchStrategy[str], right: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("{} {} {}".format, left, SIGNS, right) | st.builds(
        "{} {}BETWEEN {} AND {}".format, left, MAYBE_NOT, right, right
    )


def _in_list(value: st.SearchStrategy[str], literal: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    items = st.lists(literal | st.just("NULL"), min_size=1, max_size=4)
    return st.builds(lambda one, no, many: f"{one} {no}IN ({', '.join(many)})", value, MAYBE_NOT, items)


def _joined(leaves: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds("NOT ({})".format, inner),
            st.builds("({}) AND {}".format, inner, inner),
            st.builds("{} OR ({})".format, inner, inner),
        ),
        max_leaves=4,
    )


ANY_KIND = st.one_of(NAMES, *BY_KIND, st.just("NULL"))
PATTERNS = st.text("ab_%é🛒'", max_size=6).map(_quoted)
LEAVES = st.one_of(
    *(_comparisons(values, values) for values in BY_KIND),
    _comparisons(ANY_KIND, ANY_KIND),
    *(_in_list(values, literals) for values, literals in zip(BY_KIND, LITERALS, strict=True)),
    st.sampled_from(LITERALS).flatmap(lambda literals: _in_list(NAMES, literals)),
    st.builds("{} {}LIKE {}".format, NAMES | TEXT, MAYBE_NOT, PATTERNS),
    st.builds("{} IS {}NULL".format, NAMES, MAYBE_NOT),
    NAMES,
    st.sampled_from(["TRUE", "FALSE", "NULL"]),
)


def compiled(text: str) -> Condition | None:
    """The condition, or None where two literals of different kinds met, which the compiler rightly refuses."""
    try:
        return parse(text)
    except ConditionError as error:
        if "never known" in error.reason or "means nothing" in error.reason:
            return None
        raise


CONDITIONS = _joined(LEAVES).map(compiled).filter(lambda condition: condition is not None)


# ------------------------------------------------------------------ the law of agreement


@pytest.fixture(scope="module")
def oracle() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        # A session zone of its own, to show that no answer hangs on it.
        connection.execute("SET threads = 1; SET TimeZone = 'America/St_Johns'")
        yield connection


def answers_in_sql(
    oracle: duckdb.DuckDBPyConnection, conditions: list[Condition], rows: list[dict[str, Any]]
) -> list[tuple[bool | None, ...]]:
    oracle.register("told", pa.Table.from_pylist(rows, schema=SCHEMA))
    chosen = ", ".join(condition.sql() for condition in conditions)
    query = f"SELECT {chosen} FROM (SELECT * REPLACE (CAST(huge AS HUGEINT) AS huge) FROM told)"
    return oracle.execute(query, {"now": NOW} if "$now" in query else {}).fetchall()


@settings(max_examples=80, deadline=None)
@given(conditions=st.lists(CONDITIONS, min_size=1, max_size=4), rows=st.lists(ROWS, min_size=1, max_size=6))
def test_python_and_duckdb_answer_alike(
    oracle: duckdb.DuckDBPyConnection, conditions: list[Condition], rows: list[dict[str, Any]]
) -> None:
    told = answers_in_sql(oracle, conditions, rows)
    for row, answers in zip(rows, told, strict=True):
        for condition, answer in zip(conditions, answers, strict=True):
            assert condition.evaluate(row.get, NOW) is answer, (condition.text, row)


EDGES = [
    "cart_count = 9007199254740992", "cart_count > spent", "huge = spent", "huge <= cart_count",
    "spent <> spent", "spent = 5e-324", "spent > 1e-300",
    "estimate.churn_risk = 0.1", "stage < trait.country", "stage LIKE '_'", "stage LIKE '%a%_%'", "stage LIKE ''",
    "stage = consent.email", "NOT consent.email OR stage = 'a'", "last_order.at - 30 days < now", "gap > 0 days",
    "last_order.at - last_seen > gap", "now - gap < last_order.at", "gap + gap > 3 days", "last_order.at + gap < now",
    "cart IS NOT NULL AND cart = 1", '"trigger"."naïve" < now', "spent IN (0, NULL)", "spent NOT IN (0.1, 20)",
    "last_order.at IN (TIMESTAMP '2026-11-25T12:00:00Z')", "gap BETWEEN 1 second AND 3 days", "cart_count = stage",
    "now - 36500 days > last_seen", "gap IN (3 days)", "consent.email > FALSE", "consent.email < TRUE",
]  # fmt: skip
"""Each has a way to go wrong of its own: a double that rounds, a zone that is assumed, a cast that throws."""


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(ROWS, min_size=8, max_size=24))
def test_the_edges_agree_on_any_rows(oracle: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]) -> None:
    conditions = [parse(text) for text in EDGES]
    told = answers_in_sql(oracle, conditions, rows)
    for row, answers in zip(rows, told, strict=True):
        for condition, answer in zip(conditions, answers, strict=True):
            assert condition.evaluate(row.get, NOW) is answer, (condition.text, row)


@settings(max_examples=100, deadline=None)
@given(text=LETTERS, pattern=st.text("ab_%é🛒", max_size=8) | LETTERS.filter(_readable))
@example(text="aab", pattern="%ab")
@example(text="abab", pattern="%a_a_%")
@example(text="é", pattern="__")
def test_like_agrees(oracle: duckdb.DuckDBPyConnection, text: str, pattern: str) -> None:
    condition = parse(f"stage LIKE {_quoted(pattern)}")
    [(told,)] = oracle.execute(f"SELECT {condition.sql()} FROM (SELECT ?::VARCHAR AS stage)", [text]).fetchall()
    assert condition.evaluate({"stage": text}.get, NOW) is told


# ------------------------------------------------------------------ the law of time

TIME_LEAVES = st.one_of(
    _comparisons(INSTANT, INSTANT),
    _comparisons(SPAN, SPAN),
    _in_list(PASSED, SPAN_LITERALS),
    _in_list(MOVED, NEAR_INSTANTS.map(lambda at: f"TIMESTAMP '{at.isoformat()}'")),
    st.sampled_from(["consent.email", "last_order.at IS NULL", "spent > 1"]),
)
TIMED = _joined(TIME_LEAVES).map(compiled).filter(lambda condition: condition is not None)
NEAR = st.timedeltas(timedelta(days=-500), timedelta(days=500)) | SPANS | st.integers(-450, 450).map(timedelta)
NEAR_ROWS = st.fixed_dictionaries(
    {
        "last_order.at": st.none() | NEAR.filter(lambda span: abs(span) < timedelta(days=10_000)).map(NOW.__add__),
        "last_seen": st.none() | NEAR.filter(lambda span: abs(span) < timedelta(days=10_000)).map(NOW.__add__),
        "gap": st.none() | NEAR,
        "consent.email": st.none() | st.booleans(),
        "spent": st.none() | DOUBLES,
    }
)
LATER = st.lists(st.timedeltas(timedelta(microseconds=1), timedelta(days=400)), min_size=20, max_size=40)


def instants_of_interest(row: Mapping[str, Any], later: list[timedelta]) -> Iterator[datetime]:
    """Any instants of 400 days, and those around which an answer is likeliest to change."""
    yield from (NOW + span for span in later)
    facts = [value for value in row.values() if isinstance(value, datetime)]
    spans = [timedelta(days=days) for days in (0, 1, 3, 6, 30, 33, 400)]
    spans += [value for value in row.values() if isinstance(value, timedelta) and abs(value) < timedelta(days=10_000)]
    for fact in facts:
        for span in spans:
            for at in (fact + span, fact - span, fact + span + timedelta(days=3), fact - span + timedelta(days=3)):
                yield from (at + timedelta(microseconds=step) for step in (-1, 0, 1))


@settings(max_examples=100, deadline=None)
@given(condition=TIMED, row=NEAR_ROWS, later=LATER)
def test_between_now_and_flips_at_time_alone_changes_nothing(
    condition: Condition, row: dict[str, Any], later: list[timedelta]
) -> None:
    flips_at = condition.flips_at(row.get, NOW)
    answer = condition.evaluate(row.get, NOW)
    if flips_at is not None:
        assert flips_at > NOW
        assert condition.evaluate(row.get, flips_at) is not answer, "it turns exactly then, so nobody wakes in vain"
        assert condition.evaluate(row.get, flips_at - timedelta(microseconds=1)) is answer
    for at in instants_of_interest(row, later):
        if at > NOW and (flips_at is None or at < flips_at):
            assert condition.evaluate(row.get, at) is answer, (condition.text, row, at)


@settings(max_examples=60, deadline=None)
@given(condition=CONDITIONS, row=ROWS)
def test_a_condition_that_does_not_read_now_never_flips(condition: Condition, row: dict[str, Any]) -> None:
    assume("now" not in condition.names)
    assert condition.flips_at(row.get, NOW) is None


@settings(max_examples=60, deadline=None)
@given(condition=CONDITIONS, row=ROWS)
def test_every_answer_can_be_explained_on_one_line_each(condition: Condition, row: dict[str, Any]) -> None:
    words = condition.explain(row.get, NOW)
    assert words
    assert all(line.isprintable() for line in words)
