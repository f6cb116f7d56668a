"""Law 5 and law 7 for facets: memory is a function of what happened, not of the order in which we heard of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.laws.remembering import HOUR, KEPT, NAMES, START, streams

from wayline.domain import Event, Facet
from wayline.interpretation import facets
from wayline.interpretation.facets import fold, merge
from wayline.interpretation.readings import state_key


def folded(events: Iterable[Event]) -> Mapping[str, Any]:
    states: Mapping[str, Any] = {}
    for event in events:
        states = fold(states, event, KEPT)
    return states


@settings(max_examples=100, deadline=None)
@given(streams(), st.randoms(use_true_random=False))
def test_any_order_leaves_the_same_memory(events: list[Event], luck: Any) -> None:
    shuffled = list(events)
    luck.shuffle(shuffled)
    assert folded(shuffled) == folded(events)


@settings(max_examples=100, deadline=None)
@given(streams(), st.randoms(use_true_random=False))
def test_a_merge_of_memories_is_the_fold_of_the_union(events: list[Event], luck: Any) -> None:
    ours = [event for event in events if luck.random() < 0.5]
    theirs = [event for event in events if event not in ours]
    assert merge(folded(ours), folded(theirs), KEPT) == folded(events)
    assert merge(folded(theirs), folded(ours), KEPT) == folded(events)


@settings(max_examples=100, deadline=None)
@given(streams(), streams(), streams())
def test_merging_groups_in_any_way(a: list[Event], b: list[Event], c: list[Event]) -> None:
    first, second, third = (folded(_renamed(events, mark)) for events, mark in ((a, "a"), (b, "b"), (c, "c")))
    left = merge(merge(first, second, KEPT), third, KEPT)
    assert left == merge(first, merge(second, third, KEPT), KEPT)


def _renamed(events: list[Event], mark: str) -> list[Event]:
    return [msgspec.structs.replace(event, event_id=mark + event.event_id) for event in events]


@settings(max_examples=50, deadline=None)
@given(streams())
def test_what_is_written_is_read_back_equal(events: list[Event]) -> None:
    states = folded(events)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(states)) == states


@settings(max_examples=50, deadline=None)
@given(streams(), st.integers(0, 14))
def test_folding_on_from_what_was_written_changes_nothing(events: list[Event], at: int) -> None:
    states = msgspec.msgpack.decode(msgspec.msgpack.encode(folded(events[:at])))
    for event in events[at:]:
        states = fold(states, event, KEPT)
    assert states == folded(events)


@settings(max_examples=50, deadline=None)
@given(streams(), streams())
def test_folding_never_changes_a_state_that_someone_holds(events: list[Event], later: list[Event]) -> None:
    states = folded(events)
    written = msgspec.msgpack.encode(states)
    for event in _renamed(later, "l"):
        fold(states, event, KEPT)
    merge(states, folded(_renamed(later, "l")), KEPT)
    assert msgspec.msgpack.encode(states) == written


@settings(max_examples=50, deadline=None)
@given(st.lists(streams(), min_size=8, max_size=8))
def test_no_facet_outgrows_its_bound(many: list[list[Event]]) -> None:
    states = folded(event for n, events in enumerate(many) for event in _renamed(events, str(n)))
    for facet in KEPT:
        state = states.get(state_key(facet))
        if state is None:
            continue
        if facet.kind in ("recent", "latest_per_key"):
            assert len(state) <= (facet.size_max or 50)
        elif facet.kind == "ledger":
            assert len(state[1]) <= (facet.size_max or 50)
        elif facet.window is not None:
            assert facet.tile is not None
            assert len(state[1]) <= facet.window // facet.tile


# ------------------------------------------------------------------ mutants the laws must catch


def _last_to_arrive(facet: Facet, name: str) -> Any:
    return lambda state, event: [event.occurred_at, event.source, event.event_id, True]


def _newest_keys(registers: Any, key: str, row: list[Any], size: int) -> dict[str, Any]:
    """Keeps the keys it met first: what came in first depends on the order."""
    known = registers or {}
    return known if key not in known and len(known) >= size else {**known, key: row}


def _undropped(state: Any, index: int, amount: int, kept_max: int) -> Any:
    newest, tiles = state or [index, {}]
    return [max(newest, index), {**tiles, index: tiles.get(index, 0) + amount}]


@pytest.mark.parametrize(
    ("where", "mutant", "law"),
    [
        ("_STEPS", {**facets._STEPS, "last": _last_to_arrive}, test_any_order_leaves_the_same_memory),
        ("_add_register", _newest_keys, test_any_order_leaves_the_same_memory),
        ("_add_tile", _undropped, test_a_merge_of_memories_is_the_fold_of_the_union),
    ],
)
def test_the_laws_catch(where: str, mutant: Any, law: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is tried on a history long enough to fill every bound."""
    properties = [{"order_id": f"o{n}", "sku": "a", "price": n} for n in range(12)]
    events = [
        Event(
            event_id=f"e{n}",
            source="s",
            name=NAMES[n % len(NAMES)] if n % 2 else "Ordered",
            occurred_at=START - (n * 7 % 12) * 6 * HOUR,
            received_at=START,
            properties=properties[n],
        )
        for n in range(12)
    ]
    held = law.hypothesis.inner_test
    facets._plan.cache_clear()
    held(events, _Reversing())
    monkeypatch.setattr(facets, where, mutant)
    facets._plan.cache_clear()
    with pytest.raises(AssertionError):
        held(events, _Reversing())
    facets._plan.cache_clear()


class _Reversing:
    """Luck that always does the worst: it turns the order round, and deals every other event to the other side."""

    def __init__(self) -> None:
        self.dealt = 0

    def shuffle(self, items: list[Event]) -> None:
        items.reverse()

    def random(self) -> float:
        self.dealt += 1
        return self.dealt % 2 * 0.9
