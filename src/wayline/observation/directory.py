"""Links and merges as they are made, over those of a store: what a batch learns, its next event must know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wayline.domain import Identifier, Link, Merge
from wayline.observation.identity import Evidence, Resolution, sureness

__all__ = ["Directory"]


class Directory:
    """Links and merges as they are made, over those of a store: what a batch learns, its next event must know."""

    def __init__(self, beneath: Evidence | None = None, apart: Iterable[tuple[str, str]] = ()) -> None:
        self._beneath = beneath
        self._owner: dict[Identifier, str] = {}
        self.merges: dict[str, Merge] = {}
        """Those made here, by the loser."""
        self._absorbed: dict[str, list[str]] = {}
        self._links: dict[str, list[Link]] = {}
        self._holders: dict[Identifier, list[Link]] = {}
        self._asked: set[Identifier] = set()
        self._apart = tuple(apart)

    def prefetch(self, identifiers: Iterable[Identifier]) -> None:
        """Ask the store once for all the identifiers of a batch."""
        missing = [each for each in dict.fromkeys(identifiers) if each not in self._asked]
        self._asked.update(missing)
        if self._beneath is not None and missing:
            for identifier, customer_id in self._beneath.resolve(missing).items():
                self._owner.setdefault(identifier, customer_id)

    def resolve(self, identifiers: Sequence[Identifier]) -> dict[Identifier, str]:
        """The customer each known identifier belongs to, merges followed."""
        self.prefetch(identifiers)
        owner = self._owner
        return {each: self._latest(owner[each]) for each in identifiers if each in owner}

    def survivor(self, customer_id: str) -> str:
        """The id this one resolves to after all merges; itself if never merged."""
        return self._latest(customer_id if self._beneath is None else self._beneath.survivor(customer_id))

    def _latest(self, customer_id: str) -> str:
        # A survivor of the store can lose here; a survivor made here is new to the store.
        while (merge := self.merges.get(customer_id)) is not None:
            customer_id = merge.survivor
        return customer_id

    def links(self, customer_id: str) -> list[Link]:
        """The evidence for one customer and all that was merged into it, oldest first."""
        told = [] if self._beneath is None else list(self._beneath.links(customer_id))
        told += self._links.get(customer_id, ())
        for loser in self._absorbed.get(customer_id, ()):
            told += self.links(loser)
        return sorted(told, key=lambda link: link.at)

    def holders(self, identifier: Identifier) -> list[Link]:
        """Every link ever made of one identifier, oldest first."""
        told = [] if self._beneath is None else list(self._beneath.holders(identifier))
        return told + self._holders.get(identifier, [])

    def merges_count(self, customer_id: str) -> int:
        """How many customers were merged into this one."""
        counted = 0 if self._beneath is None else self._beneath.merges_count(customer_id)
        losers = self._absorbed.get(customer_id, ())
        return counted + sum(1 + self.merges_count(loser) for loser in losers)

    def sure(self, identifier: Identifier) -> float:
        """How sure it is that an identifier belongs to the customer it resolves to."""
        made = self._holders.get(identifier)
        if made:
            sure, customer_id = sureness(made[-1]), made[-1].customer_id
        else:
            sure = 1.0 if self._beneath is None else self._beneath.sure(identifier)
            customer_id = self._owner.get(identifier, "")
        while (merge := self.merges.get(customer_id)) is not None:
            sure, customer_id = min(sure, merge.confidence), merge.survivor
        return sure

    def are_apart(self, one: str, other: str) -> bool:
        """Whether a person has judged that these two are not one."""
        if self._beneath is not None and self._beneath.are_apart(one, other):
            return True
        if not self._apart:
            return False
        ends = {one, other}
        return any({self.survivor(a), self.survivor(b)} == ends for a, b in self._apart)

    def learn(self, resolution: Resolution) -> None:
        """Take in what one resolution linked and merged."""
        for link in resolution.links:
            self._asked.add(link.identifier)
            self._owner[link.identifier] = link.customer_id
            self._links.setdefault(link.customer_id, []).append(link)
            self._holders.setdefault(link.identifier, []).append(link)
        for merge in resolution.merges:
            self.join(merge)

    def join(self, merge: Merge) -> None:
        """Take in one merge."""
        self.merges[merge.loser] = merge
        self._absorbed.setdefault(merge.survivor, []).append(merge.loser)
