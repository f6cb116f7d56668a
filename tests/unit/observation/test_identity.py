"""Whom an event is about: anonymous becomes known, and two known people stay two."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from wayline.domain import Event, Identifier
from wayline.errors import Broken
from wayline.observation.directory import Directory
from wayline.observation.events import UNVERIFIED, Parsed, parse, parse_batch
from wayline.observation.identity import (
    CONFIDENCE,
    Limits,
    Resolution,
    customer_id_of,
    handles,
    is_known,
    is_shared,
    resolve,
)
from wayline.observation.vocabulary import DEVICES

START = datetime(2024, 11, 1, 12, tzinfo=UTC)


class Story:
    """Events as they come, each resolved by what the earlier ones taught."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.directory = Directory()
        self.limits = limits or Limits()
        self.count = 0

    def hears(self, *who: str, public: bool = False, days: float = 0, session: str = "", **more: Any) -> Resolution:
        """One event with these identifiers, such as `user_id:u1`; the strongest first, as events have them."""
        self.count += 1
        event = Event(
            event_id=f"m-{self.count}",
            source="web",
            name="Product Viewed",
            occurred_at=START + timedelta(days=days, seconds=self.count),
            received_at=START + timedelta(days=days, seconds=self.count),
            identifiers=tuple(Identifier(*each.split(":")) for each in who),
            context={"sessionId": session} if session else {},
            notes=(UNVERIFIED,) if public else (),
            **more,
        )
        return self.learns(event)

    def learns(self, event: Event) -> Resolution:
        known = self.directory.resolve(handles(event))
        resolution = resolve(event, known, self.directory, self.limits)
        self.directory.learn(resolution)
        return resolution

    def owner(self, who: str) -> str | None:
        identifier = Identifier(*who.split(":"))
        return self.directory.resolve([identifier]).get(identifier)


def customers(resolutions: Sequence[Resolution]) -> set[str]:
    return {each.customer_id for each in resolutions}


def test_an_anonymous_visitor_is_one_customer_and_stays_one() -> None:
    story = Story()
    first, second = story.hears("anonymous_id:x"), story.hears("anonymous_id:x")
    assert first.customer_id == second.customer_id == customer_id_of(Identifier("anonymous_id", "x"))
    assert len(first.links) == 1 and second.links == () and not first.contested
    assert first.match_confidence == second.match_confidence == 0.5


def test_logging_in_merges_the_anonymous_customer_into_the_known_one() -> None:
    story = Story()
    anonymous = story.hears("anonymous_id:x")
    known = story.hears("user_id:u1", "anonymous_id:x")
    assert is_known(known.customer_id) and not is_known(anonymous.customer_id)
    assert [(each.loser, each.survivor) for each in known.merges] == [(anonymous.customer_id, known.customer_id)]
    assert known.merges[0].evidence == "web/m-2" and known.merges[0].confidence == known.match_confidence == 1.0
    assert story.hears("anonymous_id:x").customer_id == known.customer_id
    assert story.hears("user_id:u1", "anonymous_id:x").merges == ()


def test_the_known_customer_is_the_same_whichever_came_first() -> None:
    late, early = Story(), Story()
    late.hears("anonymous_id:x")
    early.hears("user_id:u1", "anonymous_id:x")
    assert late.hears("user_id:u1", "anonymous_id:x").customer_id == early.hears("anonymous_id:x").customer_id


def test_an_email_customer_becomes_known() -> None:
    story = Story()
    subscriber = story.hears("email:e")
    known = story.hears("user_id:u1", "email:e")
    assert [each.loser for each in known.merges] == [subscriber.customer_id]
    assert subscriber.match_confidence == 0.9


def test_a_weaker_customer_is_merged_into_the_stronger() -> None:
    story = Story()
    story.hears("anonymous_id:x")
    subscribed = story.hears("email:e", "anonymous_id:x")
    assert subscribed.customer_id.startswith("e-") and len(subscribed.merges) == 1


# ------------------------------------------------------------------ never two known people


def test_a_second_log_in_on_one_browser_makes_no_merge() -> None:
    story = Story()
    first = story.hears("user_id:u1", "anonymous_id:x")
    second = story.hears("user_id:u2", "anonymous_id:x")
    assert first.customer_id != second.customer_id and second.merges == () and second.contested
    assert story.owner("anonymous_id:x") == second.customer_id
    later = story.hears("anonymous_id:x")
    assert later.customer_id == second.customer_id and later.match_confidence == 0.3
    back = story.hears("user_id:u1", "anonymous_id:x")
    assert back.customer_id == first.customer_id and story.owner("anonymous_id:x") == first.customer_id


def test_a_thousand_log_ins_on_one_device_leave_a_thousand_customers() -> None:
    story = Story()
    seen = [story.hears(f"user_id:u{number}", "anonymous_id:kiosk") for number in range(1000)]
    assert len(customers(seen)) == 1000 and not any(each.merges for each in seen)
    assert sum(len(each.links) for each in seen) == 1000 + 4  # the kiosk moved twice, then was shared
    owner = story.owner("anonymous_id:kiosk")
    assert owner is not None and is_shared(owner)
    assert [story.hears(f"user_id:u{number}").customer_id for number in range(1000)] == [
        each.customer_id for each in seen
    ]


