"""How a message leaves: one protocol, one promise stated per channel.

A channel is given a rendered message and the id of the decision behind it, and says honestly what became of it. It
does not know why the message is sent. Trouble at the provider is a `Receipt`, never an exception: what is raised from
here is a defect of ours, or a setting that cannot work and is found when the channel is made.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from wayline.domain import Message, Receipt

__all__ = ["Channel", "Promise"]

Promise: TypeAlias = Literal["repeatable", "unrepeatable"]


class Channel(Protocol):
    """One way to reach a customer."""

    @property
    def name(self) -> str:
        """What playbooks call it: `email`."""
        ...

    @property
    def promise(self) -> Promise:
        """Whether a second call with the same key is harmless.

        `repeatable`: the other side knows the key, so a call whose receipt was lost is simply made again.
        `unrepeatable`: it may deliver twice. After a crash such a message is `unknown`; marketing is left there, and
        what a customer is owed is sent again.
        """
        ...

    def deliver(self, message: Message, key: str) -> Receipt:
        """Hand one message over and say what became of it; `key` is the decision's id, the same in every attempt."""
        ...

    def close(self) -> None:
        """Give up connections; what was delivered stays delivered."""
        ...
