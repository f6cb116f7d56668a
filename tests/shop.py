"""A shop to write tests in: people do things, time passes, and the real engine decides, over a real store.

shop = Shop()
shop.tell(happened("Checkout Step Viewed", ann, step=2))
shop.after(hours=1)
assert shop.sent() == [("email", "cart-reminder")]
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from wayline.channels.dryrun import DryRun
from wayline.domain import Ask, Customer, Decision, Event, Identifier, Message, Playbook, Product, Receipt, Turn
from wayline.engine import Model
from wayline.playbook import compile_playbook
from wayline.runtime.embedded import Embedded, Limits
from wayline.store import Batch, Delivery
from wayline.store.opening import Store, open_store

APPAREL = Path(__file__).parent.parent / "examples" / "apparel"
NOON = datetime(2025, 10, 7, 10, 0, tzinfo=UTC)  # a Tuesday, noon in Berlin

_ids = itertools.count(1)


@cache
def apparel(**changed: str) -> Playbook:
    """The example's playbook; `changed` replaces whole files by name, dots and slashes as underscores."""
    files = {
        str(path.relative_to(APPAREL)): path.read_text()
        for path in sorted(APPAREL.rglob("*"))
        if path.suffix in (".yaml", ".toml") and "tests" not in path.parts
    }
    for name, text in changed.items():
        (at,) = [path for path in files if path.replace("/", "_").replace(".", "_").replace("-", "_") == name]
        files[at] = text
    return compile_playbook(files)


OPEN = "gates: [suppression, repeat, caps, quiet_hours, confidence, claims, budget]\nstock: {unknown: in_stock}\n"
"""A policy that allows nearly everything, to add one rule to."""

MARKETING = """\
stage: consideration
purpose: marketing
owner: {business: b, technical: t, qa: q}
goal: Order Completed
reentry: after 1 day
control: {none: a test}
"""
"""How a journey begins whose steps are what is tested."""


def written(journeys: Mapping[str, str], *, policy: str = OPEN, facets: str = "", **content: str) -> Playbook:
    """A playbook of these journeys alone, on the example's facets, questions and texts.

    `content` adds texts by name, underscores as dashes: a channel's name and a body are enough.
    """
    files = {
        str(path.relative_to(APPAREL)): path.read_text()
        for path in sorted(APPAREL.rglob("*"))
        if path.suffix in (".yaml", ".toml") and not {"tests", "journeys"}.intersection(path.parts)
    }
    files["wayline.toml"] = files["wayline.toml"].split("# Once a week")[0]
    files["policy.yaml"] = policy
    files["facets.yaml"] += facets
    for name, text in journeys.items():
        files[f"journeys/{name}.yaml"] = f"journey: {name}\n{text}"
    for name, channel in content.items():
        name = name.replace("_", "-")
        body = "Hello {{ links.unsubscribe }} {{ shop.postal_address }}"
        parts = {"email": ("subject", "text"), "sms": ("text",)}.get(channel, ("title", "body"))
        said = "".join(f"    {part}: {'Hello' if part in ('subject', 'title') else body}\n" for part in parts)
        files[f"content/{name}.yaml"] = f"content: {name}\nchannel: {channel}\nlanguages:\n  en:\n{said}  de:\n{said}"
    return compile_playbook(files)


def person(name: str) -> tuple[Identifier, ...]:
    """Somebody with an account and a mailbox."""
    return (Identifier("user_id", f"user-{name}"), Identifier("email", f"mail-{name}"))


def visitor(name: str) -> tuple[Identifier, ...]:
    """A browser nobody has logged in on."""
    return (Identifier("anonymous_id", f"browser-{name}"),)


ANN = person("ann")


def happened(
    name: str,
    who: Sequence[Identifier] = ANN,
    *,
    at: datetime | None = None,
    received_at: datetime | None = None,
    event_id: str = "",
    source: str = "web",
    fires: bool = True,
    **properties: Any,
) -> Event:
    """An event as the collector would store it; `at` defaults to when the shop is told of it."""
    return Event(
        event_id=event_id or f"e{next(_ids)}",
        source=source,
        name=name,
        kind="identify" if name == "Identify" else "track",
        occurred_at=at or _UNSET,
        received_at=received_at or at or _UNSET,
        identifiers=tuple(who),
        properties=properties,
        fires=fires,
    )


_UNSET = datetime(1970, 1, 1, tzinfo=UTC)


