"""Image statistics of each picture, measured once at import, so that an audit reads a table and opens no picture.

All except the cells are measured at a common working size, so that pictures of any size can be compared, and without
the black borders of rotated copies.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from bloodcell_core.cells import Box, search

WORKING_SIDE = 240  # pixels of the longer side; at 160 a blur of 1.5 pixels at 320 was missed too often
BLACK = 24  # grey value below which a pixel is black: JPEG's ringing lifts a black border up to that
WHITE = 250
BACKGROUND = 0.75  # quantile of brightness from which pixels are background, even in a crowded picture
RIM = 4  # pixels beside a black border that blurring and scaling mix with it
FINE, COARSE = 0.7, 1.5  # sigma in pixels of the two blurs whose edges are compared
WAVES = 16  # frequencies across and down in a perceptual hash


class PictureFacts(NamedTuple):
    """The statistics of a picture; the field names are columns of images.parquet."""

    mode: str
    """How the file stores it (see `pictures.stored_mode`)."""
    brightness: float
    """Median grey value, 0…255, of the background: the brightest quarter, so that crowded cells don't count as dark."""
    clipped: float
    """Share, 0…1, of pixels at full white or black: more or less light than the camera could record."""
    focus: float
    """Gradients relative to those after a blur (`focus_of`): 1 in a flat picture, 1.1 in a blurred, from 1.2 in a sharp
    one."""
    black_border: float
    """Share, 0…1, of the picture that is black all the way to its edge."""
    stain_a: float
    """Median a* (CIELAB) of the background: green below 0, red above."""
    stain_b: float
    """Median b* of the background: blue below 0, yellow above."""
    cells: int
    """Number of white cells found."""
    cell_area: float | None
    """Of the largest nucleus found, in pixels of the picture."""
    red_radius: float | None
    """Of the red cells, in pixels of the picture; None where none is seen clearly."""
    box_x0: int | None
    """Left edge of the bounding box (a `cells.Box`) that the source gives, or else of the largest nucleus found."""
    box_y0: int | None
    box_x1: int | None
    box_y1: int | None
    box_told: bool
    """Whether the source gives the box."""
    look: bytes
    """Perceptual hash, 32 bytes: pictures that look alike differ in few of its bits (see `_perceptual_hash`)."""


def facts_of(mode: str, pixels: np.ndarray, box: Box | None = None) -> PictureFacts:
    """The facts of a picture (uint8 H×W×3 RGB); `box` is the white cell's, where the source gives one."""
    grey = _to_working_size(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    border = _black_border(grey)
    shown = cv2.dilate(border, np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)) == 0
    if not shown.any():
        shown[:] = True  # all of it is black: then that is the picture
    counts = np.bincount(grey[shown], minlength=256)
    up_to = counts.cumsum() / counts.sum()
    background = shown & (grey >= np.searchsorted(up_to, BACKGROUND))
    # Every ninth pixel, not smoothed, gives the median as well as all of them.
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
        _perceptual_hash(grey, shown),
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
    """The sharpness of a grey picture (uint8 H×W), where it is `shown` (bool H×W) or all over.

    The ratio of its gradients to those of a blurred copy: sharp edges lose most by a blur (Crete et al. 2007). In a
    ratio contrast and the number of edges cancel out; the usual measure, the variance of the Laplacian, ranks sharp
    pictures low if they are pale or sparse.
    """
    where = None if shown is None else shown.view(np.uint8)
    fine, coarse = (_steepness(cv2.GaussianBlur(grey, (0, 0), blur), where) for blur in (FINE, COARSE))
    return float(np.sqrt((1 + fine) / (1 + coarse)))


def _steepness(grey: np.ndarray, where: np.ndarray | None) -> float:
    """The sum of the squared gradients where `where` isn't 0. Of whole numbers, so that their order doesn't matter."""
    return sum(cv2.norm(slope, cv2.NORM_L2SQR, where) for slope in cv2.spatialGradient(grey))


def _perceptual_hash(grey: np.ndarray, shown: np.ndarray) -> bytes:
    """A perceptual hash of a grey picture (uint8 H×W): the signs of its 16×16 lowest frequencies (cosine transform).

    Scaling, recompression and other light change few of the 256 bits; two unrelated pictures differ in about half.
    Black borders are painted grey: similar ones would make unrelated pictures look alike.
    """
    painted = np.where(shown, grey, np.uint8(grey[shown].mean()))
    square = cv2.resize(painted, (4 * WAVES, 4 * WAVES), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(square)[:WAVES, :WAVES]
    waves[0, 0] = 0  # the mean, whose sign is always the same
    return np.packbits(waves > 0).tobytes()
