"""What clients of the tracking API are answered: exactly 200, or an error with `code` and `message`, from any page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

__all__ = ["GIF", "JSON", "SUCCESS", "Header", "Refused", "Send", "after", "send", "send_preflight", "send_refusal"]

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

SUCCESS: Final = b'{"success":true}'
JSON: Final[Header] = (b"content-type", b"application/json")
GIF: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,"
    b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
"""One transparent point."""

_EXPOSED: Final[Header] = (b"access-control-expose-headers", b"Retry-After, X-RateLimit-Reset")
_ANYWHERE: Final[tuple[Header, ...]] = ((b"access-control-allow-origin", b"*"), _EXPOSED)
_PREFLIGHT: Final[tuple[Header, ...]] = (
    *_ANYWHERE,
    (b"access-control-allow-methods", b"POST, GET, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Content-Encoding, X-Retry-Count, X-Wayline-Identity",
    ),
    (b"access-control-max-age", b"86400"),
)


class Refused(Exception):
    """An answer that is no success: what the client is told."""

    def __init__(
        self, status: int, code: str, message: str, headers: Sequence[Header] = (), *, source: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
        self.source = source
        """Whose request it was, if its key said so."""
        self.errors: Sequence[Mapping[str, str]] = ()


def after(seconds: int) -> tuple[Header, ...]:
    """When to come again."""
    return ((b"retry-after", str(seconds).encode()),)


async def send(to: Send, status: int, body: bytes, headers: Sequence[Header], *, page: bytes = b"") -> None:
    """Answer; only `page` and its like may read it, if one is named."""
    where = _ANYWHERE
    if page:
        where = ((b"access-control-allow-origin", page), (b"vary", b"Origin"), _EXPOSED)
    length = (b"content-length", str(len(body)).encode())
    await to({"type": "http.response.start", "status": status, "headers": [*headers, *where, length]})
    await to({"type": "http.response.body", "body": body})


async def send_preflight(to: Send) -> None:
    """Say that any page may ask; whether it is let in is decided by its key, which a preflight does not show."""
    await to({"type": "http.response.start", "status": 204, "headers": [*_PREFLIGHT, (b"content-length", b"0")]})
    await to({"type": "http.response.body", "body": b""})


async def send_refusal(to: Send, refused: Refused) -> None:
    """Tell why not. Any page may read it: what it cannot read it would take for a failing network, and send again."""
    told: dict[str, Any] = {"code": refused.code, "message": refused.message}
    body = msgspec.json.encode(told | ({"errors": refused.errors} if refused.errors else {}))
    await send(to, refused.status, body, (JSON, *refused.headers))
