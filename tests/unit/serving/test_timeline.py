"""One person's story: theirs alone, in order, in words."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.recorded_shop import JACKET, START, Shop, chosen, decided, happened, know, playbook, recorded_shop

from wayline.domain import Identifier, Link, Merge
from wayline.serving.timeline import Story, timeline
from wayline.store import Batch
from wayline.store.memory import MemoryLog, MemoryState, MemoryVault


@pytest.fixture(scope="module")
def story() -> Story:
    shop = recorded_shop(people=10)
    told = timeline(shop.state, shop.log, shop.playbook, JACKET)
    assert told is not None
    return told


def shop_of(*customers: tuple[str, Identifier]) -> Shop:
    shop = Shop(MemoryState(), MemoryLog(), MemoryVault(), playbook())
    for customer_id, identifier in customers:
        know(shop, customer_id, identifier)
    return shop


def told(shop: Shop, customer_id: str) -> list[str]:
    story = timeline(shop.state, shop.log, shop.playbook, customer_id)
    assert story is not None
    return [line.text for line in story.lines]


def test_events_and_decisions_are_merged_in_time_in_the_shops_own_clock(story: Story) -> None:
    assert [line.at for line in story.lines] == sorted(line.at for line in story.lines)
    assert [(line.when, line.text) for line in story.lines][:3] == [
        ("24 Nov 19:00", "Looked around: 2 pages, on mobile"),
        ("24 Nov 19:03", "Looked at Fjell Parka (EUR 169.00), on mobile"),
        ("25 Nov 21:00", "Looked at Fjell Parka (EUR 169.00), on mobile"),
    ]


def test_a_fallback_says_what_it_stands_in_for_and_why(story: Story) -> None:
    sent = next(line for line in story.lines if line.mark == "sent")
    assert "Sent 'cart-reminder' by e-mail for 'cart-recovery', instead of 'cart-alternatives': too unsure" in sent.text
    assert any("Chance this option was picked" in detail for detail in sent.details)


def test_s03_a_late_event_is_labelled(story: Story) -> None:
    late = next(line for line in story.lines if line.text.startswith("Left the checkout"))
    assert late.note == "arrived late"


def test_who_they_are_is_told_without_a_personal_value(story: Story) -> None:
    assert story.same_person == "high (0.95)"
    assert story.identifiers == {"anonymous_id": 1, "email": 1}
    assert story.consents == ("marketing by email: allowed", "marketing by push: taken back")
    assert story.inside[0].startswith("cart-recovery: in step 'listen' (entered 26 Nov 22:00")


def test_nobody_is_none() -> None:
    assert timeline(MemoryState(), MemoryLog(), playbook(), "nobody") is None


def test_what_others_did_on_a_shared_tablet_is_not_in_the_story() -> None:
    mother, child = Identifier("user_id", "mother"), Identifier("user_id", "child")
    tablet = Identifier("device_id", "tablet")
    shop = shop_of(("c1", mother), ("c2", child))
    shop.state.commit(Batch(links=[Link(tablet, "c1", "web", 0.6, START)]))
    from wayline.domain import Event

    both = Event(
        event_id="e", source="web", name="Product Viewed", occurred_at=START, received_at=START,
        identifiers=(child, tablet), properties={"name": "Sled"},
    )  # fmt: skip
    shop.log.append([both])
    assert told(shop, "c1") == []
    assert told(shop, "c2") == ["Looked at Sled"]


def test_an_old_id_leads_to_who_they_are_now() -> None:
    shop = shop_of(("old", Identifier("anonymous_id", "a")), ("new", Identifier("email", "m")))
    happened(shop, Identifier("anonymous_id", "a"), "Product Added", START, name="Sled")
    shop.state.commit(Batch(merges=[Merge("old", "new", 1.0, "log-in", START)]))
    assert told(shop, "old") == ["Put Sled in the cart"]
    story = timeline(shop.state, shop.log, shop.playbook, "old")
    assert story is not None and story.customer_id == "new"


@pytest.mark.parametrize(
    ("state", "detail", "says"),
    [
        ("refused", "claims: the cart must still be open: it was bought", "as it was about to leave: no longer true"),
        ("unknown", "no answer", "Delivery unclear: 'order-confirmed'"),
        ("dead", "550 no such mailbox", "Could not be delivered: 'order-confirmed' by e-mail"),
        ("pending", "", "Waiting to leave: 'order-confirmed'"),
        ("sent", "", "Sent 'order-confirmed' by e-mail for 'order-confirmed'"),
    ],
)
def test_what_became_of_a_message_is_said(state: str, detail: str, says: str) -> None:
    shop = shop_of(("c1", Identifier("user_id", "u")))
    decided(shop, chosen("c1", "order-confirmed", START), state, detail)
    (line,) = told(shop, "c1")
    assert says in line


def test_long_browsing_is_one_line_until_a_pause() -> None:
    who = Identifier("user_id", "u")
    shop = shop_of(("c1", who))
    for minutes in (0, 10, 35, 120):
        happened(shop, who, "Page Viewed", START + timedelta(minutes=minutes))
    assert told(shop, "c1") == ["Looked around: 3 pages", "Looked around: 1 page"]


def test_what_was_not_told_is_called_so_and_an_unknown_event_keeps_its_name() -> None:
    who = Identifier("user_id", "u")
    shop = shop_of(("c1", who))
    happened(shop, who, "Order Completed", START)
    happened(shop, who, "Ticket Opened", START + timedelta(minutes=1))
    happened(shop, who, "Machine Hummed", START + timedelta(minutes=2))
    assert told(shop, "c1") == ["Ordered for an amount not told", "Asked for help ((not told))", "Machine Hummed"]
