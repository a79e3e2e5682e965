"""The published figures: every row is trained once, whatever ends the process between, and the page tells no more."""

import json
import sys

import pytest

from benchmarks import reproduce, results_page
from benchmarks.recipes import ALL, ROWS, TEST, TRAIN, Row
from benchmarks.reproduce import Reproduction, TimeUp
from bloodcell_core import runs
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.training import worker
from tests.training_fixtures import TINY

pytest_plugins = ["tests.training_fixtures"]

SETTINGS = {key: value for key, value in TINY.items() if key != "data"} | {"epochs": 2}
SMALL = (
    Row("net", "`net`", TEST, SETTINGS, seeds=(3, 4)),
    Row("pair", "two `net`", TEST, {}, members=("net",)),
    Row("net-frame", "`net`, frame view", TEST, SETTINGS | {"size": 40}, seeds=(3,)),
    Row("cv-net", "`net`", ALL, SETTINGS, seeds=(3,)),
    Row("cv-other", "other", ALL, SETTINGS | {"size": 40}, seeds=(3,)),
    Row("cv-pair", "both", ALL, {}, seeds=(3,), members=("cv-net", "cv-other")),
    Row("parts", "`net`", TRAIN, SETTINGS | {"epochs": 1}, seeds=(3,)),
    Row("parts-flips", "without flips", TRAIN, SETTINGS | {"epochs": 1, "flips": 0.5}, seeds=(3,), leaves_out="flips",
        base="parts"),
)  # fmt: skip


@pytest.fixture
def rows(monkeypatch):
    """Small rows in place of the published ones; a test may change them."""
    small = {row.name: row for row in SMALL}
    for module in (reproduce, results_page):
        monkeypatch.setattr(module, "ROWS", small)
        monkeypatch.setattr(module, "FOLDS", 2)
    return small


@pytest.fixture
def work(lab, rows, tmp_path):
    return Reproduction(Dataset("demo"), tmp_path / "results", tmp_path / "page.md")


def trainings():
    return {run.name for run in runs.readable_runs()[0]}


@pytest.mark.slow
def test_every_row_is_trained_once_and_told(work, rows):
    for row in rows.values():
        work.do(row)
    before, page = trainings(), work.page.read_text()
    kept = results_page.read_results(work.results)
    assert {name for name, _ in kept} == set(rows)
    assert "not run yet" not in page
    for (name, seed), one in kept.items():
        if rows[name].judged == TEST:
            assert one["figures"]["accuracy"] == runs.Run(one["run"]).summary()["test"]["accuracy"]
        assert one["figures"]["photos"]
        assert one["circumstances"]["torch"]
        assert seed in rows[name].seeds or rows[name].members
    assert kept["pair", 0]["members"] == sorted(kept["net", seed]["run"] for seed in (3, 4))
    assert kept["cv-net", 3]["figures"]["pictures"] == len(work.dataset.pictures)
    assert kept["parts", 3]["figures"]["pictures"] == (work.dataset.pictures.split != "test").sum()
    assert kept["parts-flips", 3]["against_base"]["right"]["of"] == kept["parts", 3]["figures"]["photos"]
    # each training and each ensemble on TEST, and the cross-validations over all photos; TRAIN's read neither
    reads = json.loads((work.results / "reads.json").read_text())
    assert sorted(read["row"] for read in reads) == ["cv-net", "cv-other", "cv-pair", "net", "net", "net-frame", "pair"]
    assert "**TEST was read 4 times**" in page
    for row in rows.values():
        work.do(row)
    assert (trainings(), work.page.read_text()) == (before, page)
    assert json.loads((work.results / "reads.json").read_text()) == reads


def test_a_process_that_ends_in_mid_training_is_gone_on_from(work, rows, monkeypatch):
    """In the second seed's second epoch, and again between the training and its figures."""
    from bloodcell_core.training.reporter import Reporter

    checkpoint, calls = Reporter.checkpoint, []

    def ends(self, state, epoch_ended):
        checkpoint(self, state, epoch_ended)
        calls.append(epoch_ended)
        if calls.count(True) == 3:
            raise TimeUp

    monkeypatch.setattr(Reporter, "checkpoint", ends)
    with pytest.raises(TimeUp):
        work.do(rows["net"])
    monkeypatch.setattr(Reporter, "checkpoint", checkpoint)
    assert len(results_page.read_results(work.results)) == 1
    assert f"1, 1 {results_page.NOT_YET}" in work.page.read_text()
    begun = trainings()

    def ends_later(*_):
        raise TimeUp

    keep = Reproduction._keep
    monkeypatch.setattr(Reproduction, "_keep", ends_later)
    with pytest.raises(TimeUp):
        work.do(rows["net"])
    monkeypatch.setattr(Reproduction, "_keep", keep)
    monkeypatch.setattr(worker, "work", None)  # nothing is left to be trained
    work.do(rows["net"])
    assert trainings() == begun
    assert len(results_page.read_results(work.results)) == 2
    assert len(json.loads((work.results / "reads.json").read_text())) == 2


