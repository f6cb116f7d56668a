"""The mapping of a table: which columns it must have, which rows are passed over, and which messages the others are.

A mapping is text (YAML). It compiles as a playbook does: unknown fields, unknown columns, conditions that do not parse
are all told at once, with file and line. Conditions read the columns by name. `docs/how-to/import.md` shows one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final, Literal, TypeAlias, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct, structs

from wayline.conditions import Condition
from wayline.errors import AuthorError, did_you_mean
from wayline.observation.money import EXPONENTS
from wayline.observation.vocabulary import ALIASES, PERSONLESS, VOCABULARY
from wayline.playbook.grammar import (
    Anything,
    Either,
    Expression,
    Field,
    Listing,
    Record,
    Section,
    Table,
    Text,
    YesNo,
)
from wayline.playbook.sources import OURS
from wayline.playbook.texts import Findings, Node, Place, describe, read_yaml

__all__ = [
    "MAPPING",
    "READY",
    "SETS",
    "Cell",
    "Column",
    "Constant",
    "Each",
    "First",
    "Kind",
    "MessageRule",
    "Sum",
    "TableMapping",
    "Value",
    "Words",
    "for_shop",
    "read_mapping",
    "ready_mapping",
]

READY: Final = (
    "online-retail", "retailrocket",
    "pos-purchases", "pos-returns", "pos-pickups", "pos-stock", "pos-prices",
    "deliveries", "loyalty", "referrals", "service-desk", "search-log", "site-events",
    "profiles", "consents", "suppressions", "engagement", "messages-sent",
    "klaviyo-profiles", "klaviyo-events",
    "mailchimp-subscribed", "mailchimp-unsubscribed", "mailchimp-cleaned", "mailchimp-activity",
    "braze-profiles", "braze-currents",
)  # fmt: skip
"""Mappings that come with Wayline, by the name of the format they read."""

SETS: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(each for each in READY if each.startswith(f"{name}-"))
    for name in ("pos", "klaviyo", "mailchimp", "braze")
}
"""Ready mappings that belong together: each file is read by the one that it is written for."""

Kind: TypeAlias = Literal["text", "id", "whole", "number", "money", "time", "unix", "yes_no", "json"]
_KINDS: Final[tuple[Kind, ...]] = ("text", "id", "whole", "number", "money", "time", "unix", "yes_no", "json")
_WHEN_WRITTEN: Final = "@file"
_SHOP: Final = "shop"
_HANDLES: Final = frozenset({"email", "phone"})


class Column(Struct, frozen=True):
    """What a column must hold; `may_be_empty` or a row without it is refused, `may_lack` or a file without it is."""

    name: str
    headers: tuple[str, ...]
    """What files call it; the first that this file has counts."""
    kind: Kind
    may_be_empty: bool = False
    may_lack: bool = False


class Constant(Struct, frozen=True):
    """The same value in every message."""

    value: Any


class Cell(Struct, frozen=True):
    """A column's value; of several rows, the first one's. `absolute` drops the sign of a number."""

    column: str
    absolute: bool = False


class Sum(Struct, frozen=True):
    """An amount over all rows of a message: the columns multiplied, then added up."""

    columns: tuple[str, ...]
    absolute: bool = False


class Each(Struct, frozen=True):
    """A list with one object per row."""

    fields: Mapping[str, Cell | Constant | First | Words]


class First(Struct, frozen=True):
    """The first of these columns in which something stands."""

    columns: tuple[str, ...]


class Words(Struct, frozen=True):
    """A text with columns in it, `{store}-{receipt}`; nothing where one of them is empty."""

    text: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it names."""
        return tuple(_PLACES.findall(self.text))


Value: TypeAlias = Cell | Constant | Sum | Each | First | Words
_PLACES: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class MessageRule(Struct, frozen=True, kw_only=True):
    """Rows that fulfil `when` become this message; those that agree in `group_by` become one."""

    type: str
    event: str
    time: tuple[str, ...]
    """Columns of when it happened, the first that says so; none: when the file was written."""
    goes_on: bool = False
    """Whether the messages below may take the same row too."""
    when: Condition | None = None
    group_by: tuple[str, ...] = ()
    event_id: tuple[str, ...] = ()
    user_id: str = ""
    anonymous_id: str = ""
    properties: Mapping[str, Value] = {}
    traits: Mapping[str, Value] = {}


class TableMapping(Struct, frozen=True, kw_only=True):
    """A compiled mapping."""

    name: str
    source: str
    currency: str = ""
    """Empty: the shop's, as `zone` is where it is `shop`."""
    zone: str = "UTC"
    name_like: str = ""
    """Pattern of the names of the files, or members of an archive, it is written for; empty: any."""
    rows: str = ""
    """Of a JSON document: the path of the list of its rows."""
    within: str = ""
    """Of JSON: the list inside each row whose items are rows of their own."""
    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: str = "."
    time_format: str = ""
    """As `strptime` has it; empty: ISO 8601."""
    empty: frozenset[str] = frozenset()
    columns: Mapping[str, Column] = {}
    skips: Mapping[str, Condition] = {}
    """Reason to the condition of the rows that are passed over; the first that holds counts."""
    messages: tuple[MessageRule, ...] = ()


