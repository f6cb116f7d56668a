"""A message that provably never arrived leaves nothing behind that could keep another from going."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest
from tests.shop import MARKETING, NOON, Shop, happened, person, written

from wayline.channels import Promise
from wayline.domain import Identifier, Message, Receipt

JOURNEY = """\
enters_on: Product Viewed
steps:
  say: {propose: [{action: say, channel: email, content: hello}], patience: 1 day, then: end, otherwise: end}
"""
OLD = (Identifier("user_id", "u"), Identifier("email", "old"))
NEW = (Identifier("user_id", "u"), Identifier("email", "new"))


class Unreachable:
    """A mail server that is down until it is up again."""

    name = "email"
    promise: Promise = "unrepeatable"

    def __init__(self, shop: Shop, *, until: datetime) -> None:
        self.shop, self.until, self.calls = shop, until, 0

    def deliver(self, message: Message, key: str) -> Receipt:
        self.calls += 1
        now = self.shop.now
        if now >= self.until:
            return Receipt("sent", now)
        return Receipt("refused", now, "mail:587 cannot be reached", retry_at=now + timedelta(minutes=1))


def while_down(**duration: float) -> tuple[Shop, Unreachable]:
    shop = Shop()
    down = Unreachable(shop, until=shop.now + timedelta(**duration))
    shop.channels["email"] = down  # type: ignore[assignment]  # another channel in its place
    shop.restart()
    shop.consent()
    ordered(shop, "A1")
    return shop, down


def ordered(shop: Shop, order_id: str) -> None:
    lines = [{"sku": "jacket", "quantity": 1, "price": 16900}]
    shop.tell(happened("Order Completed", order_id=order_id, revenue=16900, currency="EUR", products=lines))


def marks(shop: Shop) -> list[str]:
    address = shop.store.state.address("email", "mail-ann")
    return [contact.content for contact in address.contacts] if address else []


@pytest.mark.parametrize("outcome, kept", [("sent", 1), ("unknown", 1), ("refused", 0)])
def test_only_what_may_have_arrived_marks_the_mailbox(outcome: str, kept: int) -> None:
    shop = Shop()
    shop.consent()
    shop.answers["email"] = Receipt(outcome, NOON, "the server's words")
    ordered(shop, "A1")
    shop.after(hours=2)  # what is owed and may not have arrived is offered again, a few times
    rows = [(row.state, row.content) for row in shop.deliveries() if row.content == "order-confirmation"]
    assert rows == [(outcome, "order-confirmation")]
    assert marks(shop).count("order-confirmation") == kept


def test_a_mailbox_keeps_the_marks_of_other_messages() -> None:
    shop = Shop()
    shop.consent()
    ordered(shop, "A1")
    shop.answers["email"] = Receipt("refused", NOON, "550 5.7.1 not now")
    ordered(shop, "A2")
    assert marks(shop).count("order-confirmation") == 1


@pytest.mark.parametrize("hours", [1, 12, 48])
def test_a_mail_server_that_is_down_for_days_costs_no_order_confirmation(hours: int) -> None:
    shop, down = while_down(hours=hours)
    shop.after(hours=hours + 2)
    assert ("email", "order-confirmation") in shop.sent()
    assert down.calls < 10 + 2 * hours, "and it is not called every minute meanwhile"


def test_a_message_that_never_leaves_is_refused_in_the_end_and_nobody_waits_for_it() -> None:
    shop, _ = while_down(days=30)
    shop.after(days=5)
    (row,) = [row for row in shop.deliveries() if row.content == "order-confirmation"]
    assert (row.state, row.detail) == ("refused", "mail:587 cannot be reached")
    assert all(not e.is_open or e.wake_at for e in shop.customer().standing.enrollments)


def test_marketing_that_waited_longer_than_its_patience_does_not_leave_any_more() -> None:
    shop = Shop(written({"hello": MARKETING + JOURNEY}, hello="email"))
    shop.channels["email"] = Unreachable(shop, until=shop.now + timedelta(hours=30))  # type: ignore[assignment]
    shop.restart()
    shop.consent()
    shop.tell(happened("Product Viewed", sku="jacket"))
    shop.after(days=3)
    (row,) = shop.deliveries()
    assert (row.state, row.detail.partition(":")[0]) == ("refused", "patience")
    assert shop.steps() == {"hello": "ended"} and not shop.customer().standing.contacts


def test_a_channel_that_is_not_set_up_reaches_neither_arm() -> None:
    shop = Shop(written({"hello": MARKETING.replace("{none: a test}", "0.5") + JOURNEY}, hello="email"))
    shop.engine.outbox.channels = {}
    for who in map(person, "abcdefghijklmnop"):
        shop.consent(who)
        shop.tell(happened("Product Viewed", who, sku="jacket"))
    assert Counter(row.state for row in shop.deliveries()) == {"refused": 16}
    assert {row.delivers for row in shop.deliveries()} == {True, False}


def moved() -> Shop:
    shop = Shop(written({"hello": MARKETING + JOURNEY}, hello="email"))
    shop.consent(OLD)
    shop.after(hours=1)
    shop.consent(NEW)
    shop.after(hours=1)
    return shop


def suppressed(shop: Shop) -> list[str]:
    found = {key: shop.store.state.address("email", key) for key in ("old", "new")}
    return [key for key, address in found.items() if address is not None and address.suppressed_at is not None]


def test_a_bounce_of_an_old_address_does_not_make_it_the_one_that_is_written_to() -> None:
    shop = moved()
    shop.tell(happened("Email Bounced", OLD))
    assert suppressed(shop) == ["old"]
    shop.tell(happened("Product Viewed", OLD[:1], sku="jacket"))
    assert shop.sent() == [("email", "hello")]


def test_a_bounce_that_names_no_address_is_of_the_one_in_use() -> None:
    shop = moved()
    shop.tell(happened("Email Bounced", OLD[:1]))
    assert suppressed(shop) == ["new"]
