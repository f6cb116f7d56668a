"""Twilio's webhooks: what became of a text message, and what people answer, STOP above all.

A form call is signed over its whole address and every field, a JSON call over an address that carries the body's
SHA-256. The address must be the one Twilio calls, so `[server] public_url` must be set behind a proxy. A status names
our decision in that signed address (`?decision=...`), for a text message carries nothing along.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, urlsplit, urlunsplit

from wayline.errors import Rejected, kind_of
from wayline.observation.stopping import asks_to_stop
from wayline.sources import Call, Unsigned
from wayline.sources.reports import decision_in, report, report_id
from wayline.sources.signed import is_one_of, json_of

__all__ = ["Twilio"]

_FIELDS_MAX: Final = 500  # fields of one call
_PORTS: Final = {"https": 443, "http": 80}
_NO_NUMBER: Final = frozenset({"21211", "21612", "21614", "30005", "30006"})
_OPTED_OUT: Final = "21610"


class Twilio:
    """Reads Twilio's status callbacks and incoming messages."""

    media_type = "text/xml"
    thanks = b"<Response/>"
    """What Twilio wants to hear: an answer of another kind would be sent to the person as a text."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._keys = tuple(token.encode() for token in tokens)

    def check(self, call: Call) -> None:
        if not call.headers.get("x-twilio-signature"):
            raise Unsigned("expected the header X-Twilio-Signature")
        signed = "" if _is_json(call) else _joined(_form(call))
        if _is_json(call):
            told = parse_qs(urlsplit(call.url).query).get("bodySHA256", [""])[0]
            if not is_one_of(told.lower(), [hashlib.sha256(call.body).hexdigest().encode()]):
                raise Unsigned("bodySHA256 in the address is not the SHA-256 of the body")
        over = [(url + signed).encode("utf-8", "surrogateescape") for url in _spellings(call.url)]
        expected = [base64.b64encode(hmac.new(key, each, hashlib.sha1).digest()) for key in self._keys for each in over]
        if not is_one_of(call.headers["x-twilio-signature"], expected):
            raise Unsigned(
                "X-Twilio-Signature is not one by this source's token over address and fields; is [server] public_url "
                "the address Twilio calls?"
            )

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        fields: Any = json_of(call.body) if _is_json(call) else dict(_form(call))
        if not isinstance(fields, dict):
            raise Rejected("wrong_type", "", f"expected fields, got {kind_of(fields)}")
        told = {name: str(value) for name, value in fields.items() if isinstance(value, str | int)}
        if told.get("MessageStatus") in ("delivered", "undelivered", "failed"):
            return list(_status(told, call))
        return list(_answer(told)) if "Body" in told and not told.get("MessageStatus") else []


def _status(told: Mapping[str, str], call: Call) -> Iterator[dict[str, Any]]:
    """What became of one message. An answer by another way than texts is no text message."""
    number, status = told.get("To", ""), told["MessageStatus"]
    if ":" in number:
        return
    decision_id = decision_in(parse_qs(urlsplit(call.url).query).get("decision"))
    event_id = report_id("twilio", told.get("MessageSid"), status)
    if status == "delivered":
        yield report("SMS Delivered", phone=number, at=None, event_id=event_id, decision_id=decision_id)
        return
    code = told.get("ErrorCode", "")
    bounce = "hard" if code in _NO_NUMBER else "soft"
    reason = f"{status}: error {code}" if code else status
    yield report(
        "SMS Failed",
        phone=number,
        at=None,
        event_id=event_id,
        decision_id=decision_id,
        reason=reason,
        bounce_type=bounce,
    )
    if code == _OPTED_OUT:
        yield _withdrawal(number, report_id("twilio", told.get("MessageSid"), "opt-out"), "blocked by the carrier")


def _answer(told: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    number, text = told.get("From", ""), told.get("Body", "")
    if ":" in number:
        return
    yield report("SMS Received", phone=number, at=None, event_id=report_id("twilio", told.get("MessageSid")), text=text)
    if told.get("OptOutType", "").upper() == "STOP" or asks_to_stop(text):
        yield _withdrawal(number, report_id("twilio", told.get("MessageSid"), "stop"), "answered by text message")


def _withdrawal(number: str, event_id: str, method: str) -> dict[str, Any]:
    said = {"channel": "sms", "purpose": "marketing", "method": method}
    return report("Consent Withdrawn", phone=number, at=None, event_id=event_id, **said)


# ------------------------------------------------------------------ what is signed


def _is_json(call: Call) -> bool:
    return "json" in call.headers.get("content-type", "") and "bodySHA256=" in call.url


def _form(call: Call) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            call.body.decode("utf-8"), keep_blank_values=True, max_num_fields=_FIELDS_MAX, errors="surrogateescape"
        )
    except ValueError as error:
        raise Unsigned(f"expected a form, and the body is none: {error}") from error


def _joined(fields: Sequence[tuple[str, str]]) -> str:
    """Each field's name and value, by name; the same said twice counts once."""
    return "".join(name + value for name, value in sorted(set(fields)))


def _spellings(url: str) -> list[str]:
    """The address with its usual port written out and without: Twilio signs either."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    written = f"{host}:{_PORTS.get(parts.scheme, 443)}"
    if parts.port not in (None, _PORTS.get(parts.scheme)):
        return [url]
    return [urlunsplit(parts._replace(netloc=netloc)) for netloc in (host, written)] + [url]
