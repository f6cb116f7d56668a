"""Laws 3, 5 and 7 for whole memories: identifiers, traits and consents too are what happened, not when we heard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.laws.remembering import KEPT, START, streams

from wayline.domain import Consent, Event, Identifier, Memory, Playbook, Register
from wayline.interpretation import customers
from wayline.interpretation.customers import IDENTIFIERS_MAX, TRAITS_MAX, fold, merge_memories

NAMES = {name for facet in KEPT for name in (*facet.events, *facet.removes, *facet.resets)}
PLAYBOOK = Playbook(
    version="1",
    facets={facet.name: facet for facet in KEPT},
    folding={name: tuple(f for f in KEPT if name in (*f.events, *f.removes, *f.resets)) for name in NAMES},
)
HANDLES = st.lists(
    st.builds(Identifier, st.sampled_from(["user_id", "email", "anonymous_id"]), st.sampled_from(["a", "b", "c:d"])),
    max_size=3,
    unique=True,
).map(tuple)
CHANNELS = st.sampled_from(["email", "sms", "all", None])
SAID = st.fixed_dictionaries(
    {"channel": CHANNELS, "purpose": st.sampled_from(["marketing", "sale", None])},
    optional={"wording_version": st.sampled_from(["v1", "v2"]), "method": st.sampled_from(["form", "till"])},
)
TRAITS = st.dictionaries(
    st.sampled_from(["language", "country", "tier"]), st.sampled_from(["x", "y", None, 3, True, ["odd"]]), max_size=3
)
CONSENTS = ("Consent Granted", "Consent Withdrawn", "Unsubscribed", "Email Marked as Spam")
MINUTES = st.integers(-5, 5).map(lambda minutes: START + timedelta(minutes=minutes))


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """All that may happen to one person: shopping, identifying, consenting; some of it heard late."""
    found: list[Event] = []
    for n, event in enumerate(draw(streams(size_max=5))):
        context = draw(st.sampled_from([{}, {"timezone": "Europe/Berlin"}, {"timezone": "Asia/Tokyo", "locale": "ja"}]))
        found.append(msgspec.structs.replace(event, identifiers=draw(HANDLES), context=context, position=n + 1))
    for n, at in enumerate(draw(st.lists(MINUTES, max_size=4))):
        told = {"name": "Identify", "kind": "identify", "properties": draw(TRAITS)}
        found.append(_event(f"i{n}", at, draw(MINUTES), identifiers=draw(HANDLES), **told))
    for n, at in enumerate(draw(st.lists(MINUTES, max_size=6))):
        told = {"name": draw(st.sampled_from(CONSENTS)), "properties": draw(SAID)}
        found.append(_event(f"k{n}", at, draw(MINUTES), **told))
    return found


def _event(event_id: str, at: Any, received_at: Any, **told: Any) -> Event:
    return Event(event_id=event_id, source="s", occurred_at=at, received_at=received_at, **told)


def folded(events: Iterable[Event]) -> Memory:
    memory = Memory()
    for event in events:
        memory = fold(memory, event, PLAYBOOK)
    return memory


@settings(max_examples=100, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_any_order_leaves_the_same_customer(events: list[Event], luck: Any) -> None:
    shuffled = list(events)
    luck.shuffle(shuffled)
    assert folded(shuffled) == folded(events)


@settings(max_examples=100, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_a_merge_is_the_fold_of_the_union(events: list[Event], luck: Any) -> None:
    ours = [event for event in events if luck.random() < 0.5]
    theirs = [event for event in events if event not in ours]
    assert merge_memories(folded(ours), folded(theirs), PLAYBOOK) == folded(events)
    assert merge_memories(folded(theirs), folded(ours), PLAYBOOK) == folded(events)


@settings(max_examples=50, deadline=None)
@given(histories())
def test_a_memory_that_was_written_is_read_back_equal(events: list[Event]) -> None:
    memory = folded(events)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(memory), type=Memory) == memory


@settings(max_examples=100, deadline=None)
@given(histories())
def test_no_grant_revives_what_was_withdrawn_after_it(events: list[Event]) -> None:
    """A grant counts from the earlier of its two times, a withdrawal from when we heard of it."""
    consents = folded(events).consents
    for channel in ("email", "sms"):
        granted = [
            min(event.occurred_at, event.received_at)
            for event in events
            if event.name == "Consent Granted" and _is_for(event, channel)
        ]
        withdrawn = [event.received_at for event in events if _withdraws(event, channel)]
        allowed = bool(granted) and (not withdrawn or max(granted) > max(withdrawn))
        assert consents.get(f"{channel}:marketing", Consent()).is_granted is allowed


def _is_for(event: Event, channel: str) -> bool:
    return event.properties.get("channel") == channel and event.properties.get("purpose") in (None, "marketing")


def _withdraws(event: Event, channel: str) -> bool:
    if event.name == "Consent Withdrawn":
        return _is_for(event, channel)
    leaves = event.name in ("Unsubscribed", "Email Marked as Spam")
    return leaves and (event.properties.get("channel") or "email") == channel


def test_what_is_remembered_of_one_person_is_bounded() -> None:
    def happened(n: int) -> Event:
        at = START + timedelta(minutes=n)
        handles = (Identifier("anonymous_id", f"a{n}"),)
        return _event(f"e{n}", at, at, name="Identify", kind="identify", identifiers=handles, properties={f"t{n}": n})

    events = [happened(n) for n in range(2 * TRAITS_MAX)]
    memory = folded(events)
    assert memory == folded(reversed(events))
    assert len(memory.identifiers) == IDENTIFIERS_MAX
    assert memory.identifiers[-1] == Identifier("anonymous_id", f"a{2 * TRAITS_MAX - 1}")
    assert len(memory.traits) == TRAITS_MAX


# ------------------------------------------------------------------ mutants the laws must catch


def _by_arrival(traits: Any, event: Event) -> Any:
    return {**traits, **{name: Register(event.stamp, value) for name, value in event.properties.items()}}


def _forgets_withdrawals(consents: Any, event: Event) -> Any:
    return {**consents, "email:marketing": Consent(event.received_at)}


def _by_hearing(consents: Any, event: Event) -> Any:
    return customers._with(consents, "email:marketing", Consent(event.received_at))


def _stated(minutes: int, language: str) -> Event:
    at = START + timedelta(minutes=minutes)
    return _event(language, at, START, name="Identify", kind="identify", properties={"language": language})


def _said(name: str, minutes: int, heard: int) -> Event:
    at, received_at = START + timedelta(minutes=minutes), START + timedelta(minutes=heard)
    return _event(name, at, received_at, name=name, properties={"channel": "email", "purpose": "marketing"})


@pytest.mark.parametrize(
    ("where", "mutant", "law", "events"),
    [
        ("_traits", _by_arrival, test_any_order_leaves_the_same_customer, [_stated(2, "de"), _stated(1, "en")]),
        (
            "_CONSENTS",
            {**customers._CONSENTS, "Consent Granted": _forgets_withdrawals},
            test_no_grant_revives_what_was_withdrawn_after_it,
            [_said("Consent Withdrawn", 1, 2), _said("Consent Granted", 0, 1)],
        ),
        (
            "_CONSENTS",
            {**customers._CONSENTS, "Consent Granted": _by_hearing},
            test_no_grant_revives_what_was_withdrawn_after_it,
            [_said("Consent Withdrawn", 1, 2), _said("Consent Granted", 0, 3)],
        ),
    ],
)
def test_the_laws_catch(
    where: str, mutant: Any, law: Any, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = law.hypothesis.inner_test
    given_events = (events, _Reversing()) if law is test_any_order_leaves_the_same_customer else (events,)
    held(*given_events)
    monkeypatch.setattr(customers, where, mutant)
    with pytest.raises(AssertionError):
        held(*given_events)


class _Reversing:
    """A shuffle that always does the worst."""

    def shuffle(self, items: list[Event]) -> None:
        items.reverse()


def test_a_late_event_moves_nothing_that_is_newer() -> None:
    def seen(kind: str, value: str, minutes: int) -> Event:
        at = START + timedelta(minutes=minutes)
        return _event(value, at, START, name="Viewed", identifiers=(Identifier(kind, value),))

    events: Sequence[Event] = [seen("email", "old", 1), seen("email", "new", 9), seen("email", "late", 5)]
    assert [identifier.value for identifier in folded(events).identifiers] == ["old", "late", "new"]
