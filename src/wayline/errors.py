"""The errors Wayline raises, split by who can put them right.

WaylineError
├── SenderError        the system that sent data: one event, row or request is wrong
│   └── Rejected       a typed verdict on one event; it is kept with its reason while its neighbours pass
├── AuthorError        the author of a playbook or mapping: the text does not compile
├── OperatorError      whoever runs this instance: a disk, a port, a lock, a provider
│   ├── StoreUnavailable   the disk is full or failing, nothing was acknowledged
│   └── StoreLocked        another process owns the folder
└── Broken             only we can break this: an invariant does not hold

Every message says where, what was expected, what came, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "AuthorError",
    "Broken",
    "OperatorError",
    "Problem",
    "Rejected",
    "SenderError",
    "StoreLocked",
    "StoreUnavailable",
    "WaylineError",
    "did_you_mean",
    "kind_of",
    "why_no_json",
]


class WaylineError(Exception):
    """Root of everything Wayline raises on purpose."""


class SenderError(WaylineError):
    """The data sent cannot be used; the sender can fix it."""


class Rejected(SenderError):
    """A verdict on one event: `code` for machines, `field` where, `reason` with the way out."""

    def __init__(self, code: str, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.code = code
        self.field = field
        self.reason = reason


class Problem:
    """One thing wrong in a text: file, line, and a sentence that ends with the way out."""

    __slots__ = ("file", "line", "text")

    def __init__(self, file: str, line: int, text: str) -> None:
        self.file = file
        self.line = line
        self.text = text

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"

    def __repr__(self) -> str:
        return f"Problem({str(self)!r})"


class AuthorError(WaylineError):
    """A playbook or mapping does not compile; `problems` holds every reason at once."""

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        self.problems = () if isinstance(problems, str) else tuple(problems)
        super().__init__(problems if isinstance(problems, str) else "\n".join(map(str, self.problems)))


class OperatorError(WaylineError):
    """Something about this installation; whoever runs it can fix it."""


class StoreUnavailable(OperatorError):
    """The store could not write durably; nothing of the attempt was acknowledged."""


class StoreLocked(OperatorError):
    """Another process owns this folder."""


class Broken(WaylineError, AssertionError):
    """An invariant of ours does not hold: a defect to report, never something to retry."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The closing half of an error: what exists, and the closest of it to what came."""
    names = sorted(known)
    if not names:
        return "None is defined."
    listed = ", ".join(repr(name) for name in names[:12]) + (", ..." if len(names) > 12 else "")
    close = difflib.get_close_matches(word, names, n=1)
    return f"Defined: {listed}." + (f" Did you mean {close[0]!r}?" if close else "")


def kind_of(value: Any) -> str:
    """What a value from outside is, in the words of JSON and not of Python."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true or false"
    kinds = ((str, "text"), (int | float, "a number"), (list | tuple, "a list"), (Mapping, "an object"))
    return next((said for kind, said in kinds if isinstance(value, kind)), type(value).__name__)


def why_no_json(error: Exception) -> str:
    """Why a text could not be read as JSON, without what the reader says to its programmer."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    said = str(error)
    return "a number in it has too many digits" if "int_max_str_digits" in said else said
