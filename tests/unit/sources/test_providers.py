"""Each provider's calls, signed in the test as it signs: who is let in, and what becomes of what it tells."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from tests.shop import NOON

from wayline.domain import Event
from wayline.errors import OperatorError, Rejected
from wayline.observation.events import Parsed, parse_batch
from wayline.sources import Call, NotNow, Receiver, Unsigned
from wayline.sources.mailgun import Mailgun
from wayline.sources.postmark import Postmark
from wayline.sources.sendgrid import SendGrid
from wayline.sources.ses import Ses, fetched, is_of_sns
from wayline.sources.tickets import TicketForms, Zendesk
from wayline.sources.twilio import Twilio

DECISION = "63450f046478b0ddc279c448765261c8"
SECONDS = str(int(NOON.timestamp()))
ADDRESS = "zoë@exämple.example"


def call(body: bytes, headers: Mapping[str, str] | None = None, url: str = "https://shop.example/webhooks/x",
         peer: str = "203.0.113.9", at: datetime = NOON) -> Call:  # fmt: skip
    return Call(headers=headers or {}, body=body, url=url, peer=peer, received_at=at)


def encoded(told: Any) -> bytes:
    return json.dumps(told, ensure_ascii=False).encode()


def refused(receiver: Receiver, *calls: Call) -> bool:
    for each in calls:
        with pytest.raises(Unsigned):
            receiver.check(each)
    return True


def events(receiver: Receiver, told: Call) -> list[Event]:
    """What is stored of a call, as the collector would."""
    receiver.check(told)
    verdicts = parse_batch(
        receiver.messages(told), source="mail", received_at=NOON, keyed=lambda kind, value: f"{kind}:{value}"
    )
    assert all(isinstance(each, Parsed) for each in verdicts), verdicts
    return [each.event for each in verdicts if isinstance(each, Parsed)]


def said(event: Event) -> tuple[str, dict[str, Any]]:
    return event.name, dict(event.properties)


# ------------------------------------------------------------------ SendGrid


@cache
def curve_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public(key: ec.EllipticCurvePrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def by_sendgrid(body: bytes, *, at: str = SECONDS, key: ec.EllipticCurvePrivateKey | None = None) -> Call:
    signature = (key or curve_key()).sign(at.encode() + body, ec.ECDSA(SHA256()))
    return call(body, {
        "x-twilio-email-event-webhook-timestamp": at,
        "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
    })  # fmt: skip


def sendgrid_event(name: str, **more: Any) -> dict[str, Any]:
    return {"email": ADDRESS, "timestamp": int(SECONDS), "event": name, "sg_event_id": f"id-{name}", **more}


def test_x08_sendgrid_lets_in_only_what_its_key_signed() -> None:
    receiver = SendGrid([public(curve_key())])
    body = encoded([sendgrid_event("delivered")])
    receiver.check(by_sendgrid(body))
    fine = by_sendgrid(body)
    assert refused(
        receiver,
        by_sendgrid(body, key=ec.generate_private_key(ec.SECP256R1())),
        by_sendgrid(body, at=str(int(SECONDS) - 26 * 3600)),
        call(body + b" ", fine.headers),
        call(body, {**fine.headers, "x-twilio-email-event-webhook-timestamp": str(int(SECONDS) + 1)}),
        call(body, {**fine.headers, "x-twilio-email-event-webhook-signature": "ü" * 96}),
        call(body, {**fine.headers, "x-twilio-email-event-webhook-timestamp": "²"}),
        call(body),
    )
    other = ec.generate_private_key(ec.SECP256R1())
    SendGrid([public(other), public(curve_key())]).check(fine)  # while a key is being replaced


def test_sendgrid_s_own_published_example_verifies() -> None:
    """Key, signature and payload as SendGrid publishes them: our reading of the scheme is theirs."""
    key = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEDr2LjtURuePQzplybdC+u4CwrqDqBaWjcMMsTbhdbcw"
        "HBcepxo7yAQGhHPTnlvFYPAZFceEu/1FwCM/QmGUhA=="
    )
    signature = "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6BpSzoQsbVRamr2nlxFDWYNH2j/0="
    body = b'{"category":"example_payload","event":"test_event","message_id":"message_id"}'
    headers = {
        "x-twilio-email-event-webhook-timestamp": "1588788367",
        "x-twilio-email-event-webhook-signature": signature,
    }
    SendGrid([key]).check(call(body, headers, at=datetime.fromtimestamp(1588788367, UTC)))


def test_sendgrid_s_events_by_the_dozen() -> None:
    receiver = SendGrid([public(curve_key())])
    told = [
        sendgrid_event("processed"),
        sendgrid_event("delivered", wayline_decision=DECISION, response="250 OK"),
        sendgrid_event("open", sg_machine_open=True, useragent="Mozilla/5.0 (Macintosh) AppleWebKit"),
        sendgrid_event("click", url="https://shop.example/p/x?who=zoë", useragent="Mozilla/5.0 (iPhone) Safari/605"),
        sendgrid_event(
            "bounce", type="bounce", reason=f"550 no such user {ADDRESS}", **{"smtp-id": f"<{DECISION}@shop.example>"}
        ),
        sendgrid_event("bounce", type="blocked", reason="busy", sg_event_id="second"),
        sendgrid_event("dropped", reason="Bounced Address"),
        sendgrid_event("spamreport"),
        sendgrid_event("group_unsubscribe"),
    ]
    found = events(receiver, by_sendgrid(encoded(told)))
    assert [said(event) for event in found] == [
        ("Email Delivered", {"decision_id": DECISION}),
        ("Email Opened", {"automated": True}),
        ("Email Link Clicked", {"url": "https://shop.example/p/x"}),
        ("Email Bounced", {"decision_id": DECISION, "bounce_type": "hard", "reason": "550 no such user <address>"}),
        ("Email Bounced", {"bounce_type": "soft", "reason": "busy"}),
        ("Email Bounced", {"bounce_type": "hard", "reason": "dropped: Bounced Address"}),
        ("Email Marked as Spam", {}),
        ("Unsubscribed", {"channel": "email"}),
    ]
    assert {event.occurred_at for event in found} == {NOON}
    assert {one.kind for event in found for one in event.identifiers} == {"email"}
    assert found[0].event_id == "id-delivered"


def test_s14_one_event_that_cannot_be_read_does_not_touch_its_neighbours() -> None:
    receiver = SendGrid([public(curve_key())])
    told = by_sendgrid(
        encoded(
            [
                sendgrid_event("open", timestamp="soon"),
                7,
                sendgrid_event("delivered", email=None),
                sendgrid_event("delivered"),
            ]
        )
    )
    verdicts = parse_batch(receiver.messages(told), source="m", received_at=NOON, keyed=lambda kind, value: value)
    assert [type(each) for each in verdicts] == [Rejected, Rejected, Rejected, Parsed]


def test_a_key_that_is_none_is_told_at_the_start() -> None:
    with pytest.raises(OperatorError, match="copy the verification key anew"):
        SendGrid(["MFkw"])


# ------------------------------------------------------------------ Mailgun


def by_mailgun(told: Any, *, token: str = "t" * 50, at: str = SECONDS, key: bytes = b"signing key") -> Call:
    signature = hmac.new(key, (at + token).encode(), hashlib.sha256).hexdigest()
    return call(encoded({"signature": {"timestamp": at, "token": token, "signature": signature}, "event-data": told}))


def mailgun_event(name: str, **more: Any) -> dict[str, Any]:
    return {"event": name, "id": f"id-{name}", "timestamp": float(SECONDS), "recipient": ADDRESS, **more}


def test_x08_mailgun_lets_in_only_what_its_key_signed_and_each_token_once() -> None:
    receiver = Mailgun(["signing key"])
    fine = by_mailgun(mailgun_event("delivered"))
    receiver.check(fine)
    receiver.check(fine)  # tried again, for our answer was lost
    forged = json.loads(fine.body)
    assert refused(
        receiver,
        by_mailgun(mailgun_event("complained")),  # an event of their own under a token that was seen
        by_mailgun(mailgun_event("delivered"), token="other", key=b"another key"),
        by_mailgun(mailgun_event("delivered"), token="old", at=str(int(SECONDS) - 10 * 3600)),
        call(encoded({**forged, "signature": {**forged["signature"], "signature": "ü"}})),
        call(encoded({**forged, "signature": {**forged["signature"], "token": "other"}})),
        call(b"{}"), call(b"\xff"), call(b"[]"),
    )  # fmt: skip


def test_mailgun_s_events() -> None:
    receiver = Mailgun(["signing key"])
    told = [
        mailgun_event("delivered", **{"user-variables": {"wayline_decision": DECISION}}),
        mailgun_event("opened", **{"client-info": {"user-agent": "Mozilla/5.0"}}),
        mailgun_event("opened", id="bot", **{"client-info": {"bot": "apple", "user-agent": "Mozilla/5.0 (X11)"}}),
        mailgun_event("clicked", url="https://shop.example/", **{"client-info": {"user-agent": "python-requests/2"}}),
        mailgun_event("failed", severity="temporary"),
        mailgun_event("failed", severity="permanent", reason="bounce", **{
            "delivery-status": {"code": 550, "message": "no such user"},
            "message": {"headers": {"message-id": f"{DECISION}@shop.example"}},
        }),
        mailgun_event("failed", severity="permanent", reason="old", id="old"),
        mailgun_event("complained"),
        mailgun_event("unsubscribed"),
        mailgun_event("accepted"),
    ]  # fmt: skip
    found = [event for each in told for event in events(receiver, by_mailgun(each, token=str(id(each))))]
    assert [said(event) for event in found] == [
        ("Email Delivered", {"decision_id": DECISION}),
        ("Email Opened", {"automated": True}),
        ("Email Opened", {"automated": True}),
        ("Email Link Clicked", {"url": "https://shop.example/", "automated": True}),
        ("Email Bounced", {"decision_id": DECISION, "bounce_type": "hard", "reason": "bounce: no such user"}),
        ("Email Bounced", {"bounce_type": "soft", "reason": "old"}),
        ("Email Marked as Spam", {}),
        ("Unsubscribed", {"channel": "email"}),
    ]


# ------------------------------------------------------------------ Postmark, which signs nothing

SECRET = "hooks:correct horse battery".replace(" ", "-")


def by_postmark(told: Any, secret: str = SECRET, peer: str = "203.0.113.9") -> Call:
    basic = "Basic " + base64.b64encode(secret.encode()).decode()
    return call(encoded(told), {"authorization": basic}, peer=peer)


def test_x08_postmark_is_known_by_a_secret_alone_and_by_its_network_if_wished() -> None:
    receiver = Postmark([SECRET])
    receiver.check(by_postmark({}))
    assert refused(receiver, by_postmark({}, "hooks:wrong"), call(b"{}", {"authorization": "Bäsic"}), call(b"{}"))
    header = Postmark([SECRET], header="X-Hook-Secret")
    header.check(call(b"{}", {"x-hook-secret": SECRET}))
    assert refused(header, by_postmark({}))
    near = Postmark([SECRET], networks=["203.0.113.0/28"])
    near.check(by_postmark({}))
    assert refused(near, by_postmark({}, peer="203.0.113.99"), by_postmark({}, peer=""))
    for bad in (["short:1"], ["no-colon-but-very-long-indeed"]):
        with pytest.raises(OperatorError, match="all that proves a call"):
            Postmark(bad)


def test_postmark_s_events() -> None:
    receiver = Postmark([SECRET])
    at = "2025-10-07T12:00:00.0000000+02:00"
    ids = {"MessageID": "m-1", "Metadata": {"wayline-decision": DECISION}}
    told = [
        {**ids, "RecordType": "Delivery", "Recipient": ADDRESS, "DeliveredAt": at},
        {**ids, "RecordType": "Open", "Recipient": ADDRESS, "ReceivedAt": at, "UserAgent": "Mozilla/5.0"},
        {**ids, "RecordType": "Click", "Recipient": ADDRESS, "ReceivedAt": at, "OriginalLink": "https://shop.example/"},
        {**ids, "RecordType": "Bounce", "ID": 42, "Type": "HardBounce", "Email": ADDRESS, "BouncedAt": at},
        {**ids, "RecordType": "Bounce", "ID": 43, "Type": "Transient", "Email": ADDRESS, "BouncedAt": at},
        {**ids, "RecordType": "Bounce", "ID": 44, "Type": "AutoResponder", "Email": ADDRESS, "BouncedAt": at},
        {**ids, "RecordType": "SpamComplaint", "ID": 45, "Email": ADDRESS, "BouncedAt": at},
        {"MessageID": "m-2", "RecordType": "SubscriptionChange", "Recipient": ADDRESS, "ChangedAt": at,
         "SuppressSending": True, "SuppressionReason": "ManualSuppression", "Origin": "Recipient"},
    ]  # fmt: skip
    found = [event for each in told for event in events(receiver, by_postmark(each))]
    assert [
        (event.name, event.properties.get("bounce_type"), event.properties.get("automated")) for event in found
    ] == [
        ("Email Delivered", None, None),
        ("Email Opened", None, True),
        ("Email Link Clicked", None, None),
        ("Email Bounced", "hard", None),
        ("Email Bounced", "soft", None),
        ("Email Marked as Spam", None, None),
        ("Unsubscribed", None, None),
    ]
    assert {event.properties.get("decision_id") for event in found[:-1]} == {DECISION}
    assert {event.occurred_at for event in found} == {NOON}
    assert len({event.event_id for event in found}) == len(found)


# ------------------------------------------------------------------ SES by SNS

TOPIC = "arn:aws:sns:eu-central-1:123456789012:mail"


@cache
def signing(valid_from: int = -30) -> tuple[rsa.RSAPrivateKey, bytes]:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(NOON + timedelta(days=valid_from)).not_valid_after(NOON + timedelta(days=valid_from + 60))
    )  # fmt: skip
    return key, made.sign(key, SHA256()).public_bytes(Encoding.PEM)


def by_sns(inner: Any, *, version: str = "2", key: rsa.RSAPrivateKey | None = None, **changed: Any) -> Call:
    told = {
        "Type": "Notification", "MessageId": "n-1", "TopicArn": TOPIC, "Message": json.dumps(inner),
        "Timestamp": NOON.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "SignatureVersion": version,
        "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/cert.pem", **changed,
    }  # fmt: skip
    names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if told["Type"] != "Notification":
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{told[name]}\n" for name in names if name in told).encode()
    signature = (key or signing()[0]).sign(text, padding.PKCS1v15(), SHA1() if version == "1" else SHA256())
    return call(encoded({**told, "Signature": base64.b64encode(signature).decode()}))


def ses_event(kind: str, **more: Any) -> dict[str, Any]:
    mail = {
        "timestamp": "2025-10-07T09:59:00.000Z", "messageId": "ses-1", "destination": [ADDRESS],
        "tags": {"wayline_decision": [DECISION]},
    }  # fmt: skip
    return {"eventType": kind, "mail": mail, **more}


AT = "2025-10-07T10:00:00.000Z"


@pytest.mark.parametrize("version", ["1", "2"])
def test_x08_sns_lets_in_only_what_its_certificate_signed(version: str) -> None:
    receiver = Ses([TOPIC], [signing()[1]])
    inner = ses_event("Delivery", delivery={"timestamp": AT, "recipients": [ADDRESS]})
    fine = by_sns(inner, version=version, Subject="ünicode")
    receiver.check(fine)
    told = json.loads(fine.body)
    assert refused(
        receiver,
        by_sns(inner, version=version, key=rsa.generate_private_key(65537, 2048)),
        by_sns(inner, version=version, TopicArn=TOPIC + "-of-somebody"),
        by_sns(inner, version=version, Timestamp="2025-10-05T10:00:00.000Z"),
        call(encoded({**told, "Message": told["Message"].replace("Delivery", "Bounce")})),
        call(encoded({**told, "SignatureVersion": "3"})),
        call(encoded({**told, "Signature": "ü"})),
        call(encoded({**told, "Type": "Other"})),
        call(b"["),
    )
    assert refused(Ses([TOPIC], [signing(valid_from=-90)[1]]), fine)


def test_a_certificate_is_fetched_from_sns_and_from_nowhere_else() -> None:
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return signing()[1]

    receiver = Ses([TOPIC], fetch=fetch)
    inner = ses_event("Delivery", delivery={"timestamp": AT, "recipients": [ADDRESS]})
    receiver.check(by_sns(inner))
    receiver.check(by_sns(inner))
    assert len(asked) == 1, "it is kept"
    elsewhere = [
        "http://sns.eu-central-1.amazonaws.com/cert.pem",
        "https://sns.eu-central-1.amazonaws.com.evil.example/cert.pem",
        "https://evil.example/sns.eu-central-1.amazonaws.com/",
        "https://sns.eu-central-1.amazonaws.com@evil.example/cert.pem",
        "https://evil.example\\@sns.eu-central-1.amazonaws.com/cert.pem",
        "https://sns.eu-central-1.amazonaws.com:8443/cert.pem",
        "https://sns.eu-central-1.amazonaws.com/?Action=Publish&x=cert.pem",
        "https://bucket.s3.amazonaws.com/cert.pem",
        "https://snsx.eu.amazonaws.com/cert.pem",
        "", None,
    ]  # fmt: skip
    assert [url for url in elsewhere if is_of_sns(url)] == [elsewhere[6]], "of SNS, and no certificate"
    assert refused(receiver, *(by_sns(inner, SigningCertURL=url) for url in elsewhere))
    assert len(asked) == 1


def test_x01_a_name_of_sns_that_leads_inward_is_not_asked() -> None:
    for inward in ("127.0.0.1", "10.0.0.7", "64:ff9b::7f00:1"):
        with pytest.raises(OperatorError, match=r"inward|public|private"):
            fetched("https://sns.eu-central-1.amazonaws.com/c.pem", resolve=lambda host, port, to=inward: [to])
    with pytest.raises(OperatorError, match="no address of SNS"):
        fetched("https://evil.example/c.pem")


def test_a_certificate_that_cannot_be_had_is_asked_for_again_after_a_rest() -> None:
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        if len(asked) == 1:
            raise OperatorError("no answer")
        return signing()[1]

    receiver = Ses([TOPIC], fetch=fetch)
    fine = by_sns(ses_event("Send"))
    for _ in range(3):
        with pytest.raises(NotNow):
            receiver.check(fine)
    assert len(asked) == 1, "whoever names a certificate that is not there makes us ask once"
    receiver.check(call(fine.body, at=NOON + timedelta(seconds=11)))


def test_a_subscription_is_confirmed_where_the_operator_said_so_and_only_at_sns() -> None:
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return signing()[1]

    receiver = Ses([TOPIC], fetch=fetch, confirms=True)
    yes = "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
    told = by_sns({}, Type="SubscriptionConfirmation", Token="t", SubscribeURL=yes)
    receiver.check(told)
    assert receiver.messages(told) == [] and asked[-1] == yes
    with pytest.raises(Rejected):
        receiver.messages(by_sns({}, Type="SubscriptionConfirmation", Token="t", SubscribeURL="https://evil.example/"))
    assert asked[-1] == yes


def test_what_ses_says_of_each_recipient() -> None:
    receiver = Ses([TOPIC], [signing()[1]])
    told = [
        ses_event("Delivery", delivery={"timestamp": AT, "recipients": [ADDRESS, "ben@example.com"]}),
        ses_event("Bounce", bounce={"bounceType": "Permanent", "bounceSubType": "General", "timestamp": AT,
            "bouncedRecipients": [{"emailAddress": ADDRESS, "action": "failed", "diagnosticCode": "smtp; 550"}]}),
        ses_event("Bounce", bounce={"bounceType": "Transient", "bounceSubType": "General", "timestamp": AT,
            "bouncedRecipients": [{"emailAddress": ADDRESS}]}),
        ses_event("Complaint", complaint={"timestamp": AT, "complainedRecipients": [{"emailAddress": ADDRESS}]}),
        ses_event("Open", open={"timestamp": "2025-10-07T09:59:01.400Z", "userAgent": "Mozilla/5.0 (iPhone)"}),
        ses_event("Click", click={"timestamp": AT, "link": "https://shop.example/p", "userAgent": "Mozilla/5.0 (X)"}),
        ses_event("Send", send={}),
        ses_event("Subscription", subscription={"timestamp": AT, "newTopicPreferences": {"unsubscribeAll": True}}),
    ]  # fmt: skip
    found = [event for each in told for event in events(receiver, by_sns(each))]
    assert [said(event) for event in found] == [
        ("Email Delivered", {"decision_id": DECISION}),
        ("Email Delivered", {"decision_id": DECISION}),
        ("Email Bounced", {"decision_id": DECISION, "reason": "General: smtp; 550", "bounce_type": "hard"}),
        ("Email Bounced", {"reason": "General:", "bounce_type": "soft"}),
        ("Email Marked as Spam", {"decision_id": DECISION}),
        ("Email Opened", {"decision_id": DECISION, "automated": True}),
        ("Email Link Clicked", {"decision_id": DECISION, "url": "https://shop.example/p"}),
        ("Unsubscribed", {"decision_id": DECISION, "channel": "email"}),
    ]


def test_a_subscription_waits_for_the_operator_and_says_where_to_answer() -> None:
    receiver = Ses([TOPIC], [signing()[1]])
    asked = by_sns(
        {},
        Type="SubscriptionConfirmation",
        Token="tok",
        SubscribeURL="https://sns.eu-central-1.amazonaws.com/?Token=tok",
    )
    receiver.check(asked)
    with pytest.raises(Rejected, match=r"Open this address once .*https://sns\.eu-central-1") as raised:
        receiver.messages(asked)
    assert raised.value.code == "unconfirmed"


def test_a_subscription_that_was_ended_is_told_with_the_way_back() -> None:
    receiver = Ses([TOPIC], [signing()[1]])
    back = "https://sns.eu-central-1.amazonaws.com/?Token=tok"
    ended = by_sns({}, Type="UnsubscribeConfirmation", Token="tok", SubscribeURL=back)
    receiver.check(ended)
    with pytest.raises(Rejected, match=r"no longer.*https://sns\.eu-central-1") as raised:
        receiver.messages(ended)
    assert raised.value.code == "unsubscribed"


# ------------------------------------------------------------------ Twilio

TOKEN = "12345"


def by_twilio(fields: Mapping[str, str], url: str = "https://shop.example/webhooks/texts", token: str = TOKEN) -> Call:
    over = url + "".join(name + fields[name] for name in sorted(fields))
    signature = base64.b64encode(hmac.new(token.encode(), over.encode(), hashlib.sha1).digest()).decode()
    headers = {"x-twilio-signature": signature, "content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    return call(urlencode(fields).encode(), headers, url=url)


def test_twilio_s_own_published_example_verifies() -> None:
    fields = {
        "CallSid": "CA1234567890ABCDE", "Caller": "+14158675309", "Digits": "1234", "From": "+14158675309",
        "To": "+18005551212",
    }  # fmt: skip
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    Twilio([TOKEN]).check(call(urlencode(fields).encode(), {"x-twilio-signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}, url))


def test_x08_twilio_lets_in_only_what_its_token_signed() -> None:
    receiver = Twilio([TOKEN])
    fields = {"MessageSid": "SM1", "Body": "Grüße & mehr=?", "From": "+4915112345678"}
    fine = by_twilio(fields)
    receiver.check(fine)
    receiver.check(call(fine.body, fine.headers, "https://shop.example:443/webhooks/texts"))
    assert refused(
        receiver,
        by_twilio(fields, token="another"),
        call(fine.body + b"&x=1", fine.headers, fine.url),
        call(fine.body, fine.headers, fine.url + "?decision=1"),
        call(fine.body, {**fine.headers, "x-twilio-signature": "ü"}, fine.url),
        call(fine.body, {}, fine.url),
    )
    body = b'{"MessageSid":"SM1","MessageStatus":"delivered","To":"+4915112345678"}'
    url = "https://shop.example/webhooks/texts?bodySHA256=" + hashlib.sha256(body).hexdigest()
    signature = base64.b64encode(hmac.new(TOKEN.encode(), url.encode(), hashlib.sha1).digest()).decode()
    headers = {"x-twilio-signature": signature, "content-type": "application/json"}
    assert [event.name for event in events(receiver, call(body, headers, url))] == ["SMS Delivered"]
    assert refused(
        receiver, call(body + b" ", headers, url), call(b"x=1", {**headers, "content-type": "text/plain"}, url)
    )


def test_twilio_s_status_names_our_decision_in_the_signed_address() -> None:
    receiver = Twilio([TOKEN])
    url = f"https://shop.example/webhooks/texts?decision={DECISION}"
    number = {"MessageSid": "SM1", "To": "+4915112345678"}
    told = [
        {**number, "MessageStatus": "sent"},
        {**number, "MessageStatus": "delivered"},
        {**number, "MessageStatus": "undelivered", "ErrorCode": "30003"},
        {**number, "MessageStatus": "failed", "ErrorCode": "30005"},
        {**number, "MessageStatus": "failed", "ErrorCode": "21610", "MessageSid": "SM2"},
    ]
    found = [event for each in told for event in events(receiver, by_twilio(each, url))]
    assert [(e.name, e.properties.get("bounce_type"), e.properties.get("channel")) for e in found] == [
        ("SMS Delivered", None, None),
        ("SMS Failed", "soft", None),
        ("SMS Failed", "hard", None),
        ("SMS Failed", "soft", None),
        ("Consent Withdrawn", None, "sms"),
    ]
    assert found[0].properties["decision_id"] == DECISION
    assert {one.kind for event in found for one in event.identifiers} == {"phone"}


def test_p13_an_answer_of_stop_withdraws_the_consent_and_its_text_stays_out_of_the_log() -> None:
    receiver = Twilio([TOKEN])
    told = {"MessageSid": "SM9", "From": "+4915112345678", "Body": "Bitte keine SMS mehr an Zoë, danke!"}
    received, withdrawn = events(receiver, by_twilio(told))
    assert said(received) == ("SMS Received", {})
    assert (withdrawn.name, withdrawn.properties["channel"], withdrawn.properties["purpose"]) == (
        "Consent Withdrawn", "sms", "marketing",
    )  # fmt: skip
    (by_button,) = events(receiver, by_twilio({**told, "Body": "x", "OptOutType": "STOP"}))[1:]
    assert by_button.name == "Consent Withdrawn"
    assert len(events(receiver, by_twilio({**told, "Body": "When does my parcel arrive?"}))) == 1


# ------------------------------------------------------------------ service desks


def by_zendesk(told: Any, *, at: str = "2025-10-07T10:00:00Z", key: bytes = b"desk secret") -> Call:
    body = encoded(told)
    signature = base64.b64encode(hmac.new(key, at.encode() + body, hashlib.sha256).digest()).decode()
    return call(body, {"x-zendesk-webhook-signature": signature, "x-zendesk-webhook-signature-timestamp": at})


FORM = {
    "ticket_id": 35436, "status": "Open", "topic": "delivery", "priority": "High", "sentiment": "angry",
    "order_id": "o-1", "email": ADDRESS, "requester_id": 7, "subject": "Wo ist meine Jacke?", "message": "Zoë hier",
    "updated_at": "2025-10-07T09:00:00Z",
}  # fmt: skip


def test_x08_zendesk_lets_in_only_what_its_secret_signed() -> None:
    receiver = Zendesk(["desk secret"])
    fine = by_zendesk(FORM)
    receiver.check(fine)
    assert refused(
        receiver,
        by_zendesk(FORM, key=b"another"),
        by_zendesk(FORM, at="2025-10-07T08:00:00Z"),
        call(fine.body + b" ", fine.headers),
        call(fine.body, {**fine.headers, "x-zendesk-webhook-signature": "ü"}),
        call(fine.body, {**fine.headers, "x-zendesk-webhook-signature-timestamp": "heute"}),
        call(fine.body),
    )


def test_a_ticket_by_zendesk_s_trigger_and_by_its_events() -> None:
    receiver = Zendesk(["desk secret"])
    (opened,) = events(receiver, by_zendesk(FORM))
    assert said(opened) == ("Ticket Opened", {
        "ticket_id": "35436", "status": "open", "topic": "delivery", "priority": "high", "sentiment": "angry",
        "order_id": "o-1",
    })  # fmt: skip
    assert [one.kind for one in opened.identifiers] == ["email", "zendesk_id"]
    assert opened.occurred_at == NOON - timedelta(hours=1)
    detail = {"id": "35436", "status": "SOLVED", "type": "Question", "requester_id": 7, "subject": "Wo?"}
    event = {"id": "e1", "time": "2025-10-07T10:00:00Z", "detail": detail}
    kinds = [
        ("ticket.created", {}, "Ticket Opened"),
        ("ticket.status_changed", {"current": "SOLVED", "previous": "OPEN"}, "Ticket Closed"),
        ("ticket.status_changed", {"current": "OPEN", "previous": "SOLVED"}, "Ticket Opened"),
        ("ticket.status_changed", {"current": "PENDING", "previous": "OPEN"}, "Ticket Updated"),
        ("ticket.comment_added", {}, "Ticket Closed"),  # on a ticket that is solved
    ]
    for number, (kind, change, name) in enumerate(kinds):
        told = by_zendesk({**event, "id": f"e{number}", "type": f"zen:event-type:{kind}", "event": change})
        (found,) = events(receiver, told)
        assert (found.name, found.event_id, found.properties["topic"]) == (name, f"e{number}", "question"), kind
    assert events(receiver, by_zendesk({**event, "type": "zen:event-type:user.created"})) == []


def test_any_desk_may_send_the_plain_form() -> None:
    receiver = TicketForms(["whsec_" + base64.b64encode(b"k" * 32).decode()])
    body = encoded([{"ticket_id": "t1", "status": "solved", "user_id": "anna"}, {"status": "open"}])
    verdicts = parse_batch(receiver.messages(call(body)), source="d", received_at=NOON, keyed=lambda kind, value: value)
    assert isinstance(verdicts[0], Parsed) and verdicts[0].event.name == "Ticket Closed"
    assert isinstance(verdicts[1], Rejected), "without its ticket_id it is kept with the reason"
