"""Who an event is about: deterministic identifiers, no guessing, and never two known people made one.

A person starts anonymous: a browser's id is all there is, and the customer is derived from it. When the person logs in,
the event holds both the browser's id and the user id, and the anonymous customer is *merged* into the known one. Beside
a log-in, an anonymous browser comes to a person by a click out of a message of ours, or when an address it has claimed
is confirmed (`observation.claims`). What never happens by itself is a merge of two identified people: when the second
one logs in on the first one's browser, the browser changes hands, the people stay two.

A customer's id is derived from the strongest identifier it began with, and its first letter says of which kind: `k-` a
user id (a known person), `e-` an e-mail address, `p-` a telephone number, `a-` a device, `s-` one session on a shared
device. So a replay of the log gives the same ids, and what is known can be read off an id.

An identifier joins an event's customer unless one of these guards refuses, strongest identifier first, so that what is
dropped is always the weaker one; a refusal makes the resolution *contested*, and says why:

* a person has judged that the two are not one (`are_apart`);
* it belongs to another known person. A device changes hands, until more than `people_max` known people were seen on it:
  then it is shared for ever, links nobody, and what happens on it without a log-in belongs to that session alone. An
  address becomes a shared one: the second person is reached by it, and it leads to the first;
* the customer already has `person_ids_max` user ids or `others_max` of that kind (devices: within `window`), or has
  come about by `merges_max` merges;
* the event came by a public key: it may add behaviour to a person, and its addresses are claims.

Values that name nobody (`0`, `-1`, `null`, `undefined`) never get here: `events.parse` leaves them out.

How sure we are of the person (`match_confidence`) is that of the strongest evidence; how sure we are that a device is
that person's is that of the link or merge it came by. `CONFIDENCE` has the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from wayline.domain import Event, Identifier, Link, Merge, Review
from wayline.errors import Broken
from wayline.observation.claims import (
    CLAIMED,
    CLAIMED_IN,
    CLAIMS,
    CLICK_TOKEN,
    SHARED,
    UNVERIFIED,
    is_double_opt_in,
    named_in,
    names_cart,
    vouchers,
)
from wayline.observation.evidence import CONFIDENCE, Evidence, Limits
from wayline.observation.vocabulary import DEVICES, DOCUMENTS

__all__ = [
    "CONFIDENCE",
    "Evidence", "Limits", "Resolution",
    "customer_id_of", "handles", "is_anonymous", "is_known", "is_shared", "resolve", "review_of", "sureness",
    "weakest_first",
]  # fmt: skip

_CLAIM_KINDS: Final = frozenset(CLAIMS)
_OF_ONE: Final = CONFIDENCE["device"][0]
_LETTERS: Final = {"user_id": "k-", "email": "e-", "phone": "p-"}
_RANKS: Final = {"k-": 0, "e-": 1, "p-": 2, "a-": 3}
_SHARED: Final = "shared-"
_UNCOUNTED: Final = frozenset({CLAIMED_IN, *CLAIMS, *SHARED.values()})


class Resolution(Struct, frozen=True, kw_only=True):
    """Whom an event belongs to, and what was learnt by it."""

    customer_id: str
    identifiers: tuple[Identifier, ...] = ()
    """Those of the event that are this customer's, and those it has confirmed. What a guard refused is not remembered
    as theirs: else a forged address would be written to."""
    links: tuple[Link, ...] = ()
    merges: tuple[Merge, ...] = ()
    match_confidence: float
    contested: bool = False
    """A guard refused something: `notes` say what."""
    notes: tuple[str, ...] = ()
    reviews: tuple[Review, ...] = ()
    """Pairs that may be one, and that no evidence may merge: for a person to judge."""


def customer_id_of(identifier: Identifier, *more: str) -> str:
    """The id of the customer that begins with this identifier."""
    said = "\0".join((identifier.kind, identifier.value, *more))
    letter = "s-" if more else _LETTERS.get(identifier.kind, "a-")
    return letter + blake2b(said.encode(), digest_size=12).hexdigest()


def is_known(customer_id: str) -> bool:
    """Whether this customer has a user id: such people are never merged by themselves."""
    return customer_id.startswith("k-")


def is_anonymous(customer_id: str) -> bool:
    """Whether nothing but devices says who this is."""
    return customer_id.startswith("a-")


def is_shared(customer_id: str) -> bool:
    """Whether an identifier that resolves to this belongs to nobody, being a shared device's."""
    return customer_id.startswith(_SHARED)


