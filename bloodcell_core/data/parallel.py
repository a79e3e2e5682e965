"""Threads for work on pictures: one per core, while libraries start none of their own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

_pools = 0  # how many are in use
_limits: threadpool_limits | None = None  # restores BLAS's own threads when none is
_counting = threading.Lock()


def usable_cores() -> int:
    """How many cores this process may use: in a cluster job or a container fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not on Windows and macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def picture_threads() -> Iterator[ThreadPoolExecutor]:
    """A pool of one thread per core. Meanwhile BLAS computes in the calling thread, as OpenCV always does (stain.py).

    BLAS's own threads would compete with the pool's for the cores: tracing took twice the processor time. They are
    restored when the last of several simultaneous pools has ended.
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
