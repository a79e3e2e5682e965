"""Runs as jobs: real worker processes, stopped, killed, queued and resumed, and what others may read meanwhile."""

from __future__ import annotations

import errno
import functools
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from bloodcell_core import background, cli, disk, runs, workspace
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.views import build_view
from bloodcell_core.device import choose_device
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.calibration import fitted_temperature, uncalibrated
from bloodcell_core.evaluation.predictions import predictions_table, probabilities_of
from bloodcell_core.evaluation.scoring import evaluated
from bloodcell_core.models.forward import predict_probabilities
from bloodcell_core.models.network import load_network
from bloodcell_core.runs import ENDED, Run
from bloodcell_core.training import jobs, loop, reporter, search, worker
from bloodcell_core.training.prepare import split_rows
from tests.test_import_jobs import Child
from tests.training_fixtures import Killed, drawn, losses, quiet, tiny, train_here, wait_for

ROOT = Path(__file__).parent.parent

pytest_plugins = ["tests.training_fixtures"]
pytestmark = pytest.mark.usefixtures("lab")


@pytest.fixture(autouse=True)
def _no_test_waits_for_ever(request: pytest.FixtureRequest) -> Iterator[None]:
    def late(*_: Any) -> None:
        raise TimeoutError("a test waited in vain")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(1800 if request.node.get_closest_marker("slow") else 180)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def state_of(run: Run) -> str:
    return str(run.status()["state"])


def raw_status(run: Run) -> dict[str, Any]:
    """What stands in the file, without the correction that a reader makes."""
    status: dict[str, Any] = disk.read_json(run.folder / "status.json")
    return status


def wait_until(run: Run, *states: str) -> None:
    wait_for(lambda: raw_status(run)["state"] in states, f"{run.name} is {' or '.join(states)}")


def process_of(run: Run) -> subprocess.Popen[bytes]:
    return background._workers[run.folder]


def same_weights(one: Run, other: Run) -> bool:
    first, second = load_file(one.weights_file), load_file(other.weights_file)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def rewrite(images: pd.DataFrame) -> None:
    """Changes the demo's table of pictures."""
    file = workspace.dataset_dir("demo") / "images.parquet"
    file.unlink()  # it is a hard link: the other tests' stays as it is
    images.to_parquet(file)


# A run from beginning to end


def test_a_worker_process_trains_to_the_end_and_its_readers_never_see_half_a_file(done: Run) -> None:
    run = jobs.train_detached(tiny())
    offset, seen, states = 0, [], [state_of(run)]
    while process_of(run).poll() is None:
        events, offset = run.events(offset)
        seen += events
        states.append(run.describe()["state"])
        if run.weights_file.exists():
            load_network(run.config, len(run.classes), run.weights_file)
    assert process_of(run).returncode == 0
    assert seen + run.events(offset)[0] == run.events()[0]
    states.append(state_of(run))
    assert list(dict.fromkeys(states)) == ["queued", "running", "done"]

    facts = run.describe()
    assert (facts["state"], facts["reason"], facts["epoch"]) == ("done", "", 3)
    files = {path.name for path in run.folder.iterdir()}
    assert files >= {
        "config.json", "status.json", "metrics.jsonl", "worker.log", "model.safetensors", "predictions.parquet",
        "summary.json",
    }  # fmt: skip
    assert not files & {"checkpoint.pt", "stop"}
    assert not [name for name in files if name.startswith(".")]
    assert "epoch 3/3" in run.log_tail()
    # A run in this process with the same settings is the same run.
    assert losses(run) == losses(done)
    assert same_weights(run, done)
    pd.testing.assert_frame_equal(run.predictions(), done.predictions())


def test_the_summary_is_what_evaluate_says_to_the_digit(done: Run) -> None:
    summary, scores = done.summary(), evaluated(done)[0]
    assert summary["test"].keys() >= {"accuracy", "confusion", "intervals", "by_photo"}
    assert {key: scores[key] for key in summary["test"]} == summary["test"]


def test_the_summary_tells_of_the_best_epoch(done: Run) -> None:
    summary = done.summary()
    epochs = [event for event in done.events()[0] if event["event"] == "epoch"]
    best = min(epochs, key=lambda event: event["val_loss"])
    for key in ("val_loss", "val_accuracy"):
        assert summary[key] == best[key]
    assert (summary["best_epoch"], summary["epochs_trained"]) == (best["epoch"], 3)
    validation = done.predictions().query("split == 'val'")
    assert summary["val_accuracy"] == pytest.approx((validation.label == validation.predicted).mean())


def test_predictions_stand_for_every_validation_and_test_picture_and_no_other(done: Run) -> None:
    pictures = Dataset("demo").pictures
    table = done.predictions()
    assert list(table.columns) == [
        "image_id", "split", "label", "predicted", "source_photo", "copies", *(f"p_{name}" for name in done.classes)
    ]  # fmt: skip
    test = pictures[pictures.split == "test"]
    validation = pictures[(pictures.split == "train") & pictures.photo.isin(done.validation_photos)]
    assert set(table.image_id[table.split == "test"]) == set(test.image_id)
    assert set(table.image_id[table.split == "val"]) == set(validation.image_id)
    assert len(table) == len(test) + len(validation)
    labels = pictures.set_index("image_id").label
    assert (table.label == table.image_id.map(labels)).all()


def test_what_a_run_keeps_is_calibrated_on_its_validation_pictures_alone(done: Run) -> None:
    dataset, table, summary = Dataset("demo"), done.predictions(), done.summary()
    rows = dataset.pictures.reset_index().set_index("image_id")["index"].loc[table.image_id]
    view = build_view(dataset, done.config.view, done.config.size, done.config.crop)
    network = load_network(done.config, len(done.classes), done.weights_file)
    device = choose_device("cpu")
    raw = predictions_table(table, predict_probabilities(network, view[rows], device), done.classes)
    fitted = fitted_temperature(raw[raw.split == "val"], done.classes)
    assert fitted["temperature_reason"] == ""
    assert {key: summary[key] for key in fitted} == fitted
    assert done.temperature == summary["temperature"] != 1
    kept = predict_probabilities(network, view[rows], device, temperature=done.temperature)
    np.testing.assert_allclose(probabilities_of(table, done.classes), kept, atol=1e-9)
    np.testing.assert_allclose(
        probabilities_of(uncalibrated(table, done.classes, done.temperature), done.classes),
        probabilities_of(raw, done.classes),
        rtol=1e-9,
    )


def test_a_run_without_a_summary_has_the_temperature_1(done: Run) -> None:
    assert done.temperature != 1.0
    (done.folder / "summary.json").unlink()
    assert done.temperature == 1.0


