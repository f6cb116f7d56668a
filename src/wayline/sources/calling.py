"""Asking other systems over the network: one guarded client for whatever a source asks.

Where a call goes is set by whoever runs this, and a name may still lead elsewhere tomorrow. So each connection resolves
the name itself, looks at *every* address it got, and connects to one it looked at, under the name it was asked for (the
certificate is the name's). Only the host that was set up is ever asked. Redirects are not followed, answers are bounded
in bytes and in time, and nothing but JSON is asked for, uncompressed.

The deny list is our own: `ipaddress` calls some inward networks global (64:ff9b::7f00:1 is 127.0.0.1 behind a
translator, and 100.64.0.0/10 is a provider's inside).
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from wayline.errors import OperatorError

if TYPE_CHECKING:
    import ssl

    import httpcore

__all__ = ["ANSWER_BYTES_MAX", "Answer", "Barred", "Caller", "Resolve", "Unanswered", "is_inward"]

ANSWER_BYTES_MAX: Final = 16 << 20
"""Bytes of one answer."""

_SECONDS_MAX: Final = 10.0  # to connect, and between two pieces of an answer
_WHOLE_SECONDS_MAX: Final = 60.0  # from asking to the last piece of an answer

_INWARD: Final = tuple(
    ipaddress.ip_network(each)
    for each in [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/127",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    ]
)

Resolve: TypeAlias = Callable[[str, int], Iterable[str]]
"""The addresses of a name."""


class Barred(OperatorError):
    """A call that is not made: the address lies inward, or the host is another than was set up."""


class Unanswered(OperatorError):
    """A call that brought no usable answer; it may bring one later."""


class Answer(Struct, frozen=True):
    """What came back. Names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def is_inward(address: str) -> bool:
    """Whether an address is none of the public network: this machine, a private net, or a translator to one."""
    read = ipaddress.ip_address(address.partition("%")[0])
    return any(read in network for network in _INWARD if network.version == read.version)


class Caller:
    """Asks one host, one call at a time. `base_url` says which; `headers` go with every call and hold the secret."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        allow_private: bool = False,
        resolve: Resolve | None = None,
        bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        self._base = urlsplit(base_url.rstrip("/"))
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._allow_private = allow_private
        self._resolve = resolve or _resolve
        self._bytes_max = bytes_max
        self._pool: httpcore.ConnectionPool | None = None
        self._until = 0.0
        self._check_url()

    def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """The answer to one call of a path below the base. Raises Barred or Unanswered."""
        import httpcore

        if not path.startswith("/") or path.startswith("//") or not path.isascii() or not path.isprintable():
            raise Barred(f"{path[:80]!r} is no path of {self._base.netloc}")
        url = f"{self._base.scheme}://{self._base.netloc}{self._base.path}{path}"
        headers = [(b"Accept", b"application/json"), (b"Accept-Encoding", b"identity"), (b"User-Agent", b"wayline")]
        headers += self._headers + ([(b"Content-Type", b"application/json")] if body else [])
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), _SECONDS_MAX)
        self._until = time.monotonic() + _WHOLE_SECONDS_MAX
        try:
            with self._opened().stream(
                method, url, headers=headers, content=body, extensions={"timeout": timeouts}
            ) as answer:
                return self._read(answer)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            # The connection may be what is broken: the next call makes another.
            self.close()
            reason = f"{type(error).__name__} {error}".strip()
            raise Unanswered(f"{self._base.netloc} gave no answer ({reason})") from error

    def close(self) -> None:
        """Give the connections up."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _check_url(self) -> None:
        said, host = self._base.geturl(), self._base.hostname
        if self._base.scheme not in ("https", "http") or not host or "@" in self._base.netloc:
            raise Barred(f"{said[:80]!r} is no address such as https://shop.example/wp-json/wc/v3")
        if self._base.query or self._base.fragment:
            raise Barred(f"{said[:80]!r} has a query; an api_url ends with its path")
        if self._base.scheme == "http" and not self._allow_private:
            raise Barred(f"{said[:80]!r} is not https: the secret would be readable on the way")
        if self._base.port not in (None, 443) and not self._allow_private:
            raise Barred(f"{said[:80]!r} names a port; only 443 is asked, unless allow_private = true")

    def _opened(self) -> httpcore.ConnectionPool:
        if self._pool is None:
            import httpcore

            self._pool = httpcore.ConnectionPool(
                max_connections=2,
                retries=0,
                network_backend=_guarded(
                    self._resolve, self._allow_private, self._base.scheme, lambda: self._until - time.monotonic()
                ),
            )
        return self._pool

    def _read(self, answer: httpcore.Response) -> Answer:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
        if 300 <= answer.status < 400:
            where = urlsplit(headers.get("location", "")).netloc
            raise Barred(
                f"{self._base.netloc} redirects to {where or 'elsewhere'}, and a secret is taken nowhere else; write "
                f"the address it redirects to as api_url, if it is the shop's"
            )
        body = bytearray()
        for part in answer.iter_stream():
            body += part
            if len(body) > self._bytes_max:
                raise Unanswered(f"{self._base.netloc} answered more than {self._bytes_max} bytes")
        return Answer(answer.status, headers, bytes(body))


def _resolve(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unanswered(f"the name {host[:80]!r} leads nowhere ({error})") from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _within(stream: httpcore.NetworkStream, left: Callable[[], float]) -> Any:
    """A connection on which nothing is waited for once its call has no seconds left.

    A read's own time-out starts anew with every byte, so a peer that sends one now and then, be it of a header that
    never ends, would hold us for hours.
    """
    import httpcore

    def at_most(seconds: float | None) -> float:
        if left() <= 0:
            raise httpcore.ReadTimeout(f"not answered wholly after {_WHOLE_SECONDS_MAX:.0f} seconds")
        return left() if seconds is None else min(seconds, left())

    class Within:
        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            return stream.read(max_bytes, at_most(timeout))

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            stream.write(buffer, at_most(timeout))

        def start_tls(
            self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
        ) -> Any:
            return _within(stream.start_tls(ssl_context, server_hostname, at_most(timeout)), left)

        def __getattr__(self, name: str) -> Any:
            return getattr(stream, name)  # all that waits for nobody is the connection's own

    return Within()


def _guarded(resolve: Resolve, allow_private: bool, scheme: str, left: Callable[[], float]) -> Any:
    """What opens connections: to an address that was looked at, never to a name; `left` is a call's seconds left."""
    import httpcore

    class Guarded(httpcore.NetworkBackend):
        def __init__(self) -> None:
            self._beneath = httpcore.SyncBackend()

        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[Any] | None = None,
        ) -> httpcore.NetworkStream:
            addresses = list(resolve(host, port))
            inward = [each for each in addresses if is_inward(each)]
            if inward and not allow_private:
                raise Barred(
                    f"{host[:80]!r} leads inward (to {inward[0]}), and nothing inward is asked; set allow_private = "
                    f"true if the shop's API is in your own network"
                )
            if scheme == "http" and not all(ipaddress.ip_address(each).is_loopback for each in addresses):
                raise Barred(f"{host[:80]!r} is not this machine, so it is asked by https alone")
            if not addresses:
                raise Unanswered(f"the name {host[:80]!r} leads nowhere")
            opened = self._beneath.connect_tcp(addresses[0], port, timeout, local_address, socket_options)
            bounded: httpcore.NetworkStream = _within(opened, left)
            return bounded

        def connect_unix_socket(self, *args: Any, **more: Any) -> httpcore.NetworkStream:
            raise Barred("only hosts are asked")

        def sleep(self, seconds: float) -> None:
            time.sleep(seconds)

    return Guarded()
