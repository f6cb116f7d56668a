"""The receivers of signed calls, and the APIs to ask, made from what wayline.toml says of each source."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from msgspec import Struct

from wayline.domain import Product
from wayline.errors import AuthorError, OperatorError
from wayline.sources import Receiver
from wayline.sources.asking import Api, ShopifyApi, WooCommerceApi
from wayline.sources.bodies import read_body_mapping
from wayline.sources.facts import Rules
from wayline.sources.mailgun import Mailgun
from wayline.sources.postmark import Postmark
from wayline.sources.sendgrid import SendGrid
from wayline.sources.ses import Ses, fetched
from wayline.sources.shopify import Shopify
from wayline.sources.signed import BodySigned, GenericWebhook, Mapped
from wayline.sources.tickets import TicketForms, Zendesk
from wayline.sources.twilio import Twilio
from wayline.sources.woocommerce import WooCommerce

__all__ = ["SecretUnset", "Shop", "open_apis", "open_receivers", "rules_of", "secrets_of"]


class SecretUnset(OperatorError):
    """The variable that holds a secret is not set here, as may well be where nothing is served."""


class Shop(Struct, frozen=True, kw_only=True):
    """What receivers may ask of the shop they receive for."""

    currency: str = "EUR"
    url: str = ""
    recall: Callable[[], Iterable[Product]] | None = None
    """The shelf as it is kept."""
    folder: Path = Path()
    """Where the files are that a source names."""


class _Source(Struct, frozen=True):
    """One source as it is set up."""

    name: str
    said: Mapping[str, Any]
    environment: Mapping[str, str]
    shop: Shop

    @property
    def secrets(self) -> list[str]:
        return secrets_of(self.name, self.said, self.environment)

    def listed(self, field: str) -> list[str]:
        """A list, also where a lone item was written without one."""
        told = self.said.get(field, ())
        return [told] if isinstance(told, str) else list(told)

    def file(self, path: str) -> bytes:
        """The bytes of a file named in the setting, from the shop's folder."""
        try:
            return (self.shop.folder / path).read_bytes()
        except OSError as error:
            raise OperatorError(f"source {self.name}: {path} cannot be read: {error.strerror or error}") from error


_Open: TypeAlias = Callable[[_Source], Receiver]


def open_receivers(
    settings: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str], shop: Shop | None = None
) -> dict[str, Receiver]:
    """The receivers of `[sources.NAME]`, by source; files they name are in the shop's folder.

    Raises OperatorError for one whose secret or file is not there, AuthorError for a mapping with problems.
    """
    return {
        name: _opened(_Source(name, said, environment, shop or Shop()))
        for name, said in settings.items()
        if said.get("kind") in _KINDS
    }


def _opened(source: _Source) -> Receiver:
    """The receiver of one source; what is wrong names the source, and the variable where it is the secret."""
    try:
        return _KINDS[source.said["kind"]](source)
    except AuthorError:
        raise
    except OperatorError as error:
        where = f"source {source.name}"
        if str(error).startswith(where):
            raise
        held = source.said.get("secret_env", "")
        raise OperatorError(f"{where}{f' (environment variable {held})' if held else ''}: {error}") from error


def open_apis(
    settings: Mapping[str, Mapping[str, Any]],
    environment: Mapping[str, str],
    pause: Callable[[float], None] = time.sleep,
) -> dict[str, Api]:
    """The APIs of `[sources.NAME.poll]`, by source. Raises OperatorError for one whose key is not there."""
    return {
        name: _APIS[said["kind"]](name, said["poll"], environment, pause)
        for name, said in settings.items()
        if said.get("kind") in _APIS and said.get("poll")
    }


def _shopify_api(
    source: str, said: Mapping[str, Any], environment: Mapping[str, str], pause: Callable[[float], None]
) -> Api:
    token = _held(source, said, "token_env", environment)
    return ShopifyApi(said["api_url"], token, allow_private=bool(said.get("allow_private")), pause=pause)


def _woocommerce_api(
    source: str, said: Mapping[str, Any], environment: Mapping[str, str], pause: Callable[[float], None]
) -> Api:
    key, secret = (_held(source, said, name, environment) for name in ("consumer_key_env", "consumer_secret_env"))
    return WooCommerceApi(said["api_url"], key, secret, allow_private=bool(said.get("allow_private")), pause=pause)


def _held(source: str, said: Mapping[str, Any], name: str, environment: Mapping[str, str]) -> str:
    held = environment.get(said[name], "").strip()
    if not held:
        raise SecretUnset(
            f"source {source}: the environment variable {said[name]} is not set, and its {name} says the key is there. "
            f"Set it for the process that serves."
        )
    return held


def secrets_of(source: str, said: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """The secrets in the variable that `secret_env` names: one, or two apart by a space while it is being replaced."""
    secrets = environment.get(said["secret_env"], "").split()
    if not secrets:
        raise SecretUnset(
            f"source {source}: the environment variable {said['secret_env']} is not set, and its secret_env says the "
            f"secret is there. Set it for the process that serves."
        )
    return secrets


def rules_of(said: Mapping[str, Any], shop: Shop) -> Rules:
    """How a shop platform's resources are read."""
    return Rules(
        known_by=said.get("user_id_from") or "customer_id", currency=shop.currency, shop_url=shop.url.rstrip("/")
    )


def _generic(source: _Source) -> Receiver:
    path = source.said.get("mapping")
    # Before the secret, which may be set where it is served alone.
    mapping = read_body_mapping(source.file(path).decode("utf-8", "replace"), file=path) if path else None
    header = source.said.get("header", "")
    signed: Receiver = GenericWebhook(source.secrets) if not header else BodySigned(
        source.secrets,
        header=header,
        encoding=source.said.get("encoding", "hex"),
        prefix=source.said.get("prefix", ""),
    )  # fmt: skip
    return signed if mapping is None else Mapped(signed, mapping.messages)


def _postmark(source: _Source) -> Receiver:
    return Postmark(source.secrets, header=source.said.get("header", ""), networks=source.listed("networks"))


def _ses(source: _Source) -> Receiver:
    return Ses(
        source.listed("topics"),
        [source.file(path) for path in source.listed("certificates")],
        fetch=fetched,
        confirms=bool(source.said.get("confirm")),
    )


def _shopify(source: _Source) -> Receiver:
    return Shopify(source.secrets, rules_of(source.said, source.shop), source.shop.recall)


def _woocommerce(source: _Source) -> Receiver:
    return WooCommerce(source.secrets, rules_of(source.said, source.shop), source.shop.recall)


_KINDS: Final[Mapping[str, _Open]] = {
    "webhook": _generic,
    "shopify": _shopify,
    "woocommerce": _woocommerce,
    "ses": _ses,
    "sendgrid": lambda source: SendGrid(source.listed("public_key")),
    "postmark": _postmark,
    "mailgun": lambda source: Mailgun(source.secrets),
    "twilio": lambda source: Twilio(source.secrets),
    "zendesk": lambda source: Zendesk(source.secrets),
    "tickets": lambda source: TicketForms(source.secrets),
}

_APIS: Final[Mapping[str, Callable[[str, Mapping[str, Any], Mapping[str, str], Callable[[float], None]], Api]]] = {
    "shopify": _shopify_api,
    "woocommerce": _woocommerce_api,
}
