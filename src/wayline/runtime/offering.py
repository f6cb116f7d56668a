"""Rejected messages, offered again after a fix: of the sender's field, of the signal's agreement, or of Wayline.

A message is offered as it first came: from the same source, with the same right to be believed, received when it was.
What its tokens showed then it shows again, without them: a token is not kept, and would have expired.
What is accepted now is kept no longer among the rejected ones; what is not is kept under its new reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from wayline.observation.masking import names_someone, safe_field, safe_name, safe_reason, safe_text
from wayline.observation.proofs import Proofs, Shown
from wayline.runtime.collecting import Collector, Delivered
from wayline.store import Log, Rejection

__all__ = ["OFFERED_MAX", "REVEALED_BYTES_MAX", "Listed", "Offered", "listed", "merge_patch", "offer_again"]

OFFERED_MAX: Final = 10_000
"""Messages offered again at a time."""
REVEALED_BYTES_MAX: Final = 16 << 20
"""Bytes of messages shown at a time; the list ends there, and goes on from its last number."""


class Listed(Struct, frozen=True, omit_defaults=True):
    """One rejected message as it is shown; `body` only to whoever may see personal values."""

    number: int
    source: str
    name: str
    event_id: str
    code: str
    field: str
    reason: str
    received_at: str
    is_cut: bool = False
    """Whether it was too large to be kept whole, so that it cannot be offered again."""
    body: Any = None


class Offered(Struct, frozen=True):
    """What became of the messages offered again."""

    offered: int
    stored: int
    duplicates: int
    conflicts: int
    rejected: tuple[str, ...] = ()
    """Why each that was rejected again was."""
    unreadable: int = 0
    """No messages at all, or not kept whole: their senders must send them anew."""
    left: int = 0
    """Not offered this time: more than are offered at a time."""
    next: int = 0
    """Then the `before` to go on with."""


def listed(log: Log, *, before: int = 0, count_max: int = 100, is_revealed: bool = False) -> list[Listed]:
    """Rejected messages, newest first; `before` is the number after which to go on."""
    if not is_revealed:
        return [_safe(_listed(number, one)) for number, one in log.rejected(before, count_max, is_whole=False)]
    shown: list[Listed] = []
    size = 0
    for number in log.rejected_numbers(before, count_max):
        for _, one in _numbered(log, number):
            size += len(one.body)
            if shown and size > REVEALED_BYTES_MAX:
                return shown
            shown.append(_listed(number, one, _shown(one.body)))
    return shown


def _listed(number: int, one: Rejection, body: Any = None) -> Listed:
    return Listed(
        number, one.source, one.name, one.event_id, one.code, one.field, one.reason, one.received_at.isoformat(),
        one.is_cut, body,
    )  # fmt: skip


def _numbered(log: Log, number: int) -> list[tuple[int, Rejection]]:
    """The rejected message of that number, if it is kept."""
    return [each for each in log.rejected(number + 1, 1) if each[0] == number] if number > 0 else []


def _safe(row: Listed) -> Listed:
    event_id = safe_text(row.event_id) if names_someone(row.event_id) else row.event_id
    name, field, reason = safe_name(row.name, row.code), safe_field(row.field), safe_reason(row.reason)
    return replace(row, name=name, event_id=event_id, field=field, reason=reason)


def offer_again(
    log: Log,
    collector: Collector,
    numbers: Sequence[int] | None = None,
    patch: Mapping[str, Any] | None = None,
    *,
    before: int = 0,
    count_max: int = OFFERED_MAX,
) -> Offered:
    """Offer those rejected messages again, or all (None), each changed by `patch` (RFC 7396) if there is one.

    The newest `count_max` of those numbered below `before` (0: all); how many more there are is told, and from where
    to go on.
    """
    wanted = log.rejected_numbers(before, log.rejected_kept()) if numbers is None else _below(before, numbers)
    offered, left = wanted[:count_max], len(wanted[count_max:])
    total = [0, 0, 0]
    again: list[str] = []
    found = unreadable = 0
    # Oldest first, each by itself: one that still cannot be used touches no other, and no two are held at once.
    for number, one in (each for place in reversed(offered) for each in _numbered(log, place)):
        found += 1
        message = _message(one)
        if message is None:
            unreadable += 1
            continue
        collected = collector.collect(_delivered(one, merge_patch(message, patch) if patch else message))
        log.let_go([number])
        appended = collected.appended
        for at, count in enumerate((appended.stored, appended.duplicates, appended.conflicts)):
            total[at] += count
        again += map(_why, collected.rejected)
    return Offered(
        found - unreadable, total[0], total[1], total[2], tuple(again), unreadable, left, offered[-1] if left else 0
    )


def _below(before: int, numbers: Sequence[int]) -> list[int]:
    return sorted((number for number in set(numbers) if not before or number < before), reverse=True)


def merge_patch(target: Any, patch: Any) -> Any:
    """A value changed as RFC 7396 says: objects key by key, null takes a key out, anything else stands instead."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _why(one: Rejection) -> str:
    field, reason = safe_field(one.field), safe_reason(one.reason)
    return f"{field}: {reason}" if field else reason


def _message(one: Rejection) -> Mapping[str, Any] | None:
    try:
        message = None if one.is_cut else msgspec.json.decode(one.body)
    except (msgspec.DecodeError, RecursionError):
        return None
    # Bodies that could not be cut into messages have no type; to read them takes headers that were not kept.
    return message if isinstance(message, dict) and "type" in message else None


def _delivered(one: Rejection, message: Mapping[str, Any]) -> Delivered:
    shown = Shown({}, one.named, one.customer_id, one.doubts)
    return Delivered(
        (message,), one.source, one.received_at, sent_at=one.sent_at, fires=one.fires, trusted=one.trusted,
        proofs=Proofs(one.received_at, shown=shown) if one.named or one.customer_id or one.doubts else None,
    )  # fmt: skip


def _shown(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body[:10_000].decode("utf-8", "backslashreplace")
