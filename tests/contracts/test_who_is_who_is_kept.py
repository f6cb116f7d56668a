"""What the stores keep of who is who: ties and how sure they are, splits, questions; and an older file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from wayline.domain import Identifier, Link, Merge, Split, Tie
from wayline.errors import Broken
from wayline.observation.identity import customer_id_of, review_of
from wayline.store import Batch, State
from wayline.store.durable import Durable
from wayline.store.opening import open_store
from wayline.store.sqlite_state import SqliteState
from wayline.store.sqlite_tables import STATE

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOFA, PHONE, MAIL = (Identifier(kind, "x") for kind in ("anonymous_id", "device_id", "email"))
OWN = customer_id_of(SOFA)


@pytest.fixture(params=("memory", "sqlite"))
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    with open_store(tmp_path if request.param == "sqlite" else None) as store:
        yield store.state


def link(identifier: Identifier, customer_id: str, confidence: float, evidence: str = "device: web/e") -> Link:
    return Link(identifier, customer_id, "web", confidence, NOON, evidence)


def merge(loser: str, survivor: str, confidence: float) -> Merge:
    return Merge(loser, survivor, confidence, "web/e", NOON)


def test_a_tie_is_as_sure_as_the_weakest_step(state: State) -> None:
    state.commit(Batch(links=[link(SOFA, OWN, 0.5), link(PHONE, "k-1", 0.3), link(MAIL, "k-1", 0.9, "")]))
    assert state.ties([SOFA, PHONE, MAIL, Identifier("email", "nobody")]) == {
        SOFA: Tie(OWN, 1.0),  # its own customer for certain
        PHONE: Tie("k-1", 0.3),
        MAIL: Tie("k-1", 1.0),  # from before evidence was kept: nothing speaks against it
    }
    state.commit(Batch(merges=[merge(OWN, "e-2", 0.7), merge("e-2", "k-1", 0.9)]))
    assert state.ties([SOFA]) == {SOFA: Tie("k-1", 0.7)}
    assert state.merges_count("k-1") == 2 and state.merges_count(OWN) == 2 and state.merges_count("k-9") == 0
    assert [one.evidence for one in state.links("k-1")] == ["device: web/e", "device: web/e", ""]


def test_a_split_ends_a_merge_and_neither_is_forgotten(state: State) -> None:
    state.commit(Batch(links=[link(SOFA, OWN, 0.5)], merges=[merge(OWN, "k-1", 0.7)]))
    split = Split(OWN, "k-1", "wayline/s", NOON + timedelta(days=1), "iris")
    with pytest.raises(Broken, match="nothing to split"):
        state.commit(Batch(splits=[replace(split, survivor="k-2")]))
    state.commit(Batch(splits=[split]))
    assert state.survivor(OWN) == OWN and state.ties([SOFA]) == {SOFA: Tie(OWN, 1.0)}
    assert state.merges() == [] and state.splits() == state.splits(OWN) == [split] and state.splits("k-9") == []
    assert OWN in list(state.customer_ids())
    with pytest.raises(Broken, match="nothing to split"):
        state.commit(Batch(splits=[split]))
    state.commit(Batch(merges=[merge(OWN, "k-2", 0.9)]))
    assert state.survivor(OWN) == "k-2" and state.merges_count("k-2") == 1, "and it may be merged again, elsewhere"
    state.commit(Batch(splits=[replace(split, survivor="k-2")], merges=[merge(OWN, "k-3", 0.9)]))
    assert state.survivor(OWN) == "k-3", "in one transaction the end comes before the beginning"


def test_a_question_is_asked_once_and_an_answer_holds(state: State) -> None:
    asked = review_of("k-2", "k-1", 0.6, ("one street",), NOON)
    assert review_of("k-1", "k-2", 0.1, (), NOON).review_id == asked.review_id, "whatever the order"
    state.commit(Batch(reviews=[asked, review_of("k-1", "k-3", 0.9, (), NOON)]))
    state.commit(Batch(reviews=[replace(asked, confidence=0.5)]))
    assert state.review(asked.review_id) == asked
    surer = replace(asked, confidence=0.8)
    state.commit(Batch(reviews=[surer]))
    assert [one.confidence for one in state.reviews()] == [0.9, 0.8]
    assert state.reviews(customer_id="k-2") == [surer]
    refused = replace(surer, state="refused", decided_at=NOON, by="iris")
    state.commit(Batch(reviews=[refused]))
    state.commit(Batch(reviews=[replace(asked, confidence=1.0)]))
    assert state.reviews(("refused", "kept apart")) == [refused] and len(state.reviews(("open",))) == 1
    assert state.review("none") is None


def test_a_file_from_before_splits_is_taken_along(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    old = Durable(path, STATE[:1], page_bytes=4096)
    old.write(
        lambda connection: connection.execute(
            "INSERT INTO merges VALUES (1, 'a-1', 'k-1', 0.5, 'web/e', 0);"
            "INSERT INTO links VALUES (1, 'anonymous_id', 'x', 'a-1', 'web', 0.5, 0);"
        )
    )
    old.close()
    state = SqliteState(path)
    assert state.survivor("a-1") == "k-1" and state.ties([SOFA]) == {SOFA: Tie("k-1", 0.5)}
    assert state.merges()[0].by == "" and state.links("k-1")[0].evidence == ""
    state.close()
