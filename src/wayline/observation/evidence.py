"""What identity rests on: how sure evidence makes us, how much may be linked, and what resolution asks of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, Protocol

from msgspec import Struct

from wayline.domain import Identifier, Link

__all__ = ["CONFIDENCE", "Evidence", "Limits"]

CONFIDENCE: Final[Mapping[str, tuple[float, float]]] = {
    "user_id": (1.0, 0.9),
    "email": (0.9, 0.8),
    "phone": (0.9, 0.8),
    "double opt-in": (0.8, 0.8),
    "claim in its cart": (0.8, 0.8),
    "claim in its order": (0.7, 0.7),
    "click_token": (0.7, 0.7),
    "other": (0.7, 0.6),
    "device": (0.5, 0.5),
    "shared address": (0.5, 0.5),
    "claimed address": (0.4, 0.4),
    "device of several": (0.3, 0.3),
    "shared device": (0.1, 0.1),
}
"""Evidence to how sure it makes us of the person: by a secret key or signed, and by a public key.

What a public key says without a signed identity makes us of no device surer than "device".
"""


class Limits(Struct, frozen=True):
    """How much may be linked to one customer, and how many people to one device, without a human looking."""

    people_max: int = 3
    """Known people on one device; one more, and it is shared."""
    person_ids_max: int = 1
    """User ids of one customer."""
    others_max: int = 5
    """Identifiers of each other kind of one customer, claims apart from addresses."""
    window: timedelta = timedelta(days=30)
    """A device counts against `others_max` only this long after it was linked: browsers forget their ids."""
    links_max: int = 1000
    """Identifiers of one customer in all, half of them by a public key; what would go beyond is not joined."""
    merges_max: int = 100
    """Customers merged into one by themselves, half of them by a public key: a fuse against chains of devices."""
    carts_max: int = 50
    """Carts of one browser that an address it claimed can be confirmed by."""


class Evidence(Protocol):
    """What resolution asks of the links and merges made so far; a store's state answers it."""

    def resolve(self, identifiers: Sequence[Identifier]) -> dict[Identifier, str]:
        """The customer each known identifier belongs to, merges followed."""
        ...

    def links(self, customer_id: str) -> Sequence[Link]:
        """The evidence for one customer."""
        ...

    def holders(self, identifier: Identifier) -> Sequence[Link]:
        """Every link ever made of one identifier."""
        ...

    def survivor(self, customer_id: str) -> str:
        """The id this one resolves to after all merges; itself if never merged."""
        ...

    def merges_count(self, customer_id: str) -> int:
        """How many customers were merged into this one, directly or through others."""
        ...

    def sure(self, identifier: Identifier) -> float:
        """How sure it is that an identifier belongs to the customer it resolves to."""
        ...

    def are_apart(self, one: str, other: str) -> bool:
        """Whether a person has judged that these two are not one."""
        ...
