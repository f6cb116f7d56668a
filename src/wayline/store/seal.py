"""How personal values become unreadable: pseudonyms, seals, and the one key both hang on.

The installation has one master key, 32 random bytes in a file of its own that only its owner can read, outside every
database, so that a copied database gives away nothing. From it come, by purpose, the key of the pseudonyms, the key
that wraps the subjects' own keys, and the key that seals rejected events.
"""

from __future__ import annotations

import os
import secrets
import stat
from hashlib import blake2b
from pathlib import Path

from wayline.errors import OperatorError

__all__ = ["MasterKey", "Seal", "pseudonym", "sync_folder"]

_KEY_BYTES = 32
_NONCE_BYTES = 12


def pseudonym(key: bytes, kind: str, value: str) -> str:
    """A keyed hash of an identifier, 128 bits in hex: the same for ever under one key, useless without it."""
    # The length of the kind goes first, so that no two pairs run together to the same bytes.
    text = f"{len(kind)}:{kind}{value}".encode("utf-8", "surrogatepass")
    return blake2b(text, key=key, digest_size=16).hexdigest()


class Seal:
    """Authenticated encryption under one key, bound to what it is about: a value moved to another row will not open."""

    def __init__(self, key: bytes) -> None:
        # Imported late: it costs tens of milliseconds, and memory-only runs never need it.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)

    def close(self, plain: bytes, about: str) -> bytes:
        """Seal these bytes."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, about.encode("utf-8", "surrogatepass"))

    def open(self, sealed: bytes, about: str) -> bytes:
        """The bytes that were sealed; OperatorError if the key is another one or a byte was changed."""
        from cryptography.exceptions import InvalidTag

        try:
            nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return self._cipher.decrypt(nonce, body, about.encode("utf-8", "surrogatepass"))
        except InvalidTag:
            raise OperatorError(
                f"sealed value of {about}: it does not open. Either the master key is not the one it was sealed with, "
                f"or the stored bytes were changed. Restore the key file or the database from one same backup."
            ) from None


class MasterKey:
    """The secret of one installation; everything else is derived from it by purpose."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != _KEY_BYTES:
            raise OperatorError(
                f"master key: expected {_KEY_BYTES} bytes, found {len(secret)}. Restore the key file from a backup."
            )
        self._secret = secret

    def derive(self, purpose: str) -> bytes:
        """The 32-byte key for one purpose."""
        return blake2b(purpose.encode(), key=self._secret, digest_size=_KEY_BYTES).digest()

    @property
    def fingerprint(self) -> str:
        """What tells two keys apart without giving either away."""
        return blake2b(b"fingerprint", key=self._secret, digest_size=8).hexdigest()

    @classmethod
    def read(cls, path: Path) -> MasterKey:
        """The key of this file, which only its owner may be able to read."""
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise OperatorError(
                f"{path}: others can read the master key (mode {mode:04o}, expected 0600). Run: chmod 600 {path}"
            )
        return cls(path.read_bytes())

    @classmethod
    def create(cls, path: Path, secret: bytes | None = None) -> MasterKey:
        """A new key in a new file, on disk before it is used; never over an old one. `secret`: one that is none."""
        secret = secret or secrets.token_bytes(_KEY_BYTES)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(file, secret)
            os.fsync(file)
            os.link(draft, path)  # unlike a rename, a link refuses a name that is taken
        finally:
            os.close(file)
            os.unlink(draft)
        sync_folder(path.parent)
        return cls(secret)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a file that is synced may still be lost with its name."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
