"""What comes in, over HTTP: who may ask, what is shown to whom, and what is offered again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from tests.shop import NOON

from wayline.playbook import compile_playbook
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.folders import read_files
from wayline.serving.senders import Keys
from wayline.serving.signals import signal_routes
from wayline.store.opening import open_store

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "apparel"
ORDER = {
    "type": "track", "event": "Order Completed", "userId": "anna", "messageId": "o-1",
    "properties": {"order_id": "7", "revenue": "49,99"}, "context": {"traits": {"email": "anna@mail.example"}},
}  # fmt: skip


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class Api:
    def __init__(self) -> None:
        self.store = open_store()
        self.collector = Collector(self.store.log, self.store.vault)
        keys = {
            "web": {"write_key": "web-key-0001"},
            "reads": {"keys": [{"secret_key_sha256": hashed("reading-key"), "scopes": ["read"]}]},
            "runs": {"keys": [{"secret_key_sha256": hashed("admin-key"), "scopes": ["read", "admin"]}]},
        }
        self.told = 0
        playbook = compile_playbook(read_files(EXAMPLE))
        routes = signal_routes(
            self.store.log, playbook, self.collector, Keys(keys), on_stored=self._told, clock=lambda: NOON
        )
        self.app = Starlette(routes=routes)

    def _told(self) -> None:
        self.told += 1

    def ask(self, method: str, path: str, key: str = "reading-key", **more: Any) -> httpx.Response:
        async def asking() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop", auth=(key, "")) as client:
                return await client.request(method, path, **more)

        return anyio.run(asking)


@pytest.fixture
def api() -> Api:
    api = Api()
    page = {"type": "page", "anonymousId": "browser", "messageId": "p-1"}
    api.collector.collect(Delivered((ORDER, page), "shop", NOON))
    return api


def test_only_a_secret_key_of_the_scope_may_ask(api: Api) -> None:
    for method, path, scope in (
        ("GET", "/v1/rejects", "read"), ("GET", "/v1/rejects/bodies", "admin"), ("POST", "/v1/rejects/replay", "admin"),
        ("GET", "/v1/tail", "read"), ("GET", "/v1/signals", "read"),
    ):  # fmt: skip
        assert api.ask(method, path, "web-key-0001").status_code == 401
        assert api.ask(method, path, "nobody's").status_code == 401
        assert api.ask(method, path, "reading-key").status_code == (200 if scope == "read" else 403)


def test_a_secret_key_in_a_url_is_told_to_be_replaced(api: Api) -> None:
    answer = api.ask("GET", "/v1/rejects?writeKey=reading-key")
    assert (answer.status_code, answer.json()["code"]) == (401, "secret_in_url")


def test_rejected_messages_are_listed_and_their_bodies_only_revealed(api: Api) -> None:
    listed = api.ask("GET", "/v1/rejects")
    assert b"anna@mail.example" not in listed.content
    (one,) = listed.json()["rejects"]
    assert (one["code"], one["field"], one["source"]) == ("bad_amount", "properties.revenue", "shop")
    revealed = api.ask("GET", "/v1/rejects/bodies", "admin-key").json()["rejects"]
    assert revealed[0]["body"] == ORDER
    assert api.ask("GET", f"/v1/rejects?before={one['number']}").json() == {"rejects": [], "next": None}


def test_they_are_offered_again_after_a_fix(api: Api) -> None:
    (one,) = api.ask("GET", "/v1/rejects").json()["rejects"]
    asked = {"numbers": [one["number"]], "patch": {"properties": {"revenue": "49.99"}}}
    done = api.ask("POST", "/v1/rejects/replay", "admin-key", json=asked).json()
    assert (done["stored"], done["rejected"], api.told) == (1, [], 1)
    assert api.ask("GET", "/v1/rejects").json()["rejects"] == []
    for wrong in ({"numbers": "some"}, {"numbers": [1], "and": 1}, [], {"numbers": [1], "patch": 7}):
        answer = api.ask("POST", "/v1/rejects/replay", "admin-key", json=wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_json")


def test_the_tail_goes_on_where_it_ended(api: Api) -> None:
    told = api.ask("GET", "/v1/tail?after=0").json()
    assert [one["name"] for one in told["events"]] == ["Page Viewed"]
    assert told["next"] == 1
    assert api.ask("GET", "/v1/tail?after=1&wait=1").json() == {"events": [], "next": 1}


def test_signals_are_what_doctor_says(api: Api) -> None:
    told = api.ask("GET", "/v1/signals").json()
    assert {case["verdict"] for case in told["use_cases"]} == {"missing"}
    assert told["offered"] == 2
