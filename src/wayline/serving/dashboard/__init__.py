"""Three pages anybody can read: home; not sent, and why; a shopper's timeline. Each has a twin for machines.

Rendered on the server, without scripts, without anything from elsewhere: they work offline, with a keyboard, on a
phone, in the dark.
"""

from __future__ import annotations

from wayline.serving.dashboard.pages import dashboard

__all__ = ["dashboard"]
