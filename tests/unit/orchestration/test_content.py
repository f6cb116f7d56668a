"""What a text says, when it is refused, and what a hostile one cannot do."""

from __future__ import annotations

import time
import tracemalloc
from datetime import UTC, date, datetime

import pytest

from wayline.domain import Content, Refusal
from wayline.errors import AuthorError, Broken
from wayline.orchestration.content import OUTPUT_MAX, Rendered, reads, render
from wayline.orchestration.wording import dated, priced

SHOP = {"name": "Larkfell", "currency": "EUR", "zone": "Europe/Berlin", "url": "https://larkfell.example"}
JACKETS = [
    {"sku": "JKT-1", "name": "Storm <jacket>", "price": 12_900, "url": "https://larkfell.example/1"},
    {"sku": "JKT-2", "name": "Rain jacket", "price": 8_950, "url": "https://larkfell.example/2"},
]


def a_text(source: str, part: str = "text", **languages: str) -> Content:
    """A content of one part."""
    sources = {"en": source, **languages}
    return Content(
        name="note",
        channel="email",
        version="1",
        languages={language: {part: said} for language, said in sources.items()},
    )


def said(source: str, part: str = "text", language: str = "en", **values: object) -> str:
    """The text that comes out, which must not be refused."""
    rendered = render(a_text(source, part), language, {"shop": SHOP, **values})
    assert isinstance(rendered, Rendered), rendered
    return rendered.parts[part]


def refused(source: str, part: str = "text", **values: object) -> Refusal:
    """Why nothing comes out."""
    rendered = render(a_text(source, part), "en", {"shop": SHOP, **values})
    assert isinstance(rendered, Refusal), rendered
    return rendered


# ------------------------------------------------------------------ what is not known is never written


@pytest.mark.parametrize("customer", [{}, {"first_name": None}, {"first_name": ""}])
@pytest.mark.parametrize(
    "source",
    [
        "Hi {{ customer.first_name }},",
        "Hi {{ customer.first_name | capitalize }},",
        "{% assign name = customer.first_name %}Hi {{ name }},",
        "{% for letter in customer.first_name %}{{ letter }}{% endfor %}",
        "{{ customer.first_name | append: '!' }}",
    ],
)
def test_a_missing_value_refuses_the_text(source, customer):
    refusal = refused(source, customer=customer)
    assert refusal.reason == "a text is not sent with a gap in it"
    assert refusal.fact.startswith("note, text in en: ")


def test_a_missing_value_may_be_given_another_or_asked_about():
    assert said('Hi {{ customer.first_name | default: "there" }},') == "Hi there,"
    assert said("Hi{% if customer.first_name %} {{ customer.first_name }}{% endif %},") == "Hi,"
    assert said("{% if customer.first_name == nil %}you{% else %}no{% endif %}") == "you"
    assert said("Hi {{ customer.first_name }},", customer={"first_name": "Ada"}) == "Hi Ada,"


def test_the_refusal_says_where_and_what():
    fact = refused("Hello\n{{ trigger.order_id }}").fact
    assert fact == "note, text in en: 'trigger' is undefined (line 2)"
    fact = refused("{{ product.nmae }}", product={"name": "x"}).fact
    assert fact == "note, text in en: product.nmae is undefined (line 1)"


def test_an_abort_is_a_refusal_with_its_reason():
    source = "{% if shop.currency != 'USD' %}{% abort 'only sold in the States' %}{% endif %}Buy!"
    assert refused(source) == Refusal(
        "the text says it should not be sent", "note, text in en: only sold in the States"
    )


# ------------------------------------------------------------------ what it says


def test_markup_escapes_what_others_wrote_and_plain_text_does_not():
    loop = "{% for product in products %}{{ product.name }};{% endfor %}"
    assert said(loop, "html", products=JACKETS) == "Storm &lt;jacket&gt;;Rain jacket;"
    assert said(loop, "text", products=JACKETS) == "Storm <jacket>;Rain jacket;"
    assert said("{{ name | default: '<b>' }}", "html", name="<script>") == "&lt;script&gt;"
    assert said("{% capture x %}{{ name }}{% endcapture %}{{ x }}", "html", name="<i>") == "&lt;i&gt;"


def test_a_link_that_a_browser_should_not_follow_is_missing():
    assert refused("{{ product.url }}", product={"url": "javascript:alert(1)"}).reason.startswith("a text is not sent")
    assert said("{{ product.url }}", product={"url": "https://x.example/?a=1"}) == "https://x.example/?a=1"


