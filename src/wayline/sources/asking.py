"""The shops' own APIs, as pages of what changed: what the catch-up poll and the backfill read.

A walk goes from the oldest change to the newest, so that it can be stopped anywhere and gone on with from the last
change that was stored. Each body of a page is read by what reads the webhook of its topic, so both tell the same facts.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
from msgspec import Struct

from wayline.errors import OperatorError, kind_of
from wayline.sources.calling import Answer, Caller, Unanswered

__all__ = ["Api", "Page", "Pause", "ShopifyApi", "Silent", "Window", "WooCommerceApi"]

_TRIES_MAX: Final = 6  # of one call that is put off or fails
_WAIT_SECONDS_MAX: Final = 60.0  # between two of them, whatever the shop asks for
_CALMED_AT: Final = 0.8  # share of a shop's call limit above which we slow down
_SHOPIFY_PAGE: Final = 250  # resources a page, the most there is
_WOO_PAGE: Final = 100  # resources a page, the most there is

Pause = Callable[[float], None]


class Window(Struct, frozen=True):
    """From when to when things changed."""

    since: datetime
    until: datetime


class Page(Struct, frozen=True):
    """Some things that changed, the oldest change first."""

    topic: str
    """What reads them."""
    bodies: Sequence[Any]
    newest: datetime | None = None
    """The change up to which all is here; None where the shop cannot list by change."""


class Silent(Struct, frozen=True):
    """A webhook of ours that the shop has switched off: it told nothing since."""

    webhook_id: str
    topic: str
    revived: bool


class Api(Protocol):
    """A shop that can be asked what changed."""

    resources: tuple[str, ...]
    """What can be asked for, in the order in which it is best read."""

    def pages(self, resource: str, window: Window) -> Iterator[Page]:
        """What changed in the window. Raises OperatorError where the shop does not answer."""
        ...

    def revive(self, address: str) -> list[Silent]:
        """Webhooks that lead to us and were switched off, switched on again where that can be."""
        ...

    def close(self) -> None:
        """Give the connections up."""
        ...


class _Asking:
    """Calls that wait as the shop asks them to, and try again."""

    def __init__(self, caller: Caller, pause: Pause) -> None:
        self.caller = caller
        self.pause = pause

    def json(self, path: str, query: Mapping[str, object]) -> tuple[Any, Mapping[str, str]]:
        said = urlencode({name: str(value) for name, value in query.items()})
        answer = self.call("GET", f"{path}?{said}" if said else path)
        try:
            return msgspec.json.decode(answer.body), answer.headers
        except msgspec.DecodeError as error:
            start = answer.body[:60].decode("utf-8", "replace")
            raise Unanswered(f"{path} answered no JSON but {start!r}; compare api_url") from error

    def call(self, method: str, path: str, body: bytes = b"") -> Answer:
        wait = 1.0
        for attempt in range(1, _TRIES_MAX + 1):
            try:
                answer = self.caller.ask(method, path, body)
            except Unanswered:
                if attempt == _TRIES_MAX:
                    raise
            else:
                if answer.status < 400:
                    self._calm(answer)
                    return answer
                if answer.status != 429 and answer.status < 500:
                    raise OperatorError(
                        f"{path.partition('?')[0]} answered {answer.status}: {_MEANS.get(answer.status, _ELSE)}"
                    )
                wait = max(wait, _seconds(answer.headers.get("retry-after", "")))
            self.pause(min(wait, _WAIT_SECONDS_MAX))
            wait *= 2
        raise Unanswered(f"{path.partition('?')[0]} would not answer, {_TRIES_MAX} times in a row")

    def _calm(self, answer: Answer) -> None:
        """Slow down before the shop has to say so."""
        used, _, most = answer.headers.get("x-shopify-shop-api-call-limit", "").partition("/")
        if used.isdecimal() and most.isdecimal() and int(used) > _CALMED_AT * int(most):
            self.pause(1.0)


_MEANS: Final = {
    401: "it does not know our key; compare the variable that holds it",
    403: "our key may not read this; give it that scope",
    404: "there is no such API here; compare api_url",
}
_ELSE: Final = "it refuses the call"


def _seconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0


def _listed(told: Any, name: str) -> list[Any]:
    found = told.get(name) if isinstance(told, dict) and name else told
    if not isinstance(found, list):
        raise Unanswered(f"expected a list of {name or 'resources'}, got {kind_of(found)}; compare api_url")
    return found


def _must_move(before: Any, after: Any) -> None:
    """A cache, or an API of another kind, answers one page for ever: that is told, and not walked for ever."""
    if before == after:
        raise Unanswered("the same page is answered again and again; see whether a cache stands before the shop's API")


def _newest(bodies: Sequence[Any], field: str) -> datetime | None:
    found = [each.get(field) for each in bodies if isinstance(each, dict)]
    instants = [datetime.fromisoformat(each) for each in found if isinstance(each, str) and each]
    return max((each if each.tzinfo else each.replace(tzinfo=UTC) for each in instants), default=None)


# ------------------------------------------------------------------ Shopify

_NEXT: Final = re.compile(r'<([^<>]+)>\s*;\s*rel="?next"?')


class ShopifyApi:
    """The Admin REST API of a shop on Shopify; `base_url` such as https://NAME.myshopify.com/admin/api/2025-01."""

    resources: tuple[str, ...] = ("products", "inventory", "customers", "orders")

    def __init__(self, base_url: str, token: str, *, allow_private: bool = False, pause: Pause = time.sleep) -> None:
        self._asking = _Asking(Caller(base_url, {"X-Shopify-Access-Token": token}, allow_private=allow_private), pause)

    def pages(self, resource: str, window: Window) -> Iterator[Page]:
        if resource == "inventory":
            yield from self._inventory(window)
            return
        query = self._query(window) | ({"status": "any"} if resource == "orders" else {})
        topic = {"orders": "orders/updated", "customers": "customers/update", "products": "products/update"}[resource]
        for bodies in self._walk(f"/{resource}.json", resource, query):
            yield Page(topic, bodies, _newest(bodies, "updated_at"))

    def revive(self, address: str) -> list[Silent]:
        """None: the platform deletes a subscription rather than switch it off."""
        return []

    def close(self) -> None:
        self._asking.caller.close()

    def _query(self, window: Window) -> dict[str, object]:
        return {
            "limit": _SHOPIFY_PAGE,
            "updated_at_min": window.since.isoformat(),
            "updated_at_max": window.until.isoformat(),
            "order": "updated_at asc",
        }

    def _inventory(self, window: Window) -> Iterator[Page]:
        places, _ = self._asking.json("/locations.json", {})
        ids = [str(each["id"]) for each in _listed(places, "locations") if isinstance(each, dict) and each.get("id")]
        for start in range(0, len(ids), 50):
            query = {
                "limit": _SHOPIFY_PAGE,
                "location_ids": ",".join(ids[start : start + 50]),
                "updated_at_min": window.since.isoformat(),
            }
            for bodies in self._walk("/inventory_levels.json", "inventory_levels", query):
                yield Page("inventory_levels/update", bodies)

    def _walk(self, path: str, name: str, query: Mapping[str, object]) -> Iterator[list[Any]]:
        """Page after page by the cursor the shop gives; of its link only the cursor is taken, never the address."""
        while True:
            told, headers = self._asking.json(path, query)
            bodies = _listed(told, name)
            if bodies:
                yield bodies
            link = _NEXT.search(headers.get("link", ""))
            cursor = parse_qs(urlsplit(link[1]).query).get("page_info") if link else None
            if not cursor:
                return
            _must_move(query.get("page_info"), cursor[0])
            query = {"limit": _SHOPIFY_PAGE, "page_info": cursor[0]}


