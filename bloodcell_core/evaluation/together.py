"""Several runs side by side: the figures of each, its comparison with the first, and what the seed alone changes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.calibration import calibration
from bloodcell_core.evaluation.comparison import COMPARED, Side, at_once_words, compare_sides, settings_of
from bloodcell_core.evaluation.dial import dial
from bloodcell_core.evaluation.scoring import costs_of, score, score_relabelled
from bloodcell_core.runs import Run


def side_by_side(sides: Sequence[Side], reviewed: Mapping[str, Sequence[Side]] | None = None) -> dict[str, Any]:
    """What `compare` prints of one or more sides. JSON-ready.

    Args:
        sides: the first is what the others are compared with.
        reviewed: {name@version of an overlay: the same sides on its labels}.

    Returns:
        - runs: for each side run, data, synthetic, all figures of `scoring.score`, `dial.dial`, `calibration` and
          `cost` (the last two None for a cross-validation, whose networks have a temperature and a cost each).
        - comparisons: `comparison.compare_sides` of the first with each other one.
        - seed_groups: of those that are runs.
        - reviewed: {name@version: {runs: for each side run and all figures of `scoring.score`, comparisons}}.

    Raises:
        LabError: where one can't be compared with the first, before anything is scored, or comes twice.
    """
    if len({side.name for side in sides}) < len(sides):
        raise LabError("compare takes different runs, each once")
    comparisons = _with_the_first(sides)
    rows = [
        {
            "run": side.name,
            "data": side.data,
            "synthetic": side.synthetic,
            **score(side.table, side.classes),
            "dial": dial(side.table, side.classes),
            "calibration": calibration_of(side),
            "cost": costs_of(side.run.summary()) if side.run else None,
        }
        for side in sides
    ]
    return {
        "runs": rows,
        "comparisons": comparisons,
        "seed_groups": seed_groups(
            [side.run for side in sides if side.run],
            [row for side, row in zip(sides, rows, strict=True) if side.run],
        ),
        "reviewed": {
            labels: {
                "runs": [
                    {"run": side.name, **score_relabelled(own.table, side.table, side.classes)}
                    for own, side in zip(sides, on_labels, strict=True)
                ],
                "comparisons": _with_the_first(on_labels),
            }
            for labels, on_labels in (reviewed or {}).items()
        },
    }


def _with_the_first(sides: Sequence[Side]) -> list[dict[str, Any]]:
    first, *others = sides
    several = [words] if (words := at_once_words(len(others))) else []
    compared = (compare_sides(first, other) for other in others)
    return [facts | {"notes": [*facts["notes"], *several]} for facts in compared]


def calibration_of(side: Side) -> dict[str, Any] | None:
    """`calibration.calibration` of a run's side, its classes merged or not; None where the side is of no run."""
    return calibration(side.table, side.classes, side.run.summary(), before=side.before) if side.run else None


def seed_groups(runs: Sequence[Run], figures: Sequence[Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """The runs that differ by their seed alone, group by group, with what the seed changes. JSON-ready.

    Args:
        runs: those that weren't tested are left out.
        figures: each run's, where they aren't those of its summary: its classes were merged.

    Returns:
        Groups of at least two, one run a seed (the first given): runs, seeds, and metrics {metric: {mean, spread}}.
        The spread is the standard deviation over the seeds; None in place of both where a run has no such figure.
    """
    groups: dict[str, dict[int, tuple[str, Mapping[str, Any]]]] = {}
    for place, run in enumerate(runs):
        test = run.summary().get("test") if figures is None else figures[place]
        if test:
            groups.setdefault(settings_of(run), {}).setdefault(run.config.seed, (run.name, test))
    return [_spread(group) for group in groups.values() if len(group) > 1]


def _spread(group: Mapping[int, tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    names, tests = zip(*group.values(), strict=True)
    return {
        "runs": list(names),
        "seeds": list(group),
        "metrics": {
            metric: None
            if any(test[metric] is None for test in tests)
            else {
                "mean": statistics.fmean(test[metric] for test in tests),
                "spread": statistics.stdev(test[metric] for test in tests),
            }
            for metric in COMPARED
        },
    }