def test_what_happens_on_a_shared_device_stays_in_its_session() -> None:
    story = Story(Limits(people_max=1))
    known = customers([story.hears(f"user_id:u{number}", "anonymous_id:x") for number in range(2)])
    morning, evening = story.hears("anonymous_id:x", session="1"), story.hears("anonymous_id:x", session="2")
    again = story.hears("anonymous_id:x", session="1")
    assert morning.customer_id == again.customer_id != evening.customer_id
    assert not {morning.customer_id, evening.customer_id} & known
    assert morning.links == () and morning.contested and morning.match_confidence == CONFIDENCE["shared device"][0]
    today, tomorrow = story.hears("anonymous_id:x"), story.hears("anonymous_id:x", days=1)
    assert today.customer_id != tomorrow.customer_id


def test_people_merged_into_one_count_once_on_a_device() -> None:
    story = Story(Limits(people_max=2))
    story.hears("anonymous_id:x")
    story.hears("user_id:u1", "anonymous_id:x")
    story.hears("user_id:u2", "anonymous_id:x")
    assert story.owner("anonymous_id:x") == story.owner("user_id:u2")
    story.hears("user_id:u3", "anonymous_id:x")
    owner = story.owner("anonymous_id:x")
    assert owner is not None and is_shared(owner)


def test_a_mailbox_of_two_known_people_stays_with_the_first() -> None:
    story = Story()
    first = story.hears("user_id:u1", "email:family")
    second = story.hears("user_id:u2", "email:family")
    assert second.customer_id != first.customer_id and second.contested and second.merges == ()
    assert story.owner("email:family") == first.customer_id


def test_a_loyalty_card_of_two_known_people_stays_with_the_first() -> None:
    story = Story()
    first = story.hears("user_id:u1", "card:c")
    assert story.hears("user_id:u2", "card:c").contested
    assert story.owner("card:c") == first.customer_id
    assert story.hears("card:c").match_confidence == 0.7


def test_two_user_ids_in_one_event_do_not_become_one() -> None:
    story = Story()
    both = story.hears("user_id:u1", "user_id:u2")
    assert both.contested and len(both.links) == 1
    story.hears("user_id:u2")
    assert story.hears("user_id:u1", "user_id:u2").merges == ()
    assert story.owner("user_id:u1") != story.owner("user_id:u2")


def test_an_alias_brings_a_browser_to_a_person_and_never_two_people_together() -> None:
    def keyed(kind: str, value: str) -> str:
        return blake2b(f"{kind}:{value}".encode(), digest_size=8).hexdigest()

    def alias(story: Story, user: str, previous: str) -> Resolution:
        raw = {"type": "alias", "messageId": "m", "userId": user, "previousId": previous}
        return story.learns(parse(raw, source="web", received_at=START, keyed=keyed).event)

    story = Story()
    browser = story.hears(f"anonymous_id:{keyed('anonymous_id', 'x')}")
    assert [each.loser for each in alias(story, "u1", "x").merges] == [browser.customer_id]
    other = story.hears(f"user_id:{keyed('user_id', 'u2')}")
    refused = alias(story, "u1", "u2")
    assert refused.contested and refused.merges == () and other.customer_id in refused.notes[0]


# ------------------------------------------------------------------ limits


def test_a_customer_has_five_of_a_kind() -> None:
    story = Story()
    for number in range(5):
        assert not story.hears("user_id:u1", f"email:e{number}").contested
    sixth = story.hears("user_id:u1", "email:e5")
    assert sixth.contested and sixth.links == () and story.owner("email:e5") is None
    assert sixth.customer_id == story.owner("user_id:u1")


def test_browsers_that_forget_their_ids_count_only_for_a_while() -> None:
    story = Story()
    for number in range(12):
        assert not story.hears("user_id:u1", f"anonymous_id:x{number}", days=number * 7).contested
    for number in range(3):
        story.hears("user_id:u1", f"anonymous_id:y{number}", days=80)
    assert story.hears("user_id:u1", "anonymous_id:z", days=80).contested


def test_of_devices_that_a_public_key_said_are_theirs_the_oldest_leaves() -> None:
    story = Story()
    for number in range(5):
        story.hears("user_id:u1", f"anonymous_id:d{number}", public=True)
    other = story.hears("user_id:u2", "anonymous_id:d0", public=True)
    sixth = story.hears("user_id:u1", "anonymous_id:d5", public=True)
    assert len(sixth.links) == 1 and not sixth.contested, "one of the five is another's by now"
    seventh = story.hears("user_id:u1", "anonymous_id:d6", public=True)
    assert [link.identifier.value for link in seventh.links] == ["d6", "d1"]
    assert story.owner("anonymous_id:d0") == other.customer_id, "nor does it leave whom it has gone to"
    alone = story.hears("anonymous_id:d1")
    assert alone.customer_id == story.owner("anonymous_id:d1") and alone.customer_id.startswith("a-")
    assert story.hears("user_id:u1", "anonymous_id:d1", public=True).customer_id == seventh.customer_id


