"""How a customer came to be one person: every identifier, every piece of evidence, what was merged, split and asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from wayline.domain import Decision, Identifier, Link, Merge, Review, Split
from wayline.interpretation.moment import ADDRESS_KINDS
from wayline.observation.claims import CLAIMED, CLAIMED_IN, CLAIMS, SHARED
from wayline.observation.events import normalised
from wayline.observation.identity import is_shared, weakest_first
from wayline.store import State, Vault

__all__ = ["Handle", "Kinship", "customer_named", "in_words", "kinship_of", "told_in_words", "whom_it_reached"]

_SHOWN_CHARACTERS = 12  # of a pseudonym: enough to tell two apart
_LINES_MAX = 12  # of evidence on a page


class Handle(Struct, frozen=True, omit_defaults=True):
    """One identifier of a customer, and what says that it is theirs."""

    kind: str
    pseudonym: str
    confidence: float
    evidence: tuple[str, ...]
    value: str = ""
    """The plain value, where it was asked for and the vault has it."""
    is_elsewhere: bool = False
    """Whether it has gone to somebody else since."""


class Kinship(Struct, frozen=True, omit_defaults=True):
    """Everything that makes one customer of what is known of them."""

    customer_id: str
    asked: str
    match_confidence: float
    handles: tuple[Handle, ...]
    merges: tuple[Merge, ...] = ()
    splits: tuple[Split, ...] = ()
    reviews: tuple[Review, ...] = ()
    household: tuple[str, ...] = ()
    """Known people who share an address with this one, and are not this one."""


def customer_named(state: State, vault: Vault, asked: str) -> str:
    """The customer of an id, a pseudonym (`email:HASH`) or a plain value (`email=ann@example.com`); empty if none.

    The plain value is hashed here and goes nowhere.
    """
    kind, equals, value = asked.partition("=")
    if equals:
        identifier = Identifier(kind, vault.keyed(kind, normalised(kind, value)))
    else:
        kind, colon, value = asked.partition(":")
        if not colon:
            found = state.survivor(asked)
            return found if found in state.load([found]) else ""
        identifier = Identifier(kind, value)
    found = state.resolve([identifier]).get(identifier, "")
    return "" if is_shared(found) else found


def kinship_of(state: State, customer_id: str, *, asked: str = "", vault: Vault | None = None) -> Kinship | None:
    """How this customer came to be one person; None if nobody of that id is known. `vault` gives plain values."""
    root = state.survivor(customer_id)
    customer = state.load([root]).get(root)
    if customer is None:
        return None
    links = [link for link in state.links(root) if link.identifier.kind != CLAIMED_IN]
    by_identifier: dict[Identifier, list[Link]] = {}
    for link in links:
        by_identifier.setdefault(link.identifier, []).append(link)
    ties = state.ties(list(by_identifier))
    plain = _plain(vault, list(by_identifier)) if vault is not None else {}
    handles = tuple(
        Handle(
            kind=one.kind,
            pseudonym=one.value,
            confidence=ties[one].confidence,
            evidence=tuple(map(_evidence, by_identifier[one])),
            value=plain.get(one, ""),
            is_elsewhere=one.kind not in CLAIMS and one.kind not in SHARED.values() and ties[one].customer_id != root,
        )
        for one in reversed(weakest_first(by_identifier))
    )
    family = {root, *(merge.loser for merge in state.merges(root))}
    return Kinship(
        customer_id=root,
        asked=asked or customer_id,
        match_confidence=customer.match_confidence,
        handles=handles,
        merges=tuple(state.merges(root)),
        splits=tuple(one for one in state.splits() if family & {one.loser, one.survivor}),
        reviews=tuple(one for one in state.reviews() if family & {one.one, one.other}),
        household=tuple(sorted(set(_household(state, root, list(by_identifier))))),
    )


def whom_it_reached(state: State, decision: Decision) -> str:
    """Whose message it was, by now: whom it was decided for, unless a split has given its mailbox to somebody else."""
    customer_id = state.survivor(decision.customer_id)
    channel = decision.action.channel if decision.action is not None else ""
    kind, key = ADDRESS_KINDS.get(channel, ""), decision.facts.get(f"address.{channel}")
    if not state.splits() or not isinstance(key, str):
        return customer_id
    owner = state.resolve([Identifier(kind, key)]).get(Identifier(kind, key), customer_id)
    others = {Identifier(names[kind], key) for names in (SHARED, CLAIMED) if kind in names}
    is_theirs = any(link.identifier in others for link in state.links(customer_id))
    return customer_id if is_theirs or is_shared(owner) else owner


def _plain(vault: Vault, identifiers: list[Identifier]) -> Mapping[Identifier, str]:
    kept_as = {**CLAIMS, **{shared: kind for kind, shared in SHARED.items()}}
    subjects = {one: f"{kept_as.get(one.kind, one.kind)}:{one.value}" for one in identifiers}
    kept: Mapping[str, Mapping[str, Any]] = vault.get(sorted(set(subjects.values())))
    found = {one: kept.get(subject, {}).get(kept_as.get(one.kind, one.kind)) for one, subject in subjects.items()}
    return {one: str(value) for one, value in found.items() if value}


def _evidence(link: Link) -> str:
    said = link.evidence or f"an event of {link.source}"
    return f"{said} on {link.at:%Y-%m-%d %H:%M}, sure {link.confidence:.2f}"


def _household(state: State, root: str, identifiers: list[Identifier]) -> Iterator[str]:
    shared = {kind: address for address, kind in SHARED.items()}
    for one in identifiers:
        same = [Identifier(shared[one.kind], one.value)] if one.kind in shared else []
        same += [Identifier(SHARED[one.kind], one.value)] if one.kind in SHARED else []
        for handle in (*same, *([one] if one.kind in shared else [])):
            yield from ({state.survivor(link.customer_id) for link in state.holders(handle)} - {root})


# ------------------------------------------------------------------ in words


def in_words(kinship: Kinship) -> list[str]:
    """The whole of it, for whoever looks at a terminal."""
    moved = f" (asked for as {kinship.asked})" if kinship.asked != kinship.customer_id else ""
    lines = [f"{kinship.customer_id}{moved}: one person, sure {kinship.match_confidence:.2f}", "", "Known by:"]
    for handle in kinship.handles:
        gone = " - has gone to somebody else since" if handle.is_elsewhere else ""
        lines.append(f"  {handle.kind} {handle.value or _short(handle.pseudonym)}, sure {handle.confidence:.2f}{gone}")
        lines += [f"    {each}" for each in handle.evidence]
    told = told_in_words(kinship)
    return [*lines, *(("", *told) if told else ())]


def told_in_words(kinship: Kinship) -> list[str]:
    """What merged, split and is in question, a sentence each; the newest, if there are many."""
    lines = []
    for merge in kinship.merges:
        who = f"by {merge.by}" if merge.by else f"by evidence ({merge.evidence})"
        lines.append(
            f"{merge.loser} was merged into {merge.survivor} on {merge.at:%Y-%m-%d} {who}, sure {merge.confidence:.2f}"
        )
    for split in kinship.splits:
        lines.append(
            f"{split.loser} was split from {split.survivor} on {split.at:%Y-%m-%d} by {split.by or 'evidence'}"
        )
    for review in kinship.reviews:
        pair = f"{review.one} and {review.other}"
        why = "; ".join(review.evidence)
        if review.state == "open":
            lines.append(f"Are they one? {pair}: {why}, sure {review.confidence:.2f} (review {review.review_id})")
        else:
            lines.append(f"{pair}: {review.state} by {review.by} on {review.decided_at:%Y-%m-%d} ({why})")
    if kinship.household:
        lines.append(f"Shares an address with {', '.join(kinship.household)}: one household, not one person")
    return lines[-_LINES_MAX:]


def _short(pseudonym: str) -> str:
    return pseudonym[:_SHOWN_CHARACTERS]
