"""The shapes a playbook's files may have: each reads a node and describes itself as JSON Schema.

One declaration serves the compiler, the editors' schemas and the reference page, so they cannot disagree. A shape that
cannot read its node notes the problem and answers its `blank`, so that one mistake does not hide the next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time, timedelta
from typing import Any, Protocol

from msgspec import Struct

from wayline.conditions import Condition, ConditionError, parse
from wayline.errors import did_you_mean
from wayline.playbook.texts import Node, Place, describe, plain

__all__ = [
    "Anything",
    "Clock",
    "Duration",
    "Either",
    "Expression",
    "Field",
    "Kinds",
    "Listing",
    "Money",
    "Number",
    "Record",
    "Section",
    "Shape",
    "Table",
    "Text",
    "Variant",
    "YesNo",
    "duration",
    "spoken",
]


class Shape(Protocol):
    """What a node should look like."""

    def read(self, node: Node, place: Place) -> Any:
        """The value of this node; after a problem, a blank to go on with."""
        ...

    def schema(self) -> dict[str, Any]:
        """The same, said to editors."""
        ...


class Section(Struct, frozen=True):
    """A mapping that was read: values by field, and the nodes they came from."""

    values: Mapping[str, Any]
    nodes: Mapping[str, Node]
    node: Node
    place: Place

    def __getitem__(self, field: str) -> Any:
        return self.values[field]

    def at(self, field: str) -> Node:
        """Where a field stands; the section itself if the author left it out."""
        return self.nodes.get(field, self.node)

    def wrong(self, field: str, text: str) -> None:
        """Note a problem at a field."""
        self.place.wrong(self.at(field), text)

    def doubt(self, field: str, text: str) -> None:
        """Note a warning at a field."""
        self.place.doubt(self.at(field), text)


class Text(Struct, frozen=True):
    """A text; one of `choices` if there are any, or of a pattern that `means` says in words."""

    choices: tuple[str, ...] = ()
    pattern: str = ""
    means: str = "text"

    def read(self, node: Node, place: Place) -> str:
        """The text of this node."""
        value = node.value
        if self.choices:
            if value not in self.choices or isinstance(value, bool):
                known = did_you_mean(str(value), self.choices).replace("Defined:", "Known:")
                known = f" {known}" if len(self.choices) > 1 else ""
                place.wrong(node, f"expected {self.means}, found {describe(node)}.{known}")
                return ""
            return str(value)
        if not isinstance(value, str) or not value.strip():
            place.wrong(node, f"expected {self.means}, found {describe(node)}.")
            return ""
        if self.pattern and not re.fullmatch(self.pattern, value):
            place.wrong(node, f"expected {self.means}, found {describe(node)}.")
            return ""
        return value

    def schema(self) -> dict[str, Any]:
        """A string, perhaps of a closed set."""
        if self.choices:
            return {"enum": list(self.choices)}
        return {"type": "string", "minLength": 1} | ({"pattern": f"^(?:{self.pattern})$"} if self.pattern else {})


class Number(Struct, frozen=True):
    """A number between two bounds; `whole` ones only, if it says so."""

    least: float
    most: float
    whole: bool = False

    def read(self, node: Node, place: Place) -> float:
        """The number of this node."""
        value = node.value
        kind = int if self.whole else (int, float)
        if not isinstance(value, bool) and isinstance(value, kind) and self.least <= value <= self.most:
            return value
        wanted = "a whole number" if self.whole else "a number"
        place.wrong(node, f"expected {wanted} from {self.least:g} to {self.most:g}, found {describe(node)}.")
        return self.least

    def schema(self) -> dict[str, Any]:
        """A bounded number."""
        return {"type": "integer" if self.whole else "number", "minimum": self.least, "maximum": self.most}


class YesNo(Struct, frozen=True):
    """Yes or no, written `true` or `false`."""

    def read(self, node: Node, place: Place) -> bool:
        """The truth of this node."""
        if not isinstance(node.value, bool):
            place.wrong(node, f"expected true or false, found {describe(node)}.")
            return False
        return node.value

    def schema(self) -> dict[str, Any]:
        """A boolean."""
        return {"type": "boolean"}


_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_DURATION = r"([0-9]+(?:\.[0-9]+)?) (second|minute|hour|day|week)s?"
_DURATION_MAX = timedelta(days=3660)  # a duration in a playbook: ten years


def duration(text: str) -> timedelta | None:
    """The span a text such as `1 hour` or `7 days` names; None if it names none, or an absurd one."""
    match = re.fullmatch(_DURATION, text.strip())
    if match is None or len(match[1]) > 12:
        return None
    seconds = float(match[1]) * _UNITS[match[2]]
    return timedelta(seconds=seconds) if 0 < seconds <= _DURATION_MAX.total_seconds() else None


def spoken(span: timedelta) -> str:
    """A span as an author writes it: `7 days`, `30 minutes`."""
    seconds = span.total_seconds()
    unit = next(name for name in ("day", "hour", "minute", "second") if seconds % _UNITS[name] == 0 or name == "second")
    count = f"{seconds / _UNITS[unit]:g}"
    return f"{count} {unit}" + ("" if count == "1" else "s")


class Duration(Struct, frozen=True):
    """An absolute span of time: `30 minutes`, `1 hour`, `7 days`, `2 weeks`."""

    def read(self, node: Node, place: Place) -> timedelta:
        """The span of this node."""
        span = duration(node.value) if isinstance(node.value, str) else None
        if span is None:
            place.wrong(
                node, f"expected a duration such as '30 minutes', '1 hour' or '7 days', found {describe(node)}."
            )
            return timedelta(hours=1)
        return span

    def schema(self) -> dict[str, Any]:
        """A string such as `7 days`."""
        return {"type": "string", "pattern": f"^{_DURATION}$"}


_MONEY = r"([0-9]{1,12}(?:\.[0-9]{1,4})?)(?: ([A-Z]{3}))?"


class Money(Struct, frozen=True):
    """An amount in the shop's currency: `4.99`, or `4.99 EUR` to be sure."""

    def read(self, node: Node, place: Place) -> tuple[str, str]:
        """The amount of this node as written, and the currency if one is named."""
        match = re.fullmatch(_MONEY, str(node.value)) if not isinstance(node.value, bool) else None
        if match is None:
            place.wrong(node, f"expected an amount such as 4.99 or '4.99 EUR', found {describe(node)}.")
            return ("0", "")
        return (match[1], match[2] or "")

    def schema(self) -> dict[str, Any]:
        """A number, or a string with the currency."""
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^{_MONEY}$"}]}


