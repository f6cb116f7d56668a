"""The pages and their twins, over the stores and a report. What a page shows is escaped, always."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any
from urllib.parse import parse_qs, quote

import jinja2
import msgspec
from msgspec import Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from wayline.domain import Identifier, Playbook
from wayline.governance.audit import zone_for
from wayline.measurement.verdicts import money, signed_money
from wayline.serving.dashboard.pictures import WIDTH, bars, money_bars, ranges
from wayline.serving.report import Report, to_json
from wayline.serving.timeline import Story, StoryLine, timeline
from wayline.store import Log, State, Vault

__all__ = ["HEADERS", "dashboard"]

HEADERS: Mapping[str, str] = {
    # Nothing inline, nothing from elsewhere, nobody's frame: what an event smuggles in stays text.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_BODY_MAX = 2048  # bytes of what is typed into the search


class _Shown(Struct, frozen=True):
    """What the pages read from."""

    state: State
    log: Log
    vault: Vault
    playbook: Playbook
    report: Callable[[], Report]
    templates: jinja2.Environment


def dashboard(
    state: State, log: Log, vault: Vault, playbook: Playbook, report: Report | Callable[[], Report]
) -> list[Route]:
    """The routes of the dashboard. `report` may be a function where the numbers move on while it is served."""
    latest = report if callable(report) else lambda: report
    shown = _Shown(state, log, vault, playbook, latest, _templates(playbook.currency))
    pages: Sequence[tuple[str, Callable[[_Shown, Request], Response]]] = (
        ("/", _home),
        ("/index.json", _home_json),
        ("/not-sent", _not_sent),
        ("/not-sent.json", _not_sent_json),
        ("/customers/{customer_id}.json", _shopper_json),
        ("/customers/{customer_id}", _shopper),
        ("/wayline.css", _stylesheet),
        ("/wayline.svg", _icon),
    )
    return [*(_route(path, page, shown) for path, page in pages), _search_route(shown)]


def _route(path: str, page: Callable[[_Shown, Request], Response], shown: _Shown) -> Route:
    async def answer(request: Request) -> Response:
        # Stores are read synchronously: a slow disk must not hold up whoever else asks.
        return await run_in_threadpool(page, shown, request)

    return Route(path, answer, methods=["GET"], name=path)


def _templates(currency: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wayline.serving.dashboard"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["money"] = lambda minor: money(minor, currency)
    environment.filters["gain"] = lambda minor: signed_money(minor, currency)
    environment.filters["each"] = lambda minor: signed_money(minor, currency, cents=True)
    environment.filters["many"] = lambda count: f"{count:,}"
    environment.filters["share"] = lambda rate: f"{rate:.1%}"
    # A line never ends between a currency and its amount.
    environment.filters["unbroken"] = lambda text: text.replace(f"{currency} ", f"{currency}\u00a0")
    environment.filters["path"] = lambda text: quote(text, safe="")
    environment.filters["short"] = lambda text: text if len(text) <= 10 else f"{text[:8]}…"
    environment.filters["anchor"] = lambda text: text.replace(" ", "-")
    environment.globals["frame"] = WIDTH
    environment.globals["style"] = _style()
    return environment


def _page(shown: _Shown, name: str, *, status: int = 200, **values: Any) -> Response:
    report = shown.report()
    text = shown.templates.get_template(name).render(shop=report.shop, period=report.period, **values)
    return Response(text, status, {**HEADERS}, media_type="text/html; charset=utf-8")


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, {**HEADERS}, media_type="application/json")


# ------------------------------------------------------------------ home


def _home(shown: _Shown, request: Request) -> Response:
    report = shown.report()
    return _page(
        shown, "home.html", here="home", twin="/index.json", report=report,
        money_bars=money_bars(report.money), ranges=ranges(report.journeys), came=shown.log.counts(),
    )  # fmt: skip


def _home_json(shown: _Shown, request: Request) -> Response:
    return _json(to_json(shown.report()))


# ------------------------------------------------------------------ not sent, and why


def _not_sent(shown: _Shown, request: Request) -> Response:
    report = shown.report()
    drawn = bars([rule.count for rule in report.held])
    held = list(zip(report.held, drawn, strict=True))
    return _page(shown, "not_sent.html", here="not-sent", twin="/not-sent.json", report=report, held=held)


def _not_sent_json(shown: _Shown, request: Request) -> Response:
    report = shown.report()
    told = {"period": report.period, "counts": report.counts, "held": report.held}
    return _json(msgspec.json.format(msgspec.json.encode(told)))


# ------------------------------------------------------------------ one shopper


def _shopper(shown: _Shown, request: Request) -> Response:
    customer_id = request.path_params["customer_id"]
    story = timeline(shown.state, shown.log, shown.playbook, customer_id)
    if story is None:
        return _page(shown, "missing.html", status=404, here="", twin="", wanted=customer_id)
    return _page(
        shown, "shopper.html", here="shopper", twin=f"/customers/{quote(customer_id, safe='')}.json", story=story,
        days=list(_days(story, shown.playbook)), person=_person(shown, story),
    )  # fmt: skip


def _shopper_json(shown: _Shown, request: Request) -> Response:
    story = timeline(shown.state, shown.log, shown.playbook, request.path_params["customer_id"])
    if story is None:
        return _json(b'{"error": "nobody of that id is known"}\n', 404)
    return _json(msgspec.json.format(msgspec.json.encode(story)))


def _days(story: Story, playbook: Playbook) -> Iterator[tuple[str, list[StoryLine]]]:
    """The timeline by the shop's own days, newest day first: the latest is what one came for."""
    zone = zone_for(playbook)
    by_day = groupby(story.lines, key=lambda line: f"{line.at.astimezone(zone):%A %-d %B %Y}")
    yield from reversed([(day, list(lines)) for day, lines in by_day])


