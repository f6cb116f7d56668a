"""Asking the shops: what their webhooks missed, and what happened before there were any."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wayline.cli.sources import program
from wayline.cli.terminal import AsJson, Folder, kept_playbook, opened, print_json
from wayline.errors import AuthorError, OperatorError, did_you_mean

if TYPE_CHECKING:
    from wayline.runtime.reconciling import Asked, Shop

__all__ = ["backfill", "poll"]


@program.command()
def poll(
    folder: Folder,
    *,
    source: Annotated[str, typer.Option(help="Only this one: the NAME of [sources.NAME].")] = "",
    since: Annotated[str, typer.Option(help="Ask from here on, such as 2026-01-31; from the mark if left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Ask each shop once what changed since it was last asked, and store what no webhook told.

    A shop that is served is asked by itself, every 15 minutes; this is for one that is not served just now.

    Example: wayline sources poll my-shop --source shop --since 2026-01-31
    """
    from wayline.runtime.reconciling import Poll

    start = _instant(since)
    with _shops(folder, source) as shops:
        told = {}
        for name, shop in shops.items():
            told[name] = Poll(shop, address=f"/webhooks/{name}").cycle(datetime.now(UTC), since=start)
    if as_json:
        print_json(told)
    else:
        print("\n".join(_in_words(name, asked) for name, asked in told.items()))


@program.command()
def backfill(
    folder: Folder,
    *,
    source: Annotated[str, typer.Option(help="Which one: the NAME of [sources.NAME].")],
    months: Annotated[int, typer.Option(min=1, max=24, help="How many months to go back.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Bring in a shop's orders, customers and products of the last months, as history that starts nothing.

    It may be stopped at any time and run again: it goes on where it was, and stores nothing twice. The last day is left
    to the poll.

    Example: wayline sources backfill my-shop --source shop --months 24
    """
    from wayline.runtime import reconciling

    def progress(resource: str, asked: Asked, at: datetime | None) -> None:
        if sys.stderr.isatty():
            reached = f", {at:%Y-%m-%d}" if at else ""
            print(
                f"\r{resource}{reached}: {asked.bodies:,} read, {asked.stored:,} facts stored", end="", file=sys.stderr
            )

    with _shops(folder, source) as shops:
        asked = reconciling.backfill(shops[source], months, datetime.now(UTC), progress)
    if as_json:
        print_json(asked)
    else:
        print(_in_words(source, asked))


@contextmanager
def _shops(folder: Path, source: str) -> Iterator[Mapping[str, Shop]]:
    """The shops that can be asked, or the one of that name, over the folder's stores."""
    from wayline.runtime.collecting import Collector
    from wayline.runtime.reconciling import shops_of
    from wayline.sources.opening import Shop as Asking
    from wayline.sources.opening import open_apis, open_receivers

    with opened(folder, is_new=True) as store:
        playbook = kept_playbook(folder, store)
        settings = _chosen(folder, playbook.settings.get("sources", {}), source)
        shop: Mapping[str, Any] = playbook.settings.get("shop", {})
        asking = Asking(currency=playbook.currency, url=str(shop.get("url", "")), recall=store.state.products)
        receivers = open_receivers(settings, os.environ, asking)
        apis = open_apis(settings, os.environ)
        collector = Collector(store.log, store.vault, currency=playbook.currency, signals=playbook.signals)
        try:
            yield shops_of(settings, receivers, apis, collector, folder=store.folder, zone=str(shop.get("zone", "UTC")))
        finally:
            for api in apis.values():
                api.close()


def _chosen(folder: Path, settings: Mapping[str, Mapping[str, Any]], source: str) -> Mapping[str, Mapping[str, Any]]:
    asked = {name: said for name, said in settings.items() if said.get("poll")}
    if source and source not in asked:
        raise AuthorError(
            f"{folder}/wayline.toml: no [sources.{source}.poll] says how that shop is asked. "
            f"{did_you_mean(source, asked)}"
        )
    if not asked:
        raise AuthorError(
            f"{folder}/wayline.toml: no source has a [sources.NAME.poll]. How to set one up: docs/how-to/shopify.md "
            f"and docs/how-to/woocommerce.md"
        )
    return {source: asked[source]} if source else asked


def _instant(text: str) -> datetime | None:
    if not text:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise OperatorError(f"--since {text!r}: expected a day or an instant such as 2026-01-31T08:00:00Z") from None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read


def _in_words(source: str, asked: Asked) -> str:
    by_resource = ", ".join(f"{count:,} of {name}" for name, count in asked.by_resource.items() if count)
    rejected = f"; {asked.rejected:,} could not be used and are kept with the reason" if asked.rejected else ""
    return (
        f"{source}: {asked.bodies:,} read, {asked.stored:,} facts stored{f' ({by_resource})' if by_resource else ''}, "
        f"{asked.duplicates:,} known before{rejected}"
    )
