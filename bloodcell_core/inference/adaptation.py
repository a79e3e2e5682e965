"""Domain adaptation: a run is fitted to another microscope by about a hundred cells that a person labelled there.

Another laboratory's stain, light and camera shift what a network sees, and it gives wrong answers with confidence. What
it has learned of cells still holds: a hundred labelled cells are too few to train a network, and enough to adapt one.
The method was chosen by measurement (benchmarks/bench_adaptation.py, docs/experiments.md).

The gain is measured by cross-validation on these cells: all pictures of a photo or slide are in one fold, and each cell
is answered by a network that was adapted without its fold. The network that is kept is adapted to all cells. Too few
cells (least_cells.py) are refused: with 40, an accuracy of 90% is known to within ten points, which is just enough to
tell the gain that adapting brings, and each fold needs a cell of each class.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from bloodcell_core import disk, workspace
from bloodcell_core.config import TrainConfig
from bloodcell_core.data.combining import combine
from bloodcell_core.data.dataset import Dataset, unused_name
from bloodcell_core.data.dataset import remove as remove_dataset
from bloodcell_core.data.splits import cut_by_photo, folds_by_photo, run_pictures
from bloodcell_core.data.views import build_view
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.comparison import Side, compare_sides
from bloodcell_core.evaluation.external import external_pictures
from bloodcell_core.evaluation.predictions import predictions_table
from bloodcell_core.evaluation.scoring import score
from bloodcell_core.inference.least_cells import ONE_PICTURE, too_few
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.runs import Run, new_name
from bloodcell_core.training.jobs import write_config, write_finished
from bloodcell_core.training.prepare import cut_validation

if TYPE_CHECKING:
    from torch import Tensor

    from bloodcell_core.device import Device
    from bloodcell_core.models.network import Network

FOLDS = 5
SETTINGS: dict[str, Any] = {
    "epochs": 30, "pictures_per_epoch": 0, "batch_size": 16, "learning_rate": None, "body_rate": None,
    "frozen_epochs": 0, "schedule": "one-cycle", "optimizer": "adam", "weight_decay": 0.0, "mixup": 0.0,
    "patience": 0, "averaging": 0.98, "compile": "no", "balance": "class",
    "too_large": "split",
}  # fmt: skip
"""How a network is trained further; augmentation stays as in the run's own training."""
MOST_CELLS = 2000  # with more, a training from scratch is better, and adapting takes too long


@dataclass(frozen=True)
class OwnCells:
    """The labelled cells that a run is adapted to."""

    dataset: Dataset
    """Its classes are the run's, by name."""
    rows: np.ndarray
    """int64 (N,): of `dataset.pictures`."""
    labels: np.ndarray
    """int64 (N,): places in the run's classes."""
    groups: list[str]
    """What isn't divided between folds: the slide, photo or scene where known, else the picture."""
    warnings: list[str]

    @property
    def folds(self) -> int:
        """The number of folds: each is answered by a network that was adapted to the others."""
        return min(FOLDS, len(set(self.groups)))


def own_cells(run: Run, dataset: Dataset, class_map: Mapping[str, str] | None = None) -> OwnCells:
    """The cells of a dataset that a run can be adapted to, all its splits together.

    Where its classes aren't called as the run's are, or it has others too, a dataset that has them so is made of it.

    Raises:
        LabError: for an ensemble, the run's own dataset, and cells that are too few or too many.
    """
    if run.is_ensemble:
        inside = ", ".join(facts["run"] for facts in run.member_facts)
        raise LabError(f"{run.name!r} is an ensemble: adapt its members ({inside}), and put those together")
    if dataset.content_hash == run.data_hash:
        raise LabError(f"{run.name!r} was trained on {dataset.name!r}: there is nothing to adapt to")
    pictures, facts = external_pictures(run, dataset, "all", class_map)
    counts = {name: int((pictures.label == name).sum()) for name in run.classes}
    if reason := too_few(counts):
        raise LabError(f"dataset {dataset.name!r}: {reason}")
    if pictures.scene.nunique() < 2:
        raise LabError(ONE_PICTURE)
    if len(pictures) > MOST_CELLS:
        raise LabError(
            f"dataset {dataset.name!r} has {len(pictures):,} cells of these classes: more than {MOST_CELLS:,} are "
            "enough to train on (`data combine` puts them beside the run's own)"
        )
    warnings = list(facts["warnings"])
    warnings += [f"{name}: none of these cells, what is said of that class isn't tested" for name in facts["lacking"]]
    if any(theirs != ours for theirs, ours in facts["class_map"].items()):
        name = unused_name(f"{dataset.name}-as-{run.config.data}")
        dataset = combine(name, [(dataset, facts["class_map"])])
        pictures = dataset.pictures
    labels = pd.Categorical(pictures.label, categories=run.classes).codes.astype(np.int64)
    return OwnCells(dataset, pictures.index.to_numpy(), labels, pictures.scene.tolist(), warnings)


