"""What was decided and why, and how the folder is."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wayline.cli.terminal import AsJson, Folder, app, kept_playbook, opened, print_json, progress
from wayline.errors import SenderError

if TYPE_CHECKING:
    from wayline.store.opening import Store

_LISTED_MAX = 20  # decisions named by `explain` without an id

__all__ = ["doctor", "explain", "replay"]


@app.command()
def explain(
    folder: Folder,
    decision_id: Annotated[
        str,
        typer.Argument(help="The decision's id, as on any page or in any report; without one, the newest are listed."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Say in plain words why something was sent, or not.

    Example: wayline explain var/shop 63450f046478b0ddc279c448765261c8
    """
    from wayline.governance.audit import explain as explained

    with opened(folder) as store:
        if not decision_id:
            _list_newest(store, kept_playbook(folder, store), as_json=as_json)
            return
        decision = store.state.decision(decision_id)
        if decision is None:
            raise SenderError(f"no decision {decision_id!r} in {folder}. Ids are 32 hexadecimal digits.")
        playbook = kept_playbook(folder, store)
        lines = explained(decision, playbook)
    if as_json:
        print_json({"decision": decision, "explanation": lines})
    else:
        print("\n".join(lines))


def _list_newest(store: Store, playbook: Any, *, as_json: bool) -> None:
    from wayline.governance.audit import explain as explained

    newest = deque(store.state.decisions(), maxlen=_LISTED_MAX)
    listed = [(decision.decision_id, explained(decision, playbook)[0]) for decision in reversed(newest)]
    if as_json:
        print_json([{"decision_id": decision_id, "in_words": said} for decision_id, said in listed])
    elif listed:
        print("\n".join(f"{decision_id}  {said}" for decision_id, said in listed))
    else:
        print("Nothing was decided yet.")


@app.command()
def replay(folder: Folder, as_json: AsJson = False) -> None:
    """Decide every recorded decision again from its record alone, and compare.

    Example: wayline replay var/shop
    """
    from wayline.runtime.folders import playbooks_kept
    from wayline.runtime.replaying import replay_all

    with opened(folder) as store:
        playbook = kept_playbook(folder, store)
        found = replay_all(store.state, playbook, progress("decisions"), kept=playbooks_kept(store.state))
    if as_json:
        print_json(found)
    else:
        print(f"{found.equal:,} decisions replayed to the same record, {len(found.different)} differ")
        for line in found.different[:10]:
            print(f"  {line}")
    if found.different:
        raise typer.Exit(1)


@app.command()
def doctor(folder: Folder, as_json: AsJson = False) -> None:
    """Look a shop's folder over: what is kept, waits or is stuck, and whether each journey is told what it needs.

    Example: wayline doctor var/shop
    """
    from datetime import UTC, datetime

    from wayline.runtime.reconciling import KEPT_IN, worries
    from wayline.runtime.replaying import examine
    from wayline.runtime.signals import examine_signals, in_words
    from wayline.serving.report import uneven_elsewhere
    from wayline.serving.season import MARK

    with opened(folder) as store:
        now = datetime.now(UTC)
        playbook = kept_playbook(folder, store)
        if (folder / MARK).exists():  # a simulated shop: its clock stands where the season ended
            now = max((event.received_at for event in store.log.read(store.log.head() - 1, 1)), default=now)
        also = uneven_elsewhere(store.state, store.log, playbook, now)
        shops = () if store.folder is None else worries(store.folder / KEPT_IN, now)
        health = examine(store.log, store.state, also=(*also, *shops))
        signals = examine_signals(store.log, playbook, now)
    if as_json:
        print_json({"lines": health.lines, "problems": health.problems, "counts": health.counts, "signals": signals})
    else:
        print("\n".join((*in_words(signals), "", *health.lines)))
    if health.problems:
        raise typer.Exit(1)
