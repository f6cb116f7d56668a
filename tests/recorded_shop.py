"""A small shop with records already written: what the report and the pages are tested on.

No engine runs here: events, decisions and deliveries are put down as a runtime would have, so that what is shown can be
checked against what is known to be true.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, time, timedelta
from typing import Any

from msgspec import Struct

from wayline.domain import (
    Action,
    Consent,
    Control,
    Decision,
    Enrollment,
    EntryRefusal,
    Estimate,
    Event,
    Identifier,
    Journey,
    Link,
    Memory,
    Owner,
    Playbook,
    Policy,
    Product,
    Propose,
    QuietHours,
    Ranked,
    Refusal,
    Schedule,
    Standing,
    Verdict,
)
from wayline.measurement.experiments import assign, journey_experiment
from wayline.store import Batch, Delivery, Rejection
from wayline.store.memory import MemoryLog, MemoryState, MemoryVault

START = datetime(2025, 11, 1, 9, tzinfo=UTC)
JACKET = "c-jacket"

_ACTIONS = {
    "cart-recovery": Action("reminder", content="cart-reminder", journey="cart-recovery"),
    "cart-discount": Action("coupon", kind="offer", content="cart-coupon", journey="cart-discount"),
    "newsletter": Action("newsletter", content="weekly-newsletter", journey="newsletter"),
    "order-confirmed": Action(
        "confirm", lane="owed", purpose="transactional", content="order-confirmed", journey="order-confirmed"
    ),
}
ALTERNATIVES = Action(
    "alternatives",
    content="cart-alternatives",
    journey="cart-recovery",
    needs={"affinity": 0.6},
    shows=("J2-M", "J7-M"),
)
PUSH = Action("reminder", channel="push", content="cart-push", journey="cart-recovery")


class Shop(Struct):
    """The stores with something in them, and the setup they were filled under."""

    state: MemoryState
    log: MemoryLog
    vault: MemoryVault
    playbook: Playbook


def playbook() -> Playbook:
    """Four journeys: a reminder, a coupon that competes with it, a newsletter, and a confirmation that is owed."""
    journeys = {name: _journey(name, action) for name, action in _ACTIONS.items()}
    return Playbook(
        version="p1",
        journeys={journey.version: journey for journey in journeys.values()},
        current=journeys,
        policy=Policy(zone="Europe/Berlin", quiet_hours=(QuietHours(time(21), time(8)),)),
        schedules=(Schedule(event="newsletter.due", every=timedelta(days=7), at=time(9), starts_on=START.date()),),
        settings={"shop": {"name": "Fjell & Tarn"}, "measurement": {"margin_share": 0.5}},
    )


def _journey(name: str, action: Action) -> Journey:
    owed = action.lane == "owed"
    return Journey(
        name=name,
        version=f"{name}-v1",
        stage="fulfillment" if owed else "loyalty" if name == "newsletter" else "purchase",
        purpose="transactional" if owed else "marketing",
        lane="owed" if owed else "marketing",
        owner=Owner(business="growth", technical="platform", qa="crm"),
        goal="Order Completed",
        enters_on=("newsletter.due",) if name == "newsletter" else ("Cart Viewed",),
        control=Control("none", 0.0, "customers are owed it") if owed else Control("share", 0.5),
        steps={"remind": Propose((action,), timedelta(days=1), "end", "end")},
        start="remind",
    )


def recorded_shop(people: int = 1200, seed: int = 7) -> Shop:
    """Fill a shop: `people` with a cart, and the jacket shopper with a story."""
    shop = Shop(MemoryState(), MemoryLog(), MemoryVault(), playbook())
    luck = random.Random(seed)
    shop.state.commit(Batch(products=[Product(f"J{n}-M", name=f"Jacket {n}", price=16900) for n in range(1, 9)]))
    for number in range(people):
        _shopper(shop, number, luck)
    _owed(shop)
    _incidents(shop)
    _jacket_shopper(shop)
    return shop


def know(shop: Shop, customer_id: str, *identifiers: Identifier, **memory: Any) -> None:
    """Make a customer known by these identifiers."""
    links = [Link(one, customer_id, "web", 1.0, START) for one in identifiers]
    remembered = Memory(identifiers=identifiers, **memory)
    standing = Standing(match_confidence=0.95)
    shop.state.commit(Batch(links=links, checkpoints={customer_id: remembered}, standings={customer_id: standing}))


def happened(shop: Shop, who: Identifier, name: str, at: datetime, /, **properties: Any) -> None:
    """Append one event."""
    context = {"device": {"type": properties.pop("device")}} if "device" in properties else {}
    received_at = at + properties.pop("late", timedelta(seconds=2))
    event = Event(
        event_id=f"{name}-{who.value}-{at.isoformat()}",
        source=properties.pop("source", "web"),
        name=name,
        occurred_at=at,
        received_at=received_at,
        identifiers=(who,),
        properties=properties,
        context=context,
    )
    shop.log.append([event])


def decided(shop: Shop, decision: Decision, state: str = "", detail: str = "", minutes: int = 1) -> None:
    """Record a decision, and the delivery it came to."""
    batch = Batch(decisions=[decision])
    shop.state.commit(batch)
    if not state:
        return
    action = decision.action
    assert action is not None
    row = Delivery(
        decision_id=decision.decision_id,
        customer_id=decision.customer_id,
        channel=action.channel,
        delivers=decision.delivers,
        purpose=action.purpose,
        lane=decision.lane,
        journey=action.journey,
        content=action.content,
        state="pending",
        created_at=decision.decided_at,
        due_at=decision.decided_at,
    )
    later = decision.decided_at + timedelta(minutes=minutes)
    steps = [row]
    if state not in ("pending", "refused"):
        steps.append(_moved(row, state="attempting", attempts=1, lease_until=later + timedelta(minutes=5)))
    if state != "pending":
        steps.append(_moved(steps[-1], state=state, settled_at=later, detail=detail, lease_until=None))
    for step in steps:
        shop.state.commit(Batch(deliveries=[step]))


def _moved(row: Delivery, **changes: Any) -> Delivery:
    from msgspec.structs import replace

    return replace(row, **changes)


def chosen(customer_id: str, journey: str, at: datetime, *, control_share: float = 0.5, **more: Any) -> Decision:
    """A decision that chose a journey's message, with the arm its hash gives."""
    action = _ACTIONS[journey]
    experiment = journey_experiment(journey)
    arm = "treatment" if action.lane == "owed" else assign(experiment, customer_id, control_share)
    return Decision(
        decision_id=f"d-{journey}-{customer_id}-{at:%m%d%H%M}",
        customer_id=customer_id,
        decided_at=at,
        lane=action.lane,
        stimulus=f"wake:{at.isoformat()}",
        action=action,
        probability=1.0 if action.lane == "owed" else 0.5,
        arm=arm,
        assignments={} if action.lane == "owed" else {experiment: arm},
        considered=more.pop("considered", (Verdict(action, score=499.0),)),
        versions={"journey": f"{journey}-v1", "playbook": "p1"},
        **more,
    )


