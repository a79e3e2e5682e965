"""Where a picture has nuclear stain: used to find cells and to measure colours.

A nucleus is blue-violet, everything else in a smear is pink, tan or white: in a nucleus blue is well above green, and
in (B - G) / (B + G) the brightness cancels out.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

# In the whole program OpenCV computes in the calling thread: many pictures are divided among threads of our own
# (data/parallel.py), with which OpenCV's would compete for the cores, and on one small picture threads cost more time
# than they save.
cv2.setNumThreads(1)

MEASURING_SIDE = 240  # pixels of the longer side, to which a picture is shrunk before it is measured
BLACK = 40  # B + G below this is black: the borders of rotated copies
MIN_STAIN = 0.08  # of (B-G)/(B+G): an Otsu threshold below it splits background from red cells, not nuclei

# Lookup tables: a pixel's green and blue bytes, read as one number of 16 bits, are the index.
_GREEN, _BLUE = np.arange(2**16, dtype=np.uint16).view(np.uint8).reshape(-1, 2).T.astype(np.float32)
_LIT = _GREEN + _BLUE >= BLACK
_AMOUNT = np.where(_LIT, (_BLUE - _GREEN) / (_BLUE + _GREEN + 1), 0)
_LEVEL = np.clip(_AMOUNT * 500, 0, 255).astype(np.uint8)


class Stain(NamedTuple):
    """A picture and its nuclear stain."""

    picture: np.ndarray
    """uint8 H×W×3 RGB."""
    green: np.ndarray
    """uint8 H×W, smoothed."""
    nuclei: np.ndarray
    """uint8 H×W, 1 where nuclear stain is."""
    lit: np.ndarray
    """bool H×W, False on black borders."""


def stain_of(picture: np.ndarray) -> Stain:
    """The stain of a picture (uint8 H×W×3 RGB) at its own size, by Otsu's threshold."""
    pairs = cv2.GaussianBlur(cv2.merge([cv2.extractChannel(picture, channel) for channel in (1, 2)]), (0, 0), 1.2)
    numbers = pairs.view(np.uint16)[:, :, 0].astype(np.intp)
    threshold, _ = cv2.threshold(_LEVEL.take(numbers), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    nuclei = (_AMOUNT.take(numbers) > max(threshold / 500, MIN_STAIN)).view(np.uint8)
    nuclei = cv2.morphologyEx(nuclei, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    return Stain(picture, cv2.extractChannel(pairs, 0), nuclei, _LIT.take(numbers))


def measured_stain(picture: np.ndarray) -> Stain:
    """The stain of a picture (uint8 H×W×3 RGB) of any size, shrunk to at most MEASURING_SIDE first."""
    height, width = picture.shape[:2]
    by = max(MEASURING_SIDE / max(height, width), 1 / min(height, width))  # of a strip a row of pixels is left
    return stain_of(cv2.resize(picture, None, fx=by, fy=by, interpolation=cv2.INTER_AREA) if by < 1 else picture)


def shrinks_evenly(height: int, width: int) -> bool:
    """Whether `measured_stain` leaves a picture as it is, or shrinks both its sides to whole numbers of pixels.

    Only then is the stain the same to the last bit whether the picture is resized by a factor or to a size.
    """
    longer = max(height, width)
    return longer <= MEASURING_SIDE or min(height, width) * MEASURING_SIDE % longer == 0
