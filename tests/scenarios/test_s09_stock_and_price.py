"""S9: what a message says of the shelf must be true when it leaves: else the next action, else hold, else drop."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from tests.laws.test_turns import with_control
from tests.shop import MARKETING, NOON, OPEN, Shop, apparel, happened, product, written

from wayline.domain import Claim, Decision, Event, Playbook, Propose, Receipt
from wayline.orchestration import policy

JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}


def between(shop: Shop, content: str, *events: Event) -> None:
    """These become known after that content was decided and before it is handed over."""

    def decided(decision: Decision) -> None:
        if decision.action is not None and decision.action.content == content:
            shop.store.log.append([shop._dated(event) for event in events])

    shop.engine.on_decided = decided


def restocked(sku: str, available: int, **more: Any) -> Event:
    return happened("Inventory Changed", (), sku=sku, available=available, **more)


def reminder(*channels: str) -> Shop:
    """A cart whose reminder is about to be decided, of an old customer."""
    shop = Shop(with_control(apparel(), 0.0))
    shop.consent((*person_with_push(), *()), *channels, days_ago=2)
    who = person_with_push()
    before = NOON - timedelta(days=30)
    shop.tell(happened("Order Completed", who, at=before, received_at=NOON, fires=False, order_id="o0", products=[]))
    shop.tell(happened("Product Added", who, **JACKET), happened("Checkout Step Viewed", who, step=2))
    return shop


def person_with_push() -> tuple[Any, ...]:
    from tests.shop import ANN

    from wayline.domain import Identifier

    return (*ANN, Identifier("push_token", "phone-ann"))


def sold_out() -> None:
    """The jacket sells out while its reminder is on its way: the push, which promises no stock, goes instead."""
    shop = reminder("email", "push")
    shop.store.vault.put({"push_token:phone-ann": {"push_token": "t"}})
    between(shop, "cart-reminder", restocked("jacket", 0))
    shop.after(hours=2)
    rows = {row.content: row for row in shop.deliveries()}
    assert rows["cart-reminder"].state == "refused" and "jacket must be in stock" in rows["cart-reminder"].detail
    assert shop.sent() == [("push", "cart-push")]


def test_s09_sold_out_between_decision_and_hand_over_takes_the_next_action() -> None:
    sold_out()


def held_until_restocked() -> None:
    """Nothing else can be sent: it is held, and the restock itself wakes it."""
    shop = reminder("email")
    between(shop, "cart-reminder", restocked("jacket", 0))
    shop.after(hours=2)
    assert shop.sent() == []
    customer = shop.customer(person_with_push())
    assert shop.store.state.waiting_on(["stock:jacket"]) == [customer.customer_id]
    shop.tell(restocked("jacket", 2))
    shop.engine.on_decided = None
    shop.after(minutes=21)
    assert shop.sent() == [("email", "cart-reminder")]


def test_s09_held_until_the_shelf_says_otherwise() -> None:
    held_until_restocked()


def too_old() -> None:
    """The provider is down until the stock figure is beyond its limit: it is not relied on, a newer one is."""
    shop = reminder("email")
    shop.tell(restocked("jacket", 5))
    later = shop.now + timedelta(hours=25)
    shop.answers["email"] = Receipt("refused", shop.now, "down", retry_at=later)
    shop.after(hours=2)
    assert [row.state for row in shop.deliveries()] == ["pending"]
    shop.answers.clear()
    shop.after(hours=24)
    (row,) = shop.deliveries()
    assert row.state == "refused" and "too long ago" in row.detail, row


def test_s09_a_figure_beyond_its_limit_is_not_relied_on() -> None:
    too_old()


SALE = MARKETING + (
    "enters_on: Product Viewed\nsteps:\n"
    "  tell: {propose: [{action: a, channel: email, content: sale}], patience: 2 days, then: end, otherwise: end}\n"
)


def promising(claim: Claim) -> Playbook:
    """The sale with a promise of the price, which no text can claim yet and the engine can judge."""
    playbook = written({"sale": SALE}, policy=OPEN, sale="email")
    (journey,) = playbook.current.values()
    step = journey.steps["tell"]
    assert isinstance(step, Propose)
    claiming = replace(step, actions=tuple(replace(action, claims=(claim,)) for action in step.actions))
    sale = replace(journey, steps={**journey.steps, "tell": claiming})
    return replace(
        playbook, journeys={sale.version: sale}, current={"sale": sale}, entering={"Product Viewed": (sale,)}
    )


def repriced() -> None:
    shop = Shop(promising(Claim("price_is", "jacket@16900")), shelf=[product("jacket", 16900)])
    shop.consent()
    shop.after(minutes=1)
    between(shop, "sale", happened("Price Changed", (), sku="jacket", price=17900))
    shop.tell(happened("Help Viewed"), happened("Product Viewed", sku="jacket"))
    (row,) = shop.deliveries()
    assert row.state == "refused" and "it is 17900" in row.detail
    assert shop.store.state.waiting_on(["price:jacket"])
    shop.engine.on_decided = None
    shop.tell(happened("Price Changed", (), sku="jacket", price=16900, at=shop.now + timedelta(seconds=1)))
    shop.after(hours=1)
    assert shop.sent() == [("email", "sale")]


def test_s09_a_price_that_changed_on_the_way_is_not_promised() -> None:
    repriced()


@pytest.mark.parametrize("scenario", (sold_out, held_until_restocked, too_old, repriced), ids=lambda one: one.__name__)
def test_s09_without_the_second_judgement_the_scenario_fails(
    scenario: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "recheck", lambda decision, moment: None)
    with pytest.raises(AssertionError):
        scenario()


def test_s09_the_facts_that_were_used_are_stored_with_the_decision() -> None:
    shop = reminder("email")
    shop.after(hours=2)
    (decision,) = [d for d in shop.decisions() if d.action is not None and d.action.content == "cart-reminder"]
    assert decision.facts["stock.jacket"] == [5, NOON]
    assert shop.sent() == [("email", "cart-reminder")]
