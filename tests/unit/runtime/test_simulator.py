"""The simulated shop: luck is one's own, only messages part the two worlds, and what is booked is what happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from wayline.runtime.shop_rates import Rates
from wayline.runtime.shop_twins import Handed
from wayline.runtime.simulator import Shop

Writer = Callable[[datetime, Sequence[dict[str, Any]]], list[Handed]]


def play(shop: Shop, write: Writer | None = None) -> list[dict[str, Any]]:
    """Play the season; `write` is the engine: it sees an hour's messages and answers with what it hands over."""
    messages: list[dict[str, Any]] = []
    handed: list[Handed] = []
    now = shop.start
    while now < shop.end:
        told = shop.hour(now, handed)
        messages += told.messages
        now += timedelta(hours=1)
        handed = write(now, told.messages) if write else []
    return messages


def names(message: dict[str, Any]) -> dict[str, str]:
    if message.get("userId"):
        return {"user_id": message["userId"]}
    return {"anonymous_id": message["anonymousId"]}


def write_to_everybody(*, delivers: bool = True, discount: float = 0.0, only: str = "") -> Writer:
    """Remind everyone who left a checkout, and send everyone who bought or looked a letter."""
    occasions = {
        "Checkout Exited": "cart-recovery",
        "Order Completed": "loyal-discount",
        "Product Viewed": "newsletter",
        "Order Delayed": "delay-update",
        "Order Shipped": "shipping-update",
    }

    def write(now: datetime, messages: Sequence[dict[str, Any]]) -> list[Handed]:
        handed = []
        for message in messages:
            journey = occasions.get(message.get("event", ""))
            if journey is None or (only and only not in str(names(message))):
                continue
            handed.append(
                Handed(
                    decision_id=f"d-{message['messageId']}", identifiers=names(message), channel="email",
                    content="letter", journey=journey, delivers=delivers, at=now,
                    discount=discount if journey in ("cart-recovery", "loyal-discount") else 0.0,
                )
            )  # fmt: skip
        return handed

    return write


def loud() -> Rates:
    """Effects so strong that a small shop shows them."""
    rates = Rates()
    effects = {
        name: msgspec.structs.replace(effect, buys=effect.buys * 8) if name != "owed" else effect
        for name, effect in rates.effects.items()
    }
    return msgspec.structs.replace(rates, effects=effects, pull_forward=0.5)


def test_the_same_seed_and_reactions_give_the_same_bytes() -> None:
    runs = [json.dumps(play(Shop(7, 200, 20), write_to_everybody(discount=0.1))) for _ in range(2)]
    assert runs[0] == runs[1]
    assert json.dumps(play(Shop(8, 200, 20))) != json.dumps(play(Shop(7, 200, 20)))


@pytest.mark.parametrize("discount", [0.0, 0.1, 0.2])
def test_what_is_booked_is_the_difference_of_the_two_worlds(discount: float) -> None:
    worlds = {}
    for delivers in (True, False):
        shop = Shop(11, 1500, 60, loud())
        play(shop, write_to_everybody(delivers=delivers, discount=discount))
        worlds[delivers] = shop
    booked = worlds[True].truth().values()
    assert worlds[True].orders - worlds[False].orders == sum(truth.orders_caused for truth in booked)
    assert worlds[True].margin - worlds[False].margin == sum(truth.margin_caused for truth in booked)
    assert sum(truth.orders_caused for truth in booked) > 20
