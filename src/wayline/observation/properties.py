"""Properties, context and traits of one message: each value checked by its shape, each personal one taken out.

What stays may be read by everyone who may see an event. What is taken out goes to the vault, by the path it stood at.
A value is personal by its name (`gift_message`, `first_name`), by its looks (an address, a number, a long text), or
because it holds an identifier of the event's own person; the last is judged over the encoded whole, in `events`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

from wayline.errors import Rejected, did_you_mean, kind_of
from wayline.observation.masking import holds_number
from wayline.observation.money import EXPONENTS, minor
from wayline.observation.vocabulary import (
    CONTEXT_DROPPED,
    CONTEXT_OBJECTS,
    CONTEXT_TEXTS,
    LIMITS,
    PERSONAL_NAMES,
    PERSONAL_TRAITS,
    SHAPES,
    TRAIT_NAMES,
    Shape,
)

__all__ = ["GONE", "Reading", "looks_personal", "read_context", "read_instant", "read_properties", "read_traits"]

GONE: Final = object()
"""What a reader answers for a value that does not stay in the event."""

_DEPTH_MAX = LIMITS["depth_max"]
_ITEMS_MAX = LIMITS["items_max"]
_FREE_CHARACTERS_MIN = 200  # a text this long was written by someone, about something


class Reading:
    """One message being read: what was taken out of it, what was noted, and how its money counts."""

    __slots__ = ("addresses", "currency", "digits", "handles", "keyed", "notes", "personal", "place", "prefix")

    def __init__(self, keyed: Callable[[str, str], str], currency: str) -> None:
        self.keyed = keyed
        self.handles: set[str] = set()
        """Every identifier of this message as it was written: none of them may stay."""
        self.addresses: dict[str, str] = {}
        """Every address among them as it was hashed, by `kind:hash`."""
        self.personal: dict[str, Any] = {}
        self.notes: list[str] = []
        self.place = "properties"
        self.prefix = ""
        self.currency = currency
        self.digits = EXPONENTS.get(currency, 2)

    def seal(self, path: str, value: Any) -> object:
        """Take a value out of the event, for the vault."""
        self.personal[path] = value
        return GONE

    def field(self, key: str) -> str:
        """Where a value stands, for a verdict."""
        return f"{self.place}.{self.prefix}{str(key)[:100]}"

    def wrong(self, key: str, expected: str, value: object) -> Rejected:
        """The verdict that a property has the wrong shape."""
        came = repr(value)[:60] if isinstance(value, str | int | float) else kind_of(value)
        return Rejected("wrong_type", self.field(key), f"expected {expected}, got {came}")


_Reader: TypeAlias = Callable[[Any, str, Reading], Any]

# ------------------------------------------------------------------ objects


def read_properties(raw: Mapping[str, Any], reading: Reading, prefix: str = "") -> dict[str, Any]:
    """The properties that stay in the event, each in its stored shape."""
    reading.prefix = prefix
    kept: dict[str, Any] = {}
    plain, texts, reader_of = _PLAIN, _TEXTS, _READERS.get
    for key, value in raw.items():
        # Most values are plain texts of known names: no call for them.
        # A text with a zero or a plus may hold a telephone number; an id is an id, whatever its digits.
        if type(value) is str and key in plain and value and "@" not in value:
            if ("0" in value or "+" in value) and key in texts and holds_number(value):
                reading.seal(prefix + key, value)
            else:
                kept[key] = value
        elif value is not None:
            read = reader_of(key, _unknown)(value, key, reading)
            if read is not GONE:
                kept[key] = read
    return kept


def read_traits(raw: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """The traits that stay in the event; a null stays too, since it takes a trait back."""
    reading.place, reading.prefix = "traits", ""
    kept: dict[str, Any] = {}
    for given, value in raw.items():
        key = TRAIT_NAMES.get(given, given)
        if value is None:
            kept[key] = None
        elif key in PERSONAL_TRAITS:
            reading.seal(key, _personal(value, key, reading))
        elif key == "address" and type(value) is dict:
            _read_address(value, kept, reading)
        else:
            read = _unknown(value, key, reading)
            if read is not GONE:
                kept[key] = read
    return kept


def _read_address(raw: Mapping[str, Any], kept: dict[str, Any], reading: Reading) -> None:
    """Country, state and city become traits of their own: they choose a language or a legal rule, and name nobody."""
    for given, value in raw.items():
        key = TRAIT_NAMES.get(given, given)
        if key in ("country", "state", "city") and type(value) is str and not looks_personal(value):
            kept.setdefault(key, value)
        elif value is not None:
            reading.seal(f"address.{key}", _personal(value, key, reading))


def read_context(raw: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """What is kept of a message's context."""
    kept: dict[str, Any] = {}
    reading.place, reading.prefix = "context", ""
    reader_of = _CONTEXT_READERS.get
    for key, value in raw.items():
        reader = reader_of(key, _unknown)
        if value is not None and reader is not None:
            read = reader(value, key, reading)
            if read is not GONE:
                kept[key] = read
    return kept


