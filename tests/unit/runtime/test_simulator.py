"""The simulated shop: luck is one's own, only messages part the two worlds, and what is booked is what happened."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import msgspec
import pytest

from wayline.errors import Broken
from wayline.observation.events import parse
from wayline.runtime.shop_check import check
from wayline.runtime.shop_rates import START, Rates, incidents
from wayline.runtime.shop_twins import Abandoned, Handed, Line, Sale, Shopper, Twins, effect_named
from wayline.runtime.simulator import Shop

Message = dict[str, Any]
Writer = Callable[[datetime, Sequence[Message]], list[Handed]]


def play(shop: Shop, write: Writer | None = None) -> list[Message]:
    """Play the season; `write` is the engine: it sees an hour's messages and answers with what it hands over."""
    messages: list[Message] = []
    handed: list[Handed] = []
    now = shop.start
    while now < shop.end:
        told = shop.hour(now, handed)
        messages += told.messages
        now += timedelta(hours=1)
        handed = write(now, told.messages) if write else []
    return messages


@cache
def season() -> tuple[Message, ...]:
    """A middling shop in which nobody is written to."""
    return tuple(play(Shop(2, 3000, 90)))


def names(message: Message) -> dict[str, str]:
    if message.get("userId"):
        return {"user_id": message["userId"]}
    return {"anonymous_id": message["anonymousId"]}


def whose(message: Message) -> str:
    return next(iter(names(message).values()), "").split("-")[-1][:6]


CART: dict[str, Any] = {"channel": "email", "journey": "cart"}
LETTERS = {
    "Checkout Exited": "cart-recovery",
    "Order Completed": "loyal-discount",
    "Product Viewed": "newsletter",
    "Order Delayed": "order-delayed",
    "Order Shipped": "order-shipped",
}


def letters(*, delivers: bool = True, discount: float = 0.0, to: Callable[[str], bool] = lambda _: True) -> Writer:
    """Remind all who left a checkout, and write to all who bought or looked, to some with a coupon."""

    def write(now: datetime, messages: Sequence[Message]) -> list[Handed]:
        return [
            Handed(
                decision_id=f"d-{message['messageId']}",
                identifiers=names(message),
                channel="email",
                content="letter",
                journey=journey,
                delivers=delivers,
                at=now,
                discount=discount if journey in ("cart-recovery", "loyal-discount") else 0.0,
            )
            for message in messages
            if (journey := LETTERS.get(message.get("event", ""))) and to(whose(message))
        ]

    return write


def loud(**changes: Any) -> Rates:
    """Effects so strong, and carts so many, that a small shop shows everything that messages can do."""
    rates = Rates(product_view=0.8, cart=0.4, checkout=0.3, order=0.12, unaided_checkout=0.4, pull_forward=0.8)
    effects = {name: msgspec.structs.replace(effect, buys=effect.buys * 8) for name, effect in rates.effects.items()}
    return msgspec.structs.replace(rates, effects=effects, tickets=0.5, **changes)


def events(messages: Sequence[Message], name: str) -> list[Message]:
    return [message for message in messages if message.get("event") == name]


# ---- luck


def test_the_same_seed_and_reactions_give_the_same_bytes() -> None:
    runs = [json.dumps(play(Shop(7, 200, 20), letters(discount=0.1))) for _ in range(2)]
    assert runs[0] == runs[1]
    assert json.dumps(play(Shop(8, 200, 20))) != json.dumps(play(Shop(7, 200, 20)))


def test_a_message_to_one_person_changes_nothing_for_another() -> None:
    def is_written_to(who: str) -> bool:
        return who[-1:] in "02468"

    quiet = play(Shop(5, 600, 60, loud()))
    written = play(Shop(5, 600, 60, loud()), letters(discount=0.2, to=is_written_to))

    def others(messages: Sequence[Message]) -> list[str]:
        return sorted(json.dumps(message) for message in messages if not is_written_to(whose(message)))

    assert others(quiet) == others(written)
    assert len(written) != len(quiet)


