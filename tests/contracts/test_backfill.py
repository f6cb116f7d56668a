"""Bringing in what happened before: it may be cut anywhere and goes on, stores nothing twice, and starts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.shops import bodies
from tests.shops.platform import KEY, SECRET, TOKEN, Platform, ShopifyPlatform, WooPlatform, served

from wayline.errors import OperatorError
from wayline.runtime.collecting import Collector
from wayline.runtime.reconciling import Poll, Shop, backfill
from wayline.sources.asking import Api, Page, ShopifyApi, Window, WooCommerceApi
from wayline.sources.facts import Rules
from wayline.sources.shopify import Shopify
from wayline.sources.woocommerce import WooCommerce
from wayline.store.opening import open_store

ORDERS = 60


class Cut(Exception):
    """The process is killed here."""


class Cutting:
    """An API whose reader is killed after some pages."""

    def __init__(self, api: Api, pages: int) -> None:
        self.api, self.resources, self.left = api, api.resources, pages

    def pages(self, resource: str, window: Window) -> Iterator[Page]:
        for page in self.api.pages(resource, window):
            self.left -= 1
            if self.left < 0:
                raise Cut
            yield page

    def revive(self, address: str) -> list[Any]:
        return []

    def close(self) -> None:
        self.api.close()


@contextmanager
def shop(kind: str, folder: Path) -> Iterator[tuple[Platform, Shop]]:
    platform: Platform = ShopifyPlatform() if kind == "shopify" else WooPlatform()
    began = platform.now
    for number in range(ORDERS):
        at = began + timedelta(days=5 * number)
        platform.now = at
        # Some changed in one same second: a page can begin and end within it.
        for order_id in (5000 + 10 * number, 5001 + 10 * number):
            if kind == "shopify":
                order = bodies.order(order_id, created_at=platform.written(at), processed_at=None)
                platform.put("orders", "orders/create", order)
            else:
                order = bodies.woo_order(order_id, date_created_gmt=platform.written(at))
                platform.put("orders", "order.created", order)
    platform.now += timedelta(days=5)
    store = open_store()
    with served(platform.app()) as url:
        if kind == "shopify":
            api: Api = ShopifyApi(f"{url}/admin/api/2025-01", TOKEN, allow_private=True, pause=lambda s: None)
            reader: Any = Shopify(["x"], Rules())
        else:
            api = WooCommerceApi(f"{url}/wp-json/wc/v3", KEY, SECRET, allow_private=True, pause=lambda s: None)
            reader = WooCommerce(["x"], Rules())
        collector = Collector(store.log, store.vault)
        try:
            yield platform, Shop(source="shop", api=api, reader=reader, collector=collector, folder=folder)
        finally:
            api.close()


def stored(one: Shop) -> list[Any]:
    return list(one.collector.log.read(0, 100_000))


@pytest.mark.parametrize("kind", ["shopify", "woocommerce"])
def test_history_comes_in_once_and_starts_nothing(kind: str, tmp_path: Path) -> None:
    with shop(kind, tmp_path) as (platform, one):
        asked = backfill(one, 24, platform.now)
        events = stored(one)
        assert {each.fires for each in events} == {False}
        assert sum(each.name == "Order Completed" for each in events) == 2 * ORDERS
        assert asked.bodies == 2 * ORDERS and asked.stored == len(events)
        # Run again, it knows that it is done; asked for everything again, nothing is stored twice.
        assert backfill(one, 24, platform.now).bodies == 0
        (tmp_path / "shop.backfill.json").unlink()
        assert backfill(one, 24, platform.now).stored == 0


@pytest.mark.parametrize("kind", ["shopify", "woocommerce"])
def test_cut_anywhere_it_goes_on_where_it_was(kind: str, tmp_path: Path) -> None:
    with shop(kind, tmp_path) as (platform, one):
        read = 0
        for _ in range(100):
            cutting = Shop(
                source="shop", api=Cutting(one.api, 3), reader=one.reader, collector=one.collector, folder=tmp_path
            )
            before = platform.asked
            try:
                backfill(cutting, 24, platform.now)
                break
            except Cut:
                read += platform.asked - before
        else:
            raise AssertionError("it never ended")
        orders = [each.properties["order_id"] for each in stored(one) if each.name == "Order Completed"]
        assert len(orders) == len(set(orders)) == 2 * ORDERS
        # A page is a handful of orders: going on costs a page or two each time, never the whole again.
        assert read < 4 * (2 * ORDERS // 5)


@pytest.mark.parametrize("kind", ["shopify", "woocommerce"])
def test_more_changes_of_one_second_than_a_page_holds_are_all_read(kind: str, tmp_path: Path) -> None:
    with shop(kind, tmp_path) as (platform, one):
        platform.now -= timedelta(days=3)
        for order_id in range(9000, 9013):
            at = platform.written(platform.now)
            if kind == "shopify":
                platform.put("orders", "orders/create", bodies.order(order_id, created_at=at, processed_at=at))
            else:
                platform.put("orders", "order.created", bodies.woo_order(order_id, date_created_gmt=at))
        backfill(one, 1, platform.now + timedelta(days=3))
        told = {each.properties["order_id"] for each in stored(one)}
        assert {str(order_id) for order_id in range(9000, 9013)} <= told


@pytest.mark.parametrize("kind", ["shopify", "woocommerce"])
def test_an_api_that_answers_one_page_for_ever_is_told_and_left(kind: str, tmp_path: Path) -> None:
    with shop(kind, tmp_path) as (platform, one):
        platform.is_stuck = True
        with pytest.raises(OperatorError, match="again and again"):
            backfill(one, 24, platform.now)


def test_only_the_months_asked_for_and_not_the_last_day(tmp_path: Path) -> None:
    with shop("shopify", tmp_path) as (platform, one):
        order = bodies.order(9999, created_at=platform.written(platform.now))
        platform.put("orders", "orders/create", order)
        backfill(one, 2, platform.now)
        told = {each.properties["order_id"] for each in stored(one)}
        assert "9999" not in told and 20 <= len(told) <= 26
        # What is no history yet is the poll's, and may start something.
        Poll(one).cycle(platform.now + timedelta(minutes=5))
        fresh = [each for each in stored(one) if each.properties.get("order_id") == "9999"]
        assert fresh and all(each.fires for each in fresh)


def test_what_cannot_be_read_is_kept_once_with_the_reason(tmp_path: Path) -> None:
    with shop("shopify", tmp_path) as (platform, one):
        platform.put("orders", "orders/create", bodies.order(1, line_items="none"))
        poll = Poll(one)
        for minutes in (5, 20, 35):
            poll.cycle(platform.now + timedelta(minutes=minutes))
        kept = one.collector.log.rejections()
        assert [each.code for each in kept] == ["wrong_type"]


def test_a_key_that_is_refused_says_which_way_out(tmp_path: Path) -> None:
    with shop("shopify", tmp_path) as (platform, _), served(platform.app()) as url:
        api = ShopifyApi(f"{url}/admin/api/2025-01", "wrong", allow_private=True)
        with pytest.raises(OperatorError, match="does not know our key"):
            list(api.pages("orders", Window(platform.now - timedelta(days=1), platform.now)))
        api.close()
