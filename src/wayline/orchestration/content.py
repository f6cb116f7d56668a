"""Content: approved Liquid templates, turned into the parts of one message, or into a refusal.

A template sees plain values only (mappings, lists, texts, numbers, instants), never an object, a clock or a file. What
is not known is never written as nothing: a missing value refuses the text, so that the next action of the proposal is
tried, unless the author says `{{ customer.first_name | default: "there" }}` or asks `{% if customer.first_name %}`.
Everything a template may do has a limit, because templates are written by people in a hurry and by attackers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from functools import lru_cache
from itertools import takewhile
from typing import Any, TextIO

from liquid import Environment, StrictUndefined
from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression
from liquid.builtin.tags.for_tag import ForNode, ForTag
from liquid.context import RenderContext
from liquid.exceptions import (
    LiquidError,
    LocalNamespaceLimitError,
    LoopIterationLimitError,
    ResourceLimitError,
    UndefinedError,
)
from liquid.expression import Expression
from liquid.filter import with_context
from liquid.output import LimitedStringIO
from liquid.static_analysis import Variable
from liquid.stream import TokenStream
from liquid.tag import Tag
from liquid.template import BoundTemplate
from liquid.token import TOKEN_EOF, TOKEN_TAG
from liquid.utils import ReadOnlyChainMap
from msgspec import Struct

from wayline.domain import Content, Refusal
from wayline.errors import AuthorError, Broken, Problem
from wayline.orchestration.wording import dated, priced

__all__ = [
    "DEPTH_MAX",
    "FILTERS",
    "ITERATIONS_MAX",
    "LOCALS_MAX",
    "NESTING_MAX",
    "OUTPUT_MAX",
    "SOURCE_MAX",
    "TAGS",
    "Rendered",
    "reads",
    "render",
]

SOURCE_MAX = 131_072  # characters of one part
OUTPUT_MAX = 262_144  # bytes one part may become
ITERATIONS_MAX = 1_000  # turns of all loops of one part together
LOCALS_MAX = 65_536  # characters one part may assign, capture and filter
DEPTH_MAX = 12  # scopes inside each other
NESTING_MAX = 12  # blocks inside each other

_FILTERS = (
    "append", "at_least", "at_most", "capitalize", "default", "downcase", "escape", "first", "last", "minus", "plus",
    "prepend", "round", "size", "strip", "truncate", "upcase", "url_encode",
)  # fmt: skip
_TAGS = ("if", "unless", "case", "break", "continue", "assign", "capture", "comment", "#")
_PSEUDO_TAGS = ("content", "output", "illegal")  # the library's own, for what stands outside of tags
_ONE_LINE = ("subject", "title")


class Rendered(Struct, frozen=True):
    """The parts of one message, and the language they are in."""

    parts: Mapping[str, str]
    language: str


def render(content: Content, language: str, values: Mapping[str, Any]) -> Rendered | Refusal:
    """The texts of a content in the nearest language it has; a refusal if any part cannot be said.

    The nearest language of `de-AT` is `de-AT`, then `de`, then the first that the content has (the shop's own).
    """
    chosen = _nearest(language, content.languages)
    known = _known(values)
    known["language"] = chosen
    parts: dict[str, str] = {}
    for part, source in content.languages[chosen].items():
        # A text is parsed once and kept: the cache is keyed by the text itself, so it can never be a stale one.
        template = _parsed(source, part == "html")
        said = _said(template, known, escapes=part == "html")
        if isinstance(said, Refusal):
            return Refusal(said.reason, f"{content.name}, {part} in {chosen}: {said.fact}")
        parts[part] = " ".join(said.split()) if part in _ONE_LINE else said
    return Rendered(parts, chosen)


def reads(file: str, line: int, source: str, *, part: str) -> frozenset[str]:
    """The dotted names a text reads from outside itself; raises AuthorError with the line if it does not parse."""
    if len(source) > SOURCE_MAX:
        raise AuthorError([Problem(file, line, f"expected at most {SOURCE_MAX} characters, found {len(source)}.")])
    try:
        template = _parsed(source, part == "html")
        analysis = template.analyze(include_partials=False)
    except LiquidError as error:
        at = error.token.start_index if error.token is not None else 0
        raise AuthorError([Problem(file, line + source.count("\n", 0, at), f"{part}: {_words(error)}")]) from error
    problems = []
    for name, spans in analysis.filters.items():
        if name not in FILTERS:
            at = line + source.count("\n", 0, spans[0].index)
            known = ", ".join(map(repr, FILTERS))
            problems.append(Problem(file, at, f"{part}: no filter {name!r}. Known: {known}."))
    if problems:
        raise AuthorError(problems)
    variables = [variable for group in analysis.globals.values() for variable in group]
    return frozenset(".".join(_dotted(variable)) for variable in variables)


def _dotted(variable: Variable) -> list[str]:
    # What follows an index or a computed key is inside a value, and no name of ours.
    return [str(name) for name in takewhile(lambda name: isinstance(name, str), variable.segments)]


def _words(error: LiquidError) -> str:
    text = error.message if isinstance(error.message, str) else str(error)
    return f"the template does not parse: {text}."


def _nearest(language: str, languages: Mapping[str, Any]) -> str:
    for wanted in (language, language.partition("-")[0]):
        if wanted in languages:
            return wanted
    return next(iter(languages))


def _said(template: BoundTemplate, known: Mapping[str, Any], *, escapes: bool) -> str | Refusal:
    context = _Context(template, globals=known)
    context.autoescape = escapes
    buffer = LimitedStringIO(limit=OUTPUT_MAX)
    try:
        for node in template.nodes:
            node.render(context, buffer)
    except _Aborted as abort:
        return Refusal("the text says it should not be sent", abort.reason)
    except UndefinedError as error:
        return Refusal("a text is not sent with a gap in it", f"{error.message} (line {_line(error, template)})")
    except ResourceLimitError as error:
        return Refusal("a text must stay within its limits", f"{error.message} (line {_line(error, template)})")
    except LiquidError as error:
        return Refusal("a text that fails is not sent", f"{error.message} (line {_line(error, template)})")
    return buffer.getvalue()


def _line(error: LiquidError, template: BoundTemplate) -> int:
    return 1 if error.token is None else error.token.source.count("\n", 0, error.token.start_index) + 1


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """What there is to say: None and empty texts are left out, so that they are missing and not blank."""
    known = {}
    for name, value in values.items():
        if value is None or value == "":
            continue
        kind = type(value)
        if kind is str:
            # A link from a product feed may hold anything; only what a browser fetches goes out.
            if name.endswith("url") and not value.startswith(("https://", "http://")):
                continue
            known[name] = value
        elif kind in _PLAIN:
            known[name] = value
        else:
            known[name] = _known_nested(name, value)
    return known


def _known_nested(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return _known(value)
    if isinstance(value, list | tuple):
        items = [item for item in value if item is not None]
        return [item if type(item) is str or type(item) in _PLAIN else _known_nested(name, item) for item in items]
    raise Broken(f"a template's values are plain, and {name!r} is a {type(value).__name__}")


_PLAIN = (int, float, bool, datetime, date)


# ------------------------------------------------------------------ what templates can do


class _Missing(StrictUndefined):
    """A value nobody knows: it may be asked about and given a default, and is never written."""

    __slots__ = ()
    force_liquid_default = True
    allowed_properties = StrictUndefined.allowed_properties | {"__bool__", "__eq__", "__liquid__", "__class__", "poke"}

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return other is None or other is False or isinstance(other, _Missing)

    __hash__ = None  # type: ignore[assignment]  # it equals None and False, which hash otherwise


class _Context(RenderContext):
    """One rendering: it knows no clock, and counts what the text takes."""

    __slots__ = ("made", "turns")

    def __init__(self, template: BoundTemplate, **options: Any) -> None:
        super().__init__(template, **options)
        self.turns = 0
        self.made = 0
        # The library's own scope has `now` and `today`; a text that reads the clock would not be the same twice.
        self.scope = ReadOnlyChainMap(self.locals, self.globals)

    def raise_for_loop_limit(self, length: int = 1) -> None:
        self.turns += length
        if self.turns > ITERATIONS_MAX:
            raise LoopIterationLimitError(f"loops turn more than {ITERATIONS_MAX} times", token=None)

    def assign(self, key: str, value: Any) -> None:
        self.make(value)
        self.locals[key] = value

    def make(self, value: Any) -> None:
        """Count what is made on the way to the output: a chain of filters can grow a text just as a variable can."""
        self.made += len(value) if hasattr(value, "__len__") else 32
        if self.made > LOCALS_MAX:
            raise LocalNamespaceLimitError(f"more than {LOCALS_MAX} characters are assigned and filtered", token=None)


class _BoundedFor(ForNode):
    """A loop that looks at its length before it unrolls anything."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        span = self.expression.iterable.evaluate(context)
        if isinstance(span, range) and (span.stop - span.start) > ITERATIONS_MAX:
            raise LoopIterationLimitError(f"loops turn more than {ITERATIONS_MAX} times", token=self.token)
        if isinstance(span, _Missing):
            raise UndefinedError(f"{self.expression.iterable} is not known", token=self.token)
        return super().render_to_output(context, buffer)


class _For(ForTag):
    node_class = _BoundedFor


class _Aborted(Exception):  # not an error: a text that says it should not be sent
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _AbortNode(Node):
    __slots__ = ("expression",)

    def __init__(self, token: Any, expression: Expression) -> None:
        super().__init__(token)
        self.expression = expression
        self.blank = False

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        raise _Aborted(str(self.expression.evaluate(context)))

    def expressions(self) -> Iterable[Any]:
        yield self.expression


class _Abort(Tag):
    """`{% abort "why" %}`: this text should not be sent, and the reason is the refusal."""

    name = "abort"
    block = False

    def parse(self, stream: TokenStream) -> Node:
        token = stream.eat(TOKEN_TAG)
        if stream.current.kind == TOKEN_EOF:
            raise LiquidError("abort needs a reason: {% abort 'why' %}", token=token)
        return _AbortNode(token, FilteredExpression.parse(self.env, stream.into_inner(tag=token, eat=False)))


@with_context
def _money(amount: Any, currency: Any = None, *, context: RenderContext) -> str:
    """Minor units as people write them: `{{ product.price | money }}`, in the shop's currency if none is given."""
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise UndefinedError(f"money needs whole minor units, found {_shown(amount)}", token=None)
    shop = context.globals.get("shop")
    code = currency or (shop.get("currency") if isinstance(shop, Mapping) else None)
    if not isinstance(code, str):
        raise UndefinedError("money needs shop.currency, which is not known", token=None)
    return priced(amount, code, str(context.globals["language"]))


@with_context
def _date(value: Any, form: Any = None, *, context: RenderContext) -> str:
    """An instant or day as people write it: `{{ trigger.promised_on | date }}`, or in a form such as "%d.%m."."""
    shop = context.globals.get("shop")
    zone = shop.get("zone", "UTC") if isinstance(shop, Mapping) else "UTC"
    text = dated(value, str(context.globals["language"]), str(zone), None if form is None else str(form))
    if text is None:
        raise UndefinedError(f"date needs a day or an instant, found {_shown(value)}", token=None)
    return text


def _shown(value: Any) -> str:
    return "nothing" if isinstance(value, StrictUndefined) or value is None else repr(value)


_OWN_FILTERS: Mapping[str, Any] = {"money": _money, "date": _date}


def _counted(plain: Callable[..., Any]) -> Callable[..., Any]:
    """The library's filter, whose results count against what one text may make."""
    needs_environment = getattr(plain, "with_environment", False)

    @with_context
    def counting(*given: Any, context: _Context, **options: Any) -> Any:
        if needs_environment:
            options["environment"] = context.env
        value = plain(*given, **options)
        context.make(value)
        return value

    return counting


FILTERS = tuple(sorted((*_FILTERS, *_OWN_FILTERS)))
"""The filters a text may use."""

TAGS = (
    "if",
    "elsif",
    "else",
    "unless",
    "case",
    "when",
    "for",
    "break",
    "continue",
    "assign",
    "capture",
    "comment",
    "abort",
)
"""The tags a text may use."""


class _Templates(Environment):
    block_nesting_limit = NESTING_MAX
    context_depth_limit = DEPTH_MAX
    loop_iteration_limit = ITERATIONS_MAX
    local_namespace_limit = LOCALS_MAX
    output_stream_limit = OUTPUT_MAX


def _environment(*, escapes: bool) -> Environment:
    made = _Templates(undefined=_Missing, strict_filters=True, autoescape=escapes)
    made.tags = {name: made.tags[name] for name in (*_PSEUDO_TAGS, *_TAGS)}
    made.filters = {name: _counted(made.filters[name]) for name in _FILTERS} | dict(_OWN_FILTERS)
    made.add_tag(_For)
    made.add_tag(_Abort)
    return made


_PLAIN_TEXT = _environment(escapes=False)
_MARKUP = _environment(escapes=True)


@lru_cache(maxsize=2048)
def _parsed(source: str, escapes: bool) -> BoundTemplate:
    return (_MARKUP if escapes else _PLAIN_TEXT).from_string(source)
