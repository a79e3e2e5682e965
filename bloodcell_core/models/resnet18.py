"""`resnet18`: torchvision's, with its last layer replaced by one for our classes; all of it is fine-tuned."""

from __future__ import annotations

import hashlib
import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18

from bloodcell_core import disk
from bloodcell_core.errors import LabError, brief
from bloodcell_core.models.weights_file import put_body, read_weights

PRETRAINED = ResNet18_Weights.IMAGENET1K_V1
DOWNLOAD_TIMEOUT = 15  # seconds without an answer before a machine counts as offline


def build(classes: int, size: int) -> nn.Module:
    """(N, 3, size, size) → (N, classes), with random weights."""
    network: nn.Module = resnet18()
    network.fc = nn.Linear(512, classes)
    return network


def cached_weights() -> Path:
    """Where torchvision caches its ResNet-18 weights on this machine, whether or not they are there."""
    return Path(torch.hub.get_dir(), "checkpoints", PRETRAINED.url.rsplit("/", 1)[1])


def load_pretrained(network: nn.Module, weights: str) -> None:
    """Loads ImageNet weights into all but the last layer: `weights` is 'default' or a file's path.

    'default' takes torchvision's from its cache, or downloads them. Raises LabError, with all remedies, where they
    can't be loaded.
    """
    state = _default_state() if weights == "default" else read_weights(Path(weights))
    put_body(network, "fc.", state, weights, "ResNet-18")


def _default_state() -> dict[str, Tensor]:
    if cached_weights().is_file():
        try:
            return read_weights(cached_weights())
        except LabError as error:
            raise LabError(
                f"torchvision's cached weights can't be used: {error}: delete {cached_weights()} and they are "
                "downloaded anew; or give a file with weights=PATH; or train from scratch with weights=none"
            ) from None
    try:
        _download()
    except (OSError, HTTPException) as error:
        raise LabError(
            f"resnet18's ImageNet weights can't be had ({brief(error)}): go online once so that torchvision "
            f"downloads them; or put {cached_weights().name} into torchvision's cache, {cached_weights().parent}; "
            "or give a file with weights=PATH; or train from scratch with weights=none"
        ) from None
    return read_weights(cached_weights())


def _download() -> None:
    """Downloads torchvision's weights into its cache; OSError where that fails, or the file is another one.

    Not by torchvision: its download uses the process's default socket timeout and writes to stdout, and neither can be
    changed for one thread alone.
    """
    file = cached_weights()
    with disk.write_atomic(file) as temporary:
        with urlopen(PRETRAINED.url, timeout=DOWNLOAD_TIMEOUT) as answer, open(temporary, "wb") as target:
            shutil.copyfileobj(answer, target)
        if not hashlib.sha256(temporary.read_bytes()).hexdigest().startswith(file.stem.rpartition("-")[2]):
            raise OSError("the downloaded file isn't torchvision's: its hash is another")
