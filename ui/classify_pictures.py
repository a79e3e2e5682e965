"""A slide's cells on the page, as boxes on a field or as rows; a person's acts on them are applied in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from bloodcell_core.runs import Run
from bloodcell_core.smear.differential import classes_by_hand
from bloodcell_core.smear.slide_cells import CountedCell, CountedPicture
from bloodcell_core.words import pretty
from ui import cached, shell
from ui.files import together
from ui.theme import css_colours

QUIET = "light-dark(#6B6875, #B5B2C0)"  # of cells without a class, or with one that the run doesn't know
STATE_WORDS = {"unsure": "Unsure", "unlike": "Unlike its training", "removed": "Not a cell", "refused": "Refused"}
MOST_BARS = 8  # per row
FEW = 14  # boxes on a field; with more there is no room for their class names
USUAL_SIDE = 0.15  # of a picture's shorter side: a new box, where there is no other cell to take its size from

FIELD_SCRIPTS = ("classify_acts.js", "classify_field.js")
FIELD_HTML = (
    '<div class="editor"><div class="tools" role="toolbar" aria-label="Correct the cell"></div>'
    '<div class="frame"><div class="stage"><img draggable="false"><div class="boxes"></div>'
    '<div class="draft" hidden></div></div></div><p class="say" aria-live="polite"></p></div>'
)
_FIELD = st.components.v2.component(
    "lab_field",
    html=FIELD_HTML,
    css=together("classify_tools.css", "classify_field.css", "forced.css"),
    js=together(*FIELD_SCRIPTS),
)
ROW_SCRIPTS = ("classify_acts.js", "classify_rows.js")
ROWS_HTML = '<div class="rows" role="group" aria-label="Cells"></div>'
_ROWS = st.components.v2.component(
    "lab_cell_rows",
    html=ROWS_HTML,
    css=together("classify_rows.css", "forced.css"),
    js=together(*ROW_SCRIPTS),
)

Act = Mapping[str, Any]
"""What a person did: `do`, with `cell`, `label` and `box` as needed."""


def classes_to_give(run: Run) -> dict[str, str]:
    """{class that a person may give a cell: its CSS colour}; `QUIET` for those that the run doesn't know."""
    return dict.fromkeys(classes_by_hand(run.classes), QUIET) | css_colours(run.classes)


