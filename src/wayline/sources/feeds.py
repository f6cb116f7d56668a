"""A catalogue as messages: each product of a CSV, Parquet or Merchant feed a `Product Changed`, stock by store besides.

What a feed does not say it does not change. A row without a sku, with a price that is none or an availability nobody
knows is refused, and its neighbours are kept. What is said is as of the row's own `as_of`, or else the feed's, or else
when the file was written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from wayline.errors import SenderError
from wayline.observation.catalog import AVAILABILITY, DISCONTINUED
from wayline.observation.money import EXPONENTS
from wayline.observation.properties import looks_personal, read_instant
from wayline.sources import RefusedRow, Row, Told
from wayline.sources.mapping import TableMapping
from wayline.sources.merchant import MerchantFeed, named
from wayline.sources.tables import header_of, read_rows

__all__ = ["FORMATS", "Feed", "Format", "opened_feed", "read_taxonomy", "vanished"]

Format: TypeAlias = Literal["auto", "csv", "google-merchant"]
FORMATS: Final[tuple[Format, ...]] = ("auto", "csv", "google-merchant")

_ATTRIBUTE_CHARACTERS_MAX: Final = 150  # of one attribute; what is longer is text, and nothing compares it
_ATTRIBUTES_MAX: Final = 40  # attributes of one product
_NAMES: Final[Mapping[str, str]] = {
    # as feeds and shops write it: as we do
    "id": "sku", "article": "sku", "item_group_id": "product_id", "parent": "product_id", "parent_id": "product_id",
    "title": "name", "product_name": "name", "link": "url", "image_link": "image_url", "image": "image_url",
    "list_price": "was", "compare_at_price": "was", "stock": "available", "quantity": "available", "cost": "unit_cost",
    "cost_of_goods_sold": "unit_cost", "product_type": "category", "store_code": "store_id", "location": "store_id",
}  # fmt: skip
_READ: Final = frozenset({
    "sku", "product_id", "name", "url", "image_url", "was", "available", "unit_cost", "category", "store_id", "price",
    "sale_price", "sale_price_effective_date", "google_product_category", "availability", "brand", "variant",
    "currency", "as_of",
})  # fmt: skip
_XML_HEADER: Final = (
    "id", "title", "item_group_id", "link", "image_link", "price", "sale_price", "sale_price_effective_date",
    "availability", "product_type", "google_product_category", "brand", "color", "size",
)  # fmt: skip
_LEFT_OUT: Final = frozenset({"description", "summary", "additional_image_link", "shipping", "tax", "updated", "guid"})
_VARIANT: Final = ("color", "size", "material", "pattern", "size_system")
_PRICE: Final = re.compile(r"(?:([A-Z]{3}) ?)?(\d{1,12}(?:\.\d{1,4})?)(?: ?([A-Z]{3}))?")


class Feed(Struct, frozen=True, kw_only=True):
    """A catalogue in a file, ready to be read."""

    path: Path
    format: Literal["csv", "google-merchant"]
    header: tuple[str, ...]
    """Columns of the file of refused rows."""
    currency: str
    source: str
    as_of: datetime
    """When the file was written: what a row says that names no time of its own, and the feed neither."""
    taxonomy: Mapping[str, str] = {}
    """Google's number of a category to its path, where a feed gives numbers alone."""
    seen: set[str]
    """The skus it held, as far as it was read."""

    def told(self, counts: Counter[str]) -> Iterator[Told | RefusedRow]:
        """Every message and every refused row; `counts` is filled on the way, as by `messages.translate`."""
        rows, feeds_time = self._rows()
        for place, fields in rows:
            counts["row"] += 1
            verdicts = (
                (fields,) if isinstance(fields, RefusedRow) else self._product(place, fields, feeds_time(), counts)
            )
            for verdict in verdicts:
                if isinstance(verdict, RefusedRow):
                    counts[f"refused: {verdict.code}"] += 1
                yield verdict

    def _rows(self) -> tuple[Iterator[tuple[int, dict[str, str] | RefusedRow]], Callable[[], datetime | None]]:
        if _is_xml(self.path):
            feed = MerchantFeed(self.path)
            return feed.rows(), lambda: feed.as_of
        return self._tabled(), lambda: None

    def _tabled(self) -> Iterator[tuple[int, dict[str, str] | RefusedRow]]:
        names = [named(name) for name in self.header]
        for row in read_rows(self.path, _table(self.path)):
            if isinstance(row, RefusedRow):
                yield row.place, row
            else:
                cells = zip(names, row.cells, strict=True)
                yield row.place, {name: str(cell).strip() for name, cell in cells if cell not in (None, "")}

    def _product(
        self, place: int, fields: Mapping[str, str], feeds_time: datetime | None, counts: Counter[str]
    ) -> Iterator[Told | RefusedRow]:
        cells = tuple([fields.get(name, "") for name in map(named, self.header)])
        row = Row(place, cells)
        try:
            said = _canonical(fields)
            self.seen.add(said["sku"])
            as_of = min(
                read_instant(said["as_of"], "as_of") if "as_of" in said else feeds_time or self.as_of, self.as_of
            )
            properties = self._properties(said, as_of, counts)
        except ValueError as wrong:
            yield RefusedRow(place, "bad_cell", str(wrong), cells)
            return
        except SenderError as wrong:
            yield RefusedRow(place, "bad_time", str(wrong), cells)
            return
        if store_id := said.get("store_id"):
            count = properties.pop("available", None)
            told = {"sku": said["sku"], "store_id": store_id, "available": count}
            if count is not None:
                yield Told(_message("Inventory Changed", told, as_of), (row,))
        yield Told(_message("Product Changed", properties, as_of), (row,))

    def _properties(self, said: Mapping[str, str], as_of: datetime, counts: Counter[str]) -> dict[str, Any]:
        plain = ("sku", "product_id", "name", "brand", "image_url")
        properties: dict[str, Any] = {name: said[name] for name in plain if name in said}
        if "url" in said:
            properties["page_url"] = said["url"]
        if category := self._category(said):
            properties["category"] = category
        if variant := said.get("variant") or " / ".join(said[name] for name in _VARIANT if name in said):
            properties["variant"] = variant
        self._priced(said, as_of, properties, counts)
        _stocked(said, properties)
        if attributes := _attributes(said, counts):
            properties["attributes"] = attributes
        return properties

    def _category(self, said: Mapping[str, str]) -> str:
        told = said.get("category") or said.get("google_product_category", "")
        return _path(self.taxonomy.get(told, "") if told.isdecimal() else told)

    def _priced(
        self, said: Mapping[str, str], as_of: datetime, properties: dict[str, Any], counts: Counter[str]
    ) -> None:
        names = ("price", "sale_price", "was", "unit_cost")
        amounts = {name: _amount(name, said[name]) for name in names if name in said}
        written = {currency for _, currency in amounts.values() if currency}
        currencies = written or {said.get("currency", self.currency)}
        if currencies != {self.currency}:
            foreign = ", ".join(sorted(currencies - {self.currency}))
            counts[f"left out: prices in {foreign}, where the shop counts in {self.currency}"] += 1
            return
        plain = {name: amount for name, (amount, _) in amounts.items()}
        if "sale_price" in plain and _is_on(said.get("sale_price_effective_date", ""), as_of):
            plain["was"], plain["price"] = plain.get("price", plain.get("was", "")), plain["sale_price"]
        plain.pop("sale_price", None)
        if plain:
            properties.update(plain, currency=self.currency)


