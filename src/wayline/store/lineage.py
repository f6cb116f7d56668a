"""Who was merged into whom: a forest whose roots are the surviving customers.

An edge stands until a split ends it, and neither is ever erased, so an id handed out once resolves for ever. A loser
has one survivor at a time, and no circle may close, or resolving would never end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wayline.domain import Link, Merge, Review, Split, Tie
from wayline.errors import Broken
from wayline.observation.identity import sureness

__all__ = ["asked_once", "check_merges", "check_splits", "root_of", "tie_of"]

_SurvivorOf = Callable[[str], str | None]


def root_of(customer_id: str, survivor_of: _SurvivorOf) -> str:
    """The id this one resolves to after all merges; itself if it was never merged."""
    while (survivor := survivor_of(customer_id)) is not None:
        customer_id = survivor
    return customer_id


def tie_of(link: Link, merge_of: Callable[[str], Merge | None]) -> Tie:
    """Whom a link leads to, and how sure the way is: the weakest of its steps."""
    customer_id, weakest = link.customer_id, sureness(link)
    while (merge := merge_of(customer_id)) is not None:
        customer_id, weakest = merge.survivor, min(weakest, merge.confidence)
    return Tie(customer_id, weakest)


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


def check_splits(splits: Iterable[Split], survivor_of: _SurvivorOf) -> None:
    """Whether each of these ends a merge that stands; Broken says which one does not."""
    for split in splits:
        if survivor_of(split.loser) != split.survivor:
            raise Broken(f"customer {split.loser!r} is not merged into {split.survivor!r}: there is nothing to split.")


def asked_once(stored: Review | None, offered: Review) -> Review | None:
    """What becomes of a question that may have been asked before: None leaves it as it is."""
    if stored is None or offered.state != "open":
        return offered
    if stored.state != "open" or offered.confidence <= stored.confidence:
        return None  # a person has judged it, or it is known already
    return offered
