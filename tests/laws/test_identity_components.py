"""Identity against an oracle: where no guard interferes, customers are the components that identifiers connect."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import networkx
from hypothesis import given, settings
from hypothesis import strategies as st

from wayline.domain import Event, Identifier
from wayline.observation.directory import Directory
from wayline.observation.events import UNVERIFIED
from wayline.observation.identity import Limits, Resolution, is_known, resolve

START = datetime(2024, 11, 1, tzinfo=UTC)
KINDS = ("user_id", "email", "phone", "anonymous_id", "device_id", "card")
UNGUARDED = Limits(people_max=10**6, person_ids_max=10**6, others_max=10**6, links_max=10**6, merges_max=10**6)

identifiers = st.builds(Identifier, st.sampled_from(KINDS), st.integers(0, 2).map(str))


def events(*, count_max: int = 25, of: st.SearchStrategy[Identifier] = identifiers) -> st.SearchStrategy[list[Event]]:
    """A log, each event with one to three identifiers, the strongest first as parsing leaves them."""
    who = st.lists(of, min_size=1, max_size=3, unique=True).map(
        lambda each: tuple(sorted(each, key=lambda one: (KINDS.index(one.kind), one.value)))
    )
    return st.lists(st.tuples(who, st.booleans()), max_size=count_max).map(
        lambda logged: [
            Event(
                event_id=str(place), source="s", name="x", identifiers=each, notes=(UNVERIFIED,) if is_public else (),
                occurred_at=START + timedelta(hours=place), received_at=START + timedelta(hours=place),
            )
            for place, (each, is_public) in enumerate(logged)
        ]
    )  # fmt: skip


def resolved(log: list[Event], limits: Limits) -> tuple[list[Resolution], Directory]:
    directory = Directory()
    found = []
    for event in log:
        resolution = resolve(event, directory.resolve(event.identifiers), directory, limits)
        directory.learn(resolution)
        found.append(resolution)
    return found, directory


def components(log: list[Event]) -> list[set[Identifier]]:
    graph = networkx.Graph()
    for event in log:
        graph.add_nodes_from(event.identifiers)
        networkx.add_path(graph, event.identifiers)
    return [set(each) for each in networkx.connected_components(graph)]


sparse = st.one_of(
    st.builds(Identifier, st.sampled_from(KINDS[1:]), st.integers(0, 9).map(str)),
    st.builds(Identifier, st.sampled_from(KINDS), st.integers(0, 30).map(str)),
)


@settings(max_examples=100, deadline=None)
@given(events(of=sparse))
def test_customers_are_components_where_no_guard_interferes(log: list[Event]) -> None:
    log = [
        Event(**{field: getattr(event, field) for field in event.__struct_fields__} | {"notes": ()}) for event in log
    ]
    # A component with two known people is where the guards begin: leave those out, as whole components.
    calm = [each for each in components(log) if sum(one.kind == "user_id" for one in each) <= 1]
    kept = set().union(*calm)
    log = [event for event in log if event.identifiers[0] in kept]
    found, directory = resolved(log, UNGUARDED)
    assert not any(each.contested for each in found)
    groups: dict[str, set[Identifier]] = {}
    for identifier, customer_id in directory.resolve(sorted(kept)).items():
        groups.setdefault(customer_id, set()).add(identifier)
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, calm))
    for customer_id, group in groups.items():
        assert is_known(customer_id) == any(each.kind == "user_id" for each in group)


@settings(max_examples=100, deadline=None)
@given(events(count_max=40), st.integers(1, 3))
def test_two_known_people_are_never_one(log: list[Event], people_max: int) -> None:
    found, directory = resolved(log, Limits(people_max=people_max))
    assert not any(is_known(merge.loser) for each in found for merge in each.merges)
    people = sorted({one for event in log for one in event.identifiers if one.kind == "user_id"})
    owners = directory.resolve(people)
    assert len(set(owners.values())) == len(owners)


@settings(max_examples=100, deadline=None)
@given(events(count_max=40))
def test_limits_hold_in_every_story(log: list[Event]) -> None:
    _, directory = resolved(log, Limits(others_max=2, window=timedelta(days=10**4)))
    owners = directory.resolve(sorted({one for event in log for one in event.identifiers}))
    for customer_id in set(owners.values()):
        kinds = [one.kind for one, owner in owners.items() if owner == customer_id]
        # A device that changed hands counts where it went, and its new place is not refused: somebody logged in there.
        assert all(
            kinds.count(kind) <= (1 if kind == "user_id" else 2) for kind in ("user_id", "email", "phone", "card")
        )


@settings(max_examples=100, deadline=None)
@given(events(count_max=40))
def test_a_replay_gives_the_same_customers(log: list[Event]) -> None:
    assert resolved(log, Limits())[0] == resolved(log, Limits())[0]


@settings(max_examples=100, deadline=None)
@given(events(count_max=40), st.integers(0, 40))
def test_a_batch_over_a_store_resolves_as_one_by_one(log: list[Event], cut: int) -> None:
    whole, _ = resolved(log, Limits())
    first, stored = resolved(log[:cut], Limits())
    batch = Directory(stored)
    batch.prefetch(one for event in log[cut:] for one in event.identifiers)
    second = []
    for event in log[cut:]:
        resolution = resolve(event, batch.resolve(event.identifiers), batch)
        batch.learn(resolution)
        second.append(resolution)
    assert first + second == whole


@settings(max_examples=100, deadline=None)
@given(events(count_max=30))
def test_a_public_key_merges_only_anonymous_customers(log: list[Event]) -> None:
    found, _ = resolved(log, Limits())
    for event, resolution in zip(log, found, strict=True):
        if UNVERIFIED in event.notes:
            assert all(merge.loser.startswith("a-") for merge in resolution.merges)
