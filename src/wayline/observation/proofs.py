"""What a message can show beyond its key: a signed identity, and that it came by a link of ours.

A public key lets anybody append, so what it says of a person is a claim. Two things say more. An *identity token* is
made by the shop's server for the person who is logged in there: a JSON Web Token, signed with HS256 under a secret of
the source, that names them and soon expires. A *click token* stands in the address of the page that a message of ours
led to: whoever opens it was sent that message. Neither is kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Identifier
from wayline.observation.vocabulary import DEVICES

__all__ = [
    "CLICK", "CLICKED", "IDENTITY_FIELD", "IDENTITY_SECONDS_MAX",
    "Proofs", "Shown",
    "click_token", "clicked", "read_identity", "without_click", "without_identity",
]  # fmt: skip

CLICKED: Final = "click_token"
"""Kind of the identifier of whoever came by a link in a message of ours; its value is the customer's id as it is."""
CLICK: Final = "wl"
"""The parameter of a page's address that holds a click token."""
IDENTITY_FIELD: Final = "identityToken"
"""The key of a message's context that holds an identity token."""
IDENTITY_SECONDS_MAX: Final = 24 * 3600
"""How long an identity token may still be valid when it comes: one that is stolen must soon be worthless."""

_TOKEN_CHARACTERS_MAX: Final = 4096  # of an identity token
_CLICK_CHARACTERS_MAX: Final = 256  # of a click token
_NAMES: Final = {"sub": "user_id", "user_id": "user_id", "email": "email", "phone": "phone"}
_ADDRESSES: Final = ("url", "search", "referrer")
_LANDING: Final = "click token"
_NONE: Final[Mapping[str, Any]] = {}


class Shown(Struct, frozen=True):
    """What one message has shown, and the message without it."""

    message: Mapping[str, Any]
    named: Mapping[str, str] = {}
    """Kind of identifier to its value, as a valid identity token names the person."""
    customer_id: str = ""
    """Whose message the click token came from."""
    notes: tuple[str, ...] = ()

    def doubts(self, identifiers: Sequence[Identifier], hashed: Callable[[str, str], str]) -> tuple[str, ...]:
        """Why nobody vouches for a message of these identifiers; nothing if a token names the very person.

        It has to name everything the message says of who they are, devices apart: a token for a user id is none for
        an address, nor for somebody's card.
        """
        said = [each for each in identifiers if each.kind not in DEVICES]
        if not self.named or not said:
            return self.notes or ("",)
        for each in said:
            named = self.named.get(each.kind)
            if named is None or hashed(each.kind, named) != each.value:
                return (*self.notes, f"identity token: it names {'another' if named else 'no'} {each.kind}")
        return ()


class Proofs(Struct, frozen=True):
    """What one request lets its messages show: plain values, which another process may be handed."""

    now: datetime
    secret: bytes = b""
    """Of the source's identity tokens; empty if it has none."""
    in_header: str = ""
    """The identity token that speaks for all messages of the request."""
    shown: Shown | None = None
    """What a message that is offered again showed when it first came; its tokens are kept no longer."""

    def of(self, raw: Mapping[str, Any], *, keyed: Callable[[str, str], str]) -> Shown | None:
        """What a message shows; None if nothing, which is nearly always."""
        if self.shown is not None:
            return replace(self.shown, message=raw)
        context = raw.get("context")
        if type(context) is not dict:
            context = _NONE
        token = context.get(IDENTITY_FIELD) or self.in_header
        page, properties = context.get("page"), raw.get("properties")
        is_landing = _is_landing(page) or _is_landing(properties)
        if not token and not is_landing:
            return None
        named, notes = self._identity(token) if token else ({}, ())
        if not is_landing:
            return Shown(raw, named, "", notes)
        found: list[str] = []
        told = {**raw, "context": {**context, "page": _left(page, found)} if context else context}
        if type(properties) is dict:
            told["properties"] = _left(properties, found)
        customers = (clicked(token, keyed, self.now) for token in dict.fromkeys(found))
        return Shown(told, named, next(filter(None, customers), ""), notes)

    def _identity(self, token: Any) -> tuple[Mapping[str, str], tuple[str, ...]]:
        if not self.secret:
            return {}, ("identity token: this source has no identity_secret_env to check it by",)
        named = read_identity(token, self.secret, self.now)
        return ({}, (f"identity token: {named}",)) if isinstance(named, str) else (named, ())


