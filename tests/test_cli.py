"""The command line: one JSON object, exit codes, one line for every error, and nothing lost by a wrong word."""

from __future__ import annotations

import argparse
import codecs
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from bloodcell_core import __version__, config, disk, runs, workspace
from bloodcell_core.cli import _parser, main
from bloodcell_core.cli.output import print_lines
from bloodcell_core.cli.parser import FLAGGED
from bloodcell_core.config import PRESETS, TrainConfig
from bloodcell_core.data.demo import draw_picture
from bloodcell_core.data.formats import FORMATS
from bloodcell_core.data.pictures import encode
from bloodcell_core.errors import LabError
from bloodcell_core.models import MODELS
from bloodcell_core.runs import Run
from bloodcell_core.training import jobs, loop, studies
from bloodcell_core.training.loop import NonFiniteLoss
from bloodcell_core.words import groups_behind
from tests.conftest import encoded, random_picture, write_class_folder, write_files
from tests.training_fixtures import TINY, answering_otherwise, losses, tiny, train_here, wait_for

pytest_plugins = ["tests.training_fixtures"]
pytestmark = pytest.mark.usefixtures("lab")


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def value(self) -> dict[str, Any]:
        """What stands on stdout, which must be one JSON object and nothing else."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    def assert_refused(self, said: str, code: int = 2) -> None:
        """It ended with `code`, said so in one line that holds `said`, and printed nothing else."""
        assert self.code == code, self
        assert said in self.err
        assert self.err.endswith("\n")
        assert len(self.err.splitlines()) == 1, self.err
        assert self.out == ""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command line in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse ends the process by itself
            code = end.code if isinstance(end.code, int) else 1
        return Outcome(code, *capsys.readouterr())

    return run


def shell(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Starts the command line in a process of its own."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        [sys.executable, "-m", "bloodcell_core", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
        env=environment,
        **options,
    )


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Every path below a folder and what is in it, lock files aside."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.suffix != ".lock" and path.name != "locks"
    }


TINY_FLAGS = [f"--{name}={value}" for name, value in TINY.items()]


# Every reading verb


def reading_verbs(run: str, picture: Path) -> dict[str, tuple[list[object], set[str]]]:
    """Each reading verb with the keys that the design promises."""
    return {
        "data list": (["data", "list"], {"datasets"}),
        "data show": (
            ["data", "show", "demo"],
            {"name", "format", "classes", "pictures", "unreadable", "splits", "photos_in_several_splits"},
        ),
        "runs list": (["runs", "list"], {"runs"}),
        "runs show": (
            ["runs", "show", run],
            {"run", "state", "reason", "model", "data", "view", "epoch", "epochs"},
        ),
        "evaluate": (
            ["evaluate", run],
            {"run", "data", "split", "classes", "pictures", "photos", "accuracy", "balanced_accuracy",
             "f1_macro", "auc_ovr", "confusion", "intervals"},
        ),
        "predict": (["predict", run, picture], {"pictures"}),
        "cells": (["cells", picture], {"pictures"}),
    }  # fmt: skip


VERBS = list(reading_verbs("", Path()))


@pytest.mark.parametrize("verb", VERBS)
def test_json_is_one_object_with_the_designs_keys_and_nothing_else(
    verb: str, cli: Callable[..., Outcome], done: Run, pictures: list[Path]
) -> None:
    arguments, keys = reading_verbs(done.name, pictures[0])[verb]
    outcome = cli(*arguments, "--json")
    assert outcome.code == 0
    assert outcome.value.keys() >= keys
    assert len(outcome.out.splitlines()) == 1
    assert outcome.err == ""


@pytest.mark.parametrize("verb", VERBS)
def test_without_json_it_is_words_for_a_person(
    verb: str, cli: Callable[..., Outcome], done: Run, pictures: list[Path]
) -> None:
    outcome = cli(*reading_verbs(done.name, pictures[0])[verb][0])
    assert outcome.code == 0
    assert outcome.out.strip()
    assert not outcome.out.lstrip().startswith("{")


@pytest.mark.parametrize("verb", VERBS)
def test_reading_changes_nothing(
    verb: str, cli: Callable[..., Outcome], lab: Path, done: Run, pictures: list[Path]
) -> None:
    before = contents(lab)
    cli(*reading_verbs(done.name, pictures[0])[verb][0])
    assert contents(lab) == before


def test_what_data_show_tells(cli: Callable[..., Outcome]) -> None:
    facts = cli("data", "show", "demo", "--json").value
    assert (facts["name"], facts["format"], facts["synthetic"]) == ("demo", "demo", True)
    assert facts["classes"] == ["eosinophil", "lymphocyte", "monocyte", "neutrophil"]
    assert (facts["pictures"], facts["unreadable"], facts["photos_in_several_splits"]) == (48, 0, 0)
    assert facts["splits"].keys() == {"train", "test"}
    for part in facts["splits"].values():
        assert part.keys() >= {"pictures", "photos", "by_class"}
        assert sum(part["by_class"].values()) == part["pictures"] >= part["photos"]
    assert "synthetic" in cli("data", "show", "demo").out


def test_data_show_tells_of_groups_in_several_splits_and_of_files_passed_over(
    cli: Callable[..., Outcome], lab_home: Path, tmp_path: Path
) -> None:
    splits = {"a1": "train", "b2": "train", "b3": "train", "a2": "test", "b1": "test", "b1-too": "test", "b4": "test"}
    rows = "".join(f"{name}.png,{name[0]},{split},{name[1]}\n" for name, split in splits.items())
    pictures = {f"{name}.png": encoded(random_picture(number)) for number, name in enumerate(splits)}
    table = {"table.csv": f"path,label,split,group\n{rows}".encode(), "notes.txt": b""}
    cli("data", "import", write_files(tmp_path / "mine", pictures | table))
    lines = cli("data", "show", "mine").out.splitlines()
    assert "warning: 2 groups in several splits: 3 test pictures of what training sees too" in lines
    assert "0 unreadable, 0 byte-identical duplicates left out, 2 other files passed over" in lines


def test_of_many_unreadable_files_it_says_how_many_it_does_not_name(
    cli: Callable[..., Outcome], lab_home: Path, tmp_path: Path
) -> None:
    bad = {f"blast/bad-{number:02}.png": b"words" for number in range(23)}
    shown = cli("data", "import", write_class_folder(write_files(tmp_path / "mine", bad))).out.splitlines()
    assert "23 unreadable, 0 byte-identical duplicates left out, 0 other files passed over" in shown
    assert sum("blast/bad-" in line for line in shown) == 20
    assert shown[-1] == "  … and 3 more (--json names all)"


def test_what_runs_list_and_show_tell(cli: Callable[..., Outcome], done: Run) -> None:
    (row,) = cli("runs", "list", "--json").value["runs"]
    assert row == {
        "run": done.name, "state": "done", "model": "basic_cnn", "data": "demo", "view": "frame",
        "weights": "default", "pretrained": False, "synthetic": True, "fold": "", "group": "", "bundled": False,
        "title": "", "tags": [],
    }  # fmt: skip
    facts = cli("runs", "show", "latest", "--json").value
    assert {key: facts[key] for key in row} == row
    assert (facts["reason"], facts["epoch"], facts["epochs"]) == ("", 3, 3)
    words = cli("runs", "show", "latest").out
    for said in ("synthetic", "trained from scratch (weights: none)", "accuracy", "photos"):
        assert said in words


def test_what_evaluate_tells(cli: Callable[..., Outcome], done: Run) -> None:
    scores = cli("evaluate", "latest", "--json").value
    assert (scores["run"], scores["data"], scores["split"]) == (done.name, "demo", "test")
    summary = done.summary()
    assert {key: scores[key] for key in summary["test"]} == summary["test"]
    low, high = scores["intervals"]["f1_macro"] or (0, 1)
    assert 0 <= low <= high <= 1
    words = cli("evaluate", "latest").out
    accuracy, behind = f"{scores['accuracy']:.4f}", f"{groups_behind(scores)}\n"
    head = f"{done.name} on demo (synthetic pictures), trained on synthetic pictures, "
    for said in (head, "weights: none", accuracy, "rows are true", behind):
        assert said in words
    assert f"Cohen's kappa      {scores['kappa']:.4f}" in words
    told = scores["calibration"]
    assert f"calibration error  {(told['after'] or told['before'])['ece']:.4f}" in words
    assert "calibration error" not in cli("evaluate", "latest", "--split", "val").out
    validation = cli("evaluate", "latest", "--split", "val", "--json").value
    assert validation["split"] == "val"
    assert validation["pictures"] == (done.predictions().split == "val").sum()


@pytest.fixture
def other_seed(done: Run) -> Run:
    return answering_otherwise(done, "20260101-000000-basic_cnn-seed")


def test_what_compare_tells(cli: Callable[..., Outcome], done: Run, other_seed: Run) -> None:
    from bloodcell_core.evaluation.comparison import compare

    told = cli("compare", done.name, other_seed.name, "--json").value
    assert [row["run"] for row in told["runs"]] == [done.name, other_seed.name]
    assert told["comparisons"] == [compare(done, other_seed)]
    facts = told["comparisons"][0]
    for side, row in zip("ab", told["runs"], strict=True):
        alone = cli("evaluate", row["run"], "--json").value
        assert {key: alone[key] for key in row} == row
        assert facts["metrics"]["f1_macro"][side] == alone["f1_macro"]
        assert facts["confusion"][side] == alone["confusion"]
    assert told["seed_groups"][0]["runs"] == [done.name, other_seed.name]
    words = cli("compare", done.name, other_seed.name).out
    assert f"A is {done.name}, B is {other_seed.name}\n  {facts['verdict']}" in words
    assert f"B less A {facts['metrics']['accuracy']['difference']:+.4f}" in words
    assert "differ by their seed alone" in words
    right = [row["by_photo"]["interval"] for row in told["runs"]]
    assert all(f"95% interval {low:.4f} to {high:.4f}" in words for low, high in right)
    assert words.count("million operations a picture") == 2
    assert words.count(" on demo (synthetic pictures): ") == 2


def test_classes_are_merged_in_a_comparison(
    cli: Callable[..., Outcome], done: Run, other_seed: Run, tmp_path: Path
) -> None:
    from bloodcell_core.evaluation.comparison import compare_sides, side_of
    from bloodcell_core.evaluation.merging import granulocytes

    pair, report = (done.name, other_seed.name), tmp_path / "merged.html"
    told = cli("compare", *pair, "--merge", "granulocytes", "--report", str(report), "--json").value
    groups = granulocytes(done.classes)
    assert groups is not None
    assert told["comparisons"] == [compare_sides(*(side_of(run).merged(groups) for run in (done, other_seed)))]
    assert list(told["runs"][0]["per_class"]) == ["granulocyte", "other"]
    assert "granulocyte" in report.read_text(encoding="utf-8")
    words = cli("compare", *pair, "--merge", "mono=lymphocyte,monocyte").out
    assert words.startswith("classes merged: eosinophil, mono, neutrophil\n")
    cli("compare", *pair, "--merge", "x=nothing").assert_refused("there is no class 'nothing'")


def test_several_runs_are_each_set_against_the_first(cli: Callable[..., Outcome], done: Run, other_seed: Run) -> None:
    third = workspace.run_dir("20260101-000000-basic_cnn-more")
    shutil.copytree(other_seed.folder, third)
    told = cli("compare", done.name, other_seed.name, third.name, "--json").value
    assert [(facts["a"], facts["b"]) for facts in told["comparisons"]] == [
        (done.name, other_seed.name), (done.name, third.name)
    ]  # fmt: skip
    assert told["comparisons"][0]["metrics"] == told["comparisons"][1]["metrics"]
    for facts in told["comparisons"]:
        assert facts["notes"][-1].startswith("A is set against 2 runs here")
        assert facts["notes"][-1].endswith("go by p below 0.025")
    alone = cli("compare", done.name, other_seed.name, "--json").value
    assert "set against" not in str(alone["comparisons"][0]["notes"])


def test_runs_on_other_pictures_are_refused(cli: Callable[..., Outcome], done: Run, other_seed: Run) -> None:
    table = other_seed.predictions()
    table[table.split == "test"].iloc[1:].to_parquet(other_seed.folder / "predictions.parquet")
    cli("compare", done.name, other_seed.name).assert_refused("they were tested on different pictures")
    recorded = disk.read_json(other_seed.folder / "config.json")
    disk.write_json(other_seed.folder / "config.json", recorded | {"data_hash": "another"})
    cli("compare", done.name, other_seed.name).assert_refused("trained and tested on different data")


def test_what_predict_tells(cli: Callable[..., Outcome], tmp_path: Path, pictures: list[Path]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(pictures[0], folder / "a.png")
    (folder / "b.png").write_text("no picture")
    outcome = cli("predict", "latest", folder, pictures[1], "--json", "--threshold", "0")
    assert (outcome.code, outcome.err) == (2, "bloodcell_core: 1 of 3 files can't be read as a picture\n")
    good, bad, other = outcome.value["pictures"]
    assert (good["path"], good["state"]) == (str(folder / "a.png"), "ok")
    (cell,) = good["cells"]
    assert cell.keys() >= {"box", "state", "label", "probabilities"}
    assert (bad["state"], bad["cells"]) == ("refused", [])
    assert bad["reason"]
    assert other["path"] == str(pictures[1])
    words = cli("predict", "latest", folder, "--threshold", "0").out.splitlines()
    assert cell["label"] in words[0]
    assert f"refused ({bad['reason']})" in words[1]
    assert cli("predict", "latest", *pictures[:2]).code == 0


def test_what_cells_tells(cli: Callable[..., Outcome], pictures: list[Path]) -> None:
    (row,) = cli("cells", pictures[0], "--json").value["pictures"]
    assert (row["path"], row["width"], row["height"]) == (str(pictures[0]), 320, 240)
    for x0, y0, x1, y1 in row["boxes"]:
        assert 0 <= x0 < x1 <= 320
        assert 0 <= y0 < y1 <= 240
    assert row["boxes"]


def test_cells_tells_that_a_file_holds_more_pictures(cli: Callable[..., Outcome], tmp_path: Path) -> None:
    pages = [Image.fromarray(draw_picture("monocyte", np.random.default_rng(seed))) for seed in range(2)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    outcome = cli("cells", tmp_path / "stack.tif")
    assert "1 white cell" in outcome.out
    assert "(the first of several pictures in the file: save the others as files of their own)" in outcome.out
    assert outcome.code == 0


def test_cells_tells_a_bad_picture_and_goes_on(
    cli: Callable[..., Outcome], tmp_path: Path, pictures: list[Path]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.png").write_text("no picture")
    shutil.copy(pictures[0], folder / "b.png")
    outcome = cli("cells", folder, pictures[1], "--json")
    bad, good, other = outcome.value["pictures"]
    assert (bad["path"], bad["boxes"], bool(bad["reason"])) == (str(folder / "a.png"), [], True)
    assert [bool(row["boxes"]) and row["reason"] == "" for row in (good, other)] == [True, True]
    assert "1 of 3 files can't be read as a picture" in outcome.err
    assert outcome.code == 2
    assert f"a.png: refused ({bad['reason']})" in cli("cells", folder).out
    assert cli("cells", folder / "b.png").code == 0
    cli("cells", folder, tmp_path / "none.png").assert_refused("none.png doesn't exist")


def test_an_empty_workspace_says_what_to_do(cli: Callable[..., Outcome], lab: Path) -> None:
    shutil.rmtree(lab)
    assert "data demo" in cli("data", "list").out
    assert "train" in cli("runs", "list").out
    assert cli("data", "list", "--json").value == {"datasets": []}
    assert cli("runs", "list", "--json").value == {"runs": []}
    cli("runs", "show", "latest").assert_refused("no run has finished yet")
    assert not lab.exists()


def test_who_has_no_run_is_told_of_the_one_that_comes_along(
    cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "readable_runs", lambda: ([], []))
    monkeypatch.setattr(runs, "bundled_names", lambda: ["cell-net"])
    cli("runs", "show", "latest").assert_refused("`train` makes one; cell-net comes with the program")


def test_of_a_file_too_large_for_a_picture_no_more_is_read_than_tells_it(
    cli: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloodcell_core.data.sources.MAX_FILE_BYTES", 1000)
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(100_000_000)  # takes no disk
    tracemalloc.start()
    try:
        outcome = cli("cells", str(tmp_path / "large.png"))
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert outcome.code == 2
    assert "larger than" in outcome.out


def test_a_damaged_dataset_is_told_beside_the_list(cli: Callable[..., Outcome], done: Run) -> None:
    folder = workspace.dataset_dir("dead")
    folder.mkdir()
    (folder / "dataset.json").write_text("{")
    told = cli("data", "list", "--json")
    assert [row["name"] for row in told.value["datasets"]] == ["demo"]
    assert "left out: " in told.err
    assert "dead" in told.err
    assert cli("data", "remove", "dead").code == 0
    assert not folder.exists()


def test_a_dataset_that_was_copied_by_hand_is_listed_by_its_own_name(cli: Callable[..., Outcome], done: Run) -> None:
    copy = workspace.dataset_dir("copy")
    shutil.copytree(workspace.dataset_dir("demo"), copy)
    facts = disk.read_json(copy / "dataset.json")
    del facts["pictures"]
    disk.write_json(copy / "dataset.json", facts)
    listed = {row["name"]: row["pictures"] for row in cli("data", "list", "--json").value["datasets"]}
    shown = {name: cli("data", "show", name, "--json").value["pictures"] for name in ("copy", "demo")}
    assert listed == shown


def test_a_damaged_run_is_told_beside_the_list(cli: Callable[..., Outcome], done: Run) -> None:
    damaged = jobs.create_run(tiny())
    (damaged.folder / "status.json").write_text("{")
    outcome = cli("runs", "list", "--json")
    assert [row["run"] for row in outcome.value["runs"]] == [done.name]
    assert damaged.name in outcome.err
    assert outcome.code == 0


# Wrong words


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "VERB"),
        (["data"], "VERB"),
        (["dance"], "dance"),
        (["data", "show"], "name"),
        (["data", "show", "nothing"], "there is no dataset 'nothing' (there are: demo)"),
        (["data", "show", "../runs"], "can't name a dataset"),
        (["data", "remove", "nothing"], "there is no dataset"),
        (["data", "demo"], "'demo' exists already"),
        (["data", "demo", "--name", "Ünïcode"], "can't name a dataset"),
        (["data", "demo", "--name", "new", "--per-class", "2"], "between 10 and 5,000"),
        (["data", "demo", "--name", "new", "--per-class", "0"], "between 10 and 5,000"),
        (["data", "demo", "--name", "new", "--per-class", "many"], "many"),
        (["data", "demo", "--name", "new", "--seed", "-1"], "seed"),
        (["data", "import", "nowhere.zip"], "nowhere.zip doesn't exist"),
        (["train"], "settings are missing: data, model"),
        (["train", "--data", "demo"], "settings are missing: model"),
        (["train", "--data", "nothing", "--model", "basic_cnn"], "there is no dataset 'nothing'"),
        (["train", "--data", "demo", "--model", "vgg"], "there are basic_cnn, deep_cnn, cell_net"),
        (["train", "--data", "demo", "--model", "basic_cnn", "--view", "side"], "view is frame or cell"),
        (["train", "--data", "demo", "--model", "basic_cnn", "--epochs", "0"], "between 1 and 1,000"),
        (["train", "--data", "demo", "--model", "basic_cnn", "--epochs", "few"], "epochs takes a whole number"),
        (["train", "--data", "demo", "--model", "basic_cnn", "--set", "colour=red"], "no setting is called 'colour'"),
        (["train", "--data", "demo", "--model", "basic_cnn", "--set", "epochs"], "--set takes FIELD=VALUE"),
        (["train", "--data", "demo", "--model", "basic_cnn", "--epochs", "3", "--set", "epochs=4"], "leave one"),
        (["train", "--data", "demo", "--model", "basic_cnn", "--set", "size=31"], "between 32 and 512"),
        (["train", "--data", "demo", "--model", "basic_cnn", "--set", "learning_rate=nan"], "learning rate"),
        (["train", "--data", "demo", "--model", "basic_cnn", "--device", "tpu"], "device is auto, cpu, cuda"),
        (["train", "--data", "demo", "--model", "basic_cnn", "--weights", "x.pth"], "no pretrained weights"),
        (["train", "--data", "demo", "--model", "resnet18", "--weights", "x.pth"], "there is no such file"),
        (["train", "--data", "demo", "--model", "basic_cnn", "--preset", "perfect"], "perfect"),
        (["train", "--data", "demo", "--model", "basic_cnn", "--foreground", "--detach"], "--detach"),
        (["cross-validate"], "settings are missing: data, model"),
        (["cross-validate", "--data", "demo", "--model", "basic_cnn", "--folds", "1"], "at least 2 folds, not 1"),
        (["cross-validate", "--data", "demo", "--model", "basic_cnn", "--folds", "some"], "some"),
        (["cross-validate", "--data", "demo", "--model", "basic_cnn", "--over", "test"], "test"),
        (["cross-validate", "--data", "demo", "--model", "basic_cnn", "--folds", "49"], "too few for 49 folds"),
        (["cross-validate", "--data", "demo", "--model", "basic_cnn", "--set", "fold=2"], "cuts its folds by itself"),
        (["cross-validate", "--group", "nothing"], "there is no cross-validation 'nothing'"),
        (["cross-validate", "--group", "nothing", "--epochs", "3"], "leave out all others"),
        (["cross-validate", "--group", "nothing", "--folds", "3"], "leave out all others"),
        (["runs", "group", "nothing"], "there is no cross-validation 'nothing'"),
        (["runs", "show", "nothing"], "there is no run 'nothing'"),
        (["runs", "show", "2"], "begins the names of 2 runs"),
        (["runs", "show", ""], "there is no run ''"),
        (["runs", "stop", "latest"], "isn't at work: it is done"),
        (["runs", "resume", "latest"], "is done: only an interrupted"),
        (["runs", "remove", "nothing"], "there is no run"),
        (["evaluate", "nothing"], "there is no run"),
        (["evaluate", "latest", "--split", "all"], "'demo' is the run's own"),
        (["evaluate", "latest", "--predictions", "table.xlsx"], "as .csv or .parquet"),
        (["evaluate", "latest", "--classes", "nowhere.csv"], "nowhere.csv can't be read"),
        (["compare", "latest"], "two or more different runs"),
        (["compare", "latest", "latest"], "two or more different runs"),
        (["compare", "latest", "nothing"], "there is no run or cross-validation 'nothing'"),
        (["evaluate", "latest", "--data", "nothing"], "there is no dataset"),
        (["evaluate", "latest", "--split", "train", "--device", "tpu"], "device is auto, cpu, cuda"),
        (["predict", "latest"], "PATH"),
        (["predict", "latest", "nowhere.png"], "nowhere.png doesn't exist"),
        (["predict", "latest", "x" * 5000], "File name too long"),
        (["predict", "nothing", "README.md"], "there is no run"),
        (["tune"], "settings are missing: data, model"),
        (["tune", "--study", "nothing"], "settings are missing: data, model"),
        (["tune", "--data", "demo", "--model", "basic_cnn", "--search", "colour"], "'colour' can't be searched"),
        (["tune", "--data", "demo", "--model", "basic_cnn", "--trials", "0"], "trials must lie between"),
        (["tune", "--data", "demo", "--model", "basic_cnn", "--study", "../x"], "can't name a study"),
        (["tune", "show", "nothing"], "there is no study 'nothing'"),
        (["tune", "train", "nothing"], "there is no study"),
        (["tune", "dance"], "dance"),
        (["train", "--data", "demo", "--model", "resnet18", "--set", "width=2"], "resnet18 comes in one width"),
        (["cells", "nowhere.png"], "nowhere.png doesn't exist"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)  # fmt: skip
def test_a_wrong_word_is_told_in_one_line_with_exit_code_2_and_changes_nothing(
    arguments: list[str], said: str, cli: Callable[..., Outcome], lab: Path
) -> None:
    jobs.create_run(tiny())
    before = contents(lab)
    for json_too in ([], ["--json"] if arguments[1:] else []):
        cli(*arguments, *json_too).assert_refused(said)
    assert contents(lab) == before


def test_help_tells_which_networks_and_formats_there_are_and_no_default_that_is_none(
    cli: Callable[..., Outcome],
) -> None:
    told = " ".join(cli("train", "--help").out.split())
    assert all(name in told for name in MODELS)
    assert "Default: ." not in told
    assert all(name in " ".join(cli("data", "import", "--help").out.split()) for name in FORMATS)


@pytest.mark.parametrize("verb", ["runs show", "evaluate", "predict", "adapt", "export", "review list", "review fixed"])
def test_help_tells_what_latest_is(verb: str, cli: Callable[..., Outcome]) -> None:
    assert "latest: the newest that has finished" in " ".join(cli(*verb.split(), "--help").out.split())


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["data", "import", "--help"]])
def test_help_is_a_success(arguments: list[str], cli: Callable[..., Outcome]) -> None:
    outcome = cli(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    assert "usage: bloodcell_core" in outcome.out


def test_the_version_is_told(cli: Callable[..., Outcome]) -> None:
    assert cli("--version") == (0, f"{__version__}\n", "")


# What fails


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("it broke\nin two lines"), 1, "the program failed: RuntimeError: it broke in two lines"),
        (KeyError("x"), 1, "KeyError"),
        (LabError("that can't\nbe done"), 2, "that can't be done"),
        (KeyboardInterrupt(), 1, "interrupted"),
        (PermissionError(13, "Permission denied"), 2, "the system refused: Permission denied: let this account"),
        (OSError(28, "No space left on device"), 2, "the system refused: No space left on device: make room"),
        (OSError(5, "Input/output error"), 1, "the system refused: Input/output error"),
    ],
)
def test_failures_are_told_in_one_line_and_only_debug_shows_where(
    error: BaseException, code: int, said: str, cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(runs, "readable_runs", fail)
    cli("runs", "list").assert_refused(said, code)
    for arguments in (["--debug", "runs", "list"], ["runs", "list", "--debug"]):
        with pytest.raises(type(error)):
            main(arguments)


def test_no_traceback_reaches_a_person_from_a_real_process(done: Run) -> None:
    (done.folder / "predictions.parquet").write_bytes(b"no parquet")
    out, err = (process := shell("evaluate", done.name)).communicate(timeout=120)
    assert process.returncode in (1, 2)
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("bloodcell_core: ")
    assert "Traceback" in shell("evaluate", done.name, "--debug").communicate(timeout=120)[1]


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    process = shell("data", "list", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(120) == 0
    process.stderr.close()


def test_files_are_written_whole_where_nobody_reads_the_lines_to_their_end(
    done: Run, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `predict … --csv cells.csv | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    written, report = tmp_path / "cells.csv", tmp_path / "slide.html"
    with monkeypatch.context() as piped:
        piped.setattr(sys, "stdout", os.fdopen(writer, "w", buffering=1))
        asked = ["--csv", str(written), "--report", str(report)]
        assert main(["predict", done.name, *map(str, pictures[:3]), *asked]) == 0
        sys.stdout.close()
    assert len(written.read_text(encoding="utf-8").splitlines()) == 4
    assert report.exists()


def test_a_closed_stdout_is_no_error(done: Run, pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # what Python makes of it
    assert main(["data", "list"]) == 0
    assert main(["predict", done.name, str(pictures[0]), "--json"]) == 0


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_a_full_disk_under_stdout_is_told() -> None:
    with open("/dev/full", "w") as full:
        process = shell("data", "list", "--json", stdout=full)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.startswith("bloodcell_core: the system refused: No space left on device: make room")
    assert err.count("\n") == 1


# Training


EXAMPLES: dict[str, str] = {
    "crop_scale": "1.5", "crop_margin": "2", "crop_border": "black", "colours": "balanced",
    "schedule": "constant", "flips": "0.25",
    "rotation": "90", "zoom": "0.1", "shift": "0.1", "stain": "0.2", "light": "0.2", "blur": "1", "erase": "0.3",
    "label_smoothing": "0.1", "mixup": "0.2", "clip_norm": "1", "averaging": "0.99", "balance": "photo",
    "patience": "3",
    "frozen_epochs": "1", "body_rate": "0.1",
    "data": "other", "model": "deep_cnn", "view": "cell", "size": "64", "epochs": "7",
    "pictures_per_epoch": "100", "batch_size": "16", "optimizer": "adamw", "learning_rate": "0.01",
    "weight_decay": "0.5", "dropout": "0.3", "width": "0.5",
    "folds": "5", "fold": "2", "fold_over": "train", "compile": "yes", "too_large": "split",
    "validation_fraction": "0.25", "seed": "9", "weights": "none", "device": "cpu", "labels": "day-one@2",
    "refuse": "monocyte,lymphocyte",
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """The configs that the command line asked to train; none is."""
    seen: list[TrainConfig] = []

    def create_run(wanted: TrainConfig) -> None:
        seen.append(wanted)
        raise LabError("not in this test")

    monkeypatch.setattr(jobs, "create_run", create_run)
    return seen


def test_the_examples_are_of_every_setting_and_no_default() -> None:
    for name, spec in config.fields().items():
        assert config.parse(name, EXAMPLES[name]) != spec.default


@pytest.mark.parametrize("name", config.fields())
def test_every_setting_can_be_set(name: str, cli: Callable[..., Outcome], asked: list[TrainConfig]) -> None:
    base = {"data": "demo", "model": "basic_cnn"}
    needed = [f"--{other}={value}" for other, value in base.items() if other != name]
    cli("train", *needed, "--set", f"{name}={EXAMPLES[name]}").assert_refused("not in this test")
    wanted = TrainConfig.from_json(base | {name: config.parse(name, EXAMPLES[name])})
    assert asked == [wanted]


@pytest.mark.parametrize("name", FLAGGED)
@pytest.mark.parametrize("between", "-_")
def test_settings_have_flags(name: str, between: str, cli: Callable[..., Outcome], asked: list[TrainConfig]) -> None:
    base = {"data": "demo", "model": "basic_cnn"} | {name: EXAMPLES[name]}
    cli("train", *(f"--{other.replace('_', between)}={value}" for other, value in base.items()))
    assert getattr(asked[0], name) == config.parse(name, EXAMPLES[name])


@pytest.mark.parametrize("name", ["data", "model", "view", "epochs", "labels", "weights", "seed", "device"])
def test_help_explains_the_common_settings_and_names_all(name: str, cli: Callable[..., Outcome]) -> None:
    told = cli("train", "--help").out
    assert f"--{name} VALUE" in told
    assert all(other in told for other in config.fields())


def test_help_names_as_flags_only_those_that_the_verb_has() -> None:
    for words in ("train", "tune", "cross-validate", "tune train"):
        parser = _parser()
        for word in words.split():
            [verbs] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
            parser = verbs.choices[word]
        [told] = [action.help for action in parser._actions if action.dest == "set"]
        named = told.partition("flag of its own (--batch-size 32): ")[2].partition(";")[0]
        flags = {flag for action in parser._actions for flag in action.option_strings}
        assert {f"--{name}" for name in named.split(", ") if name} <= flags
        assert bool(named) is (words != "tune train")
        assert ("fold_over" in told) is (words != "cross-validate")  # which refuses it


@pytest.mark.parametrize(
    ("words", "unknown"),
    [("cross-validate --data demo --model basic_cnn --fold 2", "--fold 2"), ("evaluate latest --label x", "--label x")],
)
def test_no_flag_is_taken_for_another_that_begins_so(words: str, unknown: str, cli: Callable[..., Outcome]) -> None:
    cli(*words.split()).assert_refused(f"unknown: {unknown}")


def test_of_a_flag_that_there_is_not_the_verbs_own_help_is_named(cli: Callable[..., Outcome]) -> None:
    cli("train", "--data", "demo", "--image-size", "64").assert_refused(
        "bloodcell_core train: unknown: --image-size 64 (see bloodcell_core train --help)"
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_where_it_starts_and_flags_change_it(
    preset: str, cli: Callable[..., Outcome], asked: list[TrainConfig]
) -> None:
    flags = ["--data=demo", "--model=basic_cnn", f"--preset={preset}"]
    cli("train", *flags)
    cli("train", *flags, "--epochs=77", "--set=size=48")
    assert asked[0] == TrainConfig(data="demo", model="basic_cnn", **PRESETS[preset])
    assert (asked[1].epochs, asked[1].size, asked[1].view) == (77, 48, asked[0].view)


def test_an_empty_rate_is_the_networks_own(cli: Callable[..., Outcome], asked: list[TrainConfig]) -> None:
    for text in ("", "none", "None"):
        cli("train", "--data=demo", "--model=basic_cnn", f"--set=learning_rate={text}")
    assert [wanted.learning_rate for wanted in asked] == [None] * 3


def test_training_prints_one_object_and_tells_its_progress_on_stderr(cli: Callable[..., Outcome], done: Run) -> None:
    outcome = cli("train", *TINY_FLAGS, "--json")
    assert outcome.code == 0
    facts = outcome.value
    assert facts.keys() >= {"run", "state", "reason", "model", "data", "view", "epoch", "epochs"}
    assert (facts["state"], facts["epoch"], facts["epochs"]) == ("done", 3, 3)
    assert "epoch 3/3: train loss" in outcome.err
    run = Run(facts["run"])
    steps = run.status()["total_steps"]
    assert f"steps: {steps} of {steps}\n" in outcome.err
    assert losses(run) == losses(done)
    assert facts["summary"]["test"]["confusion"] == evaluated(cli, run)["confusion"]


def test_a_training_counts_the_pictures_of_a_view_that_it_builds(cli: Callable[..., Outcome], stopped: Run) -> None:
    shutil.rmtree(workspace.view_file("demo", "frame-32").parent)
    assert re.search(r"building the frame view: (\d+) of \1\n", cli("runs", "resume", stopped.name).err)


def evaluated(cli: Callable[..., Outcome], run: Run) -> dict[str, Any]:
    return cli("evaluate", run.name, "--json").value


def test_training_in_words_says_what_it_was_trained_on_and_from(cli: Callable[..., Outcome]) -> None:
    outcome = cli("train", *TINY_FLAGS, "--foreground")
    assert outcome.code == 0
    for said in ("done", "basic_cnn on demo (synthetic pictures)", "weights: none", "accuracy", "95%"):
        assert said in outcome.out


def test_detached_training_returns_at_once(cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(jobs, "start", lambda run: started.append(run.name))
    outcome = cli("train", *TINY_FLAGS, "--detach", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert (outcome.value["state"], outcome.value["epoch"]) == ("queued", 0)
    assert started == [outcome.value["run"]]


@pytest.fixture
def no_training_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise NonFiniteLoss("the loss was no finite number at step 3")

    monkeypatch.setattr(loop, "train", fail)


@pytest.mark.usefixtures("no_training_succeeds")
def test_a_training_that_fails_ends_with_1_and_says_why(cli: Callable[..., Outcome]) -> None:
    outcome = cli("train", *TINY_FLAGS, "--json")
    assert outcome.code == 1
    assert outcome.value["state"] == "failed"
    assert "at step 3" in outcome.value["reason"]
    assert "Traceback" not in outcome.err
    shown = cli("runs", "show", outcome.value["run"], "--json")
    assert shown.code == 0  # showing it did not fail
    assert shown.value == outcome.value


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no network in a test")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.urlopen", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("more", [[], ["--detach"], ["--json"]])
def test_resnet18_without_weights_ends_before_a_run_or_a_view_is_made(
    more: list[str], cli: Callable[..., Outcome], lab: Path
) -> None:
    shutil.rmtree(workspace.dataset_dir("demo") / "views")
    before = contents(lab)
    outcome = cli("train", "--data=demo", "--model=resnet18", *more)
    *progress, error = outcome.err.splitlines()
    assert all(line.startswith("Downloading: ") for line in progress)
    outcome._replace(err=f"{error}\n").assert_refused("resnet18's ImageNet weights can't be had")
    for remedy in ("go online", "cache", "weights=PATH", "weights=none"):
        assert remedy in outcome.err
    assert contents(lab) == before


@pytest.mark.usefixtures("offline")
def test_resnet18_from_scratch_trains_and_says_so_everywhere(cli: Callable[..., Outcome]) -> None:
    flags = ["--model=resnet18", "--weights=none", "--data=demo", "--epochs=1", "--set=size=32", "--set=batch_size=16"]
    trained = cli("train", *flags)
    assert trained.code == 0
    for verb in (["runs", "show"], ["evaluate"]):
        assert "trained from scratch (weights: none)" in cli(*verb, "latest").out
    assert "trained from scratch (weights: none)" in trained.out
    facts = cli("runs", "show", "latest", "--json").value
    assert (facts["model"], facts["weights"], facts["pretrained"]) == ("resnet18", "none", False)
    assert cli("evaluate", "latest", "--json").value["pretrained"] is False


def test_resnet18_with_a_weights_file_says_that_it_was_pretrained(
    cli: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bloodcell_core.models.resnet18 import build

    torch.save(build(1000, 32).state_dict(), tmp_path / "w.pth")
    monkeypatch.chdir(tmp_path)
    outcome = cli(
        "train", "--data=demo", "--model=resnet18", "--weights=w.pth", "--epochs=1", "--set=size=32",
        "--set=pictures_per_epoch=4", "--json",
    )  # fmt: skip
    assert outcome.code == 0
    assert outcome.value["pretrained"] is True
    assert "from pretrained weights" in cli("runs", "show", "latest").out


def test_ctrl_c_stops_a_training_and_keeps_what_it_has(lab: Path) -> None:
    before = set(runs.names())
    process = shell("train", *TINY_FLAGS, "--epochs=1000", "--json")

    def has_weights() -> bool:
        return any(Run(name).weights_file.exists() for name in set(runs.names()) - before)

    wait_for(has_weights, "an epoch has ended")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    facts = json.loads(out)
    assert (facts["state"], facts["reason"]) == ("stopped", "stopped on request")
    assert facts["summary"]["test"]["pictures"] > 0
    assert 0 < facts["epoch"] < 1000


# Cross-validation

CROSS = ["cross-validate", *TINY_FLAGS, "--epochs=1", "--folds=3"]


def test_a_cross_validation_from_beginning_to_end(cli: Callable[..., Outcome]) -> None:
    outcome = cli(*CROSS, "--json")
    assert outcome.code == 0
    facts = outcome.value
    assert (facts["state"], facts["folds"], facts["folds_done"], facts["complete"]) == ("done", 3, 3, True)
    assert facts["pooled"]["pictures"] == 48
    assert "fold 3 of 3" in outcome.err
    assert "epoch 1/1: train loss" in outcome.err
    assert cli("runs", "group", facts["group"], "--json").value == facts

    said = cli("runs", "group", facts["group"]).out
    for words in (
        f"{facts['group']}: done, 3 of 3 folds", "basic_cnn on demo (synthetic pictures), frame view, folds over all",
        "out of fold: 48 pictures, 27 photos", f"{facts['pooled']['accuracy']:.4f}", "standard deviation",
    ):  # fmt: skip
        assert words in said
    for fold in facts["runs"]:
        assert fold["run"] in said
        assert f"fold {fold['fold']} of 3: {fold['pictures']}" in cli("evaluate", fold["run"]).out
        assert f"fold {fold['fold']} of 3: {fold['pictures']}" in cli("runs", "show", fold["run"]).out

    listed = cli("runs", "list", "--json").value["runs"]
    assert {(row["run"], row["fold"], row["group"]) for row in listed if row["group"]} == {
        (fold["run"], f"{fold['fold']} of 3", facts["group"]) for fold in facts["runs"]
    }
    assert f"fold 2 of 3 ({facts['group']})" in cli("runs", "list").out
    assert cli("runs", "show", "latest", "--json").value["group"] == ""


def test_cross_validations_are_compared_over_all_their_pictures_and_not_with_a_run(
    cli: Callable[..., Outcome], done: Run
) -> None:
    one, other = (cli(*CROSS, f"--seed={seed}", "--json").value for seed in (1, 2))
    told = cli("compare", one["group"], other["group"], "--json").value
    facts = told["comparisons"][0]
    assert (facts["pictures"], facts["a"], facts["b"]) == (48, one["group"], other["group"])
    assert facts["metrics"]["accuracy"]["b"] == other["pooled"]["accuracy"]
    assert "several networks" in facts["notes"][0]
    assert told["seed_groups"] == []
    cli("compare", one["group"], done.name).assert_refused("they were tested on different pictures")
    shutil.rmtree(workspace.run_dir(other["runs"][0]["run"]))
    cli("compare", one["group"], other["group"]).assert_refused("isn't finished")


def test_a_stopped_cross_validation_stops_there_and_goes_on(
    cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bloodcell_core.training import worker

    work, to_stop = worker.work, {2}

    def stop_in_second_fold(run: Run, *rest: Any) -> str:
        if run.config.fold in to_stop:
            (run.folder / "stop").touch()
        return work(run, *rest)

    monkeypatch.setattr(worker, "work", stop_in_second_fold)
    outcome = cli(*CROSS, "--json")
    facts = outcome.value
    assert outcome.code == 0
    assert [fold["state"] for fold in facts["runs"]] == ["done", "stopped", "missing"]
    assert (facts["state"], facts["complete"]) == ("stopped", False)
    assert "out of fold, 1 of 3 folds alone" in cli("runs", "group", facts["group"]).out

    to_stop.clear()
    again = cli("cross-validate", "--group", facts["group"], "--json").value
    assert [fold["state"] for fold in again["runs"]] == ["done"] * 3
    assert [fold["run"] for fold in again["runs"]][:2] == [fold["run"] for fold in facts["runs"]][:2]
    assert again["pooled"]["pictures"] == 48


@pytest.mark.parametrize("verb", [["train"], ["train", "--estimate"], ["cross-validate", "--folds=3"], ["tune"]])
def test_an_epoch_without_a_step_is_refused_before_anything_is_made(
    verb: list[str], cli: Callable[..., Outcome], lab: Path
) -> None:
    before = contents(lab)
    cli(*verb, *TINY_FLAGS, "--pictures-per-epoch=1").assert_refused("an epoch needs at least two pictures")
    assert contents(lab) == before


@pytest.mark.usefixtures("no_training_succeeds")
def test_a_failed_fold_ends_a_cross_validation_with_1(cli: Callable[..., Outcome]) -> None:
    outcome = cli(*CROSS, "--json")
    assert outcome.code == 1
    assert [fold["state"] for fold in outcome.value["runs"]] == ["failed", "missing", "missing"]
    assert "at step 3" in outcome.value["runs"][0]["reason"]
    assert "at step 3" in cli("runs", "group", outcome.value["group"]).out


def test_a_detached_cross_validation_returns_at_once(
    cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(jobs, "start", lambda run: started.append(run.name))
    outcome = cli(*CROSS, "--over=train", "--detach", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    facts = outcome.value
    assert (facts["state"], facts["over"], facts["pooled"]) == ("queued", "train", None)
    assert started == [fold["run"] for fold in facts["runs"]]
    assert "all but the test split" in cli("runs", "group", facts["group"]).out


def test_a_cross_validation_takes_no_team(cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    cli(*CROSS).assert_refused("leave torchrun out")


# Runs


@pytest.fixture
def stopped() -> Run:
    """A run that was stopped in its second epoch."""
    from bloodcell_core.training import worker

    run = jobs.create_run(tiny())
    worker.work(run, lambda line: "epoch 1/3" in line and (run.folder / "stop").touch())
    return run


def test_a_stopped_run_is_resumed_to_its_end(cli: Callable[..., Outcome], stopped: Run, done: Run) -> None:
    assert stopped.describe()["state"] == "stopped"
    outcome = cli("runs", "resume", stopped.name, "--json")
    assert outcome.code == 0
    assert (outcome.value["run"], outcome.value["state"]) == (stopped.name, "done")
    assert losses(stopped) == losses(done)


def test_a_queued_run_is_asked_to_stop(cli: Callable[..., Outcome]) -> None:
    run = jobs.create_run(tiny())
    assert cli("runs", "stop", run.name, "--json").value == {"run": run.name, "stop_requested": True}
    assert (run.folder / "stop").exists()
    assert run.name in cli("runs", "stop", run.name).out


def test_a_run_is_removed_and_a_working_one_is_not(cli: Callable[..., Outcome], stopped: Run) -> None:
    assert cli("runs", "remove", stopped.name, "--json").value == {"removed": stopped.name}
    assert not stopped.folder.exists()
    waiting = jobs.create_run(tiny())
    cli("runs", "remove", waiting.name).assert_refused("is still starting: it will stop by itself")
    with waiting.lock:  # as its worker would
        jobs.write_status(waiting.folder, state="running")
        cli("runs", "remove", waiting.name).assert_refused("is at work: stop it first")
    assert waiting.folder.exists()


def test_a_dataset_is_removed_and_its_runs_keep_their_figures(cli: Callable[..., Outcome], done: Run) -> None:
    assert cli("data", "remove", "demo", "--json").value == {"removed": "demo"}
    assert cli("data", "list", "--json").value == {"datasets": []}
    assert cli("evaluate", done.name, "--json").value["pictures"] > 0
    assert cli("runs", "show", done.name).code == 0
    cli("evaluate", done.name, "--split=train").assert_refused("there is no dataset 'demo'")


def test_references_to_runs(cli: Callable[..., Outcome], done: Run, stopped: Run) -> None:
    shown = {
        reference: cli("runs", "show", reference, "--json").value["run"]
        for reference in ("latest", done.name, done.name[:-1], stopped.name)
    }
    assert shown == {
        "latest": done.name, done.name: done.name, done.name[:-1]: done.name, stopped.name: stopped.name
    }  # fmt: skip


def test_a_sign_that_the_terminal_lacks_costs_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows pipes to a file in its country's own encoding, which has no arrow and no other alphabet."""
    piped = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", newline="\n")
    monkeypatch.setattr("sys.stdout", piped)
    print_lines(["“blast” → мелкий", "the next"])
    piped.flush()
    assert piped.buffer.getvalue().decode("cp1252") == (  # type: ignore[attr-defined]
        "“blast” \\u2192 \\u043c\\u0435\\u043b\\u043a\\u0438\\u0439\nthe next\n"
    )


