"""What of two records speaks for one person: the role of each column, how its values are compared, what is looked up.

Nothing here knows a certain table. A column has a *role*, told by its name, by what is in it, or by whoever asks. The
role says how values are cleaned, by which *levels* two of them agree (from equal down to different), and by which
*keys* records that might be one person find each other, since a million records cannot all be compared with all.

How much a level is worth is not written anywhere: it is learnt from the records themselves (`observation.weights`).

Levels and keys are SQL expressions over the cleaned columns, run by the one engine that does the comparing, in a batch
and for a single record alike; so there is one meaning of "nearly the same name".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Final, Literal, get_args

from msgspec import Struct

from wayline.errors import AuthorError, did_you_mean

__all__ = [
    "ROLES",
    "Column", "Comparison", "Key", "Level", "Role", "Seen",
    "cleaned", "columns_of", "comparisons_of", "keys_of",
]  # fmt: skip

Role = Literal[
    "given_name", "middle_name", "surname", "full_name", "birth", "street_number", "street", "postcode", "city",
    "region", "email", "phone", "national_id", "category", "number", "text", "ignored",
]  # fmt: skip
ROLES: Final[tuple[str, ...]] = get_args(Role)

# By name, first that fits: the more particular before the more general.
_BY_NAME: Final[tuple[tuple[str, Role], ...]] = (
    (r"^(unique|rec|record|row|source|cluster|entity|true|dedupe|pair|file|dataset)?_?(id|index|number|dataset|row)$",
     "ignored"),
    (r"^(row|cluster|label|truth|index|source)$|source_dataset|ground_truth", "ignored"),
    (r"soc(ial)?_?sec|(^|_)ssn|nino($|_)|national|(^|_)nhs|passport|(^|_)tax|personal_?(id|num)|identity|medicare|"
     r"id_?card|id_?(num|no)|licen[cs]e|insurance|loyalty|(^|_)card|steuer", "national_id"),
    (r"mail", "email"),
    (r"phone|mobile|(^|_)tel|cell|handy|(^|_)fax|contact_?(num|no)", "phone"),
    (r"(^|_)dob|birth_?(date|day)|date_?of_?birth|^birth$|^born|geburt|naissance|nacimiento|(^|_)bday", "birth"),
    (r"birth_?place|place_?of_?birth", "city"),
    (r"post_?(al)?_?code|(^|_)zip|(^|_)plz|^post$|pcode|eircode|pin_?code", "postcode"),
    (r"full_?name|first_and|^name$|display_?name|whole_?name|(customer|person|contact|client|patient)_?name",
     "full_name"),
    (r"middle|second_?name", "middle_name"),
    (r"given|first|fore_?name|f_?name|vorname|prenom|nombre|christian", "given_name"),
    (r"sur_?name|last|family|l_?name|nachname|familien|apellido|^nom$|maiden", "surname"),
    (r"(street|house|building|hse|st)_?(number|num|no|nr)$|hausnummer|hausnr|^(unit|flat)", "street_number"),
    (r"street|addr|stra(ss|ß)e|^rue|road|line_?\d$|^calle", "street"),
    (r"city|town|suburb|locality|place|^ort$|wohnort|stadt|ville|ciudad|municipal|village", "city"),
    (r"^state|county|region|province|bundesland|district|(^|_)state$", "region"),
    (r"country|^land$|nation|gender|(^|_)sex$|geschlecht|^title$|salutation", "category"),
)  # fmt: skip
_CATEGORY_MAX: Final = 60  # values that differ: a column with fewer says little, and is compared by equality alone


class Seen(Struct, frozen=True, kw_only=True):
    """What a look at a column's values says, as shares of those that are there."""

    name: str
    filled: int
    distinct: int
    emails: float = 0.0
    dates: float = 0.0
    phones: float = 0.0
    numbers: float = 0.0
    date_format: str = ""
    """The strptime format that most values keep, or nothing."""


class Column(Struct, frozen=True):
    """One column as the matcher takes it: `name` in the table, `sql` once cleaned."""

    name: str
    role: Role
    sql: str
    date_format: str = ""
    why: str = ""


class Level(Struct, frozen=True):
    """One way in which two values agree; `sql` says when. The levels of a comparison are asked in order."""

    name: str
    sql: str
    is_apart: bool = False
    """Not a step between its neighbours (given name and surname in each other's place): any weight may be right."""
    is_silent: bool = False
    """Counted elsewhere: the comparison then says nothing, as if a value were missing."""


