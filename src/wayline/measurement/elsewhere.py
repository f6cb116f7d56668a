"""What other tools sent to each arm: alike, or the comparison measures them too.

Nobody's control group withholds what another tool sends, so both arms should get as much of it. Where they do not, by
more than chance, something couples the tools (an export of our audiences, a rule on our clicks), and the difference
between the arms is theirs as much as ours. Messages are counted as orders are: in the window after a person's first
exposure, with what they got before it as the covariate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from wayline.domain import Tally
from wayline.measurement import tallies
from wayline.measurement.effects import Effect, always_valid, difference
from wayline.measurement.outcomes import Exposure, Order, measure

__all__ = ["CERTAIN", "Elsewhere", "elsewhere"]

CERTAIN = 0.01
"""How rarely, however often it is looked at, a journey may be called uneven that is not."""


class Elsewhere(Struct, frozen=True, kw_only=True):
    """One journey's arms, and how many messages of other tools each got."""

    journey: str
    control: Tally
    treatment: Tally
    is_uneven: bool

    @property
    def sentence(self) -> str:
        """What a person reads of it."""
        a, b = (tallies.mean(arm) if arm.n else 0.0 for arm in (self.control, self.treatment))
        said = (
            f"'{self.journey}': other tools sent {b:.2f} messages a person to those who get ours and {a:.2f} to the "
            f"control group ({self.treatment.n:,} and {self.control.n:,} people)"
        )
        if not self.is_uneven:
            return f"{said}: no more different than chance makes them."
        return f"{said}: more different than chance makes them, so the comparison measures the other tools too."


def elsewhere(
    exposures: Sequence[Exposure],
    messages: Iterable[tuple[str, datetime, str]],
    *,
    until: datetime | None = None,
    recurring: Collection[str] = (),
) -> Mapping[str, Elsewhere]:
    """Each journey's arms by the messages (customer_id, when, its id) of other tools; nothing where there are none."""
    counted = [Order(customer_id, at, message_id, 1.0) for customer_id, at, message_id in messages]
    if not counted:
        return {}
    arms = measure(exposures, counted, until=until, recurring=recurring)
    return {
        name: Elsewhere(
            journey=name,
            control=one.margin["control"],
            treatment=one.margin["treatment"],
            is_uneven=_is_uneven(one.margin["control"], one.margin["treatment"]),
        )
        for name, one in arms.items()
    }


def _is_uneven(control: Tally, treatment: Tally) -> bool:
    effect = difference(control, treatment, adjusted=True)
    return isinstance(effect, Effect) and always_valid(effect, alpha=CERTAIN).is_certain
