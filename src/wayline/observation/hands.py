"""What a person has judged of who is who, as events of the log: merged, split, kept apart.

They stand in the log among what happened, so replaying or folding it again gives the same people. Their ids are derived
from what was judged and when, so telling one twice is telling it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from wayline.domain import Event, Identifier, Merge, Review, Split
from wayline.observation.identity import review_of

__all__ = [
    "BY_HAND", "KEPT_APART", "MERGED", "SPLIT",
    "apart_at_last", "apart_by", "is_judgement", "judgement", "merged_by", "split_by",
]  # fmt: skip

MERGED = "Customers Merged"
SPLIT = "Customers Split"
KEPT_APART = "Customers Kept Apart"
BY_HAND = frozenset({MERGED, SPLIT, KEPT_APART})

_SOURCE = "wayline"
_CERTAIN = 0.95  # a person looked, and people err


def judgement(
    name: str, survivor: str, loser: str, *, by: str, why: str, at: datetime, confidence: float = _CERTAIN
) -> Event:
    """The event that says so. Of a refusal, who is called survivor and who loser makes no difference."""
    return Event(
        event_id=f"{name.lower().replace(' ', '-')}:{loser}:{survivor}:{at.isoformat()}",
        source=_SOURCE,
        name=name,
        kind="internal",
        occurred_at=at,
        received_at=at,
        identifiers=(Identifier("customer_id", survivor),),
        properties={"survivor": survivor, "loser": loser, "confidence": confidence, "evidence": why, "by": by},
    )


def is_judgement(event: Event) -> bool:
    """Whether a person judged so: what a sender merely calls so is an event like any other, and judges nothing."""
    return event.name in BY_HAND and event.kind == "internal" and event.source == _SOURCE


def merged_by(event: Event, survivor_of: Callable[[str], str]) -> tuple[Merge | None, Review]:
    """The merge a person asked for, None if the two are one already; and the question it answers."""
    told = event.properties
    survivor, loser = survivor_of(told["survivor"]), survivor_of(told["loser"])
    review = _decided(event, "accepted")
    if survivor == loser:
        return None, review
    return Merge(loser, survivor, told["confidence"], _key(event), event.occurred_at, told["by"]), review


def split_by(event: Event) -> tuple[Split, Review]:
    """The merge that is taken back, and the question that is answered by it for good."""
    told = event.properties
    split = Split(told["loser"], told["survivor"], _key(event), event.occurred_at, told["by"])
    return split, _decided(event, "kept apart")


def apart_by(event: Event) -> Review:
    """The question that a person answered with no."""
    return _decided(event, "refused")


def apart_at_last(events: Iterable[Event]) -> list[tuple[str, str]]:
    """The pairs that are apart after all of these, in the order of the log: a later merge by hand takes it back."""
    apart: dict[frozenset[str], tuple[str, str]] = {}
    for event in filter(is_judgement, events):
        pair = (event.properties["loser"], event.properties["survivor"])
        if event.name == MERGED:
            apart.pop(frozenset(pair), None)
        else:
            apart[frozenset(pair)] = pair
    return list(apart.values())


def _decided(event: Event, state: str) -> Review:
    told = event.properties
    asked = review_of(told["survivor"], told["loser"], told["confidence"], (told["evidence"],), event.occurred_at)
    return Review(
        review_id=asked.review_id, one=asked.one, other=asked.other, confidence=asked.confidence,
        evidence=asked.evidence, at=event.occurred_at, state=state, decided_at=event.received_at, by=told["by"],  # type: ignore[arg-type]  # one of the states
    )  # fmt: skip


def _key(event: Event) -> str:
    return f"{event.source}/{event.event_id}"
