"""`train` and `cross-validate`."""

from __future__ import annotations

import argparse
from typing import Any

from bloodcell_core.cli.output import say, show
from bloodcell_core.cli.parser import add_config_flags, settings_of, verb, word_of
from bloodcell_core.cli.runs import show_group, train_and_show, work_here
from bloodcell_core.config import TrainConfig
from bloodcell_core.errors import LabError
from bloodcell_core.words import duration


def add(verbs: Any) -> None:
    """Adds the verbs `train` and `cross-validate`."""
    parser = verb(verbs, "train", _train, "Train a network.")
    parser.add_argument("--estimate", action="store_true", help="only estimate how long it takes, from a few steps")
    add_config_flags(parser)

    parser = verb(
        verbs, "cross-validate", _cross_validate,
        "Train a network on each of several folds by source photo, so that every picture is predicted out of its fold.",
    )  # fmt: skip
    parser.add_argument("--folds", type=int, metavar="K", help="by default 5")
    parser.add_argument(
        "--over", choices=("all", "train"), help="the whole dataset (the default), or all but its own test split"
    )
    parser.add_argument("--group", type=word_of, help="continue the unfinished folds of this cross-validation")
    add_config_flags(parser, folds=False)


def _train(args: argparse.Namespace) -> int:
    wanted = TrainConfig.from_json(settings_of(args))

    if args.estimate:
        from bloodcell_core.training.estimate import estimate
        from bloodcell_core.training.team import this_process

        if this_process().size > 1:
            raise LabError("--estimate measures one process: leave torchrun out")
        told = estimate(wanted)
        show(told._asdict(), args.json, [f"about {duration(told.seconds)}: {told.steps:,} steps of "
                                          f"{1000 * told.step_seconds:.1f} ms on {told.device}"])  # fmt: skip
        return 0
    return train_and_show(wanted, args.detach, args.json)


def _cross_validate(args: argparse.Namespace) -> int:
    from bloodcell_core.training import groups
    from bloodcell_core.training.team import this_process

    settings = settings_of(args)
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
            say(f"{group.name}: fold {run.config.fold_words}")
            work_here(run)
            if run.status()["state"] != "done":
                break
    return show_group(group.name, args.json, failure=1)
