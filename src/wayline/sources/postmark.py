"""Postmark's webhooks: one event in a call, and no signature at all.

Postmark signs nothing. Who calls is known by a secret that we gave it: a name and a password in the webhook's address
(Basic authentication), or a header of ours; and, if wished, by the network it calls from. Whoever learns that secret
can tell us anything, so it is long, only ever sent over TLS, and changed when in doubt.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final

from wayline.errors import OperatorError, Rejected, kind_of
from wayline.observation.feedback import is_made_by_machine
from wayline.sources import Call, Unsigned
from wayline.sources.reports import decision_in, object_in, report, report_id
from wayline.sources.signed import is_one_of, json_of

__all__ = ["Postmark"]

_SECRET_CHARACTERS_MIN: Final = 20
_HARD: Final = frozenset({"HardBounce", "BadEmailAddress", "ManuallyDeactivated"})
_TELLS_NOTHING: Final = frozenset(
    {"AutoResponder", "AddressChange", "Subscribe", "OpenRelayTest", "ChallengeVerification"}
)


class Postmark:
    """Reads Postmark's events as reports on messages."""

    def __init__(self, secrets: Sequence[str], *, header: str = "", networks: Sequence[str] = ()) -> None:
        short = [
            secret for secret in secrets if len(secret) < _SECRET_CHARACTERS_MIN or (not header and ":" not in secret)
        ]
        if short:
            raise OperatorError(
                f"Postmark's secret is all that proves a call: expected `name:password` (or, with `header`, its value) "
                f"of at least {_SECRET_CHARACTERS_MIN} characters"
            )
        self._header = header.lower() or "authorization"
        basic = [b"Basic " + base64.b64encode(secret.encode()) for secret in secrets]
        self._expected = [secret.encode() for secret in secrets] if header else basic
        try:
            self._networks = [ip_network(each) for each in networks]
        except ValueError as error:
            raise OperatorError(f"networks: {error}; expected such as '203.0.113.7/32'") from error

    def check(self, call: Call) -> None:
        if not is_one_of(call.headers.get(self._header, ""), self._expected):
            raise Unsigned(f"expected this source's secret in the header {self._header}")
        if self._networks and not self._is_near(call.peer):
            raise Unsigned("the call comes from none of this source's networks")

    def _is_near(self, peer: str) -> bool:
        try:
            return any(ip_address(peer) in network for network in self._networks)
        except ValueError:
            return False

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        told = json_of(call.body)
        if not isinstance(told, dict):
            raise Rejected("wrong_type", "", f"expected one event, got {kind_of(told)}")
        reader = _READERS.get(str(told.get("RecordType")))
        said = reader(told) if reader is not None else None
        if said is None:
            return []
        event, at_field, properties = said
        address, at = told.get("Email") or told.get("Recipient"), told.get(at_field)
        decision_id = decision_in(object_in(told, "Metadata").get("wayline-decision"))
        return [
            report(
                event,
                email=address,
                at=at or "",
                event_id=report_id(event, told.get("MessageID"), told.get("ID"), address, at, properties.get("url")),
                **{"decision_id": decision_id, **properties},
            )
        ]


_Said = tuple[str, str, dict[str, Any]]


def _bounced(told: Mapping[str, Any]) -> _Said | None:
    """A bounce by its type; one that made Postmark close the address is hard whatever it is called."""
    kind = str(told.get("Type"))
    reason = f"{kind}: {told.get('Description') or ''}"
    if kind in _TELLS_NOTHING:
        return None
    if kind == "SpamComplaint":
        return "Email Marked as Spam", "BouncedAt", {}
    if kind == "Unsubscribe":
        return "Unsubscribed", "BouncedAt", {"channel": "email"}
    is_hard = kind in _HARD or told.get("Inactive") is True
    return "Email Bounced", "BouncedAt", {"bounce_type": "hard" if is_hard else "soft", "reason": reason}


def _changed(told: Mapping[str, Any]) -> _Said | None:
    """Sending was stopped by the recipient themselves; bounces and complaints are told by webhooks of their own."""
    is_theirs = told.get("SuppressionReason") == "ManualSuppression" and told.get("Origin") == "Recipient"
    if told.get("SuppressSending") is not True or not is_theirs:
        return None
    return "Unsubscribed", "ChangedAt", {"channel": "email"}


def _read(told: Mapping[str, Any]) -> bool | None:
    return is_made_by_machine(told.get("UserAgent"))


_READERS = {
    "Delivery": lambda told: ("Email Delivered", "DeliveredAt", {}),
    "Open": lambda told: ("Email Opened", "ReceivedAt", {"automated": _read(told)}),
    "Click": lambda told: (
        "Email Link Clicked", "ReceivedAt", {"url": told.get("OriginalLink"), "automated": _read(told)},
    ),
    "Bounce": _bounced,
    "SpamComplaint": lambda told: ("Email Marked as Spam", "BouncedAt", {}),
    "SubscriptionChange": _changed,
}  # fmt: skip
