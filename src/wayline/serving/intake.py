"""Concurrent requests, collected into one durable commit at a time.

Whoever offers messages waits until they are on disk. While one commit is under way the others gather, and the next one
takes them all: a single request waits for one commit, a thousand of them wait for two.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import structlog
from msgspec import Struct

from wayline.errors import Rejected, StoreUnavailable
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.readers import READERS_MAX, Readers
from wayline.serving.counting import Counts

__all__ = ["ARRIVING_BYTES_MAX", "QUEUE_BYTES_MAX", "Intake", "QueueFull", "Room"]

_log = structlog.get_logger()

QUEUE_BYTES_MAX = 64 << 20  # of bodies that wait to be written
ARRIVING_BYTES_MAX = 16 << 20  # of bodies still on their way, by whoever holds no secret key
_GROUP_MESSAGES_MAX = 5000  # in one commit
_FURTHER_MESSAGES_MIN = 500  # that wait, for a further commit beside one under way
_GROUP_BYTES_MAX = 16 << 20  # of bodies in one commit
_TROUBLE_SECONDS = 5.0  # for so long a refusal counts as trouble, whatever was stored since


class QueueFull(Exception):
    """More is being read and waits to be written than memory is set aside for."""


class _Arriving:
    """Bodies still on their way, by senders anybody may be: in a room of their own, so that they fill no other.

    When it is full, whoever has been at it longest gives way: one that stalls holds up nobody who does not.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self._rooms: dict[Room, int] = {}  # the oldest first

    def take(self, room: Room, size: int) -> None:
        self._rooms.setdefault(room, 0)
        while self.bytes + size > self.bytes_max:
            oldest = next(iter(self._rooms))
            if oldest is room:
                raise QueueFull
            self.leave(oldest)
            oldest.give_way()
        self._rooms[room] += size
        self.bytes += size

    def leave(self, room: Room) -> int:
        size = self._rooms.pop(room, 0)
        self.bytes -= size
        return size


class Room:
    """What one request takes of that memory, from its first byte until it is answered."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._limit: asyncio.Timeout | None = None
        self.bytes = 0
        self.gave_way = False
        """Whether others needed what its body, still on its way, had taken."""

    def take(self, size: int) -> None:
        """Take so many bytes more. Raises QueueFull at once if they are not there."""
        if self._intake.bytes + size > self._intake.bytes_max:
            raise QueueFull
        self._intake.bytes += size
        self.bytes += size

    def take_arriving(self, size: int, limit: asyncio.Timeout) -> None:
        """Take so many bytes of a body of which more is to come; `limit` is cut short if it has to give way."""
        if self.gave_way:
            raise QueueFull
        self._limit = limit
        self._intake.arriving.take(self, size)

    def arrived(self) -> None:
        """All of the body is there. Raises QueueFull where it cannot wait to be written."""
        if self.gave_way:
            raise QueueFull
        if self._limit is not None:
            self.take(self._intake.arriving.leave(self))

    def give_way(self) -> None:
        """Have whoever reads this body stop."""
        self.gave_way = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(0)

    def __enter__(self) -> Room:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._intake.arriving.leave(self)
        self._intake.bytes -= self.bytes


class _Offer(Struct):
    delivered: Delivered
    size: int
    answer: asyncio.Future[Sequence[tuple[int, Rejected]]]


class Intake:
    """The one writer of what clients send."""

    def __init__(
        self,
        collector: Collector,
        *,
        on_stored: Callable[[], None] = lambda: None,
        bytes_max: int = QUEUE_BYTES_MAX,
        readers: Readers | None = None,
    ) -> None:
        self._collector = collector
        self.readers = readers
        self._on_stored = on_stored
        self.bytes_max = bytes_max
        self.bytes = 0
        """Taken by all requests that are not answered yet."""
        self.arriving = _Arriving(min(ARRIVING_BYTES_MAX, bytes_max))
        self._waiting: deque[_Offer] = deque()
        self._messages = 0  # of those that wait
        self._writing: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(1 + READERS_MAX, "wayline-collector")
        self._refusal = ("", -math.inf)
        """What the store last said when it refused, and when."""
        self.counts = Counts()

    async def store(self, delivered: Delivered, size: int) -> Sequence[tuple[int, Rejected]]:
        """Have messages on disk; the place and the verdict of each that was rejected.

        Raises StoreUnavailable when nothing of them was kept.
        """
        offer = _Offer(delivered, size, asyncio.get_running_loop().create_future())
        self._waiting.append(offer)
        self._messages += len(delivered.items)
        self._begin()
        return await offer.answer

    def trouble(self) -> str:
        """Why nothing can be stored; empty if it can, as far as is known. May wait for the disk."""
        reason, at = self._refusal
        if not reason or time.monotonic() - at < _TROUBLE_SECONDS:
            return reason
        # Nobody may be sending because this was said, so it is tried with nothing to store.
        try:
            self._collector.collect()
        except StoreUnavailable as error:
            return str(error)
        self._refusal = ("", -math.inf)
        return ""

    def _refused(self, reason: str) -> None:
        if reason != self._refusal[0]:
            _log.error("nothing can be stored", reason=reason)
        self._refusal = (reason, time.monotonic())

    async def close(self) -> None:
        """Write what still waits, then end."""
        while self._writing:
            await asyncio.wait(self._writing)
        self._threads.shutdown()
        if self.readers is not None:
            self.readers.close()

    def _begin(self) -> None:
        """Have what waits written: one group at a time, and for each reader one more if that is worth a commit."""
        most = 1 if self.readers is None else 1 + self.readers.count
        while self._waiting and len(self._writing) < (most if self._messages >= _FURTHER_MESSAGES_MIN else 1):
            writing = asyncio.create_task(self._commit(self._next_group()))
            self._writing.add(writing)
            writing.add_done_callback(self._ended)

    def _ended(self, writing: asyncio.Task[None]) -> None:
        self._writing.discard(writing)
        self._begin()

    def _next_group(self) -> list[_Offer]:
        group = [self._waiting.popleft()]
        messages, size = len(group[0].delivered.items), group[0].size
        while self._waiting:
            following = self._waiting[0]
            messages, size = messages + len(following.delivered.items), size + following.size
            if messages > _GROUP_MESSAGES_MAX or size > _GROUP_BYTES_MAX:
                break
            group.append(self._waiting.popleft())
        self._messages -= sum(len(offer.delivered.items) for offer in group)
        return group

    async def _commit(self, group: Sequence[_Offer]) -> None:
        loop = asyncio.get_running_loop()
        try:
            delivered = [offer.delivered for offer in group]
            collected = await loop.run_in_executor(self._threads, lambda: self._collector.collect(*delivered))
        except StoreUnavailable as error:
            self._refused(str(error))
            for offer in group:
                self._answer(offer, error)
        except Exception as error:  # noqa: BLE001 - the top of the writer: one poisonous request may not fail its neighbours
            if len(group) > 1:
                for offer in group:
                    await self._commit((offer,))
                return
            _log.error("a request could not be stored", reason=f"{type(error).__name__}: {error}", exc_info=error)
            self._answer(group[0], error)
        else:
            self.counts.commit(delivered, collected)
            for offer, verdicts in zip(group, collected.verdicts, strict=True):
                self._answer(offer, verdicts)
            self._on_stored()

    def _answer(self, offer: _Offer, answer: Sequence[tuple[int, Rejected]] | Exception) -> None:
        if offer.answer.done():
            return  # whoever asked has gone away
        if isinstance(answer, Exception):
            offer.answer.set_exception(answer)
        else:
            offer.answer.set_result(answer)
