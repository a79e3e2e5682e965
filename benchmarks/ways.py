"""Two ways of training that benchmarks compare: the original analysis's, and ours as a run's worker does it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Resize, ToTensor

from bloodcell_core import workspace
from bloodcell_core.config import TrainConfig
from bloodcell_core.data import dataset as datasets
from bloodcell_core.device import Device, choose_device
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.runs import Run
from bloodcell_core.training import jobs, prepare
from bloodcell_core.training.loop import LabelledPictures, TrainState

BATCH, SIZE = 32, 96  # the original analysis's

# The original analysis's way


def unpack(archive: Path, folder: Path, split: str) -> Path:
    """Unpacks the pictures of TRAIN or TEST under the names that they have in the zip; their class folders' folder."""
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder, [name for name in packed.namelist() if f"/images/{split}/" in name])
    return next(folder.glob(f"**/images/{split}"))


def image_folder(folder: Path) -> ImageFolder:
    return ImageFolder(str(folder), Compose([Resize((SIZE, SIZE)), ToTensor()]))


def batches(pictures: Dataset[tuple[Tensor, int]], workers: int, batch: int = BATCH) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch without end, shuffled."""
    loader = DataLoader(pictures, batch, shuffle=True, num_workers=workers)
    while True:
        yield from loader


def plain_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor, device: torch.device
) -> float:
    inputs, labels = inputs.to(device), labels.to(device)
    optimizer.zero_grad()
    loss = functional.cross_entropy(network(inputs), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


# Ours


@contextmanager
def scratch_workspace(folder: Path, data: str) -> Iterator[None]:
    """Runs are made below `folder`, on the dataset `data` of the workspace; views that are missing are built there."""
    home = folder / "lab"
    (home / "datasets").mkdir(parents=True, exist_ok=True)
    linked = home / "datasets" / data
    if not linked.is_symlink():
        linked.symlink_to(workspace.dataset_dir(data))
    before = os.environ.get("BLOODCELL_HOME")
    os.environ["BLOODCELL_HOME"] = str(home)
    try:
        yield
    finally:
        del os.environ["BLOODCELL_HOME"]
        if before:
            os.environ["BLOODCELL_HOME"] = before


class Begun(NamedTuple):
    run: Run
    training: LabelledPictures
    validation: LabelledPictures
    state: TrainState
    device: Device


def begin(config: TrainConfig, progress: Progress = no_progress) -> Begun:
    """A new run of this workspace as its worker has it before the first step; nothing is scored."""
    run, device = jobs.create_run(config), choose_device(config.device)
    dataset = datasets.Dataset(config.data)
    rows = prepare.split_rows(config, dataset, run.validation_photos)
    _, training, validation = prepare.load_pictures(config, dataset, rows, device, progress)
    state = prepare.first_state(config, len(run.classes), device, config.weights)
    return Begun(run, training, validation, state, device)
