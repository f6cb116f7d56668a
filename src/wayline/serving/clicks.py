"""Signed links of our mails: they lead to the shop, and what is clicked is written down, machines apart from people.

`GET /c/TOKEN` answers with where the link leads and nothing else decides that; any other token is 404. Gateways and
previews open every link of a mail, so a click counts as a machine's if it asks by HEAD or in advance, names itself as
one, comes within moments of the sending, or if many links of one mail are opened at once. To see the last, a click
waits two seconds before it is written; a machine's is kept with `automated: true`, which nothing counts or follows.

A link leads on for ever, and what it does besides has an end: of one link of one message so many clicks are written
down, machines' and people's each, and a month after sending a click no longer says who has come.

Whoever clicks gets where they wanted, whatever happens here: a disk that is full costs the note and not the way.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import structlog
from msgspec import Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from wayline.domain import Decision, Event, Identifier
from wayline.errors import StoreUnavailable
from wayline.observation.feedback import is_made_by_machine
from wayline.runtime.kinship import whom_it_reached
from wayline.runtime.linking import Linked, landing, read_link
from wayline.runtime.people import CUSTOMER
from wayline.runtime.schedules import INTERNAL
from wayline.store.opening import Store

__all__ = ["CLICKS_MAX", "Clicks"]

_log = structlog.get_logger()

CLICKS_MAX: Final = 20  # clicks written down of one link of one message; further ones lead on and leave no trace
_TIES_FOR: Final = timedelta(days=30)  # after sending; a mail that old is as likely somebody's it was forwarded to
_HELD_SECONDS: Final = 2.0  # a click waits, for others of its mail to show a machine
_AT_ONCE_MAX: Final = 2  # different links of one mail that a person opens within that time
_LINKS_MAX: Final = 100_000  # links of messages whose clicks are counted here; of the oldest the log is asked anew
_HELD_MAX: Final = 500  # clicks of one mail that wait; further ones are written down nowhere
_MAILS_MAX: Final = 10_000  # mails whose clicks wait; beyond, the oldest are written at once
_HEADERS: Final = {
    "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow",
}  # fmt: skip


class _Click(Struct, frozen=True):
    """One link that was opened, and by whom as far as can be seen."""

    link: Linked
    decision: Decision
    customer_id: str
    at: datetime
    automated: bool
    ties: bool
    """Whether whoever clicked is taken for the recipient on the page it leads to."""


class Clicks:
    """What was clicked, on its way to the log."""

    def __init__(
        self,
        store: Store,
        *,
        on_stored: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        held_seconds: float = _HELD_SECONDS,
    ) -> None:
        self._store = store
        self._on_stored = on_stored
        self._clock = clock
        self._held_seconds = held_seconds
        self._held: OrderedDict[str, list[_Click]] = OrderedDict()
        self._writing: set[asyncio.Task[None]] = set()
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._counting = threading.Lock()

    @property
    def routes(self) -> list[Route]:
        """Where links are answered."""
        return [Route("/c/{token}", self._answer, methods=["GET", "HEAD"], name="click")]

    async def close(self) -> None:
        """Write what still waits."""
        for decision_id in list(self._held):
            self._let_go(decision_id)
        await asyncio.gather(*self._writing)

    async def _answer(self, request: Request) -> Response:
        now = self._clock()
        keyed = self._store.vault.keyed
        link = read_link(request.path_params["token"], keyed)
        if link is None:
            return PlainTextResponse("This link is incomplete, or not from us.\n", 404, _HEADERS)
        click = await run_in_threadpool(self._seen, link, now, request)
        where = link.destination
        if click is not None:
            self._hold(click)
            # A machine that goes on to the shop's page must not be taken for the customer there.
            where = landing(link, click.customer_id, now, keyed) if click.ties and not click.automated else where
        return Response(b"", 302, {**_HEADERS, "Location": where})

    def _seen(self, link: Linked, now: datetime, request: Request) -> _Click | None:
        """The click, with what is known of its message; None if nothing is, or nobody can look now."""
        state = self._store.state
        try:
            decision = state.decision(link.decision_id)
            delivery = state.delivery(link.decision_id)
            if decision is None or delivery is None:
                return None
            sent_at = delivery.settled_at if delivery.state != "attempting" else now
            agent = request.headers.get("user-agent", "")
            automated = _is_unread(request) or is_made_by_machine(agent, sent_at=sent_at, at=now) is True
            ties = sent_at is None or now - sent_at <= _TIES_FOR
            return _Click(link, decision, whom_it_reached(state, decision), now, automated, ties)
        except StoreUnavailable as error:
            _log.error("a click was not written down", reason=str(error))
            return None

    def _hold(self, click: _Click) -> None:
        decision_id = click.link.decision_id
        if decision_id not in self._held:
            if len(self._held) >= _MAILS_MAX:
                self._let_go(next(iter(self._held)))
            self._held[decision_id] = []
            asyncio.get_running_loop().call_later(self._held_seconds, self._let_go, decision_id)
        if len(self._held[decision_id]) < _HELD_MAX:
            self._held[decision_id].append(click)

    def _let_go(self, decision_id: str) -> None:
        clicks = self._held.pop(decision_id, [])
        if clicks:
            writing = asyncio.ensure_future(run_in_threadpool(partial(self._write, clicks)))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)

    def _write(self, clicks: list[_Click]) -> None:
        opened = {click.link.destination for click in clicks}
        is_burst = len(opened) > _AT_ONCE_MAX or 1 < clicks[0].link.count == len(opened)
        try:
            with self._counting:
                events = self._within_limit(clicks, is_burst)
                if not events:
                    return
                self._store.log.append(events)
        except StoreUnavailable as error:
            with self._counting:
                self._counts.clear()  # they count what was to be written
            _log.error("clicks were not written down", count=len(clicks), reason=str(error))
            return
        self._on_stored()

    def _within_limit(self, clicks: list[_Click], is_burst: bool) -> list[Event]:
        """The events of those that may still be written down, each numbered among those of its link."""
        events = []
        for click in clicks:
            automated = click.automated or is_burst
            stem = _stem(click.link, automated)
            number = self._counted(stem)
            if number < CLICKS_MAX:
                self._counts[stem] = number + 1
                events.append(_event(click, f"{stem}:{number}", automated))
        return events

    def _counted(self, stem: str) -> int:
        """How many of one link are written down: the log says, since others and earlier runs have counted too."""
        if stem not in self._counts:
            ids = [(INTERNAL, f"{stem}:{number}") for number in range(CLICKS_MAX)]
            self._counts[stem] = len(self._store.log.holds(ids))
            if len(self._counts) > _LINKS_MAX:
                self._counts.popitem(last=False)
        return self._counts[stem]


def _stem(link: Linked, automated: bool) -> str:
    which = blake2b(link.destination.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{'automated' if automated else 'click'}:{link.decision_id}:{which}"


def _is_unread(request: Request) -> bool:
    """Whether it was asked as nobody asks who wants to see the page: the head alone, in advance, by no program."""
    purpose = request.headers.get("sec-purpose", "") + request.headers.get("purpose", "")
    return request.method == "HEAD" or not request.headers.get("user-agent") or "prefetch" in purpose


def _event(click: _Click, event_id: str, automated: bool) -> Event:
    link, action = click.link, click.decision.action
    told = {
        "email_id": link.decision_id,
        # Without its query, like every address that is kept: what stands there is nobody's business.
        "url": urlunsplit(urlsplit(link.destination)._replace(query="", fragment="")),
        **({"campaign_name": action.journey} if action is not None else {}),
        **({"automated": True} if automated else {}),
    }
    return Event(
        event_id=event_id,
        source=INTERNAL,
        name="Email Link Clicked",
        kind="internal",
        identifiers=(Identifier(CUSTOMER, click.customer_id),),
        occurred_at=click.at,
        received_at=click.at,
        properties=told,
    )
