"""The nouns: what happened, who it was, what we could do, what was decided and why.

Everything here is a frozen value, and none can hold itself, so the garbage collector is spared them (`gc=False`).
Nothing here does anything: the verbs are `fold` (interpretation), `advance` and
`decide` (orchestration) and `take_turn` (engine). Instants are aware datetimes in UTC, money is integer minor units,
shares and confidences are 0 to 1. An identifier's value is pseudonymous (a keyed hash) everywhere but at the edge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Literal, Protocol, TypeAlias

from msgspec import Struct

from wayline.conditions import Condition

__all__ = [
    "CONTACTS_MAX", "ENROLLMENTS_MAX", "STAGES", "STEPS_MAX", "Action", "Address", "Addresses", "Ask", "Assignment",
    "Branch", "Cap", "Catalog", "Claim", "Consent", "Contact", "Content", "Control", "Customer", "Decision", "End",
    "Enrollment", "EntryRefusal", "Estimate", "Event", "Facet", "Facts", "HandOver", "Hold", "Identifier",
    "Interpreter", "Journey", "JourneyStep", "Lane", "Link", "Memory", "Merge", "Message", "Owner", "Playbook",
    "Policy", "Product", "Proposal", "Propose", "Purpose", "Question", "QuietHours", "Ranked", "Receipt", "Reentry",
    "Refusal", "Register", "Review", "Schedule", "Signal", "Split", "Stage", "Stamp", "Standing", "Stimulus",
    "Suppression", "Tally", "Tie", "Turn", "Verdict", "Wait", "Wake", "World",
]  # fmt: skip

Purpose: TypeAlias = Literal["marketing", "transactional", "service"]
Lane: TypeAlias = Literal["owed", "marketing", "onsite"]
Stage: TypeAlias = Literal[
    "awareness", "consideration", "purchase", "fulfillment", "post_purchase", "loyalty", "win_back", "advocacy"
]
STAGES: tuple[Stage, ...] = (
    "awareness", "consideration", "purchase", "fulfillment", "post_purchase", "loyalty", "win_back", "advocacy",
)  # fmt: skip

STEPS_MAX = 32  # a turn that walks more steps than this is a loop in the journey, not a long journey
CONTACTS_MAX = 64  # contacts remembered in a standing; caps count no further back than these
ENROLLMENTS_MAX = 64  # enrollments remembered, closed ones included; the oldest closed go first

Stamp: TypeAlias = tuple[datetime, str, str]  # (occurred_at, source, event_id): the order of a customer's events
Facts: TypeAlias = Callable[[str], Any]  # the closed namespace: a name to what is known of it now, None if unknown

# ------------------------------------------------------------------ what happened


class Identifier(Struct, frozen=True, gc=False, order=True, array_like=True):
    """One handle on a person: kind (user_id, anonymous_id, email, phone, device_id, ...) and its keyed hash."""

    kind: str
    value: str


class Event(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Something that happened, as it was told to us; never edited."""

    event_id: str
    source: str
    name: str
    occurred_at: datetime
    received_at: datetime
    kind: Literal["track", "identify", "page", "screen", "group", "alias", "internal"] = "track"
    identifiers: tuple[Identifier, ...] = ()
    properties: Mapping[str, Any] = {}
    context: Mapping[str, Any] = {}
    notes: tuple[str, ...] = ()
    position: int = 0
    """Place in the log; 0 before it is stored."""
    fires: bool = True
    """False for imported history: it is remembered, and starts nothing."""
    personal: str = ""
    """A keyed hash of the personal values it told, by which one sent again with others is seen to be another."""
    match_confidence: float | None = None
    """How sure we are whose it is, where the device it came through says less than the person's own; not stored."""

    @property
    def stamp(self) -> Stamp:
        """What orders this event among its customer's: never the time it arrived."""
        return (self.occurred_at, self.source, self.event_id)

    @property
    def known_at(self) -> datetime:
        """When the shop knew of it: imported history, which came all at once, counts from when it happened."""
        return self.received_at if self.fires else self.occurred_at


class Wake(Struct, frozen=True, gc=False):
    """The customer asked for attention at this instant, and it has come."""

    due_at: datetime


