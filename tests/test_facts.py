"""The image statistics that are measured at import, on drawn pictures whose statistics are known."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bloodcell_core.cells import find_cells, search
from bloodcell_core.data.facts import PictureFacts, facts_of
from bloodcell_core.data.findings import NEAR_BITS
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.data.pictures import decode_rgb, stored_mode
from tests.conftest import class_files, encoded, write_files

BACKGROUND, RED_CELL, NUCLEUS = (232, 222, 226), (215, 165, 165), (110, 60, 150)


def smear(seed: int = 0, scale: int = 1, nuclei: int = 1) -> np.ndarray:
    """A drawn smear of 320×240 pixels times `scale`: red cells, and nuclei apart from each other."""
    rng = np.random.default_rng(seed)
    picture = np.full((240 * scale, 320 * scale, 3), BACKGROUND, np.uint8)
    for x, y in rng.uniform((0, 0), (320, 240), (14, 2)):
        cv2.circle(picture, (round(x * scale), round(y * scale)), 20 * scale, RED_CELL, cv2.FILLED)
    for place in range(nuclei):
        x, y = 70 + 170 * place + rng.uniform(-20, 20), rng.uniform(60, 180)
        cv2.circle(picture, (round(x * scale), round(y * scale)), 24 * scale, NUCLEUS, cv2.FILLED)
    return picture


def facts(picture: np.ndarray) -> PictureFacts:
    return facts_of("RGB", picture)


def with_border(picture: np.ndarray, share: float) -> np.ndarray:
    """The left of it in black."""
    changed = picture.copy()
    changed[:, : round(share * picture.shape[1])] = 0
    return changed


def differing(one: np.ndarray, other: np.ndarray) -> int:
    """Bits in which two pictures' looks differ."""
    looks = [np.frombuffer(facts(picture).look, np.uint8) for picture in (one, other)]
    return int(np.unpackbits(looks[0] ^ looks[1]).sum())


# Borders, light and colour


@pytest.mark.parametrize("share", [0, 0.1, 0.4])
def test_a_black_border_is_measured_as_its_share_of_the_picture(share):
    assert facts(with_border(smear(), share)).black_border == pytest.approx(share, abs=0.01)


def test_black_inside_a_picture_is_no_border():
    picture = smear()
    cv2.circle(picture, (160, 120), 30, (0, 0, 0), cv2.FILLED)
    assert facts(picture).black_border == 0
    assert facts(picture).clipped == pytest.approx(np.pi * 30**2 / (320 * 240), abs=0.005)


def test_a_black_border_leaves_the_other_measures_as_they_were():
    plain, bordered = facts(smear()), facts(with_border(smear(), 0.2))
    assert bordered.brightness == pytest.approx(plain.brightness, abs=1)
    assert bordered.clipped == plain.clipped == 0
    assert bordered.focus == pytest.approx(plain.focus, abs=0.02)
    assert (bordered.stain_a, bordered.stain_b) == pytest.approx((plain.stain_a, plain.stain_b), abs=0.2)


def test_brightness_is_the_background_s_however_many_cells_there_are():
    grey = cv2.cvtColor(np.array([[BACKGROUND]], np.uint8), cv2.COLOR_RGB2GRAY)[0, 0]
    assert facts(smear()).brightness == grey
    assert facts(smear() - np.uint8(50)).brightness == grey - 50
    assert facts(smear(nuclei=2)).brightness == grey


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_pixels_at_full_white_are_clipped(share):
    picture = smear()
    picture[: round(240 * share)] = 255
    assert facts(picture).clipped == pytest.approx(share, abs=0.01)


def test_a_colour_cast_moves_the_stain_its_way():
    plain = facts(smear())
    yellow, green = ((smear() * np.array(cast)).astype(np.uint8) for cast in ((1, 1, 0.9), (0.9, 1, 0.9)))
    assert facts(yellow).stain_b > plain.stain_b + 5
    assert facts(green).stain_a < plain.stain_a - 5
    grey = np.repeat(smear()[:, :, 1:2], 3, axis=2)
    assert (facts(grey).stain_a, facts(grey).stain_b) == pytest.approx((0, 0), abs=0.1)


# Focus


def test_the_more_a_picture_is_blurred_the_lower_its_focus():
    blurred = [facts(cv2.GaussianBlur(smear(), (0, 0), sigma)).focus for sigma in (0.5, 1, 2, 4, 8)]
    assert blurred == sorted(blurred, reverse=True)
    assert facts(smear()).focus > 1.2
    assert blurred[-1] < 1.05


def test_focus_is_the_same_at_any_size_contrast_and_number_of_cells():
    usual = facts(cv2.GaussianBlur(smear(), (0, 0), 2)).focus
    assert facts(cv2.GaussianBlur(smear(scale=3), (0, 0), 6)).focus == pytest.approx(usual, abs=0.02)
    pale = (cv2.GaussianBlur(smear(), (0, 0), 2) * 0.5 + 100).astype(np.uint8)
    assert facts(pale).focus == pytest.approx(usual, abs=0.02)
    sparse = smear()
    sparse[:120] = BACKGROUND
    assert facts(cv2.GaussianBlur(sparse, (0, 0), 2)).focus == pytest.approx(usual, abs=0.02)


