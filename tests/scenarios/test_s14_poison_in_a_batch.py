"""S14: one poisoned event never takes its batch along: the others are stored and decided, it is kept with a reason."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tests.shop import Shop

from wayline import engine
from wayline.domain import Customer, Event, Identifier, Playbook, Turn, World
from wayline.runtime import collecting
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.embedded import Embedded
from wayline.store.opening import open_store

DEEP: Any = []
for _ in range(2000):
    DEEP = [DEEP]

NAUGHTY: list[Any] = [
    "\x00", "a\x00b", "\ud800", "\udfff\ud800", "￿", "�", "‮evil", "", " ", "\u2028", "'; DROP TABLE events;--",
    "{{ 7*7 }}", "{% raw %}", "<script>alert(1)</script>", "%s%n%x", "../../etc/passwd", "null", "NaN", "-0", "1e999",
    "true", "undefined", "🏳️‍🌈" * 50, "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘", "9" * 5000, "x" * 100_000,
    math.nan, math.inf, -math.inf, -0.0, 10**400, 2**63, -(2**63), 2**64, True, None, [], {}, [[]], {"": ""},
    {"a": {"b": DEEP}}, DEEP, [1, "a", None], {"$ref": "#"}, b"\xff",
]  # fmt: skip
"""Values that have broken somebody's pipeline; each may be stored or refused, and takes nothing along."""

BROKEN: list[Any] = [
    None, 7, "text", [], {}, {"type": "track"}, {"type": "nonsense", "userId": "ann"},
    {"type": "track", "event": "Help Viewed"}, {"type": "track", "userId": "ann"},
    {"type": "track", "event": 5, "userId": "ann"}, {"type": "track", "event": "", "userId": "ann"},
    {"type": "track", "event": "Help Viewed", "userId": {"$ne": None}},
    {"type": "track", "event": "Help Viewed", "userId": "ann", "timestamp": "yesterday"},
    {"type": "track", "event": "Help Viewed", "userId": "ann", "timestamp": math.nan},
    {"type": "track", "event": "Help Viewed", "userId": "ann", "properties": "text"},
    {"type": "track", "event": "Order Completed", "userId": "ann", "properties": {"order_id": "o", "revenue": "much"}},
    {"type": "track", "event": "Order Completed", "userId": "ann", "properties": {"order_id": "o", "products": 7}},
    {"type": "track", "event": "Help Viewed", "userId": "ann", "messageId": "x" * 1000},
]  # fmt: skip
"""Messages of which none is an event as it should be."""


def good(number: int) -> dict[str, Any]:
    return {
        "type": "track", "messageId": f"good-{number}", "event": "Help Viewed", "userId": f"u{number % 7}",
        "properties": {"topic": "size"},
    }  # fmt: skip


def batches() -> list[list[Any]]:
    """Each poison alone among 99 good ones would be long: each batch has nine good ones and one of them."""
    naughty = [
        {"type": "track", "event": "Help Viewed", "userId": f"p{number}", "messageId": f"naughty-{number}",
         "properties": {"topic": value}}
        for number, value in enumerate(NAUGHTY)
    ]  # fmt: skip
    named = [
        {
            "type": "track",
            "event": "Help Viewed",
            "userId": "ann",
            "messageId": f"named-{number}",
            "properties": {name: 1},
        }
        for number, name in enumerate(value for value in NAUGHTY if isinstance(value, str))
    ]
    traits = [
        {"type": "identify", "userId": f"t{number}", "messageId": f"trait-{number}", "traits": {"nickname": value}}
        for number, value in enumerate(NAUGHTY)
    ]
    return [
        [
            *(good(10 * place + number) for number in range(5)),
            poison,
            *(good(10 * place + number) for number in range(5, 9)),
        ]
        for place, poison in enumerate([*BROKEN, *naughty, *named, *traits])
    ]


def taken_in(shop: Shop) -> None:
    collector = Collector(shop.store.log, shop.store.vault)
    offered = rejected = 0
    for batch in batches():
        offered += len(batch)
        collected = collector.collect(Delivered(batch, "web", shop.now))
        rejected += len(collected.rejected)
        assert all(one.reason and one.code for one in collected.rejected)
        shop.engine.drain(shop.now)
    counts = shop.store.log.counts()
    assert counts["stored"] + counts["duplicate"] + counts["conflict"] + counts["rejected"] == offered
    assert counts["rejected"] == rejected >= len(BROKEN) - 2
    assert len(shop.store.log.rejections(10_000)) == rejected
    kept = {event.event_id for event in shop.store.log.read(0, 100_000)}
    wanted = {f"good-{10 * place + number}" for place in range(len(batches())) for number in range(9)}
    assert wanted <= kept, "every good one is stored"
    assert shop.store.state.position() == shop.store.log.head()
    assert shop.store.state.set_asides() == [], "a turn could be taken of every event that was stored"


@pytest.mark.parametrize("kept", ("in memory", "on disk"))
def test_s14_one_poisoned_event_takes_no_other_along(kept: str, tmp_path: Path) -> None:
    with open_store(tmp_path / "kept" if kept == "on disk" else None) as store:
        taken_in(Shop(store=store))


def test_s14_all_or_nothing_fails_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    read = collecting.read

    def strictly(*asked: Any) -> collecting.Read:
        found = read(*asked)
        if found.rejected:
            found.events.clear()
        return found

    monkeypatch.setattr(collecting, "read", strictly)
    with pytest.raises(AssertionError):
        taken_in(Shop())


# ------------------------------------------------------------------ poison that only a turn meets


def a_turn_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    finish = engine.finish

    def poisoned(begun: engine.Begun, playbook: Playbook, world: World) -> Turn:
        if isinstance(begun.stimulus, Event) and begun.stimulus.event_id == "good-3":
            raise ZeroDivisionError("a defect of ours")
        return finish(begun, playbook, world)

    monkeypatch.setattr(engine, "finish", poisoned)
    shop = Shop()
    Collector(shop.store.log, shop.store.vault).collect(
        Delivered([good(number) for number in range(99)], "web", shop.now)
    )
    shop.engine.drain(shop.now)
    (aside,) = shop.store.state.set_asides()
    assert aside.position == 4 and "ZeroDivisionError: a defect of ours" in aside.reason
    assert shop.store.state.position() == 99

    def remembered(number: int) -> Customer:
        return shop.customer((Identifier("user_id", shop.store.vault.keyed("user_id", f"u{number}")),))

    counted = [remembered(number).memory.position for number in range(7)]
    assert max(counted) == 99 and min(counted) > 90, "everybody else's turns were taken"
    shop.engine.drain(shop.now)
    assert len(shop.store.state.set_asides()) == 1, "and it is not tried in a loop"


def test_s14_a_turn_that_raises_is_set_aside_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    a_turn_that_raises(monkeypatch)


def test_s14_without_the_net_the_scenario_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fallen(self: Embedded, customer_id: str, stimulus: Any, error: Exception, *more: Any) -> int:
        raise error

    monkeypatch.setattr(Embedded, "_set_aside", fallen)
    with pytest.raises(ZeroDivisionError):
        a_turn_that_raises(monkeypatch)
