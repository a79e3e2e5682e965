"""The worker process of a training: `python -m bloodcell_core.training.worker RUN`.

It holds the run's lock for its whole life, waits for its turn on the device, trains, scores the test split once
with the best weights, and leaves everything in the run's folder. Whoever started it only reads there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout

from bloodcell_core import runs, workspace
from bloodcell_core.background import (
    START_GRACE,
    StopRequested,
    end_of,
    is_held,
    run_worker,
    write_status,
)
from bloodcell_core.data.dataset import Dataset, same_dataset
from bloodcell_core.data.splits import run_pictures
from bloodcell_core.errors import LabError, refusal
from bloodcell_core.labels.overlays import of_run
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.runs import ENDED, Run
from bloodcell_core.training.jobs import write_results
from bloodcell_core.training.memory import keep_freed_memory
from bloodcell_core.training.team import ALONE, Team

if TYPE_CHECKING:
    import numpy as np

    from bloodcell_core.device import Device
    from bloodcell_core.training.loop import LabelledPictures, TrainState

QUEUE_POLL = 0.5  # seconds between two looks at the queue

Say = Callable[[str], None]
Counts = Callable[[str], Progress]
"""Given what is counted, returns the callback for its progress."""


def work(run: Run, say: Say = print, team: Team = ALONE, counts: Counts = lambda what: no_progress) -> str:
    """Trains the run from wherever it stands to its end and returns the state it ended in.

    `say` is called with each message, and what `counts` returns with the progress of each part. In a `team` this is for
    the leading process; the others `follow`. LabError where another worker has the run, or has ended it.
    """
    state = "failed"
    try:
        state = _work(run, say, team, counts)
        return state
    finally:
        if team.met():
            team.part(failed=state == "failed")
        else:  # it failed or was stopped before: the others must not wait for it
            team.assemble(run.config.device)
            team.part()


def follow(team: Team, wanted: str) -> None:
    """What the other processes of a team do, on the device `wanted`: train the run that the leader names."""
    failed = True
    try:
        if name := team.assemble(wanted):
            from bloodcell_core.device import memory_told
            from bloodcell_core.training.loop import Hooks, NonFiniteLoss, train

            run = Run(name)
            begun = _begin(run, team)
            with suppress(NonFiniteLoss), memory_told():  # of the loss the leader tells
                train(run.config, begun.state, begun.training, begun.validation, begun.device, Hooks(), team)
        failed = False
    finally:
        team.part(failed)


def _work(run: Run, say: Say, team: Team, counts: Counts) -> str:
    try:
        lock = run.lock.acquire(timeout=START_GRACE)
    except Timeout:
        raise LabError(f"run {run.name!r} is at work in another process") from None
    with lock, ExitStack() as held:
        state = run.recorded_status()["state"]
        if state in ENDED:
            raise LabError(f"run {run.name!r} is {state}: `runs resume` queues it anew unless it is done")
        for half_written in run.folder.glob(".*.*"):  # by a worker that was killed
            half_written.unlink(missing_ok=True)

        def do() -> dict[str, Any]:
            held.enter_context(_wait_for_turn(run, say))  # until the end is told: the next run begins after this one
            # Only now: a run that waits in the queue should not hold torch in memory.
            from bloodcell_core.device import memory_told

            with memory_told():
                stopped = _train(run, say, team, counts)
            return {"state": "stopped", "reason": "stopped on request"} if stopped else {}

        end = end_of(do, run.folder, "stopped while it waited")
        state, reason = end["state"], end["reason"]
        try:
            write_status(run.folder, **end, ended=time.time())
        except OSError as error:  # a workspace that can't be written at all: readers see an interrupted run
            raise LabError(f"{run.name}: {reason or state}, and its state can't be kept: {refusal(error)}") from None
        if state == "done":  # never resumed, and the checkpoint is thrice the weights
            (run.folder / "checkpoint.pt").unlink(missing_ok=True)
        say(f"{run.name}: {state}" + (f" ({reason})" if reason else ""))
    return str(state)


def _wait_for_turn(run: Run, say: Say) -> Any:
    """The device's lock, once it is free and no earlier run waits for it."""
    queue = run.status()["queue"]

    def is_next() -> bool:
        run.turn()  # LabError where its place is damaged: it would wait for ever, as no place is its own
        return [waiting.name for waiting in runs.waiting(queue)[:1]] == [run.name]

    return wait_for_device(
        queue,
        is_next,
        stopped=run.stop_file.exists,
        say=lambda: say(f"{run.name}: waiting for {queue}, another run is using it"),
    )


def wait_for_device(
    queue: str, is_next: Callable[[], bool], stopped: Callable[[], bool], say: Callable[[], None]
) -> Any:
    """The lock of a queue's device, held, once it is free and `is_next`; `say` is called once if that isn't at once.

    Raises StopRequested as soon as `stopped`.
    """
    lock = FileLock(workspace.lock_file(f"device-{queue}"))
    waiting_said = False
    while True:
        if stopped():
            raise StopRequested
        if not is_held(lock) and is_next():  # of many runs the line takes long to be read
            try:
                return lock.acquire(timeout=0)
            except Timeout:
                pass
        if not waiting_said:
            say()
            waiting_said = True
        time.sleep(QUEUE_POLL)


class _Begun(NamedTuple):
    """A training before its next step."""

    device: Device
    dataset: Dataset
    rows: dict[str, np.ndarray]
    view: np.ndarray
    training: LabelledPictures
    validation: LabelledPictures
    state: TrainState
    metrics_bytes: int
    """How long metrics.jsonl was at the checkpoint that it goes on from; 0 for a first start."""


