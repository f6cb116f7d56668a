"""Who is in which arm, how long it will take, and whether the groups can be trusted.

An arm is a pure hash of experiment and unit, so nobody keeps a list, nobody moves, and two machines agree without
talking. The control arm is the low end of the unit interval: making the share smaller releases people into the
treatment and never the other way, so whoever stays in control has been there all along.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import sha256
from statistics import NormalDist
from typing import Literal, TypeAlias

from msgspec import Struct

from wayline.domain import Assignment

__all__ = [
    "HOLDOUT",
    "UNEVEN_BELOW",
    "Arm",
    "Plan",
    "SampleRatio",
    "assign",
    "journey_experiment",
    "merge_assignment",
    "merge_assignments",
    "planned",
    "sample_ratio",
]

Arm: TypeAlias = Literal["control", "treatment"]

HOLDOUT = "holdout"
"""The standing experiment of all marketing: its control arm gets none."""

UNEVEN_BELOW = 0.001
"""A split less likely than this by chance is a defect of the experiment, and its result is not to be trusted."""


def journey_experiment(journey: str) -> str:
    """The name of the experiment that every journey carries."""
    return f"journey:{journey}"


def assign(experiment: str, unit: str, share: float) -> Arm:
    """The arm of this unit: `control` for a share of all units, the same for ever and everywhere."""
    if not 0 <= share <= 1:
        raise ValueError(f"share of the control group of {experiment!r}: expected 0 to 1, got {share!r}")
    # The separator cannot occur in a name, so ("a", "bc") and ("ab", "c") are different coins.
    digest = sha256(f"{experiment}\x00{unit}".encode()).digest()
    return "control" if int.from_bytes(digest[:8], "big") < share * 2**64 else "treatment"


def merge_assignment(ours: Assignment | None, theirs: Assignment | None) -> Assignment | None:
    """The arm of two people found to be one: that of whoever was exposed.

    An arm that nobody has been exposed to yet is only a hash; the survivor's hash stands. Both exposed, in different
    arms: the earlier exposure goes on, and the person counts in neither group.
    """
    if ours is None or theirs is None:
        either = ours or theirs
        # The other side's arm without exposure would contradict the hash of the surviving id.
        return either if either is ours or (either and either.exposed_at) else None
    if theirs.exposed_at is None:
        return ours
    if ours.exposed_at is None:
        return theirs
    first = min(ours, theirs, key=lambda side: (side.exposed_at, side.arm))
    mixed = ours.arm != theirs.arm or ours.contaminated or theirs.contaminated
    return Assignment(first.arm, first.exposed_at, mixed)


def merge_assignments(ours: Mapping[str, Assignment], theirs: Mapping[str, Assignment]) -> dict[str, Assignment]:
    """The arms of a merged person in every experiment; `ours` is the survivor."""
    merged = {name: merge_assignment(ours.get(name), theirs.get(name)) for name in {**ours, **theirs}}
    return {name: assignment for name, assignment in merged.items() if assignment is not None}


class Plan(Struct, frozen=True):
    """What a fair answer costs: people in both arms together, and days at the present pace."""

    people: int
    days: int


def planned(baseline: float, lift: float, daily: float, share_control: float, *, power: float = 0.8) -> Plan:
    """People and days until a relative `lift` of the rate `baseline` is seen with this power, two-sided at 5 %.

    Arms of unequal size are dearer: the smaller one decides.
    """
    raised = baseline * (1 + lift)
    if not (0 < baseline < 1 and 0 < raised < 1 and raised != baseline):
        raise ValueError(f"rates to tell apart: expected two different shares in (0, 1), got {baseline} and {raised}")
    if not 0 < share_control < 1 or daily <= 0:
        raise ValueError(f"expected 0 < share_control < 1 and daily > 0, got {share_control} and {daily}")
    reach = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(power)
    variance = baseline * (1 - baseline) / share_control + raised * (1 - raised) / (1 - share_control)
    people = math.ceil(reach**2 * variance / (raised - baseline) ** 2)
    return Plan(people, math.ceil(people / daily))


class SampleRatio(Struct, frozen=True):
    """Whether the arms have the sizes they were meant to have."""

    chi_square: float
    p: float

    @property
    def is_uneven(self) -> bool:
        """Whether the groups differ from plan by more than chance would explain."""
        return self.p < UNEVEN_BELOW


def sample_ratio(counts: Mapping[str, int], shares: Mapping[str, float]) -> SampleRatio:
    """Chi-square of the arms' sizes against the shares they were given."""
    if counts.keys() != shares.keys() or len(shares) < 2 or abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"expected shares of the same two or more arms, adding to 1; got {counts} and {shares}")
    total = sum(counts.values())
    if total == 0:
        return SampleRatio(0.0, 1.0)
    if any(share == 0 and counts[arm] for arm, share in shares.items()):
        return SampleRatio(math.inf, 0.0)
    planned_sizes = {arm: total * share for arm, share in shares.items() if share}
    chi_square = sum((counts[arm] - size) ** 2 / size for arm, size in planned_sizes.items())
    if len(planned_sizes) < 2:
        return SampleRatio(0.0, 1.0)
    if len(planned_sizes) == 2:
        return SampleRatio(chi_square, math.erfc(math.sqrt(chi_square / 2)))
    # Imported where used, so that only experiments of three and more arms pay for it.
    from scipy.special import chdtrc  # type: ignore[import-untyped]  # scipy ships no types

    return SampleRatio(chi_square, float(chdtrc(len(planned_sizes) - 1, chi_square)))
