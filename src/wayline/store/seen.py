"""Which keys the log has seen: exact, without one index that grows for ever and is written to at random.

Keys are 64-bit hashes; whoever asks compares the real keys at the positions it is given. The newest are in a dict, and
on disk as plain arrays in order of arrival, one row an append. A full chapter of them is sealed: sorted into buckets
that are written once, with a filter that knows nearly all absent keys. Filters stay in memory, one bit of a word each,
so that asking 64 chapters costs the same as asking one; only what passes a filter is looked up in its bucket.

    2 bytes of memory and 12 bytes of disk a key; no page is written twice but the last.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import apsw

from wayline.errors import Broken
from wayline.store.durable import all_rows

__all__ = ["CHAPTER_KEYS", "SEEN_SCHEMA", "Seen"]

CHAPTER_KEYS = 1 << 18
_BUCKETS = 256
_WORD = 64  # chapters that share a word of the filter
_PROBES = 8

SEEN_SCHEMA = """
CREATE TABLE seen (first INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
CREATE TABLE seen_filters (chapter INTEGER PRIMARY KEY, bits BLOB NOT NULL) STRICT;
CREATE TABLE seen_buckets (place INTEGER PRIMARY KEY, hashes BLOB NOT NULL, offsets BLOB NOT NULL) STRICT;
"""


class Seen:
    """The keys of one log. Its owner holds the write lock whenever it asks or adds."""

    def __init__(self, connection: apsw.Connection, chapter_keys: int = CHAPTER_KEYS) -> None:
        self._chapter_keys = chapter_keys
        self._filter_mask = chapter_keys * 16 - 1  # 16 bits a key: about one absent key in 1,700 passes
        self._newest: dict[int, int] = {}
        self._again: dict[int, list[int]] = {}  # further positions of a hash that two keys share
        self._sealed = 0
        self._words: list[Any] = []
        for chapter, bits in all_rows(connection, "SELECT chapter, bits FROM seen_filters ORDER BY chapter"):
            self._add_filter(chapter, bits)
        for first, hashes in all_rows(connection, "SELECT first, hashes FROM seen ORDER BY first"):
            self.add(first, array("q", hashes))

    def add(self, first: int, hashes: Sequence[int]) -> None:
        """Know these keys, at `first` and the positions after it. Call it once they are committed."""
        for position, key in enumerate(hashes, first):
            if self._newest.setdefault(key, position) != position:
                self._again.setdefault(key, []).append(position)

    def find(self, connection: apsw.Connection, hashes: Sequence[int]) -> dict[int, list[int]]:
        """Where a key of such a hash may be stored; a hash that is absent was never seen."""
        newest = self._newest
        found = {key: [newest[key], *self._again.get(key, ())] for key in hashes if key in newest}
        for key, chapter in self._passing(hashes):
            places = self._look_up(connection, chapter, key)
            if places:
                found[key] = places + found.get(key, [])
        return found

    def write(self, connection: apsw.Connection, first: int, hashes: Sequence[int]) -> None:
        """Write the keys of one append, within its transaction."""
        connection.execute("INSERT INTO seen VALUES (?, ?)", (first, array("q", hashes).tobytes()))

    # ------------------------------------------------------------------ sealing

    def seal_full_chapters(self, connection: apsw.Connection, head: int) -> list[tuple[int, bytes]]:
        """Seal whatever chapters the log has filled, within a transaction; give `sealed` what comes back after it."""
        filters: list[tuple[int, bytes]] = []
        while (self._sealed + len(filters) + 1) * self._chapter_keys <= head:
            filters.append(self._seal(connection, self._sealed + len(filters)))
        return filters

    def sealed(self, filters: Iterable[tuple[int, bytes]]) -> None:
        """Take sealed chapters from the dict into the filters; their transaction is committed."""
        for chapter, bits in filters:
            self._add_filter(chapter, bits)
            last = (chapter + 1) * self._chapter_keys
            remaining = [(key, position) for key, position in self._positions() if position > last]
            self._newest, self._again = {}, {}
            for key, position in remaining:
                self.add(position, (key,))

    def _positions(self) -> Iterable[tuple[int, int]]:
        yield from self._newest.items()
        yield from ((key, position) for key, positions in self._again.items() for position in positions)

    def _seal(self, connection: apsw.Connection, chapter: int) -> tuple[int, bytes]:
        import numpy as np

        base = chapter * self._chapter_keys
        stored = all_rows(connection, "SELECT first, hashes FROM seen ORDER BY first")
        keys = np.frombuffer(b"".join(hashes for _, hashes in stored), dtype="<u8")
        first = stored[0][0]
        if first != base + 1:
            raise Broken(f"chapter {chapter} begins at {base + 1}, and the unsealed keys at {first}")
        mine, rest = keys[: self._chapter_keys], keys[self._chapter_keys :]
        order = np.argsort(mine, kind="stable")
        ranked = mine[order]
        edges = np.searchsorted(ranked >> np.uint64(56), np.arange(_BUCKETS + 1, dtype=np.uint64)).tolist()
        offsets = (order + 1).astype("<u4")
        rows = [
            (chapter * _BUCKETS + bucket, ranked[start:end].tobytes(), offsets[start:end].tobytes())
            for bucket, (start, end) in enumerate(pairwise(edges))
        ]
        connection.executemany("INSERT INTO seen_buckets VALUES (?, ?, ?)", rows)
        bits = np.zeros(self._filter_mask + 1, dtype=np.uint8)
        bits[self._probes(mine)] = 1
        packed = np.packbits(bits, bitorder="little").tobytes()
        connection.execute("INSERT INTO seen_filters VALUES (?, ?)", (chapter, packed))
        connection.execute("DELETE FROM seen")
        if len(rest):
            connection.execute("INSERT INTO seen VALUES (?, ?)", (base + self._chapter_keys + 1, rest.tobytes()))
        return chapter, packed

    def _add_filter(self, chapter: int, bits: bytes) -> None:
        import numpy as np

        word, place = divmod(chapter, _WORD)
        if word == len(self._words):
            self._words.append(np.zeros(self._filter_mask + 1, dtype="<u8"))
        # Only the byte that holds this chapter's bit is touched, an eighth of the words' memory.
        column = self._words[word].view(np.uint8)[place // 8 :: 8]
        column |= np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="little") << np.uint8(place % 8)
        self._sealed = chapter + 1

    # ------------------------------------------------------------------ asking

    def _probes(self, keys: Any) -> Any:
        """The places of each key in a filter: double hashing from its two halves."""
        import numpy as np

        step = (keys >> np.uint64(32)) | np.uint64(1)
        places = keys[..., None] + step[..., None] * np.arange(_PROBES, dtype=np.uint64)
        return places & np.uint64(self._filter_mask)

    def _passing(self, hashes: Sequence[int]) -> list[tuple[int, int]]:
        """(hash, sealed chapter) wherever a filter does not rule it out."""
        if not self._words or not hashes:
            return []
        import numpy as np

        places = self._probes(np.array(hashes, dtype="<i8").view("<u8"))
        passing: list[tuple[int, int]] = []
        for word, words in enumerate(self._words):
            left = np.bitwise_and.reduce(words[places], axis=1)
            for at in np.flatnonzero(left).tolist():
                bits = int(left[at])
                passing.extend((hashes[at], word * _WORD + place) for place in range(_WORD) if bits >> place & 1)
        return passing

    def _look_up(self, connection: apsw.Connection, chapter: int, key: int) -> list[int]:
        unsigned = key & (1 << 64) - 1
        place = chapter * _BUCKETS + (unsigned >> 56)
        ((hashes,),) = all_rows(connection, "SELECT hashes FROM seen_buckets WHERE place = ?", (place,))
        if unsigned.to_bytes(8, "little") not in hashes:
            return []  # it passed the filter by chance, as nearly all do that come this far
        import numpy as np

        ((offsets,),) = all_rows(connection, "SELECT offsets FROM seen_buckets WHERE place = ?", (place,))
        ranked = np.frombuffer(hashes, dtype="<u8")
        start, end = (int(np.searchsorted(ranked, np.uint64(unsigned), side)) for side in ("left", "right"))
        found = np.frombuffer(offsets, dtype="<u4")[start:end]
        return [chapter * self._chapter_keys + offset for offset in found.tolist()]
