"""R5, S28: a disk that is full under the served collector: refused aloud, never acknowledged, works again by itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.contracts.test_serving import waited
from tests.reliability.load import Load, Served, kept, made

SIZE = "16m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "small"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk]
    done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk ({done.stderr.strip()}); run the tests as root to have this one")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_r05_a_full_disk_is_refused_with_503_and_works_after_freeing(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with Served(made(small_disk / "shop")) as served:
        load = Load(served.port, batch=5, padding=2000)
        with load.running():
            served.start()
            load.waits_for(50)
            with ballast.open("wb") as file, suppress(OSError):
                while file.write(b"x" * 65536):
                    file.flush()
            waited(lambda: load.answers[503] >= 20, 60)
            answer = load.told[503]
            assert answer["code"] == "store_unavailable" and "no room on the disk" in answer["message"], answer
            status, health = served.health()
            assert status == 503 and "no room on the disk" in health["trouble"], health
            ballast.unlink()
            refused = load.answers[503]
            load.waits_for(200)
        assert load.answers[503] <= refused + 20, "it took long to come back"
        assert set(load.answers) <= {0, 200, 503} and load.count() > 250
        waited(lambda: served.health()[0] == 200, 60)
        assert served.end() == 0
    with kept(served.folder) as store:
        ids = [event.event_id for event in store.log.read(0, 10**6)]
        assert set(ids) - load.acknowledged == set() == load.acknowledged - set(ids), "acknowledged is what is stored"
        assert len(ids) == len(set(ids))