# ------------------------------------------------------------------ WooCommerce


class WooCommerceApi:
    """The REST API v3 of a shop on WooCommerce; `base_url` such as https://shop.example/wp-json/wc/v3."""

    resources: tuple[str, ...] = ("products", "customers", "orders")

    def __init__(
        self,
        base_url: str,
        key: str,
        secret: str,
        *,
        allow_private: bool = False,
        pause: Pause = time.sleep,
    ) -> None:
        basic = b64encode(f"{key}:{secret}".encode()).decode()
        self._asking = _Asking(
            Caller(base_url, {"Authorization": f"Basic {basic}"}, allow_private=allow_private), pause
        )

    def pages(self, resource: str, window: Window) -> Iterator[Page]:
        if resource == "customers":
            yield from self._customers(window)
            return
        for bodies in self._walk(f"/{resource}", window):
            newest = _newest(bodies, "date_modified_gmt")
            if resource == "orders":
                yield Page("order.updated", [self._with_refunds(each) for each in bodies], newest)
            else:
                variants = [child for each in bodies for child in self._variants(each)]
                yield Page("product.updated", [*bodies, *variants], newest)

    def revive(self, address: str) -> list[Silent]:
        """Webhooks to our address that were disabled, after five calls that failed, are made active again."""
        found = []
        told, _ = self._asking.json("/webhooks", {"per_page": _WOO_PAGE, "status": "disabled"})
        for each in _listed(told, ""):
            if not str(each.get("delivery_url", "")).rstrip("/").endswith(address):
                continue
            try:
                self._asking.call("PUT", f"/webhooks/{int(each['id'])}", b'{"status":"active"}')
                revived = True
            except OperatorError:  # a key that may only read, or no answer: what it read is no less worth for that
                revived = False
            found.append(Silent(str(each["id"]), str(each.get("topic", "")), revived))
        return found

    def close(self) -> None:
        self._asking.caller.close()

    def _walk(self, path: str, window: Window) -> Iterator[list[Any]]:
        """From change to change. A page is never counted off: what changes meanwhile would shift what follows it."""
        after, page, seen = window.since - timedelta(seconds=1), 1, set[Any]()
        before: list[Any] = []
        while True:
            told, headers = self._asking.json(
                path,
                {
                    "per_page": _WOO_PAGE,
                    "page": page,
                    "orderby": "modified",
                    "order": "asc",
                    "modified_after": after.strftime("%Y-%m-%dT%H:%M:%S"),
                    "modified_before": window.until.strftime("%Y-%m-%dT%H:%M:%S"),
                    "dates_are_gmt": "true",
                },
            )
            bodies = [each for each in _listed(told, "") if isinstance(each, dict)]
            fresh = [each for each in bodies if (each.get("id"), each.get("date_modified_gmt")) not in seen]
            if fresh:
                yield fresh
            if self._is_last(bodies, page, headers):
                return
            _must_move(before, bodies)
            before = bodies
            newest = _newest(bodies, "date_modified_gmt")
            # A page full of one same second (an import does that) is walked by number.
            moves = newest is not None and newest - timedelta(seconds=1) > after
            after, page = (newest - timedelta(seconds=1), 1) if newest is not None and moves else (after, page + 1)
            seen = {(each.get("id"), each.get("date_modified_gmt")) for each in bodies} | (set() if moves else seen)

    def _customers(self, window: Window) -> Iterator[Page]:
        """Those who registered in the window: the platform lists nobody by when they changed."""
        page, before = 1, list[Any]()
        while True:
            told, headers = self._asking.json(
                "/customers",
                {"per_page": _WOO_PAGE, "page": page, "orderby": "registered_date", "order": "desc", "role": "all"},
            )
            bodies = [each for each in _listed(told, "") if isinstance(each, dict)]
            begun = [(each, _newest([each], "date_created_gmt")) for each in bodies]
            wanted = [each for each, at in begun if at is None or window.since <= at <= window.until]
            if wanted:
                yield Page("customer.updated", wanted)
            is_older = any(at is not None and at < window.since for _, at in begun)
            if is_older or self._is_last(bodies, page, headers):
                return
            _must_move(before, bodies)
            page, before = page + 1, bodies

    def _is_last(self, bodies: Sequence[Any], page: int, headers: Mapping[str, str]) -> bool:
        """By what the shop says; it may give fewer on a page than were asked for."""
        total = headers.get("x-wp-totalpages", "")
        return not bodies or (page >= int(total) if total.isdecimal() else len(bodies) < _WOO_PAGE)

    def _with_refunds(self, order: Any) -> Any:
        """An order with the dates of its refunds, which it does not carry itself."""
        if not (isinstance(order, dict) and order.get("refunds") and isinstance(order.get("id"), int)):
            return order
        told, _ = self._asking.json(f"/orders/{order['id']}/refunds", {"per_page": _WOO_PAGE})
        dates = {each.get("id"): each.get("date_created_gmt") for each in _listed(told, "") if isinstance(each, dict)}
        refunds = [each | {"date_created_gmt": dates.get(each.get("id"))} for each in order["refunds"]]
        return order | {"refunds": refunds}

    def _variants(self, product: Mapping[str, Any]) -> Iterator[Any]:
        """The variations of a product, each with what only its product says."""
        if product.get("type") != "variable" or not isinstance(product.get("id"), int):
            return
        page, before = 1, list[Any]()
        while True:
            told, headers = self._asking.json(
                f"/products/{product['id']}/variations", {"per_page": _WOO_PAGE, "page": page}
            )
            bodies = _listed(told, "")
            for each in bodies:
                above = {name: product.get(name) for name in ("name", "categories", "tags", "images")}
                yield above | each | {"type": "variation", "parent_id": product["id"], "name": product.get("name")}
            if self._is_last(bodies, page, headers):
                return
            _must_move(before, bodies)
            page, before = page + 1, bodies
