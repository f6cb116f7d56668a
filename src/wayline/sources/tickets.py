"""Service desks: what their tickets come to, said as Ticket Opened, Updated and Closed.

A plain form serves any desk that can be told what to send: `ticket_id` and `status`, and what else it knows. Zendesk
sends the same form by a trigger, or, subscribed to its events, a form of its own; both are signed by its own scheme.
What people wrote goes to the vault, as any text of theirs does. A ticket's time is when it changed (`updated_at`), so
that an older word that comes late does not open what is closed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from wayline.errors import Rejected, kind_of
from wayline.sources import Call, Unsigned
from wayline.sources.reports import instant_of, object_in, report_id, timestamp_of
from wayline.sources.signed import GenericWebhook, is_one_of, json_of

__all__ = ["TicketForms", "Zendesk"]

_AGE_MAX: Final = timedelta(hours=1)  # a failed call is tried again, and nothing says it is signed anew
_CLOSED: Final = frozenset({"solved", "closed", "resolved", "done", "spam", "deleted"})
_OPEN: Final = frozenset({"new", "open", "opened", "created", "reopened"})
_TOLD: Final = ("ticket_id", "order_id", "topic", "priority", "channel", "resolution", "sentiment", "status")
_WRITTEN: Final = ("subject", "message")
_EVENTS: Final = "zen:event-type:ticket."
_NO_TICKET: Final = "expected the id of a ticket; send the form that docs/how-to/feedback.md shows"


class TicketForms:
    """Reads the plain form, signed as Standard Webhooks says: one ticket in a call, or a list of them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._signed = GenericWebhook(secrets)

    def check(self, call: Call) -> None:
        self._signed.check(call)

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        told = json_of(call.body)
        if isinstance(told, dict) and not told.get("ticket_id"):
            raise Rejected("wrong_type", "ticket_id", _NO_TICKET)
        return [
            _ticket(each, "") if isinstance(each, dict) else each
            for each in (told if isinstance(told, list) else [told])
        ]


class Zendesk:
    """Reads Zendesk's webhooks: the plain form from a trigger, or the form of its ticket events."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = tuple(secret.encode() for secret in secrets)

    def check(self, call: Call) -> None:
        told_at = call.headers.get("x-zendesk-webhook-signature-timestamp", "")
        try:
            signed_at = instant_of(told_at, "X-Zendesk-Webhook-Signature-Timestamp")
        except Rejected as error:
            raise Unsigned("expected the headers X-Zendesk-Webhook-Signature and ...-Timestamp") from error
        if abs(call.received_at - signed_at) > _AGE_MAX:
            raise Unsigned("X-Zendesk-Webhook-Signature-Timestamp is more than an hour from now")
        over = told_at.encode("utf-8", "surrogateescape") + call.body
        expected = [base64.b64encode(hmac.new(key, over, hashlib.sha256).digest()) for key in self._keys]
        if not is_one_of(call.headers.get("x-zendesk-webhook-signature", ""), expected):
            raise Unsigned("X-Zendesk-Webhook-Signature is not one by this source's secret over timestamp and body")

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        told = json_of(call.body)
        if not isinstance(told, dict):
            raise Rejected("wrong_type", "", f"expected a ticket, got {kind_of(told)}")
        kind = told.get("type")
        if isinstance(kind, str) and kind.startswith("zen:"):
            return [_zendesk_event(told, kind)] if kind.startswith(_EVENTS) else []
        if not told.get("ticket_id"):
            raise Rejected("wrong_type", "ticket_id", _NO_TICKET)
        return [_ticket(told, "zendesk_id")]


def _ticket(told: Mapping[str, Any], requester: str) -> dict[str, Any]:
    """The message a plain form makes; `requester` is the kind of identifier that the desk's own id of a person is."""
    if not told.get("ticket_id"):
        return dict(told)  # no ticket: passed on as it came, to be kept with the reason while its neighbours are read
    status = str(told.get("status") or "").lower()
    event = "Ticket Closed" if status in _CLOSED else "Ticket Opened" if status in _OPEN else "Ticket Updated"
    properties = {name: told[name] for name in (*_TOLD, *_WRITTEN) if told.get(name) not in (None, "")}
    for name in ("priority", "sentiment", "status"):
        if isinstance(properties.get(name), str):
            properties[name] = properties[name].lower()
    at = told.get("updated_at")
    known = told.get("event_id")
    message: dict[str, Any] = {
        "type": "track",
        "event": event,
        "messageId": str(known) if known else report_id("ticket", told["ticket_id"], status, at),
        "context": _person(told, requester),
        "properties": properties,
    }
    if told.get("user_id"):
        message["userId"] = told["user_id"]
    if at:
        message["timestamp"] = timestamp_of(at)
    return message


def _person(told: Mapping[str, Any], requester: str) -> dict[str, Any]:
    context: dict[str, Any] = {"traits": {name: told[name] for name in ("email", "phone") if told.get(name)}}
    if requester and told.get("requester_id"):
        context["externalIds"] = [{"id": str(told["requester_id"]), "type": requester}]
    return context


def _zendesk_event(told: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """One ticket event as the plain form: it names the person by Zendesk's own id alone."""
    detail, change = object_in(told, "detail"), object_in(told, "event")
    current, previous = (str(change.get(name) or "").lower() for name in ("current", "previous"))
    what = kind.removeprefix(_EVENTS)
    status = str(detail.get("status") or "").lower()
    if what == "status_changed":
        is_reopened = previous in _CLOSED and current not in _CLOSED
        status = "open" if is_reopened else current if current in _CLOSED else f"still {current}"
    elif what == "created":
        status = "new"
    elif status not in _CLOSED:
        status = f"still {status}"
    form = {
        "ticket_id": detail.get("id"),
        "status": status,
        "topic": str(detail.get("type") or "").lower(),
        "priority": detail.get("priority"),
        "channel": object_in(detail, "via").get("channel"),
        "subject": detail.get("subject"),
        "message": detail.get("description"),
        "requester_id": detail.get("requester_id"),
        "updated_at": told.get("time") or detail.get("updated_at"),
        "event_id": told.get("id"),
    }
    return _ticket(form, "zendesk_id")
