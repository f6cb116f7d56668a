"""What Shopify says of its shelf: products with their variants, and what is in stock where.

A product comes whole; each of its variants is a product of ours, under its sku. Stock by place names an inventory item
and no sku, so `topics.Items` remembers which item is which sku.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from wayline.errors import Rejected
from wayline.sources.facts import Amount, Id, Rules, amount, digest, fact, instant, shaped, stated, version
from wayline.sources.topics import ITEM, Items

__all__ = ["deleted_products", "inventory_items", "inventory_levels", "products"]

_VARIANTS_MAX: Final = 2048  # of one product, as the platform has it
_TAGS_CHARACTERS_MAX: Final = 1000  # of a product, all its tags together


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
            **_stock(product, variant),
            "inventory_item_id": variant.inventory_item_id,
            "attributes": stated({"tags": tags[:_TAGS_CHARACTERS_MAX], ITEM: str(variant.inventory_item_id or "")}),
            "as_of": at,
        }
        key = ("product", product.id, variant.id, version(at), digest({k: str(v) for k, v in said.items()}))
        told.append(fact("Product Changed", key, at, said))
    return told


def _stock(product: _Product, variant: _Variant) -> dict[str, Any]:
    """What can be bought now: a count where the shop counts, else a word."""
    if product.status not in (None, "active"):
        return {"available": 0}  # a draft, or archived: not sold at all
    if variant.inventory_management is None:
        return {"availability": "in_stock"}
    count = variant.inventory_quantity
    if variant.inventory_policy == "continue" and (count or 0) <= 0:
        return {"availability": "backorder"}
    return {} if count is None else {"available": max(0, count)}


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
