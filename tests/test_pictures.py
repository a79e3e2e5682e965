"""Decoding: any picture file that people may upload becomes upright 8-bit RGB, or is refused with the reason."""

import io
import itertools
import struct
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, TiffImagePlugin
from PIL.PngImagePlugin import PngImageFile

from bloodcell_core.data import pictures
from bloodcell_core.data.pictures import MIN_SIDE, SUFFIXES, UnreadablePicture, decode_rgb, encode, first_of_several
from bloodcell_core.errors import LabError
from tests.conftest import encoded, random_picture

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\..*")  # as `pictures` itself does; pytest undoes it

RGB = random_picture(0)
OTHER = random_picture(1)
GREY = RGB[:, :, 0]
HEIGHT, WIDTH = GREY.shape


def refusal(data: bytes) -> str:
    with pytest.raises(UnreadablePicture) as caught:
        decode_rgb(data)
    return str(caught.value)


def three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, axis=2)


def scaled(samples: np.ndarray, full: float) -> np.ndarray:
    """What `full` or more shows as 255."""
    return np.rint(np.clip(samples.astype(float) / full, 0, 1) * 255).astype(np.uint8)


def assert_decodes_to(data: bytes, expected: np.ndarray, within: int = 0) -> None:
    got = decode_rgb(data)
    assert got.dtype == np.uint8
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).max() <= within


def blocks() -> np.ndarray:
    """16×24, six different 8×8 blocks: a JPEG keeps it within a level or two, and no turn maps it onto itself."""
    colours = np.array([[[250, 10, 10], [10, 250, 10], [10, 10, 250]], [[250, 250, 10], [250, 10, 250], [30, 30, 30]]])
    return np.kron(colours, np.ones((8, 8, 1))).astype(np.uint8)


# Every kind of file


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_a_lossless_colour_file_gives_its_very_pixels(kind, options):
    assert_decodes_to(encoded(RGB, kind, **options), RGB)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "MPO"])
def test_a_lossy_file_gives_its_pixels_as_well_as_it_kept_them(kind):
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    options = {"save_all": True, "append_images": [Image.new("RGB", (16, 16))]} if kind == "MPO" else {}
    assert_decodes_to(encoded(flat, kind, quality=95, **options), flat, within=3)


def test_grey_and_black_and_white_become_three_equal_channels():
    assert_decodes_to(encoded(GREY), three(GREY))
    assert_decodes_to(encoded(GREY, "TIFF"), three(GREY))
    assert_decodes_to(encoded(Image.fromarray(GREY > 99)), three(np.where(GREY > 99, 255, 0)))


def test_the_result_is_the_caller_s_own_to_write_on():
    assert decode_rgb(encoded(RGB)).flags.writeable


# Transparency is laid over white


def test_lab_colours_become_those_that_they_were_made_of() -> None:
    colours = np.array([[[200, 100, 150], [90, 60, 140], [230, 190, 180], [128, 128, 128]]], np.uint8)
    picture = colours.repeat(8, 0).repeat(8, 1)
    space = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.fromarray(picture), *space, outputMode="LAB")
    for compression in ("raw", "tiff_lzw"):
        np.testing.assert_allclose(decode_rgb(encoded(lab, "TIFF", compression=compression)), picture, atol=2)
    assert refusal(encoded(lab, "TIFF", tiffinfo={284: 2})) == "has Lab colours in separate planes: save it as RGB"


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_rgba_is_laid_over_white(kind):
    alpha = np.resize(np.array([0, 128, 255], np.uint8), GREY.shape)
    rgba = np.dstack([RGB, alpha])
    share = alpha[:, :, None] / 255
    expected = np.rint(RGB * share + 255 * (1 - share))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert_decodes_to(encoded(rgba, kind, **options), expected, within=1)
    assert_decodes_to(encoded(np.dstack([RGB, np.full_like(GREY, 255)]), kind, **options), RGB)
    assert (decode_rgb(encoded(np.dstack([RGB, np.zeros_like(GREY)]), kind, **options)) == 255).all()


