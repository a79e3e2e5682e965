"""Pictures that are, or say that they are, far larger than their files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

from tests.hostile.kit import ANSWER, EITHER, REFUSE, Hostile, cell, encoded

MOST, MOST_OF_SOME = 7990, 5600  # a square's side, just below the most pixels that are taken


def png_of(width: int, height: int, depth: int, colour: int, body: bytes) -> bytes:
    """A PNG that declares that size, whatever `body` (its compressed rows) holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def zeros(length: int) -> bytes:
    """`length` zero bytes as zlib packs them, in no time: one block after another of the same megabyte."""

    def block(size: int, end: int) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(bytes(size)) + packer.flush(end)

    whole, rest = divmod(length, 2**20)
    check = struct.pack(">I", (length % 65_521) << 16 | 1)  # Adler's sum of nothing but zeros
    return b"\x78\xda" + whole * block(2**20, zlib.Z_FULL_FLUSH) + block(rest, zlib.Z_FINISH) + check


def tiff_of(width: int, height: int, strips: int = 1) -> bytes:
    """A TIFF header that declares that many pixels and has none."""
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
               (278, 4, height // strips), (279, 4, width * height & 0xFFFFFFFF)]  # fmt: skip
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + body + bytes(4)


def all_of() -> Iterator[Hostile]:
    most, deep = MOST, MOST_OF_SOME
    yield Hostile("bomb-8.png", png_of(most, most, 8, 2, zeros(most * (3 * most + 1))), ANSWER)
    yield Hostile("bomb-alpha.png", png_of(most, most, 8, 6, zeros(most * (4 * most + 1))), ANSWER)
    yield Hostile("bomb-grey-16.png", png_of(most, most, 16, 0, zeros(most * (2 * most + 1))), ANSWER)
    yield Hostile("bomb-16.png", png_of(deep, deep, 16, 2, zeros(deep * (6 * deep + 1))), ANSWER)
    yield Hostile("bomb-16-more.png", png_of(most, most, 16, 2, zeros(most * (6 * most + 1))), REFUSE)
    for name, width, height in (("wide", 30_000, 30_000), ("most", 2**31 - 1, 2**31 - 1), ("long", 2**31 - 1, 8)):
        yield Hostile(f"bomb-declared-{name}.png", png_of(width, height, 1, 0, zeros(1000)), REFUSE)
    yield Hostile("bomb-nothing-inside.png", png_of(5000, 5000, 8, 2, zlib.compress(b"")), REFUSE)
    yield Hostile("bomb-jpeg.jpg", jpeg_that_declares(65_535, 65_535), REFUSE)
    yield Hostile("bomb-jpeg-nothing-inside.jpg", jpeg_that_declares(7000, 7000), EITHER)
    yield Hostile("bomb-tiff.tif", tiff_of(100_000, 100_000), REFUSE)
    yield Hostile("bomb-tiff-strips.tif", tiff_of(60_000, 1000, 1000), REFUSE)
    yield Hostile("bomb-bmp.bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, 2**30, 2**30, 1, 24, *[0] * 6),
                  REFUSE)  # fmt: skip
    for name, height, wants in (("most", 1900, ANSWER), ("more", 3900, REFUSE)):
        image = Image.new("RGB", (16_383, height))
        yield Hostile(f"bomb-{name}.webp", encoded(image, "WEBP", lossless=True, quality=0, method=0), wants)
    yield Hostile("bomb-16.tif", deep_tiff(deep), ANSWER)
    yield Hostile("bomb-16-more.tif", deep_tiff(most), REFUSE)
    yield Hostile("bomb-inks.jpg", jpeg_that_declares(deep, deep, "CMYK"), EITHER)
    yield Hostile("bomb-inks-more.jpg", jpeg_that_declares(most, most, "CMYK"), REFUSE)
    yield Hostile("bomb-steps.jpg", jpeg_that_declares(most, most, "RGB"), EITHER)
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 3_000_000, zip=True)
    yield Hostile("bomb-text.png", encoded(cell(), pnginfo=text), EITHER)
    loop = bytearray(tiff_of(16, 16)) + bytes(300)
    loop[122 - 4 : 122] = struct.pack("<I", 8)  # the next page is this one
    yield Hostile("bomb-page-loop.tif", bytes(loop), EITHER)


def deep_tiff(side: int) -> bytes:
    """A black TIFF of 16 bits a sample in one packed strip, which is unpacked as a whole."""
    body, start = zeros(side * side * 6), 8 + 2 + 10 * 12 + 4
    entries = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 3, start), (259, 3, 1, 8), (262, 3, 1, 2),
               (273, 4, 1, start + 6), (277, 3, 1, 3), (278, 4, 1, side), (279, 4, 1, len(body)),
               (284, 3, 1, 1)]  # fmt: skip
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    header = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries))
    return header + packed + bytes(4) + struct.pack("<HHH", 16, 16, 16) + body


def jpeg_that_declares(width: int, height: int, steps: str = "") -> bytes:
    """A JPEG of another size than it says; progressive in that mode of Pillow's, where one is given."""
    image = cell(16).convert(steps) if steps else cell(16)
    data = bytearray(encoded(image, "JPEG", progressive=bool(steps)))
    place = data.index(b"\xff\xc2" if steps else b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)
