"""The command line: each command is a few lines around what the rooms can do, and says what to do when it cannot.

Exit codes: 0 done; 1 the playbook, mapping or data has problems (they are printed); 2 the command was misspelt;
3 this installation is in the way (a lock, a disk, a port); 70 a defect of Wayline's.
"""

from __future__ import annotations

import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from wayline import __version__
from wayline.errors import AuthorError, Broken, OperatorError, SenderError, WaylineError

if TYPE_CHECKING:
    from wayline.store.opening import Store

__all__ = [
    "AsJson",
    "Folder",
    "app",
    "check",
    "demo",
    "doctor",
    "explain",
    "import_",
    "init",
    "main",
    "play_stories",
    "replay",
    "serve",
    "simulate",
]

app = typer.Typer(
    help="A self-hosted decision engine for retail customer journeys.\n\n"
    "Example: wayline demo --customers 2000 --days 30 --no-serve",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Folder = Annotated[Path, typer.Argument(help="The shop's folder: the one with wayline.toml in it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

_LISTED_MAX = 20  # decisions named by `explain` without an id


def main() -> NoReturn:
    """Run the command line; every error of ours ends as one message and an exit code that means something."""
    try:
        ended_with = app(standalone_mode=False)  # what Exit and Ctrl-C carry comes back; commands return nothing
    except (AuthorError, SenderError) as error:
        _fail(error, 1)
    except OperatorError as error:
        _fail(error, 3)
    except Broken as error:
        print(f"wayline: a defect of Wayline's, please report it: {error}", file=sys.stderr)
        sys.exit(70)
    except WaylineError as error:
        _fail(error, 70)
    except OSError as error:
        _fail(_in_the_way(error), 3)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the top of the program: whatever nobody foresaw ends here
        code = _misspelt(error)
        if code is None:
            _own_up()
            code = 70
        sys.exit(code)
    sys.exit(ended_with or 0)


def _misspelt(error: Exception) -> int | None:
    """Typer's own complaints about a command line, printed as it would; None for anything else."""
    show = getattr(error, "show", None)
    if show is None:
        return None
    show()
    return int(getattr(error, "exit_code", 2))


def _in_the_way(error: OSError) -> OperatorError:
    """What the machine refused, where, and what to look at; whoever knows more says so nearer to the cause."""
    where = f"{error.filename}: " if error.filename else ""
    return OperatorError(
        f"{where}{error.strerror or error}. Look at the path, at whose it is and at the room on its disk, and run "
        f"the command again."
    )


def _own_up() -> None:
    traceback.print_exc()
    print("wayline: a defect of Wayline's, please report it with the lines above", file=sys.stderr)


def _fail(error: WaylineError, code: int) -> NoReturn:
    problems = getattr(error, "problems", ())
    print(f"wayline: {error}" if not problems else str(error), file=sys.stderr)
    if problems:
        print(f"wayline: {len(problems)} problem{'s' if len(problems) != 1 else ''}", file=sys.stderr)
    sys.exit(code)


def _print_json(value: Any) -> None:
    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.flush()


@contextmanager
def _opened(folder: Path, *, is_new: bool = False) -> Iterator[Store]:
    """The stores of a shop's folder, closed again whatever happens; `is_new` makes them where there are none."""
    from wayline.runtime.folders import KEPT
    from wayline.store.opening import open_store

    if not is_new and not (folder / KEPT).is_dir():
        raise OperatorError(
            f"{folder}: nothing is kept here yet ({KEPT}/ is missing). Bring data in first (wayline import), or try "
            f"the example: wayline demo"
        )
    with open_store(folder / KEPT) as store:
        yield store


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        print(f"wayline {__version__}")
        raise typer.Exit


# ------------------------------------------------------------------ the playbook


@app.command()
def check(folder: Folder, as_json: AsJson = False) -> None:
    """Compile a playbook and report all its problems at once.

    Example: wayline check examples/apparel
    """
    from wayline.playbook import check_playbook
    from wayline.runtime.folders import read_files

    checked = check_playbook(read_files(folder))
    if as_json:
        found = {
            kind: [{"file": p.file, "line": p.line, "text": p.text} for p in problems]
            for kind, problems in (("problems", checked.problems), ("warnings", checked.warnings))
        }
        _print_json({**found, "version": checked.playbook.version if checked.playbook else None})
    else:
        for warning in checked.warnings:
            print(f"warning: {warning}")
    if checked.problems:
        if as_json:
            raise typer.Exit(1)
        raise AuthorError(checked.problems)
    if not as_json and checked.playbook is not None:
        book = checked.playbook
        print(
            f"{folder}: {len(book.current)} journeys, {len(book.content)} texts, {len(book.facets)} facets, "
            f"{len(book.questions)} questions; version {book.version}"
        )


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
        _print_json([one.as_json() for one in played])
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


# ------------------------------------------------------------------ the demo


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


# ------------------------------------------------------------------ data


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file.")],
    *,
    folder: Annotated[Path, typer.Option("--into", help="The shop's folder.")] = Path("var/shop"),
    mapping: Annotated[
        str, typer.Option(help="online-retail, retailrocket, or the path of a mapping of your own.")
    ] = "mapping.yaml",
    preview: Annotated[int, typer.Option(min=0, max=100, help="Show so many messages and end.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and judge everything, store nothing.")] = False,
    replay_events: Annotated[
        bool, typer.Option("--replay", help="Let the events start journeys; history by itself starts nothing.")
    ] = False,
    refused: Annotated[Path | None, typer.Option(help="Where to keep refused rows, as CSV.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring data in from a file by a mapping: look first (--preview), rehearse (--dry-run), then import.

    Example: wayline import orders.parquet --mapping online-retail --into my-shop --dry-run
    """
    from wayline.runtime import importing

    said = importing.prepared(file, folder, mapping, fires=replay_events, refused_path=refused)
    if preview:
        shown = importing.preview_table(said, preview)
        _print_json(shown) if as_json else print("\n\n".join(map(importing.previewed_in_words, shown)))
        return
    if dry_run:
        report = importing.rehearse_table(said, _counting)
    else:
        with _opened(folder, is_new=True) as store:
            report = importing.import_table(said, store.log, store.vault, _counting)
    if as_json:
        _print_json(report)
    else:
        print("\n".join(importing.in_words(report, is_rehearsal=dry_run)))


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
    with _history(history or folder, mapping) as store:
        run = dryrun.dry_run(
            store.log.chronicle(), playbook, assume=assumed, options=options, vault=store.vault,
            products=map(dryrun.without_stock, store.state.products()), on_progress=_by_day,
        )  # fmt: skip
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if as_json:
        _print_json(run)
    else:
        print("\n".join(in_words(run)))


@contextmanager
def _history(path: Path, mapping: str) -> Iterator[Store]:
    """The stores of a shop's folder, or of a file brought into memory for as long as it is looked at."""
    if path.is_dir():
        with _opened(path) as store:
            yield store
        return
    from wayline.runtime.importing import import_table, in_words, read_in
    from wayline.store.opening import open_store

    with open_store() as store:
        report = import_table(read_in(path, mapping), store.log, store.vault, _counting)
        print("\n".join(in_words(report, is_rehearsal=False)), file=sys.stderr)
        yield store


def _in_utc(at: datetime | None) -> datetime | None:
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


def _by_day(progress: Any) -> None:
    if sys.stderr.isatty():
        print(f"\r{progress.at:%-d %B %Y}: {progress.events:,} events", end="\033[K", file=sys.stderr)


# ------------------------------------------------------------------ decisions


@app.command()
def explain(
    folder: Folder,
    decision_id: Annotated[
        str,
        typer.Argument(help="The decision's id, as on any page or in any report; without one, the newest are listed."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Say in plain words why something was sent, or not.

    Example: wayline explain var/shop 63450f046478b0ddc279c448765261c8
    """
    from wayline.governance.audit import explain as explained

    with _opened(folder) as store:
        if not decision_id:
            _list_newest(store, _kept_playbook(folder, store), as_json=as_json)
            return
        decision = store.state.decision(decision_id)
        if decision is None:
            raise SenderError(f"no decision {decision_id!r} in {folder}. Ids are 32 hexadecimal digits.")
        playbook = _kept_playbook(folder, store)
        lines = explained(decision, playbook)
    if as_json:
        _print_json({"decision": decision, "explanation": lines})
    else:
        print("\n".join(lines))


def _list_newest(store: Store, playbook: Any, *, as_json: bool) -> None:
    from wayline.governance.audit import explain as explained

    newest = deque(store.state.decisions(), maxlen=_LISTED_MAX)
    listed = [(decision.decision_id, explained(decision, playbook)[0]) for decision in reversed(newest)]
    if as_json:
        _print_json([{"decision_id": decision_id, "in_words": said} for decision_id, said in listed])
    elif listed:
        print("\n".join(f"{decision_id}  {said}" for decision_id, said in listed))
    else:
        print("Nothing was decided yet.")


@app.command()
def replay(folder: Folder, as_json: AsJson = False) -> None:
    """Decide every recorded decision again from its record alone, and compare.

    Example: wayline replay var/shop
    """
    from wayline.runtime.folders import playbooks_kept
    from wayline.runtime.replaying import replay_all

    with _opened(folder) as store:
        playbook = _kept_playbook(folder, store)
        found = replay_all(store.state, playbook, _progress("decisions"), kept=playbooks_kept(store.state))
    if as_json:
        _print_json(found)
    else:
        print(f"{found.equal:,} decisions replayed to the same record, {len(found.different)} differ")
        for line in found.different[:10]:
            print(f"  {line}")
    if found.different:
        raise typer.Exit(1)


@app.command()
def doctor(folder: Folder, as_json: AsJson = False) -> None:
    """Look a shop's folder over: what is kept, what waits, what is stuck, what was set aside.

    Example: wayline doctor var/shop
    """
    from wayline.runtime.replaying import examine

    with _opened(folder) as store:
        health = examine(store.log, store.state)
    if as_json:
        _print_json(health)
    else:
        for line in health.lines:
            print(line)
    if health.problems:
        raise typer.Exit(1)


def _kept_playbook(folder: Path, store: Store) -> Any:
    from wayline.runtime.folders import keep_versions, read_files

    return keep_versions(read_files(folder), store.state)


def _progress(what: str) -> Callable[[int], None]:
    """Count up on a terminal; say nothing where nobody watches."""

    def show(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done:,} {what}", end="", file=sys.stderr)

    return show


if __name__ == "__main__":
    main()
