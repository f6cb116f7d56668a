"""Journeys: their shape, and everything about one that can be wrong before anybody enters it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, cast

from wayline.domain import (
    STAGES,
    Action,
    Branch,
    Claim,
    Content,
    Control,
    End,
    Journey,
    JourneyStep,
    Lane,
    Owner,
    Propose,
    Purpose,
    Reentry,
    Wait,
)
from wayline.errors import did_you_mean
from wayline.observation.vocabulary import VOCABULARY
from wayline.playbook.grammar import (
    Duration,
    Either,
    Expression,
    Field,
    Listing,
    Money,
    Number,
    Record,
    Section,
    Table,
    Text,
    Variant,
    duration,
)
from wayline.playbook.names import (
    CLAIMS,
    NAME,
    PURPOSES,
    Known,
    check_event,
    check_facts,
    check_known,
    trigger_names,
)
from wayline.playbook.texts import Node, Place

__all__ = ["JOURNEY", "read_journey"]

_EVENT = Text(means="the name of an event")
_STEP_NAME = Text(pattern=NAME, means="the name of a step")
_TARGET = Text(pattern=NAME, means="the name of a step, or 'end'")

_ACTION = Record(
    {
        "action": Field(Text(pattern=NAME, means="a name"), "What this action is called in reports.", required=True),
        "channel": Field(Text(means="a channel"), "The channel it leaves by.", required=True),
        "content": Field(
            Text(pattern=NAME, means="the name of a content"), "The approved content it shows.", required=True
        ),
        "kind": Field(
            Text(("message", "products", "offer", "service", "support"), means="a kind of action"),
            "What it is; if not said: `products` where its content shows what a question ranks, `service` where the "
            "journey's purpose is service, else `message`.",
        ),
        "claims": Field(
            Listing(
                Either({"text": Text(means="a claim"), "mapping": Table(Text(means="a subject"))}, "a claim"), most=8
            ),
            "What must be true when it lands: `cart_open`, `in_stock: shown`, `order_open: trigger.order_id`.",
            default=(),
        ),
        "needs": Field(
            Table(Number(0, 1)), "Question to the confidence below which the next action is tried instead.", default={}
        ),
        "value": Field(Money(), "Expected margin if it works; what ranking starts from.", default=0),
        "spends": Field(Table(Number(1, 1_000_000, whole=True)), "What it takes of a shared budget.", default={}),
        "placement": Field(
            Text(pattern=NAME, means="a name"), "The place on the site it is for; only onsite.", default=""
        ),
    },
    "an action",
)

_STEP = Variant(
    {
        "wait": Record(
            {
                "wait": Field(Duration(), "How long to stay here.", required=True),
                "then": Field(_TARGET, "Where to go when the time is up.", required=True),
                "until": Field(
                    Table(_TARGET, means="an event"), "Event to the step it moves the customer to.", default={}
                ),
            },
            "a wait",
        ),
        "when": Record(
            {
                "when": Field(Expression(), "The condition to go by.", required=True),
                "then": Field(_TARGET, "Where to go if it is true.", required=True),
                "otherwise": Field(_TARGET, "Where to go if it is false or not known.", required=True),
            },
            "a branch",
        ),
        "propose": Record(
            {
                "propose": Field(
                    Listing(_ACTION, least=1, most=12), "Actions, best first; the tail is the fallback.", required=True
                ),
                "patience": Field(Duration(), "How long to go on wishing.", required=True),
                "then": Field(_TARGET, "Where to go when one of them was sent.", required=True),
                "otherwise": Field(_TARGET, "Where to go when patience is over.", required=True),
            },
            "a proposal",
        ),
        "end": Record(
            {"end": Field(Text(("ended", "converted", "exited"), means="how it ends"), "How it ends.", required=True)},
            "an end",
        ),
    },
    "a step",
)

JOURNEY = Record(
    {
        "journey": Field(Text(pattern=NAME, means="a name"), "Its name: that of the file.", required=True),
        "stage": Field(Text(STAGES, means="a stage"), "The stage of a customer it serves.", required=True),
        "purpose": Field(
            Text(PURPOSES, means="a purpose"), "Decides consent, caps, quiet hours and holdout.", required=True
        ),
        "owner": Field(
            Record(
                {
                    "business": Field(Text(), "Who answers for what it says.", required=True),
                    "technical": Field(Text(), "Who answers for its events.", required=True),
                    "qa": Field(Text(), "Who tries it before launch.", required=True),
                },
                "an owner",
            ),
            "Who answers for it: {business: ..., technical: ..., qa: ...}.",
            required=True,
        ),
        "goal": Field(_EVENT, "The event that means it worked.", required=True),
        "enters_on": Field(
            Listing(_EVENT, single=True, least=1, most=20), "The events that may start it.", required=True
        ),
        "where": Field(Expression(), "Who may enter."),
        "reentry": Field(
            Text(
                pattern=r"once|after exit|after [0-9].*|per [A-Za-z_][A-Za-z0-9_]*",
                means="once, after exit, after a duration ('after 7 days'), or per a property ('per cart_id')",
            ),
            "May they enter again, and when; counted from entry.",
            default="after exit",
        ),
        "exits_on": Field(
            Listing(_EVENT, single=True, most=20), "Events after which it has no reason to go on.", default=()
        ),
        "exits_match": Field(
            Text(pattern=r"[A-Za-z_][A-Za-z0-9_]*", means="the name of a property"),
            "A property that must equal the trigger's for an exit or goal to count, such as order_id.",
            default="",
        ),
        "control": Field(
            Either(
                {
                    "text": Text(("launch",), means="launch, a share such as 0.1, or {none: why it is safe}"),
                    "number": Number(0.001, 0.9),
                    "mapping": Record(
                        {
                            "none": Field(
                                Text(means="a reason"), "Why it is safe without a control group.", required=True
                            )
                        },
                        "a journey without control",
                    ),
                },
                "launch, a share such as 0.1, or {none: why it is safe}",
            ),
            "`launch` is an even split until a verdict, then 5 %; or a share; or {none: why it is safe}.",
        ),
        "start": Field(_STEP_NAME, "The first step; if not said, the first one written."),
        "steps": Field(Table(_STEP, names=NAME, means="the name of a step", most=64), "Name to step.", required=True),
    },
    "a journey",
)


def read_journey(root: Node, place: Place, known: Known, version: str) -> Journey:
    """One journey of one file; what is wrong with it is noted at the place."""
    section = JOURNEY.read(root, place)
    purpose: Purpose = section["purpose"] or "marketing"
    steps = _steps(section, known)
    reentry = _reentry(section)
    carries = _carried(section, steps, reentry, known)
    _check_name(section)
    _check_entry(section, known)
    _doubt_carried(section, carries)
    start = _start(section, steps)
    if steps:
        _check_paths(section, steps, start)
    return Journey(
        name=section["journey"] or "",
        version=version,
        stage=section["stage"] or "awareness",
        purpose=purpose,
        lane=_lane(purpose),
        owner=_owner(section),
        goal=section["goal"] or "",
        enters_on=section["enters_on"] or (),
        where=section["where"],
        reentry=reentry,
        exits_on=section["exits_on"],
        exits_match=section["exits_match"],
        control=_control(section, purpose),
        steps=steps,
        start=start,
        carries=carries,
        questions=_questions(section["where"], steps, known),
    )


def _lane(purpose: Purpose) -> Lane:
    return "marketing" if purpose == "marketing" else "owed"


def _owner(section: Section) -> Owner:
    owner = section["owner"]
    return Owner() if owner is None else Owner(owner["business"] or "", owner["technical"] or "", owner["qa"] or "")


def _check_name(section: Section) -> None:
    stem = section.place.file.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    if section["journey"] and section["journey"] != stem:
        section.wrong(
            "journey", f"expected the file's name {stem!r}, found {section['journey']!r}. Rename one of them."
        )


def _check_entry(section: Section, known: Known) -> None:
    check_facts(section["where"], known, section.place, section.at("where"), trigger=True)
    for field in ("enters_on", "exits_on"):
        for name, node in _named(section, field):
            check_event(name, known, section.place, node)
    check_event(section["goal"] or "", known, section.place, section.at("goal"))
    if section["goal"] and section["goal"] in (section["enters_on"] or ()):
        goal = f"the goal {section['goal']!r} also enters the journey and would be reached before it began"
        section.wrong("goal", f"{goal}. Choose a later event.")
    for name, node in _named(section, "exits_on"):
        if name in (section["enters_on"] or ()) and not section["exits_match"]:
            section.place.doubt(node, f"{name!r} both enters and exits. Say what must match with 'exits_match'.")


def _doubt_carried(section: Section, carries: tuple[str, ...]) -> None:
    for event, node in _named(section, "enters_on"):
        usual = VOCABULARY.get(event, ())
        for name in [name for name in carries if usual and name not in usual]:
            doubt = f"the journey reads 'trigger.{name}', which {event!r} does not usually carry"
            section.place.doubt(node, f"{doubt}. {did_you_mean(name, usual)}")


def _named(section: Section, field: str) -> Iterator[tuple[str, Node]]:
    node = section.at(field)
    items = node.value if isinstance(node.value, tuple) else (node,)
    return zip(section[field] or (), items, strict=False)


def _reentry(section: Section) -> Reentry:
    text = section["reentry"]
    if text in ("once", "after exit", ""):
        return Reentry("once" if text == "once" else "after_exit")
    if text.startswith("per "):
        return Reentry("per", key=text[4:])
    span = duration(text[6:])
    if span is None:
        section.wrong("reentry", f"expected a duration after 'after', such as 'after 7 days', found {text[6:]!r}.")
    return Reentry("after", duration=span or timedelta(days=1))


def _control(section: Section, purpose: Purpose) -> Control:
    said = section["control"]
    owed = purpose != "marketing"
    if isinstance(said, Section):
        return Control("none", 0.0, said["none"] or "")
    if owed:
        if "control" in section.nodes:
            section.wrong(
                "control",
                f"a {purpose} message is owed and never held out. Write {{none: why it is safe}}, or leave it out.",
            )
        return Control("none", 0.0, f"{purpose} messages are owed")
    if isinstance(said, int | float):
        return Control("share", float(said))
    if "control" not in section.nodes and section.nodes:
        section.wrong(
            "control", "a marketing journey needs 'control': launch, a share such as 0.1, or {none: why it is safe}."
        )
    return Control("launch", 0.5)


# ------------------------------------------------------------------ steps


def _steps(section: Section, known: Known) -> dict[str, JourneyStep]:
    steps: dict[str, JourneyStep] = {}
    for name, read in (section["steps"] or {}).items():
        if read is not None:
            kind, step = read
            steps[name] = _step(kind, step, section, known)
    if any("end" in _targets(step) for step in steps.values()) and "end" not in steps:
        steps["end"] = End()
    return steps


def _step(kind: str, step: Section, journey: Section, known: Known) -> JourneyStep:
    match kind:
        case "wait":
            for event, node in _until_nodes(step):
                check_event(event, known, step.place, node)
            return Wait(step["wait"] or timedelta(hours=1), step["then"] or "", step["until"])
        case "when":
            check_facts(step["when"], known, step.place, step.at("when"), trigger=True)
            return Branch(step["when"], step["then"] or "", step["otherwise"] or "")
        case "propose":
            actions = tuple(_action(section, journey, known) for section in step["propose"] or ())
            patience = step["patience"] or timedelta(hours=1)
            return Propose(actions, patience, step["then"] or "", step["otherwise"] or "")
    return End(step["end"] or "ended")


def _until_nodes(step: Section) -> Iterator[tuple[str, Node]]:
    keys = step.at("until").keys if "until" in step.nodes else {}
    for event, line in keys.items():
        yield event, Node(event, line)


def _targets(step: JourneyStep) -> tuple[str, ...]:
    match step:
        case Wait(then=then, until=until):
            return (then, *until.values())
        case Branch(then=then, otherwise=otherwise) | Propose(then=then, otherwise=otherwise):
            return (then, otherwise)
        case End():
            return ()


def _immediate(step: JourneyStep) -> tuple[str, ...]:
    # A wait takes time, and so does an event that ends it; everything else may happen in one and the same turn.
    return () if isinstance(step, Wait) else _targets(step)


def _start(section: Section, steps: Mapping[str, JourneyStep]) -> str:
    said = section["start"]
    if said and check_known(said, steps, section.place, section.at("start"), what="the journey starts with step"):
        return cast(str, said)
    return next(iter(steps), "")


def _check_paths(section: Section, steps: Mapping[str, JourneyStep], start: str) -> None:
    nodes = section.at("steps")
    entries = cast("Mapping[str, Node]", nodes.value)
    strays = [
        (name, *stray)
        for name, node in entries.items()
        for stray in _target_nodes(node)
        if stray[1] not in (*entries, "end")
    ]
    for name, field, target, at in strays:
        known = did_you_mean(target, (*entries, "end"))
        section.place.wrong(at, f"step {name!r} goes {field} to {target!r}, which is no step. {known}")
    reached = _reachable(start, steps, _targets)
    for name in entries:
        # Behind a path that leads nowhere, everything is unreached: that says nothing new.
        if name in steps and name not in reached and not strays:
            section.place.wrong(
                nodes.keys[name], f"no path leads from {start!r} to step {name!r}. Lead one there, or delete it."
            )
    for name in entries:
        if name in steps and name in _reachable_after(name, steps):
            section.place.wrong(
                nodes.keys[name], f"step {name!r} leads back to itself without a wait. Put a wait into the circle."
            )


def _target_nodes(step: Node) -> Iterator[tuple[str, str, Node]]:
    fields = step.value if isinstance(step.value, Mapping) else {}
    for field in ("then", "otherwise"):
        if field in fields and isinstance(fields[field].value, str):
            yield field, str(fields[field].value), fields[field]
    until = fields.get("until")
    if until is not None and isinstance(until.value, Mapping):
        for event, node in until.value.items():
            if isinstance(node.value, str):
                yield f"on {event!r}", node.value, node


def _reachable(start: str, steps: Mapping[str, JourneyStep], edges: Any) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in steps and name not in reached:
            reached.add(name)
            waiting.extend(edges(steps[name]))
    return reached


def _reachable_after(name: str, steps: Mapping[str, JourneyStep]) -> set[str]:
    reached: set[str] = set()
    for target in _immediate(steps[name]):
        reached |= _reachable(target, steps, _immediate)
    return reached


# ------------------------------------------------------------------ actions


def _action(section: Section, journey: Section, known: Known) -> Action:
    purpose: Purpose = journey["purpose"] or "marketing"
    channel = section["channel"] or ""
    check_known(channel, known.channels, section.place, section.at("channel"), what="an action uses channel")
    _check_content(section, journey, known)
    for question in section["needs"]:
        what = f"action {section['action']!r} needs an answer to"
        check_known(question, known.questions, section.place, section.at("needs"), what=what)
    for budget in section["spends"]:
        what = f"action {section['action']!r} spends of budget"
        check_known(budget, known.budgets, section.place, section.at("spends"), what=what)
    if section["placement"] and channel != "onsite":
        section.wrong(
            "placement", f"a placement is a place on the site, and this action leaves by {channel!r}. Delete it."
        )
    return Action(
        name=section["action"] or "",
        kind=_kind(section, purpose, known),
        lane="onsite" if channel == "onsite" else _lane(purpose),
        purpose=purpose,
        channel=channel,
        content=section["content"] or "",
        claims=tuple(_claims(section)),
        needs=section["needs"],
        value=float(section["value"]),
        spends=section["spends"],
        journey=journey["journey"] or "",
        placement=section["placement"],
    )


def _kind(section: Section, purpose: str, known: Known) -> Any:
    if section["kind"]:
        return section["kind"]
    content = known.content.get(section["content"] or "")
    if content is not None and content.shows in known.questions:
        return "products"
    return "service" if purpose == "service" else "message"


def _check_content(section: Section, journey: Section, known: Known) -> None:
    name, channel = section["content"] or "", section["channel"] or ""
    action = section["action"] or "?"
    if not name:
        return
    content = known.content.get(name)
    if content is None:
        if not section.place.findings.unread:
            defined = did_you_mean(name, known.content)
            section.wrong("content", f"action {action!r} proposes {name!r}, which no content file defines. {defined}")
        return
    if channel in known.channels and content.channel and content.channel != channel:
        fitting = sorted(other for other, made in known.content.items() if made.channel == channel)
        section.wrong(
            "content",
            f"action {action!r} leaves by {channel!r}, and content {name!r} is made for {content.channel!r}. "
            f"{did_you_mean(name, fitting)}",
        )
    if content.channel == "email" and journey["purpose"] == "marketing" and (shut := _without_way_out(content)):
        section.wrong(
            "content",
            f"content {name!r} is marketing by e-mail and lacks a way out ({', '.join(shut)}). "
            "Put {{ links.unsubscribe }} into it.",
        )


def _without_way_out(content: Content) -> list[str]:
    return [
        f"{part} in {language!r}"
        for language, parts in content.languages.items()
        for part, source in parts.items()
        if part in ("text", "html") and "links.unsubscribe" not in source
    ]


def _claims(section: Section) -> Iterator[Claim]:
    node = section.at("claims")
    items = node.value if isinstance(node.value, tuple) else ()
    for said, at in zip(section["claims"], items, strict=False):
        pairs = said.items() if isinstance(said, dict) else [_halves(said or "")]
        for name, subject in pairs:
            claim = _claim(name, subject, section, at)
            if claim is not None:
                yield claim


def _halves(text: str) -> tuple[str, str]:
    name, _, subject = text.partition(":")
    return name.strip(), subject.strip()


def _claim(name: str, subject: str, section: Section, at: Node) -> Claim | None:
    if name not in CLAIMS:
        if name:
            known = did_you_mean(name, CLAIMS).replace("Defined:", "Known:")
            section.place.wrong(at, f"action {section['action']!r} claims {name!r}, which is no claim. {known}")
        return None
    subjects = CLAIMS[name]
    if subject in subjects and subject != "trigger.":
        return Claim(cast(Any, name), subject)
    if "trigger." in subjects and re.fullmatch(r"trigger\.[A-Za-z_][A-Za-z0-9_]*", subject):
        return Claim(cast(Any, name), subject)
    expected = " or ".join(repr(s + "<property>" if s == "trigger." else s) for s in subjects if s)
    wants = f"expected {expected} after '{name}:'" if expected else f"'{name}' stands alone"
    section.place.wrong(at, f"action {section['action']!r}: {wants}, found {repr(subject) if subject else 'nothing'}.")
    return None


# ------------------------------------------------------------------ what a journey reads


def _conditions(where: Any, steps: Iterable[JourneyStep]) -> Iterator[Any]:
    yield where
    for step in steps:
        if isinstance(step, Branch):
            yield step.when


def _actions(steps: Iterable[JourneyStep]) -> Iterator[Action]:
    for step in steps:
        if isinstance(step, Propose):
            yield from step.actions


def _questions(where: Any, steps: Mapping[str, JourneyStep], known: Known) -> frozenset[str]:
    found: set[str] = set()
    for condition in _conditions(where, steps.values()):
        for name in condition.names if condition is not None else ():
            head, _, rest = name.partition(".")
            found.add(rest if head in ("estimate", "confidence") else "stage" if name == "stage" else "")
    for action in _actions(steps.values()):
        found.update(action.needs)
        content = known.content.get(action.content)
        found.add(content.shows if content is not None else "")
    return frozenset(found & set(known.questions))


def _carried(section: Section, steps: Mapping[str, JourneyStep], reentry: Reentry, known: Known) -> tuple[str, ...]:
    names = {reentry.key, section["exits_match"]}
    for condition in _conditions(section["where"], steps.values()):
        names |= trigger_names(condition)
    for action in _actions(steps.values()):
        names.update(claim.subject[8:] for claim in action.claims if claim.subject.startswith("trigger."))
        content = known.content.get(action.content)
        if content is not None:
            names.update(name[8:] for name in content.reads if name.startswith("trigger."))
            names.add(content.shows[8:] if content.shows.startswith("trigger.") else "")
    return tuple(sorted(names - {""}))
