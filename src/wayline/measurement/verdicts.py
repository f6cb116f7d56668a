"""The verdict on a journey, in one of four words and a sentence that says what it rests on.

The metric is margin for each person exposed, net of discounts and returns, in minor units. The words are chosen by
the always-valid interval, since a report is looked at every day:

    works                 the whole interval lies above zero, and no simpler journey earns as much
    costs money           the whole interval lies below zero
    use the simpler one   it works and a simpler journey earns as much; or what it could still earn is not worth it
    too early             anything else, with about how many weeks until it can be told
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from msgspec import Struct

from wayline.measurement.effects import Effect, NotEnough, always_valid, people_needed
from wayline.measurement.experiments import SampleRatio

__all__ = ["ARM_MIN", "WORTH", "Finding", "Word", "money", "signed_money", "verdict"]

Word: TypeAlias = Literal["works", "too early", "costs money", "use the simpler one"]

ARM_MIN = 100
"""People in the smaller arm below which no interval of ours is trusted: a handful of orders is not a bell curve."""

WORTH = 0.1
"""The smallest change worth acting on, as a share of what a person brings without the journey."""

_WEEKS_MAX = 520  # weeks an experiment may need; more is told as never

_DECIMALS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "KWD": 3, "BHD": 3, "TND": 3, "OMR": 3, "JOD": 3}


class Finding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a measurement comes to: the word, the sentence, and how long it will still take."""

    word: Word
    sentence: str
    weeks: int | None = None
    """Until it can be told, at this pace and with these arms; only where it is too early."""
    weeks_if_even: int | None = None
    """The same if half were in the control group."""
    instead: str = ""
    """The simpler journey to use; empty: none at all."""


class _Case(Struct, frozen=True):
    """What every sentence needs."""

    effect: Effect
    daily: float
    share_control: float
    currency: str
    worth: float


def verdict(
    effect: Effect | NotEnough,
    *,
    daily: float,
    share_control: float,
    currency: str = "EUR",
    worth: float = WORTH,
    simpler: tuple[str, Effect] | None = None,
    ratio: SampleRatio | None = None,
) -> Finding:
    """The word for this difference in margin a person, and why.

    `daily` people are exposed each day in both arms together, `share_control` of them in control. `simpler` names a
    plainer journey with the same goal and gives its effect.
    """
    if ratio is not None and ratio.is_uneven:
        return Finding(
            word="too early", sentence="Groups are uneven: do not trust this. Find out why before anything else."
        )
    if isinstance(effect, NotEnough):
        return Finding(word="too early", sentence=f"Too early to tell: {effect.reason}.")
    seen = always_valid(effect)
    case = _Case(seen, daily, share_control, currency, worth * abs(seen.control_mean))
    if min(seen.control_count, seen.treatment_count) < ARM_MIN:
        return _too_early(case)
    if seen.high < 0:
        return Finding(word="costs money", sentence=_result("It costs money", case))
    if seen.low > 0:
        return _works(case, simpler)
    if seen.high < case.worth:
        sentence = f"Leaving it out earns as much: at best it adds {money(seen.high, currency, cents=True)} a person."
        return Finding(word="use the simpler one", sentence=sentence)
    return _too_early(case)


def _works(case: _Case, simpler: tuple[str, Effect] | None) -> Finding:
    if simpler is not None and simpler[1].value >= case.effect.value and always_valid(simpler[1]).low > 0:
        name, plain = simpler
        here, there = (money(value, case.currency, cents=True) for value in (case.effect.value, plain.value))
        sentence = f"'{name}' is plainer and adds {there} a person; this one adds {here}."
        return Finding(word="use the simpler one", sentence=sentence, instead=name)
    return Finding(word="works", sentence=_result("It works", case))


def _too_early(case: _Case) -> Finding:
    seen = case.effect
    so_far = signed_money(seen.value, case.currency, cents=True)
    low, high = signed_money(seen.low, case.currency, cents=True), signed_money(seen.high, case.currency, cents=True)
    weeks, even = _weeks(case, case.share_control), _weeks(case, 0.5)
    sentence = f"Too early to tell: {so_far} a person so far, and anything from {low} to {high} is possible. "
    sentence += _how_long(case, weeks, even)
    return Finding(word="too early", sentence=sentence, weeks=weeks, weeks_if_even=even)


def _how_long(case: _Case, weeks: int | None, even: int | None) -> str:
    held = f"{case.share_control:.0%} in the control group"
    pace = f"{case.daily:,.0f} people a day" if case.daily >= 3 else f"{case.daily * 7:.0f} people a week"
    if weeks is None and even is not None:
        return f"At {pace} and {held} it will not be told in ten years; an even split would need about {even} weeks."
    if weeks is None:
        return f"At {pace} and {held} it will not be told in ten years: measure a larger change."
    about = f"About {weeks} more week{'s' if weeks != 1 else ''} at {pace} with {held}"
    if even is not None and even < 0.7 * weeks:
        return f"{about}; an even split would need about {even}."
    return f"{about}."


def _weeks(case: _Case, share_control: float) -> int | None:
    """Weeks until the interval excludes zero, four times in five, if things are as they look or as small as matters."""
    seen = case.effect
    gap = max(abs(seen.value), case.worth)
    need = people_needed(gap, (seen.control_variance, seen.treatment_variance), share_control)
    if need is None or case.daily <= 0:
        return None
    least = math.ceil(ARM_MIN / min(share_control, 1 - share_control))
    rest = max(need, least) - seen.control_count - seen.treatment_count
    weeks = max(1, math.ceil(rest / case.daily / 7))
    return weeks if weeks <= _WEEKS_MAX else None


def _result(opening: str, case: _Case) -> str:
    seen = case.effect
    low, high = sorted((abs(seen.low), abs(seen.high)))
    word = "more" if seen.value > 0 else "less"
    each = money(abs(seen.value), case.currency, cents=True)
    likely = f"{money(low, case.currency, cents=True)} to {money(high, case.currency, cents=True)}"
    return f"{opening}: about {each} {word} margin for each person who gets it, likely {likely}."


def money(minor: float, currency: str, *, cents: bool = False) -> str:
    """An amount of minor units in words: `EUR 1,234`, or `EUR 12.34` where cents matter."""
    decimals = _DECIMALS.get(currency, 2)
    amount = minor / 10**decimals
    text = f"{abs(amount):,.{decimals if cents else 0}f}"
    is_zero = not any(digit in "123456789" for digit in text)
    return f"{currency} {'-' if amount < 0 and not is_zero else ''}{text}"


def signed_money(minor: float, currency: str, *, cents: bool = False) -> str:
    """The same with a plus where it is a gain."""
    text = money(minor, currency, cents=cents)
    return text.replace(" ", " +", 1) if minor > 0 and any(digit in "123456789" for digit in text) else text
