"""checkpoint.pt: all that a run needs to go on as if it had never been broken off.

Random states need no place in it: the loop draws each step's from (seed, step).
"""

from __future__ import annotations

from pathlib import Path

import torch

from bloodcell_core import workspace
from bloodcell_core.training.loop import TrainState


def save(file: Path, state: TrainState, metrics_bytes: int) -> None:
    """Writes `state`, and how long metrics.jsonl was when it held."""
    values = {
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "epoch": state.epoch,
        "step": state.step,
        "best_loss": state.best_loss,
        "epoch_loss": state.epoch_loss,
        "epoch_right": state.epoch_right,
        "metrics_bytes": metrics_bytes,
    }
    with workspace.write_atomic(file) as temporary:
        torch.save(values, temporary)


def load(file: Path, state: TrainState, device: torch.device) -> int:
    """Puts a checkpoint into `state` and returns the length that metrics.jsonl had then."""
    values = torch.load(file, map_location=device, weights_only=True)
    state.network.load_state_dict(values["network"])
    state.optimizer.load_state_dict(values["optimizer"])
    state.epoch, state.step, state.best_loss = values["epoch"], values["step"], values["best_loss"]
    state.epoch_loss, state.epoch_right = values["epoch_loss"], values["epoch_right"]
    return int(values["metrics_bytes"])
