"""A catalogue into the log: every product it lists as it says, and of a whole one also what it no longer lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Product, Signal
from wayline.errors import SenderError
from wayline.observation.catalog import DISCONTINUED, Shelf
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.embedded import shelf_of
from wayline.runtime.importing import BATCH_MAX, Import, Progress, Report, import_table
from wayline.sources.feeds import Feed, Format, opened_feed, read_taxonomy, vanished
from wayline.sources.mapping import TableMapping
from wayline.store.opening import Store

__all__ = ["SHELF_EVENTS", "Catalogued", "FeedSettings", "bring_catalog", "current_shelf", "in_words"]

SHELF_EVENTS: Final = ("Inventory Changed", "Price Changed", "Product Changed")
"""Events that say what the shelf is."""

_VANISHED_SHARE_MAX: Final = 0.5  # of the products known by catalogues: more gone at once is a feed that was cut off
_FEW: Final = 20  # products of which any share may go


class FeedSettings(Struct, frozen=True, kw_only=True):
    """How a catalogue is read."""

    format: Format = "auto"
    is_whole: bool = False
    """Whether it lists all there is, so that what it lacks cannot be bought."""
    may_clear_out: bool = False
    """Whether most of the shelf may go at once."""
    taxonomy_path: Path | None = None
    source: str = "catalog"
    fires: bool = True


class Catalogued(Struct, frozen=True):
    """What became of a catalogue."""

    report: Report
    vanished: int = 0
    """Products it no longer lists, and which count as gone now."""


def bring_catalog(
    path: Path,
    store: Store,
    shop: Mapping[str, Any],
    settings: FeedSettings,
    now: datetime,
    *,
    progress: Callable[[Progress], None] = lambda progress: None,
    refused_path: Path | None = None,
    signals: Mapping[str, Signal] | None = None,
) -> Catalogued:
    """Store what a catalogue says; raises SenderError where the file is none, or where too much would vanish.

    `shop` is what wayline.toml says, `signals` what is agreed of events by name.
    """
    currency = str(shop.get("shop", {}).get("currency", "EUR"))
    taxonomy = read_taxonomy(settings.taxonomy_path) if settings.taxonomy_path is not None else {}
    feed = opened_feed(path, source=settings.source, currency=currency, format=settings.format, taxonomy=taxonomy)
    told = replace(_import(feed, now, settings, refused_path), signals=signals or {})
    report = import_table(told, store.log, store.vault, progress)
    gone = _gone(feed, store, shop, settings) if settings.is_whole else {}
    messages = [vanished(sku, max(feed.as_of, product.described_as_of or feed.as_of)) for sku, product in gone.items()]
    # What a whole feed no longer lists is our conclusion and carries what we know. Refused, it would be sold on.
    noted = {name: replace(signal, refuses=False) for name, signal in (signals or {}).items()}
    collector = Collector(store.log, store.vault, currency=currency, signals=noted)
    for start in range(0, len(messages), BATCH_MAX):
        collector.collect(Delivered(messages[start : start + BATCH_MAX], settings.source, now, fires=settings.fires))
    return Catalogued(report, len(gone))


def _import(feed: Feed, now: datetime, settings: FeedSettings, refused_path: Path | None) -> Import:
    mapping = TableMapping(name=feed.format, source=settings.source, currency=feed.currency)
    return Import(
        path=feed.path, mapping=mapping, feed=feed, received_at=now, refused_path=refused_path, fires=settings.fires
    )


def _gone(feed: Feed, store: Store, shop: Mapping[str, Any], settings: FeedSettings) -> Mapping[str, Product]:
    """The products that catalogues made known, that were not told since, and that this one does not list."""
    known = [
        product
        for product in current_shelf(store, shop).products()
        if product.described_as_of is not None and product.attributes.get("availability") != DISCONTINUED
    ]
    gone = {
        product.sku: product
        for product in known
        if product.sku not in feed.seen and product.described_as_of and product.described_as_of <= feed.as_of
    }
    if len(gone) > max(_FEW, _VANISHED_SHARE_MAX * len(known)) and not settings.may_clear_out:
        raise SenderError(
            f"{feed.path.name} lists {len(feed.seen):,} products, and {len(gone):,} of the {len(known):,} known would "
            f"be gone; none of them was marked, and what it lists is stored. If that is right, import it again by hand "
            f"with --full --clear-out."
        )
    return gone


def current_shelf(store: Store, shop: Mapping[str, Any]) -> Shelf:
    """The shelf as of the last word in the log, whether the engine has read that yet or not."""
    shelf = shelf_of(store.state, shop)
    for event in store.log.named(SHELF_EVENTS, after=store.state.position()):
        shelf.take(event)
    return shelf


def in_words(catalogued: Catalogued) -> list[str]:
    """What became of a catalogue beyond its rows, as a person reads it."""
    if not catalogued.vanished:
        return []
    return [f"{catalogued.vanished:>14,}  products it no longer lists count as gone"]
