"""From text to sqlglot's tree: only the words of the language are let in, so the rest of SQL is never parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wayline.conditions.refusals import ADVICE, SAY, Refused

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.tokenizer_core import Token

__all__ = ["DEPTH_MAX", "SECONDS", "TEXT_MAX", "TOKENS_MAX", "grammar"]

TEXT_MAX = 4_000  # characters of a condition; beyond it a question is the better home
TOKENS_MAX = 600  # words and signs of a condition
DEPTH_MAX = 16  # brackets within brackets, and NOTs or signs in a row
SECONDS: Mapping[str, int] = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
"""The units of a duration and how many seconds they always have; a month or a year has no such number."""

_SYMBOLS = frozenset({"=", "<>", "!=", "<", "<=", ">", ">=", "(", ")", ",", ".", "-", "+"})
_OPERATORS = frozenset({"AND", "OR", "NOT", "IN", "IS", "BETWEEN", "LIKE"})
_RESERVED = _OPERATORS | {"NULL", "TRUE", "FALSE"}
_BEFORE_LITERALS = {"INTERVAL": ("STRING", "NUMBER"), "TIMESTAMP": ("STRING",)}
_INVISIBLE = frozenset("\n\r\t\u00a0\u202f\u3000\u200c\u200d")  # white space, and the joiners real words need


def grammar(text: str) -> exp.Expr:
    """What sqlglot makes of the text; `Refused` with the offset if it holds anything but the language."""
    if len(text) > TEXT_MAX:
        raise Refused(TEXT_MAX, f"a condition has at most {TEXT_MAX} characters, came {len(text)}. Split it up.")
    for offset, character in enumerate(text):
        if not character.isprintable() and character not in _INVISIBLE:
            raise Refused(offset, f"came the invisible character {character!a}. Remove it.")
    # sqlglot costs a tenth of a second to import, and whoever only imports the nouns never needs it.
    from sqlglot import exp
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import ErrorLevel, ParseError, SqlglotError, TokenError

    dialect = Dialect.get_or_raise("duckdb")
    try:
        tokens = _admitted(dialect.tokenize(text), text)
        parser = dialect.parser(error_level=ErrorLevel.IMMEDIATE, error_message_context=TEXT_MAX)
        trees = parser.parse_into(exp.Condition, tokens, text)
    except TokenError:
        raise Refused(*_unclosed(text)) from None
    except ParseError as error:
        raise Refused(*_unfitting(error.errors[0] if error.errors else {}, text)) from None
    except (SqlglotError, RecursionError):
        raise Refused(0, f"this does not read as a condition. {SAY}") from None
    if len(trees) != 1 or trees[0] is None:
        raise Refused(0, f"expected one condition, came {len(trees)}. Join them with AND or OR.")
    return trees[0]


def _unclosed(text: str) -> tuple[int, str]:
    opened: int | None = None
    for offset, character in enumerate(text):
        if opened is None and character in "'\"":
            opened = offset
        elif opened is not None and character == text[opened]:
            opened = None
    if opened is None:
        return 0, f"this does not read as a condition. {SAY}"
    return opened, f"the quotation mark {text[opened]} is never closed. Close it; inside text, write it twice."


def _unfitting(error: Mapping[str, Any], text: str) -> tuple[int, str]:
    start, came = len(error.get("start_context") or ""), error.get("highlight") or ""
    if came.upper() == "IS":
        return start, "IS takes NULL or NOT NULL. For TRUE and FALSE write = instead."
    if start + len(came) >= len(text.rstrip()) and "Unexpected" not in error.get("description", ""):
        return start, f"the condition ends in the middle, after {came!r:.60}. Complete it."
    return start, f"{came!r:.60} does not fit what stands before it. {SAY}"


# ------------------------------------------------------------------ words and signs


def _admitted(tokens: Sequence[Token], text: str) -> list[Token]:
    if not tokens:
        raise Refused(0, f"the condition is empty. {SAY}")
    if len(tokens) > TOKENS_MAX:
        raise Refused(tokens[TOKENS_MAX].start, f"a condition has at most {TOKENS_MAX} words and signs. Split it up.")
    _bounded([(token.start, text[token.start : token.end + 1]) for token in tokens])
    admitted: list[Token] = []
    for index, token in enumerate(tokens):
        if token.comments:
            raise Refused(token.end + 1, "comments are not part of a condition. Put it in the file beside it.")
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        admitted += _translated(token, following, admitted, text)
    return _without_calls(admitted)


def _bounded(written: Sequence[tuple[int, str]]) -> None:
    """Refuse brackets that do not match or nest too deep, before any parser recurses into them."""
    opened: list[int] = []
    in_a_row = 0
    for offset, sign in written:
        in_a_row = in_a_row + 1 if sign.upper() in ("NOT", "-", "+") else 0
        if sign == "(":
            opened.append(offset)
        elif sign == ")" and not opened:
            raise Refused(offset, "this bracket closes nothing. Remove it, or open it before.")
        elif sign == ")":
            opened.pop()
        if max(len(opened), in_a_row) > DEPTH_MAX:
            raise Refused(offset, f"nested deeper than {DEPTH_MAX}. Split it up, or write it flatter.")
    if opened:
        raise Refused(opened[-1], "this bracket is never closed. Close it.")


def _translated(token: Token, following: Token | None, before: Sequence[Token], text: str) -> Iterator[Token]:
    """The token as sqlglot should see it: any word we do not reserve is a plain name, and `3 days` an interval."""
    written, kind = text[token.start : token.end + 1], token.token_type.name
    last = before[-1].token_type.name if before else ""
    if kind == "NUMBER" and last != "DOT":
        yield from _counted(token, following, last)
    elif kind == "STRING" and written[0] == "'":
        if last == "STRING":
            raise Refused(token.start, "two texts follow each other. Write one, with '' for a quotation mark in it.")
        yield token
    elif written in _SYMBOLS or (kind == "IDENTIFIER" and written[0] == '"') or written.isdecimal():
        yield token
    else:
        yield _word(token, following, written, after_dot=last == "DOT")


def _counted(token: Token, following: Token | None, last: str) -> Iterator[Token]:
    from sqlglot.tokenizer_core import Token as Made
    from sqlglot.tokenizer_core import TokenType

    after = following.text if following is not None else ""
    if following is not None and after[:1].isalpha() and after.upper() not in _RESERVED | ADVICE.keys():
        if following.text.lower().removesuffix("s") not in {*SECONDS, "month", "year"}:
            raise Refused(
                following.start,
                f"expected a unit after {token.text:.40}, came {following.text!r:.60}. Units: {', '.join(SECONDS)}. "
                "An instant so long ago is now - 3 days.",
            )
        if last != "INTERVAL":
            yield Made(TokenType.INTERVAL, "INTERVAL", token.line, token.col, token.start, token.start - 1, [])
        # As text it keeps its place in what sqlglot makes of it; as a number it would lose it.
        yield Made(TokenType.STRING, token.text, token.line, token.col, token.start, token.end, [])
    else:
        yield token


def _word(token: Token, following: Token | None, written: str, *, after_dot: bool) -> Token:
    from sqlglot.tokenizer_core import Token as Made
    from sqlglot.tokenizer_core import TokenType

    word = token.text.upper()
    if not re.fullmatch(r"[^\W\d]\w*", written) or (word in ADVICE and not after_dot):
        raise Refused(token.start, f"{written!r:.60} is not part of a condition. {ADVICE.get(word, SAY)}")
    reserved = word in _RESERVED or (following and following.token_type.name in _BEFORE_LITERALS.get(word, ()))
    if reserved and not after_dot:
        return token
    return Made(TokenType.VAR, token.text, token.line, token.col, token.start, token.end, [])


def _without_calls(tokens: Sequence[Token]) -> list[Token]:
    """`now()` reads as `now`; every other call is refused."""
    kept: list[Token] = []
    kinds = [token.token_type.name for token in tokens]
    index = 0
    while index < len(tokens):
        kept.append(tokens[index])
        if kinds[index] in ("VAR", "IDENTIFIER") and kinds[index + 1 : index + 2] == ["L_PAREN"]:
            name = tokens[index].text
            alone = kinds[index + 2 : index + 3] == ["R_PAREN"] and kinds[index - 1 : index] != ["DOT"]
            if name.lower() != "now" or not alone:
                raise Refused(
                    tokens[index].start,
                    f"conditions call no functions, came {name!r:.60}. Have a facet or a question answer it.",
                )
            index += 2
        index += 1
    return kept
