"""S34: what anybody can say through a shop's public key moves no address, grants nothing and ties nobody.

The address typed in a browser is a claim of that browser. Each way to confirm it is tried, and so are ways to abuse it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from tests.shop import MARKETING, Shop, written
from tests.unit.runtime.test_forged_identity import Web

from wayline.domain import Customer, Event, Identifier, Playbook
from wayline.interpretation.moment import Moment
from wayline.observation import identity
from wayline.observation.claims import CLICK_TOKEN
from wayline.runtime.collecting import Collector
from wayline.runtime.refolding import refold

JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 169, "quantity": 1}
OWN_CART = """\
stage: purchase
purpose: service
owner: {business: b, technical: t, qa: q}
goal: Order Completed
reentry: after 1 day
control: {none: a test}
enters_on: Checkout Exited
steps:
  remind:
    propose: [{action: kept, channel: email, content: kept, claims: CLAIMS}]
    patience: 1 day
    then: end
    otherwise: end
"""


class Browsers(Web):
    """A shop on the web that keeps a guest's cart for them; `claims` is what its message says must be true."""

    def __init__(self, claims: str = "[cart_open]", playbook: Playbook | None = None) -> None:
        self.shop = Shop(playbook or written({"kept": OWN_CART.replace("CLAIMS", claims)}, kept="email"))
        self.collector = Collector(self.shop.store.log, self.shop.store.vault)

    def types(self, address: str, browser: str = "sofa", **properties: Any) -> Customer:
        """Somebody types an address into a checkout, and leaves."""
        self.sends(
            {"event": "Product Added", "anonymousId": browser, "properties": {**JACKET, **properties}},
            {"type": "identify", "anonymousId": browser, "traits": {"email": address}},
            {"event": "Checkout Step Viewed", "anonymousId": browser, "properties": {"step": 2, **properties}},
            {"event": "Checkout Exited", "anonymousId": browser, "properties": {"step": 2, **properties}},
            trusted=False,
        )
        return self.customer("anonymous_id", browser)

    def clicks(self, recipient: str, browser: str, **more: Any) -> None:
        """Somebody follows a link out of a message: the collector has verified its token."""
        handle = self.handle("anonymous_id", browser)
        event = Event(
            event_id=f"click-{browser}-{self.shop.now.isoformat()}", source="web", name="Page Viewed", kind="page",
            occurred_at=self.shop.now, received_at=self.shop.now,
            identifiers=(handle, Identifier(CLICK_TOKEN, recipient)), **more,
        )  # fmt: skip
        self.shop.tell(event)
        self.shop.now += timedelta(seconds=1)


def held_by(web: Web) -> set[str]:
    return set(web.shop.store.state.customer_ids())


def ordered(web: Web, address: str, **properties: Any) -> None:
    """The shop's own system tells an order."""
    order = {"order_id": "o-1", "total": 169, "products": [JACKET], **properties}
    web.sends(
        {"event": "Order Completed", "traits": {}, "context": {"traits": {"email": address}}, "properties": order}
    )


# ------------------------------------------------------------------ a claim leads to nobody


def test_s34_a_typed_address_neither_merges_nor_moves_nor_takes_over() -> None:
    web = Browsers()
    web.sends({"type": "identify", "userId": "ann", "traits": {"email": "ann@example.com"}})
    ann = web.customer("user_id", "ann")
    attacker = web.types("ann@example.com", "attacker")
    assert identity.is_anonymous(attacker.customer_id) and attacker.customer_id != ann.customer_id
    assert web.customer("email", "ann@example.com") == ann == web.customer("user_id", "ann")
    assert web.shop.store.state.counts()["merges"] == 0
    again = web.types("ann@example.com", "another")
    assert again.customer_id != attacker.customer_id, "nor are two browsers one that claim the same address"
    assert {one.kind for one in attacker.memory.identifiers} == {"anonymous_id", "claimed_email"}
    web.shop.restart()
    assert web.customer("anonymous_id", "attacker").memory == attacker.memory


