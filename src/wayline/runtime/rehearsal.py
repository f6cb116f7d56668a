"""Rehearsal: an author's stories, played through the real engine in memory, with a clock that jumps.

Nothing here is a model of the engine: the same collector reads the events, the same loop decides and hands over, and a
dry-run channel keeps what would have left. What differs is who is in which arm (the story says) and that the shelf is
told anew twice a day, as a shop's feed would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import replace

from wayline import domain
from wayline.channels.dryrun import DryRun
from wayline.domain import Control, Decision, Identifier, Journey, Message, Playbook, Verdict
from wayline.errors import AuthorError, Problem
from wayline.observation.catalog import from_rows
from wayline.playbook import check_playbook
from wayline.playbook.names import CHANNELS
from wayline.playbook.stories import (
    Ask,
    Beat,
    Expectation,
    Happening,
    Look,
    Pause,
    Person,
    Stock,
    Story,
    read_stories,
)
from wayline.playbook.texts import Findings
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.embedded import Embedded
from wayline.runtime.schedules import Schedules
from wayline.store import Batch, Delivery
from wayline.store.opening import open_store

__all__ = ["Rehearsed", "rehearse", "rehearse_story"]

_FEED_EVERY = timedelta(hours=12)
_SECOND = timedelta(seconds=1)
_STEPS_MAX = 20_000  # instants one story may stop at: a year of hours, and some


class Rehearsed(Struct, frozen=True):
    """How one story went: as expected, or the places where it did not."""

    story: Story
    problems: tuple[Problem, ...]

    @property
    def is_fine(self) -> bool:
        """Whether everything came as expected."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        said = [{"file": problem.file, "line": problem.line, "text": problem.text} for problem in self.problems]
        return {"file": self.story.file, "line": self.story.line, "story": self.story.name, "problems": said}


def rehearse(files: Mapping[str, str], *, only: str = "") -> tuple[Rehearsed, ...]:
    """Compile a playbook and play each story of its `tests/` whose file or name contains `only`.

    Raises AuthorError if the playbook or a story does not compile.
    """
    checked = check_playbook(files)
    if checked.playbook is None:
        raise AuthorError(checked.problems)
    findings = Findings()
    stories = read_stories(files, checked.playbook, findings)
    if findings.problems:
        raise AuthorError(sorted(findings.problems, key=lambda problem: (problem.file, problem.line)))
    return tuple(
        rehearse_story(story, checked.playbook) for story in stories if only in story.file or only in story.name
    )


def rehearse_story(story: Story, playbook: Playbook) -> Rehearsed:
    """Play one story from its first beat to its last, whatever does not come as expected on the way."""
    stage = _Stage(story, _cast(playbook, story))
    for beat in story.beats:
        stage.play(beat)
    return Rehearsed(story, tuple(stage.problems))


def _cast(playbook: Playbook, story: Story) -> Playbook:
    """The playbook with everybody in the arm of the story, and its budgets."""

    def placed(journey: Journey) -> Journey:
        if journey.lane == "owed":
            return journey
        control = Control("share", 1.0) if story.arm == "control" else Control("none", 0.0, "a rehearsal")
        return replace(journey, control=control)

    budgets = {**playbook.settings.get("budgets", {}), **story.budgets}
    return replace(
        playbook,
        journeys={version: placed(journey) for version, journey in playbook.journeys.items()},
        current={name: placed(journey) for name, journey in playbook.current.items()},
        entering={event: tuple(map(placed, journeys)) for event, journeys in playbook.entering.items()},
        policy=replace(playbook.policy, holdout=0.0),
        settings={**playbook.settings, "budgets": budgets},
    )


class _Seen(Struct, frozen=True):
    """A message that left, was withheld, or was shown."""

    decision: Decision
    who: str
    texts: str


class _Held(Struct, frozen=True):
    """An action that something refused."""

    action: domain.Action
    who: str
    gate: str
    reason: str


