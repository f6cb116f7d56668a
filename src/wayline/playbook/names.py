"""What a playbook's texts may name: facts, channels, claims, gates, and the tables of what exists so far."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from msgspec import Struct

from wayline.conditions import Condition
from wayline.domain import Content, Facet, Question
from wayline.errors import did_you_mean
from wayline.observation.vocabulary import VOCABULARY
from wayline.playbook.texts import Node, Place

__all__ = [
    "CHANNELS",
    "CLAIMS",
    "FACTS",
    "GATES",
    "NAME",
    "PARTS",
    "PURPOSES",
    "Known",
    "check_event",
    "check_facts",
    "check_known",
    "trigger_names",
]

NAME = r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*"
PURPOSES = ("marketing", "transactional", "service")
CHANNELS = ("email", "sms", "push", "onsite", "webhook", "service")
PARTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # channel: (parts every language needs, parts it may have)
    "email": (("subject", "text"), ("html",)),
    "sms": (("text",), ()),
    "push": (("title", "body"), ()),
    "onsite": (("title", "body"), ("html",)),
    "webhook": (("body",), ()),
    "service": (("body",), ("title",)),
}
CLAIMS: Mapping[str, tuple[str, ...]] = {
    # claim: the subjects it may be about; `trigger.` is a property of what entered the journey
    "cart_open": ("",),
    "in_stock": ("shown", "cart", "trigger."),
    "in_stock_at": ("trigger.",),
    "order_open": ("trigger.",),
    "pickup_ready": ("trigger.",),
}
GATES = ("suppression", "claims", "confidence", "repeat", "caps", "quiet_hours", "budget")
FACTS = ("stage", "match_confidence", "objection", "zone", "language", "now")
_MACHINE_MADE = ("Email Opened",)


class Known(Struct, frozen=True, kw_only=True):
    """What exists in this playbook: what its texts may name."""

    facets: Mapping[str, Facet] = {}
    questions: Mapping[str, Question] = {}
    content: Mapping[str, Content] = {}
    journeys: frozenset[str] = frozenset()
    channels: tuple[str, ...] = CHANNELS
    budgets: Mapping[str, int] = {}
    events: frozenset[str] = frozenset()
    """Internal events that schedules of this playbook make."""
    currency: str = "EUR"
    languages: tuple[str, ...] = ("en",)
    shop: Mapping[str, object] = {}


def check_known(name: str, known: Iterable[str], place: Place, where: Node, *, what: str) -> bool:
    """Whether the name is defined; if not, a problem that lists what is."""
    known = tuple(known)
    if name in known:
        return True
    if name and not place.findings.unread:
        place.wrong(where, f"{what} {name!r}, which is not defined. {did_you_mean(name, known)}")
    return False


def check_facts(condition: Condition | None, known: Known, place: Place, where: Node, *, trigger: bool = False) -> None:
    """Note each name of a condition that no customer can have."""
    if condition is None or place.findings.unread:
        return
    for name in sorted(condition.names):
        reason = _why_no_fact(name, known, trigger)
        if reason:
            place.wrong(where, f"the condition {condition.text!r} reads {name!r}, {reason}")


def _why_no_fact(name: str, known: Known, trigger: bool) -> str:
    head, _, rest = name.partition(".")
    if not rest:
        exists = (*known.facets, *FACTS)
        if name == "stage" and "stage" not in known.questions:
            return "and no question 'stage' is defined. Add it to questions.yaml."
        return "" if name in exists else f"which is no facet and no fact. {did_you_mean(name, exists)}"
    match head:
        case "trait":
            return ""
        case "trigger":
            return "" if trigger else "and only a journey has a trigger. Read a facet."
        case "estimate" | "confidence":
            return "" if rest in known.questions else f"which is no question. {did_you_mean(rest, known.questions)}"
        case "consent":
            return _why_no_consent(rest, known)
    heads = ("trait", "trigger", "estimate", "confidence", "consent")
    return f"and no fact begins with {head!r}. {did_you_mean(head, heads)}"


def _why_no_consent(rest: str, known: Known) -> str:
    channel, _, purpose = rest.partition(".")
    if channel not in known.channels:
        return f"and there is no channel {channel!r}. {did_you_mean(channel, known.channels)}"
    if purpose and purpose not in PURPOSES:
        return f"and there is no purpose {purpose!r}. {did_you_mean(purpose, PURPOSES)}"
    return ""


def check_event(name: str, known: Known, place: Place, where: Node, *, folds: bool = False) -> None:
    """Doubt an event name that nobody is known to send; refuse one that machines make, unless it is only folded."""
    if name in _MACHINE_MADE and not folds:
        place.wrong(
            where, f"journeys never follow {name!r}: mail programs open by themselves. Use 'Email Link Clicked'."
        )
    elif name and name not in VOCABULARY and name not in known.events:
        close = difflib.get_close_matches(name, (*VOCABULARY, *known.events), n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "If a system of yours sends it, all is well."
        place.doubt(where, f"no known system sends the event {name!r}. {hint}")


def trigger_names(condition: Condition | None) -> frozenset[str]:
    """The properties of the triggering event that a condition reads."""
    if condition is None:
        return frozenset()
    return frozenset(name[8:] for name in condition.names if name.startswith("trigger."))
