"""R10, S7: the wall clock jumps under a served shop, 40 days on and 2 hours back: it goes on, and nothing is lost."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.contracts.test_serving import waited
from tests.reliability.load import Load, Served, kept, made

from wayline.runtime.replaying import examine

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


@pytest.mark.skipif(LIBRARY is None, reason="no libfaketime: install the system's `faketime` package")
def test_r10_a_served_shop_goes_on_through_jumps_of_its_clock(tmp_path: Path) -> None:
    wall = tmp_path / "clock"
    wall.write_text("+0\n")
    faked = [
        "env", f"LD_PRELOAD={LIBRARY}", f"FAKETIME_TIMESTAMP_FILE={wall}", "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
    ]  # fmt: skip

    def looked_at() -> timedelta:
        """How far the engine's clock is from ours."""
        told = served.health()[1]["engine"]["looked_at"]
        return datetime.fromisoformat(told) - datetime.now(UTC) if told else timedelta(days=-9999)

    with Served(made(tmp_path / "shop"), before=faked) as served, Load(served.port).running() as load:
        served.start()
        load.waits_for(20)
        waited(lambda: abs(looked_at()) < timedelta(minutes=1), 60)
        for said, off in (("-2h", None), ("+40d", timedelta(days=40)), ("+0", timedelta(0))):
            aside = wall.with_suffix(".new")
            aside.write_text(f"{said}\n")
            os.replace(aside, wall)
            if off is not None:
                waited(lambda off=off: abs(looked_at() - off) < timedelta(minutes=1), 60)
            load.waits_for(60)
            assert set(load.answers) <= {0, 200}, load.told
        seen = load.snapshot()
        assert "the clock was set back" in served.words()
    with Served(served.folder) as again:
        again.start()
        waited(lambda: _answers(again), 60)
        assert again.health()[0] == 200
        assert again.end() == 0
    with kept(served.folder) as store:
        ids = [event.event_id for event in store.log.read(0, 10**6)]
        assert len(ids) == len(set(ids)) and seen <= set(ids)
        assert store.state.position() == store.log.head()
        assert examine(store.log, store.state, datetime.now(UTC)).problems == ()


def _answers(served: Served) -> bool:
    try:
        status, health = served.health()
    except OSError:
        return False
    return status == 200 and health["engine"]["behind"] == 0
