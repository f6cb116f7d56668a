"""The playbook: a folder of texts in, a compiled project or all its problems out.

| file | what it says |
|---|---|
| `wayline.toml` | the shop, its channels and schedules; required |
| `facets.yaml` | what is remembered of a customer |
| `questions.yaml` | who answers what is asked about one |
| `policy.yaml` | how all proposals are judged |
| `signals.yaml` | what is agreed of events: what they must carry, whose word counts, how often they come |
| `content/NAME.yaml` | an approved text, per language |
| `journeys/NAME.yaml` | a journey |
| `tests/NAME.yaml` | what should be decided; read by the rehearsal, not here |

Compiling is pure: texts by path in, a value out. Nothing is read from a disk here. Every problem of every file is
reported at once, as `file:line: what was expected, what came, what exists, what to do`; warnings stop nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Content, Facet, Journey, Playbook, Policy, Signal
from wayline.errors import AuthorError, Problem
from wayline.interpretation.estimates import RULES
from wayline.observation.money import EXPONENTS
from wayline.orchestration.journeys import ended
from wayline.playbook.contents import CONTENT, read_content
from wayline.playbook.facets import FACETS, MONEY, QUESTIONS, amounts_among, read_facets, read_questions
from wayline.playbook.grammar import Shape
from wayline.playbook.journeys import JOURNEY, read_journey
from wayline.playbook.names import Known
from wayline.playbook.settings import POLICY, SHOP, ShopSettings, read_policy, read_schedules, read_shop
from wayline.playbook.signals import SIGNALS, read_signals, trusting, with_secret
from wayline.playbook.stories import STORIES
from wayline.playbook.texts import Findings, Node, Place, plain, read_toml, read_yaml

__all__ = ["KINDS", "Checked", "check_playbook", "compile_playbook", "schemas"]

_MAPPINGS = "mappings/"
_KNOWN_FILES = re.compile(
    r"wayline\.toml|(facets|questions|policy|signals)\.ya?ml|(journeys|content|sources)/[^/]+\.ya?ml"
    r"|tests/.+|\.wayline/.*|.*\.md"
)


class Checked(Struct, frozen=True):
    """What a playbook compiles to, and everything found on the way; there is none if there are problems."""

    playbook: Playbook | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def compile_playbook(files: Mapping[str, str], *, earlier: Mapping[str, Journey] | None = None) -> Playbook:
    """The playbook these texts (path to text) say; raises AuthorError with every problem at once.

    `earlier` are journey versions, by hash, that people are still inside: the playbook keeps them beside the new ones.
    """
    checked = check_playbook(files)
    if checked.playbook is None:
        raise AuthorError(checked.problems)
    return replace(checked.playbook, journeys={**(earlier or {}), **checked.playbook.journeys})


def check_playbook(files: Mapping[str, str]) -> Checked:
    """Compile, and tell problems and warnings apart; in the order of file and line."""
    findings = Findings()
    read = dict(_trees(files, findings))
    trees = {file: tree for file, tree in read.items() if tree is not None}
    findings.unread = tuple(file for file in ("wayline.toml", *read) if file not in trees)
    playbook = _compiled(trees, findings)
    problems, warnings = (
        tuple(sorted(found, key=lambda problem: (problem.file, problem.line)))
        for found in (findings.problems, findings.warnings)
    )
    return Checked(None if problems else playbook, problems, warnings)


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schemas by file kind (`journey`, `content`, ...), for editors."""
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {name: {"$schema": draft, "title": title, **shape.schema()} for name, (title, shape) in KINDS.items()}


KINDS: Mapping[str, tuple[str, Shape]] = {
    "wayline": ("wayline.toml", SHOP),
    "facets": ("facets.yaml", FACETS),
    "questions": ("questions.yaml", QUESTIONS),
    "policy": ("policy.yaml", POLICY),
    "signals": ("signals.yaml", SIGNALS),
    "content": ("content/NAME.yaml", CONTENT),
    "journey": ("journeys/NAME.yaml", JOURNEY),
    "stories": ("tests/NAME.yaml", STORIES),
}
"""The kinds of file a playbook has: what they are called, and their shape."""


# ------------------------------------------------------------------ from texts to trees


def _trees(files: Mapping[str, str], findings: Findings) -> Iterator[tuple[str, Node | None]]:
    if "wayline.toml" not in files:
        text = "a playbook needs 'wayline.toml': who the shop is, its currency, zone and languages."
        findings.problems.append(Problem("wayline.toml", 1, text))
    stems: dict[str, str] = {}
    for file, text in sorted(files.items()):
        if (other := stems.setdefault(file.rsplit(".", 1)[0], file)) != file and file.endswith((".yaml", ".yml")):
            findings.problems.append(Problem(file, 1, f"{other!r} defines the same. Keep one of them."))
        if file.startswith(_MAPPINGS):
            continue  # how files that are dropped are read: compiled where they are named
        if not _KNOWN_FILES.fullmatch(file):
            findings.warnings.append(Problem(file, 1, "no part of a playbook has this name; it is not read."))
        elif file == "wayline.toml":
            yield file, read_toml(file, text, findings)
        elif file.endswith((".yaml", ".yml")) and not file.startswith(("tests/", ".wayline/")):
            yield file, read_yaml(file, text, findings)


def _named(trees: Mapping[str, Node], stem: str, findings: Findings) -> tuple[Node, Place] | None:
    for file, tree in trees.items():
        if file.rsplit(".", 1)[0] == stem:
            return tree, Place(file, findings)
    return None


