"""Hand-over: the outbox is emptied, each message judged once more as it leaves, in both arms alike.

In three strides. *Claim*: after the log barrier, a `HandOver` turn per due row; what still stands becomes
`attempting`, what does not is refused and its journey tries the next action; committed. *Call*: the message is
rendered in both arms, and the provider called in one of them. *Settle*: a `HandOver` turn per receipt; committed.
Whatever dies between claim and settle is found again as `attempting`, and only the channel's promise says what may be
done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from wayline import engine
from wayline.channels import Channel
from wayline.domain import (
    Catalog,
    Content,
    Customer,
    Decision,
    Event,
    HandOver,
    Message,
    Playbook,
    Product,
    Receipt,
    Refusal,
    World,
)
from wayline.errors import Broken, OperatorError
from wayline.interpretation import facets
from wayline.interpretation.moment import ADDRESS_KINDS
from wayline.observation import feedback
from wayline.observation.claims import CLAIMS, SHARED
from wayline.observation.identity import is_anonymous, weakest_first
from wayline.orchestration.content import render
from wayline.runtime.linking import Linked, signed_links
from wayline.runtime.troubles import say
from wayline.store import Batch, Delivery, DeliveryState, Vault
from wayline.store.outbox import SETTLED

if TYPE_CHECKING:
    from wayline.runtime.embedded import Embedded

__all__ = ["Outbox", "Rendering", "unsubscribe_token"]


_KEPT_AS: Mapping[str, str] = {**CLAIMS, **{shared: kind for kind, shared in SHARED.items()}}
"""Kind of identifier to the one its value is kept under in the vault: an address is kept once."""

_LEASE = timedelta(minutes=5)
_ALWAYS = datetime(9000, 1, 1, tzinfo=UTC)
_PUT_OFF_HOURS_MAX = 72  # a message that cannot leave is offered again for so many hours; then it is refused for good
_PUT_OFF_MINUTES_MAX = 60  # minutes between two offers of a message that cannot leave: each wait doubles up to it
_ATTEMPTS_MAX = 3  # calls for one owed message that may have arrived each time; then it is left at unclear
_UNCLEAR = "unclear, offered again: "  # begins the detail of an owed row, once for each call that may have arrived


class Rendering(Struct):
    """What turns a decision into a message: texts, the shelf, and the only look into the vault."""

    playbook: Playbook
    vault: Vault
    shelf: Catalog

    def message(self, decision: Decision, customer: Customer) -> Message | Refusal:
        """The message as it would leave, or why it cannot be written."""
        action = decision.action
        assert action is not None
        content = self.playbook.content.get(action.content)
        if content is None:
            return Refusal("content: the text must exist", f"{action.content!r} is not in the playbook")
        personal = self.personal(customer)
        traits = {name: register.value for name, register in customer.memory.traits.items()}
        trigger = decision.facts.get(f"trigger:{action.journey}:{decision.key}") or {}
        values: dict[str, Any] = {
            "customer": {**traits, **personal},
            "products": [self._shown(sku) for sku in action.shows],
            "trigger": {**trigger},
            "shop": self.playbook.settings.get("shop", {}),
            "links": {"unsubscribe": self.unsubscribe_url(decision)},
            **self._remembered(content, customer, decision),
        }
        language = str(traits.get("language") or self.playbook.language)
        rendered = render(content, language, values)
        if isinstance(rendered, Refusal):
            return rendered
        kind = ADDRESS_KINDS.get(action.channel)
        to = str(personal.get(kind, "")) if kind else customer.customer_id
        if not to:
            return Refusal(
                f"address: the {action.channel} address must be in the vault", "it is not there, or was erased"
            )
        return Message(
            decision_id=decision.decision_id,
            channel=action.channel,
            to=to,
            parts=self._linked(rendered.parts, decision, personal) if action.channel == "email" else rendered.parts,
            purpose=action.purpose,
            headers=self._headers(decision),
        )

    def _linked(self, parts: Mapping[str, str], decision: Decision, personal: Mapping[str, Any]) -> Mapping[str, str]:
        link = Linked(decision.decision_id, decision.customer_id, "", 0)
        settings = self.playbook.settings
        return signed_links(parts, link, settings=settings, personal=personal, keyed=self.vault.keyed)

    def _remembered(self, content: Content, customer: Customer, decision: Decision) -> dict[str, Any]:
        """The facets the text reads, as they stood when it was decided."""
        declared = self.playbook.facets
        names = {name.partition(".")[0] for name in content.reads} & declared.keys()
        return {
            name: facets.read(customer.memory.facets, declared[name], declared, decision.decided_at) for name in names
        }

    def unsubscribe_url(self, decision: Decision) -> str:
        """Where this recipient stops such messages: opaque, and nobody can make one for another message."""
        base = str(self.playbook.settings.get("server", {}).get("public_url", "")).rstrip("/")
        return f"{base}/unsubscribe/{decision.decision_id}.{unsubscribe_token(self.vault, decision.decision_id)}"

    def _headers(self, decision: Decision) -> dict[str, str]:
        if decision.action is None or decision.action.purpose != "marketing" or decision.action.channel != "email":
            return {}
        return {
            "List-Unsubscribe": f"<{self.unsubscribe_url(decision)}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }

    def personal(self, customer: Customer) -> dict[str, Any]:
        """What the vault keeps of this person: of each address the newest, else what the strongest identifier says."""
        anonymous = is_anonymous(customer.customer_id)
        identifiers = [one for one in customer.memory.identifiers if anonymous or one.kind not in CLAIMS]
        subjects = [f"{_KEPT_AS.get(one.kind, one.kind)}:{one.value}" for one in weakest_first(identifiers)]
        values: dict[str, Any] = {}
        found = self.vault.get(subjects)
        for subject in subjects:
            values.update(found.get(subject, {}))
        return values

    def _shown(self, sku: str) -> dict[str, Any]:
        product = self.shelf.product(sku) or Product(sku)
        return {
            "sku": sku,
            "name": product.name,
            "price": product.price,
            "url": product.url,
            "category": product.category,
            "was": product.was,
            "image_url": product.attributes.get("image_url", ""),
            "stores": {store: count for store, (count, _) in product.locations.items()},
        }


def unsubscribe_token(vault: Vault, decision_id: str) -> str:
    """What proves that a link to unsubscribe was made here, for this message."""
    return vault.keyed("unsubscribe", decision_id)


class Outbox:
    """Decided messages on their way out."""

    def __init__(self, owner: Embedded, channels: Mapping[str, Channel], rendering: Rendering) -> None:
        self.owner = owner
        self.channels = channels
        self.rendering = rendering
        self.on_settled: Callable[[Delivery, Decision, Receipt], None] | None = None
        """Told of every message that was sent or withheld; the simulated shop listens here."""

    def hand_over(self, now: datetime) -> int:
        """Take the rows that are due through claim, call and settle; how many there were."""
        owner = self.owner
        rows = owner.state.outbox("pending", now, owner.limits.claims_max)
        if not rows:
            return 0
        owner.catch_up(now)
        leaving = self._claim(rows, now)
        receipts = [(row, decision, self._call(row, decision, now)) for row, decision in leaving]
        self._settle(receipts, now)
        return len(rows)

    def recover(self, now: datetime) -> int:
        """Rows that a process died over: offered again where that is safe or owed, else called unclear."""
        owner = self.owner
        # What became true while nothing ran is known before anything is called again.
        owner.catch_up(now)
        # One process owns the folder, so at start every row in `attempting` is an orphan, whatever its lease says
        # by a clock that may have been set back since.
        orphans = owner.state.outbox("attempting", _ALWAYS, 1_000_000)
        receipts = [(row, decision, self._found(row, decision, now)) for row, decision in map(self._decided, orphans)]
        self._settle(receipts, now)
        return len(orphans)

    def unsettled(self, event: Event, batch: Batch) -> Delivery | None:
        """The row of ours that this report settles: one of which nobody knows whether it arrived."""
        proof = feedback.proof_of(event)
        if proof is None:
            return None
        committed = self.owner.state.delivery
        row = next((one for one in reversed(batch.deliveries) if one.decision_id == proof[0]), None)
        row = row or committed(proof[0])
        # While a report is folded no call is under way: a row in `attempting` is one that a process died over.
        is_open = row is not None and (row.state in ("unknown", "attempting") or row.detail.startswith(_UNCLEAR))
        return row if row is not None and row.delivers and is_open and row.state not in SETTLED else None

    def settle_by(self, event: Event, row: Delivery, world: World, batch: Batch) -> None:
        """What a provider told of a message takes the place of the answer we never had; the turn is the same."""
        owner = self.owner
        proof = feedback.proof_of(event)
        assert proof is not None
        at = min(event.occurred_at, world.now)
        receipt = Receipt(proof[1], at, f"told later: {event.name}", provider_id=row.provider_id)
        _, decision = self._decided(row)
        owner.try_turn(
            owner.customer(owner.people.survivor(row.customer_id)), HandOver(decision, receipt), world, batch
        )
        self._note_settled(row, decision, receipt, receipt.outcome, batch)

    def _found(self, row: Delivery, decision: Decision, now: datetime) -> Receipt:
        """What becomes of a row whose call may or may not have been made."""
        channel = self.channels.get(row.channel)
        is_repeatable = row.lane == "owed" or (channel is not None and channel.promise == "repeatable")
        if not row.delivers:
            return self._call(row, decision, now)
        lost = "the process ended between the call and its answer"
        if not is_repeatable:
            return Receipt("unknown", now, lost)
        refusal = self._speaks_against(row, decision, now)
        if refusal is None:
            return self._call(row, decision, now)
        said = f"{lost}; it is not sent again, since {refusal.reason}: {refusal.fact}"
        return Receipt("unknown", now, said, retry_at=refusal.until)

    def _speaks_against(self, row: Delivery, decision: Decision, now: datetime) -> Refusal | None:
        """Why a message that may have left already must not leave once more; nothing is changed by asking."""
        owner = self.owner
        customer = owner.customer(owner.state.survivor(row.customer_id))
        try:
            turn = engine.take_turn(customer, HandOver(decision), owner.playbook, owner.world(now))
        except Exception as error:  # noqa: BLE001 - a turn that cannot be taken sends nothing, and stops no start
            say("turn set aside", customer_id=customer.customer_id, stimulus="HandOver", reason=str(error))
            return Refusal("its turn must be possible", f"{type(error).__name__}: {error}")
        if turn.hand_over is not None:
            return None
        return turn.refusal or Refusal("it must still stand", "it does not")

    def _claim(self, rows: Sequence[Delivery], now: datetime) -> list[tuple[Delivery, Decision]]:
        owner = self.owner
        batch = Batch()
        world = owner.world(now)
        leaving: list[tuple[Delivery, Decision]] = []
        for row in rows:
            _, decision = self._decided(row)
            customer = owner.customer(owner.state.survivor(row.customer_id))
            turn = owner.try_turn(customer, HandOver(decision), world, batch)
            if turn is None or turn.hand_over is None:
                refusal = None if turn is None else turn.refusal
                detail = f"{refusal.reason}: {refusal.fact}" if refusal else "its turn was set aside"
                # An earlier attempt that may have arrived stays unclear, whatever speaks against another one.
                state: DeliveryState = "unknown" if row.detail.startswith(_UNCLEAR) else "refused"
                batch.deliveries.append(replace(row, state=state, settled_at=now, detail=detail))
                owner.decided.pop(row.decision_id, None)
            else:
                claimed = replace(row, state="attempting", attempts=row.attempts + 1, lease_until=now + _LEASE)
                batch.deliveries.append(claimed)
                leaving.append((claimed, decision))
        owner.commit(batch)
        return leaving

    def _call(self, row: Delivery, decision: Decision, now: datetime) -> Receipt:
        customer = self.owner.customer(self.owner.state.survivor(row.customer_id))
        try:
            message = self.rendering.message(decision, customer)
        except Exception as error:  # noqa: BLE001 - one message that cannot be written must not hold up the others
            # A store in trouble is no fault of the message: it is offered again.
            again = now + _LEASE if isinstance(error, OperatorError) else None
            said = self._failed("it could not be written", decision, error)
            return Receipt("refused", now, said, retry_at=again)
        if isinstance(message, Refusal):
            return Receipt("refused", now, f"{message.reason}: {message.fact}")
        channel = self.channels.get(row.channel)
        if channel is None:
            # In both arms alike: the control group must not count as reached where nobody could be.
            known = ", ".join(sorted(self.channels)) or "none"
            return Receipt(
                "refused", now, f"no channel {row.channel!r} is set up here (set up: {known}); see wayline.toml"
            )
        if not row.delivers:
            return Receipt("withheld", now, "control group")
        try:
            return channel.deliver(message, row.decision_id)
        except Exception as error:  # noqa: BLE001 - a channel answers with a receipt; one that fails has proven nothing
            return Receipt("unknown", now, self._failed(f"the channel {row.channel} failed", decision, error))

    def _failed(self, what: str, decision: Decision, error: Exception) -> str:
        # Where it failed and not what it said: that may hold an address or a line of the message.
        at = error.__traceback__
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        where = "" if at is None else f" at {Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}"
        said = f"{what}: {type(error).__name__}{where}"
        say("message failed", decision_id=decision.decision_id, reason=said)
        return said

    def _settle(self, receipts: Sequence[tuple[Delivery, Decision, Receipt]], now: datetime) -> None:
        if not receipts:
            return
        owner = self.owner
        batch = Batch()
        world = owner.world(now)
        for row, decision, receipt in receipts:
            again = _again_at(row, receipt)
            if again is not None:
                said = _UNCLEAR * _unclear(row, receipt) + receipt.detail
                batch.deliveries.append(replace(row, state="pending", due_at=again, lease_until=None, detail=said))
                continue
            is_unclear = receipt.outcome == "refused" and _unclear(row, receipt) > 0
            outcome: DeliveryState = "unknown" if is_unclear else receipt.outcome
            customer = owner.customer(owner.state.survivor(row.customer_id))
            owner.try_turn(customer, HandOver(decision, receipt), world, batch)
            self._note_settled(row, decision, receipt, outcome, batch)
        owner.commit(batch)

    def _note_settled(
        self, row: Delivery, decision: Decision, receipt: Receipt, outcome: DeliveryState, batch: Batch
    ) -> None:
        settled = replace(
            row,
            state=outcome,
            settled_at=receipt.at,
            lease_until=None,
            detail=receipt.detail,
            provider_id=receipt.provider_id,
        )
        batch.deliveries.append(settled)
        self.owner.decided.pop(row.decision_id, None)
        if self.on_settled is not None and outcome in ("sent", "withheld"):
            self.on_settled(row, decision, receipt)

    def _decided(self, row: Delivery) -> tuple[Delivery, Decision]:
        decision = self.owner.decided.get(row.decision_id) or self.owner.state.decision(row.decision_id)
        if decision is None:
            raise Broken(f"delivery {row.decision_id} has no decision: they are committed together")
        return row, decision


def _unclear(row: Delivery, receipt: Receipt) -> int:
    """How many attempts, this one included, may have arrived without our knowing; being put off is none of them."""
    return row.detail.count(_UNCLEAR) + (receipt.outcome == "unknown")


def _again_at(row: Delivery, receipt: Receipt) -> datetime | None:
    """When the same message is offered again: it proved not to have left, or it is owed and nobody knows."""
    if receipt.outcome == "unknown" and row.lane == "owed":
        return None if _unclear(row, receipt) >= _ATTEMPTS_MAX else receipt.retry_at or receipt.at + _LEASE
    if receipt.outcome != "refused" or receipt.retry_at is None:
        return None
    if receipt.at - row.created_at >= timedelta(hours=_PUT_OFF_HOURS_MAX):
        return None
    # A server that is down for an hour must cost neither the message nor a call a minute.
    minutes = min(2 ** min(row.attempts - 1, 16), _PUT_OFF_MINUTES_MAX)
    return max(receipt.retry_at, receipt.at + timedelta(minutes=minutes))
