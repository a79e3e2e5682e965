"""How long a network takes to answer, measured here; `costs` calculates its weights and computations."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from bloodcell_core.device import Device
from bloodcell_core.models.forward import predict_logits
from bloodcell_core.words import counted

BATCH = 64
PASSES = 5  # of a batch, after one to warm up; the fastest counts, as other work on the machine can only slow it


def time_of(network: nn.Module, size: int, device: Device) -> dict[str, Any]:
    """The time that a network needs, as a run's summary has it. JSON-ready.

    Args:
        network: on `device`.
        size: side of its pictures in pixels.
        device: where it is measured.

    Returns:
        milliseconds: per picture, in a batch of `BATCH`, from uint8 pixels to logits; milliseconds_on: the device, in
        words.
    """
    pictures = torch.zeros(BATCH, size, size, 3, dtype=torch.uint8)
    seconds = []
    for _ in range(1 + PASSES):
        started = time.perf_counter()
        predict_logits(network, pictures, device, BATCH).cpu()  # waits for a GPU
        seconds.append(time.perf_counter() - started)
    return {
        "milliseconds": 1000 * min(seconds[1:]) / BATCH,
        "milliseconds_on": _words(device),
    }


def _words(device: Device) -> str:
    if device.device.type == "cuda":
        return torch.cuda.get_device_name(device.device)
    return f"{device.device.type}, {counted(torch.get_num_threads(), 'thread')}"
