"""Webhooks that never come: one in ten and a whole hour of them are lost, others come late and twice.

After one cycle of asking, what Wayline knows is what the shop knows, the gap is told, and whoever bought is not
reminded of the cart.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.shop import written
from tests.shops import bodies
from tests.shops.platform import KEY, SECRET, TOKEN, Platform, ShopifyPlatform, WooPlatform, served

from wayline.channels.dryrun import DryRun
from wayline.interpretation import readings
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.embedded import Embedded
from wayline.runtime.reconciling import Poll, Shop, caught_up, worries
from wayline.sources import Call
from wayline.sources.asking import Api, ShopifyApi, WooCommerceApi
from wayline.sources.facts import Rules
from wayline.sources.shopify import Shopify
from wayline.sources.woocommerce import WooCommerce
from wayline.store.opening import open_store

HOURS = 8
LOST_HOUR = 4
FACETS = (
    "shop_orders: {kind: latest_per_key, events: [Order Updated], key: order_id, fields: [status], size_max: 100}\n"
)
REMINDING = """\
stage: purchase
purpose: marketing
owner: {business: b, technical: t, qa: q}
goal: Order Completed
enters_on: Checkout Step Viewed
reentry: after exit
exits_on: [Order Completed]
control: {none: a test}
steps:
  pause:  {wait: 1 hour, then: remind, until: {Order Completed: end}}
  remind: {propose: [{action: reminder, channel: email, content: remind}], patience: 1 day, then: end, otherwise: end}
