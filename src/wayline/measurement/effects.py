"""Did it work? Two tallies in; a difference with what can be ruled out, or "not enough", out.

Everything is computed from sums, by the textbook:

* The *difference* of two means has the variance v_A/n_A + v_B/n_B, and Welch's degrees of freedom, since the arms
  need not be equally large or equally noisy.
* The *lift* is relative, m_B/m_A - 1. Its variance comes from the delta method: v_B/n_B/m_A^2 + v_A/n_A m_B^2/m_A^4.
* With a covariate from before exposure (CUPED), each arm's mean is corrected by theta times its covariate's mean;
  theta is fitted over both arms together, and the denominator of a lift stays the uncorrected control mean.
* Such an interval is right once, at an end fixed beforehand. Whoever looks every day and stops at the first good
  number is fooled far more often than one time in twenty. The *always-valid* interval (a confidence sequence:
  Waudby-Smith et al. 2023, equation 9) is wider, and right however often it is looked at. Every verdict uses it.

No answer is an answer: an arm that is empty or a mean of zero gives `NotEnough`, never a made-up interval.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Tally
from wayline.measurement import tallies

__all__ = ["TUNED_FOR", "Effect", "NotEnough", "always_valid", "difference", "lift", "people_needed"]

TUNED_FOR = 5000
"""People at which the always-valid interval is tightest; it is right at every size."""

_POWER = 0.8
_PEOPLE_MAX = 10**9  # people per arm looked for; if more are needed, it is told as never


class NotEnough(Struct, frozen=True):
    """No answer, as a value: why, how much there is, and how much it would take if that is known."""

    reason: str
    have: int
    need: int | None = None


class Effect(Struct, frozen=True, kw_only=True):
    """How the treated differ from the control group, and what can be ruled out."""

    value: float
    se: float
    low: float
    high: float
    p: float
    is_relative: bool
    is_always_valid: bool
    control_mean: float
    treatment_mean: float
    control_variance: float
    treatment_variance: float
    control_count: int
    treatment_count: int

    @property
    def is_certain(self) -> bool:
        """Whether no effect at all is ruled out."""
        return self.low > 0 or self.high < 0


class _Arm(Struct, frozen=True):
    """Mean and variance of one arm, corrected by the covariate where there is one."""

    count: int
    mean: float
    plain_mean: float
    variance: float
    pre_variance: float = 0.0
    covariance: float = 0.0


def difference(control: Tally, treatment: Tally, *, adjusted: bool = False, alpha: float = 0.05) -> Effect | NotEnough:
    """The difference of the means, treatment less control; `adjusted` uses the covariate from before exposure."""
    lacking = _lacking(control, treatment)
    if lacking:
        return lacking
    theta = _theta(control, treatment) if adjusted else 0.0
    a, b = _arm(control, theta), _arm(treatment, theta)
    noise = (_spread(a, theta, 1.0) + _spread(b, theta, 1.0), _freedom(a, b, theta))
    return _effect(a, b, b.mean - a.mean, noise, is_relative=False, alpha=alpha)


def lift(control: Tally, treatment: Tally, *, adjusted: bool = False, alpha: float = 0.05) -> Effect | NotEnough:
    """The relative difference, as a share of the control group's mean."""
    lacking = _lacking(control, treatment)
    if lacking:
        return lacking
    theta = _theta(control, treatment) if adjusted else 0.0
    a, b = _arm(control, theta), _arm(treatment, theta)
    if a.plain_mean == 0:
        return NotEnough("nothing happened in the control group, so nothing can be said relative to it", a.count)
    # The control mean stands in numerator and denominator: hence its own noise, times the ratio of the means.
    ratio = b.plain_mean / a.plain_mean
    noise = (_spread(a, theta, ratio) + _spread(b, theta, 1.0)) / a.plain_mean**2
    value = (b.mean - a.mean) / a.plain_mean
    return _effect(a, b, value, (noise, _freedom(a, b, theta)), is_relative=True, alpha=alpha)


def always_valid(effect: Effect, *, tuned_for: int = TUNED_FOR, alpha: float = 0.05) -> Effect:
    """The same effect with an interval and a p that stay right however often anybody looks."""
    count = effect.control_count + effect.treatment_count
    rho2 = _rho2(tuned_for, alpha)
    half = _sequence_half_width(effect.se**2 * count, count, rho2, alpha)
    # The e-value that this interval inverts: the p is its reciprocal.
    growth = (effect.value / effect.se) ** 2 * count * rho2 / (2 * (count * rho2 + 1))
    p = math.exp(min(0.5 * math.log(count * rho2 + 1) - growth, 0.0))
    return replace(effect, low=effect.value - half, high=effect.value + half, p=p, is_always_valid=True)


