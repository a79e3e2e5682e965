"""The finder of white cells, by the stain of their nuclei, and the squares that are cut around them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core.cells import Box, Cell, find_cells, find_place, percentile, search
from bloodcell_core.crops import BORDERS, Crop, cell_square, cut_square, middle_square
from bloodcell_core.data.demo import DEMO_CLASSES, draw_field, draw_pictures
from tests.conftest import random_picture

BACKGROUND, RED_CELL, NUCLEUS, BLACK = (232, 222, 226), (215, 165, 165), (110, 60, 150), (0, 0, 0)
CYTOPLASM = (200, 180, 195)


def plain(colour: tuple[int, int, int], width: int = 320, height: int = 240) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def smear(*discs: tuple[int, int, int], width: int = 320, height: int = 240, colour=NUCLEUS) -> np.ndarray:
    """A plain background with nuclei as discs of (x, y, radius)."""
    picture = plain(BACKGROUND, width, height)
    for x, y, radius in discs:
        cv2.circle(picture, (x, y), radius, colour, cv2.FILLED)
    return picture


def holds(outer: Box, x: float, y: float) -> bool:
    return outer[0] <= x < outer[2] and outer[1] <= y < outer[3]


def assert_box_near(box: Box, expected: Box, within: int) -> None:
    assert max(abs(a - b) for a, b in zip(box, expected, strict=True)) <= within


# What is found


def test_the_white_cell_of_a_demo_picture_is_found_once():
    counts = [len(find_cells(picture.pixels)) for picture in draw_pictures(per_class=10, seed=11)]
    assert np.mean([count == 1 for count in counts]) >= 0.95


def test_each_white_cell_of_a_demo_field_is_found_once_and_nothing_else():
    cells = once = strangers = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        field = draw_field(rng, rng.choice(DEMO_CLASSES, 6).tolist())
        middles = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in (cell.box for cell in find_cells(field.pixels))]
        hits = [sum(holds(box, *middle) for middle in middles) for _, box in field.cells]
        cells += len(hits)
        once += hits.count(1)
        strangers += len(middles) - sum(hits)
    assert once / cells >= 0.95
    assert strangers / cells <= 0.05


@pytest.mark.parametrize("scale", [1, 0.8])
@pytest.mark.parametrize("across", [5, 8])
def test_a_field_that_is_many_red_cells_wide_is_searched_at_its_own_resolution(across: int, scale: float) -> None:
    """Shrunk for the looks at the whole picture, its red cells are too small to be seen."""
    field = draw_field(np.random.default_rng(1), ["neutrophil", "lymphocyte"])
    pixels = cv2.resize(field.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = pixels.shape[:2]
    found = [cell.box for cell in find_cells(np.tile(pixels, (across, across, 1)))]
    assert len(found) == 2 * across**2
    for x0, y0, x1, y1 in found:
        middle = (x0 + x1) / 2 % width / scale, (y0 + y1) / 2 % height / scale
        assert any(holds(box, *middle) for _, box in field.cells)


def test_a_nucleus_s_box_and_area_are_in_pixels_of_the_picture():
    (cell,) = find_cells(smear((100, 90, 30)))
    assert_box_near(cell.box, (70, 60, 131, 121), within=2)
    assert cell.area == pytest.approx(np.pi * 30**2, rel=0.1)


def test_so_they_are_where_the_picture_is_shrunk_for_the_search():
    (cell,) = find_cells(smear((500, 450, 150), width=1600, height=1200))
    assert_box_near(cell.box, (350, 300, 651, 601), within=8)
    assert cell.area == pytest.approx(np.pi * 150**2, rel=0.1)


def test_the_largest_nucleus_comes_first():
    cells = find_cells(smear((60, 60, 20), (220, 150, 35), (60, 190, 26)))
    assert [round((cell.box[0] + cell.box[2]) / 2, -1) for cell in cells] == [220, 60, 60]
    assert [cell.area for cell in cells] == sorted((cell.area for cell in cells), reverse=True)


def test_specks_of_stain_beside_a_nucleus_are_no_cells():
    (cell,) = find_cells(smear((100, 100, 30), (220, 60, 13), (250, 200, 8)))  # a fifth of its area, and less
    assert holds(cell.box, 100, 100)


def test_a_speck_alone_is_no_cell():
    assert find_cells(smear((100, 100, 5))) == []


def in_one_cell(*lobes: tuple[int, int, int]) -> np.ndarray:
    """Lobes of a nucleus in a pale violet cell, whose red neighbours have a radius of 22."""
    picture = smear()
    for x, y in ((40, 40), (280, 50), (50, 190), (270, 190), (160, 205), (220, 120)):
        cv2.circle(picture, (x, y), 22, RED_CELL, cv2.FILLED)
    cv2.circle(picture, (120, 100), 50, CYTOPLASM, cv2.FILLED)
    for x, y, radius in lobes:
        cv2.circle(picture, (x, y), radius, NUCLEUS, cv2.FILLED)
    return picture


@pytest.mark.parametrize("gap", [3, 8, 14])
def test_lobes_in_one_cell_are_one_nucleus(gap):
    (cell,) = find_cells(in_one_cell((100, 100, 17), (134 + gap, 100, 17)))
    assert_box_near(cell.box, (83, 83, 152 + gap, 118), within=3)


def test_nuclei_with_the_background_between_them_are_two():
    assert len(find_cells(smear((80, 100, 20), (160, 100, 20)))) == 2
    assert len(find_cells(smear((80, 100, 20), (126, 100, 20)))) == 2


def test_nuclei_that_touch_are_two():
    picture = in_one_cell()
    for x in (85, 149):
        cv2.circle(picture, (x, 100), 34, NUCLEUS, cv2.FILLED)
    middles = sorted((cell.box[0] + cell.box[2]) / 2 for cell in find_cells(picture))
    assert middles == pytest.approx([85, 149], abs=5)


def test_a_mask_covers_the_nucleus_in_its_box():
    (cell,) = find_cells(in_one_cell((100, 100, 17), (142, 100, 17)))
    x0, y0, x1, y1 = cell.box
    assert cell.mask.shape == (y1 - y0, x1 - x0)
    assert cell.mask.dtype == bool
    truth = (in_one_cell((100, 100, 17), (142, 100, 17)) == NUCLEUS).all(axis=2)[y0:y1, x0:x1]
    assert (cell.mask & truth).sum() / (cell.mask | truth).sum() > 0.85


# The scale


@pytest.mark.parametrize("radius", [12, 22, 40, 90])
def test_the_radius_of_red_cells_is_measured(radius):
    picture = plain(BACKGROUND, 16 * radius, 12 * radius)
    for x in range(2, 16, 4):
        for y in range(2, 12, 4):
            cv2.circle(picture, (x * radius, y * radius), radius, RED_CELL, cv2.FILLED)
    assert search(picture).red_radius == pytest.approx(radius, rel=0.15)


def test_where_no_red_cell_is_seen_their_radius_is_not_known():
    assert search(plain(BACKGROUND)).red_radius is None
    assert search(random_picture(0, 320, 240)).red_radius is None
    assert search(smear((100, 90, 30))).red_radius is None


def test_a_platelet_is_no_white_cell():
    picture = in_one_cell((120, 100, 11))  # a quarter of a red cell's area
    assert find_cells(picture) == []
    assert len(find_cells(in_one_cell((120, 100, 20)))) == 1


@pytest.mark.parametrize("light", [0.5, 0.75, 1.1])
def test_exposure_hardly_moves_a_box(light):
    picture = smear((100, 90, 30), (230, 170, 28))
    exposed = np.clip(picture * light, 0, 255).astype(np.uint8)
    boxes, again = ([cell.box for cell in find_cells(each)] for each in (picture, exposed))
    assert len(boxes) == len(again) == 2
    for box, other in zip(boxes, again, strict=True):
        assert_box_near(box, other, within=1)


def test_black_borders_of_turned_copies_change_nothing():
    picture = smear((160, 120, 30))
    picture[:, :60] = picture[:30] = BLACK
    (cell,) = find_cells(picture)
    assert_box_near(cell.box, (130, 90, 191, 151), within=2)


def test_a_nucleus_at_the_border_is_found_as_far_as_it_is_there():
    (cell,) = find_cells(smear((5, 100, 30)))
    assert_box_near(cell.box, (0, 70, 36, 131), within=2)


def test_the_picture_is_left_as_it_was():
    picture = smear((100, 90, 30))
    before = picture.copy()
    find_cells(picture)
    assert np.array_equal(picture, before)


def test_boxes_are_whole_numbers_of_python_s_own():
    (cell,) = find_cells(smear((100, 90, 30)))
    assert isinstance(cell, Cell)
    assert {type(edge) for edge in cell.box} == {int}
    assert type(cell.area) is float


# Where there is nothing to find


def test_red_cells_are_no_white_cells():
    for seed in range(8):
        assert find_cells(draw_field(np.random.default_rng(seed), []).pixels) == []


def test_drawn_red_cells_alone_are_not_split_from_their_background():
    assert find_cells(smear((80, 80, 25), (200, 150, 25), colour=RED_CELL)) == []


@pytest.mark.parametrize(
    "colour", [BLACK, (255, 255, 255), (128, 128, 128), BACKGROUND, RED_CELL, (220, 205, 225), (90, 160, 90)]
)
@pytest.mark.parametrize("size", [(320, 240), (8, 8), (1000, 30)])
def test_a_plain_picture_holds_no_cell(colour, size):
    assert find_cells(plain(colour, *size)) == []


@pytest.mark.parametrize("spread", [2, 8, 12])
@pytest.mark.parametrize("colour", [BACKGROUND, (128, 128, 128), (40, 40, 40), (10, 10, 10)])
def test_a_camera_s_noise_holds_no_cell(colour, spread):
    noise = np.random.default_rng(0).normal(0, spread, (240, 320, 3))
    assert find_cells(np.clip(plain(colour) + noise, 0, 255).astype(np.uint8)) == []


def test_grey_noise_holds_no_cell():
    grey = random_picture(0, 320, 240)[:, :, :1]
    assert find_cells(np.repeat(grey, 3, axis=2)) == []


@pytest.mark.xfail(reason="the finder looks at colour alone: strong colour noise makes blots of it", strict=True)
def test_strong_colour_noise_holds_no_cell():
    assert find_cells(random_picture(0, 320, 240)) == []


def test_a_page_of_nothing_but_nucleus_stain_holds_no_cell():
    assert find_cells(plain(NUCLEUS)) == []


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(0, 100), st.sampled_from(["u1", "f4", "f8"]))
def test_a_percentile_is_numpy_s_to_the_last_digit(seed: int, size: int, percent: int, kind: str):
    values = (255 * np.random.default_rng(seed).random((size, 3))).astype(kind)[:, 1]
    assert percentile(values, percent) == float(np.percentile(values, percent))
    assert kind != "u1" or percentile(values, 50) == float(np.median(values))


@pytest.mark.parametrize("size", [(20_000, 8), (8, 20_000)])
def test_a_picture_as_thin_as_a_thread_is_searched(size):
    assert find_cells(plain(BACKGROUND, *size)) == []


# Squares


@pytest.mark.parametrize("nucleus", [(100, 90, 140, 120), (100, 90, 130, 150), (0, 0, 9, 9), (5, 6, 12, 8)])
@pytest.mark.parametrize(("crop", "side_of"), [
    (Crop(2.0, 0.0), lambda longer, red: 2 * longer),
    (Crop(1.5, 1.0), lambda longer, red: 1.5 * longer + red),
    (Crop(0.0, 5.0), lambda longer, red: 5 * red),
])  # fmt: skip
def test_a_cell_s_square_is_centred_on_its_nucleus_and_as_large_as_the_crop_says(nucleus, crop, side_of):
    x0, y0, x1, y1 = cell_square(nucleus, 11.0, crop)
    longer = max(nucleus[2] - nucleus[0], nucleus[3] - nucleus[1])
    assert x1 - x0 == y1 - y0 == round(side_of(longer, 11.0))
    assert abs((x0 + x1) - (nucleus[0] + nucleus[2])) <= 1
    assert abs((y0 + y1) - (nucleus[1] + nucleus[3])) <= 1


def test_without_red_cells_the_nucleus_itself_tells_the_margin():
    x0, _, x1, _ = cell_square((0, 0, 34, 20), None, Crop(1.0, 2.0))
    assert x1 - x0 == 34 + 2 * 10


def test_where_no_cell_is_the_middle_is_cut_as_large_as_a_usual_cell():
    assert middle_square(320, 240, None) == (40, 0, 280, 240)
    assert middle_square(320, 240, 15.0, Crop(2.0, 0.0)) == (109, 69, 211, 171)
    assert middle_square(60, 40, 15.0, Crop(2.0, 0.0)) == (10, 0, 50, 40)


def test_the_place_of_a_picture_is_its_largest_cell_s():
    picture = in_one_cell((120, 100, 25))
    (cell,) = find_cells(picture)
    assert find_place(picture) == (cell.box, search(picture).red_radius)
    assert search(picture).red_radius == pytest.approx(22, rel=0.1)
    empty = in_one_cell()
    assert find_place(empty) == (None, search(empty).red_radius)


def test_a_square_inside_is_cut_as_it_is():
    picture = random_picture(1, 60, 40)
    assert np.array_equal(cut_square(picture, (10, 5, 30, 25)), picture[5:25, 10:30])
    assert np.array_equal(cut_square(picture, (0, 0, 40, 40)), picture[:, :40])


@pytest.mark.parametrize(
    "square",
    [(-7, 5, 13, 25), (50, 5, 70, 25), (10, -12, 30, 8), (10, 30, 30, 50), (-5, -5, 15, 15), (-9, -19, 71, 61)],
)
def test_a_square_over_the_border_has_its_full_size_and_repeats_the_edge(square):
    picture = random_picture(1, 60, 40)
    x0, y0, x1, y1 = square
    rows, columns = np.clip(range(y0, y1), 0, 39), np.clip(range(x0, x1), 0, 59)
    cut = cut_square(picture, square, "edge")
    assert cut.shape == (y1 - y0, x1 - x0, 3)
    assert np.array_equal(cut, picture[np.ix_(rows, columns)])


def test_a_cell_at_the_border_is_cut_with_its_full_size():
    picture = smear((5, 5, 30))
    square = cell_square(find_cells(picture)[0].box, None)
    cut = cut_square(picture, square, "edge")
    assert cut.shape[0] == cut.shape[1] == square[2] - square[0]
    assert square[0] < 0
    assert square[1] < 0


def test_what_lies_outside_is_filled_as_asked():
    picture = smear((20, 120, 18))
    square = (-40, 80, 60, 180)
    filled = {border: cut_square(picture, square, border) for border in BORDERS}
    assert all(cut.shape == (100, 100, 3) for cut in filled.values())
    assert all(np.array_equal(cut[:, 40:], picture[80:180, :60]) for cut in filled.values())
    assert (filled["black"][:, :40] == 0).all()
    assert (filled["background"][:, :40] == BACKGROUND).all()
    assert np.array_equal(filled["edge"][:, :40], np.repeat(picture[80:180, :1], 40, axis=1))
    assert np.array_equal(filled["reflect"][:, :40], picture[80:180, 40:0:-1])


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(("x", "y"), [(-50, 10), (80, 10), (10, -50), (10, 70), (60, 40), (-20, -20)])
def test_a_square_beside_the_picture_shows_nothing_of_it(border, x, y):
    picture = np.full((40, 60, 3), BACKGROUND, np.uint8)
    picture[1::2] = 90
    cut = cut_square(picture, (x, y, x + 20, y + 20), border)
    assert cut.shape == (20, 20, 3)
    assert (cut == (BACKGROUND if border == "background" else 0)).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_background_is_the_median_of_the_brightest_quarter(seed: int):
    picture = np.random.default_rng(seed).integers(60, 256, (40, 52, 3), dtype=np.uint8)
    filled = cut_square(picture, (-8, 0, 2, 10), "background")[0, 0]
    every_fourth = picture[::4, ::4].reshape(-1, 3)
    bright = every_fourth[every_fourth[:, 1] >= np.percentile(every_fourth[:, 1], 75)]
    assert np.abs(filled - np.median(bright, axis=0)).max() <= 0.5
