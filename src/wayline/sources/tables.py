"""CSV, Parquet and JSON as rows: strict about each row, so that a bad one is refused and the next one is read.

A CSV line with an open quote could swallow the rest of the file. So a record may continue over a limited number of
lines; where its quote is still open then, its first line alone is refused and reading goes on with the second.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeAlias

from wayline.errors import SenderError, did_you_mean
from wayline.observation.properties import looks_personal
from wayline.sources import RefusedRow, Row
from wayline.sources.documents import is_json, json_header, json_rows
from wayline.sources.mapping import Column, TableMapping

__all__ = ["RECORD_CHARACTERS_MAX", "RECORD_LINES_MAX", "Rows", "WrongColumns", "header_of", "places_of", "read_rows"]

RECORD_LINES_MAX: Final = 50  # lines of one row: an open quote runs no further
RECORD_CHARACTERS_MAX: Final = 65_536  # characters of one row
_BATCH: Final = 16_384

Rows: TypeAlias = Iterator[Row | RefusedRow]


def header_of(path: Path, mapping: TableMapping) -> tuple[str, ...]:
    """The names of the file's columns, in order; raises SenderError where the file is not what the mapping says."""
    kind = _kind(path)
    if kind == "json":
        return json_header(mapping)
    header = _parquet_header(path) if kind == "parquet" else _csv_header(path, mapping)
    twice = sorted({name for name in header if header.count(name) > 1})
    wanted = [name for column in mapping.columns.values() for name in column.headers]
    if doubled := [name for name in twice if name in wanted]:
        raise SenderError(f"{path.name}: two columns are called {doubled[0]!r}. Rename one of them.")
    missing = [column.headers[0] for column in mapping.columns.values()
               if not column.may_lack and not any(name in header for name in column.headers)]  # fmt: skip
    if missing:
        others = "" if len(missing) == 1 else f" (nor {', '.join(map(repr, missing[1:]))})"
        lacks = f"{path.name}: no column {missing[0]!r}{others}, which mapping {mapping.name!r} reads."
        raise WrongColumns(lacks, _columns_found(header, missing[0]))
    return header


class WrongColumns(SenderError):
    """A file has other columns than a mapping reads: what it lacks, and what it has instead."""

    def __init__(self, lacks: str, found: str) -> None:
        super().__init__(f"{lacks} {found}")
        self.lacks = lacks
        self.found = found


def _columns_found(header: Sequence[str], missing: str) -> str:
    # A file without a header begins with somebody's row, which belongs in no message.
    if any(_is_a_value(cell) for cell in header):
        return "Its first line looks like a row, not like the names of columns. Put a line with their names before it."
    found = did_you_mean(missing, header).replace("Defined:", "The file has:")
    return found + (" Is the delimiter right?" if len(header) == 1 else "")


def _is_a_value(cell: str) -> bool:
    # A column may be called '#' or nothing, none is called by figures alone.
    has_figures_alone = any(map(str.isdigit, cell)) and not any(map(str.isalpha, cell))
    return has_figures_alone or "@" in cell or looks_personal(cell)


def places_of(header: Sequence[str], mapping: TableMapping) -> dict[str, int]:
    """Column to where its cells stand in a row; columns that this file lacks are left out."""
    places = {name: _place(header, column) for name, column in mapping.columns.items()}
    return {name: place for name, place in places.items() if place is not None}


def _place(header: Sequence[str], column: Column) -> int | None:
    return next((header.index(name) for name in column.headers if name in header), None)


def read_rows(path: Path, mapping: TableMapping, columns: Sequence[str] | None = None) -> Rows:
    """Every row in the order of the file, with the cells of these columns in this order; all if none are named."""
    header = header_of(path, mapping)
    kind = _kind(path)
    if kind == "parquet":
        yield from _parquet_rows(path, columns or header)
        return
    picks = [header.index(name) for name in columns or header]
    for row in json_rows(path, mapping) if kind == "json" else _csv_rows(path, mapping, len(header)):
        yield Row(row.place, tuple([row.cells[pick] for pick in picks])) if columns and isinstance(row, Row) else row


def _kind(path: Path) -> Literal["parquet", "json", "csv"]:
    try:
        with path.open("rb") as opened:
            start = opened.read(4096)
        return "parquet" if start[:4] == b"PAR1" else "json" if is_json(start) else "csv"
    except OSError as trouble:
        raise SenderError(f"{path.name} cannot be read: {trouble.strerror}. Check the path.") from trouble


# ------------------------------------------------------------------ Parquet


def _parquet_header(path: Path) -> tuple[str, ...]:
    return tuple(_parquet(path).schema_arrow.names)


def _parquet(path: Path) -> Any:
    from pyarrow import ArrowException, parquet

    try:
        return parquet.ParquetFile(path)
    except (ArrowException, OSError) as trouble:
        raise SenderError(f"{path.name} is no whole Parquet file: {trouble}. Export it again.") from trouble


