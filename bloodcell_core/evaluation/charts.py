"""The curves of a report, as SVG: nothing is run and nothing loaded to see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bloodcell_core.evaluation.dial import accuracy_coverage
from bloodcell_core.evaluation.document import Html, tag
from bloodcell_core.evaluation.metrics import class_curves

COLOURS = 8  # of curves, in the style sheet
DASHES = ("none", "7 3", "2 3", "9 3 2 3", "14 4")  # with the colours they tell 40 curves apart
CURVE_POINTS = 200  # of a curve: more can't be seen, and make a large file


class Curve(NamedTuple):
    """A line of a chart whose axes both run from 0 to 1."""

    name: str
    points: list[tuple[float, float]]
    whiskers: Sequence[tuple[float, Sequence[float]]] = ()
    """(x, (low, high)) of upright lines."""


def chart(title: str, across: str, up: str, curves: Sequence[Curve], even: bool = False) -> Html:
    """An SVG of curves, and their names below it; `even` draws the line from corner to corner."""

    def at(x: float, y: float) -> str:
        return f"{45 + 300 * x:.1f},{15 + 220 * (1 - y):.1f}"

    def line(kind: str, points: Iterable[tuple[float, float]], style: str = "") -> Html:
        return tag("polyline", {"class": kind, "points": " ".join(at(*point) for point in points), "style": style})

    drawn = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawn += [line("axis", [(share, 0), (share, 1)]), line("axis", [(0, share), (1, share)])]
        x, y = at(share, share).split(",")
        words = f"{share:.0%}"
        drawn.append(tag("text", {"x": x, "y": 250, "text-anchor": "middle"}, words))
        drawn.append(tag("text", {"x": 40, "y": y, "text-anchor": "end", "dominant-baseline": "middle"}, words))
    drawn.append(tag("text", {"x": 195, "y": 270, "text-anchor": "middle"}, across))
    drawn.append(tag("text", {"x": 12, "y": 125, "text-anchor": "middle", "transform": "rotate(-90 12 125)"}, up))
    if even:
        drawn.append(line("even", [(0, 0), (1, 1)]))
    key = []
    for place, curve in enumerate(curves):
        colour = f"var(--c{place % COLOURS})"
        drawn += [
            line("curve", [(x, low), (x, high)], f"stroke:{colour};opacity:.5") for x, (low, high) in curve.whiskers
        ]
        look = f"stroke:{colour};stroke-dasharray:{DASHES[place // COLOURS % len(DASHES)]}"
        drawn.append(line("curve", curve.points, look))
        stroke = tag("polyline", {"class": "curve", "points": "0,5 30,5", "style": look})
        sample = tag("svg", {"class": "key", "viewBox": "0 0 30 10", "aria-hidden": "true"}, stroke)
        key.append(tag("span", {}, sample, curve.name))
    picture = tag("svg", {"viewBox": "0 0 360 278", "role": "img", "aria-label": title}, *drawn)
    return tag("figure", {}, tag("figcaption", {}, tag("strong", {}, title), *key), picture)


def charts(*drawn: Html) -> Html:
    """Charts beside each other, as many as the page is wide."""
    return tag("div", {"class": "charts"}, *drawn)


def one_runs_curves(table: pd.DataFrame, classes: Sequence[str]) -> Html:
    """ROC and precision-recall of each class against the rest, and accuracy against coverage, of one run."""
    lines = {name: _curves_of(table, name) for name in classes}
    cover = accuracy_coverage(table, classes)
    points = [(point["coverage"], point["accuracy"]) for point in cover]
    limits = [(point["coverage"], point["intervals"]["accuracy"]) for point in cover if point["intervals"]["accuracy"]]
    return charts(
        _roc("ROC, each class against the rest", {name: each[0] for name, each in lines.items() if each}),
        _precision("Precision and recall", {name: each[1] for name, each in lines.items() if each}),
        chart(
            "If only the surest answers stand", "answers that stand", "right among them",
            [Curve("accuracy with 95% interval", points, limits)],
        ),
    )  # fmt: skip


def several_runs_curves(tables: Mapping[str, pd.DataFrame], classes: Sequence[str]) -> Html:
    """For each class ROC and precision-recall of all runs in one chart; `tables` are predictions by run."""
    drawn = []
    for name in classes:
        lines = {run: found for run, table in tables.items() if (found := _curves_of(table, name))}
        if lines:
            drawn.append(_roc(f"ROC, {name} against the rest", {run: each[0] for run, each in lines.items()}))
            drawn.append(_precision(f"Precision and recall, {name}", {run: each[1] for run, each in lines.items()}))
    return charts(*drawn)


def reliability(told: Mapping[str, Mapping[str, Any]]) -> Html:
    """How often answers of a confidence are right, by name; of `calibration`'s `before` or `after`."""
    curves = [
        Curve(
            name,
            [(part["confidence"], part["accuracy"]) for part in figures["bins"]],
            [(part["confidence"], part["interval"]) for part in figures["bins"] if part["interval"]],
        )
        for name, figures in told.items()
    ]
    return charts(chart("Reliability", "confidence of the answer", "right", curves, even=True))


Points = list[tuple[float, float]]


def _curves_of(table: pd.DataFrame, name: str) -> tuple[Points, Points] | None:
    """The ROC and the precision-recall curve of a class against the rest; None where all bear it, or none does."""
    curves = class_curves((table.label == name).to_numpy(), table[f"p_{name}"].to_numpy(), CURVE_POINTS)
    return curves and (_points(curves.roc), _points(curves.precision_recall))


def _roc(title: str, lines: Mapping[str, Points]) -> Html:
    curves = [Curve(name, points) for name, points in lines.items()]
    return chart(title, "false positives", "found", curves, even=True)


def _precision(title: str, lines: Mapping[str, Points]) -> Html:
    return chart(title, "recall", "precision", [Curve(name, points) for name, points in lines.items()])


def _points(curve: Sequence[np.ndarray]) -> Points:
    return [(float(x), float(y)) for x, y in zip(*curve, strict=True)]