def test_no_photo_is_trained_on_and_validated_on(done: Run) -> None:
    dataset = Dataset("demo")
    rows = split_rows(done.config, dataset, done.validation_photos)
    photos = {split: set(dataset.pictures.photo[rows[split]]) for split in rows}
    assert photos["val"] == set(done.validation_photos)
    assert not photos["train"] & photos["val"]
    assert not photos["train"] & photos["test"]
    assert sorted(np.concatenate(list(rows.values()))) == list(range(len(dataset.pictures)))


def test_photographs_of_one_cell_are_not_parted_by_the_validation_cut() -> None:
    """Every two photos of a class show the same cell."""
    images = Dataset("demo").images
    number = images.source_photo.str[-4:].astype(int)
    rewrite(images.assign(scene=images.label + (number // 2).astype(str)))
    dataset = Dataset("demo")
    scenes = dataset.pictures.scene
    for seed in range(8):
        rows = split_rows(tiny(seed=seed), dataset, jobs.create_run(tiny(seed=seed)).validation_photos)
        assert len(rows["val"])
        assert not set(scenes[rows["val"]]) & set(scenes[rows["train"]])


def test_the_validation_cut_is_the_seeds_and_is_kept_in_the_config() -> None:
    first, again, other = (jobs.create_run(tiny(seed=seed)) for seed in (1, 1, 2))
    assert first.validation_photos == again.validation_photos != other.validation_photos
    assert Run(first.name).validation_photos == first.validation_photos


def test_a_datasets_own_validation_split_is_used_as_it_is(lab: Path) -> None:
    images = Dataset("demo").images
    own = images.index[images.split == "train"][::5]
    images.loc[own, "split"] = "val"
    rewrite(images)
    run = train_here(epochs=1)
    assert run.validation_photos == []
    table = run.predictions()
    assert set(table.image_id[table.split == "val"]) == set(images.image_id[own])


def test_two_runs_of_one_seed_are_equal_and_of_another_are_not(done: Run) -> None:
    assert same_weights(train_here(), done)
    assert not same_weights(train_here(seed=1), done)


def test_a_run_never_overwrites_another(done: Run) -> None:
    before = {path.name: path.read_bytes() for path in done.folder.iterdir()}
    train_here(), train_here()
    assert len(runs.names()) == 3
    assert {path.name: path.read_bytes() for path in done.folder.iterdir()} == before


# What a run can't be made of


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "nothing"}, "there is no dataset 'nothing'"),
        ({"data": "../demo"}, "can't name a dataset"),
        ({"model": "vgg"}, "no network is called 'vgg'"),
        ({"device": "cuda:7"}, "cuda:7"),
        ({"device": "tpu"}, "device is auto, cpu, cuda or cuda:N"),
        ({"weights": "w.pth"}, "basic_cnn has no pretrained weights"),
        ({"pictures_per_epoch": 1}, "an epoch needs at least two pictures"),
        ({"model": "resnet18", "weights": "nowhere.pth"}, "there is no such file"),
        ({"model": "resnet18", "weights": "~nobody-of-that-name/w.pth"}, "there is no home folder of that name here"),
    ],
)
def test_what_cannot_train_makes_no_run_folder(changes: dict[str, Any], said: str, lab: Path) -> None:
    before = sorted(lab.rglob("*"))
    with pytest.raises(LabError, match=said):
        jobs.create_run(tiny(**changes))
    assert sorted(lab.rglob("*")) == before


def test_too_few_photos_to_validate_on_make_no_run_folder(lab: Path) -> None:
    images = Dataset("demo").images
    rewrite(images.assign(source_photo=images.label, scene=images.label))  # one photo a class
    with pytest.raises(LabError, match=r"too few training photos .*: no class has two of them\."):
        jobs.create_run(tiny())
    assert len(runs.names()) == 1