"""


class Trading:
    """A morning of a small shop: people register, consent and take it back, order, cancel; stock goes up and down."""

    def __init__(self, platform: Platform, seed: int) -> None:
        self.platform = platform
        self.random = random.Random(seed)
        self.orders = 0

    def minute(self) -> None:
        self.platform.now += timedelta(minutes=1)
        for what, chance in ((self.order, 0.25), (self.change, 0.3), (self.stock, 0.3), (self.consent, 0.15)):
            if self.random.random() < chance:
                what()

    def person(self) -> dict[str, Any]:
        number = self.random.randrange(12)
        return {"id": 9000 + number, "email": f"person{number}@example.com", "first_name": "P", "last_name": "Q"}


class ShopifyTrading(Trading):
    platform: ShopifyPlatform

    def begin(self) -> None:
        for number in range(6):
            one = bodies.variant(7101 + number, f"SKU-{number}", inventory_item_id=7201 + number)
            self.platform.put("products", "products/create", bodies.product(7001 + number, variants=[one]))
        for number in range(12):
            person = {"id": 9000 + number, "email": f"person{number}@example.com", "phone": None}
            self.platform.put("customers", "customers/create", bodies.customer(**person, **self._said("subscribed")))

    def order(self) -> None:
        self.orders += 1
        at = self.platform.written(self.platform.now)
        person = self.person()
        checkout = bodies.checkout(f"checkout-{5000 + self.orders}", email=person["email"], customer=person)
        before = self.platform.written(self.platform.now - timedelta(minutes=1))
        checkout |= {"created_at": before, "updated_at": before}
        self.platform.calls.append((self.platform.now, "checkouts/create", msgspec.json.encode(checkout)))
        order = bodies.order(5000 + self.orders, email=person["email"], contact_email=None, customer=person)
        self.platform.put("orders", "orders/create", order | {"created_at": at, "processed_at": at})

    def change(self) -> None:
        at = self.platform.written(self.platform.now)
        open_orders = [each for each in self.platform.kept["orders"].values() if not each["cancelled_at"]]
        if not open_orders:
            return
        order = self.random.choice(open_orders)
        shipped = bodies.fulfillment(order["id"], order["id"], created_at=at)
        refund = bodies.refund(order["id"], order["id"], created_at=at)
        could = [{"cancelled_at": at, "cancel_reason": "customer"}]
        could += [] if order["fulfillments"] else [{"fulfillment_status": "fulfilled", "fulfillments": [shipped]}]
        could += [] if order["refunds"] else [{"financial_status": "refunded", "refunds": [refund]}]
        self.platform.put("orders", "orders/updated", order | self.random.choice(could))

    def stock(self) -> None:
        product = self.random.choice(list(self.platform.kept["products"].values()))
        variants = [{**product["variants"][0], "inventory_quantity": self.random.randrange(20)}]
        self.platform.put("products", "products/update", product | {"variants": variants})

    def consent(self) -> None:
        customer = self.random.choice(list(self.platform.kept["customers"].values()))
        state = self.random.choice(["subscribed", "unsubscribed"])
        if customer["email_marketing_consent"]["state"] != state:
            self.platform.put("customers", "customers/update", customer | self._said(state))

    def _said(self, state: str) -> dict[str, Any]:
        at = self.platform.written(self.platform.now)
        consent = {"state": state, "opt_in_level": "single_opt_in", "consent_updated_at": at}
        return {"email_marketing_consent": consent}

    def statuses(self) -> dict[str, str]:
        found = {}
        for order in self.platform.kept["orders"].values():
            word = order["fulfillment_status"] or order["financial_status"]
            word = "refunded" if order["financial_status"] == "refunded" else word
            found[str(order["id"])] = "cancelled" if order["cancelled_at"] else word
        return found

    def stocks(self) -> dict[str, int]:
        products = self.platform.kept["products"].values()
        return {each["variants"][0]["sku"]: each["variants"][0]["inventory_quantity"] for each in products}

    def consents(self) -> dict[str, bool]:
        people = self.platform.kept["customers"].values()
        return {each["email"]: each["email_marketing_consent"]["state"] == "subscribed" for each in people}


class WooTrading(Trading):
    platform: WooPlatform

    def begin(self) -> None:
        for number in range(6):
            self.platform.put("products", "product.created", bodies.woo_product(90 + number, sku=f"SKU-{number}"))
        blue = bodies.woo_customer(date_created_gmt=self.platform.written(self.platform.now))
        self.platform.put("customers", "customer.created", blue)

    def order(self) -> None:
        self.orders += 1
        at = self.platform.written(self.platform.now)
        billing = {**bodies.woo_order()["billing"], "email": self.person()["email"], "phone": ""}
        order = bodies.woo_order(
            700 + self.orders, customer_id=0, billing=billing, date_created_gmt=at, date_paid_gmt=at
        )
        self.platform.put("orders", "order.created", order)

    def change(self) -> None:
        if self.platform.kept["orders"]:
            order = self.random.choice(list(self.platform.kept["orders"].values()))
            status = self.random.choice(["completed", "cancelled", "refunded", "on-hold"])
            at = self.platform.written(self.platform.now)
            refunds = [{"id": order["id"], "total": "-5.00"}] if status == "refunded" else []
            changed = {"status": status, "refunds": refunds, "date_completed_gmt": at}
            self.platform.put("orders", "order.updated", order | changed)

    def stock(self) -> None:
        product = self.random.choice(list(self.platform.kept["products"].values()))
        self.platform.put("products", "product.updated", product | {"stock_quantity": self.random.randrange(20)})

    def consent(self) -> None:
        """The platform keeps none."""

    def statuses(self) -> dict[str, str]:
        return {str(each["id"]): each["status"] for each in self.platform.kept["orders"].values()}

    def stocks(self) -> dict[str, int]:
        return {each["sku"]: each["stock_quantity"] for each in self.platform.kept["products"].values()}

    def consents(self) -> dict[str, bool]:
        return {}


class World:
    """Both sides, and the line between them that loses calls."""

    def __init__(self, trading: Trading, api: Api, reader: Any, folder: Path, seed: int) -> None:
        self.trading, self.platform, self.reader = trading, trading.platform, reader
        self.store = open_store()
        playbook = written({"reminding": REMINDING}, facets=FACETS, remind="email")
        self.mails = DryRun()
        self.engine = Embedded(self.store.log, self.store.state, self.store.vault, playbook, {"email": self.mails})
        self.collector = Collector(self.store.log, self.store.vault)
        shop = Shop(source="shop", api=api, reader=reader, collector=self.collector, folder=folder)
        self.poll = Poll(shop, address="/webhooks/shop")
        self.random = random.Random(seed + 1)
        self.began = self.platform.now
        self.lost = 0

    def deliver(self, at: datetime, topic: str, body: bytes) -> None:
        name = "x-shopify-topic" if "/" in topic else "x-wc-webhook-topic"
        call = Call(headers={name: topic}, body=body, received_at=at)
        self.collector.collect(Delivered(self.reader.messages(call), "shop", at))

    def trade(self, hours: float, *, loses: bool = True) -> None:
        """Trade, with what the line makes of the calls: lost, late by up to half an hour, or twice."""
        until = self.platform.now + timedelta(hours=hours)
        waiting: list[tuple[datetime, str, bytes]] = []
        while self.platform.now < until:
            self.trading.minute()
            for at, topic, body in self.platform.calls:
                hour = int((at - self.began) / timedelta(hours=1))
                if loses and (self.random.random() < 0.1 or hour == LOST_HOUR):
                    self.lost += 1
                    continue
                late = timedelta(minutes=self.random.choice([0, 0, 0, 5, 30]))
                waiting += [(at + late, topic, body)] * (2 if self.random.random() < 0.05 else 1)
            self.platform.calls.clear()
            now = self.platform.now
            for at, topic, body in [each for each in waiting if each[0] <= now]:
                self.deliver(at, topic, body)
            waiting = [each for each in waiting if each[0] > now]
            self.engine.drain(now)
        for at, topic, body in waiting:
            self.deliver(at, topic, body)
        self.engine.drain(self.platform.now)

    def people(self) -> Iterator[Any]:
        yield from (self.engine.customer(each) for each in sorted(self.store.state.customer_ids()))

    def statuses(self) -> dict[str, str]:
        facets = self.engine.playbook.facets
        found: dict[str, str] = {}
        for one in self.people():
            rows = readings.read(one.memory.facets, facets["shop_orders"], facets, self.platform.now)
            assert not found.keys() & {row["key"] for row in rows}  # an order is one person's
            found |= {row["key"]: row["status"] for row in rows}
        return found

    def stocks(self) -> dict[str, int | None]:
        return {product.sku: product.available for product in self.engine.shelf.products() if product.name}

    def consents(self) -> dict[str, bool]:
        found = {}
        for one in self.people():
            given = one.memory.consents.get("email:marketing")
            emails = [each for each in one.memory.identifiers if each.kind == "email"]
            for each in emails if given is not None else ():
                address = self.store.vault.get([f"email:{each.value}"])[f"email:{each.value}"]["email"]
                found[address] = given.is_granted if hasattr(given, "is_granted") else _stands(given)
        return found


def _stands(given: Any) -> bool:
    return given.granted_at is not None and (given.withdrawn_at is None or given.granted_at > given.withdrawn_at)


@contextmanager
def world(kind: str, folder: Path, seed: int) -> Iterator[World]:
    platform: Platform = ShopifyPlatform() if kind == "shopify" else WooPlatform()
    with served(platform.app()) as url:
        waited: list[float] = []
        if kind == "shopify":
            api: Api = ShopifyApi(f"{url}/admin/api/2025-01", TOKEN, allow_private=True, pause=waited.append)
            trading: Trading = ShopifyTrading(platform, seed)
            reader: Any = Shopify(["x"], Rules())
        else:
            api = WooCommerceApi(f"{url}/wp-json/wc/v3", KEY, SECRET, allow_private=True, pause=waited.append)
            trading, reader = WooTrading(platform, seed), WooCommerce(["x"], Rules())
        trading.begin()  # type: ignore[attr-defined]
        one = World(trading, api, reader, folder, seed)
        one.trade(0.1, loses=False)
        one.poll.cycle(platform.now)
        try:
            yield one
        finally:
            api.close()
            assert not platform.limited or max(waited) >= 2  # the shop's own wish is heard


def differences(one: World) -> list[str]:
    trading: Any = one.trading
    found = []
    for what in ("statuses", "stocks", "consents"):
        ours, theirs = getattr(one, what)(), getattr(trading, what)()
        found += [what] if {key: ours.get(key) for key in theirs} != theirs or len(ours) < len(theirs) else []
    return found


@pytest.mark.parametrize("kind", ["shopify", "woocommerce"])
def test_s17_r22_after_one_cycle_what_is_known_is_what_the_shop_knows(kind: str, tmp_path: Path) -> None:
    with world(kind, tmp_path, seed=7) as one:
        one.trade(HOURS)
        assert one.lost > 20 and differences(one)  # else nothing would be shown
        later = one.platform.now + timedelta(minutes=5)
        asked = one.poll.cycle(later)
        one.engine.drain(later)
        assert differences(one) == []
        assert asked.stored > 0 and asked.conflicts == 0 and asked.rejected == 0
        kept = caught_up(tmp_path)["shop"]
        assert kept.missed_last == asked.stored and sum(kept.missed.values()) == asked.stored
        assert any("no webhook" in each for each in worries(tmp_path, later))
        # Asked again, the same window holds nothing new; the gap is closed.
        again = one.poll.cycle(later + timedelta(minutes=15))
        assert again.stored == 0 and again.duplicates > 0
        assert not any("no webhook" in each for each in worries(tmp_path, later))


def test_s17_whoever_bought_is_not_reminded_of_the_cart(tmp_path: Path) -> None:
    with world("shopify", tmp_path, seed=3) as one:
        one.trading.order()
        (_, _, checkout), _ = one.platform.calls[-2:]
        one.platform.calls.clear()
        one.deliver(one.platform.now, "checkouts/create", checkout)  # the order's call is lost
        one.engine.drain(one.platform.now)
        asked = one.poll.cycle(one.platform.now + timedelta(minutes=15))
        assert asked.stored == 2
        one.engine.drain(one.platform.now + timedelta(hours=2))
        assert one.mails.sent_count == 0
        # Without the poll they would have been: the same checkout, and an order nobody tells of.
        one.trading.order()
        (_, _, checkout), _ = one.platform.calls[-2:]
        at = one.platform.now + timedelta(hours=3)
        one.deliver(at, "checkouts/create", checkout)
        one.engine.drain(at)
        one.engine.drain(at + timedelta(hours=2))
        assert one.mails.sent_count == 1


def test_s17_a_webhook_that_was_switched_off_is_on_again_and_told(tmp_path: Path) -> None:
    with world("woocommerce", tmp_path, seed=3) as one:
        one.platform.webhooks[0]["status"] = one.platform.webhooks[1]["status"] = "disabled"  # type: ignore[attr-defined]
        one.poll.cycle(one.platform.now + timedelta(minutes=15))
        assert [each["status"] for each in one.platform.webhooks] == ["active", "disabled"]  # type: ignore[attr-defined]
        assert any("switched off webhook 1" in each for each in worries(tmp_path, one.platform.now))
        # A key that may only read costs nothing of what it reads, and is told.
        one.platform.webhooks[0]["status"] = "disabled"  # type: ignore[attr-defined]
        one.platform.is_read_only = True
        one.trading.order()
        for minutes in (30, 45):
            one.poll.cycle(one.platform.now + timedelta(minutes=minutes))
        assert one.poll.caught.missed["orders"] > 0 and len(one.poll.caught.silent) == 2
        assert any("let the key write" in each for each in worries(tmp_path, one.platform.now))


@pytest.mark.parametrize("kind", ["shopify", "woocommerce"])
def test_s17_the_mark_is_never_ahead_of_what_is_stored(kind: str, tmp_path: Path) -> None:
    with world(kind, tmp_path, seed=11) as one:
        one.trade(1, loses=True)
        later = one.platform.now + timedelta(minutes=5)
        before = dict(caught_up(tmp_path)["shop"].marks)
        one.platform.down = True
        with pytest.raises(Exception, match="would not answer"):
            one.poll.cycle(later)
        assert one.poll.failed(ValueError("down")) >= timedelta(minutes=1)
        kept = caught_up(tmp_path)["shop"]
        assert kept.marks == before and kept.failures == 1
        assert any("not caught up" in each for each in worries(tmp_path, later))
        one.platform.down = False
        one.poll.cycle(later)
        one.engine.drain(later)
        assert differences(one) == [] and caught_up(tmp_path)["shop"].failures == 0
