"""Forward and backward of a batch: the part of a training step that costs time and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bloodcell_core.config import TrainConfig
from bloodcell_core.device import Device, out_of_memory
from bloodcell_core.errors import LabError, brief
from bloodcell_core.models.forward import precision
from bloodcell_core.models.network import head_of
from bloodcell_core.training.sampling import seed_of
from bloodcell_core.training.team import Team

BATCH_TOO_SMALL = "more than 1 value per channel"
"""What PyTorch's batch normalisation says of a single picture that has become a single pixel."""


class Gradients:
    """Takes the gradients of batches.

    Compiles the network and shares the work in a team where that is asked for. A batch too large for the device's
    memory is split, or refused with the size that fits.
    """

    def __init__(
        self, config: TrainConfig, network: nn.Module, device: Device, team: Team, note: Callable[[str], None]
    ):
        self._config, self._network, self._device, self._team, self._note = config, network, device, team, note
        self._runner: nn.Module | None = None
        self._frozen = False
        self._most = config.batch_size  # pictures that are taken together

    def start_epoch(self, frozen: bool) -> None:
        """Training mode; `frozen` leaves all but the head as it is, the statistics of batch normalisation too."""
        head = {id(parameter) for parameter in head_of(self._network).parameters()}
        for parameter in self._network.parameters():
            parameter.requires_grad_(not frozen or id(parameter) in head)
        if self._runner is None or frozen != self._frozen:
            self._runner, self._frozen = self._wrap(), frozen
        self._runner.train()
        if frozen:
            self._leave_statistics()

    def _leave_statistics(self) -> None:
        """Lets batch normalisation go by the statistics that it has, and keep them."""
        for layer in self._network.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()

    def _wrap(self) -> nn.Module:
        runner = self._network
        if self._team.size > 1:  # made anew when the body thaws: it fixes which weights have gradients to share
            index = [self._device.device.index] if self._device.is_cuda else None
            runner = nn.parallel.DistributedDataParallel(runner, device_ids=index)
        return cast(nn.Module, torch.compile(runner)) if self._config.compile == "yes" else runner

    def take(self, inputs: Tensor, labels: Tensor, draw: int, share: float) -> tuple[Tensor, Tensor]:
        """Adds the gradients of the batch's mean loss; returns that loss and how many were right.

        `share` is how much of the team's batch this is; `draw` numbers the step's random draws.
        """
        blended = blend(self._config, inputs, labels, draw)
        # For dropout. Where no GPU is in use, torch.manual_seed would each time note from where it was called.
        sow = torch.manual_seed if self._device.is_cuda else torch.default_generator.manual_seed
        while True:
            sow(seed_of(self._config.seed, 1, draw))
            try:
                return self._in_parts(blended, share * self._team.size)
            except RuntimeError as error:
                if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    raise LabError(f"torch.compile failed here, use compile=no: {brief(error)}") from None
                if not out_of_memory(error):
                    raise
            except ValueError as error:
                if BATCH_TOO_SMALL not in str(error):
                    raise
                size = self._config.size
                raise LabError(
                    f"{self._config.model} can't learn from one picture of {size}×{size} at a time, as its batch "
                    "normalisation compares pictures: take a larger batch size, or a larger size"
                ) from None
            # Beyond the except block, which holds on to all that the failed pass had made.
            self._network.zero_grad(set_to_none=True)
            self._use_less_memory(blended)

    def _in_parts(self, blended: Blend, weight: float) -> tuple[Tensor, Tensor]:
        assert self._runner is not None, "start_epoch comes first"
        loss = torch.zeros((), device=blended.inputs.device)
        right = torch.zeros((), dtype=torch.int64, device=blended.inputs.device)
        # Not as many parts of a smaller last batch: batch normalisation can't learn from one picture.
        for part in blended.parts(-(-len(blended.inputs) // self._most)):
            with precision(self._device):
                logits = self._runner(part.inputs)
                part_loss = part.loss(logits, self._config.label_smoothing)
            whole = len(part.inputs) / len(blended.inputs)
            (part_loss * (weight * whole)).backward()  # type: ignore[no-untyped-call]
            loss += part_loss.detach() * whole
            right += (logits.argmax(1) == part.labels).sum()
        return loss, right

    def _use_less_memory(self, blended: Blend) -> None:
        """Halves the parts where the config asks for it, else raises LabError with the batch size that would fit."""
        batch = len(blended.inputs)
        if self._device.is_cuda:
            torch.cuda.empty_cache()
        most = min(self._most, batch)
        if self._config.too_large == "split" and self._team.size == 1 and most > 1:
            self._most = -(-most // 2)
            parts = -(-batch // self._most)
            self._note(f"a batch of {batch} doesn't fit in the device's memory: it is taken in {parts} parts")
            return
        if self._team.size > 1:  # to share them it would wait for the others, who are elsewhere
            self._leave_statistics()
        fits = next((size for size in _halves(batch) if self._fits(blended.first(size))), 0)
        if not fits:
            raise LabError(
                "not even one picture fits in the device's memory: take a smaller network or size, or end what else "
                "uses the device"
            )
        size = self._team.size  # whose processes can't take batches in parts: the others would wait for gradients
        raise LabError(
            f"a batch of {batch * size} doesn't fit in the device's memory: batch_size={fits * size} does"
            + ("; or too_large=split takes each batch in parts" if size == 1 else "")
        )

    def _fits(self, blended: Blend) -> bool:
        try:
            with precision(self._device):
                loss = blended.loss(self._network(blended.inputs), 0.0)
            loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return False
        finally:
            self._network.zero_grad(set_to_none=True)
        return True


@dataclass
class Blend:
    """A batch whose pictures may be blended with one another: `share` of each, the rest of its partner."""

    inputs: Tensor
    labels: Tensor
    partners: Tensor | None = None
    """The labels of the partners."""
    share: float = 1.0

    def parts(self, count: int) -> list[Blend]:
        """The batch in `count` parts, one after another, whose sizes differ by one at most."""
        if count == 1:
            return [self]
        partners = self.labels if self.partners is None else self.partners
        inputs, labels = self.inputs.tensor_split(count), self.labels.tensor_split(count)
        cut = zip(inputs, labels, partners.tensor_split(count), strict=True)
        return [Blend(*part, share=self.share) for part in cut]

    def first(self, count: int) -> Blend:
        """The batch's first pictures, each with its own label alone."""
        return Blend(self.inputs[:count], self.labels[:count])

    def loss(self, logits: Tensor, smoothing: float) -> Tensor:
        """The mean cross-entropy of logits (N, classes), shared between both labels where pictures are blended."""
        logits = logits.float()  # a GPU's autocast leaves the softmax in bfloat16
        own = functional.cross_entropy(logits, self.labels, label_smoothing=smoothing)
        if self.partners is None or self.share == 1.0:
            return own
        return self.share * own + (1 - self.share) * functional.cross_entropy(
            logits, self.partners, label_smoothing=smoothing
        )


def blend(config: TrainConfig, inputs: Tensor, labels: Tensor, draw: int) -> Blend:
    """The batch with mixup, drawn by seed and `draw` alone; as it is where the config has none."""
    if not config.mixup:
        return Blend(inputs, labels)
    rng = np.random.default_rng(seed_of(config.seed, 3, draw))
    share = float(rng.beta(config.mixup, config.mixup))
    partner = torch.from_numpy(rng.permutation(len(labels))).to(labels.device, non_blocking=True)
    return Blend(torch.lerp(inputs[partner], inputs, share), labels, labels[partner], share)


def _halves(batch: int) -> Iterator[int]:
    while batch := batch // 2:
        yield batch
