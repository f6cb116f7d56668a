"""No event is a word only: each that Wayline adds to the field's own is brought by a source that exists."""

from __future__ import annotations

from collections import defaultdict

import pytest

from wayline.observation.vocabulary import KINDS, VOCABULARY
from wayline.sources.mapping import READY, ready_mapping

EXTENSIONS = """
Order Shipped | Order Delivered | Order Delayed | Pickup Ready | Pickup Completed | Return Requested | Return Received |
Ticket Opened | Ticket Closed | Inventory Changed | Price Changed | Product Changed | Reward Earned | Reward Expiring |
Cart Emptied | Checkout Lingered | Checkout Exited | Help Viewed | Back In Stock Requested | Reward Redeemed |
Tier Changed | Referral Made | Consent Granted | Consent Withdrawn | Payment Failed | Store Purchase | Message Sent
"""
BY_CATALOGUES = {"Product Changed": ["catalogues"], "Inventory Changed": ["catalogues"]}


def brought() -> dict[str, list[str]]:
    """Event to the ready mappings that make it, read from the mappings themselves."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in READY:
        for rule in ready_mapping(name).messages:
            found[rule.event or KINDS[rule.type]].append(name)
    return {**found, **{event: [*found[event], *names] for event, names in BY_CATALOGUES.items()}}


@pytest.mark.parametrize("event", [name.strip() for name in EXTENSIONS.replace("\n", " ").split("|")])
def test_each_extension_of_the_vocabulary_arrives_from_a_source_that_exists(event: str) -> None:
    assert event in VOCABULARY
    assert brought().get(event), f"nothing brings {event!r}: give it a mapping in src/wayline/sources/mappings"


def test_ready_mappings_say_only_what_the_vocabulary_knows() -> None:
    for name in READY:
        for rule in ready_mapping(name).messages:
            assert not rule.event or set(rule.properties) <= {*VOCABULARY[rule.event], "automated"}, (name, rule.event)