def _shopper(shop: Shop, number: int, luck: random.Random) -> None:
    """A cart, a message of one of two journeys or its absence, and perhaps an order: the coupon loses money."""
    customer_id, who = f"c{number:05}", Identifier("user_id", f"u{number:05}")
    at = START + timedelta(minutes=number * 29)
    know(shop, customer_id, who, consents={"email:marketing": Consent(granted_at=START)})
    happened(shop, who, "Product Added", at, sku="J1-M", price=16900, quantity=1)
    journey = "cart-recovery" if number % 2 else "cart-discount"
    if number % 12 == 5:
        _held(shop, customer_id, at, luck)
        return
    decision = chosen(customer_id, journey, at + timedelta(hours=1))
    decided(shop, decision, "sent" if decision.delivers else "withheld")
    reminded = decision.delivers and journey == "cart-recovery"
    if luck.random() < (0.55 if reminded else 0.25):
        coupon = 0.45 if decision.delivers and journey == "cart-discount" else 0.0
        full = 16900
        order = {"revenue": round(full * (1 - coupon)), "discount": round(full * coupon)}
        lines = [{"sku": "J1-M", "price": full, "quantity": 1}]
        happened(shop, who, "Order Completed", at + timedelta(hours=30), order_id=f"o{number}", products=lines, **order)


def _held(shop: Shop, customer_id: str, at: datetime, luck: random.Random) -> None:
    action = _ACTIONS["cart-recovery"]
    until = at + timedelta(days=2)
    rules = [
        ("caps", Refusal("cap weekly: at most 2 in 7 days", "2 already", until)),
        (
            "quiet_hours",
            Refusal("quiet hours 21:00 to 08:00", "it is 22:14 in Europe/Berlin", at + timedelta(hours=10)),
        ),
        ("claims", Refusal("J1-M must be in stock", "sold out", topic="stock:J1-M")),
        ("consent", Refusal("no consent for marketing by email", "no grant is on record, or it was withdrawn")),
    ]
    gate, refusal = luck.choices(rules, [5, 3, 4, 1])[0]
    considered = (
        Verdict(ALTERNATIVES, "confidence", Refusal("too unsure about affinity (needs 0.60)", "affinity 0.42 < 0.60")),
        Verdict(action, gate, refusal),
    )
    hold = Decision(
        f"h-{customer_id}", customer_id, at, "marketing", f"event:{int(at.timestamp())}", None, considered=considered,
        until=refusal.until, count=luck.randrange(1, 6), versions={"playbook": "p1"},
    )  # fmt: skip
    decided(shop, hold)


def _owed(shop: Shop) -> None:
    for number in range(20):
        customer_id = f"c{number:05}"
        decided(shop, chosen(customer_id, "order-confirmed", START + timedelta(hours=number + 40)), "sent")


