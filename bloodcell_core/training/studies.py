"""Studies: hyper-parameter searches, as everything else sees them. Imports no torch, and Optuna only where it is used.

    searches/<name>/status.json, worker.lock, worker.log, stop    of the process that searches (`background.Job`)

A study's plan and its trials lie in the database as Optuna keeps them, so that Optuna's own tools can read them. Each
trial is a short training of the same network on the same pictures. They are compared by their validation loss, on the
same photos for all. The test split is never read.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from filelock import FileLock

from bloodcell_core import background, config, disk, workspace
from bloodcell_core.background import ENDED
from bloodcell_core.config import TrainConfig
from bloodcell_core.data.dataset import Dataset, same_dataset
from bloodcell_core.data.splits import run_classes
from bloodcell_core.errors import LabError, all_readable
from bloodcell_core.training.jobs import checked
from bloodcell_core.training.prepare import first_rows
from bloodcell_core.training.search_space import Range, ranges, searchable, usual

WORKER = "bloodcell_core.training.search"
PLAN = "blood-cell-lab"  # the attribute that tells our studies from others in a shared database
TRIALS, MOST_TRIALS, MOST_MINUTES = 20, 10_000, 60 * 24 * 30
IMPORTANCE_TRIALS = 5  # that must have gone to their end before a share of each setting means anything


class Study:
    """The study called `name`; LabError where there is none."""

    def __init__(self, name: str):
        self.name = name
        self.job = background.Job(workspace.search_dir(name), "go on with it, in a shell by tune --study")
        self.optuna_study = _load(name)
        """The same study as Optuna keeps it: its trials and, as an attribute, our plan."""
        plan = self.optuna_study.user_attrs.get(PLAN)
        if plan is None:
            raise LabError(f"study {name!r} in the database isn't one of ours")
        config.check_version(plan.get("config"), f"study {name!r}")
        try:
            self._take(plan)
        except (LabError, KeyError, TypeError) as error:
            raise LabError(f"study {name!r} can't be read: {error}") from None

    def _take(self, plan: dict[str, Any]) -> None:
        self.config = TrainConfig.from_json(plan["config"])
        """The settings of every trial, but for those that are searched; its seed also fixes what is tried."""
        self.ranges = {field: Range(*limits) for field, limits in plan["search"].items()}
        self.trials_wanted: int = plan["trials"]
        self.minutes: float = plan["minutes"]
        """No trial is begun after so many; 0 for no limit."""
        self.classes: list[str] = plan["classes"]
        self.data_hash: str = plan["data_hash"]
        self.synthetic: bool = plan["synthetic"]
        self.created: str = plan["created"]
        self.validation: dict[str, int | None] = plan["validation"]
        """The pictures, and source photos where they are known, that trials are compared on."""

    def status(self) -> dict[str, Any]:
        """Its worker's status: `state`, `reason`, and while it is at work `phase`, `trial`, `epoch`, `seconds_left`.

        A study of a shared database that was begun in another workspace has the state `elsewhere`.
        """
        if not os.path.isdir(self.job.folder):
            if not workspace.database_is_shared():
                return {"state": "interrupted", "reason": "its folder was deleted: it can't go on"}
            return {"state": "elsewhere", "reason": "it was begun in another workspace, and goes on only there"}
        return self.job.status()

    def trials(self) -> list[dict[str, Any]]:
        """The trials, in order: number (from 1), state (done, pruned, running, interrupted), reason, val_loss and
        val_accuracy of its best epoch (None before the first), epochs, seconds, and its settings by field."""
        at_work = self.status()["state"] == "running"
        found = []
        for trial in self.optuna_study.get_trials(deepcopy=False):
            state = {"COMPLETE": "done", "PRUNED": "pruned", "RUNNING": "running"}.get(trial.state.name, "interrupted")
            if trial.state.name == "WAITING" or not trial.params:
                continue
            losses = [loss for loss in trial.intermediate_values.values() if math.isfinite(loss)]
            found.append(
                {
                    "number": trial.number + 1,
                    "state": "interrupted" if state == "running" and not at_work else state,
                    "reason": trial.user_attrs.get("reason", ""),
                    "val_loss": min(losses, default=None),
                    "val_accuracy": trial.user_attrs.get("val_accuracy"),
                    "epochs": len(trial.intermediate_values),
                    "seconds": round(trial.duration.total_seconds(), 1) if trial.duration else None,
                    "settings": dict(trial.params),
                }
            )
        return found

    def finished(self) -> int:
        """How many trials count: those that went to their end or were pruned."""
        return sum(trial["state"] in ("done", "pruned") for trial in self.trials())

    def importance(self) -> dict[str, float]:
        """How much of the spread of the trials' losses, as logarithms, each field accounts for; the shares sum to 1.

        By fANOVA (Hutter et al. 2014) over the trials that went to their end, most first; {} while they are fewer
        than IMPORTANCE_TRIALS, or have all the same loss. With as few as that the shares are no more than a hint.
        """
        losses = [trial["val_loss"] for trial in self.trials() if trial["state"] == "done"]
        if len(losses) < IMPORTANCE_TRIALS or len(set(losses)) == 1:
            return {}
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        shares = get_param_importances(
            self.optuna_study,
            evaluator=FanovaImportanceEvaluator(seed=0),
            # As logarithms, because one diverged trial would outweigh all others
            target=lambda trial: math.log(max(trial.value or 0.0, 1e-12)),
        )
        return {field: float(share) for field, share in shares.items()}

    def best_config(self) -> TrainConfig:
        """The settings of the best trial, ready to train a run with; LabError where there is none, or no such data."""
        best = best_of(self.trials())
        if best is None:
            raise LabError(f"study {self.name!r} has no finished trial yet")
        same_dataset(self.config.data, self.data_hash, self.name)
        return replace(self.config, **best["settings"])

    def describe(self) -> dict[str, Any]:
        """What `tune show` prints. JSON-ready."""
        status, trials = self.status(), self.trials()
        return {
            "study": self.name,
            "state": status["state"],
            "reason": status["reason"],
            "model": self.config.model,
            "data": self.config.data,
            "data_hash": self.data_hash,
            "synthetic": self.synthetic,
            "created": self.created,
            "config": self.config.to_json(),
            "search": {
                field: {"low": low, "high": high, "log": log} for field, (low, high, log) in self.ranges.items()
            },
            "trials_wanted": self.trials_wanted,
            "minutes": self.minutes,
            "validation": self.validation,
            "trials": trials,
            "importance": self.importance(),
            "best": best_of(trials),
        }


def best_of(trials: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The trial with the lowest validation loss of those that went to their end."""
    done = [trial for trial in trials if trial["state"] == "done"]
    return min(done, key=lambda trial: trial["val_loss"], default=None)


