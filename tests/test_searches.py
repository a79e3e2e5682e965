"""The search panel: it starts a search, shows what was found, and trains with the best settings."""

from __future__ import annotations

import pytest
import torch
from streamlit.testing.v1 import AppTest

from bloodcell_core import runs
from bloodcell_core.training import jobs, search, studies
from bloodcell_core.training.studies import Study
from tests.training_fixtures import tiny
from ui import once

pytest_plugins = ["tests.training_fixtures"]
pytestmark = pytest.mark.usefixtures("lab")

PANEL = """
from bloodcell_core.data.dataset import names
from ui.searches import search_panel
search_panel(names())
"""


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The panel before its first run; what it starts is not started."""
    torch.set_num_threads(1)
    monkeypatch.setattr(studies, "start", lambda study: None)
    monkeypatch.setattr(jobs, "start", lambda run: None)
    return AppTest.from_string(PANEL, default_timeout=60)


def searched(trials: int, wanted: int | None = None) -> Study:
    study = studies.create(tiny(epochs=1), ("learning_rate", "width"), trials, name="mine")
    assert search.work(study, say=lambda line: None) == "done"
    if wanted:
        studies.reopen(study, wanted)
        study.job.tell(state="stopped", reason="stopped on request")
    return study


def words(app: AppTest) -> str:
    return "\n".join(each.value for kind in (app.markdown, app.caption, app.info, app.error) for each in kind)


def test_without_a_search_it_says_how_to_begin_one(panel: AppTest) -> None:
    panel.run()
    assert not panel.exception
    assert "No search yet" in words(panel)


def test_search_starts_a_study_with_the_forms_settings(panel: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "DOUBLE_CLICK", 1e6)
    panel.run()
    panel.selectbox("search_model").set_value("deep_cnn").run()
    fields = panel.button_group("search_fields_deep_cnn")
    assert fields.value == [
        "learning_rate", "dropout", "rotation", "zoom", "stain", "light",
    ]  # fmt: skip
    fields.set_value(["dropout", "zoom"])
    next(field for field in panel.text_input if field.label == "Trials").set_value("4")
    next(field for field in panel.text_input if field.label == "Epochs a trial").set_value("2")
    panel.button("search_start").click().run()
    assert not panel.exception
    (name,) = studies.names()
    study = Study(name)
    assert (study.config.model, study.config.data, study.config.epochs) == ("deep_cnn", "demo", 2)
    assert (list(study.ranges), study.trials_wanted) == (["dropout", "zoom"], 4)
    assert panel.query_params["study"] == name
    panel.button("search_start").click().run()  # a double click
    assert studies.names() == [name]


@pytest.mark.parametrize("given", ["1001", "0", "", "2.5", "-3", "²", "9" * 5000])
def test_nothing_is_searched_with_a_number_that_cannot_be(panel: AppTest, given: str) -> None:
    panel.run()
    next(field for field in panel.text_input if field.label == "Trials").set_value(given).run()
    assert not panel.exception
    assert "A whole number from 1 to 1,000." in words(panel)
    assert panel.button("search_start").disabled


def test_any_network_of_timm_can_be_searched_for(panel: AppTest) -> None:
    pytest.importorskip("timm")
    panel.run()
    panel.selectbox("search_model").set_value("timm/").run()
    assert panel.button("search_start").disabled
    panel.text_input("timm-search").set_value("no_such_network").run()
    assert "timm has no network called" in words(panel).replace("\\", "")
    assert panel.button("search_start").disabled
    panel.text_input("timm-search").set_value("resnet10t").run()
    assert not panel.exception
    assert "MFLOP a picture of 64×64" in words(panel)
    fields = panel.button_group("search_fields_timm/resnet10t")
    assert "learning_rate" in fields.value
    assert not {"width", "dropout"} & set(fields.options)
    next(box for box in panel.selectbox if box.label == "First weights").set_value("none").run()
    panel.button("search_start").click().run()
    assert not panel.exception
    (name,) = studies.names()
    assert (Study(name).config.model, Study(name).config.weights) == ("timm/resnet10t", "none")


def test_a_finished_study_shows_its_trials_and_trains_with_the_best(panel: AppTest) -> None:
    study = searched(5)
    panel.run()
    assert not panel.exception
    (table,) = panel.dataframe
    losses = [trial["val_loss"] for trial in study.trials() if trial["state"] == "done"]
    assert table.value.val_loss.tolist() == sorted(losses)
    assert len(panel.get("vega_lite_chart") or panel.get("arrow_vega_lite_chart")) == 1 + bool(study.importance())
    (chosen,) = panel.selectbox("study").options
    assert chosen == "Basic CNN on demo, frame view · mine"
    for said in ("Basic CNN on demo, frame view", "5 of 5 trials of 1 epoch,", "validation pictures", "synthetic"):
        assert said in words(panel)
    before = set(runs.names())
    panel.text_input("search_epochs").set_value("3")
    panel.button("search_train").click().run()
    assert not panel.exception
    (run,) = set(runs.names()) - before
    best = study.best_config()
    trained = runs.Run(run).config
    assert (trained.epochs, trained.learning_rate, trained.width) == (3, best.learning_rate, best.width)


def test_a_stopped_study_goes_on_by_a_click(panel: AppTest) -> None:
    study = searched(1, wanted=3)
    panel.run()
    assert "stopped on request" in words(panel)
    panel.button("search_go_on").click().run()
    assert not panel.exception
    assert study.status()["state"] == "stopped"  # `start` was taken away


def test_a_study_at_work_shows_how_far_it_is_and_can_be_stopped(panel: AppTest) -> None:
    study = searched(1, wanted=3)
    with study.job.lock:
        study.job.tell(state="running", phase="training", trial=2, epoch=0, seconds_left=65)
        panel.run()
        assert not panel.exception
        (progress,) = panel.get("progress")
        assert progress.proto.text == "1 of 3 trials, epoch 1 of 1, about 65 s left"
        panel.button("search_stop").click().run()
        assert study.job.stop_requested()
        assert panel.button("search_stop").disabled


def test_a_database_that_cannot_be_reached_is_told(panel: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOODCELL_DB_URL", "sqlite:////nowhere/at/all/lab.sqlite")
    panel.run()
    assert not panel.exception
    assert "can't be used" in words(panel).replace("\\", "")
