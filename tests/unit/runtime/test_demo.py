"""A simulated season is the same each time, however far its street runs ahead of the engine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.shop import apparel

from wayline.runtime.demo import Demo, play
from wayline.store.opening import open_store

SIZE = {"customers": 100, "days": 6}


def decided(folder: Path | None) -> tuple[int, Mapping[str, str]]:
    """How many events a season had, and each decision with what came of it."""
    kept = None if folder is None else folder / "kept"
    demo = Demo(**SIZE, folder=kept)
    with open_store(kept, known_key=demo.known_key) as store:
        # Slow at times, so that the street is as far ahead as it may be.
        played = play(demo, store, apparel(), on_day=lambda day: time.sleep(0.2))
        ended = {row.decision_id: row.state for row in store.state.deliveries()}
        said = {one.decision_id: ended.get(one.decision_id, "held") for one in store.state.decisions()}
    return played.events, said


@pytest.mark.slow
def test_a_season_in_two_processes_is_the_season_in_one(tmp_path: Path) -> None:
    events, said = decided(None)
    assert events > 100
    assert {"sent", "withheld", "held"} <= set(said.values())
    # The street writes hours ahead in a process of its own: the engine must not see more of them than it ought to.
    assert decided(tmp_path) == (events, said)
