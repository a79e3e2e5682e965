"""How few pictures an epoch may have. Imports no torch: pages ask before they queue a run."""

from __future__ import annotations

from bloodcell_core.config import TrainConfig
from bloodcell_core.errors import LabError


def check_epoch(config: TrainConfig, pictures: int) -> None:
    """LabError where an epoch of so many training pictures would have no step."""
    if min(pictures, config.pictures_per_epoch or pictures) < least_batch(config):
        raise LabError(
            f"an epoch needs at least {'two pictures' if least_batch(config) > 1 else 'one picture'}: there are "
            f"{pictures:,} to train on, and pictures per epoch is {config.pictures_per_epoch} (0 means all of them)"
        )


def least_batch(config: TrainConfig) -> int:
    """Fewest pictures per step. Batch normalisation needs two, so a last batch of one is dropped."""
    return min(2, config.batch_size)