def create(
    settings: TrainConfig,
    fields: Sequence[str] = (),
    trials: int = TRIALS,
    minutes: float = 0,
    name: str | None = None,
) -> Study:
    """Makes a study, to be begun by `start` or `search.work`; LabError, and nothing is made, where it couldn't train.

    `fields` are rows of `search_space.SEARCHED` that the network has, by default the usual ones.
    """
    import optuna

    dataset = Dataset(settings.data)
    settings = checked(settings, dataset)
    possible = searchable(settings.model)
    for field in fields:
        if field not in possible:
            raise LabError(f"{field!r} can't be searched with {settings.model}: there are {', '.join(possible)}")
    _check_limits(trials, minutes)
    rows, _, _ = first_rows(settings, dataset)
    validation = dataset.pictures.loc[rows["val"]]
    plan = {
        "config": settings.to_json(),
        "search": ranges(settings, fields or usual(settings.model)),
        "trials": trials,
        "minutes": minutes,
        "classes": run_classes(settings, dataset),
        "data_hash": dataset.content_hash,
        "synthetic": dataset.synthetic,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "validation": {
            "pictures": len(validation),
            "photos": validation.photo.nunique() if dataset.photos_known else None,
        },
    }
    name = name or workspace.dated_name(settings.model)
    folder, storage = workspace.search_dir(name), _storage()
    with FileLock(workspace.lock_file("studies")), ExitStack() as undo:
        _sweep_unmade(name, storage)
        try:
            stored = optuna.create_study(storage=storage, study_name=name, direction="minimize")
        except optuna.exceptions.DuplicatedStudyError:
            raise LabError(f"the database has a study {name!r} already: choose another name") from None
        undo.callback(optuna.delete_study, study_name=name, storage=storage)
        with disk.new_folder(folder) as aside:
            background.Job(aside, "").tell(state="starting", reason="", data=settings.data)
        undo.callback(disk.discard, folder)
        stored.set_user_attr(PLAN, plan)
        undo.pop_all()  # it has its plan, by which `names` knows it: the study is there
    return Study(name)


def _sweep_unmade(name: str, storage: Any) -> None:
    """Frees the name of a study whose creation was killed; deletes only what is empty.

    What stands without a plan in a shared database may be what another workspace makes at this moment.
    """
    import optuna

    if workspace.database_is_shared():
        return
    kept = next((each for each in optuna.get_all_study_summaries(storage) if each.study_name == name), None)
    if kept is None or kept.user_attrs or kept.n_trials:
        return
    optuna.delete_study(study_name=name, storage=storage)
    folder = workspace.search_dir(name)
    if folder.is_dir() and [path.name for path in folder.iterdir()] == ["status.json"]:
        disk.discard(folder)


