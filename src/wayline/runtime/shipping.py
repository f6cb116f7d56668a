"""Shipping to the lake beside the engine, in a process of its own: what it loads and computes costs the loop nothing.

The process is begun every few minutes if there is anything new, gives way to everything else on the machine, and ends.
Cut off anywhere, the next one goes on where it stopped.

    python -m wayline.runtime.shipping FOLDER
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from msgspec import json

from wayline.store.opening import Store, open_shipping

__all__ = ["LAKE", "Shipper", "main"]

_log = structlog.get_logger()

LAKE = "lake"
"""Folder of the lake, among the stores."""

_COMPACTED = "compacted-on"
_NICENESS = 10


class Shipper:
    """Begins a shipment when it is time and there is something to ship, and looks after the one under way."""

    def __init__(self, store: Store, *, every: timedelta = timedelta(minutes=5)) -> None:
        assert store.folder is not None
        self._store = store
        self._folder = store.folder
        self._every = every
        self._next_at: datetime | None = None
        self._shipped = 0
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether a shipment has begun and nobody has seen its end yet."""
        return self._child is not None

    def look(self, now: datetime) -> None:
        """Begin a shipment, or see whether one has ended. Never waits."""
        if self._child is not None:
            if self._child.poll() is not None:
                self._ended(self._child)
                self._child = None
            return
        if self._next_at is not None and now < self._next_at:
            return
        first, self._next_at = self._next_at is None, now + self._every
        state = self._store.state
        if first or (state.position() == self._shipped and not state.changes(0, 1)):
            return  # the first one waits its time, so that starting is quick
        self._shipped = state.position()
        try:
            self._child = subprocess.Popen(  # noqa: S603 - this very program, and a folder of ours
                [sys.executable, "-m", "wayline.runtime.shipping", str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:  # no memory for another process: the engine itself can go on
            self._shipped = -1
            _log.error("nothing was shipped to the lake", reason=str(error))

    def close(self) -> None:
        """End a shipment that is under way: the next one goes on where it stopped."""
        if self._child is not None:
            self._child.terminate()
            self._child.communicate()
            self._child = None

    def _ended(self, child: subprocess.Popen[bytes]) -> None:
        said, complained = child.communicate()
        if child.returncode == 0:
            _log.info("shipped to the lake", **json.decode(said, type=dict[str, int]))
            return
        self._shipped = -1  # tried again next time, whether or not more has come
        reason = complained.decode("utf-8", "replace").strip().rpartition("\n")[2]
        _log.error("nothing was shipped to the lake", reason=reason, code=child.returncode)


def main(folder: Path) -> None:
    """Ship what is new, and join each day's small files once a day; says how much it was as one JSON object."""
    os.nice(_NICENESS)
    from wayline.store.lake import compact, ship

    lake = folder / LAKE
    with open_shipping(folder) as (log, state):
        shipped = ship(state, log, lake)
    today = datetime.now(UTC).date().isoformat()
    mark = lake / _COMPACTED
    if not mark.exists() or mark.read_text(encoding="utf-8") != today:
        compact(lake)
        mark.write_text(today, encoding="utf-8")
    sys.stdout.buffer.write(json.encode(shipped))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
