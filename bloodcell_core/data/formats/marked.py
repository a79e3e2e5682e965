"""Pictures in which somebody marked cells by boxes, as the readers of COCO, VOC, YOLO and tables hand them on.

Each marked cell is cut out with what lies around it and becomes a picture of its own. Cells of one picture are one
group: they never stand in training and test at once.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple, NoReturn

import numpy as np

from bloodcell_core.cells import Box, find_cells
from bloodcell_core.data.cut_cells import cut_cell, widened
from bloodcell_core.data.formats.listing import Entry, Listing, Read, is_picture, split_of_folder
from bloodcell_core.data.pictures import decode_rgb
from bloodcell_core.data.sources import MAX_FILES, Source
from bloodcell_core.errors import LabError

AROUND = 3.0  # sides of a box: the cell, the red cells beside it, and room for the cell view
INSIDE = 0.8  # of a nucleus lies in the box of its cell
MAX_COVER = 100  # times a picture may be covered by what is cut out of it: cells that crowd it need about ten
MAX_TEXT_BYTES = 64 * 2**20  # of an annotation file: read, it takes some ten times as much memory
SHARES = (1.0, 1.0)
_COPY = re.compile(r"\.rf\.\w+$")  # how Roboflow calls the changed copies of one photograph: photo_jpg.rf.0f3a….jpg


class Mark(NamedTuple):
    """A box that somebody drew around a cell."""

    file: str
    """The picture's path in its source; what it is called where it isn't there."""
    label: str
    corners: tuple[float, ...]
    """x0, y0, x1, y1, in pixels, or where `size` is SHARES in shares of the picture's width and height."""
    split: str | None = None
    size: tuple[float, float] | None = None
    """The picture's width and height, where they are told."""
    group: str | None = None
    """The photograph, patient or slide, where it is told: else it is the picture."""
    missing: bool = False
    """Whether there is no such picture."""


class Pictures:
    """A source's pictures by their names, to find the one that an annotation is about."""

    def __init__(self, source: Source):
        self._called: dict[str, list[str]] = {}
        for file in filter(is_picture, source.files):
            path = PurePosixPath(file)
            for name in {path.name, path.stem}:
                self._called.setdefault(name, []).append(file)

    def find(self, name: str, annotation: str, split: str | None = None) -> str | None:
        """The picture called `name`, with or without folders and ending; of several the one whose folders are called
        most like those of `name` and the annotation's file, and one of that split before others.

        None where there is none, LabError where it can't be told which.
        """
        path = PurePosixPath(name.replace("\\", "/"))
        folders = {*path.parts[:-1], *PurePosixPath(annotation).parts[:-1]}

        def likeness(file: str) -> tuple[int, bool]:
            return len(folders.intersection(PurePosixPath(file).parts[:-1])), split_of_path(file) == split

        found = sorted(self._called.get(path.name, ()), key=likeness, reverse=True)
        if len(found) > 1 and likeness(found[0]) == likeness(found[1]):
            raise LabError(f"{annotation} is about {name!r:.60}, which may be {found[0]} or {found[1]}: keep one")
        return found[0] if found else None


def split_of_path(file: str) -> str | None:
    """The split that a folder of a path tells, the innermost first."""
    return next((split for part in PurePosixPath(file).parts[-2::-1] if (split := split_of_folder(part))), None)


