"""S7: published clients whose clock is three days off: what they tell is dated by ours."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.clients.harness import CLIENTS, failed_of, missing, shop, started
from tests.clients.proxy import proxied

SKEWS = {"behind": -timedelta(days=3), "ahead": timedelta(days=3)}


def test_s07_a_clock_three_days_off_is_corrected(tmp_path: Path) -> None:
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("no faketime: install the system's `faketime` package")
    here = [client for client in CLIENTS if not missing(client)]
    with shop(tmp_path / "shop", here) as running, proxied(running.url) as proxy:
        began = datetime.now(UTC)
        working = []
        for client in here:
            for name, skew in SKEWS.items():
                user = f"user-{name}-of-{client}"
                said = [
                    {"type": "track", "userId": user, "event": "Product Viewed"},
                    # What it dates itself, it dates by its own clock.
                    {"type": "track", "userId": user, "event": "Product Added",
                     "timestamp": (began + skew - timedelta(hours=2)).isoformat()},
                ]  # fmt: skip
                sender = {"host": proxy.url, "key": f"key-{client}", "calls": said}
                clock = [faketime, "-f", f"{int(skew.total_seconds()):+d}s"]
                working.append(started(client, [sender], clock=clock))
        assert [failed_of(process) for process in working] == [[] for _ in working]
        for client in here:
            sent = [datetime.fromisoformat(one.told["sentAt"]) for one in proxy.of(f"key-{client}")]
            off = {round((each - began) / timedelta(days=1)) for each in sent}
            assert off == {-3, 3}, "the clients' clocks were not off"
            events = running.events(client)
            assert len(events) == 2 * len(SKEWS)
            for event in events:
                expected = began - (timedelta(hours=2) if event.name == "Product Added" else timedelta(0))
                assert abs(event.occurred_at - expected) < timedelta(seconds=10), (client, event)
                assert not event.notes
