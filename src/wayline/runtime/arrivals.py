"""A file that arrives: which mapping reads it, and of an archive, which reads each of its members."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from wayline.errors import AuthorError, SenderError
from wayline.sources.archives import is_archive, is_like, members_of, unpacked
from wayline.sources.mapping import READY, SETS, TableMapping, read_mapping, ready_mapping
from wayline.sources.tables import WrongColumns, header_of

__all__ = ["Arrival", "arrivals", "fitting", "mappings_called", "money_and_zone"]


class Arrival(Struct, frozen=True):
    """A file to import: where it is now, what it is called, and the mapping that reads it."""

    path: Path
    name: str
    mapping: TableMapping


@contextmanager
def arrivals(
    file: Path, candidates: Sequence[TableMapping], kept: Path | None = None
) -> Iterator[tuple[list[Arrival], list[str]]]:
    """The file by itself, or what is in it while it is unpacked in that folder; and members that no mapping reads."""
    if not is_archive(file):
        yield [Arrival(file, file.name, fitting(file, candidates))], []
        return
    members = members_of(file)
    wanted = [member for member in members if any(is_like(member, each.name_like) for each in candidates)]
    if not wanted:
        known = ", ".join(each.name_like for each in candidates)
        raise SenderError(
            f"{file.name} holds no file that is read here ({known}). It holds: {', '.join(members[:10])}."
        )
    with ExitStack() as stack:
        paths = [(member, stack.enter_context(unpacked(file, member, kept))) for member in wanted]
        found = [Arrival(path, f"{file.name}/{member}", fitting(path, candidates)) for member, path in paths]
        yield found, [member for member in members if member not in wanted]


def mappings_called(name: str, folder: Path = Path()) -> list[TableMapping]:
    """The mapping of that name, or path below the folder, or the mappings of the set of that name."""
    if name in READY or name in SETS:
        return [ready_mapping(each) for each in SETS.get(name, (name,))]
    path = folder / name
    try:
        return [read_mapping(path.read_text("utf-8"), file=path.name)]
    except (OSError, UnicodeDecodeError) as trouble:
        known = ", ".join((*SETS, *READY))
        why = "it is no UTF-8 text" if isinstance(trouble, UnicodeDecodeError) else trouble.strerror or trouble
        raise AuthorError(f"{path}: no mapping can be read here: {why}. Give a path, or one of: {known}.") from trouble


def fitting(file: Path, candidates: Sequence[TableMapping]) -> TableMapping:
    """The first of these mappings that is written for this file: by its name, and by the columns it has."""
    if len(candidates) == 1:
        header_of(file, candidates[0])
        return candidates[0]
    why: list[str] = []
    has = ""
    for each in candidates:
        if not is_like(file.name, each.name_like):
            continue
        try:
            header_of(file, each)
        except WrongColumns as error:
            why.append(error.lacks)
            has = has or error.found
        except SenderError as error:
            why.append(str(error))
        else:
            return each
    if len(why) > 1 and len(set(why)) == 1:
        raise SenderError(why[0])  # it is the file that cannot be read, whatever reads it
    known = ", ".join(each.name + (f" ({each.name_like})" if each.name_like else "") for each in candidates)
    raise SenderError(f"{file.name} is what none of these mappings reads: {known}. {' '.join([*why, has]).strip()}")


def money_and_zone(folder: Path) -> tuple[str, str]:
    """What a shop counts in and where it is, for mappings that leave that to it."""
    try:
        said = tomllib.loads((folder / "wayline.toml").read_text("utf-8")).get("shop", {})
    except FileNotFoundError:
        raise AuthorError(
            f"{folder}: no wayline.toml here, so this is no shop. Make one: wayline init {folder}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as trouble:
        raise AuthorError(f"{folder / 'wayline.toml'}: {trouble}. Try: wayline check {folder}") from trouble
    return str(said.get("currency", "EUR")), str(said.get("zone", "UTC"))
