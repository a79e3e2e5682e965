"""What a training needs before its first step: pictures by their purpose, and a network with its optimizer.

Torch is imported only where a function needs it: pages cut validation pictures when they queue a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bloodcell_core.config import TrainConfig
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.splits import REFUSED, cut_by_photo, run_classes, run_pictures
from bloodcell_core.errors import LabError
from bloodcell_core.labels.overlays import Overlay, of_config
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.training.epochs import check_epoch

if TYPE_CHECKING:
    from bloodcell_core.device import Device
    from bloodcell_core.training.loop import LabelledPictures, TrainState


def cut_validation(config: TrainConfig, dataset: Dataset) -> list[str]:
    """The photos of the run's training split that are kept back to choose the best epoch.

    None where the dataset brings a validation split of its own. LabError where there are too few photos.
    """
    pictures = run_pictures(config, dataset)
    if (pictures.split == "val").any():
        return []
    training = pictures[pictures.split == "train"]
    chosen = cut_by_photo(training.label.tolist(), training.scene.tolist(), config.validation_fraction, config.seed)
    if not chosen.any():
        raise LabError(
            f"dataset {dataset.name!r} has too few training photos to keep some back for validation: no class "
            "has two of them. Add photos, or bring a split that is called val"
        )
    return sorted(set(training.photo[chosen]))


def split_rows(
    config: TrainConfig, dataset: Dataset, validation_photos: list[str], overlay: Overlay | None = None
) -> dict[str, np.ndarray]:
    """Row numbers of the train, val and test pictures of a run; no photo is in both train and val.

    What the config's `overlay` leaves out is in neither of those two; the test pictures are the same with it.
    Pictures to be refused are trained on, and none of them is in the others.
    ValueError where the overlay isn't the one that the config names.
    """
    pictures = run_pictures(config, dataset)
    labels, takes_part = _labels(config, dataset, overlay)
    of_validation = pictures.photo.isin(set(validation_photos))
    in_validation = (pictures.split == "val") | ((pictures.split == "train") & of_validation)
    in_training = pictures.split.isin(("train", REFUSED)) & ~of_validation
    named = labels < len(run_classes(config, dataset))
    return {
        "train": pictures.index[in_training & takes_part].to_numpy(),
        "val": pictures.index[in_validation & takes_part & named].to_numpy(),
        "test": pictures.index[pictures.split == "test"].to_numpy(),
    }


def first_rows(config: TrainConfig, dataset: Dataset) -> tuple[dict[str, np.ndarray], list[str], Overlay | None]:
    """What a training that is still to be made is of: its `split_rows`, the photos of `cut_validation`, its overlay.

    LabError where there is nothing to learn from, or nothing to choose the best epoch by.
    """
    overlay, validation_photos = of_config(config, dataset), cut_validation(config, dataset)
    rows = split_rows(config, dataset, validation_photos, overlay)
    for split, used in (("train", "training"), ("val", "validation")):
        if overlay and not len(rows[split]):
            raise LabError(f"overlay {overlay.reference} leaves no {used} picture of {dataset.name!r}")
    check_epoch(config, len(rows["train"]))
    return rows, validation_photos, overlay


def load_pictures(
    config: TrainConfig,
    dataset: Dataset,
    rows: dict[str, np.ndarray],
    device: Device,
    progress: Progress = no_progress,
    overlay: Overlay | None = None,
) -> tuple[np.ndarray, LabelledPictures, LabelledPictures]:
    """The view (a memory map, built where it isn't there) and its training and validation pictures in memory.

    Their labels are those of the config's `overlay`, where it names one; ValueError where that isn't this one.
    """
    from bloodcell_core.data.views import build_view
    from bloodcell_core.training.loop import resident
    from bloodcell_core.training.sampling import balanced_shares

    view = build_view(dataset, *config.sight, progress)
    labels, _ = _labels(config, dataset, overlay)
    training = resident(view, rows["train"], labels, device)
    training.shares = balanced_shares(
        config.balance, labels[rows["train"]], dataset.pictures.photo[rows["train"]].tolist()
    )
    return view, training, resident(view, rows["val"], labels, device)


def _labels(config: TrainConfig, dataset: Dataset, overlay: Overlay | None) -> tuple[np.ndarray, np.ndarray]:
    """The labels of `dataset.pictures` as a run learns them, int64 (N,), and bool (N,): may take part.

    A label is a place in the classes that the run names, or the next one for all that it is to refuse. ValueError
    where `overlay` isn't what the config names: one that was forgotten would be trained without.
    """
    if config.labels != (overlay.reference if overlay else ""):
        raise ValueError(f"these settings are for the labels {config.labels!r}, not {overlay and overlay.reference!r}")
    labels = dataset.class_indices()
    out = np.zeros(len(labels), dtype=bool)
    if overlay:
        labels, out = overlay.laid_over(dataset)
    named = run_classes(config, dataset)
    places = np.array([named.index(name) if name in named else len(named) for name in dataset.classes])
    return places[labels], ~out


def first_state(config: TrainConfig, classes: int, device: Device, weights: str) -> TrainState:
    """The network on the device with its first weights, drawn from the config's seed, and its optimizer.

    Where classes are refused it has outputs for them behind those of the `classes` that it names.
    """
    import torch

    from bloodcell_core.models.network import network_of
    from bloodcell_core.training.loop import TrainState, make_optimizer

    torch.manual_seed(config.seed)
    network = network_of(config, classes + bool(config.refused), weights).to(device.device)
    if device.is_cuda:
        network = network.to(memory_format=torch.channels_last)
    return TrainState(network, make_optimizer(config, network))
