"""The policy all proposals are judged by, the shop's own settings, and what happens on a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from wayline.conditions import Condition, parse
from wayline.domain import Cap, Policy, QuietHours, Schedule, Suppression
from wayline.errors import AuthorError
from wayline.observation.money import EXPONENTS, minor
from wayline.playbook.grammar import (
    Anything,
    Clock,
    Duration,
    Expression,
    Field,
    Listing,
    Money,
    Number,
    Record,
    Section,
    Table,
    Text,
    YesNo,
)
from wayline.playbook.names import CHANNELS, GATES, NAME, PURPOSES, Known, check_facts, check_known
from wayline.playbook.sources import SOURCE, check_sources
from wayline.playbook.texts import Findings, Node, Place, plain, read_toml

__all__ = ["POLICY", "SHOP", "ShopSettings", "amount", "read_policy", "read_schedules", "read_shop", "read_sources"]

_PURPOSES = Listing(Text(PURPOSES, means="a purpose"), single=True, least=1, most=3)
_CHANNELS = Listing(Text(CHANNELS, means="a channel"), single=True, most=len(CHANNELS))
_JOURNEY = Text(pattern=NAME, means="the name of a journey")
_FRESH = Record({"fresh": Field(Duration(), "Age past which it is not relied on.")}, "how fresh a price must be")
_STOCK = Record(
    {
        "fresh": Field(Duration(), "Age past which it is not relied on."),
        "unknown": Field(
            Text(("refused", "in_stock"), means="what unknown stock means"), "What it means that nobody told us."
        ),
    },
    "how stock is trusted",
)

POLICY = Record(
    {
        "gates": Field(
            Listing(Text(GATES, means="a gate"), most=len(GATES)),
            "The sending rules, in the order they are asked.",
            default=GATES,
        ),
        "confidence_floor": Field(
            Number(0, 1), "Match confidence below which only actions that need nothing may stand."
        ),
        "caps": Field(
            Table(
                Record(
                    {
                        "at_most": Field(Number(0, 64, whole=True), "How many contacts.", required=True),
                        "per": Field(Duration(), "In which rolling window.", required=True),
                        "channel": Field(
                            Text(CHANNELS, means="a channel"), "Only contacts by this channel.", default=""
                        ),
                        "purpose": Field(
                            Text(PURPOSES, means="a purpose"),
                            "Only contacts of this purpose; marketing if not said.",
                            default="marketing",
                        ),
                        "journey": Field(_JOURNEY, "Only contacts of this journey.", default=""),
                    },
                    "a cap",
                ),
                names=NAME,
                means="the name of a cap",
                most=32,
            ),
            "At most so many contacts in a rolling window.",
            default={},
        ),
        "quiet_hours": Field(
            Listing(
                Record(
                    {
                        "from": Field(Clock(), "Local time at which quiet begins.", required=True),
                        "to": Field(Clock(), "Local time at which it ends.", required=True),
                        "purposes": Field(
                            _PURPOSES, "For which purposes; marketing if not said.", default=("marketing",)
                        ),
                        "channels": Field(_CHANNELS, "In which channels; all if not said.", default=()),
                    },
                    "quiet hours",
                ),
                most=16,
            ),
            "Not between these local times.",
            default=(),
        ),
        "suppressions": Field(
            Table(
                Record(
                    {
                        "while": Field(Expression(), "The condition that holds messages back.", required=True),
                        "reason": Field(Text(means="a reason"), "Why, as a person will read it.", required=True),
                        "purposes": Field(
                            _PURPOSES, "For which purposes; marketing if not said.", default=("marketing",)
                        ),
                        "except": Field(
                            Listing(_JOURNEY, single=True), "Journeys that go on all the same.", default=()
                        ),
                    },
                    "a suppression",
                ),
                names=NAME,
                means="the name of a suppression",
                most=64,
            ),
            "Not now, while a condition holds.",
            default={},
        ),
        "repeat_window": Field(Duration(), "The same content is not sent twice within it."),
        "stock": Field(_STOCK, "How long a stock figure is trusted, and what a missing one means."),
        "price": Field(_FRESH, "How long a price is trusted."),
        "lateness": Field(Duration(), "An event older than this when it arrives is remembered and starts nothing."),
        "holdout": Field(Number(0, 0.5), "Share of customers held out of all marketing."),
        "ranking": Field(Table(Money()), "Journey to the expected margin of one of its messages.", default={}),
        "slot": Field(Duration(), "How long one marketing message has the customer's attention."),
        "ask_again": Field(Duration(), "When a hold that no known instant lifts is judged again."),
        "spread": Field(Duration(), "Over how long sends held to one same instant are spread."),
        "budgets": Field(
            Table(Number(0, 10_000_000, whole=True), names=NAME, means="the name of a budget", most=64),
            "Shared budgets by name, such as coupons a day.",
            default={},
        ),
    },
    "a policy",
)

_SCHEDULE = Record(
    {
        "event": Field(
            Text(means="the name of an event"), "The internal event everybody in the audience gets.", required=True
        ),
        "every": Field(Duration(), "How often, in whole days or weeks.", required=True),
        "at": Field(Clock(), "Local time of the shop.", required=True),
        "starts_on": Field(
            Text(pattern=r"[0-9]{4}-[0-9]{2}-[0-9]{2}", means="a day such as 2026-01-05"), "First day.", required=True
        ),
        "audience": Field(Expression(), "Who gets it; everybody if not said."),
    },
    "a schedule",
)


_CHANNEL = Record(
    {
        "from": Field(Text(), "`email`: `Name <address>` of the sender."),
        "host": Field(Text(), "`email`: the mail server (SMTP) that takes our mail; without it none leaves."),
        "port": Field(Number(1, 65_535, whole=True), "`email`: its port; 587 if not said."),
        "security": Field(
            Text(("starttls", "tls", "none"), means="how the connection is secured"),
            "`email`: how the connection is secured; `starttls` if not said.",
        ),
        "username": Field(Text(), "`email`: whom we log in as; nobody if not said."),
        "password_env": Field(
            Text(pattern=r"[A-Z_][A-Z0-9_]*", means="the name of an environment variable"),
            "`email`: the environment variable that holds the password, which is in no file.",
        ),
        "return_path": Field(Text(), "`email`: where bounces go; the sender if not said."),
        "ca_file": Field(Text(), "`email`: certificates to trust, for a mail server with a private authority."),
        "hello": Field(Text(), "`email`: the name we greet the mail server with; this machine's if not said."),
        "provider": Field(
            Text(("mailgun", "postmark", "sendgrid", "ses"), means="a mail provider"),
            "`email`: whose header names our decision, so that bounces find it; told by the host if not said.",
        ),
        "dry_run": Field(
            YesNo(), "Write every message, count it as sent and throw it away: for a rehearsal, never for customers."
        ),
    },
    "a channel",
)

SHOP = Record(
    {
        "shop": Field(
            Record(
                {
                    "name": Field(Text(), "What the shop is called.", required=True),
                    "url": Field(Text(pattern=r"https?://.+", means="a web address"), "Where it is.", required=True),
                    "currency": Field(
                        Text(pattern=r"[A-Z]{3}", means="an ISO 4217 code such as EUR"),
                        "What it counts in.",
                        required=True,
                    ),
                    "zone": Field(
                        Text(means="an IANA zone such as Europe/Berlin"),
                        "The zone of a customer whose own is not known.",
                        required=True,
                    ),
                    "languages": Field(
                        Listing(
                            Text(pattern=r"[a-z]{2}(-[A-Z]{2})?", means="a language such as 'en' or 'de-AT'"),
                            least=1,
                            most=40,
                        ),
                        "Its languages, its own first.",
                        required=True,
                    ),
                    "web_locations": Field(
                        Listing(Text(), most=200),
                        "Stores and warehouses the web shop ships from, by the `store_id` of their counts; none: "
                        "only a count without a store says what it can ship.",
                        default=(),
                    ),
                    "postal_address": Field(Text(), "What the law wants under every marketing e-mail.", required=True),
                    "support_email": Field(
                        Text(pattern=r"[^@\s]+@[^@\s]+", means="an e-mail address"),
                        "Where customers write to.",
                        default="",
                    ),
                    "cart_url": Field(
                        Text(pattern=r"https?://.+", means="a web address"), "Where the cart is shown.", default=""
                    ),
                    "account_url": Field(
                        Text(pattern=r"https?://.+", means="a web address"), "Where orders are shown.", default=""
                    ),
                    "help_url": Field(
                        Text(pattern=r"https?://.+", means="a web address"), "Where help is.", default=""
                    ),
                },
                "a shop",
            ),
            "Who we are.",
            required=True,
        ),
        "channels": Field(
            Table(_CHANNEL, names="|".join(CHANNELS), means=f"one of {', '.join(CHANNELS)}"),
            "How each channel is set up; all channels are open if none is named.",
            default={},
        ),
        "schedules": Field(
            Table(_SCHEDULE, names=NAME, means="the name of a schedule", most=64),
            "Internal events at local times.",
            default={},
        ),
        "server": Field(
            Record(
                {
                    "public_url": Field(
                        Text(pattern=r"https?://[^\s/]+(/\S*)?", means="a web address"),
                        "Where the world reaches this installation: links to unsubscribe lead there.",
                    )
                },
                "how this installation is reached",
            ),
            "How this installation is reached.",
        ),
        "sources": Field(
            Table(SOURCE, names=NAME, means="the name of a source", most=64),
            "Who may send events, by the name their events carry; nobody may if none is named.",
            default={},
        ),
        "collector": Field(
            Record(
                {
                    "event_bytes_max": Field(
                        Number(1024, 4 << 20, whole=True),
                        "Bytes of one event beyond which it is rejected; 524288 if not said.",
                    ),
                    "requests_per_second": Field(
                        Number(0.01, 1e6), "How many requests by one key are taken; 20000 if not said."
                    ),
                },
                "what the collector takes",
            ),
            "What the collector takes.",
        ),
        "measurement": Field(
            Record(
                {
                    "margin_share": Field(
                        Number(0, 1), "Share of the full price that is margin, for products without a cost."
                    ),
                    "return_cost": Field(Number(0, 1e6), "What handling one returned piece costs, in the currency."),
                },
                "what a sale earns",
            ),
            "What effects are measured in, beyond the costs of the catalogue.",
        ),
        "training": Field(Table(Anything()), "When models are trained; read by the runtime.", default={}),
        "retention": Field(Table(Anything()), "How long things are kept; read by the runtime.", default={}),
    },
    "wayline.toml",
)


class ShopSettings(Struct, frozen=True, kw_only=True):
    """What wayline.toml says of the shop."""

    values: Mapping[str, Any]
    currency: str = "EUR"
    languages: tuple[str, ...] = ("en",)
    zone: str = "UTC"
    channels: tuple[str, ...] = CHANNELS
    schedules: tuple[Section, ...] = ()


def read_shop(root: Node, place: Place, values: Mapping[str, Any]) -> ShopSettings:
    """The settings of one shop; what is wrong with them is noted at the place."""
    section = SHOP.read(root, place)
    check_sources(section["sources"], section)
    shop = section["shop"]
    schedules = tuple(section["schedules"].values())
    if not isinstance(shop, Section):
        return ShopSettings(values=values, channels=tuple(section["channels"]) or CHANNELS, schedules=schedules)
    zone = shop["zone"] or "UTC"
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        shop.wrong("zone", f"expected an IANA zone such as 'Europe/Berlin', found {zone!r}.")
        zone = "UTC"
    currency = shop["currency"] or "EUR"
    if currency not in EXPONENTS:
        shop.wrong("currency", f"expected an ISO 4217 code such as 'EUR', found {currency!r}.")
        currency = "EUR"
    return ShopSettings(
        values=values,
        currency=currency,
        languages=shop["languages"] or ("en",),
        zone=zone,
        channels=tuple(section["channels"]) or CHANNELS,
        schedules=schedules,
    )


def read_sources(text: str) -> Mapping[str, Mapping[str, Any]]:
    """The sources in the text of a wayline.toml; raises AuthorError with all that is wrong with it."""
    findings = Findings()
    root = read_toml("wayline.toml", text, findings)
    if root is not None:
        section = SHOP.read(root, Place("wayline.toml", findings))
        check_sources(section["sources"], section)
    if root is None or findings.problems:
        raise AuthorError(findings.problems)
    sources: Mapping[str, Mapping[str, Any]] = plain(root).get("sources", {})
    return sources


def read_schedules(sections: tuple[Section, ...], known: Known, amounts: Mapping[str, int]) -> tuple[Schedule, ...]:
    """The schedules, once the facets their audiences read are known, and which of those are money."""
    return tuple(_schedule(section, known, amounts) for section in sections)


def _schedule(section: Section, known: Known, amounts: Mapping[str, int]) -> Schedule:
    audience: Condition | None = section["audience"]
    check_facts(audience, known, section.place, section.at("audience"))
    every: timedelta = section["every"] or timedelta(days=1)
    if every % timedelta(days=1):
        section.wrong("every", "expected whole days or weeks, such as '1 day' or '1 week'.")
    try:
        starts_on = date.fromisoformat(section["starts_on"] or "2000-01-01")
    except ValueError:
        section.wrong("starts_on", f"expected a day such as 2026-01-05, found {section['starts_on']!r}.")
        starts_on = date(2000, 1, 1)
    return Schedule(
        event=section["event"] or "",
        every=every,
        at=section["at"],
        starts_on=starts_on,
        audience=None if audience is None else parse(audience.text, amounts),
    )


def amount(section: Section, field: str, said: tuple[str, str], currency: str) -> int:
    """What an author wrote as money, in minor units of the shop's currency."""
    number, named = said
    if named and named != currency:
        section.wrong(field, f"expected an amount in the shop's currency {currency}, found {named}.")
    return minor(number, EXPONENTS[currency])


