"""An imported dataset: its facts (dataset.json), its table of pictures, and their pixels.

Read-only: `importing` and `combining` make one, `remove` deletes it.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
import pandas as pd

from bloodcell_core import background, disk, notes, runs, workspace
from bloodcell_core.cells import Place
from bloodcell_core.data.pictures import decode_rgb
from bloodcell_core.errors import LabError, all_readable, brief
from bloodcell_core.words import GROUP, PHOTO

SPLITS = ("train", "val", "test")
FACTS: dict[str, Any] = {
    "format": str, "classes": list, "content_hash": str, "synthetic": bool, "split_origin": str, "ignored_files": int,
    "photos_origin": str | None, "photos_unknown_because": str | None, "licence": str | None, "citation": str | None,
}  # fmt: skip
"""What dataset.json must contain, and the type of each value."""
COLUMNS = ("image_id", "file", "label", "split", "source_photo", "copies", "scene", "status", "stored")
"""The columns that images.parquet must have."""


MOST_CLASSES = 1000  # each is a row and a column of every confusion matrix
LONGEST_CLASS = 200  # characters; the name is part of every table and axis


def check_classes(classes: Sequence[str]) -> None:
    """LabError where a new dataset has too many classes, one with too long a name, or two that look alike.

    Such as train/MONOCYTE and test/monocyte: the class that is tested on would never be trained on.
    """
    if len(classes) > MOST_CLASSES:
        raise LabError(
            f"{len(classes):,} classes are more than the {MOST_CLASSES:,} that are allowed: are these classes, and not "
            "files or patients?"
        )
    first: dict[str, str] = {}
    for name in classes:
        if len(name) > LONGEST_CLASS:
            raise LabError(
                f"a class's name may have {LONGEST_CLASS} characters, not {len(name):,} as {name[:40]!r}…: shorten it"
            )
        if (twin := first.setdefault(_as_seen(name), name)) != name:
            raise LabError(f"the classes {twin!r} and {name!r} look alike: give them one name, or distinct ones")


def _as_seen(name: str) -> str:
    """A name without what hardly shows: case, repeated spaces, Unicode composition, invisible characters."""
    seen = "".join(sign for sign in unicodedata.normalize("NFC", name) if unicodedata.category(sign) != "Cf")
    return " ".join(seen.casefold().split())


class Dataset:
    """The dataset called `name`; LabError where there is none or its files are damaged."""

    def __init__(self, name: str):
        self.folder = workspace.dataset_dir(name)
        if not os.path.isdir(self.folder):
            known = ", ".join(names()) or "none yet: `data import` or `data demo` makes one"
            raise LabError(f"there is no dataset {name!r} (there are: {known})")
        self.name = name
        self.facts: dict[str, Any] = disk.read_json(self.folder / "dataset.json")
        version = self.facts.get("schema_version") if isinstance(self.facts, dict) else None
        if version != workspace.DATASET_VERSION:
            raise LabError(
                f"dataset {name!r} has schema version {version}, this program reads {workspace.DATASET_VERSION}: "
                "import it again"
            )
        if not all(isinstance(self.facts.get(key), kind) for key, kind in FACTS.items()):
            raise LabError(f"dataset {name!r}: dataset.json is damaged: import it again")

    @property
    def classes(self) -> list[str]:
        """The names of its classes."""
        return list(self.facts["classes"])

    @property
    def synthetic(self) -> bool:
        """Whether its pictures were drawn by this program; said wherever they are shown."""
        return bool(self.facts["synthetic"])

    @property
    def content_hash(self) -> str:
        """sha256 of all that a training depends on; the same for the same import under another name."""
        return str(self.facts["content_hash"])

    @property
    def imported(self) -> tuple[str, str]:
        """Folder and time: identifies this import. Another of the same content may have its pictures in other rows."""
        return str(self.folder), str(self.facts.get("imported"))

    @cached_property
    def images(self) -> pd.DataFrame:
        """images.parquet: a row for every labelled picture file of the source, also unreadable ones and duplicates.

        LabError where it is damaged.
        """
        try:
            table = pd.read_parquet(self.folder / "images.parquet")
        except (OSError, ValueError) as error:
            raise LabError(
                f"dataset {self.name!r}: images.parquet can't be read ({brief(error)}): import it again"
            ) from None
        if missing := [name for name in COLUMNS if name not in table]:
            raise LabError(f"dataset {self.name!r}: images.parquet has no column {missing[0]!r}: import it again")
        labels = table.label[table.status == "ok"].dropna().astype(str)
        if unknown := sorted({*labels[labels.str.strip() != ""]} - {*self.classes}):  # no label at all is a finding
            raise LabError(
                f"dataset {self.name!r}: dataset.json lacks the class {unknown[0][:80]!r} of its pictures: import it "
                "again"
            )
        return table

    @cached_property
    def pictures(self) -> pd.DataFrame:
        """The usable pictures, index 0…N-1: row i is row i of each view.

        Three columns are added to those of `images`, without missing values. `photo`: the source photo, or the picture
        itself where that is unknown. `scene`: the same for photographs of the same cell; splits never divide a scene.
        `family`: the same for copies of one photo, which show the same cell and are reviewed together. A group that the
        source gives may be a patient or a slide: there each picture is a family of its own.
        """
        usable = self.images[self.images.status == "ok"].reset_index(drop=True)
        photo = usable.source_photo.fillna(usable.image_id)
        family = photo.where(usable.copies.astype(bool), usable.image_id)
        return usable.assign(photo=photo, scene=usable.scene.fillna(photo), family=family)

    @property
    def photos_known(self) -> bool:
        """Whether the source photo of any picture is known."""
        return bool(self.pictures.source_photo.notna().any())

    @property
    def unit(self) -> str:
        """What `photo` names: photographs, or groups whose pictures aren't all copies of one, such as patients."""
        return PHOTO if (self.pictures.family == self.pictures.photo).all() else GROUP

    @property
    def copies_known(self) -> bool:
        """Whether any pictures are known to be copies of a photograph, which are reviewed together."""
        return bool((self.pictures.source_photo.notna() & (self.pictures.family == self.pictures.photo)).any())

    def read_original(self, row: int) -> np.ndarray:
        """Picture `row` of `pictures` at its own resolution: uint8 H×W×3 RGB. LabError where its file is missing or
        damaged."""
        stored = self.folder / "originals" / self.pictures.stored[row]
        try:
            return decode_rgb(stored.read_bytes())
        except OSError:
            raise LabError(f"dataset {self.name!r}: {stored.name} is missing from originals: import it again") from None
        except LabError as error:
            copy = f"dataset {self.name!r}: its copy of {self.pictures.file[row]}"
            raise LabError(f"{copy} can't be read ({error}): import it again") from None

    @cached_property
    def places(self) -> list[Place]:
        """Where the white cell of each of `pictures` is: as its source says, or as found at import."""
        boxes = self.pictures[["box_x0", "box_y0", "box_x1", "box_y1"]].astype("float64").to_numpy()
        radii = self.pictures.red_radius.astype("float64").to_numpy()
        return [
            Place(
                None if np.isnan(box).any() else (int(box[0]), int(box[1]), int(box[2]), int(box[3])),
                None if np.isnan(radius) else float(radius),
            )
            for box, radius in zip(boxes, radii, strict=True)
        ]

    def class_indices(self) -> np.ndarray:
        """The label of each of `pictures` as an index of `classes`: int64 (N,), -1 where it has none."""
        return pd.Categorical(self.pictures.label, categories=self.classes).codes.astype(np.int64)


