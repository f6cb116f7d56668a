"""What every channel promises, and what e-mail says when the server is down, slow, silent or rude."""

from __future__ import annotations

import email
import email.policy
import gc
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.contracts.rude_smtp import DROP, HANG, TRICKLE, RudeServer

from wayline.channels import Channel
from wayline.channels.dryrun import DryRun
from wayline.channels.email import HEADER_MAX, Email, EmailSettings
from wayline.channels.withheld import Withheld
from wayline.domain import Message, Receipt
from wayline.errors import OperatorError

NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)


def message(**changes: Any) -> Message:
    parts = {"subject": "Your jacket is waiting", "text": "Still in your size.\n.\nThe shop\n"}
    fields = {"decision_id": "d1", "channel": "email", "to": "ada@example.com", "parts": parts, "purpose": "marketing"}
    return Message(**fields | changes)


class Inbox:
    """A polite server's mailboxes; `rcpt` may refuse a recipient."""

    def __init__(self, rcpt: dict[str, str] | None = None) -> None:
        self.mails: list[Envelope] = []
        self.peers: set[tuple[str, int]] = set()
        self._rcpt = rcpt or {}

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list) -> str:
        if address in self._rcpt:
            return self._rcpt[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.mails.append(envelope)
        self.peers.add(session.peer)
        return "250 2.0.0 taken as 17"

    def parsed(self) -> list[email.message.EmailMessage]:
        return [email.message_from_bytes(each.content, policy=email.policy.default) for each in self.mails]


def settings(port: int, **changes: Any) -> EmailSettings:
    fields = {"sender": "The Shop <shop@shop.example>", "host": "127.0.0.1", "port": port, "security": "none"}
    return EmailSettings(**fields | {"timeout_seconds": 0.4, "deadline_seconds": 2.0} | changes)


OPEN: list[Email] = []


def channel(port: int, **changes: Any) -> Email:
    OPEN.append(Email(settings(port, **changes), clock=lambda: NOW))
    return OPEN[-1]


@pytest.fixture(autouse=True)
def closes() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, int]]:
    box = Inbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield box, controller.port
    controller.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ------------------------------------------------------------------ every channel

CHANNELS: dict[str, Callable[[int], Channel]] = {
    "withheld": lambda port: Withheld(clock=lambda: NOW),
    "dryrun": lambda port: DryRun(clock=lambda: NOW),
    "email": channel,
}


@pytest.fixture(params=CHANNELS)
def any_channel(request: pytest.FixtureRequest, inbox: tuple[Inbox, int]) -> Iterator[Channel]:
    made = CHANNELS[request.param](inbox[1])
    yield made
    made.close()


def test_a_message_is_settled_at_the_channels_clock(any_channel: Channel) -> None:
    receipt = any_channel.deliver(message(), "d1")
    assert receipt.outcome == ("withheld" if any_channel.name == "withheld" else "sent")
    assert receipt.at == NOW and receipt.provider_id and receipt.retry_at is None


def test_what_is_called_repeatable_delivers_once(any_channel: Channel, inbox: tuple[Inbox, int]) -> None:
    first, second = any_channel.deliver(message(), "d1"), any_channel.deliver(message(), "d1")
    assert first.outcome == second.outcome
    kept = len(any_channel.messages) if isinstance(any_channel, DryRun) else len(inbox[0].mails)
    assert kept == {"withheld": 0, "dryrun": 1, "email": 2}[any_channel.name]
    assert any_channel.promise == ("unrepeatable" if kept == 2 else "repeatable")


def test_closing_twice_is_harmless_and_a_closed_channel_opens_again(any_channel: Channel) -> None:
    any_channel.close()
    any_channel.close()
    assert any_channel.deliver(message(), "d1").outcome in ("sent", "withheld")


# ------------------------------------------------------------------ dry run


def test_a_dry_run_keeps_the_newest_and_counts_all() -> None:
    run = DryRun("sms", kept_max=2)
    for key in ("a", "b", "c"):
        run.deliver(message(decision_id=key), key)
    assert ([each.decision_id for each in run.messages], run.sent_count, run.name) == (["b", "c"], 3, "sms")