def test_decision_ids_do_not_matter_to_what_people_do() -> None:
    def renamed(now: datetime, messages: Sequence[Message]) -> list[Handed]:
        return [msgspec.structs.replace(one, decision_id=f"x{one.decision_id}") for one in letters()(now, messages)]

    shops = Shop(5, 400, 40, loud()), Shop(5, 400, 40, loud())
    play(shops[0], letters())
    play(shops[1], renamed)
    assert shops[0].truth() == shops[1].truth()
    assert shops[0].margin == shops[1].margin


# ---- two worlds


@pytest.mark.parametrize("discount", [0.0, 0.1, 0.25])
def test_what_is_booked_is_the_difference_of_the_two_worlds(discount: float) -> None:
    worlds = {}
    for delivers in (True, False):
        worlds[delivers] = Shop(11, 700, 60, loud())
        play(worlds[delivers], letters(delivers=delivers, discount=discount))
    booked = worlds[True].truth().values()
    assert worlds[True].orders - worlds[False].orders == sum(truth.orders_caused for truth in booked)
    assert worlds[True].margin - worlds[False].margin == sum(truth.margin_caused for truth in booked)
    assert sum(truth.orders_caused for truth in booked) > 20


@pytest.mark.parametrize("pull_forward", [0.0, 1.0])
def test_orders_are_lost_to_messages_that_put_off_and_to_orders_made_early(pull_forward: float) -> None:
    def caused(*, put_off: bool) -> int:
        shop = Shop(11, 700, 60, loud(put_off=float(put_off), pull_forward=pull_forward))
        play(shop, letters())
        quiet = Shop(11, 700, 60, loud(put_off=float(put_off), pull_forward=pull_forward))
        play(quiet)
        truth = sum(truth.orders_caused for truth in shop.truth().values())
        assert truth == shop.orders - quiet.orders
        return truth

    assert caused(put_off=True) < -10
    assert caused(put_off=False) > 30


def test_tickets_prevented_are_tickets_not_opened() -> None:
    def tell(delivers: bool) -> Writer:
        def write(now: datetime, messages: Sequence[Message]) -> list[Handed]:
            told = letters(delivers=delivers)(now, messages)
            return [one for one in told if effect_named(one.journey) == "owed"]

        return write

    opened = {}
    for delivers in (True, False):
        shop = Shop(12, 2000, 60, loud())
        tickets = events(play(shop, tell(delivers)), "Ticket Opened")
        opened[delivers] = len({one["messageId"] for one in tickets if one["properties"]["topic"] == "where_is_it"})
        prevented = sum(truth.tickets_caused for truth in shop.truth().values())
        assert (prevented < 0) == delivers
        opened[delivers] -= prevented
    assert opened[True] == opened[False]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_withheld_message_leaves_the_world_without_it(seed: int) -> None:
    untouched, withheld = Shop(seed, 500, 60, loud()), Shop(seed, 500, 60, loud())
    assert json.dumps(play(untouched)) == json.dumps(play(withheld, letters(delivers=False, discount=0.2)))
    truth = withheld.truth()["cart-recovery"]
    assert (truth.handed, truth.orders_caused, truth.margin_caused, truth.unsubscribes_caused) == (0, 0, 0, 0)
    assert truth.exposed > 0 and truth.orders_effect > 0


def test_withheld_and_handed_over_estimate_the_same_effect() -> None:
    sides = []
    for delivers in (True, False):
        shop = Shop(4, 1500, 90, Rates(fatigue_response=0.0))
        play(shop, letters(delivers=delivers, to=lambda _: True))
        sides.append(shop.truth()["cart-recovery"])
    handed, withheld = sides
    assert handed.people == withheld.people
    # One luck serves both: but for the few who are reminded twice the two sides agree exactly.
    assert abs(handed.orders_effect - withheld.orders_effect) <= 3


def test_where_no_message_works_the_truth_is_zero() -> None:
    silent, untouched = Shop(6, 1000, 60, Rates().without_effects()), Shop(6, 1000, 60)
    told = play(silent, letters())
    play(untouched)
    assert silent.orders == untouched.orders
    for truth in silent.truth().values():
        assert truth.exposed > 0
        assert (truth.orders_effect, truth.margin_effect, truth.unsubscribes_caused, truth.tickets_caused) == (
            0,
            0,
            0,
            0,
        )
    assert not events(told, "Unsubscribed")


