"""Processes that read messages beside the one that stores them: begun when there is much to read, and ended after it.

Reading is most of the work of taking events in, and one process of Python keeps one processor busy. A reader is given
messages as they came and gives back what goes into the log and the vault. It opens no file and keeps nothing, so it may
end at any moment: what it had is read again here.

    python -m wayline.runtime.readers
"""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from queue import Empty, SimpleQueue
from typing import IO, Final

import structlog
from msgspec import Struct, msgpack

from wayline.domain import Signal
from wayline.runtime.collecting import Delivered, Read, read
from wayline.store.seal import pseudonym

__all__ = ["READERS_MAX", "Readers", "main"]

_log = structlog.get_logger()

_PROCESSORS: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
READERS_MAX: Final = min(_PROCESSORS, 4) if _PROCESSORS > 1 else 0
"""Readers at a time. The one that stores needs a third of a processor for each reader's whole one."""

_WORTH: Final = (0.15, 0.7, 1.6, 2.5)  # processors' worth of reading from which on one reader is worth it, two, ...
_GROUP_MIN: Final = 100  # messages read at once; for fewer the way there and back costs as much as reading them
_WINDOW_SECONDS: Final = 1.0  # over which that is looked at
_IDLE_SECONDS: Final = 60.0  # without that much to read, and the readers end
_ANSWER_SECONDS_MAX: Final = 20.0  # a reader that takes longer is given up
_PIPE_BYTES: Final = 1 << 20
_PSEUDONYMS_MAX: Final = 1 << 15  # kept at hand by a reader


class _Setup(Struct):
    key: bytes
    currency: str
    signals: Mapping[str, Signal] = {}


_encode = msgpack.Encoder().encode
_read_of = msgpack.Decoder(Read).decode
_requests_of = msgpack.Decoder(list[Delivered]).decode
_setup_of = msgpack.Decoder(_Setup).decode


