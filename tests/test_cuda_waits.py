"""Whether the host would wait for a CUDA device, seen without one: by tensors that have a shape and a device, and no
values. What needs a value raises, and each copy between the devices is looked at.

The backward pass is the one thing that can't be done so: gradients are put there by hand.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bloodcell_core.config import PLAIN, TrainConfig
from bloodcell_core.device import Device
from bloodcell_core.models import MODELS
from bloodcell_core.models.forward import predict_logits
from bloodcell_core.models.network import Network, network_of
from bloodcell_core.training import augment
from bloodcell_core.training.loop import LOG_EVERY, Hooks, LabelledPictures, TrainState, make_optimizer, train
from tests.training_fixtures import EACH_NETWORK

pytestmark = [
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here: tests/test_cuda.py uses it"),
]
CUDA = Device(torch.device("cuda", 0), None, "a device without values")
COPIES = ("aten._to_copy.default", "aten.copy_.default", "aten.to.dtype_layout")
EVERYTHING = {
    "flips": 0.5, "rotation": 180.0, "zoom": 0.2, "shift": 0.1, "stain": 0.2, "light": 0.1, "blur": 0.5, "erase": 0.5,
    "mixup": 0.2, "label_smoothing": 0.1, "clip_norm": 1.0, "averaging": 0.98,
}  # fmt: skip


class Waits(TorchDispatchMode):
    """Notes each operation for which the host would wait until the device has done all that it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        devices = {leaf.device.type for leaf in tree_leaves((args, kwargs, made)) if isinstance(leaf, Tensor)}
        beside = str(func) in COPIES and (kwargs.get("non_blocking") or args[2:] == (True,))
        if len(devices) > 1 and not beside:  # also what is handed a number on the host, and copies it for itself
            self.seen.append(str(func))
        return made


def on_cuda(settings: TrainConfig) -> Network:
    with CUDA.device:
        return network_of(settings, 4, "none")


def waits_of_a_training(settings: TrainConfig) -> tuple[int, list[str]]:
    """Of a training on a device without values: its steps before a value was needed, and what was waited for."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = on_cuda(settings)

        def backward(loss: Tensor, *_: Any, **__: Any) -> None:
            for parameter in network.parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.zeros_like(parameter)

        pictures = torch.zeros(8 * (LOG_EVERY + 5), 32, 32, 3, dtype=torch.uint8, device=CUDA.device)
        data = LabelledPictures(pictures, torch.zeros(len(pictures), dtype=torch.int64, device=CUDA.device))
        # The mean of the weights is made here: a copy of statistics without values is memory that isn't there.
        state = TrainState(network, make_optimizer(settings, network), average=on_cuda(settings))
        with patch.object(Tensor, "backward", backward), Waits() as waits:
            try:
                train(settings, state, data, data, CUDA, Hooks())
            except DataDependentOutputException:
                return state.step, waits.seen
    raise AssertionError("no step was logged")


@pytest.mark.parametrize("model", EACH_NETWORK)
def test_a_training_step_waits_for_nothing_but_the_log(model: str) -> None:
    own = {"data": "d", "model": model, "size": 32, "batch_size": 8, "epochs": 1, "weights": "none"}
    steps, waited = waits_of_a_training(TrainConfig(**PLAIN | EVERYTHING | own))
    assert steps == LOG_EVERY
    assert waited == ["aten._to_copy.default"]  # whether a team is to stop, beside the losses that are logged


def test_a_copy_that_waits_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "_beside", lambda drawn, pictures: drawn.to(pictures.device))
    settings = TrainConfig(**PLAIN | {"data": "d", "model": "basic_cnn", "size": 32, "batch_size": 8, "light": 0.1})
    assert waits_of_a_training(settings) == (LOG_EVERY, ["aten._to_copy.default"] * (LOG_EVERY + 1))


@pytest.mark.parametrize("model", MODELS)
def test_predicting_waits_for_nothing(model: str) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = on_cuda(TrainConfig(data="d", model=model, size=32, weights="none")).eval()
        with Waits() as waits:
            logits = predict_logits(network, np.zeros((20, 32, 32, 3), np.uint8), CUDA, batch_size=8)
    assert (logits.shape, logits.device) == ((20, 4), CUDA.device)
    assert waits.seen == []
