"""Cross-validation: a run for each fold, and one figure over the pictures of all folds.

Each picture is predicted once, by a network that saw no picture of its photo, nor of any photograph of the same cell.
A group is the runs whose config.json names it. Their settings differ by `fold` alone, so that a group whose process was
killed can be finished from any of its runs. Imports no torch by itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bloodcell_core import background, disk, runs, workspace
from bloodcell_core.config import TrainConfig
from bloodcell_core.data.dataset import Dataset, same_dataset
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.scoring import score
from bloodcell_core.runs import ENDED, Run
from bloodcell_core.training import jobs
from bloodcell_core.training.prepare import first_rows

FOLDS = 5
LONGEST_MODEL = 32  # letters of the network's name in a group's name, so that the number of folds has room


@dataclass(frozen=True)
class Group:
    """The cross-validation called `name`, with the runs made so far by fold, 1…folds."""

    name: str
    runs: dict[int, Run]

    @property
    def first(self) -> Run:
        """The first of its runs, for what is the same for all."""
        return next(iter(self.runs.values()))

    @property
    def config(self) -> TrainConfig:
        """The settings of the first of its runs."""
        return self.first.config

    @property
    def finished(self) -> list[Run]:
        """The runs that are done, in the order of their folds; a stopped run doesn't count."""
        return [run for _, run in sorted(self.runs.items()) if run.status()["state"] == "done"]

    @property
    def complete(self) -> bool:
        """Whether all of its folds are finished."""
        return len(self.finished) == self.config.folds

    def check_complete(self) -> None:
        """LabError unless all of its folds are finished."""
        if not self.complete:
            raise LabError(f"cross-validation {self.name!r} isn't finished: `cross-validate --group` goes on with it")


def groups(known: Sequence[Run] | None = None) -> list[Group]:
    """All cross-validations of this workspace, newest first; of the runs in `known`, where these are read already."""
    found: dict[str, dict[int, Run]] = {}
    for run in runs.readable_runs()[0] if known is None else known:
        if run.group:
            found.setdefault(run.group, {})[run.config.fold] = run
    return [Group(name, found[name]) for name in sorted(found, reverse=True)]


def find(reference: str) -> Group:
    """The group of that name, or of which it is a unique beginning; LabError where there is none."""
    known = {group.name: group for group in groups()}
    kinds = "cross-validation", "cross-validations"
    return known[workspace.find_name(reference, known, kinds, "`runs list` tells the group of each fold")]


def find_name(reference: str) -> str:
    """The name of a run or cross-validation, of which `reference` is a unique beginning; `latest` is a run.

    A cross-validation's first run often is made in the same second: what begins both names is refused.
    """
    if reference == "latest":
        return runs.find_name(reference)
    known = [*(group.name for group in groups()), *runs.names()]
    kinds = "run or cross-validation", "runs and cross-validations"
    return workspace.find_name(reference, known, kinds, "`runs list` shows what there is")


def find_run_or_group(reference: str) -> Run | Group:
    """The run or cross-validation that `find_name` finds."""
    name = find_name(reference)
    return next((group for group in groups() if group.name == name), None) or Run(name)


def create_group(config: TrainConfig, folds: int = FOLDS, over: str = "all") -> Group:
    """A new group whose first fold's run is queued; `unfinished` makes the others.

    `over` is `all`, or `train` for all but the dataset's own test split. LabError where one of the folds couldn't be
    trained: nothing is made then.
    """
    if (config.folds, config.fold, config.fold_over) != (0, 1, "all"):
        raise LabError("a cross-validation cuts its folds by itself: leave out the settings folds, fold and fold_over")
    if folds < 2:
        raise LabError(f"a cross-validation needs at least 2 folds, not {folds}")
    dataset = Dataset(config.data)
    config = jobs.checked(config, dataset)
    each = [replace(config, folds=folds, fold=fold + 1, fold_over=over) for fold in range(folds)]
    for one in each:
        first_rows(one, dataset)
    model = workspace.slug(config.model)[:LONGEST_MODEL]
    name = workspace.dated_name(f"{model}-cv{folds}")
    return Group(name, {1: jobs.create_run(each[0], name)})


def unfinished(group: Group) -> Iterator[Run]:
    """The run of each fold that isn't done, queued again or made, each only when it is iterated to.

    LabError where the dataset is no longer the one that the group was begun on, and where one of ensembles lacks a
    fold: those aren't trained.
    """
    first = group.first
    for fold in range(1, group.config.folds + 1):
        run = group.runs.get(fold)
        if run is None:
            if first.is_ensemble:
                raise LabError(
                    f"fold {fold} of {group.name!r} was an ensemble, and can't be trained: put the cross-validations "
                    "together again (`ensemble`)"
                )
            same_dataset(group.config.data, first.data_hash, group.name)
            run = jobs.create_run(replace(group.config, fold=fold), group.name)
        state = run.status()["state"]
        if state in ENDED and state != "done":
            jobs.requeue(run)
        if state != "done":
            yield run


