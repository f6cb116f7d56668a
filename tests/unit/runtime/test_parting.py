"""What a split reads of the log: each event once, whoever and however many are involved, and no further than agreed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.scenarios.test_s20_a_merge_that_was_wrong import BEN, PHONE, memories, merge, owners, split
from tests.shop import ANN, Shop, happened, visitor

from wayline.domain import Event, Identifier
from wayline.runtime import parting

JACKET: dict[str, Any] = {"sku": "jacket"}


class Readings:
    """The log's `about`, and what it was asked for."""

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[set[Identifier]] = []
        self._about = shop.store.log.about
        monkeypatch.setattr(shop.store.log, "about", self._counted)

    def _counted(self, identifiers: Sequence[Identifier], count_max: int) -> list[Event]:
        self.asked.append(set(identifiers))
        found: list[Event] = self._about(identifiers, count_max)
        return found


def crowded() -> tuple[Shop, str]:
    """Ann and Ben as one have more browsers than one may have, so Ann's phone was turned away: alone, it would join."""
    shop = Shop()
    for number in range(4):
        for who in (ANN, BEN):
            browser = visitor(f"{who[0].value}-{number}")
            shop.tell(happened("Product Viewed", (*who, *browser), event_id=f"{who[0].value}-{number}", **JACKET))
    loser = merge(shop, ANN, BEN)
    shop.tell(happened("Product Added", PHONE, event_id="added", **JACKET))
    shop.tell(happened("Products Searched", (*ANN, *PHONE), event_id="searched"))
    assert shop.customer(PHONE).customer_id != shop.customer(ANN).customer_id
    return shop, loser


def test_the_log_is_read_once_for_however_many_identifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    for number in range(300):
        order = Identifier("order_id", f"{number:032x}")
        shop.tell(happened("Product Viewed", (*(ANN if number % 2 else BEN), order), event_id=f"{number}", **JACKET))
    loser = merge(shop, ANN, BEN)
    readings = Readings(shop, monkeypatch)
    split(shop, loser)
    assert [len(asked) > 300 for asked in readings.asked] == [True]
    assert shop.customer(ANN).customer_id != shop.customer(BEN).customer_id


def test_for_whoever_is_drawn_in_only_what_is_not_read_yet_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, loser = crowded()
    readings = Readings(shop, monkeypatch)
    split(shop, loser)
    first, *more = readings.asked
    assert more and PHONE[0] in set().union(*more)
    assert all(asked.isdisjoint(first) for asked in more)
    assert shop.customer(PHONE).customer_id == shop.customer(ANN).customer_id


def test_beyond_the_last_reading_nobody_more_is_drawn_in_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, loser = crowded()
    before = memories(shop)[shop.customer(PHONE).customer_id]
    monkeypatch.setattr(parting, "_READINGS_MAX", 1)
    readings = Readings(shop, monkeypatch)
    split(shop, loser)
    assert len(readings.asked) == 1
    ann, ben, phone = (shop.customer(who).customer_id for who in (ANN, BEN, PHONE))
    assert len({ann, ben, phone}) == 3, "the phone stays whose it was"
    assert memories(shop)[phone] == before
    assert shop.store.state.set_asides() == []
    kept = owners(shop), memories(shop)
    shop.restart()
    assert (owners(shop), memories(shop)) == kept