# ------------------------------------------------------------------ the grammar

_COLUMN_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_NAME = Text(pattern=_COLUMN_NAME, means="the name of a column")
_KIND = Text(
    tuple(kind + suffix for kind in _KINDS for suffix in ("", "?", "??")),
    means="what a column holds ('?': it may be empty; '??': the file may lack it)",
)
_COLUMN = Record(
    {
        "holds": Field(_KIND, "What it holds.", required=True),
        "header": Field(
            Listing(Text(), single=True, most=10),
            "What the file calls it, where that is no plain name; of several the first it has. Of JSON: a path.",
            default=(),
        ),
    },
    "a column",
)
_VALUE = Either(
    {
        "text": _NAME,
        "mapping": Record(
            {
                "column": Field(_NAME, "The column it is taken from.", default=""),
                "absolute": Field(_NAME, "The column it is taken from, without its sign.", default=""),
                "first": Field(Listing(_NAME, least=2, most=8), "The first of these columns that says anything.",
                               default=()),
                "text": Field(Text(), "A text with columns in it, such as '{store}-{receipt}'.", default=""),
                "value": Field(Anything(), "The same value in every message."),
                "sum": Field(Listing(_NAME, least=1, most=4), "Columns multiplied, added over all rows.", default=()),
                "absolute_sum": Field(Listing(_NAME, least=1, most=4), "The same, without its sign.", default=()),
                "each": Field(Table(Either({"text": _NAME, "mapping": Anything()}, "a column or {value: ...}")),
                              "A list with one object per row."),
            },
            "a value",
        ),
    },
    "a column, or one of {value: ...}, {first: [columns]}, {text: ...}, {absolute: column}, {sum: [columns]}, "
    "{each: {...}}",
)  # fmt: skip
_RULE = Record(
    {
        "type": Field(Text(("track", "identify", "page"), means="a type of message"), "Its type.", default="track"),
        "event": Field(Text(), "Its name, as in the reference of events; only of a track message.", default=""),
        "when": Field(Expression(), "Which rows; all that no message before took, if left out."),
        "goes_on": Field(YesNo(), "Let the messages below take the same rows too.", default=False),
        "time": Field(
            Listing(
                Text(pattern=f"{_COLUMN_NAME}|{_WHEN_WRITTEN}", means="a column, or '@file'"), single=True, least=1
            ),
            "The column of when it happened, or several, of which the first that says so; '@file' is when the file "
            "was written.",
            required=True,
            default=(),
        ),
        "group_by": Field(Listing(_NAME, single=True), "Rows that agree in these are one message.", default=()),
        "event_id": Field(Listing(_NAME, single=True), "Columns that tell it from every other message.", default=()),
        "user_id": Field(_NAME, "The column of the known customer's id.", default=""),
        "anonymous_id": Field(_NAME, "The column of the browser's or device's id.", default=""),
        "properties": Field(Table(_VALUE), "Property to where its value comes from.", default={}),
        "traits": Field(Table(_VALUE), "Trait to where its value comes from.", default={}),
    },
    "a message",
)
_FILE = Record(
    {
        "name": Field(
            Text(), "Names of the files it is written for, such as subscribed_*.csv; any if left out.", default=""
        ),
        "rows": Field(Text(), "Of a JSON document: where the list of its rows is, such as data.users.", default=""),
        "within": Field(Text(), "Of JSON: the list in each row whose items are rows of their own.", default=""),
        "encoding": Field(Text(), "Of a CSV; UTF-8 if left out.", default="utf-8"),
        "delimiter": Field(
            Text(pattern=r"[,;|\t]", means="one of ',', ';', '|' and a tab"), "Between cells.", default=","
        ),
        "decimal": Field(Text((".", ","), means="a decimal mark"), "In numbers and amounts.", default="."),
        "time_format": Field(Text(), "As strptime has it; ISO 8601 if left out.", default=""),
        "empty": Field(Listing(Text()), "Texts that mean nothing stands there, such as NULL.", default=()),
    },
    "a file",
)
MAPPING = Record(
    {
        "mapping": Field(Text(pattern=r"[a-z][a-z0-9-]*", means="a name"), "What it is called.", required=True),
        "source": Field(Text(pattern=r"[a-z][a-z0-9-]*", means="a name"), "The source of its events.", required=True),
        "currency": Field(
            Text(pattern=r"[A-Z]{3}", means="a currency such as EUR"), "Of amounts; the shop's if left out.", default=""
        ),
        "zone": Field(
            Text(), "The zone of times that name none; UTC if left out, `shop` for the shop's own.", default="UTC"
        ),
        "file": Field(_FILE, "How the file is written."),
        "columns": Field(
            Table(Either({"text": _KIND, "mapping": _COLUMN}, "what the column holds"), names=_COLUMN_NAME),
            "The columns it reads, and what each holds.",
            required=True,
            default={},
        ),
        "skip": Field(Table(Expression()), "Reason to the condition of rows that are passed over.", default={}),
        "messages": Field(
            Listing(_RULE, least=1, most=50), "Rows to messages; the first that fits.", required=True, default=()
        ),
    },
    "a mapping",
)


