"""The formulas against published vectors, against scipy, and against simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from wayline.domain import Tally
from wayline.measurement.effects import Effect, NotEnough, always_valid, difference, lift, people_needed
from wayline.measurement.tallies import of_pairs, of_values

CONTROL = Tally(3407, 1396.87, 52377.9767)
TREATMENT = Tally(3461, 2422.7, 134698.29)


def effect_of(answer: Effect | NotEnough) -> Effect:
    assert isinstance(answer, Effect)
    return answer


def five(*numbers: float) -> tuple[float, ...]:
    return tuple(round(number, 5) for number in numbers)


def rate(hits: int, n: int) -> Tally:
    return Tally(n, hits, hits)


def test_published_vector_relative() -> None:
    effect = effect_of(lift(CONTROL, TREATMENT))
    assert five(effect.value, effect.low, effect.high, effect.se, effect.p) == (
        0.70732,
        -0.03526,
        1.44989,
        0.37879,
        0.06191,
    )


def test_published_vector_absolute() -> None:
    effect = effect_of(difference(CONTROL, TREATMENT))
    assert five(effect.value, effect.low, effect.high) == (0.29, 0.04538, 0.53462)
    assert five(effect.se, effect.p) == (0.12478, 0.02016)


def test_published_vector_of_two_rates() -> None:
    effect = effect_of(lift(rate(14, 28), rate(16, 30)))
    assert five(effect.value, effect.low, effect.high, effect.se, effect.p) == (
        0.06667,
        -0.47767,
        0.61101,
        0.2717,
        0.80707,
    )


def test_published_vector_always_valid() -> None:
    effect = always_valid(effect_of(lift(Tally(3000, 1396.87, 52377.9767), TREATMENT)), tuned_for=1000)
    assert five(effect.value, effect.low, effect.high, effect.p) == (0.50336, -0.55844, 1.56516, 1.0)


def test_published_vector_always_valid_of_two_rates() -> None:
    effect = always_valid(effect_of(lift(rate(1396, 3000), rate(2422, 3461))), tuned_for=5000)
    assert five(effect.value, effect.low, effect.high, effect.p) == (0.50386, 0.40098, 0.60675, 0.0)


def test_published_vector_with_a_covariate() -> None:
    effect = effect_of(lift(Tally(3001, 300, 600, 210, 415, -20), Tally(3000, 222, 555, 120, 405, -10), adjusted=True))
    assert round(effect.value, 9) == -0.281707154
    assert round(effect.p, 9) == 0.003732549


def test_difference_is_welchs_test_of_scipy() -> None:
    random = np.random.default_rng(3)
    a, b = random.gamma(1.2, 40, 311), random.gamma(1.4, 39, 97)
    effect = effect_of(difference(of_values(a), of_values(b)))
    oracle = stats.ttest_ind(b, a, equal_var=False)
    interval = oracle.confidence_interval()
    assert effect.p == pytest.approx(oracle.pvalue, rel=1e-9)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_a_covariate_that_explains_narrows_the_interval_and_keeps_the_effect() -> None:
    random = np.random.default_rng(5)
    before = random.normal(50, 20, (2, 4000))
    after = 0.9 * before + random.normal(0, 5, (2, 4000)) + np.array([[0.0], [1.0]])
    control, treatment = (of_pairs(zip(after[arm], before[arm], strict=True)) for arm in (0, 1))
    plain, adjusted = (
        effect_of(difference(control, treatment)),
        effect_of(difference(control, treatment, adjusted=True)),
    )
    assert adjusted.high - adjusted.low < 0.4 * (plain.high - plain.low)
    assert adjusted.low < 1.0 < adjusted.high


@pytest.mark.slow
def test_same_against_same_covers_in_95_of_100_and_looking_often_fools_only_the_naive() -> None:
    random = np.random.default_rng(11)
    misses = naive = sequence = 0
    runs, looks = 1000, 100
    for _ in range(runs):
        a, b = random.exponential(30, 10_000), random.exponential(30, 10_000)
        covered = effect_of(difference(of_sums(a, 10_000), of_sums(b, 10_000)))
        misses += covered.is_certain
        seen = [effect_of(difference(x, y)) for x, y in zip(paths(a, looks), paths(b, looks), strict=True)]
        naive += any(effect.is_certain for effect in seen)
        sequence += any(always_valid(effect).is_certain for effect in seen)
    assert 0.03 <= misses / runs <= 0.07  # 1,000 runs know 5 % to within about 2 points
    assert naive / runs > 0.25
    assert sequence / runs <= 0.05


def of_sums(values: np.ndarray, n: int) -> Tally:
    return Tally(n, float(values[:n].sum()), float((values[:n] ** 2).sum()))


def paths(values: np.ndarray, looks: int) -> list[Tally]:
    ends = np.linspace(100, len(values), looks).astype(int)
    totals, squares = np.cumsum(values), np.cumsum(values**2)
    return [Tally(int(n), float(totals[n - 1]), float(squares[n - 1])) for n in ends]


def test_no_answer_is_a_value_that_says_why() -> None:
    nobody = difference(Tally(), of_values([1, 2, 3]))
    assert isinstance(nobody, NotEnough) and "control group" in nobody.reason and nobody.need == 2
    silent = lift(of_values([0.0, 0, 0]), of_values([0, 1, 0]))
    assert isinstance(silent, NotEnough) and "nothing happened in the control group" in silent.reason
    alike = difference(of_values([4, 4]), of_values([4, 4, 4]))
    assert isinstance(alike, NotEnough) and "everybody did the same" in alike.reason


def test_a_covariate_that_never_varies_changes_nothing() -> None:
    control, treatment = of_pairs([(1, 2), (3, 2), (5, 2)]), of_pairs([(2, 2), (4, 2), (9, 2)])
    assert difference(control, treatment, adjusted=True) == difference(control, treatment)


def test_people_needed_is_where_the_sequence_shows_the_gap_and_unequal_arms_need_more() -> None:
    even = people_needed(1.0, (400.0, 400.0), 0.5)
    small = people_needed(1.0, (400.0, 400.0), 0.05)
    assert even is not None and small is not None
    assert small > 4 * even
    assert people_needed(0.0, (1.0, 1.0), 0.5) is None
    assert people_needed(2.0, (400.0, 400.0), 0.5) < even


def test_people_needed_keeps_its_promise_of_four_in_five() -> None:
    random = np.random.default_rng(17)
    need = people_needed(6.0, (400.0, 400.0), 0.3)
    assert need is not None
    n_control = round(need * 0.3)
    found = 0
    for _ in range(400):
        a = of_sums(random.normal(50, 20, n_control), n_control)
        b = of_sums(random.normal(56, 20, need - n_control), need - n_control)
        found += always_valid(effect_of(difference(a, b))).is_certain
    assert 0.74 <= found / 400 <= 0.86
    assert math.isfinite(need)
