"""From a provider's call to what the engine does about it: signed, stored, folded, decided."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from tests.shop import MARKETING, OPEN, Shop, written
from tests.unit.sources.test_providers import TOPIC, by_sns, signing

from wayline.domain import Identifier, Playbook, Receipt
from wayline.errors import AuthorError, OperatorError
from wayline.runtime.collecting import Collector, Delivered
from wayline.serving.intake import Intake
from wayline.serving.report import build, uneven_elsewhere
from wayline.serving.webhooks import webhooks
from wayline.sources.opening import Shop as Folder
from wayline.sources.opening import open_receivers
from wayline.sources.ses import Ses
from wayline.store.opening import open_store

HELLO = """\
enters_on: Product Viewed
steps:
  hello: {propose: [{action: say, channel: CHANNEL, content: hello}], patience: 3 days, then: end, otherwise: end}
"""
HELD = (
    OPEN
    + """\
slot: 1 minute
suppressions:
  open-ticket:
    while: open_tickets >= 1 OR ticket_closed > now - 1 day
    reason: a question to us is open, or was answered within a day
"""
)
MAPPING = """\
mapping: loyalty
each: events
fields:
  what: type
  id: id
  at: occurred.at
  mail: customer.email
  points: change.points
  item: lines[0].sku
messages:
  - event: Reward Earned
    when: what = 'points.added' AND points > 0
    time: at
    event_id: [id]
    email: mail
    properties: {points: points, reward_id: item, tier: {value: gold}}
  - type: identify
    when: what = 'member'
    email: mail
    external_ids: {loyalty_id: id}
    traits: {points: points}
