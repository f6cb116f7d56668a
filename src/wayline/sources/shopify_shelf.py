"""What Shopify says of its shelf: products with their variants, and what is in stock where.

A product comes whole; each of its variants is a product of ours, under its sku. Stock by place names an inventory item
and no sku, so `Items` remembers which item is which sku: from products as they come, and from the log after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct

from wayline.domain import Event
from wayline.errors import Rejected
from wayline.sources.facts import Amount, Id, Rules, amount, digest, fact, instant, shaped, version

__all__ = ["Items", "deleted_products", "inventory_items", "inventory_levels", "products"]

_VARIANTS_MAX: Final = 2048  # of one product, as the platform has it
_TAGS_CHARACTERS_MAX: Final = 1000  # of a product, all its tags together


class Items:
    """Which inventory item is which sku, and which skus a product has."""

    def __init__(self, recall: Callable[[tuple[str, ...]], Iterable[Event]] | None = None) -> None:
        self._recall = recall
        self._sku: dict[str, tuple[str, str]] = {}
        self._skus: dict[str, set[str]] = {}

    def learn(self, product_id: str, sku: str, item: str) -> None:
        """Note one variant."""
        if item:
            self._sku[item] = (product_id, sku)
        self._skus.setdefault(product_id, set()).add(sku)

    def sku(self, item: str) -> tuple[str, str] | None:
        """(product, sku) of an item; None if no product told us."""
        if item not in self._sku:
            self._remember()
        return self._sku.get(item)

    def skus(self, product_id: str) -> list[str]:
        """Every sku known of a product."""
        self._remember()
        return sorted(self._skus.get(product_id, ()))

    def _remember(self) -> None:
        """Once, and only when first asked for what is not at hand: the log knows what earlier runs were told."""
        recall, self._recall = self._recall, None
        for event in recall(("Product Changed",)) if recall is not None else ():
            said = event.properties
            if said.get("product_id") and said.get("sku"):
                self.learn(str(said["product_id"]), str(said["sku"]), str(said.get("inventory_item_id") or ""))


class _Image(Struct):
    id: Id = None
    src: str | None = None


class _Variant(Struct):
    id: Id = None
    title: str | None = None
    sku: str | None = None
    price: Amount = None
    compare_at_price: Amount = None
    inventory_item_id: Id = None
    inventory_management: str | None = None
    inventory_policy: str | None = None
    inventory_quantity: int | None = None
    image_id: Id = None


class _Product(Struct):
    id: Id = None
    title: str | None = None
    handle: str | None = None
    vendor: str | None = None
    product_type: str | None = None
    status: str | None = None
    tags: str | list[str] | None = None
    created_at: str | None = None
    updated_at: str | None = None
    image: _Image | None = None
    images: list[_Image] | None = None
    variants: list[_Variant] | None = None


def products(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A product as it is now: each variant with its price and stock."""
    product = shaped(raw, _Product, "product")
    at = instant(product.updated_at or product.created_at, "product.updated_at")
    if product.id is None or at is None:
        raise Rejected("wrong_type", "product", "expected a product with id and updated_at")
    tags = product.tags if isinstance(product.tags, str) else ", ".join(product.tags or ())
    images = {image.id: image.src for image in product.images or ()}
    first = product.image.src if product.image else next(iter(images.values()), None)
    told = []
    for variant in (product.variants or ())[:_VARIANTS_MAX]:
        sku = variant.sku or f"variant-{variant.id}"
        items.learn(str(product.id), sku, str(variant.inventory_item_id or ""))
        said = {
            "product_id": product.id,
            "sku": sku,
            "name": product.title,
            "category": product.product_type,
            "brand": product.vendor,
            "variant": None if variant.title == "Default Title" else variant.title,
            "price": None if variant.price is None else amount(variant.price, "product.variants.price"),
            "was": amount(variant.compare_at_price) or None,
            "currency": rules.currency,
            "url": f"{rules.shop_url}/products/{product.handle}" if rules.shop_url and product.handle else None,
            "image_url": images.get(variant.image_id) or first,
            "available": _available(product, variant),
            "inventory_item_id": variant.inventory_item_id,
            "attributes": {"tags": tags[:_TAGS_CHARACTERS_MAX]} if tags else None,
            "as_of": at,
        }
        key = ("product", product.id, variant.id, version(at), digest({k: str(v) for k, v in said.items()}))
        told.append(fact("Product Changed", key, at, said))
    return told


def _available(product: _Product, variant: _Variant) -> int | None:
    """What can be bought now. None where the shop does not count it, or sells it with nothing there."""
    if product.status not in (None, "active"):
        return 0  # a draft, or archived: not sold at all
    if variant.inventory_management is None or variant.inventory_policy == "continue":
        return None
    return None if variant.inventory_quantity is None else max(0, variant.inventory_quantity)


class _Deleted(Struct):
    id: Id


def deleted_products(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A product that is gone: none of its skus can be bought."""
    product_id = str(shaped(raw, _Deleted, "product").id)
    return [
        fact("Inventory Changed", ("product", product_id, sku, "deleted"), None, {
            "product_id": product_id, "sku": sku, "available": 0
        })
        for sku in items.skus(product_id)
    ]  # fmt: skip


class _Level(Struct):
    inventory_item_id: Id
    location_id: Id
    available: int | None = None
    updated_at: str | None = None


def inventory_levels(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """What is in stock at one place."""
    level = shaped(raw, _Level, "inventory_level")
    known = items.sku(str(level.inventory_item_id))
    at = instant(level.updated_at, "inventory_level.updated_at")
    if level.available is None:
        return []  # the place does not keep it
    if known is None:
        raise Rejected(
            "unknown_item",
            "inventory_level.inventory_item_id",
            f"no product has told us of inventory item {level.inventory_item_id}; have products sent too, or "
            f"bring them in: wayline sources backfill",
        )
    said = {
        "product_id": known[0],
        "sku": known[1],
        "store_id": level.location_id,
        "inventory_item_id": level.inventory_item_id,
        "available": max(0, level.available),
        "as_of": at,
    }
    key = ("inventory", level.inventory_item_id, level.location_id, version(at), level.available)
    return [fact("Inventory Changed", key, at, said)]


class _Item(Struct):
    id: Id
    sku: str | None = None


def inventory_items(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """An inventory item: it tells its sku, and nothing that happened."""
    item = shaped(raw, _Item, "inventory_item")
    if item.sku:
        known = items.sku(str(item.id))
        items.learn(known[0] if known else "", item.sku, str(item.id))
    return []
