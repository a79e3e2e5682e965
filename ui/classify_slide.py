"""One slide on the Classify page: its fields or rows, and a person's corrections."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import cv2
import numpy as np
import streamlit as st

from bloodcell_core.cells import Box
from bloodcell_core.crops import cut_square
from bloodcell_core.data.pictures import decode_rgb
from bloodcell_core.errors import LabError
from bloodcell_core.inference.fields import square_around
from bloodcell_core.runs import Run
from bloodcell_core.smear import slides
from bloodcell_core.smear.corrections import Correction, is_box
from bloodcell_core.smear.slide_cells import CountedPicture, confirm_all
from bloodcell_core.smear.slides import Slide, SlidePicture
from bloodcell_core.words import pretty
from ui import address, cached, classify, classify_pictures, classify_start, gallery, lab, shell
from ui.classify_pictures import Act
from ui.gallery import Tile, thumbnail

SHOWN_SIDE = 1600  # pixels of a field's longer side on the page
ROWS, FIELDS = 25, 24  # per page
ROW_PX, FILM_PX = 96, 84
SEEN = "classify_seen"  # session: the slide as it was last drawn, to which changes are made
TOLD = "classify_told"  # session: a slide's id, and the message of its last change
STRANGE = {  # key: whether the slide is synthetic, while the run's training pictures are the opposite
    True: "A program drew these cells, and this network learned from photographs: its answers on them say little.",
    False: "This network learned from cells that a program drew: on photographs its answers say little.",
}
RENAMING = "classify_renaming"  # session: whether the form for another name is open
CHOSEN = "classify_cell"  # session: picture number → the cell that is selected on it
_drawing = threading.BoundedSemaphore(2)  # limits how many pictures are in memory at full size, to be drawn


def view_of(counted: CountedPicture) -> str:
    """The view that shows a picture: "fields" or "cells"; the latter also has those that can't be read."""
    kind = counted.answer.kind if counted.kind == "out" else counted.kind
    return "fields" if kind == "field" else "cells"


def first_view(parts: Mapping[str, Sequence[CountedPicture]]) -> str:
    """The view with which a slide opens: the one with most cells that aren't unlike; if equal, with most cells.

    Neither the threshold nor a class given by hand changes it: a person's work must not switch the view.
    """
    offered = [view for view, pictures in parts.items() if pictures]
    return max(offered, key=lambda view: _known_and_all_cells(parts[view]))


def _known_and_all_cells(pictures: Sequence[CountedPicture]) -> tuple[int, int]:
    states = [cell.state for counted in pictures for cell in counted.answer.counted]
    return sum(state != "unlike" for state in states), len(states)


def head(slide: Slide, run: Run) -> None:
    """Draws the slide's name and the actions on it as a whole; keeps the run that answers it."""
    if slide.run != run.name:
        try:
            slides.choose_run(slide, run.name)
        except LabError as error:
            shell.show_error(str(error))
    row = partial(st.container, horizontal=True, vertical_alignment="center", width="content")
    # Two rows in one: where there is no room for both side by side, the second wraps below the first as a whole.
    with st.container(horizontal=True, horizontal_alignment="distribute", key="classify_head"):
        with row():
            if st.button("All slides", icon=":material/arrow_back:"):
                classify_start.open_slide(None)
            st.header(shell.plain(slide.name), anchor=False, width="content")
            lab.say_synthetic(slide.synthetic)
        with row():
            with st.popover("Add pictures", icon=":material/add_photo_alternate:"):
                classify_start.take_more(slide)
            with st.popover("Rename", icon=":material/edit:", key=RENAMING, on_change="rerun"):  # to be closed by Save
                _rename(slide)
            with st.popover("Delete", icon=":material/delete:"):
                _delete(slide)
    if slide.synthetic != run.synthetic:
        st.caption(f":material/info: {STRANGE[slide.synthetic]}")


def _rename(slide: Slide) -> None:
    key = f"classify_name_{slide.version}"
    st.text_input("Name", value=slide.name, max_chars=slides.MAX_NAME, key=key)
    # Never disabled, and given the field's key: the click on it also ends the typing, before the page is drawn anew.
    st.button("Save", type="primary", on_click=_keep_name, args=(slide, key))


def _keep_name(slide: Slide, key: str) -> None:
    st.session_state.pop(TOLD, None)
    try:
        slides.rename(slide, st.session_state[key])
        st.session_state[RENAMING] = False
    except LabError as error:
        st.session_state[TOLD] = slide.id, str(error)


@shell.shows_errors
def _delete(slide: Slide) -> None:
    st.markdown(
        f"This deletes the slide's {shell.counted(len(slide.pictures), 'picture')} and "
        f"{shell.counted(slide.corrections_in_force, 'correction')}."
    )
    sure = st.checkbox("Yes, delete it", key=f"classify_sure_{slide.id}")
    if st.button("Delete the slide", type="primary", disabled=not sure):
        slides.remove(slide.id)
        classify_start.open_slide(None)


# What a person does