def test_s34_a_browser_may_not_say_the_kinds_that_are_ours() -> None:
    web = Browsers()
    ours = ("click_token", "customer_id", "claimed_email", "claimed_in", "shared_email")
    for kind in ours:
        forged = {"anonymousId": "b", "context": {"externalIds": [{"type": kind, "id": "k-1"}]}}
        web.sends({"type": "page", **forged}, trusted=False)
    events = web.shop.store.log.read(0, 100)
    assert {one.kind for event in events for one in event.identifiers} == {"anonymous_id"}
    for event, kind in zip(events, ours, strict=True):
        assert any(f"unverified: external_{kind} left out" in note for note in event.notes), event.notes


def test_s34_a_claim_serves_that_browser_s_own_cart_and_nothing_else() -> None:
    web = Browsers()
    web.types("guest@example.com")
    assert web.shop.sent() == [("email", "kept")]
    other = Browsers(claims="[]")
    other.types("guest@example.com")
    assert other.shop.sent() == []
    assert [gate for gate, _ in other.shop.refusals("kept")] == ["claimed_address"]
    (held,) = other.shop.decisions("kept")
    refusal = held.considered[0].refusal
    assert refusal is not None and "browser's own cart only" in refusal.reason and "has confirmed it" in refusal.fact


def test_s34_a_claim_is_no_consent() -> None:
    marketing = MARKETING.replace("goal", "enters_on: Checkout Exited\ngoal") + OWN_CART[OWN_CART.index("steps:") :]
    web = Browsers(playbook=written({"kept": marketing.replace("CLAIMS", "[cart_open]")}, kept="email"))
    grant = {"channel": "email", "purpose": "marketing", "double_opt_in": True}
    web.sends({"event": "Consent Granted", "anonymousId": "sofa", "properties": grant}, trusted=False)
    web.types("guest@example.com")
    assert web.shop.sent() == [] and web.shop.refusals("kept")[0][0] == "consent"


def test_s34_somebody_known_is_not_written_to_on_a_claim() -> None:
    web = Browsers()
    forged = {"userId": "ann", "anonymousId": "attacker", "traits": {"email": "attacker@example.net"}}
    web.sends({"type": "identify", **forged}, trusted=False)
    web.types("attacker@example.net", "attacker")
    assert web.shop.sent() == []
    (held,) = web.shop.decisions("kept")
    refusal = held.considered[0].refusal
    assert refusal is not None and refusal.reason == "no confirmed address for email" and "claimed" in refusal.fact


def test_s34_taking_a_consent_back_needs_no_proof_and_ties_no_browser() -> None:
    web = Browsers()
    web.sends({"type": "identify", "userId": "ann", "traits": {"email": "ann@example.com"}})
    grant = {"channel": "email", "purpose": "marketing"}
    web.sends({"event": "Consent Granted", "userId": "ann", "properties": grant})
    said = {"anonymousId": "stranger", "context": {"traits": {"email": "ann@example.com"}}, "properties": grant}
    web.sends({"event": "Consent Withdrawn", **said}, trusted=False)
    assert not web.customer("user_id", "ann").memory.consents["email:marketing"].is_granted
    assert web.shop.store.state.resolve([web.handle("anonymous_id", "stranger")]) == {}


def test_s34_taking_back_in_a_cart_confirms_no_claim() -> None:
    web = Browsers()
    attacker = web.types("ann@example.com", "attacker", cart_id="c-77")
    said = {"context": {"traits": {"email": "ann@example.com"}}, "properties": {"channel": "email", "cart_id": "c-77"}}
    web.sends({"event": "Consent Withdrawn", **said}, trusted=False)
    assert web.customer("anonymous_id", "attacker").customer_id == attacker.customer_id


# ------------------------------------------------------------------ and what confirms it


@pytest.mark.parametrize(("name", "sure"), [("cart_id", 0.8), ("checkout_id", 0.8), ("order_id", 0.7)])
def test_s34_an_order_of_the_same_cart_confirms_the_address(name: str, sure: float) -> None:
    web = Browsers()
    guest = web.types("guest@example.com", **{name: "c-77"})
    ordered(web, "guest@example.com", **{name: "c-77"})
    owner = web.customer("email", "guest@example.com")
    assert web.customer("anonymous_id", "sofa") == owner and owner.customer_id.startswith("e-")
    (merge,) = web.shop.store.state.merges(owner.customer_id)
    assert (merge.loser, merge.confidence) == (guest.customer_id, sure)
    assert web.personal(owner)["email"] == "guest@example.com"


