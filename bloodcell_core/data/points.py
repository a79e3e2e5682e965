"""Keypoints of a picture, and how many of those of two pictures agree.

A keypoint (SIFT, Lowe 2004) is a place that would be found again in a rotated, shifted, zoomed or recompressed copy,
with a descriptor, 128 numbers, of its surroundings. Two pictures show the same thing if many of their descriptors match
and one transform maps the places of the one to those of the other (RANSAC, Fischler and Bolles 1981).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

POINTS = 400  # at most, of a picture
MAX_RATIO = 0.9  # of the distances to the nearest and the second nearest descriptor (Lowe's ratio test)
MAX_ERROR = 4.0  # pixels between a keypoint and its match after the transform
SCALES = (0.6, 1.7)  # allowed zoom between two pictures
MAX_STRETCH = 1.6  # largest ratio of the scales along two directions

# A SIFT descriptor has 4×4 cells of 8 gradient directions, relative to the keypoint's own direction: a mirror reverses
# the rows of cells and negates the directions.
MIRRORED = np.arange(128).reshape(4, 4, 8)[::-1, :, -np.arange(8) % 8].ravel()


class Points(NamedTuple):
    """The keypoints of one picture, the strongest first."""

    places: np.ndarray
    """float32 (N, 2), x and y in pixels."""
    looks: np.ndarray
    """uint8 (N, 128), SIFT descriptors."""
    width: int
    """Of the picture in which they were found, in pixels."""
    grey: np.ndarray
    """uint8 H×W, that picture, or a smaller one of it."""

    def mirrored(self) -> Points:
        """The keypoints of the picture's mirror image."""
        places = np.column_stack([self.width - 1 - self.places[:, 0], self.places[:, 1]])
        return Points(places, self.looks[:, MIRRORED], self.width, np.ascontiguousarray(self.grey[:, ::-1]))


class Fit(NamedTuple):
    """How one picture maps to another."""

    agreeing: int
    """Matches that agree with the transform (inliers)."""
    transform: np.ndarray | None
    """float64 2×3, from places in the one to places in the other; None where none fits."""


NO_FIT = Fit(0, None)


def find_points(picture: np.ndarray) -> Points:
    """The keypoints of a picture (uint8 H×W×3 RGB); a plain one has none."""
    # The low contrast threshold finds keypoints in pale, blurred smears too.
    sift = cv2.SIFT.create(nfeatures=POINTS, contrastThreshold=0.01)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    found, looks = sift.detectAndCompute(grey, None)
    if looks is None:
        return Points(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8), grey.shape[1], grey)
    order = np.argsort([-point.response for point in found], kind="stable")
    places = np.array([point.pt for point in found], np.float32)
    return Points(places[order], looks[order].astype(np.uint8), grey.shape[1], grey)


def rooted(looks: np.ndarray) -> np.ndarray:
    """RootSIFT descriptors (Arandjelović and Zisserman 2012), float32 (N, 128) of length 1: square roots of shares."""
    looks = looks.astype(np.float32)
    return np.asarray(np.sqrt(looks / np.maximum(looks.sum(axis=1, keepdims=True), 1)))


def fit_points(one: Points, other: Points) -> Fit:
    """The transform under which most keypoints of one picture lie on their match in the other, without mirroring."""
    if min(len(one.places), len(other.places)) < 2:
        return NO_FIT
    # Squared distances of all pairs by one matrix product: all descriptors have length 1.
    alike = rooted(one.looks) @ rooted(other.looks).T
    nearest = alike.argmax(axis=1)
    rows = np.arange(len(alike))
    best = alike[rows, nearest]
    mutual = alike.argmax(axis=0)[nearest] == rows
    alike[rows, nearest] = -1
    # Lowe's ratio test, on squared distances, and mutual nearest neighbours only.
    clear = mutual & ((2 - 2 * best) < MAX_RATIO**2 * (2 - 2 * alike.max(axis=1)))
    if clear.sum() < 4:
        return NO_FIT
    return _agreement(one.places[clear], other.places[nearest[clear]])


def _agreement(here: np.ndarray, there: np.ndarray) -> Fit:
    """Fits rotation, zoom and shift, then refines that with a little shear and stretch, as the archive's copies have.

    Searched for at once, the six parameters of the second step would agree by chance in more keypoints.
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
