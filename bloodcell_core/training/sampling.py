"""Which training pictures each step sees, and the seeds of all random draws: pure functions of seed and step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bloodcell_core.config import TrainConfig
from bloodcell_core.training.epochs import least_batch


def seed_of(seed: int, purpose: int, number: int) -> int:
    """A seed of its own for each (seed, purpose, number)."""
    return int(np.random.SeedSequence([seed, purpose, number]).generate_state(1)[0])


def steps_per_epoch(config: TrainConfig, pictures: int) -> int:
    """How many batches an epoch has."""
    return len(epoch_batches(config, pictures, 0))


def pictures_a_step(config: TrainConfig, pictures: int) -> float:
    """How many a batch has on average."""
    batches = epoch_batches(config, pictures, 0)
    return sum(map(len, batches)) / len(batches)


def epoch_batches(config: TrainConfig, pictures: int, epoch: int, shares: Tensor | None = None) -> list[Tensor]:
    """Which training pictures each step of an epoch sees: int64 row numbers.

    Each picture comes at most once; where `shares` (float64, N) tells how often each is to be drawn, it is drawn with
    replacement. A last batch of too few (`least_batch`) is left out.
    """
    generator = torch.Generator().manual_seed(seed_of(config.seed, 0, epoch))
    count = min(pictures, config.pictures_per_epoch or pictures)
    if shares is None:
        order = torch.randperm(pictures, generator=generator)[:count]
    else:
        order = torch.multinomial(shares, count, replacement=True, generator=generator)
    batches = torch.split(order, config.batch_size)
    return [rows for rows in batches if len(rows) >= least_batch(config)]


def balanced_shares(balance: str, labels: np.ndarray, photos: Sequence[str]) -> Tensor | None:
    """How often each picture is to be drawn, float64 (N,) that sum to 1; None where all alike.

    `class`: each class as often as any other. `photo`: each photo as often as any other, however many copies it has.
    `class and photo`: each class, and within it each photo.
    """
    if balance == "none":
        return None
    _, photo = np.unique(np.asarray(photos), return_inverse=True)
    if "class" in balance:  # a patient has cells of several classes: in each of them it is one of many
        photo = photo * (labels.max() + 1) + labels
    _, photo, copies = np.unique(photo, return_inverse=True, return_counts=True)
    one_a_photo = 1 / copies[photo]
    shares = one_a_photo if "photo" in balance else np.ones(len(labels))
    if "class" in balance:
        shares = shares / np.bincount(labels, weights=shares)[labels]
    return torch.from_numpy(shares / shares.sum())
