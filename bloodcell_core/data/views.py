"""Views: each picture as a uint8 square, the preprocessed input of a network.

`make_view` is the only preprocessing function: `build_view` applies it to a dataset for training, the predictor to an
uploaded picture, so the two can't differ.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from filelock import FileLock, Timeout

from bloodcell_core import disk, workspace
from bloodcell_core.cells import Box, Place, find_place
from bloodcell_core.crops import BALANCED, DEFAULT_CROP, VIEWS, Crop, cell_square, cut_square, middle_square
from bloodcell_core.data import colours
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.parallel import picture_threads
from bloodcell_core.errors import LabError
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.stain import Stain

BATCH = 256
WAIT = 0.5  # seconds between two looks at whether somebody wants a build that waits for another to stop
PAGE = 2**20  # bytes written at once to reserve disk space; more than the header of an array's file
AROUND = 1.0  # sides of a cell's square on each side of it, within which its colours are measured


class View(NamedTuple):
    """A picture as it is shown to a network or a person."""

    pixels: np.ndarray
    """uint8 size×size×3 RGB."""
    box: Box
    """The part of the picture that it shows; all of it for a frame view."""
    found: bool
    """False where a cell view found no white cell and fell back to the picture's middle."""


def make_view(
    picture: np.ndarray,
    view: str,
    size: int,
    crop: Crop = DEFAULT_CROP,
    place: Place | None = None,
    stain: Stain | None = None,
) -> View:
    """The picture (uint8 H×W×3 RGB) as the network sees it.

    `frame`: the whole picture resized, without keeping its proportions, as in the original analysis. `cell`: a square
    around the largest white cell, or in the picture's middle where none is found. `place` (of that cell) and `stain`
    (the picture's `measured_stain`) save computing them again.
    """
    height, width = picture.shape[:2]
    if view == "frame":
        whole = (0, 0, width, height)
        return View(_coloured(resize(picture, size), picture, whole, crop, stain), whole, True)
    if view != "cell":
        raise ValueError(f"no view is called {view!r}: use {' or '.join(VIEWS)}")
    box, red_radius = place or find_place(picture)
    square = cell_square(box, red_radius, crop) if box else middle_square(width, height, red_radius, crop)
    return View(view_of_square(picture, square, size, crop, stain), square, box is not None)


def view_of_square(
    picture: np.ndarray, square: Box, size: int, crop: Crop = DEFAULT_CROP, stain: Stain | None = None
) -> np.ndarray:
    """A `square` of the picture (uint8 H×W×3 RGB) as the network sees it: uint8 size×size×3; `stain` as `make_view`."""
    return _coloured(resize(cut_square(picture, square, crop.border), size), picture, square, crop, stain)


def _coloured(pixels: np.ndarray, picture: np.ndarray, box: Box, crop: Crop, stain: Stain | None) -> np.ndarray:
    """The `pixels` that were cut out of the picture at `box`, in the colours that `crop` asks for."""
    if crop.colours != BALANCED:
        return pixels
    x0, y0, x1, y1 = box
    # The colours around the cell: lamps don't light a field evenly, and a large one is slow to measure.
    more_x, more_y = (round((end - start) * AROUND) for start, end in ((x0, x1), (y0, y1)))
    around = picture[max(0, y0 - more_y) : max(0, y1 + more_y), max(0, x0 - more_x) : max(0, x1 + more_x)]
    whole = around.shape == picture.shape
    return colours.balance(pixels, colours.measure(around, stain if whole else None) if around.size else None)


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """uint8 H×W×3 resized to size×size×3: shrunk by averaging areas (no aliasing), enlarged by cubic interpolation."""
    shrinks = min(pixels.shape[:2]) >= size
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def build_view(
    dataset: Dataset,
    view: str,
    size: int,
    crop: Crop = DEFAULT_CROP,
    progress: Progress = no_progress,
) -> np.ndarray:
    """All usable pictures of a dataset as a read-only memory map, uint8 (N, size, size, 3), RGB.

    Built on first use and kept; row i is row i of `dataset.pictures`. A build that is killed leaves no view and is
    repeated. Raises OSError where the disk is full; LabError where the dataset was replaced, or its view is damaged.
    """
    file = workspace.view_file(dataset.name, view_name(view, size, crop))
    total = len(dataset.pictures)
    if not file.exists():
        with _held(FileLock(workspace.lock_file(f"views-{dataset.name}")), progress, total):
            if not file.exists():  # another process may have built it meanwhile
                # `dataset` may be outdated: then the rows would not be those of the dataset that has its name now.
                now = Dataset(dataset.name)
                if not now.pictures.image_id.equals(dataset.pictures.image_id) or now.places != dataset.places:
                    raise LabError(f"dataset {dataset.name!r} was replaced by another meanwhile: look at it again")
                for left_by_a_killed_build in file.parent.glob(".*"):
                    left_by_a_killed_build.unlink()
                _build(file, dataset, view, size, crop, progress)
    try:
        built: np.ndarray = np.lib.format.open_memmap(file, "r")
    except (ValueError, SyntaxError, TokenError):  # a header that numpy can't make sense of, or too short a file
        built = np.empty(0, np.uint8)
    if built.dtype != np.uint8 or built.shape != (total, size, size, 3):
        raise LabError(f"the {view} view of {dataset.name!r} is damaged: delete {file} and it is built again")
    return built


@contextmanager
def _held(lock: FileLock, progress: Progress, total: int) -> Iterator[None]:
    """With the lock; calls `progress` as long as another process has it, so that whoever waits can be stopped."""
    while not lock.is_locked:
        try:
            lock.acquire(timeout=WAIT)
        except Timeout:
            progress(0, total)
    try:
        yield
    finally:
        lock.release()


def _build(file: Path, dataset: Dataset, view: str, size: int, crop: Crop, progress: Progress) -> None:
    total = len(dataset.pictures)

    def pixels(row: int) -> np.ndarray:
        return make_view(dataset.read_original(row), view, size, crop, dataset.places[row]).pixels

    with disk.write_atomic(file) as temporary:
        rows = np.lib.format.open_memmap(temporary, "w+", np.uint8, (total, size, size, 3))
        # Disk space is reserved first: to write to a memory map when the disk is full kills the program.
        with open(temporary, "r+b") as opened:
            _reserve_space(opened, temporary.stat().st_size)
        with picture_threads() as pool:
            for start in range(0, total, BATCH):
                batch = range(start, min(start + BATCH, total))
                rows[start : batch.stop] = list(pool.map(pixels, batch))
                progress(batch.stop, total)
        rows.flush()
        del rows  # Windows can't rename a file that is mapped


def _reserve_space(file: BinaryIO, size: int) -> None:
    """Reserves the disk space of a new array's file, if need be by writing zeros; OSError where there isn't enough."""
    if hasattr(os, "posix_fallocate"):  # macOS and Windows have none
        os.posix_fallocate(file.fileno(), 0, size)
        return
    header = file.read(PAGE)
    file.seek(0)
    for at in range(0, size, PAGE):
        file.write(header if at == 0 else bytes(min(PAGE, size - at)))


def view_name(view: str, size: int, crop: Crop) -> str:
    """A file name with all that a view's pixels depend on, besides the picture."""
    cut = "" if view == "frame" else f"-{crop.scale:g}-{crop.margin:g}-{crop.border}"
    return f"{view}-{size}{cut}" + (f"-{BALANCED}" if crop.colours == BALANCED else "")
