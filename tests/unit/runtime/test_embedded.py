"""The loop around the turn: what it keeps at hand, what it does when something fails, and what it never forgets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from tests.laws.test_turns import is_the_fold_of_the_log
from tests.shop import ANN, MARKETING, NOON, OPEN, Shop, apparel, happened, person, product, visitor, written

from wayline.domain import Identifier, Receipt
from wayline.errors import StoreUnavailable
from wayline.orchestration import policy
from wayline.runtime.embedded import Limits
from wayline.runtime.schedules import Schedules
from wayline.store import Batch

JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}


def order(order_id: str) -> dict[str, Any]:
    return {"order_id": order_id, "revenue": 16900, "products": [JACKET]}


# ------------------------------------------------------------------ asks


HELP = MARKETING + (
    "enters_on: Help Viewed\nsteps:\n"
    "  show: {propose: [{action: a, channel: onsite, content: shipping-help}], patience: 30 hours, then: mail, "
    "otherwise: end}\n"
    "  mail: {propose: [{action: b, channel: email, content: newsletter}], patience: 30 hours, then: end, "
    "otherwise: end}\n"
)


def test_a_page_that_asks_again_gets_the_same_answer() -> None:
    shop = Shop(written({"help": HELP}))
    shop.tell(happened("Help Viewed"))
    first = shop.ask(request_id="r1")
    assert [d.action.content for d in first.decisions if d.action] == ["shipping-help"]
    contacts = shop.customer().standing.contacts
    shop.restart()
    again = shop.ask(request_id="r1")
    assert again.decisions == first.decisions[:1]
    assert shop.customer().standing.contacts == contacts
    assert shop.ask(request_id="r2").decisions == (), "another request is another question"


def test_a_page_that_asks_again_after_the_visitor_logged_in_gets_the_same_answer() -> None:
    shop = Shop(written({"help": HELP}))
    browser = visitor("sofa")
    shop.tell(happened("Help Viewed", browser))
    first = shop.ask(browser, request_id="r1")
    shop.tell(happened("Identify", (*ANN, *browser)))
    assert shop.ask(ANN, request_id="r1").decisions == first.decisions[:1]


def test_who_was_shown_something_goes_on_to_the_next_wish_in_the_same_turn() -> None:
    shop = Shop(written({"help": HELP}))
    shop.consent(ANN)
    shop.tell(happened("Help Viewed"))
    shop.ask()
    shop.engine.drain(shop.now)
    assert shop.sent() == [("email", "newsletter")]
    assert shop.steps() == {"help": "ended"}


# ------------------------------------------------------------------ what is kept at hand is bounded


def test_a_tiny_cache_changes_nothing() -> None:
    people = [person(f"p{number}") for number in range(12)]
    shops = [Shop(limits=limits) for limits in (Limits(), Limits(customers_max=1, checkpoint_every=1, events_max=7))]
    for shop in shops:
        for who in people:
            shop.tell(happened("Consent Granted", who, event_id=f"c-{who[0].value}", channel="email"))
        shop.tell(*(happened("Product Added", who, event_id=f"a-{who[0].value}", **JACKET) for who in people))
        shop.tell(*(happened("Checkout Step Viewed", who, event_id=f"s-{who[0].value}", step=2) for who in people))
        shop.after(hours=3)
        shop.tell(
            *(happened("Order Completed", who, event_id=f"o-{who[0].value}", **order(who[0].value)) for who in people),
            *(happened("Order Shipped", who, event_id=f"h-{who[0].value}", order_id=who[0].value) for who in people),
        )
        shop.after(days=9)
    whole, tiny = shops
    assert tiny.decisions() == whole.decisions()
    assert tiny.deliveries() == whole.deliveries()
    assert len(tiny.engine.customers) < len(people) == len(whole.engine.customers)
    assert [tiny.customer(who) for who in people] == [whole.customer(who) for who in people]
    assert tiny.store.state.set_asides() == []


def test_room_is_made_between_transactions_only() -> None:
    """Two messages of one person in one batch: the second turn must see what the first one left."""
    shop = Shop(limits=Limits(customers_max=1, checkpoint_every=1))
    others = [person(f"p{number}") for number in range(4)]
    for who in (ANN, *others):
        shop.consent(who)
    shop.tell(
        *(happened("Order Completed", who, **order(f"{who[0].value}-{n}")) for n in (1, 2) for who in (ANN, *others))
    )
    for who in (ANN, *others):
        standing = shop.customer(who).standing
        confirmed = [c for c in standing.contacts if c.content == "order-confirmation"]
        assert [c.state for c in confirmed] == ["settled", "settled"]
        assert all(e.pending is None for e in standing.enrollments)


# ------------------------------------------------------------------ a batch is as one by one


def test_who_begins_to_wait_in_the_batch_of_the_restock_is_told() -> None:
    for most in (1, 1000):
        shop = Shop(shelf=[product("jacket", 100, available=0)], limits=Limits(events_max=most))
        shop.consent(ANN)
        shop.after(hours=1)
        shop.tell(
            happened("Back In Stock Requested", sku="jacket"),
            happened("Inventory Changed", (), sku="jacket", available=3),
        )
        shop.after(hours=1)
        assert shop.sent() == [("email", "welcome"), ("email", "back-in-stock")], most


def test_whoever_is_merged_waits_for_what_the_other_waited_for() -> None:
    shop = Shop(shelf=[product("jacket", 100, available=0)])
    by_mail = ANN[1:]
    shop.consent(by_mail)
    shop.tell(happened("Back In Stock Requested", by_mail, sku="jacket"))
    shop.after(hours=1)
    # Imported history fires nothing, so the turn of this event does not ask again what the wish waits for.
    shop.tell(happened("Product Viewed", ANN, fires=False, **JACKET))
    assert len(list(shop.store.state.customer_ids())) == 1
    shop.tell(happened("Inventory Changed", (), sku="jacket", available=3))
    shop.after(hours=1)
    assert ("email", "back-in-stock") in shop.sent()


# ------------------------------------------------------------------ failures


class Failing:
    """A state whose next commits fail, before or after they took place."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.real = shop.store.state.commit
        self.failures = 0
        self.takes_place = False
        shop.store.state.commit = self.commit  # type: ignore[method-assign]

    def commit(self, batch: Batch) -> None:
        if self.failures:
            self.failures -= 1
            if self.takes_place:
                self.real(batch)
            raise StoreUnavailable("no room on the disk")
        self.real(batch)


