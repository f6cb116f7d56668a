"""From text to tree: sqlglot reads it, we keep only what the language has, and refuse the rest with a way out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from wayline.conditions.tree import (
    And,
    Between,
    Compare,
    In,
    IsNull,
    Like,
    Literal,
    Name,
    Node,
    Not,
    Now,
    Or,
    Sum,
    Value,
    kind_of,
    words,
)  # fmt: skip
from wayline.errors import AuthorError

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.tokenizer_core import Token

__all__ = [
    "ARITHMETIC_MAX", "DEPTH_MAX", "DURATION_LITERAL_MAX", "NAME_PARTS_MAX", "TEXT_MAX", "TOKENS_MAX",
    "ConditionError", "read",
]  # fmt: skip

TEXT_MAX = 4_000  # characters of a condition; beyond it a question is the better home
TOKENS_MAX = 600
DEPTH_MAX = 16  # brackets within brackets, and NOTs in a row
ARITHMETIC_MAX = 3  # additions within additions: each doubles the SQL that guards its range
NAME_PARTS_MAX = 4
DURATION_LITERAL_MAX = timedelta(days=36_500)


class ConditionError(AuthorError):
    """A condition that does not compile: where, what was expected, what came, what to do."""

    def __init__(self, reason: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"line {line}, column {column}: {reason}" if line > 1 else f"column {column}: {reason}")
        self.reason = reason
        self.line = line
        self.column = column

    def __reduce__(self) -> tuple[type[ConditionError], tuple[str, int, int]]:
        return type(self), (self.reason, self.line, self.column)


class _Refused(Exception):
    """A refusal at an offset of the text, before it is given its line and column."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


def read(text: str) -> Node:
    """The tree of one condition; `ConditionError` with the column and the way out if it is none."""
    if not isinstance(text, str):
        raise ConditionError(f"expected a condition as text, came {text!r:.60}. Put it in quotation marks.")
    try:
        return _lower(_grammar(text))
    except _Refused as refused:
        before = text[: refused.offset]
        column = refused.offset - (before.rfind("\n") + 1) + 1
        raise ConditionError(refused.reason, before.count("\n") + 1, column) from None


# ------------------------------------------------------------------ reading: text to sqlglot's tree

