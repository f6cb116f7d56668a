"""Who is who, as a person judges it: look at one, merge two, split them again, answer what is asked.

What is judged is an event of the log. In a folder that is being served, the same is asked of the server by HTTP.
"""

from __future__ import annotations

import getpass
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wayline.cli.identity import program
from wayline.cli.terminal import AsJson, Folder, kept_playbook, opened, print_json
from wayline.errors import SenderError

if TYPE_CHECKING:
    from wayline.domain import Event, Review
    from wayline.store.opening import Store

__all__ = ["merge", "review", "show", "split"]

_Who = Annotated[str, typer.Argument(help="A customer's id, KIND:PSEUDONYM, or KIND=VALUE (email=ann@example.com).")]
_By = Annotated[str, typer.Option(help="Who judges; the name of whoever runs this, if left out.")]
_Why = Annotated[str, typer.Option(help="Why, in a sentence without personal values.")]


@program.command()
def show(
    folder: Folder,
    customer: _Who,
    *,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show addresses as they are, out of the vault.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how a customer came to be one person: identifiers, evidence, how sure, what was merged, split and asked.

    Example: wayline identity show var/shop email=ann@example.com
    """
    from wayline.runtime.kinship import in_words, kinship_of

    with _judging(folder, "customers/CUSTOMER", "GET") as store:
        customer_id = _customer(store, customer)
        vault = store.vault if reveal else None
        found = kinship_of(store.state, customer_id, asked=customer if customer[1:2] == "-" else "", vault=vault)
    assert found is not None
    print_json(found) if as_json else print("\n".join(in_words(found)))


@program.command()
def merge(folder: Folder, one: _Who, other: _Who, *, by: _By = "", why: _Why = "looked at by a person") -> None:
    """Make one of two customers; the one known by more goes on, and the other's id leads there.

    Example: wayline identity merge my-shop k-1a2b3c4d5e6f708192a3b4c5 e-0f1e2d3c4b5a69788796a5b4 --why "she told us"
    """
    from wayline.runtime import reviewing

    with _judging(folder, "merge") as store:
        first, second = _customer(store, one), _customer(store, other)
        event = reviewing.merged(store.state, first, second, by=_name(by), why=why, at=datetime.now(UTC))
        taken = _take_in(folder, store, event)
        survivor = store.state.survivor(str(event.properties["loser"]))
    print(f"{event.properties['loser']} is {survivor} now." if taken else _LATER)


@program.command()
def split(
    folder: Folder,
    customer: Annotated[str, typer.Argument(help="The id that was merged away; `wayline identity show` names it.")],
    *,
    by: _By = "",
    why: _Why = "looked at by a person",
) -> None:
    """Take a merge back: both remember what they would if they had never been one, and stay two.

    Example: wayline identity split my-shop a-33ee08e3a6ac69f8f8b0fc0d --why "two sisters"
    """
    from wayline.runtime import reviewing

    with _judging(folder, "split") as store:
        event = reviewing.split(store.state, customer, by=_name(by), why=why, at=datetime.now(UTC))
        taken = _take_in(folder, store, event)
    print(f"{customer} and {event.properties['survivor']} are two again." if taken else _LATER)


@program.command()
def review(
    folder: Folder,
    *,
    accept: Annotated[str, typer.Option(help="The id of a question: they are one; merge them.")] = "",
    refuse: Annotated[str, typer.Option(help="The id of a question: they are two; never merge them.")] = "",
    by: _By = "",
    everything: Annotated[bool, typer.Option("--all", help="List those that were answered too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the pairs that evidence may not merge by itself, or answer one.

    Example: wayline identity review my-shop --accept 5e1f0c9a7b3d264188
    """
    from wayline.runtime import reviewing

    if accept and refuse:
        raise typer.BadParameter("answer one question at a time: --accept or --refuse")
    if not (accept or refuse):
        with _judging(folder, "review", "GET") as store:
            found = store.state.reviews(() if everything else ("open",))
        print_json(found) if as_json else print("\n".join(map(_line, found)) or "Nothing is to be judged.")
        return
    with _judging(folder, "review") as store:
        at = datetime.now(UTC)
        event = reviewing.answered(store.state, accept or refuse, accept=bool(accept), by=_name(by), at=at)
        taken = _take_in(folder, store, event)
    said = "they are one now" if accept else "they stay two"
    print(f"{accept or refuse}: {said}." if taken else _LATER)


_LATER = "Noted in the log; events before it are not folded yet, so it counts once `wayline serve` has caught up."


def _line(asked: Review) -> str:
    why = "; ".join(asked.evidence)
    return f"{asked.review_id}  {asked.confidence:.2f}  {asked.one}  {asked.other}  {asked.state}  {why}"


def _judging(folder: Path, what: str, method: str = "POST") -> AbstractContextManager[Store]:
    return opened(
        folder,
        served=f"While it is served, ask the server: {method} /v1/identity/{what} with a secret key of the scope "
        f"'identity' (docs/how-to/who-is-who.md).",
    )


def _customer(store: Store, asked: str) -> str:
    from wayline.runtime.kinship import customer_named

    found = customer_named(store.state, store.vault, asked)
    if not found:
        raise SenderError(f"{asked!r}: nobody is known by that. Name an id (k-...), KIND:PSEUDONYM, or KIND=VALUE.")
    return asked if asked[1:2] == "-" else found


def _name(by: str) -> str:
    return by or getpass.getuser()


def _take_in(folder: Path, store: Store, event: Event) -> bool:
    """Put the judgement into the log, and let the engine take it in if nothing else is before it; whether it did."""
    from wayline.runtime.embedded import Embedded

    is_next = store.state.position() == store.log.head()
    store.log.append([event])
    if is_next:
        engine = Embedded(store.log, store.state, store.vault, kept_playbook(folder, store), {})
        engine.catch_up(event.occurred_at)
        engine.close()
    return is_next
