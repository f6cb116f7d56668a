"""The memory of a customer: identifiers, traits, consents and facets, folded from what happened.

Like the facets, everything here is a function of the set of events and not of their order. Traits are registers: the
newest statement stands. Identifiers are kept by when they were last used, newest last, so that the last of a kind is
where this person can be reached now. _Consents are two instants each, and only ever move forward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from wayline.domain import Consent, Event, Facet, Identifier, Memory, Playbook, Register
from wayline.interpretation import facets
from wayline.interpretation.paths import clean
from wayline.interpretation.readings import EPOCH
from wayline.observation.claims import UNVERIFIED, is_mere_withdrawal
from wayline.observation.feedback import REPORTS, is_automated
from wayline.observation.vocabulary import DOCUMENTS

__all__ = ["IDENTIFIERS_MAX", "OBJECTION", "TRAITS_MAX", "fold", "merge_memories"]

IDENTIFIERS_MAX = 50  # handles remembered of one person, those used last
TRAITS_MAX = 100  # traits remembered of one person, those stated last

_USED = "@identifiers"  # among the facet states, since it is one; no facet can be called so
_Consents: TypeAlias = Mapping[str, Consent]

_FROM_CONTEXT: Mapping[str, str] = {"timezone": "device_timezone", "locale": "device_locale"}
"""What a device says of its owner; what people say of themselves is another trait and goes first."""


def fold(memory: Memory, event: Event, playbook: Playbook) -> Memory:
    """What we remember after this event: of what a machine made, nothing; of a mere withdrawal, that."""
    if is_automated(event):
        return memory
    states = memory.facets
    touched = playbook.folding.get(event.name)
    if touched is not None:
        states = facets.fold(states, event, touched)
    identifiers = memory.identifiers
    is_bare = is_mere_withdrawal(event)
    if event.identifiers and event.name not in REPORTS and not is_bare:
        states = _used(states, event)
        identifiers = _by_use(states[_USED], identifiers, event)
    consent = _CONSENTS.get(event.name)
    return Memory(
        identifiers,
        _traits(memory.traits, event) if event.kind == "identify" or (event.context and not is_bare) else memory.traits,
        memory.consents if consent is None else consent(memory.consents, event),
        states,
        max(memory.position, event.position),
    )


def merge_memories(a: Memory, b: Memory, playbook: Playbook) -> Memory:
    """What folding the events of both would have given."""
    declared: tuple[Facet, ...] = tuple(playbook.facets.values())
    states = dict(facets.merge(a.facets, b.facets, declared))
    used = dict(a.facets.get(_USED) or {})
    for key, at in (b.facets.get(_USED) or {}).items():
        used[key] = max(at, used.get(key, at))
    if used:
        states[_USED] = _newest_uses(used)
    traits = dict(a.traits)
    for name, register in b.traits.items():
        if name not in traits or register.stamp > traits[name].stamp:
            traits[name] = register
    consents = dict(a.consents)
    for key, consent in b.consents.items():
        consents[key] = _both(consents[key], consent) if key in consents else consent
    identifiers = _ordered(states.get(_USED) or {})
    return Memory(identifiers, _newest_traits(traits), consents, states, max(a.position, b.position))


# ------------------------------------------------------------------ identifiers, by when they were last used


def _used(states: Mapping[str, Any], event: Event) -> Mapping[str, Any]:
    before: Mapping[str, Any] = states.get(_USED) or {}
    after: dict[str, Any] | None = None
    at = [event.occurred_at, event.source, event.event_id]
    for identifier in event.identifiers:
        key = _key_of(identifier)
        known = before.get(key)
        if known is None or known < at:
            if after is None:
                after = dict(before)
            after[key] = at
    if after is None:
        return states
    return {**states, _USED: _newest_uses(after)}


def _newest_uses(used: dict[str, Any]) -> dict[str, Any]:
    if len(used) <= IDENTIFIERS_MAX:
        return used
    # Orders and carts leave first: one has any number of them, and is reached by none.
    newest = sorted(used, key=lambda key: (key.partition(":")[0] not in DOCUMENTS, used[key], key))[-IDENTIFIERS_MAX:]
    return {key: used[key] for key in newest}


def _by_use(used: Mapping[str, Any], before: tuple[Identifier, ...], event: Event) -> tuple[Identifier, ...]:
    # Who comes back by the same handles as last time, which is nearly always, moves nothing.
    latest = event.identifiers if len(event.identifiers) == 1 else tuple(sorted(event.identifiers, key=_key_of))
    return before if before[-len(latest) :] == latest else _ordered(used)


def _key_of(identifier: Identifier) -> str:
    return f"{identifier.kind}:{identifier.value}"


def _ordered(used: Mapping[str, Any]) -> tuple[Identifier, ...]:
    ordered = sorted(used, key=lambda key: (used[key], key))
    return tuple(Identifier(*key.split(":", 1)) for key in ordered)


# ------------------------------------------------------------------ traits, by when they were last stated


def _traits(traits: Mapping[str, Register], event: Event) -> Mapping[str, Register]:
    stated = dict(event.properties) if event.kind == "identify" else {}
    for told, trait in _FROM_CONTEXT.items():
        if isinstance(event.context.get(told), str):
            stated[trait] = event.context[told]
    stamp = event.stamp
    after: dict[str, Register] | None = None
    for name, value in stated.items():
        remembered = clean(value)
        # A null takes the trait back; a value that cannot be remembered says nothing.
        if remembered is None and value is not None:
            continue
        known = traits.get(name)
        if known is None or known.stamp < stamp:
            after = dict(traits) if after is None else after
            after[name] = Register(stamp, remembered)
    return traits if after is None else _newest_traits(after)


def _newest_traits(traits: dict[str, Register]) -> dict[str, Register]:
    if len(traits) <= TRAITS_MAX:
        return traits
    newest = sorted(traits, key=lambda name: (traits[name].stamp, name))[-TRAITS_MAX:]
    return {name: traits[name] for name in newest}


# ------------------------------------------------------------------ consents


def _both(a: Consent, b: Consent) -> Consent:
    """The later grant and the later withdrawal of two; of equal grants, one by its own words and never by arrival."""
    granted = max((a, b), key=_grant_order)
    withdrawals = [at for at in (a.withdrawn_at, b.withdrawn_at) if at is not None]
    return Consent(granted.granted_at, max(withdrawals, default=None), granted.wording_version, granted.method)


def _grant_order(consent: Consent) -> tuple[bool, datetime, str, str]:
    granted = consent.granted_at
    return (granted is not None, granted or EPOCH, consent.wording_version, consent.method)


def _with(consents: _Consents, key: str, consent: Consent) -> _Consents:
    known = consents.get(key)
    return {**consents, key: consent if known is None else _both(known, consent)}


def _text(event: Event, name: str) -> str:
    value = clean(event.properties.get(name))
    return value if isinstance(value, str) else ""


def _key(event: Event) -> str:
    """`channel:purpose`; all channels and marketing where nothing is said."""
    return f"{_text(event, 'channel') or 'all'}:{_text(event, 'purpose') or 'marketing'}"


OBJECTION = "all:objection"
"""Key of the objection to direct marketing: itself a grant, of being left alone."""


def _granted(consents: _Consents, event: Event) -> _Consents:
    at = min(event.occurred_at, event.received_at)
    key = _key(event)
    if key == "all:marketing":
        # Saying yes to everything lifts an objection, and grants no channel: each needs its own yes.
        return _with(consents, OBJECTION, Consent(withdrawn_at=at))
    return _with(consents, key, Consent(at, None, _text(event, "wording_version"), _text(event, "method")))


def _withdrawn_at(event: Event) -> datetime:
    """When we heard of it, whatever anybody's clock says; but a system that keeps consents says when it was."""
    told = event.properties.get("as_of") if UNVERIFIED not in event.notes else None
    return min(datetime.fromisoformat(told), event.received_at) if isinstance(told, str) else event.received_at


def _withdrawn(consents: _Consents, event: Event) -> _Consents:
    key = _key(event)
    if key == "all:marketing":
        # An objection to direct marketing is itself a grant: of being left alone.
        return _with(consents, OBJECTION, Consent(_withdrawn_at(event), None, "", _text(event, "method")))
    return _with(consents, key, Consent(withdrawn_at=_withdrawn_at(event)))


def _unsubscribed(consents: _Consents, event: Event) -> _Consents:
    channel = _text(event, "channel") or "email"
    return _with(consents, f"{channel}:marketing", Consent(withdrawn_at=event.received_at))


_CONSENTS: Mapping[str, Callable[[_Consents, Event], _Consents]] = {
    "Consent Granted": _granted,
    "Consent Withdrawn": _withdrawn,
    "Unsubscribed": _unsubscribed,
    "Email Marked as Spam": _unsubscribed,
}