class Comparison(Struct, frozen=True):
    """How two records agree in one column. Level 0 is "one is missing", the last is "different"."""

    column: str
    role: Role
    levels: tuple[Level, ...]
    by_frequency: bool = True
    """Whether agreeing on a rare value says more than on a common one."""

    @property
    def size(self) -> int:
        """How many outcomes there are, with missing and different."""
        return len(self.levels) + 2

    def sql(self, left: str = "l", right: str = "r") -> str:
        """The number of the outcome, as an expression over two cleaned records."""
        a, b = f"{left}.{self.column}", f"{right}.{self.column}"
        cases = [f"WHEN {a} IS NULL OR {b} IS NULL THEN 0"]
        for number, level in enumerate(self.levels, 1):
            said = _between(level.sql, left, right)
            cases.append(f"WHEN {said} THEN {0 if level.is_silent else number}")
        return f"CASE {' '.join(cases)} ELSE {len(self.levels) + 1} END"


class Key(Struct, frozen=True):
    """What two records must share to be compared at all: every part, each of another column."""

    name: str
    parts: tuple[str, ...]
    """SQL over a cleaned record; a record that lacks one has no such key."""


# ------------------------------------------------------------------ roles


def columns_of(seen: Sequence[Seen], records: int, declared: Mapping[str, str] | None = None) -> tuple[Column, ...]:
    """The role of each column: as declared, else by its name, else by what is in it."""
    declared = declared or {}
    for name, role in declared.items():
        if name not in {each.name for each in seen}:
            raise AuthorError(f"--role {name}={role}: no such column. {did_you_mean(name, [s.name for s in seen])}")
        if role not in ROLES:
            raise AuthorError(f"--role {name}={role}: no such role. {did_you_mean(role, ROLES)}")
    found: list[Column] = []
    for number, each in enumerate(seen):
        role, why = _role(each, records, declared)
        found.append(Column(each.name, role, f"c{number}", each.date_format, why))
    return _without_repeats(found, declared)


def _role(seen: Seen, records: int, declared: Mapping[str, str]) -> tuple[Role, str]:
    if seen.name in declared:
        return next(role for role in get_args(Role) if role == declared[seen.name]), "declared"
    if not seen.filled or seen.distinct < 2:
        return "ignored", "empty, or the same everywhere"
    words = re.sub(r"[^a-z0-9ß]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", seen.name.strip()).lower()).strip("_")
    named = next((role for pattern, role in _BY_NAME if re.search(pattern, words)), None)
    if named == "birth" and seen.dates < 0.5:
        named = None
    if named is not None:
        return named, "by its name"
    if seen.filled == records == seen.distinct:
        return "ignored", "every record has its own: a record's number, which says nothing of the person"
    return _role_by_content(seen), "by what is in it"


def _role_by_content(seen: Seen) -> Role:
    if seen.emails > 0.7:
        return "email"
    if seen.dates > 0.7:
        return "birth"
    if seen.distinct <= min(_CATEGORY_MAX, seen.filled / 20):
        return "category"
    if seen.phones > 0.8:
        return "phone"
    return "number" if seen.numbers > 0.9 else "text"


def _without_repeats(columns: Sequence[Column], declared: Mapping[str, str]) -> tuple[Column, ...]:
    """A whole name says nothing more where its parts are columns too; counting it twice would make anybody sure."""
    roles = {column.role for column in columns}
    has_parts = {"given_name", "surname"} <= roles
    return tuple(
        Column(c.name, "ignored", c.sql, c.date_format, "its parts are columns of their own")
        if c.role == "full_name" and has_parts and c.name not in declared
        else c
        for c in columns
    )


# Removed one by one: a pattern of "neither letter nor digit" in all scripts costs milliseconds each time it is read.
_MARKS: Final = """.,;:!?''\"`´’‘“”„-_–—/|()[]{}<>#&+*=~^%$@§°·\t"""
_MARKS_COUNT: Final = len(_MARKS) - 1  # the quote is written twice in SQL


