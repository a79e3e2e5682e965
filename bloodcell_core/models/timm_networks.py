"""`timm/<name>`: any network of the package timm (PyTorch Image Models), with timm's facts on it.

timm is optional (requirements-timm.txt). Names are timm's own, with or without the tag that says how the weights were
trained: `timm/resnet10t`, `timm/resnet10t.c3_in1k`.
"""

from __future__ import annotations

import difflib
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bloodcell_core.errors import LabError, brief
from bloodcell_core.models import TIMM, ModelInfo
from bloodcell_core.models.weights_file import put_body, read_weights

RATE = 3e-4  # learning rate that fine-tunes pretrained weights without destroying them
NEAREST = 5  # names that are suggested for an unknown one


@cache
def timm_info(model: str) -> ModelInfo:
    """The facts of `timm/<name>`; LabError where timm doesn't know it, or isn't installed."""
    config = _config(model)
    card = f"huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else "timm's documentation"
    return ModelInfo(
        model,
        model,
        f"From timm{f', weights {config.tag}' if config.tag else ''}, last layer replaced.",
        learning_rate=RATE,
        mean=config.mean,
        std=config.std,
        pretrained=bool(config.has_weights),
        weights_licence=f"{config.license or 'see the model’s card'} ({card})" if config.has_weights else "",
        channels_last_on_cpu=False,  # not measured: PyTorch's own order
    )


def build(model: str, classes: int, size: int, weights: str) -> nn.Module:
    """(N, 3, size, size) → (N, classes), with initial weights as in TrainConfig.

    Raises LabError where the network can't take pictures of that size, or its weights can't be loaded.
    """
    config = _config(model)
    count(model, size)
    if weights == "default" and config.has_weights:
        return _from_hub(model, classes, size)
    network = _create(model, classes, size)
    if weights not in ("default", "none"):
        state = _adapted(read_weights(Path(weights)), network, weights, model)
        heads = (config.classifier,) if isinstance(config.classifier, str) else config.classifier
        put_body(network, tuple(f"{head}." for head in heads), state, weights, model)
    return network


def _adapted(state: dict[str, Tensor], network: nn.Module, weights: str, model: str) -> dict[str, Tensor]:
    """The weights of a file as timm itself adapts them, such as a transformer's position embedding to another size."""
    adapt = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        return cast(dict[str, Tensor], adapt(state, network)) if adapt else state
    except Exception as error:  # timm expects the weights of this network, and may fail in any way on others
        raise LabError(f"{weights} holds no {model}: {brief(error)}") from None


def _from_hub(model: str, classes: int, size: int) -> nn.Module:
    try:
        return _create(model, classes, size, pretrained=True)
    except Exception as error:  # exceptions of the hub's client, of its HTTP library and of the system
        raise LabError(
            f"{model}'s weights can't be had ({brief(error)}): go online once so that timm downloads them; "
            "or give a file with weights=PATH; or train from scratch with weights=none"
        ) from None


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise LabError("networks called timm/… come from a package of their own: pip install timm") from None
    return timm


def _config(model: str) -> Any:
    """timm's PretrainedCfg of `timm/<name>`; LabError, with similar names, where there is none of that name."""
    timm, name = _timm(), model.removeprefix(TIMM)
    try:
        found = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a tag that this network doesn't have
        found = None
    if found is None:
        names = [*timm.list_models(), *timm.list_models(include_tags=True)]
        near = difflib.get_close_matches(name, names, NEAREST, cutoff=0.5)
        where = f"the nearest are {', '.join(TIMM + each for each in near)}" if near else "timm.list_models() has them"
        raise LabError(f"timm has no network called {name[:60]!r}: {where}")
    return found


def _create(model: str, classes: int, size: int, **more: Any) -> nn.Module:
    if _config(model).fixed_input_size:
        more["img_size"] = size
    network: nn.Module = _timm().create_model(model.removeprefix(TIMM), num_classes=classes, in_chans=3, **more)
    return network


@cache
def count(model: str, size: int, classes: int = 4) -> tuple[int, int]:
    """Parameters and flops at a size, without computing anything; LabError where the network can't take that size."""
    try:
        with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
            network = _create(model, classes, size).eval()
            shape = tuple(network(torch.zeros(1, 3, size, size)).shape)
    except LabError:
        raise
    except Exception as error:  # each network fails in its own way
        made_for = _config(model).input_size[-1]
        raise LabError(
            f"{model} can't see pictures of {size}×{size} ({brief(error)}): it was made for size={made_for}"
        ) from None
    if shape != (1, classes):
        raise LabError(f"{model} has no classification layer: choose another network of timm's")
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops()
