"""`evaluate` and `compare`: the figures of runs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bloodcell_core import runs
from bloodcell_core.cli.output import (
    METRIC_WORDS,
    calibration_lines,
    cost_lines,
    score_lines,
    show,
)
from bloodcell_core.cli.parser import CLASSES_HELP, DEVICE_HELP, RUN_HELP, path_of, verb, word_of
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.figures import four_digits, scored_on
from bloodcell_core.labels.overlays import load, of_runs
from bloodcell_core.words import counted

if TYPE_CHECKING:
    from bloodcell_core.evaluation.comparison import Side


def add(verbs: Any) -> None:
    """Adds the verbs `evaluate` and `compare`."""
    parser = verb(verbs, "evaluate", _evaluate, "Score a run on a split, with intervals by source photo.")
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument("--data", type=word_of, help="another dataset; by default the run's own")
    parser.add_argument(
        "--split", default="test", choices=("train", "val", "test", "all"), help="all: for another dataset only"
    )
    parser.add_argument("--classes", type=path_of, metavar="FILE", help=CLASSES_HELP)
    parser.add_argument(
        "--labels",
        type=word_of,
        metavar="OVERLAY",
        help="score on these reviewed labels too, beside the dataset's own; "
        "by default those that the run was trained with",
    )
    parser.add_argument("--predictions", type=path_of, metavar="FILE", help="write them as .csv or .parquet")
    parser.add_argument("--report", type=path_of, metavar="FILE", help="write all of it as one .html file")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)

    parser = verb(
        verbs, "compare", _compare,
        "Compare runs, or cross-validations, with the first of them, paired over the same test photos.",
    )  # fmt: skip
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two or more, tested on the same pictures")
    parser.add_argument(
        "--merge", action="append", metavar="NAME=CLASS,CLASS", default=[],
        help="take classes together; once for each new name, or `granulocytes` for them against the rest",
    )  # fmt: skip
    parser.add_argument(
        "--labels", type=word_of, metavar="OVERLAY",
        help="compare on these reviewed labels too; by default on those that any of the runs was trained with",
    )  # fmt: skip
    parser.add_argument("--report", type=path_of, metavar="FILE", help="write all of it as one .html file")


def _evaluate(args: argparse.Namespace) -> None:
    from bloodcell_core.data.class_names import read_class_map
    from bloodcell_core.evaluation.document import check_report_file, write_report
    from bloodcell_core.evaluation.predictions import check_predictions_file, write_predictions
    from bloodcell_core.evaluation.report import run_report
    from bloodcell_core.evaluation.scoring import evaluated, reviewed_words

    if args.report:
        check_report_file(args.report)  # before minutes are spent on what can't be written
    if args.predictions:
        check_predictions_file(args.predictions)
    run = runs.find(args.run)
    class_map = read_class_map(args.classes) if args.classes else None
    overlay = load(args.labels) if args.labels else None
    scores, table = evaluated(run, args.data, args.split, args.device, class_map, overlay)
    if args.predictions:
        write_predictions(table, args.predictions)
    if args.report:
        write_report(run_report(scores, table, run), args.report)
    trained = ", trained on synthetic pictures" if run.synthetic else ""
    head = f"{run.name} on {scored_on(scores)}{trained}, {run.weights_words}"
    matrix = ["  confusion (rows are true): " + ", ".join(run.classes)]
    matrix += ["    " + " ".join(f"{count:>6}" for count in row) for row in scores["confusion"]]
    lines = score_lines(scores, run.split_words(args.split, own=scores["class_map"] is None))
    lines += calibration_lines(scores["calibration"])
    lines += cost_lines(scores["cost"])
    if reviewed := scores["reviewed"]:
        lines += score_lines(reviewed, reviewed_words(reviewed))
    show(scores, args.json, [head, *lines, *match_lines(scores), *distance_lines(scores["distance"]), *matrix])


def _compare(args: argparse.Namespace) -> None:
    from bloodcell_core.evaluation.comparison_report import comparison_report
    from bloodcell_core.evaluation.document import check_report_file, write_report
    from bloodcell_core.evaluation.merging import groups_from_words
    from bloodcell_core.evaluation.together import side_by_side

    if args.report:
        check_report_file(args.report)
    unmerged, trained = zip(*map(_side, args.runs), strict=True)
    if len({side.name for side in unmerged}) < max(len(unmerged), 2):
        raise LabError("compare takes two or more different runs")

    def seen(sides: Iterable[Side]) -> list[Side]:
        return [side.merged(groups_from_words(args.merge, side.classes)) if args.merge else side for side in sides]

    sides = seen(unmerged)
    overlays = [load(args.labels)] if args.labels else of_runs(trained)
    reviewed = {each.reference: seen(side.relabelled(each) for side in unmerged) for each in overlays}
    told = side_by_side(sides, reviewed)
    lines = [f"classes merged: {', '.join(sides[0].classes)}"] if args.merge else []
    for row in told["runs"]:
        lines += score_lines(row, f"{row['run']} on {scored_on(row)}") + cost_lines(row["cost"])
    for group in told["seed_groups"]:
        lines.append(f"these differ by their seed alone: {', '.join(group['runs'])}")
        lines += [
            f"  {METRIC_WORDS[metric]:18} mean {told['mean']:.4f}, standard deviation {told['spread']:.4f}"
            for metric, told in group["metrics"].items() if told
        ]  # fmt: skip
    for facts in told["comparisons"]:
        lines += _comparison_lines(facts)
    for labels, on_labels in told["reviewed"].items():
        for row in on_labels["runs"]:
            lines += score_lines(row, f"{row['run']} on the reviewed labels {labels}")
        for facts in on_labels["comparisons"]:
            lines += _comparison_lines(facts)
    if args.report:
        write_report(comparison_report(told, sides), args.report)
    show(told, args.json, lines)


def _side(reference: str) -> tuple[Side, runs.Run]:
    """The test of the run or cross-validation of that name; and that run, or one of its folds."""
    from bloodcell_core.evaluation.comparison import Side, side_of
    from bloodcell_core.training import groups

    found = groups.find_run_or_group(reference)
    if isinstance(found, runs.Run):
        return side_of(found), found
    found.check_complete()
    table, fold = groups.pooled_predictions(found), found.finished[0]
    return Side(found.name, found.config.data, fold.data_hash, fold.classes, table, synthetic=fold.synthetic), fold


def _comparison_lines(facts: dict[str, Any]) -> list[str]:
    """A paired comparison: its verdict, who is right where, and the differences with their intervals."""
    from bloodcell_core.evaluation.comparison import p_words

    right = facts["right"]
    lines = [f"A is {facts['a']}, B is {facts['b']}", f"  {facts['verdict']}"]
    p = f"; McNemar's exact p {p_words(right['p'])}" if right["p"] is not None else ""
    lines.append(
        f"  {right['unit']}: both right {right['both']:,}, only A {right['only_a']:,}, only B {right['only_b']:,}, "
        f"neither {right['neither']:,}{p}"
    )
    for metric, row in facts["metrics"].items():
        if row["difference"] is not None:
            limits = row["interval"]
            interval = f"  95% interval {limits[0]:+.4f} to {limits[1]:+.4f}" if limits else ""
            lines.append(f"  {METRIC_WORDS[metric]:18} B less A {row['difference']:+.4f}{interval}")
    return lines + [f"  note: {note}" for note in facts["notes"]]


def match_lines(scores: Mapping[str, Any]) -> list[str]:
    """Which classes of another dataset were taken for each of the run's; no line for the run's own dataset."""
    if scores["class_map"] is None:
        return []
    lines = ["  classes there, and the run's classes that they count as:"]
    for own in scores["classes"]:
        theirs = ", ".join(name for name, taken in scores["class_map"].items() if taken == own)
        lines.append(f"    {theirs or 'none':32} {own}, {counted(scores['per_class'][own]['support'], 'picture')}")
    return lines


def distance_lines(facts: Mapping[str, Mapping[str, Any]] | None) -> list[str]:
    """How far another dataset's pictures are from the training pictures (`external.distance`), a line a fact."""
    if facts is None:
        return []
    lines = ["  from the training data:"]
    for fact in facts.values():
        medians = [four_digits(fact[side]) for side in ("training", "here")]
        lines.append(f"    {fact['title']:32} {medians[0]} in training, {medians[1]} here; {fact['words']}")
    return lines
