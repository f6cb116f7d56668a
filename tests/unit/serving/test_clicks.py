"""The signed links of our mails: they lead where they led when the mail was written, and tell people from machines."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from tests.shop import ANN, NOON, Shop, happened

from wayline.domain import Event, Identifier
from wayline.errors import StoreUnavailable
from wayline.interpretation.facets import fold
from wayline.observation.feedback import is_automated
from wayline.observation.proofs import clicked
from wayline.runtime.linking import Linked, link_path, read_link, signed_links
from wayline.serving.clicks import CLICKS_MAX, Clicks
from wayline.store.opening import open_store

BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"}
JACKETS = "https://larkfell.example/c/jackets?size=m#top"
KEYED = open_store().vault.keyed
SETTINGS = {
    "server": {"public_url": "https://hello.larkfell.example/"},
    "shop": {"url": "https://www.larkfell.example", "help_url": "https://larkfell-help.example/"},
}


class Mailed:
    """A shop that has greeted Ann by mail an hour ago, and the links in it."""

    def __init__(self, *, held_seconds: float = 0.05) -> None:
        self.shop = Shop()
        self.shop.consent()
        self.shop.engine.checkpoint()
        (self.row,) = self.shop.deliveries()
        self.now = NOON + timedelta(hours=1)
        self.told = 0
        self.clicks = Clicks(self.shop.store, on_stored=self._told, clock=lambda: self.now, held_seconds=held_seconds)
        self.app = Starlette(routes=list(self.clicks.routes))

    def _told(self) -> None:
        self.told += 1

    def link(self, destination: str = JACKETS, count: int = 4) -> str:
        link = Linked(self.row.decision_id, self.row.customer_id, destination, count)
        return link_path(link, self.shop.store.vault.keyed)

    def ask(self, *paths: str, method: str = "GET", headers: Any = BROWSER) -> list[httpx.Response]:
        async def ask() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://shop", headers={"User-Agent": ""}
            ) as one:
                answers = [await one.request(method, path, headers=headers) for path in paths]
            await self.clicks.close()
            return answers

        return asyncio.run(ask())

    @property
    def clicked(self) -> list[Event]:
        return [event for event in self.shop.store.log.read(0, 1000) if event.name == "Email Link Clicked"]

    @property
    def automated(self) -> list[bool]:
        return [is_automated(event) for event in self.clicked]


# ------------------------------------------------------------------ in the mail


def linked(html: str = "", text: str = "", **personal: Any) -> dict[str, str]:
    link = Linked("d1", "k-ann", "", 0)
    parts = {"subject": "https://larkfell.example/", "html": html, "text": text}
    return signed_links(parts, link, settings=SETTINGS, personal=personal, keyed=KEYED)


def led(part: str) -> list[Linked]:
    tokens = re.findall(r"https://hello\.larkfell\.example/c/([\w.-]+\w)", part)
    return [link for token in tokens if (link := read_link(token, KEYED)) is not None]


def test_links_to_the_shop_are_signed_and_all_others_left() -> None:
    ours = ["https://larkfell.example/a?x=1&y=2", "https://www.larkfell.example/", "https://larkfell-help.example/b"]
    others = [
        "https://hello.larkfell.example/unsubscribe/d1.abc",
        "https://evil-larkfell.example/",
        "https://dhl.example/t",
    ]
    told = linked(
        html="".join(f"<a href='{url.replace('&', '&amp;')}'>x</a>" for url in (*ours, *others)),
        text="Look: " + ", ".join((*ours, *others)) + ".",
    )
    for part in ("html", "text"):
        assert [link.destination for link in led(told[part])] == ours
        assert {(link.decision_id, link.customer_id, link.count) for link in led(told[part])} == {("d1", "k-ann", 3)}
        assert all(url in told[part] for url in others) and not any(url in told[part] for url in ours[1:])
    assert told["subject"] == "https://larkfell.example/" and told["text"].endswith(".")


def test_a_link_that_holds_a_personal_value_is_left_as_it_is() -> None:
    for url in ("https://larkfell.example/?m=ann%40example.com", "https://larkfell.example/hello/ANN+BERG"):
        told = linked(text=url, email="ann@example.com", address={"name": "Ann Berg"}, age=7)
        assert told["text"] == url


def test_an_installation_that_nobody_can_reach_leaves_links_as_they_are() -> None:
    parts = {"text": JACKETS}
    link = Linked("d1", "k-ann", "", 0)
    told = signed_links(parts, link, settings={**SETTINGS, "server": {}}, personal={}, keyed=KEYED)
    assert told == parts


def test_a_mail_that_is_owed_carries_them_and_shows_nothing_personal() -> None:
    shop = Shop()
    shop.consent()
    shop.tell(happened("Order Completed", ANN, order_id="o1", revenue=16900, products=[{"sku": "jacket"}]))
    mailed = {row.decision_id: row for row in shop.deliveries() if row.lane == "owed"}
    assert mailed, "the order is confirmed"
    for message in shop.channels["email"].messages:
        links = led_by(shop, message.parts["text"])
        assert {link.decision_id for link in links} <= {message.decision_id} and "ann@example.com" not in str(links)
        assert not links or message.decision_id in mailed
        assert "https://larkfell.example/" not in message.parts["text"]
    assert any(led_by(shop, message.parts["text"]) for message in shop.channels["email"].messages)


def led_by(shop: Shop, part: str) -> list[Linked]:
    tokens = re.findall(r"/c/([\w.-]+\w)", part)
    return [link for token in tokens if (link := read_link(token, shop.store.vault.keyed)) is not None]


# ------------------------------------------------------------------ when it is clicked


def test_a_click_leads_to_the_shop_and_is_known_to_be_the_recipients() -> None:
    mailed = Mailed()
    (answer,) = mailed.ask(mailed.link() + "?to=https://evil.example/")
    assert answer.status_code == 302 and answer.headers["cache-control"] == "no-store"
    where = urlsplit(answer.headers["location"])
    assert where._replace(query="").geturl() == "https://larkfell.example/c/jackets#top"
    said = parse_qs(where.query)
    assert said["size"] == ["m"]
    keyed = mailed.shop.store.vault.keyed
    assert clicked(said["wl"][0], keyed, mailed.now) == mailed.row.customer_id
    assert clicked(said["wl"][0], keyed, mailed.now + timedelta(minutes=11)) == ""
    (event,) = mailed.clicked
    assert event.identifiers == (Identifier("customer_id", mailed.row.customer_id),) and not is_automated(event)
    assert event.properties == {
        "email_id": mailed.row.decision_id, "campaign_name": "welcome", "url": "https://larkfell.example/c/jackets",
    }  # fmt: skip
    assert event.notes == () and mailed.told == 1


def test_x10_any_edit_of_a_link_is_404_and_leads_nowhere() -> None:
    mailed = Mailed()
    path = mailed.link()
    token = path.removeprefix("/c/")
    edits = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(len(token))]
    edits += [token[:-1], token + "0", token.upper(), token.replace(".", ""), token + "=", "x", ".", token[::-1], "ä.ü"]
    other = link_path(Linked("d1", "k-bea", "https://evil.example/", 1), lambda kind, said: "0" * 32).removeprefix(
        "/c/"
    )
    edits += [other, other.split(".")[0] + "." + token.split(".")[1]]
    answers = mailed.ask(*(f"/c/{edit}" for edit in edits))
    assert {answer.status_code for answer in answers} == {404} and mailed.clicked == []
    assert not any("location" in answer.headers for answer in answers)


@pytest.mark.parametrize(
    "headers, method",
    [
        (BROWSER, "HEAD"), ({"User-Agent": ""}, "GET"), ({"User-Agent": "python-requests/2.32"}, "GET"),
        ({"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}, "GET"),
        ({"User-Agent": "Barracuda Sentinel (EE)"}, "GET"), ({"User-Agent": "WhatsApp/2.23.20.0"}, "GET"),
        ({"User-Agent": "Mozilla/5.0"}, "GET"), ({"User-Agent": "aiohttp/3.9"}, "GET"),
        ({**BROWSER, "Sec-Purpose": "prefetch;prerender"}, "GET"),
    ],
)  # fmt: skip
def test_s23_a_machine_is_led_on_and_counted_nowhere(headers: Any, method: str) -> None:
    mailed = Mailed()
    (answer,) = mailed.ask(mailed.link(), headers=headers, method=method)
    assert answer.status_code == 302 and answer.headers["location"] == JACKETS, "and it is not taken for the customer"
    assert mailed.automated == [True]


def test_s23_whoever_opens_every_link_at_once_or_at_the_moment_of_sending_is_a_machine() -> None:
    every = [f"https://larkfell.example/{number}" for number in range(4)]
    mailed = Mailed()
    mailed.ask(*(mailed.link(url) for url in every))
    assert mailed.automated == [True] * 4
    many = Mailed()
    many.ask(*(many.link(url, count=9) for url in every[:3]))
    assert many.automated == [True] * 3
    both = Mailed()
    both.ask(*(both.link(url, count=2) for url in every[:2]))
    assert both.automated == [True] * 2
    early = Mailed()
    early.now = NOON + timedelta(seconds=1)
    early.ask(early.link())
    assert early.automated == [True]
    person = Mailed()
    person.ask(person.link(every[0]), person.link(every[0]), person.link(every[1]))
    assert person.automated == [False] * 3


def test_s23_what_a_machine_opens_moves_nobody_and_is_in_no_facet() -> None:
    opened = happened("Email Link Clicked", ANN, email_id="m", automated=True)
    kept = tuple(Shop().playbook.facets.values())
    assert fold({}, opened, kept) == {}
    assert fold({}, happened("Email Link Clicked", ANN, email_id="m", automated=False), kept)
    assert fold({}, happened("Cart Viewed", ANN, automated=True), kept), "only what machines do by themselves"


CUBOT = {"User-Agent": "Mozilla/5.0 (Linux; Android 9; CUBOT NOTE 7) Chrome/116.0 Mobile Safari/537.36"}
OUTLOOK = {"User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148 Outlook-iOS/709"}


@pytest.mark.parametrize("headers", [CUBOT, OUTLOOK])
def test_s23_a_phone_whose_name_looks_like_a_machine_is_a_person(headers: Any) -> None:
    mailed = Mailed()
    mailed.ask(mailed.link(), headers=headers)
    assert mailed.automated == [False]


# ------------------------------------------------------------------ when it is clicked for ever


def test_a_link_clicked_for_ever_fills_no_log_and_still_leads_on() -> None:
    mailed = Mailed()
    other = "https://larkfell.example/other"
    for _ in range(3):
        answers = mailed.ask(*[mailed.link()] * 40)
        assert {answer.status_code for answer in answers} == {302}, "whoever clicks gets where they wanted"
        mailed.now += timedelta(hours=1)
    assert len(mailed.clicked) == CLICKS_MAX
    mailed.ask(mailed.link(other))
    assert [event.properties["url"] for event in mailed.clicked[CLICKS_MAX:]] == [other], "by the link"


def test_a_link_clicked_for_ever_fills_no_log_after_a_restart_either() -> None:
    mailed = Mailed()
    mailed.ask(*[mailed.link()] * 15)
    mailed.clicks = Clicks(mailed.shop.store, clock=lambda: mailed.now, held_seconds=0.05)
    mailed.app = Starlette(routes=list(mailed.clicks.routes))
    mailed.now += timedelta(hours=1)
    mailed.ask(*[mailed.link()] * 15)
    assert len(mailed.clicked) == CLICKS_MAX
    assert mailed.shop.store.log.conflicts() == [] and mailed.shop.store.log.counts()["duplicate"] == 0


def test_an_old_mail_that_is_forwarded_ties_no_browser() -> None:
    mailed = Mailed()
    mailed.now = NOON + timedelta(days=29)
    assert "wl=" in mailed.ask(mailed.link())[0].headers["location"]
    mailed.now = NOON + timedelta(days=31)
    assert mailed.ask(mailed.link())[0].headers["location"] == JACKETS, "it leads on, and says of nobody that they came"
    assert mailed.automated == [False, False], "it is a click all the same"


class Full:
    """A log whose disk is full, over one that works."""

    def append(self, events: Sequence[Event]) -> None:
        raise StoreUnavailable("no room on the disk")


def test_a_full_disk_costs_the_note_and_not_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    mailed = Mailed()
    monkeypatch.setattr(mailed.shop.store.log, "append", Full().append)
    (answer,) = mailed.ask(mailed.link())
    assert answer.status_code == 302 and answer.headers["location"].startswith("https://larkfell.example/c/jackets")


def test_a_message_of_which_nothing_is_known_any_more_still_leads_on() -> None:
    mailed = Mailed()
    forgotten = link_path(Linked("d-gone", "k-gone", JACKETS, 1), mailed.shop.store.vault.keyed)
    (answer,) = mailed.ask(forgotten)
    assert answer.headers["location"] == JACKETS and mailed.clicked == []