def cleaned(column: Column, source: str) -> str:
    """The SQL that cleans a column's text; `source` is the expression of the raw value."""
    plain = f"lower(strip_accents(trim(CAST({source} AS VARCHAR))))"
    text = f"CASE WHEN {plain} IN ('nan', 'null', 'none', 'nil', 'n/a') THEN NULL ELSE {plain} END"
    words = f"trim(regexp_replace(translate({text}, '{_MARKS}', '{' ' * _MARKS_COUNT}'), ' +', ' ', 'g'))"
    match column.role:
        case "given_name" | "middle_name" | "surname" | "postcode" | "national_id" | "street_number":
            made = f"translate({text}, ' {_MARKS}', '')"
        case "birth":
            made = _date(column, text)
        case "phone":
            made = f"right(regexp_replace({text}, '[^0-9]+', '', 'g'), 9)"
        case "email":
            made = f"replace({text}, ' ', '')"
        case "full_name":
            made = f"array_to_string(list_sort(string_split({words}, ' ')), ' ')"
        case "number":
            made = f"CAST(TRY_CAST({text} AS DOUBLE) AS VARCHAR)"
        case _:
            made = words
    return f"nullif({made}, '')"


def _date(column: Column, text: str) -> str:
    """Year, month, day as eight digits; a date that is none keeps its digits: a typing error is still evidence."""
    digits = f"regexp_replace({text}, '[^0-9]+', '', 'g')"
    if not column.date_format:
        return digits
    return f"coalesce(strftime(try_strptime({text}, '{column.date_format}'), '%Y%m%d'), {digits})"


# ------------------------------------------------------------------ comparisons


def comparisons_of(columns: Sequence[Column]) -> tuple[Comparison, ...]:
    """How each column that says something is compared."""
    by_role: dict[str, list[Column]] = {}
    for column in columns:
        by_role.setdefault(column.role, []).append(column)
    return tuple(_comparison(column, by_role) for column in columns if column.role != "ignored")


def _comparison(column: Column, by_role: Mapping[str, Sequence[Column]]) -> Comparison:
    x = column.sql
    levels = list(_LEVELS[column.role])
    for other in _exchanged(column, by_role):
        crossed = f"(l.{x} = r.{other.sql} AND l.{other.sql} = r.{x} AND l.{x} <> l.{other.sql})"
        # Told once: the second of the two columns is silent about it.
        levels.insert(1, Level("in each other's place", crossed, is_apart=True, is_silent=x > other.sql))
    named = tuple(Level(v.name, v.sql.replace("{x}", x), v.is_apart, v.is_silent) for v in levels)
    return Comparison(x, column.role, named)


def _exchanged(column: Column, by_role: Mapping[str, Sequence[Column]]) -> Iterable[Column]:
    """Columns that people fill in each other's place."""
    if column.role in ("given_name", "surname"):
        partner = by_role.get("surname" if column.role == "given_name" else "given_name", ())
        same = by_role[column.role]
        return partner[:1] if partner and same[0] is column else ()
    if column.role == "street":
        return [other for other in by_role["street"] if other is not column][:1] if len(by_role["street"]) == 2 else ()
    return ()


def _between(sql: str, left: str, right: str) -> str:
    return re.sub(r"\b([lr])\.", lambda found: f"{left if found[1] == 'l' else right}.", sql)


_EQUAL: Final = Level("equal", "l.{x} = r.{x}")
_JW: Final = "jaro_winkler_similarity(l.{x}, r.{x})"
_DL: Final = "damerau_levenshtein(l.{x}, r.{x})"


def _edits(most: int, least: float = 0.0) -> str:
    # Counting edits is slow. Lengths are known, and likeness is quick and high wherever edits are few; most pairs end
    # there.
    least = least or (0.75 if most == 1 else 0.65)
    return f"(abs(length(l.{{x}}) - length(r.{{x}})) <= {most} AND {_JW} >= {least} AND {_DL} <= {most})"


