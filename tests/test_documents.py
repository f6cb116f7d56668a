"""Documents say no more than the code does: pages written from it, links that lead somewhere, examples that parse."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.written import REFERENCE, ROOT, commands, example_of, limits_page, pages
from typer.main import get_command

from wayline.cli import app

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("name", pages())
def test_a_page_written_from_the_code_is_up_to_date(name: str) -> None:
    written = (REFERENCE / name).read_text("utf-8")
    assert written == pages()[name], f"docs/reference/{name} is out of date; write it anew: python -m tests.written"


def test_every_limit_says_what_it_bounds() -> None:
    silent = [line for line in limits_page().split("\n") if line.startswith("|  |")]
    assert not silent, "say it in a comment behind the constant, or in a text below it:\n" + "\n".join(silent)


@pytest.mark.parametrize("name", commands())
def test_the_help_of_a_command_ends_with_an_example_that_it_understands(name: str) -> None:
    command = commands()[name]
    said = shlex.split(example_of(command) or "none")
    called = ["wayline", *name.split()]
    assert said[: len(called)] == called, f"wayline {name} --help must end with `Example: wayline {name} ...`"
    words = said[len(called) :]
    command.make_context(name, words)  # raises where a word or an option of it is unknown


def test_the_help_of_wayline_itself_has_an_example() -> None:
    whole = get_command(app)
    first, called, *words = shlex.split(example_of(whole) or "none none")
    assert first == "wayline"
    commands()[called].make_context(called, words)


def test_every_option_says_what_it_does() -> None:
    silent = [f"{name} {each.name}" for name, one in commands().items() for each in one.params if not each.help]
    assert not silent


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, heading = link.partition("#")
        if re.match(r"[a-z]+:", file):
            continue
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{path.name} links to {link}, which is not there"
        if heading:
            assert heading in anchors(target.read_text("utf-8")), f"{path.name} links to {link}: no such heading"


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_names_every_document() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    linked = {(ROOT / "docs" / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)", index)}
    missing = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md") if path not in linked]
    assert sorted(missing) == ["docs/README.md"]


def test_the_map_of_the_code_names_every_module_and_no_other() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    table = text[text.index("## Code map") : text.index("`tests/` mirrors it")]
    rows = [line for line in table.split("\n") if line.startswith("| ")][1:]
    named = " ".join(row.split("|")[1] + row.split("|")[3] for row in rows)
    mapped = {name.removesuffix(".py") for name in re.findall(r"`([a-z_]+(?:\.py)?)/?`", named)}
    source = ROOT / "src" / "wayline"
    parts = [path.relative_to(source).with_suffix("").parts for path in source.rglob("*.py")]
    there = {name for each in parts for name in each} - {"__init__", "__main__"}
    assert mapped == there


def test_every_benchmark_is_told_of_with_its_command() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        assert f"python benchmarks/{path.name}" in page, f"docs/benchmarks.md does not say how to run {path.name}"


def test_every_decision_record_is_numbered_and_has_its_parts() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    for number, path in enumerate(records, start=1):
        text = path.read_text("utf-8")
        assert path.name.startswith(f"{number:04}-"), path
        assert text.startswith(f"# {number}. "), path
        assert "**Status:** " in text, path


def test_no_document_speaks_of_how_it_was_made() -> None:
    for path in DOCUMENTS:
        found = re.search(r"\b(issue #\d+|sub-?agent|this session|co-authored-by)\b", path.read_text("utf-8"), re.I)
        assert found is None, f"{path}: {found}"
