"""Many random lives, with outages, deaths, late and repeated events: the invariants hold, and a seed repeats exactly.

`WAYLINE_SEEDS` says how many; a seed that fails is reported by its number, and is the whole reproduction.
"""

from __future__ import annotations

import os
import random
from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.laws.test_turns import ACTS, with_control
from tests.shop import ANN, apparel, happened, person, visitor
from tests.simulation.faults import NO_FAULT, Fault, FaultyShop, check

from wayline.domain import Event, Identifier
from wayline.observation.identity import customer_id_of

SEEDS = int(os.environ.get("WAYLINE_SEEDS", "20"))
PEOPLE = [ANN, *((*person(f"p{number}"), Identifier("push_token", f"phone-p{number}")) for number in range(4))]
JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}
CARTS: list[tuple[str, dict[str, object]]] = [
    ("Product Added", JACKET), ("Checkout Step Viewed", {"step": 2}), ("Checkout Step Viewed", {"step": 3}),
    ("Back In Stock Requested", {"sku": "jacket"}), ("Newsletter Due", {}), ("Product Viewed", JACKET),
]  # fmt: skip
ORDER = {"revenue": 16900, "products": [JACKET]}


def life(seed: int) -> FaultyShop:
    """One random life, told in full by its seed."""
    luck = random.Random(seed)
    kind = luck.choice(("killed", "raises"))
    faults = frozenset(luck.sample(range(1, 160), 3))
    shop = FaultyShop(
        with_control(apparel(), luck.choice((0.0, 0.5, 1.0))),
        Fault(faults, luck.random() < 0.5, kind),  # type: ignore[arg-type]
    )
    shop.put_off.update(customer_id_of(who[0]) for who in luck.sample(PEOPLE, 2))
    for who in PEOPLE:
        shop.consent(who, *luck.sample(("email", "push", "sms"), luck.randint(1, 3)), days_ago=luck.choice((0, 2)))
        shop.store.vault.put({f"{one.kind}:{one.value}": {one.kind: one.value} for one in who[2:]})
    sofa = visitor("sofa")
    for number in range(luck.randint(10, 30)):
        available = luck.choice((0, 3, 3, 3))
        shop.tell(happened("Inventory Changed", (), event_id=f"{seed}-{number}", sku="jacket", available=available))
        told = [act(luck, shop, f"{seed}-{number}-{part}", sofa) for part in range(luck.randint(1, 4))]
        shop.tell(*told)
        if luck.random() < 0.2:
            shop.surely(lambda told=told: shop.store.log.append(told))  # the client sends once more
        pass_time(luck, shop)
    shop.fault = NO_FAULT
    for _ in range(4):
        shop.after(days=3)
    shop.after(days=60)
    return shop


def act(luck: random.Random, shop: FaultyShop, event_id: str, sofa: tuple[object, ...]) -> Event:
    who = luck.choice([*PEOPLE, sofa, (*PEOPLE[1], *sofa)])
    late = timedelta(hours=luck.choice((0, 0, 0, 1, 30)))
    at = shop.now - late
    if luck.random() < 0.2 and who is not sofa:
        order = {"order_id": f"o{luck.randint(1, 9)}-{who[0].value}", **ORDER}  # type: ignore[attr-defined]
        return happened("Order Completed", who, at=at, received_at=shop.now, event_id=event_id, **order)  # type: ignore[arg-type]
    if luck.random() < 0.02:
        return happened("Email Bounced", who, at=at, received_at=shop.now, event_id=event_id, email_id="m")  # type: ignore[arg-type]
    name, properties = luck.choice([*ACTS, *CARTS])
    if name.startswith("Consent") and who is sofa:
        # Nobody can tell yet whose consent that is: the check would look for it under who they turn out to be.
        who = ANN
    return happened(name, who, at=at, received_at=shop.now, event_id=event_id, **properties)  # type: ignore[arg-type]


def pass_time(luck: random.Random, shop: FaultyShop) -> None:
    if luck.random() < 0.1:
        # An outage: nothing runs, and then everything is due at once.
        shop.now += timedelta(days=luck.choice((1, 3, 40)))
        shop.surely(lambda: shop.engine.drain(shop.now))
    else:
        shop.after(minutes=luck.choice((1, 30, 70, 600, 3000)))


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_a_random_life_keeps_the_invariants(seed: int) -> None:
    check(life(seed))


def test_a_seed_repeats_exactly() -> None:
    one, other = life(7), life(7)
    assert one.decisions() == other.decisions()
    assert [replace(row) for row in one.deliveries()] == other.deliveries()
    assert one.calls == other.calls


def test_random_lives_are_full_of_things() -> None:
    """What the lives of the first seeds had in them, taken together: nothing important is missing."""
    states: set[str] = set()
    deaths = merges = calls = 0
    for seed in range(1, 21):
        shop = life(seed)
        states |= {row.state for row in shop.deliveries()}
        deaths += shop.deaths
        merges += shop.store.state.counts()["merges"]
        calls += len(shop.calls)
    assert states >= {"sent", "withheld", "refused"}
    assert deaths >= 8 and merges >= 8 and calls > 150
