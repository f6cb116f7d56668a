"""S3: what happened counts when it happened; a late event may end or cancel, and starts nothing that is long past."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace
from tests.laws.test_turns import with_control
from tests.shop import NOON, Shop, apparel, happened

from wayline.domain import Enrollment, Event, Memory, Playbook
from wayline.interpretation import customers
from wayline.orchestration import journeys
from wayline.runtime.collecting import Collector, Delivered

JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}
ORDER = {"order_id": "o1", "revenue": 16900, "products": [JACKET]}


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def told(name: str, occurred: float, arrived: float, event_id: str = "", **properties: object) -> Event:
    return happened(name, at=at(occurred), received_at=at(arrived), event_id=event_id, **properties)


STREAM = [
    told("Product Viewed", 0, 10, "e1", **JACKET),
    told("Product Added", 1, 10, "e2", **JACKET),
    told("Product Removed", 2, 10, "e3", sku="jacket"),
    told("Product Added", 2, 10, "e4", **{**JACKET, "quantity": 2}),
    told("Checkout Step Viewed", 4, 10, "e5", step=2),
]


def played(events: list[Event]) -> tuple[Memory, list[tuple[str, str]], int]:
    shop = Shop(with_control(apparel(), 0.0), now=at(10))
    shop.consent(days_ago=2)
    shop.now = at(10)
    shop.tell(*events)
    shop.after(hours=30)
    entered = sum(e.journey == "cart-recovery" for e in shop.customer().standing.enrollments)
    memory = shop.customer().memory
    consents = {name: replace(consent, granted_at=None) for name, consent in memory.consents.items()}
    assert consents
    return memory, [row for row in shop.sent() if row[1] != "welcome"], entered


def in_any_order() -> None:
    """All 120 orders of five events, with two of them told twice: one memory, one reminder."""
    seen = []
    for events in itertools.permutations(STREAM):
        memory, sent, entered = played([*events, events[0], events[3]])
        facets = {name: state for name, state in memory.facets.items() if not name.startswith(("signed", "@"))}
        if (facets, sent, entered) not in seen:
            seen.append((facets, sent, entered))
    memories = [facets for facets, _, _ in seen]
    assert all(one == memories[0] for one in memories)
    assert all(len(sent) <= 1 and entered <= 1 for _, sent, entered in seen)
    assert any(sent for _, sent, _ in seen)


def test_s03_any_order_and_duplicates_leave_one_memory_and_no_second_decision() -> None:
    in_any_order()


def test_s03_a_memory_by_arrival_fails_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    folded = customers.fold
    arrivals = itertools.count()

    def by_arrival(memory: Memory, event: Event, playbook: Playbook) -> Memory:
        moved = replace(event, occurred_at=event.received_at + timedelta(seconds=next(arrivals)))
        return folded(memory, moved, playbook)

    monkeypatch.setattr(customers, "fold", by_arrival)
    with pytest.raises(AssertionError):
        in_any_order()


# ------------------------------------------------------------------ late, and cancels


def a_late_purchase_cancels() -> None:
    shop = Shop(with_control(apparel(), 0.0))
    shop.consent(days_ago=2)
    shop.tell(happened("Product Added", **JACKET), happened("Checkout Step Viewed", step=2))
    shop.after(minutes=59)
    assert shop.steps()["cart-recovery"] == "pause"
    # The till tells half an hour late: bought after the checkout was left.
    shop.tell(told("Order Completed", 20, 59, **ORDER))
    assert shop.steps()["cart-recovery"] == "converted"
    shop.after(hours=40)
    assert not [row for row in shop.sent() if row[1].startswith("cart")]


def test_s03_a_late_purchase_cancels_the_wake_that_was_coming() -> None:
    a_late_purchase_cancels()


def test_s03_a_purchase_that_does_not_count_fails_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journeys, "_counts", lambda event, enrollment, match="": False)
    with pytest.raises(AssertionError):
        a_late_purchase_cancels()


def an_old_exit_ends_nothing() -> None:
    shop = Shop(with_control(apparel(), 0.0))
    shop.consent(days_ago=2)
    shop.tell(happened("Product Added", **JACKET), happened("Checkout Step Viewed", step=2))
    # An order of last week, told only now: it is remembered, and does not end what began since.
    shop.tell(happened("Order Completed", at=NOON - timedelta(days=6), received_at=NOON, **{**ORDER, "order_id": "o0"}))
    assert shop.steps()["cart-recovery"] == "pause"
    assert shop.engine.playbook and shop.customer().memory.facets
    shop.after(hours=2)
    assert shop.steps()["cart-recovery"] != "converted"


def test_s03_what_happened_before_a_person_entered_ends_nothing() -> None:
    an_old_exit_ends_nothing()


def test_s03_exits_by_arrival_fail_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_arrival(event: Event, enrollment: Enrollment, match: str = "") -> bool:
        return True

    monkeypatch.setattr(journeys, "_counts", by_arrival)
    with pytest.raises(AssertionError):
        an_old_exit_ends_nothing()


# ------------------------------------------------------------------ late, and starts nothing


def a_trigger_beyond_the_window_starts_nothing() -> None:
    shop = Shop(with_control(apparel(), 0.0))
    shop.consent(days_ago=2)
    shop.after(days=3)
    shop.tell(happened("Product Added", **JACKET))
    late = shop.now - shop.playbook.policy.lateness - timedelta(minutes=1)
    shop.tell(happened("Checkout Step Viewed", at=late, received_at=shop.now, step=2))
    assert "cart-recovery" not in shop.steps()
    refused = [
        refusal.reason for _, refusal, _ in shop.store.state.refused_entries() if refusal.journey == "cart-recovery"
    ]
    assert refused and "after it happened" in refused[0], "the case is labelled"
    in_time = shop.now - shop.playbook.policy.lateness + timedelta(minutes=1)
    shop.tell(happened("Checkout Step Viewed", at=in_time, received_at=shop.now, step=2))
    assert "cart-recovery" in shop.steps()


def test_s03_a_trigger_beyond_the_lateness_window_starts_nothing_and_says_so() -> None:
    a_trigger_beyond_the_window_starts_nothing()


def test_s03_without_the_window_the_scenario_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journeys, "_entry_refusal", lambda *told: None)
    with pytest.raises(AssertionError):
        a_trigger_beyond_the_window_starts_nothing()


# ------------------------------------------------------------------ late, after what would have ended it


def a_trigger_told_after_its_goal_starts_nothing() -> None:
    shop = Shop(with_control(apparel(), 0.0))
    shop.consent(days_ago=2)
    shop.tell(happened("Product Added", **JACKET))
    shop.after(hours=3)
    shop.tell(happened("Cart Emptied", at=shop.now - timedelta(hours=1), received_at=shop.now))
    shop.tell(happened("Product Added", at=shop.now - timedelta(minutes=50), received_at=shop.now, **JACKET))
    shop.tell(happened("Checkout Step Viewed", at=shop.now - timedelta(hours=2), received_at=shop.now, step=2))
    assert "cart-recovery" not in shop.steps()
    told = [
        refusal.reason for _, refusal, _ in shop.store.state.refused_entries() if refusal.journey == "cart-recovery"
    ]
    assert told and told[0].startswith("Cart Emptied happened after it"), told
    shop.tell(happened("Checkout Step Viewed", step=2))
    assert "cart-recovery" in shop.steps(), "one that happened after it starts the journey as ever"


def test_s03_a_trigger_told_after_what_would_have_ended_it_starts_nothing_and_says_so() -> None:
    a_trigger_told_after_its_goal_starts_nothing()


def test_s03_without_asking_what_was_over_the_scenario_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journeys, "_was_over", lambda *told: None)
    with pytest.raises(AssertionError):
        a_trigger_told_after_its_goal_starts_nothing()


def test_s03_history_told_today_takes_no_newer_name_back() -> None:
    shop = Shop()
    collector = Collector(shop.store.log, shop.store.vault)
    told = [("New", "2025-10-01T10:00:00Z", True), ("From 2019", "2019-04-01T10:00:00Z", False)]
    for number, (name, timestamp, fires) in enumerate(told):
        message: dict[str, object] = {
            "type": "identify",
            "messageId": f"m{number}",
            "userId": "ann",
            "timestamp": timestamp,
        }
        message["traits"] = {"lastName": name}
        collector.collect(Delivered([message], "web", shop.now, fires=fires))
    subject = f"user_id:{shop.store.vault.keyed('user_id', 'ann')}"
    assert shop.store.vault.get([subject])[subject]["last_name"] == "New"