def read_policy(root: Node, place: Place, known: Known, zone: str, version: str) -> tuple[Policy, dict[str, int]]:
    """The policy of policy.yaml and the budgets it sets; what is wrong with it is noted at the place."""
    section = POLICY.read(root, place)
    if len(set(section["gates"])) < len(section["gates"]):
        section.wrong("gates", "a gate is named twice. Keep one of them.")
    said: dict[str, Any] = {
        "stock_fresh": section["stock"]["fresh"] if section["stock"] else None,
        "stock_unknown_is": (section["stock"]["unknown"] if section["stock"] else None) or None,
        "price_fresh": section["price"]["fresh"] if section["price"] else None,
    }
    for field in ("confidence_floor", "repeat_window", "lateness", "holdout", "slot", "ask_again", "spread"):
        said[field] = section[field]
    policy = Policy(
        gates=section["gates"],
        caps=tuple(_cap(name, cap, known) for name, cap in section["caps"].items()),
        quiet_hours=tuple(_quiet(quiet) for quiet in section["quiet_hours"]),
        suppressions=tuple(_suppression(name, rule, known) for name, rule in section["suppressions"].items()),
        ranking=_ranking(section, known),
        zone=zone,
        version=version,
        # What the author left out keeps the default of the noun; there is no second list of defaults.
        **{field: value for field, value in said.items() if value is not None},
    )
    return policy, {name: int(most) for name, most in section["budgets"].items()}