def _incidents(shop: Shop) -> None:
    """An unclear delivery, rejected data, a spike of opt-outs, absurd prices, an entry refused."""
    unclear = chosen("c00001", "order-confirmed", START + timedelta(days=3))
    decided(shop, unclear, "unknown", "the process ended between the call and its answer")
    late = chosen("c00003", "cart-recovery", START + timedelta(days=9))
    decided(shop, late, "refused", "claims: the cart must still be open: the cart is empty or was bought")
    rejection = Rejection(
        source="app", event_id="e1", name="Product Viewed", code="type", field="properties.price",
        reason="properties.price: expected a number, got 'abc'; send it as 12.50", received_at=START, body=b"",
    )  # fmt: skip
    shop.log.append([], [rejection, rejection])
    for number in range(60):
        day = 12 if number > 20 else number // 2
        at = START + timedelta(days=day, minutes=number)
        who = Identifier("user_id", f"u{number:05}")
        happened(shop, who, "Consent Withdrawn", at, channel="sms", purpose="marketing")
    absurd = [{"sku": "J1-M", "price": 1690000, "quantity": 1}]
    who = Identifier("user_id", "u00002")
    at = START + timedelta(days=6)
    happened(shop, who, "Order Completed", at, order_id="o-app", revenue=1690000, products=absurd, source="app-4.2")
    refusal = EntryRefusal("cart-recovery", "", "reentry: after 7 days", START + timedelta(days=2))
    shop.state.commit(Batch(refused_entries=[("c00001", refusal)]))


def _jacket_shopper(shop: Shop) -> None:
    """Browses winter jackets twice on mobile, returns from an e-mail on desktop, adds one, exits at shipping."""
    who, mail = Identifier("anonymous_id", "a-jacket"), Identifier("email", "m-jacket")
    consents = {
        "email:marketing": Consent(granted_at=START),
        "push:marketing": Consent(START, START + timedelta(days=1)),
    }
    know(shop, JACKET, mail, who, consents=consents)
    shop.vault.put({"email:m-jacket": {"email": "mira.berg@example.org", "first_name": "Mira"}})
    day = datetime(2025, 11, 24, 18, tzinfo=UTC)
    jacket = {"sku": "J1-M", "name": "Fjell Parka", "price": 16900}
    for minutes, name, more in (
        (0, "Page Viewed", {"device": "mobile"}),
        (2, "Product List Viewed", {"category": "winter-jackets"}),
        (3, "Product Viewed", {**jacket, "device": "mobile"}),
        (26 * 60, "Product Viewed", {**jacket, "device": "mobile"}),
        (50 * 60, "Email Link Clicked", {}),
        (50 * 60 + 1, "Product Added", {**jacket, "quantity": 1, "device": "desktop"}),
        (50 * 60 + 4, "Checkout Step Viewed", {"step": 2}),
        (50 * 60 + 5, "Checkout Exited", {"step": 2, "late": timedelta(hours=30)}),
    ):
        happened(shop, who, name, day + timedelta(minutes=minutes), **more)
    _jacket_decisions(shop, day + timedelta(hours=51))
    happened(
        shop, mail, "Order Completed", day + timedelta(hours=80), order_id="o-jacket", revenue=16900, products=[jacket]
    )


def _jacket_decisions(shop: Shop, at: datetime) -> None:
    unsure = Refusal("too unsure about affinity (needs 0.60)", "affinity 0.42 < 0.60")
    affinity = Estimate(
        "affinity", (Ranked("J2-M", 3.0), Ranked("J7-M", 2.0)), 0.42, "rule", "r1", at, ("two views of winter jackets",)
    )
    reminder = chosen(
        JACKET,
        "cart-recovery",
        at,
        considered=(Verdict(ALTERNATIVES, "confidence", unsure), Verdict(_ACTIONS["cart-recovery"], score=499.0)),
        facts={"match_confidence": 0.95, "cart_value": 16900, "stock.J1-M": [3, at - timedelta(hours=2)]},
        estimates={"affinity": affinity},
    )
    assert reminder.delivers, "the story needs a shopper whose hash gives the treatment"
    decided(shop, reminder, "sent")
    capped = Refusal("cap weekly: at most 2 in 7 days", "2 already", at + timedelta(days=3))
    withdrawn = Refusal("no consent for marketing by push", "no grant is on record, or it was withdrawn")
    hold = Decision(
        "h-jacket", JACKET, at + timedelta(hours=24), "marketing", "wake:later", None,
        considered=(Verdict(_ACTIONS["cart-discount"], "caps", capped), Verdict(PUSH, "consent", withdrawn)),
        until=capped.until, count=3,
    )  # fmt: skip
    decided(shop, hold)
    inside = Enrollment("cart-recovery", "", "cart-recovery-v1", "listen", at, at, wake_at=at + timedelta(days=1))
    shop.state.commit(Batch(standings={JACKET: Standing((inside,), match_confidence=0.95)}))