_NAMES: Final = (
    _EQUAL,
    Level("nearly equal", f"{_JW} >= 0.92"),
    Level("alike", f"({_JW} >= 0.8 OR starts_with(l.{{x}}, r.{{x}}) OR starts_with(r.{{x}}, l.{{x}}))"),
)
_TEXTS: Final = (
    _EQUAL,
    Level("nearly equal", f"{_JW} >= 0.92"),
    Level("alike", f"{_JW} >= 0.8"),
)
_CODES: Final = (
    _EQUAL,
    Level("one typing error", _edits(1)),
    Level("two typing errors", _edits(2)),
)
_DAY_AND_MONTH: Final = "l.{x}[1:4] = r.{x}[1:4] AND l.{x}[5:6] = r.{x}[7:8] AND l.{x}[7:8] = r.{x}[5:6]"
# Eight digits each, nearly always: then wrong and exchanged digits are counted place by place, which is quick.
_DIGITS_OFF: Final = (
    f"CASE WHEN length(l.{{x}}) = length(r.{{x}}) THEN hamming(l.{{x}}, r.{{x}}) <= 2 ELSE {_edits(2, 0.8)} END"
)
_LEVELS: Final[Mapping[str, tuple[Level, ...]]] = {
    "given_name": _NAMES,
    "middle_name": _NAMES,
    "surname": _NAMES,
    "full_name": _NAMES,
    "text": _TEXTS,
    "street": _TEXTS,
    "city": _TEXTS,
    "region": (_EQUAL, Level("one typing error", _edits(1))),
    "category": (_EQUAL,),
    "birth": (
        _EQUAL,
        Level(
            "one typing error, or day and month exchanged", f"(({_DIGITS_OFF} AND {_edits(1)}) OR ({_DAY_AND_MONTH}))"
        ),
        Level("two typing errors", _DIGITS_OFF),
        Level("same year, or same day and month", "(l.{x}[1:4] = r.{x}[1:4] OR l.{x}[5:8] = r.{x}[5:8])"),
    ),
    "street_number": (_EQUAL, Level("one typing error", _edits(1))),
    "postcode": (
        _EQUAL,
        Level("one typing error", _edits(1)),
        Level("same area", "l.{x}[1:greatest(2, length(l.{x}) - 3)] = r.{x}[1:greatest(2, length(r.{x}) - 3)]"),
    ),
    "email": (
        _EQUAL,
        Level("same before the @", "split_part(l.{x}, '@', 1) = split_part(r.{x}, '@', 1)"),
        Level("nearly equal", f"({_JW} >= 0.95 OR {_edits(2, 0.85)})"),
        Level("alike", f"{_JW} >= 0.88"),
    ),
    "phone": _CODES,
    "national_id": _CODES,
    "number": (
        _EQUAL,
        Level(
            "within a hundredth",
            "abs(CAST(l.{x} AS DOUBLE) - CAST(r.{x} AS DOUBLE)) <= "
            "0.01 * greatest(abs(CAST(l.{x} AS DOUBLE)), abs(CAST(r.{x} AS DOUBLE)))",
        ),
    ),
}

# ------------------------------------------------------------------ keys

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "given_name": ("{x}",),
    "surname": ("{x}", "left({x}, 3)"),
    "middle_name": (),
    "full_name": ("{x}", "string_split({x}, ' ')[1]", "string_split({x}, ' ')[-1]"),
    "birth": ("{x}", "{x}[5:8]"),
    "street": ("{x}",),
    "city": ("{x}",),
    "postcode": ("{x}",),
    "email": ("{x}", "split_part({x}, '@', 1)"),
    "phone": ("{x}", "right({x}, 4)"),
    "national_id": ("{x}", "left({x}, 4)"),
    "text": ("{x}",),
    "number": ("{x}",),
    "street_number": ("{x}",),
}


def keys_of(columns: Sequence[Column]) -> tuple[Key, ...]:
    """All keys worth trying: each whole value, and each two parts of two columns: no one field need be right."""
    parts = [(column, part.replace("{x}", column.sql)) for column in columns for part in _KEYS.get(column.role, ())]
    found = [Key(_named(column, part), (part,)) for column, part in parts if part == column.sql]
    found += [
        Key(f"{_named(a, one)} and {_named(b, two)}", (one, two))
        for (a, one), (b, two) in combinations(parts, 2)
        if a is not b and (one == a.sql or two == b.sql)
    ]
    given, surname = (next((c.sql for c in columns if c.role == role), None) for role in ("given_name", "surname"))
    if given and surname:
        both = (f"least({given}, {surname})", f"greatest({given}, {surname})")
        found.append(Key("both names in any order", (given, surname, *both)[2:]))
    return tuple(found)


def _named(column: Column, part: str) -> str:
    return column.name if part == column.sql else f"part of {column.name}"
