"""What Shopify says of customers: who they are, what they consented to, and what they ask of their data.

A consent is a fact of its own instant (`consent_updated_at`), not of the customer's version: it is told once, however
often the customer changes, with the level of opt-in as proof. `pending` and `not_subscribed` say neither yes nor no.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from wayline.errors import Rejected
from wayline.sources.facts import Id, Rules, Who, digest, fact, instant, shaped, stated, texts, version
from wayline.sources.topics import Items

__all__ = ["PRIVACY_TOPICS", "consents", "customers", "privacy_request"]

PRIVACY_TOPICS: Final = ("customers/data_request", "customers/redact", "shop/redact")
"""Requests that every app of Shopify's must take, and act on within 30 days."""

_SAYS: Final = {
    "subscribed": "Consent Granted",
    "unsubscribed": "Consent Withdrawn",
    "redacted": "Consent Withdrawn",
}


class _Consent(Struct):
    state: str | None = None
    opt_in_level: str | None = None
    consent_updated_at: str | None = None
    consent_collected_from: str | None = None


class _Address(Struct):
    city: str | None = None
    province_code: str | None = None
    country_code: str | None = None
    phone: str | None = None


class _Customer(Struct):
    id: Id = None
    email: str | None = None
    phone: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    state: str | None = None
    tags: str | None = None
    default_address: _Address | None = None
    accepts_marketing: bool | None = None
    accepts_marketing_updated_at: str | None = None
    marketing_opt_in_level: str | None = None
    email_marketing_consent: _Consent | None = None
    sms_marketing_consent: _Consent | None = None


def customers(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A customer as they are now: who they are, and what they consented to."""
    customer = shaped(raw, _Customer, "customer")
    created_at = instant(customer.created_at, "customer.created_at")
    updated_at = instant(customer.updated_at, "customer.updated_at") or created_at
    if customer.id is None or updated_at is None:
        raise Rejected("wrong_type", "customer", "expected a customer with id and updated_at")
    address = customer.default_address or _Address()
    who = Who(customer_id=customer.id, email=customer.email or "", phone=texts(customer.phone, address.phone))
    traits = {
        "email": customer.email,
        "phone": texts(customer.phone, address.phone),
        "firstName": customer.first_name,
        "lastName": customer.last_name,
        "createdAt": customer.created_at,
        "account": customer.state,
        "shop_tags": [tag.strip() for tag in (customer.tags or "").split(",") if tag.strip()] or None,
        "address": stated({"city": address.city, "state": address.province_code, "country": address.country_code})
        or None,
    }
    handles = who.handles(rules)
    handles.get("context", {}).pop("traits", None)
    key = (
        "customer",
        customer.id,
        version(updated_at),
        digest([traits["account"], traits["shop_tags"], traits["address"]]),
    )
    told = [fact("Identify", key, updated_at, traits, handles)]
    for channel, consent in _consents(customer):
        told += _consent(customer.id, channel, consent, customer.created_at, who.handles(rules))
    return told


def _consents(customer: _Customer) -> Iterator[tuple[str, _Consent]]:
    if customer.email_marketing_consent is not None:
        yield "email", customer.email_marketing_consent
    elif customer.accepts_marketing is not None and customer.accepts_marketing_updated_at:
        # As shops before 2022 tell it.
        state = "subscribed" if customer.accepts_marketing else "unsubscribed"
        yield "email", _Consent(state, customer.marketing_opt_in_level, customer.accepts_marketing_updated_at)
    if customer.sms_marketing_consent is not None:
        yield "sms", customer.sms_marketing_consent


def _consent(
    customer_id: Id, channel: str, consent: _Consent, created_at: str | None, who: dict[str, Any]
) -> list[dict[str, Any]]:
    name = _SAYS.get(consent.state or "")
    # Without an instant of its own a yes was given when the customer came to be; a no is told by nobody then.
    told_at = consent.consent_updated_at or (created_at if name == "Consent Granted" else None)
    at = instant(told_at, f"{channel}_marketing_consent.consent_updated_at")
    if name is None or at is None:
        return []
    key = ("customer", customer_id, channel, consent.state, version(at), consent.opt_in_level)
    said: dict[str, Any] = {"channel": channel, "purpose": "marketing", "method": "shop"}
    if name == "Consent Granted":
        said |= {
            "double_opt_in": consent.opt_in_level == "confirmed_opt_in",
            "opt_in_level": consent.opt_in_level,
            "proof_id": digest(key),
        }
    else:
        said["as_of"] = at
    return [fact(name, key, at, said, who)]


class _ConsentUpdate(Struct):
    customer_id: Id = None
    phone: str | None = None
    email_address: str | None = None
    email_marketing_consent: _Consent | None = None
    sms_marketing_consent: _Consent | None = None


def consents(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A consent that changed, by itself."""
    update = shaped(raw, _ConsentUpdate, "consent")
    who = Who(customer_id=update.customer_id, email=update.email_address or "", phone=update.phone or "").handles(rules)
    told: list[dict[str, Any]] = []
    for channel, consent in (("email", update.email_marketing_consent), ("sms", update.sms_marketing_consent)):
        if consent is not None:
            told += _consent(update.customer_id, channel, consent, None, who)
    return told


# ------------------------------------------------------------------ what they ask of their data


class _Asking(Struct, rename={"wanted": "data_request"}):
    shop_domain: str
    customer: _Customer | None = None
    orders_to_redact: list[Id] | None = None
    orders_requested: list[Id] | None = None
    wanted: dict[str, Any] | None = None


def privacy_request(raw: Any, rules: Rules, items: Items) -> list[dict[str, Any]]:
    """A request for a person's data, or for its erasure; or that we forget the shop. Which one, its own body says."""
    asking = shaped(raw, _Asking, "privacy")
    if asking.wanted is not None or asking.orders_requested is not None:
        topic = "customers/data_request"
    elif asking.customer is not None:
        topic = "customers/redact"
    else:
        topic = "shop/redact"
    key = ("privacy", topic.replace("/", "-"), digest(raw))
    if asking.customer is None:
        return [fact("Privacy Requested", key, None, {"topic": topic})]
    person = asking.customer
    who = Who(customer_id=person.id, email=person.email or "", phone=person.phone or "").handles(rules)
    return [fact("Privacy Requested", key, None, {"topic": topic}, who)]