def test_a_dry_run_can_play_a_provider_in_trouble() -> None:
    run = DryRun(answer=lambda message, now: Receipt("dead", now, detail="550") if "ada" in message.to else None)
    assert run.deliver(message(), "a").outcome == "dead"
    assert run.deliver(message(to="bob@example.com"), "b").outcome == "sent"
    assert (run.sent_count, len(run.messages)) == (1, 1)


def test_a_dry_run_that_could_keep_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps at least one"):
        DryRun(kept_max=0)


# ------------------------------------------------------------------ e-mail: what arrives


def test_the_mail_that_arrives_is_whole(inbox: tuple[Inbox, int]) -> None:
    link = f"<https://shop.example/u/{'t' * 150}>, <mailto:u@shop.example>"
    headers = {
        "List-Unsubscribe": link,
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "Reply-To": "a@b.example",
    }
    parts = {"subject": "Grüße an dich, " * 9, "text": "Größe M\n.\n..\n" + "x" * 3000, "html": "<p>Größe M</p>"}
    receipt = channel(inbox[1]).deliver(message(parts=parts, headers=headers), "d1")
    (mail,), (envelope,) = inbox[0].parsed(), inbox[0].mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("shop@shop.example", ["ada@example.com"])
    assert mail["Message-ID"] == receipt.provider_id == "<d1@shop.example>" and mail["X-Wayline-Decision"] == "d1"
    assert mail["Subject"] == parts["subject"].strip() and mail["From"] == "The Shop <shop@shop.example>"
    assert mail["Date"].datetime == NOW
    assert f"List-Unsubscribe: {link}\r\n".encode() in envelope.content, "a folded or encoded link cannot be clicked"
    assert mail["List-Unsubscribe-Post"] == headers["List-Unsubscribe-Post"]
    assert mail.get_body(("plain",)).get_content().splitlines() == parts["text"].splitlines()
    assert mail.get_body(("html",)).get_content().strip() == parts["html"]
    assert receipt.detail == "250 2.0.0 taken as 17"


def test_a_batch_goes_over_one_connection_until_its_limit(inbox: tuple[Inbox, int]) -> None:
    sender = channel(inbox[1], messages_per_connection_max=3)
    assert {sender.deliver(message(), f"d{n}").outcome for n in range(7)} == {"sent"}
    assert (len(inbox[0].mails), len(inbox[0].peers)) == (7, 3)


def test_a_refused_recipient_leaves_its_neighbours_alone() -> None:
    box = Inbox({"gone@example.com": "550 5.1.1 <gone@example.com> no such mailbox"})
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        sender = channel(controller.port)
        to = ["ada@example.com", "gone@example.com", "bob@example.com"]
        receipts = [sender.deliver(message(to=each), f"d{n}") for n, each in enumerate(to)]
    finally:
        controller.stop()
    assert [each.outcome for each in receipts] == ["sent", "dead", "sent"] and len(box.peers) == 1
    assert "gone@" not in receipts[1].detail and "5.1.1" in receipts[1].detail, (
        "the address does not belong in a detail"
    )


INJECTIONS: dict[str, dict[str, Any]] = {
    "recipient": {"to": "ada@example.com\r\nRCPT TO:<eve@example.com>"},
    "second recipient": {"to": "ada@example.com, eve@example.com"},
    "subject": {"parts": {"subject": "Hi\r\nBcc: eve@example.com", "text": "x"}},
    "header": {"headers": {"Reply-To": "a@b.example\r\nBcc: eve@example.com"}},
    "header name": {"headers": {"X-A: b\r\nBcc": "eve@example.com"}},
    "our header": {"headers": {"Bcc": "eve@example.com"}},
    "too long": {"headers": {"X-Long": "x" * (HEADER_MAX + 1)}},
    "no link": {"headers": {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}},
    "no text": {"parts": {"subject": "Hi", "text": " "}},
    "not an address": {"to": "nobody"},
    "broken text": {"parts": {"subject": "Hi", "text": "\ud800"}},
}
for character in "\0\t\n\v\f\r\x1b\x7f\x85\u2028\u2029\ud800":
    INJECTIONS[f"control {ord(character):x}"] = {"parts": {"subject": f"a{character}b", "text": "x"}}


