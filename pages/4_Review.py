"""Review: every mistake gets its verdict, the verdicts make better labels, and better labels a better network."""

from dataclasses import replace

import streamlit as st

from bloodcell_core.errors import LabError
from ui import lab, review, shell
from ui.review_desk import at_the_desk
from ui.review_selection import selection
from ui.reviewer import reviewer

PARTS = {"desk": "One by one", "selection": "Many at once"}

shell.page("Review", "Say whose mistake each is, the network's or the label's, and train again with what you found.")
known = review.sources()
with st.container(horizontal=True, vertical_alignment="center"):
    part = shell.bound_segmented(
        "Part", list(PARTS), "part", default="desk", format_func=PARTS.get, label_visibility="collapsed"
    )
    badge = st.container(width="content")
    by = reviewer()
with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
    try:
        chosen = replace(review.choose(known), by=by)
    except LabError as error:
        shell.show_error(str(error))
        st.stop()
with badge:
    lab.say_synthetic(chosen.data.synthetic)
{"desk": at_the_desk, "selection": selection}[part](chosen)
