"""Any picture file that a person may hand in → 8-bit RGB, or a reason why not.

Training, browsing and prediction all decode here, so that they can't see different pixels.
"""

from __future__ import annotations

import io
import struct
import sys
import warnings
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from bloodcell_core.errors import LabError

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
MIN_SIDE = 8
MAX_FILE_BYTES = 512 * 2**20  # of one picture file, wherever it comes from
MAX_PIXELS = 64_000_000  # a 20-megapixel camera picture with room to spare; decoded it is 192 MB
SAMPLE_DEPTHS = (8, 10, 12, 14, 16)  # bits a sample that cameras use in a 16-bit file
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
UPRIGHT = {  # EXIF orientation → how the stored pixels are turned to stand upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
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


def decode_rgb(data: bytes) -> np.ndarray:
    """The picture in `data` as uint8, H×W×3, RGB, upright.

    The first frame of several is taken; EXIF orientation is applied; grey, palette and CMYK become RGB;
    transparency is laid over white, the background of a smear. Samples of more than 8 bits are scaled by the
    smallest usual depth (8, 10, 12, 14, 16 bits) that holds the brightest one: 12-bit cameras store their
    pictures in 16-bit files, and dividing by 65,535 would make those black. Float pictures are taken as 0…1
    where they stay within it, else as 0…255 or 0…65,535.

    Raises UnreadablePicture with the reason.
    """
    if not data:
        raise UnreadablePicture("the file is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size)
            deep = _is_deep_colour(image)
            image.load()
            rgb = _to_rgb(_upright(image))
        return _scale_to_8_bit(rgb * np.uint16(256) + _lower_bytes(data)) if deep else rgb
    except UnreadablePicture:
        raise
    except UnidentifiedImageError:
        raise UnreadablePicture(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} picture") from None
    except Image.DecompressionBombError:
        raise UnreadablePicture("more pixels than a picture of this lab may have") from None
    except DAMAGED as error:
        raise UnreadablePicture(f"damaged or cut short: {str(error)[:120] or type(error).__name__}") from None


def stored_mode(data: bytes) -> str:
    """How a picture that `decode_rgb` reads is stored, by its header: Pillow's name of its mode (RGB, L, RGBA, P,
    CMYK, I;16, …), or `RGB;16` for colour of 16 bits a sample, which Pillow calls RGB.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return "RGB;16" if _is_deep_colour(image) else image.mode


def stored_size(data: bytes) -> int:
    """The pixels of a picture by its header, before anything of it is decoded; 0 where it has none that can be read."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.width * image.height
    except (Image.DecompressionBombError, *DAMAGED):  # `decode_rgb` tells why
        return 0


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if min(width, height) < MIN_SIDE:
        raise UnreadablePicture(
            f"too small: {width}×{height} pixels, at least {MIN_SIDE}×{MIN_SIDE} are needed"
        )
    if width * height > MAX_PIXELS:
        raise UnreadablePicture(
            f"too large: {width}×{height} pixels, at most {MAX_PIXELS // 1_000_000} million"
        )


def _is_deep_colour(image: ImageFile.ImageFile) -> bool:
    """Whether a picture that isn't loaded yet is opaque colour of 16 bits a sample."""
    raw_modes = {tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in image.tile}
    opaque = image.mode == "RGB" and "transparency" not in image.info
    return opaque and bool(raw_modes) and raw_modes <= OTHER_BYTE.keys()


def _lower_bytes(data: bytes) -> np.ndarray:
    """The lower 8 bits of a picture of 16 bits a sample: uint8 H×W×3.

    Pillow keeps the upper 8, of which a 12-bit camera fills 4; read in the other byte order it gives the lower ones.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.tile = [tile._replace(args=_other_byte(tile.args)) for tile in image.tile]
        image.load()
        return np.asarray(_upright(image))


def _other_byte(args: Any) -> Any:
    return (OTHER_BYTE[args[0]], *args[1:]) if isinstance(args, tuple) else OTHER_BYTE[args]


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says. `ImageOps.exif_transpose` also writes the EXIF anew, which an odd tag makes fail."""
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DAMAGED:
        return None


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(_scale_to_8_bit(np.asarray(image))[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    # A copy, because Pillow's own buffer is read-only and goes away with the image.
    return np.array(image.convert("RGB"))


def _scale_to_8_bit(samples: np.ndarray) -> np.ndarray:
    values = samples.astype(np.float64)
    if not np.isfinite(values).all():
        raise UnreadablePicture("holds values that are not numbers (NaN or infinite)")
    brightest = float(values.max())
    if samples.dtype.kind == "f" and brightest <= 1:
        full = 1.0
    else:
        full = next((2.0**bits - 1 for bits in SAMPLE_DEPTHS if brightest < 2**bits), brightest)
    return np.clip(np.rint(values * (255 / full)), 0, 255).astype(np.uint8)


def encode(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """uint8 H×W×3 RGB → the bytes of a picture file of that kind (`.png`, `.jpg`, `.webp`)."""
    import cv2

    done, data = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"can't encode as {suffix}")
    return data.tobytes()
