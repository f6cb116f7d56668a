"""Who is who: telling people apart by what two records have in common, and how well that is done."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wayline.cli.terminal import AsJson, Folder, app, kept_playbook, opened, print_json

if TYPE_CHECKING:
    from wayline.domain import Event
    from wayline.store.opening import Store

__all__ = ["evaluate", "match", "program"]

program = typer.Typer(help="Who is who.\n\nExample: wayline identity evaluate people.csv --truth person")
app.add_typer(program, name="identity")

_Roles = Annotated[
    list[str] | None,
    typer.Option("--role", help="COLUMN=ROLE, where a name or a look at the values does not tell; may be given again."),
]


@program.command()
def evaluate(
    left: Annotated[Path, typer.Argument(help="A CSV or Parquet file of records.")],
    right: Annotated[
        Path | None, typer.Argument(help="A second one, whose records are to be found in the first.")
    ] = None,
    *,
    truth: Annotated[str, typer.Option(help="The column that says who a record is; hidden from the matcher.")] = "",
    labels: Annotated[Path | None, typer.Option(help="A file of judged pairs: NAME_l, NAME_r, and 1 or 0.")] = None,
    one_to_one: Annotated[bool, typer.Option("--one-to-one", help="Neither file holds anybody twice.")] = False,
    roles: _Roles = None,
    curve: Annotated[Path | None, typer.Option(help="Draw precision against recall here, as SVG.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random pairs that are learnt from.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Match records whose people are known, without looking, and tell how right it was.

    What a column is, is told by its name and values; weights and threshold are learnt from the records alone.

    Example: wayline identity evaluate crm.csv till.csv --truth person --one-to-one --curve curve.svg
    """
    from wayline.runtime import match_evaluation

    asked = match_evaluation.Asked(
        left=left, right=right, truth=truth, labels=labels, one_to_one=one_to_one, roles=_declared(roles or ()),
        seed=seed,
    )  # fmt: skip
    made, drawn = match_evaluation.evaluate(asked, tell=_told)
    if curve is not None and drawn is not None and made.chosen is not None:
        curve.write_text(match_evaluation.picture(drawn, made.chosen))
    if as_json:
        print_json(made)
    else:
        print("\n".join(match_evaluation.in_words(made)))


@program.command()
def match(
    folder: Folder,
    *,
    apply: Annotated[bool, typer.Option("--apply/--dry-run", help="Do it; else only say what would be done.")] = False,
    train: Annotated[bool, typer.Option("--train", help="Learn the weights anew, though there are some.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find customers who are one person by names, birthday and addresses; merge the sure, ask about the rest.

    Two known people (two user ids) are never merged by this, only asked about. Values stay in memory and in the vault:
    what is printed and kept says in which fields two agree. How it is decided: docs/how-to/match.md.

    Example: wayline identity match my-shop --apply
    """
    from datetime import UTC, datetime

    from wayline.runtime import match_customers

    with opened(folder) as store:
        model = None if train else match_customers.kept_model(store.state)
        made = match_customers.plan(store.state, store.vault, model=model)
        if apply:
            at = datetime.now(UTC)
            match_customers.put_questions(store.state, made, at)
            _take_in(folder, store, match_customers.events_of(made, at))
    if as_json:
        print_json({"merges": made.merges, "reviews": made.reviews, "customers": made.customers, "applied": apply})
    else:
        print("\n".join(match_customers.in_words(made, is_applied=apply)))


def _take_in(folder: Path, store: Store, events: Sequence[Event]) -> None:
    """Put judgements into the log, and let the engine take them in if nothing else is before them."""
    from wayline.runtime.embedded import Embedded

    is_next = store.state.position() == store.log.head()
    store.log.append(events)
    if events and is_next:
        engine = Embedded(store.log, store.state, store.vault, kept_playbook(folder, store), {})
        engine.catch_up(events[-1].occurred_at)
        engine.close()


def _declared(roles: Sequence[str]) -> Mapping[str, str]:
    wrong = [each for each in roles if "=" not in each]
    if wrong:
        raise typer.BadParameter(f"--role {wrong[0]}: say COLUMN=ROLE, such as --role post=postcode")
    return {column: role for column, _, role in (each.partition("=") for each in roles)}


def _told(said: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{said}", end="\033[K", file=sys.stderr)