def test_a_subject_is_one_line():
    assert said("Hello\n{{ name }}", "subject", name="Ada\r\nBcc: all@example.com") == "Hello Ada Bcc: all@example.com"


def test_money_is_written_as_its_language_does():
    assert said("{{ 129900 | money }}") == "€1,299.00"
    assert said("{{ price | money: 'USD' }}", price=5) == "$0.05"
    german = render(a_text("{{ price | money }}", de="{{ price | money }}"), "de", {"shop": SHOP, "price": 129_900})
    assert isinstance(german, Rendered)
    assert german.parts["text"] == "1.299,00 €"
    assert refused("{{ price | money }}", price=12.5).fact.startswith("note, text in en: money needs whole minor units")
    assert refused("{{ price | money }}").reason == "a text is not sent with a gap in it"


def test_days_are_written_as_their_language_does():
    assert said("{{ day | date }}", day="2026-12-24") == "24 December 2026"
    # Late in the evening in UTC it is tomorrow in the shop.
    assert said("{{ at | date }}", at=datetime(2026, 12, 24, 23, 30, tzinfo=UTC)) == "25 December 2026"
    assert said("{{ at | date: '%d.%m.%Y %H:%M' }}", at="2026-12-24T10:00:00Z") == "24.12.2026 11:00"
    assert "date needs a day" in refused("{{ day | date }}", day="tomorrow").fact
    assert "date needs a day" in refused("{{ 'now' | date }}").fact


def test_a_text_reads_no_clock():
    assert refused("{{ now }}").reason == "a text is not sent with a gap in it"
    assert refused("{{ today }}").reason == "a text is not sent with a gap in it"


def test_the_nearest_language_is_spoken():
    content = a_text("colour", de="Farbe", **{"de-AT": "Farb"})
    for language, text in (("de-AT", "Farb"), ("de-CH", "Farbe"), ("de", "Farbe"), ("fr", "colour"), ("", "colour")):
        rendered = render(content, language, {})
        assert isinstance(rendered, Rendered)
        assert rendered.parts["text"] == text


def test_parts_do_not_see_each_others_variables():
    parts = {"subject": "{% assign x = 'left over' %}Hi", "text": "{{ x }}"}
    content = Content(name="note", channel="email", version="1", languages={"en": parts})
    assert isinstance(render(content, "en", {}), Refusal)


def test_values_are_plain():
    with pytest.raises(Broken, match="'thing' is a object"):
        render(a_text("{{ thing }}"), "en", {"thing": object()})


@pytest.mark.parametrize(
    "source",
    [
        "{{ customer.__class__ }}",
        "{{ customer['__class__'] }}",
        "{{ customer.keys }}",
        "{{ products[0].items }}",
        "{{ shop.name.upper }}",
        "{{ shop.name.__len__ }}",
    ],
)
def test_no_attribute_of_an_object_can_be_reached(source):
    assert refused(source, customer={"first_name": "Ada"}, products=JACKETS).reason.startswith("a text is not sent")


# ------------------------------------------------------------------ what a hostile text cannot do