def change(act: Act, number: int, classes: Collection[str]) -> None:
    """Applies a person's act on picture `number`: selects a cell, or corrects the slide as it was last drawn.

    For an undo `number` is the picture on the page, 0 where there are several: an undo on another picture is reported.
    """
    seen: Slide = st.session_state[SEEN]
    do, cell, box = act["do"], str(act.get("cell", "")), tuple(act.get("box") or ())
    if do == "select":
        classify.session_dict(CHOSEN)[number] = cell
        return
    st.session_state.pop(TOLD, None)
    try:
        if do == "undo":
            st.session_state[SEEN] = slides.undo(seen)
            undone = {one.picture for one in seen.corrections if one.version == seen.last_change}
            if number and number not in undone:
                files = ", ".join(picture.file for picture in seen.pictures if picture.number in undone)
                st.session_state[TOLD] = seen.id, f"What was undone is on another picture: {files}"
            return
        if (box and not is_box(box)) or (do == "label" and act.get("label") not in classes):
            raise LabError("the page sent a correction that can't be understood: reload the page")
        made = Correction(
            number, do, cell or ("new" if do == "add" else ""), act.get("label", ""),
            square_around(box) if do in ("add", "move") else box or None,  # type: ignore[arg-type]
        )  # fmt: skip
        now = slides.correct(seen, [made])
        st.session_state[SEEN] = now
        if do == "add":
            classify.session_dict(CHOSEN)[number] = now.corrections[-1].cell
    except LabError as error:
        st.session_state[TOLD] = seen.id, str(error)


def change_all(changes: Sequence[Correction]) -> None:
    """Makes several corrections as one change, which one undo takes back; a double click makes it once."""
    st.session_state.pop(TOLD, None)
    seen: Slide = st.session_state[SEEN]
    last = max((one.version for one in seen.corrections), default=0)
    if [_content(one) for one in seen.corrections if one.version == last] == [_content(one) for one in changes]:
        return
    try:
        st.session_state[SEEN] = slides.correct(seen, changes)
    except LabError as error:
        st.session_state[TOLD] = seen.id, str(error)


def _content(one: Correction) -> tuple[int, str, str, str]:
    return one.picture, one.do, one.cell, one.label


def say_told(slide: Slide) -> None:
    """Shows the message of the last change until the next one: the page may be redrawn before anybody has read it."""
    of, words = st.session_state.get(TOLD, ("", ""))
    if of == slide.id:
        st.warning(shell.plain(words), icon=":material/sync_problem:")


# Fields


def fields(slide: Slide, pictures: Sequence[CountedPicture], classes: Mapping[str, str]) -> CountedPicture:
    """Draws a strip of all fields, and the one in the address with the editor; returns that one."""
    numbers = [counted.picture.number for counted in pictures]
    asked = address.value_of("picture")
    place = next((place for place, number in enumerate(numbers) if str(number) == asked), 0)
    counted = pictures[place]
    if len(pictures) > 1:
        _film(slide, pictures, place)
    words = shell.plain(counted.picture.file)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**Field {place + 1} of {len(pictures)}** :small[{words}]", width="stretch")
        picture_menu(counted, field=True)
    if counted.kind == "out":
        st.caption(":material/visibility_off: Left out of the count.")
    if counted.answer.reason:
        st.caption(shell.plain(counted.answer.reason))
    try:
        image = shown(slide, counted.picture)
    except LabError as error:
        shell.show_error(str(error))
        return counted
    classify_pictures.field_editor(
        counted, image, classes, key="classify_field", selected=chosen_cell(counted),
        can_undo=slide.last_change is not None, apply=lambda act: change(act, int(act["picture"]), classes),
    )  # fmt: skip
    return counted


def _film(slide: Slide, pictures: Sequence[CountedPicture], place: int) -> None:
    # No page number in the address: the selected field decides which part of the strip is shown.
    start = place // FIELDS * FIELDS
    tiles = [
        Tile(
            str(counted.picture.number),
            _thumbnail(slide, counted, None, FILM_PX),
            f"Field {start + at + 1}: {counted.picture.file}",
            "var(--st-border-color)",
            caption=f"{start + at + 1} · {len(counted.standing)}",
        )
        for at, counted in enumerate(pictures[start : start + FIELDS])
    ]
    with st.container(key="classify_film"):
        gallery.gallery(tiles, "film", _go, tile_px=FILM_PX, selected=str(pictures[place].picture.number))
        if len(pictures) > FIELDS:
            with st.container(horizontal=True):
                if start:
                    st.button("Earlier fields", on_click=_go, args=(pictures[start - 1].picture.number,))
                if start + FIELDS < len(pictures):
                    st.button("Further fields", on_click=_go, args=(pictures[start + FIELDS].picture.number,))


def _go(number: int | str) -> None:
    address.write(picture=number)


def chosen_cell(counted: CountedPicture) -> str | None:
    """The id of the cell that is selected on a picture, None where there is none."""
    chosen = classify.session_dict(CHOSEN).get(counted.picture.number)
    return chosen if any(cell.id == chosen for cell in counted.cells) else None


