"""JSON as rows: one object per line, or a document with a list of them; a column is a path into the object.

A line that is no object is refused and the next one is read. A document is read as a whole, so it may be only so
large; what is larger is written one object per line by whoever exports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from wayline.errors import SenderError, why_no_json
from wayline.sources import RefusedRow, Row
from wayline.sources.mapping import TableMapping

__all__ = ["DOCUMENT_BYTES_MAX", "LINE_BYTES_MAX", "at", "is_json", "json_header", "json_rows"]

DOCUMENT_BYTES_MAX: Final = 256 << 20  # of one JSON document; one object per line has no such bound
LINE_BYTES_MAX: Final = 4 << 20  # of one line of JSON

_NOT_HERE: Final = object()


def is_json(start: bytes) -> bool:
    """Whether a file that begins so is JSON: no header of a table begins with a brace or a bracket."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def json_header(mapping: TableMapping) -> tuple[str, ...]:
    """The paths of the columns, in the order of the mapping."""
    return tuple(column.headers[0] for column in mapping.columns.values())


def json_rows(path: Path, mapping: TableMapping) -> Iterator[Row | RefusedRow]:
    """Every row, with the cells of the mapping's columns in their order."""
    paths = [column.headers for column in mapping.columns.values()]
    place = 0
    for number, record in _records(path, mapping):
        if isinstance(record, RefusedRow):
            place = max(place + 1, number)
            yield msgspec.structs.replace(record, place=place)
            continue
        for row in _within(record, mapping.within):
            place = max(place + 1, number)
            yield Row(place, tuple([_first(row, headers) for headers in paths]))


def at(record: Any, path: str) -> Any:
    """What stands at a path such as `user.devices.0.model`, None if nothing does. A key with a dot in it goes first."""
    found = _found(record, path)
    return None if found is _NOT_HERE else found


def _first(record: Any, headers: Sequence[str]) -> Any:
    return next((found for header in headers if (found := at(record, header)) is not None), None)


def _found(record: Any, path: str) -> Any:
    if not path:
        return record
    if isinstance(record, Mapping):
        if path in record:
            return record[path]
        for head, rest in _cuts(path):
            if head in record and (found := _found(record[head], rest)) is not _NOT_HERE:
                return found
    elif isinstance(record, list):
        head, _, rest = path.partition(".")
        if head.isdecimal() and int(head) < len(record):
            return _found(record[int(head)], rest)
    return _NOT_HERE


def _cuts(path: str) -> Iterator[tuple[str, str]]:
    parts = path.split(".")
    for count in range(1, len(parts)):
        yield ".".join(parts[:count]), ".".join(parts[count:])


def _within(record: dict[str, Any], within: str) -> Iterator[dict[str, Any]]:
    """The record, once for each item of its inner list, with the item in the place of the list."""
    items = at(record, within) if within else None
    if not within:
        yield record
        return
    for item in items if isinstance(items, list) else ():
        yield {**record, within: item}


def _records(path: Path, mapping: TableMapping) -> Iterator[tuple[int, Any]]:
    if not _is_by_line(path):
        yield from _documented(path, mapping)
        return
    for number, record in _lines(path):
        rows = at(record, mapping.rows) if mapping.rows and isinstance(record, dict) else None
        # A batch to a line, or an object to a line: exports of one tool come as either.
        for each in rows if isinstance(rows, list) else (record,):
            is_row = isinstance(each, dict | RefusedRow)
            yield number, each if is_row else _no_object(number, repr(each))


def _is_by_line(path: Path) -> bool:
    """Whether the first line is an object by itself; a list, or one spread over lines, is a document."""
    with path.open("rb") as opened:
        while (line := opened.readline(LINE_BYTES_MAX)) and not line.strip():
            pass
    if not is_json(line) or line.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
        return False
    try:
        msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, RecursionError):
        # Cut off or spread out: a second line that begins an object tells a bad first line from a document.
        with path.open("rb") as opened:
            opened.readline(LINE_BYTES_MAX)
            return opened.readline(64).lstrip()[:1] == b"{"
    return True


def _documented(path: Path, mapping: TableMapping) -> Iterator[tuple[int, Any]]:
    size = path.stat().st_size
    if size > DOCUMENT_BYTES_MAX:
        raise SenderError(
            f"{path.name} is one JSON document of {size >> 20} MiB, at most {DOCUMENT_BYTES_MAX >> 20} are read. "
            f"Export it as JSON lines, one object per line, or in parts."
        )
    try:
        document = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise SenderError(f"{path.name} is no whole JSON document: {why_no_json(error)}. Export it again.") from error
    rows = document if isinstance(document, list) else at(document, mapping.rows)
    if not isinstance(rows, list):
        raise SenderError(f"{path.name}: no list at {mapping.rows!r}, where mapping {mapping.name!r} reads its rows.")
    for number, record in enumerate(rows, 1):
        yield number, record if isinstance(record, dict) else _no_object(number, repr(record))


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as opened:
        number = 0
        while line := opened.readline(LINE_BYTES_MAX):
            number += 1
            if len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
                _skip_line(opened)
                reason = f"a line of more than {LINE_BYTES_MAX} bytes; write one object per line"
                yield number, RefusedRow(number, "too_long", reason, text=_shown(line))
            elif line.strip():
                yield number, _record(number, line)


def _skip_line(opened: IO[bytes]) -> None:
    while (rest := opened.readline(LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
        pass


def _record(number: int, line: bytes) -> Any:
    try:
        record = msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, RecursionError) as error:
        return RefusedRow(
            number, "bad_json", f"expected one JSON object per line: {why_no_json(error)}", text=_shown(line)
        )
    return record if isinstance(record, dict) else _no_object(number, _shown(line))


def _no_object(number: int, text: str) -> RefusedRow:
    return RefusedRow(number, "not_an_object", "expected a JSON object for each row", text=text[:2000])


def _shown(line: bytes) -> str:
    return line.rstrip(b"\r\n")[:2000].decode("utf-8", "backslashreplace")
