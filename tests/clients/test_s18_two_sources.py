"""S18: two shops' servers that number their messages alike lose nothing: an id counts within its source."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from tests.clients.harness import missing, running, shop
from tests.clients.proxy import proxied


@pytest.mark.parametrize("client", ["rudder-python", "segment-node"])
def test_s18_two_sources_with_the_same_ids(tmp_path: Path, client: str) -> None:
    """The second source tells, under the very ids of what a client told the first, other things."""
    if why := missing(client):
        pytest.skip(why)
    said = [{"type": "track", "userId": f"user-{n}-of-berlin", "event": "Product Viewed"} for n in range(3)]
    with shop(tmp_path / "shop", ["berlin", "vienna"]) as shops, proxied(shops.url) as proxy:
        assert running(client, {"host": proxy.url, "key": "key-berlin", "calls": said}) == []
        (request,) = proxy.of("key-berlin")
        items = [{**item, "userId": item["userId"].replace("berlin", "vienna")} for item in request.told["batch"]]
        body = json.dumps({"batch": items, "sentAt": request.told["sentAt"]})
        for _ in range(2):
            assert httpx.post(f"{shops.url}/v1/batch", content=body, auth=("key-vienna", "")).status_code == 200
        berlin, vienna = shops.events("berlin"), shops.events("vienna")
        assert [event.event_id for event in berlin] == [event.event_id for event in vienna]
        assert len(vienna) == 3 and not {e.identifiers for e in berlin} & {e.identifiers for e in vienna}
        assert shops.counts() == {"accepted": 9, "stored": 6, "duplicate": 3, "conflict": 0, "rejected": 0}
