"""Gates answer "why not, and until when?": each by the instant or the topic that lifts it, and no later."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.shop import ANN, MARKETING, NOON, OPEN, Shop, happened, person, product, written

from wayline.domain import (
    Action,
    Cap,
    Claim,
    Contact,
    Customer,
    Memory,
    Playbook,
    Policy,
    Product,
    QuietHours,
    Receipt,
    Refusal,
    Register,
    Standing,
    World,
)
from wayline.governance.consent import GUARDS, next_local
from wayline.interpretation.moment import Moment
from wayline.observation.catalog import Shelf
from wayline.orchestration.gates import GATES

MAIL = Action("a", channel="email", content="hello", journey="news")


class Nobody:
    """No address is known."""

    def get(self, channel: str, key: str) -> None:
        return None


def moment(
    policy: Policy,
    *,
    now: datetime = NOON,
    contacts: tuple[Contact, ...] = (),
    traits: dict[str, str] | None = None,
    products: tuple[Product, ...] = (),
    allotments: dict[str, int] | None = None,
    customer_id: str = "k-1",
) -> Moment:
    stamp = (now, "web", "e1")
    memory = Memory(traits={name: Register(stamp, value) for name, value in (traits or {}).items()})
    world = World(now, Shelf(products), Nobody(), allotments or {})
    customer = Customer(customer_id, memory, Standing(contacts=contacts))
    return Moment(customer, Playbook(version="v", policy=policy), world)


def contact(at: datetime, **more: Any) -> Contact:
    fields: dict[str, Any] = {
        "decision_id": f"d-{at.isoformat()}", "channel": "email", "purpose": "marketing", "lane": "marketing",
        "journey": "news", "content": "other", "state": "settled",
    }  # fmt: skip
    return Contact(at=at, **{**fields, **more})


# ------------------------------------------------------------------ caps


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 10_000), max_size=8),
    st.integers(1, 3),
    st.integers(1, 5_000),
)
def test_a_cap_frees_at_its_until_and_not_a_moment_before(ago: list[int], most: int, width: int) -> None:
    cap = Cap("c", most, timedelta(minutes=width))
    contacts = tuple(contact(NOON - timedelta(minutes=minutes)) for minutes in ago)
    policy = Policy(caps=(cap,))
    refusal = GATES["caps"](MAIL, moment(policy, contacts=contacts))
    inside = sum(minutes < width for minutes in ago)
    assert (refusal is not None) == (inside >= most)
    if refusal is None:
        return
    assert refusal.until is not None and refusal.until > NOON
    at_last = moment(policy, now=refusal.until, contacts=contacts)
    just_before = moment(policy, now=refusal.until - timedelta(microseconds=1), contacts=contacts)
    assert GATES["caps"](MAIL, at_last) is None
    assert GATES["caps"](MAIL, just_before) is not None


def test_of_several_caps_the_one_that_frees_last_says_until_when() -> None:
    policy = Policy(caps=(Cap("day", 1, timedelta(days=1)), Cap("week", 2, timedelta(days=7))))
    contacts = (contact(NOON - timedelta(days=3)), contact(NOON - timedelta(hours=2)))
    refusal = GATES["caps"](MAIL, moment(policy, contacts=contacts))
    assert refusal is not None and "cap week" in refusal.reason
    assert refusal.until == NOON + timedelta(days=4)


def test_a_cap_of_none_never_frees() -> None:
    refusal = GATES["caps"](MAIL, moment(Policy(caps=(Cap("never", 0, timedelta(days=1)),))))
    assert refusal is not None and refusal.until is None


@pytest.mark.parametrize(
    "said, counts",
    [
        ({}, True), ({"state": "reserved"}, True), ({"state": "unknown"}, True), ({"channel": "sms"}, False),
        ({"purpose": "service"}, False), ({"lane": "owed"}, False), ({"lane": "onsite"}, False),
        ({"journey": "x"}, False),
    ],
)  # fmt: skip
def test_what_counts_against_a_cap(said: dict[str, Any], counts: bool) -> None:
    cap = Cap("c", 1, timedelta(days=1), channel="email", journey="news")
    found = GATES["caps"](MAIL, moment(Policy(caps=(cap,)), contacts=(contact(NOON - timedelta(hours=1), **said),)))
    assert (found is not None) == counts


def test_what_is_owed_or_on_a_page_is_under_no_cap() -> None:
    policy = Policy(caps=(Cap("c", 0, timedelta(days=1), purpose=""),))
    assert GATES["caps"](replace(MAIL, lane="owed", purpose="transactional"), moment(policy)) is None
    assert GATES["caps"](replace(MAIL, lane="onsite"), moment(policy)) is None


# ------------------------------------------------------------------ quiet hours, over every change of the clocks

ZONES = (
    "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu",
    "Africa/Casablanca", "Pacific/Apia", "America/Havana", "Asia/Tehran", "Pacific/Chatham", "Europe/Dublin", "UTC",
)  # fmt: skip
instants = st.datetimes(datetime(2010, 1, 1), datetime(2030, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))
clocks = st.integers(0, 47).map(lambda half: time(half // 2, 30 * (half % 2)))


def near_a_change(zone: str, hint: datetime) -> datetime:
    """The clock change of that zone next to an instant, if there is one within a year."""
    where = ZoneInfo(zone)
    for days in range(366):
        day = hint + timedelta(days=days)
        if day.astimezone(where).utcoffset() != (day + timedelta(days=1)).astimezone(where).utcoffset():
            return day + timedelta(days=1)
    return hint


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ZONES), instants, st.integers(-1800, 1800), clocks, clocks)
def test_quiet_hours_are_over_when_they_say_so_in_every_zone(
    zone: str, hint: datetime, minutes: int, starts: time, ends: time
) -> None:
    now = near_a_change(zone, hint) + timedelta(minutes=minutes)
    policy = Policy(quiet_hours=(QuietHours(starts, ends),), spread=timedelta(0))
    where = ZoneInfo(zone)

    def asked(at: datetime) -> Refusal | None:
        return GATES["quiet_hours"](MAIL, moment(policy, now=at, traits={"timezone": zone}))

    def is_quiet(at: datetime) -> bool:
        local = at.astimezone(where).time()
        return starts <= local < ends if starts <= ends else (local >= starts or local < ends)

    refusal = asked(now)
    assert (refusal is not None) == is_quiet(now)
    if refusal is None:
        return
    until = refusal.until
    assert until is not None and now < until <= now + timedelta(hours=25, minutes=30)
    assert asked(until) is None, "over when it says so"
    # Never a day late either: whoever looks every minute from now finds no earlier end.
    minute = timedelta(minutes=1)
    earlier = now.replace(second=0, microsecond=0) + minute
    while earlier < until and is_quiet(earlier):
        earlier += minute
    assert earlier >= until - minute


def test_the_second_half_past_two_is_the_end_of_quiet_once_the_first_is_over() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)  # 02:30 in summer
    second = first + timedelta(hours=1)
    assert next_local(first - timedelta(hours=3), berlin, time(2, 30)) == first
    assert next_local(first + timedelta(minutes=40), berlin, time(2, 30)) == second
    assert next_local(second, berlin, time(2, 30)) == datetime(2025, 10, 27, 1, 30, tzinfo=UTC)


def test_a_local_time_that_does_not_exist_is_read_with_the_offset_before_the_gap() -> None:
    new_york = ZoneInfo("America/New_York")
    assert next_local(datetime(2007, 3, 11, 6, tzinfo=UTC), new_york, time(2, 30)) == datetime(
        2007, 3, 11, 7, 30, tzinfo=UTC
    )


def test_a_zone_nobody_knows_reads_as_utc_and_stops_nobody() -> None:
    policy = Policy(quiet_hours=(QuietHours(time(9), time(11)),), zone="Europe/Berlin")
    refusal = GATES["quiet_hours"](MAIL, moment(policy, traits={"timezone": "Middle-earth/Shire"}))
    assert refusal is not None and "10:00 in UTC" in refusal.fact


def test_texts_are_lawful_between_eight_and_nine_in_the_evening_where_the_person_is() -> None:
    text = replace(MAIL, channel="sms")
    for zone, allowed in (
        ("Europe/Berlin", True),
        ("America/Los_Angeles", False),
        ("Asia/Tokyo", True),
        ("Pacific/Auckland", False),
    ):
        refusal = GUARDS["text_hours"](text, moment(Policy(), traits={"timezone": zone}))
        assert (refusal is None) == allowed, zone
        if refusal is not None:
            assert refusal.until is not None
            assert refusal.until.astimezone(ZoneInfo(zone)).time() == time(8)


# ------------------------------------------------------------------ stock and price


def test_stock_is_known_fresh_and_there_or_the_topic_says_what_would_lift_it() -> None:
    claim = replace(MAIL, claims=(Claim("in_stock", "jacket"),))

    def asked(*shelf: Product, **policy: Any) -> Refusal | None:
        return GATES["claims"](claim, moment(Policy(**policy), products=shelf))

    fresh = replace(product("jacket", 100), stock_as_of=NOON - timedelta(hours=23))
    assert asked(fresh) is None
    for shelf, word in (
        ((), "never told"),
        ((replace(fresh, available=None),), "never told"),
        ((replace(fresh, available=0),), "sold out"),
        ((replace(fresh, available=-2),), "sold out"),
        ((replace(fresh, stock_as_of=NOON - timedelta(hours=25)),), "too long ago"),
    ):
        refusal = asked(*shelf)
        assert refusal is not None and word in refusal.fact
        assert (refusal.topic, refusal.until) == ("stock:jacket", None)
    # A shop that counts nothing may say that what is unknown is there; what is known to be gone is gone.
    assert asked(stock_unknown_is="in_stock") is None
    assert asked(replace(fresh, stock_as_of=NOON - timedelta(hours=25)), stock_unknown_is="in_stock") is None
    assert asked(replace(fresh, available=0), stock_unknown_is="in_stock") is not None


def test_a_store_promises_what_that_store_has_and_nothing_else_helps() -> None:
    claim = replace(MAIL, shows=("jacket",), claims=(Claim("in_stock_at", "kiel"),))

    def asked(action: Action = claim, /, **locations: tuple[int, datetime]) -> Refusal | None:
        shelf = replace(product("jacket", 100), available=9, stock_as_of=NOON, locations=locations)
        return GATES["claims"](action, moment(Policy(), products=(shelf,)))

    lately = NOON - timedelta(hours=23)
    assert asked(kiel=(1, lately)) is None
    for told, word in (
        ({}, "never told"),
        ({"berlin": (5, NOON)}, "never told"),
        ({"kiel": (0, NOON), "berlin": (5, NOON)}, "sold out"),
        ({"kiel": (2, NOON - timedelta(hours=25)), "berlin": (5, NOON)}, "too long ago"),
    ):
        refusal = asked(**told)
        assert refusal is not None and word in refusal.fact and "store kiel" in refusal.reason
        assert refusal.topic == "stock:jacket@kiel"
    nothing_shown = replace(claim, shows=())
    assert asked(nothing_shown, kiel=(1, lately)) is not None, "a promise about nothing is no promise"
    nowhere = replace(claim, claims=(Claim("in_stock_at", ""),))
    assert asked(nowhere, kiel=(1, lately)) is not None
    # That the web shop has it is another claim.
    online = replace(claim, claims=(Claim("in_stock", "jacket"),))
    in_kiel = Product("jacket", locations={"kiel": (5, NOON)})
    assert GATES["claims"](online, moment(Policy(), products=(in_kiel,))) is not None


@pytest.mark.parametrize(
    "price, age, word",
    [(16900, 1, ""), (17000, 1, "it is 17000"), (16900, 25, "too long ago"), (None, 1, "never told")],
)
def test_a_price_is_what_was_said_or_the_topic_lifts_it(price: int | None, age: int, word: str) -> None:
    claim = replace(MAIL, claims=(Claim("price_is", "jacket@16900"),))
    shelf = (replace(product("jacket", 1), price=price, price_as_of=NOON - timedelta(hours=age)),)
    refusal = GATES["claims"](claim, moment(Policy(), products=shelf))
    assert (refusal is None) == (not word)
    if refusal is not None:
        assert word in refusal.fact and refusal.topic == "price:jacket"


def test_two_prices_of_one_product_are_not_both_promised() -> None:
    said = contact(NOON - timedelta(hours=30), claims=("price_is:jacket@17900",))
    shelf = (replace(product("jacket", 16900), price_as_of=NOON),)
    claim = replace(MAIL, claims=(Claim("price_is", "jacket@16900"),))
    refusal = GATES["claims"](claim, moment(Policy(), products=shelf, contacts=(said,)))
    assert refusal is not None and refusal.reason == "it would contradict an earlier message"
    assert refusal.until == said.at + timedelta(hours=48)
    later = moment(Policy(price_fresh=timedelta(days=9)), now=refusal.until, products=shelf, contacts=(said,))
    assert GATES["claims"](claim, later) is None
    other = replace(MAIL, claims=(Claim("price_is", "parka@16900"),))
    parka = (replace(product("parka", 16900), price_as_of=NOON),)
    assert GATES["claims"](other, moment(Policy(), products=parka, contacts=(said,))) is None


# ------------------------------------------------------------------ slot, repeat, budget


@pytest.mark.parametrize("gate, width", [("slot", timedelta(hours=1)), ("repeat", timedelta(days=14))])
def test_slot_and_repeat_free_at_their_until(gate: str, width: timedelta) -> None:
    said = contact(NOON - timedelta(minutes=20), content="hello")
    refusal = GATES[gate](MAIL, moment(Policy(), contacts=(said,)))
    assert refusal is not None and refusal.until == said.at + width
    assert GATES[gate](MAIL, moment(Policy(), now=refusal.until, contacts=(said,))) is None
    owed = replace(MAIL, lane="owed", purpose="service")
    assert GATES[gate](owed, moment(Policy(), contacts=(said,))) is None


@pytest.mark.parametrize("left, allowed", [({"coupons": 2}, True), ({"coupons": 1}, False), ({}, False)])
def test_a_budget_must_have_enough_left(left: dict[str, int], allowed: bool) -> None:
    refusal = GATES["budget"](replace(MAIL, spends={"coupons": 2}), moment(Policy(), allotments=left))
    assert (refusal is None) == allowed


COUPON = MARKETING + (
    "enters_on: Newsletter Due\nsteps:\n"
    "  send: {propose: [{action: a, kind: offer, channel: email, content: coupon, spends: {coupons: 1}}], "
    "patience: 3 days, then: end, otherwise: end}\n"
)


def coupons(most: int) -> Shop:
    return Shop(written({"coupon": COUPON}, policy=OPEN + f"budgets: {{coupons: {most}}}\n", coupon="email"))


def test_the_last_coupon_of_the_day_goes_to_somebody_and_the_next_one_tomorrow() -> None:
    shop = coupons(2)
    people = [ANN, person("ben"), person("cem")]
    for who in people:
        shop.consent(who)
    shop.tell(*(happened("Newsletter Due", who) for who in people))
    assert len(shop.sent()) == 2
    assert shop.store.state.spent() == {"coupons@2025-10-07": 2}
    shop.restart()
    shop.after(hours=11)
    assert len(shop.sent()) == 2, "what was spent is known after a restart"
    shop.after(hours=24)
    assert len(shop.sent()) == 3
    assert shop.store.state.spent()["coupons@2025-10-08"] == 1


def test_a_coupon_that_never_left_is_given_back_to_its_day() -> None:

    shop = coupons(1)
    ben = person("ben")
    for who in (ANN, ben):
        shop.consent(who)
    shop.answers["email"] = Receipt("refused", NOON, "550 no")
    shop.tell(happened("Newsletter Due", ANN))
    assert shop.store.state.spent() == {"coupons@2025-10-07": 0}
    shop.answers.clear()
    shop.tell(happened("Newsletter Due", ben))
    assert [row.state for row in shop.deliveries()].count("sent") == 1
    assert shop.engine.allotments == {"coupons": 0}


def test_a_coupon_of_yesterday_is_not_given_back_to_today() -> None:

    shop = coupons(1)
    shop.consent()
    shop.answers["email"] = Receipt("refused", NOON, "busy", retry_at=NOON + timedelta(hours=14))  # past midnight
    shop.tell(happened("Newsletter Due"))
    shop.answers["email"] = Receipt("refused", NOON + timedelta(hours=14), "550 no")
    shop.after(hours=15)
    assert [row.state for row in shop.deliveries()] == ["refused"]
    assert shop.store.state.spent() == {"coupons@2025-10-07": 1}
    assert shop.engine.allotments == {"coupons": 1}
