"""Fixed and broken: which mistakes training again fixed, and which it introduced."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from bloodcell_core.evaluation.comparison import side_of
from bloodcell_core.labels import overlays
from bloodcell_core.review.fixed import Change, fixed_and_broken
from bloodcell_core.runs import Run
from bloodcell_core.words import pretty
from ui import address, cached, dataset_pictures, lab, shell
from ui.compare import FOR_BOTH, tested_on
from ui.review import Review, each_photo_first
from ui.review_overlays import versions_of

PARTS = {"fixed": "Fixed", "broken": "Broken", "still": "Still wrong"}
OWN = "own"


@shell.shows_errors
def fixed_part(review: Review) -> None:
    """Draws the choice of two runs, the verdict on them with its paired interval, and the pictures behind it."""
    runs = {run.name: run for run in lab.scored_runs() if run.data_hash == review.data.content_hash}
    if len(runs) < 2:
        shell.empty_state(
            "There is only one run on this dataset. Train again, perhaps with an overlay of your verdicts, and see "
            "here which mistakes that fixed and which it introduced.", "Train again", "pages/2_Train.py",
            dataset=review.data.name,
        )  # fmt: skip
        return
    tested = {name: tested_on(run) for name, run in runs.items()}
    newest = next((name for name in runs if list(tested.values()).count(tested[name]) > 1), next(iter(runs)))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        # The choice that is made here comes first and stands in the address: with time it is another.
        after = address.selectbox("After", [newest, *(name for name in runs if name != newest)], "after", width=330,
                                      format_func=lambda name: lab.run_choice(runs[name]))  # fmt: skip
        others = [name for name in runs if name != after]
        fit = next((name for name in others if tested[name] == tested[after]), others[0])
        before = address.selectbox("Before", [fit, *(name for name in others if name != fit)], "before", width=330,
                                       format_func=lambda name: lab.run_choice(runs[name]))  # fmt: skip
        references = [OWN, *(f"{each['overlay']}@{each['version']}" for each in versions_of(review.data))]
        labels = address.selectbox(
            "Judged by", references, "judge", default=OWN, width=220,
            format_func=lambda reference: "The dataset's labels" if reference == OWN else reference,
        )  # fmt: skip
    change = _change(runs[before], runs[after], labels)
    st.markdown(f"**{shell.plain(change.in_words())}**")
    for note in change.comparison["notes"]:
        shell.remark(note)
    tables = {"fixed": change.fixed, "broken": change.broken, "still": change.still}
    part = address.segmented_control(
        "Pictures", list(PARTS), "who", default="fixed", label_visibility="collapsed",
        format_func=lambda part: f"{PARTS[part]}: {shell.counted(len(tables[part]), 'picture')}",
    )  # fmt: skip
    _pictures(review, tables[part])


@cached.resource(max_entries=8, show_spinner=FOR_BOTH)
def _change(before: Run, after: Run, labels: str) -> Change:
    return fixed_and_broken(side_of(before), side_of(after), None if labels == OWN else overlays.load(labels))


def _pictures(review: Review, table: pd.DataFrame) -> None:
    there = each_photo_first(table[table.image_id.isin(review.data.pictures.image_id)])
    photos = shell.counted(there.photo.nunique(), review.data.unit)
    said = f"From {photos}. Below each picture: the answer before → after; the border's colour is the label."
    st.caption(said if len(there) else "None.")
    words = there.before.map(pretty) + " → " + there.after.map(pretty)
    dataset_pictures.gallery_to_browse(review.data, there.image_id, words, "changed")
