"""Amazon SES by Amazon SNS: a signed notification, and in it what became of one message, for one or several recipients.

The signature is over the notification's own fields, by a certificate that SNS names. We take the certificate from a
file of the operator, or else by the guarded client from the address the notification names, if that is https and one
of `sns.REGION.amazonaws.com`; never any other. A notification of another topic than those named is refused:
anybody can have SNS sign a message of a topic of theirs.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from wayline.errors import OperatorError, Rejected
from wayline.observation.feedback import is_made_by_machine
from wayline.sources import Call, NotNow, Unsigned
from wayline.sources.calling import Barred, Caller, Resolve, Unanswered
from wayline.sources.reports import decision_in, instant_of, object_in, report, report_id
from wayline.sources.signed import json_of

__all__ = ["Ses", "fetched", "is_of_sns"]

_AGE_MAX: Final = timedelta(hours=25)  # SNS tries a failed call again with the same signature
_CERTIFICATES_MAX: Final = 8  # certificates fetched and kept at a time
_FETCHED_BYTES_MAX: Final = 64 << 10  # of a certificate or the answer to a confirmation
_REST: Final = timedelta(seconds=10)
_CERTIFICATE: Final = re.compile(r"/[A-Za-z0-9-]{1,100}\.pem")
_HOST: Final = re.compile(r"sns\.[a-z0-9-]{3,40}\.amazonaws\.com(\.cn)?")
_SIGNED: Final[Mapping[str, tuple[str, ...]]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    **dict.fromkeys(
        ("SubscriptionConfirmation", "UnsubscribeConfirmation"),
        ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    ),
}


class Ses:
    """Reads SES's notifications as reports on messages."""

    def __init__(
        self,
        topics: Sequence[str],
        certificates: Sequence[bytes] = (),
        *,
        fetch: Callable[[str], bytes] | None = None,
        confirms: bool = False,
    ) -> None:
        self._topics = frozenset(topics)
        self._certificates = [_certificate(pem) for pem in certificates]
        self._fetch = fetch
        self._confirms = confirms
        self._fetched: dict[str, Any] = {}
        self._rests_until = datetime.min.replace(tzinfo=UTC)

    @property
    def asks(self) -> bool:
        """Whether a call may be answered only after asking elsewhere: such are not looked at in the event loop."""
        return self._fetch is not None and (self._confirms or not self._certificates)

    def check(self, call: Call) -> None:
        try:
            told = json_of(call.body)
        except Rejected as error:
            raise Unsigned("expected a notification of SNS, and the body is no JSON") from error
        fields = _SIGNED.get(str(told.get("Type"))) if isinstance(told, dict) else None
        if fields is None:
            raise Unsigned("expected a notification of SNS")
        if told.get("TopicArn") not in self._topics:
            raise Unsigned("the notification is of none of this source's topics")
        try:
            sent_at = instant_of(told.get("Timestamp"), "Timestamp")
        except Rejected as error:
            raise Unsigned("expected a Timestamp") from error
        if abs(call.received_at - sent_at) > _AGE_MAX:
            raise Unsigned("Timestamp is more than a day from now")
        self._verify(told, _text_of(told, fields), call)

    def _verify(self, told: Mapping[str, Any], signed: bytes, call: Call) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA1, SHA256

        digest = {"1": SHA1, "2": SHA256}.get(str(told.get("SignatureVersion")))
        if digest is None:
            raise Unsigned("expected SignatureVersion 1 or 2")
        try:
            signature = base64.b64decode(str(told.get("Signature")).encode("utf-8", "replace"), validate=True)
        except (binascii.Error, ValueError):
            raise Unsigned("Signature is no base64") from None
        now = call.received_at.astimezone(UTC)
        for certificate in self._known(told, now):
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                continue
            try:
                certificate.public_key().verify(signature, signed, PKCS1v15(), digest())
            except InvalidSignature:
                continue
            return
        raise Unsigned("Signature is not one by a valid certificate of SNS over the notification's fields")

    def _known(self, told: Mapping[str, Any], now: datetime) -> list[Any]:
        """The operator's certificates, or the one the notification names if it may be fetched."""
        url = str(told.get("SigningCertURL"))
        if self._fetch is None or self._certificates:
            return self._certificates
        if not is_of_sns(url) or not _CERTIFICATE.fullmatch(urlsplit(url).path):
            raise Unsigned("SigningCertURL is no certificate at https://sns.REGION.amazonaws.com")
        if url not in self._fetched:
            self._fetched[url] = self._had(url, now)
            while len(self._fetched) > _CERTIFICATES_MAX:
                del self._fetched[next(iter(self._fetched))]
        return [self._fetched[url]]

    def _had(self, url: str, now: datetime) -> Any:
        """The certificate from there. Anybody can name one that is not there, so after a failure we rest a while."""
        assert self._fetch is not None
        if now < self._rests_until:
            raise NotNow("a certificate of SNS could not be had; it is asked for again in a moment")
        try:
            return _certificate(self._fetch(url))
        except OperatorError as error:
            self._rests_until = now + _REST
            raise NotNow(f"the certificate of SNS could not be had: {error}") from error

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        told = json_of(call.body)
        if told["Type"] == "SubscriptionConfirmation" and self._confirms and is_of_sns(told.get("SubscribeURL")):
            self._confirm(told["SubscribeURL"])
            return []
        if told["Type"] == "SubscriptionConfirmation":
            raise Rejected(
                "unconfirmed",
                "SubscribeURL",
                "SNS asks whether this topic may be told here. Open this address once to say yes, or let it be: "
                f"{told.get('SubscribeURL')}",
            )
        if told["Type"] == "UnsubscribeConfirmation":
            raise Rejected(
                "unsubscribed",
                "SubscribeURL",
                "SNS tells this topic here no longer. Unless you ended it yourself, open this address once to have it "
                f"told again: {told.get('SubscribeURL')}",
            )
        inner = json_of(str(told.get("Message", "")).encode("utf-8", "replace"))
        kind = inner.get("eventType") or inner.get("notificationType") if isinstance(inner, dict) else None
        reader = _READERS.get(str(kind))
        return [] if reader is None else list(reader(inner))

    def _confirm(self, url: str) -> None:
        """Say yes to the topic, which is one of those the operator named."""
        if self._fetch is None:
            return
        try:
            self._fetch(url)
        except OperatorError as error:
            raise NotNow(f"the subscription could not be confirmed: {error}") from error


