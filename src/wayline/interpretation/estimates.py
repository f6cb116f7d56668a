"""Answers to questions by rule, so that every journey works before any model is trained.

A rule says what it saw and how sure that makes it. None is ever very sure: what it has not seen it does not guess, and
where it knows nothing its confidence is 0. `interpret` puts a model's answer first if it is sure enough, and says so
when it is not.

What each rule answers, reads and may be told: docs/reference/questions.md. A question may give other names to the
facets a rule reads, in the order of `READS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Catalog, Estimate, Facts, Interpreter, Product, Question, Ranked

__all__ = ["READS", "RULES", "interpret"]

READS: Mapping[str, tuple[str, ...]] = {
    "stage": (
        "last_order", "order_count", "last_delivered", "open_orders", "cart_count", "cart_at", "checkout_at",
        "viewed_7d", "last_viewed", "last_seen", "order_gap", "advocacy_180d",
    ),
    "hesitation": ("checkout", "cart_count", "last_order", "payment_failed_at", "help_7d"),
    "purchase_intent": ("checkout_at", "cart_count", "cart_at", "last_order", "viewed_7d", "visits_7d", "last_seen"),
    "churn_risk": ("last_order", "order_gap", "order_count", "last_seen"),
    "reorder_due": ("bought",),
    "due_products": ("bought",),
    "affinity": ("viewed", "cart", "wishlist", "bought", "returned"),
}  # fmt: skip
"""The facets each rule reads. One that is not declared is as good as never having happened."""

_VERSION = "rule-1"
_DAY = timedelta(days=1)
_NEVER = timedelta(days=36_500)


def interpret(question: Question, facts: Facts, catalog: Catalog, now: datetime, answer: Estimate | None) -> Estimate:
    """The model's answer if it is sure enough of it and we of the person, else the rule's with the reason why."""
    why = _why_not(question, facts, answer) if question.model or answer is not None else ""
    if answer is not None and not why:
        return answer
    found = RULES[question.rule](question, facts, catalog, now)
    return replace(found, reasons=(*found.reasons, why)) if why else found


def _why_not(question: Question, facts: Facts, answer: Estimate | None) -> str:
    """Why the rule must answer in place of the model; empty if it need not."""
    if answer is None or answer.value is None or not answer.confidence > 0:
        because = f" ({'; '.join(answer.reasons)})" if answer is not None and answer.reasons else ""
        return f"no answer from the model {question.model}{because}: rule used"
    if not answer.confidence >= question.floor:
        return _below("sure", answer.confidence, question)
    match = facts("match_confidence")
    return "" if match is None or match >= question.floor else _below("match", match, question)


def _below(what: str, found: float, question: Question) -> str:
    return f"{what} {found:.2f} < {question.floor:.2f}: rule used"


class _Asked(Struct, frozen=True):
    """One question, put to one rule about one customer now."""

    question: Question
    facts: Facts
    catalog: Catalog
    now: datetime

    def __getitem__(self, name: str) -> Any:
        known = READS[self.question.rule]
        given = self.question.reads
        place = known.index(name)
        return self.facts(given[place] if place < len(given) else name)

    def parameter(self, name: str, default: Any) -> Any:
        return self.question.parameters.get(name, default)

    def within(self, instant: datetime | None, duration: timedelta) -> bool:
        return instant is not None and self.now - instant <= duration

    def since(self, instant: datetime | None) -> timedelta:
        return _NEVER if instant is None else self.now - instant

    def answer(self, value: Any, confidence: float, *reasons: str) -> Estimate:
        sure = max(0.0, min(1.0, confidence))
        return Estimate(self.question.name, value, round(sure, 4), "rule", _VERSION, self.now, reasons)

    def silence(self, *reasons: str) -> Estimate:
        return self.answer(None, 0.0, *reasons)


_Rule: TypeAlias = Callable[[_Asked], Estimate]


def _days(duration: timedelta) -> str:
    days = duration / _DAY
    return f"{days:.0f} days" if days >= 2 else f"{duration / timedelta(hours=1):.0f} hours"


# ------------------------------------------------------------------ stage


def _stage(asked: _Asked) -> Estimate:
    """The first of these that is so. What a person is doing now goes before what they have been."""
    for look in (_buying, _waiting, _bought_lately, _gone, _looking, _speaking_for_us, _coming_back):
        found = look(asked)
        if found is not None:
            return found
    if asked["order_count"]:
        return asked.answer("post_purchase", 0.5, f"last order {_days(asked.since(asked['last_order']))} ago")
    if asked["last_seen"] is not None:
        return asked.answer("awareness", 0.6, "has been here, and looked at little yet")
    return asked.silence("nothing is known of them yet")


def _buying(asked: _Asked) -> Estimate | None:
    last_order = asked["last_order"]
    checkout_at = asked["checkout_at"]
    if asked.within(checkout_at, 7 * _DAY) and (last_order is None or checkout_at > last_order):
        return asked.answer("purchase", 0.85, f"in the checkout {_days(asked.since(checkout_at))} ago, no order since")
    cart_at = asked["cart_at"]
    if asked["cart_count"] and asked.within(cart_at, 7 * _DAY):
        return asked.answer("purchase", 0.75, f"{asked['cart_count']} in the cart since {_days(asked.since(cart_at))}")
    return None


def _waiting(asked: _Asked) -> Estimate | None:
    waiting = asked["open_orders"]
    if not waiting:
        return None
    # A shop that never tells of deliveries leaves it open whether this one is still on its way.
    told = asked["last_delivered"] is not None
    return asked.answer("fulfillment", 0.9 if told else 0.6, f"orders not known to be delivered: {waiting}")


def _bought_lately(asked: _Asked) -> Estimate | None:
    window = asked.parameter("post_purchase_days", 30) * _DAY
    delivered, ordered = asked["last_delivered"], asked["last_order"]
    if asked.within(delivered, window):
        return asked.answer("post_purchase", 0.85, f"delivered {_days(asked.since(delivered))} ago")
    if asked.within(ordered, window):
        return asked.answer("post_purchase", 0.75, f"ordered {_days(asked.since(ordered))} ago")
    return None


def _gone(asked: _Asked) -> Estimate | None:
    ordered, gap = asked["last_order"], asked["order_gap"]
    if ordered is None or asked.within(asked["last_seen"], 30 * _DAY):
        return None
    patience = asked.parameter("win_back_days", 90) * _DAY
    silence = asked.since(ordered)
    if silence <= max(patience, 2 * gap if gap is not None else patience):
        return None
    rhythm = (f"usually every {_days(gap)}",) if gap is not None else ()
    return asked.answer("win_back", 0.8 if rhythm else 0.6, f"no order for {_days(silence)}", *rhythm)


def _looking(asked: _Asked) -> Estimate | None:
    views = asked["viewed_7d"] or 0
    if views < 2 or not asked.within(asked["last_viewed"], 3 * _DAY):
        return None
    return asked.answer("consideration", min(0.8, 0.6 + 0.05 * views), f"{views} products viewed in 7 days")


def _speaking_for_us(asked: _Asked) -> Estimate | None:
    said = asked["advocacy_180d"] or 0
    if not said or (asked["order_count"] or 0) < 2:
        return None
    return asked.answer("advocacy", 0.7, f"reviewed, shared or referred {said} times in 180 days")


def _coming_back(asked: _Asked) -> Estimate | None:
    orders = asked["order_count"] or 0
    if orders < asked.parameter("loyalty_orders", 3):
        return None
    return asked.answer("loyalty", 0.75, f"{orders} orders")


# ------------------------------------------------------------------ hesitation


def _hesitation(asked: _Asked) -> Estimate:
    last_order = asked["last_order"]
    rows = [row for row in asked["checkout"] or () if last_order is None or row["at"] > last_order]
    rows = [row for row in rows if asked.within(row["at"], 2 * _DAY)]
    if not rows:
        return asked.silence("no checkout is open")
    rows.sort(key=_at)
    signs = [*_signs(asked, rows), *_troubles(asked, rows[0]["at"])]
    unmoved = math.prod(1 - weight for weight, _ in signs)
    told = tuple(reason for _, reason in signs) or ("a checkout without a sign of doubt",)
    # A sign is an indication, not a confession: several of them are worth more than one that is strong.
    return asked.answer(round(1 - unmoved, 4), min(0.8, 0.4 + 0.12 * len(signs)), *told)


def _at(row: Mapping[str, Any]) -> datetime:
    at: datetime = row["at"]
    return at


def _signs(asked: _Asked, rows: Sequence[Mapping[str, Any]]) -> Iterable[tuple[float, str]]:
    """Weight and words of each sign of hesitation, from the rows of one checkout, oldest first."""
    steps = [row["step"] for row in rows if row.get("event") == "Checkout Step Viewed" and row.get("step") is not None]
    back = sum(_is_back(before, after) for before, after in pairwise(steps))
    if back:
        yield min(0.5, 0.25 * back), f"went back {_times(back)} in the checkout"
    shipping = sum(step in asked.parameter("shipping_steps", (2, "shipping")) for step in steps)
    if shipping >= 2:
        yield 0.3, f"saw the shipping page {_times(shipping)}"
    lingered = sum(row["seconds"] for row in rows if isinstance(row.get("seconds"), int | float))
    events = {row.get("event") for row in rows}
    if lingered >= asked.parameter("linger_seconds", 60) or "Checkout Lingered" in events:
        yield 0.3, f"stayed {lingered:.0f} seconds on a step" if lingered else "stayed long on a step"
    if "Checkout Exited" in events:
        yield 0.25, "left from the checkout"


def _troubles(asked: _Asked, since: datetime) -> Iterable[tuple[float, str]]:
    """What got in the way besides."""
    failed = asked["payment_failed_at"]
    if failed is not None and failed >= since:
        yield 0.3, "the payment failed"
    if asked["help_7d"]:
        yield 0.1, f"looked for help {_times(asked['help_7d'])} in 7 days"


def _is_back(before: Any, after: Any) -> bool:
    return isinstance(before, int) and isinstance(after, int) and after < before


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


# ------------------------------------------------------------------ purchase intent, churn


def _purchase_intent(asked: _Asked) -> Estimate:
    """How far they came, times how lately: the shares of visits that end in an order, from each depth."""
    last_order = asked["last_order"]
    depths = (
        ("after_checkout", 0.48, asked["checkout_at"], 0.5, "the checkout"),
        ("after_cart", 0.27, asked["cart_at"] if asked["cart_count"] else None, 0.5, "the cart"),
    )
    for name, usual, at, sure, words in depths:
        if at is not None and (last_order is None or at > last_order) and asked.within(at, 7 * _DAY):
            share = asked.parameter(name, usual) * 0.8 ** (asked.since(at) / _DAY)
            return asked.answer(round(share, 4), sure, f"reached {words} {_days(asked.since(at))} ago")
    views, visits = asked["viewed_7d"] or 0, asked["visits_7d"] or 0
    if views:
        share = 1 - (1 - asked.parameter("after_view", 0.05)) ** max(1, min(visits, views))
        return asked.answer(round(share, 4), 0.35, f"{views} products viewed in 7 days, none in the cart")
    if asked.within(asked["last_seen"], 7 * _DAY):
        return asked.answer(asked.parameter("after_visit", 0.024), 0.3, "visited, and viewed no product in 7 days")
    return asked.silence("not seen for 7 days: nothing to go by")


def _churn_risk(asked: _Asked) -> Estimate:
    """Silence against their own rhythm. Without a rhythm of their own there is no answer."""
    orders, gap, last_order = asked["order_count"] or 0, asked["order_gap"], asked["last_order"]
    needed = max(2, asked.parameter("orders_min", 2))
    if orders < needed or gap is None or last_order is None:
        return asked.silence(f"{orders} orders: a rhythm needs at least {needed}")
    rhythm = max(gap, _DAY)
    silence = asked.since(last_order)
    turns = silence / rhythm
    risk = 0.1 if turns <= 1 else min(0.95, 0.1 + 0.85 * (turns - 1) / 3)
    reasons = [f"no order for {_days(silence)}, usually every {_days(rhythm)}"]
    if asked.within(asked["last_seen"], 7 * _DAY) and turns > 1:
        risk, reasons = risk / 2, [*reasons, "but seen within 7 days"]
    return asked.answer(round(risk, 4), min(0.7, 0.15 + 0.1 * orders), *reasons)


# ------------------------------------------------------------------ reorder


class _Due(Struct, frozen=True):
    """One product that is bought again and again: how due, how sure of it, in words."""

    sku: str
    turns: float
    confidence: float
    reason: str


def _due(asked: _Asked) -> list[_Due]:
    """Products with a rhythm, the most due first. Who has skipped a product twice no longer buys it."""
    by_sku: dict[str, list[Mapping[str, Any]]] = {}
    for row in asked["bought"] or ():
        if isinstance(row.get("sku"), str):
            by_sku.setdefault(row["sku"], []).append(row)
    found = [due for sku, rows in by_sku.items() if (due := _due_of(asked, sku, rows)) is not None]
    return sorted((due for due in found if due.turns < 3), key=lambda due: (-due.turns, due.sku))


def _due_of(asked: _Asked, sku: str, rows: Sequence[Mapping[str, Any]]) -> _Due | None:
    ordered = sorted(rows, key=_at)
    last = ordered[-1]["at"]
    # Two lines of one day are one purchase: packs bought together do not make a rhythm of hours.
    gaps = [later["at"] - row["at"] for row, later in pairwise(ordered) if later["at"] - row["at"] >= _DAY]
    if gaps:
        rhythm = sum(gaps, timedelta()) / len(gaps)
        confidence, whose = min(0.7, 0.3 + 0.12 * len(gaps)), "usually"
    else:
        usual = asked.parameter("days", {})
        product = asked.catalog.product(sku)
        days = usual.get(sku) or usual.get(product.category if product is not None else None)
        if not days:
            return None
        rhythm, confidence, whose = days * _DAY, 0.45, "by others usually"
    turns = (asked.now - last) / rhythm
    return _Due(sku, turns, confidence, f"{sku} bought {_days(asked.now - last)} ago, {whose} every {_days(rhythm)}")


def _reorder_due(asked: _Asked) -> Estimate:
    due = _due(asked)
    if not due:
        return asked.silence("nothing they bought is known to be bought again")
    first = due[0]
    return asked.answer(round(max(0.0, min(1.0, first.turns - 0.5)), 4), first.confidence, first.reason)


def _due_products(asked: _Asked) -> Estimate:
    due = [one for one in _due(asked) if one.turns >= 0.75]
    if not due:
        return asked.silence("nothing they bought is due again")
    ranked = tuple(Ranked(one.sku, round(one.turns, 4)) for one in due)
    return asked.answer(ranked, due[0].confidence, *(one.reason for one in due[:3]))


# ------------------------------------------------------------------ affinity

_WEIGHTS = {"viewed": 1.0, "cart": 3.0, "wishlist": 2.0, "bought": 0.5}
_CATEGORIES_MAX = 3  # categories a customer leans to, from which products are ranked
_SIZES_MAX = 4  # sizes and colours of one style that may stand between two styles, on average


def _affinity(asked: _Asked) -> Estimate:
    """What sells best in the categories they look at, near the prices they look at, in stock first."""
    leanings, signs = _leanings(asked)
    count_max = asked.parameter("count_max", 12)
    prices = sorted(price for row in asked["viewed"] or () if type(price := row.get("price")) is int and price > 0)
    usual = prices[len(prices) // 2] if prices else None
    scores: dict[str, float] = {}
    hidden = _hidden(asked)
    categories = sorted(leanings, key=lambda name: (-leanings[name], name))[:_CATEGORIES_MAX]
    for category in categories or [""]:
        for place, product in enumerate(_choice(asked, category, hidden, count_max)):
            # A product belongs to one category, so it is met once.
            scores[product.sku] = leanings.get(category, 1.0) * _standing(product, usual) / (place + 2) ** 0.5
    if not scores:
        return asked.silence("the shelf has nothing to offer that they do not have")
    ranked = sorted(scores, key=lambda sku: (-scores[sku], sku))[:count_max]
    value = tuple(Ranked(sku, round(scores[sku], 6)) for sku in ranked)
    if not categories:
        return asked.answer(value, 0.2, "nothing known of their taste: what sells best")
    top = leanings[categories[0]]
    confidence = 0.25 + 0.5 * top * (1 - math.exp(-signs / 3))
    taste = f"{categories[0]} has {top:.0%} of their attention"
    return asked.answer(value, confidence, taste, f"signs of taste: {signs:g}")


def _choice(asked: _Asked, category: str, hidden: frozenset[str], count_max: int) -> Iterable[Product]:
    """The best sellers of a category, one size or colour of each: three of a kind are no choice."""
    chosen: dict[str, Product] = {}
    for sku in asked.catalog.popular(category, _SIZES_MAX * count_max):
        product = asked.catalog.product(sku)
        if product is None or (style := product.product_id or sku) in hidden:
            continue
        if style not in chosen or (chosen[style].available == 0 and product.available):
            chosen[style] = product
        if len(chosen) == count_max:
            break
    return chosen.values()


def _leanings(asked: _Asked) -> tuple[dict[str, float], float]:
    """Share of attention by category, and how much there is to go by. What was looked at last weighs most."""
    weighed: dict[str, float] = {}
    signs = 0.0
    for facet, weight in _WEIGHTS.items():
        for place, row in enumerate(asked[facet] or ()):
            category = row.get("category") or _category_of(asked, row.get("sku"))
            if not category:
                continue
            signs += weight
            weighed[category] = weighed.get(category, 0.0) + weight * 0.9**place
    total = sum(weighed.values())
    return {category: weight / total for category, weight in weighed.items()}, signs


def _category_of(asked: _Asked, sku: Any) -> str:
    product = asked.catalog.product(sku) if isinstance(sku, str) else None
    return product.category if product is not None else ""


def _hidden(asked: _Asked) -> frozenset[str]:
    """Styles they have, had and sent back, or are about to have: no news to them, in no size."""
    seen = () if asked.parameter("shows_seen", False) else ("viewed",)
    rows = [row for facet in ("cart", "bought", "returned", *seen) for row in asked[facet] or ()]
    return frozenset(_style(asked, row["sku"]) for row in rows if isinstance(row.get("sku"), str))


def _style(asked: _Asked, sku: str) -> str:
    product = asked.catalog.product(sku)
    return product.product_id or sku if product is not None else sku


def _standing(product: Product, usual: int | None) -> float:
    """How well a product stands on its own: on the shelf for certain, unknown, or gone; near the usual price or far."""
    stock = 0.5 if product.available is None else 1.0 if product.available > 0 else 0.01
    if usual is None or not product.price:
        return stock
    return stock / (1 + abs(math.log(product.price / usual)))


def _rule(answers: _Rule) -> Interpreter:
    return lambda question, facts, catalog, now: answers(_Asked(question, facts, catalog, now))


RULES: Mapping[str, Interpreter] = {
    "stage": _rule(_stage),
    "hesitation": _rule(_hesitation),
    "purchase_intent": _rule(_purchase_intent),
    "churn_risk": _rule(_churn_risk),
    "reorder_due": _rule(_reorder_due),
    "due_products": _rule(_due_products),
    "affinity": _rule(_affinity),
}
