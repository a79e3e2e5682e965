"""`adapt`: a run is fitted to another microscope."""

from __future__ import annotations

import argparse
from typing import Any

from bloodcell_core import runs
from bloodcell_core.cli.output import METRIC_WORDS, progress, show
from bloodcell_core.cli.parser import CLASSES_HELP, DEVICE_HELP, RUN_HELP, path_of, verb, word_of
from bloodcell_core.words import groups_behind


def add(verbs: Any) -> None:
    """Adds the verb `adapt`."""
    parser = verb(verbs, "adapt", _adapt, "Adapt a run to labelled cells of your own microscope: a new run.")
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument(
        "--data", type=word_of, required=True, help="a dataset of your labelled cells, about 100 of them"
    )
    parser.add_argument("--classes", type=path_of, metavar="FILE", help=CLASSES_HELP)
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)


def _adapt(args: argparse.Namespace) -> None:
    from bloodcell_core.data.class_names import read_class_map
    from bloodcell_core.data.dataset import Dataset
    from bloodcell_core.inference.adaptation import adapt

    class_map = read_class_map(args.classes) if args.classes else None
    made = adapt(runs.find(args.run), Dataset(args.data), class_map, args.device, progress("epochs of adapting"))
    facts = made.summary()["adaptation"]
    show({"run": made.name, **facts}, args.json, [f"{made.name}: {facts['from']} adapted", *adaptation_lines(facts)])


def adaptation_lines(facts: dict[str, Any]) -> list[str]:
    """What adapting has brought, for a person."""
    by_class = ", ".join(f"{name} {count}" for name, count in facts["by_class"].items())
    lines = [
        f"  {facts['cells']:,} cells, {groups_behind(facts['before'])} ({by_class}); each answered by a network that "
        f"was adapted without its fold, {facts['folds']} folds"
    ]
    for metric in ("accuracy", "balanced_accuracy"):
        words = [
            f"{facts[when][metric]:.4f}{_limits(facts[when]['intervals'][metric])}" for when in ("before", "after")
        ]
        lines.append(f"  {METRIC_WORDS[metric]:18} before {words[0]}, after {words[1]}")
    lines.append(f"  A is the run as it was, B the adapted one: {facts['compared']['verdict']}")
    return lines + [f"  note: {warning}" for warning in facts["warnings"]]


def _limits(interval: list[float] | None) -> str:
    return f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
