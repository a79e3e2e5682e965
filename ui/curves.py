"""The learning curves of runs, read on from where the last look ended."""

from __future__ import annotations

from threading import Lock

import pandas as pd
import streamlit as st

from bloodcell_core.evaluation.curves import Course, stretches
from bloodcell_core.runs import Run
from ui import charts, lab, shell

STEP_POINTS = 200  # that a run's step losses are drawn by: means of equal stretches


@st.cache_resource(max_entries=64, show_spinner=False)
def _course(folder: str, _run: Run) -> tuple[Course, Lock]:
    return Course(_run), Lock()


def course(run: Run) -> Course:
    """What a run has told so far."""
    known, lock = _course(str(run.folder), run)
    with lock:
        known.follow()
    return known


def draw(runs: list[Run], log: bool) -> None:
    """Loss and accuracy of runs, training and validation, with the loss of their steps behind."""
    epochs, steps = [], []
    for run in runs:
        name = f"{lab.network_title(run)} {lab.short_name(run)}"
        told = course(run)
        for event in told.epochs:
            for split, short in (("train", "train"), ("validation", "val")):
                epochs.append((name, split, event["epoch"], event[f"{short}_loss"], event[f"{short}_accuracy"]))
        means, ends = stretches(told.step_losses, STEP_POINTS)
        per_epoch = (run.recorded_status().get("total_steps") or len(told.step_losses)) / run.config.epochs
        steps += [(name, "step", end / per_epoch, mean) for mean, end in zip(means, ends, strict=True)]
    if not steps:
        st.caption("The curve begins with the first steps.")
        return
    measured = pd.DataFrame(epochs, columns=["run", "split", "epoch", "loss", "accuracy"])
    behind = pd.DataFrame(steps, columns=["run", "split", "epoch", "value"])
    # A control of ours and not the chart's own zoom, which ends with the next tick.
    low, high = st.session_state.get("stretch", (0, 100))
    first, last = (share / 100 * behind.epoch.max() for share in (low, high))
    measured, behind = (each[each.epoch.between(first, last)] for each in (measured, behind))
    left, right = shell.sides([1, 1], "curves", "small")
    with left:
        losses = measured.rename(columns={"loss": "value"})[behind.columns]
        charts.learning_curves(pd.concat([losses, behind]) if len(losses) else behind, title="Loss", log=log)
    with right:
        if len(measured):
            charts.learning_curves(measured.rename(columns={"accuracy": "value"}), title="Accuracy", percent=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Solid: validation. Dashed: training. Pale: single steps.")
        st.slider(
            "Part of the training shown", 0, 100, (0, 100), key="stretch", format="%d%%", width=260,
            label_visibility="collapsed", help="Part of the training shown",
        )  # fmt: skip
