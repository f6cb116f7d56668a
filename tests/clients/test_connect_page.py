"""The snippets of docs/how-to/connect.md do what the page says: each is run as it stands, but for address and key."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.clients.harness import Shop, missing, shop
from tests.contracts.test_serving import waited

HERE = Path(__file__).parent
PAGE = (HERE.parent.parent / "docs/how-to/connect.md").read_text()
SNIPPETS = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
ADDRESS, SECRET, PUBLIC = "https://hello.larkfell.example", "the-secret-key-of-this-server", "larkfell-web-2026"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Shop]:
    with shop(tmp_path / "shop", ["till"], public=["page"]) as running:
        yield running


def snippet(language: str, mark: str) -> str:
    (found,) = [text for kind, text in SNIPPETS if kind == language and mark in text]
    return str(found)


def here(text: str, served: Shop) -> str:
    """The snippet with this address and these keys."""
    assert ADDRESS in text and (SECRET in text or PUBLIC in text)
    return text.replace(ADDRESS, served.url).replace(SECRET, "key-till").replace(PUBLIC, "key-page")


@pytest.mark.parametrize(
    "client, language, mark, command",
    [
        ("segment-python", "python", "segment.analytics", [sys.executable, "-c"]),
        ("rudder-python", "python", "rudderstack.analytics", [sys.executable, "-c"]),
        ("segment-node", "js", "@segment/analytics-node", ["node", "-e"]),
        ("rudder-node", "js", "@rudderstack/rudder-sdk-node", ["node", "-e"]),
    ],
)
def test_a_server_is_connected_as_the_page_says(
    served: Shop, client: str, language: str, mark: str, command: list[str]
) -> None:
    if why := missing(client):
        pytest.skip(why)
    subprocess.run([*command, here(snippet(language, mark), served)], cwd=HERE, check=True, timeout=60)
    identify, order = waited(lambda: served.events("till") if len(served.events("till")) == 2 else None)
    assert (identify.kind, order.name) == ("identify", "Order Completed")
    assert order.properties["order_id"] == "1042" and order.properties["revenue"] == 16900
    assert identify.identifiers[0] == order.identifiers[0]
    assert served.counts()["stored"] == 2 == served.counts()["accepted"]


def test_anything_else_is_connected_as_the_page_says(served: Shop) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl: install the system's `curl` package")
    done = subprocess.run(["bash", "-c", here(snippet("", "curl"), served)], capture_output=True, check=True)
    assert done.stdout == b'{"success":true}'
    (order,) = served.events("till")
    assert order.event_id == "order-1042-completed"


class Pages(BaseHTTPRequestHandler):
    """A page of the shop that holds the snippet and nothing else."""

    text = ""

    def do_GET(self) -> None:
        script = HERE / "node_modules/@segment/analytics-next/dist/umd/index.js"
        body = script.read_bytes() if self.path == "/analytics.js" else self.text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if self.path == "/analytics.js" else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.mark.skipif(CHROMIUM is None, reason="no browser: install the system's `chromium` package")
@pytest.mark.parametrize("batching", [False, True])
def test_a_browser_is_connected_as_the_page_says(served: Shop, batching: bool) -> None:
    if why := missing("browser"):
        pytest.skip(why)
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: install the test extra")
    text = here(snippet("html", "AnalyticsBrowser"), served)
    if batching:
        assert "\n  }).then" in text
        text = text.replace("\n  }).then", f"\n  }}, {snippet('js', 'deliveryStrategy').strip()}).then")
    handler = type("Page", (Pages,), {"text": "<!doctype html>" + text.replace("timeout: 5000", "timeout: 200")})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=partial(server.serve_forever, poll_interval=0.05), daemon=True)
    thread.start()
    try:
        with sync_api.sync_playwright() as started:
            browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            browser.new_page().goto(f"http://127.0.0.1:{server.server_port}/")
            events = waited(lambda: served.events("page") if len(served.events("page")) == 2 else None)
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
    assert {event.name for event in events} == {"Page Viewed", "Product Viewed"}
