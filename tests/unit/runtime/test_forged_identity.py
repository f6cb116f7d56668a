"""What a browser's public key may do to people: add behaviour. Not move an address, grant consent, act as the shop."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from msgspec.structs import replace
from tests.shop import ANN, Shop, happened

from wayline.domain import Customer, Identifier
from wayline.observation.claims import UNVERIFIED
from wayline.runtime.collecting import Collected, Collector, Delivered

_numbers = itertools.count(1)


class Web:
    """A shop with a collector in front: messages come as clients send them."""

    def __init__(self) -> None:
        self.shop = Shop()
        self.collector = Collector(self.shop.store.log, self.shop.store.vault)

    def sends(self, *messages: dict[str, Any], trusted: bool = True) -> Collected:
        items = [{"type": "track", "messageId": f"m-{next(_numbers)}", **message} for message in messages]
        collected = self.collector.collect(Delivered(items, "web", self.shop.now, trusted=trusted))
        self.shop.engine.drain(self.shop.now)
        self.shop.now += timedelta(seconds=1)
        return collected

    def handle(self, kind: str, value: str) -> Identifier:
        return Identifier(kind, self.shop.store.vault.keyed(kind, value))

    def customer(self, kind: str, value: str) -> Customer:
        return self.shop.customer([self.handle(kind, value)])

    def personal(self, customer: Customer) -> dict[str, Any]:
        return self.shop.engine.outbox.rendering.personal(customer)


def known(web: Web) -> None:
    web.sends(
        {"type": "identify", "userId": "ann-1", "traits": {"email": "ann@example.com", "firstName": "Ann"}},
        {"event": "Consent Granted", "userId": "ann-1", "properties": {"channel": "sms", "purpose": "marketing"}},
    )


def test_a_public_key_moves_nobody_s_address() -> None:
    web = Web()
    known(web)
    traits = {"email": "attacker@example.net", "phone": "+49 170 7654321", "firstName": "Click https://evil.example"}
    forged = {"userId": "ann-1", "anonymousId": "attackers-browser", "traits": traits}
    web.sends({"type": "identify", **forged}, trusted=False)
    ann = web.customer("user_id", "ann-1")
    assert web.handle("anonymous_id", "attackers-browser") in ann.memory.identifiers, "behaviour may be added"
    kinds = {one.kind for one in ann.memory.identifiers}
    assert kinds == {"user_id", "email", "anonymous_id", "claimed_email", "claimed_phone"}, "claims are kept as claims"
    assert web.personal(ann)["email"] == "ann@example.com"
    assert web.personal(ann)["first_name"] == "Ann"
    assert "phone" not in web.personal(ann)
    web.shop.restart()
    assert web.customer("user_id", "ann-1") == ann, "folded again from the log, it is the same"


def test_a_public_key_grants_no_consent_and_may_withdraw_it() -> None:
    web = Web()
    known(web)
    grant = {"event": "Consent Granted", "userId": "ann-1", "properties": {"channel": "email", "purpose": "marketing"}}
    web.sends(grant, trusted=False)
    assert "email:marketing" not in web.customer("user_id", "ann-1").memory.consents
    assert web.customer("user_id", "ann-1").memory.consents["sms:marketing"].is_granted
    withdrawn = {"channel": "sms", "purpose": "marketing"}
    web.sends({"event": "Consent Withdrawn", "userId": "ann-1", "properties": withdrawn}, trusted=False)
    assert not web.customer("user_id", "ann-1").memory.consents["sms:marketing"].is_granted


def test_a_public_withdrawal_keeps_nothing_but_the_withdrawal() -> None:
    """Quiet hours are by the device's zone, the newest address is written to: neither is anybody's to move."""
    for handles in ({"anonymousId": "attackers-browser"}, {"anonymousId": "attackers-browser", "userId": "ann-1"}, {}):
        for name in ("Consent Withdrawn", "Unsubscribed"):
            web = Web()
            known(web)
            ann = web.customer("user_id", "ann-1")
            vault = web.shop.store.vault
            kept = vault.get([f"{one.kind}:{one.value}" for one in ann.memory.identifiers])
            told = {
                "event": name,
                **handles,
                "context": {
                    "traits": {"email": " ANN@example.com", "firstName": "Eve", "birthday": "1990-01-01"},
                    "timezone": "Pacific/Kiritimati",
                    "locale": "eo",
                    "device": {"id": "attackers-device", "token": "attackers-push-token"},
                    "page": {"url": "https://shop.example/?wl=x"},
                },
                "properties": {"channel": "sms", "purpose": "marketing", "reason": "spam", "as_of": "2020-01-01"},
            }
            web.sends(told, trusted=False)
            after = web.customer("user_id", "ann-1")
            assert not after.memory.consents["sms:marketing"].is_granted
            assert after.memory.traits == ann.memory.traits and after.memory.facets == ann.memory.facets
            assert after.memory.identifiers == ann.memory.identifiers
            (event,) = [one for one in web.shop.store.log.read(0, 100) if one.name == name]
            assert event.context == {} and event.properties.keys() <= {"channel", "purpose"}
            named = [f"{one.kind}:{one.value}" for one in (*ann.memory.identifiers, *event.identifiers)]
            assert vault.get(named) == kept
            web.shop.restart()
            assert web.customer("user_id", "ann-1") == after


def test_what_an_older_log_holds_of_a_public_withdrawal_moves_nobody_either() -> None:
    shop = Shop()
    shop.tell(replace(happened("Product Viewed", ANN, sku="jacket"), context={"timezone": "Europe/Berlin"}))
    before = shop.customer(ANN).memory
    told = happened("Consent Withdrawn", ANN[1:], channel="email")
    shop.tell(replace(told, context={"timezone": "Pacific/Kiritimati"}, notes=(UNVERIFIED,)))
    after = shop.customer(ANN).memory
    assert after.consents["email:marketing"].withdrawn_at is not None
    assert (after.traits, after.identifiers, after.facets) == (before.traits, before.identifiers, before.facets)


def test_a_public_key_does_not_speak_for_the_shop() -> None:
    web = Web()
    known(web)
    phishing = {"order_id": "o-1", "tracking_url": "https://evil.example"}
    collected = web.sends(
        {"event": "Order Shipped", "userId": "ann-1", "properties": phishing},
        {"event": "Email Bounced", "userId": "ann-1"},
        {"event": "Price Changed", "properties": {"sku": "jacket", "price": 1}},
        trusted=False,
    )
    assert [each.code for each in collected.rejected] == ["needs_secret_key"] * 3
    assert web.shop.decisions() == []


def test_who_signs_up_in_the_browser_is_written_to_once_the_address_is_confirmed() -> None:
    web = Web()
    bob = {"email": "bob@example.com", "firstName": "Bob"}
    web.sends({"type": "identify", "userId": "bob-1", "anonymousId": "bobs-browser", "traits": bob}, trusted=False)
    personal = web.personal(web.customer("user_id", "bob-1"))
    assert "email" not in personal and personal["first_name"] == "Bob"
    web.sends({"type": "identify", "userId": "bob-1", "traits": {"email": "Bob@example.com"}})
    assert web.personal(web.customer("user_id", "bob-1"))["email"].lower() == "bob@example.com"


def test_a_family_tablet_tells_nobody_the_others_names() -> None:
    web = Web()
    for name in ("ann", "bob", "cleo", "dan", "eve"):
        traits = {"email": f"{name}@example.com", "firstName": name}
        web.sends({"type": "identify", "userId": f"{name}-1", "anonymousId": "tablet", "traits": traits})
        web.sends({"event": "Product Viewed", "anonymousId": "tablet", "properties": {"sku": "jacket"}})
    for name in ("ann", "bob", "cleo", "dan", "eve"):
        personal = web.personal(web.customer("user_id", f"{name}-1"))
        assert personal["email"] == f"{name}@example.com" and personal["first_name"] == name
    tablet = web.handle("anonymous_id", "tablet")
    everyone = [web.shop.engine.customer(each) for each in web.shop.store.state.customer_ids()]
    holders = [each.customer_id for each in everyone if tablet in each.memory.identifiers]
    assert len(holders) <= 3 and all(each.startswith("k-") for each in holders)
