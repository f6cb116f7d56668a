"""The laws of the turn, over generated lives of a few shoppers, each with a mutant of the product that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.shop import ANN, NOON, Shop, apparel, happened, person, visitor

from wayline.domain import Control, Decision, Memory, Playbook
from wayline.engine import begin, finish
from wayline.governance.audit import explain
from wayline.governance.consent import GUARDS
from wayline.interpretation import customers
from wayline.observation import identity
from wayline.observation.directory import Directory
from wayline.orchestration import journeys
from wayline.orchestration.gates import GATES
from wayline.runtime.embedded import Limits
from wayline.runtime.replaying import replay_all
from wayline.store.opening import open_store

BEN = person("ben")
BROWSER = visitor("sofa")
PEOPLE = {"ann": ANN, "ben": BEN, "browser": BROWSER, "ann on the browser": (*ANN, *BROWSER)}
JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}
ORDER = {"revenue": 16900, "products": [JACKET]}

Act = tuple[int, str, str, dict[str, object]]
"""Minutes since the one before, who, what, with which properties."""

ACTS: tuple[tuple[str, dict[str, object]], ...] = (
    ("Product Viewed", JACKET),
    ("Product Added", JACKET),
    ("Checkout Started", {"products": [JACKET]}),
    ("Checkout Step Viewed", {"step": 2}),
    ("Checkout Exited", {"step": 2}),
    ("Cart Emptied", {}),
    ("Consent Granted", {"channel": "email", "purpose": "marketing"}),
    ("Consent Granted", {"channel": "push", "purpose": "marketing"}),
    ("Consent Withdrawn", {"channel": "email", "purpose": "marketing"}),
    ("Email Link Clicked", {"email_id": "m"}),
    ("Email Link Clicked", {"email_id": "m", "automated": True}),
    ("Email Bounced", {"bounce_type": "soft"}),
    ("Email Delivered", {}),
    ("Message Sent", {"channel": "email", "tool": "klaviyo", "content": "cart-reminder"}),
    ("Ticket Opened", {"ticket_id": "t1"}),
    ("Ticket Closed", {"ticket_id": "t1"}),
    ("Newsletter Due", {}),
    ("Order Shipped", {"order_id": "o1"}),
    ("Order Delayed", {"order_id": "o1", "promised_on": "2025-10-20", "new_promised_on": "2025-10-24"}),
    ("Order Delivered", {"order_id": "o1"}),
)

acts = st.one_of(
    st.sampled_from(ACTS),
    st.sampled_from(["o1", "o2", "o3"]).map(lambda order: ("Order Completed", {**ORDER, "order_id": order})),
)
lives = st.lists(
    st.tuples(st.integers(0, 3000), st.sampled_from(sorted(PEOPLE)), acts).map(lambda t: (t[0], t[1], *t[2])),
    min_size=1,
    max_size=14,
)
law = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def live(shop: Shop, life: Sequence[Act], check: Callable[[Shop], None] = lambda shop: None, *, then: int = 12) -> Shop:
    """Play a life, and some days after it."""
    shop.consent(ANN)
    for number, (minutes, who, name, properties) in enumerate(life):
        shop.after(minutes=minutes)
        shop.tell(happened(name, PEOPLE[who], event_id=f"act-{number}", **properties))
        check(shop)
    for _ in range(then):
        shop.after(days=1)
        check(shop)
    return shop


def with_control(playbook: Playbook, share: float) -> Playbook:
    """The same playbook with this share of people held out of every journey, and of nothing else."""
    held = {version: replace(j, control=Control("share", share)) for version, j in playbook.journeys.items()}
    current = {name: held[j.version] for name, j in playbook.current.items()}
    entering = {event: tuple(held[j.version] for j in entered) for event, entered in playbook.entering.items()}
    policy = replace(playbook.policy, holdout=0.0)
    return replace(playbook, journeys=held, current=current, entering=entering, policy=policy)


def record_of(shop: Shop) -> list[Decision]:
    return shop.decisions()


# ------------------------------------------------------------------ 1 determinism, 2 progress


@law
@given(lives)
def test_equal_lives_give_equal_decisions(life: list[Act]) -> None:
    one, other = live(Shop(), life), live(Shop(), life)
    assert record_of(one) == record_of(other)
    assert one.deliveries() == other.deliveries()


def wakes_later(shop: Shop) -> None:
    for customer_id in shop.store.state.customer_ids():
        standing = shop.engine.customer(customer_id).standing
        assert standing.wake_at is None or standing.wake_at > shop.now
        for enrollment in standing.enrollments:
            if enrollment.is_open:
                assert enrollment.wake_at is not None or enrollment.pending is not None
    assert shop.store.state.set_asides() == []


@law
@given(lives)
def test_a_turn_leaves_a_later_wake_or_none_and_nobody_stuck(life: list[Act]) -> None:
    live(Shop(), life, wakes_later)


# ------------------------------------------------------------------ 3 consent, 4 caps


def is_consented(shop: Shop) -> None:
    """Nothing marketing has left without a grant that stood when it left; judged from the log, not from memory."""
    for row in shop.deliveries():
        if row.state not in ("sent", "withheld") or row.purpose != "marketing":
            continue
        family = {link.identifier for link in shop.store.state.links(row.customer_id)}
        decision = shop.store.state.decision(row.decision_id)
        assert decision is not None and row.settled_at is not None
        said = [
            (event.received_at, event.name)
            for event in shop.store.log.read(0, 10_000)
            if event.name in ("Consent Granted", "Consent Withdrawn")
            and event.properties["channel"] == row.channel
            and family.intersection(event.identifiers)
            # A clock that stands still cannot order what was said in the instant it left; the log can.
            and (event.received_at < row.settled_at or event.position <= decision.position)
        ]
        granted = max((at for at, name in said if name == "Consent Granted"), default=None)
        withdrawn = max((at for at, name in said if name == "Consent Withdrawn"), default=None)
        assert granted is not None and (withdrawn is None or granted > withdrawn), row


def is_capped(shop: Shop) -> None:
    """No window holds more marketing messages than its cap."""
    by_customer: dict[str, list[datetime]] = {}
    for row in shop.deliveries():
        if row.lane == "marketing" and row.state in ("sent", "withheld"):
            at = row.settled_at
            assert at is not None
            by_customer.setdefault(shop.store.state.survivor(row.customer_id), []).append(at)
    for times in by_customer.values():
        for width, most in ((timedelta(hours=24), 1), (timedelta(days=7), 3)):
            for at in times:
                assert sum(at - width < other <= at for other in times) <= most, (width, times)


@law
@given(lives)
def test_nothing_is_delivered_without_consent(life: list[Act]) -> None:
    live(Shop(), life, is_consented, then=4)


@law
@given(lives)
def test_no_window_holds_more_than_its_cap(life: list[Act]) -> None:
    is_capped(live(Shop(), [act for act in life if "browser" not in act[1]]))


# ------------------------------------------------------------------ 5 order


@law
@given(lives, st.randoms(use_true_random=False))
def test_late_and_shuffled_events_leave_the_same_memory(life: list[Act], luck: object) -> None:
    events = []
    at = NOON
    for number, (minutes, who, name, properties) in enumerate(life):
        at += timedelta(minutes=minutes)
        who = who if who in ("ann", "ben") else "ann"
        events.append(happened(name, PEOPLE[who], at=at, received_at=at, event_id=f"act-{number}", **properties))
    in_order, shuffled = Shop(now=at), Shop(now=at)
    in_order.tell(*events)
    mixed = list(events)
    luck.shuffle(mixed)  # type: ignore[attr-defined]
    shuffled.tell(*mixed, *mixed[:3])
    for who in (ANN, BEN):
        if not shuffled.store.state.resolve(who):
            continue
        one, other = in_order.customer(who).memory, shuffled.customer(who).memory
        assert replace(one, position=0) == replace(other, position=0)


# ------------------------------------------------------------------ 6 symmetry


@law
@given(lives)
def test_both_arms_walk_the_same_path(life: list[Act]) -> None:
    treated = live(Shop(with_control(apparel(), 0.0)), life)
    control = live(Shop(with_control(apparel(), 1.0)), life)

    def path(shop: Shop) -> list[tuple[object, ...]]:
        return [
            (row.customer_id, row.journey, row.content, row.created_at, row.settled_at, row.state == "refused")
            for row in shop.deliveries()
        ]

    assert path(treated) == path(control)
    assert not any(row.state == "withheld" for row in treated.deliveries())
    assert not any(row.state == "sent" and row.lane == "marketing" for row in control.deliveries())
    for who in (ANN, BEN, BROWSER):
        if treated.store.state.resolve(who):
            standings = [shop.customer(who).standing for shop in (treated, control)]
            steps = [[(e.journey, e.step, e.status, e.wake_at) for e in one.enrollments] for one in standings]
            assert steps[0] == steps[1]


# ------------------------------------------------------------------ 7 replay


def is_the_fold_of_the_log(shop: Shop) -> None:
    """Resolve and fold the whole log again from nothing; merges as they come."""
    directory = Directory()
    memories: dict[str, Memory] = {}
    for event in shop.store.log.read(0, 100_000):
        if not event.identifiers:
            continue
        found = identity.resolve(event, directory.resolve(identity.handles(event)), directory)
        directory.learn(found)
        for merge in found.merges:
            ours = memories.get(found.customer_id, Memory())
            merged = memories.pop(merge.loser, Memory())
            memories[found.customer_id] = customers.merge_memories(ours, merged, shop.playbook)
        theirs = replace(event, identifiers=found.identifiers)  # what a guard refused is not theirs
        memories[found.customer_id] = customers.fold(memories.get(found.customer_id, Memory()), theirs, shop.playbook)
    for customer_id in shop.store.state.customer_ids():
        if not identity.is_shared(customer_id):
            assert shop.engine.customer(customer_id).memory == memories[customer_id]


@law
@given(lives)
def test_memory_is_the_fold_of_the_log(life: list[Act]) -> None:
    is_the_fold_of_the_log(live(Shop(), life, then=0))


@law
@given(lives, st.integers(0, 14))
def test_a_restart_anywhere_changes_nothing(life: list[Act], at: int) -> None:
    through = live(Shop(), life)
    broken = Shop()
    broken.consent(ANN)
    for number, (minutes, who, name, properties) in enumerate(life):
        broken.after(minutes=minutes)
        broken.tell(happened(name, PEOPLE[who], event_id=f"act-{number}", **properties))
        if number == at:
            broken.restart()
    for day in range(12):
        broken.after(days=1)
        if day == at:
            broken.restart()
    assert record_of(broken) == record_of(through)
    is_the_fold_of_the_log(broken)


@law
@given(lives)
def test_every_decision_is_decided_again_from_its_record(life: list[Act]) -> None:
    shop = live(Shop(), life)
    replayed = replay_all(shop.store.state, shop.playbook)
    assert replayed.different == ()
    assert replayed.equal == len(shop.decisions())


# ------------------------------------------------------------------ 8 agreement


@law
@given(lives)
def test_a_batch_decides_as_one_by_one(life: list[Act]) -> None:
    events = [
        happened(name, PEOPLE[who], at=NOON, received_at=NOON, event_id=f"act-{number}", **properties)
        for number, (_, who, name, properties) in enumerate(life)
    ]
    shops = [Shop(limits=Limits(events_max=most)) for most in (1, 1000)]
    for shop in shops:
        shop.tell(*events)
        shop.after(days=2)
    assert record_of(shops[0]) == record_of(shops[1])


@law
@given(lives)
def test_models_are_asked_for_a_batch_as_for_one(life: list[Act]) -> None:
    from wayline.domain import Customer, Estimate, World
    from wayline.engine import answer

    def sure(asked: Sequence[Customer], world: World) -> list[Estimate | None]:
        return [Estimate("affinity", (), 0.9, "model", "m1", world.now) for _ in asked]

    shop = live(Shop(), life, then=0)
    world = shop.engine.world(shop.now)
    folks = [shop.engine.customer(one) for one in shop.store.state.customer_ids()]
    events = [happened("Checkout Step Viewed", ANN, at=shop.now, received_at=shop.now, step=2) for _ in folks]
    begun = [begin(who, event, shop.playbook) for who, event in zip(folks, events, strict=True)]
    together = [finish(one, shop.playbook, answer(begun, {"affinity": sure}, world)) for one in begun]
    alone = [finish(one, shop.playbook, answer([one], {"affinity": sure}, world)) for one in begun]
    assert together == alone


@settings(law, max_examples=8)
@given(lives)
def test_both_stores_decide_the_same(life: list[Act]) -> None:
    import tempfile

    in_memory = live(Shop(), life, then=3)
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder)) as store:
        on_disk = live(Shop(store=store), life, then=3)
        assert record_of(on_disk) == record_of(in_memory)
        assert on_disk.deliveries() == in_memory.deliveries()


# ------------------------------------------------------------------ 11 explanation


@law
@given(lives)
def test_every_refusal_names_its_rule_and_its_fact(life: list[Act]) -> None:
    shop = live(Shop(), life)
    for decision in shop.decisions():
        assert explain(decision, shop.playbook)
        for verdict in decision.considered:
            if verdict.gate is not None:
                assert verdict.refusal is not None and verdict.refusal.reason and verdict.refusal.fact


# ------------------------------------------------------------------ each law has mutants, and they are caught

A_CART: list[Act] = [
    (0, "ann", "Product Added", JACKET),
    (1, "ann", "Checkout Step Viewed", {"step": 2}),
    (0, "ann", "Newsletter Due", {}),
    (60 * 24 * 3, "ann", "Checkout Step Viewed", {"step": 2}),
    (0, "ann", "Newsletter Due", {}),
]


def test_the_laws_hold_for_the_cart_the_mutants_are_tried_on() -> None:
    shop = live(Shop(with_control(apparel(), 0.0)), A_CART, wakes_later)
    is_capped(shop)
    is_consented(shop)
    assert shop.sent()


def test_without_caps_the_law_of_caps_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GATES, "caps", lambda action, moment: None)  # type: ignore[arg-type]
    monkeypatch.setitem(GATES, "slot", lambda action, moment: None)  # type: ignore[arg-type]
    monkeypatch.setitem(GATES, "suppression", lambda action, moment: None)  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        is_capped(live(Shop(with_control(apparel(), 0.0)), A_CART))


def test_without_the_guard_the_law_of_consent_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GUARDS, "consent", lambda action, moment: None)  # type: ignore[arg-type]
    life: list[Act] = [
        (0, "ann", "Consent Withdrawn", {"channel": "email", "purpose": "marketing"}),
        (1, "ann", "Product Added", JACKET),
        (1, "ann", "Checkout Step Viewed", {"step": 2}),
    ]
    with pytest.raises(AssertionError):
        live(Shop(with_control(apparel(), 0.0)), life, is_consented)


def test_an_ignored_until_breaks_the_law_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journeys, "hold", lambda enrollment, until, **more: enrollment)
    life: list[Act] = [(0, "ben", "Product Added", JACKET), (1, "ben", "Checkout Step Viewed", {"step": 2})]
    with pytest.raises(AssertionError):
        live(Shop(), life, wakes_later)


def test_a_control_arm_that_stays_behind_breaks_the_law_of_symmetry(monkeypatch: pytest.MonkeyPatch) -> None:
    settled = journeys.settle

    def stuck(enrollment, journey, receipt, moment):  # type: ignore[no-untyped-def]
        if receipt.outcome == "withheld":
            return journeys.hold(journeys.release(enrollment, journey), moment.now + timedelta(days=1))
        return settled(enrollment, journey, receipt, moment)

    monkeypatch.setattr(journeys, "settle", stuck)
    steps = []
    for share in (0.0, 1.0):
        shop = live(Shop(with_control(apparel(), share)), A_CART, then=1)
        steps.append([(e.journey, e.step) for e in shop.customer(ANN).standing.enrollments])
    assert steps[0] != steps[1]


def test_a_memory_by_arrival_breaks_the_law_of_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = live(Shop(), A_CART, then=0)
    customer_id = shop.customer(ANN).customer_id
    forgetful = replace(shop.customer(ANN), memory=replace(shop.customer(ANN).memory, facets={}))
    monkeypatch.setitem(shop.engine.customers, customer_id, forgetful)
    with pytest.raises(AssertionError):
        is_the_fold_of_the_log(shop)
