"""Tracing copies to their photographs, on drawn photographs and known transforms."""

import cv2
import numpy as np
import pytest

from benchmarks.bench_tracing import copy_of
from bloodcell_core.data import demo
from bloodcell_core.data.photos import MIN_AGREEING, PhotoIndex, trace_all

PHOTOS = 12


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    photos = [demo.draw_picture(demo.DEMO_CLASSES[i % 4], rng) for i in range(PHOTOS)]
    # As the archive's: twice the size of the copies made from them.
    return [cv2.resize(photo, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC) for photo in photos]


@pytest.fixture(scope="module")
def index(photographs) -> PhotoIndex:
    return PhotoIndex(photographs.__getitem__, len(photographs), width=320)


def test_copies_are_traced(photographs, index):
    rng = np.random.default_rng(0)
    truth = [i % PHOTOS for i in range(3 * PHOTOS)]
    copies = [copy_of(photographs[i], rng) for i in truth]
    traced = trace_all(index, len(copies), copies.__getitem__)
    wrong = [i for i, trace in enumerate(traced) if trace.photo is not None and trace.photo != truth[i]]
    found = sum(trace.photo == photo for trace, photo in zip(traced, truth, strict=True))
    assert wrong == []
    assert found >= 0.9 * len(truth)  # drawn pictures have far fewer points than photographs


def test_strangers_are_not_traced(index):
    rng = np.random.default_rng(99)
    for label in demo.DEMO_CLASSES:
        trace = index.trace(demo.draw_picture(label, rng))
        assert trace.photo is None
        assert trace.agreeing < MIN_AGREEING


def test_a_picture_without_points_is_not_traced(index):
    assert index.trace(np.full((240, 320, 3), 200, np.uint8)).photo is None


@pytest.mark.parametrize("dots", [0, 1], ids=["no points at all", "a few points"])
def test_photographs_that_show_next_to_nothing_trace_nothing(photographs, dots):
    blank = np.full((480, 640, 3), 200, np.uint8)
    cv2.circle(blank, (300, 200), 12 * dots, (60, 60, 60), -1)
    index = PhotoIndex([blank, blank].__getitem__, 2, width=320)
    traced = index.trace(cv2.resize(photographs[0], (320, 240)))
    assert traced.photo is None
    assert index.scenes == [0, 1]


def test_progress_reaches_the_end(photographs, index):
    seen = []
    trace_all(
        index, 3, lambda i: cv2.resize(photographs[i], (320, 240)), lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (3, 3)


def test_two_photographs_of_one_scene_are_told(photographs):
    again = np.ascontiguousarray(photographs[3][40:, 60:])  # the same field, moved under the microscope
    index = PhotoIndex([*photographs[:6], again].__getitem__, 7, width=320)
    assert index.scenes == [0, 1, 2, 3, 4, 5, 3]
    copy = cv2.resize(photographs[3], (320, 240), interpolation=cv2.INTER_AREA)
    assert index.trace(copy).photo == 3


def test_two_photographs_of_one_scene_are_told_where_there_are_no_others(photographs):
    again = np.ascontiguousarray(photographs[3][40:, 60:])
    assert PhotoIndex([photographs[3], again].__getitem__, 2, width=320).scenes == [0, 0]
    assert PhotoIndex([photographs[3], photographs[4]].__getitem__, 2, width=320).scenes == [0, 1]
    assert PhotoIndex([photographs[3]].__getitem__, 1, width=320).scenes == [0]

