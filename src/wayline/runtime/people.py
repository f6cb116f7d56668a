"""Who is behind which identifier, kept at hand: most events are about somebody already known by all they carry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from wayline.domain import Event, Identifier, Link, Merge, Review, Tie
from wayline.observation import identity
from wayline.observation.claims import CLAIMS, UNVERIFIED, confirms, names_cart
from wayline.observation.directory import Directory
from wayline.observation.hands import KEPT_APART, MERGED, apart_by, merged_by
from wayline.observation.vocabulary import DEVICES
from wayline.store import State

__all__ = ["APART", "CUSTOMER", "People", "Whose"]

CUSTOMER = "customer_id"
"""Kind of the one identifier of an event the engine writes itself."""

APART = ("refused", "kept apart")
"""States of a review that no evidence overturns."""

_CLAIM_KINDS = frozenset(CLAIMS)
_OF_ONE = identity.CONFIDENCE["device"][0]
_BY_LOG_IN = identity.CONFIDENCE["user_id"][1]


class Whose(Struct, frozen=True):
    """Whom an event is about, and what was learnt of them by it."""

    customer_id: str
    identifiers: tuple[Identifier, ...]
    """Those of the event that are theirs, and those it confirmed; what a guard refused is not among them."""
    confidence: float = 0.0
    links: tuple[Link, ...] = ()
    merges: tuple[Merge, ...] = ()
    reviews: tuple[Review, ...] = ()
    through: float = 1.0
    """How sure it is that what it came through is this customer's."""