def _cap(name: str, cap: Section, known: Known) -> Cap:
    journey = cap["journey"]
    if journey:
        check_known(journey, known.journeys, cap.place, cap.at("journey"), what=f"cap {name!r} counts journey")
    per: timedelta = cap["per"] or timedelta(days=1)
    if per > timedelta(days=90):
        cap.wrong(
            "per", f"cap {name!r}: expected a window of at most 90 days, found {per.days}: older contacts are not kept."
        )
    return Cap(name, int(cap["at_most"] or 0), per, cap["channel"], cap["purpose"], journey)


def _quiet(quiet: Section) -> QuietHours:
    if quiet["from"] == quiet["to"] and quiet["from"] is not None:
        quiet.wrong("to", f"quiet hours from {quiet['from']:%H:%M} to the same time are never or always: say which.")
    return QuietHours(quiet["from"], quiet["to"], quiet["purposes"], quiet["channels"])


def _suppression(name: str, rule: Section, known: Known) -> Suppression:
    check_facts(rule["while"], known, rule.place, rule.at("while"))
    for journey in rule["except"]:
        check_known(journey, known.journeys, rule.place, rule.at("except"), what=f"suppression {name!r} spares journey")
    return Suppression(name, rule["while"], rule["reason"] or "", rule["purposes"], rule["except"])


def _ranking(section: Section, known: Known) -> dict[str, float]:
    ranking: dict[str, float] = {}
    for journey, said in section["ranking"].items():
        check_known(journey, known.journeys, section.place, section.at("ranking"), what="the ranking names journey")
        ranking[journey] = float(amount(section, "ranking", said, known.currency))
    return ranking