def test_a_weights_file_is_found_from_wherever_the_worker_runs(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bloodcell_core.models.resnet18 import build

    torch.save(build(1000, 32).state_dict(), tmp_path / "mine.pth")
    monkeypatch.chdir(tmp_path)
    run = jobs.create_run(tiny(model="resnet18", weights="mine.pth"))
    assert run.config.weights == str(tmp_path / "mine.pth")
    assert run.pretrained


# Stopping


def test_a_stopped_run_goes_on_to_the_end_of_an_unbroken_one(done: Run) -> None:
    run = jobs.create_run(tiny())

    def stop_in_second_epoch(line: str) -> None:
        if "epoch 1/3" in line:
            (run.folder / "stop").touch()

    assert worker.work(run, stop_in_second_epoch) == "stopped"
    assert len([event for event in losses(run) if event["event"] == "epoch"]) == 1
    jobs.requeue(run)
    assert state_of(run) == "queued"
    assert worker.work(run, quiet) == "done"
    assert losses(run) == losses(done)
    assert same_weights(run, done)
    assert run.summary()["test"] == done.summary()["test"]


def test_a_run_stopped_in_mid_epoch_goes_on_from_that_very_step(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run, asked = jobs.create_run(tiny()), []

    def stop_before_twelfth_step(self: reporter.Reporter) -> bool:
        asked.append(1)
        if len(asked) == 12:  # of 24; the second epoch's fourth
            (run.folder / "stop").touch()
        return (run.folder / "stop").exists()

    monkeypatch.setattr(reporter.Reporter, "stop_requested", stop_before_twelfth_step)
    assert worker.work(run, quiet) == "stopped"
    steps = [event["step"] for event in run.events()[0] if event["event"] == "step"]
    values = torch.load(run.folder / "checkpoint.pt", weights_only=True)
    assert (values["epoch"], values["step"]) == (1, steps[-1])
    assert steps[-1] % 8, "it stopped at an epoch's end, and shows nothing"
    jobs.requeue(run)
    assert worker.work(run, quiet) == "done"
    assert losses(run) == losses(done)
    assert same_weights(run, done)


def test_a_checkpoint_is_written_every_few_minutes_besides_at_each_epochs_end(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(reporter.checkpoint, "save", lambda file, state, size: saved.append(state.step))
    monkeypatch.setattr(loop, "LOG_EVERY", 4)
    train_here(epochs=2)
    assert saved == [8, 16]
    saved.clear()
    monkeypatch.setattr(reporter, "CHECKPOINT_SECONDS", -1.0)  # they are over at each look
    train_here(epochs=2)
    assert saved == [4, 8, 8, 12, 16, 16]


def test_a_run_stopped_before_its_first_epoch_has_no_weights_and_says_so() -> None:
    run = jobs.create_run(tiny())
    assert worker.work(run, lambda line: (run.folder / "stop").touch()) == "stopped"
    assert not run.weights_file.exists()
    with pytest.raises(LabError, match=r"has no predictions: it hasn't finished \(stopped\)"):
        run.predictions()


def stopped_and_scored() -> Run:
    """A run that was stopped after its first epoch."""
    run = jobs.create_run(tiny())
    stop = lambda line: (run.folder / "stop").touch() if "epoch 1/3" in line else None  # noqa: E731
    assert worker.work(run, stop) == "stopped"
    assert run.summary()["best_epoch"] == 1
    return run


def results(run: Run) -> dict[str, bytes]:
    names = ("model.safetensors", "summary.json", "predictions.parquet")
    return {name: (run.folder / name).read_bytes() for name in names if (run.folder / name).exists()}


def test_a_stopped_run_whose_checkpoint_is_damaged_keeps_its_results_when_it_is_resumed() -> None:
    run = stopped_and_scored()
    before = results(run)
    os.truncate(run.folder / "checkpoint.pt", 100)
    jobs.requeue(run)
    assert worker.work(run, quiet) == "failed"
    assert results(run) == before


def test_a_resumed_run_taken_out_of_the_queue_keeps_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    run = stopped_and_scored()
    before = results(run)
    jobs.requeue(run)
    monkeypatch.setattr(jobs, "WITHDRAW_SECONDS", 0.0)
    with pytest.raises(LabError, match="has trained already: it stops, isn't deleted"):
        jobs.withdraw(run)
    assert worker.work(run, quiet) == "stopped"
    assert results(run) == before


def test_results_are_gone_before_the_weights_that_they_belong_to_are(monkeypatch: pytest.MonkeyPatch) -> None:
    run = stopped_and_scored()
    weights = results(run)["model.safetensors"]
    jobs.requeue(run)

    def die(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(reporter, "save_weights", die)
    with pytest.raises(Killed):
        worker.work(run, quiet)
    assert results(run) == {"model.safetensors": weights}


# Killed


def kill_and_resume(run: Run, kills: int, seed: int) -> int:
    """Kills the run's worker at seeded moments, lets a new one go on each time; how often it was killed."""
    moments, killed = random.Random(seed), 0
    metrics, log = run.folder / "metrics.jsonl", run.folder / "worker.log"

    def size(file: Path) -> int:
        return file.stat().st_size if file.exists() else 0

    jobs.start(run)
    while True:
        process = process_of(run)
        if killed < kills:
            if moments.random() < 0.25:  # somewhere in its start
                target, file = size(log) + moments.randrange(2), log
            else:  # somewhere in training; the file may first be cut back to the checkpoint
                target, file = moments.randrange(1, 2500) + size(metrics), metrics
            wait_for(lambda: size(file) >= target or process.poll() is not None, "it is far enough to be killed")  # noqa: B023
            process.kill()
        code = process.wait(120)
        if code == 0:
            return killed
        assert code == -signal.SIGKILL, run.log_tail()
        killed += 1
        check_what_a_killed_worker_left(run)
        if state_of(run) == "queued":  # killed before it had begun: another worker takes it as it is
            jobs.start(run)
        else:
            assert state_of(run) == "interrupted"
            jobs.resume(run)


def check_what_a_killed_worker_left(run: Run) -> None:
    """Every file under its own name is whole."""
    Run(run.name).describe()
    run.events()
    if run.weights_file.exists():
        load_file(run.weights_file)
    if (run.folder / "checkpoint.pt").exists():
        values = torch.load(run.folder / "checkpoint.pt", weights_only=True)
        assert values["metrics_bytes"] <= (run.folder / "metrics.jsonl").stat().st_size


def killed_often(kills: int, epochs: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken = train_here(epochs=epochs)
    run = jobs.create_run(tiny(epochs=epochs))
    assert kill_and_resume(run, kills, seed) == kills, "it ended before all the kills: give it more epochs"
    assert state_of(run) == "done"
    assert losses(run) == losses(unbroken)
    assert same_weights(run, unbroken)
    pd.testing.assert_frame_equal(run.predictions(), unbroken.predictions())
    assert run.summary()["test"] == unbroken.summary()["test"]
    assert not list(run.folder.glob(".*")), "what the killed workers had half written is still there"


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_an_unbroken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    killed_often(kills=3, epochs=20, seed=4, monkeypatch=monkeypatch)


@pytest.mark.slow
def test_a_run_killed_fifty_times_ends_as_an_unbroken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    killed_often(kills=50, epochs=250, seed=12, monkeypatch=monkeypatch)


class Crash:
    """Dies at the n-th call of one of the functions that write in a run's folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, moment: int):
        self.moment, self.calls = moment, 0
        for owner, name in (
            (reporter, "write_status"),
            (worker, "write_status"),
            (reporter.Reporter, "log"),
            (reporter.Reporter, "keep_best"),
            (reporter.checkpoint, "save"),
            (disk, "write_json"),
        ):
            monkeypatch.setattr(owner, name, self._wrap(getattr(owner, name)))

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls > self.moment:
                raise Killed
            return function(*args, **kwargs)

        return wrapped


def test_a_worker_that_dies_between_any_two_writes_can_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"epochs": 2, "pictures_per_epoch": 12}  # as many writes as with all pictures
    unbroken = train_here(**few)
    moment, survived = 0, False
    while not survived:
        run = jobs.create_run(tiny(**few))
        with monkeypatch.context() as patch:
            Crash(patch, moment)
            try:
                worker.work(run, quiet)
                survived = True
            except Killed:
                pass
        if state_of(run) == "interrupted":
            jobs.requeue(run)
        if state_of(run) != "done":
            assert worker.work(run, quiet) == "done"
        assert losses(run) == losses(unbroken), f"died at write {moment}"
        assert same_weights(run, unbroken), f"died at write {moment}"
        assert run.summary()["test"] == unbroken.summary()["test"]
        runs.remove(run)
        moment += 1
    assert moment > 20


def test_a_run_stopped_after_its_best_weights_were_written_but_not_told_is_still_scored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker dies between writing the first epoch's weights and logging that epoch; then a stop is asked for."""
    run = jobs.create_run(tiny())

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        keep = reporter.Reporter.keep_best
        patch.setattr(reporter.Reporter, "keep_best", lambda *args: (keep(*args), die()))
        with pytest.raises(Killed):
            worker.work(run, quiet)
    jobs.requeue(run)
    assert worker.work(run, lambda line: (run.folder / "stop").touch()) == "stopped"
    summary = run.summary()
    assert summary["best_epoch"] == 1
    validation = run.predictions().query("split == 'val'")
    assert summary["val_accuracy"] == pytest.approx((validation.label == validation.predicted).mean())


def test_a_finished_run_keeps_its_checkpoint_until_it_is_known_as_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = jobs.create_run(tiny())
    write = jobs.write_status

    def die_when_done(folder: Path, **changes: Any) -> None:
        if changes.get("state") == "done":
            raise Killed
        write(folder, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(worker, "write_status", die_when_done)
        with pytest.raises(Killed):
            worker.work(run, quiet)
    assert (run.folder / "checkpoint.pt").exists()
    jobs.requeue(run)
    trained = []
    assert worker.work(run, trained.append) == "done"
    assert not [line for line in trained if line.startswith("epoch")], "it was trained all over again"
    assert not (run.folder / "checkpoint.pt").exists()


def test_what_a_killed_worker_had_half_written_is_cleared_away() -> None:
    run = jobs.create_run(tiny())
    (run.folder / ".checkpoint.pt.abc123").write_bytes(b"half")
    worker.work(run, quiet)
    assert not list(run.folder.glob(".*"))


def test_what_is_half_written_may_be_cleared_away_by_another_first(monkeypatch: pytest.MonkeyPatch) -> None:
    run = jobs.create_run(tiny(epochs=1))
    half = run.folder / ".checkpoint.pt.abc123"
    half.write_bytes(b"half")
    unlink = Path.unlink

    def second(path: Path, missing_ok: bool = False) -> None:
        if path == half:
            os.unlink(half)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", second)
    assert worker.work(run, quiet) == "done"


def test_a_log_shorter_than_its_checkpoint_knows_is_gone_on_with(done: Run) -> None:
    """After a loss of power the file system may have kept the checkpoint and lost the log's end."""
    run = jobs.create_run(tiny())
    assert worker.work(run, lambda line: "epoch 2/3" in line and (run.folder / "stop").touch()) == "stopped"
    metrics = run.folder / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:333])
    jobs.requeue(run)
    assert worker.work(run, quiet) == "done"
    events = run.events()[0]
    assert [event["epoch"] for event in events if event["event"] == "epoch"][-1] == 3
    assert same_weights(run, done)
    assert run.summary()["test"] == done.summary()["test"]


def test_a_run_without_its_worker_is_interrupted_for_every_reader() -> None:
    """Several readers at once must not take each other for the worker."""
    run = jobs.create_run(tiny())
    jobs.write_status(run.folder, state="running")
    states: list[str] = []
    readers = [threading.Thread(target=lambda: states.extend(state_of(run) for _ in range(100))) for _ in range(6)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert set(states) == {"interrupted"}
    assert len(states) == 600
    assert "resume" in run.status()["reason"]
    assert run.describe()["state"] == "interrupted"
    with pytest.raises(LabError, match="isn't at work: it is interrupted"):
        jobs.request_stop(run)
    runs.remove(run)
    assert not run.folder.exists()


def test_a_queued_run_without_a_worker_is_given_time_and_then_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = jobs.create_run(tiny())
    assert state_of(run) == "queued"
    with pytest.raises(LabError, match="is at work"):
        runs.remove(run)
    monkeypatch.setattr(background, "START_GRACE", 0.0)
    assert state_of(run) == "interrupted"


def test_a_clock_that_was_set_back_lets_no_dead_run_wait_for_ever() -> None:
    run = jobs.create_run(tiny())
    disk.write_json(run.folder / "status.json", raw_status(run) | {"updated": raw_status(run)["updated"] + 86_400})
    assert state_of(run) == "interrupted"
    assert runs.waiting(raw_status(run)["queue"]) == []


# The queue


@pytest.mark.slow
def test_one_run_trains_at_a_time_the_others_wait_in_order_and_each_can_be_stopped(done: Run) -> None:
    first = jobs.train_detached(tiny(epochs=1000))
    wait_for(first.weights_file.exists, "the first run has ended an epoch")
    second, given_up = (jobs.create_run(tiny(epochs=1, seed=seed)) for seed in (1, 2))
    for run in (given_up, second):
        jobs.start(run)
        wait_for(lambda: "waiting for cpu" in run.log_tail(), f"{run.name} waits")  # noqa: B023
    assert [state_of(run) for run in (first, second, given_up)] == ["running", "queued", "queued"]
    for run in (first, second):
        with pytest.raises(LabError, match=f"is {state_of(run)}: only an interrupted"):
            jobs.requeue(run)
        with pytest.raises(LabError, match="is at work: stop it first"):
            runs.remove(run)

    jobs.request_stop(given_up)
    assert process_of(given_up).wait(60) == 0
    assert (state_of(given_up), raw_status(given_up)["reason"]) == ("stopped", "stopped while it waited")
    assert not (given_up.folder / "metrics.jsonl").exists()

    # Ctrl-C in the terminal of the server that started it is not meant for a run.
    process_of(first).send_signal(signal.SIGINT)
    assert os.getsid(process_of(first).pid) == process_of(first).pid
    told = first.events()[1]
    wait_for(lambda: first.events(told)[0], "the first run trains on")
    jobs.request_stop(first)
    assert [process_of(run).wait(120) for run in (first, second)] == [0, 0]
    assert [state_of(run) for run in (first, second)] == ["stopped", "done"]
    assert raw_status(first)["ended"] <= raw_status(second)["started"]

    # What the stopped run had is kept, scored, and can be gone on with.
    assert raw_status(first)["reason"] == "stopped on request"
    summary = first.summary()
    assert summary["epochs_trained"] < 1000
    scores = evaluated(first)[0]
    assert {key: scores[key] for key in summary["test"]} == summary["test"]
    assert len(first.predictions()) == len(done.predictions())
    assert (first.folder / "checkpoint.pt").exists()
    with pytest.raises(LabError, match="isn't at work: it is stopped"):
        jobs.request_stop(first)


@pytest.mark.slow
def test_the_queue_goes_on_when_the_server_that_filled_it_is_killed() -> None:
    """With all that is in its process group, as a terminal that is closed or a service that is stopped does."""
    script = """
import sys, time
from bloodcell_core.training import jobs
from tests.training_fixtures import tiny
for epochs in (20, 2):
    print(jobs.train_detached(tiny(epochs=epochs)).name, flush=True)
time.sleep(600)
"""
    server = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT
    )
    assert server.stdout is not None
    queued = [Run(server.stdout.readline().strip()) for _ in range(2)]
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    server.stdout.close()
    for run in queued:
        wait_for(lambda: raw_status(run)["state"] in ENDED, "the run has ended")  # noqa: B023
    assert [state_of(run) for run in queued] == ["done", "done"]
    assert raw_status(queued[0])["ended"] <= raw_status(queued[1])["started"]


def test_a_run_on_another_device_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with FileLock(workspace.lock_file("device-cuda-0")):
        assert worker.work(jobs.create_run(tiny(epochs=1, device="cpu")), quiet) == "done"


def assert_waits(run: Run) -> None:
    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        (run.folder / "stop").touch()

    assert worker.work(run, stop) == "stopped"
    assert "waiting for cpu" in said[0]
    assert raw_status(run)["reason"] == "stopped while it waited"


def test_a_run_waits_for_its_devices_lock_and_does_not_read_the_line_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    monkeypatch.setattr(runs, "waiting", looks.append)
    with FileLock(workspace.lock_file("device-cpu")):
        assert_waits(jobs.create_run(tiny(epochs=1)))
    assert not looks


def test_a_run_waits_for_an_earlier_one_even_while_the_device_is_free() -> None:
    earlier, later, elsewhere = (jobs.create_run(tiny(epochs=1)) for _ in range(3))
    with earlier.lock:  # its worker is there and about to begin
        assert_waits(later)
        jobs.write_status(earlier.folder, queue="cuda-0")
        assert worker.work(elsewhere, quiet) == "done"
    # What is queued anew goes to the end.
    jobs.write_status(earlier.folder, state="stopped", queue="cpu")
    first = jobs.create_run(tiny(epochs=1))
    jobs.requeue(earlier)
    with earlier.lock:
        assert worker.work(first, quiet) == "done"


def line() -> list[Run]:
    return runs.waiting("cpu")


def names_of(line: list[Run]) -> list[str]:
    return [run.name for run in line]


@pytest.mark.parametrize("place", range(-1, 6))
@pytest.mark.parametrize("which", range(4))
def test_a_waiting_run_can_be_moved_to_any_place(which: int, place: int) -> None:
    waiting = [jobs.create_run(tiny(epochs=1, seed=seed)) for seed in range(4)]
    assert names_of(line()) == names_of(waiting)
    wanted = names_of(waiting)
    moved = wanted.pop(which)
    wanted.insert(min(max(place, 1), 4) - 1, moved)
    jobs.move(waiting[which], place)
    assert names_of(line()) == wanted
    jobs.move(line()[3], 1)
    assert names_of(line()) == [wanted[3], *wanted[:3]]


def test_a_moved_run_is_trained_first_and_keeps_no_place_for_the_next_time() -> None:
    first, second, third = (jobs.create_run(tiny(epochs=1, seed=seed)) for seed in range(3))
    jobs.move(third, 1)
    with third.lock:  # its worker is there and about to begin
        assert_waits(first)
    assert worker.work(third, quiet) == "done"
    assert worker.work(second, quiet) == "done"
    jobs.requeue(first)
    fourth = jobs.create_run(tiny(epochs=1))
    jobs.move(fourth, 1)
    jobs.write_status(fourth.folder, state="stopped")
    jobs.requeue(fourth)
    assert names_of(line()) == names_of([first, fourth])


def test_only_a_waiting_run_can_be_moved_or_taken_out(done: Run) -> None:
    for action in (lambda: jobs.move(done, 1), lambda: jobs.withdraw(done)):
        with pytest.raises(LabError, match="doesn't wait for its turn: it is done"):
            action()


def test_a_run_whose_worker_is_still_loading_is_not_said_to_be_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WITHDRAW_SECONDS", 0.0)
    run = jobs.create_run(tiny(epochs=1))
    with pytest.raises(LabError, match="still starting: it will stop by itself"):
        jobs.withdraw(run)
    assert worker.work(run, quiet) == "stopped"
    jobs.remove(run.name)
    assert not run.folder.exists()


@pytest.mark.slow
def test_a_run_taken_out_of_the_queue_is_gone_and_the_next_one_trains(done: Run) -> None:
    with FileLock(workspace.lock_file("device-cpu")):
        unwanted, next_one = (jobs.train_detached(tiny(epochs=1, seed=seed)) for seed in range(2))
        jobs.withdraw(unwanted)
        assert not unwanted.folder.exists()
    assert process_of(next_one).wait(60) == 0
    assert state_of(next_one) == "done"


@pytest.mark.parametrize(
    ("wanted", "driver", "queue"),
    [
        ("auto", None, "cpu"),
        ("auto", "libcuda.so.1", "cuda-0"),
        ("cpu", "libcuda.so.1", "cpu"),
        ("cuda", None, "cuda-0"),
        ("cuda:0", None, "cuda-0"),
        ("cuda:3", None, "cuda-3"),
    ],
)
def test_each_device_has_a_queue(wanted: str, driver: str | None, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for: list[str] = []
    monkeypatch.setattr(jobs, "_driver_is_installed", functools.cache(jobs._driver_is_installed.__wrapped__))
    monkeypatch.setattr(jobs.ctypes.util, "find_library", lambda name: looked_for.append(name) or driver)
    assert [jobs.device_queue(wanted) for _ in range(3)] == [queue] * 3
    assert len(looked_for) == len(set(looked_for)), "each look starts other programs"


def test_of_runs_that_do_not_wait_the_queue_reads_the_state_alone(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = jobs.create_run(tiny(epochs=1))
    read, take = [], runs.Run._take
    monkeypatch.setattr(runs.Run, "_take", lambda self, recorded: (read.append(self.name), take(self, recorded)))
    assert names_of(runs.waiting("cpu")) == [waiting.name]
    assert read == [waiting.name]


def test_a_damaged_place_in_the_queue_fails_the_run_with_the_remedy_and_holds_up_nobody(done: Run) -> None:
    damaged, other = (jobs.create_run(tiny(epochs=1, seed=seed)) for seed in range(2))
    for content in ("", "{}", '"first"', "null"):
        (damaged.folder / "turn.json").write_text(content)
        with pytest.raises(LabError, match=r"turn\.json"):
            damaged.turn()
        assert names_of(line()) == [other.name]

    def give_up(line: str) -> None:
        if "waiting" in line:  # it would for ever
            jobs.request_stop(damaged)

    assert worker.work(damaged, give_up) == "failed"
    assert "turn.json is damaged: delete it" in damaged.status()["reason"]
    jobs.requeue(damaged)
    assert worker.work(other, quiet) == worker.work(damaged, quiet) == "done"


def test_a_run_that_a_look_at_the_queue_misses_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run = jobs.create_run(tiny(epochs=1))
    looks, waiting = [[]], runs.waiting
    monkeypatch.setattr(runs, "waiting", lambda queue: looks.pop() if looks else waiting(queue))
    assert worker.work(run, quiet) == "done"
    assert not looks


def test_a_run_whose_folder_is_deleted_while_it_trains_is_not_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    run = jobs.create_run(tiny())
    monkeypatch.setattr(reporter, "HEARTBEAT", 0.0)
    log = reporter.Reporter.log

    def deleted_before(self: reporter.Reporter, events: list[dict[str, Any]]) -> None:
        shutil.rmtree(run.folder, ignore_errors=True)
        log(self, events)

    monkeypatch.setattr(reporter.Reporter, "log", deleted_before)
    with pytest.raises(LabError, match="is gone: somebody deleted it"):
        worker.work(run, quiet)
    assert not run.folder.exists()


def test_two_threads_that_find_the_same_worker_ended_both_go_on(tmp_path: Path) -> None:
    class Ended:
        def poll(self) -> int:
            background._workers.pop(tmp_path / "old", None)  # the other thread was quicker
            return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "_workers", {tmp_path / "old": Ended()})
        patch.setattr(background.subprocess, "Popen", lambda *_, **__: "started")
        background.start_worker(tmp_path, "some.module", "argument")
        assert background._workers == {tmp_path: "started"}


def test_what_a_process_says_is_in_the_encoding_that_its_log_is_read_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows writes files in that of its language: a class in another alphabet ended the process."""
    monkeypatch.setattr(background, "_workers", {})
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "says.py").write_text("import sys; print(sys.argv[1])")
    background.start_worker(tmp_path, "says", "лимфоцит")
    assert background._workers[tmp_path].wait(60) == 0
    assert (tmp_path / "worker.log").read_text(encoding="utf-8") == "лимфоцит\n"


def test_a_process_that_is_started_finds_the_database_that_was_named_from_where_one_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works in another folder: a search looked for its study in a database that it had made there."""
    given: dict[str, str] = {}
    with monkeypatch.context() as patch:
        patch.setattr(background, "_workers", {})
        patch.setattr(background.subprocess, "Popen", lambda *_, env, **__: given.update(env))
        patch.setenv("BLOODCELL_DB_URL", "sqlite:///lab.db")
        patch.chdir(tmp_path)
        background.start_worker(tmp_path, "some.module", "argument")
        assert given["BLOODCELL_DB_URL"] == workspace.database_url() == f"sqlite:///{tmp_path}/lab.db"


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://lab@/bloodcells", "sqlite:////srv/lab.db", "sqlite:///:memory:", "no url at all"]
)
def test_a_database_that_is_named_in_full_is_taken_as_it_is(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOODCELL_DB_URL", url)
    assert workspace.database_url() == url


def test_a_workspace_whose_name_would_end_the_databases_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written would lie beside the workspace, and never be found again."""
    monkeypatch.setenv("BLOODCELL_HOME", str(tmp_path / "lab?2026"))
    with pytest.raises(LabError, match=r"for the \? in its name: rename that folder"):
        workspace.database_url()
    monkeypatch.setenv("BLOODCELL_DB_URL", "sqlite:////srv/lab.db")
    assert workspace.database_url() == "sqlite:////srv/lab.db"


@pytest.mark.parametrize("module", [worker, search])
def test_a_process_that_trains_keeps_the_memory_that_it_frees(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(module, "keep_freed_memory", lambda: asked.append(True))
    monkeypatch.setattr(background.signal, "signal", lambda *_: None)
    assert module.main(["no-such-thing"]) == 2
    assert asked == [True]


def test_an_abandoned_run_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    abandoned, mine = jobs.create_run(tiny()), jobs.create_run(tiny(epochs=1))
    monkeypatch.setattr(background, "START_GRACE", 0.0)
    monkeypatch.setattr(worker, "START_GRACE", 0.0)
    assert worker.work(mine, quiet) == "done"
    assert state_of(abandoned) == "interrupted"


def test_a_worker_that_loads_for_long_was_not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    run, child = jobs.create_run(tiny()), Child()
    monkeypatch.setattr(background, "START_GRACE", 0.0)
    with monkeypatch.context() as patch:  # the fixtures end the processes that stand there
        patch.setattr(background, "_workers", {run.folder: child})
        assert state_of(run) == "queued"
        child.ended = 1
        assert state_of(run) == "interrupted"


def test_a_second_worker_on_a_run_refuses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = jobs.create_run(tiny())
    before = raw_status(run)
    monkeypatch.setattr(worker, "START_GRACE", 0.05)
    with run.lock:
        with pytest.raises(LabError, match="is at work in another process"):
            worker.work(run, quiet)
        assert worker.main([run.name]) == 2
    assert "is at work in another process" in capsys.readouterr().out
    assert raw_status(run) == before


@pytest.mark.parametrize("state", ["done", "stopped", "failed"])
def test_a_worker_leaves_a_run_alone_that_has_ended(state: str, done: Run) -> None:
    """Two people press resume: the second worker gets the lock when the first has finished."""
    jobs.write_status(done.folder, state=state)
    before = {path.name: path.read_bytes() for path in done.folder.iterdir()}
    with pytest.raises(LabError, match=f"is {state}"):
        worker.work(done, quiet)
    assert {path.name: path.read_bytes() for path in done.folder.iterdir()} == before


def test_only_a_run_that_has_ended_badly_can_be_resumed(done: Run) -> None:
    with pytest.raises(LabError, match="is done: only an interrupted, stopped or failed run"):
        jobs.resume(done)
    with pytest.raises(LabError, match="is queued: only"):
        jobs.resume(jobs.create_run(tiny()))


# What goes wrong


def test_a_dataset_that_is_gone_before_the_worker_starts_fails_the_run_with_the_reason() -> None:
    run = jobs.create_run(tiny())
    shutil.rmtree(workspace.dataset_dir("demo"))  # `remove` refuses while a run is at work
    said: list[str] = []
    assert worker.work(run, said.append) == "failed"
    assert "there is no dataset 'demo'" in raw_status(run)["reason"]
    assert "failed" in said[-1]
    with pytest.raises(LabError, match="there is no dataset 'demo'"):
        jobs.requeue(run)


def test_a_dataset_that_goes_in_mid_run_is_no_longer_needed(done: Run) -> None:
    run = jobs.create_run(tiny())
    gone: list[str] = []

    def remove_it(line: str) -> None:
        if "epoch 1/3" in line:
            shutil.rmtree(workspace.dataset_dir("demo"))  # `remove` refuses while a run is at work
            gone.append(line)

    assert worker.work(run, remove_it) == "done"
    assert gone
    pd.testing.assert_frame_equal(run.predictions(), done.predictions())


def test_runs_that_are_made_within_a_second_never_have_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_names = iter(["a", "a", "b"])
    monkeypatch.setattr(workspace, "dated_name", lambda what: next(drawn_names))
    assert [jobs.create_run(tiny()).name for _ in range(2)] == ["a", "b"]


def test_a_dataset_of_the_same_name_is_not_taken_for_the_one_that_the_run_was_made_for() -> None:
    run = jobs.create_run(tiny())
    shutil.rmtree(workspace.dataset_dir("demo"))  # `remove` refuses while a run is at work
    drawn("demo", per_class=10, seed=8)
    assert worker.work(run, quiet) == "failed"
    assert "is no longer the one" in raw_status(run)["reason"]
    with pytest.raises(LabError, match="is no longer the one"):
        jobs.requeue(run)


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "file", ["model.safetensors", "checkpoint.pt", "predictions.parquet", "summary.json", "metrics.jsonl"]
)
def test_a_full_disk_fails_the_run_and_earlier_checkpoints_stay_whole(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the second epoch on nothing more can be written under that name."""
    gentle = {"seed": 2, "learning_rate": 1e-5}  # with which each epoch is the best so far
    unbroken = train_here(**gentle)
    run = jobs.create_run(tiny(**gentle))
    full: list[str] = []
    real_write, real_log = disk.write_atomic, reporter.Reporter.log

    def write(path: Path) -> Any:
        if full and path.name == file:
            raise FULL
        return real_write(path)

    def log(self: reporter.Reporter, events: list[dict[str, Any]]) -> None:
        if full and file == "metrics.jsonl":
            self._stream.write(b'{"event": "st')  # as far as the disk reached
            raise FULL
        real_log(self, events)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_atomic", write)
        patch.setattr(reporter.Reporter, "log", log)
        state = worker.work(run, lambda line: full.append(line) if "epoch 1/3" in line else None)
    assert state == "failed"
    assert state_of(run) == "failed"
    assert "No space left on device" in raw_status(run)["reason"]
    assert "\n" not in raw_status(run)["reason"]
    check_what_a_killed_worker_left(run)
    if file != "checkpoint.pt":
        assert (run.folder / "checkpoint.pt").exists()
    jobs.requeue(run)
    assert worker.work(run, quiet) == "done"
    assert losses(run) == losses(unbroken)
    assert same_weights(run, unbroken)


@pytest.mark.parametrize("refused", [OSError(errno.EROFS, "Read-only file system"), FULL])
def test_a_workspace_in_which_not_even_a_run_s_state_can_be_kept_interrupts_it(
    refused: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = train_here(seed=2)
    run = jobs.create_run(tiny(seed=2))
    closed: list[str] = []
    real_write = disk.write_atomic

    def write(path: Path) -> Any:
        if closed:
            raise refused
        return real_write(path)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_atomic", write)
        with pytest.raises(LabError, match=rf"{refused.strerror}.*and its state can't be kept"):
            worker.work(run, lambda line: closed.append(line) if "epoch 1/3" in line else None)
    assert state_of(run) == "interrupted"
    check_what_a_killed_worker_left(run)
    jobs.requeue(run)
    assert worker.work(run, quiet) == "done"
    assert losses(run) == losses(unbroken)
    assert same_weights(run, unbroken)


@pytest.mark.parametrize(("limit", "victim"), [(40_000, "model.safetensors"), (100_000, "checkpoint.pt")])
def test_a_file_that_the_system_really_cuts_short_fails_the_run_in_plain_words(
    limit: int, victim: str, done: Run
) -> None:
    """The system refuses to let a file grow beyond the limit, as a quota or a full disk does."""
    run = jobs.create_run(tiny())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        assert worker.work(run, quiet) == "failed"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raw_status(run)["reason"].startswith("the system refused ")
    assert "[Errno" not in raw_status(run)["reason"]
    assert os.strerror(errno.EFBIG) in raw_status(run)["reason"]
    assert not (run.folder / victim).exists()
    jobs.requeue(run)
    assert worker.work(run, quiet) == "done"
    assert same_weights(run, done)


def test_a_failure_of_the_program_fails_the_run_and_its_traceback_stands_in_the_log_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = jobs.create_run(tiny())

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("of all things\nand more")

    monkeypatch.setattr(loop, "train", fail)
    assert worker.work(run, quiet) == "failed"
    assert raw_status(run)["reason"] == "ZeroDivisionError: of all things"
    assert "Traceback" in run.log_tail(50)
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("where", ["augment", "_follow"])
def test_memory_that_runs_out_beside_the_network_is_told_with_what_helps(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = jobs.create_run(tiny(flips=0.5, averaging=0.9))

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore words.")

    monkeypatch.setattr(loop, where, fail)
    assert worker.work(run, quiet) == "failed"
    reason = raw_status(run)["reason"]
    assert reason.startswith("the device's memory is full (CUDA out of memory. Tried to allocate 2.00 GiB.): take a sm")


def test_a_loss_that_is_no_number_fails_the_run_with_its_best_weights_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = jobs.create_run(tiny())
    real = loop.functional.cross_entropy
    steps: list[int] = []

    def spoilt(logits: torch.Tensor, labels: torch.Tensor, **options: Any) -> torch.Tensor:
        steps.append(1)
        return real(logits, labels, **options) * (float("nan") if len(steps) == 12 else 1)

    monkeypatch.setattr(loop.functional, "cross_entropy", spoilt)
    assert worker.work(run, quiet) == "failed"
    # 8 steps and the validation of the first epoch, then 3 steps of the second
    assert "no finite number at step 11" in raw_status(run)["reason"]
    assert [event["step"] for event in run.events()[0] if event["event"] == "step"] == list(range(1, 11))
    assert all(value.isfinite().all() for value in load_file(run.weights_file).values())


# Reading while it is written


def lines(run: Run, count: int, first: int = 0) -> bytes:
    return b"".join(
        json.dumps({"event": "step", "step": step}).encode() + b"\n" for step in range(first, first + count)
    )


@pytest.fixture
def empty_run() -> Run:
    return jobs.create_run(tiny())


def steps_read(events: list[dict[str, Any]]) -> list[int]:
    return [event["step"] for event in events]


def test_a_run_without_a_log_has_no_events(empty_run: Run) -> None:
    assert empty_run.events() == ([], 0)


def test_half_a_line_is_left_for_the_next_look(empty_run: Run) -> None:
    whole = lines(empty_run, 3)
    for cut in range(len(whole) + 1):
        file = empty_run.folder / "metrics.jsonl"
        file.write_bytes(whole[:cut])
        events, offset = empty_run.events()
        assert steps_read(events) == list(range(whole[:cut].count(b"\n")))
        file.write_bytes(whole)
        rest, end = empty_run.events(offset)
        assert steps_read(events + rest) == [0, 1, 2]
        assert end == len(whole)
        assert empty_run.events(end) == ([], end)


def test_a_log_that_became_shorter_is_read_from_its_beginning(empty_run: Run) -> None:
    file = empty_run.folder / "metrics.jsonl"
    file.write_bytes(lines(empty_run, 9))
    _, offset = empty_run.events()
    file.write_bytes(lines(empty_run, 4))
    events, end = empty_run.events(offset)
    assert steps_read(events) == [0, 1, 2, 3]
    assert end < offset


def test_a_log_that_was_cut_back_and_has_grown_again_is_read_without_half_a_line(empty_run: Run) -> None:
    """Between two looks a resumed run may have gone back and come further than before, its lines not as long."""
    file = empty_run.folder / "metrics.jsonl"
    file.write_bytes(lines(empty_run, 3))
    _, offset = empty_run.events()
    longer = b'{"event": "step", "step": 1, "seconds": 12.25}\n'
    file.write_bytes(lines(empty_run, 1) + longer + lines(empty_run, 4, first=2))
    events, _ = empty_run.events(offset)
    assert steps_read(events) == [0, 1, 2, 3, 4, 5]


def test_the_end_of_the_log_is_told(empty_run: Run) -> None:
    assert empty_run.log_tail() == ""
    (empty_run.folder / "worker.log").write_bytes(b"\xff" * 30_000 + "\n".join(map(str, range(50))).encode())
    assert empty_run.log_tail(3) == "47\n48\n49"


def test_a_long_log_is_read_from_its_end_alone(empty_run: Run) -> None:
    with open(empty_run.folder / "worker.log", "wb") as log:
        log.seek(100_000_000)  # takes no disk
        log.write(b"\nthe end\n")
    tracemalloc.start()
    try:
        assert empty_run.log_tail(1) == "the end"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# Finding and removing runs


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", ""),
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", "null"),
        ("config.json", "{}"),
        ("config.json", '{"schema_version": 1}'),
        ("config.json", '{"schema_version": 2, "config": {}}'),
        ("config.json", '{"schema_version": 1, "config": {"data": "demo", "model": "m", "colour": 1}}'),
        ("status.json", None),
        ("status.json", ""),
        ("status.json", "[]"),
        ("status.json", "{}"),
        ("status.json", '{"state": "dancing", "updated": 0, "queued": 0, "queue": "cpu"}'),
        ("status.json", '{"state": "queued", "updated": "now", "queued": 0, "queue": "cpu"}'),
        ("status.json", '{"state": "queued", "updated": 0, "queued": "now", "queue": "cpu"}'),
        ("status.json", '{"state": "queued", "updated": 0, "queued": 0, "queue": 7}'),
    ],
)
def test_a_damaged_run_is_told_and_the_others_are_still_listed(file: str, content: str | None, done: Run) -> None:
    damaged = jobs.create_run(tiny())
    if content is None:
        (damaged.folder / file).unlink()
    else:
        (damaged.folder / file).write_text(content)
    good, told = runs.readable_runs()
    assert [run.name for run in good] == [done.name]
    assert len(told) == 1
    assert damaged.name in told[0]
    assert "\n" not in told[0]
    assert runs.find("latest").name == done.name


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"created": 7}), ("config.json", {"members": [{}]}), ("config.json", {"members": ["a run"]}),
        ("config.json", {"adapted": 3}), ("config.json", {"classes": None}), ("config.json", {"group": ["g"]}),
        ("summary.json", {"temperature": "warm"}), ("summary.json", {"temperature": None}),
        ("summary.json", {"temperature": 0}),
        ("config.json", {"classes": []}), ("config.json", {"classes": [1, 2]}), ("config.json", {"group": "none"}),
        ("status.json", {"step": "many"}), ("status.json", {"phase": 7}), ("status.json", {"seconds_left": "long"}),
        ("status.json", {"reason": None}), ("summary.json", {"test": {}}), ("summary.json", {"parameters": "few"}),
        ("summary.json", {"training_seconds": None}), ("summary.json", {"val_accuracy": "good"}),
        ("summary.json", {"training_seconds": -1e308}), ("summary.json", {"training_seconds": 1e308}),
        ("summary.json", {"training_seconds": math.nan}), ("summary.json", {"val_loss": math.inf}),
        ("summary.json", {"parameters": 10**400}), ("status.json", {"seconds_left": 1e308}),
        ("status.json", {"seconds_left": -1}), ("status.json", {"updated": math.nan}),
    ],
)  # fmt: skip
def test_a_run_with_an_edited_file_is_told_and_the_others_are_still_listed(
    file: str, change: dict[str, Any], done: Run
) -> None:
    other = done.folder.with_name("20260101-000000-edited-0000")
    shutil.copytree(done.folder, other)
    edited = disk.read_json(other / file) | change
    (other / file).write_text(json.dumps(edited))  # `write_json` refuses NaN, which an editor doesn't
    good, told = runs.readable_runs()
    assert [run.name for run in good] == [done.name]
    assert len(told) == 1
    assert "damaged" in told[0]
    assert cli.main(["runs", "list"]) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": "good"}, {"photos": "several"}, {"intervals": {"accuracy": [0.1]}}, {"by_photo": {}},
        {"intervals": {"accuracy": [0.1, "high"]}}, {"warnings": None}, {"accuracy": math.nan}, {"accuracy": 77.05},
        {"intervals": {"accuracy": [0.1, math.nan]}}, {"by_photo": {"photos": 3, "right": 2}},
        {"by_photo": {"photos": 3, "right": 2, "interval": [0.1, "high"]}},
    ],
)  # fmt: skip
def test_a_run_whose_figures_were_edited_is_told(change: dict[str, Any], done: Run) -> None:
    file = done.folder / "summary.json"
    summary = disk.read_json(file)
    file.write_text(json.dumps(summary | {"test": summary["test"] | change}))
    good, told = runs.readable_runs()
    assert good == []
    assert "isn't what it should be" in told[0]


