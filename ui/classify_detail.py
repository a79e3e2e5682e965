"""One cell on the Classify page: what the network saw, its answer, and on request why."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import cv2
import numpy as np
import streamlit as st

from bloodcell_core.cells import Box
from bloodcell_core.crops import square_of_other
from bloodcell_core.data.views import make_view, view_of_square
from bloodcell_core.errors import LabError, in_words
from bloodcell_core.runs import Run
from bloodcell_core.smear.slide_cells import CountedCell, CountedPicture
from bloodcell_core.smear.slides import Slide, SlidePicture
from bloodcell_core.words import capitalised, pretty
from ui import cached, charts, classify_pictures, classify_slide, dataset_pictures, lab, shell
from ui.neighbours import finder
from ui.review_cards import explainer

NOT_A_CELL = ""  # as no class is called; nor as it is written, by which Streamlit knows what was picked
HEAT = 0.5  # opacity of a heat map where it is hottest
WHY = {"heat": "Heat map", "alike": "Most alike"}


@shell.shows_errors
def of_picture(
    slide: Slide, counted: CountedPicture, run: Run, classes: Collection[str], *, editor: bool
) -> None:
    """Draws the cell that is chosen on a picture: wide below an editor, else narrow, with the `classes` to give."""
    cell: CountedCell | None = counted.cells[0] if counted.cells else None
    if editor:
        chosen = classify_slide.chosen_cell(counted)
        cell = next((cell for cell in counted.cells if cell.id == chosen), None)
    if cell is None:
        if editor and counted.cells:
            st.caption("Click a cell to see the network's answer.")
        return
    pixels = classify_slide.cut_out(slide, counted.picture, cell.box)
    with st.container(border=True, key="classify_detail"):
        if editor:
            picture, words, shares = st.columns([2, 4, 4], vertical_alignment="center")
        else:
            picture, words = st.columns([2, 3], vertical_alignment="center")
            shares = st.container()
        with words:
            _say(cell)
            why = st.pills(
                "Why?", list(WHY), selection_mode="multi", format_func=WHY.get, key="classify_why",
                help="Which parts of the picture speak for the network's answer (Grad-CAM), and the labelled training "
                "cells that it finds most like this one.",
            )  # fmt: skip
        with shares:
            if cell.answer:
                foreign = cell.answer.state == "unlike"
                if foreign:
                    st.caption("The probabilities, which mean little for a cell like this:")
                bold = None if foreign else cell.answer.likeliest
                st.html(charts.probability_bars_html(cell.answer.probabilities, classes=run.classes, bold=bold))
            if not editor:
                number = counted.picture.number
                class_by_hand(cell, classes, lambda act: classify_slide.change(act, number, classes))
        shown = _with_heat(slide, counted, cell, run, pixels) if "heat" in why and cell.answer else pixels
        picture.image(shown, width="stretch", alt=f"{classify_pictures.name_of(cell)}, as the network sees it")
        if "alike" in why and cell.answer:
            _alike(slide, counted, cell, run)


def _say(cell: CountedCell) -> None:
    by_hand = " by hand" if cell.state == "confirmed" else ""
    st.markdown(f"**{shell.plain(classify_pictures.name_of(cell))}**{by_hand}")
    if cell.answer and cell.state == "confirmed" and cell.answer.likeliest != cell.label:
        st.caption(f"The network says {shell.plain(pretty(cell.answer.likeliest))}.")
    elif cell.reason and cell.state not in ("confirmed", "ok"):
        st.caption(f"{shell.plain(capitalised(cell.reason))}.")


def class_by_hand(cell: CountedCell, classes: Collection[str], apply: Callable[[Any], None]) -> None:
    """Draws buttons to give the cell a class; `apply` is called with the act when a person picks or unpicks one."""
    now = NOT_A_CELL if cell.state == "removed" else (cell.label if cell.state == "confirmed" else None)
    offered = [*classes, NOT_A_CELL]
    offered += [now] if now and now not in offered else []  # a class of another run, which can be unpicked
    key = f"classify_label_{cell.id}_{now}"

    def called(name: str) -> str:
        return "× Not a cell" if name == NOT_A_CELL else shell.plain(pretty(name))

    def changed() -> None:
        picked = st.session_state[key]
        if picked == NOT_A_CELL:
            apply({"do": "remove", "cell": cell.id})
        elif picked:
            apply({"do": "label", "cell": cell.id, "label": picked, "box": list(cell.box)})
        elif cell.state == "removed":
            apply({"do": "restore", "cell": cell.id})
        elif cell.state == "confirmed":
            apply({"do": "unlabel", "cell": cell.id})

    st.pills("Class by hand", offered, default=now, format_func=called, key=key, on_change=changed)


# Why


def _with_heat(slide: Slide, counted: CountedPicture, cell: CountedCell, run: Run, pixels: np.ndarray) -> np.ndarray:
    """The cell with the heat map of the network's answer over it; for an ensemble the mean of its members' maps."""
    try:
        heat = _heat(run, slide, counted.picture, cell.box, cell.answer.likeliest)  # type: ignore[union-attr]
    except (LabError, OSError) as error:
        st.caption(shell.plain(in_words(error)))
        return pixels
    wide = cv2.resize(heat, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    hot = cv2.cvtColor(cv2.applyColorMap((255 * wide).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = HEAT * wide[:, :, None]
    return np.clip((1 - share) * pixels + share * hot, 0, 255).astype(np.uint8)


@cached.data(max_entries=64, show_spinner="Working out where the network looks …")
def _heat(run: Run, slide: Slide, picture: SlidePicture, box: Box, label: str) -> np.ndarray:
    size = max(member.config.size for member in run.members)
    maps = [
        moved(explainer(member).heat_map(seen, label), at, box, size)
        for member, (seen, at) in zip(run.members, _seen_by_each(slide, picture, box, run), strict=True)
    ]
    return np.mean(maps, axis=0)


def _seen_by_each(slide: Slide, picture: SlidePicture, box: Box, run: Run) -> list[tuple[np.ndarray, Box]]:
    """What each network of a run is shown for an answer at `box`, and which part of the picture that is."""
    configs = [member.config for member in run.members]
    with classify_slide.at_full_size(slide, picture) as pixels:
        if any(config.view == "frame" for config in configs):  # then there is one answer a picture
            return [make_view(pixels, *each.sight)[:2] for each in configs]
        squares = [square_of_other(box, configs[0].crop, each.crop) for each in configs]
        return [
            (view_of_square(pixels, square, each.size, each.crop), square)
            for square, each in zip(squares, configs, strict=True)
        ]


def moved(heat: np.ndarray, at: Box, to: Box, size: int) -> np.ndarray:
    """A heat map (S, S) of the box `at` of a picture, resampled to the box `to`: (size, size), 0 outside `at`."""
    steps = [len(heat) / (at[end + 2] - at[end]) for end in (0, 1)]  # of the map, per pixel of the picture
    scale = [step * (to[end + 2] - to[end]) / size for end, step in enumerate(steps)]
    start = [step * (to[end] - at[end]) + (scale[end] - 1) / 2 for end, step in enumerate(steps)]
    places = np.array([[scale[0], 0, start[0]], [0, scale[1], start[1]]])
    return cv2.warpAffine(heat, places, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _alike(slide: Slide, counted: CountedPicture, cell: CountedCell, run: Run) -> None:
    from bloodcell_core.inference.neighbours import ALIKE

    try:
        data = lab.dataset(run.config.data)
        views = [seen for seen, _ in _seen_by_each(slide, counted.picture, cell.box, run)]
        with st.spinner("Looking through the training cells …"):
            rows = finder().like(run, data, views)
    except (LabError, OSError) as error:
        st.caption(f"The training cells can't be shown: {shell.plain(in_words(error))}")
        return
    st.caption("The most similar labelled training cells, nearest first")
    labels = data.pictures.label
    thumbnails = dataset_pictures.thumbnails(data, rows, "cell")
    for place, column, src in zip(rows, st.columns(ALIKE), thumbnails, strict=False):
        column.image(src, width="stretch", alt=pretty(labels[place]), caption=shell.plain(pretty(labels[place])))
