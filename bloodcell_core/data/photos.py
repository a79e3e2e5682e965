"""Traces pictures to the photograph that they are copies of, by what they show.

Points of interest (SIFT, Lowe 2004) are matched between a picture and the photographs, each also mirrored; the
photograph whose points agree with the picture's under one transform (RANSAC) is its source. File names play no part: in
the public archive they mislead.

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

WORKING_WIDTH = 160  # wider pictures are shrunk to it: two thirds of the time of 240, and as many traced right
SCENE_WIDTH = 240  # of photographs that are compared with each other: at 160 two scenes fewer are found
VOTING_POINTS = 150  # the strongest of a picture's points choose the photographs that are looked at closely
CANDIDATES = 3
MIN_AGREEING = 15  # points; unrelated photographs agree in fewer
CLOSE = 0.9  # of the best photograph's agreeing points: others of its scene are then compared by their pixels
BLACK = 12  # grey value below which a pixel is border
MIN_MARGIN = 5  # points more than the best photograph of another scene has


class Trace(NamedTuple):
    """Where a picture comes from."""

    photo: int | None
    """The photograph's place in the list, or None where none is certain."""
    best: int | None
    """The photograph that agrees best, certain or not."""
    agreeing: int
    """Points that agree with the best photograph."""


class PhotoIndex:
    """The points of some photographs, ready to be asked. Safe to use from several threads.

    `scenes[i]` is the scene of photograph i, named by the first photograph that shows it: some cells were
    photographed more than once, and what is learned from one photograph of a cell is known of the others too.
    """

    def __init__(self, read: Callable[[int], np.ndarray], count: int, width: int):
        """`read(i)`: photograph i of `count`, uint8 H×W×3 RGB; `width`: of the pictures to be traced, in pixels."""

        self._learn(read, count, min(width, SCENE_WIDTH))
        self.scenes = list(range(count))  # each its own, until the others have been looked at
        with picture_threads() as pool:
            alike = list(pool.map(lambda photo: self._trace(self._points[2 * photo], photo), range(count)))
        for photo, trace in enumerate(alike):
            if trace.agreeing >= MIN_AGREEING and trace.best is not None:
                low, high = sorted((self.scenes[photo], self.scenes[trace.best]))
                self.scenes = [low if scene == high else scene for scene in self.scenes]
        if width > WORKING_WIDTH:
            self._learn(read, count, WORKING_WIDTH)
        self._shrink = min(1.0, WORKING_WIDTH / width)

    def _learn(self, read: Callable[[int], np.ndarray], count: int, width: int) -> None:
        """Finds the points of the photographs, shrunk to a width, and makes them ready to be searched."""

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
        fits = {turned: fit_points(points, self._points[turned]) for turned in self._candidates(points, leave_out)}
        agreeing: dict[int, int] = {}
        for turned, fit in fits.items():
            agreeing[turned // 2] = max(fit.agreeing, agreeing.get(turned // 2, 0))
        best = max(agreeing, key=agreeing.__getitem__)
        # Photographs of one scene agree in nearly as many points; their light and focus tell them apart.
        close = [
            turned
            for turned, fit in fits.items()
            if self.scenes[turned // 2] == self.scenes[best] and fit.agreeing >= CLOSE * agreeing[best] > 0
        ]
        if len(close) > 1:
            best = max(close, key=lambda turned: _likeness(points, self._points[turned], fits[turned])) // 2
        others = [count for photo, count in agreeing.items() if self.scenes[photo] != self.scenes[best]]
        second = max(others, default=0)
        certain = agreeing[best] >= MIN_AGREEING and agreeing[best] - second >= MIN_MARGIN
        return Trace(best if certain else None, best, agreeing[best])

    def agreeing(self, picture: np.ndarray, photo: int) -> int:
        """How many points of a picture agree with one photograph, the better of the two ways round."""
        points = self._points_of(picture)
        return max(fit_points(points, self._points[turned]).agreeing for turned in (2 * photo, 2 * photo + 1))

    def _candidates(self, points: Points, leave_out: int | None) -> list[int]:
        """The turned photographs that most of the picture's strongest points resemble."""
        # Most neighbours of a point lie in its own photograph: to leave that out takes a look at more of them.
        count = 1 if leave_out is None else 8
        neighbours = self._matcher.knnMatch(rooted(points.looks[:VOTING_POINTS]), k=count)
        owners = ([self._owners[match.trainIdx] for match in near] for near in neighbours)
        first = [next((turned for turned in near if turned // 2 != leave_out), None) for near in owners]
        votes = np.bincount([turned for turned in first if turned is not None], minlength=len(self._points))
        return [int(turned) for turned in np.argsort(-votes, kind="stable")[:CANDIDATES]]


def _to_width(photo: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(photo.shape[0] * width / photo.shape[1]))
    return cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)


def _likeness(picture: Points, photo: Points, fit: Fit) -> float:
    """Correlation, -1…1, of a picture's grey values with those of the photograph laid under it."""
    if fit.transform is None:
        return -1.0
    height, width = picture.grey.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    under = cv2.warpAffine(photo.grey, fit.transform, (width, height), flags=flags)
    shown = (picture.grey > BLACK) & (under > BLACK)  # the black borders of turned copies show nothing
    if shown.sum() < 100:
        return -1.0
    return float(np.corrcoef(picture.grey[shown], under[shown])[0, 1])


def trace_all(
    index: PhotoIndex,
    count: int,
    read: Callable[[int], np.ndarray],
    progress: Progress = no_progress,
) -> list[Trace]:
    """The source of pictures 0…count-1, each read by `read`, on all cores with few in memory at a time."""
    traces: list[Trace] = []
    with picture_threads() as pool:
        for start in range(0, count, 64):
            batch = range(start, min(start + 64, count))
            traces += pool.map(lambda row: index.trace(read(row)), batch)
            progress(batch.stop, count)
    return traces
