"""A table of finished runs: each figure with its interval by source photo, and the one by picture next to it.

Run: python -m benchmarks.intervals_table RUN…

Reads the runs' own test predictions in the workspace, trains nothing, and prints Markdown. The interval by picture is
what one would tell who takes copies of a photo for observations; it stands there to be seen, not to be used.
docs/how-to-read-the-numbers.md holds the table of the three networks on the public archive, and what made its runs.
"""

from __future__ import annotations

import argparse

import numpy as np

from bloodcell_core import runs
from bloodcell_core.evaluation.comparison import side_of
from bloodcell_core.evaluation.intervals import cluster_bootstrap, photo_accuracy
from bloodcell_core.evaluation.limits import Interval
from bloodcell_core.evaluation.metrics import evaluate_predictions
from bloodcell_core.evaluation.predictions import arrays_of
from bloodcell_core.runs import Run

FIGURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "f1_macro": "macro F1", "auc_ovr": "AUC"}


def rows(run: Run) -> list[str]:
    """The run's lines of the table, a figure each."""
    side = side_of(run)
    labels, probabilities, photos, known = arrays_of(side.table, side.classes)
    scores = evaluate_predictions(labels, probabilities, side.classes)
    by_photo = cluster_bootstrap(labels, probabilities, photos)[0] if known else dict.fromkeys(FIGURES)
    by_picture = cluster_bootstrap(labels, probabilities, np.arange(len(labels)))[0]
    lines = [
        f"| {run.config.model if place == 0 else ''} | {words} | {_percent(scores[metric])} "
        f"| {_limits(by_photo[metric])} "
        f"| {_limits(by_picture[metric])} | {_times(by_photo[metric], by_picture[metric])} |"
        for place, (metric, words) in enumerate(FIGURES.items())
    ]
    if known:
        right = photo_accuracy(labels, probabilities, photos)
        lines.append(
            f"| | photos right, copies averaged | {right['right']} of {right['photos']} "
            f"| {_limits(tuple(right['interval']))} | – | |"
        )
    return lines


def settings_line(run: Run) -> str:
    """What the run was trained with and how much of it, so that the table is not read as what a network can do."""
    config, summary = run.config, run.summary()
    each = f"{config.pictures_per_epoch:,}" if config.pictures_per_epoch else "all"
    return (
        f"- `{config.model}` from {'pretrained weights' if run.pretrained else 'scratch'}, {config.view} view, "
        f"{config.size}×{config.size}, seed {config.seed}: {summary['epochs_trained']} epochs of {each} pictures, best "
        f"epoch {summary['best_epoch']} by validation loss, {summary['training_seconds']:.0f} s; {run.name}"
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _limits(limits: Interval) -> str:
    return f"{100 * limits[0]:.1f} to {100 * limits[1]:.1f}" if limits else "–"


def _times(wide: Interval, narrow: Interval) -> str:
    return f"{np.ptp(wide) / np.ptp(narrow):.1f}" if wide and narrow and np.ptp(narrow) else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    told = [runs.find(name) for name in parser.parse_args().runs]
    test = [run.summary()["test"] for run in told]
    print(f"Test split of {told[0].config.data}: {test[0]['pictures']:,} pictures from {test[0]['photos']} photos.\n")
    print("| network | figure, % | | 95% by photo | 95% by picture | times as wide |\n|---|---|---|---|---|---|")
    print("\n".join(line for run in told for line in rows(run)))
    print("\n" + "\n".join(settings_line(run) for run in told))


if __name__ == "__main__":
    main()
