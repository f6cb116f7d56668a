"""Real input, in short: the first rows of two public sets imported and tried, every row accounted for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = 6000


def replayed(folder: Path, name: str) -> tuple[str, dict[str, Any]]:
    ran = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "replay_real.py", "--rows", str(ROWS), "--only", name],
        env=os.environ | {"WAYLINE_DATA": str(folder), "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    text, _, last = ran.stdout.rstrip().rpartition("\n")
    return text, json.loads(last)[name]


def test_orders_and_returns_of_a_shop_are_imported_and_tried(real_data: Callable[[str], Path]) -> None:
    path = real_data("online-retail/transactions.parquet")
    text, found = replayed(path.parents[1], "online-retail")
    assert found["rows"] == ROWS and found["rows_passed_over"]["no customer is named"] > 0
    assert found["events"] == found["stored"] > 100 and found["set_aside"] == 0
    orders = found["journeys"]["order-confirmation"]
    assert orders["entered"] == orders["proposed"] == orders["to_be_sent"] > 100 and orders["control"] == 0
    assert "Assumed, so read the figures with it in mind:" in text and "everybody consents" in text


def test_views_and_carts_of_strangers_are_imported_and_tried(real_data: Callable[[str], Path]) -> None:
    path = real_data("retailrocket-events/events.parquet")
    text, found = replayed(path.parents[1], "retailrocket")
    assert found["rows"] == ROWS and found["events"] == found["stored"] > 0.9 * ROWS
    carts = found["journeys"]["cart-recovery"]
    assert carts["entered"] >= carts["proposed"] > 50 and carts["held_back"]
    assert "'Product Added' is told as 'Checkout Step Viewed' too" in text


def test_data_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "replay_real.py"],
        env=os.environ | {"WAYLINE_DATA": str(tmp_path), "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout.splitlines()[-1])["online-retail"].startswith("skipped: no ")


@pytest.mark.parametrize("wrong", [("--assume", "consent=mail"), ("--treat", "Product Added")])
def test_a_misspelt_assumption_is_a_misspelt_command(wrong: tuple[str, str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "wayline.cli", "simulate", str(ROOT / "examples" / "apparel"), *wrong],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2 and ("email" in ran.stderr or "EVENT=EVENT" in ran.stderr), ran.stderr