def _begin(run: Run, team: Team, progress: Progress = no_progress) -> _Begun:
    """Loads pictures, network and checkpoint; LabError where something isn't there any more. Writes nothing."""
    from bloodcell_core.device import choose_device
    from bloodcell_core.training import checkpoint
    from bloodcell_core.training.prepare import first_state, load_pictures, split_rows

    config = run.config
    device = choose_device(team.device(config.device))
    dataset = same_dataset(config.data, run.data_hash, run.name)
    overlay = of_run(run)
    rows = split_rows(config, dataset, run.validation_photos, overlay)
    view, training, validation = load_pictures(config, dataset, rows, device, progress, overlay)
    file = run.folder / "checkpoint.pt"
    # A checkpoint brings its own weights: a resumed run must not need the pretrained ones again.
    state = first_state(config, len(run.classes), device, "none" if file.exists() else config.weights)
    written = checkpoint.load(file, state, device.device) if file.exists() else 0
    return _Begun(device, dataset, rows, view, training, validation, state, written)


def _train(run: Run, say: Say, team: Team, counts: Counts) -> bool:
    """Trains and scores the run; True where a stop was asked for."""
    write_status(
        run.folder, state="running", phase="starting", started=time.time(), pictures_per_second=None, seconds_left=None,
        note="",
    )  # fmt: skip
    import numpy as np

    from bloodcell_core.training.loop import NonFiniteLoss, train
    from bloodcell_core.training.reporter import Reporter
    from bloodcell_core.training.sampling import pictures_a_step, steps_per_epoch

    config = run.config
    begun = _begin(run, team, _phase(run, f"building the {config.view} view", counts))
    reason = begun.device.reason + (f"; {team.size} processes" if team.size > 1 else "")
    say(f"{run.name}: {reason}")
    write_status(run.folder, device=reason)
    team.assemble(config.device, run.name)

    total_steps = config.epochs * steps_per_epoch(config, len(begun.training))
    a_step = pictures_a_step(config, len(begun.training))
    told = say, counts("steps")
    with Reporter(run, begun.metrics_bytes, total_steps, a_step, begun.device, *told) as reporter:
        broken: NonFiniteLoss | None = None
        try:
            finished = train(config, begun.state, begun.training, begun.validation, begun.device, reporter, team)
        except NonFiniteLoss as error:
            broken, finished = error, False
    if run.weights_file.exists():
        write_status(run.folder, phase="scoring the test split")
        kept = np.concatenate([begun.rows["val"], begun.rows["test"]])
        _score(run, begun.dataset, begun.view, kept, begun.device)
    elif finished:
        raise LabError("no epoch had a validation loss that is a number: try a lower learning rate")
    if broken:
        raise broken
    return not finished


def _phase(run: Run, what: str, counts: Counts) -> Progress:
    count = counts(what)

    def progress(done: int, total: int) -> None:
        if run.stop_file.exists():
            raise StopRequested
        write_status(run.folder, phase=f"{what}: {done:,} of {total:,}")
        count(done, total)

    return progress


def _score(run: Run, dataset: Dataset, view: np.ndarray, rows: np.ndarray, device: Device) -> None:
    """Predicts the kept rows with the best weights; writes predictions, summary and likeness.

    The probabilities are calibrated by a temperature that is fitted on the validation rows alone, on the labels that
    the run was trained with; the table has the dataset's own.
    """
    from safetensors import safe_open

    from bloodcell_core.evaluation.calibration import fitted_temperature
    from bloodcell_core.evaluation.predictions import predictions_table
    from bloodcell_core.evaluation.run_likeness import fit_run
    from bloodcell_core.evaluation.scoring import score
    from bloodcell_core.models.costs import cost
    from bloodcell_core.models.forward import predict_logits, softmax
    from bloodcell_core.models.network import trained_network
    from bloodcell_core.models.timing import time_of

    config, network = run.config, trained_network(run).to(device.device)
    pictures = run_pictures(config, dataset).loc[rows]
    # The run's own validation pictures stand in the train split there; here they are what they were used as.
    pictures = pictures.assign(split=pictures.split.replace("train", "val"))
    logits = predict_logits(network, view, device, rows=rows)
    raw = predictions_table(pictures, softmax(logits), run.classes)
    validation, overlay = raw[raw.split == "val"], of_run(run)
    fitted = fitted_temperature(overlay.relabelled(validation, run.classes) if overlay else validation, run.classes)
    table = predictions_table(pictures, softmax(logits, fitted["temperature"]), run.classes)
    epochs = [event for event in run.events()[0] if event["event"] == "epoch"]
    with safe_open(run.weights_file, "np") as weights:
        best = json.loads(weights.metadata()["epoch"])
    test = table[table.split == "test"].reset_index(drop=True)
    write_results(
        run.folder,
        table,
        {
            "best_epoch": best["epoch"],
            "epochs_trained": len(epochs),
            "training_seconds": round(sum(event["seconds"] for event in epochs), 1),
            "val_accuracy": best["val_accuracy"],
            "val_loss": best["val_loss"],
            **cost(config.model, config.size, config.width, len(run.classes))._asdict(),
            **time_of(network, config.size, device),
            **fitted,
            "test": score(test, run.classes) if len(test) else None,
        },
    )
    with suppress(LabError):  # too few photos to tell: whoever asks is told so
        fit_run(run, dataset, view, network, device).save(run.likeness_file)


def main(arguments: list[str]) -> int:
    """Trains the run that is named; the exit code."""
    keep_freed_memory()
    return run_worker(lambda: work(Run(arguments[0]), say=lambda line: print(line, flush=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