class Ask(Struct, frozen=True, gc=False):
    """A page, app or till asks what to show now, and waits for the answer."""

    request_id: str
    placement: str
    context: Mapping[str, Any] = {}
    match_confidence: float | None = None
    """How sure we are that it is they who look, by what the page asked with; None: as sure as of the person."""


class Receipt(Struct, frozen=True, gc=False, omit_defaults=True):
    """What the channel said of one attempt.

    `sent` and `withheld` (control arm) settle it; `refused` and `dead` prove that nothing was delivered; `unknown`
    proves nothing and so keeps its cap slot. `dead` also says the address is no good: suppress it.
    """

    outcome: Literal["sent", "withheld", "unknown", "refused", "dead"]
    at: datetime
    detail: str = ""
    provider_id: str = ""
    retry_at: datetime | None = None
    """`refused` only: not now, but the same message may be offered again from here on. None: do not offer it again."""


class HandOver(Struct, frozen=True, gc=False):
    """A decided message is about to leave (no receipt yet), or the channel has answered (with one)."""

    decision: Decision
    receipt: Receipt | None = None


Stimulus: TypeAlias = Event | Wake | Ask | HandOver

# ------------------------------------------------------------------ who it was


class Register(Struct, frozen=True, gc=False, array_like=True):
    """A value with the stamp that decides which of two survives."""

    stamp: Stamp
    value: Any


class Consent(Struct, frozen=True, gc=False, array_like=True):
    """The latest grant and the latest withdrawal for one channel and purpose.

    A grant counts from the earlier of when it happened and when we heard; a withdrawal from when we heard. So neither
    a late nor a forged time can revive a withdrawn consent, and the order of arrival does not matter.
    """

    granted_at: datetime | None = None
    withdrawn_at: datetime | None = None
    wording_version: str = ""
    method: str = ""

    @property
    def is_granted(self) -> bool:
        """Whether sending is allowed now; equal instants read as withdrawn."""
        return self.granted_at is not None and (self.withdrawn_at is None or self.granted_at > self.withdrawn_at)


class Memory(Struct, frozen=True, gc=False):
    """What we remember of a person: a cache of the log, to be folded again at will."""

    identifiers: tuple[Identifier, ...] = ()
    traits: Mapping[str, Register] = {}
    consents: Mapping[str, Consent] = {}
    """By `channel:purpose`, such as `email:marketing`; `all:objection` is an objection to direct marketing."""
    facets: Mapping[str, Any] = {}
    """Facet name to its state; only `interpretation.facets` knows the shapes."""
    position: int = 0
    """Log position of the newest event folded in."""


class Enrollment(Struct, frozen=True, gc=False, array_like=True):
    """One customer's place in one journey."""

    journey: str
    key: str
    version: str
    step: str
    entered_at: datetime
    """The triggering event's occurred_at: goals and exits compare with it, re-entry counts from it."""
    step_entered_at: datetime
    wake_at: datetime | None = None
    status: Literal["open", "converted", "exited", "ended", "merged"] = "open"
    steps_taken: int = 0
    pending: str | None = None
    """Decision id of the message of this step that is decided and not settled."""
    attempt: int = 0
    """Index of the first action of the step still to be tried; those before it failed at hand-over."""
    trigger: Mapping[str, Any] = {}
    """Properties of the event that entered this person, those the journey says it carries."""
    topics: tuple[str, ...] = ()
    """What in the world would lift the refusals of this step (`stock:SKU`, `price:SKU`)."""
    held: str | None = None
    """Decision id of the hold being repeated, so that repeats are one row with a count."""

    @property
    def is_open(self) -> bool:
        """Whether the journey still goes on for this customer."""
        return self.status == "open"


class Contact(Struct, frozen=True, gc=False, array_like=True):
    """A decision that reached, or would have reached, the customer; while `reserved` it holds its cap slots."""

    decision_id: str
    at: datetime
    channel: str
    purpose: Purpose
    lane: Lane
    journey: str
    """`tool:NAME` for a message that another tool sent."""
    content: str
    state: Literal["reserved", "handed_over", "settled", "unknown"] = "reserved"
    claims: tuple[str, ...] = ()
    """What the message said is true, as resolved claims (`in_stock:SKU`), to find contradictions."""
    delivers: bool = True


