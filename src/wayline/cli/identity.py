"""Who is who: telling people apart by what two records have in common, and how well that is done."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from wayline.cli.terminal import AsJson, app, print_json

__all__ = ["evaluate", "program"]

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
    seed: Annotated[int, typer.Option(help="Of the random pairs that are learnt from.")] = 0,
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


def _declared(roles: Sequence[str]) -> Mapping[str, str]:
    wrong = [each for each in roles if "=" not in each]
    if wrong:
        raise typer.BadParameter(f"--role {wrong[0]}: say COLUMN=ROLE, such as --role post=postcode")
    return {column: role for column, _, role in (each.partition("=") for each in roles)}


def _told(said: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{said}", end="\033[K", file=sys.stderr)
