"""What other tools sent to each arm: alike is chance, unlike is told."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from tests.shop import NOON

from wayline.measurement.elsewhere import elsewhere
from wayline.measurement.outcomes import Exposure


def season(seed: int, *, more: float, people: int = 1500) -> tuple[list[Exposure], list[tuple[str, object, str]]]:
    """People in two arms, each written to by another tool about twice a week; `more` often in one arm."""
    chance = random.Random(seed)
    exposures, messages = [], []
    for number in range(people):
        arm = "treatment" if number % 2 else "control"
        name = f"c{number}"
        exposures.append(Exposure(f"d{number}", name, "welcome", arm, NOON))
        rate = 0.3 * (1 + more * (arm == "treatment"))
        for day in range(-20, 7):
            if chance.random() < (rate if day >= 0 else 0.3):
                messages.append((name, NOON + timedelta(days=day, hours=1), f"m{number}-{day}"))
    return exposures, messages


def test_arms_that_get_as_much_are_alike_however_often_one_looks() -> None:
    for seed in range(12):
        exposures, messages = season(seed, more=0.0)
        (found,) = elsewhere(exposures, messages).values()
        assert not found.is_uneven
        assert found.sentence.endswith("no more different than chance makes them.")


def test_arms_that_do_not_are_told_with_both_figures() -> None:
    exposures, messages = season(1, more=0.5)
    (found,) = elsewhere(exposures, messages).values()
    assert found.is_uneven
    assert "the comparison measures the other tools too" in found.sentence
    assert (found.control.n, found.treatment.n) == (750, 750)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_told_is_nothing_said(count: int) -> None:
    exposures, messages = season(1, more=0.5, people=4)
    assert not any(one.is_uneven for one in elsewhere(exposures, messages[:count]).values())
    assert elsewhere(exposures, []) == {}
