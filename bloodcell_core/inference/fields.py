"""Whole smear fields and pictures of one cell, told apart by what the cell finder sees.

A field is a picture in which several whole cells lie, or that has room for many: its one cell is small in it. All else
is a picture of one cell. Where there is but one it is answered and counted either way; what differs is how it is shown.
How often which is told as what: docs/classify.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from bloodcell_core.cells import Box, Cell, Found
from bloodcell_core.crops import Crop, cell_square
from bloodcell_core.inference.answers import CELL, FIELD

FIELD_BELOW = 1 / 3  # of the picture's shorter side: beside a smaller square around its largest cell are eight more
BORDER = 2  # pixels from a picture's border within which a nucleus counts as cut by it
MOST_CELLS = 500  # of one picture: a field has tens of cells, and a picture in which more are found is no smear


def kind_of(found: Found, width: int, height: int) -> str:
    """`field` or `cell`, of a picture of that size in pixels; `cell` where nothing is found in it."""
    if not found.cells:
        return CELL
    x0, _, x1, _ = cell_square(found.cells[0].box, found.red_radius, Crop())
    if x1 - x0 < FIELD_BELOW * min(width, height):
        return FIELD
    whole = [cell.box for cell in found.cells if not cut_by_border(cell.box, width, height)]
    # Without red cells nothing tells the lobes of one nucleus from several: then only what lies far apart is several.
    if found.red_radius:
        return FIELD if len(whole) > 1 else CELL
    far = (x1 - x0) // 2
    return FIELD if any(_gap(one, other) > far for one, other in combinations(whole, 2)) else CELL


def _gap(one: Box, other: Box) -> int:
    """Pixels between two boxes, across or down, whichever is more; 0 where they touch."""
    across = max(one[0], other[0]) - min(one[2], other[2])
    down = max(one[1], other[1]) - min(one[3], other[3])
    return max(across, down, 0)


def cut_by_border(box: Box, width: int, height: int) -> bool:
    """Whether a nucleus reaches the border of a picture of that size in pixels."""
    x0, y0, x1, y1 = box
    return min(x0, y0) < BORDER or x1 > width - BORDER or y1 > height - BORDER


def square_around(box: Box) -> Box:
    """The smallest square around the same middle that holds a box that somebody drew."""
    x0, y0, x1, y1 = box
    side = max(x1 - x0, y1 - y0, 1)
    x, y = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return x, y, x + side, y + side


def largest(cells: Sequence[Cell]) -> tuple[list[Cell], str]:
    """At most `MOST_CELLS` of the cells found, and a word on what was left out."""
    left_out = len(cells) - MOST_CELLS
    words = f"the {MOST_CELLS} largest of {len(cells):,} cells found are answered" if left_out > 0 else ""
    return list(cells[:MOST_CELLS]), words
