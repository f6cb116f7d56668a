"""The channel of the control arm: everything happens but the call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from wayline.channels import Promise
from wayline.domain import Message, Receipt

__all__ = ["Withheld"]


class Withheld:
    """Takes what the control arm would have got, and lets nothing leave."""

    name = "withheld"
    promise: Promise = "repeatable"

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock

    def deliver(self, message: Message, key: str) -> Receipt:
        return Receipt("withheld", self._clock(), detail="control group", provider_id=key)

    def close(self) -> None:
        return None
