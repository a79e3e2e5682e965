"""Nuclear stain: the lookup tables agree with the formula, and what the finder measured isn't measured again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core import runs
from bloodcell_core.cells import find_place, search
from bloodcell_core.crops import Crop
from bloodcell_core.data import colours
from bloodcell_core.data.demo import draw_picture
from bloodcell_core.data.pictures import encode
from bloodcell_core.data.views import make_view
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.stain import BLACK, MEASURING_SIDE, MIN_STAIN, measured_stain, stain_of
from tests.conftest import random_picture
from tests.test_bundled import SHIPPED

BALANCED = Crop(colours="balanced")
CELL = draw_picture("monocyte", np.random.default_rng(4))
"""240 high and 320 wide."""


def by_formula(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where nucleus stain is and no black border, worked out pixel by pixel."""
    smooth = cv2.GaussianBlur(picture, (0, 0), 1.2)
    green, blue = (smooth[:, :, channel].astype(np.float32) for channel in (1, 2))
    lit = green + blue >= BLACK
    amount = np.where(lit, (blue - green) / (blue + green + 1), np.float32(0))
    level = np.clip(amount * 500, 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(level, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    nuclei = (amount > max(threshold / 500, MIN_STAIN)).astype(np.uint8)
    return cv2.morphologyEx(nuclei, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))), lit


def resized(width: int, height: int) -> np.ndarray:
    return cv2.resize(CELL, (width, height), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(
    "picture",
    [CELL, random_picture(0, 90, 70), np.where(np.arange(320)[:, None] < 60, 0, CELL).astype(np.uint8), CELL[:1, :1]],
    ids=["a cell", "noise", "a black border", "one pixel"],
)
def test_what_is_looked_up_is_what_the_formula_says(picture):
    stain = stain_of(picture)
    nuclei, lit = by_formula(picture)
    assert np.array_equal(stain.nuclei, nuclei)
    assert stain.nuclei.dtype == np.uint8
    assert np.array_equal(stain.lit, lit)
    assert stain.lit.dtype == bool
    assert np.array_equal(stain.green, cv2.GaussianBlur(picture, (0, 0), 1.2)[:, :, 1])
    assert stain.picture is picture


@settings(max_examples=25, deadline=None)
@given(st.integers(60, 420), st.integers(60, 420))
def test_what_the_finder_saw_of_the_stain_is_what_is_measured_in_to_the_last_bit(width: int, height: int):
    picture = resized(width, height)
    seen, measured = search(picture).stain, measured_stain(picture)
    assert max(measured.nuclei.shape) <= MEASURING_SIDE
    if seen is not None:
        assert all(np.array_equal(one, other) for one, other in zip(seen, measured, strict=True))


def test_of_a_field_that_the_finder_looked_at_twice_it_is_the_first_look():
    field = np.tile(CELL, (3, 3, 1))
    seen = search(field).stain
    assert seen is not None
    assert np.array_equal(seen.nuclei, measured_stain(field).nuclei)


@pytest.mark.parametrize(("width", "height"), [(320, 240), (240, 320), (96, 96), (240, 7), (360, 360), (1000, 500)])
def test_of_pictures_of_usual_sizes_the_finder_saw_it(width, height):
    assert search(resized(width, height)).stain is not None


@pytest.mark.parametrize(("width", "height"), [(363, 360), (360, 363), (319, 240), (1300, 1001)])
def test_where_a_side_would_be_cut_to_whole_pixels_it_is_worked_out_anew(width, height):
    assert search(resized(width, height)).stain is None


def test_a_strip_is_measured_too():
    assert measured_stain(np.full((16, 20_000, 3), 200, np.uint8)).nuclei.sum() == 0


@pytest.mark.parametrize("view", ["cell", "frame"])
@pytest.mark.parametrize("width", [96, 160, 320, 347])
def test_a_view_is_the_same_with_what_the_finder_saw_and_without(width, view):
    picture = resized(width, width * 3 // 4)
    place, stain = find_place(picture), search(picture).stain
    with_it = make_view(picture, view, 64, BALANCED, place, stain).pixels
    assert np.array_equal(with_it, make_view(picture, view, 64, BALANCED).pixels)
    assert not np.array_equal(with_it, make_view(picture, view, 64).pixels), "nothing is balanced: nothing is shown"


def test_a_cell_in_a_part_of_a_large_picture_has_the_colours_of_that_part():
    wide = np.hstack([CELL, 255 - CELL // 2, CELL])
    stain = search(wide).stain
    assert stain is not None
    for place in (find_place(wide), None):
        assert np.array_equal(
            make_view(wide, "cell", 64, BALANCED, place, stain).pixels, make_view(wide, "cell", 64, BALANCED).pixels
        )


@pytest.mark.parametrize("side", [96, 160])
def test_the_stain_of_one_cell_is_worked_out_once(side, monkeypatch):
    monkeypatch.setattr(runs, "BUNDLED", SHIPPED)
    run = runs.find("cell-net")
    assert run.config.colours == "balanced"
    predictor = Predictor(run, "cpu")
    data = encode(resized(side, side))
    (answer,) = predictor.classify([("cell.png", lambda: data)])
    monkeypatch.setattr(colours, "measured_stain", lambda picture: pytest.fail("worked out again"))
    assert list(predictor.classify([("cell.png", lambda: data)])) == [answer]
