"""The tracking API by its answers: who may send, in what shapes, and what becomes of what cannot be used."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import re
import threading
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from tests.shop import APPAREL, NOON
from tests.unit.observation.test_proofs import token
from typer.main import get_command

from wayline.cli import app
from wayline.domain import Event
from wayline.errors import AuthorError, StoreUnavailable
from wayline.playbook.settings import read_sources
from wayline.runtime.collecting import Collected, Collector, Delivered
from wayline.runtime.folders import copy_example
from wayline.serving.bodies import BODY_MAX, MEMBERS_MAX
from wayline.serving.collector import BATCHES, PIXELS, SINGLES, tracking
from wayline.serving.intake import Intake
from wayline.serving.senders import Keys, Watched, hashed, new_key
from wayline.store import Appended, Log, Rejection, Vault
from wayline.store.memory import MemoryLog
from wayline.store.opening import open_store

PUBLIC, SECRET = "web-key-0001", "server-secret-0001"
SOURCES = {
    "web": {"write_key": PUBLIC},
    "server": {"secret_key_sha256": hashlib.sha256(SECRET.encode()).hexdigest()},
}
SUCCESS = b'{"success":true}'
IDENTITY = "a secret of the shop's own server"


class Api:
    """The tracking API over a store in memory, asked without a socket."""

    def __init__(
        self, *, log: Log | None = None, collector: Collector | None = None, sources: Any = SOURCES,
        watched: Watched | None = None, public_url: str = "", **limits: int,
    ) -> None:  # fmt: skip
        self.store = open_store()
        self.log = log or self.store.log
        self.told = 0
        self.intake = Intake(
            collector or Collector(self.log, self.store.vault, currency="EUR"), on_stored=self._told, **limits
        )
        self.seconds = 0.0
        self.keys = Keys(sources, {"SIGNS": IDENTITY}, watched=watched, seconds=lambda: self.seconds)
        routes = tracking(self.keys, self.intake, public_url=public_url, clock=lambda: NOON)
        self.app = Starlette(routes=routes)

    def _told(self) -> None:
        self.told += 1

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        (answer,) = self.ask_all([(method, path, more)])
        return answer

    def ask_all(self, asked: Sequence[tuple[str, str, dict[str, Any]]]) -> list[httpx.Response]:
        """All at once, as many clients would."""

        async def ask() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                return list(await asyncio.gather(*(client.request(m, path, **more) for m, path, more in asked)))

        return asyncio.run(ask())

    def post(self, path: str, body: Any = None, *, key: str = PUBLIC, **more: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {**(basic(key) if key else {}), **more.pop("headers", {})}
        return self.ask("POST", path, content=content, headers=headers, **more)

    @property
    def events(self) -> list[Event]:
        return self.store.log.read(0, 10_000)


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


def viewed(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "type": "track", "event": "Product Viewed", "messageId": f"m{number}", "anonymousId": f"visitor-{number:012d}",
        "properties": {"sku": "jacket"}, **more,
    }  # fmt: skip


def batch(*items: Any, **more: Any) -> dict[str, Any]:
    return {"batch": list(items), **more}


def is_error(answer: httpx.Response, status: int, code: str) -> bool:
    """As the clients need it: JSON with code and message, readable from any page."""
    told = answer.json()
    return (
        (answer.status_code, told["code"], bool(told["message"])) == (status, code, True)
        and answer.headers["content-type"] == "application/json"
        and answer.headers["access-control-allow-origin"] == "*"
    )


# ------------------------------------------------------------------ shapes


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch"])
def test_a_batch_is_stored_and_answered_with_exactly_success(path: str) -> None:
    api = Api()
    answer = api.post(path, batch(viewed(1), viewed(2)))
    assert (answer.status_code, answer.content) == (200, SUCCESS)
    assert [(event.name, event.source, event.received_at) for event in api.events] == [
        ("Product Viewed", "web", NOON)
    ] * 2
    assert api.told == 1, "the engine is told once a commit"


@pytest.mark.parametrize(
    "paths, said, stored",
    [
        (("track", "t"), {"event": "Signed Up"}, ("track", "Signed Up")),
        (("identify", "i"), {"traits": {"language": "de"}}, ("identify", "Identify")),
        (("page", "p"), {"name": "Home"}, ("page", "Page Viewed")),
        (("screen", "s"), {"name": "Home"}, ("screen", "Screen Viewed")),
        (("group", "g"), {"groupId": "family-of-berg"}, ("group", "Group")),
        (("alias", "a"), {"previousId": "visitor-of-last-week"}, ("alias", "Alias")),
    ],
)
def test_each_kind_has_its_path_and_the_browser_its_letter(
    paths: tuple[str, str], said: dict[str, Any], stored: tuple[str, str]
) -> None:
    api = Api()
    for path in paths:
        told = {"userId": "customer-of-ours-01", "messageId": path, **said}
        assert api.post(f"/v1/{path}", told).content == SUCCESS
    assert [(event.kind, event.name) for event in api.events] == [stored] * 2, api.store.log.rejections()


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json", "", "nonsense"]
)
@pytest.mark.parametrize("zipped", [False, True])
def test_the_body_is_json_whatever_its_content_type_says(content_type: str, zipped: bool) -> None:
    api = Api()
    body = json.dumps(batch(viewed())).encode()
    headers = {"Content-Type": content_type} | ({"Content-Encoding": "gzip"} if zipped else {})
    assert api.post("/v1/batch", gzip.compress(body) if zipped else body, headers=headers).content == SUCCESS
    assert len(api.events) == 1


def test_what_the_batch_says_holds_for_its_messages_and_their_own_words_win() -> None:
    api = Api()
    page = {"page": {"path": "/a"}, "locale": "de-DE"}
    told = batch(
        viewed(1, originalTimestamp="2025-10-07T09:00:00Z"),
        viewed(2, originalTimestamp="2025-10-07T09:00:00Z", context={"locale": "en-GB"}),
        sentAt="2025-10-07T09:30:00Z",
        context=page,
    )
    assert api.post("/v1/batch", told).content == SUCCESS
    assert [event.context["locale"] for event in api.events] == ["de-DE", "en-GB"]
    # The client's clock said half past when ours said ten: what it calls nine happened at half past nine.
    assert {(event.occurred_at.hour, event.occurred_at.minute) for event in api.events} == {(9, 30)}


def test_a_retry_is_a_duplicate_and_a_success() -> None:
    api = Api()
    for _ in range(3):
        assert api.post("/v1/batch", batch(viewed(1), viewed(2))).content == SUCCESS
    assert len(api.events) == 2
    counts = api.intake.counts
    assert counts["accepted"] == 6 == counts["stored"] + counts["duplicate"] + counts["conflict"] + counts["rejected"]


# ------------------------------------------------------------------ who may send


@pytest.mark.parametrize(
    "ask",
    [
        {"headers": basic(PUBLIC)},
        {"headers": {"Authorization": f"Bearer {PUBLIC}"}},
        {"params": {"writeKey": PUBLIC}},
        {"said": {"writeKey": PUBLIC}},
        {"headers": basic(PUBLIC), "said": {"writeKey": "what the body says comes second"}},
    ],
)
def test_the_key_is_found_where_clients_put_it(ask: dict[str, Any]) -> None:
    api = Api()
    answer = api.post("/v1/batch", batch(viewed(), **ask.pop("said", {})), key="", **ask)
    assert answer.content == SUCCESS
    assert [event.source for event in api.events] == ["web"]


@pytest.mark.parametrize(
    "ask, code",
    [
        ({}, "no_write_key"),
        ({"headers": basic("web-key-0002")}, "unknown_write_key"),
        ({"headers": basic(hashlib.sha256(SECRET.encode()).hexdigest())}, "unknown_write_key"),
        ({"headers": {"Authorization": "Basic not-base64!"}}, "no_write_key"),
        ({"headers": {"Authorization": "Digest x"}}, "no_write_key"),
        ({"params": {"writeKey": SECRET}}, "secret_in_url"),
    ],
)
def test_nobody_else_may_send(ask: dict[str, Any], code: str) -> None:
    api = Api()
    answer = api.post("/v1/batch", batch(viewed(), writeKey=None), key="", **ask)
    assert is_error(answer, 401, code) and api.events == []
    assert api.intake.counts[f"refused: {code}"] == 1


def test_a_shop_without_sources_says_what_to_add() -> None:
    answer = Api(sources={}).post("/v1/track", viewed())
    assert is_error(answer, 401, "no_sources") and "wayline keys new" in answer.json()["message"]


def test_what_a_public_key_says_of_a_person_is_a_claim_and_a_secret_one_is_believed() -> None:
    api = Api()
    granted = {"type": "track", "event": "Consent Granted", "userId": "customer-of-ours-01", "properties": {}}
    shipped = {"type": "track", "event": "Order Shipped", "userId": "customer-of-ours-01", "properties": {}}
    for key in (PUBLIC, SECRET):
        assert api.post("/v1/batch", batch(granted, shipped), key=key).content == SUCCESS
    told = [(event.source, event.name, "unverified" in event.notes) for event in api.events]
    assert told == [
        ("web", "Consent Claimed", True), ("server", "Consent Granted", False), ("server", "Order Shipped", False),
    ]  # fmt: skip
    assert [one.code for one in api.store.log.rejections()] == ["needs_secret_key"]


def test_a_page_elsewhere_may_ask_first_and_is_told_for_a_day() -> None:
    api = Api()
    for path in ("/v1/batch", "/v1/t", "/v1/m", f"/v1/projects/{PUBLIC}/settings"):
        answer = api.ask("OPTIONS", path, headers={"Origin": "https://larkfell.example"})
        assert answer.status_code in (200, 204) and answer.content == b""
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert {"Authorization", "Content-Type", "X-Retry-Count"} <= set(
            answer.headers["access-control-allow-headers"].split(", ")
        )
        assert int(answer.headers["access-control-max-age"]) >= 3600
    assert "Retry-After" in api.post("/v1/t", viewed()).headers["access-control-expose-headers"]


def test_the_browser_client_is_told_where_to_send() -> None:
    api = Api()
    told = api.ask("GET", f"/v1/projects/{PUBLIC}/settings").json()
    assert told["integrations"]["Segment.io"] == {"apiKey": PUBLIC, "apiHost": "shop/v1", "protocol": "http"}
    for key in ("web-key-0002", SECRET):
        assert api.ask("GET", f"/v1/projects/{key}/settings").status_code == 404
    assert api.ask("POST", "/v1/m", content=b"anything").content == SUCCESS


def test_a_browser_that_asks_by_the_public_name_is_told_its_protocol() -> None:
    api = Api(public_url="https://hello.larkfell.example/events/")
    outside = ("https", "hello.larkfell.example/events/v1")
    for headers, expected in (
        ({"Host": "hello.larkfell.example"}, outside),
        ({"Host": "127.0.0.1:8400"}, ("http", "127.0.0.1:8400/v1")),
        ({"Host": "127.0.0.1:8400", "X-Forwarded-For": "192.0.2.1"}, outside),
        ({"Host": "10.0.0.7:8400"}, outside),
    ):
        told = api.ask("GET", f"/v1/projects/{PUBLIC}/settings", headers=headers).json()
        told_here = told["integrations"]["Segment.io"]
        assert (told_here["protocol"], told_here["apiHost"]) == expected, headers


def test_other_methods_are_refused_in_words() -> None:
    assert is_error(Api().ask("GET", "/v1/batch"), 405, "method")


# ------------------------------------------------------------------ what a key may do


def test_x04_a_write_key_is_good_only_on_the_pages_of_its_shop() -> None:
    api = Api(sources={"web": {"write_key": PUBLIC, "origins": ["https://www.larkfell.example"]}})
    ours = {"Origin": "https://WWW.larkfell.example"}
    taken = api.post("/v1/t", viewed(1), headers=ours)
    assert taken.content == SUCCESS
    assert taken.headers["access-control-allow-origin"] == "https://WWW.larkfell.example"
    assert taken.headers["vary"] == "Origin"
    for theirs in (
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "https://www.larkfell.example.evil.example"},
        {"Origin": "http://www.larkfell.example"}, {"Referer": "https://evil.example/a"}, {"Referer": "https://[bad"},
    ):  # fmt: skip
        assert is_error(api.post("/v1/t", viewed(2), headers=theirs), 403, "wrong_origin"), theirs
    assert api.post("/v1/t", viewed(3)).content == SUCCESS, "a program that says no page is no browser"
    assert api.post("/v1/t", viewed(4), headers={"Referer": "https://www.larkfell.example/a"}).content == SUCCESS
    assert len(api.events) == 3 and api.intake.counts.refused["web", "wrong_origin"] == 6


def test_x04_a_write_key_reads_nothing_and_erases_nothing() -> None:
    api = Api()
    for path in (*BATCHES, *SINGLES):
        for method in ("GET", "DELETE", "PUT", "PATCH", "HEAD"):
            answer = api.ask(method, path, headers=basic(PUBLIC))
            assert answer.status_code == 405 and answer.headers["allow"] == "POST, OPTIONS", (method, path)
    assert api.events == []


def test_s34_a_browser_moves_no_address_and_grants_no_consent_unless_the_shop_vouches_for_it() -> None:
    api = Api(sources={"web": {"write_key": PUBLIC, "identity_secret_env": "SIGNS"}})
    moves = {"type": "identify", "userId": "ann-of-the-shop", "traits": {"email": "mallory@example.com"}}
    grants = {"type": "track", "event": "Consent Granted", "userId": "ann-of-the-shop", "properties": {}}
    assert api.post("/v1/batch", batch(moves, grants)).content == SUCCESS
    assert [(event.name, "unverified" in event.notes) for event in api.events] == [
        ("Identify", True), ("Consent Claimed", True),
    ]  # fmt: skip
    signed = {"X-Wayline-Identity": token(IDENTITY.encode(), sub="ann-of-the-shop", email="mallory@example.com")}
    again = ({**each, "messageId": each["type"]} for each in (moves, grants))
    assert api.post("/v1/batch", batch(*again), headers=signed).content == SUCCESS
    assert [(event.name, "unverified" in event.notes) for event in api.events][2:] == [
        ("Identify", False), ("Consent Granted", False),
    ]  # fmt: skip


def test_a_secret_that_could_be_guessed_signs_nothing_and_that_is_said() -> None:
    for environ, said in (({}, "is not in the environment"), ({"SIGNS": "short"}, "only 5 bytes")):
        keys = Keys({"web": {"write_key": PUBLIC, "identity_secret_env": "SIGNS"}}, environ)
        sender = keys.sender(PUBLIC)
        assert sender is not None and sender.identity_secret == b""
        (doubt,) = keys.doubts
        assert "SIGNS" in doubt and said in doubt
    assert Keys({"web": {"write_key": PUBLIC, "identity_secret_env": "SIGNS"}}, {"SIGNS": IDENTITY}).doubts == []


def test_a_key_is_good_until_its_day_and_for_its_scopes() -> None:
    dead, dying, reading = "wls_dead-0001", "wls_dying-0001", "wls_reading-0001"
    keys = [
        {"secret_key_sha256": hashed(dead), "expires_on": "2025-10-06"},
        {"secret_key_sha256": hashed(dying), "expires_on": NOON.date().isoformat()},
        {"secret_key_sha256": hashed(reading), "scopes": ["read", "admin"]},
    ]
    api = Api(sources={"server": {"keys": keys}})
    assert is_error(api.post("/v1/t", viewed(1), key=dead), 401, "expired_key")
    assert api.post("/v1/t", viewed(2), key=dying).content == SUCCESS, "its last day is not over"
    assert is_error(api.post("/v1/t", viewed(3), key=reading), 403, "no_scope")
    assert api.intake.counts.refused == {("server", "expired_key"): 1, ("server", "no_scope"): 1}


def test_a_key_may_send_so_often_and_is_told_when_again() -> None:
    api = Api(sources={**SOURCES, "web": {"write_key": PUBLIC, "requests_per_second": 2}})
    taken = [api.post("/v1/t", viewed(number)).status_code for number in range(6)]
    assert taken == [200] * 4 + [429] * 2, "two seconds' worth may come at once"
    refused = api.post("/v1/t", viewed(9))
    assert is_error(refused, 429, "rate_limited")
    assert refused.headers["retry-after"] == refused.headers["x-ratelimit-reset"] == "1"
    assert "X-RateLimit-Reset" in refused.headers["access-control-expose-headers"]
    assert api.post("/v1/t", viewed(10), key=SECRET).content == SUCCESS, "another key has its own allowance"
    api.seconds += 1.0
    assert [api.post("/v1/t", viewed(number)).status_code for number in (11, 12, 13)] == [200, 200, 429]
    assert len(api.events) == 7 and api.intake.counts.refused["web", "rate_limited"] == 4


def test_x05_a_revoked_key_dies_at_once_and_a_broken_file_revokes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "wayline.toml"
    shop = (APPAREL / "wayline.toml").read_text()

    def say(*keys: str) -> None:
        file.write_text(shop + "".join(f'\n[[sources.web.keys]]\nwrite_key = "{key}"\n' for key in keys))

    def status(key: str) -> int:
        api.seconds += 1
        return api.post("/v1/t", viewed(1), key=key).status_code

    old, fresh = new_key(is_secret=False), new_key(is_secret=False)
    say(old)
    api = Api(sources=read_sources(file.read_text()), watched=Watched(file, read_sources))
    assert (status(old), status(fresh)) == (200, 401)
    say(old, fresh)
    assert (status(old), status(fresh)) == (200, 200), "both hold while one replaces the other"
    say(fresh)
    assert (status(old), status(fresh)) == (401, 200)
    file.write_text(shop + "\n[sources.web\n")
    assert (status(old), status(fresh)) == (401, 200) and "wayline.toml:" in api.keys.trouble
    file.unlink()
    assert status(fresh) == 200 and api.keys.trouble
    say(old)
    assert (status(old), status(fresh)) == (200, 401) and not api.keys.trouble


def test_x05_a_secret_key_is_known_by_its_beginning_and_written_down_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shop"
    copy_example(folder)
    made = CliRunner().invoke(
        get_command(app), ["keys", "new", str(folder), "--source", "server", "--secret", "--write"]
    )
    key = made.output.split()[0]
    assert made.exit_code == 0 and re.fullmatch(r"wls_[\w-]{40,}", key)
    text = (folder / "wayline.toml").read_text()
    assert key not in text and hashed(key) in text
    api = Api(sources=read_sources(text))
    answers = [
        api.post("/v1/t", viewed(1), key=key), api.post("/v1/t", viewed(2), key="", params={"writeKey": key}),
        api.ask("GET", f"/v1/projects/{key}/settings"),
        api.ask("GET", "/pixel/v1/track", params={"writeKey": key, "anonymousId": "visitor-of-ours"}),
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [200, 401, 404, 401]
    told = "".join(answer.text + str(answer.headers) for answer in answers)
    kept = "".join(str(each) for each in (*api.events, *api.store.log.rejections(), api.intake.counts, api.keys))
    logged = "".join(capfd.readouterr())
    assert key not in told + kept + logged and key not in repr(vars(api.keys))


def test_a_secret_key_in_the_place_of_a_public_one_is_refused_before_it_is_in_every_page() -> None:
    shop = (APPAREL / "wayline.toml").read_text()
    with pytest.raises(AuthorError, match="does not begin with 'wls_'"):
        read_sources(shop + f'\n[sources.web]\nwrite_key = "{new_key(is_secret=True)}"\n')


# ------------------------------------------------------------------ other clients' ways


def test_a_merge_links_what_may_be_linked() -> None:
    api = Api()
    merge = {"messageId": "g1", "mergeProperties": [{"type": "user_id", "value": "ann-of-the-shop"},
             {"type": "anonymous_id", "value": "visitor-of-ours-1"}]}  # fmt: skip
    assert api.post("/v1/merge", merge).content == SUCCESS
    assert api.post("/v1/batch", batch({**merge, "type": "merge", "messageId": "g2"})).content == SUCCESS
    assert [(event.kind, [each.kind for each in event.identifiers]) for event in api.events] == [
        ("alias", ["user_id", "anonymous_id"])
    ] * 2


@pytest.mark.parametrize("path", PIXELS)
def test_a_picture_of_one_point_tells_one_message(path: str) -> None:
    api = Api()
    asked = {"writeKey": PUBLIC, "anonymousId": "visitor-of-ours-1", "event": "Product Viewed",
             "properties.sku": "jacket", "messageId": "p1"}  # fmt: skip
    answer = api.ask("GET", path, params=asked)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/gif"
    assert answer.content[:6] == b"GIF89a" and answer.headers["cache-control"] == "no-store"
    assert api.events[0].properties["sku"] == "jacket"
    assert is_error(api.ask("GET", path, params={"anonymousId": "x"}), 401, "no_write_key")
    assert is_error(api.ask("POST", path, params=asked), 405, "method")
    assert is_error(api.ask("GET", path, params={str(number): "x" for number in range(300)}), 400, "bad_query")


# ------------------------------------------------------------------ what cannot be used

BAD_BODIES: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "bad_json"),
    "half of it": (b'{"batch": [', 400, "bad_json"),
    "no JSON": (b"event=Product+Viewed", 400, "bad_json"),
    "a list": (b"[]", 400, "bad_json"),
    "a number": (b"7", 400, "bad_json"),
    "a bottomless list": (b"[" * 200_000, 400, "bad_json"),
    "a bottomless batch": (b'{"batch":' + b"[" * 200_000, 400, "bad_json"),
    "no batch": (b"{}", 400, "no_batch"),
    "a batch that is none": (b'{"batch": {"0": {}}}', 400, "no_batch"),
    "a batch of null": (b'{"batch": null}', 400, "no_batch"),
}


@pytest.mark.parametrize("case", BAD_BODIES)
def test_a_body_that_is_no_batch_is_refused_for_good_with_code_and_message(case: str) -> None:
    body, status, code = BAD_BODIES[case]
    api = Api()
    assert is_error(api.post("/v1/batch", body), status, code) and api.events == []


BAD_MESSAGES: dict[str, tuple[Any, str]] = {
    "no ids": ({"type": "track", "event": "Product Viewed"}, "no_identifier"),
    "ids that name nobody": ({"type": "track", "event": "Product Viewed", "userId": "null"}, "no_identifier"),
    "no message": (7, "not_an_object"),
    "null": (None, "not_an_object"),
    "no type": ({"event": "Product Viewed", "userId": "customer-of-ours-01"}, "unknown_type"),
    "another type": ({"type": "purchase", "userId": "customer-of-ours-01"}, "unknown_type"),
    "no name": ({"type": "track", "userId": "customer-of-ours-01"}, "no_name"),
    "properties that are none": (viewed(9, properties=[1]), "wrong_type"),
    "a price in words": (viewed(9, properties={"price": "cheap"}), "bad_amount"),
    "a time that is none": (viewed(9, timestamp="yesterday"), "bad_time"),
    "an ancient time": (viewed(9, timestamp="1970-01-01T00:00:00Z"), "ancient"),
    "too large": (viewed(9, properties={"sku": "x" * 600_000}), "oversize"),
    "too deep": (viewed(9, properties={"a": json.loads("[" * 20 + "]" * 20)}), "too_deep"),
}


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_a_message_that_cannot_be_used_is_kept_with_its_reason_and_its_neighbours_pass(case: str) -> None:
    bad, code = BAD_MESSAGES[case]
    api = Api()
    answer = api.post("/v1/batch", batch(viewed(1), bad, viewed(2)))
    assert answer.content == SUCCESS, "or the client would send all three again"
    assert [event.event_id for event in api.events] == ["m1", "m2"]
    (kept,) = api.store.log.rejections()
    assert (kept.code, kept.source, kept.received_at) == (code, "web", NOON) and kept.reason and kept.body
    assert api.intake.counts["rejected"] == 1 and api.intake.counts["accepted"] == 3


@pytest.mark.parametrize("odd", [b"NaN", b'"\\ud800"', b"1e999", b"Infinity"])
def test_what_json_has_not_spoils_one_message_and_not_the_batch(odd: bytes) -> None:
    api = Api()
    whole = json.dumps(batch(viewed(1), viewed(2, properties={"sku": "jacket", "odd": "@@"}))).encode()
    assert api.post("/v1/batch", whole.replace(b'"@@"', odd)).content == SUCCESS
    assert [event.event_id for event in api.events] == ["m1"]
    assert len(api.store.log.rejections()) == 1


BROKEN = {
    "a bare word": b"{oops}", "half an object": b'{"type": "track", "properties": {"a": [1, 2}}', "no value": b'{"a":}',
    "a trailing comma": b'{"a": 1,}', "a number of its own": b'{"a": 0x1F}', "single quotes": b"{'a': 1}",
    "an open text": b'{"a": "\n"}', "a byte": b"\xff", "two values": b"{} {}", "too deep": b"[" * 5000 + b"]" * 5000,
    "deep and open": b'{"a":' + b"[" * 5000,
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_r04_a_message_that_is_no_json_is_kept_as_it_came_and_its_neighbours_are_stored(case: str) -> None:
    api = Api()
    good = [json.dumps(viewed(number)).encode() for number in (1, 2, 3)]
    body = b'{"sentAt": "2025-10-07T09:30:00Z", "batch": [' + b", ".join((good[0], BROKEN[case], good[1], good[2]))
    answer = api.post("/v1/batch", body + b'], "writeKey": "' + PUBLIC.encode() + b'"}', key="")
    assert answer.content == SUCCESS, answer.text
    assert [event.event_id for event in api.events] == ["m1", "m2", "m3"]
    (kept,) = api.store.log.rejections()
    counts = api.intake.counts
    assert (kept.code, kept.source) == ("bad_json", "web") or case in ("a byte",)
    assert kept.body and kept.reason and (counts["accepted"], counts["stored"], counts["rejected"]) == (4, 3, 1)


def test_strict_says_which_and_why_and_the_others_are_stored_all_the_same() -> None:
    api = Api()
    bad = {"type": "track", "userId": "customer-of-ours-01"}
    answer = api.post("/v1/batch?strict=1", batch(viewed(1), bad))
    assert is_error(answer, 400, "rejected")
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"], error["field"]) == ("/batch/1", "no_name", "event")
    assert len(api.events) == 1
    single = api.post("/v1/track?strict=1", bad).json()
    assert single["errors"][0]["pointer"] == ""
    assert api.post("/v1/batch?strict=1", batch(viewed(3))).content == SUCCESS


def test_a_batch_whose_clock_is_broken_keeps_each_message_with_that_reason() -> None:
    api = Api()
    answer = api.post("/v1/batch", batch(viewed(1, timestamp="2025-10-07T09:00:00Z"), 7, sentAt="noon"))
    assert answer.content == SUCCESS
    assert sorted(one.code for one in api.store.log.rejections()) == ["bad_time", "not_an_object"]


# ------------------------------------------------------------------ too much


def test_a_gzip_bomb_is_inflated_no_further_than_the_limit() -> None:
    api = Api()
    bomb = gzip.compress(b"0" * (200 << 20), 9)
    assert len(bomb) < BODY_MAX // 10
    assert is_error(api.post("/v1/batch", bomb), 413, "too_large")
    assert api.intake.bytes == 0


def test_no_more_than_a_few_gzip_members_are_read() -> None:
    body = json.dumps(batch(viewed())).encode()
    cut = [body[at : at + len(body) // 3] for at in range(0, len(body), len(body) // 3)]
    assert 1 < len(cut) <= MEMBERS_MAX
    assert Api().post("/v1/batch", b"".join(map(gzip.compress, cut))).content == SUCCESS
    many = b"".join(gzip.compress(body[at : at + 1]) for at in range(len(body)))
    assert is_error(Api().post("/v1/batch", many), 400, "bad_gzip")


@pytest.mark.parametrize("spoil", [lambda z: z[:-9], lambda z: z[:12], lambda z: z[:20] + b"x" * 9 + z[29:]])
def test_a_gzip_body_that_is_cut_off_or_broken_is_refused(spoil: Any) -> None:
    zipped = gzip.compress(json.dumps(batch(viewed())).encode())
    assert is_error(Api().post("/v1/batch", spoil(zipped)), 400, "bad_gzip")


def test_an_encoding_we_do_not_know_is_named() -> None:
    answer = Api().post("/v1/batch", b"\x1bsomething", headers={"Content-Encoding": "br"})
    assert is_error(answer, 415, "encoding") and "'br'" in answer.json()["message"]


def test_a_body_beyond_the_limit_is_refused_by_what_it_says_and_by_what_comes() -> None:
    api = Api()
    assert is_error(api.post("/v1/batch", b" " * (BODY_MAX + 1)), 413, "too_large")

    async def drip() -> Any:
        for _ in range(BODY_MAX // (1 << 20) + 1):
            yield b" " * (1 << 20)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.post("/v1/batch", content=drip())

    assert is_error(asyncio.run(ask()), 413, "too_large")
    assert api.intake.bytes == 0


def test_four_megabytes_are_taken() -> None:
    api = Api()
    items = [viewed(number, properties={"sku": "jacket", "note_": "n" * 1500}) for number in range(2500)]
    body = json.dumps(batch(*items)).encode()
    assert 4_000_000 < len(body) < BODY_MAX
    assert api.post("/v1/batch", body).content == SUCCESS
    assert api.intake.counts["accepted"] == 2500 == api.intake.counts["stored"]


class Gated(Collector):
    """A collector whose disk is as slow as the test says."""

    def __init__(self, log: Log, vault: Vault) -> None:
        super().__init__(log, vault)
        self.gate = threading.Event()
        self.groups: list[int] = []

    def collect(self, *requests: Delivered) -> Collected:
        assert self.gate.wait(10)
        self.groups.append(len(requests))
        return super().collect(*requests)


def test_a_full_queue_says_when_to_come_again_and_drops_nothing_it_took() -> None:
    store = open_store()
    slow = Gated(store.log, store.vault)
    api = Api(collector=slow, bytes_max=2000)
    threading.Timer(0.2, slow.gate.set).start()
    body = json.dumps(batch(viewed(1))).encode()
    asked = [
        ("POST", "/v1/batch", {"content": body.replace(b"m1", b"q%d" % number), "headers": basic(PUBLIC)})
        for number in range(40)
    ]
    answers = api.ask_all(asked)
    taken = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert taken and refused
    assert all(is_error(answer, 429, "busy") and int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert store.log.counts()["stored"] == len(taken)
    assert api.intake.bytes == 0


# ------------------------------------------------------------------ one commit for many


def test_requests_that_come_while_one_is_written_share_the_next_commit() -> None:
    store = open_store()
    slow = Gated(store.log, store.vault)
    api = Api(collector=slow)
    threading.Timer(0.2, slow.gate.set).start()
    asked = [("POST", "/v1/track", {"json": viewed(number), "headers": basic(PUBLIC)}) for number in range(50)]
    assert {answer.content for answer in api.ask_all(asked)} == {SUCCESS}
    assert sum(slow.groups) == 50 and len(slow.groups) <= 3, slow.groups
    assert store.log.counts()["stored"] == 50


class Poisoned(Collector):
    """A collector with a defect that one message sets off."""

    def collect(self, *requests: Delivered) -> Collected:
        if any(b"Poison" in item for request in requests for item in request.items):
            raise ZeroDivisionError("a defect")
        return super().collect(*requests)


def test_one_poisonous_request_fails_alone() -> None:
    store = open_store()
    api = Api(collector=Poisoned(store.log, store.vault))
    items = [viewed(number) for number in range(9)]
    items[4]["event"] = "Poison"
    asked = [("POST", "/v1/track", {"json": item, "headers": basic(PUBLIC)}) for item in items]
    answers = api.ask_all(asked)
    assert [answer.status_code for answer in answers] == [200] * 4 + [500] + [200] * 4
    assert is_error(answers[4], 500, "defect")
    assert store.log.counts()["stored"] == 8


class FullDisk(MemoryLog):
    """A log whose disk is full."""

    def append(self, events: Sequence[Event], rejections: Sequence[Rejection] = ()) -> Appended:
        raise StoreUnavailable("log.sqlite: no room on the disk. Free some space and try again.")


def test_a_full_disk_acknowledges_nothing_and_says_when_to_come_again() -> None:
    api = Api(log=FullDisk())
    answer = api.post("/v1/batch", batch(viewed()))
    assert is_error(answer, 503, "store_unavailable") and int(answer.headers["retry-after"]) >= 1
    assert "no room on the disk" in answer.json()["message"] and api.told == 0


def test_whoever_goes_away_in_the_middle_leaves_nothing_behind() -> None:
    api = Api()
    parts = iter([{"type": "http.request", "body": b'{"batch"', "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(parts)

    async def send(part: Any) -> None:
        sent.append(part)

    scope = {"type": "http", "method": "POST", "path": "/v1/batch", "query_string": b"", "headers": []}
    asyncio.run(api.app(scope, receive, send))
    assert sent == [] and api.intake.bytes == 0 and api.events == []


# ------------------------------------------------------------------ on a real socket


@contextmanager
def served(app: Starlette) -> Any:
    import socket

    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http="httptools", log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def test_on_a_real_socket_too_large_is_heard_before_it_is_sent_and_the_next_request_is_fine() -> None:
    api = Api()
    with served(api.app) as url, httpx.Client() as client:
        assert client.post(f"{url}/v1/batch", json=batch(viewed(1)), headers=basic(PUBLIC)).content == SUCCESS
        try:
            refused = client.post(f"{url}/v1/batch", content=b" " * (BODY_MAX + 1), headers=basic(PUBLIC))
            assert is_error(refused, 413, "too_large")
        except httpx.TransportError:
            pass  # the connection was closed before all of it was sent, which says the same
        zipped = gzip.compress(json.dumps(batch(viewed(2))).encode())
        answer = client.post(f"{url}/v1/batch", content=zipped, headers={**basic(PUBLIC), "Content-Encoding": "gzip"})
        assert (answer.status_code, answer.content) == (200, SUCCESS)
        assert client.options(f"{url}/v1/batch").status_code == 204
    assert [event.event_id for event in api.events] == ["m1", "m2"]
