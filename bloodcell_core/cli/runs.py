"""`runs`: listed, shown, named, tagged, stopped, resumed, moved in their queue, removed."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bloodcell_core import notes, runs
from bloodcell_core.cli.output import (
    progress,
    say,
    score_lines,
    show,
    show_list,
    show_notes,
    show_removed,
    show_stopping,
    title_words,
)
from bloodcell_core.cli.parser import RUN_HELP, family, verb, word_of
from bloodcell_core.config import TrainConfig
from bloodcell_core.errors import LabError
from bloodcell_core.notes import clean_tags
from bloodcell_core.words import counted


def add(verbs: Any) -> None:
    """Adds the family `runs`."""
    run = family(verbs, "runs", "runs: list, show, group, rename, tag, stop, resume, move, remove")
    parser = verb(run, "list", _runs_list, "List the runs, newest first.")
    parser.add_argument("--tag", type=word_of, help="only those that have it")
    for name, do, help in (
        ("show", _runs_show, "Show what a run is, how far it has got and what it found."),
        ("rename", _runs_rename, "Give a run a title; its name stays the same."),
        ("tag", _runs_tag, "Replace a run's tags."),
        ("stop", _runs_stop, "Stop a run at its next batch; it keeps what it has."),
        ("resume", _runs_resume, "Continue an interrupted, stopped or failed run from its checkpoint."),
        ("move", _runs_move, "Give a waiting run another place in its queue."),
        ("remove", _runs_remove, "Delete a run or a cross-validation."),
    ):
        parser = verb(run, name, do, help)
        parser.add_argument("run", help=RUN_HELP)
        if name == "rename":
            parser.add_argument("title", help="'' removes the title")
        if name == "tag":
            parser.add_argument("tags", nargs="*", type=word_of, metavar="TAG", help="none removes all tags")
        if name == "move":
            parser.add_argument("place", type=int, help="1 is next")
    parser = verb(run, "group", _runs_group, "Show how far a cross-validation has got and what it found.")
    parser.add_argument("group", help="a group's name, or a unique beginning of it")


def _runs_group(args: argparse.Namespace) -> None:
    show_group(args.group, args.json)


def show_group(reference: str, as_json: bool, failure: int = 0) -> int:
    """Prints what a cross-validation is and has found; `failure` is the exit code where it hasn't come to its end."""
    from bloodcell_core.training.groups import group_summary

    facts = group_summary(reference)
    over = "all splits" if facts["over"] == "all" else "all but the test split"
    synthetic = " (synthetic pictures)" if facts["synthetic"] else ""
    lines = [
        f"{facts['group']}: {facts['state']}, {facts['folds_done']} of {facts['folds']} folds",
        f"{facts['model']} on {facts['data']}{synthetic}, {facts['view']} view, folds over {over}",
    ]
    unit = facts["pooled"]["unit"] if facts["pooled"] else ""  # before the first fold is done none has figures
    for fold in facts["runs"]:
        figures = ""
        if fold["accuracy"] is not None:
            photos = f" of {counted(fold['photos'], unit)}" if fold["photos"] is not None else ""
            pictures = counted(fold["pictures"], "picture")
            figures = f"accuracy {fold['accuracy']:.4f}, {pictures}{photos}, {fold['seconds']:.0f} s"
        told = figures or fold["reason"]
        lines.append(f"  fold {fold['fold']}  {fold['state']:12} {fold['run'] or '':40} {told}".rstrip())
    spread = facts["accuracy_by_fold"]
    if spread and spread["spread"] is not None:
        lines.append(f"  mean of the folds  {spread['mean']:.4f}, standard deviation {spread['spread']:.4f}")
    if facts["pooled"]:
        missing = "" if facts["complete"] else f", {facts['folds_done']} of {facts['folds']} folds alone"
        lines += score_lines(facts["pooled"], f"out of fold{missing}")
    show(facts, as_json, lines)
    return failure if facts["state"] == "failed" else 0


def show_run(run: runs.Run, as_json: bool, failure: int = 0) -> int:
    """Prints what a run is and has found; `failure` is the exit code where it hasn't come to its end."""
    facts = run.describe()
    lines = [f"{run.name}: {facts['state']}" + (f" ({facts['reason']})" if facts["reason"] else "")]
    epochs = "" if run.is_ensemble or run.adapted else f"epoch {facts['epoch']} of {facts['epochs']}, "
    if named := title_words(run.notes):
        lines.append(f"  {named}")
    lines.append(
        f"{facts['model']} on {facts['data']}{' (synthetic pictures)' if run.synthetic else ''}, {facts['view']} view, "
        f"{epochs}{run.weights_words}"
    )
    lines += [f"  member {member['run']}: {member['model']}, {member['view']} view" for member in run.member_facts]
    if facts["summary"] and facts["summary"]["test"]:
        lines += score_lines(facts["summary"]["test"], run.split_words("test"))
    show(facts, as_json, lines)
    return failure if facts["state"] == "failed" else 0


