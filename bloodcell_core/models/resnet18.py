"""`resnet18`: torchvision's, with its last layer replaced by one for our classes, fine-tuned as a whole."""

from __future__ import annotations

import os
import pickle
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPException
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18

from bloodcell_core.errors import LabError

PRETRAINED = ResNet18_Weights.IMAGENET1K_V1
DOWNLOAD_TIMEOUT = 15  # seconds without an answer before a machine counts as offline


def build(classes: int, size: int) -> nn.Module:
    """(N, 3, size, size) → (N, classes), first weights at random."""
    network: nn.Module = resnet18()
    network.fc = nn.Linear(512, classes)
    return network


def cached_weights() -> Path:
    """Where torchvision keeps its ResNet-18 weights on this machine, whether or not they are there."""
    return Path(torch.hub.get_dir(), "checkpoints", PRETRAINED.url.rsplit("/", 1)[1])


def load_pretrained(network: nn.Module, weights: str) -> None:
    """Puts ImageNet weights into all but the last layer: `weights` is 'default' or a file's path.

    'default' takes torchvision's from its cache, or downloads them. Raises LabError that names every remedy.
    """
    state = _default_state() if weights == "default" else _state_of_file(Path(weights))
    state = {name.removeprefix("module."): value for name, value in state.items()}
    body = {name: value for name, value in state.items() if not name.startswith("fc.")}
    try:
        missing, unexpected = network.load_state_dict(body, strict=False)
    except RuntimeError:
        missing, unexpected = ["weights of the same shape"], []
    missing = [name for name in missing if not name.startswith("fc.") and "num_batches_tracked" not in name]
    if missing or unexpected:
        raise LabError(f"{weights} holds no ResNet-18: {(missing + unexpected)[0]} doesn't fit")


def _default_state() -> dict[str, Tensor]:
    if cached_weights().is_file():
        try:
            return _state_of_file(cached_weights())
        except LabError as error:
            raise LabError(
                f"torchvision's cached weights can't be used: {error}: delete {cached_weights()} and they are "
                "downloaded anew; or give a file with weights=PATH; or train from scratch with weights=none"
            ) from None
    try:
        # torchvision says on stdout that it downloads, where the command line's JSON belongs
        with _timeout(DOWNLOAD_TIMEOUT), redirect_stdout(sys.stderr):
            return dict(PRETRAINED.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (OSError, RuntimeError, HTTPException) as error:
        raise LabError(
            f"resnet18's ImageNet weights can't be had ({_first_line(error)[:80]}): go online once so that torchvision "
            f"downloads them; or put {cached_weights().name} into torchvision's cache, {cached_weights().parent}; "
            "or give a file with weights=PATH; or train from scratch with weights=none"
        ) from None


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """torchvision's download has no time limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _state_of_file(path: Path) -> dict[str, Tensor]:
    path = path.expanduser()
    if not path.is_file():
        raise LabError(
            f"weights={os.fspath(path)}: there is no such file; give a .safetensors or .pth file, default or none"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise LabError(f"{path.name} is refused: it is no weights file, or holds more than plain weights") from None
    except Exception as error:  # a damaged file may raise anything: IndexError, KeyError and AttributeError were seen
        raise LabError(f"{path.name} can't be read as weights: {_first_line(error)[:120]}") from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise LabError(f"{path.name} holds no table of weights")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
