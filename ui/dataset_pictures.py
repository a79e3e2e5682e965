"""A dataset's pictures as pages show them: thumbnails, galleries, one at full size with what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Lock

import numpy as np
import pandas as pd
import streamlit as st

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.views import View, make_view
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.figures import signed
from bloodcell_core.words import pretty
from ui import address
from ui.gallery import GONE, Tile, gallery, pager, thumbnail
from ui.lab import rows_of, say_synthetic
from ui.shell import plain, shows_errors
from ui.theme import css_colours

TILE_PX, CELL_PX = 96, 320
PER_PAGE = 60  # pictures of a gallery
MOST_THUMBNAILS = 20_000  # that are cached: some 80 MB


@st.cache_resource(show_spinner=False)
def _thumbnails() -> tuple[dict[tuple[str, str, str], str], Lock]:
    """The thumbnails drawn so far, the oldest first, for all sessions. Not `st.cache_data`, which a gallery of 300
    would call 300 times: that took as long as the rest of the page."""
    return {}, Lock()


def thumbnails(data: Dataset, rows: Sequence[int], view: str) -> list[str]:
    """Thumbnails of some rows of a dataset's pictures, in frame or cell view, as data URIs."""
    kept, lock = _thumbnails()
    keys = [(data.content_hash, image_id, view) for image_id in data.pictures.image_id.loc[list(rows)]]
    found = {key: kept.get(key) for key in keys}

    def draw(row: int) -> str | None:
        try:
            view_of_it = make_view(data.read_original(row), view, TILE_PX, place=data.places[row])
        except LabError:  # a file that was deleted by hand costs its own tile only
            return None
        return thumbnail(view_of_it.pixels, TILE_PX)

    missing = {key: row for key, row in zip(keys, rows, strict=True) if found[key] is None}
    if missing:
        with ThreadPoolExecutor() as pool:
            drawn = {key: src for key, src in zip(missing, pool.map(draw, missing.values()), strict=True) if src}
        found |= drawn
        with lock:
            kept |= drawn
            for oldest in [*islice(kept, max(0, len(kept) - MOST_THUMBNAILS))]:
                del kept[oldest]
    return [found[key] or GONE for key in keys]


def tiles(data: Dataset, rows: Sequence[int], view: str, captions: Iterable[str] | None = None) -> list[Tile]:
    """Gallery tiles of some rows of a dataset's pictures; the border is the class's colour."""
    part = data.pictures.loc[list(rows)]
    colours = css_colours(data.classes)
    texts = list(captions) if captions is not None else [""] * len(rows)
    return [
        Tile(
            id=image_id,
            src=src,
            title=f"{pretty(label)}{', synthetic' if data.synthetic else ''}: {file}",
            colour=colours[label],
            caption=text,
        )
        for image_id, src, label, file, text in zip(
            part.image_id, thumbnails(data, rows, view), part.label, part.file, texts, strict=True
        )
    ]


def gallery_to_browse(data: Dataset, image_ids: pd.Series, captions: pd.Series, key: str) -> None:
    """Draws a paged gallery of the pictures that the dataset still has; a click opens one on the Browse page."""
    there = image_ids.isin(data.pictures.image_id)
    above, below = st.container(), st.container()
    with below:
        start, stop = pager(int(there.sum()), PER_PAGE)
    rows = [row for row in rows_of(data, image_ids[there][start:stop]) if row is not None]
    with above:
        gallery(tiles(data, rows, "cell", captions[there][start:stop]), key, opener(data), tile_px=136)


def opener(data: Dataset) -> Callable[[str], None]:
    """The `on_click` of a gallery whose pictures are opened on the Browse page."""
    name = data.name  # what is drawn holds on to no dataset
    return lambda image_id: st.switch_page("pages/1_Browse.py", query_params={"dataset": name, "picture": image_id})


def facts_of(data: Dataset, row: int) -> dict[str, str]:
    """What is known of a picture, in words for people."""
    picture = data.pictures.loc[row]
    return {
        "File": picture.file,
        "Split": picture.split,
        "Size": f"{picture.width} × {picture.height} px, {picture['mode']}",
        "Source photo": f"{picture.source_photo}" if pd.notna(picture.source_photo) else "not known",
        "White cells": f"{picture.cells}" + (", in a place that the source told" if picture.box_told else ""),
        "Nucleus": "–" if pd.isna(picture.cell_area) else f"{picture.cell_area:,.0f} px²" + _in_red_cells(picture),
        "Focus": f"{picture.focus:.2f}; 1 is flat, from 1.2 sharp",
        "Background": f"{picture.brightness:.0f} of 255",
        "Its tint": f"{signed(picture.stain_a)} from green to red, {signed(picture.stain_b)} from blue to yellow",
        "Black border": f"{picture.black_border:.1%}",
        "Id": picture.image_id[:12],  # as `review set` takes it
    }


def _in_red_cells(picture: pd.Series) -> str:
    if pd.isna(picture.red_radius):
        return ""
    return f", {picture.cell_area / (np.pi * picture.red_radius**2):.1f} red cells"


@shows_errors
def picture_drawer(data: Dataset, row: int) -> None:
    """A picture at full size with the cell that was found in it, and what is known of it."""
    picture = data.pictures.loc[row]
    original = data.read_original(row)
    cell = make_view(original, "cell", CELL_PX, place=data.places[row])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(pretty(picture.label))}**")
        say_synthetic(data.synthetic)
    st.image(outlined(original, cell), alt=f"{pretty(picture.label)}, whole picture")
    st.image(cell.pixels, width=220, alt=f"{pretty(picture.label)}, cell view")
    st.caption("Cell view" if cell.found else "No white cell was found: the picture's middle is shown.")
    family = data.pictures.index[data.pictures.photo == picture.photo]
    what = "copies of this photo" if picture.family == picture.photo else "pictures of this group"
    if len(family) > 1 and st.button(f"Show all {len(family):,} {what}", key="family_of_picture"):
        address.write(family=picture.photo, label=None, split=None, finding=None, page=None, show=None)
        st.rerun()
    st.table(pd.Series({name: plain(value) for name, value in facts_of(data, row).items()}, name=""), hide_header=True)


def outlined(picture: np.ndarray, cell: View) -> np.ndarray:
    """A copy of the picture with the cell view's square drawn on it."""
    if not cell.found:
        return picture
    import cv2

    thickness = max(1, round(max(picture.shape) / 320))
    x0, y0, x1, y1 = cell.box
    return cv2.rectangle(picture.copy(), (x0, y0), (x1, y1), (91, 63, 166), thickness)