@pytest.mark.parametrize("takes_place", (False, True))
def test_after_a_failed_commit_the_engine_goes_on_from_what_is_stored(takes_place: bool) -> None:
    shop = Shop()
    shop.consent(ANN)
    disk = Failing(shop)
    disk.failures, disk.takes_place = 1, takes_place
    with pytest.raises(StoreUnavailable):
        shop.tell(happened("Order Completed", **order("o1")))
    shop.engine.drain(shop.now)
    assert [content for _, content in shop.sent()].count("order-confirmation") == 1
    is_the_fold_of_the_log(shop)


def test_a_page_may_ask_right_after_a_failed_commit() -> None:
    shop = Shop(written({"help": HELP}))
    shop.consent(ANN)
    disk = Failing(shop)
    disk.failures = 1
    with pytest.raises(StoreUnavailable):
        shop.tell(happened("Help Viewed"))
    assert next(d.action.content for d in shop.ask().decisions if d.action) == "shipping-help"
    assert shop.engine.position == shop.store.log.head() == shop.store.state.position()
    is_the_fold_of_the_log(shop)


def test_an_ask_whose_commit_fails_has_shown_nothing() -> None:
    shop = Shop(written({"help": HELP}))
    shop.tell(happened("Help Viewed"))
    before = shop.customer()
    disk = Failing(shop)
    disk.failures = 1
    with pytest.raises(StoreUnavailable):
        shop.ask(request_id="r1")
    shop.engine.drain(shop.now)
    assert shop.customer() == before
    assert [d.action.content for d in shop.ask(request_id="r1").decisions if d.action] == ["shipping-help"]


