"""A shop's folder: its playbook as text, and `.wayline/` beside it with all that is kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from msgspec import msgpack
from msgspec.structs import replace

from wayline.domain import Playbook
from wayline.errors import AuthorError, OperatorError, Problem
from wayline.playbook import check_playbook, compile_playbook
from wayline.store import Batch, State

__all__ = ["KEPT", "copy_example", "example_folder", "keep_versions", "playbooks_kept", "read_files", "read_playbook"]

KEPT = ".wayline"
"""Folder of the stores, inside a shop's folder."""

_NOT_SHARED = f"""\
# What people told and bought, and the key to it: never under version control.
{KEPT}/
inbox/
"""
_SAVED = "playbooks"
_SAVED_MAX = 50  # playbook versions whose journeys people may still be inside
_TEXTS = frozenset({".yaml", ".yml", ".toml"})


def read_files(folder: Path) -> dict[str, str]:
    """Every text of a playbook by its path within the folder. Raises AuthorError for what cannot be read."""
    if not (folder / "wayline.toml").is_file():
        raise AuthorError(
            f"{folder}: no wayline.toml here, so this is no playbook. Name the folder that holds it, or make one: "
            f"wayline init {folder}"
        )
    files: dict[str, str] = {}
    problems: list[Problem] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix not in _TEXTS or name.startswith(".") or not path.is_file():
            continue
        try:
            files[name] = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError) as error:
            problems.append(Problem(name, 1, f"cannot be read as UTF-8 text: {error}. Save it as UTF-8."))
    if problems:
        raise AuthorError(problems)
    return files


def read_playbook(folder: Path) -> Playbook:
    """The playbook of a folder, compiled. Raises AuthorError with every problem at once."""
    return compile_playbook(read_files(folder))


def keep_versions(files: Mapping[str, str], state: State) -> Playbook:
    """The playbook these texts say, with every earlier journey version people may still be inside.

    People keep the version they entered under, so the texts of each playbook that ran are kept with the state.
    """
    saved = _saved(state)
    earlier = {version: journey for one in playbooks_kept(state).values() for version, journey in one.journeys.items()}
    playbook = compile_playbook(files, earlier=earlier)
    if playbook.version not in saved:
        # Its stories decide nothing, and hold made-up people.
        saved[playbook.version] = {name: text for name, text in files.items() if not name.startswith("tests/")}
        newest = dict(list(saved.items())[-_SAVED_MAX:])
        state.commit(Batch(notes={_SAVED: msgpack.encode(newest)}))
    return playbook


def playbooks_kept(state: State) -> dict[str, Playbook]:
    """Every playbook that ran, by version: what was decided under one is decided again under it.

    Each has the journeys of all, since people go on in the version they entered under.
    """
    compiled = {version: check_playbook(texts).playbook for version, texts in _saved(state).items()}
    found = {version: playbook for version, playbook in compiled.items() if playbook is not None}
    journeys = {version: journey for one in found.values() for version, journey in one.journeys.items()}
    return {version: replace(playbook, journeys=journeys) for version, playbook in found.items()}


def _saved(state: State) -> dict[str, dict[str, str]]:
    return cast("dict[str, dict[str, str]]", msgpack.decode(state.note(_SAVED) or b"\x80"))


def copy_example(folder: Path) -> None:
    """Put the example shop's playbook into a folder, made if need be. Raises OperatorError where that cannot be."""
    example = example_folder()
    try:
        shutil.copytree(example, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
        (folder / ".gitignore").write_text(_NOT_SHARED, encoding="utf-8")
    except OSError as error:
        several = error.args[0] if isinstance(error, shutil.Error) else ()
        reason = several[0][2].split(": '")[0] if several else error.strerror or str(error)
        raise OperatorError(
            f"{folder}: the example shop cannot be copied here ({reason}). Name a folder on a disk with room, below "
            f"one that you may write to."
        ) from error


def example_folder() -> Path:
    """The example shop that comes with Wayline. Raises OperatorError if the installation lacks it."""
    here = Path(__file__).resolve()
    for folder in (here.parents[1] / "examples" / "apparel", here.parents[3] / "examples" / "apparel"):
        if (folder / "wayline.toml").is_file():
            return folder
    raise OperatorError("the example shop is missing from this installation. Install Wayline again.")
