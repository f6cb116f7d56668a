"""The status-code trap: what each published client makes of each answer, counted, and that none of them tells twice.

Each case has a write key of its own, by which the proxy knows what to answer; all cases of one client run at once in
one process of it, with two retries allowed. Three requests thus mean "it does not stop by itself".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from msgspec import Struct
from tests.clients.harness import CLIENTS, Shop, failed_of, missing, shop, started
from tests.clients.proxy import LOSE, PASS, Act, Proxy, Say, proxied
from tests.contracts.test_durability import FaultyDisk
from tests.contracts.test_serving import waited

CASES: Mapping[str, Sequence[Act]] = {
    "ours": [PASS],
    "lost": [LOSE, PASS],
    "202": [Say(202, b"{}")],
    "204": [Say(204, b"")],
    "400": [Say(400)],
    "400-bare": [Say(400, b'{"message":"bad"}')],
    "401": [PASS],  # by Wayline itself: no source has this key
    "413": [Say(413)],
    "429-once": [Say(429, headers=(("retry-after", "1"),)), PASS],
    "500": [Say(500)],
    "503-once": [Say(503, headers=(("retry-after", "1"),)), PASS],
}
STORED = ("ours", "lost", "429-once", "503-once")
SENDS: Mapping[str, Mapping[str, int]] = {
    #            segment-python  rudder-python  segment-node  rudder-node
    case: dict(zip(CLIENTS, counts, strict=True))
    for case, counts in {
        "ours": (1, 1, 1, 1),
        "lost": (2, 2, 2, 2),
        "202": (1, 3, 1, 1),
        "204": (1, 3, 1, 1),
        "400": (1, 1, 1, 1),
        "400-bare": (1, 3, 1, 1),
        "401": (1, 1, 1, 1),
        "413": (1, 1, 1, 1),
        "429-once": (2, 2, 2, 2),
        "500": (3, 3, 3, 3),
        "503-once": (2, 2, 2, 2),
    }.items()
}


class Answered(Struct, frozen=True):
    shop: Shop
    proxy: Proxy


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answered]:
    acts = {f"key-{client}-{case}": CASES[case] for client in CLIENTS for case in CASES}
    sources = [f"{client}-{case}" for client in CLIENTS for case in CASES if case != "401"]
    with (
        shop(tmp_path_factory.mktemp("shop") / "shop", sources) as running,
        proxied(running.url, acts) as proxy,
    ):
        working = [started(client, senders(client, proxy.url)) for client in CLIENTS if not missing(client)]
        for process in working:
            failed_of(process)
        yield Answered(running, proxy)


def senders(client: str, host: str) -> list[dict[str, object]]:
    said = {"type": "track", "userId": f"user-of-{client}", "event": "Product Viewed", "properties": {"sku": "jacket"}}
    return [{"host": host, "key": f"key-{client}-{case}", "calls": [said], "retries": 2} for case in CASES]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("client", CLIENTS)
def test_each_answer_is_understood(answered: Answered, client: str, case: str) -> None:
    if why := missing(client):
        pytest.skip(why)
    requests = answered.proxy.of(f"key-{client}-{case}")
    assert len(requests) == SENDS[case][client], [one.status for one in requests]
    assert len(answered.shop.events(f"{client}-{case}")) == (1 if case in STORED else 0)
    (message_id,) = {each["messageId"] for one in requests for each in one.told["batch"]}
    if case in STORED:
        assert requests[-1].status == 200
        assert answered.shop.events(f"{client}-{case}")[0].event_id == message_id
    if case == "401":
        assert [one.status for one in requests] == [401]


def test_every_message_that_came_is_counted_for_what_it_was(answered: Answered) -> None:
    counts = answered.shop.counts()
    here = [client for client in CLIENTS if not missing(client)]
    assert counts["stored"] == len(STORED) * len(here)
    assert counts["duplicate"] == len(here), "the message whose first answer was lost"
    assert counts["accepted"] == counts["stored"] + counts["duplicate"]
    assert counts["refused: unknown_write_key"] == len(here)


# ------------------------------------------------------------------ refused by Wayline itself


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    faulty = FaultyDisk()
    yield faulty
    faulty.leave()


@pytest.mark.parametrize("cause", ["too busy", "full disk"])
def test_what_wayline_refuses_for_now_is_stored_once_it_can(disk: FaultyDisk, tmp_path: Path, cause: str) -> None:
    here = [client for client in CLIENTS if not missing(client)]
    with shop(tmp_path / "shop", here) as running, proxied(running.url) as proxy:
        intake = running.serving.intake
        assert intake is not None
        room = intake.bytes_max
        if cause == "too busy":
            intake.bytes_max = 0
        else:
            disk.is_full = True
        said = {"type": "track", "userId": "user-of-the-shop", "event": "Product Viewed"}
        senders = {each: {"host": proxy.url, "key": f"key-{each}", "calls": [said], "retries": 4} for each in here}
        working = [started(client, [sender]) for client, sender in senders.items()]
        waited(lambda: all(proxy.of(f"key-{client}") for client in here))
        intake.bytes_max, disk.is_full = room, False
        assert [failed_of(process) for process in working] == [[] for _ in here]
        refused = 429 if cause == "too busy" else 503
        for client in here:
            statuses = [one.status for one in proxy.of(f"key-{client}")]
            assert statuses[0] == refused and statuses[-1] == 200, statuses
            assert len(running.events(client)) == 1
        assert running.counts()["duplicate"] == 0


def test_s28_who_sends_too_fast_is_slowed_down_and_loses_nothing(tmp_path: Path) -> None:
    """Eight of each client at once, by a key that may ask twice a second."""
    here = [client for client in CLIENTS if not missing(client)]
    with shop(tmp_path / "shop", here, requests_per_second=2) as running, proxied(running.url) as proxy:
        working = []
        for client in here:
            said = [{"type": "track", "userId": f"user-{n}-of-{client}", "event": "Product Viewed"} for n in range(8)]
            told = [{"host": proxy.url, "key": f"key-{client}", "calls": [one], "retries": 10} for one in said]
            working.append(started(client, told))
        assert [failed_of(process) for process in working] == [[] for _ in here]
        for client in here:
            requests = proxy.of(f"key-{client}")
            refused = [one for one in requests if one.status == 429]
            assert refused and {one.status for one in requests} == {200, 429}
            assert len(running.events(client)) == 8
        counts = running.counts()
        assert counts["stored"] == 8 * len(here) == counts["accepted"]
        assert counts["refused: rate_limited"] == sum(one.status == 429 for one in proxy.seen)
