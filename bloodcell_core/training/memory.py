"""What a training process does with the memory that it frees."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Lets this process keep what it frees for its next use, instead of giving it back to the system each time.

    A training step frees and takes the same large blocks as the one before. By glibc's own rule each is a mapping whose
    pages are fetched and cleared anew, which costs up to a fifth of a step (benchmarks/bench_freed_memory.py). Does
    nothing where the C library has no such setting.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; Windows has no CDLL(None)
        return
    for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
        set_option(option, value)
