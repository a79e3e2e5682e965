"""What can stand out in a dataset: each kind of finding is a function and a row of `FINDINGS`.

All are read from the dataset's table, which has the image statistics that `facts` measured at import.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from bloodcell_core.data.dataset import SPLITS, Dataset
from bloodcell_core.data.formats.listing import split_of_folder
from bloodcell_core.data.lookalikes import near_groups
from bloodcell_core.words import counted, first_of, pretty

Severity = Literal["alarm", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("alarm", "warning", "note")
"""An alarm makes figures wrong, a warning makes them worse or doubtful, a note is good to know."""

# Thresholds, each chosen by looking at what it finds in the public archive and in another laboratory's pictures
NEAR_BITS = 24  # of 256: resized, recompressed and darkened copies lie within it, unrelated pictures from 56 on
OUTLIER = 3.5  # robust standard deviations from the median (Iglewicz and Hoaglin 1993)
BLURRED = 3.0  # the same for focus, which has a lower end that blurred pictures crowd at
LEAST_SPREAD = {"focus": 0.02, "brightness": 6.0, "stain_a": 1.0, "stain_b": 1.0}
"""The least standard deviation, so that differences nobody can see are no outliers."""
CLIPPED = 0.05  # of the pixels, more than in the median picture: specks of glare stay below
BORDER = 0.01  # of the picture: a dark corner stays below, the borders of rotated copies begin at 0.016
SIZE_FACTOR = 2.0  # of the median side: cells are then seen at another scale
FEW_PHOTOS = 20  # with all of them right, the true share may still be as low as 83%
MOST_NAMED = 8  # classes that are listed by name, of those with the same few photos
IMBALANCE = 3.0  # times as many photos in the largest class as in the smallest


class Table:
    """A dataset's table with what several findings need."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.images = dataset.images
        """Every file."""
        self.usable = dataset.pictures.set_index(np.flatnonzero(dataset.images.status == "ok"))
        """The usable pictures, under their row numbers in `images`."""
        self.traced = self.usable[self.usable.source_photo.notna()]
        """Those whose source photo is known."""
        self.unit = dataset.unit if dataset.photos_known else "picture"
        """The sampling unit: all copies of a photo tell no more than one does."""

    @cached_property
    def near(self) -> list[list[int]]:
        """Groups of usable pictures that look alike, by their perceptual hashes."""
        hashes = np.frombuffer(b"".join(self.usable.look), np.uint8).reshape(len(self.usable), -1)
        return [self.usable.index[group].tolist() for group in near_groups(hashes, NEAR_BITS)]

    @cached_property
    def identical(self) -> list[list[int]]:
        """Groups of byte-identical files, the one that was kept first."""
        left_out = self.images[self.images.status == "duplicate"]
        kept = pd.Series(self.usable.index, self.usable.image_id)[left_out.image_id]
        groups: dict[int, list[int]] = {}
        for first, row in zip(kept, left_out.index, strict=True):
            groups.setdefault(first, [first]).append(row)
        return list(groups.values())

    def units_by_class(self, pictures: pd.DataFrame) -> dict[str, int]:
        """The number of photos of each class among `pictures`, or of pictures where photos aren't known."""
        counts = pictures.groupby("label").photo.nunique()
        return {name: int(counts.get(name, 0)) for name in self.dataset.classes}


class Seen(NamedTuple):
    """A finding's sentence or two with the figures, and its pictures, by rows of `dataset.images`."""

    words: str
    rows: list[int]
    groups: list[list[int]]


def _pictures(chosen: pd.Series, words: str) -> Seen | None:
    """A finding of the rows where `chosen` is True, None where there are none; `words` follow their number."""
    rows = chosen.index[chosen.to_numpy(bool)].tolist()
    return Seen(f"{counted(len(rows), 'picture')} {words}", rows, []) if rows else None


def _groups(groups: list[list[int]], words: str) -> Seen | None:
    """A finding of groups, None where there are none; `words` follow the number of pictures and groups."""
    rows = [row for group in groups for row in group]
    number = f"{counted(len(rows), 'picture')} in {counted(len(groups), 'group')}"
    return Seen(f"{number} {words}", rows, groups) if groups else None


