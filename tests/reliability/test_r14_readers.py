"""R14, S21: a reader that follows the log while several processes write to it passes nothing over."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wayline.domain import Event
from wayline.store.opening import open_collecting, open_store

WRITERS, COMMITS, EACH = 3, 40, 3
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def write(folder: Path, name: str, start: Any) -> None:
    """A collector in a process of its own, committing whenever the file is free."""
    with open_collecting(folder) as (log, _):
        start.wait(60)
        for commit in range(COMMITS):
            log.append(
                [
                    Event(event_id=f"{name}-{commit}-{n}", source="web", name="x", occurred_at=NOON, received_at=NOON)
                    for n in range(EACH)
                ]
            )
            time.sleep(0.002)  # the others have their turns meanwhile


def test_r14_no_event_is_skipped_by_a_reader_however_commits_interleave(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with open_store(tmp_path) as store:
        start = spawn.Barrier(WRITERS)
        writers = [spawn.Process(target=write, args=(tmp_path, f"w{n}", start)) for n in range(WRITERS)]
        for writer in writers:
            writer.start()
        followed: list[Event] = []
        end = time.monotonic() + 60
        while len(followed) < WRITERS * COMMITS * EACH and time.monotonic() < end:
            followed += store.log.read(followed[-1].position if followed else 0, 5)
        for writer in writers:
            writer.join(30)
            assert writer.exitcode == 0
        assert [event.position for event in followed] == list(range(1, WRITERS * COMMITS * EACH + 1))
        assert {event.event_id for event in followed} == {
            f"w{w}-{commit}-{n}" for w in range(WRITERS) for commit in range(COMMITS) for n in range(EACH)
        }
        by_writer = [event.event_id[:2] for event in followed]
        turns = sum(a != b for a, b in itertools.pairwise(by_writer))
        assert turns > WRITERS, "they wrote one after the other, so nothing was tried"
