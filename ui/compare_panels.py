"""What the Compare page draws of runs beyond matrices: one panel at a time, and only that one is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import streamlit as st

from bloodcell_core.evaluation.comparison import Side
from bloodcell_core.models import MODELS
from bloodcell_core.runs import Run
from ui import compare, shell
from ui import compare_figures as figures
from ui.theme import is_dark, pretty

PANELS = {
    "class": "By class",
    "roc": "ROC",
    "pr": "Precision and recall",
    "cost": "Cost",
}
BY_CLASS = {
    "recall": "Found (sensitivity)",
    "precision": "Right when named (precision)",
    "specificity": "Others left alone (specificity)",
    "f1": "F1",
    "auc": "AUC, one against the rest",
    "average_precision": "Average precision",
}
COSTS = {"weights": "weights", "flops": "multiplications and additions a picture", "seconds": "seconds of training"}


def panels(sides: Sequence[Side], runs: Sequence[Run], merge: bool, titles: Mapping[str, str]) -> None:
    """The panel that the address asks for."""
    shown = shell.bound_segmented("Panel", list(PANELS), "panel", default="class", format_func=PANELS.get,
                                  label_visibility="collapsed")  # fmt: skip
    if shown == "class":
        _by_class(sides, titles)
    elif shown in ("roc", "pr"):
        _curves(sides, titles, shown)
    else:
        _cost(runs, titles)


def _draw(figure: go.Figure, key: str, alt: str) -> None:
    st.plotly_chart(figure, key=key, config={"displayModeBar": False}, alt=alt)


def _classes(sides: Sequence[Side]) -> list[str]:
    """The classes that all sides have, in the order of the first."""
    return [name for name in sides[0].classes if all(name in side.classes for side in sides)]


def _by_class(sides: Sequence[Side], titles: Mapping[str, str]) -> None:
    metric = shell.bound_selectbox("Figure", list(BY_CLASS), "figure", default="recall", format_func=BY_CLASS.get,
                                   width=320)  # fmt: skip
    scores = {titles[side.name]: compare.scores(side) for side in sides}
    title = BY_CLASS[metric]
    _draw(figures.by_class(scores, _classes(sides), metric, title, is_dark()), "by_class", f"{title}, by class and run")
    st.caption(
        "The whiskers are 95% intervals, by source photo where photos are known; a bar without whiskers has none."
    )


def _curves(sides: Sequence[Side], titles: Mapping[str, str], kind: str) -> None:
    name = shell.bound_selectbox("Class", _classes(sides), "class", format_func=pretty, width=320)
    curves, areas = {}, {}
    for side in sides:
        curve = figures.class_curve((side.table.label == name).to_numpy(), side.table[f"p_{name}"].to_numpy(), kind)
        if curve is not None:
            curves[titles[side.name]] = curve
            one = compare.scores(side)["per_class"][name]
            areas[titles[side.name]] = one["auc" if kind == "roc" else "average_precision"]
    if not curves:
        st.caption("All test pictures bear this class, or none does: there is no curve.")
        return
    draw = figures.roc if kind == "roc" else figures.precision_recall
    _draw(draw(curves, areas, is_dark()), f"curve_{kind}", f"{PANELS[kind]}: {pretty(name)} against the rest")


def _cost(runs: Sequence[Run], titles: Mapping[str, str]) -> None:
    kind = shell.bound_selectbox("Cost", list(COSTS), "cost", default="weights", format_func=str.capitalize, width=320)
    rows, left_out = [], []
    for run in runs:
        value = _cost_of(run, kind)
        test = run.summary()["test"]
        if value:
            told = {"name": titles[run.name], "cost": value, "accuracy": test["accuracy"]}
            rows.append(told | {"interval": test["intervals"]["accuracy"]})
        else:
            left_out.append(titles[run.name])
    _draw(figures.cost(rows, COSTS[kind], is_dark()), "cost_chart", f"Accuracy against {COSTS[kind]}")
    if left_out:
        st.caption(f"Not counted at their size or width, and left out: {shell.plain('; '.join(left_out))}.")


def _cost_of(run: Run, kind: str) -> float | None:
    """What a run costs; its flops only where its network was counted at the size and width that the run has."""
    if kind != "flops":
        return run.summary()["parameters" if kind == "weights" else "training_seconds"]
    info = MODELS.get(run.config.model)
    return info.flops if info and (run.config.size, run.config.width) == (info.counted_at, 1) else None
