"""Searches: what is tried and on which pictures, what is broken off, and what is left of one that was killed."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from bloodcell_core import background, config, runs, workspace
from bloodcell_core.config import TrainConfig
from bloodcell_core.data import views
from bloodcell_core.data.dataset import Dataset, names, remove
from bloodcell_core.errors import LabError
from bloodcell_core.models import MODELS
from bloodcell_core.training import jobs, loop, prepare, search, studies, worker
from bloodcell_core.training.loop import NonFiniteLoss
from bloodcell_core.training.prepare import cut_validation, split_rows
from bloodcell_core.training.search_space import SEARCHED, USUAL, ranges, searchable, start_values, usual
from bloodcell_core.training.studies import Study, best_of
from tests.training_fixtures import Killed, quiet, tiny, train_here, wait_for

pytest_plugins = ["tests.training_fixtures", "tests.postgres"]
pytestmark = pytest.mark.usefixtures("lab")

FIELDS = ("learning_rate", "width", "stain")


@pytest.fixture(autouse=True)
def _workers_end_with_the_test() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    for process in background._workers.values():
        process.kill()
        process.wait()
    background._workers.clear()


def made(trials: int = 3, name: str = "mine", **changes: Any) -> Study:
    return studies.create(tiny(**{"epochs": 2} | changes), FIELDS, trials, name=name)


def searched(trials: int = 3, name: str = "mine", **changes: Any) -> Study:
    study = made(trials, name, **changes)
    assert search.work(study, say=quiet) == "done", study.status()
    return study


def tried(study: Study) -> list[dict[str, Any]]:
    """The finished trials without what may differ between two equal studies."""
    counted = [trial for trial in study.trials() if trial["state"] in ("done", "pruned")]
    return [{key: value for key, value in trial.items() if key not in ("seconds", "number")} for trial in counted]


# What is tried


@pytest.mark.parametrize("model", MODELS)
def test_what_can_be_searched_is_what_the_network_has(model: str) -> None:
    info = MODELS[model]
    assert ("width" in searchable(model), "dropout" in searchable(model)) == (info.widens, info.dropout is not None)
    assert set(usual(model)) == set(USUAL) & set(searchable(model))
    base = TrainConfig(data="d", model=model)
    for field, limits in ranges(base, searchable(model)).items():
        start = start_values(base, [field])[field]
        assert limits.low <= start <= limits.high
        for value in (limits.low, limits.high):  # every value that can be drawn can be trained with
            assert getattr(replace(base, **{field: value}), field) == value
        assert not limits.log or limits.low > 0


def test_every_searched_field_is_a_setting() -> None:
    assert SEARCHED.keys() <= config.fields().keys()
    assert set(USUAL) <= SEARCHED.keys()


def test_a_range_holds_what_the_search_starts_from() -> None:
    found = ranges(tiny(stain=0.9, learning_rate=0.5), ("stain", "learning_rate"))
    assert found["stain"][:2] == (0, 0.9)
    assert found["learning_rate"] == (0.05, 1.0, True)  # no further than the setting itself may go


def test_a_study_tries_its_settings_as_they_are_first_and_others_after() -> None:
    first, *others = searched().trials()
    assert first["settings"] == {"learning_rate": 1e-3, "width": 1.0, "stain": 0.0}
    assert len(others) == 2
    for trial in others:
        assert set(trial["settings"]) == set(FIELDS)
        assert trial["settings"] != first["settings"]
    assert all(trial["epochs"] == 2 and math.isfinite(trial["val_loss"]) for trial in (first, *others))


def test_its_first_trial_is_a_run_of_the_same_settings() -> None:
    (trial,) = searched(trials=1).trials()
    summary = train_here(epochs=2).summary()
    assert (trial["val_loss"], trial["val_accuracy"]) == (summary["val_loss"], summary["val_accuracy"])


@pytest.mark.slow
def test_the_same_seed_tries_the_same_and_another_seed_something_else() -> None:
    one, other = searched(6, "one"), searched(6, "other")
    assert tried(one) == tried(other)
    different = searched(2, "different", seed=1)
    assert different.trials()[1]["settings"] != one.trials()[1]["settings"]


def test_no_trial_sees_a_picture_of_the_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    build = views.build_view

    class Watched(np.ndarray):
        def __getitem__(self, rows: Any) -> Any:
            seen.update(np.arange(len(self))[rows].ravel().tolist())
            return np.asarray(self)[rows]

    monkeypatch.setattr(views, "build_view", lambda *given: np.asarray(build(*given)).view(Watched))
    study = searched(2)
    dataset = Dataset("demo")
    rows = split_rows(study.config, dataset, cut_validation(study.config, dataset))
    assert seen == set(rows["train"]) | set(rows["val"])
    assert not seen & set(rows["test"])
    assert len(rows["test"])
    assert not set(dataset.pictures.photo[rows["train"]]) & set(dataset.pictures.photo[rows["val"]])
    assert study.validation == {"pictures": len(rows["val"]), "photos": dataset.pictures.photo[rows["val"]].nunique()}


def test_all_trials_share_their_pictures_which_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    train = loop.train

    def watched(wanted: TrainConfig, state: Any, training: Any, validation: Any, *more: Any) -> bool:
        given.append((id(training), id(validation)))
        return train(wanted, state, training, validation, *more)

    monkeypatch.setattr(search, "train", watched)
    searched(3)
    assert len(given) == 3
    assert len(set(given)) == 1


def test_a_trial_s_memory_of_a_gpu_is_given_back_before_its_turn_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch keeps what is freed for the next trial, and a run that goes first would find a GPU half full."""
    networks: list[weakref.ref[torch.nn.Module]] = []
    given_back: list[tuple[bool, bool]] = []
    turn = FileLock(workspace.lock_file("device-cpu"))

    def first_state(*given: Any) -> loop.TrainState:
        state = prepare.first_state(*given)
        networks.append(weakref.ref(state.network))
        return state

    def empty_cache() -> None:
        given_back.append((networks[-1]() is None, background.is_held(turn)))

    monkeypatch.setattr(search, "first_state", first_state)
    monkeypatch.setattr(torch.cuda, "empty_cache", empty_cache)
    searched(trials=2, device="cpu")
    assert given_back == [(True, True)] * 2


