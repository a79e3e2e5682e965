"""One folder per class, with or without train, val and test folders above or inside the classes.

Folders called as patients or slides (`patient 1`, `slide_B`) are groups, those of a cross-validation (`fold_0`) mean
nothing. What would become a class and probably is none (masks, a second copy of all classes) is refused.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import PurePosixPath

from bloodcell_core.data.dataset import check_classes
from bloodcell_core.data.formats.beside import (
    check_annotations,
    check_legend,
    check_others,
    check_packed,
    packed_too,
    told_too,
)
from bloodcell_core.data.formats.listing import (
    GROUP_WORDS,
    Entry,
    Format,
    Listing,
    groups_of_names,
    is_picture,
    of_files,
    split_of_folder,
)
from bloodcell_core.data.formats.named_files import NamedFiles
from bloodcell_core.data.formats.reading import is_list_of_split, listed_splits
from bloodcell_core.data.pictures import OTHER_SUFFIXES, SUFFIXES
from bloodcell_core.data.sources import Source
from bloodcell_core.errors import LabError
from bloodcell_core.words import some

_GROUP = re.compile(rf"(?i)({GROUP_WORDS})s?(id|no)?([-_ .]*\d\w*|[-_ .]+(\w*\d\w*|[a-z]))")
_FOLD = re.compile(r"(?i)(k[-_ ]?)?fold[-_ ]?\d+")
_MASKS = re.compile(r"(?i)(.*[-_ ])?(masks?|gt)|ground[-_ ]?truths?.*|segmentations?|annotations?|labels?")
_NO_CLASS = re.compile(
    r"(?i)(images?|imgs?|pictures?|photos?|originals?|raw|augmented|docs?|figures?|results?|examples?|previews?"
    r"|((data[-_ ]?)?set|part|batch)[-_ ]?\d+)"
)
"""Names of folders that hold pictures of several classes, or none of cells."""
_MASK = re.compile(r"(?i)(?<![a-z])masks?(?![a-z])")
_SEGMENTED = re.compile(r"(?i)[-_ .](gt|seg(mented|mentation)?)$")


def _is_any_picture(file: str) -> bool:
    """Whether a file is a picture by its suffix; one of a format that can't be read is listed with the reason."""
    return is_picture(file) or file.lower().endswith(OTHER_SUFFIXES)


def _read(source: Source, with_test_simple: bool) -> Listing:
    pictures = [file for file in source.files if _is_any_picture(file)]
    if not pictures:
        raise LabError(f"{source.name} holds no picture ({', '.join(SUFFIXES)}): nothing to import")
    check_packed(source)
    check_others(source)
    parents = [posixpath.dirname(file) for file in pictures]
    _check_folds(source, {*parents})
    paths, named = zip(*map(_place, parents), strict=True)
    of_all = set.intersection(*map(set, {*named}))  # a folder around everything, such as `slides_2020`, is no group
    of_folders = [next((name for name in names if name not in of_all), None) for names in named]
    groups = of_folders if any(of_folders) else groups_of_names(pictures)
    top = _common_folders(paths)
    folders = [path[len(top) :] if path[: len(top)] == top else () for path in paths]
    _check_masks(source, pictures, {name for path in {*folders} for name in path})
    splits_inside = _splits_lie_inside_classes(folders)
    entries = []
    inside: dict[str, set[str]] = {}  # each class: the folders in it
    for file, path, group in zip(pictures, folders, groups, strict=True):
        split, place = _split(path[:1]), 1
        below = 2
        if not split:
            split = _split(path[1:2])
            place, below = (2, 3) if split and not splits_inside else (0, 2 if split else 1)
        if label := path[place : place + 1]:
            entries.append(Entry(file, label[0], split, group))
            inside.setdefault(label[0], set()).update(path[below : below + 1])
    if len(inside) < 2:
        alone = set(inside) or set(top[-1:])  # all pictures are in one folder: it is their class
        found = f"only one class folder ({', '.join(alone)})" if alone else "no class folder"
        more = packed_too(source) or told_too(source)
        for name, held in inside.items():
            if len(held) > 1:
                more = f"; if {some(sorted(held))} in {name} are the classes, move them up a level{more}"
        raise LabError(f"{source.name} has {found}: put the pictures in at least two folders, one a class{more}")
    _check_levels(source, inside)
    check_classes(sorted(inside))
    _check_splits(source, entries)
    loose = {split for path in {*folders} if (split := _split(path[:1]))}.difference(entry.split for entry in entries)
    if loose:
        which = " and ".join(sorted(loose))
        raise LabError(
            f"{source.name}: the pictures of {which} lie in no class folders: put them into some, or take them out"
            f"{told_too(source)}"
        )
    check_legend(source, inside)
    check_annotations(source, entries)
    return of_files(source, _with_listed_splits(source, entries))