class Shop:
    """A store, an engine, a virtual clock."""

    def __init__(
        self,
        playbook: Playbook | None = None,
        *,
        store: Store | None = None,
        now: datetime = NOON,
        shelf: Iterable[Product] = (),
        limits: Limits | None = None,
        models: Mapping[str, Model] | None = None,
    ) -> None:
        self.playbook = playbook or apparel()
        self.store = store or open_store()
        self.now = now
        self.answers: dict[str, Receipt | None] = {}
        """Channel to the receipt it answers with, instead of sending."""
        self.models = dict(models or {})
        products = list(shelf) or [product("jacket", 16900), product("parka", 18900), product("socks", 1400)]
        self.store.state.commit(Batch(products=[p if p.stock_as_of else _stamped(p, now) for p in products]))
        self.channels = {
            name: DryRun(name, clock=lambda: self.now, answer=self._answer) for name in ("email", "sms", "push")
        }
        self.limits = limits
        self.engine = self._open()

    def _open(self) -> Embedded:
        return Embedded(
            self.store.log,
            self.store.state,
            self.store.vault,
            self.playbook,
            self.channels,
            limits=self.limits,
            models=self.models,
        )

    def _answer(self, message: Message, now: datetime) -> Receipt | None:
        return self.answers.get(message.channel)

    def restart(self) -> None:
        """The process dies and another one starts on the same store."""
        self.engine = self._open()
        self.engine.outbox.recover(self.now)

    def consent(self, who: Sequence[Identifier] = ANN, *channels: str, days_ago: int = 0) -> None:
        """They may be written to; what is personal is in the vault. Told days late, it starts no welcome."""
        for identifier in who:
            self.store.vault.put(
                {
                    f"{identifier.kind}:{identifier.value}": {
                        "email": "ann@example.com",
                        "first_name": "Ann",
                        "phone": "+4915112345678",
                    }
                }
            )
        at = self.now - timedelta(days=days_ago)
        self.tell(
            *(
                happened(
                    "Consent Granted",
                    who,
                    at=at,
                    received_at=self.now,
                    channel=channel,
                    purpose="marketing",
                    event_id=f"consent-{who[0].value}-{channel}-{at.isoformat()}",
                )
                for channel in channels or ("email",)
            )
        )

    def tell(self, *events: Event) -> None:
        """These happen (now, unless they say when), and the engine does all it can at this instant."""
        self.store.log.append([self._dated(event) for event in events])
        self.engine.drain(self.now)

    def ask(self, who: Sequence[Identifier] = ANN, placement: str = "page", request_id: str = "") -> Turn:
        """A page asks what to show now."""
        customer_id = self.store.state.resolve(who)[who[0]]
        return self.engine.ask(customer_id, Ask(request_id or f"r{next(_ids)}", placement), self.now)

    def _dated(self, event: Event) -> Event:
        occurred_at = self.now if event.occurred_at == _UNSET else event.occurred_at
        received_at = self.now if event.received_at == _UNSET else event.received_at
        return replace(event, occurred_at=occurred_at, received_at=received_at)

    def after(self, **duration: float) -> None:
        """Time passes; whatever falls due on the way is done when it is due."""
        until = self.now + timedelta(**duration)
        while (due := self.store.state.next_due()) is not None and due <= until:
            self.now = max(self.now, due)
            self.engine.drain(self.now)
        self.now = until
        self.engine.drain(self.now)

    def customer(self, who: Sequence[Identifier] = ANN) -> Customer:
        """Who that is now."""
        return self.engine.customer(self.store.state.resolve(who)[who[0]])

    def decisions(self, journey: str = "") -> list[Decision]:
        """What was decided, oldest first."""
        found = self.store.state.decisions()
        return [d for d in found if not journey or any(v.action.journey == journey for v in d.considered)]

    def deliveries(self) -> list[Delivery]:
        """The outbox, oldest first."""
        return list(self.store.state.deliveries())

    def sent(self) -> list[tuple[str, str]]:
        """(channel, content) of what left, oldest first."""
        return [(row.channel, row.content) for row in self.deliveries() if row.state == "sent"]

    def steps(self, who: Sequence[Identifier] = ANN) -> dict[str, str]:
        """Journey to the step they are at, or to how it ended."""
        found = self.customer(who).standing.enrollments
        return {e.journey: e.step if e.is_open else e.status for e in found}

    def refusals(self, journey: str = "") -> list[tuple[str, str]]:
        """(gate, content) of every refusal."""
        return [
            (v.gate, v.action.content)
            for d in self.decisions()
            for v in d.considered
            if v.gate and (not journey or v.action.journey == journey)
        ]


def product(sku: str, price: int, *, available: int | None = 5, category: str = "winter-jackets") -> Product:
    """Something on the shelf."""
    return Product(
        sku=sku,
        name=sku.title(),
        category=category,
        price=price,
        cost=price // 2,
        available=available,
        url=f"https://larkfell.example/p/{sku}",
    )


def _stamped(p: Product, at: datetime) -> Product:
    return replace(p, stock_as_of=at, price_as_of=at)


def facts_of(customer: Customer) -> Mapping[str, Any]:
    """What is remembered, for comparing."""
    return customer.memory.facets