def test_importance_is_of_the_searched_fields_and_sums_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    losses_by(monkeypatch, lambda trial, epoch: 1 + trial % 3)
    study = searched(4)
    assert study.importance() == {}
    studies.reopen(study, trials=6)
    search.work(study, say=quiet)
    shares = study.importance()
    assert set(shares) == set(FIELDS)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares == study.importance()


def test_trials_of_one_loss_tell_nothing_of_what_mattered(monkeypatch: pytest.MonkeyPatch) -> None:
    losses_by(monkeypatch, lambda trial, epoch: 1.0)
    assert searched(6).importance() == {}


# What is broken off


def losses_by(monkeypatch: pytest.MonkeyPatch, loss: Callable[[int, int], float]) -> None:
    """Trials that learn nothing: `loss` tells the validation loss by the trial's number and epoch, from 1."""
    begun = 0

    def train(wanted: TrainConfig, state: Any, training: Any, validation: Any, device: Any, hooks: Any) -> bool:
        nonlocal begun
        begun += 1
        for epoch in range(1, wanted.epochs + 1):
            value = loss(begun, epoch)
            best = value < state.best_loss
            state.best_loss = min(value, state.best_loss)
            told = {"val_loss": value, "val_accuracy": 0.5, "best": best}
            hooks.log([{"event": "epoch", "epoch": epoch, "step": epoch} | told])
        return True

    monkeypatch.setattr(search, "train", train)


def test_a_trial_worse_than_half_of_the_others_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    losses_by(monkeypatch, lambda trial, epoch: (9 if trial in (2, 6) else 1) / epoch - trial / 1000)
    study = searched(7, epochs=5)
    assert [trial["state"] for trial in study.trials()] == ["done"] * 5 + ["pruned", "done"]
    assert [trial["epochs"] for trial in study.trials()] == [5] * 5 + [2, 5]  # the 2nd had none to be measured by
    assert "worse than half" in study.trials()[5]["reason"]
    best = best_of(study.trials())
    assert best is not None
    assert best["number"] == 7


