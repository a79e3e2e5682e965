"""External validation: which classes of another dataset are the run's, and how far its pictures are from the run's.

Classes match by their names, or as a mapping file says (data/class_names.py). All others are left out and reported with
their counts; one that may be a kind of one of the run's classes is pointed out, for a person to decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bloodcell_core.data.class_names import match_classes, may_belong_to
from bloodcell_core.data.dataset import Dataset, dataset_of
from bloodcell_core.data.findings import LEAST_SPREAD
from bloodcell_core.data.splits import run_pictures
from bloodcell_core.errors import LabError
from bloodcell_core.labels.overlays import of_run
from bloodcell_core.runs import Run
from bloodcell_core.words import counted

FACTS = {
    "stain_a": "background tint, green to red",
    "stain_b": "background tint, blue to yellow",
    "brightness": "background brightness",
    "red_radius": "red-cell radius, pixels",
    "cell_area": "nucleus area, pixels",
    "focus": "focus",
}
"""Columns of images.parquet that are compared: stain, light, scale, sharpness."""

LEAST_SHARE = 0.05  # of the median: the least spread that training pictures are taken to have
NEAR, FAR = 1.0, 2.0  # times the spread: within the first nobody sees a difference, beyond the second few pictures lie


def external_pictures(
    run: Run, dataset: Dataset, split: str, class_map: Mapping[str, str] | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The pictures of another dataset that a run can be tested on, labelled with the run's classes; and the facts.

    Args:
        run: whose classes and training pictures are meant.
        dataset: of another source; its splits mean nothing to the run, so `split` may be "all".
        split: train, val, test or all.
        class_map: what a mapping file says.

    Returns:
        Rows of `dataset.pictures` with their index, and JSON-ready
        - class_map {theirs: ours or None}, left_out_classes {theirs: pictures}, left_out: pictures, lacking: classes
          of the run that no picture bears.
        - distance: of `distance`; None where the training data aren't here any more.
        - warnings: in words.

    Raises:
        LabError: where no picture is left.
    """
    pictures = dataset.pictures if split == "all" else dataset.pictures[dataset.pictures.split == split]
    matched = match_classes(dataset.classes, run.classes, class_map)
    labels = pictures.label.map(lambda label: matched[label])
    known = pictures.assign(label=labels)[labels.notna()]
    if known.empty:
        which = "pictures" if split == "all" else f"{split} pictures"
        raise LabError(
            f"dataset {dataset.name!r} has no {which} of the classes that {run.name} knows "
            f"({', '.join(run.classes)}); it has {_counted(Counter(pictures.label)) or 'none at all'}"
        )
    left_out = dict(Counter(pictures.label[labels.isna()]))
    warnings = []
    for why, by_file in (("because the run has no class of that name", False), ("as the mapping file says", True)):
        some = {name: count for name, count in left_out.items() if (name in (class_map or {})) == by_file}
        if some:
            warnings.append(f"left out, {why}: {_counted(some)}")
    warnings += [
        f"{name} may belong to {part}: a mapping file (--classes) with the line {name},{part} counts it so"
        for name in left_out
        if name not in (class_map or {}) and (part := may_belong_to(name, run.classes))
    ]
    training = _training_pictures(run)
    if training is None:
        warnings.append(
            f"the run's own dataset {run.config.data!r} isn't here as it was: how far this data is from it is not known"
        )
    seen, unknown = _learned(run, known.image_id)
    if seen.any():
        warnings.append(f"{seen.sum():,} of these pictures were trained on: the figures are too good")
    warnings += [
        f"whether any of these pictures were trained on before it was adapted is not known: the run {name!r} or its "
        "dataset isn't here as it was"
        for name in unknown
    ]
    return known, {
        "class_map": matched,
        "left_out": sum(left_out.values()),
        "left_out_classes": left_out,
        "lacking": [name for name in run.classes if not (known.label == name).any()],
        "distance": None if training is None else distance(training, known),
        "warnings": warnings,
    }