def test_a_feed_whose_commit_failed_still_wakes_whoever_waits() -> None:
    shop = Shop(shelf=[product("jacket", 100, available=0)])
    shop.consent(ANN)
    shop.tell(happened("Back In Stock Requested", sku="jacket"))
    shop.after(hours=1)
    restocked = replace(product("jacket", 100, available=4), stock_as_of=shop.now)
    disk = Failing(shop)
    disk.failures = 1
    with pytest.raises(StoreUnavailable):
        shop.engine.stock([restocked], shop.now)
    shop.engine.stock([restocked], shop.now)
    shop.after(hours=1)
    assert ("email", "back-in-stock") in shop.sent()


def test_a_read_that_fails_in_the_middle_of_a_batch_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(shelf=[product("jacket", 100, available=0)])
    shop.consent(ANN)
    shop.tell(happened("Back In Stock Requested", sku="jacket"))
    shop.after(hours=1)

    def unavailable(topics: object) -> list[str]:
        raise StoreUnavailable("the disk failed")

    monkeypatch.setattr(shop.store.state, "waiting_on", unavailable)
    with pytest.raises(StoreUnavailable):
        shop.tell(happened("Product Viewed", **JACKET), happened("Inventory Changed", (), sku="jacket", available=3))
    monkeypatch.undo()
    shop.engine.drain(shop.now)
    shop.after(hours=1)
    is_the_fold_of_the_log(shop)
    assert shop.sent() == [("email", "welcome"), ("email", "back-in-stock")]


# ------------------------------------------------------------------ a turn that cannot be taken


def without_versions(shop: Shop) -> None:
    """The playbook loses the version people are inside of, as a careless publication would."""
    shop.engine.playbook = replace(shop.engine.playbook, journeys={})


