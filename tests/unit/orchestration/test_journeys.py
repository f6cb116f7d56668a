"""How journeys walk: waits, branches, patience, exits that must match, fallbacks, and what is wished for again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.shop import ANN, MARKETING, NOON, OPEN, Shop, happened, product, visitor, written

from wayline.domain import Enrollment, Receipt
from wayline.orchestration.journeys import kept


def shop_of(
    steps: str, *, policy: str = OPEN, head: str = MARKETING, enters: str = "Help Viewed", **texts: str
) -> Shop:
    texts = {"hello": "email", "short": "sms", **texts}
    made = written({"j": f"{head}enters_on: {enters}\nsteps:\n{steps}"}, policy=policy, **texts)
    shop = Shop(made, shelf=[product("jacket", 100)])
    shop.consent()
    return shop


# ------------------------------------------------------------------ waits


def test_a_wait_ends_by_time_or_by_an_event_whichever_is_first() -> None:
    steps = (
        "  look: {wait: 2 hours, then: late, until: {Email Link Clicked: early}}\n"
        "  late: {wait: 1 day, then: end}\n"
        "  early: {wait: 1 day, then: end}\n"
    )
    by_time, by_event = shop_of(steps), shop_of(steps)
    for shop in (by_time, by_event):
        shop.tell(happened("Help Viewed"))
        shop.after(minutes=119)
        assert shop.steps() == {"j": "look"}
    by_time.after(minutes=1)
    by_event.tell(happened("Email Link Clicked", email_id="m"))
    assert (by_time.steps(), by_event.steps()) == ({"j": "late"}, {"j": "early"})
    (waiting,) = by_event.customer().standing.enrollments
    assert waiting.wake_at == by_event.now + timedelta(days=1), "the next wait counts from here"


def test_one_event_ends_one_wait() -> None:
    shop = shop_of(
        "  one: {wait: 1 day, then: end, until: {Email Link Clicked: two}}\n"
        "  two: {wait: 1 day, then: end, until: {Email Link Clicked: end}}\n"
    )
    shop.tell(happened("Help Viewed"), happened("Email Link Clicked", email_id="m"))
    assert shop.steps() == {"j": "two"}
    shop.tell(happened("Email Link Clicked", email_id="m"))
    assert shop.steps() == {"j": "ended"}


def test_the_wait_after_a_message_counts_from_its_delivery() -> None:
    shop = shop_of(
        "  say: {propose: [{action: a, channel: email, content: hello}], patience: 2 days, "
        "then: rest, otherwise: end}\n"
        "  rest: {wait: 1 day, then: end}\n"
    )
    shop.answers["email"] = Receipt("refused", NOON, "busy", retry_at=NOON + timedelta(hours=5))
    shop.tell(happened("Help Viewed"))
    shop.answers.clear()
    shop.after(hours=6)
    assert shop.sent() == [("email", "hello")]
    (resting,) = shop.customer().standing.enrollments
    assert (resting.step, resting.wake_at) == ("rest", NOON + timedelta(hours=29))


# ------------------------------------------------------------------ branches


@pytest.mark.parametrize(
    "condition, way",
    [
        ("cart_count >= 1", "no"),  # nothing in it: false
        ("trait.height > 180", "no"),  # never told: unknown goes otherwise
        ("NOT trait.height > 180", "no"),  # and so does its opposite
        ("trait.height IS NULL", "yes"),
        ("trigger.topic = 'size'", "yes"),
        ("trigger.topic = 'wash'", "no"),
        ("trigger.step = 2", "no"),  # the event did not carry it
    ],
)
def test_a_branch_goes_then_only_if_it_is_so(condition: str, way: str) -> None:
    shop = shop_of(
        f'  ask: {{when: "{condition}", then: yes, otherwise: no}}\n'
        "  yes: {wait: 1 day, then: end}\n"
        "  no: {wait: 1 day, then: end}\n"
    )
    shop.tell(happened("Help Viewed", topic="size"))
    assert shop.steps() == {"j": way}


# ------------------------------------------------------------------ patience and attempts

TWO = (
    "  say: {propose: [{action: a, channel: email, content: hello}, {action: b, channel: sms, content: short}], "
    "patience: 5 hours, then: said, otherwise: unsaid}\n"
    "  said: {wait: 1 day, then: end}\n"
    "  unsaid: {wait: 1 day, then: end}\n"
)


def test_patience_over_it_goes_otherwise() -> None:
    shop = shop_of(TWO)
    shop.tell(happened("Consent Withdrawn", channel="email", purpose="marketing"), happened("Help Viewed"))
    assert shop.steps() == {"j": "say"}
    shop.after(hours=4, minutes=59)
    assert shop.steps() == {"j": "say"}
    shop.after(minutes=1)
    assert shop.steps() == {"j": "unsaid"}


def test_a_consent_given_meanwhile_is_used_at_once() -> None:
    shop = shop_of(TWO)
    shop.tell(happened("Consent Withdrawn", channel="email", purpose="marketing"), happened("Help Viewed"))
    shop.after(hours=1)
    shop.tell(happened("Consent Granted", channel="email", purpose="marketing"))
    assert shop.sent() == [("email", "hello")]
    assert shop.steps() == {"j": "said"}


def test_each_action_that_fails_at_the_channel_is_passed_over_once() -> None:
    shop = shop_of(TWO)
    shop.answers["email"] = Receipt("refused", NOON, "no")
    shop.tell(happened("Help Viewed"))
    assert shop.sent() == []
    # No number is known, so the text is refused by its guard; the mail that failed is not wished for again.
    (waiting,) = shop.customer().standing.enrollments
    assert (waiting.attempt, waiting.pending) == (1, None)
    shop.answers.clear()
    shop.after(hours=4)
    assert shop.sent() == []
    shop.after(hours=2)
    assert shop.steps() == {"j": "unsaid"}


def test_patience_that_ends_while_the_provider_puts_it_off_is_over_when_it_refuses() -> None:
    shop = shop_of(TWO)
    shop.answers["email"] = Receipt("refused", NOON, "busy", retry_at=NOON + timedelta(hours=6))
    shop.tell(happened("Help Viewed"))
    shop.tell(happened("Consent Withdrawn", channel="email", purpose="marketing"))
    shop.answers.clear()
    shop.after(hours=7)
    assert [row.state for row in shop.deliveries()] == ["refused"]
    assert shop.steps() == {"j": "unsaid"}, "its five hours are over: it is not wished for again"


def test_a_message_whose_journey_ended_before_it_left_does_not_leave() -> None:
    shop = shop_of(TWO)
    shop.answers["email"] = Receipt("refused", NOON, "busy", retry_at=NOON + timedelta(hours=1))
    shop.tell(happened("Help Viewed"))
    shop.tell(happened("Order Completed", order_id="o1", products=[]))
    shop.answers.clear()
    shop.after(hours=2)
    (row,) = shop.deliveries()
    assert row.state == "refused" and "is converted" in row.detail
    assert shop.customer().standing.contacts == (), "what never left takes no place"


# ------------------------------------------------------------------ exits that must match

ORDER = (
    "stage: fulfillment\npurpose: transactional\nowner: {business: b, technical: t, qa: q}\ngoal: Order Delivered\n"
    "reentry: per order_id\nexits_on: Order Cancelled\nexits_match: order_id\n"
)
WAITS = "  look: {wait: 9 days, then: say}\n" + TWO.replace("  say:", "  say:")


def keyed(shop: Shop) -> dict[str, str]:
    return {e.key: e.status for e in shop.customer().standing.enrollments}


def test_an_exit_or_goal_counts_only_for_its_own_order() -> None:
    shop = shop_of(WAITS, head=ORDER, enters="Order Completed")
    for order in ("o1", "o2", "o3"):
        shop.tell(happened("Order Completed", order_id=order, products=[]))
    shop.tell(happened("Order Cancelled", order_id="o2"))
    assert keyed(shop) == {"o1": "open", "o2": "exited", "o3": "open"}
    shop.tell(happened("Order Delivered", order_id="o3"))
    assert keyed(shop) == {"o1": "open", "o2": "exited", "o3": "converted"}
    shop.tell(happened("Order Cancelled"))
    assert keyed(shop)["o1"] == "open", "an event that names no order ends none"


def test_without_a_match_any_such_event_ends_it() -> None:
    shop = shop_of(WAITS, head=ORDER.replace("exits_match: order_id\n", ""), enters="Order Completed")
    for order in ("o1", "o2"):
        shop.tell(happened("Order Completed", order_id=order, products=[]))
    shop.tell(happened("Order Cancelled", order_id="o9"))
    assert keyed(shop) == {"o1": "exited", "o2": "exited"}


# ------------------------------------------------------------------ who enters


def test_who_enters_is_judged_by_what_is_known_then_and_unknown_enters_nobody() -> None:
    where = "where: \"trait.height > 180 AND trigger.topic = 'size'\"\n"
    shop = shop_of("  look: {wait: 1 day, then: end}\n", head=MARKETING + where)
    shop.tell(happened("Help Viewed", topic="size"))
    assert shop.steps() == {}
    assert list(shop.store.state.refused_entries()) == [], "it was not for them: that is no refusal"
    shop.tell(happened("Identify", ANN, height=190), happened("Help Viewed", topic="wash"))
    assert shop.steps() == {}
    shop.tell(happened("Help Viewed", topic="size"))
    assert shop.steps() == {"j": "look"}


def test_imported_history_is_remembered_and_starts_nothing() -> None:
    shop = shop_of("  look: {wait: 1 day, then: end}\n")
    shop.tell(happened("Help Viewed", fires=False))
    assert shop.steps() == {} and shop.customer().memory.facets


def test_of_the_closed_the_newest_is_kept_and_every_open_one() -> None:
    def one(journey: str, key: str, hours: int, status: str = "ended") -> Enrollment:
        at = NOON + timedelta(hours=hours)
        return Enrollment(journey, key, "v", "s", at, at, status=status)  # type: ignore[arg-type]

    many = [one("per", f"o{number}", number) for number in range(80)] + [
        one("once", "", 0),
        one("open", "k", 0, "open"),
    ]
    found = kept(many)
    assert len(found) == 64
    assert {"once", "open"} <= {e.journey for e in found}, "once must be remembered for ever"
    assert "o79" in {e.key for e in found} and "o0" not in {e.key for e in found}
    twice = kept([one("j", "", 5), one("j", "", 1)])
    assert [e.entered_at for e in twice] == [NOON + timedelta(hours=5)]
    assert kept([one("j", "", 5), one("j", "", 1, "open")])[0].is_open


# ------------------------------------------------------------------ held by the world, and woken by it

BACK = (
    "  say: {propose: [{action: a, channel: email, content: hello, claims: ['in_stock: trigger.sku']}], "
    "patience: 9 days, then: end, otherwise: end}\n"
)


def test_held_for_stock_it_waits_on_the_topic_and_is_counted_as_one_hold() -> None:
    policy = (
        OPEN.replace("unknown: in_stock", "unknown: refused, fresh: 24 hours")
        + "ask_again: 6 hours\nspread: 1 minute\n"
    )
    shop = shop_of(BACK, policy=policy, enters="Back In Stock Requested")
    shop.tell(happened("Back In Stock Requested", sku="boots"))
    (waiting,) = shop.customer().standing.enrollments
    assert waiting.topics == ("stock:boots",) and waiting.wake_at == NOON + timedelta(hours=6)
    shop.after(days=1)
    (hold,) = [d for d in shop.decisions("j")]
    assert hold.count == 5 and hold.until is not None, "repeats of a hold are one row with a count"
    shop.tell(happened("Inventory Changed", (), sku="boots", available=1))
    shop.after(minutes=1)
    assert shop.sent() == [("email", "hello")]
    assert shop.store.state.waiting_on(["stock:boots"]) == []


def test_the_fallback_is_the_order_of_the_actions() -> None:
    steps = (
        "  say:\n    propose:\n"
        "      - {action: best, channel: email, content: picks, needs: {affinity: 0.9}}\n"
        "      - {action: plain, channel: email, content: hello, claims: ['in_stock: trigger.sku']}\n"
        "      - {action: last, channel: email, content: other}\n"
        "    patience: 1 day\n    then: end\n    otherwise: end\n"
    )
    shop = shop_of(
        steps,
        enters="Back In Stock Requested",
        picks="email",
        other="email",
        policy=OPEN.replace("in_stock", "refused"),
    )
    shop.tell(happened("Back In Stock Requested", sku="nothing-known"))
    assert shop.sent() == [("email", "other")]
    (decision,) = [d for d in shop.decisions("j") if d.action]
    assert [(v.action.name, v.gate) for v in decision.considered] == [
        ("best", "confidence"), ("plain", "claims"), ("last", None),
    ]  # fmt: skip


def test_a_visitor_nobody_can_write_to_waits_and_is_written_to_when_they_log_in() -> None:
    shop = shop_of(TWO)
    sofa = visitor("sofa")
    shop.tell(happened("Help Viewed", sofa))
    shop.after(hours=1)
    assert shop.sent() == []
    shop.tell(happened("Products Searched", (*ANN, *sofa)))
    assert shop.sent() == [("email", "hello")]
    assert replace(shop.customer()).standing.enrollments[0].entered_at == NOON