class Assignment(Struct, frozen=True, gc=False, array_like=True):
    """The arm of this customer in one experiment, fixed at first exposure."""

    arm: str
    exposed_at: datetime | None = None
    contaminated: bool = False
    """Both sides of a merge had been exposed to different arms: counted, and left out of the analysis."""


class Standing(Struct, frozen=True, gc=False, array_like=True):
    """Where a customer stands with us: not in the log, so written through with every turn that changes it."""

    enrollments: tuple[Enrollment, ...] = ()
    contacts: tuple[Contact, ...] = ()
    assignments: Mapping[str, Assignment] = {}
    wake_at: datetime | None = None
    """The earliest moment any journey wants attention: the only timer there is."""
    match_confidence: float = 0.5
    """How sure we are that this is one person and the right one: from the links, which are not in the log."""
    restricted: Mapping[str, datetime] = {}
    """Consents that one side of an uncertain merge had taken back, and when they merged: only a later yes counts."""


class Customer(Struct, frozen=True, gc=False):
    """One resolved person: what we remember of them, and where they stand with us."""

    customer_id: str
    memory: Memory = Memory()
    standing: Standing = Standing()

    @property
    def match_confidence(self) -> float:
        """How sure we are that this is one person and the right one, 0 to 1."""
        return self.standing.match_confidence

    @property
    def wake_at(self) -> datetime | None:
        """When this customer next wants attention."""
        return self.standing.wake_at


class Link(Struct, frozen=True, gc=False):
    """Evidence that an identifier belongs to a customer: append-only, the newest active one resolves."""

    identifier: Identifier
    customer_id: str
    source: str
    confidence: float
    at: datetime
    evidence: str = ""
    """What it was learnt from: the kind of evidence, and the event."""


class Tie(Struct, frozen=True, gc=False):
    """The customer behind an identifier, and how sure the way there is: that of its weakest merge."""

    customer_id: str
    confidence: float


class Merge(Struct, frozen=True, gc=False):
    """Two customers found to be one: the loser's id resolves to the survivor, unless the two are split."""

    loser: str
    survivor: str
    confidence: float
    evidence: str
    at: datetime
    by: str = ""
    """Who merged them by hand; empty where the evidence did."""


class Split(Struct, frozen=True, gc=False):
    """A merge taken back: the loser is a customer of its own again."""

    loser: str
    survivor: str
    evidence: str
    at: datetime
    by: str = ""


class Review(Struct, frozen=True, gc=False, kw_only=True):
    """Two customers who may be one, for a person to judge; nothing merges by standing here.

    One row a pair, whatever their order. `refused` and `kept apart` (split by hand) hold for every later event: what
    a person has judged, evidence does not overturn.
    """

    review_id: str
    one: str
    other: str
    confidence: float
    evidence: tuple[str, ...]
    at: datetime
    state: Literal["open", "accepted", "refused", "kept apart"] = "open"
    decided_at: datetime | None = None
    by: str = ""


# ------------------------------------------------------------------ what it means


class Ranked(Struct, frozen=True, gc=False, array_like=True):
    """One product in a ranked answer, with the score it was ranked by (larger is better)."""

    sku: str
    score: float


class Estimate(Struct, frozen=True, gc=False):
    """The answer to one question, which admits doubt. Confidence 0 means: no answer."""

    question: str
    value: float | str | tuple[Ranked, ...] | None
    confidence: float
    basis: Literal["rule", "model"]
    version: str
    as_of: datetime
    reasons: tuple[str, ...] = ()


