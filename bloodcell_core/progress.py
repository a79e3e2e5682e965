"""How a long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Hears how much is done, and of how much; what it raises ends the work."""


def untold(done: int, total: int) -> None:
    """Hears it and tells nobody."""
