"""What the reports of a run and of a comparison have in common: figures with intervals, matrices, data, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bloodcell_core import notes, workspace
from bloodcell_core.data.dataset import describe, same_dataset
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.document import Html, heads_of, scrolled, section, table_of, tag
from bloodcell_core.evaluation.figures import (
    device_words,
    figure_words,
    interval_words,
    percent,
    threshold_words,
    with_interval,
)
from bloodcell_core.words import counted, groups_behind, pretty

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

CALIBRATION_WORDS = {
    "ece": "Calibration error (ECE)", "confidence": "Mean confidence", "brier": "Brier score", "log_loss": "Log loss",
}  # fmt: skip

MOST_UPRIGHT = 8  # classes of a matrix whose heads are upright on paper


def called(run: str) -> str:
    """A run by the title that somebody gave it and, so that no title passes for another run, the end of its name; or by
    its name."""
    title = notes.read("run", run).title
    return f"{title} · {workspace.short_name(run)}" if title else run


def setting_words(value: object) -> str:
    """A setting's value for a person: what is left to the network, and the members of an ensemble, in words."""
    if value is None:
        return "the network's own"
    return ", ".join(map(called, value)) if isinstance(value, list) else str(value)


def counts(scores: Mapping[str, Any]) -> str:
    """How many pictures and photos stand behind figures, and what their intervals are by."""
    unit, link = ("picture", ", ") if scores["photos"] is None else (scores["unit"], " from ")
    pictures = counted(scores["pictures"], "picture")
    return f"{pictures}{link}{groups_behind(scores)}; intervals hold 95% and are resampled by {unit}."


def right_and_limits(scores: Mapping[str, Any]) -> tuple[str, str]:
    """Photos right, a photo's copies averaged, and the exact limits of their share."""
    told = scores["by_photo"]
    if not told:
        return "–", "–"
    return f"{told['right']:,} of {told['photos']:,}", f"{interval_words('accuracy', told['interval'])}%"


def photos_right(scores: Mapping[str, Any]) -> str:
    """`right_and_limits` in one cell."""
    right, limits = right_and_limits(scores)
    return f"{right} ({limits})" if scores["by_photo"] else right


def figure_and_limits(figures: Mapping[str, Any], metric: str) -> str:
    """A figure and, where it has one, its interval, which no line breaks."""
    figure, *limits = with_interval(metric, figures[metric], figures["intervals"].get(metric)).split(" ")
    return " ".join([figure, "\N{NO-BREAK SPACE}".join(limits)]).strip()


def classes(scores: Mapping[str, Any]) -> Html:
    """The figures of each class, with their intervals and how many pictures and photos stand behind them."""
    rows = []
    for name, figures in scores["per_class"].items():
        photos = "–" if figures["photos"] is None else f"{figures['photos']:,}"
        figured = (figure_and_limits(figures, metric) for metric in CLASS_WORDS)
        rows.append((pretty(name), f"{figures['support']:,}", photos, *figured))
    return table_of(("Class", "Pictures", f"{scores['unit'].capitalize()}s", *CLASS_WORDS.values()), rows)


def review_dial(facts: Mapping[str, Any]) -> tuple[Html, Html, Html]:
    """What each threshold sets aside, catches and misses, of all classes and of each."""
    thresholds = [threshold_words(row["threshold"]) for row in facts["thresholds"]]
    rows = [
        (
            threshold, f"{row['set_aside']:,} ({percent(row['share'])})", f"{row['caught']:,}", f"{row['missed']:,}",
            standing(row, facts), figure_and_limits(row, "accuracy"),
        )
        for threshold, row in zip(thresholds, facts["thresholds"], strict=True)
    ]  # fmt: skip
    heads = ("Threshold", "Set aside", "Mistakes caught", "Mistakes missed", "Answers that stand", "Right of these")
    by_class = [
        (pretty(name), *(" · ".join(f"{row['by_class'][name][kind]:,}" for kind in ("set_aside", "caught", "missed"))
                         for row in facts["thresholds"]))
        for name in facts["thresholds"][0]["by_class"]
    ]  # fmt: skip
    words = (
        "Answers less sure than a threshold are set aside, to be looked at by a person. By class: pictures set aside · "
        "mistakes caught · mistakes missed."
    )
    return tag("p", {}, words), table_of(heads, rows), table_of(("Class", *thresholds), by_class)


