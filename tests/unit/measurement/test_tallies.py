"""Law 10: tallies add in any order and grouping, and agree with numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayline.domain import Tally
from wayline.measurement.tallies import (
    add_all,
    covariance,
    is_binary,
    mean,
    of_pairs,
    of_values,
    pre_variance,
    variance,
)

whole = st.integers(-10_000, 10_000)
pairs = st.lists(st.tuples(whole, whole), max_size=20)


@given(pairs, pairs, pairs)
def test_law_10_tallies_add_commutatively_and_associatively(a: list, b: list, c: list) -> None:
    x, y, z = of_pairs(a), of_pairs(b), of_pairs(c)
    assert x + y == y + x
    assert (x + y) + z == x + (y + z) == of_pairs(a + b + c) == add_all([x, y, z])
    assert x + Tally() == x


@given(st.lists(st.tuples(whole, whole), min_size=2, max_size=30))
def test_the_moments_are_numpys(rows: list) -> None:
    tally, after, before = of_pairs(rows), *np.array(rows, float).T
    ddof = 0 if is_binary(tally) else 1
    assert mean(tally) == pytest.approx(after.mean())
    assert variance(tally) == pytest.approx(after.var(ddof=ddof), abs=1e-3)
    assert pre_variance(tally) == pytest.approx(before.var(ddof=1), abs=1e-3)
    assert covariance(tally) == pytest.approx(np.cov(after, before)[0, 1], abs=1e-3)


def test_a_rate_has_the_variance_of_a_rate() -> None:
    assert variance(of_values([1, 0, 0, 1])) == 0.25
    assert not is_binary(of_values([2, -1, 0]))
    assert is_binary(of_values([]))
