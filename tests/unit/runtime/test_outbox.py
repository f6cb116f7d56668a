"""The outbox: what waits, what leaves, what comes back, and what a crash leaves behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from tests.laws.test_turns import with_control
from tests.shop import ANN, MARKETING, NOON, OPEN, Shop, apparel, happened, person, written

from wayline.domain import Identifier, Message, Receipt

TWO_WAYS = MARKETING + (
    "enters_on: Newsletter Due\nsteps:\n"
    "  send: {propose: [{action: mail, channel: email, content: hello}, {action: text, channel: sms, content: short}], "
    "patience: 2 days, then: end, otherwise: end}\n"
)
BEN = person("ben")


def shop_with(policy: str = OPEN, *, share: float = 0.0, text: str = TWO_WAYS) -> Shop:
    playbook = written(
        {"news": text.replace("control: {none: a test}", "control: 0.5")}, policy=policy, hello="email", short="sms"
    )
    shop = Shop(with_control(playbook, share))
    who = (*ANN, Identifier("phone", "phone-ann"))
    shop.consent(who, "email", "sms")
    return shop


def states(shop: Shop) -> list[tuple[str, str]]:
    return sorted((row.content, row.state) for row in shop.deliveries())


def reads_mail_of_ann(shop: Shop) -> tuple[Identifier, ...]:
    """Somebody else who reads Ann's mailbox: identity links no address twice, an old store or an import may have."""
    partner = (Identifier("user_id", "partner"), Identifier("phone", "phone-partner"))
    shop.consent(partner, "email", "sms")
    shop.store.vault.put({"email:mail-ann": {"email": "ann@example.com"}})
    known = shop.customer(partner)
    used = {**known.memory.facets["@identifiers"], "email:mail-ann": [shop.now, "web", "x"]}
    memory = replace(
        known.memory,
        identifiers=(*known.memory.identifiers, Identifier("email", "mail-ann")),
        facets={**known.memory.facets, "@identifiers": used},
    )
    shop.engine.customers[known.customer_id] = replace(known, memory=memory)
    return partner


# ------------------------------------------------------------------ what the channel answers


def test_put_off_it_is_offered_again_and_keeps_its_cap_slot_meanwhile() -> None:
    shop = shop_with(OPEN + "caps: {one: {at_most: 1, per: 24 hours}}\n")
    shop.answers["email"] = Receipt("refused", NOON, "try later", retry_at=NOON + timedelta(minutes=30))
    shop.tell(happened("Newsletter Due"))
    (row,) = shop.deliveries()
    assert (row.state, row.attempts, row.due_at) == ("pending", 1, NOON + timedelta(minutes=30))
    assert [c.state for c in shop.customer().standing.contacts] == ["handed_over"]
    shop.after(minutes=29)
    assert states(shop) == [("hello", "pending")]
    shop.answers.clear()
    shop.after(minutes=1)
    assert states(shop) == [("hello", "sent")]
    assert shop.steps() == {"news": "ended"}


def test_refused_for_good_the_next_action_is_tried_and_the_slot_given_back() -> None:
    shop = shop_with(OPEN + "caps: {one: {at_most: 1, per: 24 hours}}\n")
    shop.answers["email"] = Receipt("refused", NOON, "550 not here")
    shop.tell(happened("Newsletter Due"))
    assert states(shop) == [("hello", "refused"), ("short", "sent")]
    assert [c.content for c in shop.customer().standing.contacts] == ["short"]


def test_when_every_action_was_refused_the_journey_goes_on_otherwise() -> None:
    shop = shop_with()
    shop.answers.update({channel: Receipt("refused", NOON, "no") for channel in ("email", "sms")})
    shop.tell(happened("Newsletter Due"))
    assert states(shop) == [("hello", "refused"), ("short", "refused")]
    assert shop.steps() == {"news": "ended"}
    assert shop.customer().standing.contacts == ()


def test_a_dead_address_is_left_alone_by_everybody_who_uses_it() -> None:
    shop = shop_with()
    shop.answers["email"] = Receipt("dead", NOON, "550 5.1.1 no such user")
    shop.tell(happened("Newsletter Due"))
    assert states(shop) == [("hello", "dead"), ("short", "sent")]
    address = shop.store.state.address("email", "mail-ann")
    assert address is not None and address.reason == "550 5.1.1 no such user"
    # Whoever else reads there later is not written to either: the address is suppressed, and not the person.
    shop.answers.clear()
    partner = reads_mail_of_ann(shop)
    shop.tell(happened("Newsletter Due", partner))
    assert ("suppressed_address", "hello") in shop.refusals("news")
    assert states(shop) == [("hello", "dead"), ("short", "sent"), ("short", "sent")]