def adapt(
    run: Run,
    dataset: Dataset,
    class_map: Mapping[str, str] | None = None,
    device: str = "auto",
    progress: Progress = no_progress,
    tell_made: Callable[[str], None] = lambda name: None,
) -> Run:
    """A new, finished run: `run` adapted to the labelled cells of a dataset. The old one stays as it is.

    Args:
        run: any finished run but an ensemble.
        dataset: of labelled cells, with photos or slides where they are known.
        class_map: {their class: ours}, as a mapping file says it, where the names don't tell.
        device: auto, cpu, cuda or cuda:N.
        progress: hears (epochs trained, epochs in all), of all networks together; what it raises ends the adapting.
        tell_made: hears the name of the dataset that is made of the cells, where their classes are called otherwise.

    Returns:
        The new run. Its predictions are each cell's by a network that was adapted without its fold, its summary's
        `adaptation` sets them against the old run's: cells, photos, by_class, folds, before, after (as
        `scoring.score`), verdict, warnings, cells_used.

    Raises:
        LabError: as `own_cells`, and where the run has no weights.
    """
    from bloodcell_core.device import NO_SETTINGS, choose_device, memory_told

    if not run.is_ensemble:
        run.check_weights()
    chosen = choose_device(device)
    own = own_cells(run, dataset, class_map)
    try:
        if own.dataset.name != dataset.name:
            tell_made(own.dataset.name)
        config = replace(
            run.config, **SETTINGS, data=own.dataset.name, labels="", refuse="", folds=0, fold=1, fold_over="all",
            device=device,
        )  # fmt: skip
        with memory_told(NO_SETTINGS):
            return _adapted_run(run, own, config, chosen, progress)
    except BaseException:
        if own.dataset.name != dataset.name:  # made for this run alone
            remove_dataset(own.dataset.name)
        raise


def _adapted_run(run: Run, own: OwnCells, config: TrainConfig, device: Device, progress: Progress) -> Run:
    from bloodcell_core.models.forward import predict_probabilities, softmax
    from bloodcell_core.models.network import trained_network

    started = time.monotonic()
    pixels = np.asarray(build_view(own.dataset, *config.sight)[own.rows])
    pictures = own.dataset.pictures.loc[own.rows].assign(split="test")

    def fresh() -> Network:
        return trained_network(run).to(device.device)

    epochs = SETTINGS["epochs"] * (own.folds + 1)
    trained = count(1)

    def each_epoch() -> None:
        progress(next(trained), epochs)

    before = predict_probabilities(fresh(), pixels, device, temperature=run.temperature)
    logits = _out_of_fold(fresh, len(run.classes), config, pixels, own, device, each_epoch)
    network = adapted(fresh(), config, pixels, own.labels, device, each_epoch)
    table = predictions_table(pictures, softmax(logits), run.classes)
    facts = _facts(run, own, predictions_table(pictures, before, run.classes), table)
    return _keep(run, own, config, network, table, facts, time.monotonic() - started)


def adapted(
    network: Network,
    config: TrainConfig,
    pixels: np.ndarray,
    labels: np.ndarray,
    device: Device,
    each_epoch: Callable[[], None] = lambda: None,
) -> Network:
    """`network`, trained on from where it stands, on uint8 (N, S, S, 3) cells with class indices (N,); in place.

    All of it learns, from pretrained weights the body more slowly than the last layer; each class is shown equally
    often, each cell turned, zoomed and stained anew as the run's own training pictures were. The weights that are kept
    are a running mean: few cells pull hard. Deterministic for the config's seed. What `each_epoch` raises ends it.
    """
    import torch

    from bloodcell_core.training.loop import Hooks, LabelledPictures, TrainState, make_optimizer, train
    from bloodcell_core.training.sampling import balanced_shares

    class Heard(Hooks):
        def checkpoint(self, state: TrainState, epoch_ended: bool) -> None:
            if epoch_ended:
                each_epoch()

    config = replace(config, **SETTINGS)
    shares = balanced_shares(config.balance, labels, [str(place) for place in range(len(labels))])
    cells = LabelledPictures(
        torch.from_numpy(np.ascontiguousarray(pixels)).to(device.device),
        torch.from_numpy(labels).to(device.device),
        shares,
    )
    state = TrainState(network, make_optimizer(config, network))
    few = LabelledPictures(cells.pictures[:2], cells.labels[:2])  # no epoch is chosen: the last one's weights are kept
    train(config, state, cells, few, device, Heard())
    return cast("Network", state.average or network).eval()