def _leaks(table: Table, groups: list[list[int]], what: str) -> Seen | None:
    """A finding of the groups with pictures in several splits; `what` names one group."""
    groups = _differing(table, groups, "split")
    if not groups:
        return None
    rows = [row for group in groups for row in group]
    counts = table.usable.split[rows].value_counts()
    by_split = ", ".join(f"{counts[split]:,} in {split}" for split in SPLITS if split in counts)
    return Seen(
        f"{counted(len(groups), what)} in several splits (of their pictures {by_split}): figures are too good where "
        "training has seen the same cell.",
        rows,
        groups,
    )


def _groups_by(pictures: pd.DataFrame, column: str) -> list[list[int]]:
    return [rows.tolist() for rows in pictures.groupby(column).groups.values()]


def _differing(table: Table, groups: list[list[int]], column: str) -> list[list[int]]:
    """The groups whose pictures differ in a column."""
    values = table.images[column].to_numpy()
    return [group for group in groups if len({values[row] for row in group}) > 1]


# The findings, each None where nothing stands out


def _photos_in_several_splits(table: Table) -> Seen | None:
    return _leaks(table, _groups_by(table.traced, "source_photo"), table.unit)


def _scenes_in_several_splits(table: Table) -> Seen | None:
    of_several_photos = table.traced.groupby("scene").photo.transform("nunique") > 1
    return _leaks(table, _groups_by(table.traced[of_several_photos], "scene"), "cell")


def _near_in_several_splits(table: Table) -> Seen | None:
    return _leaks(table, table.near, "group")


def _identical_of_two_labels(table: Table) -> Seen | None:
    return _groups(
        _differing(table, table.identical, "label"),
        "that are byte for byte the same have different labels; one of each group is kept, with its own label.",
    )


def _near_of_two_labels(table: Table) -> Seen | None:
    return _groups(_differing(table, table.near, "label"), "look alike and have different labels.")


def _photos_of_two_labels(table: Table) -> Seen | None:
    # A group that the source gives may be a slide or a patient, with cells of every class.
    copies = table.traced[table.traced.copies.astype(bool)]
    return _groups(
        _differing(table, _groups_by(copies, "source_photo"), "label"),
        "were made from one photo and have different labels: right only where it shows several white cells.",
    )


def _unreadable(table: Table) -> Seen | None:
    bad = table.images.status == "unreadable"
    first = table.images.reason[bad].iloc[0] if bad.any() else ""
    return _pictures(bad, f"left out as unreadable; the first: {first}.")


def imbalance(counts: dict[str, int]) -> float:
    """The largest class's count over the smallest's."""
    return round(max(counts.values()) / min(counts.values()), 2)


def missing(values: pd.Series) -> pd.Series:
    """Which values are missing or blank: bool."""
    nothing: pd.Series = values.isna() | (values.astype(str).str.strip() == "")
    return nothing


def _first_of_several(table: Table) -> Seen | None:
    first = (table.images.status == "ok") & table.images.reason.notna()
    return _pictures(
        first, "taken as the first of several in a file: the others were left out; save them as files of their own."
    )


def _label_missing(table: Table) -> Seen | None:
    return _pictures(missing(table.images.label), "without a label.")


def _photo_missing(table: Table) -> Seen | None:
    because = table.dataset.facts["photos_unknown_because"]
    return _pictures(
        table.usable.source_photo.isna(),
        f"without a source photo{f' ({because})' if because else ''}: each counts as one of its own, so that "
        "intervals are too narrow, and a copy of it may stand in another split.",
    )


def _folders_in_classes(table: Table) -> Seen | None:
    found = table.usable[table.usable.source_photo.isna() | table.usable.copies.astype(bool)]  # no group is told
    inner = pd.Series([_inner_folder(*row) for row in zip(found.file, found.label, strict=True)], found.index, object)
    rows = found.index[inner.notna()].tolist()
    names = sorted({*inner.dropna()})
    if len(names) < 2:  # one for all, such as `images`
        return None
    return Seen(
        f"{counted(len(rows), 'picture')} in folders inside of their class's folder ({first_of(names, MOST_NAMED)}), "
        "which mean nothing here: if they are the classes, move them up a level; if they are patients or slides, give "
        "them as groups in a table.",
        rows,
        [],
    )


