"""Messages of other tools: they count in the caps, the slot, repeats and contradictions exactly as ours do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.shop import ANN, MARKETING, NOON, OPEN, Shop, happened, written

from wayline.domain import CONTACTS_MAX, Claim, Propose

GREET = """\
enters_on: Product Viewed
reentry: after 0 days
steps:
  hello: {propose: [{action: say, channel: email, content: hello}], patience: 2 days, then: end, otherwise: end}
"""
GREET = MARKETING.replace("reentry: after 1 day\n", "") + GREET.replace("after 0 days", "after exit")
CAPPED = OPEN + "slot: 1 minute\nrepeat_window: 1 minute\nspread: 1 second\ncaps: {a-day: {at_most: 1, per: 1 day}}\n"


def shop(policy: str = CAPPED) -> Shop:
    made = Shop(written({"greet": GREET}, policy=policy, hello="email"))
    made.consent()
    return made


def view(made: Shop) -> None:
    made.tell(happened("Product Viewed", sku="jacket"))


def test_a_cap_of_one_a_day_refuses_ours_after_theirs() -> None:
    made = shop()
    made.tell(happened("Message Sent", channel="email", purpose="marketing", tool="klaviyo", content="sale"))
    made.after(hours=1)
    view(made)
    assert made.sent() == [] and made.refusals() == [("caps", "hello")]
    made.after(days=1)
    assert made.sent() == [("email", "hello")]


def test_one_that_arrives_late_counts_from_when_it_was_sent() -> None:
    made = shop()
    made.after(hours=23)
    made.tell(happened("Message Sent", at=NOON, received_at=made.now, channel="email", tool="braze"))
    view(made)
    assert made.sent() == []
    made.after(hours=1, minutes=1)
    assert made.sent() == [("email", "hello")]


def test_one_older_than_any_rule_looks_back_is_no_contact() -> None:
    made = shop()
    made.tell(happened("Message Sent", at=NOON - timedelta(days=5), received_at=NOON, channel="email"))
    assert made.customer().standing.contacts == ()


def test_imported_ones_count_too() -> None:
    made = shop()
    made.tell(happened("Message Sent", at=NOON - timedelta(hours=2), received_at=NOON, fires=False, channel="email"))
    view(made)
    assert made.sent() == []


def test_a_message_between_decision_and_hand_over_stops_ours() -> None:
    made = shop(CAPPED + 'quiet_hours: [{from: "11:00", to: "14:00"}]\n')
    view(made)
    assert made.sent() == []
    made.after(hours=1)
    made.tell(happened("Message Sent", channel="email", tool="klaviyo"))
    made.after(hours=4)
    assert made.sent() == []


@pytest.mark.parametrize(("purpose", "is_sent"), [("marketing", False), ("transactional", True), ("", False)])
def test_what_a_customer_is_owed_takes_no_message_s_place(purpose: str, is_sent: bool) -> None:
    made = shop()
    made.tell(happened("Message Sent", channel="email", purpose=purpose))
    made.after(hours=1)
    view(made)
    assert bool(made.sent()) is is_sent


def test_the_same_content_is_a_repeat() -> None:
    made = shop(OPEN + "repeat_window: 5 days\nslot: 1 minute\n")
    made.tell(happened("Message Sent", channel="email", content="hello"))
    made.after(hours=1)
    view(made)
    assert made.refusals() == [("repeat", "hello")]


def promising(made: Shop, claim: Claim) -> Shop:
    """The same shop, whose message says so; no author can write this claim yet."""
    (journey,) = made.playbook.current.values()
    step = journey.steps["hello"]
    assert isinstance(step, Propose)
    said = replace(step, actions=tuple(replace(action, claims=(claim,)) for action in step.actions))
    changed = replace(journey, steps={**journey.steps, "hello": said})
    made.playbook = replace(made.playbook, journeys={journey.version: changed}, current={journey.name: changed},
                            entering={"Product Viewed": (changed,)})  # fmt: skip
    made.restart()
    return made


@pytest.mark.parametrize(("price", "is_sent"), [(9900, False), (16900, True)])
def test_what_they_said_is_not_contradicted(price: int, is_sent: bool) -> None:
    made = promising(shop(OPEN + "slot: 1 minute\n"), Claim("price_is", "jacket@16900"))
    made.tell(happened("Message Sent", channel="email", content="sale", claims=[f"price_is:jacket@{price}"]))
    made.after(hours=1)
    view(made)
    assert bool(made.sent()) is is_sent
    assert made.refusals() == ([] if is_sent else [("claims", "hello")])


def test_a_flood_of_theirs_does_not_push_out_what_we_sent() -> None:
    made = shop(OPEN + "slot: 1 minute\nrepeat_window: 14 days\n")
    view(made)
    made.after(hours=1)
    for number in range(CONTACTS_MAX + 20):
        made.tell(happened("Message Sent", channel="email", content=f"n{number}", tool="klaviyo"))
    contacts = made.customer().standing.contacts
    assert len(contacts) == CONTACTS_MAX
    assert "hello" in {contact.content for contact in contacts}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 18), st.integers(0, 30)), min_size=1, max_size=14))
def test_r13_caps_hold_whoever_sends(steps: list[tuple[bool, int, int]]) -> None:
    """Whatever the order and lateness: at no message of ours were the messages known by then more than the cap."""
    made = shop(CAPPED.replace("at_most: 1, per: 1 day", "at_most: 2, per: 1 day"))
    theirs: list[tuple[int, object]] = []
    for is_theirs, hours, late in steps:
        made.after(hours=hours)
        if is_theirs:
            at = made.now - timedelta(hours=late)
            made.tell(happened("Message Sent", ANN, at=at, received_at=made.now, channel="email", tool="klaviyo"))
            theirs.append((len([r for r in made.deliveries() if r.state == "sent"]), at))
        else:
            view(made)
    ours = [row.settled_at for row in made.deliveries() if row.state == "sent" and row.settled_at is not None]
    for place, at in enumerate(ours):
        known = [told for count, told in theirs if count <= place and at - timedelta(days=1) < told <= at]  # type: ignore[operator]
        before = [each for each in ours[:place] if each > at - timedelta(days=1)]
        assert len(known) + len(before) < 2