def go_on(group: Group) -> None:
    """Starts a worker for each unfinished fold without one: they train one after another."""
    for run in [*unfinished(group)]:
        if not background.is_held(run.lock):
            jobs.start(run)


def stop(group: Group) -> None:
    """Asks the unfinished runs to stop at their next batch, the last of the queue first, so that none moves up."""
    for _, run in sorted(group.runs.items(), reverse=True):
        if run.status()["state"] not in ENDED:
            jobs.request_stop(run)


def remove(group: Group) -> None:
    """Deletes all of its runs; LabError as `jobs.remove`. While one is at work or an ensemble's, none is deleted."""
    if any(run.status()["state"] == "running" for run in group.runs.values()):
        raise LabError(f"cross-validation {group.name!r} is at work: stop it first")
    runs.check_no_members(run.name for run in group.runs.values())
    for run in group.runs.values():
        jobs.remove(run.name)


def pooled_predictions(group: Group) -> pd.DataFrame:
    """A row for every picture of the finished folds, with the columns of predictions.parquet.

    Each picture was predicted out of its fold. LabError where no fold is finished.
    """
    if not group.finished:
        raise LabError(f"cross-validation {group.name!r} has no predictions: none of its folds is finished")
    tables = [run.predictions().query("split == 'test'") for run in group.finished]
    return pd.concat(tables, ignore_index=True)


def pooled_scores(group: Group) -> dict[str, Any] | None:
    """`scoring.score` of `pooled_predictions`, or None where no fold is finished.

    The intervals are by source photo, for these networks: they tell what other photos would have changed, not what
    other trainings would have. Cached in a file once all folds are done; before that it takes seconds.
    """
    finished = group.finished
    if not finished:
        return None
    complete, file = group.complete, workspace.group_file(group.name)
    if complete and file.exists():
        kept: dict[str, Any] = disk.read_json(file)
        return kept
    scores = score(pooled_predictions(group), finished[0].classes)
    scores["notes"].append(
        f"the AUC sets probabilities of {len(finished)} networks against each other, which need not be on one scale"
    )
    if complete:
        disk.write_json(file, scores)
    return scores


def describe(group: Group) -> dict[str, Any]:
    """A group's progress and its folds' own figures. JSON-ready, and quick: nothing is scored.

    `seconds` are those of training alone; `accuracy_by_fold` has mean, standard deviation (`spread`, None for a single
    fold), lowest and highest of the finished folds, and is None before there is one.
    """
    first = group.first
    folds = [_describe_fold(fold, group.runs.get(fold)) for fold in range(1, group.config.folds + 1)]
    finished = [fold for fold in folds if fold["state"] == "done"]
    accuracies = [fold["accuracy"] for fold in finished]
    return {
        "group": group.name,
        "state": _state([fold["state"] for fold in folds]),
        "folds": len(folds),
        "folds_done": len(finished),
        "complete": len(finished) == len(folds),
        "over": group.config.fold_over,
        "model": group.config.model,
        "data": group.config.data,
        "data_hash": first.data_hash,
        "view": first.view_words,
        "classes": first.classes,
        "synthetic": first.synthetic,
        "weights": group.config.weights,
        "pretrained": first.pretrained,
        "seconds": round(sum(fold["seconds"] for fold in finished), 1),
        "accuracy_by_fold": {
            "mean": statistics.fmean(accuracies),
            "spread": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
            "lowest": min(accuracies),
            "highest": max(accuracies),
        }
        if accuracies
        else None,
        "runs": folds,
    }


def _describe_fold(fold: int, run: Run | None) -> dict[str, Any]:
    """A fold's state and figures, which are None before it is done; the state `missing`: its run isn't made yet."""
    row: dict[str, Any] = {"fold": fold, "run": None, "state": "missing", "reason": "", "epoch": 0, "progress": 0.0}
    row |= dict.fromkeys(("accuracy", "pictures", "photos", "val_accuracy", "seconds"))
    if run is None:
        return row
    status, summary = run.status(), run.summary()
    epoch, steps = status.get("epoch", 0), status.get("total_steps")
    row |= {"run": run.name, "state": status["state"], "reason": status.get("reason", ""), "epoch": epoch}
    row["progress"] = status.get("step", 0) / steps if steps else 0.0
    if status["state"] == "done" and summary:
        test = summary["test"]
        row |= {key: test[key] for key in ("accuracy", "pictures", "photos")}
        row |= {"val_accuracy": summary["val_accuracy"], "seconds": summary["training_seconds"], "progress": 1.0}
    return row


def _state(states: list[str]) -> str:
    """A group's state: the first of running, queued, failed and stopped that a fold is in, else interrupted."""
    if all(state == "done" for state in states):
        return "done"
    return next((state for state in ("running", "queued", "failed", "stopped") if state in states), "interrupted")


def group_summary(name: str) -> dict[str, Any]:
    """What `runs group` prints: `describe` of a group, and `pooled`, the figures over its finished folds.

    They are the figures of the cross-validation only where `complete` is true.
    """
    group = find(name)
    return describe(group) | {"pooled": pooled_scores(group)}
