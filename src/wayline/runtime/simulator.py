"""The simulated shop: a season of an outdoor-apparel brand, hour by hour, on a virtual clock.

Ask for an hour and hand in what was handed over or withheld since; out come the messages its web shop, app, tills, mail
provider and service desk send in that hour. The same seed and the same reactions give the same bytes. Everybody's luck
is their own: a message to one person changes nothing for another. What messages truly did is booked in `shop_twins`;
what people do unaided is drawn in `shop_world`; every rate is in `shop_rates`; the shape of messages is in `shop_wire`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from msgspec import Struct

from wayline.domain import Product
from wayline.errors import Broken
from wayline.runtime.shop_rates import (
    DAY,
    HOUR,
    SHOP_ZONE,
    START,
    Incident,
    Rates,
    draws,
    incidents,
    is_black_week,
    occasion,
)
from wayline.runtime.shop_stories import FAMILY, tell_stories
from wayline.runtime.shop_twins import Abandoned, Answer, Handed, Line, Sale, Shopper, Truth, Twins, Worry
from wayline.runtime.shop_wire import (
    Post,
    Session,
    Shelf,
    follow_order,
    order_properties,
    return_share,
    send_ticket,
)
from wayline.runtime.shop_world import (
    CARE,
    SCRIPTED,
    email_of,
    opening_stock,
    place_of,
    plan_visits,
    shoppers,
    styles,
    traits_of,
)

__all__ = ["CUSTOMERS_MIN", "Hour", "Shop"]

CUSTOMERS_MIN = 20  # fewer cannot act the planted stories among ordinary shoppers


class Hour(Struct, frozen=True):
    """What arrived at the collector in one hour."""

    starts_at: datetime
    messages: list[dict[str, Any]]
    """In order of arrival: tracking messages, each with its `source` and the instant it was received."""
    occasion: str = ""
    """What the day is known for, or nothing."""


class Shop:
    """The shop and its season; `hour` must be asked hour by hour from `start` to `end`."""

    def __init__(self, seed: int, customers: int, days: int, rates: Rates | None = None) -> None:
        if customers < CUSTOMERS_MIN or days < 1:
            raise ValueError(
                f"Shop(customers={customers}, days={days}): at least {CUSTOMERS_MIN} customers and 1 day are needed; "
                "raise them"
            )
        self.rates = rates = rates or Rates()
        self.seed = seed
        self.start, self.end = START, START + timedelta(days=days)
        self.incidents: tuple[Incident, ...] = incidents(days)
        self.orders = self.margin = 0
        self._planted = {incident.name: incident for incident in self.incidents}
        self._end = days * DAY
        anonymous = max(1, round(rates.anonymous * customers * days / 90))
        self._goods = styles(seed, rates)
        self._people = shoppers(seed, rates, customers, anonymous)
        self._plan = plan_visits(seed, rates, self._people, self._goods, days)
        self._post = Post(rates, days * 24)
        self._shelf = Shelf(self._goods, opening_stock(seed, self._goods, self._plan), self._planted, self._post)
        self._twins = Twins(seed, rates, self._end)
        self._states: dict[int, Shopper] = {}
        self._due: list[list[tuple[int, int, Callable[[int], None]]]] = [[] for _ in range(days * 24)]
        self._due_count = self._next = 0
        self._sku_of = {sku: index for index, sku in enumerate(self._goods.skus)}
        self._mailboxes = {email_of(self._people, who): who for who in range(len(self._people))}
        self._plan_tills(customers, days)
        tell_stories(seed, self._people, self._shelf, self._post, self._planted)

    # ------------------------------------------------------------------ what is asked of it

    def catalogue(self) -> list[Product]:
        """The shelf as it is now, every size-colour with price, cost and stock."""
        goods, shelf = self._goods, self._shelf
        as_of = self.start + timedelta(hours=self._next)
        return [
            Product(
                sku=sku, product_id=f"st-{goods.style_of[index]:04d}", name=goods.names[index],
                category=goods.categories[index], price=shelf.prices[index],
                cost=round(goods.prices[index] * self.rates.cost), available=shelf.stock[index],
                stock_as_of=as_of, price_as_of=as_of, url=f"https://shop.example/p/{sku}",
                attributes={"variant": goods.variants[index]},
            )
            for index, sku in enumerate(goods.skus)
        ]  # fmt: skip

    def history(self) -> Hour:
        """What the shop knew before the season: its customers, their consents and last orders, told in one import."""
        messages: list[dict[str, Any]] = []
        for who in range(self._people.known):
            luck = draws(self.seed, "past", who)
            joined = -int((30 + 700 * luck[0]) * DAY)
            session = Session("shop", f"past-{who}", joined, self._ids(self._shopper(who), ""), {})
            session.identify({**traits_of(self._people, who), "createdAt": self._post.iso(joined)})
            self._grant(session, who, "register")
            for sale in self._past_orders(who):
                session.second = sale.at
                told = order_properties(self._shelf, sale.order_id, "", sale.lines, 0.0)
                session.track("Order Completed", told, after=0)
            messages += self._post.past(session, 0)
        return Hour(self.start, messages)

    def hour(self, now: datetime, reactions: Sequence[Handed] = ()) -> Hour:
        """Play the hour that starts at `now`, given what was handed over or withheld since the last one."""
        hour = self._next
        expected = self.start + timedelta(hours=hour)
        if now != expected or now >= self.end:
            raise Broken(f"hour({now}): the shop is at {expected} and closes at {self.end}; ask for the hours in order")
        for handed in sorted(reactions, key=lambda handed: (handed.at, handed.decision_id)):
            self._react(handed, hour * HOUR)
        self._shelf.open_hour(hour)
        self._next = hour + 1
        for second, _, act in sorted(self._due[hour], key=lambda due: due[:2]):
            act(max(second, hour * HOUR))
        self._due[hour].clear()
        for visit in self._plan.rows(hour):
            self._visit(*visit)
        return Hour(now, self._post.collect(hour), occasion(now.astimezone(SHOP_ZONE).date()))

    def truth(self) -> dict[str, Truth]:
        """What each journey's messages truly did so far; known only because the shop is simulated."""
        return self._twins.truth()

    # ------------------------------------------------------------------ people

    def _shopper(self, who: int) -> Shopper:
        shopper = self._states.get(who)
        if shopper is None:
            shopper = self._states[who] = Shopper(who)
            if who < self._people.known:
                shopper.user_id, shopper.email_known = f"c-{who:06d}", True
                for sale in self._past_orders(who):
                    self._remember(shopper, sale)
        return shopper

    def _past_orders(self, who: int) -> list[Sale]:
        luck = draws(self.seed, "past", who)
        if luck[1] > 0.75 or who < SCRIPTED:
            return []
        sku = int(luck[2] * len(self._goods.skus))
        second = -int(-math.log(1.0 - luck[3] * 0.98) * 150 * DAY) - DAY
        return [Sale(f"p{who}", (Line(sku, self._goods.prices[sku]),), second, 0.0, luck)]

    def _ids(self, shopper: Shopper, device: str) -> dict[str, str]:
        ids = {"userId": shopper.user_id} if shopper.user_id else {}
        if device or not ids:
            ids["anonymousId"] = f"an-{shopper.who:06d}{device or 'm'}"
        return ids

    def _talks(self, shopper: Shopper) -> tuple[dict[str, str], dict[str, Any]]:
        # How the shop's own systems name a person: by account, else by the browser, and by the mailbox.
        return self._ids(shopper, ""), {"traits": {"email": email_of(self._people, shopper.who)}}

    def _grant(self, session: Session, who: int, method: str) -> None:
        for channel, is_granted in zip(("email", "sms", "push"), self._people.consents[who], strict=True):
            if is_granted:
                session.track("Consent Granted", {
                    "channel": channel, "purpose": "marketing", "method": method, "wording_version": "2025-09",
                    "proof_id": f"{session.ref}-{channel}", "double_opt_in": channel == "email",
                }, after=1)  # fmt: skip

    def _sign_up(self, shopper: Shopper, second: int, device: str, *, has_account: bool) -> None:
        # The server tells who signed up: a browser's word for it would prove nothing.
        if has_account:
            shopper.user_id = f"c-{shopper.who:06d}"
        if not shopper.email_known:
            shopper.known_at = second
        ref = f"signup-{shopper.who}-{int(has_account)}-{second}"
        session = Session("shop", ref, second, self._ids(shopper, device), {})
        session.identify(traits_of(self._people, shopper.who))
        if not shopper.email_known:
            self._grant(session, shopper.who, "sign_up" if has_account else "checkout")
        shopper.email_known = True
        self._post.send(session)

    def _at(self, second: int, act: Callable[[int], None]) -> None:
        if second < self._end:
            self._due_count += 1
            self._due[max(second // HOUR, self._next)].append((second, self._due_count, act))

    # ------------------------------------------------------------------ visits of their own accord

    def _open(self, shopper: Shopper, ref: str, second: int, device: str, *, named: bool = True) -> Session:
        """A session in the browser (`m`, `d`, or `x` where nobody is logged in) or the app (`p`)."""
        is_app = device == "p"
        ids = self._ids(shopper, device) if named else {"anonymousId": f"an-{shopper.who:06d}{device}"}
        context = {
            "device": {"type": "desktop" if device in "dy" else "mobile"},
            "timezone": place_of(self._people, shopper.who)[2] if named else "Europe/Berlin",
            "library": {"name": "analytics-ios" if is_app else "analytics.js"},
        }
        session = Session("app" if is_app else "web", ref, second, ids, context)
        if is_app:
            broken = self._planted["prices-in-cents"]
            session.in_cents = broken.starts_at <= self.start + timedelta(seconds=second) < broken.ends_at
            context["app"] = {"version": "5.3.0" if session.in_cents else "5.2.1"}
        return session

    def _visit(self, index: int, at: int, who: int, *how: Any) -> None:
        recognised, is_mobile, is_app, depth, wants, luck = how
        shopper = self._shopper(who)
        named = recognised or (who >= self._people.known and bool(shopper.user_id))
        device = "p" if is_app else "m" if is_mobile else "d"
        if not named and who < self._people.known:
            device = "x" if is_mobile else "y"
        session = self._open(shopper, f"v{index}", at, device, named=named)
        lines = self._choose(wants, luck) if depth >= 2 else ()
        sale, discount = None, 0.0
        if depth >= 2 and not lines:
            self._miss(session, shopper, wants[0], named=named)
            depth = 1
        if depth == 4 and shopper.is_black_week_buyer and luck[0] > self.rates.repeat_black_week:
            depth = 1
        fails = depth == 4 and luck[1] < self.rates.payment_failure
        if depth == 4 and not fails:
            sale = self._sale(f"{index}", lines, at)
            taken = self._unaided(shopper, sale)
            depth, discount = (1, 0.0) if taken is None else (4, taken)
        self._browse(session, shopper, wants, looks=depth > 0, luck=luck)
        if depth >= 2:
            self._fill(session, lines, f"cart-{index}")
        if depth >= 3:
            self._check_out(session, shopper, lines, checkout_id=f"ch-{index}", luck=luck)
        if depth == 4 and sale and not fails:
            self._pay(session, shopper, sale, f"ch-{index}", discount)
        elif depth >= 2:
            kind = "payment" if fails else "checkout" if depth == 3 else "cart"
            self._leave(session, shopper, Abandoned(kind, f"cart-{index}", f"ch-{index}", lines, 0, luck[2], 0.0), luck)
        if not named and who >= self._people.known and luck[3] < self.rates.sign_up:
            self._sign_up(shopper, session.second + 5, device, has_account=True)
        self._post.send(session, luck[4])

    def _choose(self, wants: Sequence[int], luck: Sequence[float]) -> tuple[Line, ...]:
        count = 1 if luck[5] < 0.62 else 2 if luck[5] < 0.88 else 3
        shelf = self._shelf
        return tuple(Line(sku, shelf.prices[sku]) for sku in dict.fromkeys(wants) if shelf.stock[sku] > 0)[:count]

    def _miss(self, session: Session, shopper: Shopper, sku: int, *, named: bool) -> None:
        if named:
            shopper.waiting_for.append(sku)
            shown = self._shelf.shown(sku)
            session.track("Back In Stock Requested", {"product_id": shown["product_id"], "sku": shown["sku"]})

    def _browse(
        self, session: Session, shopper: Shopper, wants: Sequence[int], *, looks: bool, luck: Sequence[float]
    ) -> None:
        session.page("Home" if luck[6] < 0.6 else "Category", "/" if luck[6] < 0.6 else "/c")
        if luck[7] < 0.08:
            session.track("Promotion Viewed", {"promotion_id": "season", "name": "Winter is near"})
        if not looks:
            return
        shopper.viewed_at = session.second
        shelf = self._shelf
        if luck[8] < 0.12:
            session.track("Products Searched", {"query": shelf.goods.names[wants[0]].split()[-1].lower()})
        elif luck[8] < 0.65:
            listed = [{"product_id": shelf.shown(sku)["product_id"], "sku": shelf.goods.skus[sku]} for sku in wants[:3]]
            category = shelf.goods.categories[wants[0]]
            session.track("Product List Viewed", {"list_id": category, "category": category, "products": listed})
        gap = 15 + int(luck[9] * 60)
        for place, sku in enumerate(wants):
            if place == 0 or luck[13] < 0.03 * place:
                session.track("Product Clicked", shelf.shown(sku), after=gap)
            session.track("Product Viewed", shelf.shown(sku), after=gap)
        if luck[10] < 0.03:
            session.track("Product Added to Wishlist", shelf.shown(wants[-1]))

    def _fill(self, session: Session, lines: Sequence[Line], cart_id: str) -> None:
        for line in lines:
            added = self._shelf.shown(line.sku, line.price, line.quantity)
            session.track("Product Added", {"cart_id": cart_id, **added})
        session.track("Cart Viewed", {"cart_id": cart_id, "products": self._shelf.products(lines)})

    def _check_out(
        self, session: Session, shopper: Shopper, lines: Sequence[Line], *, checkout_id: str, luck: Sequence[float]
    ) -> None:
        told = order_properties(self._shelf, f"o-{checkout_id[3:]}", checkout_id, lines, 0.0)
        session.track("Checkout Started", told, after=20)
        session.track("Checkout Step Viewed", {"checkout_id": checkout_id, "step": 1}, after=2)
        if "userId" not in session.ids:
            self._sign_up(shopper, session.second + 20, session.ids["anonymousId"][-1], has_account=False)
        session.track("Checkout Step Completed", {"checkout_id": checkout_id, "step": 1}, after=40)
        session.track("Checkout Step Viewed", {"checkout_id": checkout_id, "step": 2}, after=1)
        if luck[11] < 0.1:
            session.track("Help Viewed", {"topic": "shipping" if luck[11] < 0.06 else "returns"}, after=15)

    def _leave(self, session: Session, shopper: Shopper, left: Abandoned, luck: Sequence[float]) -> None:
        rates, at_step = self.rates, {"checkout_id": left.checkout_id, "step": 2}
        if left.kind == "payment":
            failed = {"order_id": f"o-{left.checkout_id[3:]}", "checkout_id": left.checkout_id}
            session.track("Payment Failed", {**failed, "reason": "card_declined", "retryable": True}, after=50)
        elif left.kind == "checkout":
            if luck[12] < 0.4:
                session.track("Checkout Lingered", {**at_step, "seconds": 90}, after=90)
            session.track("Checkout Exited", at_step, after=30)
        elif luck[12] < rates.emptied:
            session.track("Cart Emptied", {"cart_id": left.cart_id}, after=40)
            return
        left.at = session.second
        shares = {"payment": rates.unaided_payment, "checkout": rates.unaided_checkout, "cart": rates.unaided_cart}
        left.share = shares[left.kind]
        shopper.abandoned = left
        if left.luck < left.share:
            delay = 600 + int(-math.log(1.0 - luck[13]) * 14 * HOUR)
            in_store = luck[0] < rates.unaided_in_store
            self._at(left.at + min(delay, 5 * DAY), partial(self._come_back, shopper, left, in_store))

    # ------------------------------------------------------------------ orders

    def _sale(self, order_id: str, lines: tuple[Line, ...], at: int) -> Sale:
        luck = draws(self.seed, "order", order_id)
        day = (self.start + timedelta(seconds=at)).date()
        return Sale(f"o-{order_id}", lines, at, return_share(self.rates, day), luck)

    def _unaided(self, shopper: Shopper, sale: Sale, of: str = "") -> float | None:
        # Shelf and habits follow the unaided world whether or not a message prevents the order in this one.
        self._shelf.take(sale.lines, sale.at)
        if is_black_week((self.start + timedelta(seconds=sale.at)).date()):
            shopper.is_black_week_buyer = True
        return self._twins.unaided(shopper, sale, of)

    def _remember(self, shopper: Shopper, sale: Sale) -> None:
        shopper.ordered_at = sale.at
        if any(self._goods.categories[line.sku] == CARE for line in sale.lines):
            shopper.care_at = sale.at

    def _placed(self, shopper: Shopper, sale: Sale, discount: float) -> None:
        self.orders += 1
        self.margin += sale.margin(self.rates, discount)
        self._remember(shopper, sale)

    def _pay(self, session: Session, shopper: Shopper, sale: Sale, checkout_id: str, discount: float) -> None:
        self._placed(shopper, sale, discount)
        checkout = {"checkout_id": checkout_id}
        session.track("Checkout Step Completed", {**checkout, "step": 2, "shipping_method": "parcel"}, after=30)
        session.track("Checkout Step Viewed", {**checkout, "step": 3}, after=1)
        session.track(
            "Payment Info Entered", {**checkout, "order_id": sale.order_id, "payment_method": "card"}, after=25
        )
        told = order_properties(self._shelf, sale.order_id, checkout_id, sale.lines, discount)
        session.track("Order Completed", told, after=12)
        talks, carrier = self._talks(shopper), self._planted["carrier-delay"]
        if sale.luck[13] < self.rates.reported_twice:
            server = Session("shop", f"{sale.order_id}-s", session.second + 3, *talks)
            server.track("Order Completed", dict(told), after=0)
            self._post.send(server)
        if shopper.user_id:
            points = Session("shop", f"{sale.order_id}-p", session.second + 60, *talks)
            earned = int(told["revenue"])
            shopper.points += earned
            points.track("Reward Earned", {"points": earned, "balance": shopper.points, "order_id": sale.order_id})
            self._post.send(points)
        worry = follow_order(self._post, self._shelf, sale, talks, rates=self.rates, carrier=carrier, discount=discount)
        shopper.worries = [*shopper.worries[-3:], worry]
        self._at(worry.at, partial(self._worry, shopper, worry))

    def _worry(self, shopper: Shopper, worry: Worry, second: int) -> None:
        if worry.luck < worry.share:
            send_ticket(self._post, worry.order_id, self._talks(shopper), "where_is_it", second)

    def _in_stock(self, lines: Sequence[Line]) -> tuple[Line, ...]:
        return tuple(line for line in lines if self._shelf.stock[line.sku] > 0)

    def _come_back(self, shopper: Shopper, left: Abandoned, in_store: bool, second: int) -> None:
        lines = self._in_stock(left.lines)
        if not lines:
            return
        sale = self._sale(f"{left.cart_id[5:]}r", lines, second)
        discount = self._unaided(shopper, sale, left.cart_id)
        if discount is None:
            return
        left.is_open = False
        if in_store and shopper.user_id:
            self._ring_up(shopper, sale, discount)
            return
        session = self._open(shopper, f"b{left.cart_id[5:]}", second, "m" if sale.luck[12] < 0.6 else "d")
        session.page("Cart", "/cart")
        self._finish(session, shopper, sale, left.cart_id, discount)

    def _finish(self, session: Session, shopper: Shopper, sale: Sale, cart_id: str, discount: float) -> None:
        checkout_id = f"ch-{sale.order_id[2:]}"
        session.track("Cart Viewed", {"cart_id": cart_id, "products": self._shelf.products(sale.lines)})
        told = order_properties(self._shelf, sale.order_id, checkout_id, sale.lines, discount)
        session.track("Checkout Started", told)
        session.track("Checkout Step Viewed", {"checkout_id": checkout_id, "step": 1}, after=1)
        self._pay(session, shopper, sale, checkout_id, discount)
        self._post.send(session)

    def _ring_up(self, shopper: Shopper, sale: Sale, discount: float) -> None:
        self._placed(shopper, sale, discount)
        till = Session("till", sale.order_id, sale.at, *self._talks(shopper))
        store = 1 + int(sale.luck[12] * 2)
        place = {"affiliation": "store", "store_id": f"store-{store}", "till_id": f"till-{store}-1"}
        told = order_properties(self._shelf, sale.order_id, "", sale.lines, discount)
        subtotal = {"shipping": 0.0, "total": told["revenue"]}
        till.track("Store Purchase", {**told, **subtotal, **place, "receipt_id": sale.order_id}, after=0)
        self._post.send(till)

    def _plan_tills(self, customers: int, days: int) -> None:
        luck = np.random.default_rng((self.seed, 5))
        count = round(self.rates.store_orders * customers * days / 90)
        for number in range(count):
            who = int(luck.integers(SCRIPTED, customers))
            second = int(luck.integers(0, days)) * DAY + int(luck.integers(9 * HOUR, 18 * HOUR))
            sku = int(luck.integers(len(self._goods.skus)))
            self._at(second, partial(self._buy_in_store, self._shopper(who), number, sku))

    def _buy_in_store(self, shopper: Shopper, number: int, sku: int, second: int) -> None:
        sale = self._sale(f"till-{number}", (Line(sku, self._shelf.prices[sku]),), second)
        discount = self._unaided(shopper, sale) if self._in_stock(sale.lines) else None
        if discount is not None:
            self._ring_up(shopper, sale, discount)

    # ------------------------------------------------------------------ reactions to messages

    def _react(self, handed: Handed, floor: int) -> None:
        shopper = self._shopper(self._find(handed))
        at = max(floor, int((handed.at - self.start).total_seconds()))
        answer = self._twins.answer(shopper, handed, at, self._strength(shopper, handed, at))
        left = shopper.abandoned if answer.effect in ("cart", "checkout", "payment") else None
        if answer.orders_at is not None:
            self._at(answer.orders_at, partial(self._respond, shopper, handed, answer, left))
        if not handed.delivers:
            return
        if handed.channel == "email":
            self._read_mail(shopper, handed, answer)
        elif answer.unsubscribes:
            stop = Session("shop", f"stop-{handed.decision_id}", at + 900, *self._talks(shopper))
            proof = {"method": f"{handed.channel}_stop", "wording_version": "2025-09", "proof_id": handed.decision_id}
            stop.track("Consent Withdrawn", {"channel": handed.channel, "purpose": "marketing", **proof})
            self._post.send(stop)
        if answer.clicks and answer.orders_at is None and shopper.who >= SCRIPTED:
            self._at(self._clicked_at(answer), partial(self._look_in, shopper, handed, answer, left))

    def _find(self, handed: Handed) -> int:
        names = handed.identifiers
        who = self._mailboxes.get(names.get("email", ""))
        # `c-000123` is an account, `an-000123m` a browser of the same person, and the tablet belongs to a family.
        handle = names.get("user_id", names.get("anonymous_id", "")).split("-")[-1]
        if "user_id" in names or who is None:
            who = FAMILY[0] if handle == "tablet" else int(handle[:6]) if handle[:6].isdigit() else None
        if who is None or who >= len(self._people):
            raise Broken(
                f"decision {handed.decision_id} was handed to {dict(names)}, whom the shop does not know; "
                "pass the user_id, email or anonymous_id its own events carry"
            )
        return who

    def _strength(self, shopper: Shopper, handed: Handed, at: int) -> float | None:
        """How much more or less than average this message moves this shopper at this hour; None if it bounces."""
        rates, people, who = self.rates, self._people, shopper.who
        if handed.channel == "email" and people.bounces[who]:
            return None
        if who < SCRIPTED:
            return 0.0
        zone = ZoneInfo(place_of(self._people, who)[2])
        away = abs((self.start + timedelta(seconds=at)).astimezone(zone).hour - people.hour[who])
        slot = rates.slot_fits if min(away, 24 - away) <= 2 else rates.slot_misses
        taste = 1.0
        if handed.shows and handed.shows[0] in self._sku_of:
            style = self._goods.style_of[self._sku_of[handed.shows[0]]]
            fits = self._goods.category_of[style] in people.tastes[who]
            taste = rates.taste_fits if fits else rates.taste_misses
        return people.sensitivity[who] * rates.channels.get(handed.channel, 1.0) * slot * taste

    def _clicked_at(self, answer: Answer) -> int:
        if answer.orders_at is not None:
            return max(answer.cause.at + 60, answer.orders_at - 240)
        return answer.cause.at + 120 + int(-math.log(1.0 - answer.luck[7]) * 4 * HOUR)

    def _read_mail(self, shopper: Shopper, handed: Handed, answer: Answer) -> None:
        at, luck, people = answer.cause.at, answer.luck, self._people
        told = {"email_id": handed.decision_id, "campaign_id": handed.journey, "campaign_name": handed.content}
        acts: list[tuple[int, str, dict[str, Any]]] = []
        if people.bounces[shopper.who]:
            acts.append((at + 4, "Email Bounced", {"bounce_type": "hard"}))
        elif people.opens_by_machine[shopper.who]:
            acts.append((at + 1 + int(luck[8] * 40), "Email Opened", {"automated": True}))
        if answer.opens:
            # Who clicks has opened just before.
            opened = self._clicked_at(answer) - 30
            acts.append((opened, "Email Opened", {"automated": False}))
            if answer.clicks and shopper.who >= SCRIPTED:
                acts.append(
                    (opened + 30, "Email Link Clicked", {"automated": False, "link_url": "https://shop.example/"})
                )
            if answer.unsubscribes:
                acts.append((opened + 20, "Unsubscribed", {}))
            if answer.complains:
                acts.append((opened + 25, "Email Marked as Spam", {}))
        ids, context = self._talks(shopper)
        for second, event, more in acts:
            reader = Session("mail", f"m-{handed.decision_id}-{event}-{second - at}", second, ids, context)
            reader.track(event, {**told, **more}, after=0)
            self._post.send(reader)

    def _arrive(self, shopper: Shopper, handed: Handed, answer: Answer, second: int) -> Session:
        device = "m" if answer.luck[9] < 0.6 else "d"
        session = self._open(shopper, f"k-{handed.decision_id}", second, device)
        campaign = {"name": handed.journey, "source": "wayline", "medium": handed.channel, "content": handed.content}
        session.context = {**session.context, "campaign": campaign}
        session.page("Landing", "/l", {"search": f"?utm_source=wayline&utm_medium={handed.channel}"})
        return session

    def _look_in(self, shopper: Shopper, handed: Handed, answer: Answer, left: Abandoned | None, second: int) -> None:
        session = self._arrive(shopper, handed, answer, second)
        if left and left.is_open:
            session.track("Cart Viewed", {"cart_id": left.cart_id, "products": self._shelf.products(left.lines)})
        else:
            for line in self._tempting(shopper, handed, answer)[:1]:
                session.track("Product Viewed", self._shelf.shown(line.sku))
        self._post.send(session)

    def _respond(self, shopper: Shopper, handed: Handed, answer: Answer, left: Abandoned | None, second: int) -> None:
        lines = self._in_stock(left.lines) if left else self._tempting(shopper, handed, answer)
        if not lines:
            return
        sale = self._sale(f"{shopper.who}x{int(answer.luck[15] * 2**32):08x}", lines, second)
        discount = self._twins.caused(shopper, sale, answer.cause)
        if discount is None:
            return
        session = self._arrive(shopper, handed, answer, second)
        if left:
            left.is_open = False
        self._finish(session, shopper, sale, left.cart_id if left else f"cart-{sale.order_id[2:]}", discount)

    def _tempting(self, shopper: Shopper, handed: Handed, answer: Answer) -> tuple[Line, ...]:
        """What a message makes its reader want: what it showed, else something to their taste."""
        goods, luck = self._goods, answer.luck
        wanted = [self._sku_of[sku] for sku in handed.shows if sku in self._sku_of]
        if answer.effect == "back_in_stock":
            wanted = [*shopper.waiting_for, *wanted]
        category = int(self._people.tastes[shopper.who][0])
        first, last = int(goods.category_first[category]), int(goods.category_first[category + 1])
        for chance in luck[10:14]:
            style = first + int(chance * (last - first))
            wanted.append(int(goods.first[style]) + int(self._people.sizes[shopper.who]) % len(goods.skus_of(style)))
        count = 1 if luck[8] < 0.6 else 2
        return self._in_stock([Line(sku, self._shelf.prices[sku]) for sku in dict.fromkeys(wanted)])[:count]