def field_editor(
    counted: CountedPicture,
    image: str,
    classes: Mapping[str, str],
    *,
    key: str,
    selected: str | None,
    can_undo: bool,
    apply: Callable[[Act], None],
) -> None:
    """Draws a field with its cells as bounding boxes, to be selected, added, moved, resized, labelled and removed.

    `image` is a data URI of the picture at any size; `classes` are `classes_to_give`. `apply` is called with each act,
    once and in order, before the page is drawn with the change.
    """
    answer = counted.answer
    sides = sorted(cell.box[2] - cell.box[0] for cell in counted.cells)
    data = {
        "picture": counted.picture.number,
        "image": image,
        "alt": f"Smear field {counted.picture.number}",
        "width": answer.width,
        "height": answer.height,
        "cells": [
            _box(cell, place, classes, with_class=len(counted.cells) <= FEW)
            for place, cell in enumerate(counted.cells, 1)
        ],
        "classes": [{"name": name, "title": pretty(name), "colour": colour} for name, colour in classes.items()],
        "selected": selected,
        "can_undo": can_undo,
        "usual_side": sides[len(sides) // 2] if sides else round(USUAL_SIDE * min(answer.width, answer.height)),
        "say": f"{shell.counted(len(counted.standing), 'cell')}. Keys: arrows go from cell to cell, 1 to 9 give a "
        "class, C confirms, Del takes out, M moves, A adds, U undoes.",
    }
    mounted(_FIELD, key, data, apply)


def _box(cell: CountedCell, place: int, colours: Mapping[str, str], with_class: bool) -> dict[str, Any]:
    name = name_of(cell)
    sign = " ✓" if cell.state == "confirmed" else ""
    return {
        "id": cell.id,
        "box": list(cell.box),
        "tag": f"{place} {name}{sign}" if with_class else f"{place}{sign}",
        "title": f"Cell {place}: {name}" + (f", {cell.reason}" if cell.reason else ""),
        "state": cell.state,
        "colour": colour_of(cell, colours),
        "named": named(cell),
        "confirmed": cell.label if cell.state == "confirmed" else None,
    }


def cell_rows(
    rows: Sequence[Mapping[str, Any]],
    classes: Iterable[str],
    *,
    key: str,
    selected: str | None,
    can_undo: bool,
    apply: Callable[[Act], None],
) -> None:
    """Draws cells as rows (`row_of`), which can be selected and labelled; `apply` is as in `field_editor`."""
    data = {
        "rows": list(rows),
        "classes": [{"name": name} for name in classes],
        "selected": selected,
        "can_undo": can_undo,
    }
    mounted(_ROWS, key, data, apply)


def row_of(counted: CountedPicture, thumbnail: str, colours: Mapping[str, str], file: str) -> dict[str, Any]:
    """A picture of one cell, or one that can't be read, as a row; its `id` is the picture's number."""
    number = str(counted.picture.number)
    cell = counted.cells[0] if counted.cells else None
    state = cell.state if cell else counted.answer.state
    name = name_of(cell) if cell else STATE_WORDS.get(state, state)
    notes = [counted.answer.reason, cell.reason if cell else ""]
    if counted.kind == "out":
        notes.insert(0, "left out of the count")
    shares = cell.answer.probabilities if cell and cell.answer else {}
    figure = f" {shell.percent(shares[str(cell.label)])}" if cell and cell.state == "ok" else ""
    sign = " ✓" if cell and cell.state == "confirmed" else ""
    return {
        "id": number,
        "src": thumbnail,
        "tag": name + figure + sign,
        "file": file,
        "note": "; ".join(note for note in notes if note),
        "state": state,
        "colour": colour_of(cell, colours) if cell else QUIET,
        "named": named(cell) if cell else None,
        "box": list(cell.box) if cell else None,
        "bars": _bars(shares, colours),
    }


def _bars(shares: Mapping[str, float], colours: Mapping[str, str]) -> list[dict[str, Any]]:
    """A bar for each class, in their order; of many classes only the likeliest, and one for all others together."""
    shown = sorted(shares, key=lambda name: -shares[name])[: MOST_BARS - 1] if len(shares) > MOST_BARS else shares
    bars = [(pretty(name), share, colours[name]) for name, share in shares.items() if name in shown]
    if left := [share for name, share in shares.items() if name not in shown]:
        bars.append((f"{len(left)} others", sum(left), QUIET))
    return [
        {"title": title, "share": share, "colour": colour, "words": shell.percent(share)}
        for title, share, colour in bars
    ]


def name_of(cell: CountedCell) -> str:
    """A cell's class in words, or why it has none."""
    return pretty(cell.label) if cell.label else STATE_WORDS[cell.state]


def named(cell: CountedCell) -> str | None:
    """The class that a cell gets by confirming it: its own, or else the likeliest."""
    if cell.label:
        return cell.label
    return cell.answer.likeliest if cell.answer else None


def colour_of(cell: CountedCell, colours: Mapping[str, str]) -> str:
    """The CSS colour of a cell's class; `QUIET` where it has none."""
    return colours.get(cell.label or "", QUIET)


def mounted(component: Any, key: str, data: dict[str, Any], apply: Callable[[Act], None]) -> None:
    """Mounts a component with numbered acts: each is applied once, however often the browser sends it."""
    state = f"{key}-heard"
    st.session_state.setdefault(state, {})

    def take() -> None:
        # There is no state where the slide was deleted in another window, and its page redrawn, before the act arrived.
        sent = (st.session_state.get(key) or {}).get("acts")
        if not isinstance(sent, dict):
            return
        heard = st.session_state[state] = _heard(sent["nonce"])
        for act in sent["acts"]:
            if act["seq"] > heard["seq"]:
                heard["seq"] = act["seq"]
                apply(act)

    component(key=key, data=data | {"acked": dict(st.session_state[state])}, on_acts_change=take)


@cached.resource(max_entries=1000, show_spinner=False)
def _heard(nonce: str) -> dict[str, Any]:
    """The number of the last act of one mounting in a browser. All sessions share it: after a lost connection the
    browser tells again, maybe to another session, what it has seen no answer to."""
    return {"nonce": nonce, "seq": 0}
