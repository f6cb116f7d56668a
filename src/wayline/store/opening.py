"""Opening a store: a folder for one that lasts, None for one in memory.

folder/wayline.lock    held while a process has the folder open; says which
folder/log.sqlite      what happened
folder/state.sqlite    where everybody stands
folder/vault.sqlite    personal values, sealed
folder/master.key      what opens them: 32 bytes, readable by the owner only; keep its backup apart from the others
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from msgspec import Struct, field

from wayline.errors import OperatorError, StoreLocked
from wayline.store import Log, State, Vault
from wayline.store.memory import MemoryLog, MemoryState, MemoryVault
from wayline.store.seal import MasterKey, Seal, sync_folder

__all__ = ["Store", "open_collecting", "open_shipping", "open_store"]


class Store(Struct, frozen=True):
    """All that is kept, opened together: the log, the state, the vault; `folder` is None in memory."""

    log: Log
    state: State
    vault: Vault
    folder: Path | None = None
    opened: ExitStack = field(default_factory=ExitStack)
    pseudonym_key: bytes = b""
    """What identifiers are hashed with, for a process that reads messages and opens no file; empty in memory."""

    def close(self) -> None:
        """Give the folder up, so that another process may open it."""
        self.opened.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_store(folder: Path | None = None, *, key_file: Path | None = None, known_key: bytes | None = None) -> Store:
    """The store in this folder, made if it is not there; None for one in memory, gone when the process ends.

    `key_file` is where the master key lies, if not in the folder. `known_key` makes a store for simulated people: its
    key is no secret, so they have the same pseudonyms each time, and what a power cut takes can be simulated again, so
    nothing waits for the disk. Raises StoreLocked if another process has it open.
    """
    if folder is None:
        in_memory = MemoryVault() if known_key is None else MemoryVault(MasterKey(known_key).derive("pseudonyms"))
        return Store(MemoryLog(), MemoryState(), in_memory)
    # Imported late: whoever stays in memory needs no SQLite.
    from wayline.store.sqlite_log import SqliteLog
    from wayline.store.sqlite_state import SqliteState
    from wayline.store.vault import SqliteVault

    is_durable = known_key is None
    folder.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)
    with ExitStack() as opened:
        _lock(folder / "wayline.lock", opened)
        master = _master_key(key_file or folder / "master.key", folder / "vault.sqlite", known_key)
        vault = SqliteVault(folder / "vault.sqlite", master, is_durable=is_durable)
        opened.callback(vault.close)
        log = SqliteLog(folder / "log.sqlite", Seal(master.derive("rejections")), is_durable=is_durable)
        opened.callback(log.close)
        state = SqliteState(folder / "state.sqlite", is_durable=is_durable)
        opened.callback(state.close)
        return Store(log, state, vault, folder, opened.pop_all(), master.derive("pseudonyms"))
    raise AssertionError("an ExitStack swallows nothing")


@contextmanager
def open_collecting(
    folder: Path, *, key_file: Path | None = None, is_durable: bool = True
) -> Iterator[tuple[Log, Vault]]:
    """The log and the vault of a folder, for a collector in a process of its own.

    The engine's process holds the folder's lock and reads both files; this process alone writes them.
    """
    from wayline.store.sqlite_log import SqliteLog
    from wayline.store.vault import SqliteVault

    with ExitStack() as opened:
        master = MasterKey.read(key_file or folder / "master.key")
        vault = SqliteVault(folder / "vault.sqlite", master, is_durable=is_durable)
        opened.callback(vault.close)
        log = SqliteLog(folder / "log.sqlite", Seal(master.derive("rejections")), is_durable=is_durable)
        opened.callback(log.close)
        yield log, vault


@contextmanager
def open_shipping(folder: Path, *, key_file: Path | None = None) -> Iterator[tuple[Log, State]]:
    """The log and the state of a folder, for shipping to the lake from a process of its own.

    The engine's process holds the folder's lock and writes both; this one reads, and notes how far it has shipped.
    """
    from wayline.store.sqlite_log import SqliteLog
    from wayline.store.sqlite_state import SqliteState

    with ExitStack() as opened:
        master = MasterKey.read(key_file or folder / "master.key")
        log = SqliteLog(folder / "log.sqlite", Seal(master.derive("rejections")))
        opened.callback(log.close)
        state = SqliteState(folder / "state.sqlite")
        opened.callback(state.close)
        yield log, state


def _lock(path: Path, opened: ExitStack) -> None:
    """Hold the folder until `opened` closes; the system lets go by itself when the process dies."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    opened.callback(os.close, file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise StoreLocked(
            f"{path.parent}: process {holder} has this folder open, and only one may. Stop it, or use another folder."
        ) from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)


def _master_key(path: Path, vault: Path, known_key: bytes | None) -> MasterKey:
    if path.exists():
        return MasterKey.read(path)
    if vault.exists():
        raise OperatorError(
            f"{path}: the master key is gone, and {vault} cannot be read without it. Restore the key file from its "
            f"backup; a new key would give every customer a new identity."
        )
    return MasterKey.create(path, known_key)
