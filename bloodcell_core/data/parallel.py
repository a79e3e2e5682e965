"""Threads for work on pictures: one a core, and none more behind our back."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

_pools = 0  # at work
_limits: threadpool_limits | None = None  # what gives BLAS its own threads back once none is
_counting = threading.Lock()


def usable_cores() -> int:
    """How many cores this process may use: a cluster's job or a container has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):  # not on Windows and macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def picture_threads() -> Iterator[ThreadPoolExecutor]:
    """A pool of a thread a core, while BLAS computes in the thread that calls it, as OpenCV always does (stain.py).

    Its own threads would fight with the pool's over the same cores: tracing took twice the processor time. It has them
    back once the last of several pools that work at once has ended.
    """
    global _pools, _limits
    with _counting:
        if not _pools:
            _limits = threadpool_limits(1)
        _pools += 1
    try:
        with ThreadPoolExecutor(usable_cores()) as pool:
            yield pool
    finally:
        with _counting:
            _pools -= 1
            if not _pools and _limits is not None:
                _limits.restore_original_limits()
