"""What already happened: bring it in, and try a playbook on it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wayline.cli.terminal import AsJson, Folder, app, opened, print_json
from wayline.errors import AuthorError

if TYPE_CHECKING:
    from wayline.domain import Signal
    from wayline.store.opening import Store

__all__ = ["import_", "simulate"]


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV, Parquet or JSON file, or a zip of such.")],
    *,
    folder: Annotated[Path, typer.Option("--into", help="The shop's folder.")] = Path("var/shop"),
    mapping: Annotated[
        str, typer.Option(help="One that comes with Wayline (klaviyo, mailchimp, pos-purchases, ...), or a path.")
    ] = "mapping.yaml",
    preview: Annotated[int, typer.Option(min=0, max=100, help="Show so many messages and end.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and judge everything, store nothing.")] = False,
    replay_events: Annotated[
        bool, typer.Option("--replay", help="Let the events start journeys; history by itself starts nothing.")
    ] = False,
    refused: Annotated[
        Path | None, typer.Option(help="Where to keep refused rows, as CSV; a rehearsal keeps them only there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring data in from a file by a mapping: look first (--preview), rehearse (--dry-run), then import.

    Example: wayline import orders.parquet --mapping online-retail --into my-shop --dry-run
    """
    from wayline.runtime import importing

    preparing = importing.prepared(
        file, folder, mapping, fires=replay_events, refused_path=refused, is_rehearsal=dry_run
    )
    with preparing as imports:
        if preview:
            shown = [each for said in imports for each in importing.preview_table(said, preview)]
            print_json(shown) if as_json else print("\n\n".join(map(importing.previewed_in_words, shown)))
            return
        if dry_run:
            reports = [importing.rehearse_table(said, _counting) for said in imports]
        else:
            with opened(folder, is_new=True) as store:
                reports = [importing.import_table(said, store.log, store.vault, _counting) for said in imports]
            importing.forget_refused(folder, datetime.now(UTC))
    if as_json:
        print_json(reports[0] if len(reports) == 1 else reports)
    else:
        print("\n".join(line for each in reports for line in importing.in_words(each, is_rehearsal=dry_run)))


def _counting(progress: Any) -> None:
    if sys.stderr.isatty():
        print(
            f"\r{progress.rows:,} rows, {progress.messages:,} messages, {progress.refused:,} refused",
            end="",
            file=sys.stderr,
        )


@app.command()
def simulate(
    folder: Folder,
    *,
    history: Annotated[
        Path | None,
        typer.Option(help="A shop's folder with events in it, or a CSV or Parquet file; DIR itself if left out."),
    ] = None,
    mapping: Annotated[
        str, typer.Option(help="Of a file: online-retail, retailrocket, or the path of a mapping of your own.")
    ] = "mapping.yaml",
    assume: Annotated[list[str], typer.Option(help="What the history does not say; may be given again.")] = [],  # noqa: B006 - typer copies it
    treat: Annotated[list[str], typer.Option(help="'A=B': tell each event A as B too; may be given again.")] = [],  # noqa: B006 - typer copies it
    since: Annotated[datetime | None, typer.Option(help="What happened before only fills what is remembered.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Where to stop; the end of the history if left out.")] = None,
    schedules: Annotated[bool, typer.Option(help="Let the playbook's schedules come round.")] = True,
    pages: Annotated[bool, typer.Option(help="Let the website ask what to show with each page looked at.")] = True,
    texts: Annotated[bool, typer.Option(help="Write every message; without, it is faster.")] = True,
    grain: Annotated[float, typer.Option(min=0, help="Seconds of events decided together; 0 is exact.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Try a playbook on past events: who would enter, what would be sent, who would be held back, and why.

    Nothing leaves, and the folders are only read. What the history does not say may be assumed, and is printed with the
    result: consent=email,sms (or none), addresses=yes, stock=in_stock, match=0.9, products=described, price=29.90,
    signup=yes. How to read it: docs/how-to/dry-run.md.

    Example: wayline simulate my-shop --history orders.csv --mapping mapping.yaml --assume consent=email,addresses=yes
    """
    from wayline.runtime import dryrun
    from wayline.runtime.assuming import Assumptions
    from wayline.runtime.dryrun_words import in_words
    from wayline.runtime.folders import read_playbook

    try:
        assumed = Assumptions.read(",".join(assume))
        treated = dryrun.treated(treat)
    except AuthorError as error:
        raise typer.BadParameter(str(error)) from error
    options = dryrun.Options(
        since=_in_utc(since), until=_in_utc(until), schedules=schedules, pages=pages, texts=texts, treat=treated,
        grain=timedelta(seconds=grain),
    )  # fmt: skip
    playbook = read_playbook(folder)
    with _history(history or folder, folder, mapping, playbook.signals) as store:
        run = dryrun.dry_run(
            store.log.chronicle(), playbook, assume=assumed, options=options, vault=store.vault,
            products=map(dryrun.without_stock, store.state.products()), on_progress=_by_day,
        )  # fmt: skip
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if as_json:
        print_json(run)
    else:
        print("\n".join(in_words(run)))


@contextmanager
def _history(path: Path, folder: Path, mapping: str, signals: Mapping[str, Signal]) -> Iterator[Store]:
    """The stores of a shop's folder, or of a file brought into memory for as long as it is looked at."""
    if path.is_dir():
        with opened(path) as store:
            yield store
        return
    from wayline.runtime.arrivals import money_and_zone
    from wayline.runtime.importing import import_table, in_words, read_in
    from wayline.store.opening import open_store

    with open_store() as store:
        currency, zone = money_and_zone(folder)
        said = read_in(path, mapping, currency=currency, zone=zone, signals=signals)
        report = import_table(said, store.log, store.vault, _counting)
        print("\n".join(in_words(report, is_rehearsal=False)), file=sys.stderr)
        yield store


def _in_utc(at: datetime | None) -> datetime | None:
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


def _by_day(progress: Any) -> None:
    if sys.stderr.isatty():
        print(f"\r{progress.at:%-d %B %Y}: {progress.events:,} events", end="\033[K", file=sys.stderr)