class Facet(Struct, frozen=True, gc=False, kw_only=True, cache_hash=True):
    """The declaration of one remembered fact: which events touch it, and how they fold."""

    name: str
    kind: Literal["last", "first", "count", "sum", "recent", "latest_per_key", "ledger", "derived"]
    events: tuple[str, ...] = ()
    where: Condition | None = None
    """Over the event's own properties, named plainly; of a `derived` one, over the fields of each row."""
    value: str = ""
    """Property path that is remembered, summed or listed (`products[].sku` fans out); empty: the event itself."""
    key: str = ""
    """`latest_per_key` and `ledger`: property path of the key; several joined by ` + ` make one key."""
    fields: tuple[str, ...] = ()
    """`recent`, `latest_per_key`, `ledger`: property paths kept in a row."""
    window: timedelta | None = None
    size_max: int = 0
    tile: timedelta | None = None
    """`count` and `sum` over a window: width of the tiles it is counted in, aligned to the epoch."""
    removes: tuple[str, ...] = ()
    """`ledger`: events that take out instead of putting in."""
    resets: tuple[str, ...] = ()
    """`ledger`: events since which it counts."""
    priority: tuple[str, ...] = ()
    """`latest_per_key`: event names, most trusted first; within one, the most trusted source, then the newest wins."""
    trust: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """`latest_per_key`: event name to its sources, most trusted first, where a signal says so; others come last."""
    of: str = ""
    """`derived`: the facet it is read from."""
    read: str = ""
    """`derived`: which reading (value, count, age, at, spread, visits, gap, ...)."""
    purpose: str = ""


class Question(Struct, frozen=True, gc=False, kw_only=True):
    """Who answers a question, and how sure they must be: below `floor` the rule answers instead of the model."""

    name: str
    rule: str
    model: str = ""
    floor: float = 0.0
    reads: tuple[str, ...] = ()
    """Names of the facets the rule reads, in the order the rule documents."""
    parameters: Mapping[str, Any] = {}


# ------------------------------------------------------------------ what we could do


class Claim(Struct, frozen=True, gc=False, array_like=True):
    """What must be true when the message lands: a name and its subject (`in_stock`, `shown`)."""

    name: Literal["cart_open", "in_stock", "in_stock_at", "order_open", "price_is", "pickup_ready"]
    subject: str = ""


class Action(Struct, frozen=True, gc=False, omit_defaults=True):
    """One thing we could do for this customer, in one channel, now."""

    name: str
    kind: Literal["message", "products", "offer", "service", "support"] = "message"
    lane: Lane = "marketing"
    purpose: Purpose = "marketing"
    channel: str = "email"
    content: str = ""
    claims: tuple[Claim, ...] = ()
    needs: Mapping[str, float] = {}
    """Question to the confidence it must have for this action to stand."""
    value: float = 0.0
    """Expected margin in minor units if it works: what ranking starts from."""
    spends: Mapping[str, int] = {}
    discount: float = 0.0
    """Share it takes off the price, 0 to 1: an offer is measured net of it."""
    journey: str = ""
    placement: str = ""
    shows: tuple[str, ...] = ()
    """SKUs this action would show, filled in when it is judged."""


class Wait(Struct, frozen=True, gc=False):
    """Stay here for a duration, or until an event moves the customer on."""

    duration: timedelta
    then: str
    until: Mapping[str, str] = {}


class Branch(Struct, frozen=True, gc=False):
    """Go one way or the other; unknown goes otherwise."""

    when: Condition
    then: str
    otherwise: str


class Propose(Struct, frozen=True, gc=False):
    """Wish for the first of these actions that nothing forbids, for as long as patience lasts."""

    actions: tuple[Action, ...]
    patience: timedelta
    then: str
    otherwise: str


class End(Struct, frozen=True, gc=False):
    """The journey is over."""

    status: Literal["ended", "converted", "exited"] = "ended"


JourneyStep: TypeAlias = Wait | Branch | Propose | End


class Owner(Struct, frozen=True, gc=False):
    """Who answers for a journey."""

    business: str = ""
    technical: str = ""
    qa: str = ""


class Reentry(Struct, frozen=True, gc=False):
    """May they enter again: `once`, `after_exit`, `after` a duration from entry, or once `per` value of a property."""

    mode: Literal["once", "after_exit", "after", "per"] = "after_exit"
    duration: timedelta | None = None
    key: str = ""


