"""The worker process of a search: `python -m bloodcell_core.training.search STUDY`.

It takes the device anew for each trial and lets waiting runs go first: someone waits for them. What trial k tries
depends on the study's seed, on k, and on the finished trials before it, so a study that was interrupted tries the same
settings as one that wasn't.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import torch
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from bloodcell_core import runs
from bloodcell_core.background import StopRequested, run_worker
from bloodcell_core.data.dataset import same_dataset
from bloodcell_core.device import choose_device, memory_told
from bloodcell_core.errors import LabError
from bloodcell_core.training.jobs import device_queue
from bloodcell_core.training.loop import Hooks, train
from bloodcell_core.training.memory import keep_freed_memory
from bloodcell_core.training.prepare import first_rows, first_state, load_pictures
from bloodcell_core.training.reporter import HEARTBEAT
from bloodcell_core.training.sampling import seed_of, steps_per_epoch
from bloodcell_core.training.search_space import start_values
from bloodcell_core.training.studies import Study, best_of
from bloodcell_core.training.worker import wait_for_device

DRAWN_AT_RANDOM = 5  # finished trials before the sampler learns from them
NEVER_PRUNED = 4  # trials that went to their end before others are measured by them
FIRST_JUDGED = 2  # the epoch after which trials may be pruned: after the first, slow starters would be


def work(study: Study, say: Callable[[str], None] = print) -> str:
    """Does what is left of the study in this process and returns the state it ended in.

    Raises LabError where another process has it, or it was begun in another workspace.
    """
    status = study.status()
    if status["state"] == "elsewhere":
        raise LabError(f"study {study.name!r} can't go on: {status['reason']}")
    end = study.job.work(lambda: _search(study, say))
    say(f"{study.name}: {end['state']}" + (f" ({end['reason']})" if end["reason"] else ""))
    return str(end["state"])


def _search(study: Study, say: Callable[[str], None]) -> dict[str, Any]:
    study.job.tell(state="running", reason="", phase="starting", trial=None, epoch=0, seconds_left=None)
    for lost in study.optuna_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.optuna_study.tell(lost.number, state=TrialState.FAIL)  # we have the lock: its process is gone
    queue = device_queue(study.config.device)
    started, finished_before = time.monotonic(), study.finished()
    runner: _TrialRunner | None = None
    while (finished := study.finished()) < study.trials_wanted:
        if study.minutes and time.monotonic() - started > 60 * study.minutes:
            return {"reason": f"the time was up after {finished} of {study.trials_wanted} trials"}
        study.job.tell(phase="waiting for the device")
        with wait_for_device(
            queue,
            is_next=lambda: not runs.waiting(queue),
            stopped=study.job.stop_requested,
            say=lambda: say(f"{study.name}: waiting for {queue}, runs go first"),
        ):
            runner = runner or _TrialRunner(study, say)  # only now: pictures may go to the device's memory
            runner.do_trial(finished)
            torch.cuda.empty_cache()  # the runs that go first can't have what PyTorch keeps for the next trial
        each = (time.monotonic() - started) / (finished + 1 - finished_before)
        study.job.tell(seconds_left=round(each * (study.trials_wanted - finished - 1)))
    return {}


class _TrialRunner:
    """Runs trials one after another, on the same pictures and device."""

    def __init__(self, study: Study, say: Callable[[str], None]):
        self.study, self.say = study, say
        config, dataset = study.config, same_dataset(study.config.data, study.data_hash, study.name)
        self.device = choose_device(config.device)
        say(f"{study.name}: {self.device.reason}")
        study.job.tell(device=self.device.reason)
        rows, _, overlay = first_rows(config, dataset)
        seen = {split: rows[split] for split in ("train", "val")}  # the test split stays out of any choice
        _, self.training, self.validation = load_pictures(config, dataset, seen, self.device, self._building, overlay)
        study.optuna_study.pruner = optuna.pruners.MedianPruner(NEVER_PRUNED, FIRST_JUDGED)

    def _building(self, done: int, total: int) -> None:
        if self.study.job.stop_requested():
            raise StopRequested
        self.study.job.tell(phase=f"building the {self.study.config.view} view: {done:,} of {total:,}")

    def do_trial(self, finished: int) -> None:
        """Trains with the next settings; the first are those that the search starts from, to have something to beat."""
        study, optuna_study = self.study, self.study.optuna_study
        optuna_study.sampler = optuna.samplers.TPESampler(
            seed=seed_of(study.config.seed, 4, finished), n_startup_trials=DRAWN_AT_RANDOM
        )
        if not finished and not optuna_study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            optuna_study.enqueue_trial(start_values(study.config, study.ranges))
        trial = optuna_study.ask(
            {field: FloatDistribution(*limits[:2], log=limits.log) for field, limits in study.ranges.items()}
        )
        config = replace(study.config, **trial.params)
        hooks = _TrialHooks(study, trial, config.epochs * steps_per_epoch(config, len(self.training)))
        reason = ""
        try:
            with memory_told():
                state = first_state(config, len(study.classes), self.device, config.weights)
                if not train(config, state, self.training, self.validation, self.device, hooks):
                    raise StopRequested
        except optuna.TrialPruned:
            reason = "worse than half of the others at this epoch"
        except LabError as error:  # the loss was no number, or a wide network didn't fit
            reason = str(error)
            if not finished:
                raise LabError(f"the settings to start from can't be trained: {reason}") from None
        except StopRequested:
            optuna_study.tell(trial, state=TrialState.FAIL)
            raise
        if not reason and not math.isfinite(state.best_loss):
            reason = "no epoch had a validation loss that is a number"
        trial.set_user_attr("reason", reason)
        trial.set_user_attr("val_accuracy", hooks.best_accuracy)
        how_it_ended = TrialState.PRUNED if reason else TrialState.COMPLETE
        optuna_study.tell(trial, None if reason else state.best_loss, how_it_ended)
        self._say_how_it_went(trial.number + 1)

    def _say_how_it_went(self, number: int) -> None:
        trials = self.study.trials()
        best = best_of(trials)
        trial = next(each for each in trials if each["number"] == number)
        loss = "none" if trial["val_loss"] is None else f"{trial['val_loss']:.4f}"
        accuracy = "" if trial["val_accuracy"] is None else f", accuracy {trial['val_accuracy']:.4f}"
        settings = ", ".join(f"{field} {value:.4g}" for field, value in trial["settings"].items())
        self.say(
            f"trial {number}: {trial['state']} after epoch {trial['epochs']}, validation loss {loss}{accuracy}"
            f"{', best so far' if best == trial else ''} ({trial['seconds']:.0f} s): {settings}"
        )


class _TrialHooks(Hooks):
    """Tells Optuna the validation loss of each epoch, and how far the trial is to who watches."""

    def __init__(self, study: Study, trial: optuna.Trial, steps: int):
        self._study, self._trial, self._steps = study, trial, steps
        self.best_accuracy: float | None = None
        self._last_beat = 0.0
        self._beat(step=0, epoch=0)

    def log(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            if event["event"] == "epoch":
                self._take_epoch(event)
            elif time.monotonic() - self._last_beat > HEARTBEAT:
                self._beat(step=event["step"])

    def _take_epoch(self, event: dict[str, Any]) -> None:
        self._trial.report(event["val_loss"], event["epoch"])
        if event["best"]:
            self.best_accuracy = event["val_accuracy"]
        self._beat(step=event["step"], epoch=event["epoch"])
        if event["epoch"] < self._study.config.epochs and self._trial.should_prune():
            raise optuna.TrialPruned

    def _beat(self, **progress: int) -> None:
        self._last_beat = time.monotonic()
        self._study.job.tell(phase="training", trial=self._trial.number + 1, total_steps=self._steps, **progress)

    def stop_requested(self) -> bool:
        return self._study.job.stop_requested()


def main(arguments: list[str]) -> int:
    """Runs the study that is named; the exit code."""
    keep_freed_memory()
    return run_worker(lambda: work(Study(arguments[0]), say=lambda line: print(line, flush=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