def read_mapping(text: str, *, file: str = "mapping.yaml") -> TableMapping:
    """Compile a mapping; raises AuthorError with every problem, in the order of their lines."""
    findings = Findings()
    tree = read_yaml(file, text, findings)
    mapping = _compiled(tree, Place(file, findings)) if tree is not None else None
    if mapping is None or findings.problems:
        raise AuthorError(sorted(findings.problems, key=lambda problem: problem.line))
    return mapping


def for_shop(mapping: TableMapping, currency: str, zone: str) -> TableMapping:
    """The mapping with the shop's currency and zone where it leaves them to the shop."""
    return structs.replace(
        mapping, currency=mapping.currency or currency, zone=zone if mapping.zone == _SHOP else mapping.zone
    )


def ready_mapping(name: str) -> TableMapping:
    """A mapping that comes with Wayline."""
    if name not in READY:
        raise AuthorError(f"no mapping is called {name!r}. {did_you_mean(name, READY)} Or give the path of your own.")
    file = f"{name}.yaml"
    return read_mapping(resources.files("wayline.sources").joinpath("mappings", file).read_text("utf-8"), file=file)


# ------------------------------------------------------------------ from sections to a mapping


def _compiled(tree: Node, place: Place) -> TableMapping | None:
    section = MAPPING.read(tree, place)
    _check_settings(section)
    columns = {name: _column(name, said) for name, said in (section["columns"] or {}).items()}
    written: Section | None = section["file"]
    rules = tuple(_rule(each, columns) for each in section["messages"] or ())
    for reason, condition in (section["skip"] or {}).items():
        _check_condition(condition, columns, place, section.at("skip"), f"skip {reason!r}")
    if place.findings.problems:
        return None
    return TableMapping(
        name=section["mapping"],
        source=section["source"],
        currency=section["currency"],
        zone=section["zone"],
        columns=columns,
        skips=section["skip"],
        messages=rules,
        **({} if written is None else _written(written)),
    )


def _written(section: Section) -> dict[str, Any]:
    said = dict(section.values)
    name_like = said.pop("name")
    return {**said, "name_like": name_like, "empty": frozenset(section["empty"])}


def _check_settings(section: Section) -> None:
    if section["source"] == OURS:
        section.wrong("source", f"{OURS!r} is what the engine's own events carry. Call the source otherwise.")
    try:
        ZoneInfo("UTC" if section["zone"] == _SHOP else section["zone"])
    except (ZoneInfoNotFoundError, ValueError):
        section.wrong("zone", f"no zone is called {section['zone']!r}; expected one such as Europe/London.")
    if section["currency"] and section["currency"] not in EXPONENTS:
        section.wrong("currency", f"no currency is called {section['currency']!r}; expected one such as EUR.")
    written: Section | None = section["file"]
    if written is not None:
        try:
            codecs.lookup(written["encoding"])
        except LookupError:
            written.wrong("encoding", f"no encoding is called {written['encoding']!r}; expected utf-8, cp1252 or such.")


def _column(name: str, said: str | Section | None) -> Column:
    # What could not be read was noted; a blank goes on as text.
    holds = (said["holds"] if isinstance(said, Section) else said) or "text"
    headers = said["header"] if isinstance(said, Section) else ()
    return Column(
        name,
        tuple(headers) or (name,),
        cast("Kind", holds.rstrip("?")),
        may_be_empty=holds.endswith("?"),
        may_lack=holds.endswith("??"),
    )


