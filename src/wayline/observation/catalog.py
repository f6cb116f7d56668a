"""The shelf: every product we were told of, with the newest price and stock, and what sells together with what.

Stock and price each carry the instant they were true at (`as_of`), and an older one never overwrites a newer, in
whatever order they arrive. What a page shows counts as of when it showed it; what a public key says may make a product
known, and never changes one: else anybody could start a price drop.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Event, Product
from wayline.errors import Rejected
from wayline.observation.events import UNVERIFIED
from wayline.observation.money import EXPONENTS, minor
from wayline.observation.properties import read_instant

__all__ = ["SALES", "Change", "Shelf", "from_rows", "merged", "told"]

SALES: Final = ("Order Completed", "Store Purchase")
"""Events that tell of a sale, which is what popularity counts."""

_SOLD: Final = frozenset(SALES)
_SHOWN: Final = frozenset({"Cart Viewed", "Product Added", "Product Clicked", "Product List Viewed", "Product Viewed"})
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_SALES_KEPT: Final = 100_000  # orders remembered for `popular`; the oldest leave first


class Change(Struct, frozen=True):
    """A product as it is now, and the topics that wake whoever waits on them (`stock:SKU`, `price:SKU`)."""

    product: Product
    topics: tuple[str, ...] = ()


def told(event: Event, currency: str = "") -> tuple[Product, ...]:
    """What an event says of the shelf: only fields it names are filled in; no price in another currency than asked."""
    properties = event.properties
    is_priced = not currency or properties.get("currency", currency) == currency
    if event.name in ("Inventory Changed", "Price Changed"):
        if UNVERIFIED in event.notes:
            return ()
        return _told_stock(event) if event.name == "Inventory Changed" else _told_price(event) if is_priced else ()
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
    is_late = (
        before.price_as_of is not None and after.price_as_of is not None and after.price_as_of < before.price_as_of
    )
    first, second = (before, after) if is_late else (after, before)
    price, price_as_of = _newer(before.price, before.price_as_of, after.price, after.price_as_of)
    available, stock_as_of = _newer(before.available, before.stock_as_of, after.available, after.stock_as_of)
    return replace(
        before,
        product_id=first.product_id or second.product_id,
        name=first.name or second.name,
        category=first.category or second.category,
        price=price,
        price_as_of=price_as_of,
        cost=second.cost if first.cost is None else first.cost,
        available=available,
        stock_as_of=stock_as_of,
        url=first.url or second.url,
        attributes={**second.attributes, **first.attributes} if after.attributes else before.attributes,
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


def _told_stock(event: Event) -> tuple[Product, ...]:
    properties = event.properties
    sku = _sku(properties)
    available = properties.get("available", properties.get("quantity"))
    # A single store's count is not the shop's: a claim for the web must not rest on it.
    if not sku or available is None or properties.get("store_id"):
        return ()
    product_id = properties.get("product_id", "")
    return (Product(sku=sku, product_id=product_id, available=int(available), stock_as_of=_as_of(event)),)


def _told_price(event: Event) -> tuple[Product, ...]:
    properties = event.properties
    sku = _sku(properties)
    price = properties.get("price")
    if not sku or price is None:
        return ()
    return (Product(sku=sku, product_id=properties.get("product_id", ""), price=price, price_as_of=_as_of(event)),)


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
        url=line.get("url", ""),
        attributes={name: line[name] for name in ("brand", "variant", "image_url") if line.get(name)},
    )


def _newer(
    old: int | None, old_as_of: datetime | None, new: int | None, new_as_of: datetime | None
) -> tuple[int | None, datetime | None]:
    if new is None or old is None:
        return (old, old_as_of) if new is None else (new, new_as_of)
    # Two of one instant: the smaller, whichever came first. Better one sale fewer than one too many.
    is_newer = (new_as_of or _BEGINNING, -new) > (old_as_of or _BEGINNING, -old)
    return (new, new_as_of) if is_newer else (old, old_as_of)


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


# ------------------------------------------------------------------ the shelf


class Shelf:
    """The catalogue as far as we have been told, kept for looking up: a `Catalog`.

    Popularity counts units of the last orders told. Every ranking stays sorted as orders come, so asking is a slice.
    """

    def __init__(self, products: Iterable[Product] = (), *, currency: str = "") -> None:
        self._currency = currency
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
        known = [self._products[sku] for sku in skus if sku in self._products]
        left_out = set(skus)
        best: list[tuple[int, str]] = []
        for category in dict.fromkeys(product.category for product in known if product.category):
            best += self._ranking(category)[: count_max + len(left_out)]
        return [sku for _, sku in sorted(best) if sku not in left_out][:count_max]

    def put(self, product: Product) -> Change:
        """Take in one telling; the answer holds the topics whose fact it changed."""
        before = self._products.get(product.sku)
        after = product if before is None else merged(before, product)
        if after == before:
            return Change(after)
        self._products[product.sku] = after
        self._file(before, after)
        topics = []
        if after.available is not None and (before is None or after.available != before.available):
            topics.append(f"stock:{after.sku}")
        if after.price is not None and (before is None or after.price != before.price):
            topics.append(f"price:{after.sku}")
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
        entry = (-self._sold.get(after.sku, 0), after.sku)
        leaves = before.category if before is not None else None
        if leaves and leaves != after.category:
            self._rankings[leaves].remove(entry)
        joins = [""] if before is None else []
        joins += [after.category] if after.category and after.category != leaves else []
        for category in joins:
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
            for category in ("", product.category) if product.category else ("",):
                ranking = self._ranking(category)
                del ranking[bisect_left(ranking, (-before, sku))]
                insort(ranking, (-self._sold[sku], sku))
