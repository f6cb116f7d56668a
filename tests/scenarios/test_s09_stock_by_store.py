"""S9 in a store: what a message says is there must be there, in that store, when it leaves; no other place helps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from tests.shop import MARKETING, NOON, OPEN, Shop, happened, written

from wayline.domain import Decision, Event, Playbook
from wayline.orchestration import gates

HEAD = MARKETING.replace("reentry: after 1 day", "reentry: per sku")
STEPS = """\
enters_on: Back In Stock Requested
steps:
  say:
    propose:
      - {action: here, channel: email, content: local, claims: ["in_stock_at: trigger.store_id"]}
    patience: 9 days
    then: end
    otherwise: end
"""
POLICY = (
    OPEN.replace("unknown: in_stock", "unknown: refused, fresh: 24 hours") + "ask_again: 6 hours\nspread: 1 minute\n"
)


def playbook() -> Playbook:
    made = written({"j": f"{HEAD}{STEPS}"}, policy=POLICY, local="email")
    shown = replace(made.content["local"], shows="trigger", shows_count=1)
    return replace(made, content={**made.content, "local": shown})


def counted(store: str, available: int, **more: Any) -> Event:
    return happened("Inventory Changed", (), sku="jacket", store_id=store, available=available, **more)


def asked_for_in_kiel(*before: Event) -> Shop:
    shop = Shop(playbook())
    shop.consent()
    shop.tell(*before)
    shop.tell(happened("Back In Stock Requested", sku="jacket", store_id="kiel"))
    return shop


def held_until_that_store_has_it() -> None:
    shop = asked_for_in_kiel(counted("kiel", 0), counted("berlin", 9))
    shop.tell(happened("Inventory Changed", (), sku="jacket", available=50))
    assert shop.sent() == []
    (waiting,) = shop.customer().standing.enrollments
    assert waiting.topics == ("stock:jacket@kiel",)
    shop.tell(counted("berlin", 10))
    shop.after(hours=1)
    assert shop.sent() == []
    shop.tell(counted("kiel", 2))
    shop.after(minutes=2)
    assert shop.sent() == [("email", "local")]


def test_s09_held_until_the_store_named_has_it_and_woken_by_its_count() -> None:
    held_until_that_store_has_it()


def test_s09_the_web_shop_s_stock_is_no_store_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken variant: stock somewhere is stock there."""

    def anywhere(subject: str, moment: Any) -> Any:
        return gates.in_stock(subject.partition("@")[0], moment)

    monkeypatch.setitem(gates._CLAIMS, "in_stock_at", anywhere)
    monkeypatch.setattr("wayline.orchestration.policy.in_stock_at", anywhere)
    with pytest.raises(AssertionError):
        held_until_that_store_has_it()


def test_s09_sold_out_in_the_store_between_decision_and_hand_over_it_stays() -> None:
    shop = asked_for_in_kiel(counted("kiel", 0))
    shop.after(hours=1)

    def decided(decision: Decision) -> None:
        if decision.action is not None:
            shop.store.log.append([shop._dated(counted("kiel", 0, event_id="the last one went"))])

    shop.engine.on_decided = decided
    shop.tell(counted("kiel", 1))
    shop.after(minutes=2)
    (row,) = shop.deliveries()
    assert row.state == "refused" and "jacket must be in stock in store kiel" in row.detail


def test_s09_a_count_of_the_day_before_yesterday_promises_nothing() -> None:
    shop = asked_for_in_kiel(counted("kiel", 5, at=NOON - timedelta(hours=30), received_at=NOON))
    assert shop.sent() == []
    (hold,) = shop.decisions("j")
    assert any("too long ago" in verdict.refusal.fact for verdict in hold.considered if verdict.refusal)
