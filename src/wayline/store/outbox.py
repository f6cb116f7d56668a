"""What may become of an outbox row: a table, and the one function that reads it.

    pending ----> attempting ----> sent | withheld | refused | dead        settled
       |              |   ^
       |              v   |
       |           unknown ----> sent | refused | dead
       +----> refused | withheld | dead                                    never attempted

`attempting` is committed before the provider is called, so whatever died in between is found again with a lease that
has run out. `unknown` may be attempted again only where the channel can take the same key twice; that is for the
channel to know. Nothing leads back to `pending`: a row that has been attempted is never again one that has not.
"""

from __future__ import annotations

from collections.abc import Mapping

from wayline.errors import Broken
from wayline.store import Delivery, DeliveryState

__all__ = ["SETTLED", "TRANSITIONS", "succeed"]

TRANSITIONS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    "pending": frozenset({"pending", "attempting", "sent", "withheld", "unknown", "refused", "dead"}),
    "attempting": frozenset({"attempting", "sent", "withheld", "unknown", "refused", "dead"}),
    "unknown": frozenset({"unknown", "attempting", "sent", "refused", "dead"}),
    "sent": frozenset({"sent"}),
    "withheld": frozenset({"withheld"}),
    "refused": frozenset({"refused"}),
    "dead": frozenset({"dead"}),
}
SETTLED: frozenset[DeliveryState] = frozenset(state for state, onward in TRANSITIONS.items() if onward == {state})


def succeed(stored: Delivery | None, offered: Delivery) -> Delivery:
    """The row to keep when `offered` comes after `stored`; a move the table does not have is Broken.

    A row as it was born, offered again, is a repeated commit: the stored one has moved on and wins.
    """
    if stored is None or offered.state in TRANSITIONS[stored.state]:
        return offered
    if offered.state == "pending" and offered.attempts == 0:
        return stored
    raise Broken(
        f"delivery {offered.decision_id!r} is {stored.state!r} and was offered as {offered.state!r}; "
        f"from there it may become {', '.join(sorted(TRANSITIONS[stored.state]))}. Read the row before writing it."
    )