class People:
    """Identifier to customer, as the store and this batch have it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._owner: dict[Identifier, str] = {}
        self._unsure: dict[Identifier, float] = {}
        self._has_weak = False
        self._merged: dict[str, Merge] = {}
        self._claims: dict[str, bool] = {}
        self._reviews: dict[str, Review] = {}
        self._apart: set[frozenset[str]] | None = None
        self._directory: Directory | None = None

    def prefetch(self, events: Iterable[Event]) -> set[str]:
        """Ask the store once for all the identifiers of a batch; the customers they belong to so far."""
        handles = {one for event in events for one in identity.handles(event)}
        owners = self._owner
        self._ask([one for one in handles if one not in owners])
        return {self._latest(owners[one]) for one in handles if one in owners}

    def _ask(self, missing: Sequence[Identifier]) -> None:
        for one, tie in self.state.ties(missing).items() if missing else ():
            self._owner[one] = tie.customer_id
            if tie.confidence < 1:
                self._unsure[one] = tie.confidence
                self._has_weak |= tie.confidence < _BY_LOG_IN

    def whose(self, event: Event) -> Whose:
        """The customer of this event, with the links and merges it makes."""
        identifiers = event.identifiers
        first = identifiers[0]
        if first.kind == CUSTOMER:
            return self._by_hand(event) if event.kind == "internal" else Whose(self.survivor(first.value), identifiers)
        owner = self._owner.get(first)
        is_plain = event.kind != "alias" and first.kind not in _CLAIM_KINDS
        if owner is not None and is_plain and not identity.is_shared(owner):
            owner = self._latest(owner)
            is_known = all(self._latest(self._owner.get(one, "")) == owner for one in identifiers[1:])
            if (
                is_known
                and not (self._has_weak and UNVERIFIED not in event.notes and self._may_be_proven(identifiers))
                and not (event.notes and self._names_claimed_cart(event, owner))
                and not confirms(event)
            ):
                is_told = first.kind not in DEVICES and UNVERIFIED not in event.notes
                if is_told or (not self._has_weak and first.kind in DEVICES):
                    return Whose(owner, identifiers)
                return Whose(owner, identifiers, through=self._through(identifiers, event.notes))
        return self._learn(event)

    def tie(self, identifiers: Sequence[Identifier], *, is_verified: bool = True) -> Tie | None:
        """Who asks, by the strongest of these that leads to anybody, and how sure that is: what an Ask is made with.

        Who asks by a public key and is vouched for by no token is as surely theirs as the device they ask from.
        """
        known = self.resolve(identifiers)
        for one in reversed(identity.weakest_first(identifiers)):
            owner = known.get(one)
            if owner is not None and one.kind not in CLAIMS and not identity.is_shared(owner):
                theirs = [each for each in identifiers if known.get(each) == owner]
                is_said = not is_verified and one.kind not in DEVICES
                return Tie(owner, self._shown(theirs) if is_said else max(map(self.sure, theirs)))
        return None

    def _may_be_proven(self, identifiers: Sequence[Identifier]) -> bool:
        """Whether a log-in could make sure of a device that came by less; what several use stays unsure."""
        if len(identifiers) == 1 or identifiers[0].kind in DEVICES:
            return False
        return any(one.kind in DEVICES and _OF_ONE <= self.sure(one) < _BY_LOG_IN for one in identifiers[1:])

    def _names_claimed_cart(self, event: Event, owner: str) -> bool:
        """Whether a browser names a cart that an address it claimed can be confirmed by."""
        if UNVERIFIED not in event.notes or not names_cart(event) or not identity.is_anonymous(owner):
            return False
        if owner not in self._claims:
            links = (self._directory or self.state).links(owner)
            self._claims[owner] = any(link.identifier.kind in CLAIMS for link in links)
        return self._claims[owner]

    def _through(self, identifiers: Sequence[Identifier], notes: Sequence[str] = ()) -> float:
        if identifiers[0].kind not in DEVICES:
            # Anybody can name somebody: without a proof, the device says how sure it is that it is they.
            return self._shown(identifiers) if UNVERIFIED in notes else 1.0
        if len(identifiers) == 1:
            return self.sure(identifiers[0])
        return max(self.sure(one) for one in identifiers if one.kind not in CLAIMS)

    def _shown(self, identifiers: Sequence[Identifier]) -> float:
        return max([_OF_ONE, *(self.sure(one) for one in identifiers if one.kind in DEVICES)])

    def sure(self, identifier: Identifier) -> float:
        """How sure it is that an identifier at hand belongs to the customer it resolves to."""
        sure = self._unsure.get(identifier, 1.0)
        customer_id = self._owner.get(identifier, "")
        while (merge := self._merged.get(customer_id)) is not None:
            sure, customer_id = min(sure, merge.confidence), merge.survivor
        return sure

    def _learn(self, event: Event) -> Whose:
        if self._directory is None:
            self._directory = Directory(self)
        known = self._directory.resolve(identity.handles(event))
        resolution = identity.resolve(event, known, self._directory)
        self._directory.learn(resolution)
        self._take_in(resolution.links, resolution.merges)
        own = [one for one in resolution.identifiers if one in event.identifiers]
        return Whose(
            resolution.customer_id,
            resolution.identifiers,
            resolution.match_confidence,
            resolution.links,
            resolution.merges,
            resolution.reviews,
            self._through(own, event.notes) if own and own[0].kind not in CLAIMS else 1.0,
        )

    def _take_in(self, links: Sequence[Link], merges: Sequence[Merge]) -> None:
        for link in links:
            self._owner[link.identifier] = link.customer_id
            self._unsure[link.identifier] = sure = identity.sureness(link)
            self._has_weak |= sure < _BY_LOG_IN
            if link.identifier.kind in CLAIMS:
                self._claims[link.customer_id] = True
        for merge in merges:
            self._merged[merge.loser] = merge
            self._has_weak |= merge.confidence < _BY_LOG_IN
            self._claims.pop(merge.survivor, None)
            if self._apart and any(merge.loser in pair for pair in self._apart):
                self._apart = None

    def _by_hand(self, event: Event) -> Whose:
        """An event of the engine's own; merges by hand and refusals are told by such."""
        customer_id = self.survivor(event.identifiers[0].value)
        if event.name == MERGED:
            merge, review = merged_by(event, self.survivor)
            if merge is None:
                return Whose(customer_id, event.identifiers)
            self._judged(review)
            self._take_in((), (merge,))
            self._directory = None
            return Whose(merge.survivor, event.identifiers, 0.0, (), (merge,), (review,))
        if event.name == KEPT_APART:
            review = apart_by(event)
            self._judged(review)
            return Whose(customer_id, event.identifiers, reviews=(review,))
        return Whose(customer_id, event.identifiers)

    def _judged(self, review: Review) -> None:
        self._reviews[review.review_id] = review
        self._apart = None

    def committed(self) -> None:
        """What this batch learnt is in the store now."""
        self._directory = None
        self._reviews.clear()

    def clear(self) -> None:
        """Forget what is at hand; the store has it."""
        for kept in (self._owner, self._unsure, self._merged, self._claims, self._reviews):
            kept.clear()
        self._apart = None
        self._directory = None

    def __len__(self) -> int:
        return len(self._owner)

    # ------------------------------------------------------------------ the evidence, for resolution

    def resolve(self, identifiers: Sequence[Identifier]) -> dict[Identifier, str]:
        """The customer each known identifier belongs to, merges followed."""
        self._ask([one for one in identifiers if one not in self._owner])
        return {one: self._latest(self._owner[one]) for one in identifiers if one in self._owner}

    def links(self, customer_id: str) -> Sequence[Link]:
        """The evidence in the store for one customer."""
        return self.state.links(customer_id)

    def holders(self, identifier: Identifier) -> Sequence[Link]:
        """Every link in the store ever made of one identifier."""
        return self.state.holders(identifier)

    def merges_count(self, customer_id: str) -> int:
        """How many customers the store has merged into this one."""
        return self.state.merges_count(customer_id)

    def are_apart(self, one: str, other: str) -> bool:
        """Whether a person has judged that these two are not one, nor anybody who was merged into them."""
        if self._apart is None:
            judged = {review.review_id: review for review in self.state.reviews(APART)} | self._reviews
            self._apart = {
                frozenset((self.survivor(review.one), self.survivor(review.other)))
                for review in judged.values()
                if review.state in APART
            }
        return bool(self._apart) and frozenset((one, other)) in self._apart

    def survivor(self, customer_id: str) -> str:
        """The id this one resolves to after all merges, those of this batch included."""
        return self._latest(self.state.survivor(customer_id))

    def _latest(self, customer_id: str) -> str:
        while (merge := self._merged.get(customer_id)) is not None:
            customer_id = merge.survivor
        return customer_id