@lru_cache
def _place(folder: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A path's folders but for those of patients, slides and folds, and those of patients and slides."""
    folders = PurePosixPath(folder).parts
    groups = tuple(filter(_GROUP.fullmatch, folders))
    return tuple(name for name in folders if name not in groups and not _FOLD.fullmatch(name)), groups


def _check_folds(source: Source, paths: Iterable[str]) -> None:
    """LabError where each fold of a cross-validation has its own splits: every picture would be tested on in one."""
    splits: dict[str, set[str]] = {}
    for path in paths:
        folders = PurePosixPath(path).parts
        for fold in filter(_FOLD.fullmatch, folders):
            splits.setdefault(fold, set()).update(filter(None, map(split_of_folder, folders)))
    if len(splits) > 1 and any(len(of_fold) > 1 for of_fold in splits.values()):
        raise LabError(f"{source.name}: the folds {some(sorted(splits))} have splits of their own: import one of them")


def _with_listed_splits(source: Source, entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries with the splits of lists such as `train.txt`, where no folder tells any."""
    lists = [file for file in source.files if is_list_of_split(file)]
    if not lists or any(entry.split for entry in entries):
        return entries
    named_by = {file: NamedFiles(source, file) for file in lists}

    def named(file: str, path: str) -> list[str]:
        found = named_by[file].find(path)
        if not found and is_picture(path):
            raise LabError(f"{file} names a picture that is not there: {path!r:.80}")
        return [found] if found else []

    split_of = listed_splits(source, lists, named)
    return [replace(entry, split=split_of.get(entry.file)) for entry in entries]


def _check_masks(source: Source, pictures: Sequence[str], folders: Collection[str]) -> None:
    """LabError where a folder or picture is a mask by its name, or most pictures have another of their name beside."""
    if name := min(filter(_MASKS.fullmatch, folders), default=None):
        raise LabError(f"{source.name}: the folder {name} holds no pictures of cells by its name: take it out")
    of_name: dict[str, list[str]] = {}
    for file in pictures:
        stem = posixpath.splitext(file)[0]
        if _MASK.search(stem, stem.rfind("/") + 1):
            raise LabError(f"{source.name}: {file} is a mask by its name: take it and the like out")
        of_name.setdefault(_SEGMENTED.sub("", stem), []).append(posixpath.basename(file))
    pairs = [names for names in of_name.values() if len(names) > 1]
    if 2 * sum(map(len, pairs)) > len(pictures):
        raise LabError(
            f"{source.name} holds most pictures twice, such as {' and '.join(pairs[0][:2])}: take out those that are "
            "masks or copies, rename those that are not"
        )


def _check_levels(source: Source, inside: Mapping[str, set[str]]) -> None:
    """LabError where what was taken for classes probably is none, by the names of the folders and of those in them."""
    for name, folders in inside.items():
        held = sorted(folders & inside.keys() - {name})
        if len(held) > 1:
            raise LabError(
                f"{source.name}: the folder {name} holds folders that are classes beside it ({', '.join(held[:3])}): "
                "call it train, val or test, or take it out"
            )
    held_by = Counter(folder for folders in inside.values() for folder in folders)
    twice = sorted(folder for folder, classes in held_by.items() if classes > 1)
    if len({re.sub(r"[\d\W_]+", "", folder) for folder in twice}) > 1:  # not 0001-1000 and 1001-2000
        outer = [name for name, folders in inside.items() if folders.intersection(twice)]
        raise LabError(
            f"{source.name}: the folders {some(outer)} hold folders of the same names ({some(twice)}), and only one "
            "of both can be the classes: import a part of it, or write a CSV table of path, label and group"
        )
    if wrong := next(filter(_NO_CLASS.fullmatch, inside), None):
        raise LabError(
            f"{source.name}: the folder {wrong} is no class by its name: put its pictures in folders that are called "
            f"as their classes, or take it out{told_too(source)}"
        )


def _check_splits(source: Source, entries: Sequence[Entry]) -> None:
    """LabError where splits are part of the classes' names, or one has none of the classes in train."""
    first: dict[str, str] = {}
    for name in sorted({entry.label for entry in entries}):
        words = re.split(r"[-_. ]+", name)
        plain = " ".join(word for word in words if not split_of_folder(word))
        if len(plain.split()) < len(words) and (twin := first.setdefault(plain, name)) != name:
            raise LabError(
                f"{source.name}: the folders {twin} and {name} are one class in two splits by their names: put them "
                "into a folder for each split"
            )
    classes: dict[str | None, set[str]] = {}
    for entry in entries:
        classes.setdefault(entry.split, set()).add(entry.label)
    for split, held in classes.items():
        if split != "train" and "train" in classes and not held & classes["train"]:
            where = f"of {split}" if split else "outside its splits"
            raise LabError(
                f"{source.name}: the classes {where} ({some(sorted(held))}) "
                f"are none of those of train ({some(sorted(classes['train']))}): call them alike, or take them out"
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
