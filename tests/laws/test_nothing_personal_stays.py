"""Law 9, at the door: no identifier of an event's person occurs in any byte of the event, wherever it was put."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wayline.errors import Rejected
from wayline.observation.events import Parsed, parse, parse_batch
from wayline.observation.vocabulary import SHAPES, VOCABULARY

NOW = datetime(2024, 11, 29, 8, tzinfo=UTC)
LETTERS = "abcdefghkmnpqrstuvwxyz23456789"

canaries = st.text(LETTERS, min_size=10, max_size=16).map("c-{}".format)
mailboxes = st.tuples(st.text(LETTERS, min_size=3, max_size=8), st.sampled_from(["example.com", "Mail.example"])).map(
    "@".join
)
numbers = st.integers(1_000_000, 99_999_999).map("+49 170 {}".format)
plain = st.one_of(st.text(LETTERS + " ", max_size=12), st.integers(0, 10**6), st.booleans(), st.none())
texts = st.text(LETTERS + " ", max_size=12)
textual = sorted(name for name, shape in SHAPES.items() if shape in ("id", "text", "label", "scanned", "url", "link"))
unknown = st.text(LETTERS, min_size=1, max_size=8).filter(lambda name: name not in SHAPES)


def keyed(kind: str, value: str) -> str:
    return blake2b(f"{kind}\0{value}".encode(), key=b"a test's key", digest_size=16).hexdigest()


def told(secret: str) -> st.SearchStrategy[str]:
    """Ways in which people's ids come to stand in other texts."""
    ways = ["{}", "{} ", "of {}", "/account/{}/orders", "https://x.example/?id={}&b=1", "{0}{0}", "x\\n{}"]
    return st.sampled_from(ways).map(lambda way: way.format(secret))


@st.composite
def leaking(draw: st.DrawFn) -> tuple[dict[str, Any], list[str]]:
    """A message that tells its person's identifiers in places where they do not belong."""
    user, browser, mailbox, number = draw(canaries), draw(canaries), draw(mailboxes), draw(numbers)
    secrets = [user, browser, mailbox, number]
    leak = st.one_of([told(secret) for secret in secrets])
    value = st.recursive(
        st.one_of(plain, leak),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.one_of(unknown, leak), inner, max_size=3)
        ),
        max_leaves=8,
    )
    products = st.lists(st.dictionaries(st.sampled_from(textual), st.one_of(texts, leak), max_size=4), max_size=3)
    raw = {
        "type": draw(st.sampled_from(["track", "identify", "page", "group"])),
        "event": draw(st.sampled_from(sorted(VOCABULARY))),
        "messageId": draw(st.one_of(st.just("m-1"), leak)),
        "userId": user,
        "anonymousId": browser,
        "properties": draw(st.dictionaries(st.one_of(unknown, leak), value, max_size=4))
        | {"products": draw(products)}
        | draw(st.dictionaries(st.sampled_from(textual), st.one_of(texts, leak), max_size=3)),
        "traits": draw(st.dictionaries(unknown, value, max_size=3)) | {"email": mailbox},
        "context": {
            "traits": {"email": mailbox, "phone": number} | draw(st.dictionaries(unknown, value, max_size=2)),
            "page": draw(st.dictionaries(st.sampled_from(["path", "url", "search", "title"]), leak)),
            draw(st.text(LETTERS, min_size=1, max_size=6)): draw(value),
        },
    }
    return raw, secrets


def read(raw: dict[str, Any]) -> Parsed:
    try:
        return parse(raw, source="web", received_at=NOW, keyed=keyed)
    except Rejected:
        assume(False)
        raise


@settings(max_examples=100, deadline=None)
@given(leaking())
def test_no_identifier_stays_in_the_event(leaky: tuple[dict[str, Any], list[str]]) -> None:
    raw, secrets = leaky
    event = read(raw).event
    for encoded in (msgspec.msgpack.encode(event), msgspec.json.encode(event)):
        for secret in secrets:
            for form in (secret, secret.lower(), secret.replace(" ", "")):
                assert form.encode() not in encoded


@settings(max_examples=100, deadline=None)
@given(st.text(LETTERS, min_size=1, max_size=8), mailboxes, numbers)
def test_other_people_s_addresses_do_not_stay_either(name: str, mailbox: str, number: str) -> None:
    raw = {
        "type": "track", "event": "Gift Sent", "messageId": f"gift/{mailbox}", "userId": "somebody",
        "properties": {name: f"to {mailbox}", "deep": {name: [number]}},
    }  # fmt: skip
    parsed = read(raw)
    encoded = msgspec.json.encode(parsed.event)
    assert mailbox.encode() not in encoded and number.encode() not in encoded
    assert mailbox in str(parsed.personal) and number in str(parsed.personal)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(name for name in SHAPES if SHAPES[name] == "text")), numbers, texts)
def test_a_number_does_not_stay_in_a_known_text(name: str, number: str, words: str) -> None:
    told = f"{words} {number}"
    raw = {
        "type": "track", "event": "Product Viewed", "messageId": "m", "userId": "somebody",
        "properties": {name: told, "products": [{name: told}]},
    }  # fmt: skip
    parsed = read(raw)
    assert number.encode() not in msgspec.json.encode(parsed.event) and number in str(parsed.personal)


@settings(max_examples=100, deadline=None)
@given(leaking())
def test_reading_is_a_function_of_the_message(leaky: tuple[dict[str, Any], list[str]]) -> None:
    raw, _ = leaky
    before = repr(raw)
    assert read(raw) == read(raw) and repr(raw) == before


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.characters(categories=["Cs", "Cc"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=12,
)
MEMBERS = sorted({"type", "event", "messageId", "userId", "anonymousId", "properties", "traits", "context", "timestamp",
                  "sentAt", "originalTimestamp", "previousId", "groupId", "name", "category"})  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(values, st.dictionaries(st.sampled_from(MEMBERS), values, max_size=8)), max_size=5))
def test_any_json_gets_a_verdict_and_no_neighbour_is_touched(poison: list[Any]) -> None:
    good = {"type": "track", "event": "Product Viewed", "messageId": "m", "userId": "somebody"}
    verdicts = parse_batch([*poison, good], source="web", received_at=NOW, keyed=keyed)
    assert len(verdicts) == len(poison) + 1
    for verdict in verdicts:
        assert isinstance(verdict, Parsed | Rejected)
        if isinstance(verdict, Parsed):
            event = msgspec.msgpack.decode(msgspec.msgpack.encode(verdict.event), type=type(verdict.event))
            assert event == verdict.event
            msgspec.json.encode(verdict.personal)
    assert isinstance(verdicts[-1], Parsed)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(SHAPES)), values)
def test_any_value_of_a_known_name_gets_a_verdict(name: str, value: Any) -> None:
    raw = {"type": "track", "event": "Order Completed", "messageId": "m", "userId": "somebody",
           "properties": {name: value, "products": [{name: value}]}}  # fmt: skip
    (verdict,) = parse_batch([raw], source="web", received_at=NOW, keyed=keyed)
    if isinstance(verdict, Parsed):
        assert msgspec.json.decode(msgspec.json.encode(verdict.event.properties)) == verdict.event.properties
