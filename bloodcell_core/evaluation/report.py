"""A run's evaluation, or a comparison, as one HTML file that needs nothing else: to be kept, sent, printed on A4.

Every figure is read from the very dictionary that `evaluate` or `compare` prints with `--json`; that dictionary also
stands in the file, unrounded. Tables are HTML, curves are SVG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bloodcell_core.data.dataset import Dataset, describe
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.charts import one_runs_curves, reliability, several_runs_curves
from bloodcell_core.evaluation.comparison import Side, p_words
from bloodcell_core.evaluation.document import Html, document, section, table_of, tag
from bloodcell_core.evaluation.external import figure
from bloodcell_core.runs import Run

METRIC_WORDS = {
    "accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "f1_macro": "Macro F1",
    "auc_ovr": "AUC, one against the rest", "precision_macro": "Macro precision", "recall_macro": "Macro recall",
    "specificity_macro": "Macro specificity", "average_precision_macro": "Average precision",
    "kappa": "Cohen's kappa", "brier": "Brier score", "log_loss": "Log loss",
}  # fmt: skip
CLASS_WORDS = {
    "recall": "Recall", "precision": "Precision", "specificity": "Specificity", "f1": "F1", "auc": "AUC",
    "average_precision": "Average precision",
}  # fmt: skip
OUTCOME_WORDS = {"both": "Both right", "only_a": "Only A right", "only_b": "Only B right", "neither": "Neither right"}


def run_report(scores: Mapping[str, Any], table: pd.DataFrame, run: Run) -> str:
    """The HTML of one evaluation.

    Args:
        scores, table: of `scoring.evaluated`.
        run: the run that they are of.
    """
    what = "all splits" if scores["split"] == "all" else f"{scores['split']} split"
    if scores["fold"] and scores["data"] == run.config.data:
        what += f", fold {scores['fold']}"
    lead = (
        f"{run.config.model}, {run.view_words} view, {'pretrained' if run.pretrained else 'untrained'} first weights"
        + (", trained on synthetic pictures" if run.synthetic else "")
        + f"; {what} of {scores['data']}"
    )
    limits = [*scores["warnings"], *scores["notes"]]
    return document(
        f"{scores['run']} on {scores['data']}",
        lead,
        [
            section(
                "Figures",
                tag("p", {}, _counts(scores)),
                _figures(scores),
            ),
            section("Limits", *(tag("p", {}, f"{limit[:1].upper()}{limit[1:]}") for limit in limits)),
            section("Classes", _classes(scores)),
            section("Confusion", _confusion(scores["confusion"], scores["classes"])),
            *([_calibration(scores["calibration"])] if scores["calibration"] else []),
            section("Curves", one_runs_curves(table, scores["classes"])),
            *([_elsewhere(scores)] if scores["class_map"] is not None else []),
            _data(scores["data"]),
            _cost({scores["run"]: scores["cost"]}),
            section("Settings", table_of(("Setting", "Value"), run.settings.items())),
        ],
        scores,
    )


def comparison_report(told: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]], sides: Sequence[Side]) -> str:
    """The HTML of a comparison.

    Args:
        told: of `together.side_by_side`.
        settings: {run: its `Run.settings`}; those that differ are shown.
        sides: what was compared.
    """
    names = [row["run"] for row in told["runs"]]
    shown = [metric for metric in METRIC_WORDS if any(row[metric] is not None for row in told["runs"])]
    figures = table_of(
        ("", *names),
        [
            *((METRIC_WORDS[metric], *(_with_interval(row, metric) for row in told["runs"])) for metric in shown),
            ("Photos right", *(_photos_right(row) for row in told["runs"])),
        ],
    )
    limits: dict[str, list[str]] = {}
    for row in told["runs"]:
        for limit in row["warnings"] + row["notes"]:
            limits.setdefault(limit, []).append(row["run"])
    # an ensemble has members where a trained run has the fields of TrainConfig
    every_field = dict.fromkeys(field for fields in settings.values() for field in fields)
    fields = [
        (field, *(settings[name].get(field, "–") for name in settings))
        for field in every_field
        if len({repr(fields.get(field)) for fields in settings.values()}) > 1
    ]
    return document(
        f"{' against '.join(names)}",
        f"tested on {told['runs'][0]['data']}",
        [
            section("Figures", tag("p", {}, _counts(told["runs"][0])), figures),
            *(_compared(facts) for facts in told["comparisons"]),
            *(_by_seed(group) for group in told["seed_groups"]),
            section(
                "Limits",
                *(
                    tag("p", {}, limit if len(of) == len(names) else f"{', '.join(of)}: {limit}")
                    for limit, of in limits.items()
                ),
            ),
            *(
                section(f"Confusion of {row['run']}", _confusion(row["confusion"], list(row["per_class"])))
                for row in told["runs"]
            ),
            section("Curves", several_runs_curves({side.name: side.table for side in sides}, sides[0].classes)),
            *_calibrations({row["run"]: row["calibration"] for row in told["runs"] if row["calibration"]}),
            _cost({row["run"]: row["cost"] for row in told["runs"] if row["cost"]}),
            *([section("Settings that differ", table_of(("Setting", *settings), fields))] if fields else []),
            _data(told["runs"][0]["data"]),
        ],
        told,
    )


def _counts(scores: Mapping[str, Any]) -> str:
    photos = scores["photos"]
    known = photos is not None
    origin = f"{photos:,} source photos" if known else "source photos that are not known"
    unit = "source photo" if known else "picture"
    return f"{scores['pictures']:,} pictures from {origin}; intervals hold 95% and are resampled by {unit}."


def _photos_right(scores: Mapping[str, Any]) -> str:
    """By photo, a photo's copies averaged, with exact limits."""
    told = scores["by_photo"]
    return f"{told['right']:,} of {told['photos']:,} ({_interval(told['interval'])})" if told else "–"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _interval(limits: Sequence[float] | None) -> str:
    return f"{limits[0]:.4f} to {limits[1]:.4f}" if limits else "–"


