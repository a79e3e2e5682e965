"""Points of interest of a picture, and how the points of two pictures agree.

A point (SIFT, Lowe 2004) is a place that would be found again in a turned, shifted, zoomed or recompressed copy, with
128 numbers that describe what lies around it. Two pictures show the same where many of their points look alike and
one transform carries the places of the one to those of the other (RANSAC, Fischler and Bolles 1981).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

POINTS = 400  # at most, of a picture
MAX_RATIO = 0.9  # of the distances to a point's nearest and second nearest look-alike
MAX_ERROR = 4.0  # pixels between a point and where the transform puts it
SCALES = (0.6, 1.7)  # of one picture to the other
MAX_STRETCH = 1.6  # of one direction against the other

# SIFT's numbers are 4×4 fields of 8 directions, turned to the point's own direction: a mirror swaps the rows of fields
# and negates the directions.
MIRRORED = np.arange(128).reshape(4, 4, 8)[::-1, :, -np.arange(8) % 8].ravel()


class Points(NamedTuple):
    """The points of one picture, the strongest first."""

    places: np.ndarray
    """float32 (N, 2), x and y in pixels."""
    looks: np.ndarray
    """uint8 (N, 128), SIFT descriptors."""
    width: int
    """Of the picture that the points were found in, in pixels."""
    grey: np.ndarray
    """uint8 H×W, that picture, or a smaller one of it."""

    def mirrored(self) -> Points:
        """The points of the picture's mirror image."""
        places = np.column_stack([self.width - 1 - self.places[:, 0], self.places[:, 1]])
        return Points(places, self.looks[:, MIRRORED], self.width, np.ascontiguousarray(self.grey[:, ::-1]))


class Fit(NamedTuple):
    """How one picture lies on another."""

    agreeing: int
    """Points of the one that have their like in the other where the transform puts them."""
    transform: np.ndarray | None
    """float64 2×3, from places in the one to places in the other; None where there is none."""


NO_FIT = Fit(0, None)


def find_points(picture: np.ndarray) -> Points:
    """The points of a picture (uint8 H×W×3 RGB); a plain one has none."""
    # The low contrast threshold finds points in pale, blurred smears too.
    sift = cv2.SIFT.create(nfeatures=POINTS, contrastThreshold=0.01)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    found, looks = sift.detectAndCompute(grey, None)
    if looks is None:
        return Points(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8), grey.shape[1], grey)
    order = np.argsort([-point.response for point in found], kind="stable")
    places = np.array([point.pt for point in found], np.float32)
    return Points(places[order], looks[order].astype(np.uint8), grey.shape[1], grey)


def rooted(looks: np.ndarray) -> np.ndarray:
    """RootSIFT descriptors (Arandjelović and Zisserman 2012), float32 (N, 128) of length 1: roots of shares."""
    looks = looks.astype(np.float32)
    return np.asarray(np.sqrt(looks / np.maximum(looks.sum(axis=1, keepdims=True), 1)))


def fit_points(one: Points, other: Points) -> Fit:
    """The transform under which most points of one picture lie where the other has their like, the same way round."""
    if min(len(one.places), len(other.places)) < 2:
        return NO_FIT
    # Squared distances of all pairs by one matrix product: all descriptors have length 1.
    alike = rooted(one.looks) @ rooted(other.looks).T
    nearest = alike.argmax(axis=1)
    rows = np.arange(len(alike))
    best = alike[rows, nearest]
    mutual = alike.argmax(axis=0)[nearest] == rows
    alike[rows, nearest] = -1
    # Lowe's ratio test, on squared distances; a point of the one is taken by one point of the other alone.
    clear = mutual & ((2 - 2 * best) < MAX_RATIO**2 * (2 - 2 * alike.max(axis=1)))
    if clear.sum() < 4:
        return NO_FIT
    return _agreement(one.places[clear], other.places[nearest[clear]])


def _agreement(here: np.ndarray, there: np.ndarray) -> Fit:
    """Fits rotation, zoom and shift, then lets the fit shear and stretch a little, as the public archive's copies do.

    Looked for as one, the six numbers of the second step would agree by chance in more points.
    """
    turned, _ = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=MAX_ERROR)
    if turned is None or not SCALES[0] < np.hypot(turned[0, 0], turned[1, 0]) < SCALES[1]:
        return NO_FIT
    flat = np.column_stack([here, np.ones(len(here))])
    transform, agreeing = turned, _agreeing(flat, there, turned, MAX_ERROR)
    near = _agreeing(flat, there, turned, 2 * MAX_ERROR)
    for _ in range(2):
        if near.sum() < 5:
            break
        loose = np.linalg.lstsq(flat[near], there[near], rcond=None)[0].T
        near = _agreeing(flat, there, loose, MAX_ERROR)
        large, small = np.linalg.svd(loose[:, :2], compute_uv=False)
        if near.sum() > agreeing.sum() and large < MAX_STRETCH * small:
            transform, agreeing = loose, near
    return Fit(int(agreeing.sum()), transform)


def _agreeing(flat: np.ndarray, there: np.ndarray, transform: np.ndarray, error: float) -> np.ndarray:
    return np.asarray(np.linalg.norm(flat @ transform.T - there, axis=1) < error)
