"""Heat maps: which parts of a picture speak for a class.

Grad-CAM (Selvaraju et al. 2017): the channels of a layer's feature map, each weighted by the mean gradient of the
class's logit. Two variants, which weight each place by itself, found a planted patch less reliably in our networks
(docs/experiments.md).
"""

from __future__ import annotations

from threading import Lock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bloodcell_core.device import choose_device
from bloodcell_core.errors import LabError
from bloodcell_core.models.forward import to_input
from bloodcell_core.models.network import trained_network
from bloodcell_core.runs import Run

LEAST_SIDE = 6  # of the feature map: at 96 pixels the last one is 3×3, too coarse to point at a cell


class Explainer:
    """Heat maps of a trained run, by a network of its own and one at a time. LabError for an ensemble."""

    def __init__(self, run: Run, device: str = "auto"):
        if run.is_ensemble:
            raise LabError(f"{run.name!r} is an ensemble: ask for the heat map of one of its members")
        self.run = run
        self.device = choose_device(device)
        self._network = trained_network(run).to(self.device.device)
        self._lock = Lock()

    def heat_map(self, pixels: np.ndarray, label: str) -> np.ndarray:
        """What speaks for the class `label`: float32 (S, S), 0…1, maximum 1.

        `pixels` is the picture as the network sees it, uint8 (S, S, 3). All 0 where nothing speaks for the class.
        Raises LabError where the network has no feature map, such as a transformer.
        """
        target = self.run.classes.index(label)
        with self._lock:
            inputs = to_input(torch.from_numpy(np.array(pixels[None])), self.device)
            return heat_of(self._network, inputs, target).cpu().numpy()


def heat_of(network: nn.Module, inputs: Tensor, target: int) -> Tensor:
    """The heat map (S, S), 0…1, of one input (1, 3, S, S) for the class `target`.

    It hooks the network's layers until it returns: no other thread may run the same network meanwhile.
    """
    maps: list[Tensor] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], made: Tensor) -> None:
        if isinstance(made, Tensor) and made.dim() == 4 and made.shape[2] == made.shape[3] >= LEAST_SIDE:
            maps.append(made)

    hooks = [layer.register_forward_hook(keep) for layer in network.modules()]
    try:
        with torch.enable_grad():
            logits = network(inputs.requires_grad_())[0]
            if not maps:
                raise LabError("this network has no feature map, so that there is no heat map of it")
            (gradient,) = torch.autograd.grad(logits[target], maps[-1])
    finally:
        for hook in hooks:
            hook.remove()
    heat = (maps[-1].detach() * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu()
    heat = interpolate(heat, inputs.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
    return heat / heat.max().clamp_min(torch.finfo(heat.dtype).tiny)
