"""How a long task reports its progress, and durations in words."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with how much is done, and of how much; what it raises ends the task."""


def duration(seconds: float) -> str:
    """How long something takes or took, as finely as people care: "5 s", "12 min", "1.6 h"."""
    if seconds < 89.5:
        return "less than 1 s" if 0 < seconds < 0.5 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5370 else f"{seconds / 3600:.1f} h"


def no_progress(done: int, total: int) -> None:
    """For callers that don't want to know."""