def test_a_trial_is_not_broken_off_in_its_last_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    losses_by(monkeypatch, lambda trial, epoch: float(trial))
    assert {trial["state"] for trial in searched(6, epochs=2).trials()} == {"done"}


def test_a_trial_whose_loss_is_no_number_counts_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    train = loop.train

    def broken(wanted: TrainConfig, *given: Any) -> bool:
        if wanted.learning_rate != 1e-3:
            raise NonFiniteLoss("the loss was no finite number at step 3")
        return train(wanted, *given)

    monkeypatch.setattr(search, "train", broken)
    first, *others = searched(3).trials()
    assert first["state"] == "done"
    assert [(trial["state"], trial["val_loss"]) for trial in others] == [("pruned", None)] * 2
    assert others[0]["reason"] == "the loss was no finite number at step 3"


def test_a_study_whose_own_settings_cannot_be_trained_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bool:
        raise NonFiniteLoss("the loss was no finite number at step 3")

    monkeypatch.setattr(search, "train", fail)
    study = made()
    assert search.work(study, say=quiet) == "failed"
    assert "settings to start from" in study.status()["reason"]
    assert "at step 3" in study.status()["reason"]


def test_a_study_that_is_stopped_keeps_what_is_finished_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = searched(4, "whole")
    study = made(4)
    train = loop.train
    begun = []

    def stop_in_the_second(*given: Any) -> bool:
        begun.append(given)
        if len(begun) == 2:
            studies.request_stop(study)
        return train(*given)

    monkeypatch.setattr(search, "train", stop_in_the_second)
    assert search.work(study, say=quiet) == "stopped"
    assert [trial["state"] for trial in study.trials()] == ["done", "interrupted"]
    with pytest.raises(LabError, match="isn't at work: it is stopped"):
        studies.request_stop(study)
    studies.reopen(study)
    assert search.work(study, say=quiet) == "done"
    assert tried(study) == tried(whole)


def test_a_study_that_was_killed_goes_on_as_if_nothing_had_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = searched(7, "whole")
    study = made(7)
    train = loop.train
    begun = []

    def kill(*given: Any) -> bool:
        begun.append(given)
        if len(begun) in (1, 4, 8):
            raise Killed
        return train(*given)

    monkeypatch.setattr(search, "train", kill)
    for _ in range(3):
        with pytest.raises(Killed):
            search.work(study, say=quiet)
        assert study.status()["state"] == "interrupted"
        assert study.trials()[-1]["state"] == "interrupted"
        studies.reopen(study)
    assert search.work(study, say=quiet) == "done"
    assert tried(study) == tried(whole)


def test_after_its_minutes_a_study_begins_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    losses_by(monkeypatch, lambda trial, epoch: 1.0)
    study = studies.create(tiny(epochs=2), FIELDS, trials=5, minutes=2, name="timed")
    clock = iter(np.arange(0, 1e6, 30.0))
    monkeypatch.setattr(search.time, "monotonic", lambda: float(next(clock)))
    assert search.work(study, say=quiet) == "done"
    assert 0 < study.finished() < 5
    assert "the time was up" in study.status()["reason"]


# Who waits for whom


def test_a_study_waits_for_the_device_and_lets_runs_go_first() -> None:
    study, run = made(1, device="cpu"), jobs.create_run(tiny(device="cpu"))
    searches = Thread(target=search.work, args=(study, quiet))
    with FileLock(workspace.lock_file("device-cpu")):
        searches.start()
        wait_for(lambda: study.status().get("phase") == "waiting for the device", "the study waits")
    worker.work(run, say=quiet)  # queued before, and so trained before, whenever its worker comes
    searches.join()
    (trial,) = study.trials()
    assert study.status()["state"] == run.status()["state"] == "done"
    assert run.status()["ended"] <= study.status()["updated"] - trial["seconds"]


