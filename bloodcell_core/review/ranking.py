"""Label-error detection by cleanlab: photos ranked by the answers of networks that were not trained on them.

A network that was trained on a wrong label may have memorised it and agree with it. Hence the probabilities should be
out of fold: from a cross-validation, each picture's by the network that saw no picture of its photo. A single run has
none for its own training pictures; a ranking by their in-sample ones says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bloodcell_core.data.dataset import Dataset, dataset_of
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.predictions import arrays_of, families_of
from bloodcell_core.evaluation.scoring import evaluated
from bloodcell_core.runs import Run
from bloodcell_core.training import groups
from bloodcell_core.training.groups import Group, pooled_predictions

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
"""cleanlab's measures of a label's quality (Kuan & Mueller, Model-agnostic label quality scoring, 2022)."""
METHOD = "self_confidence"  # the mean probability of the label itself: what a person can read off the bars

IN_SAMPLE = (
    "only in-sample: these probabilities are of a network that was trained on the labels to be checked, and it agrees "
    "with many a wrong one that it learned by heart. `cross-validate` on the same data gives out-of-fold ones"
)


@dataclass(frozen=True)
class Issues:
    """Photos, the likeliest wrong labels first."""

    photos: pd.DataFrame
    """What `label_issues` gave."""
    source: str
    """The cross-validation or run whose probabilities they are."""
    warning: str
    """What limits the ranking, in words; '' where all of it is out of fold."""

    @property
    def quality(self) -> dict[str, float]:
        """How likely each photo's label is right, as `queue` takes it."""
        return dict(zip(self.photos.photo, self.photos.quality, strict=True))


def label_issues(table: pd.DataFrame, classes: Sequence[str], method: str = METHOD) -> pd.DataFrame:
    """Photos by how likely their label is right, the least likely first; ties by name.

    A photo's copies are averaged, for they share its label. Where they have several labels, each is judged by its own
    pictures, and the worst one counts for the photo.

    Args:
        table: predictions with the columns of predictions.parquet, best out of fold.
        classes: of the table.
        method: one of METHODS.

    Returns:
        photo, label, suggested (the class that the network holds most likely), quality (0…1), pictures.

    Raises:
        LabError: for an empty table.
    """
    if table.empty:
        raise LabError("there are no predictions to rank labels by")
    from cleanlab.rank import get_label_quality_scores  # 2 s, most of them scikit-learn's

    labels, probabilities, photos, _ = arrays_of(table, classes)
    names = np.asarray(classes, dtype=object)
    units = pd.MultiIndex.from_arrays([photos, labels])
    codes, distinct = pd.factorize(units, sort=True)
    count = np.bincount(codes)
    summed = np.zeros((len(distinct), len(classes)))
    np.add.at(summed, codes, probabilities)
    # the order of the rows shows in the last digits of a sum: without them, what is equal is equal in any order
    mean = (summed / summed.sum(axis=1, keepdims=True)).round(12)
    unit_labels = np.asarray(distinct.get_level_values(1), dtype=np.int64)
    found = pd.DataFrame(
        {
            "photo": distinct.get_level_values(0),
            "label": names[unit_labels],
            "suggested": names[mean.argmax(axis=1)],
            "quality": get_label_quality_scores(unit_labels, mean, method=method),
            "pictures": count,
        }
    )
    return found.sort_values(["quality", "photo", "label"], kind="stable").drop_duplicates("photo", ignore_index=True)


def by_family(table: pd.DataFrame, dataset: Dataset | None) -> pd.DataFrame:
    """Predictions with what one verdict decides in the place of their photos: a patient's cells are judged each by
    itself. By what the predictions tell of it where their dataset is gone."""
    if dataset is None:
        return table.assign(source_photo=families_of(table))
    families = dataset.pictures.set_index("image_id").family
    return table.assign(source_photo=table.image_id.map(families).fillna(table.source_photo))


def of_group(group: Group) -> Issues:
    """The ranking by the finished folds of a cross-validation."""
    folds, done = group.config.folds, len(group.finished)
    limits = [f"{done} of {folds} folds are finished: the photos of the others are missing"] if done < folds else []
    if group.config.fold_over == "train":
        limits.append("the folds were cut without the test split: its photos are missing")
    first = group.finished[0]
    ranked = label_issues(by_family(pooled_predictions(group), dataset_of(first)), first.classes)
    return Issues(ranked, group.name, "; ".join(limits))


def of_run(run: Run, device: str = "auto") -> Issues:
    """Of a run's data: by the newest finished cross-validation on it, or for want of one by the run itself.

    An adapted run answered out of fold. Any other takes seconds to minutes, for its training pictures are predicted;
    validation and test pictures are as kept, and those of its test split are out of sample.
    """
    for group in groups.groups():
        if group.first.data_hash == run.data_hash and group.complete:
            return of_group(group)
    parts = [run.predictions()]
    if not run.out_of_fold:
        parts.append(evaluated(run, split="train", device=device)[1])
    table = by_family(pd.concat(parts, ignore_index=True), dataset_of(run))
    return Issues(label_issues(table, run.classes), run.name, "" if run.out_of_fold else IN_SAMPLE)
