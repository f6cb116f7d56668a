"""Links to the shop in our mails, signed: a click is known to be of whoever was sent the mail, and leads nowhere else.

A signed link holds where it leads, in which message it was and whose that is, under a keyed hash of all of it; no
parameter says where to go, so nobody can send people elsewhere in our name. It holds no personal value: the customer's
id is a pseudonym, and an address that holds a name or a mailbox of the recipient is left as the author wrote it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from html import escape, unescape
from typing import Any, Final
from urllib.parse import unquote, unquote_plus, urlsplit, urlunsplit

import msgspec
from msgspec import Struct, msgpack

from wayline.observation.proofs import CLICK, click_token, without_click

__all__ = ["LANDING_SECONDS", "Linked", "landing", "link_path", "read_link", "signed_links"]

LANDING_SECONDS: Final = 600
"""Seconds for which the page a link led to may say by whose link it was opened: a forwarded address says nothing."""

_PURPOSE: Final = "click link"
_LINK_CHARACTERS_MAX: Final = 4096  # of a signed link; nobody made a longer one here
_PERSONAL_CHARACTERS_MIN: Final = 3  # a shorter value stands in any address by chance
_HREF = re.compile(r"""(\bhref\s*=\s*)(["'])(https?://[^"'<>\s]+)\2""", re.IGNORECASE)
_IN_TEXT = re.compile(r"https?://[^\s<>\"')\]]*[^\s<>\"')\].,;:!?]")


class Linked(Struct, frozen=True, array_like=True):
    """What a signed link says."""

    decision_id: str
    customer_id: str
    destination: str
    count: int
    """How many different links the message has: whoever opens all of them at once is a machine."""


def signed_links(
    parts: Mapping[str, str],
    link: Linked,
    *,
    settings: Mapping[str, Any],
    personal: Mapping[str, Any],
    keyed: Callable[[str, str], str],
) -> dict[str, str]:
    """The parts of a message with its links to the shop signed; as they are, if nobody can reach this installation."""
    base = str(settings.get("server", {}).get("public_url", "")).rstrip("/")
    hosts = _hosts(settings.get("shop", {}))
    if not base or not hosts:
        return dict(parts)
    secret = [text.lower() for text in _texts(personal) if len(text) >= _PERSONAL_CHARACTERS_MIN]
    found = {
        url
        for name, pattern, read in _PLACES
        for url in (read(each) for each in pattern.findall(parts.get(name, "")))
        if _is_ours(url, hosts, base) and not _is_personal(url, secret)
    }

    def signed(url: str) -> str:
        if url not in found:
            return url
        return base + link_path(msgspec.structs.replace(link, destination=url, count=len(found)), keyed)

    told = dict(parts)
    if "html" in told:
        told["html"] = _HREF.sub(lambda m: f"{m[1]}{m[2]}{_written(signed, m[3])}{m[2]}", told["html"])
    if "text" in told:
        told["text"] = _IN_TEXT.sub(lambda m: signed(m[0]), told["text"])
    return told


_PLACES: Final[tuple[tuple[str, re.Pattern[str], Callable[[Any], str]], ...]] = (
    ("html", _HREF, lambda each: unescape(each[2])),
    ("text", _IN_TEXT, str),
)


def _written(signed: Callable[[str], str], attribute: str) -> str:
    url = unescape(attribute)
    after = signed(url)
    return attribute if after == url else escape(after)


def _hosts(shop: Mapping[str, Any]) -> frozenset[str]:
    named = (str(shop.get(name) or "") for name in ("url", "cart_url", "account_url", "help_url"))
    return frozenset((urlsplit(url).hostname or "").removeprefix("www.") for url in named) - {""}


def _is_ours(url: str, hosts: frozenset[str], base: str) -> bool:
    if url == base or url.startswith(base + "/") or len(url) > _LINK_CHARACTERS_MAX // 2:
        return False
    try:
        host = (urlsplit(url).hostname or "").lower()
    except ValueError:
        return False
    return any(host == each or host.endswith(f".{each}") for each in hosts)


def _is_personal(url: str, secret: Iterable[str]) -> bool:
    said = f"{url} {unquote(url)} {unquote_plus(url)}".lower()
    return any(text in said for text in secret)


def _texts(values: Any) -> Iterable[str]:
    if isinstance(values, str):
        yield values
    elif isinstance(values, int) and not isinstance(values, bool):
        yield str(values)
    elif isinstance(values, Mapping):
        for each in values.values():
            yield from _texts(each)
    elif isinstance(values, list | tuple):
        for each in values:
            yield from _texts(each)


# ------------------------------------------------------------------ the token


def link_path(link: Linked, keyed: Callable[[str, str], str]) -> str:
    """Where a signed link is answered, below the address of this installation."""
    said = base64.urlsafe_b64encode(msgpack.encode(link)).rstrip(b"=").decode()
    return f"/c/{said}.{keyed(_PURPOSE, said)}"


def read_link(token: str, keyed: Callable[[str, str], str]) -> Linked | None:
    """What a signed link says; None if a single character of it is not as it was made here."""
    said, _, proof = token.rpartition(".")
    if not said or len(token) > _LINK_CHARACTERS_MAX:
        return None
    # What is signed is the text and not what it decodes to: two texts that decode alike are two links.
    if not hmac.compare_digest(proof.encode("utf-8", "replace"), keyed(_PURPOSE, said).encode()):
        return None
    try:
        return msgpack.decode(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)), type=Linked)
    except (binascii.Error, ValueError, msgspec.MsgspecError):  # pragma: no cover - its proof says that we made it
        return None


def landing(link: Linked, customer_id: str, now: datetime, keyed: Callable[[str, str], str]) -> str:
    """The destination, and in its query for a while whose link led there."""
    destination, _ = without_click(link.destination)
    parts = urlsplit(destination)
    token = click_token(customer_id, now + timedelta(seconds=LANDING_SECONDS), keyed)
    query = "&".join(filter(None, (parts.query, f"{CLICK}={token}")))
    return urlunsplit(parts._replace(query=query))
