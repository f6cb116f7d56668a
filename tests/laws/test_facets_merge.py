"""Law 5 and law 7 for facets: memory is a function of what happened, not of the order in which we heard of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.laws.remembering import KEPT, streams

from wayline.domain import Event
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
