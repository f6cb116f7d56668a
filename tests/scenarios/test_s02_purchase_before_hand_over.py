"""S2: whoever bought before a message is handed over is not reminded, however young the decision.

The purchase arrives at every single point at which the engine looks outside: each call of the log, the state, the
vault and the channels. What was acknowledged before the hand-over began must stop the message, in both arms.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.laws.test_turns import with_control
from tests.shop import NOON, Shop, apparel, happened

from wayline.orchestration import policy
from wayline.runtime.embedded import Embedded

JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}
ORDER = {"order_id": "o1", "revenue": 16900, "products": [JACKET]}


class Watched:
    """Something of the outside world; told of each call before it is made."""

    def __init__(self, real: Any, on_call: Callable[[str, tuple[Any, ...]], None]) -> None:
        self._real = real
        self._on_call = on_call

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if not callable(found):
            return found

        def called(*args: Any, **more: Any) -> Any:
            self._on_call(name, args)
            return found(*args, **more)

        return called


class Race:
    """A cart about to be reminded of, and a purchase at the n-th look outside."""

    def __init__(self, purchase: str, at: int, control: float) -> None:
        self.purchase, self.at = purchase, at
        self.points = 0
        self.begun_at = self.claimed_at = 0
        """Where the log stood when the latest hand-over began, and when the one began that claimed the reminder."""
        self.bought_at: int | None = None
        self.shop = shop = Shop(with_control(apparel(), control))
        shop.consent(days_ago=2)
        # A customer of old gets the reminder and no coupon: its journey ends by an order, not by a visit to the till.
        before = NOON - timedelta(days=30)
        shop.tell(happened("Order Completed", at=before, received_at=NOON, fires=False, **{**ORDER, "order_id": "o0"}))
        shop.tell(happened("Product Added", **JACKET), happened("Checkout Step Viewed", step=2))
        self.log = shop.store.log
        shop.engine.log = Watched(self.log, self._point)  # type: ignore[assignment]
        shop.engine.state = Watched(shop.engine.state, self._point)  # type: ignore[assignment]
        shop.engine.outbox.rendering.vault = Watched(shop.store.vault, self._point)  # type: ignore[assignment]
        for name, channel in list(shop.channels.items()):
            shop.engine.outbox.channels[name] = Watched(channel, self._point)  # type: ignore[index]

    def _point(self, name: str, args: tuple[Any, ...]) -> None:
        self.points += 1
        if self.points == self.at:
            bought = happened(self.purchase, at=self.shop.now, event_id="bought", source="till", **ORDER)
            self.bought_at = self.log.append([bought]).head
        if name == "outbox":
            self.begun_at = self.log.head()
        if name == "commit" and any(
            row.state == "attempting" and row.content.startswith("cart-") for row in args[0].deliveries
        ):
            self.claimed_at = self.begun_at

    def run(self) -> bool:
        """Whether the reminder left (or would have) although the purchase was acknowledged before its hand-over."""
        self.shop.after(minutes=90)
        reminded = [row for row in self.shop.deliveries() if row.content.startswith("cart-")]
        left = [row for row in reminded if row.state in ("sent", "withheld")]
        self.is_sent = bool(left)
        for row in reminded:
            if row.state == "refused":
                assert row.detail.split(":")[0] in ("journey", "suppression", "claims"), row.detail
        return bool(left) and self.bought_at is not None and self.bought_at <= self.claimed_at


def races(purchase: str, control: float) -> tuple[int, int, int]:
    """(too late, sent, not sent) over every point at which the purchase may come."""
    late = sent = unsent = 0
    at = 1
    while True:
        race = Race(purchase, at, control)
        late += race.run()
        sent += race.is_sent
        unsent += not race.is_sent
        if race.points < at:
            return late, sent, unsent
        at += 1


@pytest.mark.parametrize("control", (0.0, 1.0), ids=("treatment", "control"))
@pytest.mark.parametrize("purchase", ("Order Completed", "Store Purchase"))
def test_s02_a_purchase_at_any_instant_before_the_hand_over_stops_the_message(purchase: str, control: float) -> None:
    late, sent, unsent = races(purchase, control)
    assert late == 0
    assert sent > 2, "a purchase that comes after the claim is a race lost, and is there"
    assert unsent > 3


def test_s02_without_the_barrier_the_scenario_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Embedded, "catch_up", lambda self, now: None)
    assert races("Order Completed", 0.0)[0] > 0


def test_s02_without_the_second_judgement_the_scenario_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "recheck", lambda decision, moment: None)
    assert races("Store Purchase", 0.0)[0] > 0