def reminders(kind: str) -> Writer:
    def write(now: datetime, messages: Sequence[Message]) -> list[Handed]:
        return [
            Handed(decision_id=f"d-{left['messageId']}", identifiers=names(left), **CART, kind=kind, at=now)
            for left in events(messages, "Checkout Exited")
        ]

    return write


@pytest.mark.slow
def test_the_coupon_loses_to_the_plain_reminder() -> None:
    truths = {}
    for kind in ("message", "offer"):
        shop = Shop(1, 8_000, 90)
        play(shop, reminders(kind))
        truths[kind] = shop.truth()["cart"]
    plain, coupon = truths["message"], truths["offer"]
    assert 0.016 < plain.orders_effect / plain.exposed < 0.040  # 10 % buy unaided, 12.8 % reminded
    assert 0.030 < coupon.orders_effect / coupon.exposed < 0.062  # 14.5 % with ten per cent off
    assert plain.margin_caused > 0 > coupon.margin_caused


def test_whoever_is_written_to_too_often_answers_less_and_leaves_more() -> None:
    def write_daily(now: datetime, _: Sequence[Message]) -> list[Handed]:
        if now.hour != 12:
            return []
        return [
            Handed(
                decision_id=f"{now:%m%d}-{who}",
                identifiers={"user_id": f"c-{who:06d}"},
                channel="email",
                journey="newsletter",
                at=now,
            )
            for who in range(5, 1500)
        ]

    tired, fresh = Shop(9, 1500, 20, loud()), Shop(9, 1500, 20, loud(fatigue_response=0.0, fatigue_unsubscribes=0.0))
    told = play(tired, write_daily)
    play(fresh, write_daily)
    assert 0 < tired.truth()["newsletter"].orders_caused < 0.8 * fresh.truth()["newsletter"].orders_caused
    assert tired.truth()["newsletter"].unsubscribes_caused > 2 * fresh.truth()["newsletter"].unsubscribes_caused
    left = [whose(message) for message in events(told, "Unsubscribed")]
    assert len(left) == len(set(left)) == pytest.approx(tired.truth()["newsletter"].unsubscribes_caused, rel=0.05)


def test_machines_open_before_people_and_say_so() -> None:
    told = play(Shop(3, 1000, 60), letters())
    opened = events(told, "Email Opened")
    automated = [message for message in opened if message["properties"]["automated"]]
    assert 0.15 < len(automated) / len(opened) < 0.6
    clicked = {message["properties"]["email_id"] for message in events(told, "Email Link Clicked")}
    people = {message["properties"]["email_id"] for message in opened if not message["properties"]["automated"]}
    assert clicked - {"news-48"} <= people
    bounced = {message["context"]["traits"]["email"] for message in events(told, "Email Bounced")}
    assert bounced
    assert not bounced & {message["context"]["traits"]["email"] for message in opened}


@pytest.mark.parametrize(
    "journey, effect",
    [
        ("cart-discount", "cart"), ("checkout-hesitation", "checkout"), ("payment-failed", "payment"),
        ("browse-abandonment", "browse"), ("back-in-stock", "back_in_stock"), ("order-delayed", "owed"),
        ("pickup-ready", "owed"), ("review-request", "after_sale"), ("win-back", "win_back"), ("summer", "campaign"),
    ],
)  # fmt: skip
def test_people_take_a_journey_for_what_its_name_says(journey: str, effect: str) -> None:
    assert effect_named(journey) == effect
    assert effect in Rates().effects


# ---- the account itself


def at(second: int, *, journey: str = "cart", delivers: bool = True) -> Handed:
    now = START + timedelta(seconds=second)
    return Handed(decision_id=f"d{second}", identifiers={}, channel="email", journey=journey, delivers=delivers, at=now)


def left_behind(luck: float) -> Abandoned:
    return Abandoned("checkout", "cart-1", "ch-1", (Line(0, 10_000),), 0, luck, 0.10)


@pytest.mark.parametrize("luck, orders", [(0.05, False), (0.11, True), (0.127, True), (0.129, False)])
def test_the_luck_of_a_cart_decides_which_reminder_moves_it(luck: float, orders: bool) -> None:
    shopper = Shopper(7, abandoned=left_behind(luck))
    answer = Twins(1, Rates(), 10**7).answer(shopper, at(60), 60, 1.0)
    assert (answer.orders_at is not None) == orders