def _learned(run: Run, image_ids: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Which of some pictures (bool, N) a run, its members or their ancestors were trained on, and the names of the
    ancestors of which that isn't known."""
    seen, unknown = np.zeros(len(image_ids), bool), []
    for name, each, is_ancestor in _lineage(run):
        own = _trained_on(each, image_ids) if each else None
        if own is not None:
            seen |= own
        elif is_ancestor:
            unknown.append(name)
    return seen, unknown


def _lineage(run: Run) -> Iterator[tuple[str, Run | None, bool]]:
    """Each member, followed by its ancestors (what it was adapted from, and so on): the name, the run (None where it is
    gone), and whether it is an ancestor."""
    for each in run.members:
        yield each.name, each, False
        while each.adapted:
            name = str(each.adapted.get("from"))
            try:
                each = Run(name)
            except LabError:
                yield name, None, True
                break
            yield name, each, True


def _trained_on(run: Run, image_ids: pd.Series) -> np.ndarray | None:
    """Which of some pictures (bool, N) a trained or adapted run itself learned, by its dataset or by what it brings.

    None where that can't be told.
    """
    if run.adapted:  # to all of its cells, those too by which it is judged
        return image_ids.isin(run.adapted.get("cells_used", [])).to_numpy(bool)
    training = _training_pictures(run)
    if training is not None:
        return image_ids.isin(training.image_id).to_numpy(bool)
    if run.trained_on_file.exists():
        return np.isin(short_ids(image_ids), np.load(run.trained_on_file, allow_pickle=False))
    return None


def short_ids(image_ids: pd.Series) -> np.ndarray:
    """uint64 (N,), the first 16 hexadecimal digits of each: enough to tell pictures apart, and small to ship."""
    return np.array([int(image_id[:16], 16) for image_id in image_ids], np.uint64)


def _training_pictures(run: Run) -> pd.DataFrame | None:
    """What the run was trained on, without what reviewed labels left out; None where its dataset is gone or another one
    has its name."""
    dataset = dataset_of(run)
    if dataset is None:
        return None
    training, overlay = own_pictures(run, dataset, "train"), of_run(run)
    return overlay.relabelled(training, dataset.classes) if overlay else training


def own_pictures(run: Run, dataset: Dataset, split: str) -> pd.DataFrame:
    """The rows of the run's own dataset that are its `train` or `test`, with their index in `dataset.pictures`.

    What chose the best epoch was not trained on: it is the run's `val`, whatever split it stands in there.
    """
    pictures = run_pictures(run.config, dataset)
    return pictures[(pictures.split == split) & ~pictures.photo.isin(set(run.validation_photos))]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({counted(count, 'picture')})" for name, count in counts.items())


def distance(training: pd.DataFrame, here: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """How far pictures are from the training pictures, by the facts that their imports measured. JSON-ready.

    Args:
        training, here: rows of `Dataset.pictures`.

    Returns:
        {column of `FACTS`: {title, training, here, distance, words}}: the two medians, in the column's own unit, and
        their difference in spreads of the training pictures (1.4826 times the median absolute deviation: the standard
        deviation, where there are no outliers). The figures are None where one side has none, as of a picture
        without red cells. Sizes are in pixels of the pictures as they were imported.
    """
    return {column: {"title": title} | _apart(column, training, here) for column, title in FACTS.items()}


def _apart(column: str, training: pd.DataFrame, here: pd.DataFrame) -> dict[str, Any]:
    own, other = (table[column].astype("float64").dropna().to_numpy() for table in (training, here))
    medians = [float(np.median(values)) if len(values) else None for values in (own, other)]
    told: dict[str, Any] = {"training": medians[0], "here": medians[1]}
    if medians[0] is None or medians[1] is None:
        return told | {"distance": None, "words": "not measured on both sides"}
    spread = 1.4826 * float(np.median(np.abs(own - medians[0])))
    spread = max(spread, LEAST_SPREAD.get(column, LEAST_SHARE * medians[0]))
    apart = (medians[1] - medians[0]) / spread
    if abs(apart) <= NEAR:
        words = "like the training data"
    else:
        how = "far" if abs(apart) > FAR else "somewhat apart"
        words = f"{how}: {abs(apart):.1f} times the spread of the training pictures"
    return told | {"distance": apart, "words": words}
