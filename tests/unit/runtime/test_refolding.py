"""A facet that is new or declared otherwise is known of everybody at the next start, folded from the whole log."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache

import pytest
from tests.laws.test_turns import is_the_fold_of_the_log
from tests.shop import ANN, Shop, apparel, happened, person, visitor, written
from tests.shop import happened as a_thing_that_happened

from wayline.domain import Event, Identifier, Memory, Playbook
from wayline.interpretation import customers
from wayline.interpretation.facets import read
from wayline.runtime import refolding
from wayline.runtime.embedded import Limits
from wayline.runtime.people import CUSTOMER
from wayline.store import Batch

HELPS = "\nhelps: {kind: count, events: [Help Viewed], window: 365 days, tile: 1 day}\n"
PEOPLE = [ANN, *(person(f"p{number}") for number in range(6))]


@cache
def playbook(facets: str = "") -> Playbook:
    return written({}, facets=facets)


def lived(limits: Limits | None = None, playbook_is: Playbook | None = None) -> Shop:
    """A past of several people, two of whom turned out to be one, and a phone that changed hands."""
    shop = Shop(playbook_is or playbook(), limits=limits)
    numbers = itertools.count(1)

    def happened(name: str, who: Sequence[Identifier], **properties: object) -> Event:
        return a_thing_that_happened(name, who, event_id=f"past-{next(numbers)}", **properties)

    sofa = visitor("sofa")
    phone = Identifier("anonymous_id", "phone")
    for number, who in enumerate(PEOPLE):
        shop.tell(*(happened("Help Viewed", who) for _ in range(number)))
    shop.tell(happened("Help Viewed", sofa), happened("Help Viewed", (*ANN, *sofa)))
    shop.tell(happened("Product Viewed", (*PEOPLE[1], phone), sku="a"), happened("Help Viewed", (phone,)))
    shop.tell(happened("Product Viewed", (*PEOPLE[2], phone), sku="b"), happened("Help Viewed", (phone,)))
    shop.tell(happened("Help Viewed", (Identifier(CUSTOMER, shop.customer(PEOPLE[3]).customer_id),)))
    shop.engine.checkpoint()
    return shop


def helps(shop: Shop, facet: str = "helps") -> list[object]:
    declared = shop.playbook.facets
    return [read(shop.customer(who).memory.facets, declared[facet], declared, shop.now) for who in PEOPLE]


def remembered(shop: Shop, who: Sequence[Identifier]) -> Memory:
    return shop.customer(who).memory


WANTED = [2, 2, 3, 4, 4, 5, 6]


@pytest.mark.parametrize("customers_max", (200_000, 3, 1), ids=("one pass", "a few passes", "many passes"))
def test_a_new_facet_is_known_of_everybody_at_the_next_start(customers_max: int) -> None:
    shop = lived(Limits(customers_max=customers_max))
    shop.playbook = playbook(HELPS)
    shop.restart()
    assert helps(shop) == WANTED
    # The same as if the facet had been there from the first day.
    always = lived(playbook_is=playbook(HELPS))
    assert [remembered(shop, who) for who in PEOPLE] == [remembered(always, who) for who in PEOPLE]
    shop.tell(happened("Help Viewed", PEOPLE[4]))
    assert helps(shop)[4] == WANTED[4] + 1


def test_without_the_note_a_start_folds_again_and_with_it_not(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = lived()
    assert not refolding.is_outdated(shop.store.state, shop.playbook)
    before = [shop.customer(who).memory for who in PEOPLE]

    def never(*told: object, **more: object) -> int:
        raise AssertionError("nothing changed, and everything was folded again")

    with monkeypatch.context() as patch:
        patch.setattr("wayline.runtime.embedded.refold", never)
        shop.restart()
        # What is read otherwise is folded as before.
        shop.playbook = playbook("\nhelps_now: {kind: derived, of: help_7d, read: count}\n")
        assert shop.playbook.version != playbook().version
        shop.restart()
    # A store of before there was a note is folded again too: the same memories come out.
    shop.store.state.commit(Batch(notes={"facets_folded": b"unknown"}))
    shop.restart()
    assert [shop.customer(who).memory for who in PEOPLE] == before


def test_a_facet_declared_otherwise_is_folded_otherwise() -> None:
    shop = lived()
    shop.playbook = playbook(HELPS)
    shop.restart()
    shop.playbook = playbook(HELPS.replace("[Help Viewed]", "[Help Viewed, Product Viewed]"))
    shop.restart()
    assert helps(shop) == [2, 3, 4, 4, 4, 5, 6]


def test_a_process_that_dies_on_the_way_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = lived(Limits(customers_max=2))
    shop.playbook = playbook(HELPS)
    real, commits = shop.store.state.commit, []

    def dies(batch: Batch) -> None:
        commits.append(batch)
        if len(commits) == 3:
            raise KeyboardInterrupt
        real(batch)

    monkeypatch.setattr(shop.store.state, "commit", dies)
    with pytest.raises(KeyboardInterrupt):
        shop.restart()
    assert refolding.is_outdated(shop.store.state, shop.playbook)
    shop.restart()
    assert helps(shop) == WANTED
    assert not refolding.is_outdated(shop.store.state, shop.playbook)


def test_where_people_stand_is_left_as_it_is() -> None:
    shop = Shop(apparel())
    shop.tell(happened("Order Completed", order_id="o1", revenue=1, products=[]))
    standing = shop.customer().standing
    shop.store.state.commit(Batch(notes={"facets_folded": b"others"}))
    shop.restart()
    assert shop.customer().standing == standing
    is_the_fold_of_the_log(shop)


def test_an_event_that_cannot_be_folded_stops_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = customers.fold

    def picky(memory: Memory, event: Event, playbook: Playbook) -> Memory:
        if event.name == "Help Viewed":
            raise ZeroDivisionError
        return fold(memory, event, playbook)

    shop = Shop(playbook())
    monkeypatch.setattr(customers, "fold", picky)
    shop.tell(happened("Products Searched"), happened("Help Viewed"), happened("Products Searched"))
    assert len(shop.store.state.set_asides()) == 1
    before = shop.customer().memory
    shop.restart()  # folds again since the last checkpoint
    assert shop.customer().memory == before
    shop.store.state.commit(Batch(notes={"facets_folded": b"others"}))
    shop.restart()  # folds everything again
    assert shop.customer().memory == before
