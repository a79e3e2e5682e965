"""The Compare page's charts: bars by class, ROC and precision-recall curves, reliability, cost against accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from bloodcell_core.evaluation.figures import SHARES, interval_words, threshold_words, with_interval
from bloodcell_core.evaluation.metrics import Curve
from bloodcell_core.words import counted, titles
from ui.theme import chart_text, class_ticks, style

# Of runs, (on light, on dark); none is a class's colour on the same page. Runs also differ by dash or pattern.
RUN_COLOURS = (("#5B3FA6", "#B7A8FF"), ("#B8860B", "#F0C75E"), ("#5F6B7A", "#C9D1DB"), ("#8C2D5A", "#FF9EC4"))
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")  # five dashes and four colours distinguish 20 runs
PATTERNS = ("", "/", ".", "x", "-")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up")
CURVE_POINTS = 500  # of a curve
MOST_BANDS = 3  # curves whose intervals are drawn as areas: more would hide each other
FOUND = "recall: share of the class that is found"
OF_CLASS = {
    "roc": ("AUC", "false positive rate: share of the other classes called this one", FOUND),
    "pr": ("AP", FOUND, "precision: share of those called it that are right"),
}
"""Kinds of curves of a class: what their area is called, and their axes."""
GREY = "#8A8796"
WHISKERS = ("#201D2B", "#E9E7F0")  # on light, on dark; over a bar


def _colour(place: int, dark: bool) -> str:
    return RUN_COLOURS[place % len(RUN_COLOURS)][dark]


def by_class(
    scores: Mapping[str, Mapping[str, Any]], classes: Sequence[str], metric: str, title: str, dark: bool
) -> go.Figure:
    """Bars of one figure by class and run, with 95% intervals; `scores` are `scoring.score`'s, by the run's title."""
    figure = go.Figure()
    for place, (name, told) in enumerate(scores.items()):
        rows = [told["per_class"][each] for each in classes]
        values = [row[metric] for row in rows]
        limits = [row["intervals"][metric] or (value, value) for row, value in zip(rows, values, strict=True)]
        words = [
            counted(row["support"], "picture")
            + ("" if row["photos"] is None else f" of {counted(row['photos'], told['unit'])}")
            for row in rows
        ]
        figure.add_bar(
            x=[*map(chart_text, titles(classes).values())],
            y=values,
            name=chart_text(name),
            marker={
                "color": _colour(place, dark),
                "opacity": 0.6,  # so that the lower half of the whiskers is seen
                "pattern": {"shape": PATTERNS[place % 5], "solidity": 0.25, "fillmode": "overlay"},
            },
            error_y=_error_bars(values, limits) | {"color": WHISKERS[dark]},
            customdata=[[chart_text(with_interval(metric, row[metric], row["intervals"][metric])), word]
                        for row, word in zip(rows, words, strict=True)],
            hovertemplate="%{x}: %{customdata[0]}, %{customdata[1]}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(barmode="group", yaxis_title=title, yaxis_range=[0, 1.02])
    figure.update_yaxes(tickformat="~%" if metric in SHARES else "~g")
    class_ticks(figure, titles(classes).values())
    return style(figure, height=380)


def _error_bars(values: Sequence[float | None], limits: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    known = [(value, *limit) if value is not None else (0, 0, 0) for value, limit in zip(values, limits, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(high - value, 0) for value, _, high in known],
        "arrayminus": [max(value - low, 0) for value, low, _ in known],
        "color": GREY,
        "thickness": 1.5,
    }


def _add_diagonal(figure: go.Figure) -> None:
    """The line on which both axes are equal: of guessing, or of perfect calibration."""
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dot", "width": 1},
                       showlegend=False, hoverinfo="skip")  # fmt: skip


def of_class(kind: str, curves: Mapping[str, tuple[Curve, float]], dark: bool) -> go.Figure:
    """The curves of one class against the rest, of a `kind` of `OF_CLASS`; by run's title, each with its area."""
    area_name, across_title, up_title = OF_CLASS[kind]
    figure = go.Figure()
    for place, (name, ((across, up), area)) in enumerate(curves.items()):
        figure.add_scatter(
            x=across, y=up, mode="lines", name=f"{chart_text(name)} · {area_name} {area:.3f}",
            line={"color": _colour(place, dark), "dash": DASHES[place % 5], "width": 2},
            hovertemplate="%{x:.1%}, %{y:.1%}<extra></extra>",
        )  # fmt: skip
    if kind == "roc":
        _add_diagonal(figure)
    figure.update_layout(xaxis_title=across_title, yaxis_title=up_title)
    figure.update_xaxes(range=[-0.01, 1.01], tickformat="~%")
    figure.update_yaxes(range=[-0.01, 1.02], tickformat="~%")
    return style(figure, height=440)


