"""The newest report: built when somebody looks, kept for a while, and rebuilt behind the back of whoever looks next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from wayline.serving.report import Report

__all__ = ["Latest"]

_log = structlog.get_logger()


class Latest:
    """A report that is never older than need be, and never waited for twice. Nobody looking costs nothing."""

    def __init__(
        self,
        build: Callable[[], Report],
        *,
        every: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._build = build
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._built_at = self._tried_at = 0.0
        self._rebuilding: threading.Thread | None = None

    def __call__(self) -> Report:
        """The report; only who comes first waits for it."""
        with self._lock:
            if self._report is None:
                self._report, self._built_at = self._build(), self._clock()
                self._tried_at = self._built_at
            elif self._clock() - self._tried_at >= self._every and self._rebuilding is None:
                self._tried_at = self._clock()
                self._rebuilding = threading.Thread(target=self._rebuild, name="wayline-report", daemon=True)
                self._rebuilding.start()
            return self._report

    @property
    def age(self) -> float:
        """Seconds since the report that is shown was built."""
        return self._clock() - self._built_at

    def wait(self) -> None:
        """Until a rebuild that is under way has ended: before the stores it reads are closed."""
        rebuilding = self._rebuilding
        if rebuilding is not None:
            rebuilding.join()

    def _rebuild(self) -> None:
        try:
            report = self._build()
        except Exception as error:  # noqa: BLE001 - the top of a thread: the report before stays, and so does its age
            _log.error("no new report", reason=f"{type(error).__name__}: {error}", exc_info=error)
        else:
            self._report, self._built_at = report, self._clock()
        with self._lock:
            self._rebuilding = None
