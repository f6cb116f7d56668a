"""What `[sources.NAME]` may say, by its kind: who sends, and how we know that it is them.

A secret that must be had to check a signature stands in the environment of the process (`..._env`), never in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from ipaddress import ip_network
from typing import Final

from wayline.playbook.grammar import Duration, Field, Kinds, Listing, Number, Record, Section, Text, YesNo

__all__ = ["ENVIRONMENT", "KEY_PREFIXES", "OURS", "SCOPES", "SOURCE", "check_sources"]

OURS: Final = "wayline"
"""The source of events the engine writes itself."""

ENVIRONMENT: Final = Text(pattern=r"[A-Za-z_][A-Za-z0-9_]{0,127}", means="the name of a variable of the environment")
"""Where a secret is that is kept out of every file."""

KEY_PREFIXES: Final = ("wlp_", "wls_")
"""What new keys begin with, public and secret, so that people and scanners of published code know one on sight."""

SCOPES: Final = ("events", "webhooks", "decide", "read", "identity", "privacy", "admin")
"""What a secret key may be good for."""

_WRITE_KEY: Final = Text(
    # A secret key in this place would be written down in the open, and in every page of the shop.
    pattern=rf"(?!{KEY_PREFIXES[1]})[A-Za-z0-9_.-]{{8,200}}",
    means=f"a key of 8 to 200 letters, digits, '_', '-' and '.' that does not begin with {KEY_PREFIXES[1]!r}",
)
_SECRET_HASH: Final = Text(pattern=r"[0-9a-f]{64}", means="a SHA-256 hash in 64 hexadecimal digits")
_KEY: Final = Record(
    {
        "write_key": Field(_WRITE_KEY, "A public key."),
        "secret_key_sha256": Field(_SECRET_HASH, "The hash of a secret key."),
        "scopes": Field(
            Listing(Text(SCOPES, means="a scope"), single=True, least=1, most=len(SCOPES)),
            "What a secret key is good for; `events` if not said.",
        ),
        "expires_on": Field(
            Text(pattern=r"[0-9]{4}-[0-9]{2}-[0-9]{2}", means="a day such as 2026-12-31"),
            "The last day it works, in UTC; it works for ever if none is said.",
        ),
    },
    "a key",
)


def _kind(name: str, means: str) -> Field:
    return Field(Text((name,), means="a kind"), means)


_USER_ID_FROM: Final = Field(
    Text(("customer_id", "email"), means="what the shop's own tracking calls a person by"),
    "What the shop's own tracking sends as `userId` of whoever has logged in; `customer_id` if not said.",
)

_DROPPED: Final = {
    "inbox": Field(Text(), "The folder; `inbox/NAME` in the shop's folder if not said."),
    "every": Field(Duration(), "How often it is looked into; 10 seconds if not said."),
    "complete": Field(
        Text(("settled", "marker"), means="when a file is whole"),
        "When a file is whole: `settled`, once it has not changed for a while, or `marker`, once FILE.done stands "
        "beside it; `settled` if not said.",
    ),
    "settle": Field(Duration(), "How long a file must not have changed; 10 seconds if not said."),
    "keep": Field(Duration(), "How long files that are done are kept; 30 days if not said."),
}
_POLL_FIELDS: Final = {
    "api_url": Field(
        Text(pattern=r"https?://[^\s?#]+", means="a web address without a query"),
        "Where the shop's API is: https://NAME.myshopify.com/admin/api/2025-01, or https://SHOP/wp-json/wc/v3.",
        required=True,
    ),
    "every": Field(Duration(), "How often the shop is asked; every 15 minutes if not said."),
    "overlap": Field(Duration(), "How far before the last change it is asked again; 1 hour if not said."),
    "settle": Field(Duration(), "How long a change is left to its webhook; 2 minutes if not said."),
    "allow_private": Field(
        YesNo(), "The API is in a network of our own: inward addresses and other ports may be asked.", default=False
    ),
}
_SHOPIFY_POLL: Final = Record(
    {
        **_POLL_FIELDS,
        "token_env": Field(ENVIRONMENT, "Where the app's Admin API access token is.", required=True),
    },
    "how a shop on Shopify is asked",
)
_WOOCOMMERCE_POLL: Final = Record(
    {
        **_POLL_FIELDS,
        "consumer_key_env": Field(ENVIRONMENT, "Where the API's consumer key is.", required=True),
        "consumer_secret_env": Field(ENVIRONMENT, "Where the API's consumer secret is.", required=True),
    },
    "how a shop on WooCommerce is asked",
)


def _poll(record: Record) -> Field:
    return Field(record, "How the shop's API is asked for what no webhook told; it is not asked if not said.")


def _secret(means: str) -> Field:
    return Field(ENVIRONMENT, f"{means}; two of them apart by a space while it is being replaced.", required=True)


def _lists(means: str, what: str, *, required: bool = False) -> Field:
    default = None if required else ()
    return Field(Listing(Text(means=what), single=True, least=1, most=20), means, required=required, default=default)


_HEADER: Final = Text(pattern=r"[A-Za-z][A-Za-z0-9-]{0,60}", means="the name of a header")

SOURCE: Final = Kinds(
    {
        "tracking": Record(
            {
                "kind": _kind("tracking", "A client of the tracking API; what is meant if none is said."),
                "write_key": Field(
                    _WRITE_KEY, "A public key, for browsers and apps: anybody can read it there, so it may tell less."
                ),
                "secret_key_sha256": Field(
                    _SECRET_HASH, "The hash of a secret key, for servers; the key itself is in no file."
                ),
                "keys": Field(
                    Listing(_KEY, most=16),
                    "More keys, each with its day and its scopes: `wayline keys new` writes them.",
                    default=(),
                ),
                "origins": Field(
                    Listing(
                        Text(
                            pattern=r"https?://[a-z0-9.-]+(:[0-9]{1,5})?",
                            means="a page's origin such as 'https://www.larkfell.example', in small letters",
                        ),
                        single=True,
                        least=1,
                        most=100,
                    ),
                    "The pages from which its write keys may send, as browsers name them; any if none is said.",
                    default=(),
                ),
                "requests_per_second": Field(
                    Number(0.01, 1e6), "How many requests by each of its keys are taken; `[collector]` says it for all."
                ),
                "identity_secret_env": Field(
                    ENVIRONMENT,
                    "Where the secret is that the shop's server signs identity tokens with; 32 characters or more.",
                ),
            },
            "a source",
        ),
        "drop": Record(
            {
                "kind": _kind("drop", "A folder that tills and exports put files into: docs/how-to/stores.md."),
                "mapping": Field(
                    Listing(Text(), single=True, least=1, most=32),
                    "How files are read: a mapping or set that comes with Wayline, or a path; of several, the first "
                    "whose columns a file has.",
                    required=True,
                    default=(),
                ),
                "fires": Field(
                    YesNo(), "Whether what a file tells may start journeys; yes if not said. History starts nothing."
                ),
                **_DROPPED,
            },
            "a drop folder",
        ),
        "catalog": Record(
            {
                "kind": _kind("catalog", "A folder that product feeds are put into: docs/how-to/catalogue.md."),
                "format": Field(
                    Text(("auto", "csv", "google-merchant"), means="a format of catalogues"),
                    "What they are; by looking if not said.",
                ),
                "full": Field(
                    YesNo(), "Whether each lists all there is, so that what it lacks cannot be bought; no if not said."
                ),
                "fires": Field(YesNo(), "Whether they may wake who waits for stock or a price; yes if not said."),
                **_DROPPED,
            },
            "a folder of catalogues",
        ),
        "webhook": Record(
            {
                "kind": _kind("webhook", "Any system that signs its calls as Standard Webhooks says."),
                "secret_env": _secret("Where the secret is, `whsec_` and base64 (with `header`: the secret itself)"),
                "mapping": Field(Text(), "A file in this folder that says how its JSON becomes messages."),
                "header": Field(_HEADER, "A header with the HMAC-SHA256 of the body, instead of Standard Webhooks."),
                "encoding": Field(Text(("hex", "base64"), means="an encoding"), "Of that header; hex if left out."),
                "prefix": Field(Text(), "What stands before the signature in that header, such as `sha256=`."),
            },
            "a webhook source",
        ),
        "shopify": Record(
            {
                "kind": _kind("shopify", "A shop on Shopify: docs/how-to/shopify.md."),
                "secret_env": Field(
                    ENVIRONMENT,
                    "Where the app's client secret is; two of them apart by a space while it is being replaced.",
                    required=True,
                ),
                "user_id_from": _USER_ID_FROM,
                "poll": _poll(_SHOPIFY_POLL),
            },
            "a Shopify source",
        ),
        "woocommerce": Record(
            {
                "kind": _kind("woocommerce", "A shop on WooCommerce: docs/how-to/woocommerce.md."),
                "secret_env": Field(
                    ENVIRONMENT,
                    "Where the webhooks' secret is; two of them apart by a space while it is being replaced.",
                    required=True,
                ),
                "user_id_from": _USER_ID_FROM,
                "poll": _poll(_WOOCOMMERCE_POLL),
            },
            "a WooCommerce source",
        ),
        "ses": Record(
            {
                "kind": _kind("ses", "Amazon SES, by notifications of Amazon SNS."),
                "topics": _lists("The topics it is told by; others are refused.", "a topic's ARN", required=True),
                "certificates": _lists(
                    "Files in this folder with the certificate of SNS, where it is not to be fetched.", "a file"
                ),
                "confirm": Field(YesNo(), "Confirm a subscription to one of these topics when SNS asks."),
            },
            "an SES source",
        ),
        "sendgrid": Record(
            {
                "kind": _kind("sendgrid", "SendGrid's signed event webhook."),
                "public_key": _lists(
                    "The verification key it shows; two while it is being replaced.", "a public key", required=True
                ),
            },
            "a SendGrid source",
        ),
        "postmark": Record(
            {
                "kind": _kind("postmark", "Postmark's webhooks, which are not signed: a secret of ours proves them."),
                "secret_env": _secret("Where `name:password` is, as in the webhook's address"),
                "header": Field(_HEADER, "A header that holds the secret, instead of the address."),
                "networks": _lists("Calls from other networks are refused; none behind a proxy.", "a network"),
            },
            "a Postmark source",
        ),
        "mailgun": Record(
            {
                "kind": _kind("mailgun", "Mailgun's webhooks."),
                "secret_env": _secret("Where the HTTP webhook signing key is"),
            },
            "a Mailgun source",
        ),
        "twilio": Record(
            {
                "kind": _kind("twilio", "Twilio's status callbacks and incoming texts."),
                "secret_env": _secret("Where the account's auth token is"),
            },
            "a Twilio source",
        ),
        "zendesk": Record(
            {
                "kind": _kind("zendesk", "Zendesk's webhooks about tickets."),
                "secret_env": _secret("Where the webhook's signing secret is"),
            },
            "a Zendesk source",
        ),
        "tickets": Record(
            {
                "kind": _kind(
                    "tickets", "Any service desk that sends the plain form, signed as Standard Webhooks says."
                ),
                "secret_env": _secret("Where the secret is, `whsec_` and base64"),
            },
            "a service desk",
        ),
    },
    "tracking",
    "a source",
)


def check_sources(sources: Mapping[str, Section], settings: Section) -> None:
    """A key tells who sends, so no two sources share one, and none takes the name of the engine's own events."""
    holders: dict[str, str] = {}
    for name, source in sources.items():
        if name == OURS:
            settings.wrong("sources", f"{OURS!r} is what the engine's own events carry. Call the source otherwise.")
        if (source.values.get("kind") or SOURCE.usual) == "tracking" and not _is_unknown(source):
            _check_keys(name, source, holders)
        for each in source.values.get("networks") or ():
            _check_network(source, each)