def test_grey_with_transparency_is_laid_over_white():
    alpha = np.resize(np.array([0, 255], np.uint8), GREY.shape)
    assert_decodes_to(encoded(np.dstack([GREY, alpha])), three(np.where(alpha, GREY, 255)))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_palette_gives_its_colours(kind):
    image = Image.fromarray(np.arange(480, dtype=np.uint8).reshape(20, 24) % 7, "L")
    image.putpalette(bytes(range(0, 63, 3)))
    expected = np.arange(0, 63, 3).reshape(7, 3)[np.asarray(image)]
    assert_decodes_to(encoded(image, kind), expected)


@pytest.mark.parametrize("transparency", [3, bytes([255, 255, 255, 0])])
def test_a_palette_s_transparent_colour_is_white(transparency):
    image = Image.fromarray(np.arange(480, dtype=np.uint8).reshape(20, 24) % 7, "L")
    image.putpalette(bytes(range(0, 63, 3)))
    expected = np.arange(0, 63, 3).reshape(7, 3)[np.asarray(image)]
    expected[np.asarray(image) == 3] = 255
    assert_decodes_to(encoded(image, transparency=transparency), expected)


def test_a_colour_declared_transparent_is_white():
    marked = RGB.copy()
    marked[4:9, 5:11] = (1, 2, 3)
    expected = marked.copy()
    expected[4:9, 5:11] = 255
    assert_decodes_to(encoded(marked, transparency=(1, 2, 3)), expected)


# CMYK


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
@pytest.mark.parametrize(
    ("inks", "colour"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 0, 0), (255, 0, 255)),
        ((0, 0, 255, 0), (255, 255, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 0, 0, 100), (155, 155, 155)),
    ],
)
def test_cmyk_becomes_the_colour_of_its_inks(kind, inks, colour):
    image = Image.new("CMYK", (16, 16), inks)
    within = 3 if kind == "JPEG" else 0
    assert_decodes_to(encoded(image, kind), np.full((16, 16, 3), colour), within)


# More than 8 bits a sample


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_deep_grey_is_scaled_by_the_smallest_usual_depth_that_holds_it(kind, bits):
    full = 2**bits - 1
    samples = np.random.default_rng(2).integers(0, full + 1, GREY.shape).astype(np.uint16)
    samples[0, 0] = full
    assert_decodes_to(encoded(samples, kind), three(scaled(samples, full)))


def test_a_depth_ends_where_the_next_begins():
    samples = np.zeros((8, 8), np.uint16)
    samples[0, 0], samples[0, 1] = 4095, 2048
    assert decode_rgb(encoded(samples, "TIFF"))[0, :2, 0].tolist() == [255, 128]
    samples[0, 0] = 4096  # one more than 12 bits hold
    assert decode_rgb(encoded(samples, "TIFF"))[0, :2, 0].tolist() == [64, 32]


def test_black_in_16_bits_stays_black():
    assert (decode_rgb(encoded(np.zeros((8, 9), np.uint16), "TIFF")) == 0).all()


def test_32_bit_whole_numbers_are_scaled_and_negative_ones_are_black():
    samples = np.full((8, 8), -5, np.int32)
    samples[0, :4] = 0, 1_000_000, 2_000_000, 4_000_000
    assert decode_rgb(encoded(samples, "TIFF"))[0, :5, 0].tolist() == [0, 64, 128, 255, 0]


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".png", []),
        (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
        (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 5]),
        (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 8]),
    ],
)
def test_deep_colour_is_scaled_as_deep_grey_is(suffix, options, bits):
    full = 2**bits - 1
    samples = np.random.default_rng(3).integers(0, full + 1, RGB.shape).astype(np.uint16)
    samples[0, 0, 0] = full
    done, data = cv2.imencode(suffix, samples[:, :, ::-1], options)
    assert done
    assert_decodes_to(data.tobytes(), scaled(samples, full))


def test_transparent_colour_of_16_bits_is_laid_over_white():
    samples = np.dstack([np.full((8, 8, 3), 0x8000), np.resize([0, 65535], (8, 8))]).astype(np.uint16)
    got = decode_rgb(cv2.imencode(".png", samples)[1].tobytes())
    assert got[:, :, 0].tolist() == np.resize([255, 0x80], (8, 8)).tolist()