"""
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = base64.b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
SOURCES: dict[str, dict[str, Any]] = {
    "mail": {"kind": "sendgrid", "public_key": PUBLIC},
    "texts": {"kind": "twilio", "secret_env": "TOKEN"},
    "desk": {"kind": "zendesk", "secret_env": "DESK"},
    "points": {"kind": "webhook", "secret_env": "POINTS", "mapping": "sources/points.yaml", "header": "X-Signature",
               "prefix": "sha256="},
    "ses": {"kind": "ses", "topics": TOPIC, "certificates": "sns.pem"},
    "postmark": {"kind": "postmark", "secret_env": "LONG"},
    "mailgun": {"kind": "mailgun", "secret_env": "TOKEN"},
    "tickets": {"kind": "tickets", "secret_env": "WHSEC"},
}  # fmt: skip
ENVIRONMENT = {"TOKEN": "12345", "DESK": "desk", "POINTS": "p", "LONG": "hooks:" + "x" * 30,
               "WHSEC": "whsec_" + base64.b64encode(b"k" * 32).decode()}  # fmt: skip
ANN = {"email": "ann@example.com", "phone": "+4915112345678"}


class Served:
    """A shop with its webhooks, its collector and its engine, on one clock."""

    def __init__(self, playbook: Playbook, folder: Path) -> None:
        (folder / "sources").mkdir(exist_ok=True)
        (folder / "sources" / "points.yaml").write_text(MAPPING)
        (folder / "sns.pem").write_bytes(signing()[1])
        self.shop = Shop(playbook, store=open_store())
        self.store = self.shop.store
        self.collector = Collector(self.store.log, self.store.vault)
        self.intake = Intake(self.collector)
        receivers = open_receivers(SOURCES, ENVIRONMENT, Folder(folder=folder))
        routes = webhooks(receivers, self.intake, public_url="https://shop.example", clock=lambda: self.shop.now)
        self.app = Starlette(routes=routes)
        traits = {"traits": ANN}
        self.tell({"type": "identify", "userId": "ann", **traits})
        for channel in ("email", "sms"):
            said = {"channel": channel, "purpose": "marketing"}
            self.tell({"type": "track", "event": "Consent Granted", "userId": "ann", "properties": said})

    def tell(self, message: dict[str, Any]) -> None:
        self.collector.collect(Delivered([message], "web", self.shop.now))
        self.shop.engine.drain(self.shop.now)

    def view(self) -> None:
        self.tell({"type": "track", "event": "Product Viewed", "userId": "ann", "properties": {"sku": "jacket"}})

    def call(self, source: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        async def asking() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="https://shop.example") as client:
                return await client.post(f"/webhooks/{source}", content=body, headers=headers)

        answer = anyio.run(asking)
        self.shop.engine.drain(self.shop.now)
        return answer

    def desk(self, **told: Any) -> httpx.Response:
        body = json.dumps({"ticket_id": 7, "email": ANN["email"], "message": "Where is it?", **told}).encode()
        at = self.shop.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        signature = base64.b64encode(hmac.new(b"desk", at.encode() + body, hashlib.sha256).digest()).decode()
        headers = {"X-Zendesk-Webhook-Signature": signature, "X-Zendesk-Webhook-Signature-Timestamp": at}
        return self.call("desk", body, headers)

    def text(self, **told: str) -> httpx.Response:
        over = "https://shop.example/webhooks/texts" + "".join(name + told[name] for name in sorted(told))
        signature = base64.b64encode(hmac.new(b"12345", over.encode(), hashlib.sha1).digest()).decode()
        headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
        return self.call("texts", urlencode(told).encode(), headers)


def served(tmp_path: Path, *, channel: str = "email", policy: str = OPEN) -> Served:
    playbook = written({"hello": MARKETING + HELLO.replace("CHANNEL", channel)}, policy=policy, hello=channel)
    return Served(playbook, tmp_path)


def test_s10_a_mail_nobody_knew_about_is_settled_by_its_provider_s_call(tmp_path: Path) -> None:
    here = served(tmp_path)
    here.shop.answers["email"] = Receipt("unknown", here.shop.now, "no reply")
    here.view()
    (row,) = here.shop.deliveries()
    assert row.state == "unknown"
    here.shop.after(minutes=1)
    told = {"email": "Ann@Example.com", "event": "delivered", "timestamp": int(here.shop.now.timestamp()),
            "sg_event_id": "e1", "smtp-id": f"<{row.decision_id}@shop.example>"}  # fmt: skip
    body, at = json.dumps([told]).encode(), str(int(here.shop.now.timestamp()))
    signature = base64.b64encode(KEY.sign(at.encode() + body, ec.ECDSA(SHA256()))).decode()
    headers = {
        "X-Twilio-Email-Event-Webhook-Signature": signature,
        "X-Twilio-Email-Event-Webhook-Timestamp": at,
    }
    assert here.call("mail", body, headers).status_code == 200
    assert [each.state for each in here.shop.deliveries()] == ["sent"]
    assert here.call("mail", body, headers).status_code == 200
    assert here.store.log.counts()["duplicate"] == 1
    assert here.call("mail", body + b" ", headers).status_code == 401


def test_s32_an_open_ticket_of_the_desk_holds_marketing_until_it_is_closed_and_a_day_over(
    tmp_path: Path,
) -> None:
    here = served(tmp_path, policy=HELD)
    assert here.desk(status="new", updated_at=here.shop.now.isoformat()).status_code == 200
    here.view()
    assert here.shop.sent() == [] and here.shop.refusals()[0][0] == "suppression"
    here.shop.after(hours=6)
    here.desk(status="pending", updated_at=here.shop.now.isoformat())
    here.shop.after(hours=6)
    assert here.shop.sent() == [], "a ticket that goes on is still open"
    here.desk(status="solved", updated_at=here.shop.now.isoformat())
    here.desk(status="open", updated_at=(here.shop.now - timedelta(hours=3)).isoformat())
    here.shop.after(hours=23)
    assert here.shop.sent() == []
    here.shop.after(hours=2)
    assert here.shop.sent() == [("email", "hello")], "an older word that came late has opened nothing"
    stored = here.store.log.read(0, 100)
    assert all("Where is it" not in str(event) and "ann@example" not in str(event) for event in stored)


def test_p13_stop_by_text_message_stops_texts_and_nothing_else(tmp_path: Path) -> None:
    here = served(tmp_path, channel="sms")
    answer = here.text(MessageSid="SM1", From=ANN["phone"], Body="Bitte keine SMS mehr")
    assert (answer.status_code, answer.text) == (200, "<Response/>")
    assert answer.headers["content-type"].startswith("text/xml"), "any other text would be sent to them as a message"
    here.view()
    assert here.shop.sent() == [] and here.shop.refusals()[0][0] == "consent"
    ann = (Identifier("user_id", here.store.vault.keyed("user_id", "ann")),)
    consents = here.shop.customer(ann).memory.consents
    assert consents["email:marketing"].is_granted and not consents["sms:marketing"].is_granted


def test_any_system_s_json_becomes_events_by_a_mapping(tmp_path: Path) -> None:
    here = served(tmp_path)
    body = json.dumps({"events": [
        {"type": "points.added", "id": 1, "occurred": {"at": "2025-10-07T09:00:00Z"},
         "customer": {"email": ANN["email"]},
         "change": {"points": 50}, "lines": [{"sku": "jacket"}]},
        {"type": "points.added", "id": 2, "change": {"points": -5}, "customer": {"email": ANN["email"]}},
        {"type": "member", "id": "m-7", "customer": {"email": ANN["email"]}, "change": {"points": 50}},
        {"type": "points.added", "id": 3, "occurred": {"at": "gestern"}, "customer": {"email": ANN["email"]},
         "change": {"points": 1}},
        "nothing",
    ]}).encode()  # fmt: skip
    signature = "sha256=" + hmac.new(b"p", body, hashlib.sha256).hexdigest()
    assert here.call("points", body, {"X-Signature": "sha256=" + "0" * 64}).status_code == 401
    for _ in range(2):
        assert here.call("points", body, {"X-Signature": signature}).status_code == 200
    earned, member = here.store.log.read(3, 10)
    assert (earned.name, earned.properties) == ("Reward Earned", {"points": 50, "reward_id": "jacket", "tier": "gold"})
    assert [one.kind for one in member.identifiers] == ["email", "loyalty_id"]
    assert member.name == "Identify"
    assert {row.code for row in here.store.log.rejections()} == {"bad_time"}, "its neighbours are stored"


def test_a_mapping_says_all_that_is_wrong_with_it_at_once(tmp_path: Path) -> None:
    wrong = MAPPING.replace("points: points, r", "points: pints, r").replace(
        "email: mail\n    properties", "properties"
    )
    wrong = wrong.replace("lines[0].sku", "lines[x].sku").replace("time: at", "time: aat")
    (tmp_path / "m.yaml").write_text(wrong)
    said = {"points": {**SOURCES["points"], "mapping": "m.yaml"}}
    with pytest.raises(AuthorError) as raised:
        open_receivers(said, ENVIRONMENT, Folder(folder=tmp_path))
    told = "\n".join(map(str, raised.value.problems))
    for each in (
        "m.yaml:9: expected a path",
        "no field is called 'aat'",
        "no field is called 'pints'",
        "whom it is about",
    ):
        assert each in told, told
    with pytest.raises(OperatorError, match=r"gone\.yaml cannot be read"):
        open_receivers({"points": {**SOURCES["points"], "mapping": "gone.yaml"}}, ENVIRONMENT, Folder(folder=tmp_path))


def test_a_subscription_that_waits_is_in_what_needs_a_person(tmp_path: Path) -> None:
    here = served(tmp_path)
    asked = by_sns(
        {}, Type="SubscriptionConfirmation", Token="tok", SubscribeURL="https://sns.eu-central-1.amazonaws.com/?T=t"
    )
    assert here.call("ses", asked.body, {}).status_code == 200
    report = build(here.store.state, here.store.log, here.shop.playbook, now=here.shop.now)
    (alarm,) = [each for each in (*report.needs, *report.more_needs) if "waits to be allowed" in each.title]
    assert "https://sns.eu-central-1.amazonaws.com/?T=t" in alarm.text


def test_the_report_says_what_other_tools_sent_to_each_arm(tmp_path: Path) -> None:
    journey = MARKETING.replace("control: {none: a test}", "control: 0.5") + HELLO.replace("CHANNEL", "email")
    here = Served(written({"hello": journey}, policy=OPEN + "slot: 1 minute\n", hello="email"), tmp_path)
    arms: dict[str, str] = {}
    for number in range(160):
        name = f"p{number}"
        traits = {"email": f"{name}@example.com"}
        who = {"userId": name, "context": {"traits": traits}}
        said = {"channel": "email", "purpose": "marketing"}
        here.collector.collect(Delivered([
            {"type": "track", "event": "Consent Granted", **who, "properties": said},
            {"type": "track", "event": "Product Viewed", **who, "properties": {"sku": "jacket"}},
        ], "web", here.shop.now))  # fmt: skip
    here.shop.engine.drain(here.shop.now)
    owners = {decision.customer_id: decision.arm for decision in here.shop.decisions() if decision.action}
    for number in range(160):
        handle = Identifier("email", here.store.vault.keyed("email", f"p{number}@example.com"))
        arms[f"p{number}"] = owners[here.store.state.resolve([handle])[handle]]
    for day in range(6):
        here.shop.after(days=1)
        sent = [{"type": "track", "event": "Message Sent", "userId": name, "properties": {"channel": "email"}}
                for name, arm in arms.items() if (day and arm == "treatment") or int(name[1:]) % 3 == day]  # fmt: skip
        here.collector.collect(Delivered(sent, "klaviyo", here.shop.now))
        here.shop.engine.drain(here.shop.now)
    now = here.shop.now + timedelta(days=3)
    report = build(here.store.state, here.store.log, here.shop.playbook, now=now)
    (alarm,) = [each for each in (*report.needs, *report.more_needs) if "other tools treat" in each.title]
    assert "more different than chance makes them" in alarm.text
    told = uneven_elsewhere(here.store.state, here.store.log, here.shop.playbook, now)
    assert told == [alarm.text.partition(" Have ")[0]]
    assert any("other tools sent" in line for line in report.assumptions)


def test_what_cannot_be_checked_just_now_is_asked_for_again_and_kept_nowhere(tmp_path: Path) -> None:
    here = served(tmp_path)

    def down(url: str) -> bytes:
        raise OperatorError("no answer")

    routes = webhooks({"ses": Ses([TOPIC], fetch=down)}, here.intake, clock=lambda: here.shop.now)
    here.app = Starlette(routes=routes)
    head = here.store.log.head()
    answer = here.call("ses", by_sns({"eventType": "Send"}).body, {})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "not_now", "10")
    assert here.store.log.head() == head and not here.store.log.rejections()
