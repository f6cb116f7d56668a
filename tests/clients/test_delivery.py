"""What each published client says arrives once: the right time, person and content, in the form it likes to send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from tests.clients.harness import CLIENTS, Shop, failed_of, missing, shop, started
from tests.clients.proxy import Seen, proxied

from wayline.domain import Event

HERE = Path(__file__).parent
HOURS_AGO = timedelta(hours=3)
LIKES = {
    "segment-python": ("application/json", ""),
    "rudder-python": ("application/json", "gzip"),
    "segment-node": ("application/json", ""),
    "rudder-node": ("application/x-www-form-urlencoded", "gzip"),
}


def calls(client: str, began: datetime) -> list[dict[str, Any]]:
    user, browser = f"user-of-{client}", f"browser-of-{client}"
    return [
        {"type": "identify", "userId": user, "traits": {"email": f"Kim@{client}.example", "firstName": "Kim"}},
        {"type": "track", "userId": user, "event": "Product Viewed", "properties": {"sku": "jacket", "price": 169.0},
         "timestamp": (began - HOURS_AGO).isoformat()},
        {"type": "page", "anonymousId": browser, "name": "Home", "properties": {"path": "/"}},
        {"type": "screen", "anonymousId": browser, "name": "Start"},
        {"type": "group", "userId": user, "groupId": "regulars", "traits": {"size": 3}},
        {"type": "alias", "userId": user, "previousId": browser},
    ]  # fmt: skip


class Told(Struct, frozen=True):
    shop: Shop
    began: datetime
    requests: dict[str, list[Seen]]
    failed: dict[str, list[str]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """All clients that are there, at once, each telling the same to a source of its own."""
    began = datetime.now(UTC)
    here = [client for client in CLIENTS if not missing(client)]
    with shop(tmp_path_factory.mktemp("shop") / "shop", CLIENTS) as running, proxied(running.url) as proxy:
        senders = {one: {"host": proxy.url, "key": f"key-{one}", "calls": calls(one, began)} for one in here}
        processes = {client: started(client, [sender]) for client, sender in senders.items()}
        failed = {client: failed_of(process) for client, process in processes.items()}
        yield Told(running, began, {client: proxy.of(f"key-{client}") for client in here}, failed)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if why := missing(name):
        pytest.skip(why)
    return name


def test_everything_arrives_once(told: Told, client: str) -> None:
    events = told.shop.events(client)
    assert [event.kind for event in events] == ["identify", "track", "page", "screen", "group", "alias"]
    assert [event.name for event in events] == [
        "Identify", "Product Viewed", "Page Viewed", "Screen Viewed", "Group", "Alias"
    ]  # fmt: skip
    assert len({event.event_id for event in events}) == 6 and told.failed[client] == []
    assert not [rejection for rejection in told.shop.store.log.rejections() if rejection.source == client]
    assert {one.status for one in told.requests[client]} == {200}


def test_each_in_the_form_it_likes(told: Told, client: str) -> None:
    for request in told.requests[client]:
        assert request.path == "/v1/batch"
        assert (request.headers["content-type"], request.headers.get("content-encoding", "")) == LIKES[client]


def test_a_given_time_is_kept_and_the_rest_happened_now(told: Told, client: str) -> None:
    a_moment = timedelta(seconds=5)
    for event in told.shop.events(client):
        if event.kind == "track":
            assert abs(event.occurred_at - (told.began - HOURS_AGO)) < a_moment
        else:
            assert abs(event.received_at - event.occurred_at) < a_moment
        assert not event.notes


def test_everybody_is_who_they_said(told: Told, client: str) -> None:
    """Also where the traits stand in the context, which one of the clients does."""
    user = told.shop.handle("user_id", f"user-of-{client}")
    browser = told.shop.handle("anonymous_id", f"browser-of-{client}")
    email = told.shop.handle("email", f"kim@{client}.example")
    identify, track, page, screen, group, alias = (handles(event) for event in told.shop.events(client))
    assert identify == {user, email}
    assert track == group == {user}
    assert page == screen == {browser}
    assert alias == {user, browser}
    (customer_id,) = set(told.shop.store.state.resolve([_identifier(told, client, 0)]).values())
    sealed = told.shop.store.vault.get([f"user_id:{user[1]}"])
    assert customer_id and sealed[f"user_id:{user[1]}"]["first_name"] == "Kim"


def handles(event: Event) -> set[tuple[str, str]]:
    return {(one.kind, one.value) for one in event.identifiers}


def _identifier(told: Told, client: str, place: int) -> Any:
    return told.shop.events(client)[place].identifiers[0]


def test_what_was_said_is_what_is_kept(told: Told, client: str) -> None:
    _, track, page, _, group, _ = told.shop.events(client)
    assert track.properties["sku"] == "jacket" and track.properties["price"] == 16900
    assert page.properties["path"] == "/" and page.properties["name"] == "Home"
    assert group.properties["group_id"] == "regulars" and group.properties["size"] == 3


def test_the_lock_names_no_host() -> None:
    lock = (HERE / "package-lock.json").read_text()
    asked = json.loads((HERE / "package.json").read_text())["dependencies"]
    packages = json.loads(lock)["packages"]
    assert '"resolved"' not in lock
    assert all(each.get("integrity") for place, each in packages.items() if place)
    assert {name: packages[f"node_modules/{name}"]["version"] for name in asked} == asked
