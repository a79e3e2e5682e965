"""The training loop, from the first picture to the best weights; read it from top to bottom.

Every random draw of step k comes from (seed, k) and the order of epoch e from (seed, e). Nothing else is random,
so a run that goes on from a checkpoint draws exactly what the unbroken run would have drawn.
"""

from __future__ import annotations

import copy
import inspect
import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional

from bloodcell_core.config import TrainConfig
from bloodcell_core.device import Device
from bloodcell_core.errors import LabError
from bloodcell_core.models import model_info
from bloodcell_core.models.forward import predict_logits, to_input
from bloodcell_core.models.network import head_of
from bloodcell_core.training.augment import augment, augments
from bloodcell_core.training.epochs import check_epoch
from bloodcell_core.training.gradients import Gradients
from bloodcell_core.training.sampling import epoch_batches, seed_of, steps_per_epoch
from bloodcell_core.training.team import ALONE, Team

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)

WARM_UP = 0.15  # of a one-cycle run's steps, in which the rate rises
LOG_EVERY = 20  # steps between two looks at the loss: each look makes the host wait for the device


@dataclass
class LabelledPictures:
    """Pictures uint8 (N, S, S, 3) with class indices int64 (N,): both on one device, or the pictures on disk."""

    pictures: Tensor | np.ndarray
    """A NumPy array is the whole view on disk; `places` are the rows in use."""
    labels: Tensor
    shares: Tensor | None = None
    """How often each is to be drawn (`sampling.balanced_shares`), on the host; None where all alike."""
    places: np.ndarray | None = None
    """Row numbers int64 (N,) of a view on disk; None where `pictures` are a tensor, and all are meant."""

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
    epoch_loss: float = 0.0
    epoch_right: int = 0
    """Of the epoch under way: the sum of the losses of its pictures, and how many were right."""


class Hooks:
    """What the loop tells the world, and asks it. The worker overrides these; a test may leave them as they are."""

    def log(self, events: list[dict[str, Any]]) -> None:
        """New events for metrics.jsonl: `step` events come LOG_EVERY at a time, `epoch` events one by one."""

    def keep_best(self, network: nn.Module, event: dict[str, Any]) -> None:
        """These weights have the lowest validation loss so far; `event` is their epoch's, not logged yet."""

    def checkpoint(self, state: TrainState, epoch_ended: bool) -> None:
        """A moment at which everything logged so far agrees with `state`."""

    def stop_requested(self) -> bool:
        """Whether to end at this batch."""
        return False

    def note(self, words: str) -> None:
        """Something that a person should know of this run."""


class NonFiniteLoss(LabError):
    """The loss became infinite or not a number: the run ends with what it has kept."""


def transfer(config: TrainConfig) -> tuple[int, float]:
    """Epochs in which the head alone learns, and the body's share of the rate: as asked for, or as the weights need."""
    pretrained = model_info(config.model).pretrained and config.weights != "none"
    frozen, share = (1, 0.2) if pretrained else (0, 1.0)
    return (
        frozen if config.frozen_epochs is None else config.frozen_epochs,
        share if config.body_rate is None else config.body_rate,
    )


