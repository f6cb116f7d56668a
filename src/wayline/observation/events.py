"""Messages in, events out: strict, corrected in time, free of personal values.

`parse` reads one message in the shape Segment and RudderStack clients send. It answers the event, which anyone who may
see events may see; the personal values that were in it, for the vault; and the subject under which the vault keeps
them. A message it cannot accept is `Rejected`, with the field and the way out.

Time. What a client calls `timestamp` is its own clock, so it is moved by how far that clock is off: `occurred_at =
received_at - (sent_at - timestamp)`. Historical imports survive that; a future beyond five minutes does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import Struct

from wayline.domain import Event, Identifier
from wayline.errors import Rejected, did_you_mean, kind_of
from wayline.observation.claims import RESERVED_KINDS, UNVERIFIED, as_claims, bare
from wayline.observation.dialects import alias_of
from wayline.observation.masking import names_someone
from wayline.observation.money import EXPONENTS
from wayline.observation.proofs import CLICKED, Shown
from wayline.observation.properties import GONE, Reading, read_context, read_instant, read_properties, read_traits
from wayline.observation.sealing import ADDRESSES, claimed_tokens, device_of, personal_hash, sealed
from wayline.observation.vocabulary import (
    ALIASES,
    DOCUMENTS,
    KINDS,
    LIMITS,
    PERSONLESS,
    SECRET_ONLY,
    SHAPES,
    VOCABULARY,
)

__all__ = [
    "UNVERIFIED", "VOCABULARY",
    "Parsed",
    "is_blocked", "normalised", "order_meaning", "parse", "parse_batch",
]  # fmt: skip

_FUTURE_MAX: Final = timedelta(minutes=5)  # ahead of us; a time beyond is a wrong clock, and becomes ours
_ANCIENT: Final = datetime(1990, 1, 1, tzinfo=UTC)
_CONTAINED_CHARACTERS_MIN: Final = 8  # a shorter identifier occurs inside other texts by chance


class Parsed(Struct, frozen=True):
    """One accepted message: the event, and what was taken out of it for the vault."""

    event: Event
    subject: str
    """`kind:hash` of the strongest identifier; empty for an event about no person."""
    personal: Mapping[str, Any] = {}
    addresses: Mapping[str, str] = {}
    """Each address of the person as it was hashed, by `kind:hash`."""

    @property
    def sealed(self) -> Mapping[str, Mapping[str, Any]]:
        """What the vault is given, by subject."""
        return sealed(self.event, self.subject, self.personal, self.addresses)


def parse(
    raw: Mapping[str, Any],
    *,
    source: str,
    received_at: datetime,
    keyed: Callable[[str, str], str],
    sent_at: datetime | None = None,
    currency: str = "EUR",
    trusted: bool = True,
    fires: bool = True,
    place: int = 0,
    prove: Callable[[Mapping[str, Any]], Shown | None] | None = None,
    bytes_max: int = LIMITS["bytes_max"],
) -> Parsed:
    """Read one message; raises `Rejected` with the field and the way out.

    `sent_at` is the batch's, `currency` what amounts without one are in, `trusted` says that the key was secret;
    `fires` is False for imported history, `place` is that in its request, `prove` tells what more a message shows.
    """
    if not isinstance(raw, Mapping):
        raise Rejected("not_an_object", "", f"expected a message (a JSON object), got {kind_of(raw)}")
    raw = alias_of(raw) if raw.get("type") == "merge" else raw
    shown = None if prove is None else prove(raw)
    if shown is not None:
        raw = shown.message
    kind = _kind(raw)
    context = _object(raw, "context")
    given = _object(raw, "properties")
    reading = Reading(keyed, _currency_of(given, currency))
    traits = _traits_of(raw, context, kind)
    identifiers = _identifiers(raw, context, traits, reading, trusted=trusted)
    is_believed = trusted
    if shown is not None:
        doubts = shown.doubts(identifiers, lambda kind, value: keyed(kind, normalised(kind, value)))
        is_believed = trusted or not doubts
        reading.notes += filter(None, doubts)
    if not is_believed:
        reading.notes.append(UNVERIFIED)
    name = _name(raw, kind, reading, trusted=trusted, is_believed=is_believed)
    identifiers = claimed_tokens(as_claims(identifiers, name, reading.notes), reading.notes)
    if not identifiers and name not in PERSONLESS:
        blocked = "; ".join(reading.notes)
        reason = "expected a userId or an anonymousId" + (f" ({blocked})" if blocked else "")
        raise Rejected("no_identifier", "userId", reason)
    occurred_at = _occurred_at(raw, received_at, sent_at, reading)
    properties, kept = _contents(raw, given, context, traits, reading)
    if "products" in properties or "total" in properties:
        _state_revenue(name, properties, reading)
    event_id = _event_id(raw, source, received_at, place, reading)
    event_id, properties, kept = _assured(event_id, name, properties, kept, reading, bytes_max=bytes_max)
    if not (is_believed or device_of(identifiers)) and reading.personal:
        reading.notes.append("unverified: personal values are kept nowhere")
    if shown is not None and shown.customer_id and identifiers:
        identifiers = (*identifiers, Identifier(CLICKED, shown.customer_id))
    event = Event(
        event_id=event_id,
        source=source,
        name=name,
        occurred_at=occurred_at,
        received_at=received_at,
        kind=kind,
        identifiers=identifiers,
        properties=properties,
        context=kept,
        notes=tuple(reading.notes),
        fires=fires,
        personal=_personal_hash(event_id, reading),
    )
    subject = f"{identifiers[0].kind}:{identifiers[0].value}" if identifiers else ""
    return Parsed(bare(event), subject, reading.personal, reading.addresses)


def parse_batch(
    items: Iterable[Any],
    *,
    source: str,
    received_at: datetime,
    keyed: Callable[[str, str], str],
    sent_at: datetime | None = None,
    currency: str = "EUR",
    trusted: bool = True,
    fires: bool = True,
    context: Mapping[str, Any] | None = None,
    prove: Callable[[Mapping[str, Any]], Shown | None] | None = None,
    bytes_max: int = LIMITS["bytes_max"],
) -> list[Parsed | Rejected]:
    """Read each message by itself: a verdict for each, in order, and no bad one touches its neighbours.

    `context` is the batch's; an item's own wins, key by key.
    """
    verdicts: list[Parsed | Rejected] = []
    for place, item in enumerate(items):
        if context and isinstance(item, Mapping):
            own = item.get("context")
            item = {**item, "context": {**context, **own} if isinstance(own, Mapping) else own or context}
        try:
            parsed = parse(
                item, source=source, received_at=received_at, keyed=keyed, sent_at=sent_at, currency=currency,
                trusted=trusted, fires=fires, place=place, prove=prove, bytes_max=bytes_max,
            )  # fmt: skip
        except Rejected as verdict:
            verdicts.append(verdict)
        else:
            verdicts.append(parsed)
    return verdicts


# ------------------------------------------------------------------ the envelope

_Kind = Literal["track", "identify", "page", "screen", "group", "alias"]


def _kind(raw: Mapping[str, Any]) -> _Kind:
    kind = raw.get("type")
    if type(kind) is not str or kind not in KINDS:
        raise Rejected(
            "unknown_type", "type", f"expected a message type, got {kind!r:.60}. {did_you_mean(str(kind), KINDS)}"
        )
    return cast("_Kind", kind)


def _object(raw: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = raw.get(field)
    if value is None:
        return {}
    if type(value) is not dict:
        raise Rejected("wrong_type", field, f"expected an object, got {kind_of(value)}")
    return value


def _currency_of(properties: Mapping[str, Any], default: str) -> str:
    code = properties.get("currency")
    if type(code) is not str:
        return default
    if code not in EXPONENTS:
        code = code.strip().upper()
    return code if code in EXPONENTS else default  # its reader says what is wrong with it


def _name(raw: Mapping[str, Any], kind: str, reading: Reading, *, trusted: bool, is_believed: bool) -> str:
    if kind != "track":
        return KINDS[kind]
    name = raw.get("event")
    if type(name) is not str or not name.strip():
        raise Rejected("no_name", "event", f"expected a name such as 'Product Viewed', got {name!r:.60}")
    if name in ALIASES:
        reading.notes.append(f"alias: {name}")
        name = ALIASES[name]
    if name in VOCABULARY:
        return name if trusted else _public_name(name, is_believed=is_believed)
    if len(name) > (most := LIMITS["name_characters_max"]):
        raise Rejected("too_long", "event", f"a name of {len(name)} characters, at most {most}")
    handles = [handle for handle in reading.handles if len(handle) >= _CONTAINED_CHARACTERS_MIN]
    if names_someone(name) or any(handle in name for handle in handles):
        raise Rejected("personal_name", "event", "an event's name may not hold an identifier; send it as a property")
    return name.strip()


def _public_name(name: str, *, is_believed: bool) -> str:
    if name in SECRET_ONLY:
        raise Rejected("needs_secret_key", "event", f"a public key may not tell {name!r}; send it from a server")
    # A grant is proof we may have to show: what anyone's browser can say is kept as a claim, and has no effect.
    return "Consent Claimed" if name == "Consent Granted" and not is_believed else name


def _event_id(raw: Mapping[str, Any], source: str, received_at: datetime, place: int, reading: Reading) -> str:
    event_id = raw.get("messageId")
    if type(event_id) is int:
        event_id = str(event_id)
    if event_id is None or event_id == "":
        reading.notes.append("event_id assigned")
        # A retry of a message that says when it happened finds its own id again; without that, each receipt is its own.
        is_dated = raw.get("timestamp") or raw.get("originalTimestamp")
        moment = "" if is_dated else f"{received_at.isoformat()}/{place}"
        told = {
            key: value for key, value in raw.items() if key not in ("sentAt", "receivedAt", "writeKey", "_metadata")
        }
        return "assigned-" + blake2b(_encoded([source, moment, told], "deterministic"), digest_size=16).hexdigest()
    if type(event_id) is not str:
        raise Rejected("wrong_type", "messageId", f"expected a string, got {kind_of(event_id)}")
    if len(event_id) > 100:
        raise Rejected("too_long", "messageId", f"{len(event_id)} characters, at most 100")
    return event_id


# ------------------------------------------------------------------ time


def _occurred_at(raw: Mapping[str, Any], received_at: datetime, sent_at: datetime | None, reading: Reading) -> datetime:
    # A client that sends both means the first by what the shop said, and the second by when it was handed the message.
    field = "timestamp" if raw.get("timestamp") else "originalTimestamp"
    told = raw.get(field)
    if not told:
        reading.notes.append("occurred_at is received_at")
        return received_at
    original = read_instant(told, field)
    if raw.get("sentAt"):
        sent_at = read_instant(raw["sentAt"], "sentAt")
    try:
        occurred_at = received_at - (sent_at - original) if sent_at is not None else original
    except OverflowError:
        reason = f"expected a time near the message's own, got {sent_at!s:.40}; send the client's clock when it sends"
        raise Rejected("bad_time", "sentAt", reason) from None
    if original < _ANCIENT or occurred_at < _ANCIENT:
        raise Rejected("ancient", field, f"expected a time after 1990, got {told!s:.40}; send ISO 8601 with a zone")
    if occurred_at - received_at > _FUTURE_MAX:
        reading.notes.append("occurred_at clamped: it lay in the future")
        return received_at
    return occurred_at


# ------------------------------------------------------------------ who

_AS_WRITTEN: Final = frozenset({"user_id", "anonymous_id"})
_STRONGEST: Final = {"user_id": 0, "email": 1, "phone": 2}
_BLOCKED: Final = frozenset(
    {"-1", "null", "none", "nil", "nan", "undefined", "anonymous", "guest", "unknown", "n/a", "true", "false",
     "[object object]"}
)  # fmt: skip


def is_blocked(value: str) -> bool:
    """Whether a value names nobody: `0`, `-1`, `null`, `undefined` and the like, which many browsers would share."""
    if len(value) > 15 and value[0] not in "0- ":
        return False  # longer than any word that names nobody
    bare = value.strip().lower()
    return not bare.strip("0-") or bare in _BLOCKED


def normalised(kind: str, value: str) -> str:
    """An identifier as it is hashed: the same mailbox or number gives the same text."""
    if kind == "email":
        return value.strip().lower()
    if kind == "phone":
        digits = "".join(filter(str.isdecimal, value))
        # 0049, +49 and "(+49)" are one prefix; a national number keeps its leading zero and stays its own.
        return "+" + digits.removeprefix("00") if "+" in value or digits.startswith("00") else digits
    return value.strip()


def _identifiers(
    raw: Mapping[str, Any], context: Mapping[str, Any], traits: Mapping[str, Any], reading: Reading, *, trusted: bool
) -> tuple[Identifier, ...]:
    found: list[Identifier] = []
    said = reading.handles
    for kind, field, value in _handles(raw, context, traits):
        # Order numbers can be guessed: whoever names one in a browser is not thereby its buyer.
        if value is None or (kind == "order_id" and not trusted):
            continue
        # A uuid and its like, which is nearly every id, needs no closer look.
        is_plain = type(value) is str and 15 < len(value) < 100 and value.isprintable() and value[0] not in "0- "
        handle = value if is_plain else _handle(value, field, reading)
        if not handle:
            continue
        plain = handle.strip() if kind in _AS_WRITTEN else normalised(kind, handle)
        said.update(() if kind in DOCUMENTS else (handle, plain))
        if kind in _AS_WRITTEN or _is_usable(kind, plain):
            found.append(Identifier(kind, reading.keyed(kind, plain)))
            if kind in ADDRESSES:
                reading.addresses[f"{kind}:{found[-1].value}"] = plain
        else:
            reading.notes.append(f"{field} is no {kind}")
    if len(found) > LIMITS["identifiers_max"]:
        raise Rejected("too_many", "context.externalIds", f"{len(found)}, at most {LIMITS['identifiers_max']}")
    if len(found) > 2 or "device" in context or "externalIds" in context:
        found = sorted(set(found), key=lambda each: (_STRONGEST.get(each.kind, 9), each))
    return tuple(found)


def _handles(
    raw: Mapping[str, Any], context: Mapping[str, Any], traits: Mapping[str, Any]
) -> list[tuple[str, str, Any]]:
    """Every handle on a person the message holds, strongest first: kind, where it stands, and its value as it came."""
    handles: list[tuple[str, str, Any]] = [("user_id", "userId", raw.get("userId"))]
    if traits:
        handles.append(("email", "traits.email", traits.get("email")))
        handles.append(("phone", "traits.phone", traits.get("phone")))
    handles.append(("anonymous_id", "anonymousId", raw.get("anonymousId")))
    if "device" in context:
        device = _object(context, "device")
        for kind, name in (("device_id", "id"), ("push_token", "token"), ("advertising_id", "advertisingId")):
            handles.append((kind, f"context.device.{name}", device.get(name)))
    if "externalIds" in context:
        handles += _external(context["externalIds"])
    if "previousId" in raw:
        handles.append(("anonymous_id", "previousId", raw["previousId"]))
    return handles


def _external(entries: Any) -> list[tuple[str, str, Any]]:
    handles = []
    for place, entry in enumerate(entries if type(entries) is list else ()):
        field = f"context.externalIds.{place}"
        kind = entry.get("type") if type(entry) is dict else None
        if type(kind) is not str or not kind.isascii() or not kind.replace("_", "a").isalnum() or len(kind) > 64:
            raise Rejected("wrong_type", field, "expected {id, type}, with a type such as ga_client_id")
        if entry.get("collection", "users") == "users":
            handles.append((f"external_{kind}" if kind in RESERVED_KINDS else kind, field, entry.get("id")))
    return handles


def _handle(value: Any, field: str, reading: Reading) -> str:
    """The identifier as a string; empty if it names nobody."""
    if type(value) is int or (type(value) is float and value.is_integer()):
        value = str(int(value))
    if type(value) is not str:
        raise Rejected("wrong_type", field, f"expected an id (a string), got {kind_of(value)}")
    if is_blocked(value):
        reading.notes.append(f"{field} blocked: {value.strip()[:20]!r} names nobody")
        return ""
    if not value.isprintable():
        raise Rejected("bad_identifier", field, "holds characters that cannot be printed; send the id alone")
    if len(value) > LIMITS["identifier_characters_max"]:
        most = LIMITS["identifier_characters_max"]
        raise Rejected("too_long", field, f"{len(value)} characters, at most {most}")
    return str(value)


def _is_usable(kind: str, plain: str) -> bool:
    if kind == "email":
        mailbox, _, host = plain.rpartition("@")
        return bool(mailbox and host) and " " not in plain
    return len(plain) >= 8 if kind == "phone" else True


# ------------------------------------------------------------------ what


def _traits_of(raw: Mapping[str, Any], context: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Traits from both places clients put them; the message's own win."""
    nested = _object(context, "traits") if "traits" in context else {}
    own = _object(raw, "traits") if "traits" in raw else {}
    if kind == "identify":
        return {**nested, **own} if nested else own
    return nested


