"""What a message can show beyond its key: who is logged in at the shop, and that it came by a link of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from tests.shop import NOON

from wayline.domain import Identifier
from wayline.observation.events import UNVERIFIED, Parsed, parse
from wayline.observation.proofs import IDENTITY_SECONDS_MAX, Proofs, click_token, read_identity, without_click

SECRET = b"a secret of the shop's own server"


def token(secret: bytes = SECRET, *, seconds: float = 600, header: Any = None, **claims: Any) -> str:
    """As a shop's server makes it."""

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    expires_at = int((NOON + timedelta(seconds=seconds)).timestamp())
    signed = f"{part(header or {'alg': 'HS256', 'typ': 'JWT'})}.{part({'exp': expires_at, **claims})}"
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def keyed(kind: str, value: str) -> str:
    return hashlib.blake2b(f"{kind}:{value}".encode(), digest_size=16).hexdigest()


def told(raw: dict[str, Any], **proofs: Any) -> Parsed:
    return parse(
        {"messageId": "m1", **raw}, source="web", received_at=NOON, keyed=keyed, trusted=False,
        prove=partial(Proofs(NOON, **{"secret": SECRET, **proofs}).of, keyed=keyed),
    )  # fmt: skip


def says(email: str = "ann@example.com", user_id: Any = "ann-of-the-shop", **context: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": user_id, "anonymousId": "browser-of-ann-1", "traits": {"email": email},
            "context": context}  # fmt: skip


# ------------------------------------------------------------------ who is logged in


def test_a_valid_token_names_somebody() -> None:
    assert read_identity(token(sub="ann", email="ann@example.com"), SECRET, NOON) == {
        "user_id": "ann", "email": "ann@example.com",
    }  # fmt: skip
    by_number = {"user_id": "7", "phone": "+4930123456"}
    assert read_identity(token(user_id=7, phone="+4930123456"), SECRET, NOON) == by_number


@pytest.mark.parametrize(
    "wrong, said",
    [
        (token(b"another", sub="ann"), "signature"),
        (token(sub="ann", seconds=0), "expired"),
        (token(sub="ann", seconds=IDENTITY_SECONDS_MAX + 9), "at most"),
        (token(sub="ann", header={"alg": "none"}), "HS256"),
        (token(sub="ann", header=["HS256"]), "HS256"),
        (token(sub="ann", exp="soon"), "exp"),
        (token(sub="ann", exp=True), "exp"),
        (token(), "name somebody"),
        (token(sub=["ann"]), "name somebody"),
        (token(sub="ann") + "x", "signature"),
        (token(sub="ann")[:-1], "signature"),
        (token(sub="ann").rpartition(".")[0] + ".", "signature"),
        (token(sub="ann").rpartition(".")[0] + ".ä", "signature"),
        ("", "expected"), ("a.b", "expected"), (7, "expected"), ("x" * 9000, "expected"), (None, "expected"),
    ],
)  # fmt: skip
def test_any_other_token_names_nobody_and_says_why(wrong: Any, said: str) -> None:
    refused = read_identity(wrong, SECRET, NOON)
    assert isinstance(refused, str) and said in refused


@pytest.mark.parametrize("where", ["context", "header"])
def test_s34_with_a_token_for_that_very_person_a_public_key_is_believed(where: str) -> None:
    signed = token(sub="ann-of-the-shop", email="Ann@Example.com")
    parsed = told(says(identityToken=signed)) if where == "context" else told(says(), in_header=signed)
    assert UNVERIFIED not in parsed.event.notes, parsed.event.notes
    assert signed not in str(parsed), "it is kept nowhere"
    granted = {"type": "track", "event": "Consent Granted", "userId": "ann-of-the-shop", "properties": {}}
    assert told(granted, in_header=signed).event.name == "Consent Granted"


@pytest.mark.parametrize(
    "raw, signed, note",
    [
        (says(), "", ""),
        (says(), token(sub="bea-of-the-shop", email="ann@example.com"), "it names another user_id"),
        (says(), token(sub="ann-of-the-shop"), "it names no email"),
        (says("mallory@example.com"), token(sub="ann-of-the-shop", email="ann@example.com"), "it names another email"),
        (says(), token(sub="ann-of-the-shop", email="ann@example.com", seconds=-1), "it has expired"),
        (says(), token(b"another", sub="ann-of-the-shop", email="ann@example.com"), "its signature is wrong"),
        (says(externalIds=[{"type": "email", "id": "bea@example.com"}]),
         token(sub="ann-of-the-shop", email="ann@example.com"), "it names another email"),
        (says(externalIds=[{"type": "loyalty_id", "id": "card-of-bea"}]),
         token(sub="ann-of-the-shop", email="ann@example.com"), "it names no loyalty_id"),
        (says(externalIds=[{"type": "loyalty_id", "id": "card-of-bea"}]),
         token(sub="ann-of-the-shop", email="ann@example.com", external_ids={"loyalty_id": "card-of-ann"}),
         "it names another loyalty_id"),
    ],
)  # fmt: skip
def test_s34_without_one_the_event_is_kept_as_a_claim_with_the_reason(
    raw: dict[str, Any], signed: str, note: str
) -> None:
    event = told(raw, in_header=signed).event
    assert UNVERIFIED in event.notes
    assert any(note in each for each in event.notes), event.notes
    granted = {**raw, "type": "track", "event": "Consent Granted", "context": {"traits": raw["traits"]}}
    assert told(granted, in_header=signed).event.name == "Consent Claimed" or "externalIds" in str(raw)


