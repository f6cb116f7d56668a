"""The mapping of a body: where in another system's JSON the parts of a message are, declared as text.

The spirit is that of the mapping of a table: a file that compiles, or says all its problems at once. `fields` gives
names to paths in the body (`customer.email`, `lines[0].sku`); conditions and messages use the names. `each` names a
list of which every item is read by itself. `docs/how-to/feedback.md` shows one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from wayline.conditions import Condition
from wayline.errors import AuthorError, Rejected, did_you_mean, kind_of
from wayline.observation.vocabulary import ALIASES, VOCABULARY
from wayline.playbook.grammar import Anything, Either, Expression, Field, Listing, Record, Section, Table, Text
from wayline.playbook.texts import Findings, Place, read_yaml
from wayline.sources.reports import report_id, timestamp_of

__all__ = ["BODY", "BodyMapping", "read_body_mapping"]

_ITEMS_MAX: Final = 1000  # items read of one body
_NAMES: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_NAME = Text(pattern=_NAMES, means="the name of a field")
_PATH = Text(
    pattern=r"[^.\[\]\s]+(\[\d{1,3}\])*(\.[^.\[\]\s]+(\[\d{1,3}\])*)*",
    means="a path such as customer.email or lines[0].sku",
)
_VALUES = Table(Either({"text": _NAME, "mapping": Anything()}, "a field, or {value: ...}"))
_WHO: Final = ("user_id", "anonymous_id", "email", "phone")
_RULE = Record(
    {
        "type": Field(Text(("track", "identify"), means="a type of message"), "Its type.", default="track"),
        "event": Field(Text(), "Its name, as in the reference of events; only of a track message.", default=""),
        "when": Field(Expression(), "Which items; all that no message before took, if left out."),
        "time": Field(_NAME, "The field of when it happened; when it came, if left out.", default=""),
        "event_id": Field(
            Listing(_NAME, single=True), "Fields that tell it from every other; all it says, if left out.", default=()
        ),
        **{name: Field(_NAME, f"The field of the customer's {name}.", default="") for name in _WHO},
        "external_ids": Field(Table(_NAME), "Kind of another identifier to its field.", default={}),
        "properties": Field(_VALUES, "Property to its field, or to {value: ...}.", default={}),
        "traits": Field(_VALUES, "Trait to its field, or to {value: ...}.", default={}),
    },
    "a message",
)
BODY = Record(
    {
        "mapping": Field(Text(pattern=r"[a-z][a-z0-9-]*", means="a name"), "What it is called.", required=True),
        "each": Field(_PATH, "The list whose items are read one by one; the body itself if left out.", default=""),
        "fields": Field(Table(_PATH, names=_NAMES), "Name to its path.", required=True, default={}),
        "messages": Field(
            Listing(_RULE, least=1, most=50), "Items to messages; the first that fits.", required=True, default=()
        ),
    },
    "a mapping",
)


class _Rule(Struct, frozen=True, kw_only=True):
    """Items that fulfil `when` become this message."""

    type: str
    event: str
    time: str
    when: Condition | None
    event_id: tuple[str, ...]
    who: Mapping[str, str]
    external_ids: Mapping[str, str]
    properties: Mapping[str, Any]
    traits: Mapping[str, Any]


class BodyMapping(Struct, frozen=True, kw_only=True):
    """A compiled mapping: bodies in, messages out."""

    name: str
    each: tuple[str | int, ...]
    fields: Mapping[str, tuple[str | int, ...]]
    rules: tuple[_Rule, ...]

    def messages(self, body: Any) -> Iterator[dict[str, Any]]:
        """The messages of one body; an item that no rule takes makes none. Rejected if `each` names no list."""
        items = _at(body, self.each) if self.each else [body]
        if not isinstance(items, list):
            raise Rejected("wrong_type", "each", f"expected a list there, got {kind_of(items)}")
        if len(items) > _ITEMS_MAX:
            raise Rejected("too_many", "each", f"{len(items)} items, at most {_ITEMS_MAX}; send fewer at a time")
        for item in items:
            told = {name: _at(item, path) for name, path in self.fields.items()}
            rule = next((rule for rule in self.rules if _fits(rule, told)), None)
            if rule is not None:
                yield self._message(rule, told, item)

    def _message(self, rule: _Rule, told: Mapping[str, Any], item: Any) -> dict[str, Any]:
        ids = [told[name] for name in rule.event_id] or [msgspec.json.encode(item, order="deterministic")]
        message: dict[str, Any] = {"type": rule.type, "messageId": report_id(self.name, rule.event, *ids)}
        if rule.type == "track":
            message["event"] = rule.event
        if rule.time and told[rule.time] is not None:
            message["timestamp"] = timestamp_of(told[rule.time])
        who = {name: told[field] for name, field in rule.who.items() if told[field] not in (None, "")}
        message |= {
            ours: who[name] for name, ours in (("user_id", "userId"), ("anonymous_id", "anonymousId")) if name in who
        }
        traits = _filled(rule.traits, told) | {name: who[name] for name in ("email", "phone") if name in who}
        others = [{"id": told[field], "type": kind} for kind, field in rule.external_ids.items() if told[field]]
        context: dict[str, Any] = {"externalIds": others} if others else {}
        if rule.type == "identify":
            message["traits"] = traits
        elif traits:
            context["traits"] = traits
        return {**message, "context": context, "properties": _filled(rule.properties, told)}


def _fits(rule: _Rule, told: Mapping[str, Any]) -> bool:
    return rule.when is None or rule.when.evaluate(told.get, _NEVER) is True


_NEVER: Any = None  # `now` is no fact of a body: the compiler refuses conditions that read it


def _filled(values: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    filled = {name: said["value"] if isinstance(said, Mapping) else told[said] for name, said in values.items()}
    return {name: value for name, value in filled.items() if value is not None}


def _at(item: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        if isinstance(part, int):
            item = item[part] if isinstance(item, list) and part < len(item) else None
        else:
            item = item.get(part) if isinstance(item, dict) else None
    return item


# ------------------------------------------------------------------ from text to a mapping


def read_body_mapping(text: str, *, file: str = "mapping.yaml") -> BodyMapping:
    """Compile a mapping; raises AuthorError with every problem, in the order of their lines."""
    findings = Findings()
    tree = read_yaml(file, text, findings)
    section = BODY.read(tree, Place(file, findings)) if tree is not None else None
    rules = () if section is None else tuple(_rule(each, section["fields"] or {}) for each in section["messages"] or ())
    if section is None or findings.problems:
        raise AuthorError(sorted(findings.problems, key=lambda problem: problem.line))
    return BodyMapping(
        name=section["mapping"],
        each=_parts(section["each"]),
        fields={name: _parts(path) for name, path in section["fields"].items()},
        rules=rules,
    )


def _parts(path: str) -> tuple[str | int, ...]:
    return tuple(int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", path))


def _rule(section: Section, fields: Mapping[str, str]) -> _Rule:
    if (section["type"] == "track") != bool(section["event"]):
        section.wrong("event", "expected the name of an event for a track message, and none for another type.")
    if section["event"] and section["event"] not in VOCABULARY and section["event"] not in ALIASES:
        known = did_you_mean(section["event"], VOCABULARY)
        section.doubt("event", f"no rule reads an event called {section['event']!r}. {known}")
    who = {name: section[name] for name in _WHO if section[name]}
    if not who and not section["external_ids"]:
        section.wrong("email", f"a message needs whom it is about: one of {', '.join(_WHO)} or external_ids.")
    for field, name in _used(section):
        if name and name not in fields:
            section.wrong(field, f"no field is called {name!r}. {did_you_mean(name, fields)}")
    return _Rule(
        **{name: section[name] for name in ("type", "event", "time", "when", "event_id", "external_ids")},
        who=who,
        properties=section["properties"] or {},
        traits=section["traits"] or {},
    )


def _used(section: Section) -> Iterator[tuple[str, str]]:
    """Every field a message names, with where it does."""
    yield from ((name, section[name]) for name in ("time", *_WHO))
    yield from (("event_id", name) for name in section["event_id"])
    yield from (("external_ids", name) for name in (section["external_ids"] or {}).values())
    condition: Condition | None = section["when"]
    yield from (("when", name) for name in sorted(condition.names if condition is not None else ()))
    for field in ("properties", "traits"):
        for name, said in (section[field] or {}).items():
            if isinstance(said, Mapping) and said.keys() != {"value"}:
                section.wrong(field, f"{name!r}: expected a field, or {{value: ...}}.")
            elif isinstance(said, str):
                yield field, said
