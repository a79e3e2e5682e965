"""`cell_net`: our own lean network, designed for the best accuracy at its cost on cells of 96×96 pixels.

Residual blocks (He et al. 2016) that each halve the side, group normalisation, global pooling. Group normalisation (Wu
and He 2018) is independent of the batch: a picture's answer depends neither on the other pictures in its batch nor on
the average stain of the training pictures.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from bloodcell_core.models.costs import CELL_NET_GROUP, cell_net_channels
from bloodcell_core.models.first_weights import he_weights


class Block(nn.Module):
    """(N, before, S, S) → (N, after, S/2, S/2)."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), _norm(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False), _norm(after),
        )  # fmt: skip
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(before, after, 1, bias=False), _norm(after)
        )
        self.out = nn.ReLU()

    def forward(self, pictures: Tensor) -> Tensor:
        made: Tensor = self.out(self.body(pictures) + self.shortcut(pictures))
        return made


class CellNet(nn.Module):
    """(N, 3, size, size) → (N, classes), at any size from 32; `width` multiplies the channels, in whole groups."""

    def __init__(self, classes: int, width: float, dropout: float):
        super().__init__()
        channels = cell_net_channels(width)
        first = channels[0]
        self.stem = nn.Sequential(nn.Conv2d(3, first, 5, stride=2, padding=2, bias=False), _norm(first), nn.ReLU())
        self.blocks = nn.Sequential(*(Block(before, after) for before, after in pairwise(channels)))
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels[-1], classes)
        )
        self.apply(he_weights)

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.stem(pictures)))
        return logits


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(channels // CELL_NET_GROUP, channels)


def build(classes: int, size: int, width: float, dropout: float) -> nn.Module:
    """The network, for pictures of any size."""
    return CellNet(classes, width, dropout)
