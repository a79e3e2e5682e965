"""The `Likeness` of a run, which detects cells unlike its training cells: fitted when it ends, read when it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bloodcell_core import workspace
from bloodcell_core.cells import Place
from bloodcell_core.data.combining import part_names
from bloodcell_core.data.dataset import Dataset, dataset_of
from bloodcell_core.data.looks import look_of
from bloodcell_core.data.splits import photos_first, run_pictures
from bloodcell_core.data.views import build_view
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.arrays import Floats
from bloodcell_core.evaluation.external import own_pictures
from bloodcell_core.evaluation.likeness import Cells, LastLayer, Likeness, OtherVersion, fit
from bloodcell_core.labels.overlays import of_run
from bloodcell_core.runs import Run

if TYPE_CHECKING:
    from bloodcell_core.device import Device
    from bloodcell_core.models.network import Network

MOST_PICTURES = 2000  # that the cloud is made of, and at most as many that set its limits: some seconds of a CPU


def looks_of(view: np.ndarray, rows: np.ndarray, places: list[Place]) -> Floats:
    """(N, 15): the looks of some rows of a view."""
    from bloodcell_core.data.parallel import picture_threads

    with picture_threads() as pool:
        return np.stack(list(pool.map(lambda row: look_of(view[row], places[row]), rows.tolist())))


def fit_run(run: Run, dataset: Dataset, view: np.ndarray, network: Network, device: Device) -> Likeness:
    """What the training cells of a run are like to its trained network, by the labels that it was trained with.

    Args:
        run: a run of `dataset`; `view` is the dataset's view that it trains on.
        network: with the run's weights, on the device; it is hooked on to.

    Raises:
        LabError: where there are too few pictures or photos to tell.
    """
    from bloodcell_core.models.forward import Tapped
    from bloodcell_core.models.network import last_layer as last_layer_of

    training, pictures = own_pictures(run, dataset, "train"), run_pictures(run.config, dataset)
    if overlay := of_run(run):  # what a person took out was never learned
        training, pictures = (overlay.relabelled(part, run.classes) for part in (training, pictures))
    aside = (pictures.split == "val") | ((pictures.split == "train") & pictures.photo.isin(set(run.validation_photos)))
    if pictures.photo[aside].nunique() < 2:
        raise LabError("there are too few validation photos to tell how far a cell may be from the training cells")
    found = training.box_x0.notna().groupby(training.label).mean()
    tapped = Tapped(network)
    laboratories = part_names(dataset)

    def cells(rows: np.ndarray) -> Cells:
        features = tapped.predict(view, device, rows=rows)[1]
        photos = pictures.photo[rows].to_numpy()
        return Cells(features, looks_of(view, rows, dataset.places), photos, laboratories[rows])

    def sample(part: pd.DataFrame) -> np.ndarray:
        """Rows of `part`: as many of each laboratory."""
        names = laboratories[part.index]
        most = MOST_PICTURES // len(set(names))
        return np.concatenate([photos_first(part[names == name], most) for name in np.unique(names)])

    rows, held = sample(training), sample(pictures[aside])
    last_layer = None
    if run.config.refused:
        last_layer = LastLayer(*last_layer_of(run.config, len(run.classes), run.weights_file), len(run.classes))
    return fit(
        cells(rows),
        pictures.label[rows].to_numpy(),
        cells(held),
        {str(name): float(share) for name, share in found.items()},
        last_layer=last_layer,
    )


def _kept(file: Path) -> Likeness | None:
    """What the file holds; None where there is none, or one of another version: then it is fitted anew."""
    try:
        return Likeness.load(file) if file.exists() else None
    except OtherVersion:
        return None


def likeness_of(run: Run, network: Callable[[], Network], device: Device) -> tuple[Likeness | None, str]:
    """What is kept of a run's training cells, fitted now where nothing is kept yet; or None and why it isn't known.

    `network` gives a network of the caller's with the run's weights, on the device; it is hooked on to.
    """
    from filelock import FileLock

    kept = workspace.likeness_file(run.name)
    for file in (run.likeness_file, kept):
        if likeness := _kept(file):
            return likeness, ""
    config = run.config
    dataset = dataset_of(run)
    if dataset is None:
        return None, f"the run has no record of it, and its dataset {config.data!r} isn't here as it was"
    with FileLock(workspace.lock_file(f"likeness-{run.name}")):
        if not _kept(kept):  # not fitted by another process meanwhile
            view = build_view(dataset, *config.sight)
            try:
                fit_run(run, dataset, view, network(), device).save(kept)
            except LabError as error:
                return None, str(error)
    return Likeness.load(kept), ""
