"""Tracing copies to their photographs, on drawn photographs and known transforms."""

import cv2
import numpy as np
import pytest

from bloodcell_core.data import demo
from bloodcell_core.data.photos import MIN_AGREEING, PhotoIndex, trace_all

PHOTOS = 12


def copy_of(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As the public archive made its copies: any rotation, shift, mirror, some zoom and brightness, JPEG."""
    height, width = photo.shape[:2]
    angle, scale = rng.uniform(-180, 180), rng.uniform(0.8, 1.2)
    transform = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    transform[:, 2] += rng.uniform(-0.15, 0.15, 2) * (width, height)
    copy = cv2.warpAffine(photo[:, ::-1] if rng.random() < 0.5 else photo, transform, (width, height))
    copy = np.clip(copy * rng.uniform(0.8, 1.2), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", copy, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


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
    copies = [cv2.resize(copy_of(photographs[i], rng), (320, 240), interpolation=cv2.INTER_AREA) for i in truth]
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
