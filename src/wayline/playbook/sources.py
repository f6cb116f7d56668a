"""What `[sources.NAME]` may say, by its kind: who sends, and how we know that it is them.

A secret that must be had to check a signature stands in the environment of the process (`..._env`), never in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wayline.playbook.grammar import Field, Kinds, Record, Section, Text

__all__ = ["ENVIRONMENT", "SOURCE", "check_sources"]

_OURS = "wayline"  # the source of events the engine writes itself

ENVIRONMENT: Final = Text(pattern=r"[A-Za-z_][A-Za-z0-9_]{0,127}", means="the name of a variable of the environment")
"""Where a secret is that is kept out of every file."""


def _kind(name: str, means: str) -> Field:
    return Field(Text((name,), means="a kind"), means)


SOURCE: Final = Kinds(
    {
        "tracking": Record(
            {
                "kind": _kind("tracking", "A client of the tracking API; what is meant if none is said."),
                "write_key": Field(
                    Text(pattern=r"[A-Za-z0-9_.-]{8,200}", means="a key of 8 to 200 letters, digits, '_', '-' and '.'"),
                    "A public key, for browsers and apps: anybody can read it there, so it may tell less.",
                ),
                "secret_key_sha256": Field(
                    Text(pattern=r"[0-9a-f]{64}", means="a SHA-256 hash in 64 hexadecimal digits"),
                    "The hash of a secret key, for servers; the key itself is in no file.",
                ),
            },
            "a source",
        ),
        "webhook": Record(
            {
                "kind": _kind("webhook", "Any system that signs its calls as Standard Webhooks says."),
                "secret_env": Field(
                    ENVIRONMENT,
                    "Where the secret is, `whsec_` and base64; two of them apart by a space while it "
                    "is being replaced.",
                    required=True,
                ),
            },
            "a webhook source",
        ),
    },
    "tracking",
    "a source",
)


def check_sources(sources: Mapping[str, Section], settings: Section) -> None:
    """A key tells who sends, so no two sources share one, and none takes the name of the engine's own events."""
    holders: dict[str, str] = {}
    for name, source in sources.items():
        if name == _OURS:
            settings.wrong("sources", f"{_OURS!r} is what the engine's own events carry. Call the source otherwise.")
        if (source.values.get("kind") or SOURCE.usual) == "tracking":
            _check_keys(name, source, holders)


def _check_keys(name: str, source: Section, holders: dict[str, str]) -> None:
    fields: tuple[Any, ...] = ("write_key", "secret_key_sha256")
    if not source.nodes.keys() & set(fields):
        source.place.wrong(
            source.node, f"source {name!r} has no key. Give it a 'write_key' (public) or a 'secret_key_sha256'."
        )
    for field in fields:
        other = holders.setdefault(source[field], name) if source[field] else name
        if other != name:
            source.wrong(field, f"source {other!r} has this key too. Give each source a key of its own.")
