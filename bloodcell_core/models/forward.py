"""The one batched forward pass: training's validation, evaluation and prediction all go through here."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from bloodcell_core.device import Device, out_of_memory
from bloodcell_core.models.network import head_of

CPU_BATCH, BATCH = 32, 256
"""Pictures that go through a network together where nothing else is said. A CPU takes no more than its caches hold:
256 at once take from a third more to three times as long each (benchmarks/RESULTS.md)."""


def to_input(pictures: Tensor, device: Device, channels_last: bool = False) -> Tensor:
    """uint8 (N, S, S, 3) anywhere → float32 0…1 (N, 3, S, S) on the device."""
    moved = pictures.to(device.device, non_blocking=True)
    order = torch.channels_last if channels_last else torch.contiguous_format
    return moved.permute(0, 3, 1, 2).to(torch.float32, memory_format=order).div_(255)


def precision(device: Device) -> AbstractContextManager[object]:
    """Autocast to bfloat16 where the device gains by it."""
    return torch.autocast(device.device.type, device.autocast) if device.autocast else nullcontext()


@torch.inference_mode()
def predict_logits(
    network: nn.Module,
    pictures: np.ndarray | Tensor,
    device: Device,
    batch_size: int | None = None,
    rows: np.ndarray | None = None,
) -> Tensor:
    """Logits, float32 (N, classes) on the device, of pictures uint8 (N, S, S, 3); changes no weight and no buffer.

    Fewer than `batch_size` go through together where the device's memory is too small for so many.
    With `rows` of those pictures alone, in that order: of a view on disk a batch at a time is read.
    The network is left in the mode (training or not) in which it came.
    """
    batch_size = batch_size or (BATCH if device.is_cuda else CPU_BATCH)
    was_training = network.training
    if was_training:  # a walk through all its layers, which takes as long as some of them
        network.eval()
    order = getattr(network, "channels_last", False)
    chosen = range(len(pictures)) if rows is None else rows
    batches: list[Tensor] = []
    done = 0
    try:
        with precision(device):
            while done < len(chosen):
                part = chosen[done : done + batch_size]
                try:
                    batches.append(network(to_input(_taken(pictures, part), device, order)).float())
                    done += len(part)
                except RuntimeError as error:
                    if len(part) == 1 or not out_of_memory(error):
                        raise
                    batch_size = len(part) // 2
    finally:
        if was_training:
            network.train()
    return batches[0] if len(batches) == 1 else torch.cat(batches)


def _taken(pictures: np.ndarray | Tensor, rows: range | np.ndarray) -> Tensor:
    taken = pictures[rows.start : rows.stop] if isinstance(rows, range) else pictures[rows]
    # A copy of a batch at a time: a view's memory map is read-only, which torch can't borrow.
    return taken if isinstance(taken, Tensor) else torch.from_numpy(np.array(taken))


def predict_probabilities(
    network: nn.Module,
    pictures: np.ndarray | Tensor,
    device: Device,
    batch_size: int | None = None,
    temperature: float = 1.0,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """`softmax` of `predict_logits`; a finished run's answers are those at its own `Run.temperature`."""
    return softmax(predict_logits(network, pictures, device, batch_size, rows), temperature)


def softmax(logits: Tensor, temperature: float = 1.0) -> np.ndarray:
    """Probabilities of (N, classes) logits divided by `temperature` (> 0): float64 (N, classes), rows sum to 1."""
    return (logits.double() / temperature).softmax(1).cpu().numpy()


class Tapped:
    """A network together with what its last layer decides by. Safe to use from several threads.

    The network must be the caller's own: the hook on it stays.
    """

    def __init__(self, network: nn.Module):
        self.network = network
        self._told = threading.local()  # a forward pass is one thread's own
        last = [layer for layer in head_of(network).modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
        last.register_forward_pre_hook(self._keep)

    def _keep(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if hasattr(self._told, "parts"):
            self._told.parts.append(inputs[0].detach().flatten(1).float())

    def predict(
        self,
        pictures: np.ndarray | Tensor,
        device: Device,
        batch_size: int | None = None,
        rows: np.ndarray | None = None,
    ) -> tuple[Tensor, np.ndarray]:
        """`predict_logits` of pictures uint8 (N, S, S, 3), and the inputs of the last layer, float32 (N, D)."""
        parts: list[Tensor] = []
        self._told.parts = parts
        try:
            logits = predict_logits(self.network, pictures, device, batch_size, rows)
        finally:
            del self._told.parts
        told = parts[0] if len(parts) == 1 else torch.cat(parts)
        assert len(told) == len(logits), "a batch that didn't fit was told of all the same"
        return logits, told.cpu().numpy()
