"""The page docs/reference/conditions.md, row by row: what it says is what happens, in Python and in DuckDB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from wayline.conditions import ConditionError, parse
from wayline.conditions.grammar import DEPTH_MAX, TEXT_MAX, TOKENS_MAX
from wayline.conditions.reading import ARITHMETIC_MAX, DURATION_LITERAL_MAX, NAME_PARTS_MAX

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "conditions.md"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def rows_of(*heads: str) -> list[tuple[str, ...]]:
    """The rows of every table on the page with these column heads, without their backticks."""

    def read() -> Iterator[tuple[str, ...]]:
        inside = False
        for line in PAGE.read_text(encoding="utf-8").splitlines():
            cells = tuple(cell.strip() for cell in line[1:-1].split("|"))
            if cells == heads:
                inside = True
            elif not line.startswith("|"):
                inside = False
            elif inside and not line.startswith("|---"):
                yield tuple(re.sub(r"^`(.*)`$", r"\1", cell) for cell in cells)

    rows = list(read())
    assert rows, f"no table of {heads} on {PAGE.name}"
    assert all(len(row) == len(heads) for row in rows), rows
    return rows


def facts_of(text: str) -> dict[str, Any]:
    """Facts as the page writes them: YAML on one line, in which `20 days` is a duration."""
    facts = yaml.safe_load("{" + text + "}")
    spans = {name: re.fullmatch(r"(\d+) days", value) for name, value in facts.items() if isinstance(value, str)}
    return facts | {name: timedelta(days=int(found[1])) for name, found in spans.items() if found}


def answer_in_sql(text: str, facts: dict[str, Any]) -> bool | None:
    condition = parse(text)
    missing = {name: None for name in condition.names if name not in facts and name != "now"}
    columns = ", ".join(f'? AS "{name}"' for name in (facts | missing or {"nothing": None}))
    with duckdb.connect() as oracle:
        oracle.execute(f"CREATE TABLE customers AS SELECT {columns}", list((facts | missing or {"": None}).values()))
        given = {"now": NOW} if "now" in condition.names else {}
        return oracle.execute(f"SELECT {condition.sql()} FROM customers", given).fetchone()[0]


@pytest.mark.parametrize("text, facts, answer", rows_of("condition", "facts", "answer"))
def test_each_example_answers_as_the_page_says(text: str, facts: str, answer: str) -> None:
    expected = {"true": True, "false": False, "unknown": None}[answer]
    assert parse(text).evaluate(facts_of(facts).get, NOW) is expected
    assert answer_in_sql(text, facts_of(facts)) is expected


@pytest.mark.parametrize("text, facts, turns", rows_of("condition", "facts", "turns at"))
def test_each_example_turns_when_the_page_says(text: str, facts: str, turns: str) -> None:
    expected = None if turns == "never" else datetime.fromisoformat(turns)
    assert parse(text).flips_at(facts_of(facts).get, NOW) == expected


@pytest.mark.parametrize("text, facts, why", rows_of("condition", "facts", "why"))
def test_each_example_is_explained_as_the_page_says(text: str, facts: str, why: str) -> None:
    assert parse(text).explain(facts_of(facts).get, NOW) == (why,)


@pytest.mark.parametrize("text, refusal", rows_of("text", "refused with"))
def test_each_refusal_reads_as_the_page_says(text: str, refusal: str) -> None:
    with pytest.raises(ConditionError) as refused:
        parse(text)
    assert str(refused.value) == refusal


def test_the_limits_are_those_of_the_page() -> None:
    assert dict(rows_of("limit", "value")) == {
        "characters of a condition": str(TEXT_MAX),
        "words and signs": str(TOKENS_MAX),
        "brackets within brackets": str(DEPTH_MAX),
        "additions in a row": str(ARITHMETIC_MAX),
        "parts of a name": str(NAME_PARTS_MAX),
        "days of a written duration": str(DURATION_LITERAL_MAX.days),
    }
