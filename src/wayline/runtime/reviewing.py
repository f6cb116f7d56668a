"""Questions whether two customers are one, and a person's answers to them.

Who proposes a pair asks; a person answers; the answer is an event of the log (`observation.hands`), and the engine
takes it in like any other. So nothing is merged by a question, and every answer can be replayed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from wayline.domain import Event, Review
from wayline.errors import SenderError
from wayline.observation.hands import KEPT_APART, MERGED, SPLIT, judgement
from wayline.observation.identity import is_shared, review_of
from wayline.observation.masking import names_someone
from wayline.observation.properties import looks_personal
from wayline.store import Batch, State

__all__ = ["answered", "merged", "propose_review", "split"]


def propose_review(
    state: State, one: str, other: str, *, confidence: float, evidence: Iterable[str], at: datetime
) -> Review | None:
    """Ask whether two customers are one; None if they are one already, or a person has judged it.

    `evidence` is sentences for that person, without personal values. Asked again, the surer asking is kept.
    """
    first, second = state.survivor(one), state.survivor(other)
    if first == second:
        return None
    asked = review_of(first, second, confidence, evidence, at)
    stored = state.review(asked.review_id)
    if stored is not None and stored.state != "open":
        return None
    state.commit(Batch(reviews=[asked]))
    return state.review(asked.review_id)


def answered(state: State, review_id: str, *, accept: bool, by: str, at: datetime) -> Event:
    """The event that answers a question. Raises SenderError if there is none, or it was answered before."""
    review = state.review(review_id)
    if review is None:
        raise SenderError(
            f"review {review_id!r}: there is none of that id. Those there are: wayline identity review DIR"
        )
    if review.state != "open":
        raise SenderError(
            f"review {review_id}: it is {review.state} already, by {review.by or 'nobody named'}. To merge the two "
            f"after all: wayline identity merge DIR {review.one} {review.other}"
        )
    _names_nobody(by=by)
    why = "; ".join(review.evidence)
    if accept:
        return _merged(state, review.one, review.other, by=by, why=why, at=at, confidence=review.confidence)
    return judgement(KEPT_APART, review.one, review.other, by=by, why=why, at=at)


def merged(state: State, one: str, other: str, *, by: str, why: str, at: datetime) -> Event:
    """The event that merges two by hand: the one known by more goes on. Raises SenderError where it cannot be."""
    _names_nobody(by=by, why=why)
    return _merged(state, one, other, by=by, why=why, at=at)


def _merged(
    state: State, one: str, other: str, *, by: str, why: str, at: datetime, confidence: float | None = None
) -> Event:
    first, second = _known(state, one), _known(state, other)
    if first == second:
        raise SenderError(f"{one} and {other} are one customer already: {first}")
    survivor, loser = sorted((first, second), key=lambda each: (_ORDER.index(each[:2]), each))
    sure = {} if confidence is None else {"confidence": max(confidence, _LOOKED_AT)}
    return judgement(MERGED, survivor, loser, by=by, why=why, at=at, **sure)


def split(state: State, loser: str, *, by: str, why: str, at: datetime) -> Event:
    """The event that takes a merge back. Raises SenderError if this customer was never merged into another."""
    _names_nobody(by=by, why=why)
    root = _known(state, loser)
    edge = next((merge for merge in state.merges(root) if merge.loser == loser), None)
    if edge is None:
        losers = ", ".join(merge.loser for merge in state.merges(root)) or "nobody"
        raise SenderError(f"{loser}: it was not merged into another customer. Merged into {root}: {losers}")
    return judgement(SPLIT, edge.survivor, loser, by=by, why=why, at=at)


_ORDER = ("k-", "e-", "p-", "a-", "s-")
_LOOKED_AT = 0.9  # whatever made the proposal, a person has looked at it since


def _names_nobody(**said: str) -> None:
    for field, text in said.items():
        if names_someone(text) or looks_personal(text):
            instead = "your name or initials" if field == "by" else "what you saw, such as 'she told us'"
            raise SenderError(
                f"{field}: an e-mail address or a telephone number seems to stand in it, and it is kept in clear with "
                f"the judgement. Write {instead}."
            )


def _known(state: State, customer_id: str) -> str:
    root = state.survivor(customer_id)
    if customer_id[:2] not in _ORDER or is_shared(customer_id) or root not in state.load([root]):
        raise SenderError(f"{customer_id!r}: no customer of that id is known")
    return root
