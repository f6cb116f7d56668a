"""A shop platform to test against: its own orders, customers and products, an API with pages and limits, and webhooks.

It speaks as much of Shopify's Admin REST API and of WooCommerce's REST API v3 as is documented and asked for here. What
it would call a webhook for stands in `calls`, in order; who delivers them, drops them or shuffles them is the test.
"""

from __future__ import annotations

import socket
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN = "shpat_test"
KEY, SECRET = "ck_test", "cs_test"


def _read(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read


class Platform:
    """What both platforms have: things that change, calls about them, and a limit on how often it may be asked."""

    version = ""
    """The member of a resource that says when it last changed."""

    def __init__(self, *, page: int = 5, limit_every: int = 4) -> None:
        self.now = datetime(2025, 11, 3, 6, 0, tzinfo=UTC)
        self.kept: dict[str, dict[int, dict[str, Any]]] = {"orders": {}, "customers": {}, "products": {}}
        self.calls: list[tuple[datetime, str, bytes]] = []
        """When, which topic, and the body."""
        self.page = page
        self.limit_every = limit_every
        self.asked = 0
        self.limited = 0
        self.down = False
        self.is_read_only = False
        self.is_stuck = False
        """A cache stands before it, which knows one page."""

    def put(self, resource: str, topic: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change a thing, or make it; its webhook is called."""
        known = self.kept[resource].get(body["id"], {})
        changed = {**known, **body, self.version: self.written(self.now)}
        self.kept[resource][body["id"]] = changed
        self.calls.append((self.now, topic, msgspec.json.encode(changed)))
        return changed

    def written(self, at: datetime) -> str:
        """An instant as this platform writes it."""
        raise NotImplementedError

    def routes(self) -> list[Route]:
        raise NotImplementedError

    def refusal(self, request: Request) -> Response | None:
        """Why a call is not answered: no key, down, or too many calls."""
        raise NotImplementedError

    def app(self) -> Starlette:
        return Starlette(routes=self.routes())

    def guarded(self, request: Request) -> Response | None:
        self.asked += 1
        if self.down:
            return Response("<html>Error establishing a database connection</html>", 503)
        refused = self.refusal(request)
        if refused is not None:
            return refused
        if self.limit_every and self.asked % self.limit_every == 0:
            self.limited += 1
            return JSONResponse({"errors": "Exceeded 2 calls per second"}, 429, {"Retry-After": "2.0"})
        return None

    def changed(self, resource: str, since: str | None, until: str | None) -> list[dict[str, Any]]:
        found = sorted(self.kept[resource].values(), key=lambda each: (_read(each[self.version]), each["id"]))
        if since:
            found = [each for each in found if _read(each[self.version]) >= _read(since)]
        return [each for each in found if not until or _read(each[self.version]) <= _read(until)]


class ShopifyPlatform(Platform):
    version = "updated_at"

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.levels: dict[tuple[int, int], dict[str, Any]] = {}

    def written(self, at: datetime) -> str:
        return (at + timedelta(hours=1)).replace(tzinfo=None).isoformat() + "+01:00"

    def routes(self) -> list[Route]:
        base = "/admin/api/2025-01"
        lists = [Route(f"{base}/{name}.json", self._list(name)) for name in self.kept]
        return [
            *lists,
            Route(f"{base}/locations.json", self._places),
            Route(f"{base}/inventory_levels.json", self._levels),
        ]

    def refusal(self, request: Request) -> Response | None:
        if request.headers.get("x-shopify-access-token") != TOKEN:
            return JSONResponse({"errors": "Invalid API key or access token"}, 401)
        return None

    def _list(self, name: str) -> Any:
        def answer(request: Request) -> Response:
            refused = self.guarded(request)
            if refused is not None:
                return refused
            asked = request.query_params
            cursor = asked.get("page_info")
            if cursor:
                start, since, until = msgspec.json.decode(b64decode(cursor))
                start = 0 if self.is_stuck else start
            else:
                start, since, until = 0, asked.get("updated_at_min"), asked.get("updated_at_max")
                assert name != "orders" or asked["status"] == "any"  # the default is open orders alone
            found = self.changed(name, since, until)
            shown = found[start : start + self.page]
            headers = {"X-Shopify-Shop-Api-Call-Limit": "3/40"}
            if start + self.page < len(found):
                import base64

                after = base64.b64encode(msgspec.json.encode([start + self.page, since, until])).decode()
                # Another host on purpose: only the cursor may be believed.
                url = f"https://elsewhere.example/{name}.json?limit={self.page}&page_info={after}"
                headers["Link"] = f'<https://x.example/?page_info=back>; rel="previous", <{url}>; rel="next"'
            return JSONResponse({name: shown}, headers=headers)

        return answer

    def _places(self, request: Request) -> Response:
        return self.guarded(request) or JSONResponse({"locations": [{"id": 31, "name": "Kiel"}, {"id": 32}]})

    def _levels(self, request: Request) -> Response:
        refused = self.guarded(request)
        places = {int(each) for each in request.query_params["location_ids"].split(",")}
        since = _read(request.query_params["updated_at_min"])
        found = [
            each for (_, place), each in self.levels.items() if place in places and _read(each["updated_at"]) >= since
        ]
        return refused or JSONResponse({"inventory_levels": found})


class WooPlatform(Platform):
    version = "date_modified_gmt"

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.webhooks = [
            {"id": 1, "status": "active", "topic": "order.updated", "delivery_url": "https://w.example/webhooks/shop"},
            {"id": 2, "status": "active", "topic": "order.updated", "delivery_url": "https://other.example/hook"},
        ]

    def written(self, at: datetime) -> str:
        return at.strftime("%Y-%m-%dT%H:%M:%S")

    def routes(self) -> list[Route]:
        base = "/wp-json/wc/v3"
        return [
            *(Route(f"{base}/{name}", self._list(name)) for name in self.kept),
            Route(f"{base}/webhooks", self._webhooks),
            Route(f"{base}/webhooks/{{id:int}}", self._revive, methods=["PUT"]),
            Route(f"{base}/orders/{{id:int}}/refunds", self._refunds),
        ]

    def refusal(self, request: Request) -> Response | None:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind != "Basic" or b64decode(given).decode() != f"{KEY}:{SECRET}":
            return JSONResponse({"code": "woocommerce_rest_cannot_view"}, 401)
        return None

    def _list(self, name: str) -> Any:
        def answer(request: Request) -> Response:
            refused = self.guarded(request)
            if refused is not None:
                return refused
            asked = request.query_params
            if name == "customers":
                found = list(self.kept[name].values())
                found.sort(key=lambda each: each["date_created_gmt"], reverse=asked["order"] == "desc")
            else:
                assert (asked["orderby"], asked["order"], asked["dates_are_gmt"]) == ("modified", "asc", "true")
                found = self.changed(name, None, asked["modified_before"])
                found = [each for each in found if _read(each[self.version]) > _read(asked["modified_after"])]
            size = min(int(asked["per_page"]), self.page)
            start = 0 if self.is_stuck else (int(asked["page"]) - 1) * size
            found = list(self.kept[name].values()) if self.is_stuck else found
            pages = max(1, -(-len(found) // size))
            return JSONResponse(found[start : start + size], headers={"X-WP-TotalPages": str(pages)})

        return answer

    def _refunds(self, request: Request) -> Response:
        order = self.kept["orders"][request.path_params["id"]]
        dated = [each | {"date_created_gmt": order["date_modified_gmt"]} for each in order["refunds"]]
        return self.guarded(request) or JSONResponse(dated)

    def _webhooks(self, request: Request) -> Response:
        status = request.query_params.get("status", "all")
        found = [each for each in self.webhooks if status in ("all", each["status"])]
        return self.guarded(request) or JSONResponse(found)

    async def _revive(self, request: Request) -> Response:
        refused = self.guarded(request)
        if self.is_read_only:
            return JSONResponse({"code": "woocommerce_rest_cannot_edit"}, 401)
        if refused is None:
            (found,) = [each for each in self.webhooks if each["id"] == request.path_params["id"]]
            found |= await request.json()
            return JSONResponse(found)
        return refused


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """The application on a free port of loopback; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
