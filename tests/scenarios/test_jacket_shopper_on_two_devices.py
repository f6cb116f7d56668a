"""The jacket shopper: looks on the phone after a click in a mail, buys on the laptop; the cart reminder stops.

What a page may show on the phone is judged by the click (0.7), and not by what we know of the person.
"""

from __future__ import annotations

import pytest
from tests.laws.test_turns import with_control
from tests.scenarios.test_s34_forged_in_a_browser import Browsers
from tests.shop import OPEN, apparel, written

from wayline.domain import Ask, Playbook

JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 169, "quantity": 1}


def shopper(playbook: Playbook | None = None) -> Browsers:
    """Known on the laptop, with a consent of old; a click in last week's mail on a phone we never saw log in."""
    web = Browsers(playbook=playbook or with_control(apparel(), 0.0))
    web.sends({"type": "identify", "userId": "mira", "anonymousId": "laptop", "traits": {"email": "mira@example.com"}})
    web.shop.consent((web.handle("user_id", "mira"),), days_ago=2)
    web.clicks(web.customer("user_id", "mira").customer_id, "phone")
    return web


def on(web: Browsers, browser: str, event: str, **properties: object) -> None:
    web.sends({"event": event, "anonymousId": browser, "properties": properties}, trusted=False)


@pytest.mark.parametrize("buys", [True, False])
def test_a_purchase_on_the_laptop_stops_the_reminder_of_the_cart(buys: bool) -> None:
    web = shopper()
    on(web, "phone", "Product Viewed", **JACKET)
    on(web, "phone", "Product Added", **JACKET)
    assert web.customer("anonymous_id", "phone").customer_id == web.customer("user_id", "mira").customer_id
    on(web, "laptop", "Checkout Step Viewed", step=2)
    assert "cart-recovery" in web.shop.steps((web.handle("user_id", "mira"),)), "entered where it is surely them"
    web.shop.after(minutes=20)
    if buys:
        order = {"order_id": "o-1", "total": 169, "products": [JACKET]}
        web.sends({"event": "Order Completed", "userId": "mira", "anonymousId": "laptop", "properties": order})
    web.shop.after(hours=30)
    reminded = [content for _, content in web.shop.sent() if content.startswith("cart-")]
    assert bool(reminded) is not buys


def test_what_the_phone_does_enters_nobody_who_must_surely_be_known() -> None:
    web = shopper()
    on(web, "phone", "Product Added", **JACKET)
    on(web, "phone", "Checkout Step Viewed", step=2)
    assert "cart-recovery" not in web.shop.steps((web.handle("user_id", "mira"),))


HELP = """\
stage: consideration
purpose: service
owner: {business: b, technical: t, qa: q}
goal: Order Completed
reentry: after 1 hour
control: {none: a test}
enters_on: Product Viewed
steps:
  show:
    propose:
      - {action: picks, channel: onsite, content: picks, placement: page, needs: {affinity: 0.01}}
      - {action: plain, channel: onsite, content: plain, placement: page}
    patience: 1 day
    then: end
    otherwise: end
"""


def test_a_page_on_the_phone_is_judged_by_the_click_and_says_so() -> None:
    book = written({"help": HELP}, policy=f"{OPEN}confidence_floor: 0.8\n", picks="onsite", plain="onsite")
    web = shopper(book)
    shown = {}
    for browser in ("phone", "laptop"):
        on(web, "laptop", "Product Viewed", **JACKET)
        on(web, "laptop", "Product Viewed", **JACKET)
        tie = web.shop.engine.people.tie((web.handle("anonymous_id", browser),))
        assert tie is not None
        ask = Ask(f"ask-{browser}", "page", match_confidence=tie.confidence)
        turn = web.shop.engine.ask(tie.customer_id, ask, web.shop.now)
        decision = turn.decisions[-1]
        match = [v.refusal.fact for v in decision.considered if v.refusal is not None and v.gate == "confidence"]
        shown[browser] = (decision.action and decision.action.name, match)
        web.shop.after(hours=30)
    assert shown["phone"] == ("plain", ["match 0.70 < 0.80: rule used"])
    assert not any("match" in fact for fact in shown["laptop"][1]), "on the laptop the same person is surely known"
    assert web.shop.customer((web.handle("user_id", "mira"),)).match_confidence == 1.0
