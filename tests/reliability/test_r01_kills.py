"""R1, S13: what the collector acknowledged over HTTP is there after a kill, each time, and once.

The kills are counted by `WAYLINE_KILLS` (a few here; `make kills-collector` does 1,000, and ends with a JSON line).
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest
from tests.reliability.load import Load, Served, kept, made

from wayline.domain import Event
from wayline.store.opening import Store

KILLS = int(os.environ.get("WAYLINE_KILLS", "12"))
SEED = int(os.environ.get("WAYLINE_SEED", "1"))


class Ledger:
    """What the log held at each kill; only what is new is read."""

    def __init__(self) -> None:
        self.position = 0
        self.stored: set[str] = set()

    def compare(self, store: Store, acknowledged: set[str]) -> set[str]:
        """What was acknowledged and is missing."""
        new: list[Event] = store.log.read(self.position, 10**6)
        positions = [event.position for event in new]
        assert positions == list(range(self.position + 1, self.position + 1 + len(new))), "the log has a hole"
        ids = {event.event_id for event in new}
        assert len(ids) == len(new) and not ids & self.stored, "an event was stored twice"
        self.position += len(new)
        self.stored |= ids
        return acknowledged - self.stored


@pytest.mark.slow
def test_r01_what_was_acknowledged_survives_kills_of_the_collector(tmp_path: Path) -> None:
    luck = random.Random(SEED)
    began, ledger, unanswered_kills = time.monotonic(), Ledger(), 0
    with Served(made(tmp_path / "shop")) as served, Load(served.port).running() as load:
        for number in range(1, KILLS + 1):
            served.start()
            if luck.random() < 0.9:
                load.waits_for(1)
                time.sleep(luck.uniform(0, 0.25))
            else:
                time.sleep(luck.uniform(0, 1.5))  # while it starts, perhaps
                unanswered_kills += 1
            served.kill()
            with kept(served.folder) as store:
                missing = ledger.compare(store, load.snapshot())
            assert missing == set(), f"kill {number}: acknowledged and lost: {sorted(missing)[:5]}"
            if number % 25 == 0:
                spent = time.monotonic() - began
                left = spent / number * (KILLS - number)
                line = f"{number:,} of {KILLS:,} kills, {load.count():,} events acknowledged, 0 lost"
                print(f"{line}; {left / 60:.0f} min to go", flush=True)
        served.start()
        load.waits_for(1)
    assert load.count() > 5 * KILLS
    with kept(served.folder) as store:
        assert ledger.compare(store, load.snapshot()) == set()
        counts = store.log.counts()
        assert counts["conflict"] == 0 == counts["rejected"]
        told = [event.identifiers[0] for event in store.log.read(0, 10**6) if event.kind == "identify"]
        subjects = {f"{one.kind}:{one.value}" for one in told}
        sealed = store.vault.get(sorted(subjects))
        assert sealed.keys() == subjects, "a person's values did not come along with their event"
        assert all(values["first_name"].startswith("Kim") for values in sealed.values())
    summary = {
        "kills": KILLS, "while_starting": unanswered_kills, "acknowledged": load.count(), "missing": 0,
        "stored": len(ledger.stored), "told_again": counts["duplicate"], "unanswered": load.answers[0],
        "seconds": round(time.monotonic() - began),
    }  # fmt: skip
    print(json.dumps(summary), flush=True)