@pytest.mark.parametrize("stimulus", ("wake", "hand over", "receipt"))
def test_a_turn_that_cannot_be_taken_leaves_nobody_stuck_and_sends_nothing_twice(
    stimulus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = OPEN + 'quiet_hours: [{from: "10:00", to: "13:00"}]\nspread: 1 minute\n'  # noon in Berlin is quiet
    news = MARKETING + (
        "enters_on: Newsletter Due\nsteps:\n"
        "  send: {propose: [{action: b, channel: email, content: hello}], patience: 9 hours, then: end, "
        "otherwise: end}\n"
    )
    shop = Shop(written({"news": news}, policy=rules, hello="email"))
    shop.consent(ANN)
    shop.tell(happened("Newsletter Due"))
    shop.now = NOON + timedelta(hours=1, minutes=1)
    playbook = shop.engine.playbook
    real = shop.channels["email"].deliver
    if stimulus == "wake":
        without_versions(shop)
    elif stimulus == "hand over":
        # Asked for once, when the message leaves: to change the playbook would not stop it there.
        monkeypatch.setattr(policy, "recheck", lambda decision, moment: monkeypatch.undo() or 1 / 0)
    else:

        def deliver(message: Any, key: str) -> Receipt:
            without_versions(shop)
            return real(message, key)

        shop.channels["email"].deliver = deliver  # type: ignore[method-assign]
    shop.engine.drain(shop.now)
    assert len(shop.store.state.set_asides()) == 1
    assert shop.store.state.load([shop.customer().customer_id])[shop.customer().customer_id].standing == (
        shop.customer().standing
    ), "what is at hand is what is stored"
    for enrollment in shop.customer().standing.enrollments:
        assert not enrollment.is_open or enrollment.wake_at is not None
    shop.engine.playbook = playbook
    shop.channels["email"].deliver = real  # type: ignore[method-assign]
    shop.after(hours=3)
    assert shop.sent() == [("email", "hello")]
    assert shop.steps() == {"news": "exited" if stimulus == "receipt" else "ended"}


def test_what_happened_is_remembered_even_if_the_journey_s_version_is_gone() -> None:
    shop = Shop()
    shop.tell(happened("Order Completed", **order("o1")))
    without_versions(shop)
    shop.tell(happened("Order Completed", **order("o2")))
    assert shop.store.state.set_asides()
    is_the_fold_of_the_log(shop)


# ------------------------------------------------------------------ checkpoint and recovery


def test_a_restart_folds_from_the_checkpoint_on() -> None:
    shop = Shop(limits=Limits(checkpoint_every=5, events_max=3))
    for number in range(23):
        shop.tell(happened("Product Viewed", person(f"p{number % 4}"), **JACKET))
    assert shop.engine.dirty
    shop.restart()
    is_the_fold_of_the_log(shop)
    shop.engine.close()
    assert not shop.engine.dirty
    shop.restart()
    assert not shop.engine.dirty, "nothing had to be folded again"
    is_the_fold_of_the_log(shop)


def test_a_device_that_changed_hands_stays_with_each_for_their_time_over_a_restart() -> None:
    shop = Shop()
    phone = Identifier("anonymous_id", "shared-phone")
    ann, ben = (Identifier("user_id", "u-ann"), phone), (Identifier("user_id", "u-ben"), phone)
    shop.tell(happened("Product Viewed", ann, **JACKET))
    shop.tell(happened("Products Searched", (phone,)))
    shop.tell(happened("Product Viewed", ben, **JACKET))
    shop.tell(happened("Help Viewed", (phone,)))
    before = [shop.customer(who[:1]).memory for who in (ann, ben)]
    shop.restart()
    assert [shop.customer(who[:1]).memory for who in (ann, ben)] == before


def test_what_is_popular_is_popular_after_a_restart() -> None:
    shop = Shop()
    shop.tell(happened("Order Completed", order_id="o1", revenue=1, products=[{"sku": "socks", "quantity": 9}]))
    before = list(shop.engine.shelf.popular("", 3))
    assert before[0] == "socks"
    shop.restart()
    assert list(shop.engine.shelf.popular("", 3)) == before


# ------------------------------------------------------------------ schedules


def test_a_schedule_is_told_once_per_instant_whatever_restarts() -> None:
    shop = Shop(apparel())
    shop.consent(ANN)
    shop.tell(happened("Product Viewed", **JACKET))
    schedules = Schedules(shop.engine)
    schedules.events(shop.now)
    shop.store.state.commit(Batch(notes=schedules.note()))
    thursday = NOON + timedelta(days=2)
    events = schedules.events(thursday)
    assert [event.name for event in events] == ["Newsletter Due"]
    shop.now = thursday
    shop.tell(*events)
    # The process dies before the note is committed: the next one offers the very same events.
    shop.restart()
    again = Schedules(shop.engine).events(thursday + timedelta(minutes=5))
    assert [event.event_id for event in again] == [event.event_id for event in events]
    appended = shop.store.log.append(again)
    assert (appended.stored, appended.duplicates, appended.conflicts) == (0, len(events), 0)


# ------------------------------------------------------------------ spread


def test_those_held_to_one_instant_wake_spread_over_the_policy_s_width() -> None:
    shop = Shop(now=NOON + timedelta(hours=10))  # 22:00 in Berlin: quiet
    people = [person(f"p{number}") for number in range(40)]
    for who in people:
        shop.consent(who)
    due = sorted(shop.customer(who).wake_at for who in people if shop.customer(who).wake_at)
    eight = NOON + timedelta(hours=20)
    width = shop.playbook.policy.spread
    assert len(due) == 40
    assert all(eight <= at < eight + width for at in due)
    assert len(set(due)) > 30 and due[-1] - due[0] > width / 2
