"""A whole engine in a process that its mail server kills: what waits in FOLDER is handed over by SMTP to PORT.

    python -m tests.scenarios.smtp_victim FOLDER PORT [MUTANT]

A mutant is a rule of the product undone: `repeatable` (SMTP said to know a key), `not-owed` (nothing is owed).
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

from tests.shop import MARKETING, NOON, written

from wayline.channels.email import Email, EmailSettings
from wayline.domain import Playbook
from wayline.runtime import handover
from wayline.runtime.embedded import Embedded, Limits
from wayline.store.opening import open_store

__all__ = ["LATER", "letters"]

LATER = NOON + timedelta(minutes=10)

_STEPS = (
    "steps:\n  send: {propose: [{action: a, channel: email, content: %s}], patience: 2 days, "
    "then: end, otherwise: end}\n"
)


def letters() -> Playbook:
    """A newsletter, which must never come twice, and a confirmation, which must come."""
    confirmation = (
        "stage: fulfillment\npurpose: transactional\nowner: {business: b, technical: t, qa: q}\ngoal: Order Delivered\n"
        "reentry: per order_id\nenters_on: Order Completed\n"
    )
    return written(
        {
            "news": MARKETING.replace("Order Completed", "Order Delivered")
            + "enters_on: Newsletter Due\n"
            + _STEPS % "news",
            "thanks": confirmation + _STEPS % "thanks",
        },
        news="email",
        thanks="email",
    )


def main(folder: Path, port: int, mutant: str) -> None:
    """Recover, hand over all that waits, and say so."""
    if mutant == "repeatable":
        Email.promise = "repeatable"
    if mutant == "not-owed":
        handover._again_at = lambda row, receipt: None
        found = handover.Outbox._found
        handover.Outbox._found = lambda self, row, decision, now: found(  # type: ignore[method-assign]
            self, handover.replace(row, lane="marketing"), decision, now
        )
    settings = EmailSettings(sender="Larkfell <hello@larkfell.example>", host="127.0.0.1", port=port, security="none")
    with open_store(folder) as store:
        now = LATER
        channel = Email(settings, clock=lambda: now)
        engine = Embedded(
            store.log, store.state, store.vault, letters(), {"email": channel}, limits=Limits(claims_max=3)
        )
        engine.outbox.recover(now)
        engine.drain(now)
        # What is owed and unclear is offered again a little later, and later still.
        for minutes in range(6, 60, 6):
            now = LATER + timedelta(minutes=minutes)
            engine.drain(now)
        engine.close()
    print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
    os._exit(0)
