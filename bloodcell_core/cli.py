"""The command line: `python -m bloodcell_core VERB …`.

A reading verb with `--json` prints one JSON object to stdout and nothing else there; progress goes to stderr.
Exit code 0; 2 for a usage or input error, told in one line; 1 for a failure of the program itself.
"""

from __future__ import annotations

import argparse
import csv
import errno
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from bloodcell_core import __version__, config, runs, workspace
from bloodcell_core.config import PRESETS, TrainConfig
from bloodcell_core.data.download import DOWNLOADS
from bloodcell_core.errors import LabError

REFUSED_BY_SYSTEM = (  # what the person who asked can change: a place that is full, closed or no place for a file
    errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT,
    errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG,
)  # fmt: skip


AUDIT_FILES = 50  # that a finding of an audit names at most


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without argparse's usage block before it."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        code = parsed.do(parsed) or 0
        if sys.stdout:  # None where it was closed before we began
            sys.stdout.flush()  # here and not at Python's end, where a failure would be told by a traceback
        return code
    except LabError as error:
        return _fail(str(error), 2, parsed)
    except KeyboardInterrupt:
        return _fail("interrupted", 1, parsed)
    except BrokenPipeError:
        _discard_output()
        return 0  # the reader of our output has seen enough
    except OSError as error:
        _discard_output()
        refused = error.errno in REFUSED_BY_SYSTEM
        return _fail(f"the system refused: {error}", 2 if refused else 1, parsed)
    except Exception as error:
        return _fail(f"the program failed: {type(error).__name__}: {error} (--debug tells more)", 1, parsed)


