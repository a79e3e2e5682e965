"""Runs as jobs: created, started in worker processes, stopped, resumed. Imports no torch by itself.

There is no server of jobs: each run's worker waits by itself until its device is free and no run that was queued
earlier waits for the same one, so the queue lives as long as its workers and needs no page to be open.
"""

from __future__ import annotations

import ctypes.util
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from bloodcell_core import background, disk, runs, workspace
from bloodcell_core.background import write_status
from bloodcell_core.config import TrainConfig
from bloodcell_core.data.dataset import Dataset, same_dataset
from bloodcell_core.data.splits import run_classes
from bloodcell_core.errors import LabError
from bloodcell_core.labels.overlays import of_config
from bloodcell_core.models import MODELS, model_info, network_settings
from bloodcell_core.runs import ENDED, LABELS_FILE, Run
from bloodcell_core.training.prepare import first_rows

WITHDRAW_SECONDS = 5.0  # that a waiting worker has to see that it is no longer wanted


def create_run(config: TrainConfig, group: str = "") -> Run:
    """Makes the folder of a new, queued run; LabError where it couldn't train: nothing is made then.

    The validation pictures are cut here, once, and kept in config.json: photos of the training split where the
    dataset brings no validation split of its own.
    """
    dataset = Dataset(config.data)
    config = checked(config, dataset)
    _, validation_photos, overlay = first_rows(config, dataset)
    name = runs.new_name(config.model)
    with disk.new_folder(workspace.run_dir(name)) as folder:
        write_config(
            folder, config, classes=run_classes(config, dataset), data_hash=dataset.content_hash,
            synthetic=dataset.synthetic, pretrained=model_info(config.model).pretrained and config.weights != "none",
            validation_photos=validation_photos, group=group,
        )  # fmt: skip
        if overlay:
            disk.write_json(folder / LABELS_FILE, overlay.to_json())
        write_status(folder, state="queued", queued=time.time(), queue=device_queue(config.device))
    if group:
        workspace.group_file(group).unlink(missing_ok=True)  # its figures are of all its runs
    return Run(name)


def checked(config: TrainConfig, dataset: Dataset) -> TrainConfig:
    """`config` with the whole path of its weights and the version of its labels; LabError where its device, its
    network, or one of them can't be had."""
    info = model_info(config.model)
    network_settings(config.model, config.width, config.dropout)
    _check_device(config.device)
    if overlay := of_config(config, dataset):  # the newest version of today need not be tomorrow's
        config = replace(config, labels=overlay.reference)
    from_file = config.weights not in ("default", "none")
    if from_file:  # the worker runs in another folder than who asks for it
        config = replace(config, weights=str(disk.expanded(config.weights).absolute()))
    if (info.pretrained and config.weights != "none") or from_file or config.model not in MODELS:
        _check_network(config, len(run_classes(config, dataset)))
    return config


def _check_device(wanted: str) -> None:
    if wanted not in ("auto", "cpu"):
        from bloodcell_core.device import choose_device

        choose_device(wanted)


def _check_network(config: TrainConfig, classes: int) -> None:
    """Builds the network once: missing weights, or a size that it can't see, are told before anything is made."""
    from bloodcell_core.models.network import network_of

    network_of(config, classes, config.weights)


def device_queue(wanted: str) -> str:
    """The queue in which a run waits, one a device. `auto` counts as CUDA where its driver is installed.

    Asking PyTorch would cost each waiting worker a few hundred megabytes.
    """
    if wanted == "auto":
        return "cuda-0" if _driver_is_installed() else "cpu"
    return "cuda-0" if wanted == "cuda" else wanted.replace(":", "-")


@cache
def _driver_is_installed() -> bool:
    """Looked for once in a process: where there is none, that starts a compiler and a linker, for 0.1 s a run."""
    return any(ctypes.util.find_library(name) for name in ("cuda", "nvcuda"))


def write_config(
    folder: Path,
    config: TrainConfig,
    *,
    classes: list[str],
    data_hash: str,
    synthetic: bool,
    pretrained: bool,
    validation_photos: list[str],
    group: str = "",
    **more: Any,
) -> None:
    """Writes the config.json of a new run, which `Run` reads; `more` is what only some kinds of run have."""
    disk.write_json(
        folder / "config.json",
        {
            "schema_version": workspace.SCHEMA_VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "config": config.to_json(),
            "classes": classes,
            "data_hash": data_hash,
            "synthetic": synthetic,
            "pretrained": pretrained,
            "validation_photos": validation_photos,
            "group": group,
        }
        | more,
    )


