"""Caused beside claimed: who is compared, in which window, and what platforms would say."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from wayline.domain import Tally
from wayline.measurement.effects import NotEnough
from wayline.measurement.outcomes import Caused, Exposure, Order, caused, claimed, measure

T = datetime(2025, 11, 1, 12, tzinfo=UTC)


def exposed(who: str, arm: str = "treatment", day: float = 0, journey: str = "cart") -> Exposure:
    return Exposure(f"d-{who}-{day}-{journey}", who, journey, arm, T + timedelta(days=day))


def bought(who: str, day: float, margin: float = 1000, order_id: str = "") -> Order:
    return Order(who, T + timedelta(days=day), order_id or f"o-{who}-{day}", margin)


def test_a_person_counts_once_from_the_first_exposure() -> None:
    measured = measure([exposed("a"), exposed("a", day=3)], [bought("a", 1), bought("a", 8)])["cart"]
    assert measured.margin["treatment"] == Tally(1, 1000, 1_000_000)
    assert measured.orders["treatment"] == Tally(1, 1, 1)
    assert measured.exposures == {"control": 0, "treatment": 2}


@pytest.mark.parametrize(("day", "counts"), [(-0.01, False), (0, False), (0.01, True), (7, True), (7.01, False)])
def test_the_window_opens_after_exposure_and_closes_seven_days_later(day: float, counts: bool) -> None:
    measured = measure([exposed("a")], [bought("a", day)])["cart"]
    assert (measured.margin["treatment"].total > 0) is counts


def test_an_order_told_twice_counts_once_and_the_later_telling_stands() -> None:
    orders = [bought("a", 1, 900, "o1"), bought("a", 1, 700, "o1")]
    assert measure([exposed("a")], orders)["cart"].margin["treatment"].total == 700


def test_who_was_seen_in_both_arms_is_counted_and_left_out() -> None:
    measured = measure([exposed("a", "control"), exposed("a", day=2), exposed("b")], [bought("a", 1)])["cart"]
    assert measured.contaminated == 1
    assert (measured.people("control"), measured.people("treatment")) == (0, 1)


def test_a_window_still_open_at_the_end_is_not_compared() -> None:
    measured = measure([exposed("a"), exposed("b", day=5)], [], until=T + timedelta(days=8))["cart"]
    assert (measured.people("treatment"), measured.immature) == (1, 1)


def test_a_recurring_journey_is_followed_to_the_end_of_the_data() -> None:
    rows, until = [exposed("a", journey="newsletter"), exposed("a")], T + timedelta(days=60)
    measured = measure(rows, [bought("a", 30)], until=until, recurring={"newsletter"})
    assert measured["newsletter"].margin["treatment"].total == 1000
    assert measured["cart"].margin["treatment"].total == 0


def test_arrival_order_does_not_matter() -> None:
    rng = random.Random(4)
    exposures = [exposed(f"p{rng.randrange(40)}", day=rng.randrange(20), journey=rng.choice("xy")) for _ in range(200)]
    orders = [bought(f"p{rng.randrange(40)}", rng.random() * 25, rng.randrange(5000), f"o{n}") for n in range(100)]
    straight = measure(exposures, orders), claimed(exposures, orders)
    rng.shuffle(exposures)
    rng.shuffle(orders)
    assert (measure(exposures, orders), claimed(exposures, orders)) == straight


def test_platforms_claim_every_order_within_five_days_for_the_last_message() -> None:
    messages = [exposed("a", journey="welcome"), exposed("a", day=2)]
    assert claimed(messages, [bought("a", 1)])["welcome"].orders == 1
    assert claimed(messages, [bought("a", 6.9)])["cart"].margin == 1000
    assert claimed(messages, [bought("a", 7.1), bought("b", 1), bought("a", -1)]) == {}


def test_caused_is_the_difference_times_those_who_got_it() -> None:
    rng = random.Random(9)
    exposures, orders = [], []
    for n in range(8000):
        arm = "control" if n % 2 else "treatment"
        exposures.append(exposed(f"p{n}", arm))
        if rng.random() < (0.30 if arm == "treatment" else 0.20):
            orders.append(bought(f"p{n}", 1, 2000))
    answer = caused(measure(exposures, orders))
    assert isinstance(answer, Caused)
    assert answer.low < 4000 * 0.10 * 2000 < answer.high
    everything = claimed([row for row in exposures if row.arm == "treatment"], orders)["cart"].margin
    assert everything > 2.5 * answer.total  # two thirds of the claimed would have been bought anyway


def test_caused_covers_the_truth_in_most_worlds() -> None:
    covered = 0
    for seed in range(200):
        rng = random.Random(seed)
        exposures = [exposed(f"p{n}", "control" if n % 10 == 0 else "treatment") for n in range(2000)]
        orders = [
            bought(row.customer_id, 2, 1500)
            for row in exposures
            if rng.random() < (0.2 if row.arm == "control" else 0.25)
        ]
        answer = caused(measure(exposures, orders))
        assert isinstance(answer, Caused)
        covered += answer.low <= 1800 * 0.05 * 1500 <= answer.high
    assert 180 <= covered <= 199


def test_what_was_bought_before_exposure_is_the_covariate_and_nothing_else_is() -> None:
    orders = [bought("a", -100, 7), bought("a", -30, 500), bought("a", -1, 250), bought("a", 2, 1000)]
    margin = measure([exposed("a")], orders)["cart"].margin["treatment"]
    assert margin == Tally(1, 1000, 1_000_000, 750, 562_500, 750_000)


def test_habit_is_taken_out_of_what_was_caused() -> None:
    rng = random.Random(3)
    exposures, orders = [], []
    for n in range(3000):
        exposures.append(exposed(f"p{n}", "control" if n % 2 else "treatment"))
        habit = rng.expovariate(1 / 3000)
        orders += [bought(f"p{n}", -20, habit), bought(f"p{n}", 1, habit + rng.gauss(0, 300))]
    adjusted, blind = (
        caused(measure(exposures, orders)),
        caused(measure(exposures, [o for o in orders if o.occurred_at > T])),
    )
    assert isinstance(adjusted, Caused) and isinstance(blind, Caused)
    assert adjusted.high - adjusted.low < 0.3 * (blind.high - blind.low)
    assert adjusted.low < 0 < adjusted.high


def test_caused_of_nobody_says_so() -> None:
    answer = caused(measure([exposed("a")], []))
    assert isinstance(answer, NotEnough) and "no journey has people in both groups" in answer.reason
    assert isinstance(caused({}), NotEnough)


def test_a_window_must_be_one() -> None:
    with pytest.raises(ValueError, match="positive duration"):
        measure([], [], window=timedelta(0))