def test_s34_a_token_may_vouch_for_a_card_too() -> None:
    raw = says(externalIds=[{"type": "loyalty_id", "id": "card-of-ann"}])
    signed = token(sub="ann-of-the-shop", email="ann@example.com", external_ids={"loyalty_id": "card-of-ann"})
    event = told(raw, in_header=signed).event
    assert UNVERIFIED not in event.notes and "loyalty_id" in {each.kind for each in event.identifiers}


def test_a_source_without_a_secret_believes_no_token() -> None:
    event = told(says(identityToken=token(b"", sub="ann-of-the-shop", email="ann@example.com")), secret=b"").event
    assert UNVERIFIED in event.notes and any("identity_secret_env" in each for each in event.notes)


def test_a_token_opens_no_event_that_only_a_server_may_tell() -> None:
    shipped = {"type": "track", "event": "Order Shipped", "userId": "ann-of-the-shop", "properties": {}}
    with pytest.raises(Exception, match="public key"):
        told(shipped, in_header=token(sub="ann-of-the-shop"))


# ------------------------------------------------------------------ who came by a link


@pytest.mark.parametrize(
    "address, kept",
    [
        ("https://shop.example/a?wl=T", "https://shop.example/a"),
        ("https://shop.example/a?wl=T&b=1", "https://shop.example/a?b=1"),
        ("https://shop.example/a?a=1&wl=T", "https://shop.example/a?a=1"),
        ("https://shop.example/a?a=1&wl=T&b=2#c", "https://shop.example/a?a=1&b=2#c"),
        ("https://shop.example/a?wl=T#c", "https://shop.example/a#c"),
        ("?wl=T", ""), ("wl=T&b=1", "b=1"), ("?a=1&wl=T&wl=U", "?a=1"),
        ("https://shop.example/a?awl=x", "https://shop.example/a?awl=x"),
    ],
)  # fmt: skip
def test_a_click_token_is_taken_out_of_an_address(address: str, kept: str) -> None:
    assert without_click(address) == (kept, "T" if "wl=T" in address else "")


ANNS = click_token("k-ann", NOON + timedelta(minutes=10), keyed)


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "page", "context": {"page": {"url": "https://shop.example/a?wl=T", "search": "?wl=T"}}},
        {"type": "page", "context": {"page": {"search": "?wl=T"}}},
        {"type": "page", "properties": {"url": "https://shop.example/a?x=1&wl=T"}},
        {"type": "track", "event": "Product Viewed", "context": {"page": {"referrer": "https://shop.example/?wl=T"}}},
    ],
)
def test_whoever_came_by_a_link_is_named_by_it_and_the_token_is_kept_nowhere(raw: dict[str, Any]) -> None:
    def tell(token: str) -> Parsed:
        return told({**json.loads(json.dumps(raw).replace("wl=T", f"wl={token}")), "anonymousId": "browser-of-ann-1"})

    parsed = tell(ANNS)
    assert Identifier("click_token", "k-ann") in parsed.event.identifiers
    assert "wl=" not in str(parsed) and parsed.subject.startswith("anonymous_id:")
    for other in (ANNS.replace("ann", "bea"), ANNS[:-1], ANNS[:-1] + "ä", "", ".", "a.b.c",
                  click_token("k-ann", NOON - timedelta(seconds=1), keyed)):  # fmt: skip
        parsed = tell(other)
        assert [each.kind for each in parsed.event.identifiers] == ["anonymous_id"] and "wl=" not in str(parsed)


def test_nobody_else_may_give_an_identifier_of_ours() -> None:
    external = [{"type": "click_token", "id": "k-ann"}, {"type": "customer_id", "id": "k-ann"}]
    raw = {"type": "page", "messageId": "m1", "anonymousId": "ann-s-browser", "context": {"externalIds": external}}
    parsed = parse(raw, source="web", received_at=NOON, keyed=keyed)
    assert sorted(each.kind for each in parsed.event.identifiers) == [
        "anonymous_id", "external_click_token", "external_customer_id",
    ]  # fmt: skip
    assert [each.kind for each in told(raw).event.identifiers] == ["anonymous_id"]