def write_results(folder: Path, predictions: pd.DataFrame, summary: dict[str, Any]) -> None:
    """Writes a run's results: predictions.parquet, and after it summary.json, which says that they are there."""
    with disk.write_atomic(folder / "predictions.parquet") as temporary:
        predictions.to_parquet(temporary, index=False)
    disk.write_json(folder / "summary.json", summary)


def discard_results(folder: Path) -> None:
    """Deletes what `write_results` wrote, before the weights that it belongs to are overwritten."""
    for file in ("summary.json", "predictions.parquet"):
        (folder / file).unlink(missing_ok=True)


def write_finished(folder: Path, predictions: pd.DataFrame, summary: dict[str, Any]) -> None:
    """Writes the results and the status of a run that is made at once, and never stood in a queue."""
    write_results(folder, predictions, summary)
    write_status(folder, state="done", reason="", queued=time.time(), queue="", ended=time.time())


def start(run: Run) -> None:
    """Starts the worker process of a queued run, which outlives this process."""
    background.start_worker(run.folder, "bloodcell_core.training.worker", run.name)


def request_stop(run: Run) -> None:
    """Asks the run's worker to stop at its next batch, keeping what it has."""
    if run.status()["state"] in ENDED:
        raise LabError(f"run {run.name!r} isn't at work: it is {run.status()['state']}")
    run.stop_file.touch()


def move(run: Run, place: int) -> None:
    """Puts a waiting run at a place of its queue, 1 is next; LabError where it doesn't wait."""
    line = runs.waiting(run.status()["queue"])
    others = [other for other in line if other.name != run.name]
    if len(others) == len(line):
        raise LabError(f"run {run.name!r} doesn't wait for its turn: it is {run.status()['state']}")
    at = min(max(place, 1), len(line)) - 1
    turns = [other.turn()[0] for other in others]
    # Between its new neighbours: theirs stay as they are, so two who move different runs don't undo each other.
    before = turns[at - 1] if at else turns[0] - 2.0 if turns else 0.0
    after = turns[at] if at < len(turns) else before + 2.0
    disk.write_json(run.folder / "turn.json", (before + after) / 2)


def withdraw(run: Run) -> None:
    """Takes a waiting run out of its queue and deletes it.

    LabError where it has trained before or since and is only stopped, or where its worker is slow.
    """
    if run.status()["state"] != "queued":
        raise LabError(f"run {run.name!r} doesn't wait for its turn: it is {run.status()['state']}")
    request_stop(run)
    deadline = time.monotonic() + WITHDRAW_SECONDS
    while run.status()["state"] == "queued" and time.monotonic() < deadline:
        time.sleep(0.05)
    if any(event["event"] == "step" for event in run.events()[0]):
        raise LabError(f"run {run.name!r} has trained already: it stops, isn't deleted, and keeps what it has")
    if run.status()["state"] == "queued":  # on a busy machine its worker takes longer to load what it needs
        raise LabError(f"run {run.name!r} is still starting: it will stop by itself, and can be deleted then")
    runs.remove(run)


def remove(name: str) -> None:
    """Deletes a run, a damaged one too; one that waits is taken out of its queue. LabError as `runs.remove`,
    `runs.remove_damaged` and `withdraw`."""
    try:
        run = Run(name)
        waits = run.status()["state"] == "queued"
    except LabError:
        runs.remove_damaged(name)
    else:
        (withdraw if waits else runs.remove)(run)


def requeue(run: Run) -> None:
    """Puts an interrupted, stopped or failed run back into the queue; `start` lets it go on from its checkpoint."""
    state = run.status()["state"]
    if state not in ("interrupted", "stopped", "failed"):
        raise LabError(f"run {run.name!r} is {state}: only an interrupted, stopped or failed run can be resumed")
    same_dataset(run.config.data, run.data_hash, run.name)
    run.stop_file.unlink(missing_ok=True)
    (run.folder / "turn.json").unlink(missing_ok=True)
    write_status(run.folder, state="queued", reason="", queued=time.time())


def resume(run: Run) -> None:
    """Continues a run that ended early in a process of its own. LabError where it can't."""
    requeue(run)
    start(run)


def train_detached(config: TrainConfig) -> Run:
    """Makes a run and starts its worker, which outlives this process. LabError where it can't."""
    run = create_run(config)
    start(run)
    return run