@pytest.mark.parametrize("case", INJECTIONS)
def test_what_is_no_proper_mail_is_refused_before_the_server_hears_of_it(case: str, inbox: tuple[Inbox, int]) -> None:
    receipt = channel(inbox[1]).deliver(message(**INJECTIONS[case]), "d1")
    assert (receipt.outcome, receipt.retry_at, inbox[0].mails) == ("refused", None, [])
    assert receipt.detail.startswith("not composed: ")


def test_a_key_that_cannot_be_a_message_id_is_refused(inbox: tuple[Inbox, int]) -> None:
    assert channel(inbox[1]).deliver(message(), "d 1>").outcome == "refused"


def test_a_dot_at_the_start_of_any_line_survives(inbox: tuple[Inbox, int]) -> None:
    text = ".\n..\n.a\n\n.\n"
    channel(inbox[1]).deliver(message(parts={"subject": "s", "text": text}), "d1")
    assert inbox[0].parsed()[0].get_content().splitlines() == text.splitlines()


# ------------------------------------------------------------------ e-mail: trouble

SOON, LATER, HOUR, SETTING = (timedelta(minutes=n) for n in (1, 5, 60, 15))
TROUBLE: dict[str, tuple[dict[str, Any], str, timedelta | None]] = {
    "refuses to talk": ({"connect": "554 go away"}, "refused", SOON),
    "is not ready": ({"connect": "421 too busy"}, "refused", SOON),
    "hangs on connect": ({"connect": HANG}, "refused", SOON),
    "closes at once": ({"connect": DROP}, "refused", SOON),
    "speaks no SMTP": ({"connect": "HTTP/1.1 400 Bad Request"}, "refused", SOON),
    "never ends its greeting": ({"EHLO": "\r\n".join(["250-more"] * 5000)}, "refused", SOON),
    "trickles its greeting": ({"connect": TRICKLE}, "refused", SOON),
    "refuses the sender": ({"MAIL": "550 5.7.1 sender not allowed"}, "refused", SETTING),
    "wants a login": ({"MAIL": "530 5.7.0 authentication required"}, "refused", SETTING),
    "finds it too large at once": ({"MAIL": "552 5.3.4 too large"}, "refused", None),
    "drops at MAIL": ({"MAIL": DROP}, "refused", SOON),
    "421 at RCPT": ({"RCPT": "421 4.7.0 closing"}, "refused", SOON),
    "greylists": ({"RCPT": "450 4.2.0 try later"}, "refused", LATER),
    "local trouble": ({"RCPT": "451 4.3.0 local error"}, "refused", LATER),
    "mailbox full for now": ({"RCPT": "452 4.2.2 full"}, "refused", HOUR),
    "mailbox full": ({"RCPT": "552 5.2.2 full"}, "refused", HOUR),
    "mailbox full, no code": ({"RCPT": "552 over quota"}, "refused", HOUR),
    "no such mailbox": ({"RCPT": "550 5.1.1 unknown"}, "dead", None),
    "no such mailbox, no code": ({"RCPT": "550 unknown user"}, "dead", None),
    "disabled mailbox": ({"RCPT": "550 5.2.1 disabled"}, "dead", None),
    "policy, not the mailbox": ({"RCPT": "550 5.7.1 relaying denied"}, "refused", None),
    "hangs at RCPT": ({"RCPT": HANG}, "refused", SOON),
    "hangs before DATA": ({"DATA": HANG}, "refused", SOON),
    "drops at DATA": ({"DATA": DROP}, "refused", SOON),
    "421 at DATA": ({"DATA": "421 4.3.2 closing"}, "refused", SOON),
    "450 at DATA": ({"DATA": "450 later"}, "refused", LATER),
    "554 at DATA": ({"DATA": "554 no valid recipients"}, "refused", None),
    "takes the body and hangs": ({"body": HANG}, "unknown", None),
    "takes the body and drops": ({"body": DROP}, "unknown", None),
    "takes the body and trickles": ({"body": TRICKLE}, "unknown", None),
    "takes the body and babbles": ({"body": "what?"}, "unknown", None),
    "takes the body and says 354": ({"body": "354 more"}, "unknown", None),
    "takes the body and shouts": ({"body": "250 " + "x" * 5000}, "unknown", None),
    "421 after the body": ({"body": "421 4.3.2 closing"}, "refused", SOON),
    "450 after the body": ({"body": "450 4.7.1 later"}, "refused", LATER),
    "550 after the body": ({"body": "550 5.7.1 looks like spam"}, "refused", None),
    "550 after the body, no code": ({"body": "550 no"}, "refused", None),
    "late: no such mailbox": ({"body": "550 5.1.1 unknown"}, "dead", None),
    "552 after the body": ({"body": "552 5.3.4 too large"}, "refused", None),
}


