"""What only the shop may say, said by a public key: judged by nobody, started by nobody, and stopping nothing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.shop import NOON, Shop

from wayline.observation.hands import BY_HAND
from wayline.runtime.collecting import Collector, Delivered
from wayline.store import Log

PLAYED = [
    {"survivor": "k-1", "loser": "a-2", "confidence": 0.95, "evidence": "forged", "by": "forger"},
    {},
    {"by": "browser-1"},
    {"survivor": 7, "loser": None},
]


def offered(shop: Shop, event: str, properties: Any, *, trusted: bool) -> Log:
    item = {
        "type": "track", "event": event, "anonymousId": "browser-1", "userId": "anna", "properties": properties,
        "messageId": f"{event}{trusted}{properties}"[:100], "timestamp": NOON.isoformat(),
    }  # fmt: skip
    store = shop.store
    collector = Collector(store.log, store.vault, signals=shop.engine.playbook.signals)
    collector.collect(Delivered((item,), "web", shop.now, trusted=trusted))
    return store.log


@pytest.mark.parametrize("name", sorted(BY_HAND))
@pytest.mark.parametrize("trusted", [False, True])
def test_x04_an_event_that_is_merely_called_a_judgement_judges_nothing(name: str, trusted: bool) -> None:
    shop = Shop()
    for properties in PLAYED:
        offered(shop, name, properties, trusted=trusted)
    shop.after(minutes=1)
    assert shop.store.state.position() == shop.store.log.head() > 0, "the engine goes on"
    assert shop.store.state.set_asides() == []
    assert list(shop.store.state.splits()) == []


def test_x04_what_a_schedule_makes_no_public_key_may_tell() -> None:
    shop = Shop()
    internal = {schedule.event for schedule in shop.engine.playbook.schedules}
    assert internal, "the example shop has schedules"
    for name in internal:
        log = offered(shop, name, {}, trusted=False)
        assert log.head() == 0
        assert log.rejections()[0].code == "needs_secret_key"
    assert offered(shop, sorted(internal)[0], {}, trusted=True).head() == 1
