"""Views: every picture as one uint8 square, the only shape that a network ever sees.

`make_view` is the one preprocessing function: `build_view` applies it to a dataset for training, the predictor
applies it to a picture that was handed in, so the two can't differ.
"""

from __future__ import annotations

from collections.abc import Callable
from tokenize import TokenError
from typing import NamedTuple

import cv2
import numpy as np

from bloodcell_core import workspace
from bloodcell_core.cells import Box, cell_square, cut_square, find_cells
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.parallel import picture_threads
from bloodcell_core.errors import LabError

VIEWS = ("frame", "cell")
BATCH = 256


class View(NamedTuple):
    pixels: np.ndarray
    """uint8, size×size×3, RGB."""
    box: Box
    """What part of the picture it shows; the whole of it for a frame view."""
    found: bool
    """False where a cell view found no white cell and fell back to the picture's middle."""


def make_view(picture: np.ndarray, view: str, size: int) -> View:
    """The picture (uint8 H×W×3 RGB) as the network sees it.

    `frame`: the whole picture resized, its proportions not kept, as the original analysis did. `cell`: a square
    around the largest white cell, or around the picture's middle where none is found.
    """
    height, width = picture.shape[:2]
    if view == "frame":
        return View(resize(picture, size), (0, 0, width, height), True)
    if view != "cell":
        raise ValueError(f"no view is called {view!r}: use {' or '.join(VIEWS)}")
    cells = find_cells(picture)
    square = cell_square(cells[0].box) if cells else _middle(width, height)
    return View(resize(cut_square(picture, square), size), square, bool(cells))


def _middle(width: int, height: int) -> Box:
    side = min(width, height)
    x, y = (width - side) // 2, (height - side) // 2
    return x, y, x + side, y + side


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """uint8 H×W×3 → size×size×3; averages areas when it shrinks (no aliasing), interpolates when it grows."""
    shrinks = min(pixels.shape[:2]) >= size
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def build_view(
    dataset: Dataset, view: str, size: int, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """All usable pictures of a dataset as a read-only memory map, uint8 (N, size, size, 3), RGB.

    Built on first use and kept; row i is row i of `dataset.pictures`. A build that is killed leaves nothing that
    counts and is simply built again.
    """
    file = workspace.view_file(dataset.name, view, size)
    total = len(dataset.pictures)
    if not file.exists():
        with workspace.write_atomic(file) as temporary:
            rows = np.lib.format.open_memmap(temporary, "w+", np.uint8, (total, size, size, 3))
            with picture_threads() as pool:
                for start in range(0, total, BATCH):
                    batch = range(start, min(start + BATCH, total))
                    rows[start : batch.stop] = list(
                        pool.map(lambda row: make_view(dataset.read_original(row), view, size).pixels, batch)
                    )
                    if progress:
                        progress(batch.stop, total)
            rows.flush()
    try:
        built: np.ndarray = np.lib.format.open_memmap(file, "r")
    except (ValueError, SyntaxError, TokenError):  # a header that numpy can't make sense of, or too short a file
        built = np.empty(0, np.uint8)
    if built.dtype != np.uint8 or built.shape != (total, size, size, 3):
        raise LabError(f"the {view} view of {dataset.name!r} is damaged: delete {file} and it is built again")
    return built