def test_a_run_that_is_still_being_made_is_not_there_yet(done: Run) -> None:
    unfinished = done.folder.with_name(f".{done.name}.abc123")
    shutil.copytree(done.folder, unfinished)
    assert runs.names() == [done.name]
    assert runs.readable_runs()[1] == []


def test_latest_is_the_newest_finished_run(done: Run) -> None:
    newer = train_here(epochs=1)
    jobs.create_run(tiny())  # newer still, but not finished
    renamed = newer.folder.rename(newer.folder.with_name("99991231-235959-basic_cnn-ffff"))
    assert runs.find("latest").name == renamed.name


def test_latest_without_a_finished_run_says_so(done: Run) -> None:
    runs.remove(done)
    jobs.create_run(tiny())
    with pytest.raises(LabError, match="no run has finished yet"):
        runs.find("latest")


def test_a_unique_beginning_names_a_run(done: Run) -> None:
    other = done.folder.with_name(done.name + "-longer")
    other.mkdir()
    for path in done.folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    assert runs.find(done.name).name == done.name  # whole names win over longer ones
    assert runs.find(done.name + "-l").name == other.name
    with pytest.raises(LabError, match="begins the names of 2 runs") as caught:
        runs.find(done.name[:8])
    assert done.name in str(caught.value)
    for nothing in ("", "zzz", "../runs", done.name + "x"):
        with pytest.raises(LabError, match="there is no run"):
            runs.find(nothing)


def test_a_removed_run_is_gone_and_nothing_else(done: Run) -> None:
    other = train_here(epochs=1)
    runs.remove(other)
    assert runs.names() == [done.name]
    assert Dataset("demo")


def test_waiting_in_the_queue_needs_no_torch() -> None:
    code = "import bloodcell_core.training.worker, bloodcell_core.training.jobs, sys; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert out.stdout == "False\n"


def test_a_training_does_not_wait_for_what_it_does_not_use_to_load(done: Run) -> None:
    code = """
import sys
from bloodcell_core import cli
assert cli.main(sys.argv[1:]) == 0
print(*({"torch", "torch._dynamo", "scipy.stats", "sklearn"} & sys.modules.keys()))
"""
    words = ["train", "--data=demo", "--model=basic_cnn", "--size=32", "--epochs=1"]
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
    assert ended.stdout.splitlines()[-1] == "torch", ended.stdout + ended.stderr
