"""Refusals: where a text stops being a condition, and what to write instead."""

from __future__ import annotations

from wayline.errors import AuthorError

__all__ = ["ADVICE", "NO_ARITHMETIC", "SAY", "ConditionError", "Refused"]

NO_ARITHMETIC = "Conditions do no arithmetic but instants and durations: have a facet or a question answer it."
ADVICE: dict[str, str] = {
    "==": "Write =.",
    ";": "A condition is one expression: remove it, or join two with AND or OR.",
    "*": NO_ARITHMETIC,
    "/": NO_ARITHMETIC,
    "%": f"{NO_ARITHMETIC} In LIKE it belongs inside the quotation marks.",
    "||": "Texts are not joined: write the whole text.",
    "::": "Values are not cast: compare with a literal of the kind the fact has.",
    "SELECT": "There are no subqueries: a facet remembers what you want to look up.",
    "EXISTS": "There are no subqueries: write IS NOT NULL.",
    "CASE": "Write it with AND and OR.",
    "CAST": "Values are not cast: compare with a literal of the kind the fact has.",
    "ILIKE": "Comparison is binary: write LIKE, once for each spelling.",
    "ESCAPE": "LIKE has no escape character: _ stands for any one character, also for itself.",
    "DISTINCT": "Write = or <>, and IS NULL where nothing may be known.",
    "XOR": "Write (a AND NOT b) OR (b AND NOT a).",
    "CURRENT_TIMESTAMP": "Write now.",
    "CURRENT_DATE": "Write now; dates are compared as instants.",
}
ADVICE |= dict.fromkeys(("SIMILAR", "REGEXP", "RLIKE", "GLOB"), "There are no regular expressions: write LIKE.")
ADVICE |= dict.fromkeys(("ANY", "ALL", "SOME"), "Write IN with a list of literals.")
ADVICE |= dict.fromkeys(("UNION", "FROM", "WHERE", "END", "WHEN", "THEN"), "A condition is one expression.")
SAY = "Use AND OR NOT, = <> < <= > >=, IN, BETWEEN, LIKE, IS NULL, names, numbers, 'text', TRUE, FALSE, now, 3 days."


class ConditionError(AuthorError):
    """A condition that does not compile: where, what was expected, what came, what to do."""

    def __init__(self, reason: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"line {line}, column {column}: {reason}" if line > 1 else f"column {column}: {reason}")
        self.reason = reason
        self.line = line
        self.column = column

    def __reduce__(self) -> tuple[type[ConditionError], tuple[str, int, int]]:
        return type(self), (self.reason, self.line, self.column)


class Refused(Exception):
    """A refusal at an offset of the text, before it is given its line and column."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason
