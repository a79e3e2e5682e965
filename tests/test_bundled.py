"""Bundled runs: those in the program are as their cards say, and one that is made here behaves like them."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bundle as bundling
from bloodcell_core import runs, workspace
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.pictures import encode
from bloodcell_core.data.sources import open_source
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.predictions import probabilities_of
from bloodcell_core.evaluation.scoring import evaluated, score
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.runs import Run
from tests.test_pages import draw, words
from tests.training_fixtures import run_cli

pytest_plugins = ["tests.training_fixtures"]

ARCHIVE = os.environ.get("BLOODCELL_ARCHIVE", "")
SHIPPED = runs.BUNDLED
"""Where they are; `no_bundles` hides it from the tests."""

EVERY_BUNDLE = pytest.mark.parametrize("name", runs.bundled_names())
READ_ANEW = 1e-4  # that a probability may differ by on another machine


@pytest.fixture
def shipped(monkeypatch):
    monkeypatch.setattr(runs, "BUNDLED", SHIPPED)


@pytest.fixture
def bundled(done, tmp_path, monkeypatch):
    """The finished run of `lab` as one that comes with the program, and a workspace that has nothing."""
    monkeypatch.setattr(runs, "BUNDLED", tmp_path / "bundled")
    made = bundling.bundle(done, "tiny-net", notes="Made by a test.")
    monkeypatch.setenv("BLOODCELL_HOME", str(tmp_path / "fresh"))
    return made


# ---- Those that are there -------------------------------------------------------------------------------


@EVERY_BUNDLE
def test_it_is_small_and_its_card_tells_its_figures(name, shipped):
    run = Run(name)
    assert (run.folder / "model.safetensors").stat().st_size <= bundling.MOST_BYTES
    assert (run.folder / bundling.CARD).read_text(encoding="utf-8") == bundling.model_card(run)


@EVERY_BUNDLE
def test_its_figures_are_those_of_its_kept_predictions(name, shipped):
    run = Run(name)
    table = run.predictions().query("split == 'test'").reset_index(drop=True)
    told, anew = run.summary()["test"], score(table, run.classes)
    for metric in bundling.METRICS:
        assert anew[metric] == pytest.approx(told[metric], abs=1e-9)
        assert anew["intervals"][metric] == pytest.approx(told["intervals"][metric], abs=1e-9)
    assert anew["by_photo"] == told["by_photo"]


@EVERY_BUNDLE
@pytest.mark.parametrize("one_in", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.skipif(not ARCHIVE, reason="BLOODCELL_ARCHIVE names no copy of the public archive")
def test_its_answers_to_the_archive_s_test_pictures_are_what_it_tells(name, one_in, shipped):
    """Test pictures of its predictions that the archive holds are read, cut out and classified anew."""
    run, source = Run(name), open_source(Path(ARCHIVE).expanduser())
    kept = run.predictions().query("split == 'test'").set_index("image_id")
    found = {}
    for file in [file for file in source.files if "/images/TEST/" in file][::one_in]:
        data = source.read(file)
        found[hashlib.sha256(data).hexdigest()] = data
    found = {image_id: data for image_id, data in found.items() if image_id in kept.index}
    assert found, "it was tested on no picture of the archive"
    answers = list(Predictor(run, "cpu").classify((key, lambda data=data: data) for key, data in found.items()))
    # Without a white cell no class is named; in the predictions such a picture's middle was classified.
    classified = [answer for answer in answers if answer.cells]
    assert {answer.state for answer in answers if not answer.cells} <= {"unlike"}
    assert len(answers) - len(classified) < 0.02 * len(answers)
    anew = np.array([list(answer.cells[0].probabilities.values()) for answer in classified])
    rows = kept.loc[[answer.path for answer in classified]]
    # A box may lie a pixel elsewhere where a machine rounds otherwise: a few pictures in a thousand.
    same = np.abs(anew - probabilities_of(rows, run.classes)).max(axis=1) < READ_ANEW
    assert same.mean() > 0.99
    right = np.asarray(run.classes)[anew.argmax(1)] == rows.label.to_numpy()
    assert right.mean() == pytest.approx((rows.predicted == rows.label).mean(), abs=5 / len(right))
    print(f"{name}: right on {right.sum():,} of {len(right):,} test pictures of the archive, {right.mean():.4f}")


# ---- One made here --------------------------------------------------------------------------------------


def test_it_is_found_by_name_and_used_though_nothing_else_is_there(bundled, capsys, tmp_path):
    assert not workspace.home().exists()
    code, out, _ = run_cli(capsys, "runs", "list", "--json")
    (row,) = json.loads(out)["runs"]
    assert (code, row["run"], row["bundled"], row["state"]) == (0, "tiny-net", True, "done")
    picture = tmp_path / "noise.png"
    picture.write_bytes(encode(np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)))
    code, out, _ = run_cli(capsys, "predict", "tiny", str(picture), "--json")
    assert code == 0
    assert sum(json.loads(out)["pictures"][0]["cells"][0]["probabilities"].values()) == pytest.approx(1)
    code, out, _ = run_cli(capsys, "evaluate", "tiny-net", "--json")
    assert json.loads(out)["accuracy"] == bundled.summary()["test"]["accuracy"]


@pytest.mark.parametrize("verb", ["remove", "resume", "stop"])
def test_it_can_t_be_changed(bundled, verb, capsys):
    code, _, err = run_cli(capsys, "runs", verb, "tiny-net")
    assert (code, err.count("\n")) == (2, 1)
    assert bundled.weights_file.exists()


def test_it_is_never_the_latest(bundled):
    with pytest.raises(LabError, match="no run has finished"):
        runs.find("latest")


def test_a_run_of_its_own_name_in_the_workspace_goes_before_it(done, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "BUNDLED", tmp_path / "bundled")
    bundling.bundle(done, "tiny-net")
    shutil.copytree(done.folder, workspace.run_dir("tiny-net"))
    assert not runs.find("tiny-net").bundled
    assert runs.names().count("tiny-net") == 1


def test_classify_needs_nothing_else(bundled):
    app = draw("pages/5_Classify.py")
    assert not app.error
    assert "bundled" in words(app)
    assert not [button for button in app.button if button.label in ("Make demo pictures", "Train a network")]


@pytest.mark.parametrize("page", ["streamlit_app.py", *(f"pages/{page}.py" for page in (
    "1_Browse", "2_Train", "3_Compare", "4_Review"))])  # fmt: skip
def test_the_other_pages_still_lead_to_pictures_first(bundled, page):
    app = draw(page)
    assert not app.error
    assert [button for button in app.button if button.label == "Make demo pictures"]


def test_every_page_shows_it_beside_runs_of_one_s_own(done, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "BUNDLED", tmp_path / "bundled")
    bundling.bundle(done, "tiny-net")
    for page in ("streamlit_app.py", "pages/3_Compare.py", "pages/4_Review.py", "pages/5_Classify.py"):
        assert "bundled" in words(draw(page)), page


def test_it_knows_what_it_was_trained_on_though_its_dataset_is_far_away(bundled, lab_home, monkeypatch):
    data = workspace.dataset_dir("elsewhere")
    shutil.copytree(lab_home / "datasets" / "demo", data)
    told = evaluated(bundled, "elsewhere", "all", device="cpu")[0]
    trained = set(Dataset("elsewhere").pictures.query("split == 'train'").photo) - set(bundled.validation_photos)
    pictures = Dataset("elsewhere").pictures
    seen = (pictures.photo.isin(trained) & (pictures.split == "train")).sum()
    assert f"{seen} of these pictures were trained on: the figures are too good" in told["warnings"]


def test_the_card_tells_what_the_run_found(bundled):
    card = (bundled.folder / bundling.CARD).read_text()
    test = bundled.summary()["test"]
    assert f"| Accuracy | {test['accuracy']:.4f} |" in card
    assert f"{test['photos']:,} source photos" in card
    assert "Made by a test." in card
    assert "synthetic" in card
    assert not [line for line in card.splitlines() if "None" in line]


def test_half_the_bytes_give_the_same_answers_or_none(done, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "BUNDLED", tmp_path / "bundled")
    half = bundling.bundle(done, "half", half=True)
    assert half.weights_file.stat().st_size < 0.6 * done.weights_file.stat().st_size
    mine, kept = half.predictions(), done.predictions()
    assert mine.predicted.tolist() == kept.predicted.tolist()
    shares = [probabilities_of(table, done.classes) for table in (mine, kept)]
    assert 0 < np.abs(shares[0] - shares[1]).max() <= bundling.ROUNDING
    assert evaluated(half)[0]["accuracy"] == evaluated(done)[0]["accuracy"]
    monkeypatch.setattr(bundling, "ROUNDING", 0.0)
    with pytest.raises(LabError, match="other answers"):
        bundling.bundle(done, "exact", half=True)
    assert not (runs.BUNDLED / "exact").exists()


def test_what_can_t_be_bundled_is_refused(bundled, done, monkeypatch, lab_home):
    monkeypatch.setenv("BLOODCELL_HOME", str(lab_home))
    with pytest.raises(LabError, match="exists already"):
        bundling.bundle(done, "tiny-net")
    with pytest.raises(LabError, match="finished training of this workspace"):
        bundling.bundle(bundled, "again")
    monkeypatch.setattr(bundling, "MOST_BYTES", 1000)
    with pytest.raises(LabError, match="more than 1,000"):
        bundling.bundle(done, "large")
    assert runs.bundled_names() == ["tiny-net"]
