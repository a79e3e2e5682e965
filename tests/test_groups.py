"""Cross-validation: every picture predicted once, by a network that saw nothing of its cell; one figure over all."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from bloodcell_core import disk, runs, workspace
from bloodcell_core.config import TrainConfig
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.splits import run_pictures
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation import scoring
from bloodcell_core.evaluation.external import own_pictures
from bloodcell_core.evaluation.predictions import probabilities_of
from bloodcell_core.evaluation.recommend import recommend
from bloodcell_core.evaluation.scoring import evaluated, score
from bloodcell_core.labels.overlays import freeze
from bloodcell_core.labels.verdicts import AMBIGUOUS, record
from bloodcell_core.runs import Run
from bloodcell_core.training import ensembles, groups, jobs, worker
from bloodcell_core.training.groups import Group
from bloodcell_core.training.prepare import cut_validation, split_rows
from tests import test_pages as pages
from tests.training_fixtures import Killed, losses, quiet, run_cli, tiny, train_here
from ui import once

pytest_plugins = ["tests.training_fixtures"]
pytestmark = pytest.mark.usefixtures("lab")

FOLDS = 3
OVER = pytest.mark.parametrize("over", ["all", "train"])


def finish(group: Group) -> Group:
    """Trains what is left of a group in this process."""
    for run in groups.unfinished(group):
        worker.work(run, quiet)
    return groups.find(group.name)


@pytest.fixture(scope="session")
def crossed_original(lab_original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs of a workspace with a finished cross-validation; not to be written to."""
    home = tmp_path_factory.mktemp("crossed") / "home"
    shutil.copytree(lab_original, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLOODCELL_HOME", str(home))
        finish(groups.create_group(tiny(epochs=1), FOLDS))
    return home / "runs"


@pytest.fixture
def crossed(lab: Path, crossed_original: Path) -> Group:
    """A finished cross-validation of three folds over all of `demo`."""
    shutil.copytree(crossed_original, lab / "runs", dirs_exist_ok=True)
    return groups.groups()[0]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose worker would have been started; none is."""
    names: list[str] = []
    monkeypatch.setattr(jobs, "start", lambda run: names.append(run.name))
    return names


def rewrite(**columns: Any) -> Dataset:
    """Changes the demo's table of pictures."""
    file = workspace.dataset_dir("demo") / "images.parquet"
    images = pd.read_parquet(file).assign(**columns)
    file.unlink()  # it is a hard link: the other tests' stays as it is
    images.to_parquet(file)
    return Dataset("demo")


def fold_rows(dataset: Dataset, over: str, folds: int = FOLDS) -> list[dict[str, np.ndarray]]:
    """The rows of each fold's train, val and test pictures."""
    configs = [tiny(folds=folds, fold=fold, fold_over=over) for fold in range(1, folds + 1)]
    return [split_rows(config, dataset, cut_validation(config, dataset)) for config in configs]


# What a fold is


@OVER
def test_each_picture_of_the_pool_is_tested_in_one_fold_and_used_in_every_one(over: str) -> None:
    dataset = Dataset("demo")
    pool = dataset.pictures.index if over == "all" else dataset.pictures.index[dataset.pictures.split != "test"]
    assert 0 < len(pool) <= 48
    each = fold_rows(dataset, over)
    assert sorted(np.concatenate([rows["test"] for rows in each])) == [*pool]
    for rows in each:
        assert sorted(np.concatenate([*rows.values()])) == [*pool]
        assert min(map(len, rows.values())) > 0


@OVER
@pytest.mark.parametrize("own_validation", [False, True])
def test_no_photo_and_no_cell_is_parted_by_a_fold(over: str, own_validation: bool) -> None:
    images = Dataset("demo").images
    number = images.source_photo.str[-4:].astype(int)
    split = images.split.where(~((images.split == "train") & (number % 5 == 0) & own_validation), "val")
    assert (split == "val").any() == own_validation
    dataset = rewrite(scene=images.label + (number // 2).astype(str), split=split)  # two photos of a class, one cell
    pictures = dataset.pictures
    assert pictures.groupby("scene").photo.nunique().max() == 2
    for rows in fold_rows(dataset, over):
        for column in ("photo", "scene"):
            trained, validated, tested = (set(pictures[column][rows[name]]) for name in ("train", "val", "test"))
            assert not tested & (trained | validated)
            assert not trained & validated


def test_the_datasets_own_test_split_is_left_unread_where_folds_are_cut_over_train() -> None:
    dataset = Dataset("demo")
    test = set(dataset.pictures.index[dataset.pictures.split == "test"])
    assert test
    for rows in fold_rows(dataset, "train"):
        assert not test & set(np.concatenate([*rows.values()]))


def test_without_folds_the_splits_are_the_datasets_own() -> None:
    dataset = Dataset("demo")
    assert run_pictures(tiny(), dataset) is dataset.pictures


def test_folds_keep_the_shares_of_the_classes_in_photos() -> None:
    pictures = Dataset("demo").pictures
    tested = [pictures.loc[rows["test"]].groupby("label").photo.nunique() for rows in fold_rows(Dataset("demo"), "all")]
    assert (sum(tested) == pictures.groupby("label").photo.nunique()).all()
    assert pd.concat(tested, axis=1).agg(np.ptp, axis=1).max() <= 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"folds": 5, "fold": 6}, "there is no fold 6 of 5 folds"),
        ({"folds": 1}, "dataset 'demo' can't be cut into 1 folds: at least 2 folds are needed"),
        ({"folds": 49}, "can't be cut into 49 folds: 27 photos are too few for 49 folds"),
    ],
)
def test_a_fold_that_cannot_be_makes_no_run(settings: dict[str, Any], said: str) -> None:
    before = runs.names()
    with pytest.raises(LabError, match=said):
        jobs.create_run(tiny(**settings))
    assert runs.names() == before