def text_of(source: Source, file: str, most: int = MAX_TEXT_BYTES) -> str:
    """An annotation file's text; LabError where it is none, or has more bytes than `most`."""
    data = source.read(file)
    if len(data) > most:
        raise LabError(f"{file} is larger than {most // 2**20} MiB: import a part of it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise LabError(f"{file} is not UTF-8 text") from None


def number_of(told: object) -> float:
    """NaN where it is none: the cell is then left out, with the reason."""
    try:
        return float(told)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def cells_of(source: Source, marks: Iterable[Mark]) -> Listing:
    """The marked cells as pictures; LabError where no marked picture is there, or cells are too many."""
    by_picture: dict[str, list[Mark]] = {}
    for mark in marks:
        by_picture.setdefault(mark.file, []).append(mark)
    total = sum(map(len, by_picture.values()))
    if total > MAX_FILES:
        raise LabError(f"{source.name} has {total:,} marked cells: at most {MAX_FILES:,} are taken")
    if by_picture and all(marks[0].missing for marks in by_picture.values()):
        raise LabError(f"{source.name} holds none of the marked pictures: {min(by_picture)!r:.80} is one")
    return Listing(total, _cells(source, by_picture), ignored=len({*source.files} - by_picture.keys()))


def _cells(source: Source, by_picture: Mapping[str, Sequence[Mark]]) -> Iterator[tuple[Entry, Read]]:
    """Each cell and what gives its picture. A marked picture is read when its turn comes, and let go of after it."""
    photos: dict[bytes, str] = {}  # one photograph may lie there under two names, with other cells marked
    for file, marks in by_picture.items():
        try:
            data = _read(source, marks)
            photo = photos.setdefault(hashlib.sha256(data).digest(), _photo(file))
            picture = _picture(data, marks)
        except LabError as error:
            yield from (_left_out(mark, number, error) for number, mark in enumerate(marks, 1))
            continue
        nuclei = [cell.box for cell in find_cells(picture)]
        height, width = picture.shape[:2]
        covered = 0
        for number, mark in enumerate(marks, 1):
            try:
                box = _box(mark, width, height)
                part = x, y, right, bottom = widened(box, AROUND, width, height)
                covered += (right - x) * (bottom - y)
                if covered > MAX_COVER * width * height:
                    raise LabError(f"the boxes before it were cut out as {MAX_COVER} times {file}: it is left out")
                cut = cut_cell(picture, part, box)
            except LabError as error:
                yield _left_out(mark, number, error)
                continue
            x0, y0, x1, y1 = _nucleus(nuclei, box) or box
            yield _entry(mark, number, photo, (x0 - x, y0 - y, x1 - x, y1 - y)), partial(bytes, cut)


def _read(source: Source, marks: Sequence[Mark]) -> bytes:
    """The file that all the marks are on; LabError where it can't be had."""
    if marks[0].missing:
        raise LabError("there is no such picture")
    return source.read(marks[0].file)


def _picture(data: bytes, marks: Sequence[Mark]) -> np.ndarray:
    """Its pixels; LabError where it is no picture, or the marks are on one of another size."""
    picture = decode_rgb(data)
    height, width = picture.shape[:2]
    told = marks[0].size or SHARES
    if told not in (SHARES, (width, height)):
        raise LabError(f"its boxes are told for {told[0]:g}×{told[1]:g} pixels, and the picture has {width}×{height}")
    return picture


def _left_out(mark: Mark, number: int, error: LabError) -> tuple[Entry, Read]:
    def refuse() -> NoReturn:
        raise error

    return _entry(mark, number, _photo(mark.file)), refuse


def _entry(mark: Mark, number: int, photo: str, box: Box | None = None) -> Entry:
    return Entry(f"{mark.file}/{number}.png", mark.label, mark.split, mark.group or photo, box)


def _photo(file: str) -> str:
    """The photograph that a picture is, or is a copy of."""
    stem = PurePosixPath(file).stem
    return _COPY.sub("", stem) if _COPY.search(stem) else file


def _box(mark: Mark, width: int, height: int) -> Box:
    """A mark in pixels, cut off at the picture's edge; LabError where nothing is left of it."""
    across, down = (width, height) if mark.size == SHARES else (1, 1)
    x0, y0, x1, y1 = (corner * side for corner, side in zip(mark.corners, (across, down, across, down), strict=True))
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise LabError("its box has corners that are no numbers")
    box = round(max(0, x0)), round(max(0, y0)), round(min(width, x1)), round(min(height, y1))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise LabError(f"its box {x0:g} {y0:g} {x1:g} {y1:g} holds nothing of the picture's {width}×{height} pixels")
    return box


def _nucleus(nuclei: Sequence[Box], box: Box) -> Box | None:
    """The largest nucleus that lies in a cell's box: a view is as much larger than it as in any other picture."""

    def inside(nucleus: Box) -> float:
        x0, y0, x1, y1 = nucleus
        across, down = min(x1, box[2]) - max(x0, box[0]), min(y1, box[3]) - max(y0, box[1])
        return max(0, across) * max(0, down) / ((x1 - x0) * (y1 - y0))

    return next((nucleus for nucleus in nuclei if inside(nucleus) > INSIDE), None)
