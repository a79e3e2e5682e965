"""Balanced colours: whatever lamp, camera and stain a picture was made with, glass, red cells and nuclei look alike."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core.crops import Crop
from bloodcell_core.data import colours
from bloodcell_core.data.views import make_view, view_name, view_of_square
from bloodcell_core.stain import measured_stain

GLASS, NUCLEUS, RED_CELLS = (212.0, 214.0, 209.0), (0.45, 0.75, 0.05), (0.10, 0.24, 0.17)
BALANCED = Crop(colours="balanced")


def smear(glass=GLASS, nucleus=NUCLEUS, red_cells=RED_CELLS, side=160, seed=0):
    """A drawn smear, uint8 side×side×3: red cells, and in the middle a white one whose cytoplasm has some of both."""
    random = np.random.default_rng(seed)
    amounts = np.zeros((side, side, 2), np.float32)  # of nucleus stain, of red cells' colour
    for _ in range(14):
        x, y = (int(place) for place in random.integers(10, side - 10, 2))
        if np.hypot(x - side / 2, y - side / 2) > side / 4:
            cv2.circle(amounts, (x, y), side // 12, (0.0, 1.0), -1)
    middle = side // 2, side // 2
    cv2.circle(amounts, middle, side // 6, (0.15, 0.3), -1)
    cv2.circle(amounts, middle, side // 9, (1.0, 0.0), -1)
    absorbance = amounts @ np.stack([nucleus, red_cells])
    return np.rint(np.asarray(glass) * np.exp(-absorbance)).clip(0, 255).astype(np.uint8)


def with_little_glass():
    """A smear in which red cells lie all over, but for a speck at the border."""
    picture = smear(side=120)
    away = np.hypot(*(np.mgrid[:120, :120] - 60)) > 19
    picture[away] = np.rint(np.array(GLASS) * np.exp(-np.array(RED_CELLS)))
    picture[50:58, 6:14] = GLASS
    return picture


def middle_of(pixels):
    return pixels[len(pixels) // 2, len(pixels) // 2].astype(float)


def test_what_was_drawn_is_measured():
    told = colours.measure(smear())
    assert told.glass == pytest.approx(GLASS, abs=1.5)
    assert told.nucleus == pytest.approx(NUCLEUS, abs=0.02)
    assert told.red_cells == pytest.approx(RED_CELLS, abs=0.02)


def test_glass_and_nucleus_become_the_usual_ones():
    picture = smear()
    balanced = colours.balance(picture, colours.measure(picture))
    assert balanced.dtype == np.uint8
    assert balanced.shape == picture.shape
    assert balanced[0, 0] == pytest.approx(colours.GLASS, abs=3)
    assert middle_of(balanced) == pytest.approx(colours.GLASS * np.exp(-colours.NUCLEUS), abs=4)


shares = st.floats(0.7, 1.6)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(195, 250)] * 3), shares, shares, st.floats(-0.02, 0.02))
def test_laboratories_look_alike(glass, nucleus_share, red_share, hue):
    own = smear()
    other = smear(
        glass, np.array(NUCLEUS) * nucleus_share + (hue, 0, abs(hue)), np.array(RED_CELLS) * red_share + (0, hue, 0)
    )
    one, two = (colours.balance(picture, colours.measure(picture)) for picture in (own, other))
    apart = np.abs(one.astype(float) - two).mean()
    assert apart < 4
    assert apart <= np.abs(own.astype(float) - other).mean() + 2  # balanced pictures are never further apart


@pytest.mark.parametrize(
    "picture",
    [
        np.full((120, 120, 3), 200, np.uint8),
        np.zeros((120, 120, 3), np.uint8),
        smear(nucleus=(0.0, 0.0, 0.0)),
        smear(nucleus=(0.34, 0.81, 0.57), red_cells=(0.10, 0.24, 0.17)),
        with_little_glass(),
        np.full((1, 1, 3), 90, np.uint8),
        np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8),
    ],
    ids=["one colour", "black", "no nucleus", "one hue", "little glass", "one pixel", "tiny"],
)
def test_colours_stay_where_nothing_tells_them(picture):
    assert colours.measure(picture) is None
    assert colours.balance(picture, None) is picture


def test_black_borders_are_no_red_cells():
    picture = smear()
    turned = picture.copy()
    turned[:30] = 0
    told, bordered = colours.measure(picture), colours.measure(turned)
    assert bordered.red_cells == pytest.approx(told.red_cells, abs=0.03)
    assert bordered.glass == pytest.approx(told.glass, abs=2)


def test_views_of_two_laboratories_look_alike():
    own, other = smear(side=240), smear((250, 226, 201), (1.0, 1.6, 0.45), (0.2, 0.32, 0.2), side=240)
    for view in ("cell", "frame"):
        plain = [make_view(picture, view, 64).pixels.astype(float) for picture in (own, other)]
        balanced = [make_view(picture, view, 64, BALANCED).pixels.astype(float) for picture in (own, other)]
        assert np.abs(np.subtract(*balanced)).mean() < 5 < 15 < np.abs(np.subtract(*plain)).mean()


def test_a_square_that_a_person_marks_has_the_colours_of_one_that_was_found():
    picture = smear(side=240)
    found = make_view(picture, "cell", 64, BALANCED)
    assert np.array_equal(view_of_square(picture, found.box, 64, BALANCED), found.pixels)
    outside = view_of_square(picture, (500, 500, 560, 560), 64, BALANCED)
    assert outside.shape == (64, 64, 3)


def test_views_of_other_colours_are_other_views():
    assert view_name("cell", 64, Crop()) != view_name("cell", 64, BALANCED)
    assert view_name("frame", 64, Crop()) == "frame-64" != view_name("frame", 64, BALANCED)


@given(st.integers(0, 2**32 - 1), st.integers(100, 400))
@settings(max_examples=25, deadline=None)
def test_colours_are_the_quantiles_of_the_parts_they_are_of(seed, side):
    noise = np.random.default_rng(seed).normal(0, 8, (side, side, 3))
    picture = (smear(side=side, seed=seed) + noise).clip(0, 255).astype(np.uint8)
    told, (small, _, nuclei, lit) = colours.measure(picture), measured_stain(picture)
    proper = cv2.erode(lit.astype(np.uint8), np.ones((9, 9))) > 0
    smeared = small[proper & (cv2.dilate(nuclei, np.ones((9, 9))) == 0)]
    threshold, _ = cv2.threshold(smeared[:, 1], 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    glass = np.quantile(smeared[smeared[:, 1] > threshold], 0.6, axis=0)
    assert told.glass == pytest.approx(glass, abs=2e-3)  # pixels are counted in 32 bits
    for absorbance, least, pixels in (
        (told.red_cells, colours.MIN_RED, smeared[smeared[:, 1] <= threshold]),
        (told.nucleus, colours.MIN_NUCLEUS, small[proper & (cv2.erode(nuclei, np.ones((3, 3))) > 0)]),
    ):
        middle = np.median(np.log(pixels.clip(1).astype(float)), axis=0)
        assert absorbance == pytest.approx((np.log(glass) - middle).clip(least), abs=1e-4)


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 40)] * 3))
@settings(max_examples=50, deadline=None)
def test_quantiles_are_numpy_s(seed, sizes):
    random = np.random.default_rng(seed)
    parts = [random.integers(0, 256, (3, size)) for size in sizes]
    counts = [[np.bincount(channel, minlength=256) for channel in part] for part in parts]
    told = colours._quantiles(np.cumsum(counts, axis=2))
    for own, part, values, share in zip(told, parts, colours.VALUES, colours.SHARES, strict=True):
        np.testing.assert_allclose(own, np.quantile(values[part], share, axis=1), rtol=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_balanced_pixels_are_those_of_the_formula(seed):
    random = np.random.default_rng(seed)
    pixels = random.integers(40, 256, (12, 12, 3), dtype=np.uint8)
    nucleus, red_cells = (usual * random.uniform(0.8, 1.2, 3) for usual in (colours.NUCLEUS, colours.RED_CELLS))
    told = colours.Colours(random.uniform(195, 250, 3), nucleus, red_cells)

    def directions(nucleus, red_cells):
        across = np.cross(nucleus, red_cells)
        return np.stack([nucleus, red_cells, across / np.linalg.norm(across)], axis=1)

    amounts = np.log(told.glass / pixels) @ np.linalg.inv(directions(told.nucleus, told.red_cells)).T
    left = colours.GLASS * np.exp(-amounts @ directions(colours.NUCLEUS, colours.RED_CELLS).T)
    assert np.abs(colours.balance(pixels, told) - left.clip(0, 255)).max() < 0.501
