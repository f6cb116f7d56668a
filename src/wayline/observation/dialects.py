"""Calls that other clients make in shapes of their own, told as the messages they mean.

RudderStack's `merge` names several identifiers of one person; here it is an alias, which links what may be linked and
never makes one person of two known ones. A pixel is a message in the query of an address: each parameter a field, dots
leading into objects.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["alias_of", "pixel_of"]

_MERGED: Final = {"user_id": "userId", "userid": "userId", "anonymous_id": "anonymousId", "anonymousid": "anonymousId"}
_ADDRESSES: Final = {"email": "email", "phone": "phone", "mobile": "phone"}
_MERGED_MAX: Final = 16  # identifiers in one merge
_FIELDS_MAX: Final = 200  # parameters read of a pixel
_STEPS_MAX: Final = 8  # objects one parameter leads into
_OBJECTS: Final = frozenset({"properties", "context", "traits", "integrations"})


def alias_of(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """A `merge` as the alias it means: its identifiers stand where those of every message stand."""
    told = {key: value for key, value in raw.items() if key != "mergeProperties"}
    context = told.get("context")
    context = dict(context) if isinstance(context, Mapping) else {}
    traits = context.get("traits")
    traits = dict(traits) if isinstance(traits, Mapping) else {}
    external = context.get("externalIds")
    external = list(external) if isinstance(external, list) else []
    merged = raw.get("mergeProperties")
    for entry in merged[:_MERGED_MAX] if isinstance(merged, list) else ():
        if not isinstance(entry, Mapping):
            continue
        kind, value = str(entry.get("type", "")).lower(), entry.get("value")
        if kind in _MERGED:
            told.setdefault(_MERGED[kind], value)
        elif kind in _ADDRESSES:
            traits.setdefault(_ADDRESSES[kind], value)
        else:
            external.append({"type": kind, "id": value})
    told["context"] = context | ({"traits": traits} if traits else {}) | ({"externalIds": external} if external else {})
    return {**told, "type": "alias"}


def pixel_of(kind: str, query: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The message in a pixel's query; `data` may hold a whole one, as JSON in base64."""
    told: dict[str, Any] = {}
    for place, (name, value) in enumerate(query):
        if place >= _FIELDS_MAX:
            break
        if name == "data":
            told |= _whole(value)
        elif name not in ("writeKey", "strict"):
            _put(told, name, value)
    if kind == "page" and "name" not in told:
        told.setdefault("name", "Unknown Page")  # what RudderStack calls a page that has no name
    return {**told, "type": kind}


def _whole(value: str) -> dict[str, Any]:
    try:
        said = json.loads(base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_"))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _put(told: dict[str, Any], name: str, value: str) -> None:
    *steps, last = name.split(".", _STEPS_MAX)
    at: Any = told
    for step in steps:
        at = at.setdefault(step, {})
        if not isinstance(at, dict):
            return
    at[last] = _object(value) if not steps and last in _OBJECTS else value


def _object(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
