"""Families of copies, found without their photographs: on drawn pictures, and on some of the archive's photographs."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.bench_siblings import with_marks
from benchmarks.bench_tracing import copy_of
from bloodcell_core.data import demo
from bloodcell_core.data.pictures import decode_rgb
from bloodcell_core.data.siblings import (
    MIN_AGREEING,
    MOST_PICTURES,
    SMALLEST_SIDE,
    find_families,
    match,
    off_because,
    strongest_points,
)
from bloodcell_core.data.sources import open_source

ARCHIVE = os.environ.get("BLOODCELL_ARCHIVE", "")
PHOTOS, COPIES = 12, 3
ALONE = list(range(PHOTOS))


def families_of(pictures: list[np.ndarray]) -> list[int]:
    return find_families(pictures.__getitem__, len(pictures))


def plain(grey: int, height: int = 120, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), grey, np.uint8)


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    return [demo.draw_picture(demo.DEMO_CLASSES[i % 4], rng) for i in range(PHOTOS)]


@pytest.fixture(scope="module")
def copies(photographs) -> list[np.ndarray]:
    """COPIES of the first photograph, then of the second …"""
    rng = np.random.default_rng(0)
    return [copy_of(photo, rng) for photo in photographs for _ in range(COPIES)]


@pytest.fixture(scope="module")
def families(copies) -> list[int]:
    return families_of(copies)


def test_copies_of_a_photograph_share_a_family_and_no_others_do(families):
    assert families == [photo for photo in range(PHOTOS) for _ in range(COPIES)]


def test_photographs_stand_alone(photographs):
    assert families_of(photographs) == ALONE


def test_the_order_of_the_pictures_has_no_part_in_who_shares_a_family(copies, families):
    order = np.random.default_rng(5).permutation(len(copies))
    shuffled = families_of([copies[i] for i in order])
    assert shuffled[0] == 0  # numbered in order of first appearance
    assert all(number <= max(shuffled[:place]) + 1 for place, number in enumerate(shuffled) if place)
    assert len({*zip(shuffled, (families[i] for i in order), strict=True)}) == PHOTOS


@pytest.mark.parametrize(
    "turned",
    [
        lambda picture: picture[:, ::-1],
        lambda picture: picture[::-1],
        lambda picture: np.rot90(picture),
        lambda picture: cv2.resize(picture, (200, 150), interpolation=cv2.INTER_AREA),
        lambda picture: picture[30:, :240],
        lambda picture: np.clip(picture * 0.8, 0, 255).astype(np.uint8),
    ],
    ids=["mirrored", "upside down", "turned by 90 degrees", "smaller", "cut", "darker"],
)
def test_a_changed_picture_is_found(photographs, turned):
    changed = np.ascontiguousarray(turned(photographs[4]))
    assert families_of([*photographs, changed]) == [*ALONE, 4]


def test_what_stands_at_one_place_in_every_picture_makes_no_siblings(photographs):
    emblem = np.kron(np.random.default_rng(1).integers(0, 256, (6, 8, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    marked = [with_marks(photo) for photo in photographs]
    for picture in marked:
        picture[:60, :80] = emblem
    assert families_of(marked) == ALONE
    by_points = match(strongest_points(marked[0]), strongest_points(marked[1])).agreeing
    assert by_points >= MIN_AGREEING  # it is the pixels that keep them apart


def test_views_that_share_less_than_half_are_no_siblings():
    field = demo.draw_field(np.random.default_rng(2), ["neutrophil", "eosinophil", "lymphocyte"], (640, 240)).pixels
    apart, near = (np.ascontiguousarray(field[:, step : step + 320]) for step in (200, 100))
    assert families_of([field[:, :320].copy(), apart]) == [0, 1]
    assert families_of([field[:, :320].copy(), near]) == [0, 0]


def test_a_picture_without_points_stands_alone_unless_its_pixels_are_the_same(photographs):
    pictures = [plain(200), photographs[0], plain(201), plain(200), plain(200, 160, 120)]
    assert families_of(pictures) == [0, 1, 2, 0, 3]


@pytest.mark.parametrize(("pictures", "expected"), [([], []), ([plain(9)], [0]), ([plain(9), plain(8)], [0, 1])])
def test_no_points_at_all_is_no_error(pictures, expected):
    assert families_of(pictures) == expected


def test_each_picture_is_read_once_and_progress_reaches_the_end(photographs):
    read, told = [], []

    def reading(number: int) -> np.ndarray:
        read.append(number)
        return photographs[number]

    find_families(reading, 3, lambda done, count: told.append((done, count)))
    assert sorted(read) == [0, 1, 2]
    assert told == sorted(told)
    assert told[-1] == (3, 3)


@pytest.mark.parametrize(
    ("count", "named"),
    [(MOST_PICTURES, None), (MOST_PICTURES + 1, "20,001"), (2, None), (1, f"{SMALLEST_SIDE} pixels a side")],
)
def test_it_says_where_it_is_off_and_why(count, named):
    reason = off_because(count)
    assert reason is None if named is None else named in str(reason)


@pytest.mark.skipif(not ARCHIVE, reason="BLOODCELL_ARCHIVE names no copy of the public archive")
def test_copies_of_the_archive_s_photographs():
    source = open_source(Path(ARCHIVE).expanduser())
    files = [file for file in source.files if "/JPEGImages/" in file][::15]
    rng = np.random.default_rng(0)
    copies = [copy_of(decode_rgb(source.read(file)), rng) for file in files for _ in range(COPIES)]
    assert len(files) > 20
    assert families_of(copies) == [photo for photo in range(len(files)) for _ in range(COPIES)]
