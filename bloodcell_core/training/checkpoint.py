"""checkpoint.pt: all that a run needs to continue as if it had never been interrupted.

Random states need no place in it: the loop draws each step's from (seed, step).
"""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import torch

from bloodcell_core import disk
from bloodcell_core.device import out_of_memory
from bloodcell_core.errors import LabError
from bloodcell_core.training.loop import TrainState

NUMBERS = ("epoch", "step", "best_loss", "best_epoch", "epoch_loss", "epoch_right")  # of `TrainState`


def save(file: Path, state: TrainState, metrics_bytes: int) -> None:
    """Writes `state`, and the length of metrics.jsonl at that time. OSError where the disk is full."""
    buffer = io.BytesIO()  # torch.save to a file tells of a full disk by "unexpected pos 64 vs 0"
    torch.save(contents(state, metrics_bytes), buffer)
    # On a full disk no view of the buffer may outlive it, as one inside `write_bytes` does: Python 3.13 complains.
    with disk.write_atomic(file) as temporary, buffer.getbuffer() as written, open(temporary, "wb") as opened:
        opened.write(written)


def load(file: Path, state: TrainState, device: torch.device) -> int:
    """Puts a checkpoint into `state` and returns the length that metrics.jsonl had then.

    LabError where it is damaged, or of other settings than `state`.
    """
    written = io.BytesIO(file.read_bytes())  # what can't be read now may well be whole
    try:
        return restore(torch.load(written, map_location=device, weights_only=True), state)
    except Exception as error:  # a damaged one was seen to raise OSError, EOFError, UnpicklingError and RuntimeError
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise
        raise LabError(
            f"{file} can't be resumed ({type(error).__name__}): it is damaged, or the run's settings were changed "
            "since; delete it, and the run begins anew"
        ) from None


def contents(state: TrainState, metrics_bytes: int) -> dict[str, Any]:
    """All that a training needs to continue to the same result, and the length of metrics.jsonl at that time."""
    return {
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "average": state.average.state_dict() if state.average is not None else None,
        **{name: getattr(state, name) for name in NUMBERS},
        "metrics_bytes": metrics_bytes,
    }


def restore(values: dict[str, Any], state: TrainState) -> int:
    """Puts a checkpoint's contents into `state`; returns the length of metrics.jsonl that belongs to it."""
    state.network.load_state_dict(values["network"])
    state.optimizer.load_state_dict(values["optimizer"])
    # CPU and GPU lay weights out differently; Adam's moments must be copied into the layout of their weight.
    for weights, means in state.optimizer.state.items():
        for name, mean in means.items():
            if mean.shape == weights.shape:
                means[name] = torch.empty_like(weights).copy_(mean)
    for name in NUMBERS:
        setattr(state, name, values[name])
    if values["average"] is not None:
        state.average = copy.deepcopy(state.network)
        state.average.load_state_dict(values["average"])
    return int(values["metrics_bytes"])
