"""What a shop tells without its person (a parcel, a refund) is about whoever placed the order, whatever comes first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.shop import written
from tests.shops import bodies
from tests.shops.bodies import DAY, at

from wayline.interpretation import readings
from wayline.interpretation.customers import IDENTIFIERS_MAX
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.embedded import Embedded
from wayline.runtime.replaying import examine
from wayline.sources.facts import Rules
from wayline.sources.shopify import Shopify
from wayline.store.opening import open_store


class Desk:
    """A shop's calls into a store, and the engine over it."""

    def __init__(self) -> None:
        self.store = open_store()
        self.collector = Collector(self.store.log, self.store.vault)
        self.engine = Embedded(self.store.log, self.store.state, self.store.vault, written({}), {})
        self.shop = Shopify(["x"], Rules())
        self.now = DAY + timedelta(days=10)

    def hear(self, topic: str, body: dict[str, Any]) -> None:
        self.collector.collect(Delivered(self.shop.read(topic, body), "shop", self.now))
        self.engine.drain(self.now)

    def tell(self, message: dict[str, Any], *, trusted: bool) -> None:
        self.collector.collect(Delivered([message], "web", self.now, trusted=trusted))
        self.engine.drain(self.now)

    def people(self) -> list[Any]:
        return [self.engine.customer(each) for each in self.store.state.customer_ids()]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_refund_by_itself_is_the_buyers(is_first: bool) -> None:
    desk = Desk()
    told = [("orders/create", bodies.order()), ("refunds/create", bodies.refund())]
    for topic, body in told if not is_first else reversed(told):
        desk.hear(topic, body)
    (buyer,) = desk.people()
    assert buyer.customer_id.startswith("k-") and any(each.startswith("returned:") for each in buyer.memory.facets)


def test_s04_a_tag_and_a_webhook_that_tell_one_order_are_one_order() -> None:
    desk = Desk()
    tag = {
        "type": "track", "event": "Order Completed", "userId": "900000001", "messageId": "from-the-tag",
        "timestamp": DAY, "properties": {"order_id": "5001", "total": 123.9, "currency": "EUR", "cart_id": "cart-5001"},
    }  # fmt: skip
    desk.tell(tag, trusted=False)
    for topic, minutes in (("orders/create", 0), ("orders/paid", 5), ("orders/updated", 9)):
        desk.hear(topic, bodies.order(minutes=minutes))
    (buyer,) = desk.people()
    facets = desk.engine.playbook.facets
    read = {
        name: readings.read(buyer.memory.facets, facets[name], facets, desk.now) for name in ("order_count", "spent")
    }
    assert read == {"order_count": 1, "spent": 10000}


def test_a_good_customer_has_any_number_of_orders_and_keeps_their_address() -> None:
    desk = Desk()
    for number in range(IDENTIFIERS_MAX + 10):
        desk.hear("orders/create", bodies.order(5000 + number))
    for number in range(IDENTIFIERS_MAX + 10):
        desk.hear("fulfillments/create", bodies.fulfillment(6000 + number, 5000 + number, minutes=60 + number))
    (buyer,) = desk.people()
    assert {"email", "user_id"} <= {each.kind for each in buyer.memory.identifiers}
    assert len(buyer.memory.identifiers) == IDENTIFIERS_MAX


def test_x04_a_browser_that_names_an_order_is_not_thereby_its_buyer() -> None:
    desk = Desk()
    desk.hear("orders/create", bodies.order())
    message = {
        "type": "track", "event": "Product Viewed", "anonymousId": "a-browser", "messageId": "m1",
        "properties": {"sku": "FJ-GREEN"}, "context": {"externalIds": [{"type": "order_id", "id": "5001"}]},
    }  # fmt: skip
    desk.tell(message, trusted=False)
    assert len(desk.people()) == 2
    told = desk.store.log.read(desk.store.log.head() - 1, 1)[0]
    assert [each.kind for each in told.identifiers] == ["anonymous_id"]
    desk.tell({**message, "messageId": "m2", "anonymousId": "a-till"}, trusted=True)
    assert len(desk.people()) == 2  # a server's word is taken: the till is the buyer's


def test_a_consent_taken_back_long_ago_and_heard_of_late_takes_back_no_newer_one() -> None:
    desk = Desk()
    for state, minutes in (("subscribed", 60), ("unsubscribed", 30)):  # the older one comes last
        consent = {"state": state, "opt_in_level": "single_opt_in", "consent_updated_at": at(minutes)}
        desk.hear("customers/update", bodies.customer(minutes=minutes, email_marketing_consent=consent))
        desk.now += timedelta(days=1)
    (person,) = desk.people()
    given = person.memory.consents["email:marketing"]
    assert given.withdrawn_at == DAY + timedelta(minutes=30) < given.granted_at


def test_requests_about_personal_values_are_listed_with_their_clock() -> None:
    desk = Desk()
    desk.hear("orders/create", bodies.order())
    asked = {"shop_domain": "l.example", "customer": {"id": None, "email": "anna.berg@example.com"}}
    desk.hear("customers/redact", asked)
    assert len(desk.people()) == 1  # an address is enough to know whom it is about
    (problem,) = [each for each in examine(desk.store.log, desk.store.state, desk.now).problems if "asks" in each]
    assert "customers/redact" in problem and "due on 2025-12-13, 30 days are left" in problem
    late = desk.now + timedelta(days=33)
    assert any("overdue by 3 days" in each for each in examine(desk.store.log, desk.store.state, late).problems)
