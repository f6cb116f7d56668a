"""The vocabulary is whole, and its reference page says what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wayline.observation.vocabulary import (
    ALIASES,
    CONTEXT_TEXTS,
    REJECTIONS,
    SHAPE_MEANINGS,
    SHAPES,
    VOCABULARY,
    reference,
)

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "events.md"


def test_the_reference_page_is_the_vocabulary() -> None:
    written = PAGE.read_text()
    assert written == reference(), (
        "docs/reference/events.md is not what the vocabulary says; write it anew: "
        "python -c 'from wayline.observation.vocabulary import reference; print(reference(), end=\"\")'"
        " > docs/reference/events.md"
    )


@pytest.mark.parametrize("name", sorted(VOCABULARY))
def test_every_event_is_documented(name: str) -> None:
    assert f"| `{name}` |" in PAGE.read_text()


def test_every_verdict_is_documented() -> None:
    room = Path(__file__).resolve().parents[3] / "src" / "wayline" / "observation"
    raised = {code for each in room.glob("*.py") for code in re.findall(r'Rejected\(\s*"(\w+)"', each.read_text())}
    assert raised == set(REJECTIONS)


def test_every_expected_property_has_a_shape() -> None:
    assert {each for properties in VOCABULARY.values() for each in properties} <= set(SHAPES)


def test_every_shape_is_used_and_explained() -> None:
    assert set(SHAPES.values()) == set(SHAPE_MEANINGS)


def test_aliases_lead_to_names_and_are_none() -> None:
    assert set(ALIASES.values()) <= set(VOCABULARY) and not set(ALIASES) & set(VOCABULARY)


def test_the_whole_published_vocabulary_is_there() -> None:
    published = """
        Products Searched|Product List Viewed|Product List Filtered|Promotion Viewed|Promotion Clicked|Product Clicked|
        Product Viewed|Product Added|Product Removed|Cart Viewed|Checkout Started|Checkout Step Viewed|
        Checkout Step Completed|Payment Info Entered|Order Updated|Order Completed|Order Refunded|Order Cancelled|
        Coupon Entered|Coupon Applied|Coupon Denied|Coupon Removed|Product Added to Wishlist|
        Product Removed from Wishlist|Wishlist Product Added to Cart|Product Shared|Cart Shared|Product Reviewed|
        Email Delivered|Email Opened|Email Link Clicked|Email Bounced|Email Marked as Spam|Unsubscribed|Order Shipped|
        Order Delivered|Order Delayed|Pickup Ready|Pickup Completed|Return Requested|Return Received|Ticket Opened|
        Ticket Closed|Inventory Changed|Price Changed|Reward Earned|Reward Expiring|Cart Emptied|Checkout Lingered|
        Checkout Exited|Help Viewed|Back In Stock Requested|Reward Redeemed|Tier Changed|Referral Made|Consent Granted|
        Consent Withdrawn|Payment Failed|Store Purchase"""
    assert {name.strip() for name in published.split("|")} <= set(VOCABULARY)
    assert {"locale", "timezone"} <= CONTEXT_TEXTS
