"""Laws of matching: the weight of a pair knows no left and right, and agreeing more never weighs less."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
from tests.people_made_up import made_up

from wayline.observation import weights
from wayline.observation.clusters import figures
from wayline.runtime import matching
from wayline.runtime.match_index import Index


@cache
def learnt() -> tuple[matching.Records, weights.Model, matching.Scored]:
    records = matching.open_records(made_up(400), hidden=["person"])
    found = matching.compare(records, matching.random_pairs(records, 10**9))
    model = matching.learn(records, found)
    return records, model, matching.score(records, found, model, least=-1e9)


def test_the_weight_of_a_pair_knows_no_left_and_right() -> None:
    table = made_up(400)
    _, model, scored = learnt()
    turned = matching.open_records(table.take(pa.array(range(399, -1, -1))), hidden=["person"])
    pairs = matching.random_pairs(turned, 10**9)
    again = matching.score(turned, matching.compare(turned, pairs), model, least=-1e9)
    there = {(a, b): w for a, b, w in zip(scored.left.tolist(), scored.right.tolist(), scored.weight, strict=True)}
    back = {
        (399 - b, 399 - a): w for a, b, w in zip(again.left.tolist(), again.right.tolist(), again.weight, strict=True)
    }
    assert there.keys() == back.keys()
    assert max(abs(there[pair] - back[pair]) for pair in there) < 1e-6


def test_agreeing_more_never_weighs_less() -> None:
    _, model, _ = learnt()
    for shape, worth in zip(model.comparisons, model.weights(), strict=True):
        chain = [bits for bits, stands in zip(worth[1:], shape.chain, strict=True) if stands]
        assert all(a >= b - 1e-9 for a, b in pairwise(chain)), (shape.role, chain)


def test_there_are_about_as_many_pairs_of_one_person_as_was_learnt() -> None:
    records, model, _ = learnt()
    truth = made_up(400)["person"].to_numpy()
    size = np.unique(truth, return_counts=True)[1]
    true = int((size * (size - 1) // 2).sum())
    assert abs(model.prior * records.possible - true) < 0.2 * true


def test_families_and_neighbours_are_not_taken_for_one_person() -> None:
    """Without the kinds of household and neighbours three quarters of what is told is wrong."""
    truth = made_up(4_000, seed=5)
    records = matching.open_records(truth, hidden=["person"])
    resolved = matching.resolve(records, limits=matching.Limits(least=400_000, random=200_000))
    made = figures(resolved.person, truth["person"].to_numpy(), records.count)
    assert made.precision is not None and made.precision > 0.98
    assert made.recall is not None and made.recall > 0.95


def test_a_record_by_itself_is_weighed_as_in_the_batch() -> None:
    records, model, scored = learnt()
    table = made_up(400)
    index = Index(records, model)
    batch = {(a, b): w for a, b, w in zip(scored.left.tolist(), scored.right.tolist(), scored.weight, strict=True)}
    compared = 0
    for row, record in enumerate(table.slice(0, 50).to_pylist()):
        for candidate in index.match_one(record, count=50):
            if candidate.row != row:
                assert abs(candidate.weight - batch[min(row, candidate.row), max(row, candidate.row)]) < 1e-5
                compared += 1
    assert compared > 150


def test_a_record_finds_its_other_one_first() -> None:
    records, model, _ = learnt()
    table = made_up(400)
    truth = table["person"].to_pylist()
    index = Index(records, model, [str(person) for person in truth])
    twice = [row for row, person in enumerate(truth) if truth.count(person) > 1][:50]
    first = [index.match_one(table.slice(row, 1).to_pylist()[0])[0] for row in twice]
    assert sum(each.owner == str(truth[row]) for each, row in zip(first, twice, strict=True)) == len(twice)
