"""A channel that keeps what it is given instead of sending it: for dry runs, the simulator and tests."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

from wayline.channels import Promise
from wayline.domain import Message, Receipt

__all__ = ["DryRun"]


class DryRun:
    """Stands in for any channel: remembers the newest messages by key, and answers as it is told to.

    `answer` is asked first and may return a receipt of its own (a provider that is down, an address that is dead);
    where it returns None the message counts as sent. A key met again is the same message: kept and counted once.
    """

    promise: Promise = "repeatable"

    def __init__(
        self,
        name: str = "dryrun",
        *,
        kept_max: int = 10_000,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        answer: Callable[[Message, datetime], Receipt | None] = lambda message, now: None,
    ) -> None:
        if kept_max < 1:
            raise ValueError(f"kept_max is {kept_max}; a dry run keeps at least one message")
        self.name = name
        self.sent_count = 0
        self._kept: OrderedDict[str, Message] = OrderedDict()
        self._kept_max = kept_max
        self._clock = clock
        self._answer = answer

    @property
    def messages(self) -> tuple[Message, ...]:
        """The newest messages that would have left, oldest first, at most `kept_max`."""
        return tuple(self._kept.values())

    def deliver(self, message: Message, key: str) -> Receipt:
        now = self._clock()
        if key in self._kept:
            return Receipt("sent", now, detail="dry run, met again", provider_id=key)
        receipt = self._answer(message, now)
        if receipt is not None and receipt.outcome != "sent":
            return receipt
        self._kept[key] = message
        self.sent_count += 1
        if len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
        return receipt or Receipt("sent", now, detail="dry run", provider_id=key)

    def close(self) -> None:
        return None
