"""What other systems export becomes the events it means: by the mappings that come with Wayline."""

from __future__ import annotations

import json
import os
import zipfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from wayline.domain import Event
from wayline.errors import Rejected, SenderError
from wayline.observation.events import parse_batch
from wayline.observation.vocabulary import VOCABULARY
from wayline.runtime.arrivals import arrivals, fitting, mappings_called
from wayline.sources import RefusedRow, Told
from wayline.sources.documents import at
from wayline.sources.mapping import READY, SETS, for_shop, ready_mapping
from wayline.sources.messages import translate

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
WRITTEN = datetime(2026, 11, 24, 12, tzinfo=UTC)


def brought(path: Path, mapping: str, **refused: int) -> list[Event]:
    """The events a file becomes; what is refused, by code, must be as said."""
    os.utime(path, (WRITTEN.timestamp(), WRITTEN.timestamp()))
    counts: Counter[str] = Counter()
    (compiled,) = [for_shop(each, "EUR", "Europe/Berlin") for each in mappings_called(mapping)]
    told = list(translate(path, compiled, counts))
    messages = [each.message for each in told if isinstance(each, Told)]
    verdicts = parse_batch(messages, source=compiled.source, received_at=NOW, keyed=lambda kind, value: f"h({value})")
    codes = Counter([each.code for each in (*told, *verdicts) if isinstance(each, RefusedRow | Rejected)])
    assert codes == refused
    return [each.event for each in verdicts if not isinstance(each, Rejected)]


def table(folder: Path, *lines: str, name: str = "export.csv") -> Path:
    path = folder / name
    path.write_text("\n".join((*lines, "")), "utf-8")
    return path


def told(event: Event) -> tuple[str, str, Any]:
    return (event.name, f"{event.occurred_at:%Y-%m-%d %H:%M}", dict(event.properties))


# ------------------------------------------------------------------ tills and stores


def test_a_receipt_is_a_purchase_of_the_customer_it_names_or_of_nobody(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "store_id,receipt_id,sold_at,sku,quantity,price,customer_id,email,name",
        "kiel,7,2026-11-20 10:00,jacket,1,99.90,c1,,Jacket",
        "kiel,7,2026-11-20 10:00,socks,2,5.05,c1,,Socks",
        "kiel,8,2026-11-20 10:05,socks,3,5.00,,,Socks",
        "kiel,9,2026-11-20 10:07,socks,1,5.00,,Ann@Example.com,Socks",
        "kiel,10,2026-11-20 10:09,jacket,-1,99.90,c1,,Jacket",
        "kiel,11,2026-11-20 10:10,jacket,-1,99.90,,,Jacket",
        "kiel,12,2026-11-20 10:11,jacket,many,99.90,c2,,Jacket",
    )
    bought, nobodys, by_mail, back = sorted(
        brought(path, "pos-purchases", bad_cell=1), key=lambda event: event.occurred_at
    )
    assert bought.identifiers[0].value == "h(c1)" and nobodys.identifiers == ()
    assert [each.value for each in by_mail.identifiers] == ["h(ann@example.com)"]
    assert bought.occurred_at == datetime(2026, 11, 20, 9, tzinfo=UTC), "by the shop's clock"
    properties = bought.properties
    assert (properties["order_id"], properties["store_id"], properties["revenue"]) == ("kiel-7", "kiel", 11000)
    assert [(line["sku"], line["quantity"], line["price"]) for line in properties["products"]] == [
        ("jacket", 1, 9990), ("socks", 2, 505),
    ]  # fmt: skip
    assert (back.name, back.properties["refund"], back.properties["return_id"]) == ("Return Received", 9990, "kiel-10")


