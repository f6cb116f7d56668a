"""A process killed at any instant: nothing acknowledged is lost, no marketing message twice, memory is the log's fold.

The kills are counted by `WAYLINE_KILLS` (a few here; `make kills` does 200). The victim is a whole engine on a real
folder; what it acknowledged is what it said on its standard output, what it delivered is what the provider counted.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.laws.test_turns import is_the_fold_of_the_log
from tests.shop import apparel
from tests.simulation.victim import moment_of, opened

from wayline.runtime.replaying import examine, replay_all
from wayline.store.opening import Store, open_store

ROOT = Path(__file__).parent.parent.parent
KILLS = int(os.environ.get("WAYLINE_KILLS", "8"))
SEED = int(os.environ.get("WAYLINE_SEED", "1"))
EVENTS_A_KILL = 60


def run_until(folder: Path, count: int, seconds: float | None) -> tuple[int, bool]:
    """Run the victim, kill it after so many seconds of being up; (highest acknowledged, whether it ended by itself)."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.simulation.victim", str(folder), str(count)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1, env=environment(),
    ) as victim:  # fmt: skip
        assert victim.stdout is not None and victim.stderr is not None
        acknowledged, ended = 0, False
        timer: threading.Timer | None = None
        for line in victim.stdout:
            if timer is None and seconds is not None:
                timer = threading.Timer(seconds, victim.send_signal, (signal.SIGKILL,))
                timer.start()
            if line.startswith("ack "):
                acknowledged = int(line.split()[1])
            ended = line.startswith("done")
        victim.wait(60)
        if timer is not None:
            timer.cancel()
        said = victim.stderr.read()
        assert victim.returncode in (0, -signal.SIGKILL), said
        return acknowledged, ended


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}


def calls(folder: Path) -> dict[str, Counter[str]]:
    """Purpose to how often the provider was called for each decision."""
    found: dict[str, Counter[str]] = {"marketing": Counter(), "owed": Counter()}
    path = folder / "calls"
    for line in path.read_text().splitlines() if path.exists() else ():
        if len(line.split()) == 2:
            key, purpose = line.split()
            found["marketing" if purpose == "marketing" else "owed"][key] += 1
    return found


def check_kept(folder: Path, store: Store, acknowledged: int) -> None:
    """Everything this promise is about, looked up in what is on disk."""
    events = store.log.read(0, 1_000_000)
    ids = Counter(event.event_id for event in events)
    assert max(ids.values()) == 1
    assert len(events) >= acknowledged
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    called = calls(folder)
    twice = [key for key, count in called["marketing"].items() if count > 1]
    assert twice == [], f"marketing sent twice: {twice}"
    rows = {row.decision_id: row for row in store.state.deliveries()}
    decided = [d for d in store.state.decisions() if d.action is not None and d.lane != "onsite"]
    assert len({d.decision_id for d in decided}) == len(decided) == len(rows)
    for row in rows.values():
        assert row.state != "attempting"
        was_called = called["marketing"][row.decision_id] + called["owed"][row.decision_id]
        if row.state == "sent":
            assert was_called
        if row.delivers and row.lane == "owed" and row.state != "refused":
            assert row.state == "sent" and was_called >= 1


@pytest.mark.slow
def test_s13_killed_at_any_instant(tmp_path: Path) -> None:
    luck = random.Random(SEED)
    total = KILLS * EVENTS_A_KILL
    acknowledged = kills = 0
    while kills < KILLS:
        said, ended = run_until(tmp_path, total, luck.uniform(0.0, 0.35))
        acknowledged = max(acknowledged, said)
        kills += 1
        if ended:
            total += KILLS * EVENTS_A_KILL
    said, ended = run_until(tmp_path, total, None)
    assert ended
    with open_store(tmp_path / "kept") as store:
        check_kept(tmp_path, store, max(acknowledged, said))
        engine = opened(tmp_path, store, moment_of(total))

        seen = SimpleNamespace(store=store, engine=engine, playbook=apparel())
        is_the_fold_of_the_log(seen)  # type: ignore[arg-type]
        assert store.state.set_asides() == []
        assert replay_all(store.state, apparel()).different == ()
        unclear = sum(row.state == "unknown" for row in store.state.deliveries())
        counted = examine(store.log, store.state, moment_of(total)).counts
        assert counted["deliveries.unknown"] == unclear
        found = calls(tmp_path)
        print(
            f"\n{kills} kills, {len(store.log.read(0, 1_000_000)):,} events, "
            f"{sum(found['marketing'].values()):,} marketing and {sum(found['owed'].values()):,} owed calls "
            f"({sum(n > 1 for n in found['owed'].values())} owed twice), {unclear} unclear"
        )
