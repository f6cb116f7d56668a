"""A zip as the files in it: each unpacked beside the shop's stores for as long as it is read.

What an archive unpacks to is bounded while it is unpacked, whatever its directory says, so that a bomb fills no disk.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

from wayline.errors import SenderError

__all__ = ["MEMBERS_MAX", "UNPACKED_BYTES_MAX", "is_archive", "is_like", "members_of", "unpacked"]

MEMBERS_MAX: Final = 1_000  # members of one archive
UNPACKED_BYTES_MAX: Final = 8 << 30  # of one member when unpacked
_RATIO_MAX: Final = 200  # bytes unpacked for each packed one: tables of text reach 20
_CHUNK: Final = 1 << 20


def is_archive(path: Path) -> bool:
    """Whether a file is a zip; Office documents are, and are read by no mapping."""
    return path.is_file() and zipfile.is_zipfile(path)


def is_like(name: str, pattern: str) -> bool:
    """Whether a file of this name (or path in an archive) is one a mapping is written for."""
    return not pattern or fnmatchcase(name.rpartition("/")[2].lower(), pattern.lower())


def members_of(path: Path) -> list[str]:
    """The files in an archive, by their paths there."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [each.filename for each in archive.infolist() if not each.is_dir()]
    except (zipfile.BadZipFile, OSError) as trouble:
        raise SenderError(f"{path.name} is no whole zip: {trouble}. Export it again.") from trouble
    if len(names) > MEMBERS_MAX:
        raise SenderError(f"{path.name} holds {len(names)} files, at most {MEMBERS_MAX} are read. Split it.")
    return names


@contextmanager
def unpacked(path: Path, member: str, beside: Path | None = None) -> Iterator[Path]:
    """A member of an archive as a file, gone again afterwards. It keeps the time of the archive."""
    with TemporaryDirectory(prefix="unpacked-", dir=beside) as folder:
        target = Path(folder) / (Path(member).name or "member")
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member) as packed, target.open("wb") as out:
                _copy(packed, out, archive.getinfo(member), path)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError) as trouble:
            raise SenderError(f"{path.name}: {member} cannot be unpacked: {trouble}. Export it again.") from trouble
        _keep_time(path, target)
        yield target


def _copy(packed: IO[bytes], out: IO[bytes], told: zipfile.ZipInfo, path: Path) -> None:
    size_max = min(UNPACKED_BYTES_MAX, max(told.compress_size * _RATIO_MAX, _CHUNK))
    size = 0
    while chunk := packed.read(_CHUNK):
        size += len(chunk)
        if size > size_max:
            raise SenderError(
                f"{path.name}: {told.filename} unpacks to more than {size_max:,} bytes, which no table does. Unpack it "
                f"yourself and import the file."
            )
        out.write(chunk)


def _keep_time(path: Path, target: Path) -> None:
    import os

    told = path.stat()
    os.utime(target, (told.st_atime, told.st_mtime))
