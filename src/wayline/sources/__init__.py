"""How other systems' data come in: files, read by a declared mapping into the messages a tracking client would send.

| module | what it holds |
|---|---|
| `mapping` | the text that says which columns become which message, compiled with all its problems at once |
| `tables` | CSV, Parquet and JSON as rows, the bad ones apart |
| `documents` | JSON lines and documents as rows, a column being a path |
| `archives` | a zip as the files in it, unpacked within bounds |
| `feeds` | a catalogue as messages about products |
| `merchant` | Google Merchant feeds in XML, read as they come, without document types |
| `messages` | rows to messages: what is skipped, grouped, refused, and why |
| `opening` | the receivers of signed calls, made from what wayline.toml says of each source |
| `facts` | what a shop's resource says, as messages with ids by the body alone |
| `topics` | which topic of a shop says what, and that no header is believed about it |
| `shopify` | Shopify's topics, read by `shopify_orders`, `shopify_people`, `shopify_shelf` |
| `woocommerce` | WooCommerce's topics, read by `woocommerce_orders`, `woocommerce_shelf` |
| `signed` | signatures of calls, checked over the raw bytes in constant time; the generic webhook |
| `bodies` | the text that says where in another system's JSON a message's parts are |
| `reports` | what providers tell of messages, in one form: whose address, which message, by a machine or not |
| `ses` `sendgrid` `postmark` `mailgun` `twilio` | a provider each: how it signs, and what it says |
| `tickets` | service desks: a plain form, and Zendesk's |

Nothing here writes anything; `runtime.importing` and `serving.webhooks` bring the messages into the log.

A **receiver** makes messages out of a signed call. What it makes is a function of the body alone, ids included: the
headers that name a delivery are not signed, so a replay that changes them must find the same ids. It reads the version
of a resource (`updated_at`) into the message's time, so that an older one never overwrites a newer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

__all__ = ["Call", "NotNow", "Receiver", "RefusedRow", "Row", "Told", "Unsigned"]


class Row(Struct, frozen=True):
    """One row of a file: its place (the line in a CSV, the row in a Parquet file) and its cells as they stand there."""

    place: int
    cells: tuple[Any, ...]


class RefusedRow(Struct, frozen=True):
    """A row that became no message: a code to count by, a reason that ends with the way out."""

    place: int
    code: str
    reason: str
    cells: tuple[Any, ...] = ()
    """In the order of the file's header; empty where the line could not be cut into cells."""
    text: str = ""
    """The line itself, where it could not be cut into cells."""


class Told(Struct, frozen=True):
    """A message as a tracking client would send it, and the rows it was made of."""

    message: Mapping[str, Any]
    rows: tuple[Row, ...]


class Call(Struct, frozen=True, kw_only=True):
    """One call of another system, as it arrived."""

    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes
    """As it came over the wire, undecoded: signatures are over these bytes."""
    url: str = ""
    """As the caller wrote it, for signatures that cover it."""
    peer: str = ""
    """The address the call came from: a proxy's, where one stands in front."""
    received_at: datetime


class Unsigned(Exception):
    """A call whose signature is missing, wrong or too old: whoever sent it is nobody we know."""


class NotNow(Exception):
    """A call that cannot be checked just now, for reasons of ours: the caller is asked to come again."""


class Receiver(Protocol):
    """Makes messages out of the signed calls of one source."""

    def check(self, call: Call) -> None:
        """Raise `Unsigned`, with what was expected, unless this source signed it. Asked before anything is read."""
        ...

    def messages(self, call: Call) -> Sequence[Mapping[str, Any]]:
        """What it tells, as messages of a tracking client; none for a call that tells nothing (a ping).

        Raises `Rejected` where the body as a whole cannot be used: it is kept with that reason.
        """
        ...
