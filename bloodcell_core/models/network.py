"""Builds and loads the networks of the MODELS table, each with the normalisation of pixels that its weights need."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from bloodcell_core import disk
from bloodcell_core.config import TrainConfig
from bloodcell_core.errors import LabError, brief
from bloodcell_core.models import TIMM, model_info, network_settings
from bloodcell_core.runs import Run


class Network(nn.Module):
    """A network with its own normalisation: (N, 3, size, size) in 0…1 → (N, classes) logits."""

    mean: Tensor
    std: Tensor
    channels_last = False
    """The memory format of the pictures that it is given."""

    def __init__(self, body: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.body((pictures - self.mean) / self.std)
        return logits


def build_network(
    model: str, classes: int, size: int, weights: str = "none", width: float = 1.0, dropout: float | None = None
) -> Network:
    """The network called `model` for `classes` classes; `weights`, `width` and `dropout` as in TrainConfig.

    A network without pretrained weights starts with random ones for `default`, too; a path is refused for it.
    Raises LabError where the weights can't be loaded, or a width or dropout is given that the network doesn't have.
    """
    info, settings = model_info(model), network_settings(model, width, dropout)
    if model.startswith(TIMM):
        from bloodcell_core.models import timm_networks

        return Network(timm_networks.build(model, classes, size, weights), info.mean, info.std)
    module = import_module(f"bloodcell_core.models.{model}")
    body = module.build(classes, size, **settings)
    if info.pretrained and weights != "none":
        module.load_pretrained(body, weights)
    elif not info.pretrained and weights not in ("default", "none"):
        raise LabError(f"{model} has no pretrained weights: leave `weights` at default or none")
    return Network(body, info.mean, info.std)


def network_of(config: TrainConfig, classes: int, weights: str = "none") -> Network:
    """The network that a run's config asks for."""
    return build_network(config.model, classes, config.size, weights, config.width, config.dropout)


def load_network(config: TrainConfig, classes: int, file: Path) -> Network:
    """The network of a run's config with the run's trained weights, ready to predict.

    The output for refused classes is left out: `last_layer` has its weights. LabError where the file can't be used.
    """
    network = network_of(config, classes)
    weights = _read(file)
    for name in _head_names(network) if config.refused else ():
        if name in weights:
            weights[name] = weights[name][:classes]
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise LabError(f"{file} can't be used: {brief(error)}") from None
    return network.eval()


def trained_network(run: Run) -> Network:
    """The network of a trained run, ready to predict; LabError where its weights can't be used."""
    return load_network(run.config, len(run.classes), run.weights_file)


def save_weights(network: nn.Module, file: Path, metadata: dict[str, str]) -> None:
    """Writes a network's weights as safetensors, atomically, with metadata."""
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with disk.write_atomic(file) as temporary:
        temporary.write_bytes(save(weights, metadata))


def quickest(network: Network, model: str) -> Network:
    """The network with its weights, and from now on its pictures, in the memory format that is fastest for it.

    For prediction only: training doesn't need it, and safetensors can't write such weights. Answers differ in the
    seventh digit at most.
    """
    network.channels_last = model_info(model).channels_last_on_cpu
    return network.to(memory_format=torch.channels_last) if network.channels_last else network


def last_layer(config: TrainConfig, classes: int, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """The last layer of a run: weights (outputs, D) and biases (outputs,), refused classes as the last output."""
    weights = _read(file)
    names = _head_names(network_of(config, classes))
    layer, bias = (weights[next(name for name in names if name.endswith(kind))] for kind in ("weight", "bias"))
    return layer.flatten(1).float().numpy(), bias.float().numpy()


def _read(file: Path) -> dict[str, Tensor]:
    try:
        # Read at once: `load_file` opens the file twice, and a run in training may replace it in between.
        return load(file.read_bytes())
    except (SafetensorError, OSError) as error:
        raise LabError(f"{file} can't be read as weights: {brief(error)}") from None


def _head_names(network: nn.Module) -> list[str]:
    """The names of the last layer's weights."""
    head = {id(parameter) for parameter in head_of(network).parameters()}
    return [name for name, parameter in network.named_parameters() if id(parameter) in head]


def head_of(network: nn.Module) -> nn.Module:
    """The classification layer: the last linear one, or for timm's networks what timm says."""
    body: Any = getattr(network, "body", network)
    if hasattr(body, "get_classifier"):
        found = body.get_classifier()  # several in networks made for distillation
        return found if isinstance(found, nn.Module) else nn.ModuleList(found)
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]


def last_layer_of(network: nn.Module) -> nn.Module:
    """The last linear or convolution layer of the head: its inputs are the network's features."""
    return [layer for layer in head_of(network).modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
