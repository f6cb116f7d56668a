"""Rejected messages, offered again after a fix: of the sender's field, of the signal's agreement, or of Wayline.

A message is offered as it first came: from the same source, with the same right to be believed, received when it was.
What is accepted now is kept no longer among the rejected ones; what is not is kept under its new reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from wayline.runtime.collecting import Collector, Delivered
from wayline.store import Log, Rejection

__all__ = ["OFFERED_MAX", "Listed", "Offered", "listed", "merge_patch", "offer_again"]

OFFERED_MAX: Final = 10_000
"""Messages offered again at a time."""


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
    """No messages at all: their senders must send them anew."""


def listed(log: Log, *, before: int = 0, count_max: int = 100, is_revealed: bool = False) -> list[Listed]:
    """Rejected messages, newest first; `before` is the number after which to go on."""
    return [
        Listed(
            number, one.source, one.name, one.event_id, one.code, one.field, one.reason,
            one.received_at.isoformat(), _shown(one.body) if is_revealed else None,
        )
        for number, one in log.rejected(before, count_max)
    ]  # fmt: skip


def offer_again(
    log: Log, collector: Collector, numbers: Sequence[int] | None = None, patch: Mapping[str, Any] | None = None
) -> Offered:
    """Offer those rejected messages again, or all (None), each changed by `patch` (RFC 7396) if there is one."""
    wanted = None if numbers is None else frozenset(numbers)
    kept = [(number, one) for number, one in log.rejected(0, OFFERED_MAX) if wanted is None or number in wanted]
    total = [0, 0, 0]
    again: list[str] = []
    unreadable = 0
    # Oldest first, each by itself: one that still cannot be used touches no other.
    for number, one in reversed(kept):
        message = _message(one)
        if message is None:
            unreadable += 1
            continue
        collected = collector.collect(_delivered(one, merge_patch(message, patch) if patch else message))
        log.let_go([number])
        appended = collected.appended
        for at, count in enumerate((appended.stored, appended.duplicates, appended.conflicts)):
            total[at] += count
        again += [f"{each.field}: {each.reason}" if each.field else each.reason for each in collected.rejected]
    return Offered(len(kept) - unreadable, total[0], total[1], total[2], tuple(again), unreadable)


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


def _message(one: Rejection) -> Mapping[str, Any] | None:
    try:
        message = msgspec.json.decode(one.body)
    except (msgspec.DecodeError, RecursionError):
        return None
    # Bodies that could not be cut into messages have no type; to read them takes headers that were not kept.
    return message if isinstance(message, dict) and "type" in message else None


def _delivered(one: Rejection, message: Mapping[str, Any]) -> Delivered:
    return Delivered((message,), one.source, one.received_at, sent_at=one.sent_at, fires=one.fires, trusted=one.trusted)


def _shown(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body[:10_000].decode("utf-8", "backslashreplace")