def test_a_process_searches_whoever_looks_and_one_that_is_killed_was_interrupted() -> None:
    study = made(1000, device="cpu")
    studies.start(study)
    process = background._workers[study.job.folder]
    states = []

    def has_told_of_a_trial() -> bool:
        states.append(study.describe()["state"])
        return "trial 1: done" in (study.job.folder / "worker.log").read_text()

    wait_for(has_told_of_a_trial, "the log tells of a trial")
    process.kill()
    process.wait()
    assert list(dict.fromkeys([*states, study.status()["state"]])) == ["starting", "running", "interrupted"]
    assert study.status()["reason"].startswith("its worker ended without a word: ")


def test_the_process_tells_by_its_code_how_it_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(background.signal, "signal", lambda *_: None)
    losses_by(monkeypatch, lambda trial, epoch: 1.0)
    made(1)
    assert search.main(["mine"]) == 0
    assert search.main(["nothing"]) == 2
    assert "there is no study 'nothing'" in capsys.readouterr().out


def test_two_processes_do_not_work_at_one_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "START_GRACE", 0.1)
    study = made()
    with study.job.lock, pytest.raises(LabError, match="at work in another process"):
        search.work(study, say=quiet)


# What is kept


def test_a_study_is_found_by_its_beginning_and_removed_as_a_whole() -> None:
    assert studies.names() == []
    study = searched(1, "first-one")
    assert studies.find("fir").name == "first-one"
    for wrong in ("", "nothing", "../x"):
        with pytest.raises(LabError, match="no study"):
            studies.find(wrong)
    made(1, "first-two")
    with pytest.raises(LabError, match="begins the names of 2 studies"):
        studies.find("first")
    studies.remove(study)
    assert studies.names() == ["first-two"]
    assert not study.job.folder.exists()
    with pytest.raises(LabError, match="there is no study 'first-one'"):
        Study("first-one")


def test_looking_for_studies_makes_no_database(lab: Path) -> None:
    assert studies.names() == []
    assert not (lab / "lab.sqlite").exists()


@pytest.mark.parametrize(
    ("changes", "more", "said"),
    [
        ({}, {"fields": ("colour",)}, "'colour' can't be searched with basic_cnn: there are learning_rate, width"),
        ({}, {"fields": ("dropout",)}, "'dropout' can't be searched with basic_cnn"),
        ({}, {"trials": 0}, "trials must lie between 1 and 10,000, not 0"),
        ({}, {"minutes": -1}, "minutes must lie between 0"),
        ({}, {"minutes": math.nan}, "minutes must lie between 0"),
        ({}, {"name": "no/name"}, "can't name a study"),
        ({"data": "nothing"}, {}, "there is no dataset"),
        ({"pictures_per_epoch": 1}, {}, "an epoch needs at least two pictures"),
        ({"model": "deep_cnn", "width": 2.0}, {}, "deep_cnn comes in one width"),
        ({"dropout": 0.2}, {}, "basic_cnn has no dropout"),
    ],
)
def test_what_cannot_be_searched_is_told_before_anything_is_made(
    changes: dict[str, Any], more: dict[str, Any], said: str, lab: Path
) -> None:
    with pytest.raises(LabError, match=said):
        studies.create(tiny(**changes), **more)
    assert studies.names() == []
    assert not list((lab / "searches").glob("*"))


def test_a_name_is_given_once() -> None:
    made()
    with pytest.raises(LabError, match="the database has a study 'mine' already"):
        made()


def test_a_study_whose_folder_cannot_have_its_name_leaves_nothing_in_the_database(lab: Path) -> None:
    (lab / "searches" / "mine").mkdir(parents=True)
    (lab / "searches" / "mine" / "something").touch()
    with pytest.raises(LabError, match="mine exists already"):
        made()
    assert studies.names() == []
    (lab / "searches" / "mine" / "something").unlink()
    assert made().name == "mine"


