"""Whatever an author types, the compiler answers with a playbook or with problems that have a file and a line."""

from __future__ import annotations

from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from wayline.domain import Playbook
from wayline.playbook import check_playbook
from wayline.playbook.stories import read_stories
from wayline.playbook.texts import Findings

ROOT = Path(__file__).parents[2]
GOOD: dict[str, str] = yaml.safe_load((ROOT / "tests/unit/playbook/broken.yaml").read_text("utf-8"))["playbook"]
STORIES = (ROOT / "examples/apparel/tests/collisions.yaml").read_text("utf-8")

BITS = st.sampled_from(
    [
        "",
        "null",
        "[]",
        "{}",
        "[[]]",
        "{a: {b: c}}",
        "- x",
        "true",
        "-1",
        "1e999",
        "0x1F",
        "'",
        '"',
        "{{ x",
        "{% if %}",
        "&a",
        "*a",
        "\n",
        "\t",
        ":",
        ": ",
        "#",
        "|",
        ">",
        "---\n",
        "!!str x",
        "<<: *a",
        "\x00",
        "\ud7ff",
        "é",
        "=",
        "NOT (",
        "now - 1 day",
        "99999999999999999999",
        ".inf",
        "2026-02-30",
        "12:61",
        "per ",
        "after ",
        "${x}",
        "%",
        "\\",
    ]
)


@st.composite
def edited(draw: st.DrawFn, text: str) -> str:
    """A text with a few edits such as fingers make: something cut, something put in its place, a line twice."""
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["cut", "put", "word", "line"]))
        if kind == "line":
            lines = text.splitlines(keepends=True) or [""]
            at = draw(st.integers(0, len(lines) - 1))
            text = "".join([*lines[: at + 1], lines[draw(st.integers(0, len(lines) - 1))], *lines[at + 1 :]])
            continue
        start = draw(st.integers(0, len(text)))
        if kind == "word":
            start = max(text.rfind(" ", 0, start), 0)
            end = text.find("\n", start)
            end = len(text) if end < 0 else end
        else:
            end = min(len(text), start + (draw(st.integers(0, 12)) if kind == "cut" else 0))
        text = text[:start] + draw(BITS) + text[end:]
    return text


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_text_compiles_or_has_problems(data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(sorted(GOOD)))
    checked = check_playbook({**GOOD, file: data.draw(edited(GOOD[file]))})
    assert isinstance(checked.playbook, Playbook) is not bool(checked.problems)
    for problem in (*checked.problems, *checked.warnings):
        assert problem.line >= 1
        assert problem.text.endswith((".", "?")), problem


@settings(max_examples=60, deadline=None)
@given(edited(STORIES))
def test_any_story_reads_or_has_problems(text: str) -> None:
    playbook = check_playbook(GOOD).playbook
    assert playbook is not None
    findings = Findings()
    read_stories({"tests/any.yaml": text}, playbook, findings)
    for problem in findings.problems:
        assert problem.line >= 1
