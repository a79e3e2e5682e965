"""A grid of pictures that are buttons, its thumbnails, and its pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from bloodcell_core.cells import shrink
from bloodcell_core.data.pictures import jpeg_uri
from ui import address
from ui.files import together

LONGEST_SIDE = 4096  # pixels of a thumbnail: JPEG has a limit, and a browser one of its own
_GRID = st.components.v2.component(
    "lab_gallery",
    html='<div class="grid" role="group"></div>',
    css=together("gallery.css", "forced.css"),
    js=together("grid.js", "gallery.js"),
)


@dataclass(frozen=True)
class Tile:
    """One picture of a gallery. `colour` is any CSS colour, best one of `theme.css_colours`."""

    id: str
    src: str  # a data URI, from `thumbnail`
    title: str  # read out and shown on hover: what the picture is
    colour: str
    caption: str = ""


def gallery(
    items: Sequence[Tile],
    key: str,
    on_click: Callable[[str], None],
    *,
    tile_px: int = 96,
    selected: str | None = None,
) -> None:
    """Draw a grid of tiles at least `tile_px` wide; `on_click` is given the id of the one that is clicked.

    It is called before the page is drawn anew. What is to stay open belongs in the address
    (`address.write(picture=clicked)`) and comes back as `selected`, which rings that tile.
    """
    data = {"tiles": [vars(tile) for tile in items], "tile_px": tile_px, "selected": selected}
    _GRID(key=key, data=data, on_opened_change=lambda: on_click(st.session_state[key]["opened"]))


def marking_gallery(items: Sequence[Tile], key: str, *, marked: Sequence[str], tile_px: int) -> list[str]:
    """As `gallery`, but a click marks a tile or takes the mark off; return the ids of those that are marked.

    `marked` are those that are when the gallery is drawn first; a new `key` starts anew.
    """
    known = [tile.id for tile in items]
    before = (st.session_state.get(key) or {}).get("marked")
    now = list(marked) if before is None else list(before)
    data = {"tiles": [vars(tile) for tile in items], "tile_px": tile_px, "marked": now}
    result = _GRID(key=key, data=data, on_marked_change=lambda: None)
    chosen = set(marked if result.marked is None else result.marked)
    return [each for each in known if each in chosen]


def thumbnail(pixels: np.ndarray, px: int = 128) -> str:
    """A picture (H×W×3, uint8, RGB) as a JPEG data URI whose shorter side is at most `px`.

    The gallery cuts a square out of the middle, so it is the shorter side that must be sharp.
    """
    height, width = pixels.shape[:2]
    small = shrink(pixels, min(px / min(height, width), LONGEST_SIDE / max(height, width)))
    return jpeg_uri(small, 85)


GONE = thumbnail(np.full((8, 8, 3), 128, np.uint8))  # stands for a picture whose file was deleted by hand


def pager(total: int, per_page: int) -> tuple[int, int]:
    """Draw page numbers where one page isn't enough; return (start, stop) of the items to show.

    The address holds the page as `page`, and a new choice in a bound widget goes back to the first one, so
    there is one pager on a Streamlit page. To have it below its gallery, call it first, inside a container
    that was made after the gallery's.
    """
    pages = max(1, -(-total // per_page))
    page = address.follow("page", range(1, pages + 1), default=1)
    start, stop = (page - 1) * per_page, min(page * per_page, total)
    if pages > 1:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.pagination(pages, default=page, width="stretch", **address.writing_back("page", default=1))
            st.caption(f"{start + 1:,}–{stop:,} of {total:,}", width="content")
    return start, stop