class Control(Struct, frozen=True, gc=False):
    """How many are held out to measure against: `launch` is an even split until a verdict, then 5 %."""

    mode: Literal["launch", "share", "none"] = "launch"
    share: float = 0.5
    reason: str = ""
    """Why there is no control group, where there is none."""


class Journey(Struct, frozen=True, gc=False, kw_only=True):
    """A journey as data: who enters, what it waits for, what it may propose, when it stops."""

    name: str
    version: str
    """Content hash of its text: what people inside are pinned to."""
    stage: Stage
    purpose: Purpose
    lane: Lane
    owner: Owner = Owner()
    goal: str
    enters_on: tuple[str, ...]
    where: Condition | None = None
    reentry: Reentry = Reentry()
    exits_on: tuple[str, ...] = ()
    exits_match: str = ""
    """A property that must equal the trigger's for an exit or goal to count (`order_id`); empty: any counts."""
    control: Control = Control()
    steps: Mapping[str, JourneyStep]
    start: str
    carries: tuple[str, ...] = ()
    """Properties of the triggering event that its texts and claims read as `trigger.<name>`."""
    questions: frozenset[str] = frozenset()
    """Every question any of its steps may read: what a batch answers beforehand."""


class Cap(Struct, frozen=True, gc=False):
    """At most `contacts_max` in a rolling window, over the contacts that match."""

    name: str
    contacts_max: int
    window: timedelta
    channel: str = ""
    purpose: str = "marketing"
    journey: str = ""


class QuietHours(Struct, frozen=True, gc=False):
    """Not between these local times, for these purposes; the zone is the customer's, else the shop's."""

    starts: time
    ends: time
    purposes: tuple[str, ...] = ("marketing",)
    channels: tuple[str, ...] = ()


class Suppression(Struct, frozen=True, gc=False):
    """Not now, while a condition holds: `after-purchase`, `open-ticket`."""

    name: str
    when: Condition
    reason: str
    purposes: tuple[str, ...] = ("marketing",)
    except_journeys: tuple[str, ...] = ()


class Schedule(Struct, frozen=True, gc=False, kw_only=True):
    """An internal event for everybody in an audience, at a local time, every so often (`newsletter.due`)."""

    event: str
    every: timedelta
    at: time
    starts_on: date
    audience: Condition | None = None


class Policy(Struct, frozen=True, gc=False, kw_only=True):
    """How all proposals of a customer are judged: gates in order, then ranking, then who is held out."""

    gates: tuple[str, ...] = ("suppression", "claims", "confidence", "repeat", "caps", "quiet_hours", "budget")
    caps: tuple[Cap, ...] = ()
    quiet_hours: tuple[QuietHours, ...] = ()
    suppressions: tuple[Suppression, ...] = ()
    confidence_floor: float = 0.0
    """Match confidence below which only the journey's generic actions (those that need nothing) may stand."""
    repeat_window: timedelta = timedelta(days=14)
    stock_fresh: timedelta = timedelta(hours=24)
    price_fresh: timedelta = timedelta(hours=24)
    stock_unknown_is: Literal["refused", "in_stock"] = "refused"
    zone: str = "UTC"
    lateness: timedelta = timedelta(hours=24)
    """An event older than this when it arrives is remembered and starts nothing."""
    holdout: float = 0.0
    """Share of customers held out of all marketing."""
    ranking: Mapping[str, float] = {}
    """Journey to the expected margin of one of its messages in minor units, where its action states no value."""
    slot: timedelta = timedelta(hours=1)
    """How long one marketing message has the customer's attention; those outranked are proposed again after it."""
    ask_again: timedelta = timedelta(hours=6)
    """When a hold that no known instant lifts is judged again."""
    spread: timedelta = timedelta(minutes=15)
    """Over how long sends that were held to one same instant are spread."""
    version: str = ""


class Content(Struct, frozen=True, gc=False, kw_only=True):
    """An approved template for one channel, with a text per language."""

    name: str
    channel: str
    version: str
    languages: Mapping[str, Mapping[str, str]]
    """Language to part (`subject`, `text`, `html`, `title`, `body`) to Liquid source."""
    shows: str = ""
    """Which products it shows: `cart`, `recent`, `popular`, or the name of a question that ranks products."""
    shows_count: int = 3
    reads: frozenset[str] = frozenset()