def test_another_recipe_is_marked_until_it_is_trained(work, rows):
    work.do(rows["net-frame"])
    rows["net-frame"] = Row("net-frame", "`net`, frame view", TEST, SETTINGS | {"size": 48}, seeds=(3,))
    results_page.write_page(work.results, work.page)
    assert f"`net`, frame view {results_page.EARLIER} |" in work.page.read_text()
    work.do(rows["net-frame"])
    assert f"frame view {results_page.EARLIER}" not in work.page.read_text()
    assert "**TEST was read 2 times**" in work.page.read_text()


def test_an_ensemble_follows_its_members(work, rows):
    work.do(rows["pair"])
    before = results_page.read_results(work.results)["pair", 0]["members"]
    rows["net"] = Row("net", "`net`", TEST, SETTINGS | {"size": 48}, seeds=(3, 4))
    work.do(rows["pair"])
    after = results_page.read_results(work.results)["pair", 0]["members"]
    assert len(after) == 2
    assert not set(before) & set(after)


def test_weights_that_are_not_at_hand_are_told_and_stop_nothing(work, rows, monkeypatch):
    from bloodcell_core.errors import LabError
    from bloodcell_core.models import resnet18

    def offline():
        raise LabError("resnet18's ImageNet weights can't be had")

    monkeypatch.setattr(resnet18, "_default_state", offline)
    rows["resnet"] = Row("resnet", "`resnet18`", TEST, SETTINGS | {"model": "resnet18"}, weights_at_hand=False)
    work.do(rows["resnet"])
    assert "| `resnet18` | not run: weights not at hand |" in work.page.read_text()
    assert not (work.results / "reads.json").exists()


def test_the_command_goes_on_where_one_row_can_t_be_done(work, rows, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "DATA", "demo")
    monkeypatch.setattr(reproduce, "end_after", lambda minutes: None)  # signals are the whole process's
    rows["net"] = Row("net", "`net`", TEST, SETTINGS | {"dropout": 0.5})  # which it doesn't have
    arguments = ["reproduce", "--only", "net", "net-frame", "--results", str(work.results), "--page", str(work.page)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        reproduce.main()
    assert ended.value.code == 1
    assert "not done: net" in capsys.readouterr().err
    assert {name for name, _ in results_page.read_results(work.results)} == {"net-frame"}


def test_views_are_set_against_each_other_on_the_same_seeds(rows):
    def kept(seed, accuracy):
        return {"seed": seed, "figures": {"accuracy": accuracy, "intervals": {"accuracy": None}}}

    results = {("net", 3): kept(3, 0.8), ("net", 4): kept(4, 0.2), ("net-frame", 3): kept(3, 0.5)}
    assert results_page._views(results)[-2] == "| `net` | 0.5000 | – | 0.8000 | – | +30.0 |"
    del results["net-frame", 3]
    assert results_page._views(results)[-2].endswith("| 0.5000 (0.2000 to 0.8000) | – |  |")


# ---- The repository's own ------------------------------------------------------------------------------


def test_the_page_is_what_the_kept_figures_say():
    results = results_page.RESULTS
    reads = results / "reads.json"
    told = json.loads(reads.read_text()) if reads.exists() else []
    page = results_page.render(results_page.read_results(results), told)
    assert results_page.PAGE.read_text(encoding="utf-8") == page


def test_rows_are_judged_and_named_as_they_say():
    for name, row in ROWS.items():
        assert row.name == name
        assert all(member in ROWS and ROWS[member].judged == row.judged for member in row.members)
        assert not row.base or (row.leaves_out and ROWS[row.base].judged == row.judged == TRAIN)
        assert bool(row.settings) != bool(row.members)
        if row.settings:
            assert row.config("any", row.seeds[0]).folds == 0
