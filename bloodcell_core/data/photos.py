"""Traces pictures to the photograph that they are copies of, by what they show.

Points of interest (SIFT, Lowe 2004) are matched between a picture and the photographs, each also mirrored; the
photograph whose points agree with the picture's under one rotation, scale and shift (RANSAC) is its source. File
names play no part: in the public archive they mislead.

Measured in benchmarks/bench_tracing.py; the figures are in docs/source-photos.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

POINTS = 400  # at most, of a picture or photograph
VOTING_POINTS = 150  # the strongest of a picture's points choose the photographs that are looked at closely
CANDIDATES = 3
MAX_ERROR = 4.0  # pixels between a point and where the transform puts it
SCALES = (0.6, 1.7)  # of picture to photograph, once both are the same width
MIN_AGREEING = 15  # points; unrelated photographs agree in fewer
MIN_MARGIN = 5  # points more than the next photograph has


class Trace(NamedTuple):
    """Where a picture comes from."""

    photo: int | None
    """The photograph's place in the list, or None where none is certain."""
    agreeing: int
    """Points that agree with the best photograph."""
    runner_up: int
    """Points that agree with the next best one."""


class _Points(NamedTuple):
    places: np.ndarray
    """float32 (N, 2), x and y."""
    looks: np.ndarray
    """float32 (N, 128), RootSIFT descriptors."""
    strengths: np.ndarray


class PhotoIndex:
    """The points of some photographs, ready to be asked. Safe to use from several threads."""

    def __init__(self, photographs: Sequence[np.ndarray], width: int):
        """`photographs`: uint8 H×W×3 RGB; `width`: that of the pictures to be traced, in pixels."""
        both = [turned for photo in photographs for turned in (photo, np.ascontiguousarray(photo[:, ::-1]))]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._points = list(pool.map(lambda photo: _find_points(_to_width(photo, width)), both))
        self._owners = np.repeat(np.arange(len(both)), [len(points.places) for points in self._points])
        self._matcher = cv2.FlannBasedMatcher({"algorithm": 1, "trees": 4}, {"checks": 32})
        self._matcher.add([np.concatenate([points.looks for points in self._points])])
        self._matcher.train()

    def trace(self, picture: np.ndarray) -> Trace:
        """The source of a picture (uint8 H×W×3 RGB)."""
        points = _find_points(picture)
        if len(points.places) < MIN_AGREEING:
            return Trace(None, 0, 0)
        agreeing: dict[int, int] = {}
        for turned in self._candidates(points):
            photo, count = turned // 2, _count_agreeing(points, self._points[turned])
            agreeing[photo] = max(count, agreeing.get(photo, 0))
        best, second, *_ = sorted(agreeing.values(), reverse=True) + [0, 0]
        photo = max(agreeing, key=agreeing.__getitem__)
        certain = best >= MIN_AGREEING and best - second >= MIN_MARGIN
        return Trace(photo if certain else None, best, second)

    def _candidates(self, points: _Points) -> list[int]:
        """The turned photographs that most of the picture's strongest points resemble."""
        strongest = np.argsort(-points.strengths)[:VOTING_POINTS]
        nearest = self._matcher.match(points.looks[strongest])
        votes = np.bincount(
            [self._owners[match.trainIdx] for match in nearest], minlength=len(self._points)
        )
        return [int(turned) for turned in np.argsort(-votes, kind="stable")[:CANDIDATES]]


def _to_width(photo: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(photo.shape[0] * width / photo.shape[1]))
    return cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)


def _find_points(picture: np.ndarray) -> _Points:
    # The low contrast threshold finds points in pale, blurred smears too.
    sift = cv2.SIFT_create(nfeatures=POINTS, contrastThreshold=0.01)
    found, looks = sift.detectAndCompute(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), None)
    if looks is None:
        return _Points(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32), np.zeros(0))
    # RootSIFT (Arandjelović and Zisserman 2012): distances between roots of shares compare better.
    looks = np.sqrt(looks / (looks.sum(axis=1, keepdims=True) + 1e-7))
    return _Points(
        np.array([point.pt for point in found], np.float32),
        looks.astype(np.float32),
        np.array([point.response for point in found]),
    )


def _count_agreeing(picture: _Points, photo: _Points) -> int:
    """How many of the picture's points lie where one rotation, scale and shift of the photograph puts them."""
    if len(photo.places) < 2:
        return 0
    # Squared distances of all pairs by one matrix product: all descriptors have length 1.
    alike = picture.looks @ photo.looks.T
    nearest = alike.argmax(axis=1)
    rows = np.arange(len(alike))
    best = alike[rows, nearest]
    alike[rows, nearest] = -1
    clear = (2 - 2 * best) < 0.85**2 * (2 - 2 * alike.max(axis=1))  # Lowe's ratio test, on squared distances
    if clear.sum() < 4:
        return 0
    transform, agreeing = cv2.estimateAffinePartial2D(
        picture.places[clear], photo.places[nearest[clear]], ransacReprojThreshold=MAX_ERROR
    )
    if transform is None or not SCALES[0] < np.hypot(transform[0, 0], transform[1, 0]) < SCALES[1]:
        return 0
    return int(agreeing.sum())


def trace_all(
    index: PhotoIndex,
    count: int,
    read: Callable[[int], np.ndarray],
    progress: Callable[[int, int], None] | None = None,
) -> list[Trace]:
    """The source of pictures 0…count-1, each read by `read`, on all cores with few in memory at a time."""
    traces: list[Trace] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, 64):
            batch = range(start, min(start + 64, count))
            traces += pool.map(lambda row: index.trace(read(row)), batch)
            if progress:
                progress(batch.stop, count)
    return traces