def people_needed(gap: float, variances: tuple[float, float], share_control: float) -> int | None:
    """People in both arms until the always-valid interval excludes zero, four times in five, if `gap` is true.

    `variances` are those of one person in control and in treatment. None: more people than anybody has.
    """
    if gap == 0 or not 0 < share_control < 1:
        return None
    one = variances[0] / share_control + variances[1] / (1 - share_control)
    if one <= 0:
        return None
    rho2, reach = _rho2(TUNED_FOR, 0.05), NormalDist().inv_cdf(_POWER)

    def shows(people: int) -> bool:
        return _sequence_half_width(one, people, rho2, 0.05) + reach * math.sqrt(one / people) <= abs(gap)

    if not shows(_PEOPLE_MAX):
        return None
    low, high = 1, _PEOPLE_MAX
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle + 1, high)
    return low


def _lacking(control: Tally, treatment: Tally) -> NotEnough | None:
    """Why there is nothing to compare, if so."""
    smaller = min(control.n, treatment.n)
    if smaller < 2:
        empty = "control group" if control.n <= treatment.n else "group that gets it"
        return NotEnough(f"{smaller} in the {empty}, at least 2 needed to see any spread", smaller, 2)
    if tallies.variance(control) == 0 and tallies.variance(treatment) == 0:
        return NotEnough("everybody did the same in both groups, so nothing can be told from chance", smaller)
    return None


def _theta(control: Tally, treatment: Tally) -> float:
    """How much of the metric the covariate explains, fitted over both arms as one."""
    both = control + treatment
    spread = tallies.pre_variance(both)
    return tallies.covariance(both) / spread if spread > 0 else 0.0


def _arm(tally: Tally, theta: float) -> _Arm:
    plain = tallies.mean(tally)
    if not theta:
        return _Arm(tally.n, plain, plain, tallies.variance(tally))
    mean = plain - theta * tallies.pre_mean(tally)
    parts = tallies.variance(tally), tallies.pre_variance(tally), tallies.covariance(tally)
    return _Arm(tally.n, mean, plain, *parts)


def _spread(arm: _Arm, theta: float, ratio: float) -> float:
    """Variance of the arm's corrected mean; `ratio` weighs the metric against its covariate in a lift's control."""
    one = arm.variance * ratio**2 - 2 * theta * arm.covariance * ratio + theta**2 * arm.pre_variance
    return one / arm.count


def _effect(
    a: _Arm, b: _Arm, value: float, noise: tuple[float, float], *, is_relative: bool, alpha: float
) -> Effect | NotEnough:
    """The interval around `value`; `noise` is its variance and the degrees of freedom."""
    # Imported where used: an idle process never pays for it.
    from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]  # scipy ships no types

    spread, freedom = noise
    if not (spread > 0 and freedom > 0):
        return NotEnough("the covariate explains everything, so nothing can be told from chance", min(a.count, b.count))
    se = math.sqrt(spread)
    half = float(stdtrit(freedom, 1 - alpha / 2)) * se
    return Effect(
        value=value,
        se=se,
        low=value - half,
        high=value + half,
        p=2 * float(stdtr(freedom, -abs(value) / se)),
        is_relative=is_relative,
        is_always_valid=False,
        control_mean=a.plain_mean,
        treatment_mean=b.plain_mean,
        control_variance=a.variance,
        treatment_variance=b.variance,
        control_count=a.count,
        treatment_count=b.count,
    )


def _freedom(a: _Arm, b: _Arm, theta: float) -> float:
    """Welch's degrees of freedom: of the absolute means, for a lift too, as the published vectors have it."""
    of_a, of_b = _spread(a, theta, 1.0), _spread(b, theta, 1.0)
    below = of_a**2 / (a.count - 1) + of_b**2 / (b.count - 1)
    return (of_a + of_b) ** 2 / below if below > 0 else 0.0


def _rho2(tuned_for: int, alpha: float) -> float:
    return (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tuned_for


def _sequence_half_width(one: float, count: int, rho2: float, alpha: float) -> float:
    """Half the always-valid interval, where `one / count` is the variance of the effect."""
    inside = 2 * (count * rho2 + 1) / (count**2 * rho2) * math.log(math.sqrt(count * rho2 + 1) / alpha)
    return math.sqrt(one * inside)
