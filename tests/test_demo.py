"""The synthetic smears: repeatable, in families of copies, and stained as the nucleus finder expects."""

import itertools
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest

from bloodcell_core.data import demo
from bloodcell_core.data.demo import (
    DEMO_CLASSES,
    DemoField,
    DemoPicture,
    draw_field,
    draw_picture,
    draw_pictures,
)

FIELD_LABELS = ("neutrophil", "neutrophil", "neutrophil", "lymphocyte", "monocyte", "eosinophil")
NUCLEUS = 0.2  # (B - G) / (B + G) of chromatin lies above this, that of red cells and background around 0


def chromatin(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Where a picture is coloured as a nucleus."""
    green, blue = pixels[..., 1].astype(float), pixels[..., 2].astype(float)
    return (blue - green) / np.maximum(blue + green, 1) > NUCLEUS


def families(pictures: list[DemoPicture]) -> list[list[DemoPicture]]:
    """The pictures in runs of one source photo each."""
    return [list(run) for _, run in itertools.groupby(pictures, key=lambda picture: picture.source_photo)]


@pytest.fixture(scope="module")
def pictures() -> list[DemoPicture]:
    return list(draw_pictures(per_class=12, seed=5))


@pytest.fixture(scope="module")
def fields() -> list[DemoField]:
    return [draw_field(np.random.default_rng(seed), FIELD_LABELS) for seed in range(6)]


def test_pictures_have_the_archive_s_shape_and_every_class_its_count(pictures):
    assert Counter(picture.label for picture in pictures) == dict.fromkeys(DEMO_CLASSES, 12)
    for picture in pictures:
        assert picture.pixels.shape == (240, 320, 3)
        assert picture.pixels.dtype == np.uint8
        assert picture.source_photo.startswith(f"demo-{picture.label}-")


def test_same_seed_same_bytes_other_seed_other_bytes():
    first, again, other = (list(draw_pictures(per_class=3, seed=seed)) for seed in (1, 1, 2))
    assert [p.pixels.tobytes() for p in first] == [p.pixels.tobytes() for p in again]
    assert not any(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, other, strict=True))


def test_a_larger_request_starts_with_the_same_pictures(pictures):
    few = list(draw_pictures(per_class=5, seed=5))
    for label in DEMO_CLASSES:
        small, large = ([p for p in source if p.label == label] for source in (few, pictures))
        for a, b in zip(small, large[:5], strict=True):
            assert a.source_photo == b.source_photo
            assert np.array_equal(a.pixels, b.pixels)


@pytest.mark.parametrize("copies", [1, 2, 4])
def test_a_photo_gives_one_to_copies_pictures(copies, monkeypatch):
    monkeypatch.setattr(demo, "COPIES", copies)
    runs = families(list(draw_pictures(per_class=8, seed=0)))
    assert len({run[0].source_photo for run in runs}) == len(runs), "a photo's copies are not in one run"
    assert {len(run) for run in runs} <= set(range(1, copies + 1))
    assert max(len(run) for run in runs) == copies


def test_only_copies_have_black_borders_and_no_two_pictures_are_equal(pictures):
    for original, *others in families(pictures):
        assert (original.pixels.max(axis=2) > 0).all()
        assert all(0.002 < (copy.pixels.max(axis=2) == 0).mean() < 0.45 for copy in others)
    assert len({picture.pixels.tobytes() for picture in pictures}) == len(pictures)


def test_every_copy_keeps_the_whole_white_cell(monkeypatch):
    monkeypatch.setattr(demo, "COPIES", 8)
    for original, *others in families(list(draw_pictures(per_class=30, seed=9))):
        area = chromatin(original.pixels).sum()
        for copy in others:
            assert chromatin(copy.pixels).sum() == pytest.approx(area, rel=0.12)


def test_a_field_s_boxes_lie_inside_and_apart(fields):
    for field in fields:
        assert field.pixels.shape == (480, 640, 3)
        assert field.pixels.dtype == np.uint8
        assert tuple(label for label, _ in field.cells) == FIELD_LABELS
        boxes = [box for _, box in field.cells]
        for x0, y0, x1, y1 in boxes:
            assert 0 <= x0 < x1 <= 640
            assert 0 <= y0 < y1 <= 480
        for a, b in itertools.combinations(boxes, 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_nuclei_are_bluish_purple_in_the_boxes_and_hardly_anywhere_else(fields):
    for field in fields:
        found = chromatin(field.pixels)
        elsewhere = np.ones_like(found)
        for _, (x0, y0, x1, y1) in field.cells:
            assert found[y0:y1, x0:x1].mean() > 0.06
            elsewhere[y0:y1, x0:x1] = False
        assert found[elsewhere].mean() < 0.01


def test_red_cells_are_drawn_and_redder_than_blue():
    pixels = draw_field(np.random.default_rng(0), []).pixels.astype(float)
    stained = pixels[..., 1] < 0.85 * np.median(np.sort(pixels[..., 1].ravel())[-50_000:])
    assert 0.15 < stained.mean() < 0.8
    red, _, blue = pixels[stained].mean(axis=0)
    assert red > 1.1 * blue


def test_classes_differ_as_the_textbook_says():
    """The lymphocyte's nucleus fills most of its cell, the smallest; the monocyte is the largest; the
    eosinophil's granules are orange-red."""
    fill, side, orange = {}, {}, {}
    for label in DEMO_CLASSES:
        cells = [draw_field(np.random.default_rng([3, seed]), [label], (160, 160)) for seed in range(12)]
        crops = [c.pixels[y0:y1, x0:x1].astype(float) for c in cells for _, (x0, y0, x1, y1) in c.cells]
        fill[label] = np.mean([chromatin(crop).mean() for crop in crops])
        side[label] = np.mean([sum(crop.shape[:2]) / 2 for crop in crops])
        orange[label] = np.mean([(crop[..., 0] > 1.25 * crop[..., 2]).mean() for crop in crops])
    assert max(fill, key=fill.__getitem__) == min(side, key=side.__getitem__) == "lymphocyte"
    assert max(side, key=side.__getitem__) == "monocyte"
    assert max(orange, key=orange.__getitem__) == "eosinophil"


def test_draw_picture_is_a_field_of_one_cell():
    pixels = draw_picture("monocyte", np.random.default_rng(8))
    field = draw_field(np.random.default_rng(8), ["monocyte"], (320, 240))
    assert np.array_equal(pixels, field.pixels)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda rng: draw_picture("basophil", rng), "unknown class 'basophil'.*eosinophil"),
        (lambda rng: draw_field(rng, ["neutrophil", "Monocyte"]), "unknown class 'Monocyte'"),
        (lambda rng: draw_field(rng, ["monocyte"] * 9, (320, 240)), "no room for 9 .* 320 by 240"),
        (lambda rng: draw_field(rng, ["monocyte"], (64, 64)), "no room for 1 "),
        (lambda rng: draw_field(rng, [], (640, 20)), "at least 64 pixels a side"),
    ],
)
def test_impossible_requests_are_refused_in_one_line(draw, message):
    with pytest.raises(ValueError, match=message) as refusal:
        draw(np.random.default_rng(0))
    assert "\n" not in str(refusal.value)
