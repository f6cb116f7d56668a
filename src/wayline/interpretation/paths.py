"""Property paths: how a declaration names a part of an event, and what of it may be remembered.

A path is a property name, `outer.inner`, `products[].sku` (one value for each product) or `$name`, the event's own
name. Only plain values are remembered, and only so much of them: a facet is bounded whatever a sender sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from wayline.domain import Event, Facts

__all__ = [
    "ELEMENTS_MAX",
    "TEXT_MAX",
    "WHOLE_MAX",
    "Elements",
    "clean",
    "column",
    "elements_of",
    "facts_of",
    "getter",
    "list_of",
    "parts_of",
]

TEXT_MAX = 256  # characters of a remembered text
ELEMENTS_MAX = 100  # elements of a list that count, such as the products of one order
WHOLE_MAX = 2**53  # whole numbers beyond this are not whole in every engine that reads them

Elements: TypeAlias = Callable[[Event], Sequence[list[Any]]]

_EVENT_NAME = "$name"


def clean(value: Any) -> Any:
    """The value as it may be remembered, or None: text, numbers, true and false; a whole float is a whole number."""
    kind = type(value)
    if kind is str:
        return value if len(value) <= TEXT_MAX else value[:TEXT_MAX]
    if kind is int:
        return value if -WHOLE_MAX <= value <= WHOLE_MAX else None
    if kind is bool:
        return value
    if kind is float:
        return _clean_float(value)
    return None


def _clean_float(value: float) -> float | int | None:
    if not abs(value) <= WHOLE_MAX:  # not a number fails every comparison
        return None
    return int(value) if value.is_integer() else value


def column(path: str) -> str:
    """What a path is called in rows and conditions: its last part; `$name` is `event`."""
    return "event" if path == _EVENT_NAME else path.rsplit(".", 1)[-1].removesuffix("[]")


def parts_of(key: str) -> tuple[str, ...]:
    """The paths a key is joined of."""
    return tuple(part.strip() for part in key.split("+") if part.strip())


def list_of(paths: Iterable[str]) -> str:
    """The list these paths fan out over (`products` of `products[].sku`), or the empty text if none does."""
    for path in paths:
        if "[]" in path:
            return path.split("[]", 1)[0]
    return ""


def _raw(properties: Any, names: Sequence[str]) -> Any:
    for name in names:
        if not isinstance(properties, Mapping):
            return None
        properties = properties.get(name)
    return properties


def getter(path: str) -> Callable[[Event], Any]:
    """How to read one value of an event: a path that does not fan out, compiled."""
    if path == _EVENT_NAME:
        return lambda event: event.name
    if "." not in path:
        return lambda event: clean(event.properties.get(path))
    names = path.split(".")
    return lambda event: clean(_raw(event.properties, names))


def _inner(path: str) -> Callable[[Event, Any], Any]:
    """How to read one value of an element of the list, or of the event around it."""
    if "[]" not in path:
        outer = getter(path)
        return lambda event, element: outer(event)
    names = [name for name in path.split("[]", 1)[1].split(".") if name]
    return lambda event, element: clean(_raw(element, names))


def elements_of(paths: Sequence[str]) -> Elements:
    """How to read these paths of an event: one list of values, or one for each element of the list they fan out over.

    An event without such a list counts as a list of itself, so one path serves an order and a product view.
    """
    over = list_of(paths)
    if not over:
        getters = [getter(path) for path in paths]
        return lambda event: ([get(event) for get in getters],)
    names = over.split(".")
    inner = [_inner(path) for path in paths]

    def elements(event: Event) -> Sequence[list[Any]]:
        found = _raw(event.properties, names)
        listed = found[:ELEMENTS_MAX] if isinstance(found, list | tuple) else (event.properties,)
        return [[get(event, element) for get in inner] for element in listed]

    return elements


def facts_of(event: Event) -> Facts:
    """What a condition may read of an event: its properties by name, and its own name as `event`."""
    properties = event.properties

    def fact(name: str) -> Any:
        if name == "event":
            return event.name
        return clean(properties.get(name) if "." not in name else _raw(properties, name.split(".")))

    return fact
