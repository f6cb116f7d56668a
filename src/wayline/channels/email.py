"""E-mail by SMTP, with an honest answer to "was it delivered?".

SMTP has one gap that no client can close: after the final dot the message may have been taken although its reply was
lost (RFC 1047). Whatever goes wrong before that dot proves that nothing was delivered; a lost reply after it is
`unknown` and is never guessed. So the conversation is held here step by step, and each step knows what its failure
means.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import threading
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime, parseaddr
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from wayline.channels import Promise
from wayline.domain import Message, Receipt
from wayline.errors import OperatorError

__all__ = ["ADDRESS_MAX", "HEADER_MAX", "REPLY_LINES_MAX", "Composed", "Email", "EmailSettings", "compose"]

REPLY_LINES_MAX: Final = 100  # lines of one reply of a mail server
HEADER_MAX: Final = 900  # characters of one header: RFC 5322 allows 998 on a line
ADDRESS_MAX: Final = 254  # characters of an address

# How long to wait before offering the same message again, by what stood in the way.
_AGAIN: Final[Mapping[str, timedelta]] = {
    "unreachable": timedelta(minutes=1),
    "busy": timedelta(minutes=5),
    "full": timedelta(hours=1),
    "setting": timedelta(minutes=15),
}
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
# A message may bring these headers, and any that begins with X-. The others are ours to write.
_HEADERS: Final = frozenset(
    ("reply-to", "list-unsubscribe", "list-unsubscribe-post", "list-id", "feedback-id", "auto-submitted", "precedence")
)


class EmailSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where mail is handed over, and in whose name."""

    sender: str
    """`Name <address>` of the shop: what the recipient sees."""
    host: str = "localhost"
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password: str = ""
    return_path: str = ""
    """Where bounces go; the sender's address if empty."""
    ca_file: str = ""
    """Certificates to trust besides none: for a relay with a private authority. Empty: the system's."""
    hello: str = ""
    """The name we greet with; this machine's if empty."""
    timeout_seconds: float = 30.0
    """For connecting, and for each silence of the server."""
    deadline_seconds: float = 120.0
    """For one message in all, so that a server that trickles cannot hold us."""
    provider: Literal["", "mailgun", "postmark", "sendgrid", "ses"] = ""
    """Whose header brings our decision back with what becomes of the mail; told by the host if empty."""
    messages_per_connection_max: int = 100
    """Messages over one connection; servers end long ones, and not always politely."""


