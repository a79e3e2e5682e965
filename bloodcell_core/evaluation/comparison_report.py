"""A comparison as one HTML file that needs nothing else, with the very figures that `compare --json` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bloodcell_core.evaluation.charts import reliability, several_runs_curves
from bloodcell_core.evaluation.comparison import OUTCOMES, Side, p_words
from bloodcell_core.evaluation.document import Html, document, section, table_of, tag
from bloodcell_core.evaluation.figures import (
    difference_interval_words,
    difference_words,
    figure_words,
    scored_on,
    signed,
    spread_words,
)
from bloodcell_core.evaluation.report_parts import (
    METRIC_WORDS,
    calibration_figures,
    called,
    classes,
    confusion,
    cost,
    counts,
    data,
    figure_and_limits,
    matrix,
    photos_right,
    review_dial,
    setting_words,
)
from bloodcell_core.words import capitalised, pretty


def comparison_report(compared: Mapping[str, Any], sides: Sequence[Side]) -> str:
    """The HTML of a comparison.

    Args:
        compared: of `together.side_by_side`.
        sides: what was compared.
    """
    names = [row["run"] for row in compared["runs"]]
    shown = {name: called(name) for name in names}
    whole_names = "".join(f"; {title} is the run {name}" for name, title in shown.items() if title != name)
    return document(
        " against ".join(shown.values()),
        f"tested on {scored_on(compared['runs'][0])}{whole_names}",
        [
            *_figures(compared, ""),
            *(part for labels, facts in compared["reviewed"].items() for part in _figures(facts, labels)),
            *(_by_seed(group) for group in compared["seed_groups"]),
            _limits(compared["runs"]),
            *(_of_run(row, shown[row["run"]]) for row in compared["runs"]),
            section("Curves", several_runs_curves({shown[side.name]: side.table for side in sides}, sides[0].classes)),
            *_calibrations({shown[row["run"]]: row["calibration"] for row in compared["runs"] if row["calibration"]}),
            cost({row["run"]: row["cost"] for row in compared["runs"] if row["cost"]}),
            *_settings({side.name: side.run.settings for side in sides if side.run}),
            data(sides[0].data, sides[0].data_hash, sides[0].name),
        ],
        compared,
    )


def _of_run(row: Mapping[str, Any], title: str) -> Html:
    """What stands on a run's own matrix: its classes, and what a threshold would catch."""
    matrix = confusion(row["confusion"], list(row["per_class"]))
    return section(f"Classes, confusion and review dial of {title}", classes(row), matrix, *review_dial(row["dial"]))


def _limits(rows: Sequence[Mapping[str, Any]]) -> Html:
    """What limits the figures of runs, each sentence once, with the runs that it is of where it isn't of all."""
    runs_of: dict[str, list[str]] = {}
    for row in rows:
        for limit in row["warnings"] + row["notes"]:
            runs_of.setdefault(limit, []).append(called(row["run"]))
    sentences = [f"{', '.join(of)}: {limit}" if len(of) < len(rows) else limit for limit, of in runs_of.items()]
    return section("Limits", *(tag("p", {}, sentence) for sentence in sentences))


def _settings(settings: Mapping[str, Mapping[str, Any]]) -> list[Html]:
    """The settings in which runs differ."""
    # an ensemble has members where a trained run has the fields of TrainConfig
    every_field = dict.fromkeys(field for fields in settings.values() for field in fields)
    rows = [
        (field, *(setting_words(of[field]) if field in of else "–" for of in settings.values()))
        for field in every_field
        if len({repr(of.get(field)) for of in settings.values()}) > 1
    ]
    return [section("Settings that differ", table_of(("Setting", *map(called, settings)), rows))] if rows else []


def _figures(compared: Mapping[str, Any], labels: str) -> list[Html]:
    """The figures of runs and how they compare, on the dataset's own labels ("") or on reviewed ones."""
    on = f" on the reviewed labels {labels}" if labels else ""
    runs = compared["runs"]
    shown = [metric for metric in METRIC_WORDS if any(row[metric] is not None for row in runs)]
    table = table_of(
        ("", *(called(row["run"]) for row in runs)),
        [
            *((METRIC_WORDS[metric], *(figure_and_limits(row, metric) for row in runs)) for metric in shown),
            ("Photos right", *(photos_right(row) for row in runs)),
        ],
    )
    limits = [f"{called(row['run'])}: {limit}" for row in runs for limit in row["warnings"]] if labels else []
    figures = section(
        f"Figures{on}", tag("p", {}, counts(runs[0])), table, *(tag("p", {}, limit) for limit in limits)
    )
    return [figures, *(_compared(facts, on) for facts in compared["comparisons"])]


def _changes(pictures: Sequence[Sequence[int]], classes: Sequence[str]) -> Html:
    """The difference of two matrices, coloured by its size and sign."""
    largest = max(1, *(abs(count) for row in pictures for count in row))
    rows = []
    for name, row in zip(classes, pictures, strict=True):
        cells = [
            tag(
                "td", {"style": f"--share:{abs(count) / largest:.3f}", "class": "less" if count < 0 else "more"},
                signed(count),
            )
            for count in row
        ]  # fmt: skip
        rows.append(tag("tr", {}, tag("th", {}, pretty(name)), *cells))
    return matrix(classes, rows, "Confusion, B less A: pictures more or fewer.")


def _calibrations(calibrations: Mapping[str, Mapping[str, Any]]) -> list[Html]:
    """Of several runs, as their answers are: calibrated where a temperature could be fitted."""
    if not calibrations:
        return []
    shown = {name: facts["after"] or facts["before"] for name, facts in calibrations.items()}
    warnings = [f"{name}: {warning}" for name, facts in calibrations.items() for warning in facts["warnings"]]
    temperatures = (figure_words("temperature", facts["temperature"]) for facts in calibrations.values())
    figures = calibration_figures(shown, [("Temperature", *temperatures)])
    return [section("Calibration", *(tag("p", {}, each) for each in warnings), figures, reliability(shown))]


def _compared(facts: Mapping[str, Any], on: str) -> Html:
    right = facts["right"]
    rows = [
        (METRIC_WORDS[metric], figure_words(metric, row["a"]), figure_words(metric, row["b"]),
         difference_words(metric, row["difference"]), difference_interval_words(metric, row["interval"]))
        for metric, row in facts["metrics"].items()
    ]  # fmt: skip
    who = [(words, f"{right[outcome]:,}") for outcome, words in OUTCOMES.items()]
    if right["p"] is not None:
        who.append(("McNemar's exact p", p_words(right["p"]).removeprefix("= ")))
    return section(
        f"A: {called(facts['a'])}, B: {called(facts['b'])}{on}",
        tag("p", {}, tag("strong", {}, facts["verdict"])),
        table_of(("", "A", "B", "B less A", "95% interval, paired"), rows),
        table_of((f"Of {right['of']:,} {right['unit']}", ""), who),
        _changes(facts["confusion"]["difference"], facts["classes"]),
        *(tag("p", {}, capitalised(note)) for note in facts["notes"]),
    )


def _by_seed(group: Mapping[str, Any]) -> Html:
    rows = [
        (METRIC_WORDS[metric], figure_words(metric, row["mean"]), spread_words(metric, row["spread"]))
        for metric, row in group["metrics"].items()
        if row
    ]
    return section(
        "What a seed alone changes",
        tag("p", {}, ", ".join(map(called, group["runs"]))),
        table_of(("", "Mean", "Standard deviation"), rows),
    )
