"""Decodes any picture file that a person may upload to 8-bit RGB, or says why it can't be read.

Training, browsing and prediction all decode here, so that they can't see different pixels.
"""

from __future__ import annotations

import base64
import ctypes
import io
import math
import re
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from bloodcell_core.errors import LabError, brief

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp")
OTHER_SUFFIXES = (".gif", ".heic", ".heif", ".avif", ".jp2", ".svs", ".ndpi", ".czi", ".nd2", ".dcm", ".cr2", ".nef")
"""Suffixes of pictures that can't be read. They are reported: were they ignored like a text file, nobody would notice
that whole classes are missing."""
MIN_SIDE = 8
MAX_FILE_BYTES = 256 * 2**20  # of a picture file, wherever it comes from: 4 bytes for each of MAX_PIXELS
MAX_PIXELS = 64_000_000  # a 20-megapixel camera picture with room to spare; of some kinds half as many (`_weight`)
LARGE_PIXELS = 16_000_000  # above this, memory is returned to the system at once
BAND_PIXELS = 2**20  # of a large picture, converted at a time
SAMPLE_DEPTHS = (8, 10, 12, 14, 16)  # bits per sample that cameras use in a 16-bit file
SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")  # begins a JPEG's scan
MAX_SCANS = 100  # progressive JPEGs have about ten; each goes over the whole picture again, and may be ten bytes long
REDUCED = 1  # bit of a TIFF page's NewSubfileType: a smaller copy of another page
SEPARATE = 2  # a TIFF's PlanarConfiguration: the samples of each channel together
DAMAGED = (  # what Pillow's decoders raise on damaged bytes
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    MemoryError,
    struct.error,
)
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
"""EXIF orientation → what makes the stored pixels upright."""
OTHER_BYTE = {  # Pillow's raw modes for 16 bits per sample → the one of the other byte order; N is the machine's own
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGB;16N": "RGB;16B" if sys.byteorder == "little" else "RGB;16L",
}
# Pillow warns of broken EXIF blocks and the like, which don't prevent decoding. Not `catch_warnings` around each
# decoding: it isn't thread-safe and could leave all of the program's warnings off.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadablePicture(LabError):
    """A picture can't be used; the message is the reason, short enough for a list."""