def weakest_first(identifiers: Iterable[Identifier]) -> list[Identifier]:
    """Devices first and the user id last, each kind in the order given: what is read last counts most."""
    return sorted(identifiers, key=lambda each: (each.kind not in DEVICES, -_RANKS[_LETTERS.get(each.kind, "a-")]))


def review_of(one: str, other: str, confidence: float, evidence: Iterable[str], at: datetime) -> Review:
    """The question whether two customers are one; asked again of the same two, it is the same question."""
    first, second = sorted((one, other))
    review_id = blake2b(f"{first}\0{second}".encode(), digest_size=9).hexdigest()
    return Review(
        review_id=review_id, one=first, other=second, confidence=confidence, evidence=tuple(evidence), at=at
    )  # fmt: skip


def sureness(link: Link) -> float:
    """How sure the link itself is: the customer that began with an identifier is its own for certain."""
    # One made before evidence was kept says how strong its identifier was, and not how sure the link is.
    if link.confidence == 1 or not link.evidence or link.customer_id == customer_id_of(link.identifier):
        return 1.0
    return link.confidence


def handles(event: Event) -> tuple[Identifier, ...]:
    """Every identifier whose customer `resolve` must know: the event's own, an alias's other side, what vouches."""
    if event.kind == "alias" and (previous := event.properties.get("previous_id")):
        return (*event.identifiers, Identifier("user_id", previous))
    vouching = vouchers(event)
    return (*event.identifiers, *vouching) if vouching else event.identifiers


def resolve(
    event: Event, known: Mapping[Identifier, str], evidence: Evidence, limits: Limits | None = None
) -> Resolution:
    """Whom this event is about. `known` holds the customer of each of its `handles` that has one."""
    if not event.identifiers:
        raise Broken(f"event {event.event_id!r} ({event.name}) is about no person: tell the shelf, do not resolve it")
    joining = _Joining(event, known, evidence, limits or Limits())
    for identifier in event.identifiers:
        joining.consider(identifier)
    joining.confirm()
    return joining.resolution()


