"""A person's corrections of a slide: an append-only list, applied to the cells that were found.

A cell is known by its picture's number and an id: where its nucleus was found, or for one drawn by hand "h" and the
version of the slide at which it was drawn. So corrections survive a change of the network, and one that was made for a
cell can't slip to another when a later cell finder finds more or fewer of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bloodcell_core.cells import Box
from bloodcell_core.errors import LabError

OF_CELLS = ("label", "unlabel", "remove", "restore", "move", "add")
OUT = "out"
OF_PICTURES = ("cell", "field", OUT, "auto")
"""It shows one cell; it is a smear field; it is left out of the count; it is counted again, as what it was before."""
MAX_BOX = 100_000  # pixels from the corner: no picture of this lab is larger
MAX_SIDE = 10_000  # pixels: no cell is as large, and what is cut out around a larger one would fill the memory
MAX_LABEL = 200  # characters
WHOLE = "whole"  # the id of an answer for a picture in which no nucleus was found


@dataclass(frozen=True)
class Correction:
    """One change. `version` is the slide's version that it made."""

    picture: int
    do: str
    """A row of OF_CELLS, with a `cell`; one of OF_PICTURES, without; or "undo", of all that version `of` changed."""
    cell: str = ""
    label: str = ""
    box: Box | None = None
    """Where the cell is: what the network is shown. Always told of a cell that is drawn, moved or given a label."""
    of: int = 0
    version: int = 0
    at: str = ""
    """When, UTC."""

    def __post_init__(self) -> None:
        of_cell, boxed = self.do in OF_CELLS, self.do in ("add", "move", "label")
        fits = (
            of_cell or self.do in (*OF_PICTURES, "undo"),
            bool(self.cell) == of_cell,
            bool(self.label) == (self.do == "label") or self.do == "add",
            (self.box is not None) == boxed,
            (self.of > 0) == (self.do == "undo"),
            len(self.label) <= MAX_LABEL and len(self.cell) <= MAX_LABEL,
        )
        if not all(fits) or (self.box is not None and not is_box(self.box)):
            raise LabError(f"there is no such correction: {self.do[:20]!r} of cell {self.cell[:20]!r}")

    def to_json(self) -> dict[str, Any]:
        """Its fields that say something; `from_json` reads them back."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None, 0)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Correction:
        """Raises KeyError, TypeError, ValueError or LabError for what is none."""
        texts = {name: value.get(name, "") for name in ("cell", "label", "at")} | {"do": value["do"]}
        numbers = {"version": value["version"], "picture": value["picture"], "of": value.get("of", 0)}
        if not all(isinstance(text, str) for text in texts.values()):
            raise TypeError("a correction's words must be text")
        if not all(type(number) is int for number in numbers.values()):
            raise TypeError("a correction's numbers must be whole")
        box = value.get("box")
        return cls(**texts, **numbers, box=None if box is None else tuple(box))


@dataclass(frozen=True)
class SlideCell:
    """A cell as it stands after all corrections."""

    id: str
    box: Box
    """What the network is shown, in the picture's pixels: as found, or as drawn."""
    label: str = ""
    """By hand: it stands whatever a network says. Empty where none was given."""
    by_hand: bool = False
    """Drawn, or moved to another place, by hand."""
    removed: bool = False


def cell_id(nucleus: Box | None) -> str:
    """The id of a cell whose nucleus was found there; None where none was."""
    return WHOLE if nucleus is None else ".".join(map(str, nucleus))


def drawn_id(version: int, place: int) -> str:
    """The id of a cell drawn by hand: the `place`-th among the changes of that version."""
    return f"h{version}.{place}"


def is_drawn(cell: str) -> bool:
    """Whether an id is of `drawn_id`: it then tells of no place, and is another cell's on another slide."""
    return cell.startswith("h")


def is_box(box: Sequence[Any]) -> bool:
    """Whether it is x0, y0, x1, y1 in whole pixels, of some size and not of any."""
    if len(box) != 4 or not all(type(edge) is int and abs(edge) <= MAX_BOX for edge in box):
        return False
    return bool(0 < box[2] - box[0] <= MAX_SIDE and 0 < box[3] - box[1] <= MAX_SIDE)


def in_force(corrections: Iterable[Correction]) -> list[Correction]:
    """The corrections that were not undone, oldest first; an undo that was itself undone has no effect."""
    kept: list[Correction] = []
    gone: set[int] = set()
    for one in reversed(list(corrections)):
        if one.version in gone:
            continue
        if one.do == "undo":
            gone.add(one.of)
        else:
            kept.append(one)
    return kept[::-1]


def corrected_cells(found: Mapping[str, Box], corrections: Iterable[Correction]) -> list[SlideCell]:
    """The cells of one picture: those found, then those drawn, with what was said of them by hand.

    A cell that was given a label, or moved, and that this cell finder doesn't find stays where it was.

    Args:
        found: id → what the network is shown.
        corrections: those of this picture that are `in_force`, oldest first.
    """
    cells = {key: SlideCell(key, box) for key, box in found.items()}
    for one in corrections:
        if one.do == "add" or (one.cell not in cells and one.do in ("label", "move")):
            assert one.box is not None
            cells[one.cell] = SlideCell(one.cell, one.box, by_hand=True)
        cell = cells.get(one.cell)
        if cell is None:
            continue
        if one.do in ("label", "unlabel", "add"):
            # Who gives a class to what was taken out says that it is a cell after all.
            cells[one.cell] = replace(cell, label=one.label, removed=cell.removed and one.do != "label")
        elif one.do in ("remove", "restore"):
            cells[one.cell] = replace(cell, removed=one.do == "remove")
        elif one.do == "move" and one.box is not None:
            cells[one.cell] = replace(cell, box=one.box, by_hand=True)
    return list(cells.values())


def kind_by_hand(corrections: Iterable[Correction]) -> str:
    """What a person says that a picture is: "cell", "field", "out" (left out of the count), or "" for nothing.

    `corrections` are as in `corrected_cells`.
    """
    corrections = list(corrections)
    said = [one.do for one in corrections if one.do in OF_PICTURES]
    return OUT if said[-1:] == [OUT] else shown_by_hand(corrections)


def shown_by_hand(corrections: Iterable[Correction]) -> str:
    """What a person says that a picture shows, left out of the count or not: "cell", "field", or "" for nothing."""
    return next((one.do for one in reversed(list(corrections)) if one.do in ("cell", "field")), "")


def clash(new: Iterable[Correction], later: Iterable[Correction]) -> bool:
    """Whether changes conflict with later ones of someone else: on the same cell, or the same picture as a whole."""
    touched = {(one.picture, one.cell) for one in new}
    return any((one.picture, one.cell) in touched or "undo" in (one.do, *(mine.do for mine in new)) for one in later)
