"""Views: every picture as one uint8 square, the only shape that a network ever sees.

`make_view` is the one preprocessing function: `build_view` applies it to a dataset for training, the predictor
applies it to a picture that was handed in, so the two can't differ.
"""

from __future__ import annotations

import os
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from filelock import FileLock

from bloodcell_core import workspace
from bloodcell_core.cells import Box, Place, find_place
from bloodcell_core.crops import BALANCED, DEFAULT_CROP, VIEWS, Crop, cell_square, cut_square, middle_square
from bloodcell_core.data import colours
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.parallel import picture_threads
from bloodcell_core.errors import LabError
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.stain import Stain

BATCH = 256
PAGE = 2**20  # bytes that are written at once, to take room; more than the head of an array's file
AROUND = 1.0  # sides of a cell's square to each side of it, within which its colours are measured


class View(NamedTuple):
    """A picture as a network or a person is shown it."""

    pixels: np.ndarray
    """uint8, size×size×3, RGB."""
    box: Box
    """What part of the picture it shows; the whole of it for a frame view."""
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

    `frame`: the whole picture resized, its proportions not kept, as the original analysis did. `cell`: a square
    around the largest white cell, or in the picture's middle where none is found; `place` saves finding it again, and
    `stain`, the picture's `measured_stain`, working that out again where colours are measured in the whole picture.
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
    """A square of the picture (uint8 H×W×3 RGB) as the network sees it, uint8 size×size×3; `stain`: see `make_view`."""
    return _coloured(resize(cut_square(picture, square, crop.border), size), picture, square, crop, stain)


def _coloured(pixels: np.ndarray, picture: np.ndarray, box: Box, crop: Crop, stain: Stain | None) -> np.ndarray:
    """What was cut out of the picture at `box`, in the colours that are asked for."""
    if crop.colours != BALANCED:
        return pixels
    x0, y0, x1, y1 = box
    # The colours around the cell: lamps don't light a field evenly, and a large one is slow to measure.
    more_x, more_y = (round((end - start) * AROUND) for start, end in ((x0, x1), (y0, y1)))
    around = picture[max(0, y0 - more_y) : max(0, y1 + more_y), max(0, x0 - more_x) : max(0, x1 + more_x)]
    whole = around.shape == picture.shape
    return colours.balance(pixels, colours.measure(around, stain if whole else None) if around.size else None)


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """uint8 H×W×3 → size×size×3; averages areas when it shrinks (no aliasing), interpolates when it grows."""
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

    Built on first use and kept; row i is row i of `dataset.pictures`. A build that is killed leaves nothing that
    counts and is simply built again. Raises OSError where the disk is full.
    """
    file = workspace.view_file(dataset.name, view_name(view, size, crop))
    total = len(dataset.pictures)
    if not file.exists():
        with FileLock(workspace.lock_file(f"views-{dataset.name}")):
            if not file.exists():  # not built by another process meanwhile
                # Else its rows would be other pictures or cells than those of the dataset that has its name now.
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


def _build(file: Path, dataset: Dataset, view: str, size: int, crop: Crop, progress: Progress) -> None:
    total = len(dataset.pictures)

    def pixels(row: int) -> np.ndarray:
        return make_view(dataset.read_original(row), view, size, crop, dataset.places[row]).pixels

    with workspace.write_atomic(file) as temporary:
        rows = np.lib.format.open_memmap(temporary, "w+", np.uint8, (total, size, size, 3))
        # Its blocks are taken now: a memory map that finds the disk full while it is written kills the program.
        with open(temporary, "r+b") as opened:
            _take_room(opened, temporary.stat().st_size)
        with picture_threads() as pool:
            for start in range(0, total, BATCH):
                batch = range(start, min(start + BATCH, total))
                rows[start : batch.stop] = list(pool.map(pixels, batch))
                progress(batch.stop, total)
        rows.flush()
        del rows  # Windows renames no file that is mapped


def _take_room(file: BinaryIO, size: int) -> None:
    """Takes the blocks of a new array's file on the disk; OSError where there is no room.

    Where the system has no way to do it, by writing its zeros.
    """
    if hasattr(os, "posix_fallocate"):  # macOS and Windows have none
        os.posix_fallocate(file.fileno(), 0, size)
        return
    header = file.read(PAGE)
    file.seek(0)
    for at in range(0, size, PAGE):
        file.write(header if at == 0 else bytes(min(PAGE, size - at)))


def view_name(view: str, size: int, crop: Crop) -> str:
    """All that a view's pixels depend on, fit for a file's name."""
    cut = "" if view == "frame" else f"-{crop.scale:g}-{crop.margin:g}-{crop.border}"
    return f"{view}-{size}{cut}" + (f"-{BALANCED}" if crop.colours == BALANCED else "")