class Readers:
    """Reads messages in this process or in one of its readers. Called from several threads."""

    def __init__(
        self,
        keyed: Callable[[str, str], str],
        currency: str,
        *,
        key: bytes = b"",
        signals: Mapping[str, Signal] | None = None,
        count_max: int = READERS_MAX,
        seconds_now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key` is that of the pseudonyms; without it no reader is begun."""
        self._keyed = keyed
        self._setup = _Setup(key, currency, signals or {})
        self._count_max = count_max if key else 0
        self._seconds_now = seconds_now
        self._lock = threading.Lock()
        self._free: SimpleQueue[_Reader] = SimpleQueue()
        self._begun: list[_Reader] = []
        self._beginning: threading.Thread | None = None
        self._closed = False
        self._seconds = 0.0
        self._since = self._busy_at = seconds_now()

    @property
    def count(self) -> int:
        """Readers at work or at hand."""
        return len(self._begun)

    def read(self, requests: Sequence[Delivered]) -> Read:
        """Read the messages of some requests."""
        if sum(len(each.items) for each in requests) < _GROUP_MIN:
            return self._here(requests)
        began = self._seconds_now()
        given = [each for each in requests if _is_given(each)] if self._begun else []
        found = self._elsewhere(given) if given else None
        if found is None:
            found = self._here(requests)
        elif len(given) < len(requests):
            rest = self._here([each for each in requests if not _is_given(each)])
            found = _joined(requests, found, rest)
        self._note(self._seconds_now() - began)
        return found

    def _here(self, requests: Sequence[Delivered]) -> Read:
        return read(requests, self._keyed, self._setup.currency, self._setup.signals)

    def look(self) -> None:
        """End the readers if there was little to read for a while; to be called now and then."""
        if self._begun and self._seconds_now() - self._busy_at > _IDLE_SECONDS:
            self._end()

    def close(self) -> None:
        """End all readers."""
        self._closed = True
        beginning = self._beginning
        if beginning is not None:
            beginning.join()
        self._end()

    # ------------------------------------------------------------------ elsewhere

    def _elsewhere(self, requests: Sequence[Delivered]) -> Read | None:
        """What a reader made of the requests; None if there is none any more."""
        told = _encode(requests)
        while self._begun:
            try:
                reader = self._free.get(timeout=1.0)
            except Empty:
                continue
            try:
                answer = reader.ask(told)
            except (OSError, EOFError, ValueError) as error:
                self._lose(reader, error)
                continue
            self._free.put(reader)
            return _read_of(answer)
        return None

    def _lose(self, reader: _Reader, error: Exception) -> None:
        with self._lock:
            if reader in self._begun:
                self._begun.remove(reader)
        reader.end()
        if not self._closed:
            _log.warning("a reader was lost; its messages are read again", reason=f"{type(error).__name__}: {error}")

    def _end(self) -> None:
        with self._lock:
            ended, self._begun = self._begun, []
        for reader in ended:
            reader.end()
        while not self._free.empty():
            self._free.get()

    # ------------------------------------------------------------------ how many are worth it

    def _note(self, seconds: float) -> None:
        """Look how much there is to read, and begin a reader if that is worth it."""
        with self._lock:
            self._seconds += seconds
            now = self._seconds_now()
            if now - self._since < _WINDOW_SECONDS:
                return
            share = self._seconds / (now - self._since)
            self._seconds, self._since = 0.0, now
            if share > _WORTH[0]:
                self._busy_at = now
            wanted = min(sum(share > least for least in _WORTH), self._count_max)
            if wanted > len(self._begun) and self._beginning is None and not self._closed:
                self._beginning = threading.Thread(target=self._begin, name="wayline-reader", daemon=True)
                self._beginning.start()

    def _begin(self) -> None:
        try:
            reader = _Reader(self._setup)
        except (OSError, EOFError) as error:
            _log.warning("no reader could be begun", reason=str(error))
        else:
            with self._lock:
                self._begun = [*self._begun, reader]
            self._free.put(reader)
        self._beginning = None


def _is_given(request: Delivered) -> bool:
    """Whether this request may be read elsewhere: all of it is as it came."""
    return not request.unreadable and all(type(item) is bytes for item in request.items)


def _joined(requests: Sequence[Delivered], given: Read, rest: Read) -> Read:
    """What was read at two places, the verdicts in the order of the requests."""
    of_given, of_rest = iter(given.refused), iter(rest.refused)
    refused = [next(of_given if _is_given(each) else of_rest) for each in requests]
    personal = [*given.personal, *rest.personal]
    return Read([*given.events, *rest.events], personal, [*given.rejected, *rest.rejected], refused)


class _Reader:
    """One process, for one caller at a time."""

    def __init__(self, setup: _Setup) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "wayline.runtime.readers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pipesize=_PIPE_BYTES,
        )
        assert self._child.stdin is not None and self._child.stdout is not None
        self._to, self._from = self._child.stdin, self._child.stdout
        self._poll = select.poll()
        self._poll.register(self._from, select.POLLIN)
        try:
            self.ask(_encode(setup))  # by the pipe, for the command and its surroundings can be seen by others
        except BaseException:
            self.end()
            raise

    def ask(self, told: bytes) -> bytes:
        """Have these requests read. Raises OSError, ValueError or EOFError if it is gone or does not answer."""
        _put(self._to, told)
        if not self._poll.poll(_ANSWER_SECONDS_MAX * 1000):
            raise TimeoutError(f"no answer within {_ANSWER_SECONDS_MAX:.0f} s")
        return _taken(self._from)

    def end(self) -> None:
        """End the process, whatever it does."""
        self._child.kill()
        self._child.wait()
        self._from.close()
        with suppress(OSError):  # what was still to be sent to it
            self._to.close()


def _put(pipe: IO[bytes], told: bytes) -> None:
    pipe.write(len(told).to_bytes(4, "little"))
    pipe.write(told)
    pipe.flush()


def _taken(pipe: IO[bytes]) -> bytes:
    size = int.from_bytes(pipe.read(4), "little")
    told = pipe.read(size)
    if not size or len(told) < size:
        raise EOFError("it has ended")
    return told


def main() -> None:
    """Read what is given on the standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever began this process ends it
    given, taken = sys.stdin.buffer, sys.stdout.buffer
    setup = _setup_of(_taken(given))
    keyed = lru_cache(_PSEUDONYMS_MAX)(lambda kind, value: pseudonym(setup.key, kind, value))
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)  # what is read holds nothing that could hold itself
    _put(taken, b"ready")
    while True:
        try:
            requests = _requests_of(_taken(given))
        except EOFError:
            return
        _put(taken, _encode(read(requests, keyed, setup.currency, setup.signals)))


if __name__ == "__main__":
    main()
