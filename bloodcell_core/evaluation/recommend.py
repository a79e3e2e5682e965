"""Which run to use, and why, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.calibration import expected_calibration_error
from bloodcell_core.evaluation.comparison import compare, why_not
from bloodcell_core.evaluation.figures import gain_words, percent
from bloodcell_core.evaluation.predictions import probabilities_of
from bloodcell_core.evaluation.scoring import costs_of
from bloodcell_core.runs import Run
from bloodcell_core.words import listed, pretty

OTHER = "{other}"
"""Stands in a sentence for the other run, which pages call by its title."""
MOST_AGAINST = 3  # cheaper runs that the recommended one is set against, and as many ensembles


class Recommendation(NamedTuple):
    """The run to use, by its name, and the reason in words."""

    run: str
    why: str


def recommend(runs: Sequence[dict[str, Any]]) -> Recommendation | None:
    """Among finished runs on one dataset that name the same classes (as `Run.describe` gives them) the one to use; None
    where there is none.

    The choice is made on validation pictures alone, so that the chosen run's test figure stays an honest one.
    Among runs whose validation accuracy is the same the one with fewer weights is taken. A fold's run is left out:
    it was trained and tested on other pictures than the others. So are an ensemble whose members have no validation
    pictures in common and an adapted run, for nothing but its test figure could speak for it.
    """
    tested = [
        run for run in runs
        if run["state"] == "done" and not run["fold"] and run["summary"] and run["summary"]["test"]
    ]  # fmt: skip
    finished = [run for run in tested if run["summary"]["val_accuracy"] is not None]
    if not finished:
        return None
    best = max(finished, key=lambda run: (run["summary"]["val_accuracy"], -run["summary"]["parameters"]))
    data, accuracy = f"the dataset {best['data']}", percent(best['summary']['val_accuracy'])
    if refused := best["config"].get("refuse"):
        data += f" with {', '.join(map(pretty, listed(refused)))} refused"
    why = f"It is the only finished run on {data}; its validation accuracy is {accuracy}."
    if best["bundled"]:
        why = f"It comes with the program, trained on {data}; its validation accuracy is {accuracy}."
    if len(finished) > 1:
        why = f"It has the best validation accuracy of {len(finished)} finished runs on {data} ({accuracy})."
    if len({run["config"].get("labels", "") for run in finished}) > 1:
        why += (
            " Validation is on the labels that each was trained with: on reviewed ones, without what was taken out, it "
            "is easier."
        )
    if elsewhere := sum(run["kept_back"] != best["kept_back"] for run in finished):
        why += (
            f" {elsewhere} of these kept back other photos to validate on (another seed or validation fraction), which "
            "may be easier or harder."
        )
    aside = [run for run in tested if run["summary"]["val_accuracy"] is None]
    adapted = sum(run["adapted_from"] is not None for run in aside)
    for left, what, because in (
        (len(aside) - adapted, "ensemble", "the members kept back different photos, so that only test figures tell how "
         "good they are together"),
        (adapted, "adapted run", "every cell of such a run is tested on, and none is left to choose by"),
    ):  # fmt: skip
        if left:
            why += f" {left} {what}{' was' if left == 1 else 's were'} not in the choice: {because}."
    return Recommendation(best["run"], why)


def candidate(run: Run) -> dict[str, Any]:
    """What speaks for and against a finished run, on its own test pictures.

    Returns:
        accuracy and its interval; right of `photos` (None where photos aren't known); ece, its calibration error, 0…1;
        and the keys of `scoring.costs_of`.
    """
    summary = run.summary()
    test, table = summary["test"], run.predictions().query("split == 'test'")
    confidence = probabilities_of(table, run.classes).max(axis=1)
    return {
        "accuracy": test["accuracy"],
        "interval": test["intervals"]["accuracy"],
        "right": test["by_photo"]["right"] if test["by_photo"] else None,
        "photos": test["photos"],
        "ece": expected_calibration_error(confidence, np.asarray(table.predicted == table.label)),
        **costs_of(summary),
    }


def rivals(best: Run, others: Sequence[Run]) -> list[Run]:
    """The runs that the recommended one should be set against: cheaper ones, and ensembles, the best of each first.

    Best by validation, so that a test figure doesn't say which of many differences is told; ensembles by their number
    of members.
    """
    weights = best.summary()["parameters"]
    cheaper = [run for run in others if run.summary()["parameters"] < weights and run.name != best.name]
    together = [run for run in others if run.is_ensemble and run.name != best.name and run not in cheaper]
    cheaper.sort(key=lambda run: run.summary()["val_accuracy"] or 0.0, reverse=True)
    together.sort(key=lambda run: len(run.member_facts), reverse=True)
    return cheaper[:MOST_AGAINST] + together[:MOST_AGAINST]


def against(best: Run, other: Run) -> str:
    """A sentence that sets the recommended run against another on the same test photos, paired. Costs seconds.

    It says no more than the paired comparison's verdict (`comparison.compare_sides`), begins with "it" for the
    recommended run, and names the other `OTHER`, to be filled in.
    """
    try:
        told = compare(best, other)
    except LabError as error:
        return f"it can't be set against {OTHER}: {error}"
    right, cost = told["right"], _cost_words(best, other)
    gain, of = right["a"] - right["b"], f"{right['of']:,} {right['unit']}"
    span = f" (95% interval {gain_words([-limit for limit in right['interval']])})" if right["interval"] else ""
    if gain:
        head = f"it is right on {abs(gain):,} {'more' if gain > 0 else 'fewer'} of {of}{span} than {OTHER}, {cost}"
    else:
        head = f"it is right on as many of {of}{span} as {OTHER}, {cost}"
    verdict = {
        "a": "it is better",
        "b": "the other is better",
        None: "this data can't tell them apart",
    }[told["better"]]
    if why := why_not(right):
        head += f", {why}"
    return f"{head}: {verdict}."


def _cost_words(best: Run, other: Run) -> str:
    mine, theirs = (run.summary()["parameters"] for run in (best, other))
    if theirs == mine:
        return "which has as many weights"
    times = max(mine, theirs) / min(mine, theirs)
    return f"which has {times:,.{0 if times >= 10 else 1}f} times {'fewer' if theirs < mine else 'as many'} weights"
