"""The benchmarks of spoilt pictures and of other laboratories: what they measure is what they say."""

import json
import sys

import numpy as np
import pytest

from benchmarks import bench_laboratories, bench_robustness
from benchmarks.bench_robustness import MIDDLE, WAYS
from bloodcell_core.data import demo
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.training.ensembles import create_ensemble
from tests.training_fixtures import TINY, drawn, train_here

pytest_plugins = ["tests.training_fixtures"]


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_is_spoilt_more_and_more_and_the_same_each_time(way):
    spoil, strengths = WAYS[way]
    picture = demo.draw_picture("neutrophil", np.random.default_rng(3))

    def distance(strength):
        made = spoil(picture, strength, np.random.default_rng(5))
        assert made.dtype == np.uint8
        assert np.array_equal(made, spoil(picture, strength, np.random.default_rng(5)))
        if way == "scale":
            return abs(np.log(made.shape[0] / picture.shape[0]))
        assert made.shape == picture.shape
        return np.abs(made.astype(float) - picture).mean()

    distances = [distance(strength) for strength in strengths]
    assert distances[0] > 0
    if way != "rotation":  # two turns of one picture are as unlike it as each other
        assert distances == sorted(distances)


def test_a_run_s_pictures_as_they_are_have_its_own_answers(done):
    """And an ensemble's, whose members see different things."""
    pair = create_ensemble([done, train_here(view="cell", size=40, epochs=1)], "pair")
    for run in (done, pair):
        rows = bench_robustness.measure(run, "test", 0, "cpu", ["blur"])
        assert rows[0]["accuracy"] == pytest.approx(run.summary()["test"]["accuracy"])
        assert rows[0]["pictures"] == run.summary()["test"]["pictures"]
        assert [row["strength"] for row in rows[1:]] == [*WAYS["blur"][1]]
        for row in rows[1:]:
            assert row["lost"] == pytest.approx(rows[0]["accuracy"] - row["accuracy"])
        table = bench_robustness.table_of(rows)
        assert f"{rows[1 + MIDDLE]['accuracy']:.3f}" in table[-1]


def test_a_few_copies_of_each_photo_are_taken(done):
    dataset = Dataset("demo")
    few = bench_robustness.chosen_pictures(done, dataset, "test", 1)
    assert few.photo.is_unique
    assert set(few.photo) == set(dataset.pictures.photo[dataset.pictures.split == "test"])


@pytest.mark.slow
def test_laboratories_are_judged_on_the_other_s_test_pictures(lab, tmp_path, monkeypatch, capsys):
    drawn("there", per_class=12, seed=31)
    settings = {key: value for key, value in TINY.items() if key not in ("data", "model")}
    arguments = [f"{key}={value}" for key, value in (settings | {"epochs": 1}).items()]
    log = tmp_path / "log.jsonl"
    call = ["bench", "--data", "demo", "there", "--log", str(log), "--model", "basic_cnn", "--labelled", "8", "--set"]
    monkeypatch.setattr(bench_laboratories, "end_after", lambda minutes: None)  # signals are the whole process's
    monkeypatch.setattr(sys, "argv", [*call[:-1], *(part for one in arguments for part in ("--set", one))])
    bench_laboratories.main()
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["way"] for row in rows] == ["demo", "there", "demo + 8 of there", "there + 8 of demo", "demo + there"]
    for row in rows:
        for name, told in row["judged"].items():
            test = Dataset(name).pictures.query("split == 'test'")
            assert (told["pictures"], told["photos"]) == (len(test), test.photo.nunique())
    mixed = Dataset(rows[2]["config"]["data"])
    there = mixed.pictures[mixed.pictures.file.str.startswith("there/")]
    assert (len(there), set(there.split), there.label.value_counts().to_dict()) == (
        8, {"train"}, dict.fromkeys(mixed.classes, 2),
    )  # fmt: skip
    assert capsys.readouterr().out.count("| demo + there |") == 2
    bench_laboratories.main()
    assert len(log.read_text().splitlines()) == len(rows)
