"""An SMTP server on loopback that follows a script: polite by default, and as rude as a test asks at any step."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO

VERBS = ("EHLO", "MAIL", "RCPT", "DATA", "RSET", "QUIT")
POLITE = {
    "connect": "220 loopback ready",
    "EHLO": "250-loopback\r\n250 SIZE 1000000",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    "body": "250 2.0.0 taken",
    "RSET": "250 ok",
    "QUIT": "221 bye",
}
HANG, DROP, TRICKLE = "hang", "drop", "trickle"


class RudeServer:
    """Answers each step of `POLITE` as scripted: another reply, or HANG, DROP (close), TRICKLE (a byte at a time).

    A step whose script is a list follows it over the connections and messages, then repeats its last.
    """

    def __init__(self, context: ssl.SSLContext | None = None, **script: str | list[str]) -> None:
        self.taken: list[bytes] = []
        self._context = context
        self.connections = 0
        self._script: Mapping[str, str | list[str]] = POLITE | script
        self._turn: dict[str, int] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._listen, daemon=True)]

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    def __enter__(self) -> RudeServer:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None
    ) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as lines:
            try:
                self._converse(peer, lines)
            except (OSError, StopIteration):
                return

    def _converse(self, peer: socket.socket, lines: IO[bytes], *, greets: bool = True) -> None:
        if greets:
            self._say(peer, "connect")
        while line := lines.readline():
            verb = line[:4].decode("ascii", "replace").upper()
            if verb == "STAR" and self._context is not None:
                peer.sendall(b"220 go on\r\n")
                with self._context.wrap_socket(peer, server_side=True) as private, private.makefile("rb") as more:
                    self._converse(private, more, greets=False)
                return
            self._say(peer, verb if verb in VERBS else "EHLO")
            if verb == "DATA" and self._last.startswith("354"):
                body = b""
                while (line := lines.readline()) != b".\r\n":
                    if not line:
                        return
                    body += line
                if self._next("body", peek=True).startswith("2"):
                    self.taken.append(body)
                self._say(peer, "body")
            if verb == "QUIT":
                return

    def _next(self, step: str, *, peek: bool = False) -> str:
        script = self._script[step]
        turn = self._turn.get(step, 0)
        self._turn[step] = turn + (not peek)
        return script if isinstance(script, str) else script[min(turn, len(script) - 1)]

    def _say(self, peer: socket.socket, step: str) -> None:
        self._last = reply = self._next(step)
        if reply == DROP:
            raise StopIteration
        if reply == HANG:
            self._over.wait(10)
            raise StopIteration
        if reply == TRICKLE:
            for _ in range(200):
                peer.sendall(b"2")
                time.sleep(0.05)
        peer.sendall(reply.encode() + b"\r\n")
