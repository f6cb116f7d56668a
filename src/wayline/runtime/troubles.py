"""Saying that something went wrong, to whoever runs this: pseudonyms and reasons, nothing personal."""

from __future__ import annotations

from typing import Any

__all__ = ["say"]


def say(what: str, **facts: Any) -> None:
    """One line of the log."""
    import structlog  # by need: it loads much to print with, and here nothing is printed while all is well

    structlog.get_logger().error(what, **facts)
