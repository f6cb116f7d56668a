"""What is kept: a log of events (the collector's) and a state (the engine's), behind one protocol.

Two parts with one writer each. The log holds what happened, pseudonymous, in the order it was acknowledged. The state
holds where every customer stands, what was decided, what waits to leave, and the log position all of that includes.
Only the modules of this package know a table name. One contract suite (`tests/contracts/`) runs over every
implementation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from wayline.domain import (
    Address,
    Customer,
    Decision,
    EntryRefusal,
    Event,
    Hold,
    Identifier,
    Link,
    Memory,
    Merge,
    Product,
    Purpose,
    Review,
    Split,
    Standing,
    Tie,
)

if TYPE_CHECKING:
    from wayline.store.encoding import Encoded
    from wayline.store.told import Told

__all__ = [
    "REJECTED_BODY_MAX",
    "REJECTED_BYTES_MAX",
    "Appended",
    "Batch",
    "Change",
    "Delivery",
    "DeliveryState",
    "Link",
    "Log",
    "Merge",
    "Rejection",
    "SetAside",
    "State",
    "Vault",
    "Volume",
]

REJECTED_BODY_MAX: Final = 512 << 10
"""Bytes that are kept of one rejected event: of a larger one the beginning, so that a person sees what it was."""
REJECTED_BYTES_MAX: Final = 1 << 30
"""Bytes that are kept of all of them: the oldest go, and stay counted."""

DeliveryState = Literal["pending", "attempting", "sent", "withheld", "unknown", "refused", "dead"]


class Appended(Struct, frozen=True):
    """The verdict on one append: stored + duplicates + conflicts + unstorable is what was offered."""

    stored: int
    duplicates: int
    conflicts: int
    """Same (source, event_id) with other content: the first is kept, the second is stored beside it, flagged."""
    head: int
    unstorable: int = 0
    """Events no file could hold (an integer beyond 64 bits): kept as rejections, while their neighbours are stored."""
    beside: Mapping[tuple[str, str], int] = {}
    """How many of which source were not stored, by (source, `duplicate` | `conflict` | `unstorable`)."""


class Rejection(Struct, frozen=True, kw_only=True):
    """An event that was not accepted, kept whole with the reason; `body` is sealed at rest."""

    source: str
    event_id: str
    name: str
    code: str
    field: str
    reason: str
    received_at: datetime
    body: bytes
    trusted: bool = False
    """Whether its key was secret: offered again, it must not say more than it could."""
    fires: bool = True
    sent_at: datetime | None = None
    """The batch's, by which its times are corrected."""
    is_cut: bool = False
    """Whether only the beginning of `body` was kept: such a message cannot be offered again."""
    named: Mapping[str, str] = {}
    """Whom its identity token named, which is not kept itself: offered again, it is believed as much and no more."""
    customer_id: str = ""
    """Whose message its click token came from."""
    doubts: tuple[str, ...] = ()
    """What was wrong with its tokens."""

    def within(self, bytes_max: int) -> Rejection:
        """The same with no more of its body than that."""
        return self if len(self.body) <= bytes_max else replace(self, body=self.body[:bytes_max], is_cut=True)


class Volume(Struct, frozen=True):
    """What came of one name from one source in one hour, by the clock of the log."""

    hour: datetime
    source: str
    name: str
    stored: int
    duplicates: int
    conflicts: int
    rejected: int
    late: int
    """Of those stored: more than an hour between happening and arriving."""
    imported: int
    """Of those stored: history, which starts nothing and is never late."""
    unverified: int
    """Of those stored: by a public key."""
    broken: int
    """Of those stored: against what was agreed of the signal."""


class SetAside(Struct, frozen=True):
    """A stored event of which no turn can be taken, with the reason: kept, shown, never retried in a loop."""

    position: int
    customer_id: str
    reason: str
    at: datetime


class Delivery(Struct, frozen=True, kw_only=True):
    """One row of the outbox. Unique by decision id: a repeated commit cannot send twice."""

    decision_id: str
    customer_id: str
    channel: str
    delivers: bool
    """False in the control arm: the same row, the same hand-over, no provider called."""
    purpose: Purpose
    lane: str
    journey: str
    content: str
    state: DeliveryState
    created_at: datetime
    due_at: datetime
    address: str = ""
    attempts: int = 0
    lease_until: datetime | None = None
    settled_at: datetime | None = None
    detail: str = ""
    provider_id: str = ""


class Change(Struct, frozen=True):
    """A decision or an outbox row as it is now, and the number of the change that made it so."""

    number: int
    row: Decision | Delivery