def picture_menu(counted: CountedPicture, *, field: bool) -> None:
    """Draws the menu of actions on a picture as a whole."""
    number = counted.picture.number
    other = ("It shows one cell", "cell") if field else ("It is a smear field", "field")
    with st.popover("This picture", icon=":material/tune:"):
        if field:
            named = confirm_all([counted])
            st.button(
                f"Confirm its {shell.counted(len(named), 'named cell')}" if named else "No named cell to confirm",
                on_click=change_all, args=(named,), disabled=not named, width="stretch", icon=":material/done_all:",
            )  # fmt: skip
        st.button(other[0], on_click=change_all, args=([Correction(number, other[1])],), width="stretch")
        put = ("Count it again", "auto") if counted.kind == "out" else ("Leave it out of the count", "out")
        st.button(put[0], on_click=change_all, args=([Correction(number, put[1])],), width="stretch")


# Rows


def rows(slide: Slide, pictures: Sequence[CountedPicture], classes: Mapping[str, str]) -> CountedPicture | None:
    """Draws pictures of one cell each, a page at a time; returns the selected one."""
    kinds = {"all": "all", "aside": "set aside", "refused": "refused"} | {f"c{i}": c for i, c in enumerate(classes)}
    members = {key: [counted for counted in pictures if _belongs(counted, key, kinds[key])] for key in kinds}
    offered = [key for key in kinds if members[key]]
    head = st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute")
    with head:
        show = address.selectbox(
            "Show", offered, "show", default="all", width=260,
            format_func=lambda key: f"{pretty(kinds[key])} ({len(members[key]):,})",
        )  # fmt: skip
    wanted = members[show]
    above, below = st.container(), st.container()
    with below:
        start, stop = gallery.pager(len(wanted), ROWS)
    part = wanted[start:stop]
    chosen = next((one for one in part if str(one.picture.number) == address.value_of("picture")), part[0])
    if chosen.answer.state != "refused":
        with head:
            picture_menu(chosen, field=False)

    def apply(act: Act) -> None:
        number = int(act["cell"])
        if act["do"] == "select":
            address.write(picture=number)
            return
        # Among all: the key before may have taken its row out of the list that is shown.
        counted = next((one for one in pictures if one.picture.number == number), None)
        if act["do"] == "undo" or (counted and counted.cells):
            change(act if act["do"] == "undo" else {**act, "cell": counted.cells[0].id}, number, classes)  # type: ignore[union-attr]

    with above:
        drawn = [
            classify_pictures.row_of(
                one, _thumbnail(slide, one, one.cells[0].box if one.cells else None, ROW_PX), classes, one.picture.file
            )
            for one in part
        ]
        classify_pictures.cell_rows(
            drawn, classes, key="classify_rows", selected=str(chosen.picture.number),
            can_undo=slide.last_change is not None, apply=apply,
        )  # fmt: skip
    return chosen


def _belongs(counted: CountedPicture, key: str, name: str) -> bool:
    cell = counted.cells[0] if counted.cells else None
    state = cell.state if cell else counted.answer.state
    if key in ("all", "refused"):
        return key == "all" or state == "refused"
    if key == "aside":
        return state in ("unsure", "unlike", "removed") or counted.kind == "out"
    return bool(cell and cell.label == name)


# Pixels


@contextmanager
def at_full_size(slide: Slide, picture: SlidePicture) -> Iterator[np.ndarray]:
    """A picture, uint8 H×W×3, to be made smaller in the block: only a few are in memory at a time, whoever looks at
    them. LabError where it can't be read."""
    with _drawing:
        yield decode_rgb(slide.read(picture))


@cached.data(max_entries=24, show_spinner=False)
def shown(slide: Slide, picture: SlidePicture) -> str:
    """A picture as a data URI, at most as large as the page shows it; LabError where it can't be read."""
    with at_full_size(slide, picture) as pixels:
        return thumbnail(pixels, round(SHOWN_SIDE * min(pixels.shape[:2]) / max(pixels.shape[:2])))


@cached.data(max_entries=4000, show_spinner=False)
def _small(slide: Slide, picture: SlidePicture, box: Box | None, px: int) -> str:
    with at_full_size(slide, picture) as pixels:
        return thumbnail(cut_square(pixels, box) if box else pixels, px)


def _thumbnail(slide: Slide, counted: CountedPicture, box: Box | None, px: int) -> str:
    if counted.answer.state == "refused" or not counted.picture.stored:
        return ""
    try:
        return _small(slide, counted.picture, box, px)
    except LabError:  # a file that was deleted by hand: only its thumbnail is missing
        return ""


@cached.data(max_entries=64, show_spinner=False)
def cut_out(slide: Slide, picture: SlidePicture, box: Box) -> np.ndarray:
    """The `box` of a picture, uint8 side×side×3, at most 320 pixels a side."""
    with at_full_size(slide, picture) as pixels:
        cut = cut_square(pixels, box)  # a rectangle where the run sees whole pictures
        side = min(320, len(cut))
        return cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA)
