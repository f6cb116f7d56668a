"""The catalogue: bring products in from a feed, and look one up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wayline.cli.terminal import AsJson, Folder, app, opened, print_json, progress
from wayline.errors import SenderError, did_you_mean

if TYPE_CHECKING:
    from wayline.domain import Playbook, Product

__all__ = ["import_", "program", "show"]

program = typer.Typer(help="Products, prices and stock.\n\nExample: wayline catalog show my-shop jacket-m")
app.add_typer(program, name="catalog")


@program.command("import")
def import_(
    folder: Folder,
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file, or a Google Merchant feed (XML or tabs).")],
    *,
    format_: Annotated[str, typer.Option("--format", help="csv, google-merchant, or auto: by looking.")] = "auto",
    full: Annotated[bool, typer.Option("--full", help="It lists all there is: what it lacks is gone.")] = False,
    clear_out: Annotated[bool, typer.Option("--clear-out", help="Most of the shelf may go at once.")] = False,
    taxonomy: Annotated[
        Path | None, typer.Option(help="Google's taxonomy with ids, for feeds that name categories by number.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a catalogue in: products with their categories, variants, prices and stock.

    Example: wayline catalog import my-shop products.xml --full
    """
    from wayline.runtime import cataloguing
    from wayline.runtime.folders import KEPT
    from wayline.runtime.importing import forget_refused, in_words
    from wayline.sources.feeds import FORMATS

    if format_ not in FORMATS:
        raise typer.BadParameter(f"expected one of {', '.join(FORMATS)}, got {format_!r}")
    playbook = _playbook(folder)
    settings = cataloguing.FeedSettings(
        format=format_, is_whole=full, may_clear_out=clear_out, taxonomy_path=taxonomy
    )  # fmt: skip
    refused = folder / KEPT / "imports" / f"{file.stem}.refused.csv"
    with opened(folder, is_new=True) as store:
        done = cataloguing.bring_catalog(
            file, store, playbook.settings, settings, datetime.now(UTC),
            progress=_counting, refused_path=refused, signals=playbook.signals,
        )  # fmt: skip
        forget_refused(folder, datetime.now(UTC))
    if as_json:
        print_json(done)
    else:
        print("\n".join([*in_words(done.report, is_rehearsal=False), *cataloguing.in_words(done)]))


@program.command()
def show(folder: Folder, sku: Annotated[str, typer.Argument(help="Which product.")], as_json: AsJson = False) -> None:
    """Tell what is known of a product: its price, its stock by location, and how old each of them is.

    Example: wayline catalog show my-shop jacket-m
    """
    from wayline.runtime.cataloguing import current_shelf

    playbook = _playbook(folder)
    with opened(folder) as store:
        shelf = current_shelf(store, playbook.settings)
    product = shelf.product(sku)
    if product is None:
        raise SenderError(f"no product is called {sku!r}. {did_you_mean(sku, [each.sku for each in shelf.products()])}")
    if as_json:
        print_json(product)
        return
    print("\n".join(_lines(product, playbook, datetime.now(UTC))))


def _lines(product: Product, playbook: Playbook, now: datetime) -> list[str]:
    variant = f", {product.attributes['variant']}" if "variant" in product.attributes else ""
    lines = [f"{product.sku}: {product.name or 'no name'}{variant}"]
    told: Mapping[str, Any] = {
        "category": product.category,
        "product": product.product_id,
        "page": product.url,
        "price": _price(product, playbook.currency, now),
        "web": _count(product.available, product.stock_as_of, now),
        **{f"store {store}": _count(count, at, now) for store, (count, at) in sorted(product.locations.items())},
        **{name: value for name, value in sorted(product.attributes.items()) if name != "variant"},
        "described": _age(product.described_as_of, now) or "by pages and orders only",
    }
    return lines + [f"  {name:<16} {value}" for name, value in told.items() if value]


def _price(product: Product, currency: str, now: datetime) -> str:
    from wayline.observation.money import EXPONENTS

    if product.price is None:
        return "never told"
    digits = EXPONENTS[currency]
    was = "" if product.was is None else f", instead of {product.was / 10**digits:.{digits}f}"
    return (
        f"{product.price / 10**digits:.{digits}f} {currency}{was}; {_age(product.price_as_of, now) or 'seen on a page'}"
    )


def _count(count: int | None, at: datetime | None, now: datetime) -> str:
    if count is None:
        return "stock never told"
    owed = f" (told as {count}: sold beyond what is there)" if count < 0 else ""
    return f"{max(count, 0)} in stock{owed}; {_age(at, now) or 'at no known time'}"


def _age(at: datetime | None, now: datetime) -> str:
    if at is None:
        return ""
    seconds = max((now - at).total_seconds(), 0)
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago ({at:%Y-%m-%d %H:%M} UTC)"
    return f"{seconds:.0f} seconds ago" if seconds >= 2 else "just now"


def _playbook(folder: Path) -> Playbook:
    from wayline.runtime.folders import read_playbook

    return read_playbook(folder)


def _counting(done: Any) -> None:
    progress("products")(done.rows)