@pytest.mark.parametrize("server", TROUBLE)
def test_every_trouble_gets_its_honest_receipt(server: str) -> None:
    script, outcome, again = TROUBLE[server]
    with RudeServer(**script) as rude:
        sender = channel(rude.port, deadline_seconds=0.6)
        receipt = sender.deliver(message(), "d1")
        sender.close()
    assert (receipt.outcome, receipt.retry_at) == (outcome, again and NOW + again), receipt.detail
    assert receipt.detail and (outcome == "unknown" or not rude.taken)


def test_a_server_that_is_down_is_refused_and_may_be_tried_again() -> None:
    receipt = channel(free_port()).deliver(message(), "d1")
    assert (receipt.outcome, receipt.retry_at) == ("refused", NOW + SOON) and "cannot be reached" in receipt.detail


def test_a_server_that_is_down_is_asked_once_for_a_whole_batch() -> None:
    port, clock = free_port(), [NOW]
    sender = Email(settings(port), clock=lambda: clock[0])
    OPEN.append(sender)
    first = sender.deliver(message(), "d1")
    box = Inbox()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        clock[0] = NOW + SOON / 2
        second = sender.deliver(message(), "d2")
        assert (second.outcome, second.at, second.retry_at) == ("refused", clock[0], first.retry_at)
        assert not box.mails
        clock[0] = NOW + SOON
        assert sender.deliver(message(), "d2").outcome == "sent"
    finally:
        controller.stop()


def test_a_host_that_has_no_address_is_refused_and_may_be_tried_again() -> None:
    receipt = channel(25, host="no-such-host.invalid").deliver(message(), "d1")
    assert (receipt.outcome, receipt.retry_at) == ("refused", NOW + SOON)


@pytest.mark.parametrize("again", ["drop", "421 4.4.2 idle for too long"])
def test_a_connection_gone_stale_is_replaced_without_a_word(again: str) -> None:
    with RudeServer(MAIL=["250 ok", again, "250 ok"]) as rude:
        sender = channel(rude.port)
        assert [sender.deliver(message(), f"d{n}").outcome for n in range(2)] == ["sent", "sent"]
        sender.close()
        assert (len(rude.taken), rude.connections) == (2, 2)


def test_after_an_unknown_the_next_message_gets_a_connection_of_its_own() -> None:
    with RudeServer(body=[HANG, "250 ok"]) as rude:
        sender = channel(rude.port)
        assert [sender.deliver(message(), f"d{n}").outcome for n in range(2)] == ["unknown", "sent"]
        sender.close()
        assert rude.connections == 2


def test_a_server_that_trickles_cannot_hold_us() -> None:
    started = time.monotonic()
    with RudeServer(body=TRICKLE) as rude:
        assert channel(rude.port, timeout_seconds=5, deadline_seconds=0.5).deliver(message(), "d1").outcome == "unknown"
        assert time.monotonic() - started < 3


