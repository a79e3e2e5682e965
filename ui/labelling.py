"""The cells of a slide as a sheet of tiles on the Classify page, to label about a hundred in a minute or two.

Tiles are in the order of the network's own answers, by class and the least sure first, whatever a person labels
meanwhile: no tile moves while one works.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import streamlit as st

from bloodcell_core.cells import Box
from bloodcell_core.crops import cut_square
from bloodcell_core.errors import LabError
from bloodcell_core.smear.corrections import OUT, Correction
from bloodcell_core.smear.slide_cells import CountedCell, CountedPicture
from bloodcell_core.smear.slides import Slide, SlidePicture
from bloodcell_core.words import pretty
from ui import address, cached, classify_pictures, classify_slide, gallery, shell
from ui.classify_pictures import Act
from ui.files import together
from ui.theme import css_colours

TILES, TILE_PX = 60, 112  # tiles per page, and their side
ALL = "all"
SHEET_SCRIPTS = ("grid.js", "classify_acts.js", "classify_sheet.js")
SHEET_HTML = (
    '<div class="labelling"><div class="tools" role="toolbar" aria-label="What a click says"></div>'
    '<div class="sheet" role="group" aria-label="Cells to label"></div><p class="say"></p></div>'
)
_SHEET = st.components.v2.component(
    "lab_sheet",
    html=SHEET_HTML,
    css=together("classify_tools.css", "classify_sheet.css", "forced.css"),
    js=together(*SHEET_SCRIPTS),
)


class Called(NamedTuple):
    """A cell, and the network's most probable class for it."""

    counted: CountedPicture
    cell: CountedCell
    guess: str
    """Empty where the network has no answer."""

    @property
    def key(self) -> str:
        """Identifies the cell within its slide: picture and cell."""
        return f"{self.counted.picture.number}/{self.cell.id}"


def called_cells(pictures: Sequence[CountedPicture]) -> list[Called]:
    """All cells of a slide that count or were removed by hand, in an order that labelling doesn't change."""
    found = [
        Called(one, cell, cell.answer.likeliest if cell.answer else "")
        for one in pictures
        if one.kind != OUT
        for cell in one.cells
    ]
    return sorted(found, key=lambda one: (one.guess, _sureness(one.cell), one.counted.picture.number))


def _sureness(cell: CountedCell) -> float:
    return max(cell.answer.probabilities.values()) if cell.answer else 0.0


def confirm_shown(cells: Sequence[Called]) -> list[Correction]:
    """Corrections that give each of these cells which no person has judged the network's class."""
    return [
        Correction(one.counted.picture.number, "label", one.cell.id, one.guess, one.cell.box)
        for one in cells
        if one.guess and one.cell.state not in ("confirmed", "removed")
    ]


def _rest_in_words(cells: int) -> str:
    if cells == 1:
        return "The other one here is right"
    return f"All {cells:,} others here are right" if cells else "Every cell here is judged"


def sheet(slide: Slide, pictures: Sequence[CountedPicture], classes: Sequence[str]) -> None:
    """Draws the sheet: the choice of cells, the button that confirms the rest, tiles and page numbers."""
    cells = called_cells(pictures)
    kinds = {ALL: "All"} | {f"c{place}": pretty(name) for place, name in enumerate(classes)}
    members = {key: [one for one in cells if key == ALL or classes[int(key[1:])] == one.guess] for key in kinds}
    shown = address.segmented_control(
        "Called", [key for key in kinds if members[key]], "called", default=ALL, label_visibility="collapsed",
        format_func=lambda key: f"{shell.plain(kinds[key])} {_labelled(members[key]):,}/{len(members[key]):,}",
        help="Cells by the network's most probable class, whether or not it is sure: labelled, of all.",
    )  # fmt: skip
    above, below = st.container(), st.container()
    with below:
        start, stop = gallery.pager(len(members[shown]), TILES)
    part = members[shown][start:stop]
    rest = confirm_shown(part)
    with above:
        st.button(
            _rest_in_words(len(rest)),
            icon=":material/done_all:", disabled=not rest, on_click=classify_slide.change_all, args=(rest,),
            key="sheet_rest",
            help="Each cell on this page that you have not judged gets the class that the network calls it. Correct "
            "those that are wrong first. One undo takes it back.",
        )  # fmt: skip
        data = {
            "cells": _tiles(slide, part),
            "classes": _classes(classes),
            "can_undo": slide.last_change is not None,
            "say": "A click says that a cell is what it is called, a second one takes that back; what a click says can "
            "be chosen above. Keys: 1 to 9 give a class and go on, C confirms, Del: it is no cell, U undoes.",
        }
        classify_pictures.mounted(_SHEET, "classify_sheet", data, lambda act: apply(act, classes))


def _labelled(cells: Sequence[Called]) -> int:
    return sum(one.cell.state == "confirmed" for one in cells)


def apply(act: Act, classes: Sequence[str]) -> None:
    """Applies a person's act on a tile, whose cell is given as `picture/cell`."""
    number, _, cell = str(act.get("cell", "")).partition("/")
    classify_slide.change({**act, "cell": cell}, int(number) if number.isdecimal() else 0, classes)


def _classes(classes: Sequence[str]) -> list[dict[str, str]]:
    colours = css_colours(classes)
    return [{"name": name, "title": pretty(name), "colour": colours[name]} for name in classes]


def _tiles(slide: Slide, cells: Sequence[Called]) -> list[dict[str, Any]]:
    by_picture: dict[int, list[Called]] = {}
    for one in cells:
        by_picture.setdefault(one.counted.picture.number, []).append(one)
    sources: dict[str, str] = {}
    for some in by_picture.values():
        picture, boxes = some[0].counted.picture, tuple(one.cell.box for one in some)
        try:
            pixels = _pixels(slide, picture, boxes)
        except LabError:  # a file that was deleted by hand: only its tiles are missing
            continue
        sources |= zip((one.key for one in some), pixels, strict=True)
    return [
        {
            "id": one.key,
            "src": sources.get(one.key, gallery.GONE),
            "box": list(one.cell.box),
            "state": one.cell.state if one.cell.state in ("confirmed", "removed") else "guess",
            "confirmed": one.cell.cell.label or None,
            "named": one.guess or None,
            "title": f"({one.counted.picture.file})",
        }
        for one in cells
    ]


@cached.data(max_entries=2000, show_spinner=False)
def _pixels(slide: Slide, picture: SlidePicture, boxes: tuple[Box, ...]) -> list[str]:
    """The cells of one picture, which is decoded once for all of them."""
    with classify_slide.at_full_size(slide, picture) as pixels:
        return [gallery.thumbnail(cut_square(pixels, box), TILE_PX) for box in boxes]
