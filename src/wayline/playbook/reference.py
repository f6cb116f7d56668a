"""The reference page of playbooks, written from the shapes the compiler reads by."""

from __future__ import annotations

from collections.abc import Iterator

from wayline.orchestration import content
from wayline.playbook import KINDS, grammar
from wayline.playbook.grammar import Field, Record, Shape, Table, Variant
from wayline.playbook.names import CLAIMS, GATES, PARTS

__all__ = ["page"]

_INTRO = """# The playbook

Written from the shapes the compiler reads by (`wayline.playbook`); a test compares them. JSON Schemas for editors lie
in [schemas](schemas/).

A playbook is a folder of texts. `wayline check` compiles it and reports every problem of every file at once, with the
line, what was expected, what came, what exists, and what to do; warnings (an event nobody is known to send) stop
nothing. `wayline test` plays the stories under `tests/`.

YAML is read as YAML 1.2: only `true`, `false`, `null` and numbers are anything but text, so `NO` and `21:00` stay text.
An anchor (`&name`) may be used again (`*name`); tags, merge keys and duplicate keys are refused.

* **Durations** are absolute: `30 minutes`, `1 hour`, `7 days`, `2 weeks`. A day is 24 hours.
* **Money** is written as people write it (`4.99`, or `4.99 EUR` to be sure of the currency), also in conditions:
  `cart_value >= 20` means 20.00 of the shop's currency. Inside, and in what is stored, it is whole minor units.
* **Versions** are hashes of what a text says, whatever its comments and the order of its fields. People in a journey
  keep the version they entered under until it ends.
"""

_CONDITIONS = """## Conditions

A small subset of SQL's WHERE: `AND OR NOT`, `= <> < <= > >=`, `IN (...)`, `BETWEEN`, `LIKE`, `IS NULL`, numbers,
`'text'`, `TRUE FALSE NULL`, `now`, durations (`3 days`). What is not known is NULL, and an answer that is not known
lets nobody in. [Conditions](conditions.md) has each of them with examples.

They read:
"""

_CONTENT = """## Templates

Content is Liquid. A text that would have a gap in it is refused, and the next action of the proposal is tried; say
`{{ customer.first_name | default: "there" }}`, or ask `{% if customer.first_name %}`. `{% abort "why" %}` refuses on
purpose. In `html` everything is escaped; there is no way around it. A subject or title is one line.

They read `customer.first_name`, `customer.last_name`, `products` (each with `sku`, `name`, `price`, `was`, `url`,
`image_url`, `category`, and `stores`, what each store was last told to have; which ones, `shows` says),
`trigger.<property>` of the event that entered the person, facets by name, `shop.<setting>` of wayline.toml,
`links.unsubscribe` (every marketing e-mail needs it), and `language`. A link that is not http or https counts as
missing.
"""


def page() -> str:
    """The reference page, as Markdown."""
    lines = [_INTRO]
    for title, shape in KINDS.values():
        lines += [f"## {title}", "", *_about(shape, "", {}), ""]
    lines += [_CONDITIONS, *_facts(), "", *_claims(), "", *_gates(), "", _CONTENT, *_liquid(), "", *_parts()]
    return "\n".join(lines) + "\n"


def _about(shape: Shape, path: str, told: dict[str, str]) -> Iterator[str]:
    """A file's own table, then a table for each record inside it; `told` are those that had theirs, and where."""
    match shape:
        case Record():
            yield from _table(shape)
            for name, field in shape.fields.items():
                yield from _nested(field.shape, f"{path}.{name}" if path else name, told)
        case Table(of=inner, means=means):
            yield f"A mapping of {means} to:"
            yield ""
            yield from _about(inner, path, told)
        case Variant(records=records) | grammar.Kinds(records=records):
            for record in records.values():
                yield from _headed(record, path, told)


def _nested(shape: Shape, path: str, told: dict[str, str]) -> Iterator[str]:
    match shape:
        case Record():
            yield from _headed(shape, path, told)
        case Table(of=inner) | grammar.Listing(of=inner):
            yield from _nested(inner, path, told)
        case grammar.Either(cases=cases):
            for case in cases.values():
                yield from _nested(case, path, told)
        case Variant() | grammar.Kinds():
            yield from _about(shape, path, told)


def _headed(record: Record, path: str, told: dict[str, str]) -> Iterator[str]:
    if record.what in told:
        return
    told[record.what] = path
    yield ""
    yield f"### {record.what[0].upper()}{record.what[1:]} (`{path}`)"
    yield ""
    yield from _table(record)
    for name, field in record.fields.items():
        yield from _nested(field.shape, f"{path}.{name}", told)