def make_optimizer(config: TrainConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Adam or AdamW with two groups: the body at its share of the rate, and the layer that decides."""
    kind = without_compiler(torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam)
    rate = config.learning_rate or model_info(config.model).learning_rate
    head = {id(parameter) for parameter in head_of(network).parameters()}
    groups = [
        {"params": [each for each in network.parameters() if id(each) not in head], "rate": rate * transfer(config)[1]},
        {"params": [each for each in network.parameters() if id(each) in head], "rate": rate},
    ]
    # Fused also on a CPU: one pass over the weights instead of a dozen, 8 ms instead of 25 for resnet18.
    return kind(groups, lr=rate, weight_decay=config.weight_decay, fused=True)


def without_compiler(kind: type[Kind]) -> type[Kind]:
    """The same optimizer, which doesn't load `torch._dynamo`: a training would wait for it before its first step.

    PyTorch wraps these methods so that its compiler leaves them alone. Here none ever looks at an optimizer.
    """
    names = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), plain | {"step": torch.no_grad()(plain["step"])})


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
    team: Team = ALONE,
) -> bool:
    """Trains `state.network` in place until `config.epochs` are done; False where a stop was asked for before.

    Raises NonFiniteLoss naming the step, and LabError where an epoch would have no batch or a batch doesn't fit in
    the device's memory. In a `team` each process brings the same arguments but for device and hooks, and takes its
    share of each batch; all end with the same weights.
    """
    check_epoch(config, len(training))
    if config.batch_size < team.size:
        raise LabError(f"{team.size} processes can't share batches of {config.batch_size}: raise batch_size")
    network = state.network
    if words := team.share_statistics(network, device.is_cuda):
        hooks.note(words)
    steps = config.epochs * steps_per_epoch(config, len(training))
    steps_before = state.epoch * steps_per_epoch(config, len(training))
    if config.averaging and state.average is None:
        state.average = copy.deepcopy(network)
    frozen_epochs, _ = transfer(config)
    gradients = Gradients(config, network, device, team, hooks.note)
    pending: list[_Told] = []
    stop = False

    for epoch in range(state.epoch, config.epochs):
        if config.patience and epoch - state.best_epoch >= config.patience:
            break
        started = time.monotonic()
        gradients.start_epoch(frozen=epoch < frozen_epochs)
        batches = epoch_batches(config, len(training), epoch, training.shares)
        for rows in batches[state.step - steps_before :]:
            if stop or (team.size == 1 and hooks.stop_requested()):
                _settle(hooks, pending, state, team)
                hooks.checkpoint(state, epoch_ended=False)
                return False
            rate = rate_factor(config, state.step, steps)
            pending.append(_step(config, state, training, rows, rate, device, gradients, team))
            if len(pending) == LOG_EVERY:
                stop = _settle(hooks, pending, state, team)
                hooks.checkpoint(state, epoch_ended=False)
        stop = _settle(hooks, pending, state, team) or stop

        shown = sum(len(rows) for rows in batches)
        kept = state.average or network
        team.take_leaders_statistics(kept)
        val_loss, val_accuracy = measure(kept, validation, device, team)
        best = val_loss < state.best_loss
        event = {
            "event": "epoch",
            "epoch": epoch + 1,
            "step": state.step,
            "train_loss": state.epoch_loss / shown,
            "train_accuracy": state.epoch_right / shown,
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
        state.epoch_loss, state.epoch_right = 0.0, 0
        hooks.checkpoint(state, epoch_ended=True)
    return True


def _step(
    config: TrainConfig,
    state: TrainState,
    training: LabelledPictures,
    rows: Tensor,
    rate: float,
    device: Device,
    gradients: Gradients,
    team: Team,
) -> _Told:
    """Learns from the batch of these rows, at this share of the highest learning rate."""
    mine, draw = team.share(rows), team.draw(state.step)
    share = len(mine) / len(rows)
    if not share:  # a last batch smaller than the team: this process takes its part in the sums, at no weight
        mine = rows[:1]
    pictures, labels = _take(training, mine, device)
    inputs = to_input(pictures, device, device.is_cuda or model_info(config.model).channels_last_on_cpu)
    if augments(config):
        inputs = augment(inputs, config, torch.Generator().manual_seed(seed_of(config.seed, 2, draw)))
    state.optimizer.zero_grad(set_to_none=True)
    loss, right = gradients.take(inputs, labels, draw, share)
    if config.clip_norm:
        nn.utils.clip_grad_norm_(state.network.parameters(), config.clip_norm)
    for group in state.optimizer.param_groups:
        group["lr"] = group["rate"] * rate
    state.optimizer.step()
    state.step += 1
    if state.average is not None:
        _follow(state.average, state.network, min(config.averaging, state.step / (state.step + 9)))
    counted = right.double() if share else torch.zeros_like(loss, dtype=torch.float64)
    return _Told(torch.stack([loss.double() * share, counted]), len(rows))


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, share: float) -> None:
    """Moves the running mean towards the newest weights; statistics of batch normalisation are taken over."""
    # All in one call, as torch.optim.swa_utils does it: on a GPU a call a layer costs the host more than the sum.
    torch._foreach_lerp_([*average.parameters()], [*network.parameters()], 1 - share)
    for taken_over, current in zip(average.buffers(), network.buffers(), strict=True):
        taken_over.copy_(current)


def _take(data: LabelledPictures, rows: Tensor, device: Device) -> tuple[Tensor, Tensor]:
    if isinstance(data.pictures, Tensor) and data.pictures.device.type == device.device.type:
        rows = rows.to(device.device, non_blocking=True)
        return data.pictures[rows], data.labels[rows]
    if isinstance(data.pictures, Tensor):
        pictures = data.pictures[rows]
    else:
        assert data.places is not None, "a view on disk without its rows"
        pictures = torch.from_numpy(data.pictures[data.places[rows.numpy()]])
    labels = data.labels[rows]
    if device.is_cuda:  # pinned pages let the copy run beside the computing
        pictures, labels = pictures.pin_memory(), labels.pin_memory()
    return pictures.to(device.device, non_blocking=True), labels.to(device.device, non_blocking=True)


class _Told(NamedTuple):
    """A step that isn't logged yet."""

    figures: Tensor
    """Its loss and how many pictures were right, float64 (2,), still on the device."""
    pictures: int


def _settle(hooks: Hooks, pending: list[_Told], state: TrainState, team: Team) -> bool:
    """Hands the pending losses to the log, and stops the run at the first that is no finite number.

    True where a team is asked to stop: it asks here only, where its processes meet anyhow.
    """
    if not pending:
        return False
    stopping = torch.full((1, 2), float(hooks.stop_requested() if team.size > 1 else False), dtype=torch.float64)
    figures = torch.stack([told.figures for told in pending])
    *steps, (stop, _) = team.sum(torch.cat([figures, stopping.to(figures.device)])).tolist()
    first = state.step - len(steps)
    broken = next((i for i, (loss, _) in enumerate(steps) if not math.isfinite(loss)), None)
    hooks.log([{"event": "step", "step": first + i + 1, "loss": loss} for i, (loss, _) in enumerate(steps[:broken])])
    if broken is not None:
        raise NonFiniteLoss(
            f"the loss was no finite number at step {first + broken + 1}: try a lower learning rate"
            + ("; the best weights before it are kept" if state.epoch else "")
        )
    for told, (loss, right) in zip(pending, steps, strict=True):  # one by one: the same sum wherever it is broken off
        state.epoch_loss += loss * told.pictures
        state.epoch_right += int(right)
    pending.clear()
    return bool(stop)


def measure(network: nn.Module, data: LabelledPictures, device: Device, team: Team = ALONE) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over `data`; changes neither weights nor buffers."""
    wanted = team.share(data.labels)
    mine = slice(team.rank, None, team.size)
    pictures, rows = (data.pictures[mine], None) if data.places is None else (data.pictures, data.places[mine])
    sums = torch.zeros(2, dtype=torch.float64, device=device.device)
    if len(wanted):
        logits = predict_logits(network, pictures, device, rows=rows)
        labels = wanted.to(logits.device)
        sums[0] = functional.cross_entropy(logits.double(), labels, reduction="sum")
        sums[1] = (logits.argmax(1) == labels).sum()
    loss, right = (team.sum(sums) / len(data)).tolist()
    return loss, right


def resident(pictures: np.ndarray, rows: np.ndarray, labels: np.ndarray, device: Device) -> LabelledPictures:
    """Rows of a view's memory map in memory: the device's where they fit in half of what is free there, else the host's
    by the same rule. Where they fit in neither they stay on disk, and are read a batch at a time.
    """
    wanted = torch.from_numpy(labels[rows])
    needed = len(rows) * math.prod(pictures.shape[1:])
    if device.is_cuda and needed < torch.cuda.mem_get_info(device.device)[0] / 2:
        where = device.device
    elif needed < psutil.virtual_memory().available / 2:
        where = torch.device("cpu")
    else:
        return LabelledPictures(pictures, wanted, places=rows)
    chosen = torch.empty((len(rows), *pictures.shape[1:]), dtype=torch.uint8, device=where)
    for at in range(0, len(rows), 1024):
        chosen[at : at + 1024] = torch.from_numpy(pictures[rows[at : at + 1024]])
    return LabelledPictures(chosen, wanted.to(where))