def test_two_people_on_one_mailbox_get_one_newsletter() -> None:
    """Not decided again and again either: the second is passed over, and tried by its other channel."""
    shop = shop_with()
    shop.tell(happened("Newsletter Due"))

    partner = reads_mail_of_ann(shop)
    shop.tell(happened("Newsletter Due", partner))
    assert states(shop) == [("hello", "refused"), ("hello", "sent"), ("short", "sent")]
    (refused,) = [row for row in shop.deliveries() if row.state == "refused"]
    assert "this mailbox had the same message" in refused.detail


def test_unknown_marketing_keeps_its_place_and_is_never_offered_again() -> None:
    shop = shop_with(OPEN + "caps: {one: {at_most: 1, per: 24 hours}}\n")
    shop.answers["email"] = Receipt("unknown", NOON, "the reply was lost")
    shop.tell(happened("Newsletter Due"))
    shop.answers.clear()
    shop.after(days=3)
    assert states(shop) == [("hello", "unknown")]
    assert [c.state for c in shop.customer().standing.contacts] == ["unknown"]
    assert shop.steps() == {"news": "ended"}


# ------------------------------------------------------------------ both arms alike


@pytest.mark.parametrize("answer", ("sent", "text missing"))
def test_the_control_arm_goes_through_the_same_hand_over(answer: str) -> None:
    seen = []
    for share in (0.0, 1.0):
        shop = shop_with(share=share)
        if answer == "text missing":
            # What cannot be written is refused in both arms: the control group's message is rendered as well.
            playbook = shop.engine.outbox.rendering.playbook

            content = {name: text for name, text in playbook.content.items() if name != "hello"}
            shop.engine.outbox.rendering.playbook = replace(playbook, content=content)
        shop.tell(happened("Newsletter Due"))
        shop.after(days=1)
        seen.append([(row.content, row.state.replace("withheld", "sent"), row.settled_at) for row in shop.deliveries()])
        seen[-1].sort()
        sent = {"sent": "hello", "text missing": "short"}[answer]
        contacts = shop.customer().standing.contacts
        assert [(c.content, c.state, c.delivers) for c in contacts] == [(sent, "settled", share == 0.0)]
        assert len(shop.sent()) == (share == 0.0)
        if share:
            assigned = shop.customer().standing.assignments["journey:news"]
            assert assigned.exposed_at == shop.deliveries()[-1].settled_at and assigned.arm == "control"
    assert seen[0] == seen[1]


# ------------------------------------------------------------------ what goes wrong in here


def test_a_channel_that_raises_takes_no_other_message_along() -> None:
    shop = Shop(apparel())
    for who in (ANN, BEN):
        shop.consent(who, days_ago=2)
    real = shop.channels["email"].deliver
    calls: list[str] = []

    def deliver(message: Message, key: str) -> Receipt:
        calls.append(key)
        if len(calls) == 1:
            raise OSError("ann@example.com: the connection broke")
        return real(message, key)

    shop.channels["email"].deliver = deliver  # type: ignore[method-assign]
    shop.tell(*(happened("Order Completed", who, order_id=f"o{n}", products=[]) for n, who in enumerate((ANN, BEN))))
    assert sorted(row.state for row in shop.deliveries()) == ["pending", "sent"]
    (pending,) = [row for row in shop.deliveries() if row.state == "pending"]
    assert "the channel email failed: OSError at test_outbox.py" in pending.detail
    assert "example.com" not in pending.detail, "what an error says may be personal"
    shop.after(minutes=6)
    assert [row.state for row in shop.deliveries()] == ["sent", "sent"], "what is owed is offered again"
    assert len(calls) == 3