@pytest.mark.parametrize(
    "mapping, lines, expected",
    [
        (
            "pos-returns",
            ("store_id,return_id,returned_at,sku,quantity,refund,status,reason,customer_id",
             "kiel,r1,2026-11-20T10:00Z,jacket,1,99.90,requested,too small,c1",
             "kiel,r1,2026-11-21T10:00Z,jacket,1,99.90,received,too small,c1"),
            [("Return Requested", "return_id", "kiel-r1"), ("Return Received", "refund", 9990)],
        ),
        (
            "pos-pickups",
            ("store_id,order_id,pickup_status,at,expires_at,email",
             "kiel,o1,ready,2026-11-20T10:00Z,2026-11-27T18:00Z,a@example.com",
             "kiel,o1,completed,2026-11-21T10:00Z,,a@example.com"),
            [("Pickup Ready", "expires_at", "2026-11-27T18:00:00Z"), ("Pickup Completed", "store_id", "kiel")],
        ),
        (
            "pos-stock",
            ("sku,available,counted_at,store_id", "j,3,2026-11-20T10:00Z,kiel", "j,9,2026-11-20T10:00Z,"),
            [("Inventory Changed", "store_id", "kiel"), ("Inventory Changed", "available", 9)],
        ),
        ("pos-prices", ("sku,price,was,valid_from", "j,79.90,99.90,2026-11-20T10:00Z"),
         [("Price Changed", "was", 9990)]),
        (
            "deliveries",
            ("order_id,delivery_status,at,carrier,tracking_number,new_promised_on,reason,customer_id",
             "o1,shipped,2026-11-20T10:00Z,post,T1,,,c1", "o1,delayed,2026-11-21T10:00Z,,,2026-11-25,storm,c1",
             "o1,delivered,2026-11-22T10:00Z,post,T1,,,c1"),
            [("Order Shipped", "tracking_number", "T1"), ("Order Delayed", "new_promised_on", "2026-11-25"),
             ("Order Delivered", "carrier", "post")],
        ),
        (
            "loyalty",
            ("what,at,points,balance,tier,earlier_tier,reward_id,expires_on,customer_id",
             "earned,2026-11-20T10:00Z,10,110,,,,,c1", "expiring,2026-11-20T10:00Z,50,110,,,r1,2026-12-31,c1",
             "redeemed,2026-11-20T10:00Z,20,90,,,r1,,c1", "tier,2026-11-20T10:00Z,,,gold,silver,,,c1"),
            [("Reward Earned", "balance", 110), ("Reward Expiring", "expires_on", "2026-12-31"),
             ("Reward Redeemed", "points", 20), ("Tier Changed", "to", "gold")],
        ),
        ("referrals", ("referred,at,customer_id", "b@example.com,2026-11-20T10:00Z,c1"), [("Referral Made", "", None)]),
        (
            "service-desk",
            ("ticket_id,ticket_status,at,topic,sentiment,email", "t1,opened,2026-11-20T10:00Z,delivery,,a@example.com",
             "t1,closed,2026-11-21T10:00Z,delivery,negative,a@example.com"),
            [("Ticket Opened", "topic", "delivery"), ("Ticket Closed", "sentiment", "negative")],
        ),
        (
            "search-log",
            ("at,query,sku,position,visitor_id", "2026-11-20T10:00Z,rain jacket,,,v1",
             "2026-11-20T10:01Z,rain jacket,j,2,v1"),
            [("Products Searched", "query", "rain jacket"), ("Product Clicked", "position", 2)],
        ),
        (
            "site-events",
            ("what,at,visitor_id,cart_id,step,seconds,topic,sku,reason,retryable",
             "cart_emptied,2026-11-20T10:00Z,v1,k1,,,,,,", "checkout_lingered,2026-11-20T10:00Z,v1,k1,pay,90,,,,",
             "checkout_exited,2026-11-20T10:00Z,v1,k1,pay,,,,,", "help_viewed,2026-11-20T10:00Z,v1,,,,returns,,,",
             "back_in_stock_requested,2026-11-20T10:00Z,v1,,,,,j,,",
             "payment_failed,2026-11-20T10:00Z,v1,,,,,,declined,yes"),
            [("Cart Emptied", "cart_id", "k1"), ("Checkout Lingered", "seconds", 90),
             ("Checkout Exited", "step", "pay"),
             ("Help Viewed", "topic", "returns"), ("Back In Stock Requested", "sku", "j"),
             ("Payment Failed", "retryable", True)],
        ),
        ("messages-sent", ("channel,tool,at,campaign_id,email", "email,dotmail,2026-11-20T10:00Z,bf,a@example.com"),
         [("Message Sent", "tool", "dotmail")]),
        ("engagement", ("what,at,campaign_id,url,automated,email", "opened,2026-11-20T10:00Z,bf,,true,a@example.com",
                        "clicked,2026-11-20T10:00Z,bf,https://shop.example/j,,a@example.com",
                        "delivered,2026-11-20T10:00Z,bf,,,a@example.com"),
         [("Email Opened", "automated", True), ("Email Link Clicked", "url", "https://shop.example/j"),
          ("Email Delivered", "campaign_id", "bf")]),
        ("suppressions", ("email,why,at", "a@example.com,bounced,2020-01-01T10:00Z", "b@example.com,complaint,",
                          "c@example.com,unsubscribed,2020-01-01T10:00Z"),
         [("Email Bounced", "", None), ("Email Marked as Spam", "", None), ("Unsubscribed", "channel", "email")]),
    ],
)  # fmt: skip
def test_each_ready_mapping_makes_the_events_it_is_for(
    tmp_path: Path, mapping: str, lines: tuple[str, ...], expected: list[tuple[str, str, Any]]
) -> None:
    events = brought(table(tmp_path, *lines), mapping)
    assert [event.name for event in events] == [name for name, _, _ in expected]
    for event, (name, key, value) in zip(events, expected, strict=True):
        assert not key or event.properties[key] == value, name
        assert set(event.properties) <= set(VOCABULARY[name]) | {"revenue_from", "automated"}, "no property is made up"
    again = brought(table(tmp_path, *lines), mapping)
    assert [event.event_id for event in again] == [event.event_id for event in events]


