"""The receivers of signed calls a shop has set up, made from what its wayline.toml says of each source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from msgspec import Struct

from wayline.domain import Event
from wayline.errors import OperatorError
from wayline.sources import Receiver
from wayline.sources.facts import Rules
from wayline.sources.shopify import Shopify
from wayline.sources.signed import GenericWebhook
from wayline.sources.woocommerce import WooCommerce

__all__ = ["Shop", "open_receivers", "rules_of", "secrets_of"]


class Shop(Struct, frozen=True, kw_only=True):
    """What receivers may ask of the shop they receive for."""

    currency: str = "EUR"
    url: str = ""
    recall: Callable[[tuple[str, ...]], Iterable[Event]] | None = None
    """Events of these names that were stored before."""


_Open: TypeAlias = Callable[[str, Mapping[str, Any], Mapping[str, str], Shop], Receiver]


def open_receivers(
    settings: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str], shop: Shop | None = None
) -> dict[str, Receiver]:
    """The receivers of `[sources.NAME]`, by source. Raises OperatorError for one whose secret is not there."""
    return {
        name: _KINDS[said["kind"]](name, said, environment, shop or Shop())
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


def rules_of(said: Mapping[str, Any], shop: Shop) -> Rules:
    """How a shop platform's resources are read."""
    return Rules(
        known_by=said.get("user_id_from") or "customer_id", currency=shop.currency, shop_url=shop.url.rstrip("/")
    )


def _generic(source: str, said: Mapping[str, Any], environment: Mapping[str, str], shop: Shop) -> Receiver:
    return GenericWebhook(secrets_of(source, said, environment))


def _shopify(source: str, said: Mapping[str, Any], environment: Mapping[str, str], shop: Shop) -> Receiver:
    return Shopify(secrets_of(source, said, environment), rules_of(said, shop), shop.recall)


def _woocommerce(source: str, said: Mapping[str, Any], environment: Mapping[str, str], shop: Shop) -> Receiver:
    return WooCommerce(secrets_of(source, said, environment), rules_of(said, shop), shop.recall)


_KINDS: Final[Mapping[str, _Open]] = {"webhook": _generic, "shopify": _shopify, "woocommerce": _woocommerce}
