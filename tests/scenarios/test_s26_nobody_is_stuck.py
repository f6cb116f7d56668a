"""S26: an open enrollment has an instant at which it goes on, or a message on its way; whatever dies, and when.

The process dies at every single commit, before it or after it took place. What comes after it must find nobody stuck,
and the doctor must find whoever is.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.laws.test_turns import with_control
from tests.shop import ANN, Shop, apparel, happened

from wayline.orchestration import journeys
from wayline.runtime.replaying import examine
from wayline.store import Batch

JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}


class Killed(BaseException):
    """The process is gone: nothing in it runs on."""


class Mortal:
    """A state at whose n-th commit the process dies."""

    def __init__(self, shop: Shop, at: int, *, takes_place: bool) -> None:
        self.commits, self.at, self.takes_place = 0, at, takes_place
        self.real = shop.store.state.commit
        shop.store.state.commit = self.commit  # type: ignore[method-assign]

    def commit(self, batch: Batch) -> None:
        self.commits += 1
        if self.commits == self.at:
            if self.takes_place:
                self.real(batch)
            raise Killed
        self.real(batch)


def stuck(shop: Shop) -> list[str]:
    """Whom the doctor finds inside a journey that will not go on by itself."""
    problems = examine(shop.store.log, shop.store.state, shop.now).problems
    return [problem for problem in problems if "will not go on by itself" in problem]


def life(at: int, *, takes_place: bool) -> tuple[int, list[str]]:
    """A life with every kind of step, the process dying once; how many commits it took, and who got stuck."""
    shop = Shop(with_control(apparel(), 0.0))
    mortal = Mortal(shop, at, takes_place=takes_place)
    found: list[str] = []

    def lives(*names: str, hours: float = 0.0, **properties: object) -> None:
        until = shop.now + timedelta(hours=hours)
        try:
            shop.tell(*(happened(name, **(JACKET if name == "Product Added" else properties)) for name in names))
            shop.after(hours=hours)
        except Killed:
            shop.restart()
            shop.now = max(shop.now, until)
            shop.engine.drain(shop.now)
        found.extend(stuck(shop))

    try:
        shop.consent()
    except Killed:
        shop.restart()
        shop.engine.drain(shop.now)
    lives("Product Added", "Checkout Step Viewed", hours=30, step=2)
    lives("Email Link Clicked", hours=30, email_id="m")
    lives("Order Completed", "Back In Stock Requested", hours=2, order_id="o1", sku="hat", products=[])
    lives("Order Shipped", hours=20, order_id="o1")
    lives("Order Delivered", hours=24 * 20, order_id="o1")
    lives(hours=24 * 20)
    closed = {e.journey for e in shop.customer(ANN).standing.enrollments if not e.is_open}
    assert {"cart-recovery", "order-confirmation", "order-shipped", "review-request"} <= closed, closed
    return mortal.commits, found


def lives(takes_place: bool) -> list[str]:
    commits, found = life(0, takes_place=takes_place)
    for at in range(1, commits + 1):
        found.extend(life(at, takes_place=takes_place)[1])
    assert commits > 25
    return found


@pytest.mark.parametrize("takes_place", (False, True), ids=("before", "after"))
def test_s26_whatever_commit_the_process_dies_at_nobody_is_stuck(takes_place: bool) -> None:
    assert lives(takes_place) == []


def test_s26_a_hold_without_an_instant_fails_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journeys, "hold", lambda enrollment, until, **more: enrollment)
    with pytest.raises(AssertionError):
        life(0, takes_place=False)


def test_s26_a_start_that_settles_no_orphan_fails_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    from wayline.runtime.handover import Outbox

    monkeypatch.setattr(Outbox, "recover", lambda self, now: 0)
    with pytest.raises(AssertionError):
        lives(takes_place=True)


def test_s26_the_doctor_finds_who_is_stuck() -> None:
    shop = Shop()
    shop.tell(happened("Product Added", **JACKET), happened("Checkout Step Viewed", step=2))
    assert stuck(shop) == []
    customer = shop.customer()
    lost = tuple(replace(e, wake_at=None) for e in customer.standing.enrollments)
    standing = replace(customer.standing, enrollments=lost, wake_at=None)
    shop.store.state.commit(Batch(standings={customer.customer_id: standing}))
    (problem,) = stuck(shop)
    assert customer.customer_id in problem
