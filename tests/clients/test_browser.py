"""analytics-next in a real browser, on a page that names nothing but a write key and where Wayline is."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.clients.harness import Shop, missing, shop
from tests.clients.proxy import LOSE, PASS, Act, Proxy, Say, proxied
from tests.contracts.test_serving import waited

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: install the test extra of this project")

HERE = Path(__file__).parent
LIBRARY = HERE / "node_modules/@segment/analytics-next/dist/umd/index.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: install the system's `chromium` package"),
    pytest.mark.skipif(bool(missing("browser")), reason=missing("browser") or "there"),
]
ANSWERS: dict[str, tuple[list[Act], int, bool]] = {
    # what is answered, how often the page then sends, whether the event is stored
    "lost": ([LOSE, PASS], 2, True),
    "400": ([Say(400)], 1, False),
    "401": ([Say(401)], 1, False),  # a key that was taken away while the page stood open
    "413": ([Say(413)], 1, False),
    "429-once": ([Say(429, headers=(("retry-after", "1"),)), PASS], 2, True),
    "500-once": ([Say(500), PASS], 2, True),
    "503-once": ([Say(503), PASS], 2, True),
}
WHOSE = [
    "plain",
    "batching",
    "clock",
    "preflight",
    "leaving",
    *(f"{w}-{case}" for case in ANSWERS for w in ("single", "batch")),
]


class Pages(BaseHTTPRequestHandler):
    """The shop's own web server, which is not Wayline's."""

    def do_GET(self) -> None:
        file = LIBRARY if self.path == "/analytics.js" else HERE / "page.html"
        body = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if file is LIBRARY else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.05), daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}"  # another origin than Wayline's 127.0.0.1
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, pages: str) -> Iterator[tuple[Shop, Proxy]]:
    acts = {f"key-{way}-{case}": each[0] for case, each in ANSWERS.items() for way in ("single", "batch")}
    folder = tmp_path_factory.mktemp("shop") / "shop"
    origins = {"own-pages": pages, "other-pages": "https://elsewhere.example"}
    with shop(folder, [], public=WHOSE, origins=origins) as behind, proxied(behind.url, acts) as proxy:
        yield behind, proxy


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with sync_api.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield launched
        launched.close()


def opened(browser: Any, pages: str, wayline: str, name: str, *, batching: bool = False, script: str = "") -> Any:
    page = browser.new_context().new_page()
    if script:
        page.add_init_script(script)
    page.goto(f"{pages}/?key=key-{name}&wayline={wayline}{'&batching' if batching else ''}")
    page.evaluate("window.ready")
    return page


def visit(page: Any) -> None:
    page.evaluate("analytics.page('Home')")
    page.evaluate("analytics.track('Product Viewed', {sku: 'jacket', price: 169.0})")
    page.evaluate("analytics.identify('kim-of-the-shop', {email: 'kim@shop.example'})")


@pytest.mark.parametrize("way", ["plain", "batching"])
def test_what_a_page_tells_arrives_once(browser: Any, pages: str, running: tuple[Shop, Proxy], way: str) -> None:
    behind, proxy = running
    page = opened(browser, pages, proxy.url, way, batching=way == "batching")
    visit(page)
    events = waited(lambda: behind.events(way) if len(behind.events(way)) == 3 else None)
    requests = proxy.of(f"key-{way}")
    expected = ["/v1/b"] if way == "batching" else ["/v1/i", "/v1/p", "/v1/t"]
    assert sorted(one.path for one in requests) == expected
    assert {one.headers["content-type"] for one in requests} == {"text/plain"}
    assert Counter(event.kind for event in events) == {"page": 1, "track": 1, "identify": 1}
    by_kind = {event.kind: event for event in events}
    assert by_kind["track"].properties == {"sku": "jacket", "price": 16900}
    assert by_kind["page"].properties["name"] == "Home"
    names = {event.kind: {one.kind for one in event.identifiers} for event in events}
    assert names["page"] == {"anonymous_id"} and names["identify"] == {"user_id", "anonymous_id", "claimed_email"}
    browsers = {one for event in events for one in event.identifiers if one.kind == "anonymous_id"}
    assert len(browsers) == 1, "one browser, one handle"
    assert all(abs(event.occurred_at - event.received_at) < timedelta(seconds=10) for event in events)
    page.context.close()


def test_the_page_asks_wayline_alone_and_complains_of_nothing(
    browser: Any, pages: str, running: tuple[Shop, Proxy]
) -> None:
    behind, proxy = running
    page = browser.new_context().new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{pages}/?key=key-preflight&wayline={proxy.url}")
    page.evaluate("window.ready")
    page.evaluate("analytics.track('Product Viewed')")
    page.evaluate("analytics.group('regulars')")
    page.evaluate("analytics.screen('Start')")
    page.evaluate("analytics.alias('kim-of-the-shop')")
    waited(lambda: len(behind.events("preflight")) == 4)
    assert {event.kind for event in behind.events("preflight")} == {"track", "group", "screen", "alias"}
    assert f"{proxy.url}/v1/projects/key-preflight/settings" in asked
    elsewhere = [url for url in asked if not url.startswith((pages, proxy.url, "data:"))]
    assert elsewhere == [] and complaints == []
    page.context.close()


@pytest.mark.parametrize("way", ["single", "batch"])
def test_each_answer_is_understood(browser: Any, pages: str, running: tuple[Shop, Proxy], way: str) -> None:
    """All cases at once, each in a tab of its own."""
    behind, proxy = running
    tabs = [opened(browser, pages, proxy.url, f"{way}-{case}", batching=way == "batch") for case in ANSWERS]
    for tab in tabs:
        tab.evaluate("analytics.track('Product Viewed', {sku: 'jacket'})")
    stored = [f"{way}-{case}" for case, (_, _, kept) in ANSWERS.items() if kept]
    waited(lambda: all(behind.events(name) for name in stored), 30)
    waited(lambda: all(proxy.of(f"key-{way}-{case}") for case in ANSWERS), 30)
    tabs[0].wait_for_timeout(1500)  # long enough for one that does not know when to stop
    for case, (_, sends, kept) in ANSWERS.items():
        requests = proxy.of(f"key-{way}-{case}")
        assert len(requests) == sends, (case, [one.status for one in requests])
        assert len(behind.events(f"{way}-{case}")) == kept, case
        if sends > 1:
            assert requests[-1].headers["x-retry-count"] == "1"
    for tab in tabs:
        tab.context.close()


def test_s07_a_browser_whose_clock_is_three_days_off(browser: Any, pages: str, running: tuple[Shop, Proxy]) -> None:
    behind, proxy = running
    began = datetime.now(UTC)
    ahead = """
      const Real = Date, off = 3 * 86400e3
      window.Date = class extends Real {
        constructor(...told) { told.length ? super(...told) : super(Real.now() + off) }
        static now() { return Real.now() + off }
      }
    """
    page = opened(browser, pages, proxy.url, "clock", script=ahead)
    page.evaluate("analytics.track('Product Viewed')")
    waited(lambda: behind.events("clock"))
    (request,) = proxy.of("key-clock")
    assert datetime.fromisoformat(request.told["sentAt"]) - began > timedelta(days=2, hours=23)
    (event,) = behind.events("clock")
    assert abs(event.occurred_at - began) < timedelta(seconds=10) and "clamped" not in " ".join(event.notes)
    page.context.close()


def test_a_key_sends_from_the_pages_it_is_for_and_from_no_other(
    browser: Any, pages: str, running: tuple[Shop, Proxy]
) -> None:
    behind, proxy = running
    tabs = [opened(browser, pages, proxy.url, name) for name in ("other-pages", "own-pages")]
    for tab in tabs:
        tab.evaluate("analytics.track('Product Viewed')")
    waited(lambda: behind.events("own-pages"))
    waited(lambda: proxy.of("key-other-pages"))
    tabs[0].wait_for_timeout(500)
    assert [one.status for one in proxy.of("key-other-pages")] == [403], "it is told once, and does not come again"
    assert behind.events("other-pages") == []
    for tab in tabs:
        tab.context.close()


def test_what_is_said_on_leaving_a_page_and_by_a_picture_arrives(
    browser: Any, pages: str, running: tuple[Shop, Proxy]
) -> None:
    """Neither can set a header: the key is in the address."""
    behind, proxy = running
    page = browser.new_context().new_page()
    page.goto(f"{pages}/?key=key-plain&wayline={proxy.url}")
    said = "{batch: [{type: 'track', event: 'Page Left', anonymousId: 'browser-that-left', messageId: 'left-1'}]}"
    beacon = f"navigator.sendBeacon('{proxy.url}/beacon/v1/batch?writeKey=key-leaving', JSON.stringify({said}))"
    assert page.evaluate(beacon) is True
    seen = "event=Mail%20Seen&anonymousId=browser-that-left&messageId=seen-1&writeKey=key-leaving"
    shown = f"""new Promise(done => {{
      const image = new Image()
      image.onload = () => done('shown')
      image.onerror = () => done('broken')
      image.src = '{proxy.url}/pixel/v1/track?{seen}'
    }})"""
    assert page.evaluate(shown) == "shown"
    events = waited(lambda: behind.events("leaving") if len(behind.events("leaving")) == 2 else None)
    assert {(event.event_id, event.name) for event in events} == {("left-1", "Page Left"), ("seen-1", "Mail Seen")}
    page.context.close()
