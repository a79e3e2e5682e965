"""What is measured on each picture once, at import, so that an audit reads a table and no picture.

All but the cells are measured at a common working size, so that they compare across pictures of any size, and leave
out the black border of turned copies.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from bloodcell_core.cells import Box, search

WORKING_SIDE = 240  # pixels of the longer side; at 160 a blur of 1.5 of 320 pixels was told from none too seldom
BLACK = 24  # grey value below which a pixel is black: JPEG's ringing lifts a black border to that
WHITE = 250
BACKGROUND = 0.75  # of the pixels are darker than the background of even a crowded picture
RIM = 4  # pixels beside a black border that blurring and scaling mix with it
FINE, COARSE = 0.7, 1.5  # pixels of blur before the two looks at a picture's edges
WAVES = 16  # across and down, in a look


class PictureFacts(NamedTuple):
    """A picture in figures; the field names are columns of images.parquet."""

    mode: str
    """How the file stores it (see `pictures.stored_mode`)."""
    brightness: float
    """Median grey value, 0…255, of the background: the brightest quarter, so that crowded cells don't count as dark."""
    clipped: float
    """Share, 0…1, of pixels at full white or at black: more or less light than the camera could record."""
    focus: float
    """How much steeper edges are than after a blur: 1 for a flat picture, 1.1 blurred, from 1.2 sharp."""
    black_border: float
    """Share, 0…1, of the picture that is black all the way to its edge."""
    stain_a: float
    """Median Lab a of the background: from green, below 0, to red."""
    stain_b: float
    """Median Lab b of the background: from blue, below 0, to yellow."""
    cells: int
    """White cells found."""
    cell_area: float | None
    """Of the largest nucleus found, in pixels of the picture."""
    red_radius: float | None
    """Of the red cells, in pixels of the picture; empty where none is seen clearly."""
    box_x0: int | None
    """Left edge of the white cell's box (a `cells.Box`): the one that the source tells, or the largest nucleus."""
    box_y0: int | None
    box_x1: int | None
    box_y1: int | None
    box_told: bool
    look: bytes
    """32 bytes; pictures that look alike differ in few of their bits (see `_look`)."""


def facts_of(mode: str, pixels: np.ndarray, box: Box | None = None) -> PictureFacts:
    """The facts of a picture (uint8 H×W×3 RGB); `box` where its source tells where the white cell is."""
    grey = _to_working_size(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    border = _black_border(grey)
    shown = cv2.dilate(border, np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)) == 0
    if not shown.any():
        shown[:] = True  # nothing but border: then that is the picture
    counts = np.bincount(grey[shown], minlength=256)
    up_to = counts.cumsum() / counts.sum()
    background = shown & (grey >= np.searchsorted(up_to, BACKGROUND))
    # One pixel of nine, unsmoothed, tells a median as well as all of them do.
    colours = cv2.resize(pixels, grey.shape[::-1], interpolation=cv2.INTER_NEAREST)[background][::9]
    lab = cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    found = search(pixels)
    largest = found.cells[0] if found.cells else None
    stain_a, stain_b = np.median(lab[:, 1:], axis=0)
    x0, y0, x1, y1 = box or (largest.box if largest else (None, None, None, None))
    return PictureFacts(
        mode,
        float(np.searchsorted(up_to, (1 + BACKGROUND) / 2)),
        float((counts[:BLACK].sum() + counts[WHITE:].sum()) / counts.sum()),
        focus_of(grey, shown),
        float(border.mean()),
        float(stain_a),
        float(stain_b),
        len(found.cells),
        largest.area if largest else None,
        found.red_radius,
        x0,
        y0,
        x1,
        y1,
        box is not None,
        _look(grey, shown),
    )


def _to_working_size(grey: np.ndarray) -> np.ndarray:
    height, width = grey.shape
    scale = WORKING_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _black_border(grey: np.ndarray) -> np.ndarray:
    """uint8 H×W, 1 where a picture is black all the way to its edge."""
    dark = (grey < BLACK).astype(np.uint8)
    framed = cv2.copyMakeBorder(dark, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(framed, None, (0, 0), 2)
    return np.equal(framed[1:-1, 1:-1], 2).astype(np.uint8)


def focus_of(grey: np.ndarray, shown: np.ndarray | None = None) -> float:
    """How sharp a grey picture (uint8 H×W) is, where it is `shown` (bool H×W) or all over.

    Gradients of the picture over those of a blurred copy: sharp edges lose most by a blur (Crete et al. 2007).
    A ratio, so that contrast and the number of edges cancel out. The variance of the Laplacian, the usual measure, puts
    sharp pictures last, too, that are pale or sparse.
    """
    where = None if shown is None else shown.view(np.uint8)
    fine, coarse = (_steepness(cv2.GaussianBlur(grey, (0, 0), blur), where) for blur in (FINE, COARSE))
    return float(np.sqrt((1 + fine) / (1 + coarse)))


def _steepness(grey: np.ndarray, where: np.ndarray | None) -> float:
    """Squared gradients, added up where `where` isn't 0; whole numbers, so that their order doesn't matter."""
    return sum(cv2.norm(slope, cv2.NORM_L2SQR, where) for slope in cv2.spatialGradient(grey))


def _look(grey: np.ndarray, shown: np.ndarray) -> bytes:
    """A perceptual hash of a grey picture (uint8 H×W): the signs of its 16×16 longest waves (cosine transform).

    Scaling, recompression and other light change few of the 256 bits; two unrelated pictures differ in about half.
    A black border is painted grey: two alike on unrelated pictures would make them look alike.
    """
    painted = np.where(shown, grey, np.uint8(grey[shown].mean()))
    square = cv2.resize(painted, (4 * WAVES, 4 * WAVES), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(square)[:WAVES, :WAVES]
    waves[0, 0] = 0  # the mean, which is always above 0
    return np.packbits(waves > 0).tobytes()