class Batch(Struct, kw_only=True):
    """All that a micro-batch of turns changed: committed in one transaction, whole or not at all."""

    position: int | None = None
    standings: dict[str, Standing] = {}
    checkpoints: dict[str, Memory] = {}
    links: list[Link] = []
    """Appended; the last one committed for an identifier is the one that resolves."""
    merges: list[Merge] = []
    """The loser's wake and topics go; whatever else it had stays under its id and is read with the survivor's."""
    splits: list[Split] = []
    """Each ends the merge of its loser into its survivor; they come before the merges of the same batch."""
    reviews: list[Review] = []
    """An open one is kept once for its pair, with the higher confidence; one that was decided replaces it."""
    decisions: list[Decision] = []
    """Insert if absent: on a conflict the stored one wins."""
    holds: list[Hold] = []
    deliveries: list[Delivery] = []
    """Upsert by decision id, along the table of `store.outbox`: a move it does not have is Broken.

    A row given back to `pending` must have counted its attempt, or it is taken for a repeat of its first commit.
    """
    addresses: list[Address] = []
    products: list[Product] = []
    spends: dict[str, int] = {}
    """Added to what was spent before."""
    refused_entries: list[tuple[str, EntryRefusal]] = []
    set_aside: list[SetAside] = []
    topics: dict[str, tuple[str, ...]] = {}
    """Customer id to the whole set of topics it waits on."""
    notes: dict[str, bytes] = {}
    """Small named values of the runtime."""
    shipped: int | None = None
    """Changes up to this number are in the lake and need not be told again."""


