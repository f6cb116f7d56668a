"""What WooCommerce says of its shelf: simple products, and the variations of variable ones.

A variation knows its price and stock and not its category, which its product has; whoever has both at hand (the poll)
passes them together. The product above variations is none that can be bought.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from wayline.errors import Rejected
from wayline.sources.facts import Amount, Id, Rules, amount, digest, fact, instant, shaped, version
from wayline.sources.topics import Items

__all__ = ["deleted_products", "products"]

_WORDS: Final = {"instock": "in_stock", "outofstock": "out_of_stock", "onbackorder": "backorder"}
_TAGS_CHARACTERS_MAX: Final = 1000  # of a product, all its tags together


class _Named(Struct):
    name: str | None = None


class _Image(Struct):
    src: str | None = None


class _Attribute(Struct):
    name: str | None = None
    option: str | None = None


class _Product(Struct):
    id: Id
    parent_id: Id = None
    name: str | None = None
    permalink: str | None = None
    type: str | None = None
    status: str | None = None
    sku: str | None = None
    price: Amount = None
    regular_price: Amount = None
    on_sale: bool | None = None
    manage_stock: bool | str | None = None
    stock_quantity: float | None = None
    stock_status: str | None = None
    backorders: str | None = None
    date_created_gmt: str | None = None
    date_modified_gmt: str | None = None
    categories: list[_Named] | None = None
    tags: list[_Named] | None = None
    images: list[_Image] | None = None
    image: _Image | None = None
    attributes: list[_Attribute] | None = None


def products(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A product or a variation as it is now, with its price and stock."""
    product = shaped(raw, _Product, "product")
    at = instant(product.date_modified_gmt or product.date_created_gmt, "product.date_modified_gmt", is_utc=True)
    if product.id is None or at is None:
        raise Rejected("wrong_type", "product", "expected a product with id and date_modified_gmt")
    if product.type in ("variable", "grouped"):
        return []  # what can be bought are the variations, or the products of the group, each by itself
    product_id = str(product.parent_id or product.id)
    sku = product.sku or f"variant-{product.id}"
    items.learn(product_id, sku)
    images = [image.src for image in product.images or () if image.src]
    tags = ", ".join(tag.name for tag in product.tags or () if tag.name)[:_TAGS_CHARACTERS_MAX]
    is_variant = product.type == "variation" or bool(product.parent_id)
    options = " / ".join(each.option for each in product.attributes or () if each.option) if is_variant else ""
    price = None if product.price in (None, "") else amount(product.price, "product.price")
    said = {
        "product_id": product_id,
        "sku": sku,
        "name": product.name,
        "category": " > ".join(each.name for each in (product.categories or ())[:1] if each.name),
        "variant": options,
        "price": price,
        "was": amount(product.regular_price) if product.on_sale and product.regular_price else None,
        "currency": rules.currency,
        "url": product.permalink,
        "image_url": product.image.src if product.image else next(iter(images), None),
        **_stock(product),
        "attributes": {"tags": tags} if tags else None,
        "as_of": at,
    }
    key = ("product", product.id, version(at), digest({name: str(value) for name, value in said.items()}))
    return [fact("Product Changed", key, at, said)]


def _stock(product: _Product) -> dict[str, Any]:
    """What can be bought now: a count where the shop counts, else its word."""
    if product.status not in (None, "publish"):
        return {"available": 0}
    count = product.stock_quantity
    if product.manage_stock and count is not None and (count > 0 or product.backorders in ("no", None)):
        return {"available": max(0, int(count))}
    word = _WORDS.get(product.stock_status or "")
    return {"availability": word} if word else {}


class _Deleted(Struct):
    id: Id


def deleted_products(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A product that is gone: none of its skus can be bought."""
    product_id = str(shaped(raw, _Deleted, "product").id)
    gone = {"product_id": product_id, "available": 0}
    return [
        fact("Inventory Changed", ("product", product_id, sku, "deleted"), None, gone | {"sku": sku})
        for sku in items.skus(product_id)
    ]
