"""A catalogue says what is on the shelf: every product it lists, once, and of a whole one what it no longer lists."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.test_importing import wayline

from wayline.domain import Product, Signal
from wayline.errors import SenderError
from wayline.runtime.cataloguing import Catalogued, FeedSettings, bring_catalog, current_shelf
from wayline.runtime.dropping import drops_of, once
from wayline.runtime.importing import Import, import_table
from wayline.sources.feeds import opened_feed, read_taxonomy
from wayline.sources.mapping import read_mapping
from wayline.store.opening import Store, open_store

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MADE = NOW - timedelta(hours=3)
SHOP: Mapping[str, Any] = {"shop": {"currency": "EUR", "zone": "Europe/Berlin", "web_locations": ["north", "south"]}}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "kept" if request.param == "sqlite" else None) as opened:
        yield opened


def file(folder: Path, text: str | bytes, name: str = "feed.csv", made: datetime = MADE) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, (made.timestamp(), made.timestamp()))
    return path


def brought(store: Store, path: Path, **settings: Any) -> Catalogued:
    return bring_catalog(path, store, SHOP, FeedSettings(**settings), NOW)


def product(store: Store, sku: str) -> Product:
    found = current_shelf(store, SHOP).product(sku)
    assert found is not None
    return found


# ------------------------------------------------------------------ what a row says


def test_a_row_is_a_variant_with_all_it_says_and_the_rest_are_its_attributes(store: Store, tmp_path: Path) -> None:
    done = brought(store, file(tmp_path, (
        "sku;product_id;name;category;brand;price;list_price;cost;available;color;size;url;fit;description\n"
        "J-M;J;Rain jacket;Clothing>Jackets;W;79.90;99.90;40;7;red;M;https://shop.example/j?v=1;slim;very long\n"
        ";;no sku;;;1;;;;;;;;\n"
        "T;;Tent;;;lots;;;;;;;;\n"
    )))  # fmt: skip
    assert (done.report.rows, done.report.stored, done.report.refused) == (3, 1, {"bad_cell": 2})
    assert product(store, "J-M") == Product(
        sku="J-M", product_id="J", name="Rain jacket", category="Clothing > Jackets", price=7990, was=9990, cost=4000,
        price_as_of=MADE, available=7, stock_as_of=MADE, described_as_of=MADE, url="https://shop.example/j?v=1",
        attributes={"brand": "W", "variant": "red / M", "color": "red", "size": "M", "fit": "slim"},
    )  # fmt: skip


def test_the_same_file_again_stores_nothing_and_an_older_one_changes_nothing(store: Store, tmp_path: Path) -> None:
    text = "sku,name,price,available\nJ,Jacket,10,5\n"
    assert brought(store, file(tmp_path, text)).report.stored == 1
    assert brought(store, file(tmp_path, text)).report.duplicates == 1
    brought(store, file(tmp_path, "sku,name,price,available\nJ,Old,9,1\n", made=MADE - timedelta(days=1)))
    assert (product(store, "J").name, product(store, "J").price, product(store, "J").available) == ("Jacket", 1000, 5)
    # Unchanged a day later, it is as fresh as the later file.
    brought(store, file(tmp_path, text, made=MADE + timedelta(hours=1)))
    assert product(store, "J").stock_as_of == MADE + timedelta(hours=1)


def test_stock_by_store_is_kept_by_store_and_the_web_has_what_it_ships_from(store: Store, tmp_path: Path) -> None:
    brought(store, file(tmp_path, "sku,name,store_id,quantity\nJ,Jacket,kiel,4\nJ,Jacket,north,2\nJ,Jacket,south,1\n"))
    found = product(store, "J")
    assert {place: count for place, (count, _) in found.locations.items()} == {"kiel": 4, "north": 2, "south": 1}
    assert (found.available, found.stock_as_of) == (3, MADE)


def test_what_a_row_does_not_say_stays_as_it_was(store: Store, tmp_path: Path) -> None:
    brought(store, file(tmp_path, "sku,name,price,available\nJ,Jacket,10,5\n"))
    brought(store, file(tmp_path, "sku,price\nJ,12\n", made=NOW))
    assert (product(store, "J").name, product(store, "J").price, product(store, "J").available) == ("Jacket", 1200, 5)


def test_a_price_in_another_currency_is_left_out_and_said_so(store: Store, tmp_path: Path) -> None:
    done = brought(store, file(tmp_path, "sku,name,price\nJ,Jacket,100 SEK\n"))
    assert list(done.report.left_out) == ["prices in SEK, where the shop counts in EUR"]
    assert product(store, "J").price is None and product(store, "J").name == "Jacket"


# ------------------------------------------------------------------ Google Merchant

RSS = """<?xml version="1.0"?>
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel>
<title>Shop</title><lastBuildDate>Wed, 25 Nov 2026 07:00:00 GMT</lastBuildDate>
<item><g:id>J-M</g:id><title>plain</title><g:title>Rain &amp; wind jacket</g:title><link>https://shop.example/j</link>
<g:price>99.90 EUR</g:price><g:sale_price>79.90 EUR</g:sale_price>
<g:sale_price_effective_date>2026-11-20T00:00+0100/2026-11-30T23:59+0100</g:sale_price_effective_date>
<g:availability>in stock</g:availability><g:item_group_id>J</g:item_group_id><g:color>red</g:color><g:size>M</g:size>
<g:google_product_category>5598</g:google_product_category><g:gtin>4006381333931</g:gtin>
<g:shipping><g:country>DE</g:country><g:price>4.90 EUR</g:price></g:shipping></item>
<item><g:id>T</g:id><title>Tent</title><g:price>199 EUR</g:price><g:sale_price>99 EUR</g:sale_price>
<g:sale_price_effective_date>2026-12-20T00:00+0100/2026-12-30T23:59+0100</g:sale_price_effective_date>
<g:availability>preorder</g:availability><g:product_type>Gear &gt; Tents</g:product_type></item>
<item><g:id>B</g:id><title>Boots</title><g:price>1 EUR</g:price><g:availability>soon</g:availability></item>
</channel></rss>
"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0">
<title>Shop</title><updated>2026-11-25T07:00:00Z</updated>
<entry><title>Jacket</title><link href="https://shop.example/j"/><g:id>J-M</g:id><g:price>25</g:price>
<g:availability>out_of_stock</g:availability></entry></feed>
"""


def test_a_merchant_feed_says_price_sale_variant_and_availability(store: Store, tmp_path: Path) -> None:
    taxonomy = file(tmp_path, "# Version\n5598 - Apparel > Jackets\n", "taxonomy.txt")
    done = brought(store, file(tmp_path, RSS, "feed.xml"), taxonomy_path=taxonomy)
    assert (done.report.mapping, done.report.stored, done.report.refused) == ("google-merchant", 2, {"bad_cell": 1})
    jacket, tent = product(store, "J-M"), product(store, "T")
    made = datetime(2026, 11, 25, 7, tzinfo=UTC)
    assert (jacket.name, jacket.product_id, jacket.category) == ("Rain & wind jacket", "J", "Apparel > Jackets")
    assert (jacket.price, jacket.was, jacket.price_as_of, jacket.available) == (7990, 9990, made, 1)
    assert jacket.attributes == {"variant": "red / M", "color": "red", "size": "M", "availability": "in_stock"}
    assert (tent.price, tent.was, tent.available, tent.category) == (19900, None, 0, "Gear > Tents")


def test_atom_and_the_tabbed_form_are_read_as_well(store: Store, tmp_path: Path) -> None:
    brought(store, file(tmp_path, ATOM, "feed.xml"))
    jacket = product(store, "J-M")
    assert (jacket.name, jacket.url, jacket.price, jacket.available) == ("Jacket", "https://shop.example/j", 2500, 0)
    tabbed = (
        "id\ttitle\tprice\tavailability\titem group id\timage link\nB\tBoots\tEUR 50.00\tin_stock\tBB\thttps://i/b\n"
    )
    done = brought(store, file(tmp_path, tabbed, "feed.txt"))
    boots = product(store, "B")
    assert done.report.mapping == "google-merchant"
    assert (boots.name, boots.price, boots.product_id, boots.attributes["image_url"]) == (
        "Boots",
        5000,
        "BB",
        "https://i/b",
    )


BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<rss><channel><item><id>&b;</id></item></channel></rss>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/hostname">]><rss><channel><item><id>&f;</id>
</item></channel></rss>"""