class Signal(Struct, frozen=True, gc=False, kw_only=True):
    """What is agreed of the events of one name: what they must carry, whose word counts, how often they come."""

    name: str
    requires: tuple[str, ...] = ()
    """Property paths that must be there (`order_id`, `products[].sku`)."""
    values: Mapping[str, tuple[Any, ...]] = {}
    """Property path to the values it may have."""
    refuses: bool = False
    """Whether an event that breaks this is rejected; else it is kept with a note, and counted."""
    is_secret: bool = False
    """Whether only a secret key may tell it: a public one would start what only the shop may start."""
    truth: tuple[str, ...] = ()
    """Sources, most trusted first: where two tell of one thing, the first of these stands."""
    every: timedelta | None = None
    """The longest silence that is not alarming."""


class Playbook(Struct, frozen=True, gc=False, kw_only=True):
    """A whole project, compiled: what journeys, policy, facets, questions and content say together."""

    version: str
    journeys: Mapping[str, Journey] = {}
    """Every live version by its hash: people in flight keep the one they entered under."""
    current: Mapping[str, Journey] = {}
    """The version newcomers enter, by name."""
    policy: Policy = Policy()
    facets: Mapping[str, Facet] = {}
    questions: Mapping[str, Question] = {}
    content: Mapping[str, Content] = {}
    folding: Mapping[str, tuple[Facet, ...]] = {}
    """Event name to the facets it touches."""
    entering: Mapping[str, tuple[Journey, ...]] = {}
    """Event name to the current journeys it may start."""
    schedules: tuple[Schedule, ...] = ()
    signals: Mapping[str, Signal] = {}
    """Event name to what is agreed of it."""
    currency: str = "EUR"
    language: str = "en"
    settings: Mapping[str, Any] = {}


# ------------------------------------------------------------------ the world outside the customer


class Product(Struct, frozen=True, gc=False, omit_defaults=True):
    """One sellable variant. Prices in minor units; `available` is what the web shop can ship, None if never told."""

    sku: str
    product_id: str = ""
    name: str = ""
    category: str = ""
    price: int | None = None
    cost: int | None = None
    available: int | None = None
    stock_as_of: datetime | None = None
    price_as_of: datetime | None = None
    url: str = ""
    attributes: Mapping[str, str] = {}
    was: int | None = None
    """The price it is crossed out from, as of the price."""
    described_as_of: datetime | None = None
    """When a catalogue said what it is; None if only pages and orders ever did."""
    locations: Mapping[str, tuple[int, datetime]] = {}
    """Store or warehouse to what is there, and when that was counted."""


class Catalog(Protocol):
    """What is on the shelf, as far as we have been told."""

    def product(self, sku: str) -> Product | None:
        """The variant of that SKU, or None if we never heard of it."""
        ...

    def popular(self, category: str, count_max: int) -> Sequence[str]:
        """SKUs sold most lately, best first; all categories if `category` is empty."""
        ...

    def related(self, skus: Sequence[str], count_max: int) -> Sequence[str]:
        """SKUs of the same categories as these, most popular first, these left out."""
        ...


Interpreter: TypeAlias = Callable[[Question, Facts, Catalog, datetime], Estimate]
"""A rule or model: it may read facts and the shelf, and nothing else; it is pure."""


class Address(Struct, frozen=True, gc=False):
    """A mailbox or number, apart from the people who use it: suppression and contacts belong to it."""

    channel: str
    key: str
    suppressed_at: datetime | None = None
    reason: str = ""
    contacts: tuple[Contact, ...] = ()
    soft_bounces: tuple[datetime, ...] = ()
    """When mail to it did not arrive for a reason that may pass; what arrives clears them."""


class Addresses(Protocol):
    """The addresses that anything is known of."""

    def get(self, channel: str, key: str) -> Address | None:
        """What is known of this address, or None: nothing speaks against it."""
        ...