def test_a_dataset_stays_while_a_search_is_at_work_on_it() -> None:
    study = made()
    with pytest.raises(LabError, match="search 'mine' is at work on dataset 'demo': stop it first"):
        remove("demo")
    study.job.tell(state="stopped")
    remove("demo")
    assert names() == []


@pytest.mark.parametrize("killed_at", ["optuna.create_study", "optuna.study.Study.set_user_attr"])
@pytest.mark.parametrize("after", [False, True])
def test_the_name_of_a_study_whose_maker_was_killed_is_free_again(killed_at: str, after: bool) -> None:
    """And what was killed once it was whole is there."""
    script = f"""
import os
from unittest.mock import patch
import optuna
from bloodcell_core.training import studies
from tests.training_fixtures import tiny
whole = {killed_at}
def killed(*args, **more):
    if {after}:
        whole(*args, **more)
    os._exit(9)
with patch("{killed_at}", killed):
    studies.create(tiny(epochs=2), {FIELDS!r}, 3, name="mine")
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1]).returncode == 9
    whole = after and killed_at.endswith("set_user_attr")
    assert studies.names() == (["mine"] if whole else [])
    if whole:
        assert Study("mine").status()["state"] == "starting"
    else:
        assert made().name == "mine"


def test_making_a_study_takes_no_other_programs_away(lab: Path) -> None:
    """One of another program's, of the same name in a shared database, and what a study's worker has written."""
    import optuna

    theirs = optuna.create_study(storage=studies._storage(), study_name="mine")
    theirs.set_user_attr("of", "another program")
    with pytest.raises(LabError, match="has a study 'mine' already"):
        made()
    assert theirs.user_attrs == {"of": "another program"}
    assert not list((lab / "searches").glob("*"))
    (lab / "searches" / "log").mkdir(parents=True)
    for file in ("status.json", "worker.log"):
        (lab / "searches" / "log" / file).write_text("{}")
    with pytest.raises(LabError, match="log exists already"):
        made(name="log")


def test_an_empty_study_of_a_shared_database_stays(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another workspace may be making it at this moment."""
    import optuna

    monkeypatch.setenv("BLOODCELL_DB_URL", f"sqlite:///{tmp_path}/shared.sqlite")
    theirs = optuna.create_study(storage=studies._storage(), study_name="mine")
    with pytest.raises(LabError, match="has a study 'mine' already"):
        made()
    assert theirs.trials == []


def test_searches_are_kept_in_a_workspace_with_braces_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOODCELL_HOME", str(tmp_path / "{lab}"))
    (tmp_path / "{lab}").mkdir()
    assert studies._storage().get_all_studies() == []
    assert (tmp_path / "{lab}" / "lab.sqlite").exists()


