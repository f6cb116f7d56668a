"""Where bars end and ranges lie: on one scale, and never outside the frame."""

from __future__ import annotations

from tests.recorded_shop import recorded_shop

from wayline.serving.dashboard.pictures import WIDTH, bars, money_bars, ranges
from wayline.serving.findings import JourneyLine
from wayline.serving.report import build


def line(name: str, low: float | None, high: float | None, people: int = 500) -> JourneyLine:
    effect = None if low is None or high is None else (low + high) / 2
    return JourneyLine(
        name=name, stage="", lane="", word="too early", sentence="", weeks=None, sent=0, withheld=0, held=0,
        people_control=people, people_treatment=people, effect=effect, low=low, high=high, orders_control=None,
        orders_treatment=None, claimed=0, claimed_orders=0, caused=None, contaminated=0,
    )  # fmt: skip


def test_bars_start_at_zero_and_the_smallest_can_be_seen() -> None:
    assert [bar.width for bar in bars([200, 100, 1, 0])] == [WIDTH, WIDTH / 2, 5.0, 0.0]
    assert bars([]) == []


def test_ranges_share_a_scale_that_a_handful_of_people_does_not_set() -> None:
    drawn = ranges([line("a", -1, 1), line("b", 0, 3), line("few", -900, 900, people=4), line("none", None, None)])
    assert drawn["a"].zero == drawn["b"].zero == 250.0
    assert (drawn["a"].low, drawn["a"].high, drawn["b"].high) == (0.0, 500.0, 1000.0)
    assert (drawn["few"].low, drawn["few"].high) == (0.0, WIDTH)
    assert "none" not in drawn


def test_where_all_are_few_theirs_is_the_scale() -> None:
    assert ranges([line("few", -900, 900, people=4)])["few"].zero == WIDTH / 2


def test_claimed_and_caused_are_drawn_to_one_scale() -> None:
    shop = recorded_shop(people=400)
    report = build(shop.state, shop.log, shop.playbook)
    drawn = money_bars(report.money)
    assert drawn is not None and report.money.caused is not None
    claimed, caused = drawn
    ratio = abs(report.money.caused) / report.money.claimed
    assert abs(caused.width / claimed.width - ratio) < 0.01
