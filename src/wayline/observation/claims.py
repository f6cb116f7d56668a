"""Addresses that a browser has typed: claims, which lead to nobody until something proves them.

Whoever holds a public write key, and that is everybody who looks at a shop's pages, can type any address. So an address
by a public key is kept as a *claim* of the customer of that browser, under a kind of its own (`claimed_email`), and
neither joins nor moves anybody. It becomes an address once it is confirmed: by the shop's own system telling an order
with that address and a cart, checkout or order the browser had named before; by a click out of a message sent there;
or by a double opt-in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from wayline.domain import Event, Identifier
from wayline.observation.vocabulary import DEVICES

__all__ = [
    "CARTS", "CLAIMED", "CLAIMED_IN", "CLAIMED_TOKEN", "CLAIMS", "CLICK_TOKEN", "RESERVED_KINDS", "SHARED",
    "UNVERIFIED", "as_claims", "bare", "confirms", "is_double_opt_in", "is_mere_withdrawal", "named_in", "names_cart",
    "vouchers",
]  # fmt: skip

UNVERIFIED: Final = "unverified"
"""The note on an event that came by a public key without a signed identity token."""

CLAIMED: Final[Mapping[str, str]] = MappingProxyType({"email": "claimed_email", "phone": "claimed_phone"})
"""Address to what it is called while only a browser has said it."""

CLAIMED_TOKEN: Final = "claimed_push_token"  # noqa: S105 - a kind of identifier, not a secret
"""What a push is addressed to, while only a public key has said it: never where a known person's messages go."""

CLAIMS: Final[Mapping[str, str]] = MappingProxyType(
    {claim: kind for kind, claim in CLAIMED.items()} | {CLAIMED_TOKEN: "push_token"}
)
"""Every kind of claim, to what it is a claim of."""

SHARED: Final[Mapping[str, str]] = MappingProxyType({"email": "shared_email", "phone": "shared_phone"})
"""Address to what it is called at a second known person: theirs too, while it leads to the first."""

CLAIMED_IN: Final = "claimed_in"
"""Kind of the handle that says: this address was claimed in this cart. It is evidence, and nobody's identifier."""

CLICK_TOKEN: Final = "click_token"  # noqa: S105 - a kind of identifier, not a secret
"""Kind of the handle that a link out of a message of ours carries: its value is the recipient's customer id."""

RESERVED_KINDS: Final = frozenset({"customer_id", CLAIMED_IN, CLICK_TOKEN, *CLAIMS, *SHARED.values()})
"""Kinds of identifiers that only we may give; a sender's own of such a name is called `external_` and the name."""

CARTS: Final[Mapping[str, str]] = MappingProxyType(
    {"cart_id": "claim in its cart", "checkout_id": "claim in its cart", "order_id": "claim in its order"}
)
"""Property that names what an address was claimed in, to the evidence it makes. Order numbers can be guessed."""

_SAID_BY_ANYBODY: Final = frozenset({"user_id", *CLAIMED, *DEVICES})
_TAKES_BACK: Final = frozenset({"Consent Withdrawn", "Unsubscribed"})
_TAKEN_BACK: Final = ("channel", "purpose")


def as_claims(found: tuple[Identifier, ...], name: str, notes: list[str]) -> tuple[Identifier, ...]:
    """The identifiers of an event of that name: an unverified one's addresses as claims, after all else; noted.

    Cards and others of a shop's own are left out of it: the customer of a card alone would go to whoever names it.
    Taking a consent back needs no proof: it counts for the address itself, and ties no browser to it.
    """
    if UNVERIFIED not in notes:
        return found
    found = _sayable(found, notes)
    addresses = [each for each in found if each.kind in CLAIMED]
    if not addresses:
        return found
    if name in _TAKES_BACK and found[0].kind != "user_id":
        return tuple(addresses)
    notes.append("claim: an address that a public key told")
    others = [each for each in found if each.kind not in CLAIMED]
    return (*others, *(Identifier(CLAIMED[each.kind], each.value) for each in addresses))


def _sayable(found: tuple[Identifier, ...], notes: list[str]) -> tuple[Identifier, ...]:
    left_out = {each.kind for each in found}.difference(_SAID_BY_ANYBODY)
    if not left_out:
        return found
    notes += [f"unverified: {kind} left out, since anybody can name one" for kind in sorted(left_out)]
    return tuple(each for each in found if each.kind in _SAID_BY_ANYBODY)


def is_mere_withdrawal(event: Event) -> bool:
    """Whether a consent is taken back without proof of who says so.

    It counts for whomever it names, who may be somebody else than who said it. So it says nothing else of them.
    """
    return event.name in _TAKES_BACK and UNVERIFIED in event.notes


def bare(event: Event) -> Event:
    """The event as it is stored: of a withdrawal that anybody may tell what is taken back; others as they are."""
    if not is_mere_withdrawal(event):
        return event
    said = {name: event.properties[name] for name in _TAKEN_BACK if name in event.properties}
    who = tuple(each for each in event.identifiers if each.kind != CLICK_TOKEN)
    return replace(event, identifiers=who, properties=said, context={}, personal="")


def names_cart(event: Event) -> bool:
    """Whether the event says of which cart, checkout or order it is."""
    properties = event.properties
    return "order_id" in properties or "cart_id" in properties or "checkout_id" in properties


def named_in(event: Event, addresses: Iterable[Identifier]) -> dict[Identifier, str]:
    """Each of these addresses (or claims) in each cart, checkout or order the event names, with its evidence."""
    found: dict[Identifier, str] = {}
    for name, evidence in CARTS.items():
        told = event.properties.get(name)
        if not isinstance(told, str):
            continue
        for each in addresses:
            said = "\0".join((CLAIMS.get(each.kind, each.kind), each.value, name, told))
            found[Identifier(CLAIMED_IN, blake2b(said.encode(), digest_size=16).hexdigest())] = evidence
    return found


def vouchers(event: Event) -> dict[Identifier, str]:
    """What a browser would have claimed of the addresses the shop's own system tells here, if it was this order's."""
    if not names_cart(event) or UNVERIFIED in event.notes:
        return {}
    return named_in(event, [each for each in event.identifiers if each.kind in CLAIMED])


def confirms(event: Event) -> bool:
    """Whether it may prove a claim, whoever it is about."""
    if event.name == "Consent Granted":
        return is_double_opt_in(event) or bool(vouchers(event))
    properties = event.properties  # asked of every event: most name no cart, which is seen without another call
    if "order_id" in properties or "cart_id" in properties or "checkout_id" in properties:
        return bool(vouchers(event))
    return False


def is_double_opt_in(event: Event) -> bool:
    """Whether the owner of the mailbox has answered a mail that asked for it."""
    if event.name != "Consent Granted":
        return False
    return event.properties.get("double_opt_in") is True and UNVERIFIED not in event.notes