# ------------------------------------------------------------------ consents and their proof


def test_a_consent_keeps_its_time_and_proof_and_one_without_a_time_is_refused(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "email,channel,consent_status,at,method,wording_version,proof_id,double_opt_in",
        "a@example.com,email,granted,2022-05-01T10:00Z,checkout box,v3,p-1,true",
        "b@example.com,email,granted,,checkout box,v3,p-2,true",
        "c@example.com,sms,withdrawn,,,,,",
    )
    granted, withdrawn = brought(path, "consents", no_time=1)
    assert told(granted) == ("Consent Granted", "2022-05-01 10:00", {
        "channel": "email", "method": "checkout box", "wording_version": "v3", "proof_id": "p-1", "double_opt_in": True,
    })  # fmt: skip
    assert told(withdrawn) == ("Consent Withdrawn", "2026-11-24 12:00", {"channel": "sms"}), "as of the file"


KLAVIYO = (
    "Email,Klaviyo ID,First Name,Phone Number,IP Address,Email Marketing Consent,Email Marketing Consent Timestamp"
)


def test_a_klaviyo_profile_is_a_person_their_consents_and_their_suppression(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        f"{KLAVIYO},Profile Created On,Email Suppressions",
        "a@example.com,K1,Ann,+4915112345678,203.0.113.9,SUBSCRIBED,2023-01-02 09:00:00,2023-01-01 08:00:00,[]",
        "b@example.com,K2,,,,SUBSCRIBED,,2023-01-01 08:00:00,",
        "c@example.com,K3,,,,UNSUBSCRIBED,2024-01-01 00:00:00,2023-01-01 08:00:00,['USER_SUPPRESSED']",
        "d@example.com,K4,,,,NEVER_SUBSCRIBED,,2023-01-01 08:00:00,['HARD_BOUNCE']",
    )
    events = brought(path, "klaviyo-profiles", no_time=1)
    assert [event.name for event in events] == [
        "Identify", "Consent Granted", "Identify", "Identify", "Consent Withdrawn", "Unsubscribed", "Identify",
        "Email Bounced",
    ]  # fmt: skip
    assert told(events[1]) == ("Consent Granted", "2023-01-02 08:00", {
        "channel": "email", "purpose": "marketing", "method": "SUBSCRIBED", "proof_id": "klaviyo:K1",
    })  # fmt: skip
    assert "203.0.113.9" not in str(events), "an address of the network is kept nowhere"


