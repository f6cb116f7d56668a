"""Amounts: the quick way with floats gives what decimal arithmetic on the sender's text gives."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from wayline.observation.money import AMOUNT_MAX, EXPONENTS, exponent, minor


@settings(max_examples=100, deadline=None)
@given(st.integers(-(10**12), 10**12), st.sampled_from(sorted(EXPONENTS)))
def test_an_amount_written_in_full_comes_back(amount: int, currency: str) -> None:
    digits = exponent(currency)
    written = Decimal(amount).scaleb(-digits)
    assert minor(written, digits) == minor(str(written), digits) == minor(float(written), digits) == amount


halves = st.integers(0, 10**6).map(lambda number: (number * 10 + 5) / 1000)  # where rounding is decided


@settings(max_examples=100, deadline=None)
@given(halves | st.floats(-1e11, 1e11, allow_nan=False), st.sampled_from([0, 2, 3, 4]))
def test_a_float_is_the_decimal_it_prints_as(amount: float, digits: int) -> None:
    exact = int(Decimal(repr(amount)).scaleb(digits).to_integral_value(ROUND_HALF_UP))
    assert minor(amount, digits) == exact


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(), st.floats(), st.integers(), st.decimals(), st.none(), st.booleans()))
def test_anything_is_an_amount_within_bounds_or_refused(amount: object) -> None:
    try:
        read = minor(amount, 2)
    except ValueError:
        return
    assert abs(read) <= AMOUNT_MAX and abs(Decimal(str(amount)) * 100 - read) <= Decimal("0.5")
