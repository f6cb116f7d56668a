"""Who is in which arm: pure, even, and unmoved but by the merge rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wayline.domain import Assignment
from wayline.measurement.experiments import (
    assign,
    journey_experiment,
    merge_assignment,
    merge_assignments,
    planned,
    sample_ratio,
)

T = datetime(2025, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_law_10_assignment_splits_within_binomial_error(share: float) -> None:
    people = 20_000
    controls = sum(assign("journey:cart-recovery", f"customer-{n}", share) == "control" for n in range(people))
    assert stats.binomtest(controls, people, share).pvalue > 0.001


def test_arms_of_two_experiments_are_independent() -> None:
    both = [(assign("journey:a", str(n), 0.5), assign("journey:b", str(n), 0.5)) for n in range(8000)]
    table = [[both.count((x, y)) for y in ("control", "treatment")] for x in ("control", "treatment")]
    assert stats.chi2_contingency(table).pvalue > 0.001


@settings(max_examples=100)
@given(st.text(max_size=12), st.text(max_size=12), st.floats(0, 1), st.floats(0, 1))
def test_an_arm_is_pure_and_a_smaller_share_only_releases(name: str, unit: str, share: float, other: float) -> None:
    assert assign(name, unit, share) == assign(name, unit, share)
    low, high = sorted((share, other))
    if assign(name, unit, low) == "control":
        assert assign(name, unit, high) == "control"


def test_known_arms_never_change_between_releases() -> None:
    arms = [assign(journey_experiment("cart-recovery"), f"c{n}", 0.5)[0] for n in range(24)]
    assert "".join(arms) == "tttttccctcctctctcttccccc"


def test_the_ends_of_the_share_and_what_lies_beyond() -> None:
    assert assign("x", "y", 0) == "treatment"
    assert assign("x", "y", 1) == "control"
    with pytest.raises(ValueError, match=r"expected 0 to 1, got 1\.2"):
        assign("x", "y", 1.2)


def arms(arm: str, day: int | None = None) -> Assignment:
    return Assignment(arm, None if day is None else T + timedelta(days=day))


def test_s12_a_merge_takes_the_exposed_sides_arm() -> None:
    assert merge_assignment(arms("control"), arms("treatment", 3)) == arms("treatment", 3)
    assert merge_assignment(arms("control", 1), arms("treatment")) == arms("control", 1)
    assert merge_assignment(None, arms("treatment", 3)) == arms("treatment", 3)
    assert merge_assignment(arms("control"), arms("treatment")) == arms("control")


def test_s12_an_unexposed_arm_of_the_other_side_is_forgotten() -> None:
    assert merge_assignment(None, arms("treatment")) is None
    assert merge_assignments({}, {"journey:a": arms("treatment")}) == {}


def test_s12_both_exposed_alike_keep_the_earlier_exposure() -> None:
    assert merge_assignment(arms("control", 5), arms("control", 2)) == arms("control", 2)


@given(
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from(["control", "treatment"]),
    st.sampled_from(["control", "treatment"]),
)
def test_s12_two_exposed_sides_merge_alike_in_both_orders(one: int, two: int, a: str, b: str) -> None:
    merged = merge_assignment(arms(a, one), arms(b, two))
    assert merged == merge_assignment(arms(b, two), arms(a, one))
    assert merged is not None and merged.contaminated == (a != b)


def test_s12_contamination_is_never_washed_out() -> None:
    mixed = Assignment("control", T, True)
    assert merge_assignment(mixed, arms("control", 3)) == mixed
    assert merge_assignment(arms("control"), mixed) == mixed


def test_planned_matches_the_shops_own_power_table() -> None:
    assert planned(0.10, 0.30, 40, 0.5).people == pytest.approx(3500, rel=0.02)
    assert planned(0.10, 0.30, 40, 0.1).people == pytest.approx(8900, rel=0.02)
    assert planned(0.10, 0.30, 40, 0.5).days == 89
    assert planned(0.10, 0.30, 40, 0.5, power=0.9).people > planned(0.10, 0.30, 40, 0.5).people


def test_planned_refuses_what_cannot_be_told_apart() -> None:
    with pytest.raises(ValueError, match="two different shares"):
        planned(0.1, 0.0, 40, 0.5)
    with pytest.raises(ValueError, match="share_control"):
        planned(0.1, 0.3, 40, 1.0)


def test_uneven_groups_are_seen_and_even_ones_are_not() -> None:
    oracle = stats.chisquare([5300, 4700], [5000, 5000])
    found = sample_ratio({"control": 5300, "treatment": 4700}, {"control": 0.5, "treatment": 0.5})
    assert (found.chi_square, found.p) == pytest.approx((oracle.statistic, oracle.pvalue))
    assert found.is_uneven
    assert not sample_ratio({"control": 480, "treatment": 9520}, {"control": 0.05, "treatment": 0.95}).is_uneven
    assert sample_ratio({"control": 4, "treatment": 9}, {"control": 0.0, "treatment": 1.0}).is_uneven


def test_three_groups_agree_with_scipy() -> None:
    sizes, shares = {"a": 310, "b": 340, "c": 350}, {"a": 0.3, "b": 0.3, "c": 0.4}
    oracle = stats.chisquare([310, 340, 350], [300, 300, 400])
    assert sample_ratio(sizes, shares).p == pytest.approx(oracle.pvalue)


def test_same_groups_with_a_sample_ratio_alarm_are_rare() -> None:
    alarms = 0
    for experiment in range(300):
        controls = sum(assign(f"e{experiment}", str(n), 0.3) == "control" for n in range(500))
        alarms += sample_ratio({"c": controls, "t": 500 - controls}, {"c": 0.3, "t": 0.7}).is_uneven
    assert alarms <= 3
