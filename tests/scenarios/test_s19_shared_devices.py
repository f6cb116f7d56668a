"""S19: a kiosk, a family, a literal `null`, a chain of browsers: two known people are never made one."""

from __future__ import annotations

import itertools
from datetime import timedelta

from tests.scenarios.test_s34_forged_in_a_browser import Browsers, held_by
from tests.shop import MARKETING, NOON, Shop, happened, written
from tests.unit.runtime.test_forged_identity import Web

from wayline.domain import Event, Identifier
from wayline.observation.claims import CLICK_TOKEN
from wayline.observation.directory import Directory
from wayline.observation.identity import Limits, handles, is_shared, resolve
from wayline.runtime.embedded import Limits as Sizes

_numbers = itertools.count(1)


def seen(*identifiers: Identifier, **more: str) -> Event:
    return happened("Product Viewed", identifiers, at=NOON + timedelta(seconds=next(_numbers)), **more)


def test_s19_a_thousand_log_ins_on_one_device_leave_a_thousand_customers() -> None:
    kiosk = Identifier("anonymous_id", "kiosk")
    users = [Identifier("user_id", f"u{number}") for number in range(1000)]
    shop = Shop(limits=Sizes(events_max=97))
    shop.tell(*(seen(user, kiosk) for user in users))
    state = shop.store.state
    assert len(set(state.resolve(users).values())) == 1000
    assert state.counts()["merges"] == 0
    assert is_shared(state.resolve([kiosk])[kiosk])


def test_s19_a_user_id_null_of_fifty_browsers_links_nothing() -> None:
    web = Web()
    for value in ("null", "undefined", "0", "-1", "anonymous", "[object Object]"):
        browsers = [f"browser-{value}-{number}" for number in range(50)]
        web.sends(*({"type": "page", "userId": value, "anonymousId": each} for each in browsers))
        handles = [web.handle("anonymous_id", each) for each in browsers]
        assert len(set(web.shop.store.state.resolve(handles).values())) == 50
    assert web.shop.store.state.counts()["merges"] == 0


def test_s19_a_household_shares_a_mailbox_and_stays_two() -> None:
    web = Web()
    for name in ("ann", "ben"):
        web.sends({"type": "identify", "userId": name, "traits": {"email": "family@example.com", "firstName": name}})
    ann, ben = web.customer("user_id", "ann"), web.customer("user_id", "ben")
    assert ann.customer_id != ben.customer_id and web.shop.store.state.counts()["merges"] == 0
    assert web.customer("email", "family@example.com") == ann, "the mailbox leads to the first"
    assert web.personal(ben)["email"] == "family@example.com", "the second is written to there too"
    assert web.personal(ben)["first_name"] == "ben" and web.personal(ann)["first_name"] == "ann"
    (asked,) = web.shop.store.state.reviews()
    assert {asked.one, asked.other} == {ann.customer_id, ben.customer_id} and asked.state == "open"
    web.sends({"type": "identify", "userId": "ben", "traits": {"email": "family@example.com"}})
    assert len(web.shop.store.state.reviews()) == 1, "asked again, it is the same question"
    kinds = {one.kind for one in ben.memory.identifiers}
    assert kinds == {"user_id", "shared_email"}
    web.shop.restart()
    assert web.customer("user_id", "ben").memory.identifiers[0].kind in kinds


def test_s19_a_household_is_not_sent_the_same_twice() -> None:
    """The rules of the mailbox hold for the shared one: what one was sent, the other is not sent there."""
    letter = "enters_on: Newsletter Due\nsteps:\n  send: {propose: [{action: news, channel: email, content: hello}], "
    letter += "patience: 1 hour, then: end, otherwise: end}\n"
    web = Browsers(playbook=written({"news": MARKETING + letter}, hello="email"))
    shop = web.shop
    for name in ("ann", "ben"):
        web.sends({"type": "identify", "userId": name, "traits": {"email": "family@example.com"}})
        grant = {"channel": "email", "purpose": "marketing"}
        web.sends({"event": "Consent Granted", "userId": name, "properties": grant})
    for name in ("ann", "ben"):
        shop.tell(happened("Newsletter Due", (web.handle("user_id", name),)))
    shop.after(hours=2)
    assert [row.state for row in shop.deliveries()] == ["sent", "refused"]
    assert "somebody who shares it" in shop.deliveries()[1].detail