def test_a_server_that_stops_reading_the_body_proves_non_delivery() -> None:
    big = message(parts={"subject": "s", "text": "x" * 8_000_000})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = channel(listener.getsockname()[1])

        def half_listen() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"220 hi\r\n")
                for reply in (b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
                    peer.recv(1000)
                    peer.sendall(reply)
                time.sleep(1.2)

        thread = threading.Thread(target=half_listen)
        thread.start()
        receipt = sender.deliver(big, "d1")
        thread.join()
    assert receipt.outcome == "refused" and receipt.retry_at and "before the final dot" in receipt.detail


# ------------------------------------------------------------------ e-mail: in private


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server context for 127.0.0.1 or another name, and the file that vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    about = x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime.now(UTC) - timedelta(hours=1))
    builder = builder.not_valid_after(datetime.now(UTC) + timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([about]), critical=False)
    signed = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
        key, hashes.SHA256()
    )
    vouches, private = folder / "vouches.pem", folder / "private.pem"
    vouches.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    unlocked = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unlocked))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(vouches, private)
    return context, vouches


def private_server(folder: Path, **options: Any) -> tuple[Controller, Inbox, str]:
    context, vouches = certificate(folder, "127.0.0.1")
    box = Inbox()
    known = {b"shop": b"secret"}

    def login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
        return AuthResult(success=known.get(given.login) == given.password, handled=False)

    options |= {"tls_context": context, "authenticator": login}
    controller = Controller(box, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    return controller, box, str(vouches)


# aiosmtpd leaves the transport below TLS to the garbage collector: its leak is collected here, and is not ours.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_login_goes_over_starttls_only(tmp_path: Path) -> None:
    controller, box, vouches = private_server(tmp_path, require_starttls=True, auth_required=True)
    try:
        private = {"security": "starttls", "ca_file": vouches, "username": "shop"}
        good = channel(controller.port, **private, password="secret").deliver(message(), "d1")
        bad = channel(controller.port, **private, password="guess").deliver(message(), "d2")
        open_ = channel(controller.port).deliver(message(), "d3")
    finally:
        controller.stop()
        gc.collect()
    assert good.outcome == "sent" and len(box.mails) == 1
    assert (bad.outcome, bad.retry_at) == ("refused", NOW + SETTING) and "login" in bad.detail
    assert (open_.outcome, open_.retry_at) == ("refused", NOW + SETTING)


@pytest.mark.parametrize(
    "name, trusted, outcome",
    [("127.0.0.1", True, "sent"), ("other.example", True, "refused"), ("127.0.0.1", False, "refused")],
)
def test_a_certificate_of_another_name_or_authority_is_not_talked_to(
    tmp_path: Path, name: str, trusted: bool, outcome: str
) -> None:
    context, vouches = certificate(tmp_path, name)
    with RudeServer(context, EHLO="250-loopback\r\n250 STARTTLS") as rude:
        sender = channel(rude.port, security="starttls", ca_file=str(vouches) if trusted else "")
        receipt = sender.deliver(message(), "d1")
        sender.close()
    again = NOW + SETTING if outcome == "refused" else None
    assert (receipt.outcome, receipt.retry_at, len(rude.taken)) == (outcome, again, outcome == "sent"), receipt.detail


def test_a_server_without_starttls_is_not_talked_to_in_the_clear(inbox: tuple[Inbox, int]) -> None:
    receipt = channel(inbox[1], security="starttls").deliver(message(), "d1")
    assert (receipt.outcome, receipt.retry_at, inbox[0].mails) == ("refused", NOW + SETTING, [])


@pytest.mark.parametrize(
    "wrong", [{"sender": "nobody"}, {"sender": "Shop\r\nBcc: <a@b.example>"}, {"return_path": "x"}]
)
def test_a_setting_that_cannot_work_is_found_at_the_start(wrong: dict[str, str]) -> None:
    with pytest.raises(OperatorError, match="Set it as"):
        channel(25, **wrong)


def test_a_password_is_not_sent_in_the_clear() -> None:
    with pytest.raises(OperatorError, match="in the clear"):
        channel(25, host="mail.example", username="shop", password="secret")