def test_only_what_came_changes_what_the_next_message_finds() -> None:
    shopper, twins = Shopper(7, abandoned=left_behind(0.11)), Twins(1, Rates(), 10**7)
    assert twins.answer(shopper, at(60, delivers=False), 60, 1.0).orders_at is not None
    assert shopper.abandoned is not None
    assert (shopper.abandoned.share, shopper.fatigue) == (0.10, 0.0)
    twins.answer(shopper, at(70), 70, 1.0)
    assert shopper.abandoned.share == pytest.approx(0.10 + 0.028 / 2)
    assert shopper.fatigue == 1.0
    assert twins.answer(shopper, at(80), 80, 1.0).orders_at is None


def test_a_coupon_costs_what_it_takes_off_orders_made_anyway() -> None:
    rates, shopper = Rates(returns=0.0), Shopper(7)
    twins = Twins(1, rates, 10**7)
    sale = Sale("o-1", (Line(0, 10_000),), 500, 0.0, (0.5,) * 16)
    for second, discount, delivers in ((10, 0.1, True), (20, 0.2, True), (30, 0.3, False)):
        handed = msgspec.structs.replace(at(second, journey=f"j{second}", delivers=delivers), discount=discount)
        twins.answer(shopper, handed, second, 0.0)
    assert twins.unaided(shopper, sale) == 0.2
    truth = twins.truth()
    assert [truth[name].margin_caused for name in ("j10", "j20", "j30")] == [-1000, -1000, 0]
    assert [truth[name].margin_effect for name in ("j10", "j20", "j30")] == [-1000, -1000, -1000]
    late = msgspec.structs.replace(sale, at=20 + 15 * 86400)
    assert twins.unaided(shopper, late) == 0.0


def test_a_withheld_order_takes_the_place_of_the_next_in_its_own_world_only() -> None:
    rates, shopper = Rates(pull_forward=1.0), Shopper(7)
    twins = Twins(1, rates, 10**7)
    answer = twins.answer(shopper, at(10, journey="news", delivers=False), 10, 0.0)
    sale = Sale("o-1", (Line(0, 10_000),), 500, 0.0, (0.5,) * 16)
    assert twins.caused(shopper, sale, answer.cause) is None
    assert twins.truth()["news"].orders_effect == 1
    assert twins.unaided(shopper, msgspec.structs.replace(sale, at=1000)) == 0.0
    truth = twins.truth()["news"]
    assert (truth.orders_effect, truth.margin_effect, truth.orders_caused) == (0, 0, 0)
    assert twins.unaided(shopper, msgspec.structs.replace(sale, at=2000)) == 0.0
    assert twins.truth()["news"] == truth


# ---- rates


def test_the_events_keep_to_the_rates() -> None:
    rows = check(season(), Rates(), customers=3000, days=90)
    assert len(rows) >= 20
    assert [row for row in rows if not row.holds] == []


def test_the_check_notices_a_shop_that_breaks_its_rates() -> None:
    # What the shop is told and what it is held to differ in every row that is named.
    told = play(Shop(2, 3000, 90, Rates(product_view=0.62, mobile=0.6, late=0.06, duplicate=0.03, consent_email=0.4)))
    broken = {row.name for row in check(told, Rates(), customers=3000, days=90) if not row.holds}
    assert {"Product Viewed", "visits on mobile", "late", "duplicate", "consent to e-mail"} <= broken


def test_size_scales_with_customers_and_days() -> None:
    small, large = len(play(Shop(1, 500, 30))), len(play(Shop(1, 2000, 60)))
    assert 6 < large / small < 10


# ---- what is planted


def planted(name: str) -> tuple[datetime, datetime]:
    incident = next(incident for incident in incidents(90) if incident.name == name)
    return incident.starts_at, incident.ends_at


def during(messages: Sequence[Message], name: str) -> list[Message]:
    first, last = planted(name)
    return [message for message in messages if first <= datetime.fromisoformat(message["timestamp"]) <= last]


