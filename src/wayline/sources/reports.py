"""What providers report of messages, in the words of the tracking API: whose address, which message of ours, by whom.

Each provider's receiver reads its own form and says it here, so that a bounce is the same bounce whoever tells it. An
open or a click is `automated` where the provider says so, or where it shows (`is_made_by_machine`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from wayline.errors import Rejected

__all__ = [
    "decision_in",
    "instant_of",
    "object_in",
    "report",
    "report_id",
    "timestamp_of",
]

_DECISION: Final = re.compile(r"[0-9a-f]{32}")
_ADDRESS: Final = re.compile(r"\S+@\S+")
_REASON_MAX: Final = 300  # characters kept of what a provider says of a failure


def report(
    event: str,
    *,
    email: Any = "",
    phone: Any = "",
    at: Any,
    event_id: str,
    decision_id: str = "",
    reason: Any = "",
    url: Any = "",
    **properties: Any,
) -> dict[str, Any]:
    """A message of the tracking API about one address; what is empty is left out. The address is its identifier."""
    said = {
        "decision_id": decision_id,
        "reason": _ADDRESS.sub("<address>", " ".join(str(reason or "").split()))[:_REASON_MAX],
        "url": _without_personal(url),
        **properties,
    }
    message: dict[str, Any] = {
        "type": "track",
        "event": event,
        "messageId": event_id,
        "context": {"traits": {name: value for name, value in (("email", email), ("phone", phone)) if value}},
        "properties": {name: value for name, value in said.items() if value not in ("", None)},
    }
    if at is not None:
        message["timestamp"] = timestamp_of(at)
    return message


def report_id(*parts: Any) -> str:
    """An id for what a provider gives none: the same for the same report, however often it comes."""
    return "report-" + blake2b("\x1f".join(map(str, parts)).encode("utf-8", "replace"), digest_size=16).hexdigest()


def decision_in(*candidates: Any) -> str:
    """Our decision's id in the first of these that holds one: as we sent it along, or as the name in a Message-ID."""
    for candidate in candidates:
        text = candidate[0] if isinstance(candidate, list) and candidate else candidate
        if isinstance(text, str) and (found := _DECISION.fullmatch(text.strip(" <>").partition("@")[0])):
            return found[0]
    return ""


def instant_of(told: Any, field: str) -> datetime:
    """An instant told as seconds since 1970 or as ISO 8601; Rejected where it is neither."""
    try:
        if isinstance(told, int | float) and not isinstance(told, bool):
            return datetime.fromtimestamp(told, UTC)
        if isinstance(told, str):
            text = re.sub(r"(\.\d{6})\d+", r"\1", told)
            read = datetime.fromisoformat(text)
            return read if read.tzinfo is not None else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise Rejected("bad_time", field, f"expected seconds since 1970 or ISO 8601, got {told!r:.60}")


def timestamp_of(told: Any) -> str:
    """An instant as a message has it; one that cannot be read as it came, so that this message alone is refused."""
    try:
        return instant_of(told, "").isoformat()
    except Rejected:
        return str(told)[:100] or "(empty)"


def object_in(told: Any, name: str) -> Mapping[str, Any]:
    """The object of that name; an empty one where there is none."""
    inner = told.get(name) if isinstance(told, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _without_personal(url: Any) -> str:
    """A link as it may be kept: its query may name the person."""
    if not isinstance(url, str) or not url:
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