def names() -> list[str]:
    """The names of this workspace's datasets; one that is still being imported isn't there yet."""
    return workspace.names_in(workspace.datasets_dir(), ("dataset.json", "images.parquet"))


def same_dataset(name: str, content_hash: str, whose: str) -> Dataset:
    """The dataset `name` that a run or study (called `whose`) was made with.

    LabError where it is gone, or another one has its name.
    """
    dataset = Dataset(name)
    if dataset.content_hash != content_hash:
        raise LabError(f"dataset {name!r} is no longer the one that {whose!r} was made with")
    return dataset


def dataset_of(run: runs.Run) -> Dataset | None:
    """The dataset that a run was made with; None where it is gone, or another one has its name."""
    dataset = Dataset(run.config.data) if run.config.data in names() else None
    return dataset if dataset and dataset.content_hash == run.data_hash else None


def readable() -> tuple[list[Dataset], list[str]]:
    """The datasets whose facts and tables can be read, by name, and an error message for each of the others."""

    def whole(name: str) -> Dataset:
        dataset = Dataset(name)
        _ = dataset.images
        return dataset

    return all_readable(names(), whole)


def unused_name(text: str) -> str:
    """A name for a dataset that is made without asking for one: like `text`, with a number where that is taken."""
    known, stem = names(), workspace.slug(text)[:60].rstrip("-._")
    return stem if stem not in known else next(each for n in count(2) if (each := f"{stem}-{n}") not in known)


