"""Texts with places: YAML, TOML and front matter read into nodes that know their line.

The playbook's YAML is a small, safe part of YAML 1.2: mappings, lists and scalars. `true`, `false`, `null`, whole and
decimal numbers are what they look like; everything else is text, so `NO`, `on` and `21:00` stay text. An anchor may be
used again by an alias, within a limit on what all of them unfold to; tags, merge keys, duplicate keys and second
documents are refused, and so is a text that is too long or too deep.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from typing import Any, TypeAlias

import yaml
from msgspec import Struct

from wayline.errors import AuthorError, Problem, did_you_mean

__all__ = [
    "DEPTH_MAX",
    "LENGTH_MAX",
    "NODES_MAX",
    "Findings",
    "Node",
    "Place",
    "describe",
    "plain",
    "read_toml",
    "read_yaml",
]

LENGTH_MAX = 262_144  # characters in one file: a playbook is written by people
DEPTH_MAX = 16  # nesting: the deepest thing we read has 7 levels
NODES_MAX = 20_000  # values in one file, aliases unfolded: a few nested aliases can say billions

_Scalar: TypeAlias = str | int | float | bool | None


class Node(Struct, frozen=True):
    """A value of a text, and where it stands."""

    value: _Scalar | tuple[Node, ...] | Mapping[str, Node]
    line: int
    column: int = 0
    keys: Mapping[str, int] = {}
    """Of a mapping: each key to its line."""
    first_line: int = 0
    """Of a text block: the line its first line stands on."""
    quoted: bool = False


class Findings:
    """What was found wrong so far: problems stop the playbook, warnings do not."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.unread: tuple[str, ...] = ()
        """Files that do not parse at all: what they would define is not missed, for that says nothing new."""


class Place(Struct, frozen=True):
    """The file being read, and where its findings go."""

    file: str
    findings: Findings
    amounts: Mapping[str, int] = {}
    """Names that hold money in minor units in the conditions of this file, with the digits behind the point."""

    def wrong(self, where: Node | int, text: str) -> None:
        """Note a problem at a node or a line."""
        self.findings.problems.append(Problem(self.file, where if isinstance(where, int) else where.line, text))

    def doubt(self, where: Node | int, text: str) -> None:
        """Note a warning at a node or a line."""
        self.findings.warnings.append(Problem(self.file, where if isinstance(where, int) else where.line, text))


def describe(node: Node) -> str:
    """What came, in words for an error: `text 'abc'`, `the number 3`, `a list`, `nothing`."""
    value = node.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"text {value if len(value) <= 60 else value[:57] + '...'!r}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, tuple):
        return "a list"
    return "nothing" if value is None else "a mapping"


def plain(node: Node) -> Any:
    """The value without its places, as JSON would have it."""
    if isinstance(node.value, tuple):
        return [plain(item) for item in node.value]
    if isinstance(node.value, Mapping):
        return {key: plain(item) for key, item in node.value.items()}
    return node.value


# ------------------------------------------------------------------ YAML


