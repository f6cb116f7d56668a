"""Models at work: whatever one does, nobody's turn waits for it or falls with it."""

from __future__ import annotations

from collections.abc import Sequence

from wayline.domain import Customer, Estimate, World
from wayline.engine import Model
from wayline.runtime.troubles import say

__all__ = ["FAILURES_MAX", "guarded"]

FAILURES_MAX = 3  # customers a failing model is asked about alone, one after the other, before it counts as down


def guarded(question: str, model: Model) -> Model:
    """The same model, whose failures are absent answers: confidence 0, with the reason that the decision will show.

    A model that fails on a batch is asked about each customer alone, so that one it cannot bear takes no other along.
    """

    def asked(customers: Sequence[Customer], world: World) -> Sequence[Estimate | None]:
        answers, failure = _asked(customers, world)
        if failure is not None and len(customers) > 1:
            answers, failure = _one_by_one(customers, world, failure)
        failed = [one for one in answers if one is not None and not one.version and one.confidence == 0.0]
        if failed:
            say("a model failed", question=question, customers=len(failed), reason="; ".join(failed[0].reasons))
        return answers

    def _asked(customers: Sequence[Customer], world: World) -> tuple[list[Estimate | None], Exception | None]:
        try:
            return _checked(question, model(customers, world), len(customers), world), None
        except Exception as error:  # noqa: BLE001 - a model is foreign code: its failure is an answer that is absent
            return [_absent(question, error, world) for _ in customers], error

    def _one_by_one(
        customers: Sequence[Customer], world: World, error: Exception
    ) -> tuple[list[Estimate | None], Exception | None]:
        answers: list[Estimate | None] = []
        failures = 0
        for customer in customers:
            if failures == FAILURES_MAX:
                answers.append(_absent(question, error, world))
                continue
            alone, failure = _asked([customer], world)
            answers += alone
            failures = 0 if failure is None else failures + 1
        return answers, error

    return asked


def _checked(question: str, answers: Sequence[Estimate | None], count: int, world: World) -> list[Estimate | None]:
    given = list(answers)
    if len(given) != count:
        raise ValueError(f"{len(given)} answers about {count} customers")
    return [one if one is None or _is_sound(one, question) else _unsound(question, one, world) for one in given]


def _is_sound(answer: Estimate, question: str) -> bool:
    return isinstance(answer, Estimate) and answer.question == question and 0.0 <= answer.confidence <= 1.0


def _unsound(question: str, answer: object, world: World) -> Estimate:
    return _absent(question, ValueError(f"it answered {answer!r:.80}"), world)


def _absent(question: str, error: Exception, world: World) -> Estimate:
    return Estimate(question, None, 0.0, "model", "", world.now, (f"it failed: {type(error).__name__}: {error}",))