def _with_interval(figures: Mapping[str, Any], metric: str) -> str:
    limits = figures["intervals"].get(metric)
    return _figure(figures[metric]) + (f" ({_interval(limits)})" if limits else "")


def _figures(scores: Mapping[str, Any]) -> Html:
    rows = [
        (words, _figure(scores[metric]), _interval(scores["intervals"].get(metric)))
        for metric, words in METRIC_WORDS.items()
    ]
    if scores["by_photo"]:
        right, limits = scores["by_photo"], scores["by_photo"]["interval"]
        rows.append(("Photos right, copies averaged", f"{right['right']:,} of {right['photos']:,}", _interval(limits)))
    return table_of(("", "Figure", "95% interval"), rows)


def _classes(scores: Mapping[str, Any]) -> Html:
    rows = []
    for name, figures in scores["per_class"].items():
        photos = figures["by_photo"]["photos"] if figures["by_photo"] else "–"
        rows.append(
            (name, f"{figures['support']:,}", photos, *(_with_interval(figures, metric) for metric in CLASS_WORDS))
        )
    return table_of(("Class", "Pictures", "Photos", *CLASS_WORDS.values()), rows)


def _confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Html:
    """The matrix, coloured by the share of its row; rows are the true class."""
    rows = []
    for name, row in zip(classes, counts, strict=True):
        shares = [count / max(sum(row), 1) for count in row]
        cells = [
            tag("td", {"style": f"--share:{share:.3f}"}, f"{count:,}", tag("small", {}, f"{share:.1%}"))
            for count, share in zip(row, shares, strict=True)
        ]
        rows.append(tag("tr", {}, tag("th", {}, name), *cells))
    return _matrix(classes, rows, "Rows are the true class, columns the answer; shares are of the row.")


