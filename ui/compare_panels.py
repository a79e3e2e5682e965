"""The Compare page's panels of figures, below the confusion matrices; only the one that is shown is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from bloodcell_core.data.class_names import match_classes
from bloodcell_core.evaluation.comparison import Side
from bloodcell_core.evaluation.dial import accuracy_coverage, dial
from bloodcell_core.evaluation.figures import device_words, threshold_words, with_interval
from bloodcell_core.evaluation.metrics import class_curves
from bloodcell_core.evaluation.report_parts import CALIBRATION_WORDS, standing
from bloodcell_core.evaluation.scoring import costs_of
from bloodcell_core.evaluation.together import calibration_of
from bloodcell_core.words import pretty
from ui import address, compare, shell
from ui import compare_figures as figures
from ui.charts import draw
from ui.theme import is_dark

PANELS = {
    "class": "By class",
    "roc": "ROC",
    "pr": "Precision and recall",
    "calibration": "Calibration",
    "dial": "Review dial",
    "cost": "Cost",
}
BY_CLASS = {
    "recall": "Recall (found, sensitivity)",
    "precision": "Precision (right when named)",
    "specificity": "Specificity (others left alone)",
    "f1": "F1",
    "auc": "AUC, one against the rest",
    "average_precision": "Average precision",
}
DIAL_AT = 0.9  # the threshold for which classes are shown first
COSTS = {
    "milliseconds": "milliseconds a picture",
    "flops": "multiplications and additions a picture",
    "parameters": "weights",
    "training_seconds": "seconds of training",
}


_calibrated = compare.kept(compare.FOR_INTERVALS)(calibration_of)


def panels(sides: Sequence[Side], titles: Mapping[str, str]) -> None:
    """Draws the panel in the address."""
    shown = address.segmented_control("Panel", list(PANELS), "panel", default="class", format_func=PANELS.get,
                                  label_visibility="collapsed")  # fmt: skip
    if shown == "class":
        _by_class(sides, titles)
    elif shown in ("roc", "pr"):
        _curves(sides, titles, shown)
    elif shown == "calibration":
        _calibration(sides, titles)
    elif shown == "dial":
        _dial(sides, titles)
    else:
        _cost(sides, titles)


def _shared_classes(sides: Sequence[Side]) -> dict[str, list[str]]:
    """{a class that all sides have, by the first one's name: its name in each}; the page says if there is none."""
    each = [match_classes(sides[0].classes, side.classes) for side in sides]
    named = {name: [called[name] or "" for called in each] for name in sides[0].classes}
    shared = {name: called for name, called in named.items() if all(called)}
    if not shared:
        st.caption("These runs have no class in common.")
    return shared


def _by_class(sides: Sequence[Side], titles: Mapping[str, str]) -> None:
    metric = address.selectbox("Figure", list(BY_CLASS), "figure", default="recall", format_func=BY_CLASS.get,
                                   width=320)  # fmt: skip
    if not (shared := _shared_classes(sides)):
        return
    scores = {}
    for place, side in enumerate(sides):
        told = compare.scores(side)
        per_class = {name: told["per_class"][called[place]] for name, called in shared.items()}
        scores[titles[side.name]] = told | {"per_class": per_class}
    title = BY_CLASS[metric]
    draw(figures.by_class(scores, [*shared], metric, title, is_dark()), "by_class", f"{title}, by class and run")
    st.caption(
        "The whiskers are 95% intervals, by source photo where photos are known; a bar without whiskers has none."
    )


def _curves(sides: Sequence[Side], titles: Mapping[str, str], kind: str) -> None:
    if not (shared := _shared_classes(sides)):
        return
    name = address.selectbox("Class", [*shared], "class", format_func=pretty, width=320)
    curves = {}
    for side, called in zip(sides, shared[name], strict=True):
        own, shares = (side.table.label == called).to_numpy(), side.table[f"p_{called}"].to_numpy()
        if both := class_curves(own, shares, figures.CURVE_POINTS):
            one = compare.scores(side)["per_class"][called]
            curve = (both.roc, one["auc"]) if kind == "roc" else (both.precision_recall, one["average_precision"])
            curves[titles[side.name]] = curve
    if not curves:
        st.caption("All test pictures bear this class, or none does: there is no curve.")
        return
    draw(figures.of_class(kind, curves, is_dark()), f"curve_{kind}", f"{PANELS[kind]}: {pretty(name)} against the rest")


def _calibration(sides: Sequence[Side], titles: Mapping[str, str]) -> None:
    st.caption(
        "Of the answers of which a network is 80% sure, 80% should be right. All probabilities are calibrated by a "
        "temperature, fitted on the run's validation split; it doesn't change which class is named."
    )
    raw = address.toggle("Before calibration", "raw")
    told = {side.name: _calibrated(side) for side in sides}
    shown = {name: facts["before"] if raw or not facts["after"] else facts["after"] for name, facts in told.items()}
    drawn = {titles[name]: facts for name, facts in shown.items()}
    draw(figures.reliability(drawn, is_dark()), "reliability", "How often answers of a confidence are right")
    rows = [
        {"Run": titles[name], "Temperature": facts["temperature"]}
        | {title: _with_limits(shown[name], key) for key, title in CALIBRATION_WORDS.items()}
        for name, facts in told.items()
    ]
    shell.table(pd.DataFrame(rows), alt="Calibration of each run",
                 column_config={"Temperature": st.column_config.NumberColumn(format="%.3f")})  # fmt: skip
    for name, facts in told.items():
        for warning in facts["warnings"]:
            st.caption(f":material/info: {shell.plain(titles[name])}: {shell.plain(warning)}.")


def _with_limits(facts: Mapping[str, Any], key: str) -> str:
    return with_interval(key, facts[key], facts["intervals"][key])


def _dial(sides: Sequence[Side], titles: Mapping[str, str]) -> None:
    st.caption("Answers less sure than a threshold are set aside for a person to review.")
    told = {side.name: _dialled(side) for side in sides}
    curves = {titles[name]: curve for name, (_, curve) in told.items()}
    draw(figures.coverage(curves, is_dark()), "coverage", "Share of the answers that stand against how many are right")
    if len(curves) <= figures.MOST_BANDS:
        st.caption("The areas are 95% intervals of the curves, by source photo where photos are known.")
    with st.container(horizontal=True):
        name = address.selectbox("Run", list(told), "of", default=sides[0].name, format_func=titles.get, width=420)
        facts = told[name][0]
        threshold = address.selectbox(
            "By class, at a threshold of", [row["threshold"] for row in facts["thresholds"]], "threshold",
            default=DIAL_AT, format_func=threshold_words, width=220,
        )  # fmt: skip
    rows = [
        {"Threshold": threshold_words(row["threshold"])} | _set_aside(row, facts["pictures"])
        | {"Answers that stand": standing(row, facts)}
        | {"Right of these": shell.percent(row["accuracy"], row["intervals"]["accuracy"])}
        for row in facts["thresholds"]
    ]  # fmt: skip
    left, right = shell.sides([5, 3], "dial", "medium")
    with left:
        shell.table(pd.DataFrame(rows), alt="What each threshold sets aside")
    with right:
        by_class = next(row for row in facts["thresholds"] if row["threshold"] == threshold)["by_class"]
        rows = [{"Class": pretty(each)} | _set_aside(row, row["pictures"]) for each, row in by_class.items()]
        shell.table(pd.DataFrame(rows), alt="What the threshold sets aside, by class")


def _set_aside(row: Mapping[str, Any], pictures: int) -> dict[str, Any]:
    share = f" ({shell.percent(row['set_aside'] / pictures)})" if pictures else ""
    told = {"Set aside": f"{row['set_aside']:,}{share}", "Mistakes caught": row["caught"]}
    return told | {"Mistakes missed": row["missed"]}


@compare.kept(compare.FOR_INTERVALS)
def _dialled(side: Side) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return dial(side.table, side.classes), accuracy_coverage(side.table, side.classes)


def _cost(sides: Sequence[Side], titles: Mapping[str, str]) -> None:
    kind = address.selectbox("Cost", list(COSTS), "cost", default="milliseconds", format_func=str.capitalize,
                                 width=320)  # fmt: skip
    rows, left_out, places = [], [], {}
    for side in sides:
        summary = side.run.summary()
        costs, test = costs_of(summary), summary["test"]
        if costs[kind]:
            told = {"name": titles[side.name], "cost": costs[kind], "accuracy": test["accuracy"]}
            rows.append(told | {"interval": test["intervals"]["accuracy"]})
            places[device_words(costs["milliseconds_on"])] = None
        else:
            left_out.append(titles[side.name])
    draw(figures.cost(rows, COSTS[kind], is_dark()), "cost_chart", f"Accuracy against {COSTS[kind]}")
    if kind == "milliseconds" and rows:
        apart = " Times on different devices can't be compared." if len(places) > 1 else ""
        st.caption(
            f"From a picture's pixels to its answer, in batches of 64, measured when the run ended, on "
            f"{'; '.join(places)}.{apart}"
        )
    if left_out:
        st.caption(f"Left out, as this was not measured for them: {shell.plain('; '.join(left_out))}.")
