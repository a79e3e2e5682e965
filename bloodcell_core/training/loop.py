"""The training loop, from the first picture to the best weights; read it from top to bottom.

Every random draw of step k comes from (seed, k) and the order of epoch e from (seed, e). Nothing else is random,
so a run that goes on from a checkpoint draws exactly what the unbroken run would have drawn.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bloodcell_core.config import TrainConfig
from bloodcell_core.device import Device
from bloodcell_core.errors import LabError
from bloodcell_core.models import model_info
from bloodcell_core.models.forward import precision, predict_logits, to_input
from bloodcell_core.training.augment import augment, augments
from bloodcell_core.training.sampling import epoch_batches, seed_of, steps_per_epoch

WARM_UP = 0.15  # of a one-cycle run's steps, in which the rate rises
LOG_EVERY = 20  # steps between two looks at the loss: each look makes the host wait for the device


@dataclass
class LabelledPictures:
    """Pictures uint8 (N, S, S, 3) with class indices int64 (N,), both on one device."""

    pictures: Tensor
    labels: Tensor
    shares: Tensor | None = None
    """How often each is to be drawn (`sampling.balanced_shares`), on the host; None where all alike."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class TrainState:
    """All that a checkpoint must hold for training to go on as if nothing had happened."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Optimizer steps taken, over all epochs."""
    best_loss: float = math.inf
    """Lowest validation loss so far."""
    best_epoch: int = 0
    """The epoch that had it."""
    average: nn.Module | None = None
    """The running mean of the weights, where the config asks for one: it is what is measured and kept."""
    epoch_loss: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    epoch_right: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    """Of the epoch under way: the sum of the losses of its pictures, and how many were right. On the device."""


class Hooks:
    """What the loop tells the world, and asks it. The worker overrides these; a test may leave them as they are."""

    def log(self, events: list[dict[str, Any]]) -> None:
        """New events for metrics.jsonl: `step` events come LOG_EVERY at a time, `epoch` events one by one."""

    def keep_best(self, network: nn.Module, event: dict[str, Any]) -> None:
        """These weights have the lowest validation loss so far; `event` is their epoch's, not logged yet."""

    def checkpoint(self, state: TrainState, epoch_ended: bool) -> None:
        """A moment at which everything logged so far agrees with `state`."""

    def stop_requested(self) -> bool:
        return False


class NonFiniteLoss(LabError):
    """The loss became infinite or not a number: the run ends with what it has kept."""


def make_optimizer(config: TrainConfig, network: nn.Module, device: Device) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    rate = config.learning_rate or model_info(config.model).learning_rate
    head = {id(parameter) for parameter in head_of(network).parameters()}
    groups = [
        {"params": [each for each in network.parameters() if id(each) not in head], "rate": rate * config.body_rate},
        {"params": [each for each in network.parameters() if id(each) in head], "rate": rate},
    ]
    return kind(groups, lr=rate, weight_decay=config.weight_decay, fused=device.is_cuda)