def _changes(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Html:
    """The difference of two matrices, coloured by its size and sign."""
    largest = max(1, *(abs(count) for row in counts for count in row))
    rows = []
    for name, row in zip(classes, counts, strict=True):
        cells = [
            tag(
                "td", {"style": f"--share:{abs(count) / largest:.3f}", "class": "less" if count < 0 else "more"},
                f"{count:+,}" if count else "0",
            )
            for count in row
        ]  # fmt: skip
        rows.append(tag("tr", {}, tag("th", {}, name), *cells))
    return _matrix(classes, rows, "Confusion, B less A: pictures more or fewer.")


def _matrix(classes: Sequence[str], rows: Sequence[Html], caption: str) -> Html:
    head = tag("tr", {}, tag("th", {}, "True"), *(tag("th", {}, name) for name in classes))
    return tag("div", {"class": "scroll"}, tag("table", {"class": "matrix"}, tag("caption", {}, caption), head, *rows))


def _calibration(facts: Mapping[str, Any]) -> Html:
    shown = {"not calibrated": facts["before"]}
    if facts["after"]:
        shown = {f"calibrated, temperature {facts['temperature']:.2f}": facts["after"], "before": facts["before"]}
    return section(
        "Calibration",
        *(tag("p", {}, f"{warning[:1].upper()}{warning[1:]}") for warning in facts["warnings"]),
        _calibration_figures(shown),
        reliability(shown),
    )


def _calibrations(told: Mapping[str, Mapping[str, Any]]) -> list[Html]:
    """Of several runs, as their answers are: calibrated where a temperature could be fitted."""
    if not told:
        return []
    shown = {name: facts["after"] or facts["before"] for name, facts in told.items()}
    warnings = [f"{name}: {warning}" for name, facts in told.items() for warning in facts["warnings"]]
    temperatures = ("Temperature", *(_figure(facts["temperature"]) for facts in told.values()))
    figures = _calibration_figures(shown, [temperatures])
    return [section("Calibration", *(tag("p", {}, each) for each in warnings), figures, reliability(shown))]


def _calibration_figures(shown: Mapping[str, Mapping[str, Any]], more: Sequence[tuple[str, ...]] = ()) -> Html:
    words = {"ece": "Calibration error", "brier": "Brier score", "log_loss": "Log loss", "confidence": "Mean certainty"}
    rows = [(text, *(_with_interval(figures, metric) for figures in shown.values())) for metric, text in words.items()]
    rows.insert(1, ("Calibration error by chance alone", *(_figure(part["ece_by_chance"]) for part in shown.values())))
    return table_of(("", *shown), [*rows, *more])


def _cost(told: Mapping[str, Mapping[str, Any]]) -> Html:
    """What each run costs; a dash where it was not measured."""
    rows = [
        (
            name, _number(facts["parameters"]), _number(facts["flops"]),
            "–" if facts["milliseconds"] is None else f"{facts['milliseconds']:.3g} ({facts['milliseconds_on']})",
            "–" if facts["training_seconds"] is None else f"{facts['training_seconds']:,.0f}",
        )
        for name, facts in told.items()
    ]  # fmt: skip
    head = (
        "Run",
        "Weights",
        "Multiplications and additions a picture",
        "Milliseconds a picture",
        "Seconds of training",
    )
    return section("Cost", table_of(head, rows))


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _elsewhere(scores: Mapping[str, Any]) -> Html:
    matched = [
        (theirs, ours or f"left out ({scores['left_out_classes'].get(theirs, 0):,} pictures)")
        for theirs, ours in scores["class_map"].items()
    ]
    inside = [table_of(("Class there", "Class of the run"), matched)]
    if scores["distance"] is not None:
        rows = [
            (told["title"], figure(told["training"]), figure(told["here"]), told["words"])
            for told in scores["distance"].values()
        ]
        inside.append(table_of(("Median", "Training data", "This data", ""), rows))
    return section("Data of another source", *inside)


def _data(name: str) -> Html:
    try:
        facts = describe(Dataset(name))
    except LabError as error:
        return section("Data", tag("p", {}, str(error)))
    rows = [
        ("Name", name), ("Format", facts["format"]), ("Synthetic", "yes" if facts["synthetic"] else "no"),
        ("Pictures", f"{facts['pictures']:,}"),
        ("Source photos", "not known" if facts["photos"] is None else f"{facts['photos']:,}"),
        ("Unreadable, left out", facts["unreadable"]), ("Byte-identical, left out", facts["duplicates"]),
        ("Splits", facts["split_origin"]), ("Licence", facts["licence"]), ("Citation", facts["citation"]),
    ]  # fmt: skip
    counts = [
        (split, f"{part['pictures']:,}", "–" if part["photos"] is None else f"{part['photos']:,}",
         *(f"{part['by_class'][label]:,}" for label in facts["classes"]))
        for split, part in facts["splits"].items()
    ]  # fmt: skip
    return section(
        "Data",
        table_of(("", ""), [row for row in rows if row[1] not in (None, "")]),
        table_of(("Split", "Pictures", "Photos", *facts["classes"]), counts),
    )


def _compared(facts: Mapping[str, Any]) -> Html:
    right = facts["right"]
    rows = [
        (METRIC_WORDS[metric], _figure(told["a"]), _figure(told["b"]), _signed(told["difference"]),
         f"{told['interval'][0]:+.4f} to {told['interval'][1]:+.4f}" if told["interval"] else "–")
        for metric, told in facts["metrics"].items()
    ]  # fmt: skip
    who = [(words, f"{right[outcome]:,}") for outcome, words in OUTCOME_WORDS.items()]
    if right["p"] is not None:
        who.append(("McNemar's exact p", p_words(right["p"]).removeprefix("= ")))
    return section(
        f"A: {facts['a']}, B: {facts['b']}",
        tag("p", {}, tag("strong", {}, facts["verdict"])),
        table_of(("", "A", "B", "B less A", "95% interval, paired"), rows),
        table_of((f"Of {right['of']:,} {right['unit']}", ""), who),
        _changes(facts["confusion"]["difference"], facts["classes"]),
        *(tag("p", {}, f"{note[:1].upper()}{note[1:]}") for note in facts["notes"]),
    )


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def _by_seed(group: Mapping[str, Any]) -> Html:
    rows = [
        (METRIC_WORDS[metric], _figure(told["mean"]), _figure(told["spread"]))
        for metric, told in group["metrics"].items()
        if told
    ]
    return section(
        "What a seed alone changes",
        tag("p", {}, ", ".join(group["runs"])),
        table_of(("", "Mean", "Standard deviation"), rows),
    )