# A fold's run


def test_a_folds_run_keeps_predictions_of_its_fold_alone_and_is_repeated_from_its_config(crossed: Group) -> None:
    run, dataset = crossed.runs[2], Dataset("demo")
    table = run.predictions()
    for split in ("val", "test"):
        rows = split_rows(run.config, dataset, run.validation_photos)[split]
        assert set(table.image_id[table.split == split]) == set(dataset.pictures.image_id[rows])
    assert set(table.split) == {"val", "test"}
    again = train_here(epochs=1, folds=FOLDS, fold=2)
    assert again.group == ""
    assert losses(again) == losses(run)
    pd.testing.assert_frame_equal(again.predictions(), table)


def test_evaluating_a_folds_run_gives_its_kept_figures_on_its_own_splits(crossed: Group) -> None:
    run, dataset = crossed.runs[1], Dataset("demo")
    scores, summary = evaluated(run)[0], run.summary()
    assert {key: scores[key] for key in summary["test"]} == summary["test"]
    assert scores["fold"] == "1 of 3"
    rows = split_rows(run.config, dataset, run.validation_photos)
    counts = {split: evaluated(run, split=split, device="cpu")[0]["pictures"] for split in rows}
    assert counts == {split: len(rows[split]) for split in rows}
    # Predicted anew it is the same pictures and the same answers.
    anew = scoring._predict(run, dataset, own_pictures(run, dataset, "test"), "cpu")
    kept = run.predictions().query("split == 'test'")
    assert anew.image_id.tolist() == kept.image_id.tolist()
    np.testing.assert_allclose(probabilities_of(anew, run.classes), probabilities_of(kept, run.classes), atol=1e-5)


