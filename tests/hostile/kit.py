"""What all hostile files are made with."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from bloodcell_core.data import demo

ANSWER, REFUSE, EITHER, NO_ROW = "answer", "refuse", "either", "no row"
"""What must become of a file. A link that leads nowhere has no row, and so has what is no file at all."""
ALLOWED = {
    ANSWER: {"ok", "unsure", "unlike"}, REFUSE: {"refused"}, EITHER: {"ok", "unsure", "unlike", "refused"},
    NO_ROW: {"no row"},
}  # fmt: skip
"""What must become of a file → the states that its answer may have."""
KINDS = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp"}
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>"


class Hostile(NamedTuple):
    name: str | bytes
    """The file's name; bytes where it is no UTF-8."""
    make: bytes | Callable[[Path], None]
    """Its content, or what makes it at a path."""
    wants: str

    def write(self, folder: Path) -> Path:
        path = Path(os.fsdecode(os.path.join(os.fsencode(folder), os.fsencode(self.name))))
        if isinstance(self.make, bytes):
            path.write_bytes(self.make)
        else:
            self.make(path)
        return path


@cache
def _drawn(seed: int) -> np.ndarray:
    return demo.draw_picture("neutrophil", np.random.default_rng(seed))


def cell(side: int = 96, seed: int = 0) -> Image.Image:
    """A drawn white cell, another one for each seed."""
    return Image.fromarray(_drawn(seed % 8)).resize((side, side - seed // 8))


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, kind, **options)
    return out.getvalue()


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below `folder` with its size and the time of its last change; of folders that they are there."""
    told = {}
    for place, folders, files in os.walk(folder):
        told |= {os.path.join(place, name): (0, 0) for name in folders}
        for name in files:
            path = os.path.join(place, name)
            seen = os.lstat(path)
            told[path] = (seen.st_size, seen.st_mtime_ns)
    return told
