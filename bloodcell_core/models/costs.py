"""The number of weights of a network, and of computations per picture, at any size and width. Imports no torch.

Calculated from the layers' shapes, so that a form can show them while a person changes the size. A test compares them
with PyTorch's own counts. Networks of timm are built, without their weights, to count them: that does import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from bloodcell_core.models import TIMM, model_info

CLASSES = 4  # the default
LITE0_STAGES = (  # of EfficientNet-Lite0: expansion, channels, blocks, stride of the first, kernel
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
)  # fmt: skip


CELL_NET_GROUP = 8  # channels per group of cell_net's normalisation


def cell_net_channels(width: float) -> list[int]:
    """The channels of the stem and of each block of cell_net, in whole groups of its normalisation."""
    return [CELL_NET_GROUP * max(1, round(width * own / CELL_NET_GROUP)) for own in (24, 48, 96, 160)]


class Cost(NamedTuple):
    """What a network costs."""

    parameters: int
    flops: int
    """Multiplications and additions for one picture, of convolutions and linear layers."""


def cost(model: str, size: int, width: float = 1.0, classes: int = CLASSES) -> Cost:
    """The cost of a network for pictures of `size`×`size`; LabError for an unknown name, or a size it can't take."""
    model_info(model)
    if model.startswith(TIMM):
        from bloodcell_core.models.timm_networks import count

        return Cost(*count(model, size, classes))
    layers = _Layers(size)
    _NETWORKS[model](layers, width)
    layers.linear(classes)
    return Cost(layers.parameters, layers.flops)


class _Layers:
    """Adds up the cost of a network's layers, which are given one after another."""

    def __init__(self, side: int):
        self.side, self.channels, self.parameters, self.flops = side, 3, 0, 0

    def conv(self, channels: int, kernel: int, stride: int = 1, *, groups: int = 1, normed: bool = True) -> None:
        """A convolution, padded so that the side is divided by the stride and rounded up.

        Unless it is `normed` it has a bias; a normalisation has two weights per channel, and its computations aren't
        counted.
        """
        weights = self.channels // groups * channels * kernel**2
        self.side = -(-self.side // stride)
        self.parameters += weights + (2 if normed else 1) * channels
        self.flops += 2 * weights * self.side**2
        self.channels = channels

    def beside(self, channels: int) -> None:
        """The shortcut of a block that halves the side: a normalised 1×1 convolution of the block's input."""
        weights = self.channels * channels
        self.parameters += weights + 2 * channels
        self.flops += 2 * weights * (-(-self.side // 2)) ** 2

    def halve(self) -> None:
        self.side //= 2

    def flatten(self, side: int) -> None:
        self.channels, self.side = self.channels * side**2, 1

    def linear(self, outputs: int) -> None:
        self.parameters += (self.channels + 1) * outputs
        self.flops += 2 * self.channels * outputs
        self.channels = outputs


def _basic_cnn(layers: _Layers, width: float) -> None:
    for channels in (16, 32):
        layers.conv(round(channels * width), 3, normed=False)
        layers.halve()
    layers.flatten(layers.side)


def _deep_cnn(layers: _Layers, width: float) -> None:
    for channels in (32, 64, 128, 256):
        layers.conv(channels, 3, normed=False)
        layers.halve()
    layers.flatten(4)
    layers.linear(512)
    layers.linear(128)


def _cell_net(layers: _Layers, width: float) -> None:
    first, *others = cell_net_channels(width)
    layers.conv(first, 5, 2)
    for channels in others:
        layers.beside(channels)
        layers.conv(channels, 3, 2)
        layers.conv(channels, 3)


def _efficientnet_lite0(layers: _Layers, width: float) -> None:
    layers.conv(32, 3, 2)
    for expansion, channels, blocks, stride, kernel in LITE0_STAGES:
        for number in range(blocks):
            wide = layers.channels * expansion
            if expansion > 1:
                layers.conv(wide, 1)
            layers.conv(wide, kernel, stride if number == 0 else 1, groups=wide)
            layers.conv(channels, 1)
    layers.conv(1280, 1)


def _resnet18(layers: _Layers, width: float) -> None:
    layers.conv(64, 7, 2)
    layers.side = -(-layers.side // 2)
    for before, channels in pairwise((64, 64, 128, 256, 512)):
        for number in range(2):
            changes = number == 0 and before != channels
            if changes:
                layers.beside(channels)
            layers.conv(channels, 3, 2 if changes else 1)
            layers.conv(channels, 3)


_NETWORKS: dict[str, Callable[[_Layers, float], None]] = {
    "basic_cnn": _basic_cnn,
    "deep_cnn": _deep_cnn,
    "cell_net": _cell_net,
    "efficientnet_lite0": _efficientnet_lite0,
    "resnet18": _resnet18,
}
