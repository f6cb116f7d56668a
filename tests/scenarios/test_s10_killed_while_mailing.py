"""S10: the process dies between the mail server's acceptance and our record of it.

A real SMTP server kills the engine's process in the middle of a conversation: before it took the message, after it
took it and before it said so, or just after. What it has in its inbox is the truth. A newsletter is never there twice,
and one that is not there is listed as unclear; a confirmation is always there.
"""

from __future__ import annotations

import email
import os
import random
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from tests.scenarios.smtp_victim import LATER, letters
from tests.shop import NOON, Shop, happened, person

from wayline.runtime.replaying import examine
from wayline.store.opening import open_store

ROOT = Path(__file__).parent.parent.parent
PEOPLE = [person(f"p{number}") for number in range(8)]
KILLS = int(os.environ.get("WAYLINE_KILLS", "8"))
SEED = int(os.environ.get("WAYLINE_SEED", "1"))
MOMENTS = ("before", "taken", "said")


class Inbox:
    """A mail server that keeps what it takes, and kills whoever it talks to when told."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.victim = 0
        self.kill_at: tuple[int, str] | None = None
        self._offered = 0

    def aims(self, victim: int, kill_at: tuple[int, str] | None) -> None:
        """Kill that process at its so-many-th message, at that moment of it; never, if None."""
        self.victim, self.kill_at, self._offered = victim, kill_at, 0

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list) -> str:
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self._offered += 1
        moment = self.kill_at[1] if self.kill_at is not None and self.kill_at[0] == self._offered else ""
        if moment == "before":
            return self._killed()
        self.taken[email.message_from_bytes(bytes(envelope.content or b""))["X-Wayline-Decision"]] += 1
        if moment == "taken":
            return self._killed()
        if moment == "said":
            # The reply is on its way while the process dies: it may or may not have been read.
            server.loop.call_later(0.002, self._killed)
        return "250 2.0.0 taken"

    def _killed(self) -> str:
        os.kill(self.victim, signal.SIGKILL)
        return "451 4.0.0 nobody hears this"


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, int]]:
    kept = Inbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(kept, hostname="127.0.0.1", port=port)
    controller.start()
    yield kept, port
    controller.stop()


def filled(folder: Path) -> None:
    """Everybody's newsletter and confirmation, decided and waiting to leave."""
    with open_store(folder) as store:
        shop = Shop(letters(), store=store)
        for who in PEOPLE:
            shop.consent(who)
        shop.channels.clear()
        shop.engine.outbox.hand_over = lambda now: 0  # type: ignore[method-assign]
        shop.now = NOON + timedelta(minutes=1)
        for number, who in enumerate(PEOPLE):
            shop.tell(
                happened("Newsletter Due", who),
                happened("Order Completed", who, order_id=f"o{number}", revenue=1, products=[]),
            )
        shop.engine.close()
        assert store.state.counts()["deliveries.pending"] == 2 * len(PEOPLE)


def run(folder: Path, port: int, inbox: Inbox, kill_at: tuple[int, str] | None, mutant: str) -> bool:
    """One life of the engine; whether it came to its end."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.scenarios.smtp_victim", str(folder), str(port), mutant],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as victim:  # fmt: skip
        inbox.aims(victim.pid, kill_at)
        said, wrong = victim.communicate(timeout=120)
    assert victim.returncode in (0, -signal.SIGKILL), wrong
    return said.endswith("done\n")


def mailed(folder: Path, inbox: Inbox, port: int, kills: list[tuple[int, str]], mutant: str = "") -> None:
    filled(folder)
    for kill_at in kills:
        run(folder, port, inbox, kill_at, mutant)
    assert run(folder, port, inbox, None, mutant), "the last life is left in peace"
    with open_store(folder) as store:
        rows = list(store.state.deliveries())
        assert len(rows) == 2 * len(PEOPLE)
        for row in rows:
            assert row.state in ("sent", "unknown"), row
            if row.lane == "owed":
                assert inbox.taken[row.decision_id] >= 1, "what is owed is never lost"
                assert row.state == "sent"
            else:
                assert inbox.taken[row.decision_id] <= 1, "marketing never comes twice"
                assert inbox.taken[row.decision_id] == 1 or row.state == "unknown", "what did not come is listed"
        unclear = sum(row.state == "unknown" for row in rows)
        health = examine(store.log, store.state, LATER)
        assert health.counts["deliveries.unknown"] == unclear
        assert any(f"{unclear} messages of unclear" in problem for problem in health.problems) or not unclear
        for customer_id in store.state.customer_ids():
            (customer,) = store.state.load([customer_id]).values()
            assert all(not e.is_open for e in customer.standing.enrollments), "nobody is stuck"
            states = {c.decision_id: c.state for c in customer.standing.contacts}
            for row in rows:
                if row.customer_id == customer_id and row.state == "unknown":
                    assert states[row.decision_id] == "unknown", "it keeps its place under the cap"


@pytest.mark.slow
def test_s10_killed_between_acceptance_and_record(tmp_path: Path, inbox: tuple[Inbox, int]) -> None:
    luck = random.Random(SEED)
    kills = [(luck.randint(1, 3), MOMENTS[number % 3]) for number in range(KILLS)]
    mailed(tmp_path, inbox[0], inbox[1], kills)


@pytest.mark.slow
@pytest.mark.parametrize("mutant, moment", (("repeatable", "taken"), ("not-owed", "before")))
def test_s10_a_channel_that_promises_too_much_fails_the_scenario(
    mutant: str, moment: str, tmp_path: Path, inbox: tuple[Inbox, int]
) -> None:
    with pytest.raises(AssertionError, match="never"):
        mailed(tmp_path, inbox[0], inbox[1], [(number, moment) for number in (1, 2, 3)], mutant)
