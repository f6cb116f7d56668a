"""Splink knows the answer: with the same m and u, each pair gets the same match weight from both."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.people_made_up import made_up

from wayline.observation import weights
from wayline.observation.matching import Comparison
from wayline.runtime import matching


def frequencies(records: matching.Records, model: weights.Model, number: int) -> pa.Table:
    """The term frequency that makes Splink's adjustment, u/tf, ours: how much rarer the value is than the average."""
    column = records.comparisons[number].column
    held = records.connection.execute(
        f"SELECT min(row) AS row, {column} AS v FROM people WHERE {column} IS NOT NULL GROUP BY 2"
    ).fetchnumpy()
    tf = model.u[number][0] * np.exp2(-records.rarity[held["row"], number].astype(float))
    return pa.table({column: [str(v) for v in held["v"]], f"tf_{column}": tf})


def splinks_settings(model: weights.Model, comparisons: tuple[Comparison, ...]) -> dict[str, Any]:
    said = []
    for number, each in enumerate(comparisons):
        x = each.column
        levels: list[dict[str, Any]] = [
            {"sql_condition": f"{x}_l IS NULL OR {x}_r IS NULL", "label_for_charts": "null", "is_null_level": True}
        ]
        for at, level in enumerate(each.levels):
            sql = level.sql
            for column in {one.column for one in comparisons}:
                sql = sql.replace(f"l.{column}", f"{column}_l").replace(f"r.{column}", f"{column}_r")
            m, u = model.m[number][at], model.u[number][at]
            levels.append({
                "sql_condition": sql, "label_for_charts": level.name, "m_probability": m, "u_probability": u,
                **({"tf_adjustment_column": x, "tf_adjustment_weight": 1.0} if at == 0 else {}),
            })  # fmt: skip
        m, u = model.m[number][len(each.levels)], model.u[number][len(each.levels)]
        levels.append({"sql_condition": "ELSE", "label_for_charts": "else", "m_probability": m, "u_probability": u})
        said.append({"output_column_name": x, "comparison_levels": levels})
    return {
        "link_type": "dedupe_only", "unique_id_column_name": "row", "comparisons": said,
        "blocking_rules_to_generate_predictions": ["1=1"],
        "probability_two_random_records_match": model.prior, "retain_intermediate_calculation_columns": False,
    }  # fmt: skip


def test_weights_are_splinks_for_the_same_m_and_u() -> None:
    warnings.simplefilter("ignore")
    from splink import DuckDBAPI, Linker

    table = made_up(300).drop_columns(["mail"])  # what namesakes' addresses have in common is beyond the plain model
    records = matching.open_records(table, hidden=["person"])
    found = matching.compare(records, matching.random_pairs(records, 10**9))
    # Two names in each other's place are told once here and twice there: let nobody have done it.
    comparisons = records.comparisons
    learnt = matching.learn(records, found)
    model = weights.plain_model(comparisons, learnt.prior, learnt.m, learnt.u)
    ours = matching.score(records, found, model, least=-1e9)

    splink = DuckDBAPI()
    people = records.connection.execute("SELECT * FROM people").to_arrow_table()
    linker = Linker(splink.register(people), splinks_settings(model, comparisons), log_level=50)
    for number, each in enumerate(comparisons):
        linker.table_management.register_term_frequency_lookup(
            splink.register(frequencies(records, model, number)), each.column
        )
    told = linker.inference.predict(threshold_match_weight=-1e9).as_record_list()
    theirs = {
        (min(a, b), max(a, b)): w for each in told for a, b, w in [(each["row_l"], each["row_r"], each["match_weight"])]
    }

    outcomes = matching.unpacked(comparisons, found.packed)
    names = [number for number, each in enumerate(comparisons) if each.role in ("given_name", "surname")]
    plain = [
        pair
        for pair in zip(ours.left.tolist(), ours.right.tolist(), ours.weight.tolist(), outcomes, strict=True)
        if not (pair[3][names] == 2).any() and floors_do_not_bind(records, model, pair)
    ]
    assert len(plain) > 0.95 * len(ours.left)
    assert [weight for _, _, weight, _ in plain] == pytest.approx([theirs[a, b] for a, b, _, _ in plain], abs=1e-5)


def floors_do_not_bind(records: matching.Records, model: weights.Model, pair: Any) -> bool:
    """Whether no value of the pair is so common that equality had to be kept above near equality."""
    left, _, _, outcome = pair
    for number, worth in enumerate(model.weights()):
        floor = max((w for w in worth[2:] if w < worth[1]), default=0.0) - worth[1]
        if outcome[number] == 1 and records.rarity[left, number] < floor:
            return False
    return True
