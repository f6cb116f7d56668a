"""Every single call of the outside fails once, before and after it took place: the invariants hold in the end.

A life of three people, two of whom turn out to be one, is lived as often as it has calls. See `faults` for what a
fault is and what must be true.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from functools import cache
from typing import Literal

import pytest
from tests.laws.test_turns import with_control
from tests.shop import ANN, apparel, happened, person, visitor
from tests.simulation.faults import NO_FAULT, Fault, FaultyShop, check

from wayline.domain import Playbook
from wayline.governance.consent import GUARDS
from wayline.observation.identity import customer_id_of
from wayline.orchestration import journeys, policy
from wayline.runtime.embedded import Embedded
from wayline.runtime.handover import Outbox

BEN = person("ben")
SOFA = visitor("sofa")
JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}
Kind = Literal["killed", "raises"]


@cache
def playbook(share: float) -> Playbook:
    return with_control(apparel(), share)


def live(fault: Fault, share: float = 0.0) -> FaultyShop:
    """A life with everything that leaves something outside: carts, orders, delays, a merge, a withdrawal, a restock."""
    shop = FaultyShop(playbook(share), fault)
    for who in (ANN, BEN):
        shop.consent(who)
    shop.after(hours=25)
    shop.tell(happened("Inventory Changed", (), sku="jacket", available=4))
    shop.tell(happened("Product Viewed", SOFA, **JACKET), happened("Product Added", SOFA, **JACKET))
    shop.tell(happened("Checkout Step Viewed", (*ANN, *SOFA), step=2), happened("Product Added", BEN, **JACKET))
    shop.tell(happened("Checkout Step Viewed", BEN, step=2))
    # Ben's coupon is put off for an hour by the provider; he withdraws his consent meanwhile.
    shop.put_off.add(customer_id_of(BEN[0]))
    shop.after(minutes=90)
    shop.tell(happened("Consent Withdrawn", BEN, channel="email", purpose="marketing"))
    shop.after(hours=3)
    order = {"order_id": "o1", "revenue": 16900, "products": [JACKET]}
    shop.tell(happened("Order Completed", ANN, **order), happened("Order Completed", ANN, source="hook", **order))
    shop.tell(happened("Inventory Changed", (), sku="parka", available=0))
    shop.tell(happened("Back In Stock Requested", BEN, sku="parka"), happened("Order Shipped", ANN, order_id="o1"))
    shop.tell(happened("Order Delayed", ANN, order_id="o1", promised_on="2025-10-20", new_promised_on="2025-10-24"))
    shop.after(hours=2)
    shop.tell(happened("Inventory Changed", (), at=shop.now + timedelta(seconds=1), sku="parka", available=3))
    shop.after(hours=30)
    shop.tell(happened("Order Delivered", ANN, order_id="o1"))
    shop.after(days=15)
    shop.tell(happened("Email Bounced", BEN, email_id="m"))
    shop.after(days=6)
    return shop


def live_whatever(kind: Kind, takes_place: bool, share: float = 0.0) -> int:
    """The life once per call, each with another call failing; how many there are."""
    whole = live(NO_FAULT, share)
    check(whole)
    for at in range(1, whole.points + 1):
        shop = live(Fault(frozenset({at}), takes_place, kind), share)
        check(shop)
        assert shop.deaths == (kind == "killed")
        owed = sorted(row.content for row in shop.deliveries() if row.lane == "owed" and row.state == "sent")
        assert owed == sorted(row.content for row in whole.deliveries() if row.lane == "owed" and row.state == "sent")
    return whole.points


@pytest.mark.parametrize("takes_place", (False, True), ids=("before", "after"))
@pytest.mark.parametrize("kind", ("killed", "raises"))
def test_whatever_call_fails_once_the_invariants_hold(kind: Kind, takes_place: bool) -> None:
    assert live_whatever(kind, takes_place) > 60


def test_the_control_arm_survives_as_the_treated_do() -> None:
    assert live_whatever("killed", takes_place=True, share=1.0) > 60


def test_the_life_has_everything_in_it() -> None:
    shop = live(NO_FAULT)
    contents = {row.content for row in shop.deliveries() if row.state == "sent"}
    assert {
        "welcome",
        "cart-coupon",
        "order-confirmation",
        "order-shipped",
        "order-delayed",
        "review-request",
    } <= contents
    assert shop.store.state.counts()["merges"] == 1
    assert "back-in-stock" in contents
    withdrawn = [row for row in shop.deliveries() if row.content == "cart-coupon" and row.state == "refused"]
    assert [row.detail.split(":")[0] for row in withdrawn] == ["consent"]
    assert "withheld" in {row.state for row in live(NO_FAULT, 1.0).deliveries()}


# ------------------------------------------------------------------ what the invariants catch


def _never_recover(self: Outbox, now: object) -> int:
    return 0


def _send_all_again(self: Outbox, row: object, decision: object, now: object) -> object:
    return self._call(row, decision, now)  # type: ignore[arg-type]


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "orphans are left": lambda patch: patch.setattr(Outbox, "recover", _never_recover),
    "orphans are all sent again": lambda patch: patch.setattr(Outbox, "_found", _send_all_again),
    "messages are not judged again": lambda patch: patch.setattr(policy, "recheck", lambda decision, moment: None),
    "no consent is asked": lambda patch: patch.setitem(GUARDS, "consent", lambda action, moment: None),  # type: ignore[arg-type]
    "a hold has no instant": lambda patch: patch.setattr(
        journeys, "hold", lambda enrollment, until, **more: enrollment
    ),
    "nothing is forgotten after an error": lambda patch: patch.setattr(
        Embedded, "_whole", lambda self, now: nullcontext()
    ),
    "a restart folds nothing again": lambda patch: patch.setattr(Embedded, "_refold", lambda self, floor, whose: None),
}


def live_both_ways() -> None:
    for kind in ("killed", "raises"):
        for takes_place in (True, False):
            live_whatever(kind, takes_place)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_invariants_catch_who_breaks_them(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[mutant](monkeypatch)
    with pytest.raises((AssertionError, KeyError)):
        live_both_ways()
