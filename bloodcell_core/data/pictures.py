"""Any picture file that a person may hand in → 8-bit RGB, or a reason why not.

Training, browsing and prediction all decode here, so that they can't see different pixels.
"""

from __future__ import annotations

import ctypes
import io
import math
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from bloodcell_core.errors import LabError, brief

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp")
OTHER_SUFFIXES = (".gif", ".heic", ".heif", ".avif", ".jp2", ".svs", ".ndpi", ".czi", ".nd2", ".dcm", ".cr2", ".nef")
"""Endings of pictures that aren't read: passed over as a text is, whole classes of them would be missed by nobody."""
MIN_SIDE = 8
MAX_FILE_BYTES = 256 * 2**20  # of one picture file, wherever it comes from: 4 for each of the most pixels
MAX_PIXELS = 64_000_000  # a 20-megapixel camera picture with room to spare (`_weight`: of some kinds half as many)
LARGE_PIXELS = 16_000_000  # from which on memory is given back to the system at once
BAND_PIXELS = 2**20  # of a large picture that are converted at once
SAMPLE_DEPTHS = (8, 10, 12, 14, 16)  # bits a sample that cameras use in a 16-bit file
REDUCED = 1  # of a TIFF page's NewSubfileType: a smaller copy of another page
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
"""EXIF orientation → how the stored pixels are turned to stand upright."""
OTHER_BYTE = {  # Pillow's names for colour of 16 bits a sample, in either byte order or the machine's own
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGB;16N": "RGB;16B" if sys.byteorder == "little" else "RGB;16L",
}
# Pillow warns of broken EXIF blocks and the like, which are no reason to lose a picture. Not `catch_warnings`
# around each decoding: it isn't safe on threads and would leave the whole program's warnings muted.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadablePicture(LabError):
    """The bytes are not a picture that can be used; the message is the reason, fit for a list."""


def decode_rgb(data: bytes, about_to: Callable[[int], object] | None = None) -> np.ndarray:
    """The picture in `data` as uint8, H×W×3, RGB, upright; `about_to` is told its pixels before any are decoded.

    The first frame of several is taken; EXIF orientation is applied; grey, palette and CMYK become RGB;
    transparency is laid over white, the background of a smear. Samples of more than 8 bits are scaled by the
    smallest usual depth (8, 10, 12, 14, 16 bits) that holds the brightest one: 12-bit cameras store their
    pictures in 16-bit files, and dividing by 65,535 would make those black. Float pictures are taken as 0…1
    where they stay within it, else as 0…255 or 0…65,535.

    Raises UnreadablePicture with the reason.
    """
    if not data:
        raise UnreadablePicture("the file is empty (0 bytes)")
    if len(data) > MAX_FILE_BYTES:
        raise UnreadablePicture(f"larger than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image)
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
    """Whether what `decode_rgb` reads is the first page of a TIFF with more; a smaller copy of it is none."""
    if data[:2] not in (b"II", b"MM"):  # a TIFF's byte order
        return False
    with suppress(*DAMAGED), Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        image.seek(1)
        return not image.getexif().get(ExifTags.Base.NewSubfileType, 0) & REDUCED
    return False


class _Budget:
    """Pixels that may be decoded at once, over all threads, each counted by `_weight`."""

    def __init__(self, most: int):
        self._most, self._taken, self._freed = most, 0, threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        with self._freed:
            # whatever is asked for is given to one who is alone
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
    """Pillow's pixels come from malloc, which else keeps hundreds of megabytes for each thread that once had some."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):  # glibc's alone has it
        trim(0)


_decoding = _Budget(MAX_PIXELS)


def _decode(image: ImageFile.ImageFile, data: bytes) -> np.ndarray:
    deep = _is_deep_colour(image)
    image.load()
    upright = UPRIGHT.get(_orientation(image))
    rgb = _to_rgb(image)
    image.close()  # gives its pixels back before more memory is asked for
    if deep:
        _add_lower_bytes(rgb, data)
    return np.ascontiguousarray(upright(rgb)) if upright else rgb


def stored_mode(data: bytes) -> str:
    """How a picture that `decode_rgb` reads is stored, by its header: Pillow's name of its mode (RGB, L, RGBA, P,
    CMYK, I;16, …), or `RGB;16` for colour of 16 bits a sample, which Pillow calls RGB.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return "RGB;16" if _is_deep_colour(image) else image.mode