def test_the_jacket_shopper_exits_at_the_shipping_page() -> None:
    theirs = [message for message in season() if message.get("userId") == "c-000000"]
    assert theirs == during(theirs, "jacket-shopper")
    by_browser = defaultdict(list)
    for message in theirs:
        by_browser[message.get("anonymousId", message["source"])].append(message.get("event", message["type"]))
    phone, desk = by_browser["an-000000m"], by_browser["an-000000d"]
    assert phone.count("page") == 2 and phone.count("Product Viewed") == 6 and "Product Added" not in phone
    assert by_browser["mail"] == ["Email Link Clicked"]
    assert desk[-1] == "Checkout Exited" and desk.count("Product Added") == 1
    assert theirs[-1]["properties"]["step"] == 2
    viewed = {message["properties"]["category"] for message in events(theirs, "Product Viewed")}
    assert viewed == {"winter-jackets"}


def test_the_jacket_sells_out_the_morning_after() -> None:
    first, last = planted("jacket-sold-out")
    shop, stock = Shop(2, 100, 90), {}
    looks = {first - timedelta(hours=1), first, first + timedelta(days=6), last - timedelta(hours=1), last}
    while (now := shop.start + timedelta(hours=len(stock))) <= last:
        shop.hour(now)
        stock[now] = (
            {one.available for one in shop.catalogue() if one.product_id == "st-0000"} if now in looks else set()
        )
    assert first.date() == datetime(2025, 11, 29).date()
    assert [stock[at] == {0} for at in sorted(looks)] == [False, True, True, True, False]
    told = [one for one in events(season(), "Inventory Changed") if one["properties"]["product_id"] == "st-0000"]
    gone = {one["properties"]["sku"] for one in during(told, "jacket-sold-out") if one["properties"]["quantity"] == 0}
    assert len(gone) == len([one for one in Shop(2, 100, 1).catalogue() if one.product_id == "st-0000"])


def test_a_till_purchase_meets_an_open_web_cart() -> None:
    story = [message for message in season() if message.get("userId") == "c-000001"]
    cart = next(message for message in story if message.get("event") == "Product Added")
    bought = next(message for message in story if message.get("event") == "Store Purchase")
    assert bought["source"] == "till" and cart["properties"]["cart_id"] == "cart-story-till"
    assert cart["timestamp"] < bought["timestamp"]
    assert not events(story, "Order Completed")


