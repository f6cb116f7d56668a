"""Who was merged into whom: a forest whose roots are the surviving customers.

An edge is never changed or removed, so an id handed out once resolves for ever. A loser has one survivor, and no
circle may close, or resolving would never end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wayline.domain import Merge
from wayline.errors import Broken

__all__ = ["check_merges", "root_of"]

_SurvivorOf = Callable[[str], str | None]


def root_of(customer_id: str, survivor_of: _SurvivorOf) -> str:
    """The id this one resolves to after all merges; itself if it was never merged."""
    while (survivor := survivor_of(customer_id)) is not None:
        customer_id = survivor
    return customer_id


def check_merges(merges: Iterable[Merge], survivor_of: _SurvivorOf) -> None:
    """Whether these merges may be added in this order; Broken says which one may not, and why."""
    added: dict[str, str] = {}

    def known(customer_id: str) -> str | None:
        return added.get(customer_id) or survivor_of(customer_id)

    for merge in merges:
        taken = known(merge.loser)
        if taken is not None and taken != merge.survivor:
            raise Broken(
                f"customer {merge.loser!r} is merged into {taken!r} already and cannot go to {merge.survivor!r}; "
                f"merge {root_of(merge.loser, known)!r}, which it resolves to."
            )
        if root_of(merge.survivor, known) == merge.loser:
            raise Broken(f"merging {merge.loser!r} into {merge.survivor!r} would close a circle: it resolves to it.")
        added[merge.loser] = merge.survivor
