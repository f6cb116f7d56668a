"""What a history does not say and a policy asks for, assumed aloud: each assumption is a sentence of the report.

Everybody met for the first time begins with what is assumed of people; products are seen as is assumed of products. The
engine knows of no special case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import Customer, Event, Identifier, Memory, Playbook, Product, Standing
from wayline.errors import AuthorError, did_you_mean
from wayline.interpretation import customers
from wayline.interpretation.moment import ADDRESS_KINDS
from wayline.runtime.people import CUSTOMER
from wayline.store import Vault

__all__ = ["LONG_AGO", "AssumedVault", "Assumptions", "priced", "signed_up", "skus_of"]

LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "stock": ("unknown", "in_stock"),
    "addresses": ("no", "yes"),
    "signup": ("no", "yes"),
    "products": ("as_told", "described"),
}
_REACHED: Final = ("email", "sms", "push")
_SHOWN: Final = frozenset({"Product Viewed", "Product Clicked", "Product Added", "Product Removed"})
_PRICE: Final = 1000  # minor units of a made-up price


class Assumptions(Struct, frozen=True, kw_only=True):
    """What the history does not say and the policy asks for. Everybody begins with it."""

    consent: tuple[str, ...] = ()
    """Channels everybody may be written to for marketing, until the history says that they withdrew."""
    stock: str = "unknown"
    """`in_stock`: a product whose stock was never told, or too long ago, counts as in stock."""
    addresses: str = "no"
    """`yes`: everybody has an address in each channel; one the history tells of is newer, and is used."""
    match: float | None = None
    """At least how sure we are who everybody is."""
    signup: str = "no"
    """`yes`: the first thing anybody does is followed by signing up, which may start journeys; by itself, consent that
    is assumed starts none."""
    products: str = "as_told"
    """`described`: the name, price and page of a product that the history does not tell of are made up."""
    price: int | None = None
    """In minor units: what a product costs wherever the history shows one without its price."""

    @classmethod
    def read(cls, text: str) -> Assumptions:
        """Read `consent=email+sms,stock=in_stock,addresses=yes,match=0.9`; raises AuthorError with what may stand."""
        said: dict[str, str] = {}
        name = ""
        for part in filter(None, (each.strip() for each in text.split(","))):
            before, equals, value = part.partition("=")
            # `consent=email,sms` goes on after the comma.
            name, value = (before, value) if equals else (name, f"{said.get(name, '')}+{before}")
            if name not in _ASSUMED:
                raise AuthorError(f"--assume: nothing is called {name or before!r}. {did_you_mean(name, _ASSUMED)}")
            said[name] = value
        return cls(**{name: _read_assumption(name, value) for name, value in said.items()})

    def in_words(self) -> tuple[str, ...]:
        """Each assumption as a sentence, those that were not made included."""
        consent = " and ".join(self.consent)
        return (
            f"everybody consents to marketing by {consent}, from before the history begins until they withdraw"
            if consent
            else "consent is as the history says",
            f"everybody has an address by {', '.join(self._reached())}"
            if self.addresses == "yes"
            else "addresses are those the history tells of",
            "a product is in stock unless the history says it is sold out"
            if self.stock == "in_stock"
            else "stock is as the history says",
            f"who everybody is, is sure to at least {self.match:g}"
            if self.match is not None
            else "how sure it is who somebody is, is worked out from the history",
            *(("everybody signs up right after the first thing they do",) if self.signup == "yes" else ()),
            *(
                (f"a product without a name, price or page has made-up ones (price {self.shown_price / 100:.2f})",)
                if self.products == "described"
                else ()
            ),
            *((f"a product shown without a price costs {self.price / 100:.2f}",) if self.price is not None else ()),
        )

    def described(self, known: Product) -> Product:
        """What texts say of this product, made up where nobody has told it."""
        return Product(
            known.sku,
            name=known.name or f"product {known.sku}",
            price=self.shown_price if known.price is None else None,
            url=known.url or f"https://assumed.invalid/{known.sku}",
        )

    @property
    def shown_price(self) -> int:
        """What texts say a product costs of which nobody told the price, in minor units."""
        return _PRICE if self.price is None else self.price

    def _reached(self) -> tuple[str, ...]:
        return tuple(channel for channel in _REACHED if channel in self.consent or channel != "push")

    def newcomer(self, customer_id: str, now: datetime, playbook: Playbook) -> Customer:
        """Somebody never seen before, with all that is assumed of everybody."""
        memory = Memory()
        identifiers = tuple(
            Identifier(ADDRESS_KINDS[channel], f"{_MADE_UP}{customer_id}") for channel in self._reached()
        )
        if self.addresses == "yes":
            memory = customers.fold(memory, _assumed("Known", now, customer_id, identifiers), playbook)
        for channel in self.consent:
            granted = _assumed(f"Consent Granted:{channel}", LONG_AGO, customer_id, ())
            properties = {"channel": channel, "purpose": "marketing", "method": "assumed"}
            memory = customers.fold(memory, replace(granted, name="Consent Granted", properties=properties), playbook)
        return Customer(customer_id, memory, Standing(match_confidence=max(0.5, self.match or 0.0)))


_ASSUMED: Final = ("consent", "match", "price", *_CHOICES)
_MADE_UP: Final = "assumed:"


def _read_assumption(name: str, value: str) -> Any:
    if name == "consent":
        channels = tuple(filter(None, value.split("+"))) if value != "none" else ()
        for channel in channels:
            if channel not in _REACHED:
                raise AuthorError(f"--assume: consent={channel}: {did_you_mean(channel, (*_REACHED, 'none'))}")
        return channels
    if name == "match":
        return _read_number(name, value, 1.0)
    if name == "price":
        return round(_read_number(name, value, 1e6) * 100)
    if value not in _CHOICES[name]:
        raise AuthorError(f"--assume: {name}={value}: expected {' or '.join(_CHOICES[name])}")
    return value


def _read_number(name: str, value: str, most: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= most:
        raise AuthorError(f"--assume: {name}={value}: expected a number from 0 to {most:,.0f}, such as 0.9")
    return number


def _assumed(name: str, at: datetime, customer_id: str, identifiers: tuple[Identifier, ...]) -> Event:
    return Event(
        event_id=f"{name}:{customer_id}",
        source="assumed",
        name=name,
        kind="internal",
        occurred_at=at,
        received_at=at,
        identifiers=identifiers,
    )


class AssumedVault:
    """The addresses that are made up, beside what a real vault keeps."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def keyed(self, kind: str, value: str) -> str:
        return self._vault.keyed(kind, value)

    def get(self, subjects: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for subject in subjects:
            kind, _, value = subject.partition(":")
            if value.startswith(_MADE_UP):
                found[subject] = {kind: f"{value.removeprefix(_MADE_UP)}@assumed.invalid"}
        return self._vault.get(subjects) | found


def priced(event: Event, price: int) -> Event:
    """The event with a price wherever it shows a product without one."""
    properties = event.properties
    lines = properties.get("products")
    if lines and any(line.get("price") is None for line in lines):
        told = [line if line.get("price") is not None else {**line, "price": price} for line in lines]
        return replace(event, properties={**properties, "products": told})
    if event.name in _SHOWN and properties.get("sku") and properties.get("price") is None:
        return replace(event, properties={**properties, "price": price})
    return event


def signed_up(customer_id: str, now: datetime) -> Event:
    """Somebody signs up for mail, as is assumed of them."""
    granted = {"channel": "email", "purpose": "marketing", "method": "assumed"}
    told = _assumed("Consent Granted", now, customer_id, (Identifier(CUSTOMER, customer_id),))
    return replace(told, properties=granted)


def skus_of(event: Event) -> Iterator[str]:
    """The products an event speaks of."""
    for line in (event.properties, *(event.properties.get("products") or ())):
        if line.get("sku"):
            yield str(line["sku"])
