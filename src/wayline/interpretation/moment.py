"""The moment of a decision: the closed list of facts that conditions, gates and rankings may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import convert, msgpack

from wayline.domain import Contact, Customer, Enrollment, Estimate, Facts, Playbook, World
from wayline.errors import Broken
from wayline.interpretation import estimates, facets
from wayline.observation.claims import CLAIMED, CLAIMED_TOKEN, SHARED
from wayline.observation.identity import is_anonymous

__all__ = ["ADDRESS_KINDS", "POPULAR_COUNT", "Moment", "Recollection", "recordable"]

POPULAR_COUNT = 12


class Moment:
    """All that may be known of one customer at one instant; for conditions and gates nothing else exists.

    Names: a facet's; `trait.<name>`; `estimate.<question>` (its value) and `confidence.<question>`; `stage`;
    `match_confidence`; `consent.<channel>` (marketing) and `consent.<channel>.<purpose>`; `objection`; `zone`;
    `language`; `now`; and for gates `address.<channel>`, `claimed.<channel>`, `suppressed.<channel>`,
    `mailbox.<channel>`, `stock.<sku>`, `stock_at.<sku>@<store>`, `price.<sku>`, `popular`, `contacts`,
    `budget.<name>`. Each is looked up once and remembered; while `reads` is set, what is asked for is noted there, and
    that note is what a decision stores as its facts.
    """

    __slots__ = ("customer", "inside", "known", "now", "playbook", "reads", "recalled", "ruled", "world")

    def __init__(self, customer: Customer, playbook: Playbook, world: World) -> None:
        self.customer = customer
        self.playbook = playbook
        self.world = world
        self.now: datetime = world.now
        self.known: dict[str, Any] = {}
        self.recalled: dict[str, Estimate] = {}
        self.reads: dict[str, Any] | None = None
        self.ruled: dict[str, Any] = {}
        """What a rule over the customer answered within one contest, for all the actions it is asked about."""
        self.inside: Sequence[Enrollment] = ()
        """Enrollments as this turn has moved them so far."""

    def fact(self, name: str) -> Any:
        """What is known under that name now, None if unknown. Raises Broken for a name no playbook may use."""
        if name in self.known:
            value = self.known[name]
        else:
            # What one fact is found by is not itself asked for: the record holds the answer.
            reads, self.reads = self.reads, None
            value = self.known[name] = self._find(name)
            self.reads = reads
        if self.reads is not None:
            self.reads[name] = value
        return value

    def within(self, trigger: Mapping[str, Any]) -> Facts:
        """The same facts as seen from inside an enrollment, with what entered it as `trigger.<name>`."""
        if not trigger:
            return self.fact

        def look(name: str) -> Any:
            return trigger.get(name[8:]) if name.startswith("trigger.") else self.fact(name)

        return look

    def estimate(self, question: str) -> Estimate:
        """The answer to a question of the playbook; confidence 0 where there is none."""
        answer = self.recalled.get(question)
        if answer is None:
            answer = self.recalled[question] = self._answer(question)
        if self.reads is not None:
            self.reads[f"estimate:{question}"] = answer
        return answer

    def _answer(self, question: str) -> Estimate:
        asked = self.playbook.questions.get(question)
        if asked is None:
            return Estimate(question, None, 0.0, "rule", "", self.now, (f"no question {question!r} in the playbook",))
        # What a rule reads on its way is the estimate's business; the decision stores the estimate itself.
        reads, self.reads = self.reads, None
        try:
            given = self.world.answers.get((self.customer.customer_id, question))
            return estimates.interpret(asked, self._told, self.world.catalog, self.now, given)
        finally:
            self.reads = reads

    def _told(self, name: str) -> Any:
        """What a rule is told: what no facet remembers is as good as never having happened."""
        declared = name in self.playbook.facets or name == "match_confidence" or "." in name
        return self.fact(name) if declared else None

    def _find(self, name: str) -> Any:
        if ":" in name:
            return self._find_standing(name)
        head, _, rest = name.partition(".")
        if rest:
            return self._find_dotted(head, rest, name)
        facet = self.playbook.facets.get(name)
        if facet is not None:
            return facets.read(self.customer.memory.facets, facet, self.playbook.facets, self.now)
        plain = _PLAIN.get(name)
        if plain is None:
            raise Broken(f"fact {name!r} is in no playbook's namespace: the compiler should have refused it")
        return plain(self)

    def _find_dotted(self, head: str, rest: str, name: str) -> Any:
        match head:
            case "trait":
                return self._trait(rest)
            case "trigger":
                return None
            case "estimate":
                return self.estimate(rest).value
            case "confidence":
                return self.estimate(rest).confidence
            case "consent":
                return self._consent(rest)
            case "address":
                return self._address(rest)
            case "claimed" | "suppressed" | "mailbox":
                return self._of_address(head, rest)
            case "stock" | "stock_at" | "price":
                return self._of_product(head, rest)
            case "budget":
                return self.world.allotments.get(rest)
        raise Broken(f"fact {name!r} is in no playbook's namespace: the compiler should have refused it")

    def _find_standing(self, name: str) -> Any:
        """`trigger:<journey>:<key>` and `assignment:<experiment>`: what the standing says."""
        kind, _, rest = name.partition(":")
        if kind == "assignment":
            fixed = self.customer.standing.assignments.get(rest)
            return None if fixed is None else fixed.arm
        journey, _, key = rest.partition(":")
        inside = self.inside or self.customer.standing.enrollments
        return next((dict(e.trigger) for e in inside if e.journey == journey and e.key == key and e.is_open), {})

    def _trait(self, name: str) -> Any:
        register = self.customer.memory.traits.get(name)
        return None if register is None else register.value

    def _consent(self, rest: str) -> bool:
        channel, _, purpose = rest.partition(".")
        key = f"{channel}:{purpose or 'marketing'}"
        consent = self.customer.memory.consents.get(key)
        if consent is None or not consent.is_granted:
            return False
        since = self.customer.standing.restricted.get(key)
        return since is None or (consent.granted_at is not None and consent.granted_at > since)

    def _address(self, channel: str) -> str | None:
        kind = ADDRESS_KINDS.get(channel, "")
        # The newest identifier of that kind is where this person reads now; then one they share with others. What a
        # browser has only claimed is used for nobody who is known by anything else.
        return (
            self._newest(kind)
            or self._newest(SHARED.get(kind, ""))
            or (self._newest(_CLAIM_OF.get(kind, "")) if is_anonymous(self.customer.customer_id) else None)
        )

    def _is_claim(self, channel: str) -> bool:
        """Whether the only address for this channel is one that a browser has claimed.

        What a push goes to is no such: nobody can type another's, and it reaches the device that said it.
        """
        kind = ADDRESS_KINDS.get(channel, "")
        is_confirmed = self._newest(kind) or self._newest(SHARED.get(kind, ""))
        return not is_confirmed and self._newest(CLAIMED.get(kind, "")) is not None

    def _newest(self, kind: str) -> str | None:
        return next((i.value for i in reversed(self.customer.memory.identifiers) if i.kind == kind), None)

    def _of_address(self, head: str, channel: str) -> Any:
        if head == "claimed":
            return self._is_claim(channel)
        key = self.fact(f"address.{channel}")
        address = self.world.addresses.get(channel, key) if key else None
        if head == "mailbox":
            return () if address is None else address.contacts
        return None if address is None or address.suppressed_at is None else address.reason

    def _of_product(self, head: str, sku: str) -> Any:
        sku, _, store = sku.rpartition("@") if head == "stock_at" else (sku, "", "")
        product = self.world.catalog.product(sku)
        if product is None:
            return None
        if head == "stock":
            return (product.available, product.stock_as_of)
        if head == "stock_at":
            return product.locations.get(store)
        return (product.price, product.price_as_of)


def _objection(moment: Moment) -> bool:
    objection = moment.customer.memory.consents.get("all:objection")
    if objection is None:
        return False
    since = moment.customer.standing.restricted.get("all:objection")
    is_lifted = objection.withdrawn_at is not None and (since is None or objection.withdrawn_at > since)
    return objection.is_granted or (since is not None and not is_lifted)


_PLAIN: Mapping[str, Callable[[Moment], Any]] = {
    "now": lambda moment: moment.now,
    "stage": lambda moment: moment.estimate("stage").value,
    "match_confidence": lambda moment: moment.customer.match_confidence,
    "contacts": lambda moment: moment.customer.standing.contacts,
    "objection": _objection,
    "popular": lambda moment: tuple(moment.world.catalog.popular("", POPULAR_COUNT)),
    "zone": lambda moment: (
        moment.fact("trait.timezone") or moment.fact("trait.device_timezone") or moment.playbook.policy.zone
    ),
    "language": lambda moment: moment.fact("trait.language") or moment.playbook.language,
}

_CLAIM_OF: Mapping[str, str] = {**CLAIMED, "push_token": CLAIMED_TOKEN}

ADDRESS_KINDS: Mapping[str, str] = {"email": "email", "sms": "phone", "push": "push_token"}


class Recollection(Moment):
    """A moment made of what a decision recorded, and of nothing else: replay decides from it again."""

    __slots__ = ()

    def __init__(self, facts: Mapping[str, Any], given: Mapping[str, Estimate], *, now: datetime, customer: Customer,
                 playbook: Playbook, world: World) -> None:  # fmt: skip
        super().__init__(customer, playbook, world)
        self.now = now
        self.known = {name: _thawed(name, value) for name, value in facts.items()}
        self.recalled = dict(given)

    def _find(self, name: str) -> Any:
        if name.startswith("claimed."):
            return False  # decided before claims were told from addresses: there were none
        raise Broken(f"the decision never read {name!r}, and deciding again asks for it: the two are not the same code")

    def _answer(self, question: str) -> Estimate:
        raise Broken(f"the decision recorded no answer to {question!r}, and deciding again asks for it")


def recordable(value: Any) -> Any:
    """A fact in the form a stored decision keeps it: plain lists, maps, numbers, texts and instants."""
    if value is None or isinstance(value, (str, int, float, bool, datetime)):
        return value
    if isinstance(value, timedelta):
        return {"seconds": value.total_seconds()}
    # One trip through the encoding gives exactly what a stored decision reads back, and costs least.
    return _PLAIN_FORM.decode(_ENCODED.encode(value))


_ENCODED = msgpack.Encoder()
_PLAIN_FORM = msgpack.Decoder()


def _thawed(name: str, value: Any) -> Any:
    if name == "contacts" or name.startswith("mailbox."):
        return tuple(convert(row, Contact) for row in value)
    if isinstance(value, dict) and value.keys() == {"seconds"}:
        return timedelta(seconds=value["seconds"])
    return value
