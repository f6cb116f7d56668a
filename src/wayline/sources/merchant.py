"""Google Merchant feeds as rows: RSS 2.0, Atom 1.0 and 0.3, and the tabbed form.

XML is read as it comes in, one product at a time. A document type is refused before anything of it is looked at, since
entities are declared there and nowhere else: a feed needs none, and a bomb or a look into our files is made of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from wayline.errors import SenderError
from wayline.sources import RefusedRow

__all__ = ["FEED_BYTES_MAX", "MerchantFeed", "named"]

FEED_BYTES_MAX: Final = 4 << 30  # of one feed
_CHUNK: Final = 1 << 16
_DEPTH_MAX: Final = 32  # elements inside each other
_TEXT_MAX: Final = 1 << 16  # characters of one field; the rest of it is not read
_FIELDS_MAX: Final = 500  # fields of one product
_GOOGLE: Final = "http://base.google.com/ns/1.0"
_ITEMS: Final = frozenset({"item", "http://www.w3.org/2005/Atom entry", "http://purl.org/atom/ns# entry"})
_TIMES: Final = frozenset({"pubDate", "lastBuildDate", "updated", "modified"})


@lru_cache(maxsize=4096)
def named(header: str) -> str:
    """A field by one name, however the feed writes it: `g:item group id` is `item_group_id`."""
    return header.strip().lower().removeprefix("g:").replace(" ", "_").replace("-", "_")


class MerchantFeed:
    """A feed in XML: its products as they come, and the time the feed says of itself."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.as_of: datetime | None = None
        """When the feed was made, where it says so before its first product."""
        self._found: deque[tuple[int, dict[str, str] | RefusedRow]] = deque()
        self._path_down: list[str] = []
        self._fields: dict[str, str] | None = None
        self._text: list[str] = []
        self._length = 0
        self._count = 0

    def rows(self) -> Iterator[tuple[int, dict[str, str] | RefusedRow]]:
        """Each product with its place among them. Raises SenderError where the feed is damaged."""
        if self._path.stat().st_size > FEED_BYTES_MAX:
            raise SenderError(f"{self._path.name} has more than {FEED_BYTES_MAX >> 30} GiB. Split it.")
        parser = self._parser()
        with self._path.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                self._feed(parser, chunk, is_last=False)
                while self._found:
                    yield self._found.popleft()
            self._feed(parser, b"", is_last=True)
        yield from self._found
        if not self._count:
            raise SenderError(f"{self._path.name} holds no product: neither <item> nor <entry>. Is it a product feed?")

    def _parser(self) -> Any:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        return parser

    def _feed(self, parser: Any, chunk: bytes, *, is_last: bool) -> None:
        try:
            parser.Parse(chunk, is_last)
        except expat.ExpatError as error:
            raise SenderError(
                f"{self._path.name} is damaged after product {self._count}: {error}. Export it again; what was read "
                f"before is kept."
            ) from error

    def _refuse(self, *_: Any) -> Any:
        raise SenderError(
            f"{self._path.name} declares a document type or an entity, which no product feed needs; it is not read. "
            f"Take the <!DOCTYPE ...> out."
        )

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if len(self._path_down) >= _DEPTH_MAX:
            raise SenderError(f"{self._path.name} nests more than {_DEPTH_MAX} elements. Is it a product feed?")
        self._path_down.append(name)
        self._text, self._length = [], 0
        if name in _ITEMS:
            self._fields = {}
        elif self._fields is not None and name.endswith(" link") and attributes.get("rel", "alternate") == "alternate":
            self._keep("link", attributes.get("href", ""))  # Atom says it in an attribute

    def _characters(self, text: str) -> None:
        if self._length < _TEXT_MAX:
            self._text.append(text)
            self._length += len(text)

    def _end(self, name: str) -> None:
        self._path_down.pop()
        text = "".join(self._text).strip()
        self._text, self._length = [], 0
        if name in _ITEMS and self._fields is not None:
            self._count += 1
            self._found.append((self._count, self._fields))
            self._fields = None
        elif self._fields is None:
            self._said_of_itself(name.rpartition(" ")[2], text)
        elif len(self._path_down) and self._path_down[-1] in _ITEMS:
            namespace, _, bare = name.rpartition(" ")
            # A field of Google's goes before one of RSS or Atom of the same name.
            if namespace == _GOOGLE and bare in self._fields and text:
                del self._fields[bare]
            self._keep(bare, text)

    def _keep(self, name: str, text: str) -> None:
        assert self._fields is not None
        if text and len(self._fields) < _FIELDS_MAX:
            self._fields.setdefault(named(name), text)

    def _said_of_itself(self, name: str, text: str) -> None:
        if name in _TIMES and text and self.as_of is None and not self._count:
            try:
                told = parsedate_to_datetime(text) if "," in text else datetime.fromisoformat(text)
            except ValueError:
                return  # a feed that says it otherwise is as old as its file
            self.as_of = (told if told.tzinfo else told.replace(tzinfo=UTC)).astimezone(UTC)
