"""Amounts and days as people write them, by language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from wayline.observation.money import EXPONENTS

__all__ = ["dated", "lasting", "priced"]


class _Custom(Struct, frozen=True):
    thousands: str
    decimal: str
    amount: str
    day: str
    months: tuple[str, ...]


_CUSTOMS: Mapping[str, _Custom] = {
    "en": _Custom(",", ".", "{sign}{number}", "{day} {month} {year}", (
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December")),
    "de": _Custom(".", ",", "{number} {sign}", "{day}. {month} {year}", (
        "Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November",
        "Dezember")),
    "fr": _Custom("\u202f", ",", "{number} {sign}", "{day} {month} {year}", (
        "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre",
        "décembre")),
    "es": _Custom(".", ",", "{number} {sign}", "{day} de {month} de {year}", (
        "enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre",
        "diciembre")),
    "it": _Custom(".", ",", "{number} {sign}", "{day} {month} {year}", (
        "gennaio", "febbraio", "marzo", "aprile", "maggio", "giugno", "luglio", "agosto", "settembre", "ottobre",
        "novembre", "dicembre")),
    "nl": _Custom(".", ",", "{sign} {number}", "{day} {month} {year}", (
        "januari", "februari", "maart", "april", "mei", "juni", "juli", "augustus", "september", "oktober", "november",
        "december")),
}  # fmt: skip
_SIGNS: Mapping[str, str] = {"EUR": "€", "GBP": "£", "USD": "$"}
_FORM_MAX = 40  # characters of the form a template gives a date


def priced(amount: int, currency: str, language: str) -> str:
    """Minor units as the language writes them: `€1,299.00`, `1.299,00 €`; plainly where we do not know the custom."""
    digits = EXPONENTS.get(currency, 2)
    whole, cents = divmod(abs(amount), 10**digits)
    sign = "-" if amount < 0 else ""
    custom = _CUSTOMS.get(language.partition("-")[0])
    if custom is None or currency not in _SIGNS:
        return f"{sign}{whole}" + (f".{cents:0{digits}d}" if digits else "") + f" {currency}"
    number = f"{whole:,}".replace(",", custom.thousands) + custom.decimal + f"{cents:0{digits}d}"
    return sign + custom.amount.format(sign=_SIGNS[currency], number=number)


def dated(value: object, language: str, zone: str, form: str | None = None) -> str | None:
    """A day or instant in the zone and language, long or in a form of `%d %m %Y %H %M %B`; None if it is neither."""
    moment = _moment(value, zone)
    if moment is None or (form is not None and len(form) > _FORM_MAX):
        return None
    custom = _CUSTOMS.get(language.partition("-")[0])
    month = custom.months[moment.month - 1] if custom else f"{moment.month:02d}"
    if form is None:
        shape = custom.day if custom else "{year}-{month}-{day:02d}"
        return shape.format(day=moment.day, month=month, year=moment.year)
    clock = moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    said = {"d": f"{moment.day:02d}", "m": f"{moment.month:02d}", "Y": f"{moment.year:04d}", "H": f"{clock.hour:02d}",
            "M": f"{clock.minute:02d}", "B": month, "%": "%"}  # fmt: skip
    return re.sub(r"%(.)", lambda match: said.get(match[1], match[0]), form)


def _moment(value: object, zone: str) -> date | None:
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(ZoneInfo(zone))
    return value if isinstance(value, date) else None


def lasting(width: timedelta) -> str:
    """A duration as people say it: `3 days`, `90 minutes`."""
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = width.total_seconds() / seconds
        if count >= 1 and count == int(count):
            return f"{count:g} {unit}{'s' if count != 1 else ''}"
    return f"{width.total_seconds():g} seconds"
