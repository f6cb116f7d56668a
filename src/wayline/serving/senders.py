"""Who may send: the keys of `[sources.NAME]`, what each may do, from where, how often, and until when.

A *write key* is public: it stands in every page of the shop, so it may only append, and only from the shop's own
pages if the source names them. A *secret key* is a server's: only its hash is written down, and it may do what its
scopes say. A source may have several of each, so that one can be replaced while the other still works. The file is
looked at again as soon as it changes: a key that is taken out of it is dead with the next request.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from msgspec import Struct

from wayline.errors import WaylineError
from wayline.playbook.sources import KEY_PREFIXES

__all__ = [
    "IDENTITY_SECRET_BYTES_MIN",
    "REQUESTS_PER_SECOND",
    "Keys",
    "Sender",
    "Watched",
    "hashed",
    "key_of_header",
    "new_key",
]

_log = structlog.get_logger()

REQUESTS_PER_SECOND: Final = 20_000
"""Requests a second by one key, if wayline.toml does not say: more than a machine of two cores can take."""
IDENTITY_SECRET_BYTES_MIN: Final = 32
"""Bytes of the secret that identity tokens are signed with."""
_BURST_SECONDS: Final = 2.0  # of a key's rate that may come at once
_LOOK_SECONDS: Final = 0.2  # between two looks at the file; a revoked key lives no longer


class Sender(Struct, frozen=True):
    """A source that may send, as its key says."""

    source: str
    trusted: bool
    """Whether the key was secret: a browser's is not, and what it says of a person is a claim."""
    key_hash: str = ""
    scopes: frozenset[str] = frozenset({"events"})
    expires_at: datetime | None = None
    pages: frozenset[str] = frozenset()
    """The pages it may send from, as browsers name them; any if there are none."""
    requests_per_second: float = REQUESTS_PER_SECOND
    identity_secret: bytes = b""
    """What the shop's server signs identity tokens with; empty if it does not."""


class Keys:
    """The keys of `[sources.NAME]`, kept as hashes, and how fast each is used."""

    def __init__(
        self,
        sources: Mapping[str, Mapping[str, Any]],
        environ: Mapping[str, str] | None = None,
        *,
        usual_rate: float = REQUESTS_PER_SECOND,
        watched: Watched | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environ = environ or {}
        self._usual_rate = usual_rate
        self._watched = watched
        self._seconds = seconds
        self._looked_at = seconds()
        self._left: dict[str, tuple[float, float]] = {}
        self.doubts: list[str] = []
        """What of the sources does not work as it is, in words."""
        self._senders = self._read(sources)

    def sender(self, key: str) -> Sender | None:
        """Whose key that is; None if nobody's."""
        if self._watched is not None and self._seconds() - self._looked_at >= _LOOK_SECONDS:
            self._look(self._watched)
        # Looked up by its hash, how long it takes tells nothing of the keys there are.
        return self._senders.get(hashed(key))

    def wait(self, sender: Sender) -> float:
        """Seconds until this key may send again; 0 if it may now, which is then counted."""
        rate = sender.requests_per_second
        most = max(rate * _BURST_SECONDS, 1.0)
        now = self._seconds()
        left, at = self._left.get(sender.key_hash, (most, now))
        left = min(most, left + (now - at) * rate)
        if left < 1:
            self._left[sender.key_hash] = (left, now)
            return (1 - left) / rate
        self._left[sender.key_hash] = (left - 1, now)
        return 0.0

    @property
    def trouble(self) -> str:
        """Why the file of settings as it is now was not taken; empty if it was."""
        return "" if self._watched is None else self._watched.trouble

    def __len__(self) -> int:
        return len(self._senders)

    def _look(self, watched: Watched) -> None:
        self._looked_at = self._seconds()
        sources = watched.changed()
        if sources is not None:
            self._senders = self._read(sources)
            # A key that comes back begins with its whole allowance; one that is gone takes no room.
            known = {each.key_hash for each in self._senders.values()}
            self._left = {key: left for key, left in self._left.items() if key in known}
            _log.info("the keys were read again", keys=len(self._senders))

    def _read(self, sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Sender]:
        self.doubts = []
        return {
            sender.key_hash: sender
            for source, said in sources.items()
            if said.get("kind", "tracking") == "tracking"
            for sender in self._senders_of(source, said)
        }

    def _identity_secret(self, source: str, named: str) -> bytes:
        secret = self._environ.get(named, "").encode() if named else b""
        if not named or len(secret) >= IDENTITY_SECRET_BYTES_MIN:
            return secret
        found = f"is only {len(secret)} bytes long" if secret else "is not in the environment"
        # A short one could be guessed, and whoever guesses it is everybody.
        self.doubts.append(
            f"Identity tokens of source {source!r} count for nothing: {named} {found}, and "
            f"{IDENTITY_SECRET_BYTES_MIN} bytes or more are needed. Set it, and start wayline serve again."
        )
        return b""

    def _senders_of(self, source: str, said: Mapping[str, Any]) -> Iterator[Sender]:
        pages = frozenset(map(str.lower, said.get("origins", ())))
        secret = self._identity_secret(source, str(said.get("identity_secret_env", "")))
        rate = float(said.get("requests_per_second", self._usual_rate))
        for each in (said, *said.get("keys", ())):
            expires_at = _expires_at(each.get("expires_on"))
            if each.get("write_key"):
                yield Sender(
                    source,
                    trusted=False,
                    key_hash=hashed(each["write_key"]),
                    expires_at=expires_at,
                    pages=pages,
                    requests_per_second=rate,
                    identity_secret=secret,
                )
            if each.get("secret_key_sha256"):
                yield Sender(
                    source,
                    trusted=True,
                    key_hash=each["secret_key_sha256"],
                    scopes=frozenset(each.get("scopes", ("events",))),
                    expires_at=expires_at,
                    requests_per_second=rate,
                )


def _expires_at(said: Any) -> datetime | None:
    """The first instant a key is dead: the day it names is its last, in UTC."""
    if not said:
        return None
    return datetime.combine(date.fromisoformat(str(said)) + timedelta(days=1), datetime.min.time(), UTC)


class Watched:
    """A file of settings, read again when it changes; `read` gives the sources in it."""

    def __init__(self, path: Path, read: Callable[[str], Mapping[str, Mapping[str, Any]]]) -> None:
        self._path = path
        self._read = read
        self._seen = self._state()
        self.trouble = ""
        """Why the file as it is now was not taken; empty if it was."""

    def changed(self) -> Mapping[str, Mapping[str, Any]] | None:
        """The sources, if the file was changed since the last look and can be used."""
        state = self._state()
        if state == self._seen:
            return None
        self._seen = state
        try:
            sources = self._read(self._path.read_text())
        except (OSError, UnicodeDecodeError, WaylineError) as error:
            self.trouble = f"{self._path.name} was changed and cannot be used, so the keys before still hold: {error}"
            _log.error("the keys were not read again", reason=self.trouble)
            return None
        self.trouble = ""
        return sources

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def hashed(key: str) -> str:
    """A key as it is written down."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(*, is_secret: bool) -> str:
    """A new key, which says by its beginning what it is: scanners of published code find a secret one by it."""
    return KEY_PREFIXES[is_secret] + secrets.token_urlsafe(32 if is_secret else 24)


def key_of_header(header: str) -> str:
    """The key in an Authorization header: the name of Basic, or what Bearer brings."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