def _inner_folder(file: str, label: str) -> str | None:
    """The first folder inside of a picture's class folder that is neither a split nor a number, as 0001-1000 is."""
    folders = PurePosixPath(file).parts[:-1]
    below = folders[folders.index(label) + 1 :] if label in folders else ()
    return next((name for name in below if re.search(r"[^\W\d_]", name) and not split_of_folder(name)), None)


def _few_photos(table: Table) -> Seen | None:
    tested = table.usable[table.usable.split == "test"]
    few = {label: count for label, count in table.units_by_class(tested).items() if count < FEW_PHOTOS}
    if not few:
        return None
    classes_of: dict[int, list[str]] = {}
    for label, count in few.items():
        classes_of.setdefault(count, []).append(pretty(label))
    # With all of n photos right, the 95% interval begins at 0.025^(1/n) (Clopper and Pearson 1934).
    words = [
        f"{first_of(classes, MOST_NAMED)}: "
        + (
            f"{counted(count, table.unit)}{' each' * (len(classes) > 1)} in test, where a figure can't tell "
            f"{0.025 ** (1 / count):.0%} from 100%"
            if count
            else f"no {table.unit} in test, and so no figure"
        )
        for count, classes in classes_of.items()
    ]
    return Seen("; ".join(words) + ".", tested.index[tested.label.isin(few)].tolist(), [])


def _never_trained_on(table: Table) -> Seen | None:
    trained = set(table.usable.label[table.usable.split == "train"])
    rows = table.usable.index[~table.usable.label.isin(trained)].tolist()
    lacking = sorted(map(pretty, {*table.usable.label} - trained))
    if not trained or not lacking:  # a dataset without training pictures is there to evaluate on
        return None
    words = f"{first_of(lacking, MOST_NAMED)}: no picture in train, and so a network can't learn it."
    return Seen(words, rows, [])


def _imbalanced(table: Table) -> Seen | None:
    counts = table.units_by_class(table.usable)
    ratio = imbalance(counts)
    if ratio < IMBALANCE:
        return None
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    times = f"{ratio:,.{0 if ratio >= 10 else 1}f}"
    return Seen(
        f"{pretty(most)} has {times} times as many {table.unit}s ({counts[most]:,}) as {pretty(least)} "
        f"({counts[least]:,}).",
        table.usable.index[table.usable.label == least].tolist(),
        [],
    )


def _deviations(table: Table, column: str) -> pd.Series:
    """Each usable picture's distance from the median, in robust standard deviations."""
    values = table.usable[column]
    distance = values - values.median()
    return distance / max(1.4826 * distance.abs().median(), LEAST_SPREAD[column])


def _range(table: Table, column: str, chosen: pd.Series, digits: int) -> str:
    values = table.usable[column]
    ends = dict.fromkeys(f"{end:.{digits}f}" for end in (values[chosen].min(), values[chosen].max()))
    return f"{' to '.join(ends)}, the median of all is {values.median():.{digits}f}"


def _stain(table: Table) -> Seen | None:
    far = (_deviations(table, "stain_a").abs() > OUTLIER) | (_deviations(table, "stain_b").abs() > OUTLIER)
    return _pictures(far, "with a background of another tint than the rest: another stain, lamp or camera.")


def _dark(table: Table) -> Seen | None:
    far = _deviations(table, "brightness") < -OUTLIER
    return _pictures(far, f"darker than the rest (background {_range(table, 'brightness', far, 0)}).")


def _bright(table: Table) -> Seen | None:
    far = _deviations(table, "brightness") > OUTLIER
    return _pictures(far, f"brighter than the rest (background {_range(table, 'brightness', far, 0)}).")


def _clipped(table: Table) -> Seen | None:
    far = table.usable.clipped > table.usable.clipped.median() + CLIPPED
    return _pictures(far, f"with {CLIPPED:.0%} more pixels at full white or black than the rest: nothing shows there.")


