"""R2, S13: what the collector acknowledged over HTTP is on the disk itself when the power fails.

The shop lives on a small file system in a file. While `wayline serve` takes events, it is stopped and the file copied,
which is what a power cut would leave; the copy is mounted and opened. `WAYLINE_CUTS` counts them (2 here;
`make power-cuts` does 25).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import apsw
import pytest
from tests.contracts.test_power_cut import mounted
from tests.reliability.load import Load, Served, kept, made

from wayline.runtime.folders import KEPT

CUTS = int(os.environ.get("WAYLINE_CUTS", "2"))
SEED = int(os.environ.get("WAYLINE_SEED", "1"))


@pytest.mark.slow
def test_r02_what_the_collector_acknowledged_survives_power_cuts(tmp_path: Path) -> None:
    if not shutil.which("mkfs.ext4"):
        pytest.skip("no mkfs.ext4: install e2fsprogs to have this test")
    image, copy, luck = tmp_path / "disk.img", tmp_path / "copy.img", random.Random(SEED)
    with image.open("wb") as file:
        file.truncate(128 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    acknowledged = stored = 0
    began = time.monotonic()
    with mounted(image, tmp_path / "disk") as disk:
        for cut in range(CUTS):
            folder = made(disk / f"shop{cut}")
            with Served(folder) as served, Load(served.port, batch=5, pause=0).running() as load:
                served.start()
                load.waits_for(1)
                time.sleep(luck.uniform(0.05, 0.6))
                os.kill(served.pid, signal.SIGSTOP)
                told = load.snapshot()
                shutil.copyfile(image, copy)
                served.kill()
            shutil.rmtree(folder)  # the next one has the whole disk: what counts is in the copy
            with mounted(copy, tmp_path / "after") as after:
                with kept(after / folder.name) as store:
                    ids = [event.event_id for event in store.log.read(0, 10**6)]
                assert told - set(ids) == set() and told, f"cut {cut}: acknowledged and lost"
                assert len(ids) == len(set(ids))
                for name in ("log", "state", "vault"):
                    opened = apsw.Connection(str(after / folder.name / KEPT / f"{name}.sqlite"))
                    assert opened.pragma("integrity_check") == "ok"
                    opened.close()
            acknowledged, stored = acknowledged + len(told), stored + len(ids)
            if CUTS > 5:
                print(f"{cut + 1} of {CUTS} cuts, {acknowledged:,} events acknowledged, 0 lost", flush=True)
    summary = {"cuts": CUTS, "acknowledged": acknowledged, "missing": 0, "stored": stored}
    print(json.dumps({**summary, "seconds": round(time.monotonic() - began)}), flush=True)