_DOUBLING = "{% assign a = 'aaaaaaaaaaaaaaaaaaaaaaaa' %}" + "{% assign a = a | append: a %}" * 60 + "{{ a }}"
_CHAIN = "{% assign a = 'aaaaaaaaaaaaaaaaaaaaaaaa' %}" + "{% assign a = a | append: a %}" * 10
HOSTILE = {
    "nested loops": "{% for a in (1..1000) %}{% for b in (1..1000) %}{% for c in (1..1000) %}x" + "{% endfor %}" * 3,
    "one endless loop": "{% for a in (1..9999999999) %}x{% endfor %}",
    "a loop unrolled backwards": "{% for a in (1..999999999) reversed %}x{% endfor %}",
    "a loop whose length is a value": "{% for a in (1..big) %}x{% endfor %}",
    "many loops, one after another": "{% for a in (1..900) %}x{% endfor %}" * 500,
    "doubling by assignment": _DOUBLING,
    "doubling by capture": "{% assign a = 'aaaaaaaaaaaaaaaa' %}"
    + "{% capture a %}{{ a }}{{ a }}{{ a }}{{ a }}{% endcapture %}" * 30,
    "a long text many times": _CHAIN + "{% for i in (1..900) %}{{ a }}{% endfor %}",
    "one filter after another": _CHAIN + "{{ a" + " | append: a" * 2000 + " }}",
    "filters that make texts longer": "{% assign a = '&&&&&&&&&&&&&&&&' %}" + "{{ a" + " | escape" * 2000 + " }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_refused_at_once_and_cheaply(name):
    tracemalloc.start()
    started = time.perf_counter()
    refusal = refused(HOSTILE[name], big=10**12)
    seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refusal.reason == "a text must stay within its limits"
    # Parsing under tracemalloc is slow; without it the slowest of these takes a tenth of this.
    assert seconds < 5
    assert peak < 100_000_000


@pytest.mark.parametrize(
    "source",
    [
        "{% include 'secrets' %}",
        "{% render 'secrets' %}",
        "{% tablerow i in (1..10) %}x{% endtablerow %}",
        "{% liquid\nassign x = 1 %}",
        "{% increment n %}",
        "{% cycle 'a', 'b' %}",
        "{% if true %}" * 20 + "{% endif %}" * 20,
        "{% abort %}",
        "{% nonsense %}",
        "{{ 'x' | replace: 'x', 'yyyyyyyy' }}",
        "{{ 'x' | split: '' }}",
        "{{ 9 | times: 9 }}",
        "{{ name | safe }}",
        "{{ name | base64_encode }}",
        "x" * 200_000,
    ],
)
def test_what_a_text_may_not_use_its_author_is_told(source):
    with pytest.raises(AuthorError) as caught:
        reads("content/note.yaml", 7, source, part="text")
    assert str(caught.value).startswith("content/note.yaml:7: ")


def test_the_author_is_told_the_line():
    with pytest.raises(AuthorError) as caught:
        reads("content/note.yaml", 7, "one\ntwo\n{% if x %}\nfour", part="text")
    assert str(caught.value).startswith("content/note.yaml:10: ") or str(caught.value).startswith(
        "content/note.yaml:9: "
    )


def test_what_a_text_reads_is_known():
    source = """{{ customer.first_name | default: "there" }} {% for product in products %}{{ product.name }}{% endfor %}
    {% assign total = trigger.total %}{{ total | money: trigger.currency }}
    {% if cart_value %}{% abort shop.name %}{% endif %}"""
    assert reads("x", 1, source, part="text") == {
        "customer.first_name",
        "products",
        "trigger.total",
        "trigger.currency",
        "cart_value",
        "shop.name",
    }


def test_output_at_the_limit_is_still_said():
    assert len(said("{{ a }}", a="x" * OUTPUT_MAX)) == OUTPUT_MAX
    assert refused("{{ a }}x", a="x" * OUTPUT_MAX).reason == "a text must stay within its limits"


# ------------------------------------------------------------------ wording


@pytest.mark.parametrize(
    ("amount", "currency", "language", "text"),
    [
        (0, "EUR", "en", "€0.00"),
        (-1999, "EUR", "de-AT", "-19,99 €"),
        (123_456_789, "EUR", "de", "1.234.567,89 €"),
        (1999, "EUR", "nl", "€ 19,99"),
        (500, "JPY", "en", "500 JPY"),
        (1234, "KWD", "en", "1.234 KWD"),
        (1999, "EUR", "fi", "19.99 EUR"),
        (1999, "CHF", "de", "19.99 CHF"),
    ],
)
def test_amounts(amount, currency, language, text):
    assert priced(amount, currency, language) == text


@pytest.mark.parametrize(
    ("value", "language", "form", "text"),
    [
        (date(2026, 3, 1), "de", None, "1. März 2026"),
        (date(2026, 3, 1), "es", None, "1 de marzo de 2026"),
        (date(2026, 3, 1), "fi", None, "2026-03-01"),
        ("2026-03-29T00:30:00+00:00", "en", "%H:%M", "01:30"),
        ("2026-03-29T01:30:00+00:00", "en", "%H:%M", "03:30"),
        (date(2026, 3, 1), "en", "%d %B %% %q", "01 March % %q"),
        ("nonsense", "en", None, None),
        (datetime(2026, 3, 1), "en", None, "1 March 2026"),
        (7, "en", None, None),
    ],
)
def test_days(value, language, form, text):
    assert dated(value, language, "Europe/Berlin", form) == text
