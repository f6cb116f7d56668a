"""S31: an answer that is missing, unsure, late, wrong or never comes is no answer: the rule answers, and it is said."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace
from tests.laws.test_turns import with_control
from tests.shop import NOON, Shop, apparel, happened, person, visitor

from wayline.domain import Customer, Decision, Estimate, Playbook, Question, Ranked, World
from wayline.engine import Model, answer, begin, finish
from wayline.interpretation import estimates
from wayline.runtime import embedded
from wayline.runtime.answering import FAILURES_MAX, guarded

JACKET = {"sku": "jacket", "category": "winter-jackets", "price": 16900, "quantity": 1}
PICKED = (Ranked("parka", 1.0),)


def modelled(floor: float = 0.8) -> Playbook:
    """The example, with a model asked for each of its questions first."""
    playbook = with_control(apparel(), 0.0)
    questions = {name: replace(one, model="m", floor=floor) for name, one in playbook.questions.items()}
    return replace(playbook, questions=questions)


def sure(question: str, confidence: float = 0.95, value: object = PICKED) -> Model:
    def model(asked: Sequence[Customer], world: World) -> list[Estimate | None]:
        return [Estimate(question, value, confidence, "model", "m-1", world.now, ("it knows",)) for _ in asked]  # type: ignore[arg-type]

    return model


def newsletter(models: dict[str, Model], floor: float = 0.8) -> tuple[Shop, Decision]:
    """A newsletter to somebody who looked at jackets: picks if their affinity is known well enough."""
    shop = Shop(modelled(floor), models=models)
    shop.consent(days_ago=2)
    shop.tell(*(happened("Product Viewed", **JACKET) for _ in range(2)))
    shop.tell(happened("Newsletter Due"))
    decided = [d for d in shop.decisions("newsletter") if d.action is not None or d.considered]
    return shop, decided[-1]


def test_s31_a_sure_model_has_its_say() -> None:
    _, decision = newsletter({"affinity": sure("affinity")})
    assert decision.action is not None and decision.action.content == "newsletter-picks"
    assert decision.action.shows == ("parka",)
    assert decision.estimates["affinity"].basis == "model"
    verdict = next(v for v in decision.considered if v.gate is None)
    assert verdict.basis == "model"


# ------------------------------------------------------------------ every way to be no answer


def raising(asked: Sequence[Customer], world: World) -> list[Estimate | None]:
    raise RuntimeError("no such table")


def silent(asked: Sequence[Customer], world: World) -> list[Estimate | None]:
    return [None for _ in asked]


def short(asked: Sequence[Customer], world: World) -> list[Estimate | None]:
    return []


def off_topic(asked: Sequence[Customer], world: World) -> list[Estimate | None]:
    return sure("churn_risk")(asked, world)  # type: ignore[return-value]


def beyond(asked: Sequence[Customer], world: World) -> list[Estimate | None]:
    return sure("affinity", 1.7)(asked, world)  # type: ignore[return-value]


def nowhere(asked: Sequence[Customer], world: World) -> list[Estimate | None]:
    return sure("affinity", math.nan)(asked, world)  # type: ignore[return-value]


def valueless(asked: Sequence[Customer], world: World) -> list[Estimate | None]:
    return sure("affinity", 0.99, None)(asked, world)  # type: ignore[return-value]


FAULTS: dict[str, tuple[Model, str]] = {
    "raising": (raising, "no answer from the model m (it failed: RuntimeError: no such table): rule used"),
    "silent": (silent, "no answer from the model m: rule used"),
    "short": (short, "no answer from the model m (it failed: ValueError: 0 answers about 1 customers): rule used"),
    "off topic": (off_topic, "no answer from the model m (it failed: ValueError: it answered Estimate"),
    "beyond": (beyond, "no answer from the model m (it failed: ValueError: it answered Estimate"),
    "nowhere": (nowhere, "no answer from the model m (it failed: ValueError: it answered Estimate"),
    "valueless": (valueless, "no answer from the model m (it knows): rule used"),
    "unsure": (sure("affinity", 0.62), "sure 0.62 < 0.80: rule used"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_s31_no_answer_is_an_answer_of_the_rule_and_the_decision_says_so(fault: str) -> None:
    model, said = FAULTS[fault]
    shop, decision = newsletter({"affinity": model})
    _, ruled = newsletter({})
    assert shop.store.state.set_asides() == []
    assert decision.action == ruled.action, "as if there were no model"
    estimate = decision.estimates["affinity"]
    assert estimate.basis == "rule"
    assert any(reason.startswith(said) for reason in estimate.reasons), estimate.reasons


@pytest.mark.parametrize("question", sorted(modelled().questions))
def test_s31_a_model_that_raises_at_any_question_stops_nothing(question: str) -> None:
    shop = Shop(modelled(), models={question: raising})
    shop.consent(days_ago=2)
    shop.tell(happened("Product Added", **JACKET), happened("Checkout Step Viewed", step=2))
    shop.tell(happened("Checkout Lingered", step=2, seconds=90), happened("Order Completed", order_id="o", products=[]))
    shop.tell(happened("Newsletter Due"), happened("Replenishment Due"), happened("Win-back Due"))
    shop.after(days=3)
    assert shop.store.state.set_asides() == []
    assert ("email", "order-confirmation") in shop.sent()


def test_s31_one_customer_a_model_cannot_bear_takes_no_other_along() -> None:
    """What it answers about the others in a batch is what it answers about each alone."""

    def picky(asked: Sequence[Customer], world: World) -> Sequence[Estimate | None]:
        if any(who.memory.position == 3 for who in asked):
            raise ValueError("a facet it never saw")
        return sure("affinity")(asked, world)

    shop = Shop(modelled())
    people = [person(f"p{number}") for number in range(6)]
    shop.tell(*(happened("Product Viewed", who, **JACKET) for who in people))
    world = shop.engine.world(shop.now)
    events = [happened("Newsletter Due", who, at=NOON) for who in people]
    begun = [begin(shop.customer(who), event, shop.playbook) for who, event in zip(people, events, strict=True)]
    models = {"affinity": guarded("affinity", picky)}
    together = answer(begun, models, world)
    alone = [answer([one], models, world) for one in begun]
    assert [finish(one, shop.playbook, together) for one in begun] == [
        finish(one, shop.playbook, each) for one, each in zip(begun, alone, strict=True)
    ]
    assert sum(found.confidence > 0 for found in together.answers.values()) == len(people) - 1


def test_s31_a_model_that_is_down_is_not_asked_about_everybody() -> None:
    calls = []

    def down(asked: Sequence[Customer], world: World) -> list[Estimate | None]:
        calls.append(len(asked))
        raise TimeoutError("no answer in 2 s")

    world = Shop().engine.world(NOON)
    answers = guarded("affinity", down)([Customer(f"k-{number}") for number in range(500)], world)
    assert len(answers) == 500 and all(one is not None and one.confidence == 0 for one in answers)
    assert calls == [500] + [1] * FAILURES_MAX


def test_s31_too_unsure_who_it_is_the_rule_answers() -> None:
    question = Question(name="reorder_due", rule="reorder_due", model="m", floor=0.8)
    said = Estimate("reorder_due", 0.9, 0.95, "model", "m-1", NOON)
    found = estimates.interpret(question, {"match_confidence": 0.62}.get, Shop().engine.shelf, NOON, said)
    assert found.basis == "rule"
    assert found.reasons[-1] == "match 0.62 < 0.80: rule used"
    assert found.confidence == 0, "and a rule that has seen nothing says so: no plausible default"


def test_s31_a_page_s_visitor_nobody_knows_gets_nothing_personal() -> None:
    shop = Shop(modelled(), models={"affinity": sure("affinity")})
    browser = visitor("sofa")
    shop.tell(*(happened("Product Viewed", browser, **JACKET) for _ in range(5)))
    assert shop.customer(browser).match_confidence < 0.8
    shop.after(hours=5)
    assert shop.sent() == []


# ------------------------------------------------------------------ mutants


def test_s31_without_the_guard_a_raising_model_fails_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "guarded", lambda question, model: model)
    with pytest.raises(RuntimeError):
        newsletter({"affinity": raising})


@pytest.mark.parametrize("fault", ("unsure", "valueless"))
def test_s31_an_ignored_floor_fails_the_scenario(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "_why_not", lambda question, facts, answer: "")
    check: Callable[[str], None] = test_s31_no_answer_is_an_answer_of_the_rule_and_the_decision_says_so
    with pytest.raises(AssertionError):
        check(fault)