def _out_of_fold(
    fresh: Callable[[], Network],
    classes: int,
    config: TrainConfig,
    pixels: np.ndarray,
    own: OwnCells,
    device: Device,
    each_epoch: Callable[[], None],
) -> Tensor:
    """Logits (N, C) of each cell by a network that was adapted to the other folds' cells."""
    import torch

    from bloodcell_core.models.forward import predict_logits

    fold = folds_by_photo([str(label) for label in own.labels], own.groups, own.folds, config.seed)
    logits = torch.empty((len(own.labels), classes))
    for part in range(own.folds):
        held = fold == part
        network = adapted(fresh(), config, pixels[~held], own.labels[~held], device, each_epoch)
        logits[torch.from_numpy(held)] = predict_logits(network, pixels[held], device).cpu()
    return logits


def _facts(run: Run, own: OwnCells, before: pd.DataFrame, after: pd.DataFrame) -> dict[str, Any]:
    """The gain, JSON-ready: before and after on the same cells, none of them seen by the network that answers."""
    as_it_was, adapted_one = (
        Side(name, own.dataset.name, own.dataset.content_hash, run.classes, table)
        for name, table in (("as it was", before), ("adapted", after))
    )
    scores = {"before": score(before, run.classes), "after": score(after, run.classes)}
    return {
        "from": run.name,
        "cells": len(own.rows),
        "photos": scores["before"]["photos"],
        "by_class": {name: int((own.labels == place).sum()) for place, name in enumerate(run.classes)},
        "folds": own.folds,
        **scores,
        "compared": compare_sides(as_it_was, adapted_one, pictures="cells"),
        "warnings": own.warnings,
        "cells_used": own.dataset.pictures.image_id[own.rows].tolist(),
    }


def _set_apart(config: TrainConfig, dataset: Dataset) -> list[str]:
    """The photos held back to set the limits of `Likeness`; no epoch was chosen by them.

    As a training holds them back; where no class has two photos, some of all photos, whatever their class.
    """
    try:
        return cut_validation(config, dataset)
    except LabError:
        pictures = run_pictures(config, dataset)
        training = pictures[pictures.split == "train"]
        scenes = training.scene.tolist()
        apart = cut_by_photo(["cell"] * len(scenes), scenes, config.validation_fraction, config.seed)
        return sorted(set(training.photo[apart]))


def _keep(
    run: Run,
    own: OwnCells,
    config: TrainConfig,
    network: Network,
    table: pd.DataFrame,
    facts: dict[str, Any],
    seconds: float,
) -> Run:
    """Writes the folder of the new run, which appears whole or not at all."""
    from bloodcell_core.models.costs import cost
    from bloodcell_core.models.network import save_weights

    name = new_name(config.model)
    with disk.new_folder(workspace.run_dir(name)) as folder:
        write_config(
            folder, config, classes=run.classes, data_hash=own.dataset.content_hash,
            synthetic=run.synthetic or own.dataset.synthetic, pretrained=run.pretrained,
            validation_photos=_set_apart(config, own.dataset),
            adapted={key: facts[key] for key in ("from", "cells", "by_class", "folds", "cells_used")},
        )  # fmt: skip
        save_weights(network, folder / "model.safetensors", {"adapted_from": json.dumps(run.name)})
        write_finished(
            folder,
            table,
            {
                "best_epoch": None,
                "epochs_trained": 0,
                "training_seconds": round(seconds, 1),
                "val_accuracy": None,
                "val_loss": None,
                **cost(config.model, config.size, config.width, len(run.classes))._asdict(),
                "temperature": 1.0,
                "temperature_fitted_on": {"pictures": 0, "photos": None},
                "temperature_reason": "so few cells can't tell a temperature",
                "test": facts["after"],
                "adaptation": {key: told for key, told in facts.items() if key != "cells_used"},
            },
        )
    return Run(name)