def _runs_list(args: argparse.Namespace) -> None:
    good, damaged = runs.readable_runs()
    if args.tag is not None:
        good = [run for run in good if {*clean_tags([args.tag])} <= {*run.notes.tags}]
    keys = ("run", "state", "model", "data", "view", "weights", "pretrained", "synthetic", "fold", "group", "bundled",
            "title", "tags")  # fmt: skip
    rows = [{key: facts[key] for key in keys} for facts in (run.describe() for run in good)]
    lines = [
        f"{row['run']:40} {row['state']:12} {row['model']:10} {row['data']}"
        f"{' (synthetic)' if row['synthetic'] else ''}, {row['view']} view, {run.weights_words}"
        + (f", fold {row['fold']}" if row["fold"] else "")
        + (f" ({row['group']})" if row["group"] else "")
        + (", bundled" if row["bundled"] else "")
        + (f"  {named}" if (named := title_words(run.notes)) else "")
        for row, run in zip(rows, good, strict=True)
    ]
    lines = lines or ["no run has that tag" if args.tag else "no run yet: `train` makes one"]
    show_list("runs", rows, args.json, lines, damaged)


def _runs_show(args: argparse.Namespace) -> None:
    show_run(runs.find(args.run), args.json)


def _runs_rename(args: argparse.Namespace) -> None:
    run = runs.find(args.run)
    show_notes("run", run.name, notes.rename("run", run.name, args.title), args.json)


def _runs_tag(args: argparse.Namespace) -> None:
    run = runs.find(args.run)
    show_notes("run", run.name, notes.tag("run", run.name, args.tags), args.json)


def _runs_stop(args: argparse.Namespace) -> None:
    from bloodcell_core.training import jobs

    run = runs.find(args.run)
    jobs.request_stop(run)
    show_stopping("run", run.name, args.json)


def _runs_resume(args: argparse.Namespace) -> int:
    from bloodcell_core.training import jobs, worker
    from bloodcell_core.training.team import this_process

    run = runs.find(args.run)
    if not this_process().leads:
        worker.follow(this_process(), run.config.device)
        return 0
    jobs.requeue(run)
    work_here(run)
    return show_run(run, args.json, failure=1)


def work_here(run: runs.Run) -> None:
    """Trains in this process, which may lead a team; Ctrl-C asks the run to stop and keep what it has."""
    from bloodcell_core.training import worker
    from bloodcell_core.training.memory import keep_freed_memory
    from bloodcell_core.training.team import this_process

    keep_freed_memory()
    with stopped_by_ctrl_c(run.stop_file.touch):
        worker.work(run, say, this_process(), progress)


@contextmanager
def stopped_by_ctrl_c(request_stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C asks for a stop meanwhile, instead of breaking off what is at work."""
    before = signal.signal(signal.SIGINT, lambda *_: request_stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def train_and_show(wanted: TrainConfig, detach: bool, as_json: bool) -> int:
    """Trains a new run, here or in a process of its own, and prints what it is by then; the exit code."""
    from bloodcell_core.training import jobs, worker
    from bloodcell_core.training.team import this_process

    team = this_process()
    if detach and team.size > 1:  # the leader would go, and the others wait for it
        raise LabError("processes that torchrun starts train here, together: leave out --detach")
    if not team.leads:
        worker.follow(team, wanted.device)
        return 0
    run = jobs.train_detached(wanted) if detach else jobs.create_run(wanted)
    if not detach:
        work_here(run)
    return show_run(run, as_json, failure=1)


def _runs_move(args: argparse.Namespace) -> None:
    from bloodcell_core.training import jobs

    run = runs.find(args.run)
    jobs.move(run, args.place)
    line = [waiting.name for waiting in runs.waiting(run.status()["queue"])]
    show({"waiting": line}, args.json, [f"{place}. {name}" for place, name in enumerate(line, 1)])


def _runs_remove(args: argparse.Namespace) -> None:
    from bloodcell_core.training import groups, jobs

    name = groups.find_name(args.run)  # not the run: a damaged one can't be read
    group = next((group for group in groups.groups() if group.name == name), None)
    if group:
        groups.remove(group)
    else:
        jobs.remove(name)
    show_removed("cross-validation" if group else "run", name, args.json)
