"""Combines several datasets into one, so that a network can learn from several laboratories at once.

Pictures keep their labels (classes can be renamed to match), splits, photographs, scenes and boxes; nothing is measured
again, and their files are linked, not copied, where the disk allows it. The parts are left as they are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bloodcell_core import disk, workspace
from bloodcell_core.data.dataset import Dataset, check_classes
from bloodcell_core.data.importing import content_hash, free_folder, mark_duplicates
from bloodcell_core.data.source_photos import first_of_joined
from bloodcell_core.errors import LabError
from bloodcell_core.progress import Progress, no_progress

FORMAT = "combined"
Part = tuple[Dataset, Mapping[str, str | None]]
"""A dataset, and {class: its name in the new dataset, or None to leave its pictures out}; others keep their names."""
CUT_FROM = "picture-"
DIGITS = 32  # of an image_id: enough to tell pictures apart


def combine(
    name: str,
    parts: Sequence[Part],
    progress: Progress = no_progress,
    take: Sequence[Collection[str] | None] = (),
) -> Dataset:
    """The new dataset `name` of the pictures of `parts`, each in the split that it has there.

    `take` limits a part to the pictures whose image_id it names; None takes all. A single part is allowed: it gives a
    dataset of some of its classes.

    Photographs and scenes are named after their dataset, so that equal names in two datasets don't count as one. A
    picture that two datasets hold byte by byte is kept once, in the test split if it is in one. Its two scenes then
    count as one: if it is in the test split its other pictures are left out, if in validation its training pictures.
    Where not every dataset has a validation split, the new one has none: such pictures become training pictures.

    Raises:
        LabError: for no dataset or one that is named twice, a name that is taken, fewer than two classes, and classes
            that look alike.
    """
    if len({dataset.name for dataset, _ in parts}) < max(len(parts), 1):
        raise LabError("name at least one dataset, and each only once")
    final = free_folder(name)
    wanted = take or [None] * len(parts)
    images = pd.concat([_renamed(*part, only) for part, only in zip(parts, wanted, strict=True)], ignore_index=True)
    if not all((dataset.pictures.split == "val").any() for dataset, _ in parts):
        images.loc[images.split == "val", "split"] = "train"
    leaking = _join_scenes(images)
    images = images[~leaking]
    # A duplicate is left out with the picture that it is a duplicate of.
    copies = images.status == "duplicate"
    images = images[~copies | images.image_id.isin(images.image_id[images.status == "ok"])].reset_index(drop=True)
    of_part = images.pop("part")
    mark_duplicates(images)
    classes = sorted(images.label[images.status == "ok"].unique())
    if len(classes) < 2:
        raise LabError(f"pictures of at least two classes are needed, not of {', '.join(classes) or 'none'}")
    check_classes(classes)
    with disk.new_folder(final) as folder:
        rows = images.index[images.status == "ok"]
        for done, row in enumerate(rows, 1):
            source = workspace.dataset_dir(of_part[row]) / "originals" / images.stored[row]
            _link(source, folder / "originals" / images.stored[row])
            if done % 500 == 0 or done == len(rows):
                os.utime(folder)  # so that no other import takes it for an abandoned one
                progress(done, len(rows))
        images.to_parquet(folder / "images.parquet", index=False)
        disk.write_json(folder / "dataset.json", _facts(name, parts, images, classes, int(leaking.sum())))
    return Dataset(name)


def scene_of_cells(image_id: str) -> str:
    """The scene of cells that are cut out of a picture: `combine` recognises them by it in any dataset."""
    return CUT_FROM + image_id[:DIGITS]


def part_names(dataset: Dataset) -> np.ndarray:
    """The dataset that each of `dataset.pictures` came from, str (N,); all '' where `dataset` isn't a combined one.

    Cells that were added to a combined dataset came from their slide.
    """
    files = dataset.pictures.file
    combined = bool(dataset.facts.get("parts"))
    names: np.ndarray = (files.str.split("/", n=1).str[0] if combined else files.str.slice(0, 0)).to_numpy(str)
    return names


def _renamed(dataset: Dataset, class_map: Mapping[str, str | None], only: Collection[str] | None) -> pd.DataFrame:
    """A part's rows of images.parquet with the names of the new dataset; the column `part` is the part's name."""
    images = dataset.images
    if only is not None:
        images = images[images.image_id.isin(only) & (images.status == "ok")]
    images = images.assign(label=images.label.map(lambda label: class_map.get(label, label)), part=dataset.name)
    images = images[images.label.notna()].copy()
    for column in ("file", "duplicate_of", "source_photo", "scene"):
        known = images[column].notna()
        images.loc[known, column] = f"{dataset.name}/" + images.loc[known, column]
    return images


def _join_scenes(images: pd.DataFrame) -> pd.Series:
    """Gives scenes that share a byte-identical picture, or cells cut out of it, one name; which rows leak: bool (N,).

    A row leaks if its scene was joined, and is in the test split while the row isn't, or is in the validation split
    while the row is in training.
    """
    usable = images[images.status == "ok"]
    scene = usable.scene.fillna(usable.source_photo).fillna(usable.part + "/" + usable.image_id)
    own, last = usable.image_id.str[:DIGITS], scene.str.split("/").str[-1]
    cut = last.str.fullmatch(f"{CUT_FROM}[0-9a-f]{{{DIGITS}}}")  # in full: a person's group may have the prefix
    shown = pd.concat([own, last[cut].str.removeprefix(CUT_FROM)])  # a cut cell shows itself and its larger picture
    first_of = first_of_joined(of for _, of in pd.concat([scene, scene[cut]]).groupby(shown.to_numpy()))
    leaks = pd.Series(False, images.index)
    if not first_of:
        return leaks
    new = scene.map(first_of).fillna(scene)
    touched = new.isin(set(first_of.values()))
    images.loc[new.index[touched], "scene"] = new[touched]
    tested, validated = (set(new[touched & (usable.split == split)]) for split in ("test", "val"))
    # The tested picture itself, in another split, is marked as its duplicate and not left out as leaking.
    twins = usable.image_id.isin(usable.image_id[usable.split == "test"])
    seen = (new.isin(tested) & (usable.split != "test")) | (new.isin(validated) & (usable.split == "train"))
    leaking = touched & seen & ~twins
    leaks[leaking.index[leaking]] = True
    return leaks


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # two datasets hold it
        return
    try:
        os.link(source.resolve(), target)
    except FileNotFoundError:
        raise LabError(f"{source} is missing: import its dataset again") from None
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(source, target)


def _facts(name: str, parts: Sequence[Part], images: pd.DataFrame, classes: list[str], leaking: int) -> dict[str, Any]:
    """dataset.json of the new dataset."""
    datasets = [dataset for dataset, _ in parts]

    def each(key: str, unknown: str) -> str:
        return "; ".join(f"{dataset.name}: {dataset.facts[key] or unknown}" for dataset in datasets)

    told = f"; {leaking} training pictures of scenes that another part tests or validates left out"
    left_out = told if leaking else ""
    known = any(dataset.photos_known for dataset in datasets)
    return {
        "format": FORMAT,
        "synthetic": any(dataset.synthetic for dataset in datasets),
        "source": ", ".join(dataset.name for dataset in datasets),
        "parts": [
            {"name": dataset.name, "content_hash": dataset.content_hash, "class_map": dict(class_map)}
            for dataset, class_map in parts
        ],
        "schema_version": workspace.DATASET_VERSION,
        "name": name,
        "licence": each("licence", "not told"),
        "citation": each("citation", "not told"),
        "ignored_files": 0,
        "classes": classes,
        "pictures": int((images.status == "ok").sum()),
        "photos_origin": each("photos_origin", "not known") if known else None,
        "photos_unknown_because": None if known else "they are known in none of the datasets that it was combined from",
        "split_origin": each("split_origin", "not told") + left_out,
        "content_hash": content_hash(images),
        "imported": datetime.now(UTC).isoformat(timespec="seconds"),
    }
