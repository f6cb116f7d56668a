"""R6, S28: a disk that fails to write through. What it failed on is not acknowledged; the writer stops and says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.contracts.test_serving import waited
from tests.reliability.load import Load, Served, kept, made

from wayline.runtime.folders import KEPT

STRACE = shutil.which("strace")


@pytest.mark.slow
@pytest.mark.skipif(STRACE is None, reason="no strace: install the system's `strace` package")
@pytest.mark.parametrize("name", ["log", "vault", "state"])
def test_r06_an_error_of_the_disk_is_no_acknowledgement(tmp_path: Path, name: str) -> None:
    """Three calls in a row that should write this file through say EIO, and the next ones would succeed again."""
    assert STRACE is not None
    folder = made(tmp_path / "shop")
    file = folder / KEPT / f"{name}.sqlite-wal"
    failing = [
        STRACE, "-f", "-qq", "-o", "/dev/null", "-P", str(file), "-e", "trace=fdatasync,fsync",
        "-e", "inject=fdatasync,fsync:error=EIO:when=12..14",
    ]  # fmt: skip
    with Served(folder, before=failing) as served, Load(served.port).running() as load:
        served.start()
        load.waits_for(1)
        waited(lambda: served.health()[0] == 503, 60)
        acknowledged, refused = load.snapshot(), load.answers[503]
        answered = load.answers.total()
        waited(lambda: load.answers.total() > answered + 20, 60)
        status, health = served.health()
        assert status == 503 and health["status"] == "in trouble", health
        assert "the disk failed" in health["trouble"] and f"{name}.sqlite" in health["trouble"], health
        assert "restart" in health["trouble"] and "the disk failed" in served.words()
        if name == "log":
            assert load.snapshot() == acknowledged and load.answers[503] > refused, "it went on after a failed sync"
            assert load.told[503]["code"] == "store_unavailable"
            assert "the disk failed" in load.told[503]["message"]
    with kept(folder) as store:
        ids = {event.event_id for event in store.log.read(0, 10**6)}
        assert load.acknowledged and load.acknowledged - ids == set()
        assert len(ids - load.acknowledged) <= 3 * 12, "at most what was under way"
