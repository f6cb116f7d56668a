"""Law 8 for facets: the fold and the point-in-time SQL say the same at every position of the log."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.laws.remembering import ALL, DAY, KEPT, START, streams
from tests.shop import apparel

from wayline.domain import Event, Facet
from wayline.interpretation.facets import fold, read, sql

LATER = (timedelta(0), 3 * DAY)


def told(streams_by_customer: Mapping[str, Sequence[Event]]) -> duckdb.DuckDBPyConnection:
    """A lake of these events, and an instant for every position and a few later looks."""
    lake = duckdb.connect(config={"threads": 1})
    lake.execute("SET TimeZone = 'UTC'")
    lake.execute(
        "CREATE TABLE events (event_id VARCHAR, source VARCHAR, name VARCHAR, customer_id VARCHAR, "
        "occurred_at TIMESTAMPTZ, position BIGINT, properties JSON)"
    )
    lake.execute("CREATE TABLE instants (customer_id VARCHAR, position BIGINT, as_of TIMESTAMPTZ)")
    events = [
        (e.event_id, e.source, e.name, customer, e.occurred_at, e.position, json.dumps(e.properties))
        for customer, stream in streams_by_customer.items()
        for e in stream
    ]
    if events:
        lake.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", events)
    instants = [
        (customer, position, START + later)
        for customer, stream in streams_by_customer.items()
        for position in range(len(stream) + 1)
        for later in LATER
    ]
    lake.executemany("INSERT INTO instants VALUES (?, ?, ?)", instants)
    return lake


def folded(
    streams_by_customer: Mapping[str, Sequence[Event]], kept: tuple[Facet, ...] = KEPT
) -> dict[tuple[str, int], Mapping[str, Any]]:
    found: dict[tuple[str, int], Mapping[str, Any]] = {}
    for customer, stream in streams_by_customer.items():
        states: Mapping[str, Any] = {}
        found[customer, 0] = states
        for event in stream:
            states = found[customer, event.position] = fold(states, event, kept)
    return found


def plain(value: Any) -> Any:
    """A reading in the form the SQL answers in."""
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=value.tzinfo)) // timedelta(microseconds=1)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-12)
    return isinstance(ours, bool) is isinstance(theirs, bool) and bool(ours == theirs)


def agree(
    facet: Facet,
    lake: duckdb.DuckDBPyConnection,
    states: Mapping[tuple[str, int], Mapping[str, Any]],
    declared: Mapping[str, Facet],
) -> None:
    answered = lake.execute(sql(facet, declared))
    is_json = str(answered.description[3][1]) == "JSON"
    for customer, position, as_of, value in answered.fetchall():
        theirs = json.loads(value) if is_json and value is not None else plain(value)
        ours = plain(read(states[customer, position], facet, declared, as_of))
        assert same(ours, theirs), f"{facet.name} of {customer} at {position}, {as_of}: fold {ours!r}, SQL {theirs!r}"


@pytest.mark.slow
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(streams(), min_size=8, max_size=8))
def test_fold_and_sql_agree_at_every_position(many: list[list[Event]]) -> None:
    by_customer = {f"c{n}": stream for n, stream in enumerate(many)}
    lake, states = told(by_customer), folded(by_customer)
    for facet in ALL.values():
        agree(facet, lake, states, ALL)


def shopping(luck: random.Random, count: int) -> list[Event]:
    """A season of one customer of the example shop, some of it told late and some of it twice by other sources."""
    names = sorted(apparel().folding)
    found = []
    for n in range(count):
        sku = luck.choice(("jacket", "wax", "boots"))
        line = {
            "sku": sku,
            "category": luck.choice(("jackets", "care")),
            "price": luck.choice((900, 19900)),
            "quantity": 1,
        }
        properties: dict[str, Any] = {**line, "order_id": f"o{luck.randrange(4)}", "ticket_id": luck.randrange(3)}
        properties |= {
            "step": luck.choice((1, 2, "shipping")),
            "revenue": luck.randrange(9) * 100,
            "discount": luck.choice((0, 5)),
        }
        if luck.random() < 0.5:
            properties["products"] = [line, {**line, "sku": "wax", "quantity": luck.randrange(1, 4)}]
        at = START - timedelta(minutes=luck.randrange(100_000))
        told = {"channel": luck.choice(("email", "sms")), "balance": n, "to": "gold", "expires_on": "2026-12-24"}
        source, name = luck.choice("ws"), luck.choice(names)
        came = Event(event_id=f"e{n}", source=source, name=name, occurred_at=at, received_at=START)
        found.append(msgspec.structs.replace(came, properties=properties | told, position=n + 1))
    return found


@pytest.mark.slow
def test_the_example_shops_facets_agree_at_every_position() -> None:
    declared = apparel().facets
    kept = tuple(facet for facet in declared.values() if facet.kind != "derived")
    by_customer = {f"c{n}": shopping(random.Random(n), 60) for n in range(5)}
    lake, states = told(by_customer), folded(by_customer, kept)
    for facet in declared.values():
        agree(facet, lake, states, declared)
