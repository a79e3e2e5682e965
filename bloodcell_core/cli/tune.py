"""`tune`: searches for better settings."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from typing import Any

from bloodcell_core import config
from bloodcell_core.cli.output import figure, say, show, show_list, show_removed, show_stopping
from bloodcell_core.cli.parser import (
    Parser,
    add_config_flags,
    add_place_flags,
    add_set_flag,
    set_of,
    settings_of,
    verb,
    word_of,
)
from bloodcell_core.cli.runs import stopped_by_ctrl_c, train_and_show
from bloodcell_core.config import TrainConfig
from bloodcell_core.errors import LabError
from bloodcell_core.words import counted


def add(verbs: Any) -> None:
    """Adds the family `tune`."""
    parser = verb(
        verbs, "tune", _tune,
        "Search for better settings of a network by short trainings, compared on photos of the training split.",
    )  # fmt: skip
    parser.add_argument("--study", type=word_of, metavar="NAME", help="what to call it; an existing one is continued")
    parser.add_argument("--trials", type=int, metavar="K", help="how many trials in all; by default 20")
    parser.add_argument("--minutes", type=float, metavar="T", help="begin no trial after so many minutes; 0: no limit")
    parser.add_argument(
        "--search", nargs="+", metavar="FIELD", default=[],
        help="settings to vary, such as learning_rate; by default the usual ones for the network",
    )  # fmt: skip
    add_config_flags(parser)
    study = parser.add_subparsers(metavar="VERB", parser_class=Parser, help="list, show, train, stop, remove")
    verb(study, "list", _tune_list, "List the studies, newest first.")
    for name, do, help in (
        ("show", _tune_show, "Show what a study tried, what mattered and what was best."),
        ("train", _tune_train, "Train a run with the best settings of a study."),
        ("stop", _tune_stop, "Stop a study at the next batch of its trial; `tune --study` goes on with it."),
        ("remove", _tune_remove, "Delete a study and its trials."),
    ):
        parser = verb(study, name, do, help)
        parser.add_argument("study", help="a study's name, or a unique beginning of it")
        if name == "train":
            add_set_flag(parser, f"such as epochs=40: {', '.join(config.fields())}")
            add_place_flags(parser)


def _tune(args: argparse.Namespace) -> int:
    from bloodcell_core.training import studies
    from bloodcell_core.training.team import this_process

    if this_process().size > 1:
        raise LabError("tune trains in one process: leave torchrun out")
    settings = settings_of(args)
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
        from bloodcell_core.training.memory import keep_freed_memory

        keep_freed_memory()
        with stopped_by_ctrl_c(study.job.request_stop):
            search.work(study, say)
    return _show_study(study, args.json, failure=1)


def _show_study(study: Any, as_json: bool, failure: int = 0) -> int:
    facts = study.describe()
    trials, best = facts["trials"], facts["best"]
    counts = Counter(trial["state"] for trial in trials)
    photos, pictures = facts["validation"]["photos"], counted(facts["validation"]["pictures"], "validation picture")
    of_photos = f" of {counted(photos, 'source photo')}" if photos is not None else ", source photos not known"
    synthetic = " (synthetic pictures)" if facts["synthetic"] else ""
    lines = [
        f"{facts['study']}: {facts['state']}" + (f" ({facts['reason']})" if facts["reason"] else ""),
        f"{facts['model']} on {facts['data']}{synthetic}, {facts['config']['view']} view, "
        f"{counted(facts['config']['epochs'], 'epoch')} a trial; {counts['done'] + counts['pruned']} of "
        f"{facts['trials_wanted']} trials, {counts['pruned']} of them broken off",
        f"compared on {pictures}{of_photos}; the test split is unread",
    ]
    for trial in trials:
        state = "broken off" if trial["state"] == "pruned" else trial["state"]  # Optuna's word
        lines.append(
            f"  trial {trial['number']:>3} {state:11} loss {figure(trial['val_loss'])}  "
            f"accuracy {figure(trial['val_accuracy'])}  epochs {trial['epochs']:>3}  "
            + ", ".join(f"{field} {value:.3g}" for field, value in trial["settings"].items())
            + ("  ← best" if trial == best else "")
        )
    if facts["importance"]:
        shares = ", ".join(f"{field} {share:.0%}" for field, share in facts["importance"].items())
        lines.append(f"share of each setting in how the losses differ: {shares} ({counts['done']} trials)")
    if best:
        lines.append(f"`tune train {study.name}` trains with the best settings, and scores the test split")
    show(facts, as_json, lines)
    return failure if facts["state"] == "failed" else 0


def _tune_list(args: argparse.Namespace) -> None:
    from bloodcell_core.training import studies

    rows = []
    good, damaged = studies.readable()
    for study in good:
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
        f"{row['trials_wanted']} trials, validation loss {figure(row['val_loss'])}"
        for row in rows
    ]
    lines = lines or ["no study yet: `tune --data N --model M` begins one"]
    show_list("studies", rows, args.json, lines, damaged)


def _tune_show(args: argparse.Namespace) -> None:
    from bloodcell_core.training import studies

    _show_study(studies.find(args.study), args.json)


def _tune_train(args: argparse.Namespace) -> int:
    from bloodcell_core.training import studies

    return train_and_show(replace(studies.find(args.study).best_config(), **set_of(args)), args.detach, args.json)


def _tune_stop(args: argparse.Namespace) -> None:
    from bloodcell_core.training import studies

    study = studies.find(args.study)
    studies.request_stop(study)
    show_stopping("study", study.name, args.json)


def _tune_remove(args: argparse.Namespace) -> None:
    from bloodcell_core.training import studies

    study = studies.find(args.study)
    studies.remove(study)
    show_removed("study", study.name, args.json)
