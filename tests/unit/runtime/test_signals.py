"""Whether each journey is told what it needs, and which signals may be trusted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.shop import NOON

from wayline.domain import Event, Identifier, Playbook
from wayline.playbook import compile_playbook
from wayline.runtime.folders import read_files
from wayline.runtime.signals import Flow, SignalReport, UseCase, examine_signals, in_words, needs_of
from wayline.store.opening import Store, open_store

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "apparel"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def playbook() -> Playbook:
    return compile_playbook(read_files(EXAMPLE))


@pytest.fixture
def store() -> Store:
    return open_store()


def told(store: Store, name: str, count: int = 1, **said: Any) -> None:
    ago, late = said.pop("ago", timedelta(hours=2)), said.pop("late", timedelta(0))
    head = store.log.head()
    store.log.append(
        [
            Event(
                event_id=f"{name}{head + n}", name=name, identifiers=(Identifier("user_id", f"p{n}"),),
                occurred_at=NOON - ago - late, received_at=NOON - ago, **{"source": "shop", **said},
            )
            for n in range(count)
        ]
    )  # fmt: skip


def flow(report: SignalReport, name: str) -> Flow:
    return next(each for each in report.flows if each.name == name)


def case(report: SignalReport, journey: str) -> UseCase:
    return next(each for each in report.use_cases if each.journey == journey)


def test_a_journey_needs_what_starts_and_ends_it_and_what_its_conditions_read(playbook: Playbook) -> None:
    needs = {what: (names, must) for what, names, must in needs_of(playbook.current["cart-recovery"], playbook)}
    assert needs["what starts it"][0] == playbook.current["cart-recovery"].enters_on
    assert needs["its goal"] == (("Order Completed",), True)
    assert "Product Added" in needs["the facet cart_value"][0]
    assert needs["consent to marketing"] == (("Consent Granted",), True)
    newsletter = {what for what, _, _ in needs_of(playbook.current["newsletter"], playbook)}
    assert "what starts it" not in newsletter, "its schedule starts it"


def test_nothing_came_so_every_journey_is_missing_something(playbook: Playbook, store: Store) -> None:
    report = examine_signals(store.log, playbook, NOON)
    assert {each.verdict for each in report.use_cases} == {"missing"}
    assert "Nothing came in the last thirty days" in in_words(report)[0]


def test_a_journey_that_is_told_all_it_needs_is_trusted(playbook: Playbook, store: Store) -> None:
    for _, names, _ in needs_of(playbook.current["cart-recovery"], playbook):
        for name in names:
            told(store, name)
    report = examine_signals(store.log, playbook, NOON)
    assert case(report, "cart-recovery").verdict == "trusted"
    assert any(line.startswith("  ok  cart-recovery") for line in in_words(report))
    assert case(report, "order-delayed").verdict == "missing"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"late": timedelta(hours=3)}, "arrive more than an hour late"),
        ({"notes": ("unverified",)}, "only browsers tell of it"),
        ({"notes": ("contract: it lacks revenue",)}, "break what signals.yaml says"),
    ],
)
def test_a_doubt_is_said_with_what_was_seen(playbook: Playbook, store: Store, said: Any, reason: str) -> None:
    told(store, "Order Completed", 10, **said)
    found = flow(examine_signals(store.log, playbook, NOON), "Order Completed")
    assert found.verdict == "doubtful"
    assert any(reason in each for each in found.reasons)


def test_history_is_never_late(playbook: Playbook, store: Store) -> None:
    told(store, "Order Completed", 10, late=300 * DAY, fires=False)
    assert flow(examine_signals(store.log, playbook, NOON), "Order Completed").verdict == "trusted"


def test_silence_is_told_by_what_was_agreed_or_by_what_was_usual(store: Store) -> None:
    files = read_files(EXAMPLE)
    agreed = compile_playbook(
        {**files, "signals.yaml": "Inventory Changed: {every: 1 hour}\nPrice Changed: {truth: pim}"}
    )
    told(store, "Inventory Changed", ago=timedelta(hours=5))
    told(store, "Price Changed")
    for day in range(10, 20):
        told(store, "Order Delivered", ago=day * DAY)
    report = examine_signals(store.log, agreed, NOON)
    assert "signals.yaml expects one every 1 hour" in flow(report, "Inventory Changed").reasons[0]
    assert flow(report, "Price Changed").reasons == ("none came from pim, whose word counts",)
    assert "it came on 10 days, and not since" in flow(report, "Order Delivered").reasons[0]


def test_sources_are_summed_up_and_the_counters_agree(playbook: Playbook, store: Store) -> None:
    told(store, "Product Viewed", 3, source="web")
    store.log.append(store.log.read(0, 2))
    report = examine_signals(store.log, playbook, NOON)
    (source,) = report.sources
    assert (source.source, source.stored, source.duplicates) == ("web", 3, 2)
    assert report.offered == 5 == source.stored + source.duplicates + source.conflicts + source.rejected