def test_deep_colour_that_declares_a_transparent_one_is_taken_as_its_upper_8_bits():
    samples = np.random.default_rng(3).integers(256, 4096, RGB.shape).astype(np.uint16)
    data = cv2.imencode(".png", samples[:, :, ::-1])[1].tobytes()
    place, body = data.index(b"IDAT") - 4, b"tRNS" + bytes(6)
    chunk = struct.pack(">I", 6) + body + struct.pack(">I", zlib.crc32(body))
    assert_decodes_to(data[:place] + chunk + data[place:], samples >> 8)


@pytest.mark.parametrize(("highest", "full"), [(1.0, 1.0), (0.3, 1.0), (1.5, 255.0), (200.0, 255.0), (3000.0, 4095.0)])
def test_float_pictures_are_taken_as_fractions_or_as_samples(highest, full):
    samples = np.linspace(0, highest, HEIGHT * WIDTH, dtype=np.float32).reshape(GREY.shape)
    assert_decodes_to(encoded(samples, "TIFF"), three(scaled(samples, full)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_float_picture_with_a_value_that_is_no_number_is_refused(value):
    samples = np.zeros((8, 8), np.float32)
    samples[3, 4] = value
    assert refusal(encoded(samples, "TIFF")) == "holds values that are not numbers (NaN or infinite)"


# Upright

STORED = {  # EXIF orientation → how a camera held that way stores an upright picture, from the standard's words
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


def test_a_jpeg_of_many_scans_is_refused_as_each_goes_over_the_whole_picture():
    data = encoded(blocks(), "JPEG", quality=100, subsampling=0, progressive=True)
    start, scans = data.rindex(b"\xff\xda"), data.count(b"\xff\xda")
    last, end = data[start : start + 10], data[-2:]  # only its head: it changes nothing, and takes as long
    most = data[:-2] + last * (pictures.MAX_SCANS - scans)
    assert_decodes_to(most + end, blocks(), within=3)
    assert refusal(most + last + end).startswith("a JPEG of more than 100 scans")


def test_a_film_behind_a_jpeg_as_phones_write_it_has_no_scans():
    film = np.random.default_rng(0).integers(0, 256, 2**20, np.uint8).tobytes() * 10
    assert film.count(b"\xff\xda") > pictures.MAX_SCANS
    assert_decodes_to(encoded(blocks(), "JPEG", quality=100, subsampling=0) + film, blocks(), within=3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_turned_photo_comes_out_upright(kind, orientation):
    upright = blocks()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    data = encoded(np.ascontiguousarray(STORED[orientation](upright)), kind, exif=exif, **options)
    assert_decodes_to(data, upright, within=3 if kind == "JPEG" else 0)


def exif_with(orientation: int, tag: int, kind: int, value: bytes) -> bytes:
    """An EXIF block of two tags, the second of any kind and value, as a careless program might write it."""
    first = struct.pack(">HHLHxx", 0x0112, 3, 1, orientation)
    return b"Exif\0\0MM\0*\0\0\0\x08\0\2" + first + struct.pack(">HHL", tag, kind, 1) + value + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("tag", "kind", "value"),
    [
        (0x0100, 2, b"wide"),  # a width in letters
        (0x0100, 6, b"\xff\0\0\0"),  # a negative one
        (0x8769, 9, b"\xff\xff\xff\xff"),  # a sub-block that would begin before the file
        (0x010E, 11, b"\0\0\0\0"),  # a description in floating point
        (0x011A, 7, b"\1\2\3\4"),
    ],
)
def test_an_odd_exif_tag_neither_loses_the_picture_nor_its_orientation(tag, kind, value):
    upright = blocks()
    stored = np.ascontiguousarray(STORED[6](upright))
    data = encoded(stored, "JPEG", quality=100, subsampling=0, exif=exif_with(6, tag, kind, value))
    assert_decodes_to(data, upright, within=3)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0garbage that is no TIFF"])
def test_a_broken_exif_block_is_no_reason_to_lose_the_picture(exif):
    assert_decodes_to(encoded(blocks(), "JPEG", quality=100, subsampling=0, exif=exif), blocks(), within=3)


def test_an_orientation_that_no_standard_knows_turns_nothing():
    assert_decodes_to(encoded(RGB, exif=exif_with(9, 0x0100, 4, b"\0\0\0\x18")), RGB)


# The first of several frames


@pytest.mark.parametrize(
    ("kind", "options"),
    [("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PNG", {})],
)
def test_of_several_frames_the_first_is_taken(kind, options):
    data = encoded(RGB, kind, save_all=True, append_images=[Image.fromarray(OTHER), Image.fromarray(RGB)], **options)
    with Image.open(io.BytesIO(data)) as several:
        assert several.n_frames == 3
    assert_decodes_to(data, RGB)
    assert first_of_several(data) == (kind == "TIFF"), "what moves is one picture, and pages are not"


def test_a_smaller_copy_of_a_page_is_no_other_picture():
    for kind, several in ((0, True), (1, False)):  # NewSubfileType
        with io.BytesIO() as file:
            with TiffImagePlugin.AppendingTiffWriter(file) as pages:
                for told in (0, kind):
                    Image.fromarray(RGB).save(pages, "TIFF", tiffinfo={254: told})
                    pages.newFrame()
            assert first_of_several(file.getvalue()) == several


@pytest.mark.parametrize("data", [b"", b"II", b"II*\0", b"MM\0*\xff\xff\xff\xff", encoded(RGB, "TIFF"), encoded(RGB)])
def test_what_has_no_second_page_has_none(data):
    assert not first_of_several(data)


# Refused


@pytest.mark.parametrize(
    "data",
    [
        b"This is a text file that somebody called cell.png\n",
        b"\x00",
        b"%PDF-1.7\n",
        b"PK\x03\x04" + bytes(60),
        b"<svg xmlns='http://www.w3.org/2000/svg' width='99' height='99'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n",  # Pillow would hand this one to Ghostscript
        encoded(GREY, "GIF"),
        encoded(RGB, "ICO"),
        encoded(RGB, "PPM"),
        encoded(RGB, "JPEG2000"),
    ],
    ids=["text", "one byte", "pdf", "zip", "svg", "eps", "gif", "ico", "ppm", "jp2"],
)
def test_what_is_no_picture_of_a_known_kind_is_refused(data):
    assert refusal(data) == "not a JPEG, PNG, TIFF, WEBP or BMP picture"


def test_an_empty_file_is_refused_as_empty():
    assert refusal(b"") == "the file is empty (0 bytes)"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 8), (8, 7), (500, 2)])
