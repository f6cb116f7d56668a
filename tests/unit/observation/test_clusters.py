"""Weighed pairs to people."""

from __future__ import annotations

import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wayline.observation import clusters

PAIRS = st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29), st.floats(-9, 9)), max_size=60)


def arrays(pairs: list[tuple[int, int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    each_once = {(min(a, b), max(a, b)): w for a, b, w in pairs if a != b}
    left, right = (np.array([pair[side] for pair in each_once], np.int64) for side in (0, 1))
    return left, right, np.array(list(each_once.values()), float)


@given(PAIRS)
@settings(deadline=None)  # scipy is loaded by the first call
def test_components_are_networkxs(pairs: list[tuple[int, int, float]]) -> None:
    left, right, _ = arrays(pairs)
    graph = nx.Graph()
    graph.add_nodes_from(range(30))
    graph.add_edges_from(zip(left.tolist(), right.tolist(), strict=True))
    number = clusters.components(left, right, 30)
    assert {frozenset(np.flatnonzero(number == n).tolist()) for n in set(number.tolist())} == set(
        map(frozenset, nx.connected_components(graph))
    )


@given(PAIRS)
@settings(max_examples=60, deadline=None)
def test_people_lie_within_components_and_whole_ones_are_kept(pairs: list[tuple[int, int, float]]) -> None:
    left, right, weight = arrays(pairs)
    person = clusters.grouped(left, right, weight, 30, 0.0)
    component = clusters.components(left[weight >= 0], right[weight >= 0], 30)
    for one in np.unique(person):
        assert len(set(component[person == one].tolist())) == 1
    linked = {(a, b) for a, b, w in zip(left.tolist(), right.tolist(), weight.tolist(), strict=True) if w >= 0}
    for one in np.unique(component):
        rows = np.flatnonzero(component == one).tolist()
        if all((a, b) in linked for a in rows for b in rows if a < b):
            assert len(set(person[rows].tolist())) == 1


def test_a_chain_of_two_strangers_is_cut_and_a_missing_value_does_not_cut() -> None:
    left, right = np.array([0, 1, 0]), np.array([1, 2, 2])
    apart = clusters.grouped(left, right, np.array([6.0, 5.0, -9.0]), 3, 0.0)
    assert apart[0] == apart[1] != apart[2]
    together = clusters.grouped(left, right, np.array([6.0, 5.0, -2.0]), 3, 0.0)
    assert len(set(together.tolist())) == 1


def test_a_component_too_large_to_look_at_is_cut_at_stronger_links() -> None:
    within = [(10 * g + a, 10 * g + b, 12.0) for g in range(60) for a in range(10) for b in range(a + 1, 10)]
    between = [(10 * g + 9, 10 * g + 10, 1.0) for g in range(59)]
    left, right, weight = (np.array(column) for column in zip(*within, *between, strict=True))
    person = clusters.grouped(left, right, weight, 600, 0.0)
    assert len(set(person.tolist())) == 60


def test_one_to_one_gives_each_at_most_one_partner_and_the_best_first() -> None:
    left, right = np.array([0, 0, 1, 2]), np.array([5, 6, 5, 7])
    kept = clusters.one_to_one(left, right, np.array([9.0, 8.0, 8.5, -3.0]))
    assert kept.tolist() == [True, False, False, True]


def test_a_close_rival_takes_from_a_pair() -> None:
    left, right = np.array([0, 0, 1]), np.array([5, 6, 7])
    weight = clusters.rivals_considered(left, right, np.array([9.0, 9.0, 9.0]), 100, 100)
    assert weight[0] < 1 and weight[2] >= 9


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=40), st.lists(st.integers(0, 5), min_size=40, max_size=40))
def test_figures_count_pairs_one_by_one(person: list[int], truths: list[int]) -> None:
    truth = truths[: len(person)]
    made = clusters.figures(np.array(person), np.array(truth), len(person))
    pairs = [(a, b) for a in range(len(person)) for b in range(a)]
    told = {(a, b) for a, b in pairs if person[a] == person[b]}
    true = {(a, b) for a, b in pairs if truth[a] == truth[b]}
    assert (made.told_pairs, made.true_pairs, made.right_pairs) == (len(told), len(true), len(told & true))


def test_the_threshold_is_where_what_is_expected_suffices() -> None:
    weights = np.array([12.0, 9.0, 8.0, 0.1, 0.1, 0.1])
    assert clusters.threshold_of(weights, 0.5) == 0.0
    assert clusters.threshold_of(weights, 0.95) == 8.0
    assert clusters.threshold_of(np.array([-3.0]), 0.95) == 0.0