class Log(Protocol):
    """What happened, in the order it was acknowledged. One writer."""

    def append(self, events: Sequence[Event | Encoded], rejections: Sequence[Rejection] = ()) -> Appended:
        """Store durably, then return; unique by (source, event_id). Raises StoreUnavailable if nothing was stored.

        What was made ready elsewhere (`store.encoding`) is stored as it is.
        """
        ...

    def holds(self, keys: Sequence[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        """Those of these keys (source, event_id) under which an event is stored."""
        ...

    def read(self, after: int, count_max: int) -> list[Event]:
        """Events with a position above `after`, in order."""
        ...

    def named(self, names: Sequence[str], after: int = 0) -> Iterator[Event]:
        """Events of these names with a position above `after`, in order: what a report reads, without the rest."""
        ...

    def about(self, identifiers: Sequence[Identifier], count_max: int) -> list[Event]:
        """The newest `count_max` events that carry any of these identifiers, in order.

        A scan of the whole log, as long for a thousand identifiers as for a few: for a person who looks at one
        timeline, and for a split; never for turns.
        """
        ...

    def chronicle(self) -> Iterator[Event]:
        """Every event by when the shop knew of it (`known_at`), then by position: history as it can be lived again."""
        ...

    def head(self) -> int:
        """The position of the newest acknowledged event; 0 when empty."""
        ...

    def rejections(self, count_max: int = 1000) -> list[Rejection]:
        """The newest rejected events with their reasons, newest first."""
        ...

    def rejected(self, before: int, count_max: int, *, is_whole: bool = True) -> list[tuple[int, Rejection]]:
        """Rejected events numbered below `before` (0: all) with their numbers, newest first; else without bodies."""
        ...

    def rejected_numbers(self, before: int, count_max: int) -> list[int]:
        """The numbers alone, of which none is opened; newest first."""
        ...

    def rejected_kept(self) -> int:
        """How many rejected events are kept; to know it opens none."""
        ...

    def let_go(self, numbers: Sequence[int]) -> int:
        """Keep these rejected events no longer: they were offered again. They stay counted; how many there were."""
        ...

    def volumes(self, since: datetime) -> list[Volume]:
        """How much came from whom, by the hour, from that hour on; oldest first."""
        ...

    def conflicts(self, count_max: int = 1000) -> list[Event]:
        """What else was said under a key already taken; its position is that of the event that holds the key."""
        ...

    def counts(self) -> Mapping[str, int]:
        """`stored`, `duplicate`, `conflict`, `rejected` since the log began."""
        ...

    def close(self) -> None:
        """Give the file up."""
        ...


class State(Protocol):
    """Where everybody stands. One writer; reads see the last commit."""

    def commit(self, batch: Batch) -> None:
        """Write all of it durably in one transaction. Raises StoreUnavailable with nothing written."""
        ...

    def position(self) -> int:
        """Log position that everything here includes."""
        ...

    def load(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        """Standing and newest checkpoint of each known id; ids never seen are absent."""
        ...

    def resolve(self, identifiers: Sequence[Identifier]) -> dict[Identifier, str]:
        """The customer each known identifier belongs to, merges followed."""
        ...

    def ties(self, identifiers: Sequence[Identifier]) -> dict[Identifier, Tie]:
        """The same with how sure the way there is: the weakest merge of it, the link itself where there is none."""
        ...

    def links(self, customer_id: str) -> list[Link]:
        """The evidence for one customer and all who were merged into it, oldest first."""
        ...

    def merges(self, customer_id: str | None = None) -> list[Merge]:
        """How this customer came to be one person: every merge that ends in it, oldest first; None: all."""
        ...

    def merges_count(self, customer_id: str) -> int:
        """How many customers were merged into this one, directly or through others."""
        ...

    def splits(self, customer_id: str | None = None) -> list[Split]:
        """The merges that were taken back, of which this customer was a side, oldest first; None: all."""
        ...

    def reviews(self, states: Sequence[str] = (), customer_id: str | None = None) -> list[Review]:
        """Questions whether two customers are one: in these states, of this customer; surest first, then by id."""
        ...

    def review(self, review_id: str) -> Review | None:
        """One of them."""
        ...

    def holders(self, identifier: Identifier) -> list[Link]:
        """Every link ever made of one identifier, oldest first: all who were seen with it."""
        ...

    def survivor(self, customer_id: str) -> str:
        """The id this one resolves to after all merges; itself if never merged."""
        ...

    def due(self, now: datetime, count_max: int) -> list[tuple[datetime, str]]:
        """(wake_at, customer_id) with wake_at <= now, earliest first."""
        ...

    def next_due(self) -> datetime | None:
        """The earliest wake_at or pending delivery's due_at of all."""
        ...

    def waiting_on(self, topics: Sequence[str]) -> list[str]:
        """Customers who asked to be told when one of these topics changes."""
        ...

    def outbox(self, state: DeliveryState, now: datetime, count_max: int) -> list[Delivery]:
        """Rows in that state: pending ones that are due, attempting ones whose lease has run out; earliest first."""
        ...

    def delivery(self, decision_id: str) -> Delivery | None:
        """The outbox row of one decision."""
        ...

    def decision(self, decision_id: str) -> Decision | None:
        """One decision as it was recorded."""
        ...

    def decisions(self, customer_id: str | None = None) -> Iterator[Decision]:
        """Recorded decisions in order of decided_at, of one customer (and those merged into it) or of all."""
        ...

    def deliveries(self, customer_id: str | None = None) -> Iterator[Delivery]:
        """Outbox rows in order of creation, of one customer (and those merged into it) or of all."""
        ...

    def changes(self, after: int, count_max: int) -> list[Change]:
        """What was written since change `after`, oldest first, until it is `shipped`; a row may come more than once."""
        ...

    def refused_entries(self) -> Iterator[tuple[str, EntryRefusal, int]]:
        """(customer_id, refusal, count): who would have entered a journey and was not let in."""
        ...

    def set_asides(self) -> list[SetAside]:
        """Events of which no turn could be taken."""
        ...

    def address(self, channel: str, key: str) -> Address | None:
        """What is known of one mailbox or number."""
        ...

    def products(self) -> Iterator[Product]:
        """The whole catalogue."""
        ...

    def spent(self) -> Mapping[str, int]:
        """What was taken of each shared budget."""
        ...

    def customer_ids(self) -> Iterator[str]:
        """Every surviving customer."""
        ...

    def note(self, name: str) -> bytes | None:
        """A small named value kept with the state."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Rows by table and deliveries by state, for gauges and `doctor`."""
        ...

    def close(self) -> None:
        """Give the file up."""
        ...


class Vault(Protocol):
    """The one place of personal values: sealed with a key per subject, dropped with that key."""

    def keyed(self, kind: str, value: str) -> str:
        """The pseudonym of an identifier: a keyed hash, the same for ever in this installation."""
        ...

    def keep(self, told: Sequence[Told]) -> None:
        """Merge in what events told of people: of two values of one name the one of more weight stays.

        In whatever order it is told and however often, the same values stay.
        """
        ...

    def put(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Subject (an identifier's `kind:hash`) to personal values that no event told: over each other, and no more."""
        ...

    def get(self, subjects: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Personal values of the known subjects."""
        ...

    def forget(self, subjects: Sequence[str]) -> int:
        """Drop the keys and the rows; how many there were."""
        ...

    def close(self) -> None:
        """Give the file up."""
        ...
