"""The counters in the form Prometheus reads, taken all at one moment: what is offered adds up in every answer.

prometheus-client is loaded when somebody first asks: a shop without monitoring never needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from wayline.serving.counting import Counts

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["figures"]

_MESSAGES = {
    "accepted": "Messages that were offered with a key that holds.",
    "stored": "Messages that are in the log.",
    "duplicate": "Messages that were in the log already.",
    "conflict": "Messages of a key that is taken, with other content: kept beside.",
}
_GAUGES = {
    "wayline_waiting_bytes": "Bytes of bodies being read or waiting to be written.",
    "wayline_engine_behind_events": "Events in the log that the engine has not taken in.",
    "wayline_engine_looked_seconds": "Seconds since the engine last looked.",
}


def figures(
    counts: Counts, waiting: Callable[[], int], behind: Callable[[], tuple[int, datetime | None]],
    *, clock: Callable[[], datetime],
) -> Callable[[Request], Any]:  # fmt: skip
    """The page of counters. `waiting` is how many bytes wait, `behind` the engine's lag and when it last looked."""

    async def answer(request: Request) -> Response:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        events, looked_at = behind()
        seconds = float("nan") if looked_at is None else (clock() - looked_at).total_seconds()
        gauges = dict(zip(_GAUGES, (float(waiting()), float(events), seconds), strict=True))
        # Nothing is awaited from here on, so the counters cannot move between two of them.
        registry.register(_Snapshot(list(_families(counts, gauges))))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return answer


class _Snapshot:
    """What the library asks for the figures."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _families(counts: Counts, gauges: dict[str, float]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for name, means in _MESSAGES.items():
        family = CounterMetricFamily(f"wayline_{name}", means, labels=["source"])
        for (source, verdict), count in sorted(counts.messages.items()):
            if verdict == name:
                family.add_metric([source], count)
        yield family
    for name, means, pairs in (
        ("rejected", "Messages that cannot be used, by why: kept with the reason.", counts.rejected),
        ("refused", "Requests that were refused as a whole, by why.", counts.refused),
    ):
        family = CounterMetricFamily(f"wayline_{name}", means, labels=["source", "code"])
        for (source, code), count in sorted(pairs.items()):
            family.add_metric([source, code], count)
        yield family
    for name, value in gauges.items():
        yield GaugeMetricFamily(name, _GAUGES[name], value)