def _context_object(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is not dict:
        return _unknown(value, key, reading)
    fields = CONTEXT_OBJECTS[key]
    chosen = {name: value[name] for name in fields if name in value} if fields else value
    kept = read_properties(chosen, reading, f"{key}.")
    reading.prefix = ""
    return kept or GONE


def _context_text(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is str:
        return reading.seal(key, value) if "@" in value else value
    if type(value) is int and key == "sessionId":
        return str(value)
    raise reading.wrong(key, "a string", value)


def _sealed_as(name: str) -> _Reader:
    def seal(value: Any, key: str, reading: Reading) -> Any:
        reading.personal[name] = value if type(value) is str else _personal(value, key, reading)
        return GONE

    return seal


# ------------------------------------------------------------------ looks

_ADDRESS_LIKE = re.compile(r"[^\s@]@[^\s@]")
_SEVEN_DIGITS = re.compile(r"(?:\d[ ().\-/\u00a0]{0,3}){7}")
_NUMBER_LIKE = re.compile(r"(?<![\w.\-])[+(]{0,2}\d[\d ().\-/\u00a0]{5,24}\d(?!\w)")
_DATE_LIKE = re.compile(r"\d{4}[-/.]\d\d[-/.]\d\d|\d\d?[-/.]\d\d?[-/.]\d{4}")


def looks_personal(text: str) -> bool:
    """Whether an e-mail address or a telephone number seems to stand in a text."""
    if "@" in text and _ADDRESS_LIKE.search(text):
        return True
    return _SEVEN_DIGITS.search(text) is not None and any(map(_is_number_like, _NUMBER_LIKE.finditer(text)))


def _is_number_like(found: re.Match[str]) -> bool:
    digits = sum(character.isdigit() for character in found[0])
    if not 7 <= digits <= 15 or _DATE_LIKE.fullmatch(found[0].strip()):
        return False
    # Bare digits without a leading zero are an order or article number, unless as many as a number with area code.
    return not found[0].isdigit() or found[0].startswith("0") or digits >= 10


@lru_cache(maxsize=4096)
def _is_personal_name(key: str) -> bool:
    # A key is text from outside too: an address as a key would be a leak.
    return key.lower().replace("_", "").replace("-", "").replace(" ", "") in PERSONAL_NAMES or looks_personal(key)


def _personal(value: Any, key: str, reading: Reading, depth: int = 1) -> Any:
    """A personal value as the vault takes it: any JSON value of bounded depth."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return _whole(value, key, reading)
    if kind is float:
        return _finite(value, key, reading)
    if kind in (dict, list, tuple):
        _bound(value, key, reading, depth)
        if kind is dict:
            return {str(name): _personal(each, key, reading, depth + 1) for name, each in value.items()}
        return [_personal(each, key, reading, depth + 1) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    raise reading.wrong(key, "a JSON value", value)


def _bound(value: Any, key: str, reading: Reading, depth: int) -> None:
    if depth > _DEPTH_MAX:
        reason = f"nested deeper than {_DEPTH_MAX}; flatten it"
        raise Rejected("too_deep", reading.field(key), reason)
    if len(value) > _ITEMS_MAX:
        reason = f"{len(value)} items, at most {_ITEMS_MAX}; send what the event needs"
        raise Rejected("too_many", reading.field(key), reason)


# ------------------------------------------------------------------ values of unknown names

_CONTAINERS: Final = re.compile(
    r"(address|customer|recipient|contact|billing|person|traits|sender|buyer|shopper|account)$", re.IGNORECASE
)


def _unknown(value: Any, key: str, reading: Reading) -> Any:
    return _any(value, key, key, reading, depth=1)


def _any(value: Any, name: str, path: str, reading: Reading, *, depth: int) -> Any:
    if type(name) is not str:
        raise reading.wrong(path, "a string as the name of a property", name)
    if _is_personal_name(name):
        return reading.seal(reading.prefix + path, _personal(value, path, reading))
    kind = type(value)
    if kind is str:
        return reading.seal(reading.prefix + path, value) if _is_private(value, reading) else value
    if kind is int:
        is_handle = str(value) in reading.handles
        return reading.seal(reading.prefix + path, value) if is_handle else _whole(value, path, reading)
    if kind is bool:
        return value
    if kind is float:
        return _finite(value, path, reading)
    if value is None:
        return GONE
    if kind in (dict, list, tuple):
        _bound(value, path, reading, depth)
        return (_any_object if kind is dict else _any_list)(value, path, reading, depth)
    if isinstance(value, date):
        return _iso(value)
    raise reading.wrong(path, "a JSON value", value)


def _is_private(text: str, reading: Reading) -> bool:
    return len(text) >= _FREE_CHARACTERS_MIN or "\n" in text or text in reading.handles or looks_personal(text)


def _any_object(value: dict[str, Any], path: str, reading: Reading, depth: int) -> Any:
    is_person = _CONTAINERS.search(path) is not None
    kept: dict[str, Any] = {}
    for name, each in value.items():
        inner = f"{path}.{name}"
        if is_person and TRAIT_NAMES.get(name, name) in PERSONAL_TRAITS:
            reading.seal(reading.prefix + inner, _personal(each, inner, reading, depth))
            continue
        read = _any(each, name, inner, reading, depth=depth + 1)
        if read is not GONE:
            kept[name] = read
    return kept or GONE


def _any_list(value: list[Any], path: str, reading: Reading, depth: int) -> Any:
    # The path is the list's, with the place in it, so that two sealed items do not overwrite one another.
    items = [_any(each, "", f"{path}.{place}", reading, depth=depth + 1) for place, each in enumerate(value)]
    return [each for each in items if each is not GONE]


def _whole(value: int, key: str, reading: Reading) -> int:
    if not -(2**63) <= value < 2**63:
        raise Rejected("not_json", reading.field(key), "expected an integer of 64 bits; send a longer one as a string")
    return value


def _finite(value: float, key: str, reading: Reading) -> float:
    if value - value != 0.0:
        raise Rejected("not_finite", reading.field(key), f"expected a finite number, got {value}")
    return value


# ------------------------------------------------------------------ values of known names


def _id(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is int:
        return str(value)
    if type(value) is float and value.is_integer():
        return str(int(value))
    if type(value) is not str:
        raise reading.wrong(key, "an id (a string)", value)
    if not value:
        return GONE
    # Hashed in place: two events of the same order must still name the same order.
    return reading.keyed(key, value) if looks_personal(value) and "@" in value else value


def _text(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is not str:
        if type(value) is int or type(value) is float:
            return str(_finite(value, key, reading))
        raise reading.wrong(key, "a string", value)
    is_private = ("@" in value and _ADDRESS_LIKE.search(value)) or holds_number(value)
    return reading.seal(reading.prefix + key, value) if is_private else value


def _label(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is int:
        return _whole(value, key, reading)
    return _finite(value, key, reading) if type(value) is float else _text(value, key, reading)


def _scanned(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is not str:
        raise reading.wrong(key, "a string", value)
    return reading.seal(reading.prefix + key, value) if looks_personal(value) else value


def _sealed(value: Any, key: str, reading: Reading) -> Any:
    return reading.seal(reading.prefix + key, _personal(value, key, reading)) if value != "" else GONE


def _url(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is dict:  # `context.referrer` is an object in some clients
        return reading.seal(reading.prefix + key, _personal(value, key, reading))
    if type(value) is not str:
        raise reading.wrong(key, "a URL (a string)", value)
    if "?" not in value and "#" not in value and "@" not in value and "%" not in value:
        return value
    bare = value.partition("#")[0].partition("?")[0]
    names_someone = "@" in bare or "%40" in bare
    if names_someone or bare != value:
        reading.seal(reading.prefix + key, value)
    return GONE if names_someone else bare


def _link(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is not str:
        raise reading.wrong(key, "a URL (a string)", value)
    return reading.seal(reading.prefix + key, value) if "@" in value or "%40" in value else value


def _money(value: Any, key: str, reading: Reading) -> Any:
    try:
        amount = minor(value, reading.digits)
    except ValueError as error:
        raise Rejected("bad_amount", reading.field(key), str(error)) from None
    if amount < 0 and key == "price":
        reason = f"expected a price of 0 or more, got {value}; send what is taken off as `discount`"
        raise Rejected("bad_amount", reading.field(key), reason)
    return amount


def _currency(value: Any, key: str, reading: Reading) -> Any:
    code = value.strip().upper() if type(value) is str else value
    if code == reading.currency:
        return code
    field = reading.field(key)
    if type(code) is not str or code not in EXPONENTS:
        reason = f"expected an ISO 4217 code, got {value!r:.40}. {did_you_mean(str(code), EXPONENTS)}"
        raise Rejected("unknown_currency", field, reason)
    raise Rejected(
        "mixed_currencies", field, f"expected {reading.currency} as in the event, got {code}; send one event each"
    )


def _number(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is int:
        return _whole(value, key, reading)
    if type(value) is str and value.isascii() and "_" not in value:
        try:
            value = float(value)
        except ValueError:
            raise reading.wrong(key, "a number", value) from None
    if type(value) is not float:
        raise reading.wrong(key, "a number", value)
    _finite(value, key, reading)
    return int(value) if value.is_integer() else value


def _yes_no(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is not bool:
        raise reading.wrong(key, "true or false", value)
    return value


def read_instant(value: Any, field: str) -> datetime:
    """An instant in UTC from ISO 8601; without a zone it is read as UTC."""
    try:
        read = datetime.fromisoformat(value) if type(value) is str else value
    except ValueError:
        read = None
    if not isinstance(read, datetime):
        reason = f"expected ISO 8601 such as 2024-11-29T08:00:00Z, got {value!r:.60}"
        raise Rejected("bad_time", field, reason)
    if read.tzinfo is UTC:
        return read
    try:
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except OverflowError:
        raise Rejected("bad_time", field, f"expected a time within the calendar, got {value!r:.60}") from None


def _instant(value: Any, key: str, reading: Reading) -> Any:
    return _iso(read_instant(value, reading.field(key)))


def _iso(value: date) -> str:
    if not isinstance(value, datetime):
        return value.isoformat()
    aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return aware.replace(tzinfo=None).isoformat() + "Z"


def _date(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is date:
        return value.isoformat()
    # The day as the sender wrote it: a promise for the 3rd stays the 3rd in every zone.
    try:
        return date.fromisoformat(value[:10]).isoformat()
    except (TypeError, ValueError):
        reason = f"expected ISO 8601 such as 2024-11-29, got {value!r:.60}"
        raise Rejected("bad_time", reading.field(key), reason) from None


def _products(value: Any, key: str, reading: Reading) -> Any:
    count_max = LIMITS["products_max"]
    if type(value) is not list and type(value) is not tuple:
        raise reading.wrong(key, "a list of products", value)
    if len(value) > count_max:
        raise Rejected("too_many", reading.field(key), f"{len(value)} products, at most {count_max}; split the event")
    outside = reading.prefix
    kept = []
    for place, product in enumerate(value):
        if type(product) is not dict:
            reading.prefix = outside
            raise reading.wrong(f"{key}.{place}", "a product object", product)
        kept.append(read_properties(product, reading, f"{outside}{key}.{place}."))
        if len(reading.prefix) > 100:
            raise Rejected("too_deep", reading.field(key), "products within products; send one list")
    reading.prefix = outside
    return kept


def _texts(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is not list or not all(type(each) is str for each in value):
        raise reading.wrong(key, "a list of strings", value)
    return _unknown(value, key, reading)


def _rows(value: Any, key: str, reading: Reading) -> Any:
    if type(value) is not list or not all(type(row) is dict for row in value):
        raise reading.wrong(key, "a list of objects", value)
    return _unknown(value, key, reading)


_READER_OF: Mapping[Shape, _Reader] = {
    "id": _id, "text": _text, "label": _label, "scanned": _scanned, "personal": _sealed, "url": _url, "link": _link,
    "money": _money, "currency": _currency, "number": _number, "yes_no": _yes_no, "instant": _instant, "date": _date,
    "products": _products, "rows": _rows, "texts": _texts, "open": _unknown,
}  # fmt: skip
_READERS: Final[Mapping[str, _Reader]] = {name: _READER_OF[shape] for name, shape in SHAPES.items()}
_PLAIN: Final = frozenset(name for name, shape in SHAPES.items() if shape in ("id", "text", "label"))
_TEXTS: Final = frozenset(name for name, shape in SHAPES.items() if shape in ("text", "label"))

_CONTEXT_READERS: Final[Mapping[str, _Reader | None]] = {
    **dict.fromkeys(CONTEXT_DROPPED),
    **dict.fromkeys(CONTEXT_OBJECTS, _context_object),
    **dict.fromkeys(CONTEXT_TEXTS, _context_text),
    "ip": _sealed_as("ip"),
    "userAgent": _sealed_as("user_agent"),
}