def test_the_database_is_opened_once_and_anew_where_another_file_lies_in_its_place(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna

    opened: list[str] = []
    storage = optuna.storages.RDBStorage
    begin = storage.__init__
    monkeypatch.setattr(storage, "__init__", lambda it, url, **more: (opened.append(url), begin(it, url, **more))[1])
    made()
    assert [study.name for study in studies.readable()[0]] == studies.names() == ["mine"]
    assert len(opened) == 1
    for file in lab.glob("lab.sqlite*"):
        file.unlink()
    assert studies.names() == []
    shutil.rmtree(lab / "searches")
    assert made().trials() == []
    assert len(opened) == 2
    (lab / "lab.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(LabError, match="can't be used: file is not a database"):
        studies.names()


def test_a_study_whose_removing_was_killed_halfway_is_removed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    study = made()
    study.job.tell(state="done")
    with monkeypatch.context() as killed:
        killed.setattr("optuna.delete_study", lambda **of: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            studies.remove(study)
    left = Study("mine")
    assert left.status()["state"] == "interrupted"
    studies.remove(left)
    assert studies.names() == []
    assert made().name == "mine"


def test_a_study_with_nothing_left_to_do_says_so() -> None:
    study = searched(1)
    with pytest.raises(LabError, match="has its 1 trials"):
        studies.reopen(study)
    studies.reopen(study, trials=2)
    assert Study("mine").trials_wanted == 2


def test_a_study_of_another_workspace_can_be_read_and_used_but_not_gone_on_with(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = searched(1)
    monkeypatch.setenv("BLOODCELL_DB_URL", workspace.database_url())
    (lab / "searches").rename(lab / "away")
    assert study.status()["state"] == "elsewhere"
    assert study.describe()["best"]["settings"]["width"] == 1.0
    assert study.best_config().width == 1.0
    for refused in (lambda: studies.reopen(study, 2), lambda: search.work(study), lambda: studies.remove(study)):
        with pytest.raises(LabError):
            refused()


def test_the_best_starts_a_run_with_its_settings() -> None:
    study = made(3)
    with pytest.raises(LabError, match="has no finished trial yet"):
        study.best_config()
    search.work(study, say=quiet)
    best, losses = best_of(study.trials()), {trial["val_loss"] for trial in study.trials() if trial["state"] == "done"}
    assert best is not None
    assert len(losses) > 1, "any trial is the best, and nothing is shown"
    assert best["val_loss"] == min(losses)
    run = jobs.create_run(study.best_config())
    assert run.config == replace(study.config, **best["settings"])
    worker.work(run, say=quiet)
    summary = runs.Run(run.name).summary()
    assert summary["val_loss"] == best["val_loss"]


def test_another_dataset_of_the_same_name_is_not_searched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    study = searched(1)
    monkeypatch.setattr(Dataset, "content_hash", "another")
    for refused in (study.best_config, lambda: studies.reopen(study, 2)):
        with pytest.raises(LabError, match="is no longer the one"):
            refused()


# The database


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg2://me:secret@127.0.0.1:1/lab", "can't be used"),
        ("sqlite:////nowhere/at/all/lab.sqlite", "can't be used"),
        ("postgresql+psycopg2://me@127.0.0.1:1/lab?password=secret", "can't be used"),
        ("postgresql+psycopg2//me:secret@host/lab", "BLOODCELL_DB_URL is no address of a database"),
        ("postgresql+psycopg2://me:pass@word:secret@host/lab", "BLOODCELL_DB_URL is no address of a database"),
        ("made_up://host/lab", "can't be used"),
    ],
)
def test_a_database_that_cannot_be_reached_is_told_without_its_password(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOODCELL_DB_URL", url)
    with pytest.raises(LabError, match=said) as caught:
        studies.names()
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shared_database_holds_the_trials(lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOODCELL_DB_URL", os.environ.get("BLOODCELL_TEST_DB_URL") or f"sqlite:///{tmp_path}/shared.db")
    study = searched(2, name=f"shared-{os.getpid()}")
    assert study.name in studies.names()
    assert not (lab / "lab.sqlite").exists()
    studies.remove(study)


@pytest.mark.slow  # tests/test_writers.py has it at work each time
def test_postgresql_by_its_url(lab: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOODCELL_DB_URL", postgres_url)
    study = searched(6, name=f"postgres-{os.getpid()}")
    monkeypatch.delenv("BLOODCELL_DB_URL")
    here = searched(6, "here")
    monkeypatch.setenv("BLOODCELL_DB_URL", postgres_url)
    assert tried(study) == tried(here)
    studies.remove(study)


def test_optuna_says_nothing(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    losses_by(monkeypatch, lambda trial, epoch: 9.0 - trial)
    assert searched(6).importance()
    assert capfd.readouterr() == ("", "")


def test_a_study_is_read_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    losses_by(monkeypatch, lambda trial, epoch: 9.0 - trial)
    searched(5)
    script = (
        "import sys; from bloodcell_core.training import studies; study = studies.Study('mine'); "
        "assert study.describe()['importance']; assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_a_page_may_look_while_the_first_study_is_made() -> None:
    def look() -> None:
        while studies.names() != ["mine"]:
            pass

    with ThreadPoolExecutor() as pool:
        looks = [pool.submit(look) for _ in range(3)]
        made()
        for each in looks:
            each.result(60)
