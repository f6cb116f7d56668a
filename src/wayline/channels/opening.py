"""The channels a shop has set up, made from what its wayline.toml says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from wayline.channels import Channel
from wayline.channels.dryrun import DryRun
from wayline.channels.email import Email, EmailSettings
from wayline.errors import OperatorError

__all__ = ["OpenedChannels", "open_channels"]

_SENT_HERE = ("onsite",)  # shown by the page that asks, so nothing is to be set up
_KEPT_MAX = 100  # messages a dry run remembers


class OpenedChannels(Struct, frozen=True):
    """The channels that can deliver, by name, and a sentence for each that is named and cannot."""

    by_name: Mapping[str, Channel]
    closed: tuple[str, ...]

    def close(self) -> None:
        """Give up their connections."""
        for channel in self.by_name.values():
            channel.close()


def open_channels(
    settings: Mapping[str, Mapping[str, Any]],
    environment: Mapping[str, str],
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> OpenedChannels:
    """The channels of `[channels.NAME]`. Raises OperatorError for one that is set up and could never work."""
    opened: dict[str, Channel] = {}
    closed: list[str] = []
    for name, said in settings.items():
        if said.get("dry_run"):
            opened[name] = DryRun(name, kept_max=_KEPT_MAX, clock=clock)
            closed.append(f"channel {name}: a dry run (dry_run = true): messages are written and thrown away.")
        elif name == "email" and said.get("host"):
            opened[name] = Email(_email(said, environment), clock=clock)
        elif name == "email":
            closed.append(
                "channel email: no mail leaves, each is refused with this reason. Name the mail server: "
                "[channels.email] host, or rehearse with dry_run = true."
            )
        elif name not in _SENT_HERE:
            closed.append(
                f"channel {name}: nothing delivers it yet, each message is refused. Rehearse: dry_run = true."
            )
    return OpenedChannels(opened, tuple(closed))


def _email(said: Mapping[str, Any], environment: Mapping[str, str]) -> EmailSettings:
    sender = said.get("from")
    if not sender:
        raise OperatorError(
            "channel email: it has a host and no sender. Add [channels.email] from = 'Shop <mail@...>'."
        )
    password = ""
    if said.get("password_env"):
        password = environment.get(said["password_env"], "")
        if not password:
            raise OperatorError(
                f"channel email: the environment variable {said['password_env']} is not set, and its password_env says "
                f"the password is there. Set it for the process that serves."
            )
    names = ("host", "port", "security", "username", "return_path", "ca_file", "hello", "provider")
    chosen = {name: said[name] for name in names if name in said}
    return EmailSettings(sender=sender, password=password, **chosen)
