"""Divides pictures into splits and folds so that no source photo is in two of them. Pure, seeded functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bloodcell_core.config import TrainConfig
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.words import as_list


def cut_by_photo(labels: Sequence[str], photos: Sequence[str], fraction: float, seed: int) -> np.ndarray:
    """Which pictures go to the smaller side: bool (N,).

    Each class gives up about `fraction` of its photos: at least one if it has two or more, none if it has only one. All
    pictures of a photo go together; a photo with several labels counts for its most frequent one. If every photo of
    a class were chosen, one is put back, unless none would then be chosen. The result depends on `seed` and the set of
    photos, not on row order.

    Raises ValueError unless 0 < fraction < 1 and labels and photos have the same length.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, not {fraction}")
    by_class = _photos_by_class(labels, photos)
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for members in by_class:
        wanted = round(fraction * len(members))
        wanted = min(max(wanted, 1), len(members) - 1)
        chosen.update(members[i] for i in rng.permutation(len(members))[:wanted])
    bearing: dict[str, set[str]] = {}
    for label, photo in zip(labels, photos, strict=True):
        bearing.setdefault(label, set()).add(photo)
    staying: set[str] = set()
    for label in sorted(bearing):  # a network that saw no cell of a class couldn't name it
        if bearing[label] <= chosen - staying:
            staying.add(min(bearing[label]))
    chosen = chosen - staying or chosen
    return np.fromiter((photo in chosen for photo in photos), dtype=bool, count=len(photos))


def folds_by_photo(labels: Sequence[str], photos: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """The fold of each picture: int64 (N,), 0…folds-1, stratified by class.

    The numbers of photos in any two folds, and of photos of each class, differ by at most one. Photos are never
    divided, each counts for one class, and the result depends on `seed` and the set of photos, as in `cut_by_photo`.

    Raises ValueError for fewer than two folds, more folds than photos, and labels and photos of different lengths.
    """
    if folds < 2:
        raise ValueError(f"at least 2 folds are needed, not {folds}")
    by_class = _photos_by_class(labels, photos)
    total = sum(map(len, by_class))
    if folds > total:
        raise ValueError(f"{total} photos are too few for {folds} folds")
    rng = np.random.default_rng(seed)
    dealt = [members[i] for members in by_class for i in rng.permutation(len(members))]
    # Dealt out like cards, one class after another: so the folds are even in each class and in all.
    fold_of = {photo: place % folds for place, photo in enumerate(dealt)}
    return np.fromiter((fold_of[photo] for photo in photos), dtype=np.int64, count=len(photos))


def photos_first(pictures: pd.DataFrame, most: int) -> np.ndarray:
    """The index of at most `most` rows of `pictures`, one of each photo before a second of any: int64, sorted."""
    shuffled = pictures.sample(frac=1, random_state=0)
    copy_number = shuffled.groupby("photo").cumcount()
    return np.sort(copy_number.sort_values(kind="stable").index[:most].to_numpy())


def _photos_by_class(labels: Sequence[str], photos: Sequence[str]) -> list[list[str]]:
    """The photos of each class, both in the order of their names; a photo counts for its most frequent label.

    Raises ValueError unless labels and photos have the same length.
    """
    if len(labels) != len(photos):
        raise ValueError(f"{len(labels)} labels for {len(photos)} photos")
    votes: dict[str, dict[str, int]] = {}
    for label, photo in zip(labels, photos, strict=True):
        of_photo = votes.setdefault(photo, {})
        of_photo[label] = of_photo.get(label, 0) + 1
    by_class: dict[str, list[str]] = {}
    for photo in sorted(votes):
        label = max(sorted(votes[photo]), key=votes[photo].__getitem__)
        by_class.setdefault(label, []).append(photo)
    return [by_class[label] for label in sorted(by_class)]


REFUSED = "refused"
"""The split of training pictures of the classes that a run refuses to name."""


def run_classes(config: TrainConfig, dataset: Dataset) -> list[str]:
    """The classes that a run of `config` names; LabError where it refuses one that isn't there, or leaves too few."""
    refused = config.refused
    if unknown := sorted(set(refused) - set(dataset.classes)):
        raise LabError(f"dataset {dataset.name!r} has no class {unknown[0]!r} to refuse: {as_list(dataset.classes)}")
    named = [name for name in dataset.classes if name not in refused]
    if refused and len(named) < 2:
        raise LabError(f"at least two classes must be named: of {dataset.name!r} all but {len(named)} are refused")
    return named


def run_pictures(config: TrainConfig, dataset: Dataset) -> pd.DataFrame:
    """`dataset.pictures` with the splits of a run of `config`, before validation pictures are held back from `train`.

    Without folds these are the dataset's own. With folds `test` is the config's fold, `train` the others, and None is
    what isn't used: the dataset's test split where the folds are over `train`. All photographs of one cell are in one
    fold. Training pictures of refused classes are `REFUSED`, their other pictures aren't used.
    LabError where there can't be such folds.
    """
    pictures = _in_folds(config, dataset) if config.folds else dataset.pictures
    if not config.refuse:
        return pictures
    named = pictures.label.isin(run_classes(config, dataset))
    apart = pictures.split.eq("train").map({True: REFUSED, False: None})
    split = pictures.split.astype(object).where(named, apart)
    if config.folds and not (split == "test").any():
        raise LabError(f"fold {config.fold_words} has no picture of the classes that are named: take fewer folds")
    return pictures.assign(split=split)


def _in_folds(config: TrainConfig, dataset: Dataset) -> pd.DataFrame:
    pictures = dataset.pictures
    if config.fold > config.folds:
        raise LabError(f"there is no fold {config.fold} of {config.folds} folds")
    pool = pictures if config.fold_over == "all" else pictures[pictures.split != "test"]
    try:
        fold = folds_by_photo(pool.label.tolist(), pool.scene.tolist(), config.folds, config.seed)
    except ValueError as error:
        raise LabError(f"dataset {dataset.name!r} can't be cut into {config.folds} folds: {error}") from None
    split = pd.Series(np.where(fold == config.fold - 1, "test", "train"), pool.index, dtype=object)
    return pictures.assign(split=split.reindex(pictures.index))
