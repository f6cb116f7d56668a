"""What is agreed of each signal: what its events must carry, whose word counts, and how often they come.

A signal is the events of one name. What is declared here is honoured: a broken event is refused or noted as it comes
in; where two sources tell of one order, ticket or parcel, the more trusted one's telling stands in every register
(`latest_per_key`); of stock and price only the named sources move the shelf; silence and doubt are told by `doctor`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from wayline.domain import Facet, Schedule, Signal
from wayline.observation.vocabulary import SHAPES, VOCABULARY
from wayline.playbook.grammar import Anything, Duration, Field, Listing, Record, Section, Table, Text
from wayline.playbook.names import NAME, Known, check_event, check_known
from wayline.playbook.texts import Node, Place

__all__ = ["SIGNALS", "read_signals", "trusting", "with_secret"]

_PATH = r"[A-Za-z_][A-Za-z0-9_]*(\[\])?(\.[A-Za-z_][A-Za-z0-9_]*)*"
_PLAIN = (str, int, float, bool)

SIGNALS: Final = Table(
    Record(
        {
            "requires": Field(
                Listing(Text(pattern=_PATH, means="a property path"), single=True, most=40),
                "Properties that must be there, such as `order_id` or `products[].sku`.",
                default=(),
            ),
            "values": Field(
                Table(Listing(Anything(), single=True, least=1, most=200), names=_PATH, means="a property path"),
                "The values a property may have.",
                default={},
            ),
            "broken": Field(
                Text(("noted", "refused"), means="what becomes of an event that breaks this"),
                "Noted: kept, counted, told by `doctor`. Refused: kept among the rejected ones.",
                default="noted",
            ),
            "public": Field(
                Text(("accepted", "refused"), means="what becomes of one by a public key"),
                "Refused: only a secret key may tell it. What a schedule makes is refused whatever is said.",
                default="accepted",
            ),
            "truth": Field(
                Listing(Text(pattern=NAME, means="the name of a source"), single=True, most=20),
                "The sources whose word counts, most trusted first.",
                default=(),
            ),
            "every": Field(Duration(), "The longest silence that is not alarming."),
        },
        "a signal",
    ),
    means="the name of an event",
    most=200,
)


def read_signals(root: Node, place: Place, known: Known, sources: Iterable[str]) -> dict[str, Signal]:
    """All signals of signals.yaml, by event name; `sources` are those of wayline.toml, none if it names none."""
    named = tuple(sources)
    sections: Mapping[str, Section] = SIGNALS.read(root, place)
    signals: dict[str, Signal] = {}
    for name, section in sections.items():
        check_event(name, known, place, section.node, folds=True)
        for source in section["truth"] if named else ():
            check_known(source, named, place, section.at("truth"), what=f"signal {name!r} trusts the source")
        signals[name] = Signal(
            name=name,
            requires=tuple(section["requires"]),
            values=_values(name, section),
            refuses=section["broken"] == "refused",
            is_secret=section["public"] == "refused",
            truth=tuple(section["truth"]),
            every=section["every"],
        )
    return signals


def with_secret(signals: Mapping[str, Signal], schedules: Iterable[Schedule]) -> dict[str, Signal]:
    """The signals, those that schedules make told by secret keys only: they start journeys."""
    names = {schedule.event for schedule in schedules} - VOCABULARY.keys() - {""}
    secret = {name: replace(signals.get(name) or Signal(name=name), is_secret=True) for name in names}
    return {**signals, **secret}


def _values(name: str, section: Section) -> dict[str, tuple[Any, ...]]:
    values: dict[str, tuple[Any, ...]] = {}
    for path, allowed in section["values"].items():
        if not all(isinstance(each, _PLAIN) for each in allowed):
            section.wrong("values", f"signal {name!r}: {path!r} may have texts, numbers, true or false, and no others.")
        if SHAPES.get(path.rsplit(".", 1)[-1]) == "personal":
            section.wrong("values", f"signal {name!r}: {path!r} is personal and is not in the event. Delete it.")
        values[path] = tuple(allowed)
    return values


def trusting(facets: Mapping[str, Facet], signals: Mapping[str, Signal]) -> dict[str, Facet]:
    """The facets, their registers knowing whose word counts more."""
    return {name: replace(facet, trust=_trust(facet, signals)) for name, facet in facets.items()}


def _trust(facet: Facet, signals: Mapping[str, Signal]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if facet.kind != "latest_per_key":
        return ()
    said = ((name, signals[name].truth) for name in facet.events if name in signals)
    return tuple((name, truth) for name, truth in said if truth)
