"""The report against records whose truth is known: counts that add up, words in the right order, nothing invented."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from rich.console import Console
from tests.recorded_shop import JACKET, START, Shop, chosen, decided, happened, know, playbook, recorded_shop

from wayline.domain import Identifier, Merge, Product
from wayline.measurement.experiments import assign
from wayline.serving.report import Report, Truth, build, print_report, to_json
from wayline.store import Batch
from wayline.store.memory import MemoryLog, MemoryState, MemoryVault


@pytest.fixture(scope="module")
def shop() -> Shop:
    return recorded_shop()


@pytest.fixture(scope="module")
def report(shop: Shop) -> Report:
    truth = [Truth("cart-recovery", 500, 250_000, 2600.0), Truth("cart-discount", 500, -300_000, -99_000.0)]
    return build(shop.state, shop.log, shop.playbook, truth=truth)


def empty() -> Shop:
    return Shop(MemoryState(), MemoryLog(), MemoryVault(), playbook())


def test_every_delivery_is_accounted_for(shop: Shop, report: Report) -> None:
    n = report.counts
    outbox = list(shop.state.deliveries())
    stopped = sum(rule.at_the_door for rule in report.held)
    assert n["sent"] + n["control"] + n["unclear"] + n["waiting"] + stopped == len(outbox)
    assert n["sent"] == n["marketing"] + n["owed"] == sum(report.channels.values())
    assert n["sent"] + n["control"] == sum(line.sent + line.withheld for line in report.journeys)


def test_every_hold_is_under_one_rule_and_keeps_examples(shop: Shop, report: Report) -> None:
    holds = [decision for decision in shop.state.decisions() if decision.action is None]
    wishes = sum(len({verdict.action.journey for verdict in hold.considered}) for hold in holds)
    assert report.counts["held"] == wishes + report.counts["held_at_the_door"]
    assert [rule.count for rule in report.held] == sorted((rule.count for rule in report.held), reverse=True)
    for rule in report.held:
        assert rule.examples and all(example.reason and example.fact for example in rule.examples)


def test_the_reminder_works_and_the_coupon_is_said_to_cost_money(report: Report) -> None:
    words = {line.name: line.word for line in report.journeys}
    assert words == {
        "cart-recovery": "works",
        "cart-discount": "costs money",
        "newsletter": "too early",
        "order-confirmed": "owed",
    }


def test_claimed_and_caused_stand_in_one_sentence(report: Report) -> None:
    money = report.money
    assert money.basis == "margin"
    assert money.sentence.startswith("Messages claimed EUR 13,") and "; they caused about EUR " in money.sentence
    assert money.caused is not None and money.low is not None and money.high is not None
    assert money.low < money.caused < money.high < money.claimed
    caused = sum(line.caused or 0.0 for line in report.journeys)
    assert caused == pytest.approx(money.caused)


def test_what_needs_a_person_is_three_things_the_gravest_first(report: Report) -> None:
    assert [alarm.title for alarm in report.needs] == [
        "Stop or change 'cart-discount'",
        "Prices from one sender cannot be true",
        "Delivery unclear",
    ]
    assert {alarm.title for alarm in report.more_needs} >= {"A spike of opt-outs by sms", "Rejected data"}
    spike = next(alarm for alarm in report.more_needs if alarm.title.startswith("A spike"))
    assert "39 on 13 November" in spike.text


def test_an_absurd_order_is_in_no_money(shop: Shop, report: Report) -> None:
    assert all(line.claimed < 2_000_000 for line in report.journeys)
    assert "app-4.2" in report.needs[1].text


def test_the_jacket_shopper_is_the_story_and_the_order_is_in_it(report: Report) -> None:
    assert report.story is not None and report.story.customer_id == JACKET
    marks = [line.mark for line in report.story.lines]
    assert marks.index("sent") < marks.index("held") < marks.index("order")


def test_a_story_can_be_asked_for(shop: Shop) -> None:
    told = build(shop.state, shop.log, shop.playbook, story="c00007").story
    assert told is not None and told.customer_id == "c00007"


def test_the_simulators_truth_says_whether_the_range_held_it(report: Report) -> None:
    covered = {one.journey: one.is_covered for one in report.truth}
    assert covered == {"cart-recovery": True, "cart-discount": False}
    assert report.truth_sentence.startswith("In truth the measured journeys caused EUR -500")


def test_the_terminal_has_the_order_people_need_and_the_truth_last(report: Report) -> None:
    screen = Console(file=io.StringIO(), width=140)
    print_report(report, screen)
    text = screen.file.getvalue()
    order = [
        "Fjell & Tarn: 1 November 2025",
        "Messages claimed EUR",
        "Sent, held, and why",
        "Message limit reached",
        "Journeys, and whether they work",
        "costs money",
        "One shopper's story",
        "What needs a person",
        "Claimed: every order within 5 days",
        "simulation only",
    ]
    places = [text.find(words) for words in order]
    assert -1 not in places and places == sorted(places)
    assert not any(word in text.lower() for word in (" fold", "stimulus", "tally", "wake_at"))


def test_markup_in_the_records_is_printed_not_obeyed() -> None:
    shop = empty()
    know(shop, "[bold]c[/]", Identifier("user_id", "u"))
    decided(shop, chosen("[bold]c[/]", "order-confirmed", START), "refused", "caps: [red]odd[/nonsense]: x")
    screen = Console(file=io.StringIO(), width=200)
    print_report(build(shop.state, shop.log, shop.playbook), screen)
    assert "[red]odd[/nonsense]" in screen.file.getvalue()


def test_the_report_is_one_json_value_and_the_same_for_the_same_records(shop: Shop, report: Report) -> None:
    told = json.loads(to_json(report))
    assert told["money"]["sentence"] == report.money.sentence
    assert to_json(build(shop.state, shop.log, shop.playbook)) == to_json(build(shop.state, shop.log, shop.playbook))


def test_an_empty_shop_invents_nothing() -> None:
    shop = empty()
    report = build(shop.state, shop.log, shop.playbook)
    assert report.money.caused is None and "cannot be told yet" in report.money.sentence
    assert report.story is None and not report.needs and report.period == "nothing has happened yet"
    print_report(report, Console(file=io.StringIO(), width=100))


def test_people_merged_since_count_once_and_if_in_both_groups_in_neither() -> None:
    shop = empty()
    control = next(f"m{n}" for n in range(99) if assign("journey:cart-recovery", f"m{n}", 0.5) == "control")
    treated = next(f"m{n}" for n in range(99) if assign("journey:cart-recovery", f"m{n}", 0.5) == "treatment")
    for customer_id in (control, treated):
        know(shop, customer_id, Identifier("user_id", customer_id))
        decision = chosen(customer_id, "cart-recovery", START)
        decided(shop, decision, "sent" if decision.delivers else "withheld")
    shop.state.commit(Batch(merges=[Merge(treated, control, 1.0, "same e-mail", START)]))
    line = build(shop.state, shop.log, shop.playbook, now=START + timedelta(days=30)).journeys[0]
    other = next(line for line in build(shop.state, shop.log, shop.playbook).journeys if line.name == "cart-recovery")
    assert line.contaminated + other.contaminated >= 1
    assert (other.people_control, other.people_treatment) == (0, 0)


def test_whoever_is_held_out_of_everything_says_nothing_about_one_journey() -> None:
    shop = empty()
    for number in range(40):
        customer_id = f"s{number}"
        know(shop, customer_id, Identifier("user_id", customer_id))
        decision = chosen(customer_id, "cart-recovery", START)
        standing = "control" if number % 4 == 0 else "treatment"
        arm = "control" if standing == "control" else decision.arm
        both = {**decision.assignments, "holdout": standing}
        decision = _changed(decision, arm=arm, assignments=both)
        decided(shop, decision, "sent" if decision.delivers else "withheld")
        if number % 3 == 0:
            happened(
                shop, Identifier("user_id", customer_id), "Order Completed", START + timedelta(days=1),
                order_id=f"o{number}", revenue=1000, products=[{"sku": "J1-M", "price": 1000, "quantity": 1}],
            )  # fmt: skip
    report = build(shop.state, shop.log, shop.playbook, now=START + timedelta(days=30))
    line = next(line for line in report.journeys if line.name == "cart-recovery")
    assert line.people_control + line.people_treatment == 30
    assert "(10 people without any marketing against 30)" in report.money.standing


def _changed(decision, **changes):
    from msgspec.structs import replace

    return replace(decision, **changes)


def test_handling_of_returns_is_declared_in_the_currency_and_counted() -> None:
    shop = empty()
    shop.playbook = _changed(shop.playbook, settings={"measurement": {"margin_share": 0.5, "return_cost": 3.0}})
    who = Identifier("user_id", "u")
    know(shop, "c", who)
    decision = next(
        d for n in range(99) if (d := chosen("c", "cart-recovery", START + timedelta(days=n))).delivers
    )  # fmt: skip
    decided(shop, decision, "sent")
    lines = [{"sku": "J1", "price": 1000, "quantity": 2}]
    at = decision.decided_at + timedelta(hours=3)
    happened(shop, who, "Order Completed", at, order_id="o", revenue=2000, products=lines)
    happened(shop, who, "Return Received", at, order_id="o", return_id="r", products=[{**lines[0], "quantity": 1}])
    assert build(shop.state, shop.log, shop.playbook).money.claimed == 500 - 300


def test_without_costs_the_money_is_revenue_and_says_so() -> None:
    shop = empty()
    shop.playbook = _changed(shop.playbook, settings={})
    who = Identifier("user_id", "u")
    know(shop, "c", who)
    lines = [{"sku": "J1", "price": 1000, "quantity": 1}]
    happened(shop, who, "Order Completed", START, order_id="o", revenue=1000, products=lines)
    report = build(shop.state, shop.log, shop.playbook)
    assert report.money.basis == "revenue"
    assert any("no `measurement.margin_share`" in line for line in report.assumptions)
    shop.state.commit(Batch(products=[Product("J1", cost=400)]))
    assert build(shop.state, shop.log, shop.playbook).money.basis == "margin"
