"""What every command shares: the program itself, the folder it looks into, and how it prints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wayline import __version__
from wayline.errors import OperatorError, StoreLocked

if TYPE_CHECKING:
    from wayline.store.opening import Store

__all__ = ["AsJson", "Folder", "app", "kept_playbook", "opened", "print_json", "progress"]

app = typer.Typer(
    help="A self-hosted decision engine for retail customer journeys.\n\n"
    "Example: wayline demo --customers 2000 --days 30 --no-serve",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Folder = Annotated[Path, typer.Argument(help="The shop's folder: the one with wayline.toml in it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def print_json(value: Any) -> None:
    """Print one JSON document."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.flush()


@contextmanager
def opened(folder: Path, *, is_new: bool = False, served: str = "") -> Iterator[Store]:
    """The stores of a shop's folder, closed again whatever happens; `is_new` makes them where there are none.

    `served` is what to do instead while another process serves the folder.
    """
    from wayline.runtime.folders import KEPT
    from wayline.store.opening import open_store

    if not is_new and not (folder / KEPT).is_dir():
        raise OperatorError(
            f"{folder}: nothing is kept here yet ({KEPT}/ is missing). Bring data in first (wayline import), or try "
            f"the example: wayline demo"
        )
    try:
        with open_store(folder / KEPT) as store:
            yield store
    except StoreLocked as error:
        raise StoreLocked(f"{error} {served}".strip()) from error


def kept_playbook(folder: Path, store: Store) -> Any:
    """The playbook of a folder, with every version somebody may still be inside of."""
    from wayline.runtime.folders import keep_versions, read_files

    return keep_versions(read_files(folder), store.state)


def progress(what: str) -> Callable[[int], None]:
    """Count up on a terminal; say nothing where nobody watches."""

    def show(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done:,} {what}", end="", file=sys.stderr)

    return show


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        print(f"wayline {__version__}")
        raise typer.Exit
