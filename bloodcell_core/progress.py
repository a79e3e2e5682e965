"""How a long task reports its progress, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with how much is done, and of how much; what it raises ends the task."""


def no_progress(done: int, total: int) -> None:
    """For callers that don't want to know."""


class TimeLeft:
    """The seconds that a task still takes, by its pace since it was first asked; None before that can be told."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int, total: int) -> float | None:
        now = time.monotonic()
        at, before = self._first = self._first or (now, done)
        return (total - done) * (now - at) / (done - before) if done > before and now > at else None
