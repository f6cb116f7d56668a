"""Customers matched with each other: the sure merged, the known and the doubtful asked about, no value told."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.people_made_up import benchmark
from tests.shop import NOON, Shop, apparel, happened
from typer.testing import CliRunner

from wayline.cli import app
from wayline.domain import Identifier
from wayline.runtime import match_customers
from wayline.runtime.folders import KEPT, copy_example
from wayline.runtime.kinship import customer_named
from wayline.runtime.reviewing import propose_review
from wayline.store.opening import Store, open_store

NAMES = {
    "first_name": "first_name", "last_name": "last_name", "birthday": "birthday", "address": "address.street",
    "zip": "address.postal_code", "town": "city", "mobile": "phone",
}  # fmt: skip
BASIC = 40


def told(shop: Shop, kind: str, name: str, record: dict[str, Any]) -> None:
    """One customer, known by one identifier, with what is personal in the vault."""
    identifier = Identifier(kind, shop.store.vault.keyed(kind, name))
    shop.store.vault.put(
        {f"{kind}:{identifier.value}": {NAMES[n]: v for n, v in record.items() if n in NAMES and n != "town" and v}}
    )
    shop.tell(happened("Product Viewed", (identifier,), sku="jacket"))


def filled(shop: Shop) -> None:
    """Forty people in a shop; three came a second time: to the till, by a second account, and a twin of the first."""
    made = benchmark()
    people = made.households(random.Random(11), 1_000)[::25]
    for number, person in enumerate(people[:BASIC]):
        told(shop, "user_id", f"web-{number}", person)
    told(shop, "email", "till@example.com", {**people[0], "mobile": None})
    told(shop, "user_id", "second-account", {**people[1], "mobile": None})
    told(shop, "email", "twin@example.com", {**people[2], "first_name": "Xenia", "mobile": None})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matched") / "shop"
    copy_example(folder)
    with open_store(folder / KEPT) as store:
        shop = Shop(apparel(), store=store)
        filled(shop)
        shop.engine.close()
    return folder


def run(*words: str | Path) -> str:
    done = CliRunner().invoke(app, ["identity", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def customer(store: Store, asked: str) -> str:
    return customer_named(store.state, store.vault, asked)


def test_sure_ones_merge_known_ones_are_asked_about_and_a_twin_stays(folder: Path) -> None:
    said = run("match", folder)
    assert "1 would be merged" in said and "Nothing was changed" in said
    with open_store(folder / KEPT) as store:
        first, till, account, second, twin = (
            customer(store, f"{kind}={name}")
            for kind, name in (
                ("user_id", "web-0"), ("email", "till@example.com"), ("user_id", "second-account"),
                ("user_id", "web-1"), ("email", "twin@example.com"),
            )
        )  # fmt: skip
        assert first != till and not store.state.merges() and not store.state.reviews()
    planned = json.loads(run("match", folder, "--apply", "--json"))
    assert [(each["survivor"], each["loser"]) for each in planned["merges"]] == [(first, till)]
    assert (second, account) in {tuple(sorted((e["survivor"], e["loser"]), key=[second, account].index)) for e in
        planned["reviews"] if {e["survivor"], e["loser"]} == {second, account}}  # fmt: skip
    with open_store(folder / KEPT) as store:
        assert store.state.survivor(till) == first
        (edge,) = store.state.merges()
        assert edge.confidence >= 0.95 and edge.by == "matching"
        assert store.state.survivor(account) == account and store.state.survivor(second) == second
        assert store.state.survivor(twin) == twin
        assert any({one.one, one.other} == {second, account} for one in store.state.reviews(("open",)))
        assert match_customers.kept_model(store.state) is not None
    again = json.loads(run("match", folder, "--json"))
    assert again["merges"] == []


def test_nothing_that_is_told_or_kept_holds_a_value(folder: Path) -> None:
    people = benchmark().households(random.Random(11), 1_000)[::25][:BASIC]
    said = run("match", folder, "--json") + run("match", folder)
    kept = b"".join(path.read_bytes() for path in sorted((folder / KEPT).rglob("*")) if path.is_file())
    for person in people[:5]:
        for name in ("last_name", "address", "mobile"):
            if person[name]:
                assert person[name] not in said
                assert str(person[name]).encode() not in kept


def test_a_new_record_of_the_till_finds_whose_it_is(folder: Path) -> None:
    person = benchmark().households(random.Random(11), 1_000)[::25][5]
    with open_store(folder / KEPT) as store:
        made = match_customers.plan(store.state, store.vault)
        assert made.model is not None
        index = match_customers.customers_index(store.state, store.vault, made.model)
        assert index is not None
        record = {NAMES[name].removeprefix("address."): value for name, value in person.items() if name in NAMES}
        best = index.match_one({**record, "first_name": str(person["first_name"])[:-1] + "x", "phone": None})
        assert best[0].owner == customer(store, "user_id=web-5") and best[0].confidence > 0.9
        assert index.match_one({"first_name": "Qwx", "last_name": "O'Nobody\0"}) == []


def test_what_a_person_has_judged_is_not_asked_again() -> None:
    shop = Shop(apparel())
    filled(shop)
    store = shop.store
    pair = next(each for each in match_customers.plan(store.state, store.vault).reviews)
    asked = propose_review(store.state, pair.survivor, pair.loser, confidence=0.5, evidence=["alike"], at=NOON)
    assert asked is not None
    from wayline.runtime.reviewing import answered

    shop.store.log.append([answered(store.state, asked.review_id, accept=False, by="ann", at=NOON)])
    shop.engine.catch_up(NOON)
    again = match_customers.plan(store.state, store.vault).reviews
    assert {pair.survivor, pair.loser} not in [{each.survivor, each.loser} for each in again]
