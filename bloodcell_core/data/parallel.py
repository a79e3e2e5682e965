"""Threads for work on pictures: one a core, and none more behind our back."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import cv2
from threadpoolctl import threadpool_limits

_at_work = 0  # pools
_alone: ExitStack | None = None  # what gives libraries their own threads back; None while no pool is at work
_counting = threading.Lock()


def usable_cores() -> int:
    """How many cores this process may use: a cluster's job or a container has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):  # not on Windows and macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def picture_threads() -> Iterator[ThreadPoolExecutor]:
    """A pool of a thread a core, while OpenCV and BLAS compute in the thread that calls them.

    Their own threads would fight with the pool's over the same cores: tracing took twice the processor time. They have
    them back once the last of several pools that work at once has ended.
    """
    _begin()
    try:
        with ThreadPoolExecutor(usable_cores()) as pool:
            yield pool
    finally:
        _end()


def _begin() -> None:
    global _at_work, _alone
    with _counting:
        _at_work += 1
        if _alone is None:
            _alone = ExitStack()
            _alone.callback(cv2.setNumThreads, cv2.getNumThreads())
            cv2.setNumThreads(1)
            _alone.enter_context(threadpool_limits(1))


def _end() -> None:
    global _at_work, _alone
    with _counting:
        _at_work -= 1
        if not _at_work and _alone is not None:
            _alone.close()
            _alone = None