def test_s19_a_chain_of_browsers_meets_a_fuse() -> None:
    limits = Limits(others_max=10_000, merges_max=100)
    directory = Directory()

    def told(*identifiers: Identifier) -> None:
        event = seen(*identifiers)
        directory.learn(resolve(event, directory.resolve(handles(event)), directory, limits))

    for number in range(300):
        told(Identifier("anonymous_id", f"b{number}"))
    for number in range(300):
        told(Identifier("user_id", "u"), Identifier("anonymous_id", f"b{number}"))
    (person,) = directory.resolve([Identifier("user_id", "u")]).values()
    assert directory.merges_count(person) == limits.merges_max


# ------------------------------------------------------------------ clicks


def test_s19_a_click_ties_an_anonymous_browser_to_the_recipient_and_only_so_surely() -> None:
    web = Browsers()
    web.sends({"type": "identify", "userId": "ann", "traits": {"email": "ann@example.com"}})
    ann = web.customer("user_id", "ann")
    web.sends({"event": "Product Viewed", "anonymousId": "phone", "properties": {"sku": "jacket"}}, trusted=False)
    phone = web.customer("anonymous_id", "phone")
    web.clicks(ann.customer_id, "phone")
    assert web.customer("anonymous_id", "phone").customer_id == ann.customer_id
    (merge,) = web.shop.store.state.merges(ann.customer_id)
    assert (merge.loser, merge.confidence) == (phone.customer_id, 0.7)
    tie = web.shop.engine.people.tie([web.handle("anonymous_id", "phone")])
    assert tie is not None and (tie.customer_id, tie.confidence) == (ann.customer_id, 0.7)
    assert web.customer("user_id", "ann").match_confidence == 1.0, "of the person we are as sure as before"
    web.shop.engine.people.clear()
    assert web.shop.engine.people.tie([web.handle("anonymous_id", "phone")]) == tie, "the store says the same"
    web.sends({"event": "Product Viewed", "userId": "ann", "anonymousId": "phone", "properties": {"sku": "jacket"}})
    sure = web.shop.engine.people.tie([web.handle("anonymous_id", "phone")])
    assert sure is not None and sure.confidence == 1.0, "a log-in on it makes sure of it"


def test_s19_a_click_never_merges_two_people() -> None:
    web = Browsers()
    for name in ("ann", "ben"):
        web.sends(
            {"type": "identify", "userId": name, "anonymousId": f"{name}s", "traits": {"email": f"{name}@x.example"}}
        )
    ann, ben = (web.customer("user_id", name) for name in ("ann", "ben"))
    web.clicks(ann.customer_id, "bens")  # a mail that was forwarded
    assert {ann.customer_id, ben.customer_id} <= held_by(web)
    assert web.customer("anonymous_id", "bens").customer_id == ben.customer_id
    assert [(r.one, r.other) for r in web.shop.store.state.reviews()] == [
        tuple(sorted((ann.customer_id, ben.customer_id)))
    ]


def test_s19_a_machine_s_click_a_strange_token_and_a_kiosk_tie_nobody() -> None:
    web = Browsers()
    web.sends({"type": "identify", "userId": "ann", "traits": {"email": "ann@example.com"}})
    ann = web.customer("user_id", "ann")
    web.clicks(ann.customer_id, "scanner", properties={"automated": True})
    web.clicks("k-of-nobody", "stranger")
    for number in range(5):
        web.sends({"event": "Product Viewed", "userId": f"u{number}", "anonymousId": "kiosk"})
    web.clicks(ann.customer_id, "kiosk")
    owners = {web.customer("anonymous_id", each).customer_id for each in ("scanner", "stranger")}
    assert ann.customer_id not in owners and len(owners) == 2
    assert web.shop.store.state.counts()["merges"] == 0
    nobodys = Event(
        event_id="alone", source="web", name="Page Viewed", occurred_at=web.shop.now, received_at=web.shop.now,
        identifiers=(Identifier(CLICK_TOKEN, "k-of-nobody"),),
    )  # fmt: skip
    web.shop.tell(nobodys)
    assert web.shop.store.state.set_asides() == []