def test_klaviyo_events_are_messages_sent_and_what_became_of_them(tmp_path: Path) -> None:
    def event(number: int, name: str, **properties: Any) -> dict[str, Any]:
        return {"object": "event", "id": f"e{number}", "event_name": name, "timestamp": 1700000000 + number,
                "person": {"email": "a@example.com"}, "event_properties": {"$message": "M1", **properties}}  # fmt: skip

    rows = [
        event(1, "Received Email", **{"Campaign Name": "Black Friday"}), event(2, "Opened Email", machine_open=True),
        event(3, "Clicked Email", URL="https://shop.example/j?utm_source=k"),
        event(4, "Bounced Email", **{"Bounce Type": "Soft"}),
        event(5, "Bounced Email", **{"Bounce Type": "Hard"}), event(6, "Viewed Product"),
        event(7, "Subscribed to Email Marketing"),
    ]  # fmt: skip
    lines = table(tmp_path, *map(json.dumps, rows), name="events.jsonl")
    events = brought(lines, "klaviyo-events")
    assert [event.name for event in events] == [
        "Message Sent", "Email Opened", "Email Link Clicked", "Email Bounced", "Consent Granted",
    ]  # fmt: skip
    assert events[0].properties == {
        "channel": "email", "purpose": "marketing", "tool": "klaviyo", "campaign_id": "M1", "content": "Black Friday",
    }  # fmt: skip
    assert events[1].properties["automated"] is True and events[0].occurred_at == datetime.fromtimestamp(
        1700000001, UTC
    )
    document = table(tmp_path, json.dumps({"data": rows}, indent=1), name="events.json")
    assert [each.event_id for each in brought(document, "klaviyo-events")] == [each.event_id for each in events]


def test_a_mailchimp_audience_is_read_out_of_its_zip(tmp_path: Path) -> None:
    subscribed = (
        '"Email Address","First Name",MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,LAST_CHANGED,LEID,EUID,'
        "NOTES\n"
        'a@example.com,Ann,2,"2020-03-14 09:12:31",203.0.113.9,"2020-03-14 09:14:00",,"2021-01-01 00:00:00",1,e1,\n'
        "b@example.com,Bob,2,,,,,,2,e2,\n"
    )
    left = 'Email Address,UNSUB_TIME,UNSUB_CAMPAIGN_TITLE\nc@example.com,"2021-05-05 05:05:05",Spring\n'
    cleaned = 'Email Address,CLEAN_TIME,CLEAN_CAMPAIGN_TITLE\nd@example.com,"2022-05-05 05:05:05",Spring\n'
    path = tmp_path / "audience.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (
            ("subscribed", subscribed),
            ("unsubscribed", left),
            ("cleaned", cleaned),
            ("nonsubscribed", left),
        ):
            archive.writestr(f"audience/{name}_members_export_1.csv", text)
    with arrivals(path, mappings_called("mailchimp"), tmp_path) as (found, passed_over):
        by_name = {each.mapping.name: each.path for each in found}
        events = brought(by_name["mailchimp-subscribed"], "mailchimp-subscribed", no_time=1)
        events += brought(by_name["mailchimp-unsubscribed"], "mailchimp-unsubscribed")
        events += brought(by_name["mailchimp-cleaned"], "mailchimp-cleaned")
    assert passed_over == ["audience/nonsubscribed_members_export_1.csv"]
    assert not any(each.exists() for each in by_name.values()), "nothing unpacked is left behind"
    assert [(event.name, f"{event.occurred_at:%Y-%m-%d}") for event in events] == [
        ("Identify", "2021-01-01"), ("Consent Granted", "2020-03-14"), ("Identify", "2026-11-24"),
        ("Unsubscribed", "2021-05-05"), ("Email Bounced", "2022-05-05"),
    ]  # fmt: skip
    assert events[1].properties["proof_id"] == "mailchimp:e1"


def test_a_zip_that_unpacks_to_far_more_than_a_table_does_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("subscribed_1.csv", b"0" * (64 << 20))
    with (
        pytest.raises(SenderError, match="unpacks to more than"),
        arrivals(path, mappings_called("mailchimp"), tmp_path),
    ):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["bomb.zip"]


def test_mailchimp_activity_is_one_event_for_each_thing_an_address_did(tmp_path: Path) -> None:
    report = {"campaign_id": "m1", "emails": [
        {"campaign_id": "m1", "email_address": "a@example.com", "activity": [
            {"action": "open", "timestamp": "2026-11-20T10:00:00+00:00", "ip": "203.0.113.9"},
            {"action": "click", "timestamp": "2026-11-20T10:01:00+00:00", "url": "https://shop.example/"}]},
        {"campaign_id": "m1", "email_address": "b@example.com", "activity": [
            {"action": "bounce", "type": "hard", "timestamp": "2026-11-20T10:00:00+00:00"}]},
        {"campaign_id": "m1", "email_address": "c@example.com", "activity": []},
    ]}  # fmt: skip
    events = brought(table(tmp_path, json.dumps(report, indent=1), name="activity.json"), "mailchimp-activity")
    assert [event.name for event in events] == ["Email Opened", "Email Link Clicked", "Email Bounced"]
    assert "203.0.113.9" not in str(events)