def standing(row: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """How many answers stand at a threshold of `dial`, and of how many photos: all right of three says little."""
    of = "" if row["photos"] is None else f" of {counted(row['photos'], facts['unit'])}"
    return f"{facts['pictures'] - row['set_aside']:,}{of}"


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Html:
    """The matrix, coloured by the share of its row; rows are the true class."""
    rows = []
    for name, row in zip(classes, counts, strict=True):
        shares = [count / max(sum(row), 1) for count in row]
        cells = [
            tag("td", {"style": f"--share:{share:.3f}"}, f"{count:,}", tag("small", {}, percent(share)))
            for count, share in zip(row, shares, strict=True)
        ]
        rows.append(tag("tr", {}, tag("th", {}, pretty(name)), *cells))
    return matrix(classes, rows, "Rows are the true class, columns the answer; shares are of the row.")


def matrix(classes: Sequence[str], rows: Sequence[Html], caption: str) -> Html:
    """A matrix of the classes, from its finished rows."""
    head = heads_of(["True", *map(pretty, classes)])
    kind = "matrix" if len(classes) <= MOST_UPRIGHT else "matrix many"
    look = {"class": kind, "style": f"--classes:{len(classes)}"}
    return scrolled(tag("table", look, tag("caption", {}, caption), head, *rows))


def calibration_figures(shown: Mapping[str, Mapping[str, Any]], more: Sequence[tuple[str, ...]] = ()) -> Html:
    """The calibration of each of `shown` in a column, and `more` rows below."""
    rows = [
        (text, *(figure_and_limits(each, metric) for each in shown.values()))
        for metric, text in CALIBRATION_WORDS.items()
    ]
    by_chance = (figure_words("ece", figures["ece_by_chance"]) for figures in shown.values())
    rows.insert(1, ("Calibration error by chance alone", *by_chance))
    return table_of(("", *shown), [*rows, *more])


def cost(told: Mapping[str, Mapping[str, Any]]) -> Html:
    """What each run costs; a dash where it was not measured."""
    rows = [
        (
            called(name), _number(facts["parameters"]), _number(facts["flops"]),
            "–" if facts["milliseconds"] is None
            else f"{facts['milliseconds']:.3g} ({device_words(facts['milliseconds_on'])})",
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


def data(name: str, content_hash: str, run: str) -> Html:
    """What is known of the dataset that a run was tested on, or why nothing is."""
    try:
        facts = describe(same_dataset(name, content_hash, run))
    except LabError as error:
        return section("Data", tag("p", {}, str(error)))
    rows = [
        ("Name", name), ("Title", notes.read("dataset", name).title),
        ("Format", facts["format"]), ("Synthetic", "yes" if facts["synthetic"] else "no"),
        ("Pictures", f"{facts['pictures']:,}"),
        ("Behind them", groups_behind(facts)),
        ("Unreadable, left out", facts["unreadable"]), ("Byte-identical, left out", facts["duplicates"]),
        ("Splits", facts["split_origin"]), ("Licence", facts["licence"]), ("Citation", facts["citation"]),
    ]  # fmt: skip
    splits = facts["splits"].values()
    photos = ("–" if part["photos"] is None else f"{part['photos']:,}" for part in splits)
    counts = [
        ("All", *(f"{part['pictures']:,}" for part in splits)),
        *((pretty(label), *(f"{part['by_class'][label]:,}" for part in splits)) for label in facts["classes"]),
        (f"{facts['unit'].capitalize()}s", *photos),
    ]
    return section(
        "Data",
        table_of(("", ""), [row for row in rows if row[1] not in (None, "")]),
        table_of(("Pictures", *facts["splits"]), counts),
    )