def _parquet_rows(path: Path, columns: Sequence[str]) -> Rows:
    from pyarrow import ArrowException

    place = 0
    try:
        for batch in _parquet(path).iter_batches(_BATCH, columns=list(columns)):
            # The reader keeps the file's order of columns, whatever order they are asked in.
            by_name = {name: column.to_pylist() for name, column in zip(batch.schema.names, batch.columns, strict=True)}
            for cells in zip(*(by_name[name] for name in columns), strict=True):
                place += 1
                yield Row(place, cells)
    except (ArrowException, OSError) as trouble:
        raise SenderError(f"{path.name} is damaged after row {place}: {trouble}. Export it again.") from trouble


# ------------------------------------------------------------------ CSV


def _csv_lines(path: Path, mapping: TableMapping) -> IO[str]:
    """The file as text. A byte that is none of the encoding's becomes a lone surrogate: only its row is refused."""
    encoding = "utf-8-sig" if mapping.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else mapping.encoding
    with path.open("rb") as opened:
        start = opened.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") and "16" not in encoding:
        raise SenderError(
            f"{path.name} is UTF-16, expected {mapping.encoding}. Save it as UTF-8, or set file.encoding to "
            f"utf-16 in a mapping of your own."
        )
    return path.open(encoding=encoding, errors="surrogateescape", newline="")


def _csv_header(path: Path, mapping: TableMapping) -> tuple[str, ...]:
    with _csv_lines(path, mapping) as lines:
        number, record = next((each for each in _records(lines) if each[1].strip()), (0, ""))
    if not record:
        raise SenderError(f"{path.name} is empty; expected a line with the names of the columns, then the rows.")
    cells = _cells(number, record, mapping)
    if isinstance(cells, RefusedRow):
        raise SenderError(f"{path.name}:{number}: the header cannot be read: {cells.reason}")
    return tuple(cell.strip() for cell in cells)


def _csv_rows(path: Path, mapping: TableMapping, width: int) -> Rows:
    with _csv_lines(path, mapping) as lines:
        records = (each for each in _records(lines) if each[1].strip())
        next(records)
        for number, record in records:
            cells = _cells(number, record, mapping)
            if isinstance(cells, RefusedRow):
                yield cells
            elif len(cells) != width:
                reason = f"expected {width} cells as in the header, got {len(cells)}; quote cells that hold a delimiter"
                yield RefusedRow(number, "wrong_width", reason, text=_bare(record))
            else:
                yield Row(number, tuple(cells))


def _records(lines: IO[str]) -> Iterator[tuple[int, str]]:
    """Records with the number of their first line. One with an open quote takes the next lines along, up to a limit."""
    number = 0
    waiting: deque[str] = deque()
    for line in _drained(waiting, lines):
        number += 1
        if line.count('"') % 2 == 0:
            yield number, line
            continue
        taken = [line]
        for more in _drained(waiting, lines):
            taken.append(more)
            if more.count('"') % 2 or len(taken) >= RECORD_LINES_MAX or sum(map(len, taken)) > RECORD_CHARACTERS_MAX:
                break
        if len(taken) > 1 and taken[-1].count('"') % 2:
            yield number, "".join(taken)
            number += len(taken) - 1
        else:
            yield number, line
            waiting.extendleft(reversed(taken[1:]))


def _drained(waiting: deque[str], lines: IO[str]) -> Iterator[str]:
    while True:
        if waiting:
            yield waiting.popleft()
        elif line := lines.readline(RECORD_CHARACTERS_MAX):
            yield line
        else:
            return


def _cells(number: int, record: str, mapping: TableMapping) -> list[str] | RefusedRow:
    if not record.isascii() and any("\udc80" <= character <= "\udcff" for character in record):
        byte = next(ord(character) - 0xDC00 for character in record if "\udc80" <= character <= "\udcff")
        reason = (
            f"byte 0x{byte:02x} is not {mapping.encoding}; if all rows are so, save it as UTF-8, or set "
            f"file.encoding (cp1252, latin-1) in a mapping of your own"
        )
        return RefusedRow(number, "wrong_encoding", reason, text=_bare(record))
    if "\0" in record:
        return RefusedRow(number, "nul_character", "holds the character U+0000; remove it", text=_bare(record))
    try:
        # One record at a time: the reader keeps no state that a bad line could leave behind.
        return next(csv.reader((record,), delimiter=mapping.delimiter, strict=True))
    except (csv.Error, StopIteration) as trouble:
        reason = f"a quote is open or stands inside a cell ({trouble}); double quotes that are part of a cell"
        return RefusedRow(number, "bad_quotes", reason, text=_bare(record))


def _bare(record: str) -> str:
    return record.rstrip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:2000]
