"""Where a picture has nucleus stain: by it cells are found, and the colours of their picture measured.

A nucleus is blue-violet where everything else in a smear is pink, tan or white: blue stands well above green, and
brightness cancels out of (B - G) / (B + G).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

# OpenCV computes in the thread that calls it, in the whole program: many pictures go over threads of our own
# (data/parallel.py), with which its threads would fight for the cores, and on one small picture they cost more than
# they bring.
cv2.setNumThreads(1)

MEASURING_SIDE = 240  # pixels, to which a picture is shrunk before it is measured
BLACK = 40  # of blue and green together: black borders of rotated copies carry no colour
MIN_STAIN = 0.08  # of (B-G)/(B+G): an Otsu threshold below it splits background from red cells, not nuclei

# What is worked out of green and blue is looked up: each pair of them, as it lies in memory, is a number of 16 bits.
_GREEN, _BLUE = np.arange(2**16, dtype=np.uint16).view(np.uint8).reshape(-1, 2).T.astype(np.float32)
_LIT = _GREEN + _BLUE >= BLACK
_AMOUNT = np.where(_LIT, (_BLUE - _GREEN) / (_BLUE + _GREEN + 1), 0)
_LEVEL = np.clip(_AMOUNT * 500, 0, 255).astype(np.uint8)


class Stain(NamedTuple):
    """A picture and its nucleus stain."""

    picture: np.ndarray
    """uint8 H×W×3 RGB."""
    green: np.ndarray
    """uint8 H×W, smoothed."""
    nuclei: np.ndarray
    """uint8 H×W, 1 where nucleus stain is."""
    lit: np.ndarray
    """bool H×W, False on black borders."""


def stain_of(picture: np.ndarray) -> Stain:
    """The stain of a picture (uint8 H×W×3 RGB) in all its pixels."""
    pairs = cv2.GaussianBlur(cv2.merge([cv2.extractChannel(picture, channel) for channel in (1, 2)]), (0, 0), 1.2)
    numbers = pairs.view(np.uint16)[:, :, 0].astype(np.intp)
    threshold, _ = cv2.threshold(_LEVEL.take(numbers), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    nuclei = (_AMOUNT.take(numbers) > max(threshold / 500, MIN_STAIN)).view(np.uint8)
    nuclei = cv2.morphologyEx(nuclei, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    return Stain(picture, cv2.extractChannel(pairs, 0), nuclei, _LIT.take(numbers))


def measured_stain(picture: np.ndarray) -> Stain:
    """The stain of a picture (uint8 H×W×3 RGB) of any size, which is shrunk to at most MEASURING_SIDE first."""
    by = MEASURING_SIDE / max(picture.shape[:2])
    return stain_of(cv2.resize(picture, None, fx=by, fy=by, interpolation=cv2.INTER_AREA) if by < 1 else picture)


def shrinks_evenly(height: int, width: int) -> bool:
    """Whether both sides of a picture have a whole number of pixels where the longer one has MEASURING_SIDE, or fewer.

    Only then its stain is the same to the last bit, whether the scale is told or the size.
    """
    longer = max(height, width)
    return longer <= MEASURING_SIDE or min(height, width) * MEASURING_SIDE % longer == 0
