"""The only batched forward pass, used by validation, evaluation and prediction."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from bloodcell_core.device import Device, out_of_memory
from bloodcell_core.models.network import last_layer_of

CPU_BATCH, BATCH = 32, 256
"""Default batch sizes on a CPU and a GPU. A CPU's batch has to fit in its caches: in one of 256 a picture takes from a
third more to three times as long (benchmarks/RESULTS.md)."""


def to_input(pictures: Tensor, device: Device, channels_last: bool = False) -> Tensor:
    """uint8 (N, S, S, 3) on any device → float32 in 0…1, (N, 3, S, S), on `device`."""
    moved = pictures.to(device.device, non_blocking=True)
    order = torch.channels_last if channels_last else torch.contiguous_format
    return moved.permute(0, 3, 1, 2).to(torch.float32, memory_format=order).div_(255)


def precision(device: Device) -> AbstractContextManager[object]:
    """A context that autocasts to `device.autocast` (bfloat16), where the device is faster with it."""
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

    `rows` selects pictures and their order; of a view on disk only a batch at a time is read. Batches are halved where
    the device's memory is too small. The network is returned to its mode (training or evaluation).
    """
    batch_size = batch_size or (BATCH if device.is_cuda else CPU_BATCH)
    was_training = network.training
    if was_training:  # `eval` visits all layers, which takes as long as some of them
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
    # Copied, since a view is a read-only memory map, which torch can't share.
    return taken if isinstance(taken, Tensor) else torch.from_numpy(np.array(taken))


def predict_probabilities(
    network: nn.Module,
    pictures: np.ndarray | Tensor,
    device: Device,
    temperature: float = 1.0,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """`softmax` of `predict_logits`: float64 (N, classes). A finished run answers at its `Run.temperature`."""
    return softmax(predict_logits(network, pictures, device, rows=rows), temperature)


def softmax(logits: Tensor, temperature: float = 1.0) -> np.ndarray:
    """Softmax of (N, classes) logits divided by `temperature` (> 0): float64 (N, classes), rows sum to 1."""
    return (logits.double() / temperature).softmax(1).cpu().numpy()


class Tapped:
    """A network that also returns its features, the inputs of its last layer. Safe to use from several threads.

    The network must be the caller's own: a hook stays on it.
    """

    def __init__(self, network: nn.Module):
        self.network = network
        self._features = threading.local()  # of the forward pass of one thread
        # After it, not before: cuBLAS may be wanted there first, and a batch that finds no memory for it is halved.
        last_layer_of(network).register_forward_hook(self._keep)

    def _keep(self, layer: nn.Module, inputs: tuple[Tensor, ...], made: Tensor) -> None:
        if hasattr(self._features, "parts"):
            self._features.parts.append(inputs[0].detach().flatten(1).float())

    def predict(
        self,
        pictures: np.ndarray | Tensor,
        device: Device,
        batch_size: int | None = None,
        rows: np.ndarray | None = None,
    ) -> tuple[Tensor, np.ndarray]:
        """`predict_logits` of pictures uint8 (N, S, S, 3), and their features, float32 (N, D)."""
        parts: list[Tensor] = []
        self._features.parts = parts
        try:
            logits = predict_logits(self.network, pictures, device, batch_size, rows)
        finally:
            del self._features.parts
        features = parts[0] if len(parts) == 1 else torch.cat(parts)
        assert len(features) == len(logits), "the hook also saw a batch that didn't fit in memory"
        return logits, features.cpu().numpy()
