"""The four words, and what each says."""

from __future__ import annotations

import re

import numpy as np
import pytest

from wayline.domain import Tally
from wayline.measurement.effects import Effect, difference
from wayline.measurement.experiments import sample_ratio
from wayline.measurement.verdicts import money, signed_money, verdict


def arm(n: int, mean: float, deviation: float = 1500.0) -> Tally:
    return Tally(n, n * mean, n * (mean**2 + deviation**2))


def effect(control: Tally, treatment: Tally) -> Effect:
    answer = difference(control, treatment)
    assert isinstance(answer, Effect)
    return answer


def test_works_says_how_much_and_the_likely_range() -> None:
    finding = verdict(effect(arm(9000, 390), arm(9000, 540)), daily=40, share_control=0.5)
    assert finding.word == "works"
    assert re.fullmatch(
        r"It works: about EUR 1\.50 more margin for each person who gets it, likely EUR 0\.\d\d to EUR 2\.\d\d\.",
        finding.sentence,
    )


def test_costs_money_when_the_whole_interval_is_a_loss() -> None:
    finding = verdict(effect(arm(9000, 540), arm(9000, 390)), daily=40, share_control=0.5)
    assert finding.word == "costs money"
    assert "EUR 1.50 less margin" in finding.sentence


def test_the_verdict_withstands_daily_looking_where_the_plain_interval_would_not() -> None:
    looked = effect(arm(9000, 390), arm(9000, 440))
    assert looked.is_certain
    assert verdict(looked, daily=40, share_control=0.5).word == "too early"


def test_too_early_says_about_how_many_weeks_for_the_shares_there_are() -> None:
    even = verdict(effect(arm(1000, 390), arm(1000, 450)), daily=40, share_control=0.5)
    uneven = verdict(effect(arm(200, 390), arm(1800, 450)), daily=40, share_control=0.1)
    assert even.word == uneven.word == "too early"
    assert even.weeks is not None and uneven.weeks is not None
    assert uneven.weeks > 2 * even.weeks
    assert f"About {even.weeks} more weeks at 40 people a day with 50% in the control group." in even.sentence
    assert f"an even split would need about {uneven.weeks_if_even}." in uneven.sentence


def test_the_weeks_it_names_are_enough_four_times_in_five() -> None:
    random = np.random.default_rng(2)
    finding = verdict(effect(arm(300, 500), arm(700, 620)), daily=60, share_control=0.3)
    assert finding.weeks is not None
    people = 1000 + round(finding.weeks * 7 * 60)
    told = 0
    for _ in range(200):
        a, b = random.normal(500, 1500, round(people * 0.3)), random.normal(620, 1500, round(people * 0.7))
        tallies = [Tally(len(x), float(x.sum()), float((x**2).sum())) for x in (a, b)]
        told += verdict(effect(*tallies), daily=60, share_control=0.3).word == "works"
    assert told / 200 >= 0.72


def test_an_effect_that_cannot_be_told_in_ten_years_says_so() -> None:
    finding = verdict(effect(arm(150, 390), arm(2850, 391)), daily=0.2, share_control=0.05)
    assert finding.weeks is None
    assert "not be told in ten years" in finding.sentence and "1 people a week" in finding.sentence


def test_use_the_simpler_one_when_a_plainer_journey_earns_as_much() -> None:
    coupon, reminder = effect(arm(9000, 390), arm(9000, 500)), effect(arm(9000, 390), arm(9000, 540))
    finding = verdict(coupon, daily=40, share_control=0.5, simpler=("cart-recovery", reminder))
    assert (finding.word, finding.instead) == ("use the simpler one", "cart-recovery")
    assert "adds EUR 1.50 a person; this one adds EUR 1.10" in finding.sentence
    assert verdict(reminder, daily=40, share_control=0.5, simpler=("coupon", coupon)).word == "works"


def test_use_the_simpler_one_when_what_it_could_still_add_is_not_worth_it() -> None:
    finding = verdict(effect(arm(90_000, 390, 500), arm(90_000, 391, 500)), daily=40, share_control=0.5)
    assert finding.word == "use the simpler one"
    assert finding.instead == "" and "Leaving it out earns as much" in finding.sentence


def test_a_handful_of_people_is_too_early_whatever_they_did() -> None:
    assert verdict(effect(arm(60, 100, 10), arm(60, 900, 10)), daily=40, share_control=0.5).word == "too early"


def test_uneven_groups_give_no_verdict() -> None:
    ratio = sample_ratio({"control": 9000, "treatment": 7000}, {"control": 0.5, "treatment": 0.5})
    finding = verdict(effect(arm(9000, 390), arm(7000, 900)), daily=40, share_control=0.5, ratio=ratio)
    assert finding.word == "too early" and finding.sentence.startswith("Groups are uneven: do not trust this")


def test_no_comparison_says_what_is_missing() -> None:
    finding = verdict(difference(Tally(), arm(90, 5)), daily=1, share_control=0.5)
    assert finding.word == "too early" and "control group" in finding.sentence and finding.weeks is None


@pytest.mark.parametrize(
    ("minor", "currency", "cents", "text"),
    [
        (123456, "EUR", False, "EUR 1,235"),
        (-123456, "EUR", True, "EUR -1,234.56"),
        (-0.2, "EUR", True, "EUR 0.00"),
        (1500, "JPY", True, "JPY 1,500"),
        (1500, "KWD", True, "KWD 1.500"),
    ],
)
def test_money_in_words(minor: float, currency: str, cents: bool, text: str) -> None:
    assert money(minor, currency, cents=cents) == text


def test_signed_money_has_a_plus_only_for_a_gain() -> None:
    assert [signed_money(x, "EUR", cents=True) for x in (150, -150, 0.1)] == ["EUR +1.50", "EUR -1.50", "EUR 0.00"]
