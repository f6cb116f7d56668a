"""The keys of those who send events: made here, shown once, and written down only as far as the file may know them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from wayline.cli.terminal import AsJson, Folder, app, print_json
from wayline.errors import AuthorError, OperatorError, Problem, did_you_mean

__all__ = ["listed", "new", "program"]

program = typer.Typer(help="The keys of those who send events.\n\nExample: wayline keys list my-shop")
app.add_typer(program, name="keys")

_SETTINGS = "wayline.toml"


@program.command()
def new(
    folder: Folder,
    *,
    source: Annotated[str, typer.Option(help="Whose key it is: the NAME of [sources.NAME].")],
    is_secret: Annotated[bool, typer.Option("--secret", help="For a server: only its hash is written down.")] = False,
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help="What a secret key is good for; more than one may be named.")
    ] = None,
    expires_on: Annotated[str, typer.Option(help="The last day it works, such as 2026-12-31.")] = "",
    is_written: Annotated[bool, typer.Option("--write", help="Add the lines to wayline.toml.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key, show it once, and print the lines for wayline.toml, or write them there.

    The keys a source has go on working: give the new one to whoever sends, then take the old one out of the file. A
    running server reads the file again by itself.

    Example: wayline keys new my-shop --source server --secret --scope events --expires-on 2027-06-30
    """
    from wayline.playbook.settings import read_sources
    from wayline.serving.senders import hashed, new_key

    _check_asked(is_secret, scopes or [])
    _check_words(source, expires_on)
    path = folder / _SETTINGS
    text = _text(path)
    key = new_key(is_secret=is_secret)
    held = f'secret_key_sha256 = "{hashed(key)}"' if is_secret else f'write_key = "{key}"'
    lines = [f"[[sources.{source}.keys]]", held]
    if scopes:
        lines.append("scopes = [" + ", ".join(f'"{each}"' for each in scopes) + "]")
    if expires_on:
        lines.append(f'expires_on = "{expires_on}"')
    added = "\n".join(lines) + "\n"
    read_sources(f"{text.rstrip()}\n\n{added}")  # what the file would say is looked at before it says it
    if is_written:
        path.write_text(f"{text.rstrip()}\n\n{added}")
    if as_json:
        print_json({"key": key, "lines": added, "written": is_written})
        return
    shown = "It is shown this once and kept nowhere: give it to the server that sends." if is_secret else (
        "It is public: it goes into the pages and apps that send."
    )  # fmt: skip
    print(f"{key}\n\n{shown}\n")
    print(f"Written to {path}." if is_written else f"Add these lines to {path}:\n\n{added}")


def _check_asked(is_secret: bool, scopes: list[str]) -> None:
    from wayline.playbook.sources import SCOPES

    if scopes and not is_secret:
        raise OperatorError("a public key may only append, so it has no scopes. Leave out --scope, or add --secret.")
    for each in scopes:
        if each not in SCOPES:
            raise OperatorError(f"no scope {each!r}. {did_you_mean(each, SCOPES).replace('Defined:', 'Known:')}")


def _check_words(source: str, expires_on: str) -> None:
    from wayline.playbook.names import NAME

    if not re.fullmatch(NAME, source):
        raise OperatorError(f"--source {source!r}: expected the name of a source, in small letters, such as web-shop.")
    if not expires_on:
        return
    try:
        last = date.fromisoformat(expires_on)
    except ValueError:
        last = None
    if last is None or last.isoformat() != expires_on:
        raise OperatorError(f"--expires-on {expires_on!r}: expected a day such as 2027-06-30.")
    if last < datetime.now(UTC).date():
        raise OperatorError(f"--expires-on {expires_on}: that day is over, so the key would never work.")


def _text(path: Path) -> str:
    if not path.is_file():
        text = f"expected a shop's folder with {_SETTINGS} in it. Make one: wayline init {path.parent}"
        raise AuthorError([Problem(str(path), 1, text)])
    return path.read_text("utf-8")


@program.command("list")
def listed(folder: Folder, as_json: AsJson = False) -> None:
    """Say which keys there are, by source: public ones as they are, secret ones by the beginning of their hash.

    Example: wayline keys list my-shop
    """
    from wayline.playbook.settings import read_sources

    rows = [
        row
        for source, said in read_sources(_text(folder / _SETTINGS)).items()
        if said.get("kind", "tracking") == "tracking"
        for each in (said, *said.get("keys", ()))
        for row in _rows(source, each)
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        ends = f"until {row['expires_on']}" if row["expires_on"] else ""
        print(f"{row['source']:16} {row['kind']:7} {row['key']:40} {' '.join(row['scopes']):16} {ends}".rstrip())
    if not rows:
        print(f"{folder}: no keys yet. Make one: wayline keys new {folder} --source web --write")


def _rows(source: str, said: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    told = {"scopes": list(said.get("scopes", ("events",))), "expires_on": said.get("expires_on", "")}
    if said.get("write_key"):
        yield {"source": source, "kind": "write", "key": said["write_key"], **told}
    if said.get("secret_key_sha256"):
        yield {"source": source, "kind": "secret", "key": f"sha256 {said['secret_key_sha256'][:12]}", **told}
