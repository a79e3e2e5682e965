"""Tells smear fields from pictures of one cell, by what the cell finder finds.

A field is a picture with several whole cells, or with room for many beside its one small cell. Everything else is a
picture of one cell. If there is only one, it is answered and counted either way; only how it is shown differs. How
often either is taken for the other: docs/classify.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from bloodcell_core.cells import Box, Cell, Found
from bloodcell_core.crops import Crop, cell_square
from bloodcell_core.inference.answers import CELL, FIELD

FIELD_BELOW = 1 / 3  # of the picture's shorter side: then eight squares as large as the largest cell's fit around it
BORDER = 2  # pixels from a picture's border within which a nucleus counts as cut by it
MOST_CELLS = 500  # of one picture: a field has tens of cells, and a picture in which more are found is no smear


def kind_of(found: Found, width: int, height: int) -> str:
    """FIELD or CELL, for a picture of `width` × `height` pixels; CELL where no white cell is found."""
    if not found.cells:
        return CELL
    x0, _, x1, _ = cell_square(found.cells[0].box, found.red_radius, Crop())
    if x1 - x0 < FIELD_BELOW * min(width, height):
        return FIELD
    whole = [cell.box for cell in found.cells if not cut_by_border(cell.box, width, height)]
    # Without red cells the lobes of one nucleus can't be told from several nuclei: then only distant ones are several.
    if found.red_radius:
        return FIELD if len(whole) > 1 else CELL
    far = (x1 - x0) // 2
    return FIELD if any(_gap(one, other) > far for one, other in combinations(whole, 2)) else CELL


def _gap(one: Box, other: Box) -> int:
    """Pixels between two bounding boxes, across or down, whichever is more; 0 where they touch."""
    across = max(one[0], other[0]) - min(one[2], other[2])
    down = max(one[1], other[1]) - min(one[3], other[3])
    return max(across, down, 0)


def cut_by_border(box: Box, width: int, height: int) -> bool:
    """Whether a nucleus touches the border of a picture of `width` × `height` pixels."""
    x0, y0, x1, y1 = box
    return min(x0, y0) < BORDER or x1 > width - BORDER or y1 > height - BORDER


def square_around(box: Box) -> Box:
    """The smallest square with the same centre that contains a box drawn by a person."""
    x0, y0, x1, y1 = box
    side = max(x1 - x0, y1 - y0, 1)
    x, y = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return x, y, x + side, y + side


def largest(cells: Sequence[Cell]) -> tuple[list[Cell], str]:
    """At most `MOST_CELLS` of the cells found, and a remark on what was left out, "" if nothing was."""
    left_out = len(cells) - MOST_CELLS
    words = f"the {MOST_CELLS} largest of {len(cells):,} cells found are answered" if left_out > 0 else ""
    return list(cells[:MOST_CELLS]), words