def _table(record: Record) -> Iterator[str]:
    yield "| field | is | means |"
    yield "|---|---|---|"
    for name, field in record.fields.items():
        yield f"| `{name}` | {_is(field)} | {_bars(field.doc)} |"


def _is(field: Field) -> str:
    said = _bars(_words(field.shape))
    if field.required:
        return f"{said}; required"
    default = field.default
    return f"{said}; `{default}`" if isinstance(default, str | int | float) and default else said


def _words(shape: Shape) -> str:
    match shape:
        case grammar.Text(choices=choices) if choices:
            return " ".join(f"`{choice}`" for choice in choices)
        case grammar.Text(means=means):
            return means
        case grammar.Number(least=least, most=most, whole=whole):
            return f"{'a whole number' if whole else 'a number'} from {least:,g} to {most:,.9g}"
        case grammar.Listing(of=inner, single=single):
            return f"a list of {_words(inner)}" + (", or one of them" if single else "")
        case Table(of=inner, means=means):
            return f"{means} to {_words(inner)}"
        case grammar.Either(means=means):
            return means
        case Record(what=what) | Variant(what=what) | grammar.Kinds(what=what):
            return what
    return _PLAIN[type(shape).__name__]


_PLAIN = {
    "Anything": "anything",
    "Clock": "a time of day, `21:00`",
    "Duration": "a duration",
    "Expression": "a condition",
    "Money": "an amount",
    "YesNo": "`true` or `false`",
}


def _bars(text: str) -> str:
    return text.replace("|", "\\|")


def _facts() -> Iterator[str]:
    yield "| name | what it is |"
    yield "|---|---|"
    for name, meaning in (
        ("<facet>", "what is remembered, see [facets](facets.md)"),
        ("trait.<name>", "what the customer or their system says of them"),
        ("trigger.<property>", "a property of the event that entered the person; in journeys only"),
        (
            "estimate.<question>, confidence.<question>",
            "the answer to a question; how sure it is, 0 if there is none",
        ),
        (
            "consent.<channel>, consent.<channel>.<purpose>",
            "whether it is granted now; marketing if no purpose is said",
        ),
    ):
        yield f"| {', '.join(f'`{one}`' for one in name.split(', '))} | {meaning} |"
    yield "| `stage`, `match_confidence` | the stage they are estimated to be in; how sure we are who this is, 0 to 1 |"
    yield "| `objection` | whether they objected to all direct marketing |"
    yield "| `zone`, `language` | where and how they read; the shop's where that is not known |"
    yield "| `now` | the instant of the decision |"


def _claims() -> Iterator[str]:
    yield "## Claims"
    yield ""
    yield "What must be true when a message lands; looked at when it is decided and again as it leaves."
    yield ""
    yield "| claim | about |"
    yield "|---|---|"
    for name, subjects in CLAIMS.items():
        said = [
            f"`{name}: {subject}{'<property>' if subject.endswith('.') else ''}`" for subject in subjects if subject
        ]
        yield f"| `{name}` | {' or '.join(said) or f'`{name}`'} |"


def _gates() -> Iterator[str]:
    yield "## Gates"
    yield ""
    gates = ", ".join(f"`{gate}`" for gate in GATES)
    yield f"In the order of `gates`; in this order if it is not said: {gates}."
    yield "Before any of them stand the guards, which no playbook removes: objection, address, unconfirmed address,"
    yield "suppressed address, consent, and the lawful hours of texts."


def _liquid() -> Iterator[str]:
    yield f"Filters: {', '.join(f'`{name}`' for name in content.FILTERS)}."
    yield f"Tags: {', '.join(f'`{name}`' for name in content.TAGS)}."
    yield ""
    yield "| limit | |"
    yield "|---|---|"
    yield f"| characters of one part | {content.SOURCE_MAX:,} |"
    yield f"| bytes one part may become | {content.OUTPUT_MAX:,} |"
    yield f"| turns of all its loops together | {content.ITERATIONS_MAX:,} |"
    yield f"| characters it may assign, capture and filter | {content.LOCALS_MAX:,} |"
    yield f"| scopes, and blocks, inside each other | {content.DEPTH_MAX}, {content.NESTING_MAX} |"


def _parts() -> Iterator[str]:
    yield "| channel | parts | and perhaps |"
    yield "|---|---|---|"
    for channel, (needed, allowed) in PARTS.items():
        yield f"| `{channel}` | {', '.join(f'`{p}`' for p in needed)} | {', '.join(f'`{p}`' for p in allowed) or '-'} |"
