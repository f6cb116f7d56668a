"""The one place of personal values: sealed under a key per subject, and gone with that key.

A subject's values are sealed under a key of its own; that key is sealed under a key derived from the master key,
which lies outside the database. To forget a subject is to drop its key: a copy of the file made before still holds
both, which is why the master key must not lie in the same backup.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import apsw
from msgspec import msgpack

from wayline.errors import OperatorError
from wayline.store.durable import Durable
from wayline.store.seal import MasterKey, Seal, pseudonym
from wayline.store.told import UNSTAMPED, Kept, Told, Weight, layers_of, take_in

__all__ = ["SqliteVault"]

_PAGE_BYTES = 4096
_PSEUDONYMS_MAX = 1 << 15  # kept at hand: whoever visits is heard of again and again
_HEARD_MAX = 1 << 17  # values of which it is at hand how they are stored: a browser tells its own with every event
_HEARD_AGAIN = timedelta(hours=1)  # a value told again is written again after so long, and until then only remembered
_SCHEMA_1 = """
CREATE TABLE installation (fingerprint TEXT NOT NULL) STRICT;
CREATE TABLE subjects (subject TEXT PRIMARY KEY NOT NULL, subject_key BLOB NOT NULL, personal BLOB NOT NULL) STRICT;
"""
# The values of a row were a map of values by name; now they are a list of such maps, each behind the weight of who told
# it. A map is read as values older than all others, so no row is rewritten before something is told of its subject.
_SCHEMA_2 = "SELECT 'values with their weights'"
_MIGRATIONS = (_SCHEMA_1, _SCHEMA_2)  # only ever appended to
_PUT = """
INSERT INTO subjects VALUES (?, ?, ?)
ON CONFLICT (subject) DO UPDATE SET subject_key = excluded.subject_key, personal = excluded.personal"""
_GET = "SELECT subject_key, personal FROM subjects WHERE subject = ?"

_encode = msgpack.Encoder(order="sorted").encode
_decode_layers = msgpack.Decoder(list[tuple[Weight, dict[str, Any]]]).decode
_decode_values = msgpack.Decoder(dict[str, Any]).decode


class _Heard(NamedTuple):
    """Of one value of one subject."""

    value: int
    """The hash of the value that is stored."""
    stored: Weight
    heard: Weight
    """When it was told last, which is written now and then only."""


class SqliteVault:
    """Personal values in one file, under the key in another."""

    def __init__(self, path: Path, master: MasterKey, *, is_durable: bool = True) -> None:
        key = master.derive("pseudonyms")
        self._pseudonym = lru_cache(_PSEUDONYMS_MAX)(lambda kind, value: pseudonym(key, kind, value))
        self._lock = threading.Lock()
        self._heard: dict[int, _Heard] = {}
        """By the hash of (subject, name): what is told again, or late, need not be opened to be compared."""
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
        self.keep([Told(values)])

    def keep(self, told: Sequence[Told]) -> None:
        if not told:
            return
        with self._lock:  # what is at hand has to be what was written last, whoever of two is the first to come back
            heard = self._file.write(lambda connection: self._keep(connection, told))
            # Only now is it stored: had the write failed, it would have to be tried again.
            if len(self._heard) + len(heard) > _HEARD_MAX:
                self._heard.clear()
            self._heard.update(heard)

    def _keep(self, connection: apsw.Connection, told: Sequence[Told]) -> dict[int, _Heard]:
        version = connection.pragma("data_version")
        if version != self._version:  # another process has written, and may have forgotten somebody
            self._version = version
            self._heard.clear()
        news: dict[str, list[tuple[Mapping[str, Any], Weight]]] = {}
        heard: dict[int, _Heard | None] = {}
        for each in told:
            for subject, personal in each.values.items():
                left = self._unheard(subject, personal, each.weight, heard)
                if left:
                    news.setdefault(subject, []).append((left, each.weight))
        rows = [row for subject, tellings in news.items() if (row := self._row(connection, subject, tellings, heard))]
        connection.executemany(_PUT, rows)
        return {place: each for place, each in heard.items() if each is not None}

    def _unheard(
        self, subject: str, personal: Mapping[str, Any], weight: Weight, heard: dict[int, _Heard | None]
    ) -> dict[str, Any]:
        """Those of the values that may have to be written; of the others `heard` notes when they were told.

        There a None stands for a value that may be another by the end of this write: whatever is told of it is left.
        """
        left = {}
        for name, value in personal.items():
            place = hash((subject, name))
            known = heard[place] if place in heard else self._heard.get(place)
            if known is not None and known.value == _hash_of(value) and not _is_due(known.stored, weight):
                if weight > known.heard:
                    heard[place] = _Heard(known.value, known.stored, weight)
            elif known is None or weight > known.heard or weight == UNSTAMPED:
                left[name] = value
                heard[place] = None
        return left

    def _row(
        self,
        connection: apsw.Connection,
        subject: str,
        tellings: Sequence[tuple[Mapping[str, Any], Weight]],
        heard: dict[int, _Heard | None],
    ) -> tuple[str, bytes, bytes] | None:
        """The subject's row with these values in it; None if nothing of them is to be written."""
        stored = connection.execute(_GET, (subject,)).fetchone()
        if stored is None:
            subject_key = secrets.token_bytes(32)
            wrapped, seal, kept = self._wrap.close(subject_key, subject), Seal(subject_key), {}
        else:
            wrapped, seal = stored[0], Seal(self._wrap.open(stored[0], subject))
            kept = _kept(seal.open(stored[1], subject))
        is_changed = False
        for personal, weight in tellings:
            is_changed |= take_in(kept, personal, weight)
        for name in {name for personal, _ in tellings for name in personal}:
            known, value = kept[name]
            heard[hash((subject, name))] = _Heard(_hash_of(value), known, known)
        return (subject, wrapped, seal.close(_encode(layers_of(kept.items())), subject)) if is_changed else None

    def get(self, subjects: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        with self._file.reading() as connection:
            rows = {subject: connection.execute(_GET, (subject,)).fetchone() for subject in subjects}
        return {subject: self._open(subject, *row) for subject, row in rows.items() if row}

    def _open(self, subject: str, subject_key: bytes, personal: bytes) -> dict[str, Any]:
        kept = _kept(Seal(self._wrap.open(subject_key, subject)).open(personal, subject))
        return {name: value for name, (_, value) in kept.items()}

    def forget(self, subjects: Sequence[str]) -> int:
        with self._lock:
            count = self._file.write(lambda connection: _forget(connection, subjects))
            self._heard.clear()
        self._pseudonym.cache_clear()
        # Overwritten in the file, but the write-ahead log may still hold the old page.
        self._file.wipe()
        return count

    def close(self) -> None:
        self._file.close()


def _kept(plain: bytes) -> Kept:
    """The values of a row, of whichever of its two forms."""
    if plain[0] & 0xF0 == 0x80 or plain[0] in (0xDE, 0xDF):  # a map, as msgpack begins one
        return {name: (UNSTAMPED, value) for name, value in _decode_values(plain).items()}
    return {name: (weight, value) for weight, values in _decode_layers(plain) for name, value in values.items()}


def _is_due(stored: Weight, told: Weight) -> bool:
    """Whether it must be written that a stored value was told again: by somebody more trusted, or much later."""
    return told > stored and (told[0] > stored[0] or told[1] - stored[1] > _HEARD_AGAIN)


def _hash_of(value: Any) -> int:
    # Texts as they are, for nearly all values are texts; others so that none of them equals a text.
    return hash(value if type(value) is str else (_encode(value),))


def _forget(connection: apsw.Connection, subjects: Sequence[str]) -> int:
    before = connection.total_changes()
    connection.executemany("DELETE FROM subjects WHERE subject = ?", [(subject,) for subject in subjects])
    return connection.total_changes() - before