def _blurred(table: Table) -> Seen | None:
    far = _deviations(table, "focus") < -BLURRED
    return _pictures(far, f"with softer edges than the rest (focus {_range(table, 'focus', far, 2)}).")


def _identical(table: Table) -> Seen | None:
    return _groups(table.identical, "are byte for byte the same; one of each group is kept.")


def _near(table: Table) -> Seen | None:
    return _groups(table.near, "look alike: copies, or photographs of the same cell.")


def _black_border(table: Table) -> Seen | None:
    return _pictures(
        table.usable.black_border > BORDER,
        f"with a black border of more than {BORDER:.0%}, as turned and shifted copies have: nothing of the cell, but "
        "something that a network can learn.",
    )


def _sizes(table: Table) -> Seen | None:
    usual = {side: table.usable[side].median() for side in ("width", "height")}
    factors = pd.concat([table.usable[side] / usual[side] for side in usual], axis=1)
    far = (factors.max(axis=1) > SIZE_FACTOR) | (factors.min(axis=1) < 1 / SIZE_FACTOR)
    return _pictures(
        far,
        f"more than {SIZE_FACTOR:g} times larger or smaller than the usual {usual['width']:.0f}×{usual['height']:.0f}.",
    )


def _modes(table: Table) -> Seen | None:
    modes = table.usable["mode"]
    usual, *others = modes.value_counts().index
    return _pictures(modes != usual, f"stored as {', '.join(others)}, the others as {usual}.")


def _no_cell(table: Table) -> Seen | None:
    none = (table.usable.cells == 0) & ~table.usable.box_told.astype(bool)
    return _pictures(none, "in which no white cell is found: the cell view shows the middle.")


def _several_cells(table: Table) -> Seen | None:
    several = (table.usable.cells > 1) & ~table.usable.box_told.astype(bool)
    return _pictures(
        several, "in which several white cells are found: the cell view shows the largest, the label may be another's."
    )


class Kind(NamedTuple):
    """One kind of finding."""

    name: str
    title: str  # with the place of `Table.unit`
    severity: Severity
    find: Callable[[Table], Seen | None]


FINDINGS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("photos_in_several_splits", "The same {unit} in several splits", "alarm", _photos_in_several_splits),
        Kind("scenes_in_several_splits", "Photos of one cell in several splits", "alarm", _scenes_in_several_splits),
        Kind("near_in_several_splits", "Look-alikes in several splits", "alarm", _near_in_several_splits),
        Kind("identical_of_two_labels", "The same file under several labels", "alarm", _identical_of_two_labels),
        Kind("near_of_two_labels", "Look-alikes under several labels", "warning", _near_of_two_labels),
        Kind("photos_of_two_labels", "Copies of a photo under several labels", "warning", _photos_of_two_labels),
        Kind("unreadable", "Unreadable files", "warning", _unreadable),
        Kind("first_of_several", "Files of several pictures", "warning", _first_of_several),
        Kind("label_missing", "No label", "warning", _label_missing),
        Kind("photo_missing", "No source photo", "warning", _photo_missing),
        Kind("folders_in_classes", "Folders inside classes", "warning", _folders_in_classes),
        Kind("few_photos", "Few {unit}s of a class in test", "warning", _few_photos),
        Kind("never_trained_on", "A class without training pictures", "warning", _never_trained_on),
        Kind("imbalanced", "Uneven classes", "warning", _imbalanced),
        Kind("stain", "Another stain", "warning", _stain),
        Kind("dark", "Too dark", "warning", _dark),
        Kind("bright", "Too bright", "warning", _bright),
        Kind("clipped", "Clipped", "warning", _clipped),
        Kind("blurred", "Blurred", "warning", _blurred),
        Kind("identical", "The same file several times", "note", _identical),
        Kind("near", "Look-alikes", "note", _near),
        Kind("black_border", "Black border", "note", _black_border),
        Kind("sizes", "Unusual size", "note", _sizes),
        Kind("modes", "Stored in another mode", "note", _modes),
        Kind("no_cell", "No white cell found", "note", _no_cell),
        Kind("several_cells", "Several white cells found", "note", _several_cells),
    )
}
"""By name, in the order in which they are shown: the most severe first."""
