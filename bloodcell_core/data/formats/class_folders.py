"""Any folder with one folder a class, with or without train, val and test folders above or inside the classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from bloodcell_core.data.formats.listing import SPLIT_NAMES, Entry, Format, Listing, is_picture, of_files
from bloodcell_core.data.pictures import SUFFIXES
from bloodcell_core.data.sources import Source
from bloodcell_core.errors import LabError


def _read(source: Source, with_test_simple: bool) -> Listing:
    pictures = [file for file in source.files if is_picture(file)]
    if not pictures:
        raise LabError(f"{source.name} holds no picture ({', '.join(SUFFIXES)}): nothing to import")
    paths = [PurePosixPath(file).parts[:-1] for file in pictures]
    top = _common_folders(paths)
    folders = [path[len(top) :] if path[: len(top)] == top else () for path in paths]
    splits_inside = _splits_lie_inside_classes(folders)
    entries = []
    for file, path in zip(pictures, folders, strict=True):
        split, label = _split(path[:1]), path[1:2]
        if not split:
            split = _split(path[1:2])
            label = path[2:3] if split and not splits_inside else path[:1]
        if label:
            entries.append(Entry(file, label[0], split))
    classes = {entry.label for entry in entries}
    if len(classes) < 2:
        alone = classes or set(top[-1:])  # pictures that all lie in one folder: that folder is their class
        found = f"only one class folder ({alone.pop()})" if alone else "no class folder"
        raise LabError(f"{source.name} has {found}: put the pictures in at least two folders, one a class")
    return of_files(source, entries)


def _common_folders(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The folders that wrap all pictures but loose ones beside them, short of one that names a split."""
    common: tuple[str, ...] = ()
    while True:
        level = {path[: len(common) + 1] for path in paths if len(path) > len(common)}
        if len(level) != 1 or (inner := level.pop())[-1].lower() in SPLIT_NAMES:
            return common
        common = inner


def _split(folder: tuple[str, ...]) -> str | None:
    """The split that a folder's name tells; `folder` is that name alone, or empty."""
    return SPLIT_NAMES.get(folder[0].lower()) if folder else None


def _splits_lie_inside_classes(folders: Sequence[tuple[str, ...]]) -> bool:
    """Whether most splits that lie below a folder hold pictures (<class>/<split>/1.png) and not folders of them
    (<site>/<split>/<class>/1.png)."""
    depths = [len(path) for path in folders if not _split(path[:1]) and _split(path[1:2])]
    return 2 * depths.count(2) > len(depths)


CLASS_FOLDERS = Format(
    "class-folders",
    "One folder a class, with or without train and test folders",
    matches=lambda source: any(is_picture(file) for file in source.files),
    read=_read,
)
