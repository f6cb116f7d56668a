"""Whatever a template says and whatever its values are, it is said, or refused with a reason."""

from __future__ import annotations

from datetime import UTC, date, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from wayline.domain import Content, Refusal
from wayline.errors import AuthorError
from wayline.orchestration.content import FILTERS, OUTPUT_MAX, Rendered, reads, render

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["2026-11-25", "https://x.example", "<b>&", "1e999", "9" * 5000]),
    st.just(datetime(2026, 11, 25, tzinfo=UTC)),
    st.just(date(2026, 11, 25)),
)
FIELDS = st.dictionaries(st.sampled_from(["name", "price", "url", "currency", "zone"]), PLAIN, max_size=3)
VALUES = st.dictionaries(
    st.sampled_from(["a", "b", "shop", "products", "url"]),
    st.one_of(PLAIN, st.lists(PLAIN, max_size=3), FIELDS),
    max_size=5,
)

NAMES = st.sampled_from(
    ["a", "b", "a.name", "shop.currency", "products", "products[0]", "products.first.name", "url", "nil", "a[b]"]
)
LITERALS = st.sampled_from(
    [
        "'x'",
        "''",
        "0",
        "-1",
        "3.5",
        "1e300",
        "99999999999999999999",
        "true",
        "nil",
        "empty",
        "blank",
        "(1..3)",
        "(1..b)",
    ]
)
OPERANDS = st.one_of(NAMES, LITERALS)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """A value and a chain of filters, with arguments that may fit or not."""
    said = draw(OPERANDS)
    for _ in range(draw(st.integers(0, 3))):
        arguments = draw(st.lists(OPERANDS, max_size=2))
        said += f" | {draw(st.sampled_from(FILTERS))}" + (f": {', '.join(arguments)}" if arguments else "")
    return said


CONDITIONS = st.builds(
    lambda a, sign, b: f"{a} {sign} {b}",
    OPERANDS,
    st.sampled_from(["==", "!=", "<", ">=", "contains", "and", "or"]),
    OPERANDS,
)


@st.composite
def templates(draw: st.DrawFn, depth: int = 3) -> str:
    """A template of every tag there is, nested a little."""
    kind = draw(
        st.sampled_from(
            ["text", "output", "if", "for", "assign", "capture", "case", "abort"] if depth else ["text", "output"]
        )
    )
    inner = templates(depth=depth - 1) if depth else st.just("")
    match kind:
        case "text":
            said = draw(st.text(alphabet="ab \n{}%", max_size=6))
        case "output":
            said = f"{{{{ {draw(expressions())} }}}}"
        case "if":
            said = f"{{% if {draw(CONDITIONS)} %}}{draw(inner)}{{% else %}}{draw(inner)}{{% endif %}}"
        case "for":
            said = f"{{% for a in {draw(OPERANDS)} %}}{draw(inner)}{{% endfor %}}"
        case "assign":
            said = f"{{% assign b = {draw(expressions())} %}}{draw(inner)}"
        case "capture":
            said = f"{{% capture b %}}{draw(inner)}{{% endcapture %}}{draw(inner)}"
        case "case":
            said = f"{{% case {draw(OPERANDS)} %}}{{% when {draw(OPERANDS)} %}}{draw(inner)}{{% endcase %}}"
        case _:
            said = f"{{% if {draw(NAMES)} %}}{{% abort {draw(OPERANDS)} %}}{{% endif %}}"
    return said + (draw(inner) if draw(st.booleans()) else "")


@settings(max_examples=100, deadline=None)
@given(templates(), VALUES, st.sampled_from(["text", "html"]))
def test_a_text_is_said_or_refused(source: str, values: dict[str, object], part: str) -> None:
    try:
        reads("content/any.yaml", 1, source, part=part)
    except AuthorError:
        return  # its author was told, and nobody can use it
    content = Content(name="any", channel="email", version="1", languages={"en": {part: source}})
    said = render(content, "en", values)
    if isinstance(said, Refusal):
        assert said.reason
        assert said.fact.startswith(f"any, {part} in en: ")
    else:
        assert isinstance(said, Rendered)
        assert len(said.parts[part].encode(errors="replace")) <= OUTPUT_MAX
    assert said == render(content, "en", values)
