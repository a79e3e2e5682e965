"""A confusion matrix whose cells are buttons: rows are true classes, columns predicted ones."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import streamlit as st

from bloodcell_core.words import pretty, titles
from ui.files import together
from ui.shell import percent

Mode = Literal["counts", "by true", "by predicted"]
Counts = Sequence[Sequence[int]]

NARROWEST = 380  # pixels in which few classes stand beside each other; of more than `MANY` (matrix.js), as matrix.css:
MANY, MANY_CORNER, MANY_CELL = 5, 112, 44

_TABLE = st.components.v2.component(
    "lab_matrix",
    html="""<div class="frame">
    <table><caption></caption><thead></thead><tbody></tbody></table>
    <p class="key"><i></i><span></span><i></i><span></span></p></div>""",
    css=together("matrix.css", "forced.css"),
    js=together("matrix.js"),
)


def confusion_matrix(
    counts: Counts,
    classes: Sequence[str],
    *,
    key: str,
    title: str,
    on_click: Callable[[int, int], None],
    mode: Mode = "counts",
    baseline: Counts | None = None,
    scale_max: float | None = None,
    selected: tuple[int, int] | None = None,
) -> None:
    """Draw the matrix; `on_click` is given the true and the predicted index of a cell that is clicked.

    It is called before the page is drawn anew.

    `counts[i][j]` is how many pictures of class i were called class j. With a `baseline`, the change from
    it is drawn: what became better in the accent colour, what became worse in orange.
    `scale_max` is the count, or the share 0…1, that gets the deepest shade; matrices that stand side by
    side need a common one for counts (`common_scale`), shares have it. `selected` rings a cell.

    Two of them go into `st.grid(2, min_column_width=narrowest(…))`, which puts one under the other where it is narrow.
    """
    _TABLE(
        key=key,
        data={
            "title": title,
            "classes": [*titles(classes).values()],
            "totals": [f"n = {sum(row):,}" for row in counts],
            "cells": cells(counts, classes, mode, baseline, scale_max),
            "selected": None if selected is None else selected[0] * len(classes) + selected[1],
            "key": ["right", "mistake"] if baseline is None else ["better", "worse"],
        },
        on_opened_change=lambda: on_click(*divmod(int(st.session_state[key]["opened"]), len(classes))),
    )


def narrowest(*classes: Sequence[str]) -> int:
    """The `min_column_width` of the grid of matrices of such classes: the widest isn't scrolled in it."""
    return max(MANY_CORNER + MANY_CELL * len(names) if len(names) > MANY else NARROWEST for names in classes)


def common_scale(*matrices: Counts) -> float:
    """The `scale_max` by which count matrices side by side are shaded alike: their largest cell."""
    return max((value for counts in matrices for row in counts for value in row), default=0)


def cells(
    counts: Counts, classes: Sequence[str], mode: Mode, baseline: Counts | None, scale_max: float | None
) -> list[dict[str, Any]]:
    """What stands in each cell, row by row: the large and the small figure, shade 0…1, kind and title."""
    number = np.asarray(counts, dtype=float).reshape(len(classes), len(classes))
    share = _share(number, mode)
    if baseline is not None:
        before = np.asarray(baseline, dtype=float)
        number, share = number - before, share - _share(before, mode)
    value = number if mode == "counts" else share
    top = scale_max or (1.0 if mode != "counts" and baseline is None else np.nanmax(np.abs(value), initial=0))
    describe = _describe if baseline is None else _describe_change
    return [
        describe(number[i, j], share[i, j], mode, pretty(true), pretty(predicted), right=i == j)
        | {"shade": _shade(value[i, j], top)}
        for i, true in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]


def _share(number: np.ndarray, mode: Mode) -> np.ndarray:
    """Each cell's share of its column if by predicted, else of its row; nan where there are no pictures."""
    total = number.sum(axis=0 if mode == "by predicted" else 1, keepdims=True)
    share = np.full_like(number, np.nan)
    np.divide(number, total, out=share, where=total > 0)
    return share


def _shade(value: float, top: float) -> float:
    # By the cube root, because mistakes of a few per cent must be seen next to a diagonal near a hundred.
    return round(float(np.cbrt(min(abs(value) / top, 1))), 3) if top and np.isfinite(value) else 0.0


def _describe(number: float, share: float, mode: Mode, true: str, predicted: str, *, right: bool) -> dict[str, str]:
    count, part = f"{number:,.0f}", percent(share)
    big, small = (count, part) if mode == "counts" else (part, count)
    whole = f"called {predicted}" if mode == "by predicted" else f"truly {true}"
    kind = "none" if number == 0 else "right" if right else "wrong"
    title = f"True {true}, predicted {predicted}: {big}, {small} of those {whole}"
    return {"big": big, "small": small if number else "", "kind": kind, "title": title}


def _describe_change(
    number: float, share: float, mode: Mode, true: str, predicted: str, *, right: bool
) -> dict[str, str]:
    count = _signed(f"{number:+,.0f}")
    points = "–" if np.isnan(share) else _signed(f"{100 * share:+.1f}")
    big, small = (count, "") if mode == "counts" else (points, count)
    value = number if mode == "counts" else share
    kind = "none" if not value or np.isnan(value) else "right" if (value > 0) == right else "wrong"
    if mode == "counts":
        told = f"{count} picture{'' if abs(number) == 1 else 's'}, {points} percentage points"
    else:  # as the two stand on the cell, for who speaks to the computer
        told = f"{points}, {count}: in percentage points and in pictures"
    title = f"True {true}, predicted {predicted}: {told}"
    return {"big": big, "small": small if number else "", "kind": kind, "title": title}


def _signed(figure: str) -> str:
    return figure.lstrip("+") if float(figure.replace(",", "")) == 0 else figure.replace("-", "−")