def _discard_output() -> None:
    """Where our output can't be written, sends the rest nowhere: Python would try again at its end, and fail loudly."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _fail(message: str, code: int, parsed: argparse.Namespace) -> int:
    if parsed.debug:
        raise  # noqa: PLE0704  called from an except block alone
    print(f"bloodcell_core: {' '.join(message.split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    top = _Parser(
        prog="bloodcell_core",
        description="Blood Cell Lab: white-blood-cell images, for research and teaching.",
    )
    top.add_argument("--version", action="version", version=__version__)
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verbs = top.add_subparsers(required=True, metavar="VERB", parser_class=_Parser)

    def verb(
        parent: Any, name: str, do: Callable[[argparse.Namespace], int | None], help: str
    ) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = parent.add_parser(name, help=help, description=help)
        parser.set_defaults(do=do)
        # SUPPRESS: a default here would undo a --debug given before the verb
        parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        return parser

    data = verbs.add_parser("data", help="datasets: import, download, demo, list, show, audit, remove").add_subparsers(
        required=True, metavar="VERB", parser_class=_Parser
    )
    parser = verb(data, "import", _data_import, "Import a zip, a folder, a table, or a file of pictures.")
    parser.add_argument("source", type=Path)
    parser.add_argument("--name", help="by default after the source")
    parser.add_argument("--format", default="auto", help="auto, or a format's name")
    parser.add_argument("--with-test-simple", action="store_true", help="also take TEST_SIMPLE of the public archive")
    parser.add_argument(
        "--no-trace", action="store_true", help="don't look for each picture's photograph, which takes minutes"
    )
    parser = verb(data, "download", _data_download, "Fetch a public data set by name and import it.")
    parser.add_argument("download", metavar="NAME", choices=tuple(DOWNLOADS), help=f"one of {', '.join(DOWNLOADS)}")
    parser.add_argument("--name", help="what to call the dataset; by default as the download")
    parser.add_argument("--no-trace", action="store_true", help="don't look for each picture's photograph")
    parser = verb(data, "demo", _data_demo, "Draw synthetic demo pictures and import them.")
    parser.add_argument("--name", default="demo")
    parser.add_argument("--per-class", type=int, help="pictures a class")
    parser.add_argument("--seed", type=int, default=0)
    verb(data, "list", _data_list, "List the datasets.")
    verb(data, "show", _data_show, "Tell what a dataset holds.").add_argument("name")
    verb(data, "audit", _data_audit, "Tell what is wrong or odd in a dataset.").add_argument("name")
    verb(data, "remove", _data_remove, "Delete a dataset.").add_argument("name")

    parser = verb(verbs, "train", _train, "Train a network.")
    parser.add_argument("--estimate", action="store_true", help="only tell how long it will take, by a measured step")
    _add_config_flags(parser)

    parser = verb(
        verbs, "cross-validate", _cross_validate,
        "Train a network on each of several folds by source photo, so that every picture is predicted out of its fold.",
    )  # fmt: skip
    parser.add_argument("--folds", type=int, metavar="K", help="by default 5")
    parser.add_argument(
        "--over", choices=("all", "train"), help="the whole dataset (the default), or all but its own test split"
    )
    parser.add_argument("--group", help="go on with the unfinished folds of this cross-validation")
    _add_config_flags(parser)

    run = verbs.add_parser("runs", help="runs: list, show, group, stop, resume, move, remove").add_subparsers(
        required=True, metavar="VERB", parser_class=_Parser
    )
    verb(run, "list", _runs_list, "List the runs, newest first.")
    for name, do, help in (
        ("show", _runs_show, "Tell what a run is, how far it is and what it found."),
        ("stop", _runs_stop, "Stop a run at its next batch; it keeps what it has."),
        ("resume", _runs_resume, "Let an interrupted, stopped or failed run go on from its checkpoint."),
        ("move", _runs_move, "Give a waiting run another place in its queue."),
        ("remove", _runs_remove, "Delete a run; one that waits is taken out of its queue."),
    ):
        parser = verb(run, name, do, help)
        parser.add_argument("run", help="a run's name, a unique beginning of it, or latest")
        if name == "move":
            parser.add_argument("place", type=int, help="1 is next")
    parser = verb(run, "group", _runs_group, "Tell how far a cross-validation is and what its folds found together.")
    parser.add_argument("group", help="a group's name, or a unique beginning of it")

    parser = verb(
        verbs, "tune", _tune,
        "Search for better settings of a network by short trainings, compared on photos of the training split.",
    )  # fmt: skip
    parser.add_argument("--study", metavar="NAME", help="what to call it; one that there is goes on")
    parser.add_argument("--trials", type=int, metavar="K", help="how many settings are tried in all; by default 20")
    parser.add_argument("--minutes", type=float, metavar="T", help="begin no trial after so many; 0 for no limit")
    parser.add_argument("--search", nargs="+", metavar="FIELD", default=[], help="what is varied; by default the usual")
    _add_config_flags(parser)
    study = parser.add_subparsers(metavar="VERB", parser_class=_Parser, help="list, show, train, stop, remove")
    verb(study, "list", _tune_list, "List the studies, newest first.")
    for name, do, help in (
        ("show", _tune_show, "Tell what a study tried, what mattered, and what was best."),
        ("train", _tune_train, "Train a run with the best settings of a study."),
        ("stop", _tune_stop, "Stop a study at the next batch of its trial; `tune --study` goes on with it."),
        ("remove", _tune_remove, "Delete a study and its trials."),
    ):
        parser = verb(study, name, do, help)
        parser.add_argument("study", help="a study's name, or a unique beginning of it")
        if name == "train":
            _add_set_flag(parser)
            _add_place_flags(parser)

    parser = verb(verbs, "evaluate", _evaluate, "Score a run on a split, with intervals by source photo.")
    parser.add_argument("run")
    parser.add_argument("--data", help="another dataset; by default the run's own")
    parser.add_argument(
        "--split", default="test", choices=("train", "val", "test", "all"), help="all: of another dataset alone"
    )
    parser.add_argument(
        "--classes", type=Path, metavar="FILE", help="a CSV file theirs,ours: which of its classes are the run's"
    )
    parser.add_argument("--predictions", type=Path, metavar="FILE", help="write them as .csv or .parquet")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write all of it as one .html file")
    parser.add_argument("--device", default="auto")

    parser = verb(
        verbs, "compare", _compare,
        "Set runs, or cross-validations, against the first of them, paired over the same test photos.",
    )  # fmt: skip
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two or more, tested on the same pictures")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write all of it as one .html file")

    parser = verb(verbs, "predict", _predict, "Classify pictures with a run.")
    parser.add_argument("run")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="picture files and folders")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table, a row a picture")
    parser.add_argument("--device", default="auto")

    parser = verb(verbs, "cells", _cells, "Find the white cells of pictures, as boxes around their nuclei.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    return top


FLAGGED = [
    name for name, spec in config.fields().items()
    if not spec.metadata["advanced"] or name in ("weights", "seed", "device")
]  # fmt: skip
"""Settings that have a flag of their own; `--set` takes all."""


def _add_config_flags(parser: argparse.ArgumentParser) -> None:
    for name in FLAGGED:
        spec = config.fields()[name]
        default = "" if spec.default in (None,) or name in ("data", "model") else f" Default: {spec.default}."
        parser.add_argument(f"--{name}", metavar="VALUE", help=spec.metadata["help"].replace("%", "%%") + default)
    _add_set_flag(parser)
    parser.add_argument("--preset", choices=tuple(PRESETS), help="start from these settings; flags change them")
    _add_place_flags(parser)


def _add_set_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE",
        help=f"any setting: {', '.join(config.fields())}",
    )  # fmt: skip


def _add_place_flags(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--foreground", action="store_true", default=True, help="train in this process (the default)")
    where.add_argument("--detach", action="store_true", help="train in a process of its own and return at once")


def _show(value: dict[str, Any], as_json: bool, lines: Sequence[str]) -> None:
    if as_json:
        print(json.dumps(value, allow_nan=False))
    else:
        print("\n".join(lines))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _progress(what: str) -> Callable[[int, int], None]:
    """A line on stderr that counts, at most four times a second, with the time left."""
    first: tuple[float, int] | None = None
    last = 0.0

    def show(done: int, total: int) -> None:
        nonlocal first, last
        now = time.monotonic()
        first = first or (now, done)
        if now - last > 0.25 or done == total:
            last = now
            seconds = (now - first[0]) / max(done - first[1], 1) * (total - done)
            left = f", {seconds:.0f} s left " if done > first[1] else " "
            end = "\n" if done == total else ""
            print(f"\r{what}: {done:,} of {total:,}{left}", end=end, file=sys.stderr, flush=True)

    return show


# data


def _data_import(args: argparse.Namespace) -> None:
    from bloodcell_core.data.importing import import_dataset

    dataset = import_dataset(
        args.source,
        args.name,
        args.format,
        args.with_test_simple,
        _progress("pictures read"),
        trace=not args.no_trace,
        trace_progress=_progress("photographs looked for"),
    )
    _show_dataset(dataset, args.json)


def _data_download(args: argparse.Namespace) -> None:
    from bloodcell_core.data.download import download
    from bloodcell_core.data.importing import free_name, import_dataset

    name = free_name(args.name or args.download)  # before gigabytes are fetched for nothing
    dataset = import_dataset(
        download(args.download),
        name,
        progress=_progress("pictures read"),
        trace=not args.no_trace,
        trace_progress=_progress("photographs looked for"),
    )
    _show_dataset(dataset, args.json)


def _data_demo(args: argparse.Namespace) -> None:
    from bloodcell_core.data.importing import DEMO_PER_CLASS, make_demo

    per_class = DEMO_PER_CLASS if args.per_class is None else args.per_class
    _show_dataset(make_demo(args.name, per_class, args.seed, _progress("pictures drawn")), args.json)


def _data_list(args: argparse.Namespace) -> None:
    from bloodcell_core.data.dataset import Dataset, names

    found = [Dataset(name).facts for name in names()]
    keys = ("name", "format", "classes", "pictures", "synthetic")
    rows = [{key: facts[key] for key in keys} for facts in found]
    lines = [f"{row['name']:24} {row['pictures']:>8,} pictures, {len(row['classes'])} classes" for row in rows]
    _show(
        {"datasets": rows},
        args.json,
        lines or ["no dataset yet: `data import SOURCE` or `data demo` makes one"],
    )


def _data_show(args: argparse.Namespace) -> None:
    from bloodcell_core.data.dataset import Dataset

    _show_dataset(Dataset(args.name), args.json)


def _show_dataset(dataset: Any, as_json: bool) -> None:
    from bloodcell_core.data.dataset import describe

    facts = describe(dataset)
    lines = _count_lines(facts)
    if facts["scenes_in_several_splits"]:
        lines.append(
            f"warning: {facts['scenes_in_several_splits']} cells were photographed more than once and stand in several "
            f"splits: {facts['test_pictures_of_shared_scenes']:,} test pictures show cells that training sees too"
        )
    lines.append(f"{facts['unreadable']} unreadable, {facts['duplicates']} byte-identical duplicates left out")
    lines += [f"  {row['file']}: {row['reason']}" for row in facts["unreadable_files"][:20]]
    _show(facts, as_json, lines)


def _count_lines(facts: dict[str, Any]) -> list[str]:
    """What a dataset holds, by split and class."""
    photos = f"{facts['photos']:,} source photos" if facts["photos"] is not None else "source photos not known"
    why = "; ".join(filter(None, (facts["photos_origin"], facts["photos_unknown_because"])))
    synthetic = " (synthetic pictures)" if facts["synthetic"] else ""
    lines = [
        f"{facts['name']}{synthetic}: {facts['pictures']:,} pictures, {photos} ({why})",
        f"split: {facts['split_origin']}",
    ]
    for split, part in facts["splits"].items():
        known = part["photos"] is not None
        of_photos = f" from {part['photos']:,} photos" if known else ""
        counts = ", ".join(
            f"{name} {count:,}" + (f" from {part['photos_by_class'][name]:,}" if known else "")
            for name, count in part["by_class"].items()
        )
        lines.append(f"  {split:5} {part['pictures']:>7,} pictures{of_photos}: {counts}")
    return lines


def _data_audit(args: argparse.Namespace) -> None:
    from bloodcell_core.data.audit import audit
    from bloodcell_core.data.dataset import Dataset

    dataset = Dataset(args.name)
    seen = audit(dataset)
    findings: list[dict[str, Any]] = [
        {
            "name": finding.name,
            "title": finding.title,
            "severity": finding.severity,
            "words": finding.words,
            "count": len(finding.rows),
            "files": dataset.images.file[finding.rows[:AUDIT_FILES]].tolist(),
        }
        for finding in seen.findings
    ]
    lines = [] if findings else ["nothing stands out"]
    for told in findings:
        severity = told["severity"].upper() if told["severity"] == "alarm" else told["severity"]
        lines.append(f"{severity}: {told['title']}: {told['words']}")
        lines += [f"  {file}" for file in told["files"][:3]]
        lines += [f"  … and {told['count'] - 3:,} more (--json names {AUDIT_FILES})"] if told["count"] > 3 else []
    lines += ["", *_count_lines(seen.facts)]
    for family in seen.facts["largest_families"]:
        where = f"{', '.join(family['labels'])} in {', '.join(family['splits'])}"
        lines.append(f"  {family['pictures']:,} pictures from photo {family['photo']}: {where}")
    for what in ("sizes", "modes"):
        lines.append(f"{what}: {', '.join(f'{value} {count:,}' for value, count in seen.facts[what].items())}")
    _show(seen.facts | {"findings": findings}, args.json, lines)


def _data_remove(args: argparse.Namespace) -> None:
    from bloodcell_core.data.dataset import remove

    remove(args.name)
    _show({"removed": args.name}, args.json, [f"removed dataset {args.name}"])


# training


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of TrainConfig that preset and flags give."""
    values: dict[str, Any] = dict(PRESETS[args.preset]) if args.preset else {}
    for name in FLAGGED:
        if getattr(args, name) is not None:
            values[name] = config.parse(name, getattr(args, name))
    return values | _set(args)