def _number(kind: str, identifiers: Iterable[Identifier]) -> int:
    return sum(each.kind == kind for each in identifiers)


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
        self.claims: list[Identifier] = []
        self.tokens: list[Identifier] = []
        self.added: list[Identifier] = []
        self.tied: dict[str, float] = {}
        """Owners who came by something weaker than the event's own identifiers, and how sure that is."""
        self.notes: list[str] = []
        self.reviews: list[Review] = []
        self.confidence = 0.0
        self.way = 0.0
        """How sure it is that what the event came through is theirs: what it was told by is less than who they are."""
        self.yielded: list[Identifier] = []
        self._held: dict[str, Sequence[Link]] = {}

    # -- who joins

    def consider(self, identifier: Identifier) -> None:
        """Let one identifier join, or say why not."""
        if identifier.kind in _CLAIM_KINDS:
            self.claims.append(identifier)
            return
        if identifier.kind == CLICK_TOKEN:
            self.tokens.append(identifier)
            return
        owner = self.known.get(identifier)
        if owner is not None and is_shared(owner):
            self.shared.append(identifier)
            return
        if owner is not None and self._is_anothers(owner):
            self._dispute(identifier, owner)
            return
        if owner is not None and owner not in self.owners and self._is_kept_apart(owner):
            self.notes.append(f"{identifier.kind} belongs to {owner}, whom a person keeps apart; not merged")
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

    def confirm(self) -> None:
        """Bring in the browsers that this event proves to be theirs: by a claimed cart, a double opt-in, a click."""
        if len(self.known) > len(self.event.identifiers) or names_cart(self.event):
            for handle, evidence in vouchers(self.event).items() if self.owners or self.free else ():
                if handle in self.known:
                    self._bring(handle, evidence)
        if is_double_opt_in(self.event):
            for address in [each for each in self.joined if each.kind in CLAIMED]:
                self._bring(Identifier(CLAIMED[address.kind], address.value), "double opt-in")
        for token in self.tokens:
            self._click(token)

    def _bring(self, handle: Identifier, evidence: str) -> None:
        """The one anonymous customer behind a claim that this event confirms."""
        # What happened before an address was claimed proves nothing of the claim, however late it is told.
        until = self.event.occurred_at
        since = until - self.limits.window
        links = [link for link in self.evidence.holders(handle) if since <= link.at <= until]
        claimants = {self.evidence.survivor(link.customer_id) for link in links}.difference(self.owners)
        if len(claimants) > 1:
            self.notes.append(f"{evidence}: {len(claimants)} browsers claimed it; none of them is joined")
            return
        for browser in filter(is_anonymous, claimants):
            self._tie(browser, evidence)

    def _tie(self, other: str, evidence: str) -> bool:
        """Let this customer join by what is less than an identifier of theirs; whether it did."""
        if other in self.owners:
            self._trust(evidence)
            return True
        why = self._kept_apart_or_full(other)
        if why:
            self.notes.append(f"{evidence}: {why}; not merged")
            return False
        self.owners.append(other)
        self.tied[other] = CONFIDENCE[evidence][0]
        self._trust(evidence)
        return True

    def _kept_apart_or_full(self, other: str) -> str:
        if self._is_kept_apart(other):
            return f"a person keeps {other} apart"
        most = self._limit_broken(None, other)
        return f"more than {most} of one kind for one customer" if most else ""

    def _click(self, token: Identifier) -> None:
        """Whoever follows a link out of a message is probably its recipient: on a browser that is nobody's yet."""
        to = self.evidence.survivor(token.value)
        is_somebody = bool(self.evidence.links(to))
        if not is_somebody or self._is_automated() or (self.shared and not (self.owners or self.free)):
            self.notes.append("click: it ties nobody (a machine's, on a shared device, or of an unknown recipient)")
            return
        if to not in self.owners and not all(map(is_anonymous, self._involved())):
            self.notes.append(f"click: this browser is another customer's than {to}, whom we wrote to; not merged")
            self._ask_about(to, CONFIDENCE[CLICK_TOKEN][0], "clicked in a message to the other")
        elif to in self.owners or not is_anonymous(token.value):
            if self._tie(to, CLICK_TOKEN) and is_anonymous(to):
                self._confirm_mailbox(to)
        else:
            # It went to an address that a browser had claimed, and was opened on another one: who reads that mailbox
            # clicks, and need not be who typed the address.
            self._confirm_mailbox(to)
            if to not in self.owners:
                self.notes.append(f"click: on another browser than the one of {to}, which had claimed it; not merged")
                self._ask_about(to, CONFIDENCE["claimed address"][0], "clicked in a message to the other")

    def _confirm_mailbox(self, to: str) -> None:
        """Who clicks in a mail has read it there: the one address this customer had claimed is theirs."""
        claimed = {link.identifier for link in self._links(to) if link.identifier.kind == CLAIMED["email"]}
        if len(claimed) != 1:
            return  # none, or nobody knows which of them the message went to
        address = Identifier("email", claimed.pop().value)
        owner = self.evidence.resolve((address,)).get(address)
        if owner is None:
            self.free.insert(0, address)
            self._trust(CLICK_TOKEN)
        elif not self._tie(owner, CLICK_TOKEN):
            return
        self.added.append(address)

    def _is_automated(self) -> bool:
        return "automated" in self.event.notes or self.event.properties.get("automated") is True

    def _involved(self) -> list[str]:
        """The customers this event is about, as far as it was considered."""
        return [*self.owners, *(customer_id_of(identifier) for identifier in self.free[:1])]

    def _person(self) -> str | None:
        """The known person this event is about, as far as its identifiers were considered."""
        named = [customer_id_of(identifier) for identifier in self.free if identifier.kind == "user_id"]
        return next((owner for owner in (*self.owners, *named) if is_known(owner)), None)

    # -- who does not

    def _is_kept_apart(self, owner: str) -> bool:
        if not (self.owners or self.free):
            return False
        return any(self.evidence.are_apart(owner, other) for other in self._involved())

    def _is_anothers(self, owner: str) -> bool:
        """Whether this owner is somebody else than the event is about so far, as far as we may say."""
        if owner in self.owners or not (self.owners or self.free):
            return False
        person = self._person()
        if is_known(owner) and person is not None and owner != person:
            return True
        # What a public key says may bring an anonymous browser to a person, and never two identified ones together.
        return not self.is_verified and not is_anonymous(owner)

    def _dispute(self, identifier: Identifier, owner: str) -> None:
        """It belongs to another person: a device goes to whoever logs in, anything else stays where it is."""
        person = self._person()
        self.notes.append(f"{identifier.kind} belongs to another customer, {owner}; not merged")
        if identifier.kind in DEVICES:
            if person is not None:
                self.moved.append(identifier)
            return
        if identifier.kind in SHARED and person is not None and is_known(owner) and self.is_verified:
            # One mailbox of a household: both are reached by it, and neither is the other.
            self.added.append(Identifier(SHARED[identifier.kind], identifier.value))
        if self.is_verified:
            self._ask_about(owner, CONFIDENCE["shared address"][0], f"one {identifier.kind} of both")

    def _ask_about(self, other: str, confidence: float, why: str) -> None:
        """Put the question to a person whether the other is whom this event is about."""
        ours = min(self._involved(), key=lambda each: (_RANKS[each[:2]], each))
        said = f"{why} ({self.event.source}/{self.event.event_id})"
        self.reviews.append(review_of(ours, other, confidence, (said,), self.event.occurred_at))

    def _refusal(self, identifier: Identifier, owner: str | None) -> str:
        """Why this identifier, with all that its customer holds, may not join; empty if it may."""
        if (
            identifier.kind in CLAIMED
            and owner is None
            and not self.is_verified
            and any(not is_anonymous(each) for each in self.owners)
        ):
            return f"unverified {identifier.kind}: a public key may not give one to somebody already identified"
        most = self._limit_broken(identifier, owner)
        return f"limit: more than {most} {identifier.kind} for one customer" if most else ""

    def _limit_broken(self, identifier: Identifier | None, owner: str | None) -> int:
        """The limit that would break; 0 if none does."""
        if owner is not None and not (self.owners or self.free):
            return 0  # nothing joins anything
        base = {*self.free, *(one for each in self.owners for one in self._counted(each))}
        coming = set() if identifier is None else {identifier}
        if owner is not None:
            coming |= self._counted(owner)
            joined = [*self.owners, owner]
            merges_max = self._room(self.limits.merges_max)
            if sum(map(self.evidence.merges_count, joined)) + len(joined) - 1 > merges_max:
                return merges_max
        return self._crowded(base, coming)

    def _room(self, most: int) -> int:
        """What anybody can say takes half of what there is, so that there is always room for what is proven."""
        return most if self.is_verified else max(most // 2, 1)

    def _crowded(self, base: set[Identifier], coming: set[Identifier]) -> int:
        held = base | coming
        if len(held) > self._room(self.limits.links_max):
            return self._room(self.limits.links_max)
        yielded: list[Identifier] = []
        for kind in {each.kind for each in coming} - DOCUMENTS:  # a good customer has any number of orders
            most = self.limits.person_ids_max if kind == "user_id" else self.limits.others_max
            # Who has more of them by a person's judgement is not kept from what adds none.
            if _number(kind, held) > max(most, _number(kind, base), _number(kind, coming)):
                way = self._giving_way(kind, held, most)
                if way is None:
                    return most
                yielded += way
        self.yielded += yielded
        return 0

    def _giving_way(self, kind: str, held: set[Identifier], most: int) -> list[Identifier] | None:
        """The devices that must leave, for only a public key said they are this customer's; None if that is not enough.

        Among what is proven those count for nothing, and stay; for another one of their own, the oldest leaves.
        """
        if kind not in DEVICES:
            return None
        linked = {link.identifier: link.at for each in self.owners for link in self._links(each)}
        linked = {each: at for each, at in linked.items() if each.kind == kind and each in held}
        owners = self.evidence.resolve([*linked])
        gone = {each for each in linked if owners.get(each) not in self.owners}
        said = [each for each in linked if each not in gone and self.evidence.sure(each) <= _OF_ONE]
        excess = _number(kind, held - gone) - most
        if excess > len(said):
            return None
        return [] if self.is_verified else sorted(said, key=lambda each: (linked[each], each))[: max(excess, 0)]

    def _counted(self, customer_id: str) -> set[Identifier]:
        return {link.identifier for link in self._links(customer_id) if self._counts(link)}

    def _counts(self, link: Link) -> bool:
        if link.identifier.kind in _UNCOUNTED:
            return False
        is_device = link.identifier.kind in DEVICES
        return not is_device or self.event.occurred_at - link.at <= self.limits.window

    def _links(self, customer_id: str) -> Sequence[Link]:
        if customer_id not in self._held:
            self._held[customer_id] = self.evidence.links(customer_id)
        return self._held[customer_id]

    # -- what comes of it

    def resolution(self) -> Resolution:
        """What all that joined amounts to."""
        customer_id = self._survivor() or self._of_claim_alone()
        if customer_id is None:
            return self._session()
        self._refuse_alias(customer_id)
        losers = [owner for owner in self.owners if owner != customer_id]
        links = self._learnt(customer_id)
        return Resolution(
            customer_id=customer_id,
            identifiers=(*(each for each in self.event.identifiers if each in self.joined), *self.added),
            links=tuple(links),
            merges=tuple(self._merge(loser, customer_id) for loser in losers),
            match_confidence=self.confidence,
            contested=bool(self.notes),
            notes=tuple(self.notes),
            reviews=tuple(self.reviews),
        )

    def _of_claim_alone(self) -> str | None:
        """Of nothing but a typed address: that it is the same one is all that holds such events together."""
        if not self.claims or self.shared:
            return None
        self._trust("claimed address")
        return self.evidence.survivor(customer_id_of(self.claims[0]))

    def _learnt(self, customer_id: str) -> list[Link]:
        links = [self._link(identifier, customer_id) for identifier in self.free]
        for identifier in self.moved:
            links.append(self._changed_hands(identifier, customer_id))
            if links[-1].customer_id == customer_id:
                self.joined.append(identifier)
        if self.way > _OF_ONE and len(self.owners) == 1:
            links += [self._link(each, customer_id) for each in self.joined if self._is_proven(each)]
        links += [self._given_way(each) for each in self.yielded]
        if self.claims or self.added or not self.is_verified:
            links += self._kept(customer_id)
        return links

    def _survivor(self) -> str | None:
        """The customer that remains: the one of the strongest kind, then of the smallest id."""
        candidates = list(self.owners)
        if self.free:
            begun = customer_id_of(self.free[0])
            if not candidates or _RANKS[begun[:2]] < min(_RANKS[each[:2]] for each in candidates):
                candidates.append(begun)
        return min(candidates, key=lambda each: (_RANKS[each[:2]], each), default=None)

    def _is_proven(self, identifier: Identifier) -> bool:
        """Whether a log-in makes sure of a device that came by less, such as a click; of several's it does not."""
        if identifier.kind not in DEVICES or identifier in self.free or identifier in self.moved:
            return False
        return CONFIDENCE["device"][0] <= self.evidence.sure(identifier) < self.way

    def _kept(self, customer_id: str) -> list[Link]:
        """Links of what leads to nobody: claims, the carts they were made in, addresses shared with others."""
        is_in_cart = not self.is_verified and is_anonymous(customer_id) and names_cart(self.event)
        if not (self.claims or self.added or is_in_cart):
            return []
        held = {link.identifier for each in {*self.owners, customer_id} for link in self._links(each)}
        shared = [each for each in self.added if each.kind in SHARED.values() and each not in held]
        links = [self._link(each, customer_id, "shared address") for each in shared]
        claims = self._claimed(held)
        links += [self._link(each, customer_id, "claimed address") for each in claims if each not in held]
        carts = self._carts(claims, held) if is_in_cart else []
        return [*links, *(self._link(each, customer_id, "claimed address") for each in carts)]

    def _carts(self, claims: Sequence[Identifier], held: set[Identifier]) -> list[Identifier]:
        """What these claims can be confirmed by from now on, as far as there is room."""
        named = [each for each in named_in(self.event, sorted(claims)) if each not in held]
        return named[: max(self.limits.carts_max - sum(each.kind == CLAIMED_IN for each in held), 0)]

    def _claimed(self, held: set[Identifier]) -> list[Identifier]:
        """The claims of this customer, those of the event among them as far as there is room."""
        claims = [each for each in held if each.kind in CLAIMS]
        for claim in self.claims:
            if claim not in held and sum(each.kind == claim.kind for each in claims) >= self.limits.others_max:
                self.notes.append(f"limit: more than {self.limits.others_max} {claim.kind} for one customer")
                continue
            self.joined.append(claim)
            claims += () if claim in held else (claim,)
        return claims

    def _session(self) -> Resolution:
        """Only shared devices, or a click of nobody's: what they do belongs to this session and to nobody else."""
        first = (self.shared or self.event.identifiers)[0]
        session = self.event.context.get("sessionId") or self.event.occurred_at.date().isoformat()
        return Resolution(
            customer_id=customer_id_of(first, str(session)),
            match_confidence=CONFIDENCE["shared device"][0],
            contested=True,
            notes=("shared device: links nobody",) if self.shared else tuple(self.notes),
        )

    def _refuse_alias(self, customer_id: str) -> None:
        if self.event.kind != "alias":
            return
        previous = handles(self.event)[len(self.event.identifiers) :]
        other = self.known.get(previous[0]) if previous else None
        if other is not None and other != customer_id:
            self.notes.append(f"alias: {other} and {customer_id} are both known; merge them by hand if they are one")
            if self.is_verified:
                self._ask_about(other, CONFIDENCE["other"][0], "an alias of both")

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
        sure = CONFIDENCE[evidence][0 if self.is_verified else 1]
        self.confidence = max(self.confidence, sure)
        # Anybody can say that a browser is somebody's; that one came by a link of ours, its token has proven.
        self.way = max(self.way, sure if self.is_verified or evidence == CLICK_TOKEN else min(sure, _OF_ONE))

    def _link(self, identifier: Identifier, customer_id: str, evidence: str = "") -> Link:
        by = evidence or (CLICK_TOKEN if identifier in self.added else self._evidence_of(identifier, None))
        confidence = CONFIDENCE[by][0 if self.is_verified else 1]
        if by == "device" and customer_id != customer_id_of(identifier):
            # A browser is as surely this person's as the log-in, or the click, that was made on it.
            confidence = max(confidence, self.way)
        said = f"{by}: {self.event.source}/{self.event.event_id}"
        return Link(identifier, customer_id, self.event.source, confidence, self.event.occurred_at, said)

    def _changed_hands(self, identifier: Identifier, customer_id: str) -> Link:
        """The device's new place: the person who logged in last, or nobody once too many have."""
        people = {*self._people_on(identifier), self.known[identifier], customer_id}
        if len(people) > self.limits.people_max:
            self.notes.append(f"{identifier.kind} is shared from now on: {len(people)} known people used it")
            return self._link(identifier, _SHARED + customer_id_of(identifier), "shared device")
        return self._link(identifier, customer_id, "device of several")

    def _given_way(self, identifier: Identifier) -> Link:
        """A device's new place, once it had to leave: a browser nobody is known on, until a log-in says otherwise."""
        key = f"{self.event.source}/{self.event.event_id}"
        alone = "a-" + customer_id_of(identifier, key)[2:]
        return Link(identifier, alone, self.event.source, 1.0, self.event.occurred_at, f"gave way: {key}")

    def _merge(self, loser: str, survivor: str) -> Merge:
        evidence = f"{self.event.source}/{self.event.event_id}"
        confidence = min(self.way, self.tied.get(loser, 1.0), self.tied.get(survivor, 1.0))
        return Merge(loser, survivor, confidence, evidence, self.event.occurred_at)