def describe(dataset: Dataset) -> dict[str, Any]:
    """What `data show` prints: counts by split and class, photos, unreadable files; JSON-ready.

    Numbers of photos and scenes are None where photos aren't known.
    """
    pictures, images = dataset.pictures, dataset.images

    def known(number: Any) -> int | None:
        """None where photos aren't known: without them there is no such number."""
        return int(number) if dataset.photos_known else None

    splits = {}
    for split in SPLITS:
        part = pictures[pictures.split == split]
        if len(part):
            by_class = part.label.value_counts()
            photos_by_class = part.groupby("label").photo.nunique()
            splits[split] = {
                "pictures": len(part),
                "photos": known(part.photo.nunique()),
                "by_class": {name: int(by_class.get(name, 0)) for name in dataset.classes},
                "photos_by_class": {name: int(photos_by_class.get(name, 0)) for name in dataset.classes}
                if dataset.photos_known
                else None,
            }
    unreadable = images[images.status == "unreadable"]
    by_photo = pictures.groupby("photo").split.nunique()
    splits_of_scene = pictures.groupby("scene").split.nunique()
    shared = splits_of_scene.index[splits_of_scene > 1]
    return {
        "name": dataset.name,
        "format": dataset.facts["format"],
        "synthetic": dataset.synthetic,
        "classes": dataset.classes,
        "pictures": len(pictures),
        "photos": known(pictures.photo.nunique()),
        "unit": dataset.unit,
        "unreadable": len(unreadable),
        "unreadable_files": unreadable[["file", "reason"]].to_dict("records"),
        "duplicates": int((images.status == "duplicate").sum()),
        "ignored_files": dataset.facts["ignored_files"],
        "split_origin": dataset.facts["split_origin"],
        "photos_origin": dataset.facts["photos_origin"],
        "photos_unknown_because": dataset.facts["photos_unknown_because"],
        "splits": splits,
        "untraced": known(pictures.source_photo.isna().sum()),
        "photos_in_several_splits": known((by_photo > 1).sum()),
        "scenes": known(pictures.scene.nunique()),
        "scenes_in_several_splits": known(len(shared)),
        "test_pictures_of_shared_scenes": known((pictures.scene.isin(shared) & (pictures.split == "test")).sum()),
        "licence": dataset.facts["licence"],
        "citation": dataset.facts["citation"],
    }


def remove(name: str) -> None:
    """Deletes the dataset and its views. Runs trained on it keep their figures but can no longer show its pictures.

    A damaged one can be deleted like any other, to import it again under its name. LabError where there is none, or a
    run, search or adaptation that uses it hasn't ended.
    """
    if name not in names():
        Dataset(name)  # raises, with the names that there are
    folder = workspace.dataset_dir(name)
    for run in runs.readable_runs()[0]:
        if run.config.data == name and run.status()["state"] not in runs.ENDED:
            raise LabError(f"run {run.name!r} is at work on dataset {name!r}: stop it first")
    if other := background.at_work_on(name):
        raise LabError(f"{other} is at work on dataset {name!r}: stop it first")
    disk.discard(folder)
    notes.forget("dataset", name)