def _set(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of TrainConfig that `--set` gives."""
    values = {}
    for setting in args.set:
        name, equals, text = setting.partition("=")
        if not equals:
            raise LabError(f"--set takes FIELD=VALUE, not {setting[:60]!r}")
        values[name] = config.parse(name, text)
    return values


def _train(args: argparse.Namespace) -> int:
    wanted = TrainConfig.from_json(_settings(args))

    from bloodcell_core.training import jobs, worker
    from bloodcell_core.training.team import this_process

    if args.estimate:
        from bloodcell_core.training.estimate import estimate

        told = estimate(wanted)
        _show(told._asdict(), args.json, [f"about {timedelta(seconds=round(told.seconds))}: {told.steps:,} steps of "
                                          f"{1000 * told.step_seconds:.1f} ms on {told.device}"])  # fmt: skip
        return 0
    if not this_process().leads:
        worker.follow(this_process(), wanted.device)
        return 0
    if args.detach:
        run = jobs.train_detached(wanted)
    else:
        run = jobs.create_run(wanted)
        _work_here(run)
    return _show_run(run, args.json, failure=1)


def _work_here(run: runs.Run) -> None:
    """Trains in this process, which may lead a team; Ctrl-C asks the run to stop and keep what it has."""
    from bloodcell_core.training import worker
    from bloodcell_core.training.team import this_process

    before = signal.signal(signal.SIGINT, lambda *_: (run.folder / "stop").touch())
    try:
        worker.work(run, _say, this_process())
    finally:
        signal.signal(signal.SIGINT, before)


def _cross_validate(args: argparse.Namespace) -> int:
    from bloodcell_core.training import groups
    from bloodcell_core.training.team import this_process

    settings = _settings(args)
    if this_process().size > 1:
        raise LabError("cross-validate trains in one process: leave torchrun out")
    if args.group:
        if settings or args.folds is not None or args.over:
            raise LabError("--group goes on with the settings that it was begun with: leave out all others")
        group = groups.find(args.group)
    else:
        folds = groups.FOLDS if args.folds is None else args.folds
        group = groups.create_group(TrainConfig.from_json(settings), folds, args.over or "all")
    if args.detach:
        groups.go_on(group)
    else:
        for run in groups.unfinished(group):
            _say(f"{group.name}: fold {run.config.fold_words}")
            _work_here(run)
            if run.status()["state"] != "done":
                break
    return _show_group(group.name, args.json, failure=1)


def _runs_group(args: argparse.Namespace) -> None:
    _show_group(args.group, args.json)


def _show_group(reference: str, as_json: bool, failure: int = 0) -> int:
    from bloodcell_core.training.groups import group_summary

    facts = group_summary(reference)
    over = "all splits" if facts["over"] == "all" else "all but the test split"
    synthetic = " (synthetic pictures)" if facts["synthetic"] else ""
    lines = [
        f"{facts['group']}: {facts['state']}, {facts['folds_done']} of {facts['folds']} folds",
        f"{facts['model']} on {facts['data']}{synthetic}, {facts['view']} view, folds over {over}",
    ]
    for fold in facts["runs"]:
        figures = ""
        if fold["accuracy"] is not None:
            photos = f" of {fold['photos']} photos" if fold["photos"] is not None else ""
            figures = f"accuracy {fold['accuracy']:.4f}, {fold['pictures']:,} pictures{photos}, {fold['seconds']:.0f} s"
        told = figures or fold["reason"]
        lines.append(f"  fold {fold['fold']}  {fold['state']:12} {fold['run'] or '':40} {told}".rstrip())
    spread = facts["accuracy_by_fold"]
    if spread and spread["spread"] is not None:
        lines.append(f"  mean of the folds  {spread['mean']:.4f}, standard deviation {spread['spread']:.4f}")
    if facts["pooled"]:
        missing = "" if facts["complete"] else f", {facts['folds_done']} of {facts['folds']} folds alone"
        lines += _score_lines(facts["pooled"], f"out of fold{missing}")
    _show(facts, as_json, lines)
    return failure if facts["state"] == "failed" else 0


def _show_run(run: runs.Run, as_json: bool, failure: int = 0) -> int:
    facts = run.describe()
    lines = [f"{run.name}: {facts['state']}" + (f" ({facts['reason']})" if facts["reason"] else "")]
    lines.append(
        f"{facts['model']} on {facts['data']}{' (synthetic pictures)' if run.synthetic else ''}, {facts['view']} view, "
        f"epoch {facts['epoch']} of {facts['epochs']}, {_weights_words(run)}"
    )
    if facts["summary"] and facts["summary"]["test"]:
        lines += _score_lines(facts["summary"]["test"], _split_words(run, "test"))
    _show(facts, as_json, lines)
    return failure if facts["state"] == "failed" else 0


def _weights_words(run: runs.Run) -> str:
    return "from pretrained weights" if run.pretrained else "trained from scratch (weights: none)"


def _split_words(run: runs.Run, split: str, data: str | None = None) -> str:
    """A split of a run's own dataset or of another; a fold's run is tested on its fold."""
    own = data in (None, run.config.data)
    if split == "all":
        return "all splits"
    return f"fold {run.config.fold_words}" if own and split == "test" and run.config.folds else f"{split} split"


METRIC_WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "macro F1",
    "auc_ovr": "AUC",
    "kappa": "Cohen's kappa",
}


def _score_lines(scores: dict[str, Any], title: str) -> list[str]:
    photos = f"{scores['photos']} source photos" if scores["photos"] is not None else "source photos not known"
    lines = [f"{title}: {scores['pictures']:,} pictures, {photos}"]
    for key, title in METRIC_WORDS.items():
        if scores.get(key) is not None:  # the summary of an older run has no kappa
            limits = scores["intervals"][key]
            interval = f"  95% interval {limits[0]:.4f} to {limits[1]:.4f}" if limits else ""
            lines.append(f"  {title:18} {scores[key]:.4f}{interval}")
    if scores["by_photo"]:
        photo = scores["by_photo"]
        lines.append(f"  photos right       {photo['right']} of {photo['photos']}")
    return lines + [f"  note: {note}" for note in scores["warnings"] + scores["notes"]]


def _calibration_lines(facts: dict[str, Any] | None) -> list[str]:
    """The calibration error before and after the temperature; no line where none was measured."""
    if facts is None:
        return []
    before, after = facts["before"], facts["after"]
    limits, chance = before["intervals"]["ece"], before["ece_by_chance"]
    line = f"  calibration error  {before['ece']:.4f}"
    if limits:
        line += f"  95% interval {limits[0]:.4f} to {limits[1]:.4f}, {chance:.4f} by chance alone"
    if after:
        line += f"; with temperature {facts['temperature']:.2f} {after['ece']:.4f}"
    return [line, *(f"  note: {warning}" for warning in facts["warnings"])]


def _runs_list(args: argparse.Namespace) -> None:
    good, damaged = runs.readable_runs()
    keys = ("run", "state", "model", "data", "view", "weights", "pretrained", "synthetic", "fold", "group", "bundled")
    rows = [{key: facts[key] for key in keys} for facts in (run.describe() for run in good)]
    lines = [
        f"{row['run']:40} {row['state']:12} {row['model']:10} {row['data']}"
        f"{' (synthetic)' if row['synthetic'] else ''}, {row['view']} view, {_weights_words(run)}"
        + (f", fold {row['fold']}" if row["fold"] else "")
        + (f" ({row['group']})" if row["group"] else "")
        for row, run in zip(rows, good, strict=True)
    ]
    for line in damaged:
        _say(f"left out: {line}")
    _show({"runs": rows}, args.json, lines or ["no run yet: `train` makes one"])


def _runs_show(args: argparse.Namespace) -> None:
    _show_run(runs.find(args.run), args.json)


def _runs_stop(args: argparse.Namespace) -> None:
    from bloodcell_core.training import jobs

    run = runs.find(args.run)
    jobs.request_stop(run)
    _show({"run": run.name, "stop_requested": True}, args.json, [f"{run.name} stops at its next batch"])


def _runs_resume(args: argparse.Namespace) -> int:
    from bloodcell_core.training import jobs, worker
    from bloodcell_core.training.team import this_process

    run = runs.find(args.run)
    if not this_process().leads:
        worker.follow(this_process(), run.config.device)
        return 0
    jobs.requeue(run)
    _work_here(run)
    return _show_run(run, args.json, failure=1)


def _runs_move(args: argparse.Namespace) -> None:
    from bloodcell_core.training import jobs

    run = runs.find(args.run)
    jobs.move(run, args.place)
    line = [waiting.name for waiting in runs.waiting(run.status()["queue"])]
    _show({"waiting": line}, args.json, [f"{place}. {name}" for place, name in enumerate(line, 1)])


def _runs_remove(args: argparse.Namespace) -> None:
    from bloodcell_core.training import jobs

    run = runs.find(args.run)
    (jobs.withdraw if run.status()["state"] == "queued" else runs.remove)(run)
    _show({"removed": run.name}, args.json, [f"removed run {run.name}"])


# searching


def _tune(args: argparse.Namespace) -> int:
    from bloodcell_core.training import studies
    from bloodcell_core.training.team import this_process

    if this_process().size > 1:
        raise LabError("tune trains in one process: leave torchrun out")
    settings = _settings(args)
    if args.study in studies.names():
        if settings or args.search:
            raise LabError(
                f"study {args.study!r} goes on with the settings that it was begun with: leave out all but --trials "
                "and --minutes"
            )
        study = studies.Study(args.study)
        studies.reopen(study, args.trials, args.minutes)
    else:
        wanted = TrainConfig.from_json(settings)
        trials = studies.TRIALS if args.trials is None else args.trials
        study = studies.create(wanted, args.search, trials, args.minutes or 0, args.study)
    if args.detach:
        studies.start(study)
    else:
        from bloodcell_core.training import search

        before = signal.signal(signal.SIGINT, lambda *_: study.job.request_stop())
        try:
            search.work(study, _say)
        finally:
            signal.signal(signal.SIGINT, before)
    return _show_study(study, args.json, failure=1)


def _show_study(study: Any, as_json: bool, failure: int = 0) -> int:
    facts = study.describe()
    trials, best = facts["trials"], facts["best"]
    counts = Counter(trial["state"] for trial in trials)
    photos = facts["validation"]["photos"]
    of_photos = f" of {photos:,} source photos" if photos is not None else ", source photos not known"
    synthetic = " (synthetic pictures)" if facts["synthetic"] else ""
    lines = [
        f"{facts['study']}: {facts['state']}" + (f" ({facts['reason']})" if facts["reason"] else ""),
        f"{facts['model']} on {facts['data']}{synthetic}, {facts['config']['view']} view, "
        f"{facts['config']['epochs']} epochs a trial; {counts['done'] + counts['pruned']} of {facts['trials_wanted']} "
        f"trials, {counts['pruned']} of them pruned",
        f"compared on {facts['validation']['pictures']:,} validation pictures{of_photos}; the test split is unread",
    ]
    for trial in trials:
        lines.append(
            f"  trial {trial['number']:>3} {trial['state']:11} loss {_figure(trial['val_loss'])}  "
            f"accuracy {_figure(trial['val_accuracy'])}  epochs {trial['epochs']:>3}  "
            + ", ".join(f"{field} {value:.3g}" for field, value in trial["settings"].items())
            + ("  ← best" if trial == best else "")
        )
    if facts["importance"]:
        shares = ", ".join(f"{field} {share:.0%}" for field, share in facts["importance"].items())
        lines.append(f"what the losses differ by: {shares} ({counts['done']} trials)")
    if best:
        lines.append(f"`tune train {study.name}` trains with the best settings, and scores the test split")
    _show(facts, as_json, lines)
    return failure if facts["state"] == "failed" else 0


def _figure(value: float | None) -> str:
    return "–     " if value is None else f"{value:.4f}"


def _tune_list(args: argparse.Namespace) -> None:
    from bloodcell_core.training import studies

    rows = []
    for study in map(studies.Study, studies.names()):
        best = studies.best_of(study.trials())
        rows.append(
            {
                "study": study.name, "state": study.status()["state"], "model": study.config.model,
                "data": study.config.data, "trials": study.finished(), "trials_wanted": study.trials_wanted,
                "val_loss": best and best["val_loss"], "val_accuracy": best and best["val_accuracy"],
            }
        )  # fmt: skip
    lines = [
        f"{row['study']:40} {row['state']:12} {row['model']:10} {row['data']}, {row['trials']} of "
        f"{row['trials_wanted']} trials, validation loss {_figure(row['val_loss'])}"
        for row in rows
    ]
    _show({"studies": rows}, args.json, lines or ["no study yet: `tune --data N --model M` begins one"])


def _tune_show(args: argparse.Namespace) -> None:
    from bloodcell_core.training import studies

    _show_study(studies.find(args.study), args.json)


def _tune_train(args: argparse.Namespace) -> int:
    from bloodcell_core.training import jobs, studies

    wanted = replace(studies.find(args.study).best_config(), **_set(args))
    if args.detach:
        run = jobs.train_detached(wanted)
    else:
        run = jobs.create_run(wanted)
        _work_here(run)
    return _show_run(run, args.json, failure=1)


def _tune_stop(args: argparse.Namespace) -> None:
    from bloodcell_core.training import studies

    study = studies.find(args.study)
    studies.request_stop(study)
    _show({"study": study.name, "stop_requested": True}, args.json, [f"{study.name} stops at its next batch"])


def _tune_remove(args: argparse.Namespace) -> None:
    from bloodcell_core.training import studies

    study = studies.find(args.study)
    studies.remove(study)
    _show({"removed": study.name}, args.json, [f"removed study {study.name}"])


# using a run


def _evaluate(args: argparse.Namespace) -> None:
    from bloodcell_core.evaluation.external import distance_lines, read_class_map
    from bloodcell_core.evaluation.report import check_report_file, run_report, write_report
    from bloodcell_core.evaluation.scoring import evaluated, write_predictions

    if args.report:
        check_report_file(args.report)  # before minutes are spent on what can't be written
    run = runs.find(args.run)
    told = read_class_map(args.classes) if args.classes else None
    scores, table = evaluated(run, args.data, args.split, args.device, told)
    if args.predictions:
        write_predictions(table, args.predictions)
    if args.report:
        write_report(run_report(scores, table, run), args.report)
    synthetic = " (trained on synthetic pictures)" if run.synthetic else ""
    head = f"{run.name} on {scores['data']}{synthetic}, {_weights_words(run)}"
    matrix = ["  confusion (rows are true): " + ", ".join(run.classes)]
    matrix += ["    " + " ".join(f"{count:>6}" for count in row) for row in scores["confusion"]]
    lines = _score_lines(scores, _split_words(run, args.split, args.data)) + _calibration_lines(scores["calibration"])
    _show(scores, args.json, [head, *lines, *distance_lines(scores["distance"]), *matrix])


def _compare(args: argparse.Namespace) -> None:
    from bloodcell_core.evaluation.comparison import compare_sides, seed_groups
    from bloodcell_core.evaluation.report import check_report_file, comparison_report, write_report
    from bloodcell_core.evaluation.scoring import score

    if args.report:
        check_report_file(args.report)
    sides = [_side(reference) for reference in args.runs]
    if len({side.name for side in sides}) < max(len(sides), 2):
        raise LabError("compare takes two or more different runs")
    first, *others = sides
    comparisons = [compare_sides(first, other) for other in others]  # refuses before anything is scored
    rows = [{"run": side.name, "data": side.data, **score(side.table, side.classes)} for side in sides]
    seeds = seed_groups([runs.Run(side.name) for side in sides if side.settings])
    lines = []
    for row in rows:
        lines += _score_lines(row, f"{row['run']} on {row['data']}")
    for group in seeds:
        lines.append(f"by seed alone differ {', '.join(group['runs'])}:")
        lines += [
            f"  {METRIC_WORDS[metric]:18} mean {told['mean']:.4f}, standard deviation {told['spread']:.4f}"
            for metric, told in group["metrics"].items() if told
        ]  # fmt: skip
    for facts in comparisons:
        lines += _comparison_lines(facts)
    told = {"runs": rows, "comparisons": comparisons, "seed_groups": seeds}
    if args.report:
        settings = {side.name: runs.Run(side.name).config.to_json() for side in sides if side.settings}
        write_report(comparison_report(told, settings), args.report)
    _show(told, args.json, lines)


def _side(reference: str) -> Any:
    """The test of the run of that name, or of the cross-validation where no run has it."""
    from bloodcell_core.evaluation.comparison import Side, side_of
    from bloodcell_core.training import groups

    named = any(name.startswith(reference) for name in runs.names())
    if named or not any(group.name.startswith(reference) for group in groups.groups()):
        return side_of(runs.find(reference))
    group = groups.find(reference)
    if len(group.finished) < group.config.folds:
        raise LabError(f"cross-validation {group.name!r} isn't finished: `cross-validate --group` goes on with it")
    table = groups.pooled_predictions(group)
    return Side(group.name, group.config.data, group.finished[0].data_hash, group.finished[0].classes, table)


def _comparison_lines(facts: dict[str, Any]) -> list[str]:
    """A paired comparison: its verdict, who is right where, and the differences with their intervals."""
    right = facts["right"]
    lines = [f"A is {facts['a']}, B is {facts['b']}", f"  {facts['verdict']}"]
    lines.append(
        f"  {right['unit']}: both right {right['both']:,}, only A {right['only_a']:,}, only B {right['only_b']:,}, "
        f"neither {right['neither']:,}" + (f"; McNemar's exact p {right['p']:.3f}" if right["p"] is not None else "")
    )
    for metric, told in facts["metrics"].items():
        if told["difference"] is not None:
            limits = told["interval"]
            interval = f"  95% interval {limits[0]:+.4f} to {limits[1]:+.4f}" if limits else ""
            lines.append(f"  {METRIC_WORDS[metric]:18} B less A {told['difference']:+.4f}{interval}")
    return lines + [f"  note: {note}" for note in facts["notes"]]


def _predict(args: argparse.Namespace) -> None:
    from bloodcell_core.inference.predictor import Predictor, files_of

    run = runs.find(args.run)
    missing = next((path for path in args.paths if not path.exists()), None)
    if missing is not None:
        raise LabError(f"{missing} doesn't exist")
    answers = list(Predictor(run, args.device).classify(files_of(args.paths)))
    if args.csv:
        with (
            workspace.write_atomic(args.csv) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["path", "state", "reason", "label", *(f"p_{name}" for name in run.classes)])
            for answer in answers:
                cell = answer.cells[0] if answer.cells else None
                shares = list(cell.probabilities.values()) if cell else [""] * len(run.classes)
                writer.writerow([answer.path, answer.state, answer.reason, (cell and cell.label) or "", *shares])
    lines = []
    for answer in answers:
        cell = answer.cells[0] if answer.cells else None
        said = f"{cell.label} {max(cell.probabilities.values()):.3f}" if cell else answer.state
        lines.append(f"{answer.path}: {said}" + (f" ({answer.reason})" if answer.reason else ""))
    _show({"run": run.name, "pictures": [answer.to_json() for answer in answers]}, args.json, lines)


def _cells(args: argparse.Namespace) -> None:
    from bloodcell_core.cells import find_cells
    from bloodcell_core.data.pictures import UnreadablePicture, decode_rgb

    rows = []
    for path in args.paths:
        if not path.is_file():
            raise LabError(f"{path} is no file")
        try:
            picture = decode_rgb(path.read_bytes())
        except UnreadablePicture as error:
            raise LabError(f"{path}: {error}") from None
        boxes = [list(cell.box) for cell in find_cells(picture)]
        rows.append({"path": str(path), "width": picture.shape[1], "height": picture.shape[0], "boxes": boxes})
    _show(
        {"pictures": rows},
        args.json,
        [f"{row['path']}: {len(row['boxes'])} white cells {row['boxes']}" for row in rows],
    )
