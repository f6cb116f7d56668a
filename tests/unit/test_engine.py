"""The one door's own rules: how two people who are one stand together, and what is left of a turn that fails."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from tests.laws.test_turns import is_the_fold_of_the_log, with_control
from tests.shop import ANN, MARKETING, NOON, Shop, apparel, happened, visitor, written

from wayline.domain import (
    Assignment,
    Contact,
    Customer,
    Decision,
    Enrollment,
    HandOver,
    Playbook,
    Receipt,
    Standing,
    Wake,
)
from wayline.engine import merge, nudge, put_off, take_turn

DAY = timedelta(days=1)
JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}


def enrolled(journey: str = "cart", **more: Any) -> Enrollment:
    fields: dict[str, Any] = {"key": "", "version": "v", "step": "look", "entered_at": NOON, "step_entered_at": NOON}
    open_one = more.get("status", "open") == "open" and more.get("pending") is None
    return Enrollment(journey=journey, **{**fields, **({"wake_at": NOON + DAY} if open_one else {}), **more})


def contact(decision_id: str, at: datetime = NOON, **more: Any) -> Contact:
    fields: dict[str, Any] = {
        "channel": "email", "purpose": "marketing", "lane": "marketing", "journey": "cart", "content": "c",
    }  # fmt: skip
    return Contact(decision_id=decision_id, at=at, **{**fields, **more})


def merged(ours: Standing, theirs: Standing, playbook: Playbook | None = None) -> Standing:
    made = merge(Customer("k-a", standing=ours), Customer("a-b", standing=theirs), playbook or Playbook(version="v"))
    assert made.customer_id == "k-a"
    return made.standing


# ------------------------------------------------------------------ S1: two people found to be one

STATES: dict[str, tuple[Enrollment, tuple[Contact, ...]] | None] = {
    "outside": None,
    "at the first step": (enrolled(), ()),
    "further": (enrolled(steps_taken=2, step="remind"), ()),
    "older": (enrolled(entered_at=NOON - DAY), ()),
    "pending": (enrolled(steps_taken=1, pending="d-ID"), (contact("d-ID"),)),
    "leaving": (enrolled(steps_taken=1, pending="d-ID"), (contact("d-ID", state="handed_over"),)),
    "done": (
        enrolled(steps_taken=3, status="ended", entered_at=NOON - 3 * DAY),
        (contact("d-ID", NOON - DAY, state="settled"),),
    ),
    "left": (enrolled(status="exited"), ()),
}  # fmt: skip


def standing_of(state: str, who: str) -> Standing:
    found = STATES[state]
    if found is None:
        return Standing()
    enrollment, contacts = found
    own = replace(enrollment, pending=enrollment.pending and enrollment.pending.replace("ID", who))
    mine = tuple(replace(c, decision_id=c.decision_id.replace("ID", who)) for c in contacts)
    return Standing((own,), mine, {}, own.wake_at)


@pytest.mark.parametrize("one, other", list(itertools.combinations_with_replacement(STATES, 2)))
def test_s01_every_pair_of_states_merges_the_same_way_round(one: str, other: str) -> None:
    a, b = standing_of(one, "one"), standing_of(other, "other")
    forth, back = merged(a, b), merged(b, a)
    assert forth == back
    assert len(forth.enrollments) <= 1
    pendings = {e.pending for e in forth.enrollments if e.pending}
    for kept in forth.contacts:
        # A reservation without the wish it is for would hold a cap slot for nothing.
        assert kept.state != "reserved" or kept.decision_id in pendings
    for before in (*a.contacts, *b.contacts):
        if before.state != "reserved":
            assert before in forth.contacts, "what left, or may have, counts for the two of them"
    assert all(e.wake_at is not None or e.pending for e in forth.enrollments if e.is_open), "nobody is stuck"
    assert forth.wake_at == min((e.wake_at for e in forth.enrollments if e.is_open and e.wake_at), default=None)


def survivor(one: str, other: str, playbook: Playbook | None = None) -> Enrollment:
    (only,) = merged(standing_of(one, "one"), standing_of(other, "other"), playbook).enrollments
    return only


def test_s01_the_furthest_step_survives_else_the_older_entry() -> None:
    assert survivor("at the first step", "further").step == "remind"
    assert survivor("pending", "further").steps_taken == 2
    assert survivor("at the first step", "older").entered_at == NOON - DAY
    assert survivor("done", "at the first step").is_open
    assert survivor("done", "left").status == "exited", "of two that are over the newer counts for re-entry"


ONCE = MARKETING.replace("reentry: after 1 day", "reentry: once") + (
    "enters_on: Help Viewed\nsteps:\n  look: {wait: 1 day, then: end, until: {Email Link Clicked: end}}\n"
)


def test_s01_who_had_the_message_that_comes_once_does_not_have_it_again() -> None:
    made = written({"cart": ONCE})
    (journey,) = made.current.values()
    playbook = replace(made, journeys={"v": journey})
    assert survivor("done", "at the first step", playbook).status == "ended"
    assert survivor("done", "pending", playbook).status == "ended"
    assert survivor("left", "at the first step", playbook).is_open, "whoever left without it may still have it"


def test_s01_a_visitor_s_order_and_the_account_s_are_confirmed_and_shipped_once() -> None:
    """The tag told of the order under the browser, the shop under the account; then the two are found to be one."""
    shop = Shop()
    sofa = visitor("sofa")
    shop.consent(days_ago=2)
    shop.tell(happened("Order Completed", ANN, order_id="o1", products=[]))
    shop.tell(happened("Order Completed", sofa, order_id="o1", products=[]))
    assert [content for _, content in shop.sent()] == ["order-confirmation"]
    shop.tell(happened("Products Searched", (*ANN, *sofa)))
    shop.after(days=4)
    assert [content for _, content in shop.sent()] == ["order-confirmation"]
    assert shop.steps()["order-confirmation"] == "ended"
    is_the_fold_of_the_log(shop)


def test_s01_two_pending_messages_of_one_content_become_one_mail() -> None:
    shop = Shop(with_control(apparel(), 0.0))
    sofa = visitor("sofa")
    mail = ANN[1:]
    shop.consent(ANN[:1], days_ago=2)
    shop.consent(mail, days_ago=2)
    assert len(list(shop.store.state.customer_ids())) == 2
    shop.tell(
        happened("Newsletter Due", mail),
        happened("Products Searched", sofa),
        happened("Newsletter Due", ANN[:1]),
        happened("Products Searched", ANN),
        happened("Newsletter Due", ANN),
    )
    shop.after(days=3)
    assert [content for _, content in shop.sent()].count("newsletter") == 1
    assert len(list(shop.store.state.customer_ids())) == 2  # Ann and the browser
    is_the_fold_of_the_log(shop)


def test_s01_caps_count_the_contacts_of_both_and_none_twice() -> None:
    shared = contact("d-1", NOON - DAY)
    ours = Standing(contacts=(contact("d-2", NOON), replace(shared, state="settled")))
    theirs = Standing(contacts=(replace(shared, state="settled"), contact("d-0", NOON - 2 * DAY, state="settled")))
    found = merged(replace(ours, contacts=tuple(replace(c, state="settled") for c in ours.contacts)), theirs)
    assert [c.decision_id for c in found.contacts] == ["d-0", "d-1", "d-2"]


@pytest.mark.parametrize(
    "ours, theirs, kept",
    [
        (Assignment("control", NOON), Assignment("treatment"), Assignment("control", NOON)),
        (Assignment("control"), Assignment("treatment", NOON), Assignment("treatment", NOON)),
        (Assignment("control", NOON), Assignment("control", NOON + DAY), Assignment("control", NOON)),
        (Assignment("control", NOON), Assignment("treatment", NOON - DAY), Assignment("treatment", NOON - DAY, True)),
        (None, Assignment("treatment", NOON), Assignment("treatment", NOON)),
        (None, Assignment("treatment"), None),
    ],
)
def test_s12_the_exposed_arm_goes_on_and_two_exposed_arms_count_in_neither(
    ours: Assignment | None, theirs: Assignment | None, kept: Assignment | None
) -> None:
    sides = [Standing(assignments={} if one is None else {"x": one}) for one in (ours, theirs)]
    assert merged(*sides).assignments.get("x") == kept


# ------------------------------------------------------------------ a turn that cannot be taken


def handing_over(outcome: str | None, decision_id: str = "d-1") -> HandOver:
    decision = Decision(decision_id, "k-a", NOON, "marketing", "wake:x", None)
    return HandOver(decision, None if outcome is None else Receipt(outcome, NOON))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "outcome, status",
    [
        (None, "open"), ("refused", "open"), ("dead", "open"),
        ("sent", "exited"), ("withheld", "exited"), ("unknown", "exited"),
    ],
)  # fmt: skip
def test_put_off_nobody_is_stuck_and_nothing_leaves_twice(outcome: str | None, status: str) -> None:
    other = enrolled("other")
    customer = Customer("k-a", standing=Standing((enrolled(pending="d-1"), other), (contact("d-1"), contact("d-2"))))
    after = put_off(customer, handing_over(outcome), NOON).customer.standing
    cart, kept = after.enrollments
    assert kept == other
    assert (cart.status, cart.pending) == (status, None)
    assert cart.wake_at == (NOON + timedelta(hours=1) if status == "open" else None)
    assert [c.decision_id for c in after.contacts] == (["d-2"] if status == "open" else ["d-1", "d-2"])
    assert after.wake_at == (NOON + timedelta(hours=1) if status == "open" else NOON + DAY)


def test_put_off_a_wake_comes_again_and_leaves_the_others_their_instants() -> None:
    due, later = enrolled("due", wake_at=NOON), enrolled("later", wake_at=NOON + timedelta(minutes=10))
    customer = Customer("k-a", standing=Standing((due, later), wake_at=NOON))
    after = put_off(customer, Wake(NOON), NOON).customer.standing
    assert [e.wake_at for e in after.enrollments] == [NOON + timedelta(hours=1), NOON + timedelta(minutes=10)]
    assert after.wake_at == NOON + timedelta(minutes=10)


def test_put_off_an_event_changes_nothing_but_what_was_folded() -> None:
    customer = Customer("k-a", standing=Standing((enrolled(),), wake_at=NOON + DAY))
    assert put_off(customer, happened("Help Viewed"), NOON).customer is customer


# ------------------------------------------------------------------ topics


def test_a_nudge_brings_forward_who_waits_on_it_and_nobody_else() -> None:
    waits = enrolled("waits", topics=("stock:a", "stock:b"), wake_at=NOON + DAY)
    other = enrolled("other", topics=("stock:c",), wake_at=NOON + DAY)
    closed = enrolled("closed", status="ended", topics=("stock:a",))
    soon = enrolled("soon", topics=("stock:a",), wake_at=NOON)
    standing = Standing((waits, other, closed, soon), wake_at=NOON)
    at = NOON + timedelta(minutes=5)
    after = nudge(standing, frozenset({"stock:a"}), at)
    assert [e.wake_at for e in after.enrollments] == [at, NOON + DAY, None, NOON], "and never put off"
    assert nudge(standing, frozenset({"stock:x"}), at) is standing


# ------------------------------------------------------------------ purity


def test_a_turn_changes_none_of_its_arguments() -> None:
    shop = Shop()
    shop.consent()
    shop.tell(happened("Product Added", **JACKET), happened("Checkout Step Viewed", step=2))
    customer, world = shop.customer(), shop.engine.world(shop.now + timedelta(hours=1))
    before = (customer, dict(world.allotments), dict(customer.memory.facets))
    turns = [take_turn(customer, Wake(shop.now + timedelta(hours=1)), shop.playbook, world) for _ in range(2)]
    assert turns[0] == turns[1]
    assert (customer, dict(world.allotments), dict(customer.memory.facets)) == before