def opened_feed(
    path: Path, *, source: str, currency: str, format: Format = "auto", taxonomy: Mapping[str, str] | None = None
) -> Feed:
    """A file as a catalogue; raises SenderError where it is none."""
    is_xml = _is_xml(path)
    header: tuple[str, ...] = _XML_HEADER
    if not is_xml:
        header = header_of(path, _table(path))
        names = {_NAMES.get(named(name), named(name)) for name in header}
        if not names & {"sku", "product_id"}:
            raise SenderError(f"{path.name}: no column is called sku, id or product_id. It has: {', '.join(header)}.")
    if is_xml and format == "csv":
        raise SenderError(f"{path.name} is XML, and --format says csv. Leave --format out.")
    # A merchant feed as a table says `id` and `title` where we say sku and name; both are read alike.
    is_merchant = is_xml or format == "google-merchant" or {"id", "title"} <= {named(name) for name in header}
    return Feed(
        path=path,
        format="google-merchant" if is_merchant else "csv",
        header=header,
        currency=currency,
        source=source,
        as_of=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        taxonomy=taxonomy or {},
        seen=set(),
    )


def read_taxonomy(path: Path) -> dict[str, str]:
    """Google's numbers of categories to their paths, out of the text it publishes (`1 - Animals & Pet Supplies`)."""
    lines = (line.partition(" - ") for line in path.read_text("utf-8").splitlines() if not line.startswith("#"))
    found = {number.strip(): told.strip() for number, _, told in lines if number.strip().isdecimal() and told}
    if not found:
        raise SenderError(f"{path.name} is no taxonomy: expected lines such as '1 - Animals & Pet Supplies'.")
    return found


