"""Signed calls: who is let in, what becomes of what they tell, and what a replay finds."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import anyio
import httpx
from starlette.applications import Starlette
from tests.shop import NOON

from wayline.runtime.collecting import Collector
from wayline.serving.intake import Intake
from wayline.serving.webhooks import CALL_BYTES_MAX, webhooks
from wayline.sources.opening import open_receivers
from wayline.store.opening import open_store

KEY = b"0123456789abcdef0123456789abcdef"
SETTINGS = {"desk": {"kind": "webhook", "secret_env": "DESK_SECRET"}}
BODY = b'{"type":"track","event":"Ticket Opened","userId":"anna","messageId":"t-1","properties":{"ticket_id":"7"}}'


def signed(body: bytes, *, key: bytes = KEY, call_id: str = "c1", seconds: float | None = None) -> dict[str, str]:
    at = str(int(NOON.timestamp() if seconds is None else seconds))
    digest = hmac.new(key, f"{call_id}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": call_id,
        "webhook-timestamp": at,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


class Api:
    def __init__(self, settings: Any = SETTINGS, *, clock: Callable[[], datetime] = lambda: NOON) -> None:
        self.store = open_store()
        self.intake = Intake(Collector(self.store.log, self.store.vault))
        environment = {"DESK_SECRET": "whsec_" + base64.b64encode(KEY).decode()}
        routes = webhooks(open_receivers(settings, environment), self.intake, clock=clock)
        self.app = Starlette(routes=routes)

    def post(self, body: bytes, headers: Any, path: str = "/webhooks/desk") -> httpx.Response:
        async def asking() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                return await client.post(path, content=body, headers=headers)

        return anyio.run(asking)


def test_a_signed_call_is_stored_before_it_is_answered() -> None:
    api = Api()
    assert api.post(BODY, signed(BODY)).json() == {"success": True}
    (event,) = api.store.log.read(0, 10)
    assert (event.name, event.source, event.event_id) == ("Ticket Opened", "desk", "t-1")


def test_x08_what_nobody_signed_is_401_and_tells_nothing() -> None:
    api = Api()
    wrong = [
        {},
        signed(BODY, key=b"another key"),
        signed(BODY + b" "),
        signed(BODY, seconds=NOON.timestamp() - 301),
        signed(BODY, seconds=NOON.timestamp() + 301),
        {**signed(BODY), "webhook-signature": "v1,\xfc\xdf".encode("latin-1")},
        {**signed(BODY), "webhook-id": "another"},
    ]
    assert {api.post(BODY, headers).status_code for headers in wrong} == {401}
    assert api.store.log.head() == 0
    assert api.intake.counts["refused: unsigned"] == len(wrong)


def test_s16_a_replay_with_another_id_and_time_is_one_fact() -> None:
    api = Api()
    for call_id, seconds in (("c1", None), ("c2", NOON.timestamp() + 200)):
        assert api.post(BODY, signed(BODY, call_id=call_id, seconds=seconds)).status_code == 200
    assert api.store.log.counts() == {"stored": 1, "duplicate": 1, "conflict": 0, "rejected": 0}


BARE = b'{"batch":[{"type":"track","event":"Reward Earned","userId":"anna","properties":{"points":100}}%s]}'
TWICE = BARE % b',{"type":"track","event":"Reward Earned","userId":"anna","properties":{"points":100}}'


def test_s16_a_replayed_call_that_names_no_ids_is_the_facts_it_was() -> None:
    now = [NOON]
    api = Api(clock=lambda: now[0])
    for minutes in (0, 1, 3):
        now[0] = NOON + timedelta(minutes=minutes)
        assert api.post(TWICE, signed(TWICE)).status_code == 200
    assert api.store.log.counts() == {"stored": 2, "duplicate": 4, "conflict": 0, "rejected": 0}
    assert api.post(TWICE, signed(TWICE, call_id="c2")).status_code == 200
    assert api.store.log.counts()["stored"] == 4, "the same said in a call of its own is said again"


def test_x08_a_body_signed_without_a_time_is_one_fact_for_good() -> None:
    now = [NOON]
    api = Api({"crm": {"kind": "webhook", "secret_env": "DESK_SECRET", "header": "X-Sig"}}, clock=lambda: now[0])
    key = ("whsec_" + base64.b64encode(KEY).decode()).encode()
    for body in (BARE % b"", BARE.replace(b"100", b"200") % b""):
        for days in (0, 30, 60):
            now[0] = NOON + timedelta(days=days)
            sent = {"X-Sig": hmac.new(key, body, hashlib.sha256).hexdigest()}
            assert api.post(body, sent, "/webhooks/crm").status_code == 200
    assert api.store.log.counts() == {"stored": 2, "duplicate": 4, "conflict": 0, "rejected": 0}


def test_a_body_that_cannot_be_used_is_kept_with_the_reason() -> None:
    api = Api()
    assert api.post(b"{", signed(b"{")).status_code == 200
    (kept,) = api.store.log.rejections()
    assert (kept.code, kept.source, kept.body) == ("bad_json", "desk", b"{")
    assert api.intake.counts["accepted"] == api.intake.counts["rejected"] == 1


def test_nobody_answers_under_a_name_no_source_has() -> None:
    api = Api()
    assert api.post(BODY, signed(BODY), "/webhooks/other").status_code == 404
    assert api.post(b" " * (CALL_BYTES_MAX + 1), {}).status_code == 413
