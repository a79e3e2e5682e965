"""Finds white cells by the nucleus's stain and cuts them out.

A nucleus is blue-violet where everything else in a smear is pink, tan or white: blue stands well above green.
Brightness cancels out of (B - G) / (B + G), so exposure hardly moves it.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in the picture's pixels; x1 and y1 are just outside."""

WORKING_SIDE = 640  # longer sides are shrunk to this before the search
MIN_CONTRAST = 0.08  # of (B-G)/(B+G): an Otsu threshold below it splits background from red cells, not nuclei
MIN_AREA, MAX_AREA = 0.002, 0.8  # of the picture, for a nucleus
MIN_SHARE = 0.25  # of the largest nucleus: platelets and stain specks are smaller
CROP_SCALE = (
    2.0  # crop's side over the nucleus box's longer side: holds the whole cell and a rim of its surroundings
)


class Cell(NamedTuple):
    box: Box
    """Of the nucleus."""
    area: float
    """Of the nucleus, in pixels of the picture."""


def find_cells(picture: np.ndarray) -> list[Cell]:
    """White cells in a picture (uint8 H×W×3 RGB), largest nucleus first; empty where there is none."""
    height, width = picture.shape[:2]
    scale = min(1.0, WORKING_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    mask = _nucleus_mask(small)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    floor = MIN_AREA * mask.size
    found = [row for row in stats[1:] if floor <= row[cv2.CC_STAT_AREA] <= MAX_AREA * mask.size]
    largest = max((row[cv2.CC_STAT_AREA] for row in found), default=0)
    cells = []
    for x, y, w, h, area in found:
        if area >= MIN_SHARE * largest:
            box = (round(x / scale), round(y / scale), round((x + w) / scale), round((y + h) / scale))
            cells.append(Cell(box, float(area) / scale**2))
    return sorted(cells, key=lambda cell: -cell.area)


def _nucleus_mask(picture: np.ndarray) -> np.ndarray:
    """uint8 H×W, 255 where nucleus stain is; lobes that nearly touch are joined."""
    smooth = cv2.GaussianBlur(picture, (0, 0), 1.5).astype(np.float32)
    green, blue = smooth[:, :, 1], smooth[:, :, 2]
    stain = (blue - green) / (blue + green + 1)
    stain[blue + green < 40] = 0  # black borders of rotated copies carry no colour
    level = np.clip(stain * 500, 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(level, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    mask = ((stain > max(threshold / 500, MIN_CONTRAST)) * 255).astype(np.uint8)
    reach = max(3, round(min(mask.shape) * 0.03)) | 1
    joined = cv2.morphologyEx(mask, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    return cv2.morphologyEx(
        joined, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    )


def cell_square(nucleus: Box) -> Box:
    """The square around a nucleus that holds its whole cell; it may reach over the picture's border."""
    x0, y0, x1, y1 = nucleus
    side = round(CROP_SCALE * max(x1 - x0, y1 - y0))
    x, y = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return x, y, x + side, y + side


def cut_square(picture: np.ndarray, square: Box) -> np.ndarray:
    """The pixels of a square; what lies outside the picture repeats its edge."""
    x0, y0, x1, y1 = square
    height, width = picture.shape[:2]
    top, bottom, left, right = max(0, -y0), max(0, y1 - height), max(0, -x0), max(0, x1 - width)
    inside = picture[max(0, y0) : min(y1, height), max(0, x0) : min(x1, width)]
    return cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_REPLICATE)