def test_s34_the_claim_may_come_before_the_cart_is_named() -> None:
    web = Browsers()
    web.sends({"type": "identify", "anonymousId": "sofa", "traits": {"email": "guest@example.com"}}, trusted=False)
    step = {"event": "Checkout Step Viewed", "anonymousId": "sofa", "properties": {"step": 1, "checkout_id": "c-1"}}
    web.sends(step, trusted=False)
    web.shop.restart()
    ordered(web, "guest@example.com", checkout_id="c-1")
    assert web.customer("anonymous_id", "sofa") == web.customer("email", "guest@example.com")


def test_s34_another_address_or_another_cart_confirms_nothing() -> None:
    web = Browsers()
    guest = web.types("guest@example.com", cart_id="c-77")
    ordered(web, "else@example.com", cart_id="c-77")
    ordered(web, "guest@example.com", cart_id="c-78", order_id="o-2")
    assert web.customer("anonymous_id", "sofa").customer_id == guest.customer_id


def test_s34_a_cart_that_two_browsers_claim_confirms_neither() -> None:
    web = Browsers()
    two = {web.types("ann@example.com", browser, cart_id="c-77").customer_id for browser in ("ann", "attacker")}
    ordered(web, "ann@example.com", cart_id="c-77")
    assert two < held_by(web)


def test_s34_a_browser_cannot_confirm_itself_by_a_public_key() -> None:
    web = Browsers()
    ordered(web, "ann@example.com", cart_id="c-77")
    ann = web.customer("email", "ann@example.com")
    attacker = web.types("ann@example.com", "attacker", cart_id="c-77", order_id="o-1")
    said = {"anonymousId": "attacker", "context": {"traits": {"email": "ann@example.com"}}}
    web.sends({"event": "Order Completed", **said, "properties": {"order_id": "o-1", "cart_id": "c-77"}}, trusted=False)
    assert web.customer("anonymous_id", "attacker").customer_id == attacker.customer_id != ann.customer_id


def test_s34_a_double_opt_in_confirms_the_one_browser_that_asked() -> None:
    web = Browsers()
    web.types("guest@example.com")
    grant = {"channel": "email", "purpose": "marketing", "double_opt_in": True}
    web.sends({"event": "Consent Granted", "context": {"traits": {"email": "guest@example.com"}}, "properties": grant})
    guest = web.customer("anonymous_id", "sofa")
    assert guest == web.customer("email", "guest@example.com")
    assert guest.memory.consents["email:marketing"].is_granted
    plain = Browsers()
    two = {plain.types("guest@example.com", each).customer_id for each in ("one", "two")}
    plain.sends(
        {"event": "Consent Granted", "context": {"traits": {"email": "guest@example.com"}}, "properties": grant}
    )
    assert two < held_by(plain), "nobody knows which of two browsers asked"


def test_s34_a_click_in_a_mail_to_the_claimed_address_confirms_it() -> None:
    web = Browsers()
    guest = web.types("guest@example.com")
    web.clicks(guest.customer_id, "sofa")
    owner = web.customer("anonymous_id", "sofa")
    assert owner == web.customer("email", "guest@example.com") and owner.customer_id.startswith("e-")
    assert web.shop.store.state.merges(owner.customer_id)[0].confidence == 0.7
    assert web.handle("email", "guest@example.com") in owner.memory.identifiers
    before = owner.memory
    web.shop.restart()
    assert web.customer("anonymous_id", "sofa").memory == before
    refold(web.shop.store.log, web.shop.store.state, web.shop.playbook, customers_max=1000)
    web.shop.restart()
    assert replace(web.customer("anonymous_id", "sofa").memory, position=0) == replace(before, position=0)


def test_s34_a_click_does_not_confirm_an_address_typed_later() -> None:
    """The attack: type an address of one's own, get a mail there, type the victim's, and click the first mail."""
    web = Browsers()
    web.sends({"type": "identify", "userId": "ann", "traits": {"email": "ann@example.com"}})
    attacker = web.types("attacker@example.net", "attacker")
    web.types("ann@example.com", "attacker")
    web.clicks(attacker.customer_id, "attacker")
    assert web.customer("user_id", "ann").customer_id != web.customer("anonymous_id", "attacker").customer_id
    assert web.shop.store.state.resolve([web.handle("email", "attacker@example.net")]) == {}, "nor is the first one"


