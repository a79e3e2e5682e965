"""Colours as if one microscope and one stain had made all pictures.

Lamp, camera and stain colour a picture as a whole, and a network trained at one laboratory takes another's cells for
something else. Three things are in nearly every picture of a white cell: empty glass, red cells, and a nucleus.
`balance` scales a picture so that the three have usual colours; what lies between keeps its place between them.

Stains add up in absorbance (optical density: Beer and Lambert), so that is where it is done: each pixel is taken apart
into nucleus stain, red cells' colour and a rest, as Ruifrok and Johnston (2001) do, by directions that are measured in
the picture itself. What it is worth: docs/experiments.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from bloodcell_core.stain import Stain, measured_stain

GLASS = np.array((235.0, 232.0, 236.0))
"""R, G, B of empty glass after balancing."""
RED_CELLS = np.array((0.15, 0.30, 0.20))
"""Absorbance of red cells in R, G, B after balancing, natural logarithm."""
NUCLEUS = np.array((1.00, 1.25, 0.35))
"""Absorbance of nuclei."""

AROUND = np.ones((9, 9), np.uint8)  # around nuclei lies cytoplasm, around black borders their blur
INSIDE = np.ones((3, 3), np.uint8)
MIN_PIXELS, MIN_NUCLEUS_PIXELS = 100, 20  # of glass and red cells each, and of nuclei, or colours can't be told
MIN_RED, MIN_NUCLEUS = 0.03, 0.05  # less absorbance is no stain
LOGARITHMS = np.log(np.arange(256).clip(1))  # of a pixel's values
VALUES = np.stack([LOGARITHMS, np.arange(256.0), LOGARITHMS])  # of red cells, glass and nuclei
# Not the brightest of the glass, which is glare, nor its darker part, the edges of cells.
SHARES = np.array((0.5, 0.6, 0.5))
LARGEST_COSINE = math.cos(math.radians(5))  # of the angle between the two stains: nearer ones can't be told apart


class Colours(NamedTuple):
    """What was measured in a picture."""

    glass: np.ndarray
    """float (3,): R, G, B."""
    nucleus: np.ndarray
    """float (3,): absorbance, natural logarithm of glass over nucleus."""
    red_cells: np.ndarray
    """float (3,): absorbance."""


def measure(picture: np.ndarray, stain: Stain | None = None) -> Colours | None:
    """The colours of glass, nuclei and red cells in a picture (uint8 H×W×3 RGB); None where one of them isn't seen.

    `stain`, its `measured_stain`, saves working it out again.
    """
    small, _, nuclei, lit = stain or measured_stain(picture)
    # Masks are 1 and 0, as OpenCV wants them: this is done for each cell that is classified.
    picture_proper = cv2.erode(lit.view(np.uint8), AROUND)
    smear = cv2.subtract(picture_proper, cv2.dilate(nuclei, AROUND))  # 0 - 1 is 0
    inside = cv2.bitwise_and(picture_proper, cv2.erode(nuclei, INSIDE))
    if cv2.countNonZero(smear) < 2 * MIN_PIXELS or cv2.countNonZero(inside) < MIN_NUCLEUS_PIXELS:
        return None
    channels = cv2.split(small)
    green = channels[1]
    threshold, _ = cv2.threshold(green[smear.view(bool)], 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    bright = smear & (green > threshold).view(np.uint8)
    # Each pixel's part: 1 is the darker smear, 2 the bright one, 3 the nuclei's inside. All are counted at once.
    parts = smear + bright + 3 * inside
    counts = np.array([cv2.calcHist([channel, parts], [1, 0], None, [4, 256], [0, 4, 0, 256]) for channel in channels])
    up_to = counts.cumsum(axis=2).swapaxes(0, 1)[1:]
    if up_to[:2, 0, -1].min() < MIN_PIXELS:
        return None
    of_rest, of_bright, of_inside = _quantiles(up_to)
    glass = of_bright.clip(1)
    red_cells = (np.log(glass) - of_rest).clip(MIN_RED)
    nucleus = (np.log(glass) - of_inside).clip(MIN_NUCLEUS)
    cosine = nucleus @ red_cells / math.sqrt((nucleus @ nucleus) * (red_cells @ red_cells))
    return Colours(glass, nucleus, red_cells) if cosine < LARGEST_COSINE else None


def balance(pixels: np.ndarray, measured: Colours | None) -> np.ndarray:
    """`pixels` (uint8 H×W×3 RGB) with glass, nuclei and red cells in the usual colours.

    `measured` is what `measure` found in the picture that they are of; where it is None they stay as they are.
    """
    if measured is None:
        return pixels
    own = _directions(measured.nucleus, measured.red_cells)
    absorbance = cv2.LUT(pixels, (np.log(measured.glass) - LOGARITHMS[:, None])[:, None])
    # The logarithms of what is left of the usual glass's light.
    left = cv2.transform(absorbance, np.column_stack([-USUAL @ np.linalg.inv(own), np.log(GLASS)]))
    return cv2.convertScaleAbs(cv2.exp(left))


def _quantiles(up_to: np.ndarray) -> np.ndarray:
    """(parts, 3): of each part's pixels the quantile of `VALUES` at `SHARES`; sorting would be slow.

    `up_to` (parts, 3, 256) is how many of a part's pixels have a channel's value or a lower one.
    """
    place = SHARES * (up_to[:, 0, -1] - 1)
    ranks = np.stack([np.floor(place), np.ceil(place)])
    at = (up_to <= ranks[:, :, None, None]).sum(axis=3)
    low, high = np.take_along_axis(VALUES[None], at, axis=2)
    between: np.ndarray = low + (high - low) * (place % 1)[:, None]
    return between


def _directions(nucleus: np.ndarray, red_cells: np.ndarray) -> np.ndarray:
    """(3, 3): as columns the two stains, and across both, at length 1, what is neither."""
    (a, b, c), (d, e, f) = nucleus.tolist(), red_cells.tolist()
    across = np.array((b * f - c * e, c * d - a * f, a * e - b * d))  # np.cross takes longer than all else here
    return np.array([nucleus, red_cells, across / math.sqrt(across @ across)]).T


USUAL = _directions(NUCLEUS, RED_CELLS)