def test_a_merge_that_would_break_a_limit_is_refused() -> None:
    story = Story()
    for number in range(4):
        story.hears("user_id:u1", f"anonymous_id:x{number}")
    crowd = story.hears("anonymous_id:y0", "device_id:d")
    story.hears("anonymous_id:y1", "device_id:d")
    refused = story.hears("user_id:u1", "anonymous_id:y0")
    assert refused.contested and refused.merges == () and story.owner("anonymous_id:y0") == crowd.customer_id


def test_the_fuse_stops_a_chain() -> None:
    story = Story(Limits(others_max=100, links_max=10))
    seen = [story.hears("user_id:u1", f"anonymous_id:x{number}") for number in range(20)]
    assert [each.contested for each in seen] == [False] * 9 + [True] * 11


# ------------------------------------------------------------------ a public key


def test_a_public_key_makes_a_new_person_with_an_address() -> None:
    story = Story()
    signed_up = story.hears("user_id:u1", "email:e", "anonymous_id:x", public=True)
    assert not signed_up.contested and len(signed_up.links) == 3 and signed_up.match_confidence == 0.9
    assert story.owner("email:e") == story.owner("anonymous_id:x") == signed_up.customer_id


def test_a_public_key_gives_no_address_to_an_identified_person() -> None:
    story = Story()
    victim = story.hears("user_id:u1", "email:hers")
    forged = story.hears("user_id:u1", "email:his", "anonymous_id:x", public=True)
    assert forged.customer_id == victim.customer_id and forged.contested
    assert story.owner("email:his") is None and story.owner("anonymous_id:x") == victim.customer_id
    assert not story.hears("user_id:u1", "email:his").contested
    assert story.owner("email:his") == victim.customer_id


def test_a_public_key_does_not_take_over_the_customer_of_an_address() -> None:
    story = Story()
    subscriber = story.hears("email:hers")
    forged = story.hears("user_id:new", "email:hers", public=True)
    assert forged.contested and forged.merges == () and story.owner("email:hers") == subscriber.customer_id


def test_a_public_key_on_somebody_s_browser_leaves_the_browser_and_the_person() -> None:
    story = Story()
    owner = story.hears("user_id:u1", "anonymous_id:x")
    typed = story.hears("email:other", "anonymous_id:x", public=True)
    assert typed.customer_id != owner.customer_id and typed.contested and typed.merges == ()
    assert story.owner("anonymous_id:x") == owner.customer_id
    assert story.owner("email:other") == typed.customer_id


def test_a_public_key_adds_behaviour_to_a_person() -> None:
    story = Story()
    story.hears("anonymous_id:x")
    subscriber = story.hears("email:e")
    added = story.hears("email:e", "anonymous_id:x", public=True)
    assert added.customer_id == subscriber.customer_id and len(added.merges) == 1 and not added.contested


# ------------------------------------------------------------------ the rest


def test_a_user_id_null_of_fifty_browsers_links_nothing() -> None:
    items = [
        {"type": "page", "messageId": f"m-{each}", "userId": "null", "anonymousId": f"browser-{each}"}
        for each in range(50)
    ]
    verdicts = parse_batch(items, source="web", received_at=START, keyed=lambda kind, value: f"{kind}-{value}")
    story = Story()
    seen = [story.learns(each.event) for each in verdicts if isinstance(each, Parsed)]
    assert len(customers(seen)) == 50 and not any(each.merges for each in seen)


def test_a_batch_learns_over_what_the_store_knows() -> None:
    stored = Story()
    anonymous = stored.hears("anonymous_id:x")
    batch = Story()
    batch.directory = Directory(stored.directory)
    batch.directory.prefetch([Identifier("anonymous_id", "x"), Identifier("user_id", "u1")])
    known = batch.hears("user_id:u1", "anonymous_id:x")
    assert [each.loser for each in known.merges] == [anonymous.customer_id]
    assert batch.hears("anonymous_id:x").customer_id == known.customer_id
    assert {each.identifier.kind for each in batch.directory.links(known.customer_id)} == {"user_id", "anonymous_id"}
    assert stored.owner("anonymous_id:x") == anonymous.customer_id, "the store learns by commit, not by reading"
    assert batch.directory.survivor(anonymous.customer_id) == known.customer_id


def test_an_event_about_no_person_is_not_resolved() -> None:
    event = Event(event_id="m", source="s", name="Inventory Changed", occurred_at=START, received_at=START)
    with pytest.raises(Broken, match="about no person"):
        resolve(event, {}, Directory())


def test_the_reference_page_tells_the_table_and_the_limits() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "identity.md").read_text()
    for evidence, (secret, public) in CONFIDENCE.items():
        assert f"| {evidence} | {secret} | {public} |" in page
    limits = Limits()
    for name in limits.__struct_fields__:
        value = getattr(limits, name)
        assert f"| `{name}` | {value.days if isinstance(value, timedelta) else value} |" in page
    for kind in DEVICES:
        assert f"`{kind}`" in page