def test_s34_claims_are_bounded() -> None:
    web = Browsers()
    for number in range(12):
        web.types(f"a{number}@example.com", "sofa", cart_id=f"c-{number}")
    links = web.shop.store.state.links(web.customer("anonymous_id", "sofa").customer_id)
    kinds = [link.identifier.kind for link in links]
    assert kinds.count("claimed_email") == identity.Limits().others_max
    assert kinds.count("claimed_in") == identity.Limits().carts_max


# ------------------------------------------------------------------ cards, old proof, devices


def card(number: str = "CARD-0042-7781-9000") -> dict[str, Any]:
    return {"externalIds": [{"type": "loyalty_id", "id": number}]}


def bought_at_the_till(web: Web, order: str) -> None:
    sold = {"order_id": order, "total": 500, "products": [JACKET]}
    web.sends({"event": "Store Purchase", "context": card(), "properties": sold})


def test_s34_a_card_without_an_account_is_not_taken_over_by_whoever_names_it() -> None:
    web = Browsers()
    bought_at_the_till(web, "r-1")
    buyer = web.customer("loyalty_id", "CARD-0042-7781-9000").customer_id
    web.sends({"type": "page", "anonymousId": "attacker", "context": card()}, trusted=False)
    web.sends({"type": "identify", "userId": "mallory", "anonymousId": "attacker", "context": card()}, trusted=False)
    bought_at_the_till(web, "r-2")
    assert web.customer("loyalty_id", "CARD-0042-7781-9000").customer_id == buyer
    others = {web.customer("user_id", "mallory").customer_id, web.customer("anonymous_id", "attacker").customer_id}
    assert buyer not in others
    assert any("unverified: loyalty_id" in note for event in web.shop.store.log.read(0, 9) for note in event.notes)


def test_s34_a_card_named_before_it_is_anybody_s_waits_for_its_holder() -> None:
    web = Browsers()
    web.sends({"type": "identify", "userId": "mallory", "anonymousId": "attacker", "context": card()}, trusted=False)
    web.sends({"type": "identify", "userId": "ann", "context": card()})
    assert web.customer("loyalty_id", "CARD-0042-7781-9000") == web.customer("user_id", "ann")
    collected = web.sends({"type": "page", "context": card()}, trusted=False)
    assert [each.code for each in collected.rejected] == ["no_identifier"], "a card alone is nobody, and is told so"


def test_s34_an_opt_in_from_before_the_claim_confirms_nothing() -> None:
    web = Browsers()
    web.sends({"type": "identify", "userId": "ann", "traits": {"email": "ann@example.com"}})
    attacker = web.types("ann@example.com", "attacker")
    grant = {"channel": "email", "purpose": "marketing", "double_opt_in": True}
    said = {"event": "Consent Granted", "context": {"traits": {"email": "ann@example.com"}}, "properties": grant}
    web.sends({**said, "timestamp": "2020-01-01T00:00:00Z"})
    assert web.customer("anonymous_id", "attacker").customer_id == attacker.customer_id


# ------------------------------------------------------------------ what the vault keeps under a known person's address


def moment_of(web: Web, customer: Customer) -> Moment:
    return Moment(customer, web.shop.playbook, web.shop.engine.world(web.shop.now))


def _kept(web: Web, kind: str, value: str, name: str = "") -> Any:
    subject = f"{kind}:{web.handle(kind, value).value}"
    return web.shop.store.vault.get([subject]).get(subject, {}).get(name or kind)


@pytest.mark.parametrize("phone", ("+49 garbage 1701234567 x", "+4917(0)1234567", "0049 (170) 123-4567"))
@pytest.mark.parametrize("email", ("vi\u212ator@shop.example", "VIKTOR@SHOP.EXAMPLE", " viktor@Shop.Example "))
@pytest.mark.parametrize("is_first", (True, False))
def test_s34_no_spelling_of_an_address_changes_what_is_written_to(phone: str, email: str, is_first: bool) -> None:
    web = Browsers()
    victim = {"type": "identify", "userId": "viktor-1"}
    victim["traits"] = {"email": "viktor@shop.example", "phone": "+49 170 1234567"}  # type: ignore[assignment]
    attacker = {"type": "identify", "anonymousId": "attacker", "traits": {"email": email, "phone": phone}}
    for message in (attacker, victim) if is_first else (victim, attacker):
        web.sends(message, trusted=message is victim)
    assert _kept(web, "email", "viktor@shop.example") == "viktor@shop.example"
    assert _kept(web, "phone", "+491701234567") == "+491701234567"
    personal = web.personal(web.customer("user_id", "viktor-1"))
    assert (personal["email"], personal["phone"]) == ("viktor@shop.example", "+491701234567")


