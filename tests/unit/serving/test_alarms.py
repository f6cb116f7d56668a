"""Spikes: a day far above the usual, and no alarm for what is usual."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.shop import Shop, happened

from wayline.domain import Event, Receipt
from wayline.measurement.earnings import Earnings
from wayline.serving.alarms import alarms, spikes
from wayline.serving.records import Counts
from wayline.serving.report import build

START = datetime(2025, 12, 1, 12, tzinfo=UTC)


def daily(counts: list[int], name: str = "Order Delayed") -> list[Event]:
    days = [day for day, count in enumerate(counts) for _ in range(count)]
    times = [START + timedelta(days=day, seconds=n) for n, day in enumerate(days)]
    return [Event(event_id=str(n), source="s", name=name, occurred_at=at, received_at=at) for n, at in enumerate(times)]


def found(counts: list[int]) -> list[tuple[int, float]]:
    return [(spike.count, spike.usual) for spike in spikes(daily(counts), ZoneInfo("UTC"))]


def test_a_day_far_above_the_usual_is_a_spike() -> None:
    assert found([3, 2, 4, 3, 3, 2, 5, 30, 3]) == [(30, 3)]


def test_quiet_days_count_as_usual() -> None:
    assert found([1, 0, 0, 0, 0, 0, 0, 0, 12]) == [(12, 0)]


def test_the_first_days_have_nothing_to_be_compared_with() -> None:
    assert found([40, 0, 0, 1]) == []
    assert found([1, 1, 1, 40]) == []


def test_busy_days_alike_and_small_numbers_are_no_spike() -> None:
    assert found([30, 28, 33, 25, 31, 28, 30, 60]) == []
    assert found([0, 0, 0, 0, 0, 0, 0, 0, 8, 0]) == []


def test_what_is_not_watched_is_no_alarm() -> None:
    assert spikes(daily([0, 50], "Product Viewed"), ZoneInfo("UTC")) == []


def test_a_provider_that_is_down_is_told_with_its_last_word_until_it_takes_them() -> None:
    shop = Shop()
    shop.consent()
    shop.answers["email"] = Receipt(
        "refused", shop.now, "no answer on port 25", retry_at=shop.now + timedelta(minutes=1)
    )
    shop.tell(happened("Order Completed", order_id="A1", revenue=100, products=[]))

    def told() -> list[str]:
        report = build(shop.store.state, shop.store.log, shop.playbook, now=shop.now)
        return [one.text for one in report.needs if one.title == "The provider for email does not answer"]

    assert told() and "no answer on port 25" in told()[0]
    shop.answers.clear()
    shop.after(hours=1)
    assert told() == []


def test_complaints_and_bounces_above_what_mail_providers_bear_are_told_with_their_share() -> None:
    shop = Shop()
    counts = Counts(channels=Counter(email=10_000))
    nothing = Earnings(orders=(), basis="revenue")

    def told(**reports: int) -> list[str]:
        named = {name.replace("_", " "): count for name, count in reports.items()}
        return [one.text for one in alarms(counts, {}, nothing, [], (shop.store.state, shop.store.log), reports=named)]

    assert told(Email_Marked_as_Spam=9, Email_Bounced=499) == []
    bounced, spam = told(Email_Marked_as_Spam=10, Email_Bounced=500)
    assert "10 complaints of spam of 10,000 mails, 0.10 in 100" in spam and "5.00 in 100" in bounced
    counts.channels["email"] = 900
    assert told(Email_Marked_as_Spam=100) == [], "of so few nothing can be said"
