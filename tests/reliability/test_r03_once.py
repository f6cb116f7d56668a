"""R3: an event is stored once, whoever tells it and however often; two writers of one log are refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from tests.reliability.load import KEY, Load, Served, kept, made


def told(url: str, *items: dict[str, Any]) -> None:
    answer = httpx.post(f"{url}/v1/batch", json={"batch": list(items)}, auth=(KEY, ""), timeout=30)
    assert (answer.status_code, answer.content) == (200, b'{"success":true}')


def test_r03_many_at_once_tell_the_same_and_it_is_stored_once(tmp_path: Path) -> None:
    """And what bears a known id but says something else is kept beside the first and flagged, not lost, not merged."""
    with Served(made(tmp_path / "shop")) as served:
        served.start()
        with Load(served.port).running(1) as load:
            load.waits_for(1)
        url = f"http://127.0.0.1:{served.port}"
        before = served.health()[1]["collector"]
        viewed = [
            {"type": "track", "userId": "customer-1-of-the-shop", "event": "Product Viewed", "messageId": f"view-{n}",
             "properties": {"sku": f"sku-{n}"}} for n in range(20)
        ]  # fmt: skip
        with ThreadPoolExecutor(8) as many:
            list(many.map(lambda _: told(url, *viewed), range(16)))
        after = served.health()[1]["collector"]
        names = ("accepted", "stored", "duplicate", "conflict")
        grown = {name: after.get(name, 0) - before.get(name, 0) for name in names}
        assert grown == {"accepted": 320, "stored": 20, "duplicate": 300, "conflict": 0}

        told(url, {**viewed[3], "properties": {"sku": "another"}})
        told(url, {**viewed[3], "properties": {"sku": "another"}})
        after = served.health()[1]["collector"]
        assert (after["conflict"], after["duplicate"] - before.get("duplicate", 0)) == (1, 301)
        assert served.end() == 0
    with kept(served.folder) as store:
        (first,) = [event for event in store.log.read(0, 10**6) if event.event_id == "view-3"]
        assert first.properties["sku"] == "sku-3", "what came first stands"
        (beside,) = store.log.conflicts()
        assert (beside.event_id, beside.properties["sku"]) == ("view-3", "another")
        assert store.log.counts()["conflict"] == 1


def test_r03_a_second_collector_on_the_same_folder_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path / "shop")
    with Served(folder) as first, Served(folder) as second, Load(first.port).running() as load:
        first.start()
        load.waits_for(1)
        second.start()
        assert second.ended() == 3
        assert f"process {first.pid} has this folder open, and only one may" in second.words()
        load.waits_for(30)
        assert first.end() == 0
    with kept(folder) as store:
        ids = [event.event_id for event in store.log.read(0, 10**6)]
        assert len(ids) == len(set(ids)) and load.snapshot() <= set(ids)
        assert json.loads(json.dumps(dict(store.log.counts())))["conflict"] == 0
