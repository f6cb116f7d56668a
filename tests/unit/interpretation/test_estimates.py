"""What the rules say of shoppers one can picture, and that they say nothing where they know nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wayline.domain import Estimate, Product, Question, Ranked
from wayline.interpretation.estimates import READS, RULES, interpret

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


class Shelf:
    """A small shelf: what sells best is listed first."""

    def __init__(self, *products: Product) -> None:
        self.products = {product.sku: product for product in products}

    def product(self, sku: str) -> Product | None:
        return self.products.get(sku)

    def popular(self, category: str, count_max: int) -> Sequence[str]:
        return [p.sku for p in self.products.values() if not category or p.category == category][:count_max]

    def related(self, skus: Sequence[str], count_max: int) -> Sequence[str]:
        return []


SHELF = Shelf(
    Product("wax", category="care", price=900, available=50),
    Product("fleece", category="jackets", price=9000, available=4),
    Product("storm", category="jackets", price=19900, available=0),
    Product("parka", category="jackets", price=24900, available=9),
    Product("shell", category="jackets", price=18900, available=3),
    Product("boots", category="shoes", price=15900),
)


def asked(rule: str, *, parameters: Mapping[str, Any] | None = None, shelf: Shelf = SHELF, **facts: Any) -> Estimate:
    question = Question(name=rule, rule=rule, parameters=parameters or {})
    return RULES[rule](question, facts.get, shelf, NOW)


def viewed(sku: str, category: str = "jackets", price: int = 19900, ago: timedelta = HOUR) -> dict[str, Any]:
    return {"sku": sku, "category": category, "price": price, "at": NOW - ago}


@pytest.mark.parametrize(
    ("stage", "facts"),
    [
        ("awareness", {"last_seen": NOW - HOUR}),
        ("consideration", {"last_seen": NOW, "viewed_7d": 3, "last_viewed": NOW - DAY}),
        ("purchase", {"cart_count": 1, "cart_at": NOW - HOUR}),
        ("purchase", {"checkout_at": NOW - HOUR, "last_order": NOW - DAY, "order_count": 1, "open_orders": 1}),
        ("fulfillment", {"last_order": NOW - DAY, "order_count": 1, "open_orders": 1, "checkout_at": NOW - 2 * DAY}),
        ("post_purchase", {"last_order": NOW - 9 * DAY, "order_count": 1, "last_delivered": NOW - 5 * DAY}),
        ("loyalty", {"last_order": NOW - 60 * DAY, "order_count": 4, "last_seen": NOW - DAY}),
        ("advocacy", {"last_order": NOW - 60 * DAY, "order_count": 4, "last_seen": NOW - DAY, "advocacy_180d": 1}),
        ("win_back", {"last_order": NOW - 200 * DAY, "order_count": 4, "last_seen": NOW - 99 * DAY, "order_gap": DAY}),
    ],
)  # fmt: skip
def test_the_stage_is_what_they_are_doing_now(stage: str, facts: Mapping[str, Any]) -> None:
    found = asked("stage", **facts)
    assert found.value == stage
    assert found.confidence >= 0.6
    assert found.reasons


def test_a_slow_buyer_is_not_called_gone() -> None:
    slow = {"last_order": NOW - 200 * DAY, "order_count": 3, "last_seen": NOW - 100 * DAY, "order_gap": 180 * DAY}
    assert asked("stage", **slow).value == "loyalty"


@pytest.mark.parametrize("rule", sorted(RULES))
def test_who_is_unknown_is_not_guessed_at(rule: str) -> None:
    found = asked(rule, shelf=Shelf())
    assert found.confidence == 0
    assert found.value is None
    assert found.reasons


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_rule_reads_only_what_it_documents(rule: str) -> None:
    read: list[str] = []

    def facts(name: str) -> Any:
        read.append(name)

    RULES[rule](Question(name=rule, rule=rule), facts, SHELF, NOW)
    assert set(read) <= set(READS[rule])


def test_a_question_may_give_a_facet_another_name() -> None:
    question = Question(name="churn", rule="churn_risk", reads=("ordered_at", "rhythm", "orders_made"))
    facts = {"ordered_at": NOW - 30 * DAY, "rhythm": 30 * DAY, "orders_made": 3}
    assert RULES["churn_risk"](question, facts.get, SHELF, NOW).value == pytest.approx(0.1)


def _row(event: str, minutes: int, **fields: Any) -> dict[str, Any]:
    return {"event": event, "step": None, "seconds": None, "at": NOW - timedelta(minutes=minutes), **fields}


def test_leaving_at_the_shipping_page_twice_is_hesitation() -> None:
    rows = [
        _row("Checkout Exited", 5),
        _row("Checkout Step Viewed", 10, step=2),
        _row("Checkout Step Viewed", 20, step=3),
        _row("Checkout Step Viewed", 30, step=2),
        _row("Checkout Started", 31),
    ]
    found = asked("hesitation", checkout=rows)
    assert found.confidence >= 0.5
    assert isinstance(found.value, float)
    assert found.value > 0.5
    assert found.reasons == (
        "went back once in the checkout", "saw the shipping page twice", "left from the checkout",
    )  # fmt: skip


def test_one_sign_is_less_sure_than_two_and_a_straight_checkout_shows_none() -> None:
    straight = asked("hesitation", checkout=[_row("Checkout Step Viewed", 5, step=2), _row("Checkout Started", 6)])
    left = asked("hesitation", checkout=[_row("Checkout Exited", 5), _row("Checkout Started", 6)])
    stayed = asked("hesitation", checkout=[_row("Checkout Exited", 5), _row("Checkout Lingered", 6, seconds=240)])
    assert straight.value == 0
    assert straight.confidence < left.confidence < stayed.confidence


def test_a_checkout_that_ended_in_an_order_is_not_open() -> None:
    assert asked("hesitation", checkout=[_row("Checkout Exited", 5)], last_order=NOW).confidence == 0


def test_intent_grows_with_depth_and_fades_with_time() -> None:
    visit = asked("purchase_intent", last_seen=NOW - HOUR)
    browsing = asked("purchase_intent", viewed_7d=3, visits_7d=2)
    cart = asked("purchase_intent", cart_count=1, cart_at=NOW - HOUR)
    checkout = asked("purchase_intent", checkout_at=NOW - HOUR)
    faded = asked("purchase_intent", checkout_at=NOW - 5 * DAY)
    assert visit.value < browsing.value < cart.value < checkout.value  # type: ignore[operator]
    assert faded.value < checkout.value  # type: ignore[operator]
    assert asked("purchase_intent", checkout_at=NOW - HOUR, last_order=NOW).confidence == 0


def test_churn_needs_a_rhythm_of_their_own() -> None:
    one = asked("churn_risk", last_order=NOW - 90 * DAY, order_count=1)
    assert (one.value, one.confidence) == (None, 0)
    assert one.reasons == ("1 orders: a rhythm needs at least 2",)
    rhythm = {"order_gap": 30 * DAY, "order_count": 5}
    in_time = asked("churn_risk", last_order=NOW - 20 * DAY, **rhythm)
    silent = asked("churn_risk", last_order=NOW - 100 * DAY, **rhythm)
    browsing = asked("churn_risk", last_order=NOW - 100 * DAY, last_seen=NOW - DAY, **rhythm)
    assert in_time.value < browsing.value < silent.value  # type: ignore[operator]
    assert silent.reasons == ("no order for 100 days, usually every 30 days",)
    assert (
        asked("churn_risk", last_order=NOW - 100 * DAY, order_gap=30 * DAY, order_count=2).confidence
        < silent.confidence
    )


def bought(sku: str, days_ago: float, **fields: Any) -> dict[str, Any]:
    return {"sku": sku, "at": NOW - days_ago * DAY, "quantity": 1, **fields}


def test_what_is_bought_again_and_again_comes_due() -> None:
    rows = [bought("wax", 30), bought("wax", 60), bought("wax", 90), bought("shell", 10)]
    due = asked("reorder_due", bought=rows)
    assert due.value == pytest.approx(0.5)
    assert due.reasons == ("wax bought 30 days ago, usually every 30 days",)
    assert due.confidence == pytest.approx(0.54)
    assert asked("due_products", bought=rows).value == (Ranked("wax", 1.0),)


def test_one_purchase_has_no_rhythm_unless_the_shop_knows_one() -> None:
    assert asked("reorder_due", bought=[bought("wax", 60)]).confidence == 0
    known = asked("reorder_due", bought=[bought("wax", 60)], parameters={"days": {"care": 60}})
    assert known.value == pytest.approx(0.5)
    assert 0 < known.confidence < 0.5


def test_who_skipped_a_product_twice_no_longer_buys_it() -> None:
    assert asked("reorder_due", bought=[bought("wax", 100), bought("wax", 130)]).confidence == 0


def test_two_packs_in_one_order_are_no_rhythm() -> None:
    assert asked("reorder_due", bought=[bought("wax", 10), bought("wax", 10.01)]).confidence == 0


def test_the_jacket_shopper_is_shown_jackets_in_stock_near_the_price() -> None:
    facts = {
        "viewed": [viewed("storm"), viewed("shell", price=18900), viewed("storm", ago=DAY)],
        "cart": [{"sku": "storm", "category": "jackets", "price": 19900, "quantity": 1, "at": NOW - HOUR}],
    }
    found = asked("affinity", **facts)
    assert isinstance(found.value, tuple)
    assert [ranked.sku for ranked in found.value] == ["parka", "fleece"]
    assert found.confidence >= 0.6
    assert found.reasons[0] == "jackets has 100% of their attention"
    shown = asked("affinity", parameters={"shows_seen": True}, **facts)
    assert isinstance(shown.value, tuple)
    assert [ranked.sku for ranked in shown.value] == ["shell", "parka", "fleece"]


def test_one_size_of_a_style_is_shown_and_none_of_what_they_have() -> None:
    sizes = [
        Product(f"{style}-{size}", product_id=style, category="tops", available=3) for style in "ab" for size in "SML"
    ]
    shelf = Shelf(*sizes)
    found = asked("affinity", shelf=shelf, bought=[bought("a-S", 9, category="tops")])
    assert found.value == (Ranked("b-S", 0.707107),)
    both = asked("affinity", shelf=shelf)
    assert isinstance(both.value, tuple)
    assert [ranked.sku for ranked in both.value] == ["a-S", "b-S"]


def test_what_is_sold_out_comes_last() -> None:
    found = asked("affinity", viewed=[viewed("boots", "jackets")])
    assert isinstance(found.value, tuple)
    assert found.value[-1].sku == "storm"


def test_without_taste_it_is_what_sells_and_it_says_so() -> None:
    found = asked("affinity")
    assert found.confidence == pytest.approx(0.2)
    assert found.reasons == ("nothing known of their taste: what sells best",)


def test_one_look_is_not_a_taste() -> None:
    one = asked("affinity", viewed=[viewed("storm")])
    many = asked("affinity", viewed=[viewed(sku) for sku in ("storm", "shell", "storm", "shell", "storm")])
    assert one.confidence < 0.5 < 0.6 <= many.confidence


# ------------------------------------------------------------------ models and floors (S31)

MODELLED = Question(name="purchase_intent", rule="purchase_intent", model="intent", floor=0.8)


def modelled(confidence: float, value: float | None = 0.9) -> Estimate:
    return Estimate("purchase_intent", value, confidence, "model", "m1", NOW)


def answered(answer: Estimate | None, **facts: Any) -> Estimate:
    return interpret(MODELLED, {"checkout_at": NOW, "match_confidence": 1.0, **facts}.get, SHELF, NOW, answer)


def test_a_model_that_is_sure_answers() -> None:
    assert answered(modelled(0.85)).basis == "model"


def test_s31_below_the_floor_the_rule_answers_and_says_so() -> None:
    unsure = answered(modelled(0.62))
    assert unsure.basis == "rule"
    assert unsure.reasons[-1] == "sure 0.62 < 0.80: rule used"
    stranger = answered(modelled(0.95), match_confidence=0.62)
    assert stranger.basis == "rule"
    assert stranger.reasons[-1] == "match 0.62 < 0.80: rule used"


@pytest.mark.parametrize("answer", [None, modelled(0.0), modelled(0.9, None), modelled(float("nan"))])
def test_s31_an_absent_answer_is_no_answer(answer: Estimate | None) -> None:
    found = answered(answer)
    assert found.basis == "rule"
    assert found.reasons[-1] == "no answer from the model intent: rule used"


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("answer", [None, modelled(0.0), modelled(0.9, None), modelled(0.62), modelled(float("nan"))])
def test_s31_whatever_becomes_of_a_model_its_question_has_an_honest_answer(rule: str, answer: Estimate | None) -> None:
    question = Question(name=rule, rule=rule, model="m", floor=0.8)
    found = interpret(question, {"match_confidence": 1.0}.get, Shelf(), NOW, answer)
    assert (found.basis, found.value, found.confidence) == ("rule", None, 0)
    assert found.reasons[-1].endswith("rule used")


def test_s31_no_answer_at_all_has_no_confidence() -> None:
    found = answered(None, checkout_at=None)
    assert (found.value, found.confidence) == (None, 0)


def test_a_question_without_a_model_does_not_mention_one() -> None:
    found = interpret(Question(name="stage", rule="stage"), {"last_seen": NOW}.get, SHELF, NOW, None)
    assert found.reasons == ("has been here, and looked at little yet",)