@pytest.mark.parametrize(
    "text, told",
    [
        (BOMB, "declares a document type"),
        (OUTSIDE, "declares a document type"),
        ("<rss>" + "<a>" * 40, "nests more than"),
        ("<rss><channel><title>none</title></channel></rss>", "holds no product"),
        ("<html><body>Not found</body></html>", "holds no product"),
        ("what,ever\n1,2\n", "no column is called sku"),
    ],
)
def test_what_is_no_feed_is_refused_before_anything_is_stored(
    store: Store, tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(SenderError, match=told):
        brought(store, file(tmp_path, text, "feed.xml"), is_whole=True)
    assert store.log.head() == 0


def test_a_feed_that_is_cut_off_keeps_what_it_said_and_makes_nothing_vanish(store: Store, tmp_path: Path) -> None:
    brought(store, file(tmp_path, "sku,name\nOLD,Old\n", made=MADE - timedelta(days=1)))
    with pytest.raises(SenderError, match="damaged after product 1"):
        brought(store, file(tmp_path, RSS[: RSS.index("<item><g:id>T")] + "<item><g:id>T", "feed.xml"), is_whole=True)
    store_has = current_shelf(store, SHOP)
    assert store_has.product("OLD").attributes == {}  # type: ignore[union-attr]  # it is there


# ------------------------------------------------------------------ a whole feed


def listed(*skus: str) -> str:
    return "\n".join(["sku,name,available", *(f"{sku},{sku},3" for sku in skus), ""])


def test_what_a_whole_feed_no_longer_lists_is_gone_and_what_it_lists_again_is_back(
    store: Store, tmp_path: Path
) -> None:
    brought(store, file(tmp_path, listed("A", "B"), made=MADE - timedelta(days=2)))
    assert brought(store, file(tmp_path, listed("A"), made=MADE - timedelta(days=1))).vanished == 0, "only with --full"
    assert brought(store, file(tmp_path, listed("A"), made=MADE), is_whole=True).vanished == 1
    assert (product(store, "B").available, product(store, "B").attributes["availability"]) == (0, "discontinued")
    assert brought(store, file(tmp_path, listed("A"), made=MADE), is_whole=True).vanished == 0
    brought(store, file(tmp_path, listed("A", "B"), made=NOW), is_whole=True)
    assert product(store, "B").available == 3


def test_a_feed_that_lacks_most_of_the_shelf_marks_nothing_unless_it_is_meant(store: Store, tmp_path: Path) -> None:
    skus = [f"s{number}" for number in range(50)]
    brought(store, file(tmp_path, listed(*skus), made=MADE - timedelta(days=1)))
    short = file(tmp_path, listed(*skus[:5]))
    with pytest.raises(SenderError, match="45 of the 50 known would be gone"):
        brought(store, short, is_whole=True)
    assert product(store, "s40").available == 3
    assert brought(store, short, is_whole=True, may_clear_out=True).vanished == 45


def test_products_that_only_pages_told_of_never_vanish(store: Store, tmp_path: Path) -> None:
    from wayline.runtime.collecting import Collector, Delivered

    view = {"type": "track", "event": "Product Viewed", "anonymousId": "somebody-1", "properties": {"sku": "P"}}
    Collector(store.log, store.vault).collect(Delivered([view], "web", NOW))
    assert brought(store, file(tmp_path, listed("A")), is_whole=True).vanished == 0


STRICT = {"Product Changed": Signal(name="Product Changed", requires=("name",), refuses=True)}


def test_a_row_keeps_to_what_signals_yaml_agreed_and_what_is_gone_is_gone_all_the_same(
    store: Store, tmp_path: Path
) -> None:
    def bring(text: str, made: datetime) -> Catalogued:
        path = file(tmp_path, text, made=made)
        return bring_catalog(path, store, SHOP, FeedSettings(is_whole=True), NOW, signals=STRICT)

    first = bring("sku,name,available\nA,Tent,3\nB,Rope,4\nC,,5\n", MADE)
    assert (first.report.stored, first.report.refused) == (2, {"contract": 1})
    assert current_shelf(store, SHOP).product("C") is None
    # That a product is gone carries no name: it is noted and never refused, or the product would be sold on.
    assert bring("sku,name,available\nA,Tent,3\n", NOW).vanished == 1
    assert product(store, "B").available == 0
    (gone,) = [event for event in store.log.read(0, 100) if event.properties["sku"] == "B" and event.notes]
    assert gone.notes == ("contract: it lacks name",)


# ------------------------------------------------------------------ dropped, and by hand


def test_catalogues_are_dropped_too(store: Store, tmp_path: Path) -> None:
    (drop,) = drops_of(tmp_path, {**SHOP, "sources": {"erp": {"kind": "catalog", "full": True}}}, STRICT)
    for day, skus in ((2, ("A", "B")), (1, ("A",))):
        drop.inbox.mkdir(parents=True, exist_ok=True)
        file(drop.inbox, listed(*skus), made=NOW - timedelta(days=day))
        ((taken,), _) = once(drop, store, NOW, lambda progress: None)
    assert taken.vanished == 1 and product(store, "B").available == 0
    file(drop.inbox, BOMB, "bomb.xml")
    ((taken,), _) = once(drop, store, NOW, lambda progress: None)
    assert "document type" in taken.problem and taken.moved_to == drop.inbox / "refused" / "bomb.xml"
    file(drop.inbox, "sku,name,available\nA,,9\n", "nameless.csv")
    ((taken,), _) = once(drop, store, NOW, lambda progress: None)
    assert taken.reports[0].refused == {"contract": 1} and product(store, "A").available != 9


def test_the_command_brings_a_catalogue_in_and_shows_a_product(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    assert wayline("init", shop).returncode == 0
    done = wayline("catalog", "import", shop, file(tmp_path, RSS, "feed.xml"), "--full")
    assert done.returncode == 0 and "1  rows refused: bad_cell" in done.stdout, done.stderr
    shown = wayline("catalog", "show", shop, "J-M").stdout
    assert "Rain & wind jacket, red / M" in shown and "79.90 EUR, instead of 99.90" in shown and "ago" in shown
    (shop / "signals.yaml").write_text("Product Changed: {requires: nothing_has_it, broken: refused}\n")
    strict = wayline("catalog", "import", shop, file(tmp_path, listed("A"), "feed.csv"))
    assert "rows refused: contract" in strict.stdout, strict.stderr
    none = wayline("catalog", "show", shop, "J-N")
    assert none.returncode == 1 and "Did you mean 'J-M'?" in none.stderr


# ------------------------------------------------------------------ public data


def test_google_s_taxonomy_is_read_whole(real_data: Callable[[str], Path]) -> None:
    taxonomy = read_taxonomy(real_data("google-product-taxonomy") / "taxonomy-with-ids.en-US.txt")
    assert len(taxonomy) == 5595 and taxonomy["5598"].endswith("> Coats & Jackets")


DUMMY = """
mapping: dummy
source: dummy
currency: USD
file: {rows: products}
columns:
  sku: id
  id: id
  title: text
  category: text
  brand: text??
  price: money
  stock: whole
  url: {holds: text, header: thumbnail}
messages:
  - event: Product Changed
    time: "@file"
    event_id: sku
    properties:
      {sku: sku, product_id: id, name: title, category: category, brand: brand, price: price, available: stock,
       image_url: url}
"""


def test_a_catalogue_in_json_is_read_by_a_mapping_of_one_s_own(store: Store, real_data: Callable[[str], Path]) -> None:
    path = real_data("dummyjson") / "products.json"
    report = import_table(Import(path=path, mapping=read_mapping(DUMMY), received_at=NOW), store.log, store.vault)
    told = json.loads(path.read_text())
    products = told["products"] if isinstance(told, dict) else told
    assert report.stored == report.rows == len(products) and not report.refused
    shelf = current_shelf(store, {"shop": {"currency": "USD"}})
    first = products[0]
    found = shelf.product(first["sku"])
    assert found is not None and (found.name, found.available) == (first["title"], first["stock"])
    assert found.price == round(first["price"] * 100)


def test_a_real_assortment_is_a_catalogue(store: Store, real_data: Callable[[str], Path], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "products.parquet"
    pq.write_table(pq.read_table(real_data("complete-journey") / "products.parquet").slice(0, 3000), path)
    feed = opened_feed(path, source="catalog", currency="USD")
    assert feed.format == "csv" and "product_id" in feed.header
    done = bring_catalog(path, store, {"shop": {"currency": "USD"}}, FeedSettings(), NOW)
    assert done.report.stored == done.report.rows == 3000 and not done.report.refused
