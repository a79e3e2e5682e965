"""A run's evaluation as one HTML file that needs nothing else: to be kept, sent, printed on A4.

Every figure is read from the very dictionary that `evaluate` prints with `--json`; that dictionary also stands in the
file, unrounded. Tables are HTML, curves are SVG.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bloodcell_core.evaluation.charts import one_runs_curves, reliability
from bloodcell_core.evaluation.document import Html, document, section, table_of, tag
from bloodcell_core.evaluation.figures import figure_words, four_digits, interval_words, scored_on
from bloodcell_core.evaluation.report_parts import (
    METRIC_WORDS,
    calibration_figures,
    called,
    classes,
    confusion,
    cost,
    counts,
    data,
    review_dial,
    right_and_limits,
    setting_words,
)
from bloodcell_core.evaluation.scoring import reviewed_words
from bloodcell_core.runs import Run
from bloodcell_core.words import capitalised


def run_report(scores: Mapping[str, Any], table: pd.DataFrame, run: Run) -> str:
    """The HTML of one evaluation.

    Args:
        scores, table: of `scoring.evaluated`.
        run: the run that they are of.
    """
    lead = (
        f"{run.config.model}, {run.view_words} view, {run.weights_words}"
        + (", trained on synthetic pictures" if run.synthetic else "")
        + f"; {run.split_words(scores['split'], own=scores['class_map'] is None)} of {scored_on(scores)}"
    )
    limits = [*scores["warnings"], *scores["notes"]]
    if scores["reviewed"]:
        limits += [f"on reviewed labels: {each}" for each in scores["reviewed"]["warnings"] if each not in limits]
    settings = [("run", run.name), *((field, setting_words(value)) for field, value in run.settings.items())]
    return document(
        f"{called(run.name)} on {scores['data']}",
        lead,
        [
            section(
                "Figures",
                tag("p", {}, counts(scores)),
                *([tag("p", {}, _reviewed_counts(scores["reviewed"]))] if scores["reviewed"] else []),
                _figures(scores),
            ),
            section("Limits", *(tag("p", {}, capitalised(limit)) for limit in limits)),
            section("Classes", classes(scores)),
            section("Confusion", confusion(scores["confusion"], scores["classes"])),
            *([_calibration(scores["calibration"])] if scores["calibration"] else []),
            section("Review dial", *review_dial(scores["dial"])),
            section("Curves", one_runs_curves(table, scores["classes"])),
            *([_elsewhere(scores)] if scores["class_map"] is not None else []),
            data(scores["data"], scores["data_hash"], run.name),
            cost({run.name: scores["cost"]}),
            section("Settings", table_of(("Setting", "Value"), settings)),
        ],
        scores,
    )


def _reviewed_counts(reviewed: Mapping[str, Any]) -> str:
    return f"Beside them the figures {reviewed_words(reviewed)}. {counts(reviewed)}"


def _figures(scores: Mapping[str, Any]) -> Html:
    """All figures; those on reviewed labels beside them where there are such."""
    heads, columns = [""], [[*METRIC_WORDS.values(), "Photos right, copies averaged"]]
    for head, figures in (("Figure", scores), ("On reviewed labels", scores["reviewed"])):
        if figures:
            right, limits = right_and_limits(figures)
            heads += [head, "95% interval"]
            columns.append([*(figure_words(metric, figures[metric]) for metric in METRIC_WORDS), right])
            intervals = figures["intervals"]
            columns.append([*(interval_words(metric, intervals.get(metric)) for metric in METRIC_WORDS), limits])
    return table_of(heads, zip(*columns, strict=True))


def _calibration(facts: Mapping[str, Any]) -> Html:
    shown = {"not calibrated": facts["before"]}
    if facts["after"]:
        temperature = figure_words("temperature", facts["temperature"])
        shown = {f"calibrated, temperature {temperature}": facts["after"], "before": facts["before"]}
    return section(
        "Calibration",
        *(tag("p", {}, capitalised(warning)) for warning in facts["warnings"]),
        calibration_figures(shown),
        reliability(shown),
    )


def _elsewhere(scores: Mapping[str, Any]) -> Html:
    matched = [
        (theirs, ours or f"left out ({scores['left_out_classes'].get(theirs, 0):,} pictures)")
        for theirs, ours in scores["class_map"].items()
    ]
    inside = [table_of(("Class there", "Class of the run"), matched)]
    if scores["distance"] is not None:
        rows = [
            (told["title"], four_digits(told["training"]), four_digits(told["here"]), told["words"])
            for told in scores["distance"].values()
        ]
        inside.append(table_of(("Median", "Training data", "This data", ""), rows))
    return section("Data of another source", *inside)
