"""labelme: a JSON file beside each picture, with shapes around its cells, or flags that tell the whole picture's class.

The file may hold the picture, too (`imageData`), which is never read. The splits are those of the folders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from bloodcell_core.data.formats.listing import (
    Entry,
    Format,
    Listing,
    groups_of_names,
    is_picture,
    of_files,
    split_of_folder,
)
from bloodcell_core.data.formats.marked import Mark, cells_of
from bloodcell_core.data.formats.reading import GLANCE_JSON, Pictures, json_files, json_of, number_of, split_of_path
from bloodcell_core.data.sources import Source
from bloodcell_core.errors import LabError

KEYS = ("shapes", "imagePath")
OUTLINES = ("polygon", "rectangle", "rotation", "mask")
"""The shapes that lie between their points; a circle has its centre and a point on it, and others have no size."""


class _Told(NamedTuple):
    """What a file tells of a picture."""

    file: str
    picture: Mark
    """What the marks on the picture have in common."""
    marks: list[Mark]
    flags: list[str]
    """The names of those that are set."""


def _matches(source: Source) -> bool:
    return any(_is_labelme(source, file) for file in json_files(source)[:GLANCE_JSON])


def _is_labelme(source: Source, file: str) -> bool:
    try:
        # Not as text, and without the zeros of UTF-16: a file in another encoding is to be told, not to be passed over.
        data = source.read(file).replace(b"\0", b"")
    except LabError:
        return False
    return all(f'"{key}"'.encode() in data for key in KEYS)


def _read(source: Source, with_test_simple: bool) -> Listing:
    pictures = Pictures(source)
    told = [_told(source, file, pictures) for file in json_files(source) if _is_labelme(source, file)]
    if not told:
        raise LabError(f"{source.name} holds no .json file of labelme, with {' and '.join(KEYS)}")
    _check_pictures(source, told)
    marked = [one for one in told if one.marks]
    of_marked = {flag for one in marked for flag in one.flags}  # such as "checked": no classes
    flagged = [one for one in told if not one.marks and not of_marked.issuperset(one.flags)]
    if marked and flagged:
        raise LabError(
            f"{source.name}: {marked[0].file} has shapes, and {flagged[0].file} only flags: import pictures with "
            "marked cells and pictures of one class each by themselves"
        )
    return _classified(source, told) if flagged else cells_of(source, [mark for one in marked for mark in one.marks])


def _check_pictures(source: Source, told: Sequence[_Told]) -> None:
    """LabError where two files are about one picture, or few pictures have one and the folders may be classes."""
    about: dict[str, str] = {}
    for one in told:
        if not one.picture.missing and about.setdefault(one.picture.file, one.file) != one.file:
            first = about[one.picture.file]
            raise LabError(f"{first} and {one.file} are both about {one.picture.file}: take one of them out")
    without = [file for file in source.files if is_picture(file) and file not in about]
    folders = {name for file in without if not split_of_folder(name := PurePosixPath(file).parent.name)}
    if len(without) > len(about) and len(folders) > 1:
        raise LabError(
            f"{source.name}: {told[0].file} is labelme's, but most pictures have no such file: take these files out if "
            "the folders are the classes, or import the pictures that have one by themselves"
        )


def _told(source: Source, file: str, pictures: Pictures) -> _Told:
    told = json_of(source, file)
    if not isinstance(told, dict) or not isinstance(told.get("shapes"), list):
        raise LabError(f"{file} has no list shapes")
    stem = PurePosixPath(file).stem
    name = str(told.get("imagePath") or stem)
    found = pictures.find(name, file) or pictures.find(stem, file)
    size = number_of(told.get("imageWidth")), number_of(told.get("imageHeight"))
    picture = Mark(
        found or name, "", (), split_of_path(found or file), size if min(size) > 0 else None, missing=found is None
    )
    marks = [_mark(shape, picture, file, place) for place, shape in enumerate(told["shapes"], 1)]
    flags = told.get("flags")
    named = flags.items() if isinstance(flags, dict) else ()
    return _Told(file, picture, marks, [name.strip() for name, value in named if value is True and name.strip()])


def _mark(shape: Any, picture: Mark, file: str, place: int) -> Mark:
    told = shape.get("label") if isinstance(shape, dict) else None
    label = str(told).strip() if isinstance(told, str | int) else ""
    if not label:
        raise LabError(f"{file}: shape {place:,} has no label")
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    return picture._replace(label=label, corners=_corners(kind, points if isinstance(points, list) else []))


def _corners(kind: str, points: list[Any]) -> tuple[float, ...]:
    """x0, y0, x1, y1 of a shape; none of a point or line, and NaN where the points are no numbers."""
    if kind not in (*OUTLINES, "circle"):
        return ()
    pairs = [[*map(number_of, point)] for point in points if isinstance(point, list)]
    whole = len(pairs) == len(points) > 1 and all(len(pair) == 2 and all(map(math.isfinite, pair)) for pair in pairs)
    if not whole:
        return (math.nan,) * 4
    across, down = zip(*pairs, strict=True)
    if kind == "circle":
        radius = math.dist(*pairs[:2])
        return across[0] - radius, down[0] - radius, across[0] + radius, down[0] + radius
    return min(across), min(down), max(across), max(down)


def _classified(source: Source, told: Sequence[_Told]) -> Listing:
    """Whole pictures, each of the class of its flag."""
    if lost := [one for one in told if one.picture.missing]:
        raise LabError(f"{lost[0].file} is about {lost[0].picture.file!r:.80}, which is not there: take it out")
    if unclear := [one.file for one in told if len(one.flags) != 1]:
        raise LabError(
            f"{source.name}: {len(unclear):,} of {len(told):,} files of labelme have no flag set or several, such as "
            f"{unclear[0]}: set that of the picture's class, or take the file out"
        )
    groups = groups_of_names([one.picture.file for one in told])
    entries = [
        Entry(one.picture.file, one.flags[0], one.picture.split, group)
        for one, group in zip(told, groups, strict=True)
    ]
    return of_files(source, entries)


LABELME = Format("labelme", "labelme: pictures with a JSON file of shapes or flags each", _matches, _read)
