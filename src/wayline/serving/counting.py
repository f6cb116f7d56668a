"""What became of everything that was sent, by source, since the start.

Messages: accepted = stored + duplicate + conflict + rejected, at every moment anybody looks, for all of it is counted
in one step after a commit. Requests that were refused as a whole are counted by their code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from wayline.runtime.collecting import Collected, Delivered

__all__ = ["Counts"]

_CODES_MAX = 1000  # pairs of a source and a code; codes are ours, so this is never met


class Counts(Counter[str]):
    """The totals, by their names; and the same by source and code."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: Counter[tuple[str, str]] = Counter()
        """(source, `accepted` | `stored` | `duplicate` | `conflict` | `rejected`)."""
        self.rejected: Counter[tuple[str, str]] = Counter()
        """(source, code of the verdict)."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """(source, code) of requests; the source is empty where nobody knew whose it was."""

    def refuse(self, code: str, source: str = "") -> None:
        """Count a request that was refused as a whole."""
        self[f"refused: {code}"] += 1
        self.refused[(source, code) if len(self.refused) < _CODES_MAX else ("", "other")] += 1

    def commit(self, requests: Iterable[Delivered], collected: Collected) -> None:
        """Count what one commit brought."""
        offered: Counter[str] = Counter()
        for request in requests:
            offered[request.source] += len(request.items) + len(request.unreadable)
        lost = Counter(dict(collected.appended.beside))
        codes = Counter((one.source, one.code) for one in collected.rejected)
        for (source, verdict), count in lost.items():
            if verdict == "unstorable":
                codes[source, verdict] += count
        for source, count in offered.items():
            rejected = sum(many for (whose, _), many in codes.items() if whose == source)
            told = {
                "accepted": count,
                "stored": count - lost[source, "duplicate"] - lost[source, "conflict"] - rejected,
                "duplicate": lost[source, "duplicate"],
                "conflict": lost[source, "conflict"],
                "rejected": rejected,
            }
            self.messages.update({(source, name): many for name, many in told.items()})
        self.rejected.update(codes)
        # The totals as the log told them, not as the sums of the above: so that a mistake in either is seen.
        appended = collected.appended
        self["accepted"] += offered.total()
        self["stored"] += appended.stored
        self["duplicate"] += appended.duplicates
        self["conflict"] += appended.conflicts
        self["rejected"] += len(collected.rejected) + appended.unstorable

    def summary(self) -> Mapping[str, Any]:
        """The totals by name, as `/health` shows them."""
        return {name: count for name, count in self.items() if count}
