"""What may become of an outbox row: a table, and the one function that reads it.

    pending <---> attempting ----> sent | withheld | refused | dead        settled
       |              |   ^
       |              v   |
       |           unknown ----> sent | refused | dead
       +----> sent | withheld | unknown | refused | dead                   never seen attempting

`attempting` is committed before the provider is called, so whatever died in between is found again with a lease that
has run out. It goes back to `pending` only when the channel proved that nothing was delivered and said when to offer
it again; such a row counts its attempts. `unknown` may be attempted again only where the channel can take the same
key twice, which is for the channel to know, and never returns to `pending`.
"""

from __future__ import annotations

from collections.abc import Mapping

from wayline.errors import Broken
from wayline.store import Delivery, DeliveryState

__all__ = ["SETTLED", "TRANSITIONS", "succeed"]

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


def succeed(stored: Delivery | None, offered: Delivery) -> Delivery:
    """The row to keep when `offered` comes after `stored`; a move the table does not have is Broken.

    A row as it was born (pending, no attempt), offered again, is a repeated commit: the stored one wins.
    """
    if stored is None:
        return offered
    if offered.state == "pending" and offered.attempts == 0 and stored.state != "pending":
        return stored
    if offered.state in TRANSITIONS[stored.state] and offered.attempts >= stored.attempts:
        return offered
    raise Broken(
        f"delivery {offered.decision_id!r} is {stored.state!r} after {stored.attempts} attempts and was offered as "
        f"{offered.state!r} after {offered.attempts}; attempts never fall, and from there it may become "
        f"{', '.join(sorted(TRANSITIONS[stored.state]))}. Read the row before writing it."
    )