def _person(shown: _Shown, story: Story) -> dict[str, str]:
    """A name and a masked address from the vault; nothing where it was never told, or erased."""
    customer = shown.state.load([story.customer_id]).get(story.customer_id)
    linked = [link.identifier for link in shown.state.links(story.customer_id)]
    identifiers = [*linked, *(customer.memory.identifiers if customer else ())]
    values: dict[str, Any] = {}
    for personal in shown.vault.get(sorted({f"{one.kind}:{one.value}" for one in identifiers})).values():
        values.update(personal)
    parts = [str(values[part]) for part in ("first_name", "last_name") if values.get(part)]
    name = str(values.get("name") or " ".join(parts))
    return {"name": name, "email": _masked(str(values.get("email") or ""))}


def _masked(address: str) -> str:
    """Enough to recognise one's own customer by, not enough to copy."""
    local, at, domain = address.partition("@")
    return f"{local[:2]}…{at}{domain}" if at else ""


def _search_route(shown: _Shown) -> Route:
    async def search(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _BODY_MAX:
                return _page(shown, "missing.html", status=413, here="", twin="", wanted="a very long text")
        wanted = parse_qs(body.decode("utf-8", "replace")).get("who", [""])[0].strip()
        return await run_in_threadpool(_found, shown, wanted)

    # An address is typed, so it travels in a body: what stands in a URL stands in every log on the way.
    return Route("/customers", search, methods=["POST"], name="search")


def _found(shown: _Shown, wanted: str) -> Response:
    """The shopper of that id, e-mail address or customer number."""
    customer_id = wanted if wanted and shown.state.load([shown.state.survivor(wanted)]) else ""
    for kind in ("email", "user_id", "phone") if wanted and not customer_id else ():
        value = wanted.lower() if kind == "email" else wanted
        identifier = Identifier(kind, shown.vault.keyed(kind, value))
        customer_id = customer_id or shown.state.resolve([identifier]).get(identifier, "")
    if not customer_id:
        return _page(shown, "missing.html", status=404, here="", twin="", wanted=wanted)
    return RedirectResponse(f"/customers/{quote(customer_id, safe='')}", 303, {**HEADERS})


# ------------------------------------------------------------------ what does not change

_KEPT = {**HEADERS, "Cache-Control": "max-age=31536000, immutable"}


def _static(name: str) -> bytes:
    return files("wayline.serving.dashboard").joinpath("static", name).read_bytes()


def _style() -> str:
    """The stylesheet's address with its hash: a new look is fetched at once, an old one never again."""
    return f"/wayline.css?{hashlib.blake2b(_static('wayline.css'), digest_size=6).hexdigest()}"


def _stylesheet(shown: _Shown, request: Request) -> Response:
    return Response(_static("wayline.css"), headers=_KEPT, media_type="text/css")


def _icon(shown: _Shown, request: Request) -> Response:
    return Response(_static("wayline.svg"), headers=_KEPT, media_type="image/svg+xml")