@pytest.mark.parametrize("number", range(8))
def test_s34_an_address_is_kept_under_no_hash_but_its_own(number: int) -> None:
    """Two addresses in one message, one of them in `externalIds` or a property: which hash comes first is luck."""
    web = Browsers()
    victim, attacker = f"victim{number}@shop.example", f"attacker{number}@evil.example"
    entry = {"type": "email", "id": victim, "collection": "users"}
    both = {"anonymousId": "attacker", "context": {"externalIds": [entry]}, "traits": {"email": attacker}}
    web.sends({"type": "identify", **both}, trusted=False)
    assert (_kept(web, "email", victim), _kept(web, "email", attacker)) == (victim, attacker)
    web.sends({"type": "identify", "userId": "victim-1", "traits": {"email": victim}})
    as_property = {"anonymousId": "attacker", "properties": {"email": attacker, "push_token": "t", "phone": "1"}}
    web.sends({"event": "Cart Viewed", **as_property}, trusted=False)
    web.sends({"event": "Cart Viewed", **as_property, "context": {"traits": {"email": victim}}}, trusted=False)
    assert _kept(web, "email", victim) == victim
    assert web.personal(web.customer("user_id", "victim-1"))["email"] == victim
    assert {_kept(web, "anonymous_id", "attacker", kind) for kind in ("email", "phone", "push_token")} == {None}


def test_s34_a_known_person_s_pushes_go_to_no_device_that_a_public_key_names() -> None:
    web = Browsers()
    own = {"userId": "victim-1", "anonymousId": "victims-phone", "context": {"device": {"token": "token-of-victim"}}}
    web.sends({"type": "identify", **own})

    def goes_to() -> Any:
        moment = moment_of(web, web.customer("user_id", "victim-1"))
        return moment.fact("address.push")

    assert goes_to() == web.handle("push_token", "token-of-victim").value
    forged = {"anonymousId": "attackers-phone", "context": {"device": {"token": "token-of-attacker"}}}
    web.sends({"event": "Product Viewed", "userId": "victim-1", **forged, "properties": JACKET}, trusted=False)
    assert goes_to() == web.handle("push_token", "token-of-victim").value
    assert web.personal(web.customer("user_id", "victim-1"))["push_token"] == "token-of-victim"
    web.shop.restart()
    assert goes_to() == web.handle("push_token", "token-of-victim").value


def test_s34_a_device_that_nobody_has_logged_in_on_is_pushed_to_by_its_own_token() -> None:
    web = Browsers()
    app = {"anonymousId": "phone", "context": {"device": {"token": "token-of-phone"}}}
    web.sends({"event": "Product Viewed", **app, "properties": JACKET}, trusted=False)
    customer = web.customer("anonymous_id", "phone")
    moment = moment_of(web, customer)
    assert moment.fact("address.push") == web.handle("push_token", "token-of-phone").value
    assert moment.fact("claimed.push") is False and web.personal(customer)["push_token"] == "token-of-phone"


def test_s34_a_click_on_another_browser_ties_that_one_to_the_mailbox_and_not_who_typed_it() -> None:
    web = Browsers()
    web.sends({"type": "identify", "userId": "ann", "traits": {"email": "ann@example.com"}})
    ann = web.customer("user_id", "ann")
    attacker = web.types("ann@example.com", "attacker")
    web.clicks(attacker.customer_id, "anns-phone")
    assert web.customer("anonymous_id", "attacker").customer_id == attacker.customer_id
    assert web.customer("anonymous_id", "anns-phone").customer_id == ann.customer_id
    tie = web.shop.engine.people.tie([web.handle("anonymous_id", "anns-phone")])
    assert tie is not None and tie.confidence == 0.7
    (asked,) = web.shop.store.state.reviews()
    assert {asked.one, asked.other} == {ann.customer_id, attacker.customer_id}
    web.sends({"type": "identify", "userId": "mallory", "anonymousId": "attacker"}, trusted=False)
    web.clicks(attacker.customer_id, "anns-tablet")
    mallory = web.customer("user_id", "mallory").customer_id
    assert web.customer("anonymous_id", "anns-tablet").customer_id == ann.customer_id != mallory


