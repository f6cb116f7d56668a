"""S4, R3: the published clients behind a line that loses every second answer: stored once, counted, decided once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct
from tests.clients.harness import CLIENTS, Shop, failed_of, missing, shop, started
from tests.clients.proxy import LOSE, PASS, Proxy, Seen, proxied
from tests.contracts.test_serving import waited

TILLS = range(4)
"""Of each client so many, each behind a line of its own."""


class Lost(Struct, frozen=True):
    shop: Shop
    proxy: Proxy

    def requests(self, client: str) -> list[Seen]:
        return [one for till in TILLS for one in self.proxy.of(f"key-{client}-{till}")]


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    names = [f"{client}-{till}" for client in CLIENTS for till in TILLS]
    acts = {f"key-{name}": [LOSE, PASS] * 20 for name in names}
    with (
        shop(tmp_path_factory.mktemp("shop") / "shop", names) as running,
        proxied(running.url, acts) as proxy,
    ):
        working = [
            started(client, [till_of(client, till, proxy.url) for till in TILLS])
            for client in CLIENTS
            if not missing(client)
        ]
        assert [failed_of(process) for process in working] == [[] for _ in working]
        waited(lambda: running.store.state.position() == running.store.log.head())
        yield Lost(running, proxy)


def till_of(client: str, till: int, host: str) -> dict[str, Any]:
    """Somebody gives an address and buys; the receipt is owed."""
    who = f"user-{till}-of-{client}"
    jacket = {"sku": "jacket", "category": "winter-jackets", "price": 169.0, "quantity": 1}
    order = {"order_id": f"order-of-{who}", "revenue": 169.0, "products": [jacket]}
    said = [
        {"type": "identify", "userId": who, "traits": {"email": f"{who}@shop.example", "language": "en"}},
        {"type": "track", "userId": who, "event": "Order Completed", "properties": order},
    ]
    return {"host": host, "key": f"key-{client}-{till}", "calls": said, "retries": 5}


@pytest.mark.parametrize("client", CLIENTS)
def test_s04_a_line_that_loses_every_second_answer(lost: Lost, client: str) -> None:
    if why := missing(client):
        pytest.skip(why)
    requests = lost.requests(client)
    sent = Counter(item["messageId"] for one in requests for item in one.told["batch"])
    assert sum(one.status == 0 for one in requests) * 2 >= len(requests) >= 2 * len(TILLS)
    assert len(sent) == 2 * len(TILLS) and min(sent.values()) >= 2, "each was told at least twice"
    events = [event for till in TILLS for event in lost.shop.events(f"{client}-{till}")]
    assert sorted(event.event_id for event in events) == sorted(sent), "and is stored once"

    people = set(lost.shop.store.state.resolve([each for event in events for each in event.identifiers]).values())
    confirmed = Counter(
        decision.customer_id
        for decision in lost.shop.store.state.decisions()
        if decision.customer_id in people and decision.action and decision.action.content == "order-confirmation"
    )
    assert len(confirmed) == len(people) == len(TILLS) and set(confirmed.values()) == {1}, "and decided once"


def test_s04_what_came_again_is_counted_as_duplicate(lost: Lost) -> None:
    offered = [
        (one.key, item["messageId"])
        for client in CLIENTS
        for one in lost.requests(client)
        for item in one.told["batch"]
    ]
    assert lost.shop.counts() == {
        "accepted": len(offered), "stored": len(set(offered)), "duplicate": len(offered) - len(set(offered)),
        "conflict": 0, "rejected": 0,
    }  # fmt: skip
