"""What somebody told of a person, and which of two tellings counts: decided by what was said when, never by arrival.

Events come late, twice, and as history of years ago. So the vault keeps beside each value who said it, and of two
values of one name the one of more weight stays: what a trusted source said over what anybody's browser can say, and of
two alike the one that was said later. That order is total, so the same tellings in any order leave the same values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec import Struct

__all__ = ["UNSTAMPED", "Kept", "Told", "Weight", "layers_of", "take_in"]


class Weight(NamedTuple):
    """How much a telling counts; of two, the greater."""

    is_trusted: bool
    """Whether it came by a secret key, or somebody vouched for it."""
    occurred_at: datetime
    source: str
    event_id: str


UNSTAMPED: Final = Weight(True, datetime(1970, 1, 1, tzinfo=UTC), "", "")
"""Of values kept before weights were: older than any event, and yet nothing for a browser to replace."""


class Told(Struct, frozen=True, gc=False, array_like=True):
    """What one event told: subject (an identifier's `kind:hash`) to personal values."""

    values: Mapping[str, Mapping[str, Any]]
    weight: Weight = UNSTAMPED


Kept: TypeAlias = dict[str, tuple[Weight, Any]]
"""The values of one subject by name, each with the weight of who said it."""


def take_in(kept: Kept, personal: Mapping[str, Any], weight: Weight) -> bool:
    """Add to what is kept whatever outweighs it; whether anything did."""
    is_changed = False
    for name, value in personal.items():
        known = kept.get(name)
        if known is None or weight > known[0] or known[0] == UNSTAMPED == weight:
            kept[name] = (weight, value)
            is_changed = True
    return is_changed


def layers_of(kept: Iterable[tuple[str, tuple[Weight, Any]]]) -> list[tuple[Weight, dict[str, Any]]]:
    """The same by weight, the least first: an event tells several values, and its weight is written once."""
    layers: dict[Weight, dict[str, Any]] = {}
    for name, (weight, value) in kept:
        layers.setdefault(weight, {})[name] = value
    return sorted(layers.items())
