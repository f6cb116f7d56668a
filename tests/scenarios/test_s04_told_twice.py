"""S4: a client that got no answer sends again, and two sources report one order; each thing counts once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.shop import Shop

from wayline.domain import Event, Identifier
from wayline.orchestration import journeys
from wayline.runtime import collecting
from wayline.runtime.collecting import Collector, Delivered
from wayline.store.opening import open_store

PRODUCTS = [{"sku": "jacket", "price": 169.0, "quantity": 1}]


class AnswerLost(Exception):
    """The request arrived and was stored; the client never hears of it."""


class Client:
    """Sends batches as the real libraries do: again, the very same, until it is answered."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.collector = Collector(shop.store.log, shop.store.vault)
        self.requests = itertools.count(1)
        self.answers = 0

    def sends(self, *messages: dict[str, Any], source: str = "web") -> None:
        for attempt in range(5):
            try:
                self._post(list(messages), source)
            except AnswerLost:
                continue
            self.answers += 1
            return
        raise AssertionError(f"no answer in {attempt} attempts")

    def _post(self, messages: list[dict[str, Any]], source: str) -> None:
        self.collector.collect(Delivered(messages, source, self.shop.now))
        self.shop.engine.drain(self.shop.now)
        if next(self.requests) % 2:
            raise AnswerLost


def order(message_id: str, order_id: str, **more: Any) -> dict[str, Any]:
    properties = {"order_id": order_id, "revenue": 169.0, "products": PRODUCTS}
    return {
        "type": "track", "messageId": message_id, "event": "Order Completed", "userId": "ann",
        "timestamp": "2025-10-07T10:00:00Z", "properties": properties | more,
    }  # fmt: skip


IDENTIFY = {"type": "identify", "messageId": "i1", "userId": "ann", "traits": {"email": "ann@example.com"}}


def ann(shop: Shop) -> tuple[Identifier, ...]:
    return (Identifier("user_id", shop.store.vault.keyed("user_id", "ann")),)


def retried(shop: Shop) -> None:
    client = Client(shop)
    client.sends(IDENTIFY, order("m1", "o1"))
    client.sends(order("m2", "o2"), {"type": "track", "messageId": "m3", "event": "Help Viewed", "userId": "ann"})
    counts = shop.store.log.counts()
    assert client.answers == 2 and next(client.requests) == 5, "each batch was sent twice"
    assert (counts["stored"], counts["duplicate"], counts["conflict"], counts["rejected"]) == (4, 4, 0, 0)
    assert [content for _, content in shop.sent()] == ["order-confirmation", "order-confirmation"]
    assert len([d for d in shop.decisions() if d.action is not None]) == 2


@pytest.mark.parametrize("kept", ("in memory", "on disk"))
def test_s04_what_is_sent_again_is_stored_once_and_decided_once(kept: str, tmp_path: Path) -> None:
    with open_store(tmp_path / "kept" if kept == "on disk" else None) as store:
        retried(Shop(store=store))


def test_s04_ids_given_at_receipt_fail_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = collecting.parse
    numbers = itertools.count()

    def renamed(item: Any, **more: Any) -> Any:
        return parse({**item, "messageId": f"at-receipt-{next(numbers)}"}, **more)

    monkeypatch.setattr(collecting, "parse", renamed)
    with pytest.raises(AssertionError):
        retried(Shop())


def reported_by_two() -> None:
    """The tag on the page and the shop's webhook tell of one order, each with its own id."""
    shop = Shop()
    client = Client(shop)
    client.sends(IDENTIFY)
    client.sends(order("tag-1", "o1"))
    shop.after(minutes=5)
    client.sends(order("hook-1", "o1", total=178.9), source="shop")
    assert shop.store.log.counts()["stored"] == 3
    assert [content for _, content in shop.sent()] == ["order-confirmation"]
    facets = shop.engine.playbook.facets
    from wayline.interpretation.facets import read

    memory = shop.customer(ann(shop)).memory.facets
    assert read(memory, facets["order_count"], facets, shop.now) == 1
    assert read(memory, facets["spent"], facets, shop.now) == 16900


def test_s04_one_order_reported_by_two_sources_counts_and_is_confirmed_once() -> None:
    reported_by_two()


def test_s04_without_reentry_per_order_the_scenario_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journeys, "_reentry_refusal", lambda reentry, other, event: None)
    with pytest.raises(AssertionError):
        reported_by_two()


