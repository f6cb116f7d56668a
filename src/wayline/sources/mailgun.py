"""Mailgun's webhooks: one event in a call, signed inside the body.

The signature is over a timestamp and a token and **not over the event**: whoever has seen one call could send another
event with its signature. So a token belongs to the first body it came with, and is refused with any other, for as long
as its timestamp is taken. That memory is this process's: a restart forgets it. Only TLS protects what is beyond.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from wayline.errors import Rejected
from wayline.observation.feedback import is_made_by_machine
from wayline.sources import Call, Unsigned
from wayline.sources.reports import decision_in, object_in, report, report_id
from wayline.sources.signed import is_one_of, json_of

__all__ = ["Mailgun"]

_AGE_MAX: Final = timedelta(hours=9)  # a failed call is tried again for eight hours, and nothing says it is signed anew
_TOKENS_MAX: Final = 100_000  # tokens remembered with the body each came with


class Mailgun:
    """Reads Mailgun's events as reports on messages."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = tuple(secret.encode() for secret in secrets)
        self._bodies: OrderedDict[str, bytes] = OrderedDict()

    def check(self, call: Call) -> None:
        try:
            signed = object_in(json_of(call.body), "signature")
        except Rejected as error:
            raise Unsigned("expected JSON with a signature in it") from error
        token, told_at = str(signed.get("token", "")), str(signed.get("timestamp", ""))
        if not (token and len(token) <= 200 and told_at.isascii() and told_at.isdecimal() and len(told_at) < 12):
            raise Unsigned("expected signature.timestamp (seconds since 1970), signature.token, signature.signature")
        if abs(call.received_at.timestamp() - int(told_at)) > _AGE_MAX.total_seconds():
            raise Unsigned("signature.timestamp is more than nine hours from now")
        over = (told_at + token).encode("utf-8", "surrogateescape")
        expected = [hmac.new(key, over, hashlib.sha256).hexdigest().encode() for key in self._keys]
        given = [str(signed.get(name, "")) for name in ("signature", "parent-signature")]
        if not any([is_one_of(each, expected) for each in given]):
            raise Unsigned("signature.signature is not one by this source's key over timestamp and token")
        self._keep(token, call.body)

    def _keep(self, token: str, body: bytes) -> None:
        digest = hashlib.sha256(body).digest()
        if self._bodies.setdefault(token, digest) != digest:
            raise Unsigned("signature.token came before with another body; each call has a token of its own")
        if len(self._bodies) > _TOKENS_MAX:
            self._bodies.popitem(last=False)

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        told = object_in(json_of(call.body), "event-data")
        reader = _READERS.get(str(told.get("event")))
        if reader is None:
            return []
        said = reader(told)
        if said is None:
            return []
        event, properties = said
        event_id = str(told.get("id") or "")
        headers = object_in(object_in(told, "message"), "headers")
        is_named = 0 < len(event_id) <= 100
        return [
            report(
                event,
                email=told.get("recipient"),
                at=told.get("timestamp", ""),
                event_id=event_id if is_named else report_id(event, told.get("recipient"), told.get("timestamp")),
                **{
                    "decision_id": decision_in(
                        object_in(told, "user-variables").get("wayline_decision"), headers.get("message-id")
                    ),
                    **properties,
                },
            )
        ]


def _opened(told: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "Email Opened", {"automated": _is_machine(told)}


def _clicked(told: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "Email Link Clicked", {"url": told.get("url"), "automated": _is_machine(told)}


def _is_machine(told: Mapping[str, Any]) -> bool | None:
    client = object_in(told, "client-info")
    # `bot` names the machine where Mailgun knows it; a client of type robot or library is none that people read with.
    is_told = bool(client.get("bot")) or str(client.get("client-type")).lower() in ("robot", "library")
    return True if is_told else is_made_by_machine(client.get("user-agent"))


def _failed(told: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Given up for good; what Mailgun will try again is nothing yet."""
    if told.get("severity") != "permanent":
        return None
    status, why = object_in(told, "delivery-status"), str(told.get("reason") or "")
    if why == "suppress-unsubscribe":
        return "Unsubscribed", {"channel": "email", "decision_id": "", "reason": why}
    code = status.get("code")
    is_soft = why == "old" or (isinstance(code, int) and 400 <= code < 500)
    reason = f"{why}: {status.get('message') or status.get('description') or ''}".strip(": ")
    return "Email Bounced", {"bounce_type": "soft" if is_soft else "hard", "reason": reason}


def _rejected(told: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "Email Bounced", {"bounce_type": "soft", "reason": object_in(told, "reject").get("reason") or "rejected"}


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]] | None]]] = {
    "delivered": lambda told: ("Email Delivered", {}),
    "opened": _opened,
    "clicked": _clicked,
    "failed": _failed,
    "rejected": _rejected,
    "complained": lambda told: ("Email Marked as Spam", {}),
    "unsubscribed": lambda told: ("Unsubscribed", {"channel": "email"}),
}