class _Stage:
    """The world of one story while it is played."""

    def __init__(self, story: Story, playbook: Playbook) -> None:
        self.story = story
        self.playbook = playbook
        self.now = story.starts_at
        self.problems: list[Problem] = []
        self.store = open_store()
        self.available = {str(row["sku"]): row["available"] for row in story.shelf if row["available"] is not None}
        self._stock_the_shelf()
        self.channel = DryRun(clock=lambda: self.now)
        channels = {name: self.channel for name in CHANNELS}
        self.loop = Embedded(self.store.log, self.store.state, self.store.vault, playbook, channels)
        self.collector = Collector(
            self.store.log, self.store.vault, currency=playbook.currency, signals=playbook.signals
        )
        self.schedules = Schedules(self.loop)
        self.sent_count = self.asked_count = 0
        self.fed_at = self.now
        self.looked_at: dict[str, str] = {}
        self.counted: dict[str, int] = {}
        self._introduce(story.people)

    # ------------------------------------------------------------------ what happens

    def play(self, beat: Beat) -> None:
        """One beat of the story."""
        match beat:
            case Happening():
                self._happen(beat)
            case Pause():
                self._advance(self.now + beat.duration)
            case Stock():
                self.available.update(beat.available)
                # Of two counts of one instant the smaller stands, and the feed may have spoken just now.
                self.now += _SECOND
                self._feed(beat.available)
                self._settle()
            case Ask():
                self._ask(beat)
            case Expectation():
                self._look(beat)
            case _:
                assert_never(beat)

    def _stock_the_shelf(self) -> None:
        rows = [{name: value for name, value in row.items() if value not in (None, "")} for row in self.story.shelf]
        url = str(self.playbook.settings.get("shop", {}).get("url", "https://shop.example"))
        rows = [{"url": f"{url}/p/{row['sku']}", **row} for row in rows]
        products = from_rows(rows, currency=self.playbook.currency, as_of=self.now)
        self.store.state.commit(Batch(products=list(products)))

    def _introduce(self, people: Iterable[Person]) -> None:
        before = self.now - timedelta(days=30)
        messages: list[dict[str, Any]] = []
        for person in people:
            traits = {"email": person.email, "phone": person.phone, "firstName": person.first_name,
                      "language": person.language, "timezone": person.zone}  # fmt: skip
            context = {"device": {"token": f"push-{person.name}"}} if person.push else {}
            identity = {"traits": {name: value for name, value in traits.items() if value}, "context": context}
            messages.append(self._message("identify", person.name, before, identity))
            for channel in person.consent:
                granted = {"channel": channel, "purpose": "marketing", "method": "form", "wording_version": "1"}
                happened = {"event": "Consent Granted", "properties": granted}
                messages.append(self._message("track", person.name, before, happened))
        self._collect(messages, "setup", fires=False)
        self._settle()

    def _message(self, kind: str, who: str, at: datetime, told: Mapping[str, Any]) -> dict[str, Any]:
        self.sent_count += 1
        return {
            "type": kind,
            "messageId": f"beat-{self.sent_count}",
            "userId": who,
            "timestamp": at.isoformat(),
            **told,
        }

    def _happen(self, beat: Happening) -> None:
        at = self.now - (beat.ago or beat.late or timedelta(0))
        kind = "identify" if beat.event == "Identify" else "track"
        told: dict[str, Any] = {"event": beat.event, "properties": beat.properties}
        if kind == "identify":
            told = {"traits": beat.properties}
        message = self._message(kind, beat.who, at, told)
        if beat.device:
            message["anonymousId"] = f"{beat.who}-{beat.device}"
            # A device that is not logged in knows no name; identifying is what tells it.
            if kind != "identify":
                del message["userId"]
        if beat.event_id:
            message["messageId"] = beat.event_id
        rejected = self._collect([message], beat.source, fires=beat.ago is None)
        for reason in rejected:
            self._wrong(beat.line, f"the event {beat.event!r} is rejected: {reason}")
        self._settle()

    def _collect(self, messages: Sequence[Mapping[str, Any]], source: str, *, fires: bool = True) -> list[str]:
        delivered = Delivered(messages, source, self.now, fires=fires)
        return [rejection.reason for rejection in self.collector.collect(delivered).rejected]

    def _feed(self, available: Mapping[str, int]) -> None:
        self.fed_at = self.now
        told = [
            self._message("track", "shop", self.now, {"event": "Inventory Changed", "properties": properties})
            for properties in ({"sku": sku, "available": count} for sku, count in available.items())
        ]
        for message in told:
            del message["userId"]  # the shelf is nobody's
        self._collect(told, "shop-feed")

    def _settle(self) -> None:
        scheduled = self.schedules.events(self.now)
        if scheduled:
            self.store.log.append(scheduled)
        self.loop.drain(self.now)

    def _advance(self, until: datetime) -> None:
        for _ in range(_STEPS_MAX):
            if self.now >= until:
                return
            due = self.store.state.next_due()
            soon = [until, self.fed_at + _FEED_EVERY, self.now + timedelta(hours=1)]
            self.now = min([*soon, *([] if due is None else [max(due, self.now + _SECOND)])])
            if self.now - self.fed_at >= _FEED_EVERY:
                self._feed(self.available)
            self._settle()
        self._wrong(self.story.line, f"the story stops at more than {_STEPS_MAX} instants. Make it shorter.")

    def _ask(self, beat: Ask) -> None:
        self.asked_count += 1
        request = domain.Ask(f"ask-{self.asked_count}", beat.placement)
        turn = self.loop.ask(self._customer_id(beat.who), request, self.now)
        shown = [self._seen(decision) for decision in turn.decisions if decision.action is not None]
        self._note(turn.decisions)
        self._compare(beat.line, "shown", beat.shown, shown, self._refused(turn.decisions))
        self._settle()

    # ------------------------------------------------------------------ what is looked at

    def _look(self, expected: Expectation) -> None:
        deliveries = self._fresh_deliveries()
        decisions = [d for d in self.store.state.decisions() if self.counted.get(d.decision_id) != d.count]
        self._note(decisions)
        held = [*self._refused(decisions), *map(self._refused_late, deliveries.get("refused", ()))]
        for kind, looks in (("sent", expected.sent), ("withheld", expected.withheld)):
            if looks is not None:
                self._compare(expected.line, kind, looks, [self._left(row) for row in deliveries.get(kind, ())], held)
        for look in expected.held:
            if not any(_is_held(look.said, one) for one in held):
                came = "; ".join(map(_said_held, held)) or "nothing was refused"
                self._wrong(look.line, f"expected to be held: {_words(look.said)}; came: {came}.")
        for journey, step in expected.inside.items():
            self._compare_step(expected, journey, step)

    def _fresh_deliveries(self) -> dict[str, list[Delivery]]:
        fresh: dict[str, list[Delivery]] = {}
        for row in self.store.state.deliveries():
            if self.looked_at.get(row.decision_id) != row.state:
                self.looked_at[row.decision_id] = row.state
                fresh.setdefault(row.state, []).append(row)
        return fresh

    def _note(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            self.counted[decision.decision_id] = decision.count

    def _left(self, row: Delivery) -> _Seen:
        decision = self.store.state.decision(row.decision_id)
        assert decision is not None, f"delivery {row.decision_id} has no decision"
        return self._seen(decision)

    def _seen(self, decision: Decision) -> _Seen:
        message = self.loop.outbox.rendering.message(decision, self.loop.customer(decision.customer_id))
        texts = "\n".join(message.parts.values()) if isinstance(message, Message) else ""
        return _Seen(decision, self._name(decision.customer_id), texts)

    def _refused(self, decisions: Iterable[Decision]) -> list[_Held]:
        return [
            _Held(verdict.action, self._name(decision.customer_id), verdict.gate or "", _reason(verdict))
            for decision in decisions
            for verdict in decision.considered
            if verdict.refusal is not None
        ]

    def _refused_late(self, row: Delivery) -> _Held:
        seen = self._left(row)
        assert seen.decision.action is not None
        gate, _, reason = row.detail.partition(": ")
        return _Held(seen.decision.action, seen.who, gate, reason or row.detail)

    def _compare(
        self, line: int, kind: str, looks: Sequence[Look], seen: Sequence[_Seen], held: Sequence[_Held]
    ) -> None:
        left = list(seen)
        missing = []
        for look in looks:
            found = next((one for one in left if _is_seen(look.said, one)), None)
            if found is None:
                missing.append(look)
            else:
                left.remove(found)
        came = "; ".join(map(_said_seen, left)) or f"nothing was {kind}"
        for look in missing:
            why = "; ".join(_said_held(one) for one in held if _is_near(look.said, one))
            self._wrong(
                look.line, f"expected {kind}: {_words(look.said)}; came: {came}." + (f" Held: {why}." if why else "")
            )
        if left and not missing:
            said = "nothing else" if looks else "nothing"
            self._wrong(line, f"expected {said} {kind}; came: {came}.")

    def _compare_step(self, expected: Expectation, journey: str, step: str) -> None:
        customer = self.loop.customer(self._customer_id(expected.who))
        inside = [e.step for e in customer.standing.enrollments if e.journey == journey and e.is_open]
        if (step == "out" and inside) or (step != "out" and step not in inside):
            came = " and ".join(map(repr, inside)) or "out"
            self._wrong(expected.line, f"expected {expected.who} in step {step!r} of {journey}; came: {came}.")

    # ------------------------------------------------------------------ who is who

    def _customer_id(self, who: str) -> str:
        handle = Identifier("user_id", self.store.vault.keyed("user_id", who))
        return self.store.state.resolve([handle]).get(handle, who)

    def _name(self, customer_id: str) -> str:
        survivor = self.store.state.survivor(customer_id)
        return next((p.name for p in self.story.people if self._customer_id(p.name) == survivor), customer_id)

    def _wrong(self, line: int, text: str) -> None:
        self.problems.append(Problem(self.story.file, line, f"{self.story.name}: {text}"))


# ------------------------------------------------------------------ likeness, and words for it


def _is_action(said: Mapping[str, Any], action: domain.Action, who: str) -> bool:
    facts = {"journey": action.journey, "action": action.name, "channel": action.channel, "content": action.content,
             "shows": action.shows, "who": who}  # fmt: skip
    return all(facts[field] == wanted for field, wanted in said.items() if field in facts)


def _is_seen(said: Mapping[str, Any], seen: _Seen) -> bool:
    action = seen.decision.action
    return (
        action is not None
        and _is_action(said, action, seen.who)
        and all(text in seen.texts for text in said.get("says", ()))
    )


def _is_held(said: Mapping[str, Any], held: _Held) -> bool:
    is_gate = said.get("gate", held.gate) == held.gate
    return is_gate and _is_action(said, held.action, held.who) and said.get("because", "") in held.reason


def _is_near(said: Mapping[str, Any], held: _Held) -> bool:
    near = {field: wanted for field, wanted in said.items() if field in ("journey", "who")}
    return _is_action(near, held.action, held.who)


def _reason(verdict: Verdict) -> str:
    assert verdict.refusal is not None
    until = f", until {verdict.refusal.until:%d %b %H:%M} UTC" if verdict.refusal.until else ""
    return f"{verdict.refusal.reason}: {verdict.refusal.fact}{until}"


def _words(said: Mapping[str, Any]) -> str:
    def spoken(value: Any) -> str:
        return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return ", ".join(f"{field} {spoken(value)}" for field, value in said.items())


def _said_seen(seen: _Seen) -> str:
    action = seen.decision.action
    assert action is not None
    shows = f", showing {', '.join(action.shows)}" if action.shows else ""
    return f"{action.name} of {action.journey} by {action.channel} ({action.content}{shows}) to {seen.who}"


def _said_held(held: _Held) -> str:
    action = held.action
    return f"{action.name} of {action.journey} by {action.channel} to {held.who} at {held.gate}: {held.reason}"
