"""S13, R2: what was acknowledged is on the disk itself, not only in the memory of the kernel.

The store lives on a small file system in a file. While it writes, that file is copied, which is what a power cut would
leave; the copy is mounted and must hold everything acknowledged before the copying began.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from wayline.domain import Decision, Event
from wayline.store import Batch
from wayline.store.opening import open_store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CUTS = 5
COMMITS_MAX = 600


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-o", "loop", image, at], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot mount a file system in a file ({made.stderr.strip()}); run as root with loop devices")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def _write(folder: Path, acknowledged: Any) -> None:
    with open_store(folder) as store:
        for number in range(COMMITS_MAX):
            at = NOON + timedelta(seconds=number)
            event = Event(event_id=f"e{number}", source="web", name="x", occurred_at=at, received_at=at)
            head = store.log.append([event]).head
            decision = Decision(f"d{head:06}", "c1", at, "owed", f"event:{head}", None)
            store.state.commit(Batch(position=head, decisions=[decision]))
            acknowledged.send(head)
        time.sleep(60)  # the small disk is half full by now; the cut comes anyway


@pytest.mark.slow
def test_s13_what_was_acknowledged_survives_a_power_cut(tmp_path: Path) -> None:
    if not shutil.which("mkfs.ext4"):
        pytest.skip("no mkfs.ext4: install e2fsprogs to have this test")
    image, copy = tmp_path / "disk.img", tmp_path / "copy.img"
    with image.open("wb") as file:
        file.truncate(96 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    spawn = multiprocessing.get_context("spawn")
    moments = random.Random(5)
    with mounted(image, tmp_path / "disk") as disk:
        for cut in range(CUTS):
            receiving, sending = spawn.Pipe(duplex=False)
            writer = spawn.Process(target=_write, args=(disk / f"shop{cut}", sending))
            writer.start()
            sending.close()
            assert receiving.poll(60)
            time.sleep(moments.uniform(0.05, 0.4))
            os.kill(writer.pid or 0, signal.SIGSTOP)
            acknowledged = 0
            while receiving.poll():
                acknowledged = receiving.recv()
            shutil.copyfile(image, copy)
            os.kill(writer.pid or 0, signal.SIGKILL)
            writer.join()
            shutil.rmtree(disk / f"shop{cut}")  # the next one has the whole disk: what counts is in the copy
            assert acknowledged > 0
            with mounted(copy, tmp_path / "after") as after, open_store(after / f"shop{cut}") as store:
                assert store.log.head() >= acknowledged
                assert store.state.position() >= acknowledged
                assert [one.event_id for one in store.log.read(0, 10**6)] == [f"e{n}" for n in range(store.log.head())]
                assert len(list(store.state.decisions())) == store.state.position()
                for name in ("log", "state", "vault"):
                    path = str(after / f"shop{cut}" / f"{name}.sqlite")
                    assert apsw.Connection(path).pragma("integrity_check") == "ok"
