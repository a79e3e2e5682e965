"""What a network is shown in training: some pictures of each class as the settings cut, colour and change them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from bloodcell_core.config import TrainConfig
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.splits import REFUSED, run_pictures
from bloodcell_core.data.views import make_view
from bloodcell_core.device import choose_device
from bloodcell_core.models.forward import to_input
from bloodcell_core.training.augment import augment, augments
from bloodcell_core.training.sampling import seed_of


class Shown(NamedTuple):
    """A training picture as a network is shown it."""

    label: str
    view: np.ndarray
    """uint8 size×size×3 RGB, as validation and test pictures are shown."""
    changed: np.ndarray
    """uint8 (N, size, size, 3): as N training steps may show it, each by a draw of its own; N is 0 where the settings
    change nothing."""


def shown_in_training(config: TrainConfig, dataset: Dataset, times: int, most: int) -> list[Shown]:
    """A training picture of each class, of the first `most` classes, and what becomes of it `times` times.

    Which picture and which changes hang on the config's seed. `mixup`, which lays pictures over one another, isn't
    shown. Raises LabError or OSError where a picture can't be read.
    """
    draw = np.random.default_rng(config.seed)
    pictures = run_pictures(config, dataset)
    training = pictures[pictures.split.isin(("train", REFUSED))]
    shown = []
    for place, label in enumerate([name for name in dataset.classes if (training.label == name).any()][:most]):
        row = int(draw.choice(training.index[training.label == label]))
        view = make_view(dataset.read_original(row), *config.sight, dataset.places[row]).pixels
        same = np.repeat(view[None], times if augments(config) else 0, axis=0)
        inputs = to_input(torch.from_numpy(same), choose_device("cpu"))
        changed = augment(inputs, config, torch.Generator().manual_seed(seed_of(config.seed, 2, place)))
        shown.append(Shown(label, view, (255 * changed.permute(0, 2, 3, 1)).round().to(torch.uint8).numpy()))
    return shown
