"""Classify: from one cell to the differential count of a smear."""

import os

import streamlit as st

from bloodcell_core.errors import LabError, in_words
from bloodcell_core.smear import slides
from ui import (
    adaptation,
    address,
    classify,
    classify_answers,
    classify_count,
    classify_detail,
    classify_pictures,
    classify_slide,
    classify_start,
    lab,
    shell,
)

VIEWS = {"fields": "Fields", "cells": "Cells"}
OWN = "own"

shell.page("Classify", "Upload single cells or whole smear fields: get each cell's class, and the count of a slide.")
runs = lab.need_networks()

slide = None
if opened := address.value_of("slide"):
    try:
        slide = slides.read_slide(opened)
    except LabError as error:
        shell.show_error(str(error))
if slide:
    classify_start.opened()
if slide and st.session_state.get("classify_open") != slide.id:
    st.session_state["classify_open"] = slide.id
    st.session_state.pop(classify_slide.CHOSEN, None)

try:
    chosen = classify.choose(runs, slide.run if slide else None)
except LabError as error:
    shell.show_error(str(error))
    st.stop()
adaptation.cards(slide.id if slide else None)
if not classify_start.start_or(slide, chosen.run.name):
    st.stop()


@st.fragment
def opened_slide(slide_id: str) -> None:
    if not os.path.isdir(chosen.run.folder):  # a fragment keeps what the page had chosen
        st.rerun(scope="app")  # the page then says that another network answers
    try:
        slide = slides.read_slide(slide_id)
        if not slide.pictures:  # a slide is never made without any
            raise LabError(f"slide {slide.name!r} has no pictures: its slide.json is damaged")
        pictures = classify_answers.completed(slide, chosen)
    except (LabError, OSError) as error:
        shell.show_error(in_words(error))
        classify_start.way_back()
        return
    st.session_state[classify_slide.SEEN] = slide
    classify_slide.head(slide, chosen.run)
    classify_slide.say_told(slide)
    classes = classify_pictures.classes_to_give(chosen.run)
    parts = {view: [one for one in pictures if classify_slide.view_of(one) == view] for view in VIEWS}
    offered = [view for view in VIEWS if parts[view]]
    offered += [OWN] if any(counted.cells for counted in pictures) else []
    left, right = shell.sides([9, 5], "classify")
    with left:
        view = first = classify_slide.first_view(parts)
        if len(offered) > 1:
            view = address.segmented_control(
                "Show", offered, "view", default=first, label_visibility="collapsed",
                format_func=lambda view: "Your own microscope" if view == OWN
                else f"{VIEWS[view]} ({len(parts[view]):,})",
            )  # fmt: skip
    if view == OWN:
        with left:
            adaptation.sheet(slide, pictures, chosen.run)
        with right:
            adaptation.panel(slide, pictures, chosen.run)
        return
    with left:
        show = classify_slide.fields if view == "fields" else classify_slide.rows
        counted = show(slide, parts[view], classes)
        if counted and view == "fields":
            classify_detail.of_picture(slide, counted, chosen.run, classes, editor=True)
    with right:
        told = classify_count.differential(chosen, pictures)
        classify_count.panel(told, classes)
        classify_count.outputs(slide, pictures, told, chosen)
        if counted and view == "cells":
            classify_detail.of_picture(slide, counted, chosen.run, classes, editor=False)


opened_slide(slide.id)
