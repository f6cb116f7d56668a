"""The shelf: every product we were told of, with the newest price and stock, and what sells together with what.

Stock and price each carry the instant they were true at (`as_of`), and an older one never overwrites a newer, in
whatever order they arrive. What a page shows counts as of when it showed it; what a public key says may make a product
known, and never changes one: else anybody could start a price drop.

A store's count is the store's: it says nothing of what the web shop can ship, unless the shop declares that it ships
from there (`web_locations`). A category may be a path such as `Clothing > Jackets`; a product counts at each level.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Event, Product
from wayline.errors import Rejected
from wayline.observation.events import UNVERIFIED
from wayline.observation.money import EXPONENTS, minor
from wayline.observation.properties import read_instant

__all__ = ["AVAILABILITY", "DISCONTINUED", "SALES", "Change", "Shelf", "from_rows", "merged", "told"]

SALES: Final = ("Order Completed", "Store Purchase")
"""Events that tell of a sale, which is what popularity counts."""

_SOLD: Final = frozenset(SALES)
_SHOWN: Final = frozenset({"Cart Viewed", "Product Added", "Product Clicked", "Product List Viewed", "Product Viewed"})
_ATTRIBUTES: Final = ("brand", "variant", "image_url", "availability")
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_PATH: Final = " > "  # between the levels of a category
_SALES_KEPT: Final = 100_000  # orders remembered for `popular`; the oldest leave first

DISCONTINUED: Final = "discontinued"
"""The availability of what a whole feed no longer lists."""

AVAILABILITY: Final[Mapping[str, int]] = {
    "in_stock": 1, "limited_availability": 1, "out_of_stock": 0, "preorder": 0, "backorder": 0, DISCONTINUED: 0,
}  # fmt: skip
"""What a feed says in a word, as the least number of pieces that makes it true: whoever says `in_stock` has one."""


class Change(Struct, frozen=True):
    """A product as it is now, and the topics that wake whoever waits on them.

    `stock:SKU`, `stock:SKU@STORE`, `price:SKU`.
    """

    product: Product
    topics: tuple[str, ...] = ()


def told(event: Event, currency: str = "") -> tuple[Product, ...]:
    """What an event says of the shelf: only fields it names are filled in; no price in another currency than asked."""
    properties = event.properties
    is_priced = not currency or properties.get("currency", currency) == currency
    if event.name in _STATED:
        return () if UNVERIFIED in event.notes else _STATED[event.name](event, is_priced)
    if event.name not in _SHOWN and event.name not in _SOLD:
        return ()
    lines = properties.get("products")
    found = lines if isinstance(lines, list | tuple) else (properties,)
    # What was paid is not what is asked: a line of an order may be discounted.
    is_priced = is_priced and event.name in _SHOWN
    return tuple(_described(line, event, is_priced) for line in found if line.get("sku") or line.get("product_id"))


def merged(before: Product, after: Product) -> Product:
    """One product out of two tellings: of price and stock the newer, of the rest what is said at all.

    A price without an instant (one a page happened to show) never stands against one that has an instant; a late
    telling fills in what was missing and renames nothing.
    """
    first, second = (before, after) if _is_late(before, after) else (after, before)
    is_repriced = _is_newer((before.price, before.price_as_of), (after.price, after.price_as_of))
    priced, other = (after, before) if is_repriced else (before, after)
    is_recounted = _is_newer((before.available, before.stock_as_of), (after.available, after.stock_as_of))
    counted = after if is_recounted else before
    return replace(
        before,
        product_id=first.product_id or second.product_id,
        name=first.name or second.name,
        category=first.category or second.category,
        price=priced.price,
        price_as_of=priced.price_as_of,
        # A page that shows the same price says nothing of the one crossed out beside it.
        was=other.was if priced.was is None and priced.price == other.price else priced.was,
        cost=second.cost if first.cost is None else first.cost,
        available=counted.available,
        stock_as_of=counted.stock_as_of,
        url=first.url or second.url,
        attributes={**second.attributes, **first.attributes} if after.attributes else before.attributes,
        described_as_of=first.described_as_of or second.described_as_of,
        locations=_both_locations(before.locations, after.locations) if after.locations else before.locations,
    )


def from_rows(rows: Iterable[Mapping[str, Any]], *, currency: str = "EUR", as_of: datetime) -> tuple[Product, ...]:
    """Products out of the rows of a table; raises `Rejected` naming the row and the column.

    Columns: sku, product_id, name, category, price, cost, available (or quantity), url, as_of; every other column
    becomes an attribute. Amounts are in the currency's own units (19.99). An empty cell says nothing.
    """
    digits = EXPONENTS[currency]
    return tuple(_from_row(row, place, digits, as_of) for place, row in enumerate(rows, 1))


# ------------------------------------------------------------------ tellings


def _sku(properties: Mapping[str, Any]) -> str:
    return str(properties.get("sku") or properties.get("product_id") or "")


def _told_stock(event: Event, is_priced: bool) -> tuple[Product, ...]:
    properties = event.properties
    sku = _sku(properties)
    available = properties.get("available", properties.get("quantity"))
    if not sku or available is None:
        return ()
    product_id, store_id, as_of = properties.get("product_id", ""), properties.get("store_id"), _as_of(event)
    # A single store's count is not the shop's: a claim for the web must not rest on it.
    if store_id:
        return (Product(sku=sku, product_id=product_id, locations={str(store_id): (int(available), as_of)}),)
    return (Product(sku=sku, product_id=product_id, available=int(available), stock_as_of=as_of),)


def _told_price(event: Event, is_priced: bool) -> tuple[Product, ...]:
    properties = event.properties
    sku = _sku(properties)
    price = properties.get("price")
    if not sku or price is None or not is_priced:
        return ()
    product_id, was = properties.get("product_id", ""), properties.get("was")
    return (Product(sku=sku, product_id=product_id, price=price, price_as_of=_as_of(event), was=was),)


def _told_product(event: Event, is_priced: bool) -> tuple[Product, ...]:
    """What a catalogue says: it is the authority on what a product is called, and on no order or page."""
    properties = event.properties
    sku = _sku(properties)
    if not sku:
        return ()
    as_of = _as_of(event)
    price = properties.get("price") if is_priced else None
    available = properties.get("available", properties.get("quantity"))
    if available is None:
        available = AVAILABILITY.get(properties.get("availability", ""))
    more = properties.get("attributes")
    told_more = {str(name): str(value) for name, value in more.items()} if isinstance(more, Mapping) else {}
    described = _described(properties, event, is_priced=False)
    return (
        replace(
            described,
            price=price,
            price_as_of=as_of if price is not None else None,
            was=properties.get("was") if is_priced else None,
            cost=properties.get("unit_cost") if is_priced else None,
            available=None if available is None else int(available),
            stock_as_of=as_of if available is not None else None,
            attributes={**told_more, **described.attributes},
            described_as_of=as_of,
        ),
    )


_STATED: Final[Mapping[str, Callable[[Event, bool], tuple[Product, ...]]]] = {
    "Inventory Changed": _told_stock,
    "Price Changed": _told_price,
    "Product Changed": _told_product,
}


def _as_of(event: Event) -> datetime:
    told_at = event.properties.get("as_of")
    # A stock count from the future would shadow every later one.
    return min(read_instant(told_at, "properties.as_of"), event.received_at) if told_at else event.occurred_at


def _described(line: Mapping[str, Any], event: Event, is_priced: bool) -> Product:
    price = line.get("price") if is_priced else None
    return Product(
        sku=_sku(line),
        product_id=line.get("product_id", ""),
        name=line.get("name", ""),
        category=line.get("category", ""),
        price=price,
        price_as_of=event.occurred_at if price is not None and UNVERIFIED not in event.notes else None,
        url=line.get("page_url") or line.get("url", ""),
        attributes={name: line[name] for name in _ATTRIBUTES if line.get(name)},
    )


def _is_newer(old: tuple[int | None, datetime | None], new: tuple[int | None, datetime | None]) -> bool:
    if new[0] is None or old[0] is None:
        return new[0] is not None
    # Two of one instant: the smaller, whichever came first. Better one sale fewer than one too many.
    return (new[1] or _BEGINNING, -new[0]) > (old[1] or _BEGINNING, -old[0])


def _is_late(before: Product, after: Product) -> bool:
    """Whether the second telling describes the product as of earlier; a catalogue's word stands over a page's."""
    if before.described_as_of is not None or after.described_as_of is not None:
        return (after.described_as_of or _BEGINNING, *_words(after)) < (
            before.described_as_of or _BEGINNING,
            *_words(before),
        )
    return before.price_as_of is not None and after.price_as_of is not None and after.price_as_of < before.price_as_of


def _words(product: Product) -> tuple[str, str, str]:
    return (product.name, product.category, product.url)


def _both_locations(
    before: Mapping[str, tuple[int, datetime]], after: Mapping[str, tuple[int, datetime]]
) -> dict[str, tuple[int, datetime]]:
    both = dict(before)
    for store, counted in after.items():
        if store not in both or _is_newer(both[store], counted):
            both[store] = counted
    return both


def _for_web(product: Product, stores: Sequence[str]) -> Product:
    """The product with what the web shop can ship worked out of the places it ships from, where they were told."""
    told = [product.locations[store] for store in stores if store in product.locations]
    if not told:
        return product
    # The promise rests on the places that have some: one that is empty and was not counted lately takes nothing away.
    if product.attributes.get("availability") == DISCONTINUED:
        told = [(0, as_of) for _, as_of in told]
    as_of = min((as_of for count, as_of in told if count > 0), default=max(as_of for _, as_of in told))
    return replace(product, available=sum(max(count, 0) for count, _ in told), stock_as_of=as_of)


@lru_cache(maxsize=8192)
def _levels(category: str) -> tuple[str, ...]:
    """The rankings a product of this category stands in: all products, and each level of its path."""
    parts = category.split(_PATH)
    return ("", *(_PATH.join(parts[: depth + 1]) for depth in range(len(parts)))) if category else ("",)


def _from_row(row: Mapping[str, Any], place: int, digits: int, as_of: datetime) -> Product:
    cells = {str(name).strip(): cell for name, cell in row.items() if cell is not None and cell != ""}
    sku = str(cells.pop("sku", "") or cells.get("product_id", "")).strip()
    if not sku:
        raise Rejected("no_sku", f"rows.{place}.sku", "expected a sku (or a product_id); name the column `sku`")
    told_at = cells.pop("as_of", None)
    told_at = read_instant(told_at, f"rows.{place}.as_of") if told_at is not None else as_of
    price = _cell_amount(cells.pop("price", None), f"rows.{place}.price", digits)
    available = _cell_count(cells.pop("available", cells.pop("quantity", None)), f"rows.{place}.available")
    return Product(
        sku=sku,
        product_id=str(cells.pop("product_id", "")),
        name=str(cells.pop("name", "")),
        category=str(cells.pop("category", "")),
        price=price,
        price_as_of=told_at if price is not None else None,
        cost=_cell_amount(cells.pop("cost", None), f"rows.{place}.cost", digits),
        available=available,
        stock_as_of=told_at if available is not None else None,
        url=str(cells.pop("url", "")),
        attributes={name: str(cell) for name, cell in cells.items()},
    )


def _cell_amount(cell: Any, field: str, digits: int) -> int | None:
    try:
        return None if cell is None else minor(cell, digits)
    except ValueError as error:
        raise Rejected("bad_amount", field, str(error)) from None


def _cell_count(cell: Any, field: str) -> int | None:
    try:
        return None if cell is None else int(str(cell).removesuffix(".0"))
    except ValueError:
        raise Rejected("wrong_type", field, f"expected a whole number, got {cell!r:.40}") from None


def _recounted(before: Product | None, after: Product) -> set[str]:
    known = {} if before is None else before.locations
    return {store for store, (count, _) in after.locations.items() if store not in known or known[store][0] != count}


# ------------------------------------------------------------------ the shelf


class Shelf:
    """The catalogue as far as we have been told, kept for looking up: a `Catalog`.

    Popularity counts units of the last orders told. Every ranking stays sorted as orders come, so asking is a slice.
    """

    def __init__(
        self, products: Iterable[Product] = (), *, currency: str = "", web_locations: Sequence[str] = ()
    ) -> None:
        self._currency = currency
        self._web_locations = web_locations
        self._products: dict[str, Product] = {}
        self._sold: dict[str, int] = {}
        self._orders: dict[tuple[str, str], tuple[tuple[str, int], ...]] = {}
        self._rankings: dict[str, list[tuple[int, str]]] = {"": []}
        self._unsorted: set[str] = set()
        for product in products:
            self.put(product)

    def __len__(self) -> int:
        return len(self._products)

    def product(self, sku: str) -> Product | None:
        return self._products.get(sku)

    def products(self) -> Iterable[Product]:
        """Every product on the shelf."""
        return self._products.values()

    def popular(self, category: str, count_max: int) -> Sequence[str]:
        return [sku for _, sku in self._ranking(category)[:count_max]]

    def related(self, skus: Sequence[str], count_max: int) -> Sequence[str]:
        categories = dict.fromkeys(self._products[sku].category for sku in skus if sku in self._products)
        levels = [_levels(category)[:0:-1] for category in categories if category]
        left_out = set(skus)
        found: list[str] = []
        # The nearest shelf first; a wider one only where that has too few.
        for height in range(max(map(len, levels), default=0)):
            best: list[tuple[int, str]] = []
            for category in dict.fromkeys(each[height] for each in levels if height < len(each)):
                best += self._ranking(category)[: count_max + len(left_out)]
            found += [sku for _, sku in sorted(set(best)) if sku not in left_out]
            left_out.update(found)
            if len(found) >= count_max:
                break
        return found[:count_max]

    def put(self, product: Product) -> Change:
        """Take in one telling; the answer holds the topics whose fact it changed."""
        before = self._products.get(product.sku)
        after = product if before is None else merged(before, product)
        if self._web_locations and after.locations:
            after = _for_web(after, self._web_locations)
        if after == before:
            return Change(after)
        self._products[product.sku] = after
        self._file(before, after)
        topics = []
        if after.available is not None and (before is None or after.available != before.available):
            topics.append(f"stock:{after.sku}")
        if after.price is not None and (before is None or after.price != before.price):
            topics.append(f"price:{after.sku}")
        if product.locations:
            topics += (f"stock:{after.sku}@{store}" for store in sorted(_recounted(before, after)))
        return Change(after, tuple(topics))

    def take(self, event: Event) -> tuple[Change, ...]:
        """Take in all that one event tells, sales included; only products that changed are answered."""
        changes = []
        is_verified = UNVERIFIED not in event.notes
        for product in told(event, self._currency):
            before = self._products.get(product.sku)
            if before is None or is_verified:
                change = self.put(product)
                changes += [change] if change.product != before else []
        self.count(event)
        return tuple(changes)

    def count(self, event: Event) -> None:
        """Count what an event says was sold, for `popular`; each order once."""
        if event.name in _SOLD and UNVERIFIED not in event.notes:
            self._sell(event)

    def _ranking(self, category: str) -> list[tuple[int, str]]:
        """(-units, sku), best first; equal units rank by sku, so that every process ranks alike."""
        ranking = self._rankings.get(category, [])
        if category in self._unsorted:
            ranking.sort()
            self._unsorted.discard(category)
        return ranking

    def _file(self, before: Product | None, after: Product) -> None:
        old = () if before is None else _levels(before.category)
        new = _levels(after.category)
        if old == new:
            return
        entry = (-self._sold.get(after.sku, 0), after.sku)
        for category in old:
            if category not in new:
                self._rankings[category].remove(entry)
        for category in (each for each in new if each not in old):
            # Sorted when next asked: a catalogue of 100,000 products is filed in one sort, not 100,000 insertions.
            self._rankings.setdefault(category, []).append(entry)
            self._unsorted.add(category)

    def _sell(self, event: Event) -> None:
        """Count an order once, whoever tells of it: web tag, server and webhook name the same order."""
        order_id = event.properties.get("order_id")
        order = ("order", str(order_id)) if order_id else (event.source, event.event_id)
        if order in self._orders:
            return
        lines = event.properties.get("products", ())
        self._orders[order] = sold = tuple((_sku(line), int(line.get("quantity", 1))) for line in lines)
        self._tally(sold, 1)
        if len(self._orders) > _SALES_KEPT:
            self._tally(self._orders.pop(next(iter(self._orders))), -1)

    def _tally(self, lines: tuple[tuple[str, int], ...], sign: int) -> None:
        for sku, units in lines:
            before = self._sold.get(sku, 0)
            self._sold[sku] = before + sign * units
            product = self._products.get(sku)
            if product is None or not units:
                continue
            for category in _levels(product.category):
                ranking = self._ranking(category)
                del ranking[bisect_left(ranking, (-before, sku))]
                insort(ranking, (-self._sold[sku], sku))
