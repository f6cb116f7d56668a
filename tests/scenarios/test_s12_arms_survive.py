"""S12: an arm is a pure hash until it is shown; from then on it stays, and a merge takes the arm that was shown.

Both shown different arms: the person counts in neither, and is counted as such. One mailbox of two people shows each
their own arm. A split gives each back what they were shown.
"""

from __future__ import annotations

import itertools
from statistics import NormalDist

import pytest
from hypothesis import given
from msgspec.structs import replace
from tests.laws.test_turns import ANN, Act, law, live, lives, with_control
from tests.scenarios.test_s20_a_merge_that_was_wrong import merge, split
from tests.shop import MARKETING, Shop, apparel, happened, written

from wayline.domain import Assignment, Customer, Identifier, Standing
from wayline.engine import merge as merged
from wayline.measurement.experiments import assign
from wayline.observation.identity import customer_id_of

NEWS = "journey:news"
LETTER = """\
enters_on: Newsletter Due
steps:
  send: {propose: [{action: news, channel: email, content: hello}], patience: 1 day, then: end, otherwise: end}
"""
_numbers = itertools.count()


def shop() -> Shop:
    return Shop(with_control(written({"news": MARKETING + LETTER}, hello="email"), 0.5))


def somebody(arm: str, *, mailbox: str = "") -> tuple[Identifier, ...]:
    """A new person whose hash says this arm."""
    for number in _numbers:
        user = Identifier("user_id", f"person-{number}")
        if assign(NEWS, customer_id_of(user), 0.5) == arm:
            return (user, Identifier("email", mailbox or f"mail-{number}"))
    raise AssertionError("unreachable")


def arm_of(made: Shop, who: tuple[Identifier, ...]) -> Assignment | None:
    return made.customer(who).standing.assignments.get(NEWS)


def shown(made: Shop, who: tuple[Identifier, ...]) -> None:
    made.consent(who, days_ago=1)
    made.tell(happened("Newsletter Due", who))


def test_s12_the_split_is_a_hash_and_its_sizes_are_within_binomial_error() -> None:
    n = 20_000
    for share in (0.05, 0.1, 0.5):
        arms = [assign(NEWS, f"k-{number}", share) for number in range(n)]
        assert arms == [assign(NEWS, f"k-{number}", share) for number in range(n)]
        error = NormalDist().inv_cdf(0.9999) * (n * share * (1 - share)) ** 0.5
        assert abs(arms.count("control") - n * share) < error


@pytest.mark.parametrize("exposed", ["control", "treatment"])
@pytest.mark.parametrize("other", ["control", "treatment"])
def test_s12_a_merge_takes_the_arm_of_whoever_was_shown_it(exposed: str, other: str) -> None:
    made = shop()
    one, two = somebody(exposed), somebody(other)
    shown(made, one)
    made.consent(two, days_ago=1)
    merge(made, one, two)
    kept = arm_of(made, one)
    assert kept is not None and (kept.arm, kept.contaminated) == (exposed, False)
    made.after(days=20)  # past the window in which one has the same message once
    shown(made, two)
    state = "withheld" if exposed == "control" else "sent"
    assert [row.state for row in made.deliveries()] == [state] * 2, "and so it goes on, whatever the other's hash"


@pytest.mark.parametrize("first", ["control", "treatment"])
def test_s12_both_shown_different_arms_counts_in_neither(first: str) -> None:
    made = shop()
    one, two = somebody(first), somebody("treatment" if first == "control" else "control")
    shown(made, one)
    made.after(minutes=1)
    shown(made, two)
    loser = merge(made, one, two)
    kept = arm_of(made, one)
    assert kept is not None and kept.contaminated and kept.arm == first, "the earlier exposure goes on"
    split(made, loser)
    for who, arm in ((one, first), (two, "treatment" if first == "control" else "control")):
        again = arm_of(made, who)
        assert again is not None and (again.arm, again.contaminated) == (arm, False), "each has what they were shown"


@pytest.mark.parametrize("arms", [("control", "treatment"), ("treatment", "control"), ("control", "control")])
def test_s12_two_people_on_one_mailbox_are_each_shown_their_own_arm(arms: tuple[str, str]) -> None:
    made = shop()
    people = [somebody(arm, mailbox="family") for arm in arms]
    for who in people:
        shown(made, who)
        made.after(days=20)  # past the window in which one mailbox has one message
    assert [row.state for row in made.deliveries()] == ["withheld" if arm == "control" else "sent" for arm in arms]
    for who, arm in zip(people, arms, strict=True):
        kept = arm_of(made, who)
        assert kept is not None and (kept.arm, kept.contaminated) == (arm, False), "the other's message marks nobody"


def test_s12_an_arm_that_nobody_was_shown_is_only_a_hash() -> None:
    ours, theirs = (
        Customer(f"k-{n}", standing=Standing(assignments={NEWS: Assignment(arm)}))
        for n, arm in ((1, "control"), (2, "treatment"))
    )
    for a, b in ((ours, theirs), (theirs, ours)):
        assert merged(a, b, apparel()).standing.assignments == a.standing.assignments, "the survivor's own stands"
    exposed = replace(theirs, standing=Standing(assignments={NEWS: Assignment("treatment", Shop().now)}))
    for a, b in ((ours, exposed), (exposed, ours)):
        assert merged(a, b, apparel()).standing.assignments[NEWS].arm == "treatment"


@law
@given(lives)
def test_s12_no_exposed_unit_moves_otherwise(life: list[Act]) -> None:
    """Over any life, restarts and merges included: the arm first shown is the arm for ever, unless two were mixed."""
    first: dict[tuple[str, str], str] = {}

    def is_kept(made: Shop) -> None:
        for customer_id in made.store.state.customer_ids():
            for experiment, fixed in made.engine.customer(customer_id).standing.assignments.items():
                if fixed.exposed_at is not None and not fixed.contaminated:
                    assert first.setdefault((customer_id, experiment), fixed.arm) == fixed.arm

    made = live(Shop(with_control(apparel(), 0.5)), life, is_kept, then=6)
    made.restart()
    is_kept(made)
    assert made.customer(ANN).standing.assignments.keys() >= {
        name for who, name in first if who == made.customer(ANN).customer_id
    }
