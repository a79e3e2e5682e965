"""Traces pictures to the photograph that they are copies of, by what they show.

Keypoints (SIFT, Lowe 2004) are matched between a picture and the photographs, each also mirrored; the photograph with
the most keypoints that agree under one transform (RANSAC) is the source. File names are not used: in the public archive
they mislead.

Measured in benchmarks/bench_tracing.py; the figures are in docs/source-photos.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from bloodcell_core.data.parallel import picture_threads
from bloodcell_core.data.points import Fit, Points, find_points, fit_points, rooted
from bloodcell_core.progress import Progress, no_progress

WORKING_WIDTH = 160  # pixels, to which wider pictures are shrunk: two thirds of the time of 240, as many traced right
SCENE_WIDTH = 240  # pixels, of photographs that are compared with each other: at 160 two scenes fewer are found
VOTING_POINTS = 150  # the strongest of a picture's keypoints, which choose the candidates
CANDIDATES = 3  # photographs (or mirrored ones) whose keypoints are matched in full
MIN_AGREEING = 15  # keypoints; unrelated photographs agree in fewer
CLOSE = 0.9  # of the best photograph's agreeing keypoints: others of its scene with as many are compared by pixels
BLACK = 12  # grey value below which a pixel is border
MIN_MARGIN = 5  # agreeing keypoints more than with the best photograph of another scene


class Trace(NamedTuple):
    """The source of a picture."""

    photo: int | None
    """The photograph's index, or None where none is certain."""
    best: int | None
    """The photograph that agrees best, certain or not."""
    agreeing: int
    """The number of keypoints that agree with the best photograph."""


class PhotoIndex:
    """The keypoints of some photographs, indexed for search. Safe to use from several threads.

    `scenes[i]` is the scene of photograph i: the first photograph of the same cell. Some cells were photographed more
    than once, and a network that has seen one photograph of a cell knows the others, too.
    """

    def __init__(self, read: Callable[[int], np.ndarray], count: int, width: int):
        """`read(i)` gives photograph i of `count`, uint8 H×W×3 RGB; pictures to be traced are `width` pixels wide."""

        self._index(read, count, min(width, SCENE_WIDTH))
        self.scenes = list(range(count))  # each its own, until the photographs have been compared
        with picture_threads() as pool:
            alike = list(pool.map(lambda photo: self._trace(self._points[2 * photo], photo), range(count)))
        for photo, trace in enumerate(alike):
            if trace.agreeing >= MIN_AGREEING and trace.best is not None:
                low, high = sorted((self.scenes[photo], self.scenes[trace.best]))
                self.scenes = [low if scene == high else scene for scene in self.scenes]
        if width > WORKING_WIDTH:
            self._index(read, count, WORKING_WIDTH)
        self._shrink = min(1.0, WORKING_WIDTH / width)

    def _index(self, read: Callable[[int], np.ndarray], count: int, width: int) -> None:
        """Finds the keypoints of the photographs, shrunk to `width`, and indexes them for search."""

        def both_ways(photo: int) -> tuple[Points, Points]:
            points = find_points(_to_width(read(photo), width))
            return points, points.mirrored()

        with picture_threads() as pool:
            self._points = [points for pair in pool.map(both_ways, range(count)) for points in pair]
        self._owners = np.repeat(np.arange(2 * count), [len(points.places) for points in self._points])
        self._matcher = cv2.FlannBasedMatcher({"algorithm": 1, "trees": 4}, {"checks": 32})
        if len(self._owners):
            self._matcher.add([np.concatenate([rooted(points.looks) for points in self._points])])
            self._matcher.train()

    def trace(self, picture: np.ndarray) -> Trace:
        """The source of a picture (uint8 H×W×3 RGB)."""
        return self._trace(self._points_of(picture))

    def _points_of(self, picture: np.ndarray) -> Points:
        return find_points(_to_width(picture, max(1, round(picture.shape[1] * self._shrink))))

    def _trace(self, points: Points, leave_out: int | None = None) -> Trace:
        if len(points.places) < MIN_AGREEING or not len(self._owners):
            return Trace(None, None, 0)
        fits = {way: fit_points(points, self._points[way]) for way in self._candidates(points, leave_out)}
        agreeing: dict[int, int] = {}
        for way, fit in fits.items():
            agreeing[way // 2] = max(fit.agreeing, agreeing.get(way // 2, 0))
        if not agreeing:  # the only photograph, left out
            return Trace(None, None, 0)
        best = max(agreeing, key=agreeing.__getitem__)
        # Photographs of one scene agree in nearly as many keypoints; light and focus tell them apart.
        close = [
            way
            for way, fit in fits.items()
            if self.scenes[way // 2] == self.scenes[best] and fit.agreeing >= CLOSE * agreeing[best] > 0
        ]
        if len(close) > 1:
            best = max(close, key=lambda way: _likeness(points, self._points[way], fits[way])) // 2
        others = [count for photo, count in agreeing.items() if self.scenes[photo] != self.scenes[best]]
        second = max(others, default=0)
        certain = agreeing[best] >= MIN_AGREEING and agreeing[best] - second >= MIN_MARGIN
        return Trace(best if certain else None, best, agreeing[best])

    def _candidates(self, points: Points, leave_out: int | None) -> list[int]:
        """The photographs, as they are (2i) or mirrored (2i + 1), that most of the strongest keypoints resemble."""
        # A keypoint's nearest neighbours are mostly in its own photograph: where that is left out, more are needed.
        count = 1 if leave_out is None else 8
        neighbours = self._matcher.knnMatch(rooted(points.looks[:VOTING_POINTS]), k=count)
        owners = ([self._owners[match.trainIdx] for match in near] for near in neighbours)
        first = [next((way for way in near if way // 2 != leave_out), None) for near in owners]
        votes = np.bincount([way for way in first if way is not None], minlength=len(self._points))
        # One without a vote is none: of two photographs the one that is left out would be its own candidate, and win.
        return [int(way) for way in np.argsort(-votes, kind="stable")[:CANDIDATES] if votes[way]]


def _to_width(photo: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(photo.shape[0] * width / photo.shape[1]))
    return cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)


def _likeness(picture: Points, photo: Points, fit: Fit) -> float:
    """Correlation, -1…1, of a picture's grey values with those of the photograph, transformed to fit it."""
    if fit.transform is None:
        return -1.0
    height, width = picture.grey.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    under = cv2.warpAffine(photo.grey, fit.transform, (width, height), flags=flags)
    shown = (picture.grey > BLACK) & (under > BLACK)  # without the black borders of rotated copies
    if shown.sum() < 100:
        return -1.0
    return float(np.corrcoef(picture.grey[shown], under[shown])[0, 1])


def trace_all(
    index: PhotoIndex,
    count: int,
    read: Callable[[int], np.ndarray],
    progress: Progress = no_progress,
) -> list[Trace]:
    """The sources of pictures 0…count-1, as `read` gives them, on all cores and with few in memory at a time."""
    traces: list[Trace] = []
    with picture_threads() as pool:
        for start in range(0, count, 64):
            batch = range(start, min(start + 64, count))
            traces += pool.map(lambda row: index.trace(read(row)), batch)
            progress(batch.stop, count)
    return traces
