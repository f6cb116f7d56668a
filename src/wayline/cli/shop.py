"""A shop's playbook and its server: check it, try it, start one, play the example, serve it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wayline.cli.terminal import AsJson, Folder, app, print_json
from wayline.errors import AuthorError, OperatorError, Problem

if TYPE_CHECKING:
    from wayline.domain import Playbook

__all__ = ["check", "demo", "init", "play_stories", "serve"]


@app.command()
def check(folder: Folder, as_json: AsJson = False) -> None:
    """Compile a playbook and report all its problems at once.

    Example: wayline check examples/apparel
    """
    from wayline.playbook import check_playbook
    from wayline.runtime.folders import read_files

    files = read_files(folder)
    checked = check_playbook(files)
    problems, warnings = list(checked.problems), list(checked.warnings)
    if checked.playbook is not None:
        for is_unset, found in _of_sources(folder, checked.playbook, files["wayline.toml"]):
            (warnings if is_unset else problems).append(found)
    if as_json:
        told = {
            kind: [{"file": p.file, "line": p.line, "text": p.text} for p in found]
            for kind, found in (("problems", problems), ("warnings", warnings))
        }
        print_json({**told, "version": checked.playbook.version if checked.playbook else None})
    else:
        for warning in warnings:
            print(f"warning: {warning}")
    if problems:
        if as_json:
            raise typer.Exit(1)
        raise AuthorError(problems)
    if not as_json and checked.playbook is not None:
        book = checked.playbook
        print(
            f"{folder}: {len(book.current)} journeys, {len(book.content)} texts, {len(book.facets)} facets, "
            f"{len(book.questions)} questions; version {book.version}"
        )


def _of_sources(folder: Path, playbook: Playbook, text: str) -> Iterator[tuple[bool, Problem]]:
    """What would be in the way of a source once it is served; True for a secret that is merely not set here."""
    from wayline.playbook.texts import Findings, read_toml
    from wayline.runtime.dropping import drops_of
    from wayline.sources.opening import SecretUnset, Shop, open_receivers

    settings = playbook.settings
    root = read_toml("wayline.toml", text, Findings())
    places = root.value.get("sources") if root is not None and isinstance(root.value, Mapping) else None
    for name, said in settings.get("sources", {}).items():
        line = places.value[name].line if places is not None and isinstance(places.value, Mapping) else 1
        try:
            drops_of(folder, {**settings, "sources": {name: said}}, playbook.signals)
            open_receivers({name: said}, os.environ, Shop(currency=playbook.currency, folder=folder))
        except AuthorError as error:
            for each in error.problems or (Problem("wayline.toml", line, f"source {name}: {error}"),):
                yield False, each
        except OperatorError as error:
            yield isinstance(error, SecretUnset), Problem("wayline.toml", line, str(error))


@app.command("test")
def play_stories(
    folder: Folder,
    only: Annotated[str, typer.Option(help="Play only the stories whose file or name contains this.")] = "",
    as_json: AsJson = False,
) -> None:
    """Play the stories of a playbook's tests/ through the real engine: what should be sent, what held back, and why.

    Example: wayline test examples/apparel --only newsletter
    """
    from wayline.runtime.folders import read_files
    from wayline.runtime.rehearsal import rehearse

    played = rehearse(read_files(folder), only=only)
    if not played:
        wanted = f" whose file or name contains {only!r}" if only else ""
        raise AuthorError(f"{folder}: no stories{wanted} under tests/. How to write one: docs/reference/playbook.md.")
    if as_json:
        print_json([one.as_json() for one in played])
    else:
        print("\n".join(f"{'ok ' if one.is_fine else 'NOT'} {one.story.file}: {one.story.name}" for one in played))
    problems = [problem for one in played for problem in one.problems]
    if problems and as_json:
        raise typer.Exit(1)
    if problems:
        raise AuthorError(problems)
    if not as_json:
        print(f"{len(played)} stories, all as expected")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to put the new playbook; made if it is not there.")],
) -> None:
    """Start a playbook from the example shop.

    Example: wayline init my-shop
    """
    from wayline.runtime.folders import copy_example

    if folder.exists() and not folder.is_dir():
        raise OperatorError(f"{folder}: it is a file. Name an empty folder, or one that is not there yet.")
    if folder.exists() and any(folder.iterdir()):
        raise OperatorError(f"{folder}: it is not empty, and nothing there is overwritten. Name an empty folder.")
    copy_example(folder)
    print(f"{folder}: a playbook to start from. Next: wayline check {folder}; wayline test {folder}")


@app.command()
def demo(
    *,
    customers: Annotated[int, typer.Option(min=20, help="Known customers of the simulated shop.")] = 5_000,
    days: Annotated[int, typer.Option(min=1, max=90, help="Days to play, from 1 October.")] = 90,
    seed: Annotated[int, typer.Option(help="The same seed gives the same report.")] = 7,
    folder: Annotated[Path, typer.Option(help="Where the simulated shop is kept; made anew each time.")] = Path(
        "var/shop"
    ),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here as JSON too.")] = None,
    serve_pages: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve the pages after the report.")] = True,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the pages, on loopback.")] = 8400,
) -> None:
    """Play a season of the simulated shop through the real engine, and report on it.

    Example: wayline demo --customers 2000 --days 30 --no-serve
    """
    from wayline.serving.season import play_and_report

    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.touch()  # a path that cannot be is told now and not after the season
    report = play_and_report(folder, customers=customers, days=days, seed=seed)
    if json_file is not None:
        from wayline.serving.report import to_json

        json_file.write_bytes(to_json(report))
    if serve_pages and sys.stdout.isatty():
        serve(folder, port=port)
    elif serve_pages:
        print(f"\nNo terminal here, so nothing is served. To see the pages: make serve, or: wayline serve {folder}")


@app.command()
def serve(
    folder: Folder = Path("var/shop"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8400,
    host: Annotated[str, typer.Option(help="Address to listen on; loopback unless you say otherwise.")] = "127.0.0.1",
) -> None:
    """Run the engine and its pages on a shop's folder, until interrupted.

    Example: wayline serve var/shop --port 8400
    """
    from wayline.serving.app import run

    run(folder, host=host, port=port)
