"""S20: a merge taken back leaves two people who remember what they would if they had never been one.

What was sent stays with whom it reached, enrollments with whose event entered them, ids resolve for ever, and no later
event makes one of what a person has judged to be two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.laws.test_turns import JACKET, Act, acts, law, with_control
from tests.shop import ANN, MARKETING, NOON, Shop, apparel, happened, person, visitor, written

from wayline.domain import Event, Identifier, Memory
from wayline.errors import SenderError
from wayline.runtime import reviewing
from wayline.runtime.kinship import whom_it_reached
from wayline.runtime.refolding import refold
from wayline.store.opening import open_store

BEN = person("ben")
SOFA, PHONE = visitor("sofa"), visitor("phone")
PEOPLE = {
    "ann": ANN, "ben": BEN, "sofa": SOFA, "phone": PHONE, "ann on the sofa": (*ANN, *SOFA),
    "ben on the sofa": (*BEN, *SOFA), "ann on the phone": (*ANN, *PHONE),
}  # fmt: skip


def told(shop: Shop, event: Event) -> None:
    shop.store.log.append([event])
    shop.engine.drain(shop.now)


def merge(shop: Shop, one: Sequence[Identifier], other: Sequence[Identifier]) -> str:
    """Merge by hand; the id that was merged away."""
    ids = [shop.customer(who).customer_id for who in (one, other)]
    event = reviewing.merged(shop.store.state, *ids, by="iris", why="the same postal address", at=shop.now)
    told(shop, event)
    return str(event.properties["loser"])


def split(shop: Shop, loser: str) -> None:
    told(shop, reviewing.split(shop.store.state, loser, by="iris", why="two sisters", at=shop.now))


def owners(shop: Shop) -> dict[str, str]:
    """Every identifier ever seen, and whose it is."""
    handles = sorted({one for who in PEOPLE.values() for one in who})
    found = shop.store.state.resolve(handles)
    return {f"{one.kind}:{one.value}": found[one] for one in handles if one in found}


def memories(shop: Shop) -> dict[str, Memory]:
    found = {one: shop.engine.customer(one).memory for one in shop.store.state.customer_ids()}
    return {one: replace(memory, position=0) for one, memory in found.items() if memory.identifiers}


def holders_of_carts(shop: Shop) -> set[str]:
    everybody = map(shop.engine.customer, shop.store.state.customer_ids())
    return {one.customer_id for one in everybody if any(name.startswith("cart:") for name in one.memory.facets)}


def told_life(shop: Shop, life: Sequence[Act], first: int = 0) -> None:
    for number, (minutes, who, name, properties) in enumerate(life, first):
        shop.after(minutes=minutes)
        shop.tell(happened(name, PEOPLE[who], event_id=f"act-{number}", **properties))


# ------------------------------------------------------------------ facets


lives = st.lists(
    st.tuples(st.integers(0, 600), st.sampled_from(sorted(PEOPLE)), acts).map(lambda t: (t[0], t[1], *t[2])),
    max_size=10,
)


@law
@given(lives, lives, lives, st.booleans())
def test_s20_merged_by_hand_then_split_is_never_merged(
    before: list[Act], between: list[Act], after: list[Act], is_restarted: bool
) -> None:
    never, once = Shop(), Shop()
    loser = ""
    for shop in (never, once):
        told_life(shop, [(0, "ann", "Product Viewed", JACKET), (0, "ben", "Product Viewed", JACKET), *before])
        if shop is once:
            loser = merge(shop, ANN, BEN)
        told_life(shop, between, 100)
        if shop is once:
            if is_restarted:
                shop.restart()
            assert shop.customer(ANN).customer_id == shop.customer(BEN).customer_id
            split(shop, loser)
            if is_restarted:
                shop.restart()
        told_life(shop, after, 200)
    assert owners(once) == owners(never)
    assert memories(once) == memories(never)
    assert once.store.state.set_asides() == []
    refold(once.store.log, once.store.state, once.playbook, customers_max=1000)
    once.restart()
    assert memories(once) == memories(never), "folding the whole log again gives the same"


def test_s20_a_merge_by_evidence_is_taken_back_and_stays_so() -> None:
    shop = Shop()
    told_life(shop, [(0, "sofa", "Product Added", JACKET), (0, "ann", "Product Viewed", JACKET)])
    sofa, ann = shop.customer(SOFA).customer_id, shop.customer(ANN).customer_id
    told_life(shop, [(0, "ann on the sofa", "Products Searched", {}), (0, "sofa", "Product Viewed", JACKET)], 10)
    assert shop.customer(SOFA).customer_id == ann
    split(shop, sofa)
    assert shop.customer(SOFA).customer_id == sofa
    assert shop.customer(SOFA).customer_id in holders_of_carts(shop) == {sofa}
    for _ in range(3):  # the same evidence once more
        told_life(shop, [(1, "ann on the sofa", "Products Searched", {})], shop.store.log.head() + 100)
        assert shop.customer(SOFA).customer_id == sofa and shop.customer(ANN).customer_id == ann
        shop.restart()
    assert [review.state for review in shop.store.state.reviews()] == ["kept apart"]
    merge(shop, ANN, SOFA)
    assert shop.customer(SOFA).customer_id == ann, "a person may judge otherwise later"
    with pytest.raises(SenderError, match="one customer already"):
        merge(shop, ANN, SOFA)


def test_s20_old_ids_resolve_for_ever() -> None:
    shop = Shop()
    told_life(shop, [(0, who, "Product Viewed", JACKET) for who in ("sofa", "phone", "ann")])
    ids = {who: shop.customer(PEOPLE[who]).customer_id for who in ("sofa", "phone", "ann")}
    told_life(shop, [(0, f"ann on the {where}", "Products Searched", {}) for where in ("sofa", "phone")], 10)
    assert {shop.store.state.survivor(one) for one in ids.values()} == {ids["ann"]}
    split(shop, ids["sofa"])
    assert shop.store.state.survivor(ids["sofa"]) == ids["sofa"]
    assert shop.store.state.survivor(ids["phone"]) == ids["ann"], "who was merged otherwise stays merged"
    (ended,) = shop.store.state.splits()
    assert (ended.loser, ended.survivor, ended.by) == (ids["sofa"], ids["ann"], "iris")


def test_s20_whom_one_of_them_would_have_met_alone_is_drawn_in() -> None:
    """Together they have more browsers than one may have, so the phone was turned away: without the other, it joins."""
    seen = []
    for is_merged in (False, True):
        shop = Shop()
        for number in range(4):
            for who in (ANN, BEN):
                browser = visitor(f"{who[0].value}-{number}")
                shop.tell(happened("Product Viewed", (*who, *browser), event_id=f"{who[0].value}-{number}", **JACKET))
        loser = merge(shop, ANN, BEN) if is_merged else ""
        told_life(shop, [(1, "phone", "Product Added", JACKET), (1, "ann on the phone", "Products Searched", {})])
        assert (shop.customer(PHONE).customer_id == shop.customer(ANN).customer_id) is not is_merged
        if is_merged:
            split(shop, loser)
        seen.append((owners(shop), memories(shop)))
    assert seen[0] == seen[1]


def test_s20_what_was_never_merged_is_not_split() -> None:
    shop = Shop()
    told_life(shop, [(0, "ann", "Product Viewed", JACKET), (0, "ben", "Product Viewed", JACKET)])
    with pytest.raises(SenderError, match="was not merged into another"):
        split(shop, shop.customer(BEN).customer_id)
    with pytest.raises(SenderError, match="no customer of that id"):
        split(shop, "k-nobody")


def test_s20_both_stores_split_alike() -> None:
    life: list[Act] = [
        (0, "ann", "Product Added", JACKET),
        (5, "ben", "Product Viewed", JACKET),
        (5, "ben on the sofa", "Product Added", JACKET),
    ]
    seen = []
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder)) as store:
        for shop in (Shop(), Shop(store=store)):
            told_life(shop, life)
            loser = merge(shop, ANN, BEN)
            told_life(
                shop, [(5, "phone", "Product Viewed", JACKET), (5, "ann on the phone", "Checkout Started", {})], 10
            )
            split(shop, loser)
            shop.restart()
            state = shop.store.state
            seen.append(
                (owners(shop), memories(shop), state.merges(), state.splits(), state.reviews(), state.links(loser))
            )
    assert seen[0] == seen[1]


# ------------------------------------------------------------------ where they stand


def test_s20_enrollments_and_what_waits_to_leave_go_with_whose_event_entered_them() -> None:
    letter = "enters_on: Product Added\nreentry: per sku\nsteps:\n"
    letter += "  send: {propose: [{action: news, channel: email, content: hello}], "
    letter += "patience: 1 day, then: wait, otherwise: end}\n  wait: {wait: 10 days, then: end}\n"
    shop = Shop(written({"news": MARKETING.replace("reentry: after 1 day\n", "") + letter}, hello="email"))
    for who in (ANN, BEN):
        shop.consent(who)
    loser = merge(shop, ANN, BEN)
    shop.store.log.append(
        [
            replace(happened("Product Added", who, at=shop.now, received_at=shop.now, sku=sku))
            for who, sku in ((BEN, "socks"), (ANN, "jacket"))
        ]
    )
    shop.engine.catch_up(shop.now)  # decided, and not handed over yet
    (waiting,) = {row.customer_id for row in shop.deliveries() if row.state == "pending"}
    assert waiting == shop.customer(ANN).customer_id
    told_event = reviewing.split(shop.store.state, loser, by="iris", why="no", at=shop.now)
    shop.store.log.append([told_event])
    shop.engine.catch_up(shop.now)
    keys = {
        who: {e.key for e in shop.customer(PEOPLE[who]).standing.enrollments if e.is_open} for who in ("ann", "ben")
    }
    survivor = {"ann": "jacket", "ben": "socks"}
    assert keys == {who: {sku} for who, sku in survivor.items()}
    (row,) = shop.deliveries()
    assert (row.customer_id, row.state) == (shop.customer(BEN).customer_id, "pending"), "his entered first, and waits"
    shop.after(days=2)
    assert [(row.customer_id, row.state) for row in shop.deliveries()] == [
        (shop.customer(BEN).customer_id, "sent"),
        (shop.customer(ANN).customer_id, "sent"),
    ]
    for who in (ANN, BEN):
        standing = shop.customer(who).standing
        assert all(e.wake_at is not None or e.pending is not None for e in standing.enrollments if e.is_open)
    assert not [row for row in shop.deliveries() if row.state in ("pending", "attempting")], "nobody is stuck"
    assert shop.store.state.set_asides() == []


def test_s20_what_was_sent_stays_with_whom_it_reached_and_so_does_the_arm() -> None:
    letter = "enters_on: Product Added\nsteps:\n  send: {propose: [{action: news, channel: email, content: hello}], "
    letter += "patience: 1 day, then: end, otherwise: end}\n"
    book = with_control(written({"news": MARKETING + letter}, hello="email"), 0.5)
    shop = Shop(book)
    for who in (ANN, BEN):
        shop.consent(who)
    shop.tell(happened("Product Added", BEN, sku="jacket"))
    assert [row.state in ("sent", "withheld") for row in shop.deliveries()] == [True]
    loser = merge(shop, ANN, BEN)
    assert len(shop.customer(ANN).standing.contacts) == 1
    shop.now += timedelta(days=2)
    shop.tell(happened("Product Added", ANN, sku="socks"))  # reaches the address used last: Ann's
    split(shop, loser)
    ann, ben = shop.customer(ANN).standing, shop.customer(BEN).standing
    sent = {row.decision_id: row for row in shop.deliveries()}
    for standing, mailbox in ((ann, ANN[1]), (ben, BEN[1])):
        for contact in standing.contacts:
            decision = shop.store.state.decision(contact.decision_id)
            assert decision is not None and decision.facts["address.email"] == mailbox.value
            assert sent[contact.decision_id].state in ("sent", "withheld")
    assert len(ben.contacts) == 1 and ben.assignments["journey:news"].exposed_at is not None
    assert len(ann.contacts) + len(ben.contacts) == len(sent)
    (to_ben,) = (shop.store.state.decision(contact.decision_id) for contact in ben.contacts)
    assert to_ben is not None and whom_it_reached(shop.store.state, to_ben) == shop.customer(BEN).customer_id


def test_s20_whoever_unsubscribes_by_an_old_link_is_the_one_it_reached() -> None:
    """Decided while two were one, it went to the address used last; after the split that is somebody else's."""
    letter = "enters_on: Product Added\nsteps:\n  send: {propose: [{action: news, channel: email, content: hello}], "
    letter += "patience: 1 day, then: end, otherwise: end}\n"
    shop = Shop(written({"news": MARKETING + letter}, hello="email"))
    for who in (ANN, BEN):
        shop.consent(who)
    loser = merge(shop, ANN, BEN)
    shop.now += timedelta(minutes=1)
    shop.tell(happened("Product Added", BEN, sku="socks"))
    (row,) = shop.deliveries()
    decision = shop.store.state.decision(row.decision_id)
    assert decision is not None and decision.customer_id != loser and row.state == "sent"
    assert whom_it_reached(shop.store.state, decision) == shop.customer(ANN).customer_id
    split(shop, loser)
    assert whom_it_reached(shop.store.state, decision) == loser == shop.customer(BEN).customer_id


