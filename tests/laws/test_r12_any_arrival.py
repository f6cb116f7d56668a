"""R12, S3: events that come late, shuffled and again, through crashes and pauses, leave one memory and one decision.

A machine of rules tells a shop, in an order Hypothesis chooses, what a script of one shopper holds; it repeats what was
told, lets the process die and lets time pass. After every step the memory at hand is the fold of the log. In the end
everything was told, and the shop must stand as one that heard the script once and in order.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace
from tests.laws.test_turns import is_the_fold_of_the_log, with_control
from tests.shop import ANN, NOON, Shop, apparel, happened

from wayline.domain import Event, Memory, Playbook
from wayline.interpretation import customers

JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}
SOCKS = {"sku": "socks", "category": "socks", "price": 1400, "quantity": 2}
ACTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Product Viewed", JACKET), ("Product Viewed", SOCKS), ("Product Added", JACKET), ("Product Added", SOCKS),
    ("Product Removed", {"sku": "socks"}), ("Cart Emptied", {}), ("Checkout Step Viewed", {"step": 2}),
    ("Order Completed", {"order_id": "o1", "revenue": 16900, "products": [JACKET]}),
    ("Order Completed", {"order_id": "o2", "revenue": 1400, "products": [SOCKS]}),
    ("Order Shipped", {"order_id": "o1"}), ("Ticket Opened", {"ticket_id": "t"}), ("Ticket Closed", {"ticket_id": "t"}),
    ("Consent Withdrawn", {"channel": "push", "purpose": "marketing"}), ("Newsletter Due", {}),
)  # fmt: skip
SCRIPT = st.lists(st.tuples(st.integers(0, 45), st.sampled_from(ACTS)), min_size=3, max_size=9)
PLAYBOOK = with_control(apparel(), 0.0)
HEARD_AT = NOON + timedelta(minutes=50)
"""When everything of the script is told, in whatever order; a script lasts 45 minutes."""


def told_at(number: int, minutes: int, act: tuple[str, dict[str, Any]]) -> Event:
    name, properties = act
    at = NOON + timedelta(minutes=minutes, seconds=number)
    return happened(name, at=at, received_at=HEARD_AT, event_id=f"act-{number}", **properties)


def opened() -> Shop:
    shop = Shop(PLAYBOOK, now=NOON)
    shop.consent(days_ago=2)
    shop.now = HEARD_AT
    return shop


def facets(shop: Shop) -> Memory:
    """The memory but for when it was last written, which is not a fact about the customer."""
    return replace(shop.customer(ANN).memory, position=0)


def owed(shop: Shop) -> Counter[tuple[str, str]]:
    """What was decided for an order: of everything else it may matter what was known first."""
    return Counter(
        (decision.action.content, decision.key)
        for decision in shop.decisions()
        if decision.action is not None and decision.lane == "owed"
    )


class Arrivals(RuleBasedStateMachine):
    """One shopper, told of in any order."""

    @initialize(script=SCRIPT)
    def begin(self, script: list[tuple[int, tuple[str, dict[str, Any]]]]) -> None:
        self.shop = opened()
        self.events = [told_at(number, minutes, act) for number, (minutes, act) in enumerate(script)]
        self.untold = list(self.events)
        self.told: list[Event] = []

    @rule(data=st.data())
    def tell_any(self, data: st.DataObject) -> None:
        if self.untold:
            event = self.untold.pop(data.draw(st.integers(0, len(self.untold) - 1)))
            self.told.append(event)
            self.shop.tell(event)

    @rule(data=st.data())
    def tell_again(self, data: st.DataObject) -> None:
        """The client had no answer."""
        if self.told:
            again = data.draw(st.lists(st.sampled_from(self.told), min_size=1, max_size=3))
            before = (facets(self.shop), len(self.shop.decisions()), self.shop.sent())
            self.shop.tell(*again)
            assert (facets(self.shop), len(self.shop.decisions()), self.shop.sent()) == before

    @rule()
    def die(self) -> None:
        self.shop.restart()

    @rule()
    def write_back(self) -> None:
        self.shop.engine.checkpoint()

    @invariant()
    def memory_is_the_fold_of_the_log(self) -> None:
        if hasattr(self, "shop"):
            is_the_fold_of_the_log(self.shop)

    def teardown(self) -> None:
        if not hasattr(self, "shop"):
            return
        for event in self.untold:
            self.shop.tell(event)
        in_order = opened()
        for event in sorted(self.events, key=lambda event: event.stamp):
            in_order.tell(event)
        assert facets(self.shop) == facets(in_order)
        decided = owed(self.shop)
        assert max(decided.values(), default=0) <= 1, f"decided twice: {decided}"
        assert decided == owed(in_order)
        rows = Counter((row.content, row.decision_id) for row in self.shop.deliveries())
        assert max(rows.values(), default=0) <= 1


LAW = settings(
    max_examples=50, stateful_step_count=16, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip


def test_r12_late_shuffled_and_repeated_events_leave_one_memory_and_no_second_decision() -> None:
    run_state_machine_as_test(Arrivals, settings=LAW)


def _by_arrival(fold: Callable[..., Memory]) -> Callable[..., Memory]:
    heard = itertools.count()

    def moved(memory: Memory, event: Event, playbook: Playbook) -> Memory:
        return fold(memory, replace(event, occurred_at=HEARD_AT + timedelta(seconds=next(heard))), playbook)

    return moved


def test_r12_a_memory_by_arrival_breaks_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customers, "fold", _by_arrival(customers.fold))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Arrivals, settings=settings(LAW, phases=[Phase.generate]))
