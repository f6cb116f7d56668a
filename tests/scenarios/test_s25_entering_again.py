"""S25: who may enter again, and when, is held whatever storm of events arrives; every refused entry is on record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.shop import MARKETING, Shop, happened, written

from wayline.orchestration import journeys
from wayline.runtime.embedded import Limits

STORM = 25


def shop_with(reentry: str, *, events_max: int = 1000, wait: str = "2 hours") -> Shop:
    text = MARKETING.replace("after 1 day", reentry) + (
        "enters_on: Help Viewed\nexits_on: Cart Emptied\n"
        f"steps:\n  look: {{wait: {wait}, then: end, until: {{Email Link Clicked: end}}}}\n"
    )
    return Shop(written({"help": text}), limits=Limits(events_max=events_max))


def entries(shop: Shop) -> int:
    """How often anybody entered: every help viewed either entered or was refused, with the reason and a count."""
    viewed = sum(event.name == "Help Viewed" for event in shop.store.log.read(0, 10_000))
    refused = list(shop.store.state.refused_entries())
    assert all(refusal.reason for _, refusal, _ in refused)
    return viewed - sum(count for _, _, count in refused)


def storm(shop: Shop, **properties: object) -> None:
    shop.tell(*(happened("Help Viewed", **properties) for _ in range(STORM)))


def once(events_max: int) -> None:
    shop = shop_with("once", events_max=events_max)
    storm(shop)
    assert entries(shop) == 1
    shop.after(days=400)
    shop.restart()
    storm(shop)
    assert entries(shop) == 1, "once is once for ever"


def after_exit(events_max: int) -> None:
    shop = shop_with("after exit", events_max=events_max)
    storm(shop)
    assert entries(shop) == 1
    shop.after(hours=1)
    shop.restart()
    storm(shop)
    assert entries(shop) == 1, "still inside"
    shop.tell(happened("Cart Emptied"))
    storm(shop)
    assert entries(shop) == 2
    shop.after(hours=3)
    storm(shop)
    assert entries(shop) == 3


def after_a_while(events_max: int) -> None:
    shop = shop_with("after 7 days", events_max=events_max)
    storm(shop)
    shop.after(days=6, hours=23)
    storm(shop)
    assert entries(shop) == 1, "counted from entering, not from the end"
    shop.restart()
    shop.after(hours=1)
    storm(shop)
    assert entries(shop) == 2
    # Happened, though not heard, within seven days of that: no second entry either.
    shop.tell(happened("Help Viewed", at=shop.now - timedelta(hours=3), received_at=shop.now))
    assert entries(shop) == 2


def per_key(events_max: int) -> None:
    shop = shop_with("per topic", events_max=events_max)
    for topic in ("size", "wash", "size"):
        storm(shop, topic=topic)
        shop.after(days=1)
        shop.restart()
    assert entries(shop) == 2
    storm(shop)
    assert entries(shop) == 2, "an event without the key enters nobody"


RULES = (once, after_exit, after_a_while, per_key)


@pytest.mark.parametrize("events_max", (1, 7, 1000))
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_s25_each_rule_holds_under_a_storm(rule: Callable[[int], None], events_max: int) -> None:
    rule(events_max)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_s25_without_the_rule_the_scenario_fails(rule: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journeys, "_reentry_refusal", lambda reentry, other, event: None)
    with pytest.raises(AssertionError):
        rule(1000)


def merged() -> None:
    """Two browsers of one person were inside; who they become entered yesterday, whichever side is older."""
    for first_days_ago, second_days_ago in ((5, 1), (1, 5)):
        shop = shop_with("after 7 days", wait="1 minute")
        from tests.shop import ANN, visitor

        sides = {"browser": visitor("sofa"), "account": ANN[:1]}
        ages = dict(zip(sides, (first_days_ago, second_days_ago), strict=True))
        for name in sorted(sides, key=lambda side: -ages[side]):
            shop.tell(happened("Help Viewed", sides[name]))
            shop.after(days=4)
        shop.tell(happened("Products Searched", (*sides["account"], *sides["browser"])))
        shop.after(days=1)  # 9 days after the older entry, 5 after the newer
        storm(shop)
        assert entries(shop) == 2, (first_days_ago, second_days_ago)


def test_s25_re_entry_counts_from_the_newer_entry_of_two_people_found_to_be_one() -> None:
    merged()
