"""SendGrid's event webhook: signed with ECDSA over the timestamp and the raw body, many events in one call.

The key is a public one, shown in the settings of the webhook. Events are told by `sg_event_id`, which is in the signed
body: a replay with other headers finds the same ids. The decision comes back as the unique argument that the channel
sends along, or else in `smtp-id`, which holds our Message-ID.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from wayline.errors import OperatorError, Rejected, kind_of
from wayline.observation.feedback import is_made_by_machine
from wayline.sources import Call, Unsigned
from wayline.sources.reports import decision_in, report, report_id
from wayline.sources.signed import json_of

__all__ = ["SendGrid"]

_ARGUMENT: Final = "wayline_decision"  # what the channel calls the unique argument that brings a decision back
_SIGNATURE: Final = "x-twilio-email-event-webhook-signature"
_TIMESTAMP: Final = "x-twilio-email-event-webhook-timestamp"
_AGE_MAX: Final = timedelta(hours=25)  # a failed call is tried again for a day, and nothing says it is signed anew
_SOFT: Final = frozenset({"blocked", "expired"})
_DROPPED_HARD: Final = ("bounced", "invalid", "spam reporting")


class SendGrid:
    """Reads SendGrid's events as reports on messages."""

    def __init__(self, public_keys: Sequence[str]) -> None:
        self._keys = tuple(_key(text) for text in public_keys)

    def check(self, call: Call) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        told_at = call.headers.get(_TIMESTAMP, "")
        if not (told_at.isascii() and told_at.isdecimal() and len(told_at) < 12):
            raise Unsigned(f"expected the headers {_SIGNATURE} and {_TIMESTAMP} (seconds since 1970)")
        if abs(call.received_at.timestamp() - int(told_at)) > _AGE_MAX.total_seconds():
            raise Unsigned(f"{_TIMESTAMP} is more than a day from now")
        try:
            signature = base64.b64decode(call.headers.get(_SIGNATURE, "").encode("utf-8", "replace"), validate=True)
        except (binascii.Error, ValueError):
            raise Unsigned(f"{_SIGNATURE} is no base64") from None
        for key in self._keys:
            try:
                key.verify(signature, told_at.encode() + call.body, ECDSA(SHA256()))
            except InvalidSignature:
                continue
            return
        raise Unsigned(f"{_SIGNATURE} is not one by this source's public key over timestamp and body")

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        told = json_of(call.body)
        if not isinstance(told, list):
            raise Rejected("wrong_type", "", f"expected a list of events, got {kind_of(told)}")
        return [message for each in told for message in _messages(each)]


def _messages(told: Any) -> Iterator[Any]:
    """What one event says; one that cannot be read is passed on as it is, to be kept with the reason."""
    reader = _READERS.get(str(told.get("event"))) if isinstance(told, dict) else None
    if not isinstance(told, dict):
        yield told
    elif reader is not None:
        event, properties = reader(told)
        event_id = str(told.get("sg_event_id") or "")
        if not 0 < len(event_id) <= 100:
            event_id = report_id(event, told.get("email"), told.get("timestamp"), event_id)
        yield report(
            event,
            email=told.get("email"),
            at=told.get("timestamp", ""),
            event_id=event_id,
            **{"decision_id": decision_in(told.get(_ARGUMENT), told.get("smtp-id")), **properties},
        )


def _opened(told: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    is_machine = told.get("sg_machine_open") is True or is_made_by_machine(told.get("useragent"))
    return "Email Opened", {"automated": True if is_machine else None}


def _clicked(told: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "Email Link Clicked", {"url": told.get("url"), "automated": is_made_by_machine(told.get("useragent"))}


def _bounced(told: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    bounce = "soft" if told.get("type") in _SOFT else "hard"
    return "Email Bounced", {"bounce_type": bounce, "reason": told.get("reason") or told.get("status")}


def _dropped(told: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Not even tried: the address is on a list of theirs, or something is wrong with the message."""
    why = str(told.get("reason") or "")
    if why.lower().startswith("unsubscribed"):
        return "Unsubscribed", {"channel": "email", "decision_id": "", "reason": f"dropped: {why}"}
    bounce = "hard" if why.lower().startswith(_DROPPED_HARD) else "soft"
    return "Email Bounced", {"bounce_type": bounce, "reason": f"dropped: {why}"}


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]]] = {
    "delivered": lambda told: ("Email Delivered", {}),
    "open": _opened,
    "click": _clicked,
    "bounce": _bounced,
    "dropped": _dropped,
    "spamreport": lambda told: ("Email Marked as Spam", {}),
    "unsubscribe": lambda told: ("Unsubscribed", {"channel": "email"}),
    "group_unsubscribe": lambda told: ("Unsubscribed", {"channel": "email"}),
}
"""The others (processed, deferred, group_resubscribe) tell nothing that counts: resubscribing proves no consent."""


def _key(text: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm) as error:
        raise OperatorError("public_key: it is none of SendGrid's; copy the verification key anew") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise OperatorError(
            "public_key: it is no key of the curve P-256, as SendGrid's are; copy the verification key anew"
        )
    return key