class Clock(Struct, frozen=True):
    """A local time of day, `21:00`."""

    def read(self, node: Node, place: Place) -> time:
        """The time of this node."""
        match = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", node.value) if isinstance(node.value, str) else None
        if match is None:
            place.wrong(node, f"expected a time of day such as '21:00', found {describe(node)}.")
            return time(0)
        return time(int(match[1]), int(match[2]))

    def schema(self) -> dict[str, Any]:
        """A string of hours and minutes."""
        return {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}


class Expression(Struct, frozen=True):
    """A condition, in the small subset of SQL's WHERE that Wayline reads."""

    def read(self, node: Node, place: Place) -> Condition | None:
        """The condition of this node; None if it does not parse."""
        if not isinstance(node.value, str):
            place.wrong(node, f"expected a condition such as 'cart_value >= 20', found {describe(node)}.")
            return None
        try:
            return parse(node.value, place.amounts)
        except ConditionError as error:
            place.wrong(
                _line_of(node, error), f"the condition {_short(node.value)} does not parse, {_where(node, error)}"
            )
            return None

    def schema(self) -> dict[str, Any]:
        """A string; the compiler says whether it parses."""
        return {"type": "string", "minLength": 1}


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _line_of(node: Node, error: ConditionError) -> int:
    return node.first_line + error.line - 1 if node.first_line > node.line else node.line


def _where(node: Node, error: ConditionError) -> str:
    # Only a text that starts where its node does has a column in the file that follows from its own.
    if node.first_line > node.line or error.line > 1:
        return f"column {error.column}: {error.reason}"
    return f"column {node.column + error.column + node.quoted} of the line: {error.reason}"


class Listing(Struct, frozen=True):
    """A list of one shape; `single` allows to write a lone item without the list."""

    of: Shape
    single: bool = False
    least: int = 0
    most: int = 100

    def read(self, node: Node, place: Place) -> tuple[Any, ...]:
        """The items of this node."""
        if isinstance(node.value, tuple):
            if not self.least <= len(node.value) <= self.most:
                place.wrong(node, f"expected {self.least} to {self.most} items, found {len(node.value)}.")
            return tuple(self.of.read(item, place) for item in node.value)
        if self.single and node.value is not None:
            return (self.of.read(node, place),)
        place.wrong(node, f"expected a list, found {describe(node)}.")
        return ()

    def schema(self) -> dict[str, Any]:
        """An array, or a lone item."""
        array = {"type": "array", "items": self.of.schema(), "minItems": self.least, "maxItems": self.most}
        return {"anyOf": [self.of.schema(), array]} if self.single else array


class Table(Struct, frozen=True):
    """A mapping of names the author chooses to one shape."""

    of: Shape
    names: str = r".+"
    means: str = "a name"
    most: int = 500

    def read(self, node: Node, place: Place) -> dict[str, Any]:
        """The entries of this node."""
        if not isinstance(node.value, Mapping):
            place.wrong(node, f"expected a mapping, found {describe(node)}.")
            return {}
        if len(node.value) > self.most:
            place.wrong(node, f"expected at most {self.most} entries, found {len(node.value)}.")
        for name in node.value:
            if not re.fullmatch(self.names, name):
                place.wrong(node.keys[name], f"expected {self.means}, found {name!r}.")
        return {name: self.of.read(item, place) for name, item in node.value.items()}

    def schema(self) -> dict[str, Any]:
        """An object of one kind of value."""
        return {
            "type": "object",
            "additionalProperties": self.of.schema(),
            "propertyNames": {"pattern": f"^(?:{self.names})$"},
        }


