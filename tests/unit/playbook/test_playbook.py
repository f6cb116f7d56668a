"""What compiles, what does not, and exactly what the author is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from wayline.domain import Branch, Claim, Control, End, Propose, Reentry, Wait
from wayline.errors import AuthorError
from wayline.playbook import check_playbook, compile_playbook

HERE = Path(__file__).parent
TABLE = yaml.safe_load((HERE / "broken.yaml").read_text(encoding="utf-8"))
GOOD: dict[str, str] = TABLE["playbook"]
APPAREL = HERE.parents[2] / "examples" / "apparel"


def with_text(file: str, was: str, becomes: str) -> dict[str, str]:
    """The good playbook with one text in it replaced, which must be there."""
    assert was in GOOD[file]
    return {**GOOD, file: GOOD[file].replace(was, becomes)}


def broken(case: dict[str, Any]) -> dict[str, str]:
    """The good playbook with the one thing of this case wrong."""
    if case.get("is") == "missing":
        return {file: text for file, text in GOOD.items() if file != case["file"]}
    if "becomes" in case:
        return {**GOOD, case["file"]: case["becomes"]}
    return with_text(case["file"], case["replace"], case["by"])


def test_the_good_one_compiles_without_a_word():
    checked = check_playbook(GOOD)
    assert (checked.problems, checked.warnings) == ((), ())


@pytest.mark.parametrize("case", TABLE["broken"], ids=[case["name"] for case in TABLE["broken"]])
def test_a_broken_playbook_says_where_what_and_what_to_do(case):
    with pytest.raises(AuthorError) as caught:
        compile_playbook(broken(case))
    assert [str(problem) for problem in caught.value.problems] == case["says"]


def test_all_problems_of_all_files_come_at_once():
    files = with_text("journeys/cart.yaml", "content: reminder", "content: remindr")
    files["journeys/cart.yaml"] = files["journeys/cart.yaml"].replace("wait: 1 hour", "wait: soon")
    files["facets.yaml"] = files["facets.yaml"].replace("of: cart,", "of: carts,")
    files["policy.yaml"] = files["policy.yaml"].replace("orders >= 1", "orders >=")
    found = [(problem.file, problem.line) for problem in check_playbook(files).problems]
    assert found == [("facets.yaml", 2), ("journeys/cart.yaml", 12), ("journeys/cart.yaml", 15), ("policy.yaml", 7)]


def test_an_event_nobody_sends_is_doubted_and_not_refused():
    checked = check_playbook(with_text("journeys/cart.yaml", "Cart Viewed", "Cart Veiwed"))
    assert checked.problems == ()
    assert [str(doubt) for doubt in checked.warnings] == [
        "journeys/cart.yaml:12: no known system sends the event 'Cart Veiwed'. Did you mean 'Cart Viewed'?"
    ]


def test_a_property_the_event_does_not_carry_is_doubted():
    checked = check_playbook(with_text("journeys/cart.yaml", "after 7 days", "per order"))
    assert [str(doubt) for doubt in checked.warnings] == [
        "journeys/cart.yaml:6: the journey reads 'trigger.order', which 'Checkout Started' does not usually carry. "
        "Defined: 'affiliation', 'coupon', 'currency', 'discount', 'order_id', 'products', 'revenue', 'shipping', "
        "'tax', 'value'. Did you mean 'order_id'?"
    ]


def test_a_filter_that_fails_on_a_made_up_value_is_doubted():
    checked = check_playbook(with_text("content/reminder.yaml", "product.price | money", "product.price | append"))
    assert [str(doubt) for doubt in checked.warnings] == [
        "content/reminder.yaml:5: a trial could not write it: reminder, text in en: "
        "append() missing 1 required positional argument: 'arg' (line 2). Correct it, or say `| default`."
    ]


def test_two_files_of_one_name_are_one_too_many():
    files = {**GOOD, "journeys/cart.yml": GOOD["journeys/cart.yaml"]}
    assert [str(problem) for problem in check_playbook(files).problems] == [
        "journeys/cart.yml:1: 'journeys/cart.yaml' defines the same. Keep one of them."
    ]


def test_a_file_that_is_no_part_of_a_playbook_is_doubted():
    checked = check_playbook({**GOOD, "journey/late.yaml": "journey: late", "README.md": "# Hello"})
    assert [str(doubt) for doubt in checked.warnings] == [
        "journey/late.yaml:1: no part of a playbook has this name; it is not read."
    ]


def test_the_journey_of_the_design_compiles_word_for_word():
    files = {str(path.relative_to(APPAREL)): path.read_text("utf-8") for path in APPAREL.rglob("*.*") if path.is_file()}
    checked = check_playbook(files)
    assert (checked.problems, checked.warnings) == ((), ())
    playbook = checked.playbook
    assert playbook is not None
    journey = playbook.current["cart-recovery"]
    assert (journey.start, journey.lane, journey.reentry) == (
        "pause",
        "marketing",
        Reentry("after", duration=timedelta(days=7)),
    )
    assert journey.control == Control("launch", 0.5)
    assert journey.questions == {"affinity"}
    assert journey.steps["pause"] == Wait(timedelta(hours=1), "remind", {"Order Completed": "end"})
    assert journey.steps["end"] == End()
    remind = journey.steps["remind"]
    assert isinstance(remind, Propose)
    best, plainer, other_channel = remind.actions
    assert best.claims == (Claim("cart_open"), Claim("in_stock", "shown"))
    assert (best.kind, best.needs) == ("products", {"affinity": 0.6})
    assert (plainer.kind, plainer.needs, other_channel.channel) == ("message", {}, "push")
    reassure = journey.steps["reassure"]
    assert isinstance(reassure, Propose)
    assert reassure.actions[0].lane == "onsite"


def test_a_threshold_in_a_condition_is_money_as_people_write_it():
    where = compile_playbook(GOOD).current["cart"].where
    assert where is not None
    facts = {"cart_value": 1999, "match_confidence": 0.9}
    now = datetime(2026, 11, 25, tzinfo=UTC)
    assert where.evaluate(facts.get, now) is False
    assert where.evaluate({**facts, "cart_value": 2000}.get, now) is True


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("once", Reentry("once")),
        ("after exit", Reentry("after_exit")),
        ("after 36 hours", Reentry("after", duration=timedelta(hours=36))),
        ("per cart_id", Reentry("per", key="cart_id")),
    ],
)
def test_reentry_says_what_it_means(said, means):
    journey = compile_playbook(with_text("journeys/cart.yaml", "after 7 days", said)).current["cart"]
    assert journey.reentry == means
    assert journey.carries == ((means.key,) if means.key else ())


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("launch", Control("launch", 0.5)),
        ("0.1", Control("share", 0.1)),
        ("{none: it is free and wanted}", Control("none", 0.0, "it is free and wanted")),
    ],
)
def test_control_says_what_it_means(said, means):
    files = with_text("journeys/cart.yaml", "control: launch", f"control: {said}")
    assert compile_playbook(files).current["cart"].control == means


def test_what_is_owed_has_no_control_group_and_its_own_lane():
    files = with_text("journeys/cart.yaml", "purpose: marketing", "purpose: service")
    files["journeys/cart.yaml"] = files["journeys/cart.yaml"].replace("control: launch\n", "")
    journey = compile_playbook(files).current["cart"]
    assert (journey.lane, journey.control.mode) == ("owed", "none")
    assert {action.lane for step in journey.steps.values() if isinstance(step, Propose) for action in step.actions} == {
        "owed"
    }


def test_a_version_is_what_the_text_says_and_not_how_it_looks():
    text = GOOD["journeys/cart.yaml"]
    lines = text.splitlines()
    shuffled = "\n".join([lines[0], *reversed(lines[1:10]), *lines[10:]]) + "\n# a remark\n"
    version = compile_playbook(GOOD).current["cart"].version
    assert compile_playbook({**GOOD, "journeys/cart.yaml": shuffled}).current["cart"].version == version
    assert compile_playbook({**GOOD, "journeys/cart.yaml": text.replace("1 hour", "2 hours")}).version != version


def test_the_order_of_steps_is_part_of_the_version():
    # The first step is the start: another order is another journey.
    first = "  pause: {wait: 1 hour, then: remind, until: {Cart Viewed: end}}\n"
    text = GOOD["journeys/cart.yaml"]
    moved = compile_playbook({**GOOD, "journeys/cart.yaml": text.replace(first, "") + first}).current["cart"]
    assert moved.start == "remind"
    assert moved.version != compile_playbook(GOOD).current["cart"].version


def test_people_in_flight_keep_the_version_they_entered():
    old = compile_playbook(GOOD)
    new = compile_playbook(with_text("journeys/cart.yaml", "1 hour", "2 hours"), earlier=old.journeys)
    assert set(old.journeys) < set(new.journeys)
    assert new.current["cart"].version not in old.journeys


def test_indexes_name_what_each_event_touches():
    playbook = compile_playbook(GOOD)
    touched = {facet.name for facet in playbook.folding["Order Completed"]}
    assert touched == {"cart", "orders", "@ended Order Completed"}
    assert [facet.name for facet in playbook.folding["Product Removed"]] == ["cart"]
    assert [journey.name for journey in playbook.entering["Checkout Started"]] == ["cart"]
    assert playbook.schedules[0].event == "Newsletter Due"
    assert playbook.settings["budgets"] == {"coupons": 100}
    assert isinstance(playbook.current["cart"].steps["ask"], Branch)


def test_yaml_reads_what_is_written():
    # YAML 1.1 would read NO as false and 08:00 as a number of minutes.
    playbook = compile_playbook(with_text("policy.yaml", "reason: bought lately", "reason: NO"))
    assert playbook.policy.suppressions[0].reason == "NO"
    assert playbook.policy.quiet_hours[0].ends.hour == 8


def test_an_anchor_may_be_used_again():
    files = dict(GOOD)
    files["facets.yaml"] = (
        "a: {kind: count, events: &seen [Product Viewed, Cart Viewed]}\nb: {kind: count, events: *seen}\n"
        + GOOD["facets.yaml"]
    )
    facets = compile_playbook(files).facets
    assert facets["a"].events == facets["b"].events == ("Product Viewed", "Cart Viewed")
