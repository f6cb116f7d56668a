"""Who is who on the command line and over HTTP: look, answer, merge, split; and nothing raw unless it is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from tests.shop import NOON, Shop, apparel, happened
from tests.unit.serving.test_signal_routes import hashed
from typer.testing import CliRunner

from wayline.cli import app
from wayline.domain import Identifier
from wayline.errors import OperatorError, SenderError
from wayline.runtime.folders import KEPT, copy_example
from wayline.runtime.kinship import customer_named, kinship_of
from wayline.runtime.reviewing import propose_review
from wayline.serving.judgements import judgement_routes
from wayline.serving.senders import Keys
from wayline.serving.timeline import timeline
from wayline.store.opening import Store, open_store


def ids(store: Store) -> tuple[str, str]:
    found = [customer_named(store.state, store.vault, f"user_id={name}") for name in ("ann", "ben")]
    return found[0], found[1]


def filled(shop: Shop) -> None:
    """Two people, one of whom came from an anonymous browser."""
    keyed = shop.store.vault.keyed
    ann, ben = (Identifier("user_id", keyed("user_id", name)) for name in ("ann", "ben"))
    mail = Identifier("email", keyed("email", "ann@example.com"))
    sofa = Identifier("anonymous_id", keyed("anonymous_id", "sofa"))
    shop.store.vault.put({f"email:{mail.value}": {"email": "ann@example.com"}})
    shop.tell(
        happened("Product Viewed", (sofa,), sku="jacket"),
        happened("Product Viewed", (ann, mail, sofa), sku="jacket"),
        happened("Product Viewed", (ben,), sku="jacket"),
    )
    propose_review(shop.store.state, *ids(shop.store), confidence=0.8, evidence=["one street"], at=NOON)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    copy_example(folder)
    with open_store(folder / KEPT) as store:
        shop = Shop(apparel(), store=store)
        filled(shop)
        shop.engine.close()
    return folder


def run(*words: str | Path) -> str:
    """What a command prints; what it raises, the program's top turns into a message and an exit code."""
    result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=True)
    if isinstance(result.exception, SenderError | OperatorError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_show_names_kinds_and_evidence_and_nothing_raw(folder: Path) -> None:
    said = run("identity", "show", folder, "email=Ann@example.com")
    assert "ann@example.com" not in said.replace("email=Ann@example.com", "")
    assert "user_id" in said and "user_id: web/" in said and "sure 1.00" in said
    assert "was merged into" in said and "by evidence (web/" in said and "Are they one?" in said
    revealed = run("identity", "show", folder, "email=ann@example.com", "--reveal")
    assert "email ann@example.com" in revealed
    told = json.loads(run("identity", "show", folder, "user_id=ann", "--json"))
    assert told["match_confidence"] == 1.0 and {each["kind"] for each in told["handles"]} >= {"user_id", "email"}
    loser = told["merges"][0]["loser"]
    assert f"(asked for as {loser})" in run("identity", "show", folder, loser)
    with pytest.raises(SenderError, match="nobody is known by that"):
        run("identity", "show", folder, "email=nobody@example.com")


def test_merge_and_split_are_taken_in_at_once(folder: Path) -> None:
    with open_store(folder / KEPT) as store:
        ann, ben = ids(store)
    said = run("identity", "merge", folder, ben, ann, "--by", "iris", "--why", "she told us")
    survivor, loser = sorted((ann, ben))
    assert said.strip() == f"{loser} is {survivor} now."
    with open_store(folder / KEPT) as store:
        assert ids(store) == (survivor, survivor)
        assert store.state.merges(survivor)[-1].by == "iris"
    assert "are two again" in run("identity", "split", folder, loser)
    with open_store(folder / KEPT) as store:
        assert ids(store) == (ann, ben)
        assert [event.name for event in store.log.read(3, 10)] == ["Customers Merged", "Customers Split"]
    with pytest.raises(SenderError, match="was not merged into another"):
        run("identity", "split", folder, loser)


@pytest.mark.parametrize("answer", ["--accept", "--refuse"])
def test_a_question_is_listed_and_answered(folder: Path, answer: str) -> None:
    (asked,) = json.loads(run("identity", "review", folder, "--json"))
    assert asked["evidence"] == ["one street"]
    said = run("identity", "review", folder, answer, asked["review_id"], "--by", "iris")
    assert ("they are one now" if answer == "--accept" else "they stay two") in said
    assert run("identity", "review", folder).strip() == "Nothing is to be judged."
    assert "by iris" in run("identity", "show", folder, "user_id=ann") or "iris" in run(
        "identity", "review", folder, "--all", "--json"
    )
    with open_store(folder / KEPT) as store:
        ann, ben = ids(store)
        assert (ann == ben) is (answer == "--accept")


def test_in_a_folder_that_is_served_the_way_is_http(folder: Path) -> None:
    with open_store(folder / KEPT) as store:
        ann, ben = ids(store)
        with pytest.raises(OperatorError, match="POST /v1/identity/merge with a secret key of the scope 'identity'"):
            run("identity", "merge", folder, ann, ben)


def test_what_is_not_folded_yet_is_not_decided_by_a_command(folder: Path) -> None:
    with open_store(folder / KEPT) as store:
        store.log.append([happened("Product Viewed", (Identifier("user_id", "new"),), at=NOON, received_at=NOON)])
        ann, ben = ids(store)
    assert "counts once `wayline serve` has caught up" in run("identity", "merge", folder, ann, ben)


def test_the_timeline_says_how_they_came_to_be_one_person() -> None:
    shop = Shop()
    filled(shop)
    story = timeline(shop.store.state, shop.store.log, shop.playbook, ids(shop.store)[0])
    assert story is not None
    assert any("was merged into" in line and "sure 1.00" in line for line in story.evidence)
    assert any(line.startswith("Are they one?") for line in story.evidence)


# ------------------------------------------------------------------ over HTTP


class Api:
    def __init__(self) -> None:
        self.shop = Shop()
        filled(self.shop)
        keys = {
            "web": {"write_key": "web-key-0001"},
            "desk": {"keys": [{"secret_key_sha256": hashed("desk-key"), "scopes": ["identity"]}]},
            "sends": {"keys": [{"secret_key_sha256": hashed("events-key"), "scopes": ["events"]}]},
        }
        self.told = 0
        routes = judgement_routes(self.shop.store, Keys(keys), on_stored=self._told, clock=lambda: self.shop.now)
        self.app = Starlette(routes=routes)

    def _told(self) -> None:
        self.told += 1
        self.shop.engine.drain(self.shop.now)

    def ask(self, method: str, path: str, key: str = "desk-key", **more: Any) -> httpx.Response:
        async def asking() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop", auth=(key, "")) as client:
                return await client.request(method, path, **more)

        return anyio.run(asking)


@pytest.fixture
def api() -> Api:
    return Api()


def test_only_a_secret_key_of_the_scope_judges(api: Api) -> None:
    for method, path in (
        ("POST", "/v1/identity/merge"), ("POST", "/v1/identity/split"), ("POST", "/v1/identity/review"),
        ("GET", "/v1/identity/review"), ("GET", "/v1/identity/customers/k-1"),
    ):  # fmt: skip
        statuses = [api.ask(method, path, key).status_code for key in ("web-key-0001", "nobody", "events-key")]
        assert statuses == [401, 401, 403]
    assert api.told == 0


def test_merge_split_and_answers_over_http(api: Api) -> None:
    ann, ben = ids(api.shop.store)
    told = api.ask("POST", "/v1/identity/merge", json={"one": ann, "other": ben, "by": "iris"})
    assert told.status_code == 200 and ids(api.shop.store)[0] == ids(api.shop.store)[1]
    again = api.ask("POST", "/v1/identity/merge", json={"one": ann, "other": ben, "by": "iris"})
    assert (again.status_code, again.json()["code"]) == (409, "not_possible")
    loser = max(ann, ben)
    assert api.ask("POST", "/v1/identity/split", json={"customer_id": loser, "by": "iris"}).status_code == 200
    assert ids(api.shop.store) == (ann, ben)
    assert api.ask("POST", "/v1/identity/merge", json={"one": ann}).json()["code"] == "bad_json"
    known = api.ask("GET", f"/v1/identity/customers/{ann}").json()
    assert known == json.loads(json.dumps(known)) and known["splits"][0]["by"] == "iris"
    assert api.ask("GET", "/v1/identity/customers/k-nobody").status_code == 404


def test_a_question_is_answered_over_http(api: Api) -> None:
    (asked,) = api.ask("GET", "/v1/identity/review").json()["reviews"]
    answer = {"review_id": asked["review_id"], "verdict": "refuse", "by": "iris"}
    assert api.ask("POST", "/v1/identity/review", json=answer).status_code == 200
    assert api.ask("GET", "/v1/identity/review").json()["reviews"] == []
    (kept,) = api.ask("GET", "/v1/identity/review?state=refused").json()["reviews"]
    assert kept["by"] == "iris"
    kin = kinship_of(api.shop.store.state, ids(api.shop.store)[0])
    assert kin is not None and kin.reviews[0].state == "refused"
