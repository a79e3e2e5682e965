"""Threads for work on pictures: one a core, and none more behind our back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
from threadpoolctl import threadpool_limits


@contextmanager
def picture_threads() -> Iterator[ThreadPoolExecutor]:
    """A pool of a thread a core, while OpenCV and BLAS compute in the thread that calls them.

    Their own threads would fight with the pool's over the same cores: tracing took twice the processor time.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
            yield pool
    finally:
        cv2.setNumThreads(before)