def test_a_fold_is_neither_recommended_nor_the_latest_run(crossed: Group) -> None:
    whole = next(name for name in runs.names() if not Run(name).group)
    assert runs.find("latest").name == whole
    said = recommend([run.describe() for run in runs.readable_runs()[0]])
    assert said is not None
    assert said.run == whole
    described = crossed.runs[3].describe()
    assert (described["fold"], described["group"]) == ("3 of 3", crossed.name)
    assert (Run(whole).describe()["fold"], Run(whole).describe()["group"]) == ("", "")
    runs.remove(Run(whole))
    with pytest.raises(LabError, match="no run has finished yet"):
        runs.find("latest")


# The group's figures


def test_every_picture_is_predicted_once_out_of_its_fold(crossed: Group) -> None:
    table, pictures = groups.pooled_predictions(crossed), Dataset("demo").pictures
    assert sorted(table.image_id) == sorted(pictures.image_id)
    assert set(table.split) == {"test"}
    assert (table.label == table.image_id.map(pictures.set_index("image_id").label)).all()
    for run in crossed.runs.values():
        mine = run.predictions().query("split == 'test'").set_index("image_id")
        pd.testing.assert_frame_equal(table.set_index("image_id").loc[mine.index], mine)


def test_the_pooled_figures_are_those_of_the_pooled_predictions(crossed: Group) -> None:
    tables = [crossed.runs[fold].predictions().query("split == 'test'") for fold in (1, 2, 3)]
    wanted = score(pd.concat(tables, ignore_index=True), Dataset("demo").classes)
    summary = groups.group_summary(crossed.name)
    pooled = summary["pooled"]
    assert "the AUC sets probabilities of 3 networks against each other" in pooled["notes"][-1]
    assert pooled | {"notes": pooled["notes"][:-1]} == wanted
    assert (pooled["pictures"], pooled["photos"]) == (48, 27)
    assert (summary["state"], summary["folds_done"], summary["folds"], summary["complete"]) == ("done", 3, 3, True)


def test_each_folds_figures_stand_beside(crossed: Group) -> None:
    summary = groups.group_summary(crossed.name)
    own = {fold: run.summary() for fold, run in crossed.runs.items()}
    accuracies = []
    for told in summary["runs"]:
        found = own[told["fold"]]
        assert found is not None
        assert (told["run"], told["state"], told["progress"]) == (crossed.runs[told["fold"]].name, "done", 1.0)
        assert told["accuracy"] == found["test"]["accuracy"]
        assert told["seconds"] == found["training_seconds"]
        accuracies.append(found["test"]["accuracy"])
    spread = summary["accuracy_by_fold"]
    assert spread["mean"] == pytest.approx(np.mean(accuracies))
    assert spread["spread"] == pytest.approx(np.std(accuracies, ddof=1))
    assert (spread["lowest"], spread["highest"]) == (min(accuracies), max(accuracies))
    assert summary["seconds"] == pytest.approx(sum(told["seconds"] for told in summary["runs"]))


