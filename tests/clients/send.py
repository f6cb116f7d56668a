"""One published Python client, sending what it is told: `python send.py segment-python|rudder-python` < JSON.

A process of its own, as with every other client: its threads end with it, and its clock can be set apart.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime
from typing import Any

CALLS = {"userId": "user_id", "anonymousId": "anonymous_id", "previousId": "previous_id", "groupId": "group_id"}


def opened(client: str, sender: dict[str, Any], failed: list[str]) -> Any:
    if client == "segment-python":
        from segment.analytics.client import Client
    else:
        from rudderstack.analytics.client import Client
    options: dict[str, Any] = {"gzip": sender["gzip"]} if "gzip" in sender else {}
    return Client(
        sender["key"], host=sender["host"], max_retries=sender.get("retries", 2), timeout=10, upload_interval=0.1,
        on_error=lambda error, batch: failed.append(str(error)), **options,
    )  # fmt: skip


def say(client: Any, call: dict[str, Any]) -> None:
    told = {CALLS.get(name, name): value for name, value in call.items() if name != "type"}
    if "timestamp" in told:
        told["timestamp"] = datetime.fromisoformat(told["timestamp"])
    getattr(client, call["type"])(**told)


def main(name: str) -> None:
    logging.disable()
    failed: list[str] = []
    clients = [(opened(name, sender, failed), sender["calls"]) for sender in json.load(sys.stdin)]
    for client, calls in clients:
        for call in calls:
            say(client, call)
    for client, _ in clients:
        # One that was told to slow down has put its batch back into its queue; joining alone would leave it there.
        while not client.queue.empty():
            client.flush()
        client.shutdown()
    print(json.dumps({"failed": failed}))


if __name__ == "__main__":
    main(sys.argv[1])
