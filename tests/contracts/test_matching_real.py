"""Public sets with a known answer, through the public command."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from wayline.cli import app

SETS = Path(os.environ.get("WAYLINE_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data")) / "identity"
needs_sets = pytest.mark.skipif(
    not SETS.is_dir(), reason="the public identity sets are not here; say where: WAYLINE_DATA=/path/to/data"
)


def evaluated(*words: str | Path, capsys: Any) -> dict[str, Any]:
    app(["identity", "evaluate", *map(str, words), "--json"], standalone_mode=False)
    return json.loads(re.sub(r"^[^{]*", "", capsys.readouterr().out))


@needs_sets
@pytest.mark.slow
def test_febrl_4_is_linked_without_being_told_the_answer(capsys: Any) -> None:
    made = evaluated(
        SETS / "febrl4a.parquet", SETS / "febrl4b.parquet", "--truth", "person", "--one-to-one", capsys=capsys
    )
    assert made["true_pairs"] == 5_000
    assert made["chosen"]["f1"] >= 0.999
    assert {each["column"] for each in made["columns"] if each["role"] == "ignored"} == {"rec_id"}
    assert "person" not in {each["column"] for each in made["columns"]}


@needs_sets
def test_fake_1000_is_clearly_above_its_rules_at_full_precision(capsys: Any, tmp_path: Path) -> None:
    drawn = tmp_path / "curve.svg"
    made = evaluated(
        SETS / "fake_1000.parquet", "--truth", "cluster", "--labels", SETS / "fake_1000_labels.parquet",
        "--curve", drawn, capsys=capsys,
    )  # fmt: skip
    assert made["true_pairs"] == 2_031
    assert made["chosen"]["f1"] > 0.96 and made["chosen"]["precision"] >= 0.95
    assert made["labelled"]["positive"] == 2_031 and made["labelled"]["f1"] > 0.96
    assert drawn.read_text().startswith("<svg") and "polyline" in drawn.read_text()
