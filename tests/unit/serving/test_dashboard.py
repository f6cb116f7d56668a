"""The pages by their answers: what they say, what they escape, what they forbid."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from tests.recorded_shop import JACKET, START, Shop, chosen, decided, happened, know, recorded_shop

from wayline.domain import Identifier
from wayline.serving.dashboard import dashboard
from wayline.serving.report import Truth, build

NAUGHTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


@pytest.fixture(scope="module")
def shop() -> Shop:
    filled = recorded_shop(people=300)
    who = Identifier("user_id", "naughty")
    know(filled, "c<naughty>", who)
    filled.vault.put({"user_id:naughty": {"first_name": NAUGHTY, "email": "<b>@x"}})
    happened(filled, who, "Product Viewed", START, name=NAUGHTY)
    happened(filled, who, NAUGHTY, START)
    decided(filled, chosen("c<naughty>", "order-confirmed", START), "refused", f"mailbox: {NAUGHTY}: {NAUGHTY}")
    return filled


class Client:
    """Asks the application itself, without a socket."""

    def __init__(self, routes: Any) -> None:
        self.transport = httpx.ASGITransport(app=Starlette(routes=routes))

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self.transport, base_url="http://shop") as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())

    def get(self, path: str) -> httpx.Response:
        return self._ask("GET", path)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self._ask("POST", path, **more)


@pytest.fixture(scope="module")
def client(shop: Shop) -> Client:
    report = build(shop.state, shop.log, shop.playbook, truth=[Truth("cart-recovery", 9, 1.0, 1.0)])
    return Client(dashboard(shop.state, shop.log, shop.vault, shop.playbook, report))


PAGES = ["/", "/not-sent", f"/customers/{JACKET}", "/customers/nobody", "/customers/c%3Cnaughty%3E"]


def test_the_home_page_says_what_came_in_and_that_it_adds_up(client: Client, shop: Shop) -> None:
    counts = dict(shop.log.counts())
    page = client.get("/").text
    told = re.search(r"What came in</h2>(.*?)</section>", page, re.S)
    assert told is not None
    figures = [int(number.replace(",", "")) for number in re.findall(r"<b>([\d,]+)</b>", told[1])]
    assert figures == [
        sum(counts.values()),
        *(counts[name] for name in ("stored", "duplicate", "conflict", "rejected")),
    ]


@pytest.mark.parametrize("path", PAGES)
def test_nothing_runs_and_nothing_comes_from_elsewhere(client: Client, path: str) -> None:
    answer = client.get(path)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store" and answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script|<style|\son\w+=|\sstyle=|javascript:|https?://", answer.text.split("</head>")[0])
    assert (
        "<script" not in answer.text and "<img" not in answer.text and "49" not in re.findall(r"\d+", answer.text[:0])
    )
    assert not re.search(r'(src|href|action)="(?!/|#)', answer.text)


def test_what_an_event_smuggles_in_stays_text(client: Client) -> None:
    text = client.get("/customers/c%3Cnaughty%3E").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "{{7*7}}" in text
    assert "&lt;script&gt;" in client.get("/not-sent").text


@pytest.mark.parametrize("path", PAGES[:3])
def test_every_page_has_a_twin_for_machines(client: Client, path: str) -> None:
    twin = re.search(r'rel="alternate" type="application/json" href="([^"]+)"', client.get(path).text)
    assert twin is not None
    answer = client.get(twin[1])
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    assert json.loads(answer.text)


def test_home_says_the_sentence_of_money_first_and_the_truth_last(client: Client) -> None:
    text = client.get("/").text
    places = [text.find(words) for words in ("Messages claimed", "a person</h2>", "Journeys, and", "Simulation only")]
    assert -1 not in places and places == sorted(places)


def test_a_shopper_is_found_by_address_number_or_id_and_the_address_is_in_no_url(shop: Shop, client: Client) -> None:
    address = Identifier("email", shop.vault.keyed("email", "mira.berg@example.org"))
    know(shop, "c-found", address)
    for wanted in ("Mira.Berg@example.org", "c-found"):
        answer = client.post("/customers", data={"who": wanted})
        assert (answer.status_code, answer.headers["location"]) == (303, "/customers/c-found")
    missing = client.post("/customers", data={"who": "<i>nobody"})
    assert missing.status_code == 404 and "&lt;i&gt;nobody" in missing.text
    assert client.post("/customers", content=b"who=" + b"x" * 5000).status_code == 413


def test_an_address_is_masked(client: Client) -> None:
    text = client.get(f"/customers/{JACKET}").text
    assert "mi…@example.org" in text and "mira.berg" not in text
    assert "mira" not in client.get(f"/customers/{JACKET}.json").text.lower()


def test_nobody_is_a_404_in_words(client: Client) -> None:
    assert client.get("/customers/nobody").status_code == 404
    assert client.get("/customers/nobody.json").status_code == 404


def test_the_stylesheet_is_named_by_its_content_and_kept(client: Client) -> None:
    link = re.search(r'href="(/wayline\.css\?\w+)"', client.get("/").text)
    assert link is not None
    answer = client.get(link[1])
    assert "immutable" in answer.headers["cache-control"] and "prefers-color-scheme: dark" in answer.text
    assert "url(" not in answer.text and "@import" not in answer.text


def test_numbers_may_move_on_while_the_pages_are_served(shop: Shop) -> None:
    asked = []

    def latest():  # type: ignore[no-untyped-def]
        asked.append(1)
        return build(shop.state, shop.log, shop.playbook)

    client = Client(dashboard(shop.state, shop.log, shop.vault, shop.playbook, latest))
    assert client.get("/").status_code == 200
    assert asked
