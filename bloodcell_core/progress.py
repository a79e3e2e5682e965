"""How a long work tells how far it is, and how long in words."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Hears how much is done, and of how much; what it raises ends the work."""


def duration(seconds: float) -> str:
    """How long something takes or took, as finely as people care: "5 s", "12 min", "1.6 h"."""
    if seconds < 89.5:
        return "less than 1 s" if 0 < seconds < 0.5 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5370 else f"{seconds / 3600:.1f} h"


def no_progress(done: int, total: int) -> None:
    """For who doesn't want to know."""