def test_a_message_that_cannot_be_written_takes_no_other_along(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(apparel())
    for who in (ANN, BEN):
        shop.consent(who, days_ago=2)
    rendering = shop.engine.outbox.rendering
    real = type(rendering).message
    written_for = []

    def message(self: Any, decision: Any, customer: Any) -> Any:
        written_for.append(decision.key)
        if decision.key == "o0":
            raise ValueError("a defect of ours")
        return real(self, decision, customer)

    monkeypatch.setattr(type(rendering), "message", message)
    shop.tell(*(happened("Order Completed", who, order_id=f"o{n}", products=[]) for n, who in enumerate((ANN, BEN))))
    assert sorted((row.state, row.channel) for row in shop.deliveries()) == [("refused", "email"), ("sent", "email")]
    shop.after(days=4)
    assert all(not e.is_open for who in (ANN, BEN) for e in shop.customer(who).standing.enrollments)


def test_a_channel_nobody_set_up_is_said() -> None:
    shop = shop_with()
    shop.channels.clear()
    shop.tell(happened("Newsletter Due"))
    assert [row.state for row in shop.deliveries()] == ["refused", "refused"]
    assert {row.detail.split(" is set up")[0] for row in shop.deliveries()} == {
        "no channel 'email'",
        "no channel 'sms'",
    }


# ------------------------------------------------------------------ what a crash leaves behind


class Dead(BaseException):
    """The process ends here."""


def died(shop: Shop, *, called: bool) -> None:
    """The process dies in the call of the email channel, before or after the provider took the message."""
    real = shop.channels["email"].deliver

    def deliver(message: Message, key: str) -> Receipt:
        if called:
            real(message, key)
        raise Dead

    shop.channels["email"].deliver = deliver  # type: ignore[method-assign]
    with pytest.raises(Dead):
        shop.engine.drain(shop.now)
    shop.channels["email"].deliver = real  # type: ignore[method-assign]


def waiting(shop: Shop, *events: Any) -> None:
    shop.store.log.append([shop._dated(event) for event in events])


@pytest.mark.parametrize("promise, state", (("repeatable", "sent"), ("unrepeatable", "unknown")))
def test_marketing_after_a_crash_goes_by_the_channel_s_promise(promise: str, state: str) -> None:
    shop = shop_with()
    shop.channels["email"].promise = promise  # type: ignore[assignment]
    waiting(shop, happened("Newsletter Due"))
    died(shop, called=True)
    shop.restart()
    assert states(shop) == [("hello", state)]
    assert len(shop.channels["email"].messages) == 1
    assert shop.steps() == {"news": "ended"}


def test_what_was_withdrawn_while_nothing_ran_is_not_sent_again_by_a_start() -> None:
    shop = shop_with()
    waiting(shop, happened("Newsletter Due"))
    died(shop, called=False)
    shop.now += timedelta(hours=1)
    waiting(shop, happened("Consent Withdrawn", channel="email", purpose="marketing"))
    shop.restart()
    assert states(shop)[0] == ("hello", "unknown")
    assert "no consent for marketing by email" in shop.deliveries()[0].detail
    assert shop.channels["email"].messages == ()


def test_a_purchase_while_nothing_ran_stops_the_reminder_a_start_would_send_again() -> None:
    shop = Shop(with_control(apparel(), 0.0))
    shop.consent(days_ago=2)
    jacket = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}
    shop.tell(happened("Product Added", **jacket), happened("Checkout Step Viewed", step=2))
    shop.now += timedelta(hours=1)
    died(shop, called=False)
    shop.now += timedelta(minutes=5)
    waiting(shop, happened("Order Completed", order_id="o1", products=[jacket]))
    shop.restart()
    shop.engine.drain(shop.now)
    assert [content for _, content in shop.sent()] == ["order-confirmation"]
    (unclear,) = [row for row in shop.deliveries() if row.state == "unknown"]
    assert unclear.content == "cart-coupon"
    assert [c.state for c in shop.customer().standing.contacts if c.content == "cart-coupon"] == ["unknown"], (
        "it may have arrived, and keeps its place although its journey is over"
    )


@pytest.mark.parametrize("called", (False, True))
def test_the_control_arm_is_settled_by_a_start_as_withheld(called: bool) -> None:
    shop = shop_with(share=1.0)
    waiting(shop, happened("Newsletter Due"))
    real = shop.store.state.commit
    commits = []

    def commit(batch: Any) -> None:
        commits.append(batch)
        if any(row.state == "withheld" for row in batch.deliveries):
            raise Dead
        real(batch)

    shop.store.state.commit = commit  # type: ignore[method-assign]
    with pytest.raises(Dead):
        shop.engine.drain(shop.now)
    shop.store.state.commit = real  # type: ignore[method-assign]
    if called:
        waiting(shop, happened("Consent Withdrawn", channel="email", purpose="marketing"))
    shop.restart()
    assert states(shop) == [("hello", "withheld")]


def test_a_start_finds_what_was_left_behind_by_a_clock_that_was_set_back_since() -> None:
    shop = shop_with()
    shop.channels["email"].promise = "unrepeatable"  # type: ignore[assignment]
    waiting(shop, happened("Newsletter Due"))
    died(shop, called=True)
    shop.now -= timedelta(hours=3)
    shop.restart()
    assert states(shop) == [("hello", "unknown")]
    assert shop.steps() == {"news": "ended"}


def test_a_start_with_nothing_left_behind_calls_nobody() -> None:
    shop = shop_with()
    shop.tell(happened("Newsletter Due"))
    before = len(shop.channels["email"].messages)
    assert shop.engine.outbox.recover(shop.now) == 0
    assert len(shop.channels["email"].messages) == before == 1