class Email:
    """The e-mail channel. One connection, kept over a batch; used by one thread at a time."""

    name = "email"
    promise: Promise = "unrepeatable"

    def __init__(self, settings: EmailSettings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        _check(settings)
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: _Conversation | None = None
        self._unreachable: Receipt | None = None

    def deliver(self, message: Message, key: str) -> Receipt:
        now = self._clock()
        try:
            composed = compose(message, key, self._settings, now)
        except ValueError as wrong:
            return Receipt("refused", now, detail=f"not composed: {wrong}")
        with self._lock:
            return self._receipt(composed)

    def close(self) -> None:
        with self._lock:
            self._hang_up(politely=True)

    def _receipt(self, composed: Composed) -> Receipt:
        """Offer it, on the open connection if there is one; a connection gone stale is replaced once."""
        down, now = self._unreachable, self._clock()
        if down is not None and down.retry_at is not None and now < down.retry_at:
            # Each message of a batch would wait for the same silence, and everything else for all of them.
            return replace(down, at=now)
        for is_last in (False, True):
            reused = self._connection is not None
            conversation: _Conversation | None = self._connection
            try:
                conversation = self._connection = conversation or _Conversation(self._settings)
                reply = conversation.offer(composed)
                if conversation.offered >= self._settings.messages_per_connection_max:
                    self._hang_up(politely=True)
                return Receipt("sent", self._clock(), detail=reply, provider_id=composed.message_id)
            except _NotDelivered as trouble:
                if not trouble.keeps_connection:
                    self._hang_up()
                if trouble.is_stale and reused and not is_last:
                    continue
                now = self._clock()
                again = None if trouble.again is None else now + _AGAIN[trouble.again]
                receipt = Receipt(trouble.outcome, now, detail=str(trouble), retry_at=again)
                self._unreachable = receipt if conversation is None else None
                return receipt
            except _Unclear as trouble:
                self._hang_up()
                return Receipt("unknown", self._clock(), detail=str(trouble), provider_id=composed.message_id)
        raise AssertionError("the second attempt always answers")

    def _hang_up(self, *, politely: bool = False) -> None:
        if self._connection is not None:
            self._connection.close(politely=politely)
            self._connection = None


# ------------------------------------------------------------------ the message


class Composed(Struct, frozen=True):
    """One mail as it goes over the wire, with its envelope."""

    sender: str
    recipient: str
    message_id: str
    content: bytes


class _Policy(EmailPolicy):
    """SMTP's, but for List- headers: the library would fold a long link by encoding it, and no receiver undoes that."""

    def fold_binary(self, name: str, value: Any) -> bytes:
        if name.lower().startswith("list-"):
            return f"{name}: {value}\r\n".encode("ascii")
        return super().fold_binary(name, value)


_POLICY = _Policy(linesep="\r\n", cte_type="7bit", max_line_length=SMTP.max_line_length)


def compose(message: Message, key: str, settings: EmailSettings, now: datetime) -> Composed:
    """The bytes of one mail. Raises ValueError, ending with the way out, where no proper mail can be made of it."""
    missing = [part for part in ("subject", "text") if not message.parts.get(part, "").strip()]
    if missing:
        raise ValueError(
            f"the content has no part {missing[0]!r}; a mail needs 'subject' and 'text', and may have 'html'"
        )
    if not re.fullmatch(r"[\w.-]{1,200}", key, re.ASCII):
        raise ValueError(f"the key {key[:40]!r} cannot be a Message-ID; expected letters, digits, '_', '-' and '.'")
    sender = _address(settings.sender)
    recipient = _address(message.to)
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = Address(parseaddr(settings.sender)[0], addr_spec=sender)
    mail["To"] = Address(addr_spec=recipient)
    mail["Subject"] = _one_line("subject", message.parts["subject"].strip())
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = message_id = f"<{key}@{sender.rpartition('@')[2]}>"
    mail["X-Wayline-Decision"] = key
    for name, value in _brings_back(settings, key):
        mail[name] = value
    for name, value in _headers(message.headers).items():
        mail[name] = value
    try:
        mail.set_content(message.parts["text"])
        if message.parts.get("html", "").strip():
            mail.add_alternative(message.parts["html"], subtype="html")
        content = mail.as_bytes()
    except (UnicodeError, MessageError) as wrong:
        raise ValueError(f"the text cannot be written as UTF-8 ({wrong}); remove the broken characters") from wrong
    return Composed(_address(settings.return_path or settings.sender), recipient, message_id, content)


_PROVIDERS: Final[Mapping[str, tuple[str, str, str]]] = {
    # provider: (what its hosts end with, header, value)
    "mailgun": ("mailgun.org", "X-Mailgun-Variables", '{"wayline_decision": "KEY"}'),
    "postmark": ("postmarkapp.com", "X-PM-Metadata-wayline-decision", "KEY"),
    "sendgrid": ("sendgrid.net", "X-SMTPAPI", '{"unique_args": {"wayline_decision": "KEY"}}'),
    "ses": ("amazonaws.com", "X-SES-MESSAGE-TAGS", "wayline_decision=KEY"),
}


def _brings_back(settings: EmailSettings, key: str) -> list[tuple[str, str]]:
    """The header by which this provider tells us later which message it speaks of; others would only pass it on."""
    return [
        (header, value.replace("KEY", key))
        for provider, (host, header, value) in _PROVIDERS.items()
        if provider == settings.provider or (not settings.provider and settings.host.endswith(f".{host}"))
    ]


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What a message may add, each on one line; one-click only where there is an https link to click (RFC 8058)."""
    checked = {}
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,60}", name):
            raise ValueError(f"{name[:40]!r} is no name of a header")
        if name.lower() not in _HEADERS and not name.lower().startswith("x-"):
            allowed = ", ".join(sorted(_HEADERS))
            raise ValueError(f"the header {name!r} is not a message's to set; allowed: {allowed}, x-...")
        if name.lower().startswith("list-") and not value.isascii():
            raise ValueError(f"the header {name!r} must be ASCII: percent-encode its links")
        checked[name] = _one_line(name, value)
    given = {name.lower(): value for name, value in checked.items()}
    if "list-unsubscribe-post" in given and "<https://" not in given.get("list-unsubscribe", "").lower():
        raise ValueError("List-Unsubscribe-Post needs a List-Unsubscribe with an <https://...> link")
    return checked


def _one_line(name: str, value: str) -> str:
    """The value, if it can break out of no header: an injected line break would add recipients or a second mail."""
    for character in value:
        if unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs"):
            raise ValueError(f"{name!r} contains the control character {character!r}; a header is one line of text")
    if len(value) > HEADER_MAX:
        raise ValueError(f"{name!r} has {len(value)} characters, at most {HEADER_MAX} fit a header")
    return value


def _address(text: str) -> str:
    """One mailbox, its domain in ASCII."""
    bare = parseaddr(_one_line("address", text))[1] if "<" in text else _one_line("address", text).strip()
    name, at, domain = bare.rpartition("@")
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError as wrong:
        raise ValueError(f"the address has a domain that is none ({wrong})") from wrong
    if not at or not re.fullmatch(r"[!#-'*+/-9=?A-Z^-~.-]{1,64}", name) or not re.fullmatch(r"[A-Za-z0-9.-]+", domain):
        # The address itself is personal and does not belong in a detail that is kept.
        raise ValueError("the address is not one plain mailbox; expected name@domain in ASCII")
    if len(name) + len(domain) + 1 > ADDRESS_MAX:
        raise ValueError(f"the address has more than {ADDRESS_MAX} characters")
    return f"{name}@{domain}"


def _check(settings: EmailSettings) -> None:
    """Refuse at the start what could never work, or would send a password in the clear."""
    for name in ("sender", "return_path"):
        value = getattr(settings, name)
        try:
            _address(value) if value or name == "sender" else None
        except ValueError as wrong:
            raise OperatorError(f"channel email: {name}: {wrong}. Set it as 'Shop <mail@shop.example>'.") from wrong
    if settings.username and settings.security == "none" and settings.host not in _LOOPBACK:
        raise OperatorError(
            f"channel email: the password would go to {settings.host} in the clear. "
            "Set security to 'starttls' or 'tls', or leave username empty."
        )


# ------------------------------------------------------------------ the conversation


class _NotDelivered(Exception):
    """Proof that nothing was delivered, with what to do about it."""

    def __init__(
        self,
        detail: str,
        *,
        again: str | None = None,
        outcome: Literal["refused", "dead"] = "refused",
        is_stale: bool = False,
        keeps_connection: bool = False,
    ) -> None:
        super().__init__(detail[:500])
        self.again = again
        self.outcome = outcome
        self.is_stale = is_stale
        self.keeps_connection = keeps_connection


class _Unclear(Exception):
    """The final dot left us and no reply came: nobody can tell."""


class _Bounded:
    """Limits on what a server may say: the library reads continuation lines for as long as they come."""

    file: Any
    sock: Any

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            self.file = self.sock.makefile("rb")
        lines: list[bytes] = []
        while len(lines) < REPLY_LINES_MAX:
            line: bytes = self.file.readline(1001)
            if not line:
                raise smtplib.SMTPServerDisconnected("the server closed the connection")
            if not re.match(rb"[2-5]\d\d[ \r\n-]", line) or not line.endswith(b"\n"):
                raise smtplib.SMTPServerDisconnected(f"the server said {line[:60]!r}, which is no SMTP reply")
            lines.append(line[4:].strip())
            if line[3:4] != b"-":
                return int(line[:3]), b"\n".join(lines)
        raise smtplib.SMTPServerDisconnected(f"the server's reply has more than {REPLY_LINES_MAX} lines")


class _Plain(_Bounded, smtplib.SMTP):
    pass


class _Encrypted(_Bounded, smtplib.SMTP_SSL):
    pass


_TROUBLE = (OSError, smtplib.SMTPException, ValueError)


class _Conversation:
    """One connection to the server, greeted and logged in."""

    def __init__(self, settings: EmailSettings) -> None:
        self.offered = 0
        self._deadline_seconds = settings.deadline_seconds
        where = f"{settings.host}:{settings.port}"
        trust = ssl.create_default_context(cafile=settings.ca_file or None)
        options: dict[str, Any] = {"local_hostname": settings.hello or None, "timeout": settings.timeout_seconds}
        encrypted = settings.security == "tls"
        self._smtp: smtplib.SMTP = _Encrypted(context=trust, **options) if encrypted else _Plain(**options)
        with self._deadline():
            try:
                self._greet(settings, trust)
            except smtplib.SMTPAuthenticationError as refused:
                self.close()
                raise _NotDelivered(f"{where} refused the login: {_said(refused)}", again="setting") from refused
            except (ssl.SSLError, smtplib.SMTPNotSupportedError) as trouble:
                self.close()
                raise _NotDelivered(f"{where}: no secure connection: {trouble}", again="setting") from trouble
            except _TROUBLE as trouble:
                self.close()
                raise _NotDelivered(f"{where} cannot be reached: {_said(trouble)}", again="unreachable") from trouble

    def _greet(self, settings: EmailSettings, trust: ssl.SSLContext) -> None:
        # The library checks the certificate's name against this, and knows it only when made with a host at once.
        self._smtp._host = settings.host  # type: ignore[attr-defined]  # a private name without a public way
        code, said = self._smtp.connect(settings.host, settings.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)
        self._smtp.ehlo_or_helo_if_needed()
        if settings.security == "starttls":
            self._smtp.starttls(context=trust)
            self._smtp.ehlo_or_helo_if_needed()
        if settings.username:
            self._smtp.login(settings.username, settings.password)

    def offer(self, composed: Composed) -> str:
        """Send one mail; what the server said when it took it."""
        self.offered += 1
        with self._deadline():
            self._envelope(composed)
            self._body(composed)
            return self._verdict()

    def _envelope(self, composed: Composed) -> None:
        size = [f"SIZE={len(composed.content)}"] if self._smtp.has_extn("size") else []
        steps: tuple[tuple[str, Callable[[], tuple[int, bytes]]], ...] = (
            ("MAIL", lambda: self._smtp.mail(composed.sender, size)),
            ("RCPT", lambda: self._smtp.rcpt(composed.recipient)),
            ("DATA", lambda: self._smtp.docmd("DATA")),
        )
        for step, send in steps:
            try:
                code, said = send()
            except _TROUBLE as trouble:
                is_stale = step == "MAIL"
                raise _NotDelivered(f"at {step}: {_said(trouble)}", again="unreachable", is_stale=is_stale) from trouble
            if code // 100 != (3 if step == "DATA" else 2):
                raise self._refusal(step, code, said)

    def _body(self, composed: Composed) -> None:
        """Everything but the final dot: without it the server must not deliver."""
        stuffed = re.sub(rb"(?m)^\.", b"..", composed.content)
        try:
            self._smtp.send(stuffed if stuffed.endswith(b"\r\n") else stuffed + b"\r\n")
        except _TROUBLE as trouble:
            raise _NotDelivered(f"before the final dot: {_said(trouble)}", again="unreachable") from trouble

    def _verdict(self) -> str:
        try:
            self._smtp.send(b".\r\n")
            code, said = self._smtp.getreply()
        except _TROUBLE as trouble:
            raise _Unclear(f"no reply after the final dot: {_said(trouble)}") from trouble
        if code // 100 == 3:
            raise _Unclear(f"the reply after the final dot was {code}, which says neither yes nor no")
        if code // 100 != 2:
            raise self._refusal("the final dot", code, said)
        return f"{code} {_text(said)}"[:200]

    def _refusal(self, step: str, code: int, said: bytes) -> _NotDelivered:
        """What a reply of 4xx or 5xx means at this step, and a connection ready for the next message if it can be."""
        outcome, again = _meaning(step, code, said)
        # 421 says the server is about to close; on a connection kept from an earlier message that is mere age.
        keeps = code != 421 and self._reset()
        return _NotDelivered(
            f"{code} {_text(said)} (at {step})",
            outcome=outcome,
            again=again,
            is_stale=code == 421 and step == "MAIL",
            keeps_connection=keeps,
        )

    def _reset(self) -> bool:
        try:
            return self._smtp.rset()[0] == 250
        except _TROUBLE:
            return False

    def _deadline(self) -> _Deadline:
        return _Deadline(self._smtp, self._deadline_seconds)

    def close(self, *, politely: bool = False) -> None:
        """Leave; politely says goodbye first, to a server that still listens."""
        try:
            if politely:
                with self._deadline():
                    self._smtp.docmd("QUIT")
        except _TROUBLE:
            return  # it had left already; every message on it has its receipt
        finally:
            self._smtp.close()


class _Deadline:
    """Cuts the connection when a step takes too long in all; a read's own time-out starts anew with every byte."""

    def __init__(self, smtp: smtplib.SMTP, seconds: float) -> None:
        self._smtp = smtp
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _cut(self) -> None:
        connected = getattr(self._smtp, "sock", None)
        if connected is not None:
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # closed in this very moment: the waiting read has ended, which is all we want


# ------------------------------------------------------------------ what replies mean


def _meaning(step: str, code: int, said: bytes) -> tuple[Literal["refused", "dead"], str | None]:
    """(outcome, when again) of a refusal: the enhanced code (RFC 3463) if there is one, else the code and the step."""
    match = re.match(rb"[245]\.(\d{1,3})\.(\d{1,3})\b", said)
    subject, detail = (int(match[1]), int(match[2])) if match else (-1, -1)
    if code == 421:
        return "refused", "unreachable"
    if code // 100 == 4:
        return "refused", "full" if (subject, detail) == (2, 2) else "busy"
    if code in (530, 535, 538) or (step == "MAIL" and code != 552):
        return "refused", "setting"  # about us, not about them: whoever runs this can mend it
    if (subject, detail) == (2, 2) or (step == "RCPT" and code == 552 and not match):
        return "refused", "full"  # a full mailbox is not a dead one (RFC 5321, 4.5.3.1.10)
    if (subject == 1 and detail not in (7, 8)) or (subject, detail) == (2, 1):
        return "dead", None
    if not match and step == "RCPT" and code in (550, 551, 553, 556):
        return "dead", None
    return "refused", None


def _said(trouble: BaseException) -> str:
    if isinstance(trouble, smtplib.SMTPResponseException):
        return f"{trouble.smtp_code} {_text(trouble.smtp_error)}"
    if isinstance(trouble, TimeoutError):
        return "it did not answer in time"
    return str(trouble) or type(trouble).__name__


def _text(said: bytes | str) -> str:
    """A server's words without the recipient's address, which some repeat: details are kept, addresses are not."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return re.sub(r"\S+@\S+", "<address>", " ".join(text.split()))[:300]