def test_a_braze_profile_consents_only_if_it_opted_in(tmp_path: Path) -> None:
    rows = [
        {"external_id": "c1", "braze_id": "b1", "email": "a@example.com", "email_subscribe": "opted_in",
         "email_opted_in_at": "2022-03-01 10:00:00.000 UTC", "created_at": "2021-01-01 00:00:00.000 UTC",
         "custom_attributes": {"loyalty_tier": "gold", "loyalty_points": 120}},
        {"external_id": "c2", "braze_id": "b2", "email": "b@example.com", "email_subscribe": "subscribed"},
        {"external_id": "c3", "braze_id": "b3", "email": "c@example.com", "email_subscribe": "unsubscribed",
         "email_unsubscribed_at": "2022-03-01 10:00:00.000 UTC"},
    ]  # fmt: skip
    path = table(tmp_path, *map(json.dumps, rows), "{not json", name="users.txt")
    events = brought(path, "braze-profiles", bad_json=1)
    assert [event.name for event in events] == [
        "Identify", "Consent Granted", "Identify", "Identify", "Consent Withdrawn",
    ]  # fmt: skip
    assert events[0].properties["loyalty_tier"] == "gold" and events[0].properties["loyalty_points"] == 120
    assert told(events[1])[1:] == ("2022-03-01 10:00", {
        "channel": "email", "purpose": "marketing", "method": "opted_in in Braze", "proof_id": "braze:b1",
    })  # fmt: skip


def test_braze_currents_are_read_flat_and_as_posted(tmp_path: Path) -> None:
    user, mail = (
        {"external_user_id": "c1"},
        {"email_address": "a@example.com", "campaign_id": "x", "campaign_name": "BF"},
    )
    posted = {"events": [
        {"event_type": "users.messages.email.Send", "id": "1", "time": 1700000000, "user": user, "properties": mail},
        {"event_type": "users.messages.email.Open", "id": "2", "time": 1700000001, "user": user,
         "properties": {**mail, "machine_open": "true"}},
        {"event_type": "users.messages.pushnotification.Send", "id": "3", "time": 1700000002, "user": user,
         "properties": {}},
        {"event_type": "users.behaviors.app.SessionStart", "id": "4", "time": 1700000003, "user": user,
         "properties": {}},
    ]}  # fmt: skip
    flat = {"event_type": "users.messages.email.Unsubscribe", "id": "5", "time": 1700000004, **user, **mail}
    path = table(tmp_path, json.dumps(posted), json.dumps(flat), name="currents.jsonl")
    events = brought(path, "braze-currents")
    assert [(event.name, event.properties.get("channel")) for event in events] == [
        ("Message Sent", "email"), ("Email Opened", None), ("Message Sent", "push"), ("Unsubscribed", "email"),
    ]  # fmt: skip
    assert events[1].properties["automated"] is True


# ------------------------------------------------------------------ sets and paths


def test_of_a_set_each_file_is_read_by_the_mapping_whose_columns_it_has(tmp_path: Path) -> None:
    stock = table(tmp_path, "sku,available,counted_at", "j,1,2026-11-20T10:00Z", name="a.csv")
    prices = table(tmp_path, "sku,price,valid_from", "j,1,2026-11-20T10:00Z", name="b.csv")
    assert [fitting(path, mappings_called("pos")).name for path in (stock, prices)] == ["pos-stock", "pos-prices"]
    with pytest.raises(SenderError, match="none of these mappings reads: pos-purchases"):
        fitting(table(tmp_path, "what,ever", "1,2"), mappings_called("pos"))


def test_every_ready_mapping_is_in_a_set_or_by_itself_and_compiles() -> None:
    for name in READY:
        assert ready_mapping(name).name == name
    assert {each for names in SETS.values() for each in names} <= set(READY)


@pytest.mark.parametrize(
    "path, found",
    [("a", {"b": [1, {"c": None}]}), ("a.b.0", 1), ("a.b.1.c", None), ("a.b.7", None), ("x.y", 3), ("x.z", None),
     ("a.b.c", None)],
)  # fmt: skip
def test_a_path_leads_into_objects_and_lists_and_a_key_with_a_dot_goes_first(path: str, found: Any) -> None:
    assert at({"a": {"b": [1, {"c": None}]}, "x.y": 3, "x": {"y": 4}}, path) == found
