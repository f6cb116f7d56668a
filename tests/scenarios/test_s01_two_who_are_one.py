"""S1: two who are in the same journey turn out to be one person.

Every pair of places in the journey (nowhere, waiting, decided and not handed over, put off by the provider, sent, over)
is merged, whoever is merged into whom: one enrollment goes on, no second mail leaves, nothing is stuck, and the caps
hold over what both were sent.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.shop import ANN, MARKETING, NOON, OPEN, Shop, happened, visitor, written

from wayline import engine
from wayline.domain import Consent, Customer, Identifier, Memory, Merge, Receipt, Standing
from wayline.interpretation.moment import Moment
from wayline.runtime.embedded import Progress

CART = """\
enters_on: Checkout Exited
exits_on: [Order Completed]
steps:
  pause: {wait: 1 hour, then: remind}
  remind:
    propose: [{action: reminder, channel: email, content: reminder}]
    patience: 2 days
    then: listen
    otherwise: end
  listen: {wait: 3 days, then: again}
  again: {propose: [{action: again, channel: email, content: again}], patience: 2 days, then: end, otherwise: end}
"""
ONE = (Identifier("email", "mail-one"),)
OTHER = (Identifier("user_id", "user-other"), Identifier("email", "mail-other"))
BOTH = (*OTHER[:1], *ONE)  # the event that shows they are one


def shop() -> Shop:
    journey = MARKETING.replace("reentry: after 1 day", "reentry: after 20 days") + CART
    caps = "caps:\n  weekly: {at_most: 2, per: 7 days}\n"
    made = Shop(written({"cart": journey}, policy=OPEN + caps, reminder="email", again="email"))
    for who in (ONE, OTHER):
        made.consent(who, days_ago=1)
    return made


def nowhere(made: Shop, who: tuple[Identifier, ...]) -> None:
    pass


def waiting(made: Shop, who: tuple[Identifier, ...]) -> None:
    made.store.log.append([happened("Checkout Exited", who, at=made.now, received_at=made.now, step=2)])
    made.engine.catch_up(made.now)


def decided(made: Shop, who: tuple[Identifier, ...]) -> None:
    """The reminder is in the outbox, and no hand-over came by yet."""
    entered_at = made.now - timedelta(hours=2)
    made.store.log.append([happened("Checkout Exited", who, at=entered_at, received_at=entered_at, step=2)])
    made.engine.catch_up(entered_at)
    made.engine._wake_due(made.now, Progress())


def put_off(made: Shop, who: tuple[Identifier, ...]) -> None:
    """The provider was down: it is offered again later."""
    decided(made, who)
    made.answers["email"] = Receipt("refused", made.now, "down", retry_at=made.now + timedelta(minutes=20))
    made.engine.outbox.hand_over(made.now)
    made.answers.clear()


def sent(made: Shop, who: tuple[Identifier, ...]) -> None:
    decided(made, who)
    made.engine.outbox.hand_over(made.now)


def over(made: Shop, who: tuple[Identifier, ...]) -> None:
    sent(made, who)
    bought = happened("Order Completed", who, at=made.now, received_at=made.now, order_id=f"o-{who[0].value}")
    made.store.log.append([bought])
    made.engine.catch_up(made.now)


Place = Callable[[Shop, tuple[Identifier, ...]], None]
PLACES: tuple[Place, ...] = (nowhere, waiting, decided, put_off, sent, over)
pairs = pytest.mark.parametrize(
    ("first", "second"), [pytest.param(a, b, id=f"{a.__name__}-{b.__name__}") for a in PLACES for b in PLACES]
)


def placed(first: Place, second: Place) -> Shop:
    made = shop()
    first(made, ONE)
    second(made, OTHER)
    return made


@pairs
def test_s01_any_two_places_merge_to_one_and_no_second_mail_leaves(
    first: Callable[..., None], second: Callable[..., None]
) -> None:
    made = placed(first, second)
    before = {row.decision_id for row in made.deliveries() if row.state == "sent"}
    made.tell(happened("Products Searched", BOTH))
    assert made.customer(ONE).customer_id == made.customer(OTHER).customer_id
    inside = [e for e in made.customer(ONE).standing.enrollments if e.is_open and e.journey == "cart"]
    assert len(inside) <= 1
    for _ in range(8):
        made.after(days=1)
        standing = made.customer(ONE).standing
        assert all(e.wake_at is not None or e.pending is not None for e in standing.enrollments if e.is_open)
    reminders = [row for row in made.deliveries() if row.state == "sent" and row.content == "reminder"]
    # Both may have had theirs before anybody knew; from then on there is at most one for the two.
    assert len(reminders) <= max(1, len(before))
    assert not [row for row in made.deliveries() if row.state in ("pending", "attempting")]
    times = sorted(row.settled_at for row in made.deliveries() if row.state == "sent" and row.settled_at is not None)
    since = [at for at in times if at >= NOON]
    assert all(sum(at - timedelta(days=7) < other <= at for other in since) <= max(2, len(before)) for at in since)
    assert made.store.state.set_asides() == []


@pairs
def test_s01_whoever_is_merged_into_whom_it_is_the_same_customer(
    first: Callable[..., None], second: Callable[..., None]
) -> None:
    made = placed(first, second)
    one, other = made.customer(ONE), made.customer(OTHER)
    how = Merge(one.customer_id, other.customer_id, 0.7, "", made.now)
    ways = [engine.merge(a, b, made.playbook, how) for a, b in ((one, other), (other, one))]
    assert ways[0].memory == ways[1].memory
    held = {contact.decision_id for contact in ways[0].standing.contacts if contact.state == "reserved"}
    waits = {e.pending for e in ways[0].standing.enrollments if e.is_open and e.pending is not None}
    assert held <= waits, "what will not leave holds no place under a cap"
    for part in ("enrollments", "contacts", "assignments", "wake_at", "restricted"):
        assert getattr(ways[0].standing, part) == getattr(ways[1].standing, part), part


# ------------------------------------------------------------------ consents while it is not certain


def consenting(**consents: Consent) -> Customer:
    memory = Memory(consents={key.replace("_", ":"): consent for key, consent in consents.items()})
    return Customer("k-1", memory, Standing())


def allows(made: Shop, customer: Customer) -> tuple[bool, bool]:
    moment = Moment(customer, made.playbook, made.engine.world(made.now))
    return bool(moment.fact("consent.email")), bool(moment.fact("objection"))


@pytest.mark.parametrize(("sure", "allowed"), [(0.7, False), (0.9, True), (1.0, True)])
def test_s01_while_the_link_is_not_certain_the_more_restrictive_side_counts(sure: float, allowed: bool) -> None:
    """One side took its consent back a week ago, the other gave one yesterday."""
    made = shop()
    week, yesterday = NOON - timedelta(days=7), NOON - timedelta(days=1)
    yes = consenting(email_marketing=Consent(granted_at=yesterday))
    no = replace(consenting(email_marketing=Consent(week - timedelta(days=1), week)), customer_id="a-2")
    how = Merge("a-2", "k-1", sure, "", NOON)
    for survivor, loser in ((yes, no), (no, yes)):
        merged = engine.merge(survivor, loser, made.playbook, how)
        assert allows(made, merged)[0] is allowed
        later = {"email:marketing": Consent(granted_at=NOON + timedelta(hours=1))}
        again = replace(merged, memory=replace(merged.memory, consents=later))
        assert allows(made, again)[0], "a later yes counts again"
    silent = Customer("a-2")
    assert allows(made, engine.merge(yes, silent, made.playbook, how))[0], "having said nothing takes nothing back"


def test_s01_an_objection_on_the_uncertain_side_counts() -> None:
    made = shop()
    week, yesterday = NOON - timedelta(days=7), NOON - timedelta(days=1)
    lifted = consenting(all_objection=Consent(withdrawn_at=yesterday), email_marketing=Consent(granted_at=yesterday))
    objects = replace(consenting(all_objection=Consent(granted_at=week)), customer_id="a-2")
    for sure, is_objection in ((0.7, True), (1.0, False)):
        merged = engine.merge(lifted, objects, made.playbook, Merge("a-2", "k-1", sure, "", NOON))
        assert allows(made, merged)[1] is is_objection


def test_s01_a_click_does_not_revive_what_the_browser_s_owner_had_taken_back() -> None:
    """End to end: a browser that had withdrawn is tied by a click to somebody who consents; the mail stays away."""
    made = shop()
    phone = visitor("phone")
    made.tell(happened("Consent Withdrawn", phone, channel="email", purpose="marketing"))
    made.consent(ANN, days_ago=0)
    recipient = made.customer(ANN).customer_id
    made.tell(happened("Page Viewed", (*phone, Identifier("click_token", recipient))))
    assert made.customer(phone).customer_id == recipient
    made.tell(happened("Checkout Exited", ANN, step=2))
    made.after(hours=2)
    assert ("consent", "reminder") in made.refusals("cart")
    made.after(minutes=1)
    made.consent(ANN)
    made.after(days=1)
    assert ("email", "reminder") in made.sent()