def test_s34_a_click_on_another_browser_begins_the_owner_of_the_mailbox() -> None:
    web = Browsers()
    guest = web.types("guest@example.com")
    web.clicks(guest.customer_id, "phone")
    owner = web.customer("email", "guest@example.com")
    assert owner.customer_id.startswith("e-") and web.customer("anonymous_id", "phone") == owner
    assert web.customer("anonymous_id", "sofa").customer_id == guest.customer_id
    assert len(web.shop.store.state.reviews()) == 1, "whether the two are one is for a person to judge"


def test_s34_a_user_id_that_a_browser_says_makes_that_browser_no_surer() -> None:
    web = Browsers()
    web.sends({"type": "identify", "userId": "ann", "traits": {"email": "ann@example.com"}})
    people = web.shop.engine.people
    for browser in ("attacker", "seen-before"):
        web.sends({"type": "page", "anonymousId": "seen-before"}, trusted=False)
        web.sends({"type": "identify", "userId": "ann", "anonymousId": browser}, trusted=False)
        tie = people.tie([web.handle("anonymous_id", browser)])
        assert tie is not None and (tie.customer_id[:2], tie.confidence) == ("k-", 0.5)
        ids = [web.handle("user_id", "ann"), web.handle("anonymous_id", browser)]
        said = people.tie(ids, is_verified=False)
        assert said is not None and said.confidence == 0.5, "nor does it become surer where a page asks so"
    assert web.customer("user_id", "ann").match_confidence == 1.0, "of the person we are as sure as before"
    web.sends({"type": "page", "userId": "ann", "anonymousId": "attacker"}, trusted=False)
    event = web.shop.store.log.read(web.shop.store.log.head() - 1, 1)[0]
    assert people.whose(event).through == 0.5
    web.sends({"type": "page", "userId": "ann", "anonymousId": "seen-before"})
    tie = people.tie([web.handle("anonymous_id", "seen-before")])
    assert tie is not None and tie.confidence == 1.0, "a log-in that is vouched for makes sure of it"


def test_s34_browsers_that_say_they_are_hers_do_not_lock_her_own_phone_out() -> None:
    web = Browsers()
    web.sends({"type": "identify", "userId": "ann", "anonymousId": "laptop", "traits": {"email": "ann@example.com"}})
    ann = web.customer("user_id", "ann").customer_id
    for number in range(40):
        web.sends({"type": "page", "userId": "ann", "anonymousId": f"attacker-{number}"}, trusted=False)
    for public in (True, False):
        phone = f"phone-{public}"
        web.sends({"type": "page", "anonymousId": phone}, trusted=False)
        web.sends({"type": "identify", "userId": "ann", "anonymousId": phone}, trusted=not public)
        assert web.customer("anonymous_id", phone).customer_id == ann
    attackers = [web.handle("anonymous_id", f"attacker-{number}") for number in range(40)]
    theirs = web.shop.store.state.resolve([*attackers, web.handle("anonymous_id", "laptop")])
    assert [each.value for each, owner in theirs.items() if owner == ann] == [
        web.handle(*each).value
        for each in [("anonymous_id", f"attacker-{number}") for number in (37, 38, 39)] + [("anonymous_id", "laptop")]
    ], "the oldest gave way, and what is proven stays"


def test_s34_merges_that_browsers_make_leave_room_for_those_that_are_proven() -> None:
    web = Browsers()
    web.sends({"type": "identify", "userId": "ann"})
    ann = web.customer("user_id", "ann").customer_id
    for number in range(60):
        web.sends({"type": "page", "anonymousId": f"attacker-{number}"}, trusted=False)
        web.sends({"type": "page", "userId": "ann", "anonymousId": f"attacker-{number}"}, trusted=False)
    assert web.shop.store.state.merges_count(ann) == identity.Limits().merges_max // 2
    web.sends({"type": "page", "anonymousId": "phone"}, trusted=False)
    web.sends({"type": "identify", "userId": "ann", "anonymousId": "phone"})
    assert web.customer("anonymous_id", "phone").customer_id == ann
