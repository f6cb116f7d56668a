"""The stories planted in the season: scripted people and incidents that an engine must cope with and a reader can find.

They are told beforehand and react to nothing, so that they can be looked up in any run of the same seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from wayline.runtime.shop_rates import DAY, HOUR, START, Incident, draws
from wayline.runtime.shop_twins import Line
from wayline.runtime.shop_wire import Post, Session, Shelf, order_properties
from wayline.runtime.shop_world import SCRIPTED, Shoppers, email_of

__all__ = ["FAMILY", "tell_stories"]

_JACKET_SHOPPER, _TILL_SHOPPER, FAMILY = 0, 1, (2, 3, 4)
_OPT_OUTS = 0.12  # of those who agreed to SMS
_REWARDS = 0.03  # of known customers hold a reward that expires in the season
_MOBILE = {"device": {"type": "mobile"}, "timezone": "Europe/Berlin", "library": {"name": "analytics.js"}}
_DESKTOP = {"device": {"type": "desktop"}, "timezone": "Europe/Berlin", "library": {"name": "analytics.js"}}


def tell_stories(seed: int, people: Shoppers, shelf: Shelf, post: Post, planted: Mapping[str, Incident]) -> None:
    """Send everything scripted, for the whole season, in advance."""
    _tell_jacket(people, shelf, post, planted["jacket-shopper"])
    _tell_till(people, shelf, post, planted["store-purchase-with-open-cart"])
    _tell_tablet(people, shelf, post, planted["shared-tablet"])
    _tell_opt_outs(seed, people, post, planted["sms-opt-outs"])
    _tell_rewards(seed, people, post, planted["returns-wave"])


def _second(at: datetime) -> int:
    return int((at - START).total_seconds())


def _first_size(shelf: Shelf, style: int) -> int:
    return shelf.goods.skus_of(style)[2]


def _tell_jacket(people: Shoppers, shelf: Shelf, post: Post, told: Incident) -> None:
    who = {"userId": f"c-{_JACKET_SHOPPER:06d}"}
    mail = {"traits": {"email": email_of(people, _JACKET_SHOPPER)}}
    last = _second(told.ends_at) - 18 * 60
    span = last - _second(told.starts_at)
    jackets = [_first_size(shelf, style) for style in (0, 2, 3)]
    for number, (at, looked) in enumerate(((0, (0, 1, 2)), (span // 2, (0, 2, 0)))):
        ids = {**who, "anonymousId": "an-000000m"}
        phone = Session("web", f"story-jacket-{number}", last - span + at, ids, _MOBILE)
        phone.page("Category", "/c/winter-jackets")
        listed = [{"product_id": shelf.shown(sku)["product_id"], "sku": shelf.goods.skus[sku]} for sku in jackets]
        category = {"list_id": "winter-jackets", "category": "winter-jackets"}
        phone.track("Product List Viewed", {**category, "products": listed})
        for place in looked:
            phone.track("Product Viewed", shelf.shown(jackets[place]), after=70)
        post.send(phone)
    letter = {"email_id": "news-48", "campaign_id": "news-48", "campaign_name": "Winter is near", "automated": False}
    clicked = Session("mail", "story-jacket-mail", last - 120, who, mail)
    clicked.track("Email Link Clicked", {**letter, "link_url": "https://shop.example/c/winter-jackets"})
    post.send(clicked)
    campaign = {"campaign": {"name": "Winter is near", "source": "newsletter", "medium": "email"}}
    desk = Session("web", "story-jacket-2", last, {**who, "anonymousId": "an-000000d"}, {**_DESKTOP, **campaign})
    desk.page("Category", "/c/winter-jackets", {"search": "?utm_source=newsletter&utm_medium=email"})
    _fill_and_exit(desk, shelf, Line(jackets[0], shelf.prices[jackets[0]]), "story-jacket")
    post.send(desk)


def _fill_and_exit(session: Session, shelf: Shelf, line: Line, name: str) -> None:
    checkout = {"checkout_id": f"ch-{name}"}
    session.track("Product Viewed", shelf.shown(line.sku), after=40)
    session.track("Product Added", {"cart_id": f"cart-{name}", **shelf.shown(line.sku, line.price, 1)}, after=200)
    session.track("Cart Viewed", {"cart_id": f"cart-{name}", "products": shelf.products([line])})
    session.track("Checkout Started", order_properties(shelf, f"o-{name}", f"ch-{name}", [line], 0.0), after=30)
    session.track("Checkout Step Viewed", {**checkout, "step": 1}, after=2)
    session.track("Checkout Step Completed", {**checkout, "step": 1}, after=60)
    session.track("Checkout Step Viewed", {**checkout, "step": 2}, after=1)
    session.track("Checkout Lingered", {**checkout, "step": 2, "seconds": 95}, after=95)
    session.track("Help Viewed", {"topic": "shipping"}, after=20)
    session.track("Checkout Exited", {**checkout, "step": 2}, after=60)


def _tell_till(people: Shoppers, shelf: Shelf, post: Post, told: Incident) -> None:
    who = {"userId": f"c-{_TILL_SHOPPER:06d}"}
    line = Line(_first_size(shelf, 2), shelf.prices[_first_size(shelf, 2)])
    at = _second(told.starts_at)
    phone = Session("web", "story-till-web", at, {**who, "anonymousId": "an-000001m"}, _MOBILE)
    phone.page("Home", "/")
    phone.track("Product Viewed", shelf.shown(line.sku))
    phone.track("Product Added", {"cart_id": "cart-story-till", **shelf.shown(line.sku, line.price, 1)}, after=60)
    phone.track("Cart Viewed", {"cart_id": "cart-story-till", "products": shelf.products([line])})
    post.send(phone)
    till = Session("till", "story-till", at + 50 * 60, who, {"traits": {"email": email_of(people, _TILL_SHOPPER)}})
    place = {"affiliation": "store", "store_id": "store-1", "till_id": "till-1-1", "receipt_id": "receipt-story"}
    bought = order_properties(shelf, "o-story-till", "", [line], 0.0)
    till.track("Store Purchase", {**bought, "shipping": 0.0, "total": bought["revenue"], **place}, after=0)
    post.send(till)


def _tell_tablet(people: Shoppers, shelf: Shelf, post: Post, told: Incident) -> None:
    start, span = _second(told.starts_at), _second(told.ends_at) - _second(told.starts_at)
    for number, who in enumerate((*FAMILY, FAMILY[0])):
        at = start + number * span // 4
        ids = {"userId": f"c-{who:06d}", "anonymousId": "an-tablet"}
        tablet = Session("web", f"story-tablet-{number}", at, ids, _MOBILE)
        tablet.page("Home", "/")
        tablet.identify({"email": email_of(people, who)})
        for style in (who * 40, who * 40 + 1):
            tablet.track("Product Viewed", shelf.shown(shelf.goods.skus_of(style)[0]), after=45)
        post.send(tablet)


def _tell_opt_outs(seed: int, people: Shoppers, post: Post, told: Incident) -> None:
    start, span = _second(told.starts_at), _second(told.ends_at) - _second(told.starts_at)
    for who in range(SCRIPTED, people.known):
        if not people.consents[who][1]:
            continue
        luck = draws(seed, "opt-out", who)
        if luck[0] < _OPT_OUTS:
            phone = Session("shop", f"stop-{who}", start + int(luck[1] * span), {"userId": f"c-{who:06d}"}, {})
            proof = {"method": "sms_stop", "wording_version": "2025-09", "proof_id": f"stop-{who}"}
            phone.track("Consent Withdrawn", {"channel": "sms", "purpose": "marketing", **proof})
            post.send(phone)


def _tell_rewards(seed: int, people: Shoppers, post: Post, season: Incident) -> None:
    holders = np.random.default_rng((seed, 6)).random(people.known) < _REWARDS
    holders[:SCRIPTED] = False
    for who in np.flatnonzero(holders).tolist():
        luck = draws(seed, "reward", who)
        at = int(luck[0] * (_second(season.starts_at) - 2 * DAY)) // HOUR * HOUR
        told: dict[str, Any] = {"points": 200, "balance": 200 + int(luck[1] * 800), "reward_id": f"rw-{who}"}
        desk = Session("shop", f"reward-{who}", at, {"userId": f"c-{who:06d}"}, {})
        desk.track("Reward Expiring", {**told, "expires_on": post.iso(at + 14 * DAY)[:10]})
        post.send(desk)