def vanished(sku: str, as_of: datetime) -> dict[str, Any]:
    """That a whole feed no longer lists a product: it cannot be bought."""
    return _message("Product Changed", {"sku": sku, "available": 0, "availability": DISCONTINUED}, as_of)


# ------------------------------------------------------------------ one row


def _canonical(fields: Mapping[str, str]) -> dict[str, str]:
    said: dict[str, str] = {}
    for name, cell in fields.items():
        if cell:
            said.setdefault(_NAMES.get(name, name), cell)
    if "sku" not in said:
        if "product_id" not in said:
            raise ValueError("expected a sku (or id, or product_id), and none stands there")
        said["sku"] = said["product_id"]
    return said


@lru_cache(maxsize=8192)
def _path(category: str) -> str:
    return " > ".join(part.strip() for part in category.split(">") if part.strip())


def _amount(name: str, cell: str) -> tuple[str, str]:
    match = _PRICE.fullmatch(cell)
    currency = (match[1] or match[3] or "") if match else ""
    if match is None or (currency and currency not in EXPONENTS):
        raise ValueError(f"column {name!r}: expected a price such as '19.99 EUR', got {cell!r:.40}")
    return match[2], currency


def _is_on(span: str, at: datetime) -> bool:
    """Whether a sale is on: its span is two instants apart by a slash, or nothing for always."""
    if not span:
        return True
    begins, _, ends = span.partition("/")
    try:
        return _instant(begins) <= at <= _instant(ends)
    except ValueError:
        raise ValueError(f"column 'sale_price_effective_date': expected START/END, got {span!r:.60}") from None


def _instant(text: str) -> datetime:
    told = datetime.fromisoformat(text.strip())
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def _stocked(said: Mapping[str, str], properties: dict[str, Any]) -> None:
    if word := said.get("availability"):
        known = word.strip().lower().replace(" ", "_")
        if known not in AVAILABILITY:
            raise ValueError(f"column 'availability': expected one of {', '.join(AVAILABILITY)}, got {word!r:.40}")
        properties["availability"] = known
    if count := said.get("available"):
        try:
            properties["available"] = int(float(count))
        except (ValueError, OverflowError):
            raise ValueError(f"column 'available': expected a whole number, got {count!r:.40}") from None
        if properties.get("availability") in ("out_of_stock", "preorder", "backorder", DISCONTINUED):
            properties["available"] = 0


def _attributes(said: Mapping[str, str], counts: Counter[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, cell in said.items():
        if name in _READ or name in _LEFT_OUT:
            continue
        if len(cell) > _ATTRIBUTE_CHARACTERS_MAX or looks_personal(cell) or len(found) >= _ATTRIBUTES_MAX:
            counts[f"left out: attribute {name} (long, or like a telephone number)"] += 1
        else:
            found[name] = cell
    return found


def _message(event: str, properties: Mapping[str, Any], as_of: datetime) -> dict[str, Any]:
    told = {name: value for name, value in properties.items() if value is not None}
    told["as_of"] = as_of.isoformat()
    digest = blake2b(_ENCODER.encode([event, told]), digest_size=16).hexdigest()
    stem = event.lower().replace(" ", "-")
    return {"type": "track", "event": event, "timestamp": as_of, "messageId": f"{stem}:{digest}", "properties": told}


_ENCODER = msgspec.json.Encoder(order="sorted")

# ------------------------------------------------------------------ the file


def _is_xml(path: Path) -> bool:
    try:
        with path.open("rb") as opened:
            return opened.read(512).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"
    except OSError as trouble:
        raise SenderError(f"{path.name} cannot be read: {trouble.strerror}. Check the path.") from trouble


def _table(path: Path) -> TableMapping:
    """How the table is written: its delimiter is the one its header has most of."""
    with path.open("rb") as opened:
        first = opened.readline(65_536)
    counts = {mark: first.count(mark.encode()) for mark in ("\t", ";", "|", ",")}
    return TableMapping(name="catalog", source="catalog", delimiter=max(counts, key=lambda mark: counts[mark]))
