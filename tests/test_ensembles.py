"""Ensembles: what they say is the mean of their members, they are used like any run, and a leak is refused."""

import json

import numpy as np
import pytest

from bloodcell_core import disk, runs, workspace
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.averaging import mean_answer
from bloodcell_core.evaluation.predictions import probabilities_of
from bloodcell_core.evaluation.scoring import evaluated
from bloodcell_core.training import ensembles, groups, worker
from tests.test_pages import draw, words
from tests.training_fixtures import drawn, run_cli, tiny, train_here, trained

pytest_plugins = ["tests.training_fixtures"]


@pytest.fixture
def members(done):
    """Two finished runs that see different things: the whole picture at one size, the cell at another."""
    return [done, trained(model="deep_cnn", view="cell", size=48, epochs=1)]


@pytest.fixture
def ensemble(members):
    return ensembles.create_ensemble(members, "both")


def by_id(run, split="test"):
    table = run.predictions().query("split == @split").set_index("image_id").sort_index()
    return probabilities_of(table, run.classes)


def test_it_says_the_mean_of_its_members_at_its_temperature(ensemble, members):
    mean = np.mean([by_id(member) for member in members], axis=0)
    assert np.allclose(by_id(ensemble), mean_answer([mean], ensemble.temperature), atol=1e-12)
    predicted = ensemble.predictions().query("split == 'test'").set_index("image_id").sort_index().predicted
    assert predicted.tolist() == [ensemble.classes[place] for place in mean.argmax(1)]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 3.0])
def test_a_higher_temperature_is_less_sure(temperature):
    found = mean_answer([[[0.9, 0.1]], [[0.7, 0.3]]], temperature)
    odds = (0.8 / 0.2) ** (1 / temperature)
    assert found == pytest.approx(np.array([[odds, 1]]) / (1 + odds))


def test_its_figures_are_those_of_its_predictions_and_its_costs_the_sum(ensemble, members):
    summary, table = ensemble.summary(), ensemble.predictions().query("split == 'test'")
    assert summary["test"]["accuracy"] == pytest.approx((table.label == table.predicted).mean())
    assert summary["parameters"] == sum(member.summary()["parameters"] for member in members)
    assert summary["training_seconds"] == pytest.approx(sum(each.summary()["training_seconds"] for each in members))
    assert ensemble.describe()["members"] == [member.name for member in members]
    assert ensemble.describe()["view"] == "frame and cell"
    assert (ensemble.describe()["state"], ensemble.is_ensemble, members[0].members) == ("done", True, [members[0]])


def test_members_that_share_their_validation_photos_give_it_a_temperature(ensemble, members):
    mine, theirs = (set(run.predictions().query("split == 'val'").image_id) for run in (ensemble, members[0]))
    assert mine == theirs
    assert ensemble.validation_photos == members[0].validation_photos
    summary = ensemble.summary()
    assert summary["temperature_reason"] or summary["temperature"] != 1


def test_members_with_other_validation_photos_give_it_none_and_it_says_why(members):
    others = (trained(seed=seed, epochs=1) for seed in range(1, 9))
    other = next(run for run in others if not validated(run) & validated(members[0]))
    made = ensembles.create_ensemble([members[0], other])
    assert made.temperature == 1
    assert "too few validation pictures in common" in made.summary()["temperature_reason"]
    assert made.validation_photos == []
    assert made.summary()["val_accuracy"] is None


def validated(run):
    return set(run.validation_photos)


def test_evaluating_anew_gives_what_was_kept(ensemble):
    """Its train split isn't kept: so its test pictures, handed in as another dataset's, are."""
    import shutil

    shutil.copytree(workspace.dataset_dir("demo"), workspace.dataset_dir("again"))
    scores, table = evaluated(ensemble, "again", "test")
    kept = evaluated(ensemble)[0]
    assert scores["accuracy"] == kept["accuracy"]
    anew = probabilities_of(table.set_index("image_id").sort_index(), ensemble.classes)
    assert np.allclose(anew, by_id(ensemble), atol=1e-5)


def test_its_training_pictures_are_those_of_any_member(ensemble, members):
    from bloodcell_core.evaluation.external import own_pictures

    dataset = Dataset("demo")
    seen = set(own_pictures(ensemble, dataset, "train").image_id)
    assert seen == set.union(*(set(own_pictures(member, dataset, "train").image_id) for member in members))
    assert not seen & set(ensemble.predictions().query("split == 'test'").image_id)


def test_what_can_t_be_put_together_is_refused(ensemble, members):
    drawn("other", per_class=12, seed=9)
    elsewhere = train_here(data="other", epochs=1)
    fold = train_here(folds=3, fold=1, epochs=1)
    for refused, reason in (
        ([members[0]], "two or more"),
        ([members[0], members[0]], "two or more"),
        ([members[0], ensemble], "is an ensemble itself"),
        ([members[0], elsewhere], "different data"),
        ([members[0], fold], "tested on different pictures"),
    ):
        with pytest.raises(LabError, match=reason):
            ensembles.create_ensemble(refused)
    assert [run.name for run in runs.readable_runs()[0] if run.is_ensemble] == ["both"]


