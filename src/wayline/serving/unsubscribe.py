"""The links to unsubscribe: a page that changes nothing, and a post that does (RFC 8058).

A link names one message and proves by its token that it was made here; whose message it was, the decision says. Mail
programs and link scanners open every link, so only a post acts. What a mailbox provider posts is answered with an
empty page and 200, whatever the link; a person who presses the button is told what happened.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from html import escape

from msgspec import Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wayline.domain import Customer, Decision, Event, Identifier, Playbook
from wayline.runtime.handover import unsubscribe_token
from wayline.runtime.kinship import whom_it_reached
from wayline.runtime.people import CUSTOMER
from wayline.runtime.schedules import INTERNAL
from wayline.store.opening import Store

__all__ = ["TEXTS", "unsubscribing"]

_BODY_MAX = 4096  # bytes looked at of what is posted to unsubscribe

_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Unsubscribe",
        "ask": "Do you want to stop getting marketing messages by {channel} from {shop}?",
        "owed": "Messages about your orders still reach you.",
        "button": "Unsubscribe",
        "done": "You will get no more marketing messages by {channel} from {shop}.",
        "unknown_title": "This link does not work",
        "unknown": "It is incomplete, or not from us. Please use the link in the newest message you got{contact}.",
        "contact": ", or write to {support}",
        "email": "e-mail",
        "sms": "text message",
        "push": "push notification",
    },
    "de": {
        "title": "Abmelden",
        "ask": "Möchten Sie keine Werbung per {channel} von {shop} mehr erhalten?",
        "owed": "Nachrichten zu Ihren Bestellungen erhalten Sie weiterhin.",
        "button": "Abmelden",
        "done": "Sie erhalten keine Werbung per {channel} von {shop} mehr.",
        "unknown_title": "Dieser Link funktioniert nicht",
        "unknown": "Er ist unvollständig oder nicht von uns. Bitte nehmen Sie den aus der neuesten Nachricht{contact}.",
        "contact": " oder schreiben Sie an {support}",
        "email": "E-Mail",
        "sms": "SMS",
        "push": "Push-Nachricht",
    },
}


class _Asked(Struct, frozen=True):
    """What one link is about."""

    decision: Decision
    language: str


class _Links(Struct, frozen=True):
    """What the links need: who got which message, and somewhere to write down that they want no more."""

    store: Store
    playbook: Playbook
    customer: Callable[[str], Customer | None]
    on_stored: Callable[[], None]
    clock: Callable[[], datetime]

    def asked(self, link: str) -> _Asked | None:
        """The message a link is in; None if the link was not made here, or nothing is known of the message."""
        decision_id, _, token = link.partition(".")
        expected = unsubscribe_token(self.store.vault, decision_id)
        if not hmac.compare_digest(token.encode(), expected.encode()):
            return None
        decision = self.store.state.decision(decision_id)
        if decision is None or decision.action is None:
            return None
        return _Asked(decision, self._language(decision))

    def _language(self, decision: Decision) -> str:
        """The customer's language if they said one and we speak it, else the shop's, else English."""
        customer = self.customer(self.store.state.survivor(decision.customer_id))
        said = customer.memory.traits.get("language") if customer is not None else None
        for language in (said.value if said is not None else None, self.playbook.language):
            spoken = str(language or "").partition("-")[0].lower()
            if spoken in TEXTS:
                return spoken
        return "en"

    def withdraw(self, asked: _Asked) -> None:
        """Write down, durably, that this customer wants no more marketing by this channel."""
        now = self.clock()
        decision, action = asked.decision, asked.decision.action
        assert action is not None
        event = Event(
            # Each press counts, by its exact instant: the one after a new consent is not a repeat of the one before.
            event_id=f"unsubscribe:{decision.decision_id}:{now.isoformat()}",
            source=INTERNAL,
            name="Consent Withdrawn",
            kind="internal",
            identifiers=(Identifier(CUSTOMER, whom_it_reached(self.store.state, decision)),),
            occurred_at=now,
            received_at=now,
            properties={"channel": action.channel, "purpose": "marketing", "method": "unsubscribe link"},
        )
        self.store.log.append([event])
        self.on_stored()


def unsubscribing(
    store: Store,
    playbook: Playbook,
    customer: Callable[[str], Customer | None],
    *,
    on_stored: Callable[[], None] = lambda: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Route]:
    """The routes of the links that messages carry.

    `customer` says what is known of one by now, `on_stored` is called when an event was written to the log.
    """
    links = _Links(store, playbook, customer, on_stored, clock)

    async def answer(request: Request) -> Response:
        link = request.path_params["link"]
        if request.method != "POST":
            return await run_in_threadpool(_page, links, link)
        is_person = b"pressed=" in await _body(request)
        return await run_in_threadpool(_act, links, link, is_person)

    return [Route("/unsubscribe/{link}", answer, methods=["GET", "POST"], name="unsubscribe")]


async def _body(request: Request) -> bytes:
    """The beginning of what was posted; all that matters is whether our own button is in it."""
    body = b""
    async for chunk in request.stream():
        if len(body) < _BODY_MAX:
            body += chunk[:_BODY_MAX]
    return body


def _page(links: _Links, link: str) -> Response:
    asked = links.asked(link)
    if asked is None:
        return _unknown(links, 404)
    said = _said(links, asked)
    form = f'<form method="post"><button type="submit" name="pressed" value="yes">{said["button"]}</button></form>'
    return _html(asked.language, said["title"], f"<p>{said['ask']}</p><p>{said['owed']}</p>{form}")


def _act(links: _Links, link: str, is_person: bool) -> Response:
    asked = links.asked(link)
    if asked is not None:
        links.withdraw(asked)
    if not is_person:
        # A mailbox provider: an unknown or old link is none of its business.
        return Response(b"", 200, {"Cache-Control": "no-store"})
    if asked is None:
        return _unknown(links, 200)
    said = _said(links, asked)
    return _html(asked.language, said["title"], f'<p role="status">{said["done"]}</p><p>{said["owed"]}</p>')


def _unknown(links: _Links, status: int) -> Response:
    language = links.playbook.language.partition("-")[0]
    texts = TEXTS.get(language, TEXTS["en"])
    support = str(links.playbook.settings.get("shop", {}).get("support_email") or "")
    contact = texts["contact"].format(support=escape(support)) if support else ""
    spoken = language if language in TEXTS else "en"
    return _html(spoken, texts["unknown_title"], f"<p>{texts['unknown'].format(contact=contact)}</p>", status)


def _said(links: _Links, asked: _Asked) -> dict[str, str]:
    texts = TEXTS[asked.language]
    action = asked.decision.action
    assert action is not None
    shop = escape(str(links.playbook.settings.get("shop", {}).get("name") or ""))
    channel = texts.get(action.channel, escape(action.channel))
    return {name: text.format(channel=channel, shop=shop, contact="", support="") for name, text in texts.items()}


def _html(language: str, title: str, body: str, status: int = 200) -> Response:
    page = (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"></head>'
        f"<body><main><h1>{title}</h1>{body}</main></body></html>\n"
    )
    return Response(page, status, {**_HEADERS}, media_type="text/html; charset=utf-8")
