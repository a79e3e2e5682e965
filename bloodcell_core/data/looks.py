"""Image statistics of a view, the square that a network sees: stain, light, sharpness, scale.

They tell whether a cell is like the training cells, and why not in words that a person understands; the network's own
features do the rest (evaluation/likeness.py).
"""

from __future__ import annotations

import cv2
import numpy as np

from bloodcell_core.cells import Place
from bloodcell_core.data.facts import focus_of

STAIN, LIGHT, SHARPNESS, SCALE = "stain", "light", "sharpness", "scale"

LOOKS = (
    ("dark_a", STAIN), ("dark_b", STAIN), ("middle_a", STAIN), ("middle_b", STAIN), ("bright_a", STAIN),
    ("bright_b", STAIN), ("spread_a", STAIN), ("spread_b", STAIN), ("dark_light", LIGHT), ("middle_light", LIGHT),
    ("bright_light", LIGHT), ("spread_light", LIGHT), ("focus", SHARPNESS), ("grain", SHARPNESS),
    ("nucleus_size", SCALE),
)  # fmt: skip
"""The statistics and what each is about. "dark" is the darkest quarter of the view's pixels (the nucleus), "bright" the
brightest (background)."""


UNITS, MIDDLE = np.array((100 / 255, 1, 1)), np.array((0, 128, 128))  # of Lab in 8 bits


def look_of(pixels: np.ndarray, place: Place | None) -> np.ndarray:
    """The statistics `LOOKS` of a view: float64 (15,).

    Args:
        pixels: uint8 size×size×3 RGB.
        place: where the white cell is in the picture that the view was cut from.

    Returns:
        CIELAB values; the logarithms of focus and grain; the logarithm of the nucleus's longer side in radii of a red
        cell, NaN where no nucleus or red cell is seen.
    """
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)  # 8 bits take an eighth of the time of floats, and are exact enough
    grey = cv2.extractChannel(lab, 0)
    up_to = np.bincount(grey.ravel(), minlength=256).cumsum() / grey.size
    low, high = np.searchsorted(up_to, (0.25, 0.75))
    parts = (cv2.inRange(grey, 0, int(low)), cv2.inRange(grey, int(low), int(high)), cv2.inRange(grey, int(high), 255))
    dark, middle, bright = (np.array(cv2.mean(lab, part)[:3]) * UNITS - MIDDLE for part in parts)
    spread = cv2.meanStdDev(lab)[1][:, 0] * UNITS
    focus = focus_of(grey)
    grain = cv2.norm(cv2.Laplacian(grey, cv2.CV_16S), cv2.NORM_L1) / grey.size
    return np.array(
        [
            *dark[1:], *middle[1:], *bright[1:], *spread[1:], dark[0], middle[0], bright[0], spread[0],
            np.log(focus), np.log(1 + grain), _nucleus_size(place),
        ],
        np.float64,
    )  # fmt: skip


def _nucleus_size(place: Place | None) -> float:
    if place is None or place.box is None or not place.red_radius:
        return np.nan
    x0, y0, x1, y1 = place.box
    return float(np.log(max(x1 - x0, y1 - y0) / place.red_radius))