def test_only_finished_runs_are_members(members):
    from bloodcell_core.training import jobs

    waiting = jobs.create_run(tiny())
    with pytest.raises(LabError, match="queued, and must be done"):
        ensembles.create_ensemble([members[0], waiting])


@pytest.mark.parametrize("name", ["latest", "../up", "Both", "best.onnx"])
def test_a_name_that_can_t_be_is_refused(members, name):
    with pytest.raises(LabError, match="can't"):
        ensembles.create_ensemble(members, name)


def test_a_name_is_given_once(ensemble, members):
    with pytest.raises(LabError, match="exists already"):
        ensembles.create_ensemble(members, "both")


def test_a_member_can_t_be_removed_while_the_ensemble_is_there(ensemble, members):
    for member in members:
        with pytest.raises(LabError, match="a member of both"):
            runs.remove(member)
    runs.remove(ensemble)
    for member in members:
        runs.remove(member)
    assert runs.names() == []


def test_a_member_that_was_deleted_by_hand_is_told(ensemble, members):
    import shutil

    shutil.rmtree(members[0].folder)
    again = runs.find("both")
    assert again.describe()["summary"]
    with pytest.raises(LabError, match="can't be used without its members"):
        _ = again.members


def test_latest_is_the_newest_whatever_it_is_called(ensemble, members):
    """Run names begin with the time, and an ensemble's may begin with any letter."""
    later = ensemble.created.replace("20", "21", 1)
    recorded = disk.read_json(members[0].folder / "config.json")
    disk.write_json(members[0].folder / "config.json", recorded | {"created": later})
    assert runs.find("latest").name == members[0].name


def test_cross_validations_are_put_together_fold_by_fold(lab):
    made = []
    for model in ("basic_cnn", "deep_cnn"):
        group = groups.create_group(tiny(model=model, epochs=1), folds=3)
        for run in groups.unfinished(group):
            worker.work(run, say=lambda line: None)
        made.append(groups.find(group.name))
    both = groups.find(ensembles.create_group_ensemble(made).name)
    facts = groups.group_summary(both.name)
    assert (facts["complete"], facts["folds"], facts["model"]) == (True, 3, "ensemble")
    assert facts["pooled"]["pictures"] == len(Dataset("demo").pictures)
    for fold, run in both.runs.items():
        assert [member.config.fold for member in run.members] == [fold, fold]
    other = groups.create_group(tiny(epochs=1), folds=2)
    with pytest.raises(LabError, match="isn't finished"):
        ensembles.create_group_ensemble([made[0], other])
    runs.remove(both.runs[2])
    with pytest.raises(LabError, match="was an ensemble, and can't be trained"):
        list(groups.unfinished(groups.find(both.name)))


def test_the_command_line_makes_lists_evaluates_and_compares_it(members, capsys, tmp_path):
    names = [member.name for member in members]
    code, out, _ = run_cli(capsys, "ensemble", *names, "--name", "pair", "--json")
    assert (code, json.loads(out)["run"], json.loads(out)["model"]) == (0, "pair", "ensemble")
    code, out, _ = run_cli(capsys, "runs", "list", "--json")
    assert json.loads(out)["runs"][0]["run"] == "pair"
    code, out, _ = run_cli(capsys, "evaluate", "pair", "--json", "--report", str(tmp_path / "pair.html"))
    assert json.loads(out)["accuracy"] == runs.Run("pair").summary()["test"]["accuracy"]
    assert names[0] in (tmp_path / "pair.html").read_text()
    code, out, _ = run_cli(capsys, "compare", names[0], "pair", "--json", "--report", str(tmp_path / "both.html"))
    assert json.loads(out)["comparisons"][0]["b"] == "pair"
    code, out, _ = run_cli(capsys, "runs", "show", "pair")
    assert f"member {names[1]}" in out
    code, _, err = run_cli(capsys, "runs", "resume", "pair")
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = run_cli(capsys, "ensemble", names[0])
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("page", ["streamlit_app.py", "pages/2_Train.py", "pages/3_Compare.py", "pages/4_Review.py"])
def test_pages_show_it_beside_its_members(ensemble, page):
    app = draw(page)
    assert not app.error
    assert "Ensemble of 2" in words(app)


def test_a_member_s_map_becomes_the_ensemble_s(ensemble, members):
    from bloodcell_core.inference.embedding import Embedder

    dataset, rows = Dataset("demo"), np.arange(4)
    each = [Embedder(member).of_rows(dataset, rows) for member in members]
    assert np.array_equal(Embedder(ensemble).of_rows(dataset, rows), np.hstack(each))
