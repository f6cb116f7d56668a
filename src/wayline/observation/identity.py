"""Who an event is about: deterministic identifiers, no guessing, and never two known people made one.

A person starts anonymous: a browser's id is all there is, and the customer is derived from it. When the person logs in,
the event holds both the browser's id and the user id, and the anonymous customer is *merged* into the known one. That
is the only thing that happens by itself. What never happens by itself is a merge of two known people: when the second
one logs in on the first one's browser, the browser changes hands, the people stay two.

A customer's id is derived from the strongest identifier it began with, and its first letter says of which kind: `k-` a
user id (a known person), `e-` an e-mail address, `p-` a telephone number, `a-` a device, `s-` one session on a shared
device. So a replay of the log gives the same ids, and what is known can be read off an id.

An identifier joins an event's customer unless one of these guards refuses, strongest identifier first, so that what is
dropped is always the weaker one; a refusal makes the resolution *contested*, and says why:

* it belongs to another known person. A device changes hands, until more than `people_max` known people were seen on it:
  then it is shared for ever, links nobody, and what happens on it without a log-in belongs to that session alone;
* the customer already has `person_ids_max` user ids or `others_max` of that kind (devices: within `window`);
* the event came by a public key: it may add behaviour to a person, and may not give an address to somebody who is
  already identified, nor take over the customer of an address.

Values that name nobody (`0`, `-1`, `null`, `undefined`) never get here: `events.parse` leaves them out.

How sure we are (`match_confidence`), by the strongest identifier that joined:

| evidence                                             | secret key or signed | public key |
|------------------------------------------------------|----------------------|------------|
| user id                                              | 1.0                  | 0.9        |
| e-mail address, telephone number                     | 0.9                  | 0.8        |
| click token out of a message of ours                 | 0.7                  | 0.7        |
| other person's identifier (a loyalty card)           | 0.7                  | 0.6        |
| device of one person                                 | 0.5                  | 0.5        |
| device that several known people used                | 0.3                  | 0.3        |
| shared device                                        | 0.1                  | 0.1        |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from hashlib import blake2b
from typing import Final, Protocol

from msgspec import Struct

from wayline.domain import Event, Identifier, Link, Merge
from wayline.errors import Broken
from wayline.observation.events import UNVERIFIED
from wayline.observation.vocabulary import DEVICES, DOCUMENTS

__all__ = [
    "CONFIDENCE",
    "Directory", "Evidence", "Limits", "Resolution",
    "customer_id_of", "handles", "is_known", "is_shared", "resolve", "weakest_first",
]  # fmt: skip

CONFIDENCE: Final[Mapping[str, tuple[float, float]]] = {
    "user_id": (1.0, 0.9),
    "email": (0.9, 0.8),
    "phone": (0.9, 0.8),
    "click_token": (0.7, 0.7),
    "other": (0.7, 0.6),
    "device": (0.5, 0.5),
    "device of several": (0.3, 0.3),
    "shared device": (0.1, 0.1),
}
"""Evidence to how sure it makes us: by a secret key or signed, and by a public key."""

_LETTERS: Final = {"user_id": "k-", "email": "e-", "phone": "p-"}
_RANKS: Final = {"k-": 0, "e-": 1, "p-": 2, "a-": 3}
_SHARED: Final = "shared-"


class Limits(Struct, frozen=True):
    """How much may be linked to one customer, and how many people to one device, without a human looking."""

    people_max: int = 3
    """Known people on one device; one more, and it is shared."""
    person_ids_max: int = 1
    """User ids of one customer."""
    others_max: int = 5
    """Identifiers of each other kind of one customer."""
    window: timedelta = timedelta(days=30)
    """A device counts against `others_max` only this long after it was linked: browsers forget their ids."""
    links_max: int = 1000
    """Identifiers of one customer in all; what would go beyond is not joined."""


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


class Resolution(Struct, frozen=True, kw_only=True):
    """Whom an event belongs to, and what was learnt by it."""

    customer_id: str
    identifiers: tuple[Identifier, ...] = ()
    """Those of the event that are this customer's. What a guard refused is not remembered as theirs: else a forged
    address would be written to."""
    links: tuple[Link, ...] = ()
    merges: tuple[Merge, ...] = ()
    match_confidence: float
    contested: bool = False
    """A guard refused something: `notes` say what, for the review queue."""
    notes: tuple[str, ...] = ()


def customer_id_of(identifier: Identifier, *more: str) -> str:
    """The id of the customer that begins with this identifier."""
    said = "\0".join((identifier.kind, identifier.value, *more))
    letter = "s-" if more else _LETTERS.get(identifier.kind, "a-")
    return letter + blake2b(said.encode(), digest_size=12).hexdigest()


def is_known(customer_id: str) -> bool:
    """Whether this customer has a user id: such people are never merged by themselves."""
    return customer_id.startswith("k-")


def is_shared(customer_id: str) -> bool:
    """Whether an identifier that resolves to this belongs to nobody, being a shared device's."""
    return customer_id.startswith(_SHARED)


