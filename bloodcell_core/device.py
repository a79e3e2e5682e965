"""Which device computes, with which precision, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from threadpoolctl import threadpool_limits

from bloodcell_core.errors import LabError, brief

OUT_OF_MEMORY = ("out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED", "DefaultCPUAllocator")
"""What PyTorch, cuBLAS, cuDNN 9, and the CPU say where memory has run out: not all raise OutOfMemoryError."""

ELSEWHERE = "end what else uses the device"
NO_SETTINGS = f"{ELSEWHERE}, or use --device cpu in a shell"
"""What helps where memory has run out and nobody chose sizes: where a trained run is used or adapted."""


class Device(NamedTuple):
    """Where to compute, in which precision, and why."""

    device: torch.device
    autocast: torch.dtype | None
    """bfloat16 where the device computes faster in it, else None: float32 throughout."""
    reason: str
    """What people call it, and what speaks for it: "CPU: asked for"."""

    @property
    def is_cuda(self) -> bool:
        """Whether it is what PyTorch calls CUDA."""
        return self.device.type == "cuda"


def choose_device(wanted: str = "auto") -> Device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`; LabError where it isn't there."""
    if wanted == "cpu":
        return Device(torch.device("cpu"), None, "CPU: asked for")
    if not re.fullmatch(r"auto|cuda(:(0|[1-9][0-9]*))?", wanted):  # one name a device: its queue is called by it
        raise LabError(f"device is auto, cpu, cuda or cuda:N, not {wanted[:20]!r}")
    if not torch.cuda.is_available():
        if wanted == "auto":
            return Device(torch.device("cpu"), None, "CPU: PyTorch sees no CUDA device")
        raise LabError(f"{wanted} was asked for, but PyTorch sees no CUDA device: use --device cpu or auto")
    index = int(wanted.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise LabError(
            f"{wanted} isn't there: this machine has {torch.cuda.device_count()} CUDA device(s), from cuda:0"
        )
    if trouble := _no_kernels(index):
        if wanted == "auto":
            return Device(torch.device("cpu"), None, f"CPU: {trouble}")
        raise LabError(f"{wanted} was asked for, but {trouble}: install one that is made for it, or use --device cpu")
    with torch.cuda.device(index):  # cards of one machine may differ, and it is the current one that is asked
        half = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    why = "asked for" if wanted != "auto" else "the fastest device here"
    precision = "bfloat16" if half else "float32"
    name = torch.cuda.get_device_name(index)
    return Device(torch.device("cuda", index), half, f"{name}: {why} (cuda:{index}, {precision})")


def _no_kernels(index: int) -> str:
    """Why this PyTorch can't compute on a card that it sees, which it tells only at the first step; '' where it can."""
    made_for = [re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", name) for name in torch.cuda.get_arch_list()]
    kinds = [(found[1], (int(found[2]), int(found[3]))) for found in made_for if found]
    card = torch.cuda.get_device_capability(index)
    # What is compiled for a generation runs on its later cards; PTX (compute_…) is compiled anew for any later card.
    runs = any(least <= card and (kind == "compute" or least[0] == card[0]) for kind, least in kinds)
    if runs or not kinds:  # AMD's cards have other names, and are left to it
        return ""
    return f"this PyTorch isn't made for {torch.cuda.get_device_name(index)} (compute capability {card[0]}.{card[1]})"


def out_of_memory(error: RuntimeError) -> bool:
    """Whether what PyTorch raised says that the device's memory has run out."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


@contextmanager
def memory_told(helps: str = f"take a smaller batch size, size or network, or {ELSEWHERE}") -> Iterator[None]:
    """Raises LabError with what `helps` where the device's memory runs out within."""
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise LabError(f"the device's memory is full ({brief(error)}): {helps}") from None


def compute_in_this_thread() -> None:
    """From now on PyTorch uses no thread beside this one for what this thread asks of it; others keep theirs.

    For threads that work side by side: each with PyTorch's own helpers, they would fight for the same cores.
    """
    torch.get_num_threads()  # at a thread's first call PyTorch sets the number itself
    threadpool_limits(1, user_api="openmp")
