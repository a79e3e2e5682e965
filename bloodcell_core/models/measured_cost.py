"""What an answer of a network costs, as measured here: multiplications and additions, and time (`costs` reckons)."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bloodcell_core.device import Device
from bloodcell_core.models.forward import predict_logits
from bloodcell_core.words import counted

BATCH = 64
PASSES = 5  # of a batch, after one that warms up; the quickest counts, as other work only ever slows it


def cost_of(network: nn.Module, size: int, device: Device) -> dict[str, Any]:
    """What a run's summary keeps of its network's cost. JSON-ready.

    Args:
        network: on the device.
        size: side of its pictures in pixels.
        device: where it is measured.

    Returns:
        flops: multiplications and additions for one picture; milliseconds: for one of `BATCH` pictures that are
        answered together, from bytes to logits; milliseconds_on: the device, in words.
    """
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(network).to("meta").eval()(torch.zeros(1, 3, size, size))
    pictures = torch.zeros(BATCH, size, size, 3, dtype=torch.uint8)
    seconds = []
    for _ in range(1 + PASSES):
        started = time.perf_counter()
        predict_logits(network, pictures, device, BATCH).cpu()  # a GPU has answered only once the answer is here
        seconds.append(time.perf_counter() - started)
    return {
        "flops": counter.get_total_flops(),
        "milliseconds": 1000 * min(seconds[1:]) / BATCH,
        "milliseconds_on": _words(device),
    }


def _words(device: Device) -> str:
    if device.device.type == "cuda":
        return torch.cuda.get_device_name(device.device)
    return f"{device.device.type}, {counted(torch.get_num_threads(), 'thread')}"
