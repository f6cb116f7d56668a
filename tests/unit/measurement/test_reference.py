"""The reference page: its examples run, and its numbers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from wayline.measurement import outcomes, verdicts
from wayline.measurement.earnings import ABSURD
from wayline.measurement.effects import TUNED_FOR
from wayline.measurement.experiments import UNEVEN_BELOW

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "measurement.md").read_text(encoding="utf-8")


def test_its_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "measurement.md", "exec"), {})


def test_every_word_of_the_verdict_has_a_heading() -> None:
    assert {word for word in get_args(verdicts.Word) if f"\n### {word}\n" in TEXT} == set(get_args(verdicts.Word))


def test_its_numbers_are_the_codes() -> None:
    for says in (
        f"they buy in the {outcomes.WINDOW.days} days after",
        f"within {outcomes.CLAIM_WINDOW.days} days after a message",
        f"in the {outcomes.PRE_WINDOW.days} days before exposure",
        f"an arm has fewer than {verdicts.ARM_MIN} people",
        f"a price {ABSURD} times the lowest",
        f"p = {UNEVEN_BELOW}",
        f"/{TUNED_FOR} (Waudby-Smith",
    ):
        assert says in TEXT, says
    assert verdicts.WORTH == 0.1 and "a tenth of what a person brings" in TEXT
