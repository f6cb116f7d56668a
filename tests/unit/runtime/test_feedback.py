"""What providers tell later: it settles what nobody knew, closes the very address that bounced, and is heard once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from tests.shop import ANN, MARKETING, NOON, OPEN, Shop, happened, person, written

from wayline.domain import Identifier, Receipt
from wayline.observation.feedback import SOFT_BOUNCES_MAX
from wayline.store import Delivery

HELLO = """\
enters_on: Product Viewed
steps:
  hello: {propose: [{action: say, channel: email, content: hello}], patience: 1 day, then: listen, otherwise: end}
  listen: {wait: 1 day, then: end, until: {Email Link Clicked: end}}
"""
OWED = HELLO.replace("enters_on: Product Viewed", "enters_on: Order Shipped")
CAPPED = OPEN + "slot: 1 minute\ncaps: {a-day: {at_most: 1, per: 1 day}}\n"


def unclear(policy: str = OPEN) -> tuple[Shop, Delivery]:
    """A shop whose one message may or may not have arrived."""
    other = HELLO.replace("Product Viewed", "Help Viewed").replace("content: hello", "content: other")
    journeys = {"hello": MARKETING + HELLO, "again": MARKETING + other}
    shop = Shop(written(journeys, policy=policy, hello="email", other="email"))
    shop.consent()
    shop.answers["email"] = Receipt("unknown", shop.now, "no reply")
    shop.tell(happened("Product Viewed", sku="jacket"))
    shop.answers.clear()
    (row,) = shop.deliveries()
    assert row.state == "unknown"
    return shop, row


def told(name: str, row: Delivery, **more: Any) -> Any:
    return happened(name, ANN[1:], decision_id=row.decision_id, source="provider", **more)


def state_of(shop: Shop, row: Delivery) -> str:
    found = shop.store.state.delivery(row.decision_id)
    assert found is not None
    return found.state


def contacts(shop: Shop) -> list[tuple[str, str]]:
    return [(contact.content, contact.state) for contact in shop.customer().standing.contacts]


@pytest.mark.parametrize("name", ["Email Delivered", "Email Link Clicked", "Email Marked as Spam"])
def test_s10_a_report_of_arrival_settles_an_unclear_message(name: str) -> None:
    shop, row = unclear()
    shop.after(minutes=5)
    shop.tell(told(name, row))
    assert state_of(shop, row) == "sent"
    assert contacts(shop) == [("hello", "settled")]
    found = shop.store.state.delivery(row.decision_id)
    assert found is not None and found.settled_at == shop.now and found.detail == f"told later: {name}"


def test_s23_a_machine_s_open_proves_arrival_and_nothing_else() -> None:
    shop, row = unclear()
    before = shop.customer().standing.enrollments
    shop.tell(told("Email Link Clicked", row, automated=True))
    assert state_of(shop, row) == "sent"
    assert shop.customer().standing.enrollments == before


def test_s10_a_bounce_proves_it_never_arrived_and_frees_its_place_in_the_cap() -> None:
    shop, row = unclear(CAPPED)
    shop.after(minutes=5)
    shop.tell(happened("Help Viewed", topic="size"))
    assert shop.refusals("again")[0][0] == "caps", "an unclear message keeps its place"
    shop.tell(told("Email Bounced", row, bounce_type="soft"))
    assert (state_of(shop, row), contacts(shop)) == ("refused", [])
    shop.after(days=1)
    assert ("email", "other") in shop.sent()
    other, other_row = unclear()
    other.tell(told("Email Bounced", other_row, bounce_type="hard"))
    assert state_of(other, other_row) == "dead"
    address = other.store.state.address("email", "mail-ann")
    assert address is not None and address.reason == "mail to it bounced"


def test_a_report_told_twice_or_against_an_earlier_one_changes_nothing_more() -> None:
    shop, row = unclear()
    shop.tell(
        told("Email Delivered", row), told("Email Delivered", row), told("Email Bounced", row, bounce_type="soft")
    )
    assert state_of(shop, row) == "sent"
    assert contacts(shop) == [("hello", "settled")]


def test_a_report_by_a_public_key_or_of_no_message_of_ours_settles_nothing() -> None:
    shop, row = unclear()
    shop.tell(replace(told("Email Link Clicked", row), notes=("unverified",)))
    shop.tell(happened("Email Delivered", ANN[1:], decision_id="0" * 32), happened("Email Delivered", ANN[1:]))
    assert state_of(shop, row) == "unknown"


def test_a_message_that_was_answered_for_is_not_settled_again() -> None:
    shop = Shop(written({"hello": MARKETING + HELLO}, hello="email"))
    shop.consent()
    shop.tell(happened("Product Viewed", sku="jacket"))
    (row,) = shop.deliveries()
    shop.tell(told("Email Bounced", row, bounce_type="hard"))
    assert state_of(shop, row) == "sent", "it was taken; that it came back is another fact"
    address = shop.store.state.address("email", "mail-ann")
    assert address is not None and address.suppressed_at is not None


def test_what_is_owed_and_unclear_is_not_offered_again_once_it_is_known_to_have_arrived() -> None:
    journey = MARKETING.replace("purpose: marketing", "purpose: transactional").replace("control: {none: a test}\n", "")
    shop = Shop(written({"hello": journey + OWED}, hello="email"))
    shop.consent()
    shop.answers["email"] = Receipt("unknown", shop.now, "no reply")
    shop.tell(happened("Order Shipped", order_id="o1"))
    shop.answers.clear()
    (row,) = shop.deliveries()
    assert row.state == "pending"
    shop.tell(told("Email Delivered", row))
    assert state_of(shop, row) == "sent"
    shop.after(hours=1)
    assert shop.channels["email"].sent_count == 0
    assert shop.steps()["hello"] == "listen"


def test_a_report_that_came_while_nothing_ran_settles_what_the_process_died_over() -> None:
    shop = Shop(written({"hello": MARKETING + HELLO}, hello="email"))
    shop.consent()

    class Dying(Exception):
        pass

    def die(message: Any, now: Any) -> Receipt:
        raise KeyboardInterrupt

    shop.channels["email"]._answer = die
    with pytest.raises(KeyboardInterrupt):
        shop.tell(happened("Product Viewed", sku="jacket"))
    (row,) = shop.deliveries()
    assert row.state == "attempting"
    shop.store.log.append([shop._dated(told("Email Delivered", row))])
    shop.restart()
    assert state_of(shop, row) == "sent"


# ------------------------------------------------------------------ addresses

MOVED = (Identifier("user_id", "user-ann"), Identifier("email", "mail-new"))


def closed(shop: Shop, *keys: str) -> list[str]:
    found = {key: shop.store.state.address("email", key) for key in keys}
    return [key for key, address in found.items() if address is not None and address.suppressed_at is not None]


def test_a_bounce_that_names_only_our_message_closes_the_address_it_went_to() -> None:
    shop = Shop(written({"hello": MARKETING + HELLO}, hello="email"))
    shop.consent()
    shop.tell(happened("Product Viewed", sku="jacket"))
    (row,) = shop.deliveries()
    shop.after(hours=1)
    shop.consent(MOVED)
    shop.tell(happened("Email Bounced", ANN[:1], decision_id=row.decision_id, bounce_type="hard"))
    assert closed(shop, "mail-ann", "mail-new") == ["mail-ann"]


def test_a_refusal_of_the_channel_closes_the_address_it_was_sent_to() -> None:
    shop, row = unclear()
    shop.after(hours=1)
    shop.consent(MOVED)
    shop.tell(happened("Email Bounced", ANN[:1], decision_id=row.decision_id, bounce_type="hard"))
    assert state_of(shop, row) == "dead"
    assert closed(shop, "mail-ann", "mail-new") == ["mail-ann"]


def test_what_a_channel_finds_dead_is_the_address_it_was_given() -> None:
    """They move while the mail is on its way: what is refused is the old mailbox, and the new one stays open."""
    shop = Shop(written({"hello": MARKETING + HELLO}, hello="email"))
    shop.consent()
    shop.answers["email"] = Receipt("dead", shop.now, "550 no such user")
    shop.tell(happened("Product Viewed", sku="jacket"))
    assert closed(shop, "mail-ann") == ["mail-ann"]


def test_a_bounce_told_of_one_person_and_another_s_address_closes_that_address() -> None:
    shop = Shop()
    shop.consent()
    shop.consent(person("ben"))
    shop.tell(happened("Email Bounced", (ANN[0], person("ben")[1]), bounce_type="hard"))
    assert closed(shop, "mail-ann", "mail-ben") == ["mail-ben"]


def test_s10_a_click_on_a_link_of_ours_settles_the_mail_it_was_in() -> None:
    shop, row = unclear()
    owner = Identifier("customer_id", shop.customer().customer_id)
    clicked = happened("Email Link Clicked", (owner,), source="wayline", email_id=row.decision_id)
    shop.tell(replace(clicked, kind="internal"))
    assert state_of(shop, row) == "sent"
    assert shop.steps()["hello"] == "ended"


def bounces(shop: Shop, count: int, *, days: int = 1) -> None:
    for _ in range(count):
        shop.now += timedelta(days=days)
        shop.tell(happened("Email Bounced", ANN[1:], bounce_type="soft"))


def test_soft_bounces_close_an_address_after_so_many_within_the_window() -> None:
    shop = Shop()
    shop.consent()
    bounces(shop, SOFT_BOUNCES_MAX - 1)
    assert closed(shop, "mail-ann") == []
    again = happened("Email Bounced", ANN[1:], bounce_type="soft", at=shop.now, event_id="once")
    shop.tell(again)
    assert closed(shop, "mail-ann") == ["mail-ann"]


def test_soft_bounces_long_apart_or_with_a_delivery_between_close_nothing() -> None:
    shop = Shop()
    shop.consent()
    bounces(shop, 2 * SOFT_BOUNCES_MAX, days=10)
    bounces(shop, SOFT_BOUNCES_MAX - 4)
    shop.now += timedelta(hours=1)
    shop.tell(happened("Email Delivered", ANN[1:]))
    bounces(shop, SOFT_BOUNCES_MAX - 1)
    assert closed(shop, "mail-ann") == []


def test_s16_a_replayed_bounce_counts_once() -> None:
    shop = Shop()
    shop.consent()
    for number in range(2):
        for _ in range(SOFT_BOUNCES_MAX):
            shop.tell(happened("Email Bounced", ANN[1:], at=NOON, event_id=f"b{number}", bounce_type="soft"))
    address = shop.store.state.address("email", "mail-ann")
    assert address is not None and (len(address.soft_bounces), address.suppressed_at) == (2, None)


def test_imported_history_of_bounces_closes_addresses_and_starts_nothing() -> None:
    shop = Shop()
    shop.consent()
    shop.tell(happened("Email Bounced", ANN[1:], at=NOON - timedelta(days=90), received_at=NOON, fires=False))
    assert closed(shop, "mail-ann") == ["mail-ann"]


def test_a_number_that_no_text_reaches_is_closed_and_the_mailbox_is_not() -> None:
    shop = Shop()
    ann = (*person("ann"), Identifier("phone", "+491"))
    shop.consent(ann)
    shop.tell(happened("SMS Failed", ann[2:], bounce_type="hard"))
    number = shop.store.state.address("sms", "+491")
    assert number is not None and number.reason == "texts to it fail"
    assert closed(shop, "mail-ann") == []


def test_that_a_provider_names_an_address_makes_it_no_address_in_use() -> None:
    shop = Shop()
    shop.consent()
    shop.after(hours=1)
    shop.consent(MOVED)
    shop.after(hours=1)
    shop.tell(happened("Email Delivered", ANN[1:]), happened("Message Sent", ANN[1:], channel="email"))
    assert [one.value for one in shop.customer(MOVED).memory.identifiers if one.kind == "email"][-1] == "mail-new"