_SYMBOLS = frozenset({"=", "<>", "!=", "<", "<=", ">", ">=", "(", ")", ",", ".", "-", "+"})
_OPERATORS = frozenset({"AND", "OR", "NOT", "IN", "IS", "BETWEEN", "LIKE"})
_WRITTEN_OUT = frozenset({"NUMBER", "STRING", "IDENTIFIER"})
_CONSTANTS = frozenset({"NULL", "TRUE", "FALSE"})
_INVISIBLE = frozenset("\n\r\t\u00a0\u202f\u3000\u200c\u200d")  # white space, and the joiners real words need
_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_NO_ARITHMETIC = "Conditions do no arithmetic but instants and durations: have a facet or a question answer it."
_ADVICE = {
    "==": "Write =.",
    ";": "A condition is one expression: remove it, or join two with AND or OR.",
    "*": _NO_ARITHMETIC,
    "/": _NO_ARITHMETIC,
    "%": f"{_NO_ARITHMETIC} In LIKE it belongs inside the quotation marks.",
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
_ADVICE |= dict.fromkeys(("SIMILAR", "REGEXP", "RLIKE", "GLOB"), "There are no regular expressions: write LIKE.")
_ADVICE |= dict.fromkeys(("ANY", "ALL", "SOME"), "Write IN with a list of literals.")
_ADVICE |= dict.fromkeys(("UNION", "FROM", "WHERE", "END", "WHEN", "THEN"), "A condition is one expression.")
_SAY = "Use AND OR NOT, = <> < <= > >=, IN, BETWEEN, LIKE, IS NULL, names, numbers, 'text', TRUE, FALSE, now, 3 days."


def _grammar(text: str) -> exp.Expr:
    if len(text) > TEXT_MAX:
        raise _Refused(TEXT_MAX, f"a condition has at most {TEXT_MAX} characters, came {len(text)}. Split it up.")
    for offset, character in enumerate(text):
        if not character.isprintable() and character not in _INVISIBLE:
            raise _Refused(offset, f"came the invisible character {character!a}. Remove it.")
    # sqlglot costs a tenth of a second to import, and whoever only imports the nouns never needs it.
    from sqlglot import exp
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import ErrorLevel, ParseError, SqlglotError, TokenError

    dialect = Dialect.get_or_raise("duckdb")
    try:
        tokens = _admit(dialect.tokenize(text), text)
        parser = dialect.parser(error_level=ErrorLevel.IMMEDIATE, error_message_context=TEXT_MAX)
        trees = parser.parse_into(exp.Condition, tokens, text)
    except TokenError:
        raise _Refused(*_unclosed(text)) from None
    except ParseError as error:
        raise _Refused(*_unfitting(error.errors[0] if error.errors else {}, text)) from None
    except (SqlglotError, RecursionError):
        raise _Refused(0, f"this does not read as a condition. {_SAY}") from None
    if len(trees) != 1 or trees[0] is None:
        raise _Refused(0, f"expected one condition, came {len(trees)}. Join them with AND or OR.")
    return trees[0]


def _unclosed(text: str) -> tuple[int, str]:
    opened: int | None = None
    for offset, character in enumerate(text):
        if opened is None and character in "'\"":
            opened = offset
        elif opened is not None and character == text[opened]:
            opened = None
    if opened is None:
        return 0, f"this does not read as a condition. {_SAY}"
    return opened, f"the quotation mark {text[opened]} is never closed. Close it; inside text, write it twice."


def _unfitting(error: Mapping[str, Any], text: str) -> tuple[int, str]:
    start, came = len(error.get("start_context") or ""), error.get("highlight") or ""
    if start + len(came) >= len(text.rstrip()) and came.upper() in _OPERATORS | _SYMBOLS - {")"}:
        return start, f"the condition ends in the middle, after {came!r}. Complete it. {_SAY}"
    return start, f"{came!r:.60} does not fit what stands before it. {_SAY}"


def _admit(tokens: Sequence[Token], text: str) -> list[Token]:
    """The tokens of the language and no others, so that sqlglot's grammar is never offered the rest of SQL."""
    if not tokens:
        raise _Refused(0, f"the condition is empty. {_SAY}")
    if len(tokens) > TOKENS_MAX:
        raise _Refused(tokens[TOKENS_MAX].start, f"a condition has at most {TOKENS_MAX} words and signs. Split it up.")
    admitted: list[Token] = []
    depth = nots = 0
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        if token.comments:
            raise _Refused(token.end + 1, "comments are not part of a condition. Put it in the file beside it.")
        sign = token.text if _is_sign(token, text) else ""
        depth += (sign == "(") - (sign == ")")
        nots = nots + 1 if token.text.upper() == "NOT" and not sign else 0
        if max(depth, nots) > DEPTH_MAX:
            raise _Refused(token.start, f"nested deeper than {DEPTH_MAX}. Split it up, or write it flatter.")
        admitted += _translated(token, following, admitted, text)
    return _without_calls(admitted)


def _is_sign(token: Token, text: str) -> bool:
    return text[token.start : token.end + 1] == token.text and token.text in _SYMBOLS


def _translated(token: Token, following: Token | None, before: Sequence[Token], text: str) -> Iterator[Token]:
    from sqlglot.tokenizer_core import Token as Made
    from sqlglot.tokenizer_core import TokenType

    written, word, kind = text[token.start : token.end + 1], token.text.upper(), token.token_type
    after_dot = bool(before) and before[-1].token_type is TokenType.DOT
    if kind is TokenType.NUMBER and following is not None and _is_unit(following):
        if not before or before[-1].token_type is not TokenType.INTERVAL:
            yield Made(TokenType.INTERVAL, "INTERVAL", token.line, token.col, token.start, token.start - 1, [])
        yield token
    elif written in _SYMBOLS or (kind.name in _WRITTEN_OUT and written[0] in "'\".0123456789"):
        yield token
    elif not re.fullmatch(r"[^\W\d]\w*", written) or (word in _ADVICE and not after_dot):
        raise _Refused(token.start, f"{written!r:.60} is not part of a condition. {_ADVICE.get(word, _SAY)}")
    elif after_dot or not _is_reserved(word, following):
        yield Made(TokenType.VAR, token.text, token.line, token.col, token.start, token.end, [])
    else:
        yield token


def _is_unit(token: Token) -> bool:
    return token.text.lower().removesuffix("s") in {*_SECONDS, "month", "year"}


def _is_reserved(word: str, following: Token | None) -> bool:
    from sqlglot.tokenizer_core import TokenType

    if word in ("INTERVAL", "TIMESTAMP"):
        literals = {TokenType.STRING} if word == "TIMESTAMP" else {TokenType.STRING, TokenType.NUMBER}
        return following is not None and following.token_type in literals
    return word in _OPERATORS or word in _CONSTANTS


def _without_calls(tokens: list[Token]) -> list[Token]:
    """`now()` reads as `now`; every other call is refused."""
    from sqlglot.tokenizer_core import TokenType

    kept: list[Token] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        kept.append(token)
        opens = index + 1 < len(tokens) and tokens[index + 1].token_type is TokenType.L_PAREN
        if opens and token.token_type in (TokenType.VAR, TokenType.IDENTIFIER):
            closes = index + 2 < len(tokens) and tokens[index + 2].token_type is TokenType.R_PAREN
            if token.text.lower() != "now" or not closes:
                raise _Refused(token.start, f"conditions call no functions, came {token.text!r:.60}. {_NO_ARITHMETIC}")
            index += 2
        index += 1
    return kept


# ------------------------------------------------------------------ lowering: sqlglot's tree to ours

_EXACT_MAX = 2**53  # beyond it a double no longer tells a whole number from its neighbour
_SIGNS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_CONDITIONS = frozenset({*_SIGNS, "and", "or", "not", "in", "is", "between", "like"})


def _offset(node: exp.Expr) -> int:
    return min((one.meta["start"] for one in node.walk() if "start" in one.meta), default=0)


def _bare(node: exp.Expr) -> exp.Expr:
    while node.key == "paren":
        node = node.this
    return node


def _lower(tree: exp.Expr) -> Node:
    node = _bare(tree)
    key = node.key
    if key in ("and", "or"):
        parts = tuple(_lower(part) for part in _parts(node, key))
        return And(parts) if key == "and" else Or(parts)
    if key == "not":
        return Not(_lower(node.this))
    if key in _SIGNS:
        compared = Compare(_value(node.this), _SIGNS[key], _value(node.expression))
        _same_kind(node, compared.left, compared.right)
        return compared
    if key in _LEAVES:
        leaf = _LEAVES[key](node)
        return Not(leaf) if node.args.get("negate") else leaf
    value = _value(node)
    if isinstance(value, Name) or (isinstance(value, Literal) and kind_of(value) in ("truth", None)):
        return value
    raise _Refused(_offset(node), f"{words(value)} alone says nothing. Compare it with something.")


def _parts(node: exp.Expr, key: str) -> list[exp.Expr]:
    """The parts of a chain of ANDs or ORs, which sqlglot nests to the left, without recursing into a long one."""
    parts: list[exp.Expr] = []
    while node.key == key:
        parts.append(node.expression)
        node = node.this
    return [node, *reversed(parts)]


def _between(node: exp.Expr) -> Node:
    value, low, high = _value(node.this), _value(node.args["low"]), _value(node.args["high"])
    _same_kind(node, value, low)
    _same_kind(node, value, high)
    return Between(value, low, high)


def _in(node: exp.Expr) -> Node:
    value = _value(node.this)
    options: list[Literal] = []
    for item in node.expressions:
        option = _value(item)
        if not isinstance(option, Literal):
            raise _Refused(_offset(item), f"IN takes literals, came {words(option)}. Write = and OR for it.")
        _same_kind(item, value, option)
        _same_kind(item, options[0] if options else option, option)
        options.append(option)
    if not options:
        raise _Refused(_offset(node), "IN takes a list, such as IN ('a', 'b'). Write one, with at least one literal.")
    return In(value, tuple(options))


def _like(node: exp.Expr) -> Node:
    value, pattern = _value(node.this), _value(node.expression)
    if not isinstance(pattern, Literal) or not isinstance(pattern.value, str):
        raise _Refused(
            _offset(node.expression), f"LIKE takes a pattern in single quotation marks, came {words(pattern)}."
        )
    _same_kind(node, value, pattern)
    return Like(value, pattern.value)


def _is_null(node: exp.Expr) -> Node:
    name = _value(node.this)
    if node.expression.key != "null":
        raise _Refused(_offset(node), "IS takes NULL or NOT NULL. For TRUE and FALSE write = instead.")
    if not isinstance(name, Name):
        raise _Refused(_offset(node), f"IS NULL asks about a fact, came {words(name)}. Put a name before it.")
    return IsNull(name)


_LEAVES: Mapping[str, Callable[[Any], Node]] = {"between": _between, "in": _in, "like": _like, "is": _is_null}


def _value(tree: exp.Expr, depth: int = 0) -> Value:
    node = _bare(tree)
    if node.key in _CONDITIONS:
        raise _Refused(_offset(node), "a comparison stands where a value belongs. Join comparisons with AND or OR.")
    if node.key in ("add", "sub"):
        if depth == ARITHMETIC_MAX:
            raise _Refused(_offset(node), f"more than {ARITHMETIC_MAX} additions in a row. Add the durations up.")
        return _sum(node, _value(node.this, depth + 1), _value(node.expression, depth + 1))
    if node.key not in _VALUES:
        raise _Refused(_offset(node), f"{node.key} is not part of a condition. {_SAY}")
    return _VALUES[node.key](node)


def _name(node: exp.Column | exp.Dot) -> Value:
    parts = node.parts
    name = ".".join(part.name for part in parts)
    if len(parts) > NAME_PARTS_MAX or not all(part.name for part in parts):
        raise _Refused(_offset(node), f"a name has 1 to {NAME_PARTS_MAX} parts, none empty, came {name!r:.60}.")
    quoted_end = node.parent is not None and node.arg_key != "this" and parts[0].args.get("quoted")
    if len(parts) == 1 and quoted_end:
        raise _Refused(
            _offset(node), f'text stands in single quotation marks, came "{name:.60}". Write {words(Literal(name))}.'
        )
    return Now() if name.lower() == "now" else Name(name)


def _number(node: exp.Expr) -> Literal:
    if node.is_string:
        return Literal(node.this)
    number = float(node.this)
    if not math.isfinite(number) or (node.this.isdigit() and number > _EXACT_MAX):
        raise _Refused(
            _offset(node), f"{node.this:.40} is larger than numbers are exact to ({_EXACT_MAX}). Keep such ids as text."
        )
    return Literal(number)


def _negative(node: exp.Expr) -> Literal:
    number = _value(node.this)
    if not isinstance(number, Literal) or not isinstance(number.value, float):
        raise _Refused(_offset(node), f"a minus sign belongs before a number, came {words(number)}.")
    return Literal(-number.value)


def _duration(node: exp.Expr) -> Literal:
    amount = node.this.this if node.this is not None and node.this.key == "literal" else ""
    written = f"{amount} {node.args.get('unit') or ''}".strip()
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]+)", written.lower())
    unit = found[2].removesuffix("s") if found else ""
    if unit in ("month", "year"):
        raise _Refused(_offset(node), f"a {unit} has no fixed length. Write it in days, such as 30 days.")
    if found is None or unit not in _SECONDS:
        raise _Refused(
            _offset(node),
            f"expected a duration such as 3 days or INTERVAL '3 days', came {written!r:.60}. "
            f"Units: {', '.join(_SECONDS)}.",
        )
    seconds = float(found[1]) * _SECONDS[unit]
    if seconds > DURATION_LITERAL_MAX.total_seconds():
        raise _Refused(_offset(node), f"durations end at {DURATION_LITERAL_MAX.days} days, came {written}.")
    return Literal(timedelta(seconds=seconds))


