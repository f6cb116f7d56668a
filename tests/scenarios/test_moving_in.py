"""What another tool knew of people counts here as it counted there, and never for more: through the real engine."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.shop import NOON, Shop, apparel

from wayline.domain import Customer
from wayline.interpretation.moment import Moment
from wayline.runtime import importing
from wayline.runtime.arrivals import mappings_called
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.importing import Import, import_table
from wayline.sources.mapping import for_shop
from wayline.store import Delivery

KLAVIYO = "Email,Klaviyo ID,First Name,Email Marketing Consent,Email Marketing Consent Timestamp,Email Suppressions"


def brought(shop: Shop, folder: Path, mapping: str, *lines: str, fires: bool = False) -> importing.Report:
    """An export of some tool, taken in at this instant, and read by the engine."""
    path = folder / f"{mapping}-{len(list(folder.iterdir()))}.csv"
    path.write_text("\n".join((*lines, "")))
    os.utime(path, (shop.now.timestamp(), shop.now.timestamp()))
    (compiled,) = [for_shop(each, "EUR", "UTC") for each in mappings_called(mapping)]
    told = Import(path=path, mapping=compiled, received_at=shop.now, fires=fires)
    report = import_table(told, shop.store.log, shop.store.vault)
    shop.engine.drain(shop.now)
    return report


def sent_by_the_shop(shop: Shop, event: str, **properties: Any) -> None:
    """The shop's own server says this of the person with that address."""
    message = {"type": "track", "event": event, "context": {"traits": {"email": "ann@example.com"}},
               "userId": "c-ann", "properties": properties}  # fmt: skip
    Collector(shop.store.log, shop.store.vault).collect(Delivered([message], "server", shop.now))
    shop.engine.drain(shop.now)


def ann(shop: Shop) -> Customer:
    """The one person there is."""
    (customer_id,) = shop.store.state.customer_ids() or [next(iter(shop.engine.customers))]
    return shop.engine.customer(customer_id)


def may_be_mailed(shop: Shop) -> bool:
    moment = Moment(ann(shop), shop.playbook, shop.engine.world(shop.now))
    return bool(moment.fact("consent.email")) and not moment.fact("objection") and not moment.fact("suppressed.email")


def klaviyo(state: str, at: str, suppressed: str = "") -> tuple[str, str]:
    return (KLAVIYO, f"ann@example.com,K1,Ann,{state},{at},{suppressed}")


def deliveries(shop: Shop) -> list[Delivery]:
    return list(shop.deliveries())


def test_an_imported_consent_counts_from_its_time_and_starts_nothing(tmp_path: Path) -> None:
    shop = Shop(apparel())
    report = brought(shop, tmp_path, "klaviyo-profiles", *klaviyo("SUBSCRIBED", "2023-01-02 09:00:00"))
    assert report.stored == 2 and may_be_mailed(shop)
    consent = ann(shop).memory.consents["email:marketing"]
    assert consent.granted_at == datetime(2023, 1, 2, 9, tzinfo=UTC) and consent.method == "SUBSCRIBED"
    shop.after(days=3)
    assert deliveries(shop) == [], "a welcome to somebody who has been with the shop for years"


def never_revived(shop: Shop, folder: Path) -> bool:
    """Whether somebody who left may be mailed after an old grant was imported."""
    brought(shop, folder, "klaviyo-profiles", *klaviyo("SUBSCRIBED", "2023-01-02 09:00:00"))
    shop.after(hours=1)
    sent_by_the_shop(shop, "Unsubscribed", channel="email")
    assert not may_be_mailed(shop)
    shop.after(hours=1)
    brought(shop, folder, "klaviyo-profiles", *klaviyo("SUBSCRIBED", "2023-01-02 09:00:00", "[]"))
    brought(shop, folder, "klaviyo-profiles", *klaviyo("SUBSCRIBED", ""))
    return not may_be_mailed(shop)


def test_who_left_here_stays_away_however_often_an_old_grant_is_imported(tmp_path: Path) -> None:
    assert never_revived(Shop(apparel()), tmp_path)


def test_a_grant_taken_for_one_of_today_would_have_revived_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken variant: a consent that names no time counts as of the file."""
    from wayline.sources import messages

    untold = messages._first_of
    monkeypatch.setattr(messages, "_first_of", lambda row, columns: untold(row, columns) or NOON + timedelta(days=1))
    assert not never_revived(Shop(apparel()), tmp_path)


def test_who_agrees_again_after_leaving_may_be_written_to(tmp_path: Path) -> None:
    shop = Shop(apparel())
    sent_by_the_shop(shop, "Unsubscribed", channel="email")
    shop.after(days=2)
    at = (shop.now - timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S")
    brought(shop, tmp_path, "klaviyo-profiles", *klaviyo("SUBSCRIBED", at))
    assert may_be_mailed(shop)


def test_who_left_the_old_tool_long_ago_counts_as_leaving_when_we_hear_of_it(tmp_path: Path) -> None:
    shop = Shop(apparel())
    sent_by_the_shop(shop, "Consent Granted", channel="email", purpose="marketing")
    assert may_be_mailed(shop)
    shop.after(hours=1)
    brought(shop, tmp_path, "mailchimp-unsubscribed", "Email Address,UNSUB_TIME", "ann@example.com,2020-01-01 00:00:00")
    assert not may_be_mailed(shop), "in doubt, nobody is written to"


@pytest.mark.parametrize(
    "mapping, lines",
    [
        ("mailchimp-cleaned", ("Email Address,CLEAN_TIME", "ann@example.com,2022-05-05 05:05:05")),
        ("suppressions", ("email,why,at", "Ann@Example.com,complaint,2022-05-05T05:05Z")),
        ("klaviyo-profiles", klaviyo("SUBSCRIBED", "2023-01-02 09:00:00", "['HARD_BOUNCE']")),
    ],
)
def test_an_address_that_bounced_or_complained_there_is_closed_here(
    tmp_path: Path, mapping: str, lines: tuple[str, ...]
) -> None:
    shop = Shop(apparel())
    sent_by_the_shop(shop, "Consent Granted", channel="email", purpose="marketing")
    assert may_be_mailed(shop)
    shop.after(hours=1)
    brought(shop, tmp_path, mapping, *lines)
    assert not may_be_mailed(shop)


def test_a_purchase_of_nobody_counts_in_what_sells_and_makes_no_customer(tmp_path: Path) -> None:
    shop = Shop(apparel())
    brought(
        shop, tmp_path, "pos-purchases", "store_id,receipt_id,sold_at,sku,quantity,price,customer_id",
        "kiel,1,2025-11-01 10:00,socks,3,5.00,", "kiel,2,2025-11-01 10:00,hat,1,5.00,", fires=True,
    )  # fmt: skip
    assert list(shop.engine.shelf.popular("", 2)) == ["socks", "hat"]
    assert list(shop.store.state.customer_ids()) == [] and shop.engine.customers == {}