def test_an_app_release_sends_prices_in_cents() -> None:
    def median(messages: Sequence[Message]) -> float:
        prices = sorted(message["properties"]["price"] for message in messages)
        return float(prices[len(prices) // 2])

    viewed = [message for message in events(season(), "Product Viewed") if message["source"] == "app"]
    broken = [message for message in viewed if message["context"]["app"]["version"] == "5.3.0"]
    sound = [message for message in viewed if message["context"]["app"]["version"] != "5.3.0"]
    assert len(broken) > 10
    assert 50 < median(broken) / median(sound) < 200
    first, last = planted("prices-in-cents")
    assert all(first <= datetime.fromisoformat(message["sentAt"]) <= last + timedelta(days=1) for message in broken)


def test_three_people_share_a_tablet() -> None:
    people = {message["userId"] for message in season() if message.get("anonymousId") == "an-tablet"}
    assert len(people) == 3


def test_waves_of_opt_outs_delays_and_returns() -> None:
    withdrawn = [
        message for message in events(season(), "Consent Withdrawn") if message["properties"]["channel"] == "sms"
    ]
    assert len(during(withdrawn, "sms-opt-outs")) == len(withdrawn) > 20
    delayed = events(season(), "Order Delayed")
    carrier = [message for message in delayed if message["properties"]["reason"] == "carrier"]
    first, last = planted("carrier-delay")
    assert carrier and all(first <= datetime.fromisoformat(one["timestamp"]) < last for one in carrier)
    days = Counter(message["timestamp"][:10] for message in events(season(), "Return Requested"))
    assert sum(days[f"2025-12-{day}"] for day in (27, 28, 29)) / 3 > 3 * sum(days.values()) / 90


def test_black_week_buyers_return_more_and_repeat_less() -> None:
    told = play(Shop(2, 3000, 90, Rates(order=0.1, checkout=0.15, cart=0.2, returns=0.2, repeat_black_week=0.1)))
    orders = {one["properties"]["order_id"]: one for one in events(told, "Order Completed")}
    asked = {one["properties"]["order_id"] for one in events(told, "Return Requested")}
    week = {key for key, one in orders.items() if "2025-11-24" <= one["timestamp"][:10] <= "2025-12-01"}
    before = {key for key, one in orders.items() if one["timestamp"][:10] < "2025-11-24"}
    assert len(week & asked) / len(week) > 1.25 * len(before & asked) / len(before)
    steady = play(Shop(2, 3000, 90, Rates(order=0.1, checkout=0.15, cart=0.2, returns=0.2, repeat_black_week=1.0)))
    after = [sum(one["timestamp"] > "2025-12-02" for one in events(run, "Order Completed")) for run in (told, steady)]
    assert after[0] < after[1]


def test_incidents_keep_their_order_in_a_shorter_run() -> None:
    assert [incident.name for incident in incidents(90)] == [
        "store-purchase-with-open-cart", "prices-in-cents", "shared-tablet", "sms-opt-outs", "black-week",
        "jacket-shopper", "jacket-sold-out", "carrier-delay", "returns-wave",
    ]  # fmt: skip
    short = play(Shop(2, 300, 14))
    assert [message for message in short if message.get("userId") == "c-000000"][-1]["event"] == "Checkout Exited"
    assert events(short, "Store Purchase") and any(message.get("anonymousId") == "an-tablet" for message in short)


# ---- the wire


def test_every_message_is_one_the_collector_accepts() -> None:
    shop = Shop(3, 300, 90)
    messages = [*shop.history().messages, *play(shop, letters(discount=0.1))]
    for message in messages:
        received_at = datetime.fromisoformat(message["receivedAt"])
        parsed = parse(
            message, source=message["source"], received_at=received_at, keyed=lambda kind, value: f"{kind}:{value}"
        )
        assert parsed.event.name and parsed.subject


def test_messages_arrive_in_order_within_their_hour_and_once_a_name() -> None:
    shop = Shop(3, 600, 30)
    now, seen = shop.start, defaultdict(list)
    handed: list[Handed] = []
    while now < shop.end:
        told = shop.hour(now, handed)
        arrivals = [datetime.fromisoformat(message["receivedAt"]) for message in told.messages]
        assert arrivals == sorted(arrivals)
        assert all(now <= at < now + timedelta(hours=1) for at in arrivals)
        for message in told.messages:
            fixed = {name: value for name, value in message.items() if name not in ("sentAt", "receivedAt")}
            seen[message["source"], message["messageId"]].append(json.dumps(fixed, sort_keys=True))
        now += timedelta(hours=1)
        handed = letters()(now, told.messages)
    # Whoever tells twice tells the same.
    assert all(len(set(tellings)) == 1 for tellings in seen.values())
    assert any(len(tellings) == 2 for tellings in seen.values())


def test_history_is_told_long_after_it_happened() -> None:
    shop = Shop(3, 200, 10)
    told = shop.history().messages
    assert all(datetime.fromisoformat(message["timestamp"]) < START for message in told)
    assert all(datetime.fromisoformat(message["sentAt"]) == START for message in told)
    assert {message["userId"] for message in told if message["type"] == "identify"} == {
        f"c-{who:06d}" for who in range(200)
    }
    assert shop.history() == shop.history()


# ---- what is refused


def test_hours_are_asked_in_order() -> None:
    shop = Shop(1, 50, 2)
    shop.hour(shop.start)
    with pytest.raises(Broken, match="ask for the hours in order"):
        shop.hour(shop.start)
    with pytest.raises(Broken, match="2025-10-01 01:00"):
        shop.hour(shop.start + timedelta(hours=5))


def test_a_message_to_somebody_unknown_is_refused() -> None:
    shop = Shop(1, 50, 2)
    stranger = Handed(
        decision_id="d1", identifiers={"user_id": "c-999999"}, channel="email", journey="cart", at=shop.start
    )
    with pytest.raises(Broken, match="whom the shop does not know"):
        shop.hour(shop.start, [stranger])


@pytest.mark.parametrize("customers, days", [(5, 10), (100, 0)])
def test_a_shop_too_small_for_its_stories_is_refused(customers: int, days: int) -> None:
    with pytest.raises(ValueError, match="at least 20 customers and 1 day"):
        Shop(1, customers, days)
