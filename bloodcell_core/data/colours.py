"""Colour normalisation: all pictures look as if one microscope and one stain had made them.

Lamp, camera and stain colour a picture as a whole, and a network trained in one laboratory misreads another's cells.
Nearly every picture of a white cell shows three things: empty glass, red cells and a nucleus. `balance` gives these
three fixed reference colours, and all others keep their place between them.

This is done in absorbance (optical density), where stains add up (the Beer-Lambert law): each pixel is separated into
nuclear stain, the colour of red cells and a residual, as by Ruifrok and Johnston (2001), with stain vectors measured in
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

AROUND = np.ones((9, 9), np.uint8)  # left out: around nuclei the cytoplasm, around black borders their blur
INSIDE = np.ones((3, 3), np.uint8)  # left out of nuclei: their edge
MIN_PIXELS, MIN_NUCLEUS_PIXELS = 100, 20  # of glass and red cells each, and of nuclei: with fewer nothing is measured
MIN_RED, MIN_NUCLEUS = 0.03, 0.05  # less absorbance is no stain
LOGARITHMS = np.log(np.arange(256).clip(1))  # of a pixel's values
VALUES = np.stack([LOGARITHMS, np.arange(256.0), LOGARITHMS])  # of red cells, glass and nuclei
# The quantiles of each. Of glass neither the brightest part, which is glare, nor the darker one, the edges of cells.
SHARES = np.array((0.5, 0.6, 0.5))
LARGEST_COSINE = math.cos(math.radians(5))  # of the angle between the two stains: closer ones can't be separated


class Colours(NamedTuple):
    """The colours that were measured in a picture."""

    glass: np.ndarray
    """float (3,): R, G, B."""
    nucleus: np.ndarray
    """float (3,): absorbance, natural logarithm of glass over nucleus."""
    red_cells: np.ndarray
    """float (3,): absorbance."""


def measure(picture: np.ndarray, stain: Stain | None = None) -> Colours | None:
    """The colours of glass, nuclei and red cells in a picture (uint8 H×W×3 RGB).

    None where too little of one of them is seen, or the two stains can't be separated. `stain` is the picture's
    `measured_stain`, if it is known already.
    """
    small, _, nuclei, lit = stain or measured_stain(picture)
    # Masks are uint8, as OpenCV takes them: this runs for each cell that is classified, and has to be fast.
    picture_proper = cv2.erode(lit.view(np.uint8), AROUND)
    smear = cv2.subtract(picture_proper, cv2.dilate(nuclei, AROUND))  # 0 - 1 is 0
    inside = cv2.bitwise_and(picture_proper, cv2.erode(nuclei, INSIDE))
    if cv2.countNonZero(smear) < 2 * MIN_PIXELS or cv2.countNonZero(inside) < MIN_NUCLEUS_PIXELS:
        return None
    channels = cv2.split(small)
    green = channels[1]
    threshold, _ = cv2.threshold(green[smear.view(bool)], 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    bright = smear & (green > threshold).view(np.uint8)
    # Each pixel's part: 1 is red cells (the darker smear), 2 glass (the brighter smear), 3 nuclei.
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
    """`pixels` (uint8 H×W×3 RGB) with glass, nuclei and red cells in the reference colours.

    `measured` is the result of `measure` for the picture that the pixels are from; where it is None they are returned
    unchanged.
    """
    if measured is None:
        return pixels
    own = _directions(measured.nucleus, measured.red_cells)
    absorbance = cv2.LUT(pixels, (np.log(measured.glass) - LOGARITHMS[:, None])[:, None])
    # Own stain vectors → amounts of stain → reference stain vectors → the logarithm of the light.
    light = cv2.transform(absorbance, np.column_stack([-REFERENCE @ np.linalg.inv(own), np.log(GLASS)]))
    return cv2.convertScaleAbs(cv2.exp(light))


def _quantiles(up_to: np.ndarray) -> np.ndarray:
    """(parts, 3): for each part's pixels and each channel the quantile of `VALUES` at `SHARES`.

    `up_to` (parts, 3, 256) is the cumulative histogram: sorting the pixels would be slow.
    """
    place = SHARES * (up_to[:, 0, -1] - 1)
    ranks = np.stack([np.floor(place), np.ceil(place)])
    at = (up_to <= ranks[:, :, None, None]).sum(axis=3)
    low, high = np.take_along_axis(VALUES[None], at, axis=2)
    between: np.ndarray = low + (high - low) * (place % 1)[:, None]
    return between


def _directions(nucleus: np.ndarray, red_cells: np.ndarray) -> np.ndarray:
    """Stain vectors as columns, (3, 3): nuclei, red cells, and the residual, of length 1 and orthogonal to both."""
    (a, b, c), (d, e, f) = nucleus.tolist(), red_cells.tolist()
    across = np.array((b * f - c * e, c * d - a * f, a * e - b * d))  # np.cross takes longer than all the rest
    return np.array([nucleus, red_cells, across / math.sqrt(across @ across)]).T


REFERENCE = _directions(NUCLEUS, RED_CELLS)
