"""Signatures of calls, checked over the raw bytes and in constant time; and the generic webhook.

The generic webhook is signed as Standard Webhooks says: `webhook-signature` holds `v1,<base64>` entries apart by
spaces, each HMAC-SHA256 over `id.timestamp.body`; the secret is `whsec_` and base64. More than five minutes of skew is
refused, so an old call cannot be replayed later. Or else a header holds the HMAC-SHA256 of the body, and a replay is
met by its ids alone.

A message that says neither its id nor when it happened gets an id here, made of what is signed: `webhook-id`, or the
body itself. An id by when it came would make every replay a fact of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec

from wayline.errors import OperatorError, Rejected, kind_of, why_no_json
from wayline.sources import Call, Receiver, Unsigned
from wayline.sources.reports import report_id

__all__ = ["SKEW_MAX", "BodySigned", "GenericWebhook", "Mapped", "is_one_of", "json_of", "signed_by"]

SKEW_MAX: Final = timedelta(minutes=5)  # between a signed call's time and ours


def is_one_of(given: str, expected: Iterable[bytes]) -> bool:
    """Whether a signature that came as text is one of these; compared as bytes, whatever characters it holds."""
    told = given.encode("utf-8", "surrogateescape")
    # Every one is looked at: how long it takes tells nothing.
    return any([hmac.compare_digest(told, each) for each in expected])


def signed_by(keys: Iterable[bytes], given: str, body: bytes) -> bool:
    """Whether a text is base64 of the HMAC-SHA256 of these bytes by one of these keys, as shop platforms sign."""
    digests = (hmac.new(key, body, hashlib.sha256).digest() for key in keys)
    return is_one_of(given.strip(), [base64.b64encode(digest) for digest in digests])


def json_of(body: bytes) -> Any:
    """The body as JSON. Raises Rejected where it is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Rejected("bad_json", "", f"expected JSON, and the body is none: {why_no_json(error)}") from error


class GenericWebhook:
    """Any system that signs as Standard Webhooks says, and sends one message of the tracking API or a batch of them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = tuple(_key(secret) for secret in secrets)

    def check(self, call: Call) -> None:
        told_id = call.headers.get("webhook-id", "")
        told_at = call.headers.get("webhook-timestamp", "")
        if not (told_id and told_at.isdecimal() and len(told_at) < 12):
            raise Unsigned("expected the headers webhook-id and webhook-timestamp (seconds since 1970)")
        if abs(call.received_at.timestamp() - int(told_at)) > SKEW_MAX.total_seconds():
            raise Unsigned("webhook-timestamp is more than five minutes from now; sign each attempt anew")
        signed = f"{told_id}.{told_at}.".encode("utf-8", "surrogateescape") + call.body
        digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in self._keys)
        expected = [b"v1," + base64.b64encode(digest) for digest in digests]
        given = call.headers.get("webhook-signature", "").split()[:8]
        if not any([is_one_of(each, expected) for each in given]):
            raise Unsigned("webhook-signature is not one by this source's secret over `id.timestamp.body`")

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        return _messages(call, call.headers.get("webhook-id", ""))


class BodySigned:
    """Any system that puts the HMAC-SHA256 of the raw body into a header, in hexadecimal digits or base64."""

    def __init__(self, secrets: Sequence[str], *, header: str, encoding: str = "hex", prefix: str = "") -> None:
        self._keys = tuple(secret.encode() for secret in secrets)
        self._header = header.lower()
        self._encoded = base64.b64encode if encoding == "base64" else binascii.hexlify
        self._prefix = prefix.encode()

    def check(self, call: Call) -> None:
        digests = (hmac.new(key, call.body, hashlib.sha256).digest() for key in self._keys)
        expected = [self._prefix + self._encoded(digest) for digest in digests]
        if not is_one_of(call.headers.get(self._header, ""), expected):
            raise Unsigned(f"{self._header} is not the HMAC-SHA256 of the body by this source's secret")

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        return _messages(call, hashlib.sha256(call.body).hexdigest())


class Mapped:
    """Calls signed as another receiver checks, whose body a mapping reads."""

    def __init__(self, signed: Receiver, read: Callable[[Any], Iterable[Mapping[str, Any]]]) -> None:
        self._signed = signed
        self._read = read

    def check(self, call: Call) -> None:
        self._signed.check(call)

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        return list(self._read(json_of(call.body)))


def _messages(call: Call, signed: str) -> Sequence[Mapping[str, Any]]:
    """A message of the tracking API, or a batch of them; `signed` tells this call from every other."""
    told = json_of(call.body)
    if not isinstance(told, dict):
        raise Rejected("wrong_type", "", f"expected a message or a batch of them, got {kind_of(told)}")
    items = told.get("batch", [told])
    if not isinstance(items, list):
        raise Rejected("wrong_type", "batch", f"expected a list of messages, got {kind_of(items)}")
    return [_with_id(item, signed, place) for place, item in enumerate(items)]


_TELLING: Final = ("messageId", "timestamp", "originalTimestamp")


def _with_id(item: Any, signed: str, place: int) -> Any:
    """A message that a replay finds again; what says its id, or when it happened, is found as it is."""
    if not isinstance(item, dict) or any(item.get(name) not in (None, "") for name in _TELLING):
        return item
    return {**item, "messageId": report_id("call", signed, place)}


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise OperatorError("a webhook secret is not `whsec_` followed by base64; copy it anew") from error
