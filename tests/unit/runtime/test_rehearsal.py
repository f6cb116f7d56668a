"""The example's stories, played; what a story says when it does not come true; and that the stories have teeth."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from wayline.errors import AuthorError
from wayline.playbook import compile_playbook
from wayline.playbook.stories import Story, read_stories
from wayline.playbook.texts import Findings
from wayline.runtime.rehearsal import Rehearsed, rehearse, rehearse_story

APPAREL = Path(__file__).parents[3] / "examples" / "apparel"


@cache
def apparel() -> dict[str, str]:
    """The example playbook, path to text."""
    return {str(p.relative_to(APPAREL)): p.read_text("utf-8") for p in sorted(APPAREL.rglob("*.*")) if p.is_file()}


@cache
def compiled():
    """The example playbook, compiled once."""
    return compile_playbook(apparel())


@cache
def stories() -> tuple[Story, ...]:
    """All stories of the example."""
    findings = Findings()
    found = read_stories(apparel(), compiled(), findings)
    assert findings.problems == []
    return found


@pytest.mark.parametrize("story", stories(), ids=[f"{Path(s.file).stem}: {s.name}" for s in stories()])
def test_the_example_does_what_its_owners_expect(story):
    assert [str(problem) for problem in rehearse_story(story, compiled()).problems] == []


def test_a_rehearsal_is_the_same_twice():
    story = stories()[0]
    assert rehearse_story(story, compiled()) == rehearse_story(story, compiled())


# ------------------------------------------------------------------ stories that do not come true

ABANDONED = """
      - {event: Product Added, properties: {sku: BOOT, category: boots, price: 149.00, quantity: 1}}
      - {event: Checkout Step Viewed, properties: {step: 1}}
      - after: 2 hours
"""


def told(beats: str, more: str = "") -> list[str]:
    """What the rehearsal of one story says, without the story's name."""
    text = (
        "shelf: [{sku: BOOT, name: Boot, category: boots, price: 149.00, available: 3}]\n"
        f"people: {{dan: {{}}, eva: {{consent: []}}}}\nstories:\n  - story: it\n{more}    beats:{beats}"
    )
    files = {file: source for file, source in apparel().items() if not file.startswith("tests/")}
    (played,) = rehearse({**files, "tests/it.yaml": text})
    return [str(problem) for problem in played.problems]


def test_another_message_than_expected_is_named():
    assert told(ABANDONED + "      - expect: {sent: {journey: welcome}}\n") == [
        "tests/it.yaml:9: it: expected sent: journey welcome, who dan; "
        "came: coupon of cart-discount by email (cart-coupon, showing BOOT) to dan."
    ]


def test_no_message_where_one_was_expected_says_what_held_it():
    (problem,) = told(
        ABANDONED.replace("event:", "who: eva, event:") + "      - expect: {sent: {who: eva, journey: cart-discount}}\n"
    )
    assert problem == (
        "tests/it.yaml:9: it: expected sent: journey cart-discount, who eva; came: nothing was sent. Held: coupon of "
        "cart-discount by email to eva at consent: no consent for marketing by email: no grant is on record, or it was "
        "withdrawn."
    )


def test_a_message_where_none_was_expected_is_named():
    assert told(ABANDONED + "      - expect: {nothing: true}\n") == [
        "tests/it.yaml:9: it: expected nothing sent; "
        "came: coupon of cart-discount by email (cart-coupon, showing BOOT) to dan."
    ]


def test_one_message_too_many_is_named():
    beats = """
      - {event: Order Completed, properties: {order_id: "1"}}
      - {event: Order Shipped, properties: {order_id: "1"}}
      - expect: {sent: {journey: order-shipped}}
"""
    assert told(beats) == [
        "tests/it.yaml:8: it: expected nothing else sent; "
        "came: confirmation of order-confirmation by email (order-confirmation) to dan."
    ]


def test_a_refusal_that_did_not_happen_says_which_did():
    (problem,) = told(ABANDONED + "      - expect: {held: {journey: cart-recovery, gate: budget}}\n")
    assert problem.startswith(
        "tests/it.yaml:9: it: expected to be held: journey cart-recovery, gate budget, who dan; came: "
    )
    assert "at outranked: another message wins: cart-discount ranks higher (540 over 499)" in problem


def test_another_step_than_expected_is_named():
    assert told(ABANDONED + "      - expect: {inside: {cart-recovery: listen}}\n") == [
        "tests/it.yaml:9: it: expected dan in step 'listen' of cart-recovery; came: 'remind'."
    ]


def test_a_text_that_does_not_say_so_is_told():
    (problem,) = told(ABANDONED + "      - expect: {sent: {journey: cart-discount, says: FIRST20}}\n")
    assert "expected sent: journey cart-discount, says FIRST20" in problem.replace(", who dan", "")