def _contents(
    raw: Mapping[str, Any],
    given: Mapping[str, Any],
    context: Mapping[str, Any],
    traits: Mapping[str, Any],
    reading: Reading,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Properties and context as they are stored. An identify's properties are its traits."""
    kind = raw["type"]
    properties = read_properties(given, reading) if given else {}
    kept = read_context(context, reading) if context else {}
    if traits:
        said = read_traits(traits, reading)
        if kind == "identify":
            properties |= said
        elif said:
            kept["traits"] = said
    if kind in ("page", "screen"):
        named = {key: raw[key] for key in ("name", "category") if raw.get(key)}
        properties |= read_properties(named, reading)
    elif kind == "group":
        properties |= read_traits(_object(raw, "traits"), reading)
        properties |= read_properties({"group_id": raw.get("groupId")}, reading)
    elif kind == "alias" and type(raw.get("previousId")) is str:
        # Hashed as a user id: resolution must see whether the other side is a known person, who is never merged away.
        properties["previous_id"] = reading.keyed("user_id", normalised("user_id", raw["previousId"]))
    return properties, kept


_WITH_REVENUE: Final = frozenset({"Order Completed", "Store Purchase"})


def _state_revenue(name: str, properties: dict[str, Any], reading: Reading) -> None:
    """Revenue excludes shipping and tax; where it is not told it is worked out, and the note says from what."""
    if name not in _WITH_REVENUE:
        return
    if "revenue" in properties:
        basis = "revenue"
    elif "total" in properties:
        basis = "total"
        properties["revenue"] = properties["total"] - properties.get("shipping", 0) - properties.get("tax", 0)
    else:
        lines = properties["products"]
        if not lines or not all("price" in line for line in lines):
            return
        basis = "lines"
        properties["revenue"] = round(sum(line["price"] * line.get("quantity", 1) for line in lines))
    reading.notes.append(f"revenue from {basis}")


_STATUS: Final = {
    "Order Completed": ("completed", ""),
    "Store Purchase": ("completed", ""),
    "Order Cancelled": ("cancelled", ""),
    "Order Refunded": ("refunded", "total"),
    "Order Shipped": ("shipped", "shipment_id"),
    "Order Delivered": ("delivered", "shipment_id"),
    "Order Delayed": ("delayed", "new_promised_on"),
    "Pickup Ready": ("pickup_ready", ""),
    "Pickup Completed": ("pickup_completed", ""),
    "Return Requested": ("return_requested", "return_id"),
    "Return Received": ("return_received", "return_id"),
}


def order_meaning(event: Event) -> tuple[str, str] | None:
    """What an order event says, as (order_id, status): web tag, server and webhook telling the same tell one fact."""
    order_id = event.properties.get("order_id")
    if order_id is None:
        return None
    if event.name == "Order Updated":
        status = event.properties.get("status")
        return (order_id, str(status)) if status else None
    if event.name not in _STATUS:
        return None
    status, part = _STATUS[event.name]
    which = event.properties.get(part) if part else None
    return (order_id, status if which is None else f"{status}:{which}")


# ------------------------------------------------------------------ the encoded whole


def _encoded(value: Any, order: Literal["deterministic"] | None = None) -> bytes:
    try:
        return msgspec.json.encode(value, order=order)
    except UnicodeEncodeError:
        reason = "holds half of a surrogate pair; send valid Unicode"
        raise Rejected("lone_surrogate", _where(value, "", _is_broken), reason) from None
    except RecursionError:
        raise Rejected("too_deep", "", f"nested deeper than {LIMITS['depth_max']}; flatten it") from None
    except (OverflowError, TypeError, ValueError) as error:
        raise Rejected("not_json", "", f"expected JSON values: {error}") from None


def _assured(
    event_id: str, name: str, properties: dict[str, Any], context: dict[str, Any], reading: Reading, *, bytes_max: int
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The contents, once no byte of them holds an identifier, a NUL or more than an event may weigh."""
    whole = {"messageId": event_id, "event": name, "properties": properties, "context": context}
    encoded = _encoded(whole)
    personal = _encoded(reading.personal) if reading.personal else b""
    if (size := len(encoded) + len(personal)) > min(LIMITS["bytes_noted"], bytes_max):
        _weigh(size, bytes_max, reading)
    if b"\\u0000" in encoded:
        _refuse_nul(whole)
    if b"\\u0000" in personal:
        _refuse_nul(reading.personal)
    if "@" in event_id:
        event_id = f"hashed-{reading.keyed('event_id', event_id)}"
    for handle in reading.handles:
        if len(handle) >= _CONTAINED_CHARACTERS_MIN and _as_encoded(handle) in encoded:
            if handle in event_id:
                event_id = f"hashed-{reading.keyed('event_id', event_id)}"
            properties = _without(handle, properties, "", reading)
            context = _without(handle, context, "context.", reading)
    return event_id, properties, context


def _personal_hash(event_id: str, reading: Reading) -> str:
    if not reading.personal:
        return ""
    for kind in ADDRESSES & reading.personal.keys():
        plain = normalised(kind, str(reading.personal[kind]))
        if plain in reading.addresses.values():
            reading.personal[kind] = plain  # as it is hashed, so that whoever types it says the same
    return personal_hash(_encoded(reading.personal, "deterministic"), event_id, reading.keyed)


def _weigh(size: int, most: int, reading: Reading) -> None:
    if size > most:
        raise Rejected("oversize", "", f"{size} bytes, at most {most}; send references, not contents")
    reading.notes.append(f"large: {size} bytes")


def _refuse_nul(value: Any) -> None:
    field = _where(value, "", lambda text: "\0" in text)
    if field:  # else a text speaks of it: a backslash, a u and four zeros
        raise Rejected("nul_character", field, "holds the character U+0000; strip it before sending")


def _as_encoded(handle: str) -> bytes:
    return msgspec.json.encode(handle)[1:-1] if '"' in handle or "\\" in handle else handle.encode()


def _is_broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _where(value: Any, field: str, is_wrong: Callable[[str], bool]) -> str:
    """The path of the first text that is wrong; the field itself if none is."""
    if type(value) is str:
        return field if is_wrong(value) else ""
    if type(value) is dict:
        pairs: Iterable[tuple[Any, Any]] = value.items()
    else:
        pairs = enumerate(value) if type(value) in (list, tuple) else ()
    for key, each in pairs:
        path = f"{field}.{key}" if field else str(key)
        if type(key) is str and is_wrong(key):
            return field
        found = _where(each, path, is_wrong)
        if found:
            return found
    return ""


def _without(handle: str, raw: dict[str, Any], path: str, reading: Reading) -> dict[str, Any]:
    kept = {}
    for key, value in raw.items():
        if handle in key:
            reading.seal(path + key, value)
            continue
        read = _cleared(handle, value, key, path + key, reading)
        if read is not GONE:
            kept[key] = read
    return kept


def _cleared(handle: str, value: Any, key: str, path: str, reading: Reading) -> Any:
    if type(value) is dict:
        return _without(handle, value, f"{path}.", reading)
    if type(value) is list:
        items = [_cleared(handle, each, key, f"{path}.{place}", reading) for place, each in enumerate(value)]
        return [each for each in items if each is not GONE]
    if type(value) is not str or handle not in value:
        return value
    # Ids are hashed in place: two events of one order must still name the same order.
    return reading.keyed(key, value) if SHAPES.get(key) == "id" else reading.seal(path, value)