def _weight(image: ImageFile.ImageFile) -> int:
    """How often each pixel counts: twice in the kinds of picture whose decoders need far more memory for it.

    Measured through `predict` on 64 million pixels of noise, in bytes a pixel with those of the file: colour of 8 bits
    at most 11 in any kind but WebP; WebP 17, lossless 22; 16 bits a sample 18; four inks, progressive, 15. Without a
    picture the process has 0.74 GB, and is to stay below 1.5.
    """
    return 2 if image.format == "WEBP" or image.mode == "CMYK" or _is_deep_colour(image) else 1


def _check_size(image: ImageFile.ImageFile) -> None:
    (width, height), most = image.size, MAX_PIXELS // _weight(image)
    if min(width, height) < MIN_SIDE:
        raise UnreadablePicture(f"too small: {width}×{height} pixels, at least {MIN_SIDE}×{MIN_SIDE} are needed")
    if width * height > most:
        kind = " in a picture of this kind" if most < MAX_PIXELS else ""
        raise UnreadablePicture(f"too large: {width}×{height} pixels, at most {most // 1_000_000} million{kind}")


def _is_deep_colour(image: ImageFile.ImageFile) -> bool:
    """Whether a picture that isn't loaded yet is opaque colour of 16 bits a sample."""
    raw_modes = {tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in image.tile}
    opaque = image.mode == "RGB" and "transparency" not in image.info
    return opaque and bool(raw_modes) and raw_modes <= OTHER_BYTE.keys()


def _add_lower_bytes(upper: np.ndarray, data: bytes) -> None:
    """Turns the upper 8 bits of a picture of 16 bits a sample (uint8 H×W×3) into the picture scaled to 8, in place.

    Pillow keeps the upper 8, of which a 12-bit camera fills 4; read in the other byte order it gives the lower ones.
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
    """As its EXIF says; `ImageOps.exif_transpose` also writes the EXIF anew, which an odd tag makes fail."""
    try:
        told = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGED:
        return 1
    return told if isinstance(told, int) else 1


def _bands(height: int, width: int) -> list[slice]:
    """Rows that are worked on together: what a large picture needs besides itself stays small."""
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
    """What counts as white in a picture of more than 8 bits a sample, or of floats, that comes in parts."""
    brightest, floats = -math.inf, False
    for samples in parts:
        highest = float(samples.max())  # not a number where one of them is none
        if not (math.isfinite(highest) and math.isfinite(samples.min())):
            raise UnreadablePicture("holds values that are not numbers (NaN or infinite)")
        brightest, floats = max(brightest, highest), samples.dtype.kind == "f"
    if floats and brightest <= 1:
        return 1.0
    return next((2.0**bits - 1 for bits in SAMPLE_DEPTHS if brightest < 2**bits), brightest)


def _scale_to_8_bit(samples: np.ndarray, full: float) -> np.ndarray:
    if samples.dtype == np.uint16 and samples.size > 2**16:  # each value's answer is worked out once
        return np.asarray(_scale_to_8_bit(np.arange(2**16, dtype=np.uint16), full)[samples])
    return np.asarray(np.clip(np.rint(samples.astype(np.float64) * (255 / full)), 0, 255), np.uint8)


def encode(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """uint8 H×W×3 RGB → the bytes of a picture file of that kind (`.png`, `.jpg`, `.webp`)."""
    import cv2

    known = ".jpg" if suffix == ".jfif" else suffix  # Windows' name of a JPEG, which OpenCV doesn't know
    done, data = cv2.imencode(known, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"can't encode as {suffix}")
    return data.tobytes()