def _under(trees: Mapping[str, Node], folder: str, findings: Findings) -> Iterator[tuple[Node, Place, str]]:
    for file, tree in trees.items():
        if file.startswith(f"{folder}/"):
            yield tree, Place(file, findings), _version(tree)


def _version(tree: Node) -> str:
    """The hash of what a text says, whatever its comments, its spacing and the order of its fields."""
    said = plain(tree)
    if isinstance(said, dict) and isinstance(said.get("steps"), dict):
        # The order of fields means nothing but for steps, where the first is the start.
        said.setdefault("start", next(iter(said["steps"]), ""))
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()[:16]


# ------------------------------------------------------------------ from trees to a playbook


def _compiled(trees: Mapping[str, Node], findings: Findings) -> Playbook:
    shop = ShopSettings(values={})
    if named := _named(trees, "wayline", findings):
        shop = read_shop(*named, cast("Mapping[str, Any]", plain(named[0])))
    journeys = [file.rsplit("/", 1)[-1].rsplit(".", 1)[0] for file in trees if file.startswith("journeys/")]
    known = Known(
        journeys=frozenset(journeys),
        channels=shop.channels,
        events=frozenset(section["event"] or "" for section in shop.schedules) - {""},
        currency=shop.currency,
        languages=shop.languages,
        shop=_shop_values(shop),
    )
    digits = EXPONENTS[shop.currency]
    signals: Mapping[str, Signal] = {}
    if named := _named(trees, "signals", findings):
        signals = read_signals(*named, known, cast("Mapping[str, Any]", shop.values.get("sources") or {}))
        known = replace(known, events=known.events | signals.keys())
    if named := _named(trees, "facets", findings):
        place = replace(named[1], amounts=dict.fromkeys(MONEY, digits))
        known = replace(known, facets=trusting(read_facets(named[0], place, known), signals))
    amounts = dict.fromkeys((*amounts_among(known.facets), *(f"trigger.{name}" for name in MONEY)), digits)
    if named := _named(trees, "questions", findings):
        known = replace(known, questions=read_questions(*named, known.facets, frozenset(RULES)))
    known = replace(known, content=_contents(trees, known, findings))
    policy, budgets = _policy(trees, known, shop, Place("policy.yaml", findings, amounts))
    known = replace(known, budgets=budgets)
    read = [
        read_journey(tree, replace(place, amounts=amounts), known, version)
        for tree, place, version in _under(trees, "journeys", findings)
    ]
    schedules = read_schedules(shop.schedules, known, amounts)
    playbook = _assembled(trees, {journey.name: journey for journey in read}, known, shop)
    return replace(playbook, policy=policy, schedules=schedules, signals=with_secret(signals, schedules))


def _shop_values(shop: ShopSettings) -> dict[str, object]:
    said = shop.values.get("shop")
    return {**(said if isinstance(said, dict) else {}), "currency": shop.currency, "zone": shop.zone}


def _contents(trees: Mapping[str, Node], known: Known, findings: Findings) -> dict[str, Content]:
    contents: dict[str, Content] = {}
    for tree, place, version in _under(trees, "content", findings):
        content = read_content(tree, place, known, version)
        contents[content.name] = content
    return contents


def _policy(trees: Mapping[str, Node], known: Known, shop: ShopSettings, place: Place) -> tuple[Policy, dict[str, int]]:
    named = _named(trees, "policy", place.findings)
    if named is None:
        return Policy(zone=shop.zone, version="none"), {}
    tree = named[0]
    place = replace(place, file=named[1].file)
    return read_policy(tree, place, known, shop.zone, _version(tree))


def _assembled(trees: Mapping[str, Node], current: Mapping[str, Journey], known: Known, shop: ShopSettings) -> Playbook:
    versions = {file: _version(tree) for file, tree in trees.items()}
    facets = {**known.facets, **_endings(current)}
    return Playbook(
        version=hashlib.sha256(msgspec.json.encode(versions, order="sorted")).hexdigest()[:16],
        journeys={journey.version: journey for journey in current.values()},
        current=current,
        facets=facets,
        questions=known.questions,
        content=known.content,
        folding=_folding(facets),
        entering=_entering(current),
        currency=shop.currency,
        language=shop.languages[0],
        settings={**shop.values, "shop": known.shop, "budgets": known.budgets},
    )


def _endings(current: Mapping[str, Journey]) -> dict[str, Facet]:
    """When each goal and exit last happened, remembered unasked: a late trigger must not start what was over before."""
    names = {name for journey in current.values() for name in (journey.goal, *journey.exits_on) if name}
    return {ended(name): Facet(name=ended(name), kind="last", events=(name,)) for name in sorted(names)}


def _folding(facets: Mapping[str, Facet]) -> dict[str, tuple[Facet, ...]]:
    folding: dict[str, list[Facet]] = {}
    for facet in facets.values():
        for event in dict.fromkeys((*facet.events, *facet.removes, *facet.resets)):
            folding.setdefault(event, []).append(facet)
    return {event: tuple(touched) for event, touched in folding.items()}


def _entering(journeys: Mapping[str, Journey]) -> dict[str, tuple[Journey, ...]]:
    entering: dict[str, list[Journey]] = {}
    for journey in journeys.values():
        for event in dict.fromkeys(journey.enters_on):
            entering.setdefault(event, []).append(journey)
    return {event: tuple(started) for event, started in entering.items()}
