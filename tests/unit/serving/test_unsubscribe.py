"""The links to unsubscribe: only a post acts, whatever it carries, and nobody else's link does anything."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from tests.shop import ANN, APPAREL, NOON, Shop, apparel, happened

from wayline.domain import Event, Merge
from wayline.runtime.handover import unsubscribe_token
from wayline.runtime.schedules import INTERNAL
from wayline.serving.unsubscribe import TEXTS, unsubscribing
from wayline.store import Batch

ONE_CLICK = b"List-Unsubscribe=One-Click"


class Links:
    """A shop that has greeted Ann by mail, and the routes of the links in it."""

    def __init__(self, *, language: str = "", playbook: Any = None) -> None:
        self.shop = Shop(playbook)
        if language:
            self.shop.tell(happened("Identify", ANN, language=language))
        self.shop.consent()
        self.shop.engine.checkpoint()
        (self.row,) = self.shop.deliveries()
        self.told = 0
        self.now = NOON
        self.app = Starlette(
            routes=list(
                unsubscribing(
                    self.shop.store,
                    self.shop.playbook,
                    self.shop.engine.customers.get,
                    on_stored=self._told,
                    clock=lambda: self.now,
                )
            )
        )

    def _told(self) -> None:
        self.told += 1

    @property
    def link(self) -> str:
        token = unsubscribe_token(self.shop.store.vault, self.row.decision_id)
        return f"/unsubscribe/{self.row.decision_id}.{token}"

    @property
    def withdrawals(self) -> list[Event]:
        return [event for event in self.shop.store.log.read(0, 1000) if event.name == "Consent Withdrawn"]

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())


def test_a_get_shows_a_page_and_changes_nothing() -> None:
    links = Links()
    for method in ("GET", "HEAD", "GET"):
        answer = links.ask(method, links.link)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert links.withdrawals == [] and links.told == 0
    assert "Larkfell" in answer.text and "e-mail" in answer.text and 'method="post"' in answer.text


def test_the_page_runs_nothing_loads_nothing_and_is_kept_nowhere() -> None:
    links = Links()
    answer = links.ask("GET", links.link)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store" and answer.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<script|<style|<img|<link|\son\w+=|https?://", answer.text)


def test_the_page_can_be_read_by_whoever_cannot_see_it() -> None:
    links = Links()
    for answer in (links.ask("GET", links.link), links.ask("POST", links.link, content=b"pressed=yes")):
        assert re.search(r'<html lang="en">', answer.text) and "<title>" in answer.text
        assert answer.text.count("<h1>") == 1 and answer.text.count("<main>") == 1
        assert "width=device-width" in answer.text
    assert 'role="status"' in answer.text


@pytest.mark.parametrize(
    "said, spoken", [("de", "de"), ("de-AT", "de"), ("en", "en"), ("fr", "en"), ("", "en"), ("<b>", "en")]
)
def test_it_speaks_the_language_of_the_customer_if_it_can(said: str, spoken: str) -> None:
    links = Links(language=said)
    page = links.ask("GET", links.link).text
    assert f'<html lang="{spoken}">' in page and TEXTS[spoken]["button"] in page
    assert (
        TEXTS[spoken]["done"].format(channel=TEXTS[spoken]["email"], shop="Larkfell")
        in links.ask("POST", links.link, content=b"pressed=yes").text
    )


def test_the_texts_of_all_languages_say_the_same_things() -> None:
    assert len({frozenset(texts) for texts in TEXTS.values()}) == 1
    for name in TEXTS["en"]:
        assert len({tuple(sorted(re.findall(r"{\w+}", texts[name]))) for texts in TEXTS.values()}) == 1, name


@pytest.mark.parametrize("body", [ONE_CLICK, b"", b"anything", b"x" * 100_000])
def test_a_post_acts_at_once_and_answers_nothing(body: bytes) -> None:
    links = Links()
    answer = links.ask("POST", links.link, content=body)
    assert (answer.status_code, answer.content) == (200, b"")
    (event,) = links.withdrawals
    assert event.source == INTERNAL and links.told == 1
    assert event.properties == {"channel": "email", "purpose": "marketing", "method": "unsubscribe link"}


def test_it_takes_effect_for_the_customer_it_was_sent_to() -> None:
    links = Links()
    assert links.shop.customer().memory.consents["email:marketing"].is_granted
    links.ask("POST", links.link, content=ONE_CLICK)
    links.shop.tell()
    assert not links.shop.customer().memory.consents["email:marketing"].is_granted
    links.shop.after(days=4)
    assert ("consent", "welcome-guide") in links.shop.refusals("welcome")
    assert links.shop.sent() == [("email", "welcome")] * links.row.delivers


def test_pressed_again_after_a_new_consent_it_is_withdrawn_again() -> None:
    links = Links()
    links.ask("POST", links.link, content=ONE_CLICK)
    assert len(links.withdrawals) == 1
    links.shop.now = links.now = NOON + timedelta(hours=1)
    links.shop.tell(happened("Consent Granted", ANN, channel="email", purpose="marketing"))
    assert links.shop.customer().memory.consents["email:marketing"].is_granted
    links.now = NOON + timedelta(hours=2)
    links.ask("POST", links.link, content=ONE_CLICK)
    links.shop.tell()
    assert not links.shop.customer().memory.consents["email:marketing"].is_granted


def foreign(links: Links, kind: str) -> str:
    decision_id, token = links.link.removeprefix("/unsubscribe/").split(".")
    return {
        "no token": decision_id,
        "an empty token": f"{decision_id}.",
        "another token": f"{decision_id}.{'0' * len(token)}",
        "a token of another message": f"{'0' * 32}.{token}",
        "a message we never sent": f"{'0' * 32}.{unsubscribe_token(links.shop.store.vault, '0' * 32)}",
        "no letters we know": "%C3%A4.%E2%82%AC",
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["no token", "an empty token", "another token", "a token of another message", "a message we never sent",
     "no letters we know"],
)  # fmt: skip
def test_a_link_that_is_not_ours_changes_nothing_and_a_provider_still_hears_200(kind: str) -> None:
    links = Links()
    path = f"/unsubscribe/{foreign(links, kind)}"
    answer = links.ask("POST", path, content=ONE_CLICK)
    assert (answer.status_code, answer.content) == (200, b"")
    page = links.ask("GET", path)
    assert page.status_code == 404 and "hello@larkfell.example" in page.text
    assert "does not work" in links.ask("POST", path, content=b"pressed=yes").text
    assert links.withdrawals == [] and links.told == 0


def test_what_the_shop_is_called_stays_text() -> None:
    named = apparel(wayline_toml=toml_with('name = "Larkfell"', 'name = "<b>Lark & \'fell {0}</b>"'))
    links = Links(playbook=named)
    assert "&lt;b&gt;Lark &amp; &#x27;fell {0}&lt;/b&gt;" in links.ask("GET", links.link).text


def toml_with(old: str, new: str) -> str:
    text = (APPAREL / "wayline.toml").read_text()
    assert old in text
    return text.replace(old, new)


def test_a_customer_merged_into_another_meanwhile_is_found() -> None:
    links = Links()
    state = links.shop.store.state
    (decision,) = [one for one in state.decisions() if one.action is not None]
    links.shop.engine.checkpoint()
    state.commit(Batch(merges=[Merge(decision.customer_id, "c-survivor", 0.9, "test", NOON)]))
    links.ask("POST", links.link, content=ONE_CLICK)
    assert links.withdrawals[0].identifiers[0].value == "c-survivor"


def test_a_withdrawal_in_the_very_second_of_the_grant_counts() -> None:
    links = Links()
    links.shop.now = NOON + timedelta(hours=1, milliseconds=500)
    links.shop.tell(happened("Consent Granted", ANN, channel="email", purpose="marketing"))
    links.now = NOON + timedelta(hours=1, milliseconds=900)
    links.ask("POST", links.link, content=ONE_CLICK)
    links.shop.tell()
    assert not links.shop.customer().memory.consents["email:marketing"].is_granted
