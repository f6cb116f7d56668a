"""Which topic of a shop says what, and the little that must be remembered to read it.

The topic stands in a header, and no header is signed: anybody who has one signed body could send it under another
topic. So a topic only says which kind of thing is expected; a body that is not of that kind is refused, and what
happened is read off the body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from wayline.domain import Product
from wayline.errors import Rejected, did_you_mean, kind_of
from wayline.sources.facts import Rules

__all__ = ["ITEM", "Items", "Topic", "read_topic"]

ITEM = "inventory_item_id"
"""The attribute of a product on the shelf that says which inventory item it is."""


class Items:
    """Which inventory item is which sku, and which skus a product has.

    Learnt from products as they come, and once, when first asked for what is not at hand, from the shelf as it is kept.
    """

    def __init__(self, recall: Callable[[], Iterable[Product]] | None = None) -> None:
        self._recall = recall
        self._sku: dict[str, tuple[str, str]] = {}
        self._skus: dict[str, set[str]] = {}

    def learn(self, product_id: str, sku: str, item: str = "") -> None:
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
        recall, self._recall = self._recall, None
        for product in recall() if recall is not None else ():
            if product.product_id:
                self.learn(product.product_id, product.sku, product.attributes.get(ITEM, ""))


class Topic(Struct, frozen=True):
    """What a topic's body is, and what is made of it."""

    read: Callable[[Any, Rules, Items], list[dict[str, Any]]]
    marks: tuple[str, ...]
    """Members that every such body has: what tells it from a body of another kind under a forged topic."""
    tells: str
    """The events it becomes, for the documents."""
    lacks: tuple[str, ...] = ()
    """Members that no such body has, where the marks alone would let another kind through."""


def read_topic(topic: str, body: Any, known: Mapping[str, Topic], rules: Rules, items: Items) -> list[dict[str, Any]]:
    """What a body of this topic says. Raises Rejected where nobody reads the topic, or it is no body of it."""
    if topic not in known:
        raise Rejected("unknown_topic", "topic", f"nothing reads {topic!r:.60}. {did_you_mean(topic, known)}")
    if not isinstance(body, dict):
        raise Rejected("wrong_type", "", f"expected an object, got {kind_of(body)}")
    expected = known[topic]
    for mark in (*expected.marks, *expected.lacks):
        if (mark in body) is not (mark in expected.marks):
            reason = f"expected {mark!r} only in bodies of another topic" if mark in body else f"expected {mark!r}"
            raise Rejected("wrong_topic", mark, f"{reason}; this is no body of {topic}")
    return expected.read(body, rules, items)
