"""What a resource of a shop says, as messages: ids by the body alone, money in decimals, instants with a zone.

A shop tells of a thing (an order, a customer, a product) by sending the whole of it as it is now. Each of its facts has
an id made of what it is about, what happened and, where a thing can change again, its version. So a retry, a replay
under other headers and the catch-up poll, which reads the same thing, all tell the same fact once; an older version
that comes late is a fact of its own time, and what orders by time is not moved by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from wayline.errors import Rejected

__all__ = [
    "Amount",
    "Id",
    "Rules",
    "Who",
    "amount",
    "as_it_stands",
    "digest",
    "fact",
    "instant",
    "shaped",
    "stated",
    "texts",
    "version",
]

Id: TypeAlias = int | str | None
"""An id as shops write it: a number, a text, or nothing."""
Amount: TypeAlias = str | int | float | None
"""An amount as shops write it, in the currency's own units."""

_ID_CHARACTERS_MAX: Final = 100  # of a message's id
_T = TypeVar("_T")


class Rules(Struct, frozen=True, kw_only=True):
    """How one shop's resources are read."""

    known_by: str = "customer_id"
    """`customer_id` or `email`: by which its own tracking knows a person who has logged in."""
    currency: str = "EUR"
    """What its prices are in, where a resource does not say."""
    shop_url: str = ""
    """Where it is, for the addresses of products."""


class Who(Struct, frozen=True, kw_only=True):
    """The person a resource is about, by every handle it holds on them."""

    customer_id: Id = None
    email: str = ""
    phone: str = ""
    first_name: str = ""
    last_name: str = ""
    documents: tuple[tuple[str, str], ...] = ()
    """(kind, value) of what they left behind: their order, cart, checkout."""

    def handles(self, rules: Rules) -> dict[str, Any]:
        """The members of a message that say who it is about."""
        email = self.email.strip().lower()
        by_email = rules.known_by == "email"
        customer_id = str(self.customer_id or "")
        user_id = email if by_email else customer_id
        external = [{"type": kind, "id": value} for kind, value in self.documents if value]
        if by_email and customer_id:
            external.append({"type": "shop_customer_id", "id": customer_id})
        names = {"firstName": self.first_name, "lastName": self.last_name}
        traits = {name: said for name, said in {"email": email, "phone": self.phone, **names}.items() if said}
        context: dict[str, Any] = {}
        if traits:
            context["traits"] = traits
        if external:
            context["externalIds"] = external
        return ({"userId": user_id} if user_id else {}) | ({"context": context} if context else {})


def fact(
    name: str,
    key: Sequence[object],
    at: datetime | None,
    properties: Mapping[str, Any],
    who: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One message: `key` is what its id is made of, `who` the handles of its person, if it is about one.

    Where the resource does not say when (`at` is None), it happened when we heard of it.
    """
    said = stated(properties)
    told: dict[str, Any] = {"messageId": _message_id(key)} | ({} if at is None else {"timestamp": at})
    if name == "Identify":
        return told | {"type": "identify", "traits": said} | (who or {})
    return told | {"type": "track", "event": name, "properties": said} | (who or {})


def stated(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Only what is said: no nulls, no empty texts, decimals as texts."""
    return {
        name: str(value) if isinstance(value, Decimal) else value
        for name, value in properties.items()
        if value is not None and value != ""
    }


def shaped(raw: Any, shape: type[_T], where: str) -> _T:
    """A resource as we read it. Raises Rejected, naming the member, where it is not what the shop documents."""
    try:
        return msgspec.convert(raw, shape, strict=False)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        field = place.strip("`").replace("$", where, 1) or where
        raise Rejected("wrong_type", field, f"{reason}; the platform documents another shape") from error


def instant(text: str | None, field: str, *, is_utc: bool = False) -> datetime | None:
    """An instant in UTC; None where nothing is said. `is_utc` says that one without a zone is in UTC."""
    if not text:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        read = None
    if read is None or (read.tzinfo is None and not is_utc):
        raise Rejected(
            "bad_time", field, f"expected an instant with its zone such as 2024-11-29T08:00:00Z, got {text!r:.40}"
        )
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def version(at: datetime | None) -> str:
    """An instant as part of an id: the same text however the zone was written."""
    return "" if at is None else at.strftime("%Y%m%dT%H%M%S%f").removesuffix("000000") + "Z"


def as_it_stands(order_id: Id, at: datetime, said: Mapping[str, Any], progress: int) -> tuple[object, ...]:
    """The key of how an order stands at a version.

    Versions are as coarse as a second, in which an order is often made and paid: what it says makes two facts of them,
    and how far it has got puts the later one last, since facts of one instant are ordered by their ids.
    """
    return ("order", order_id, version(at), f"{progress}{digest({name: str(value) for name, value in said.items()})}")


def amount(value: Amount, field: str = "amount") -> Decimal:
    """An amount; 0 where nothing is said."""
    try:
        read = Decimal(str(value).strip() or 0) if value is not None else Decimal(0)
    except InvalidOperation:
        read = Decimal("NaN")
    if not read.is_finite():
        raise Rejected("bad_amount", field, f"expected an amount such as 19.99, got {value!r:.40}")
    return read


def texts(*values: str | None) -> str:
    """The first of these that says something."""
    return next((value for value in values if value), "")


def digest(value: Any) -> str:
    """Sixteen digits that stand for any JSON value."""
    return blake2b(msgspec.json.encode(value, order="deterministic"), digest_size=8).hexdigest()


def _message_id(key: Sequence[object]) -> str:
    text = ":".join(str(part) for part in key if part not in (None, ""))
    return text if len(text) <= _ID_CHARACTERS_MAX else f"{key[0]}:{digest(text)}"
