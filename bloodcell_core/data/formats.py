"""The formats that can be imported, one reader each, and the table of them.

A reader looks at a source's file paths and says which pictures there are, with what label and split. It opens no
picture: that is the import's work. A new format is one reader and one row of `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from bloodcell_core.data.pictures import SUFFIXES
from bloodcell_core.data.sources import Source
from bloodcell_core.errors import LabError

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One picture that a source holds."""

    file: str
    """Its path inside the source, as handed in."""
    label: str
    split: str | None = None
    """'train', 'val' or 'test', or None where the source doesn't say."""
    source_photo: str | None = None
    """The photograph it was made from, or None where that isn't known."""


@dataclass(frozen=True)
class Listing:
    """What a reader found in a source."""

    entries: list[Entry]
    ignored: int
    """Files passed over because they are no labelled pictures of this format."""
    photographs: list[str] = field(default_factory=list)
    """Photographs that the pictures may be copies of: not pictures of the dataset themselves."""


@dataclass(frozen=True)
class Format:
    name: str
    title: str
    matches: Callable[[Sequence[str]], bool]
    read: Callable[[Source, bool], Listing]
    """(source, whether to take TEST_SIMPLE) → what is there."""
    licence: str = ""
    citation: str = ""


def is_picture(file: str) -> bool:
    return file.lower().endswith(SUFFIXES)


# The public "Blood Cell Images" archive: …/images/{TRAIN,TEST,TEST_SIMPLE}/<CLASS>/<picture>.jpeg, or its folder
# `images` by itself. The class names belong to it: without them any …/images/TRAIN would get its licence.

ARCHIVE_CLASSES = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")


def _archive_place(file: str) -> tuple[str, str] | None:
    """('TRAIN' | 'TEST' | 'TEST_SIMPLE', class) of a picture of the public archive, else None."""
    parts = PurePosixPath(file).parts
    if (
        len(parts) >= 3
        and parts[-4:-3] in ((), ("images",))
        and parts[-3] in ("TRAIN", "TEST", "TEST_SIMPLE")
        and parts[-2] in ARCHIVE_CLASSES
        and is_picture(file)
    ):
        return parts[-3], parts[-2]
    return None


def _is_blood_cell_images(files: Sequence[str]) -> bool:
    found = {place[0] for place in map(_archive_place, files) if place}
    return {"TRAIN", "TEST"} <= found


def _read_blood_cell_images(source: Source, with_test_simple: bool) -> Listing:
    splits = {"TRAIN": "train", "TEST": "test"} | ({"TEST_SIMPLE": "test"} if with_test_simple else {})
    entries = [
        Entry(file, label=place[1], split=splits[place[0]])
        for file in source.files
        if (place := _archive_place(file)) and place[0] in splits
    ]
    photographs = [
        file for file in source.files if is_picture(file) and PurePosixPath(file).parent.name == "JPEGImages"
    ]
    return Listing(entries, len(source.files) - len(entries), photographs)


# Any folder with one folder a class, with or without train/test folders above them


def _read_class_folders(source: Source, with_test_simple: bool) -> Listing:
    pictures = [file for file in source.files if is_picture(file)]
    if not pictures:
        raise LabError(f"{source.name} holds no picture ({', '.join(SUFFIXES)}): nothing to import")
    top = _common_folders(pictures)
    entries = []
    for file in pictures:
        folders = PurePosixPath(file).parts[len(top) : -1]
        split = SPLIT_NAMES.get(folders[0].lower()) if folders else None
        if split:
            folders = folders[1:]
        if folders:
            entries.append(Entry(file, label=folders[0], split=split))
    classes = {entry.label for entry in entries}
    if len(classes) < 2:
        alone = classes or set(top[-1:])  # pictures that all lie in one folder: that folder is their class
        found = f"only one class folder ({alone.pop()})" if alone else "no class folder"
        raise LabError(f"{source.name} has {found}: put the pictures in at least two folders, one a class")
    return Listing(entries, ignored=len(source.files) - len(entries))


def _common_folders(files: Sequence[str]) -> tuple[str, ...]:
    """The folders that all files share from the top, short of one that names a split."""
    common: list[str] = []
    for level in zip(*(PurePosixPath(file).parts[:-1] for file in files), strict=False):
        if len(set(level)) > 1 or level[0].lower() in SPLIT_NAMES:
            break
        common.append(level[0])
    return tuple(common)


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format(
            "blood-cell-images",
            "Blood Cell Images, the public archive",
            matches=_is_blood_cell_images,
            read=_read_blood_cell_images,
            licence="MIT (the BCCD photographs)",
            citation="P. Mooney, Blood Cell Images, 2018; from BCCD, S. Cheng and N. Chen, 2017",
        ),
        Format(
            "class-folders",
            "One folder a class, with or without train and test folders above",
            matches=lambda files: any(is_picture(file) for file in files),
            read=_read_class_folders,
        ),
    )
}
"""In the order in which they are tried: the first that matches reads the source."""


def choose_format(source: Source, name: str = "auto") -> Format:
    if name != "auto":
        if name not in FORMATS:
            raise LabError(f"no format is called {name[:40]!r}: use auto, {', '.join(FORMATS)}")
        return FORMATS[name]
    for row in FORMATS.values():
        if row.matches(source.files):
            return row
    raise LabError(f"{source.name} holds no picture ({', '.join(SUFFIXES)}): nothing to import")
