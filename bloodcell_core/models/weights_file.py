"""Weights files of a person or a package, read without running any code that they may hold."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bloodcell_core import disk
from bloodcell_core.errors import LabError, brief


def read_weights(path: Path) -> dict[str, Tensor]:
    """{name: weights} of a .safetensors or .pth file; LabError where it can't be read.

    Names are without the `module.` that PyTorch puts before them where it trains on several devices.
    """
    path = disk.expanded(path)
    if not path.is_file():
        raise LabError(
            f"weights={os.fspath(path)}: there is no such file; give a .safetensors or .pth file, default or none"
        )
    try:
        if path.suffix.lower() == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise LabError(f"{path.name} is refused: it is no weights file, or holds more than plain weights") from None
    except Exception as error:  # a damaged file may raise anything, such as IndexError, KeyError or AttributeError
        raise LabError(f"{path.name} can't be read as weights: {brief(error)}") from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise LabError(f"{path.name} holds no table of weights")
    return {name.removeprefix("module."): value for name, value in state.items()}


def put_body(
    network: nn.Module, head: str | tuple[str, ...], state: Mapping[str, Tensor], weights: str, title: str
) -> None:
    """Loads weights into all of a network but its head, the weights whose names begin with `head` (or one of several).

    Raises LabError where they are another network's; its message calls the file `weights` and the network `title`.
    """
    body = {name: value for name, value in state.items() if not name.startswith(head)}
    try:
        missing, unexpected = network.load_state_dict(body, strict=False)
    except RuntimeError:
        missing, unexpected = ["weights of the same shape"], []
    missing = [name for name in missing if not name.startswith(head) and "num_batches_tracked" not in name]
    if missing or unexpected:
        raise LabError(f"{weights} holds no {title}: {(missing + unexpected)[0]} doesn't fit")
