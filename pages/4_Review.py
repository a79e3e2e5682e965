"""Review: verdicts on mistakes, and overlays of better labels to train with."""

from dataclasses import replace

import streamlit as st

from bloodcell_core.errors import LabError
from ui import address, lab, review, shell
from ui.review_desk import at_the_desk
from ui.review_fixed import fixed_part
from ui.review_overlays import overlays_part
from ui.review_selection import selection
from ui.review_sources import sources
from ui.review_teaches import teaches_part
from ui.reviewer import reviewer

OF_A_QUEUE = ("desk", "selection")
PARTS = {
    "desk": ("One by one", at_the_desk),
    "selection": ("Many at once", selection),
    "fixed": ("Fixed and broken", fixed_part),
    "teaches": ("What they teach", teaches_part),
    "overlays": ("Overlays", overlays_part),
}

shell.page("Review", "Say whose mistake each is, the network's or the label's, and train again with what you found.")
known = sources()
with st.container(horizontal=True, vertical_alignment="center"):
    part = address.segmented_control(
        "Part", list(PARTS), "part", default="desk", label_visibility="collapsed",
        format_func=lambda part: PARTS[part][0],
    )  # fmt: skip
    badge = st.container(width="content")
    by = reviewer()
with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
    try:
        chosen = replace(review.choose(known, of_a_queue=part in OF_A_QUEUE), by=by)
    except LabError as error:
        shell.show_error(str(error))
        st.stop()
with badge:
    lab.say_synthetic(chosen.data.synthetic)
PARTS[part][1](chosen)