def decode_rgb(data: bytes, about_to: Callable[[int], object] | None = None) -> np.ndarray:
    """The picture in `data` as uint8 H×W×3 RGB, upright.

    Of several frames the first is taken; EXIF orientation is applied; grey, palette and CMYK become RGB; transparency
    is composited over white, the background of a smear. Samples of more than 8 bits are scaled by the smallest usual
    depth (8, 10, 12, 14, 16 bits) that holds the brightest one: 12-bit cameras store their pictures in 16-bit files,
    and dividing by 65,535 would make those nearly black. Floats are taken as 0…1 if none is larger, else by depth, too.

    `about_to` is called with the number of pixels before they are decoded. Raises UnreadablePicture with the reason.
    """
    if not data:
        raise UnreadablePicture("the file is empty (0 bytes)")
    if len(data) > MAX_FILE_BYTES:
        raise UnreadablePicture(f"larger than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image)
            _check_planes(image)
            if image.format in ("JPEG", "MPO"):
                _check_scans(data)
            if about_to:
                about_to(image.width * image.height)
            with _decoding.take(image.width * image.height * _weight(image)):
                return _decode(image, data)
    except UnreadablePicture:
        raise
    except UnidentifiedImageError:
        raise UnreadablePicture(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} picture") from None
    except Image.DecompressionBombError:
        raise UnreadablePicture("more pixels than a picture of this lab may have") from None
    except DAMAGED as error:
        raise UnreadablePicture(f"damaged or cut short: {brief(error)}") from None


def first_of_several(data: bytes) -> bool:
    """Whether `decode_rgb` reads the first page of a TIFF that has more, not counting a smaller copy of it."""
    if data[:2] not in (b"II", b"MM"):  # a TIFF's byte order
        return False
    with suppress(*DAMAGED), Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        image.seek(1)
        return not image.getexif().get(ExifTags.Base.NewSubfileType, 0) & REDUCED
    return False


class _Budget:
    """A limit on the pixels that all threads together decode at a time, counted by `_weight`."""

    def __init__(self, most: int):
        self._most, self._taken, self._freed = most, 0, threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        with self._freed:
            # a thread that is alone may decode any number
            self._freed.wait_for(lambda: not self._taken or self._taken + pixels <= self._most)
            self._taken += pixels
        try:
            yield
        finally:
            with self._freed:
                self._taken -= pixels
                self._freed.notify_all()
            if pixels > LARGE_PIXELS:
                _give_memory_back()


def _give_memory_back() -> None:
    """Pillow's pixels come from malloc, which otherwise keeps hundreds of megabytes for each thread that decoded."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):  # only glibc has it
        trim(0)


_decoding = _Budget(MAX_PIXELS)


def _decode(image: ImageFile.ImageFile, data: bytes) -> np.ndarray:
    deep = _is_deep_colour(image)
    image.load()
    upright = UPRIGHT.get(_orientation(image))
    rgb = _to_rgb(image)
    image.close()  # frees its pixels before more memory is needed
    if deep:
        _add_lower_bytes(rgb, data)
    return np.ascontiguousarray(upright(rgb)) if upright else rgb


def stored_mode(data: bytes) -> str:
    """Pillow's name of a picture's mode, by its header (RGB, L, RGBA, P, CMYK, I;16, …).

    `RGB;16` for colour of 16 bits per sample, which Pillow calls RGB.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return "RGB;16" if _is_deep_colour(image) else image.mode


def _weight(image: ImageFile.ImageFile) -> int:
    """How often each pixel counts: twice in formats whose decoders need far more memory.

    Measured with `predict` on 64 million pixels of noise, in bytes per pixel including the file: 8-bit colour at most
    11 in any format but WebP; WebP 17, lossless 22; 16 bits per sample 18; progressive CMYK 15. Besides program
    files the process has 0.4 GB without a picture, and is to stay below 1.2.
    """
    return 2 if image.format == "WEBP" or image.mode == "CMYK" or _is_deep_colour(image) else 1


def _check_size(image: ImageFile.ImageFile) -> None:
    (width, height), most = image.size, MAX_PIXELS // _weight(image)
    if min(width, height) < MIN_SIDE:
        raise UnreadablePicture(f"too small: {width}×{height} pixels, at least {MIN_SIDE}×{MIN_SIDE} are needed")
    if width * height > most:
        kind = " in a picture of this kind" if most < MAX_PIXELS else ""
        raise UnreadablePicture(f"too large: {width}×{height} pixels, at most {most // 1_000_000} million{kind}")


def _check_planes(image: ImageFile.ImageFile) -> None:
    """Pillow takes the signed values of a TIFF's separate Lab planes for shifted ones: each hue becomes another."""
    if image.mode == "LAB" and image.getexif().get(ExifTags.Base.PlanarConfiguration) == SEPARATE:
        raise UnreadablePicture("has Lab colours in separate planes: save it as RGB")


def _check_scans(data: bytes) -> None:
    if sum(1 for _ in islice(SCAN.finditer(data), MAX_SCANS + 1)) > MAX_SCANS:
        raise UnreadablePicture(f"a JPEG of more than {MAX_SCANS} scans, where about ten are usual: save it again")


def _is_deep_colour(image: ImageFile.ImageFile) -> bool:
    """Whether a picture that isn't loaded yet is opaque colour of 16 bits per sample."""
    raw_modes = {tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in image.tile}
    opaque = image.mode == "RGB" and "transparency" not in image.info
    return opaque and bool(raw_modes) and raw_modes <= OTHER_BYTE.keys()


def _add_lower_bytes(upper: np.ndarray, data: bytes) -> None:
    """Scales a picture of 16 bits per sample to 8 bits in place; `upper` (uint8 H×W×3) has the upper 8 of each sample.

    Pillow keeps only these, of which a 12-bit camera uses 4; decoded in the other byte order it gives the lower ones.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.tile = [tile._replace(args=_other_byte(tile.args)) for tile in image.tile]
        image.load()
        lower = np.asarray(image)

    def whole(rows: slice) -> np.ndarray:
        return np.asarray(upper[rows] * np.uint16(256) + lower[rows])

    bands = _bands(*upper.shape[:2])
    full = _full_scale(map(whole, bands))
    for rows in bands:
        upper[rows] = _scale_to_8_bit(whole(rows), full)


def _other_byte(args: Any) -> Any:
    return (OTHER_BYTE[args[0]], *args[1:]) if isinstance(args, tuple) else OTHER_BYTE[args]


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation. `ImageOps.exif_transpose` would also rewrite the EXIF, which fails on an odd tag."""
    try:
        told = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGED:
        return 1
    return told if isinstance(told, int) else 1


def _bands(height: int, width: int) -> list[slice]:
    """Bands of rows that are converted one at a time, so that a large picture needs little memory besides itself."""
    step = max(1, BAND_PIXELS // width)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


def _to_rgb(image: Image.Image) -> np.ndarray:
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    bands = _bands(image.height, image.width)

    def part(rows: slice) -> Image.Image:
        return image if len(bands) == 1 else image.crop((0, rows.start, image.width, rows.stop))

    if image.mode.startswith("I") or image.mode == "F":
        full = _full_scale(np.asarray(part(rows)) for rows in bands)
        for rows in bands:
            rgb[rows] = _scale_to_8_bit(np.asarray(part(rows)), full)[:, :, None]
    else:
        for rows in bands:
            rgb[rows] = np.asarray(_opaque(part(rows)))
    return rgb


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    return image if image.mode == "RGB" else image.convert("RGB")


def _full_scale(parts: Iterable[np.ndarray]) -> float:
    """The value of white in a picture of more than 8 bits per sample, or of floats, given in parts."""
    brightest, floats = -math.inf, False
    for samples in parts:
        highest = float(samples.max())  # NaN where any of them is
        if not (math.isfinite(highest) and math.isfinite(samples.min())):
            raise UnreadablePicture("holds values that are not numbers (NaN or infinite)")
        brightest, floats = max(brightest, highest), samples.dtype.kind == "f"
    if floats and brightest <= 1:
        return 1.0
    return next((2.0**bits - 1 for bits in SAMPLE_DEPTHS if brightest < 2**bits), brightest)


def _scale_to_8_bit(samples: np.ndarray, full: float) -> np.ndarray:
    if samples.dtype == np.uint16 and samples.size > 2**16:  # a lookup table: each value is scaled once
        return np.asarray(_scale_to_8_bit(np.arange(2**16, dtype=np.uint16), full)[samples])
    return np.asarray(np.clip(np.rint(samples.astype(np.float64) * (255 / full)), 0, 255), np.uint8)


def encode(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """The bytes of a picture file with that suffix (`.png`, `.jpg`, `.webp`) from uint8 H×W×3 RGB."""
    import cv2

    known = ".jpg" if suffix == ".jfif" else suffix  # Windows' suffix of a JPEG, which OpenCV doesn't know
    done, data = cv2.imencode(known, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"can't encode as {suffix}")
    return data.tobytes()


def jpeg_uri(pixels: np.ndarray, quality: int) -> str:
    """A data URI of a JPEG of that `quality`, 0…100, from uint8 H×W×3 RGB: a picture inside a page or a report."""
    import cv2

    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