def coverage(curves: Mapping[str, Sequence[Mapping[str, Any]]], dark: bool) -> go.Figure:
    """Accuracy of the answers that stand against their share, by run's title; from `dial.accuracy_coverage`."""
    figure = go.Figure()
    for place, (name, points) in enumerate(curves.items()):
        if len(curves) <= MOST_BANDS:
            _band(figure, points, _colour(place, dark))
        figure.add_scatter(
            x=[point["coverage"] for point in points], y=[point["accuracy"] for point in points], mode="lines",
            name=chart_text(name), customdata=[_limits_in_words(point) for point in points],
            line={"color": _colour(place, dark), "dash": DASHES[place % 5], "width": 2},
            hovertemplate="%{x:.1%} stand, %{y:.1%} of them right%{customdata}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(xaxis_title="share of the answers that stand", yaxis_title="share of those that are right")
    figure.update_xaxes(tickformat="~%", range=[-0.01, 1.01])
    figure.update_yaxes(tickformat="~%")
    return style(figure, height=420)


def _band(figure: go.Figure, points: Sequence[Mapping[str, Any]], colour: str) -> None:
    """The interval of an accuracy-coverage curve, where it has one, as an area under it."""
    known = [(point["coverage"], *point["intervals"]["accuracy"]) for point in points if point["intervals"]["accuracy"]]
    across, low, high = zip(*known, strict=True) if known else ((), (), ())
    figure.add_scatter(
        x=[*across, *across[::-1]], y=[*high, *low[::-1]], fill="toself", fillcolor=colour, opacity=0.15, mode="none",
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def _limits_in_words(point: Mapping[str, Any]) -> str:
    limits = point["intervals"]["accuracy"]
    words = f" ({interval_words('accuracy', limits)})" if limits else ""
    return f"{words}, at a threshold of {threshold_words(point['threshold'])}"


def reliability(told: Mapping[str, Mapping[str, Any]], dark: bool) -> go.Figure:
    """Reliability diagram: accuracy by confidence, by run's title; from `calibration`'s `before` or `after`."""
    figure = go.Figure()
    for place, (name, facts) in enumerate(told.items()):
        bins = [each for each in facts["bins"] if each["pictures"]]
        rates = [each["accuracy"] for each in bins]
        limits = [each["interval"] or (rate, rate) for each, rate in zip(bins, rates, strict=True)]
        figure.add_scatter(
            x=[each["confidence"] for each in bins], y=rates, mode="lines+markers", error_y=_error_bars(rates, limits),
            name=f"{chart_text(name)} · ECE {facts['ece']:.3f}",
            customdata=[counted(each["pictures"], "picture") for each in bins],
            line={"color": _colour(place, dark), "dash": DASHES[place % 5], "width": 2},
            hovertemplate="said %{x:.1%}, right %{y:.1%} of %{customdata}<extra></extra>",
        )  # fmt: skip
    _add_diagonal(figure)
    figure.update_layout(xaxis_title="how sure the network says it is", yaxis_title="how often it is right")
    figure.update_xaxes(tickformat="~%")
    figure.update_yaxes(tickformat="~%", range=[-0.02, 1.02])
    return style(figure, height=440)


def cost(rows: Sequence[Mapping[str, Any]], title: str, dark: bool) -> go.Figure:
    """Accuracy with its interval against cost; `rows` have name, cost, accuracy and interval."""
    figure = go.Figure()
    digits = "~s" if min((row["cost"] for row in rows), default=1) >= 1 else "~g"  # 0.7 with a prefix would be 700m
    for place, row in enumerate(rows):
        limits = row["interval"] or (row["accuracy"], row["accuracy"])
        figure.add_scatter(
            x=[row["cost"]], y=[row["accuracy"]], name=chart_text(row["name"]), mode="markers",
            error_y=_error_bars([row["accuracy"]], [limits]),
            marker={"size": 11, "color": _colour(place, dark), "symbol": SYMBOLS[place % 5]},
            hovertemplate=f"%{{y:.1%}} at %{{x:,.4{digits}}} {chart_text(title)}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(xaxis_title=title, yaxis_title="accuracy", yaxis_tickformat="~%")
    figure.update_xaxes(type="log", tickformat=digits)
    return style(figure, height=420)
