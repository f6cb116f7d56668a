"""The receivers of signed calls a shop has set up, made from what its wayline.toml says of each source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from wayline.errors import OperatorError
from wayline.sources import Receiver
from wayline.sources.signed import GenericWebhook

__all__ = ["open_receivers", "secrets_of"]

_Open: TypeAlias = Callable[[str, Mapping[str, Any], Mapping[str, str]], Receiver]


def open_receivers(settings: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str]) -> dict[str, Receiver]:
    """The receivers of `[sources.NAME]`, by source. Raises OperatorError for one whose secret is not there."""
    return {
        name: _KINDS[said["kind"]](name, said, environment)
        for name, said in settings.items()
        if said.get("kind") in _KINDS
    }


def secrets_of(source: str, said: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """The secrets in the variable that `secret_env` names: one, or two apart by a space while it is being replaced."""
    secrets = environment.get(said["secret_env"], "").split()
    if not secrets:
        raise OperatorError(
            f"source {source}: the environment variable {said['secret_env']} is not set, and its secret_env says the "
            f"secret is there. Set it for the process that serves."
        )
    return secrets


def _generic(source: str, said: Mapping[str, Any], environment: Mapping[str, str]) -> Receiver:
    return GenericWebhook(secrets_of(source, said, environment))


_KINDS: Final[Mapping[str, _Open]] = {"webhook": _generic}
