"""The tutorial is run as it is read: files are saved, commands typed, and what it shows comes back.

In a block marked `console run`, a line after `$ ` is a command of a shell and the lines below it are its output: in
this order, blanks counted as one, `...` for whatever was left out. A block marked `file=NAME` is saved under that name.
A command that fails ends it, unless the page itself expects the failure (`|| ...`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(?P<marks>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
UNRUN = {"sh"}  # installing, and a server that runs until interrupted


def blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, marks, body) of every fenced block."""
    for found in BLOCK.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, found["marks"].strip(), found["body"]


def typed(body: str) -> Iterator[tuple[str, str]]:
    """(command, output) of a console block."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def shown(expected: str) -> re.Pattern[str]:
    """What is shown, as a pattern over the real output with its blanks made one."""
    lines = [re.escape(" ".join(line.split())).replace(re.escape("..."), ".*") for line in expected.splitlines()]
    lines = [re.sub(r"(?<!^)\\ \.\*$", ".*", line) for line in lines]  # at a line's end there may be nothing more
    return re.compile("".join(r"(?:.*\n)*?" if line == ".*" else rf"{line}\n" for line in lines if line) + r"\Z")


def said(output: str) -> str:
    """Real output with blanks made one, and without empty lines."""
    lines = (" ".join(line.split()) for line in output.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder to sit in, and a machine on which this version of Wayline is installed."""
    installed = tmp_path_factory.mktemp("bin")
    wayline = installed / "wayline"
    wayline.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wayline.cli "$@"\n')
    wayline.chmod(0o755)
    set_here = {
        "PATH": f"{installed}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "COLUMNS": "120",
        "LC_ALL": "C.UTF-8",
    }
    return tmp_path_factory.mktemp("first-hour"), {**os.environ, **set_here}


def test_the_tutorial_runs_as_it_reads(machine: tuple[Path, dict[str, str]]) -> None:
    folder, environment = machine
    for line, marks, body in blocks(PAGE.read_text("utf-8")):
        if saved := re.search(r"\bfile=(\S+)", marks):
            (folder / saved[1]).write_text(body, "utf-8")
            continue
        for command, expected in typed(body) if marks == "console run" else ():
            ran = subprocess.run(
                ["bash", "-c", command],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=120,
            )
            where = f"docs/tutorial.md, block at line {line}: $ {command}\n"
            assert ran.returncode == 0, f"{where}ended with {ran.returncode}:\n{ran.stdout}"
            is_as_shown = bool(shown(expected).match(said(ran.stdout)))
            assert is_as_shown, f"{where}shown:\n{expected}\ncame:\n{ran.stdout}"


def test_every_block_is_run_saved_or_said_not_to_be() -> None:
    for line, marks, _ in blocks(PAGE.read_text("utf-8")):
        assert marks == "console run" or "file=" in marks or marks in UNRUN, f"docs/tutorial.md:{line}: {marks!r}"


@pytest.mark.parametrize(
    ("expected", "output", "is_equal"),
    [
        ("1 problem\n", "1  problem\n", True),
        ("1 problem\n", "2 problems\n", False),
        ("...\nlast\n", "first\n\nsecond\nlast\n", True),
        ("...\nlast\n", "first\nlast\nand more\n", False),
        ("first\n...\n", "first\n", True),
        ("first ... end\n", "first of all the end\n", True),
        ("first ... end\n", "first of all\nend\n", False),
        ("first ...\n", "first\n", True),
        ("", "silence was expected\n", False),
        ("", "", True),
    ],
)
def test_what_is_shown_must_come_back(expected: str, output: str, is_equal: bool) -> None:
    assert bool(shown(expected).match(said(output))) is is_equal
