"""The condition language: a small, closed part of SQL's WHERE with one meaning in Python and in SQL.

A condition is text that sqlglot reads and that is then lowered into the twelve node kinds below; whatever does not
fit one of them is refused with its column and a way out, so nothing an author writes is ever executed as code. One
tree has four readings: closures that answer for one customer (`evaluate`), SQL that answers for all of them (`sql`),
the instant at which time alone turns the answer (`flips_at`), and words (`explain`). A law holds the first two equal.

Five kinds of value exist: number, text, truth, instant and duration. Values of different kinds are never compared:
the answer is unknown, as it is for a missing value, and three-valued logic carries it on as SQL does. Three choices
keep the engines equal. Numbers are IEEE doubles, finite ones; NaN and infinities are unknown. Instants and durations
are whole microseconds, a day is 24 hours, and an instant without a zone is unknown. Text compares by code point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from wayline.conditions.amounts import in_minor_units
from wayline.conditions.answers import Answer, Facts, Moving, answer, crossings, moving
from wayline.conditions.dialects import DIALECTS, compiled
from wayline.conditions.reading import read
from wayline.conditions.reasons import reasons
from wayline.conditions.refusals import ConditionError
from wayline.conditions.tree import Node, names_in

__all__ = ["Condition", "ConditionError", "parse"]


class Condition:
    """A compiled condition: immutable, equal and hashable by its text and the amounts in it."""

    __slots__ = ("_answer", "_moving", "_tree", "amounts", "names", "text")

    text: str
    names: frozenset[str]
    """The dotted names it reads; `now` is among them where the answer depends on time."""

    amounts: tuple[tuple[str, int], ...]
    """The names in it that hold money in minor units, with the digits behind the point."""

    def __init__(self, text: str, tree: Node, amounts: tuple[tuple[str, int], ...] = ()) -> None:
        for name, value in (
            ("text", text),
            ("amounts", amounts),
            ("names", frozenset(names_in(tree))),
            ("_tree", tree),
            ("_answer", answer(tree)),
            ("_moving", tuple(moving(tree))),
        ):
            object.__setattr__(self, name, value)

    _tree: Node
    _answer: Answer
    _moving: tuple[Moving, ...]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a condition never changes: cannot set {name!r}; parse another text instead")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a condition never changes: cannot delete {name!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and (self.text, self.amounts) == (other.text, other.amounts)

    def __hash__(self) -> int:
        return hash((self.text, self.amounts))

    def __repr__(self) -> str:
        return f"Condition({self.text!r})"

    def __reduce__(self) -> tuple[Callable[[str, Mapping[str, int]], Condition], tuple[str, Mapping[str, int]]]:
        return parse, (self.text, dict(self.amounts))

    def evaluate(self, facts: Facts, now: datetime) -> bool | None:
        """True, False, or None for unknown."""
        return self._answer(facts, now)

    def flips_at(self, facts: Facts, now: datetime) -> datetime | None:
        """The first later instant at which time alone changes the answer; None if it never does."""
        if not self._moving:
            return None
        found = self._answer(facts, now)
        turns = {at for pair in self._moving for at in crossings(pair, facts, now)}
        return next((at for at in sorted(turns) if self._answer(facts, at) is not found), None)

    def sql(self, dialect: str = "duckdb") -> str:
        """A boolean SQL expression over columns called as the names are, quoted; `now` is the parameter `$now`."""
        if dialect not in DIALECTS:
            raise ValueError(f"conditions do not compile to {dialect!r}; they do to: {', '.join(sorted(DIALECTS))}")
        return compiled(self._tree, DIALECTS[dialect])

    def explain(self, facts: Facts, now: datetime) -> tuple[str, ...]:
        """The comparisons that decided the answer, in words."""
        return tuple(dict.fromkeys(reasons(self._tree, facts, now)))


def parse(text: str, amounts: Mapping[str, int] | None = None) -> Condition:
    """Compile one condition, once; raise `ConditionError` with the column and the way out.

    `amounts` are the names that hold money in minor units, with the digits behind the point: a number that is compared
    with one of them is read as people write money, so `cart_value >= 20` means 20.00.
    """
    tree = read(text)
    used = tuple(sorted((name, digits) for name, digits in (amounts or {}).items() if name in set(names_in(tree))))
    return Condition(text.strip(), in_minor_units(tree, dict(used)) if used else tree, used)
