"""Cells cut out of a larger picture, as picture files of their own."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bloodcell_core.cells import Box
from bloodcell_core.errors import LabError


def widened(box: Box, by: float, width: int, height: int) -> Box:
    """A bounding box with its sides `by` times as long about its centre, clipped to a picture of `width` × `height`."""
    x0, y0, x1, y1 = box
    across, down = round((by - 1) * (x1 - x0) / 2), round((by - 1) * (y1 - y0) / 2)
    return max(0, x0 - across), max(0, y0 - down), min(width, x1 + across), min(height, y1 + down)


def cut_cell(picture: np.ndarray, part: Box, cell: Box) -> bytes:
    """The `part` of a picture (uint8 H×W×3 RGB) that is cut around `cell`, as a PNG file whose metadata has that box.

    Pictures are identified by their bytes: without the metadata two cells of a small picture, of which all is cut for
    each, would be one. LabError where `part` lies outside the picture.
    """
    x0, y0, x1, y1 = part
    pixels = picture[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)]
    if not pixels.size:
        raise LabError(f"its box {' '.join(map(str, cell))} lies outside the picture")
    words = PngInfo()
    words.add_text("Description", f"the cell at {' '.join(map(str, cell))} of a larger picture")
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", pnginfo=words, compress_level=1)
    return out.getvalue()