class Field(Struct, frozen=True):
    """One field of a record: its shape, whether it must be there, and what it means."""

    shape: Shape
    doc: str
    required: bool = False
    default: Any = None


class Record(Struct, frozen=True):
    """A mapping with the fields declared here and no others."""

    fields: Mapping[str, Field]
    what: str
    """What it is, in an error: `a journey`, `a cap`."""

    def read(self, node: Node, place: Place) -> Section:
        """The fields of this node, defaults filled in."""
        entries = node.value
        if not isinstance(entries, Mapping):
            place.wrong(node, f"expected {self.what}, a mapping, found {describe(node)}.")
            entries = {}
        else:
            self._check_names(node, entries, place)
        values = {}
        for name, field in self.fields.items():
            if name in entries:
                values[name] = field.shape.read(entries[name], place)
            else:
                values[name] = field.default
        return Section(values, entries, node, place)

    def _check_names(self, node: Node, entries: Mapping[str, Node], place: Place) -> None:
        for name in entries:
            if name not in self.fields:
                known = did_you_mean(name, self.fields).replace("Defined:", "Known:")
                place.wrong(node.keys[name], f"{self.what} has no field {name!r}. {known}")
        for name, field in self.fields.items():
            if field.required and name not in entries:
                place.wrong(node, f"{self.what} needs '{name}': {field.doc}")

    def schema(self) -> dict[str, Any]:
        """An object with these properties."""
        properties = {name: {"description": field.doc, **field.shape.schema()} for name, field in self.fields.items()}
        required = [name for name, field in self.fields.items() if field.required]
        schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        return schema | ({"required": required} if required else {})


class Variant(Struct, frozen=True):
    """One of several records, told apart by the field only it has."""

    records: Mapping[str, Record]
    what: str

    def read(self, node: Node, place: Place) -> tuple[str, Section] | None:
        """Which record it is, and what it says; None if it is none."""
        entries = node.value if isinstance(node.value, Mapping) else {}
        kinds = [kind for kind in self.records if kind in entries]
        if len(kinds) != 1:
            came = f"both {kinds[0]!r} and {kinds[1]!r}" if kinds else describe(node) + _keys(entries)
            place.wrong(node, f"expected {self.what} with one of {', '.join(map(repr, self.records))}, found {came}.")
            return None
        return kinds[0], self.records[kinds[0]].read(node, place)

    def schema(self) -> dict[str, Any]:
        """One of the records."""
        return {"oneOf": [record.schema() for record in self.records.values()]}


class Kinds(Struct, frozen=True):
    """One of several records, told apart by its field `kind`; `usual` is meant where none is said."""

    records: Mapping[str, Record]
    usual: str
    what: str

    def read(self, node: Node, place: Place) -> Section:
        """What the record of that kind says."""
        entries = node.value if isinstance(node.value, Mapping) else {}
        said = entries.get("kind")
        kind = self.usual if said is None else Text(tuple(self.records), means="a kind").read(said, place)
        if not kind:  # told once; which fields it may have nobody can say
            return Section({"kind": ""}, entries, node, place)
        return self.records[kind].read(node, place)

    def schema(self) -> dict[str, Any]:
        """One of the records."""
        return {"oneOf": [record.schema() for record in self.records.values()]}


def _keys(entries: Mapping[str, Node]) -> str:
    return f" of {', '.join(map(repr, entries))}" if entries else ""


class Either(Struct, frozen=True):
    """One shape or another, chosen by what the node is: a text, a number, a list, a mapping."""

    cases: Mapping[str, Shape]
    means: str

    def read(self, node: Node, place: Place) -> Any:
        """The value, by the case that fits."""
        shape = self.cases.get(_nature(node))
        if shape is None:
            place.wrong(node, f"expected {self.means}, found {describe(node)}.")
            return None
        return shape.read(node, place)

    def schema(self) -> dict[str, Any]:
        """Any of the cases."""
        return {"anyOf": [shape.schema() for shape in self.cases.values()]}


def _nature(node: Node) -> str:
    natures: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "flag"), (str, "text"), ((int, float), "number"), (tuple, "list"), (Mapping, "mapping"),
    )  # fmt: skip
    return next((name for kind, name in natures if isinstance(node.value, kind)), "nothing")


class Anything(Struct, frozen=True):
    """Any plain value; somebody else reads it."""

    read_by: str = ""

    def read(self, node: Node, place: Place) -> Any:
        """The value without its places."""
        return plain(node)

    def schema(self) -> dict[str, Any]:
        """No constraint."""
        return {}