def without_identity(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message without its identity token."""
    context = raw.get("context")
    if type(context) is not dict or IDENTITY_FIELD not in context:
        return raw
    return {**raw, "context": {name: value for name, value in context.items() if name != IDENTITY_FIELD}}


# ------------------------------------------------------------------ who is logged in at the shop


def read_identity(token: Any, secret: bytes, now: datetime) -> Mapping[str, str] | str:
    """Whom a valid identity token names, by kind of identifier; else what is wrong with it."""
    if type(token) is not str or len(token) > _TOKEN_CHARACTERS_MAX or token.count(".") != 2:
        return "expected a JSON Web Token: header.claims.signature"
    signed, _, signature = token.rpartition(".")
    header, _, claims = signed.partition(".")
    expected = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode("utf-8", "replace"), hashlib.sha256))
    # On bytes, in constant time: a text that is not ASCII is a wrong signature and no defect.
    if not hmac.compare_digest(signature.encode("utf-8", "replace"), expected.rstrip(b"=")):
        return "its signature is wrong"
    if (_part(header) or _NONE).get("alg") != "HS256":
        return "expected the algorithm HS256"
    said = _part(claims)
    expires_at = (said or _NONE).get("exp")
    if said is None or type(expires_at) is not int:
        return "expected claims with 'exp', in whole seconds since 1970"
    seconds = expires_at - now.timestamp()
    if seconds <= 0:
        return "it has expired"
    if seconds > IDENTITY_SECONDS_MAX:
        return f"it is valid for {seconds:.0f} seconds more, at most {IDENTITY_SECONDS_MAX}"
    named = _texts({kind: said[name] for name, kind in _NAMES.items() if name in said})
    cards = said.get("external_ids")
    others = _texts(cards) if type(cards) is dict else {}
    return {**others, **named} if named else "expected claims that name somebody: 'sub', 'email' or 'phone'"


def _texts(told: Mapping[str, Any]) -> dict[str, str]:
    return {kind: str(value) for kind, value in told.items() if type(value) in (str, int)}


def _part(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return value if type(value) is dict else None


# ------------------------------------------------------------------ who came by a link of ours


def click_token(customer_id: str, expires_at: datetime, keyed: Callable[[str, str], str]) -> str:
    """What the address of a page says of who came to it by a link of ours, and until when."""
    said = f"{customer_id}.{int(expires_at.timestamp()):x}"
    return f"{said}.{keyed(_LANDING, said)}"


def clicked(token: str, keyed: Callable[[str, str], str], now: datetime) -> str:
    """Whose click token that is; empty if it was not made here, or is too old."""
    said, _, proof = token.rpartition(".")
    customer_id, _, expires = said.rpartition(".")
    if not customer_id or not hmac.compare_digest(proof.encode("utf-8", "replace"), keyed(_LANDING, said).encode()):
        return ""
    return customer_id if int(expires, 16) >= now.timestamp() else ""


def without_click(address: str) -> tuple[str, str]:
    """An address, or the query of one, without its click token; and the token."""
    whole, hash_, fragment = address.partition("#")
    path, mark, query = whole.partition("?")
    if not mark:
        path, query = ("", whole) if whole.startswith(f"{CLICK}=") else (whole, "")
    parts = query.split("&")
    kept = [part for part in parts if not part.startswith(f"{CLICK}=")]
    token = next((part[len(CLICK) + 1 :] for part in parts if part.startswith(f"{CLICK}=")), "")
    rest = "&".join(kept)
    return path + (mark if rest else "") + rest + hash_ + fragment, token[:_CLICK_CHARACTERS_MAX]


def _is_landing(page: Any) -> bool:
    if type(page) is not dict:
        return False
    for name in _ADDRESSES:
        address = page.get(name)
        if type(address) is str and "wl=" in address:
            return True
    return False


def _left(page: Any, found: list[str]) -> Any:
    """An object without the click tokens in its addresses, which are added to what was found."""
    if type(page) is not dict:
        return page
    kept = dict(page)
    for name in _ADDRESSES:
        if type(kept.get(name)) is str and "wl=" in kept[name]:
            kept[name], token = without_click(kept[name])
            found.append(token)
    return kept
