"""What becomes of a standing when two who were taken for one person are two again.

An enrollment stays with the side whose event entered it. What was sent stays with whom it reached, and with it the arm
that was shown. Nothing is invented: what a merge had closed stays closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from wayline.domain import Assignment, Contact, Enrollment, Standing
from wayline.orchestration.journeys import kept

__all__ = ["Exposure", "divide"]


class Exposure(Struct, frozen=True):
    """What reached somebody, in which arm, of which experiments."""

    customer_id: str
    at: datetime
    assignments: Mapping[str, str]


def divide(
    standing: Standing,
    confidences: Mapping[str, float],
    *,
    entered_by: Callable[[Enrollment], str],
    reached: Callable[[Contact], str],
    exposures: Sequence[Exposure],
) -> dict[str, Standing]:
    """The standing of each side; `confidences` names the sides, the one that goes on under the old id first."""
    first = next(iter(confidences))
    shown = {side: _shown(each for each in exposures if each.customer_id == side) for side in confidences}
    found = {each for assignments in shown.values() for each in assignments}
    divided = {}
    for side, confidence in confidences.items():
        enrollments = kept(each for each in standing.enrollments if entered_by(each) == side)
        rest = {name: a for name, a in standing.assignments.items() if side == first and name not in found}
        divided[side] = Standing(
            enrollments=enrollments,
            contacts=tuple(each for each in standing.contacts if reached(each) == side),
            assignments={**rest, **shown[side]},
            wake_at=min((e.wake_at for e in enrollments if e.is_open and e.wake_at is not None), default=None),
            match_confidence=confidence,
        )
    return divided


def _shown(exposures: Iterable[Exposure]) -> dict[str, Assignment]:
    """The arm a side was first shown of each experiment; shown two, it counts in neither."""
    shown: dict[str, Assignment] = {}
    for exposure in sorted(exposures, key=lambda each: each.at):
        for experiment, arm in exposure.assignments.items():
            known = shown.get(experiment)
            if known is None:
                shown[experiment] = Assignment(arm, exposure.at)
            elif known.arm != arm:
                shown[experiment] = Assignment(known.arm, known.exposed_at, contaminated=True)
    return shown
