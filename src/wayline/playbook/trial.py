"""A trial: each text is written once for a made-up customer while the playbook compiles.

A misspelt field inside a loop is invisible until somebody renders the loop; here that is its author, not a customer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from wayline.domain import Content, Facet, Refusal
from wayline.observation.vocabulary import SHAPES
from wayline.orchestration.content import render

__all__ = ["LINKS", "PRODUCT", "try_out"]

LINKS: Mapping[str, str] = {"unsubscribe": "https://example.invalid/unsubscribe/1"}
PRODUCT: Mapping[str, Any] = {
    "sku": "JKT-1",
    "name": "Winter jacket",
    "price": 12_900,
    "url": "https://example.invalid/jacket",
    "category": "jackets",
}
_CUSTOMER: Mapping[str, str] = {"first_name": "Ada", "last_name": "Lovelace"}
_INSTANT = datetime(2026, 12, 1, 9, tzinfo=UTC)
_SAMPLES: Mapping[str, Any] = {
    "money": 12_900,
    "number": 1,
    "yes_no": True,
    "instant": "2026-12-01T09:00:00Z",
    "date": "2026-12-01",
    "link": "https://example.invalid/track",
    "url": "https://example.invalid/page",
    "products": [{**PRODUCT, "quantity": 1, "product_id": "JKT", "brand": "Larkfell", "variant": "M"}],
    "currency": "EUR",
}
_FAILS = "a text that fails is not sent"
_ABORTS = "the text says it should not be sent"


def try_out(
    content: Content, facets: Mapping[str, Facet], shop: Mapping[str, object]
) -> Iterable[tuple[str, str, bool]]:
    """(language, what is wrong, whether that is certain) for each language whose text cannot be written.

    A gap or an exceeded limit is certain; a filter that fails may be due to a value of another kind than made up here.
    """
    values = {
        "customer": _CUSTOMER,
        "products": [dict(PRODUCT)] * 2,
        "links": LINKS,
        "shop": shop,
        "trigger": {name[8:].partition(".")[0]: _sample(name) for name in content.reads if name.startswith("trigger.")},
        **{name: _remembered(facets[name]) for name in content.reads if name in facets},
    }
    for language in content.languages:
        said = render(content, language, values)
        if isinstance(said, Refusal) and said.reason != _ABORTS:
            yield language, said.fact, said.reason != _FAILS


def _sample(name: str) -> Any:
    return _SAMPLES.get(SHAPES.get(name[8:].partition(".")[0], ""), "A-1")


def _remembered(facet: Facet) -> Any:
    if facet.kind in ("recent", "latest_per_key", "ledger"):
        columns = [path.rsplit(".", 1)[-1].removesuffix("[]") for path in facet.fields]
        return [{column: _SAMPLES.get(SHAPES.get(column, ""), "A-1") for column in columns} | {"at": _INSTANT}]
    if facet.read in ("at", "first_at") or (facet.kind in ("last", "first") and not facet.value):
        return _INSTANT
    return "A-1" if facet.kind in ("last", "first") or facet.read in ("top", "newest") else 1
