"""One folder per class, with or without train, val and test folders above or inside the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from bloodcell_core.data.formats.listing import Entry, Format, Listing, is_picture, of_files, split_of_folder
from bloodcell_core.data.pictures import OTHER_SUFFIXES, SUFFIXES
from bloodcell_core.data.sources import Source
from bloodcell_core.errors import LabError

ANNOTATIONS = (".csv", ".xlsx", ".json", ".xml", ".txt")
"""Suffixes of files that may have the labels where folders don't, the likeliest first."""


def _is_any_picture(file: str) -> bool:
    """Whether a file is a picture by its suffix; one of a format that can't be read is listed with the reason."""
    return is_picture(file) or file.lower().endswith(OTHER_SUFFIXES)


def _read(source: Source, with_test_simple: bool) -> Listing:
    pictures = [file for file in source.files if _is_any_picture(file)]
    if not pictures:
        raise LabError(f"{source.name} holds no picture ({', '.join(SUFFIXES)}): nothing to import")
    paths = [PurePosixPath(file).parts[:-1] for file in pictures]
    top = _common_folders(paths)
    folders = [path[len(top) :] if path[: len(top)] == top else () for path in paths]
    splits_inside = _splits_lie_inside_classes(folders)
    entries = []
    inside: dict[str, set[str]] = {}  # each class: the folders in it
    for file, path in zip(pictures, folders, strict=True):
        split, label = _split(path[:1]), path[1:2]
        if not split:
            split = _split(path[1:2])
            label = path[2:3] if split and not splits_inside else path[:1]
        if label:
            entries.append(Entry(file, label[0], split))
            inside.setdefault(label[0], set()).update(() if split else path[1:2])
    if len(inside) < 2:
        alone = set(inside) or set(top[-1:])  # all pictures are in one folder: it is their class
        found = f"only one class folder ({alone.pop()})" if alone else "no class folder"
        raise LabError(
            f"{source.name} has {found}: put the pictures in at least two folders, one a class{_or_a_table(source)}"
        )
    _check_levels(source, inside)
    return of_files(source, entries)


def _or_a_table(source: Source) -> str:
    """What else would work if a file beside the pictures seems to have their labels, to end the message with."""
    told = next((file for end in ANNOTATIONS for file in source.files if file.lower().endswith(end)), None)
    return f"; if {told!r:.80} has their labels, write them as a CSV table of path and label" if told else ""


def _check_levels(source: Source, inside: Mapping[str, set[str]]) -> None:
    """LabError where what was taken for a class holds classes: it is probably a split with an unusual name."""
    for name, folders in inside.items():
        held = sorted(folders & inside.keys() - {name})
        if len(held) > 1:
            raise LabError(
                f"{source.name}: the folder {name} holds folders that are classes beside it ({', '.join(held[:3])}): "
                "call it train, val or test, or take it out"
            )


def _common_folders(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The outer folders that all pictures but loose ones beside them have in common, up to one named as a split."""
    common: tuple[str, ...] = ()
    while True:
        level = {path[: len(common) + 1] for path in paths if len(path) > len(common)}
        if len(level) != 1 or split_of_folder((inner := level.pop())[-1]):
            return common
        common = inner


def _split(folder: tuple[str, ...]) -> str | None:
    """The split of a folder by its name; `folder` is that name as a tuple, or ()."""
    return split_of_folder(folder[0]) if folder else None


def _splits_lie_inside_classes(folders: Sequence[tuple[str, ...]]) -> bool:
    """Whether most splits inside a folder are of a class (<class>/<split>/1.png), not of a site with folders of classes
    (<site>/<split>/<class>/1.png)."""
    depths = [len(path) for path in folders if not _split(path[:1]) and _split(path[1:2])]
    return 2 * depths.count(2) > len(depths)


CLASS_FOLDERS = Format(
    "class-folders",
    "One folder a class, with or without train and test folders",
    matches=lambda source: any(map(_is_any_picture, source.files)),
    read=_read,
)
