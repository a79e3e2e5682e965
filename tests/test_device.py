"""What a computing process does with memory; which device computes is told in test_forward.py."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from bloodcell_core.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for step in range(30):
    if step == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    a = torch.ones(10_000_000)  # 40 MB, above any threshold that glibc takes
    b = a + 1
    del a, b
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(way: str) -> int:
    command = [sys.executable, "-c", FAULTS, way]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone has the setting"
)
def test_kept_memory_is_not_fetched_anew() -> None:
    # Not nearly none: by chance small things lie where a large block would fit, and a few are fetched all the same.
    assert faults("keep") < 0.5 * faults("give back")
