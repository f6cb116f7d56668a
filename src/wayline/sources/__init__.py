"""How other systems' data come in: files, read by a declared mapping into the messages a tracking client would send.

| module | what it holds |
|---|---|
| `mapping` | the text that says which columns become which message, compiled with all its problems at once |
| `tables` | CSV and Parquet as rows, the bad ones apart |
| `messages` | rows to messages: what is skipped, grouped, refused, and why |

Nothing here writes anything; `runtime.importing` brings the messages into the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

__all__ = ["RefusedRow", "Row", "Told"]


class Row(Struct, frozen=True):
    """One row of a file: its place (the line in a CSV, the row in a Parquet file) and its cells as they stand there."""

    place: int
    cells: tuple[Any, ...]


class RefusedRow(Struct, frozen=True):
    """A row that became no message: a code to count by, a reason that ends with the way out."""

    place: int
    code: str
    reason: str
    cells: tuple[Any, ...] = ()
    """In the order of the file's header; empty where the line could not be cut into cells."""
    text: str = ""
    """The line itself, where it could not be cut into cells."""


class Told(Struct, frozen=True):
    """A message as a tracking client would send it, and the rows it was made of."""

    message: Mapping[str, Any]
    rows: tuple[Row, ...]