def read_yaml(file: str, text: str, findings: Findings) -> Node | None:
    """The node tree of one YAML document; None after noting why it cannot be read."""
    place = Place(file, findings)
    if len(text) > LENGTH_MAX:
        place.wrong(1, f"expected at most {LENGTH_MAX} characters, found {len(text)}. Split the file.")
        return None
    try:
        return _Unfolding(place).document(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        context = f" {error.context}" if error.context else ""
        place.wrong((mark.line if mark else 0) + 1, f"expected YAML, found: {error.problem}{context}.")
    except yaml.YAMLError as error:  # a character that no YAML may hold has a position, and no line
        line = text.count("\n", 0, getattr(error, "position", None) or 0) + 1
        place.wrong(line, f"expected YAML, found: {getattr(error, 'reason', None) or error}.")
    except AuthorError as error:  # raised below, where the rest of the file cannot be read sensibly
        findings.problems.extend(error.problems)
    return None


class _Unfolding:
    """One document on its way from the parser's events to nodes; it counts what it makes."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.made = 0

    def document(self, events: Iterator[Any]) -> Node | None:
        for event in events:
            if isinstance(event, yaml.StreamEndEvent):
                self.place.wrong(1, "expected a mapping, found an empty file. Delete it, or fill it.")
                return None
            if isinstance(event, yaml.DocumentStartEvent):
                break
        root = self.node(next(events), events, 0)
        next(events)
        if not isinstance(after := next(events), yaml.StreamEndEvent):
            line = after.start_mark.line + 1
            self.place.wrong(line, "expected one document, found a second after '---'. Put it into a file of its own.")
        return root

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        line = event.start_mark.line + 1
        if depth > DEPTH_MAX:
            raise self.refusal(line, f"expected at most {DEPTH_MAX} levels, found more. Flatten it.")
        if isinstance(event, yaml.AliasEvent):
            return self.alias(str(event.anchor), line)
        if event.tag is not None:
            self.place.wrong(line, f"tags are not read, found {event.tag!r}. Write the plain value.")
        before = self.made
        self.count(1, line)
        if isinstance(event, yaml.ScalarEvent):
            node = _scalar(event, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(inner := next(events), yaml.SequenceEndEvent):
                items.append(self.node(inner, events, depth + 1))
            node = Node(tuple(items), line)
        else:
            node = self.mapping(event, events, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, self.made - before)
        return node

    def alias(self, anchor: str, line: int) -> Node:
        if anchor not in self.anchors:
            raise self.refusal(line, f"alias '*{anchor}' has no anchor before it. {did_you_mean(anchor, self.anchors)}")
        node, size = self.anchors[anchor]
        self.count(size, line)
        return node

    def mapping(self, start: Any, events: Iterator[Any], depth: int) -> Node:
        entries: dict[str, Node] = {}
        keys: dict[str, int] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            key = self.node(event, events, depth + 1)
            value = self.node(next(events), events, depth + 1)
            if isinstance(key.value, tuple | Mapping):
                self.place.wrong(line, f"expected a key, found {describe(key)}. Write `name: value`.")
                continue
            name = getattr(event, "value", None) or str(key.value)
            if name == "<<":
                self.place.wrong(line, "merge keys are not read, found '<<'. Write the fields out.")
            elif name in entries:
                self.place.wrong(line, f"key {name!r} came before, in line {keys[name]}. Keep one of them.")
            else:
                entries[name], keys[name] = value, line
        return Node(entries, start.start_mark.line + 1, start.start_mark.column, keys=keys)

    def count(self, nodes: int, line: int) -> None:
        self.made += nodes
        if self.made > NODES_MAX:
            raise self.refusal(
                line, f"expected at most {NODES_MAX} values, aliases unfolded, found more. Split the file."
            )

    def refusal(self, line: int, text: str) -> AuthorError:
        return AuthorError([Problem(self.place.file, line, text)])


_WHOLE = re.compile(r"[-+]?[0-9]+\Z")
_DECIMAL = re.compile(r"[-+]?[0-9]+\.[0-9]+([eE][-+]?[0-9]+)?\Z")
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


def _scalar(event: Any, line: int) -> Node:
    value: _Scalar = event.value
    if event.style is None or event.style == "":  # only plain scalars are anything but text
        value = _WORDS.get(event.value, event.value) if event.value in _WORDS else event.value
        if len(event.value) <= 18 and _WHOLE.match(event.value):
            value = int(event.value)
        elif len(event.value) <= 32 and _DECIMAL.match(event.value):
            value = float(event.value)
    first = line + 1 if event.style in ("|", ">") else line
    return Node(value, line, event.start_mark.column, first_line=first, quoted=event.style in ("'", '"'))


# ------------------------------------------------------------------ TOML

_TOML_TABLE = re.compile(r"\s*\[+\s*(?P<name>[^\]]+?)\s*\]+")
_TOML_KEY = re.compile(r"\s*(?P<name>[A-Za-z0-9_.\"'-]+)\s*=")
_TOML_PLACE = re.compile(r"\s*\(at line (\d+), column \d+\)|\s*\(at end of document\)")


def read_toml(file: str, text: str, findings: Findings) -> Node | None:
    """The node tree of a TOML file; None after noting why it cannot be read."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _TOML_PLACE.search(str(error))
        line = int(match[1]) if match and match[1] else text.count("\n") + 1
        Place(file, findings).wrong(line, f"expected TOML, found: {_TOML_PLACE.sub('', str(error))}.")
        return None
    return _tree(table, (), _lines(text), 1)


def _lines(text: str) -> Mapping[tuple[str, ...], int]:
    """Where each key stands; tomllib does not say."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TOML_TABLE.match(line):
            table = tuple(part.strip(" \"'") for part in header["name"].split("."))
            found.setdefault(table, number)
        elif entry := _TOML_KEY.match(line):
            found.setdefault((*table, *(part.strip(" \"'") for part in entry["name"].split("."))), number)
    return found


def _tree(value: Any, path: tuple[str, ...], lines: Mapping[tuple[str, ...], int], above: int) -> Node:
    line = lines.get(path, above)
    if isinstance(value, dict):
        entries = {key: _tree(item, (*path, key), lines, line) for key, item in value.items()}
        return Node(entries, line, keys={key: entry.line for key, entry in entries.items()})
    if isinstance(value, list):
        return Node(tuple(_tree(item, path, lines, line) for item in value), line)
    if isinstance(value, datetime | date | time):
        value = value.isoformat()
    return Node(value, line, quoted=True)