def head_of(network: nn.Module) -> nn.Module:
    """The layer that decides between the classes: the last linear one."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]


def rate_factor(config: TrainConfig, step: int, steps: int) -> float:
    """The learning rate of a step, 0…`steps`-1, as a share of the highest."""
    if config.schedule == "constant":
        return 1.0
    rising = max(1.0, WARM_UP * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - rising) / (steps + 1 - rising)))


def train(
    config: TrainConfig,
    state: TrainState,
    training: LabelledPictures,
    validation: LabelledPictures,
    device: Device,
    hooks: Hooks,
) -> bool:
    """Trains `state.network` in place until `config.epochs` are done; False where a stop was asked for before.

    Raises NonFiniteLoss naming the step, and LabError where an epoch would have no batch.
    """
    if not steps_per_epoch(config, len(training)):
        raise LabError(
            f"an epoch needs at least two pictures: there are {len(training)} to train on, "
            f"and pictures_per_epoch is {config.pictures_per_epoch}"
        )
    network = state.network
    channels_last = device.is_cuda or model_info(config.model).channels_last_on_cpu
    steps = config.epochs * steps_per_epoch(config, len(training))
    steps_before = state.epoch * steps_per_epoch(config, len(training))
    state.epoch_loss, state.epoch_right = (total.to(device.device) for total in (state.epoch_loss, state.epoch_right))
    if config.averaging and state.average is None:
        state.average = copy.deepcopy(network)
    changed = augments(config)
    pending: list[Tensor] = []  # losses of steps not yet logged, still on the device

    for epoch in range(state.epoch, config.epochs):
        if config.patience and epoch - state.best_epoch >= config.patience:
            break
        started = time.monotonic()
        _set_training(network, frozen=epoch < config.frozen_epochs)
        batches = epoch_batches(config, len(training), epoch, training.shares)
        for rows in batches[state.step - steps_before :]:
            if hooks.stop_requested():
                _log_steps(hooks, pending, state)
                hooks.checkpoint(state, epoch_ended=False)
                return False
            pictures, labels = _take(training, rows, device)
            torch.manual_seed(seed_of(config.seed, 1, state.step))  # for dropout
            inputs = to_input(pictures, device, channels_last)
            if changed:
                inputs = augment(inputs, config, torch.Generator().manual_seed(seed_of(config.seed, 2, state.step)))
            with precision(device):
                logits, loss = _forward(config, network, inputs, labels, state.step)
            state.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if config.clip_norm:
                nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            for group in state.optimizer.param_groups:
                group["lr"] = group["rate"] * rate_factor(config, state.step, steps)
            state.optimizer.step()
            state.step += 1
            with torch.no_grad():
                if state.average is not None:
                    _follow(state.average, network, min(config.averaging, state.step / (state.step + 9)))
                state.epoch_loss += loss.double() * len(rows)
                state.epoch_right += (logits.argmax(1) == labels).sum()
            pending.append(loss.detach())
            if len(pending) == LOG_EVERY:
                _log_steps(hooks, pending, state)
                hooks.checkpoint(state, epoch_ended=False)
        _log_steps(hooks, pending, state)

        shown = sum(len(rows) for rows in batches)
        kept = state.average or network
        val_loss, val_accuracy = measure(kept, validation, device)
        best = val_loss < state.best_loss
        event = {
            "event": "epoch",
            "epoch": epoch + 1,
            "step": state.step,
            "train_loss": state.epoch_loss.item() / shown,
            "train_accuracy": state.epoch_right.item() / shown,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "best": best,
            "seconds": round(time.monotonic() - started, 3),
        }
        if best:
            state.best_loss, state.best_epoch = val_loss, epoch + 1
            hooks.keep_best(kept, event)
        hooks.log([event])
        state.epoch, steps_before = epoch + 1, state.step
        state.epoch_loss.zero_()
        state.epoch_right.zero_()
        hooks.checkpoint(state, epoch_ended=True)
    return True


def _set_training(network: nn.Module, frozen: bool) -> None:
    """Training mode; `frozen` leaves all but the head as it is, the statistics of batch normalisation too."""
    network.train()
    head = {id(parameter) for parameter in head_of(network).parameters()}
    for parameter in network.parameters():
        parameter.requires_grad_(not frozen or id(parameter) in head)
    for layer in network.modules():
        if frozen and isinstance(layer, nn.BatchNorm2d):
            layer.eval()


def _forward(
    config: TrainConfig, network: nn.Module, inputs: Tensor, labels: Tensor, step: int
) -> tuple[Tensor, Tensor]:
    """Logits (N, classes) and the mean loss of a batch; with mixup both are of the blended pictures."""
    if not config.mixup:
        logits = network(inputs)
        return logits, functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    rng = np.random.default_rng(seed_of(config.seed, 3, step))
    share = float(rng.beta(config.mixup, config.mixup))
    partner = torch.from_numpy(rng.permutation(len(labels))).to(labels.device, non_blocking=True)
    logits = network(torch.lerp(inputs[partner], inputs, share))
    losses = [
        functional.cross_entropy(logits, wanted, label_smoothing=config.label_smoothing)
        for wanted in (labels, labels[partner])
    ]
    return logits, share * losses[0] + (1 - share) * losses[1]


def _follow(average: nn.Module, network: nn.Module, share: float) -> None:
    """Moves the running mean towards the newest weights; statistics of batch normalisation are taken over."""
    for mean, newest in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(newest, 1 - share)
    for taken_over, current in zip(average.buffers(), network.buffers(), strict=True):
        taken_over.copy_(current)


def _take(data: LabelledPictures, rows: Tensor, device: Device) -> tuple[Tensor, Tensor]:
    if data.pictures.device.type == device.device.type:
        rows = rows.to(device.device, non_blocking=True)
        return data.pictures[rows], data.labels[rows]
    # Pictures that don't fit on the device stay on the host; pinned pages let the copy run beside the computing.
    pictures, labels = data.pictures[rows].pin_memory(), data.labels[rows].pin_memory()
    return pictures.to(device.device, non_blocking=True), labels.to(device.device, non_blocking=True)


def _log_steps(hooks: Hooks, pending: list[Tensor], state: TrainState) -> None:
    """Hands the pending losses to the log, and stops the run at the first that is no finite number."""
    if not pending:
        return
    losses = torch.stack(pending).tolist()
    first = state.step - len(losses)
    pending.clear()
    broken = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
    hooks.log([{"event": "step", "step": first + i + 1, "loss": loss} for i, loss in enumerate(losses[:broken])])
    if broken is not None:
        raise NonFiniteLoss(
            f"the loss was no finite number at step {first + broken + 1}: try a lower learning rate"
            + ("; the best weights before it are kept" if state.epoch else "")
        )


def measure(network: nn.Module, data: LabelledPictures, device: Device) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over `data`; changes neither weights nor buffers."""
    logits = predict_logits(network, data.pictures, device)
    labels = data.labels.to(logits.device)
    loss = functional.cross_entropy(logits.double(), labels).item()
    return loss, (logits.argmax(1) == labels).double().mean().item()


def resident(pictures: np.ndarray, rows: np.ndarray, labels: np.ndarray, device: Device) -> LabelledPictures:
    """Rows of a view's memory map as tensors, on the device where they fit in half of its free memory."""
    chosen = torch.empty((len(rows), *pictures.shape[1:]), dtype=torch.uint8)
    for at in _chunks(len(rows), 1024):
        chosen[at] = torch.from_numpy(pictures[rows[at]])
    wanted = torch.from_numpy(labels[rows])
    if device.is_cuda and chosen.nbytes < torch.cuda.mem_get_info(device.device)[0] / 2:
        chosen, wanted = chosen.to(device.device), wanted.to(device.device)
    return LabelledPictures(chosen, wanted)


def _chunks(total: int, size: int) -> Iterator[slice]:
    return (slice(at, min(at + size, total)) for at in range(0, total, size))
