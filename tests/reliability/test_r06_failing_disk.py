"""R6, S28: a disk that fails to write through. What it failed on is not acknowledged; the writer stops and says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.contracts.test_serving import waited
from tests.reliability.load import Load, Served, kept, made

STRACE = shutil.which("strace")


@pytest.mark.slow
@pytest.mark.skipif(STRACE is None, reason="no strace: install the system's `strace` package")
@pytest.mark.parametrize("nth", [60, 61, 62])
def test_r06_an_error_of_the_disk_is_no_acknowledgement(tmp_path: Path, nth: int) -> None:
    """From the nth on, every call that should write through says EIO."""
    assert STRACE is not None
    failing = [
        STRACE, "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync",
        "-e", f"inject=fdatasync,fsync:error=EIO:when={nth}+",
    ]  # fmt: skip
    folder = made(tmp_path / "shop")
    with Served(folder, before=failing) as served, Load(served.port).running() as load:
        served.start()
        waited(lambda: load.answers[503] >= 5)
        acknowledged = load.snapshot()
        answer = load.told[503]
        assert answer["code"] == "store_unavailable"
        assert "the disk failed" in answer["message"] and "restart" in answer["message"], answer
        waited(lambda: load.answers[503] >= 25)
        assert load.snapshot() == acknowledged, "it went on after a failed sync"
        status, health = served.health()
        assert status == 503 and health["status"] == "in trouble" and "the disk failed" in health["trouble"], health
        assert "nothing can be stored" in served.words()
    with kept(folder) as store:
        ids = {event.event_id for event in store.log.read(0, 10**6)}
        assert acknowledged and acknowledged - ids == set()
        assert len(ids - acknowledged) <= 3 * 3, "at most what was under way"