def test_an_event_that_the_collector_rejects_is_told():
    (problem,) = told(
        "\n      - {event: Product Viewed, properties: {sku: BOOT, price: cheap}}\n      - expect: {nothing: true}\n"
    )
    assert problem.startswith("tests/it.yaml:6: it: the event 'Product Viewed' is rejected: ")


def test_what_an_author_misspells_is_found_before_anything_is_played():
    beats = """
      - {event: Product Added, who: dam, properties: {sku: BOOT}}
      - {evnt: Product Added}
      - {after: a while}
      - expect: {sent: {journey: cart-recovry}, inside: {welcome: gret}}
      - expect: {}
      - {event: Product Added, ago: 1 day, late: 1 day}
"""
    with pytest.raises(AuthorError) as caught:
        told(beats, more="    starts: today\n")
    assert [(problem.line, problem.text.partition(",")[0]) for problem in caught.value.problems] == [
        (5, "expected a local time such as '2026-11-24 10:00'"),
        (7, "this is about 'dam'"),
        (8, "expected a beat with one of 'event'"),
        (9, "expected a duration such as '30 minutes'"),
        (10, "a message of journey 'cart-recovry'"),
        (10, "the person waits in step of welcome 'gret'"),
        (11, "nothing is expected. Say what was sent"),
        (12, "an event is either long past ('ago') or late ('late'). Keep one of them."),
    ]


def test_a_text_may_say_what_is_remembered():
    welcome = apparel()["content/welcome.yaml"]
    lead = "    subject: Welcome to Larkfell\n    text: |\n"
    assert lead in welcome
    seen = "      {{ visits_30d }} visits, {{ top_category }}; {{ last_seen | date }}; {{ viewed[0].price | money }}\n"
    files = {file: text for file, text in apparel().items() if not file.startswith("tests/")}
    files["content/welcome.yaml"] = welcome.replace(lead, lead + seen)
    files["tests/it.yaml"] = """
people: {eva: {consent: []}}
stories:
  - story: it
    beats:
      - {event: Product Viewed, properties: {sku: BOOT, category: boots, price: 149.00}}
      - {event: Consent Granted, properties: {channel: email, purpose: marketing, method: form}}
      - expect: {sent: {content: welcome, says: "1 visits, boots; 24 November 2026; €149.00"}}
"""
    (played,) = rehearse(files)
    assert [str(problem) for problem in played.problems] == []


# ------------------------------------------------------------------ the stories have teeth

MUTANTS = {
    "a checkout is not left in peace": (
        "policy.yaml",
        "checkout_at > now - 2 days AND",
        "checkout_at > now - 1 second AND",
    ),
    "tickets are not looked at": (
        "policy.yaml",
        "open_tickets >= 1 OR ticket_closed > now - 1 day",
        "open_tickets >= 99",
    ),
    "delays are not looked at": ("policy.yaml", "while: delayed_orders >= 1", "while: delayed_orders >= 99"),
    "a match nobody asks for": ("journeys/cart-recovery.yaml", "cart_value >= 20", "cart_value >= 19"),
    "no caps": (
        "policy.yaml",
        "marketing-a-day:  {at_most: 1, per: 24 hours}",
        "marketing-a-day:  {at_most: 9, per: 24 hours}",
    ),
    "no quiet hours": ("policy.yaml", '{from: "21:00", to: "08:00"}', '{from: "21:00", to: "21:01"}'),
    "stock does not matter": ("policy.yaml", ", claims,", ","),
    "a coupon for everybody": ("journeys/cart-discount.yaml", " AND order_count = 0", ""),
    "a reminder ranked first": ("policy.yaml", "cart-recovery: 4.99", "cart-recovery: 9.99"),
    "a look takes all day": ("journeys/cart-recovery.yaml", "look:   {wait: 4 hours", "look:   {wait: 9 hours"),
    "an order is any order": ("journeys/order-confirmation.yaml", "exits_match: order_id\n", ""),
    "a confirmation per customer": ("journeys/order-confirmation.yaml", "reentry: per order_id", "reentry: once"),
    "a budget nobody looks at": ("policy.yaml", ", budget]", "]"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_playbook_that_forgets_a_rule_fails_a_story(mutant):
    file, was, becomes = MUTANTS[mutant]
    assert was in apparel()[file]
    files = {**apparel(), file: apparel()[file].replace(was, becomes)}
    try:
        played = rehearse(files)
    except AuthorError as error:
        pytest.fail(f"the mutant does not compile:\n{error}")
    assert any(not one.is_fine for one in played), mutant


def test_a_rehearsal_knows_whether_it_went_well():
    assert Rehearsed(stories()[0], ()).is_fine