def _rule(section: Section, columns: Mapping[str, Column]) -> MessageRule:
    place = section.place
    if (section["type"] == "track") != bool(section["event"]):
        section.wrong("event", "expected the name of an event for a track message, and none for another type.")
    if section["event"] and section["event"] not in VOCABULARY and section["event"] not in ALIASES:
        known = did_you_mean(section["event"], VOCABULARY)
        section.doubt("event", f"no rule reads an event called {section['event']!r}. {known}")
    _check_subject(section)
    for field in ("user_id", "anonymous_id"):
        _check_column(section[field], columns, place, section.at(field))
    _check_times(section, columns)
    for field in ("group_by", "event_id"):
        for name in section[field]:
            _check_column(name, columns, place, section.at(field))
    if lacked := [name for name in section["group_by"] if name in columns and columns[name].may_lack]:
        section.wrong("group_by", f"column {lacked[0]!r} may be lacking ('??'); rows are told apart by what is there.")
    _check_condition(section["when"], columns, place, section.at("when"), "when")
    return MessageRule(
        **{name: section[name] for name in ("type", "event", "goes_on", "when", "user_id", "anonymous_id")},
        time=tuple(name for name in section["time"] if name != _WHEN_WRITTEN),
        group_by=section["group_by"],
        event_id=section["event_id"],
        properties=_values(section, "properties", columns),
        traits=_values(section, "traits", columns),
    )


def _check_subject(section: Section) -> None:
    names_nobody = (
        not section["user_id"] and not section["anonymous_id"] and not _HANDLES & set(section["traits"] or ())
    )
    if names_nobody and section["event"] not in PERSONLESS:
        section.wrong(
            "user_id",
            "a message needs whom it is about: 'user_id' or 'anonymous_id', a column each, or a trait 'email' or "
            "'phone'.",
        )


def _check_times(section: Section, columns: Mapping[str, Column]) -> None:
    for name in section["time"]:
        if name == _WHEN_WRITTEN:
            continue
        _check_column(name, columns, section.place, section.at("time"))
        if name in columns and columns[name].kind not in ("time", "unix"):
            section.wrong("time", f"column {name!r} holds {columns[name].kind}, expected 'time' or 'unix'.")
    if _WHEN_WRITTEN in section["time"][:-1]:
        section.wrong("time", "'@file' always says when, so what follows it is never looked at. Put it last.")
    if _WHEN_WRITTEN in section["time"] and section["event"] == "Consent Granted":
        section.wrong("time", "a consent is as old as it is: one that says no time of its own may revive none.")


def _values(section: Section, field: str, columns: Mapping[str, Column]) -> dict[str, Value]:
    node = section.at(field)
    values: dict[str, Value] = {}
    for name, said in (section[field] or {}).items():
        where = node.value[name] if isinstance(node.value, Mapping) and name in node.value else node
        value = _value(said, where, section.place)
        if value is not None:
            for column in _columns_of(value):
                _check_column(column, columns, section.place, where)
            values[name] = value
        if isinstance(value, Sum | Each) and not section["group_by"]:
            section.place.wrong(where, f"{name!r} looks at several rows; say 'group_by', the columns they agree in.")
    return values


def _value(said: Any, node: Node, place: Place) -> Value | None:
    if isinstance(said, str):
        return Cell(said)
    entries = node.value if isinstance(node.value, Mapping) else {}
    if said is None or len(entries) != 1:
        place.wrong(
            node,
            "expected exactly one of 'column', 'absolute', 'first', 'text', 'value', 'sum', 'absolute_sum' and 'each'.",
        )
        return None
    ((key, inner),) = entries.items()
    if key == "value":
        return Constant(said["value"])
    if key in ("sum", "absolute_sum"):
        return Sum(said[key], absolute=key == "absolute_sum")
    if key == "each":
        return _each(inner, place)
    if key in ("first", "text"):
        return First(said["first"]) if key == "first" else Words(said["text"])
    return Cell(said[key], absolute=key == "absolute")


def _each(node: Node, place: Place) -> Each:
    fields: dict[str, Cell | Constant | First | Words] = {}
    for name, inner in node.value.items() if isinstance(node.value, Mapping) else ():
        value = _value(_VALUE.read(inner, place), inner, place)
        if isinstance(value, Sum | Each):
            place.wrong(inner, f"{name!r} stands in a row of its own; expected a column or {{value: ...}}.")
        elif value is not None:
            fields[name] = value
    if not fields:
        place.wrong(node, f"expected at least one field of each row, found {describe(node)}.")
    return Each(fields)


def _columns_of(value: Value) -> tuple[str, ...]:
    if isinstance(value, Cell):
        return (value.column,)
    if isinstance(value, Sum | First | Words):
        return value.columns
    if isinstance(value, Each):
        return tuple(column for inner in value.fields.values() for column in _columns_of(inner))
    return ()


def _check_column(name: str, columns: Mapping[str, Column], place: Place, node: Node) -> None:
    if name and name not in columns:
        place.wrong(node, f"no column {name!r} is declared. {did_you_mean(name, columns)}")


def _check_condition(
    condition: Condition | None, columns: Mapping[str, Column], place: Place, node: Node, what: str
) -> None:
    for name in sorted(condition.names if condition is not None else ()):
        if name not in columns:
            known = did_you_mean(name, columns)
            place.wrong(node, f"the condition of {what} reads {name!r}, which is no declared column. {known}")
