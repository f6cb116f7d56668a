"""Wayline: a self-hosted decision engine for retail customer journeys."""

__version__ = "0.1.0"