# Cells


def test_the_largest_nucleus_is_told_with_its_box():
    picture = smear(nuclei=2)
    found = find_cells(picture)
    told = facts(picture)
    assert told.cells == len(found) == 2
    assert (told.box_x0, told.box_y0, told.box_x1, told.box_y1) == found[0].box
    assert (told.cell_area, told.red_radius) == (found[0].area, search(picture).red_radius)
    assert told.box_told is False


def test_a_box_that_the_source_tells_goes_before_the_one_that_is_found():
    told = facts_of("RGB", smear(), (1, 2, 30, 40))
    assert (told.box_x0, told.box_y0, told.box_x1, told.box_y1, told.box_told) == (1, 2, 30, 40, True)
    assert told.cells == 1


def test_where_no_cell_is_found_there_is_no_box():
    told = facts(smear(nuclei=0))
    assert (told.cells, told.cell_area, told.box_x0, told.box_y1, told.box_told) == (0, None, None, None, False)


# Looks

COPIES = {
    "half the size": lambda picture: cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "square": lambda picture: cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA),
    "recompressed": lambda picture: decode_rgb(encoded(picture, "JPEG", quality=40)),
    "darker": lambda picture: (picture * 0.7).astype(np.uint8),
    "blurred": lambda picture: cv2.GaussianBlur(picture, (0, 0), 1.5),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("border", [0, 0.2])
def test_a_copy_looks_like_its_picture(copy, border):
    for seed in range(3):
        picture = with_border(smear(seed), border)
        assert differing(picture, copy(picture)) <= NEAR_BITS


@pytest.mark.parametrize("width", [0, 160])
def test_other_pictures_look_different_even_if_pale_and_turned_alike(width):
    corner = np.array([[-1, -1], [width - 1, -1], [-1, 2 * width - 1]], np.int32)
    pictures = [cv2.fillPoly((smear(seed) * 0.2 + 180).astype(np.uint8), [corner], (0, 0, 0)) for seed in range(5)]
    distances = [differing(one, other) for place, one in enumerate(pictures) for other in pictures[:place]]
    assert min(distances) > 2 * NEAR_BITS


# Any picture


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 70), st.integers(8, 70), st.integers(0, 255), st.integers(0, 255), st.integers(0, 99))
def test_every_picture_has_facts_in_their_ranges(width, height, low, high, seed):
    low, high = sorted((low, high))
    picture = np.random.default_rng(seed).integers(low, high + 1, (height, width, 3), np.uint8)
    told = facts(picture)
    assert 0 <= told.brightness <= 255
    assert 0 <= told.clipped <= 1
    assert 0 <= told.black_border <= 1
    assert told.focus > 0.9
    assert np.isfinite([told.focus, told.stain_a, told.stain_b]).all()
    assert len(told.look) == 32
    assert told.cells >= 0


@pytest.mark.parametrize(("grey", "border", "clipped"), [(0, 1, 1), (255, 0, 1), (128, 0, 0)])
def test_a_picture_of_one_colour_has_facts(grey, border, clipped):
    told = facts(np.full((30, 40, 3), grey, np.uint8))
    assert (told.black_border, told.clipped, told.brightness, told.focus) == (border, clipped, grey, 1)


# How a file stores its picture

SQUARE = Image.new("RGB", (16, 16), (200, 100, 50))
DEEP = cv2.imencode(".png", np.full((16, 16, 3), 30_000, np.uint16))[1].tobytes()


@pytest.mark.parametrize(
    ("mode", "data"),
    [
        *[(mode, encoded(SQUARE.convert(mode))) for mode in ("RGB", "RGBA", "L", "LA", "P", "1")],
        ("CMYK", encoded(SQUARE.convert("CMYK"), "JPEG")),
        ("L", encoded(SQUARE.convert("L"), "JPEG")),
        ("I;16", encoded(Image.fromarray(np.full((16, 16), 3000, np.uint16)), "TIFF")),
        ("RGB;16", DEEP),
    ],
)
def test_the_mode_of_a_file_is_told(mode, data):
    assert stored_mode(data) == mode
    assert decode_rgb(data).shape == (16, 16, 3)


# In the table


def test_an_import_puts_the_facts_in_each_picture_s_row(tmp_path):
    files = class_files() | {"blast/broken.png": b"no picture", "blast/grey.png": encoded(SQUARE.convert("L"))}
    dataset = import_dataset(write_files(tmp_path / "cells", files))
    images = dataset.images.set_index("file")
    assert {*images.columns} >= {*PictureFacts._fields}
    for file, data in files.items():
        if file == "blast/broken.png":
            assert images.loc[file, [*PictureFacts._fields]].isna().all()
            continue
        mode = Image.open(io.BytesIO(data)).mode
        for name, value in facts_of(mode, decode_rgb(data))._asdict().items():
            assert (images[name][file] == value) or (value is None and np.isnan(images[name][file]))
    assert images["mode"]["blast/grey.png"] == "L"
