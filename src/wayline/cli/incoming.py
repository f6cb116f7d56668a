"""What comes in: the newest events as they arrive, and rejected ones shown and offered again."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wayline.cli.terminal import AsJson, Folder, app, kept_playbook, opened, print_json
from wayline.errors import AuthorError, OperatorError, SenderError

if TYPE_CHECKING:
    import httpx

    from wayline.runtime.offering import Offered
    from wayline.store.opening import Store

__all__ = ["rejects", "tail"]

_REJECTS_SERVED = (
    "While it is served, ask the server: GET /v1/rejects with a secret key of the scope 'read', POST "
    "/v1/rejects/replay with one of the scope 'admin' (docs/reference/collector.md)."
)
_TAIL_SERVED = (
    "While it is served, follow the server: --server http://127.0.0.1:8400, with a secret key of the scope 'read' in "
    "the variable WAYLINE_KEY."
)


@app.command()
def rejects(
    folder: Folder,
    *,
    again: Annotated[str, typer.Option("--again", help="Offer these again: numbers apart by commas, or 'all'.")] = "",
    patch: Annotated[
        str,
        typer.Option(help='JSON each is changed by first (RFC 7396), such as \'{"properties": {"currency": "EUR"}}\'.'),
    ] = "",
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the messages whole, personal values included.")
    ] = False,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many to list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what was rejected and why, and offer it again after a fix.

    Example: wayline rejects my-shop --again 17,18 --patch '{"properties": {"currency": "EUR"}}'
    """
    from wayline.runtime.collecting import Collector
    from wayline.runtime.offering import listed, offer_again

    changed = _patch(patch)
    if patch and not again:
        raise AuthorError("--patch changes what is offered again: name that by --again, such as --again 17,18.")
    with opened(folder, served=_REJECTS_SERVED) as store:
        if not again:
            found = listed(store.log, count_max=count, is_revealed=reveal)
            print_json(found) if as_json else _list(found)
            return
        numbers = _numbers(again)
        missing = _not_there(store, numbers)
        playbook = kept_playbook(folder, store)
        collector = Collector(store.log, store.vault, currency=playbook.currency, signals=playbook.signals)
        most = len(numbers) if numbers is not None else store.log.rejected_kept()
        offered = offer_again(store.log, collector, numbers, changed, count_max=most)
    if as_json:
        print_json(offered)
    else:
        _say_offered(offered)
    if missing:
        raise SenderError(
            f"--again: no rejected message has the number{'' if len(missing) == 1 else 's'} "
            f"{', '.join(map(str, missing))}. See: wayline rejects {folder}"
        )


def _not_there(store: Store, numbers: Sequence[int] | None) -> list[int]:
    return [number for number in numbers or () if store.log.rejected_numbers(number + 1, 1) != [number]]


def _say_offered(offered: Offered) -> None:
    print(
        f"{offered.offered:,} offered again: {offered.stored:,} stored, {offered.duplicates:,} were there, "
        f"{offered.conflicts:,} conflict, {len(offered.rejected):,} rejected again"
    )
    for reason in offered.rejected[:10]:
        print(f"  {reason}")
    if offered.unreadable:
        print(f"  {offered.unreadable:,} are no messages, or were not kept whole; their senders must send them anew")


def _list(found: Any) -> None:
    if not found:
        print("Nothing is rejected.")
    for one in found:
        print(f"{one.number:>8}  {one.received_at[:19]}  {one.source:<12} {one.name or '-'}: {one.field}: {one.reason}")
        if one.is_cut:
            print("          (too large to be kept whole: it cannot be offered again)")
        if one.body is not None:
            import msgspec

            print(f"          {msgspec.json.encode(one.body).decode()}")


def _numbers(text: str) -> list[int] | None:
    if text == "all":
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise AuthorError(
            f"--again: expected numbers apart by commas, or 'all', found {text!r}. See: wayline rejects DIR"
        )
    return [int(part) for part in parts]


def _patch(text: str) -> dict[str, Any] | None:
    import msgspec

    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise AuthorError(f"--patch: expected a JSON object, and {text[:60]!r} is none: {error}") from error


@app.command()
def tail(
    folder: Folder,
    *,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest to show.")] = 20,
    server: Annotated[str, typer.Option(help="Follow a shop being served, such as http://127.0.0.1:8400.")] = "",
    key_env: Annotated[
        str, typer.Option(help="Variable of the environment with a secret key of scope 'read', to follow a server.")
    ] = "WAYLINE_KEY",
    seconds: Annotated[float, typer.Option(min=0, help="Follow a server for so long; 0 goes on until Ctrl-C.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Show the newest events, as the log has them; follow a shop that is being served.

    Example: wayline tail my-shop --count 50
    """
    from wayline.serving.signals import shown

    if server:
        _follow(server.rstrip("/"), key_env, seconds, as_json=as_json)
        return
    with opened(folder, served=_TAIL_SERVED) as store:
        events = store.log.read(max(0, store.log.head() - count), count)
    print_json(list(map(shown, events))) if as_json else _show(map(shown, events))


def _follow(server: str, key_env: str, seconds: float, *, as_json: bool) -> None:
    import os

    import httpx

    key = os.environ.get(key_env, "")
    if not key:
        raise OperatorError(f"{key_env}: no key in this variable. Put a secret key of scope 'read' there.")
    ends_at = time.monotonic() + seconds if seconds else float("inf")
    asked: dict[str, int] = {"wait": 10}
    with httpx.Client(auth=(key, ""), timeout=30) as client:
        while time.monotonic() < ends_at:
            try:
                answer = client.get(f"{server}/v1/tail", params=asked)
                told = _told(answer)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                raise OperatorError(
                    f"{server}: the tail cannot be followed: {error}. Look at the address and the key."
                ) from error
            print_json(told["events"]) if as_json else _show(told["events"])
            sys.stdout.flush()
            asked["after"] = told["next"]
            if seconds:
                asked["wait"] = max(0, int(min(10, ends_at - time.monotonic())))


def _told(answer: httpx.Response) -> Any:
    """What a server answered; raises ValueError with its own code and words where it refused."""
    import msgspec

    try:
        told = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        told = None
    if answer.status_code == 200 and isinstance(told, dict) and "events" in told:
        return told
    refusal = told if isinstance(told, dict) and "code" in told else {}
    said = f"{refusal['code']}: {refusal.get('message', '')}" if refusal else "no word of Wayline's"
    raise ValueError(f"it answered {answer.status_code} {said}")


def _show(events: Any) -> None:
    for one in events:
        noted = f"  [{'; '.join(one['notes'])}]" if one["notes"] else ""
        who = ", ".join(one["identifiers"]) or "about no person"
        print(f"{one['position']:>9}  {str(one['occurred_at'])[:19]}  {one['source']:<12} {one['name']}  {who}{noted}")
