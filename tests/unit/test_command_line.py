"""The command line at its edges: every end has its exit code, and what others broke shows no traceback."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console
from tests.recorded_shop import START, recorded_shop

from wayline import cli
from wayline.errors import OperatorError
from wayline.runtime import folders
from wayline.runtime.replaying import examine
from wayline.serving.report import build, print_report
from wayline.store import Batch

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100"}


def run(*words: str, within: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wayline.cli", *words],
        capture_output=True,
        text=True,
        cwd=within,
        env=ENVIRONMENT,
        check=False,
    )


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folders.copy_example(tmp_path / "shop")
    return tmp_path / "shop"


def test_problems_told_as_json_end_with_one_too(shop: Path) -> None:
    (shop / "policy.yaml").write_text("[]")
    assert run("check", "shop", "--json", within=shop.parent).returncode == 1


def test_what_can_be_used_ends_with_zero(shop: Path) -> None:
    assert run("check", "shop", "--json", within=shop.parent).returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ("init", "file"),
        ("init", "file/below"),
        ("demo", "--folder", "file", "--customers", "20", "--days", "1", "--no-serve"),
        ("demo", "--folder", "file/below", "--customers", "20", "--days", "1", "--no-serve"),
    ],
    ids=" ".join,
)
def test_a_folder_that_cannot_be_is_told_in_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("here already")
    ended = run(*words, within=tmp_path)
    assert ended.returncode == 3
    assert ended.stderr.startswith("wayline: file") and ended.stderr.count("\n") == 1
    assert (tmp_path / "file").read_text() == "here already"


def test_a_report_that_cannot_be_written_is_told_before_the_season_is_played(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here already")
    ended = run("demo", "--json", "file/report.json", "--folder", "season", "--no-serve", within=tmp_path)
    assert (ended.returncode, ended.stdout) == (3, "") and ended.stderr.startswith("wayline: file")


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_cannot_be_is_misspelt(shop: Path, port: str) -> None:
    ended = run("serve", "shop", "--port", port, within=shop.parent)
    assert ended.returncode == 2 and "Invalid value for '--port'" in ended.stderr


def ending_of(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> object:
    def fails(standalone_mode: bool) -> int:
        if error is not None:
            raise error
        return 130  # as Ctrl-C comes back

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_the_machine_in_the_way_is_told_with_its_path(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending_of(monkeypatch, PermissionError(13, "Permission denied", "report.json")) == 3
    told = capsys.readouterr().err
    assert told.startswith("wayline: report.json: Permission denied. ") and "Traceback" not in told


def test_a_defect_of_ours_is_owned_up_to(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending_of(monkeypatch, KeyError("lost")) == 70
    assert "a defect of Wayline's, please report it" in capsys.readouterr().err


def test_ctrl_c_is_not_success(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ending_of(monkeypatch, None) == 130


def test_a_demo_stopped_by_ctrl_c_ends_in_order_and_in_silence(tmp_path: Path) -> None:
    words = ("demo", "--customers", "200", "--days", "90", "--no-serve", "--folder", "season")
    started = subprocess.Popen(
        [sys.executable, "-m", "wayline.cli", *words],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert started.stdout is not None
    while "02 Oct" not in (line := started.stdout.readline()):
        assert line, "it ended by itself"
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does: all of them at once
    _, told = started.communicate(timeout=60)
    assert (started.returncode, told) == (130, "")


def test_mail_that_the_server_would_not_take_is_something_to_look_at() -> None:
    shop = recorded_shop()
    detail = "localhost:25 cannot be reached"
    row = replace(next(shop.state.deliveries()), decision_id="d-down", state="pending", settled_at=None, detail=detail)
    shop.state.commit(Batch(deliveries=[replace(row, due_at=START, attempts=1)]))
    found = [problem for problem in examine(shop.log, shop.state).problems if detail in problem]
    assert len(found) == 1 and f"[channels.{row.channel}]" in found[0]


def test_a_full_disk_names_the_folder_and_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise shutil.Error([("a", "b", "[Errno 28] No space left on device: 'a' -> 'b'")])

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(OperatorError, match=r"shop: .*\(\[Errno 28\] No space left on device\)"):
        folders.copy_example(tmp_path / "shop")


def test_in_a_narrow_terminal_the_sentences_stand_below_the_table() -> None:
    shop = recorded_shop()
    report = build(shop.state, shop.log, shop.playbook)
    screen = Console(file=io.StringIO(), width=80)
    print_report(report, screen)
    text = screen.file.getvalue()
    words = " ".join(text.split())
    assert "In words" not in text and max(map(len, text.splitlines())) <= 80
    for line in report.journeys:
        assert " ".join(line.sentence.split()) in words
