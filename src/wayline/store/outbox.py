"""What may become of an outbox row: a table, and what reads it.

    pending <---> attempting ----> sent | withheld | refused | dead        settled
       |              |   ^
       |              v   |
       |           unknown ----> sent | refused | dead
       +----> sent | withheld | unknown | refused | dead                   never seen attempting

`attempting` is committed before the provider is called, so whatever died in between is found again with a lease that
has run out. It goes back to `pending` when the channel proved that nothing was delivered and said when to offer it
again, or when it is owed and nobody knows; such a row counts its attempts. `unknown` may be attempted again only where
the channel can take the same key twice, which is for the channel to know, and never returns to `pending`.
"""

from __future__ import annotations

from collections.abc import Mapping

from wayline.errors import Broken
from wayline.store import Delivery, DeliveryState

__all__ = ["SETTLED", "TRANSITIONS", "check_move", "is_born"]

TRANSITIONS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    "pending": frozenset({"pending", "attempting", "sent", "withheld", "unknown", "refused", "dead"}),
    "attempting": frozenset({"pending", "attempting", "sent", "withheld", "unknown", "refused", "dead"}),
    "unknown": frozenset({"unknown", "attempting", "sent", "refused", "dead"}),
    "sent": frozenset({"sent"}),
    "withheld": frozenset({"withheld"}),
    "refused": frozenset({"refused"}),
    "dead": frozenset({"dead"}),
}
SETTLED: frozenset[DeliveryState] = frozenset(state for state, onward in TRANSITIONS.items() if onward == {state})


def is_born(delivery: Delivery) -> bool:
    """Whether this is the row as a turn first writes it; offered again once it has moved, it is a repeat."""
    return delivery.state == "pending" and delivery.attempts == 0


def check_move(state: DeliveryState, attempts: int, offered: Delivery) -> None:
    """Whether a row in this state, after so many attempts, may become `offered`; otherwise Broken says why not."""
    if offered.state in TRANSITIONS[state] and offered.attempts >= attempts:
        return
    raise Broken(
        f"delivery {offered.decision_id!r} is {state!r} after {attempts} attempts and was offered as "
        f"{offered.state!r} after {offered.attempts}; attempts never fall, and from there it may become "
        f"{', '.join(sorted(TRANSITIONS[state]))}. Read the row before writing it."
    )