def test_every_argument_of_every_verb_has_its_help() -> None:
    def lacking(parser: argparse.ArgumentParser) -> list[str]:
        told = []
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                told += [name for each in action.choices.values() for name in lacking(each)]
            elif not action.help:
                told.append(f"{parser.prog} {action.dest}")
        return told

    assert lacking(_parser()) == []


def test_help_is_there_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    piped = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", piped)
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    piped.flush()
    assert ended.value.code == 0
    assert b"\\u2026" in piped.buffer.getvalue()  # type: ignore[attr-defined]


def test_predictions_that_can_not_be_written_are_told_before_anything_is_predicted(
    cli: Callable[..., Outcome], done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloodcell_core.evaluation.scoring.evaluated", lambda *_: pytest.fail("it was scored"))
    outcome = cli("evaluate", "latest", "--predictions", tmp_path / "table.xlsx")
    assert outcome.code == 2
    assert "predictions are written as .csv or .parquet, not as 'table.xlsx'" in outcome.err


# The table of predictions


def test_predictions_are_written_as_a_table(
    cli: Callable[..., Outcome], tmp_path: Path, pictures: list[Path], done: Run
) -> None:
    bad = tmp_path / "bad, with a comma.png"
    bad.write_bytes(b"")
    file = tmp_path / "new folder" / "answers.csv"
    outcome = cli("predict", "latest", pictures[0], bad, "--csv", file, "--json", "--threshold", "0")
    assert file.read_bytes().startswith(codecs.BOM_UTF8)  # Excel would garble an umlaut
    with open(file, newline="", encoding="utf-8-sig") as stream:
        good_row, bad_row = csv.DictReader(stream)
    shares = [f"p_{name}" for name in done.classes]
    where = ["kind", "cell", "x0", "y0", "x1", "y1", "at_border", "distance"]
    assert list(good_row) == ["path", "state", "reason", "label", *shares, *where]
    (cell,) = outcome.value["pictures"][0]["cells"]
    assert (good_row["path"], good_row["state"], good_row["label"]) == (str(pictures[0]), "ok", cell["label"])
    assert {name: float(good_row[f"p_{name}"]) for name in done.classes} == cell["probabilities"]
    assert (bad_row["path"], bad_row["state"], bad_row["label"]) == (str(bad), "refused", "")
    assert bad_row["reason"] == "the file is empty (0 bytes)"
    assert bad_row["p_monocyte"] == ""


@pytest.mark.parametrize("place", ["folder.csv", "file/answers.csv", "n" * 300 + ".csv"])
def test_a_table_that_cannot_be_written_is_an_error_of_the_one_who_asked(
    place: str, cli: Callable[..., Outcome], tmp_path: Path, pictures: list[Path]
) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    before = contents(tmp_path)
    outcome = cli("predict", "latest", pictures[0], "--csv", tmp_path / place)
    outcome.assert_refused("the system refused")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("verb", [["predict", "latest"], ["cells"]], ids=" ".join)
@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_where_there_is_no_file_nothing_passes_for_a_success(
    verb: list[str], json_too: list[str], cli: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    cli(*verb, tmp_path / "empty", *json_too).assert_refused(f"there is no file in {tmp_path / 'empty'}: give pictures")


# Bad sources


def picture(seed: int) -> bytes:
    return encode(np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8))


def not_a_zip(path: Path) -> None:
    path.write_text("this is no zip file")


def empty_zip(path: Path) -> None:
    zipfile.ZipFile(path, "w").close()


def zip_that_leaves(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../a/1.png", picture(1))
        archive.writestr("b/2.png", picture(2))


def one_class(path: Path) -> None:
    (path / "only").mkdir(parents=True)
    for number in range(3):
        (path / "only" / f"{number}.png").write_bytes(picture(number))


def no_pictures(path: Path) -> None:
    (path / "a").mkdir(parents=True)
    (path / "a" / "notes.txt").write_text("nothing to see")


def all_unreadable(path: Path) -> None:
    for name in "ab":
        (path / name).mkdir(parents=True)
        (path / name / "1.png").write_text("a text file")


@pytest.mark.parametrize(
    ("make", "name", "said"),
    [
        (not_a_zip, "source.zip", "is not a zip file"),
        (empty_zip, "source.zip", "is an empty zip"),
        (zip_that_leaves, "source.zip", "leaves the archive"),
        (one_class, "source", "only one class folder (only)"),
        (no_pictures, "source", "holds no picture"),
        (all_unreadable, "source", "at least two classes are needed, found 0"),
    ],
)
def test_a_bad_source_is_told_in_one_line_and_leaves_the_workspace_alone(
    make: Callable[[Path], None], name: str, said: str, cli: Callable[..., Outcome], lab: Path, tmp_path: Path
) -> None:
    make(tmp_path / name)
    before = contents(lab)
    outcome = cli("data", "import", tmp_path / name, "--json")
    lines = [line for line in outcome.err.replace("\r", "\n").splitlines() if not line.startswith("pictures read")]
    outcome._replace(err="".join(f"{line}\n" for line in lines if line)).assert_refused(said)
    assert contents(lab) == before


def test_a_good_source_with_bad_files_is_imported_and_they_are_told(
    cli: Callable[..., Outcome], tmp_path: Path
) -> None:
    for first_seed, name in ((0, "Rod"), (6, "Cone")):
        (tmp_path / "Eyes (1)" / name).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "Eyes (1)" / name / f"{number}.png").write_bytes(picture(first_seed + number))
    (tmp_path / "Eyes (1)" / "Rod" / "bad.png").write_bytes(b"")
    outcome = cli("data", "import", tmp_path / "Eyes (1)", "--json")
    assert outcome.code == 0
    facts = outcome.value
    assert (facts["name"], facts["classes"], facts["pictures"]) == ("eyes-1", ["Cone", "Rod"], 12)
    assert facts["unreadable"] == 1
    assert facts["unreadable_files"] == [{"file": "Rod/bad.png", "reason": "the file is empty (0 bytes)"}]
    assert facts["photos_in_several_splits"] is None
    assert "Rod/bad.png: the file is empty" in cli("data", "show", "eyes-1").out
    cli("data", "import", tmp_path / "Eyes (1)").assert_refused("'eyes-1' exists already")


def test_a_demo_is_drawn_with_its_progress_on_stderr(cli: Callable[..., Outcome]) -> None:
    outcome = cli("data", "demo", "--name=small", "--per-class=10", "--seed=3", "--json")
    assert outcome.code == 0
    assert (outcome.value["name"], outcome.value["pictures"], outcome.value["synthetic"]) == ("small", 40, True)
    assert "40 of 40" in outcome.err


def test_a_run_without_weights_cannot_predict(cli: Callable[..., Outcome], pictures: list[Path]) -> None:
    run = jobs.create_run(tiny())
    cli("predict", run.name, pictures[0]).assert_refused("has no weights yet: it is queued")
    cli("evaluate", run.name).assert_refused("has no predictions: it hasn't finished (queued)")


def test_evaluating_on_another_dataset(cli: Callable[..., Outcome]) -> None:
    cli("data", "demo", "--name=second", "--per-class=10", "--seed=3")
    outcome = cli("evaluate", "latest", "--data=second", "--device=cpu", "--json")
    assert outcome.code == 0
    assert (outcome.value["data"], outcome.value["left_out"]) == ("second", 0)
    train_here(epochs=1, data="second")
    assert cli("runs", "show", "latest", "--json").value["data"] == "second"


def test_evaluating_on_another_dataset_with_a_mapping_file(cli: Callable[..., Outcome], tmp_path: Path) -> None:
    cli("data", "demo", "--name=second", "--per-class=10", "--seed=3")
    (tmp_path / "classes.csv").write_text("theirs,ours\nmonocyte,\n")
    arguments = ("evaluate", "latest", "--data=second", "--split=all", "--device=cpu")
    arguments += ("--classes", str(tmp_path / "classes.csv"), "--predictions", str(tmp_path / "table.csv"))
    outcome = cli(*arguments, "--json")
    assert (outcome.value["pictures"], outcome.value["left_out_classes"]) == (30, {"monocyte": 10})
    assert outcome.value["distance"]["focus"].keys() == {"title", "training", "here", "distance", "words"}
    with open(tmp_path / "table.csv", newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert right / len(rows) == outcome.value["accuracy"]
    words = cli(*arguments).out
    for said in ("all splits: 30 pictures", "left out, as the mapping file says: monocyte (10 pictures)", "there, "):
        assert said in words
    (tmp_path / "classes.csv").write_text("theirs,ours\nmonocytes,\n")
    cli(*arguments).assert_refused("names 'monocytes', which that dataset doesn't have")


def test_reports_hold_what_the_verbs_print(
    cli: Callable[..., Outcome], done: Run, other_seed: Run, tmp_path: Path
) -> None:
    for verb in (["evaluate", done.name], ["compare", done.name, other_seed.name]):
        told = cli(*verb, "--json", "--report", tmp_path / "report.html").value
        inside = (tmp_path / "report.html").read_text().split('id="figures">')[1].split("</script>")[0]
        assert json.loads(inside) == told
        cli(*verb, "--report", tmp_path / "report.pdf").assert_refused("written as .html")


# Searching


def test_a_search_prints_one_object_and_its_best_starts_a_run(cli: Callable[..., Outcome]) -> None:
    flags = ["--trials=2", "--study=mine", "--search", "learning_rate", "width"]
    outcome = cli("tune", *TINY_FLAGS, "--epochs=1", "--json", *flags)
    assert outcome.code == 0
    facts = outcome.value
    assert facts.keys() >= {
        "study", "state", "reason", "model", "data", "config", "search", "trials", "trials_wanted", "validation",
        "importance", "best",
    }  # fmt: skip
    assert (facts["study"], facts["state"], len(facts["trials"])) == ("mine", "done", 2)
    assert "trial 2: done" in outcome.err
    shown = cli("tune", "show", "mi", "--json")
    assert (shown.value, shown.err) == (facts, "")
    for said in ("mine: done", "synthetic", "the test split is unread", "← best", "tune train mine"):
        assert said in cli("tune", "show", "mine").out
    (row,) = cli("tune", "list", "--json").value["studies"]
    assert (row["study"], row["state"], row["trials"], row["trials_wanted"]) == ("mine", "done", 2, 2)
    assert "mine" in cli("tune", "list").out

    trained = cli("tune", "train", "mine", "--set=epochs=2", "--json").value
    assert (trained["state"], trained["epochs"]) == ("done", 2)
    assert {name: trained["config"][name] for name in ("learning_rate", "width")} == facts["best"]["settings"]
    assert cli("tune", "remove", "mine", "--json").value == {"removed": "mine"}
    assert cli("tune", "list", "--json").value == {"studies": []}


def test_a_search_goes_on_by_its_name_and_with_its_own_settings(
    cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    monkeypatch.setattr("bloodcell_core.training.memory.keep_freed_memory", lambda: kept.append(True))
    cli("tune", *TINY_FLAGS, "--epochs=1", "--trials=1", "--study=mine")
    assert kept == [True], "each step gives its memory back to the system"
    cli("tune", "--study=mine").assert_refused("has its 1 trials: --trials gives it more")
    cli("tune", "--study=mine", "--trials=2", "--epochs=3").assert_refused("goes on with the settings")
    assert len(cli("tune", "--study=mine", "--trials=2", "--json").value["trials"]) == 2
    cli("tune", "stop", "mine").assert_refused("isn't at work: it is done")


def test_a_detached_search_returns_at_once(cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(studies, "start", lambda study: started.append(study.name))
    outcome = cli("tune", *TINY_FLAGS, "--study=mine", "--detach", "--json")
    assert (outcome.code, outcome.err, outcome.value["state"], started) == (0, "", "starting", ["mine"])


@pytest.mark.slow
def test_ctrl_c_stops_a_search_and_keeps_what_it_has(lab: Path) -> None:
    process = shell("tune", *TINY_FLAGS, "--trials=1000", "--study=mine", "--json")
    wait_for(lambda: "mine" in studies.names() and studies.Study("mine").finished(), "a trial is finished")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["state"] == "stopped"
    assert json.loads(out)["best"] is not None