def _is_unknown(source: Section) -> bool:
    """Whether it says a kind that there is not, which has been told: nothing else of it can be judged."""
    return "kind" in source.nodes and not source.values["kind"]


def _check_network(source: Section, said: str) -> None:
    try:
        ip_network(said)
    except ValueError:
        source.wrong("networks", f"expected networks such as '203.0.113.7/32', found {said!r}.")


_KEYS: Final = ("write_key", "secret_key_sha256")


def _check_keys(name: str, source: Section, holders: dict[str, str]) -> None:
    if not source.nodes.keys() & {*_KEYS, "keys"}:
        source.place.wrong(
            source.node, f"source {name!r} has no key. Give it a 'write_key' (public) or a 'secret_key_sha256'."
        )
    for each in source["keys"]:
        _check_key(each)
    for each in (source, *source["keys"]):
        for field in _KEYS:
            other = holders.setdefault(each[field], name) if each[field] else name
            if other != name:
                each.wrong(field, f"source {other!r} has this key too. Give each source a key of its own.")


def _check_key(key: Section) -> None:
    said = [field for field in _KEYS if field in key.nodes]
    if len(said) != 1:
        came = "both" if said else "neither"
        key.place.wrong(key.node, f"expected a 'write_key' or a 'secret_key_sha256', found {came}.")
    if key["scopes"] and "write_key" in key.nodes:
        key.wrong("scopes", "a public key may only append. Give scopes to a 'secret_key_sha256'.")
    try:
        date.fromisoformat(key["expires_on"] or "2000-01-01")
    except ValueError:
        key.wrong("expires_on", f"expected a day such as 2026-12-31, found {key['expires_on']!r}.")
