"""What came from outside, said without saying it: its shape instead of its letters.

A verdict quotes what it refuses, and what stands in the wrong field may be anything: an address as a price, a telephone
number as a currency. Whoever may see personal values sees it whole; everybody else sees `'aaa.aaaa@aaaaaaa.aaa'`, which
is enough to find the field that was filled wrongly. Short plain tokens ('USD', '19,99') stay readable.
"""

from __future__ import annotations

import re
from typing import Final

from wayline.observation.vocabulary import ALIASES, LIMITS, VOCABULARY

__all__ = ["PERSONAL", "holds_number", "names_someone", "safe_field", "safe_name", "safe_reason", "safe_text"]

PERSONAL: Final = "(personal)"
"""What stands where a name was refused because it may name someone."""

_PLAIN_CHARACTERS_MAX: Final = 16  # a token this short, of one word, is a code or an amount
_SHOWN_CHARACTERS_MAX: Final = 40  # of the shape of a refused value

# A number as people write it: a plus and the country, or a zero, and some separators between the digits. Article
# numbers (GTIN, "501 1234") begin with neither, or have no separators.
_NUMBER = re.compile(r"(?<![\w.,\-/+])[(]{0,2}(?:\+[ (]?[1-9]|00[ ]?[1-9]|0\d)(?:[ ().\-/\u00a0]{0,3}\d){5,13}(?!\w)")
_DATED = re.compile(r"[(]?[0-3]\d[-/.][01]\d[-/.](?:(?:19|20)\d\d(?!\d)|\d\d(?!\d|[-/.]\d))")
_MOBILE_DIGITS: Final = 11  # of a telephone number in one piece that begins with a zero; no article number has as many

_QUOTED = re.compile(r"""(?<!\w)(?P<mark>['"])(?P<text>(?:\\.|(?!(?P=mark))[^\\])*)(?:(?P=mark)|\\?$)""", re.DOTALL)
_BARE = re.compile(r"[^\s'\"]*@[^\s'\"]*|[+(]{0,2}\d(?:[ ().\-/:\u00a0]{0,3}\d){6,}")
_TWO_WORDS = re.compile(r"[^\W\d_]\s+[^\W\d_]")


def holds_number(text: str) -> bool:
    """Whether a telephone number stands in a text that may hold article numbers too: a leading + or 0, separators."""
    return ("0" in text or "+" in text) and any(map(_is_number, _NUMBER.finditer(text)))


def _is_number(found: re.Match[str]) -> bool:
    written = found[0].lstrip("(")
    digits = sum(map(str.isdigit, written))
    if not 7 <= digits <= 15 or _DATED.match(written):
        return False
    return written[0] == "+" or digits != len(written) or digits == _MOBILE_DIGITS


def names_someone(text: str) -> bool:
    """Whether an e-mail address or a telephone number stands in a name, which may hold neither."""
    return "@" in text or holds_number(text)


def safe_text(text: str) -> str:
    """A text as it is if it is a short plain token or a word of the vocabulary, else its shape."""
    if text in VOCABULARY or text in ALIASES or _is_plain(text):
        return text
    shape = "".join(map(_shape, text[:_SHOWN_CHARACTERS_MAX]))
    return f"{shape}..." if len(text) > _SHOWN_CHARACTERS_MAX else shape


def safe_name(name: str, code: str = "") -> str:
    """The name of a refused message, where it names nobody."""
    is_personal = code == "personal_name" or names_someone(name) or _has_many_digits(name)
    return PERSONAL if is_personal or len(name) > LIMITS["name_characters_max"] else name


def safe_field(field: str) -> str:
    """Where a value stood; a key of the sender's own may be an address."""
    if not (names_someone(field) or _has_many_digits(field)):
        return field
    place, dot, rest = field.partition(".")
    return f"{place}.{safe_text(rest)}" if dot else safe_text(place)


def safe_reason(reason: str) -> str:
    """A verdict without the value it quotes. What stands before `, got` are our own words."""
    expected, got, came = reason.partition(" got ")
    if not got:
        expected, came = "", reason
    parts: list[str] = []
    at = 0
    for found in _QUOTED.finditer(came):
        parts.append(_bare(came[at : found.start()]))
        parts.append(f"{found['mark']}{safe_text(found['text'])}{found['mark']}")
        at = found.end()
    parts.append(_bare(came[at:]))
    return expected + got + "".join(parts)


def _bare(text: str) -> str:
    return _BARE.sub(lambda found: "".join(map(_shape, found[0])), text)


def _is_plain(text: str) -> bool:
    is_short = len(text) <= _PLAIN_CHARACTERS_MAX and "@" not in text
    return is_short and not _has_many_digits(text) and not _TWO_WORDS.search(text)


def _has_many_digits(text: str) -> bool:
    return sum(map(str.isdigit, text)) >= 7


def _shape(character: str) -> str:
    if character.isdigit():
        return "9"
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return character if character.isascii() else "?"
