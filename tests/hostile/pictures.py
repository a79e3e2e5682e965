"""Pictures that are cut short, damaged, odd, called wrongly, something else as well, or none at all."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from tests.hostile.kit import ANSWER, EITHER, HTML, KINDS, REFUSE, Hostile, cell, encoded


def all_of(rng: np.random.Generator) -> list[Hostile]:
    parts = (cut_short(), damaged(rng), sizes(), modes(rng), told(), no_pictures(rng), wrong_endings(), polyglots())
    return [hostile for part in parts for hostile in part]


def cut_short() -> Iterator[Hostile]:
    for kind, suffix in KINDS.items():
        data = encoded(cell(), kind)
        for length in (0, 1, 2, 4, 8, 12, 20, 33, 60, 100, len(data) // 4, len(data) // 2, len(data) - 40):
            yield Hostile(f"cut-{kind}-{length}{suffix}", data[:length], EITHER if length > 100 else REFUSE)


def damaged(rng: np.random.Generator) -> Iterator[Hostile]:
    for kind, suffix in KINDS.items():
        for number in range(9):
            data = bytearray(encoded(cell(48), kind))
            for place in rng.integers(0, len(data) if number % 2 else 200, 1 + 4 * number):
                data[place] = rng.integers(256)
            yield Hostile(f"damaged-{kind}-{number}{suffix}", bytes(data), EITHER)


# Odd, and good for an answer or a clear word


def sizes() -> Iterator[Hostile]:
    for width, height in ((1, 1), (7, 7), (1, 50_000), (50_000, 1), (7, 8)):
        yield Hostile(f"size-{width}x{height}.png", encoded(Image.new("RGB", (width, height))), REFUSE)
    for width, height in ((8, 8), (50_000, 8), (8, 50_000), (1000, 9), (4000, 3000)):
        yield Hostile(f"size-{width}x{height}.png", encoded(cell(8).resize((width, height))), ANSWER)


def modes(rng: np.random.Generator) -> Iterator[Hostile]:
    image = cell()
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(rng.integers(0, 256, (96, 96), np.uint8)))
    grey, deep = np.asarray(image.convert("L")), np.asarray(image).astype(np.uint16)
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = made[:24] + bytes(12) + made[36:]  # without the time at which it was made
    frames = [image.rotate(90 * turn) for turn in range(1, 40)]
    for name, data in {
        "grey.png": encoded(image.convert("L")), "black-and-white.png": encoded(image.convert("1")),
        "palette.png": encoded(image.convert("P")), "palette.bmp": encoded(image.convert("P"), "BMP"),
        "palette-transparent.png": encoded(image.convert("P"), transparency=0),
        "palette-many.png": encoded(image.convert("P"), transparency=bytes(range(256))),
        "alpha.png": encoded(alpha), "alpha.webp": encoded(alpha, "WEBP"), "alpha.tif": encoded(alpha, "TIFF"),
        "grey-alpha.png": encoded(alpha.convert("LA")), "all-clear.png": encoded(Image.new("RGBA", (64, 64))),
        "inks.jpg": encoded(image.convert("CMYK"), "JPEG"), "inks.tif": encoded(image.convert("CMYK"), "TIFF"),
        "ycc.tif": encoded(image.convert("YCbCr"), "TIFF", compression="jpeg"),
        "grey-16.png": encoded(grey.astype(np.uint16) * 16), "grey-16.tif": encoded(grey.astype(np.uint16), "TIFF"),
        "grey-32.tif": encoded(grey.astype(np.int32) * 1000, "TIFF"),
        "colour-16.png": cv2.imencode(".png", deep * 16)[1].tobytes(),
        "colour-16.tif": cv2.imencode(".tif", deep * 256)[1].tobytes(),
        "float.tif": encoded(grey.astype(np.float32) / 255, "TIFF"),
        "float-large.tif": encoded(grey.astype(np.float32) * 1e30, "TIFF"),
        "float-negative.tif": encoded(-grey.astype(np.float32), "TIFF"),
        "animated.png": encoded(image, save_all=True, append_images=frames),
        "animated.webp": encoded(image, "WEBP", save_all=True, append_images=frames),
        "pages.tif": encoded(image, "TIFF", save_all=True, append_images=frames),
        "progressive.jpg": encoded(image, "JPEG", progressive=True), "bits.bmp": encoded(image.convert("1"), "BMP"),
        "profile.jpg": encoded(image, "JPEG", icc_profile=profile), "profile.png": encoded(image, icc_profile=profile),
        "profile-garbage.jpg": encoded(image, "JPEG", icc_profile=b"not a profile" * 9),
        "profile-huge.webp": encoded(image, "WEBP", icc_profile=bytes(2_000_000)),
        "profile-for-inks.jpg": encoded(image.convert("CMYK"), "JPEG", icc_profile=profile),
        **{f"{packed}.tif": encoded(image, "TIFF", compression=packed)
           for packed in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")},
        "fax.tif": encoded(image.convert("1"), "TIFF", compression="group4"),
    }.items():  # fmt: skip
        yield Hostile(f"mode-{name}", data, ANSWER)
    broken = grey.astype(np.float32)
    for name, value in (("nan", np.nan), ("infinite", np.inf), ("minus-infinite", -np.inf)):
        broken[5, 5] = value
        yield Hostile(f"mode-float-{name}.tif", encoded(broken, "TIFF"), REFUSE)
    yield Hostile("mode-lab.tif", encoded(image.convert("LAB"), "TIFF", icc_profile=None), EITHER)


def told() -> Iterator[Hostile]:
    """What is said of the picture beside its pixels."""
    for orientation in (*range(10), 65_535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield Hostile(f"exif-{orientation}.jpg", encoded(cell(), "JPEG", exif=exif), ANSWER)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x9286] = 6, HTML, "x" * 60_000
    yield Hostile("exif-html.jpg", encoded(cell(), "JPEG", exif=exif), ANSWER)
    for number, block in enumerate((b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 999)):
        yield Hostile(f"exif-broken-{number}.jpg", encoded(cell(), "JPEG", exif=block), ANSWER)
    comment = PngImagePlugin.PngInfo()
    comment.add_text("Title", HTML)
    comment.add_itxt("XML:com.adobe.xmp", ENTITIES)
    yield Hostile("told-html.png", encoded(cell(), pnginfo=comment), ANSWER)
    yield Hostile("told-dpi.jpg", encoded(cell(), "JPEG", dpi=(65_535, 1)), ANSWER)


# No pictures at all

ENTITIES = (
    '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {name} "{10 * f"&{before};"}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ) + ']><l>&i;</l>'
)  # fmt: skip
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><image href="file:///etc/passwd"/>{HTML}</svg>'


def no_pictures(rng: np.random.Generator) -> Iterator[Hostile]:
    for name, data in {
        "empty.jpg": b"", "byte.png": b"\0", "zeros.tif": bytes(100_000), "noise.png": rng.bytes(100_000),
        "noise.jpg": b"\xff\xd8\xff\xe0" + rng.bytes(20_000), "signature.png": b"\x89PNG\r\n\x1a\n",
        "page.jpg": f"<!DOCTYPE html><html>{HTML}</html>".encode(), "page.html": HTML.encode(),
        "page.png": HTML.encode(),
        "drawing.svg": SVG.encode(), "drawing.png": SVG.encode(), "drawing.jpg": SVG.encode(),
        "laughs.xml": ENTITIES.encode(), "laughs.png": ENTITIES.encode(), "laughs.svg": ENTITIES.encode(),
        "outside.xml": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        "script.jpg": b"#!/bin/sh\ntouch /tmp/pwned; touch pwned\n", "script.py": b"open('pwned', 'w')\n",
        "pickle.png": b"cos\nsystem\n(S'touch pwned'\ntR.", "pickle.npy": b"\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran",
        "array.png": b"\x93NUMPY" + bytes(200), "weights.jpg": b"PK\3\4" + bytes(60),
        "program.png": b"\x7fELF" + bytes(400), "program.jpg": b"MZ" + bytes(400),
        "postscript.tif": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(touch pwned) system\n",
        "document.jpg": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj",
        "moving.png": encoded(cell(), "GIF"), "moving.gif": encoded(cell(), "GIF"), "icon.png": encoded(cell(), "ICO"),
        "plain.ppm": encoded(cell(), "PPM"), "plain.jpg": encoded(cell(), "PPM"), "tga.png": encoded(cell(), "TGA"),
        "jp2.jpg": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200), "heic.jpg": b"\0\0\0\x18ftypheic" + bytes(200),
        "film.jpg": b"\0\0\0\x18ftypmp42" + bytes(200), "photoshop.png": b"8BPS\0\1" + bytes(400),
        "packed.jpg": b"\x1f\x8b\x08" + bytes(400), "packed.png": b"7z\xbc\xaf\x27\x1c" + bytes(99),
        "database.png": b"SQLite format 3\0" + bytes(400), "table.txt": b"path,label\n../../etc/passwd,=1+1\n",
        "lines.png": b"\n" * 5000, "json.jpg": b"[" * 50_000, "utf16.png": HTML.encode("utf-16"),
        "shortcut.jpg": b"[InternetShortcut]\nURL=file:///etc/passwd\n",
        "tar.png": b"ustar".rjust(262, b"\0") + bytes(300),
    }.items():  # fmt: skip
        yield Hostile(f"none-{name}", data, REFUSE)


def wrong_endings() -> Iterator[Hostile]:
    """What a file is called says nothing."""
    suffixes = list(KINDS.values())
    for place, kind in enumerate(KINDS):
        for suffix in (suffixes[(place + 1) % 5], suffixes[(place + 2) % 5], ".exe", ".html", ""):
            yield Hostile(f"ending-{kind}{suffix}", encoded(cell(), kind), ANSWER)


def polyglots() -> Iterator[Hostile]:
    """Pictures that are something else as well."""
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w") as packed:
        packed.writestr(zipfile.ZipInfo("../pwned"), b"pwned")
    tails = {"zip": inside.getvalue(), "html": HTML.encode(), "php": b"<?php system('touch pwned'); ?>"}
    tails["long"] = bytes(10**6)
    for kind, suffix in KINDS.items():
        for name, tail in tails.items():
            yield Hostile(f"both-{kind}-{name}{suffix}", encoded(cell(), kind) + tail, ANSWER)
    yield Hostile("both-comment.jpg", encoded(cell(), "JPEG", comment=b"*/=1;alert(1);/*<?php phpinfo();"), ANSWER)
    yield Hostile("both-first.jpg", HTML.encode() + encoded(cell(), "JPEG"), REFUSE)