def test_the_figures_of_a_finished_group_are_kept(crossed: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    first = groups.group_summary(crossed.name)
    monkeypatch.delattr(groups, "score")
    assert groups.group_summary(crossed.name) == first


def test_removing_a_fold_takes_the_kept_figures_with_it(crossed: Group) -> None:
    before = groups.group_summary(crossed.name)
    runs.remove(crossed.runs[2])
    left = groups.group_summary(crossed.name)
    assert (left["state"], left["folds_done"], left["complete"]) == ("interrupted", 2, False)
    assert left["runs"][1] == {
        "fold": 2, "run": None, "state": "missing", "reason": "", "epoch": 0, "progress": 0.0,
        "accuracy": None, "pictures": None, "photos": None, "val_accuracy": None, "seconds": None,
    }  # fmt: skip
    assert left["pooled"]["pictures"] == 48 - before["runs"][1]["pictures"]
    assert not workspace.group_file(crossed.name).exists()
    again = groups.group_summary(finish(groups.find(crossed.name)).name)
    assert again["pooled"] == before["pooled"]


# From beginning to end


def test_a_killed_cross_validation_goes_on_to_the_figures_of_an_unbroken_one(crossed: Group) -> None:
    group = groups.create_group(tiny(epochs=1), FOLDS)
    folds = groups.unfinished(group)
    assert worker.work(next(folds), quiet) == "done"
    second = next(folds)

    def die(line: str) -> None:
        if "epoch 1/1" in line:
            raise Killed

    with pytest.raises(Killed):
        worker.work(second, die)
    left = groups.group_summary(group.name)
    assert (left["state"], left["folds_done"], left["complete"]) == ("interrupted", 1, False)
    assert [told["state"] for told in left["runs"]] == ["done", "interrupted", "missing"]
    first = left["runs"][0]
    assert left["pooled"]["pictures"] == first["pictures"] < 48
    assert left["accuracy_by_fold"] == {
        "mean": first["accuracy"], "spread": None, "lowest": first["accuracy"], "highest": first["accuracy"]
    }  # fmt: skip
    assert not workspace.group_file(group.name).exists()

    whole = finish(groups.find(group.name))
    assert whole.runs[2].name == second.name
    pd.testing.assert_frame_equal(groups.pooled_predictions(whole), groups.pooled_predictions(crossed))
    summary = groups.group_summary(group.name)
    assert summary["complete"]
    assert summary["pooled"] == groups.group_summary(crossed.name)["pooled"]


def test_what_a_stopped_fold_kept_does_not_count(crossed: Group) -> None:
    group = groups.create_group(tiny(epochs=2), FOLDS)
    run = group.runs[1]
    assert worker.work(run, lambda line: "epoch 1/2" in line and (run.folder / "stop").touch()) == "stopped"  # type: ignore[func-returns-value]
    assert run.summary()
    summary = groups.group_summary(group.name)
    assert (summary["state"], summary["folds_done"], summary["pooled"]) == ("stopped", 0, None)
    assert (summary["accuracy_by_fold"], summary["seconds"]) == (None, 0)
    with pytest.raises(LabError, match="none of its folds is finished"):
        groups.pooled_predictions(group)


def test_a_cross_validation_queues_a_worker_for_each_fold(started: list[str]) -> None:
    group = groups.create_group(tiny(), FOLDS, "train")
    groups.go_on(group)
    group = groups.find(group.name)
    assert [group.runs[fold].name for fold in (1, 2, 3)] == started
    for fold, run in group.runs.items():
        assert run.config == tiny(folds=FOLDS, fold=fold, fold_over="train")
        assert run.group == group.name
    queued = [group.runs[fold].status()["queued"] for fold in (1, 2, 3)]
    assert queued == sorted(queued)
    facts = groups.describe(group)
    assert (facts["state"], facts["over"], facts["folds_done"]) == ("queued", "train", 0)


def test_going_on_starts_what_has_no_worker_and_is_not_done(crossed: Group, started: list[str]) -> None:
    groups.go_on(crossed)
    assert started == []
    runs.remove(crossed.runs[1])
    for fold in (2, 3):
        jobs.write_status(crossed.runs[fold].folder, state="running")
    with crossed.runs[3].lock:
        groups.go_on(groups.find(crossed.name))
    again = groups.find(crossed.name)
    assert started == [again.runs[1].name, again.runs[2].name]
    assert again.runs[2].status()["state"] == "queued"


def test_stopping_asks_every_run_that_has_not_ended(crossed: Group, started: list[str]) -> None:
    jobs.write_status(crossed.runs[2].folder, state="queued")
    groups.stop(crossed)
    assert [fold for fold, run in crossed.runs.items() if (run.folder / "stop").exists()] == [2]


@pytest.mark.parametrize(
    ("settings", "folds", "said"),
    [
        ({}, 1, "needs at least 2 folds, not 1"),
        ({}, 0, "needs at least 2 folds, not 0"),
        ({}, 49, "27 photos are too few for 49 folds"),
        ({}, 101, "folds must lie between 0 and 100, not 101"),
        ({"folds": 4}, 3, "cuts its folds by itself"),
        ({"fold": 2}, 3, "cuts its folds by itself"),
        ({"fold_over": "train"}, 3, "cuts its folds by itself"),
        ({"data": "nothing"}, 3, "there is no dataset"),
        ({"model": "vgg"}, 3, "no network is called"),
        ({"refuse": "monocyte, neutrophil"}, 20, "fold 14 of 20 has no picture of the classes that are named"),
    ],
)
def test_what_cannot_be_cross_validated_makes_no_run(settings: dict[str, Any], folds: int, said: str) -> None:
    before = runs.names()
    with pytest.raises(LabError, match=said):
        groups.create_group(tiny(**settings), folds)
    assert runs.names() == before


def test_no_fold_is_trained_where_a_later_one_could_not_be() -> None:
    """Two photos a class: each fold leaves one of each to train on, and none to validate on."""
    images, before = Dataset("demo").images, runs.names()
    halves = images.label + (images.groupby("label").cumcount() % 2).astype(str)
    rewrite(source_photo=halves, scene=halves)
    with pytest.raises(LabError, match="too few training photos"):
        groups.create_group(tiny(), 2)
    assert runs.names() == before


def test_no_fold_is_trained_where_reviewed_labels_leave_a_later_one_nothing_to_validate_on() -> None:
    dataset, before = Dataset("demo"), runs.names()
    validated = fold_rows(dataset, "all")[-1]["val"]
    record(dataset, dataset.pictures.image_id[validated].tolist(), AMBIGUOUS, by="Ana")
    freeze("day-one", dataset, by="Ana")
    with pytest.raises(LabError, match="overlay day-one@1 leaves no validation picture"):
        groups.create_group(tiny(labels="day-one"), FOLDS)
    assert runs.names() == before


def test_a_group_is_not_finished_on_other_pictures(crossed: Group) -> None:
    runs.remove(crossed.runs[2])
    facts = workspace.dataset_dir("demo") / "dataset.json"
    changed = disk.read_json(facts) | {"content_hash": "other"}
    facts.unlink()
    disk.write_json(facts, changed)
    with pytest.raises(LabError, match="is no longer the one that"):
        next(groups.unfinished(groups.find(crossed.name)))


def test_references_to_groups(crossed: Group) -> None:
    other = groups.create_group(tiny(epochs=1), FOLDS)
    assert {group.name for group in groups.groups()} == {crossed.name, other.name}
    for reference in (crossed.name, crossed.name[:-1]):
        assert groups.find(reference).name == crossed.name
    for reference in ("", "nothing", next(iter(crossed.runs.values())).name):
        with pytest.raises(LabError, match=f"there is no cross-validation '{reference}'"):
            groups.find(reference)
    with pytest.raises(LabError, match="begins the names of 2 cross-validations"):
        groups.find("2")


def test_what_begins_the_names_of_a_cross_validation_and_of_its_run_is_neither(
    done: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first run is often made in the same second."""
    monkeypatch.setattr(workspace, "dated_name", lambda what: f"20991231-235959-{what}-1f3a")
    group = groups.create_group(tiny(), FOLDS)
    for verb in ("compare", "ensemble"):
        code, _, err = run_cli(capsys, verb, "20991231", done.name)
        both = f"'20991231' begins the names of 2 runs and cross-validations: give more of it ({group.name}, "
        assert (code, both in err) == (2, True), err
    assert isinstance(groups.find_run_or_group(group.name[:-1]), Group)
    for found, reference in ((group.first, group.first.name), (group.first, group.first.name[:-1]), (done, "latest")):
        assert groups.find_run_or_group(reference).name == found.name
    code, _, err = run_cli(capsys, "ensemble", done.name, group.name)
    assert (code, f"not of both: {group.name} is no run" in err) == (2, True), err


# On the pages


def card() -> None:
    from bloodcell_core.training import groups
    from ui.groups import group_card

    for group in groups.groups():
        group_card(group)


def words(app: AppTest) -> str:
    return "\n".join(element.value for kind in (app.markdown, app.caption, app.error) for element in kind)


def draw(page: Callable[..., None], **values: Any) -> AppTest:
    app = AppTest.from_function(page, kwargs=values, default_timeout=30).run()
    assert not app.exception
    return app


def buttons(app: AppTest) -> list[Any]:
    """Those of the card, but for the one that every card has."""
    return [button for button in app.button if button.label != "Name, tags, delete"]


def test_the_card_of_a_finished_group(crossed: Group) -> None:
    app, pooled = draw(card), groups.group_summary(crossed.name)["pooled"]
    low, high = (100 * limit for limit in pooled["intervals"]["accuracy"])
    said = words(app)
    for part in (
        "Cross-validation, 3 folds: 3 of 3 done",
        f"Out-of-fold accuracy **{pooled['accuracy']:.1%}**",
        f"95% interval {low:.1f} to {high:.1f} · 48 pictures, 27 photos",
        "standard deviation",
        "synthetic",
    ):
        assert part in said
    (table,) = app.dataframe
    assert table.value["Fold"].tolist() == [1, 2, 3]
    assert "Photos" in table.value
    assert not buttons(app)


def test_folds_by_groups_that_a_table_told_are_of_groups(crossed: Group, capsys: pytest.CaptureFixture[str]) -> None:
    for run in crossed.runs.values():
        file = run.folder / "predictions.parquet"
        pd.read_parquet(file).assign(copies=False).to_parquet(file)
    workspace.group_file(crossed.name).unlink(missing_ok=True)
    app = draw(card)
    assert "Groups" in app.dataframe[0].value
    assert "which groups are trained on" in words(app)
    _, told, _ = run_cli(capsys, "runs", "group", crossed.name)
    assert re.search(r"\d pictures of \d+ groups,", told)
    assert "photo" not in told


def test_the_card_of_an_unfinished_group_goes_on(crossed: Group, started: list[str]) -> None:
    runs.remove(crossed.runs[3])
    app = draw(card)
    assert "3 folds: 2 of 3 done" in app.get("progress")[0].proto.text
    assert "Out-of-fold accuracy of 2 of 3 folds" in words(app)
    (button,) = buttons(app)
    assert button.label == "Go on"
    button.click().run()
    assert started == [groups.find(crossed.name).runs[3].name]


def test_the_card_of_a_group_with_a_damaged_fold_tells_of_it_and_lets_it_be_deleted(crossed: Group) -> None:
    (crossed.runs[2].folder / "predictions.parquet").write_text("{")
    app = draw(card)
    assert "predictions.parquet can't be read" in words(app)
    assert "Name, tags, delete" in [button.label for button in app.button]


def test_a_cross_validation_is_deleted_as_a_whole_unless_it_is_at_work(crossed: Group) -> None:
    before = {*runs.names()}
    jobs.write_status(crossed.runs[2].folder, state="running")
    with crossed.runs[2].lock, pytest.raises(LabError, match="is at work: stop it first"):
        groups.remove(crossed)
    assert {*runs.names()} == before
    jobs.write_status(crossed.runs[2].folder, state="done")
    app = pages.draw("pages/2_Train.py").button(key=f"name-{crossed.name}").click().run()
    app.checkbox(key=f"whole_of_{crossed.first.name}").check().run()
    assert "logs of 3 runs go" in pages.words(app)
    app.checkbox(key=f"sure_of_{crossed.first.name}").check().run()
    app.button(key="naming_delete").click().run()
    assert not app.exception
    assert before - {*runs.names()} == {run.name for run in crossed.runs.values()}
    assert groups.groups() == []


def test_of_a_cross_validation_that_an_ensemble_needs_nothing_is_deleted(crossed: Group) -> None:
    other = train_here(epochs=1, folds=FOLDS, fold=2, learning_rate=0.01)
    needed = ensembles.create_ensemble([crossed.runs[2], other], "both")
    before = {*runs.names()}
    with pytest.raises(LabError, match=f"is a member of {needed.name}: remove that first"):
        groups.remove(crossed)
    assert {*runs.names()} == before


def test_a_cross_validation_is_removed_by_its_name(crossed: Group, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, told = run_cli(capsys, "runs", "remove", crossed.name[:8])  # its day, which begins its runs' names
    assert (code, crossed.first.folder.exists()) == (2, True)
    assert "runs and cross-validations" in told
    assert run_cli(capsys, "runs", "remove", crossed.name[:-1])[1] == f"removed cross-validation {crossed.name}\n"
    assert groups.groups() == []


def test_the_card_tells_why_a_fold_failed_and_stops_the_others(crossed: Group) -> None:
    jobs.write_status(crossed.runs[1].folder, state="failed", reason="the disk is full")
    jobs.write_status(crossed.runs[2].folder, state="queued")
    app = draw(card)
    assert "Fold 1: the disk is full" in words(app)
    (button,) = buttons(app)
    assert button.label == "Stop"
    button.click().run()
    assert (crossed.runs[2].folder / "stop").exists()


def start_page(settings):  # type: ignore[no-untyped-def]  # its source is run elsewhere, where no name is known
    from bloodcell_core.config import TrainConfig
    from ui.groups import cross_validation_button

    cross_validation_button(TrainConfig(**settings) if settings else None)


def test_the_button_starts_a_cross_validation_of_the_pages_settings(
    started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "DOUBLE_CLICK", 1e6)
    app = draw(start_page, settings=tiny().to_json())
    assert not groups.groups()
    app.text_input("cross_validation_folds").set_value("21").run()
    assert next(button for button in app.button if button.label == "Start").disabled
    app.text_input("cross_validation_folds").set_value("4").run()
    next(button for button in app.button if button.label == "Start").click().run()
    (group,) = groups.groups()
    assert [len(started), group.config.folds, group.config.fold_over] == [4, 4, "all"]
    assert TrainConfig(**group.config.to_json() | {"folds": 0, "fold": 1}) == tiny()
    next(button for button in app.button if button.label == "Start").click().run()
    assert len(groups.groups()) == 1


def test_a_fold_that_is_made_anew_ends_the_figures_of_all(crossed: Group) -> None:
    kept = workspace.group_file(crossed.name)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("{}")
    jobs.create_run(crossed.first.config, group=crossed.name)
    assert not kept.exists()


def test_the_button_s_popover_is_closed_by_a_start(started: list[str]) -> None:
    """Left open it asks for a second press, which starts everything again."""
    app = draw(start_page, settings=tiny().to_json())
    app.session_state["cross_validation"] = True
    app.run()
    next(button for button in app.button if button.label == "Start").click().run()
    assert app.session_state["cross_validation"] is False


def test_the_button_tells_what_cannot_be(started: list[str]) -> None:
    app = draw(start_page, settings=tiny(data="nothing").to_json())
    next(button for button in app.button if button.label == "Start").click().run()
    assert "there is no dataset 'nothing'" in words(app)
    assert not groups.groups()
    assert draw(start_page, settings=None)


def test_cross_validations_are_compared_on_the_reviewed_labels_that_one_was_trained_with(
    crossed: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    """As runs are, without being asked to."""
    demo = Dataset("demo")
    record(demo, demo.pictures.image_id[:1].tolist(), AMBIGUOUS, by="Ana")
    overlay, _ = freeze("day-one", demo, by="Ana")
    reviewed = finish(groups.create_group(tiny(epochs=1, labels="day-one"), FOLDS))
    code, told, _ = run_cli(capsys, "compare", crossed.name, reviewed.name, "--json")
    (facts,) = json.loads(told)["reviewed"].values()
    assert code == 0
    assert [side["pictures"] for side in facts["runs"]] == [len(demo.pictures) - len(overlay.rows)] * 2