def test_a_picture_too_small_to_show_a_cell_is_refused(width, height):
    words = refusal(encoded(random_picture(4, width, height)))
    assert words == f"too small: {width}×{height} pixels, at least 8×8 are needed"


def test_the_smallest_picture_is_taken():
    smallest = random_picture(4, 8, 8)
    assert_decodes_to(encoded(smallest), smallest)


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("left", [0.5, 0.9])
def test_a_file_cut_short_is_refused_as_damaged(kind, left):
    data = encoded(random_picture(5, 64, 64), kind)
    assert refusal(data[: int(left * len(data))]).startswith("damaged or cut short: ")


def test_a_png_cut_inside_its_pixels_is_refused_as_damaged():
    data = encoded(random_picture(5, 64, 64))
    assert refusal(data[: len(data) // 2]).startswith("damaged or cut short: ")


def png_that_declares(width: int, height: int) -> bytes:
    """A well-formed PNG of a few hundred bytes whose header claims any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_by_its_header():
    assert refusal(png_that_declares(50_000, 50_000)) == "more pixels than a picture of this lab may have"


@pytest.mark.parametrize("size", [(10_000, 6_401), (12_000, 8_000)])  # below and above where Pillow itself warns
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(size):
    assert refusal(png_that_declares(*size)) == f"too large: {size[0]}×{size[1]} pixels, at most 64 million"


def test_the_most_pixels_are_taken_and_one_more_row_is_not(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 10 * 24)
    assert_decodes_to(encoded(RGB[:10]), RGB[:10])
    assert refusal(encoded(RGB[:11])).startswith("too large: 24×11")


NEEDS_MORE: dict[str, Callable[[np.ndarray], bytes]] = {
    "WebP": lambda pixels: encoded(pixels, "WEBP", lossless=True),
    "inks": lambda pixels: encoded(Image.fromarray(pixels).convert("CMYK"), "JPEG"),
    "16 bits a sample": lambda pixels: cv2.imencode(".png", pixels.astype(np.uint16) * 256)[1].tobytes(),
}


@pytest.mark.parametrize("kind", NEEDS_MORE)
def test_of_kinds_that_need_more_memory_half_as_many_pixels_are_taken(monkeypatch, kind):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 2 * 10 * 24 + 1)
    assert decode_rgb(NEEDS_MORE[kind](RGB[:10])).shape == (10, 24, 3)
    assert refusal(NEEDS_MORE[kind](RGB[:11])).endswith("million in a picture of this kind")
    assert decode_rgb(encoded(RGB[:20])).shape == (20, 24, 3)


def test_a_file_of_too_many_bytes_is_refused_unopened(monkeypatch):
    data = encoded(RGB)
    monkeypatch.setattr(pictures, "MAX_FILE_BYTES", len(data))
    assert_decodes_to(data, RGB)
    assert refusal(data + b"x").startswith("larger than")


def of_every_mode() -> dict[str, bytes]:
    image = Image.fromarray(RGB)
    alpha = image.convert("RGBA")
    alpha.putalpha(Image.fromarray(GREY))
    deep = np.random.default_rng(3).integers(0, 4096, RGB.shape).astype(np.uint16)
    told = Image.Exif()
    told[0x0112] = 6
    return {
        "colour": encoded(RGB), "grey": encoded(GREY), "alpha": encoded(alpha), "turned": encoded(RGB, exif=told),
        "palette": encoded(image.convert("P"), transparency=3), "black and white": encoded(image.convert("1")),
        "inks": encoded(image.convert("CMYK"), "TIFF"), "float": encoded(GREY.astype(np.float32) / 300, "TIFF"),
        "deep grey": encoded(deep[:, :, 0].copy()), "deep colour": cv2.imencode(".png", deep)[1].tobytes(),
    }  # fmt: skip


@pytest.mark.parametrize("mode", of_every_mode())
def test_a_large_picture_that_is_converted_in_parts_is_the_same(monkeypatch, mode):
    data = of_every_mode()[mode]
    whole = decode_rgb(data)
    monkeypatch.setattr(pictures, "BAND_PIXELS", 3 * WIDTH)
    assert len(pictures._bands(HEIGHT, WIDTH)) == 7
    np.testing.assert_array_equal(decode_rgb(data), whole)


def test_deep_colour_is_scaled_alike_by_a_table_and_value_by_value():
    samples = np.arange(2**16 + 300, dtype=np.uint64).astype(np.uint16)
    by_table = pictures._scale_to_8_bit(samples, 4095.0)
    np.testing.assert_array_equal(by_table[:1000], pictures._scale_to_8_bit(samples[:1000], 4095.0))
    np.testing.assert_array_equal(by_table, scaled(samples, 4095.0))


def test_no_more_pixels_are_decoded_at_once_than_the_largest_picture_has(monkeypatch):
    budget = pictures._Budget(100)
    at_once, most, lock = {}, [], threading.Lock()

    def decode(pixels: int) -> None:
        with budget.take(pixels):
            with lock:
                at_once[threading.get_ident()] = pixels
                most.append(sum(at_once.values()))
            time.sleep(0.001)
            with lock:
                del at_once[threading.get_ident()]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [60, 30, 10, 100, 50, 50, 1, 99, 200] * 4))  # the 200 wait until they are alone
    assert len(most) == 36
    assert max(taken for taken in most if taken < 200) <= 100
    assert set(taken for taken in most if taken > 100) == {200}


def test_a_decoder_that_fails_gives_its_pixels_back():
    for _ in range(3):
        refusal(encoded(RGB)[:-40])
    assert pictures._decoding._taken == 0


@pytest.mark.parametrize(
    "error",
    [OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, MemoryError, struct.error],
)
def test_whatever_a_decoder_trips_over_is_damage(monkeypatch, error):
    def trip(image: Image.Image) -> None:
        raise error("a word from the decoder " + 200 * "x")

    monkeypatch.setattr(PngImageFile, "load", trip)
    words = refusal(encoded(RGB))
    assert words.startswith("damaged or cut short: ")
    assert "a word from the decoder" in words
    assert len(words) < 150


def test_a_decoder_that_says_nothing_is_named_by_its_error(monkeypatch):
    def trip(image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(PngImageFile, "load", trip)
    assert refusal(encoded(RGB)) == "damaged or cut short: MemoryError"


def test_a_reason_is_fit_for_a_person():
    assert issubclass(UnreadablePicture, LabError)


def test_decoding_leaves_the_program_s_warnings_as_they_were(monkeypatch):
    """`catch_warnings` isn't safe on threads: of two decodings at once one would leave its filters behind."""
    before, seen = warnings.filters, []
    opened = Image.open
    monkeypatch.setattr(
        Image, "open", lambda *given, **named: (seen.append(warnings.filters), opened(*given, **named))[1]
    )
    decode_rgb(encoded(RGB))
    assert seen
    assert all(filters is before for filters in seen)


# Nothing but a picture or a reason, whatever the bytes

VALID = [
    encoded(RGB, "JPEG", exif=exif_with(6, 0x010E, 2, b"cell")),
    encoded(RGB, "JPEG", progressive=True),
    encoded(RGB),
    encoded(RGB, "TIFF"),
    encoded(RGB, "TIFF", compression="tiff_lzw"),
    encoded(RGB, "WEBP"),
    encoded(RGB, "BMP"),
    encoded(Image.fromarray(RGB).convert("P"), transparency=1),
    encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
    encoded(GREY.astype(np.uint16) * 16, "TIFF"),
    encoded(GREY.astype(np.float32), "TIFF"),
    cv2.imencode(".png", RGB.astype(np.uint16) * 16)[1].tobytes(),
    cv2.imencode(".tif", RGB.astype(np.uint16) * 16, [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1].tobytes(),
    encoded(RGB, "WEBP", save_all=True, append_images=[Image.fromarray(OTHER)]),
]


def assert_picture_or_reason(data: bytes) -> None:
    try:
        got = decode_rgb(data)
    except UnreadablePicture as error:
        reason = str(error)
    else:
        reason = "none"
        assert got.dtype == np.uint8
        assert got.ndim == 3
        assert got.shape[2] == 3
        assert min(got.shape[:2]) >= MIN_SIDE
    assert 0 < len(reason) < 300
    assert "\n" not in reason


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_a_picture_or_a_reason(data):
    assert_picture_or_reason(data)


@settings(max_examples=250, deadline=None)
@given(data=st.sampled_from(VALID), share=st.floats(0, 1, exclude_max=True))
def test_any_truncation_gives_a_picture_or_a_reason(data, share):
    assert_picture_or_reason(data[: int(share * len(data))])


@settings(max_examples=350, deadline=None)
@given(
    data=st.sampled_from(VALID),
    changes=st.lists(
        st.tuples(st.integers(0, 400) | st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=6
    ),
)
@example(data=VALID[0], changes=[(0x2B, 0xFF)])
def test_any_damage_gives_a_picture_or_a_reason(data, changes):
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(data)] = value
    assert_picture_or_reason(bytes(damaged))


# Encoding


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_encoded_decodes_to_the_same_picture(suffix):
    if suffix in (".jpg", ".jpeg", ".jfif", ".webp"):
        flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
        assert_decodes_to(encode(flat, suffix), flat, within=3)
    else:
        assert_decodes_to(encode(RGB, suffix), RGB)


def test_blocks_are_told_apart_in_every_turn():
    """The turned-photo test can fail: no stored form of its picture equals another."""
    forms = [STORED[orientation](blocks()) for orientation in STORED]
    assert not any(np.array_equal(one, other) for one, other in itertools.combinations(forms, 2))
