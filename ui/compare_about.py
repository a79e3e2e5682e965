"""The limits of the Compare page's figures, and published figures on the same pictures."""

from collections.abc import Mapping, Sequence

import streamlit as st

from bloodcell_core.data.dataset import dataset_of
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.figures import figure_words
from bloodcell_core.evaluation.published import PUBLISHED, PUBLISHED_FORMAT
from bloodcell_core.runs import Run
from ui import shell


def about_figures(runs: Sequence[Run], titles: Mapping[str, str]) -> None:
    """Draws the limits of the figures and the published ones, folded so that the verdict stays high on the page."""
    tests = {run.name: run.summary()["test"] for run in runs}
    told = {name: notes for name, test in tests.items() if (notes := [*test["warnings"], *test["notes"]])}
    if told:
        st.caption(":material/info: Some of these figures mean little; *About these figures* says why.")
    with st.expander("About these figures"):
        for name, notes in told.items():
            st.caption(f"{shell.plain(titles[name])}: {shell.plain('; '.join(note.rstrip('.') for note in notes))}.")
        published = "; ".join(
            f"{row.title} (published): accuracy {shell.percent(row.accuracy)}, macro F1 "
            f"{figure_words('f1_macro', row.f1_macro)}, AUC {figure_words('auc_ovr', row.auc_ovr)}"
            for row in PUBLISHED
        )
        st.caption(
            "The 95% intervals are resampled by source photo where photos are known. What the original analysis "
            f"reports on the public archive's test split, without intervals: {published}."
            + ("" if on_public_archive(runs) else " Runs on other pictures can't be compared with that.")
        )


def on_public_archive(runs: Sequence[Run]) -> bool:
    """Whether all runs are on the data of the published figures, as far as their datasets are there to say so."""
    try:
        datasets = [dataset_of(run) for run in runs]
    except LabError:  # a dataset of another version: its runs can be compared all the same
        return False
    return {dataset and dataset.facts["format"] for dataset in datasets} == {PUBLISHED_FORMAT}