def reopen(study: Study, trials: int | None = None, minutes: float | None = None) -> None:
    """Makes an ended study ready to continue to `trials` in all; LabError where it can't, or has nothing left to do."""
    state = study.status()["state"]
    if state not in ENDED:
        raise LabError(f"study {study.name!r} can't go on: it is {state}")
    same_dataset(study.config.data, study.data_hash, study.name)
    plan = study.optuna_study.user_attrs[PLAN]
    plan |= {key: value for key, value in (("trials", trials), ("minutes", minutes)) if value is not None}
    _check_limits(plan["trials"], plan["minutes"])
    if (finished := study.finished()) >= plan["trials"]:
        raise LabError(f"study {study.name!r} has its {finished} trials: --trials gives it more in all")
    study.optuna_study.set_user_attr(PLAN, plan)
    study._take(plan)
    study.job.stop_file.unlink(missing_ok=True)


def start(study: Study) -> None:
    """Runs a study that was made or reopened in a process of its own."""
    study.job.start(WORKER)


def request_stop(study: Study) -> None:
    """Asks the study's worker to stop at the next batch; the trial that it is running doesn't count."""
    state = study.status()["state"]
    if state not in ("starting", "running"):
        raise LabError(f"study {study.name!r} isn't at work: it is {state}")
    study.job.request_stop()


def names() -> list[str]:
    """Our studies in the database, newest first."""
    return list(plans())


def plans() -> dict[str, dict[str, Any]]:
    """The plan of each of our studies, as it is kept, newest first; one of another version may have other settings."""
    if not workspace.database_exists():
        return {}
    import optuna

    kept = {each.study_name: each.user_attrs for each in optuna.get_all_study_summaries(_storage())}
    found = {name: attributes[PLAN] for name, attributes in kept.items() if PLAN in attributes}
    return dict(sorted(found.items(), key=lambda each: each[1]["created"], reverse=True))


def readable() -> tuple[list[Study], list[str]]:
    """The studies that can be read, newest first, and a line for each that can't."""

    def whole(name: str) -> Study:
        study = Study(name)
        study.status()
        return study

    return all_readable(names(), whole)


def find(reference: str) -> Study:
    """The study of that name, or of which it is a unique beginning; LabError where there is none."""
    return Study(workspace.find_name(reference, names(), ("study", "studies"), "`tune list` shows what there is"))


def remove(study: Study) -> None:
    """Deletes a study that isn't at work, its trials too; LabError where it is."""
    import optuna

    if (state := study.status()["state"]) not in ENDED:
        raise LabError(f"study {study.name!r} can't be removed: it is {state}")
    # The folder first: killed between the two it is still listed, and can be removed again.
    disk.discard(study.job.folder)
    optuna.delete_study(study_name=study.name, storage=_storage())


def _check_limits(trials: int, minutes: float) -> None:
    if not 1 <= trials <= MOST_TRIALS:
        raise LabError(f"trials must lie between 1 and {MOST_TRIALS:,}, not {trials}")
    if not 0 <= minutes <= MOST_MINUTES:
        raise LabError(f"minutes must lie between 0, for no limit, and {MOST_MINUTES:,}, not {minutes:g}")


def _load(name: str) -> Any:
    """Optuna's study called `name`."""
    missing = LabError(f"there is no study {name!r}: `tune list` shows what there is")
    if not workspace.database_exists():
        raise missing
    import optuna

    try:
        return optuna.load_study(study_name=name, storage=_storage())
    except KeyError:
        raise missing from None


_opening = threading.Lock()


def _storage() -> Any:
    """The database as Optuna sees it; LabError names it where it can't be used."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    from bloodcell_core.labels.database import refused, still_has

    url = workspace.database_url()
    try:
        with _opening:
            storage = _opened(url)
            if not still_has(storage.engine, "studies"):
                _opened.cache_clear()
                storage = _opened(url)
            return storage
    except (SQLAlchemyError, sqlite3.Error, ImportError, RuntimeError, OSError, ValueError,
            optuna.exceptions.OptunaError) as error:  # fmt: skip
        raise refused(error) from None


@lru_cache(maxsize=8)
def _opened(url: str) -> Any:
    """Kept: to open a database Optuna looks through all its tables, and a page asks for its studies again and again."""
    import optuna
    from sqlalchemy.pool import NullPool

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Two that make its tables at once are in each other's way. No connection is kept: a page's thread may not come back
    # for hours.
    with FileLock(workspace.lock_file("database")):
        url = url.replace("{", "{{").replace("}", "}}")  # Optuna fills in what stands in single ones
        return optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})
