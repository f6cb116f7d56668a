"""A served shop, from outside: keys that die while it runs, secrets in no log, and a click that says who came."""

from __future__ import annotations

import re
import signal
import time
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from tests.contracts.test_serving import (
    Clock,
    consent,
    mail_server,
    opened,
    serve,
    served,
    shop_folder,
    tell,
    waited,
)  # fmt: skip

from wayline.domain import Identifier
from wayline.runtime.folders import KEPT
from wayline.serving.senders import hashed, new_key

BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"}


def bought(who: str) -> dict[str, object]:
    return {
        "type": "track", "event": "Order Completed", "userId": who, "messageId": f"o-{who}",
        "properties": {"order_id": "o1", "revenue": 169.0, "currency": "EUR", "products": [{"sku": "jacket"}]},
    }  # fmt: skip


def test_a_click_leads_to_the_shop_and_says_there_who_came(tmp_path: Path) -> None:
    clock = Clock()
    with mail_server() as (port, inbox), opened(shop_folder(tmp_path / "shop", smtp=port), clock) as kept:
        store, serving = kept
        with served(serving.app) as client:
            tell(client, *consent("ann-of-the-shop"), bought("ann-of-the-shop"))
            (text, *_) = waited(lambda: [text for mail in inbox.mails if "/c/" in (text := said(mail))])
            (link, *_) = re.findall(r"https://hello\.larkfell\.example(/c/[\w.-]+\w)", text)
            assert "ann@" not in link and "larkfell.example/account" not in text

            # Until its delivery is settled, whoever opens it comes at the moment of sending.
            waited(lambda: all(row.state != "attempting" for row in store.state.deliveries() if row.lane == "owed"))
            clock.pass_by(hours=1)
            answer = client.get(link, headers=BROWSER)
            where = urlsplit(answer.headers["location"])
            assert answer.status_code == 302 and where.hostname == "larkfell.example" and "wl=" in where.query
            assert client.get(link[:-1] + ("0" if link[-1] != "0" else "1")).status_code == 404

            # Another browser, nobody logged in: only the address says whose mail that was.
            landed = {"url": where.geturl(), "search": f"?{where.query}", "path": where.path}
            page = {"type": "page", "anonymousId": "browser-at-work-0001", "context": {"page": landed}}
            assert client.post("/v1/p", json=page, auth=("web-key-0001", "")).status_code == 200
            keyed = store.vault.keyed
            ann = Identifier("user_id", keyed("user_id", "ann-of-the-shop"))
            work = Identifier("anonymous_id", keyed("anonymous_id", "browser-at-work-0001"))

            def is_known() -> bool:
                found = store.state.resolve([ann, work])
                return len(found) == 2 and len(set(found.values())) == 1

            waited(is_known)
            (told,) = waited(lambda: [e for e in store.log.read(0, 99) if e.name == "Email Link Clicked"])
            assert told.identifiers[0].kind == "customer_id" and "automated" not in told.properties
            kept = "".join(str(event) for event in store.log.read(0, 99))
            assert "wl=" not in kept

            metrics = client.get("/metrics")
            assert metrics.status_code == 200 and "wayline_stored_total" in metrics.text
            assert client.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 421
            adds_up(metrics.text)
            unknown = client.post("/v1/nothing", json={})
            assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_path")


def said(mail: Message) -> str:
    return "".join(
        part.get_payload(decode=True).decode() for part in mail.walk() if part.get_content_maintype() == "text"
    )


def adds_up(text: str) -> None:
    def total(name: str) -> float:
        return sum(float(value) for value in re.findall(rf"^wayline_{name}_total\{{.*\}} (\S+)$", text, re.M))

    accepted = total("accepted")
    assert accepted == sum(map(total, ("stored", "duplicate", "conflict", "rejected"))) > 0


def test_x05_no_log_and_no_address_holds_a_secret_and_a_revoked_key_dies_while_the_shop_runs(tmp_path: Path) -> None:
    folder = shop_folder(tmp_path / "shop")
    settings = folder / "wayline.toml"
    before = settings.read_text()
    secret, public = new_key(is_secret=True), new_key(is_secret=False)
    lines = f'\n[[sources.till.keys]]\nsecret_key_sha256 = "{hashed(secret)}"\n'
    settings.write_text(before + lines + f'\n[[sources.app.keys]]\nwrite_key = "{public}"\n')
    page = {"type": "page", "anonymousId": "visitor-of-the-shop"}
    with serve(folder) as (running, url):

        def status(key: str, where: str = "/v1/page") -> int:
            return httpx.post(url + where, json=page, auth=(key, "")).status_code

        assert (status(secret), status(public)) == (200, 200)
        assert httpx.post(f"{url}/v1/page?writeKey={secret}", json=page).status_code == 401
        assert httpx.get(f"{url}/pixel/v1/page?writeKey={secret}").status_code == 401
        assert httpx.get(f"{url}/v1/projects/{secret}/settings").status_code == 404
        assert httpx.post(f"{url}/v1/batch?writeKey={secret}", content=b"no JSON").status_code == 400
        settings.write_text(before + f'\n[[sources.app.keys]]\nwrite_key = "{public}"\n')
        revoked_at = time.monotonic()
        while status(secret) != 401:
            assert time.monotonic() - revoked_at < 2.0, "it lives on"
        assert status(public) == 200
        settings.write_text("[shop\n")
        time.sleep(0.3)
        assert status(public) == 200, "a mistake in the file locks nobody out"
        assert "cannot be used" in httpx.get(f"{url}/health").json()["keys"]
        running.send_signal(signal.SIGTERM)
        said, complained = running.communicate(timeout=20)
    assert "the keys were read again" in complained and "were not read again" in complained
    assert secret not in said + complained and hashed(secret) not in said + complained
    for file in (folder / KEPT).iterdir():
        assert not file.is_file() or secret.encode() not in file.read_bytes(), file.name