class World(Struct, frozen=True, gc=False):
    """What is true outside the customer when we look. The only source of time."""

    now: datetime
    catalog: Catalog
    addresses: Addresses
    allotments: Mapping[str, int] = {}
    """What is left of each shared budget."""
    answers: Mapping[tuple[str, str], Estimate] = {}
    """Answers of models to (customer_id, question), made for the whole batch before its turns are finished."""
    position: int = 0
    """Log position up to which everything acknowledged has been folded."""


# ------------------------------------------------------------------ what was decided, and why


class Refusal(Struct, frozen=True, gc=False, omit_defaults=True):
    """Why not, and until when if that is known."""

    reason: str
    """The rule in plain words."""
    fact: str
    """What was found, in plain words."""
    until: datetime | None = None
    topic: str | None = None
    """What in the world would lift it (`stock:SKU`): the customer is told when that changes."""


class Verdict(Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of one action: refused at a gate, outranked, or scored."""

    action: Action
    gate: str | None = None
    refusal: Refusal | None = None
    score: float | None = None
    basis: Literal["rule", "model"] = "rule"


class Proposal(Struct, frozen=True, gc=False):
    """What one journey wishes for this customer now, best first."""

    journey: str
    key: str
    version: str
    step: str
    since: datetime
    """When the step was reached."""
    attempt: int = 0
    """Index of the first action still to be tried; those before it failed at hand-over."""
    actions: tuple[Action, ...] = ()
    """Left empty in a stored decision: version, step and attempt name them."""


class Decision(Struct, frozen=True, gc=False, omit_defaults=True):
    """What was chosen at one moment, everything it was chosen from, and why. Never changed after."""

    decision_id: str
    customer_id: str
    decided_at: datetime
    lane: Lane
    stimulus: str
    """What asked: `event:<position>`, `wake:<instant>`, `ask:<request id>`, `hand_over:<decision id>`."""
    action: Action | None
    """None is a decision too: nothing, for now."""
    key: str = ""
    probability: float = 1.0
    """Of this action after the gates, under this policy."""
    arm: str = "treatment"
    assignments: Mapping[str, str] = {}
    considered: tuple[Verdict, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    facts: Mapping[str, Any] = {}
    estimates: Mapping[str, Estimate] = {}
    versions: Mapping[str, str] = {}
    position: int = 0
    until: datetime | None = None
    count: int = 1
    """How often this same hold was repeated."""

    @property
    def delivers(self) -> bool:
        """Whether a provider will be called for it."""
        return self.action is not None and self.arm != "control"


class Hold(Struct, frozen=True, gc=False):
    """A hold met again: the row of `decision_id` counts one more, up to `at`."""

    decision_id: str
    at: datetime
    until: datetime | None = None


class EntryRefusal(Struct, frozen=True, gc=False):
    """A person who would have entered a journey and was not let in, with the reason."""

    journey: str
    key: str
    reason: str
    at: datetime


class Turn(Struct, frozen=True, gc=False):
    """What one stimulus changed for one customer. It commits whole or not at all."""

    customer: Customer
    decisions: tuple[Decision, ...] = ()
    holds: tuple[Hold, ...] = ()
    spends: Mapping[str, int] = {}
    addresses: tuple[Address, ...] = ()
    refused_entries: tuple[EntryRefusal, ...] = ()
    hand_over: Decision | None = None
    """Answer to a `HandOver` without a receipt: the decision that may leave now; None if refused."""
    refusal: Refusal | None = None
    """Why the message of a `HandOver` may not leave, or why it failed."""


# ------------------------------------------------------------------ delivery and measurement


class Message(Struct, frozen=True, gc=False, kw_only=True):
    """What a channel is given: rendered, with the real address. Exists only while it is being delivered."""

    decision_id: str
    channel: str
    to: str
    parts: Mapping[str, str]
    purpose: Purpose
    headers: Mapping[str, str] = {}


class Tally(Struct, frozen=True, gc=False, array_like=True):
    """Sufficient statistics of one metric in one arm: they add, whoever counted them."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    pre_total: float = 0.0
    pre_squares: float = 0.0
    cross: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.n + other.n,
            self.total + other.total,
            self.squares + other.squares,
            self.pre_total + other.pre_total,
            self.pre_squares + other.pre_squares,
            self.cross + other.cross,
        )