def is_of_sns(url: Any) -> bool:
    """Whether a certificate or a confirmation may be fetched from there: https, and a host of SNS, and nothing odd."""
    if not isinstance(url, str) or not url.isascii():
        return False
    try:
        parts = urlsplit(url)
        is_plain = parts.port in (None, 443) and parts.username is None and "\\" not in url
    except ValueError:
        return False
    return is_plain and parts.scheme == "https" and _HOST.fullmatch(parts.hostname or "") is not None


def fetched(url: str, *, resolve: Resolve | None = None) -> bytes:
    """What stands at an address of SNS, by the guarded client. Raises OperatorError where nothing usable does."""
    if not is_of_sns(url):
        raise Barred(f"{url[:80]!r} is no address of SNS")
    parts = urlsplit(url)
    caller = Caller(f"https://{parts.hostname}", {}, resolve=resolve, bytes_max=_FETCHED_BYTES_MAX)
    try:
        answer = caller.ask("GET", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}")
    finally:
        caller.close()
    if answer.status != 200:
        raise Unanswered(f"{parts.hostname} answered {answer.status}")
    return answer.body


def _text_of(told: Mapping[str, Any], fields: Sequence[str]) -> bytes:
    """What is signed: each field's name and value, a line each; a field that is not there is left out."""
    lines = [f"{name}\n{told[name]}\n" for name in fields if told.get(name) is not None]
    return "".join(lines).encode("utf-8", "surrogatepass")