def _instant(node: exp.Expr) -> Literal:
    written = node.this.this if node.this.key == "literal" else ""
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise _Refused(
            _offset(node),
            f"expected an instant with its zone, such as TIMESTAMP '2026-11-27 00:00:00+01:00', came {written!r:.60}.",
        )
    return Literal(at.astimezone(UTC))


_VALUES: Mapping[str, Callable[[Any], Value]] = {
    "column": _name,
    "dot": _name,
    "literal": _number,
    "neg": _negative,
    "boolean": lambda node: Literal(bool(node.this)),
    "null": lambda node: Literal(None),
    "interval": _duration,
    "cast": _instant,
}


def _sum(node: exp.Expr, left: Value, right: Value) -> Value:
    sign = "+" if node.key == "add" else "-"
    for value in (left, right):
        if kind_of(value) in ("number", "text", "truth"):
            raise _Refused(
                _offset(node),
                f"came arithmetic with {words(value)}. {_NO_ARITHMETIC} "
                'A name with a minus sign in it is written trait."a-b".',
            )
    if (kind_of(left), sign, kind_of(right)) in (("instant", "+", "instant"), ("duration", "-", "instant")):
        raise _Refused(
            _offset(node), f"{words(left)} {sign} {words(right)} means nothing. Move an instant by a duration."
        )
    return Sum(left, sign, right)


def _same_kind(node: exp.Expr, left: Value, right: Value) -> None:
    kinds = kind_of(left), kind_of(right)
    if None not in kinds and kinds[0] != kinds[1]:
        raise _Refused(
            _offset(node),
            f"{words(left)} ({kinds[0]}) is compared with {words(right)} ({kinds[1]}), "
            "which is never known. Compare values of one kind.",
        )
