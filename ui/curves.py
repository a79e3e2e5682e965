"""The learning curves of runs, read on from where the last look ended, as a chart that keeps its zoom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import streamlit as st

from bloodcell_core.evaluation.curves import LearningCurve, extremes, stretches
from bloodcell_core.runs import Run
from ui import lab, shell
from ui.files import together

MOST_RUNS = 8  # in one chart: as many as there are colours
MOST_POINTS = 2000  # that are sent to the browser at a time
OUTSIDE = 1 / 8  # of a line's points lie on either side of the part that is looked at, for when it is left
KEY = "curves"

Zoom = tuple[float, float]

SCRIPTS = ("curves.js", "curves_plot.js", "curves_figures.js")
HTML = """<div class="curves">
    <div class="head"><ul></ul><button type="button" disabled>Whole training</button></div>
    <p class="told"></p>
    <div class="plots">
      <div class="values" role="status" hidden><table><thead></thead><tbody></tbody></table></div>
    </div>
    </div>"""
_CHART = st.components.v2.component(
    "lab_curves",
    html=HTML,
    css=together("buttons.css", "curves.css", "forced.css"),
    js=together(*SCRIPTS),
)


class Line(NamedTuple):
    """One curve of a plot: a measure of a run's epochs (NaN where it was no number), or the losses of its steps."""

    run: int
    split: str
    """validation, train, or step for the pale line behind."""
    x: np.ndarray
    """Epochs, rising; a step is a part of one."""
    y: np.ndarray


@st.cache_resource(max_entries=64, show_spinner=False)
def _course(folder: str, _run: Run) -> tuple[LearningCurve, Lock]:
    return LearningCurve(_run), Lock()


def course(run: Run) -> LearningCurve:
    """What a run has told so far; another session, which reads on, doesn't change it."""
    known, lock = _course(str(run.folder), run)
    with lock:
        known.follow()
        return known.so_far()


def draw(runs: Sequence[Run], log: bool) -> None:
    """Loss and accuracy of at most MOST_RUNS runs, training and validation, with the loss of their steps behind.

    Both plots have one zoom, which lasts while the chart stands on the page; the part that is looked at is sent anew
    in more detail.
    """
    runs = runs[:MOST_RUNS]
    losses, accuracies = lines(runs)
    if not losses:
        st.caption("The curve begins with the first steps.")
        return
    zoom = zoom_of(st.session_state.get(KEY))
    loss, accuracy = thinned([losses, accuracies], zoom)
    _CHART(
        key=KEY,
        data={
            "runs": [{"id": run.name, "name": lab.short_title(run)} for run in runs],
            "plots": [
                {"title": "Loss", "log": log, "percent": False, "lines": loss},
                {"title": "Accuracy", "log": False, "percent": True, "lines": accuracy},
            ],
            "zoom": zoom,
            "words": words(runs),
        },
        on_zoom_change=lambda: None,  # it does nothing: with one, Streamlit keeps the value
    )
    st.caption(
        "Solid: validation. Dashed: training. Pale: single steps. Drag across a stretch to look closer; double click "
        "for the whole."
    )


def lines(runs: Sequence[Run]) -> tuple[list[Line], list[Line]]:
    """The lines of the loss and of the accuracy, as far as the runs have come."""
    losses, accuracies = [], []
    for place, run in enumerate(runs):
        told = course(run)
        steps = np.asarray(told.step_losses, float)
        if len(steps):
            per_epoch = (run.recorded_status().get("total_steps") or len(steps)) / run.config.epochs
            losses.append(Line(place, "step", np.arange(1, len(steps) + 1) / per_epoch, steps))
        if told.epochs:
            x = np.array([event["epoch"] for event in told.epochs], float)
            for split, short in (("train", "train"), ("validation", "val")):
                for measure, found in (("loss", losses), ("accuracy", accuracies)):
                    y = np.array([event[f"{short}_{measure}"] for event in told.epochs], float)
                    found.append(Line(place, split, x, y))
    return losses, accuracies


def zoom_of(state: Any) -> Zoom | None:
    """The part that is looked at, as the browser has told it; None for the whole, or what can't be."""
    told = state.get("zoom") if state else None
    match told:
        case [int() | float() as low, int() | float() as high] if math.isfinite(low) and low < high < math.inf:
            return float(low), float(high)
    return None


def thinned(plots: Sequence[Sequence[Line]], zoom: Zoom | None) -> list[list[dict[str, Any]]]:
    """The plots' lines with MOST_POINTS points in all, most of them within `zoom`. JSON-ready."""
    every = [line for plot in plots for line in plot]
    allowed = iter(allotted([len(line.x) for line in every], MOST_POINTS))
    return [[_thin(line, next(allowed), zoom) for line in plot] for plot in plots]


def allotted(wanted: Sequence[int], total: int) -> list[int]:
    """How many points each line may have: what it wants, or an equal share of what the smaller ones leave."""
    given, left = [0] * len(wanted), total
    for done, place in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        given[place] = min(wanted[place], left // (len(wanted) - done))
        left -= given[place]
    return given


def _thin(line: Line, most: int, zoom: Zoom | None) -> dict[str, Any]:
    x, y = line.x, line.y
    if len(x) > most:
        parts = [_fewer(line, part, share) for part, share in _parts(x, most, zoom)]
        x, y = (np.concatenate(each) for each in zip(*parts, strict=True))
    return {
        "run": line.run,
        "split": line.split,
        "x": [round(value, 4) for value in x.tolist()],
        "y": [float(f"{value:.5g}") if math.isfinite(value) else None for value in y.tolist()],
    }


def _parts(x: np.ndarray, most: int, zoom: Zoom | None) -> list[tuple[slice, int]]:
    """Before, in and after the zoom, each with how many of the points it may have."""
    if zoom is None:
        return [(slice(0, len(x)), most)]
    # With the neighbours outside, so that the line goes on to the edges
    first, last = max(0, np.searchsorted(x, zoom[0]) - 1), np.searchsorted(x, zoom[1], "right") + 1
    outside = int(OUTSIDE * most)
    cut = [(slice(0, first), outside), (slice(first, last), most - 2 * outside), (slice(last, len(x)), outside)]
    return [(part, share) for part, share in cut if len(x[part])]


def _fewer(line: Line, part: slice, most: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = line.x[part], line.y[part]
    if len(x) <= most:
        return x, y
    if line.split == "step":  # noise, of which the mean says more than single ones
        means, ends = stretches(y, most)
        return x[ends - 1], means
    places = extremes(y, most)
    return x[places], y[places]


def words(runs: Sequence[Run]) -> str:
    """The chart for those who don't see it: where each run stands."""
    told = []
    for run in runs:
        if epochs := course(run).epochs:
            last = epochs[-1]
            told.append(
                f"{lab.short_title(run)}, epoch {last['epoch']}: loss {last['train_loss']:.3f} in training, "
                f"{last['val_loss']:.3f} in validation; accuracy {shell.percent(last['train_accuracy'])} and "
                f"{shell.percent(last['val_accuracy'])}."
            )
        else:
            told.append(f"{lab.short_title(run)}: no epoch has ended yet.")
    return "Loss and accuracy over the epochs. " + " ".join(told)