def contradicting() -> None:
    """The same id with other content: the first is kept, the second beside it, and nothing is decided by it."""
    shop = Shop()
    collector = Collector(shop.store.log, shop.store.vault)
    for message in (order("m1", "o1"), order("m1", "o9")):
        collected = collector.collect(Delivered([IDENTIFY, message], "web", shop.now))
        shop.engine.drain(shop.now)
    assert (collected.appended.stored, collected.appended.duplicates, collected.appended.conflicts) == (0, 1, 1)
    beside: list[Event] = shop.store.log.conflicts()
    assert [event.properties["order_id"] for event in beside] == ["o9"]
    assert [event.properties.get("order_id") for event in shop.store.log.read(0, 9)] == [None, "o1"]
    assert len(shop.sent()) == 1


def test_s04_the_same_id_with_other_content_is_kept_beside_and_flagged() -> None:
    contradicting()


def test_s04_a_key_of_content_fails_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    from wayline.store import memory

    monkeypatch.setattr(memory, "is_same_content", lambda one, other: True)
    with pytest.raises(AssertionError):
        contradicting()


# ------------------------------------------------------------------ what the vault keeps


def named(name: str, message_id: str, day: int, **more: Any) -> dict[str, Any]:
    traits = {"firstName": "Ann", "lastName": name}
    told = {"messageId": message_id, "userId": "ann", "timestamp": f"2025-10-{day:02}T10:00:00Z", "traits": traits}
    return {"type": "identify", **told, **more}


def last_name(shop: Shop) -> Any:
    (who,) = ann(shop)
    return shop.store.vault.get([f"{who.kind}:{who.value}"])[f"{who.kind}:{who.value}"]["last_name"]


@pytest.fixture(params=("in memory", "on disk"))
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with open_store(tmp_path / "kept" if request.param == "on disk" else None) as store:
        yield Shop(store=store)


def test_s04_an_older_message_sent_again_takes_no_newer_name_back(shop: Shop) -> None:
    client = Collector(shop.store.log, shop.store.vault)
    old, new = named("Old", "m1", 1), named("New", "m2", 2)
    for message in (old, new, old):
        collected = client.collect(Delivered([message], "web", shop.now))
    assert collected.appended.duplicates == 1 and last_name(shop) == "New"
    client.collect(Delivered([named("Older", "m3", 1), new, old], "web", shop.now))
    assert last_name(shop) == "New"


def test_s04_a_retry_whose_clock_has_drifted_writes_nothing(shop: Shop) -> None:
    """A batch that is sent again keeps its `sentAt`, and so seems to have happened later each time."""
    client = Collector(shop.store.log, shop.store.vault)
    first, second = named("Old", "m1", 2), named("New", "m2", 2, timestamp="2025-10-02T10:05:00Z")
    sent = datetime(2025, 10, 2, 10, 6, tzinfo=UTC)
    for message, minutes in ((first, 0), (second, 0), (first, 30)):
        at = sent + timedelta(minutes=minutes)
        collected = client.collect(Delivered([message], "web", at, sent_at=sent))
    assert collected.appended.duplicates == 1 and last_name(shop) == "New"


def test_s04_another_name_under_one_id_is_a_conflict_and_changes_nothing(shop: Shop) -> None:
    client = Collector(shop.store.log, shop.store.vault)
    client.collect(Delivered([named("First", "m1", 1)], "web", shop.now))
    collected = client.collect(Delivered([named("Other", "m1", 1)], "web", shop.now))
    assert (collected.appended.duplicates, collected.appended.conflicts) == (0, 1) and last_name(shop) == "First"
    together = client.collect(Delivered([named("One", "m2", 3), named("Two", "m2", 3)], "web", shop.now))
    assert together.appended.conflicts == 1 and last_name(shop) == "One"
    again = client.collect(Delivered([named("Two", "m2", 3)], "web", shop.now))
    assert again.appended.duplicates == 1, "it is kept beside already"
    told = [event.personal for event in shop.store.log.read(0, 9)]
    assert all(told) and len(set(told)) == 2 and "One" not in str(told)


def test_s04_equal_names_of_two_events_have_no_hash_in_common(shop: Shop) -> None:
    client = Collector(shop.store.log, shop.store.vault)
    client.collect(Delivered([named("Same", "m1", 1), named("Same", "m2", 1)], "web", shop.now))
    assert len({event.personal for event in shop.store.log.read(0, 9)}) == 2
