"""Stories: the tests an author writes of a playbook, as values. `runtime.rehearsal` plays them.

A file under `tests/` has a shelf, people, and stories; a story is a list of beats: something happens, time passes, a
page asks, and in between what is expected. Money is written as shops send it (129.00).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from wayline.domain import Playbook
from wayline.playbook.grammar import (
    Anything,
    Duration,
    Field,
    Listing,
    Number,
    Record,
    Section,
    Table,
    Text,
    Variant,
    YesNo,
)
from wayline.playbook.names import CHANNELS, NAME, check_known
from wayline.playbook.texts import Findings, Node, Place, read_yaml

__all__ = [
    "STORIES",
    "Ask",
    "Beat",
    "Expectation",
    "Happening",
    "Look",
    "Pause",
    "Person",
    "Stock",
    "Story",
    "read_stories",
]

_WHO = Text(pattern=NAME, means="the name of a person of this file")
_LOOK = {
    "journey": Field(Text(), "The journey whose message it is.", default=""),
    "action": Field(Text(), "The name of the action.", default=""),
    "channel": Field(Text(CHANNELS, means="a channel"), "The channel it leaves by.", default=""),
    "content": Field(Text(), "The content it shows.", default=""),
    "shows": Field(Listing(Text()), "The SKUs it shows, best first.", default=None),
    "who": Field(_WHO, "Whose it is; the first person if not said.", default=""),
}
_SENT = Record(
    {**_LOOK, "says": Field(Listing(Text(), single=True), "What its text contains.", default=())}, "a message"
)
_HELD = Record(
    {
        **_LOOK,
        "gate": Field(Text(), "The guard or gate that held it: consent, caps, claims, outranked, ...", default=""),
        "because": Field(Text(), "Words of the reason or of what was found.", default=""),
    },
    "a refusal",
)
_EXPECT = Record(
    {
        "sent": Field(Listing(_SENT, single=True), "Exactly these messages left since the last look."),
        "withheld": Field(
            Listing(_SENT, single=True), "Exactly these would have left, and the control group has none."
        ),
        "nothing": Field(YesNo(), "No message left, and none would have."),
        "held": Field(Listing(_HELD, single=True), "Among what was refused since the last look are these."),
        "inside": Field(
            Table(Text(means="the name of a step, or 'out'")), "Journey to the step the person waits in now, or `out`."
        ),
        "who": Field(_WHO, "Whose steps `inside` is about; the first person if not said.", default=""),
    },
    "what is expected",
)
_BEAT = Variant(
    {
        "event": Record(
            {
                "event": Field(Text(means="the name of an event"), "What happens.", required=True),
                "properties": Field(Table(Anything()), "Its properties, as a shop would send them.", default={}),
                "who": Field(_WHO, "Who does it; the first person if not said.", default=""),
                "ago": Field(Duration(), "It happened that long before: history that starts nothing."),
                "late": Field(Duration(), "It happened that long before now, and arrives only now."),
                "device": Field(
                    Text(), "An anonymous id instead of the person's own: a browser that is not logged in.", default=""
                ),
                "source": Field(Text(), "Who sends it.", default="web"),
                "as": Field(Text(), "Its event id, to tell a duplicate.", default=""),
            },
            "an event",
        ),
        "after": Record({"after": Field(Duration(), "How much time passes.", required=True)}, "a pause"),
        "stock": Record(
            {
                "stock": Field(
                    Table(Number(0, 1_000_000, whole=True)), "SKU to how many there are from now on.", required=True
                )
            },
            "a change of stock",
        ),
        "ask": Record(
            {
                "ask": Field(Text(means="a placement"), "A page asks what to show here.", required=True),
                "who": Field(_WHO, "For whom; the first person if not said.", default=""),
                "shown": Field(Listing(_SENT, single=True), "Exactly these are shown.", default=()),
            },
            "a page that asks",
        ),
        "expect": Record(
            {"expect": Field(_EXPECT, "What should have happened since the last look.", required=True)}, "a look"
        ),
    },
    "a beat",
)
_PERSON = Record(
    {
        "consent": Field(
            Listing(Text(CHANNELS, means="a channel"), single=True),
            "Channels they want marketing by.",
            default=("email",),
        ),
        "email": Field(Text(), "Their address; made up if not said. `none`: they have none.", default=""),
        "phone": Field(Text(), "Their number.", default=""),
        "push": Field(YesNo(), "Whether the app may push.", default=False),
        "language": Field(Text(), "The language they speak.", default=""),
        "zone": Field(Text(), "The zone they live in.", default=""),
        "first_name": Field(Text(), "What to call them.", default=""),
    },
    "a person",
)
_PRODUCT = Record(
    {
        "sku": Field(Text(), "Its SKU.", required=True),
        "name": Field(Text(), "What it is called.", required=True),
        "category": Field(Text(), "Where it belongs.", default=""),
        "price": Field(Number(0, 1_000_000), "What it costs, in the shop's currency.", default=10),
        "available": Field(Number(0, 1_000_000, whole=True), "How many there are; not told if not said."),
    },
    "a product",
)
_STORY = Record(
    {
        "story": Field(Text(means="what is tried"), "What is tried, in a sentence.", required=True),
        "starts": Field(
            Text(
                pattern=r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}", means="a local time such as '2026-11-24 10:00'"
            ),
            "When it begins, in the shop's zone.",
            default="2026-11-24 10:00",
        ),
        "arm": Field(Text(("treatment", "control"), means="an arm"), "The arm everybody is in.", default="treatment"),
        "budgets": Field(Table(Number(0, 10_000_000, whole=True)), "Budgets other than the policy's.", default={}),
        "beats": Field(Listing(_BEAT, least=1, most=200), "What happens, in order.", required=True),
    },
    "a story",
)
STORIES = Record(
    {
        "shelf": Field(Listing(_PRODUCT, most=200), "What the shop sells.", default=()),
        "people": Field(
            Table(_PERSON, names=NAME, means="the name of a person"),
            "Who they are; the first is meant where none is named.",
            required=True,
        ),
        "first": Field(Listing(_BEAT, most=200), "What every story of this file begins with.", default=()),
        "stories": Field(Listing(_STORY, least=1, most=100), "What is tried.", required=True),
    },
    "a file of stories",
)


class Person(Struct, frozen=True, kw_only=True):
    """Somebody in a story."""

    name: str
    consent: tuple[str, ...]
    email: str
    phone: str
    push: bool
    language: str
    zone: str
    first_name: str


class Look(Struct, frozen=True, kw_only=True):
    """A message as an author describes it; what is left empty may be anything."""

    line: int
    said: Mapping[str, Any]


class Happening(Struct, frozen=True, kw_only=True):
    """Something happens to somebody."""

    line: int
    event: str
    properties: Mapping[str, Any]
    who: str
    ago: timedelta | None
    late: timedelta | None
    device: str
    source: str
    event_id: str


class Pause(Struct, frozen=True):
    """Time passes."""

    line: int
    duration: timedelta


class Stock(Struct, frozen=True):
    """From now on there are this many."""

    line: int
    available: Mapping[str, int]


class Ask(Struct, frozen=True):
    """A page asks what to show."""

    line: int
    placement: str
    who: str
    shown: tuple[Look, ...]


class Expectation(Struct, frozen=True, kw_only=True):
    """What should have happened since the last look; None is not looked at."""

    line: int
    sent: tuple[Look, ...] | None
    withheld: tuple[Look, ...] | None
    held: tuple[Look, ...]
    inside: Mapping[str, str]
    who: str


Beat = Happening | Pause | Stock | Ask | Expectation


class Story(Struct, frozen=True, kw_only=True):
    """One thing an author wants to be sure of."""

    file: str
    line: int
    name: str
    starts_at: datetime
    arm: str
    budgets: Mapping[str, int]
    shelf: tuple[Mapping[str, Any], ...]
    people: tuple[Person, ...]
    beats: tuple[Beat, ...]


def read_stories(files: Mapping[str, str], playbook: Playbook, findings: Findings) -> tuple[Story, ...]:
    """The stories of every `tests/*.yaml`; what is wrong with them is noted."""
    stories: list[Story] = []
    for file, text in sorted(files.items()):
        if file.startswith("tests/") and file.endswith((".yaml", ".yml")):
            root = read_yaml(file, text, findings)
            if root is not None:
                stories.extend(_read(root, Place(file, findings), playbook))
    return tuple(stories)


def _read(root: Node, place: Place, playbook: Playbook) -> Iterator[Story]:
    section = STORIES.read(root, place)
    people = tuple(_person(name, said) for name, said in (section["people"] or {}).items())
    shelf = tuple(dict(product.values) for product in section["shelf"])
    names = tuple(person.name for person in people)
    for story in section["stories"] or ():
        yield Story(
            file=place.file,
            line=story.node.line,
            name=story["story"] or "",
            starts_at=_instant(story, playbook.policy.zone),
            arm=story["arm"],
            budgets={name: int(most) for name, most in story["budgets"].items()},
            shelf=shelf,
            people=people,
            beats=(*_beats(section["first"], names, playbook), *_beats(story["beats"], names, playbook)),
        )


def _instant(story: Section, zone: str) -> datetime:
    try:
        local = datetime.strptime(story["starts"], "%Y-%m-%d %H:%M").replace(tzinfo=ZoneInfo(zone))
    except ValueError:
        if story["starts"]:
            story.wrong("starts", f"expected a day that exists, such as '2026-11-24 10:00', found {story['starts']!r}.")
        return datetime(2026, 11, 24, 9, tzinfo=UTC)
    return local.astimezone(UTC)


def _person(name: str, said: Section) -> Person:
    email = said["email"] or f"{name}@example.com"
    return Person(
        name=name,
        consent=said["consent"],
        email="" if email == "none" else email,
        phone=said["phone"],
        push=said["push"],
        language=said["language"],
        zone=said["zone"],
        first_name=said["first_name"],
    )


def _beats(beats: tuple[Any, ...] | None, names: tuple[str, ...], playbook: Playbook) -> Iterator[Beat]:
    for read in beats or ():
        if read is not None:
            yield _beat(read[0], read[1], names, playbook)


def _beat(kind: str, said: Section, names: tuple[str, ...], playbook: Playbook) -> Beat:
    line = said.node.line
    match kind:
        case "event":
            return _happening(said, names)
        case "after":
            return Pause(line, said["after"] or timedelta(hours=1))
        case "stock":
            return Stock(line, {sku: int(count) for sku, count in said["stock"].items()})
        case "ask":
            return Ask(line, said["ask"] or "", _who(said, names), _looks(said["shown"], names, playbook) or ())
    return _expectation(said["expect"], line, names, playbook)


def _happening(said: Section, names: tuple[str, ...]) -> Happening:
    if said["ago"] is not None and said["late"] is not None:
        said.wrong("late", "an event is either long past ('ago') or late ('late'). Keep one of them.")
    return Happening(
        line=said.node.line,
        event=said["event"] or "",
        properties=said["properties"],
        who=_who(said, names),
        ago=said["ago"],
        late=said["late"],
        device=said["device"],
        source=said["source"],
        event_id=said["as"],
    )


def _who(said: Section, names: tuple[str, ...]) -> str:
    who = said["who"]
    if who:
        check_known(who, names, said.place, said.at("who"), what="this is about")
    return who or next(iter(names), "")


def _expectation(said: Section, line: int, names: tuple[str, ...], playbook: Playbook) -> Expectation:
    if not any(field in said.nodes for field in ("sent", "withheld", "nothing", "held", "inside")):
        said.place.wrong(line, "nothing is expected. Say what was sent, withheld, held, or `nothing: true`.")
    sent, withheld = _looks(said["sent"], names, playbook), _looks(said["withheld"], names, playbook)
    if said["nothing"]:
        sent, withheld = sent or (), withheld or ()
    for journey, step in said["inside"].items() if said["inside"] else ():
        where = said.at("inside")
        if check_known(journey, playbook.current, said.place, where, what="the person is inside") and step != "out":
            steps = playbook.current[journey].steps
            check_known(step, steps, said.place, where, what=f"the person waits in step of {journey}")
    return Expectation(
        line=line,
        sent=sent,
        withheld=withheld,
        held=_looks(said["held"], names, playbook) or (),
        inside=said["inside"] or {},
        who=_who(said, names),
    )


def _looks(sections: tuple[Section, ...] | None, names: tuple[str, ...], playbook: Playbook) -> tuple[Look, ...] | None:
    if sections is None:
        return None
    return tuple(_look(section, names, playbook) for section in sections)


def _look(section: Section, names: tuple[str, ...], playbook: Playbook) -> Look:
    if section["journey"]:
        check_known(
            section["journey"], playbook.current, section.place, section.at("journey"), what="a message of journey"
        )
    if section["content"]:
        check_known(
            section["content"], playbook.content, section.place, section.at("content"), what="a message with content"
        )
    said = {field: value for field, value in section.values.items() if value not in (None, "", ())}
    said["who"] = _who(section, names)
    return Look(line=section.node.line, said=said)
