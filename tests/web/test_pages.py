"""The dashboard in a real browser: no overflow, no console error, readable in the dark, usable with a keyboard."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from tests.recorded_shop import JACKET, recorded_shop

from wayline.serving.dashboard import dashboard
from wayline.serving.report import build

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: install the test extra of this project")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser: install the system's `chromium` package")

PAGES = {"home": "/", "not sent": "/not-sent", "shopper": f"/customers/{JACKET}"}
CONTRAST_MIN = 4.5  # WCAG 2.2 AA


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    shop = recorded_shop()
    report = build(shop.state, shop.log, shop.playbook)
    app = Starlette(routes=dashboard(shop.state, shop.log, shop.vault, shop.playbook, report))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=10)
    listener.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with sync_api.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield launched
        launched.close()


@pytest.fixture
def complaints() -> list[str]:
    return []


def opened(browser, complaints: list[str], *, width: int = 1280, scheme: str = "light"):  # type: ignore[no-untyped-def]
    page = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme).new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_complains_of_nothing_and_can_be_read(
    address: str, browser, complaints: list[str], name: str, width: int, scheme: str
) -> None:  # type: ignore[no-untyped-def]
    page = opened(browser, complaints, width=width, scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address + PAGES[name])
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert complaints == []
    assert all(url.startswith(address) for url in asked)
    assert page.evaluate(LOW_CONTRAST, CONTRAST_MIN) == []
    page.context.close()


def test_home_leads_to_the_whole_story_by_keyboard_alone(address: str, browser, complaints: list[str]) -> None:  # type: ignore[no-untyped-def]
    page = opened(browser, complaints)
    page.goto(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("The whole story"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/customers/**")
    reason = page.locator("li.sent summary").first
    reason.focus()
    page.keyboard.press("Enter")
    assert page.locator("li.sent details[open] li").count() >= 5
    assert "Chance this option was picked" in page.locator("li.sent details[open]").inner_text()
    page.context.close()


def test_a_shopper_is_found_by_typing(address: str, browser, complaints: list[str]) -> None:  # type: ignore[no-untyped-def]
    page = opened(browser, complaints, width=360)
    page.goto(address)
    page.get_by_label("Find a shopper").fill(JACKET)
    page.get_by_role("button", name="Find").click()
    page.wait_for_url(f"**/customers/{JACKET}")
    assert page.get_by_role("heading", level=1).inner_text() == "Mira"
    page.context.close()


def test_every_picture_says_in_words_what_it_shows_or_is_hidden(address: str, browser, complaints: list[str]) -> None:  # type: ignore[no-untyped-def]
    page = opened(browser, complaints)
    page.goto(address)
    mute = "[...document.querySelectorAll('svg')].filter(s => !s.ariaHidden && !s.getAttribute('aria-label')).length"
    assert page.evaluate(mute) == 0
    assert page.locator("svg[role=img]").first.get_attribute("aria-label").startswith("EUR ")
    page.context.close()


LOW_CONTRAST = """
(least) => {
  const channel = c => { c /= 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > .99) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest(".unseen, .skip, thead, option")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    const words = element.textContent.trim().slice(0, 30);
    if (ratio < least) found.push(`${element.tagName} ${element.className} ${words} ${ratio.toFixed(2)}`);
  }
  return found;
}
"""