def test_s20_a_refused_question_holds_against_evidence() -> None:
    shop = Shop()
    told_life(shop, [(0, "sofa", "Product Viewed", JACKET), (0, "ann", "Product Viewed", JACKET)])
    ids = shop.customer(SOFA).customer_id, shop.customer(ANN).customer_id
    asked = reviewing.propose_review(shop.store.state, *ids, confidence=0.7, evidence=["the same street"], at=NOON)
    assert asked is not None and asked.state == "open"
    told(shop, reviewing.answered(shop.store.state, asked.review_id, accept=False, by="iris", at=shop.now))
    told_life(shop, [(1, "ann on the sofa", "Products Searched", {})], 50)
    assert shop.customer(SOFA).customer_id == ids[0]
    again = reviewing.propose_review(shop.store.state, *ids, confidence=0.99, evidence=["surely"], at=NOON)
    assert again is None, "judged once, it is not asked again"
    with pytest.raises(SenderError, match="refused already, by iris"):
        reviewing.answered(shop.store.state, asked.review_id, accept=True, by="ole", at=shop.now)


def test_s20_an_accepted_question_is_a_merge() -> None:
    shop = Shop(apparel())
    told_life(shop, [(0, "ben", "Product Viewed", JACKET), (0, "ann", "Product Viewed", JACKET)])
    ids = shop.customer(BEN).customer_id, shop.customer(ANN).customer_id
    asked = reviewing.propose_review(shop.store.state, *ids, confidence=0.7, evidence=["the same card"], at=NOON)
    assert asked is not None
    told(shop, reviewing.answered(shop.store.state, asked.review_id, accept=True, by="iris", at=shop.now))
    assert shop.customer(ANN).customer_id == shop.customer(BEN).customer_id
    (kept,) = shop.store.state.reviews()
    assert (kept.state, kept.by) == ("accepted", "iris")
    assert shop.store.state.merges(ids[0])[0].by == "iris"
    assert reviewing.propose_review(shop.store.state, *ids, confidence=0.7, evidence=["x"], at=NOON) is None
