"""Who is behind which identifier, as the engine keeps it at hand: within a batch, over batches, after a restart."""

from __future__ import annotations

from datetime import date, time, timedelta

import pytest
from msgspec.structs import replace
from tests.laws.test_turns import is_the_fold_of_the_log
from tests.shop import ANN, Shop, happened, person, visitor

from wayline.domain import Event, Identifier, Schedule
from wayline.observation.identity import is_known
from wayline.runtime.embedded import Limits
from wayline.runtime.people import People
from wayline.runtime.schedules import Schedules

JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}
SIZES = (1, 2, 1000)


def shops(*events: Event) -> list[Shop]:
    """The same events, folded one by one and in batches."""
    made = [Shop(limits=Limits(events_max=most)) for most in SIZES]
    for shop in made:
        shop.tell(*events)
    return made


def test_a_merge_in_the_middle_of_a_batch_is_as_one_by_one() -> None:
    sofa, office = visitor("sofa"), visitor("office")
    events = [
        happened("Product Added", sofa, **JACKET),
        happened("Product Viewed", office, **JACKET),
        happened("Products Searched", (*ANN, *sofa)),
        happened("Product Viewed", sofa, **JACKET),
        happened("Products Searched", (*ANN, *office)),
        happened("Product Viewed", office, **JACKET),
    ]
    seen = []
    for shop in shops(*events):
        assert len(list(shop.store.state.customer_ids())) == 1
        assert shop.store.state.counts()["merges"] == 2
        is_the_fold_of_the_log(shop)
        before = shop.customer()
        shop.restart()
        assert shop.customer().memory == before.memory
        seen.append((before.memory, before.standing, shop.decisions()))
    assert seen[0] == seen[1] == seen[2]


def test_a_chain_of_merges_in_one_batch_ends_with_the_known_person() -> None:
    sofa, mail, user = visitor("sofa"), ANN[1:], ANN[:1]
    events = [
        happened("Product Viewed", sofa, **JACKET),
        happened("Product Viewed", mail, **JACKET),
        happened("Products Searched", (*mail, *sofa)),
        happened("Products Searched", (*user, *mail)),
        happened("Product Viewed", sofa, **JACKET),
    ]
    for shop in shops(*events):
        (only,) = shop.store.state.customer_ids()
        assert is_known(only)
        assert shop.customer(sofa).customer_id == only
        for merge in shop.store.state.merges(only):
            assert shop.store.state.survivor(merge.loser) == only
        is_the_fold_of_the_log(shop)


def test_two_known_people_on_one_device_stay_two() -> None:
    phone = Identifier("anonymous_id", "phone")
    users = [(Identifier("user_id", name), phone) for name in ("ann", "ben")]
    events = [happened("Product Viewed", who, **JACKET) for who in (*users, users[0])]
    for shop in shops(*events, happened("Product Viewed", (phone,), **JACKET)):
        assert len(list(shop.store.state.customer_ids())) == 2
        assert shop.store.state.counts()["merges"] == 0
        # What happens on it without a log-in belongs to whoever logged in last.
        assert shop.customer((phone,)).customer_id == shop.customer(users[0][:1]).customer_id
        is_the_fold_of_the_log(shop)


def test_a_device_of_too_many_people_belongs_to_nobody() -> None:
    kiosk = Identifier("anonymous_id", "kiosk")
    users = [(Identifier("user_id", f"u{number}"), kiosk) for number in range(6)]
    events = [happened("Product Viewed", who, **JACKET) for who in users]
    alone = [happened("Product Added", (kiosk,), **JACKET) for _ in range(2)]
    for shop in shops(*events, *alone):
        assert sum(map(is_known, shop.store.state.customer_ids())) == 6, "1,000 log-ins leave 1,000 customers"
        carts = [who for who in users if "cart" in str(shop.customer(who[:1]).memory.facets)]
        assert carts == []
        is_the_fold_of_the_log(shop)
        daily = Schedule(event="Newsletter Due", every=timedelta(days=1), at=time(12), starts_on=date(2025, 10, 1))
        shop.engine.playbook = replace(shop.engine.playbook, schedules=(daily,))
        schedules = Schedules(shop.engine)
        schedules.events(shop.now)
        told = schedules.events(shop.now + timedelta(days=1))
        assert len(told) == 6, "nobody is told for the kiosk itself"


def test_a_batch_that_fails_has_taught_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    sofa = visitor("sofa")
    shop.tell(happened("Product Viewed", sofa, **JACKET))
    real = shop.store.state.commit
    monkeypatch.setattr(shop.store.state, "commit", lambda batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        shop.tell(happened("Products Searched", (*ANN, *sofa)))
    monkeypatch.setattr(shop.store.state, "commit", real)
    assert shop.store.state.counts()["merges"] == 0
    shop.engine.drain(shop.now)
    assert shop.store.state.counts()["merges"] == 1
    is_the_fold_of_the_log(shop)


def test_the_common_case_asks_the_store_nothing() -> None:
    """Somebody known by all they carry is resolved from what is at hand."""
    shop = Shop()
    shop.tell(happened("Product Viewed", ANN, **JACKET))
    asked = []

    class Asked:
        def __getattr__(self, name: str) -> object:
            asked.append(name)
            return getattr(shop.store.state, name)

    shop.engine.people.state = Asked()  # type: ignore[assignment]
    shop.tell(*(happened("Product Viewed", ANN, **JACKET) for _ in range(5)))
    assert asked == []
    shop.tell(happened("Product Viewed", person("new"), **JACKET))
    assert "ties" in asked


def test_the_engine_s_own_events_name_their_customer() -> None:
    shop = Shop()
    sofa = visitor("sofa")
    shop.tell(happened("Product Viewed", sofa, **JACKET))
    loser = shop.customer(sofa).customer_id
    shop.tell(happened("Products Searched", (*ANN, *sofa)))
    people = People(shop.store.state)
    told = happened("Newsletter Due", (Identifier("customer_id", loser),))
    assert people.whose(told).customer_id == shop.customer().customer_id, "an id that was merged away still leads there"
