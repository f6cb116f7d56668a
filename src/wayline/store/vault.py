"""The one place of personal values: sealed under a key per subject, and gone with that key.

A subject's values are sealed under a key of its own; that key is sealed under a key derived from the master key,
which lies outside the database. To forget a subject is to drop its key: a copy of the file made before still holds
both, which is why the master key must not lie in the same backup.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import apsw
from msgspec import msgpack

from wayline.errors import OperatorError
from wayline.store.durable import Durable
from wayline.store.seal import MasterKey, Seal, pseudonym

__all__ = ["SqliteVault"]

_PAGE_BYTES = 4096
_PSEUDONYMS_MAX = 1 << 15  # kept at hand: whoever visits is heard of again and again
_DIGESTS_MAX = 1 << 17  # of values as they are stored: a browser tells its name and address with every event
_SCHEMA_1 = """
CREATE TABLE installation (fingerprint TEXT NOT NULL) STRICT;
CREATE TABLE subjects (subject TEXT PRIMARY KEY NOT NULL, subject_key BLOB NOT NULL, personal BLOB NOT NULL) STRICT;
"""
_MIGRATIONS = (_SCHEMA_1,)  # only ever appended to
_PUT = """
INSERT INTO subjects VALUES (?, ?, ?)
ON CONFLICT (subject) DO UPDATE SET subject_key = excluded.subject_key, personal = excluded.personal"""
_GET = "SELECT subject_key, personal FROM subjects WHERE subject = ?"

_encode = msgpack.Encoder(order="sorted").encode
_decode = msgpack.Decoder(dict[str, Any]).decode


class SqliteVault:
    """Personal values in one file, under the key in another."""

    def __init__(self, path: Path, master: MasterKey, *, is_durable: bool = True) -> None:
        key = master.derive("pseudonyms")
        self._pseudonym = lru_cache(_PSEUDONYMS_MAX)(lambda kind, value: pseudonym(key, kind, value))
        self._digests: dict[int, int] = {}
        """Of (subject, name) to of the value that is stored: what is told again need not be opened to be compared."""
        self._version: object = None
        self._wrap = Seal(master.derive("subject keys"))
        self._file = Durable(path, _MIGRATIONS, page_bytes=_PAGE_BYTES, is_durable=is_durable)
        try:
            self._file.write(lambda connection: self._recognise(connection, master.fingerprint))
        except BaseException:
            self._file.close()
            raise

    def _recognise(self, connection: apsw.Connection, fingerprint: str) -> None:
        known = connection.execute("SELECT fingerprint FROM installation").get
        if known is None:
            connection.execute("INSERT INTO installation VALUES (?)", (fingerprint,))
        elif known != fingerprint:
            raise OperatorError(
                f"{self._file.path}: it was made under another master key (fingerprint {known}, and this one has "
                f"{fingerprint}). Put back the key file that belongs to it."
            )

    def keyed(self, kind: str, value: str) -> str:
        return self._pseudonym(kind, value)

    def put(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        if values:
            told = self._file.write(lambda connection: self._put(connection, values))
            # Only now is it stored: had the write failed, it would have to be tried again.
            if len(self._digests) + len(told) > _DIGESTS_MAX:
                self._digests.clear()
            self._digests.update(told)

    def _put(self, connection: apsw.Connection, values: Mapping[str, Mapping[str, Any]]) -> dict[int, int]:
        version = connection.pragma("data_version")
        if version != self._version:  # another process has written, and may have forgotten somebody
            self._version = version
            self._digests.clear()
        told: dict[int, int] = {}
        rows = []
        for subject, personal in values.items():
            digests = _digests(subject, personal)
            if digests.items() <= self._digests.items():
                continue
            row = self._row(connection, subject, personal)
            if row is not None:
                rows.append(row)
            told |= digests
        connection.executemany(_PUT, rows)
        return told

    def _row(
        self, connection: apsw.Connection, subject: str, personal: Mapping[str, Any]
    ) -> tuple[str, bytes, bytes] | None:
        """The subject's row with these values in it; None if they are in it already."""
        stored = connection.execute(_GET, (subject,)).fetchone()
        if stored is None:
            subject_key = secrets.token_bytes(32)
            wrapped = self._wrap.close(subject_key, subject)
            return subject, wrapped, Seal(subject_key).close(_encode(personal), subject)
        subject_key = self._wrap.open(stored[0], subject)
        seal = Seal(subject_key)
        plain = seal.open(stored[1], subject)
        merged = _encode(_decode(plain) | dict(personal))
        return None if merged == plain else (subject, stored[0], seal.close(merged, subject))

    def get(self, subjects: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        with self._file.reading() as connection:
            rows = {subject: connection.execute(_GET, (subject,)).fetchone() for subject in subjects}
        return {subject: self._open(subject, *row) for subject, row in rows.items() if row}

    def _open(self, subject: str, subject_key: bytes, personal: bytes) -> dict[str, Any]:
        return _decode(Seal(self._wrap.open(subject_key, subject)).open(personal, subject))

    def forget(self, subjects: Sequence[str]) -> int:
        count = self._file.write(lambda connection: _forget(connection, subjects))
        self._digests.clear()
        self._pseudonym.cache_clear()
        # Overwritten in the file, but the write-ahead log may still hold the old page.
        self._file.wipe()
        return count

    def close(self) -> None:
        self._file.close()


def _digests(subject: str, personal: Mapping[str, Any]) -> dict[int, int]:
    # Texts as they are, for nearly all values are texts; others so that none of them equals a text.
    return {
        hash((subject, name)): hash(value if type(value) is str else (_encode(value),))
        for name, value in personal.items()
    }


def _forget(connection: apsw.Connection, subjects: Sequence[str]) -> int:
    before = connection.total_changes()
    connection.executemany("DELETE FROM subjects WHERE subject = ?", [(subject,) for subject in subjects])
    return connection.total_changes() - before
