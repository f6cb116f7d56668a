"""Split: how long a log is looked through for everybody involved in one split.

    python benchmarks/split.py [--events 200000] [--identifiers 200]

A log of page views is filled, and asked once for the events of so many identifiers, of whom it knows one. Only the time
of this process is counted. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGETS = {"us_an_event_max": 5.0}
APPENDED = 5000  # events at a time
BROWSERS = 5000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--identifiers", type=int, default=200)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "src"))
    from wayline.domain import Event, Identifier
    from wayline.store.opening import open_store

    at = datetime(2026, 5, 1, tzinfo=UTC)
    page = {"sku": "jacket-" + "x" * 93, "name": "y" * 250}
    browsers = [Identifier("anonymous_id", f"{number:032x}") for number in range(BROWSERS + options.identifiers)]
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder)) as store:
        for start in range(0, options.events, APPENDED):
            store.log.append(
                [
                    Event(
                        event_id=f"e{number}",
                        source="web",
                        name="Product Viewed",
                        occurred_at=at,
                        received_at=at,
                        identifiers=(browsers[number % BROWSERS],),
                        properties=page,
                    )
                    for number in range(start, min(start + APPENDED, options.events))
                ]
            )
        asked = browsers[BROWSERS - 1 : BROWSERS - 1 + options.identifiers]
        began = time.process_time()
        found = len(store.log.about(asked, options.events))
        took = time.process_time() - began
    us = took / options.events * 1e6
    told = {"events": options.events, "identifiers": options.identifiers, "found": found, "cpu_s": round(took, 2)}
    is_met = us < TARGETS["us_an_event_max"] and found > 0
    print(json.dumps({"benchmark": "split", **told, "us_an_event": round(us, 2), **TARGETS, "is_met": is_met}))


if __name__ == "__main__":
    main()
