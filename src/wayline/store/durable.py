"""One SQLite file: one writer, many readers, and an honest answer when the disk fails.

The writer is one connection under one lock. A write is one transaction, on disk (WAL, synchronous=FULL) before `write`
returns. Every other thread reads through a connection of its own and sees the last commit; the thread that wrote last
reads through the writer, whose page cache is warm.

A full disk undoes the transaction and raises StoreUnavailable; the next attempt may succeed. Any other failure of the
disk stops all writing for good: after a failed fsync the kernel may have dropped the very pages it failed to write, so
a later success would prove nothing. Reopening reads back what really is on disk.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from wayline.errors import Broken, OperatorError, StoreUnavailable

__all__ = ["SQLITE_MIN", "Durable", "all_rows", "check_library", "first_value"]

_T = TypeVar("_T")

SQLITE_MIN = (3, 51, 3)  # older ones may lose a commit when a WAL is reset while another connection writes
_WAL_BYTES_MAX = 64 << 20  # beyond this the WAL is copied back into the file after a commit
_BUSY_SECONDS = 5
_CACHE_BYTES = 32 << 20

# The disk had no room, though SQLite reports it as an I/O error: the shared-memory index could not grow.
_NO_ROOM = {apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_SHMOPEN}


class Durable:
    """A file with a schema; `migrations[n]` takes it from version n to n + 1, each in a transaction of its own."""

    def __init__(self, path: Path, migrations: Sequence[str], *, page_bytes: int, is_durable: bool = True) -> None:
        check_library(apsw.sqlite_lib_version())
        self.path = path
        self._lock = threading.RLock()
        self._own = threading.local()
        self._readers: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._writing_thread = threading.get_ident()
        self._stopped = ""
        self._wal_pages = 0
        self._wal_pages_max = _WAL_BYTES_MAX // page_bytes
        with self._translating("open"):
            self._writer = self._connect(apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
            self._writer.pragma("page_size", page_bytes)
            self._writer.pragma("journal_mode", "wal")
            self._writer.pragma("synchronous", "full" if is_durable else "off")
            self._writer.pragma("secure_delete", True)
            # Copying back is done here after a commit, where its failure cannot be mistaken for the commit's.
            self._writer.wal_autocheckpoint(0)
            self._writer.set_wal_hook(self._note_wal)
            self._writer.pragma("journal_size_limit", _WAL_BYTES_MAX)
            self._migrate(migrations)

    # ------------------------------------------------------------------ writing

    def write(self, work: Callable[[apsw.Connection], _T]) -> _T:
        """Run `work` in one transaction and return what it gives, once that is durable; if it raises, nothing stays."""
        with self._lock:
            if self._stopped:
                raise StoreUnavailable(self._stopped)
            self._writing_thread = threading.get_ident()
            with self._translating("write"):
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    result = work(self._writer)
                    self._writer.execute("COMMIT")
                except BaseException:
                    self._undo()
                    raise
            self._copy_back()
            return result

    def _undo(self) -> None:
        # After some errors SQLite has rolled back by itself.
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def _note_wal(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _copy_back(self) -> None:
        """Copy a long WAL into the file. The commit before it stands whatever happens here."""
        if self._wal_pages < self._wal_pages_max:
            return
        try:
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.FullError:
            return  # the WAL keeps growing meanwhile; the commit that no longer fits is the one to be refused
        except apsw.Error as error:
            self._stopped = self._stop(error, "copying the write-ahead log back")

    def wipe(self) -> None:
        """Copy the whole WAL into the file and empty it, so that nothing deleted is left in it."""
        with self._lock, self._translating("empty the write-ahead log of"):
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    # ------------------------------------------------------------------ reading

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """A connection that sees one commit throughout, for a few short statements."""
        if threading.get_ident() == self._writing_thread:
            with self._lock, self._translating("read"):
                yield self._writer
            return
        connection = getattr(self._own, "connection", None)
        with self._translating("read"):
            if connection is None:
                connection = self._own.connection = self._connect(apsw.SQLITE_OPEN_READONLY)
                self._readers.add(connection)
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")

    # ------------------------------------------------------------------ opening and closing

    def close(self) -> None:
        """Copy the WAL back and give the file up; a second close does nothing."""
        with self._lock:
            for reader in list(self._readers):
                reader.close()
            try:
                if not self._stopped:
                    self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            except (apsw.ConnectionClosedError, apsw.FullError, apsw.BusyError):
                pass  # closed before; or what is committed stays in the WAL and is read from there at the next opening
            finally:
                self._writer.close()

    def _connect(self, access: int) -> apsw.Connection:
        connection = apsw.Connection(str(self.path), flags=access)
        connection.set_busy_timeout(_BUSY_SECONDS * 1000)
        connection.pragma("mmap_size", 0)
        connection.pragma("cache_size", -_CACHE_BYTES >> 10)
        connection.pragma("trusted_schema", False)
        connection.pragma("temp_store", "memory")
        return connection

    def _migrate(self, migrations: Sequence[str]) -> None:
        writer = self._writer
        writer.execute("CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL) STRICT")
        version = writer.execute("SELECT max(version) FROM schema").get or 0
        if version > len(migrations):
            raise OperatorError(
                f"{self.path}: its schema has version {version}, and this Wayline knows up to {len(migrations)}. "
                f"Run the newer Wayline that wrote it, or restore a backup from before the upgrade."
            )
        for number in range(version, len(migrations)):
            with writer:  # the version is written with the step it counts, so a killed upgrade goes on where it was
                writer.execute(migrations[number])
                writer.execute("INSERT INTO schema VALUES (?)", (number + 1,))

    # ------------------------------------------------------------------ failures

    @contextmanager
    def _translating(self, attempt: str) -> Iterator[None]:
        """SQLite's errors in the words of whoever can put them right."""
        try:
            yield
        except apsw.FullError as error:
            raise StoreUnavailable(self._no_room(error)) from error
        except apsw.ConnectionClosedError as error:
            raise OperatorError(f"{self.path}: the store was closed. Open it again to {attempt} it.") from error
        except apsw.BusyError as error:
            raise StoreUnavailable(
                f"{self.path}: another process held it for {_BUSY_SECONDS} s ({error}). Stop that process, then retry."
            ) from error
        except (apsw.ConstraintError, apsw.SQLError, apsw.MismatchError) as error:
            raise Broken(f"{self.path}: SQLite refused to {attempt}: {error}") from error
        except apsw.Error as error:
            if getattr(error, "extendedresult", 0) in _NO_ROOM:
                raise StoreUnavailable(self._no_room(error)) from error
            said = self._stop(error, attempt)
            if attempt == "write":
                self._stopped = said
            raise StoreUnavailable(said) from error

    def _no_room(self, error: apsw.Error) -> str:
        return (
            f"{self.path}: no room on the disk ({error}). Nothing of this attempt was kept. "
            f"Free some space and try again; nothing needs restarting."
        )

    def _stop(self, error: apsw.Error, attempt: str) -> str:
        return (
            f"{self.path}: the disk failed: could not {attempt} the file ({type(error).__name__}: {error}). "
            f"Nothing of this attempt was acknowledged, and nothing more is written. Check the disk, then restart."
        )


def check_library(version: str) -> None:
    """Whether this SQLite may be trusted with data; OperatorError says why not."""
    found = tuple(int(part) for part in version.split(".")[:3])
    if found < SQLITE_MIN:
        raise OperatorError(
            f"apsw carries SQLite {version}, which may lose a commit when its log is reset; expected "
            f"{'.'.join(map(str, SQLITE_MIN))} or later. Install the apsw of requirements.lock."
        )


def all_rows(connection: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Every row of one query."""
    return connection.execute(sql, bindings).fetchall()


def first_value(connection: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> Any:
    """The first column of the first row, None if there is no row."""
    row = connection.execute(sql, bindings).fetchone()
    return None if row is None else row[0]
