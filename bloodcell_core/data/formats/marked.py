"""Smear fields whose cells are marked by bounding boxes: what the readers of COCO, VOC, YOLO, labelme and tables share.

Each marked cell is cut out with its surroundings and becomes a picture of its own. The cells of one field are one
group: they are never in training and test at once.
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
from bloodcell_core.data.formats.listing import Entry, Listing, Read
from bloodcell_core.data.pictures import decode_rgb, first_of_several
from bloodcell_core.data.sources import MAX_FILES, Source
from bloodcell_core.errors import LabError

AROUND = 3.0  # times the box is cut out: the cell, the red cells beside it, and room for the cell view
INSIDE = 0.8  # share of a nucleus that must lie in a box to be that cell's
MAX_COVER = 100  # times the area of a field may be cut out of it; a field crowded with cells needs about ten
SHARES = (1.0, 1.0)
_COPY = re.compile(r"\.rf\.\w+$")  # Roboflow's names of augmented copies of one photograph: photo_jpg.rf.0f3a….jpg


class Mark(NamedTuple):
    """A box that somebody drew around a cell."""

    file: str
    """The field's path in its source, or its name in the annotation where it is missing."""
    label: str
    corners: tuple[float, ...]
    """x0, y0, x1, y1 in pixels; in shares of the field's width and height where `size` is SHARES. Empty for a point
    or a line, which have no size."""
    split: str | None = None
    size: tuple[float, float] | None = None
    """The field's width and height in pixels as the annotation states them, if it does."""
    group: str | None = None
    """The photograph, patient or slide; None for the field itself."""
    missing: bool = False
    """Whether the source has no such file."""


def cells_of(source: Source, marks: Iterable[Mark]) -> Listing:
    """The marked cells as pictures. LabError where all the fields are missing, or there are too many cells."""
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
    """Each cell with a function that returns its picture. Fields are read one at a time, when their turn comes."""
    photos: dict[bytes, str] = {}  # by content: one photograph may have two names, with different cells marked
    for file, marks in by_picture.items():
        try:
            data = _read(source, marks)
            photo = photos.setdefault(hashlib.sha256(data).digest(), _photo(file))
            picture = _picture(data, marks)
        except LabError as error:
            yield from (_left_out(mark, number, error) for number, mark in enumerate(marks, 1))
            continue
        several = first_of_several(data)
        nuclei = [cell.box for cell in find_cells(picture)]
        height, width = picture.shape[:2]
        covered = 0
        for number, mark in enumerate(marks, 1):
            try:
                box = _box(mark, width, height)
                part = x, y, right, bottom = widened(box, AROUND, width, height)
                covered += (right - x) * (bottom - y)
                if covered > MAX_COVER * width * height:
                    raise LabError(f"left out: the boxes before it already cover {file} more than {MAX_COVER} times")
                cut = cut_cell(picture, part, box)
            except LabError as error:
                yield _left_out(mark, number, error)
                continue
            x0, y0, x1, y1 = _nucleus(nuclei, box) or box
            yield _entry(mark, number, photo, (x0 - x, y0 - y, x1 - x, y1 - y), several), partial(bytes, cut)


def _read(source: Source, marks: Sequence[Mark]) -> bytes:
    """The bytes of the field that the marks are on; LabError where it can't be read."""
    if marks[0].missing:
        raise LabError("the annotated picture is missing")
    return source.read(marks[0].file)


def _picture(data: bytes, marks: Sequence[Mark]) -> np.ndarray:
    """The field's pixels; LabError where it is not a picture, or has another size than the annotation states."""
    picture = decode_rgb(data)
    height, width = picture.shape[:2]
    told = marks[0].size or SHARES
    if told not in (SHARES, (width, height)):
        raise LabError(f"its boxes are for {told[0]:g}×{told[1]:g} pixels, but the picture has {width}×{height}")
    return picture


def _left_out(mark: Mark, number: int, error: LabError) -> tuple[Entry, Read]:
    def refuse() -> NoReturn:
        raise error

    return _entry(mark, number, _photo(mark.file)), refuse


def _entry(mark: Mark, number: int, photo: str, box: Box | None = None, several: bool = False) -> Entry:
    return Entry(f"{mark.file}/{number}.png", mark.label, mark.split, mark.group or photo, box, of_several=several)


def _photo(file: str) -> str:
    """The photograph that a field is, or is an augmented copy of."""
    stem = PurePosixPath(file).stem
    return _COPY.sub("", stem) if _COPY.search(stem) else file


def _box(mark: Mark, width: int, height: int) -> Box:
    """A mark's box in pixels, clipped to the field; LabError where nothing of it is left."""
    if not mark.corners:
        raise LabError("it is marked by a point or a line, and not by a box or an outline")
    across, down = (width, height) if mark.size == SHARES else (1, 1)
    x0, y0, x1, y1 = (corner * side for corner, side in zip(mark.corners, (across, down, across, down), strict=True))
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise LabError("its box has corners that are not numbers")
    box = round(max(0, x0)), round(max(0, y0)), round(min(width, x1)), round(min(height, y1))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise LabError(f"its box {x0:g} {y0:g} {x1:g} {y1:g} is empty or outside the picture ({width}×{height} pixels)")
    return box


def _nucleus(nuclei: Sequence[Box], box: Box) -> Box | None:
    """The largest nucleus that lies in a cell's box, so that the cell view is scaled as in every other picture."""

    def inside(nucleus: Box) -> float:
        x0, y0, x1, y1 = nucleus
        across, down = min(x1, box[2]) - max(x0, box[0]), min(y1, box[3]) - max(y0, box[1])
        return max(0, across) * max(0, down) / ((x1 - x0) * (y1 - y0))

    return next((nucleus for nucleus in nuclei if inside(nucleus) > INSIDE), None)