def weakest_first(identifiers: Iterable[Identifier]) -> list[Identifier]:
    """Devices first and the user id last, each kind in the order given: what is read last counts most."""
    return sorted(identifiers, key=lambda each: (each.kind not in DEVICES, -_RANKS[_LETTERS.get(each.kind, "a-")]))


def handles(event: Event) -> tuple[Identifier, ...]:
    """Every identifier whose customer `resolve` must know: the event's own, and an alias's other side."""
    previous = event.properties.get("previous_id") if event.kind == "alias" else None
    return (*event.identifiers, Identifier("user_id", previous)) if previous else event.identifiers


def resolve(
    event: Event, known: Mapping[Identifier, str], evidence: Evidence, limits: Limits | None = None
) -> Resolution:
    """Whom this event is about. `known` holds the customer of each of its `handles` that has one."""
    if not event.identifiers:
        raise Broken(f"event {event.event_id!r} ({event.name}) is about no person: tell the shelf, do not resolve it")
    joining = _Joining(event, known, evidence, limits or Limits())
    for identifier in event.identifiers:
        joining.consider(identifier)
    return joining.resolution()


# ------------------------------------------------------------------ one event's identifiers, joining


class _Joining:
    """The identifiers of one event, taken strongest first: whom they make, and what is left out."""

    def __init__(self, event: Event, known: Mapping[Identifier, str], evidence: Evidence, limits: Limits) -> None:
        self.event = event
        self.known = known
        self.evidence = evidence
        self.limits = limits
        self.is_verified = UNVERIFIED not in event.notes
        self.joined: list[Identifier] = []
        self.owners: list[str] = []
        self.free: list[Identifier] = []
        self.moved: list[Identifier] = []
        self.shared: list[Identifier] = []
        self.notes: list[str] = []
        self.confidence = 0.0
        self._held: dict[str, Sequence[Link]] = {}

    def consider(self, identifier: Identifier) -> None:
        """Let one identifier join, or say why not."""
        owner = self.known.get(identifier)
        if owner is not None and is_shared(owner):
            self.shared.append(identifier)
            return
        if owner is not None and self._is_anothers(owner):
            self._dispute(identifier)
            return
        if owner not in self.owners:
            refusal = self._refusal(identifier, owner)
            if refusal:
                self.notes.append(refusal)
                return
            if owner is None:
                self.free.append(identifier)
            else:
                self.owners.append(owner)
        self.joined.append(identifier)
        self._trust(self._evidence_of(identifier, owner))

    def resolution(self) -> Resolution:
        """What all that joined amounts to."""
        customer_id = self._survivor()
        if customer_id is None:
            return self._session()
        self._refuse_alias(customer_id)
        losers = [owner for owner in self.owners if owner != customer_id]
        links = [self._link(identifier, customer_id) for identifier in self.free]
        for identifier in self.moved:
            links.append(self._changed_hands(identifier, customer_id))
            if links[-1].customer_id == customer_id:
                self.joined.append(identifier)
        return Resolution(
            customer_id=customer_id,
            identifiers=tuple(each for each in self.event.identifiers if each in self.joined),
            links=tuple(links),
            merges=tuple(self._merge(loser, customer_id) for loser in losers),
            match_confidence=self.confidence,
            contested=bool(self.notes),
            notes=tuple(self.notes),
        )

    def _person(self) -> str | None:
        """The known person this event is about, as far as its identifiers were considered."""
        named = [customer_id_of(identifier) for identifier in self.free if identifier.kind == "user_id"]
        return next((owner for owner in (*self.owners, *named) if is_known(owner)), None)

    def _is_anothers(self, owner: str) -> bool:
        """Whether this owner is somebody else than the event is about so far, as far as we may say."""
        if owner in self.owners or not (self.owners or self.free):
            return False
        person = self._person()
        if is_known(owner) and person is not None and owner != person:
            return True
        # What a public key says may bring an anonymous browser to a person, and never two identified ones together.
        return not self.is_verified and not owner.startswith("a-")

    def _dispute(self, identifier: Identifier) -> None:
        """It belongs to another person: a device goes to whoever logs in, anything else stays where it is."""
        person = self._person()
        self.notes.append(f"{identifier.kind} belongs to another customer, {self.known[identifier]}; not merged")
        if identifier.kind in DEVICES and person is not None:
            self.moved.append(identifier)

    def _refusal(self, identifier: Identifier, owner: str | None) -> str:
        """Why this identifier, with all that its customer holds, may not join; empty if it may."""
        is_address = identifier.kind in ("email", "phone")
        if (
            is_address
            and owner is None
            and not self.is_verified
            and any(not each.startswith("a-") for each in self.owners)
        ):
            return f"unverified {identifier.kind}: a public key may not give one to somebody already identified"
        most = self._limit_broken(identifier, owner)
        return f"limit: more than {most} {identifier.kind} for one customer" if most else ""

    def _limit_broken(self, identifier: Identifier, owner: str | None) -> int:
        """The limit that would break; 0 if none does."""
        if owner is not None and not (self.owners or self.free):
            return 0  # nothing joins anything
        joined = self.owners if owner is None else [*self.owners, owner]
        held = {link.identifier for each in joined for link in self._links(each) if self._counts(link)}
        held.update(self.free, (identifier,))
        if len(held) > self.limits.links_max:
            return self.limits.links_max
        for kind in {identifier.kind} if owner is None else {each.kind for each in held}:
            if kind in DOCUMENTS:
                continue  # a good customer has any number of orders
            most = self.limits.person_ids_max if kind == "user_id" else self.limits.others_max
            if sum(each.kind == kind for each in held) > most:
                return most
        return 0

    def _counts(self, link: Link) -> bool:
        is_device = link.identifier.kind in DEVICES
        return not is_device or self.event.occurred_at - link.at <= self.limits.window

    def _links(self, customer_id: str) -> Sequence[Link]:
        if customer_id not in self._held:
            self._held[customer_id] = self.evidence.links(customer_id)
        return self._held[customer_id]

    def _survivor(self) -> str | None:
        """The customer that remains: the one of the strongest kind, then of the smallest id."""
        candidates = list(self.owners)
        if self.free:
            begun = customer_id_of(self.free[0])
            if not candidates or _RANKS[begun[:2]] < min(_RANKS[each[:2]] for each in candidates):
                candidates.append(begun)
        return min(candidates, key=lambda each: (_RANKS[each[:2]], each), default=None)

    def _session(self) -> Resolution:
        """Only shared devices: whoever it is, what they do belongs to this session and to nobody else."""
        session = self.event.context.get("sessionId") or self.event.occurred_at.date().isoformat()
        return Resolution(
            customer_id=customer_id_of(self.shared[0], str(session)),
            match_confidence=CONFIDENCE["shared device"][0],
            contested=True,
            notes=("shared device: links nobody",),
        )

    def _refuse_alias(self, customer_id: str) -> None:
        previous = handles(self.event)[len(self.event.identifiers) :]
        other = self.known.get(previous[0]) if previous else None
        if other is not None and other != customer_id:
            self.notes.append(f"alias: {other} and {customer_id} are both known; merge them by hand if they are one")

    def _evidence_of(self, identifier: Identifier, owner: str | None) -> str:
        if identifier.kind not in DEVICES:
            return identifier.kind if identifier.kind in CONFIDENCE else "other"
        # Asked only where it decides: nothing stronger spoke, and the device speaks for a known person.
        if owner is not None and is_known(owner) and not self.confidence and len(self._people_on(identifier)) > 1:
            return "device of several"
        return "device"

    def _people_on(self, identifier: Identifier) -> set[str]:
        holders = {link.customer_id for link in self.evidence.holders(identifier)}
        return set(filter(is_known, map(self.evidence.survivor, holders)))

    def _trust(self, evidence: str) -> None:
        secret, public = CONFIDENCE[evidence]
        self.confidence = max(self.confidence, secret if self.is_verified else public)

    def _link(self, identifier: Identifier, customer_id: str, evidence: str = "") -> Link:
        secret, public = CONFIDENCE[evidence or self._evidence_of(identifier, None)]
        confidence = secret if self.is_verified else public
        return Link(identifier, customer_id, self.event.source, confidence, self.event.occurred_at)

    def _changed_hands(self, identifier: Identifier, customer_id: str) -> Link:
        """The device's new place: the person who logged in last, or nobody once too many have."""
        people = {*self._people_on(identifier), self.known[identifier], customer_id}
        if len(people) > self.limits.people_max:
            self.notes.append(f"{identifier.kind} is shared from now on: {len(people)} known people used it")
            return self._link(identifier, _SHARED + customer_id_of(identifier), "shared device")
        return self._link(identifier, customer_id, "device of several")

    def _merge(self, loser: str, survivor: str) -> Merge:
        evidence = f"{self.event.source}/{self.event.event_id}"
        return Merge(loser, survivor, self.confidence, evidence, self.event.occurred_at)


# ------------------------------------------------------------------ what has been learnt


class Directory:
    """Links and merges as they are made, over those of a store: what a batch learns, its next event must know."""

    def __init__(self, beneath: Evidence | None = None) -> None:
        self._beneath = beneath
        self._owner: dict[Identifier, str] = {}
        self._survivor: dict[str, str] = {}
        self._absorbed: dict[str, list[str]] = {}
        self._links: dict[str, list[Link]] = {}
        self._holders: dict[Identifier, list[Link]] = {}
        self._asked: set[Identifier] = set()

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
        while customer_id in self._survivor:
            customer_id = self._survivor[customer_id]
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

    def learn(self, resolution: Resolution) -> None:
        """Take in what one resolution linked and merged."""
        for link in resolution.links:
            self._asked.add(link.identifier)
            self._owner[link.identifier] = link.customer_id
            self._links.setdefault(link.customer_id, []).append(link)
            self._holders.setdefault(link.identifier, []).append(link)
        for merge in resolution.merges:
            self._survivor[merge.loser] = merge.survivor
            self._absorbed.setdefault(merge.survivor, []).append(merge.loser)
