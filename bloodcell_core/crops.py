"""The square around a white cell that a network sees: its size, how it is cut out, and how it is padded."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from bloodcell_core.cells import USUAL_NUCLEUS, Box, percentile, percentiles
from bloodcell_core.stain import BLACK

VIEWS = ("frame", "cell")
"""What a network sees: the whole picture, or a square around its white cell."""
BORDERS = ("edge", "reflect", "background", "black")
"""The picture's edge repeated, the picture mirrored, its background's colour, or black."""
REPEATED = {"edge": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT_101}
AS_THEY_ARE, BALANCED = COLOURS = ("as they are", "balanced")
"""As photographed, or as `bloodcell_core.data.colours.balance` makes them."""


class Crop(NamedTuple):
    """How a picture becomes a view: the size of the square around a nucleus, its padding and its colours.

    The square's side is `scale` × the nucleus's longer side + `margin` × a red cell's radius. The defaults were
    measured: docs/cell-finder.md.
    """

    scale: float = 2.0
    margin: float = 0.0
    border: str = "background"
    """What is shown outside the picture, one of BORDERS."""
    colours: str = AS_THEY_ARE
    """One of COLOURS; whole pictures have them, too."""


DEFAULT_CROP = Crop()


def cell_square(nucleus: Box, red_radius: float | None, crop: Crop = DEFAULT_CROP) -> Box:
    """The square around a nucleus that holds its whole cell; it may extend beyond the picture.

    Without a `red_radius` (pixels) the nucleus is taken to be of USUAL_NUCLEUS.
    """
    x0, y0, x1, y1 = nucleus
    longer = max(x1 - x0, y1 - y0)
    side = max(1, round(crop.scale * longer + crop.margin * (red_radius or longer / USUAL_NUCLEUS)))
    x, y = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return x, y, x + side, y + side


def square_of_other(square: Box, crop: Crop, other: Crop) -> Box:
    """The square that `other` cuts around the cell of a `square` that `crop` cut, or that a person drew as such.

    Where they have margins, the nucleus is taken to be of USUAL_NUCLEUS.
    """
    times, own = (each.scale + each.margin / USUAL_NUCLEUS for each in (other, crop))
    if times == own:
        return square
    x0, y0, x1, y1 = square
    side = max(1, round((x1 - x0) * times / own))
    x, y = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return x, y, x + side, y + side


def middle_square(width: int, height: int, red_radius: float | None, crop: Crop = DEFAULT_CROP) -> Box:
    """The square that is cut where no white cell is found: of a usual cell's size, in the picture's middle."""
    side = min(width, height)
    if red_radius:
        x0, _, x1, _ = cell_square((0, 0, round(USUAL_NUCLEUS * red_radius), 0), red_radius, crop)
        side = min(side, x1 - x0)
    x, y = (width - side) // 2, (height - side) // 2
    return x, y, x + side, y + side


def cut_square(picture: np.ndarray, square: Box, border: str = DEFAULT_CROP.border) -> np.ndarray:
    """The pixels of a square (uint8 side×side×3 RGB), padded by `border`, one of BORDERS, outside the picture.

    A square that lies beside the picture is all background, black or the picture's.
    """
    x0, y0, x1, y1 = square
    height, width = picture.shape[:2]
    pads = top, bottom, left, right = max(0, -y0), max(0, y1 - height), max(0, -x0), max(0, x1 - width)
    inside = picture[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)]
    if border in REPEATED and inside.size:
        return cv2.copyMakeBorder(inside, top, bottom, left, right, REPEATED[border])
    colour = _background(picture) if border == "background" and any(pads) else (0, 0, 0)
    if not inside.size:
        return np.full((y1 - y0, x1 - x0, 3), np.rint(colour), np.uint8)
    return cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_CONSTANT, value=colour)


def _background(picture: np.ndarray) -> tuple[float, ...]:
    """The colour behind the cells: the median of the brightest quarter, black borders left out."""
    colours = picture[::4, ::4].reshape(-1, 3)
    green = colours[:, 1]
    lit = green[green > BLACK / 2]
    bright = colours[green >= percentile(lit, 75)] if len(lit) else colours
    return tuple(percentiles(bright, 50).tolist())
