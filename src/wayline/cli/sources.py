"""What brings events in: the sources of a shop, looked after by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from wayline.cli.terminal import AsJson, Folder, app, opened, print_json, progress
from wayline.errors import OperatorError

__all__ = ["drop", "program"]

program = typer.Typer(help="What brings events in.\n\nExample: wayline sources drop my-shop")
app.add_typer(program, name="sources")


@program.command()
def drop(
    folder: Folder,
    *,
    only: Annotated[str, typer.Option(help="Only this source.")] = "",
    at_once: Annotated[bool, typer.Option("--at-once", help="Take files too that changed a moment ago.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take in what lies in the drop folders, once; `wayline serve` does it all the time.

    Example: wayline sources drop my-shop
    """
    from wayline.playbook import compile_playbook
    from wayline.runtime import dropping
    from wayline.runtime.folders import read_files

    playbook = compile_playbook(read_files(folder))
    found_drops = dropping.drops_of(folder, playbook.settings, playbook.signals)
    drops = [each for each in found_drops if only in ("", each.source)]
    if not drops:
        raise OperatorError(
            f'{folder}: no drop folder {only or "is named"}. Add [sources.till] with kind = "drop" and mapping = '
            f'"pos-purchases" to wayline.toml.'
        )
    now = datetime.now(UTC)
    found: list[Any] = []
    with opened(folder, is_new=True) as store:
        for each in drops:
            taken, changing = dropping.once(each, store, now, _counting, at_once=at_once)
            found += taken
            if not as_json:
                _print(each.source, taken, changing)
    if as_json:
        print_json(found)
    if any(each.problem for each in found):
        raise typer.Exit(1)


def _print(source: str, taken: Sequence[Any], changing: Sequence[Path]) -> None:
    from wayline.runtime.dropping import in_words

    for path in changing:
        print(f"{source}: {path.name} changed a moment ago and is left for later (--at-once takes it)")
    for each in taken:
        print("\n".join(in_words(each)))
    if not taken:
        print(f"{source}: nothing to take in")


def _counting(done: Any) -> None:
    progress("rows")(done.rows)
