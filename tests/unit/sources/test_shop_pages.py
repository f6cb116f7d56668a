"""The pages on connecting a shop name every topic that is read, what it becomes, and every topic passed over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from wayline.observation.vocabulary import VOCABULARY
from wayline.sources import shopify, woocommerce
from wayline.sources.topics import Topic

PAGES = Path(__file__).parents[3] / "docs" / "how-to"


@pytest.mark.parametrize(
    ("page", "topics", "ignored"),
    [
        ("shopify.md", shopify.TOPICS, shopify.IGNORED),
        ("woocommerce.md", woocommerce.TOPICS, woocommerce.IGNORED),
    ],
)
def test_every_topic_is_on_the_page(page: str, topics: Mapping[str, Topic], ignored: Mapping[str, str]) -> None:
    text = (PAGES / page).read_text()
    rows = {
        topic: row for row in re.findall(r"^\|.*\|$", text, re.MULTILINE) for topic in re.findall(r"`([^`]+)`", row)
    }
    for topic, read in topics.items():
        assert topic in rows, topic
        for event in re.findall(r"[A-Z][a-z]+(?: [A-Z][a-z]+)+", read.tells):
            assert event in VOCABULARY and f"`{event}`" in text, (topic, event)
    for topic in ignored:
        family = re.split(r"[/.]", topic)[0]
        assert f"`{topic}`" in text or f"`{family}/*`" in text or f"`{family}.*`" in text, topic
