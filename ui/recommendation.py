"""The home page's answer to "which network should I use?": a card a dataset, from the runs that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from bloodcell_core.errors import LabError
from bloodcell_core.evaluation import recommend
from bloodcell_core.runs import Run
from bloodcell_core.words import groups_behind
from ui import cached, lab, shell

SHOWN = 6  # runs in a card's table
OTHER = shell.plain(recommend.OTHER)


Pending = list[tuple[DeltaGenerator, Run, Run]]
"""Places on the page that wait for the sentence that sets a run against another."""


def cards(scored: Sequence[Mapping[str, Any]], runs: Mapping[str, Run]) -> Pending:
    """A card for the runs (as `Run.describe` gives them) on each dataset, the newest first; those that refuse some of
    its classes have an easier task, and a card of their own.

    What takes seconds is left for `fill`, to be called when the rest of the page stands.
    """
    pending: Pending = []
    # by the dataset's content: a name may have been given to others since
    by_task: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for facts in scored:
        by_task.setdefault((facts["data_hash"], *runs[facts["run"]].classes), []).append(facts)
    for group in by_task.values():
        found = recommend.recommend([dict(facts) for facts in group])
        if found:
            pending += _card(found, [runs[facts["run"]] for facts in group])
    return pending


def fill(pending: Pending) -> None:
    """Sets the recommended runs against their rivals, paired over the same photos."""
    for place, best, other in pending:
        with place:
            try:
                sentence = shell.plain(_against(best, other))
            except LabError as error:
                shell.show_error(str(error))
                continue
            title = f"**{shell.plain(lab.run_title(other))}**"
            st.caption(":material/balance: On the same test photos " + sentence.replace(OTHER, title))


def _card(found: recommend.Recommendation, runs: Sequence[Run]) -> Pending:
    best = next(run for run in runs if run.name == found.run)
    test = best.summary()["test"]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f"**{shell.plain(lab.run_title(best))}** · test accuracy "
                + shell.percent_markdown(test["accuracy"], test["intervals"]["accuracy"])
            )
            lab.say_synthetic(best.synthetic)
        measured = f"Measured on {shell.counted(test['pictures'], 'test picture')}, {groups_behind(test)}."
        st.caption(f"{shell.plain(found.why)} {measured}")
        lab.say_no_better(test)
        done = [run for run in runs if run.status()["state"] == "done"]
        if len(done) > 1:
            shown = [best, *(run for run in done if run.name != best.name)][:SHOWN]
            rows = []
            for run in shown:
                try:
                    rows.append(_row(run, run.name == best.name))
                except LabError as error:
                    shell.show_error(str(error))
            shell.table(
                pd.DataFrame(rows),
                column_config={
                    "Accuracy": st.column_config.NumberColumn(format="%.1f%%"),
                    "Photos right": st.column_config.TextColumn(
                        help="A photo's copies averaged to one answer. Not known where the photos aren't, or where "
                        "cells of a patient or slide each have their own."
                    ),
                    "Calibration error": st.column_config.NumberColumn(
                        format="%.3f", help="How far the probabilities are from how often the answers are right (ECE)."
                    ),
                    "Weights": st.column_config.NumberColumn(format="localized"),
                    "Operations": st.column_config.NumberColumn(
                        format="compact", help="Multiplications and additions for a picture."
                    ),
                    "ms": st.column_config.NumberColumn(
                        "ms a picture", format="%.1f",
                        help="The network alone, without reading a picture and finding its cell; 64 together, where "
                        "the run was trained.",
                    ),
                },
                alt="What the runs on this dataset can do and what they cost",
            )  # fmt: skip
        return [(st.empty(), best, other) for other in recommend.rivals(best, done)]


def _row(run: Run, best: bool) -> dict[str, Any]:
    told = _candidate(run)
    limits = told["interval"]
    return {
        "Run": lab.run_choice(run) + (" ✓" if best else ""),
        "Accuracy": 100 * told["accuracy"],
        "95% interval": shell.percent_interval(limits),
        "Photos right": f"{told['right']:,} of {told['photos']:,}" if told["right"] is not None else "not known",
        "Calibration error": told["ece"],
        "Weights": told["parameters"],
        "Operations": told["flops"],
        "ms": told["milliseconds"],
    }


_candidate = cached.data(recommend.candidate, max_entries=256, show_spinner=False)
_against = cached.data(recommend.against, max_entries=256, show_spinner="Comparing it with the cheaper ones …")
