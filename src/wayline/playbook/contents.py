"""Content files: one approved text per channel, in every language of the shop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wayline.domain import Content
from wayline.errors import AuthorError, Problem, did_you_mean
from wayline.orchestration.content import reads
from wayline.playbook.grammar import Field, Number, Record, Section, Table, Text
from wayline.playbook.names import CHANNELS, NAME, PARTS, Known, check_known
from wayline.playbook.texts import Node, Place
from wayline.playbook.trial import LINKS, try_out

__all__ = ["CONTENT", "read_content"]

_PARTS = ("subject", "text", "html", "title", "body")
_CUSTOMER = ("first_name", "last_name")

CONTENT = Record(
    {
        "content": Field(Text(pattern=NAME, means="a name"), "Its name: that of the file.", required=True),
        "channel": Field(Text(CHANNELS, means="a channel"), "The channel it is made for.", required=True),
        "shows": Field(
            Text(means="cart, recent, popular, trigger, or a question that ranks products"),
            "Which products it shows: `cart`, `recent`, `popular`, `trigger`, or a question that ranks products.",
            default="",
        ),
        "count": Field(Number(1, 12, whole=True), "How many products it shows at most.", default=3),
        "languages": Field(
            Table(
                Record(
                    {
                        part: Field(Text(means="a template"), f"The {part}, a Liquid template.", default="")
                        for part in _PARTS
                    },
                    "a text",
                ),
                names=r"[a-z]{2}(-[A-Z]{2})?",
                means="a language such as 'en' or 'de-AT'",
            ),
            "Language to the parts of the message.",
            required=True,
        ),
    },
    "a content",
)


def read_content(root: Node, place: Place, known: Known, version: str) -> Content:
    """One content of one file; what is wrong with it is noted at the place."""
    before = len(place.findings.problems)
    section = CONTENT.read(root, place)
    name, channel = section["content"] or "", section["channel"] or ""
    stem = place.file.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    if name and name != stem:
        section.wrong("content", f"expected the file's name {stem!r}, found {name!r}. Rename one of them.")
    shows = section["shows"]
    if shows:
        ranked = ("cart", "recent", "popular", "trigger", *known.questions)
        check_known(shows, ranked, place, section.at("shows"), what=f"content {name!r} shows")
    languages = section["languages"] or {}
    found: set[str] = set()
    fits: list[bool] = []
    for language, text in languages.items():
        fits.append(_has_parts(name, channel, language, text))
        found |= _reads(text, known, shows)
    _check_languages(name, section, languages, known)
    if all(fits):
        _check_shapes(name, section, languages)
    content = Content(
        name=name,
        channel=channel,
        version=version,
        # The shop's own language comes first: it is what a customer without a language reads.
        languages={language: _parts(languages[language]) for language in _ordered(languages, known.languages)},
        shows=shows,
        shows_count=int(section["count"]),
        reads=frozenset(found),
    )
    if len(place.findings.problems) == before and languages:
        for language, why, is_certain in try_out(content, known.facets, known.shop):
            note = place.wrong if is_certain else place.doubt
            note(
                section.at("languages").keys[language],
                f"a trial could not write it: {why}. Correct it, or say `| default`.",
            )
    return content


def _parts(text: Section) -> dict[str, str]:
    return {part: source for part, source in text.values.items() if source}


def _ordered(languages: Iterable[str], own: tuple[str, ...]) -> list[str]:
    return sorted(languages, key=lambda language: (own.index(language) if language in own else len(own), language))


def _has_parts(name: str, channel: str, language: str, text: Section) -> bool:
    if not channel:
        return False
    before = len(text.place.findings.problems)
    needed, allowed = PARTS[channel]
    for part in needed:
        if part not in text.nodes:
            text.place.wrong(text.node, f"content {name!r} in {language!r}: a text for {channel} needs '{part}'.")
    for part in text.nodes:
        if part in _PARTS and part not in (*needed, *allowed):
            parts = ", ".join(repr(other) for other in (*needed, *allowed))
            text.wrong(part, f"content {name!r} in {language!r}: a text for {channel} has no {part!r}. Known: {parts}.")
    return len(text.place.findings.problems) == before


def _check_languages(name: str, section: Section, languages: Mapping[str, Section], known: Known) -> None:
    if section.place.findings.unread:
        return
    at = section.at("languages")
    missing = [language for language in known.languages if language not in languages]
    if languages and missing:
        section.place.wrong(
            at, f"content {name!r} lacks {', '.join(map(repr, missing))}; the shop's languages are in wayline.toml."
        )
    for language in languages:
        if language not in known.languages:
            spoken = did_you_mean(language, known.languages)
            section.place.doubt(
                at.keys[language], f"content {name!r} has {language!r}, which the shop does not speak. {spoken}"
            )


def _check_shapes(name: str, section: Section, languages: Mapping[str, Section]) -> None:
    shapes = {language: frozenset(_parts(text)) for language, text in languages.items()}
    if len(set(shapes.values())) > 1:
        said = "; ".join(f"{language}: {', '.join(sorted(parts))}" for language, parts in shapes.items())
        section.wrong("languages", f"content {name!r} has other parts in one language than in another ({said}).")


def _reads(text: Section, known: Known, shows: str) -> set[str]:
    found: set[str] = set()
    for part, source in _parts(text).items():
        node = text.nodes[part]
        line = node.first_line or node.line
        try:
            names = reads(text.place.file, line, source, part=part)
        except AuthorError as error:
            text.place.findings.problems.extend(error.problems)
            continue
        for name in sorted(names):
            if reason := _why_unknown(name, known, shows):
                at = (
                    line + source.count("\n", 0, max(source.find(name), 0))
                    if node.first_line > node.line
                    else node.line
                )
                text.place.findings.problems.append(Problem(text.place.file, at, f"{part} reads {name!r}, {reason}"))
        found |= names
    return found


def _why_unknown(name: str, known: Known, shows: str) -> str:
    head, _, rest = name.partition(".")
    rest = rest.partition(".")[0]
    closed: Mapping[str, Iterable[Any]] = {"customer": _CUSTOMER, "shop": known.shop, "links": LINKS}
    if head in closed:
        return (
            "" if rest in tuple(closed[head]) else f"which is not there. {did_you_mean(rest, map(str, closed[head]))}"
        )
    if head == "trigger":
        return "" if rest else "and needs the property it wants: {{ trigger.order_id }}."
    if head == "products":
        return "" if shows else "and shows none. Say which with 'shows'."
    if head in known.facets and known.facets[head].read in ("age", "gap"):
        return "a span of time, which no text can write. Show the instant it is counted from."
    if head == "language" or head in known.facets:
        return ""
    roots = (*closed, "trigger", "products", "language", *known.facets)
    return f"which is nothing a text can read. {did_you_mean(head, roots)}"