def _certificate(pem: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import load_pem_x509_certificate

    try:
        certificate = load_pem_x509_certificate(pem)
    except ValueError as error:
        raise OperatorError(f"a certificate of SNS cannot be read ({error}); expected PEM") from error
    if not isinstance(certificate.public_key(), RSAPublicKey):
        raise OperatorError("a certificate of SNS holds no RSA key; expected the one SigningCertURL names")
    return certificate


# ------------------------------------------------------------------ what SES says


def _told(event: str, inner: Mapping[str, Any], told: Mapping[str, Any], email: Any, **said: Any) -> dict[str, Any]:
    """One recipient's message. The id is SES's own of what happened, so a second topic tells no second fact."""
    mail = object_in(inner, "mail")
    at = told.get("timestamp") or mail.get("timestamp")
    tags = object_in(mail, "tags")
    headers = [each.get("value") for each in mail.get("headers") or () if _is_ours(each)]
    return report(
        event,
        email=email,
        at=at or "",
        event_id=report_id("ses", event, mail.get("messageId"), email, at, said.get("url")),
        **{"decision_id": decision_in(tags.get("wayline_decision"), *headers), **said},
    )


def _is_ours(header: Any) -> bool:
    return isinstance(header, Mapping) and str(header.get("name")).lower() == "x-wayline-decision"


def _recipients(told: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    rows = told.get(name)
    yield from (row for row in (rows if isinstance(rows, list) else ()) if isinstance(row, Mapping))


def _bounced(inner: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    told = object_in(inner, "bounce")
    is_hard = told.get("bounceType") == "Permanent"
    for row in _recipients(told, "bouncedRecipients"):
        why = f"{told.get('bounceSubType') or ''}: {row.get('diagnosticCode') or row.get('status') or ''}"
        said = {"bounce_type": "hard" if is_hard else "soft", "reason": why}
        if not is_hard and row.get("action") != "failed":
            said["decision_id"] = ""  # an absence notice bounces too, of a message that did arrive
        yield _told("Email Bounced", inner, told, row.get("emailAddress"), **said)


def _complained(inner: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    told = object_in(inner, "complaint")
    if told.get("complaintFeedbackType") == "not-spam":
        return
    for row in _recipients(told, "complainedRecipients"):
        yield _told("Email Marked as Spam", inner, told, row.get("emailAddress"))


def _delivered(inner: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    told = object_in(inner, "delivery")
    for email in told.get("recipients") or ():
        yield _told("Email Delivered", inner, told, email)


def _rejected(inner: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    told = object_in(inner, "reject")
    for email in _destination(inner):
        yield _told("Email Bounced", inner, told, email, bounce_type="soft", reason=told.get("reason") or "rejected")


def _engaged(event: str, name: str) -> Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]]:
    def engaged(inner: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        told, mail = object_in(inner, name), object_in(inner, "mail")
        people = _destination(inner)
        if len(people) != 1:
            return  # of several recipients nobody knows whose it is
        at, sent_at = instant_of(told.get("timestamp"), name), instant_of(mail.get("timestamp"), "mail")
        is_machine = is_made_by_machine(told.get("userAgent"), sent_at=sent_at, at=at)
        yield _told(event, inner, told, people[0], url=told.get("link"), automated=is_machine)

    return engaged


def _unsubscribed(inner: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    told = object_in(inner, "subscription")
    if object_in(told, "newTopicPreferences").get("unsubscribeAll") is True:
        for email in _destination(inner):
            yield _told("Unsubscribed", inner, told, email, channel="email")


def _destination(inner: Mapping[str, Any]) -> list[Any]:
    people = object_in(inner, "mail").get("destination")
    return people if isinstance(people, list) else []


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]]]] = {
    "Bounce": _bounced,
    "Complaint": _complained,
    "Delivery": _delivered,
    "Reject": _rejected,
    "Open": _engaged("Email Opened", "open"),
    "Click": _engaged("Email Link Clicked", "click"),
    "Subscription": _unsubscribed,
}
