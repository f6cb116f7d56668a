"""Who is behind which identifier, kept at hand: most events are about somebody already known by all they carry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from wayline.domain import Event, Identifier, Link, Merge
from wayline.observation import identity
from wayline.store import State

__all__ = ["CUSTOMER", "People", "Whose"]

CUSTOMER = "customer_id"
"""Kind of the one identifier of an event the engine writes itself."""


class Whose(Struct, frozen=True):
    """Whom an event is about, and what was learnt of them by it."""

    customer_id: str
    identifiers: tuple[Identifier, ...]
    """Those of the event that are theirs; what a guard refused is not."""
    confidence: float = 0.0
    links: tuple[Link, ...] = ()
    merges: tuple[Merge, ...] = ()


class People:
    """Identifier to customer, as the store and this batch have it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._owner: dict[Identifier, str] = {}
        self._merged: dict[str, str] = {}
        self._directory: identity.Directory | None = None

    def prefetch(self, events: Iterable[Event]) -> set[str]:
        """Ask the store once for all the identifiers of a batch; the customers they belong to so far."""
        handles = {one for event in events for one in identity.handles(event)}
        owners = self._owner
        missing = [one for one in handles if one not in owners]
        if missing:
            owners.update(self.state.resolve(missing))
        return {self._latest(owners[one]) for one in handles if one in owners}

    def whose(self, event: Event) -> Whose:
        """The customer of this event, with the links and merges it makes."""
        identifiers = event.identifiers
        if identifiers[0].kind == CUSTOMER:
            return Whose(self.survivor(identifiers[0].value), identifiers)
        owner = self._owner.get(identifiers[0])
        if owner is not None and event.kind != "alias" and not identity.is_shared(owner):
            owner = self._latest(owner)
            if all(self._latest(self._owner.get(one, "")) == owner for one in identifiers[1:]):
                return Whose(owner, identifiers)
        return self._learn(event)

    def _learn(self, event: Event) -> Whose:
        if self._directory is None:
            self._directory = identity.Directory(self)
        known = self._directory.resolve(identity.handles(event))
        resolution = identity.resolve(event, known, self._directory)
        self._directory.learn(resolution)
        for link in resolution.links:
            self._owner[link.identifier] = link.customer_id
        for merge in resolution.merges:
            self._merged[merge.loser] = merge.survivor
        return Whose(
            resolution.customer_id,
            resolution.identifiers,
            resolution.match_confidence,
            resolution.links,
            resolution.merges,
        )

    def committed(self) -> None:
        """What this batch learnt is in the store now."""
        self._directory = None

    def clear(self) -> None:
        """Forget what is at hand; the store has it."""
        self._owner.clear()
        self._merged.clear()
        self._directory = None

    def __len__(self) -> int:
        return len(self._owner)

    # ------------------------------------------------------------------ the evidence, for resolution

    def resolve(self, identifiers: Sequence[Identifier]) -> dict[Identifier, str]:
        """The customer each known identifier belongs to, merges followed."""
        missing = [one for one in identifiers if one not in self._owner]
        if missing:
            self._owner.update(self.state.resolve(missing))
        return {one: self._latest(self._owner[one]) for one in identifiers if one in self._owner}

    def links(self, customer_id: str) -> Sequence[Link]:
        """The evidence in the store for one customer."""
        return self.state.links(customer_id)

    def holders(self, identifier: Identifier) -> Sequence[Link]:
        """Every link in the store ever made of one identifier."""
        return self.state.holders(identifier)

    def survivor(self, customer_id: str) -> str:
        """The id this one resolves to after all merges, those of this batch included."""
        return self._latest(self.state.survivor(customer_id))

    def _latest(self, customer_id: str) -> str:
        while customer_id in self._merged:
            customer_id = self._merged[customer_id]
        return customer_id
