"""R17: ten times more than it can take is refused aloud, and everything accepted is accounted for.

The disk is as slow as the test says, so that what it can take is known and the machine's speed does not matter. The
short form runs with every suite; `make overload` runs it for five minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from collections import Counter
from typing import Any

import httpx
from starlette.applications import Starlette
from tests.shop import NOON

from wayline.runtime.collecting import Collected, Collector, Delivered
from wayline.serving.collector import tracking
from wayline.serving.intake import Intake
from wayline.serving.senders import Keys
from wayline.store.opening import open_store

SECONDS = float(os.environ.get("WAYLINE_OVERLOAD_SECONDS", "2"))
CAPACITY = 300  # messages a second that the disk takes
TIMES = 10
EACH = 5  # messages a request
BAD = {"type": "track", "userId": "u1"}


class SlowDisk(Collector):
    """A collector whose disk takes so many messages a second."""

    def collect(self, *requests: Delivered) -> Collected:
        time.sleep(sum(len(request.items) for request in requests) / CAPACITY)
        return super().collect(*requests)


def body(number: int) -> bytes:
    """Mostly new messages; some sent again, some in conflict, some that cannot be used."""
    items: list[Any] = [
        {"type": "track", "event": "Help Viewed", "userId": f"u{number % 50}", "messageId": f"m{number}-{place}"}
        for place in range(EACH - 2)
    ]
    again = {"type": "track", "event": "Help Viewed", "userId": "u0", "messageId": "again"}
    other = {**again, "messageId": "same", "properties": {"topic": f"t{number}"}}
    items += [again if number % 2 else other, BAD if number % 3 == 0 else items[0]]
    return json.dumps({"batch": items}).encode()


async def overloaded(client: httpx.AsyncClient, seconds: float) -> Counter[int]:
    """Offer ten times what can be taken, whatever is answered; how often which status came."""
    answered: Counter[int] = Counter()
    asking: set[asyncio.Task[None]] = set()

    async def ask(number: int) -> None:
        answer = await client.post("/v1/batch", content=body(number))
        answered[answer.status_code] += 1
        if answer.status_code == 200:
            assert answer.content == b'{"success":true}'
        else:
            told = answer.json()
            assert (answer.status_code, told["code"], bool(told["message"])) == (429, "busy", True)
            assert int(answer.headers["retry-after"]) >= 1 and int(answer.headers["x-ratelimit-reset"]) >= 1

    began, number = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        while number < passed * CAPACITY * TIMES / EACH:
            asking.add(task := asyncio.create_task(ask(number)))
            task.add_done_callback(asking.discard)
            number += 1
        await asyncio.sleep(0.01)
    await asyncio.gather(*asking)
    assert answered.total() == number, "every request was answered"
    return answered


def test_r17_ten_times_too_much_is_refused_aloud_and_what_is_accepted_adds_up() -> None:
    with open_store() as store:
        intake = Intake(SlowDisk(store.log, store.vault), bytes_max=100_000)
        app = Starlette(routes=tracking(Keys({"web": {"write_key": "web-key-0001"}}), intake, clock=lambda: NOON))

        async def run() -> Counter[int]:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://shop", auth=("web-key-0001", ""), timeout=None
            ) as client:
                answered = await overloaded(client, SECONDS)
                calm = await client.post("/v1/batch", content=body(10_000_000))
                assert calm.status_code == 200, "and then it takes everything again"
            await intake.close()
            return answered + Counter({200: 1})

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answered = asyncio.run(run())
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        counts, kept = intake.counts, dict(store.log.counts())
        assert set(answered) == {200, 429} and answered[429] > answered[200], answered
        assert counts["accepted"] == EACH * answered[200]
        assert counts["accepted"] == kept["stored"] + kept["duplicate"] + kept["conflict"] + kept["rejected"]
        assert {name: counts[name] for name in kept} == kept and all(kept.values()), kept
        assert counts["refused: busy"] == answered[429] == counts.refused["", "busy"] + counts.refused["web", "busy"]
        assert intake.bytes == 0
        assert grown < 200 * 1024, f"memory grew by {grown >> 10} MiB"
