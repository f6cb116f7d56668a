"""Facets and questions: what is remembered of a customer, and who answers what is asked about one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from wayline.domain import Facet, Question
from wayline.errors import did_you_mean
from wayline.observation.vocabulary import SHAPES
from wayline.playbook.grammar import (
    Anything,
    Duration,
    Expression,
    Field,
    Listing,
    Number,
    Record,
    Section,
    Table,
    Text,
    spoken,
)
from wayline.playbook.names import Known, check_event, check_known
from wayline.playbook.texts import Node, Place

__all__ = ["FACETS", "MONEY", "QUESTIONS", "READINGS", "amounts_among", "read_facets", "read_questions"]

_KINDS = ("last", "first", "count", "sum", "recent", "latest_per_key", "ledger", "derived")
_ROWS = ("recent", "latest_per_key", "ledger")
_FITS: Mapping[str, tuple[str, ...]] = {
    # field: the kinds it means something for; `kind`, `events`, `where` and `purpose` are looked at apart
    "value": ("last", "first", "count", "sum", "recent", "derived"),
    "key": ("latest_per_key", "ledger"),
    "fields": _ROWS,
    "window": ("count", "sum", *_ROWS, "derived"),
    "tile": ("count", "sum"),
    "size_max": _ROWS,
    "removes": ("ledger",),
    "resets": ("ledger",),
    "priority": ("latest_per_key",),
    "of": ("derived",),
    "read": ("derived",),
}
READINGS: Mapping[str, tuple[str, ...]] = {
    # reading of a derived facet: the kinds it can be read from
    "value": _KINDS[:-1],
    "at": ("last", "first", *_ROWS),
    "first_at": _ROWS,
    "age": ("last", "first", *_ROWS),
    "count": ("count", *_ROWS),
    "sum": ("sum", *_ROWS),
    "amount": _ROWS,
    "min": _ROWS,
    "max": _ROWS,
    "spread": _ROWS,
    "mean": _ROWS,
    "distinct": _ROWS,
    "top": _ROWS,
    "keys": _ROWS,
    "newest": _ROWS,
    "visits": ("count", *_ROWS),
    "gap": _ROWS,
}
MONEY = tuple(sorted(name for name, shape in SHAPES.items() if shape == "money"))
"""The event properties that hold money, in minor units."""
_NEEDS_VALUE = ("sum", "min", "max", "spread", "mean", "distinct", "top", "newest")
_SIZE_MAX = 200  # rows of a facet
_TILES_MAX = 1500  # tiles of the window of a facet
_EVENTS = Listing(Text(means="the name of an event"), most=60)
_PATH = Text(pattern=r"\$name|[A-Za-z_][A-Za-z0-9_]*(\[\])?(\.[A-Za-z_][A-Za-z0-9_]*)*", means="a property path")

_FACET = Record(
    {
        "kind": Field(Text(_KINDS, means="a kind of facet"), "How it folds.", required=True),
        "events": Field(_EVENTS, "The events that touch it; none for a derived one.", default=()),
        "where": Field(Expression(), "Over the event's own properties; of a derived one, over the fields of each row."),
        "value": Field(_PATH, "Property path that is remembered, counted, summed or listed.", default=""),
        "key": Field(Text(means="property paths joined by ' + '"), "Property path of the key.", default=""),
        "fields": Field(Listing(_PATH, most=20), "Property paths kept in a row.", default=()),
        "window": Field(Duration(), "How far back it looks."),
        "tile": Field(Duration(), "Width of the tiles a window is counted in; must divide it."),
        "size_max": Field(Number(1, _SIZE_MAX, whole=True), "How many rows are kept; 50 if not said.", default=0),
        "removes": Field(_EVENTS, "Events that take out instead of putting in.", default=()),
        "resets": Field(_EVENTS, "Events since which it counts.", default=()),
        "priority": Field(_EVENTS, "Event names, most trusted first.", default=()),
        "of": Field(Text(means="the name of a facet"), "The facet it is read from.", default=""),
        "read": Field(Text(tuple(READINGS), means="a reading"), "Which reading.", default=""),
        "purpose": Field(Text(), "Why it is remembered; shown to whoever asks.", default=""),
    },
    "a facet",
)
FACETS = Table(_FACET, names=r"[a-z][a-z0-9_]*", means="the name of a facet in small letters, digits and '_'")

_QUESTION = Record(
    {
        "rule": Field(Text(means="the name of a rule"), "The rule that answers where no model does.", required=True),
        "model": Field(Text(means="the name of a model"), "The model that answers first.", default=""),
        "floor": Field(Number(0, 1), "Confidence below which the rule answers instead of the model.", default=0.0),
        "reads": Field(
            Listing(Text(means="the name of a facet"), most=30), "Facets the rule reads, in its order.", default=()
        ),
        "parameters": Field(Table(Anything()), "What the rule lets you choose.", default={}),
    },
    "a question",
)
QUESTIONS = Table(_QUESTION, names=r"[a-z][a-z0-9_]*", means="the name of a question in small letters, digits and '_'")


def read_facets(root: Node, place: Place, known: Known) -> dict[str, Facet]:
    """All facets of facets.yaml, by name."""
    sections: Mapping[str, Section] = FACETS.read(root, place)
    facets = {name: _facet(name, section) for name, section in sections.items()}
    for name, section in sections.items():
        _check_fields(name, section)
        _check_size(name, section)
        for field in ("events", "removes", "resets"):
            for event in section[field]:
                check_event(event, known, place, section.at(field), folds=True)
        for event in section["priority"]:
            if event not in section["events"]:
                known_events = did_you_mean(event, section["events"])
                section.wrong("priority", f"facet {name!r} trusts {event!r}, which does not touch it. {known_events}")
        if section["kind"] == "derived":
            _check_derived(name, section, facets)
    return facets


def _facet(name: str, section: Section) -> Facet:
    # A field left out by mistake was noted; what follows reads a blank.
    fields: dict[str, Any] = {
        field: "" if value is None and field == "kind" else value for field, value in section.values.items()
    }
    return Facet(name=name, **fields)


def _check_fields(name: str, section: Section) -> None:
    kind = section["kind"]
    if not kind:
        return
    for field, kinds in _FITS.items():
        if field in section.nodes and kind not in kinds:
            section.wrong(
                field, f"facet {name!r} is a {kind!r}, and {field!r} is for {', '.join(map(repr, kinds))}. Delete it."
            )
    if kind == "derived" and section["events"]:
        section.wrong(
            "events", f"facet {name!r} is derived: it is touched by the events of {section['of']!r}. Delete 'events'."
        )
    if kind != "derived" and not section["events"]:
        section.wrong("kind", f"facet {name!r} needs 'events': the events that touch it.")
    for field, needy in (
        ("key", ("latest_per_key", "ledger")),
        ("value", ("sum",)),
        ("of", ("derived",)),
        ("read", ("derived",)),
    ):
        if kind in needy and not section[field] and field not in section.nodes:
            section.wrong("kind", f"facet {name!r} is a {kind!r} and needs {field!r}: {_FACET.fields[field].doc}")


def _check_size(name: str, section: Section) -> None:
    window: timedelta | None = section["window"]
    tile: timedelta | None = section["tile"]
    if section["kind"] not in ("count", "sum"):
        return
    if (window is None) is not (tile is None):
        missing = "tile" if tile is None else "window"
        section.wrong(
            "window" if tile is None else "tile", f"facet {name!r} counts over a window and needs {missing!r} too."
        )
    elif window is not None and tile is not None and window % tile:
        section.wrong(
            "tile",
            f"facet {name!r}: the tile must divide the window, and {spoken(window)} is no multiple of {spoken(tile)}.",
        )
    elif window is not None and tile is not None and window // tile > _TILES_MAX:
        section.wrong(
            "tile", f"facet {name!r}: expected at most {_TILES_MAX} tiles, found {window // tile}. Use wider tiles."
        )


def _check_derived(name: str, section: Section, facets: Mapping[str, Facet]) -> None:
    if not section["of"] or not check_known(
        section["of"], facets, section.place, section.at("of"), what=f"facet {name!r} is read from"
    ):
        return
    source = facets[section["of"]]
    reading = section["read"]
    if source.kind == "derived":
        section.wrong(
            "of", f"facet {name!r} is read from {source.name!r}, which is derived itself. Read from {source.of!r}."
        )
    elif reading and source.kind not in READINGS[reading]:
        fitting = tuple(word for word, kinds in READINGS.items() if source.kind in kinds)
        section.wrong(
            "read",
            f"facet {name!r}: {reading!r} cannot be read from {source.name!r}, a {source.kind!r}. "
            f"{did_you_mean(reading, fitting)}",
        )
    if source.kind in _ROWS:
        _check_columns(name, section, source)


def _check_columns(name: str, section: Section, source: Facet) -> None:
    columns = {"at", *map(_column, source.fields or (source.value,))} - {""}
    columns |= (
        {"key", "updated_at"}
        if source.kind == "latest_per_key"
        else {"key", "quantity"}
        if source.kind == "ledger"
        else set()
    )
    if section["read"] in _NEEDS_VALUE and not section["value"] and "value" not in section.nodes:
        section.wrong(
            "read", f"facet {name!r} reads {section['read']!r} and needs 'value': a field of {source.name!r}."
        )
    if section["value"]:
        what = f"facet {name!r} reads the field"
        check_known(section["value"], columns, section.place, section.at("value"), what=what)
    if section["where"] is not None:
        for column in sorted(section["where"].names - {"now"}):
            check_known(column, columns, section.place, section.at("where"), what=f"facet {name!r} looks at the field")


def _column(path: str) -> str:
    return "event" if path == "$name" else path.rsplit(".", 1)[-1].removesuffix("[]")


def amounts_among(facets: Mapping[str, Facet]) -> frozenset[str]:
    """The facets whose reading is money: conditions compare them with 19.99, and they hold 1999."""
    plain = {
        name
        for name, facet in facets.items()
        if facet.kind in ("last", "first", "sum") and _column(facet.value) in MONEY
    }
    return frozenset(plain | {name for name, facet in facets.items() if _is_derived_amount(facet, plain)})


def _is_derived_amount(facet: Facet, plain: set[str]) -> bool:
    if facet.read in ("amount", "value"):
        return facet.read == "amount" or facet.of in plain
    return facet.read in ("sum", "min", "max", "spread", "mean", "newest", "top") and _column(facet.value) in MONEY


def read_questions(root: Node, place: Place, facets: Mapping[str, Facet], rules: frozenset[str]) -> dict[str, Question]:
    """All questions of questions.yaml, by name."""
    questions: dict[str, Question] = {}
    for name, section in QUESTIONS.read(root, place).items():
        if rules:
            check_known(
                section["rule"] or "", rules, place, section.at("rule"), what=f"question {name!r} is answered by rule"
            )
        for facet in section["reads"]:
            check_known(facet, facets, place, section.at("reads"), what=f"question {name!r} reads facet")
        fields: dict[str, Any] = dict(section.values)
        questions[name] = Question(name=name, **fields)
    return questions
